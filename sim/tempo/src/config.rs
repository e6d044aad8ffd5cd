//! Tempo's configuration file: a stated subset that has an effect here, the rest of the real file's top-level sections
//! accepted and ignored, every other name refused with its place.
//!
//! With an effect: `server.http_listen_port`, `distributor.receivers.otlp.protocols.{grpc,http}.endpoint`,
//! `ingester.trace_idle_period`, `compactor.compaction.block_retention`, `overrides.defaults.global.max_bytes_per_trace`,
//! `overrides.defaults.ingestion.max_traces_per_user`. Checked and without an effect: `storage.trace`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::Error;
use crate::store::Limits;

/// Tempo's default HTTP port when its file does not say otherwise.
pub const HTTP_LISTEN_PORT: u16 = 80;
/// Where the OTLP/HTTP receiver listens by default.
pub const OTLP_HTTP_ENDPOINT: &str = "localhost:4318";
/// Where the OTLP/gRPC receiver listens by default.
pub const OTLP_GRPC_ENDPOINT: &str = "localhost:4317";

/// Where a receiver listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The host part; `localhost` cannot be reached from another pod.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Endpoint {
    /// Whether only the own pod reaches it (Tempo 2.7 made this the default).
    pub fn is_loopback(&self) -> bool {
        matches!(self.host.as_str(), "localhost" | "127.0.0.1" | "::1" | "[::1]")
    }
}

/// What of the file has an effect.
#[derive(Clone, Debug)]
pub struct Config {
    /// The port of the HTTP API.
    pub http_listen_port: u16,
    /// The OTLP/HTTP receiver, if it is configured.
    pub otlp_http: Option<Endpoint>,
    /// The OTLP/gRPC receiver, if it is configured. Nothing listens there yet.
    pub otlp_grpc: Option<Endpoint>,
    /// The store's limits.
    pub limits: Limits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    server: Option<Server>,
    #[serde(default)]
    distributor: Option<Distributor>,
    #[serde(default)]
    ingester: Option<Ingester>,
    #[serde(default)]
    compactor: Option<Compactor>,
    #[serde(default)]
    storage: Option<Storage>,
    #[serde(default)]
    overrides: Option<Overrides>,
    // Sections of the real file that nothing here depends on.
    #[serde(default, rename = "target")]
    _target: IgnoredAny,
    #[serde(default, rename = "http_api_prefix")]
    _http_api_prefix: IgnoredAny,
    #[serde(default, rename = "use_otel_tracer")]
    _use_otel_tracer: IgnoredAny,
    #[serde(default, rename = "autocomplete_filtering_enabled")]
    _autocomplete_filtering_enabled: IgnoredAny,
    #[serde(default, rename = "stream_over_http_enabled")]
    _stream_over_http_enabled: IgnoredAny,
    #[serde(default, rename = "multitenancy_enabled")]
    multitenancy_enabled: bool,
    #[serde(default, rename = "shutdown_delay")]
    _shutdown_delay: IgnoredAny,
    #[serde(default, rename = "internal_server")]
    _internal_server: IgnoredAny,
    #[serde(default, rename = "ingester_client")]
    _ingester_client: IgnoredAny,
    #[serde(default, rename = "metrics_generator_client")]
    _metrics_generator_client: IgnoredAny,
    #[serde(default, rename = "metrics_generator")]
    _metrics_generator: IgnoredAny,
    #[serde(default, rename = "querier")]
    _querier: IgnoredAny,
    #[serde(default, rename = "query_frontend")]
    _query_frontend: IgnoredAny,
    #[serde(default, rename = "memberlist")]
    _memberlist: IgnoredAny,
    #[serde(default, rename = "usage_report")]
    _usage_report: IgnoredAny,
    #[serde(default, rename = "cache")]
    _cache: IgnoredAny,
    #[serde(default, rename = "block_builder")]
    _block_builder: IgnoredAny,
    #[serde(default, rename = "backend_scheduler")]
    _backend_scheduler: IgnoredAny,
    #[serde(default, rename = "backend_scheduler_client")]
    _backend_scheduler_client: IgnoredAny,
    #[serde(default, rename = "backend_worker")]
    _backend_worker: IgnoredAny,
    #[serde(default, rename = "ingest")]
    _ingest: IgnoredAny,
    #[serde(default, rename = "live_store")]
    _live_store: IgnoredAny,
}

#[derive(Deserialize)]
struct Server {
    #[serde(default)]
    http_listen_port: Option<u16>,
}

#[derive(Deserialize)]
struct Distributor {
    #[serde(default)]
    receivers: BTreeMap<String, Option<Receiver>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Receiver {
    #[serde(default)]
    protocols: BTreeMap<String, Option<Protocol>>,
}

#[derive(Deserialize)]
struct Protocol {
    #[serde(default)]
    endpoint: Option<String>,
}

#[derive(Deserialize)]
struct Ingester {
    #[serde(default)]
    trace_idle_period: Option<String>,
}

#[derive(Deserialize)]
struct Compactor {
    #[serde(default)]
    compaction: Option<Compaction>,
}

#[derive(Deserialize)]
struct Compaction {
    #[serde(default)]
    block_retention: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Storage {
    #[serde(default)]
    trace: Option<TraceStorage>,
}

#[derive(Deserialize)]
struct TraceStorage {
    #[serde(default)]
    backend: Option<String>,
}

#[derive(Deserialize)]
struct Overrides {
    #[serde(default)]
    defaults: Option<Defaults>,
}

#[derive(Deserialize)]
struct Defaults {
    #[serde(default)]
    global: Option<Global>,
    #[serde(default)]
    ingestion: Option<Ingestion>,
}

#[derive(Deserialize)]
struct Global {
    #[serde(default)]
    max_bytes_per_trace: Option<usize>,
}

#[derive(Deserialize)]
struct Ingestion {
    #[serde(default)]
    max_traces_per_user: Option<usize>,
}

impl Config {
    /// Reads the file; `name` is only for messages.
    ///
    /// ```
    /// let config = sim_tempo::Config::parse("tempo.yaml", "server:\n  http_listen_port: 3200\n").unwrap();
    /// assert_eq!(config.http_listen_port, 3200);
    /// assert!(sim_tempo::Config::parse("tempo.yaml", "sever: {}\n").is_err());
    /// ```
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let fail = |message: String| Error::Config { file: name.to_owned(), message };
        let file: File = serde_saphyr::from_str(text).map_err(|error| fail(error.to_string()))?;
        if file.multitenancy_enabled {
            return Err(fail("multitenancy_enabled: not supported here".into()));
        }
        let backend = file.storage.and_then(|storage| storage.trace).and_then(|trace| trace.backend);
        if let Some(backend) = backend.filter(|backend| !matches!(backend.as_str(), "local" | "s3" | "gcs" | "azure")) {
            return Err(fail(format!("storage.trace.backend: unknown backend {backend}")));
        }
        let mut limits = Limits::default();
        let duration = |field: &str, text: Option<String>, into: &mut Duration| match text {
            Some(text) => match parse_duration(&text) {
                Some(value) => {
                    *into = value;
                    Ok(())
                }
                None => Err(fail(format!("{field}: time: invalid duration {text:?}"))),
            },
            None => Ok(()),
        };
        duration(
            "ingester.trace_idle_period",
            file.ingester.and_then(|i| i.trace_idle_period),
            &mut limits.trace_idle_period,
        )?;
        let retention = file.compactor.and_then(|c| c.compaction).and_then(|c| c.block_retention);
        duration("compactor.compaction.block_retention", retention, &mut limits.block_retention)?;
        if let Some(defaults) = file.overrides.and_then(|overrides| overrides.defaults) {
            if let Some(bytes) = defaults.global.and_then(|global| global.max_bytes_per_trace) {
                limits.trace_bytes_max = bytes;
            }
            if let Some(traces) = defaults.ingestion.and_then(|ingestion| ingestion.max_traces_per_user) {
                limits.live_traces_max = traces;
            }
        }
        let (mut otlp_http, mut otlp_grpc) = (None, None);
        for (receiver, settings) in file.distributor.map(|distributor| distributor.receivers).unwrap_or_default() {
            if receiver != "otlp" {
                return Err(fail(format!("distributor.receivers: receiver {receiver:?} is not supported here")));
            }
            for (protocol, settings) in settings.map(|settings| settings.protocols).unwrap_or_default() {
                let endpoint = settings.and_then(|settings| settings.endpoint);
                let (default, into) = match protocol.as_str() {
                    "http" => (OTLP_HTTP_ENDPOINT, &mut otlp_http),
                    "grpc" => (OTLP_GRPC_ENDPOINT, &mut otlp_grpc),
                    _ => {
                        return Err(fail(format!(
                            "distributor.receivers.otlp.protocols: has invalid keys: {protocol}"
                        )));
                    }
                };
                let endpoint = endpoint.unwrap_or_else(|| default.to_owned());
                *into = Some(parse_endpoint(&endpoint).ok_or_else(|| fail(format!("invalid endpoint {endpoint:?}")))?);
            }
        }
        let http_listen_port = file.server.and_then(|server| server.http_listen_port).unwrap_or(HTTP_LISTEN_PORT);
        Ok(Config { http_listen_port, otlp_http, otlp_grpc, limits })
    }
}

fn parse_endpoint(text: &str) -> Option<Endpoint> {
    let (host, port) = text.rsplit_once(':')?;
    Some(Endpoint { host: host.to_owned(), port: port.parse().ok()? })
}

/// Go's durations: `1h30m`, `10s`, `1.5s`, `500ms`.
fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
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
