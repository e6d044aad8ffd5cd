//! PersistentVolumes: free, bound, released; made for a claim and taken away after it.

use serde_json::{Value, json};
use sim_clock::Timestamp;

use super::{Step, Write, quantity::milli, with_status};
use crate::{
    engine::{Engine, Object},
    json,
    selectors::LabelSelector,
};

/// Keeps a volume that is bound.
pub(crate) const PROTECTION: &str = "kubernetes.io/pv-protection";
/// Who made a volume, and will take it away.
pub(super) const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// The object without a finalizer; `None` if it has none such.
pub(super) fn unprotected(object: &Object, finalizer: &str) -> Option<Value> {
    if !json::list(object, &["metadata", "finalizers"]).iter().any(|f| f == finalizer) {
        return None;
    }
    let mut next = object.to_content();
    next["metadata"]["finalizers"].as_array_mut()?.retain(|f| f != finalizer);
    Some(next)
}

/// How a volume names its claim.
pub(super) fn reference(claim: &Object) -> Value {
    let m = &claim["metadata"];
    json!({"kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": m["namespace"], "name": m["name"], "uid": m["uid"],
        "resourceVersion": m["resourceVersion"]})
}

/// Whether the volume is this claim's and no other's.
pub(super) fn bound_to(volume: &Object, claim: &Object) -> bool {
    json::text(volume, &["spec", "claimRef", "uid"]) == json::uid(claim)
}

/// Whether the claim may have the volume: nobody else has it, or it waits for this one.
pub(super) fn free_for(volume: &Object, claim: &Object) -> bool {
    match json::at(volume, &["spec", "claimRef"]).filter(|claim| claim.is_object()) {
        None => !json::deleting(volume),
        Some(_) if bound_to(volume, claim) => true,
        Some(other) => waits_for(other, claim),
    }
}

fn waits_for(reference: &Value, claim: &Object) -> bool {
    json::text(reference, &["uid"]).is_empty()
        && json::text(reference, &["namespace"]) == json::namespace(claim)
        && json::text(reference, &["name"]) == json::name(claim)
}

/// The volume that waits for a claim, or else the smallest free one that will do.
pub(super) fn smallest_for<'a>(engine: &'a Engine, claim: &Object) -> Option<&'a Object> {
    let spec = &claim["spec"];
    let storage = |value: &Value, path: &[&str]| json::at(value, path).and_then(milli).unwrap_or(0);
    let asked = storage(spec, &["resources", "requests", "storage"]);
    let selector = LabelSelector::from_object(spec.get("selector"));
    let fits = |volume: &&Object| {
        let own = &volume["spec"];
        let modes = json::list(own, &["accessModes"]);
        free_for(volume, claim)
            && json::text(own, &["storageClassName"]) == json::text(spec, &["storageClassName"])
            && own.get("volumeMode") == spec.get("volumeMode")
            && json::list(spec, &["accessModes"]).iter().all(|mode| modes.contains(mode))
            && storage(own, &["capacity", "storage"]) >= asked
            && selector.as_ref().is_none_or(|selector| selector.matches(volume))
    };
    let size = |volume: &&Object| {
        let reserved = volume["spec"].get("claimRef").is_some_and(Value::is_object);
        (!reserved, storage(&volume["spec"], &["capacity", "storage"]), json::name(volume).to_owned())
    };
    engine.scan("persistentvolumes", None).filter(fits).min_by_key(size)
}

/// The volume that the provisioner of a class makes for a claim.
pub(super) fn provisioned(claim: &Object, class: &Object) -> Value {
    let name = format!("pvc-{}", json::uid(claim));
    let policy = match json::text(class, &["reclaimPolicy"]) {
        "" => "Delete",
        policy => policy,
    };
    let path = format!("/var/local-path-provisioner/{name}_{}_{}", json::namespace(claim), json::name(claim));
    json!({"apiVersion": "v1", "kind": "PersistentVolume",
    "metadata": {"name": name, "annotations": {PROVISIONED_BY: class["provisioner"]}},
    "spec": {
        "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
        "accessModes": claim["spec"]["accessModes"],
        "persistentVolumeReclaimPolicy": policy,
        "storageClassName": class["metadata"]["name"],
        "volumeMode": claim["spec"].get("volumeMode").cloned().unwrap_or_else(|| "Filesystem".into()),
        "hostPath": {"path": path, "type": "DirectoryOrCreate"},
        "claimRef": reference(claim),
    }})
}

/// One look at a volume.
pub(super) fn volume(engine: &Engine, volume: &Object, now: Timestamp) -> Step {
    let mut step = Step::of("persistentvolume-controller");
    let holder = json::text(volume, &["spec", "claimRef", "uid"]);
    let claim = engine.by_uid(holder);
    let phase = match claim {
        Some(claim) if json::text(claim, &["spec", "volumeName"]) == json::name(volume) => "Bound",
        Some(_) => "Available",
        None if holder.is_empty() => "Available",
        None => "Released",
    };
    if json::deleting(volume) {
        if claim.is_none() {
            step.writes.extend(unprotected(volume, PROTECTION).map(Write::Update));
        }
        return step;
    }
    let known = json::text(volume, &["status", "phase"]);
    if known == "Failed" {
        return step;
    }
    if phase == "Released" && json::text(volume, &["spec", "persistentVolumeReclaimPolicy"]) == "Delete" {
        if json::at(volume, &["metadata", "annotations", PROVISIONED_BY]).is_some() {
            step.writes.push(Write::Delete(volume.clone()));
            return step;
        }
        let name = json::name(volume);
        let why =
            format!("error getting deleter volume plugin for volume {name:?}: no deletable volume plugin matched");
        let status = json!({"phase": "Failed", "message": why, "lastPhaseTransitionTime": now.rfc3339()});
        step.writes.push(Write::Status(with_status(volume, status)));
        step.say(volume, "Warning", "VolumeFailedDelete", why);
    } else if phase != known || json::at(volume, &["status", "lastPhaseTransitionTime"]).is_none() {
        let status = json!({"phase": phase, "lastPhaseTransitionTime": now.rfc3339()});
        step.writes.push(Write::Status(with_status(volume, status)));
    }
    step
}
