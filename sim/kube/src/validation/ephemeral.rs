//! Containers that join a pod to look at it.
//!
//! Source: the documentation of ephemeral containers; texts as `kubectl debug` shows them.

use serde_json::Value;

use super::{Errors, names, pod};
use crate::json;

/// What such a container cannot have.
const FORBIDDEN: [&str; 6] = ["lifecycle", "livenessProbe", "ports", "readinessProbe", "resources", "startupProbe"];

pub(super) fn check(spec: &Value, errors: &mut Errors) {
    let joined = json::list(spec, &["ephemeralContainers"]);
    if joined.is_empty() {
        return;
    }
    // What is wrong with the volumes is told with the pod.
    let volumes = pod::volumes(spec, "spec", &mut Errors::default());
    let own = || ["containers", "initContainers"].into_iter().flat_map(|list| json::list(spec, &[list]));
    for (i, container) in joined.iter().enumerate() {
        let here = format!("spec.ephemeralContainers[{i}]");
        let name = json::text(container, &["name"]);
        if name.is_empty() {
            errors.required(format!("{here}.name"), "");
        }
        for why in names::label(name).into_iter().filter(|_| !name.is_empty()) {
            errors.invalid_text(format!("{here}.name"), name, &why);
        }
        if own().chain(&joined[..i]).any(|other| json::text(other, &["name"]) == name) {
            errors.duplicate(format!("{here}.name"), name);
        }
        pod::container(container, &here, &volumes, false, errors);
        let target = json::text(container, &["targetContainerName"]);
        if !target.is_empty() && !own().any(|other| json::text(other, &["name"]) == target) {
            errors.not_found(format!("{here}.targetContainerName"), target);
        }
        for field in FORBIDDEN {
            let set = container.get(field).is_some_and(|value| match value {
                Value::Null => false,
                Value::Object(map) => !map.is_empty(),
                Value::Array(list) => !list.is_empty(),
                _ => true,
            });
            if set {
                errors.forbidden(format!("{here}.{field}"), "cannot be set for an Ephemeral Container");
            }
        }
    }
}

/// They come and stay as they are.
pub(super) fn update(old: &Value, new: &Value, errors: &mut Errors) {
    let of = |pod: &Value| json::list(pod, &["spec", "ephemeralContainers"]).to_vec();
    let after = of(new);
    for before in of(old) {
        let name = json::text(&before, &["name"]);
        match after.iter().find(|container| json::text(container, &["name"]) == name) {
            None => {
                let why = format!("existing ephemeral containers {name:?} may not be removed\n");
                errors.forbidden("spec.ephemeralContainers", &why);
            }
            Some(now) if *now != before => {
                let why = format!("existing ephemeral containers {name:?} may not be changed\n");
                errors.forbidden("spec.ephemeralContainers", &why);
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(look: impl Fn(&mut Errors)) -> Vec<String> {
        let mut errors = Errors::default();
        look(&mut errors);
        errors.into_causes().into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn an_ephemeral_container_has_a_name_of_its_own_and_nothing_that_others_wait_for() {
        let spec = json!({"containers": [{"name": "main", "image": "i"}], "ephemeralContainers": [
            {"name": "good", "image": "i", "targetContainerName": "main", "stdin": true},
            {"name": "main", "image": "i"},
            {"name": "bad", "image": "i", "targetContainerName": "none", "ports": [{"containerPort": 1}], "resources": {}}]});
        assert_eq!(
            told(|errors| check(&spec, errors)),
            [
                "spec.ephemeralContainers[1].name: Duplicate value: \"main\"",
                "spec.ephemeralContainers[2].targetContainerName: Not found: \"none\"",
                "spec.ephemeralContainers[2].ports: Forbidden: cannot be set for an Ephemeral Container",
            ]
        );
    }

    #[test]
    fn what_joined_a_pod_stays_as_it_is() {
        let pod = |image: &str| json!({"spec": {"ephemeralContainers": [{"name": "a", "image": image}]}});
        assert!(told(|errors| update(&json!({}), &pod("i"), errors)).is_empty());
        assert!(told(|errors| update(&pod("i"), &pod("i"), errors)).is_empty());
        let changed = told(|errors| update(&pod("i"), &pod("j"), errors));
        assert!(
            changed[0].ends_with("Forbidden: existing ephemeral containers \"a\" may not be changed\n"),
            "{changed:?}"
        );
        let removed = told(|errors| update(&pod("i"), &json!({}), errors));
        assert!(removed[0].contains("may not be removed"), "{removed:?}");
    }
}
