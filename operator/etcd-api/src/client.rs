//! The few calls the operator and the data plane need, over a channel the caller brings.

use std::fmt;

use tonic::transport::Channel;

use crate::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, compare, kv_client, request_op,
    response_op,
};
use crate::keys::range_end;
use crate::mvccpb::KeyValue;

/// Keys that one page of [`KvClient::list`] asks for.
const PAGE_KEYS: i64 = 1_000;
/// Keys that [`KvClient::list`] returns at most; beyond it is an error, never a cut answer.
pub const LIST_KEYS_MAX: usize = 100_000;

/// A call to etcd that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// etcd, or the channel to it, answered with a gRPC status other than `OK`.
    #[error("etcd {operation} {key}: {}: {}", status.code(), status.message())]
    Status {
        /// What was being done.
        operation: Operation,
        /// The key or prefix it was done to.
        key: String,
        /// The status, with its code, message and source.
        #[source]
        status: Box<tonic::Status>,
    },
    /// An answer that breaks etcd's own contract.
    #[error("etcd {operation} {key}: malformed answer: {reason}")]
    Malformed {
        /// What was being done.
        operation: Operation,
        /// The key or prefix it was done to.
        key: String,
        /// What is wrong with the answer.
        reason: &'static str,
    },
    /// A prefix that holds more than [`LIST_KEYS_MAX`] keys.
    #[error("etcd list {prefix}: more than {LIST_KEYS_MAX} keys")]
    TooManyKeys {
        /// The prefix.
        prefix: String,
    },
}

impl ClientError {
    /// The gRPC code, when a status was the reason.
    pub fn code(&self) -> Option<tonic::Code> {
        match self {
            Self::Status { status, .. } => Some(status.code()),
            Self::Malformed { .. } | Self::TooManyKeys { .. } => None,
        }
    }

    /// Whether etcd could not be reached, has no leader, or did not answer in time: trying again later may help.
    pub fn is_unavailable(&self) -> bool {
        use tonic::Code;
        // A channel reports its own time-out as Cancelled ("Timeout expired") and a connection lost under a call as
        // Unknown.
        matches!(self.code(), Some(Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown))
    }
}

/// What a [`KvClient`] was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reading one key.
    Get,
    /// Writing one key.
    Put,
    /// Writing one key that must not exist yet.
    PutIfAbsent,
    /// Deleting one key.
    Delete,
    /// Reading all keys with a prefix.
    List,
}

impl Operation {
    /// The operation's word, as it stands in errors and span names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::PutIfAbsent => "put-if-absent",
            Self::Delete => "delete",
            Self::List => "list",
        }
    }

    fn failed(self, key: &[u8], status: tonic::Status) -> ClientError {
        ClientError::Status { operation: self, key: printable(key), status: Box::new(status) }
    }

    fn malformed(self, key: &[u8], reason: &'static str) -> ClientError {
        ClientError::Malformed { operation: self, key: printable(key), reason }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What [`KvClient::put_if_absent`] found.
#[derive(Debug, Clone, PartialEq)]
pub enum PutOutcome {
    /// The key did not exist and was written at this revision.
    Created {
        /// Revision of the write.
        revision: i64,
    },
    /// The key existed and was left as it is.
    Existed(KeyValue),
}

/// etcd's keys and values over a channel.
///
/// It has no deadlines or retries of its own: set the channel's connect and request time-outs, and decide on
/// [`ClientError::is_unavailable`]. Clones share the channel.
///
/// ```no_run
/// use etcd_api::{KvClient, PutOutcome, keys};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let channel = tonic::transport::Endpoint::from_static("http://localhost:2379")
///     .connect_timeout(std::time::Duration::from_secs(1))
///     .timeout(std::time::Duration::from_secs(1))
///     .connect_lazy();
/// let etcd = KvClient::new(channel);
/// let key = keys::cell("/multigres/global", "zone-a");
/// match etcd.put_if_absent(&key, "the record").await {
///     Ok(PutOutcome::Created { revision }) => println!("created at {revision}"),
///     Ok(PutOutcome::Existed(record)) => println!("there since {}", record.create_revision),
///     Err(error) if error.is_unavailable() => println!("later: {error}"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct KvClient {
    kv: kv_client::KvClient<Channel>,
}

impl KvClient {
    /// A client over `channel`.
    pub fn new(channel: Channel) -> Self {
        Self { kv: kv_client::KvClient::new(channel) }
    }

    /// Reads one key (linearizable).
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<KeyValue>, ClientError> {
        let key = key.as_ref().to_vec();
        let request = RangeRequest { key: key.clone(), ..Default::default() };
        let response = self.kv.clone().range(request).await.map_err(|status| Operation::Get.failed(&key, status))?;
        Ok(response.into_inner().kvs.into_iter().next())
    }

    /// Writes one key and returns the revision of the write.
    pub async fn put(&self, key: impl AsRef<[u8]>, value: impl Into<Vec<u8>>) -> Result<i64, ClientError> {
        let key = key.as_ref().to_vec();
        let request = PutRequest { key: key.clone(), value: value.into(), ..Default::default() };
        let response = self.kv.clone().put(request).await.map_err(|status| Operation::Put.failed(&key, status))?;
        let header = response.into_inner().header.ok_or_else(|| Operation::Put.malformed(&key, "no header"))?;
        Ok(header.revision)
    }

    /// Writes one key unless it exists: a transaction "version is 0, then put, else get", so that of several writers
    /// one wins.
    pub async fn put_if_absent(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Vec<u8>>,
    ) -> Result<PutOutcome, ClientError> {
        let key = key.as_ref().to_vec();
        let request = TxnRequest {
            compare: vec![Compare {
                result: compare::CompareResult::Equal.into(),
                target: compare::CompareTarget::Version.into(),
                key: key.clone(),
                target_union: Some(compare::TargetUnion::Version(0)),
                range_end: Vec::new(),
            }],
            success: vec![RequestOp {
                request: Some(request_op::Request::RequestPut(PutRequest {
                    key: key.clone(),
                    value: value.into(),
                    ..Default::default()
                })),
            }],
            failure: vec![RequestOp {
                request: Some(request_op::Request::RequestRange(RangeRequest {
                    key: key.clone(),
                    ..Default::default()
                })),
            }],
        };
        let operation = Operation::PutIfAbsent;
        let response =
            self.kv.clone().txn(request).await.map_err(|status| operation.failed(&key, status))?.into_inner();
        if response.succeeded {
            let header = response.header.ok_or_else(|| operation.malformed(&key, "no header"))?;
            return Ok(PutOutcome::Created { revision: header.revision });
        }
        match response.responses.into_iter().next().and_then(|op| op.response) {
            Some(response_op::Response::ResponseRange(range)) => {
                let found = range.kvs.into_iter().next();
                found
                    .map(PutOutcome::Existed)
                    .ok_or_else(|| operation.malformed(&key, "a key that exists is not in the answer"))
            }
            _ => Err(operation.malformed(&key, "no range in the answer")),
        }
    }

    /// Deletes one key; says whether it existed.
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, ClientError> {
        let key = key.as_ref().to_vec();
        let request = DeleteRangeRequest { key: key.clone(), ..Default::default() };
        let response =
            self.kv.clone().delete_range(request).await.map_err(|status| Operation::Delete.failed(&key, status))?;
        Ok(response.into_inner().deleted > 0)
    }

    /// Reads all keys with a prefix, in the order of their bytes, all at one revision, however many pages it takes.
    pub async fn list(&self, prefix: impl AsRef<[u8]>) -> Result<Vec<KeyValue>, ClientError> {
        let prefix = prefix.as_ref().to_vec();
        let mut found: Vec<KeyValue> = Vec::new();
        let mut request = RangeRequest {
            // An empty key is refused by etcd; "every key" starts at the zero byte.
            key: if prefix.is_empty() { vec![0] } else { prefix.clone() },
            range_end: range_end(&prefix),
            limit: PAGE_KEYS,
            ..Default::default()
        };
        loop {
            let response = self
                .kv
                .clone()
                .range(request.clone())
                .await
                .map_err(|status| Operation::List.failed(&prefix, status))?;
            let page = response.into_inner();
            if request.revision == 0 {
                request.revision = page.header.ok_or_else(|| Operation::List.malformed(&prefix, "no header"))?.revision;
            }
            found.extend(page.kvs);
            if !page.more {
                return Ok(found);
            }
            if found.len() >= LIST_KEYS_MAX {
                return Err(ClientError::TooManyKeys { prefix: printable(&prefix) });
            }
            let Some(last) = found.last() else {
                return Err(Operation::List.malformed(&prefix, "more keys announced, none sent"));
            };
            request.key = last.key.clone();
            request.key.push(0); // the next possible key
        }
    }
}

fn printable(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}
