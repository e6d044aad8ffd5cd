//! What components can be told: the settings of processors and exporters, with the Collector's defaults.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::data::Signal;

/// A duration as Go writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoDuration(pub Duration);

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match Value::deserialize(deserializer)? {
            Value::String(text) => text,
            Value::Number(number) => format!("{number}ns"),
            other => return Err(serde::de::Error::custom(format!("expected a duration, got {other}"))),
        };
        parse_duration(&text)
            .map(GoDuration)
            .ok_or_else(|| serde::de::Error::custom(format!("time: invalid duration {text:?}")))
    }
}

/// `1h30m`, `1.5s`, `500ms`, `0`.
fn parse_duration(text: &str) -> Option<Duration> {
    if matches!(text, "0" | "0ns") {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..end] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[end..];
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|_| !text.is_empty())
}

/// Where something listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The host part.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Endpoint {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Endpoint { host: host.to_owned(), port: port.parse().ok()? })
    }

    /// Whether only the own pod reaches it, which is the Collector's default.
    pub fn is_loopback(&self) -> bool {
        matches!(self.host.as_str(), "localhost" | "127.0.0.1" | "::1" | "[::1]")
    }
}

/// What an `attributes` or `resource` processor does with one key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttributeAction {
    /// The attribute.
    pub key: String,
    /// What to do.
    pub action: ActionKind,
    /// The new value.
    #[serde(default)]
    pub value: Option<Value>,
    /// Or the attribute whose value it takes.
    #[serde(default)]
    pub from_attribute: Option<String>,
}

/// The actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionKind {
    /// Only if it is not there.
    Insert,
    /// Only if it is there.
    Update,
    /// In any case.
    Upsert,
    /// Away with it.
    Delete,
}

/// `batch`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSettings {
    /// Sent at the latest after this time.
    pub timeout: GoDuration,
    /// Sent when it has so many items; 0 is at once.
    pub send_batch_size: u64,
    /// Not supported here unless 0.
    pub send_batch_max_size: u64,
}

impl Default for BatchSettings {
    fn default() -> Self {
        BatchSettings { timeout: GoDuration(Duration::from_millis(200)), send_batch_size: 8192, send_batch_max_size: 0 }
    }
}

/// `memory_limiter`. The memory that is measured here is the encoded size of all telemetry the Collector holds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemoryLimiterSettings {
    /// How often it is measured.
    pub check_interval: Option<GoDuration>,
    /// The hard limit.
    pub limit_mib: u64,
    /// The distance of the soft limit, from which on data is refused, to the hard one.
    pub spike_limit_mib: u64,
    /// The hard limit as a share of the container's memory.
    pub limit_percentage: u64,
    /// See `spike_limit_mib`.
    pub spike_limit_percentage: u64,
}

/// The memory of the modelled container, of which `limit_percentage` is a share.
pub const CONTAINER_MIB: u64 = 512;

impl MemoryLimiterSettings {
    /// Above so many bytes data is refused.
    pub fn soft_limit_bytes(&self) -> u64 {
        let limit = if self.limit_mib > 0 { self.limit_mib } else { CONTAINER_MIB * self.limit_percentage / 100 };
        let spike = match (self.spike_limit_mib, self.spike_limit_percentage) {
            (0, 0) => limit / 5,
            (0, percentage) => CONTAINER_MIB * percentage / 100,
            (mib, _) => mib,
        };
        limit.saturating_sub(spike) << 20
    }
}

/// A configured processor.
#[derive(Clone, Debug)]
pub enum Processor {
    /// `batch`
    Batch(BatchSettings),
    /// `memory_limiter`
    MemoryLimiter(MemoryLimiterSettings),
    /// `resource`
    Resource(Vec<AttributeAction>),
    /// `attributes`
    Attributes(Vec<AttributeAction>),
}

/// `sending_queue`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSettings {
    /// Only `true` is supported here.
    pub enabled: bool,
    /// Consumers that send, each one request at a time.
    pub num_consumers: usize,
    /// Requests that may wait.
    pub queue_size: usize,
}

impl Default for QueueSettings {
    fn default() -> Self {
        QueueSettings { enabled: true, num_consumers: 10, queue_size: 1000 }
    }
}

/// `retry_on_failure`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySettings {
    /// Otherwise the first failure is the last.
    pub enabled: bool,
    /// The first wait.
    pub initial_interval: GoDuration,
    /// Each wait is drawn from this share around its middle.
    pub randomization_factor: f64,
    /// Each middle is so many times the one before.
    pub multiplier: f64,
    /// The longest middle.
    pub max_interval: GoDuration,
    /// After so long it is given up; zero is never.
    pub max_elapsed_time: GoDuration,
}

impl Default for RetrySettings {
    fn default() -> Self {
        RetrySettings {
            enabled: true,
            initial_interval: GoDuration(Duration::from_secs(5)),
            randomization_factor: 0.5,
            multiplier: 1.5,
            max_interval: GoDuration(Duration::from_secs(30)),
            max_elapsed_time: GoDuration(Duration::from_secs(300)),
        }
    }
}

/// `tls` of an exporter.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// Without effect for `http://` URLs.
    pub insecure: bool,
    /// Without effect for `http://` URLs.
    pub insecure_skip_verify: bool,
}

/// `otlphttp`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpHttpSettings {
    /// The base of the URLs; `/v1/traces` and so on are appended.
    pub endpoint: String,
    /// The whole URL for traces.
    pub traces_endpoint: String,
    /// The whole URL for metrics.
    pub metrics_endpoint: String,
    /// The whole URL for logs.
    pub logs_endpoint: String,
    /// `gzip` (the default), `none` or empty.
    pub compression: String,
    /// Only `proto` is supported here.
    pub encoding: String,
    /// Of one request.
    pub timeout: GoDuration,
    /// More headers.
    pub headers: BTreeMap<String, String>,
    /// TLS.
    pub tls: TlsSettings,
    /// The queue.
    pub sending_queue: QueueSettings,
    /// The retries.
    pub retry_on_failure: RetrySettings,
}

impl Default for OtlpHttpSettings {
    fn default() -> Self {
        OtlpHttpSettings {
            endpoint: String::new(),
            traces_endpoint: String::new(),
            metrics_endpoint: String::new(),
            logs_endpoint: String::new(),
            compression: "gzip".into(),
            encoding: "proto".into(),
            timeout: GoDuration(Duration::from_secs(30)),
            headers: BTreeMap::new(),
            tls: TlsSettings::default(),
            sending_queue: QueueSettings::default(),
            retry_on_failure: RetrySettings::default(),
        }
    }
}

impl OtlpHttpSettings {
    /// The URL for a signal.
    pub fn url(&self, signal: Signal) -> String {
        let whole = match signal {
            Signal::Traces => &self.traces_endpoint,
            Signal::Metrics => &self.metrics_endpoint,
            Signal::Logs => &self.logs_endpoint,
        };
        if whole.is_empty() {
            format!("{}{}", self.endpoint.trim_end_matches('/'), signal.path())
        } else {
            whole.clone()
        }
    }
}

/// A configured exporter.
#[derive(Clone, Debug)]
pub enum Exporter {
    /// `otlphttp`
    OtlpHttp(Box<OtlpHttpSettings>),
    /// `debug`: a log line for each batch.
    Debug,
    /// `nop`
    Nop,
}
