//! Answers: objects and lists in the form that was negotiated, refusals, broken connections.

use std::io::Write as _;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use sim_clock::now;
use sim_net::http::{Body, full};

use super::{
    RequestContext,
    negotiate::{self, Form, JSON, Output, not_acceptable},
    yaml,
};
use crate::{
    engine::{ListPage, Object, Target, Written},
    json, protobuf,
    status::Status,
    tables::{Include, Printer, partial},
};

/// Answers from this size on are compressed if the client takes it, as the real server does.
const GZIP_BYTES_MIN: usize = 128 * 1024;
/// The real server's compression level.
const GZIP_LEVEL: u32 = 4;

/// A refusal, in the form that the client would rather have.
pub(super) fn refuse(status: &Status, accept: &str) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = made(accept, code, &status.to_value(), &[]);
    let seconds = status.details.as_ref().and_then(|d| json::int(d, &["retryAfterSeconds"])).filter(|s| *s > 0);
    if let Some(seconds) = seconds
        && let Ok(value) = http::HeaderValue::from_str(&seconds.to_string())
    {
        response.headers_mut().insert("retry-after", value);
    }
    response
}

/// An object that is stored nowhere: protobuf for those who would rather have that, else JSON.
pub(super) fn made(accept: &str, code: StatusCode, value: &Value, warnings: &[String]) -> Response<Body> {
    if negotiate::prefers_protobuf(accept)
        && let Ok(body) = protobuf::encode(value)
    {
        return typed(code, protobuf::MEDIA_TYPE, body.into(), warnings);
    }
    typed(code, JSON, value.to_string().into(), warnings)
}

/// An answer of any type.
pub(super) fn typed(code: StatusCode, content_type: &str, body: Bytes, warnings: &[String]) -> Response<Body> {
    let builder = Response::builder()
        .status(code)
        .header("content-type", content_type)
        .header("cache-control", "no-cache, private");
    let mut response = builder.body(full(body)).unwrap_or_else(|_| Response::new(full(Bytes::new())));
    warn(&mut response, warnings);
    response
}

/// Adds warnings. One that no header can hold is left out.
pub(super) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        let text = format!("299 - \"{}\"", warning.replace('\\', "\\\\").replace('"', "\\\""));
        if let Ok(value) = http::HeaderValue::from_str(&text) {
            response.headers_mut().append("warning", value);
        }
    }
}

/// Plain text, as the handlers that are no resource answer.
pub(super) fn plain(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = typed(code, "text/plain; charset=utf-8", text.into(), &[]);
    response.headers_mut().insert("x-content-type-options", http::HeaderValue::from_static("nosniff"));
    response
}

/// Writes a value as negotiated.
pub(super) fn value(context: &RequestContext, output: Output, code: StatusCode, shown: &Value) -> Response<Body> {
    warned(context, output, code, shown, &[])
}

/// The same with warnings.
pub(super) fn warned(
    context: &RequestContext,
    output: Output,
    code: StatusCode,
    value: &Value,
    warnings: &[String],
) -> Response<Body> {
    let body = match output {
        Output { protobuf: true, .. } => match protobuf::encode(value) {
            Ok(body) => body,
            Err(error) => return refuse(&Status::new(500, "InternalError", error.to_string()), ""),
        },
        Output { yaml: true, .. } => yaml::write(value).into_bytes(),
        Output { pretty: true, .. } => format!("{value:#}").into_bytes(),
        _ => value.to_string().into_bytes(),
    };
    sized(context, output, code, body.into(), warnings)
}

/// Writes a scale as negotiated, as a table too.
///
/// # Errors
/// As [`include`].
pub(super) fn scale(context: &RequestContext, output: Output, scale: &Value) -> Result<Response<Body>, Status> {
    if output.form != Form::Table {
        return Ok(value(context, output, StatusCode::OK, scale));
    }
    let version = json!({"resourceVersion": scale["metadata"]["resourceVersion"]});
    let table = Printer::scale().table(std::iter::once(scale.into()), version, true, include(context)?, now());
    Ok(value(context, output, StatusCode::OK, &table))
}

/// An answer, compressed if it is long and the client takes it.
fn sized(
    context: &RequestContext,
    output: Output,
    code: StatusCode,
    body: Bytes,
    warnings: &[String],
) -> Response<Body> {
    let content_type = match output {
        Output { protobuf: true, .. } => protobuf::MEDIA_TYPE,
        Output { yaml: true, .. } => "application/yaml",
        _ => JSON,
    };
    let takes_gzip = context.header("accept-encoding").split(',').any(|e| e.trim().split(';').next() == Some("gzip"));
    if body.len() < GZIP_BYTES_MIN || !takes_gzip {
        return typed(code, content_type, body, warnings);
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP_LEVEL));
    let packed = encoder.write_all(&body).and_then(|()| encoder.finish());
    let Ok(packed) = packed else { return typed(code, content_type, body, warnings) };
    let mut response = typed(code, content_type, packed.into(), warnings);
    let headers = response.headers_mut();
    headers.insert("content-encoding", http::HeaderValue::from_static("gzip"));
    headers.insert("vary", http::HeaderValue::from_static("Accept-Encoding"));
    response
}

/// How much of its object a row of a table carries.
///
/// # Errors
/// 400 for a value that is none.
pub(super) fn include(context: &RequestContext) -> Result<Include, Status> {
    match context.params.get("includeObject") {
        "" | "Metadata" => Ok(Include::Metadata),
        "None" => Ok(Include::None),
        "Object" => Ok(Include::Object),
        other => Err(Status::bad_request(format!("unrecognized includeObject value: {other:?}"))),
    }
}

/// One object, in the form that was asked for.
///
/// # Errors
/// 406 if a list's form was asked for.
pub(super) fn object(
    context: &RequestContext,
    output: Output,
    target: &Target,
    code: StatusCode,
    object: &Object,
    warnings: &[String],
) -> Result<Response<Body>, Status> {
    let body = match output.form {
        Form::Whole if !output.yaml && !output.pretty && !output.protobuf => {
            return Ok(sized(context, output, code, object.json(), warnings));
        }
        Form::Whole => object.to_value(),
        Form::Table => {
            let metadata = json!({"resourceVersion": json::text(object, &["metadata", "resourceVersion"])});
            let printer = Printer::of(&target.resource);
            printer.table(std::iter::once(object.into()), metadata, true, include(context)?, now())
        }
        Form::Partial => partial(object.into()),
        Form::PartialList => {
            return Err(not_acceptable(format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list (*{})",
                target.resource.kind
            )));
        }
    };
    Ok(warned(context, output, code, &body, warnings))
}

/// The answer to a create, update or patch.
pub(super) fn wrote(
    context: &RequestContext,
    output: Output,
    target: &Target,
    written: &Written,
) -> Result<Response<Body>, Status> {
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    object(context, output, target, code, &written.object, &written.warnings)
}

/// A page of a collection, in the form that was asked for.
///
/// # Errors
/// 406 if an object's form was asked for.
pub(super) fn list(
    context: &RequestContext,
    output: Output,
    target: &Target,
    page: &ListPage,
) -> Result<Response<Body>, Status> {
    let metadata = list_metadata(page);
    let body = match output.form {
        Form::Whole => {
            let body = list_body(target, &metadata, &page.items);
            if !output.yaml && !output.pretty && !output.protobuf {
                return Ok(sized(context, output, StatusCode::OK, body, &[]));
            }
            serde_json::from_slice(&body).unwrap_or(Value::Null)
        }
        Form::Table => {
            let printer = Printer::of(&target.resource);
            printer.table(page.items.iter().map(Into::into), metadata, true, include(context)?, now())
        }
        Form::PartialList => {
            let items: Vec<Value> = page.items.iter().map(|o| partial(o.into())).collect();
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items})
        }
        Form::Partial => {
            return Err(not_acceptable(format!(
                "you requested PartialObjectMetadata, but the requested object is a list (*{}List)",
                target.resource.kind
            )));
        }
    };
    Ok(value(context, output, StatusCode::OK, &body))
}

fn list_metadata(page: &ListPage) -> Value {
    let mut metadata = json!({});
    // What is stored nowhere has no version.
    if page.revision > 0 {
        metadata["resourceVersion"] = page.revision.to_string().into();
    }
    if !page.continue_token.is_empty() {
        metadata["continue"] = page.continue_token.clone().into();
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    metadata
}

/// The list object, its items copied from their cached JSON.
fn list_body(target: &Target, metadata: &Value, items: &[Object]) -> Bytes {
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
pub(super) fn success(target: &Target, object: &Object) -> Value {
    let mut details = json!({"name": json::name(object)});
    if !target.resource.group.is_empty() {
        details["group"] = target.resource.group.clone().into();
    }
    details["kind"] = target.resource.plural.clone().into();
    details["uid"] = json::uid(object).into();
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
