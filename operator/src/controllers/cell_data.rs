//! `cell-datahandler`: Cell -> its record in the topology.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::WORKERS;
use super::error::Error;
use super::finalizers::{self, CLEANUP_RETRY, Outcome};
use super::pods;
use super::registrar::{Registrar, Subject, registered_generation};
use super::tools::{Pass, origin};
use crate::api::Cell;
use crate::labels::{self, component};
use crate::names;
use crate::observability::{TraceOrigin, step};
use crate::resources::cluster_of;
use crate::runtime::{Action, Backoff, ControllerSpec, ObjectKey, Reconciler, Request, Store};
use crate::topology::{Component, ComponentKind, Topology};

/// The controller.
pub struct CellDataController {
    /// What it works with.
    pub registrar: Registrar,
    /// Its objects.
    pub cells: Store<Cell>,
    /// Workloads of the data plane, which make its pods.
    pub deployments: Store<Deployment>,
    /// Pods of the data plane.
    pub pods: Store<Pod>,
}

impl Reconciler for CellDataController {
    type Error = Error;

    fn spec(&self) -> ControllerSpec {
        ControllerSpec {
            name: "cell-datahandler",
            kind: "Cell",
            root_span: "CellData.Reconcile",
            // An etcd that does not answer delays nobody else's.
            workers: WORKERS,
            backoff: Backoff::registrar(),
        }
    }

    fn origin(&self, key: &ObjectKey) -> TraceOrigin {
        let cell = self.registrar.tools.recent.newest_present(&self.cells, key);
        let completed = cell.as_deref().is_some_and(|cell| {
            let conditions = cell.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            registered_generation(conditions).is_some_and(|done| Some(done) == cell.metadata.generation)
        });
        origin(cell.as_deref(), completed)
    }

    async fn reconcile(&self, request: &Request) -> Result<Action, Error> {
        let Some(mut pass) = Pass::begin(&self.registrar.tools, &self.cells, &request.key) else {
            return Ok(Action::Done);
        };
        if pass.is_deleting() {
            return self.handle_deletion(&mut pass).await;
        }
        if !pass.object.spec.topology_reconciliation.register_cell {
            return Ok(Action::Done);
        }
        if self.registrar.hold(&mut pass, finalizers::CELL).await? == Outcome::Outdated {
            return Ok(Action::Requeue);
        }
        let cell = pass.object.clone();
        let outcome = step("CellData.RegisterCellInTopology", async {
            let topology = Topology::new(self.registrar.connector.clone(), &cell.spec.global_topo_server)?;
            Ok::<_, Error>(topology.register_cell(&cell.spec.name).await?)
        })
        .await;
        let conditions = cell.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
        self.registrar.conclude(&mut pass, &conditions, subject(&cell), outcome).await
    }
}

fn subject(cell: &Cell) -> Subject<'_> {
    Subject {
        noun: "cell",
        name: &cell.spec.name,
        registered_reason: "CellRegistered",
        unregistered_reason: "CellUnregistered",
        synced_message: "Successfully reconciled Cell topology",
        finalizer: finalizers::CELL,
    }
}

impl CellDataController {
    /// Takes the cell out of the topology once its gateways have ended (they take themselves out), with what gateways that were
    /// killed left behind.
    async fn handle_deletion(&self, pass: &mut Pass<Cell>) -> Result<Action, Error> {
        let cell = pass.object.clone();
        if !finalizers::holds(&*cell, finalizers::CELL) {
            return Ok(Action::Done);
        }
        if self.has_gateways(&cell) && !finalizers::is_overdue(&*cell, finalizers::CLEANUP_MAX) {
            return Ok(Action::RequeueAfter(CLEANUP_RETRY));
        }
        let outcome = step("CellData.HandleDeletion", self.unregister(&cell)).await;
        self.registrar.conclude_cleanup(pass, subject(&cell), &cell.spec.global_topo_server, outcome).await
    }

    /// Whether it has gateways, or what makes them: one that comes yet would register itself anew.
    fn has_gateways(&self, cell: &Arc<Cell>) -> bool {
        if !self.deployments.controlled_by(&cell.uid().unwrap_or_default()).is_empty() {
            return true;
        }
        let Ok(cluster) = cluster_of(cell.as_ref()) else { return false };
        let labels = [(labels::CELL, cell.spec.name.as_str()), (labels::COMPONENT, component::MULTIGATEWAY)];
        !pods::with_labels(&self.pods, &cell.namespace().unwrap_or_default(), cluster, &labels).is_empty()
    }

    async fn unregister(&self, cell: &Arc<Cell>) -> Result<bool, Error> {
        let topology = Topology::new(self.registrar.connector.clone(), &cell.spec.global_topo_server)?;
        let gateway = names::gateway(cluster_of(cell.as_ref())?, &cell.spec.name);
        let namespace = cell.namespace().unwrap_or_default();
        let runs = |pod: &str| self.pods.get(&ObjectKey::new(namespace.clone(), pod)).is_some();
        let of_gateways = |component: &Component| {
            // Whose pod still runs may be another cell's.
            component.is_of(&gateway) || component.may_be_of(&gateway) && !runs(&component.pod)
        };
        topology.remove_components(ComponentKind::Gateway, of_gateways).await?;
        Ok(topology.unregister_cell(&cell.spec.name).await?)
    }
}
