//! What may change of a pod through `pods/resize`: processor and memory of its containers.
//!
//! Source: <https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/>, "Limitations".

use serde_json::Value;

use super::Errors;
use crate::{engine::qos, json};

pub(super) fn update(old: &Value, new: &Value, errors: &mut Errors) {
    let class = qos(new);
    if qos(old) != class {
        errors.invalid_text("spec", class, "Pod QOS Class may not change as a result of resizing");
    }
    for list in ["containers", "initContainers"] {
        let pairs = json::list(old, &["spec", list]).iter().zip(json::list(new, &["spec", list]));
        for (at, (before, after)) in pairs.enumerate() {
            // Init containers are over by then, unless they go on beside the others.
            let mutable = list == "containers" || json::text(before, &["restartPolicy"]) == "Always";
            if !mutable && before.get("resources") != after.get("resources") {
                let why = "resources for non-sidecar init containers are immutable";
                errors.forbidden(format!("spec.{list}[{at}].resources"), why);
                continue;
            }
            for side in ["limits", "requests"] {
                let path = format!("spec.{list}[{at}].resources.{side}");
                self::side(
                    json::map(before, &["resources", side]),
                    json::map(after, &["resources", side]),
                    &path,
                    side,
                    errors,
                );
            }
        }
    }
}

type Resources<'a> = Option<&'a serde_json::Map<String, Value>>;

fn side(before: Resources<'_>, after: Resources<'_>, path: &str, side: &str, errors: &mut Errors) {
    let value = |of: Resources<'_>, name: &str| of.and_then(|of| of.get(name)).cloned();
    let names: std::collections::BTreeSet<&String> =
        before.into_iter().chain(after).flat_map(serde_json::Map::keys).collect();
    for name in names {
        let (had, has) = (value(before, name), value(after, name));
        if had == has {
            continue;
        }
        if !matches!(name.as_str(), "cpu" | "memory") {
            errors.forbidden(path, "only cpu and memory resources are mutable");
        } else if has.is_none() {
            errors.forbidden(path, &format!("resource {side} cannot be removed"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(before: &Value, after: &Value) -> Vec<String> {
        let pod = |resources: &Value| json!({"spec": {"containers": [{"name": "a", "resources": resources}]}});
        let mut errors = Errors::default();
        update(&pod(before), &pod(after), &mut errors);
        errors.into_causes().into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn processor_and_memory_may_change_within_the_class_and_nothing_else() {
        let small = json!({"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}});
        assert!(told(&small, &json!({"requests": {"cpu": "2"}, "limits": {"memory": "2Gi"}})).is_empty());
        assert_eq!(
            told(&small, &json!({"requests": {"cpu": "1"}})),
            ["spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed"]
        );
        assert_eq!(
            told(&small, &json!({"requests": {"cpu": "1", "x.y/z": "1"}, "limits": {"memory": "1Gi"}})),
            ["spec.containers[0].resources.requests: Forbidden: only cpu and memory resources are mutable"]
        );
        assert_eq!(
            told(&json!({}), &json!({"requests": {"cpu": "1"}})),
            ["spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing"]
        );
    }
}
