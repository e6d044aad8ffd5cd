//! An etcd v3 cluster that can lose quorum.
//!
//! Members run in pods as etcd's do: settings from the environment, gRPC and `/health`, `/version`, `/metrics` on the
//! client port, TCP on the peer port, `/health` and `/metrics` on the metrics port where there is one.
//!
//! | module | what it holds |
//! |---|---|
//! | [`store`] | the multi-version store: keys, revisions, history, events |
//! | `txn` | transactions over it |
//! | [`lease`] | leases over it; time comes in as a parameter |
//! | [`raft`] | quorum arithmetic: who leads, who sees the leader |
//! | [`config`] | a member's settings |
//! | [`cluster`] | what members share and what outlives them; [`Registry`] holds all clusters of a world |
//! | [`member`] | a member's process: ports, peers, plain HTTP |
//! | `grpc` | KV, Watch, Lease, Cluster.MemberList, Maintenance.Status |
//!
//! What is modelled and what is not:
//!
//! - All members share one store; replication to members that see the leader is instantaneous. A member that is cut
//!   off answers serializable reads from the same, newest state, where a real one would be behind.
//! - Members learn by connecting to each other's peer ports whether they reach each other: when they start, when
//!   another member starts or stops, and one second after any change of the network. Nothing is on the wire while
//!   nothing changes. A link counts when it works in both directions. Elections take no time of their own.
//! - Without a leader a member refuses writes and linearizable reads with `Unavailable: etcdserver: no leader` at
//!   once, and `/health` answers 503 with the reason `RAFT NO LEADER`; a real member may first let a request time out.
//! - A write takes a seeded one to three milliseconds for the disk.
//! - No authentication, learners, membership changes, alarms, snapshots or locks as a service: unknown methods get
//!   gRPC's `Unimplemented`, unknown paths 404. Watch answers are not cut into fragments.
//!
//! ```
//! use etcd_api::etcdserverpb::{PutRequest, RangeRequest};
//!
//! let mut store = sim_etcd::Store::new();
//! for value in ["one", "two"] {
//!     store.put(&PutRequest { key: b"k".to_vec(), value: value.into(), ..Default::default() })?;
//! }
//! let then = store.range(&RangeRequest { key: b"k".to_vec(), revision: 2, ..Default::default() })?;
//! assert_eq!(then.kvs[0].value, b"one");
//! assert_eq!(store.revision(), 3);
//! # Ok::<(), sim_etcd::EtcdError>(())
//! ```

pub mod cluster;
pub mod config;
pub mod error;
mod exposition;
mod grpc;
pub mod lease;
pub mod member;
pub mod raft;
pub mod store;
mod txn;

pub use cluster::{Cluster, Registry};
pub use config::{MemberConfig, Peer};
pub use error::EtcdError;
pub use grpc::REQUEST_BYTES_MAX;
pub use member::{Log, VERSION, run};
pub use store::{KeyRange, QUOTA_BYTES, Store};
pub use txn::{TXN_DEPTH_MAX, TXN_OPS_MAX};
