//! The life of an alert: pending, firing, resolved.

use super::file::RuleSpec;
use super::history::{self, History};
use super::{ms, query_vector};
use crate::Error;
use crate::promql::{self, EvalOptions};
use crate::store::{Store, Value};
use crate::template::{Context, External, QuerySample, Template};
use sim_wire::{Labels, METRIC_NAME};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a resolved alert is remembered.
pub const RESOLVED_RETENTION: Duration = Duration::from_secs(15 * 60);

/// Where an alert is in its life; ordered by urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    /// The expression does not hold.
    Inactive,
    /// The expression holds, not yet for long enough.
    Pending,
    /// The alert fires.
    Firing,
}

impl AlertState {
    /// The word of the API and of `alertstate`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// An alert of a rule. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone)]
pub struct Alert {
    /// Where it is in its life.
    pub state: AlertState,
    /// Its labels, `alertname` included.
    pub labels: Labels,
    /// Its rendered annotations.
    pub annotations: BTreeMap<String, String>,
    /// The last value of the expression.
    pub value: f64,
    /// Since when the expression holds.
    pub active_at_ms: i64,
    /// Since when it fires.
    pub fired_at_ms: Option<i64>,
    /// When it was resolved.
    pub resolved_at_ms: Option<i64>,
    /// Since when it fires only because of `keep_firing_for`.
    pub keep_firing_since_ms: Option<i64>,
    /// When it was last sent to the Alertmanagers.
    pub last_sent_ms: Option<i64>,
    /// Until when the Alertmanagers may take it for firing.
    pub valid_until_ms: Option<i64>,
}

/// The labels and annotations of an alerting rule, read once.
#[derive(Debug, Default)]
pub(super) struct Texts {
    labels: Vec<(String, Template)>,
    annotations: Vec<(String, Template)>,
}

impl Texts {
    /// Those of a rule; the labels of its group give way to its own. Nothing of a recording rule is a template.
    pub fn new(spec: &RuleSpec, group: &BTreeMap<String, String>) -> Self {
        if !spec.alert {
            return Self::default();
        }
        let read = |(name, text): (&String, &String)| (name.clone(), Template::new(&spec.name, text));
        let of_group = group.iter().filter(|(name, _)| !spec.labels.contains_key(*name));
        Self {
            labels: of_group.chain(&spec.labels).map(read).collect(),
            annotations: spec.annotations.iter().map(read).collect(),
        }
    }
}

/// How long an alert that does not change is not sent again (`--rules.alert.resend-delay`).
pub const RESEND_DELAY: Duration = Duration::from_secs(60);

impl Alert {
    /// The label that holds the name of its rule.
    pub const NAME_LABEL: &str = "alertname";

    /// Whether the Alertmanagers have to hear of it; if so, it counts as sent.
    pub(super) fn is_due(&mut self, now_ms: i64, interval: Duration) -> bool {
        if self.state == AlertState::Pending {
            return false;
        }
        let news = self.resolved_at_ms > self.last_sent_ms;
        let old = self.last_sent_ms.is_none_or(|sent| sent.saturating_add(ms(RESEND_DELAY)) < now_ms);
        if !news && !old {
            return false;
        }
        self.last_sent_ms = Some(now_ms);
        // Long enough for three lost messages.
        self.valid_until_ms = Some(now_ms.saturating_add(ms(RESEND_DELAY.max(interval)).saturating_mul(4)));
        true
    }
}

/// What an alert or a template shows as a value: a native histogram has none, and Prometheus shows 0.
fn number(value: &Value) -> f64 {
    value.as_float().unwrap_or(0.0)
}

/// Moves every alert of a rule on by one evaluation and gives the samples of `ALERTS` and `ALERTS_FOR_STATE`, none before state has
/// been `restored`.
pub(super) fn advance(
    active: &mut BTreeMap<Labels, Alert>,
    spec: &RuleSpec,
    texts: &Texts,
    result: Vec<(Labels, Value)>,
    store: &Store,
    (now_ms, query_ms): (i64, i64),
    external: &External,
    options: EvalOptions,
    (restored, history): (bool, &mut History),
) -> Result<Vec<(Labels, f64)>, Error> {
    let mut present = BTreeSet::new();
    let query = |text: &str| -> Result<Vec<QuerySample>, String> {
        let expr = promql::parse(text).map_err(|error| error.to_string())?;
        let found = query_vector(store, text, &expr, query_ms, options).map_err(|error| error.to_string())?;
        Ok(found.into_iter().map(|(labels, value)| QuerySample { labels, value: number(&value) }).collect())
    };
    let mut found = Vec::new();
    for (sample_labels, value) in result {
        let value = number(&value);
        let context = Context { labels: &sample_labels, external, value, query: &query };
        let expand = |template: &Template| match template.render(&context) {
            Ok(text) => text,
            Err(error) => format!("<error expanding template: {error}>"),
        };
        let mut builder = sample_labels.without(METRIC_NAME).builder();
        for (name, template) in &texts.labels {
            builder.set(name, &expand(template));
        }
        builder.set(Alert::NAME_LABEL, &spec.name);
        let labels = builder.build();
        let annotations = texts.annotations.iter().map(|(name, template)| (name.clone(), expand(template))).collect();
        if !present.insert(labels.clone()) {
            let message = "vector contains metrics with the same labelset after applying alert labels".to_owned();
            return Err(Error::Evaluation { message });
        }
        found.push((labels, annotations, value));
    }
    for (labels, annotations, value) in found {
        match active.get_mut(&labels).filter(|alert| alert.state != AlertState::Inactive) {
            Some(alert) => {
                alert.value = value;
                alert.annotations = annotations;
            }
            None => {
                let alert = Alert {
                    state: AlertState::Pending,
                    labels: labels.clone(),
                    annotations,
                    value,
                    active_at_ms: now_ms,
                    fired_at_ms: None,
                    resolved_at_ms: None,
                    keep_firing_since_ms: None,
                    last_sent_ms: None,
                    valid_until_ms: None,
                };
                history.push(&alert, AlertState::Pending, now_ms, history::pending(spec.for_duration));
                active.insert(labels, alert);
            }
        }
    }
    let mut samples = Vec::new();
    active.retain(|labels, alert| {
        let holds = present.contains(labels);
        if holds {
            alert.keep_firing_since_ms = None;
        } else if !keeps_firing(alert, spec, now_ms) {
            let forgotten = alert.resolved_at_ms.is_some_and(|at| now_ms - at > ms(RESOLVED_RETENTION));
            if alert.state != AlertState::Inactive {
                history.push(alert, AlertState::Inactive, now_ms, history::ended(alert, spec.for_duration, now_ms));
            }
            if alert.state == AlertState::Pending || forgotten {
                return false;
            }
            if alert.state != AlertState::Inactive {
                alert.state = AlertState::Inactive;
                alert.resolved_at_ms = Some(now_ms);
            }
            return true;
        }
        if alert.state == AlertState::Pending && now_ms - alert.active_at_ms >= ms(spec.for_duration) {
            alert.state = AlertState::Firing;
            alert.fired_at_ms = Some(now_ms);
            history.push(alert, AlertState::Firing, now_ms, history::firing(alert, spec.for_duration, now_ms));
        }
        if !restored {
            return true;
        }
        samples.push((labels.with(METRIC_NAME, "ALERTS").with("alertstate", alert.state.as_str()), 1.0));
        samples.push((labels.with(METRIC_NAME, "ALERTS_FOR_STATE"), alert.active_at_ms.div_euclid(1000) as f64));
        true
    });
    Ok(samples)
}

fn keeps_firing(alert: &mut Alert, spec: &RuleSpec, now_ms: i64) -> bool {
    if alert.state != AlertState::Firing || spec.keep_firing_for.is_zero() {
        return false;
    }
    let since = *alert.keep_firing_since_ms.get_or_insert(now_ms);
    now_ms - since < ms(spec.keep_firing_for)
}
