//! The operator's small HTTP servers: one loop that serves a port, with TLS or without, and the answers of the health port.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinSet;

use super::{
    Telemetry,
    health::{Health, Probe},
};
use crate::{host::BoxedListener, tls::server::ServerTls};

/// Connections that one server serves at the same time; the next one waits.
pub const CONNECTIONS_MAX: usize = 64;
/// How long a connection may be silent before its next request's head is in.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a request's body may take.
pub const BODY_READ_TIMEOUT: Duration = Duration::from_secs(30);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a request is answered with.
pub type Answer = Response<Full<Bytes>>;

/// Answers requests: the request with its whole body, and whether its client showed a certificate that was found good.
pub type Handler = Arc<dyn Fn(Request<Bytes>, bool) -> BoxFuture<'static, Answer> + Send + Sync>;

/// Serves `/healthz` and `/readyz`. Never ends by itself.
pub async fn serve_health(listener: BoxedListener, health: Health, telemetry: Telemetry) {
    health.on_change(listener.answers_changed());
    let handler: Handler = Arc::new(move |request, _| {
        let answer = health_answer(&health, &request);
        Box::pin(async move { answer })
    });
    serve(listener, None, 0, telemetry, handler).await;
}

fn health_answer(health: &Health, request: &Request<Bytes>) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    }
    let probe = match request.uri().path() {
        "/healthz" => Probe::Live,
        "/readyz" => Probe::Ready,
        _ => return text(StatusCode::NOT_FOUND, "404 page not found\n"),
    };
    let verbose = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("verbose")));
    let (passed, body) = health.answer(probe, verbose);
    text(if passed { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR }, body)
}

/// A plain text.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::from(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// Serves a port: at most [`CONNECTIONS_MAX`] connections, bodies up to `body_bytes_max`. Never ends by itself.
pub async fn serve(
    mut listener: BoxedListener,
    tls: Option<ServerTls>,
    body_bytes_max: usize,
    telemetry: Telemetry,
    handler: Handler,
) {
    // Owned here: when the server is dropped, so are its connections.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => accepted,
        };
        let io = match accepted {
            Ok(io) => io,
            Err(error) => {
                tracing::warn!(error = %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (handler, telemetry, tls) = (handler.clone(), telemetry.clone(), tls.clone());
        connections.spawn(async move {
            let connection = async {
                let (io, known) = match tls {
                    None => (io, false),
                    Some(tls) => match tls.accept(io).await {
                        Ok(accepted) => accepted,
                        Err(error) => {
                            tracing::debug!(error = %error, "TLS handshake failed");
                            return;
                        }
                    },
                };
                let service = service_fn(move |request: Request<Incoming>| {
                    let handler = handler.clone();
                    async move {
                        Ok::<_, Infallible>(match whole(request, body_bytes_max).await {
                            Ok(request) => handler(request, known).await,
                            Err(refusal) => refusal,
                        })
                    }
                });
                // A connection that breaks concerns nobody but its client.
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_READ_TIMEOUT)
                    .serve_connection(TokioIo::new(io), service)
                    .await;
            };
            telemetry.scope(connection).await;
        });
    }
}

async fn whole(request: Request<Incoming>, bytes_max: usize) -> Result<Request<Bytes>, Answer> {
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(BODY_READ_TIMEOUT, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(body)) => Ok(Request::from_parts(parts, body.to_bytes())),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(text(StatusCode::PAYLOAD_TOO_LARGE, "request body too large\n"))
        }
        Ok(Err(_)) => Err(text(StatusCode::BAD_REQUEST, "the body broke off\n")),
        Err(_) => Err(text(StatusCode::REQUEST_TIMEOUT, "the body took too long\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_health_port_answers_by_path_method_and_check() {
        let health = Health::default();
        health.fail(Probe::Ready, "caches", "not synced");
        let ask = |method: Method, uri: &str| {
            let request = Request::builder().method(method).uri(uri).body(Bytes::new()).unwrap();
            health_answer(&health, &request).status().as_u16()
        };
        assert_eq!(ask(Method::GET, "/healthz?verbose"), 200);
        assert_eq!(ask(Method::GET, "/readyz"), 500);
        assert_eq!(ask(Method::GET, "/other"), 404);
        assert_eq!(ask(Method::POST, "/readyz"), 405);
    }
}
