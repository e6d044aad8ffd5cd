//! `shard`: Shard -> its orchestrators and pools.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service};
use kube::ResourceExt;

use super::error::Error;
use super::phase::{self, Finding, Workload};
use super::tools::{FIELD_MANAGER, Pass, Tools, now, origin};
use super::volumes::{self, Sizes};
use super::{WORKERS, completed};
use super::{finalizers, pods};
use crate::api::{Shard, ShardStatus};
use crate::labels;
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
    /// Claims for backups, of which it owns those that go with it, and those of the pools' pods.
    pub claims: Store<PersistentVolumeClaim>,
    /// Pods of the data plane.
    pub pods: Store<Pod>,
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
            self.tools.metrics.forget_shard(&request.key.namespace, &request.key.name);
            if !finalizers::orphans_dependents(&*pass.object) {
                step("Shard.HandleDeletion", self.stop_pods(&mut pass)).await?;
            }
            return Ok(Action::Done);
        }
        let result = self.bring_about(&mut pass).await;
        if let Err(error) = &result {
            self.tools.report_failure(&mut pass, error, request.failures).await;
        }
        result
    }
}

impl ShardController {
    async fn bring_about(&self, pass: &mut Pass<Shard>) -> Result<Action, Error> {
        let shard = pass.object.clone();
        let new_generation = !completed(Some((&shard.metadata, shard.status.as_ref())));
        let pg_hba = async {
            let desired = pg_hba::config_map(&shard)?;
            self.tools.apply(pass, &self.config_maps, &desired, Some("ConfigMap")).await
        };
        let pg_hba = step("Shard.ReconcilePgHba", pg_hba).await;
        pg_hba.map_err(self.tools.warned(pass, "ConfigError", "Failed to generate pg_hba"))?;
        let orchs = step("Shard.ReconcileMultiOrch", self.orchs(pass, &shard)).await?;
        let mut sizes = Sizes::default();
        let pools = step("Shard.ReconcilePools", self.pools(pass, &shard, &mut sizes)).await?;
        let action = step("Shard.UpdateStatus", self.update_status(pass, &shard, &orchs, &pools, &sizes))
            .await
            .map_err(self.tools.warned(pass, "StatusError", "Failed to update status"))?;
        self.tools.synced(pass, new_generation, "Successfully reconciled Shard");
        Ok(action)
    }

    /// Ends all pods, so that they leave the topology before the shard does.
    async fn stop_pods(&self, pass: &mut Pass<Shard>) -> Result<(), Error> {
        self.tools.delete_all(pass, &self.deployments).await?;
        self.tools.delete_all(pass, &self.stateful_sets).await
    }

    async fn orchs(&self, pass: &mut Pass<Shard>, shard: &Arc<Shard>) -> Result<Vec<Workload>, Error> {
        let cells = orch::cells(shard).map_err(Error::from);
        let cells = cells.map_err(self.tools.warned(pass, "ConfigError", "Failed to determine MultiOrch cells"))?;
        let (mut workloads, mut wanted) = (Vec::new(), BTreeSet::new());
        for cell in cells {
            let deployment = async {
                let desired = orch::orch_deployment(shard, &cell, &self.tools.operator_env)?;
                wanted.insert(desired.name_any());
                self.tools.apply(pass, &self.deployments, &desired, Some("Deployment")).await
            };
            let deployment = deployment.await;
            let what = format!("Failed to supply MultiOrch Deployment for cell {cell}");
            let deployment = deployment.map_err(self.tools.warned(pass, "FailedApply", &what))?;
            workloads.push(Workload::from(&deployment));
            let service = async {
                let desired = orch::orch_service(shard, &cell, &self.tools.operator_env)?;
                self.tools.apply(pass, &self.services, &desired, Some("Service")).await
            };
            let service = service.await;
            let what = format!("Failed to supply MultiOrch Service for cell {cell}");
            service.map_err(self.tools.warned(pass, "FailedApply", &what))?;
        }
        let pruned = self.tools.prune(pass, &self.deployments, &wanted).await;
        pruned.map_err(self.tools.warned(pass, "CleanUpError", "Failed to delete orphaned MultiOrch Deployments"))?;
        Ok(workloads)
    }

    /// The pools by name, each with its workloads, one a cell.
    async fn pools(
        &self,
        pass: &mut Pass<Shard>,
        shard: &Arc<Shard>,
        sizes: &mut Sizes,
    ) -> Result<BTreeMap<String, Vec<Workload>>, Error> {
        let all = pool::all(shard).map_err(Error::from);
        let all = all.map_err(self.tools.warned(pass, "FailedApply", "Failed to reconcile pools"))?;
        let mut pools: BTreeMap<String, Vec<Workload>> = BTreeMap::new();
        for one in all {
            let workload = self.pool(pass, one, sizes).await;
            let what = format!("Failed to reconcile pool {}", one.pool);
            let workload = workload.map_err(self.tools.warned(pass, "FailedApply", &what))?;
            pools.entry(one.pool.to_owned()).or_default().push(workload);
        }
        let pruned = self.prune(pass, shard).await;
        pruned.map_err(self.tools.warned(pass, "CleanUpError", "Failed to delete what no pool needs"))?;
        Ok(pools)
    }

    /// Deletes what belongs to cells and pools that the shard no longer has: pods, their names, and the claims that go with them.
    async fn prune(&self, pass: &mut Pass<Shard>, shard: &Arc<Shard>) -> Result<(), Error> {
        let (mut sets, mut services, mut claims) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for one in pool::all(shard)? {
            sets.insert(one.name()?);
            services.insert(one.headless(&self.tools.operator_env)?.name_any());
            claims.insert(one.backup_claim()?.name_any());
        }
        for cell in orch::cells(shard)? {
            services.insert(orch::orch_service(shard, &cell, &self.tools.operator_env)?.name_any());
        }
        // Before anything is deleted: of what is gone when a later deletion has failed nobody knows any more.
        for set in self.stateful_sets.controlled_by(&shard.uid().unwrap_or_default()) {
            let pool = set.labels().get(labels::POOL).filter(|pool| !shard.spec.pools.contains_key(*pool));
            if let Some(pool) = pool {
                self.tools.metrics.forget_shard_pool(&pass.namespace(), &shard.name_any(), pool);
            }
        }
        self.tools.prune(pass, &self.stateful_sets, &sets).await?;
        self.tools.prune(pass, &self.services, &services).await?;
        self.tools.prune(pass, &self.claims, &claims).await?;
        Ok(())
    }

    async fn pool(
        &self,
        pass: &mut Pass<Shard>,
        one: pool::PoolInCell<'_>,
        sizes: &mut Sizes,
    ) -> Result<Workload, Error> {
        let mut claim = one.backup_claim()?;
        let stored = self.tools.recent.newest(&self.claims, &ObjectKey::of(&claim));
        let size = volumes::keep(&mut claim, stored.as_deref(), sizes);
        let claim = self.tools.apply(pass, &self.claims, &claim, Some("PersistentVolumeClaim")).await?;
        let mut desired = one.stateful_set(&self.tools.operator_env)?;
        let stored = self.tools.recent.newest(&self.stateful_sets, &ObjectKey::of(&desired));
        let templates = volumes::keep_templates(&mut desired, stored.as_deref(), sizes);
        let set = self.tools.apply(pass, &self.stateful_sets, &desired, Some("StatefulSet")).await?;
        if let Some(size) = size {
            self.tools.grow(pass, &claim, &size, sizes).await?;
        }
        for (claim, size) in volumes::of_set(&self.claims, &set, &templates) {
            self.tools.grow(pass, &claim, &size, sizes).await?;
        }
        self.tools.apply(pass, &self.services, &one.headless(&self.tools.operator_env)?, Some("Service")).await?;
        Ok(Workload::from(&set))
    }

    async fn update_status(
        &self,
        pass: &mut Pass<Shard>,
        shard: &Arc<Shard>,
        orchs: &[Workload],
        pools: &BTreeMap<String, Vec<Workload>>,
        sizes: &Sizes,
    ) -> Result<Action, Error> {
        self.export(shard, &pass.namespace(), pools);
        let workloads: Vec<Workload> = pools.values().flatten().copied().collect();
        let verdict = phase::of_shard(&workloads, orchs);
        let troubles = pods::Troubles::of(&self.pods_of(shard));
        let verdict = phase::with_trouble(verdict, troubles.text.as_deref());
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
        let sized = sizes.condition(&present.conditions, shard.metadata.generation);
        self.tools.tell_refused(pass, &present.conditions, sized.as_ref(), sizes);
        let available = phase::condition(&present.conditions, finding, now());
        let desired = ShardStatus {
            observed_generation: shard.metadata.generation,
            conditions: [available].into_iter().chain(sized).collect(),
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
        Ok(sizes.action(troubles.action()))
    }

    fn pods_of(&self, shard: &Arc<Shard>) -> Vec<Arc<Pod>> {
        self.pods.of_shard(ObjectKey::of(shard.as_ref()))
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
