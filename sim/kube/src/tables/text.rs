//! Texts that several printers share.

use serde_json::{Map, Value};
use sim_clock::Timestamp;

use super::duration;
use crate::json;

/// What stands for nothing.
pub(super) const NONE: &str = "<none>";

/// `metadata.name`.
pub(super) fn name(object: &Value) -> Value {
    json::name(object).into()
}

/// The age of an object.
pub(super) fn created(object: &Value, now: Timestamp) -> Value {
    duration::age(json::text(object, &["metadata", "creationTimestamp"]), now).into()
}

/// The text at a path, or `<none>`.
pub(super) fn or_none(object: &Value, path: &[&str]) -> Value {
    match json::text(object, path) {
        "" => NONE.into(),
        text => text.into(),
    }
}

/// The integer at a path, or 0.
pub(super) fn count(object: &Value, path: &[&str]) -> Value {
    json::int(object, path).unwrap_or(0).into()
}

/// How many entries the map or list at a path has.
pub(super) fn size(object: &Value, path: &[&str]) -> usize {
    match json::at(object, path) {
        Some(Value::Object(map)) => map.len(),
        Some(Value::Array(items)) => items.len(),
        _ => 0,
    }
}

/// Labels as `a=b,c=d`, sorted, or `<none>`.
pub(super) fn labels(map: Option<&Map<String, Value>>) -> String {
    let mut pairs: Vec<String> =
        map.into_iter().flatten().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or(""))).collect();
    pairs.sort();
    if pairs.is_empty() { NONE.into() } else { pairs.join(",") }
}

/// A label selector in its text form, or `<none>`; nothing selects nothing.
pub(super) fn selector(selector: Option<&Value>) -> String {
    let Some(selector) = selector else { return NONE.into() };
    let mut terms: Vec<String> = Vec::new();
    for (k, v) in json::map(selector, &["matchLabels"]).into_iter().flatten() {
        terms.push(format!("{k}={}", v.as_str().unwrap_or("")));
    }
    for e in json::list(selector, &["matchExpressions"]) {
        let key = json::text(e, &["key"]);
        let mut values: Vec<&str> = json::list(e, &["values"]).iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        terms.push(match json::text(e, &["operator"]) {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    terms.sort();
    if terms.is_empty() { NONE.into() } else { terms.join(",") }
}

/// Names and images of the containers of a pod template.
pub(super) fn containers(spec: Option<&Value>) -> [Value; 2] {
    let all = spec.map_or(&[][..], |s| json::list(s, &["containers"]));
    let join = |key: &str| all.iter().map(|c| json::text(c, &[key])).collect::<Vec<_>>().join(",");
    [join("name").into(), join("image").into()]
}

/// True if a condition of this type has status `True`.
pub(super) fn condition(object: &Value, kind: &str) -> bool {
    json::list(object, &["status", "conditions"])
        .iter()
        .any(|c| json::text(c, &["type"]) == kind && json::text(c, &["status"]) == "True")
}

/// An integer or a text as text; the alternative if there is neither.
pub(super) fn int_or_text(value: Option<&Value>, otherwise: &str) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => otherwise.to_owned(),
    }
}

/// Go's `True`/`False` of a boolean.
pub(super) fn yes(value: Option<&Value>) -> &'static str {
    if value == Some(&Value::Bool(true)) { "True" } else { "False" }
}
