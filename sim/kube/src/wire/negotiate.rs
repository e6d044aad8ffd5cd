//! Media types of bodies and answers.

use http::Method;
use serde_json::Value;

use super::RequestContext;
use crate::{
    engine::{PatchKind, Target},
    protobuf,
    status::Status,
};

/// The media type of most answers.
pub(super) const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
/// Most clauses of an `Accept` header that are looked at.
const CLAUSES_MAX: usize = 32;
/// Media types of bodies and of answers, as refusals list them.
const BODY_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// What objects are turned into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Form {
    /// Nothing else.
    #[default]
    Whole,
    /// `Table`.
    Table,
    /// `PartialObjectMetadata`.
    Partial,
    /// `PartialObjectMetadataList`.
    PartialList,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Output {
    /// What objects become.
    pub form: Form,
    /// YAML rather than JSON.
    pub yaml: bool,
    /// Protobuf rather than JSON.
    pub protobuf: bool,
    /// Indented.
    pub pretty: bool,
}

struct Clause<'a> {
    media_type: &'a str,
    params: Vec<(&'a str, &'a str)>,
}

/// The clauses of an `Accept` header, the most wanted first.
fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut all: Vec<(f64, Clause<'_>)> = header
        .split(',')
        .take(CLAUSES_MAX)
        .map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or("");
            let params: Vec<(&str, &str)> = parts.filter_map(|p| p.split_once('=')).collect();
            let quality = params.iter().find(|(k, _)| *k == "q").and_then(|(_, v)| v.parse().ok()).unwrap_or(1.0);
            (quality, Clause { media_type, params })
        })
        .filter(|(quality, clause)| *quality > 0.0 && !clause.media_type.is_empty())
        .collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    all.into_iter().map(|(_, clause)| clause).collect()
}

/// What an `as=…;g=meta.k8s.io;v=v1` asks for; `None` if it is nothing that is known.
fn form(clause: &Clause<'_>) -> Option<Form> {
    let param = |key: &str| clause.params.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
    let Some(kind) = param("as") else {
        return (param("g").is_none() && param("v").is_none()).then_some(Form::Whole);
    };
    if param("g") != Some("meta.k8s.io") || !matches!(param("v"), Some("v1" | "v1beta1")) {
        return None;
    }
    match kind {
        "Table" => Some(Form::Table),
        "PartialObjectMetadata" => Some(Form::Partial),
        "PartialObjectMetadataList" => Some(Form::PartialList),
        _ => None,
    }
}

/// Whether what a target is turned into can be written as protobuf: custom resources and tables cannot.
fn has_message(context: &RequestContext, target: &Target, form: Form) -> bool {
    let resource = &*target.resource;
    match form {
        Form::Table => false,
        Form::Partial | Form::PartialList => true,
        Form::Whole if target.subresource == "scale" => true,
        Form::Whole if context.info.verb == "list" => {
            resource.built_in && protobuf::knows(&resource.api_version(), &format!("{}List", resource.kind))
        }
        Form::Whole => resource.built_in && protobuf::knows(&resource.api_version(), &resource.kind),
    }
}

/// How the answer is to be written.
///
/// # Errors
/// 406 if nothing that the client accepts is served.
pub(super) fn output(context: &RequestContext, target: &Target) -> Result<Output, Status> {
    let watch = context.info.verb == "watch";
    let pretty = pretty(context);
    let header = context.header("accept");
    if header.is_empty() {
        return Ok(Output { pretty, ..Output::default() });
    }
    for clause in clauses(header) {
        let (yaml, binary) = match clause.media_type {
            JSON | "application/*" | "*/*" => (false, false),
            YAML if !watch => (true, false),
            protobuf::MEDIA_TYPE => (false, true),
            _ => continue,
        };
        let stream = clause.params.iter().find(|(k, _)| *k == "stream").map(|(_, v)| *v);
        if stream.is_some_and(|s| !s.is_empty() && s != "watch") {
            continue;
        }
        if let Some(form) = form(&clause).filter(|form| !binary || has_message(context, target, *form)) {
            return Ok(Output { form, yaml, protobuf: binary, pretty });
        }
    }
    let known = if watch {
        "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    } else {
        BODY_TYPES
    };
    Err(not_acceptable(format!("only the following media types are accepted: {known}")))
}

/// Whether a client would rather have protobuf than anything else.
pub(super) fn prefers_protobuf(header: &str) -> bool {
    clauses(header).first().is_some_and(|clause| clause.media_type == protobuf::MEDIA_TYPE)
}

/// 406.
pub(super) fn not_acceptable(message: impl Into<String>) -> Status {
    Status::new(406, "NotAcceptable", message)
}

/// Asked for, or a person's client.
pub(super) fn pretty(context: &RequestContext) -> bool {
    match context.params.get("pretty") {
        "" => ["curl", "Wget", "Mozilla/5.0"].iter().any(|agent| context.header("user-agent").starts_with(agent)),
        given => matches!(given, "1" | "t" | "T" | "true" | "TRUE" | "True"),
    }
}

/// The best of some `as=` kinds of a group and its versions that an `Accept` header names before plain JSON.
pub(super) fn accepted_version(
    header: &str,
    kind: &str,
    group: &str,
    versions: &[&'static str],
) -> Option<&'static str> {
    for clause in clauses(header) {
        let param = |key: &str| clause.params.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        match param("as") {
            Some(asked) if asked == kind && param("g") == Some(group) && clause.media_type == JSON => {
                if let Some(version) = versions.iter().find(|v| param("v") == Some(v)) {
                    return Some(version);
                }
            }
            None if matches!(clause.media_type, JSON | "*/*") => return None,
            _ => {}
        }
    }
    None
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
        "application/apply-patch+yaml" => PatchKind::Apply,
        _ => {
            return Err(Status::unsupported_media_type(
                "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml",
            ));
        }
    })
}

/// The body as a value, and the paths of fields that JSON named twice.
///
/// # Errors
/// As [`body`].
pub(super) fn body_noting_duplicates(context: &RequestContext) -> Result<(Value, Vec<String>), Status> {
    let json = matches!(
        content_type(context),
        JSON | "application/json-patch+json"
            | "application/merge-patch+json"
            | "application/strategic-merge-patch+json"
    );
    if json && let Ok(found) = crate::decoding::from_slice(&context.body) {
        return Ok(found);
    }
    Ok((body(context)?, Vec::new()))
}

/// The body as a value.
///
/// # Errors
/// 415 for a content type, 400 for a body that cannot be read.
pub(super) fn body(context: &RequestContext) -> Result<Value, Status> {
    let bytes = &context.body;
    match content_type(context) {
        YAML | "application/apply-patch+yaml" if bytes.first() != Some(&b'{') => {
            let text = std::str::from_utf8(bytes).map_err(|e| Status::bad_request(e.to_string()))?;
            serde_saphyr::from_str(text).map_err(|e| Status::bad_request(format!("error decoding YAML: {e}")))
        }
        protobuf::MEDIA_TYPE => protobuf::decode(bytes).map_err(|e| Status::bad_request(e.to_string())),
        JSON
        | YAML
        | "application/apply-patch+yaml"
        | "application/json-patch+json"
        | "application/merge-patch+json"
        | "application/strategic-merge-patch+json" => json_body(bytes),
        _ => Err(Status::unsupported_media_type(BODY_TYPES)),
    }
}

fn json_body(bytes: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(bytes).map_err(|error| {
        let text = if bytes.is_empty() || error.is_eof() {
            "unexpected end of JSON input".to_owned()
        } else {
            // Go tells the character, serde_json the place.
            let column = error.column().saturating_sub(1);
            let line = bytes.split(|b| *b == b'\n').nth(error.line().saturating_sub(1)).unwrap_or(b"");
            let found = line.get(column).map_or(' ', |b| char::from(*b));
            format!("invalid character {found:?} looking for beginning of value")
        };
        Status::bad_request(format!("couldn't get version/kind; json parse error: {text}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::Request;

    fn asked(accept: &str, path: &str) -> Result<Output, Status> {
        let request = Request::get(path).header("accept", accept).body(Bytes::new()).unwrap();
        let context = RequestContext::new(request).unwrap();
        let registry = crate::resources::Registry::default();
        let resource = registry.get(&context.info.group, "v1", &context.info.resource).unwrap().clone();
        output(
            &context,
            &Target { resource, namespace: String::new(), name: String::new(), subresource: String::new() },
        )
    }

    #[test]
    fn the_first_acceptable_clause_of_the_highest_quality_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        for (accept, form, media) in [
            (table, Form::Table, "json"),
            ("application/json;as=Nothing;v=v1;g=meta.k8s.io,application/json", Form::Whole, "json"),
            ("application/json;as=Table;v=v9;g=meta.k8s.io,*/*", Form::Whole, "json"),
            ("application/json;q=0.5,application/yaml", Form::Whole, "yaml"),
            ("application/vnd.kubernetes.protobuf,application/json", Form::Whole, "protobuf"),
            ("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json", Form::Whole, "json"),
            ("application/vnd.kubernetes.protobuf;q=0.5,application/json", Form::Whole, "json"),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Form::PartialList,
                "protobuf",
            ),
            ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Form::PartialList, "json"),
        ] {
            let found = asked(accept, "/api/v1/pods").unwrap();
            assert_eq!((found.form, found.yaml), (form, media == "yaml"), "{accept}");
            assert_eq!(found.protobuf, media == "protobuf", "{accept}");
        }
        // Nobody has written down the messages of this group here.
        let accept = "application/vnd.kubernetes.protobuf,application/json";
        assert!(!asked(accept, "/apis/resource.k8s.io/v1/deviceclasses").unwrap().protobuf);
    }

    #[test]
    fn what_is_not_served_is_not_acceptable() {
        for accept in
            ["text/html", "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", "application/json;q=0"]
        {
            let status = asked(accept, "/api/v1/pods").unwrap_err();
            assert_eq!(
                status.message,
                "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
            );
        }
        let status = asked("application/yaml", "/api/v1/pods?watch=1").unwrap_err();
        assert_eq!(
            status.message,
            "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
        );
    }
}
