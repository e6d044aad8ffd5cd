//! What controllers ask of an object again and again.

use serde_json::Value;

use crate::json;

/// Read once of each version of an object: a ReplicaSet looks at all its pods at each of their changes.
#[derive(Debug)]
pub struct Facts {
    /// A deletion timestamp is set.
    pub deleting: bool,
    /// A pod that has run to its end.
    pub finished: bool,
    /// The condition `Ready` is true.
    pub ready: bool,
    /// Since when, in Unix seconds.
    pub ready_since: Option<i64>,
    /// Equal for objects with the same labels in the same order.
    pub labels: u64,
    /// The uid of the controller.
    pub controller: Option<Box<str>>,
}

impl Facts {
    pub(super) fn of(object: &Value) -> Self {
        let ready = json::list(object, &["status", "conditions"])
            .iter()
            .find(|c| c["type"] == "Ready" && c["status"] == "True");
        let since = ready.and_then(|c| json::text(c, &["lastTransitionTime"]).parse::<jiff::Timestamp>().ok());
        let labels = json::at(object, &["metadata", "labels"]).map(Value::to_string).unwrap_or_default();
        Self {
            deleting: json::deleting(object),
            finished: matches!(json::text(object, &["status", "phase"]), "Succeeded" | "Failed"),
            ready: ready.is_some(),
            ready_since: since.map(jiff::Timestamp::as_second),
            labels: json::fnv(&labels),
            controller: json::controller_of(object).map(|owner| json::text(owner, &["uid"]).into()),
        }
    }
}
