//! DaemonSet -> one pod on each node that it may run on.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sim_clock::Timestamp;

use super::{
    Step, Write, claim_pods, owned_by, pods,
    scheduler::{admits, daemon_tolerations},
    template_hash, with_status,
};
use crate::{
    engine::{Engine, Object},
    json,
};

const HASH: &str = "controller-revision-hash";

/// The node that a daemon's pod is meant for.
fn home(pod: &Value) -> &str {
    let terms =
        ["spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"];
    match json::text(pod, &["spec", "nodeName"]) {
        "" => json::list(pod, &terms)
            .iter()
            .flat_map(|t| json::list(t, &["matchFields"]))
            .find(|f| f["key"] == "metadata.name")
            .map_or("", |f| f["values"][0].as_str().unwrap_or("")),
        node => node,
    }
}

fn new_pod(set: &Object, node: &str, hash: &str) -> Value {
    let mut pod = pods::from_template(set, &set["spec"]["template"]);
    pod["metadata"]["generateName"] = format!("{}-", json::name(set)).into();
    let labels = json::child_map(&mut pod["metadata"], "labels");
    labels.insert(HASH.into(), hash.into());
    let generation = json::int(set, &["metadata", "generation"]).unwrap_or(1);
    labels.insert("pod-template-generation".into(), generation.to_string().into());
    let field = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]});
    let affinity = json::child_map_value(json::child_map_value(&mut pod["spec"], "affinity"), "nodeAffinity");
    let required = json::child_map_value(affinity, "requiredDuringSchedulingIgnoredDuringExecution");
    // The node is named besides what the template asks for, which was checked before.
    json::ensure_map(required).insert("nodeSelectorTerms".into(), json!([field]));
    let tolerations = json::child_map(&mut pod, "spec").entry("tolerations").or_insert_with(|| json!([]));
    if let Some(list) = tolerations.as_array_mut() {
        list.extend(daemon_tolerations().into_iter().filter(|t| !list.contains(t)).collect::<Vec<_>>());
    }
    pod
}

/// One look at a DaemonSet.
pub fn daemon_set(engine: &Engine, set: &Object, now: Timestamp) -> Step {
    let mut step = Step::of("daemonset-controller");
    let namespace = json::namespace(set);
    let hash = template_hash(&set["spec"]["template"]);
    let name = format!("{}-{hash}", json::name(set));
    if json::deleting(set) {
        return step;
    }
    if engine.peek("controllerrevisions.apps", namespace, &name).is_none() {
        let known = engine.controlled("controllerrevisions.apps", namespace, json::uid(set));
        let number = 1 + known.iter().filter_map(|r| json::int(r, &["revision"])).max().unwrap_or(0);
        step.writes.push(Write::Create(json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": number,
            "metadata": {"name": name, "namespace": namespace, "labels": set["spec"]["template"]["metadata"]["labels"], "ownerReferences": [owned_by(set)]},
            "data": {"spec": {"template": set["spec"]["template"]}}})));
    }
    let own = claim_pods(&mut step, engine, set);
    let mut by_node: BTreeMap<&str, Vec<&Object>> = BTreeMap::new();
    for pod in &own {
        by_node.entry(home(pod)).or_default().push(pod);
    }
    let min_ready = json::int(set, &["spec", "minReadySeconds"]).unwrap_or(0);
    let probe = new_pod(set, "", &hash);
    let (mut desired, mut current, mut misplaced, mut ready, mut available, mut updated) = (0, 0, 0, 0, 0, 0);
    let mut old: Vec<&Object> = Vec::new();
    let mut down = 0;
    for node in engine.scan("nodes", None) {
        let here = by_node.remove(json::name(node)).unwrap_or_default();
        let (run, stay) = admits(node, &probe, set);
        let kept = stay && !here.is_empty();
        if !run && !kept {
            misplaced += usize::from(!here.is_empty());
            step.writes.extend(
                here.iter().filter(|p| !json::deleting(p)).map(|p| Write::DeleteFor(set.clone(), (*p).clone())),
            );
            continue;
        }
        desired += 1;
        for pod in here.iter().filter(|p| pods::finished(p) && !json::deleting(p)) {
            let text = format!(
                "Found failed daemon pod {namespace}/{} on node {}, will try to kill it",
                json::name(pod),
                json::name(node)
            );
            step.say(set, "Warning", "FailedDaemonPod", text);
            step.writes.push(Write::DeleteFor(set.clone(), (*pod).clone()));
        }
        let mut live: Vec<&&Object> = here.iter().filter(|p| !pods::finished(p) && !json::deleting(p)).collect();
        live.sort_by_key(|p| json::text(p, &["metadata", "creationTimestamp"]).to_owned());
        if here.is_empty() {
            step.writes.push(Write::CreateFor(set.clone(), new_pod(set, json::name(node), &hash)));
        }
        let Some(first) = live.first() else {
            down += 1;
            continue;
        };
        step.writes.extend(live.iter().skip(1).map(|p| Write::DeleteFor(set.clone(), (**p).clone())));
        current += 1;
        ready += usize::from(pods::pod_ready(first));
        match pods::available(first, min_ready, now.as_secs()) {
            Ok(()) => available += 1,
            Err(missing) => {
                down += 1;
                if let Some(missing) = missing {
                    step.look_again(missing);
                }
            }
        }
        if json::text(first, &["metadata", "labels", HASH]) == hash {
            updated += 1;
        } else {
            old.push(first);
        }
    }
    // Pods whose node is gone.
    for pod in by_node.into_values().flatten().filter(|p| !json::deleting(p)) {
        step.writes.push(Write::DeleteFor(set.clone(), pod.clone()));
    }
    if json::text(set, &["spec", "updateStrategy", "type"]) != "OnDelete" {
        let most = json::at(set, &["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"]);
        let most = most.map_or(1, |m| super::deployment::resolve(Some(m), desired, true)).max(1);
        old.sort_by_key(|p| pods::pod_ready(p)); // those that serve nobody cost nothing
        let mut budget = (most - down).max(0);
        for pod in old {
            let serves = pods::available(pod, min_ready, now.as_secs()).is_ok();
            if serves && budget == 0 {
                break;
            }
            budget -= i64::from(serves);
            step.writes.push(Write::DeleteFor(set.clone(), pod.clone()));
        }
    }
    let mut status = json!({"currentNumberScheduled": current, "numberMisscheduled": misplaced, "desiredNumberScheduled": desired,
        "numberReady": ready, "observedGeneration": set["metadata"]["generation"]});
    let missing = usize::try_from(desired).unwrap_or(0).saturating_sub(available);
    for (key, n) in
        [("updatedNumberScheduled", updated), ("numberAvailable", available), ("numberUnavailable", missing)]
    {
        if n > 0 {
            status[key] = n.into();
        }
    }
    if set.get("status") != Some(&status) {
        step.writes.push(Write::Status(with_status(set, status)));
    }
    step
}
