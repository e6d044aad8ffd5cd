//! Definitions of custom resources.

use serde_json::{Value, json};

use super::{META, reference};
use crate::{json, resources::ResourceType};

/// Name of a custom resource's definition: the group reversed, `com.example.stable.v1.CronTab`.
pub(super) fn name(resource: &ResourceType) -> String {
    let group: Vec<&str> = resource.group.split('.').rev().collect();
    format!("{}.{}.{}", group.join("."), resource.version, resource.kind)
}

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// The definition of the kind and of its list.
pub(super) fn definitions(resource: &ResourceType) -> [(String, Value); 2] {
    let own = name(resource);
    let kind = |kind: &str| json!([{"group": resource.group, "kind": kind, "version": resource.version}]);
    let mut schema = resource.schema.as_deref().cloned().unwrap_or_else(|| json!({"type": "object"}));
    // A schema that is published whole keeps everything; without properties it still has the three of every object.
    let properties = json::child_map(&mut schema, "properties");
    properties.insert("apiVersion".into(), json!({"description": API_VERSION, "type": "string"}));
    properties.insert("kind".into(), json!({"description": KIND, "type": "string"}));
    let metadata = json!({"description": "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata", "allOf": [reference(&format!("{META}ObjectMeta"))]});
    properties.insert("metadata".into(), metadata);
    schema["x-kubernetes-group-version-kind"] = kind(&resource.kind);
    let list_kind = format!("{}List", resource.kind);
    let list = json!({
        "description": format!("{list_kind} is a list of {}", resource.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"description": API_VERSION, "type": "string"},
            "items": {"description": format!("List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md", resource.plural), "type": "array", "items": reference(&own)},
            "kind": {"description": KIND, "type": "string"},
            "metadata": {"description": "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds", "allOf": [reference(&format!("{META}ListMeta"))]},
        },
        "x-kubernetes-group-version-kind": kind(&list_kind),
    });
    [(own.clone(), schema), (format!("{own}List"), list)]
}
