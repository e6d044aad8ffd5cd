//! `multigrescluster`: MultigresCluster -> TopoServer, MultiAdmin, Cells, TableGroups.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use super::error::Error;
use super::phase::{self, Finding, Workload};
use super::templates::Templates;
use super::tools::{FIELD_MANAGER, Pass, Tools, now, origin};
use super::{WORKERS, completed};
use crate::api::cluster::{CellSummary, DatabaseSummary};
use crate::api::common::{GlobalTopoServerRef, Phase, StatelessSpec};
use crate::api::{Cell, MultigresCluster, MultigresClusterStatus, TableGroup, TopoServer};
use crate::labels;
use crate::observability::{TraceOrigin, set_attribute, step};
use crate::resolver::{self, GlobalTopo, TemplateSource};
use crate::resources::{children, multiadmin};
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
    /// What it owns.
    pub deployments: Store<Deployment>,
    /// What it owns.
    pub services: Store<Service>,
}

/// What a reconcile of a cluster brought about, for its status.
#[derive(Default)]
struct Children {
    topo_server: Option<TopoServer>,
    admins: Vec<Workload>,
    cells: Vec<Cell>,
    table_groups: Vec<TableGroup>,
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
            return Ok(Action::Done);
        }
        let result = self.bring_about(&mut pass).await;
        if result.is_err() {
            // A cluster that fails early is one that somebody has to see.
            let present = pass.object.status.as_ref().and_then(|status| status.phase);
            self.tools.metrics.set_cluster_phase(namespace, name, present.unwrap_or(Phase::Initializing).as_str());
        }
        result.map(|()| Action::Done)
    }
}

impl ClusterController {
    async fn bring_about(&self, pass: &mut Pass<MultigresCluster>) -> Result<(), Error> {
        let stored = pass.object.clone();
        let new_generation = !completed(Some((&stored.metadata, stored.status.as_ref())));
        let templates = self.templates.of_namespace(&pass.namespace());
        let cluster = step("MultigresCluster.PopulateDefaults", async {
            let mut cluster = (*stored).clone();
            for decision in resolver::populate_defaults(&mut cluster.spec, &templates) {
                if new_generation {
                    self.tools.events.normal(&*stored, "ImplicitDefault", decision);
                }
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
        step("MultigresCluster.UpdateStatus", self.update_status(pass, &stored, &children))
            .await
            .map_err(|error| self.failed(pass, error, "Failed to update status"))?;
        self.tools.synced(pass, new_generation, "Successfully reconciled MultigresCluster");
        Ok(())
    }

    /// Says in events why a step failed.
    fn failed(&self, pass: &Pass<MultigresCluster>, error: Error, what: &str) -> Error {
        if matches!(error, Error::Resolve(_)) {
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
            component("topo-server", resolver::global_topo(cluster, templates).map_err(Error::from))?;
        if let Some(spec) = managed {
            let desired = children::topo_server(cluster, spec);
            let applied = self.tools.apply_traced(pass, &self.topo_servers, desired, "Global TopoServer").await;
            children.topo_server = Some(component("topo-server", applied)?);
        }
        let admin = resolver::multiadmin(cluster, templates).map_err(Error::from);
        let admin = component("multiadmin", admin)?;
        let applied = self.admin(pass, cluster, &admin, &reference).await;
        children.admins.push(component("multiadmin", applied)?);
        let web = resolver::multiadmin_web(cluster, templates).map_err(Error::from);
        let web = component("multiadmin-web", web)?;
        let applied = self.web(pass, cluster, &web).await;
        children.admins.push(component("multiadmin-web", applied)?);
        Ok(reference)
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
        self.tools.apply(pass, &self.services, &multiadmin::admin_service(cluster), None).await?;
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
            let spec = resolver::cell(cluster, config, topo, templates)?;
            let desired = children::cell(cluster, spec);
            children.cells.push(self.tools.apply_traced(pass, &self.cells, desired, "Cell").await?);
        }
        let orphans = self.cells.filtered(|cell| {
            belongs_to(cell, cluster) && cluster.spec.cells.iter().all(|config| config.name != cell.spec.name)
        });
        for orphan in orphans {
            self.tools.delete_orphan(pass, orphan.as_ref()).await?;
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
                let spec = resolver::table_group(cluster, database, group, topo, templates)?;
                let desired = children::table_group(cluster, spec);
                let applied = self.tools.apply_traced(pass, &self.table_groups, desired, "TableGroup").await?;
                children.table_groups.push(applied);
            }
        }
        let orphans = self.table_groups.filtered(|group| {
            belongs_to(group, cluster)
                && children.table_groups.iter().all(|wanted| wanted.name_any() != group.name_any())
        });
        for orphan in orphans {
            self.tools.delete_orphan(pass, orphan.as_ref()).await?;
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
        let topo =
            self.topo_server.iter().map(|child| phase::of_child(child.metadata.generation, child.status.as_ref()));
        let cells = self.cells.iter().map(|child| phase::of_child(child.metadata.generation, child.status.as_ref()));
        let groups =
            self.table_groups.iter().map(|child| phase::of_child(child.metadata.generation, child.status.as_ref()));
        let admins = self.admins.iter().map(|workload| workload.phase());
        topo.chain(admins).chain(cells).chain(groups).collect()
    }
}

/// Names the component on the current span when it failed.
fn component<T>(name: &'static str, result: Result<T, Error>) -> Result<T, Error> {
    if result.is_err() {
        set_attribute("error.component", name);
    }
    result
}

fn belongs_to<K: kube::Resource>(child: &K, cluster: &MultigresCluster) -> bool {
    child.namespace() == cluster.namespace()
        && child.meta().deletion_timestamp.is_none()
        && child.labels().get(labels::CLUSTER) == cluster.metadata.name.as_ref()
}

/// Whether a cell says, about its present specification, that its gateway answers.
fn is_available(cell: &Cell) -> bool {
    let Some(status) = &cell.status else { return false };
    status.observed_generation == cell.metadata.generation
        && phase::find(&status.conditions, "Available").is_some_and(|condition| condition.status == "True")
}
