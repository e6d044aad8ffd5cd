//! What the operator makes of a Prometheus object: pure functions from objects to objects.

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::config::{RULES_DIRECTORY, configuration, rule_files};
use super::model::{Meta, Prometheus};
use super::store::Cluster;
use crate::yaml;

/// The image used where the Prometheus object names none.
pub const DEFAULT_IMAGE: &str = "quay.io/prometheus/prometheus:v3.5.3";

/// Rule files beyond this size are not mounted: a ConfigMap cannot hold more. (The real operator goes on in further
/// ConfigMaps.)
pub const RULE_FILES_BYTES_MAX: usize = 512 * 1024;

/// Where the configuration file is mounted.
pub const CONFIG_FILE: &str = "/etc/prometheus/config/prometheus.yaml";

/// What is wanted in the cluster for one Prometheus or Alertmanager object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Built {
    /// Objects to apply, in this order: what is mounted comes before what mounts it.
    pub objects: Vec<Value>,
    /// What was asked for and is not done.
    pub warnings: Vec<String>,
}

/// An object that others belong to, so that they go away with it.
pub(super) struct Owner<'a> {
    /// Its kind.
    pub(super) kind: &'static str,
    /// Its metadata.
    pub(super) meta: &'a Meta,
    /// The labels of what belongs to it.
    pub(super) labels: Value,
}

/// Builds all objects that belong to `prometheus`.
///
/// ```
/// use sim_controllers::prometheus_operator::{Cluster, build, model::Prometheus};
/// let prometheus: Prometheus = serde_json::from_str(
///     r#"{"metadata": {"name": "main", "namespace": "monitoring", "uid": "u"}, "spec": {"scrapeInterval": "15s"}}"#,
/// ).unwrap();
/// let kinds: Vec<_> = build(&prometheus, &Cluster::default()).objects.iter().map(|o| o["kind"].clone()).collect();
/// assert_eq!(kinds, ["Secret", "ConfigMap", "Service", "StatefulSet"]);
/// ```
pub fn build(prometheus: &Prometheus, cluster: &Cluster) -> Built {
    let mut warnings: Vec<String> =
        prometheus.spec.rest.keys().map(|field| format!("spec.{field} is not acted on")).collect();
    if prometheus.spec.replicas.is_some_and(|replicas| replicas > 1) {
        warnings.push(
            "spec.replicas above 1 share one configuration here: prometheus_replica is that of the first".to_owned(),
        );
    }
    let config = yaml::to_string(&configuration(prometheus, cluster, &mut warnings));
    let rules = rules(prometheus, cluster, &mut warnings);
    let owner = Owner { kind: "Prometheus", meta: &prometheus.metadata, labels: labels(prometheus) };
    let objects = vec![
        child(
            &owner,
            "v1",
            "Secret",
            &children_name(prometheus),
            json!({
                "data": {"prometheus.yaml": base64::engine::general_purpose::STANDARD.encode(config)},
            }),
        ),
        child(&owner, "v1", "ConfigMap", &rules_name(prometheus), json!({"data": rules})),
        child(
            &owner,
            "v1",
            "Service",
            "prometheus-operated",
            json!({
                "spec": {
                    "clusterIP": "None",
                    "selector": {"app.kubernetes.io/name": "prometheus"},
                    "ports": [{"name": "web", "port": 9090, "targetPort": "web", "protocol": "TCP"}],
                },
            }),
        ),
        child(&owner, "apps/v1", "StatefulSet", &children_name(prometheus), json!({"spec": stateful_set(prometheus)})),
    ];
    Built { objects, warnings }
}

/// The status written to an object of `kind`: whether all of it could be done.
pub(super) fn status(kind: &str, metadata: &Meta, warnings: &[String], failure: Option<&str>, now: &str) -> Value {
    let (state, reason, message) = match failure {
        Some(error) => ("False", "ReconciliationFailed", error.to_owned()),
        None if warnings.is_empty() => ("True", "", String::new()),
        None => ("True", "PartlySupported", warnings.join("; ")),
    };
    json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": kind,
        "metadata": {"name": metadata.name, "namespace": metadata.namespace},
        "status": {"conditions": [{
            "type": "Reconciled",
            "status": state,
            "reason": reason,
            "message": message,
            "observedGeneration": metadata.generation,
            "lastTransitionTime": now,
        }]},
    })
}

fn children_name(prometheus: &Prometheus) -> String {
    format!("prometheus-{}", prometheus.metadata.name)
}

fn rules_name(prometheus: &Prometheus) -> String {
    format!("prometheus-{}-rulefiles-0", prometheus.metadata.name)
}

fn rules(prometheus: &Prometheus, cluster: &Cluster, warnings: &mut Vec<String>) -> Map<String, Value> {
    let mut total_bytes = 0;
    let mut data = Map::new();
    for (name, file) in rule_files(prometheus, cluster) {
        let text = yaml::to_string(&file);
        if total_bytes + text.len() > RULE_FILES_BYTES_MAX {
            warnings.push(format!("rule file {name} is left out: more than {RULE_FILES_BYTES_MAX} bytes of rules"));
            continue;
        }
        total_bytes += text.len();
        data.insert(name, Value::String(text));
    }
    data
}

fn labels(prometheus: &Prometheus) -> Value {
    let name = &prometheus.metadata.name;
    json!({
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/managed-by": "prometheus-operator",
        "app.kubernetes.io/name": "prometheus",
        "operator.prometheus.io/name": name,
        "operator.prometheus.io/shard": "0",
        "prometheus": name,
    })
}

/// An object that belongs to another.
pub(super) fn child(owner: &Owner<'_>, api_version: &str, kind: &str, name: &str, body: Value) -> Value {
    let Owner { kind: owner_kind, meta, labels } = owner;
    let mut object = json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": meta.namespace,
            "labels": labels,
            "ownerReferences": [{
                "apiVersion": "monitoring.coreos.com/v1",
                "kind": owner_kind,
                "name": meta.name,
                "uid": meta.uid,
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
    });
    if let (Value::Object(object), Value::Object(body)) = (&mut object, body) {
        object.extend(body);
    }
    object
}

fn stateful_set(prometheus: &Prometheus) -> Value {
    let spec = &prometheus.spec;
    let labels = labels(prometheus);
    let mut container = json!({
        "name": "prometheus",
        "image": spec.image.as_deref().unwrap_or(DEFAULT_IMAGE),
        "args": arguments(prometheus),
        "ports": [{"name": "web", "containerPort": 9090, "protocol": "TCP"}],
        "readinessProbe": probe("/-/ready", 3),
        "livenessProbe": probe("/-/healthy", 6),
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/prometheus/config", "readOnly": true},
            {"name": "rules", "mountPath": RULES_DIRECTORY, "readOnly": true},
            {"name": "data", "mountPath": "/prometheus"},
        ],
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
    });
    let mut pod = json!({
        "terminationGracePeriodSeconds": 600,
        "volumes": [
            {"name": "config", "secret": {"secretName": children_name(prometheus)}},
            {"name": "rules", "configMap": {"name": rules_name(prometheus)}},
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
        "serviceName": "prometheus-operated",
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate"},
        "selector": {"matchLabels": {
            "app.kubernetes.io/instance": prometheus.metadata.name,
            "app.kubernetes.io/managed-by": "prometheus-operator",
            "app.kubernetes.io/name": "prometheus",
            "operator.prometheus.io/name": prometheus.metadata.name,
            "prometheus": prometheus.metadata.name,
        }},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    })
}

fn probe(path: &str, failure_threshold: u32) -> Value {
    json!({
        "httpGet": {"path": path, "port": 9090, "scheme": "HTTP"},
        "periodSeconds": 5,
        "timeoutSeconds": 3,
        "failureThreshold": failure_threshold,
    })
}

fn arguments(prometheus: &Prometheus) -> Vec<String> {
    let spec = &prometheus.spec;
    let mut arguments = vec![
        format!("--config.file={CONFIG_FILE}"),
        "--web.route-prefix=/".to_owned(),
        "--web.enable-lifecycle".to_owned(),
        "--storage.tsdb.path=/prometheus".to_owned(),
        format!("--storage.tsdb.retention.time={}", spec.retention.as_deref().unwrap_or("24h")),
    ];
    if spec.enable_otlp_receiver {
        arguments.push("--web.enable-otlp-receiver".to_owned());
    }
    if spec.enable_remote_write_receiver {
        arguments.push("--web.enable-remote-write-receiver".to_owned());
    }
    // The real operator runs a reloader beside Prometheus; Prometheus 3 can watch its own files.
    let mut features = spec.enable_features.clone();
    features.push("auto-reload-config".to_owned());
    features.sort();
    features.dedup();
    arguments.push(format!("--enable-feature={}", features.join(",")));
    arguments
}
