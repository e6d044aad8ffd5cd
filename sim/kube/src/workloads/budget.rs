//! PodDisruptionBudget -> its status.

use serde_json::json;
use sim_clock::Timestamp;

use super::{Step, Write, deployment::resolve, pods, set_condition, with_status};
use crate::{
    engine::{Engine, Object},
    json,
    selectors::LabelSelector,
};

/// One look at a PodDisruptionBudget.
pub(super) fn budget(engine: &Engine, budget: &Object, now: Timestamp) -> Step {
    let mut step = Step::of("controllermanager");
    let namespace = json::namespace(budget);
    let Some(selector) = LabelSelector::from_object(json::at(budget, &["spec", "selector"])) else { return step };
    let chosen = engine.scan("pods", Some(namespace)).filter(|p| selector.matches(p) && !pods::finished(p));
    let chosen: Vec<&Object> = chosen.collect();
    let healthy = chosen.iter().filter(|p| pods::pod_ready(p) && !json::deleting(p)).count() as i64;
    // How many there should be is what their controllers want, each counted once.
    let mut expected = 0;
    let mut seen = std::collections::BTreeSet::new();
    for pod in &chosen {
        match json::controller_of(pod) {
            None => expected += 1,
            Some(owner) if seen.insert(json::text(owner, &["uid"]).to_owned()) => {
                let controller = engine.by_uid(json::text(owner, &["uid"]));
                expected += controller.and_then(|c| json::int(c, &["spec", "replicas"])).unwrap_or(1);
            }
            Some(_) => {}
        }
    }
    let desired = match (json::at(budget, &["spec", "minAvailable"]), json::at(budget, &["spec", "maxUnavailable"])) {
        (None, Some(most)) => expected - resolve(Some(most), expected, true),
        (Some(least), _) if least.is_i64() => {
            expected = chosen.len() as i64;
            least.as_i64().unwrap_or(0)
        }
        (least, _) => resolve(least, expected, true),
    }
    .max(0);
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    let mut status = json!({"observedGeneration": budget["metadata"]["generation"], "currentHealthy": healthy,
        "desiredHealthy": desired, "expectedPods": expected, "disruptionsAllowed": allowed});
    if let Some(conditions) = json::at(budget, &["status", "conditions"]) {
        status["conditions"] = conditions.clone();
    }
    let reason = if allowed > 0 { "SufficientPods" } else { "InsufficientPods" };
    set_condition(&mut status, "DisruptionAllowed", allowed > 0, reason, "", &now.rfc3339(), false);
    if let Some(first) =
        status["conditions"].as_array_mut().and_then(|l| l.iter_mut().find(|c| c["type"] == "DisruptionAllowed"))
    {
        first["message"] = "".into();
        first["observedGeneration"] = budget["metadata"]["generation"].clone();
    }
    if chosen.is_empty() && budget.get("status").is_none_or(|s| s.get("observedGeneration").is_none()) {
        step.say(budget, "Normal", "NoPods", "No matching pods found");
    }
    if budget.get("status") != Some(&status) {
        step.writes.push(Write::Status(with_status(budget, status)));
    }
    step
}
