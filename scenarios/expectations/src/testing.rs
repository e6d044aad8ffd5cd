//! Expectations for tests, written as they are in scenario files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use scenario_language::{
    AlertPattern, CorrelationPattern, EventPattern, Expectation, Kind, LogsPattern, NotificationPattern, ObjectPattern,
    QueryPattern, Scenario, ScrapePattern, TopologyPattern, TracePattern, parse,
};
use serde_json::{Value, json};

use crate::backends::{BackendError, Backends, LogLine, Result};
use crate::judge::Judge;
use crate::outcome::Outcome;

/// A scenario of an hour around a timeline and expectations.
pub fn scenario(rest: &str) -> Scenario {
    let text = format!("name: t\nsummary: t\npromises: [E2]\nduration: 1h\n{rest}");
    let (scenario, findings) = parse("t.yaml", &text);
    assert!(findings.is_empty(), "{}", scenario_language::render(&findings));
    scenario.unwrap()
}

/// One expectation from its YAML.
pub fn expectation(yaml: &str) -> One {
    let mut lines = yaml.lines();
    let mut text = format!("expect:\n  - {}\n", lines.next().unwrap_or_default());
    for line in lines {
        text.push_str(&format!("    {line}\n"));
    }
    One(scenario(&text).expect.remove(0))
}

/// One expectation of a known kind.
pub struct One(pub Expectation);

macro_rules! kinds {
    ($($name:ident $variant:ident $pattern:ty),*) => {
        impl One {
            $(pub fn $name(self) -> $pattern {
                match self.0.kind {
                    Kind::$variant(pattern) => pattern,
                    other => panic!("a test asked for another kind than {other:?}"),
                }
            })*
        }
    };
}

kinds!(
    event Event EventPattern, object Object ObjectPattern, query Query QueryPattern, alert Alert AlertPattern,
    trace Trace TracePattern, logs Logs LogsPattern, correlation Correlation CorrelationPattern,
    topology Topology TopologyPattern, scrape Scrape ScrapePattern, notification Notification NotificationPattern
);

/// Runs a future that never waits, as those over [`Fake`] do.
pub fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    futures::FutureExt::now_or_never(future).expect("a fake backend never waits")
}

/// Backends with one cluster whose phase changes at known instants, and fixed answers for everything else.
#[derive(Default)]
pub struct Fake {
    /// Seconds since zero.
    pub now_s: AtomicU64,
    /// From which second on the cluster is in which phase; none before the first.
    pub phases: Vec<(u64, &'static str)>,
    /// Answers of Prometheus by expression or path.
    pub prom: BTreeMap<&'static str, Value>,
    /// How often the API was listed.
    pub lists: AtomicU64,
    /// From which second to which the API server is away.
    pub away: Option<(u64, u64)>,
}

/// The zero of a fake run.
pub const ZERO_NS: i64 = 1_767_225_600_000_000_000;

impl Fake {
    /// Plays a scenario against the fake and gives the verdicts.
    pub fn play(&self, scenario: &Scenario) -> Vec<Outcome> {
        let mut judge = Judge::new(scenario, ZERO_NS);
        let mut last = None;
        while let Some(at) = judge.next() {
            assert!(last.is_none_or(|last| at > last), "the judge looks twice at {at:?}");
            assert!(at <= scenario.duration.value, "the judge looks after the end");
            last = Some(at);
            self.now_s.store(at.as_secs(), Ordering::Relaxed);
            now_or_never(judge.look(at, self));
        }
        self.now_s.store(scenario.duration.value.as_secs(), Ordering::Relaxed);
        now_or_never(judge.finish(self))
    }

    /// The only verdict on a scenario with one expectation.
    pub fn judge(&self, yaml: &str) -> Outcome {
        let mut lines = yaml.lines();
        let mut text = "timeline:\n  - delete: Pod/x\n    at: 10m\n    as: changed\nexpect:\n".to_string();
        text.push_str(&format!("  - {}\n", lines.next().unwrap_or_default()));
        for line in lines {
            text.push_str(&format!("    {line}\n"));
        }
        let mut outcomes = self.play(&scenario(&text));
        assert_eq!(outcomes.len(), 1);
        outcomes.remove(0)
    }

    fn answer(&self, key: &str) -> Result<Value> {
        let missing =
            || BackendError::Refused { backend: "Prometheus", status: 400, message: format!("no answer for {key}") };
        self.prom.get(key).cloned().ok_or_else(missing)
    }
}

#[async_trait]
impl Backends for Fake {
    async fn kube_list(&self, kind: &str, _: Option<&str>) -> Result<Arc<Vec<Value>>> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        let now = self.now_s.load(Ordering::Relaxed);
        if self.away.is_some_and(|(from, to)| (from..to).contains(&now)) {
            return Err(BackendError::Unreachable { backend: "the Kubernetes API", reason: "refused".to_string() });
        }
        let phase = self.phases.iter().rev().find(|(from, _)| *from <= now).map(|(_, phase)| phase);
        let cluster =
            |phase| json!({"metadata": {"name": "minimal", "namespace": "default"}, "status": {"phase": phase}});
        Ok(Arc::new(if kind == "MultigresCluster" { phase.map(cluster).into_iter().collect() } else { Vec::new() }))
    }

    async fn kube_get(&self, _: &str, _: Option<&str>, _: &str) -> Result<Option<Value>> {
        Ok(None)
    }

    async fn prom_query(&self, expr: &str, _: i64) -> Result<Value> {
        self.answer(expr)
    }

    async fn prom_query_range(&self, expr: &str, _: i64, _: i64, _: i64) -> Result<Value> {
        self.answer(&format!("range {expr}"))
    }

    async fn prom_get(&self, path: &str) -> Result<Value> {
        self.answer(path)
    }

    async fn tempo_search(&self, _: &str, _: i64, _: i64, _: usize) -> Result<Value> {
        Ok(json!({"traces": []}))
    }

    async fn tempo_trace(&self, _: &str) -> Result<Option<Value>> {
        Ok(None)
    }

    async fn etcd_get(&self, _: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    async fn etcd_list(&self, _: &str) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn logs(&self) -> Result<Vec<LogLine>> {
        Ok(Vec::new())
    }

    fn now_ns(&self) -> i64 {
        ZERO_NS + i64::try_from(self.now_s.load(Ordering::Relaxed)).unwrap() * 1_000_000_000
    }
}
