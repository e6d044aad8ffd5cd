//! The orchestrator of a shard, one a cell.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, PodSpec, Service};
use kube::ResourceExt;

use super::otel::{self, TelemetrySettings};
use super::pool::parts;
use super::{
    BuildError, Stateless, child_meta, cluster_of, container_ports, deployment, pull_policy, pull_secrets, service,
    some_mounts, some_volumes, with_data_plane_probes,
};
use crate::api::Shard;
use crate::labels::{self, Labels, component};
use crate::resolver::defaults;

const HTTP_PORT: u16 = 15300;
const GRPC_PORT: u16 = 15370;
const PORTS: [(&str, u16); 2] = [("http", HTTP_PORT), ("grpc", GRPC_PORT)];

fn object_labels(shard: &Shard, cell: &str) -> Result<Labels, BuildError> {
    let ours = labels::with(cluster_of(shard)?, component::MULTIORCH, &[(labels::CELL, cell)]);
    Ok(labels::merge(ours, shard.labels()))
}

/// Cells that get an orchestrator, sorted: those that it names, else those of the pools.
pub fn cells(shard: &Shard) -> Result<Vec<String>, BuildError> {
    let own = &shard.spec.multiorch.cells;
    let cells: BTreeSet<String> = if own.is_empty() {
        shard.spec.pools.values().flat_map(|pool| pool.cells.iter().cloned()).collect()
    } else {
        own.iter().cloned().collect()
    };
    if cells.is_empty() {
        return Err(BuildError::OrchWithoutCells);
    }
    Ok(cells.into_iter().collect())
}

/// The orchestrator's Deployment in `cell`.
pub fn orch_deployment(
    shard: &Shard,
    cell: &str,
    operator_env: &BTreeMap<String, String>,
) -> Result<Deployment, BuildError> {
    let labels = object_labels(shard, cell)?;
    let spec = &shard.spec;
    let settings = TelemetrySettings::new(spec.observability.as_ref(), operator_env);
    let container = with_data_plane_probes(
        Container {
            name: "multiorch".to_owned(),
            image: spec.images.multiorch.clone().or_else(|| Some(defaults::MULTIGRES_IMAGE.to_owned())),
            image_pull_policy: pull_policy(spec.images.image_pull_policy),
            args: Some(vec![
                "multiorch".to_owned(),
                format!("--http-port={HTTP_PORT}"),
                format!("--grpc-port={GRPC_PORT}"),
                format!("--topo-global-server-addresses={}", spec.global_topo_server.address),
                format!("--topo-global-root={}", spec.global_topo_server.root_path),
                format!("--cell={cell}"),
                "--watch-targets=postgres".to_owned(),
                "--cluster-metadata-refresh-interval=500ms".to_owned(),
                "--pooler-health-check-interval=500ms".to_owned(),
                "--recovery-cycle-interval=500ms".to_owned(),
            ]),
            env: (!settings.env.is_empty()).then(|| settings.env.clone()),
            ports: container_ports(&settings.with_metrics_port(&PORTS)),
            resources: spec.multiorch.resources.clone(),
            volume_mounts: some_mounts(settings.mounts),
            ..Container::default()
        },
        HTTP_PORT,
    );
    Ok(deployment(Stateless {
        meta: child_meta(shard, parts(shard)?.orch(cell), labels.clone()),
        labels,
        replicas: spec.multiorch.replicas.unwrap_or(defaults::MULTIORCH_REPLICAS),
        pod_labels: &spec.multiorch.pod_labels,
        pod_annotations: &spec.multiorch.pod_annotations,
        pod: PodSpec {
            containers: vec![container],
            affinity: spec.multiorch.affinity.clone(),
            image_pull_secrets: pull_secrets(&spec.images.image_pull_secrets),
            volumes: some_volumes(settings.volumes),
            ..PodSpec::default()
        },
    }))
}

/// The orchestrator's Service in `cell`.
pub fn orch_service(shard: &Shard, cell: &str, operator_env: &BTreeMap<String, String>) -> Result<Service, BuildError> {
    let metrics = otel::metrics_port(shard.spec.observability.as_ref(), operator_env);
    let labels = object_labels(shard, cell)?;
    let meta = child_meta(shard, parts(shard)?.orch_service(cell), labels.clone());
    Ok(service(meta, &labels, &otel::with_metrics_port(&PORTS, metrics)))
}
