//! Get and list.

use http::{Response, StatusCode};
use sim_net::http::Body;

use super::{RequestContext, negotiate::Output, respond};
use crate::{
    engine::{ListQuery, Target},
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
    let fields = FieldSelector::parse(&fields, supported)?;
    Ok((labels, fields))
}

/// 422 of the options of a list or a watch.
pub(super) fn list_options(cause: &Cause) -> Status {
    let about = About { group: "meta.k8s.io", plural: "", kind: "ListOptions" };
    Status::invalid(about, "", std::slice::from_ref(cause))
}

fn forbidden(why: &str) -> Status {
    list_options(&Cause::new("FieldValueForbidden", "resourceVersionMatch", format!("Forbidden: {why}")))
}

/// One object.
pub(super) fn get(
    server: &ApiServer,
    context: &RequestContext,
    target: &Target,
    output: Output,
) -> Result<Response<Body>, Status> {
    let object = server.engine().get(target)?;
    respond::object(context, output, target, StatusCode::OK, &object, &[])
}

/// A page of a collection.
pub(super) fn list(
    server: &ApiServer,
    context: &RequestContext,
    target: &Target,
    output: Output,
) -> Result<Response<Body>, Status> {
    let params = &context.params;
    match (params.get("resourceVersion"), params.get("resourceVersionMatch")) {
        (_, "") => {}
        ("", _) => return Err(forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided")),
        (_, _) if !params.get("continue").is_empty() => {
            return Err(forbidden("resourceVersionMatch is forbidden when continue is provided"));
        }
        ("0", "Exact") => {
            return Err(forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
        }
        (_, "Exact" | "NotOlderThan") => {}
        (_, other) => {
            return Err(list_options(&Cause::new(
                "FieldValueNotSupported",
                "resourceVersionMatch",
                format!("Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\", \"\""),
            )));
        }
    }
    if params.on("sendInitialEvents") || params.has("sendInitialEvents") {
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
    let query = ListQuery { labels, fields, limit, continue_token: context.params.get("continue").to_owned() };
    let page = server.engine().list(target, &query)?;
    respond::list(context, output, target, &page)
}
