//! `toposerver`: TopoServer -> etcd.
//!
//! Members of an etcd are added and removed by asking it, one by one, and not by turning replicas: fewer would leave it without a quorum,
//! more would never join. So etcd keeps the members with which it was begun; that others are asked for is said by the condition
//! [`MEMBERS_CONDITION`].

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use super::error::Error;
use super::phase::{self, Finding, Workload};
use super::pods;
use super::tools::{FIELD_MANAGER, Pass, Tools, now, origin};
use super::volumes::{self, Sizes};
use super::{WORKERS, completed};
use crate::api::{TopoServer, TopoServerStatus};
use crate::labels::{self, component};
use crate::names;
use crate::observability::{TraceOrigin, set_attribute, step};
use crate::resources::{cluster_of, topo_server as build};
use crate::runtime::{Action, Backoff, ControllerSpec, ObjectKey, Reconciler, Request, Store};

/// The condition that is there from the first time on that etcd has not as many members as are asked for.
pub const MEMBERS_CONDITION: &str = "MembersAsAsked";

/// The controller.
pub struct TopoServerController {
    /// What it works with.
    pub tools: Tools,
    /// Its objects.
    pub servers: Store<TopoServer>,
    /// What it owns.
    pub stateful_sets: Store<StatefulSet>,
    /// What it owns.
    pub services: Store<Service>,
    /// Claims of the members.
    pub claims: Store<PersistentVolumeClaim>,
    /// Pods of the data plane.
    pub pods: Store<Pod>,
}

impl Reconciler for TopoServerController {
    type Error = Error;

    fn spec(&self) -> ControllerSpec {
        ControllerSpec {
            name: "toposerver",
            kind: "TopoServer",
            root_span: "TopoServer.Reconcile",
            workers: WORKERS,
            backoff: Backoff::default(),
        }
    }

    fn origin(&self, key: &ObjectKey) -> TraceOrigin {
        let server = self.tools.recent.newest_present(&self.servers, key);
        origin(server.as_deref(), completed(server.as_deref().map(|s| (&s.metadata, s.status.as_ref()))))
    }

    async fn reconcile(&self, request: &Request) -> Result<Action, Error> {
        let Some(mut pass) = Pass::begin(&self.tools, &self.servers, &request.key) else {
            self.tools.metrics.forget_toposerver(&request.key.namespace, &request.key.name);
            return Ok(Action::Done);
        };
        if pass.is_deleting() {
            self.tools.metrics.forget_toposerver(&request.key.namespace, &request.key.name);
            return Ok(Action::Done);
        }
        let result = self.bring_about(&mut pass).await;
        if let Err(error) = &result {
            self.tools.report_failure(&mut pass, error, request.failures).await;
        }
        result
    }
}

impl TopoServerController {
    async fn bring_about(&self, pass: &mut Pass<TopoServer>) -> Result<Action, Error> {
        let server = pass.object.clone();
        let new_generation = !completed(Some((&server.metadata, server.status.as_ref())));
        let mut sizes = Sizes::default();
        let stored = self.tools.recent.newest(&self.stateful_sets, &ObjectKey::of(server.as_ref()));
        let asked = build::replicas(&server);
        let members = stored.as_deref().and_then(build::members_begun_with).unwrap_or(asked);
        let set = step("TopoServer.ReconcileStatefulSet", self.stateful_set(pass, &server, members, &mut sizes))
            .await
            .map_err(self.tools.warned(pass, "FailedApply", "Failed to reconcile StatefulSet"))?;
        let headless = async {
            let desired = build::headless(&server)?;
            self.tools.apply(pass, &self.services, &desired, Some("Service")).await
        };
        let headless = step("TopoServer.ReconcileHeadlessService", headless).await;
        headless.map_err(self.tools.warned(pass, "FailedApply", "Failed to reconcile headless Service"))?;
        let client = async {
            let desired = build::client(&server)?;
            self.tools.apply(pass, &self.services, &desired, Some("Service")).await
        };
        let client = step("TopoServer.ReconcileClientService", client).await;
        client.map_err(self.tools.warned(pass, "FailedApply", "Failed to reconcile client Service"))?;
        let action = step("TopoServer.UpdateStatus", self.update_status(pass, &server, &set, members, &sizes))
            .await
            .map_err(self.tools.warned(pass, "StatusError", "Failed to update status"))?;
        self.tools.synced(pass, new_generation, "Successfully reconciled TopoServer");
        Ok(action)
    }

    async fn stateful_set(
        &self,
        pass: &mut Pass<TopoServer>,
        server: &Arc<TopoServer>,
        members: i32,
        sizes: &mut Sizes,
    ) -> Result<StatefulSet, Error> {
        let mut desired = build::stateful_set(server, members)?;
        let stored = self.tools.recent.newest(&self.stateful_sets, &ObjectKey::of(&desired));
        let templates = volumes::keep_templates(&mut desired, stored.as_deref(), sizes);
        set_attribute("sts.replicas", i64::from(members));
        set_attribute("sts.image", server.spec.etcd.image.clone().unwrap_or_default());
        let set = self.tools.apply(pass, &self.stateful_sets, &desired, Some("StatefulSet")).await?;
        for (claim, size) in volumes::of_set(&self.claims, &set, &templates) {
            self.tools.grow(pass, &claim, &size, sizes).await?;
        }
        Ok(set)
    }

    async fn update_status(
        &self,
        pass: &mut Pass<TopoServer>,
        server: &Arc<TopoServer>,
        set: &StatefulSet,
        members: i32,
        sizes: &Sizes,
    ) -> Result<Action, Error> {
        let workload = Workload::from(set);
        self.tools.metrics.set_toposerver_replicas(&pass.namespace(), &server.name_any(), workload.replicas);
        let verdict = phase::of_workload(workload, "StatefulSet is progressing", "");
        let member = [(labels::COMPONENT, component::TOPO_SERVER)];
        let member_pods = pods::with_labels(&self.pods, &pass.namespace(), cluster_of(server.as_ref())?, &member);
        let troubles = pods::Troubles::of(&member_pods);
        let verdict = phase::with_trouble(verdict, troubles.text.as_deref());
        let present = server.status.clone().unwrap_or_default();
        let ready = workload.is_ready() && workload.replicas.desired > 0;
        let finding = Finding {
            type_: "Ready",
            holds: ready,
            reason: if ready { "AllReplicasReady" } else { "NotAllReplicasReady" },
            message: format!("{}/{} replicas ready", workload.replicas.ready, workload.replicas.desired),
            generation: server.metadata.generation,
        };
        let sized = sizes.condition(&present.conditions, server.metadata.generation);
        self.tools.tell_refused(pass, &present.conditions, sized.as_ref(), sizes);
        let as_asked = members_condition(server, members, &present.conditions);
        if let Some(refused) = as_asked.as_ref().filter(|condition| condition.status == "False")
            && phase::find(&present.conditions, MEMBERS_CONDITION).is_none_or(|known| known.message != refused.message)
        {
            self.tools.events.warning(&**server, "ScalingRefused", refused.message.clone());
        }
        let ready = phase::condition(&present.conditions, finding, now());
        let desired = TopoServerStatus {
            observed_generation: server.metadata.generation,
            conditions: [ready].into_iter().chain(sized).chain(as_asked).collect(),
            phase: Some(verdict.phase),
            message: Some(verdict.message),
            client_service: Some(server.name_any()),
            peer_service: Some(names::topo_headless(&server.name_any())),
        };
        set_attribute("status.phase", verdict.phase.as_str());
        set_attribute("status.ready_replicas", i64::from(workload.replicas.ready));
        self.tools.write_status(&**server, server.status.as_ref(), &desired, FIELD_MANAGER).await?;
        self.tools.phase_changed(pass, present.phase, verdict.phase);
        Ok(sizes.action(troubles.action()))
    }
}

/// Whether etcd has as many members as are asked for; nothing where it always had.
fn members_condition(server: &TopoServer, members: i32, present: &[Condition]) -> Option<Condition> {
    let asked = build::replicas(server);
    let holds = asked == members;
    if holds && phase::find(present, MEMBERS_CONDITION).is_none() {
        return None;
    }
    let message = if holds {
        format!("etcd has the {members} member(s) that are asked for")
    } else {
        format!(
            "etcd keeps the {members} member(s) that it was created with, {asked} are asked for: the number cannot be changed; \
             ask for {members} again, or create another cluster"
        )
    };
    let reason = if holds { "AsAsked" } else { "Refused" };
    let finding = Finding { type_: MEMBERS_CONDITION, holds, reason, message, generation: server.metadata.generation };
    Some(phase::condition(present, finding, now()))
}
