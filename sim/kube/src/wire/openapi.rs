//! `/openapi/v2` and `/openapi/v3`: media types, hashes, caching.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use sim_net::http::{Body, full};

use super::{RequestContext, negotiate::JSON};
use crate::{openapi, resources::Registry, status::Status};

/// How long a document that was asked for by its hash stays fresh, as the real server says.
const FRESH: &str = "public, max-age=31536000, immutable";

/// The Swagger document as protobuf: what clients ask for; the answer has the second name, as the first is no media type.
const PROTOBUF_ASKED: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];

/// The media types that a client takes, in its order.
fn accepted(context: &RequestContext) -> impl Iterator<Item = &str> {
    context.header("accept").split(',').map(|a| a.split(';').next().unwrap_or("").trim())
}

/// True if the client takes JSON; documents of version 3 are not made in the protobuf form of gnostic.
fn takes_json(context: &RequestContext) -> bool {
    accepted(context).any(takes)
}

/// True if this media type is, or includes, JSON.
fn takes(media: &str) -> bool {
    matches!(media, "" | "*/*" | "application/*" | JSON)
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
/// 406 for clients that take neither JSON nor protobuf.
pub(super) fn swagger(registry: &Registry, context: &RequestContext) -> Result<Response<Body>, Status> {
    let first = accepted(context).find(|media| takes(media) || PROTOBUF_ASKED.contains(media));
    if first.is_some_and(|media| !takes(media)) {
        let body = openapi::swagger_protobuf(registry);
        let mut response = send(context, &openapi::content_hash(&body), body, "no-cache, private");
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROTOBUF_ASKED[1]));
        return Ok(response);
    }
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
