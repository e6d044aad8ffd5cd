//! Prometheus 3.x: time-series store, PromQL, rules and alerts, scraping, HTTP API.
//!
//! | module | what it does | layer |
//! |---|---|---|
//! | [`store`] | series, exemplars, metadata, retention | engine |
//! | [`histogram`] | native histograms: arithmetic, quantiles, notation | engine |
//! | [`promql`] | parser, printer and evaluator | engine |
//! | [`config`], [`relabel`] | `prometheus.yaml` | engine |
//! | [`scrape`] | from a page to samples, report samples and stale markers | engine |
//! | [`otlp`] | OTLP metrics: names, translation, receiver | engine |
//! | [`remote`] | remote write: messages, receiver | engine |
//! | [`rules`], [`template`] | recording and alerting rules, annotations | engine |
//! | [`export`] | the store as OpenMetrics text | engine |
//! | [`unit_test`] | unit tests of rules in promtool's format | engine |
//! | [`promqltest`] | runner of Prometheus's own test files | engine |
//! | [`server`] | scraping and evaluating on time, reload | wire |
//! | `transport` | fetching pages, sending alerts: authorization, TLS | wire |
//! | `notify` | alerts to the Alertmanagers | wire |
//! | `api` | HTTP API v1 | wire over a pure function |
//!
//! Engines take the time as an argument and do no I/O.
//!
//! ```
//! use sim_prometheus::{promql, store::{Point, Store}};
//! let mut store = Store::new();
//! let labels = sim_wire::Labels::from_pairs([("__name__", "requests_total")]);
//! for minute in 0..=5 {
//!     store.append(&labels, Point::float(minute * 60_000, minute as f64 * 30.0)).unwrap();
//! }
//! let query = "rate(requests_total[5m])";
//! let expr = promql::parse(query).unwrap();
//! let (value, _) = promql::eval::instant(&store, query, &expr, 300_000, Default::default()).unwrap();
//! let promql::QueryValue::Vector(vector) = value else { panic!("a vector") };
//! assert_eq!(vector[0].value.float(), 0.5);
//! ```

mod api;
pub mod config;
pub mod export;
pub mod histogram;
mod notify;
pub mod otlp;
pub mod promql;
pub mod promqltest;
pub mod relabel;
pub mod remote;
pub mod rules;
pub mod scrape;
pub mod server;
pub mod store;
pub mod template;
mod transport;
pub mod unit_test;

/// Everything that can go wrong outside a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong.
    #[error("parsing YAML file: {message}")]
    Config {
        /// What is wrong, with its position.
        message: String,
    },
    /// A rule file is wrong.
    #[error("{file}: {message}")]
    Rules {
        /// The file.
        file: String,
        /// What is wrong, with its position.
        message: String,
    },
    /// A template is wrong.
    #[error("{message}")]
    Template {
        /// What is wrong.
        message: String,
    },
    /// A rule could not be evaluated.
    #[error("{message}")]
    Evaluation {
        /// Why.
        message: String,
    },
    /// A file is not there.
    #[error("open {path}: no such file or directory")]
    NoFile {
        /// The path.
        path: String,
    },
    /// A PromQL test file is malformed.
    #[error("line {line}: {message}")]
    TestFile {
        /// One-based line number.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The network refused the server its port.
    #[error("listen on port {port}: {message}")]
    Listen {
        /// The port.
        port: u16,
        /// Why.
        message: String,
    },
}
