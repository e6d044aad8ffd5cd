use serde_json::{Value, json};

use super::*;

fn with_custom(schema: Value) -> Registry {
    let mut registry = Registry::default();
    registry.add_definition(&json!({"spec": {"group": "stable.example.com", "scope": "Namespaced",
        "names": {"plural": "crontabs", "kind": "CronTab"},
        "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema}}]}}));
    registry
}

fn read(registry: &Registry, group: &str, version: &str) -> Value {
    serde_json::from_slice(&document(registry, group, version).unwrap()).unwrap()
}

/// Every reference of a document, and whether it leads somewhere.
fn dangling(document: &Value, at: &Value, out: &mut Vec<String>) {
    match at {
        Value::Object(map) => {
            if let Some(target) = map.get("$ref").and_then(Value::as_str)
                && document.pointer(target.trim_start_matches('#')).is_none()
            {
                out.push(target.to_owned());
            }
            map.values().for_each(|v| dangling(document, v, out));
        }
        Value::Array(items) => items.iter().for_each(|v| dangling(document, v, out)),
        _ => {}
    }
}

#[test]
fn no_reference_of_any_document_leads_nowhere() {
    let registry = with_custom(
        json!({"type": "object", "properties": {"spec": {"type": "object", "description": "what is wanted"}}}),
    );
    for (group, versions) in registry.groups() {
        for version in versions.keys() {
            let document = read(&registry, group, version);
            let mut out = Vec::new();
            dangling(&document, &document, &mut out);
            assert_eq!(out, Vec::<String>::new(), "{group}/{version}");
        }
    }
    let swagger: Value = serde_json::from_slice(&swagger(&registry)).unwrap();
    let mut out = Vec::new();
    dangling(&swagger, &swagger, &mut out);
    assert_eq!(out, Vec::<String>::new());
}

#[test]
fn a_patch_names_its_kind_and_takes_field_validation() {
    let apps = read(&Registry::default(), "apps", "v1");
    let patch = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "kind": "Deployment", "version": "v1"})
    );
    assert!(patch["parameters"].as_array().unwrap().iter().any(|p| p["name"] == "fieldValidation"));
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    assert_eq!(
        apps["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"][0]["kind"],
        "Deployment"
    );
    assert!(apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["put"].is_object());
}

#[test]
fn a_custom_resource_is_published_with_its_descriptions_and_the_hash_follows_the_schema() {
    let registry = with_custom(
        json!({"type": "object", "properties": {"spec": {"type": "object", "description": "what is wanted"}}}),
    );
    let document = read(&registry, "stable.example.com", "v1");
    let definition = &document["components"]["schemas"]["com.example.stable.v1.CronTab"];
    assert_eq!(definition["properties"]["spec"]["description"], "what is wanted");
    assert_eq!(definition["x-kubernetes-group-version-kind"][0]["kind"], "CronTab");
    let patch = &document["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"]["patch"];
    assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_none());
    let other = with_custom(json!({"type": "object"}));
    assert_ne!(hash(&registry, "stable.example.com", "v1"), hash(&other, "stable.example.com", "v1"));
    assert_eq!(hash(&registry, "apps", "v1"), hash(&other, "apps", "v1"));
}

#[test]
fn a_changed_definition_changes_the_document_that_is_kept() {
    let mut registry = with_custom(json!({"type": "object", "properties": {"a": {"type": "string"}}}));
    let before = document(&registry, "stable.example.com", "v1").unwrap();
    registry.add_definition(&json!({"spec": {"group": "stable.example.com", "scope": "Namespaced",
        "names": {"plural": "crontabs", "kind": "CronTab"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}}));
    assert_ne!(before, document(&registry, "stable.example.com", "v1").unwrap());
}

#[test]
fn the_index_leads_to_every_group_and_version_with_its_hash() {
    let registry = Registry::default();
    let index = index(&registry);
    assert_eq!(
        index["paths"]["apis/apps/v1"]["serverRelativeURL"],
        format!("/openapi/v3/apis/apps/v1?hash={}", hash(&registry, "apps", "v1"))
    );
    assert!(index["paths"]["api/v1"].is_object());
}
