//! Get and list.

use http::{Response, StatusCode};
use sim_net::http::Body;

use super::{
    RequestContext,
    respond::{list_body, reply},
};
use crate::{
    engine::{ListQuery, Target},
    selectors::{FieldSelector, LabelSelector},
    server::ApiServer,
    status::Status,
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

/// One object.
pub(super) fn get(server: &ApiServer, target: &Target) -> Result<Response<Body>, Status> {
    let object = server.engine().get(target)?;
    Ok(reply(StatusCode::OK, object.json(), &[]))
}

/// A page of a collection.
pub(super) fn list(server: &ApiServer, context: &RequestContext, target: &Target) -> Result<Response<Body>, Status> {
    let (labels, fields) = selectors(context, target)?;
    let limit = match context.params.get("limit") {
        "" => 0,
        text => text
            .parse()
            .map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax")))?,
    };
    let query = ListQuery { labels, fields, limit, continue_token: context.params.get("continue").to_owned() };
    let page = server.engine().list(target, &query)?;
    let body = list_body(target, page.revision, &page.items, &page.continue_token, page.remaining);
    Ok(reply(StatusCode::OK, body, &[]))
}
