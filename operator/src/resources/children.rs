//! The custom resources that the cluster's and the table group's controllers write.

use kube::ResourceExt;

use super::{BuildError, child_meta, cluster_of};
use crate::api::table_group::ResolvedShard;
use crate::api::{
    Cell, CellSpec, MultigresCluster, Shard, ShardSpec, TableGroup, TableGroupSpec, TopoServer, TopoServerSpec,
};
use crate::labels::{self, component};
use crate::names;

/// The global topology server of a cluster.
pub fn topo_server(cluster: &MultigresCluster, spec: TopoServerSpec) -> TopoServer {
    let name = cluster.name_any();
    let labels = labels::with(&name, component::GLOBAL_TOPO, &[(labels::CLUSTER, &name)]);
    TopoServer { metadata: child_meta(cluster, names::global_topo(&name), labels), spec, status: None }
}

/// A cell of a cluster.
pub fn cell(cluster: &MultigresCluster, spec: CellSpec) -> Cell {
    let name = cluster.name_any();
    let mut labels = labels::with(&name, component::CELL, &[(labels::CLUSTER, &name), (labels::CELL, &spec.name)]);
    for (key, value) in [(labels::ZONE, &spec.zone), (labels::REGION, &spec.region)] {
        if let Some(value) = value {
            labels.insert(key.to_owned(), value.clone());
        }
    }
    Cell { metadata: child_meta(cluster, names::cell(&name, &spec.name), labels), spec, status: None }
}

/// A table group of a cluster.
pub fn table_group(cluster: &MultigresCluster, spec: TableGroupSpec) -> TableGroup {
    let name = cluster.name_any();
    let labels = labels::with(
        &name,
        component::TABLE_GROUP,
        &[
            (labels::CLUSTER, &name),
            (labels::DATABASE, &spec.database_name),
            (labels::TABLE_GROUP, &spec.table_group_name),
        ],
    );
    let object_name = names::table_group(&name, &spec.database_name, &spec.table_group_name);
    TableGroup { metadata: child_meta(cluster, object_name, labels), spec, status: None }
}

/// A shard of a table group.
pub fn shard(group: &TableGroup, resolved: &ResolvedShard) -> Result<Shard, BuildError> {
    let cluster = cluster_of(group)?;
    let spec = &group.spec;
    let labels = labels::with(
        cluster,
        component::SHARD,
        &[
            (labels::CLUSTER, cluster),
            (labels::DATABASE, &spec.database_name),
            (labels::TABLE_GROUP, &spec.table_group_name),
            (labels::SHARD, &resolved.name),
        ],
    );
    let name = names::shard(cluster, &spec.database_name, &spec.table_group_name, &resolved.name);
    Ok(Shard {
        metadata: child_meta(group, name, labels),
        spec: ShardSpec {
            database_name: spec.database_name.clone(),
            table_group_name: spec.table_group_name.clone(),
            shard_name: resolved.name.clone(),
            images: spec.images.clone(),
            global_topo_server: spec.global_topo_server.clone(),
            multiorch: resolved.multiorch.clone(),
            pools: resolved.pools.clone(),
            pvc_deletion_policy: resolved.pvc_deletion_policy,
            observability: spec.observability.clone(),
        },
        status: None,
    })
}
