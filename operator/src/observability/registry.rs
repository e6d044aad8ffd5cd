//! A small metric registry and its two text encodings.
//!
//! Why not `prometheus-client`: it knows OpenMetrics only and appends `_total` to counters, while Prometheus' text format 0.0.4 has to
//! be served as well, and two gauges of this operator have names that end in `_total` (dashboards and alerts use them, so they stay).
//! Here names are literal; the encoders know the difference between a family and its samples. Series come out sorted, can be removed,
//! and a group of series can be replaced in one step that no scrape sees the middle of.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::go_format::go_float;

/// Series per family beyond which new ones are refused: a label with unbounded values must not fill the memory.
pub const SERIES_PER_FAMILY_MAX: usize = 100_000;

/// What a family is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows. Its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations in buckets.
    Histogram,
}

/// The exposition formats.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4. No exemplars.
    Text,
    /// OpenMetrics text 1.0.0, with exemplars.
    OpenMetrics,
}

impl Format {
    /// The `Content-Type` of an answer in this format.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Chooses by an `Accept` header: OpenMetrics where it is asked for with at least the weight of plain text, else text.
    ///
    /// ```
    /// use multigres_operator::observability::registry::Format;
    /// assert_eq!(Format::negotiate("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5"), Format::OpenMetrics);
    /// assert_eq!(Format::negotiate("*/*"), Format::Text);
    /// ```
    pub fn negotiate(accept: &str) -> Self {
        let mut text = 0.0_f64;
        let mut open_metrics = 0.0_f64;
        for offer in accept.split(',') {
            let mut parts = offer.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
            let mut weight = 1.0_f64;
            let mut version = None;
            for parameter in parts {
                match parameter.split_once('=').map(|(k, v)| (k.trim(), v.trim().trim_matches('"'))) {
                    Some(("q", q)) => weight = q.parse().unwrap_or(0.0),
                    Some(("version", v)) => version = Some(v.to_owned()),
                    _ => {}
                }
            }
            match media_type.as_str() {
                "application/openmetrics-text" if matches!(version.as_deref(), None | Some("1.0.0" | "0.0.1")) => {
                    open_metrics = weight.max(open_metrics);
                }
                "text/plain" if matches!(version.as_deref(), None | Some("0.0.4")) => text = weight.max(text),
                "*/*" | "text/*" => text = weight.max(text),
                _ => {}
            }
        }
        if open_metrics > 0.0 && open_metrics >= text { Self::OpenMetrics } else { Self::Text }
    }
}

/// A trace that stands for an observation.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// The trace.
    pub trace_id: String,
    /// When it was observed, in seconds since the Unix epoch.
    pub at_seconds: f64,
}

#[derive(Clone, Debug)]
enum Series {
    Value(f64),
    Histogram(HistogramSeries),
}

#[derive(Clone, Debug, Default)]
struct HistogramSeries {
    /// Not cumulative; one more than there are bounds.
    counts: Vec<u64>,
    exemplars: Vec<Option<(f64, Exemplar)>>,
    sum: f64,
}

type SeriesMap = BTreeMap<Vec<String>, Series>;

/// What a series says at one moment.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed {
    /// Of a counter or a gauge.
    Value(f64),
    /// Of a histogram.
    Histogram {
        /// Observations a bucket, not cumulative; the last one is that without an upper bound.
        counts: Vec<u64>,
        /// The sum of all observations.
        sum: f64,
    },
}

/// A family at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// The upper bounds of a histogram's buckets.
    pub bounds: Vec<f64>,
    /// The values of the labels, and what is observed.
    pub series: Vec<(Vec<String>, Observed)>,
}

/// One metric family.
struct LiveFamily {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    bounds: Vec<f64>,
    series: Mutex<SeriesMap>,
}

impl fmt::Debug for LiveFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl LiveFamily {
    fn lock(&self) -> MutexGuard<'_, SeriesMap> {
        // A panic while the lock is held leaves whole series behind, never half ones.
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, labels: &[&str], change: impl FnOnce(&mut Series)) {
        debug_assert_eq!(labels.len(), self.labels.len(), "{} has the labels {:?}", self.name, self.labels);
        let mut series = self.lock();
        let key: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        if series.len() >= SERIES_PER_FAMILY_MAX && !series.contains_key(&key) {
            return;
        }
        let entry = series.entry(key).or_insert_with(|| match self.kind {
            Kind::Counter | Kind::Gauge => Series::Value(0.0),
            Kind::Histogram => Series::Histogram(HistogramSeries {
                counts: vec![0; self.bounds.len() + 1],
                exemplars: vec![None; self.bounds.len() + 1],
                sum: 0.0,
            }),
        });
        change(entry);
    }

    fn add(&self, labels: &[&str], amount: f64) {
        self.update(labels, |series| {
            if let Series::Value(value) = series {
                *value += amount;
            }
        });
    }

    fn matcher<'a>(&'a self, matching: &'a [(&str, &str)]) -> impl Fn(&Vec<String>) -> bool + 'a {
        move |key| {
            matching.iter().all(|(label, value)| {
                self.labels.iter().position(|l| l == label).is_some_and(|index| key[index] == *value)
            })
        }
    }

    fn remove_where(&self, matching: &[(&str, &str)]) {
        let matches = self.matcher(matching);
        self.lock().retain(|key, _| !matches(key));
    }
}

/// A counter with labels.
#[derive(Clone, Debug)]
pub struct Counter(Arc<LiveFamily>);

impl Counter {
    /// Adds one.
    pub fn inc(&self, labels: &[&str]) {
        self.0.add(labels, 1.0);
    }

    /// Adds; negative amounts count as nothing.
    pub fn add(&self, labels: &[&str], amount: f64) {
        self.0.add(labels, amount.max(0.0));
    }

    /// Takes over a total that somebody else counts; a smaller one than the present changes nothing.
    pub fn raise_to(&self, labels: &[&str], total: f64) {
        self.0.update(labels, |series| {
            if let Series::Value(value) = series {
                *value = value.max(total);
            }
        });
    }

    /// Removes every series whose labels have these values.
    pub fn remove_where(&self, matching: &[(&str, &str)]) {
        self.0.remove_where(matching);
    }

    /// The present value, for tests and summaries.
    pub fn value(&self, labels: &[&str]) -> Option<f64> {
        value_of(&self.0, labels)
    }
}

/// A gauge with labels.
#[derive(Clone, Debug)]
pub struct Gauge(Arc<LiveFamily>);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, labels: &[&str], to: f64) {
        self.0.update(labels, |series| *series = Series::Value(to));
    }

    /// Adds, or takes away.
    pub fn add(&self, labels: &[&str], amount: f64) {
        self.0.add(labels, amount);
    }

    /// Removes every series whose labels have these values.
    pub fn remove_where(&self, matching: &[(&str, &str)]) {
        self.0.remove_where(matching);
    }

    /// Removes every series whose labels have the values of `matching` and sets the one of `labels`, so that a scrape sees either all
    /// of the old or the new one.
    pub fn replace_where(&self, matching: &[(&str, &str)], labels: &[&str], to: f64) {
        let matches = self.0.matcher(matching);
        let mut series = self.0.lock();
        series.retain(|key, _| !matches(key));
        if series.len() < SERIES_PER_FAMILY_MAX {
            series.insert(labels.iter().map(|label| (*label).to_owned()).collect(), Series::Value(to));
        }
    }

    /// The present value, for tests and summaries.
    pub fn value(&self, labels: &[&str]) -> Option<f64> {
        value_of(&self.0, labels)
    }
}

fn value_of(family: &LiveFamily, labels: &[&str]) -> Option<f64> {
    let key: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
    match family.lock().get(&key)? {
        Series::Value(value) => Some(*value),
        Series::Histogram(histogram) => Some(histogram.counts.iter().sum::<u64>() as f64),
    }
}

/// A histogram with labels.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<LiveFamily>);

impl Histogram {
    /// Counts an observation, with the trace it happened in. NaN is no observation.
    pub fn observe(&self, labels: &[&str], value: f64, exemplar: Option<Exemplar>) {
        if value.is_nan() {
            return;
        }
        let bucket = self.0.bounds.partition_point(|bound| *bound < value);
        self.0.update(labels, |series| {
            if let Series::Histogram(histogram) = series {
                histogram.counts[bucket] += 1;
                histogram.sum += value;
                if let Some(exemplar) = exemplar {
                    histogram.exemplars[bucket] = Some((value, exemplar));
                }
            }
        });
    }

    /// Makes the series exist without an observation.
    pub fn touch(&self, labels: &[&str]) {
        self.0.update(labels, |_| {});
    }

    /// How many observations there are, for tests and summaries.
    pub fn count(&self, labels: &[&str]) -> Option<f64> {
        value_of(&self.0, labels)
    }
}

/// All families of one operator.
#[derive(Default)]
pub struct Registry {
    families: Mutex<BTreeMap<&'static str, Arc<LiveFamily>>>,
    before_scrape: Mutex<Vec<Arc<dyn Fn() + Send + Sync>>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registry")
    }
}

impl Registry {
    /// Registers a counter. The name has to end in `_total` and has to be new.
    pub fn counter(&self, name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Counter {
        assert!(name.ends_with("_total"), "a counter's name ends in _total: {name}");
        Counter(self.register(name, help, Kind::Counter, labels, Vec::new()))
    }

    /// Registers a gauge. The name has to be new.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Gauge {
        Gauge(self.register(name, help, Kind::Gauge, labels, Vec::new()))
    }

    /// Registers a histogram. The name has to be new, the bounds ascend and are finite.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        bounds: Vec<f64>,
    ) -> Histogram {
        assert!(
            bounds.windows(2).all(|pair| pair[0] < pair[1]) && bounds.iter().all(|bound| bound.is_finite()),
            "the bounds of a histogram ascend and are finite: {name}"
        );
        Histogram(self.register(name, help, Kind::Histogram, labels, bounds))
    }

    fn register(
        &self,
        name: &'static str,
        help: &'static str,
        kind: Kind,
        labels: &'static [&'static str],
        bounds: Vec<f64>,
    ) -> Arc<LiveFamily> {
        let family = Arc::new(LiveFamily { name, help, kind, labels, bounds, series: Mutex::default() });
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!families.contains_key(name), "a metric family is registered once: {name}");
        families.insert(name, family.clone());
        family
    }

    /// Calls `refresh` before every scrape: for values that are a function of the moment.
    pub fn before_scrape(&self, refresh: impl Fn() + Send + Sync + 'static) {
        self.before_scrape.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(refresh));
    }

    /// Names and kinds of all families, those without series included.
    pub fn names(&self) -> BTreeMap<&'static str, Kind> {
        let families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        families.values().map(|family| (family.name, family.kind)).collect()
    }

    /// All families with their values of this moment, sorted by name and labels. One without series is left out.
    pub fn families(&self) -> Vec<Family> {
        let observed = |series: &Series| match series {
            Series::Value(value) => Observed::Value(*value),
            Series::Histogram(histogram) => {
                Observed::Histogram { counts: histogram.counts.clone(), sum: histogram.sum }
            }
        };
        self.refreshed()
            .into_iter()
            .map(|family| Family {
                name: family.name,
                help: family.help,
                kind: family.kind,
                labels: family.labels,
                bounds: family.bounds.clone(),
                series: family.lock().iter().map(|(values, series)| (values.clone(), observed(series))).collect(),
            })
            .filter(|family| !family.series.is_empty())
            .collect()
    }

    fn refreshed(&self) -> Vec<Arc<LiveFamily>> {
        let refreshers = self.before_scrape.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for refresh in refreshers {
            refresh();
        }
        self.families.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// All series, sorted by name and labels. A family without series is left out.
    pub fn encode(&self, format: Format) -> String {
        let mut out = String::new();
        for family in self.refreshed() {
            let series = family.lock();
            if !series.is_empty() {
                encode_family(&mut out, &family, &series, format);
            }
        }
        if format == Format::OpenMetrics {
            out.push_str("# EOF\n");
        }
        out
    }
}

fn encode_family(out: &mut String, family: &LiveFamily, series: &SeriesMap, format: Format) {
    let name = match (format, family.kind) {
        (Format::OpenMetrics, Kind::Counter) => family.name.trim_end_matches("_total"),
        _ => family.name,
    };
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let help = escape(family.help, format == Format::OpenMetrics);
    let _ = writeln!(out, "# HELP {name} {help}");
    let _ = writeln!(out, "# TYPE {name} {kind}");
    for (values, series) in series {
        match series {
            Series::Value(value) => {
                let _ = writeln!(out, "{}{} {}", family.name, label_set(family.labels, values), go_float(*value));
            }
            Series::Histogram(histogram) => encode_histogram(out, family, values, histogram, format),
        }
    }
}

fn encode_histogram(
    out: &mut String,
    family: &LiveFamily,
    values: &[String],
    histogram: &HistogramSeries,
    format: Format,
) {
    let mut cumulative = 0;
    let labels = label_set(family.labels, values);
    // The labels of a bucket go on from those of the series.
    let open = labels.strip_suffix('}').map_or_else(|| "{".to_owned(), |labels| format!("{labels},"));
    let bounds = family.bounds.iter().copied().chain([f64::INFINITY]);
    for ((bound, count), exemplar) in bounds.zip(&histogram.counts).zip(&histogram.exemplars) {
        cumulative += count;
        let le = match format {
            Format::Text => go_float(bound),
            Format::OpenMetrics => open_metrics_float(bound),
        };
        let _ = write!(out, "{}_bucket{open}le=\"{le}\"}} {cumulative}", family.name);
        if let (Format::OpenMetrics, Some((value, exemplar))) = (format, exemplar) {
            let _ = write!(
                out,
                " # {{trace_id=\"{}\"}} {} {:.3}",
                escape(&exemplar.trace_id, true),
                go_float(*value),
                exemplar.at_seconds
            );
        }
        out.push('\n');
    }
    let _ = writeln!(out, "{}_sum{labels} {}", family.name, go_float(histogram.sum));
    let _ = writeln!(out, "{}_count{labels} {cumulative}", family.name);
}

/// OpenMetrics wants bucket bounds to read as floats: `1.0`.
fn open_metrics_float(value: f64) -> String {
    let text = go_float(value);
    if value.is_finite() && !text.contains(['.', 'e']) { text + ".0" } else { text }
}

fn label_set(names: &[&str], values: &[String]) -> String {
    let parts: Vec<String> =
        names.iter().zip(values).map(|(name, value)| format!("{name}=\"{}\"", escape(value, true))).collect();
    if parts.is_empty() { String::new() } else { format!("{{{}}}", parts.join(",")) }
}

fn escape(text: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_counter_loses_its_suffix_only_as_an_open_metrics_family() {
        let registry = Registry::default();
        registry.counter("a_total", "A.", &["x"]).inc(&["1"]);
        registry.gauge("cells_total", "B.", &[]).set(&[], 3.0);
        assert_eq!(
            registry.encode(Format::Text),
            "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1\"} 1\n\
             # HELP cells_total B.\n# TYPE cells_total gauge\ncells_total 3\n"
        );
        assert_eq!(
            registry.encode(Format::OpenMetrics),
            "# HELP a A.\n# TYPE a counter\na_total{x=\"1\"} 1\n\
             # HELP cells_total B.\n# TYPE cells_total gauge\ncells_total 3\n# EOF\n"
        );
    }

    #[test]
    fn exemplars_are_on_the_bucket_of_their_value_and_only_in_open_metrics() {
        let registry = Registry::default();
        let histogram = registry.histogram("h_seconds", "H.", &["c"], vec![0.5, 1.0]);
        histogram.observe(&["x"], 0.7, Some(Exemplar { trace_id: "0af7".into(), at_seconds: 12.5 }));
        histogram.observe(&["x"], 0.5, None);
        let open_metrics = registry.encode(Format::OpenMetrics);
        assert!(open_metrics.contains("h_seconds_bucket{c=\"x\",le=\"0.5\"} 1\n"), "{open_metrics}");
        assert!(
            open_metrics.contains("h_seconds_bucket{c=\"x\",le=\"1.0\"} 2 # {trace_id=\"0af7\"} 0.7 12.500\n"),
            "{open_metrics}"
        );
        assert!(open_metrics.contains("h_seconds_bucket{c=\"x\",le=\"+Inf\"} 2\n"), "{open_metrics}");
        let text = registry.encode(Format::Text);
        assert!(text.contains("h_seconds_bucket{c=\"x\",le=\"1\"} 2\n"), "{text}");
        assert!(text.contains("h_seconds_sum{c=\"x\"} 1.2\nh_seconds_count{c=\"x\"} 2\n"), "{text}");
        assert!(!text.contains("0af7"));
    }

    #[test]
    fn a_replaced_phase_leaves_exactly_one_series_of_its_object() {
        let registry = Registry::default();
        let info = registry.gauge("info", "I.", &["name", "namespace", "phase"]);
        for (name, phase) in [("a", "Progressing"), ("b", "Healthy"), ("a", "Healthy")] {
            info.replace_where(&[("name", name), ("namespace", "n")], &[name, "n", phase], 1.0);
        }
        assert_eq!(info.value(&["a", "n", "Progressing"]), None);
        assert_eq!(info.value(&["a", "n", "Healthy"]), Some(1.0));
        assert_eq!(info.value(&["b", "n", "Healthy"]), Some(1.0));
        info.remove_where(&[("name", "a"), ("namespace", "n")]);
        assert_eq!(info.value(&["a", "n", "Healthy"]), None);
        info.remove_where(&[("no such label", "a")]);
        assert_eq!(info.value(&["b", "n", "Healthy"]), Some(1.0));
    }

    #[test]
    fn the_format_follows_the_weights() {
        for (accept, format) in [
            ("", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", Format::OpenMetrics),
            ("application/openmetrics-text;version=2.0.0", Format::Text),
            ("application/openmetrics-text;q=0.3,text/plain;q=0.5", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,*/*;q=0.2",
                Format::OpenMetrics,
            ),
        ] {
            assert_eq!(Format::negotiate(accept), format, "{accept}");
        }
    }

    #[test]
    fn label_values_and_help_are_escaped() {
        let registry = Registry::default();
        registry.gauge("g", "back\\slash \"quoted\"\nnext", &["x"]).set(&["a\"b\\c\nd"], 1.0);
        assert_eq!(
            registry.encode(Format::Text),
            "# HELP g back\\\\slash \"quoted\"\\nnext\n# TYPE g gauge\ng{x=\"a\\\"b\\\\c\\nd\"} 1\n"
        );
        assert!(registry.encode(Format::OpenMetrics).starts_with("# HELP g back\\\\slash \\\"quoted\\\"\\nnext\n"));
    }

    proptest! {
        #[test]
        fn another_parser_reads_the_values_back(
            values in proptest::collection::btree_map("[a-z]{1,8}", -1e9_f64..1e9, 1..8),
            observations in proptest::collection::vec(0.0_f64..20.0, 0..40),
        ) {
            let registry = Registry::default();
            let gauge = registry.gauge("gauge", "G.", &["key"]);
            for (key, value) in &values {
                gauge.set(&[key], *value);
            }
            let histogram = registry.histogram("histogram", "H.", &[], vec![0.1, 1.0, 10.0]);
            histogram.touch(&[]);
            for value in &observations {
                histogram.observe(&[], *value, None);
            }
            let text = registry.encode(Format::Text);
            let scrape = prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
            let read: BTreeMap<String, f64> = scrape
                .samples
                .iter()
                .filter(|sample| sample.metric == "gauge")
                .map(|sample| match &sample.value {
                    prometheus_parse::Value::Gauge(value) => (sample.labels.get("key").unwrap().to_owned(), *value),
                    other => panic!("not a gauge: {other:?}"),
                })
                .collect();
            prop_assert_eq!(read, values);
            let buckets = scrape.samples.iter().find_map(|sample| match &sample.value {
                prometheus_parse::Value::Histogram(buckets) => Some(buckets),
                _ => None,
            }).unwrap();
            for bucket in buckets {
                let expected = observations.iter().filter(|value| **value <= bucket.less_than).count();
                prop_assert_eq!(bucket.count, expected as f64);
            }
        }
    }
}
