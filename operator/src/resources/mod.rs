//! Pure builders: a custom resource in, a Kubernetes object out.
//!
//! Each answer is the whole of what the operator wants to own of an object; it is sent by server-side apply as it is.

pub mod children;
pub mod gateway;
pub mod multiadmin;
pub mod orch;
pub mod otel;
pub mod pg_hba;
pub mod pool;
pub mod quantity;
pub mod scrape;
pub mod topo_server;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, StatefulSetPersistentVolumeClaimRetentionPolicy};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, LocalObjectReference, ObjectFieldSelector,
    PersistentVolumeClaimSpec, PodSpec, PodTemplateSpec, Probe, Service, ServicePort, ServiceSpec, TCPSocketAction,
    Volume, VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Resource, ResourceExt};

use crate::api::common::{ImagePullPolicy, PvcDeletionPolicy, StorageSpec};
use crate::labels::{self, Labels};

/// Seconds between two readiness probes of the data plane.
const READINESS_PERIOD_SECONDS: i32 = 5;
/// Seconds between two readiness probes of etcd.
const ETCD_READINESS_PERIOD_SECONDS: i32 = 10;
/// Seconds between two liveness probes.
const LIVENESS_PERIOD_SECONDS: i32 = 10;
/// Seconds between two startup probes.
const STARTUP_PERIOD_SECONDS: i32 = 5;
/// Startup probes that may fail before the container is started anew.
const STARTUP_FAILURES_MAX: i32 = 30;

/// Why an object cannot be built from its custom resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The object does not say which cluster it belongs to.
    #[error("label {label} is missing on {kind} '{name}'")]
    LabelMissing {
        /// The label.
        label: &'static str,
        /// The object's kind.
        kind: String,
        /// The object's name.
        name: String,
    },
    /// A pool that belongs to no cell has no pods.
    #[error("pool '{0}' has no cells")]
    PoolWithoutCells(String),
    /// A shard whose orchestrator belongs to no cell.
    #[error("MultiOrch has no cells: neither it nor a pool names one")]
    OrchWithoutCells,
}

/// The name of the cluster that `object` belongs to, from its label.
pub fn cluster_of<K: Resource<DynamicType = ()>>(object: &K) -> Result<&str, BuildError> {
    object.labels().get(labels::CLUSTER).map(String::as_str).ok_or_else(|| BuildError::LabelMissing {
        label: labels::CLUSTER,
        kind: K::kind(&()).into_owned(),
        name: object.name_any(),
    })
}

/// Name, namespace, labels and controller of a child of `owner`.
pub fn child_meta<K: Resource<DynamicType = ()>>(owner: &K, name: String, labels: Labels) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: owner.namespace(),
        labels: Some(labels),
        owner_references: controller_reference(owner).map(|reference| vec![reference]),
        ..ObjectMeta::default()
    }
}

fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> Option<OwnerReference> {
    Some(OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.name_any(),
        uid: owner.uid()?,
        controller: Some(true),
        block_owner_deletion: Some(true),
    })
}

fn strings<const N: usize>(values: [&str; N]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn env(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.into()), ..EnvVar::default() }
}

fn env_from_field(name: &str, field_path: &str) -> EnvVar {
    let field_ref = ObjectFieldSelector { field_path: field_path.to_owned(), ..ObjectFieldSelector::default() };
    let value_from = Some(EnvVarSource { field_ref: Some(field_ref), ..EnvVarSource::default() });
    EnvVar { name: name.to_owned(), value_from, ..EnvVar::default() }
}

fn container_ports(ports: &[(&str, u16)]) -> Option<Vec<ContainerPort>> {
    let port = |(name, number): &(&str, u16)| ContainerPort {
        name: Some((*name).to_owned()),
        container_port: i32::from(*number),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    Some(ports.iter().map(port).collect())
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

fn http_get(path: &str, port: u16) -> Probe {
    let http_get = Some(HTTPGetAction { path: Some(path.to_owned()), port: port_of(port), ..HTTPGetAction::default() });
    Probe { http_get, ..Probe::default() }
}

fn tcp_socket(port: u16) -> Probe {
    Probe {
        tcp_socket: Some(TCPSocketAction { port: port_of(port), ..TCPSocketAction::default() }),
        ..Probe::default()
    }
}

fn port_of(port: u16) -> IntOrString {
    IntOrString::Int(i32::from(port))
}

fn every(seconds: i32, probe: Probe) -> Option<Probe> {
    Some(Probe { period_seconds: Some(seconds), ..probe })
}

fn startup(probe: Probe) -> Option<Probe> {
    Some(Probe { period_seconds: Some(STARTUP_PERIOD_SECONDS), failure_threshold: Some(STARTUP_FAILURES_MAX), ..probe })
}

/// The three probes of a process of the data plane. Ready means registered in the topology; alive does not: while etcd is away nothing
/// is to be started anew.
fn with_data_plane_probes(container: Container, http_port: u16) -> Container {
    Container {
        startup_probe: startup(http_get("/live", http_port)),
        liveness_probe: every(LIVENESS_PERIOD_SECONDS, http_get("/live", http_port)),
        readiness_probe: every(READINESS_PERIOD_SECONDS, http_get("/ready", http_port)),
        ..container
    }
}

fn pull_policy(policy: Option<ImagePullPolicy>) -> Option<String> {
    policy.map(|policy| policy.as_str().to_owned())
}

fn pull_secrets(secrets: &[LocalObjectReference]) -> Option<Vec<LocalObjectReference>> {
    (!secrets.is_empty()).then(|| secrets.to_vec())
}

fn non_empty(map: BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then_some(map)
}

fn match_labels(labels: &Labels) -> LabelSelector {
    LabelSelector { match_labels: Some(labels::selector(labels)), ..LabelSelector::default() }
}

/// What a Deployment of one container is made of.
struct Stateless<'a> {
    meta: ObjectMeta,
    labels: Labels,
    replicas: i32,
    pod_labels: &'a Labels,
    pod_annotations: &'a Labels,
    pod: PodSpec,
}

fn deployment(parts: Stateless<'_>) -> Deployment {
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels::merge(parts.labels.clone(), parts.pod_labels)),
            annotations: non_empty(parts.pod_annotations.clone()),
            ..ObjectMeta::default()
        }),
        spec: Some(parts.pod),
    };
    Deployment {
        metadata: parts.meta,
        spec: DeploymentSpec {
            replicas: Some(parts.replicas),
            selector: match_labels(&parts.labels),
            template,
            ..DeploymentSpec::default()
        },
        ..Deployment::default()
    }
}

/// A cluster-internal Service; each port leads to the container port of the same name.
fn service(meta: ObjectMeta, labels: &Labels, ports: &[(&str, u16)]) -> Service {
    let port = |(name, number): &(&str, u16)| ServicePort {
        name: Some((*name).to_owned()),
        port: i32::from(*number),
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String((*name).to_owned())),
        ..ServicePort::default()
    };
    Service {
        metadata: meta,
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(labels::selector(labels)),
            ports: Some(ports.iter().map(port).collect()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// A Service that gives each pod its own name, before it is ready: members find each other by it.
fn headless_service(meta: ObjectMeta, labels: &Labels, ports: &[(&str, u16)]) -> Service {
    let mut service = service(meta, labels, ports);
    if let Some(spec) = &mut service.spec {
        spec.cluster_ip = Some("None".to_owned());
        spec.publish_not_ready_addresses = Some(true);
    }
    service
}

fn claim_spec(storage: Option<&StorageSpec>, size_default: &str) -> PersistentVolumeClaimSpec {
    let storage = storage.cloned().unwrap_or_default();
    let access_modes = if storage.access_modes.is_empty() { strings(["ReadWriteOnce"]) } else { storage.access_modes };
    let size = Quantity(storage.size.unwrap_or_else(|| size_default.to_owned()));
    PersistentVolumeClaimSpec {
        access_modes: Some(access_modes),
        resources: Some(VolumeResourceRequirements {
            requests: Some([("storage".to_owned(), size)].into()),
            ..VolumeResourceRequirements::default()
        }),
        storage_class_name: storage.class,
        ..PersistentVolumeClaimSpec::default()
    }
}

fn claim_retention(policy: Option<PvcDeletionPolicy>) -> StatefulSetPersistentVolumeClaimRetentionPolicy {
    let policy = policy.unwrap_or_default();
    StatefulSetPersistentVolumeClaimRetentionPolicy {
        when_deleted: Some(policy.when_deleted.unwrap_or_default().as_str().to_owned()),
        when_scaled: Some(policy.when_scaled.unwrap_or_default().as_str().to_owned()),
    }
}

fn extended<T>(mut list: Vec<T>, more: impl IntoIterator<Item = T>) -> Vec<T> {
    list.extend(more);
    list
}

fn some_volumes(volumes: Vec<Volume>) -> Option<Vec<Volume>> {
    (!volumes.is_empty()).then_some(volumes)
}

fn some_mounts(mounts: Vec<VolumeMount>) -> Option<Vec<VolumeMount>> {
    (!mounts.is_empty()).then_some(mounts)
}

#[cfg(test)]
pub(crate) mod test_objects;
#[cfg(test)]
mod tests;
