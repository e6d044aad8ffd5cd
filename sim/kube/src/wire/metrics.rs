//! Counting requests, and `/metrics`.

use http::{Method, Response, StatusCode};
use sim_clock::Timestamp;
use sim_net::http::Body;

use super::{RequestContext, negotiate, respond, streams};
use crate::{
    metrics::{Labels, Running},
    server::ApiServer,
    status::Status,
};

/// The media type of the page.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page.
pub(super) fn page(server: &ApiServer) -> Response<Body> {
    let text = server.metrics().page(&server.engine(), server.started());
    respond::typed(StatusCode::OK, TEXT, text.into(), &[])
}

/// Whether a request is a stream, which is counted apart.
fn long(context: &RequestContext) -> bool {
    context.info.verb == "watch" || streams::is_stream(&context.info.subresource)
}

fn labels(context: &RequestContext) -> Labels<'_> {
    let info = &context.info;
    Labels {
        group: &info.group,
        version: &info.version,
        resource: &info.resource,
        subresource: &info.subresource,
        scope: match info {
            _ if !info.name.is_empty() || info.verb == "create" => "resource",
            _ if !info.namespace.is_empty() => "namespace",
            _ => "cluster",
        },
        verb: match info.verb {
            _ if streams::is_stream(&info.subresource) => "CONNECT",
            _ if negotiate::is_apply(context) => "APPLY",
            "list" => "LIST",
            "watch" => "WATCH",
            "create" => "POST",
            "update" => "PUT",
            "patch" => "PATCH",
            "delete" => "DELETE",
            "deletecollection" => "DELETECOLLECTION",
            _ => "GET",
        },
        dry_run: context.params.get("dryRun") == "All",
    }
}

/// Counts a request as in flight, unless it is a stream.
pub(super) fn begin(server: &ApiServer, context: &RequestContext) -> Option<Running> {
    let mutating = !matches!(context.method, Method::GET | Method::HEAD | Method::OPTIONS);
    (!long(context)).then(|| server.metrics().in_flight(mutating))
}

/// Counts a stream as running.
pub(super) fn stream(server: &ApiServer, context: &RequestContext) -> Option<Running> {
    server.metrics().stream(&labels(context))
}

/// Counts what was answered to a request that found a resource.
pub(super) fn end(
    server: &ApiServer,
    context: &RequestContext,
    answer: &Result<Response<Body>, Status>,
    since: Timestamp,
) {
    let code = match answer {
        Ok(response) => response.status().as_u16(),
        Err(status) => status.code,
    };
    // A stream that began is counted when it ends.
    if context.served && !(context.info.verb == "watch" && answer.is_ok()) {
        server.metrics().answered(&labels(context), code, sim_clock::now().since(since));
    }
}
