//! The objects that every cluster has before anybody asks for them.

mod flow;

use std::net::Ipv4Addr;

use serde_json::{Value, json};
use sim_clock::now;

use crate::{engine::WriteOptions, server::ApiServer, status::Status};

/// Makes them. The API server is reached at `address`, and its Service `kubernetes` by `service`; `port` is what listens.
///
/// # Errors
/// If one is refused.
pub(crate) fn objects(api: &ApiServer, address: Ipv4Addr, service: Ipv4Addr, port: u16) -> Result<(), Status> {
    let by = WriteOptions::by("kube-apiserver");
    let mut engine = api.engine();
    let all = own_service(address, service, port).into_iter().chain(classes()).chain(flow::objects());
    // Their uids come from chance of their own: what is made later is as it would be without them.
    engine.aside("kube/bootstrap", |engine| {
        all.into_iter().try_for_each(|object| engine.create_object(object, &by, now()).map(drop))
    })
}

/// The Service `kubernetes` with its endpoints, which the API server keeps itself.
fn own_service(address: Ipv4Addr, service: Ipv4Addr, port: u16) -> [Value; 3] {
    let ports = json!([{"name": "https", "port": port, "protocol": "TCP"}]);
    [
        json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver", "provider": "kubernetes"}},
            "spec": {"clusterIP": service.to_string(), "type": "ClusterIP", "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]}}),
        json!({"apiVersion": "v1", "kind": "Endpoints",
            "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
            "subsets": [{"addresses": [{"ip": address.to_string()}], "ports": ports}]}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "endpoints": [{"addresses": [address.to_string()], "conditions": {"ready": true}}], "ports": ports}),
    ]
}

/// The priority classes of the control plane, and the storage class that claims get which name none.
fn classes() -> [Value; 3] {
    let priority = |name: &str, value: i64, what: &str| {
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value,
            "description": format!("Used for system critical pods that must {what}.")})
    };
    [
        priority(
            "system-cluster-critical",
            2_000_000_000,
            "run in the cluster, but can be moved to another node if necessary",
        ),
        priority("system-node-critical", 2_000_001_000, "not be moved from their current node"),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "rancher.io/local-path", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}),
    ]
}
