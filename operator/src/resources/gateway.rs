//! The gateway of a cell.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, PodSpec, Service};

use super::otel::{self, TelemetrySettings};
use super::{
    BuildError, Stateless, child_meta, cluster_of, container_ports, deployment, pull_policy, pull_secrets, service,
    some_mounts, some_volumes, with_data_plane_probes,
};
use crate::api::Cell;
use crate::labels::{self, Labels, component};
use crate::names;
use crate::resolver::defaults;

const HTTP_PORT: u16 = 15100;
const GRPC_PORT: u16 = 15170;
const POSTGRES_PORT: u16 = 15432;
const PORTS: [(&str, u16); 3] = [("http", HTTP_PORT), ("grpc", GRPC_PORT), ("postgres", POSTGRES_PORT)];

fn object_labels(cell: &Cell) -> Result<Labels, BuildError> {
    let cluster = cluster_of(cell)?;
    let mut labels =
        labels::with(cluster, component::MULTIGATEWAY, &[(labels::CLUSTER, cluster), (labels::CELL, &cell.spec.name)]);
    for (key, value) in [(labels::ZONE, &cell.spec.zone), (labels::REGION, &cell.spec.region)] {
        if let Some(value) = value {
            labels.insert(key.to_owned(), value.clone());
        }
    }
    Ok(labels)
}

/// Number of gateway pods that the specification asks for.
pub fn replicas(cell: &Cell) -> i32 {
    cell.spec.multigateway.replicas.unwrap_or(defaults::MULTIGATEWAY_REPLICAS)
}

/// The gateway's Deployment.
pub fn gateway_deployment(cell: &Cell, operator_env: &BTreeMap<String, String>) -> Result<Deployment, BuildError> {
    let labels = object_labels(cell)?;
    let spec = &cell.spec;
    let settings = TelemetrySettings::new(spec.observability.as_ref(), operator_env);
    let (http, grpc, postgres) = (HTTP_PORT.to_string(), GRPC_PORT.to_string(), POSTGRES_PORT.to_string());
    let args = [
        "multigateway",
        "--http-port",
        &http,
        "--grpc-port",
        &grpc,
        "--pg-port",
        &postgres,
        "--topo-global-server-addresses",
        &spec.global_topo_server.address,
        "--topo-global-root",
        &spec.global_topo_server.root_path,
        "--cell",
        &spec.name,
    ];
    let container = with_data_plane_probes(
        Container {
            name: "multigateway".to_owned(),
            image: spec.images.multigateway.clone().or_else(|| Some(defaults::MULTIGRES_IMAGE.to_owned())),
            image_pull_policy: pull_policy(spec.images.image_pull_policy),
            args: Some(args.iter().map(|arg| (*arg).to_owned()).collect()),
            env: (!settings.env.is_empty()).then(|| settings.env.clone()),
            ports: container_ports(&settings.with_metrics_port(&PORTS)),
            resources: spec.multigateway.resources.clone(),
            volume_mounts: some_mounts(settings.mounts),
            ..Container::default()
        },
        HTTP_PORT,
    );
    Ok(deployment(Stateless {
        meta: child_meta(cell, names::gateway(cluster_of(cell)?, &spec.name), labels.clone()),
        labels,
        replicas: replicas(cell),
        pod_labels: &spec.multigateway.pod_labels,
        pod_annotations: &spec.multigateway.pod_annotations,
        pod: PodSpec {
            containers: vec![container],
            affinity: spec.multigateway.affinity.clone(),
            image_pull_secrets: pull_secrets(&spec.images.image_pull_secrets),
            volumes: some_volumes(settings.volumes),
            ..PodSpec::default()
        },
    }))
}

/// The gateway's Service.
pub fn gateway_service(cell: &Cell, operator_env: &BTreeMap<String, String>) -> Result<Service, BuildError> {
    let metrics = otel::metrics_port(cell.spec.observability.as_ref(), operator_env);
    let labels = object_labels(cell)?;
    let meta = child_meta(cell, names::gateway_service(cluster_of(cell)?, &cell.spec.name), labels.clone());
    Ok(service(meta, &labels, &otel::with_metrics_port(&PORTS, metrics)))
}
