//! When an expectation is looked at, and what the looks amount to.

use std::time::Duration;

use scenario_language::{Expectation, Kind, Scenario, StageWindow, When, format_duration};

use crate::backends::{BackendError, Backends, Memo};
use crate::outcome::{Observation, Outcome, Story};
use crate::{RunClock, alert, correlation, event, golden, logs, notification, object, query, scrape, topology, trace};

/// How often a live expectation with a deadline is looked at.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is looked at while it has to stay true.
pub const HOLD_INTERVAL: Duration = Duration::from_secs(5);
/// Most looks within one window; a longer window is looked at less often.
pub const LOOKS_MAX: u32 = 600;

/// A stretch of the run in which an expectation is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks {
    /// The first look, from zero.
    pub from: Duration,
    /// The last look.
    pub to: Duration,
    /// The time between two looks.
    pub every: Duration,
}

/// What the runner has to do for one expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The expectation's place in the scenario's list.
    pub expectation: usize,
    /// Looks during the run; none when everything is recorded and judged at the end.
    pub live: Option<Looks>,
}

/// How the looks of a stretch are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Judged once, by the last look.
    Last,
    /// True at one look at least; then, with `true`, at all later ones.
    Once(bool),
    /// True at every look.
    Every,
}

/// Whether the expectation can only be judged while it happens.
fn is_live(kind: &Kind) -> bool {
    matches!(kind, Kind::Event(_) | Kind::Object(_) | Kind::Topology(_) | Kind::Scrape(_))
}

/// The plan of a scenario, expectation by expectation.
pub fn plan(scenario: &Scenario) -> Vec<Plan> {
    (0..scenario.expect.len())
        .map(|index| Plan { expectation: index, live: looks(scenario, &scenario.expect[index]) })
        .collect()
}

fn looks(scenario: &Scenario, expectation: &Expectation) -> Option<Looks> {
    let end = scenario.duration.value;
    if let Kind::Alert(alert) = &expectation.kind {
        // Prometheus forgets the annotations of an alert when it resolves.
        let stage = alert.firing.as_ref().or(alert.pending.as_ref())?;
        let StageWindow::In(window) = stage.value else { return None };
        let at = window.within(end).1;
        return (!alert.annotations.is_empty()).then_some(Looks { from: at, to: at, every: POLL_INTERVAL });
    }
    if !is_live(&expectation.kind) {
        return None;
    }
    let (from, to) = match &expectation.when {
        When::End => return None,
        When::At(at) if expectation.then_always => (at.value, end),
        When::At(at) => (at.value, at.value),
        When::By(by) => (Duration::ZERO, if expectation.then_always { end } else { by.value }),
        When::Within { of, after } => {
            let start = scenario.instant(&after.value).unwrap_or_default();
            (start, if expectation.then_always { end } else { start + of.value })
        }
        When::Always(window) | When::Never(window) => window.value.within(end),
    };
    let every = match &expectation.when {
        When::By(_) | When::Within { .. } => POLL_INTERVAL,
        _ => HOLD_INTERVAL.max(to.saturating_sub(from) / LOOKS_MAX),
    };
    Some(Looks { from, to: to.min(end), every })
}

fn rule(expectation: &Expectation) -> Rule {
    match &expectation.when {
        When::End => Rule::Last,
        When::At(_) if expectation.then_always => Rule::Every,
        When::At(_) => Rule::Last,
        // `not` by a deadline means: at no instant before it.
        When::By(_) | When::Within { .. } if expectation.negated => Rule::Every,
        When::By(_) | When::Within { .. } => Rule::Once(expectation.then_always),
        When::Always(_) | When::Never(_) => Rule::Every,
    }
}

/// The last instant at which a `by` or `within` may become true.
fn deadline(scenario: &Scenario, expectation: &Expectation) -> Duration {
    match &expectation.when {
        When::By(by) => by.value,
        When::Within { of, after } => scenario.instant(&after.value).unwrap_or_default() + of.value,
        _ => scenario.duration.value,
    }
}

/// What is known about one expectation so far.
#[derive(Clone, Debug, Default)]
struct Ledger {
    next: Option<Duration>,
    first_true: Option<Observation>,
    last: Option<Observation>,
    /// Decided: no look can change it any more.
    decided: Option<(bool, Observation)>,
    annotations: Option<Observation>,
}

/// Judges a scenario while it runs.
///
/// The runner waits until [`next`](Self::next), calls [`look`](Self::look), and so on; after the end and the final
/// flush it calls [`finish`](Self::finish).
pub struct Judge<'s> {
    scenario: &'s Scenario,
    clock: RunClock,
    ledgers: Vec<Ledger>,
}

impl<'s> Judge<'s> {
    /// A judge that has seen nothing. `zero_ns` is the scenario's zero in nanoseconds since the Unix epoch.
    pub fn new(scenario: &'s Scenario, zero_ns: i64) -> Self {
        let clock = RunClock { zero_ns, end: scenario.duration.value };
        let ledgers = plan(scenario)
            .into_iter()
            .map(|plan| Ledger { next: plan.live.map(|looks| looks.from), ..Ledger::default() })
            .collect();
        Self { scenario, clock, ledgers }
    }

    /// When the judge wants to look next, from zero; `None` when all looks are taken.
    pub fn next(&self) -> Option<Duration> {
        self.ledgers.iter().filter_map(|ledger| ledger.next).min()
    }

    /// Looks at everything that is due at `at`.
    pub async fn look(&mut self, at: Duration, backends: &dyn Backends) {
        let memo = Memo::new(backends);
        for index in 0..self.ledgers.len() {
            if self.ledgers[index].next.is_none_or(|next| next > at) {
                continue;
            }
            let expectation = &self.scenario.expect[index];
            if let Kind::Alert(pattern) = &expectation.kind {
                let seen = alert::annotations(pattern, &memo).await;
                let ledger = &mut self.ledgers[index];
                ledger.annotations = Some(observation(at, false, seen, expectation));
                ledger.next = None;
                continue;
            }
            let seen = evaluate(self.scenario, expectation, &memo, &self.clock, at).await;
            self.note(index, seen);
        }
    }

    fn note(&mut self, index: usize, seen: Observation) {
        let expectation = &self.scenario.expect[index];
        let ledger = &mut self.ledgers[index];
        let Some(looks) = looks(self.scenario, expectation) else { return };
        let deadline = deadline(self.scenario, expectation);
        let at = seen.at;
        match rule(expectation) {
            Rule::Last => {}
            Rule::Every if !seen.ok => ledger.decided = Some((false, seen.clone())),
            Rule::Every => {}
            Rule::Once(hold) => match (&ledger.first_true, seen.ok) {
                (None, true) if at <= deadline => {
                    if !hold {
                        ledger.decided = Some((true, seen.clone()));
                    }
                    ledger.first_true = Some(seen.clone());
                }
                (None, _) if at >= deadline => ledger.decided = Some((false, seen.clone())),
                (Some(first), false) => {
                    let mut seen = seen.clone();
                    seen.story.found = format!(
                        "true at {}, no longer at {}: {}",
                        format_duration(first.at),
                        format_duration(at),
                        seen.story.found
                    );
                    ledger.decided = Some((false, seen));
                }
                _ => {}
            },
        }
        let every = if ledger.first_true.is_some() { HOLD_INTERVAL } else { looks.every };
        let mut following = (at + every).min(looks.to);
        // The deadline itself is always looked at.
        if ledger.first_true.is_none() && at < deadline {
            following = following.min(deadline);
        }
        ledger.next = (ledger.decided.is_none() && at < looks.to).then_some(following);
        ledger.last = Some(seen);
    }

    /// The verdicts, in the order of the scenario. To be called after the end of the run and the final flush.
    pub async fn finish(mut self, backends: &dyn Backends) -> Vec<Outcome> {
        let memo = Memo::new(backends);
        let mut outcomes = Vec::new();
        for index in 0..self.ledgers.len() {
            let expectation = &self.scenario.expect[index];
            let ledger = std::mem::take(&mut self.ledgers[index]);
            let end = self.clock.end;
            let mut golden = None;
            let (ok, seen) = if let Some(decided) = ledger.decided {
                decided
            } else if let Kind::Alert(pattern) = &expectation.kind {
                let annotated = ledger.annotations.as_ref();
                let seen = alert::judge(pattern, annotated, &memo, &self.clock).await;
                let seen = observation(end, expectation.negated, seen, expectation);
                (seen.ok, seen)
            } else if let Kind::Golden(pattern) = &expectation.kind {
                match golden::render(pattern, &memo, &self.clock).await {
                    Ok(text) => {
                        golden = Some(crate::outcome::Golden { path: pattern.path.value.clone(), text });
                        (true, Observation { at: end, ok: true, story: Story::new(expectation.describe(), "rendered") })
                    }
                    Err(error) => {
                        let seen = observation(end, false, Err(error), expectation);
                        (false, seen)
                    }
                }
            } else if is_live(&expectation.kind) && expectation.when != When::End {
                match (ledger.first_true, ledger.last) {
                    // Held from its first instant to the end.
                    (Some(first), _) => (true, first),
                    (None, Some(last)) => (last.ok, last),
                    (None, None) => {
                        let story = Story::new(expectation.describe(), "the run ended before it was looked at");
                        (false, Observation { at: end, ok: false, story })
                    }
                }
            } else {
                let seen = evaluate(self.scenario, expectation, &memo, &self.clock, end).await;
                (seen.ok, seen)
            };
            outcomes.push(Outcome {
                expectation: index,
                line: expectation.span.line,
                title: expectation.describe(),
                ok,
                at: seen.at,
                story: seen.story,
                golden,
            });
        }
        outcomes
    }
}

/// Judges one expectation as seen at `at`. Live kinds are judged by what is there now; queries, traces, logs and
/// correlations by what was recorded, within the times that the expectation names.
pub async fn evaluate(
    scenario: &Scenario,
    expectation: &Expectation,
    backends: &dyn Backends,
    clock: &RunClock,
    at: Duration,
) -> Observation {
    let span = span_of_time(scenario, expectation);
    let seen = match &expectation.kind {
        Kind::Event(pattern) => {
            let since = if matches!(expectation.when, When::Within { .. }) { span.0 } else { None };
            event::judge(pattern, since, backends, clock).await
        }
        Kind::Object(pattern) => object::judge(pattern, backends).await,
        Kind::Topology(pattern) => topology::judge(pattern, backends).await,
        Kind::Scrape(pattern) => scrape::judge(pattern, backends).await,
        // A query has instants of its own; it applies `not` at each of them.
        Kind::Query(pattern) => {
            let seen = query::judge(pattern, expectation, span, backends, clock).await;
            return observation(at, false, seen, expectation);
        }
        Kind::Trace(pattern) => trace::judge(pattern, span, backends, clock).await,
        Kind::Logs(pattern) => logs::judge(pattern, span, backends, clock).await,
        Kind::Correlation(pattern) => correlation::judge(pattern, backends, clock).await,
        Kind::NoAlerts { except } => alert::judge_none(except, backends, clock).await,
        Kind::Alert(pattern) => alert::judge(pattern, None, backends, clock).await,
        Kind::Notification(pattern) => notification::judge(pattern, backends, clock).await,
        Kind::Golden(pattern) => {
            golden::render(pattern, backends, clock).await.map(|_| (true, Story::new("", "rendered")))
        }
    };
    let opposite = expectation.negated != matches!(expectation.when, When::Never(_));
    observation(at, opposite, seen, expectation)
}

/// The stretch of the run that an expectation speaks of, open ends included.
fn span_of_time(scenario: &Scenario, expectation: &Expectation) -> (Option<Duration>, Option<Duration>) {
    match &expectation.when {
        When::End => (None, None),
        When::At(at) => (None, Some(at.value)),
        When::By(by) => (None, Some(by.value)),
        When::Within { of, after } => {
            let start = scenario.instant(&after.value).unwrap_or_default();
            (Some(start), Some(start + of.value))
        }
        When::Always(window) | When::Never(window) => (window.value.from, window.value.to),
    }
}

/// An observation from what was seen; a backend that gives no answer satisfies nothing, not even a negation.
fn observation(
    at: Duration,
    opposite: bool,
    seen: Result<(bool, Story), BackendError>,
    expectation: &Expectation,
) -> Observation {
    match seen {
        Ok((ok, mut story)) => {
            story.expected = expectation.describe();
            Observation { at, ok: ok != opposite, story }
        }
        Err(error) => {
            Observation { at, ok: false, story: Story::new(expectation.describe(), format!("no answer: {error}")) }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::Ordering;

    use serde_json::{Value, json};

    use crate::testing::{Fake, ZERO_NS};

    const HEALTHY: &str = "object: MultigresCluster/minimal\nwhere: { status.phase: Healthy }\n";

    fn cluster(phases: &[(u64, &'static str)]) -> Fake {
        Fake { phases: phases.to_vec(), ..Fake::default() }
    }

    fn holds(fake: &Fake, when: &str) -> bool {
        fake.judge(&format!("{HEALTHY}{when}")).ok
    }

    #[test]
    fn by_is_true_when_it_becomes_true_no_later_than_the_deadline() {
        assert!(holds(&cluster(&[(60, "Healthy")]), "by: 1m"));
        assert!(!holds(&cluster(&[(61, "Healthy")]), "by: 1m"));
        assert!(holds(&cluster(&[(10, "Healthy"), (20, "Degraded")]), "by: 1m"));
        assert!(!holds(&cluster(&[]), "by: 1m"));
    }

    #[test]
    fn then_always_keeps_it_true_to_the_end() {
        assert!(holds(&cluster(&[(30, "Healthy")]), "by: 1m\nthen: always"));
        let outcome = cluster(&[(30, "Healthy"), (3000, "Degraded")]).judge(&format!("{HEALTHY}by: 1m\nthen: always"));
        assert!(!outcome.ok);
        assert_eq!(
            outcome.story.found,
            "true at 30s, no longer at 50m: MultigresCluster/minimal: status.phase: Healthy, is Degraded"
        );
        assert!(!holds(&cluster(&[(61, "Healthy")]), "by: 1m\nthen: always"));
    }

    #[test]
    fn within_starts_at_the_named_step() {
        assert!(holds(&cluster(&[(720, "Healthy")]), "within: 2m of changed"));
        assert!(!holds(&cluster(&[(721, "Healthy")]), "within: 2m of changed"));
        // What was true before the step and is no longer does not count.
        assert!(!holds(&cluster(&[(0, "Healthy"), (600, "Degraded")]), "within: 2m of changed"));
    }

    #[test]
    fn at_always_never_and_the_end_look_when_they_say() {
        let blip = cluster(&[(0, "Healthy"), (300, "Degraded"), (360, "Healthy")]);
        assert!(holds(&blip, "at: 4m59s") && !holds(&blip, "at: 5m") && holds(&blip, "at: 6m"));
        assert!(holds(&blip, "always: 0s..4m59s") && !holds(&blip, "always: 4m..10m") && holds(&blip, "always: 6m.."));
        assert!(holds(&blip, "never: 5m..5m59s") && !holds(&blip, "never: 5m..7m"));
        assert!(holds(&blip, ""));
        assert!(!holds(&cluster(&[(0, "Healthy"), (3600, "Degraded")]), ""));
        assert!(!holds(&blip, "at: 4m\nthen: always"));
    }

    #[test]
    fn a_negated_deadline_means_at_no_instant_before_it() {
        assert!(holds(&cluster(&[(61, "Healthy")]), "by: 1m\nnot: true"));
        assert!(!holds(&cluster(&[(30, "Healthy"), (31, "Degraded")]), "by: 1m\nnot: true"));
    }

    #[test]
    fn no_answer_satisfies_nothing_and_a_later_answer_may() {
        let mut fake = cluster(&[(10, "Healthy")]);
        fake.away = Some((0, 40));
        assert!(holds(&fake, "by: 1m"));
        assert!(!holds(&fake, "by: 30s"));
        assert!(!holds(&fake, "by: 30s\nnot: true"), "silence proves nothing");
    }

    #[test]
    fn a_decided_expectation_is_not_looked_at_again() {
        let fake = cluster(&[(3, "Healthy")]);
        assert!(holds(&fake, "by: 30m"));
        assert_eq!(fake.lists.load(Ordering::Relaxed), 4);
    }

    fn series(samples: &[(u64, f64)]) -> Value {
        let values: Vec<Value> = samples
            .iter()
            .map(|(at, value)| json!([(ZERO_NS / 1_000_000_000) as u64 + at, value.to_string()]))
            .collect();
        json!({"resultType": "matrix", "result": [{"metric": {}, "values": values}]})
    }

    #[test]
    fn a_query_over_a_window_is_judged_step_by_step() {
        let samples: Vec<(u64, f64)> = (0..=720).map(|step| (step * 5, if step >= 60 { 1.0 } else { 0.0 })).collect();
        let vector = json!({"resultType": "vector", "result": []});
        let fake = |from: usize| Fake {
            prom: BTreeMap::from([
                ("range up", series(&samples[from..])),
                ("up", vector.clone()),
                ("up[20m]", series(&[])),
                ("up[15m]", series(&[])),
            ]),
            ..Fake::default()
        };
        assert!(fake(0).judge("query: up\nis: 1\nby: 5m").ok);
        assert!(!fake(0).judge("query: up\nis: 1\nby: 4m55s").ok);
        assert!(fake(60).judge("query: up\nis: 1\nalways: 5m..1h").ok);
        assert!(!fake(0).judge("query: up\nis: 1\nalways: 0s..1h").ok);
        assert!(!fake(0).judge("query: up\nis: 1\nnever: 0s..1h").ok);
        assert!(fake(0).judge("query: up\nis: 2\nnever: 0s..1h").ok);
        assert!(fake(0).judge("query: up\nis: 1\nby: 5m\nthen: always").ok);
    }

    #[test]
    fn an_alert_is_judged_from_its_samples_and_its_annotations_while_it_fires() {
        let sample = |state: &str, from: u64, to: u64| {
            let values: Vec<Value> =
                (from..to).step_by(30).map(|at| json!([(ZERO_NS / 1_000_000_000) as u64 + at, "1"])).collect();
            json!({"metric": {"__name__": "ALERTS", "alertname": "X", "alertstate": state, "name": "minimal"}, "values": values})
        };
        let rules = json!({"groups": [{"interval": 30, "rules": [{"type": "alerting", "name": "X", "query": "up == 0", "duration": 300}]}]});
        let alerts = json!({"alerts": [{"labels": {"alertname": "X", "name": "minimal"}, "annotations": {"summary": "minimal is down"}}]});
        let fake = Fake {
            prom: BTreeMap::from([
                (
                    "ALERTS{alertname=\"X\"}[1h1s]",
                    json!({"resultType": "matrix", "result": [sample("pending", 30, 330), sample("firing", 330, 930)]}),
                ),
                ("/api/v1/rules", rules),
                ("/api/v1/alerts", alerts),
            ]),
            ..Fake::default()
        };
        assert!(
            fake.judge("alert: X\nannotations: { summary: ~ down }\npending: ..1m\nfiring: 5m..6m\nresolved: 15m..16m")
                .ok
        );
        let outcome = fake.judge("alert: X\nannotations: { summary: ~ up }\nfiring: 5m..6m");
        assert!(!outcome.ok);
        assert!(
            outcome.story.found.ends_with("; annotation summary: ~ up, is minimal is down"),
            "{}",
            outcome.story.found
        );
        let outcome = fake.judge("alert: X\nfiring: never");
        assert!(!outcome.ok);
        assert_eq!(outcome.story.details[1], "rule: up == 0 for 5m, evaluated every 30s");
        assert!(!fake.judge("alert: Y\nfiring: never").ok, "a rule that is not there cannot be silent");
    }
}
