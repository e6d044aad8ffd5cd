//! Logs, metrics, traces and events of the operator.
//!
//! There is no global subscriber, tracer provider or registry: one [`Telemetry`] value is built from the checked configuration and
//! handed down. What a controller uses:
//!
//! - [`step`]: runs a future in a span of its own, times it, records its error (span status, `exception` event, `error.message`, one log
//!   line with the ids of the failing span):
//!   ```
//!   # async fn apply() -> Result<&'static str, kube::Error> { Ok("applied") }
//!   # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//!   use multigres_operator::observability::step;
//!   let deployment = step("Cell.ReconcileDeployment", async { apply().await }).await?;
//!   # assert_eq!(deployment, "applied");
//!   # Ok::<_, kube::Error>(())
//!   # }).unwrap();
//!   ```
//! - [`set_attribute`]: an attribute on the span that is current; [`record_failure`]: an error on the current span that the caller handles.
//! - `tracing::info!(message…)` and its siblings: one log line. Controller, object, `reconcileID`, `trace_id` and `span_id` are added.
//! - [`Telemetry::metrics`]: the typed metric families ([`metrics::Metrics`]).
//! - [`events::EventRecorder`]: `recorder.normal(&cell, "Synced", "Successfully reconciled Cell")`; never blocks.
//! - [`propagation`]: the trace context in annotations.
//! - [`Telemetry::spawn`]: a task that logs and traces to the same place. A bare `tokio::spawn` loses both.
//!
//! Outside a [`Telemetry`]'s scope all of these do nothing, so that reconcilers can be tested bare.

pub mod console;
pub mod encoded;
pub mod endpoint;
pub mod events;
pub mod export;
mod export_report;
pub mod go_format;
pub mod health;
pub mod kube_client;
pub mod levels;
pub mod logging;
pub mod metrics;
pub mod metrics_export;
pub mod otlp;
pub mod panics;
pub mod propagation;
pub mod registry;
pub mod sampling;
pub mod server;
pub mod span;
pub mod telemetry;

pub use events::EventRecorder;
pub use metrics::Metrics;
pub use span::{
    ETCD_KV_SERVICE, Failure, TraceOrigin, attribute, current_span_context, etcd_call, record_failure, set_attribute,
    step,
};
pub use telemetry::Telemetry;
