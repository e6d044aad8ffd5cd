//! Volumes, claims, storage classes.

use serde_json::Value;
use sim_clock::Timestamp;

use super::{Cells, Row, text};
use crate::json;

const NAME: Row = ("Name", "string", 0);
const AGE: Row = ("Age", "string", 0);

pub(super) fn printer(table: &str) -> Option<(&'static [Row], Cells)> {
    Some(match table {
        "persistentvolumes" => (
            &[
                NAME,
                ("Capacity", "string", 0),
                ("Access Modes", "string", 0),
                ("Reclaim Policy", "string", 0),
                ("Status", "string", 0),
                ("Claim", "string", 0),
                ("StorageClass", "string", 0),
                ("VolumeAttributesClass", "string", 0),
                ("Reason", "string", 0),
                AGE,
                ("VolumeMode", "string", 1),
            ],
            volume,
        ),
        "persistentvolumeclaims" => (
            &[
                NAME,
                ("Status", "string", 0),
                ("Volume", "string", 0),
                ("Capacity", "string", 0),
                ("Access Modes", "string", 0),
                ("StorageClass", "string", 0),
                ("VolumeAttributesClass", "string", 0),
                AGE,
                ("VolumeMode", "string", 1),
            ],
            claim,
        ),
        "storageclasses.storage.k8s.io" => (
            &[
                NAME,
                ("Provisioner", "string", 0),
                ("ReclaimPolicy", "string", 0),
                ("VolumeBindingMode", "string", 0),
                ("AllowVolumeExpansion", "string", 0),
                AGE,
            ],
            class,
        ),
        _ => return None,
    })
}

/// `RWO,ROX`, in the printer's order whatever the object's.
fn access_modes(modes: &[Value]) -> String {
    let known =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let given = known.iter().filter(|(mode, _)| modes.iter().any(|m| m.as_str() == Some(mode)));
    given.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

fn or(object: &Value, path: &[&str], otherwise: &str) -> Value {
    match json::text(object, path) {
        "" => otherwise.into(),
        text => text.into(),
    }
}

fn volume(o: &Value, now: Timestamp) -> Vec<Value> {
    let claim = match json::at(o, &["spec", "claimRef"]) {
        Some(c) if c.is_object() => format!("{}/{}", json::text(c, &["namespace"]), json::text(c, &["name"])),
        _ => String::new(),
    };
    let phase = if json::deleting(o) { "Terminating" } else { json::text(o, &["status", "phase"]) };
    vec![
        text::name(o),
        json::text(o, &["spec", "capacity", "storage"]).into(),
        access_modes(json::list(o, &["spec", "accessModes"])).into(),
        json::text(o, &["spec", "persistentVolumeReclaimPolicy"]).into(),
        phase.into(),
        claim.into(),
        json::text(o, &["spec", "storageClassName"]).into(),
        or(o, &["spec", "volumeAttributesClassName"], "<unset>"),
        json::text(o, &["status", "reason"]).into(),
        text::created(o, now),
        or(o, &["spec", "volumeMode"], "<unset>"),
    ]
}

fn claim(o: &Value, now: Timestamp) -> Vec<Value> {
    let bound = !json::text(o, &["spec", "volumeName"]).is_empty();
    let phase = if json::deleting(o) { "Terminating" } else { json::text(o, &["status", "phase"]) };
    let modes = if bound { access_modes(json::list(o, &["status", "accessModes"])) } else { String::new() };
    let capacity = if bound { json::text(o, &["status", "capacity", "storage"]) } else { "" };
    vec![
        text::name(o),
        phase.into(),
        json::text(o, &["spec", "volumeName"]).into(),
        capacity.into(),
        modes.into(),
        json::text(o, &["spec", "storageClassName"]).into(),
        or(o, &["spec", "volumeAttributesClassName"], "<unset>"),
        text::created(o, now),
        or(o, &["spec", "volumeMode"], "<unset>"),
    ]
}

fn class(o: &Value, now: Timestamp) -> Vec<Value> {
    let default = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"]
        .iter()
        .any(|key| json::text(o, &["metadata", "annotations", key]) == "true");
    let suffix = if default { " (default)" } else { "" };
    let expansion = o.get("allowVolumeExpansion") == Some(&Value::Bool(true));
    vec![
        format!("{}{suffix}", json::name(o)).into(),
        json::text(o, &["provisioner"]).into(),
        or(o, &["reclaimPolicy"], "Delete"),
        or(o, &["volumeBindingMode"], "Immediate"),
        expansion.into(),
        text::created(o, now),
    ]
}
