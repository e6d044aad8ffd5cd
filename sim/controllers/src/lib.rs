//! The small controllers of the ecosystem around an operator: what turns the objects of others into configuration.
//!
//! They run as processes of the simulated world, speak to its API server over the simulated network, and depend on no
//! other part: what they produce (Secrets, ConfigMaps, StatefulSets) reaches Prometheus the way it does in a cluster.
//!
//! | module | job |
//! |---|---|
//! | [`prometheus_operator`] | Prometheus, ServiceMonitor, PrometheusRule → a configured Prometheus |
//! | [`api`] | list, watch and apply over HTTP |
//! | [`selector`] | label selectors |
//! | [`yaml`] | JSON values written as YAML |
//! | [`error`] | what can go wrong on the way to the API server |
//!
//! What a controller wants is computed by pure functions ([`prometheus_operator::build`]) from an ordered store
//! ([`prometheus_operator::Cluster`]); [`prometheus_operator::run`] is the thin part that watches and applies.
//!
//! ```
//! use sim_controllers::prometheus_operator::{Cluster, Kind, build};
//! use serde_json::json;
//!
//! let mut cluster = Cluster::default();
//! cluster.put(Kind::Prometheus, json!({
//!     "metadata": {"name": "main", "namespace": "monitoring", "uid": "u"},
//!     "spec": {"serviceMonitorSelector": {}},
//! }));
//! let prometheus = cluster.prometheuses.values().next().expect("one Prometheus");
//! let built = build(prometheus, &cluster);
//! assert_eq!(built.objects[3]["metadata"]["name"], "prometheus-main");
//! assert!(built.warnings.is_empty());
//! ```

pub mod api;
pub mod error;
pub mod prometheus_operator;
pub mod selector;
pub mod yaml;

pub use error::Error;
