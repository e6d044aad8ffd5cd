//! What is no resource: discovery, version, health.

use bytes::Bytes;
use http::{Response, StatusCode};
use sim_net::http::{Body, full};

use super::{RequestContext, respond::reply, route::Document};
use crate::{discovery, server::ApiServer, status::Status};

/// Answers a request for a document.
///
/// # Errors
/// 404 for a group that nobody serves.
pub(super) fn answer(
    server: &ApiServer,
    _context: &RequestContext,
    document: Document,
) -> Result<Response<Body>, Status> {
    let engine = server.engine();
    let registry = engine.registry();
    let value = match document {
        Document::Health => return Ok(Response::new(full("ok"))),
        Document::Version => discovery::version(),
        Document::CoreVersions => discovery::core_versions(),
        Document::Groups => discovery::groups(registry),
        Document::Group(group) => discovery::group(registry, &group).ok_or_else(Status::no_such_resource)?,
        Document::Resources(group, version) => discovery::resources(registry, &group, &version),
    };
    Ok(reply(StatusCode::OK, Bytes::from(value.to_string()), &[]))
}
