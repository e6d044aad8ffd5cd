//! From an endpoint of a ServiceMonitor or PodMonitor to addresses with labels.
//!
//! The real operator writes `kubernetes_sd_configs` and lets Prometheus discover and relabel. Discovery inside Prometheus
//! is not modelled; the same addresses and labels are computed here and written as `static_configs`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::model::{DiscoveryRole, Endpoint, Meta, Pod, PodMonitor, ServiceMonitor, TargetRef};
use super::store::Cluster;

/// An address to scrape.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// `host:port`.
    pub address: String,
    /// The labels that the operator's relabelling yields.
    pub labels: BTreeMap<String, String>,
    /// The `__meta_kubernetes_*` labels that discovery would have given, for the monitor's own relabelling.
    pub meta: BTreeMap<String, String>,
}

/// One address and port behind a Service, wherever it was found.
struct Found<'a> {
    ip: &'a str,
    port: u16,
    port_name: &'a str,
    ready: bool,
    node: Option<&'a str>,
    target: Option<&'a TargetRef>,
}

impl Found<'_> {
    /// `host:port`, an address of version 6 in brackets.
    fn address(&self) -> String {
        if self.ip.contains(':') {
            format!("[{}]:{}", self.ip, self.port)
        } else {
            format!("{}:{}", self.ip, self.port)
        }
    }
}

/// All targets of one endpoint of a monitor, sorted.
pub fn discover(cluster: &Cluster, role: DiscoveryRole, monitor: &ServiceMonitor, endpoint: &Endpoint) -> Vec<Target> {
    let in_scope = |namespace: &str| monitor.spec.namespace_selector.includes(&monitor.metadata.namespace, namespace);
    let mut targets = Vec::new();
    for service in cluster.services.values().map(|service| &service.metadata) {
        if !in_scope(&service.namespace) || !monitor.spec.selector.matches(&service.labels) {
            continue;
        }
        for found in behind(cluster, role, service) {
            targets.extend(target(cluster, monitor, endpoint, service, &found));
        }
    }
    targets.sort();
    targets.dedup();
    targets
}

/// All targets of one endpoint of a PodMonitor, sorted: the matching ports of the Pods that it selects.
pub fn discover_pods(cluster: &Cluster, monitor: &PodMonitor, endpoint: &Endpoint) -> Vec<Target> {
    let spec = &monitor.spec;
    let selected = |pod: &&Pod| {
        let meta = &pod.metadata;
        let ended = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
        spec.namespace_selector.includes(&monitor.metadata.namespace, &meta.namespace)
            && spec.selector.matches(&meta.labels)
            && !pod.status.pod_ip.is_empty()
            && (endpoint.filter_running == Some(false) || !ended)
    };
    let mut targets = Vec::new();
    for pod in cluster.pods.values().filter(selected) {
        for container in &pod.spec.containers {
            for port in &container.ports {
                let endpoint_label = match (&endpoint.port, endpoint.port_number, &endpoint.target_port) {
                    (Some(name), ..) if *name == port.name => name.clone(),
                    (None, Some(number), _) if number == port.container_port => number.to_string(),
                    (None, None, Some(Value::Number(number)))
                        if number.as_u64() == Some(port.container_port.into()) =>
                    {
                        number.to_string()
                    }
                    (None, None, Some(Value::String(name))) if *name == port.name => name.clone(),
                    _ => continue,
                };
                targets.push(pod_target(
                    monitor,
                    pod,
                    (&container.name, &port.name),
                    port.container_port,
                    &endpoint_label,
                ));
            }
        }
    }
    targets.sort();
    targets.dedup();
    targets
}

fn pod_target(
    monitor: &PodMonitor,
    pod: &Pod,
    (container, port_name): (&str, &str),
    port: u16,
    endpoint_label: &str,
) -> Target {
    let meta = &pod.metadata;
    let mut labels = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        if !value.is_empty() {
            labels.insert(name.to_owned(), value.to_owned());
        }
    };
    set("namespace", &meta.namespace);
    set("container", container);
    set("pod", &meta.name);
    set("endpoint", endpoint_label);
    for name in &monitor.spec.pod_target_labels {
        set(&label_name(name), meta.labels.get(name).map(String::as_str).unwrap_or_default());
    }
    set("job", &format!("{}/{}", monitor.metadata.namespace, monitor.metadata.name));
    if let Some(job) = monitor.spec.job_label.as_ref().and_then(|label| meta.labels.get(label)) {
        set("job", job);
    }
    let mut seen = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        seen.insert(format!("__meta_kubernetes_{name}"), value.to_owned());
    };
    set("namespace", &meta.namespace);
    pod_meta(&mut set, pod, Some((container, port_name)), port);
    let ip = &pod.status.pod_ip;
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
    Target { address: format!("{host}:{port}"), labels, meta: seen }
}

/// What discovery says of a Pod and of one of its ports.
fn pod_meta(set: &mut impl FnMut(&str, &str), pod: &Pod, container: Option<(&str, &str)>, port: u16) {
    set("pod_name", &pod.metadata.name);
    set("pod_uid", &pod.metadata.uid);
    set("pod_ip", &pod.status.pod_ip);
    set("pod_phase", &pod.status.phase);
    set("pod_node_name", &pod.spec.node_name);
    for (name, value) in &pod.metadata.labels {
        set(&format!("pod_label_{}", label_name(name)), value);
        set(&format!("pod_labelpresent_{}", label_name(name)), "true");
    }
    if let Some((container, port_name)) = container {
        set("pod_container_name", container);
        set("pod_container_port_name", port_name);
        set("pod_container_port_number", &port.to_string());
    }
}

/// The addresses of a Service's port, given by name or number, sorted; those that are not ready are among them.
pub fn addresses(cluster: &Cluster, role: DiscoveryRole, namespace: &str, service: &str, port: &Value) -> Vec<String> {
    let Some(service) = cluster.services.get(&(namespace.to_owned(), service.to_owned())) else { return Vec::new() };
    let is_wanted = |found: &Found<'_>| match port {
        Value::Number(number) => number.as_u64() == Some(found.port.into()),
        Value::String(name) => name == found.port_name,
        _ => false,
    };
    let found = behind(cluster, role, &service.metadata);
    let mut addresses: Vec<String> = found.iter().filter(|found| is_wanted(found)).map(Found::address).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// The addresses behind a Service. Those that are not ready are among them: Prometheus scrapes them too.
fn behind<'a>(cluster: &'a Cluster, role: DiscoveryRole, service: &Meta) -> Vec<Found<'a>> {
    let mut found = Vec::new();
    match role {
        DiscoveryRole::Endpoints => {
            let key = (service.namespace.clone(), service.name.clone());
            for subset in cluster.endpoints.get(&key).map(|endpoints| endpoints.subsets.as_slice()).unwrap_or_default()
            {
                let ready = subset.addresses.iter().map(|address| (address, true));
                let not_ready = subset.not_ready_addresses.iter().map(|address| (address, false));
                for (address, ready) in ready.chain(not_ready) {
                    found.extend(subset.ports.iter().map(|port| Found {
                        ip: &address.ip,
                        port: port.port,
                        port_name: port.name.as_deref().unwrap_or_default(),
                        ready,
                        node: address.node_name.as_deref(),
                        target: address.target_ref.as_ref(),
                    }));
                }
            }
        }
        DiscoveryRole::EndpointSlice => {
            let of_service = |meta: &Meta| {
                meta.namespace == service.namespace
                    && meta.labels.get("kubernetes.io/service-name") == Some(&service.name)
            };
            for slice in cluster.endpoint_slices.values().filter(|slice| of_service(&slice.metadata)) {
                for member in &slice.endpoints {
                    for (ip, port) in
                        member.addresses.iter().flat_map(|ip| slice.ports.iter().map(move |port| (ip, port)))
                    {
                        found.push(Found {
                            ip,
                            port: port.port,
                            port_name: port.name.as_deref().unwrap_or_default(),
                            ready: member.conditions.ready.unwrap_or(true),
                            node: member.node_name.as_deref(),
                            target: member.target_ref.as_ref(),
                        });
                    }
                }
            }
        }
    }
    found
}

fn target(
    cluster: &Cluster,
    monitor: &ServiceMonitor,
    endpoint: &Endpoint,
    service: &Meta,
    found: &Found<'_>,
) -> Option<Target> {
    let pod = found.target.filter(|target| target.kind == "Pod").and_then(|target| {
        let namespace = if target.namespace.is_empty() { &service.namespace } else { &target.namespace };
        cluster.pods.get(&(namespace.clone(), target.name.clone()))
    });
    let container = pod.and_then(|pod| container_of(pod, found.port));
    let endpoint_label = match (&endpoint.port, &endpoint.target_port) {
        (Some(port), _) if port == found.port_name => port.clone(),
        (None, Some(Value::Number(number))) if container.is_some() && number.as_u64() == Some(found.port.into()) => {
            number.to_string()
        }
        (None, Some(Value::String(name))) if container.is_some_and(|(_, port)| port == name) => name.clone(),
        _ => return None,
    };
    let phase = pod.map(|pod| pod.status.phase.as_str()).unwrap_or_default();
    if endpoint.filter_running != Some(false) && matches!(phase, "Succeeded" | "Failed") {
        return None;
    }

    let mut labels = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        if !value.is_empty() {
            labels.insert(name.to_owned(), value.to_owned());
        }
    };
    set("namespace", &service.namespace);
    set("service", &service.name);
    set("endpoint", &endpoint_label);
    if let Some(TargetRef { name, kind, .. }) = found.target {
        match kind.as_str() {
            "Pod" => set("pod", name),
            "Node" => set("node", name),
            _ => {}
        }
    }
    if let Some((container, _)) = container {
        set("container", container);
    }
    for name in &monitor.spec.target_labels {
        set(&label_name(name), service.labels.get(name).map(String::as_str).unwrap_or_default());
    }
    for (name, pod) in monitor.spec.pod_target_labels.iter().filter_map(|name| Some((name, pod?))) {
        set(&label_name(name), pod.metadata.labels.get(name).map(String::as_str).unwrap_or_default());
    }
    set("job", &service.name);
    if let Some(job) = monitor.spec.job_label.as_ref().and_then(|label| service.labels.get(label)) {
        set("job", job);
    }
    Some(Target { address: found.address(), labels, meta: meta(service, found, pod, container) })
}

/// The name of the container and of its port that listens on `port`.
fn container_of(pod: &Pod, port: u16) -> Option<(&str, &str)> {
    pod.spec.containers.iter().find_map(|container| {
        let declared = container.ports.iter().find(|declared| declared.container_port == port)?;
        Some((container.name.as_str(), declared.name.as_str()))
    })
}

fn meta(
    service: &Meta,
    found: &Found<'_>,
    pod: Option<&Pod>,
    container: Option<(&str, &str)>,
) -> BTreeMap<String, String> {
    let mut meta = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        meta.insert(format!("__meta_kubernetes_{name}"), value.to_owned());
    };
    set("namespace", &service.namespace);
    set("service_name", &service.name);
    for (name, value) in &service.labels {
        set(&format!("service_label_{}", label_name(name)), value);
        set(&format!("service_labelpresent_{}", label_name(name)), "true");
    }
    set("endpoint_port_name", found.port_name);
    set("endpoint_ready", if found.ready { "true" } else { "false" });
    if let Some(node) = found.node {
        set("endpoint_node_name", node);
    }
    if let Some(target) = found.target {
        set("endpoint_address_target_kind", &target.kind);
        set("endpoint_address_target_name", &target.name);
    }
    if let Some(pod) = pod {
        pod_meta(&mut set, pod, container, found.port);
    }
    meta
}

/// A Kubernetes label's name as a Prometheus label's name.
fn label_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
