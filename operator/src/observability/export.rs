//! From finished spans to OTLP: one bounded queue, one task, one batch at a time.
//!
//! The SDK's processors block or run on threads of their own. This one takes a finished span with a lock that is held for a push, and
//! drops it (counted) when the queue is full; a task sends batches over OTLP/HTTP. A dead Collector costs a bounded number of
//! attempts a batch and nothing else: no reconcile waits, no memory grows, and one log line tells when it begins and when it ends.
//!
//! The request is built with `opentelemetry-proto` and sent by hyper over the host's connector. `opentelemetry-otlp` is not used: its
//! builders read `OTEL_*` headers and compression from the process environment whatever they are told.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use opentelemetry::Context;
use opentelemetry_proto::{
    tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    transform::{common::tonic::ResourceAttributesWithSchema, trace::tonic::group_spans_by_resource_and_scope},
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanProcessor},
};
use prost::Message;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{kube_client::USER_AGENT, registry::Counter};
use crate::host::Connector;

/// Finished spans that wait for export; beyond it they are dropped.
pub const SPAN_QUEUE_SPANS_MAX: usize = 2048;
/// Spans in one request.
pub const SPAN_BATCH_SPANS_MAX: usize = 512;
/// How long a span waits for company.
pub const SPAN_BATCH_DELAY: Duration = Duration::from_secs(5);
/// How long one batch may take, attempts and pauses together.
pub const SPAN_EXPORT_TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts for one batch.
pub const EXPORT_ATTEMPTS_MAX: u32 = 5;
const EXPORT_PAUSE_FIRST: Duration = Duration::from_secs(1);
const EXPORT_PAUSE_MAX: Duration = Duration::from_secs(8);
const RESPONSE_BYTES_MAX: usize = 64 * 1024;
const FLUSH_REQUESTS_MAX: usize = 8;

/// The sizes and times of the queue (`OTEL_BSP_*`).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct BatchConfig {
    /// Spans that may wait.
    pub queue_spans_max: usize,
    /// Spans in one request.
    pub batch_spans_max: usize,
    /// How long a span waits for company.
    pub delay: Duration,
    /// How long one batch may take.
    pub export_timeout: Duration,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            queue_spans_max: SPAN_QUEUE_SPANS_MAX,
            batch_spans_max: SPAN_BATCH_SPANS_MAX,
            delay: SPAN_BATCH_DELAY,
            export_timeout: SPAN_EXPORT_TIMEOUT,
        }
    }
}

/// Where and how spans are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpHttpConfig {
    /// The whole URL of the traces endpoint.
    pub endpoint: Uri,
    /// Headers of every request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long one attempt may take.
    pub timeout: Duration,
}

struct Shared {
    queue: Mutex<VecDeque<SpanData>>,
    wake: Notify,
    batch: BatchConfig,
    outcomes: Counter,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, VecDeque<SpanData>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_batch(&self) -> Vec<SpanData> {
        let mut queue = self.queue();
        let count = queue.len().min(self.batch.batch_spans_max);
        queue.drain(..count).collect()
    }
}

/// The end of the queue that the tracer provider pushes into.
#[derive(Clone)]
pub struct BoundedProcessor(Arc<Shared>);

impl fmt::Debug for BoundedProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedProcessor").field("batch", &self.0.batch).finish_non_exhaustive()
    }
}

impl SpanProcessor for BoundedProcessor {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        let mut queue = self.0.queue();
        if queue.len() >= self.0.batch.queue_spans_max {
            drop(queue);
            self.0.outcomes.inc(&["dropped_queue_full"]);
            return;
        }
        queue.push_back(span);
        let waiting = queue.len();
        drop(queue);
        if waiting == 1 || waiting >= self.0.batch.batch_spans_max {
            self.0.wake.notify_one();
        }
    }

    /// Does nothing: flushing is asynchronous, see [`Exporter::flush`].
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Sends what the [`BoundedProcessor`] takes in.
#[derive(Clone, Debug)]
pub struct Exporter {
    flushes: mpsc::Sender<oneshot::Sender<()>>,
}

impl Exporter {
    /// The queue, the handle, and the task's future, which the caller spawns. The task ends when the last handle is dropped.
    pub fn new(
        batch: BatchConfig,
        http: OtlpHttpConfig,
        resource: &Resource,
        connector: Connector,
        outcomes: Counter,
    ) -> (BoundedProcessor, Self, impl Future<Output = ()> + Send + 'static) {
        let shared = Arc::new(Shared { queue: Mutex::default(), wake: Notify::new(), batch, outcomes });
        let (flushes, requests) = mpsc::channel(FLUSH_REQUESTS_MAX);
        let mut resource: ResourceAttributesWithSchema = resource.into();
        // The SDK keeps a resource in a hash map; what goes over the wire is ordered.
        resource.attributes.0.sort_by(|a, b| a.key.cmp(&b.key));
        let sender =
            Sender { client: Client::builder(TokioExecutor::new()).build(connector), http, resource, failing: false };
        (BoundedProcessor(shared.clone()), Self { flushes }, run(shared, sender, requests))
    }

    /// Sends all that waits. Says whether it was done before the deadline.
    pub async fn flush(&self, deadline: Duration) -> bool {
        let (done, finished) = oneshot::channel();
        let flushed = async { self.flushes.send(done).await.is_ok() && finished.await.is_ok() };
        timeout(deadline, flushed).await.unwrap_or(false)
    }
}

async fn run(shared: Arc<Shared>, mut sender: Sender, mut requests: mpsc::Receiver<oneshot::Sender<()>>) {
    loop {
        // Nothing waits: no timer runs. The first span starts the delay, a full batch or a flush ends it.
        let mut flush = None;
        let mut closed = false;
        if shared.queue().is_empty() {
            tokio::select! {
                biased;
                request = requests.recv() => match request { Some(request) => flush = Some(request), None => closed = true },
                () = shared.wake.notified() => {}
            }
        }
        let due = Instant::now() + shared.batch.delay;
        while flush.is_none() && !closed && shared.queue().len() < shared.batch.batch_spans_max {
            tokio::select! {
                biased;
                request = requests.recv() => match request { Some(request) => flush = Some(request), None => closed = true },
                () = tokio::time::sleep_until(due) => break,
                () = shared.wake.notified() => {}
            }
        }
        loop {
            let batch = shared.next_batch();
            if batch.is_empty() {
                break;
            }
            sender.export(batch, &shared).await;
        }
        if let Some(done) = flush {
            let _ = done.send(());
        }
        if closed {
            return;
        }
    }
}

struct Sender {
    client: Client<Connector, Full<Bytes>>,
    http: OtlpHttpConfig,
    resource: ResourceAttributesWithSchema,
    failing: bool,
}

/// What one attempt came to.
enum Attempt {
    Accepted {
        rejected_spans: i64,
        message: String,
    },
    /// Worth another attempt, after this long if the receiver said so.
    Retry {
        why: String,
        after: Option<Duration>,
    },
    Refused(String),
}

impl Sender {
    async fn export(&mut self, batch: Vec<SpanData>, shared: &Shared) {
        let spans = batch.len();
        let request =
            ExportTraceServiceRequest { resource_spans: group_spans_by_resource_and_scope(batch, &self.resource) };
        let body = Bytes::from(request.encode_to_vec());
        match self.attempts(body, shared.batch.export_timeout).await {
            Ok((rejected, message)) => {
                let rejected = rejected.clamp(0, spans as i64);
                shared.outcomes.add(&["exported"], (spans as i64 - rejected) as f64);
                if rejected > 0 {
                    shared.outcomes.add(&["rejected"], rejected as f64);
                    tracing::error!(error = %message, spans = rejected, "trace export partly rejected");
                }
                if std::mem::take(&mut self.failing) {
                    tracing::info!(endpoint = %self.http.endpoint, "trace export works again");
                }
            }
            Err(why) => {
                shared.outcomes.add(&["dropped_export_failed"], spans as f64);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(error = %why, endpoint = %self.http.endpoint, "trace export failed; spans are dropped until it works again");
                }
            }
        }
    }

    async fn attempts(&self, body: Bytes, limit: Duration) -> Result<(i64, String), String> {
        let deadline = Instant::now() + limit;
        let mut pause = EXPORT_PAUSE_FIRST;
        let mut last = String::new();
        for attempt in 1..=EXPORT_ATTEMPTS_MAX {
            match timeout_at(deadline, self.attempt(body.clone())).await {
                Err(_) => return Err(if last.is_empty() { format!("no answer within {limit:?}") } else { last }),
                Ok(Attempt::Accepted { rejected_spans, message }) => return Ok((rejected_spans, message)),
                Ok(Attempt::Refused(why)) => return Err(why),
                Ok(Attempt::Retry { why, after }) => {
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

    async fn attempt(&self, body: Bytes) -> Attempt {
        match timeout(self.http.timeout, self.send(body)).await {
            Err(_) => Attempt::Retry { why: format!("no answer within {:?}", self.http.timeout), after: None },
            Ok(Err(why)) => Attempt::Retry { why, after: None },
            Ok(Ok(response)) => classify(&response),
        }
    }

    async fn send(&self, body: Bytes) -> Result<http::Response<Bytes>, String> {
        let mut request = Request::post(self.http.endpoint.clone())
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::USER_AGENT, USER_AGENT)
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        for (name, value) in &self.http.headers {
            request.headers_mut().insert(name, value.clone());
        }
        let response = self.client.request(request).await.map_err(|error| with_sources(&error))?;
        let (parts, body) = response.into_parts();
        let body =
            Limited::new(body, RESPONSE_BYTES_MAX).collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok(http::Response::from_parts(parts, body))
    }
}

/// The retryable statuses are those of the OTLP specification.
fn classify(response: &http::Response<Bytes>) -> Attempt {
    let status = response.status();
    if status.is_success() {
        return match ExportTraceServiceResponse::decode(response.body().clone()) {
            Ok(ExportTraceServiceResponse { partial_success: Some(partial) }) => {
                Attempt::Accepted { rejected_spans: partial.rejected_spans, message: partial.error_message }
            }
            _ => Attempt::Accepted { rejected_spans: 0, message: String::new() },
        };
    }
    let why = format!("the endpoint answered {status}");
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            let after = response
                .headers()
                .get(header::RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.trim().parse().ok())
                .map(Duration::from_secs);
            Attempt::Retry { why, after }
        }
        _ => Attempt::Refused(why),
    }
}

/// An error with all its sources: hyper's own text is only "client error (Connect)".
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}
