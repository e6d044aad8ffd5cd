//! Deployment, ReplicaSet, StatefulSet, DaemonSet, ReplicationController.

use serde_json::Value;

use super::{Errors, metadata, pod, storage};
use crate::{json, selectors::LabelSelector};

pub(super) fn check(kind: &str, object: &Value, errors: &mut Errors) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    if kind != "DaemonSet" {
        errors.not_negative(spec, "spec", "replicas");
    }
    let selector = LabelSelector::from_object(spec.get("selector"));
    let labels = json::map(spec, &["template", "metadata", "labels"]);
    match &selector {
        None => errors.required("spec.selector", ""),
        Some(chosen) if chosen.is_empty() => {
            // The real server says "deployment" of ReplicaSets too.
            let said = match kind {
                "StatefulSet" => "statefulset",
                "DaemonSet" => "daemonset",
                _ => "deployment",
            };
            let shown = spec.get("selector").unwrap_or(&Value::Null);
            errors.invalid("spec.selector", shown, &format!("empty selector is invalid for {said}"));
        }
        Some(_) => {}
    }
    if let Some(given) = spec.get("selector") {
        super::selector::check(given, "spec.selector", errors);
    }
    match kind {
        "Deployment" => deployment(spec, errors),
        "StatefulSet" => stateful_set(spec, errors),
        _ => {}
    }
    errors.not_negative(spec, "spec", "minReadySeconds");
    errors.not_negative(spec, "spec", "revisionHistoryLimit");
    if selector.is_some_and(|s| !s.is_empty() && !s.matches_labels(labels)) {
        let shown = labels.map_or(Value::Null, |l| Value::Object(l.clone()));
        errors.invalid("spec.template.metadata.labels", &shown, "`selector` does not match template `labels`");
    }
    metadata::labels(json::at(spec, &["template", "metadata", "labels"]), "spec.template.labels", errors);
    let owner = if kind == "StatefulSet" { pod::Owner::StatefulSet } else { pod::Owner::Workload };
    let inner = json::at(spec, &["template", "spec"]).unwrap_or(&Value::Null);
    pod::check(inner, "spec.template.spec", owner, errors);
}

pub(super) fn replication_controller(object: &Value, errors: &mut Errors) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    errors.not_negative(spec, "spec", "minReadySeconds");
    let selector = json::map(spec, &["selector"]).filter(|labels| !labels.is_empty());
    if selector.is_none() {
        errors.required("spec.selector", "");
    }
    errors.not_negative(spec, "spec", "replicas");
    let Some(template) = spec.get("template").filter(|t| t.is_object()) else {
        return errors.required("spec.template", "");
    };
    let labels = json::map(template, &["metadata", "labels"]);
    if selector.is_some() && !LabelSelector::from_map(selector).matches_labels(labels) {
        let shown = labels.map_or(Value::Null, |l| Value::Object(l.clone()));
        errors.invalid("spec.template.metadata.labels", &shown, "`selector` does not match template `labels`");
    }
    metadata::labels(json::at(template, &["metadata", "labels"]), "spec.template.labels", errors);
    let inner = template.get("spec").unwrap_or(&Value::Null);
    pod::check(inner, "spec.template.spec", pod::Owner::Workload, errors);
}

fn is_zero(value: Option<&Value>) -> bool {
    value.is_some_and(|v| v.as_i64() == Some(0) || matches!(v.as_str(), Some("0%" | "0")))
}

fn deployment(spec: &Value, errors: &mut Errors) {
    let strategy = spec.get("strategy").unwrap_or(&Value::Null);
    let rolling = strategy.get("rollingUpdate").filter(|r| r.is_object());
    match (json::text(strategy, &["type"]), rolling) {
        ("Recreate", Some(_)) => {
            errors.forbidden("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'");
        }
        ("RollingUpdate", Some(rolling)) => {
            let (missing, more) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
            if is_zero(missing) && is_zero(more) {
                errors.invalid(
                    "spec.strategy.rollingUpdate.maxUnavailable",
                    missing.unwrap_or(&Value::Null),
                    "may not be 0 when `maxSurge` is 0",
                );
            }
        }
        _ => {}
    }
    errors.one_of(strategy, "spec.strategy", "type", &["Recreate", "RollingUpdate"]);
    if let Some(deadline) = json::int(spec, &["progressDeadlineSeconds"])
        && deadline <= json::int(spec, &["minReadySeconds"]).unwrap_or(0)
    {
        let shown = Value::from(deadline);
        errors.invalid("spec.progressDeadlineSeconds", &shown, "must be greater than minReadySeconds");
    }
}

fn stateful_set(spec: &Value, errors: &mut Errors) {
    errors.one_of(spec, "spec", "podManagementPolicy", &["OrderedReady", "Parallel"]);
    let strategy = spec.get("updateStrategy").unwrap_or(&Value::Null);
    errors.one_of(strategy, "spec.updateStrategy", "type", &["OnDelete", "RollingUpdate"]);
    for (i, claim) in json::list(spec, &["volumeClaimTemplates"]).iter().enumerate() {
        let path = format!("spec.volumeClaimTemplates[{i}].spec");
        storage::claim_spec(claim.get("spec").unwrap_or(&Value::Null), &path, errors);
    }
}

pub(super) fn stateful_set_update(old: &Value, new: &Value, errors: &mut Errors) {
    let frozen = |o: &Value| {
        let mut spec = o.get("spec").cloned().unwrap_or(Value::Null);
        let map = json::ensure_map(&mut spec);
        for key in [
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        ] {
            map.shift_remove(key);
        }
        spec
    };
    if frozen(old) != frozen(new) {
        errors.forbidden("spec", "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
    }
}
