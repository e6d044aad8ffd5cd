//! Small readers for objects held as `serde_json::Value`.

use serde_json::{Map, Value};

/// The value at `path` (field names), if every step exists.
pub fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |v, key| v.get(key))
}

/// The text at `path`, or an empty string.
pub fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or("")
}

/// The integer at `path`.
pub fn int(value: &Value, path: &[&str]) -> Option<i64> {
    at(value, path).and_then(Value::as_i64)
}

/// The array at `path`, or an empty slice.
pub fn list<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The map at `path`.
pub fn map<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Map<String, Value>> {
    at(value, path).and_then(Value::as_object)
}

/// `metadata.name`.
pub fn name(value: &Value) -> &str {
    text(value, &["metadata", "name"])
}

/// `metadata.namespace`.
pub fn namespace(value: &Value) -> &str {
    text(value, &["metadata", "namespace"])
}

/// `metadata.uid`.
pub fn uid(value: &Value) -> &str {
    text(value, &["metadata", "uid"])
}

/// True if a deletion timestamp is set.
pub fn deleting(value: &Value) -> bool {
    at(value, &["metadata", "deletionTimestamp"]).is_some_and(|v| !v.is_null())
}

/// The map at `key` of `value`, made if it is absent or of another type.
pub fn child_map<'a>(value: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    let map = ensure_map(value);
    ensure_map(map.entry(key.to_owned()).or_insert_with(|| Value::Object(Map::new())))
}

/// The value at `key` of `value`, made a map if it is absent.
pub fn child_map_value<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    ensure_map(value).entry(key.to_owned()).or_insert_with(|| Value::Object(Map::new()))
}

/// `value` as a map; anything else is replaced by an empty one.
pub fn ensure_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made a map on the line above"),
    }
}

/// Sets `key` of map `value` unless something other than null is there.
pub fn default_to(value: &mut Value, key: &str, default: impl Into<Value>) {
    let map = ensure_map(value);
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key.to_owned(), default.into());
    }
}

/// The controlling owner reference, if any.
pub fn controller_of(value: &Value) -> Option<&Value> {
    list(value, &["metadata", "ownerReferences"]).iter().find(|o| o.get("controller") == Some(&Value::Bool(true)))
}

/// Removes nulls from maps, at any depth.
pub fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(strip_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

/// A stable, order-independent text of a value (map keys sorted): for hashes and identities.
pub fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(value, &mut out);
    out
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push('{');
            for (i, key) in keys.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(&map[key], out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// FNV-1a of a text, 64 bits: for template hashes.
pub fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}
