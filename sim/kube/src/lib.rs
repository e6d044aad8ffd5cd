//! An in-process Kubernetes API server with workload controllers and a kubelet, under virtual time.
//!
//! | part | job |
//! |---|---|
//! | [`engine`] | storage, admission and selection: pure, synchronous, time comes in |
//! | [`ssa`] | server-side apply: field ownership, conflicts, merging by type |
//! | [`decoding`], [`openapi`] | built-in kinds by their types; OpenAPI documents |
//! | [`schema`], [`defaults`], [`patch`], [`selectors`], [`resources`] | what the engine is made of |
//! | [`admission`] | webhooks between a request and the store |
//! | `limits` | what a namespace may hold: LimitRange, ResourceQuota |
//! | [`ApiServer`] | the engine behind a lock, with watchers |
//! | [`faults`] | fault rules as data: which requests, what befalls them, when |
//! | [`access`] | users, tokens, roles: who asks, and may they |
//! | [`tls`] | a certificate authority, kubeconfigs, serving over TLS |
//! | [`wire`], [`discovery`], [`tables`], [`protobuf`] | HTTP around it |
//! | [`workloads`] | controllers as steps: Deployment, ReplicaSet, StatefulSet, DaemonSet, ReplicationController, Job, CronJob, Service, claims, disruption budgets, node lifecycle, garbage collection; the scheduler |
//! | [`ContainerLogs`], [`Outage`] | what containers wrote; what is wrong with nodes, pods and the control plane |
//! | [`Cluster`], [`ContainerRuntime`] | kubelets that start containers as processes of the world |
//! | [`local`] | a whole cluster on loopback, for real clients |
//! | [`manifests`] | multi-document YAML into objects |
//!
//! ```
//! use serde_json::json;
//! let found = sim_clock::run(sim_clock::WorldOptions::seeded(7), || async {
//!     let api = sim_kube::ApiServer::new();
//!     api.apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}, "data": {"a": "1"}})).unwrap();
//!     api.get("v1", "ConfigMap", "default", "c").unwrap()["data"]["a"].clone()
//! });
//! assert_eq!(found.unwrap(), "1");
//! ```
//!
//! **Not done, and said so with 501:** subresources other than `status`, `scale`,
//! `pods/log`, `pods/eviction`, `pods/binding`, `pods/exec`, `pods/attach`, `pods/portforward`, `pods/ephemeralcontainers`, `pods/resize` (which no kubelet acts by),
//! `certificatesigningrequests/approval` and `namespaces/finalize`.
//!
//! **Not done in admission:** `authorizer` and `namespaceObject` in `matchConditions` are refused as undeclared;
//! webhooks are not asked about `serviceaccounts/token` and what the cluster's own controllers write; ResourceQuota looks at creations
//! (an update that asks for more is not refused) and knows no `scopeSelector`, LimitRange no `maxLimitRequestRatio`.
//!
//! **Not done on the wire:** protobuf for `resource.k8s.io`, `storagemigration.k8s.io` and `apiregistration.k8s.io` (a client that takes
//! JSON as well gets that, 406 if it takes nothing else), and for fields of closed feature gates;
//! descriptions of table columns are short texts of our own.
//!
//! **Not done for single kinds:** flow control, admission policies, device classes and claims, trust bundles and storage migrations
//! are stored, checked and shown, but nothing acts by them; there are no APIService objects unless somebody makes one; who owned
//! a field of an `autoscaling/v1` object is told in the names of `v2`.
//!
//! **Not done, without an answer of its own:** defaults of a schema that changed are not filled in on reads; NetworkPolicy and PodDisruptionBudget objects are stored but not enforced; zero values that
//! Go's encoder leaves out (`hostNetwork: false`) stay where a client sent them;
//! who owned a map (`metadata.labels` itself) goes on owning it when its last entry went, so that another's apply conflicts.
//!
//! **Not done among the controllers:** metrics for HorizontalPodAutoscalers (they keep
//! their bounds and say that there are none), the node affinity of volumes, node pressure conditions,
//! proportional scaling of Deployments, the indexed Job's per-index back-off and pod finalizers, preemption, EndpointSlices
//! of more than one part, the five seconds that a namespace waits before it is emptied.

pub mod access;
pub mod admission;
mod bootstrap;
mod cluster;
mod conversion;
pub mod decoding;
pub mod defaults;
pub mod definitions;
pub mod discovery;
pub mod engine;
mod error;
mod events;
pub mod faults;
pub mod json;
mod kubelet;
mod limits;
pub mod local;
pub mod manifests;
mod metrics;
pub mod openapi;
mod outages;
pub mod patch;
pub mod protobuf;
pub mod resources;
pub mod schema;
pub mod selectors;
mod server;
pub mod ssa;
mod status;
pub mod tables;
pub mod tls;
pub mod validation;
pub mod wire;
pub mod workloads;

pub use cluster::{API_ADDRESS, API_PORT, API_SERVICE_ADDRESS, API_TLS_PORT, Cluster, KubeOptions};
pub use error::Error;
pub use faults::{FaultGuard, FaultId};
pub use kubelet::{
    ContainerLog, ContainerLogs, ContainerRuntime, ContainerStart, EXEC_PIECES_MAX, ExecIo, Exit, Files,
    ImageBehaviour, LOG_BYTES_MAX, LogLine, MOUNT_DELAY, Output, Ran, ReadinessFault, Stdout, Stop,
};
pub use outages::{Labels, Outage, OutageId};
pub use server::{ApiServer, Seen, WatchQuery, Watcher};
pub use status::{About, Cause, Status};
