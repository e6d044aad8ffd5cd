//! Alert state across a restart: since when an alert has been pending is read back from `ALERTS_FOR_STATE`.

use super::{Alert, Group, Rule, ms};
use crate::store::Store;
use sim_wire::{METRIC_NAME, Matcher, is_stale};
use std::time::Duration;

/// How long ago the last sample may be for an alert to be restored (`--rules.alert.for-outage-tolerance`).
pub const OUTAGE_TOLERANCE: Duration = Duration::from_secs(60 * 60);
/// How long a restored alert waits at least before it fires; one whose `for` is shorter is not restored
/// (`--rules.alert.for-grace-period`).
pub const GRACE_PERIOD: Duration = Duration::from_secs(10 * 60);
/// The evaluation after which state is restored: the first may come before anything has been scraped.
const EVALUATIONS_BEFORE: u32 = 2;

impl Group {
    /// The group of a Prometheus that has just started. If the store holds the state of one of its alerts, none of its alerts
    /// writes `ALERTS` or `ALERTS_FOR_STATE` before its state is restored, which happens after the second evaluation.
    ///
    /// The real one waits in an empty store, too, where there is nothing to wait for.
    #[must_use]
    pub fn started_anew(mut self, store: &Store) -> Self {
        let known = |rule: &Rule| rule.spec.alert && !store.find(&state_of(rule)).is_empty();
        if self.rules.iter().any(known) {
            self.evaluations_to_restore = EVALUATIONS_BEFORE;
        }
        self
    }

    /// Whether state is still to be restored.
    pub(super) fn is_restored(&self) -> bool {
        self.evaluations_to_restore == 0
    }

    /// Counts an evaluation, and restores after the last one that had to be waited for.
    pub(super) fn restore_when_due(&mut self, store: &Store, now_ms: i64) {
        if self.evaluations_to_restore == 0 {
            return;
        }
        self.evaluations_to_restore -= 1;
        if self.evaluations_to_restore > 0 {
            return;
        }
        for rule in self.rules.iter_mut().filter(|rule| rule.spec.alert && rule.spec.for_duration >= GRACE_PERIOD) {
            let matchers = state_of(rule);
            for series in store.find(&matchers) {
                let labels = series.labels.without_name();
                let Some(alert) = rule.active.get_mut(&labels) else { continue };
                let Some(last) = series.newest(now_ms.saturating_sub(ms(OUTAGE_TOLERANCE) + 1), now_ms) else {
                    continue;
                };
                // A stale marker: it was not active when the server went down.
                if let Some(since_s) = last.value.as_float().filter(|since| !is_stale(*since)) {
                    alert.active_at_ms =
                        restored(since_s as i64 * 1000, last.t_ms / 1000 * 1000, now_ms, ms(rule.spec.for_duration));
                }
            }
        }
    }
}

fn state_of(rule: &Rule) -> [Matcher; 2] {
    [Matcher::equal(METRIC_NAME, "ALERTS_FOR_STATE"), Matcher::equal(Alert::NAME_LABEL, &rule.spec.name)]
}

/// Since when an alert counts as active, if it had been since `active_ms` when the server went down.
fn restored(active_ms: i64, down_ms: i64, now_ms: i64, for_ms: i64) -> i64 {
    let remaining = for_ms - (down_ms - active_ms);
    if remaining <= 0 {
        // It fired: it will again at the next evaluation.
        active_ms
    } else if remaining < ms(GRACE_PERIOD) {
        now_ms + ms(GRACE_PERIOD) - for_ms
    } else {
        // The time without a server does not count.
        active_ms + (now_ms - down_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::EvalOptions;
    use crate::rules::{AlertState, parse_rules};
    use crate::store::Point;
    use crate::template::External;
    use sim_wire::Labels;

    const MINUTE: i64 = 60_000;

    struct World {
        store: Store,
        group: Group,
    }

    impl World {
        fn new(rule: &str) -> Self {
            Self { store: Store::new(), group: group(rule) }
        }

        /// Evaluates every minute in the range, the metric being above its threshold.
        fn runs(&mut self, minutes: std::ops::RangeInclusive<i64>) -> Vec<AlertState> {
            minutes
                .map(|minute| {
                    let x = Labels::from_pairs([("__name__", "x"), ("job", "j")]);
                    self.store.append(&x, Point::float(minute * MINUTE, 9.0)).unwrap();
                    let now_ms = minute * MINUTE;
                    self.group.evaluate(&mut self.store, now_ms, &External::default(), EvalOptions::default());
                    self.group.rules[0].state()
                })
                .collect()
        }

        fn restarts(&mut self, rule: &str) {
            self.group = group(rule).started_anew(&self.store);
        }

        fn alerts_samples(&self) -> usize {
            self.store.select(&[Matcher::equal(METRIC_NAME, "ALERTS")]).iter().map(|series| series.len()).sum()
        }

        fn since(&self) -> i64 {
            self.group.rules[0].alerts().next().unwrap().active_at_ms / MINUTE
        }
    }

    fn group(rule: &str) -> Group {
        let text = format!("groups: [{{name: g, rules: [{{alert: A, expr: x > 5, {rule}}}]}}]");
        Group::new(parse_rules("f", &text).unwrap().remove(0), "f", Duration::from_secs(60)).unwrap()
    }

    #[test]
    fn one_that_fired_fires_again_after_it_is_restored() {
        let mut world = World::new("for: 15m");
        assert_eq!(world.runs(0..=20).pop(), Some(AlertState::Firing));
        world.restarts("for: 15m");
        let samples = world.alerts_samples();
        assert_eq!(world.runs(30..=31), [AlertState::Pending; 2]);
        assert_eq!(world.alerts_samples(), samples, "nothing is written before it is restored");
        assert_eq!(world.since(), 0);
        assert_eq!(world.runs(32..=32), [AlertState::Firing]);
    }

    #[test]
    fn one_that_was_nearly_due_waits_for_the_grace_period_and_one_that_was_not_for_its_rest() {
        let mut nearly = World::new("for: 15m");
        nearly.runs(0..=10);
        nearly.restarts("for: 15m");
        nearly.runs(20..=21);
        assert_eq!(nearly.since(), 21 + 10 - 15);
        assert_eq!(nearly.runs(22..=31).iter().filter(|state| **state == AlertState::Firing).count(), 1);
        let mut early = World::new("for: 30m");
        early.runs(0..=10);
        early.restarts("for: 30m");
        early.runs(20..=21);
        assert_eq!(early.since(), 11, "eleven minutes without a server do not count");
    }

    #[test]
    fn what_is_short_ended_or_long_ago_is_not_restored() {
        let mut short = World::new("for: 5m");
        short.runs(0..=3);
        short.restarts("for: 5m");
        short.runs(4..=5);
        assert_eq!(short.since(), 4);
        let mut long_ago = World::new("for: 30m");
        long_ago.runs(0..=10);
        long_ago.restarts("for: 30m");
        long_ago.runs(80..=81);
        assert_eq!(long_ago.since(), 80);
        let mut ended = World::new("for: 30m");
        ended.runs(0..=10);
        ended.group.retire(&mut ended.store, 11 * MINUTE);
        ended.restarts("for: 30m");
        ended.runs(12..=13);
        assert_eq!(ended.since(), 12);
    }

    #[test]
    fn a_first_start_has_nothing_to_wait_for() {
        let mut world = World::new("for: 15m");
        world.restarts("for: 15m");
        world.runs(0..=0);
        assert_eq!(world.alerts_samples(), 1);
    }
}
