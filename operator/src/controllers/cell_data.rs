//! `cell-datahandler`: Cell -> its record in the topology.

use super::error::Error;
use super::registrar::{Registrar, Subject, registered_generation};
use super::tools::{Pass, origin};
use crate::api::Cell;
use crate::observability::{TraceOrigin, step};
use crate::runtime::{Action, Backoff, ControllerSpec, ObjectKey, Reconciler, Request, Store};
use crate::topology::Topology;

/// The controller.
pub struct CellDataController {
    /// What it works with.
    pub registrar: Registrar,
    /// Its objects.
    pub cells: Store<Cell>,
}

impl Reconciler for CellDataController {
    type Error = Error;

    fn spec(&self) -> ControllerSpec {
        ControllerSpec {
            name: "cell-datahandler",
            kind: "Cell",
            root_span: "CellData.Reconcile",
            workers: 1,
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
        let cell = pass.object.clone();
        if pass.is_deleting() || !cell.spec.topology_reconciliation.register_cell {
            return Ok(Action::Done);
        }
        let outcome = step("CellData.RegisterCellInTopology", async {
            let topology = Topology::new(self.registrar.connector.clone(), &cell.spec.global_topo_server)?;
            Ok::<_, Error>(topology.register_cell(&cell.spec.name).await?)
        })
        .await;
        let subject = Subject {
            noun: "cell",
            name: &cell.spec.name,
            registered_reason: "CellRegistered",
            synced_message: "Successfully reconciled Cell topology",
        };
        let conditions = cell.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
        self.registrar.conclude(&mut pass, &conditions, subject, outcome).await
    }
}
