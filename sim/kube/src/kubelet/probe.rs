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

use super::{Shared, pod::Note, readiness};
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
    /// `exec` and `grpc` are not modelled: they answer as failing, with this text.
    Unknown(&'static str),
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
        } else {
            (Ask::Unknown("this kubelet asks httpGet and tcpSocket probes only"), 0)
        };
        Some(Self {
            kind,
            slot,
            run,
            node,
            ip,
            labels: pod["metadata"]["labels"].clone(),
            ask,
            port,
            initial: Duration::from_secs(number("initialDelaySeconds", 0)),
            period: Duration::from_secs(number("periodSeconds", 10).max(1)),
            timeout: Duration::from_secs(number("timeoutSeconds", 1).max(1)),
            successes: number("successThreshold", 1).max(1),
            failures: number("failureThreshold", 3).max(1),
        })
    }

    async fn ask(&self, client: &Client) -> Result<(), String> {
        let asked = async {
            match &self.ask {
                Ask::Unknown(why) => Err((*why).to_owned()),
                Ask::Tcp(target) => {
                    self.node.connect(target).await.map(drop).map_err(|e| format!("dial tcp {target}: {e}"))
                }
                Ask::Http { url, headers } => {
                    let mut request = Request::get(url).header("user-agent", "kube-probe/1.34");
                    for (name, value) in headers {
                        request = request.header(name, value);
                    }
                    let request = request.body(Bytes::new()).map_err(|e| e.to_string())?;
                    match client.send(request).await {
                        Ok(response) if (200..400).contains(&response.status().as_u16()) => Ok(()),
                        Ok(response) => {
                            Err(format!("HTTP probe failed with statuscode: {}", response.status().as_u16()))
                        }
                        Err(HttpError::Connection { reason, .. }) => {
                            // The client's own words come before the network's.
                            let reason =
                                reason.rsplit_once("(Connect): ").map_or(reason.as_str(), |(_, reason)| reason);
                            Err(format!("Get \"{url}\": {reason}"))
                        }
                        Err(error) => Err(format!("Get \"{url}\": {error}")),
                    }
                }
            }
        };
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(answer) => answer,
            Err(_) => match &self.ask {
                Ask::Http { url, .. } => Err(format!(
                    "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
                )),
                _ => Err(format!("dial tcp {}:{}: i/o timeout", self.ip, self.port)),
            },
        }
    }

    /// What the answer depends on, as a number; `None`: it must be asked for each time.
    fn fingerprint(&self, shared: &Shared) -> Option<(u64, bool)> {
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
                Err(readiness::MESSAGE.to_owned())
            } else {
                self.ask(&client).await
            };
            let settled = match &answer {
                Ok(()) => {
                    (good, bad) = (good + 1, 0);
                    good >= self.successes
                }
                Err(_) => {
                    (good, bad) = (0, bad + 1);
                    bad >= self.failures
                }
            };
            let succeeded = answer.is_ok();
            let note = Note::Probe { slot: self.slot, run: self.run, kind: self.kind, failure: answer.err(), settled };
            if notes.send(note).await.is_err() || (settled && self.kind == Kind::Startup && succeeded) {
                return;
            }
            next += self.period;
            if settled && before.is_some() && self.fingerprint(&shared) == before {
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
