//! Create, update, patch, delete: decoded first, then admitted and committed.

use http::{Response, StatusCode};
use serde_json::{Value, json};
use sim_net::http::Body;

use super::{
    RequestContext, approval,
    negotiate::{Output, body, body_noting_duplicates, is_apply, patch_kind},
    read::selectors,
    respond,
};
use crate::{
    admission::Admission,
    engine::{DeleteQuery, FieldValidation, ListPage, PatchKind, Propagation, Target, WriteOptions},
    json,
    selectors::{FieldSelector, LabelSelector},
    server::ApiServer,
    status::{About, Cause, Status},
};

/// Longest name of a field manager.
const FIELD_MANAGER_BYTES_MAX: usize = 128;

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
            other => {
                return Err(write_options(
                    context,
                    &Cause::new(
                        "FieldValueNotSupported",
                        "dryRun",
                        format!("Unsupported value: {other:?}: supported values: \"All\""),
                    ),
                ));
            }
        },
        field_manager: match params.get("fieldManager") {
            "" if is_apply(context) => String::new(),
            "" => context.default_manager(),
            given => {
                check_manager(context, given)?;
                given.to_owned()
            }
        },
        force: params.on("force"),
        field_validation: match params.get("fieldValidation") {
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            "" | "Warn" => FieldValidation::Warn,
            other => {
                return Err(write_options(
                    context,
                    &Cause::new(
                        "FieldValueNotSupported",
                        "fieldValidation",
                        format!("Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""),
                    ),
                ));
            }
        },
        duplicates: Vec::new(),
    })
}

/// 422 of the options of a write.
fn write_options(context: &RequestContext, cause: &Cause) -> Status {
    let kind = match context.info.verb {
        "create" => "CreateOptions",
        "patch" => "PatchOptions",
        "update" => "UpdateOptions",
        _ => "DeleteOptions",
    };
    Status::invalid(About { group: "meta.k8s.io", plural: "", kind }, "", std::slice::from_ref(cause))
}

fn check_manager(context: &RequestContext, name: &str) -> Result<(), Status> {
    let why = if name.len() > FIELD_MANAGER_BYTES_MAX {
        ("FieldValueTooLong", format!("Too long: may not be more than {FIELD_MANAGER_BYTES_MAX} bytes"))
    } else if let Some((at, bad)) = name.chars().enumerate().find(|(_, c)| c.is_control()) {
        let text = format!("Invalid value: {name:?}: invalid character U+{:04X} (at position {at})", u32::from(bad));
        ("FieldValueInvalid", text)
    } else {
        return Ok(());
    };
    Err(write_options(context, &Cause::new(why.0, "fieldManager", why.1)))
}

/// Reads what a write asks for.
///
/// # Errors
/// 400, 405, 415.
pub(super) fn decode(context: &RequestContext, target: &Target) -> Result<Operation, Status> {
    let mut options = options(context)?;
    let read = |options: &mut WriteOptions| -> Result<Value, Status> {
        let (value, duplicates) = body_noting_duplicates(context)?;
        options.duplicates = duplicates;
        Ok(value)
    };
    Ok(match context.info.verb {
        "create" => {
            let object = read(&mut options)?;
            if target.resource.namespaced && target.namespace.is_empty() {
                return Err(Status::method_not_allowed(target.resource.about()));
            }
            Operation::Create(object, options)
        }
        "update" => Operation::Update(read(&mut options)?, options),
        "patch" => Operation::Patch(patch_kind(context)?, read(&mut options)?, options),
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
    output: Output,
    operation: Operation,
) -> Result<Response<Body>, Status> {
    let admission = Admission::new(server, &context.user);
    let written = match operation {
        Operation::Create(mut object, options) => {
            if target.resource.built_in && target.resource.kind == "CertificateSigningRequest" {
                approval::sign_off(context, &mut object);
            }
            admission.create(target, object, &options).await?
        }
        Operation::Update(object, options) => admission.update(target, object, &options).await?,
        Operation::Patch(kind, patch, options) => admission.patch(target, kind, &patch, &options).await?,
        Operation::Delete(query) => {
            let (object, gone) = admission.delete(target, &query).await?;
            if gone && target.resource.kind != "Pod" {
                let done = respond::success(target, &object);
                return Ok(respond::value(context, output, StatusCode::OK, &done));
            }
            return respond::object(context, output, target, StatusCode::OK, &object, &[]);
        }
        Operation::DeleteCollection(labels, fields, query) => {
            let items = admission.delete_collection(target, &labels, &fields, &query).await?;
            let revision = server.engine().revision();
            let page = ListPage { revision, items, continue_token: String::new(), remaining: None };
            return respond::list(context, output, target, &page);
        }
    };
    respond::wrote(context, output, target, &written)
}

fn delete_query(context: &RequestContext) -> Result<DeleteQuery, Status> {
    let options = if context.body.is_empty() { json!({}) } else { body(context)? };
    delete_options(context, &options)
}

/// Options of a deletion, from a body and the query.
///
/// # Errors
/// 422 for what contradicts itself or is none.
pub(super) fn delete_options(context: &RequestContext, options: &Value) -> Result<DeleteQuery, Status> {
    let params = &context.params;
    let invalid = |cause: Cause| {
        Err(Status::invalid(About { group: "meta.k8s.io", plural: "", kind: "DeleteOptions" }, "", &[cause]))
    };
    let policy = match json::text(options, &["propagationPolicy"]) {
        "" => params.get("propagationPolicy"),
        given => given,
    };
    let propagation = match policy {
        "" | "Background" => Propagation::Background,
        "Foreground" => Propagation::Foreground,
        "Orphan" => Propagation::Orphan,
        other => {
            return invalid(Cause::new(
                "FieldValueNotSupported",
                "propagationPolicy",
                format!(
                    "Unsupported value: {other:?}: supported values: \"Background\", \"Foreground\", \"Orphan\", \"nil\""
                ),
            ));
        }
    };
    let orphans = match options.get("orphanDependents").and_then(Value::as_bool) {
        None if params.has("orphanDependents") => Some(params.on("orphanDependents")),
        given => given,
    };
    if orphans.is_some() && !policy.is_empty() {
        return invalid(Cause::new(
            "FieldValueInvalid",
            "propagationPolicy",
            format!("Invalid value: {policy:?}: orphanDependents and deletionPropagation cannot be both set"),
        ));
    }
    let propagation = if orphans == Some(true) { Propagation::Orphan } else { propagation };
    let owned = |path: &[&str]| Some(json::text(options, path)).filter(|t| !t.is_empty()).map(str::to_owned);
    Ok(DeleteQuery {
        dry_run: params.get("dryRun") == "All" || json::list(options, &["dryRun"]).contains(&"All".into()),
        propagation,
        grace_seconds: json::int(options, &["gracePeriodSeconds"])
            .or_else(|| params.get("gracePeriodSeconds").parse().ok()),
        uid: owned(&["preconditions", "uid"]),
        resource_version: owned(&["preconditions", "resourceVersion"]),
    })
}
