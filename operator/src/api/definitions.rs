//! The definitions of the custom resources as Kubernetes takes them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::common::rules;
use super::{Cell, CellTemplate, CoreTemplate, MultigresCluster, Shard, ShardTemplate, TableGroup, TopoServer};

/// The definitions of all eight kinds, as JSON, in the order of their file names.
pub fn crds() -> Vec<Value> {
    let cluster_name = rules(&[
        ("self.metadata.name.size() <= 25", "MultigresCluster name must be at most 25 characters"),
        // Services are named after it, and their names are DNS labels.
        (
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "MultigresCluster name must be a DNS label: lower case letters, digits and '-', beginning with a letter",
        ),
    ]);
    let mut definitions = vec![
        definition(&Cell::crd(), None),
        definition(&CellTemplate::crd(), None),
        definition(&CoreTemplate::crd(), None),
        definition(&MultigresCluster::crd(), Some(cluster_name)),
        definition(&Shard::crd(), None),
        definition(&ShardTemplate::crd(), None),
        definition(&TableGroup::crd(), None),
        definition(&TopoServer::crd(), None),
    ];
    definitions.sort_by_key(|definition| definition["metadata"]["name"].to_string());
    definitions
}

fn definition(crd: &CustomResourceDefinition, root_rules: Option<Value>) -> Value {
    let mut value = serde_json::to_value(crd).expect("a definition is plain data");
    for version in value["spec"]["versions"].as_array_mut().into_iter().flatten() {
        let schema = &mut version["schema"]["openAPIV3Schema"];
        tidy(schema);
        if let Some(rules) = &root_rules {
            schema["x-kubernetes-validations"] = rules.clone();
        }
        // The rules of the root speak about the object's name.
        schema["properties"]["metadata"] = json!({ "type": "object" });
        schema["properties"]["apiVersion"] = json!({ "type": "string" });
        schema["properties"]["kind"] = json!({ "type": "string" });
    }
    if let Some(names) = value["spec"]["names"].as_object_mut() {
        names.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
    }
    value
}

/// Properties whose types are Kubernetes' own: their long descriptions are documented there.
const KUBERNETES_OWN: [&str; 4] = ["affinity", "resources", "imagePullSecrets", "conditions"];

/// An optional field is one that may be absent; Rust's `Option` also lets it be `null`, which Kubernetes' own kinds do not. Whole
/// numbers are written as such.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("nullable") == Some(&Value::Bool(true)) {
                map.shift_remove("nullable");
                if let Some(Value::Array(values)) = map.get_mut("enum") {
                    values.retain(|value| !value.is_null());
                }
            }
            for name in KUBERNETES_OWN {
                if let Some(property) = map.get_mut(name).filter(|property| property.get("type").is_some()) {
                    let description = property.get("description").cloned();
                    drop_descriptions(property);
                    if let Some(description) = description {
                        property["description"] = description;
                    }
                }
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(values) => values.iter_mut().for_each(tidy),
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|value| value.fract() == 0.0) {
                *number = (whole as i64).into();
            }
        }
        _ => {}
    }
}

fn drop_descriptions(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("description").is_some_and(Value::is_string) {
                map.shift_remove("description");
            }
            map.values_mut().for_each(drop_descriptions);
        }
        Value::Array(values) => values.iter_mut().for_each(drop_descriptions),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(name: &str) -> Value {
        let all = crds();
        let found = all.iter().find(|crd| crd["metadata"]["name"] == format!("{name}.multigres.com")).unwrap();
        found["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
    }

    #[test]
    fn toposerver_has_a_ready_column_that_reads_the_condition_which_is_set() {
        let all = crds();
        let topo = all.iter().find(|crd| crd["spec"]["names"]["kind"] == "TopoServer").unwrap();
        assert_eq!(
            topo["spec"]["versions"][0]["additionalPrinterColumns"][0]["jsonPath"],
            ".status.conditions[?(@.type=='Ready')].status"
        );
    }

    #[test]
    fn cells_are_a_map_by_name_with_their_rules() {
        let cells = &schema("multigresclusters")["properties"]["spec"]["properties"]["cells"];
        assert_eq!(cells["x-kubernetes-list-type"], "map");
        assert_eq!(cells["x-kubernetes-list-map-keys"], json!(["name"]));
        assert_eq!(cells["maxItems"], 50);
        assert_eq!(cells["items"]["properties"]["name"]["maxLength"], 30);
        assert_eq!(cells["items"]["x-kubernetes-validations"].as_array().map(Vec::len), Some(3));
    }

    /// `kubectl apply` keeps the whole object, as compact JSON, in an annotation, and all annotations of an object have to fit into
    /// 256 KiB. Half of that leaves room for growth.
    #[test]
    fn every_definition_can_be_applied_by_the_client() {
        const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
        for crd in crds() {
            let bytes = crd.to_string().len();
            assert!(bytes < ANNOTATIONS_BYTES_MAX / 2, "{} has {bytes} bytes", crd["metadata"]["name"]);
        }
    }

    /// What the API server refuses in a schema: anything that is not structural.
    #[test]
    fn every_schema_is_structural() {
        fn walk(path: &str, schema: &Value) {
            let Some(map) = schema.as_object() else { return };
            for word in ["$ref", "anyOf", "oneOf", "allOf", "not", "definitions", "$defs", "nullable"] {
                assert!(!map.contains_key(word), "{path}: {word}: {schema}");
            }
            let known = map.contains_key("type")
                || map.contains_key("x-kubernetes-int-or-string")
                || map.contains_key("x-kubernetes-preserve-unknown-fields");
            assert!(known, "{path} has no type: {schema}");
            assert!(map.get("type").is_none_or(Value::is_string), "{path}: {schema}");
            for (name, property) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
                walk(&format!("{path}.{name}"), property);
            }
            for inner in ["items", "additionalProperties"] {
                if let Some(inner) = map.get(inner) {
                    walk(&format!("{path}[]"), inner);
                }
            }
        }
        for crd in crds() {
            let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            walk(crd["metadata"]["name"].as_str().unwrap(), schema);
        }
    }
}
