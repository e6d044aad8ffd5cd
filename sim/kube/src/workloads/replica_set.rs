//! ReplicaSet -> Pods.

use std::time::Duration;

use serde_json::json;
use sim_clock::Timestamp;

use super::{Step, Write, controlled, pods};
use crate::{
    engine::{Engine, Object},
    json,
};

/// Most pods one step creates or deletes.
const BURST_PODS_MAX: usize = 500;

/// One look at a ReplicaSet.
pub fn replica_set(engine: &mut Engine, set: &Object, now: Timestamp) -> Step {
    let mut step = Step::default();
    let namespace = json::namespace(set);
    let mut pods: Vec<Object> =
        controlled(engine, "pods", namespace, json::uid(set)).into_iter().filter(|p| !pods::finished(p)).collect();
    let live: Vec<Object> = pods.iter().filter(|p| !json::deleting(p)).cloned().collect();
    let wanted = if json::deleting(set) {
        live.len()
    } else {
        json::int(set, &["spec", "replicas"]).unwrap_or(1).max(0) as usize
    };
    if live.len() < wanted {
        for _ in 0..(wanted - live.len()).min(BURST_PODS_MAX) {
            let mut pod = pods::from_template(set, &set["spec"]["template"]);
            pod["metadata"]["generateName"] = format!("{}-", json::name(set)).into();
            step.writes.push(Write::Create(pod));
        }
    } else if live.len() > wanted {
        let mut order = live.clone();
        // Those that would be missed least go first: not ready, then youngest.
        order.sort_by_key(|p| {
            (
                pods::pod_ready(p),
                std::cmp::Reverse(json::text(p, &["metadata", "creationTimestamp"]).to_owned()),
                json::name(p).to_owned(),
            )
        });
        step.writes.extend(order.into_iter().take((live.len() - wanted).min(BURST_PODS_MAX)).map(Write::Delete));
    }
    pods.retain(|p| !json::deleting(p));
    let min_ready = json::int(set, &["spec", "minReadySeconds"]).unwrap_or(0);
    let mut available = 0;
    for pod in &pods {
        match pods::available(pod, min_ready, now.as_secs()) {
            Ok(()) => available += 1,
            Err(Some(missing)) => step.again = Some(Duration::from_secs(missing as u64)),
            Err(None) => {}
        }
    }
    let mut status = json!({"replicas": pods.len(), "observedGeneration": set["metadata"]["generation"]});
    for (key, count) in [
        ("fullyLabeledReplicas", pods.len()),
        ("readyReplicas", pods.iter().filter(|p| pods::pod_ready(p)).count()),
        ("availableReplicas", available),
    ] {
        if count > 0 {
            status[key] = count.into();
        }
    }
    if set.get("status") != Some(&status) {
        let mut object = set.to_value();
        object["status"] = status;
        step.writes.push(Write::Status(object));
    }
    step
}
