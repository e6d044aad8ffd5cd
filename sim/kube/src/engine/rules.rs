//! What is kept on writes: status on creation, generation.

use serde_json::{Value, json};

use crate::{json, resources::ResourceType};

/// The status a built-in kind is created with; `None` leaves it out.
pub(super) fn initial_status(resource: &ResourceType, object: &Value, time: &str) -> Option<Value> {
    Some(match resource.kind.as_str() {
        "Pod" => json!({"phase": "Pending", "qosClass": qos(object)}),
        "Namespace" => json!({"phase": "Active"}),
        "PersistentVolume" | "PersistentVolumeClaim" => json!({"phase": "Pending"}),
        "Service" => json!({"loadBalancer": {}}),
        "Deployment" => json!({}),
        "ReplicaSet" | "ReplicationController" => json!({"replicas": 0}),
        "StatefulSet" => json!({"replicas": 0, "availableReplicas": 0}),
        "CustomResourceDefinition" => crate::definitions::status(object, None, time),
        _ => return None,
    })
}

/// The quality of service of a pod, by what its containers ask for.
pub(crate) fn qos(pod: &Value) -> &'static str {
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
