//! HTTP API v1: a function from a request to a response.

mod encode;
mod params;
mod query;
mod series;
mod status;
mod tree;

use crate::otlp;
use crate::promql::{Annotations, EvalError};
use crate::remote::receive;
use crate::server::State;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use params::{Params, percent_decode};
use serde_json::{Value as Json, json};
use sim_clock::Timestamp;
use std::io::Write as _;

/// Most warnings, and most remarks, of an answer.
const ANNOTATIONS_MAX: usize = 10;
/// Said where a limit cut something off.
const TRUNCATED: &str = "results truncated due to limit";

struct Failure {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl Failure {
    fn bad_data(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "bad_data", message: message.into() }
    }

    fn parameter(name: &str, message: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter {name:?}: {message}"))
    }

    /// No answer at all, which is none with status 204.
    fn no_content() -> Self {
        Self { status: StatusCode::NO_CONTENT, kind: "", message: String::new() }
    }
}

impl From<EvalError> for Failure {
    fn from(error: EvalError) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, kind: "execution", message: error.to_string() }
    }
}

/// What stands under `data`.
enum Data {
    Json(Json),
    /// JSON as text.
    Written(String),
}

/// What an endpoint answers.
struct Reply {
    data: Data,
    notes: Annotations,
}

type Answer = Result<Reply, Failure>;

fn plain(data: Json) -> Answer {
    Ok(Reply { data: Data::Json(data), notes: Annotations::default() })
}

/// Answers one request.
pub(crate) fn answer(state: &mut State, request: &Request<Bytes>, now: Timestamp) -> Response<Bytes> {
    let mut response = route(state, request, now);
    let accepted = request.headers().get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let gzip = accepted.is_some_and(|list| list.split(',').any(|one| one.trim().starts_with("gzip")));
    if gzip && !response.body().is_empty() && !response.headers().contains_key(header::CONTENT_ENCODING) {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        // Writing into memory does not fail.
        if encoder.write_all(response.body()).is_ok()
            && let Ok(body) = encoder.finish()
        {
            *response.body_mut() = Bytes::from(body);
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
    }
    response
}

const TEXT: &str = "text/plain; charset=utf-8";

fn route(state: &mut State, request: &Request<Bytes>, now: Timestamp) -> Response<Bytes> {
    let path = request.uri().path();
    let method = request.method();
    let text = |status: StatusCode, body: &str| respond(status, TEXT, body.to_owned());
    let write = method == Method::POST || method == Method::PUT;
    match path {
        "/-/ready" => return text(StatusCode::OK, "Prometheus Server is Ready.\n"),
        "/-/healthy" => return text(StatusCode::OK, "Prometheus Server is Healthy.\n"),
        // Files are watched; the lifecycle API stays off, as it is by default.
        "/-/reload" | "/-/quit" if write => return text(StatusCode::FORBIDDEN, "Lifecycle API is not enabled."),
        "/-/reload" | "/-/quit" => {
            return text(StatusCode::METHOD_NOT_ALLOWED, "Only POST or PUT requests allowed");
        }
        "/version" => return respond(StatusCode::OK, TEXT, status::buildinfo().to_string()),
        "/federate" => {
            let (status, body) = series::federate(state, &Params::of(request), now);
            let content_type = if status == StatusCode::OK {
                "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
            } else {
                TEXT
            };
            return respond(status, content_type, body);
        }
        _ => {}
    }
    let Some(endpoint) = path.strip_prefix("/api/v1/") else {
        return text(StatusCode::NOT_FOUND, "404 page not found\n");
    };
    if method == Method::OPTIONS {
        return empty(StatusCode::NO_CONTENT);
    }
    if method == Method::POST
        && let Some(response) = written(state, endpoint, request, now)
    {
        return response;
    }
    let takes_forms = matches!(
        endpoint,
        "query" | "query_range" | "query_exemplars" | "format_query" | "parse_query" | "series" | "labels"
    );
    let allowed = method == Method::GET || takes_forms && method == Method::POST;
    if !allowed && known(endpoint) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    }
    match asked(state, endpoint, &Params::of(request), now) {
        None => text(StatusCode::NOT_FOUND, "404 page not found\n"),
        Some(Ok(reply)) => {
            let data = match reply.data {
                Data::Json(data) => data.to_string(),
                Data::Written(text) => text,
            };
            let mut body = format!("{{\"status\":\"success\",\"data\":{data}");
            for (field, kind, list) in
                [("warnings", "warning", &reply.notes.warnings), ("infos", "info", &reply.notes.infos)]
            {
                if !list.is_empty() {
                    let mut shown: Vec<String> = list.iter().take(ANNOTATIONS_MAX).cloned().collect();
                    if list.len() > ANNOTATIONS_MAX {
                        let more = list.len() - ANNOTATIONS_MAX;
                        shown.push(format!("{more} more {kind} annotations omitted"));
                    }
                    body.push_str(&format!(",\"{field}\":{}", json!(shown)));
                }
            }
            body.push('}');
            respond(StatusCode::OK, "application/json", body)
        }
        Some(Err(failure)) if failure.status == StatusCode::NO_CONTENT => empty(StatusCode::NO_CONTENT),
        Some(Err(failure)) => {
            let body = json!({ "status": "error", "errorType": failure.kind, "error": failure.message });
            respond(failure.status, "application/json", body.to_string())
        }
    }
}

/// What comes in by `POST` and is no question.
fn written(state: &mut State, endpoint: &str, request: &Request<Bytes>, now: Timestamp) -> Option<Response<Bytes>> {
    let disabled = |what: &str, flag: &str| {
        Some(receive::refuse(StatusCode::NOT_FOUND, &format!("{what} needs to be enabled with --web.{flag}")))
    };
    let window = state.write_window(now.as_millis());
    match endpoint {
        "write" if !state.options.remote_write_receiver => {
            disabled("remote write receiver", "enable-remote-write-receiver")
        }
        "write" => Some(receive::answer(&mut state.store, window, request)),
        "otlp/v1/metrics" if !state.options.otlp_receiver => disabled("otlp write receiver", "enable-otlp-receiver"),
        "otlp/v1/metrics" => Some(otlp::receive::answer(&mut state.store, window, &state.config.otlp, request)),
        "admin/tsdb/snapshot" | "admin/tsdb/delete_series" | "admin/tsdb/clean_tombstones" => {
            let body = json!({ "status": "error", "errorType": "unavailable", "error": "admin APIs disabled" });
            Some(respond(StatusCode::INTERNAL_SERVER_ERROR, "application/json", body.to_string()))
        }
        _ => None,
    }
}

/// Whether there is such an endpoint for reading.
fn known(endpoint: &str) -> bool {
    const ENDPOINTS: [&str; 21] = [
        "query",
        "query_range",
        "query_exemplars",
        "format_query",
        "parse_query",
        "series",
        "labels",
        "rules",
        "alerts",
        "alertmanagers",
        "targets",
        "targets/metadata",
        "scrape_pools",
        "metadata",
        "notifications",
        "status/config",
        "status/flags",
        "status/runtimeinfo",
        "status/buildinfo",
        "status/tsdb",
        "status/walreplay",
    ];
    ENDPOINTS.contains(&endpoint) || endpoint.strip_prefix("label/").is_some_and(|rest| rest.ends_with("/values"))
}

/// Answers a question; `None` where there is no such endpoint.
fn asked(state: &State, endpoint: &str, params: &Params, now: Timestamp) -> Option<Answer> {
    Some(match endpoint {
        "query" => query::instant(state, params, now),
        "query_range" => query::range(state, params),
        "query_exemplars" => query::exemplars(state, params),
        "format_query" => query::parse(state, params).and_then(|(_, expr)| plain(Json::String(expr.to_string()))),
        "parse_query" => query::parse(state, params).and_then(|(_, expr)| plain(tree::node(&expr))),
        "series" => series::series(state, params),
        "labels" => series::names(state, params),
        "rules" => status::rules(state, params),
        "alerts" => plain(status::alerts(state)),
        "alertmanagers" => plain(status::alertmanagers(state)),
        "targets" => plain(status::targets(state, params)),
        "targets/metadata" => status::target_metadata(state, params),
        "scrape_pools" => plain(status::scrape_pools(state)),
        "metadata" => status::metadata(state, params),
        "notifications" => plain(json!([])),
        "status/config" => plain(json!({ "yaml": state.config_text })),
        "status/flags" => plain(status::flags(state)),
        "status/runtimeinfo" => plain(status::runtimeinfo(state, now)),
        "status/buildinfo" => plain(status::buildinfo()),
        "status/tsdb" => status::tsdb(state, params),
        "status/walreplay" => plain(json!({ "min": 0, "max": 0, "current": 0 })),
        _ => {
            let name = endpoint.strip_prefix("label/")?.strip_suffix("/values")?;
            series::values(state, params, &percent_decode(name, false))
        }
    })
}

fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
