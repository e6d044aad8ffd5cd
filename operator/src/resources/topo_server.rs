//! etcd: the StatefulSet, the headless Service of its members, the Service for clients.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy};
use k8s_openapi::api::core::v1::{Container, EnvVar, PersistentVolumeClaim, PodSpec, PodTemplateSpec, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::scrape::METRICS_PORT_NAME;
use super::{
    BuildError, ETCD_READINESS_PERIOD_SECONDS, LIVENESS_PERIOD_SECONDS, child_meta, claim_retention, claim_spec,
    cluster_of, container_ports, env, env_from_field, every, headless_service, http_get, match_labels, mount,
    pull_policy, pull_secrets, service, startup, tcp_socket,
};
use crate::api::TopoServer;
use crate::labels::{self, Labels, component};
use crate::names;
use crate::resolver::{TOPO_CLIENT_PORT, defaults, merge};

/// Port on which members talk to each other.
const PEER_PORT: u16 = 2380;
/// Port of etcd's metrics, which answers whether or not the client port does: probes of life ask there.
const METRICS_PORT: u16 = 2381;
/// The variable that tells each member of all of them.
const INITIAL_CLUSTER: &str = "ETCD_INITIAL_CLUSTER";
/// The data volume.
const DATA_VOLUME: &str = "data";
/// Where the data lives.
const DATA_PATH: &str = "/var/lib/etcd";

fn object_labels(server: &TopoServer) -> Result<Labels, BuildError> {
    let ours = labels::with(cluster_of(server)?, component::TOPO_SERVER, &[(labels::CLUSTER, cluster_of(server)?)]);
    Ok(labels::merge(ours, server.labels()))
}

/// Number of members that the specification asks for.
pub fn replicas(server: &TopoServer) -> i32 {
    server.spec.etcd.replicas.unwrap_or(defaults::ETCD_REPLICAS)
}

/// Number of members that a stored set's etcd was begun with: those that its pods are told of. The replicas of the set say nothing
/// about it, for anybody may turn them.
pub fn members_begun_with(set: &StatefulSet) -> Option<i32> {
    let containers = &set.spec.template.spec.as_ref()?.containers;
    let mut variables = containers.iter().flat_map(|container| container.env.iter().flatten());
    let members = variables.find(|variable| variable.name == INITIAL_CLUSTER)?.value.as_deref()?;
    i32::try_from(members.split(',').filter(|member| !member.is_empty()).count()).ok().filter(|members| *members > 0)
}

/// The `members` members: as many as the specification asks for, or as etcd was begun with.
pub fn stateful_set(server: &TopoServer, members: i32) -> Result<StatefulSet, BuildError> {
    let labels = object_labels(server)?;
    let etcd = &server.spec.etcd;
    let container = Container {
        name: "etcd".to_owned(),
        image: Some(etcd.image.clone().unwrap_or_else(|| defaults::ETCD_IMAGE.to_owned())),
        image_pull_policy: pull_policy(server.spec.images.image_pull_policy),
        env: Some(environment(server, members)),
        ports: container_ports(&[("client", TOPO_CLIENT_PORT), ("peer", PEER_PORT), (METRICS_PORT_NAME, METRICS_PORT)]),
        resources: etcd.resources.clone(),
        volume_mounts: Some(vec![mount(DATA_VOLUME, DATA_PATH)]),
        startup_probe: startup(tcp_socket(METRICS_PORT)),
        liveness_probe: every(LIVENESS_PERIOD_SECONDS, tcp_socket(METRICS_PORT)),
        readiness_probe: every(ETCD_READINESS_PERIOD_SECONDS, http_get("/health", TOPO_CLIENT_PORT)),
        ..Container::default()
    };
    let claim = PersistentVolumeClaim {
        metadata: ObjectMeta { name: Some(DATA_VOLUME.to_owned()), ..ObjectMeta::default() },
        spec: Some(claim_spec(etcd.storage.as_ref(), defaults::ETCD_STORAGE_SIZE)),
        ..PersistentVolumeClaim::default()
    };
    let policy = merge::pvc_policy(etcd.pvc_deletion_policy, server.spec.pvc_deletion_policy);
    Ok(StatefulSet {
        metadata: child_meta(server, server.name_any(), labels.clone()),
        spec: StatefulSetSpec {
            service_name: Some(names::topo_headless(&server.name_any())),
            replicas: Some(members),
            selector: match_labels(&labels),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }),
                spec: Some(PodSpec {
                    containers: vec![container],
                    image_pull_secrets: pull_secrets(&server.spec.images.image_pull_secrets),
                    ..PodSpec::default()
                }),
            },
            volume_claim_templates: Some(vec![claim]),
            persistent_volume_claim_retention_policy: Some(claim_retention(policy)),
            ..StatefulSetSpec::default()
        },
        ..StatefulSet::default()
    })
}

fn environment(server: &TopoServer, members: i32) -> Vec<EnvVar> {
    let name = server.name_any();
    let namespace = server.namespace().unwrap_or_default();
    let headless = names::topo_headless(&name);
    let own = format!("http://$(POD_NAME).{headless}.$(POD_NAMESPACE).svc.cluster.local");
    let members: Vec<String> = (0..members)
        .map(|i| format!("{name}-{i}=http://{name}-{i}.{headless}.{namespace}.svc.cluster.local:{PEER_PORT}"))
        .collect();
    vec![
        env_from_field("POD_NAME", "metadata.name"),
        env_from_field("POD_NAMESPACE", "metadata.namespace"),
        env("ETCD_NAME", "$(POD_NAME)"),
        env("ETCD_DATA_DIR", DATA_PATH),
        env("ETCD_LISTEN_CLIENT_URLS", format!("http://0.0.0.0:{TOPO_CLIENT_PORT}")),
        env("ETCD_LISTEN_PEER_URLS", format!("http://0.0.0.0:{PEER_PORT}")),
        env("ETCD_ADVERTISE_CLIENT_URLS", format!("{own}:{TOPO_CLIENT_PORT}")),
        env("ETCD_INITIAL_ADVERTISE_PEER_URLS", format!("{own}:{PEER_PORT}")),
        env("ETCD_INITIAL_CLUSTER_STATE", "new"),
        env("ETCD_INITIAL_CLUSTER_TOKEN", name),
        env(INITIAL_CLUSTER, members.join(",")),
        env("ETCD_LISTEN_METRICS_URLS", format!("http://0.0.0.0:{METRICS_PORT}")),
    ]
}

/// The Service by which members find each other.
pub fn headless(server: &TopoServer) -> Result<Service, BuildError> {
    let labels = object_labels(server)?;
    let meta = child_meta(server, names::topo_headless(&server.name_any()), labels.clone());
    Ok(headless_service(
        meta,
        &labels,
        &[("client", TOPO_CLIENT_PORT), ("peer", PEER_PORT), (METRICS_PORT_NAME, METRICS_PORT)],
    ))
}

/// The Service for clients.
pub fn client(server: &TopoServer) -> Result<Service, BuildError> {
    let labels = object_labels(server)?;
    let meta = child_meta(server, server.name_any(), labels.clone());
    Ok(service(meta, &labels, &[("client", TOPO_CLIENT_PORT)]))
}
