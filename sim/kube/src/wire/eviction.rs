//! `pods/eviction`: a deletion that asks the disruption budgets first.

use http::{Response, StatusCode};
use serde_json::{Value, json};
use sim_clock::now;
use sim_net::http::Body;

use super::{RequestContext, negotiate::body, respond::made, write};
use crate::{
    admission::{Admission, Part},
    engine::{Engine, Operation, Target, WriteOptions},
    json,
    selectors::LabelSelector,
    server::ApiServer,
    status::Status,
};

/// Evicts a pod.
///
/// # Errors
/// 429 if its budget does not allow it now, 500 if it has several, else what a deletion refuses.
pub(super) async fn answer(
    server: &ApiServer,
    context: &RequestContext,
    target: &Target,
) -> Result<Response<Body>, Status> {
    let mut eviction = body(context)?;
    let name = json::name(&eviction);
    if !name.is_empty() && name != target.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let deletion = |eviction: &Value| {
        let mut query = write::delete_options(context, eviction.get("deleteOptions").unwrap_or(&Value::Null))?;
        query.dry_run |= write::options(context)?.dry_run;
        Ok::<_, Status>(query)
    };
    let dry_run = deletion(&eviction)?.dry_run;
    Part::EVICTION.mark(&mut eviction);
    let admission = Admission::new(server, &context.user);
    let (eviction, warnings) =
        admission.admit(target, Part::EVICTION, Operation::Create, (eviction, None), dry_run).await?;
    let query = deletion(&eviction)?;
    let main = Target { subresource: String::new(), ..target.clone() };
    let mut engine = server.engine();
    let pod = engine.get(&main)?;
    let unprotected =
        matches!(json::text(&pod, &["status", "phase"]), "Succeeded" | "Failed" | "Pending") || json::deleting(&pod);
    if !unprotected {
        spend(&mut engine, &pod, query.dry_run)?;
    }
    // Webhooks for deletions of pods are not asked, nor are they by the real server: it is an eviction.
    engine.delete(&main, &query, server.now())?;
    let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(made(context.header("accept"), StatusCode::CREATED, &done, &warnings))
}

/// Takes one disruption from the pod's budget, if it has one.
fn spend(engine: &mut Engine, pod: &Value, dry_run: bool) -> Result<(), Status> {
    let namespace = json::namespace(pod).to_owned();
    let budgets: Vec<_> = engine
        .scan("poddisruptionbudgets.policy", Some(&namespace))
        .filter(|b| LabelSelector::from_object(json::at(b, &["spec", "selector"])).is_some_and(|s| s.matches(pod)))
        .cloned()
        .collect();
    let budget = match budgets.as_slice() {
        [] => return Ok(()),
        [one] => one,
        _ => {
            return Err(Status::new(
                500,
                "InternalError",
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    let number = |path: &[&str]| json::int(budget, path).unwrap_or(0);
    let (healthy, wanted) = (number(&["status", "currentHealthy"]), number(&["status", "desiredHealthy"]));
    let ready = json::list(pod, &["status", "conditions"])
        .iter()
        .any(|c| json::text(c, &["type"]) == "Ready" && json::text(c, &["status"]) == "True");
    if !ready
        && (json::text(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow"
            || (healthy >= wanted && wanted > 0))
    {
        return Ok(());
    }
    let name = json::name(budget).to_owned();
    let refuse = |cause: String| {
        let mut status =
            Status::new(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.");
        status.details = Some(Box::new(json!({"causes": [{"reason": "DisruptionBudget", "message": cause}]})));
        status
    };
    if number(&["status", "observedGeneration"]) < number(&["metadata", "generation"]) {
        return Err(refuse(format!("The disruption budget {name} is still being processed by the server.")));
    }
    let allowed = number(&["status", "disruptionsAllowed"]);
    if allowed <= 0 {
        return Err(refuse(format!(
            "The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently"
        )));
    }
    if dry_run {
        return Ok(());
    }
    let mut object = budget.to_content();
    object["status"]["disruptionsAllowed"] = (allowed - 1).into();
    json::child_map(&mut object["status"], "disruptedPods").insert(json::name(pod).to_owned(), now().rfc3339().into());
    let target = Target { subresource: "status".into(), ..engine.target_of(&object)? };
    engine.update(&target, object, &WriteOptions::by("kube-apiserver"), now()).map(|_| ())
}
