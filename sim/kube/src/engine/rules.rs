//! What is checked and kept on writes: names, immutable fields, status on creation, generation.

use serde_json::{Value, json};

use crate::{json, resources::ResourceType, status::Cause};

/// Longest name of most objects.
const NAME_CHARS_MAX: usize = 253;
/// Longest name of a Service or Namespace (a DNS label).
const LABEL_CHARS_MAX: usize = 63;

fn is_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.chars().all(inner) && edge(name.chars().next()) && edge(name.chars().last())
}

/// Checks `metadata` of an object to be stored.
pub(super) fn metadata(resource: &ResourceType, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = json::name(object);
    let free = resource.group == "rbac.authorization.k8s.io";
    if name.is_empty() {
        causes.push(Cause::new(
            "FieldValueRequired",
            "metadata.name",
            "Required value: name or generateName is required",
        ));
    } else if free {
        if name.contains('/') || name.contains('%') || name == "." || name == ".." {
            causes.push(Cause::new(
                "FieldValueInvalid",
                "metadata.name",
                format!("Invalid value: \"{name}\": may not contain '/'"),
            ));
        }
    } else if matches!(resource.kind.as_str(), "Service" | "Namespace") {
        if name.len() > LABEL_CHARS_MAX || !is_label(name) {
            causes.push(Cause::new("FieldValueInvalid", "metadata.name", format!("Invalid value: \"{name}\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')")));
        }
    } else if name.len() > NAME_CHARS_MAX || !name.split('.').all(is_label) {
        causes.push(Cause::new("FieldValueInvalid", "metadata.name", format!("Invalid value: \"{name}\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')")));
    }
    for (key, value) in json::map(object, &["metadata", "labels"]).into_iter().flatten() {
        let text = value.as_str().unwrap_or("");
        if text.len() > LABEL_CHARS_MAX {
            causes.push(Cause::new(
                "FieldValueInvalid",
                "metadata.labels",
                format!("Invalid value: \"{text}\": must be no more than 63 bytes"),
            ));
        } else if !value.is_string() || !text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            causes.push(Cause::new("FieldValueInvalid", "metadata.labels", format!("Invalid value: \"{text}\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (label {key})")));
        }
    }
    for (i, owner) in json::list(object, &["metadata", "ownerReferences"]).iter().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if json::text(owner, &[field]).is_empty() {
                causes.push(Cause::new(
                    "FieldValueInvalid",
                    format!("metadata.ownerReferences[{i}].{field}"),
                    format!("Invalid value: \"\": {field} must not be empty"),
                ));
            }
        }
    }
    causes
}

/// Checks the content of a built-in kind.
pub(super) fn content(resource: &ResourceType, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    match resource.kind.as_str() {
        "Deployment" | "ReplicaSet" | "StatefulSet" => {
            match crate::selectors::LabelSelector::from_object(json::at(object, &["spec", "selector"])) {
                None => causes.push(Cause::new("FieldValueRequired", "spec.selector", "Required value")),
                Some(selector) => {
                    let labels = json::map(object, &["spec", "template", "metadata", "labels"]);
                    if selector.is_empty() {
                        causes.push(Cause::new(
                            "FieldValueInvalid",
                            "spec.selector",
                            "Invalid value: {}: empty selector is invalid for deployment",
                        ));
                    } else if !selector.matches_labels(labels) {
                        let shown = labels.map_or_else(|| "null".to_owned(), |l| Value::Object(l.clone()).to_string());
                        causes.push(Cause::new(
                            "FieldValueInvalid",
                            "spec.template.metadata.labels",
                            format!("Invalid value: {shown}: `selector` does not match template `labels`"),
                        ));
                    }
                }
            }
            if json::int(object, &["spec", "replicas"]).is_none_or(|n| n < 0) {
                causes.push(Cause::new(
                    "FieldValueInvalid",
                    "spec.replicas",
                    "Invalid value: must be greater than or equal to 0",
                ));
            }
            if let Some(spec) = json::at(object, &["spec", "template", "spec"]) {
                pod(spec, "spec.template.spec", &mut causes);
            } else {
                causes.push(Cause::new("FieldValueRequired", "spec.template.spec.containers", "Required value"));
            }
        }
        "Pod" => match object.get("spec") {
            Some(spec) => pod(spec, "spec", &mut causes),
            None => causes.push(Cause::new("FieldValueRequired", "spec.containers", "Required value")),
        },
        "Service" => {
            let external = json::text(object, &["spec", "type"]) == "ExternalName";
            let headless = json::text(object, &["spec", "clusterIP"]) == "None";
            let ports = json::list(object, &["spec", "ports"]);
            if ports.is_empty() && !external && !headless {
                causes.push(Cause::new("FieldValueRequired", "spec.ports", "Required value"));
            }
            for (i, port) in ports.iter().enumerate() {
                if ports.len() > 1 && json::text(port, &["name"]).is_empty() {
                    causes.push(Cause::new("FieldValueRequired", format!("spec.ports[{i}].name"), "Required value"));
                }
                if json::int(port, &["port"]).is_none_or(|p| !(1..=65535).contains(&p)) {
                    causes.push(Cause::new(
                        "FieldValueInvalid",
                        format!("spec.ports[{i}].port"),
                        format!(
                            "Invalid value: {}: must be between 1 and 65535, inclusive",
                            port.get("port").unwrap_or(&Value::Null)
                        ),
                    ));
                }
            }
        }
        "CustomResourceDefinition" => causes.extend(crate::definitions::validate(object)),
        _ => {}
    }
    causes
}

fn pod(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
    let containers = json::list(spec, &["containers"]);
    if containers.is_empty() {
        causes.push(Cause::new("FieldValueRequired", format!("{path}.containers"), "Required value"));
    }
    let volumes: Vec<&str> = json::list(spec, &["volumes"]).iter().map(|v| json::text(v, &["name"])).collect();
    let mut seen = std::collections::BTreeSet::new();
    for list in ["initContainers", "containers"] {
        for (i, c) in json::list(spec, &[list]).iter().enumerate() {
            let here = format!("{path}.{list}[{i}]");
            let name = json::text(c, &["name"]);
            if name.is_empty() {
                causes.push(Cause::new("FieldValueRequired", format!("{here}.name"), "Required value"));
            } else if !seen.insert(name) {
                causes.push(Cause::new(
                    "FieldValueDuplicate",
                    format!("{here}.name"),
                    format!("Duplicate value: \"{name}\""),
                ));
            }
            if json::text(c, &["image"]).is_empty() {
                causes.push(Cause::new("FieldValueRequired", format!("{here}.image"), "Required value"));
            }
            for (j, mount) in json::list(c, &["volumeMounts"]).iter().enumerate() {
                let volume = json::text(mount, &["name"]);
                // A StatefulSet's claims become volumes of its pods later.
                if path == "spec" && !volumes.contains(&volume) {
                    causes.push(Cause::new(
                        "FieldValueNotFound",
                        format!("{here}.volumeMounts[{j}].name"),
                        format!("Not found: \"{volume}\""),
                    ));
                }
            }
        }
    }
}

/// Fields that may not change once written.
pub(super) fn immutable(resource: &ResourceType, old: &Value, new: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut fixed = |path: &[&str]| {
        let (before, after) = (json::at(old, path), json::at(new, path));
        if before != after {
            let shown = after.unwrap_or(&Value::Null);
            causes.push(Cause::new(
                "FieldValueInvalid",
                path.join("."),
                format!("Invalid value: {shown}: field is immutable"),
            ));
        }
    };
    match resource.kind.as_str() {
        "CustomResourceDefinition" => {
            for path in
                [&["spec", "scope"][..], &["spec", "names", "kind"], &["spec", "group"], &["spec", "names", "plural"]]
            {
                fixed(path);
            }
        }
        "Deployment" | "ReplicaSet" => fixed(&["spec", "selector"]),
        "RoleBinding" | "ClusterRoleBinding" => fixed(&["roleRef"]),
        "Service"
            if !json::text(old, &["spec", "clusterIP"]).is_empty()
                && json::text(new, &["spec", "type"]) != "ExternalName" =>
        {
            fixed(&["spec", "clusterIP"]);
        }
        "ConfigMap" | "Secret" if old.get("immutable") == Some(&Value::Bool(true)) => fixed(&["data"]),
        "StatefulSet" => {
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
                causes.push(Cause::new("FieldValueForbidden", "spec", "Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"));
            }
        }
        "Pod" => {
            let frozen = |o: &Value| {
                let mut spec = o.get("spec").cloned().unwrap_or(Value::Null);
                for list in ["containers", "initContainers"] {
                    for c in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                        json::ensure_map(c).shift_remove("image");
                    }
                }
                let map = json::ensure_map(&mut spec);
                for key in ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"] {
                    map.shift_remove(key);
                }
                if json::text(o, &["spec", "nodeName"]).is_empty() || json::text(old, &["spec", "nodeName"]).is_empty()
                {
                    map.shift_remove("nodeName");
                }
                spec
            };
            if frozen(old) != frozen(new) {
                causes.push(Cause::new("FieldValueForbidden", "spec", "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"));
            }
        }
        _ => {}
    }
    causes
}

/// The status a built-in kind is created with; `None` leaves it out.
pub(super) fn initial_status(resource: &ResourceType, object: &Value, time: &str) -> Option<Value> {
    Some(match resource.kind.as_str() {
        "Pod" => json!({"phase": "Pending", "qosClass": qos(object)}),
        "Namespace" => json!({"phase": "Active"}),
        "PersistentVolumeClaim" => json!({"phase": "Pending"}),
        "Service" => json!({"loadBalancer": {}}),
        "Deployment" => json!({}),
        "ReplicaSet" => json!({"replicas": 0}),
        "StatefulSet" => json!({"replicas": 0, "availableReplicas": 0}),
        "CustomResourceDefinition" => crate::definitions::status(object, None, time),
        _ => return None,
    })
}

fn qos(pod: &Value) -> &'static str {
    let all: Vec<&Value> =
        json::list(pod, &["spec", "containers"]).iter().chain(json::list(pod, &["spec", "initContainers"])).collect();
    let has = |c: &&Value, side: &str| json::map(c, &["resources", side]).is_some_and(|m| !m.is_empty());
    let guaranteed = |c: &&Value| {
        ["cpu", "memory"].iter().all(|r| {
            let limit = json::at(c, &["resources", "limits", r]);
            let request = json::at(c, &["resources", "requests", r]);
            limit.is_some() && (request.is_none() || request == limit)
        })
    };
    if all.iter().all(|c| !has(c, "limits") && !has(c, "requests")) {
        "BestEffort"
    } else if all.iter().all(guaranteed) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// True if anything but metadata and (where it is a subresource) status differs: the generation grows.
pub(super) fn spec_differs(resource: &ResourceType, old: &Value, new: &Value) -> bool {
    let relevant =
        |key: &str| key != "metadata" && key != "apiVersion" && key != "kind" && !(key == "status" && resource.status);
    let (Some(a), Some(b)) = (old.as_object(), new.as_object()) else { return false };
    a.iter().any(|(k, v)| relevant(k) && b.get(k) != Some(v)) || b.keys().any(|k| relevant(k) && !a.contains_key(k))
}
