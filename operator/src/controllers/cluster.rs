//! `multigrescluster`: MultigresCluster -> TopoServer, MultiAdmin, Cells, TableGroups.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{Resource, ResourceExt};

use super::error::Error;
use super::finalizers::{self, Outcome};
use super::phase::{self, Finding, Workload};
use super::pods;
use super::templates::Templates;
use super::tools::{FIELD_MANAGER, Pass, Tools, Written, now, origin};
use super::{WORKERS, completed};
use crate::api::cluster::{CellSummary, DatabaseSummary, TableGroupConfig};
use crate::api::common::{GlobalTopoServerRef, Phase, StatelessSpec};
use crate::api::monitoring::{ServiceMonitor, VmServiceScrape};
use crate::api::{Cell, MultigresCluster, MultigresClusterStatus, Shard, TableGroup, TopoServer};
use crate::labels::{self, component};
use crate::observability::{TraceOrigin, set_attribute, step};
use crate::resolver::{self, GlobalTopo, ResolveError, TemplateSource};
use crate::resources::{children, multiadmin, scrape};
use crate::runtime::{Action, Backoff, ControllerSpec, ObjectKey, Reconciler, Request, Store};

/// The controller.
pub struct ClusterController {
    /// What it works with.
    pub tools: Tools,
    /// Its objects.
    pub clusters: Store<MultigresCluster>,
    /// Templates of all namespaces.
    pub templates: Templates,
    /// What it owns.
    pub topo_servers: Store<TopoServer>,
    /// What it owns.
    pub cells: Store<Cell>,
    /// What it owns.
    pub table_groups: Store<TableGroup>,
    /// What its table groups own: it outlives them.
    pub shards: Store<Shard>,
    /// What it owns.
    pub deployments: Store<Deployment>,
    /// What it owns.
    pub services: Store<Service>,
    /// What it owns, where a Prometheus Operator is.
    pub service_monitors: Store<ServiceMonitor>,
    /// What it owns, where the operator of VictoriaMetrics is.
    pub vm_service_scrapes: Store<VmServiceScrape>,
    /// Pods of the data plane.
    pub pods: Store<Pod>,
}

/// What a reconcile of a cluster brought about, for its status.
#[derive(Default)]
struct Children {
    topo_server: Option<TopoServer>,
    admins: Vec<Phase>,
    cells: Vec<Cell>,
    table_groups: Vec<TableGroup>,
    /// How long until a phase may change with nothing happening.
    look_again: Option<Duration>,
}

/// A cluster that is what it asks for, as far as its phase goes.
struct BroughtAbout {
    action: Action,
    /// Whether the monitoring stacks know of it, too.
    scraped: Result<(), Error>,
}

impl Reconciler for ClusterController {
    type Error = Error;

    fn spec(&self) -> ControllerSpec {
        ControllerSpec {
            name: "multigrescluster",
            kind: "MultigresCluster",
            root_span: "MultigresCluster.Reconcile",
            workers: WORKERS,
            backoff: Backoff::default(),
        }
    }

    fn origin(&self, key: &ObjectKey) -> TraceOrigin {
        let cluster = self.tools.recent.newest_present(&self.clusters, key);
        origin(cluster.as_deref(), completed(cluster.as_deref().map(|c| (&c.metadata, c.status.as_ref()))))
    }

    async fn reconcile(&self, request: &Request) -> Result<Action, Error> {
        let ObjectKey { namespace, name } = &request.key;
        let Some(mut pass) = Pass::begin(&self.tools, &self.clusters, &request.key) else {
            self.tools.metrics.forget_cluster(namespace, name);
            return Ok(Action::Done);
        };
        if pass.is_deleting() {
            self.tools.metrics.forget_cluster(namespace, name);
            return step("MultigresCluster.HandleDeletion", self.take_down(&mut pass)).await;
        }
        let held = self.tools.hold(&mut pass, finalizers::CLUSTER).await;
        let held = held.map_err(self.tools.warned(&pass, "FinalizerFailed", "Failed to add finalizer"));
        let result = match held {
            Ok(Outcome::Outdated) => return Ok(Action::Requeue),
            Ok(Outcome::Done) => self.bring_about(&mut pass).await,
            Err(error) => Err(error),
        };
        match result {
            // That something is not scraped makes no cluster worse; it is tried again.
            Ok(BroughtAbout { action, scraped }) => scraped.map(|()| action),
            Err(error) => {
                let phase = self.tools.report_failure(&mut pass, &error, request.failures).await;
                self.tools.metrics.set_cluster_phase(namespace, name, phase.as_str());
                Err(error)
            }
        }
    }
}

impl ClusterController {
    /// Lets cells and table groups go first: their shards and gateways leave the topology while etcd, which goes with the cluster, still
    /// answers.
    async fn take_down(&self, pass: &mut Pass<MultigresCluster>) -> Result<Action, Error> {
        let cluster = pass.object.clone();
        if !finalizers::holds(&*cluster, finalizers::CLUSTER) {
            return Ok(Action::Done);
        }
        if !finalizers::orphans_dependents(&*cluster) {
            self.tools.delete_all(pass, &self.table_groups).await?;
            self.tools.delete_all(pass, &self.cells).await?;
            let left = self.parts_left(&cluster);
            if left > 0 && !finalizers::is_overdue(&*cluster, finalizers::CLUSTER_CLEANUP_MAX) {
                if pass.changed {
                    let message = format!("Waiting for {left} cell(s), table group(s) and shard(s) to go");
                    self.tools.events.normal(&*cluster, "PendingDeletion", message);
                }
                return Ok(Action::RequeueAfter(finalizers::CLEANUP_RETRY));
            }
            if left > 0 {
                let message =
                    format!("{left} cell(s), table group(s) and shard(s) did not go; the cluster goes without them");
                self.tools.events.warning(&*cluster, "CleanupFailed", message);
            }
        }
        match self.tools.release(pass, finalizers::CLUSTER).await? {
            Outcome::Done => {
                self.tools.events.normal(&*cluster, "CleanupComplete", "Cells and shards are gone");
                Ok(Action::Done)
            }
            Outcome::Outdated => Ok(Action::Requeue),
        }
    }

    /// Custom resources of the cluster that are still there and have something in the topology, or own what has. Those that somebody had
    /// orphaned stay, and what they own does.
    fn parts_left(&self, cluster: &MultigresCluster) -> usize {
        let uid = cluster.uid().unwrap_or_default();
        let mut staying = parts(&self.table_groups, cluster);
        staying.retain(|group| group.controller_owner_ref(&()).is_none_or(|owner| owner.uid != uid));
        let staying: BTreeSet<_> = staying.iter().filter_map(|group| group.uid()).collect();
        let of_staying =
            |shard: &Arc<Shard>| shard.controller_owner_ref(&()).is_some_and(|owner| staying.contains(&owner.uid));
        let shards = parts(&self.shards, cluster).iter().filter(|shard| !of_staying(shard)).count();
        self.cells.controlled_by(&uid).len() + self.table_groups.controlled_by(&uid).len() + shards
    }

    async fn bring_about(&self, pass: &mut Pass<MultigresCluster>) -> Result<BroughtAbout, Error> {
        let stored = pass.object.clone();
        let new_generation = !completed(Some((&stored.metadata, stored.status.as_ref())));
        let templates = self.templates.of_namespace(&pass.namespace());
        let cluster = step("MultigresCluster.PopulateDefaults", async {
            let mut cluster = (*stored).clone();
            let decided = resolver::populate_defaults(&mut cluster.spec, &templates);
            if new_generation {
                self.tell_decisions(&stored, &cluster, decided, &templates);
            }
            Ok::<_, Error>(cluster)
        })
        .await?;
        let mut children = Children::default();
        let topo = step(
            "MultigresCluster.ReconcileGlobalComponents",
            self.global_components(pass, &cluster, &templates, &mut children),
        )
        .await
        .map_err(|error| self.failed(pass, error, "Failed to reconcile global components"))?;
        step("MultigresCluster.ReconcileCells", self.reconcile_cells(pass, &cluster, &topo, &templates, &mut children))
            .await
            .map_err(|error| self.failed(pass, error, "Failed to reconcile cells"))?;
        step(
            "MultigresCluster.ReconcileDatabases",
            self.reconcile_databases(pass, &cluster, &topo, &templates, &mut children),
        )
        .await
        .map_err(|error| self.failed(pass, error, "Failed to reconcile databases"))?;
        let server = children.topo_server.iter().map(ResourceExt::name_any).collect();
        self.tools
            .prune(pass, &self.topo_servers, &server)
            .await
            .map_err(|error| self.failed(pass, error, "Failed to reconcile global components"))?;
        let mut scraped = Ok(());
        if self.service_monitors.served() || self.vm_service_scrapes.served() {
            let managed = children.topo_server.is_some();
            scraped = step("MultigresCluster.ReconcileScrapeObjects", self.scrape_objects(pass, &cluster, managed))
                .await
                .map_err(|error| self.failed(pass, error, "Failed to reconcile scrape objects"));
        }
        step("MultigresCluster.UpdateStatus", self.update_status(pass, &stored, &children))
            .await
            .map_err(|error| self.failed(pass, error, "Failed to update status"))?;
        if scraped.is_ok() {
            self.tools.synced(pass, new_generation, "Successfully reconciled MultigresCluster");
        }
        let action = children.look_again.map_or(Action::Done, Action::RequeueAfter);
        Ok(BroughtAbout { action, scraped })
    }

    /// Says in events what was decided for the user: what was put in where nothing was written (here, or by the webhook before), and
    /// which templates are followed.
    fn tell_decisions(
        &self,
        stored: &Arc<MultigresCluster>,
        cluster: &MultigresCluster,
        decided: Vec<String>,
        templates: &dyn TemplateSource,
    ) {
        let before = stored.annotations().get(labels::IMPLICIT_DEFAULTS).cloned();
        for decision in before.into_iter().chain(decided) {
            self.tools.events.normal(&**stored, "ImplicitDefault", decision);
        }
        for followed in resolver::templates_followed(cluster, templates) {
            self.tools.events.normal(&**stored, "Debug", followed);
        }
    }

    /// Says in events which shards cannot be resolved.
    fn unresolved(
        &self,
        pass: &Pass<MultigresCluster>,
        group: &TableGroupConfig,
        templates: &dyn TemplateSource,
        error: Error,
        cluster: &MultigresCluster,
    ) -> Error {
        for shard in &group.shards {
            if let Err(why) = resolver::shard(&cluster.spec, shard, templates) {
                let message = format!("Failed to resolve shard {}: {why}", shard.name);
                self.tools.events.warning(&*pass.object, "ConfigError", message);
            }
        }
        error
    }

    /// Says in events why a step failed.
    fn failed(&self, pass: &Pass<MultigresCluster>, error: Error, what: &str) -> Error {
        if matches!(error.cause(), Error::Resolve(_)) {
            self.tools.events.warning(&*pass.object, "TemplateMissing", error.to_string());
        }
        self.tools.events.warning(&*pass.object, "FailedApply", format!("{what}: {error}"));
        error
    }

    async fn global_components(
        &self,
        pass: &mut Pass<MultigresCluster>,
        cluster: &MultigresCluster,
        templates: &dyn TemplateSource,
        children: &mut Children,
    ) -> Result<GlobalTopoServerRef, Error> {
        let GlobalTopo { reference, managed } =
            part(component::GLOBAL_TOPO, resolver::global_topo(cluster, templates))?;
        if let Some(spec) = managed {
            let desired = children::topo_server(cluster, spec);
            let applied = self.tools.apply_traced(pass, &self.topo_servers, desired, "Global TopoServer").await;
            children.topo_server = Some(applied?);
        }
        let admin = part(component::MULTIADMIN, resolver::multiadmin(cluster, templates))?;
        let workload = self.admin(pass, cluster, &admin, &reference).await?;
        self.note_admin(cluster, component::MULTIADMIN, workload, children);
        let web = part(component::MULTIADMIN_WEB, resolver::multiadmin_web(cluster, templates))?;
        let workload = self.web(pass, cluster, &web).await?;
        self.note_admin(cluster, component::MULTIADMIN_WEB, workload, children);
        Ok(reference)
    }

    /// What is to be scraped, for the monitoring stacks that are there.
    async fn scrape_objects(
        &self,
        pass: &mut Pass<MultigresCluster>,
        cluster: &MultigresCluster,
        managed_topo: bool,
    ) -> Result<(), Error> {
        let scraped = scrape::scraped(cluster, managed_topo, &self.tools.operator_env);
        let (monitors, scrapes): (Vec<_>, Vec<_>) =
            scraped.iter().map(|one| (one.service_monitor(), one.vm_service_scrape())).unzip();
        self.scrape_objects_of(pass, &self.service_monitors, &monitors).await?;
        self.scrape_objects_of(pass, &self.vm_service_scrapes, &scrapes).await
    }

    async fn scrape_objects_of<K: Written>(
        &self,
        pass: &mut Pass<MultigresCluster>,
        store: &Store<K>,
        wanted: &[K],
    ) -> Result<(), Error> {
        if !store.served() {
            return Ok(());
        }
        for one in wanted {
            self.tools.apply(pass, store, one, Some(K::kind(&()).as_ref())).await?;
        }
        self.tools.prune(pass, store, &wanted.iter().map(ResourceExt::name_any).collect()).await?;
        Ok(())
    }

    fn note_admin(&self, cluster: &MultigresCluster, component: &str, workload: Workload, children: &mut Children) {
        let name = cluster.name_any();
        let labels = [(labels::COMPONENT, component)];
        let pods = pods::with_labels(&self.pods, &cluster.namespace().unwrap_or_default(), &name, &labels);
        let troubles = pods::Troubles::of(&pods);
        children.look_again = [children.look_again, troubles.look_again].into_iter().flatten().min();
        children.admins.push(if troubles.text.is_some() { Phase::Degraded } else { workload.phase() });
    }

    async fn admin(
        &self,
        pass: &mut Pass<MultigresCluster>,
        cluster: &MultigresCluster,
        spec: &StatelessSpec,
        topo: &GlobalTopoServerRef,
    ) -> Result<Workload, Error> {
        let desired = multiadmin::admin_deployment(cluster, spec, topo, &self.tools.operator_env);
        let deployment = self.tools.apply(pass, &self.deployments, &desired, Some("MultiAdmin Deployment")).await?;
        self.tools
            .apply(pass, &self.services, &multiadmin::admin_service(cluster, &self.tools.operator_env), None)
            .await?;
        Ok(Workload::from(&deployment))
    }

    async fn web(
        &self,
        pass: &mut Pass<MultigresCluster>,
        cluster: &MultigresCluster,
        spec: &StatelessSpec,
    ) -> Result<Workload, Error> {
        let desired = multiadmin::web_deployment(cluster, spec);
        let deployment = self.tools.apply(pass, &self.deployments, &desired, Some("MultiAdminWeb Deployment")).await?;
        self.tools.apply(pass, &self.services, &multiadmin::web_service(cluster), None).await?;
        Ok(Workload::from(&deployment))
    }

    async fn reconcile_cells(
        &self,
        pass: &mut Pass<MultigresCluster>,
        cluster: &MultigresCluster,
        topo: &GlobalTopoServerRef,
        templates: &dyn TemplateSource,
        children: &mut Children,
    ) -> Result<(), Error> {
        for config in &cluster.spec.cells {
            let spec = part(component::CELL, resolver::cell(cluster, config, topo, templates))?;
            let desired = children::cell(cluster, spec);
            children.cells.push(self.tools.apply_traced(pass, &self.cells, desired, "Cell").await?);
        }
        let wanted: BTreeSet<&str> = cluster.spec.cells.iter().map(|config| config.name.as_str()).collect();
        for cell in parts(&self.cells, cluster) {
            if !wanted.contains(cell.spec.name.as_str()) {
                self.tools.delete_orphan(pass, cell.as_ref()).await?;
            }
        }
        Ok(())
    }

    async fn reconcile_databases(
        &self,
        pass: &mut Pass<MultigresCluster>,
        cluster: &MultigresCluster,
        topo: &GlobalTopoServerRef,
        templates: &dyn TemplateSource,
        children: &mut Children,
    ) -> Result<(), Error> {
        for database in &cluster.spec.databases {
            for group in &database.tablegroups {
                let spec = part(component::SHARD, resolver::table_group(cluster, database, group, topo, templates))
                    .map_err(|error| self.unresolved(pass, group, templates, error, cluster))?;
                let desired = children::table_group(cluster, spec);
                let applied = self.tools.apply_traced(pass, &self.table_groups, desired, "TableGroup").await?;
                children.table_groups.push(applied);
            }
        }
        let wanted: BTreeSet<String> = children.table_groups.iter().map(ResourceExt::name_any).collect();
        for group in parts(&self.table_groups, cluster) {
            if !wanted.contains(&group.name_any()) {
                self.tools.delete_orphan(pass, group.as_ref()).await?;
            }
        }
        Ok(())
    }

    async fn update_status(
        &self,
        pass: &mut Pass<MultigresCluster>,
        cluster: &Arc<MultigresCluster>,
        children: &Children,
    ) -> Result<(), Error> {
        let present = cluster.status.clone().unwrap_or_default();
        let generation = cluster.metadata.generation;
        let verdict = phase::of_cluster(&children.phases());
        let available = children.cells.iter().filter(|cell| is_available(cell)).count();
        let finding = Finding {
            type_: "Available",
            holds: available > 0 && available == children.cells.len(),
            reason: "AggregatedStatus",
            message: format!("{available}/{} cells available", children.cells.len()),
            generation,
        };
        let mut desired = MultigresClusterStatus {
            observed_generation: generation,
            conditions: vec![phase::condition(&present.conditions, finding, now())],
            phase: Some(verdict.phase),
            message: Some(verdict.message),
            ..MultigresClusterStatus::default()
        };
        for cell in &children.cells {
            let gateway_replicas = cell.status.as_ref().map_or(0, |status| status.gateway_replicas);
            let summary = CellSummary { ready: is_available(cell), gateway_replicas };
            desired.cells.insert(cell.spec.name.clone(), summary);
        }
        let mut shards = 0;
        for group in &children.table_groups {
            let summary: &mut DatabaseSummary = desired.databases.entry(group.spec.database_name.clone()).or_default();
            summary.total_shards += group.spec.shards.len() as i32;
            summary.ready_shards += group.status.as_ref().map_or(0, |status| status.ready_shards);
            shards += group.spec.shards.len();
        }
        set_attribute("status.phase", verdict.phase.as_str());
        let (namespace, name) = (pass.namespace(), cluster.name_any());
        self.tools.write_status(&**cluster, cluster.status.as_ref(), &desired, FIELD_MANAGER).await?;
        self.tools.phase_changed(pass, present.phase, verdict.phase);
        self.tools.metrics.set_cluster_phase(&namespace, &name, verdict.phase.as_str());
        self.tools.metrics.set_cluster_size(&namespace, &name, children.cells.len(), shards);
        Ok(())
    }
}

impl Children {
    /// The phase of everything that the cluster consists of.
    fn phases(&self) -> Vec<Phase> {
        let topo = self.topo_server.iter().map(|child| phase::of_child(&child.metadata, child.status.as_ref()));
        let cells = self.cells.iter().map(|child| phase::of_child(&child.metadata, child.status.as_ref()));
        let groups = self.table_groups.iter().map(|child| phase::of_child(&child.metadata, child.status.as_ref()));
        let admins = self.admins.iter().copied();
        topo.chain(admins).chain(cells).chain(groups).collect()
    }
}

/// What was resolved for a component, or that it could not be.
fn part<T>(component: &'static str, resolved: Result<T, ResolveError>) -> Result<T, Error> {
    resolved.map_err(|error| Error::from(error).of(component))
}

/// What says by its label that it is part of the cluster.
fn parts<K: kube::Resource>(store: &Store<K>, cluster: &MultigresCluster) -> Vec<Arc<K>> {
    store.of_cluster(&cluster.namespace().unwrap_or_default(), &cluster.name_any())
}

/// Whether a cell says, about its present specification, that its gateway answers.
fn is_available(cell: &Cell) -> bool {
    let Some(status) = &cell.status else { return false };
    status.observed_generation == cell.metadata.generation
        && phase::find(&status.conditions, "Available").is_some_and(|condition| condition.status == "True")
}
