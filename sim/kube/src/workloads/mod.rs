//! The controllers of the control plane, as steps from what is stored to what is to be written.

mod collect;
mod deployment;
mod pods;
mod replica_set;
mod run;
mod service;
mod stateful_set;

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    engine::{Engine, Object},
    json,
};

pub use collect::collect;
pub use deployment::deployment;
pub(crate) use pods::set_condition;
pub use pods::{pod_ready, template_hash};
pub use replica_set::replica_set;
pub(crate) use run::run;
pub(crate) use service::port_number;
pub use service::{Published, endpoints, published};
pub use stateful_set::stateful_set;

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
}

/// What a step asks for.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Writes, in order.
    pub writes: Vec<Write>,
    /// Look again after this long.
    pub again: Option<Duration>,
}

/// Objects of a table and namespace controlled by `uid`.
fn controlled(engine: &Engine, table: &str, namespace: &str, uid: &str) -> Vec<Object> {
    engine
        .scan(table, Some(namespace))
        .filter(|o| json::controller_of(o).is_some_and(|c| json::text(c, &["uid"]) == uid))
        .cloned()
        .collect()
}

/// An owner reference of a controller.
fn owned_by(owner: &Value) -> Value {
    json!({"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true})
}
