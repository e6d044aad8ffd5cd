//! `/openapi/v2`: one Swagger document of everything, for clients that know no better.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{document, gnostic, resources};
use crate::{discovery, resources::Registry};

/// The Swagger 2.0 document of all groups and versions, as JSON.
pub fn swagger(registry: &Registry) -> Bytes {
    registry.documents().get_or("/openapi/v2", || make(registry))
}

/// The same document in the protobuf form of gnostic, for which Go clients ask.
pub fn swagger_protobuf(registry: &Registry) -> Bytes {
    registry.documents().bytes_or("/openapi/v2 protobuf", || Bytes::from(gnostic::encode(&make(registry))))
}

fn make(registry: &Registry) -> Value {
    let mut definitions = Map::new();
    let mut paths = Map::new();
    for (group, versions) in registry.groups() {
        for version in versions.keys().filter(|v| resources(registry, group, v).next().is_some()) {
            let Some(bytes) = document(registry, group, version) else { continue };
            let Ok(Value::Object(mut v3)) = serde_json::from_slice::<Value>(&bytes) else { continue };
            if let Some(Value::Object(schemas)) =
                v3.get_mut("components").and_then(|c| c.get_mut("schemas")).map(Value::take)
            {
                for (name, mut schema) in schemas {
                    downgrade(&mut schema);
                    definitions.insert(name, schema);
                }
            }
            if let Some(Value::Object(all)) = v3.remove("paths") {
                for (path, mut item) in all {
                    operations(&mut item);
                    paths.insert(path, item);
                }
            }
        }
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": discovery::VERSION},
        "paths": paths,
        "definitions": definitions,
        "securityDefinitions": {"BearerToken": {"description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header"}},
        "security": [{"BearerToken": []}],
    })
}

/// A schema of version 3 in the words of version 2, which has no choice of types.
fn downgrade(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(target)) = map.get_mut("$ref") {
                *target = target.replace("#/components/schemas/", "#/definitions/");
            }
            if let Some(Value::Array(all)) = map.get("allOf")
                && let [one] = all.as_slice()
                && let Some(target) = one.get("$ref").cloned()
            {
                map.shift_remove("allOf");
                map.insert("$ref".into(), target);
                downgrade(schema);
                return;
            }
            for choice in ["oneOf", "anyOf", "not"] {
                if map.shift_remove(choice).is_some() && !map.contains_key("type") {
                    map.insert("type".into(), "string".into());
                }
            }
            map.shift_remove("nullable");
            map.values_mut().for_each(downgrade);
        }
        Value::Array(items) => items.iter_mut().for_each(downgrade),
        _ => {}
    }
}

fn flat(parameter: &mut Value) {
    if let Some(Value::Object(schema)) = parameter.as_object_mut().and_then(|p| p.shift_remove("schema")) {
        for (key, value) in schema {
            parameter[key] = value;
        }
    }
}

fn operations(item: &mut Value) {
    for (method, operation) in item.as_object_mut().into_iter().flatten() {
        if method == "parameters" {
            operation.as_array_mut().into_iter().flatten().for_each(flat);
            continue;
        }
        if let Some(list) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
            list.iter_mut().for_each(flat);
        }
        let body = operation.as_object_mut().and_then(|o| o.shift_remove("requestBody"));
        if let Some(content) = body.as_ref().and_then(|b| b.get("content")).and_then(Value::as_object) {
            operation["consumes"] = content.keys().cloned().collect::<Vec<_>>().into();
            let mut schema = content.values().next().map_or(Value::Null, |c| c["schema"].clone());
            downgrade(&mut schema);
            if let Some(list) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
                list.push(json!({"name": "body", "in": "body", "required": body.as_ref().map(|b| b["required"].clone()), "schema": schema}));
            }
        }
        operation["produces"] = json!(["application/json", "application/yaml"]);
        for (_, answer) in operation.get_mut("responses").and_then(Value::as_object_mut).into_iter().flatten() {
            if let Some(content) = answer.as_object_mut().and_then(|a| a.shift_remove("content")) {
                let mut schema = content["application/json"]["schema"].clone();
                downgrade(&mut schema);
                answer["schema"] = schema;
            }
        }
    }
}
