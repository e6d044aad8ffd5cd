//! `cell`: Cell -> the gateway.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;

use super::error::Error;
use super::phase::{self, Finding, Workload};
use super::tools::{FIELD_MANAGER, Pass, Tools, now, origin};
use super::{WORKERS, completed};
use super::{finalizers, pods};
use crate::api::{Cell, CellStatus};
use crate::labels::{self, component};
use crate::observability::{TraceOrigin, set_attribute, step};
use crate::resources::{cluster_of, gateway as build};
use crate::runtime::{Action, Backoff, ControllerSpec, ObjectKey, Reconciler, Request, Store};

/// The controller.
pub struct CellController {
    /// What it works with.
    pub tools: Tools,
    /// Its objects.
    pub cells: Store<Cell>,
    /// What it owns.
    pub deployments: Store<Deployment>,
    /// What it owns.
    pub services: Store<Service>,
    /// Pods of the data plane.
    pub pods: Store<Pod>,
}

impl Reconciler for CellController {
    type Error = Error;

    fn spec(&self) -> ControllerSpec {
        ControllerSpec {
            name: "cell",
            kind: "Cell",
            root_span: "Cell.Reconcile",
            workers: WORKERS,
            backoff: Backoff::default(),
        }
    }

    fn origin(&self, key: &ObjectKey) -> TraceOrigin {
        let cell = self.tools.recent.newest_present(&self.cells, key);
        origin(cell.as_deref(), completed(cell.as_deref().map(|c| (&c.metadata, c.status.as_ref()))))
    }

    async fn reconcile(&self, request: &Request) -> Result<Action, Error> {
        let Some(mut pass) = Pass::begin(&self.tools, &self.cells, &request.key) else {
            self.tools.metrics.forget_cell(&request.key.namespace, &request.key.name);
            return Ok(Action::Done);
        };
        if pass.is_deleting() {
            self.tools.metrics.forget_cell(&request.key.namespace, &request.key.name);
            if !finalizers::orphans_dependents(&*pass.object) {
                step("Cell.HandleDeletion", self.tools.delete_all(&mut pass, &self.deployments)).await?;
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

impl CellController {
    async fn bring_about(&self, pass: &mut Pass<Cell>) -> Result<Action, Error> {
        let cell = pass.object.clone();
        let new_generation = !completed(Some((&cell.metadata, cell.status.as_ref())));
        let deployment = async {
            let desired = build::gateway_deployment(&cell, &self.tools.operator_env)?;
            self.tools.apply(pass, &self.deployments, &desired, Some("Deployment")).await
        };
        let deployment = step("Cell.ReconcileDeployment", deployment).await;
        let deployment =
            deployment.map_err(self.tools.warned(pass, "FailedApply", "Failed to sync Gateway Deployment"))?;
        let service = async {
            let desired = build::gateway_service(&cell, &self.tools.operator_env)?;
            self.tools.apply(pass, &self.services, &desired, Some("Service")).await
        };
        let service = step("Cell.ReconcileService", service).await;
        let service =
            service.map_err(self.tools.warned(pass, "FailedApply", "Failed to reconcile MultiGateway Service"))?;
        let action = step("Cell.UpdateStatus", self.update_status(pass, &cell, &deployment, &service))
            .await
            .map_err(self.tools.warned(pass, "StatusError", "Failed to update status"))?;
        self.tools.synced(pass, new_generation, "Successfully reconciled Cell");
        Ok(action)
    }

    async fn update_status(
        &self,
        pass: &mut Pass<Cell>,
        cell: &Arc<Cell>,
        deployment: &Deployment,
        service: &Service,
    ) -> Result<Action, Error> {
        let workload = Workload::from(deployment);
        let replicas = workload.replicas;
        self.tools.metrics.set_cell_gateway_replicas(&pass.namespace(), &cell.name_any(), replicas);
        let verdict = phase::of_workload(workload, "Gateway Deployment is progressing", "Gateway: ");
        let gateway = [(labels::COMPONENT, component::MULTIGATEWAY), (labels::CELL, cell.spec.name.as_str())];
        let gateways = pods::with_labels(&self.pods, &pass.namespace(), cluster_of(cell.as_ref())?, &gateway);
        let troubles = pods::Troubles::of(&gateways);
        let verdict = phase::with_trouble(verdict, troubles.text.as_deref());
        let present = cell.status.clone().unwrap_or_default();
        let generation = cell.metadata.generation;
        let available = replicas.ready > 0;
        let ready = workload.is_ready() && replicas.desired > 0;
        let message = format!("MultiGateway {}/{} replicas ready", replicas.ready, replicas.desired);
        let conditions = [
            Finding {
                type_: "Available",
                holds: available,
                reason: if available { "MultiGatewayAvailable" } else { "MultiGatewayUnavailable" },
                message: message.clone(),
                generation,
            },
            Finding {
                type_: "Ready",
                holds: ready,
                reason: if ready { "MultiGatewayReady" } else { "MultiGatewayNotReady" },
                message,
                generation,
            },
        ];
        let desired = CellStatus {
            observed_generation: generation,
            conditions: conditions.map(|finding| phase::condition(&present.conditions, finding, now())).into(),
            phase: Some(verdict.phase),
            message: Some(verdict.message),
            gateway_replicas: replicas.desired,
            gateway_ready_replicas: replicas.ready,
            gateway_service_name: Some(service.name_any()),
        };
        set_attribute("status.phase", verdict.phase.as_str());
        set_attribute("status.ready_replicas", i64::from(replicas.ready));
        self.tools.write_status(&**cell, cell.status.as_ref(), &desired, FIELD_MANAGER).await?;
        self.tools.phase_changed(pass, present.phase, verdict.phase);
        Ok(troubles.action())
    }
}
