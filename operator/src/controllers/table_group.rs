//! `tablegroup`: TableGroup -> its Shards.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::ResourceExt;

use super::error::Error;
use super::phase::{self, Finding};
use super::tools::{FIELD_MANAGER, Pass, Tools, now, origin};
use super::{WORKERS, completed};
use crate::api::common::Phase;
use crate::api::{Shard, TableGroup, TableGroupStatus};
use crate::labels;
use crate::observability::{TraceOrigin, set_attribute, step};
use crate::resources::children;
use crate::runtime::{Action, Backoff, ControllerSpec, ObjectKey, Reconciler, Request, Store};

/// The controller.
pub struct TableGroupController {
    /// What it works with.
    pub tools: Tools,
    /// Its objects.
    pub groups: Store<TableGroup>,
    /// What it owns.
    pub shards: Store<Shard>,
}

impl Reconciler for TableGroupController {
    type Error = Error;

    fn spec(&self) -> ControllerSpec {
        ControllerSpec {
            name: "tablegroup",
            kind: "TableGroup",
            root_span: "TableGroup.Reconcile",
            workers: WORKERS,
            backoff: Backoff::default(),
        }
    }

    fn origin(&self, key: &ObjectKey) -> TraceOrigin {
        let group = self.tools.recent.newest_present(&self.groups, key);
        origin(group.as_deref(), completed(group.as_deref().map(|g| (&g.metadata, g.status.as_ref()))))
    }

    async fn reconcile(&self, request: &Request) -> Result<Action, Error> {
        let Some(mut pass) = Pass::begin(&self.tools, &self.groups, &request.key) else { return Ok(Action::Done) };
        if pass.is_deleting() {
            return Ok(Action::Done);
        }
        let result = self.bring_about(&mut pass).await;
        if let Err(error) = &result {
            self.tools.report_failure(&mut pass, error, request.failures).await;
        }
        result
    }
}

impl TableGroupController {
    async fn bring_about(&self, pass: &mut Pass<TableGroup>) -> Result<Action, Error> {
        let group = pass.object.clone();
        let new_generation = !completed(Some((&group.metadata, group.status.as_ref())));
        let shards = step("TableGroup.ReconcileShards", self.reconcile_shards(pass, &group)).await?;
        step("TableGroup.PruneShards", self.prune(pass, &group, &shards)).await?;
        step("TableGroup.UpdateStatus", self.update_status(pass, &group, &shards)).await.map_err(self.tools.warned(
            pass,
            "StatusError",
            "Failed to patch status",
        ))?;
        self.tools.synced(pass, new_generation, "Successfully reconciled TableGroup");
        Ok(Action::Done)
    }

    async fn reconcile_shards(
        &self,
        pass: &mut Pass<TableGroup>,
        group: &Arc<TableGroup>,
    ) -> Result<Vec<Shard>, Error> {
        let mut shards = Vec::new();
        for resolved in &group.spec.shards {
            let name = &resolved.name;
            let desired = children::shard(group, resolved).map_err(Error::from);
            let desired =
                desired.map_err(self.tools.warned(pass, "FailedApply", &format!("Failed to build shard {name}")))?;
            let applied = self.tools.apply_traced(pass, &self.shards, desired, "Shard").await;
            let what = format!("Failed to apply shard {name}");
            shards.push(applied.map_err(self.tools.warned(pass, "FailedApply", &what))?);
        }
        Ok(shards)
    }

    async fn prune(&self, pass: &mut Pass<TableGroup>, group: &Arc<TableGroup>, wanted: &[Shard]) -> Result<(), Error> {
        let namespace = pass.namespace();
        let ours = [(labels::DATABASE, &group.spec.database_name), (labels::TABLE_GROUP, &group.spec.table_group_name)];
        let wanted: BTreeSet<String> = wanted.iter().map(ResourceExt::name_any).collect();
        let cluster = group.labels().get(labels::CLUSTER).cloned().unwrap_or_default();
        let mut orphans = self.shards.of_cluster(&namespace, &cluster);
        orphans.retain(|shard| {
            shard.metadata.deletion_timestamp.is_none()
                && ours.iter().all(|(key, value)| shard.labels().get(*key) == Some(*value))
                && !wanted.contains(&shard.name_any())
        });
        for orphan in orphans {
            let what = format!("Failed to delete orphan shard {}", orphan.name_any());
            self.tools.delete_orphan(pass, orphan.as_ref()).await.map_err(self.tools.warned(
                pass,
                "CleanUpError",
                &what,
            ))?;
        }
        Ok(())
    }

    async fn update_status(
        &self,
        pass: &mut Pass<TableGroup>,
        group: &Arc<TableGroup>,
        shards: &[Shard],
    ) -> Result<(), Error> {
        let phases: Vec<Phase> =
            shards.iter().map(|shard| phase::of_child(&shard.metadata, shard.status.as_ref())).collect();
        let verdict = phase::of_table_group(&phases);
        let present = group.status.clone().unwrap_or_default();
        let ready = phases.iter().filter(|phase| **phase == Phase::Healthy).count();
        let finding = Finding {
            type_: "Available",
            holds: verdict.phase == Phase::Healthy || phases.is_empty(),
            reason: "ShardsReady",
            message: format!("{ready}/{} shards ready", phases.len()),
            generation: group.metadata.generation,
        };
        let desired = TableGroupStatus {
            observed_generation: group.metadata.generation,
            conditions: vec![phase::condition(&present.conditions, finding, now())],
            phase: Some(verdict.phase),
            message: Some(verdict.message),
            ready_shards: ready as i32,
            total_shards: phases.len() as i32,
        };
        set_attribute("status.phase", verdict.phase.as_str());
        self.tools.write_status(&**group, group.status.as_ref(), &desired, FIELD_MANAGER).await?;
        self.tools.phase_changed(pass, present.phase, verdict.phase);
        Ok(())
    }
}
