//! StatefulSet -> Pods and PersistentVolumeClaims.

use std::time::Duration;

use serde_json::{Value, json};
use sim_clock::Timestamp;

use super::{Step, Write, claim_pods, owned_by, pods, template_hash, with_status};
use crate::{
    engine::{Engine, Object},
    json,
};

const HASH: &str = "controller-revision-hash";

fn ordinal(pod: &Value) -> Option<i64> {
    json::name(pod).rsplit_once('-')?.1.parse().ok()
}

/// One look at a StatefulSet.
pub fn stateful_set(engine: &Engine, set: &Object, now: Timestamp) -> Step {
    let mut step = Step::of("statefulset-controller");
    let namespace = json::namespace(set);
    let name = json::name(set);
    let wanted = json::int(set, &["spec", "replicas"]).unwrap_or(1).max(0);
    let start = json::int(set, &["spec", "ordinals", "start"]).unwrap_or(0);
    let parallel = json::text(set, &["spec", "podManagementPolicy"]) == "Parallel";
    let min_ready = json::int(set, &["spec", "minReadySeconds"]).unwrap_or(0);
    let update = format!("{name}-{}", template_hash(&set["spec"]["template"]));
    let current = match json::text(set, &["status", "currentRevision"]) {
        "" => update.clone(),
        known => known.to_owned(),
    };
    let mut all = claim_pods(&mut step, engine, set);
    all.sort_by_key(|p| ordinal(p));
    let find = |i: i64| all.iter().find(|p| ordinal(p) == Some(i));
    let mut usable = |pod: &Object| match pods::available(pod, min_ready, now.as_secs()) {
        Ok(()) => !json::deleting(pod),
        Err(missing) => {
            if let Some(missing) = missing {
                step.again = Some(Duration::from_secs(missing as u64));
            }
            false
        }
    };
    let healthy: Vec<bool> = (start..start + wanted).map(|i| find(i).is_some_and(&mut usable)).collect();
    if engine.peek("controllerrevisions.apps", namespace, &update).is_none() && !json::deleting(set) {
        let number = 1 + engine
            .controlled("controllerrevisions.apps", namespace, json::uid(set))
            .iter()
            .filter_map(|r| json::int(r, &["revision"]))
            .max()
            .unwrap_or(0);
        step.writes.push(Write::Create(json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": number,
            "metadata": {"name": update, "namespace": namespace, "labels": set["spec"]["template"]["metadata"]["labels"], "ownerReferences": [owned_by(set)]},
            "data": {"spec": {"template": set["spec"]["template"]}}})));
    }
    if !json::deleting(set) {
        replicate(&mut step, engine, set, &all, &healthy, start, wanted, parallel, &current, &update);
    }
    status(&mut step, set, &all, &healthy, wanted, &current, &update, min_ready, now);
    step
}

fn replicate(
    step: &mut Step,
    engine: &Engine,
    set: &Object,
    all: &[Object],
    healthy: &[bool],
    start: i64,
    wanted: i64,
    parallel: bool,
    current: &str,
    update: &str,
) {
    let find = |i: i64| all.iter().find(|p| ordinal(p) == Some(i));
    let partition = json::int(set, &["spec", "updateStrategy", "rollingUpdate", "partition"]).unwrap_or(0);
    for (at, i) in (start..start + wanted).enumerate() {
        match find(i) {
            None => {
                let revision = if i - start < partition { current } else { update };
                claims(step, engine, set, i);
                step.writes.push(Write::CreateFor(set.clone(), new_pod(engine, set, i, revision, update)));
            }
            Some(pod) if pods::finished(pod) && !json::deleting(pod) => {
                step.writes.push(Write::DeleteFor(set.clone(), pod.clone()));
            }
            Some(_) => {
                claims(step, engine, set, i);
            }
        }
        if !parallel && !healthy[at] {
            return;
        }
    }
    // The surplus, from the top.
    let mut condemned: Vec<&Object> =
        all.iter().filter(|p| ordinal(p).is_none_or(|i| i < start || i >= start + wanted)).collect();
    condemned.sort_by_key(|p| std::cmp::Reverse(ordinal(p)));
    for pod in &condemned {
        if !json::deleting(pod) {
            if json::text(set, &["spec", "persistentVolumeClaimRetentionPolicy", "whenScaled"]) == "Delete" {
                for template in json::list(set, &["spec", "volumeClaimTemplates"]) {
                    let claim = format!("{}-{}", json::name(template), json::name(pod));
                    step.writes.extend(
                        engine.peek("persistentvolumeclaims", json::namespace(set), &claim).cloned().map(Write::Delete),
                    );
                }
            }
            step.writes.push(Write::DeleteFor(set.clone(), (*pod).clone()));
        }
        if !parallel {
            return;
        }
    }
    if json::text(set, &["spec", "updateStrategy", "type"]) == "OnDelete" {
        return;
    }
    // The rolling update: one pod at a time from the top, waiting for each to be healthy.
    for i in (start + partition.max(0)..start + wanted).rev() {
        let Some(pod) = find(i) else { return };
        if json::text(pod, &["metadata", "labels", HASH]) != update && !json::deleting(pod) {
            step.writes.push(Write::DeleteFor(set.clone(), pod.clone()));
            return;
        }
        if !healthy[(i - start) as usize] {
            return;
        }
    }
}

fn claims(step: &mut Step, engine: &Engine, set: &Object, i: i64) {
    for template in json::list(set, &["spec", "volumeClaimTemplates"]) {
        let name = format!("{}-{}-{i}", json::name(template), json::name(set));
        if engine.peek("persistentvolumeclaims", json::namespace(set), &name).is_some() {
            continue;
        }
        let mut claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": template["metadata"], "spec": template["spec"]});
        let metadata = json::child_map(&mut claim, "metadata");
        metadata.insert("name".into(), name.into());
        metadata.insert("namespace".into(), json::namespace(set).into());
        let labels = metadata.entry("labels").or_insert_with(|| json!({}));
        for (key, value) in json::map(set, &["spec", "selector", "matchLabels"]).into_iter().flatten() {
            labels[key] = value.clone();
        }
        if json::text(set, &["spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted"]) == "Delete" {
            metadata.insert("ownerReferences".into(), json!([owned_by(set)]));
        }
        step.writes.push(Write::CreateFor(set.clone(), claim));
    }
}

fn new_pod(engine: &Engine, set: &Object, i: i64, revision: &str, update: &str) -> Value {
    let stored =
        if revision == update { None } else { engine.peek("controllerrevisions.apps", json::namespace(set), revision) };
    let template = stored.and_then(|r| json::at(r, &["data", "spec", "template"])).unwrap_or(&set["spec"]["template"]);
    let revision = if stored.is_some() { revision } else { update };
    let mut pod = pods::from_template(set, template);
    let name = format!("{}-{i}", json::name(set));
    pod["metadata"]["name"] = name.clone().into();
    let labels = json::child_map(&mut pod["metadata"], "labels");
    labels.insert(HASH.into(), revision.into());
    labels.insert("statefulset.kubernetes.io/pod-name".into(), name.clone().into());
    labels.insert("apps.kubernetes.io/pod-index".into(), i.to_string().into());
    pod["spec"]["hostname"] = name.clone().into();
    if let Some(service) = json::at(set, &["spec", "serviceName"]) {
        pod["spec"]["subdomain"] = service.clone();
    }
    let mut volumes: Vec<Value> = json::list(&pod, &["spec", "volumes"]).to_vec();
    for template in json::list(set, &["spec", "volumeClaimTemplates"]) {
        let volume = json::name(template);
        volumes.retain(|v| json::text(v, &["name"]) != volume);
        volumes.push(json!({"name": volume, "persistentVolumeClaim": {"claimName": format!("{volume}-{name}")}}));
    }
    if !volumes.is_empty() {
        pod["spec"]["volumes"] = volumes.into();
    }
    pod
}

fn status(
    step: &mut Step,
    set: &Object,
    all: &[Object],
    healthy: &[bool],
    wanted: i64,
    current: &str,
    update: &str,
    min_ready: i64,
    now: Timestamp,
) {
    let live: Vec<&Object> = all.iter().filter(|p| !json::deleting(p)).collect();
    let of = |revision: &str| live.iter().filter(|p| json::text(p, &["metadata", "labels", HASH]) == revision).count();
    let updated = of(update);
    let done = updated as i64 == wanted && all.len() as i64 == wanted && healthy.iter().all(|h| *h);
    let current = if done { update } else { current };
    let mut next = json!({
        "observedGeneration": set["metadata"]["generation"], "replicas": all.len(),
        "availableReplicas": live.iter().filter(|p| pods::available(p, min_ready, now.as_secs()).is_ok()).count(),
        "currentRevision": current, "updateRevision": update, "collisionCount": 0,
    });
    for (key, n) in [
        ("readyReplicas", live.iter().filter(|p| pods::pod_ready(p)).count()),
        ("currentReplicas", of(current)),
        ("updatedReplicas", updated),
    ] {
        if n > 0 {
            next[key] = n.into();
        }
    }
    if set.get("status") != Some(&next) {
        step.writes.push(Write::Status(with_status(set, next)));
    }
}
