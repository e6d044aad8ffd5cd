//! Discovery documents and `/version`.

use serde_json::{Value, json};

use crate::resources::{Registry, api_version};

/// The Kubernetes version this server speaks as: that of its built-in kinds.
pub const VERSION: &str = sim_kube_schemas::VERSION;

/// Groups of the real server that are not served here; their paths answer 501 rather than 404.
const ELSEWHERE: &[&str] = &[
    "",
    "apps",
    "batch",
    "autoscaling",
    "admissionregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "storage.k8s.io",
    "scheduling.k8s.io",
    "node.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "apiregistration.k8s.io",
    "networking.k8s.io",
    "policy",
    "discovery.k8s.io",
    "coordination.k8s.io",
    "rbac.authorization.k8s.io",
    "apiextensions.k8s.io",
    "events.k8s.io",
    "resource.k8s.io",
];

/// True for a group of the real server.
pub fn known_elsewhere(group: &str) -> bool {
    ELSEWHERE.contains(&group)
}

/// `/version`.
pub fn version() -> Value {
    json!({"major": "1", "minor": sim_kube_schemas::MINOR_TEXT, "gitVersion": VERSION, "gitCommit": "0000000000000000000000000000000000000000", "gitTreeState": "clean",
        "buildDate": "2026-08-26T10:00:00Z", "goVersion": "go1.26.3", "compiler": "gc", "platform": "linux/amd64"})
}

/// `/api`.
pub fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "kubernetes.default.svc:443"}]})
}

fn group_of(registry: &Registry, name: &str) -> Option<Value> {
    let versions: Vec<Value> = registry
        .groups()
        .get(name)?
        .keys()
        .rev()
        .map(|v| json!({"groupVersion": api_version(name, v), "version": v}))
        .collect();
    Some(json!({"name": name, "versions": versions, "preferredVersion": versions.first()?}))
}

/// `/apis`.
pub fn groups(registry: &Registry) -> Value {
    let groups: Vec<Value> =
        registry.groups().keys().filter(|g| !g.is_empty()).filter_map(|g| group_of(registry, g)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`.
pub fn group(registry: &Registry, name: &str) -> Option<Value> {
    let mut group = group_of(registry, name)?;
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Some(group)
}

/// `/api/v1` and `/apis/<group>/<version>`.
pub fn resources(registry: &Registry, group: &str, version: &str) -> Value {
    let mut list = Vec::new();
    for r in registry.groups().get(group).and_then(|v| v.get(version)).into_iter().flat_map(|plurals| plurals.values())
    {
        let mut entry = json!({"name": r.plural, "singularName": r.singular, "namespaced": r.namespaced, "kind": r.kind,
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]});
        if !r.short_names.is_empty() {
            entry["shortNames"] = r.short_names.clone().into();
        }
        if !r.categories.is_empty() {
            entry["categories"] = r.categories.clone().into();
        }
        list.push(entry);
        if r.status {
            list.push(json!({"name": format!("{}/status", r.plural), "singularName": "", "namespaced": r.namespaced, "kind": r.kind, "verbs": ["get", "patch", "update"]}));
        }
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version(group, version), "resources": list})
}
