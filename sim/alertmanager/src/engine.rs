//! The engine: alerts in, notifications out. It holds no clock and does no I/O; whoever drives it asks
//! [`Engine::next_wake`], calls [`Engine::step`] then, sends what that returns and tells [`Engine::finish`] how it went.

mod flush;
mod groups;
mod view;

pub use flush::{Attempt, Outcome};
pub use groups::Group;
pub use view::{AlertStatus, GroupView};

use crate::Error;
use crate::alert::{Alert, Fingerprint};
use crate::config::{self, Config};
use crate::inhibit::Inhibitor;
use crate::nflog::NotificationLog;
use crate::route::Routes;
use crate::silence::{SetError, Silence, Silences};
use crate::snapshot;
use crate::template::Templates;
use groups::GroupKey;
use sim_clock::{Chance, Timestamp};
use sim_wire::Labels;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How many alerts are held; more are refused and counted.
pub const ALERTS_MAX: usize = 200_000;
/// How many groups are held; alerts that would need more are refused and counted.
pub const GROUPS_MAX: usize = 100_000;
/// How often silences, the notification log and the sources of inhibition are swept.
const SWEEP_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// The command line, as far as the engine goes.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// `--web.external-url`
    pub external_url: String,
    /// `--data.retention`
    pub retention: Duration,
    /// `--alerts.gc-interval`
    pub alerts_gc_interval: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            external_url: "http://localhost:9093".to_owned(),
            retention: Duration::from_secs(120 * 3600),
            alerts_gc_interval: Duration::from_secs(30 * 60),
        }
    }
}

/// The bounds by which the duration of attempts is counted.
pub const LATENCY_BOUNDS_SECS: [u64; 5] = [1, 5, 10, 15, 20];

/// What is counted, for `/metrics`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Alerts received that fire.
    pub received_firing: u64,
    /// Alerts received that are resolved.
    pub received_resolved: u64,
    /// Alerts received that are wrong.
    pub invalid: u64,
    /// Alerts refused because there are too many.
    pub limited: u64,
    /// Groups refused because there are too many.
    pub groups_limited: u64,
    /// Alerts not told of, by reason.
    pub suppressed: BTreeMap<&'static str, u64>,
    /// Notifications by integration.
    pub notifications: BTreeMap<&'static str, u64>,
    /// Notifications that failed for good, by integration and reason.
    pub failed: BTreeMap<(&'static str, &'static str), u64>,
    /// Attempts by integration.
    pub requests: BTreeMap<&'static str, u64>,
    /// Attempts that failed, by integration.
    pub requests_failed: BTreeMap<&'static str, u64>,
    /// How long attempts took in all, by integration.
    pub latency_nanos: BTreeMap<&'static str, u64>,
    /// Attempts that took no longer than each of [`LATENCY_BOUNDS_SECS`], by integration.
    pub latency_buckets: BTreeMap<&'static str, [u64; 5]>,
}

/// Alerts of which nobody was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Muted {
    /// The key of the group.
    pub group_key: String,
    /// `inhibition`, `silence`, `mute_time_interval`, `active_time_interval`
    pub reason: &'static str,
    /// The alerts: name, identity.
    pub alerts: Vec<(String, Fingerprint)>,
}

/// How many of them are kept until somebody takes them.
const MUTED_MAX: usize = 10_000;

/// Alerts, groups, silences and what was told, under one configuration.
#[derive(Debug, Clone)]
pub struct Engine {
    options: EngineOptions,
    config: Config,
    routes: Routes,
    templates: Templates,
    alerts: BTreeMap<Fingerprint, Alert>,
    groups: BTreeMap<GroupKey, Group>,
    /// When each group wants to be looked at.
    wakes: BTreeSet<(Timestamp, GroupKey)>,
    attempts: BTreeMap<u64, GroupKey>,
    next_attempt: u64,
    inhibitor: Inhibitor,
    silences: Silences,
    log: NotificationLog,
    next_sweep: Timestamp,
    next_gc: Timestamp,
    chance: Chance,
    counters: Counters,
    muted: Vec<Muted>,
}

impl Engine {
    /// An engine that knows no alert yet.
    pub fn new(config: Config, templates: Templates, options: EngineOptions, chance: Chance, now: Timestamp) -> Self {
        let routes = Routes::new(&config.route);
        let inhibitor = Inhibitor::new(&config.inhibit_rules);
        Self {
            routes,
            inhibitor,
            templates,
            config,
            alerts: BTreeMap::new(),
            groups: BTreeMap::new(),
            wakes: BTreeSet::new(),
            attempts: BTreeMap::new(),
            next_attempt: 1,
            silences: Silences::new(options.retention),
            log: NotificationLog::new(options.retention),
            next_sweep: now + SWEEP_INTERVAL,
            next_gc: now + options.alerts_gc_interval,
            chance,
            counters: Counters::default(),
            muted: Vec::new(),
            options,
        }
    }

    /// Takes another configuration: all groups are made anew from the alerts that are held, what was told stays known.
    pub fn reload(&mut self, config: Config, templates: Templates, now: Timestamp) {
        self.routes = Routes::new(&config.route);
        self.inhibitor = Inhibitor::new(&config.inhibit_rules);
        self.config = config;
        self.templates = templates;
        self.groups.clear();
        self.wakes.clear();
        self.attempts.clear();
        let alerts: Vec<Alert> = self.alerts.values().cloned().collect();
        for alert in &alerts {
            self.inhibitor.see(alert);
            self.dispatch(alert, now);
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The routing tree in force.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// What is counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The alerts of which nobody was told, since the last call.
    pub fn take_muted(&mut self) -> Vec<Muted> {
        std::mem::take(&mut self.muted)
    }

    fn note_muted(&mut self, group_key: &str, reason: &'static str, alerts: &[Alert]) {
        if alerts.is_empty() {
            return;
        }
        *self.counters.suppressed.entry(reason).or_default() += alerts.len() as u64;
        if self.muted.len() < MUTED_MAX {
            let alerts = alerts.iter().map(|alert| (alert.name().to_owned(), alert.fingerprint())).collect();
            self.muted.push(Muted { group_key: group_key.to_owned(), reason, alerts });
        }
    }

    /// The silences.
    pub fn silences(&self) -> &Silences {
        &self.silences
    }

    /// What has been told.
    pub fn log(&self) -> &NotificationLog {
        &self.log
    }

    /// Takes silences and what was told from snapshots; what is absent is left as it is.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn restore(&mut self, silences: Option<&[u8]>, log: Option<&[u8]>) -> Result<(), String> {
        if let Some(bytes) = silences {
            snapshot::restore_silences(bytes, &mut self.silences).map_err(|error| format!("silences: {error}"))?;
        }
        if let Some(bytes) = log {
            snapshot::restore_log(bytes, &mut self.log).map_err(|error| format!("notification log: {error}"))?;
        }
        Ok(())
    }

    /// How many rules of inhibition there are.
    pub fn inhibition_rules(&self) -> usize {
        self.inhibitor.rules()
    }

    /// Takes alerts as they come by the API: times may be missing, wrong ones are refused one by one.
    ///
    /// # Errors
    /// What is wrong with the wrong ones, one line each; the others are taken.
    pub fn post(&mut self, alerts: Vec<PostedAlert>, now: Timestamp) -> Result<(), Vec<String>> {
        let mut errors = Vec::new();
        for posted in alerts {
            let (starts_at, timeout) = (posted.starts_at.or(posted.ends_at).unwrap_or(now), posted.ends_at.is_none());
            let ends_at = posted.ends_at.unwrap_or_else(|| now + self.config.resolve_timeout);
            if ends_at > now {
                self.counters.received_firing += 1;
            } else {
                self.counters.received_resolved += 1;
            }
            let alert = Alert {
                labels: posted.labels,
                annotations: posted.annotations,
                starts_at,
                ends_at,
                generator_url: posted.generator_url,
                updated_at: now,
                timeout,
            };
            match alert.validate() {
                Ok(()) => self.put(alert, now),
                Err(error) => {
                    self.counters.invalid += 1;
                    errors.push(error);
                }
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn put(&mut self, alert: Alert, now: Timestamp) {
        let fingerprint = alert.fingerprint();
        let alert = match self.alerts.get(&fingerprint) {
            // Sightings whose times overlap are one alert.
            Some(old)
                if (alert.ends_at > old.starts_at && alert.ends_at < old.ends_at)
                    || (alert.starts_at > old.starts_at && alert.starts_at < old.ends_at) =>
            {
                old.merge(&alert, now)
            }
            None if self.alerts.len() >= ALERTS_MAX => {
                self.counters.limited += 1;
                return;
            }
            _ => alert,
        };
        self.alerts.insert(fingerprint, alert.clone());
        self.inhibitor.see(&alert);
        self.dispatch(&alert, now);
    }

    /// Makes or changes a silence.
    ///
    /// # Errors
    /// [`SetError`]
    pub fn set_silence(&mut self, silence: Silence, now: Timestamp) -> Result<String, SetError> {
        let chance = &mut self.chance;
        self.silences.set(silence, now, || chance.uuid())
    }

    /// Ends a silence.
    ///
    /// # Errors
    /// [`SetError::NotFound`]
    pub fn expire_silence(&mut self, id: &str, now: Timestamp) -> Result<(), SetError> {
        self.silences.expire(id, now)
    }

    /// When [`Engine::step`] has something to do.
    pub fn next_wake(&self) -> Timestamp {
        let sweep = self.next_sweep.min(self.next_gc);
        self.wakes.first().map_or(sweep, |(at, _)| sweep.min(*at))
    }

    fn sweep(&mut self, now: Timestamp) {
        while self.next_sweep <= now {
            self.next_sweep = self.next_sweep + SWEEP_INTERVAL;
            self.silences.collect_garbage(now);
            self.log.collect_garbage(now);
            self.inhibitor.collect_garbage(now);
        }
        while self.next_gc <= now {
            self.next_gc = self.next_gc + self.options.alerts_gc_interval;
            self.alerts.retain(|_, alert| !alert.resolved_at(now));
        }
    }
}

/// An alert as it comes by the API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PostedAlert {
    /// What it is.
    pub labels: Labels,
    /// What is said about it.
    pub annotations: Labels,
    /// Since when.
    pub starts_at: Option<Timestamp>,
    /// Until when.
    pub ends_at: Option<Timestamp>,
    /// What raised it.
    pub generator_url: String,
}

/// Reads a configuration and the template files that it names. `list` says which paths a glob matches.
///
/// # Errors
/// [`Error`] of whichever is wrong first.
pub fn load(
    text: &str,
    read: &dyn Fn(&str) -> Option<Vec<u8>>,
    list: &dyn Fn(&str) -> Vec<String>,
) -> Result<(Config, Templates), Error> {
    let config = config::parse(text)?;
    let mut templates = Templates::default();
    let mut files = 0;
    for pattern in &config.templates {
        for path in list(pattern) {
            files += 1;
            let name = path.rsplit('/').next().unwrap_or(&path).to_owned();
            let fail = |message: String| Error::Template { message };
            if files > crate::template::FILES_MAX {
                return Err(fail(format!("failed to parse templates: more than {} files", crate::template::FILES_MAX)));
            }
            let bytes = read(&path)
                .ok_or_else(|| fail(format!("failed to parse templates: open {path}: no such file or directory")))?;
            let text = String::from_utf8_lossy(&bytes);
            templates.add(&name, &text).map_err(|error| fail(format!("failed to parse templates: {error}")))?;
        }
    }
    Ok((config, templates))
}

#[cfg(test)]
mod tests;
