//! What a run recorded, told to a real Prometheus and asked again by the run's own expectations.
//!
//! A run under virtual time is over in a second; what it stored is written to the real Prometheus by remote write, sample by
//! sample with stale markers, and the scenario's queries are judged once more, by the same code, on the real one's answers.
//! Alerts are not asked here, since their series would be an echo of the run's own: promtool judges those from the rules.

use std::sync::Arc;

use async_trait::async_trait;
use scenario_expectations::{BackendError, Backends, LogLine, backends::Result, evaluate};
use scenario_language::{Kind, Scenario};
use scenario_runner::recording::Recording;
use serde_json::Value;

use crate::{
    Error,
    prometheus::Prometheus,
    remote_write::{Sample, TimeSeries, labels},
};

/// One query expectation, judged by the real Prometheus.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Its place in the scenario.
    pub expectation: usize,
    /// Its line in the file.
    pub line: usize,
    /// What is expected.
    pub what: String,
    /// Whether it holds.
    pub ok: bool,
    /// What was found.
    pub found: String,
}

/// The recorded series as remote write takes them; a label without value is none.
pub fn series(recording: &Recording) -> Vec<TimeSeries> {
    let series = recording.stored.iter().map(|(pairs, samples)| TimeSeries {
        labels: labels(pairs.iter().filter(|(_, value)| !value.is_empty()).map(|(n, v)| (n.as_str(), v.as_str()))),
        samples: samples.iter().map(|&(timestamp, value)| Sample { value, timestamp }).collect(),
        histograms: Vec::new(),
    });
    series.collect()
}

/// Writes a recording to `prometheus` and judges the scenario's queries on its answers. No other run may be in it.
pub async fn queries(
    prometheus: &Prometheus,
    scenario: &Scenario,
    recording: &Recording,
) -> std::result::Result<Vec<Verdict>, Error> {
    prometheus.write(&series(recording)).await?;
    let Some(clock) = recording.clock else { return Ok(Vec::new()) };
    let real = Real { prometheus, recording, now_ns: clock.at_ns(clock.end) };
    let mut verdicts = Vec::new();
    for (expectation, wanted) in scenario.expect.iter().enumerate() {
        if !matches!(wanted.kind, Kind::Query(_)) {
            continue;
        }
        let seen = evaluate(scenario, wanted, &real, &clock, clock.end).await;
        verdicts.push(Verdict {
            expectation,
            line: wanted.span.line,
            what: wanted.describe(),
            ok: seen.ok,
            found: seen.story.found,
        });
    }
    Ok(verdicts)
}

/// The query interfaces as a query needs them: PromQL by the real Prometheus, the intervals of scrapes and rules as recorded.
struct Real<'r> {
    prometheus: &'r Prometheus,
    recording: &'r Recording,
    now_ns: i64,
}

const NOT_REPLAYED: &str = "only what Prometheus stored is replayed";

impl Real<'_> {
    async fn data(&self, path: String) -> Result<Value> {
        let unreachable = |error: Error| BackendError::Unreachable { backend: "Prometheus", reason: error.to_string() };
        let (status, mut body) = self.prometheus.ask(&path, None).await.map_err(unreachable)?;
        if body["status"] == "success" {
            return Ok(body["data"].take());
        }
        Err(BackendError::Refused { backend: "Prometheus", status, message: body["error"].to_string() })
    }
}

fn unreplayed<T>(backend: &'static str) -> Result<T> {
    Err(BackendError::Unreachable { backend, reason: NOT_REPLAYED.to_owned() })
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000))
}

#[async_trait]
impl Backends for Real<'_> {
    async fn prom_query(&self, expr: &str, at_ms: i64) -> Result<Value> {
        self.data(format!("/api/v1/query?query={}&time={}", encode(expr), seconds(at_ms))).await
    }

    async fn prom_query_range(&self, expr: &str, start_ms: i64, end_ms: i64, step_ms: i64) -> Result<Value> {
        let (start, end, step) = (seconds(start_ms), seconds(end_ms), seconds(step_ms));
        self.data(format!("/api/v1/query_range?query={}&start={start}&end={end}&step={step}", encode(expr))).await
    }

    async fn prom_get(&self, path: &str) -> Result<Value> {
        match path {
            "/api/v1/rules" => Ok(self.recording.rules.clone()),
            "/api/v1/targets" => Ok(self.recording.targets.clone()),
            _ => self.data(path.to_owned()).await,
        }
    }

    async fn kube_list(&self, _: &str, _: Option<&str>) -> Result<Arc<Vec<Value>>> {
        unreplayed("the Kubernetes API")
    }

    async fn kube_get(&self, _: &str, _: Option<&str>, _: &str) -> Result<Option<Value>> {
        unreplayed("the Kubernetes API")
    }

    async fn tempo_search(&self, _: &str, _: i64, _: i64, _: usize) -> Result<Value> {
        unreplayed("Tempo")
    }

    async fn tempo_trace(&self, _: &str) -> Result<Option<Value>> {
        unreplayed("Tempo")
    }

    async fn etcd_get(&self, _: &str) -> Result<Option<Vec<u8>>> {
        unreplayed("etcd")
    }

    async fn etcd_list(&self, _: &str) -> Result<Vec<String>> {
        unreplayed("etcd")
    }

    async fn logs(&self) -> Result<Vec<LogLine>> {
        unreplayed("the logs")
    }

    fn now_ns(&self) -> i64 {
        self.now_ns
    }
}

/// Percent-encodes everything but what is safe in any part of a URL.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
