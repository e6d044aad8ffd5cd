//! `shard-datahandler`: Shard -> its database's record in the topology, and the records that its components leave behind.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::WORKERS;
use super::error::Error;
use super::finalizers::{self, CLEANUP_RETRY, Outcome};
use super::registrar::{Registrar, Subject, registered_generation};
use super::tools::{Pass, origin};
use crate::api::Shard;
use crate::labels;
use crate::observability::{TraceOrigin, step};
use crate::resources::pool;
use crate::runtime::{Action, Backoff, ControllerSpec, ObjectKey, Reconciler, Request, Store};
use crate::topology::{Component, ComponentKind, Registration, Topology};

/// How often a database's record is written anew because its shards changed meanwhile.
const SETTLE_ROUNDS_MAX: usize = 8;

/// The controller.
pub struct ShardDataController {
    /// What it works with.
    pub registrar: Registrar,
    /// Its objects.
    pub shards: Store<Shard>,
    /// Workloads of the data plane, which make its pods.
    pub deployments: Store<Deployment>,
    /// Workloads of the data plane, which make its pods.
    pub stateful_sets: Store<StatefulSet>,
    /// Pods of the data plane.
    pub pods: Store<Pod>,
}

impl Reconciler for ShardDataController {
    type Error = Error;

    fn spec(&self) -> ControllerSpec {
        ControllerSpec {
            name: "shard-datahandler",
            kind: "Shard",
            root_span: "ShardData.Reconcile",
            // An etcd that does not answer delays nobody else's.
            workers: WORKERS,
            backoff: Backoff::registrar(),
        }
    }

    fn origin(&self, key: &ObjectKey) -> TraceOrigin {
        let shard = self.registrar.tools.recent.newest_present(&self.shards, key);
        let completed = shard.as_deref().is_some_and(|shard| {
            let conditions = shard.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            registered_generation(conditions).is_some_and(|done| Some(done) == shard.metadata.generation)
        });
        origin(shard.as_deref(), completed)
    }

    async fn reconcile(&self, request: &Request) -> Result<Action, Error> {
        let Some(mut pass) = Pass::begin(&self.registrar.tools, &self.shards, &request.key) else {
            return Ok(Action::Done);
        };
        if pass.is_deleting() {
            return self.handle_deletion(&mut pass).await;
        }
        if self.registrar.hold(&mut pass, finalizers::SHARD).await? == Outcome::Outdated {
            return Ok(Action::Requeue);
        }
        let shard = pass.object.clone();
        let outcome = step("ShardData.RegisterDatabaseInTopology", self.register(&shard)).await;
        let outcome = outcome.map(|(registration, pruned)| {
            if pruned > 0 {
                pass.changed = true;
                let message = format!("Removed {pruned} pooler(s) and orchestrator(s) that are gone from topology");
                self.registrar.tools.events.normal(&*shard, "PoolersPruned", message);
            }
            registration
        });
        let conditions = shard.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
        self.registrar.conclude(&mut pass, &conditions, subject(&shard), outcome).await
    }
}

fn subject(shard: &Shard) -> Subject<'_> {
    Subject {
        noun: "database",
        name: &shard.spec.database_name,
        registered_reason: "DatabaseRegistered",
        unregistered_reason: "DatabaseUnregistered",
        synced_message: "Successfully reconciled database topology",
        finalizer: finalizers::SHARD,
    }
}

impl ShardDataController {
    fn topology(&self, shard: &Shard) -> Result<Topology, Error> {
        Ok(Topology::new(self.registrar.connector.clone(), &shard.spec.global_topo_server)?)
    }

    /// The database's record, and the records of components that the specification has no place for any more and whose pods are gone.
    /// Poolers never take themselves out.
    async fn register(&self, shard: &Arc<Shard>) -> Result<(Registration, usize), Error> {
        let topology = self.topology(shard)?;
        let registration = match self.settle_database(&topology, shard).await? {
            Settled::Registered(registration) => registration,
            Settled::Unregistered(_) => Registration::Unchanged,
        };
        let parts = pool::parts(shard)?;
        let mut pruned = 0;
        if may_have_lost(shard) {
            let gone = |component: &Component| !self.has_pod(shard, &component.pod);
            let surplus = |component: &Component| {
                shard.spec.pools.iter().any(|(name, spec)| {
                    let place = component.ordinal_in(&parts.pool(name, &component.cell));
                    let places = if spec.cells.contains(&component.cell) { pool::replicas(spec) } else { 0 };
                    place.is_some_and(|place| place >= places)
                })
            };
            let surplus = |component: &Component| surplus(component) && gone(component);
            pruned += topology.remove_components(ComponentKind::Pooler, surplus).await?;
            let cells = crate::resources::orch::cells(shard)?;
            let surplus = |component: &Component| {
                let orch = parts.orch(&component.cell);
                (component.is_of(&orch) || component.may_be_of(&orch))
                    && !cells.contains(&component.cell)
                    && gone(component)
            };
            pruned += topology.remove_components(ComponentKind::Orch, surplus).await?;
        }
        Ok((registration, pruned))
    }

    fn has_pod(&self, shard: &Shard, pod: &str) -> bool {
        self.pods.get(&ObjectKey::new(shard.namespace().unwrap_or_default(), pod)).is_some()
    }

    /// Takes the shard out of the topology once its pods have ended.
    async fn handle_deletion(&self, pass: &mut Pass<Shard>) -> Result<Action, Error> {
        let shard = pass.object.clone();
        if !finalizers::holds(&*shard, finalizers::SHARD) {
            return Ok(Action::Done);
        }
        if self.has_pods(&shard) && !finalizers::is_overdue(&*shard, finalizers::CLEANUP_MAX) {
            return Ok(Action::RequeueAfter(CLEANUP_RETRY));
        }
        let outcome = step("ShardData.HandleDeletion", self.unregister(&shard)).await;
        self.registrar.conclude_cleanup(pass, subject(&shard), &shard.spec.global_topo_server, outcome).await
    }

    /// Whether it has pods, or what makes them: a pod that comes yet would register itself anew.
    fn has_pods(&self, shard: &Arc<Shard>) -> bool {
        let uid = shard.uid().unwrap_or_default();
        !self.pods.of_shard(ObjectKey::of(shard.as_ref())).is_empty()
            || !self.stateful_sets.controlled_by(&uid).is_empty()
            || !self.deployments.controlled_by(&uid).is_empty()
    }

    async fn unregister(&self, shard: &Arc<Shard>) -> Result<bool, Error> {
        let topology = self.topology(shard)?;
        let parts = pool::parts(shard)?;
        let of_pools = |component: &Component| {
            shard.spec.pools.keys().any(|name| component.ordinal_in(&parts.pool(name, &component.cell)).is_some())
        };
        topology.remove_components(ComponentKind::Pooler, of_pools).await?;
        let of_orchs = |component: &Component| {
            let orch = parts.orch(&component.cell);
            // Whose pod still runs may be another shard's.
            component.is_of(&orch) || component.may_be_of(&orch) && !self.has_pod(shard, &component.pod)
        };
        topology.remove_components(ComponentKind::Orch, of_orchs).await?;
        match self.settle_database(&topology, shard).await? {
            Settled::Unregistered(removed) => Ok(removed),
            // Another shard's database too: it lost only the cells that were this one's alone.
            Settled::Registered(_) => Ok(false),
        }
    }

    /// Makes the record of the shard's database what its shards that stay say, or takes it out when none does.
    ///
    /// Shards of one database may be at this at the same time. Each looks again when it has written: whoever writes last has seen what
    /// all others saw, and corrects it.
    async fn settle_database(&self, topology: &Topology, shard: &Shard) -> Result<Settled, Error> {
        let database = &shard.spec.database_name;
        let mut cells = self.cells_of_database(shard);
        let mut rounds = 0;
        loop {
            let settled = match &cells {
                Some(cells) => Settled::Registered(topology.register_database(database, cells).await?),
                None => Settled::Unregistered(topology.unregister_database(database).await?),
            };
            rounds += 1;
            let seen = std::mem::replace(&mut cells, self.cells_of_database(shard));
            // A shard that changes again later brings its own reconcile.
            if cells == seen || rounds == SETTLE_ROUNDS_MAX {
                return Ok(settled);
            }
        }
    }

    /// The cells of all shards of the same database that stay; nothing where none does.
    fn cells_of_database(&self, shard: &Shard) -> Option<Vec<String>> {
        let shards = self.live_shards_of_database(shard);
        (!shards.is_empty()).then(|| cells_of(&shards))
    }

    /// The shards of the same database that stay, this one among them unless it goes: they share one record, and none may take
    /// another's cells out of it.
    fn live_shards_of_database(&self, shard: &Shard) -> Vec<Arc<Shard>> {
        let cluster = shard.labels().get(labels::CLUSTER).cloned().unwrap_or_default();
        let mut others = self.shards.of_cluster(&shard.namespace().unwrap_or_default(), &cluster);
        // That this one goes may be known before the cache has it.
        let is_going = |other: &Shard| {
            other.metadata.deletion_timestamp.is_some()
                || shard.metadata.deletion_timestamp.is_some() && other.metadata.uid == shard.metadata.uid
        };
        others.retain(|other| !is_going(other) && other.spec.database_name == shard.spec.database_name);
        others
    }
}

/// What a database's record was brought to.
enum Settled {
    /// It is there.
    Registered(Registration),
    /// It is not; whether it was is known.
    Unregistered(bool),
}

/// Whether the shard may have become smaller since it came: with its first generation it cannot have.
fn may_have_lost(shard: &Shard) -> bool {
    shard.metadata.generation.is_some_and(|generation| generation > 1)
}

/// Cells of all pools of these shards, sorted.
fn cells_of(shards: &[Arc<Shard>]) -> Vec<String> {
    let pools = shards.iter().flat_map(|shard| shard.spec.pools.values());
    let cells: BTreeSet<String> = pools.flat_map(|pool| pool.cells.iter().cloned()).collect();
    cells.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::controllers::tests::{no_connector, tools};

    #[tokio::test]
    async fn shards_of_one_database_share_its_record() {
        let one = crate::resources::test_objects::shard();
        let mut other = one.clone();
        other.metadata.name = Some("other".into());
        other.metadata.uid = Some("other".into());
        for pool in other.spec.pools.values_mut() {
            pool.cells = vec!["zone-b".into(), "zone-a".into()];
        }
        let mut foreign = other.clone();
        foreign.metadata.name = Some("foreign".into());
        foreign.spec.database_name = "elsewhere".into();
        let shards = Store::holding([one.clone(), other, foreign]);
        let registrar = Registrar { tools: tools(), connector: no_connector(), topo_servers: Store::holding([]) };
        let controller = ShardDataController {
            registrar,
            shards,
            deployments: Store::holding([]),
            stateful_sets: Store::holding([]),
            pods: Store::holding([]),
        };
        assert_eq!(cells_of(&controller.live_shards_of_database(&one)), ["zone-a", "zone-b"]);
        // The cache lags behind what was told when the status was written.
        let mut going = one;
        going.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        let left = controller.live_shards_of_database(&going);
        assert_eq!(left.iter().map(|shard| shard.name_any()).collect::<Vec<_>>(), ["other"]);
    }
}
