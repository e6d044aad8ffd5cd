//! One value that knows where logs, metrics and traces go.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_sdk::{
    Resource,
    trace::{RandomIdGenerator, SdkTracerProvider, SpanLimits},
};
use tokio::task::{JoinError, JoinHandle};
use tracing::{Dispatch, Metadata, instrument::WithSubscriber};
use tracing_subscriber::{Layer, Registry, filter::filter_fn, layer::SubscriberExt};

use super::{
    Metrics,
    console::ConsoleProcessor,
    encoded::Envelope,
    export::{BatchConfig, Exporter},
    levels::{LiveLevels, LogLevels},
    logging::{LogFilter, LogFormat, LogLayer},
    metrics_export::MetricsExportConfig,
    otlp::{OtlpClient, OtlpConfig, Signal},
    sampling::SamplerConfig,
    span::SPAN_TARGET,
};
use crate::host::Host;

/// The instrumentation scope of every span.
pub const SCOPE_NAME: &str = "multigres-operator";
const ATTRIBUTES_PER_SPAN_MAX: u32 = 128;
const EVENTS_PER_SPAN_MAX: u32 = 128;
const LINKS_PER_SPAN_MAX: u32 = 128;

/// What is logged, and what is traced to where.
#[derive(Clone, Debug, Default)]
pub struct TelemetryConfig {
    /// How log lines look.
    pub log_format: LogFormat,
    /// From which level on they are written.
    pub log_levels: LogLevels,
    /// Tracing; none costs nothing.
    pub traces: Option<TracesConfig>,
    /// Metrics by OTLP, beside those that are scraped.
    pub metrics: Option<MetricsExportConfig>,
}

/// Where spans go.
#[derive(Clone, Debug)]
pub struct TracesConfig {
    /// The endpoint; none: to where log lines go (the console).
    pub otlp: Option<OtlpConfig>,
    /// Which traces are kept.
    pub sampler: SamplerConfig,
    /// Sizes and times of the queue.
    pub batch: BatchConfig,
    /// What the resource says: exactly these attributes.
    pub resource: Vec<(String, String)>,
}

/// Logs, metrics and traces of one operator. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    metrics: Metrics,
    dispatch: Dispatch,
    levels: LiveLevels,
    traces: Option<Traces>,
}

struct Traces {
    /// Nothing waits where spans go to the console.
    export: Option<Export>,
    /// Kept so that its tracers stay alive until the end.
    provider: SdkTracerProvider,
}

struct Export {
    exporter: Exporter,
    /// An operator that is killed sends nothing more.
    _task: OwnedTask<()>,
}

/// A task that is aborted when this is dropped: an operator that is killed leaves nothing behind that runs.
#[derive(Debug)]
pub struct OwnedTask<T>(JoinHandle<T>);

impl<T> Drop for OwnedTask<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Future for OwnedTask<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("tracing", &self.0.traces.is_some()).finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Builds everything. Has to be called inside a runtime, where the export task is spawned.
    pub fn new(config: &TelemetryConfig, host: &Host) -> Self {
        let metrics = Metrics::new(host.process.clone());
        let log = LogLayer { format: config.log_format, writer: host.log_writer.clone() };
        let levels = LiveLevels::new(config.log_levels.clone());
        let log = log.with_filter(LogFilter(levels.clone()));
        let Some(traces) = &config.traces else {
            let dispatch = Dispatch::new(Registry::default().with(log));
            return Self(Arc::new(Inner { metrics, dispatch, levels, traces: None }));
        };
        let resource = Resource::builder_empty()
            .with_attributes(traces.resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())))
            .build();
        let outcomes = metrics.trace_spans.clone();
        let mut provider = SdkTracerProvider::builder();
        let mut export = None;
        match &traces.otlp {
            Some(otlp) => {
                let client = OtlpClient::new(Signal::Traces, otlp.clone(), host.connector.clone(), host.files.clone());
                let envelope = Envelope::new(&resource, SCOPE_NAME);
                let (processor, exporter, task) = Exporter::new(traces.batch, client, envelope, outcomes);
                provider = provider.with_span_processor(processor);
                export = Some((exporter, task));
            }
            None => {
                let write = host.log_writer.clone();
                provider = provider.with_span_processor(ConsoleProcessor { write, outcomes });
            }
        }
        // Every value is set: the SDK's own defaults would be read from the process environment.
        let provider = provider
            .with_sampler(traces.sampler.sampler())
            .with_id_generator(RandomIdGenerator::default())
            .with_span_limits(SpanLimits {
                max_events_per_span: EVENTS_PER_SPAN_MAX,
                max_attributes_per_span: ATTRIBUTES_PER_SPAN_MAX,
                max_links_per_span: LINKS_PER_SPAN_MAX,
                max_attributes_per_event: ATTRIBUTES_PER_SPAN_MAX,
                max_attributes_per_link: ATTRIBUTES_PER_SPAN_MAX,
            })
            .with_resource(resource)
            .build();
        let spans = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(SCOPE_NAME))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_level(false)
            // Whose span is the current one is known without: see `span`.
            .with_context_activation(false)
            .with_filter(filter_fn(|metadata: &Metadata<'_>| metadata.is_span() && metadata.target() == SPAN_TARGET));
        let dispatch = Dispatch::new(Registry::default().with(log).with(spans));
        let export = export.map(|(exporter, task)| Export {
            exporter,
            _task: OwnedTask(tokio::spawn(task.with_subscriber(dispatch.clone()))),
        });
        Self(Arc::new(Inner { metrics, dispatch, levels, traces: Some(Traces { export, provider }) }))
    }

    /// The metric families.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The levels from which on lines are written.
    pub fn log_levels(&self) -> &LiveLevels {
        &self.0.levels
    }

    /// Whether spans go anywhere.
    pub fn traces(&self) -> bool {
        self.0.traces.is_some()
    }

    /// Spawns a task whose lines and spans go here.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(future.with_subscriber(self.0.dispatch.clone()))
    }

    /// Spawns a task whose lines and spans go here, and which ends with the value that is returned.
    pub fn spawn_owned<F>(&self, future: F) -> OwnedTask<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        OwnedTask(self.spawn(future))
    }

    /// Runs a future whose lines and spans go here.
    pub async fn scope<F: Future>(&self, future: F) -> F::Output {
        future.with_subscriber(self.0.dispatch.clone()).await
    }

    /// Runs a function whose lines and spans go here.
    pub fn in_scope<T>(&self, function: impl FnOnce() -> T) -> T {
        tracing::dispatcher::with_default(&self.0.dispatch, function)
    }

    /// Sends all finished spans. Says whether that was done before the deadline; true where nothing is traced.
    pub async fn flush(&self, deadline: Duration) -> bool {
        match &self.0.traces {
            Some(traces) => {
                let _ = traces.provider.force_flush();
                match &traces.export {
                    Some(export) => export.exporter.flush(deadline).await,
                    None => true,
                }
            }
            None => true,
        }
    }
}

#[cfg(test)]
#[path = "telemetry_tests.rs"]
mod tests;
