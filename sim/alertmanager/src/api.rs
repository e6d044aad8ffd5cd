//! API v2: requests in, responses out, over an engine.

mod alerts;
mod metrics;
mod request;
mod silences;

use crate::engine::Engine;
use crate::template::value::quote;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use request::Query;
use sim_clock::Timestamp;

/// The version that this part models.
pub const VERSION: &str = "0.33.1";

/// What the API tells of the process.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Since when it runs.
    pub started: Timestamp,
    /// When the configuration was last taken.
    pub reloaded: Timestamp,
    /// Whether the last attempt to take one went well.
    pub reload_ok: bool,
}

/// A response with a JSON body as Go's encoder writes it.
fn json(status: StatusCode, body: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{body}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Why a request is refused.
#[derive(Debug)]
enum Refusal {
    /// By the API's description of itself.
    Problem(StatusCode, u16, String),
    /// By a handler: its message as a JSON string.
    Message(String),
}

impl Refusal {
    fn response(self) -> Response<Bytes> {
        match self {
            Self::Message(message) => json(StatusCode::BAD_REQUEST, &quote(&message)),
            Self::Problem(status, code, message) => {
                let mut response = json(status, "");
                *response.body_mut() = Bytes::from(format!("{{\"code\":{code},\"message\":{}}}", quote(&message)));
                response
            }
        }
    }
}

fn problem(status: StatusCode, code: u16, message: &str) -> Refusal {
    Refusal::Problem(status, code, message.to_owned())
}

fn refused(message: &str) -> Refusal {
    Refusal::Message(message.to_owned())
}

/// What a handler says.
type Answer = Result<Response<Bytes>, Refusal>;

fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

fn plain(status: StatusCode, text: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

type Handler = fn(&mut Engine, &Context<'_>) -> Answer;

/// What a handler sees of a request.
pub(crate) struct Context<'r> {
    query: Query,
    body: &'r [u8],
    /// What stands in the path for a name in braces.
    parameter: &'r str,
    status: &'r Status,
    now: Timestamp,
}

/// Paths below `/api/v2`, with what each method does.
const ROUTES: [(&str, &[(Method, Handler)]); 6] = [
    ("status", &[(Method::GET, get_status)]),
    ("receivers", &[(Method::GET, alerts::get_receivers)]),
    ("alerts", &[(Method::GET, alerts::get_alerts), (Method::POST, alerts::post_alerts)]),
    ("alerts/groups", &[(Method::GET, alerts::get_groups)]),
    ("silences", &[(Method::GET, silences::get_all), (Method::POST, silences::post)]),
    ("silence/", &[(Method::GET, silences::get_one), (Method::DELETE, silences::delete)]),
];

/// Answers a request. `/-/reload` is the server's matter: it needs the files.
pub fn answer(engine: &mut Engine, status: &Status, request: &Request<Bytes>, now: Timestamp) -> Response<Bytes> {
    let path = request.uri().path();
    match path {
        "/-/healthy" | "/-/ready" => return plain(StatusCode::OK, "OK"),
        "/metrics" => {
            let mut response = plain(StatusCode::OK, &metrics::page(engine, status, now));
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            return response;
        }
        _ => {}
    }
    if path.starts_with("/api/v1/") {
        let message = "{\"status\":\"deprecated\",\"error\":\"The Alertmanager v1 API was deprecated in version 0.16.0 and is removed as of version 0.28.0 - please use the equivalent route in the v2 API\"}";
        return json(StatusCode::GONE, message);
    }
    let Some(below) = path.strip_prefix("/api/v2/") else {
        return plain(StatusCode::NOT_FOUND, "404 page not found\n");
    };
    let mut response = below_v2(engine, status, request, below, now).unwrap_or_else(Refusal::response);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn below_v2(engine: &mut Engine, status: &Status, request: &Request<Bytes>, below: &str, now: Timestamp) -> Answer {
    let found = ROUTES.iter().find_map(|(route, methods)| {
        if route.ends_with('/') {
            below
                .strip_prefix(route)
                .filter(|rest| !rest.is_empty() && !rest.contains('/'))
                .map(|rest| (rest, *methods))
        } else {
            (below == *route).then_some(("", *methods))
        }
    });
    let Some((parameter, methods)) = found else {
        return Err(problem(StatusCode::NOT_FOUND, 404, &format!("path /api/v2/{below} was not found")));
    };
    let Some((_, handler)) = methods.iter().find(|(method, _)| method == request.method()) else {
        let mut known: Vec<&str> = methods.iter().map(|(method, _)| method.as_str()).collect();
        known.sort_unstable();
        let message = format!("method {} is not allowed, but [{}] are", request.method(), known.join(","));
        return Err(problem(StatusCode::METHOD_NOT_ALLOWED, 405, &message));
    };
    let query = Query::parse(request.uri().query().unwrap_or_default());
    handler(engine, &Context { query, body: request.body(), parameter, status, now })
}

fn get_status(engine: &mut Engine, context: &Context<'_>) -> Answer {
    let body = format!(
        "{{\"cluster\":{{\"peers\":[],\"status\":\"disabled\"}},\"config\":{{\"original\":{}}},\"uptime\":{},\"versionInfo\":{{\"branch\":\"sim\",\"buildDate\":\"\",\"buildUser\":\"\",\"goVersion\":\"\",\"revision\":\"sim\",\"version\":\"{VERSION}\"}}}}",
        quote(engine.config().shown()),
        quote(&context.status.started.rfc3339_millis())
    );
    Ok(json(StatusCode::OK, &body))
}
