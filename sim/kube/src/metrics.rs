//! What the API server counts of itself, and `/metrics`.
//!
//! Names, labels and buckets are the real server's; what is not counted here is not shown. A world's time is virtual: a request
//! that waits for nothing takes none of it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sim_clock::Timestamp;

use crate::{discovery, engine::Engine};

/// Most label sets a family keeps; requests beyond them are not counted.
const SERIES_MAX: usize = 8192;
/// Upper bounds of `apiserver_request_duration_seconds`.
const REQUEST_SECONDS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];
/// Upper bounds of `apiserver_admission_webhook_admission_duration_seconds`.
const WEBHOOK_SECONDS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];

/// A histogram: how many fell below each bound, all of them, and their sum.
#[derive(Clone, Debug, Default)]
struct Histogram {
    below: Vec<u64>,
    count: u64,
    sum: f64,
}

impl Histogram {
    fn observe(&mut self, bounds: &[f64], value: f64) {
        self.below.resize(bounds.len(), 0);
        for (below, bound) in self.below.iter_mut().zip(bounds) {
            *below += u64::from(value <= *bound);
        }
        self.count += 1;
        self.sum += value;
    }

    fn write(&self, out: &mut String, name: &str, labels: &str, bounds: &[f64]) {
        for (below, bound) in self.below.iter().zip(bounds) {
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
        }
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", self.count);
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}", self.sum);
        let _ = writeln!(out, "{name}_count{{{labels}}} {}", self.count);
    }
}

/// Requests of one label set.
#[derive(Debug, Default)]
struct Requests {
    codes: BTreeMap<u16, u64>,
    durations: Histogram,
    running: u64,
}

/// Calls of one webhook, phase and operation.
#[derive(Debug, Default)]
struct Calls {
    durations: Histogram,
    codes: BTreeMap<u16, u64>,
}

#[derive(Debug, Default)]
struct Book {
    requests: BTreeMap<String, Requests>,
    webhooks: BTreeMap<String, Calls>,
    failed_open: BTreeMap<String, u64>,
    rejections: BTreeMap<String, u64>,
    events: BTreeMap<String, Arc<AtomicU64>>,
    in_flight: [u64; 2],
}

/// The counters of a server; clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(Arc<Mutex<Book>>);

/// What a request is about, as its labels say it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Labels<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    /// `resource`, `namespace`, `cluster`, or empty.
    pub scope: &'a str,
    /// `GET`, `LIST`, `APPLY` …
    pub verb: &'a str,
    pub dry_run: bool,
}

impl Labels<'_> {
    fn text(&self) -> String {
        format!(
            "dry_run=\"{}\",group=\"{}\",resource=\"{}\",scope=\"{}\",subresource=\"{}\",verb=\"{}\",version=\"{}\"",
            if self.dry_run { "All" } else { "" },
            escaped(self.group),
            escaped(self.resource),
            self.scope,
            escaped(self.subresource),
            self.verb,
            escaped(self.version),
        )
    }
}

/// How a webhook's call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Called {
    /// It let the request pass.
    Allowed,
    /// It refused with this code.
    Refused(u16),
    /// It could not be asked, and the request fails.
    FailedClosed,
    /// It could not be asked, and the request goes on.
    FailedOpen,
}

/// A request that is being answered, or a stream that is open.
#[derive(Debug)]
pub(crate) struct Running(Metrics, Kind);

#[derive(Debug)]
enum Kind {
    Short { mutating: bool },
    Long { labels: String, since: Timestamp },
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut book = self.0.book();
        match &self.1 {
            Kind::Short { mutating } => book.in_flight[usize::from(*mutating)] -= 1,
            Kind::Long { labels, since } => {
                if let Some(requests) = book.requests.get_mut(labels) {
                    requests.running -= 1;
                    *requests.codes.entry(200).or_default() += 1;
                    requests.durations.observe(REQUEST_SECONDS, seconds(sim_clock::now().since(*since)));
                }
            }
        }
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn escaped(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains(['\\', '"', '\n']) {
        text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").into()
    } else {
        text.into()
    }
}

/// The entry of a label set, unless there are too many.
fn entry<T: Default>(map: &mut BTreeMap<String, T>, labels: String) -> Option<&mut T> {
    if map.len() >= SERIES_MAX && !map.contains_key(&labels) {
        return None;
    }
    Some(map.entry(labels).or_default())
}

impl Metrics {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request as in flight as long as the guard lives.
    pub(crate) fn in_flight(&self, mutating: bool) -> Running {
        self.book().in_flight[usize::from(mutating)] += 1;
        Running(self.clone(), Kind::Short { mutating })
    }

    /// Counts a stream as running as long as the guard lives, and as a request when it ends.
    pub(crate) fn stream(&self, labels: &Labels<'_>) -> Option<Running> {
        let labels = labels.text();
        entry(&mut self.book().requests, labels.clone())?.running += 1;
        Some(Running(self.clone(), Kind::Long { labels, since: sim_clock::now() }))
    }

    /// Counts an answered request.
    pub(crate) fn answered(&self, labels: &Labels<'_>, code: u16, took: Duration) {
        let mut book = self.book();
        if let Some(requests) = entry(&mut book.requests, labels.text()) {
            *requests.codes.entry(code).or_default() += 1;
            requests.durations.observe(REQUEST_SECONDS, seconds(took));
        }
    }

    /// The counter of the events that watches of a kind send.
    pub(crate) fn events(&self, group: &str, kind: &str, version: &str) -> Arc<AtomicU64> {
        let labels =
            format!("group=\"{}\",kind=\"{}\",version=\"{}\"", escaped(group), escaped(kind), escaped(version));
        entry(&mut self.book().events, labels).cloned().unwrap_or_default()
    }

    /// Counts the call of a webhook; `phase` is `admit` or `validating`.
    pub(crate) fn webhook(&self, name: &str, phase: &str, operation: &str, called: Called, took: Duration) {
        let mut book = self.book();
        let name = escaped(name);
        let rejected = matches!(called, Called::Refused(_) | Called::FailedClosed);
        let labels = format!("name=\"{name}\",operation=\"{operation}\",rejected=\"{rejected}\",type=\"{phase}\"");
        if let Some(calls) = entry(&mut book.webhooks, labels) {
            calls.durations.observe(WEBHOOK_SECONDS, seconds(took));
            let code = match called {
                Called::Allowed => 200,
                Called::Refused(code) => code,
                Called::FailedClosed | Called::FailedOpen => 0,
            };
            *calls.codes.entry(code).or_default() += 1;
        }
        match called {
            Called::FailedOpen => {
                if let Some(count) = entry(&mut book.failed_open, format!("name=\"{name}\",type=\"{phase}\"")) {
                    *count += 1;
                }
            }
            Called::Allowed => {}
            Called::Refused(_) | Called::FailedClosed => {
                let (error, code) = match called {
                    Called::Refused(code) => ("no_error", code),
                    _ => ("calling_webhook_error", 0),
                };
                let labels = format!(
                    "error_type=\"{error}\",name=\"{name}\",operation=\"{operation}\",rejection_code=\"{code}\",type=\"{phase}\""
                );
                if let Some(count) = entry(&mut book.rejections, labels) {
                    *count += 1;
                }
            }
        }
    }

    /// The page, in the text format of Prometheus.
    pub(crate) fn page(&self, engine: &Engine, started: Timestamp) -> String {
        let book = self.book();
        let mut out = String::new();
        let out = &mut out;
        webhooks(out, &book);
        family(out, "apiserver_current_inflight_requests", "gauge", "Requests that are being answered, by kind.");
        for (kind, count) in ["readOnly", "mutating"].iter().zip(book.in_flight) {
            let _ = writeln!(out, "apiserver_current_inflight_requests{{request_kind=\"{kind}\"}} {count}");
        }
        family(out, "apiserver_longrunning_requests", "gauge", "Streams that are open.");
        for (labels, requests) in book.requests.iter().filter(|(_, r)| r.running > 0) {
            let labels = labels.strip_prefix("dry_run=\"\",").unwrap_or(labels);
            let count = requests.running;
            let _ = writeln!(out, "apiserver_longrunning_requests{{component=\"apiserver\",{labels}}} {count}");
        }
        family(out, "apiserver_request_duration_seconds", "histogram", "How long requests took.");
        for (labels, requests) in book.requests.iter().filter(|(_, r)| r.durations.count > 0) {
            let labels = format!("component=\"apiserver\",{labels}");
            requests.durations.write(out, "apiserver_request_duration_seconds", &labels, REQUEST_SECONDS);
        }
        family(
            out,
            "apiserver_request_total",
            "counter",
            "Requests that were answered, by what they ask and the code.",
        );
        for (labels, requests) in &book.requests {
            for (code, count) in &requests.codes {
                let _ = writeln!(
                    out,
                    "apiserver_request_total{{code=\"{code}\",component=\"apiserver\",{labels}}} {count}"
                );
            }
        }
        family(out, "apiserver_storage_objects", "gauge", "Stored objects, by resource.");
        for resource in engine.registry().tables() {
            let count = engine.scan(&resource.table, None).count();
            if count > 0 || resource.verbs.contains(&"watch") {
                let table = escaped(&resource.table);
                let _ = writeln!(out, "apiserver_storage_objects{{resource=\"{table}\"}} {count}");
            }
        }
        let events =
            book.events.iter().map(|(labels, count)| (labels.clone(), count.load(Ordering::Relaxed))).collect();
        counters(out, "apiserver_watch_events_total", "Events that watches sent.", &events);
        family(out, "kubernetes_build_info", "gauge", "The version of the server.");
        let version = discovery::version();
        let text = |key: &str| version[key].as_str().unwrap_or_default().to_owned();
        let _ = writeln!(
            out,
            "kubernetes_build_info{{build_date=\"{}\",compiler=\"{}\",git_commit=\"{}\",git_tree_state=\"{}\",git_version=\"{}\",go_version=\"{}\",major=\"{}\",minor=\"{}\",platform=\"{}\"}} 1",
            text("buildDate"),
            text("compiler"),
            text("gitCommit"),
            text("gitTreeState"),
            text("gitVersion"),
            text("goVersion"),
            text("major"),
            text("minor"),
            text("platform"),
        );
        family(out, "process_start_time_seconds", "gauge", "When the server started, in Unix seconds.");
        let _ = writeln!(out, "process_start_time_seconds {}", started.as_secs());
        std::mem::take(out)
    }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn counters(out: &mut String, name: &str, help: &str, counts: &BTreeMap<String, u64>) {
    if counts.is_empty() {
        return;
    }
    family(out, name, "counter", help);
    for (labels, count) in counts {
        let _ = writeln!(out, "{name}{{{labels}}} {count}");
    }
}

/// What is told of admission webhooks, once one was called.
fn webhooks(out: &mut String, book: &Book) {
    if !book.webhooks.is_empty() {
        let name = "apiserver_admission_webhook_admission_duration_seconds";
        family(out, name, "histogram", "How long calls of admission webhooks took.");
        for (labels, calls) in &book.webhooks {
            calls.durations.write(out, name, labels, WEBHOOK_SECONDS);
        }
    }
    let name = "apiserver_admission_webhook_fail_open_count";
    counters(out, name, "Calls that failed and were ignored.", &book.failed_open);
    let name = "apiserver_admission_webhook_rejection_count";
    counters(out, name, "Requests that webhooks rejected.", &book.rejections);
    if !book.webhooks.is_empty() {
        let name = "apiserver_admission_webhook_request_total";
        family(out, name, "counter", "Calls of admission webhooks, by the code of their answer.");
        for (labels, calls) in &book.webhooks {
            for (code, count) in &calls.codes {
                let _ = writeln!(out, "{name}{{code=\"{code}\",{labels}}} {count}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: Labels<'_> = Labels {
        group: "apps",
        version: "v1",
        resource: "deployments",
        subresource: "",
        scope: "namespace",
        verb: "LIST",
        dry_run: false,
    };

    fn page(metrics: &Metrics) -> String {
        let engine = Engine::new(sim_clock::seeded("test"), sim_clock::now());
        metrics.page(&engine, Timestamp::from_secs(7))
    }

    #[test]
    fn requests_are_counted_by_code_and_fall_into_buckets() {
        let text = sim_clock::run(sim_clock::WorldOptions::seeded(1), || async {
            let metrics = Metrics::default();
            metrics.answered(&LABELS, 200, Duration::from_millis(30));
            metrics.answered(&LABELS, 200, Duration::from_secs(70));
            metrics.answered(&LABELS, 404, Duration::ZERO);
            page(&metrics)
        })
        .unwrap();
        let labels = "component=\"apiserver\",dry_run=\"\",group=\"apps\",resource=\"deployments\",scope=\"namespace\",subresource=\"\",verb=\"LIST\",version=\"v1\"";
        for line in [
            format!("apiserver_request_total{{code=\"200\",{labels}}} 2"),
            format!("apiserver_request_total{{code=\"404\",{labels}}} 1"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"0.005\"}} 1"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"0.05\"}} 2"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"60\"}} 2"),
            format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} 3"),
            format!("apiserver_request_duration_seconds_sum{{{labels}}} 70.03"),
            "process_start_time_seconds 7".to_owned(),
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nin\n{text}");
        }
    }

    #[test]
    fn what_runs_is_shown_until_it_ends() {
        let (during, after) = sim_clock::run(sim_clock::WorldOptions::seeded(1), || async {
            let metrics = Metrics::default();
            let stream = metrics.stream(&Labels { verb: "WATCH", scope: "cluster", ..LABELS });
            let request = metrics.in_flight(true);
            let during = page(&metrics);
            tokio::time::sleep(Duration::from_secs(3)).await;
            drop((stream, request));
            (during, page(&metrics))
        })
        .unwrap();
        let running = "apiserver_longrunning_requests{component=\"apiserver\",group=\"apps\",resource=\"deployments\",scope=\"cluster\",subresource=\"\",verb=\"WATCH\",version=\"v1\"} 1";
        assert!(during.contains(running), "{during}");
        assert!(during.contains("apiserver_current_inflight_requests{request_kind=\"mutating\"} 1"), "{during}");
        assert!(!during.contains("apiserver_request_total{"), "{during}");
        assert!(!after.contains("apiserver_longrunning_requests{"), "{after}");
        assert!(after.contains("apiserver_current_inflight_requests{request_kind=\"mutating\"} 0"), "{after}");
        assert!(after.contains("verb=\"WATCH\",version=\"v1\",le=\"2\"} 0"), "{after}");
        assert!(after.contains("verb=\"WATCH\",version=\"v1\",le=\"3\"} 1"), "{after}");
    }

    #[test]
    fn a_family_keeps_no_more_label_sets_than_its_limit() {
        let metrics = Metrics::default();
        for n in 0..SERIES_MAX + 5 {
            metrics.events("", &format!("Kind\"{n}"), "v1").fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(metrics.book().events.len(), SERIES_MAX);
        assert!(metrics.book().events.contains_key("group=\"\",kind=\"Kind\\\"0\",version=\"v1\""));
    }
}
