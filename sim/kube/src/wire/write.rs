//! Create, update, patch, delete: decoded first, then admitted and committed.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use sim_net::http::Body;

use super::{
    RequestContext,
    negotiate::{body, is_apply, patch_kind},
    read::selectors,
    respond::{list_body, reply, success, wrote},
};
use crate::{
    admission::Admission,
    engine::{DeleteQuery, FieldValidation, PatchKind, Propagation, Target, WriteOptions},
    json,
    selectors::{FieldSelector, LabelSelector},
    server::ApiServer,
    status::Status,
};

/// A write, decoded.
#[derive(Debug)]
pub(super) enum Operation {
    /// POST.
    Create(Value, WriteOptions),
    /// PUT.
    Update(Value, WriteOptions),
    /// PATCH.
    Patch(PatchKind, Value, WriteOptions),
    /// DELETE of one object.
    Delete(DeleteQuery),
    /// DELETE of a collection.
    DeleteCollection(LabelSelector, FieldSelector, DeleteQuery),
}

/// Options of a write.
///
/// # Errors
/// 400 for values that are none.
pub(super) fn options(context: &RequestContext) -> Result<WriteOptions, Status> {
    let params = &context.params;
    Ok(WriteOptions {
        dry_run: match params.get("dryRun") {
            "" => false,
            "All" => true,
            other => return Err(Status::bad_request(format!("Invalid value: \"{other}\": dryRun must be All"))),
        },
        field_manager: match params.get("fieldManager") {
            "" if is_apply(context) => String::new(),
            "" => context.default_manager(),
            given => given.to_owned(),
        },
        force: params.on("force"),
        field_validation: match params.get("fieldValidation") {
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            _ => FieldValidation::Warn,
        },
    })
}

/// Reads what a write asks for.
///
/// # Errors
/// 400, 405, 415.
pub(super) fn decode(context: &RequestContext, target: &Target) -> Result<Operation, Status> {
    let options = options(context)?;
    Ok(match context.info.verb {
        "create" => {
            let object = body(context)?;
            if target.resource.namespaced && target.namespace.is_empty() {
                return Err(Status::method_not_allowed(target.resource.about()));
            }
            Operation::Create(object, options)
        }
        "update" => Operation::Update(body(context)?, options),
        "patch" => Operation::Patch(patch_kind(context)?, body(context)?, options),
        "delete" => Operation::Delete(delete_query(context)?),
        _ => {
            let query = delete_query(context)?;
            let (labels, fields) = selectors(context, target)?;
            Operation::DeleteCollection(labels, fields, query)
        }
    })
}

/// Admits a write, stores it and answers it.
///
/// # Errors
/// What the engine or a webhook refuses.
pub(super) async fn commit(
    server: &ApiServer,
    context: &RequestContext,
    target: &Target,
    operation: Operation,
) -> Result<Response<Body>, Status> {
    let admission = Admission::new(server, &context.user);
    let written = match operation {
        Operation::Create(object, options) => admission.create(target, object, &options).await?,
        Operation::Update(object, options) => admission.update(target, object, &options).await?,
        Operation::Patch(kind, patch, options) => admission.patch(target, kind, &patch, &options).await?,
        Operation::Delete(query) => {
            let (object, gone) = admission.delete(target, &query).await?;
            let body = if gone && target.resource.kind != "Pod" { success(target, &object) } else { object.json() };
            return Ok(reply(StatusCode::OK, body, &[]));
        }
        Operation::DeleteCollection(labels, fields, query) => {
            let items = admission.delete_collection(target, &labels, &fields, &query).await?;
            let body: Bytes = list_body(target, server.engine().revision(), &items, "", None);
            return Ok(reply(StatusCode::OK, body, &[]));
        }
    };
    Ok(wrote(&written))
}

fn delete_query(context: &RequestContext) -> Result<DeleteQuery, Status> {
    let params = &context.params;
    let options = if context.body.is_empty() { json!({}) } else { body(context)? };
    let policy = match json::text(&options, &["propagationPolicy"]) {
        "" => params.get("propagationPolicy"),
        given => given,
    };
    let propagation = match policy {
        "" | "Background" => Propagation::Background,
        "Foreground" => Propagation::Foreground,
        "Orphan" => Propagation::Orphan,
        other => return Err(Status::bad_request(format!("propagationPolicy: Unsupported value: \"{other}\""))),
    };
    let owned = |path: &[&str]| Some(json::text(&options, path)).filter(|t| !t.is_empty()).map(str::to_owned);
    Ok(DeleteQuery {
        dry_run: params.get("dryRun") == "All" || json::list(&options, &["dryRun"]).contains(&"All".into()),
        propagation,
        grace_seconds: json::int(&options, &["gracePeriodSeconds"])
            .or_else(|| params.get("gracePeriodSeconds").parse().ok()),
        uid: owned(&["preconditions", "uid"]),
        resource_version: owned(&["preconditions", "resourceVersion"]),
    })
}
