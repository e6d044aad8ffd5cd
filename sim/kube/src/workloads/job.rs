//! Job -> Pods that run to their end.

use std::time::Duration;

use serde_json::{Value, json};
use sim_clock::Timestamp;

use super::{Step, Write, claim_pods, pods, with_status};
use crate::{
    engine::{Engine, Object},
    json,
};

/// First pause after a pod failed; doubles with each.
const BACK_OFF_SECS: i64 = 10;
/// Longest pause after a pod failed.
const BACK_OFF_SECS_MAX: i64 = 600;
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// What a Job gets that its author leaves out: the selector and the labels that make its pods its own.
/// It is given when the Job is created, as its template may not change afterwards.
pub(crate) fn identity(next: &mut Value) {
    if json::at(next, &["spec", "selector"]).is_some()
        || json::at(next, &["spec", "manualSelector"]) == Some(&Value::Bool(true))
    {
        return;
    }
    let (uid, name) = (json::uid(next).to_owned(), json::name(next).to_owned());
    next["spec"]["selector"] = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
    let labels = json::child_map(json::child_map_value(json::child_map_value(next, "spec"), "template"), "metadata");
    let labels = json::ensure_map(labels.entry("labels").or_insert_with(|| json!({})));
    for (key, value) in [
        ("batch.kubernetes.io/controller-uid", uid.clone()),
        ("batch.kubernetes.io/job-name", name.clone()),
        ("controller-uid", uid),
        ("job-name", name),
    ] {
        labels.insert(key.into(), value.into());
    }
}

fn condition(job: &Value, kind: &str) -> bool {
    json::list(job, &["status", "conditions"]).iter().any(|c| c["type"] == kind && c["status"] == "True")
}

fn seconds(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

/// When a pod ended, in Unix seconds.
fn ended(pod: &Value) -> i64 {
    json::list(pod, &["status", "containerStatuses"])
        .iter()
        .filter_map(|c| seconds(json::text(c, &["state", "terminated", "finishedAt"])))
        .max()
        .unwrap_or(0)
}

fn index(pod: &Value) -> Option<i64> {
    json::text(pod, &["metadata", "annotations", INDEX]).parse().ok()
}

/// `0-2,5` of a sorted list.
fn ranges(indexes: &[i64]) -> String {
    let mut out: Vec<(i64, i64)> = Vec::new();
    for &i in indexes {
        match out.last_mut() {
            Some((_, end)) if *end + 1 == i => *end = i,
            _ => out.push((i, i)),
        }
    }
    let text = out.into_iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") });
    text.collect::<Vec<_>>().join(",")
}

/// One look at a Job.
pub fn job(engine: &Engine, job: &Object, now: Timestamp) -> Step {
    let mut step = Step::of("job-controller");
    if json::deleting(job) {
        return step;
    }
    if condition(job, "Complete") || condition(job, "Failed") {
        return afterwards(step, job, now);
    }
    let own = claim_pods(&mut step, engine, job);
    let of = |phase: &str| own.iter().filter(|p| p["status"]["phase"] == phase).cloned().collect::<Vec<_>>();
    let (succeeded, failed) = (of("Succeeded"), of("Failed"));
    let active: Vec<Object> = own.iter().filter(|p| !pods::finished(p) && !json::deleting(p)).cloned().collect();
    let int = |path: &[&str], default: i64| json::int(job, path).unwrap_or(default);
    let parallelism = int(&["spec", "parallelism"], 1).max(0);
    let completions = json::int(job, &["spec", "completions"]);
    let indexed = json::text(job, &["spec", "completionMode"]) == "Indexed";
    let suspended = job["spec"]["suspend"] == true;
    let mut status = job.get("status").cloned().unwrap_or_else(|| json!({}));
    if !suspended && status.get("startTime").is_none() {
        status["startTime"] = now.rfc3339().into();
    }
    let started = seconds(json::text(&status, &["startTime"])).unwrap_or(now.as_secs());
    let mut done: Vec<i64> = succeeded.iter().filter_map(|p| index(p)).collect();
    done.sort_unstable();
    done.dedup();
    let successes = if indexed { done.len() } else { succeeded.len() } as i64;
    let restarts: i64 = active
        .iter()
        .flat_map(|p| json::list(p, &["status", "containerStatuses"]))
        .filter_map(|c| json::int(c, &["restartCount"]))
        .sum();
    let limit = int(&["spec", "backoffLimit"], 6);
    let verdict = if failed.len() as i64 + restarts > limit {
        Some(("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"))
    } else if json::int(job, &["spec", "activeDeadlineSeconds"])
        .is_some_and(|d| !suspended && now.as_secs() >= started + d)
    {
        Some(("Failed", "DeadlineExceeded", "Job was active longer than specified deadline"))
    } else if completions.map_or(successes > 0 && active.is_empty(), |wanted| successes >= wanted) {
        Some(("Complete", "CompletionsReached", "Reached expected number of succeeded pods"))
    } else {
        None
    };
    if let Some(deadline) = json::int(job, &["spec", "activeDeadlineSeconds"]).filter(|_| !suspended) {
        step.look_again((started + deadline - now.as_secs()).max(1));
    }
    let mut running = active.len();
    if let Some((kind, reason, message)) = verdict {
        step.writes.extend(active.iter().map(|p| Write::DeleteFor(job.clone(), p.clone())));
        running = 0;
        let target = if kind == "Complete" { "SuccessCriteriaMet" } else { "FailureTarget" };
        for kind in [target, kind] {
            add_condition(&mut status, kind, reason, message, &now.rfc3339());
        }
        if kind == "Complete" {
            status["completionTime"] = now.rfc3339().into();
            step.say(job, "Normal", "Completed", "Job completed");
        } else {
            step.say(job, "Warning", reason, message);
        }
        step.look_again(0);
    } else if suspended {
        step.writes.extend(active.iter().map(|p| Write::DeleteFor(job.clone(), p.clone())));
        running = 0;
        if !condition(job, "Suspended") {
            super::set_condition(
                &mut status,
                "Suspended",
                true,
                "JobSuspended",
                "Job suspended",
                &now.rfc3339(),
                false,
            );
            step.say(job, "Normal", "Suspended", "Job suspended");
        }
        json::ensure_map(&mut status).shift_remove("startTime");
    } else {
        if condition(job, "Suspended") {
            super::set_condition(&mut status, "Suspended", false, "JobResumed", "Job resumed", &now.rfc3339(), false);
            step.say(job, "Normal", "Resumed", "Job resumed");
        }
        let left = completions.map_or(if successes > 0 { 0 } else { parallelism }, |wanted| wanted - successes);
        let wanted = if completions.is_none() && successes > 0 { active.len() as i64 } else { parallelism.min(left) };
        let surplus = (active.len() as i64 - wanted).max(0) as usize;
        step.writes.extend(active.iter().take(surplus).map(|p| Write::DeleteFor(job.clone(), p.clone())));
        // After a failure the next pod waits.
        let n = failed.len() as u32;
        let pause = if n == 0 { 0 } else { (BACK_OFF_SECS << (n - 1).min(10)).min(BACK_OFF_SECS_MAX) };
        let wait = failed.iter().map(|p| ended(p)).max().unwrap_or(0) + pause - now.as_secs();
        if wait > 0 && (active.len() as i64) < wanted {
            step.look_again(wait);
        } else {
            let mut free = (0..completions.unwrap_or(0))
                .filter(|i| !done.contains(i) && !active.iter().any(|p| index(p) == Some(*i)))
                .collect::<Vec<_>>()
                .into_iter();
            for _ in active.len() as i64..wanted {
                step.writes.push(Write::CreateFor(job.clone(), new_pod(job, if indexed { free.next() } else { None })));
                running += 1;
            }
        }
    }
    counts(&mut status, &active, running, successes, failed.len(), indexed.then(|| ranges(&done)));
    if job.get("status") != Some(&status) {
        step.writes.push(Write::Status(with_status(job, status)));
    }
    step
}

fn add_condition(status: &mut Value, kind: &str, reason: &str, message: &str, time: &str) {
    let condition = json!({"type": kind, "status": "True", "lastProbeTime": time, "lastTransitionTime": time, "reason": reason, "message": message});
    let list = json::ensure_map(status).entry("conditions").or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut() {
        list.push(condition);
    }
}

fn counts(status: &mut Value, active: &[Object], running: usize, successes: i64, failed: usize, done: Option<String>) {
    let ready = active.iter().filter(|p| pods::pod_ready(p)).count();
    for (key, n) in [("active", running as i64), ("succeeded", successes), ("failed", failed as i64)] {
        if n > 0 {
            status[key] = n.into();
        } else {
            json::ensure_map(status).shift_remove(key);
        }
    }
    status["ready"] = if running == 0 { 0 } else { ready }.into();
    status["terminating"] = json::int(status, &["terminating"]).unwrap_or(0).into();
    status["uncountedTerminatedPods"] = json!({});
    if let Some(done) = done.filter(|d| !d.is_empty()) {
        status["completedIndexes"] = done.into();
    }
}

fn new_pod(job: &Object, index: Option<i64>) -> Value {
    let mut pod = pods::from_template(job, &job["spec"]["template"]);
    pod["metadata"]["generateName"] = format!("{}-", json::name(job)).into();
    if let Some(index) = index {
        pod["metadata"]["generateName"] = format!("{}-{index}-", json::name(job)).into();
        json::child_map(&mut pod["metadata"], "annotations").insert(INDEX.into(), index.to_string().into());
        json::child_map(&mut pod["metadata"], "labels").insert(INDEX.into(), index.to_string().into());
        pod["spec"]["hostname"] = format!("{}-{index}", json::name(job)).into();
        for list in ["initContainers", "containers"] {
            for c in pod["spec"][list].as_array_mut().into_iter().flatten() {
                let env = json::ensure_map(c).entry("env").or_insert_with(|| json!([]));
                let path = format!("metadata.labels['{INDEX}']");
                if let Some(env) = env.as_array_mut() {
                    env.push(json!({"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"fieldPath": path}}}));
                }
            }
        }
    }
    pod
}

/// A Job that has ended goes when its time to live is over.
fn afterwards(mut step: Step, job: &Object, now: Timestamp) -> Step {
    let Some(ttl) = json::int(job, &["spec", "ttlSecondsAfterFinished"]) else { return step };
    let ended = json::list(job, &["status", "conditions"])
        .iter()
        .filter(|c| c["type"] == "Complete" || c["type"] == "Failed")
        .find_map(|c| seconds(json::text(c, &["lastTransitionTime"])))
        .unwrap_or(now.as_secs());
    let left = ended + ttl - now.as_secs();
    if left > 0 {
        step.again = Some(Duration::from_secs(left as u64));
    } else {
        step.writes.push(Write::Delete(job.clone()));
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completed_indexes_are_written_as_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(ranges(&[]), "");
    }
}
