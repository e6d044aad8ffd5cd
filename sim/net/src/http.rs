//! HTTP over the network: serving, asking, and the connector for other clients' stacks.

use std::{
    convert::Infallible,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{client::legacy, rt::TokioIo, server::conn::auto, service::TowerToHyperService};

use crate::network::{Host, Listener};
use crate::stream::Stream;

/// A response body of any origin.
pub type Body = http_body_util::combinators::BoxBody<Bytes, io::Error>;

/// The default limit of a request's body at a server.
pub const REQUEST_BYTES_MAX: usize = 16 << 20;
/// The default limit of a response's body at a client.
pub const RESPONSE_BYTES_MAX: usize = 64 << 20;
/// How long [`Client::send`] waits for a whole response unless told otherwise.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// A body of bytes that are all there.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}

/// A body without bytes.
pub fn empty() -> Body {
    full(Bytes::new())
}

/// A response with this status, content type and body.
pub fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

/// A JSON response with this status.
pub fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    response(status, "application/json", value.to_string())
}

/// What a server bears.
#[derive(Copy, Clone, Debug)]
pub struct Limits {
    /// A longer request body is answered with 413.
    pub body_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_bytes_max: REQUEST_BYTES_MAX }
    }
}

/// Runs a task of hyper's (HTTP/2 needs them) where the watchdog sees it.
#[derive(Clone, Copy, Debug)]
pub struct Executor;

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        sim_clock::spawn("http", future);
    }
}

/// Marks a response that is never sent: [`serve`] breaks the connection (HTTP/2: the stream) in its place.
#[derive(Clone, Copy, Debug)]
pub struct NoAnswer;

/// The response of a handler that wants its client to see the connection break without an answer. Where something else
/// than [`serve`] sends it, at least its body breaks off.
pub fn no_answer() -> Response<Body> {
    let broken = futures::stream::once(async {
        Err::<hyper::body::Frame<Bytes>, _>(io::Error::from(io::ErrorKind::ConnectionReset))
    });
    let mut response = Response::new(BodyExt::boxed(http_body_util::StreamBody::new(broken)));
    response.extensions_mut().insert(NoAnswer);
    response
}

/// Answers HTTP/1.1 and HTTP/2 (told apart by its preface) on one port until the host is gone; each request is handed
/// over with its whole body. Dropping the future closes the port and the connections.
pub async fn serve<H, F>(listener: Listener, limits: Limits, handler: H)
where
    H: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = handler.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = match Limited::new(body, limits.body_bytes_max).collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                    return Ok(response(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", "request body too large\n"));
                }
                Err(error) => return Ok(response(StatusCode::BAD_REQUEST, "text/plain", format!("{error}\n"))),
            };
            let response = handler(Request::from_parts(head, body)).await;
            if response.extensions().get::<NoAnswer>().is_some() {
                return Err(io::Error::from(io::ErrorKind::ConnectionReset));
            }
            Ok(response)
        }
    });
    serve_hyper(listener, service).await;
}

/// The same with a tower service, for instance tonic's routes.
pub async fn serve_service<S, B>(listener: Listener, service: S)
where
    S: tower::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    serve_hyper(listener, TowerToHyperService::new(service)).await;
}

async fn serve_hyper<S, B>(mut listener: Listener, service: S)
where
    S: hyper::service::Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Connections end with the server: a process that dies takes its sockets along.
    let mut connections = tokio::task::JoinSet::new();
    let name = format!("server {}", listener.local_addr());
    loop {
        tokio::select! {
            biased;
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                let service = service.clone();
                connections.spawn(async move {
                    // A connection that breaks is its client's matter.
                    let _ = auto::Builder::new(Executor).serve_connection_with_upgrades(TokioIo::new(stream), service).await;
                });
            }
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    std::panic::panic_any(format!("{name}: {error}"));
                }
            }
        }
    }
}

/// Opens connections of a host for clients that speak HTTP themselves: hyper-util's legacy client, kube, tonic.
#[derive(Clone, Debug)]
pub struct Connector(Host);

impl Connector {
    /// Connections come from `host`.
    pub fn new(host: Host) -> Self {
        Self(host)
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let host = self.0.clone();
        Box::pin(async move {
            let name = uri.host().unwrap_or_default();
            let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
            host.connect(&format!("{name}:{port}")).await.map(TokioIo::new)
        })
    }
}

/// Why a request got no response.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The connection failed or broke.
    #[error("{request}: {reason}")]
    Connection {
        /// The request's method and target.
        request: String,
        /// The chain of causes.
        reason: String,
    },
    /// Nothing came in time.
    #[error("{request}: no response within {after:?}")]
    Timeout {
        /// The request's method and target.
        request: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The request could not be built.
    #[error("no request: {0}")]
    Request(String),
    /// The answer was no JSON.
    #[error("{uri}: the answer is no JSON: {reason}")]
    Json {
        /// The request's target.
        uri: String,
        /// What the parser said.
        reason: String,
    },
}

/// Asks over HTTP/1.1 with connections that are kept alive.
#[derive(Clone)]
pub struct Client {
    inner: legacy::Client<Connector, Full<Bytes>>,
    timeout: Duration,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Client {
    /// A client on `host`.
    pub fn new(host: Host) -> Self {
        Self { inner: legacy::Client::builder(Executor).build(Connector::new(host)), timeout: RESPONSE_TIMEOUT }
    }

    /// The same, waiting this long for a whole response.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends a request and returns the response with its whole body.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let asked = describe(&request);
        let whole = async {
            let (head, body) = self.send_streaming(request).await?.into_parts();
            let body = Limited::new(body, RESPONSE_BYTES_MAX)
                .collect()
                .await
                .map_err(|error| HttpError::Connection { request: asked.clone(), reason: chain(error.as_ref()) })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        tokio::time::timeout(self.timeout, whole)
            .await
            .unwrap_or_else(|_| Err(HttpError::Timeout { request: asked.clone(), after: self.timeout }))
    }

    /// Sends a request and returns the response as soon as its head is there (a watch).
    pub async fn send_streaming(&self, request: Request<Bytes>) -> Result<Response<Incoming>, HttpError> {
        let asked = describe(&request);
        let response = self.inner.request(request.map(Full::new)).await;
        response.map_err(|error| HttpError::Connection { request: asked, reason: chain(&error) })
    }

    /// `GET url`.
    pub async fn get(&self, url: &str) -> Result<Response<Bytes>, HttpError> {
        let request = Request::get(url).body(Bytes::new()).map_err(|error| HttpError::Request(error.to_string()))?;
        self.send(request).await
    }

    /// `GET url`, the answer's status and JSON.
    pub async fn get_json(&self, url: &str) -> Result<(StatusCode, serde_json::Value), HttpError> {
        Self::decode(url, &self.get(url).await?)
    }

    /// `POST url` with a JSON body, the answer's status and JSON.
    pub async fn post_json(
        &self,
        url: &str,
        body: &serde_json::Value,
    ) -> Result<(StatusCode, serde_json::Value), HttpError> {
        let request = Request::post(url)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(body.to_string()))
            .map_err(|error| HttpError::Request(error.to_string()))?;
        Self::decode(url, &self.send(request).await?)
    }

    fn decode(url: &str, response: &Response<Bytes>) -> Result<(StatusCode, serde_json::Value), HttpError> {
        let value = serde_json::from_slice(response.body())
            .map_err(|error| HttpError::Json { uri: url.to_owned(), reason: error.to_string() })?;
        Ok((response.status(), value))
    }
}

/// The method and target of a request.
fn describe<B>(request: &Request<B>) -> String {
    format!("{} {}", request.method(), request.uri())
}

/// An error and its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
