//! `shard`: Shard -> its orchestrators and pools.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Service};
use kube::ResourceExt;

use super::error::Error;
use super::phase::{self, Finding, Workload};
use super::tools::{FIELD_MANAGER, Pass, Tools, now, origin};
use super::{WORKERS, completed};
use crate::api::{Shard, ShardStatus};
use crate::observability::metrics::Replicas;
use crate::observability::{TraceOrigin, set_attribute, step};
use crate::resources::{orch, pg_hba, pool};
use crate::runtime::{Action, Backoff, ControllerSpec, ObjectKey, Reconciler, Request, Store};

/// The controller.
pub struct ShardController {
    /// What it works with.
    pub tools: Tools,
    /// Its objects.
    pub shards: Store<Shard>,
    /// What it owns.
    pub deployments: Store<Deployment>,
    /// What it owns.
    pub stateful_sets: Store<StatefulSet>,
    /// What it owns.
    pub services: Store<Service>,
    /// What it owns.
    pub config_maps: Store<ConfigMap>,
    /// What it owns.
    pub claims: Store<PersistentVolumeClaim>,
}

impl Reconciler for ShardController {
    type Error = Error;

    fn spec(&self) -> ControllerSpec {
        ControllerSpec {
            name: "shard",
            kind: "Shard",
            root_span: "Shard.Reconcile",
            workers: WORKERS,
            backoff: Backoff::default(),
        }
    }

    fn origin(&self, key: &ObjectKey) -> TraceOrigin {
        let shard = self.tools.recent.newest_present(&self.shards, key);
        origin(shard.as_deref(), completed(shard.as_deref().map(|s| (&s.metadata, s.status.as_ref()))))
    }

    async fn reconcile(&self, request: &Request) -> Result<Action, Error> {
        let Some(mut pass) = Pass::begin(&self.tools, &self.shards, &request.key) else {
            self.tools.metrics.forget_shard(&request.key.namespace, &request.key.name);
            return Ok(Action::Done);
        };
        if pass.is_deleting() {
            return Ok(Action::Done);
        }
        let shard = pass.object.clone();
        let new_generation = !completed(Some((&shard.metadata, shard.status.as_ref())));
        let pg_hba = async {
            let desired = pg_hba::config_map(&shard)?;
            self.tools.apply(&mut pass, &self.config_maps, &desired, Some("ConfigMap")).await
        };
        let pg_hba = step("Shard.ReconcilePgHba", pg_hba).await;
        pg_hba.map_err(self.tools.warned(&pass, "ConfigError", "Failed to generate pg_hba"))?;
        let orchs = step("Shard.ReconcileMultiOrch", self.orchs(&mut pass, &shard)).await?;
        let pools = step("Shard.ReconcilePools", self.pools(&mut pass, &shard)).await?;
        step("Shard.UpdateStatus", self.update_status(&mut pass, &shard, &orchs, &pools))
            .await
            .map_err(self.tools.warned(&pass, "StatusError", "Failed to update status"))?;
        self.tools.synced(&pass, new_generation, "Successfully reconciled Shard");
        Ok(Action::Done)
    }
}

impl ShardController {
    async fn orchs(&self, pass: &mut Pass<Shard>, shard: &Arc<Shard>) -> Result<Vec<Workload>, Error> {
        let cells = orch::cells(shard).map_err(Error::from);
        let cells = cells.map_err(self.tools.warned(pass, "ConfigError", "Failed to determine MultiOrch cells"))?;
        let mut workloads = Vec::new();
        for cell in cells {
            let deployment = async {
                let desired = orch::orch_deployment(shard, &cell, &self.tools.operator_env)?;
                self.tools.apply(pass, &self.deployments, &desired, Some("Deployment")).await
            };
            let deployment = deployment.await;
            let what = format!("Failed to supply MultiOrch Deployment for cell {cell}");
            let deployment = deployment.map_err(self.tools.warned(pass, "FailedApply", &what))?;
            workloads.push(Workload::from(&deployment));
            let service = async {
                let desired = orch::orch_service(shard, &cell)?;
                self.tools.apply(pass, &self.services, &desired, Some("Service")).await
            };
            let service = service.await;
            let what = format!("Failed to supply MultiOrch Service for cell {cell}");
            service.map_err(self.tools.warned(pass, "FailedApply", &what))?;
        }
        Ok(workloads)
    }

    /// The pools by name, each with its workloads, one a cell.
    async fn pools(
        &self,
        pass: &mut Pass<Shard>,
        shard: &Arc<Shard>,
    ) -> Result<BTreeMap<String, Vec<Workload>>, Error> {
        let all = pool::all(shard).map_err(Error::from);
        let all = all.map_err(self.tools.warned(pass, "FailedApply", "Failed to reconcile pools"))?;
        let mut pools: BTreeMap<String, Vec<Workload>> = BTreeMap::new();
        for one in all {
            let workload = self.pool(pass, one).await;
            let what = format!("Failed to reconcile pool {}", one.pool);
            let workload = workload.map_err(self.tools.warned(pass, "FailedApply", &what))?;
            pools.entry(one.pool.to_owned()).or_default().push(workload);
        }
        Ok(pools)
    }

    async fn pool(&self, pass: &mut Pass<Shard>, one: pool::PoolInCell<'_>) -> Result<Workload, Error> {
        let claim = one.backup_claim()?;
        self.tools.apply(pass, &self.claims, &claim, Some("PersistentVolumeClaim")).await?;
        let desired = one.stateful_set(&self.tools.operator_env)?;
        let set = self.tools.apply(pass, &self.stateful_sets, &desired, Some("StatefulSet")).await?;
        self.tools.apply(pass, &self.services, &one.headless()?, Some("Service")).await?;
        Ok(Workload::from(&set))
    }

    async fn update_status(
        &self,
        pass: &mut Pass<Shard>,
        shard: &Arc<Shard>,
        orchs: &[Workload],
        pools: &BTreeMap<String, Vec<Workload>>,
    ) -> Result<(), Error> {
        self.export(shard, &pass.namespace(), pools);
        let workloads: Vec<Workload> = pools.values().flatten().copied().collect();
        let verdict = phase::of_shard(&workloads, orchs);
        let present = shard.status.clone().unwrap_or_default();
        let total = total(&workloads);
        let pools_ready = phase::pools_ready(&workloads);
        let finding = Finding {
            type_: "Available",
            holds: pools_ready,
            reason: if pools_ready { "AllPodsReady" } else { "NotAllPodsReady" },
            message: format!("{}/{} pods ready", total.ready, total.desired),
            generation: shard.metadata.generation,
        };
        let cells: BTreeSet<String> = shard.spec.pools.values().flat_map(|pool| pool.cells.iter().cloned()).collect();
        let desired = ShardStatus {
            observed_generation: shard.metadata.generation,
            conditions: vec![phase::condition(&present.conditions, finding, now())],
            phase: Some(verdict.phase),
            message: Some(verdict.message),
            cells: cells.into_iter().collect(),
            orch_ready: orchs.iter().all(|orch| orch.is_ready()),
            pools_ready,
        };
        set_attribute("status.phase", verdict.phase.as_str());
        set_attribute("status.ready_replicas", i64::from(total.ready));
        self.tools.write_status(&**shard, shard.status.as_ref(), &desired, FIELD_MANAGER).await?;
        self.tools.phase_changed(pass, present.phase, verdict.phase);
        Ok(())
    }

    fn export(&self, shard: &Shard, namespace: &str, pools: &BTreeMap<String, Vec<Workload>>) {
        for (pool, workloads) in pools {
            self.tools.metrics.set_shard_pool_replicas(namespace, &shard.name_any(), pool, total(workloads));
        }
    }
}

fn total(workloads: &[Workload]) -> Replicas {
    Replicas {
        desired: workloads.iter().map(|workload| workload.replicas.desired).sum(),
        ready: workloads.iter().map(|workload| workload.replicas.ready).sum(),
    }
}
