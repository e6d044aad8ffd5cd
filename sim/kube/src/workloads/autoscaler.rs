//! HorizontalPodAutoscaler -> the scale of its target, within its bounds. There are no metrics in a simulated cluster: it says so, as
//! the real controller does of a cluster without a metrics server, and keeps the bounds.

use serde_json::{Value, json};
use sim_clock::Timestamp;

use super::{Step, Write, pods::set_condition, with_status};
use crate::{
    engine::{Engine, Object},
    json,
};

/// How the real controller tells that nobody serves metrics.
const NO_METRICS: &str = "unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)";

/// One look at an autoscaler.
pub(super) fn autoscaler(engine: &Engine, scaler: &Object, now: Timestamp) -> Step {
    let mut step = Step::of("horizontal-pod-autoscaler");
    if json::deleting(scaler) {
        return step;
    }
    let time = now.rfc3339();
    let mut status = json!({"currentReplicas": 0, "desiredReplicas": 0});
    for kept in ["conditions", "desiredReplicas", "lastScaleTime"] {
        if let Some(value) = json::at(scaler, &["status", kept]) {
            status[kept] = value.clone();
        }
    }
    match target(engine, scaler) {
        Err(why) => {
            let text = format!("the HPA controller was unable to get the target's current scale: {why}");
            set_condition(&mut status, "AbleToScale", false, "FailedGetScale", &text, &time, false);
            once(&mut step, scaler, "FailedGetScale", &why);
        }
        Ok(found) => bounded(&mut step, scaler, &found, &mut status, &time),
    }
    if scaler.get("status") != Some(&status) {
        step.writes.push(Write::Status(with_status(scaler, status)));
    }
    step
}

/// The target, if it has replicas.
fn target(engine: &Engine, scaler: &Object) -> Result<Object, String> {
    let reference = &scaler["spec"]["scaleTargetRef"];
    let (kind, name) = (json::text(reference, &["kind"]), json::text(reference, &["name"]));
    let resource = engine.registry().of(json::text(reference, &["apiVersion"]), kind);
    let Some(resource) = resource else { return Err(format!("no matches for kind \"{kind}\" in group \"\"")) };
    let about = resource.about().qualified();
    let found = engine.peek(&resource.table, json::namespace(scaler), name).filter(|_| resource.scale.is_some());
    found.cloned().ok_or_else(|| format!("{about} \"{name}\" not found"))
}

/// Keeps the bounds of a target, and says why there is nothing else to go by.
fn bounded(step: &mut Step, scaler: &Object, target: &Object, status: &mut Value, time: &str) {
    let has = json::int(target, &["spec", "replicas"]).unwrap_or(1);
    let least = json::int(scaler, &["spec", "minReplicas"]).unwrap_or(1);
    let most = json::int(scaler, &["spec", "maxReplicas"]).unwrap_or(has);
    status["currentReplicas"] = json::int(target, &["status", "replicas"]).unwrap_or(0).into();
    let fits = "the HPA controller was able to get the target's current scale";
    if has == 0 && least != 0 {
        set_condition(status, "AbleToScale", true, "SucceededGetScale", fits, time, false);
        let text = "scaling is disabled since the replica count of the target is zero";
        set_condition(status, "ScalingActive", false, "ScalingDisabled", text, time, false);
        return;
    }
    let bound = if has > most {
        Some((most, "Current number of replicas above Spec.MaxReplicas"))
    } else if has < least {
        Some((least, "Current number of replicas below Spec.MinReplicas"))
    } else {
        None
    };
    if let Some((wanted, why)) = bound {
        status["desiredReplicas"] = wanted.into();
        status["lastScaleTime"] = time.into();
        let text = format!("the HPA controller was able to update the target scale to {wanted}");
        set_condition(status, "AbleToScale", true, "SucceededRescale", &text, time, false);
        let mut scaled = target.to_content();
        scaled["spec"]["replicas"] = wanted.into();
        step.writes.push(Write::Update(scaled));
        step.say(scaler, "Normal", "SuccessfulRescale", format!("New size: {wanted}; reason: {why}"));
        return;
    }
    set_condition(status, "AbleToScale", true, "SucceededGetScale", fits, time, false);
    let name = json::list(scaler, &["spec", "metrics"])
        .iter()
        .find_map(|m| json::at(m, &["resource", "name"]).and_then(Value::as_str))
        .unwrap_or("cpu");
    let why = format!("failed to get {name} utilization: unable to get metrics for resource {name}: {NO_METRICS}");
    let text = format!("the HPA was unable to compute the replica count: {why}");
    set_condition(status, "ScalingActive", false, "FailedGetResourceMetric", &text, time, false);
    once(step, scaler, "FailedGetResourceMetric", &why);
}

/// Says something unless the conditions say it already: the real one goes on saying it every fifteen seconds.
fn once(step: &mut Step, scaler: &Object, reason: &'static str, text: &str) {
    if json::list(scaler, &["status", "conditions"]).iter().all(|c| c["reason"] != reason) {
        step.say(scaler, "Warning", reason, text);
    }
}
