//! The objects that the Prometheus Operator reads, reduced to the fields that it reads.
//!
//! Everything here compares by value: an update that changes none of these fields (a status, a managed field, a
//! resource version) does not lead to a new configuration.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::alertmanager::Alerting;
use crate::selector::LabelSelector;

/// The part of an object's metadata that matters here.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// The object's name.
    pub name: String,
    /// The object's namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// The object's unique id.
    pub uid: String,
    /// The object's labels.
    pub labels: BTreeMap<String, String>,
    /// Grows with every change of the specification.
    pub generation: i64,
}

/// A `monitoring.coreos.com/v1` Prometheus.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Prometheus {
    /// The object's metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: PrometheusSpec,
}

/// The specification of a [`Prometheus`]: what this operator acts on, and the rest by name, so that it can be said aloud
/// that it is not acted on.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PrometheusSpec {
    /// The container image, whole.
    pub image: Option<String>,
    /// The version of Prometheus that the image holds.
    pub version: Option<String>,
    /// How many copies; one by default.
    pub replicas: Option<i32>,
    /// The service account of the pods.
    pub service_account_name: Option<String>,
    /// The default interval between scrapes.
    pub scrape_interval: Option<String>,
    /// The default time-out of a scrape.
    pub scrape_timeout: Option<String>,
    /// The interval between rule evaluations.
    pub evaluation_interval: Option<String>,
    /// How long samples are kept.
    pub retention: Option<String>,
    /// Feature flags.
    pub enable_features: Vec<String>,
    /// Whether metrics may be pushed by OTLP.
    #[serde(rename = "enableOTLPReceiver")]
    pub enable_otlp_receiver: bool,
    /// Whether metrics may be pushed by remote write.
    pub enable_remote_write_receiver: bool,
    /// Labels added to everything that leaves this Prometheus.
    pub external_labels: BTreeMap<String, String>,
    /// Ignores `honorLabels` of all monitors.
    pub override_honor_labels: bool,
    /// Which ServiceMonitors; absent: none.
    pub service_monitor_selector: Option<LabelSelector>,
    /// In which namespaces; absent: the Prometheus' own.
    pub service_monitor_namespace_selector: Option<LabelSelector>,
    /// Which PodMonitors; absent: none.
    pub pod_monitor_selector: Option<LabelSelector>,
    /// In which namespaces; absent: the Prometheus' own.
    pub pod_monitor_namespace_selector: Option<LabelSelector>,
    /// Which Probes; absent: none.
    pub probe_selector: Option<LabelSelector>,
    /// In which namespaces; absent: the Prometheus' own.
    pub probe_namespace_selector: Option<LabelSelector>,
    /// Which PrometheusRules; absent: none.
    pub rule_selector: Option<LabelSelector>,
    /// In which namespaces; absent: the Prometheus' own.
    pub rule_namespace_selector: Option<LabelSelector>,
    /// Where the addresses of a Service are found; `Endpoints` by default.
    pub service_discovery_role: Option<DiscoveryRole>,
    /// Who is told of alerts.
    pub alerting: Option<Alerting>,
    /// Settings of the time series database.
    pub tsdb: Tsdb,
    /// Settings of the OTLP receiver.
    pub otlp: Option<Value>,
    /// Resources of the container, as they are.
    pub resources: Option<Value>,
    /// Security context of the pod, as it is.
    pub security_context: Option<Value>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// Which objects hold the addresses behind a Service.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum DiscoveryRole {
    /// core/v1 Endpoints.
    #[default]
    Endpoints,
    /// discovery.k8s.io/v1 EndpointSlices.
    EndpointSlice,
}

/// Settings of the time series database.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Tsdb {
    /// How late a sample may come.
    pub out_of_order_time_window: Option<String>,
}

/// A `monitoring.coreos.com/v1` ServiceMonitor.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct ServiceMonitor {
    /// The object's metadata.
    pub metadata: Meta,
    /// What is scraped.
    pub spec: ServiceMonitorSpec,
}

/// The specification of a [`ServiceMonitor`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceMonitorSpec {
    /// Which Services.
    pub selector: LabelSelector,
    /// In which namespaces; by default the monitor's own.
    pub namespace_selector: NamespaceSelector,
    /// Which ports of these Services, and how.
    pub endpoints: Vec<Endpoint>,
    /// The Service's label that becomes `job`, instead of the Service's name.
    pub job_label: Option<String>,
    /// Labels of the Service that go on every series.
    pub target_labels: Vec<String>,
    /// Labels of the Pod that go on every series.
    pub pod_target_labels: Vec<String>,
    /// Limit of samples a scrape.
    pub sample_limit: Option<u64>,
    /// Limit of targets.
    pub target_limit: Option<u64>,
    /// Limit of labels a sample.
    pub label_limit: Option<u64>,
    /// Limit of a label name's length, in bytes.
    pub label_name_length_limit: Option<u64>,
    /// Limit of a label value's length, in bytes.
    pub label_value_length_limit: Option<u64>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// A `monitoring.coreos.com/v1` PodMonitor.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct PodMonitor {
    /// The object's metadata.
    pub metadata: Meta,
    /// What is scraped.
    pub spec: PodMonitorSpec,
}

/// The specification of a [`PodMonitor`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodMonitorSpec {
    /// Which Pods.
    pub selector: LabelSelector,
    /// In which namespaces; by default the monitor's own.
    pub namespace_selector: NamespaceSelector,
    /// Which ports of these Pods, and how.
    pub pod_metrics_endpoints: Vec<Endpoint>,
    /// The Pod's label that becomes `job`, instead of the monitor's namespace and name.
    pub job_label: Option<String>,
    /// Labels of the Pod that go on every series.
    pub pod_target_labels: Vec<String>,
    /// Limit of samples a scrape.
    pub sample_limit: Option<u64>,
    /// Limit of targets.
    pub target_limit: Option<u64>,
    /// Limit of labels a sample.
    pub label_limit: Option<u64>,
    /// Limit of a label name's length, in bytes.
    pub label_name_length_limit: Option<u64>,
    /// Limit of a label value's length, in bytes.
    pub label_value_length_limit: Option<u64>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// In which namespaces a monitor looks for Services or Pods.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// In all.
    pub any: bool,
    /// In these.
    pub match_names: Vec<String>,
}

impl NamespaceSelector {
    /// Whether a monitor in the namespace `own` looks into `namespace`.
    pub fn includes(&self, own: &str, namespace: &str) -> bool {
        if self.any {
            true
        } else if self.match_names.is_empty() {
            namespace == own
        } else {
            self.match_names.iter().any(|name| name == namespace)
        }
    }
}

/// One endpoint of a ServiceMonitor or PodMonitor.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    /// The name of the Service's port.
    pub port: Option<String>,
    /// The number of the container's port, where `port` is not given (PodMonitor).
    pub port_number: Option<u16>,
    /// The number or name of the container's port, where `port` is not given.
    pub target_port: Option<Value>,
    /// The path; `/metrics` by default.
    pub path: Option<String>,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Query parameters.
    pub params: Option<Value>,
    /// Interval between scrapes.
    pub interval: Option<String>,
    /// Time-out of a scrape.
    pub scrape_timeout: Option<String>,
    /// Whether labels in the scraped text win over the target's.
    pub honor_labels: bool,
    /// Whether time stamps in the scraped text are kept.
    pub honor_timestamps: Option<bool>,
    /// Whether pods that have ended are left out; they are by default.
    pub filter_running: Option<bool>,
    /// Whether redirects are followed.
    pub follow_redirects: Option<bool>,
    /// TLS settings.
    pub tls_config: Option<TlsConfig>,
    /// A file that holds a bearer token.
    pub bearer_token_file: Option<String>,
    /// Relabelling of targets.
    pub relabelings: Vec<RelabelConfig>,
    /// Relabelling of samples.
    pub metric_relabelings: Vec<RelabelConfig>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// TLS settings of an endpoint that name files.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TlsConfig {
    /// File of the authorities trusted.
    pub ca_file: Option<String>,
    /// File of the client's certificate.
    pub cert_file: Option<String>,
    /// File of the client's key.
    pub key_file: Option<String>,
    /// The name expected in the server's certificate.
    pub server_name: Option<String>,
    /// Whether the server's certificate is taken on trust.
    pub insecure_skip_verify: Option<bool>,
    /// Everything else (references to Secrets).
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// One relabelling step.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RelabelConfig {
    /// The labels whose values are joined.
    pub source_labels: Vec<String>,
    /// What joins them.
    pub separator: Option<String>,
    /// The label that is written.
    pub target_label: Option<String>,
    /// What the joined value has to match.
    pub regex: Option<String>,
    /// For `hashmod`.
    pub modulus: Option<u64>,
    /// What is written.
    pub replacement: Option<String>,
    /// What is done.
    pub action: Option<String>,
}

/// A `monitoring.coreos.com/v1` PrometheusRule.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct PrometheusRule {
    /// The object's metadata.
    pub metadata: Meta,
    /// The rule groups, as they are: their fields are those of a Prometheus rule file.
    pub spec: PrometheusRuleSpec,
}

/// The specification of a [`PrometheusRule`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PrometheusRuleSpec {
    /// The rule groups.
    pub groups: Vec<Value>,
}

/// A core/v1 Service, of which only metadata matters.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Service {
    /// The object's metadata.
    pub metadata: Meta,
}

/// A core/v1 Namespace, of which only metadata matters.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Namespace {
    /// The object's metadata.
    pub metadata: Meta,
}

/// A core/v1 Pod.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// The object's metadata.
    pub metadata: Meta,
    /// Containers and node.
    pub spec: PodSpec,
    /// Phase and address.
    pub status: PodStatus,
}

/// The specification of a [`Pod`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    /// The node that the pod runs on.
    pub node_name: String,
    /// The containers with their ports.
    pub containers: Vec<Container>,
}

/// A container of a [`Pod`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Container {
    /// The container's name.
    pub name: String,
    /// The declared ports.
    pub ports: Vec<ContainerPort>,
}

/// A declared port of a [`Container`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerPort {
    /// The port's name; may be empty.
    pub name: String,
    /// The port's number.
    pub container_port: u16,
}

/// The status of a [`Pod`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`.
    pub phase: String,
    /// The pod's address.
    #[serde(rename = "podIP")]
    pub pod_ip: String,
}

/// A core/v1 Endpoints.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Endpoints {
    /// The object's metadata; its name is the Service's.
    pub metadata: Meta,
    /// Addresses × ports.
    pub subsets: Vec<Subset>,
}

/// Addresses that share ports.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Subset {
    /// Addresses that are ready.
    pub addresses: Vec<Address>,
    /// Addresses that are not.
    pub not_ready_addresses: Vec<Address>,
    /// The ports.
    pub ports: Vec<Port>,
}

/// An address of an [`Endpoints`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Address {
    /// The IP address.
    pub ip: String,
    /// The node it is on.
    pub node_name: Option<String>,
    /// The object it belongs to.
    pub target_ref: Option<TargetRef>,
}

/// The object behind an address.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TargetRef {
    /// `Pod` or `Node`.
    pub kind: String,
    /// The object's name.
    pub name: String,
    /// The object's namespace.
    pub namespace: String,
}

/// A port of an [`Endpoints`] or [`EndpointSlice`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Port {
    /// The port's name, equal to that of the Service's port.
    pub name: Option<String>,
    /// The number.
    pub port: u16,
}

/// A discovery.k8s.io/v1 EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct EndpointSlice {
    /// The object's metadata; a label names the Service.
    pub metadata: Meta,
    /// The endpoints.
    pub endpoints: Vec<SliceEndpoint>,
    /// The ports, common to all endpoints.
    pub ports: Vec<Port>,
}

/// An endpoint of an [`EndpointSlice`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SliceEndpoint {
    /// Addresses that are the same endpoint.
    pub addresses: Vec<String>,
    /// Ready and so on.
    pub conditions: SliceConditions,
    /// The node it is on.
    pub node_name: Option<String>,
    /// The object it belongs to.
    pub target_ref: Option<TargetRef>,
}

/// The conditions of a [`SliceEndpoint`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SliceConditions {
    /// Absent counts as ready.
    pub ready: Option<bool>,
}
