//! Answers.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde_json::json;
use sim_net::http::{Body, full};

use super::negotiate::JSON;
use crate::{
    engine::{Object, Target, Written},
    json,
    status::Status,
};

/// A refusal.
pub(super) fn refuse(status: &Status) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply(code, Bytes::from(status.to_value().to_string()), &[])
}

/// A JSON answer.
pub(super) fn reply(code: StatusCode, body: Bytes, warnings: &[String]) -> Response<Body> {
    let mut builder =
        Response::builder().status(code).header("content-type", JSON).header("cache-control", "no-cache, private");
    for warning in warnings {
        builder =
            builder.header("warning", format!("299 - \"{}\"", warning.replace('\\', "\\\\").replace('"', "\\\"")));
    }
    builder.body(full(body)).unwrap_or_else(|_| Response::new(full(Bytes::new())))
}

/// An answer that breaks off: the client sees a connection error.
pub(super) fn cut() -> Response<Body> {
    let broken = futures::stream::once(async {
        Err::<Frame<Bytes>, _>(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    });
    Response::new(http_body_util::BodyExt::boxed(StreamBody::new(broken)))
}

/// The answer to a create, update or patch.
pub(super) fn wrote(written: &Written) -> Response<Body> {
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    reply(code, written.object.json(), &written.warnings)
}

/// The list object, its items copied from their cached JSON.
pub(super) fn list_body(
    target: &Target,
    revision: u64,
    items: &[Object],
    continue_token: &str,
    remaining: Option<usize>,
) -> Bytes {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if !continue_token.is_empty() {
        metadata["continue"] = continue_token.into();
    }
    if let Some(remaining) = remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    let head = json!({"kind": format!("{}List", target.resource.kind), "apiVersion": target.resource.api_version(), "metadata": metadata}).to_string();
    let mut body = Vec::with_capacity(head.len() + 32);
    body.extend_from_slice(&head.as_bytes()[..head.len() - 1]);
    body.extend_from_slice(b",\"items\":[");
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&item.json());
    }
    body.extend_from_slice(b"]}");
    body.into()
}

/// The `Status` of a deletion that is complete.
pub(super) fn success(target: &Target, object: &Object) -> Bytes {
    let mut details = json!({"name": json::name(object), "kind": target.resource.plural, "uid": json::uid(object)});
    if !target.resource.group.is_empty() {
        details["group"] = target.resource.group.clone().into();
    }
    Bytes::from(
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
            .to_string(),
    )
}
