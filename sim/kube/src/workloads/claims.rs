//! PersistentVolumeClaims and what pods need of them.

use serde_json::{Value, json};

use super::{Step, Write};
use crate::{
    engine::{Engine, Object},
    json,
};

/// Why a pod's claims keep it from being scheduled, in the real scheduler's words.
pub(super) fn missing(engine: &Engine, pod: &Object, nodes: usize) -> Option<String> {
    let namespace = json::namespace(pod);
    let refused = |why: &str| {
        format!(
            "0/{nodes} nodes are available: {why}. preemption: 0/{nodes} nodes are available: {nodes} Preemption is not helpful for scheduling."
        )
    };
    for volume in json::list(pod, &["spec", "volumes"]) {
        let name = json::text(volume, &["persistentVolumeClaim", "claimName"]);
        if name.is_empty() {
            continue;
        }
        match engine.peek("persistentvolumeclaims", namespace, name) {
            None => return Some(refused(&format!("persistentvolumeclaim \"{name}\" not found"))),
            Some(claim) if json::deleting(claim) => {
                return Some(refused(&format!("persistentvolumeclaim \"{name}\" is being deleted")));
            }
            Some(claim) if json::text(claim, &["status", "phase"]) == "Lost" => {
                return Some(refused(&format!(
                    "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{}\"",
                    json::text(claim, &["spec", "volumeName"])
                )));
            }
            Some(claim) if json::text(claim, &["spec", "volumeName"]).is_empty() => {
                return Some(refused("pod has unbound immediate PersistentVolumeClaims"));
            }
            Some(_) => {}
        }
    }
    None
}

pub(super) fn bind(claim: &Object) -> Step {
    if json::text(claim, &["status", "phase"]) == "Bound" || json::deleting(claim) {
        return Step::default();
    }
    let volume = format!("pvc-{}", json::uid(claim));
    let mut spec = claim.to_content();
    json::ensure_map(&mut spec["metadata"]).shift_remove("resourceVersion");
    spec["spec"]["volumeName"] = volume.into();
    let mut status = spec.clone();
    let capacity: Value = json::at(claim, &["spec", "resources", "requests"]).cloned().unwrap_or_else(|| json!({}));
    status["status"] = json!({"phase": "Bound", "accessModes": claim["spec"]["accessModes"], "capacity": capacity});
    Step { writes: vec![Write::Update(spec), Write::Status(status)], ..Step::default() }
}
