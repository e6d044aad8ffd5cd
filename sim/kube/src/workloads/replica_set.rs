//! ReplicaSet -> Pods, and ReplicationController -> Pods, which differs in its selector and its name.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sim_clock::Timestamp;

use super::{Step, Write, claim_pods, pods, set_condition, with_status};
use crate::{
    engine::{Engine, Object},
    json,
};

/// Most pods one step creates or deletes.
const BURST_PODS_MAX: usize = 500;

/// One look at a ReplicaSet or a ReplicationController; `refused` is what the last creation of a pod was refused with, if it was.
pub fn replica_set(engine: &mut Engine, set: &Object, refused: Option<&str>, now: Timestamp) -> Step {
    let old = set["kind"] == "ReplicationController";
    let mut step = Step::of(if old { "replication-controller" } else { "replicaset-controller" });
    let mut pods: Vec<Object> = claim_pods(&mut step, engine, set);
    pods.retain(|p| !p.facts().finished);
    let live: Vec<Object> = pods.into_iter().filter(|p| !p.facts().deleting).collect();
    let wanted = if json::deleting(set) {
        live.len()
    } else {
        json::int(set, &["spec", "replicas"]).unwrap_or(1).max(0) as usize
    };
    if live.len() < wanted {
        for _ in 0..(wanted - live.len()).min(BURST_PODS_MAX) {
            let mut pod = pods::from_template(set, &set["spec"]["template"]);
            pod["metadata"]["generateName"] = format!("{}-", json::name(set)).into();
            step.writes.push(Write::CreateFor(set.clone(), pod));
        }
    } else if live.len() > wanted {
        let chosen = first_to_go(live.clone());
        step.writes.extend(
            chosen
                .into_iter()
                .take((live.len() - wanted).min(BURST_PODS_MAX))
                .map(|pod| Write::DeleteFor(set.clone(), pod)),
        );
    }
    status(&mut step, set, &live, refused.filter(|_| live.len() < wanted), now);
    step
}

/// The order in which surplus pods go: those that would be missed least first.
fn first_to_go(mut pods: Vec<Object>) -> Vec<Object> {
    let mut crowded: BTreeMap<String, usize> = BTreeMap::new();
    for pod in pods.iter().filter(|p| p.facts().ready) {
        *crowded.entry(json::text(pod, &["spec", "nodeName"]).to_owned()).or_default() += 1;
    }
    let rank = |pod: &Object| {
        let node = json::text(pod, &["spec", "nodeName"]);
        let phase = match json::text(pod, &["status", "phase"]) {
            "Pending" => 0,
            "Running" => 2,
            _ => 1,
        };
        let cost: i64 = json::text(pod, &["metadata", "annotations", "controller.kubernetes.io/pod-deletion-cost"])
            .parse()
            .unwrap_or(0);
        let restarts = json::list(pod, &["status", "containerStatuses"])
            .iter()
            .filter_map(|c| json::int(c, &["restartCount"]))
            .max()
            .unwrap_or(0);
        let ready = pod.facts().ready;
        let age = |path: &[&str]| {
            // Ages count by orders of magnitude in the real one, so that clocks need not agree; the newest goes first.
            std::cmp::Reverse(json::text(pod, path).to_owned())
        };
        let ready_since = std::cmp::Reverse(pod.facts().ready_since.unwrap_or(0));
        (
            (!node.is_empty(), phase, ready, cost),
            std::cmp::Reverse(crowded.get(node).copied().unwrap_or(0)),
            ready_since,
            std::cmp::Reverse(restarts),
            age(&["metadata", "creationTimestamp"]),
            json::name(pod).to_owned(),
        )
    };
    pods.sort_by_cached_key(rank);
    pods
}

fn status(step: &mut Step, set: &Object, live: &[Object], refused: Option<&str>, now: Timestamp) {
    let min_ready = json::int(set, &["spec", "minReadySeconds"]).unwrap_or(0);
    let template = json::map(set, &["spec", "template", "metadata", "labels"]);
    let labelled = |pod: &Object| {
        template.into_iter().flatten().all(|(k, v)| json::at(pod, &["metadata", "labels", k]) == Some(v))
    };
    let (mut ready, mut available, mut alike) = (0, 0, 0);
    let mut last: Option<(u64, bool)> = None;
    for pod in live {
        let labels = pod.facts().labels;
        let same = last.filter(|(known, _)| *known == labels).map_or_else(|| labelled(pod), |(_, same)| same);
        last = Some((labels, same));
        alike += usize::from(same);
        match pods::available(pod, min_ready, now.as_secs()) {
            Ok(()) => (ready, available) = (ready + 1, available + 1),
            Err(Some(missing)) => {
                ready += 1;
                step.look_again(missing);
            }
            Err(None) => {}
        }
    }
    let mut status = json!({"replicas": live.len(), "observedGeneration": set["metadata"]["generation"]});
    for (key, count) in [("fullyLabeledReplicas", alike), ("readyReplicas", ready), ("availableReplicas", available)] {
        if count > 0 {
            status[key] = count.into();
        }
    }
    let mut others: Vec<Value> = json::list(set, &["status", "conditions"]).to_vec();
    if refused.is_none() {
        others.retain(|c| c["type"] != "ReplicaFailure");
    }
    if !others.is_empty() {
        status["conditions"] = others.into();
    }
    if let Some(message) = refused {
        set_condition(&mut status, "ReplicaFailure", true, "FailedCreate", message, &now.rfc3339(), false);
    }
    if set.get("status") != Some(&status) {
        step.writes.push(Write::Status(with_status(set, status)));
    }
}
