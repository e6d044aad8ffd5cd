//! The runner with real queues and a real subscriber; only the reconcilers are made up.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use serde_json::Value;

use super::{super::Backoff, *};
use crate::{
    observability::{TraceOrigin, step, telemetry::TelemetryConfig},
    testing::{Lines, host, in_runtime, no_network},
};

#[derive(Debug, thiserror::Error)]
#[error("it is not the day")]
struct NotToday;

impl Failure for NotToday {
    fn error_type(&self) -> &'static str {
        "NotToday"
    }
}

/// Fails or panics as often as it is told to, counts how many run at once.
struct Scripted {
    workers: usize,
    failures: u32,
    panics: u32,
    calls: AtomicU32,
    running: AtomicUsize,
    running_max: AtomicUsize,
}

impl Scripted {
    fn new(workers: usize, failures: u32, panics: u32) -> Self {
        Self {
            workers,
            failures,
            panics,
            calls: AtomicU32::new(0),
            running: AtomicUsize::new(0),
            running_max: AtomicUsize::new(0),
        }
    }
}

impl Reconciler for Scripted {
    type Error = NotToday;

    fn spec(&self) -> ControllerSpec {
        ControllerSpec {
            name: "cell",
            kind: "Cell",
            root_span: "Cell.Reconcile",
            workers: self.workers,
            backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(4)),
        }
    }

    fn origin(&self, _: &ObjectKey) -> TraceOrigin {
        TraceOrigin::Root
    }

    async fn reconcile(&self, _: &Request) -> Result<Action, NotToday> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.running_max.fetch_max(running, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        assert!(call >= self.panics, "told to panic");
        step("Cell.ReconcileDeployment", async {
            if call < self.panics + self.failures { Err(NotToday) } else { Ok(()) }
        })
        .await?;
        Ok(Action::Done)
    }
}

struct Run {
    reconciler: Arc<Scripted>,
    lines: Vec<Value>,
    metrics: Metrics,
}

/// Runs until `done` holds, at most five seconds.
fn run(reconciler: Scripted, keys: &[&str], done: impl Fn(&Scripted, &Metrics) -> bool) -> Run {
    in_runtime(async {
        let lines = Lines::default();
        let (handle, host) = host(no_network(), &lines);
        let telemetry = Telemetry::new(&TelemetryConfig::default(), &host);
        let metrics = telemetry.metrics().clone();
        let queue = Queue::new(&reconciler.spec(), metrics.clone());
        queue.open();
        for key in keys {
            queue.add(ObjectKey::new("default", *key), Cause::Created);
        }
        let reconciler = Arc::new(reconciler);
        let runner = Box::new(Runner { reconciler: reconciler.clone(), queue });
        let working = telemetry.spawn(runner.run(telemetry.clone(), host.shutdown.clone()));
        let finished = timeout(Duration::from_secs(5), async {
            while !done(&reconciler, &metrics) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        finished.await.expect("the controller gets there within five seconds");
        handle.request();
        working.await.unwrap();
        let lines = lines.lock().unwrap().clone();
        Run { reconciler, lines, metrics }
    })
}

fn succeeded(metrics: &Metrics, times: f64) -> bool {
    metrics.controller.reconciles.value(&["cell", "success"]) == Some(times)
}

#[test]
fn while_nobody_works_on_keys_none_are_gathered() {
    in_runtime(async {
        let (_handle, host) = host(no_network(), &Lines::default());
        let telemetry = Telemetry::new(&TelemetryConfig::default(), &host);
        let metrics = telemetry.metrics().clone();
        let queue = Queue::new(&Scripted::new(0, 0, 0).spec(), metrics.clone());
        let depth = || metrics.workqueue.depth.value(&["cell", "cell"]);
        queue.add(ObjectKey::new("default", "gone-before-the-lease-came"), Cause::Created);
        assert_eq!((depth(), queue.take()), (Some(0.0), None));
        queue.open();
        queue.add(ObjectKey::new("default", "a"), Cause::Created);
        assert_eq!(depth(), Some(1.0));
        assert_eq!(queue.take().map(|taken| taken.key.name), Some("a".to_owned()));
    });
}

fn messages(run: &Run) -> Vec<&str> {
    run.lines.iter().map(|line| line["msg"].as_str().unwrap()).collect()
}

#[test]
fn a_failed_key_is_tried_again_and_every_failure_is_counted_and_told_once() {
    let run = run(Scripted::new(1, 2, 0), &["a"], |_, metrics| succeeded(metrics, 1.0));
    assert_eq!(
        messages(&run),
        [
            "reconcile started",
            "Cell.ReconcileDeployment failed",
            "reconcile failed",
            "reconcile started",
            "Cell.ReconcileDeployment failed",
            "reconcile failed",
            "reconcile started",
            "reconcile complete"
        ]
    );
    assert_eq!(run.metrics.controller.errors.value(&["cell"]), Some(2.0));
    assert_eq!(run.metrics.controller.reconciles.value(&["cell", "error"]), Some(2.0));
    assert_eq!(run.metrics.controller.duration.count(&["cell"]), Some(3.0));
    assert_eq!(run.metrics.workqueue.retries.value(&["cell", "cell"]), Some(2.0));
    assert_eq!(run.metrics.workqueue.adds.value(&["cell", "cell"]), Some(3.0));
    assert_eq!(run.metrics.controller.workers_active.value(&["cell"]), Some(0.0));
}

#[test]
fn every_line_of_a_reconcile_keeps_controller_object_and_id() {
    let run = run(Scripted::new(1, 1, 0), &["a"], |_, metrics| succeeded(metrics, 1.0));
    for line in &run.lines {
        let keys: Vec<_> = line.as_object().unwrap().keys().take(6).cloned().collect();
        assert_eq!(keys, ["level", "ts", "msg", "controller", "Cell", "reconcileID"], "{line}");
        assert_eq!(line["Cell"], serde_json::json!({"name": "a", "namespace": "default"}));
        let id = line["reconcileID"].as_str().unwrap();
        assert_eq!((id.len(), &id[14..15]), (36, "4"), "{id}");
    }
    assert_eq!(run.lines[0]["reconcileID"], run.lines[2]["reconcileID"]);
    assert_ne!(run.lines[2]["reconcileID"], run.lines[3]["reconcileID"]);
    assert_eq!(run.lines[1]["error"], "it is not the day");
    assert_eq!(run.lines[2]["level"], "error");
}

#[test]
fn a_panic_is_an_error_of_its_reconcile_and_of_nothing_else() {
    let run = run(Scripted::new(1, 0, 1), &["a", "b"], |_, metrics| succeeded(metrics, 2.0));
    assert_eq!(run.metrics.controller.panics.value(&["cell"]), Some(1.0));
    assert_eq!(run.metrics.controller.errors.value(&["cell"]), Some(1.0));
    let failed = run.lines.iter().find(|line| line["msg"] == "reconcile failed").unwrap();
    assert_eq!(failed["error"], "panic: told to panic");
}

#[test]
fn no_more_keys_are_worked_on_at_once_than_there_are_workers() {
    let keys = ["a", "b", "c", "d", "e"];
    let run = run(Scripted::new(2, 0, 0), &keys, |_, metrics| succeeded(metrics, 5.0));
    assert_eq!(run.reconciler.running_max.load(Ordering::SeqCst), 2);
}
