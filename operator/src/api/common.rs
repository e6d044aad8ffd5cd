//! What several kinds share: replicas and resources, storage, telemetry, references, phases.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, LocalObjectReference, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// `x-kubernetes-validations`: CEL rules with the message of each.
pub(crate) fn rules(rules: &[(&str, &str)]) -> Value {
    rules.iter().map(|(rule, message)| json!({ "rule": rule, "message": message })).collect()
}

/// Labels, or annotations, that can be asked for on pods.
pub const POD_METADATA_MAX: usize = 20;
/// Pools of a shard.
pub const POOLS_MAX: usize = 8;

fn annotation_rules() -> Value {
    rules(&[(
        "self.all(key, size(key) < 64 && size(self[key]) < 256)",
        "annotation keys must be < 64 characters and values < 256 characters",
    )])
}

fn label_rules() -> Value {
    rules(&[("self.all(key, size(key) < 64 && size(self[key]) < 64)", "label keys and values must be < 64 characters")])
}

/// Where an object stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Nothing is there yet.
    Initializing,
    /// On the way to what the specification asks for.
    Progressing,
    /// Everything is as the specification asks.
    Healthy,
    /// Something fails and does not get better by itself.
    Degraded,
    /// Not known.
    #[default]
    Unknown,
}

impl Phase {
    /// The name as it stands in a status, a label value or an event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "Initializing",
            Self::Progressing => "Progressing",
            Self::Healthy => "Healthy",
            Self::Degraded => "Degraded",
            Self::Unknown => "Unknown",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// When a container image is pulled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    /// At every start.
    Always,
    /// Never; it must be on the node.
    Never,
    /// When the node does not have it.
    #[default]
    IfNotPresent,
}

impl ImagePullPolicy {
    /// The name as Kubernetes writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::Never => "Never",
            Self::IfNotPresent => "IfNotPresent",
        }
    }
}

/// Replicas, resources and placement of a process without storage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatelessSpec {
    /// Number of pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 128))]
    pub replicas: Option<i32>,
    /// Compute resources of the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Placement of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Annotations for the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = POD_METADATA_MAX, "x-kubernetes-validations" = annotation_rules()))]
    pub pod_annotations: BTreeMap<String, String>,
    /// Labels for the pods. The operator's own labels win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = POD_METADATA_MAX, "x-kubernetes-validations" = label_rules()))]
    pub pod_labels: BTreeMap<String, String>,
}

/// A volume claim.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageSpec {
    /// Size as a quantity, for instance `10Gi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = r"^([0-9]+)(.+)$"))]
    pub size: Option<String>,
    /// Storage class; the cluster's default one when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub class: Option<String>,
    /// Access modes; `ReadWriteOnce` when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access_modes: Vec<String>,
}

/// What becomes of a volume claim.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RetentionPolicy {
    /// The claim stays.
    #[default]
    Retain,
    /// The claim is deleted with its pod's place.
    Delete,
}

impl RetentionPolicy {
    /// The name as Kubernetes writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retain => "Retain",
            Self::Delete => "Delete",
        }
    }
}

/// What becomes of volume claims when their owner is deleted or made smaller. A field that is absent is
/// taken from the level above, and is `Retain` at the top.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PvcDeletionPolicy {
    /// When the owner is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_deleted: Option<RetentionPolicy>,
    /// When the number of replicas shrinks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_scaled: Option<RetentionPolicy>,
}

/// Resources of one container of a pool pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerConfig {
    /// Compute resources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

/// Where the data plane's telemetry goes. A field that is absent is taken from the operator's own
/// environment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObservabilityConfig {
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`; `disabled` takes all telemetry settings away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    /// `OTEL_EXPORTER_OTLP_PROTOCOL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["http/protobuf", "grpc"]))]
    pub otlp_protocol: Option<String>,
    /// `OTEL_TRACES_EXPORTER`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["otlp", "none", "console"]))]
    pub traces_exporter: Option<String>,
    /// `OTEL_METRICS_EXPORTER`; `prometheus` opens a metrics port on gateways, orchestrators, poolers and MultiAdmin, which
    /// needs no endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["otlp", "none", "console", "prometheus"]))]
    pub metrics_exporter: Option<String>,
    /// `OTEL_LOGS_EXPORTER`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["otlp", "none", "console"]))]
    pub logs_exporter: Option<String>,
    /// `OTEL_METRIC_EXPORT_INTERVAL`, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,9}$"))]
    pub metric_export_interval: Option<String>,
    /// `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["cumulative", "delta"]))]
    pub metrics_temporality: Option<String>,
    /// `OTEL_TRACES_SAMPLER`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces_sampler: Option<String>,
    /// A ConfigMap with a sampling file, mounted into the data plane's pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling_config_ref: Option<SamplingConfigRef>,
    /// Whether ServiceMonitors and VMServiceScrapes are made for what has a metrics port, where these kinds
    /// are known; true when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_objects: Option<bool>,
}

/// Key of a sampling file when none is named.
pub const SAMPLING_CONFIG_KEY: &str = "sampling-config.yaml";

fn sampling_config_key() -> String {
    SAMPLING_CONFIG_KEY.to_owned()
}

/// Names a file in a ConfigMap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SamplingConfigRef {
    /// The ConfigMap's name.
    pub name: String,
    /// The key in it.
    #[serde(default = "sampling_config_key")]
    pub key: String,
}

/// How the processes reach the global topology server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GlobalTopoServerRef {
    /// Address, `host:port`.
    #[schemars(length(min = 1, max = 512))]
    pub address: String,
    /// Key under which everything lives.
    #[schemars(length(min = 1, max = 512))]
    pub root_path: String,
    /// Implementation, `etcd`.
    #[schemars(length(min = 1, max = 63))]
    pub implementation: String,
    /// Where the same server answers, too: the operator asks there when the address does not answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 19), inner(length(min = 1, max = 2048)))]
    pub further_addresses: Vec<String>,
}

impl GlobalTopoServerRef {
    /// All its addresses, in the order in which they are tried.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.address).chain(&self.further_addresses).map(String::as_str)
    }
}

/// An etcd that the operator runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EtcdSpec {
    /// Container image.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Number of members.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        range(min = 1),
        extend("x-kubernetes-validations" = rules(&[(
            "self % 2 == 1",
            "etcd replicas must be odd: an even number of members survives no more failures than one less"
        )]))
    )]
    pub replicas: Option<i32>,
    /// Volume of each member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageSpec>,
    /// Compute resources of each member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Key under which everything lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub root_path: Option<String>,
    /// What becomes of the volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pvc_deletion_policy: Option<PvcDeletionPolicy>,
}

/// A topology server that somebody else runs. TLS has its place in the schema; nothing speaks it yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("!has(self.caSecret)", "TLS to the topology server ('caSecret') is not supported yet"),
    ("!has(self.clientCertSecret)", "TLS to the topology server ('clientCertSecret') is not supported yet"),
])))]
pub struct ExternalTopoServerSpec {
    /// Its addresses.
    #[schemars(
        length(min = 1, max = 20),
        extend(
            "x-kubernetes-list-type" = "set",
            "x-kubernetes-validations" = rules(&[
                ("self.all(endpoint, endpoint.matches('^https?://'))", "endpoints must be valid URLs"),
                (
                    "self.all(endpoint, !endpoint.startsWith('https://'))",
                    "endpoints by TLS ('https://') are not supported yet"
                ),
            ])
        ),
        inner(length(min = 1, max = 2048))
    )]
    pub endpoints: Vec<String>,
    /// Implementation; `etcd` when absent, and no other is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        extend("x-kubernetes-validations" = rules(&[("self == 'etcd'", "the only supported implementation is 'etcd'")]))
    )]
    pub implementation: Option<String>,
    /// Secret with the certificate authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub ca_secret: Option<String>,
    /// Secret with the client certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub client_cert_secret: Option<String>,
    /// Key under which everything lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub root_path: Option<String>,
}

/// A topology server of one cell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "has(self.etcd) != has(self.external)", "must specify exactly one of 'etcd' or 'external'"
)])))]
pub struct LocalTopoServerSpec {
    /// One that the operator runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdSpec>,
    /// One that somebody else runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalTopoServerSpec>,
}

/// The orchestrator of a shard.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MultiOrchSpec {
    /// Number of pods a cell.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 128))]
    pub replicas: Option<i32>,
    /// Compute resources of the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Placement of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Annotations for the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = POD_METADATA_MAX, "x-kubernetes-validations" = annotation_rules()))]
    pub pod_annotations: BTreeMap<String, String>,
    /// Labels for the pods. The operator's own labels win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = POD_METADATA_MAX, "x-kubernetes-validations" = label_rules()))]
    pub pod_labels: BTreeMap<String, String>,
    /// Cells that get one; all cells of the shard's pools when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 50),
        extend("x-kubernetes-list-type" = "set"),
        inner(length(min = 1, max = 30))
    )]
    pub cells: Vec<String>,
}

/// What a pool serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PoolType {
    /// Reads and writes.
    #[default]
    ReadWrite,
    /// Reads.
    ReadOnly,
}

/// A pool of Postgres pods.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolSpec {
    /// What it serves.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub pool_type: Option<PoolType>,
    /// Cells that hold pods of it; all cells of the cluster when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 50),
        extend("x-kubernetes-list-type" = "set"),
        inner(length(min = 1, max = 30))
    )]
    pub cells: Vec<String>,
    /// Pods in each cell.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 32))]
    pub replicas_per_cell: Option<i32>,
    /// Data volume of each pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageSpec>,
    /// Backup volume of each cell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_storage: Option<StorageSpec>,
    /// The Postgres container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<ContainerConfig>,
    /// The pooler container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multipooler: Option<ContainerConfig>,
    /// Placement of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// What becomes of the volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pvc_deletion_policy: Option<PvcDeletionPolicy>,
}

/// Pools by name.
pub type Pools = BTreeMap<String, PoolSpec>;

/// Images of a cell's processes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CellImages {
    /// When images are pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Secrets for private registries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// The gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub multigateway: Option<String>,
}

/// How etcd's image is pulled.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopoServerImages {
    /// When images are pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Secrets for private registries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
}

/// Images of a shard's processes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardImages {
    /// When images are pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Secrets for private registries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// The orchestrator.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub multiorch: Option<String>,
    /// The pooler.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub multipooler: Option<String>,
    /// Postgres with its control daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub postgres: Option<String>,
}

/// What all the operator-managed kinds and the cluster report: generation, conditions, phase.
pub trait Reported {
    /// Generation of the specification that the status speaks about.
    fn observed_generation(&self) -> Option<i64>;
    /// The conditions.
    fn conditions(&self) -> &[Condition];
    /// The phase.
    fn phase(&self) -> Option<Phase>;
    /// The same, with another phase and another reason for it.
    #[must_use]
    fn with_phase(self, phase: Phase, message: String) -> Self;
    /// The same, with only those conditions that are to stay.
    #[must_use]
    fn with_conditions_that(self, stay: impl Fn(&Condition) -> bool) -> Self;
}

macro_rules! reported {
    ($status:ty) => {
        impl crate::api::common::Reported for $status {
            fn observed_generation(&self) -> Option<i64> {
                self.observed_generation
            }
            fn conditions(&self) -> &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition] {
                &self.conditions
            }
            fn phase(&self) -> Option<crate::api::common::Phase> {
                self.phase
            }
            fn with_phase(self, phase: crate::api::common::Phase, message: String) -> Self {
                Self { phase: Some(phase), message: Some(message), ..self }
            }
            fn with_conditions_that(
                mut self,
                stay: impl Fn(&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition) -> bool,
            ) -> Self {
                self.conditions.retain(|condition| stay(condition));
                self
            }
        }
    };
}
pub(crate) use reported;
