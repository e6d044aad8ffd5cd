//! What a process wants of the topology: to register itself, or only to reach it.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_api::clustermetadata::{ComponentId, Gateway, Orch, Pooler, component_id::ComponentType};
use etcd_api::{KvClient, keys};
use prost::Message;
use sim_net::Host;
use sim_net::http::Connector;
use tonic::transport::Endpoint;

use crate::error::DataplaneError;
use crate::process::{Logger, Start};
use crate::program::{Flags, Program};

/// How long a connection to etcd may take to come about, and how long one call may take.
const ETCD_TIMEOUT: Duration = Duration::from_secs(1);
/// How long one attempt may take in all.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause between two attempts to register.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
const ADDRESSES: &str = "topo-global-server-addresses";
/// Characters of a service id that nobody gave.
const SERVICE_ID_CHARACTERS: usize = 8;
const SERVICE_ID_ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// What is done with the topology, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Errand {
    /// Write a record; take it away at an orderly end unless it is to stay.
    Register { key: String, record: Vec<u8>, stays: bool },
    /// Read a key, whatever the answer.
    Reach { key: String },
}

/// The topology as one process sees it.
pub(crate) struct Topology {
    host: Host,
    servers: Vec<Server>,
    errand: Errand,
}

struct Server {
    address: String,
    endpoint: Endpoint,
}

impl Topology {
    /// What the program wants of the topology; `None` when it has nothing to do with it.
    pub(crate) fn of(
        program: Program,
        host: &Host,
        start: &Start,
        flags: &Flags<'_>,
    ) -> Result<Option<Self>, DataplaneError> {
        if matches!(program, Program::Pgctld | Program::MultiadminWeb) {
            return Ok(None);
        }
        let addresses: Vec<String> = flags.require(ADDRESSES)?.split(',').map(|it| it.trim().to_owned()).collect();
        let servers: Result<Vec<Server>, DataplaneError> = addresses
            .into_iter()
            .map(|address| {
                // As etcd's own client takes them: with or without a scheme.
                let authority = address.strip_prefix("http://").unwrap_or(&address);
                let endpoint = Endpoint::from_shared(format!("http://{authority}"))
                    .map_err(|error| flags.invalid(ADDRESSES, &address, &error.to_string()))?
                    .connect_timeout(ETCD_TIMEOUT)
                    .timeout(ETCD_TIMEOUT);
                Ok(Server { address, endpoint })
            })
            .collect();
        Ok(Some(Self { host: host.clone(), servers: servers?, errand: errand(program, start, flags)? }))
    }

    /// A client with a connection of its own, closed when the client is dropped.
    fn client(&self, server: &Server) -> KvClient {
        KvClient::new(server.endpoint.connect_with_connector_lazy(Connector::new(self.host.clone())))
    }

    /// Runs the errand until it is done, however long that takes: a process never ends because etcd is away. Each
    /// attempt asks the next address. Logs the first failure, each other reason, and the success.
    pub(crate) async fn settle(&self, log: &Logger) {
        let (done, failed) = match &self.errand {
            Errand::Register { .. } => ("registered in the topology", "registration failed, will be tried again"),
            Errand::Reach { .. } => ("topology reached", "topology not reached, will be tried again"),
        };
        let mut last_reason = None;
        for server in self.servers.iter().cycle() {
            let address = &server.address;
            let reason = match tokio::time::timeout(ATTEMPT_TIMEOUT, self.attempt(server)).await {
                Ok(Ok(())) => {
                    log.line("INFO", done, &[("address", address)]);
                    return;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {ATTEMPT_TIMEOUT:?}"),
            };
            if last_reason.as_ref() != Some(&reason) {
                log.line("WARN", failed, &[("address", address), ("error", &reason)]);
                last_reason = Some(reason);
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    async fn attempt(&self, server: &Server) -> Result<(), etcd_api::ClientError> {
        let etcd = self.client(server);
        match &self.errand {
            Errand::Register { key, record, .. } => etcd.put(key, record.clone()).await.map(|_| ()),
            Errand::Reach { key } => etcd.get(key).await.map(|_| ()),
        }
    }

    /// At an orderly end: takes the record away, trying each address once.
    pub(crate) async fn leave(&self, log: &Logger) {
        let Errand::Register { key, stays: false, .. } = &self.errand else { return };
        for server in &self.servers {
            let address = &server.address;
            match tokio::time::timeout(ATTEMPT_TIMEOUT, self.client(server).delete(key)).await {
                Ok(Ok(_)) => return log.line("INFO", "unregistered from the topology", &[("address", address)]),
                Ok(Err(error)) => {
                    log.line("WARN", "unregistration failed", &[("address", address), ("error", &error.to_string())]);
                }
                Err(_) => log.line("WARN", "unregistration failed", &[("address", address), ("error", "no answer")]),
            }
        }
    }
}

fn errand(program: Program, start: &Start, flags: &Flags<'_>) -> Result<Errand, DataplaneError> {
    let root = flags.require("topo-global-root")?;
    if program == Program::Multiadmin {
        return Ok(Errand::Reach { key: keys::cells(root) });
    }
    let cell = flags.require("cell")?;
    let name = flags.get("service-id").map_or_else(|| fresh_service_id(start), str::to_owned);
    let kind = match program {
        Program::Multigateway => ComponentType::Multigateway,
        Program::Multiorch => ComponentType::Multiorch,
        _ => ComponentType::Multipooler,
    };
    let id = Some(ComponentId { component: kind.into(), cell: cell.to_owned(), name: name.clone() });
    let hostname = start.pod.clone();
    let port_map = |ports: &[(&str, &'static str, u16)]| -> Result<BTreeMap<String, i32>, DataplaneError> {
        ports
            .iter()
            .map(|&(name, flag, default)| Ok((name.to_owned(), i32::from(flags.port(flag, default)?))))
            .collect()
    };
    Ok(match program {
        Program::Multigateway => {
            let ports = [("http", "http-port", 15100), ("grpc", "grpc-port", 15170), ("postgres", "pg-port", 15432)];
            let record = Gateway { id, hostname, port_map: port_map(&ports)? }.encode_to_vec();
            Errand::Register { key: keys::gateway(root, cell, &name), record, stays: false }
        }
        Program::Multiorch => {
            let ports = [("http", "http-port", 15300), ("grpc", "grpc-port", 15370)];
            let record = Orch { id, hostname, port_map: port_map(&ports)? }.encode_to_vec();
            Errand::Register { key: keys::orch(root, cell, &name), record, stays: false }
        }
        Program::Multipooler | Program::Pgctld | Program::Multiadmin | Program::MultiadminWeb => {
            let ports = [("http", "http-port", 15200), ("grpc", "grpc-port", 15270), ("postgres", "pg-port", 5432)];
            let text = |flag| flags.require(flag).map(str::to_owned);
            let record = Pooler {
                id,
                hostname,
                port_map: port_map(&ports)?,
                database: text("database")?,
                table_group: text("table-group")?,
                shard: text("shard")?,
                pooler_dir: flags.get("pooler-dir").unwrap_or_default().to_owned(),
                ..Pooler::default()
            };
            // Poolers stay known when they end: their data is still there.
            Errand::Register { key: keys::pooler(root, cell, &name), record: record.encode_to_vec(), stays: true }
        }
    })
}

/// A new id at each start, as the real programs make one.
fn fresh_service_id(start: &Start) -> String {
    let now = sim_clock::now().as_nanos();
    let mut chance = sim_clock::seeded(&format!("service id {}/{} {now}", start.namespace, start.pod));
    let character = |_| char::from(SERVICE_ID_ALPHABET[chance.below(SERVICE_ID_ALPHABET.len() as u64) as usize]);
    (0..SERVICE_ID_CHARACTERS).map(character).collect()
}
