//! The operator's metrics by OTLP, where that is asked for (`--otlp-metrics`): every interval the registry that `/metrics` shows is sent
//! to the Collector, too.
//!
//! The same figures under the same names by two ways would be counted twice by whoever sums them up. Here they have names of their
//! own, in OpenTelemetry's spelling (`multigres.operator.reconcile.duration`), none of which becomes a name of `/metrics` when a Prometheus
//! translates it; what has no entry in [`INSTRUMENTS`] is not sent.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value as Any},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
        ScopeMetrics, Sum, metric::Data, number_data_point::Value as Number,
    },
    resource::v1::Resource,
};
use prost::Message;
use tokio::{
    sync::Mutex,
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::{
    Metrics,
    export::with_sources,
    export_report::{Outcome, Report},
    metrics::now_seconds,
    otlp::{OtlpClient, OtlpConfig, Signal},
    registry::{Family, Kind, Observed, Registry},
    telemetry::SCOPE_NAME,
};
use crate::{config::VERSION, host::Host};

/// Between two exports, where no variable says otherwise.
pub const METRICS_EXPORT_INTERVAL: Duration = Duration::from_secs(30);
/// How long one export may take, where no variable says otherwise.
pub const METRICS_EXPORT_TIMEOUT: Duration = Duration::from_secs(20);
/// The namespace whose uid says which cluster this is, by the custom that semantic conventions know.
const CLUSTER_NAMESPACE: &str = "kube-system";
const CLUSTER_ID: &str = "k8s.cluster.uid";

/// What is sent: family, instrument, unit.
pub const INSTRUMENTS: &[(&str, &str, &str)] = &[
    ("controller_runtime_reconcile_total", "multigres.operator.reconcile.count", "{reconcile}"),
    ("controller_runtime_reconcile_errors_total", "multigres.operator.reconcile.errors", "{error}"),
    ("controller_runtime_reconcile_time_seconds", "multigres.operator.reconcile.duration", "s"),
    ("controller_runtime_active_workers", "multigres.operator.reconcile.active", "{reconcile}"),
    ("workqueue_depth", "multigres.operator.workqueue.depth", "{item}"),
    ("workqueue_adds_total", "multigres.operator.workqueue.adds", "{item}"),
    ("workqueue_retries_total", "multigres.operator.workqueue.retries", "{item}"),
    ("workqueue_queue_duration_seconds", "multigres.operator.workqueue.wait.duration", "s"),
    ("workqueue_work_duration_seconds", "multigres.operator.workqueue.work.duration", "s"),
    ("rest_client_requests_total", "multigres.operator.kubernetes.requests", "{request}"),
    ("leader_election_master_status", "multigres.operator.leader", "{leader}"),
    ("multigres_operator_webhook_request_total", "multigres.operator.webhook.requests", "{request}"),
    ("multigres_operator_webhook_request_duration_seconds", "multigres.operator.webhook.duration", "s"),
    ("multigres_operator_cluster_info", "multigres.operator.cluster.phase", "{cluster}"),
    ("multigres_operator_cluster_cells_total", "multigres.operator.cluster.cells", "{cell}"),
    ("multigres_operator_cluster_shards_total", "multigres.operator.cluster.shards", "{shard}"),
    ("multigres_operator_cell_gateway_replicas", "multigres.operator.gateway.replicas", "{replica}"),
    ("multigres_operator_shard_pool_replicas", "multigres.operator.pool.replicas", "{replica}"),
    ("multigres_operator_toposerver_replicas", "multigres.operator.topology.replicas", "{replica}"),
    ("multigres_operator_trace_spans_total", "multigres.operator.spans", "{span}"),
    ("multigres_operator_event_records_total", "multigres.operator.events", "{event}"),
    ("process_cpu_seconds_total", "process.cpu.time", "s"),
    ("process_resident_memory_bytes", "process.memory.usage", "By"),
    ("process_virtual_memory_bytes", "process.memory.virtual", "By"),
    ("process_open_fds", "process.unix.file_descriptor.count", "{file_descriptor}"),
];

/// Where metrics go.
#[derive(Clone, Debug)]
pub struct MetricsExportConfig {
    /// The endpoint.
    pub otlp: OtlpConfig,
    /// Between two exports.
    pub interval: Duration,
    /// How long one export may take, attempts and pauses together.
    pub timeout: Duration,
    /// What the resource says; the cluster's id is added where it is not among it.
    pub resource: Vec<(String, String)>,
}

/// Sends the registry.
pub struct MetricsExporter {
    interval: Duration,
    timeout: Duration,
    client: OtlpClient,
    kube: kube::Client,
    metrics: Metrics,
    started_nanos: u64,
    state: Mutex<State>,
}

struct State {
    resource: Vec<(String, String)>,
    report: Report,
    told_of_no_id: bool,
}

impl std::fmt::Debug for MetricsExporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetricsExporter").field("client", &self.client).finish_non_exhaustive()
    }
}

impl MetricsExporter {
    /// Has to be called inside a runtime.
    pub fn new(config: MetricsExportConfig, host: &Host, kube: kube::Client, metrics: Metrics) -> Arc<Self> {
        let client = OtlpClient::new(Signal::Metrics, config.otlp, host.connector.clone(), host.files.clone());
        let state = State {
            resource: config.resource,
            report: Report::new("metrics", "the next one tells the same totals"),
            told_of_no_id: false,
        };
        let started_nanos = now_nanos();
        Arc::new(Self {
            interval: config.interval,
            timeout: config.timeout,
            client,
            kube,
            metrics,
            started_nanos,
            state: Mutex::new(state),
        })
    }

    /// Sends every interval. Never ends.
    pub async fn run(self: Arc<Self>) {
        let mut ticks = interval_at(Instant::now() + self.interval, self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.send(self.timeout).await;
        }
    }

    /// Sends what there is now, in at most `limit`.
    pub async fn send(&self, limit: Duration) {
        let mut state = self.state.lock().await;
        self.identify(&mut state).await;
        let request = request(self.metrics.registry(), &state.resource, self.started_nanos, now_nanos());
        let answer = self.client.send(Bytes::from(request.encode_to_vec()), limit).await;
        let outcome = match answer {
            Ok(answer) => Outcome::of_partial_success(
                ExportMetricsServiceResponse::decode(answer)
                    .ok()
                    .and_then(|told| told.partial_success)
                    .map(|partial| (partial.rejected_data_points, partial.error_message)),
            ),
            Err(why) => Outcome::Failed(why),
        };
        // The next export tells the same totals: one that is rejected in part is one that did not do what it should.
        let counted = match &outcome {
            Outcome::Accepted | Outcome::Warned(_) => "exported",
            Outcome::Rejected { .. } => "rejected",
            Outcome::Failed(_) => "failed",
        };
        self.metrics.metric_exports.inc(&[counted]);
        state.report.tell(self.client.endpoint(), &outcome);
    }

    /// Finds out in which cluster this is, unless the resource says so.
    async fn identify(&self, state: &mut State) {
        if state.resource.iter().any(|(key, _)| key == CLUSTER_ID) {
            return;
        }
        match Api::<Namespace>::all(self.kube.clone()).get(CLUSTER_NAMESPACE).await {
            Ok(namespace) => state.resource.extend(namespace.uid().map(|uid| (CLUSTER_ID.to_owned(), uid))),
            Err(error) => {
                if !std::mem::replace(&mut state.told_of_no_id, true) {
                    tracing::warn!(error = %with_sources(&error), "the cluster's id is not known yet: metrics go without it");
                }
            }
        }
    }
}

fn now_nanos() -> u64 {
    (now_seconds() * 1e9) as u64
}

/// The families that have an instrument, as one request.
fn request(registry: &Registry, resource: &[(String, String)], started: u64, now: u64) -> ExportMetricsServiceRequest {
    let mut metrics: Vec<Metric> = registry
        .families()
        .into_iter()
        .filter_map(|family| {
            let (_, name, unit) = INSTRUMENTS.iter().find(|(known, ..)| *known == family.name)?;
            let data = data(&family, started, now);
            Some(Metric {
                name: (*name).to_owned(),
                description: family.help.to_owned(),
                unit: (*unit).to_owned(),
                data: Some(data),
                ..Metric::default()
            })
        })
        .collect();
    metrics.sort_by(|a, b| a.name.cmp(&b.name));
    let scope = InstrumentationScope {
        name: SCOPE_NAME.to_owned(),
        version: VERSION.to_owned(),
        ..InstrumentationScope::default()
    };
    let attributes = resource.iter().map(|(key, value)| attribute(key, value)).collect();
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }],
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Any::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn data(family: &Family, started: u64, now: u64) -> Data {
    let attributes = |values: &[String]| -> Vec<KeyValue> {
        family.labels.iter().zip(values).map(|(name, value)| attribute(name, value)).collect()
    };
    let cumulative = AggregationTemporality::Cumulative as i32;
    let numbers = || {
        let point = |(values, observed): &(Vec<String>, Observed)| match observed {
            Observed::Value(value) => Some(NumberDataPoint {
                attributes: attributes(values),
                start_time_unix_nano: if family.kind == Kind::Counter { started } else { 0 },
                time_unix_nano: now,
                value: Some(Number::AsDouble(*value)),
                ..NumberDataPoint::default()
            }),
            Observed::Histogram { .. } => None,
        };
        family.series.iter().filter_map(point).collect()
    };
    match family.kind {
        Kind::Counter => {
            Data::Sum(Sum { data_points: numbers(), aggregation_temporality: cumulative, is_monotonic: true })
        }
        Kind::Gauge => Data::Gauge(Gauge { data_points: numbers() }),
        Kind::Histogram => {
            let point = |(values, observed): &(Vec<String>, Observed)| match observed {
                Observed::Histogram { counts, sum } => Some(HistogramDataPoint {
                    attributes: attributes(values),
                    start_time_unix_nano: started,
                    time_unix_nano: now,
                    count: counts.iter().sum(),
                    sum: Some(*sum),
                    bucket_counts: counts.clone(),
                    explicit_bounds: family.bounds.clone(),
                    ..HistogramDataPoint::default()
                }),
                Observed::Value(_) => None,
            };
            let data_points = family.series.iter().filter_map(point).collect();
            Data::Histogram(Histogram { data_points, aggregation_temporality: cumulative })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::observability::registry::Format;

    /// As a Prometheus names an instrument: dots are underscores, the unit and `_total` are appended.
    fn translated(name: &str, unit: &str, counter: bool) -> String {
        let unit = match unit {
            "s" => "_seconds",
            "By" => "_bytes",
            _ => "",
        };
        format!("{}{unit}{}", name.replace('.', "_"), if counter { "_total" } else { "" })
    }

    #[test]
    fn no_instrument_becomes_a_name_of_the_page_and_each_has_a_family() {
        struct Nothing;
        impl crate::host::Process for Nothing {
            fn usage(&self) -> crate::host::ProcessUsage {
                crate::host::ProcessUsage::default()
            }
        }
        let metrics = Metrics::new(Some(Arc::new(Nothing)));
        let names = metrics.registry().names();
        let mut seen = BTreeSet::new();
        for (family, name, unit) in INSTRUMENTS {
            let kind = names.get(family).unwrap_or_else(|| panic!("no family {family}"));
            assert!(seen.insert(name), "{name} twice");
            let translated = translated(name, unit, *kind == Kind::Counter);
            assert!(!names.contains_key(translated.as_str()), "{name} becomes {translated}, which /metrics has");
        }
    }

    #[test]
    fn what_is_sent_is_what_the_page_shows() {
        let metrics = Metrics::default();
        metrics.controller.reconciles.add(&["cell", "success"], 3.0);
        metrics.controller.duration.observe(&["cell"], 0.3, None);
        metrics.controller.duration.observe(&["cell"], 100.0, None);
        metrics.set_cluster_size("n", "c", 2, 5);
        let resource = [("service.name".to_owned(), "multigres-operator".to_owned())];
        let request = request(metrics.registry(), &resource, 7, 9);
        let sent = &request.resource_metrics[0];
        assert_eq!(sent.resource.as_ref().unwrap().attributes, [attribute("service.name", "multigres-operator")]);
        let metric = |name: &str| sent.scope_metrics[0].metrics.iter().find(|metric| metric.name == name).unwrap();
        let Some(Data::Sum(sum)) = &metric("multigres.operator.reconcile.count").data else { panic!("a sum") };
        assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
        let point = &sum.data_points[0];
        assert_eq!(point.attributes, [attribute("controller", "cell"), attribute("result", "success")]);
        assert_eq!(
            (point.start_time_unix_nano, point.time_unix_nano, point.value),
            (7, 9, Some(Number::AsDouble(3.0)))
        );
        let Some(Data::Histogram(histogram)) = &metric("multigres.operator.reconcile.duration").data else {
            panic!("a histogram")
        };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum), (2, Some(100.3)));
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(point.bucket_counts.last(), Some(&1));
        let Some(Data::Gauge(gauge)) = &metric("multigres.operator.cluster.shards").data else { panic!("a gauge") };
        assert_eq!(gauge.data_points[0].value, Some(Number::AsDouble(5.0)));
        assert!(metrics.registry().encode(Format::Text).contains("multigres_operator_cluster_shards_total"));
        assert!(sent.scope_metrics[0].metrics.iter().all(|metric| metric.name != "process_start_time_seconds"));
    }
}
