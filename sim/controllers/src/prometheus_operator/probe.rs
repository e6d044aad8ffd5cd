//! Probe objects: a prober is asked about targets, as the blackbox exporter is.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::config::relabel_configs;
use super::model::{Meta, RelabelConfig};

/// A `monitoring.coreos.com/v1` Probe.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Probe {
    /// The object's metadata.
    pub metadata: Meta,
    /// What is probed.
    pub spec: ProbeSpec,
}

/// The specification of a [`Probe`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProbeSpec {
    /// The label `job`; the job's own name without.
    pub job_name: Option<String>,
    /// Who is asked.
    pub prober: Prober,
    /// How it probes (its parameter `module`).
    pub module: Option<String>,
    /// What is probed.
    pub targets: ProbeTargets,
    /// Interval between probes.
    pub interval: Option<String>,
    /// Time-out of a probe.
    pub scrape_timeout: Option<String>,
    /// Relabelling of samples.
    pub metric_relabelings: Vec<RelabelConfig>,
    /// Limit of samples a probe.
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

/// Who probes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Prober {
    /// Its host and port.
    pub url: String,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Its path; `/probe` by default.
    pub path: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// What is probed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProbeTargets {
    /// Named targets.
    pub static_config: Option<StaticTargets>,
    /// Everything else: Ingresses.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// Targets by name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StaticTargets {
    /// The targets, in whatever form the prober understands.
    #[serde(rename = "static")]
    pub targets: Vec<String>,
    /// Labels of all of them.
    pub labels: BTreeMap<String, String>,
    /// Relabelling of targets.
    pub relabeling_configs: Vec<RelabelConfig>,
}

/// The scrape configuration of a probe; `None` with a warning where it asks for something that is not acted on.
pub(super) fn scrape_config(probe: &Probe, warnings: &mut Vec<String>) -> Option<Value> {
    let Probe { metadata: Meta { name, namespace, .. }, spec } = probe;
    let prober = spec.prober.rest.keys().map(|field| format!("prober.{field}"));
    let targets = spec.targets.rest.keys().map(|field| format!("targets.{field}"));
    let mut unknown: Vec<String> = spec.rest.keys().cloned().chain(prober).chain(targets).collect();
    if spec.prober.url.is_empty() {
        unknown.push("prober without url".to_owned());
    }
    if !unknown.is_empty() {
        warnings.push(format!("Probe {namespace}/{name} is left out: {} not supported", unknown.join(", ")));
        return None;
    }
    let job = format!("probe/{namespace}/{name}");
    let mut config = Map::new();
    let mut set = |name: &str, value: Value| {
        if !value.is_null() {
            config.insert(name.to_owned(), value);
        }
    };
    set("job_name", json!(job));
    set("honor_timestamps", json!(true));
    set("metrics_path", json!(spec.prober.path.as_deref().unwrap_or("/probe")));
    set("scheme", json!(spec.prober.scheme.as_deref().unwrap_or("http").to_ascii_lowercase()));
    set("scrape_interval", json!(spec.interval));
    set("scrape_timeout", json!(spec.scrape_timeout));
    set("params", json!(spec.module.as_ref().map(|module| json!({ "module": [module] }))));
    set("sample_limit", json!(spec.sample_limit));
    set("target_limit", json!(spec.target_limit));
    set("label_limit", json!(spec.label_limit));
    set("label_name_length_limit", json!(spec.label_name_length_limit));
    set("label_value_length_limit", json!(spec.label_value_length_limit));
    let targets = spec.targets.static_config.clone().unwrap_or_default();
    let mut labels = targets.labels;
    labels.entry("namespace".to_owned()).or_insert_with(|| namespace.clone());
    set("static_configs", json!([{ "targets": targets.targets, "labels": labels }]));
    // The target becomes a parameter and the instance; what is asked is the prober.
    let mut steps = vec![json!({ "target_label": "job", "replacement": spec.job_name.as_ref().unwrap_or(&job) })];
    steps.push(json!({ "source_labels": ["__address__"], "target_label": "__param_target" }));
    steps.push(json!({ "source_labels": ["__param_target"], "target_label": "instance" }));
    steps.push(json!({ "target_label": "__address__", "replacement": spec.prober.url }));
    if let Value::Array(own) = relabel_configs(&targets.relabeling_configs) {
        steps.extend(own);
    }
    set("relabel_configs", Value::Array(steps));
    if !spec.metric_relabelings.is_empty() {
        set("metric_relabel_configs", relabel_configs(&spec.metric_relabelings));
    }
    Some(Value::Object(config))
}
