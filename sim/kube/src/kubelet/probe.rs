//! Probes, really asked over the network; what is steady is assumed until the network says that it may differ.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use serde_json::Value;
use sim_net::{
    Host,
    http::{Client, HttpError},
};
use tokio::{sync::mpsc, time::Instant};

use super::{
    ExecIo, Output, Ran, Shared,
    exec::EXEC_PIECES_MAX,
    grpc_health::{self, Health},
    pod::Note,
    readiness,
};
use crate::{json, workloads::port_number};

/// The three kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    pub(super) fn field(self) -> &'static str {
        match self {
            Kind::Startup => "startupProbe",
            Kind::Liveness => "livenessProbe",
            Kind::Readiness => "readinessProbe",
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
        }
    }
}

enum Ask {
    Http {
        url: String,
        headers: Vec<(String, String)>,
    },
    Tcp(String),
    /// A command in the container.
    Exec(Vec<String>),
    /// The health of a gRPC service.
    Grpc {
        target: String,
        service: String,
    },
}

/// Why a probe did not succeed.
enum Failed {
    /// It was answered, and badly.
    Answer(String),
    /// It was not answered in time, which may be the hour's fault and not the network's.
    Late(String),
    /// It could not be asked: the result does not count.
    Asking(String),
}

/// Bytes of a command's output that are told.
const OUTPUT_BYTES_MAX: usize = 10 << 10;
/// How much before its time a probe that cannot connect gives up, so that it is told apart from one that gets no answer.
const ALMOST: Duration = Duration::from_millis(1);

async fn get(client: &Client, url: &str, headers: &[(String, String)]) -> Result<(), String> {
    let mut request = Request::get(url).header("user-agent", "kube-probe/1.34");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Bytes::new()).map_err(|e| e.to_string())?;
    match client.send(request).await {
        Ok(response) if (200..400).contains(&response.status().as_u16()) => Ok(()),
        Ok(response) => Err(format!("HTTP probe failed with statuscode: {}", response.status().as_u16())),
        Err(HttpError::Connection { reason, .. }) => {
            // The client's own words come before the network's.
            let reason = reason.rsplit_once("(Connect): ").map_or(reason.as_str(), |(_, reason)| reason);
            Err(format!("Get \"{url}\": {reason}"))
        }
        Err(error) => Err(format!("Get \"{url}\": {error}")),
    }
}

/// One probe of one run of a container.
pub(super) struct Probe {
    pub kind: Kind,
    pub slot: usize,
    pub run: u64,
    pub node: Host,
    pub ip: Ipv4Addr,
    labels: Value,
    ask: Ask,
    /// Whose container, and which.
    pod_uid: String,
    container: String,
    port: u16,
    initial: Duration,
    period: Duration,
    timeout: Duration,
    successes: u64,
    failures: u64,
}

impl Probe {
    pub(super) fn new(
        kind: Kind,
        slot: usize,
        run: u64,
        node: Host,
        ip: Ipv4Addr,
        pod: &Value,
        container: &Value,
    ) -> Option<Self> {
        let spec = container.get(kind.field()).filter(|p| p.is_object())?;
        let number = |key: &str, default: i64| json::int(spec, &[key]).unwrap_or(default).max(0) as u64;
        let (ask, port) = if let Some(get) = spec.get("httpGet") {
            let port = port_number(pod, &get["port"]).unwrap_or(0);
            let host = match json::text(get, &["host"]) {
                "" => ip.to_string(),
                host => host.to_owned(),
            };
            let path = json::text(get, &["path"]);
            let slash = if path.starts_with('/') { "" } else { "/" };
            let headers = json::list(get, &["httpHeaders"])
                .iter()
                .map(|h| (json::text(h, &["name"]).to_owned(), json::text(h, &["value"]).to_owned()))
                .collect();
            (Ask::Http { url: format!("http://{host}:{port}{slash}{path}"), headers }, port)
        } else if let Some(tcp) = spec.get("tcpSocket") {
            let port = port_number(pod, &tcp["port"]).unwrap_or(0);
            (Ask::Tcp(format!("{ip}:{port}")), port)
        } else if let Some(grpc) = spec.get("grpc") {
            let port = json::int(grpc, &["port"]).and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
            let service = json::text(grpc, &["service"]).to_owned();
            (Ask::Grpc { target: format!("{ip}:{port}"), service }, port)
        } else {
            let command = json::list(spec, &["exec", "command"]);
            (Ask::Exec(command.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect()), 0)
        };
        Some(Self {
            kind,
            slot,
            run,
            node,
            ip,
            labels: pod["metadata"]["labels"].clone(),
            ask,
            pod_uid: json::uid(pod).to_owned(),
            container: json::text(container, &["name"]).to_owned(),
            port,
            initial: Duration::from_secs(number("initialDelaySeconds", 0)),
            period: Duration::from_secs(number("periodSeconds", 10).max(1)),
            timeout: Duration::from_secs(number("timeoutSeconds", 1).max(1)),
            successes: number("successThreshold", 1).max(1),
            failures: number("failureThreshold", 3).max(1),
        })
    }

    async fn ask(&self, client: &Client, shared: &Shared) -> Result<(), Failed> {
        let asked = async {
            match &self.ask {
                Ask::Exec(command) => self.exec(command, shared).await,
                Ask::Grpc { target, service } => self.grpc(target, service).await,
                Ask::Tcp(target) => self
                    .node
                    .connect(target)
                    .await
                    .map(drop)
                    .map_err(|e| Failed::Answer(format!("dial tcp {target}: {e}"))),
                Ask::Http { url, headers } => get(client, url, headers).await.map_err(Failed::Answer),
            }
        };
        tokio::time::timeout(self.timeout, asked).await.unwrap_or_else(|_| Err(Failed::Late(self.too_late())))
    }

    /// What is told when no answer came in time.
    fn too_late(&self) -> String {
        match &self.ask {
            Ask::Http { url, .. } => {
                format!("Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)")
            }
            Ask::Tcp(_) => format!("dial tcp {}:{}: i/o timeout", self.ip, self.port),
            Ask::Grpc { .. } => format!("timeout: health rpc did not complete within {}s", self.timeout.as_secs()),
            Ask::Exec(command) => format!("command {:?} timed out", command.join(" ")),
        }
    }

    /// Runs a command in the container; what it writes is told if it fails.
    async fn exec(&self, command: &[String], shared: &Shared) -> Result<(), Failed> {
        // Between two runs there is nothing to ask.
        let Some(running) = shared.running(&self.pod_uid, &self.container) else {
            return Err(Failed::Asking("container not running".to_owned()));
        };
        let (output, mut pieces) = mpsc::channel(EXEC_PIECES_MAX);
        let ran = running.exec(command.to_vec(), ExecIo { stdin: None, output });
        tokio::pin!(ran);
        let mut told = Vec::new();
        let mut keep = |piece: Output| {
            let (Output::Stdout(bytes) | Output::Stderr(bytes)) = piece;
            let room = OUTPUT_BYTES_MAX.saturating_sub(told.len());
            told.extend_from_slice(&bytes[..bytes.len().min(room)]);
        };
        let ended = loop {
            tokio::select! {
                biased;
                Some(piece) = pieces.recv() => keep(piece),
                ended = &mut ran => break ended,
            }
        };
        while let Ok(piece) = pieces.try_recv() {
            keep(piece);
        }
        match ended {
            Ran::Ended(0) => Ok(()),
            Ran::Ended(_) => Err(Failed::Answer(String::from_utf8_lossy(&told).into_owned())),
            Ran::NotFound => {
                let program = command.first().map_or("", String::as_str);
                Err(Failed::Asking(format!(
                    "rpc error: code = Unknown desc = failed to exec in container: failed to start exec: OCI runtime exec failed: \
                     exec failed: unable to start container process: exec: {program:?}: executable file not found in $PATH"
                )))
            }
        }
    }

    async fn grpc(&self, target: &str, service: &str) -> Result<(), Failed> {
        let Some(health) = grpc_health::check(&self.node, target, service).await else {
            // The real client goes on trying for as long as it may.
            tokio::time::sleep(self.timeout.saturating_sub(ALMOST)).await;
            return Err(Failed::Answer(format!(
                "timeout: failed to connect service {target:?} within {}s: context deadline exceeded",
                self.timeout.as_secs()
            )));
        };
        let why = match health {
            Health::Serving => return Ok(()),
            Health::Not(status) => format!("service unhealthy (responded with {status:?})"),
            Health::Failed(grpc_health::UNIMPLEMENTED, text) => format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {text}"
            ),
            Health::Failed(code, text) => format!(
                "error: health rpc probe failed: rpc error: code = {} desc = {text}",
                grpc_health::code_name(code)
            ),
        };
        Err(Failed::Answer(why))
    }

    /// What the answer depends on, as a number; `None`: it must be asked for each time.
    fn fingerprint(&self, shared: &Shared) -> Option<(u64, bool)> {
        // Nobody can say when a command would end otherwise.
        if matches!(self.ask, Ask::Exec(_)) {
            return None;
        }
        let network = shared.network.probe_fingerprint(self.node.ip(), self.ip, self.port)?;
        Some((network, self.is_failed_by_fault(shared)))
    }

    fn is_failed_by_fault(&self, shared: &Shared) -> bool {
        self.kind == Kind::Readiness && shared.readiness_faults.befalls(&self.labels)
    }

    /// Asks until the container's run ends (the task is aborted) or nobody listens.
    pub(super) async fn run(self, shared: Arc<Shared>, notes: mpsc::Sender<Note>) {
        tokio::time::sleep(self.initial).await;
        let client = Client::new(self.node.clone());
        let mut watch = shared.network.watch();
        let (mut good, mut bad) = (0_u64, 0_u64);
        let mut next = Instant::now();
        loop {
            tokio::time::sleep_until(next).await;
            let before = self.fingerprint(&shared);
            let answer = if self.is_failed_by_fault(&shared) {
                Err(Failed::Answer(readiness::MESSAGE.to_owned()))
            } else {
                self.ask(&client, &shared).await
            };
            let settled = match &answer {
                Ok(()) => {
                    (good, bad) = (good + 1, 0);
                    good >= self.successes
                }
                Err(Failed::Answer(_) | Failed::Late(_)) => {
                    (good, bad) = (0, bad + 1);
                    bad >= self.failures
                }
                Err(Failed::Asking(_)) => false,
            };
            let succeeded = answer.is_ok();
            let steady = settled && before.is_some() && !matches!(answer, Err(Failed::Late(_)));
            let title = self.kind.title();
            let failure = answer.err().map(|failed| match failed {
                Failed::Answer(why) | Failed::Late(why) => format!("{title} probe failed: {why}"),
                Failed::Asking(why) => format!("{title} probe errored and resulted in unknown state: {why}"),
            });
            let note = Note::Probe { slot: self.slot, run: self.run, kind: self.kind, failure, settled };
            if notes.send(note).await.is_err() || (settled && self.kind == Kind::Startup && succeeded) {
                return;
            }
            next += self.period;
            if steady && self.fingerprint(&shared) == before {
                // The answer cannot differ until the network says so; then the next regular instant asks again.
                while self.fingerprint(&shared) == before {
                    if watch.changed().await.is_err() {
                        return;
                    }
                }
                let now = Instant::now();
                while next < now {
                    next += self.period;
                }
            }
        }
    }
}
