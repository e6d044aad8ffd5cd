//! What the two registrars share: from the outcome of a registration, or of taking it back, to events, the `Registered` condition and what
//! happens next.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde_json::json;

use super::error::Error;
use super::finalizers::{self, Outcome};
use super::phase::{self, Finding};
use super::tools::{Pass, TOPOLOGY_FIELD_MANAGER, Tools, Written, now};
use crate::api::TopoServer;
use crate::api::common::GlobalTopoServerRef;
use crate::host::Connector;
use crate::observability::record_failure;
use crate::runtime::{Action, ObjectKey, Store};
use crate::topology::{Registration, TopologyError};
use crate::{labels, names, resolver};

/// The condition that a registrar writes.
pub const REGISTERED: &str = "Registered";
/// How long after its creation an object waits for an unreachable topology without that being an error.
pub const FIRST_CONTACT_MAX: Duration = Duration::from_secs(120);
/// How often it tries meanwhile.
pub const FIRST_CONTACT_RETRY: Duration = Duration::from_secs(5);

/// What is registered.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// `cell` or `database`.
    pub noun: &'static str,
    /// Its name in the topology.
    pub name: &'a str,
    /// Reason of the event when it was registered.
    pub registered_reason: &'static str,
    /// Reason of the event when it was taken out.
    pub unregistered_reason: &'static str,
    /// Message of the event when everything is as it should be.
    pub synced_message: &'static str,
    /// What holds the object until it is taken out.
    pub finalizer: &'static str,
}

/// Registers things and says so.
#[derive(Clone)]
pub struct Registrar {
    /// What it works with.
    pub tools: Tools,
    /// How etcd is reached.
    pub connector: Connector,
    /// The topology servers that the operator runs.
    pub topo_servers: Store<TopoServer>,
}

impl Registrar {
    /// Holds the object before anything of it is registered.
    pub async fn hold<K: Written>(&self, pass: &mut Pass<K>, finalizer: &str) -> Result<Outcome, Error> {
        let held = self.tools.hold(pass, finalizer).await;
        held.map_err(self.tools.warned(pass, "FinalizerFailed", "Failed to add finalizer"))
    }

    /// Draws the conclusions from the outcome of taking something out of the topology: the object may go, or it is tried again, but
    /// not for ever.
    pub async fn conclude_cleanup<K: Written>(
        &self,
        pass: &mut Pass<K>,
        subject: Subject<'_>,
        server: &GlobalTopoServerRef,
        outcome: Result<bool, Error>,
    ) -> Result<Action, Error> {
        let Subject { noun, name, .. } = subject;
        let events = &self.tools.events;
        match outcome {
            Ok(removed) => {
                if removed {
                    let message = format!("Removed {noun} '{name}' from topology");
                    events.normal(&*pass.object, subject.unregistered_reason, message);
                }
            }
            Err(error) => {
                let sentence = format!("Failed to remove {noun} from topology: {error}");
                events.warning(&*pass.object, "UnregistrationFailed", sentence);
                let sentence = format!("Failed to clean up {noun} from topology: {error}");
                let hopeless = finalizers::is_overdue(&*pass.object, finalizers::CLEANUP_MAX)
                    || matches!(&error, Error::Topology(TopologyError::UnknownImplementation(_)))
                    || self.is_going(&*pass.object, server);
                if !hopeless {
                    events.warning(&*pass.object, "CleanupFailed", sentence);
                    return Err(error);
                }
                record_failure(&error);
                tracing::warn!(error = %error, "the topology is given up: what it knows of the {noun} stays there");
                events.warning(&*pass.object, "CleanupFailed", format!("{sentence}; given up, its records stay"));
            }
        }
        match self.tools.release(pass, subject.finalizer).await? {
            Outcome::Done => Ok(Action::Done),
            Outcome::Outdated => Ok(Action::Requeue),
        }
    }

    /// Whether the topology server is one that the operator runs, and goes or is gone: it will not answer any more.
    fn is_going<K: Written>(&self, object: &K, server: &GlobalTopoServerRef) -> bool {
        let Some(cluster) = object.labels().get(labels::CLUSTER) else { return false };
        let namespace = object.namespace().unwrap_or_default();
        if server.address != resolver::managed_topo_address(cluster, &namespace) {
            return false;
        }
        let present = self.topo_servers.get(&ObjectKey::new(namespace, names::global_topo(cluster)));
        present.is_none_or(|server| server.metadata.deletion_timestamp.is_some())
    }

    /// Draws the conclusions from the outcome of a registration.
    pub async fn conclude<K: Written>(
        &self,
        pass: &mut Pass<K>,
        conditions: &[Condition],
        subject: Subject<'_>,
        outcome: Result<Registration, Error>,
    ) -> Result<Action, Error> {
        match outcome {
            Ok(registration) => self.registered(pass, conditions, subject, registration).await.map(|()| Action::Done),
            Err(error) => self.failed(pass, subject, error),
        }
    }

    async fn registered<K: Written>(
        &self,
        pass: &mut Pass<K>,
        conditions: &[Condition],
        subject: Subject<'_>,
        registration: Registration,
    ) -> Result<(), Error> {
        let Subject { noun, name, .. } = subject;
        let message = format!("Registered {noun} '{name}' in topology");
        if registration != Registration::Unchanged {
            pass.changed = true;
            tracing::info!("{noun} registered in topology successfully");
            self.tools.events.normal(&*pass.object, subject.registered_reason, message.clone());
        }
        let generation = pass.object.meta().generation;
        let finding = Finding { type_: REGISTERED, holds: true, reason: "Registered", message, generation };
        let condition = phase::condition(conditions, finding, now());
        let written = conditions.contains(&condition);
        if !written {
            let present = json!({ "conditions": conditions });
            let desired = json!({ "conditions": [condition] });
            let object = pass.object.clone();
            self.tools.write_status(&*object, Some(&present), &desired, TOPOLOGY_FIELD_MANAGER).await?;
        }
        self.tools.synced(pass, !written, subject.synced_message);
        Ok(())
    }

    /// An outage that began before the object did is waited out for a while: etcd is being started, too.
    fn failed<K: Written>(&self, pass: &Pass<K>, subject: Subject<'_>, error: Error) -> Result<Action, Error> {
        let sentence = format!("Failed to register {} in topology: {error}", subject.noun);
        // Where it is not known how to register, nothing was tried.
        if !matches!(&error, Error::Topology(TopologyError::UnknownImplementation(_))) {
            self.tools.events.warning(&*pass.object, "RegistrationFailed", sentence.clone());
        }
        let unavailable = matches!(&error, Error::Topology(error) if error.is_unavailable());
        if unavailable && Self::is_first_contact(pass) {
            record_failure(&error);
            return Ok(Action::RequeueAfter(FIRST_CONTACT_RETRY));
        }
        self.tools.events.warning(&*pass.object, "TopologyError", sentence);
        Err(error)
    }

    fn is_first_contact<K: Written>(pass: &Pass<K>) -> bool {
        let Some(created) = &pass.object.meta().creation_timestamp else { return true };
        Duration::try_from(now().duration_since(created.0)).is_ok_and(|since| since < FIRST_CONTACT_MAX)
            || created.0 > now()
    }
}

/// The generation that the registrar has done with.
pub fn registered_generation(conditions: &[Condition]) -> Option<i64> {
    phase::find(conditions, REGISTERED)
        .filter(|condition| condition.status == "True")
        .and_then(|condition| condition.observed_generation)
}
