//! OpenAPI: `/openapi/v3` with one document a group and version, and `/openapi/v2`.
//!
//! Documents are made when they are asked for and kept as bytes: those of built-in kinds for the life of the process, those
//! with custom resources until a definition changes. The hash in the index names the content: a client that has the document
//! of a hash need not fetch it again.

mod custom;
mod gnostic;
mod paths;
mod v2;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::{
    discovery, json,
    resources::{Registry, ResourceType, api_version},
};

pub use v2::{swagger, swagger_protobuf};

/// Documents by group and version, dropped when a definition changes.
#[derive(Clone, Debug, Default)]
pub struct Documents(Arc<Mutex<BTreeMap<String, Bytes>>>);

impl Documents {
    fn get_or(&self, key: &str, make: impl FnOnce() -> Value) -> Bytes {
        self.bytes_or(key, || Bytes::from(make().to_string()))
    }

    fn bytes_or(&self, key: &str, make: impl FnOnce() -> Bytes) -> Bytes {
        if let Some(kept) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            return kept.clone();
        }
        let made = make();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), made.clone());
        made
    }
}

fn process_wide() -> &'static Documents {
    static KEPT: OnceLock<Documents> = OnceLock::new();
    KEPT.get_or_init(Documents::default)
}

/// `/api/v1` or `/apis/<group>/<version>`.
fn root_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

fn resources<'a>(registry: &'a Registry, group: &str, version: &str) -> impl Iterator<Item = &'a Arc<ResourceType>> {
    registry.groups().get(group).and_then(|v| v.get(version)).into_iter().flat_map(BTreeMap::values)
}

/// Hash of the document of a group and version, upper-case hexadecimal: equal exactly if the document is.
pub fn hash(registry: &Registry, group: &str, version: &str) -> String {
    let mut text = format!("{}/{group}/{version}", discovery::VERSION);
    for resource in resources(registry, group, version).filter(|r| r.custom()) {
        text += &format!("|{} {} {} {:?}", resource.kind, resource.plural, resource.namespaced, resource.status);
        if let Some(schema) = &resource.schema {
            text += &json::canonical(schema);
        }
    }
    // Two halves of 64 bits, the second over the reversed text: clients only compare.
    let reversed: String = text.chars().rev().collect();
    format!("{:016X}{:016X}", json::fnv(&text), json::fnv(&reversed))
}

/// Hash of a body, for its tag.
pub fn content_hash(body: &[u8]) -> String {
    let forward =
        body.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    format!("{forward:016X}{:016X}", body.len())
}

/// The paths of the index that are served, each with its hash: `api/v1`, `apis/apps/v1`.
pub fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for (group, versions) in registry.groups() {
        for version in versions.keys() {
            let path = root_path(group, version);
            let hash = hash(registry, group, version);
            let url = format!("/openapi/v3{path}?hash={hash}");
            paths.insert(path[1..].to_owned(), json!({ "serverRelativeURL": url }));
        }
    }
    let sorted: BTreeMap<String, Value> = paths.into_iter().collect();
    json!({ "paths": sorted })
}

/// The document of a group and version; `None` if nobody serves it.
pub fn document(registry: &Registry, group: &str, version: &str) -> Option<Bytes> {
    if !registry.serves_group_version(group, version) {
        return None;
    }
    let custom = resources(registry, group, version).any(|r| r.custom());
    let kept = if custom { registry.documents() } else { process_wide() };
    Some(kept.get_or(&api_version(group, version), || make(registry, group, version)))
}

fn make(registry: &Registry, group: &str, version: &str) -> Value {
    let mut all_paths = Map::new();
    let mut schemas: BTreeMap<String, Value> = BTreeMap::new();
    let mut wanted: Vec<String> =
        ["DeleteOptions", "ObjectMeta", "ListMeta", "Status", "Patch"].iter().map(|n| format!("{META}{n}")).collect();
    for root in sim_kube_schemas::roots().iter().filter(|r| r.group == group && r.version == version) {
        wanted.push(root.definition());
    }
    for resource in resources(registry, group, version) {
        for (path, item) in paths::of(resource) {
            all_paths.insert(path, item);
        }
        if resource.custom() {
            schemas.extend(custom::definitions(resource));
        }
        for sub in resource.subresources {
            wanted.extend(definition_of(sub.group, sub.version, sub.kind));
        }
    }
    schemas.extend(sim_kube_schemas::closure(wanted.iter().map(String::as_str)));
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": discovery::VERSION},
        "paths": all_paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"BearerToken": {"description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header"}},
        },
    })
}

/// Prefix of the names of `meta/v1` definitions.
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// Name of the definition of a built-in kind.
fn definition_of(group: &str, version: &str, kind: &str) -> Option<String> {
    let root = sim_kube_schemas::roots().iter().find(|r| r.group == group && r.version == version && r.kind == kind)?;
    Some(root.definition())
}

/// Name of the definition of a resource's kind.
fn definition_name(resource: &ResourceType) -> String {
    definition_of(&resource.group, &resource.version, &resource.kind).unwrap_or_else(|| custom::name(resource))
}

/// `{"$ref": …}`.
fn reference(definition: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{definition}")})
}

#[cfg(test)]
mod tests;
