//! `OTEL_*` becomes what is traced, to where, and how much of it.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, HeaderValue, Uri};

use super::{Complaint, SERVICE_NAME, VERSION};
use crate::{
    observability::{
        export::BatchConfig,
        metrics_export::{METRICS_EXPORT_INTERVAL, MetricsExportConfig},
        otlp::{OtlpConfig, Protocol},
        sampling::SamplerConfig,
        telemetry::TracesConfig,
    },
    tls::{
        Pem,
        client::{ClientTls, Trust},
    },
};

const OTLP_TIMEOUT: Duration = Duration::from_secs(10);
/// No queue is made larger than this, whatever `OTEL_BSP_MAX_QUEUE_SIZE` says.
const SPAN_QUEUE_SPANS_LIMIT: usize = 65_536;
/// No time is made longer than this by a variable.
const MILLIS_LIMIT: u64 = 3_600_000;

/// A variable that is set; the OpenTelemetry specification takes an empty one for unset, and so do we everywhere.
pub(super) fn text<'a>(env: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    env.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
}

/// How variables and complaints speak of a signal.
struct Words {
    /// In the names of its own variables.
    variable: &'static str,
    /// Behind the general endpoint.
    path: &'static str,
    /// What becomes of it without a good endpoint.
    nothing: &'static str,
    /// What is sent.
    things: &'static str,
}

const TRACES: Words =
    Words { variable: "TRACES", path: "/v1/traces", nothing: "nothing is traced", things: "spans are" };
const METRICS: Words =
    Words { variable: "METRICS", path: "/v1/metrics", nothing: "no metrics are sent", things: "metrics are" };

/// The signal's own variable, else the general one; with its name.
fn otlp<'a>(env: &'a BTreeMap<String, String>, signal: &Words, suffix: &str) -> Option<(String, &'a str)> {
    [format!("OTEL_EXPORTER_OTLP_{}_{suffix}", signal.variable), format!("OTEL_EXPORTER_OTLP_{suffix}")]
        .into_iter()
        .find_map(|name| text(env, &name).map(|value| (name, value)))
}

/// Metrics by OTLP, which a flag asked for: where they go, how often, and what the resource says.
pub(super) fn metrics(env: &BTreeMap<String, String>, complaints: &mut Vec<Complaint>) -> Option<MetricsExportConfig> {
    let mut complain = |what: String| complaints.push(Complaint::Invalid(what));
    if text(env, "OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }
    if otlp(env, &METRICS, "ENDPOINT").is_none() {
        complain(
            "--otlp-metrics has no endpoint: set OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_METRICS_ENDPOINT; \
             no metrics are sent"
                .to_owned(),
        );
        return None;
    }
    let otlp = signal_endpoint(env, &METRICS, &mut complain)?;
    let interval = match text(env, "OTEL_METRIC_EXPORT_INTERVAL") {
        Some(value) => millis("OTEL_METRIC_EXPORT_INTERVAL", value, METRICS_EXPORT_INTERVAL, &mut complain),
        None => METRICS_EXPORT_INTERVAL,
    };
    // What is wrong with the resource is said where spans are configured, or here where they are not.
    let mut complained = Vec::new();
    let mut resource = resource(env, &mut |what| complained.push(Complaint::Invalid(what)));
    let mut identity = |key: &str, variable: &str| {
        if let Some(value) = text(env, variable).filter(|_| resource.iter().all(|(known, _)| known != key)) {
            resource.push((key.to_owned(), value.to_owned()));
        }
    };
    identity("k8s.namespace.name", "POD_NAMESPACE");
    identity("service.instance.id", "POD_NAME");
    resource.sort();
    complaints.extend(complained);
    complaints.dedup();
    Some(MetricsExportConfig { otlp, interval, resource })
}

pub(super) fn traces(env: &BTreeMap<String, String>, complaints: &mut Vec<Complaint>) -> Option<TracesConfig> {
    if text(env, "OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }
    let mut complain = |what: String| complaints.push(Complaint::Invalid(what));
    let console = match text(env, "OTEL_TRACES_EXPORTER").unwrap_or("otlp") {
        "otlp" => false,
        "console" => true,
        "none" | "disabled" => return None,
        other => {
            // Where nothing is configured otherwise nothing is said: tracing is off.
            if console_or_endpoint(env) {
                complain(format!(
                    "OTEL_TRACES_EXPORTER={other:?} is not available (otlp, console, none); nothing is traced"
                ));
            }
            return None;
        }
    };
    let otlp = if console { None } else { Some(signal_endpoint(env, &TRACES, &mut complain)?) };
    let batch = batch(env, &mut complain);
    let resource = resource(env, &mut complain);
    let sampler = sampler(env, complaints);
    Some(TracesConfig { otlp, sampler, batch, resource })
}

fn console_or_endpoint(env: &BTreeMap<String, String>) -> bool {
    otlp(env, &TRACES, "ENDPOINT").is_some()
}

/// Where a signal is sent; nothing where that is switched off, or cannot be understood.
fn signal_endpoint(
    env: &BTreeMap<String, String>,
    signal: &Words,
    complain: &mut impl FnMut(String),
) -> Option<OtlpConfig> {
    let otlp = |suffix: &str| otlp(env, signal, suffix);
    let (endpoint_name, endpoint_text) = otlp("ENDPOINT")?;
    if endpoint_text == "disabled" {
        return None;
    }
    let protocol = match otlp("PROTOCOL") {
        None | Some((_, "http/protobuf")) => Protocol::HttpProtobuf,
        Some((_, "grpc")) => Protocol::Grpc,
        Some((name, other)) => {
            complain(format!("{name}={other:?} is not known (http/protobuf, grpc); http/protobuf is used"));
            Protocol::HttpProtobuf
        }
    };
    let insecure = otlp("INSECURE").is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"));
    let endpoint = match endpoint(signal, &endpoint_name, endpoint_text, protocol, insecure) {
        Ok(endpoint) => endpoint,
        Err(why) => {
            complain(format!("{endpoint_name}={endpoint_text:?} {why}; {}", signal.nothing));
            return None;
        }
    };
    let gzip = match otlp("COMPRESSION") {
        None | Some((_, "none")) => false,
        Some((_, "gzip")) => true,
        Some((name, other)) => {
            complain(format!("{name}={other:?} is not available (gzip, none); {} sent uncompressed", signal.things));
            false
        }
    };
    let headers = otlp("HEADERS").map_or_else(Vec::new, |(name, value)| {
        headers(value).unwrap_or_else(|why| {
            complain(format!("{name} {why}; no header is sent"));
            Vec::new()
        })
    });
    let timeout = match otlp("TIMEOUT") {
        Some((name, value)) => millis(&name, value, OTLP_TIMEOUT, complain),
        None => OTLP_TIMEOUT,
    };
    let file = |suffix: &str| otlp(suffix).map(|(_, path)| Pem::File(path.to_owned()));
    let tls = ClientTls {
        trust: file("CERTIFICATE").map_or(Trust::System, Trust::Authorities),
        identity: file("CLIENT_CERTIFICATE").zip(file("CLIENT_KEY")),
        ..ClientTls::default()
    };
    Some(OtlpConfig { protocol, endpoint, headers, timeout, gzip, tls })
}

/// The signal's own endpoint is taken as it is, the general one gets the signal's path; of a gRPC endpoint only host and port count, and
/// it may lack its scheme.
fn endpoint(signal: &Words, name: &str, value: &str, protocol: Protocol, insecure: bool) -> Result<Uri, &'static str> {
    let own = format!("_{}_", signal.variable);
    let full = match protocol {
        Protocol::Grpc if !value.contains("://") => {
            format!("{}://{value}", if insecure { "http" } else { "https" })
        }
        Protocol::HttpProtobuf if !name.contains(&own) => format!("{}{}", value.trim_end_matches('/'), signal.path),
        _ => value.to_owned(),
    };
    let uri: Uri = full.parse().map_err(|_| "is no URL")?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err("is no http:// or https:// URL"),
    }
}

/// `key=value,key=value`, percent-encoded.
fn pairs(value: &str) -> Result<Vec<(String, String)>, String> {
    value
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("has no = in {pair:?}"))?;
            let decoded =
                percent_decode(value.trim()).ok_or_else(|| format!("has a bad percent-encoding in {pair:?}"))?;
            match key.trim() {
                "" => Err(format!("has no key in {pair:?}")),
                key => Ok((key.to_owned(), decoded)),
            }
        })
        .collect()
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || (bytes.next()? as char).to_digit(16);
            decoded.push((digit()? << 4 | digit()?) as u8);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

/// The errors name no value: headers carry secrets.
fn headers(value: &str) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    pairs(value)
        .map_err(|_| "is no list of key=value".to_owned())?
        .into_iter()
        .map(|(key, value)| {
            let name: HeaderName = key.parse().map_err(|_| format!("has a name that is none of HTTP: {key:?}"))?;
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| format!("has a value that HTTP does not allow, for {key:?}"))?;
            value.set_sensitive(true);
            Ok((name, value))
        })
        .collect()
}

fn millis(name: &str, value: &str, default: Duration, complain: &mut impl FnMut(String)) -> Duration {
    match value.parse::<u64>() {
        Ok(millis) if (1..=MILLIS_LIMIT).contains(&millis) => Duration::from_millis(millis),
        _ => {
            complain(format!(
                "{name}={value:?} is no number of milliseconds from 1 to {MILLIS_LIMIT}; {} is used",
                default.as_millis()
            ));
            default
        }
    }
}

fn batch(env: &BTreeMap<String, String>, complain: &mut impl FnMut(String)) -> BatchConfig {
    let mut config = BatchConfig::default();
    for (name, field) in
        [("OTEL_BSP_SCHEDULE_DELAY", &mut config.delay), ("OTEL_BSP_EXPORT_TIMEOUT", &mut config.export_timeout)]
    {
        if let Some(value) = text(env, name) {
            *field = millis(name, value, *field, complain);
        }
    }
    for (name, field) in [
        ("OTEL_BSP_MAX_QUEUE_SIZE", &mut config.queue_spans_max),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", &mut config.batch_spans_max),
    ] {
        if let Some(value) = text(env, name) {
            match value.parse::<usize>() {
                Ok(count) if (1..=SPAN_QUEUE_SPANS_LIMIT).contains(&count) => *field = count,
                _ => complain(format!(
                    "{name}={value:?} is no number from 1 to {SPAN_QUEUE_SPANS_LIMIT}; {field} is used"
                )),
            }
        }
    }
    if config.batch_spans_max > config.queue_spans_max {
        complain(format!(
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE={} is more than the queue of {} spans holds; {} is used",
            config.batch_spans_max, config.queue_spans_max, config.queue_spans_max
        ));
        config.batch_spans_max = config.queue_spans_max;
    }
    config
}

fn resource(env: &BTreeMap<String, String>, complain: &mut impl FnMut(String)) -> Vec<(String, String)> {
    let mut attributes = BTreeMap::from([
        ("service.name".to_owned(), SERVICE_NAME.to_owned()),
        ("service.version".to_owned(), VERSION.to_owned()),
    ]);
    if let Some(value) = text(env, "OTEL_RESOURCE_ATTRIBUTES") {
        match pairs(value) {
            Ok(pairs) => attributes.extend(pairs),
            // As the specification says: all of it or nothing.
            Err(why) => complain(format!("OTEL_RESOURCE_ATTRIBUTES {why}; it is ignored")),
        }
    }
    if let Some(name) = text(env, "OTEL_SERVICE_NAME") {
        attributes.insert("service.name".to_owned(), name.to_owned());
    }
    attributes.into_iter().collect()
}

fn sampler(env: &BTreeMap<String, String>, complaints: &mut Vec<Complaint>) -> SamplerConfig {
    let mut alias = |name: &str, old: &str| {
        let value = text(env, name);
        if value.is_none() && text(env, old).is_some() {
            complaints.push(Complaint::Deprecated(format!("{old} is deprecated; use {name}")));
        }
        value.or_else(|| text(env, old)).map(str::to_owned)
    };
    let name = alias("OTEL_TRACES_SAMPLER", "OTEL_TRACE_SAMPLER");
    let argument = alias("OTEL_TRACES_SAMPLER_ARG", "OTEL_TRACE_SAMPLING_RATE");
    // The draft's rate alone meant a ratio.
    let name = match (&name, &argument) {
        (None, Some(_)) if text(env, "OTEL_TRACES_SAMPLER_ARG").is_none() => "parentbased_traceidratio".to_owned(),
        (name, _) => name.clone().unwrap_or_else(|| "parentbased_always_on".to_owned()),
    };
    let (config, wrong) = SamplerConfig::parse(&name, argument.as_deref());
    complaints.extend(wrong.into_iter().map(Complaint::Invalid));
    config
}
