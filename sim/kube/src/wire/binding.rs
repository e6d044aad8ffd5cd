//! `pods/binding`, and `bindings` as it was before: how a scheduler gives a pod its node.

use http::{Response, StatusCode};
use serde_json::{Value, json};
use sim_net::http::Body;

use super::{RequestContext, negotiate::body, respond::made, write};
use crate::{
    admission::{Admission, Part},
    engine::{Operation, Target},
    json,
    server::ApiServer,
    status::{About, Cause, Status},
};

const PLACE: About<'_> = About { group: "", plural: "pods/binding", kind: "Binding" };

/// The same through `bindings` of a namespace: the pod is the one of the Binding's name.
///
/// # Errors
/// As [`answer`].
pub(super) async fn of_namespace(
    server: &ApiServer,
    context: &RequestContext,
    target: &Target,
) -> Result<Response<Body>, Status> {
    let name = json::name(&body(context)?).to_owned();
    if name.is_empty() {
        return Err(Status::bad_request("name is required"));
    }
    let resource = server.engine().registry().get("", "v1", "pods").cloned().ok_or_else(Status::no_such_resource)?;
    let pod = Target { resource, namespace: target.namespace.clone(), name, subresource: "binding".into() };
    answer(server, context, &pod).await
}

/// Binds a pod to a node.
///
/// # Errors
/// 409 for a pod that has a node or is being deleted, 500 for a binding that names none (as the real server hands its
/// validation's errors on), 404.
pub(super) async fn answer(
    server: &ApiServer,
    context: &RequestContext,
    target: &Target,
) -> Result<Response<Body>, Status> {
    let mut binding = body(context)?;
    let name = json::name(&binding);
    if !name.is_empty() && name != target.name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    let options = write::options(context)?;
    Part::BINDING.mark(&mut binding);
    let admission = Admission::new(server, &context.user);
    let (binding, warnings) =
        admission.admit(target, Part::BINDING, Operation::Create, (binding, None), options.dry_run).await?;
    if let Some(cause) = complaint(&binding) {
        return Err(Status::new(500, "", format!("{}: {}", cause.field, cause.message)));
    }
    let node = json::text(&binding, &["target", "name"]);
    let now = server.now();
    let main = Target { subresource: String::new(), ..target.clone() };
    let mut engine = server.engine();
    let pod = engine.get(&main)?;
    let refuse = |why: String| Err(Status::conflict(PLACE, &target.name, &why));
    let bound_to = json::text(&pod, &["spec", "nodeName"]);
    let uid = json::uid(&binding);
    if !uid.is_empty() && uid != json::uid(&pod) {
        return refuse(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            json::uid(&pod)
        ));
    }
    if json::deleting(&pod) {
        return refuse(format!("pod {} is being deleted, cannot be assigned to a host", target.name));
    }
    if !bound_to.is_empty() {
        return refuse(format!("pod {} is already assigned to node {bound_to:?}", target.name));
    }
    if !json::list(&pod, &["spec", "schedulingGates"]).is_empty() {
        return refuse(format!("pod {} has non-empty .spec.schedulingGates", target.name));
    }
    let mut next = pod.to_content();
    next["spec"]["nodeName"] = node.into();
    for (field, value) in json::map(&binding, &["metadata", "annotations"]).into_iter().flatten() {
        json::child_map(json::child_map_value(&mut next, "metadata"), "annotations")
            .insert(field.clone(), value.clone());
    }
    // Through the subresource: the managed fields say so.
    let written = engine.update(target, next, &options, now)?;
    if !options.dry_run {
        let mut next = written.object.to_content();
        crate::workloads::set_condition(&mut next["status"], "PodScheduled", true, "", "", &now.rfc3339(), false);
        engine.update(&Target { subresource: "status".into(), ..main }, next, &options, now)?;
    }
    let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(made(context.header("accept"), StatusCode::CREATED, &done, &warnings))
}

fn complaint(binding: &Value) -> Option<Cause> {
    let kind = json::text(binding, &["target", "kind"]);
    if !matches!(kind, "" | "Node") {
        let text = format!("Unsupported value: {kind:?}: supported values: \"Node\", \"<empty>\"");
        return Some(Cause::new("FieldValueNotSupported", "target.kind", text));
    }
    json::text(binding, &["target", "name"])
        .is_empty()
        .then(|| Cause::new("FieldValueRequired", "target.name", "Required value"))
}
