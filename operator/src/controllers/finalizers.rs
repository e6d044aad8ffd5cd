//! Finalizers: what has to be done before an object may go.
//!
//! | finalizer | on | until |
//! |---|---|---|
//! | [`CLUSTER`] | MultigresCluster | its Cells, TableGroups and Shards are gone, so that etcd outlives them |
//! | [`CELL`] | Cell | its gateways have ended and the topology knows it no more |
//! | [`SHARD`] | Shard | its pods have ended and the topology knows them no more |
//!
//! None of them holds an object for ever: see [`CLEANUP_MAX`] and [`CLUSTER_CLEANUP_MAX`].

use std::sync::Arc;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::error::Error;
use super::tools::{FIELD_MANAGER, Pass, Tools, Written, kube_error, now};

/// On a MultigresCluster.
pub const CLUSTER: &str = "multigres.com/cluster-cleanup";
/// On a Cell.
pub const CELL: &str = "cell.data-handler.multigres.com/finalizer";
/// On a Shard.
pub const SHARD: &str = "shard.data-handler.multigres.com/finalizer";

/// How long after the beginning of its deletion a Cell or Shard waits for its pods to end and for the topology to answer. Then it
/// goes, and what is left in etcd stays there.
pub const CLEANUP_MAX: Duration = Duration::from_secs(120);
/// How long a cluster waits for its parts to go.
pub const CLUSTER_CLEANUP_MAX: Duration = Duration::from_secs(300);
/// How often it is looked whether pods or parts are gone.
pub const CLEANUP_RETRY: Duration = Duration::from_secs(2);

/// What became of a change of an object's finalizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// They are as wanted.
    Done,
    /// Somebody else changed the object meanwhile: try again with its newer version.
    Outdated,
}

/// Whether the object is held by this finalizer.
pub fn holds<K: Written>(object: &K, finalizer: &str) -> bool {
    object.finalizers().iter().any(|present| present == finalizer)
}

/// Whether whoever deleted the object wants its dependents to stay.
pub fn orphans_dependents<K: Written>(object: &K) -> bool {
    holds(object, "orphan")
}

/// Whether the deletion of an object began longer than `max` ago.
pub fn is_overdue<K: Written>(object: &K, max: Duration) -> bool {
    let begun = object.meta().deletion_timestamp.as_ref();
    // Where the API server's clock is ahead, it began just now.
    begun.is_some_and(|begun| Duration::try_from(now().duration_since(begun.0)).is_ok_and(|since| since >= max))
}

impl Tools {
    /// Puts the finalizer on the object of this reconcile.
    pub async fn hold<K: Written>(&self, pass: &mut Pass<K>, finalizer: &str) -> Result<Outcome, Error> {
        if holds(&*pass.object, finalizer) {
            return Ok(Outcome::Done);
        }
        let mut finalizers = pass.object.finalizers().to_vec();
        finalizers.push(finalizer.to_owned());
        match self.write_finalizers(&*pass.object, &finalizers).await {
            Ok(Some(stored)) => {
                self.recent.remember(stored.clone());
                pass.object = Arc::new(stored);
                Ok(Outcome::Done)
            }
            Ok(None) => Ok(Outcome::Outdated),
            Err(error) => Err(error),
        }
    }

    /// Takes the finalizer off the object of this reconcile, which may be gone then.
    pub async fn release<K: Written>(&self, pass: &mut Pass<K>, finalizer: &str) -> Result<Outcome, Error> {
        if !holds(&*pass.object, finalizer) {
            return Ok(Outcome::Done);
        }
        let mut finalizers = pass.object.finalizers().to_vec();
        finalizers.retain(|present| present != finalizer);
        match self.write_finalizers(&*pass.object, &finalizers).await {
            Ok(Some(_)) => Ok(Outcome::Done),
            Ok(None) => Ok(Outcome::Outdated),
            Err(error) => Err(error),
        }
    }

    /// Writes the list of finalizers if the object is still as it is known; nothing when it is not, or is gone.
    async fn write_finalizers<K: Written>(&self, object: &K, finalizers: &[String]) -> Result<Option<K>, Error> {
        let name = object.name_any();
        let body = json!({
            "metadata": { "resourceVersion": object.resource_version(), "finalizers": finalizers },
        });
        let api = Api::<K>::namespaced(self.client.clone(), &object.namespace().unwrap_or_default());
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match api.patch(&name, &parameters, &Patch::Merge(&body)).await {
            Ok(stored) => Ok(Some(stored)),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
            Err(source) => Err(kube_error::<K>("update finalizers of", &name, source)),
        }
    }
}
