//! From an OTLP export request to a write request of version 1.

use super::names::{MetricKind, Strategy, label_name, metric_name};
use crate::histogram::CUSTOM_SCHEMA;
use crate::remote::messages::{
    BucketSpan, Count, Exemplar, Histogram, Label, ResetHint, Sample, TimeSeries, WriteRequest, ZeroCount,
};
use base64::Engine as _;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1 as otlp;
use otlp::metric::Data;
use serde::Deserialize;
use sim_wire::{METRIC_NAME, STALE_NAN, format_float};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The zero bucket of an exponential histogram that names none.
const ZERO_THRESHOLD: f64 = 1e-128;
/// The finest schema and the coarsest scale.
const SCHEMA_MAX: i32 = 8;
const SCALE_MIN: i32 = -4;
/// Most buckets that one side of a histogram may list.
const BUCKETS_MAX: usize = 65_536;
/// Attributes that become `job` and `instance`.
const IDENTIFYING: [&str; 3] = ["service.namespace", "service.name", "service.instance.id"];

/// The section `otlp` of the configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Every attribute of the resource becomes a label.
    pub promote_all_resource_attributes: bool,
    /// Attributes of the resource that become labels.
    pub promote_resource_attributes: Vec<String>,
    /// Those that do not, where all others do.
    pub ignore_resource_attributes: Vec<String>,
    /// How names are made.
    pub translation_strategy: Strategy,
    /// Whether `target_info` has the attributes that are `job` and `instance` already.
    pub keep_identifying_resource_attributes: bool,
    /// Whether classic histograms become native ones with custom buckets.
    pub convert_histograms_to_nhcb: bool,
}

impl Settings {
    /// What contradicts itself.
    ///
    /// # Errors
    /// Prometheus's sentence.
    pub fn check(&self) -> Result<(), String> {
        let (list, what, field) = if self.promote_all_resource_attributes {
            if !self.promote_resource_attributes.is_empty() {
                return Err("'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be configured simultaneously".to_owned());
            }
            (&self.ignore_resource_attributes, "ignored", "ignore_resource_attributes")
        } else {
            if !self.ignore_resource_attributes.is_empty() {
                return Err("'ignore_resource_attributes' cannot be configured unless 'promote_all_resource_attributes' is true".to_owned());
            }
            (&self.promote_resource_attributes, "promoted", "promote_resource_attributes")
        };
        let mut seen = BTreeSet::new();
        for attribute in list.iter().map(|attribute| attribute.trim()) {
            if attribute.is_empty() {
                return Err(format!("invalid '{field}': empty {what} OTel resource attribute"));
            }
            if !seen.insert(attribute) {
                return Err(format!("invalid '{field}': duplicated {what} OTel resource attribute {attribute:?}"));
            }
        }
        Ok(())
    }

    fn promotes(&self, attribute: &str) -> bool {
        let listed = |list: &[String]| list.iter().any(|known| known.trim() == attribute);
        if self.promote_all_resource_attributes {
            !listed(&self.ignore_resource_attributes)
        } else {
            listed(&self.promote_resource_attributes)
        }
    }
}

/// A translated request, and what was left out of it.
#[derive(Debug, Default)]
pub struct Translated {
    /// The series in the order in which they first appear.
    pub request: WriteRequest,
    /// One sentence for each metric that was left out.
    pub dropped: Vec<String>,
}

/// Translates a request.
pub fn translate(request: &ExportMetricsServiceRequest, settings: &Settings) -> Translated {
    let mut converter = Converter { settings, series: Vec::new(), places: HashMap::new(), dropped: Vec::new() };
    for resource_metrics in &request.resource_metrics {
        let resource = resource_metrics.resource.as_ref().map_or(&[][..], |resource| &resource.attributes);
        let mut newest_nanos = 0;
        for metric in resource_metrics.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
            newest_nanos = newest_nanos.max(newest(metric));
            if let Err(reason) = converter.metric(metric, resource) {
                converter.dropped.push(reason);
            }
        }
        converter.target_info(resource, newest_nanos);
    }
    Translated {
        request: WriteRequest { timeseries: converter.series, metadata: Vec::new() },
        dropped: converter.dropped,
    }
}

fn newest(metric: &otlp::Metric) -> u64 {
    fn most(times: impl Iterator<Item = u64>) -> u64 {
        times.max().unwrap_or(0)
    }
    match &metric.data {
        Some(Data::Gauge(data)) => most(data.data_points.iter().map(|point| point.time_unix_nano)),
        Some(Data::Sum(data)) => most(data.data_points.iter().map(|point| point.time_unix_nano)),
        Some(Data::Histogram(data)) => most(data.data_points.iter().map(|point| point.time_unix_nano)),
        Some(Data::ExponentialHistogram(data)) => most(data.data_points.iter().map(|point| point.time_unix_nano)),
        Some(Data::Summary(data)) => most(data.data_points.iter().map(|point| point.time_unix_nano)),
        None => 0,
    }
}

fn milliseconds(nanos: u64) -> i64 {
    nanos as i64 / 1_000_000
}

/// A value as a label's text.
fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::BoolValue(value)) => value.to_string(),
        Some(any_value::Value::IntValue(value)) => value.to_string(),
        Some(any_value::Value::DoubleValue(value)) => format_float(*value),
        Some(value @ (any_value::Value::ArrayValue(_) | any_value::Value::KvlistValue(_))) => json(value).to_string(),
        Some(any_value::Value::BytesValue(bytes)) => base64(bytes),
        _ => String::new(),
    }
}

fn json(value: &any_value::Value) -> serde_json::Value {
    let inner =
        |value: Option<&AnyValue>| value.and_then(|value| value.value.as_ref()).map_or(serde_json::Value::Null, json);
    match value {
        any_value::Value::BoolValue(value) => (*value).into(),
        any_value::Value::IntValue(value) => (*value).into(),
        any_value::Value::DoubleValue(value) => (*value).into(),
        any_value::Value::ArrayValue(list) => list.values.iter().map(|value| inner(Some(value))).collect(),
        any_value::Value::KvlistValue(map) => {
            // Go writes maps in order of their keys.
            let sorted: BTreeMap<&String, serde_json::Value> =
                map.values.iter().map(|pair| (&pair.key, inner(pair.value.as_ref()))).collect();
            serde_json::json!(sorted)
        }
        any_value::Value::BytesValue(bytes) => base64(bytes).into(),
        any_value::Value::StringValue(text) => text.clone().into(),
        // An index into a table that metrics do not have.
        any_value::Value::StringValueStrindex(_) => serde_json::Value::Null,
    }
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a KeyValue> {
    attributes.iter().find(|pair| pair.key == key)
}

fn no_recorded_value(flags: u32) -> bool {
    flags & 1 != 0
}

struct Converter<'a> {
    settings: &'a Settings,
    series: Vec<TimeSeries>,
    // Looked up, never walked.
    places: HashMap<BTreeMap<String, String>, usize>,
    dropped: Vec<String>,
}

impl Converter<'_> {
    fn series(&mut self, labels: BTreeMap<String, String>) -> &mut TimeSeries {
        let place = *self.places.entry(labels).or_insert_with_key(|labels| {
            let labels =
                labels.iter().map(|(name, value)| Label { name: name.clone(), value: value.clone() }).collect();
            self.series.push(TimeSeries { labels, ..TimeSeries::default() });
            self.series.len() - 1
        });
        &mut self.series[place]
    }

    fn sample(&mut self, labels: BTreeMap<String, String>, timestamp: i64, value: f64, flags: u32) -> &mut TimeSeries {
        let value = if no_recorded_value(flags) { STALE_NAN } else { value };
        let series = self.series(labels);
        series.samples.push(Sample { value, timestamp });
        series
    }

    /// Attributes as labels: those of the point, promoted ones of the resource, and `job` and `instance`.
    fn labels(&self, resource: &[KeyValue], attributes: &[KeyValue], promote: bool) -> BTreeMap<String, String> {
        let strategy = self.settings.translation_strategy;
        let mut sorted: Vec<&KeyValue> = attributes.iter().collect();
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        let mut labels: BTreeMap<String, String> = BTreeMap::new();
        for pair in sorted {
            let value = text(pair.value.as_ref());
            // Names that become one: their values are joined.
            labels
                .entry(label_name(&pair.key, strategy))
                .and_modify(|known| {
                    known.push(';');
                    known.push_str(&value);
                })
                .or_insert(value);
        }
        if promote {
            let mut promoted: Vec<&KeyValue> =
                resource.iter().filter(|pair| self.settings.promotes(&pair.key)).collect();
            promoted.sort_by(|a, b| a.key.cmp(&b.key));
            for pair in promoted {
                labels.entry(label_name(&pair.key, strategy)).or_insert_with(|| text(pair.value.as_ref()));
            }
        }
        if let Some(service) = attribute(resource, "service.name") {
            let name = text(service.value.as_ref());
            let job = match attribute(resource, "service.namespace") {
                Some(namespace) => format!("{}/{name}", text(namespace.value.as_ref())),
                None => name,
            };
            labels.insert("job".to_owned(), job);
        }
        if let Some(instance) = attribute(resource, "service.instance.id") {
            labels.insert("instance".to_owned(), text(instance.value.as_ref()));
        }
        labels
    }

    fn metric(&mut self, metric: &otlp::Metric, resource: &[KeyValue]) -> Result<(), String> {
        let Some(data) = &metric.data else {
            return Err(format!(
                "could not get aggregation temporality for {} as it has unsupported metric type Empty",
                metric.name
            ));
        };
        let temporality = match data {
            Data::Sum(data) => Some(data.aggregation_temporality),
            Data::Histogram(data) => Some(data.aggregation_temporality),
            Data::ExponentialHistogram(data) => Some(data.aggregation_temporality),
            Data::Gauge(_) | Data::Summary(_) => None,
        };
        if temporality.is_some_and(|found| found != i32::from(otlp::AggregationTemporality::Cumulative)) {
            return Err(format!("invalid temporality and type combination for metric {:?}", metric.name));
        }
        let kind = match data {
            Data::Gauge(_) => MetricKind::Gauge,
            Data::Sum(sum) if sum.is_monotonic => MetricKind::MonotonicCounter,
            _ => MetricKind::Other,
        };
        let name = metric_name(&metric.name, &metric.unit, kind, self.settings.translation_strategy);
        let empty = match data {
            Data::Gauge(data) => data.data_points.is_empty(),
            Data::Sum(data) => data.data_points.is_empty(),
            Data::Histogram(data) => data.data_points.is_empty(),
            Data::ExponentialHistogram(data) => data.data_points.is_empty(),
            Data::Summary(data) => data.data_points.is_empty(),
        };
        if empty {
            return Err(format!("empty data points. {} is dropped", metric.name));
        }
        match data {
            Data::Gauge(data) => self.numbers(&data.data_points, resource, &name),
            Data::Sum(data) => self.numbers(&data.data_points, resource, &name),
            Data::Summary(data) => self.summaries(&data.data_points, resource, &name),
            Data::Histogram(data) if self.settings.convert_histograms_to_nhcb => {
                for point in &data.data_points {
                    self.native(resource, &point.attributes, &name, custom(point), &point.exemplars);
                }
            }
            Data::Histogram(data) => self.classic(&data.data_points, resource, &name),
            Data::ExponentialHistogram(data) => {
                for point in &data.data_points {
                    self.native(resource, &point.attributes, &name, exponential(point)?, &point.exemplars);
                }
            }
        }
        Ok(())
    }

    fn numbers(&mut self, points: &[otlp::NumberDataPoint], resource: &[KeyValue], name: &str) {
        for point in points {
            let mut labels = self.labels(resource, &point.attributes, true);
            labels.insert(METRIC_NAME.to_owned(), name.to_owned());
            let value = match point.value {
                Some(otlp::number_data_point::Value::AsDouble(value)) => value,
                Some(otlp::number_data_point::Value::AsInt(value)) => value as f64,
                None => 0.0,
            };
            let series = self.sample(labels, milliseconds(point.time_unix_nano), value, point.flags);
            series.exemplars.extend(point.exemplars.iter().filter_map(exemplar));
        }
    }

    fn summaries(&mut self, points: &[otlp::SummaryDataPoint], resource: &[KeyValue], name: &str) {
        for point in points {
            let base = self.labels(resource, &point.attributes, true);
            let time = milliseconds(point.time_unix_nano);
            self.sample(named(&base, &format!("{name}_sum")), time, point.sum, point.flags);
            self.sample(named(&base, &format!("{name}_count")), time, point.count as f64, point.flags);
            for quantile in &point.quantile_values {
                let mut labels = named(&base, name);
                labels.insert("quantile".to_owned(), quantile.quantile.to_string());
                self.sample(labels, time, quantile.value, point.flags);
            }
        }
    }

    fn classic(&mut self, points: &[otlp::HistogramDataPoint], resource: &[KeyValue], name: &str) {
        for point in points {
            let base = self.labels(resource, &point.attributes, true);
            let time = milliseconds(point.time_unix_nano);
            if let Some(sum) = point.sum {
                self.sample(named(&base, &format!("{name}_sum")), time, sum, point.flags);
            }
            self.sample(named(&base, &format!("{name}_count")), time, point.count as f64, point.flags);
            let mut exemplars: Vec<Exemplar> = point.exemplars.iter().filter_map(exemplar).collect();
            let mut running = 0_u64;
            let bounds = point.explicit_bounds.iter().zip(&point.bucket_counts).map(|(bound, count)| {
                running = running.saturating_add(*count);
                (*bound, running)
            });
            let bounds: Vec<(f64, u64)> = bounds.chain([(f64::INFINITY, point.count)]).collect();
            for (bound, count) in bounds {
                let mut labels = named(&base, &format!("{name}_bucket"));
                labels.insert("le".to_owned(), if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() });
                let series = self.sample(labels, time, count as f64, point.flags);
                // Each exemplar goes to the lowest bucket that holds its value.
                let (here, rest) = exemplars.into_iter().partition(|exemplar| exemplar.value <= bound);
                series.exemplars.extend::<Vec<Exemplar>>(here);
                exemplars = rest;
            }
        }
    }

    fn native(
        &mut self,
        resource: &[KeyValue],
        attributes: &[KeyValue],
        name: &str,
        histogram: Histogram,
        exemplars: &[otlp::Exemplar],
    ) {
        let labels = named(&self.labels(resource, attributes, true), name);
        let series = self.series(labels);
        series.histograms.push(histogram);
        series.exemplars.extend(exemplars.iter().filter_map(exemplar));
    }

    /// `target_info`: what the resource says beyond `job` and `instance`.
    fn target_info(&mut self, resource: &[KeyValue], newest_nanos: u64) {
        let identifying = |pair: &&KeyValue| IDENTIFYING.contains(&pair.key.as_str());
        if newest_nanos == 0 || resource.iter().all(|pair| identifying(&pair)) {
            return;
        }
        let kept: Vec<KeyValue> = resource
            .iter()
            .filter(|pair| self.settings.keep_identifying_resource_attributes || !identifying(pair))
            .cloned()
            .collect();
        let labels = named(&self.labels(resource, &kept, false), "target_info");
        if labels.contains_key("job") || labels.contains_key("instance") {
            self.sample(labels, milliseconds(newest_nanos), 1.0, 0);
        }
    }
}

fn named(labels: &BTreeMap<String, String>, name: &str) -> BTreeMap<String, String> {
    let mut labels = labels.clone();
    labels.insert(METRIC_NAME.to_owned(), name.to_owned());
    labels
}

fn exemplar(exemplar: &otlp::Exemplar) -> Option<Exemplar> {
    let value = match exemplar.value? {
        otlp::exemplar::Value::AsDouble(value) => value,
        otlp::exemplar::Value::AsInt(value) => value as f64,
    };
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            text.push_str(&format!("{byte:02x}"));
            text
        })
    };
    let set = |bytes: &[u8]| bytes.iter().any(|byte| *byte != 0);
    let mut labels = Vec::new();
    for (name, bytes) in [("trace_id", &exemplar.trace_id), ("span_id", &exemplar.span_id)] {
        if set(bytes) {
            labels.push(Label { name: name.to_owned(), value: hex(bytes) });
        }
    }
    let attributes = exemplar
        .filtered_attributes
        .iter()
        .map(|pair| Label { name: pair.key.clone(), value: text(pair.value.as_ref()) });
    let all: Vec<Label> = labels.iter().cloned().chain(attributes).collect();
    let characters: usize = all.iter().map(|label| label.name.chars().count() + label.value.chars().count()).sum();
    // Attributes only where there is room for all of them.
    let labels = if characters <= crate::store::EXEMPLAR_LABEL_CHARS_MAX { all } else { labels };
    Some(Exemplar { labels, value, timestamp: milliseconds(exemplar.time_unix_nano) })
}

fn exponential(point: &otlp::ExponentialHistogramDataPoint) -> Result<Histogram, String> {
    if point.scale < SCALE_MIN {
        return Err(format!(
            "cannot convert exponential to native histogram. Scale must be >= -4, was {}",
            point.scale
        ));
    }
    let schema = point.scale.min(SCHEMA_MAX);
    let coarser = (point.scale - schema).min(31);
    let side = |buckets: Option<&otlp::exponential_histogram_data_point::Buckets>| {
        let Some(buckets) = buckets else { return Ok((Vec::new(), Vec::new())) };
        let index = |place: usize| ((place as i64 + i64::from(buckets.offset)) >> coarser) + 1;
        layout(&buckets.bucket_counts, index)
    };
    let (positive_spans, positive_deltas) = side(point.positive.as_ref())?;
    let (negative_spans, negative_deltas) = side(point.negative.as_ref())?;
    let mut histogram = Histogram {
        schema,
        zero_threshold: ZERO_THRESHOLD,
        zero_count: Some(ZeroCount::Int(point.zero_count)),
        positive_spans,
        positive_deltas,
        negative_spans,
        negative_deltas,
        reset_hint: ResetHint::Unknown.into(),
        timestamp: milliseconds(point.time_unix_nano),
        ..Histogram::default()
    };
    totals(&mut histogram, point.count, point.sum, point.flags);
    Ok(histogram)
}

fn custom(point: &otlp::HistogramDataPoint) -> Histogram {
    // Never too many: the request's size bounds them.
    let (positive_spans, positive_deltas) = layout(&point.bucket_counts, |place| place as i64).unwrap_or_default();
    let mut histogram = Histogram {
        schema: CUSTOM_SCHEMA,
        positive_spans,
        positive_deltas,
        custom_values: point.explicit_bounds.clone(),
        reset_hint: ResetHint::Unknown.into(),
        timestamp: milliseconds(point.time_unix_nano),
        ..Histogram::default()
    };
    totals(&mut histogram, point.count, point.sum, point.flags);
    histogram
}

fn totals(histogram: &mut Histogram, count: u64, sum: Option<f64>, flags: u32) {
    if no_recorded_value(flags) {
        histogram.sum = STALE_NAN;
        histogram.count = Some(Count::Int(sim_wire::STALE_NAN_BITS));
    } else {
        histogram.sum = sum.unwrap_or(0.0);
        histogram.count = Some(Count::Int(count));
    }
}

/// Spans and differences of the counts that are not zero; places of one index are added up.
fn layout(counts: &[u64], index: impl Fn(usize) -> i64) -> Result<(Vec<BucketSpan>, Vec<i64>), String> {
    let mut buckets: Vec<(i64, i64)> = Vec::new();
    for (place, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (index, count) = (index(place), i64::try_from(*count).unwrap_or(i64::MAX));
        match buckets.last_mut() {
            Some((last, sum)) if *last == index => *sum = sum.saturating_add(count),
            _ => buckets.push((index, count)),
        }
    }
    if buckets.len() > BUCKETS_MAX {
        return Err(format!("histogram with more than {BUCKETS_MAX} buckets"));
    }
    let (mut spans, mut deltas): (Vec<BucketSpan>, Vec<i64>) = (Vec::new(), Vec::new());
    let (mut next, mut previous) = (0, 0);
    for (index, count) in buckets {
        let gap = i32::try_from(index - next).map_err(|_| "bucket index out of range".to_owned())?;
        match spans.last_mut() {
            Some(span) if gap == 0 => span.length += 1,
            _ => spans.push(BucketSpan { offset: gap, length: 1 }),
        }
        deltas.push(count - previous);
        (next, previous) = (index + 1, count);
    }
    Ok((spans, deltas))
}
