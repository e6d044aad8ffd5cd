//! The wire: scrapes targets and evaluates rules on time, serves the HTTP API, reloads when its files change.

use crate::Error;
use crate::api;
use crate::config::{self, Config};
use crate::notify::{self, Notifier};
use crate::promql::{EvalOptions, ParseOptions};
use crate::remote::receive;
use crate::rules::{Change, Group, parse_rules};
use crate::scrape::{self, Memory, Outcome, Settings, Summary, Target};
use crate::store::Store;
use crate::template::External;
use crate::transport::{Credentials, Transport};
use bytes::Bytes;
use sim_clock::watch;
use sim_net::Host;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

pub(crate) const USER_AGENT: &str = "Prometheus/3.5.0";
/// How often old samples are dropped.
const RETENTION_INTERVAL: Duration = Duration::from_secs(2 * 3600);

/// Where files come from.
#[derive(Clone)]
pub struct Files {
    /// The bytes of a path.
    pub read: Arc<dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync>,
    /// The paths that a glob matches, sorted.
    pub list: Arc<dyn Fn(&str) -> Vec<String> + Send + Sync>,
    /// Ticks when a file may have changed.
    pub revision: watch::Receiver<u64>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").finish_non_exhaustive()
    }
}

/// The command line.
#[derive(Debug, Clone)]
pub struct Options {
    /// `--config.file`
    pub config_file: String,
    /// The port of `--web.listen-address`.
    pub port: u16,
    /// `--storage.tsdb.retention.time`
    pub retention: Duration,
    /// `--web.enable-remote-write-receiver`
    pub remote_write_receiver: bool,
    /// `--web.external-url`, without a slash at its end; for links in alerts.
    pub external_url: String,
    /// `--web.enable-otlp-receiver`
    pub otlp_receiver: bool,
    /// `--enable-feature=promql-experimental-functions`
    pub experimental_functions: bool,
    /// `--enable-feature=promql-delayed-name-removal`
    pub delayed_name_removal: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config_file: "/etc/prometheus/config/prometheus.yaml".to_owned(),
            port: 9090,
            retention: Duration::from_secs(15 * 24 * 3600),
            remote_write_receiver: false,
            external_url: "http://prometheus:9090".to_owned(),
            otlp_receiver: false,
            experimental_functions: false,
            delayed_name_removal: false,
        }
    }
}

/// A target as it stands.
#[derive(Debug)]
pub(crate) struct TargetStatus {
    pub target: Target,
    pub last: Option<(i64, Duration, Summary)>,
    settings: Settings,
    credentials: Credentials,
    /// Largest page in bytes; 0 is no limit.
    body_size_limit: usize,
    /// Why the target is not scraped at all.
    refused: Option<String>,
    pub memory: Memory,
    /// The scrape configuration, to tell at a reload whether anything changed.
    fingerprint: String,
}

/// Everything a running Prometheus holds.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub store: Store,
    pub config: Config,
    pub config_text: String,
    pub targets: BTreeMap<String, TargetStatus>,
    pub groups: BTreeMap<String, Group>,
    pub reload_error: Option<String>,
    pub options: Options,
    pub notifier: Notifier,
    /// Targets that relabelling dropped: job and discovered labels.
    pub dropped: Vec<(String, sim_wire::Labels)>,
    /// When the server started, and when it last took a configuration.
    pub started_ms: Option<i64>,
    pub loaded_ms: Option<i64>,
}

impl State {
    pub fn eval_options(&self) -> EvalOptions {
        let step = i64::try_from(self.config.global.evaluation_interval.as_millis()).unwrap_or(i64::MAX);
        EvalOptions {
            default_step_ms: step,
            delayed_name_removal: self.options.delayed_name_removal,
            ..EvalOptions::default()
        }
    }

    pub fn parse_options(&self) -> ParseOptions {
        ParseOptions { experimental: self.options.experimental_functions }
    }

    /// What remote write may bring at this time.
    pub fn write_window(&self, now_ms: i64) -> receive::Window {
        let window = self.config.storage.tsdb.out_of_order_time_window.as_millis();
        receive::Window {
            latest_ms: now_ms.saturating_add(receive::AHEAD_MS_MAX),
            out_of_order_ms: i64::try_from(window).unwrap_or(i64::MAX),
        }
    }
}

/// A Prometheus with its data; clones share it, so data outlives a restart of [`run`] as on a disk.
#[derive(Debug, Clone, Default)]
pub struct Prometheus(Arc<Mutex<State>>);

impl Prometheus {
    /// One without data.
    pub fn new() -> Self {
        Self::default()
    }

    /// One without data that is asked through [`Prometheus::answer`] and not run: with the switches of a command line.
    pub fn with_options(options: Options) -> Self {
        Self(Arc::new(Mutex::new(State { options, ..State::default() })))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere has ended the world already.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the store.
    pub fn with_store<T>(&self, f: impl FnOnce(&Store) -> T) -> T {
        f(&self.state().store)
    }

    /// Answers a request of the HTTP API as the server would, without the network.
    pub fn answer(&self, request: &http::Request<Bytes>, now: sim_clock::Timestamp) -> http::Response<Bytes> {
        api::answer(&mut self.state(), request, now)
    }

    /// The lives of all alerts that are remembered, in order of time: when each became pending, fired and ended, and why.
    pub fn alert_history(&self) -> Vec<Change> {
        let state = self.state();
        let mut changes: Vec<Change> =
            state.groups.values().flat_map(|group| group.history.changes().cloned()).collect();
        changes.sort_by_key(|change| change.at_ms);
        changes
    }

    /// Why the last reload was refused, if it was.
    pub fn reload_error(&self) -> Option<String> {
        self.state().reload_error.clone()
    }
}

/// Tasks by key, ended when dropped.
#[derive(Default)]
struct Tasks(BTreeMap<String, JoinHandle<()>>);

impl Tasks {
    fn stop(&mut self, key: &str) {
        if let Some(task) = self.0.remove(key) {
            task.abort();
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in self.0.values() {
            task.abort();
        }
    }
}

/// Runs until `shutdown` says `true` (or is dropped); dropping the future ends every task too.
///
/// # Errors
/// [`Error`] where the first configuration is wrong or the port is taken, as the process would exit. A wrong configuration at a
/// later reload is kept out and shown by [`Prometheus::reload_error`].
pub async fn run(
    host: Host,
    prometheus: Prometheus,
    options: Options,
    mut files: Files,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), Error> {
    let transport = Transport::new(host.clone(), files.read.clone());
    let mut tasks = Tasks::default();
    files.revision.mark_unchanged();
    {
        let mut state = prometheus.state();
        state.options = options.clone();
        // What a process had in memory goes with it: alert state comes back from the samples.
        state.groups.clear();
        state.started_ms = Some(sim_clock::now().as_millis());
    }
    reload(&prometheus, &options, &files, &transport, &mut tasks)?;
    let listener =
        host.listen(options.port).map_err(|error| Error::Listen { port: options.port, message: error.to_string() })?;
    let served = prometheus.clone();
    let handler = move |request: http::Request<Bytes>| {
        let response = served.answer(&request, sim_clock::now());
        async move { response.map(sim_net::http::full) }
    };
    let server = sim_clock::spawn("prometheus http", async move {
        sim_net::http::serve(listener, sim_net::http::Limits::default(), handler).await;
    });
    tasks.0.insert("http".to_owned(), server);
    let kept = prometheus.clone();
    let retention = options.retention;
    let sweep = sim_clock::spawn("prometheus retention", async move {
        loop {
            sleep(RETENTION_INTERVAL).await;
            kept.state().store.enforce_retention(sim_clock::now().as_millis(), retention);
        }
    });
    tasks.0.insert("retention".to_owned(), sweep);
    let (queue_grew, grown) = watch::channel(0_u64);
    prometheus.state().notifier.attach(queue_grew);
    let sending = notify::run(prometheus.clone(), transport.clone(), grown);
    tasks.0.insert("notifier".to_owned(), sim_clock::spawn("prometheus notifier", sending));
    let mut watching = true;
    loop {
        tokio::select! {
            biased;
            stopped = shutdown.wait_for(|stop| *stop) => {
                let _ = stopped;
                return Ok(());
            }
            changed = files.revision.changed(), if watching => {
                watching = changed.is_ok();
                if watching {
                    let outcome = reload(&prometheus, &options, &files, &transport, &mut tasks);
                    prometheus.state().reload_error = outcome.err().map(|error| error.to_string());
                }
            }
        }
    }
}

fn text_of(files: &Files, path: &str) -> Result<String, Error> {
    let bytes = (files.read)(path).ok_or_else(|| Error::NoFile { path: path.to_owned() })?;
    String::from_utf8(bytes).map_err(|_| Error::Config { message: format!("{path} is not UTF-8") })
}

/// Reads everything first, so that a wrong file changes nothing.
fn reload(
    prometheus: &Prometheus,
    options: &Options,
    files: &Files,
    transport: &Transport,
    tasks: &mut Tasks,
) -> Result<(), Error> {
    let text = text_of(files, &options.config_file)?;
    let config = config::parse(&text)?;
    let mut groups = BTreeMap::new();
    for pattern in &config.rule_files {
        for path in (files.list)(pattern) {
            for spec in parse_rules(&path, &text_of(files, &path)?)? {
                let group = Group::new(spec, &path, config.global.evaluation_interval)?
                    .with_default_offset(config.global.rule_query_offset);
                groups.insert(format!("{path};{}", group.spec.name), group);
            }
        }
    }
    let mut state = prometheus.state();
    let unchanged = state.config_text == text && same_rules(&state.groups, &groups);
    if unchanged && tasks.0.contains_key("http") {
        return Ok(());
    }
    let now_ms = sim_clock::now().as_millis();
    let state = &mut *state;
    state.config_text = text;
    apply_targets(prometheus, state, &config, transport, tasks, now_ms);
    apply_groups(prometheus, state, groups, tasks, now_ms);
    state.store.set_exemplars_max(config.storage.exemplars.max_exemplars);
    state.dropped = scrape::dropped(&config);
    state.config = config;
    state.loaded_ms = Some(now_ms);
    Ok(())
}

fn same_rules(old: &BTreeMap<String, Group>, new: &BTreeMap<String, Group>) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|((a, old), (b, new))| a == b && old.spec == new.spec)
}

fn apply_targets(
    prometheus: &Prometheus,
    state: &mut State,
    config: &Config,
    transport: &Transport,
    tasks: &mut Tasks,
    now_ms: i64,
) {
    let mut wanted = BTreeMap::new();
    for (index, target) in scrape::targets(config) {
        let scrape = &config.scrape_configs[index];
        let key = format!("scrape {} {} {}", target.job, target.url, target.labels);
        let fingerprint = format!("{scrape:?} {:?} {:?}", target.interval, target.timeout);
        wanted.insert(
            key,
            TargetStatus {
                target,
                last: None,
                settings: scrape.into(),
                memory: Memory::default(),
                credentials: Credentials::from(scrape),
                body_size_limit: scrape.body_size_limit,
                refused: None,
                fingerprint,
            },
        );
    }
    for scrape in config.scrape_configs.iter().filter(|scrape| scrape.target_limit > 0) {
        let mut own: Vec<&mut TargetStatus> =
            wanted.values_mut().filter(|status| status.target.job == scrape.job_name).collect();
        let (count, limit) = (own.len(), scrape.target_limit);
        if count > limit {
            for status in &mut own {
                let message = format!("target_limit exceeded (number of targets: {count}, limit: {limit})");
                status.refused = Some(message.clone());
                // What is known of it from before must not hide that.
                status.fingerprint.push_str(&message);
            }
        }
    }
    let old = std::mem::take(&mut state.targets);
    for (key, mut status) in old {
        // After a restart the tasks are new and the targets known: that ends no series.
        let same = wanted.get(&key).is_some_and(|new| new.fingerprint == status.fingerprint);
        if same {
            wanted.insert(key, status);
        } else {
            tasks.stop(&key);
            scrape::retire(&mut state.store, &mut status.memory, now_ms);
        }
    }
    for (key, status) in &wanted {
        if !tasks.0.contains_key(key) {
            let task = scrape_loop(prometheus.clone(), key.clone(), status.target.clone(), transport.clone());
            tasks.0.insert(key.clone(), sim_clock::spawn(key, task));
        }
    }
    state.targets = wanted;
}

fn apply_groups(
    prometheus: &Prometheus,
    state: &mut State,
    mut groups: BTreeMap<String, Group>,
    tasks: &mut Tasks,
    now_ms: i64,
) {
    if state.groups.is_empty() && state.loaded_ms < state.started_ms {
        groups = groups.into_iter().map(|(key, group)| (key, group.started_anew(&state.store))).collect();
    }
    for (key, mut old) in std::mem::take(&mut state.groups) {
        let task = format!("rules {key}");
        match groups.get_mut(&key) {
            Some(new) => {
                if new.interval != old.interval {
                    tasks.stop(&task);
                }
                new.adopt(&mut old);
            }
            None => tasks.stop(&task),
        }
        // What no new rule took over ends.
        old.retire(&mut state.store, now_ms);
    }
    for (key, group) in &groups {
        let task = format!("rules {key}");
        if !tasks.0.contains_key(&task) {
            let ticking = rule_loop(prometheus.clone(), key.clone(), group.interval);
            tasks.0.insert(task.clone(), sim_clock::spawn(&task, ticking));
        }
    }
    state.groups = groups;
}

/// The first tick of something periodic: an offset below its interval, the same in every run of a seed.
fn first_tick(label: &str, interval: Duration) -> Instant {
    let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
    Instant::now() + sim_clock::seeded(&format!("prometheus {label}")).range_ms(0..=interval_ms - 1)
}

/// The next tick after now; ticks missed by a slow scrape are skipped.
fn next_tick(last: Instant, interval: Duration) -> Instant {
    let mut next = last + interval;
    let now = Instant::now();
    while next < now {
        next += interval;
    }
    next
}

async fn scrape_loop(prometheus: Prometheus, key: String, target: Target, transport: Transport) {
    let mut tick = first_tick(&key, target.interval);
    loop {
        sleep_until(tick).await;
        let started = sim_clock::now();
        let asked = {
            let state = prometheus.state();
            let Some(status) = state.targets.get(&key) else { return };
            (status.refused.clone(), status.credentials.clone(), status.body_size_limit)
        };
        let page = match asked {
            (Some(reason), ..) => Err(reason),
            (None, credentials, limit) => transport.fetch(&target, &credentials, limit).await,
        };
        let duration = sim_clock::now().since(started);
        let mut state = prometheus.state();
        let state = &mut *state;
        let Some(status) = state.targets.get_mut(&key) else { return };
        let outcome = match &page {
            Ok((content_type, body)) => match std::str::from_utf8(body) {
                Ok(body) => Outcome::Page { content_type, body },
                Err(_) => Outcome::Failed("invalid UTF-8 in the body".to_owned()),
            },
            Err(reason) => Outcome::Failed(reason.clone()),
        };
        let now_ms = started.as_millis();
        let summary = scrape::ingest(
            &mut state.store,
            &mut status.memory,
            &status.settings,
            &target.labels,
            now_ms,
            duration,
            &outcome,
        );
        status.last = Some((now_ms, duration, summary));
        tick = next_tick(tick, target.interval);
    }
}

async fn rule_loop(prometheus: Prometheus, key: String, interval: Duration) {
    let mut tick = first_tick(&format!("rules {key}"), interval);
    loop {
        sleep_until(tick).await;
        {
            let mut state = prometheus.state();
            let options = state.eval_options();
            let state = &mut *state;
            let Some(group) = state.groups.get_mut(&key) else { return };
            let now_ms = sim_clock::now().as_millis();
            let external = External {
                labels: state.config.global.external_labels.clone(),
                url: state.options.external_url.clone(),
            };
            group.evaluate(&mut state.store, now_ms, &external, options);
            let due = group.alerts_to_send(now_ms);
            state.notifier.push(due, &state.config, &state.options.external_url);
        }
        tick = next_tick(tick, interval);
    }
}
