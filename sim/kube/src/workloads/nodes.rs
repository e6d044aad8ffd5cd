//! Node lifecycle: a node whose kubelet is silent becomes not ready, is tainted, and its pods are evicted.
//!
//! A kubelet renews its Lease every ten seconds (`kubelet/heartbeat`), in a rhythm that follows from its node's name: from the
//! moment in which it falls silent follows the time of its last renewal.

use std::time::Duration;

use serde_json::{Value, json};
use sim_clock::Timestamp;

use super::{Step, Write, scheduler::toleration_of};
use crate::{
    engine::{Engine, Object},
    json,
};

/// How long a node may be silent before it counts as not ready (`--node-monitor-grace-period` since 1.32).
pub(super) const GRACE: Duration = Duration::from_secs(50);
/// How often a kubelet renews its lease.
pub(crate) const RENEWAL: Duration = Duration::from_secs(10);
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const CONDITIONS: [(&str, &str, &str); 4] = [
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "KubeletReady", "kubelet is posting ready status"),
];

/// What a healthy kubelet reports as its node's conditions.
pub(crate) fn healthy_conditions(old: &Value, time: &str) -> Vec<Value> {
    let known = json::list(old, &["conditions"]);
    CONDITIONS
        .iter()
        .map(|(kind, reason, message)| {
            let status = if *kind == "Ready" { "True" } else { "False" };
            let before = known.iter().find(|c| c["type"] == *kind && c["status"] == status);
            let since = before.map_or_else(|| time.into(), |c| c["lastTransitionTime"].clone());
            json!({"type": kind, "status": status, "lastHeartbeatTime": time, "lastTransitionTime": since, "reason": reason, "message": message})
        })
        .collect()
}

fn ready(node: &Value) -> &str {
    let ready = json::list(node, &["status", "conditions"]).iter().find(|c| c["type"] == "Ready");
    ready.map_or("", |c| json::text(c, &["status"]))
}

/// At which second of its period the kubelet of a node renews.
pub(crate) fn renewal_phase(node: &str) -> i64 {
    (json::fnv(node) % RENEWAL.as_secs()) as i64
}

/// Whether nothing differs between two states of a node but when it was heard of.
pub(super) fn only_heard_of(before: &Object, after: &Object) -> bool {
    let told = |node: &Object| {
        let mut node = node.to_content();
        json::child_map(&mut node, "metadata").shift_remove("resourceVersion");
        for condition in node["status"]["conditions"].as_array_mut().into_iter().flatten() {
            json::ensure_map(condition).shift_remove("lastHeartbeatTime");
        }
        node
    };
    told(before) == told(after)
}

/// One look at a node; `silent_since` is when its kubelet died, if it is dead.
pub(super) fn lifecycle(node: &Object, silent_since: Option<Timestamp>, now: Timestamp) -> Step {
    let mut step = Step::of("node-controller");
    let name = json::name(node);
    let Some(since) = silent_since else {
        if ready(node) == "Unknown" {
            let mut healed = node.to_content();
            let taints = json::list(node, &["spec", "taints"]).iter().filter(|t| t["key"] != UNREACHABLE).cloned();
            let taints: Vec<Value> = taints.collect();
            let spec = json::child_map(&mut healed, "spec");
            if taints.is_empty() {
                spec.shift_remove("taints");
            } else {
                spec.insert("taints".into(), taints.into());
            }
            json::child_map(&mut healed, "metadata").shift_remove("resourceVersion");
            let mut status = healed.clone();
            status["status"]["conditions"] = healthy_conditions(&node["status"], &now.rfc3339()).into();
            step.writes.extend([Write::Update(healed), Write::Status(status)]);
            step.say(node, "Normal", "NodeReady", format!("Node {name} status is now: NodeReady"));
        }
        return step;
    };
    // The last renewal was at a multiple of ten seconds of the kubelet's own rhythm.
    let renewed = since.as_secs() - (since.as_secs() - renewal_phase(name)).rem_euclid(RENEWAL.as_secs() as i64);
    let left = renewed + GRACE.as_secs() as i64 - now.as_secs();
    if left > 0 {
        step.look_again(left);
        return step;
    }
    if ready(node) == "Unknown" {
        return step;
    }
    let time = now.rfc3339();
    let mut tainted = node.to_content();
    json::child_map(&mut tainted, "metadata").shift_remove("resourceVersion");
    let taints = json::child_map(&mut tainted, "spec").entry("taints").or_insert_with(|| json!([]));
    if let Some(list) = taints.as_array_mut() {
        list.push(json!({"key": UNREACHABLE, "effect": "NoSchedule", "timeAdded": time}));
        list.push(json!({"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": time}));
    }
    let mut status = tainted.clone();
    let heartbeat = Timestamp::from_secs(renewed).rfc3339();
    status["status"]["conditions"] = CONDITIONS
        .iter()
        .map(|(kind, _, _)| {
            json!({"type": kind, "status": "Unknown", "lastHeartbeatTime": heartbeat, "lastTransitionTime": time,
                "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."})
        })
        .collect::<Vec<_>>()
        .into();
    step.writes.extend([Write::Update(tainted), Write::Status(status)]);
    step.say(node, "Normal", "NodeNotReady", format!("Node {name} status is now: NodeNotReady"));
    step
}

/// The pods of a node that became unreachable are not ready, whatever they were.
pub(super) fn pods_not_ready(engine: &Engine, node: &Object, pods: &[Object], now: Timestamp) -> Step {
    let mut step = Step::of("node-controller");
    if ready(node) != "Unknown" {
        return step;
    }
    for pod in pods.iter().filter_map(|p| engine.peek("pods", json::namespace(p), json::name(p))) {
        if super::pods::pod_ready(pod) {
            let mut next = pod.to_content();
            for c in next["status"]["conditions"].as_array_mut().into_iter().flatten().filter(|c| c["type"] == "Ready")
            {
                c["status"] = "False".into();
                c["lastTransitionTime"] = now.rfc3339().into();
            }
            step.writes.push(Write::Status(next));
            step.say(pod, "Warning", "NodeNotReady", "Node is not ready");
        }
    }
    step
}

/// Evicts the pods of a node that do not tolerate its `NoExecute` taints, or no longer.
pub(super) fn evict(node: &Object, pods: &[Object], now: Timestamp) -> Step {
    let mut step = Step::of("taint-eviction-controller");
    for taint in json::list(node, &["spec", "taints"]).iter().filter(|t| t["effect"] == "NoExecute") {
        let added =
            json::text(taint, &["timeAdded"]).parse::<jiff::Timestamp>().map_or(now.as_secs(), |t| t.as_second());
        for pod in pods.iter().filter(|p| !json::deleting(p) && !super::pods::finished(p)) {
            let left = match toleration_of(pod, taint) {
                None => 0,
                Some(toleration) => match json::int(toleration, &["tolerationSeconds"]) {
                    None => continue, // for ever
                    Some(seconds) => added + seconds.max(0) - now.as_secs(),
                },
            };
            if left > 0 {
                step.look_again(left);
                continue;
            }
            let text = format!("Marking for deletion Pod {}/{}", json::namespace(pod), json::name(pod));
            step.say(pod, "Normal", "TaintManagerEviction", text);
            let mut next = pod.to_content();
            super::set_condition(
                &mut next["status"],
                "DisruptionTarget",
                true,
                "DeletionByTaintManager",
                "Taint manager: deleting due to NoExecute taint",
                &now.rfc3339(),
                false,
            );
            step.writes.push(Write::Status(next));
            step.writes.push(Write::Delete(pod.clone()));
        }
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn node(status: &str, taints: Value) -> Object {
        Object::new(
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-0", "uid": "n"}, "spec": {"taints": taints},
            "status": {"conditions": [{"type": "Ready", "status": status, "lastTransitionTime": "x"}]}}),
        )
    }

    #[test]
    fn a_silent_node_is_not_ready_after_fifty_seconds_of_its_last_renewal_and_not_before() {
        let healthy = node("True", json!([]));
        assert!(lifecycle(&healthy, None, NOW).writes.is_empty());
        let early = lifecycle(&healthy, Some(NOW), NOW + Duration::from_secs(39));
        assert!(early.writes.is_empty() && early.again.is_some_and(|a| a <= Duration::from_secs(11)), "{early:?}");
        let late = lifecycle(&healthy, Some(NOW), NOW + GRACE);
        let Some(Write::Status(status)) = late.writes.get(1) else { panic!("{late:?}") };
        assert_eq!(status["status"]["conditions"][3]["reason"], "NodeStatusUnknown");
        assert_eq!(status["spec"]["taints"][1]["effect"], "NoExecute");
        let back = lifecycle(&Object::new(status.clone()), None, NOW);
        let Some(Write::Status(healed)) = back.writes.get(1) else { panic!("{back:?}") };
        assert_eq!(
            (healed["status"]["conditions"][3]["status"].clone(), healed["spec"].get("taints")),
            (json!("True"), None)
        );
    }

    #[test]
    fn pods_leave_an_unreachable_node_when_their_toleration_is_over() {
        let taints = json!([{"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": NOW.rfc3339()}]);
        let pod = |tolerations: Value| {
            Object::new(
                json!({"kind": "Pod", "metadata": {"name": "p", "namespace": "d"}, "spec": {"tolerations": tolerations}, "status": {"phase": "Running"}}),
            )
        };
        let five =
            pod(json!([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]));
        let gone = |pod: &Object, after: u64| {
            let step =
                evict(&node("Unknown", taints.clone()), std::slice::from_ref(pod), NOW + Duration::from_secs(after));
            step.writes.iter().any(|w| matches!(w, Write::Delete(_)))
        };
        assert_eq!((gone(&five, 299), gone(&five, 300)), (false, true));
        assert!(gone(&pod(json!([])), 0));
        assert!(!gone(&pod(json!([{"operator": "Exists"}])), 100_000));
    }
}
