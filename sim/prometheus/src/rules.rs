//! Recording and alerting rules: rule files, evaluation, the life of an alert.

mod ahead;
mod alert;
mod cycle;
mod file;
mod history;
mod lint;
mod restore;

pub(crate) use ahead::{Evaluations, NotAhead, evaluate_ahead};
pub use alert::{Alert, AlertState, RESEND_DELAY};
pub use cycle::cycles;
pub use file::{RuleGroup, RuleSpec, parse_rules};
pub use history::{CHANGES_MAX, Change, History};
pub use lint::{Finding, lint};
pub use restore::{GRACE_PERIOD, OUTAGE_TOLERANCE};

use crate::Error;
use crate::promql::{self, EvalOptions, Expr, QueryValue};
use crate::store::{Point, Store, Value};
use crate::template::External;
use sim_wire::{Labels, METRIC_NAME, STALE_NAN};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The state of a rule group over time.
#[derive(Debug)]
pub struct Group {
    /// The group as written.
    pub spec: RuleGroup,
    /// The file it comes from.
    pub file: String,
    /// How often it is evaluated.
    pub interval: Duration,
    /// How far behind the present it is evaluated.
    pub query_offset: Duration,
    /// Its rules.
    pub rules: Vec<Rule>,
    /// When it was last evaluated, in milliseconds.
    pub last_evaluation_ms: Option<i64>,
    /// The lives of its alerts.
    pub history: History,
    /// Evaluations until alert state is restored; 0: it is, or there is none.
    evaluations_to_restore: u32,
}

/// How a rule is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Health {
    /// Not evaluated yet.
    #[default]
    Unknown,
    /// The last evaluation succeeded.
    Ok,
    /// The last evaluation failed.
    Failed(String),
}

/// The state of a rule over time.
#[derive(Debug)]
pub struct Rule {
    /// The rule as written.
    pub spec: RuleSpec,
    expr: Expr,
    texts: alert::Texts,
    /// Whether the last evaluation succeeded.
    pub health: Health,
    active: BTreeMap<Labels, Alert>,
    previous: BTreeSet<Labels>,
}

impl Rule {
    /// The alerts that are pending, firing or recently resolved.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.active.values()
    }

    /// The query as one line.
    pub fn query(&self) -> String {
        self.expr.to_string()
    }

    /// The state of an alerting rule: the worst of its alerts.
    pub fn state(&self) -> AlertState {
        self.active.values().map(|alert| alert.state).max().unwrap_or(AlertState::Inactive)
    }
}

impl Group {
    /// A group that has never been evaluated.
    ///
    /// # Errors
    /// [`Error::Rules`] where an expression does not parse.
    pub fn new(spec: RuleGroup, file: &str, default_interval: Duration) -> Result<Self, Error> {
        let mut rules = Vec::new();
        for rule in &spec.rules {
            let expr = promql::parse(&rule.expr)
                .map_err(|error| Error::Rules { file: file.to_owned(), message: error.to_string() })?;
            rules.push(Rule {
                spec: rule.clone(),
                expr,
                texts: alert::Texts::new(rule, &spec.labels),
                health: Health::Unknown,
                active: BTreeMap::new(),
                previous: BTreeSet::new(),
            });
        }
        let interval = spec.interval.unwrap_or(default_interval);
        let query_offset = spec.query_offset.unwrap_or_default();
        Ok(Self {
            spec,
            file: file.to_owned(),
            interval,
            query_offset,
            rules,
            last_evaluation_ms: None,
            history: History::default(),
            evaluations_to_restore: 0,
        })
    }

    /// The same, evaluated this far behind the present unless it says how far itself.
    #[must_use]
    pub fn with_default_offset(mut self, offset: Duration) -> Self {
        self.query_offset = self.spec.query_offset.unwrap_or(offset);
        self
    }

    /// The alerts that the Alertmanagers have to hear of now, each with the query of its rule.
    pub fn alerts_to_send(&mut self, now_ms: i64) -> Vec<(Alert, String)> {
        let interval = self.interval;
        let mut due = Vec::new();
        for rule in &mut self.rules {
            let query = rule.expr.to_string();
            let sent =
                rule.active.values_mut().filter_map(|alert| alert.is_due(now_ms, interval).then(|| alert.clone()));
            due.extend(sent.map(|alert| (alert, query.clone())));
        }
        due
    }

    /// Takes over the state of the same group before a reload: rule by rule, by name and labels, in order.
    pub fn adopt(&mut self, old: &mut Self) {
        self.last_evaluation_ms = old.last_evaluation_ms;
        self.history = std::mem::take(&mut old.history);
        self.evaluations_to_restore = old.evaluations_to_restore;
        for rule in &mut self.rules {
            let same = |candidate: &&mut Rule| {
                candidate.spec.name == rule.spec.name && candidate.spec.labels == rule.spec.labels
            };
            if let Some(found) = old.rules.iter_mut().find(same) {
                rule.active = std::mem::take(&mut found.active);
                rule.previous = std::mem::take(&mut found.previous);
                rule.health = found.health.clone();
            }
        }
    }

    /// Ends every series that the group still writes, as when it leaves the configuration.
    pub fn retire(&mut self, store: &mut Store, now_ms: i64) {
        for rule in &mut self.rules {
            for labels in std::mem::take(&mut rule.previous) {
                let _ = store.append(&labels, Point::float(now_ms, STALE_NAN));
            }
        }
    }

    /// Evaluates every rule in order; later rules see what earlier ones recorded. Queries, and the samples written, are of
    /// [`Group::query_offset`] before now.
    pub fn evaluate(&mut self, store: &mut Store, now_ms: i64, external: &External, options: EvalOptions) {
        let offset = i64::try_from(self.query_offset.as_millis()).unwrap_or(i64::MAX);
        let query_ms = now_ms.saturating_sub(offset);
        let restored = self.is_restored();
        for rule in &mut self.rules {
            let alerts = (restored, &mut self.history);
            let outcome = rule.samples(store, (now_ms, query_ms), external, options, &self.spec, alerts);
            match outcome {
                Ok(samples) => {
                    rule.health = Health::Ok;
                    rule.write(store, query_ms, samples);
                }
                Err(error) => rule.health = Health::Failed(error.to_string()),
            }
        }
        self.last_evaluation_ms = Some(now_ms);
        self.restore_when_due(store, now_ms);
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The result of an instant query as labels and values; a scalar has no labels.
fn query_vector(
    store: &Store,
    query: &str,
    expr: &Expr,
    now_ms: i64,
    options: EvalOptions,
) -> Result<Vec<(Labels, Value)>, Error> {
    let fail = |message: String| Error::Evaluation { message };
    match promql::eval::instant(store, query, expr, now_ms, options).map_err(|error| fail(error.to_string()))?.0 {
        QueryValue::Vector(vector) => Ok(vector.into_iter().map(|sample| (sample.labels, sample.value)).collect()),
        QueryValue::Scalar(point) => Ok(vec![(Labels::empty(), point.value)]),
        QueryValue::String { .. } | QueryValue::Matrix(_) => {
            Err(fail("rule result is not a vector or scalar".to_owned()))
        }
    }
}

impl Rule {
    fn samples(
        &mut self,
        store: &Store,
        (now_ms, query_ms): (i64, i64),
        external: &External,
        options: EvalOptions,
        group: &RuleGroup,
        alerts: (bool, &mut History),
    ) -> Result<Vec<(Labels, Value)>, Error> {
        let result = query_vector(store, &self.spec.expr, &self.expr, query_ms, options)?;
        self.absorb(result, store, (now_ms, query_ms), external, options, group, alerts)
    }

    /// What the rule makes of its expression's result: the samples to write, or alerts that move on.
    fn absorb(
        &mut self,
        result: Vec<(Labels, Value)>,
        store: &Store,
        (now_ms, query_ms): (i64, i64),
        external: &External,
        options: EvalOptions,
        group: &RuleGroup,
        alerts: (bool, &mut History),
    ) -> Result<Vec<(Labels, Value)>, Error> {
        let limit_exceeded = |found: usize, what: &str| {
            let message = format!("exceeded limit of {} with {found} {what}", group.limit);
            (group.limit > 0 && found > group.limit).then_some(Error::Evaluation { message })
        };
        if self.spec.alert {
            let samples = alert::advance(
                &mut self.active,
                &self.spec,
                &self.texts,
                result,
                store,
                (now_ms, query_ms),
                external,
                options,
                alerts,
            )?;
            let active = self.active.values().filter(|alert| alert.state != AlertState::Inactive).count();
            if let Some(error) = limit_exceeded(active, "alerts") {
                self.active.clear();
                return Err(error);
            }
            return Ok(samples.into_iter().map(|(labels, value)| (labels, Value::Float(value))).collect());
        }
        let mut samples = BTreeMap::new();
        let count = result.len();
        for (labels, value) in result {
            if samples.insert(self.recorded(group, &labels), value).is_some() {
                let message = "vector contains metrics with the same labelset after applying rule labels".to_owned();
                return Err(Error::Evaluation { message });
            }
        }
        match limit_exceeded(count, "series") {
            Some(error) => Err(error),
            None => Ok(samples.into_iter().collect()),
        }
    }

    /// The labels under which an element of the result is recorded.
    fn recorded(&self, group: &RuleGroup, labels: &Labels) -> Labels {
        let mut builder = labels.builder();
        for (name, text) in group.labels.iter().chain(&self.spec.labels) {
            builder.set(name, text);
        }
        builder.set(METRIC_NAME, &self.spec.name);
        builder.build()
    }

    /// Writes samples, and ends the series that have none any more.
    fn write(&mut self, store: &mut Store, t_ms: i64, samples: Vec<(Labels, Value)>) {
        let mut present = BTreeSet::new();
        for (labels, value) in samples {
            // Rejections are counted by the store.
            let _ = store.append(&labels, Point { t_ms, value });
            present.insert(labels);
        }
        for gone in self.previous.difference(&present) {
            let _ = store.append(gone, Point::float(t_ms, STALE_NAN));
        }
        self.previous = present;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim_wire::{Matcher, is_stale};

    const FILE: &str = r#"
groups:
- name: g
  rules:
  - record: job:x:sum
    expr: sum by (job) (x)
    labels: {kind: recorded}
  - alert: High
    expr: job:x:sum > 5
    for: 2m
    keep_firing_for: 1m
    labels: {severity: "{{ if gt $value 8.0 }}critical{{ else }}warning{{ end }}"}
    annotations:
      summary: "{{ $labels.job }} is at {{ $value | humanize }}"
      broken: '{{ query "up{" }}'
"#;

    struct World {
        store: Store,
        group: Group,
    }

    impl World {
        fn new(file: &str) -> Self {
            let mut groups = parse_rules("f.yaml", file).unwrap();
            let group = Group::new(groups.remove(0), "f.yaml", Duration::from_secs(60)).unwrap();
            Self { store: Store::new(), group }
        }

        fn minute(&mut self, minute: i64, value: f64) {
            let x = Labels::from_pairs([("__name__", "x"), ("job", "j")]);
            self.store.append(&x, Point::float(minute * 60_000, value)).unwrap();
            self.group.evaluate(&mut self.store, minute * 60_000, &External::default(), EvalOptions::default());
        }

        fn state(&self) -> AlertState {
            self.group.rules[1].state()
        }
    }

    #[test]
    fn an_alert_is_pending_then_firing_then_kept_then_resolved() {
        let mut world = World::new(FILE);
        world.minute(0, 6.0);
        assert_eq!(world.state(), AlertState::Pending);
        world.minute(1, 6.0);
        assert_eq!(world.state(), AlertState::Pending);
        world.minute(2, 6.0);
        assert_eq!(world.state(), AlertState::Firing);
        world.minute(3, 1.0);
        assert_eq!(world.state(), AlertState::Firing, "keep_firing_for holds it");
        world.minute(4, 1.0);
        assert_eq!(world.state(), AlertState::Inactive);
        let alert = world.group.rules[1].alerts().next().unwrap();
        assert_eq!(alert.annotations["summary"], "j is at 6");
        assert!(alert.annotations["broken"].starts_with("<error expanding template:"));
        assert_eq!(alert.labels.get("severity"), Some("warning"));
        let alerts =
            world.store.select(&[Matcher::equal("__name__", "ALERTS"), Matcher::equal("alertstate", "firing")]);
        assert!(is_stale(alerts[0].points().last().unwrap().value.float()));
        let since = world.store.select(&[Matcher::equal("__name__", "ALERTS_FOR_STATE")]);
        assert_eq!(since[0].points()[0].value.float(), 0.0);
    }

    #[test]
    fn a_recorded_series_carries_rule_labels_and_ends_with_its_source() {
        let mut world = World::new(FILE);
        world.minute(0, 1.0);
        world.minute(1, STALE_NAN);
        let recorded = world.store.select(&[Matcher::equal("__name__", "job:x:sum")]);
        assert_eq!(recorded[0].labels.get("kind"), Some("recorded"));
        assert!(is_stale(recorded[0].points()[1].value.float()));
    }

    #[test]
    fn an_offset_moves_queries_and_samples_back() {
        let mut world = World::new("groups: [{name: g, query_offset: 1m, rules: [{record: a, expr: x}]}]");
        world.minute(0, 7.0);
        world.minute(1, 8.0);
        let recorded = world.store.select(&[Matcher::equal("__name__", "a")]);
        let points: Vec<(i64, f64)> = recorded[0].points().iter().map(|p| (p.t_ms, p.value.float())).collect();
        assert_eq!(points, [(0, 7.0)]);
    }

    #[test]
    fn an_alert_is_sent_when_it_fires_again_after_the_delay_and_when_it_is_resolved() {
        let mut world = World::new("groups: [{name: g, interval: 30s, rules: [{alert: A, expr: x > 5}]}]");
        let sent = |world: &mut World, minute: i64, value: f64| {
            world.minute(minute, value);
            let due = world.group.alerts_to_send(minute * 60_000);
            due.first().map(|(alert, query)| {
                assert_eq!(query, "x > 5");
                (alert.state, alert.resolved_at_ms.or(alert.valid_until_ms).unwrap() / 60_000)
            })
        };
        assert_eq!(sent(&mut world, 0, 6.0), Some((AlertState::Firing, 4)));
        assert_eq!(sent(&mut world, 1, 6.0), None, "not before the delay is over");
        assert_eq!(sent(&mut world, 2, 6.0), Some((AlertState::Firing, 6)));
        assert_eq!(sent(&mut world, 3, 1.0), Some((AlertState::Inactive, 3)));
        assert_eq!(sent(&mut world, 4, 1.0), None);
        assert_eq!(sent(&mut world, 5, 1.0), Some((AlertState::Inactive, 3)), "resolved is told until forgotten");
    }

    #[test]
    fn a_limit_fails_the_rule() {
        let file = "groups: [{name: g, limit: 1, rules: [{record: a, expr: 'label_replace(x, \"y\", \"1\", \"\", \"\") or x'}]}]";
        let mut world = World::new(file);
        world.minute(0, 1.0);
        assert_eq!(world.group.rules[0].health, Health::Failed("exceeded limit of 1 with 2 series".to_owned()));
    }

    #[test]
    fn wrong_rule_files_are_refused() {
        for text in [
            "groups: [{name: g, rules: [{alert: A, record: b, expr: up}]}]",
            "groups: [{name: g, rules: [{expr: up}]}]",
            "groups: [{name: g, rules: [{record: a, expr: 'up{'}]}]",
            "groups: [{name: g, rules: [{record: a, expr: up, for: 1m}]}]",
            "groups: [{name: g, rules: [{alert: A, expr: up, annotations: {a: '{{ end }}'}}]}]",
            "groups: [{name: g, rules: [{alert: A, expr: up, annotations: {a: '{{ nope }}'}}]}]",
            "groups: [{name: g}, {name: g}]",
            "groups: [{name: g, intervall: 1m}]",
            "groups: [{name: g, rules: [{record: 'a b', expr: up}]}]",
        ] {
            assert!(parse_rules("f", text).is_err(), "{text} was accepted");
        }
    }
}
