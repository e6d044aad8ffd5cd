//! Registration of cells and databases in the topology.
//!
//! A [`Topology`] stands for one topology server. Each call connects, does its work and lets go: registrations are rare, and a
//! connection that outlives them would have to be watched.

mod components;
mod error;
mod records;

use std::time::Duration;

use etcd_api::prost::Message;
use etcd_api::{ClientError, KvClient, PutOutcome, keys};
use http::Uri;
use tonic::transport::{Channel, Endpoint};

pub use components::{Component, ComponentKind};
pub use error::TopologyError;
pub use records::{DURABILITY_POLICY, cell_record, database_record};

use crate::api::common::GlobalTopoServerRef;
use crate::host::Connector;
use crate::observability::etcd_call;

/// How long a connection may take to come about.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long one operation may take once connected.
pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);
/// The one implementation that is known.
const IMPLEMENTATION: &str = "etcd";

/// What a registration found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// No record: it was created.
    Created,
    /// Another record: it was replaced.
    Updated,
    /// The same record.
    Unchanged,
}

/// A topology server.
#[derive(Debug, Clone)]
pub struct Topology {
    connector: Connector,
    /// Where it answers; the first is the one that records name.
    addresses: Vec<String>,
    root: String,
}

impl Topology {
    /// The server that `reference` names, reached through `connector`.
    pub fn new(connector: Connector, reference: &GlobalTopoServerRef) -> Result<Self, TopologyError> {
        if reference.implementation != IMPLEMENTATION {
            return Err(TopologyError::UnknownImplementation(reference.implementation.clone()));
        }
        let addresses = reference.addresses().map(str::to_owned).collect();
        Ok(Self { connector, addresses, root: reference.root_path.clone() })
    }

    /// Makes sure that the topology knows the cell.
    pub async fn register_cell(&self, name: &str) -> Result<Registration, TopologyError> {
        let record = cell_record(name, &self.addresses[0], &self.root);
        self.register(keys::cell(&self.root, name), record.encode_to_vec()).await
    }

    /// Makes sure that the topology knows the database and its cells.
    pub async fn register_database(&self, name: &str, cells: &[String]) -> Result<Registration, TopologyError> {
        let record = database_record(name, cells);
        self.register(keys::database(&self.root, name), record.encode_to_vec()).await
    }

    /// Makes sure that the topology does not know the cell. Whether it did is the answer.
    pub async fn unregister_cell(&self, name: &str) -> Result<bool, TopologyError> {
        self.unregister(keys::cell(&self.root, name)).await
    }

    /// Makes sure that the topology does not know the database. Whether it did is the answer.
    pub async fn unregister_database(&self, name: &str) -> Result<bool, TopologyError> {
        self.unregister(keys::database(&self.root, name)).await
    }

    /// Removes the records of components of one kind that `unwanted` names. How many there were is the answer.
    pub async fn remove_components(
        &self,
        kind: ComponentKind,
        unwanted: impl Fn(&Component) -> bool,
    ) -> Result<usize, TopologyError> {
        let folder = kind.folder(&self.root);
        let records = self.call("Range", &folder, async |client: KvClient| client.list(&folder).await).await?;
        let mut removed = 0;
        for record in records {
            let Some(component) = Component::of(kind, &record.value) else {
                tracing::warn!(key = %String::from_utf8_lossy(&record.key), "a record in the topology cannot be read; it stays");
                continue;
            };
            if unwanted(&component) {
                let key = String::from_utf8_lossy(&record.key).into_owned();
                removed += usize::from(self.unregister(key).await?);
            }
        }
        Ok(removed)
    }

    /// Creates the record if there is none, and replaces one that says something else.
    async fn register(&self, key: String, value: Vec<u8>) -> Result<Registration, TopologyError> {
        let outcome =
            self.call("Txn", &key, async |client: KvClient| client.put_if_absent(&key, value.clone()).await).await?;
        match outcome {
            PutOutcome::Created { .. } => Ok(Registration::Created),
            PutOutcome::Existed(found) if found.value == value => Ok(Registration::Unchanged),
            PutOutcome::Existed(_) => {
                self.call("Put", &key, async |client: KvClient| client.put(&key, value.clone()).await).await?;
                Ok(Registration::Updated)
            }
        }
    }

    async fn unregister(&self, key: String) -> Result<bool, TopologyError> {
        self.call("DeleteRange", &key, async |client: KvClient| client.delete(&key).await).await
    }

    /// Runs one operation at the first address that answers. Where none does, the words are those about the first.
    async fn call<T>(
        &self,
        method: &'static str,
        key: &str,
        operation: impl AsyncFnOnce(KvClient) -> Result<T, ClientError> + Clone,
    ) -> Result<T, TopologyError> {
        let mut first = None;
        for address in &self.addresses {
            match self.call_at(address, method, key, operation.clone()).await {
                Err(error) if error.is_unavailable() => {
                    first.get_or_insert(error);
                }
                answered => return answered,
            }
        }
        Err(first.unwrap_or_else(|| {
            let status = tonic::Status::unavailable("no connection available: there is no address");
            TopologyError::from_status(method, key, "", status)
        }))
    }

    /// Connects and runs one operation, in a client span that covers both: where nothing answers, the span says for how long that was
    /// waited for.
    async fn call_at<T>(
        &self,
        address: &str,
        method: &'static str,
        key: &str,
        operation: impl AsyncFnOnce(KvClient) -> Result<T, ClientError>,
    ) -> Result<T, TopologyError> {
        let result = etcd_call(method, address, async {
            let client = KvClient::new(self.connect(address).await?);
            match tokio::time::timeout(OPERATION_TIMEOUT, operation(client)).await {
                Ok(result) => result.map_err(into_status),
                Err(_) => Err(tonic::Status::deadline_exceeded("the operation took too long")),
            }
        })
        .await;
        result.map_err(|status| TopologyError::from_status(method, key, address, status))
    }

    async fn connect(&self, address: &str) -> Result<Channel, tonic::Status> {
        let endpoint = Endpoint::from(uri(address)?).timeout(OPERATION_TIMEOUT);
        let unavailable = |reason: String| tonic::Status::unavailable(format!("no connection available: {reason}"));
        match tokio::time::timeout(DIAL_TIMEOUT, endpoint.connect_with_connector(self.connector.clone())).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => Err(unavailable(innermost(&error))),
            Err(_) => Err(unavailable("the dial timed out".to_owned())),
        }
    }
}

/// Managed servers are named by `host:port`, external ones by a URL.
fn uri(address: &str) -> Result<Uri, tonic::Status> {
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    url.parse().map_err(|error| tonic::Status::invalid_argument(format!("address '{address}': {error}")))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

fn into_status(error: ClientError) -> tonic::Status {
    match error {
        ClientError::Status { status, .. } => *status,
        other => tonic::Status::internal(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn reference(implementation: &str) -> GlobalTopoServerRef {
        GlobalTopoServerRef {
            address: "minimal-global-topo.default.svc:2379".into(),
            root_path: "/multigres/global".into(),
            implementation: implementation.into(),
            further_addresses: Vec::new(),
        }
    }

    fn refusing() -> Connector {
        Connector::new(|_: Uri| -> futures::future::BoxFuture<'static, io::Result<crate::host::BoxedIo>> {
            Box::pin(async { Err(io::Error::from(io::ErrorKind::ConnectionRefused)) })
        })
    }

    fn silent() -> Connector {
        Connector::new(|_: Uri| -> futures::future::BoxFuture<'static, io::Result<crate::host::BoxedIo>> {
            Box::pin(std::future::pending())
        })
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn a_server_that_refuses_is_unavailable() {
        let topology = Topology::new(refusing(), &reference("etcd")).unwrap();
        let error = block_on(topology.register_cell("zone-a")).unwrap_err();
        assert!(error.is_unavailable());
        let text = error.to_string();
        assert!(text.starts_with("Code: UNAVAILABLE") && text.contains("no connection available"), "{text}");
    }

    #[test]
    fn a_server_that_says_nothing_is_unavailable_with_the_same_words() {
        let refused = block_on(Topology::new(refusing(), &reference("etcd")).unwrap().register_cell("zone-a"));
        let silent = block_on(Topology::new(silent(), &reference("etcd")).unwrap().register_cell("zone-a"));
        assert_eq!(refused.unwrap_err().to_string(), silent.unwrap_err().to_string());
    }

    #[test]
    fn every_address_is_tried_and_the_words_are_about_the_first() {
        let dialed = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = dialed.clone();
        let refusing =
            Connector::new(move |uri: Uri| -> futures::future::BoxFuture<'static, io::Result<crate::host::BoxedIo>> {
                seen.lock().unwrap().push(uri.to_string());
                Box::pin(async { Err(io::Error::from(io::ErrorKind::ConnectionRefused)) })
            });
        let reference = GlobalTopoServerRef {
            address: "http://one:2379".into(),
            further_addresses: vec!["http://two:2379".into(), "http://three:2379".into()],
            ..reference("etcd")
        };
        let error = block_on(Topology::new(refusing, &reference).unwrap().unregister_cell("zone-a")).unwrap_err();
        assert_eq!(error.to_string(), "Code: UNAVAILABLE: no connection available to http://one:2379");
        assert_eq!(*dialed.lock().unwrap(), ["http://one:2379/", "http://two:2379/", "http://three:2379/"]);
    }

    #[test]
    fn an_unknown_implementation_is_refused_at_once() {
        let error = Topology::new(refusing(), &reference("zk")).unwrap_err();
        assert!(!error.is_unavailable());
        assert_eq!(error.to_string(), "unknown topology implementation 'zk'");
    }
}
