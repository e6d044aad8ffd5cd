//! Discovery documents and `/version`.

use base64::Engine as _;
use serde_json::{Value, json};

use crate::json;
use crate::resources::{Registry, ResourceType, Subresource, api_version};

/// The Kubernetes version this server speaks as: that of its built-in kinds.
pub const VERSION: &str = sim_kube_schemas::VERSION;

/// The resources that are answered and never stored: group (of version `v1`), plural, kind, whether in a namespace.
const REVIEWS: &[(&str, &str, &str, bool)] = &[
    ("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview", false),
    ("authentication.k8s.io", "tokenreviews", "TokenReview", false),
    ("authorization.k8s.io", "localsubjectaccessreviews", "LocalSubjectAccessReview", true),
    ("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview", false),
    ("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview", false),
    ("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview", false),
];

/// True for a group and version of reviews.
pub(crate) fn reviews(group: &str, version: &str) -> bool {
    version == "v1" && REVIEWS.iter().any(|(of, ..)| *of == group)
}

/// True for a group of the server's own.
pub(crate) fn built_in(registry: &Registry, group: &str) -> bool {
    let stored = registry.groups().get(group).into_iter().flat_map(|v| v.values()).flat_map(|plurals| plurals.values());
    reviews(group, "v1") || stored.into_iter().any(|resource| resource.built_in)
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
    if reviews(name, "v1") {
        let version = json!({"groupVersion": api_version(name, "v1"), "version": "v1"});
        return Some(json!({"name": name, "versions": [version.clone()], "preferredVersion": version}));
    }
    let versions: Vec<Value> = registry
        .versions(name)
        .into_iter()
        .map(|(v, _)| json!({"groupVersion": api_version(name, v), "version": v}))
        .collect();
    Some(json!({"name": name, "versions": versions, "preferredVersion": versions.first()?}))
}

/// `/apis`.
pub fn groups(registry: &Registry) -> Value {
    let stored = registry.groups().keys().map(String::as_str).filter(|g| !g.is_empty());
    let names: std::collections::BTreeSet<&str> = stored.chain(REVIEWS.iter().map(|(group, ..)| *group)).collect();
    let groups: Vec<Value> = names.into_iter().filter_map(|g| group_of(registry, g)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`.
pub fn group(registry: &Registry, name: &str) -> Option<Value> {
    let mut group = group_of(registry, name)?;
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Some(group)
}

/// The group of aggregated discovery.
pub const AGGREGATED_GROUP: &str = "apidiscovery.k8s.io";
const PART_VERBS: &[&str] = &["get", "patch", "update"];

/// The subresources of a resource that this server answers (others answer 501, and are not announced).
fn parts(r: &ResourceType) -> Vec<Subresource> {
    let mut parts: Vec<Subresource> = r.subresources.iter().filter(|s| served(r, s.name)).copied().collect();
    if r.status {
        // Group and version of the resource itself are left out of lists, so they are left open here.
        parts.push(Subresource { name: "status", kind: "", group: "", version: "", verbs: PART_VERBS });
    }
    parts.sort_by_key(|p| p.name);
    parts
}

/// True for a subresource that has a handler.
pub(crate) fn served(r: &ResourceType, subresource: &str) -> bool {
    match subresource {
        "log" | "eviction" | "binding" | "exec" | "attach" | "portforward" | "ephemeralcontainers" | "resize" => {
            &*r.table == "pods"
        }
        "finalize" => &*r.table == "namespaces",
        "token" => &*r.table == "serviceaccounts",
        "approval" => r.kind == "CertificateSigningRequest",
        "scale" => r.scale.is_some(),
        _ => false,
    }
}

/// Group, version and kind that a subresource takes or gives.
fn part_kind<'a>(r: &'a ResourceType, part: &'a Subresource) -> (&'a str, &'a str, &'a str) {
    if part.kind.is_empty() { (&r.group, &r.version, &r.kind) } else { (part.group, part.version, part.kind) }
}

/// The hash by which clients see whether two groups share a resource's storage: of the kind under which it is stored.
fn storage_version_hash(r: &ResourceType) -> String {
    let (group, version) = r.storage_api_version.rsplit_once('/').unwrap_or(("", &r.storage_api_version));
    let digest = ring::digest::digest(&ring::digest::SHA256, format!("{group}/{version}/{}", r.kind).as_bytes());
    base64::engine::general_purpose::STANDARD.encode(&digest.as_ref()[..8])
}

/// `/api/v1` and `/apis/<group>/<version>`.
pub fn resources(registry: &Registry, group: &str, version: &str) -> Value {
    let mut list = Vec::new();
    for (of, plural, kind, namespaced) in REVIEWS.iter().filter(|_| version == "v1") {
        if *of == group {
            list.push(json!({"name": plural, "singularName": kind.to_lowercase(), "namespaced": namespaced, "kind": kind, "verbs": ["create"]}));
        }
    }
    for r in registry.groups().get(group).and_then(|v| v.get(version)).into_iter().flat_map(|plurals| plurals.values())
    {
        let mut entry = json!({"name": r.plural, "singularName": r.singular, "namespaced": r.namespaced, "kind": r.kind, "verbs": r.verbs});
        if !r.short_names.is_empty() {
            entry["shortNames"] = r.short_names.clone().into();
        }
        if !r.categories.is_empty() {
            entry["categories"] = r.categories.clone().into();
        }
        if r.verbs.contains(&"watch") {
            entry["storageVersionHash"] = storage_version_hash(r).into();
        }
        list.push(entry);
        for part in parts(r) {
            let mut entry =
                json!({"name": format!("{}/{}", r.plural, part.name), "singularName": "", "namespaced": r.namespaced});
            let (group, version, kind) = part_kind(r, &part);
            if (group, version) != (&r.group, &r.version) {
                entry["group"] = group.into();
                entry["version"] = version.into();
            }
            entry["kind"] = kind.into();
            entry["verbs"] = json!(part.verbs);
            list.push(entry);
        }
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version(group, version), "resources": list})
}

/// `/`: the paths there are.
pub fn paths(registry: &Registry) -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".into(), "/apis".into()];
    for (group, versions) in registry.groups().iter().filter(|(g, _)| !g.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.keys().map(|v| format!("/apis/{group}/{v}")));
    }
    paths.extend(
        ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"].map(str::to_owned),
    );
    paths.sort();
    json!({"paths": paths})
}

/// Aggregated discovery (`APIGroupDiscoveryList`): of `/api` (`core`) or `/apis`, in version `v2` or `v2beta1`.
pub fn aggregated(registry: &Registry, core: bool, version: &str) -> Value {
    let groups = registry.groups().iter().filter(|(name, _)| name.is_empty() == core);
    let mut items: Vec<Value> = groups
        .map(|(name, _)| {
            let versions: Vec<Value> = registry
                .versions(name)
                .into_iter()
                .map(|(version, plurals)| {
                    let resources: Vec<Value> = plurals.values().map(|r| aggregated_resource(r)).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let mut metadata = json!({"creationTimestamp": null});
            if !core {
                metadata["name"] = name.as_str().into();
            }
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    if !core {
        items.extend(aggregated_reviews());
        items.sort_by(|a, b| json::text(a, &["metadata", "name"]).cmp(json::text(b, &["metadata", "name"])));
    }
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": format!("{AGGREGATED_GROUP}/{version}"), "metadata": {}, "items": items})
}

fn aggregated_reviews() -> Vec<Value> {
    let names: std::collections::BTreeSet<&str> = REVIEWS.iter().map(|(group, ..)| *group).collect();
    let resources = |group: &str| -> Vec<Value> {
        let of = REVIEWS.iter().filter(|(of, ..)| *of == group);
        of.map(|(group, plural, kind, namespaced)| {
            json!({"resource": plural, "responseKind": {"group": group, "version": "v1", "kind": kind},
                "scope": if *namespaced { "Namespaced" } else { "Cluster" },
                "singularResource": kind.to_lowercase(), "verbs": ["create"]})
        })
        .collect()
    };
    let group = |name: &str| {
        json!({"metadata": {"name": name, "creationTimestamp": null},
            "versions": [{"version": "v1", "resources": resources(name), "freshness": "Current"}]})
    };
    names.into_iter().map(group).collect()
}

fn aggregated_resource(r: &ResourceType) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut entry = json!({"resource": r.plural, "responseKind": kind(&r.group, &r.version, &r.kind),
        "scope": if r.namespaced { "Namespaced" } else { "Cluster" }, "singularResource": r.singular, "verbs": r.verbs});
    if !r.short_names.is_empty() {
        entry["shortNames"] = r.short_names.clone().into();
    }
    if !r.categories.is_empty() {
        entry["categories"] = r.categories.clone().into();
    }
    let parts: Vec<Value> = parts(r)
        .iter()
        .map(|p| {
            let (group, version, name) = part_kind(r, p);
            json!({"subresource": p.name, "responseKind": kind(group, version, name), "verbs": p.verbs})
        })
        .collect();
    if !parts.is_empty() {
        entry["subresources"] = parts.into();
    }
    entry
}
