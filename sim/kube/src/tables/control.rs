//! What governs the API server and the devices of nodes: admission policies, flow control, components, aggregated APIs,
//! trust bundles, addresses, device classes and claims.

use serde_json::Value;
use sim_clock::Timestamp;

use super::{Cells, Row, text};
use crate::json;

const NAME: Row = ("Name", "string", 0);
const AGE: Row = ("Age", "string", 0);
const UNSET: &str = "<unset>";

pub(super) fn printer(table: &str) -> Option<(&'static [Row], Cells)> {
    Some(match table {
        "validatingadmissionpolicies.admissionregistration.k8s.io" => {
            (&[NAME, ("Validations", "integer", 0), ("ParamKind", "string", 0), AGE], validating_policy)
        }
        "mutatingadmissionpolicies.admissionregistration.k8s.io" => {
            (&[NAME, ("Mutations", "integer", 0), ("ParamKind", "string", 0), AGE], mutating_policy)
        }
        "validatingadmissionpolicybindings.admissionregistration.k8s.io"
        | "mutatingadmissionpolicybindings.admissionregistration.k8s.io" => {
            (&[NAME, ("PolicyName", "string", 0), ("ParamRef", "string", 0), AGE], policy_binding)
        }
        "flowschemas.flowcontrol.apiserver.k8s.io" => (
            &[
                NAME,
                ("PriorityLevel", "string", 0),
                ("MatchingPrecedence", "string", 0),
                ("DistinguisherMethod", "string", 0),
                AGE,
                ("MissingPL", "string", 0),
            ],
            flow_schema,
        ),
        "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io" => (
            &[
                NAME,
                ("Type", "string", 0),
                ("NominalConcurrencyShares", "string", 0),
                ("Queues", "string", 0),
                ("HandSize", "string", 0),
                ("QueueLengthLimit", "string", 0),
                AGE,
            ],
            priority_level,
        ),
        "componentstatuses" => {
            (&[NAME, ("Status", "string", 0), ("Message", "string", 0), ("Error", "string", 0)], component)
        }
        "apiservices.apiregistration.k8s.io" => {
            (&[NAME, ("Service", "string", 0), ("Available", "string", 0), AGE], api_service)
        }
        "clustertrustbundles.certificates.k8s.io" => (&[NAME, ("SignerName", "string", 0)], trust_bundle),
        "ipaddresses.networking.k8s.io" => (&[NAME, ("ParentRef", "string", 0), AGE], ip_address),
        "servicecidrs.networking.k8s.io" => (&[NAME, ("CIDRs", "string", 0), AGE], service_range),
        "deviceclasses.resource.k8s.io" | "resourceclaimtemplates.resource.k8s.io" => (&[NAME, AGE], name_and_age),
        "resourceclaims.resource.k8s.io" => (&[NAME, ("State", "string", 0), AGE], resource_claim),
        "resourceslices.resource.k8s.io" => {
            (&[NAME, ("Node", "string", 0), ("Driver", "string", 0), ("Pool", "string", 0), AGE], resource_slice)
        }
        _ => return None,
    })
}

fn name_and_age(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![text::name(o), text::created(o, now)]
}

fn validating_policy(o: &Value, now: Timestamp) -> Vec<Value> {
    policy(o, "validations", now)
}

fn mutating_policy(o: &Value, now: Timestamp) -> Vec<Value> {
    policy(o, "mutations", now)
}

fn policy(o: &Value, rules: &str, now: Timestamp) -> Vec<Value> {
    let parameters = match json::at(o, &["spec", "paramKind"]).filter(|p| p.is_object()) {
        Some(of) => format!("{}/{}", json::text(of, &["apiVersion"]), json::text(of, &["kind"])),
        None => UNSET.to_owned(),
    };
    vec![text::name(o), text::size(o, &["spec", rules]).into(), parameters.into(), text::created(o, now)]
}

fn policy_binding(o: &Value, now: Timestamp) -> Vec<Value> {
    let reference = json::at(o, &["spec", "paramRef"]).filter(|r| r.is_object());
    let shown = reference.map_or_else(
        || UNSET.to_owned(),
        |r| match (json::text(r, &["namespace"]), json::text(r, &["name"])) {
            (_, "") => r.get("selector").map_or_else(|| UNSET.to_owned(), |s| text::selector(Some(s))),
            // The kind may be in namespaces or not: that is not to be seen from here.
            ("", name) => format!("*/{name}"),
            (namespace, name) => format!("{namespace}/{name}"),
        },
    );
    vec![text::name(o), json::text(o, &["spec", "policyName"]).into(), shown.into(), text::created(o, now)]
}

fn flow_schema(o: &Value, now: Timestamp) -> Vec<Value> {
    let dangling = json::list(o, &["status", "conditions"]).iter().find(|c| json::text(c, &["type"]) == "Dangling");
    vec![
        text::name(o),
        json::text(o, &["spec", "priorityLevelConfiguration", "name"]).into(),
        text::count(o, &["spec", "matchingPrecedence"]),
        text::or_none(o, &["spec", "distinguisherMethod", "type"]),
        text::created(o, now),
        dangling.map_or("?", |c| json::text(c, &["status"])).into(),
    ]
}

fn priority_level(o: &Value, now: Timestamp) -> Vec<Value> {
    let number = |path: &[&str]| json::int(o, path).map_or_else(|| text::NONE.into(), Value::from);
    let queuing = |key| number(&["spec", "limited", "limitResponse", "queuing", key]);
    vec![
        text::name(o),
        json::text(o, &["spec", "type"]).into(),
        number(&["spec", "limited", "nominalConcurrencyShares"]),
        queuing("queues"),
        queuing("handSize"),
        queuing("queueLengthLimit"),
        text::created(o, now),
    ]
}

fn component(o: &Value, _: Timestamp) -> Vec<Value> {
    let healthy = json::list(o, &["conditions"]).iter().find(|c| json::text(c, &["type"]) == "Healthy");
    let (status, message, error) = match healthy {
        Some(c) if json::text(c, &["status"]) == "True" => ("Healthy", json::text(c, &["message"]), ""),
        Some(c) => ("Unhealthy", json::text(c, &["message"]), json::text(c, &["error"])),
        None => ("Unknown", "", ""),
    };
    vec![text::name(o), status.into(), message.into(), error.into()]
}

fn api_service(o: &Value, now: Timestamp) -> Vec<Value> {
    let service = json::at(o, &["spec", "service"]).filter(|s| s.is_object()).map_or_else(
        || "Local".to_owned(),
        |s| format!("{}/{}", json::text(s, &["namespace"]), json::text(s, &["name"])),
    );
    let available = json::list(o, &["status", "conditions"]).iter().find(|c| json::text(c, &["type"]) == "Available");
    let available = match available {
        None => "Unknown".to_owned(),
        Some(c) if json::text(c, &["status"]) == "True" => "True".to_owned(),
        Some(c) => format!("{} ({})", json::text(c, &["status"]), json::text(c, &["reason"])),
    };
    vec![text::name(o), service.into(), available.into(), text::created(o, now)]
}

fn trust_bundle(o: &Value, _: Timestamp) -> Vec<Value> {
    vec![text::name(o), json::text(o, &["spec", "signerName"]).into()]
}

fn ip_address(o: &Value, now: Timestamp) -> Vec<Value> {
    let parent = json::at(o, &["spec", "parentRef"]).filter(|p| p.is_object()).map_or_else(
        || text::NONE.to_owned(),
        |p| {
            let part = |key| json::text(p, &[key]);
            let mut shown = part("resource").to_owned();
            if !part("group").is_empty() {
                shown = format!("{shown}.{}", part("group"));
            }
            for key in ["namespace", "name"] {
                if !part(key).is_empty() {
                    shown = format!("{shown}/{}", part(key));
                }
            }
            shown
        },
    );
    vec![text::name(o), parent.into(), text::created(o, now)]
}

fn service_range(o: &Value, now: Timestamp) -> Vec<Value> {
    let ranges: Vec<&str> = json::list(o, &["spec", "cidrs"]).iter().filter_map(Value::as_str).collect();
    vec![text::name(o), ranges.join(",").into(), text::created(o, now)]
}

fn resource_claim(o: &Value, now: Timestamp) -> Vec<Value> {
    let mut states = Vec::new();
    if json::deleting(o) {
        states.push("deleted");
    }
    if json::at(o, &["status", "allocation"]).is_some() {
        states.push("allocated");
        if text::size(o, &["status", "reservedFor"]) > 0 {
            states.push("reserved");
        }
    } else if states.is_empty() {
        states.push("pending");
    }
    vec![text::name(o), states.join(",").into(), text::created(o, now)]
}

fn resource_slice(o: &Value, now: Timestamp) -> Vec<Value> {
    let at = |path: &[&str]| Value::from(json::text(o, path));
    vec![
        text::name(o),
        at(&["spec", "nodeName"]),
        at(&["spec", "driver"]),
        at(&["spec", "pool", "name"]),
        text::created(o, now),
    ]
}
