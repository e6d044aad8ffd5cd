//! core/v1 Events of the cluster's own components.

use serde_json::{Value, json};
use sim_clock::Timestamp;

use crate::{
    engine::{Engine, Target, WriteOptions},
    json,
};

/// Records an event on an object; the same event again raises its count.
pub fn record(
    engine: &mut Engine,
    about: &Value,
    component: &str,
    node: &str,
    kind: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let namespace = json::namespace(about);
    let identity = json::fnv(&format!("{}/{reason}/{message}/{component}", json::uid(about)));
    let name = format!("{}.{identity:016x}", json::name(about));
    let time = now.rfc3339();
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    let options = WriteOptions::by(component);
    if let Some(known) = engine.peek("events", namespace, &name) {
        let mut next = known.to_value();
        next["count"] = (json::int(&next, &["count"]).unwrap_or(1) + 1).into();
        next["lastTimestamp"] = time.into();
        if let Ok(target) = engine.target_of(&next) {
            // A count that is not raised loses nothing but the count.
            let _ = engine.update(&Target { subresource: String::new(), ..target }, next, &options, now);
        }
        return;
    }
    let mut source = json!({"component": component});
    if !node.is_empty() {
        source["host"] = node.into();
    }
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {"apiVersion": about["apiVersion"], "kind": about["kind"], "namespace": namespace, "name": json::name(about), "uid": json::uid(about), "resourceVersion": about["metadata"]["resourceVersion"]},
        "reason": reason, "message": message, "type": kind, "source": source, "reportingComponent": component, "reportingInstance": node,
        "firstTimestamp": time, "lastTimestamp": time, "count": 1});
    // The namespace may be terminating: then nobody reads it.
    let _ = engine.create_object(event, &options, now);
}
