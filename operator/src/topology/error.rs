//! What can go wrong with the topology.

use tonic::Code;

/// A registration that did not come about.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// Nothing answers, or what answers has no leader. The words are the same whatever the reason, so that the event about it stays one
    /// object whose count grows; the reason is the source.
    #[error("Code: UNAVAILABLE: no connection available to {address}")]
    Unavailable {
        /// The server.
        address: String,
        /// What the connection or the server said.
        #[source]
        status: Box<tonic::Status>,
    },
    /// The server refused.
    #[error("Code: {}: {operation} {key}: {}", code_name(status.code()), status.message())]
    Refused {
        /// The RPC.
        operation: &'static str,
        /// The key.
        key: String,
        /// What the server said.
        #[source]
        status: Box<tonic::Status>,
    },
    /// An implementation that the operator does not speak.
    #[error("unknown topology implementation '{0}'")]
    UnknownImplementation(String),
}

impl TopologyError {
    /// Whether trying again later may help.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    pub(super) fn from_status(operation: &'static str, key: &str, address: &str, status: tonic::Status) -> Self {
        let status = Box::new(status);
        match status.code() {
            // A channel reports its own time-out as Cancelled and a connection lost under a call as Unknown.
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
                Self::Unavailable { address: address.to_owned(), status }
            }
            _ => Self::Refused { operation, key: key.to_owned(), status },
        }
    }
}

impl crate::observability::Failure for TopologyError {
    fn error_type(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "TopologyError::Unavailable",
            Self::Refused { .. } => "TopologyError::Refused",
            Self::UnknownImplementation(_) => "TopologyError::UnknownImplementation",
        }
    }
}

/// The code as gRPC's specification spells it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_store_is_no_outage() {
        let status = tonic::Status::resource_exhausted("etcdserver: mvcc: database space exceeded");
        let error = TopologyError::from_status("Txn", "/multigres/global/cells/a/Cell", "topo:2379", status);
        assert!(!error.is_unavailable());
        assert_eq!(
            error.to_string(),
            "Code: RESOURCE_EXHAUSTED: Txn /multigres/global/cells/a/Cell: etcdserver: mvcc: database space exceeded"
        );
    }

    #[test]
    fn a_server_without_a_leader_is_unavailable() {
        let status = tonic::Status::unavailable("etcdserver: no leader");
        assert!(TopologyError::from_status("Txn", "k", "topo:2379", status).is_unavailable());
    }
}
