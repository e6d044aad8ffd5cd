//! The wire: Tempo's HTTP API and its OTLP/HTTP receiver on a simulated host.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use serde_json::Value;
use sim_net::{Host, Listener};

use crate::search::{LIMIT_MAX, Window};
use crate::store::Store;
use crate::traceql::{Field, Query};
use crate::{Config, Error, api, ids, otlp, search, traceql};

/// The version this part models, as `/status/version` tells it.
pub const VERSION: &str = "2.10.0";

/// A running Tempo without its ports: requests in, responses out.
#[derive(Clone, Debug)]
pub struct Tempo {
    store: Arc<Mutex<Store>>,
}

/// Serves until the host is gone: the HTTP API on `server.http_listen_port`, OTLP/HTTP where the configuration says. A
/// receiver on `localhost` and the gRPC receiver are not listened to: connections to them are refused.
pub async fn run(host: Host, config: Config) -> Result<(), Error> {
    let listen = |port: u16| -> Result<Listener, Error> {
        host.listen(port).map_err(|error| Error::Listen { port, message: error.to_string() })
    };
    let tempo = Tempo::new(&config);
    let api_listener = listen(config.http_listen_port)?;
    let api = tempo.clone();
    let serve_api = sim_net::http::serve(api_listener, sim_net::http::Limits::default(), move |request| {
        let response = api.answer_api(&request);
        async move { response.map(sim_net::http::full) }
    });
    match config.otlp_http.filter(|endpoint| !endpoint.is_loopback()) {
        Some(endpoint) => {
            let receiver_listener = listen(endpoint.port)?;
            let serve_receiver =
                sim_net::http::serve(receiver_listener, sim_net::http::Limits::default(), move |request| {
                    let response = tempo.answer_otlp(&request);
                    async move { response.map(sim_net::http::full) }
                });
            futures::future::join(serve_api, serve_receiver).await;
        }
        None => serve_api.await,
    }
    Ok(())
}

type Reply = Result<Response<Bytes>, Error>;

impl Tempo {
    /// An empty one.
    pub fn new(config: &Config) -> Self {
        Tempo { store: Arc::new(Mutex::new(Store::new(config.limits.clone()))) }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        // A poisoned store is still consistent: every change is made by one `push`.
        self.store.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Answers the OTLP/HTTP receiver's port. Tempo takes traces only.
    pub fn answer_otlp(&self, request: &Request<Bytes>) -> Response<Bytes> {
        if request.uri().path() != "/v1/traces" {
            return text(StatusCode::NOT_FOUND, "404 page not found\n");
        }
        let (message, encoding) = match otlp::decode::<ExportTraceServiceRequest>(request) {
            Ok(decoded) => decoded,
            Err(response) => return *response,
        };
        match self.store().push(sim_clock::now(), message) {
            Ok(()) => encoding.response(StatusCode::OK, &ExportTraceServiceResponse { partial_success: None }),
            Err(error) => encoding.error(StatusCode::BAD_REQUEST, &error.to_string()),
        }
    }

    /// Answers the HTTP API's port.
    pub fn answer_api(&self, request: &Request<Bytes>) -> Response<Bytes> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "");
        }
        self.store().expire(sim_clock::now());
        let parameters = Parameters::parse(request.uri().query().unwrap_or_default());
        let segments: Vec<String> = request
            .uri()
            .path()
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| percent_decode(part, false))
            .collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let protobuf = request
            .headers()
            .get(header::ACCEPT)
            .is_some_and(|accept| accept.to_str().is_ok_and(|accept| accept.contains("application/protobuf")));
        let reply = match segments.as_slice() {
            ["ready"] => Ok(text(StatusCode::OK, "ready\n")),
            ["api", "echo"] => Ok(text(StatusCode::OK, "echo")),
            ["status", "version"] => Ok(text(StatusCode::OK, &format!("tempo, version {VERSION} (simulated)\n"))),
            ["api", "traces", id] => self.trace(id, protobuf, 1, &parameters),
            ["api", "v2", "traces", id] => self.trace(id, protobuf, 2, &parameters),
            ["api", "search"] => self.search(&parameters),
            ["api", "search", "tags"] => self.tags(&parameters, 1),
            ["api", "v2", "search", "tags"] => self.tags(&parameters, 2),
            ["api", "search", "tag", tag, "values"] => self.tag_values(&parameters, &format!(".{tag}"), 1),
            ["api", "v2", "search", "tag", tag, "values"] => self.tag_values(&parameters, tag, 2),
            ["api", "metrics", ..] => {
                Ok(text(StatusCode::NOT_IMPLEMENTED, "TraceQL metrics are not implemented here\n"))
            }
            _ => Ok(text(StatusCode::NOT_FOUND, "404 page not found\n")),
        };
        reply.unwrap_or_else(|error| text(StatusCode::BAD_REQUEST, &error.to_string()))
    }

    fn trace(&self, id: &str, protobuf: bool, version: u8, parameters: &Parameters) -> Reply {
        parameters.window()?;
        let id = ids::parse_trace_id(id)?;
        let store = self.store();
        let Some(trace) = store.trace(id) else {
            return Ok(text(StatusCode::NOT_FOUND, "trace not found"));
        };
        if protobuf {
            let data = TracesData { resource_spans: trace.batches.clone() };
            let body = if version == 1 {
                data.encode_to_vec()
            } else {
                TraceByIdResponse { trace: Some(data) }.encode_to_vec()
            };
            return Ok(reply(StatusCode::OK, "application/protobuf", body));
        }
        Ok(json(&if version == 1 { api::trace_v1(&trace.batches) } else { api::trace_v2(&trace.batches) }))
    }

    fn search(&self, parameters: &Parameters) -> Reply {
        for unsupported in ["tags", "minDuration", "maxDuration"] {
            if parameters.get(unsupported).is_some_and(|value| !value.is_empty()) {
                return Ok(text(
                    StatusCode::NOT_IMPLEMENTED,
                    &format!("search by {unsupported} is not implemented here, use q\n"),
                ));
            }
        }
        let query = traceql::parse(parameters.get("q").filter(|q| !q.trim().is_empty()).unwrap_or("{ }"))?;
        let found = search::search(&self.store(), &query, &parameters.window()?);
        Ok(json(&api::search(&found)))
    }

    fn tags(&self, parameters: &Parameters, version: u8) -> Reply {
        let only = parameters.get("scope").filter(|scope| !scope.is_empty() && *scope != "none");
        if let Some(scope) = only
            && scope != "intrinsic"
            && traceql::ast::Scope::from_text(scope).is_none()
        {
            return Err(Error::Parameter(format!("invalid scope: {scope}")));
        }
        let tags = search::tags(&self.store(), &parameters.window()?);
        Ok(json(&if version == 1 { api::tags_v1(&tags) } else { api::tags_v2(&tags, only) }))
    }

    fn tag_values(&self, parameters: &Parameters, tag: &str, version: u8) -> Reply {
        let field = tag_field(tag)?;
        let matching: Option<Query> = match parameters.get("q") {
            Some(q) if !q.trim().is_empty() => Some(traceql::parse(q)?),
            _ => None,
        };
        let values = search::tag_values(&self.store(), &field, matching.as_ref(), &parameters.window()?);
        Ok(json(&if version == 1 { api::tag_values_v1(&values) } else { api::tag_values_v2(&values) }))
    }
}

/// Tempo's protobuf answer of `/api/v2/traces/{id}`; its other fields are left at their defaults.
#[derive(Clone, PartialEq, prost::Message)]
struct TraceByIdResponse {
    #[prost(message, optional, tag = "1")]
    trace: Option<TracesData>,
}

/// A tag in a path is a field of TraceQL.
fn tag_field(tag: &str) -> Result<Field, Error> {
    let query = traceql::parse(&format!("{{ }} | select({tag})"))?;
    match query.fields().as_slice() {
        [field] => Ok(field.clone()),
        _ => Err(Error::Parameter(format!("tag name is not valid intrinsic or scoped attribute: {tag}"))),
    }
}

/// The parameters of a request, decoded.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(name, true), percent_decode(value, true))
        });
        Parameters(pairs.collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Error> {
        match self.get(name).filter(|value| !value.is_empty()) {
            Some(value) => value.parse().map(Some).map_err(|_| {
                Error::Parameter(format!("invalid {name}: strconv.ParseInt: parsing {value:?}: invalid syntax"))
            }),
            None => Ok(None),
        }
    }

    fn window(&self) -> Result<Window, Error> {
        let mut window =
            Window { start_secs: self.number("start")?, end_secs: self.number("end")?, ..Window::default() };
        if let (Some(start), Some(end)) = (window.start_secs, window.end_secs)
            && end <= start
        {
            return Err(Error::Parameter(format!(
                "http parameter start must be before end. received start={start} end={end}"
            )));
        }
        if let Some(limit) = self.number("limit")? {
            if limit == 0 {
                return Err(Error::Parameter("invalid limit: must be a positive number".into()));
            }
            if limit > LIMIT_MAX as u64 {
                return Err(Error::Parameter(format!("limit {limit} exceeds max limit {LIMIT_MAX}")));
            }
            window.limit = limit as usize;
        }
        if let Some(spans) = self.number("spss")? {
            window.spans_per_spanset = spans as usize;
        }
        Ok(window)
    }
}

fn percent_decode(text: &str, plus_is_space: bool) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let decoded = match byte {
            b'+' if plus_is_space => Some(b' '),
            b'%' => {
                let mut ahead = bytes.clone();
                let mut digit = || ahead.next().and_then(|c| char::from(c).to_digit(16));
                match (digit(), digit()) {
                    (Some(high), Some(low)) => {
                        bytes = ahead;
                        Some((high * 16 + low) as u8)
                    }
                    _ => None,
                }
            }
            _ => None,
        };
        out.push(decoded.unwrap_or(byte));
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

fn text(status: StatusCode, body: &str) -> Response<Bytes> {
    reply(status, "text/plain; charset=utf-8", body.to_owned())
}

fn json(value: &Value) -> Response<Bytes> {
    reply(StatusCode::OK, "application/json", value.to_string())
}

#[cfg(test)]
mod tests;
