//! Services.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Errors, metadata, names};
use crate::json;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

pub(super) fn check(object: &Value, errors: &mut Errors) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let external = json::text(spec, &["type"]) == "ExternalName";
    let headless = json::text(spec, &["clusterIP"]) == "None";
    let ports = json::list(spec, &["ports"]);
    if ports.is_empty() && !external && !headless {
        errors.required("spec.ports", "");
    }
    if external && json::text(spec, &["externalName"]).is_empty() {
        errors.required("spec.externalName", "");
    }
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{i}]");
        let name = json::text(port, &["name"]);
        if name.is_empty() {
            if ports.len() > 1 {
                errors.required(format!("{path}.name"), "");
            }
        } else {
            for why in names::label(name) {
                errors.invalid_text(format!("{path}.name"), name, &why);
            }
            if !seen.insert(name) {
                errors.duplicate(format!("{path}.name"), name);
            }
        }
        errors.port(format!("{path}.port"), port.get("port").unwrap_or(&Value::from(0)));
        errors.one_of(port, &path, "protocol", PROTOCOLS);
        match port.get("targetPort") {
            Some(Value::String(name)) => {
                for why in names::port_name(name) {
                    errors.invalid_text(format!("{path}.targetPort"), name, &why);
                }
            }
            Some(number @ Value::Number(_)) => errors.port(format!("{path}.targetPort"), number),
            _ => {}
        }
    }
    metadata::labels(spec.get("selector"), "spec.selector", errors);
    errors.one_of(spec, "spec", "sessionAffinity", &["ClientIP", "None"]);
    errors.one_of(spec, "spec", "type", TYPES);
}

pub(super) fn update(old: &Value, new: &Value, errors: &mut Errors) {
    let before = json::text(old, &["spec", "clusterIP"]);
    let after = json::text(new, &["spec", "clusterIP"]);
    let external = |o: &Value| json::text(o, &["spec", "type"]) == "ExternalName";
    if !before.is_empty() && before != after && !external(old) && !external(new) {
        let shown = json::at(new, &["spec", "clusterIPs"]).cloned().unwrap_or_else(|| Value::from(vec![after]));
        errors.invalid("spec.clusterIPs[0]", &shown, "may not change once set");
    }
}
