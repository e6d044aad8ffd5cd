//! Surroundings for tests: a network of in-memory streams, a collector, a log that can be read.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    convert::Infallible,
    fmt::Write,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value as AttributeValue, trace::v1::Span,
};
use prost::Message;
use serde_json::Value;
use tokio::io::DuplexStream;

use crate::host::{BoxedIo, BoxedListener, Connector, Host, Listener, NoFiles, Shutdown, ShutdownHandle};

/// Log lines as they were written.
pub type Lines = Arc<Mutex<Vec<Value>>>;

/// Bytes as lines and spans show ids.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A host on which nothing listens and from which nothing is reached but through `connector`.
pub fn host(connector: Connector, lines: &Lines) -> (ShutdownHandle, Host) {
    let (handle, shutdown) = Shutdown::pair();
    let lines = lines.clone();
    let host = Host {
        kube_config: kube::Config::new("http://kubernetes".parse().unwrap()),
        connector,
        listen: Arc::new(|_: SocketAddr| -> BoxFuture<'static, io::Result<BoxedListener>> {
            Box::pin(async { Err(io::Error::other("no network")) })
        }),
        env: BTreeMap::new(),
        args: Vec::new(),
        files: Arc::new(NoFiles),
        shutdown,
        log_writer: Arc::new(move |line| lines.lock().unwrap().push(serde_json::from_str(line).unwrap())),
        process: None,
    };
    (handle, host)
}

/// No way out at all.
pub fn no_network() -> Connector {
    Connector::new(|_: Uri| -> BoxFuture<'static, io::Result<BoxedIo>> {
        Box::pin(async { Err(io::Error::other("no network")) })
    })
}

/// Runs a future on a runtime of its own.
pub fn in_runtime<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The same, in time that passes only while everything waits.
pub fn in_paused_time<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Answers requests.
pub trait Server: Clone + Send + Sync + 'static {
    fn answer(&self, parts: http::request::Parts, body: Bytes) -> Response<Body>;
}

/// The near end of a connection to a server.
pub fn open(server: impl Server) -> BoxedIo {
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let service = service_fn(move |request: Request<Incoming>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                Ok::<_, Infallible>(server.answer(parts, body))
            }
        });
        let _ = http1::Builder::new().serve_connection(TokioIo::new(far), service).await;
    });
    Box::new(near)
}

pub fn full(status: u16, body: impl Into<Bytes>) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Full::new(body.into()).boxed_unsync())
        .unwrap()
}

/// A collector that answers with the statuses it is told, then with 200, and with a body where it is given one.
#[derive(Clone, Default)]
pub struct Collector {
    pub requests: Arc<Mutex<Vec<(http::request::Parts, ExportTraceServiceRequest)>>>,
    pub statuses: Arc<Mutex<VecDeque<u16>>>,
    pub body: Arc<Mutex<Bytes>>,
}

impl Server for Collector {
    fn answer(&self, parts: http::request::Parts, body: Bytes) -> Response<Body> {
        let status = self.statuses.lock().unwrap().pop_front().unwrap_or(200);
        self.requests.lock().unwrap().push((parts, ExportTraceServiceRequest::decode(body).unwrap()));
        full(status, self.body.lock().unwrap().clone())
    }
}

impl Collector {
    pub fn connector(&self) -> Connector {
        let collector = self.clone();
        Connector::new(move |_: Uri| -> BoxFuture<'static, io::Result<BoxedIo>> {
            let collector = collector.clone();
            Box::pin(async move { Ok(open(collector)) })
        })
    }

    pub fn spans(&self) -> Vec<Span> {
        let requests = self.requests.lock().unwrap();
        let scopes =
            requests.iter().flat_map(|(_, request)| &request.resource_spans).flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    pub fn span(&self, name: &str) -> Span {
        let spans = self.spans();
        let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
        assert_eq!(
            found.len(),
            1,
            "one span {name} among {:?}",
            spans.iter().map(|span| &span.name).collect::<Vec<_>>()
        );
        found[0].clone()
    }
}

/// The attributes of a span, each of which has to stand there once; what is no text in its debug form.
pub fn attributes(span: &Span) -> BTreeMap<String, String> {
    let keys: BTreeSet<&str> = span.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    assert_eq!(keys.len(), span.attributes.len(), "an attribute twice on {}: {:?}", span.name, span.attributes);
    span.attributes
        .iter()
        .map(|attribute| {
            let value = match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
                Some(AttributeValue::StringValue(text)) => text.clone(),
                Some(AttributeValue::IntValue(number)) => number.to_string(),
                other => format!("{other:?}"),
            };
            (attribute.key.clone(), value)
        })
        .collect()
}

/// A listener whose connections come from [`Doors::knock`].
struct Door(tokio::sync::mpsc::Receiver<BoxedIo>);

impl Listener for Door {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<BoxedIo>> {
        Box::pin(async {
            match self.0.recv().await {
                Some(io) => Ok(io),
                None => std::future::pending().await,
            }
        })
    }
}

/// The ports that a host listens on.
#[derive(Clone, Default)]
pub struct Doors(Arc<Mutex<BTreeMap<u16, tokio::sync::mpsc::Sender<BoxedIo>>>>);

impl Doors {
    pub fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<BoxedListener>> {
        let port = address.port();
        let (sender, receiver) = tokio::sync::mpsc::channel(8);
        self.0.lock().unwrap().insert(port, sender);
        Box::pin(async { Ok(Box::new(Door(receiver)) as BoxedListener) })
    }

    /// Opens a connection to a port.
    pub async fn knock(&self, port: u16) -> DuplexStream {
        let sender = self.0.lock().unwrap()[&port].clone();
        let (near, far) = tokio::io::duplex(64 * 1024);
        sender.send(Box::new(far)).await.ok().unwrap();
        near
    }

    /// GETs a path from a port.
    pub async fn get(&self, port: u16, path: &str, accept: &str) -> Response<String> {
        let near = self.knock(port).await;
        let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get(path).header("host", "pod").header("accept", accept).body(String::new()).unwrap();
        let (parts, body) = client.send_request(request).await.unwrap().into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Response::from_parts(parts, body)
    }
}
