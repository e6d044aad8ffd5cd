//! Claims of volumes.

use serde_json::Value;

use super::Errors;
use crate::{json, workloads::milli};

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

pub(super) fn claim(object: &Value, errors: &mut Errors) {
    claim_spec(object.get("spec").unwrap_or(&Value::Null), "spec", errors);
}

pub(super) fn claim_spec(spec: &Value, path: &str, errors: &mut Errors) {
    let modes = json::list(spec, &["accessModes"]);
    if modes.is_empty() {
        errors.required(format!("{path}.accessModes"), "at least 1 access mode is required");
    }
    for mode in modes.iter().filter_map(Value::as_str).filter(|m| !MODES.contains(m)) {
        errors.unsupported(format!("{path}.accessModes"), mode, MODES);
    }
    if json::at(spec, &["resources", "requests", "storage"]).is_none() {
        errors.required(format!("{path}.resources[storage]"), "");
    }
    errors.one_of(spec, path, "volumeMode", &["Block", "Filesystem"]);
}

pub(super) fn volume(object: &Value, errors: &mut Errors) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let modes = json::list(spec, &["accessModes"]);
    if modes.is_empty() {
        errors.required("spec.accessModes", "");
    }
    for mode in modes.iter().filter_map(Value::as_str).filter(|m| !MODES.contains(m)) {
        errors.unsupported("spec.accessModes", mode, MODES);
    }
    if json::map(spec, &["capacity"]).is_none_or(serde_json::Map::is_empty) {
        errors.required("spec.capacity", "");
    } else if json::at(spec, &["capacity", "storage"]).is_none() {
        let given: Vec<&String> = json::map(spec, &["capacity"]).into_iter().flatten().map(|(name, _)| name).collect();
        let given = Value::Array(given.into_iter().map(|name| name.as_str().into()).collect());
        errors.unsupported_value("spec.capacity", &given, &["storage"]);
    }
    match sources(spec).as_slice() {
        [] => errors.required("spec", "must specify a volume type"),
        [_] => {}
        [_, more @ ..] => {
            for source in more {
                errors.forbidden(format!("spec.{source}"), "may not specify more than 1 volume type");
            }
        }
    }
    errors.one_of(spec, "spec", "persistentVolumeReclaimPolicy", &["Delete", "Recycle", "Retain"]);
    errors.one_of(spec, "spec", "volumeMode", &["Block", "Filesystem"]);
}

pub(super) fn volume_update(old: &Value, new: &Value, errors: &mut Errors) {
    let source = |object: &Value| -> Vec<(String, Value)> {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        sources(spec).into_iter().map(|name| (name.to_owned(), spec[name].clone())).collect()
    };
    if source(old) != source(new) {
        errors.forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation");
    }
    errors.fixed(old, new, &["spec", "volumeMode"]);
}

/// What a volume is: the fields of its spec that are none of a volume's own.
fn sources(spec: &Value) -> Vec<&str> {
    const OWN: &[&str] = &[
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    ];
    let fields = spec.as_object().into_iter().flatten();
    fields
        .filter(|(name, value)| !OWN.contains(&name.as_str()) && !value.is_null())
        .map(|(name, _)| name.as_str())
        .collect()
}

pub(super) fn claim_update(old: &Value, new: &Value, errors: &mut Errors) {
    let bound = json::text(old, &["status", "phase"]) == "Bound";
    let frozen = |object: &Value| {
        let mut spec = object.get("spec").cloned().unwrap_or(Value::Null);
        let map = json::ensure_map(&mut spec);
        // Binding writes the volume's name, defaulting the class; a bound claim may grow.
        map.shift_remove("volumeAttributesClassName");
        if json::text(old, &["spec", "volumeName"]).is_empty() {
            map.shift_remove("volumeName");
        }
        if json::at(old, &["spec", "storageClassName"]).is_none() {
            map.shift_remove("storageClassName");
        }
        if bound && let Some(requests) = map.get_mut("resources").and_then(|r| r.get_mut("requests")) {
            json::ensure_map(requests).shift_remove("storage");
        }
        spec
    };
    if frozen(old) != frozen(new) {
        errors.forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        );
    }
    // What an expansion that does not come to an end asked for may be taken back.
    let storage = |object: &Value, path: &[&str]| json::at(object, path).and_then(milli);
    let asked = |object: &Value| storage(object, &["spec", "resources", "requests", "storage"]);
    if asked(new) < asked(old) && asked(new) <= storage(old, &["status", "capacity", "storage"]) {
        errors.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity");
    }
}
