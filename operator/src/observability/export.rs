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
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanProcessor},
};
use prost::Message;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, timeout},
};

use super::{
    encoded::{EncodedSpan, Envelope},
    export_report::{Outcome, Report},
    otlp::OtlpClient,
    registry::Counter,
};

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

struct Shared {
    queue: Mutex<VecDeque<EncodedSpan>>,
    wake: Notify,
    batch: BatchConfig,
    outcomes: Counter,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, VecDeque<EncodedSpan>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self) -> bool {
        self.queue().len() >= self.batch.queue_spans_max
    }

    fn next_batch(&self) -> Vec<EncodedSpan> {
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
        let full = || self.0.outcomes.inc(&["dropped_queue_full"]);
        // Asked twice: a span that has no place is not encoded, and another may have taken the place in the meantime.
        if self.0.is_full() {
            return full();
        }
        let span = EncodedSpan::new(&span);
        let mut queue = self.0.queue();
        if queue.len() >= self.0.batch.queue_spans_max {
            drop(queue);
            return full();
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
        client: OtlpClient,
        envelope: Envelope,
        outcomes: Counter,
    ) -> (BoundedProcessor, Self, impl Future<Output = ()> + Send + 'static) {
        let shared = Arc::new(Shared { queue: Mutex::default(), wake: Notify::new(), batch, outcomes });
        let (flushes, requests) = mpsc::channel(FLUSH_REQUESTS_MAX);
        let sender =
            Sender { client, envelope, report: Report::new("trace", "spans are dropped until it works again") };
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
    client: OtlpClient,
    envelope: Envelope,
    report: Report,
}

impl Sender {
    async fn export(&mut self, batch: Vec<EncodedSpan>, shared: &Shared) {
        let spans = batch.len();
        let body = Bytes::from(self.envelope.request(batch));
        let outcome = match self.client.send(body, shared.batch.export_timeout).await {
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
        self.report.tell(self.client.endpoint(), &outcome);
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
