//! Service -> Endpoints, EndpointSlice and names in the network.

use std::net::Ipv4Addr;

use serde_json::{Value, json};
use sim_net::{NameTarget, ServicePort};

use super::{Step, Write, owned_by, pods};
use crate::{
    engine::{Engine, Object},
    json,
};

/// What the network should know of a Service.
pub type Published = Vec<(String, NameTarget)>;

struct Endpoint {
    ip: String,
    ready: bool,
    pod: Object,
}

fn backing(service: &Object, pods: &[Object]) -> Vec<Endpoint> {
    if json::map(service, &["spec", "selector"]).is_none_or(serde_json::Map::is_empty) {
        return Vec::new();
    }
    let everybody = service["spec"]["publishNotReadyAddresses"] == true;
    pods.iter()
        .filter(|p| !pods::finished(p) && (everybody || !json::deleting(p)))
        .filter_map(|p| {
            let ip = json::text(p, &["status", "podIP"]);
            let ready = everybody || pods::pod_ready(p);
            (!ip.is_empty()).then(|| Endpoint { ip: ip.to_owned(), ready, pod: p.clone() })
        })
        .collect()
}

/// The number of a container port, given by number or by name.
pub(crate) fn port_number(pod: &Value, target: &Value) -> Option<u16> {
    if let Some(number) = target.as_u64() {
        return u16::try_from(number).ok();
    }
    let name = target.as_str()?;
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let containers =
        json::list(pod, &["spec", "containers"]).iter().chain(json::list(pod, &["spec", "initContainers"]));
    let mut ports = containers.flat_map(|c| json::list(c, &["ports"]));
    ports
        .find(|p| json::text(p, &["name"]) == name)
        .and_then(|p| json::int(p, &["containerPort"]))
        .and_then(|p| u16::try_from(p).ok())
}

/// One look at a Service and the pods that it selects: its Endpoints and EndpointSlices.
pub fn endpoints(engine: &Engine, service: &Object, pods: &[Object]) -> Step {
    let mut step = Step { component: "endpoint-controller", ..Step::default() };
    if json::deleting(service) || json::map(service, &["spec", "selector"]).is_none_or(serde_json::Map::is_empty) {
        return step;
    }
    let backing = backing(service, pods);
    let name = json::name(service);
    let namespace = json::namespace(service);
    let address = |e: &Endpoint| {
        let mut a = json!({"ip": e.ip, "nodeName": e.pod["spec"]["nodeName"], "targetRef": {"kind": "Pod", "namespace": namespace, "name": json::name(&e.pod), "uid": json::uid(&e.pod)}});
        if e.pod["spec"]["subdomain"] == name && !json::text(&e.pod, &["spec", "hostname"]).is_empty() {
            a["hostname"] = e.pod["spec"]["hostname"].clone();
        }
        a
    };
    let ports: Vec<Value> = json::list(service, &["spec", "ports"])
        .iter()
        .filter_map(|p| {
            let number = backing.first().and_then(|e| port_number(&e.pod, &p["targetPort"]))?;
            let mut port = json!({"port": number, "protocol": p["protocol"]});
            if let Some(name) = p.get("name") {
                port["name"] = name.clone();
            }
            Some(port)
        })
        .collect();
    let mut subset = json!({});
    for (key, ready) in [("addresses", true), ("notReadyAddresses", false)] {
        let list: Vec<Value> = backing.iter().filter(|e| e.ready == ready).map(address).collect();
        if !list.is_empty() {
            subset[key] = list.into();
        }
    }
    let subsets = if backing.is_empty() {
        json!([])
    } else {
        if !ports.is_empty() {
            subset["ports"] = ports.clone().into();
        }
        json!([subset])
    };
    let labels = json::at(service, &["metadata", "labels"]).cloned().unwrap_or_else(|| json!({}));
    let wanted = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": name, "namespace": namespace, "labels": labels}, "subsets": subsets});
    put(&mut step, engine.peek("endpoints", namespace, name), wanted, &["subsets"]);

    let items: Vec<Value> = backing
        .iter()
        .map(|e| json!({"addresses": [e.ip], "conditions": {"ready": e.ready, "serving": pods::pod_ready(&e.pod), "terminating": json::deleting(&e.pod)},
            "nodeName": e.pod["spec"]["nodeName"], "targetRef": {"kind": "Pod", "namespace": namespace, "name": json::name(&e.pod), "uid": json::uid(&e.pod)}}))
        .collect();
    let slice_name = format!("{name}-{}", slice_suffix(service));
    let slice_ports: Vec<Value> = ports
        .into_iter()
        .map(|mut p| {
            crate::json::default_to(&mut p, "name", "");
            p
        })
        .collect();
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": slice_name, "namespace": namespace, "labels": {"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}, "ownerReferences": [owned_by(service)]},
        "endpoints": items, "ports": slice_ports});
    put(
        &mut step,
        engine.peek("endpointslices.discovery.k8s.io", namespace, &slice_name),
        slice,
        &["endpoints", "ports"],
    );
    step
}

/// Five characters that follow from the Service's uid.
fn slice_suffix(service: &Value) -> String {
    const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut n = json::fnv(json::uid(service));
    (0..5)
        .map(|_| {
            let c = SAFE[(n % 27) as usize];
            n /= 27;
            char::from(c)
        })
        .collect()
}

fn put(step: &mut Step, existing: Option<&Object>, wanted: Value, fields: &[&str]) {
    match existing {
        None => step.writes.push(Write::Create(wanted)),
        Some(object) if fields.iter().all(|f| object.get(*f) == wanted.get(*f)) => {}
        Some(object) => {
            let mut next = object.to_content();
            for field in fields {
                next[*field] = wanted[*field].clone();
            }
            step.writes.push(Write::Update(next));
        }
    }
}

/// The names a Service has in the cluster's DNS, and where they lead.
pub fn published(service: &Object, pods: &[Object]) -> Published {
    let (name, namespace) = (json::name(service), json::namespace(service));
    let forms = |host: &str| {
        [
            format!("{host}.{namespace}.svc"),
            format!("{host}.{namespace}.svc.cluster.local"),
            format!("{host}.{namespace}"),
        ]
    };
    let backing: Vec<Endpoint> = backing(service, pods).into_iter().filter(|e| e.ready).collect();
    let addresses = |list: &[&Endpoint]| NameTarget::Addresses(list.iter().filter_map(|e| e.ip.parse().ok()).collect());
    let mut out = Published::new();
    match json::text(service, &["spec", "clusterIP"]) {
        "" => {}
        "None" => {
            let all: Vec<&Endpoint> = backing.iter().collect();
            out.extend(forms(name).into_iter().map(|n| (n, addresses(&all))));
        }
        ip => {
            let Ok(ip) = ip.parse::<Ipv4Addr>() else { return out };
            let ports = json::list(service, &["spec", "ports"])
                .iter()
                .filter_map(|p| {
                    let port = u16::try_from(json::int(p, &["port"])?).ok()?;
                    let endpoints = backing
                        .iter()
                        .filter_map(|e| Some((e.ip.parse().ok()?, port_number(&e.pod, &p["targetPort"])?)))
                        .collect();
                    Some(ServicePort { port, endpoints })
                })
                .collect();
            let target = NameTarget::Service { ip, ports };
            out.extend(forms(name).into_iter().map(|n| (n, target.clone())));
        }
    }
    for e in backing.iter().filter(|e| e.pod["spec"]["subdomain"] == name) {
        let hostname = json::text(&e.pod, &["spec", "hostname"]);
        if !hostname.is_empty() {
            out.extend(forms(&format!("{hostname}.{name}")).into_iter().map(|n| (n, addresses(&[e]))));
        }
    }
    out
}
