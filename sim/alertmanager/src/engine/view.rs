//! What the API shows of the engine.

use super::Engine;
use crate::alert::{self, Alert, Fingerprint};
use sim_clock::Timestamp;
use sim_wire::Labels;
use std::collections::BTreeMap;

/// What mutes an alert.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertStatus {
    /// The silences.
    pub silenced_by: Vec<String>,
    /// The alert that inhibits it.
    pub inhibited_by: Option<Fingerprint>,
}

impl AlertStatus {
    /// `active` or `suppressed`.
    pub fn state(&self) -> &'static str {
        if self.silenced_by.is_empty() && self.inhibited_by.is_none() { "active" } else { "suppressed" }
    }
}

/// A group as it stands.
#[derive(Debug, Clone)]
pub struct GroupView<'e> {
    /// The receiver.
    pub receiver: &'e str,
    /// The labels of the group.
    pub labels: &'e Labels,
    /// Its alerts, in order.
    pub alerts: Vec<&'e Alert>,
    /// The time intervals that muted it when it was last looked at.
    pub muted_by: &'e [String],
    /// When it is looked at next.
    pub next: Timestamp,
    /// Its key.
    pub key: &'e str,
}

impl Engine {
    /// All alerts, those that are over too until they are swept.
    pub fn alerts(&self) -> impl Iterator<Item = (&Fingerprint, &Alert)> {
        self.alerts.iter()
    }

    /// What would mute a label set now.
    pub fn status(&self, labels: &Labels, now: Timestamp) -> AlertStatus {
        AlertStatus {
            inhibited_by: self.inhibitor.muted_by(labels, now),
            silenced_by: self.silences.muting(labels, now),
        }
    }

    /// All groups: by labels, then receiver.
    pub fn groups(&self) -> Vec<GroupView<'_>> {
        let mut views: Vec<GroupView<'_>> = self
            .groups
            .iter()
            .filter_map(|((route, labels), group)| {
                let receiver = &self.routes.all.get(*route)?.options.receiver;
                let mut alerts: Vec<&Alert> = group.alerts.values().collect();
                alerts.sort_by(|a, b| alert::order(&a.labels, &b.labels));
                Some(GroupView {
                    receiver,
                    labels,
                    alerts,
                    muted_by: &group.muted_by,
                    next: group.next,
                    key: &group.key,
                })
            })
            .collect();
        views.sort_by(|a, b| alert::before(a.labels, b.labels).then_with(|| a.receiver.cmp(b.receiver)));
        views
    }

    /// How many alerts are in each state, those that are over left out.
    pub fn alerts_by_state(&self, now: Timestamp) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::from([("active", 0), ("suppressed", 0), ("unprocessed", 0)]);
        for alert in self.alerts.values().filter(|alert| !alert.resolved_at(now)) {
            *counts.entry(self.status(&alert.labels, now).state()).or_default() += 1;
        }
        counts
    }

    /// How many groups there are.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }
}
