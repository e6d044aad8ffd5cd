//! Serving the API on connections of any kind: the simulated network's, or TCP; with TLS or without.

use std::{convert::Infallible, sync::Arc};

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{rt::TokioIo, server::conn::auto};
use rustls::ServerConfig;
use sim_net::http::{Body, Executor, REQUEST_BYTES_MAX, response};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    access::{Connection, UserInfo},
    server::ApiServer,
    wire,
};

/// One way into an API server: with TLS or without, and whom it takes a client without credentials for.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The server behind it.
    pub server: ApiServer,
    /// TLS; `None`: plain HTTP.
    pub tls: Option<Arc<ServerConfig>>,
    /// Whom a client without credentials is taken for; `None`: anonymous.
    pub without_credentials: Option<Arc<UserInfo>>,
}

impl Endpoint {
    /// Plain HTTP whose clients are trusted unless they say who they are: the port inside a world.
    pub fn trusted(server: ApiServer) -> Self {
        Self { server, tls: None, without_credentials: Some(Arc::new(UserInfo::admin())) }
    }

    /// TLS whose clients are anonymous unless they say who they are.
    pub fn tls(server: ApiServer, config: Arc<ServerConfig>) -> Self {
        Self { server, tls: Some(config), without_credentials: None }
    }
}

/// Speaks with one client until it goes away: the TLS handshake if there is one, then HTTP/1.1 or HTTP/2.
///
/// # Errors
/// What broke the connection (a handshake that failed, a peer that reset).
pub async fn serve_connection<S>(stream: S, endpoint: Endpoint) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(config) = endpoint.tls.clone() else {
        return http(stream, endpoint, Arc::default()).await;
    };
    let stream = tokio_rustls::TlsAcceptor::from(config).accept(stream).await?;
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificates = shown.iter().map(|c| c.clone().into_owned()).collect();
    http(stream, endpoint, certificates).await
}

async fn http<S>(
    stream: S,
    endpoint: Endpoint,
    certificates: Arc<[rustls::pki_types::CertificateDer<'static>]>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = Connection { certificates, without_credentials: endpoint.without_credentials };
    let server = endpoint.server;
    let service = service_fn(move |request: Request<Incoming>| {
        let (server, connection) = (server.clone(), connection.clone());
        async move { Ok::<_, Infallible>(answer(server, connection, request).await) }
    });
    auto::Builder::new(Executor).serve_connection_with_upgrades(TokioIo::new(stream), service).await
}

async fn answer(server: ApiServer, connection: Connection, request: Request<Incoming>) -> http::Response<Body> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, REQUEST_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            return response(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", "request body too large\n");
        }
        Err(error) => return response(StatusCode::BAD_REQUEST, "text/plain", format!("{error}\n")),
    };
    let mut request = Request::from_parts(head, body);
    request.extensions_mut().insert(connection);
    wire::handle(server, request).await
}

/// Serves an endpoint on a port of the simulated network until its host is gone. Dropping the future closes the port
/// and its connections.
pub async fn serve(mut listener: sim_net::Listener, endpoint: Endpoint) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            biased;
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                let endpoint = endpoint.clone();
                connections.spawn(async move {
                    // A connection that breaks is its client's matter.
                    let _ = serve_connection(stream, endpoint).await;
                });
            }
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    std::panic::panic_any(format!("kube-apiserver: {error}"));
                }
            }
        }
    }
}
