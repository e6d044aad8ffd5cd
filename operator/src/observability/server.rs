//! The two small HTTP servers: `/metrics`, and `/healthz` with `/readyz`.

use std::{
    convert::Infallible,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinSet;

use super::{
    Telemetry,
    registry::{Format, Registry},
};
use crate::host::BoxedListener;

/// Connections that one server serves at the same time; the next one waits.
pub const CONNECTIONS_MAX: usize = 64;
/// How long a connection may be silent before its next request's head is in.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(120);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Answer = Response<Full<Bytes>>;

/// Whether the operator is ready, and who wants to know when that changes.
#[derive(Clone, Default)]
pub struct Health(Arc<HealthState>);

#[derive(Default)]
struct HealthState {
    ready: AtomicBool,
    changed: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("ready", &self.ready()).finish()
    }
}

impl Health {
    /// Whether every cache has its first list and no end was requested.
    pub fn ready(&self) -> bool {
        self.0.ready.load(Ordering::Acquire)
    }

    /// Changes what `/readyz` says.
    pub fn set_ready(&self, ready: bool) {
        if self.0.ready.swap(ready, Ordering::AcqRel) != ready {
            let changed = self.0.changed.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(changed) = changed {
                changed();
            }
        }
    }

    fn tell(&self, changed: Arc<dyn Fn() + Send + Sync>) {
        *self.0.changed.lock().unwrap_or_else(PoisonError::into_inner) = Some(changed);
    }

    fn answer(&self, path: &str) -> Answer {
        match path {
            "/healthz" => text(StatusCode::OK, "ok"),
            "/readyz" if self.ready() => text(StatusCode::OK, "ok"),
            "/readyz" => text(StatusCode::INTERNAL_SERVER_ERROR, "[-]caches failed: not synced\nreadyz check failed\n"),
            _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
        }
    }
}

/// Serves `/healthz` (true while the process runs) and `/readyz` (true once every cache is synced). Never ends by itself.
pub async fn serve_health(listener: BoxedListener, health: Health, telemetry: Telemetry) {
    health.tell(listener.answers_changed());
    serve(listener, telemetry, move |request| health.answer(request.uri().path())).await;
}

/// Serves `/metrics` in the format that the `Accept` header asks for. Never ends by itself.
pub async fn serve_metrics(listener: BoxedListener, registry: Arc<Registry>, telemetry: Telemetry) {
    serve(listener, telemetry, move |request| {
        if request.uri().path() != "/metrics" {
            return text(StatusCode::NOT_FOUND, "404 page not found\n");
        }
        let accept: Vec<&str> =
            request.headers().get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
        let format = Format::negotiate(&accept.join(","));
        let mut answer = Response::new(Full::from(registry.encode(format)));
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        answer
    })
    .await;
}

fn text(status: StatusCode, body: &'static str) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

async fn serve<H>(mut listener: BoxedListener, telemetry: Telemetry, handler: H)
where
    H: Fn(&Request<Incoming>) -> Answer + Send + Sync + 'static,
{
    let handler = Arc::new(handler);
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
        let (handler, telemetry) = (handler.clone(), telemetry.clone());
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = match *request.method() {
                    Method::GET | Method::HEAD => handler(&request),
                    _ => text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"),
                };
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_READ_TIMEOUT)
                .serve_connection(TokioIo::new(io), service);
            // A connection that breaks concerns nobody but its client.
            let _ = telemetry.scope(connection).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn readiness_follows_the_caches_and_tells_of_each_change_once() {
        let health = Health::default();
        let told = Arc::new(AtomicUsize::new(0));
        let count = told.clone();
        health.tell(Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        assert_eq!(health.answer("/readyz").status(), 500);
        assert_eq!(health.answer("/healthz").status(), 200);
        health.set_ready(true);
        health.set_ready(true);
        assert_eq!(health.answer("/readyz").status(), 200);
        assert_eq!(health.answer("/other").status(), 404);
        assert_eq!(told.load(Ordering::Relaxed), 1);
    }
}
