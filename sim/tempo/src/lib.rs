//! Tempo: trace store, TraceQL, HTTP API.
//!
//! - [`store`]: pushed spans by trace; duplicates, limits, retention.
//! - [`traceql`]: the query language: [`traceql::parse`] and evaluation over one trace.
//! - [`search`]: a query over the whole store; tags and their values.
//! - [`api`]: the JSON of Tempo's HTTP API.
//! - [`config`]: Tempo's YAML file, a stated subset.
//! - [`server`]: [`run`], the wire around it all: HTTP API, OTLP/HTTP receiver.
//!
//! The first five are an engine without input or output; time comes in as a [`sim_clock::Timestamp`].
//!
//! ```
//! use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
//! use sim_clock::Timestamp;
//! use sim_tempo::{search, store::{Limits, Store}, traceql};
//!
//! let request: ExportTraceServiceRequest = serde_json::from_str(r#"{"resourceSpans":[{
//!   "resource":{"attributes":[{"key":"service.name","value":{"stringValue":"operator"}}]},
//!   "scopeSpans":[{"spans":[{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331",
//!     "name":"Shard.Reconcile","startTimeUnixNano":"1000000000","endTimeUnixNano":"3000000000",
//!     "status":{"code":2,"message":"etcd unavailable"}}]}]}]}"#).unwrap();
//! let mut store = Store::new(Limits::default());
//! store.push(Timestamp::from_secs(3), request).unwrap();
//!
//! let query = traceql::parse(r#"{ resource.service.name = "operator" && status = error && duration > 1s }"#).unwrap();
//! let found = search::search(&store, &query, &search::Window::default());
//! assert_eq!(found.traces.len(), 1);
//! assert_eq!(found.traces[0].root_trace_name, "Shard.Reconcile");
//! ```

pub mod api;
pub mod config;
mod error;
pub mod ids;
pub mod otlp;
pub mod search;
pub mod server;
pub mod store;
pub mod traceql;

pub use config::Config;
pub use error::Error;
pub use server::run;
