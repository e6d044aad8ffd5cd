//! The minimal sample and the custom resources that the controllers make of it.

use std::collections::BTreeMap;

use crate::api::{Cell, MultigresCluster, Shard, TableGroup, TopoServer};
use crate::resolver::{self, GlobalTopo, NoTemplates};

const SAMPLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/samples/minimal.yaml"));

/// The sample with the defaults filled in, as a stored object.
pub(crate) fn cluster() -> MultigresCluster {
    let mut cluster: MultigresCluster = serde_saphyr::from_str(SAMPLE).unwrap();
    cluster.metadata.uid = Some("cluster-uid".into());
    cluster.metadata.generation = Some(1);
    resolver::populate_defaults(&mut cluster.spec, &NoTemplates);
    cluster
}

pub(crate) fn topo() -> GlobalTopo {
    resolver::global_topo(&cluster(), &NoTemplates).unwrap()
}

pub(crate) fn topo_server() -> TopoServer {
    let mut server = super::children::topo_server(&cluster(), topo().managed.unwrap());
    server.metadata.uid = Some("topo-uid".into());
    server
}

pub(crate) fn cell() -> Cell {
    let cluster = cluster();
    let spec = resolver::cell(&cluster, &cluster.spec.cells[0], &topo().reference, &NoTemplates).unwrap();
    let mut cell = super::children::cell(&cluster, spec);
    cell.metadata.uid = Some("cell-uid".into());
    cell
}

pub(crate) fn table_group() -> TableGroup {
    let cluster = cluster();
    let database = &cluster.spec.databases[0];
    let spec =
        resolver::table_group(&cluster, database, &database.tablegroups[0], &topo().reference, &NoTemplates).unwrap();
    let mut group = super::children::table_group(&cluster, spec);
    group.metadata.uid = Some("group-uid".into());
    group
}

pub(crate) fn shard() -> Shard {
    let group = table_group();
    let mut shard = super::children::shard(&group, &group.spec.shards[0]).unwrap();
    shard.metadata.uid = Some("shard-uid".into());
    shard
}

/// The environment of an operator that exports.
pub(crate) fn operator_env() -> BTreeMap<String, String> {
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel-collector.multigres-operator.svc:4318"),
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("OTEL_METRICS_EXPORTER", "otlp"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}
