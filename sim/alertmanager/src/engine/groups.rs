//! Groups: which alerts are told together, and when a group is looked at.

use super::flush::Flush;
use super::{Engine, GROUPS_MAX};
use crate::alert::{Alert, Fingerprint, label_text};
use sim_clock::Timestamp;
use sim_wire::Labels;
use std::collections::BTreeMap;

/// The route and the labels of a group.
pub(super) type GroupKey = (usize, Labels);

/// Alerts that are told together.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its alerts, those that are over too until that was told.
    pub alerts: BTreeMap<Fingerprint, Alert>,
    /// When it is looked at next.
    pub next: Timestamp,
    /// Its key in notifications: the route's key and the labels.
    pub key: String,
    /// The time intervals that muted it when it was last looked at.
    pub muted_by: Vec<String>,
    pub(super) flush: Option<Flush>,
}

impl Group {
    /// When it wants to be looked at.
    fn wake(&self) -> Option<Timestamp> {
        match &self.flush {
            // The next look waits until this one is over.
            Some(flush) => flush.wake(),
            None => Some(self.next),
        }
    }
}

impl Engine {
    /// Puts an alert into the groups of the routes that it takes.
    pub(super) fn dispatch(&mut self, alert: &Alert, now: Timestamp) {
        for route in self.routes.matching(&alert.labels) {
            let labels = self.routes.group_labels(route, &alert.labels);
            let key = (route, labels);
            if let Some(group) = self.groups.get_mut(&key) {
                group.alerts.insert(alert.fingerprint(), alert.clone());
                continue;
            }
            if self.groups.len() >= GROUPS_MAX {
                self.counters.groups_limited += 1;
                continue;
            }
            let Some((wait, route_key)) =
                self.routes.all.get(route).map(|route| (route.options.group_wait, route.key.clone()))
            else {
                continue;
            };
            // An alert that has waited long enough elsewhere does not wait here.
            let old = alert.starts_at.checked_add(wait).is_some_and(|due| due < now);
            let group = Group {
                alerts: BTreeMap::from([(alert.fingerprint(), alert.clone())]),
                next: if old { now } else { now + wait },
                key: format!("{route_key}:{}", label_text(&key.1)),
                muted_by: Vec::new(),
                flush: None,
            };
            self.wakes.extend(group.wake().map(|at| (at, key.clone())));
            self.groups.insert(key, group);
        }
    }

    /// Changes a group and notes when it wants to be looked at from then on.
    pub(super) fn change_group(&mut self, key: &GroupKey, change: impl FnOnce(&mut Self, &mut Group)) {
        let Some(mut group) = self.groups.remove(key) else { return };
        if let Some(at) = group.wake() {
            self.wakes.remove(&(at, key.clone()));
        }
        change(self, &mut group);
        // A group whose last alert was told to be over is gone.
        if group.alerts.is_empty() && group.flush.is_none() {
            return;
        }
        self.wakes.extend(group.wake().map(|at| (at, key.clone())));
        self.groups.insert(key.clone(), group);
    }
}
