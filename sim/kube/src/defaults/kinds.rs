//! Defaults of kinds that no controller of the world runs, but that clients read back.

use serde_json::{Value, json};

use super::{items, pod_spec, template};
use crate::json::default_to;

/// Fills in the defaults of a kind; kinds that have none are left alone.
pub(super) fn apply(kind: &str, object: &mut Value) {
    if let "StorageClass" = kind {
        default_to(object, "reclaimPolicy", "Delete");
        default_to(object, "volumeBindingMode", "Immediate");
        return;
    }
    if let "PriorityClass" = kind {
        default_to(object, "preemptionPolicy", "PreemptLowerPriority");
        return;
    }
    if let "ReplicationController" = kind {
        replication_controller(object);
        return;
    }
    if let "PodTemplate" = kind {
        if let Some(template) = object.get_mut("template").and_then(|t| t.get_mut("spec")).filter(|s| s.is_object()) {
            pod_spec(template);
        }
        return;
    }
    let Some(spec) = object.get_mut("spec").filter(|s| s.is_object()) else { return };
    match kind {
        "DaemonSet" => daemon_set(spec),
        "FlowSchema" => default_to(spec, "matchingPrecedence", 1000),
        "PriorityLevelConfiguration" => priority_level(spec),
        "Job" => job(spec),
        "CronJob" => {
            default_to(spec, "concurrencyPolicy", "Allow");
            default_to(spec, "suspend", false);
            default_to(spec, "successfulJobsHistoryLimit", 3);
            default_to(spec, "failedJobsHistoryLimit", 1);
            if let Some(inner) = spec.pointer_mut("/jobTemplate/spec/template/spec").filter(|s| s.is_object()) {
                pod_spec(inner);
            }
        }
        "PersistentVolume" => {
            default_to(spec, "persistentVolumeReclaimPolicy", "Retain");
            default_to(spec, "volumeMode", "Filesystem");
        }
        "HorizontalPodAutoscaler" => {
            default_to(spec, "minReplicas", 1);
            let cpu = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]);
            default_to(spec, "metrics", cpu);
        }
        "Ingress" => {
            for rule in items(spec, "rules") {
                if let Some(http) = rule.get_mut("http") {
                    for path in items(http, "paths") {
                        default_to(path, "pathType", "ImplementationSpecific");
                    }
                }
            }
        }
        "LimitRange" => {
            // A maximum is the default limit, which is the default request.
            for item in items(spec, "limits").filter(|i| i["type"] == "Container") {
                for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
                    let Some(Value::Object(given)) = item.get(from).cloned() else { continue };
                    for (resource, quantity) in given {
                        default_to(item, to, json!({}));
                        default_to(&mut item[to], &resource, quantity);
                    }
                }
            }
        }
        _ => {}
    }
}

/// What it selects, and its own labels, are those of its pods unless it says otherwise.
fn replication_controller(object: &mut Value) {
    let labels = object.pointer("/spec/template/metadata/labels").filter(|l| l.is_object()).cloned();
    let Some(spec) = object.get_mut("spec").filter(|s| s.is_object()) else { return };
    default_to(spec, "replicas", 1);
    template(spec);
    let Some(labels) = labels else { return };
    let nothing = |value: Option<&Value>| value.and_then(Value::as_object).is_none_or(serde_json::Map::is_empty);
    if nothing(spec.get("selector")) {
        spec["selector"] = labels.clone();
    }
    if nothing(object.pointer("/metadata/labels")) {
        crate::json::child_map(object, "metadata").insert("labels".to_owned(), labels);
    }
}

fn priority_level(spec: &mut Value) {
    if spec["type"] == "Exempt" {
        default_to(spec, "exempt", json!({}));
    }
    if let Some(exempt) = spec.get_mut("exempt").filter(|e| e.is_object()) {
        default_to(exempt, "nominalConcurrencyShares", 0);
        default_to(exempt, "lendablePercent", 0);
    }
    let Some(limited) = spec.get_mut("limited").filter(|l| l.is_object()) else { return };
    default_to(limited, "nominalConcurrencyShares", 30);
    default_to(limited, "lendablePercent", 0);
    let response = limited.get_mut("limitResponse").filter(|r| r["type"] == "Queue");
    if let Some(queuing) = response.and_then(|r| r.get_mut("queuing")).filter(|q| q.is_object()) {
        for (field, value) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
            default_to(queuing, field, value);
        }
    }
}

fn daemon_set(spec: &mut Value) {
    default_to(spec, "revisionHistoryLimit", 10);
    default_to(spec, "updateStrategy", json!({}));
    let strategy = &mut spec["updateStrategy"];
    default_to(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        default_to(strategy, "rollingUpdate", json!({}));
        default_to(&mut strategy["rollingUpdate"], "maxUnavailable", 1);
        default_to(&mut strategy["rollingUpdate"], "maxSurge", 0);
    }
    template(spec);
}

fn job(spec: &mut Value) {
    // Neither is set: one pod, once.
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        default_to(spec, "completions", 1);
    }
    default_to(spec, "parallelism", 1);
    default_to(spec, "backoffLimit", if spec.get("backoffLimitPerIndex").is_some() { i32::MAX } else { 6 });
    default_to(spec, "completionMode", "NonIndexed");
    default_to(spec, "suspend", false);
    let replace = if spec.get("podFailurePolicy").is_some() { "Failed" } else { "TerminatingOrFailed" };
    default_to(spec, "podReplacementPolicy", replace);
    default_to(spec, "manualSelector", false);
    template(spec);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_runs_one_pod_once_unless_it_says_otherwise_and_twice_is_once() {
        let mut job = json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a:1"}]}}}});
        apply("Job", &mut job);
        assert_eq!((&job["spec"]["completions"], &job["spec"]["backoffLimit"]), (&json!(1), &json!(6)));
        assert_eq!(job["spec"]["template"]["spec"]["restartPolicy"], "Never");
        let once = job.clone();
        apply("Job", &mut job);
        assert_eq!(job, once);
        let mut queue = json!({"spec": {"parallelism": 3, "template": {}}});
        apply("Job", &mut queue);
        assert!(queue["spec"].get("completions").is_none());
    }

    #[test]
    fn a_limit_ranges_maximum_is_its_default_and_its_default_request() {
        let mut range =
            json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}, "min": {"memory": "1Mi"}}]}});
        apply("LimitRange", &mut range);
        assert_eq!(
            range["spec"]["limits"][0],
            json!({"type": "Container", "max": {"cpu": "1"}, "min": {"memory": "1Mi"}, "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1", "memory": "1Mi"}})
        );
    }
}
