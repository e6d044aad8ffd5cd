//! What flows through pipelines: OTLP requests of the three signals, counted in items.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data as Points;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metric points.
    Metrics,
    /// Log records.
    Logs,
}

impl Signal {
    /// All of them.
    pub const ALL: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

    /// As in the name of a pipeline.
    pub fn text(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
            Signal::Logs => "logs",
        }
    }

    /// The items of the signal as the names of the self metrics have them.
    pub fn items_text(self) -> &'static str {
        match self {
            Signal::Traces => "spans",
            Signal::Metrics => "metric_points",
            Signal::Logs => "log_records",
        }
    }

    /// The path of the signal in OTLP/HTTP.
    pub fn path(self) -> &'static str {
        match self {
            Signal::Traces => "/v1/traces",
            Signal::Metrics => "/v1/metrics",
            Signal::Logs => "/v1/logs",
        }
    }

    /// The signal with this name.
    pub fn from_text(text: &str) -> Option<Self> {
        Signal::ALL.into_iter().find(|signal| signal.text() == text)
    }
}

/// A batch of one signal.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Spans.
    Traces(ExportTraceServiceRequest),
    /// Metric points.
    Metrics(ExportMetricsServiceRequest),
    /// Log records.
    Logs(ExportLogsServiceRequest),
}

impl Data {
    /// Its signal.
    pub fn signal(&self) -> Signal {
        match self {
            Data::Traces(_) => Signal::Traces,
            Data::Metrics(_) => Signal::Metrics,
            Data::Logs(_) => Signal::Logs,
        }
    }

    /// Spans, metric points or log records.
    pub fn items(&self) -> u64 {
        let count = match self {
            Data::Traces(request) => {
                request.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum::<usize>()
            }
            Data::Metrics(request) => request
                .resource_metrics
                .iter()
                .flat_map(|r| &r.scope_metrics)
                .flat_map(|s| &s.metrics)
                .map(|metric| match &metric.data {
                    Some(Points::Gauge(d)) => d.data_points.len(),
                    Some(Points::Sum(d)) => d.data_points.len(),
                    Some(Points::Histogram(d)) => d.data_points.len(),
                    Some(Points::ExponentialHistogram(d)) => d.data_points.len(),
                    Some(Points::Summary(d)) => d.data_points.len(),
                    None => 0,
                })
                .sum(),
            Data::Logs(request) => {
                request.resource_logs.iter().flat_map(|r| &r.scope_logs).map(|s| s.log_records.len()).sum()
            }
        };
        count as u64
    }

    /// Its size as protobuf.
    pub fn bytes(&self) -> usize {
        match self {
            Data::Traces(request) => request.encoded_len(),
            Data::Metrics(request) => request.encoded_len(),
            Data::Logs(request) => request.encoded_len(),
        }
    }

    /// As protobuf.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Data::Traces(request) => request.encode_to_vec(),
            Data::Metrics(request) => request.encode_to_vec(),
            Data::Logs(request) => request.encode_to_vec(),
        }
    }

    /// Appends a batch of the same signal; one of another signal is given back.
    pub fn append(&mut self, other: Data) -> Option<Data> {
        match (self, other) {
            (Data::Traces(own), Data::Traces(more)) => own.resource_spans.extend(more.resource_spans),
            (Data::Metrics(own), Data::Metrics(more)) => own.resource_metrics.extend(more.resource_metrics),
            (Data::Logs(own), Data::Logs(more)) => own.resource_logs.extend(more.resource_logs),
            (_, other) => return Some(other),
        }
        None
    }

    /// Calls `change` with the attributes of every resource.
    pub fn each_resource(&mut self, change: &mut dyn FnMut(&mut Vec<KeyValue>)) {
        let mut pass = |resource: &mut Option<Resource>| change(&mut resource.get_or_insert_default().attributes);
        match self {
            Data::Traces(request) => request.resource_spans.iter_mut().for_each(|r| pass(&mut r.resource)),
            Data::Metrics(request) => request.resource_metrics.iter_mut().for_each(|r| pass(&mut r.resource)),
            Data::Logs(request) => request.resource_logs.iter_mut().for_each(|r| pass(&mut r.resource)),
        }
    }

    /// Calls `change` with the attributes of every item.
    pub fn each_item(&mut self, change: &mut dyn FnMut(&mut Vec<KeyValue>)) {
        match self {
            Data::Traces(request) => {
                for scoped in request.resource_spans.iter_mut().flat_map(|r| &mut r.scope_spans) {
                    scoped.spans.iter_mut().for_each(|span| change(&mut span.attributes));
                }
            }
            Data::Logs(request) => {
                for scoped in request.resource_logs.iter_mut().flat_map(|r| &mut r.scope_logs) {
                    scoped.log_records.iter_mut().for_each(|record| change(&mut record.attributes));
                }
            }
            Data::Metrics(request) => {
                let metrics =
                    request.resource_metrics.iter_mut().flat_map(|r| &mut r.scope_metrics).flat_map(|s| &mut s.metrics);
                for metric in metrics {
                    match &mut metric.data {
                        Some(Points::Gauge(d)) => d.data_points.iter_mut().for_each(|p| change(&mut p.attributes)),
                        Some(Points::Sum(d)) => d.data_points.iter_mut().for_each(|p| change(&mut p.attributes)),
                        Some(Points::Histogram(d)) => d.data_points.iter_mut().for_each(|p| change(&mut p.attributes)),
                        Some(Points::ExponentialHistogram(d)) => {
                            d.data_points.iter_mut().for_each(|p| change(&mut p.attributes));
                        }
                        Some(Points::Summary(d)) => d.data_points.iter_mut().for_each(|p| change(&mut p.attributes)),
                        None => {}
                    }
                }
            }
        }
    }
}
