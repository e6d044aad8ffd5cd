//! `/openapi/v2` and `/openapi/v3`: media types, hashes, caching.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use sim_net::http::{Body, full};

use super::{RequestContext, negotiate::JSON};
use crate::{openapi, resources::Registry, status::Status};

/// How long a document that was asked for by its hash stays fresh, as the real server says.
const FRESH: &str = "public, max-age=31536000, immutable";

/// True if the client takes JSON; documents are not made in the protobuf form of gnostic.
fn takes_json(context: &RequestContext) -> bool {
    let accept = context.header("accept");
    accept.is_empty()
        || accept.split(',').any(|a| {
            let media = a.split(';').next().unwrap_or("").trim();
            matches!(media, "*/*" | "application/*") || media == JSON
        })
}

fn not_acceptable() -> Status {
    Status::new(406, "NotAcceptable", "only the following media types are accepted: application/json")
}

fn send(context: &RequestContext, hash: &str, body: Bytes, cached: &'static str) -> Response<Body> {
    let tag = format!("\"{hash}\"");
    let known = context.header("if-none-match").split(',').any(|t| t.trim().trim_start_matches("W/") == tag);
    let (code, body) = if known { (StatusCode::NOT_MODIFIED, Bytes::new()) } else { (StatusCode::OK, body) };
    let mut response = Response::new(full(body));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cached));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding, Accept"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// `/openapi/v2`.
///
/// # Errors
/// 406 for clients that take only protobuf.
pub(super) fn swagger(registry: &Registry, context: &RequestContext) -> Result<Response<Body>, Status> {
    if !takes_json(context) {
        return Err(not_acceptable());
    }
    let body = openapi::swagger(registry);
    let hash = openapi::content_hash(&body);
    Ok(send(context, &hash, body, "no-cache, private"))
}

/// `/openapi/v3`.
///
/// # Errors
/// 406 for clients that take only protobuf.
pub(super) fn index(registry: &Registry, context: &RequestContext) -> Result<Response<Body>, Status> {
    if !takes_json(context) {
        return Err(not_acceptable());
    }
    let body = Bytes::from(openapi::index(registry).to_string());
    let hash = openapi::content_hash(&body);
    Ok(send(context, &hash, body, "no-cache, private"))
}

/// The document of a group and version. A hash that is not the document's leads on to the one that is.
///
/// # Errors
/// 404 for what nobody serves, 406 for clients that take only protobuf.
pub(super) fn document(
    registry: &Registry,
    context: &RequestContext,
    group: &str,
    version: &str,
) -> Result<Response<Body>, Status> {
    if !takes_json(context) {
        return Err(not_acceptable());
    }
    let body = openapi::document(registry, group, version).ok_or_else(Status::no_such_resource)?;
    let hash = openapi::hash(registry, group, version);
    match context.params.get("hash") {
        "" => Ok(send(context, &hash, body, "no-cache, private")),
        asked if asked == hash => Ok(send(context, &hash, body, FRESH)),
        _ => {
            let place = format!("/{}?hash={hash}", context.parts.join("/"));
            let mut response = Response::new(full(Bytes::new()));
            *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
            if let Ok(place) = HeaderValue::from_str(&place) {
                response.headers_mut().insert(header::LOCATION, place);
            }
            Ok(response)
        }
    }
}
