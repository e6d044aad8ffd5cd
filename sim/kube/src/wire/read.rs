//! Get and list.

use http::{Response, StatusCode};
use sim_net::http::Body;

use super::{RequestContext, negotiate::Output, respond};
use crate::{
    engine::{Engine, ListQuery, ReadVersion, Target},
    resources::ResourceType,
    selectors::{FieldSelector, LabelSelector},
    server::ApiServer,
    status::{About, Cause, Status},
};

/// Label and field selector of a request.
///
/// # Errors
/// 400 for a selector that cannot be read or names an unknown field.
pub(super) fn selectors(context: &RequestContext, target: &Target) -> Result<(LabelSelector, FieldSelector), Status> {
    let labels = LabelSelector::parse(context.params.get("labelSelector"))?;
    let mut fields = context.params.get("fieldSelector").to_owned();
    let supported = &target.resource.fields;
    if target.resource.group == "events.k8s.io" {
        fields = fields.replace("regarding.", "involvedObject.");
    }
    let fields = FieldSelector::parse_with(&fields, supported, |path| unknown_field(&target.resource, path))?;
    Ok((labels, fields))
}

/// How a field is refused that a kind cannot be selected by: kinds without fields of their own have another text.
fn unknown_field(resource: &ResourceType, path: &str) -> String {
    if resource.kind == "Job" {
        format!("field label {path:?} not supported for Job")
    } else if resource.built_in && resource.fields.is_empty() {
        format!("{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    } else {
        format!("field label not supported: {path}")
    }
}

/// 422 of the options of a list or a watch.
pub(super) fn list_options(cause: &Cause) -> Status {
    let about = About { group: "meta.k8s.io", plural: "", kind: "ListOptions" };
    Status::invalid(about, "", std::slice::from_ref(cause))
}

/// One object.
pub(super) async fn get(
    server: &ApiServer,
    context: &RequestContext,
    target: &Target,
    output: Output,
) -> Result<Response<Body>, Status> {
    let version = ReadVersion::of_get(context.params.get("resourceVersion"))?;
    server.fresh(version).await?;
    let engine = server.engine();
    let object = match context.reading.revision(version, &engine) {
        Some(revision) => engine.get_at(target, revision)?,
        None => engine.get(target)?,
    };
    drop(engine);
    respond::object(context, output, target, StatusCode::OK, &object, &[])
}

/// A page of a collection.
pub(super) async fn list(
    server: &ApiServer,
    context: &RequestContext,
    target: &Target,
    output: Output,
) -> Result<Response<Body>, Status> {
    if context.params.on("sendInitialEvents") || context.params.has("sendInitialEvents") {
        return Err(list_options(&Cause::new(
            "FieldValueForbidden",
            "sendInitialEvents",
            "Forbidden: sendInitialEvents is forbidden for list",
        )));
    }
    let (labels, fields) = selectors(context, target)?;
    let limit = match context.params.get("limit") {
        "" => 0,
        text => text
            .parse()
            .map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax")))?,
    };
    let params = &context.params;
    let continue_token = params.get("continue").to_owned();
    let version = ReadVersion::of_list(
        params.get("resourceVersion"),
        params.get("resourceVersionMatch"),
        limit,
        &continue_token,
    )?;
    server.fresh(version).await?;
    let query = ListQuery { labels, fields, limit, continue_token, version };
    let engine = server.engine();
    let page = match context.reading.revision(version, &engine) {
        _ if context.reading.expired && !query.continue_token.is_empty() => {
            return Err(Engine::refuse_continue(target, &query.continue_token)?);
        }
        Some(revision) if query.continue_token.is_empty() => engine.list_at(target, &query, revision),
        _ => engine.list(target, &query)?,
    };
    drop(engine);
    respond::list(context, output, target, &page)
}
