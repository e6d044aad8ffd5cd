//! The configuration file of a Prometheus, from its object and the monitors that it selects.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::alertmanager::alerting;
use super::model::{Endpoint, Prometheus, PrometheusRule, RelabelConfig, TlsConfig};
use super::probe;
use super::store::{Cluster, Kind};
use super::targets::{Target, discover, discover_pods};
use crate::selector::LabelSelector;

/// Where the rule files are mounted.
pub const RULES_DIRECTORY: &str = "/etc/prometheus/rules";

/// `prometheus.yaml` as a value. What was asked for and is left out is said in `warnings`.
pub fn configuration(prometheus: &Prometheus, cluster: &Cluster, warnings: &mut Vec<String>) -> Value {
    let spec = &prometheus.spec;
    let Prometheus { metadata, .. } = prometheus;
    let mut external_labels = BTreeMap::from([
        ("prometheus".to_owned(), format!("{}/{}", metadata.namespace, metadata.name)),
        ("prometheus_replica".to_owned(), format!("prometheus-{}-0", metadata.name)),
    ]);
    external_labels.extend(spec.external_labels.clone());

    let mut global = Map::new();
    global.insert("scrape_interval".to_owned(), json!(spec.scrape_interval.as_deref().unwrap_or("30s")));
    if let Some(timeout) = &spec.scrape_timeout {
        global.insert("scrape_timeout".to_owned(), json!(timeout));
    }
    global.insert("external_labels".to_owned(), json!(external_labels));
    global.insert("evaluation_interval".to_owned(), json!(spec.evaluation_interval.as_deref().unwrap_or("30s")));

    let mut root = Map::new();
    root.insert("global".to_owned(), Value::Object(global));
    root.insert("rule_files".to_owned(), json!([format!("{RULES_DIRECTORY}/*.yaml")]));
    root.insert("scrape_configs".to_owned(), scrape_configs(prometheus, cluster, warnings));
    let role = spec.service_discovery_role.unwrap_or_default();
    let alerting =
        spec.alerting.as_ref().and_then(|wanted| alerting(wanted, &metadata.namespace, role, cluster, warnings));
    if let Some(alerting) = alerting {
        root.insert("alerting".to_owned(), alerting);
    }
    if let Some(window) = &spec.tsdb.out_of_order_time_window {
        root.insert("storage".to_owned(), json!({"tsdb": {"out_of_order_time_window": window}}));
    }
    if let Some(otlp) = &spec.otlp {
        root.insert("otlp".to_owned(), snake_case_keys(otlp));
    }
    Value::Object(root)
}

/// Rule files by name: one a PrometheusRule that is selected.
pub fn rule_files(prometheus: &Prometheus, cluster: &Cluster) -> BTreeMap<String, Value> {
    let spec = &prometheus.spec;
    let namespaces = spec.rule_namespace_selector.as_ref();
    cluster
        .rules
        .values()
        .chain(cluster.vm_rules.values())
        .filter(|rule| {
            selects(
                cluster,
                spec.rule_selector.as_ref(),
                namespaces,
                prometheus,
                &rule.metadata.namespace,
                &rule.metadata.labels,
            )
        })
        .map(|PrometheusRule { metadata, spec }| {
            let name = format!("{}-{}-{}.yaml", metadata.namespace, metadata.name, metadata.uid);
            (name, json!({"groups": spec.groups}))
        })
        .collect()
}

/// Whether an object is selected: its labels by `selector` (absent: nothing), its namespace's labels by `namespaces`
/// (absent: only the Prometheus' own namespace).
fn selects(
    cluster: &Cluster,
    selector: Option<&LabelSelector>,
    namespaces: Option<&LabelSelector>,
    prometheus: &Prometheus,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> bool {
    let namespace_selected = match namespaces {
        None => namespace == prometheus.metadata.namespace,
        Some(selector) => cluster
            .namespaces
            .get(&(String::new(), namespace.to_owned()))
            .is_some_and(|namespace| selector.matches(&namespace.metadata.labels)),
    };
    namespace_selected && selector.is_some_and(|selector| selector.matches(labels))
}

fn scrape_configs(prometheus: &Prometheus, cluster: &Cluster, warnings: &mut Vec<String>) -> Value {
    let spec = &prometheus.spec;
    let namespaces = spec.service_monitor_namespace_selector.as_ref();
    let mut configs = Vec::new();
    let monitors = cluster.service_monitors.iter().map(|entry| ("ServiceMonitor", "serviceMonitor", entry));
    let scrapes = cluster.vm_service_scrapes.iter().map(|entry| ("VMServiceScrape", "serviceScrape", entry));
    for (kind, prefix, ((namespace, name), monitor)) in monitors.chain(scrapes) {
        let selector = spec.service_monitor_selector.as_ref();
        if !selects(cluster, selector, namespaces, prometheus, namespace, &monitor.metadata.labels) {
            continue;
        }
        for field in monitor.spec.rest.keys() {
            warnings.push(format!("{kind} {namespace}/{name}: spec.{field} is not acted on"));
        }
        let limits = Limits {
            samples: monitor.spec.sample_limit,
            targets: monitor.spec.target_limit,
            labels: monitor.spec.label_limit,
            label_name_length: monitor.spec.label_name_length_limit,
            label_value_length: monitor.spec.label_value_length_limit,
        };
        let role = spec.service_discovery_role.unwrap_or_default();
        for (index, endpoint) in monitor.spec.endpoints.iter().enumerate() {
            let place = Place { kind, prefix, namespace, name, index };
            if place.is_understood(endpoint, warnings) {
                let found = discover(cluster, role, monitor, endpoint);
                configs.push(scrape_config(prometheus, &place, endpoint, &limits, found));
            }
        }
    }
    let namespaces = spec.pod_monitor_namespace_selector.as_ref();
    for ((namespace, name), monitor) in &cluster.pod_monitors {
        let selector = spec.pod_monitor_selector.as_ref();
        if !selects(cluster, selector, namespaces, prometheus, namespace, &monitor.metadata.labels) {
            continue;
        }
        for field in monitor.spec.rest.keys() {
            warnings.push(format!("PodMonitor {namespace}/{name}: spec.{field} is not acted on"));
        }
        let limits = Limits {
            samples: monitor.spec.sample_limit,
            targets: monitor.spec.target_limit,
            labels: monitor.spec.label_limit,
            label_name_length: monitor.spec.label_name_length_limit,
            label_value_length: monitor.spec.label_value_length_limit,
        };
        for (index, endpoint) in monitor.spec.pod_metrics_endpoints.iter().enumerate() {
            let place = Place { kind: "PodMonitor", prefix: "podMonitor", namespace, name, index };
            if place.is_understood(endpoint, warnings) {
                let found = discover_pods(cluster, monitor, endpoint);
                configs.push(scrape_config(prometheus, &place, endpoint, &limits, found));
            }
        }
    }
    let namespaces = spec.probe_namespace_selector.as_ref();
    for ((namespace, _), probe) in &cluster.probes {
        let selector = spec.probe_selector.as_ref();
        if selects(cluster, selector, namespaces, prometheus, namespace, &probe.metadata.labels) {
            configs.extend(probe::scrape_config(probe, warnings));
        }
    }
    let rejected = |kind| cluster.rejected.iter().filter(move |((of, _), _)| *of == kind);
    let kinds = [
        Kind::ServiceMonitor,
        Kind::PodMonitor,
        Kind::Probe,
        Kind::PrometheusRule,
        Kind::VMServiceScrape,
        Kind::VMRule,
    ];
    let rejected = kinds.into_iter().flat_map(rejected);
    for ((kind, (namespace, name)), why) in rejected {
        warnings.push(format!("{kind:?} {namespace}/{name} is rejected: {why}"));
    }
    Value::Array(configs)
}

/// Limits of a monitor.
struct Limits {
    samples: Option<u64>,
    targets: Option<u64>,
    labels: Option<u64>,
    label_name_length: Option<u64>,
    label_value_length: Option<u64>,
}

/// An endpoint of a monitor.
struct Place<'a> {
    kind: &'static str,
    /// What its job's name starts with.
    prefix: &'static str,
    namespace: &'a str,
    name: &'a str,
    index: usize,
}

impl Place<'_> {
    /// Whether everything that the endpoint asks for is acted on; a warning where it is not.
    fn is_understood(&self, endpoint: &Endpoint, warnings: &mut Vec<String>) -> bool {
        let tls = endpoint.tls_config.iter().flat_map(|tls| tls.rest.keys().map(|field| format!("tlsConfig.{field}")));
        let unknown: Vec<String> = endpoint.rest.keys().cloned().chain(tls).collect();
        if unknown.is_empty() {
            return true;
        }
        // Scraping without, say, the credentials asked for would be worse than not scraping.
        let Self { kind, namespace, name, index, .. } = self;
        let fields = unknown.join(", ");
        warnings.push(format!("{kind} {namespace}/{name}: endpoint {index} is left out: {fields} not supported"));
        false
    }
}

fn scrape_config(
    prometheus: &Prometheus,
    place: &Place<'_>,
    endpoint: &Endpoint,
    limits: &Limits,
    targets: Vec<Target>,
) -> Value {
    let mut config = Map::new();
    let mut set = |name: &str, value: Value| {
        if !value.is_null() {
            config.insert(name.to_owned(), value);
        }
    };
    let Place { prefix, namespace, name, index, .. } = place;
    set("job_name", json!(format!("{prefix}/{namespace}/{name}/{index}")));
    set("honor_labels", json!(endpoint.honor_labels && !prometheus.spec.override_honor_labels));
    set("honor_timestamps", json!(endpoint.honor_timestamps));
    set("scrape_interval", json!(endpoint.interval));
    set("scrape_timeout", json!(endpoint.scrape_timeout));
    set("metrics_path", json!(endpoint.path.as_deref().unwrap_or("/metrics")));
    set("params", json!(endpoint.params));
    // The API server takes either case (HTTP, http); the configuration file only one.
    set("scheme", json!(endpoint.scheme.as_deref().unwrap_or("http").to_ascii_lowercase()));
    set("follow_redirects", json!(endpoint.follow_redirects));
    if let Some(tls) = &endpoint.tls_config {
        set("tls_config", tls_config(tls));
    }
    if let Some(file) = &endpoint.bearer_token_file {
        set("authorization", json!({"type": "Bearer", "credentials_file": file}));
    }
    set("sample_limit", json!(limits.samples));
    set("target_limit", json!(limits.targets));
    set("label_limit", json!(limits.labels));
    set("label_name_length_limit", json!(limits.label_name_length));
    set("label_value_length_limit", json!(limits.label_value_length));

    let with_meta = !endpoint.relabelings.is_empty();
    let group = |Target { address, mut labels, meta }: Target| {
        if with_meta {
            labels.extend(meta);
        }
        json!({"targets": [address], "labels": labels})
    };
    let groups: Vec<Value> = targets.into_iter().map(group).collect();
    set("static_configs", Value::Array(groups));
    if !endpoint.relabelings.is_empty() {
        set("relabel_configs", relabel_configs(&endpoint.relabelings));
    }
    if !endpoint.metric_relabelings.is_empty() {
        set("metric_relabel_configs", relabel_configs(&endpoint.metric_relabelings));
    }
    Value::Object(config)
}

/// `tls_config` of files.
pub(super) fn tls_config(tls: &TlsConfig) -> Value {
    let mut tls_config = Map::new();
    let files = [
        ("ca_file", &tls.ca_file),
        ("cert_file", &tls.cert_file),
        ("key_file", &tls.key_file),
        ("server_name", &tls.server_name),
    ];
    for (field, value) in files.into_iter().filter_map(|(field, value)| Some((field, value.as_ref()?))) {
        tls_config.insert(field.to_owned(), json!(value));
    }
    if let Some(skip) = tls.insecure_skip_verify {
        tls_config.insert("insecure_skip_verify".to_owned(), json!(skip));
    }
    Value::Object(tls_config)
}

pub(super) fn relabel_configs(steps: &[RelabelConfig]) -> Value {
    let step = |step: &RelabelConfig| {
        let mut config = Map::new();
        let mut set = |name: &str, value: Value| {
            if !value.is_null() {
                config.insert(name.to_owned(), value);
            }
        };
        if !step.source_labels.is_empty() {
            set("source_labels", json!(step.source_labels));
        }
        set("separator", json!(step.separator));
        set("target_label", json!(step.target_label));
        set("regex", json!(step.regex));
        set("modulus", json!(step.modulus));
        set("replacement", json!(step.replacement));
        set("action", json!(step.action.as_ref().map(|action| action.to_ascii_lowercase())));
        Value::Object(config)
    };
    steps.iter().map(step).collect()
}

/// `translationStrategy` -> `translation_strategy`, on the top level only.
fn snake_case_keys(value: &Value) -> Value {
    let Value::Object(map) = value else { return value.clone() };
    let snake = |key: &String| {
        key.chars().fold(String::new(), |mut out, c| {
            if c.is_ascii_uppercase() {
                out.push('_');
            }
            out.push(c.to_ascii_lowercase());
            out
        })
    };
    map.iter().map(|(key, value)| (snake(key), value.clone())).collect()
}
