//! The lives of alerts as a timeline: when each became pending, fired and was resolved, and why it did not fire.

use super::{Alert, AlertState, ms};
use sim_wire::{Labels, duration};
use std::collections::VecDeque;
use std::time::Duration;

/// Changes that a group remembers; the oldest go first.
pub const CHANGES_MAX: usize = 10_000;

/// A step in the life of an alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The instant of the evaluation, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The labels of the alert, `alertname` included.
    pub labels: Labels,
    /// What it became; inactive stands for resolved, and for pending given up.
    pub state: AlertState,
    /// The last value of its expression.
    pub value: f64,
    /// Why, in words.
    pub why: String,
}

/// The changes of a group's alerts, in order of time.
#[derive(Debug, Clone, Default)]
pub struct History(VecDeque<Change>);

impl History {
    /// Every change that is remembered.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.0.iter()
    }

    pub(super) fn push(&mut self, alert: &Alert, state: AlertState, at_ms: i64, why: String) {
        if self.0.len() >= CHANGES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Change { at_ms, labels: alert.labels.clone(), state, value: alert.value, why });
    }
}

fn shown(span_ms: i64) -> String {
    duration::format(Duration::from_millis(span_ms.max(0) as u64))
}

/// Why an alert is pending.
pub(super) fn pending(for_duration: Duration) -> String {
    format!("its expression holds; it fires once it has for {}", duration::format(for_duration))
}

/// Why an alert fires.
pub(super) fn firing(alert: &Alert, for_duration: Duration, now_ms: i64) -> String {
    if for_duration.is_zero() {
        return "its expression holds, and there is no `for`".to_owned();
    }
    let held = shown(now_ms - alert.active_at_ms);
    format!("its expression has held for {held} (`for: {}`)", duration::format(for_duration))
}

/// Why an alert is no longer there.
pub(super) fn ended(alert: &Alert, for_duration: Duration, now_ms: i64) -> String {
    match (alert.state, alert.keep_firing_since_ms) {
        (AlertState::Firing, Some(since)) => {
            format!("its expression has not held for {} (`keep_firing_for` is over)", shown(now_ms - since))
        }
        (AlertState::Firing, None) => "its expression no longer holds".to_owned(),
        _ => format!(
            "its expression held for {} only, {} too short to fire",
            shown(now_ms - alert.active_at_ms),
            shown(ms(for_duration) - (now_ms - alert.active_at_ms))
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::EvalOptions;
    use crate::rules::{Group, parse_rules};
    use crate::store::{Point, Store};
    use crate::template::External;

    #[test]
    fn a_life_is_told_with_its_instants_and_reasons() {
        let text = "groups: [{name: g, rules: [{alert: A, expr: x > 5, for: 2m, keep_firing_for: 1m}]}]";
        let mut group = Group::new(parse_rules("f", text).unwrap().remove(0), "f", Duration::from_secs(60)).unwrap();
        let mut store = Store::new();
        let x = Labels::from_pairs([("__name__", "x")]);
        for (minute, value) in [6.0, 1.0, 7.0, 7.0, 8.0, 1.0, 1.0].into_iter().enumerate() {
            let now_ms = minute as i64 * 60_000;
            store.append(&x, Point::float(now_ms, value)).unwrap();
            group.evaluate(&mut store, now_ms, &External::default(), EvalOptions::default());
        }
        let told: Vec<String> = group
            .history
            .changes()
            .map(|one| format!("{}m {} at {}: {}", one.at_ms / 60_000, one.state.as_str(), one.value, one.why))
            .collect();
        assert_eq!(
            told,
            [
                "0m pending at 6: its expression holds; it fires once it has for 2m",
                "1m inactive at 6: its expression held for 1m only, 1m too short to fire",
                "2m pending at 7: its expression holds; it fires once it has for 2m",
                "4m firing at 8: its expression has held for 2m (`for: 2m`)",
                "6m inactive at 8: its expression has not held for 1m (`keep_firing_for` is over)",
            ]
        );
    }
}
