//! The controller runtime: watches feed work queues, workers take keys from them and call reconcilers.
//!
//! kube's own `Controller` has no queue that could be measured and keeps its schedule in hash maps; this one has the semantics (and
//! the metrics) of Go's controller-runtime: a first-in-first-out queue per controller that holds every key once, delays and back-off
//! per key, a fixed number of workers, and one watch a kind however many controllers use it.
//!
//! A controller implements [`Reconciler`] and is registered with a [`Manager`]:
//!
//! ```
//! use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
//! use multigres_operator::{api::cell::Cell, runtime::{Manager, ObjectKey, Reconciler, Store, Trigger}};
//!
//! fn register<R: Reconciler>(manager: &mut Manager, reconciler: impl FnOnce(Store<Cell>) -> R) {
//!     // An ordered cache over one watch.
//!     let cells: Store<Cell> = manager.store();
//!     manager
//!         .controller::<Cell, _>(reconciler(cells))
//!         .on_primary(Trigger::GenerationChanged)
//!         // Wakes the controller of a changed Deployment.
//!         .owns::<Deployment>()
//!         // Wakes whatever it says.
//!         .watches::<ConfigMap>(|change| vec![ObjectKey::new(change.key.namespace.clone(), "zone-a")])
//!         .register();
//! }
//! ```
//!
//! When everything is registered, `Manager::run` follows the watches and calls the reconcilers until the end is requested.
//!
//! The runner opens the root span (`Cell.Reconcile`), writes `reconcile started`, `reconcile complete` or `reconcile failed`, counts
//! and times the reconcile, records its error on the root, catches its panic, and puts the key back with back-off. None of that is
//! written in a reconciler; a reconciler opens its steps with [`crate::observability::step`].

pub mod election;
pub mod manager;
pub mod queue;
pub mod readable;
pub mod runner;
pub mod store;
pub mod watches;

use std::{fmt, time::Duration};

use kube::ResourceExt;

pub use manager::{ControllerBuilder, Manager};
pub use queue::Backoff;
pub use store::Store;
pub use watches::{Change, Trigger};

use crate::observability::{Failure, TraceOrigin};

/// The namespace and name of an object; its kind is known from the context.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    /// A key from its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub fn of<K: kube::Resource>(object: &K) -> Self {
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// Why a key is in the queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The object itself was seen for the first time.
    Created,
    /// The object itself changed.
    Updated,
    /// The object itself is gone.
    Deleted,
    /// An object that it owns came, changed or went: kind and key.
    Owned(&'static str, ObjectKey),
    /// An object that the controller watches for it came, changed or went: kind and key.
    Watched(&'static str, ObjectKey),
    /// The last reconcile failed.
    Retry,
    /// The last reconcile asked for another one.
    Requeue,
    /// It was long ago that all objects were looked at.
    Resync,
}

/// What a reconcile that did not fail wants next.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing until something changes.
    Done,
    /// Once more after this time.
    RequeueAfter(Duration),
    /// Once more after this key's back-off, without being an error.
    Requeue,
}

/// One call of a reconciler.
#[derive(Clone, Debug)]
pub struct Request {
    /// The object to reconcile.
    pub key: ObjectKey,
    /// Why, oldest first; at most [`queue::CAUSES_MAX`].
    pub causes: Vec<Cause>,
    /// How often this key failed in a row before this call.
    pub failures: u32,
}

/// What the runtime has to know of a controller.
#[derive(Copy, Clone, Debug)]
pub struct ControllerSpec {
    /// Log field and metric label, e.g. `cell-datahandler`.
    pub name: &'static str,
    /// The kind of the primary object, e.g. `Cell`; it names the object in log lines.
    pub kind: &'static str,
    /// The root span, e.g. `CellData.Reconcile`.
    pub root_span: &'static str,
    /// How many keys are reconciled at the same time.
    pub workers: usize,
    /// How long a failed key waits.
    pub backoff: Backoff,
}

/// A controller.
pub trait Reconciler: Send + Sync + 'static {
    /// What can go wrong. Its [`Failure::error_type`] becomes `exception.type` and `error.type`.
    type Error: Failure;

    /// Name, kind, limits.
    fn spec(&self) -> ControllerSpec;

    /// Where the root span of the next reconcile of `key` hangs. Called before the span is opened, from the cache only.
    fn origin(&self, key: &ObjectKey) -> TraceOrigin {
        let _ = key;
        TraceOrigin::Root
    }

    /// Brings the world nearer to what the object says. Implement it as `async fn`.
    ///
    /// An error that is waited out rather than counted (the first contact with etcd) is recorded on the root with
    /// [`crate::observability::record_failure`], and the reconcile returns [`Action::RequeueAfter`].
    fn reconcile(&self, request: &Request) -> impl Future<Output = Result<Action, Self::Error>> + Send;
}
