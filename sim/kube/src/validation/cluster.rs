//! Small kinds of the cluster: budgets, autoscalers, leases, classes.

use serde_json::Value;

use super::{Errors, names, selector};
use crate::json;

/// Largest priority of a class that is not the system's.
const USER_PRIORITY_MAX: i64 = 1_000_000_000;
const SYSTEM_CLASSES: &[(&str, i64)] =
    &[("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
/// All parameters of a StorageClass, bytes.
const PARAMETERS_BYTES_MAX: usize = 256 << 10;
const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

pub(super) fn budget(object: &Value, errors: &mut Errors) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    if spec.get("minAvailable").is_some() && spec.get("maxUnavailable").is_some() {
        errors.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set");
    }
    for key in ["minAvailable", "maxUnavailable"] {
        errors.not_negative(spec, "spec", key);
        if let Some(text) = spec.get(key).and_then(Value::as_str) {
            let digits = text.strip_suffix('%').filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()));
            match digits.map(str::parse::<u64>) {
                None => errors.invalid_text(format!("spec.{key}"), text, PERCENT),
                Some(Ok(percent)) if percent <= 100 => {}
                Some(_) => errors.invalid_text(format!("spec.{key}"), text, "must not be greater than 100%"),
            }
        }
    }
    if let Some(given) = spec.get("selector") {
        selector::check(given, "spec.selector", errors);
    }
    errors.one_of(spec, "spec", "unhealthyPodEvictionPolicy", &["AlwaysAllow", "IfHealthyBudget"]);
}

pub(super) fn autoscaler(object: &Value, errors: &mut Errors) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let (least, most) = (spec.get("minReplicas"), spec.get("maxReplicas").cloned().unwrap_or(Value::from(0)));
    if let Some(least) = least.filter(|l| l.as_i64().is_some_and(|n| n < 1)) {
        errors.invalid("spec.minReplicas", least, "must be greater than or equal to 1");
    }
    if most.as_i64().is_none_or(|n| n < 1) {
        errors.invalid("spec.maxReplicas", &most, "must be greater than 0");
    }
    if least.and_then(Value::as_i64).is_some_and(|least| most.as_i64().unwrap_or(0) < least) {
        errors.invalid("spec.maxReplicas", &most, "must be greater than or equal to `minReplicas`");
    }
    for key in ["kind", "name"] {
        let (path, text) = (format!("spec.scaleTargetRef.{key}"), json::text(spec, &["scaleTargetRef", key]));
        if text.is_empty() {
            errors.required(path, "");
        } else {
            for why in names::path_segment(text) {
                errors.invalid_text(path.clone(), text, &why);
            }
        }
    }
    for (i, metric) in json::list(spec, &["metrics"]).iter().enumerate() {
        self::metric(metric, &format!("spec.metrics[{i}]"), errors);
    }
}

fn metric(metric: &Value, path: &str, errors: &mut Errors) {
    const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
    let kind = json::text(metric, &["type"]);
    if kind.is_empty() {
        errors.required(format!("{path}.type"), "must specify a metric source type");
    }
    if !TYPES.contains(&kind) {
        errors.unsupported(format!("{path}.type"), kind, TYPES);
        return;
    }
    let source = kind[..1].to_ascii_lowercase() + &kind[1..];
    let Some(given) = metric.get(&source).filter(|s| s.is_object()) else {
        return errors.required(format!("{path}.{source}"), "must populate information for the given metric source");
    };
    if source == "resource" || source == "containerResource" {
        if json::text(given, &["name"]).is_empty() {
            errors.required(format!("{path}.{source}.name"), "must specify a resource name");
        }
        let target = format!("{path}.{source}.target");
        let (use_of, value) =
            (json::at(given, &["target", "averageUtilization"]), json::at(given, &["target", "averageValue"]));
        match (use_of, value) {
            (None, None) => errors.required(
                format!("{target}.averageUtilization"),
                "must set either a target raw value or a target utilization",
            ),
            (Some(_), Some(_)) => errors.forbidden(
                format!("{target}.averageValue"),
                "may not set both a target raw value and a target utilization",
            ),
            (Some(n), None) if n.as_i64().is_some_and(|n| n < 1) => {
                errors.invalid(format!("{target}.averageUtilization"), n, "must be greater than 0");
            }
            _ => {}
        }
    }
}

pub(super) fn lease(object: &Value, errors: &mut Errors) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    if let Some(secs) = spec.get("leaseDurationSeconds").filter(|s| s.as_i64().is_some_and(|s| s <= 0)) {
        errors.invalid("spec.leaseDurationSeconds", secs, "must be greater than 0");
    }
    errors.not_negative(spec, "spec", "leaseTransitions");
    let strategy = json::text(spec, &["strategy"]);
    if !json::text(spec, &["preferredHolder"]).is_empty() && strategy.is_empty() {
        errors.forbidden("spec.preferredHolder", "may only be specified if `strategy` is defined");
    }
}

pub(super) fn storage_class(object: &Value, errors: &mut Errors) {
    let provisioner = json::text(object, &["provisioner"]);
    if provisioner.is_empty() {
        errors.required("provisioner", "");
    } else {
        for why in names::qualified(&provisioner.to_lowercase()) {
            errors.invalid_text("provisioner", provisioner, &why);
        }
    }
    let parameters = json::map(object, &["parameters"]);
    let mut bytes = 0;
    for (key, value) in parameters.into_iter().flatten() {
        if key.is_empty() {
            errors.invalid_text("parameters", key, "field can not be empty.");
        }
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > PARAMETERS_BYTES_MAX {
        errors.too_long("parameters", PARAMETERS_BYTES_MAX);
    }
    errors.one_of_at(object, "reclaimPolicy", &["Delete", "Retain"]);
    errors.one_of_at(object, "volumeBindingMode", &["Immediate", "WaitForFirstConsumer"]);
}

pub(super) fn storage_class_update(old: &Value, new: &Value, errors: &mut Errors) {
    for key in ["parameters", "provisioner", "reclaimPolicy"] {
        if old.get(key) != new.get(key) {
            errors.forbidden(key, &format!("updates to {key} are forbidden."));
        }
    }
    errors.fixed(old, new, &["volumeBindingMode"]);
}

pub(super) fn priority_class(object: &Value, errors: &mut Errors) {
    let (name, value) = (json::name(object), json::int(object, &["value"]).unwrap_or(0));
    if name.starts_with("system-") {
        let global = object.get("globalDefault") == Some(&Value::Bool(true));
        let problem = match SYSTEM_CLASSES.iter().find(|(known, _)| *known == name) {
            None => Some(format!("{name} is not a known system priority class")),
            Some((_, known)) if *known != value => Some(format!("value of {name} PriorityClass must be {known}")),
            Some(_) if global => Some(format!("globalDefault of {name} PriorityClass must be false")),
            Some(_) => None,
        };
        if let Some(problem) = problem {
            let why = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {problem}"
            );
            errors.forbidden("metadata.name", &why);
        }
    } else if value > USER_PRIORITY_MAX {
        errors.forbidden("value", &format!("maximum allowed value of a user defined priority is {USER_PRIORITY_MAX}"));
    }
    errors.one_of_at(object, "preemptionPolicy", &["Never", "PreemptLowerPriority"]);
}

pub(super) fn priority_class_update(old: &Value, new: &Value, errors: &mut Errors) {
    if old.get("value") != new.get("value") {
        errors.forbidden("value", "may not be changed in an update.");
    }
    errors.fixed(old, new, &["preemptionPolicy"]);
}
