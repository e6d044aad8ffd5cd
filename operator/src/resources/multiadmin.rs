//! MultiAdmin and its web front end.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, PodSpec, Probe, Service};
use kube::ResourceExt;

use super::otel::{self, TelemetrySettings};
use super::{
    Stateless, child_meta, container_ports, deployment, env, http_get, pull_policy, pull_secrets, service, some_mounts,
    some_volumes, strings,
};
use crate::api::MultigresCluster;
use crate::api::common::{GlobalTopoServerRef, StatelessSpec};
use crate::labels::{self, Labels, component};
use crate::names;
use crate::resolver::defaults;

const HTTP_PORT: u16 = 18000;
const GRPC_PORT: u16 = 18070;
const ADMIN_PORTS: [(&str, u16); 2] = [("http", HTTP_PORT), ("grpc", GRPC_PORT)];
const WEB_PORT: u16 = 18100;
const POSTGRES_PORT: u16 = 15432;
/// Seconds before, and between, liveness probes.
const LIVENESS_SECONDS: i32 = 10;
/// Seconds before, and between, readiness probes.
const READINESS_SECONDS: i32 = 5;

fn with_probes(container: Container, live: Probe, ready: Probe) -> Container {
    let timed = |probe: Probe, seconds: i32| {
        Some(Probe { initial_delay_seconds: Some(seconds), period_seconds: Some(seconds), ..probe })
    };
    Container {
        liveness_probe: timed(live, LIVENESS_SECONDS),
        readiness_probe: timed(ready, READINESS_SECONDS),
        ..container
    }
}

fn object_labels(cluster: &MultigresCluster, component: &str) -> Labels {
    let name = cluster.name_any();
    labels::with(&name, component, &[(labels::CLUSTER, &name)])
}

fn stateless(
    cluster: &MultigresCluster,
    name: String,
    labels: Labels,
    spec: &StatelessSpec,
    container: Container,
    settings: TelemetrySettings,
) -> Deployment {
    deployment(Stateless {
        meta: child_meta(cluster, name, labels.clone()),
        labels,
        replicas: spec.replicas.unwrap_or(defaults::MULTIADMIN_REPLICAS),
        pod_labels: &spec.pod_labels,
        pod_annotations: &spec.pod_annotations,
        pod: PodSpec {
            containers: vec![container],
            affinity: spec.affinity.clone(),
            image_pull_secrets: pull_secrets(&cluster.spec.images.image_pull_secrets),
            volumes: some_volumes(settings.volumes),
            ..PodSpec::default()
        },
    })
}

/// MultiAdmin's Deployment.
pub fn admin_deployment(
    cluster: &MultigresCluster,
    spec: &StatelessSpec,
    topo: &GlobalTopoServerRef,
    operator_env: &BTreeMap<String, String>,
) -> Deployment {
    let settings = TelemetrySettings::new(cluster.spec.observability.as_ref(), operator_env);
    let images = &cluster.spec.images;
    let container = Container {
        name: "multiadmin".to_owned(),
        image: images.multiadmin.clone().or_else(|| Some(defaults::MULTIGRES_IMAGE.to_owned())),
        image_pull_policy: pull_policy(images.image_pull_policy),
        command: Some(strings(["/multigres/bin/multiadmin"])),
        args: Some(vec![
            format!("--http-port={HTTP_PORT}"),
            format!("--grpc-port={GRPC_PORT}"),
            format!("--topo-global-server-addresses={}", topo.address),
            format!("--topo-global-root={}", topo.root_path),
            "--service-map=grpc-multiadmin".to_owned(),
            "--pprof-http=true".to_owned(),
        ]),
        env: (!settings.env.is_empty()).then(|| settings.env.clone()),
        ports: container_ports(&settings.with_metrics_port(&ADMIN_PORTS)),
        resources: spec.resources.clone(),
        volume_mounts: some_mounts(settings.mounts.clone()),
        ..Container::default()
    };
    let container = with_probes(container, http_get("/live", HTTP_PORT), http_get("/ready", HTTP_PORT));
    let labels = object_labels(cluster, component::MULTIADMIN);
    stateless(cluster, names::multiadmin(&cluster.name_any()), labels, spec, container, settings)
}

/// MultiAdmin's Service.
pub fn admin_service(cluster: &MultigresCluster, operator_env: &BTreeMap<String, String>) -> Service {
    let labels = object_labels(cluster, component::MULTIADMIN);
    let meta = child_meta(cluster, names::multiadmin(&cluster.name_any()), labels.clone());
    let metrics = otel::metrics_port(cluster.spec.observability.as_ref(), operator_env);
    service(meta, &labels, &otel::with_metrics_port(&ADMIN_PORTS, metrics))
}

/// The Deployment of the web front end. It talks to the gateway of the first cell.
pub fn web_deployment(cluster: &MultigresCluster, spec: &StatelessSpec) -> Deployment {
    let images = &cluster.spec.images;
    let cluster_name = cluster.name_any();
    let gateway = cluster
        .spec
        .cells
        .first()
        .map_or_else(|| "multigateway".to_owned(), |cell| names::gateway_service(&cluster_name, &cell.name));
    let container = Container {
        name: "multiadmin-web".to_owned(),
        image: images.multiadmin_web.clone().or_else(|| Some(defaults::MULTIADMIN_WEB_IMAGE.to_owned())),
        image_pull_policy: pull_policy(images.image_pull_policy),
        env: Some(vec![
            env("POSTGRES_HOST", gateway),
            env("POSTGRES_PORT", POSTGRES_PORT.to_string()),
            env("POSTGRES_DATABASE", defaults::DATABASE),
            env("POSTGRES_USER", "postgres"),
        ]),
        ports: container_ports(&[("http", WEB_PORT)]),
        resources: spec.resources.clone(),
        ..Container::default()
    };
    let container = with_probes(container, http_get("/", WEB_PORT), http_get("/", WEB_PORT));
    let labels = object_labels(cluster, component::MULTIADMIN_WEB);
    let name = names::multiadmin_web(&cluster_name);
    stateless(cluster, name, labels, spec, container, TelemetrySettings::default())
}

/// The Service of the web front end.
pub fn web_service(cluster: &MultigresCluster) -> Service {
    let labels = object_labels(cluster, component::MULTIADMIN_WEB);
    let meta = child_meta(cluster, names::multiadmin_web(&cluster.name_any()), labels.clone());
    service(meta, &labels, &[("http", WEB_PORT)])
}
