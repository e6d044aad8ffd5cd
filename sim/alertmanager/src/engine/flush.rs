//! Looking at a group: what is muted, who is told, and what is tried again.

use super::groups::{Group, GroupKey};
use super::{Engine, LATENCY_BOUNDS_SECS};
use crate::alert::{self, Alert, Fingerprint};
use crate::nflog::{Reason, needs_update};
use crate::notify::{self, Delivery, Notification};
use sim_clock::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

/// The first wait between attempts, what it grows by, and the longest; each wait is up to half more or less.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_FACTOR: f64 = 1.5;
const BACKOFF_MAX: Duration = Duration::from_secs(60);
const BACKOFF_SPREAD: f64 = 0.5;
/// A look at a group may take its group interval, but at least this.
const FLUSH_MIN: Duration = Duration::from_secs(10);

/// Something to be sent.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// For [`Engine::finish`].
    pub id: u64,
    /// The receiver.
    pub receiver: String,
    /// The kind of the integration and its place among its kind.
    pub integration: (&'static str, usize),
    /// The key of the group.
    pub group_key: String,
    /// Which attempt this is, from one.
    pub number: u32,
    /// What is sent, or why it cannot be.
    pub delivery: Result<Delivery, String>,
    /// After this it is too late.
    pub deadline: Timestamp,
}

/// How an attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It arrived.
    Delivered,
    /// It did not.
    Failed {
        /// Whether another attempt makes sense.
        retry: bool,
        /// Why.
        reason: &'static str,
        /// In words.
        message: String,
    },
}

/// One look at a group.
#[derive(Debug, Clone)]
pub(super) struct Flush {
    deadline: Timestamp,
    /// The alerts that were over, with the sighting that said so.
    resolved: Vec<(Fingerprint, Timestamp)>,
    parts: Vec<Part>,
    /// Whether everything that was to be sent has been.
    ok: bool,
}

/// One integration to be told.
#[derive(Debug, Clone)]
struct Part {
    receiver: String,
    /// The place among the receiver's integrations.
    place: usize,
    kind: &'static str,
    index: usize,
    notification: Notification,
    /// Nothing is sent: it is only noted.
    silent: bool,
    firing: BTreeSet<Fingerprint>,
    resolved: BTreeSet<Fingerprint>,
    repeat_interval: Duration,
    attempts: u32,
    backoff: Duration,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    /// The next attempt is due then.
    Waiting(Timestamp),
    Sent {
        id: u64,
        at: Timestamp,
        next: Timestamp,
    },
    Done,
}

impl Part {
    /// How the notification log calls it.
    fn log_key(&self) -> String {
        format!("{}/{}/{}", self.receiver, self.kind, self.index)
    }
}

impl Flush {
    pub(super) fn wake(&self) -> Option<Timestamp> {
        let waiting = self.parts.iter().filter_map(|part| match part.state {
            State::Waiting(at) => Some(at.min(self.deadline)),
            State::Sent { .. } => Some(self.deadline),
            State::Done => None,
        });
        waiting.min()
    }

    fn is_over(&self) -> bool {
        self.parts.iter().all(|part| matches!(part.state, State::Done))
    }
}

impl Engine {
    /// Does everything that is due and returns what has to be sent.
    pub fn step(&mut self, now: Timestamp) -> Vec<Attempt> {
        self.sweep(now);
        let mut attempts = Vec::new();
        // A group wants nothing at the instant at which it was served, so this ends.
        while let Some((at, key)) = self.wakes.first().cloned().filter(|(at, _)| *at <= now) {
            self.change_group(&key, |engine, group| {
                if group.flush.is_none() {
                    engine.look(&key, group, at, now);
                }
                engine.send_due(&key, group, now, &mut attempts);
                Self::end_flush(group);
            });
        }
        attempts
    }

    /// Tells how an attempt went. What is then due is for [`Engine::step`].
    pub fn finish(&mut self, id: u64, outcome: &Outcome, now: Timestamp) {
        let Some(key) = self.attempts.remove(&id) else { return };
        self.change_group(&key, |engine, group| {
            let Some(flush) = &mut group.flush else { return };
            let deadline = flush.deadline;
            let sent =
                flush.parts.iter_mut().find(|part| matches!(part.state, State::Sent { id: sent, .. } if sent == id));
            let Some(part) = sent else { return };
            let State::Sent { at, next, .. } = part.state else { return };
            let nanos = u64::try_from(now.since(at).as_nanos()).unwrap_or(u64::MAX);
            *engine.counters.latency_nanos.entry(part.kind).or_default() += nanos;
            let buckets = engine.counters.latency_buckets.entry(part.kind).or_default();
            for (bucket, bound) in buckets.iter_mut().zip(LATENCY_BOUNDS_SECS) {
                *bucket += u64::from(nanos <= bound * 1_000_000_000);
            }
            *engine.counters.requests.entry(part.kind).or_default() += 1;
            match outcome {
                Outcome::Delivered => {
                    part.state = State::Done;
                    let part = part.clone();
                    engine.note(&group.key, &part, now);
                }
                Outcome::Failed { retry, reason, .. } => {
                    *engine.counters.requests_failed.entry(part.kind).or_default() += 1;
                    if *retry && now < deadline {
                        part.state = State::Waiting(next.max(now));
                    } else {
                        part.state = State::Done;
                        *engine.counters.failed.entry((part.kind, reason)).or_default() += 1;
                        flush.ok = false;
                    }
                }
            }
            Self::end_flush(group);
        });
    }

    fn note(&mut self, group_key: &str, part: &Part, now: Timestamp) {
        let (firing, resolved) = (part.firing.clone(), part.resolved.clone());
        self.log.note(group_key, &part.log_key(), firing, resolved, part.repeat_interval, now);
    }

    /// Begins a look at a group: `tick` is when it was due, `now` when it happens.
    fn look(&mut self, key: &GroupKey, group: &mut Group, tick: Timestamp, now: Timestamp) {
        let Some(route) = self.routes.all.get(key.0).cloned() else { return };
        let options = &route.options;
        group.next = now + options.group_interval;
        if group.alerts.is_empty() {
            return;
        }
        let mut alerts: Vec<Alert> = group.alerts.values().cloned().collect();
        alerts.sort_by(|a, b| alert::order(&a.labels, &b.labels));
        let over = alerts.iter().filter(|alert| alert.resolved_at(now));
        let resolved = over.map(|alert| (alert.fingerprint(), alert.updated_at)).collect();
        let mut flush =
            Flush { deadline: now + options.group_interval.max(FLUSH_MIN), resolved, parts: Vec::new(), ok: true };
        let left = self.unmuted(group, &route, alerts, tick, now);
        if !left.is_empty() {
            self.add_parts(&mut flush, key, group, options, &left, tick, now);
        }
        group.flush = Some(flush);
    }

    /// The alerts that nothing mutes, in the real program's order of looking.
    fn unmuted(
        &mut self,
        group: &mut Group,
        route: &crate::route::Route,
        mut alerts: Vec<Alert>,
        tick: Timestamp,
        now: Timestamp,
    ) -> Vec<Alert> {
        let (inhibited, rest): (Vec<Alert>, Vec<Alert>) =
            alerts.drain(..).partition(|alert| self.inhibitor.muted_by(&alert.labels, now).is_some());
        self.note_muted(&group.key, "inhibition", &inhibited);
        if rest.is_empty() {
            return rest;
        }
        let within = |names: &[String]| -> Vec<String> {
            let intervals = |name: &String| self.config.time_intervals.get(name).cloned().unwrap_or_default();
            names
                .iter()
                .filter(|name| intervals(name).iter().any(|interval| interval.contains(tick)))
                .cloned()
                .collect()
        };
        let active = &route.options.active_time_intervals;
        let outside = !active.is_empty() && within(active).is_empty();
        let muted_by = within(&route.options.mute_time_intervals);
        group.muted_by = if outside { active.clone() } else { muted_by };
        if !group.muted_by.is_empty() {
            let reason = if outside { "active_time_interval" } else { "mute_time_interval" };
            self.note_muted(&group.key, reason, &rest);
            return Vec::new();
        }
        let (silenced, rest): (Vec<Alert>, Vec<Alert>) =
            rest.into_iter().partition(|alert| !self.silences.muting(&alert.labels, now).is_empty());
        self.note_muted(&group.key, "silence", &silenced);
        rest
    }

    /// What each integration of the receiver has to be told.
    fn add_parts(
        &mut self,
        flush: &mut Flush,
        key: &GroupKey,
        group: &Group,
        options: &crate::route::RouteOptions,
        alerts: &[Alert],
        tick: Timestamp,
        now: Timestamp,
    ) {
        let ids = |resolved: bool| -> BTreeSet<Fingerprint> {
            alerts.iter().filter(|alert| alert.resolved_at(now) == resolved).map(Alert::fingerprint).collect()
        };
        let (firing, resolved) = (ids(false), ids(true));
        let Some(receiver) = self.config.receiver(&options.receiver) else { return };
        let mut parts = Vec::new();
        for (place, integration) in receiver.integrations.iter().enumerate() {
            let log_key = format!("{}/{}/{}", receiver.name, integration.kind, integration.index);
            let entry = self.log.entry(&group.key, &log_key);
            let needed =
                needs_update(entry, &firing, &resolved, integration.send_resolved, options.repeat_interval, tick);
            let Some(reason) = needed else { continue };
            *self.counters.notifications.entry(integration.kind).or_default() += 1;
            let told: Vec<Alert> = if integration.send_resolved {
                alerts.to_vec()
            } else {
                alerts.iter().filter(|alert| !alert.resolved_at(now)).cloned().collect()
            };
            let silent = !integration.send_resolved && firing.is_empty();
            parts.push(Part {
                receiver: receiver.name.clone(),
                place,
                kind: integration.kind,
                index: integration.index,
                notification: self.notification(&receiver.name, key, group, reason, told, now),
                silent,
                firing: firing.clone(),
                resolved: resolved.clone(),
                repeat_interval: options.repeat_interval,
                attempts: 0,
                backoff: BACKOFF_FIRST,
                state: State::Waiting(now),
            });
        }
        flush.parts = parts;
    }

    fn notification(
        &self,
        receiver: &str,
        key: &GroupKey,
        group: &Group,
        reason: Reason,
        alerts: Vec<Alert>,
        now: Timestamp,
    ) -> Notification {
        Notification {
            receiver: receiver.to_owned(),
            group_key: group.key.clone(),
            group_labels: key.1.clone(),
            reason: reason.as_str(),
            external_url: self.options.external_url.clone(),
            judged_at: now,
            alerts,
        }
    }

    fn send_due(&mut self, key: &GroupKey, group: &mut Group, now: Timestamp, attempts: &mut Vec<Attempt>) {
        let Some(flush) = &mut group.flush else { return };
        let deadline = flush.deadline;
        for part in &mut flush.parts {
            match part.state {
                State::Done => continue,
                // Whoever sends gives up at the deadline too; if it does not say so, nobody waits for it.
                State::Sent { id, .. } if now >= deadline => {
                    self.attempts.remove(&id);
                    part.state = State::Done;
                    *self.counters.failed.entry((part.kind, "contextDeadlineExceeded")).or_default() += 1;
                    flush.ok = false;
                    continue;
                }
                State::Sent { .. } => continue,
                State::Waiting(_) if now >= deadline => {
                    part.state = State::Done;
                    *self.counters.failed.entry((part.kind, "contextDeadlineExceeded")).or_default() += 1;
                    flush.ok = false;
                    continue;
                }
                State::Waiting(at) if at > now => continue,
                State::Waiting(_) => {}
            }
            if part.silent {
                part.state = State::Done;
                let part = part.clone();
                let (firing, resolved) = (part.firing.clone(), part.resolved.clone());
                self.log.note(&group.key, &part.log_key(), firing, resolved, part.repeat_interval, now);
                continue;
            }
            part.attempts += 1;
            let spread = 1.0 - BACKOFF_SPREAD + 2.0 * BACKOFF_SPREAD * self.chance.f64();
            let next = now + part.backoff.mul_f64(spread);
            part.backoff = part.backoff.mul_f64(BACKOFF_FACTOR).min(BACKOFF_MAX);
            let id = self.next_attempt;
            self.next_attempt += 1;
            part.state = State::Sent { id, at: now, next };
            let integration =
                self.config.receiver(&part.receiver).and_then(|receiver| receiver.integrations.get(part.place));
            let delivery = match integration {
                Some(integration) => notify::delivery(integration, &part.notification, &self.templates, now),
                None => Err("the receiver is gone".to_owned()),
            };
            self.attempts.insert(id, key.clone());
            attempts.push(Attempt {
                id,
                receiver: part.receiver.clone(),
                integration: (part.kind, part.index),
                group_key: group.key.clone(),
                number: part.attempts,
                delivery,
                deadline,
            });
        }
    }

    /// Ends a look at which everything is done: alerts whose end was told are gone.
    fn end_flush(group: &mut Group) {
        let Some(flush) = group.flush.take_if(|flush| flush.is_over()) else { return };
        if flush.ok {
            for (fingerprint, seen) in flush.resolved {
                // One that fired again in the meantime stays.
                if group.alerts.get(&fingerprint).is_some_and(|alert| alert.updated_at == seen) {
                    group.alerts.remove(&fingerprint);
                }
            }
        }
    }
}
