//! Media types of bodies and answers.

use http::Method;
use serde_json::Value;

use super::RequestContext;
use crate::{engine::PatchKind, status::Status};

/// The media type of every answer.
pub(super) const JSON: &str = "application/json";

/// 406 unless plain JSON will do.
pub(super) fn accept(context: &RequestContext) -> Result<(), Status> {
    let accept = context.header("accept");
    let plain =
        accept.is_empty() || accept.split(',').any(|a| !a.contains("as=") && (a.contains(JSON) || a.contains("*/*")));
    if plain {
        Ok(())
    } else {
        Err(Status::new(406, "NotAcceptable", "only the following media types are accepted: application/json"))
    }
}

fn content_type(context: &RequestContext) -> &str {
    match context.header("content-type").split(';').next().unwrap_or("").trim() {
        "" => JSON,
        given => given,
    }
}

/// True for a server-side apply.
pub(super) fn is_apply(context: &RequestContext) -> bool {
    context.method == Method::PATCH && content_type(context).starts_with("application/apply-patch")
}

/// The kind of patch by its content type.
///
/// # Errors
/// 415.
pub(super) fn patch_kind(context: &RequestContext) -> Result<PatchKind, Status> {
    Ok(match content_type(context) {
        "application/json-patch+json" => PatchKind::Json,
        "application/merge-patch+json" => PatchKind::Merge,
        "application/strategic-merge-patch+json" => PatchKind::Strategic,
        "application/apply-patch+yaml" | "application/apply-patch+json" => PatchKind::Apply,
        other => {
            return Err(Status::unsupported_media_type(
                other,
                "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml",
            ));
        }
    })
}

/// The body as a value.
///
/// # Errors
/// 415 for a content type, 400 for a body that cannot be read.
pub(super) fn body(context: &RequestContext) -> Result<Value, Status> {
    let bytes = &context.body;
    match content_type(context) {
        "application/yaml" | "application/apply-patch+yaml" if bytes.first() != Some(&b'{') => {
            let text = std::str::from_utf8(bytes).map_err(|e| Status::bad_request(e.to_string()))?;
            serde_saphyr::from_str(text).map_err(|e| Status::bad_request(format!("error decoding YAML: {e}")))
        }
        "application/vnd.kubernetes.protobuf" => Err(Status::unsupported_media_type(
            "application/vnd.kubernetes.protobuf",
            "application/json, application/yaml",
        )),
        _ => serde_json::from_slice(bytes)
            .map_err(|e| Status::bad_request(format!("unable to decode the body of the request as JSON: {e}"))),
    }
}
