//! Inhibition: alerts that mute others.

use crate::alert::{Alert, Fingerprint};
use crate::config::InhibitRule;
use sim_clock::Timestamp;
use sim_wire::Labels;
use std::collections::BTreeMap;

/// A rule with the alerts that match its source.
#[derive(Debug, Clone)]
struct Rule {
    rule: InhibitRule,
    sources: BTreeMap<Fingerprint, Alert>,
    /// For the values of the equal labels the source that lasts longest.
    by_equal: BTreeMap<Labels, Fingerprint>,
}

impl Rule {
    fn equal_labels(&self, labels: &Labels) -> Labels {
        labels.filter(|name| self.rule.equal.iter().any(|equal| equal == name))
    }
}

/// All rules of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Inhibitor {
    rules: Vec<Rule>,
}

impl Inhibitor {
    /// Rules that have seen no alert.
    pub fn new(rules: &[InhibitRule]) -> Self {
        let rules = rules
            .iter()
            .map(|rule| Rule { rule: rule.clone(), sources: BTreeMap::new(), by_equal: BTreeMap::new() })
            .collect();
        Self { rules }
    }

    /// Sees an alert, firing or resolved.
    pub fn see(&mut self, alert: &Alert) {
        let fingerprint = alert.fingerprint();
        for rule in &mut self.rules {
            if !rule.rule.source.matches(&alert.labels) {
                continue;
            }
            let equal = rule.equal_labels(&alert.labels);
            rule.sources.insert(fingerprint, alert.clone());
            let kept = rule.by_equal.get(&equal).filter(|known| **known != fingerprint);
            let outlives =
                kept.and_then(|known| rule.sources.get(known)).is_some_and(|known| known.ends_at > alert.ends_at);
            if !outlives {
                rule.by_equal.insert(equal, fingerprint);
            }
        }
    }

    /// The alert that mutes a label set, by the first rule that says so.
    pub fn muted_by(&self, labels: &Labels, now: Timestamp) -> Option<Fingerprint> {
        self.rules.iter().filter(|rule| rule.rule.target.matches(labels)).find_map(|rule| {
            let source = rule.by_equal.get(&rule.equal_labels(labels)).and_then(|source| rule.sources.get(source))?;
            if source.resolved_at(now) {
                return None;
            }
            // What matches both sides is not muted by what does too: an alert does not mute itself.
            let two_sided = rule.rule.source.matches(labels) && rule.rule.target.matches(&source.labels);
            (!two_sided).then(|| source.fingerprint())
        })
    }

    /// Forgets the sources that are over.
    pub fn collect_garbage(&mut self, now: Timestamp) {
        for rule in &mut self.rules {
            let over: Vec<Alert> = rule.sources.values().filter(|alert| alert.resolved_at(now)).cloned().collect();
            for alert in over {
                rule.sources.remove(&alert.fingerprint());
                // The place of equals goes too, even where another source has taken it, as in the real program.
                let equal = rule.equal_labels(&alert.labels);
                rule.by_equal.remove(&equal);
            }
        }
    }

    /// How many rules there are.
    pub fn rules(&self) -> usize {
        self.rules.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(labels: &[(&'static str, &'static str)], ends: i64) -> Alert {
        Alert {
            labels: Labels::from_pairs(labels.iter().copied()),
            annotations: Labels::empty(),
            starts_at: Timestamp::from_secs(0),
            ends_at: Timestamp::from_secs(ends),
            generator_url: String::new(),
            updated_at: Timestamp::from_secs(0),
            timeout: false,
        }
    }

    fn inhibitor(rule: &str) -> Inhibitor {
        let text = format!("route: {{receiver: a}}\nreceivers: [{{name: a}}]\ninhibit_rules: [{{{rule}}}]\n");
        Inhibitor::new(&crate::config::parse(&text).unwrap().inhibit_rules)
    }

    #[test]
    fn equal_labels_have_to_agree_and_absent_ones_do() {
        let mut rules = inhibitor("source_matchers: [s=c], target_matchers: [s=w], equal: [x]");
        rules.see(&alert(&[("s", "c"), ("x", "1")], 100));
        let at = Timestamp::from_secs(50);
        assert!(rules.muted_by(&Labels::from_pairs([("s", "w"), ("x", "1")]), at).is_some());
        assert!(rules.muted_by(&Labels::from_pairs([("s", "w"), ("x", "2")]), at).is_none());
        assert!(rules.muted_by(&Labels::from_pairs([("s", "w")]), at).is_none());
        rules.see(&alert(&[("s", "c")], 100));
        assert!(rules.muted_by(&Labels::from_pairs([("s", "w")]), at).is_some());
        assert!(rules.muted_by(&Labels::from_pairs([("s", "w"), ("x", "1")]), Timestamp::from_secs(100)).is_none());
    }

    #[test]
    fn nothing_mutes_itself() {
        let mut rules = inhibitor("source_matchers: ['s=~\"c|w\"'], target_matchers: ['s=~\"w|i\"'], equal: []");
        rules.see(&alert(&[("s", "w")], 100));
        let at = Timestamp::from_secs(50);
        // It matches both sides, and so does what it would mute.
        assert!(rules.muted_by(&Labels::from_pairs([("s", "w")]), at).is_none());
        assert!(rules.muted_by(&Labels::from_pairs([("s", "w"), ("x", "1")]), at).is_none());
        assert!(rules.muted_by(&Labels::from_pairs([("s", "i")]), at).is_some());
    }

    #[test]
    fn of_two_sources_the_one_that_lasts_mutes() {
        let mut rules = inhibitor("source_matchers: [s=c], target_matchers: [s=w], equal: []");
        rules.see(&alert(&[("s", "c"), ("n", "1")], 200));
        rules.see(&alert(&[("s", "c"), ("n", "2")], 100));
        let target = Labels::from_pairs([("s", "w")]);
        assert!(rules.muted_by(&target, Timestamp::from_secs(150)).is_some());
        rules.collect_garbage(Timestamp::from_secs(150));
        assert!(rules.muted_by(&target, Timestamp::from_secs(150)).is_none(), "the real program forgets the place");
    }
}
