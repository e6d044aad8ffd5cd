//! Names, labels, annotations, finalizers, owners.

use serde_json::Value;

use super::{Errors, names};
use crate::{json, resources::ResourceType};

/// All annotations of an object, keys and values, bytes.
const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;
/// Finalizers without a domain that the real server knows.
const STANDARD_FINALIZERS: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];

fn name_rule(resource: &ResourceType) -> fn(&str) -> Vec<String> {
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("rbac.authorization.k8s.io", _) => names::path_segment,
        ("", "Service") => names::label_1035,
        ("", "Namespace") => names::label,
        _ => names::subdomain,
    }
}

pub(super) fn check(resource: &ResourceType, object: &Value, errors: &mut Errors) {
    let rule = name_rule(resource);
    let prefix = json::text(object, &["metadata", "generateName"]);
    // A prefix may end in a hyphen: something follows it.
    for why in if prefix.is_empty() { Vec::new() } else { rule(&format!("{}a", prefix.trim_end_matches('-'))) } {
        errors.invalid_text("metadata.generateName", prefix, &why);
    }
    let name = json::name(object);
    if name.is_empty() {
        errors.required("metadata.name", "name or generateName is required");
    } else {
        for why in rule(name) {
            errors.invalid_text("metadata.name", name, &why);
        }
    }
    labels(json::at(object, &["metadata", "labels"]), "metadata.labels", errors);
    annotations(json::at(object, &["metadata", "annotations"]), "metadata.annotations", errors);
    owners(json::list(object, &["metadata", "ownerReferences"]), errors);
    for (i, finalizer) in json::list(object, &["metadata", "finalizers"]).iter().enumerate() {
        let (path, text) = (format!("metadata.finalizers[{i}]"), finalizer.as_str().unwrap_or(""));
        for why in names::qualified(text) {
            errors.invalid_text(path.clone(), text, &why);
        }
        // The server of custom resource definitions has a finalizer without a domain of its own.
        let strict = resource.built_in && resource.group != "apiextensions.k8s.io";
        if strict && !text.contains('/') && !STANDARD_FINALIZERS.contains(&text) {
            errors.invalid_text(path, text, "name is neither a standard finalizer name nor is it fully qualified");
        }
    }
}

/// What may not be done to the metadata of a stored object: finalizers only go while it is being deleted.
pub(super) fn update(old: &Value, new: &Value, errors: &mut Errors) {
    if !json::deleting(old) {
        return;
    }
    let before = json::list(old, &["metadata", "finalizers"]);
    let mut added: Vec<String> = json::list(new, &["metadata", "finalizers"])
        .iter()
        .filter(|f| !before.contains(f))
        .map(|f| format!("{:?}", f.as_str().unwrap_or("")))
        .collect();
    added.sort();
    added.dedup();
    if !added.is_empty() {
        let why = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            added.join(", ")
        );
        errors.forbidden("metadata.finalizers", &why);
    }
}

pub(super) fn labels(labels: Option<&Value>, path: &str, errors: &mut Errors) {
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        for why in names::qualified(key) {
            errors.invalid_text(path, key, &why);
        }
        let text = value.as_str().unwrap_or("");
        for why in names::label_value(text) {
            errors.invalid_text(path, text, &why);
        }
    }
}

fn annotations(annotations: Option<&Value>, path: &str, errors: &mut Errors) {
    let mut bytes = 0;
    for (key, value) in annotations.and_then(Value::as_object).into_iter().flatten() {
        for why in names::qualified(&key.to_lowercase()) {
            errors.invalid_text(path, key, &why);
        }
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.too_long(path, ANNOTATIONS_BYTES_MAX);
    }
}

fn owners(owners: &[Value], errors: &mut Errors) {
    let mut controller: Option<&Value> = None;
    for (i, owner) in owners.iter().enumerate() {
        let path = format!("metadata.ownerReferences[{i}]");
        for (field, said) in [("apiVersion", "version"), ("kind", "kind"), ("name", "name"), ("uid", "uid")] {
            if json::text(owner, &[field]).is_empty() {
                errors.invalid_text(format!("{path}.{field}"), "", &format!("{said} must not be empty"));
            }
        }
        if owner.get("controller") == Some(&Value::Bool(true)) {
            if let Some(first) = controller {
                let why = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {} and {}",
                    json::text(first, &["name"]),
                    json::text(owner, &["name"])
                );
                errors.invalid("metadata.ownerReferences", &Value::Array(owners.to_vec()), &why);
            } else {
                controller = Some(owner);
            }
        }
    }
}
