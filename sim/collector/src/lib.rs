//! OpenTelemetry Collector pipelines, driven by the Collector's own configuration file.
//!
//! - [`config`]: the file, environment expansion, the start-up refusals.
//! - [`data`]: what flows: OTLP requests of the three signals.
//! - [`pipeline`]: processors, queues, retries as an engine without input or output; every item is accounted for.
//! - [`grpc`]: OTLP over gRPC without the network.
//! - [`metrics`]: the Collector's own `otelcol_*` metrics.
//! - [`otlp`]: OTLP over HTTP without the network.
//! - [`server`]: [`run`], the wire around it all.
//!
//! ```
//! let file = "
//! receivers: {otlp: {protocols: {http: {endpoint: '0.0.0.0:4318'}}}}
//! exporters: {otlphttp/tempo: {endpoint: '${env:TEMPO:-http://tempo:4318}'}}
//! service: {pipelines: {traces: {receivers: [otlp], exporters: [otlphttp/tempo]}}}
//! ";
//! let config = sim_collector::Config::parse(file, &|_| None).unwrap();
//! assert_eq!(config.otlp_http["otlp"].port, 4318);
//!
//! let wrong = file.replace("exporters: [otlphttp/tempo]", "exporters: [otlphttp/temp]");
//! assert_eq!(
//!     sim_collector::Config::parse(&wrong, &|_| None).unwrap_err().to_string(),
//!     "invalid configuration: service::pipelines::traces: references exporter \"otlphttp/temp\" which is not configured"
//! );
//! ```

pub mod config;
pub mod data;
mod error;
pub mod grpc;
pub mod metrics;
pub mod otlp;
pub mod pipeline;
pub mod server;

pub use config::Config;
pub use error::Error;
pub use server::run;
