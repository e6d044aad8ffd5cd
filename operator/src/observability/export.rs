//! From finished spans to OTLP: one bounded queue, one task, one batch at a time.
//!
//! The SDK's processors block or run on threads of their own. This one takes a finished span with a lock that is held for a push, and
//! drops it (counted) when the queue is full; a task sends batches. A dead Collector costs a bounded number of
//! attempts a batch and nothing else: no reconcile waits, no memory grows, and one log line tells when it begins and when it ends.
//! How a batch gets onto the wire is a matter of [`super::otlp`].

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
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
    time::{Instant, timeout},
};

use super::{
    console,
    export_report::{Outcome, Report},
    otlp::OtlpClient,
    registry::Counter,
};
use crate::host::LogWriter;

/// Finished spans that wait for export; beyond it they are dropped.
pub const SPAN_QUEUE_SPANS_MAX: usize = 2048;
/// Spans in one request.
pub const SPAN_BATCH_SPANS_MAX: usize = 512;
/// How long a span waits for company.
pub const SPAN_BATCH_DELAY: Duration = Duration::from_secs(5);
/// How long one batch may take, attempts and pauses together.
pub const SPAN_EXPORT_TIMEOUT: Duration = Duration::from_secs(30);
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

/// Where spans go.
#[derive(Clone)]
pub enum SpanSink {
    /// To an OTLP endpoint.
    Otlp(OtlpClient),
    /// To where log lines go, one JSON object a span.
    Console(LogWriter),
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
        sink: SpanSink,
        resource: &Resource,
        outcomes: Counter,
    ) -> (BoundedProcessor, Self, impl Future<Output = ()> + Send + 'static) {
        let shared = Arc::new(Shared { queue: Mutex::default(), wake: Notify::new(), batch, outcomes });
        let (flushes, requests) = mpsc::channel(FLUSH_REQUESTS_MAX);
        let mut resource: ResourceAttributesWithSchema = resource.into();
        // The SDK keeps a resource in a hash map; what goes over the wire is ordered.
        resource.attributes.0.sort_by(|a, b| a.key.cmp(&b.key));
        let sender = Sender { sink, resource, report: Report::new("trace", "spans are dropped until it works again") };
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
    sink: SpanSink,
    resource: ResourceAttributesWithSchema,
    report: Report,
}

impl Sender {
    async fn export(&mut self, batch: Vec<SpanData>, shared: &Shared) {
        let spans = batch.len();
        let client = match &self.sink {
            SpanSink::Otlp(client) => client,
            SpanSink::Console(write) => {
                for span in &batch {
                    write(&console::line(span));
                }
                shared.outcomes.add(&["exported"], spans as f64);
                return;
            }
        };
        let request =
            ExportTraceServiceRequest { resource_spans: group_spans_by_resource_and_scope(batch, &self.resource) };
        let body = Bytes::from(request.encode_to_vec());
        let outcome = match client.send(body, shared.batch.export_timeout).await {
            Ok(answer) => Outcome::of_partial_success(
                ExportTraceServiceResponse::decode(answer)
                    .ok()
                    .and_then(|told| told.partial_success)
                    .map(|partial| (partial.rejected_spans, partial.error_message)),
            ),
            Err(why) => Outcome::Failed(why),
        };
        let lost = match &outcome {
            Outcome::Accepted | Outcome::Warned(_) => 0,
            Outcome::Rejected { items, .. } => usize::try_from(*items).unwrap_or(spans).min(spans),
            Outcome::Failed(_) => spans,
        };
        let why_lost = if matches!(outcome, Outcome::Failed(_)) { "dropped_export_failed" } else { "rejected" };
        for (label, count) in [("exported", spans - lost), (why_lost, lost)] {
            if count > 0 {
                shared.outcomes.add(&[label], count as f64);
            }
        }
        self.report.tell(client.endpoint(), &outcome);
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
