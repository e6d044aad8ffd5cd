//! Services, endpoints, ingress, network policies.

use serde_json::Value;
use sim_clock::Timestamp;

use super::{Cells, Row, text};
use crate::json;

const NAME: Row = ("Name", "string", 0);
const AGE: Row = ("Age", "string", 0);
/// Most endpoints and hosts that are shown.
const SHOWN_MAX: usize = 3;

pub(super) fn printer(table: &str) -> Option<(&'static [Row], Cells)> {
    Some(match table {
        "services" => (
            &[
                NAME,
                ("Type", "string", 0),
                ("Cluster-IP", "string", 0),
                ("External-IP", "string", 0),
                ("Port(s)", "string", 0),
                AGE,
                ("Selector", "string", 1),
            ],
            service,
        ),
        "endpoints" => (&[NAME, ("Endpoints", "string", 0), AGE], endpoints),
        "endpointslices.discovery.k8s.io" => (
            &[NAME, ("AddressType", "string", 0), ("Ports", "string", 0), ("Endpoints", "string", 0), AGE],
            endpoint_slice,
        ),
        "ingresses.networking.k8s.io" => (
            &[
                NAME,
                ("Class", "string", 0),
                ("Hosts", "string", 0),
                ("Address", "string", 0),
                ("Ports", "string", 0),
                AGE,
            ],
            ingress,
        ),
        "ingressclasses.networking.k8s.io" => {
            (&[NAME, ("Controller", "string", 0), ("Parameters", "string", 0), AGE], ingress_class)
        }
        "networkpolicies.networking.k8s.io" => (&[NAME, ("Pod-Selector", "string", 0), AGE], network_policy),
        _ => return None,
    })
}

fn shorten(mut all: Vec<String>, nothing: &str) -> String {
    if all.is_empty() {
        return nothing.to_owned();
    }
    let more = all.len().saturating_sub(SHOWN_MAX);
    all.truncate(SHOWN_MAX);
    let shown = all.join(",");
    if more > 0 { format!("{shown} + {more} more...") } else { shown }
}

fn ingress_points(o: &Value) -> String {
    let points = json::list(o, &["status", "loadBalancer", "ingress"]).iter();
    let texts: Vec<&str> = points
        .map(|p| match json::text(p, &["ip"]) {
            "" => json::text(p, &["hostname"]),
            ip => ip,
        })
        .filter(|t| !t.is_empty())
        .collect();
    texts.join(",")
}

fn service(o: &Value, now: Timestamp) -> Vec<Value> {
    let spec = o.get("spec").unwrap_or(&Value::Null);
    let cluster_ip = match json::list(spec, &["clusterIPs"]).first().and_then(Value::as_str) {
        Some(first) => first.into(),
        None => text::or_none(spec, &["clusterIP"]),
    };
    let external: Vec<&str> = json::list(spec, &["externalIPs"]).iter().filter_map(Value::as_str).collect();
    let external_ip = match json::text(spec, &["type"]) {
        "ExternalName" => json::text(spec, &["externalName"]).to_owned(),
        "LoadBalancer" => {
            let points = ingress_points(o);
            match (points.is_empty(), external.is_empty()) {
                (true, true) => "<pending>".to_owned(),
                (false, true) => points,
                (true, false) => external.join(","),
                (false, false) => format!("{points},{}", external.join(",")),
            }
        }
        _ if external.is_empty() => text::NONE.to_owned(),
        _ => external.join(","),
    };
    let ports: Vec<String> = json::list(spec, &["ports"])
        .iter()
        .map(|p| {
            let (port, protocol) = (text::count(p, &["port"]), json::text(p, &["protocol"]));
            match json::int(p, &["nodePort"]).unwrap_or(0) {
                0 => format!("{port}/{protocol}"),
                node => format!("{port}:{node}/{protocol}"),
            }
        })
        .collect();
    vec![
        text::name(o),
        json::text(spec, &["type"]).into(),
        cluster_ip,
        external_ip.into(),
        if ports.is_empty() { text::NONE.into() } else { ports.join(",").into() },
        text::created(o, now),
        text::labels(json::map(spec, &["selector"])).into(),
    ]
}

fn join_host_port(host: &str, port: i64) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn endpoints(o: &Value, now: Timestamp) -> Vec<Value> {
    let mut all = Vec::new();
    for subset in json::list(o, &["subsets"]) {
        let ports = json::list(subset, &["ports"]);
        let addresses = json::list(subset, &["addresses"]);
        if ports.is_empty() {
            all.extend(addresses.iter().map(|a| json::text(a, &["ip"]).to_owned()));
        }
        for port in ports {
            let number = json::int(port, &["port"]).unwrap_or(0);
            all.extend(addresses.iter().map(|a| join_host_port(json::text(a, &["ip"]), number)));
        }
    }
    vec![text::name(o), shorten(all, text::NONE).into(), text::created(o, now)]
}

fn endpoint_slice(o: &Value, now: Timestamp) -> Vec<Value> {
    let ports = json::list(o, &["ports"]).iter();
    let ports: Vec<String> = ports
        .map(|p| match (json::text(p, &["name"]), json::int(p, &["port"])) {
            ("", None) => "*".to_owned(),
            (name, None) => name.to_owned(),
            (_, Some(port)) => port.to_string(),
        })
        .collect();
    let addresses = json::list(o, &["endpoints"]).iter().flat_map(|e| json::list(e, &["addresses"]));
    let addresses: Vec<String> = addresses.filter_map(|a| a.as_str().map(str::to_owned)).collect();
    vec![
        text::name(o),
        json::text(o, &["addressType"]).into(),
        shorten(ports, "<unset>").into(),
        shorten(addresses, "<unset>").into(),
        text::created(o, now),
    ]
}

fn ingress(o: &Value, now: Timestamp) -> Vec<Value> {
    let hosts = json::list(o, &["spec", "rules"]).iter().map(|r| json::text(r, &["host"]).to_owned());
    let hosts: Vec<String> = hosts.filter(|h| !h.is_empty()).collect();
    let tls = !json::list(o, &["spec", "tls"]).is_empty();
    vec![
        text::name(o),
        text::or_none(o, &["spec", "ingressClassName"]),
        shorten(hosts, "*").into(),
        ingress_points(o).into(),
        if tls { "80, 443" } else { "80" }.into(),
        text::created(o, now),
    ]
}

fn ingress_class(o: &Value, now: Timestamp) -> Vec<Value> {
    let parameters = json::at(o, &["spec", "parameters"]).map_or_else(
        || text::NONE.to_owned(),
        |p| {
            let group = match json::text(p, &["apiGroup"]) {
                "" => String::new(),
                group => format!(".{group}"),
            };
            format!("{}{group}/{}", json::text(p, &["kind"]), json::text(p, &["name"]))
        },
    );
    vec![text::name(o), json::text(o, &["spec", "controller"]).into(), parameters.into(), text::created(o, now)]
}

fn network_policy(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![text::name(o), text::selector(json::at(o, &["spec", "podSelector"])).into(), text::created(o, now)]
}
