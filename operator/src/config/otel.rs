//! `OTEL_*` becomes what is traced, to where, and how much of it.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, HeaderValue, Uri};
use opentelemetry_sdk::resource::{ResourceDetector, TelemetryResourceDetector};

use super::{Complaint, SERVICE_NAME, VERSION};
use crate::{
    observability::{
        export::BatchConfig,
        metrics_export::{METRICS_EXPORT_INTERVAL, METRICS_EXPORT_TIMEOUT, MetricsExportConfig},
        otlp::{OtlpConfig, Protocol},
        sampling::SamplerConfig,
        telemetry::TracesConfig,
    },
    tls::{
        Pem,
        client::{ClientTls, Trust},
    },
};

/// The one propagator there is.
const PROPAGATOR: &str = "tracecontext";
/// A value beside those of the specification, which the data plane's settings know too.
const DISABLED: &str = "disabled";
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
const OTLP_TIMEOUT: Duration = Duration::from_secs(10);
/// No queue is made larger than this, whatever `OTEL_BSP_MAX_QUEUE_SIZE` says.
const SPAN_QUEUE_SPANS_LIMIT: usize = 65_536;
/// No time is made longer than this by a variable.
const MILLIS_LIMIT: u64 = 3_600_000;

/// A variable that is set; the OpenTelemetry specification takes an empty one for unset, and so do we everywhere.
pub(super) fn text<'a>(env: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    env.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
}

/// Whether a switch is on. The specification knows `true` and `false` in any case; whatever else is false, and said to be.
fn switch(name: &str, value: Option<&str>, complain: &mut impl FnMut(String)) -> bool {
    let Some(value) = value else { return false };
    if !value.eq_ignore_ascii_case("true") && !value.eq_ignore_ascii_case("false") {
        complain(format!("{name}={value:?} is neither true nor false; false is used"));
    }
    value.eq_ignore_ascii_case("true")
}

/// What a variable chooses among `known`, whose first is the default. Names count in any case; one that is not known is said to be ignored,
/// as the specification wants it.
fn choice<T: Copy>(
    name: &str,
    value: Option<&str>,
    known: &[(&'static str, T)],
    default: (&'static str, T),
    complain: &mut impl FnMut(String),
) -> T {
    let Some(value) = value else { return default.1 };
    if let Some((_, chosen)) = known.iter().find(|(name, _)| name.eq_ignore_ascii_case(value)) {
        return *chosen;
    }
    let names = known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    complain(format!("{name}={value:?} is not available ({names}); {} is used", default.0));
    default.1
}

fn is_sdk_disabled(env: &BTreeMap<String, String>, complain: &mut impl FnMut(String)) -> bool {
    switch("OTEL_SDK_DISABLED", text(env, "OTEL_SDK_DISABLED"), complain)
}

/// Adds what was not said yet: the signals share variables.
fn complain_once(complaints: &mut Vec<Complaint>, what: String) {
    let complaint = Complaint::Invalid(what);
    if !complaints.contains(&complaint) {
        complaints.push(complaint);
    }
}

/// How variables speak of a signal.
struct Words {
    /// In the names of its own variables.
    variable: &'static str,
    /// Behind the general endpoint.
    path: &'static str,
}

const TRACES: Words = Words { variable: "TRACES", path: "/v1/traces" };
const METRICS: Words = Words { variable: "METRICS", path: "/v1/metrics" };

/// The signal's own variable, else the general one; with its name.
fn otlp<'a>(env: &'a BTreeMap<String, String>, signal: &Words, suffix: &str) -> Option<(String, &'a str)> {
    [format!("OTEL_EXPORTER_OTLP_{}_{suffix}", signal.variable), format!("OTEL_EXPORTER_OTLP_{suffix}")]
        .into_iter()
        .find_map(|name| text(env, &name).map(|value| (name, value)))
}

/// Where a signal goes by its exporter's variable.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Exporter {
    Otlp,
    Console,
    None,
}

/// Metrics by OTLP, which a flag asked for: where they go, how often, and what the resource says.
pub(super) fn metrics(env: &BTreeMap<String, String>, complaints: &mut Vec<Complaint>) -> Option<MetricsExportConfig> {
    let complain = &mut |what: String| complain_once(complaints, what);
    if is_sdk_disabled(env, complain) {
        return None;
    }
    let exporters = [("otlp", Exporter::Otlp), ("none", Exporter::None)];
    let exporter = "OTEL_METRICS_EXPORTER";
    if choice(exporter, text(env, exporter), &exporters, exporters[0], complain) == Exporter::None {
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
    let otlp = signal_endpoint(env, &METRICS, complain)?;
    let mut time = |name: &str, default: Duration| match text(env, name) {
        Some(value) => millis(name, value, default, complain),
        None => default,
    };
    let interval = time("OTEL_METRIC_EXPORT_INTERVAL", METRICS_EXPORT_INTERVAL);
    let timeout = time("OTEL_METRIC_EXPORT_TIMEOUT", METRICS_EXPORT_TIMEOUT);
    for (name, only) in [
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative"),
        ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "explicit_bucket_histogram"),
    ] {
        choice(name, text(env, name), &[(only, ())], (only, ()), complain);
    }
    let resource = resource(env, complain);
    Some(MetricsExportConfig { otlp, interval, timeout, resource })
}

pub(super) fn traces(env: &BTreeMap<String, String>, complaints: &mut Vec<Complaint>) -> Option<TracesConfig> {
    let complain = &mut |what: String| complain_once(complaints, what);
    if is_sdk_disabled(env, complain) {
        return None;
    }
    let name = "OTEL_TRACES_EXPORTER";
    let exporters = [("otlp", Exporter::Otlp), ("console", Exporter::Console), ("none", Exporter::None)];
    let has_endpoint = otlp(env, &TRACES, "ENDPOINT").is_some();
    let exporter = match text(env, name) {
        Some(DISABLED) => Exporter::None,
        // Where nothing is configured otherwise nothing is said: tracing is off.
        value => choice(name, value, &exporters, exporters[0], &mut |what| {
            if has_endpoint {
                complain(what);
            }
        }),
    };
    let otlp = match exporter {
        Exporter::None => return None,
        Exporter::Console => None,
        Exporter::Otlp => Some(signal_endpoint(env, &TRACES, complain)?),
    };
    if let Some(value) = text(env, "OTEL_PROPAGATORS")
        && !value.split(',').any(|name| name.trim().eq_ignore_ascii_case(PROPAGATOR))
    {
        complain(format!("OTEL_PROPAGATORS={value:?} is without {PROPAGATOR}, the only one there is; it is used"));
    }
    let batch = batch(env, complain);
    let resource = resource(env, complain);
    let sampler = sampler(env, complaints);
    Some(TracesConfig { otlp, sampler, batch, resource })
}

/// Where a signal is sent; nothing where that is switched off, or cannot be understood.
fn signal_endpoint(
    env: &BTreeMap<String, String>,
    signal: &Words,
    complain: &mut impl FnMut(String),
) -> Option<OtlpConfig> {
    let otlp = |suffix: &str| otlp(env, signal, suffix);
    let (endpoint_name, endpoint_text) = otlp("ENDPOINT")?;
    if endpoint_text == DISABLED {
        return None;
    }
    let protocols = [("http/protobuf", Protocol::HttpProtobuf), ("grpc", Protocol::Grpc)];
    let (name, value) = otlp("PROTOCOL").unzip();
    let protocol = choice(&name.unwrap_or_default(), value, &protocols, protocols[0], complain);
    let (name, value) = otlp("INSECURE").unzip();
    let insecure = switch(&name.unwrap_or_default(), value, complain);
    let endpoint = match endpoint(signal, &endpoint_name, endpoint_text, protocol, insecure) {
        Ok(endpoint) => endpoint,
        Err(why) => {
            complain(format!("{endpoint_name} {why}; nothing is sent there"));
            return None;
        }
    };
    let compressions = [("gzip", true), ("none", false)];
    let (name, value) = otlp("COMPRESSION").unzip();
    let gzip = choice(&name.unwrap_or_default(), value, &compressions, compressions[1], complain);
    let headers = otlp("HEADERS").map_or_else(Vec::new, |(name, value)| {
        headers(value).unwrap_or_else(|why| {
            complain(format!("{name}: {why}; no header is sent"));
            Vec::new()
        })
    });
    let timeout = match otlp("TIMEOUT") {
        Some((name, value)) => millis(&name, value, OTLP_TIMEOUT, complain),
        None => OTLP_TIMEOUT,
    };
    let file = |suffix: &str| otlp(suffix).map(|(_, path)| Pem::File(path.to_owned()));
    let identity = match (otlp("CLIENT_CERTIFICATE"), otlp("CLIENT_KEY")) {
        (Some((_, certificate)), Some((_, key))) => {
            Some((Pem::File(certificate.to_owned()), Pem::File(key.to_owned())))
        }
        (None, None) => None,
        (Some((name, _)), None) | (None, Some((name, _))) => {
            complain(format!(
                "{name} is set, but not the other one of …_CLIENT_CERTIFICATE and …_CLIENT_KEY; no client certificate is shown"
            ));
            None
        }
    };
    let tls = ClientTls {
        trust: file("CERTIFICATE").map_or(Trust::System, Trust::Authorities),
        identity,
        ..ClientTls::default()
    };
    Some(OtlpConfig { protocol, endpoint, headers, timeout, gzip, tls })
}

/// The signal's own endpoint is taken as it is, the general one gets the signal's path; of a gRPC endpoint only host and port count, and
/// it may lack its scheme. The errors do not repeat the value: it may hold a password.
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
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("names a user: credentials belong into OTEL_EXPORTER_OTLP_HEADERS (authorization=Basic%20…)");
    }
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err("is no http:// or https:// URL"),
    }
}

/// One of `key=value,key=value`, its value decoded.
struct Pair<'a> {
    /// Its place, from 1 on.
    entry: usize,
    key: &'a str,
    value: String,
}

/// `key=value,key=value`, the values percent-encoded. The errors name places and no text: headers carry secrets.
fn pairs(list: &str) -> Result<Vec<Pair<'_>>, String> {
    let entries = list.split(',').map(str::trim).enumerate().filter(|(_, entry)| !entry.is_empty());
    entries.map(|(index, entry)| pair(index + 1, entry)).collect()
}

fn pair(entry: usize, text: &str) -> Result<Pair<'_>, String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("entry {entry} has no ="))?;
    let value = percent_decode(value.trim()).ok_or_else(|| format!("entry {entry} has a bad percent-encoding"))?;
    match key.trim() {
        "" => Err(format!("entry {entry} has nothing before its =")),
        key => Ok(Pair { entry, key, value }),
    }
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

/// The errors repeat neither names nor values: who writes `Authorization: Basic …=` has a secret before the first equals sign.
fn headers(list: &str) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let header = |Pair { entry, key, value }: Pair<'_>| {
        let name: HeaderName =
            key.parse().map_err(|_| format!("entry {entry} has a name that HTTP does not allow (it is name=value)"))?;
        let mut value =
            HeaderValue::from_str(&value).map_err(|_| format!("entry {entry} has a value that HTTP does not allow"))?;
        value.set_sensitive(true);
        Ok((name, value))
    };
    pairs(list)?.into_iter().map(header).collect()
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
        // A small queue alone makes the default batch small without a word.
        if text(env, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE").is_some() {
            complain(format!(
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE={} is more than the queue of {} spans holds; {} is used",
                config.batch_spans_max, config.queue_spans_max, config.queue_spans_max
            ));
        }
        config.batch_spans_max = config.queue_spans_max;
    }
    config
}

/// Who sends: what the operator knows of itself, and above it what `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` say.
fn resource(env: &BTreeMap<String, String>, complain: &mut impl FnMut(String)) -> Vec<(String, String)> {
    let mut attributes = BTreeMap::from([
        ("service.name".to_owned(), SERVICE_NAME.to_owned()),
        ("service.version".to_owned(), VERSION.to_owned()),
    ]);
    attributes
        .extend(TelemetryResourceDetector.detect().iter().map(|(key, value)| (key.to_string(), value.to_string())));
    for (key, variable) in [("k8s.namespace.name", "POD_NAMESPACE"), ("service.instance.id", "POD_NAME")] {
        attributes.extend(text(env, variable).map(|value| (key.to_owned(), value.to_owned())));
    }
    if let Some(list) = text(env, RESOURCE_ATTRIBUTES) {
        let decoded = |Pair { entry, key, value }: Pair<'_>| {
            let key = percent_decode(key).ok_or_else(|| format!("entry {entry} has a bad percent-encoding"))?;
            Ok::<_, String>((key, value))
        };
        match pairs(list).and_then(|pairs| pairs.into_iter().map(decoded).collect::<Result<Vec<_>, _>>()) {
            Ok(pairs) => attributes.extend(pairs),
            // As the specification says: all of it or nothing.
            Err(why) => complain(format!("{RESOURCE_ATTRIBUTES}: {why}; it is ignored")),
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
    for what in wrong {
        complain_once(complaints, what);
    }
    config
}
