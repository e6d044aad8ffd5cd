//! The errors of the store, with etcd's own codes and messages, and those of a member's configuration.

use tonic::{Code, Status};

/// What can go wrong in a member and its store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EtcdError {
    /// The request names no key.
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    /// `ignore_value` or `ignore_lease` on a key that does not exist.
    #[error("etcdserver: key not found")]
    KeyNotFound,
    /// `ignore_value` together with a value.
    #[error("etcdserver: value is provided")]
    ValueProvided,
    /// `ignore_lease` together with a lease.
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    /// A transaction that writes one key twice.
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    /// A transaction with more operations than [`crate::TXN_OPS_MAX`].
    #[error("etcdserver: too many operations in txn request")]
    TooManyOps,
    /// A request larger than [`crate::REQUEST_BYTES_MAX`].
    #[error("etcdserver: request is too large")]
    RequestTooLarge,
    /// A revision whose history was compacted away.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    /// A revision that does not exist yet.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    /// The database is as large as [`crate::QUOTA_BYTES`] allows.
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    /// No lease with this id.
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    /// A lease with this id exists.
    #[error("etcdserver: lease already exists")]
    LeaseExists,
    /// A time to live beyond etcd's limit.
    #[error("etcdserver: too large lease TTL")]
    LeaseTtlTooLarge,
    /// The member sees no leader: there is no quorum, or it is cut off from it.
    #[error("etcdserver: no leader")]
    NoLeader,
    /// The member was stopped while it answered.
    #[error("etcdserver: server stopped")]
    Stopped,
    /// A setting of the member that cannot be used.
    #[error("etcd: {variable}={value}: {reason}")]
    Config {
        /// The environment variable.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A port that cannot be listened on.
    #[error("etcd: listen on port {port}: {reason}")]
    Listen {
        /// The port.
        port: u16,
        /// Why not.
        reason: String,
    },
}

impl EtcdError {
    /// The gRPC code etcd answers this error with.
    pub fn code(&self) -> Code {
        match self {
            Self::EmptyKey
            | Self::KeyNotFound
            | Self::ValueProvided
            | Self::LeaseProvided
            | Self::DuplicateKey
            | Self::TooManyOps
            | Self::RequestTooLarge => Code::InvalidArgument,
            Self::Compacted | Self::FutureRevision | Self::LeaseTtlTooLarge => Code::OutOfRange,
            Self::NoSpace => Code::ResourceExhausted,
            Self::LeaseNotFound => Code::NotFound,
            Self::LeaseExists => Code::FailedPrecondition,
            Self::NoLeader | Self::Stopped => Code::Unavailable,
            Self::Config { .. } | Self::Listen { .. } => Code::Internal,
        }
    }
}

impl From<EtcdError> for Status {
    fn from(error: EtcdError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
