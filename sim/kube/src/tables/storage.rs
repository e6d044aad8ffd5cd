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
        "csidrivers.storage.k8s.io" => (
            &[
                NAME,
                ("AttachRequired", "boolean", 0),
                ("PodInfoOnMount", "boolean", 0),
                ("StorageCapacity", "boolean", 0),
                ("TokenRequests", "string", 0),
                ("RequiresRepublish", "boolean", 0),
                ("Modes", "string", 0),
                AGE,
            ],
            driver,
        ),
        "csinodes.storage.k8s.io" => (&[NAME, ("Drivers", "integer", 0), AGE], node_drivers),
        "csistoragecapacities.storage.k8s.io" => {
            (&[NAME, ("StorageClassName", "string", 0), ("Capacity", "string", 0)], capacity)
        }
        "volumeattachments.storage.k8s.io" => (
            &[
                NAME,
                ("Attacher", "string", 0),
                ("PV", "string", 0),
                ("Node", "string", 0),
                ("Attached", "boolean", 0),
                AGE,
            ],
            attachment,
        ),
        "volumeattributesclasses.storage.k8s.io" => (&[NAME, ("DriverName", "string", 0), AGE], attributes_class),
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

fn driver(o: &Value, now: Timestamp) -> Vec<Value> {
    let flag = |key: &str, otherwise: bool| json::at(o, &["spec", key]).and_then(Value::as_bool).unwrap_or(otherwise);
    let joined = |texts: Vec<&str>, nothing: &str| if texts.is_empty() { nothing.to_owned() } else { texts.join(",") };
    let audiences = json::list(o, &["spec", "tokenRequests"]).iter().map(|t| json::text(t, &["audience"])).collect();
    let modes = json::list(o, &["spec", "volumeLifecycleModes"]).iter().filter_map(Value::as_str).collect();
    vec![
        text::name(o),
        flag("attachRequired", true).into(),
        flag("podInfoOnMount", false).into(),
        flag("storageCapacity", false).into(),
        joined(audiences, "<unset>").into(),
        flag("requiresRepublish", false).into(),
        joined(modes, text::NONE).into(),
        text::created(o, now),
    ]
}

fn node_drivers(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![text::name(o), text::size(o, &["spec", "drivers"]).into(), text::created(o, now)]
}

fn capacity(o: &Value, _: Timestamp) -> Vec<Value> {
    let size = match json::text(o, &["capacity"]) {
        "" => "<unset>",
        given => given,
    };
    vec![text::name(o), json::text(o, &["storageClassName"]).into(), size.into()]
}

fn attachment(o: &Value, now: Timestamp) -> Vec<Value> {
    let attached = json::at(o, &["status", "attached"]).and_then(Value::as_bool).unwrap_or(false);
    vec![
        text::name(o),
        json::text(o, &["spec", "attacher"]).into(),
        json::text(o, &["spec", "source", "persistentVolumeName"]).into(),
        json::text(o, &["spec", "nodeName"]).into(),
        attached.into(),
        text::created(o, now),
    ]
}

fn attributes_class(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![text::name(o), json::text(o, &["driverName"]).into(), text::created(o, now)]
}
