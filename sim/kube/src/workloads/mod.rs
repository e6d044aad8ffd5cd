//! The controllers of the control plane, as steps from what is stored to what is to be written.

mod act;
mod autoscaler;
mod budget;
mod claims;
mod collect;
pub mod cron;
mod daemon_set;
mod deployment;
mod flow;
mod job;
mod members;
mod nodes;
mod pods;
mod quantity;
mod replica_set;
mod run;
mod scheduler;
mod service;
mod signing;
mod stateful_set;
mod volumes;

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::{
    engine::{Engine, Object},
    json,
    selectors::LabelSelector,
};

pub(crate) use claims::PROTECTION as CLAIM_PROTECTION;
pub use collect::collect;
pub use daemon_set::daemon_set;
pub use deployment::deployment;
pub(crate) use job::identity as job_identity;
pub use job::job;
pub(crate) use nodes::{RENEWAL, healthy_conditions, renewal_phase};
pub(crate) use pods::set_condition;
pub use pods::{pod_ready, template_hash};
pub(crate) use quantity::milli;
pub use replica_set::replica_set;
pub(crate) use run::run;
pub(crate) use service::port_number;
pub use service::{Published, endpoints, published};
pub use stateful_set::stateful_set;
pub(crate) use volumes::PROTECTION as VOLUME_PROTECTION;

/// One write a step asks for.
#[derive(Clone, Debug)]
pub enum Write {
    /// Create this object (an existing one is left alone).
    Create(Value),
    /// Replace the main resource.
    Update(Value),
    /// Replace the status.
    Status(Value),
    /// Delete this object, by uid.
    Delete(Object),
    /// Create this object and say on its owner what became of it.
    CreateFor(Object, Value),
    /// Delete this object and say so on its owner.
    DeleteFor(Object, Object),
    /// Record an Event.
    Say {
        /// The object it is about.
        about: Object,
        /// `Normal` or `Warning`.
        kind: &'static str,
        /// The reason.
        reason: &'static str,
        /// The text.
        message: String,
    },
}

/// What a step asks for.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// The controller, as Events name it.
    pub component: &'static str,
    /// Writes, in order.
    pub writes: Vec<Write>,
    /// Look again after this long.
    pub again: Option<Duration>,
}

impl Step {
    /// An empty step of a controller.
    fn of(component: &'static str) -> Self {
        Self { component, ..Self::default() }
    }

    /// Looks again after this many seconds, or sooner if that was asked for already.
    fn look_again(&mut self, secs: i64) {
        let after = Duration::from_secs(u64::try_from(secs).unwrap_or(0));
        self.again = Some(self.again.map_or(after, |known| known.min(after)));
    }

    /// Records an Event about an object.
    fn say(&mut self, about: &Object, kind: &'static str, reason: &'static str, message: impl Into<String>) {
        self.writes.push(Write::Say { about: about.clone(), kind, reason, message: message.into() });
    }
}

/// Which pods an owner selects: a ReplicationController by a map of labels, all others by a label selector.
fn pod_selector(owner: &Value) -> Option<LabelSelector> {
    if owner["kind"] == "ReplicationController" {
        return Some(LabelSelector::from_map(json::map(owner, &["spec", "selector"])));
    }
    LabelSelector::from_object(json::at(owner, &["spec", "selector"]))
}

/// Takes pods without a controller that the owner's selector chooses, and lets go of own ones that it no longer chooses.
/// Returns the pods that are the owner's; what is taken or let go comes back with the next look.
fn claim_pods(step: &mut Step, engine: &Engine, owner: &Object) -> Vec<Object> {
    let namespace = json::namespace(owner);
    let Some(selector) = pod_selector(owner).filter(|s| !s.is_empty()) else { return Vec::new() };
    let mut own = engine.controlled("pods", namespace, json::uid(owner));
    // Mostly all have the same labels: one look is enough.
    let mut last: Option<(u64, bool)> = None;
    own.retain(|o| {
        let labels = o.facts().labels;
        let chosen =
            last.filter(|(known, _)| *known == labels).map_or_else(|| selector.matches(o), |(_, chosen)| chosen);
        last = Some((labels, chosen));
        let keeps = chosen || o.facts().deleting;
        if !keeps && !json::deleting(owner) {
            let mut released = o.to_content();
            let uid = json::uid(owner);
            let references = json::list(o, &["metadata", "ownerReferences"]);
            released["metadata"]["ownerReferences"] =
                references.iter().filter(|r| json::text(r, &["uid"]) != uid).cloned().collect::<Vec<_>>().into();
            step.writes.push(Write::Update(released));
        }
        keeps
    });
    if !json::deleting(owner) {
        for orphan in engine.orphans("pods", namespace) {
            if selector.matches(&orphan) && !json::deleting(&orphan) && !pods::finished(&orphan) {
                let mut adopted = orphan.to_content();
                let mut references = json::list(&orphan, &["metadata", "ownerReferences"]).to_vec();
                references.push(owned_by(owner));
                adopted["metadata"]["ownerReferences"] = references.into();
                step.writes.push(Write::Update(adopted));
                own.push(orphan);
            }
        }
    }
    own
}

/// An object cut down to what a write of its status needs.
pub(crate) fn with_status(object: &Value, status: Value) -> Value {
    let mut metadata = Map::with_capacity(4);
    for field in ["name", "namespace", "uid", "resourceVersion"] {
        if let Some(value) = json::at(object, &["metadata", field]) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let mut cut = Map::with_capacity(4);
    cut.insert("apiVersion".to_owned(), object["apiVersion"].clone());
    cut.insert("kind".to_owned(), object["kind"].clone());
    cut.insert("metadata".to_owned(), metadata.into());
    cut.insert("status".to_owned(), status);
    Value::Object(cut)
}

/// An owner reference of a controller.
fn owned_by(owner: &Value) -> Value {
    json!({"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true})
}
