//! The query interfaces that expectations talk to, and to nothing else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::Value;
use thiserror::Error;

use crate::span_tree::SpanTree;

/// Why a backend gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BackendError {
    /// The backend could not be reached.
    #[error("{backend} could not be reached: {reason}")]
    Unreachable {
        /// `the Kubernetes API`, `Prometheus`, `Tempo`, `etcd`.
        backend: &'static str,
        /// What the client says.
        reason: String,
    },
    /// The backend answered with an error.
    #[error("{backend} answered {status}: {message}")]
    Refused {
        /// The backend.
        backend: &'static str,
        /// HTTP or gRPC status.
        status: u16,
        /// Its message.
        message: String,
    },
    /// The answer does not have the shape of the real API.
    #[error("{backend} answered something else than its API promises: {reason}")]
    Malformed {
        /// The backend.
        backend: &'static str,
        /// What was missing.
        reason: String,
    },
}

/// An answer of a backend.
pub type Result<T> = std::result::Result<T, BackendError>;

/// One line that a process wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// When, in nanoseconds since the Unix epoch.
    pub ts_ns: i64,
    /// The process: `multigres-operator`, `otel-collector`.
    pub process: String,
    /// The line as it was written.
    pub text: String,
    /// The line as JSON, when it is an object.
    pub json: Option<Value>,
}

/// The query interfaces. All bodies are exactly the JSON of the real HTTP APIs.
#[async_trait]
pub trait Backends: Send + Sync {
    /// The items of a list of objects of a kind (`Cell`, `Event`), in one namespace or in all.
    async fn kube_list(&self, kind: &str, namespace: Option<&str>) -> Result<Arc<Vec<Value>>>;
    /// One object; `None` when it does not exist.
    async fn kube_get(&self, kind: &str, namespace: Option<&str>, name: &str) -> Result<Option<Value>>;
    /// `data` of `/api/v1/query`.
    async fn prom_query(&self, expr: &str, at_ms: i64) -> Result<Value>;
    /// `data` of `/api/v1/query_range`.
    async fn prom_query_range(&self, expr: &str, start_ms: i64, end_ms: i64, step_ms: i64) -> Result<Value>;
    /// `data` of any other path of the Prometheus API: `/api/v1/rules`.
    async fn prom_get(&self, path: &str) -> Result<Value>;
    /// The body of `/api/search`.
    async fn tempo_search(&self, query: &str, start_s: i64, end_s: i64, limit: usize) -> Result<Value>;
    /// The body of `/api/traces/<id>` (or `/api/v2/traces/<id>`); `None` when there is no such trace.
    async fn tempo_trace(&self, id: &str) -> Result<Option<Value>>;
    /// The spans of a trace; none where there is no such trace.
    async fn span_tree(&self, id: &str) -> Result<Arc<SpanTree>> {
        let body = self.tempo_trace(id).await?;
        Ok(Arc::new(body.map(|body| SpanTree::from_otlp(&body)).unwrap_or_default()))
    }
    /// The value of a key.
    async fn etcd_get(&self, key: &str) -> Result<Option<Vec<u8>>>;
    /// The keys that start with a prefix, in order.
    async fn etcd_list(&self, prefix: &str) -> Result<Vec<String>>;
    /// Every line written so far, in order.
    async fn logs(&self) -> Result<Vec<LogLine>>;
    /// Now, in nanoseconds since the Unix epoch.
    fn now_ns(&self) -> i64;
}

/// Backends that remember their answers. One instant has one answer: every expectation that is judged at it sees the
/// same world, and asks for it once.
pub struct Memo<'b> {
    inner: &'b dyn Backends,
    lists: Mutex<BTreeMap<(String, Option<String>), Result<Arc<Vec<Value>>>>>,
    values: Mutex<BTreeMap<String, Result<Value>>>,
    trees: Mutex<BTreeMap<String, Result<Arc<SpanTree>>>>,
    logs: Mutex<Option<Result<Vec<LogLine>>>>,
}

impl<'b> Memo<'b> {
    /// Remembers nothing yet.
    pub fn new(inner: &'b dyn Backends) -> Self {
        Self {
            inner,
            lists: Mutex::default(),
            values: Mutex::default(),
            trees: Mutex::default(),
            logs: Mutex::default(),
        }
    }

    fn value(&self, key: &str) -> Option<Result<Value>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn keep(&self, key: String, answer: &Result<Value>) {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).insert(key, answer.clone());
    }
}

#[async_trait]
impl Backends for Memo<'_> {
    async fn kube_list(&self, kind: &str, namespace: Option<&str>) -> Result<Arc<Vec<Value>>> {
        let key = (kind.to_string(), namespace.map(str::to_string));
        let known = self.lists.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(known) = known {
            return known;
        }
        let answer = self.inner.kube_list(kind, namespace).await;
        self.lists.lock().unwrap_or_else(PoisonError::into_inner).insert(key, answer.clone());
        answer
    }

    async fn kube_get(&self, kind: &str, namespace: Option<&str>, name: &str) -> Result<Option<Value>> {
        self.inner.kube_get(kind, namespace, name).await
    }

    async fn prom_query(&self, expr: &str, at_ms: i64) -> Result<Value> {
        let key = format!("query {at_ms} {expr}");
        if let Some(known) = self.value(&key) {
            return known;
        }
        let answer = self.inner.prom_query(expr, at_ms).await;
        self.keep(key, &answer);
        answer
    }

    async fn prom_query_range(&self, expr: &str, start_ms: i64, end_ms: i64, step_ms: i64) -> Result<Value> {
        self.inner.prom_query_range(expr, start_ms, end_ms, step_ms).await
    }

    async fn prom_get(&self, path: &str) -> Result<Value> {
        let key = format!("get {path}");
        if let Some(known) = self.value(&key) {
            return known;
        }
        let answer = self.inner.prom_get(path).await;
        self.keep(key, &answer);
        answer
    }

    async fn tempo_search(&self, query: &str, start_s: i64, end_s: i64, limit: usize) -> Result<Value> {
        let key = format!("search {start_s} {end_s} {limit} {query}");
        if let Some(known) = self.value(&key) {
            return known;
        }
        let answer = self.inner.tempo_search(query, start_s, end_s, limit).await;
        self.keep(key, &answer);
        answer
    }

    async fn tempo_trace(&self, id: &str) -> Result<Option<Value>> {
        self.inner.tempo_trace(id).await
    }

    async fn span_tree(&self, id: &str) -> Result<Arc<SpanTree>> {
        let known = self.trees.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        if let Some(known) = known {
            return known;
        }
        let answer = self.inner.span_tree(id).await;
        self.trees.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_string(), answer.clone());
        answer
    }

    async fn etcd_get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.inner.etcd_get(key).await
    }

    async fn etcd_list(&self, prefix: &str) -> Result<Vec<String>> {
        self.inner.etcd_list(prefix).await
    }

    async fn logs(&self) -> Result<Vec<LogLine>> {
        let known = self.logs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known {
            return known;
        }
        let answer = self.inner.logs().await;
        *self.logs.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer.clone());
        answer
    }

    fn now_ns(&self) -> i64 {
        self.inner.now_ns()
    }
}
