//! ResourceQuota.

use serde_json::Value;

use super::Errors;
use crate::json;

const SCOPES: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
/// What scopes of pods may restrict.
const POD_RESOURCES: &[&str] =
    &["pods", "cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

pub(super) fn check(object: &Value, errors: &mut Errors) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let hard = json::map(spec, &["hard"]);
    for (resource, quantity) in hard.into_iter().flatten() {
        if quantity.as_str().is_some_and(|text| text.starts_with('-')) {
            errors.invalid(format!("spec.hard[{resource}]"), quantity, "must be greater than or equal to 0");
        }
    }
    let Some(shown) = spec.get("scopes") else { return };
    let given: Vec<&str> = json::list(spec, &["scopes"]).iter().filter_map(Value::as_str).collect();
    for scope in &given {
        if !SCOPES.contains(scope) {
            errors.invalid("spec.scopes", shown, "unsupported scope");
        }
        for (resource, _) in hard.into_iter().flatten() {
            let fits = match *scope {
                "BestEffort" => resource == "pods",
                "VolumeAttributesClass" => resource == "persistentvolumeclaims",
                _ => POD_RESOURCES.contains(&resource.as_str()),
            };
            // What is counted by a name with a slash is nobody's business here.
            if !fits && !resource.contains('/') {
                errors.invalid("spec.scopes", shown, "unsupported scope applied to resource");
            }
        }
    }
    for (one, other) in [("BestEffort", "NotBestEffort"), ("NotTerminating", "Terminating")] {
        if given.contains(&one) && given.contains(&other) {
            errors.invalid("spec.scopes", shown, "conflicting scopes");
        }
    }
}
