//! What the workload controllers share about pods.

use serde_json::{Value, json};

use super::owned_by;
use crate::{engine::Object, json};

/// True if the pod's condition `Ready` is true.
pub fn pod_ready(pod: &Value) -> bool {
    json::list(pod, &["status", "conditions"]).iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// True if the pod has run to its end.
pub(super) fn finished(pod: &Value) -> bool {
    matches!(json::text(pod, &["status", "phase"]), "Succeeded" | "Failed")
}

/// True if the pod has been ready for `min_ready_seconds`; otherwise the seconds still missing, if it is ready at all.
pub(super) fn available(pod: &Object, min_ready_seconds: i64, now_secs: i64) -> Result<(), Option<i64>> {
    let facts = pod.facts();
    if !facts.ready {
        return Err(None);
    }
    if min_ready_seconds == 0 {
        return Ok(());
    }
    let missing = facts.ready_since.unwrap_or(now_secs) + min_ready_seconds - now_secs;
    if missing <= 0 { Ok(()) } else { Err(Some(missing)) }
}

/// A short hash of a pod template in the alphabet of generated names.
pub fn template_hash(template: &Value) -> String {
    const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut template = template.clone();
    if let Some(labels) = template.get_mut("metadata").and_then(|m| m.get_mut("labels")).and_then(Value::as_object_mut)
    {
        labels.shift_remove("pod-template-hash");
    }
    let digest = json::fnv(&json::canonical(&template)) as u32;
    digest.to_string().bytes().map(|b| char::from(SAFE[usize::from(b) % SAFE.len()])).collect()
}

/// A pod of a template.
pub(super) fn from_template(owner: &Value, template: &Value) -> Value {
    let mut metadata = template.get("metadata").cloned().unwrap_or_else(|| json!({}));
    let map = json::ensure_map(&mut metadata);
    map.shift_remove("creationTimestamp");
    map.insert("namespace".into(), owner["metadata"]["namespace"].clone());
    map.insert("ownerReferences".into(), json!([owned_by(owner)]));
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

/// Sets or replaces a condition; its transition time moves only when its status does.
pub(crate) fn set_condition(
    status: &mut Value,
    kind: &str,
    value: bool,
    reason: &str,
    message: &str,
    time: &str,
    with_update_time: bool,
) {
    let wanted = if value { "True" } else { "False" };
    let conditions = json::ensure_map(status).entry("conditions").or_insert_with(|| json!([]));
    let Some(list) = conditions.as_array_mut() else { return };
    let old = list.iter().find(|c| c["type"] == kind).cloned();
    let since =
        old.as_ref().filter(|c| c["status"] == wanted).map_or_else(|| time.into(), |c| c["lastTransitionTime"].clone());
    let mut condition = json!({"type": kind, "status": wanted});
    if with_update_time {
        let same =
            old.as_ref().is_some_and(|c| c["status"] == wanted && c["reason"] == reason && c["message"] == message);
        condition["lastUpdateTime"] =
            if same { old.as_ref().map_or(Value::Null, |c| c["lastUpdateTime"].clone()) } else { time.into() };
    }
    condition["lastTransitionTime"] = since;
    for (key, text) in [("reason", reason), ("message", message)] {
        if !text.is_empty() {
            condition[key] = text.into();
        }
    }
    match list.iter_mut().find(|c| c["type"] == kind) {
        Some(place) => *place = condition,
        None => list.push(condition),
    }
}
