//! Calls reconcilers: takes keys from a queue, opens the root span, counts, times, logs, and puts back.

use std::{
    fmt,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    Action, Cause, ControllerSpec, ObjectKey, Reconciler, Request,
    queue::{Taken, WorkQueue},
};
use crate::{
    host::Shutdown,
    observability::{
        Failure, Metrics, Telemetry,
        go_format::go_duration,
        metrics::current_exemplar,
        span::{ReconcileScope, reconcile_root, record_failure, succeeded},
    },
};

/// How long the end of the operator waits for running reconciles.
pub const STOP_WAIT_MAX: Duration = Duration::from_secs(5);

/// A controller's queue with its metrics, and somebody to wake.
pub(super) struct Queue {
    name: &'static str,
    queue: Mutex<WorkQueue<ObjectKey, Cause>>,
    /// Whether somebody works on what comes in.
    open: AtomicBool,
    changed: Notify,
    start: Instant,
    metrics: Metrics,
}

impl Queue {
    pub fn new(spec: &ControllerSpec, metrics: Metrics) -> Arc<Self> {
        let queue = Arc::new(Self {
            name: spec.name,
            queue: Mutex::new(WorkQueue::new(spec.backoff)),
            open: AtomicBool::new(false),
            changed: Notify::new(),
            start: Instant::now(),
            metrics,
        });
        queue.prepare_metrics(spec);
        queue
    }

    /// Every series exists from the beginning: a counter that appears with its first increment hides that increment from `rate`.
    fn prepare_metrics(self: &Arc<Self>, spec: &ControllerSpec) {
        let labels = self.labels();
        let workqueue = &self.metrics.workqueue;
        workqueue.depth.set(&labels, 0.0);
        workqueue.adds.add(&labels, 0.0);
        workqueue.retries.add(&labels, 0.0);
        workqueue.queue_duration.touch(&labels);
        workqueue.work_duration.touch(&labels);
        let controller = &self.metrics.controller;
        for result in ["error", "requeue", "requeue_after", "success"] {
            controller.reconciles.add(&[self.name, result], 0.0);
        }
        controller.errors.add(&[self.name], 0.0);
        controller.panics.add(&[self.name], 0.0);
        controller.terminal_errors.add(&[self.name], 0.0);
        controller.duration.touch(&[self.name]);
        controller.workers_max.set(&[self.name], spec.workers as f64);
        controller.workers_active.set(&[self.name], 0.0);
        let weak = Arc::downgrade(self);
        self.metrics.registry().before_scrape(move || {
            if let Some(queue) = weak.upgrade() {
                let (sum, longest) = queue.lock().unfinished(queue.now());
                queue.metrics.workqueue.unfinished.set(&queue.labels(), sum.as_secs_f64());
                queue.metrics.workqueue.longest_running.set(&queue.labels(), longest.as_secs_f64());
            }
        });
    }

    fn labels(&self) -> [&str; 2] {
        [self.name, self.name]
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, WorkQueue<ObjectKey, Cause>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets keys come in. Whoever opens a queue has to add all objects that are there by now.
    pub fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// Adds a key. Before the queue is open this does nothing: an operator that waits for the lease would gather keys that nobody
    /// works on, those of objects long gone among them, and look as if it were too slow.
    pub fn add(&self, key: ObjectKey, cause: Cause) {
        if !self.open.load(Ordering::Acquire) {
            return;
        }
        let mut queue = self.lock();
        let added = queue.add(self.now(), key, [cause]);
        self.settled(&queue, usize::from(added));
        drop(queue);
        if added {
            self.changed.notify_one();
        }
    }

    fn settled(&self, queue: &WorkQueue<ObjectKey, Cause>, added: usize) {
        self.metrics.workqueue.adds.add(&self.labels(), added as f64);
        self.metrics.workqueue.depth.set(&self.labels(), queue.depth() as f64);
    }

    /// The next key, if one is ready now.
    fn take(&self) -> Option<Taken<ObjectKey, Cause>> {
        let mut queue = self.lock();
        let now = self.now();
        let woken = queue.wake(now);
        let taken = queue.take(now);
        self.settled(&queue, woken);
        if let Some(taken) = &taken {
            self.metrics.workqueue.queue_duration.observe(&self.labels(), taken.waited.as_secs_f64(), None);
        }
        taken
    }

    fn done(&self, key: &ObjectKey, outcome: &Outcome) {
        let mut queue = self.lock();
        let now = self.now();
        match outcome {
            Outcome::Succeeded(Action::Done) => queue.forget(key),
            Outcome::Succeeded(Action::RequeueAfter(delay)) => {
                queue.forget(key);
                queue.add_after(now, key.clone(), *delay, [Cause::Requeue]);
                self.metrics.workqueue.retries.inc(&self.labels());
            }
            Outcome::Succeeded(Action::Requeue) => {
                queue.add_rate_limited(now, key.clone(), [Cause::Requeue]);
                self.metrics.workqueue.retries.inc(&self.labels());
            }
            Outcome::Failed | Outcome::Panicked => {
                queue.add_rate_limited(now, key.clone(), [Cause::Retry]);
                self.metrics.workqueue.retries.inc(&self.labels());
            }
        }
        let worked = queue.done(now, key);
        self.settled(&queue, 0);
        self.metrics.workqueue.work_duration.observe(&self.labels(), worked.as_secs_f64(), None);
    }

    /// Waits until [`Self::take`] may have something.
    async fn ready(&self) {
        let next = self.lock().next_wake();
        match next {
            Some(at) => {
                tokio::select! {
                    biased;
                    () = self.changed.notified() => {}
                    () = tokio::time::sleep(at.saturating_sub(self.now())) => {}
                }
            }
            None => self.changed.notified().await,
        }
    }
}

/// What became of one call.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Succeeded(Action),
    Failed,
    Panicked,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Succeeded(Action::Done) => "success",
            Self::Succeeded(Action::RequeueAfter(_)) => "requeue_after",
            Self::Succeeded(Action::Requeue) => "requeue",
            Self::Failed | Self::Panicked => "error",
        }
    }
}

/// A [`Runner`] of any reconciler.
pub(super) trait RunController: Send {
    fn run(self: Box<Self>, telemetry: Telemetry, shutdown: Shutdown) -> BoxFuture<'static, ()>;
}

/// Runs one controller.
pub(super) struct Runner<R> {
    pub reconciler: Arc<R>,
    pub queue: Arc<Queue>,
}

impl<R: Reconciler> RunController for Runner<R> {
    fn run(self: Box<Self>, telemetry: Telemetry, shutdown: Shutdown) -> BoxFuture<'static, ()> {
        Box::pin(self.work(telemetry, shutdown))
    }
}

impl<R: Reconciler> Runner<R> {
    async fn work(self: Box<Self>, telemetry: Telemetry, shutdown: Shutdown) {
        let spec = self.reconciler.spec();
        let mut running = JoinSet::new();
        loop {
            while running.len() < spec.workers.max(1) && !shutdown.requested() {
                let Some(taken) = self.queue.take() else { break };
                let (reconciler, queue, telemetry) = (self.reconciler.clone(), self.queue.clone(), telemetry.clone());
                running.spawn(async move {
                    telemetry.scope(one(&*reconciler, &spec, taken, &queue)).await;
                });
            }
            tokio::select! {
                biased;
                () = shutdown.wait() => break,
                Some(_) = running.join_next() => {}
                () = self.queue.ready(), if running.len() < spec.workers.max(1) => {}
            }
        }
        let ended = timeout(STOP_WAIT_MAX, async { while running.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            tracing::warn!(
                controller = spec.name,
                reconciles = running.len(),
                "reconciles did not end in time and are given up"
            );
        }
    }
}

/// The message of a panic, for log line and span.
struct Panic(String);

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panic: {}", self.0)
    }
}

impl Failure for Panic {
    fn error_type(&self) -> &'static str {
        "panic"
    }
}

async fn one<R: Reconciler>(reconciler: &R, spec: &ControllerSpec, taken: Taken<ObjectKey, Cause>, queue: &Queue) {
    let metrics = &queue.metrics.controller;
    metrics.workers_active.add(&[spec.name], 1.0);
    let request = Request { key: taken.key, causes: taken.causes, failures: taken.failures };
    let origin = reconciler.origin(&request.key);
    let id = reconcile_id();
    let scope = ReconcileScope {
        controller: spec.name,
        kind: spec.kind,
        namespace: &request.key.namespace,
        name: &request.key.name,
        reconcile_id: &id,
    };
    let outcome = reconcile_root(scope, spec.root_span, origin, async {
        tracing::debug!("reconcile started");
        let begun = Instant::now();
        let result = AssertUnwindSafe(reconciler.reconcile(&request)).catch_unwind().await;
        let took = begun.elapsed();
        metrics.duration.observe(&[spec.name], took.as_secs_f64(), current_exemplar());
        match result {
            Ok(Ok(action)) => {
                succeeded();
                tracing::debug!(duration = %go_duration(took), "reconcile complete");
                Outcome::Succeeded(action)
            }
            Ok(Err(error)) => {
                failed(&error, took);
                Outcome::Failed
            }
            Err(panic) => {
                failed(&Panic(panic_message(&*panic)), took);
                metrics.panics.inc(&[spec.name]);
                Outcome::Panicked
            }
        }
    })
    .await;
    metrics.reconciles.inc(&[spec.name, outcome.label()]);
    if matches!(outcome, Outcome::Failed | Outcome::Panicked) {
        metrics.errors.inc(&[spec.name]);
    }
    metrics.workers_active.add(&[spec.name], -1.0);
    queue.done(&request.key, &outcome);
}

fn failed(error: &impl Failure, took: Duration) {
    record_failure(error);
    tracing::error!(error = %error.message(), duration = %go_duration(took), "reconcile failed");
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

/// A random (version 4) UUID from the generator of the trace ids.
fn reconcile_id() -> String {
    let mut bytes = RandomIdGenerator::default().new_trace_id().to_bytes();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
