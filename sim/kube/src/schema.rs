//! Structural schemas of custom resources: defaulting, pruning and validation.
//!
//! CEL rules (`x-kubernetes-validations`), `oneOf`/`anyOf`/`allOf`/`not` and `format` are kept but **not evaluated yet**.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::{Map, Value};

use crate::{json, status::Cause};

/// Largest number of causes one refusal lists.
pub const CAUSES_MAX: usize = 100;
/// Deepest nesting of an object that is walked; deeper parts are left as they are.
pub const DEPTH_MAX: usize = 64;

fn flag(schema: &Value, key: &str) -> bool {
    schema.get(key) == Some(&Value::Bool(true))
}

fn property<'a>(schema: &'a Value, field: &str) -> Option<&'a Value> {
    schema.get("properties").and_then(|p| p.get(field))
}

fn additional(schema: &Value) -> Option<&Value> {
    schema.get("additionalProperties").filter(|a| a.is_object())
}

/// Removes fields the schema does not know; returns their paths. `metadata`, `apiVersion` and `kind` of the root are kept.
pub fn prune(object: &mut Value, schema: &Value) -> Vec<String> {
    let mut dropped = Vec::new();
    prune_at(object, schema, true, "", 0, &mut dropped);
    dropped
}

fn prune_at(value: &mut Value, schema: &Value, root: bool, path: &str, depth: usize, dropped: &mut Vec<String>) {
    if depth > DEPTH_MAX {
        return;
    }
    let embedded = root || flag(schema, "x-kubernetes-embedded-resource");
    match value {
        Value::Object(map) => {
            let preserve = flag(schema, "x-kubernetes-preserve-unknown-fields")
                || schema.get("additionalProperties") == Some(&Value::Bool(true));
            map.retain(|key, _| {
                let known = property(schema, key).is_some()
                    || additional(schema).is_some()
                    || preserve
                    || (embedded && matches!(key.as_str(), "metadata" | "apiVersion" | "kind"));
                if !known {
                    dropped.push(join(path, key));
                }
                known
            });
            for (key, child) in map.iter_mut() {
                if embedded && matches!(key.as_str(), "metadata" | "apiVersion" | "kind") {
                    continue;
                }
                if let Some(inner) = property(schema, key).or_else(|| additional(schema)) {
                    if child.is_null() {
                        continue;
                    }
                    prune_at(child, inner, false, &join(path, key), depth + 1, dropped);
                }
            }
            // Nulls of fields that may not be null are dropped, as if they had not been sent.
            map.retain(|key, child| {
                !child.is_null()
                    || property(schema, key).or_else(|| additional(schema)).is_none_or(|s| flag(s, "nullable"))
            });
        }
        Value::Array(items) => {
            if let Some(inner) = schema.get("items") {
                for (i, item) in items.iter_mut().enumerate() {
                    prune_at(item, inner, false, &format!("{path}[{i}]"), depth + 1, dropped);
                }
            }
        }
        _ => {}
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Fills in the defaults of the schema.
pub fn default(value: &mut Value, schema: &Value) {
    default_at(value, schema, 0);
}

fn default_at(value: &mut Value, schema: &Value, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    match value {
        Value::Object(map) => {
            if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
                for (key, inner) in properties {
                    if let Some(default) = inner.get("default") {
                        let missing = match map.get(key) {
                            None => true,
                            Some(Value::Null) => !flag(inner, "nullable"),
                            Some(_) => false,
                        };
                        if missing {
                            map.insert(key.clone(), default.clone());
                        }
                    }
                    if let Some(child) = map.get_mut(key) {
                        default_at(child, inner, depth + 1);
                    }
                }
            }
            if let Some(inner) = additional(schema) {
                for (key, child) in map.iter_mut() {
                    if property(schema, key).is_none() {
                        default_at(child, inner, depth + 1);
                    }
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = schema.get("items") {
                for item in items {
                    default_at(item, inner, depth + 1);
                }
            }
        }
        _ => {}
    }
}

/// What the schema objects to, as the real server words it.
pub fn validate(object: &Value, schema: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    validate_at(object, schema, "", true, 0, &mut causes);
    causes.truncate(CAUSES_MAX);
    causes
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) | Value::Array(_) => value.to_string(),
        other => other.to_string(),
    }
}

fn has_type(value: &Value, wanted: &str) -> bool {
    match wanted {
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|f| f.fract() == 0.0),
        "number" => value.is_number(),
        other => type_of(value) == other,
    }
}

fn validate_at(value: &Value, schema: &Value, path: &str, root: bool, depth: usize, causes: &mut Vec<Cause>) {
    if depth > DEPTH_MAX || causes.len() >= CAUSES_MAX || (value.is_null() && flag(schema, "nullable")) {
        return;
    }
    let invalid =
        |text: String| Cause::new("FieldValueInvalid", path, format!("Invalid value: {}: {text}", shown(value)));
    if flag(schema, "x-kubernetes-int-or-string") {
        if !value.is_string() && !value.is_i64() && !value.is_u64() {
            causes.push(Cause::new(
                "FieldValueTypeInvalid",
                path,
                format!(
                    "Invalid value: \"{}\": {path} in body must be of type integer,string: \"{}\"",
                    type_of(value),
                    type_of(value)
                ),
            ));
            return;
        }
    } else if let Some(wanted) = schema.get("type").and_then(Value::as_str)
        && !has_type(value, wanted)
    {
        causes.push(Cause::new(
            "FieldValueTypeInvalid",
            path,
            format!(
                "Invalid value: \"{}\": {path} in body must be of type {wanted}: \"{}\"",
                type_of(value),
                type_of(value)
            ),
        ));
        return;
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        let list: Vec<String> = allowed.iter().map(Value::to_string).collect();
        causes.push(Cause::new(
            "FieldValueNotSupported",
            path,
            format!("Unsupported value: {}: supported values: {}", shown(value), list.join(", ")),
        ));
    }
    match value {
        Value::Number(n) => {
            let n = n.as_f64().unwrap_or(0.0);
            let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
            if let Some(min) = bound("minimum") {
                let exclusive = flag(schema, "exclusiveMinimum");
                if n < min || (exclusive && n <= min) {
                    causes.push(invalid(format!(
                        "{path} in body should be greater than {}{min}",
                        if exclusive { "" } else { "or equal to " }
                    )));
                }
            }
            if let Some(max) = bound("maximum") {
                let exclusive = flag(schema, "exclusiveMaximum");
                if n > max || (exclusive && n >= max) {
                    causes.push(invalid(format!(
                        "{path} in body should be less than {}{max}",
                        if exclusive { "" } else { "or equal to " }
                    )));
                }
            }
        }
        Value::String(s) => {
            let length = s.chars().count() as u64;
            if let Some(min) = schema.get("minLength").and_then(Value::as_u64).filter(|min| length < *min) {
                causes.push(invalid(format!("{path} in body should be at least {min} chars long")));
            }
            if let Some(max) = schema.get("maxLength").and_then(Value::as_u64).filter(|max| length > *max) {
                causes.push(Cause::new(
                    "FieldValueTooLong",
                    path,
                    format!("Too long: may not be more than {max} bytes"),
                ));
            }
            if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
                && Regex::new(pattern).is_ok_and(|r| !r.is_match(s))
            {
                causes.push(invalid(format!("{path} in body should match '{pattern}'")));
            }
        }
        Value::Array(items) => validate_list(items, schema, path, depth, causes),
        Value::Object(map) => validate_map(map, schema, path, root, depth, causes),
        _ => {}
    }
}

fn validate_list(items: &[Value], schema: &Value, path: &str, depth: usize, causes: &mut Vec<Cause>) {
    let count = items.len() as u64;
    if let Some(min) = schema.get("minItems").and_then(Value::as_u64).filter(|min| count < *min) {
        causes.push(Cause::new(
            "FieldValueInvalid",
            path,
            format!("Invalid value: {count}: {path} in body should have at least {min} items"),
        ));
    }
    if let Some(max) = schema.get("maxItems").and_then(Value::as_u64).filter(|max| count > *max) {
        causes.push(Cause::new("FieldValueTooMany", path, format!("Too many: {count}: must have at most {max} items")));
    }
    let kind = schema.get("x-kubernetes-list-type").and_then(Value::as_str).unwrap_or("atomic");
    let keys: Vec<&str> =
        json::list(schema, &["x-kubernetes-list-map-keys"]).iter().filter_map(Value::as_str).collect();
    let mut seen = BTreeSet::new();
    for (i, item) in items.iter().enumerate() {
        let here = format!("{path}[{i}]");
        let identity = match kind {
            "set" => Some(item.clone()),
            "map" => Some(Value::Object(
                keys.iter().map(|k| ((*k).to_owned(), item.get(*k).cloned().unwrap_or(Value::Null))).collect(),
            )),
            _ => None,
        };
        if let Some(identity) = identity
            && !seen.insert(json::canonical(&identity))
        {
            causes.push(Cause::new(
                "FieldValueDuplicate",
                here.clone(),
                format!("Duplicate value: {}", json::canonical(&identity)),
            ));
        }
        if let Some(inner) = schema.get("items") {
            validate_at(item, inner, &here, false, depth + 1, causes);
        }
    }
}

fn validate_map(
    map: &Map<String, Value>,
    schema: &Value,
    path: &str,
    root: bool,
    depth: usize,
    causes: &mut Vec<Cause>,
) {
    for required in json::list(schema, &["required"]).iter().filter_map(Value::as_str) {
        if !map.contains_key(required) {
            causes.push(Cause::new("FieldValueRequired", join(path, required), "Required value"));
        }
    }
    let count = map.len() as u64;
    if let Some(min) = schema.get("minProperties").and_then(Value::as_u64).filter(|min| count < *min) {
        causes.push(Cause::new(
            "FieldValueInvalid",
            path,
            format!("Invalid value: {count}: {path} in body should have at least {min} properties"),
        ));
    }
    if let Some(max) = schema.get("maxProperties").and_then(Value::as_u64).filter(|max| count > *max) {
        causes.push(Cause::new("FieldValueTooMany", path, format!("Too many: {count}: must have at most {max} items")));
    }
    for (key, child) in map {
        if root && matches!(key.as_str(), "metadata" | "apiVersion" | "kind") {
            continue;
        }
        if let Some(inner) = property(schema, key).or_else(|| additional(schema)) {
            validate_at(child, inner, &join(path, key), false, depth + 1, causes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 9},
            "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
            "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 3},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "tags": {"type": "object", "additionalProperties": {"type": "string"}},
            "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer", "default": 7}}}},
        }}}})
    }

    #[test]
    fn defaults_reach_into_lists_and_do_not_invent_parents() {
        let mut o = json!({"spec": {"size": 1, "items": [{"k": "x"}]}});
        default(&mut o, &schema());
        assert_eq!(o, json!({"spec": {"size": 1, "mode": "a", "items": [{"k": "x", "v": 7}]}}));
        let mut empty = json!({});
        default(&mut empty, &schema());
        assert_eq!(empty, json!({}));
    }

    #[test]
    fn pruning_drops_and_names_what_is_unknown_and_keeps_what_is_free() {
        let mut o = json!({"kind": "X", "metadata": {"a": 1}, "spec": {"size": 1, "zzz": 2, "free": {"y": 1}, "tags": {"t": "u"}, "items": [{"k": "x", "q": 1}], "name": null}});
        let dropped = prune(&mut o, &schema());
        assert_eq!(dropped, ["spec.zzz", "spec.items[0].q"]);
        assert_eq!(
            o,
            json!({"kind": "X", "metadata": {"a": 1}, "spec": {"size": 1, "free": {"y": 1}, "tags": {"t": "u"}, "items": [{"k": "x"}]}})
        );
    }

    #[test]
    fn refusals_use_the_real_words() {
        let messages = |o: Value| {
            validate(&o, &schema()).iter().map(|c| format!("{}: {}", c.field, c.message)).collect::<Vec<_>>()
        };
        assert_eq!(messages(json!({"spec": {}})), ["spec.size: Required value"]);
        assert_eq!(
            messages(json!({"spec": {"size": "x"}})),
            ["spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\""]
        );
        assert_eq!(
            messages(json!({"spec": {"size": 0}})),
            ["spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"]
        );
        assert_eq!(
            messages(json!({"spec": {"size": 1, "mode": "c"}})),
            ["spec.mode: Unsupported value: \"c\": supported values: \"a\", \"b\""]
        );
        assert_eq!(
            messages(json!({"spec": {"size": 1, "name": "A"}})),
            ["spec.name: Invalid value: \"A\": spec.name in body should match '^[a-z]+$'"]
        );
        assert_eq!(
            messages(json!({"spec": {"size": 1, "items": [{"k": "a"}, {"k": "a"}]}})),
            ["spec.items[1]: Duplicate value: {\"k\":\"a\"}"]
        );
    }
}
