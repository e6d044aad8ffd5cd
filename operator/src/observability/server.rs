//! The operator's small HTTP servers: one loop that serves a port, with TLS or without, and the answers of the health port.
//!
//! A client that only holds a connection keeps nobody out. The API server keeps up to 25 connections open for each path of each
//! webhook configuration, and anybody in the cluster can open as many as they like: where there is no room left, the connection that
//! has waited longest for its client is closed for the one that comes.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    Telemetry,
    health::{Health, Probe},
};
use crate::{
    host::{BoxedIo, BoxedListener},
    signal::Signal,
    tls::server::ServerTls,
};

/// Connections that the port of probes or of metrics holds at the same time.
pub const CONNECTIONS_MAX: usize = 128;
/// How long a new connection may take until its first request's head is in, after the handshake.
pub const FIRST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection whose requests were answered may be silent before its next request's head is in.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a request's body may take.
pub const BODY_READ_TIMEOUT: Duration = Duration::from_secs(30);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// `ENFILE` and `EMFILE`: no file descriptor is left for another connection.
const NO_DESCRIPTOR_LEFT: [i32; 2] = [23, 24];

/// What a request is answered with.
pub type Answer = Response<Full<Bytes>>;

/// Answers requests.
pub type Handler = Arc<dyn Fn(Asked) -> BoxFuture<'static, Answer> + Send + Sync>;

/// How servers are told of the operator's end. Clones speak of the same.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    announced: Signal,
    begun: Signal,
}

impl Ending {
    /// From now on every answer is the last one of its connection: clients open the next one to whoever stays.
    pub fn announce(&self) {
        self.announced.give();
    }

    /// From now on nobody is let in, and connections end with the request that they are at.
    pub fn begin(&self) {
        self.begun.give();
    }
}

/// A port, and how it is served.
pub struct Port {
    /// Where connections come from.
    pub listener: BoxedListener,
    /// TLS in front of it.
    pub tls: Option<ServerTls>,
    /// Connections that it holds at the same time.
    pub connections_max: usize,
    /// The operator's end.
    pub ending: Ending,
}

/// A request of which the head is in.
pub struct Asked {
    /// The request, its body still to be read.
    pub request: Request<Incoming>,
    /// Whether its client showed a certificate that was found good.
    pub known: bool,
    place: Arc<Place>,
}

impl Asked {
    /// How long the body will be, where the head says so.
    pub fn announced_bytes(&self) -> Option<usize> {
        self.request.body().size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// Reads the body, too; or says with what the request is to be refused.
    pub async fn whole(self, bytes_max: usize) -> Result<Request<Bytes>, Refusal> {
        let (parts, body) = self.request.into_parts();
        if body.size_hint().lower() > bytes_max as u64 {
            return Err(Refusal::TooLarge);
        }
        let body = match timeout(BODY_READ_TIMEOUT, Limited::new(body, bytes_max).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(Refusal::TooLarge),
            Ok(Err(_)) => return Err(Refusal::BrokenOff),
            Err(_) => return Err(Refusal::TooSlow),
        };
        self.place.work();
        Ok(Request::from_parts(parts, body))
    }
}

/// Why a body was not read.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is longer than any that is read.
    #[error("request body too large")]
    TooLarge,
    /// It ended before its end.
    #[error("the body broke off")]
    BrokenOff,
    /// It was not in after [`BODY_READ_TIMEOUT`].
    #[error("the body took too long")]
    TooSlow,
}

impl Refusal {
    /// What the client is told.
    pub fn answer(self) -> Answer {
        let status = match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BrokenOff => StatusCode::BAD_REQUEST,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
        };
        text(status, format!("{self}\n"))
    }
}

/// Answers requests that have no body: with a body they are refused.
pub fn without_body<F>(handler: impl Fn(Request<Bytes>, bool) -> F + Send + Sync + 'static) -> Handler
where
    F: Future<Output = Answer> + Send + 'static,
{
    let handler = Arc::new(handler);
    Arc::new(move |asked: Asked| {
        let (handler, known) = (handler.clone(), asked.known);
        Box::pin(async move {
            match asked.whole(0).await {
                Ok(request) => handler(request, known).await,
                Err(refusal) => refusal.answer(),
            }
        })
    })
}

/// Serves `/healthz` and `/readyz` until the operator's end.
pub async fn serve_health(listener: BoxedListener, health: Health, ending: Ending, telemetry: Telemetry) {
    health.on_change(listener.answers_changed());
    let handler = without_body(move |request, _| std::future::ready(health_answer(&health, &request)));
    serve(Port { listener, tls: None, connections_max: CONNECTIONS_MAX, ending }, telemetry, handler).await;
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

/// The connections of a port that wait for their clients: for a handshake, for a request, for the end of a body.
#[derive(Default)]
struct Waiting {
    /// Counts up: who began to wait earlier has the lower number.
    turns: AtomicU64,
    places: Mutex<BTreeMap<u64, Signal>>,
}

impl Waiting {
    fn places(&self) -> MutexGuard<'_, BTreeMap<u64, Signal>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the one away that has waited longest; says whether there was one.
    fn send_one_away(&self) -> bool {
        let longest = self.places().pop_first();
        if let Some((_, sent_away)) = &longest {
            sent_away.give();
        }
        longest.is_some()
    }
}

/// One connection among those of its port.
struct Place {
    waiting: Arc<Waiting>,
    /// Its number among those that wait; the first one is 1.
    turn: AtomicU64,
    /// Whether the head of a request has come.
    spoken: AtomicBool,
    sent_away: Signal,
}

impl Place {
    fn new(waiting: Arc<Waiting>) -> Self {
        let place =
            Self { waiting, turn: AtomicU64::new(0), spoken: AtomicBool::new(false), sent_away: Signal::default() };
        place.wait();
        place
    }

    /// It waits for its client from now on.
    fn wait(&self) {
        let turn = self.waiting.turns.fetch_add(1, Ordering::Relaxed) + 1;
        let mut places = self.waiting.places();
        places.remove(&self.turn.swap(turn, Ordering::Relaxed));
        places.insert(turn, self.sent_away.clone());
    }

    /// Its client waits from now on: it is not sent away.
    fn work(&self) {
        self.waiting.places().remove(&self.turn.load(Ordering::Relaxed));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.work();
    }
}

/// Serves a port until the operator's end, and then until the requests that are under way are answered.
pub async fn serve(port: Port, telemetry: Telemetry, handler: Handler) {
    let Port { mut listener, tls, connections_max, ending } = port;
    let waiting = Arc::new(Waiting::default());
    // Owned here: when the server is dropped, so are its connections.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = ending.begun.wait() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let io = match accepted {
            Ok(io) => io,
            Err(error) => {
                tracing::warn!(error = %error, "a connection could not be accepted");
                if error.raw_os_error().is_some_and(|code| NO_DESCRIPTOR_LEFT.contains(&code)) {
                    waiting.send_one_away();
                }
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while connections.len() >= connections_max {
            // Where all of them are at work the one that comes waits until one is done.
            if waiting.send_one_away() {
                tracing::debug!(connections_max, "no room for a connection: the one that was silent longest is closed");
                connections.join_next().await;
            } else {
                let _ = timeout(ACCEPT_PAUSE, connections.join_next()).await;
            }
        }
        let place = Arc::new(Place::new(waiting.clone()));
        let serving = serve_connection(io, tls.clone(), place.clone(), ending.clone(), handler.clone());
        let scope = telemetry.clone();
        connections.spawn(async move {
            tokio::select! {
                biased;
                () = place.sent_away.wait() => {}
                () = scope.scope(serving) => {}
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve_connection(io: BoxedIo, tls: Option<ServerTls>, place: Arc<Place>, ending: Ending, handler: Handler) {
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
    let (speaking, announced) = (place.clone(), ending.announced.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, place, announced) = (handler.clone(), speaking.clone(), announced.clone());
        async move {
            place.spoken.store(true, Ordering::Relaxed);
            let mut answer = handler(Asked { request, known, place: place.clone() }).await;
            place.wait();
            if announced.given() {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(KEEP_ALIVE_TIMEOUT)
            .serve_connection(TokioIo::new(io), service)
    );
    let mut first_head_due = pin!(sleep(FIRST_HEAD_TIMEOUT));
    let mut ending_told = false;
    loop {
        let silent = !place.spoken.load(Ordering::Relaxed);
        tokio::select! {
            biased;
            // A connection that breaks concerns nobody but its client.
            _ = connection.as_mut() => return,
            () = ending.begun.wait(), if !ending_told => {
                connection.as_mut().graceful_shutdown();
                ending_told = true;
            }
            () = first_head_due.as_mut(), if silent => {
                if !place.spoken.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::testing::{self, Doors, Lines, in_paused_time};

    const PORT: u16 = 80;
    const ROOM: usize = 4;

    /// What a server of a test is, besides its connections.
    struct Served {
        doors: Doors,
        ending: Ending,
        /// Ends with the server.
        server: tokio::task::JoinHandle<()>,
    }

    /// Serves `handler` with room for [`ROOM`] connections.
    async fn served(handler: Handler) -> Served {
        let (doors, ending) = (Doors::default(), Ending::default());
        let (_, host) = testing::host(testing::no_network(), &Lines::default());
        let telemetry = Telemetry::new(&crate::observability::telemetry::TelemetryConfig::default(), &host);
        let listener = doors.listen(([0_u8; 4], PORT).into()).await.unwrap();
        let port = Port { listener, tls: None, connections_max: ROOM, ending: ending.clone() };
        let server = tokio::spawn(serve(port, telemetry, handler));
        Served { doors, ending, server }
    }

    fn says_yes() -> Handler {
        without_body(|_, _| std::future::ready(text(StatusCode::OK, "yes")))
    }

    async fn ask(stream: &mut DuplexStream) -> String {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: pod\r\n\r\n").await.unwrap();
        let mut answer = [0; 1024];
        let length = stream.read(&mut answer).await.unwrap();
        String::from_utf8(answer[..length].to_vec()).unwrap()
    }

    /// Whether the other side closes the connection within that time, with nothing more to say.
    async fn closes(stream: &mut DuplexStream, within: Duration) -> bool {
        let mut rest = Vec::new();
        timeout(within, stream.read_to_end(&mut rest)).await.is_ok_and(|read| read.is_err() || rest.is_empty())
    }

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

    #[test]
    fn clients_that_hold_connections_and_say_nothing_keep_nobody_out() {
        in_paused_time(async {
            let served = served(says_yes()).await;
            let mut horde = Vec::new();
            for _ in 0..10 * ROOM {
                horde.push(served.doors.knock(PORT).await);
            }
            let mut honest = served.doors.knock(PORT).await;
            let answer = timeout(Duration::from_secs(1), ask(&mut honest)).await.expect("an answer at once");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            // The limit holds: of the horde there are as many as there is room for.
            let mut open = 0;
            for stream in &mut horde {
                open += usize::from(!closes(stream, Duration::from_millis(1)).await);
            }
            assert_eq!(open, ROOM - 1);
        });
    }

    #[test]
    fn the_connection_that_was_silent_longest_makes_room_and_not_one_that_works() {
        in_paused_time(async {
            // Nobody is answered before the gate opens.
            let gate = Signal::default();
            let held = gate.clone();
            let handler = without_body(move |_, _| {
                let held = held.clone();
                async move {
                    held.wait().await;
                    text(StatusCode::OK, "yes")
                }
            });
            let served = served(handler).await;
            let mut working = served.doors.knock(PORT).await;
            let answer = tokio::spawn(async move { ask(&mut working).await });
            let mut silent = Vec::new();
            for _ in 1..ROOM {
                sleep(Duration::from_millis(1)).await;
                silent.push(served.doors.knock(PORT).await);
            }
            let _late = served.doors.knock(PORT).await;
            assert!(closes(&mut silent[0], Duration::from_millis(1)).await, "the first of those that are silent");
            assert!(!closes(&mut silent[1], Duration::from_millis(1)).await);
            gate.give();
            assert!(answer.await.unwrap().starts_with("HTTP/1.1 200"));
        });
    }

    #[test]
    fn who_does_not_ask_in_time_is_sent_away_and_who_has_asked_may_be_silent_for_longer() {
        in_paused_time(async {
            let served = served(says_yes()).await;
            let (mut mute, mut slow, mut honest) =
                (served.doors.knock(PORT).await, served.doors.knock(PORT).await, served.doors.knock(PORT).await);
            slow.write_all(b"GET / HTTP/1.1\r\nhost: p").await.unwrap();
            ask(&mut honest).await;
            let little_more = Duration::from_millis(100);
            assert!(closes(&mut mute, FIRST_HEAD_TIMEOUT + little_more).await);
            assert!(closes(&mut slow, little_more).await, "a head that does not end is none");
            assert!(!closes(&mut honest, Duration::from_secs(109)).await);
            assert!(closes(&mut honest, Duration::from_secs(2)).await);
        });
    }

    #[test]
    fn a_server_that_ends_answers_what_it_was_asked_and_nothing_more() {
        in_paused_time(async {
            let handler = without_body(|_, _| async {
                sleep(Duration::from_secs(3)).await;
                text(StatusCode::OK, "yes")
            });
            let served = served(handler).await;
            let (mut asked, mut idle) = (served.doors.knock(PORT).await, served.doors.knock(PORT).await);
            let answer = tokio::spawn(async move { ask(&mut asked).await });
            sleep(Duration::from_secs(1)).await;
            served.ending.begin();
            assert!(closes(&mut idle, Duration::from_millis(1)).await);
            let answer = answer.await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
            timeout(Duration::from_millis(100), served.server).await.expect("it ends with its last answer").unwrap();
        });
    }

    #[test]
    fn once_the_end_is_announced_an_answer_is_the_last_one_of_its_connection() {
        in_paused_time(async {
            let served = served(says_yes()).await;
            let mut before = served.doors.knock(PORT).await;
            assert!(!ask(&mut before).await.contains("connection: close"));
            served.ending.announce();
            assert!(ask(&mut before).await.contains("connection: close"));
            assert!(closes(&mut before, Duration::from_millis(1)).await);
            let mut later = served.doors.knock(PORT).await;
            assert!(ask(&mut later).await.contains("connection: close"), "whoever comes now is answered, too");
        });
    }
}
