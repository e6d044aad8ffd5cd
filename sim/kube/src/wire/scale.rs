//! The `scale` subresource of the built-in workloads.

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use sim_net::http::Body;

use super::{
    RequestContext,
    negotiate::Output,
    negotiate::{body, patch_kind},
    respond, write,
};
use crate::{
    engine::{PatchKind, Target},
    json,
    server::ApiServer,
    status::Status,
};

/// Get, update and patch of a scale.
///
/// # Errors
/// What the engine refuses; 501 for an apply.
pub(super) fn answer(
    server: &ApiServer,
    context: &RequestContext,
    target: &Target,
    output: Output,
) -> Result<Response<Body>, Status> {
    let options = write::options(context)?;
    let main = Target { subresource: String::new(), ..target.clone() };
    let live = server.engine().get(&main)?;
    let current = scale_of(&live);
    let mut wanted = current.clone();
    match context.method {
        Method::GET => return Ok(respond::value(context, output, StatusCode::OK, &current)),
        Method::PUT => wanted = body(context)?,
        _ => match patch_kind(context)? {
            PatchKind::Json => crate::patch::json_patch(&mut wanted, &body(context)?)?,
            PatchKind::Merge | PatchKind::Strategic => crate::patch::merge_patch(&mut wanted, &body(context)?),
            PatchKind::Apply => return Err(Status::not_implemented("server-side apply of the scale subresource")),
        },
    }
    let replicas = json::int(&wanted, &["spec", "replicas"]).unwrap_or(0);
    let patch =
        json!({"metadata": {"resourceVersion": wanted["metadata"]["resourceVersion"]}, "spec": {"replicas": replicas}});
    let written = server.engine().patch(&main, PatchKind::Merge, &patch, &options, server.now())?;
    Ok(respond::value(context, output, StatusCode::OK, &scale_of(&written.object)))
}

fn scale_of(object: &Value) -> Value {
    let m = &object["metadata"];
    let labels = json::map(object, &["spec", "selector", "matchLabels"]);
    let selector: Vec<String> =
        labels.into_iter().flatten().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or(""))).collect();
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {"name": m["name"], "namespace": m["namespace"], "uid": m["uid"], "resourceVersion": m["resourceVersion"], "creationTimestamp": m["creationTimestamp"]},
        "spec": {"replicas": json::int(object, &["spec", "replicas"]).unwrap_or(0)},
        "status": {"replicas": json::int(object, &["status", "replicas"]).unwrap_or(0), "selector": selector.join(",")}})
}
