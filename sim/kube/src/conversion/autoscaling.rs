//! HorizontalPodAutoscalers: autoscaling/v1 and autoscaling/v2.
//!
//! v1 has one number for the utilisation of the processor. Other metrics, the behaviour and the conditions are kept in
//! annotations in v1's own form of them, so that a client of v1 that writes back what it read loses nothing.
//! Source: the types of `autoscaling/v1`, whose comments say which annotation holds what.

use serde_json::{Map, Value, json};

use crate::{decoding, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// What of a metric stands beside its numbers, by kind of metric: v1's name and v2's path.
type Names = &'static [(&'static str, &'static [&'static str])];

/// One kind of metric in both forms. The numbers are v1's names for v2's `value`, `averageValue`, `averageUtilization`.
struct Source {
    /// `type` of the metric.
    kind: &'static str,
    /// Its key.
    key: &'static str,
    names: Names,
    /// Of what is wanted.
    wanted: [Option<&'static str>; 3],
    /// Of what is observed.
    observed: [Option<&'static str>; 3],
}

/// v2's names of the numbers, and the `type` of a target that has one.
const NUMBERS: [(&str, &str); 3] =
    [("value", "Value"), ("averageValue", "AverageValue"), ("averageUtilization", "Utilization")];

const SOURCES: &[Source] = &[
    Source {
        kind: "Resource",
        key: "resource",
        names: &[("name", &["name"])],
        wanted: [None, Some("targetAverageValue"), Some("targetAverageUtilization")],
        observed: [None, Some("currentAverageValue"), Some("currentAverageUtilization")],
    },
    Source {
        kind: "ContainerResource",
        key: "containerResource",
        names: &[("name", &["name"]), ("container", &["container"])],
        wanted: [None, Some("targetAverageValue"), Some("targetAverageUtilization")],
        observed: [None, Some("currentAverageValue"), Some("currentAverageUtilization")],
    },
    Source {
        kind: "Pods",
        key: "pods",
        names: &[("metricName", &["metric", "name"]), ("selector", &["metric", "selector"])],
        wanted: [None, Some("targetAverageValue"), None],
        observed: [None, Some("currentAverageValue"), None],
    },
    Source {
        kind: "Object",
        key: "object",
        names: &[
            ("target", &["describedObject"]),
            ("metricName", &["metric", "name"]),
            ("selector", &["metric", "selector"]),
        ],
        wanted: [Some("targetValue"), Some("averageValue"), None],
        observed: [Some("currentValue"), Some("averageValue"), None],
    },
    Source {
        kind: "External",
        key: "external",
        names: &[("metricName", &["metric", "name"]), ("metricSelector", &["metric", "selector"])],
        wanted: [Some("targetValue"), Some("targetAverageValue"), None],
        observed: [Some("currentValue"), Some("currentAverageValue"), None],
    },
];

/// Whether a metric is of `spec` or of `status`.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Wanted,
    Observed,
}

impl Side {
    /// Where v2 keeps the numbers.
    fn numbers_key(self) -> &'static str {
        if self == Self::Wanted { "target" } else { "current" }
    }

    fn of(self, source: &Source) -> [Option<&'static str>; 3] {
        if self == Self::Wanted { source.wanted } else { source.observed }
    }
}

fn source_of(metric: &Value) -> Option<&'static Source> {
    let kind = json::text(metric, &["type"]);
    SOURCES.iter().find(|source| source.kind == kind)
}

/// A metric of v2 in v1's form.
fn old_metric(metric: &Value, side: Side) -> Value {
    let Some(source) = source_of(metric) else { return metric.clone() };
    let mut inner = Map::new();
    for (old, new) in source.names {
        let path: Vec<&str> = std::iter::once(source.key).chain(new.iter().copied()).collect();
        if let Some(value) = json::at(metric, &path) {
            inner.insert((*old).to_owned(), value.clone());
        }
    }
    for (old, (new, _)) in side.of(source).iter().zip(NUMBERS) {
        if let (Some(old), Some(value)) = (old, json::at(metric, &[source.key, side.numbers_key(), new])) {
            inner.insert((*old).to_owned(), value.clone());
        }
    }
    json!({"type": source.kind, source.key: inner})
}

/// A metric of v1 in v2's form.
fn new_metric(metric: &Value, side: Side) -> Value {
    let source = source_of(metric).filter(|source| metric.get(source.key).is_none_or(Value::is_object));
    let Some(source) = source else { return metric.clone() };
    let mut inner = json!({});
    for (old, new) in source.names {
        let Some(value) = json::at(metric, &[source.key, old]) else { continue };
        match new {
            [one] => inner[*one] = value.clone(),
            path => {
                let place = path.iter().fold(&mut inner, |at, key| &mut at[*key]);
                *place = value.clone();
            }
        }
    }
    let mut numbers = json!({});
    for (old, (new, kind)) in side.of(source).iter().zip(NUMBERS) {
        let Some(value) = old.and_then(|old| json::at(metric, &[source.key, old])) else { continue };
        numbers[new] = value.clone();
        if side == Side::Wanted {
            numbers["type"] = kind.into();
        }
    }
    inner[side.numbers_key()] = numbers;
    json!({"type": source.kind, source.key: inner})
}

/// The processor's utilisation, if that is what a metric is about.
fn cpu(metric: &Value, side: Side) -> Option<&Value> {
    let about_cpu = json::text(metric, &["type"]) == "Resource" && json::text(metric, &["resource", "name"]) == "cpu";
    json::at(metric, &["resource", side.numbers_key(), "averageUtilization"]).filter(|_| about_cpu)
}

fn note(object: &mut Value, annotation: &str, value: &Value) {
    let annotations = json::child_map(json::child_map_value(object, "metadata"), "annotations");
    annotations.insert(annotation.to_owned(), value.to_string().into());
}

/// Takes an annotation out and reads it as what `convert` makes of it, at `part.field` of v2. One that is no JSON or not of that
/// type is gone without effect, as in the real conversion.
fn noted(
    object: &mut Value,
    annotation: &str,
    [part, field]: [&str; 2],
    convert: impl Fn(Value) -> Value,
) -> Option<Value> {
    let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)?;
    let text = annotations.shift_remove(annotation)?;
    if annotations.is_empty() {
        json::child_map(object, "metadata").shift_remove("annotations");
    }
    let read: Value = serde_json::from_str(text.as_str()?).ok()?;
    let mut whole = json!({part: {field: convert(read)}});
    let structure = sim_kube_schemas::kind("autoscaling", "v2", "HorizontalPodAutoscaler")?;
    decoding::decode(&mut whole, structure).ok()?;
    take(&mut whole, part, field).filter(|found| !found.is_null())
}

/// Every metric of a list in v2's form.
fn new_metrics(metrics: Value, side: Side) -> Value {
    match metrics {
        Value::Array(items) => items.iter().map(|metric| new_metric(metric, side)).collect(),
        other => other,
    }
}

fn take(object: &mut Value, part: &str, field: &str) -> Option<Value> {
    object.get_mut(part).and_then(Value::as_object_mut)?.shift_remove(field)
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// v2 to v1.
pub(super) fn outward(object: &mut Value) {
    let metrics = list(take(object, "spec", "metrics"));
    if let Some(share) = metrics.iter().find_map(|m| cpu(m, Side::Wanted)) {
        object["spec"]["targetCPUUtilizationPercentage"] = share.clone();
    }
    let others: Vec<Value> = metrics
        .iter()
        .filter(|m| cpu(m, Side::Wanted).is_none())
        .map(|metric| old_metric(metric, Side::Wanted))
        .collect();
    if !others.is_empty() {
        note(object, METRICS, &others.into());
    }
    if let Some(behavior) = take(object, "spec", "behavior") {
        note(object, BEHAVIOR, &behavior);
    }
    let current = list(take(object, "status", "currentMetrics"));
    if let Some(share) = current.iter().filter_map(|m| cpu(m, Side::Observed)).next_back() {
        object["status"]["currentCPUUtilizationPercentage"] = share.clone();
    }
    if !current.is_empty() {
        // All of them, the processor's too: v1 has no place for its raw value.
        let current: Vec<Value> = current.iter().map(|metric| old_metric(metric, Side::Observed)).collect();
        note(object, CURRENT_METRICS, &current.into());
    }
    let conditions = list(take(object, "status", "conditions"));
    if !conditions.is_empty() {
        note(object, CONDITIONS, &conditions.into());
    }
}

/// v1 to v2.
pub(super) fn inward(object: &mut Value) {
    let mut metrics = list(noted(object, METRICS, ["spec", "metrics"], |m| new_metrics(m, Side::Wanted)));
    if let Some(share) = take(object, "spec", "targetCPUUtilizationPercentage").filter(|s| !s.is_null()) {
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": share}}}));
    }
    if !metrics.is_empty() {
        json::child_map(object, "spec").insert("metrics".to_owned(), metrics.into());
    }
    if let Some(behavior) = noted(object, BEHAVIOR, ["spec", "behavior"], |b| b) {
        json::child_map(object, "spec").insert("behavior".to_owned(), behavior);
    }
    let share = take(object, "status", "currentCPUUtilizationPercentage").filter(|s| !s.is_null());
    let current = ["status", "currentMetrics"];
    let mut current = list(noted(object, CURRENT_METRICS, current, |m| new_metrics(m, Side::Observed)));
    if let Some(share) = share.filter(|_| current.is_empty()) {
        current
            .push(json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": share}}}));
    }
    if !current.is_empty() {
        json::child_map(object, "status").insert("currentMetrics".to_owned(), current.into());
    }
    let conditions = list(noted(object, CONDITIONS, ["status", "conditions"], |c| c));
    if !conditions.is_empty() {
        json::child_map(object, "status").insert("conditions".to_owned(), conditions.into());
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
