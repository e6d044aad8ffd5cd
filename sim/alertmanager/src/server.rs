//! The wire: serves the API, drives the engine, sends notifications over the simulated network.

use crate::api::{self, Status};
use crate::engine::{self, Attempt, Engine, EngineOptions, Outcome};
use crate::notify::{Delivery, HttpDelivery, Reply, slack};
use crate::snapshot;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use sim_clock::Timestamp;
use sim_net::Host;
use sim_net::http::{Client, HttpError};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// How many deliveries are remembered.
pub const DELIVERIES_MAX: usize = 10_000;
/// How many bytes of alerts that came by the API are remembered.
pub const RECEIVED_BYTES_MAX: usize = 16 << 20;
/// How often silences and the notification log are written (`--data.maintenance-interval`), besides at the end.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(15 * 60);
/// Largest body of a request.
const BODY_BYTES_MAX: usize = 16 << 20;

/// Where files come from.
#[derive(Clone)]
pub struct Files {
    /// The bytes of a path.
    pub read: Arc<dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync>,
    /// The paths that a glob matches, sorted.
    pub list: Arc<dyn Fn(&str) -> Vec<String> + Send + Sync>,
    /// Writes a file whole.
    pub write: Arc<dyn Fn(&str, Vec<u8>) + Send + Sync>,
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
    /// `--storage.path`; `None`: nothing outlives the process.
    pub storage_path: Option<String>,
    /// The port of `--web.listen-address`.
    pub port: u16,
    /// What the engine is told.
    pub engine: EngineOptions,
    /// Whether `--log.level` is `debug`: then it says of which alerts nobody is told, and why.
    pub debug: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            config_file: "/etc/alertmanager/alertmanager.yml".to_owned(),
            storage_path: None,
            port: 9093,
            engine: EngineOptions::default(),
            debug: false,
        }
    }
}

/// Why it cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// The first configuration is wrong.
    #[error("Loading configuration file failed: {0}")]
    Config(String),
    /// What an earlier process kept cannot be read.
    #[error("error loading snapshot: {0}")]
    Snapshot(String),
    /// The network refused the port.
    #[error("listen on port {port}: {message}")]
    Listen {
        /// The port.
        port: u16,
        /// Why.
        message: String,
    },
}

/// A notification that was sent, or would have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// When its fate was known.
    pub at: Timestamp,
    /// The receiver.
    pub receiver: String,
    /// The kind of the integration.
    pub integration: &'static str,
    /// The key of the group.
    pub group_key: String,
    /// Which attempt it was.
    pub attempt: u32,
    /// How it went.
    pub outcome: Outcome,
    /// What the world has no wire for: the fields, rendered.
    pub fields: BTreeMap<String, String>,
}

/// Writes a line.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// Requests that brought alerts, the oldest given up first.
#[derive(Default)]
struct Received {
    requests: VecDeque<(Timestamp, Bytes)>,
    bytes: usize,
}

impl Received {
    fn note(&mut self, at: Timestamp, body: &Bytes) {
        self.bytes += body.len();
        self.requests.push_back((at, body.clone()));
        while self.bytes > RECEIVED_BYTES_MAX {
            let Some((_, gone)) = self.requests.pop_front() else { return };
            self.bytes -= gone.len();
        }
    }
}

struct Shared {
    engine: Mutex<Engine>,
    status: Mutex<Status>,
    sent: Mutex<VecDeque<Sent>>,
    received: Mutex<Received>,
    /// Something happened that may have changed when the engine wants to be driven.
    changed: Notify,
    files: Files,
    options: Options,
    log: Log,
}

/// A running Alertmanager; clones are the same one.
#[derive(Clone)]
pub struct Alertmanager(Arc<Shared>);

impl std::fmt::Debug for Alertmanager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alertmanager").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere has ended the world already.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn load(files: &Files, path: &str) -> Result<(crate::config::Config, crate::template::Templates), String> {
    let bytes = (files.read)(path).ok_or_else(|| format!("open {path}: no such file or directory"))?;
    let text = String::from_utf8(bytes).map_err(|_| "yaml: invalid UTF-8".to_owned())?;
    engine::load(&text, &*files.read, &*files.list).map_err(|error| error.to_string())
}

impl Alertmanager {
    /// Reads the configuration, and what an earlier process kept.
    ///
    /// # Errors
    /// [`ServerError::Config`], [`ServerError::Snapshot`]
    pub fn new(options: Options, files: Files, log: Log) -> Result<Self, ServerError> {
        let (config, templates) = load(&files, &options.config_file).map_err(ServerError::Config)?;
        let now = sim_clock::now();
        let mut engine = Engine::new(config, templates, options.engine.clone(), sim_clock::seeded("alertmanager"), now);
        if let Some(path) = &options.storage_path {
            let kept = |name: &str| (files.read)(&format!("{path}/{name}"));
            let (silences, log) = (kept(snapshot::SILENCES_FILE), kept(snapshot::LOG_FILE));
            engine.restore(silences.as_deref(), log.as_deref()).map_err(ServerError::Snapshot)?;
        }
        Ok(Self(Arc::new(Shared {
            engine: Mutex::new(engine),
            status: Mutex::new(Status { started: now, reloaded: now, reload_ok: true }),
            sent: Mutex::new(VecDeque::new()),
            received: Mutex::default(),
            changed: Notify::new(),
            files,
            options,
            log,
        })))
    }

    /// Writes silences and the notification log where the next process finds them; done every quarter of an hour, and to be
    /// done at the end.
    pub fn keep(&self) {
        let Some(path) = &self.0.options.storage_path else { return };
        let (silences, log) =
            self.with_engine(|engine| (snapshot::of_silences(engine.silences()), snapshot::of_log(engine.log())));
        (self.0.files.write)(&format!("{path}/{}", snapshot::SILENCES_FILE), silences);
        (self.0.files.write)(&format!("{path}/{}", snapshot::LOG_FILE), log);
    }

    /// Looks at the engine.
    pub fn with_engine<T>(&self, f: impl FnOnce(&Engine) -> T) -> T {
        f(&lock(&self.0.engine))
    }

    /// What was sent, oldest first.
    pub fn sent(&self) -> Vec<Sent> {
        lock(&self.0.sent).iter().cloned().collect()
    }

    /// The requests that brought alerts, oldest first: when, and the body as it came.
    pub fn received(&self) -> Vec<(Timestamp, Bytes)> {
        lock(&self.0.received).requests.iter().cloned().collect()
    }

    /// Reads the configuration again; a wrong one changes nothing.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn reload(&self) -> Result<(), String> {
        let loaded = load(&self.0.files, &self.0.options.config_file);
        let now = sim_clock::now();
        let outcome = loaded.map(|(config, templates)| lock(&self.0.engine).reload(config, templates, now));
        let mut status = lock(&self.0.status);
        status.reload_ok = outcome.is_ok();
        match &outcome {
            Ok(()) => status.reloaded = now,
            Err(error) => self.log("ERROR", &format!("msg=\"Loading configuration file failed\" err={error:?}")),
        }
        self.0.changed.notify_one();
        outcome
    }

    fn log(&self, level: &str, rest: &str) {
        (self.0.log)(&format!("time={} level={level} {rest}", sim_clock::now().rfc3339_millis()));
    }

    /// Answers a request as the server would, without the network.
    pub fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        if request.uri().path() == "/-/reload" {
            return self.answer_reload(request.method());
        }
        if request.method() == Method::POST && request.uri().path() == "/api/v2/alerts" {
            lock(&self.0.received).note(sim_clock::now(), request.body());
        }
        let status = lock(&self.0.status).clone();
        let response = api::answer(&mut lock(&self.0.engine), &status, request, sim_clock::now());
        if request.method() != Method::GET {
            self.0.changed.notify_one();
        }
        response
    }

    fn answer_reload(&self, method: &Method) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        if method != Method::POST {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            *response.body_mut() = Bytes::from_static(b"Method Not Allowed\n");
        } else if let Err(error) = self.reload() {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            *response.body_mut() = Bytes::from(format!("failed to reload config: {error}\n"));
        }
        response
    }

    /// Drives the engine for ever: whatever is due is sent.
    async fn drive(&self, client: Client) {
        let mut sending = tokio::task::JoinSet::new();
        let mut next_snapshot = sim_clock::now() + SNAPSHOT_INTERVAL;
        loop {
            let now = sim_clock::now();
            if now >= next_snapshot {
                self.keep();
                next_snapshot = now + SNAPSHOT_INTERVAL;
            }
            let (attempts, next, muted) = {
                let mut engine = lock(&self.0.engine);
                (engine.step(now), engine.next_wake(), engine.take_muted())
            };
            for muted in muted.iter().filter(|_| self.0.options.debug) {
                let alerts: Vec<String> = muted
                    .alerts
                    .iter()
                    .map(|(name, fingerprint)| {
                        format!("{name}[{}]", fingerprint.to_string().get(..7).unwrap_or_default())
                    })
                    .collect();
                let line = format!(
                    "msg=\"Notifications will not be sent for muted alerts\" component=dispatcher aggrGroup={:?} alerts=\"[{}]\" reason={}",
                    muted.group_key,
                    alerts.join(" "),
                    muted.reason
                );
                self.log("DEBUG", &line);
            }
            for attempt in attempts {
                let (alertmanager, client) = (self.clone(), client.clone());
                sending.spawn(async move { alertmanager.send(client, attempt).await });
            }
            tokio::select! {
                biased;
                () = self.0.changed.notified() => {}
                Some(_) = sending.join_next() => {}
                () = sleep(next.min(next_snapshot).since(sim_clock::now())) => {}
            }
        }
    }

    async fn send(&self, client: Client, attempt: Attempt) {
        let (outcome, fields) = match &attempt.delivery {
            Ok(Delivery::Http(request)) => (send_http(&client, request, attempt.deadline).await, BTreeMap::new()),
            Ok(Delivery::Recorded { fields }) => (Outcome::Delivered, fields.clone()),
            Err(message) => {
                (Outcome::Failed { retry: false, reason: "other", message: message.clone() }, BTreeMap::new())
            }
        };
        let at = sim_clock::now();
        if let Outcome::Failed { retry, message, .. } = &outcome {
            let (kind, index) = attempt.integration;
            let (level, what) = if *retry {
                ("WARN", "Notify attempt failed, will retry later")
            } else {
                ("ERROR", "Notify for alerts failed")
            };
            let line = format!(
                "msg=\"{what}\" component=dispatcher receiver={} integration={kind}[{index}] aggrGroup={:?} attempts={} err={message:?}",
                attempt.receiver, attempt.group_key, attempt.number
            );
            self.log(level, &line);
        }
        lock(&self.0.engine).finish(attempt.id, &outcome, at);
        let mut sent = lock(&self.0.sent);
        if sent.len() >= DELIVERIES_MAX {
            sent.pop_front();
        }
        sent.push_back(Sent {
            at,
            receiver: attempt.receiver,
            integration: attempt.integration.0,
            group_key: attempt.group_key,
            attempt: attempt.number,
            outcome,
            fields,
        });
    }
}

async fn send_http(client: &Client, delivery: &HttpDelivery, deadline: Timestamp) -> Outcome {
    let failed = |retry: bool, reason: &'static str, message: String| Outcome::Failed { retry, reason, message };
    let mut request = Request::builder()
        .method(delivery.method)
        .uri(&delivery.url)
        .header(header::USER_AGENT, format!("Alertmanager/{}", api::VERSION));
    for (name, value) in &delivery.headers {
        request = request.header(name, value);
    }
    let request = match request.body(Bytes::from(delivery.body.clone())) {
        Ok(request) => request,
        Err(error) => return failed(false, "other", error.to_string()),
    };
    let left = deadline.since(sim_clock::now());
    let own = delivery.timeout_nanos.and_then(|nanos| u64::try_from(nanos).ok()).map(Duration::from_nanos);
    let client = client.clone().with_timeout(own.map_or(left, |own| own.min(left)));
    match client.send(request).await {
        Ok(response) if response.status().is_success() => {
            let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let refused = match delivery.reply {
                Reply::Any => None,
                Reply::Slack => slack::refusal(content_type.unwrap_or_default(), response.body()),
            };
            match refused {
                None => Outcome::Delivered,
                Some((retry, message)) => failed(retry, "clientError", message),
            }
        }
        Ok(response) => {
            let code = response.status().as_u16();
            let body = String::from_utf8_lossy(response.body()).into_owned();
            let message = if body.is_empty() {
                format!("unexpected status code {code}")
            } else {
                format!("unexpected status code {code}: {body}")
            };
            match code {
                500..=599 => failed(true, "serverError", message),
                429 => failed(delivery.retried.contains(&code), "rateLimited", message),
                400..=499 => failed(false, "clientError", message),
                _ => failed(false, "other", message),
            }
        }
        // The address is a secret.
        Err(HttpError::Connection { reason, .. }) => {
            failed(true, "other", format!("{} \"<redacted>\": {reason}", title(delivery.method)))
        }
        Err(HttpError::Timeout { .. }) => failed(
            true,
            "contextDeadlineExceeded",
            format!("{} \"<redacted>\": context deadline exceeded", title(delivery.method)),
        ),
        Err(other) => failed(true, "other", other.to_string()),
    }
}

/// `POST` as Go writes it in errors: `Post`.
fn title(method: &str) -> String {
    let mut chars = method.chars();
    chars.next().map_or_else(String::new, |first| format!("{first}{}", chars.as_str().to_lowercase()))
}

/// Serves and notifies until dropped.
///
/// # Errors
/// [`ServerError::Listen`] where the port is taken.
pub async fn run(host: Host, alertmanager: Alertmanager) -> Result<(), ServerError> {
    let port = alertmanager.0.options.port;
    let listener = host.listen(port).map_err(|error| ServerError::Listen { port, message: error.to_string() })?;
    let served = alertmanager.clone();
    let limits = sim_net::http::Limits { body_bytes_max: BODY_BYTES_MAX };
    let serve = sim_net::http::serve(listener, limits, move |request: Request<Bytes>| {
        let response = served.answer(&request);
        async move { response.map(sim_net::http::full) }
    });
    let client = Client::new(host.clone());
    tokio::select! {
        biased;
        () = serve => {}
        () = alertmanager.drive(client) => {}
    }
    Ok(())
}
