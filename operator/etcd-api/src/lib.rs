//! Messages and service glue of the etcd v3 API subset that operator and simulation share.
//!
//! | module | what it holds |
//! |---|---|
//! | [`mvccpb`], [`etcdserverpb`] | messages, clients and servers of etcd's own API (KV, Watch, Lease, Cluster.MemberList, Maintenance.Status), generated from `proto/` with the field numbers of etcd 3.5 |
//! | [`clustermetadata`] | the records Multigres keeps in its topology: cells, databases, and the components that registered themselves |
//! | [`keys`] | where those records live |
//! | [`client`] | [`KvClient`], the few calls the operator and the data plane need, with one error type |
//!
//! This crate is a leaf: it knows neither Kubernetes nor the simulation, and opens no connection; whoever uses it
//! brings a [`tonic::transport::Channel`].
//!
//! ```
//! use etcd_api::{clustermetadata::Cell, keys, prost::Message};
//!
//! let cell = Cell {
//!     name: "zone-a".into(),
//!     server_addresses: vec!["minimal-global-topo.default.svc:2379".into()],
//!     root: "/multigres/global".into(),
//! };
//! assert_eq!(keys::cell(&cell.root, &cell.name), "/multigres/global/cells/zone-a/Cell");
//! assert_eq!(Cell::decode(cell.encode_to_vec().as_slice()), Ok(cell));
//! ```

pub mod client;
pub mod keys;

pub use client::{ClientError, KvClient, PutOutcome};
pub use prost;

/// Keys, values and events of the store (package `mvccpb`).
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// The gRPC services and their messages (package `etcdserverpb`).
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// The records of Multigres' topology (package `clustermetadata`).
///
/// All have the field numbers of Multigres: [`clustermetadata::Cell`] and [`clustermetadata::Database`], which the operator writes, and the
/// records of components ([`clustermetadata::Pooler`], [`clustermetadata::Gateway`], [`clustermetadata::Orch`]), which write themselves.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod clustermetadata {
    tonic::include_proto!("clustermetadata");
}

#[cfg(test)]
mod tests {
    use super::{clustermetadata as meta, etcdserverpb as rpc, mvccpb};
    use prost::Message;

    #[test]
    fn a_range_request_has_the_field_numbers_of_etcd() {
        let request = rpc::RangeRequest {
            key: b"a".to_vec(),
            range_end: b"b".to_vec(),
            serializable: true,
            ..Default::default()
        };
        assert_eq!(request.encode_to_vec(), b"\x0a\x01a\x12\x01b\x38\x01");
    }

    #[test]
    fn a_compare_keeps_its_range_end_in_field_64() {
        let compare = rpc::Compare {
            target_union: Some(rpc::compare::TargetUnion::Version(3)),
            range_end: b"z".to_vec(),
            ..Default::default()
        };
        assert_eq!(compare.encode_to_vec(), b"\x20\x03\x82\x04\x01z");
    }

    #[test]
    fn watch_events_are_in_field_11() {
        let response = rpc::WatchResponse { events: vec![mvccpb::Event::default()], ..Default::default() };
        assert_eq!(response.encode_to_vec(), b"\x5a\x00");
    }

    #[test]
    fn a_database_record_has_the_field_numbers_of_multigres() {
        let database = meta::Database {
            name: "db".into(),
            backup_location: Some(meta::BackupLocation {
                location: Some(meta::backup_location::Location::Filesystem(meta::FilesystemBackup {
                    path: "/b".into(),
                })),
            }),
            durability_policy: "ANY_2".into(),
            cells: vec!["a".into()],
        };
        assert_eq!(database.encode_to_vec(), b"\x0a\x02db\x12\x06\x0a\x04\x0a\x02/b\x1a\x05ANY_2\x22\x01a");
    }
}
