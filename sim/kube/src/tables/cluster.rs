//! Namespaces, nodes, events, and what has no printer of its own.

use serde_json::Value;
use sim_clock::Timestamp;

use super::{Cells, Row, duration, text};
use crate::json;

const NAME: Row = ("Name", "string", 0);
const AGE: Row = ("Age", "string", 0);
const ROLE_PREFIX: &str = "node-role.kubernetes.io/";

pub(super) fn printer(table: &str) -> Option<(&'static [Row], Cells)> {
    Some(match table {
        "scales" => (&[NAME, ("Desired", "integer", 0), ("Available", "integer", 0), AGE], scale),
        "namespaces" => (&[NAME, ("Status", "string", 0), AGE], namespace),
        "nodes" => (
            &[
                NAME,
                ("Status", "string", 0),
                ("Roles", "string", 0),
                AGE,
                ("Version", "string", 0),
                ("Internal-IP", "string", 1),
                ("External-IP", "string", 1),
                ("OS-Image", "string", 1),
                ("Kernel-Version", "string", 1),
                ("Container-Runtime", "string", 1),
            ],
            node,
        ),
        "certificatesigningrequests.certificates.k8s.io" => (
            &[
                NAME,
                AGE,
                ("SignerName", "string", 0),
                ("Requestor", "string", 0),
                ("RequestedDuration", "string", 0),
                ("Condition", "string", 0),
            ],
            signing_request,
        ),
        "events" => (
            &[
                ("Last Seen", "string", 0),
                ("Type", "string", 0),
                ("Reason", "string", 0),
                ("Object", "string", 0),
                ("Subobject", "string", 1),
                ("Source", "string", 1),
                ("Message", "string", 0),
                ("First Seen", "string", 1),
                ("Count", "string", 1),
                ("Name", "string", 1),
            ],
            event,
        ),
        _ => return None,
    })
}

/// Kinds without a printer of their own.
pub(super) fn name_and_time(o: &Value, _: Timestamp) -> Vec<Value> {
    vec![text::name(o), json::text(o, &["metadata", "creationTimestamp"]).into()]
}

fn signing_request(o: &Value, now: Timestamp) -> Vec<Value> {
    let asked = json::int(o, &["spec", "expirationSeconds"]);
    let asked = asked.map_or_else(|| "<none>".to_owned(), duration::human_duration);
    let conditions = json::list(o, &["status", "conditions"]);
    let has = |kind: &str| conditions.iter().any(|c| c["type"] == kind);
    let mut state = vec![if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }];
    if has("Failed") {
        state.push("Failed");
    }
    if !json::text(o, &["status", "certificate"]).is_empty() {
        state.push("Issued");
    }
    let signer = json::text(o, &["spec", "signerName"]);
    vec![
        text::name(o),
        text::created(o, now),
        signer.into(),
        json::text(o, &["spec", "username"]).into(),
        asked.into(),
        state.join(",").into(),
    ]
}

fn scale(o: &Value, now: Timestamp) -> Vec<Value> {
    let replicas = |of: &str| Value::from(json::int(o, &[of, "replicas"]).unwrap_or(0));
    vec![text::name(o), replicas("spec"), replicas("status"), text::created(o, now)]
}

fn namespace(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![text::name(o), json::text(o, &["status", "phase"]).into(), text::created(o, now)]
}

fn node(o: &Value, now: Timestamp) -> Vec<Value> {
    let ready = json::list(o, &["status", "conditions"]).iter().find(|c| json::text(c, &["type"]) == "Ready");
    let mut status = match ready.map(|c| json::text(c, &["status"])) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if json::at(o, &["spec", "unschedulable"]) == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }
    let mut roles: Vec<&str> = Vec::new();
    for (key, value) in json::map(o, &["metadata", "labels"]).into_iter().flatten() {
        if let Some(role) = key.strip_prefix(ROLE_PREFIX).filter(|r| !r.is_empty()) {
            roles.push(role);
        } else if key == "kubernetes.io/role" {
            roles.extend(value.as_str().filter(|r| !r.is_empty()));
        }
    }
    roles.sort_unstable();
    roles.dedup();
    let address = |kind: &str| {
        let found = json::list(o, &["status", "addresses"]).iter().find(|a| json::text(a, &["type"]) == kind);
        found.map_or_else(|| text::NONE.into(), |a| text::or_none(a, &["address"]))
    };
    let info = |key: &str| match json::text(o, &["status", "nodeInfo", key]) {
        "" => Value::from("<unknown>"),
        given => given.into(),
    };
    vec![
        text::name(o),
        status.into(),
        if roles.is_empty() { text::NONE.into() } else { roles.join(",").into() },
        text::created(o, now),
        json::text(o, &["status", "nodeInfo", "kubeletVersion"]).into(),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

/// The first of the keys (core/v1 and events.k8s.io/v1 names) that holds something.
fn either<'a>(o: &'a Value, keys: [&str; 2]) -> &'a Value {
    keys.iter().find_map(|key| o.get(*key).filter(|v| !v.is_null())).unwrap_or(&Value::Null)
}

fn event(o: &Value, now: Timestamp) -> Vec<Value> {
    let time = |keys: [&str; 2]| either(o, keys).as_str().unwrap_or("");
    let series = o.get("series").filter(|s| s.is_object());
    let first = match time(["firstTimestamp", "deprecatedFirstTimestamp"]) {
        "" => json::text(o, &["eventTime"]),
        given => given,
    };
    let last = match (series, time(["lastTimestamp", "deprecatedLastTimestamp"])) {
        (Some(series), _) => json::text(series, &["lastObservedTime"]),
        (None, "") => first,
        (None, given) => given,
    };
    let count = match series {
        Some(series) => text::count(series, &["count"]),
        None => either(o, ["count", "deprecatedCount"]).as_i64().unwrap_or(0).into(),
    };
    let about = either(o, ["involvedObject", "regarding"]);
    let kind = json::text(about, &["kind"]).to_ascii_lowercase();
    let object = match json::text(about, &["name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let source = either(o, ["source", "deprecatedSource"]);
    let (mut component, mut instance) = (json::text(source, &["component"]), json::text(source, &["host"]));
    if component.is_empty() && instance.is_empty() {
        component = either(o, ["reportingComponent", "reportingController"]).as_str().unwrap_or("");
        instance = json::text(o, &["reportingInstance"]);
    }
    let source = if instance.is_empty() { component.to_owned() } else { format!("{component}, {instance}") };
    vec![
        duration::age(last, now).into(),
        json::text(o, &["type"]).into(),
        json::text(o, &["reason"]).into(),
        object.into(),
        json::text(about, &["fieldPath"]).into(),
        source.into(),
        either(o, ["message", "note"]).as_str().unwrap_or("").trim().into(),
        duration::age(first, now).into(),
        count,
        text::name(o),
    ]
}
