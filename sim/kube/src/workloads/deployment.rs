//! Deployment -> ReplicaSets.

use std::time::Duration;

use serde_json::{Value, json};
use sim_clock::Timestamp;

use super::{
    Step, Write, owned_by,
    pods::{set_condition, template_hash},
    with_status,
};
use crate::{
    engine::{Engine, Object},
    json,
};

const REVISION: &str = "deployment.kubernetes.io/revision";
/// On a ReplicaSet: how many pods its Deployment wants, and may have at most while it rolls.
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MOST: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a Deployment that its ReplicaSets do not take over.
const OWN_ANNOTATIONS: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    "deployment.kubernetes.io/revision-history",
    DESIRED,
    MOST,
    "deprecated.deployment.rollback.to",
];

/// A count or a percentage of `total`.
pub(super) fn resolve(value: Option<&Value>, total: i64, round_up: bool) -> i64 {
    match value {
        Some(Value::String(text)) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(25);
            if round_up { (percent * total + 99) / 100 } else { percent * total / 100 }
        }
        Some(other) => other.as_i64().unwrap_or(0),
        None => 0,
    }
}

fn count(object: &Value, path: &[&str]) -> i64 {
    json::int(object, path).unwrap_or(0)
}

fn revision(set: &Value) -> i64 {
    json::text(set, &["metadata", "annotations", REVISION]).parse().unwrap_or(0)
}

/// What a Deployment writes on its newest ReplicaSet: its own annotations and its numbers.
fn annotations(deployment: &Value, number: i64, wanted: i64, surge: i64) -> Vec<(&str, String)> {
    let own = json::map(deployment, &["metadata", "annotations"]).into_iter().flatten();
    let own = own.filter(|(key, _)| !OWN_ANNOTATIONS.contains(&key.as_str()));
    let own = own.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or("").to_owned()));
    own.chain([(REVISION, number.to_string())]).chain(sizes(wanted, surge)).collect()
}

fn sizes(wanted: i64, surge: i64) -> [(&'static str, String); 2] {
    [(DESIRED, wanted.to_string()), (MOST, (wanted + surge).to_string())]
}

fn annotate<'a>(set: &mut Value, annotations: impl IntoIterator<Item = (&'a str, String)>) {
    let map = json::child_map(&mut set["metadata"], "annotations");
    for (key, value) in annotations {
        map.insert(key.to_owned(), value.into());
    }
}

/// One look at a Deployment.
pub fn deployment(engine: &Engine, deployment: &Object, now: Timestamp) -> Step {
    let mut step = Step::of("deployment-controller");
    if json::deleting(deployment) {
        return step;
    }
    let namespace = json::namespace(deployment);
    let sets = engine.controlled("replicasets.apps", namespace, json::uid(deployment));
    let hash = template_hash(&deployment["spec"]["template"]);
    let new = sets.iter().find(|s| json::text(s, &["metadata", "labels", "pod-template-hash"]) == hash);
    let old: Vec<&Object> =
        sets.iter().filter(|s| json::text(s, &["metadata", "labels", "pod-template-hash"]) != hash).collect();
    let wanted = count(deployment, &["spec", "replicas"]);
    let strategy = &deployment["spec"]["strategy"];
    let recreate = strategy["type"] == "Recreate";
    let surge = resolve(json::at(strategy, &["rollingUpdate", "maxSurge"]), wanted, true);
    let mut unavailable = resolve(json::at(strategy, &["rollingUpdate", "maxUnavailable"]), wanted, false);
    if surge == 0 && unavailable == 0 {
        unavailable = 1;
    }
    let paused = deployment["spec"]["paused"] == true;
    let most = if recreate { 0 } else { surge };
    let number = old.iter().map(|s| revision(s)).max().unwrap_or(0) + 1;
    let number = new.map_or(number, |n| number.max(revision(n)));
    let old_wanted: i64 = old.iter().map(|s| count(s, &["spec", "replicas"])).sum();
    let old_pods: i64 = old.iter().map(|s| count(s, &["status", "replicas"])).sum();

    let new_has = new.map_or(0, |n| count(n, &["spec", "replicas"]));
    let new_wants = if recreate {
        if old_pods > 0 || old_wanted > 0 { new_has } else { wanted }
    } else if new_has > wanted {
        wanted
    } else {
        new_has + (wanted + surge - old_wanted - new_has).clamp(0, wanted - new_has)
    };
    match new {
        None if !paused => {
            let mut set = new_set(deployment, &hash, new_wants);
            annotate(&mut set, annotations(deployment, number, wanted, most));
            if new_wants > 0 {
                scaled_to(&mut step, deployment, &set, 0, new_wants);
            }
            step.writes.insert(0, Write::Create(set));
        }
        None => {}
        Some(n) => {
            let wanted_here = annotations(deployment, number, wanted, most);
            let annotated =
                wanted_here.iter().all(|(key, value)| json::text(n, &["metadata", "annotations", key]) == value);
            let scaled = (count(n, &["spec", "replicas"]) == new_wants) || (paused && new_wants > new_has);
            if !annotated || !scaled {
                let mut object = n.to_content();
                if !scaled {
                    object["spec"]["replicas"] = new_wants.into();
                    scaled_to(&mut step, deployment, n, new_has, new_wants);
                }
                annotate(&mut object, wanted_here);
                step.writes.push(Write::Update(object));
            }
        }
    }
    if new.is_some() && !paused {
        shrink_old(
            &mut step,
            deployment,
            &old,
            new,
            wanted,
            if recreate { wanted } else { unavailable },
            old_wanted,
            new_has,
            most,
        );
    }
    let keep = count(deployment, &["spec", "revisionHistoryLimit"]).max(0) as usize;
    let mut idle: Vec<&&Object> =
        old.iter().filter(|s| count(s, &["spec", "replicas"]) == 0 && count(s, &["status", "replicas"]) == 0).collect();
    idle.sort_by_key(|s| revision(s));
    let surplus = idle.len().saturating_sub(keep);
    step.writes.extend(idle.into_iter().take(surplus).map(|s| Write::Delete((*s).clone())));

    status(&mut step, deployment, &sets, new, wanted, unavailable, number, &hash, now);
    step
}

fn new_set(deployment: &Value, hash: &str, replicas: i64) -> Value {
    let mut template = deployment["spec"]["template"].clone();
    json::child_map(json::child_map_value(&mut template, "metadata"), "labels")
        .insert("pod-template-hash".into(), hash.into());
    let mut selector = deployment["spec"]["selector"].clone();
    json::child_map(&mut selector, "matchLabels").insert("pod-template-hash".into(), hash.into());
    let mut spec = json!({"replicas": replicas, "selector": selector, "template": template});
    if let Some(min) = json::at(deployment, &["spec", "minReadySeconds"]) {
        spec["minReadySeconds"] = min.clone();
    }
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": format!("{}-{hash}", json::name(deployment)), "namespace": json::namespace(deployment), "labels": spec["template"]["metadata"]["labels"],
            "annotations": {}, "ownerReferences": [owned_by(deployment)]},
        "spec": spec})
}

fn scaled_to(step: &mut Step, deployment: &Object, set: &Value, from: i64, to: i64) {
    let way = if to > from { "up" } else { "down" };
    let text = format!("Scaled {way} replica set {} from {from} to {to}", json::name(set));
    step.say(deployment, "Normal", "ScalingReplicaSet", text);
}

fn shrink_old(
    step: &mut Step,
    deployment: &Object,
    old: &[&Object],
    new: Option<&Object>,
    wanted: i64,
    unavailable: i64,
    old_wanted: i64,
    new_has: i64,
    surge: i64,
) {
    let new_available = new.map_or(0, |n| count(n, &["status", "availableReplicas"]));
    let minimum = wanted - unavailable;
    let mut budget = old_wanted + new_has - minimum - (new_has - new_available).max(0);
    // Replicas that are not available are taken first: they serve nobody.
    let mut targets: Vec<i64> = old.iter().map(|s| count(s, &["spec", "replicas"])).collect();
    for (i, set) in old.iter().enumerate() {
        let broken = (targets[i] - count(set, &["status", "availableReplicas"])).clamp(0, budget.max(0));
        targets[i] -= broken;
        budget -= broken;
    }
    let available: i64 = new_available + old.iter().map(|s| count(s, &["status", "availableReplicas"])).sum::<i64>();
    let mut spare = (available - minimum).min(budget).max(0);
    for target in &mut targets {
        let taken = (*target).clamp(0, spare);
        *target -= taken;
        spare -= taken;
    }
    for (set, target) in old.iter().zip(targets) {
        let before = count(set, &["spec", "replicas"]);
        if before != target {
            scaled_to(step, deployment, set, before, target);
            let mut object = set.to_content();
            object["spec"]["replicas"] = target.into();
            annotate(&mut object, sizes(wanted, surge));
            step.writes.push(Write::Update(object));
        }
    }
}

fn status(
    step: &mut Step,
    deployment: &Object,
    sets: &[Object],
    new: Option<&Object>,
    wanted: i64,
    unavailable: i64,
    number: i64,
    hash: &str,
    now: Timestamp,
) {
    let time = now.rfc3339();
    let sum = |key: &str| sets.iter().map(|s| count(s, &["status", key])).sum::<i64>();
    let (replicas, ready, available) = (sum("replicas"), sum("readyReplicas"), sum("availableReplicas"));
    let updated = new.map_or(0, |n| count(n, &["status", "replicas"]));
    let mut next = json!({"observedGeneration": deployment["metadata"]["generation"]});
    for (key, n) in [
        ("replicas", replicas),
        ("updatedReplicas", updated),
        ("readyReplicas", ready),
        ("availableReplicas", available),
        ("unavailableReplicas", (replicas.max(wanted) - available).max(0)),
    ] {
        if n > 0 {
            next[key] = n.into();
        }
    }
    if let Some(conditions) = json::at(deployment, &["status", "conditions"]) {
        next["conditions"] = conditions.clone();
    }
    if available >= wanted - unavailable {
        set_condition(
            &mut next,
            "Available",
            true,
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
            &time,
            true,
        );
    } else {
        set_condition(
            &mut next,
            "Available",
            false,
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
            &time,
            true,
        );
    }
    let name = format!("{}-{hash}", json::name(deployment));
    let complete = new.is_some() && updated == wanted && replicas == wanted && available == wanted;
    let before = deployment.get("status").cloned().unwrap_or_else(|| json!({}));
    let moved = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"]
        .iter()
        .any(|k| count(&before, &[k]) < count(&next, &[k]));
    let progressing = json::list(&before, &["conditions"]).iter().find(|c| c["type"] == "Progressing").cloned();
    let reason = progressing.as_ref().map_or("", |c| c["reason"].as_str().unwrap_or(""));
    if complete {
        set_condition(
            &mut next,
            "Progressing",
            true,
            "NewReplicaSetAvailable",
            &format!("ReplicaSet \"{name}\" has successfully progressed."),
            &time,
            true,
        );
    } else if new.is_none() {
        set_condition(
            &mut next,
            "Progressing",
            true,
            "NewReplicaSetCreated",
            &format!("Created new replica set \"{name}\""),
            &time,
            true,
        );
    } else if moved
        || (reason == "NewReplicaSetAvailable"
            && new.is_some_and(|n| {
                revision(n) != number
                    || count(&before, &["observedGeneration"]) != count(deployment, &["metadata", "generation"])
            }))
    {
        set_condition(
            &mut next,
            "Progressing",
            true,
            "ReplicaSetUpdated",
            &format!("ReplicaSet \"{name}\" is progressing."),
            &time,
            true,
        );
        // Progress restarts the deadline even where the words stay the same.
        touch(&mut next, &time);
    }
    if !complete && reason != "NewReplicaSetAvailable" {
        let updated_at = json::list(&next, &["conditions"])
            .iter()
            .find(|c| c["type"] == "Progressing")
            .and_then(|c| json::text(c, &["lastUpdateTime"]).parse::<jiff::Timestamp>().ok());
        let limit = count(deployment, &["spec", "progressDeadlineSeconds"]);
        if let Some(at) = updated_at
            && reason != "ProgressDeadlineExceeded"
        {
            let left = at.as_second() + limit - now.as_secs();
            if left <= 0 {
                set_condition(
                    &mut next,
                    "Progressing",
                    false,
                    "ProgressDeadlineExceeded",
                    &format!("ReplicaSet \"{name}\" has timed out progressing."),
                    &time,
                    true,
                );
            } else {
                step.again = Some(Duration::from_secs(left as u64));
            }
        }
    }
    let annotated = json::text(deployment, &["metadata", "annotations", REVISION]) == number.to_string();
    if !annotated {
        let mut object = deployment.to_content();
        json::child_map(&mut object["metadata"], "annotations").insert(REVISION.into(), number.to_string().into());
        json::ensure_map(&mut object["metadata"]).shift_remove("resourceVersion");
        step.writes.push(Write::Update(object));
    }
    if before != next {
        let mut object = with_status(deployment, next);
        // The annotation above may have moved the version; the status is this controller's alone.
        json::ensure_map(&mut object["metadata"]).shift_remove("resourceVersion");
        step.writes.push(Write::Status(object));
    }
}

fn touch(status: &mut Value, time: &str) {
    for c in status["conditions"].as_array_mut().into_iter().flatten().filter(|c| c["type"] == "Progressing") {
        c["lastUpdateTime"] = time.into();
    }
}
