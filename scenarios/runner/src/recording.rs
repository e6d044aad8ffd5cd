//! What Prometheus stored in a run and told Alertmanager, and whom that told, for other engines to judge.

use std::{collections::BTreeMap, time::Duration};

use scenario_expectations::{Backends, RunClock, backends::Result, notification::Told};
use serde_json::Value;
use sim_clock::Timestamp;
use sim_prometheus::{export, server::Prometheus};

/// The labels of a series.
pub type Labels = BTreeMap<String, String>;

/// Everything that was stored between zero and the end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// The rule groups as `/api/v1/rules` shows them.
    pub rules: Value,
    /// Series with their samples: milliseconds since the Unix epoch and value. Staleness shows as a gap.
    pub series: Vec<(Labels, Vec<(i64, f64)>)>,
    /// The same bit by bit as they are stored, stale markers included.
    pub stored: Vec<(Labels, Vec<(i64, f64)>)>,
    /// The scrape targets as `/api/v1/targets` shows them.
    pub targets: Value,
    /// What Alertmanager was sent: milliseconds since the Unix epoch, and the alerts as they came.
    pub posted: Vec<(i64, String)>,
    /// Who was told of what, from zero on.
    pub told: Vec<Told>,
    /// Where on the clock the scenario lay.
    pub clock: Option<RunClock>,
    /// The ids of all traces that Tempo holds, sorted.
    pub trace_ids: Vec<String>,
    /// The operator's `/metrics` at the end, in the text format; empty where no operator runs.
    pub operator_metrics: String,
}

/// Traces whose ids are kept at the most.
const TRACES_MAX: usize = 100_000;

impl Recording {
    /// Reads everything back from Prometheus.
    pub(crate) async fn take(
        backends: &dyn Backends,
        zero: Timestamp,
        end: Duration,
        operator_metrics: String,
        prometheus: Option<Prometheus>,
    ) -> Result<Self> {
        let end_ms = zero.as_millis() + end.as_millis() as i64;
        let query = format!("{{__name__=~\".+\"}}[{}s]", end.as_secs().max(1));
        let data = backends.prom_query(&query, end_ms).await?;
        let series = data["result"].as_array().into_iter().flatten().map(|series| {
            let labels = series["metric"].as_object().into_iter().flatten();
            let labels =
                labels.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
            let samples = series["values"].as_array().into_iter().flatten().map(|sample| {
                let at_ms = (sample[0].as_f64().unwrap_or_default() * 1_000.0).round() as i64;
                (at_ms, sample[1].as_str().and_then(|value| value.parse().ok()).unwrap_or(f64::NAN))
            });
            (labels, samples.collect())
        });
        let found = backends.tempo_search("{}", 0, end_ms / 1_000 + 60, TRACES_MAX).await?;
        let ids = found["traces"].as_array().into_iter().flatten().filter_map(|trace| trace["traceID"].as_str());
        let mut trace_ids: Vec<String> = ids.map(ToOwned::to_owned).collect();
        trace_ids.sort();
        let stored =
            prometheus.map(|prometheus| prometheus.with_store(|store| export::floats(store, i64::MIN + 1, i64::MAX)));
        let stored = stored.unwrap_or_default().into_iter().map(|(labels, samples)| {
            (labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), samples)
        });
        Ok(Self {
            series: series.collect(),
            stored: stored.collect(),
            targets: backends.prom_get("/api/v1/targets").await?,
            posted: Vec::new(),
            told: Vec::new(),
            clock: Some(RunClock { zero_ns: zero.as_nanos(), end }),
            rules: backends.prom_get("/api/v1/rules").await?,
            trace_ids,
            operator_metrics,
        })
    }
}
