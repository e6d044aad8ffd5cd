//! The registry of served resources: the built-in table, and what CustomResourceDefinitions add.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use crate::{json, schema::Compiled, status::About};

/// One resource as clients see it under one version.
#[derive(Clone, Debug)]
pub struct ResourceType {
    /// API group; empty for core.
    pub group: String,
    /// Version served.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Plural, as in the URL.
    pub plural: String,
    /// Singular.
    pub singular: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// Categories (`all`).
    pub categories: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Whether `/status` is a subresource (and the main resource cannot write it).
    pub status: bool,
    /// Whether `metadata.generation` is kept.
    pub generation: bool,
    /// True for a built-in kind: strategic merge patch, built-in defaults.
    pub built_in: bool,
    /// Structural schema of a custom resource.
    pub schema: Option<Arc<Value>>,
    /// The same schema in the form that is evaluated.
    pub compiled: Option<Arc<Compiled>>,
    /// Name of the table in the store, `<plural>.<group>`; two versions (and the two event groups) share one.
    pub table: Arc<str>,
    /// `apiVersion` under which the table holds its objects.
    pub storage_api_version: String,
    /// Field selector paths beyond name and namespace.
    pub fields: Vec<&'static str>,
}

impl ResourceType {
    /// `v1` or `group/version`.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// For messages.
    pub fn about(&self) -> About<'_> {
        About { group: &self.group, plural: &self.plural, kind: &self.kind }
    }

    /// True if this is a custom resource.
    pub fn custom(&self) -> bool {
        !self.built_in
    }
}

/// `v1` or `group/version`.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// group, version, kind, plural, short names, namespaced, status subresource, generation, `all` category
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, bool, bool, bool, bool);

const BUILT_IN: &[Row] = &[
    ("", "v1", "Namespace", "namespaces", "ns", false, true, false, false),
    ("", "v1", "Node", "nodes", "no", false, true, false, false),
    ("", "v1", "Pod", "pods", "po", true, true, true, true),
    ("", "v1", "Service", "services", "svc", true, true, false, true),
    ("", "v1", "Endpoints", "endpoints", "ep", true, false, false, false),
    ("", "v1", "ConfigMap", "configmaps", "cm", true, false, false, false),
    ("", "v1", "Secret", "secrets", "", true, false, false, false),
    ("", "v1", "ServiceAccount", "serviceaccounts", "sa", true, false, false, false),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", "pvc", true, true, false, false),
    ("", "v1", "Event", "events", "ev", true, false, false, false),
    ("apps", "v1", "Deployment", "deployments", "deploy", true, true, true, true),
    ("apps", "v1", "ReplicaSet", "replicasets", "rs", true, true, true, true),
    ("apps", "v1", "StatefulSet", "statefulsets", "sts", true, true, true, true),
    ("apps", "v1", "ControllerRevision", "controllerrevisions", "", true, false, false, false),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles", "", true, false, false, false),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", "", true, false, false, false),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", "", false, false, false, false),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", "", false, false, false, false),
    ("coordination.k8s.io", "v1", "Lease", "leases", "", true, false, false, false),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", "netpol", true, false, true, false),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "pdb", true, true, true, false),
    ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "", true, false, true, false),
    (
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        "crd",
        false,
        true,
        true,
        false,
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        "",
        false,
        false,
        true,
        false,
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        "",
        false,
        false,
        true,
        false,
    ),
    ("events.k8s.io", "v1", "Event", "events", "ev", true, false, false, false),
];

const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

fn fields_of(plural: &str) -> Vec<&'static str> {
    match plural {
        "pods" => vec![
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "events" => EVENT_FIELDS.to_vec(),
        "secrets" => vec!["type"],
        "namespaces" => vec!["status.phase"],
        "nodes" => vec!["spec.unschedulable"],
        "replicasets" => vec!["status.replicas"],
        "services" => vec!["spec.clusterIP", "spec.type"],
        _ => Vec::new(),
    }
}

/// Every served resource, sorted by group, version and plural.
#[derive(Clone, Debug)]
pub struct Registry {
    by_path: BTreeMap<String, BTreeMap<String, BTreeMap<String, Arc<ResourceType>>>>,
}

impl Default for Registry {
    fn default() -> Self {
        let mut registry = Self { by_path: BTreeMap::new() };
        for &(group, version, kind, plural, short, namespaced, status, generation, all) in BUILT_IN {
            let table = if plural == "events" { "events".into() } else { About { group, plural, kind }.qualified() };
            let storage = if plural == "events" { "v1".to_owned() } else { api_version(group, version) };
            registry.insert(ResourceType {
                group: group.into(),
                version: version.into(),
                kind: kind.into(),
                plural: plural.into(),
                singular: kind.to_ascii_lowercase(),
                short_names: if short.is_empty() { Vec::new() } else { vec![short.into()] },
                categories: if all { vec!["all".into()] } else { Vec::new() },
                namespaced,
                status,
                generation,
                built_in: true,
                schema: None,
                compiled: None,
                table: table.into(),
                storage_api_version: storage,
                fields: fields_of(plural),
            });
        }
        registry
    }
}

impl Registry {
    fn insert(&mut self, resource: ResourceType) {
        self.by_path
            .entry(resource.group.clone())
            .or_default()
            .entry(resource.version.clone())
            .or_default()
            .insert(resource.plural.clone(), Arc::new(resource));
    }

    /// The resource at a URL path.
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<ResourceType>> {
        self.by_path.get(group)?.get(version)?.get(plural)
    }

    /// The resource of an object, by `apiVersion` and `kind`.
    pub fn of(&self, api_version: &str, kind: &str) -> Option<&Arc<ResourceType>> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        self.by_path.get(group)?.get(version)?.values().find(|r| r.kind == kind)
    }

    /// The first resource of a group by kind, whatever its version (owner references).
    pub fn of_group_kind(&self, group: &str, kind: &str) -> Option<&Arc<ResourceType>> {
        self.by_path.get(group)?.values().flat_map(BTreeMap::values).find(|r| r.kind == kind)
    }

    /// True if any version of the group has the plural.
    pub fn serves_group_version(&self, group: &str, version: &str) -> bool {
        self.by_path.get(group).is_some_and(|v| v.contains_key(version))
    }

    /// Groups with their versions and resources, sorted.
    pub fn groups(&self) -> &BTreeMap<String, BTreeMap<String, BTreeMap<String, Arc<ResourceType>>>> {
        &self.by_path
    }

    /// Every resource once per table (the first version of each).
    pub fn tables(&self) -> Vec<Arc<ResourceType>> {
        let mut seen = BTreeMap::new();
        for r in self.by_path.values().flat_map(BTreeMap::values).flat_map(BTreeMap::values) {
            seen.entry(r.table.clone()).or_insert_with(|| r.clone());
        }
        seen.into_values().collect()
    }

    /// Serves what a CustomResourceDefinition describes, replacing what it served before.
    pub fn add_definition(&mut self, definition: &Value) {
        self.remove_definition(definition);
        let group = json::text(definition, &["spec", "group"]).to_owned();
        let plural = json::text(definition, &["spec", "names", "plural"]).to_owned();
        let kind = json::text(definition, &["spec", "names", "kind"]).to_owned();
        let versions = json::list(definition, &["spec", "versions"]);
        let storage = versions
            .iter()
            .find(|v| v.get("storage") == Some(&Value::Bool(true)))
            .map_or("", |v| json::text(v, &["name"]));
        let strings = |key: &str| {
            json::list(definition, &["spec", "names", key])
                .iter()
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect::<Vec<_>>()
        };
        let singular = match json::text(definition, &["spec", "names", "singular"]) {
            "" => kind.to_ascii_lowercase(),
            given => given.to_owned(),
        };
        for version in versions.iter().filter(|v| v.get("served") == Some(&Value::Bool(true))) {
            self.insert(ResourceType {
                group: group.clone(),
                version: json::text(version, &["name"]).to_owned(),
                kind: kind.clone(),
                plural: plural.clone(),
                singular: singular.clone(),
                short_names: strings("shortNames"),
                categories: strings("categories"),
                namespaced: json::text(definition, &["spec", "scope"]) != "Cluster",
                status: json::at(version, &["subresources", "status"]).is_some(),
                generation: true,
                built_in: false,
                compiled: json::at(version, &["schema", "openAPIV3Schema"]).map(|s| Arc::new(Compiled::new(s))),
                schema: json::at(version, &["schema", "openAPIV3Schema"]).map(|s| Arc::new(s.clone())),
                table: format!("{plural}.{group}").into(),
                storage_api_version: api_version(&group, storage),
                fields: Vec::new(),
            });
        }
    }

    /// Stops serving what a CustomResourceDefinition describes.
    pub fn remove_definition(&mut self, definition: &Value) {
        let group = json::text(definition, &["spec", "group"]);
        let plural = json::text(definition, &["spec", "names", "plural"]);
        if let Some(versions) = self.by_path.get_mut(group) {
            for plurals in versions.values_mut() {
                plurals.retain(|p, r| p != plural || r.built_in);
            }
            versions.retain(|_, plurals| !plurals.is_empty());
            if versions.is_empty() {
                self.by_path.remove(group);
            }
        }
    }
}
