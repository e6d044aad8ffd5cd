//! What is checked beside the keywords: duplicates in sets and maps by key, and the identity of embedded resources.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    CAUSES_MAX, DEPTH_MAX, join,
    node::{Additional, ListType, Node},
};
use crate::{json, status::Cause};

/// Items of sets and maps that are there twice. Each value is named once, at its second place.
pub(super) fn duplicates(object: &Value, root: &Node) -> Vec<Cause> {
    let mut causes = Vec::new();
    duplicates_at(object, root, "", 0, &mut causes);
    causes
}

fn duplicates_at(value: &Value, node: &Node, path: &str, depth: usize, causes: &mut Vec<Cause>) {
    if depth > DEPTH_MAX || causes.len() >= CAUSES_MAX || !node.lists_inside {
        return;
    }
    match value {
        Value::Object(map) => walk(map, node, path, |child, inner, here| {
            duplicates_at(child, inner, &here, depth + 1, causes);
        }),
        Value::Array(items) => {
            match &node.list {
                ListType::Atomic => {}
                ListType::Set => repeated(items.iter().cloned(), path, causes),
                ListType::Map(keys) => by_keys(items, keys, path, causes),
            }
            if let Some(inner) = &node.items {
                for (i, item) in items.iter().enumerate() {
                    duplicates_at(item, inner, &format!("{path}[{i}]"), depth + 1, causes);
                }
            }
        }
        _ => {}
    }
}

/// Entries of a map with their schemas; a property's path has a dot, that of a free key brackets.
fn walk(map: &Map<String, Value>, node: &Node, path: &str, mut see: impl FnMut(&Value, &Node, String)) {
    for (key, child) in map {
        if let Some(inner) = node.properties.get(key) {
            see(child, inner, join(path, key));
        } else if let Additional::Schema(inner) = &node.additional {
            see(child, inner, format!("{path}[{key}]"));
        }
    }
}

fn by_keys(items: &[Value], keys: &[String], path: &str, causes: &mut Vec<Cause>) {
    if let Some((i, item)) = items.iter().enumerate().find(|(_, item)| !item.is_object() && !item.is_null()) {
        causes.push(Cause::new(
            "FieldValueInvalid",
            format!("{path}[{i}]"),
            format!("Invalid value: {item}: must be an object for an array of list-type map"),
        ));
        return;
    }
    let identity = |item: &Value| {
        let mut keys: Vec<&String> = keys.iter().collect();
        keys.sort();
        let found = keys.into_iter().filter_map(|k| item.get(k).map(|v| (k.clone(), v.clone())));
        Value::Object(found.collect())
    };
    repeated(items.iter().map(identity), path, causes);
}

fn repeated(values: impl Iterator<Item = Value>, path: &str, causes: &mut Vec<Cause>) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (i, value) in values.enumerate() {
        let text = json::canonical(&value);
        let times = seen.entry(text).or_insert(0);
        *times += 1;
        if *times == 2 {
            let text = super::validate::shown(&value);
            causes.push(Cause::new("FieldValueDuplicate", format!("{path}[{i}]"), format!("Duplicate value: {text}")));
        }
    }
}

/// Embedded resources (`x-kubernetes-embedded-resource`) must say what they are.
pub(super) fn embedded(object: &Value, root: &Node, causes: &mut Vec<Cause>) {
    embedded_at(object, root, "", 0, causes);
}

fn embedded_at(value: &Value, node: &Node, path: &str, depth: usize, causes: &mut Vec<Cause>) {
    if depth > DEPTH_MAX || causes.len() >= CAUSES_MAX || !node.lists_inside {
        return;
    }
    match value {
        Value::Object(map) => {
            if node.embedded && depth > 0 {
                for field in ["apiVersion", "kind"] {
                    if json::text(value, &[field]).is_empty() {
                        causes.push(Cause::new(
                            "FieldValueRequired",
                            join(path, field),
                            "Required value: must not be empty",
                        ));
                    }
                }
            }
            walk(map, node, path, |child, inner, here| embedded_at(child, inner, &here, depth + 1, causes));
        }
        Value::Array(items) => {
            if let Some(inner) = &node.items {
                for (i, item) in items.iter().enumerate() {
                    embedded_at(item, inner, &format!("{path}[{i}]"), depth + 1, causes);
                }
            }
        }
        _ => {}
    }
}
