//! `shard-datahandler`: Shard -> its database's record in the topology.

use std::collections::BTreeSet;

use kube::ResourceExt;

use super::error::Error;
use super::registrar::{Registrar, Subject, registered_generation};
use super::tools::{Pass, origin};
use crate::api::Shard;
use crate::labels;
use crate::observability::{TraceOrigin, step};
use crate::runtime::{Action, Backoff, ControllerSpec, ObjectKey, Reconciler, Request, Store};
use crate::topology::Topology;

/// The controller.
pub struct ShardDataController {
    /// What it works with.
    pub registrar: Registrar,
    /// Its objects.
    pub shards: Store<Shard>,
}

impl Reconciler for ShardDataController {
    type Error = Error;

    fn spec(&self) -> ControllerSpec {
        ControllerSpec {
            name: "shard-datahandler",
            kind: "Shard",
            root_span: "ShardData.Reconcile",
            workers: 1,
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
        let shard = pass.object.clone();
        if pass.is_deleting() {
            return Ok(Action::Done);
        }
        let cells = self.cells_of_database(&shard);
        let outcome = step("ShardData.RegisterDatabaseInTopology", async {
            let topology = Topology::new(self.registrar.connector.clone(), &shard.spec.global_topo_server)?;
            Ok::<_, Error>(topology.register_database(&shard.spec.database_name, &cells).await?)
        })
        .await;
        let subject = Subject {
            noun: "database",
            name: &shard.spec.database_name,
            registered_reason: "DatabaseRegistered",
            synced_message: "Successfully reconciled database topology",
        };
        let conditions = shard.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
        self.registrar.conclude(&mut pass, &conditions, subject, outcome).await
    }
}

impl ShardDataController {
    /// Cells of all shards of the database, sorted: they share one record, and none may take another's cells out of it.
    fn cells_of_database(&self, shard: &Shard) -> Vec<String> {
        let siblings = self.shards.filtered(|other| {
            other.namespace() == shard.namespace()
                && other.metadata.deletion_timestamp.is_none()
                && other.labels().get(labels::CLUSTER) == shard.labels().get(labels::CLUSTER)
                && other.spec.database_name == shard.spec.database_name
        });
        let pools = siblings.iter().flat_map(|sibling| sibling.spec.pools.values());
        let cells: BTreeSet<String> = pools.flat_map(|pool| pool.cells.iter().cloned()).collect();
        cells.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::tests::{no_connector, tools};

    #[tokio::test]
    async fn shards_of_one_database_share_its_record() {
        let one = crate::resources::test_objects::shard();
        let mut other = one.clone();
        other.metadata.name = Some("other".into());
        for pool in other.spec.pools.values_mut() {
            pool.cells = vec!["zone-b".into(), "zone-a".into()];
        }
        let mut foreign = other.clone();
        foreign.metadata.name = Some("foreign".into());
        foreign.spec.database_name = "elsewhere".into();
        let shards = Store::holding([one.clone(), other, foreign]);
        let registrar = Registrar { tools: tools(), connector: no_connector() };
        let controller = ShardDataController { registrar, shards };
        assert_eq!(controller.cells_of_database(&one), ["zone-a", "zone-b"]);
    }
}
