//! The registry of served resources: the built-in table, and what CustomResourceDefinitions add.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use serde_json::Value;
use sim_kube_schemas::Struct;

use crate::{json, openapi::Documents, schema::Compiled, status::About};

mod kinds;
mod order;

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
    pub fields: Vec<Cow<'static, str>>,
    /// Where the `scale` subresource is kept; `None` if there is none.
    pub scale: Option<ScalePaths>,
    /// `additionalPrinterColumns` of a custom resource's version.
    pub printer_columns: Vec<Value>,
    /// What clients of the version are warned of: that it is deprecated.
    pub warning: Option<String>,
    /// Verbs of the main resource, as discovery lists them, sorted.
    pub verbs: &'static [&'static str],
    /// Subresources other than `status`.
    pub subresources: &'static [Subresource],
    /// The type of a built-in kind, once somebody asked for it.
    pub(crate) structure: OnceLock<Option<&'static Struct>>,
}

/// Where an object keeps what its `scale` subresource shows, as paths of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// The replicas that are wanted.
    pub wanted: Vec<String>,
    /// The replicas that there are.
    pub observed: Vec<String>,
    /// The label selector: an object of a built-in workload, a text of a custom resource (if it has one).
    pub selector: Option<Vec<String>>,
}

impl ScalePaths {
    /// Of the built-in workloads.
    fn built_in() -> Self {
        let path = |root: &str, key: &str| vec![root.to_owned(), key.to_owned()];
        Self {
            wanted: path("spec", "replicas"),
            observed: path("status", "replicas"),
            selector: Some(path("spec", "selector")),
        }
    }

    /// Of `subresources.scale` of a definition's version: simple paths, `.spec.replicas`.
    fn of_definition(scale: &Value) -> Self {
        let path = |key: &str| -> Vec<String> {
            json::text(scale, &[key]).split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect()
        };
        Self {
            wanted: path("specReplicasPath"),
            observed: path("statusReplicasPath"),
            selector: Some(path("labelSelectorPath")).filter(|p| !p.is_empty()),
        }
    }
}

/// A subresource other than `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// `scale`, `log`, `eviction` …
    pub name: &'static str,
    /// Kind that it takes or gives.
    pub kind: &'static str,
    /// Group of that kind.
    pub group: &'static str,
    /// Version of that kind.
    pub version: &'static str,
    /// Verbs, sorted.
    pub verbs: &'static [&'static str],
}

impl ResourceType {
    /// The type of a built-in kind; `None` for custom resources. Made on first use, kept for the life of the process.
    pub fn structure(&self) -> Option<&'static Struct> {
        if !self.built_in {
            return None;
        }
        *self.structure.get_or_init(|| sim_kube_schemas::kind(&self.group, &self.version, &self.kind))
    }

    /// The type of a built-in kind in the form of the store: events are stored as core/v1, whatever group writes them.
    pub fn stored_structure(&self) -> Option<&'static Struct> {
        if self.built_in && self.storage_api_version != self.api_version() {
            let (group, version) =
                self.storage_api_version.rsplit_once('/').unwrap_or(("", self.storage_api_version.as_str()));
            return sim_kube_schemas::kind(group, version, &self.kind);
        }
        self.structure()
    }

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

/// Every served resource, sorted by group, version and plural.
#[derive(Clone, Debug)]
pub struct Registry {
    by_path: BTreeMap<String, BTreeMap<String, BTreeMap<String, Arc<ResourceType>>>>,
    documents: Documents,
}

impl Default for Registry {
    fn default() -> Self {
        let mut registry = Self { by_path: BTreeMap::new(), documents: Documents::default() };
        for kind in kinds::BUILT_IN {
            registry.insert(kind.resource());
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

    /// OpenAPI documents that hold custom resources, as long as no definition changes.
    pub(crate) fn documents(&self) -> &Documents {
        &self.documents
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

    /// The versions of a group with their resources, the best first.
    pub(crate) fn versions(&self, group: &str) -> Vec<(&String, &BTreeMap<String, Arc<ResourceType>>)> {
        let mut versions: Vec<_> = self.by_path.get(group).into_iter().flatten().collect();
        versions.sort_by(|(one, _), (other, _)| order::compare(one, other));
        versions
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
        self.documents = Documents::default();
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
            let scale = json::at(version, &["subresources", "scale"]);
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
                fields: json::list(version, &["selectableFields"])
                    .iter()
                    .map(|f| json::text(f, &["jsonPath"]).trim_start_matches('.').to_owned().into())
                    .collect(),
                verbs: kinds::ALL_VERBS,
                subresources: if scale.is_some() { kinds::SCALE } else { &[] },
                scale: scale.map(ScalePaths::of_definition),
                structure: OnceLock::new(),
                printer_columns: json::list(version, &["additionalPrinterColumns"]).to_vec(),
                warning: (version.get("deprecated") == Some(&Value::Bool(true))).then(|| {
                    match json::text(version, &["deprecationWarning"]) {
                        "" => format!("{group}/{} {kind} is deprecated", json::text(version, &["name"])),
                        given => given.to_owned(),
                    }
                }),
            });
        }
    }

    /// Stops serving what a CustomResourceDefinition describes.
    pub fn remove_definition(&mut self, definition: &Value) {
        self.documents = Documents::default();
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
