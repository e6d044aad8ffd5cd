//! What the operator makes of an Alertmanager object, and how a Prometheus object finds one.
//!
//! The Secret named by `configSecret` is mounted as it is: it is not merged with AlertmanagerConfig objects, and a missing
//! one is not replaced by a default. Its key `alertmanager.yaml` is the configuration.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::config::tls_config;
use super::model::{DiscoveryRole, Meta, TlsConfig};
use super::objects::{Built, Owner, child};
use super::store::Cluster;
use super::targets::addresses;

/// The image used where the Alertmanager object names none.
pub const DEFAULT_IMAGE: &str = "quay.io/prometheus/alertmanager:v0.33.1";
/// Where the configuration is mounted.
const CONFIG_DIRECTORY: &str = "/etc/alertmanager/config";
/// Where silences and the notification log are kept.
const STORAGE_DIRECTORY: &str = "/alertmanager";
/// The port of the API.
const WEB_PORT: u16 = 9093;

/// A `monitoring.coreos.com/v1` Alertmanager.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Alertmanager {
    /// The object's metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: AlertmanagerSpec,
}

/// The specification of an [`Alertmanager`]: what is acted on, and the rest by name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AlertmanagerSpec {
    /// The container image, whole.
    pub image: Option<String>,
    /// The version of Alertmanager that the image holds.
    pub version: Option<String>,
    /// How many copies; one by default.
    pub replicas: Option<i32>,
    /// The Secret that holds the configuration; `alertmanager-<name>` by default.
    pub config_secret: Option<String>,
    /// How long what was told and silences that are over are kept; 120h by default.
    pub retention: Option<String>,
    /// The address under which others reach it.
    pub external_url: Option<String>,
    /// What stands before every path.
    pub route_prefix: Option<String>,
    /// `debug`, `info`, `warn` or `error`.
    pub log_level: Option<String>,
    /// `logfmt` or `json`.
    pub log_format: Option<String>,
    /// The service account of the pods.
    pub service_account_name: Option<String>,
    /// Resources of the container, as they are.
    pub resources: Option<Value>,
    /// Security context of the pod, as it is.
    pub security_context: Option<Value>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// `spec.alerting` of a Prometheus.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Alerting {
    /// The Alertmanagers that are told of alerts.
    pub alertmanagers: Vec<Endpoints>,
}

/// The Alertmanagers behind one Service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoints {
    /// The Service's namespace; by default the Prometheus object's.
    pub namespace: Option<String>,
    /// The Service's name.
    pub name: String,
    /// The port, by name or number.
    pub port: Value,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// What stands before `/api/v2/alerts`.
    pub path_prefix: Option<String>,
    /// `V2`; there is no other.
    pub api_version: Option<String>,
    /// How long an answer is waited for.
    pub timeout: Option<String>,
    /// A file that holds a bearer token.
    pub bearer_token_file: Option<String>,
    /// Whom `https` trusts, and with which certificate.
    pub tls_config: Option<TlsConfig>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// The section `alerting` of the configuration; `None` where the Prometheus tells nobody. Addresses that are not ready
/// are among the targets, as with discovery.
pub fn alerting(
    alerting: &Alerting,
    own_namespace: &str,
    role: DiscoveryRole,
    cluster: &Cluster,
    warnings: &mut Vec<String>,
) -> Option<Value> {
    let mut entries = Vec::new();
    for (index, wanted) in alerting.alertmanagers.iter().enumerate() {
        let tls = wanted.tls_config.iter().flat_map(|tls| tls.rest.keys().map(|field| format!("tlsConfig.{field}")));
        let unknown: Vec<String> = wanted.rest.keys().cloned().chain(tls).collect();
        if !unknown.is_empty() {
            // Sending alerts without, say, the credentials asked for would be worse than not sending them.
            let fields = unknown.join(", ");
            warnings.push(format!("spec.alerting.alertmanagers[{index}] is left out: {fields} not supported"));
            continue;
        }
        let mut entry = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                entry.insert(name.to_owned(), value);
            }
        };
        set("scheme", wanted.scheme.as_ref().map(|scheme| json!(scheme.to_ascii_lowercase())));
        set("path_prefix", wanted.path_prefix.as_ref().map(|prefix| json!(prefix)));
        set("timeout", wanted.timeout.as_ref().map(|timeout| json!(timeout)));
        let token = wanted.bearer_token_file.as_ref();
        set("authorization", token.map(|file| json!({"type": "Bearer", "credentials_file": file})));
        set("tls_config", wanted.tls_config.as_ref().map(tls_config));
        let version = wanted.api_version.as_deref().unwrap_or("v2").to_ascii_lowercase();
        set("api_version", Some(json!(version)));
        let namespace = wanted.namespace.as_deref().unwrap_or(own_namespace);
        let targets = addresses(cluster, role, namespace, &wanted.name, &wanted.port);
        set("static_configs", Some(json!([{"targets": targets}])));
        entries.push(Value::Object(entry));
    }
    // Copies of a Prometheus send the same alert, not one each.
    let same = json!([{"action": "labeldrop", "regex": "prometheus_replica"}]);
    (!entries.is_empty()).then(|| json!({"alert_relabel_configs": same, "alertmanagers": entries}))
}

/// Builds all objects that belong to an Alertmanager object.
///
/// ```
/// use sim_controllers::prometheus_operator::alertmanager::{Alertmanager, build};
/// let alertmanager: Alertmanager = serde_json::from_str(
///     r#"{"metadata": {"name": "main", "namespace": "monitoring", "uid": "u"}, "spec": {"logLevel": "debug"}}"#,
/// ).unwrap();
/// let kinds: Vec<_> = build(&alertmanager).objects.iter().map(|o| o["kind"].clone()).collect();
/// assert_eq!(kinds, ["Service", "StatefulSet"]);
/// ```
pub fn build(alertmanager: &Alertmanager) -> Built {
    let Alertmanager { metadata, spec } = alertmanager;
    let mut warnings: Vec<String> = spec.rest.keys().map(|field| format!("spec.{field} is not acted on")).collect();
    if spec.replicas.is_some_and(|replicas| replicas > 1) {
        warnings.push("spec.replicas above 1 do not tell one another here: each of them notifies".to_owned());
    }
    let owner = Owner { kind: "Alertmanager", meta: metadata, labels: labels(metadata) };
    let service = json!({"spec": {
        "clusterIP": "None",
        "selector": {"app.kubernetes.io/name": "alertmanager"},
        "ports": [{"name": "web", "port": WEB_PORT, "targetPort": "web", "protocol": "TCP"}],
    }});
    let name = format!("alertmanager-{}", metadata.name);
    let objects = vec![
        child(&owner, "v1", "Service", "alertmanager-operated", service),
        child(&owner, "apps/v1", "StatefulSet", &name, json!({"spec": stateful_set(alertmanager)})),
    ];
    Built { objects, warnings }
}

fn labels(meta: &Meta) -> Value {
    json!({
        "alertmanager": meta.name,
        "app.kubernetes.io/instance": meta.name,
        "app.kubernetes.io/managed-by": "prometheus-operator",
        "app.kubernetes.io/name": "alertmanager",
    })
}

fn stateful_set(alertmanager: &Alertmanager) -> Value {
    let Alertmanager { metadata, spec } = alertmanager;
    let secret = spec.config_secret.clone().unwrap_or_else(|| format!("alertmanager-{}", metadata.name));
    let prefix = spec.route_prefix.as_deref().unwrap_or_default().trim_end_matches('/');
    let mut container = json!({
        "name": "alertmanager",
        "image": spec.image.as_deref().unwrap_or(DEFAULT_IMAGE),
        "args": arguments(spec),
        "ports": [{"name": "web", "containerPort": WEB_PORT, "protocol": "TCP"}],
        "readinessProbe": probe(&format!("{prefix}/-/ready"), 10),
        "livenessProbe": probe(&format!("{prefix}/-/healthy"), 10),
        "volumeMounts": [
            {"name": "config-volume", "mountPath": CONFIG_DIRECTORY, "readOnly": true},
            {"name": "data", "mountPath": STORAGE_DIRECTORY},
        ],
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
    });
    let mut pod = json!({
        "terminationGracePeriodSeconds": 120,
        "volumes": [
            {"name": "config-volume", "secret": {"secretName": secret}},
            {"name": "data", "emptyDir": {}},
        ],
    });
    if let Some(resources) = &spec.resources {
        container["resources"] = resources.clone();
    }
    if let Some(account) = &spec.service_account_name {
        pod["serviceAccountName"] = json!(account);
    }
    if let Some(context) = &spec.security_context {
        pod["securityContext"] = context.clone();
    }
    pod["containers"] = json!([container]);
    json!({
        "replicas": spec.replicas.unwrap_or(1),
        "serviceName": "alertmanager-operated",
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate"},
        "selector": {"matchLabels": labels(metadata)},
        "template": {"metadata": {"labels": labels(metadata)}, "spec": pod},
    })
}

fn probe(path: &str, failure_threshold: u32) -> Value {
    json!({
        "httpGet": {"path": path, "port": WEB_PORT, "scheme": "HTTP"},
        "periodSeconds": 5,
        "timeoutSeconds": 3,
        "failureThreshold": failure_threshold,
    })
}

fn arguments(spec: &AlertmanagerSpec) -> Vec<String> {
    let mut arguments = vec![
        format!("--config.file={CONFIG_DIRECTORY}/alertmanager.yaml"),
        format!("--storage.path={STORAGE_DIRECTORY}"),
        format!("--data.retention={}", spec.retention.as_deref().unwrap_or("120h")),
        // One copy has nobody to gossip with.
        "--cluster.listen-address=".to_owned(),
        format!("--web.listen-address=:{WEB_PORT}"),
        format!("--web.route-prefix={}", spec.route_prefix.as_deref().unwrap_or("/")),
    ];
    let optional =
        [("web.external-url", &spec.external_url), ("log.level", &spec.log_level), ("log.format", &spec.log_format)];
    arguments.extend(optional.iter().filter_map(|(name, value)| Some(format!("--{name}={}", value.as_ref()?))));
    arguments
}
