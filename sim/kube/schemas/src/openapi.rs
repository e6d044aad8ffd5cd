//! OpenAPI v3 definitions, as the real server publishes them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{
    facts::Facts,
    rows,
    types::{ListKind, REFERENCE, book},
};

/// The OpenAPI v3 definition of a name (`io.k8s.api.core.v1.PodSpec`), references to `#/components/schemas/…`; `None` if no
/// root type reaches it.
pub fn openapi(definition: &str) -> Option<Value> {
    closure([definition]).remove(definition)
}

/// The definitions of these names and all they refer to, by name. Unknown names are left out.
pub fn closure<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, Value> {
    let mut wanted: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut out = BTreeMap::new();
    let mut book = book();
    rows::generate_meta(&mut book.generator);
    for root in rows::roots() {
        if wanted.contains(&root.definition()) {
            root.generate(&mut book.generator);
        }
    }
    while let Some(name) = wanted.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        if !book.generator.definitions().contains_key(&name)
            && let Some(root) = rows::roots().iter().find(|r| r.definition() == name)
        {
            root.generate(&mut book.generator);
        }
        let Some(schema) = book.generator.definitions().get(&name) else { continue };
        collect(schema, &mut wanted);
        out.insert(name.clone(), publish(&name, schema));
    }
    out
}

fn collect(schema: &Value, wanted: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(target) = map.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix(REFERENCE)) {
                wanted.push(target.to_owned());
            }
            map.values().for_each(|v| collect(v, wanted));
        }
        Value::Array(items) => items.iter().for_each(|v| collect(v, wanted)),
        _ => {}
    }
}

/// One definition with its facts and its group, version and kind.
fn publish(name: &str, schema: &Value) -> Value {
    let facts = Facts::of(name);
    let mut out = schema.clone();
    let Some(map) = out.as_object_mut() else { return out };
    match name.rsplit('.').next().unwrap_or("") {
        "Quantity" => {
            map.remove("x-kubernetes-int-or-string");
            map.insert("oneOf".into(), json!([{"type": "string"}, {"type": "number"}]));
        }
        "IntOrString" => {
            map.remove("x-kubernetes-int-or-string");
            map.insert("format".into(), "int-or-string".into());
            map.insert("oneOf".into(), json!([{"type": "integer"}, {"type": "string"}]));
        }
        "JSON" => {
            map.remove("type");
        }
        _ => {}
    }
    if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
        for (field, inner) in properties.iter_mut() {
            wrap(inner);
            let about = facts.field(field);
            let Some(inner) = inner.as_object_mut() else { continue };
            match about.list {
                Some(ListKind::Atomic) => {
                    inner.insert("x-kubernetes-list-type".into(), "atomic".into());
                }
                Some(ListKind::Set) => {
                    inner.insert("x-kubernetes-list-type".into(), "set".into());
                }
                Some(ListKind::Map(keys)) => {
                    let keys: Vec<Value> = keys.iter().map(|k| (**k).into()).collect();
                    inner.insert("x-kubernetes-list-map-keys".into(), keys.into());
                    inner.insert("x-kubernetes-list-type".into(), "map".into());
                }
                None => {}
            }
            if about.atomic_map {
                inner.insert("x-kubernetes-map-type".into(), "atomic".into());
            }
            if let Some(key) = &about.patch.key {
                inner.insert("x-kubernetes-patch-merge-key".into(), (**key).into());
            }
            let strategy: Vec<&str> = [(about.patch.merge, "merge"), (about.patch.retain_keys, "retainKeys")]
                .into_iter()
                .filter_map(|(on, text)| on.then_some(text))
                .collect();
            if !strategy.is_empty() {
                inner.insert("x-kubernetes-patch-strategy".into(), strategy.join(",").into());
            }
            if let Some(default) = about.default {
                inner.insert("default".into(), default);
            }
        }
    }
    // The crate's types always hold metadata; the real server requires it of nothing.
    if let Some(required) = map.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|field| field != "metadata");
        if required.is_empty() {
            map.shift_remove("required");
        }
    }
    if facts.atomic {
        map.insert("x-kubernetes-map-type".into(), "atomic".into());
    }
    let kinds: Vec<Value> = rows::roots()
        .iter()
        .filter(|r| r.definition() == name)
        .map(|r| json!({"group": r.group, "kind": r.kind, "version": r.version}))
        .collect();
    if !kinds.is_empty() {
        map.insert("x-kubernetes-group-version-kind".into(), kinds.into());
    }
    out
}

/// A reference that stands beside other words has to stand in `allOf`: OpenAPI 3.0 ignores what is beside it.
fn wrap(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.len() > 1
                && let Some(target) = map.shift_remove("$ref")
            {
                map.insert("allOf".into(), json!([{ "$ref": target }]));
            }
            if let Some(items) = map.get_mut("items") {
                wrap(items);
            }
            if let Some(values) = map.get_mut("additionalProperties") {
                wrap(values);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(wrap),
        _ => {}
    }
}
