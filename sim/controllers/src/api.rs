//! A small Kubernetes client for controllers: list and watch, apply.
//!
//! The controllers of this crate watch whole collections as JSON and write by server-side apply; that is all they need.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use sim_net::{Host, http::Client};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::error::Error;

/// The longest single watch event that is taken in.
const WATCH_EVENT_BYTES_MAX: usize = 8 << 20;
/// The longest beginning of an error's body that is repeated in a message.
const ERROR_BODY_BYTES_MAX: usize = 1024;
/// How long a watch is asked to last.
const WATCH_SECONDS: u64 = 290;
/// How much longer than that a silent watch is waited for.
const WATCH_GRACE_SECONDS: u64 = 10;
/// The first pause after a failure, doubled with each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(800);
/// The longest pause after a failure.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A watch that ends sooner than this counts as failed, so that a server that ends them at once is not hammered.
const SHORT_WATCH: Duration = Duration::from_secs(1);

/// What happened to a collection.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// These are all objects.
    Listed(Vec<Value>),
    /// This object is new or has changed.
    Put(Value),
    /// This object is gone.
    Gone(Value),
}

/// Gives the bearer token of a service account anew for each request, since the kubelet replaces it in time; `None`: no
/// credentials are shown.
#[derive(Clone)]
pub struct Token(Arc<dyn Fn() -> Option<String> + Send + Sync>);

impl Token {
    /// A token that is read when it is needed.
    pub fn read_by(read: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// No token.
    pub fn none() -> Self {
        Self::read_by(|| None)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A token is a secret.
        f.write_str("Token")
    }
}

/// A client of one API server.
#[derive(Clone, Debug)]
pub struct Api {
    http: Client,
    base: String,
    user_agent: &'static str,
    token: Token,
}

impl Api {
    /// A client on `host`; `server` is a name and port (`kubernetes.default.svc:443`).
    pub fn new(host: Host, server: &str, user_agent: &'static str, token: Token) -> Self {
        Self { http: Client::new(host), base: format!("http://{server}"), user_agent, token }
    }

    /// Lists and then watches a collection for ever, through outages and expired resource versions. `tag` goes with each
    /// update. Ends when nobody receives any more.
    pub async fn follow<T: Copy>(&self, path: &str, tag: T, updates: mpsc::Sender<(T, Update)>) {
        let mut backoff = Backoff::new(path);
        'list: loop {
            let (objects, mut version) = match self.list(path).await {
                Ok(listed) => listed,
                Err(Error::Api { status: 404, .. }) => {
                    // The kind is not installed (yet): there are no objects of it.
                    if updates.send((tag, Update::Listed(Vec::new()))).await.is_err() {
                        return;
                    }
                    backoff.pause().await;
                    continue;
                }
                Err(_) => {
                    backoff.pause().await;
                    continue;
                }
            };
            backoff.reset();
            if updates.send((tag, Update::Listed(objects))).await.is_err() {
                return;
            }
            loop {
                let started = Instant::now();
                match self.watch(path, tag, &mut version, &updates).await {
                    Ok(Watched::NobodyListens) => return,
                    Ok(Watched::Ended) if started.elapsed() >= SHORT_WATCH => backoff.reset(),
                    Err(Error::Expired { .. }) => {
                        backoff.pause().await;
                        continue 'list;
                    }
                    Ok(Watched::Ended) | Err(_) => backoff.pause().await,
                }
            }
        }
    }

    /// Applies an object under a field manager, taking over fields that others hold.
    pub async fn apply(&self, object_path: &str, manager: &str, object: &Value) -> Result<Value, Error> {
        let path = format!("{object_path}?fieldManager={manager}&force=true");
        let request = self
            .request(Method::PATCH, &path)
            .header(header::CONTENT_TYPE, "application/apply-patch+yaml")
            .body(Bytes::from(object.to_string()));
        self.json(&format!("apply {object_path}"), request).await
    }

    /// All objects of a collection, and the resource version to watch from.
    async fn list(&self, path: &str) -> Result<(Vec<Value>, String), Error> {
        let what = format!("list {path}");
        let mut list = self.json(&what, self.request(Method::GET, path).body(Bytes::new())).await?;
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned();
        let objects = match list["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
        Ok((objects, version))
    }

    async fn watch<T: Copy>(
        &self,
        path: &str,
        tag: T,
        version: &mut String,
        updates: &mpsc::Sender<(T, Update)>,
    ) -> Result<Watched, Error> {
        let what = format!("watch {path}");
        let query = format!(
            "{path}?watch=true&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={WATCH_SECONDS}"
        );
        let request = self.request(Method::GET, &query).body(Bytes::new()).map_err(|source| http(&what, source))?;
        let patience = Duration::from_secs(WATCH_SECONDS + WATCH_GRACE_SECONDS);
        let silent = || Error::Silent { what: what.clone(), seconds: patience.as_secs() };
        let asked = timeout(patience, self.http.send_streaming(request)).await.map_err(|_| silent())?;
        let response = asked.map_err(|source| http(&what, source))?;
        let status = response.status();
        let mut body = response.into_body();
        if !status.is_success() {
            return Err(error_of(&what, status, &beginning(&mut body).await));
        }
        let mut pending: Vec<u8> = Vec::new();
        loop {
            let frame = match timeout(patience, body.frame()).await.map_err(|_| silent())? {
                None => return Ok(Watched::Ended),
                Some(frame) => frame.map_err(|source| http(&what, source))?,
            };
            let Ok(data) = frame.into_data() else { continue };
            pending.extend_from_slice(&data);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                if line.trim_ascii().is_empty() {
                    continue;
                }
                let Some(update) = event(&what, &line, version)? else { continue };
                if updates.send((tag, update)).await.is_err() {
                    return Ok(Watched::NobodyListens);
                }
            }
            if pending.len() > WATCH_EVENT_BYTES_MAX {
                return Err(Error::TooLarge { what, limit_bytes: WATCH_EVENT_BYTES_MAX });
            }
        }
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, self.user_agent);
        match (self.token.0)() {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    async fn json(&self, what: &str, request: http::Result<Request<Bytes>>) -> Result<Value, Error> {
        let request = request.map_err(|source| http(what, source))?;
        let response = self.http.send(request).await.map_err(|source| http(what, source))?;
        if !response.status().is_success() {
            return Err(error_of(what, response.status(), response.body()));
        }
        serde_json::from_slice(response.body()).map_err(|source| Error::Json { what: what.to_owned(), source })
    }
}

enum Watched {
    Ended,
    NobodyListens,
}

/// One line of a watch; `None` for a bookmark. `version` moves on with it.
fn event(what: &str, line: &[u8], version: &mut String) -> Result<Option<Update>, Error> {
    let mut event: Value =
        serde_json::from_slice(line).map_err(|source| Error::Json { what: what.to_owned(), source })?;
    let kind = event["type"].as_str().unwrap_or_default().to_owned();
    let object = event["object"].take();
    if kind == "ERROR" {
        let code = object["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
        let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return Err(error_of(what, status, object.to_string().as_bytes()));
    }
    if let Some(seen) = object["metadata"]["resourceVersion"].as_str() {
        seen.clone_into(version);
    }
    Ok(match kind.as_str() {
        "ADDED" | "MODIFIED" => Some(Update::Put(object)),
        "DELETED" => Some(Update::Gone(object)),
        _ => None,
    })
}

/// The beginning of an error's body; what cannot be read of it is left out.
async fn beginning(body: &mut Incoming) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < ERROR_BODY_BYTES_MAX {
        match timeout(BACKOFF_MAX, body.frame()).await {
            Ok(Some(Ok(frame))) => bytes.extend(frame.into_data().unwrap_or_default()),
            _ => break,
        }
    }
    bytes
}

fn error_of(what: &str, status: StatusCode, body: &[u8]) -> Error {
    let what = what.to_owned();
    if status == StatusCode::GONE {
        return Error::Expired { what };
    }
    let text = || String::from_utf8_lossy(&body[..body.len().min(ERROR_BODY_BYTES_MAX)]).into_owned();
    let message = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|status| status["message"].as_str().map(str::to_owned))
        .unwrap_or_else(text);
    Error::Api { what, status: status.as_u16(), message }
}

fn http(what: &str, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Http { what: what.to_owned(), source: Box::new(source) }
}

/// Pauses that grow with each failure, spread by chance so that many watchers do not come back at once.
#[derive(Debug)]
pub struct Backoff {
    failures: u32,
    chance: sim_clock::Chance,
}

impl Backoff {
    /// A fresh one; `label` names its stream of chance.
    pub fn new(label: &str) -> Self {
        Self { failures: 0, chance: sim_clock::seeded(&format!("sim-controllers/backoff/{label}")) }
    }

    /// Forgets past failures.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Waits after one more failure.
    pub async fn pause(&mut self) {
        let base = BACKOFF_MIN.saturating_mul(1 << self.failures.min(8)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        let jitter_ms = self.chance.below(base.as_millis() as u64 / 2 + 1);
        sleep(base + Duration::from_millis(jitter_ms)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_moves_the_resource_version_on_and_a_bookmark_says_nothing_else() {
        let mut version = "1".to_owned();
        let put = br#"{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"7"}}}"#;
        assert!(matches!(event("w", put, &mut version), Ok(Some(Update::Put(_)))));
        let bookmark = br#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}"#;
        assert!(matches!(event("w", bookmark, &mut version), Ok(None)));
        assert_eq!(version, "9");
    }

    #[test]
    fn an_expired_version_inside_a_watch_asks_for_a_new_list() {
        let expired =
            br#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#;
        assert!(matches!(event("w", expired, &mut String::new()), Err(Error::Expired { .. })));
        let other = br#"{"type":"ERROR","object":{"kind":"Status","code":500,"message":"boom"}}"#;
        let error = event("watch pods", other, &mut String::new()).expect_err("an error");
        assert_eq!(error.to_string(), "watch pods: 500: boom");
    }
}
