//! One signal's way to an OTLP endpoint: HTTP with protobuf, or gRPC; attempts, pauses, and what an answer means.
//!
//! `opentelemetry-otlp` is not used: its builders read `OTEL_*` headers and compression from the process environment whatever they are
//! told. A unary call of gRPC is a POST over HTTP/2 with five bytes before its message and its status behind it; for that no client
//! library is needed either.

use std::{
    io::{Read as _, Write as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use prost::Message as _;
use tokio::time::{Instant, sleep, timeout};

use super::{export::with_sources, kube_client::USER_AGENT};
use crate::{
    host::{Connector, Files},
    tls::client::{ClientTls, HttpsConnector},
};

/// Attempts for one batch.
pub const EXPORT_ATTEMPTS_MAX: u32 = 5;
const EXPORT_PAUSE_FIRST: Duration = Duration::from_secs(1);
const EXPORT_PAUSE_MAX: Duration = Duration::from_secs(8);
const RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// As much of a receiver's message stands in a line.
const STATUS_CHARS_MAX: usize = 300;
/// What precedes a message of gRPC: whether it is compressed, and its length.
const GRPC_PREFIX_BYTES: usize = 5;

/// How requests are put on the wire.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// `http/protobuf`
    #[default]
    HttpProtobuf,
    /// `grpc`
    Grpc,
}

/// What is sent.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
}

impl Signal {
    /// The method of gRPC.
    fn method(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }
}

/// Where and how something is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpConfig {
    /// How.
    pub protocol: Protocol,
    /// The whole URL; of a gRPC endpoint only its scheme, host and port count.
    pub endpoint: Uri,
    /// Headers (metadata) of every request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Whether requests are compressed.
    pub gzip: bool,
    /// Where the URL says `https`.
    pub tls: ClientTls,
}

type HttpClient = Client<HttpsConnector, Full<Bytes>>;

/// Sends to one endpoint. Cheap to clone.
#[derive(Clone)]
pub struct OtlpClient {
    config: OtlpConfig,
    url: Uri,
    /// What lines say of the endpoint.
    shown: String,
    connector: HttpsConnector,
    /// Made anew when a connection stops answering, see [`Self::forget_connections`].
    client: Arc<Mutex<HttpClient>>,
}

impl std::fmt::Debug for OtlpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OtlpClient").field("endpoint", &self.shown).finish_non_exhaustive()
    }
}

/// What one attempt came to.
#[derive(Debug, PartialEq)]
enum Attempt {
    /// With the answer's message.
    Accepted(Bytes),
    /// Worth another attempt, after this long if the receiver said so.
    Retry {
        why: String,
        after: Option<Duration>,
    },
    Refused(String),
}

impl OtlpClient {
    /// Has to be called inside a runtime.
    pub fn new(signal: Signal, mut config: OtlpConfig, connector: Connector, files: Arc<dyn Files>) -> Self {
        let grpc = config.protocol == Protocol::Grpc;
        config.tls.http2 = grpc;
        let url = if grpc { with_path(&config.endpoint, signal.method()) } else { config.endpoint.clone() };
        let connector = HttpsConnector::new(connector, files, config.tls.clone());
        let client = Arc::new(Mutex::new(http_client(grpc, connector.clone())));
        let shown = without_secrets(&config.endpoint);
        Self { config, url, shown, connector, client }
    }

    /// Where it sends, for a line: scheme, host, port and path.
    pub fn endpoint(&self) -> &str {
        &self.shown
    }

    /// Sends one message, with attempts and pauses within `limit`; the answer's message, or why there is none.
    pub async fn send(&self, message: Bytes, limit: Duration) -> Result<Bytes, String> {
        let body = self.body(message)?;
        let deadline = Instant::now() + limit;
        let mut pause = EXPORT_PAUSE_FIRST;
        let mut last = String::new();
        for attempt in 1..=EXPORT_ATTEMPTS_MAX {
            match self.attempt(body.clone(), deadline).await {
                Attempt::Accepted(answer) => return Ok(answer),
                Attempt::Refused(why) => return Err(why),
                Attempt::Retry { why, after } => {
                    last = why;
                    let wait = after.unwrap_or(pause).min(limit);
                    if attempt == EXPORT_ATTEMPTS_MAX || Instant::now() + wait >= deadline {
                        break;
                    }
                    sleep(wait).await;
                    pause = (pause * 2).min(EXPORT_PAUSE_MAX);
                }
            }
        }
        Err(last)
    }

    fn body(&self, message: Bytes) -> Result<Bytes, String> {
        let message = if self.config.gzip {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&message).map_err(|error| error.to_string())?;
            Bytes::from(encoder.finish().map_err(|error| error.to_string())?)
        } else {
            message
        };
        if self.config.protocol == Protocol::HttpProtobuf {
            return Ok(message);
        }
        let mut framed = BytesMut::with_capacity(GRPC_PREFIX_BYTES + message.len());
        framed.put_u8(u8::from(self.config.gzip));
        framed.put_u32(u32::try_from(message.len()).map_err(|_| "the batch is too long".to_owned())?);
        framed.put(message);
        Ok(framed.freeze())
    }

    async fn attempt(&self, body: Bytes, deadline: Instant) -> Attempt {
        let limit = self.config.timeout.min(deadline.saturating_duration_since(Instant::now()));
        match timeout(limit, self.exchange(body)).await {
            Err(_) => {
                self.forget_connections();
                Attempt::Retry { why: format!("no answer within {limit:?}"), after: None }
            }
            Ok(Err(why)) => Attempt::Retry { why, after: None },
            Ok(Ok(attempt)) => attempt,
        }
    }

    /// A connection that does not answer may be one whose other end is gone without a word: TCP needs a quarter of an hour to notice, and
    /// HTTP/2 would put every request on it until then. The next attempt opens another one. (Pings would notice, too, but receivers of gRPC
    /// close the connection of a client that pings more often than every five minutes.)
    fn forget_connections(&self) {
        let fresh = http_client(self.config.protocol == Protocol::Grpc, self.connector.clone());
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    async fn exchange(&self, body: Bytes) -> Result<Attempt, String> {
        let grpc = self.config.protocol == Protocol::Grpc;
        let mut request = Request::post(self.url.clone()).header(header::USER_AGENT, USER_AGENT);
        if grpc {
            request = request
                .header(header::CONTENT_TYPE, "application/grpc")
                .header(header::TE, "trailers")
                .header("grpc-timeout", format!("{}m", self.config.timeout.as_millis()));
        } else {
            request = request.header(header::CONTENT_TYPE, "application/x-protobuf");
        }
        if self.config.gzip {
            let name = if grpc { HeaderName::from_static("grpc-encoding") } else { header::CONTENT_ENCODING };
            request = request.header(name, "gzip");
        }
        let mut request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        for (name, value) in &self.config.headers {
            request.headers_mut().insert(name, value.clone());
        }
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let response = client.request(request).await.map_err(|error| with_sources(&error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, RESPONSE_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
        let trailers = body.trailers().cloned();
        let bytes = body.to_bytes();
        Ok(if grpc {
            grpc_attempt(parts.status, &parts.headers, trailers.as_ref(), bytes)
        } else {
            http_attempt(parts.status, &parts.headers, bytes)
        })
    }
}

fn http_client(grpc: bool, connector: HttpsConnector) -> HttpClient {
    Client::builder(TokioExecutor::new()).http2_only(grpc).build(connector)
}

/// Neither a query nor a user's name: both may be secrets.
fn without_secrets(endpoint: &Uri) -> String {
    let scheme = endpoint.scheme_str().unwrap_or("http");
    let port = endpoint.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{}{port}{}", endpoint.host().unwrap_or_default(), endpoint.path())
}

fn with_path(endpoint: &Uri, path: &'static str) -> Uri {
    let mut parts = endpoint.clone().into_parts();
    parts.path_and_query = Some(http::uri::PathAndQuery::from_static(path));
    Uri::from_parts(parts).unwrap_or_else(|_| endpoint.clone())
}

/// The retryable statuses are those of the OTLP specification.
fn http_attempt(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Attempt {
    if status.is_success() {
        return Attempt::Accepted(body);
    }
    let told = status_message(headers, &body).map(|message| format!(": {message}")).unwrap_or_default();
    let why = format!("the endpoint answered {status}{told}");
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            let after = headers
                .get(header::RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.trim().parse().ok())
                .map(Duration::from_secs);
            Attempt::Retry { why, after }
        }
        _ => Attempt::Refused(why),
    }
}

/// What the body of an answer that is no success says: a `Status` of protobuf, as the OTLP specification wants it, or a proxy's plain text.
fn status_message(headers: &HeaderMap, body: &Bytes) -> Option<String> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let message = if kind.starts_with("application/x-protobuf") {
        Status::decode(body.clone()).ok()?.message
    } else if kind.starts_with("text/plain") {
        String::from_utf8_lossy(body).into_owned()
    } else {
        return None;
    };
    let message = message.trim();
    (!message.is_empty()).then(|| message.chars().take(STATUS_CHARS_MAX).collect())
}

/// `google.rpc.Status`, of which only the message counts here.
#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
}

/// The retryable codes are those of the OTLP specification. `RESOURCE_EXHAUSTED` (8) is worth another attempt only where the receiver says when,
/// in a detail that is not read here: it counts as refused.
fn grpc_attempt(status: StatusCode, headers: &HeaderMap, trailers: Option<&HeaderMap>, mut body: Bytes) -> Attempt {
    // Where there is no message the status stands in the head.
    let told = |name: &str| {
        let value = trailers.and_then(|trailers| trailers.get(name)).or_else(|| headers.get(name));
        value.and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let Some(code) = told("grpc-status").and_then(|code| code.trim().parse::<u32>().ok()) else {
        let why = format!("the endpoint answered {status}, and no status of gRPC: is it one of HTTP?");
        // Whatever stands between (a proxy, a load balancer) may be there the next time.
        let passing = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        return if passing { Attempt::Retry { why, after: None } } else { Attempt::Refused(why) };
    };
    let message = told("grpc-message").unwrap_or_default();
    match code {
        0 if body.len() >= GRPC_PREFIX_BYTES => {
            // The prefix: whether it is compressed (as the request was), and its length.
            let compressed = body[0] == 1;
            body.advance(GRPC_PREFIX_BYTES);
            Attempt::Accepted(if compressed { inflated(&body) } else { body })
        }
        0 => Attempt::Accepted(Bytes::new()),
        1 | 4 | 10 | 11 | 14 | 15 => {
            Attempt::Retry { why: format!("the endpoint answered gRPC status {code}: {message}"), after: None }
        }
        _ => Attempt::Refused(format!("the endpoint answered gRPC status {code}: {message}")),
    }
}

/// What a receiver's answer holds; one that cannot be read says nothing.
fn inflated(body: &[u8]) -> Bytes {
    let mut whole = Vec::new();
    match GzDecoder::new(body).take(RESPONSE_BYTES_MAX as u64).read_to_end(&mut whole) {
        Ok(_) => whole.into(),
        Err(_) => Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_a_status_of_http_means_is_what_the_specification_says() {
        let attempt = |status: u16, pairs: &[(&'static str, &'static str)]| {
            http_attempt(StatusCode::from_u16(status).unwrap(), &headers(pairs), Bytes::new())
        };
        assert_eq!(attempt(200, &[]), Attempt::Accepted(Bytes::new()));
        for status in [429, 502, 503, 504] {
            assert!(matches!(attempt(status, &[]), Attempt::Retry { after: None, .. }), "{status}");
        }
        let told = attempt(503, &[("retry-after", "7")]);
        assert!(matches!(told, Attempt::Retry { after: Some(after), .. } if after == Duration::from_secs(7)));
        for status in [400, 401, 404, 500] {
            assert!(matches!(attempt(status, &[]), Attempt::Refused(_)), "{status}");
        }
    }

    #[test]
    fn an_answer_that_is_no_success_is_told_with_its_message() {
        let protobuf = headers(&[("content-type", "application/x-protobuf")]);
        let status = Status { message: "unknown tenant".to_owned() }.encode_to_vec();
        let attempt = http_attempt(StatusCode::BAD_REQUEST, &protobuf, status.into());
        assert_eq!(attempt, Attempt::Refused("the endpoint answered 400 Bad Request: unknown tenant".to_owned()));
        let text = headers(&[("content-type", "text/plain; charset=utf-8")]);
        let attempt = http_attempt(StatusCode::NOT_FOUND, &text, "404 page not found\n".into());
        assert_eq!(attempt, Attempt::Refused("the endpoint answered 404 Not Found: 404 page not found".to_owned()));
        let page = headers(&[("content-type", "text/html")]);
        let attempt = http_attempt(StatusCode::NOT_FOUND, &page, "<html>".into());
        assert_eq!(attempt, Attempt::Refused("the endpoint answered 404 Not Found".to_owned()));
        let long = http_attempt(StatusCode::BAD_REQUEST, &text, "x".repeat(5000).into());
        assert!(matches!(long, Attempt::Refused(why) if why.len() < 400));
    }

    #[test]
    fn an_endpoint_is_shown_without_what_may_be_secret() {
        for (endpoint, shown) in [
            ("http://collector:4318/v1/traces?token=s3cret", "http://collector:4318/v1/traces"),
            ("https://me:s3cret@[::1]/x", "https://[::1]/x"),
        ] {
            assert_eq!(without_secrets(&endpoint.parse().unwrap()), shown);
        }
    }

    #[test]
    fn what_a_status_of_grpc_means_is_what_the_specification_says() {
        let attempt = |code: &'static str| {
            grpc_attempt(StatusCode::OK, &HeaderMap::new(), Some(&headers(&[("grpc-status", code)])), Bytes::new())
        };
        assert_eq!(attempt("0"), Attempt::Accepted(Bytes::new()));
        for code in ["1", "4", "10", "11", "14", "15"] {
            assert!(matches!(attempt(code), Attempt::Retry { .. }), "{code}");
        }
        for code in ["2", "3", "5", "7", "8", "12", "13", "16"] {
            assert!(matches!(attempt(code), Attempt::Refused(_)), "{code}");
        }
        // In the head alone.
        let head = headers(&[("grpc-status", "12"), ("grpc-message", "unknown service")]);
        let attempt = grpc_attempt(StatusCode::OK, &head, None, Bytes::new());
        assert_eq!(attempt, Attempt::Refused("the endpoint answered gRPC status 12: unknown service".into()));
        // The message begins behind its prefix.
        let ok = headers(&[("grpc-status", "0")]);
        let attempt = grpc_attempt(StatusCode::OK, &HeaderMap::new(), Some(&ok), Bytes::from_static(b"\0\0\0\0\x01x"));
        assert_eq!(attempt, Attempt::Accepted(Bytes::from_static(b"x")));
        // A server compresses its answer as the request was.
        let mut answer = BytesMut::from(&b"\x01\0\0\0\0"[..]);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"partly").unwrap();
        answer.extend_from_slice(&encoder.finish().unwrap());
        let attempt = grpc_attempt(StatusCode::OK, &HeaderMap::new(), Some(&ok), answer.freeze());
        assert_eq!(attempt, Attempt::Accepted(Bytes::from_static(b"partly")));
    }

    #[test]
    fn a_server_of_http_that_is_asked_by_grpc_is_told_of() {
        let attempt = grpc_attempt(StatusCode::NOT_FOUND, &HeaderMap::new(), None, Bytes::new());
        assert!(matches!(attempt, Attempt::Refused(why) if why.contains("is it one of HTTP?")));
    }
}
