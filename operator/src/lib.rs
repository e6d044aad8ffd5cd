//! The Multigres operator: sharded Postgres on Kubernetes.
//!
//! [`run`] takes a [`host::Host`] (everything that the operator needs from its surroundings) and a checked [`config::Config`], and comes back
//! when the host asked for the end and telemetry is flushed. The binary does nothing else than to make the two from the real world.
//!
//! | module | what it does |
//! |---|---|
//! | [`host`] | what the operator needs from its surroundings |
//! | [`config`] | flags and environment become a checked [`config::Config`] |
//! | [`cluster_config`] | the way to the API server |
//! | [`tls`] | certificates, trust, connections that speak TLS |
//! | [`observability`] | logs, metrics, traces, events |
//! | [`runtime`] | watches, work queues, workers |
//! | [`api`] | the custom resources |
//! | [`names`], [`labels`] | what objects are called, and how they are found |
//! | [`resolver`] | defaults and templates |
//! | [`resources`] | custom resource in, Kubernetes objects out |
//! | [`topology`] | registration in etcd |
//! | [`controllers`] | the seven controllers |
//! | [`webhooks`] | what is filled in, and what is not let in |
//!
//! Nothing here is global: no subscriber, no tracer provider, no registry, no look at the process environment. Two operators can run in
//! one process and know nothing of each other.
//!
//! ```
//! use multigres_operator::config::{Config, Invocation};
//!
//! let env = [("POD_NAMESPACE".to_owned(), "multigres-operator".to_owned())].into();
//! match Config::parse(&["--webhook-enable=false".to_owned()], &env) {
//!     Ok(Invocation::Run(config)) => assert_eq!(config.metrics_address.map(|address| address.port()), Some(8443)),
//!     other => panic!("{other:?}"),
//! }
//! ```

pub mod api;
pub mod cluster_config;
pub mod config;
pub mod controllers;
pub mod host;
pub mod labels;
pub mod names;
pub mod observability;
pub mod resolver;
pub mod resources;
pub mod runtime;
pub mod tls;
pub mod topology;
pub mod webhooks;

mod run;
mod signal;
#[cfg(test)]
mod testing;

pub use run::{Error, Parts, run, run_with};
