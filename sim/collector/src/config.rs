//! The Collector's configuration file, with its environment expansion and its refusals.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

pub use settings::*;

use crate::Error;
use crate::data::Signal;

mod settings;

const RECEIVERS: &[&str] = &["nop", "otlp"];
const PROCESSORS: &[&str] = &["attributes", "batch", "memory_limiter", "resource"];
const EXPORTERS: &[&str] = &["debug", "nop", "otlphttp"];
const EXTENSIONS: &[&str] = &["health_check"];
/// Components of the real contrib distribution that are not here; naming them is no typing error.
const KNOWN_ELSEWHERE: &[&str] = &[
    "connectors:count",
    "connectors:forward",
    "connectors:routing",
    "connectors:servicegraph",
    "connectors:spanmetrics",
    "exporters:file",
    "exporters:kafka",
    "exporters:loadbalancing",
    "exporters:otlp",
    "exporters:otlp_http",
    "exporters:prometheus",
    "exporters:prometheusremotewrite",
    "exporters:zipkin",
    "extensions:pprof",
    "extensions:zpages",
    "extensions:file_storage",
    "processors:cumulativetodelta",
    "processors:filter",
    "processors:groupbyattrs",
    "processors:k8sattributes",
    "processors:metricstransform",
    "processors:probabilistic_sampler",
    "processors:resourcedetection",
    "processors:span",
    "processors:tail_sampling",
    "processors:transform",
    "receivers:filelog",
    "receivers:hostmetrics",
    "receivers:jaeger",
    "receivers:k8s_cluster",
    "receivers:k8s_events",
    "receivers:kafka",
    "receivers:kubeletstats",
    "receivers:prometheus",
    "receivers:zipkin",
];

/// A pipeline: names of components, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// `traces`, `metrics/two`, …
    pub name: String,
    /// Its signal.
    pub signal: Signal,
    /// The receivers.
    pub receivers: Vec<String>,
    /// The processors, in order.
    pub processors: Vec<String>,
    /// The exporters.
    pub exporters: Vec<String>,
}

/// A whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where each `otlp` receiver that is used listens for OTLP/HTTP.
    pub otlp_http: BTreeMap<String, Endpoint>,
    /// Where each `otlp` receiver that is used listens for OTLP/gRPC.
    pub otlp_grpc: BTreeMap<String, Endpoint>,
    /// Processors by name.
    pub processors: BTreeMap<String, Processor>,
    /// Exporters by name.
    pub exporters: BTreeMap<String, Exporter>,
    /// `health_check`, if it is used.
    pub health_check: Option<Endpoint>,
    /// The self metrics in the Prometheus format.
    pub telemetry: Option<Endpoint>,
    /// Whether the self metrics that are counters end in `_total` (`without_type_suffix` of the reader).
    pub telemetry_type_suffix: bool,
    /// The pipelines, in the order of the file.
    pub pipelines: Vec<Pipeline>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    receivers: Option<Map<String, Value>>,
    #[serde(default)]
    processors: Option<Map<String, Value>>,
    #[serde(default)]
    exporters: Option<Map<String, Value>>,
    #[serde(default)]
    extensions: Option<Map<String, Value>>,
    #[serde(default)]
    connectors: Option<Map<String, Value>>,
    #[serde(default)]
    service: Option<Service>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    #[serde(default)]
    extensions: Vec<String>,
    #[serde(default)]
    pipelines: Map<String, Value>,
    #[serde(default)]
    telemetry: Telemetry,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Telemetry {
    metrics: TelemetryMetrics,
    #[serde(rename = "logs")]
    _logs: IgnoredAny,
    #[serde(rename = "traces")]
    _traces: IgnoredAny,
    #[serde(rename = "resource")]
    _resource: IgnoredAny,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TelemetryMetrics {
    level: Option<String>,
    readers: Option<Vec<Value>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PipelineFile {
    receivers: Vec<String>,
    processors: Vec<String>,
    exporters: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct OtlpReceiver {
    protocols: Option<OtlpProtocols>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OtlpProtocols {
    // A key without a value still switches the protocol on, so its presence counts.
    #[serde(default, deserialize_with = "present")]
    grpc: Option<EndpointFile>,
    #[serde(default, deserialize_with = "present")]
    http: Option<EndpointFile>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EndpointFile {
    endpoint: Option<String>,
    #[serde(rename = "path")]
    _path: IgnoredAny,
    #[serde(rename = "cors")]
    _cors: IgnoredAny,
    #[serde(rename = "max_recv_msg_size_mib")]
    _max_recv_msg_size_mib: IgnoredAny,
    #[serde(rename = "max_request_body_size")]
    _max_request_body_size: IgnoredAny,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<EndpointFile>, D::Error> {
    Ok(Some(Option::<EndpointFile>::deserialize(deserializer)?.unwrap_or_default()))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ActionsFile {
    actions: Vec<AttributeAction>,
    attributes: Vec<AttributeAction>,
}

impl Config {
    /// Reads the file. `environment` answers `${env:NAME}`.
    pub fn parse(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let expanded = expand(text, environment)?;
        let file: Value = serde_saphyr::from_str(&expanded).map_err(|error| Error::Unmarshal(error.to_string()))?;
        let file: File = decode("", "", file)?;
        if let Some((name, _)) = file.connectors.unwrap_or_default().iter().next() {
            check_type("connectors", name, &[])?;
        }
        let receivers = section("receivers", file.receivers, RECEIVERS)?;
        let processors = section("processors", file.processors, PROCESSORS)?;
        let exporters = section("exporters", file.exporters, EXPORTERS)?;
        let extensions = section("extensions", file.extensions, EXTENSIONS)?;
        if receivers.is_empty() {
            return Err(Error::Invalid("no receiver configuration specified in config".into()));
        }
        if exporters.is_empty() {
            return Err(Error::Invalid("no exporter configuration specified in config".into()));
        }
        let service = file.service.ok_or_else(|| Error::Invalid("service must have at least one pipeline".into()))?;
        let pipelines = pipelines(&service, &receivers, &processors, &exporters, &extensions)?;

        let (mut otlp_http, mut otlp_grpc) = (BTreeMap::new(), BTreeMap::new());
        for (name, value) in &receivers {
            let used = pipelines.iter().any(|pipeline| pipeline.receivers.contains(name));
            let (http, grpc) = otlp_receiver(name, value)?;
            otlp_http.extend(http.filter(|_| used).map(|endpoint| (name.clone(), endpoint)));
            otlp_grpc.extend(grpc.filter(|_| used).map(|endpoint| (name.clone(), endpoint)));
        }
        let mut health_check = None;
        for (name, value) in extensions {
            let settings: Map<String, Value> = decode("extensions", &name, value)?;
            let endpoint = settings.get("endpoint").and_then(Value::as_str).unwrap_or("localhost:13133").to_owned();
            if service.extensions.contains(&name) {
                health_check = Some(endpoint_of(&endpoint)?);
            }
        }
        Ok(Config {
            otlp_http,
            otlp_grpc,
            processors: each(processors, processor)?,
            exporters: each(exporters, exporter)?,
            health_check,
            telemetry: telemetry(&service.telemetry)?,
            telemetry_type_suffix: type_suffix(&service.telemetry),
            pipelines,
        })
    }
}

fn each<T>(
    section: Vec<(String, Value)>,
    build: fn(&str, Value) -> Result<T, Error>,
) -> Result<BTreeMap<String, T>, Error> {
    section.into_iter().map(|(name, value)| build(&name, value).map(|built| (name, built))).collect()
}

/// The components of one section, each of a type that is there.
fn section(section: &str, values: Option<Map<String, Value>>, types: &[&str]) -> Result<Vec<(String, Value)>, Error> {
    let values = values.unwrap_or_default();
    for name in values.keys() {
        check_type(section, name, types)?;
    }
    Ok(values.into_iter().collect())
}

fn check_type(section: &str, name: &str, types: &[&str]) -> Result<(), Error> {
    let kind = name.split('/').next().unwrap_or_default();
    if types.contains(&kind) {
        return Ok(());
    }
    if KNOWN_ELSEWHERE.contains(&format!("{section}:{kind}").as_str()) {
        return Err(Error::NotImplemented(format!("{section}: {name}")));
    }
    let message =
        format!("'{section}' unknown type: \"{kind}\" for id: \"{name}\" (valid values: [{}])", types.join(" "));
    Err(Error::Unmarshal(message))
}

fn pipelines(
    service: &Service,
    receivers: &[(String, Value)],
    processors: &[(String, Value)],
    exporters: &[(String, Value)],
    extensions: &[(String, Value)],
) -> Result<Vec<Pipeline>, Error> {
    let known = |section: &[(String, Value)], name: &String| section.iter().any(|(known, _)| known == name);
    for name in &service.extensions {
        if !known(extensions, name) {
            return Err(Error::Invalid(format!(
                "service::extensions: references extension \"{name}\" which is not configured"
            )));
        }
    }
    if service.pipelines.is_empty() {
        return Err(Error::Invalid("service::pipelines: service must have at least one pipeline".into()));
    }
    let mut pipelines = Vec::new();
    for (name, value) in &service.pipelines {
        let kind = name.split('/').next().unwrap_or_default();
        let signal = Signal::from_text(kind)
            .ok_or_else(|| Error::Invalid(format!("service::pipelines::{name}: unknown signal \"{kind}\"")))?;
        let parts: PipelineFile = decode("service::pipelines", name, value.clone())?;
        let invalid = |message: String| Err(Error::Invalid(format!("service::pipelines::{name}: {message}")));
        if parts.receivers.is_empty() {
            return invalid("must have at least one receiver".into());
        }
        if parts.exporters.is_empty() {
            return invalid("must have at least one exporter".into());
        }
        for (what, section, names) in [
            ("receiver", receivers, &parts.receivers),
            ("processor", processors, &parts.processors),
            ("exporter", exporters, &parts.exporters),
        ] {
            for (i, reference) in names.iter().enumerate() {
                if !known(section, reference) {
                    return invalid(format!("references {what} \"{reference}\" which is not configured"));
                }
                if names[..i].contains(reference) {
                    return invalid(format!("references {what} \"{reference}\" multiple times"));
                }
            }
        }
        let PipelineFile { receivers, processors, exporters } = parts;
        pipelines.push(Pipeline { name: name.clone(), signal, receivers, processors, exporters });
    }
    Ok(pipelines)
}

/// Where an `otlp` receiver listens: for HTTP, for gRPC.
fn otlp_receiver(name: &str, value: &Value) -> Result<(Option<Endpoint>, Option<Endpoint>), Error> {
    if !name.starts_with("otlp") {
        return Ok((None, None));
    }
    let settings: OtlpReceiver = decode("receivers", name, value.clone())?;
    let protocols = settings.protocols.unwrap_or_default();
    if protocols.grpc.is_none() && protocols.http.is_none() {
        return Err(Error::Invalid(format!(
            "receivers::{name}: must specify at least one protocol when using the OTLP receiver"
        )));
    }
    let at = |protocol: Option<EndpointFile>, default: &str| {
        protocol.map(|file| endpoint_of(file.endpoint.as_deref().unwrap_or(default))).transpose()
    };
    Ok((at(protocols.http, "localhost:4318")?, at(protocols.grpc, "localhost:4317")?))
}

fn endpoint_of(text: &str) -> Result<Endpoint, Error> {
    Endpoint::parse(text)
        .ok_or_else(|| Error::Invalid(format!("invalid endpoint {text:?}: address: missing port in address")))
}

fn processor(name: &str, value: Value) -> Result<Processor, Error> {
    let invalid = |message: &str| Err(Error::Invalid(format!("processors::{name}: {message}")));
    Ok(match name.split('/').next().unwrap_or_default() {
        "batch" => {
            let settings: BatchSettings = decode("processors", name, value)?;
            if settings.send_batch_max_size != 0 {
                return Err(Error::NotImplemented(format!("processors: {name}: send_batch_max_size")));
            }
            Processor::Batch(settings)
        }
        "memory_limiter" => {
            let settings: MemoryLimiterSettings = decode("processors", name, value)?;
            if settings.check_interval.is_none_or(|interval| interval.0.is_zero()) {
                return invalid("'check_interval' must be greater than zero");
            }
            if settings.limit_mib == 0 && settings.limit_percentage == 0 {
                return invalid("'limit_mib' or 'limit_percentage' must be greater than zero");
            }
            if settings.limit_mib > 0 && settings.spike_limit_mib >= settings.limit_mib {
                return invalid("'spike_limit_mib' must be smaller than 'limit_mib'");
            }
            Processor::MemoryLimiter(settings)
        }
        kind => {
            let settings: ActionsFile = decode("processors", name, value)?;
            let (actions, wrong) = if kind == "resource" {
                (settings.attributes, settings.actions)
            } else {
                (settings.actions, settings.attributes)
            };
            if actions.is_empty() || !wrong.is_empty() {
                return invalid("missing required field \"actions\"");
            }
            for action in &actions {
                if action.action != ActionKind::Delete && action.value.is_none() && action.from_attribute.is_none() {
                    return invalid(
                        "error creating AttrProc. Either field \"value\", \"from_attribute\" or \"from_context\" setting must be specified",
                    );
                }
            }
            if kind == "resource" { Processor::Resource(actions) } else { Processor::Attributes(actions) }
        }
    })
}

fn exporter(name: &str, value: Value) -> Result<Exporter, Error> {
    match name.split('/').next().unwrap_or_default() {
        "debug" => {
            let _: Map<String, Value> = decode("exporters", name, value)?;
            Ok(Exporter::Debug)
        }
        "nop" => Ok(Exporter::Nop),
        _ => {
            let settings: OtlpHttpSettings = decode("exporters", name, value)?;
            let none =
                [&settings.endpoint, &settings.traces_endpoint, &settings.metrics_endpoint, &settings.logs_endpoint];
            if none.iter().all(|endpoint| endpoint.is_empty()) {
                return Err(Error::Invalid(format!("exporters::{name}: at least one endpoint must be specified")));
            }
            if !settings.sending_queue.enabled {
                return Err(Error::NotImplemented(format!("exporters: {name}: sending_queue.enabled: false")));
            }
            if settings.sending_queue.queue_size == 0 || settings.sending_queue.num_consumers == 0 {
                return Err(Error::Invalid(format!(
                    "exporters::{name}: sending_queue: `queue_size` and `num_consumers` must be positive"
                )));
            }
            if settings.encoding != "proto" {
                return Err(Error::NotImplemented(format!("exporters: {name}: encoding: {}", settings.encoding)));
            }
            if !matches!(settings.compression.as_str(), "gzip" | "none" | "") {
                return Err(Error::NotImplemented(format!("exporters: {name}: compression: {}", settings.compression)));
            }
            let retry = &settings.retry_on_failure;
            if !(0.0..=1.0).contains(&retry.randomization_factor) {
                return Err(Error::Invalid(format!(
                    "exporters::{name}: retry_on_failure: 'randomization_factor' must be within [0, 1]"
                )));
            }
            if retry.multiplier.is_nan() || retry.multiplier < 0.0 {
                return Err(Error::Invalid(format!(
                    "exporters::{name}: retry_on_failure: 'multiplier' must be non-negative"
                )));
            }
            Ok(Exporter::OtlpHttp(Box::new(settings)))
        }
    }
}

fn telemetry(telemetry: &Telemetry) -> Result<Option<Endpoint>, Error> {
    if telemetry.metrics.level.as_deref() == Some("none") {
        return Ok(None);
    }
    let Some(readers) = &telemetry.metrics.readers else {
        return Ok(Some(Endpoint { host: "localhost".into(), port: 8888 }));
    };
    let reader = match readers.as_slice() {
        [] => return Ok(None),
        [reader] => reader,
        _ => return Err(Error::NotImplemented("service::telemetry::metrics::readers: more than one".into())),
    };
    let Some(prometheus) = reader.pointer("/pull/exporter/prometheus") else {
        return Err(Error::NotImplemented(
            "service::telemetry::metrics::readers: only pull/exporter/prometheus".into(),
        ));
    };
    let host = prometheus.get("host").and_then(Value::as_str).unwrap_or("localhost").to_owned();
    let port = prometheus.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok()).unwrap_or(8888);
    Ok(Some(Endpoint { host, port }))
}

/// The reader that is there by default leaves suffixes out; one from the file leaves them in unless it says otherwise.
fn type_suffix(telemetry: &Telemetry) -> bool {
    let reader = telemetry.metrics.readers.as_ref().and_then(|readers| readers.first());
    reader.is_some_and(|reader| {
        reader.pointer("/pull/exporter/prometheus/without_type_suffix").and_then(Value::as_bool) != Some(true)
    })
}

/// One component's settings; what the file has too much is named as the Collector names it.
fn decode<T: DeserializeOwned>(section: &str, name: &str, value: Value) -> Result<T, Error> {
    let value = if value.is_null() { Value::Object(Map::new()) } else { value };
    serde_json::from_value(value).map_err(|error| {
        let text = error.to_string();
        let reason = match text.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) {
            Some(field) => format!("'' has invalid keys: {field}"),
            None => text,
        };
        let place = if name.is_empty() {
            String::new()
        } else {
            format!("'{section}' error reading configuration for \"{name}\": ")
        };
        Error::Unmarshal(format!("{place}decoding failed due to the following error(s): {reason}"))
    })
}

/// `${env:NAME}`, `${env:NAME:-default}`, `${NAME}`; `$$` is a dollar sign. Comments are left alone.
fn expand(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with('#') {
            out.push_str(line);
            continue;
        }
        let mut rest = line;
        while let Some(dollar) = rest.find('$') {
            out.push_str(&rest[..dollar]);
            rest = &rest[dollar + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((inside, after)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
                let reference = inside.strip_prefix("env:").unwrap_or(inside);
                let (name, default) =
                    reference.split_once(":-").map_or((reference, None), |(name, default)| (name, Some(default)));
                let valid = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                if !valid || name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
                    return Err(Error::Unmarshal(format!(
                        "environment variable \"{name}\" has invalid name: must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$"
                    )));
                }
                out.push_str(&environment(name).or_else(|| default.map(str::to_owned)).unwrap_or_default());
                rest = after;
            } else {
                out.push('$');
            }
        }
        out.push_str(rest);
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
