//! Kinds that are served in several forms, and the one form in which they are stored.
//!
//! Two kinds have more than one: Events (`v1` is stored, `events.k8s.io/v1` names the same fields otherwise) and
//! HorizontalPodAutoscalers (`autoscaling/v2` is stored; what `autoscaling/v1` has no field for stands in annotations).
//! Everything else differs in its `apiVersion` at most.

mod autoscaling;
mod event;

use serde_json::Value;

use crate::resources::ResourceType;

/// Turns an object of the store into the form of the resource's version.
pub(crate) fn outward(resource: &ResourceType, object: &mut Value) {
    match &*resource.table {
        "events" => event::outward(object),
        "horizontalpodautoscalers.autoscaling" => autoscaling::outward(object),
        _ => {}
    }
    object["apiVersion"] = resource.api_version().into();
}

/// Turns an object of the resource's version into the form of the store.
pub(crate) fn inward(resource: &ResourceType, object: &mut Value) {
    if resource.api_version() == resource.storage_api_version {
        return;
    }
    match &*resource.table {
        "events" => event::inward(object),
        "horizontalpodautoscalers.autoscaling" => autoscaling::inward(object),
        _ => {}
    }
    object["apiVersion"] = resource.storage_api_version.clone().into();
}

/// The form of the store of an object that may have another, for those who read one form only (printers).
pub(crate) fn stored(object: &Value) -> Option<Value> {
    if object.get("apiVersion").and_then(Value::as_str) != Some("autoscaling/v1") {
        return None;
    }
    let mut object = object.clone();
    autoscaling::inward(&mut object);
    Some(object)
}
