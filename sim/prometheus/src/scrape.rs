//! Scraping without I/O: from a body to samples, report samples and stale markers.

use crate::config::{Config, Global, ScrapeConfig};
use crate::relabel::{self, Relabel};
use crate::store::{Point, SeriesId, Store};
use sim_wire::exposition::{Entries, Entry, Exemplar, Family, Format, parse_series};
use sim_wire::{Labels, METRIC_NAME, STALE_NAN};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// A target with its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The job of the scrape configuration.
    pub job: String,
    /// Its labels: `job`, `instance` and what relabelling leaves.
    pub labels: Labels,
    /// The labels before relabelling.
    pub discovered: Labels,
    /// Where to scrape.
    pub url: String,
    /// How often.
    pub interval: Duration,
    /// When to give up.
    pub timeout: Duration,
}

/// How to treat the pages of a job.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether labels of the page win.
    pub honor_labels: bool,
    /// Whether timestamps of the page are taken.
    pub honor_timestamps: bool,
    /// Whether series with timestamps of their own end when they vanish.
    pub track_timestamps: bool,
    /// Most samples; 0 is no limit.
    pub sample_limit: usize,
    /// Most labels of a sample; 0 is no limit.
    pub label_limit: usize,
    /// Longest label name in bytes; 0 is no limit.
    pub label_name_length_limit: usize,
    /// Longest label value in bytes; 0 is no limit.
    pub label_value_length_limit: usize,
    /// What a page without a usable content type is read as.
    pub fallback: Option<Format>,
    /// Steps over the labels of samples.
    pub metric_relabel: Vec<Relabel>,
}

impl From<&ScrapeConfig> for Settings {
    fn from(config: &ScrapeConfig) -> Self {
        Self {
            honor_labels: config.honor_labels,
            honor_timestamps: config.honor_timestamps,
            track_timestamps: config.track_timestamps_staleness,
            sample_limit: config.sample_limit,
            label_limit: config.label_limit,
            label_name_length_limit: config.label_name_length_limit,
            label_value_length_limit: config.label_value_length_limit,
            fallback: config
                .fallback_scrape_protocol
                .as_deref()
                .map(|protocol| if protocol.starts_with("OpenMetrics") { Format::OpenMetrics } else { Format::Text }),
            metric_relabel: config.metric_relabel_configs.clone(),
        }
    }
}

/// The targets of a configuration, each with the index of its scrape configuration; those that relabelling drops are left out.
pub fn targets(config: &Config) -> Vec<(usize, Target)> {
    let mut found = Vec::new();
    for (index, scrape) in config.scrape_configs.iter().enumerate() {
        for group in &scrape.static_configs {
            for address in &group.targets {
                found.extend(target(&config.global, scrape, address, &group.labels).map(|target| (index, target)));
            }
        }
    }
    found
}

/// The targets that relabelling drops: job and discovered labels.
pub(crate) fn dropped(config: &Config) -> Vec<(String, Labels)> {
    let mut found = Vec::new();
    for scrape in &config.scrape_configs {
        for group in &scrape.static_configs {
            for address in &group.targets {
                if target(&config.global, scrape, address, &group.labels).is_none() {
                    found.push((scrape.job_name.clone(), discovered(&config.global, scrape, address, &group.labels)));
                }
            }
        }
    }
    found
}

/// The labels of a target before relabelling.
fn discovered(
    global: &Global,
    scrape: &ScrapeConfig,
    address: &str,
    labels: &std::collections::BTreeMap<String, String>,
) -> Labels {
    let mut builder = Labels::from(labels).builder();
    builder.set("__address__", address);
    for (name, value) in [
        ("job", scrape.job_name.clone()),
        ("__scheme__", scrape.scheme.clone()),
        ("__metrics_path__", scrape.metrics_path.clone()),
        ("__scrape_interval__", sim_wire::duration::format(scrape.interval(global))),
        ("__scrape_timeout__", sim_wire::duration::format(scrape.timeout(global))),
    ] {
        if builder.value(name).is_empty() {
            builder.set(name, &value);
        }
    }
    for (name, values) in &scrape.params {
        if let Some(first) = values.first() {
            builder.set(&format!("__param_{name}"), first);
        }
    }
    builder.build()
}

fn target(
    global: &Global,
    scrape: &ScrapeConfig,
    address: &str,
    labels: &std::collections::BTreeMap<String, String>,
) -> Option<Target> {
    let (interval, timeout) = (scrape.interval(global), scrape.timeout(global));
    let discovered = discovered(global, scrape, address, labels);
    let relabelled = relabel::apply(&discovered, &scrape.relabel_configs)?;
    let address = relabelled.value("__address__").to_owned();
    if address.is_empty() {
        return None;
    }
    let duration = |name: &str, fallback| {
        sim_wire::duration::parse(relabelled.value(name)).ok().filter(|d| !d.is_zero()).unwrap_or(fallback)
    };
    let mut url = format!("{}://{address}{}", relabelled.value("__scheme__"), relabelled.value("__metrics_path__"));
    let params: Vec<String> = query_parameters(scrape, &relabelled);
    if !params.is_empty() {
        url.push_str(&format!("?{}", params.join("&")));
    }
    let mut labels = relabelled.builder();
    if labels.value("instance").is_empty() {
        labels.set("instance", &address);
    }
    let labels = labels.build().filter(|name| !name.starts_with("__"));
    let interval = duration("__scrape_interval__", interval);
    let timeout = duration("__scrape_timeout__", timeout);
    Some(Target { job: scrape.job_name.clone(), labels, discovered, url, interval, timeout })
}

fn query_parameters(scrape: &ScrapeConfig, labels: &Labels) -> Vec<String> {
    let mut params = Vec::new();
    for (name, value) in labels.iter().filter_map(|(name, value)| Some((name.strip_prefix("__param_")?, value))) {
        params.push(format!("{}={}", percent_encode(name), percent_encode(value)));
        for more in scrape.params.get(name).into_iter().flatten().skip(1) {
            params.push(format!("{}={}", percent_encode(name), percent_encode(more)));
        }
    }
    params
}

/// Percent-encodes a query parameter.
pub(crate) fn percent_encode(text: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// What a scrape brought.
pub enum Outcome<'a> {
    /// A page.
    Page {
        /// The header `Content-Type`.
        content_type: &'a str,
        /// The body.
        body: &'a str,
    },
    /// No page, and why.
    Failed(String),
}

/// What became of a scrape.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Why the target is down; `None` where it is up.
    pub error: Option<String>,
    /// Samples on the page.
    pub scraped: usize,
    /// Samples after relabelling.
    pub kept: usize,
    /// Series that the last scrape did not have.
    pub added: usize,
}

#[derive(Debug)]
struct Known {
    /// `None` where relabelling drops the series.
    series: Option<SeriesId>,
    round: u64,
}

/// What is remembered of a target between scrapes: series by their raw text, and which the last page had.
#[derive(Debug, Default)]
pub struct Memory {
    // Looked up and retained, never walked in its order.
    known: HashMap<String, Known>,
    present: BTreeSet<SeriesId>,
    reports: Option<[SeriesId; 5]>,
    metadata: HashMap<String, Family>,
    round: u64,
}

impl Memory {
    /// What the target says about its families, in order.
    pub(crate) fn families(&self) -> impl Iterator<Item = (&String, &Family)> {
        let sorted: std::collections::BTreeMap<&String, &Family> = self.metadata.iter().collect();
        sorted.into_iter()
    }
}

const REPORTS: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

#[derive(Default)]
struct Batch {
    points: Vec<(SeriesId, Point)>,
    present: BTreeSet<SeriesId>,
    exemplars: Vec<(SeriesId, Exemplar)>,
    metadata: Vec<(String, Family)>,
    scraped: usize,
}

/// Appends the samples of a scrape, the report samples and the stale markers.
///
/// A page that does not parse, or exceeds a limit, counts as no page at all: nothing of it is kept, but what was read of it is
/// reported.
pub fn ingest(
    store: &mut Store,
    memory: &mut Memory,
    settings: &Settings,
    target: &Labels,
    now_ms: i64,
    duration: Duration,
    outcome: &Outcome<'_>,
) -> Summary {
    memory.round += 1;
    let read = match outcome {
        Outcome::Page { content_type, body } => read_page(store, memory, settings, target, now_ms, content_type, body),
        Outcome::Failed(reason) => Err(reason.clone()),
    };
    let mut summary = Summary::default();
    let (batch, error) = read.unwrap_or_else(|reason| (Batch::default(), Some(reason)));
    summary.scraped = batch.scraped;
    summary.kept = batch.points.len();
    summary.added = batch.present.difference(&memory.present).count();
    if let Some(reason) = error {
        summary.error = Some(reason);
        mark_stale(store, std::mem::take(&mut memory.present), now_ms);
    } else {
        let vanished: Vec<SeriesId> = memory.present.difference(&batch.present).copied().collect();
        for (id, point) in batch.points {
            // Out of order and duplicate samples are counted by the store and do not fail the scrape.
            let _ = store.append_to(id, point);
        }
        for (id, exemplar) in batch.exemplars {
            let series = store.get(id).labels.clone();
            // One that is late, repeated or too long is left out.
            let _ = store.append_exemplar(&series, exemplar);
        }
        for (name, family) in batch.metadata {
            if memory.metadata.get(&name) != Some(&family) {
                store.set_metadata(name.clone(), family.clone());
                memory.metadata.insert(name, family);
            }
        }
        mark_stale(store, vanished, now_ms);
        memory.present = batch.present;
        let round = memory.round;
        memory.known.retain(|_, known| known.round == round);
    }
    report(store, memory, target, now_ms, duration, &summary);
    summary
}

/// Ends everything that a target exposed, as when it leaves the configuration.
pub fn retire(store: &mut Store, memory: &mut Memory, now_ms: i64) {
    mark_stale(store, std::mem::take(&mut memory.present), now_ms);
    mark_stale(store, memory.reports.take().into_iter().flatten(), now_ms);
}

fn mark_stale(store: &mut Store, series: impl IntoIterator<Item = SeriesId>, now_ms: i64) {
    for id in series {
        let last = store.get(id).last();
        if last.is_some_and(|last| !last.is_stale()) {
            let _ = store.append_to(id, Point::float(now_ms, STALE_NAN));
        }
    }
}

fn report(store: &mut Store, memory: &mut Memory, target: &Labels, now_ms: i64, duration: Duration, summary: &Summary) {
    let values = [
        f64::from(u8::from(summary.error.is_none())),
        duration.as_secs_f64(),
        summary.scraped as f64,
        summary.kept as f64,
        summary.added as f64,
    ];
    if memory.reports.is_none() {
        let ids: Result<Vec<SeriesId>, _> =
            REPORTS.iter().map(|name| store.series_id(&target.with(METRIC_NAME, name))).collect();
        memory.reports = ids.ok().and_then(|ids| ids.try_into().ok());
    }
    for (id, value) in memory.reports.into_iter().flatten().zip(values) {
        let _ = store.append_to(id, Point::float(now_ms, value));
    }
}

/// The format of a page by its content type, or what is wrong with that.
fn format_of(content_type: &str, fallback: Option<Format>) -> Result<Format, String> {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let odd = |parameter: &str| {
        !parameter.trim().is_empty() && parameter.split_once('=').is_none_or(|(name, _)| name.trim().is_empty())
    };
    if fallback.is_none() && content_type.split(';').skip(1).any(odd) {
        return Err(format!(
            "cannot parse Content-Type {content_type:?} and no fallback_scrape_protocol for target\nmime: invalid media parameter"
        ));
    }
    match (media.as_str(), fallback) {
        ("application/openmetrics-text", _) => Ok(Format::OpenMetrics),
        ("text/plain", _) => Ok(Format::Text),
        (_, Some(fallback)) => Ok(fallback),
        ("", None) => Err("non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target".to_owned()),
        _ => Err(format!(
            "received unsupported Content-Type {content_type:?} and no fallback_scrape_protocol specified for target"
        )),
    }
}

/// The samples of a page, and what it fails of; without samples where the page cannot be read at all.
fn read_page(
    store: &mut Store,
    memory: &mut Memory,
    settings: &Settings,
    target: &Labels,
    now_ms: i64,
    content_type: &str,
    body: &str,
) -> Result<(Batch, Option<String>), String> {
    let mut batch = Batch::default();
    let mut over_limit = None;
    let mut entries = Entries::new(body, format_of(content_type, settings.fallback)?);
    loop {
        let entry = match entries.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok((batch, over_limit)),
            Err(error) => return Ok((batch, Some(error.to_string()))),
        };
        let (series, value, timestamp_ms, exemplar) = match entry {
            Entry::Sample { series, value, timestamp_ms, exemplar } => (series, value, timestamp_ms, exemplar),
            Entry::Help(name, help) => {
                family(&mut batch.metadata, name).help = help;
                continue;
            }
            Entry::Type(name, metric_type) => {
                family(&mut batch.metadata, name).metric_type = metric_type;
                continue;
            }
            Entry::Unit(name, unit) => {
                unit.clone_into(&mut family(&mut batch.metadata, name).unit);
                continue;
            }
        };
        batch.scraped += 1;
        let id = match memory.known.get_mut(series) {
            Some(known) => {
                known.round = memory.round;
                known.series
            }
            None => {
                let labels = match parse_series(series) {
                    Ok(labels) => labels,
                    Err(message) => {
                        // Only a label that stands twice is found after the sample was counted.
                        batch.scraped -= usize::from(!message.contains("is not unique"));
                        return Ok((batch, Some(entries.error(message).to_string())));
                    }
                };
                let id = match new_series(store, settings, target, &labels) {
                    Ok(id) => id,
                    Err(reason) => return Ok((batch, Some(reason))),
                };
                memory.known.insert(series.to_owned(), Known { series: id, round: memory.round });
                id
            }
        };
        let Some(id) = id else { continue };
        let own_time = timestamp_ms.filter(|_| settings.honor_timestamps);
        let t_ms = own_time.unwrap_or(now_ms);
        batch.points.push((id, Point::float(t_ms, value)));
        if settings.sample_limit > 0 && batch.points.len() > settings.sample_limit {
            // Read on, so that the report says how many samples there are.
            over_limit = Some("sample limit exceeded".to_owned());
        }
        // A series with its own timestamps ends by look-back only, unless they are tracked.
        if own_time.is_none() || settings.track_timestamps {
            batch.present.insert(id);
        }
        if let Some(mut exemplar) = exemplar {
            exemplar.timestamp_ms.get_or_insert(t_ms);
            batch.exemplars.push((id, exemplar));
        }
    }
}

/// The series of labels seen for the first time; `None` where relabelling drops it.
fn new_series(
    store: &mut Store,
    settings: &Settings,
    target: &Labels,
    labels: &Labels,
) -> Result<Option<SeriesId>, String> {
    let merged = merge(labels, target, settings.honor_labels);
    let Some(labels) = relabel::apply(&merged, &settings.metric_relabel).filter(|labels| !labels.is_empty()) else {
        return Ok(None);
    };
    if labels.name().is_none() {
        return Err("missing metric name (__name__ label)".to_owned());
    }
    check_limits(settings, &labels)?;
    store.series_id(&labels).map(Some).map_err(|error| error.to_string())
}

fn check_limits(settings: &Settings, labels: &Labels) -> Result<(), String> {
    let shown = |text: &str| text.chars().take(50).collect::<String>();
    let metric = shown(labels.value(METRIC_NAME));
    let exceeds = |length: usize, limit: usize| limit > 0 && length > limit;
    let (count, limit) = (labels.len(), settings.label_limit);
    if exceeds(count, limit) {
        return Err(format!("label_limit exceeded (metric: {metric}, number of labels: {count}, limit: {limit})"));
    }
    for (name, value) in labels.iter() {
        let limit = settings.label_name_length_limit;
        if exceeds(name.len(), limit) {
            let (name, length) = (shown(name), name.len());
            return Err(format!(
                "label_name_length_limit exceeded (metric: {metric}, label name: {name}, length: {length}, limit: {limit})"
            ));
        }
        let limit = settings.label_value_length_limit;
        if exceeds(value.len(), limit) {
            let (name, value, length) = (shown(name), shown(value), value.len());
            return Err(format!(
                "label_value_length_limit exceeded (metric: {metric}, label name: {name}, value: {value:?}, length: {length}, limit: {limit})"
            ));
        }
    }
    Ok(())
}

fn family(metadata: &mut Vec<(String, Family)>, name: String) -> &mut Family {
    // Lines of one family stand together.
    if metadata.last().is_none_or(|(last, _)| *last != name) {
        metadata.push((name, Family::default()));
    }
    let last = metadata.len() - 1;
    &mut metadata[last].1
}

/// Joins the labels of a sample and of its target.
fn merge(sample: &Labels, target: &Labels, honor_labels: bool) -> Labels {
    let mut merged = sample.builder();
    for (name, value) in target.iter() {
        match sample.get(name) {
            Some(_) if honor_labels => {}
            Some(own) => {
                let mut exported = format!("exported_{name}");
                while sample.get(&exported).is_some() || target.get(&exported).is_some() {
                    exported.insert_str(0, "exported_");
                }
                merged.set(&exported, own);
                merged.set(name, value);
            }
            None => {
                merged.set(name, value);
            }
        }
    }
    merged.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim_wire::{Matcher, is_stale};

    struct Fixture {
        store: Store,
        memory: Memory,
        settings: Settings,
    }

    impl Fixture {
        fn new() -> Self {
            let config: ScrapeConfig = serde_saphyr::from_str("job_name: j").unwrap();
            let settings = Settings::from(&config);
            Self { store: Store::new(), memory: Memory::default(), settings }
        }

        fn scrape(&mut self, now_ms: i64, body: &str) -> Summary {
            self.ingest(now_ms, &Outcome::Page { content_type: "text/plain", body })
        }

        fn ingest(&mut self, now_ms: i64, outcome: &Outcome<'_>) -> Summary {
            let target = Labels::from_pairs([("job", "j"), ("namespace", "n")]);
            ingest(
                &mut self.store,
                &mut self.memory,
                &self.settings,
                &target,
                now_ms,
                Duration::from_millis(5),
                outcome,
            )
        }

        fn last(&self, name: &str) -> (String, f64) {
            let found = self.store.select(&[Matcher::equal("__name__", name)]);
            (found[0].labels.to_string(), found[0].points().last().unwrap().value.float())
        }
    }

    #[test]
    fn labels_of_the_page_give_way_unless_honoured() {
        let mut fixture = Fixture::new();
        fixture.scrape(1, "a{namespace=\"x\"} 1\n");
        assert_eq!(fixture.last("a").0, r#"{__name__="a", exported_namespace="x", job="j", namespace="n"}"#);
        let mut fixture = Fixture::new();
        fixture.settings.honor_labels = true;
        fixture.scrape(1, "a{namespace=\"x\"} 1\n");
        assert_eq!(fixture.last("a").0, r#"{__name__="a", job="j", namespace="x"}"#);
    }

    #[test]
    fn a_vanished_series_ends_and_a_failed_scrape_ends_all() {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.scrape(1, "a 1\nb 1\n").added, 2);
        assert_eq!(fixture.scrape(2, "a 1\n"), Summary { error: None, scraped: 1, kept: 1, added: 0 });
        assert!(is_stale(fixture.last("b").1));
        assert!(!is_stale(fixture.last("a").1));
        assert_eq!(fixture.last("up").1, 1.0);
        fixture.ingest(3, &Outcome::Failed("connection refused".into()));
        assert!(is_stale(fixture.last("a").1));
        assert_eq!(fixture.last("up").1, 0.0);
        assert_eq!(fixture.scrape(4, "a 1\n").added, 1);
    }

    #[test]
    fn nothing_of_a_broken_page_is_kept() {
        let mut fixture = Fixture::new();
        let summary = fixture.scrape(1, "a 1\nb one\n");
        assert!(summary.error.unwrap().starts_with("line 2:"));
        assert!(fixture.store.select(&[Matcher::equal("__name__", "a")]).is_empty());
        fixture.settings.sample_limit = 1;
        let summary = fixture.scrape(2, "a 1\nb 1\nc 1\n");
        assert_eq!(summary.error.as_deref(), Some("sample limit exceeded"));
        assert_eq!((summary.scraped, summary.kept), (3, 3), "what was read is reported");
    }

    #[test]
    fn labels_beyond_a_limit_fail_the_page() {
        let mut fixture = Fixture::new();
        let page = "metric{label=\"value\"} 1\n";
        let mut refused = |set: fn(&mut Settings)| {
            set(&mut fixture.settings);
            fixture.scrape(1, page).error.unwrap_or_default()
        };
        let expected = "label_value_length_limit exceeded (metric: metric, label name: __name__, value: \"metric\", length: 6, limit: 5)";
        assert_eq!(refused(|s| s.label_value_length_limit = 5), expected);
        let expected = "label_name_length_limit exceeded (metric: metric, label name: __name__, length: 8, limit: 5)";
        assert_eq!(refused(|s| s.label_name_length_limit = 5), expected);
        let expected = "label_limit exceeded (metric: metric, number of labels: 4, limit: 3)";
        assert_eq!(refused(|s| s.label_limit = 3), expected);
        let mut fixture = Fixture::new();
        fixture.settings.label_limit = 4;
        assert_eq!(fixture.scrape(1, page).error, None);
    }

    #[test]
    fn a_page_needs_a_content_type() {
        let mut fixture = Fixture::new();
        let mut error = |content_type: &str| fixture.ingest(1, &Outcome::Page { content_type, body: "a 1\n" }).error;
        assert_eq!(error("text/plain; version=0.0.4"), None);
        assert!(error("").is_some_and(|why| why.contains("blank Content-Type")));
        assert!(error("text/html").is_some_and(|why| why.contains("unsupported Content-Type \"text/html\"")));
        fixture.settings.fallback = Some(Format::Text);
        assert_eq!(fixture.ingest(2, &Outcome::Page { content_type: "", body: "a 1\n" }).error, None);
    }

    #[test]
    fn relabelled_series_are_dropped_and_counted() {
        let mut fixture = Fixture::new();
        fixture.settings.metric_relabel =
            serde_saphyr::from_str("[{action: drop, source_labels: [__name__], regex: b}]").unwrap();
        assert_eq!(fixture.scrape(1, "a 1\nb 1\n"), Summary { error: None, scraped: 2, kept: 1, added: 1 });
    }

    #[test]
    fn a_target_gets_instance_and_parameters() {
        let text = "scrape_configs: [{job_name: j, params: {match: ['a b']}, static_configs: [{targets: ['h:1'], labels: {x: z}}]}]";
        let found = targets(&crate::config::parse(text).unwrap());
        assert_eq!(found[0].1.url, "http://h:1/metrics?match=a%20b");
        assert_eq!(found[0].1.labels.to_string(), r#"{instance="h:1", job="j", x="z"}"#);
    }
}
