//! Whether an applied configuration fits its type, in the words of the real server's typed parser.

use serde_json::Value;
use sim_kube_schemas::Type;

use super::{Element, ListKind, Shape, fields::element_text, merge::identity};

/// Most complaints that one refusal lists.
pub const COMPLAINTS_MAX: usize = 100;
/// Deepest nesting that is looked at.
pub const DEPTH_MAX: usize = 128;

/// What does not fit, as `path: complaint`, in order; empty if all does.
pub fn check(config: &Value, shape: Shape<'_>) -> Vec<String> {
    let mut found = Vec::new();
    walk(config, shape, "", 0, &mut found);
    found.truncate(COMPLAINTS_MAX);
    found
}

/// The complaints as one text.
pub fn text(complaints: &[String]) -> String {
    match complaints {
        [one] => one.clone(),
        many => format!("errors:\n{}", many.iter().map(|c| format!("  {c}")).collect::<Vec<_>>().join("\n")),
    }
}

/// A value's type as Go prints it.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A value as Go's `%#v` prints it.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".into(),
        Value::Array(items) => {
            format!("[]interface {{}}{{{}}}", items.iter().map(go_syntax).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(k, _)| *k);
            let inner: Vec<String> =
                entries.iter().map(|(k, v)| format!("{}:{}", Value::String((*k).clone()), go_syntax(v))).collect();
            format!("map[string]interface {{}}{{{}}}", inner.join(", "))
        }
        scalar => scalar.to_string(),
    }
}

/// What kind of value the shape wants.
enum Wanted {
    Map,
    List,
    Number,
    Text,
    Bool,
    Any,
}

fn wanted(shape: Shape<'_>) -> Wanted {
    match shape {
        Shape::Kind(_) | Shape::Root(_) => Wanted::Map,
        Shape::Untyped => Wanted::Any,
        Shape::Typed(of) => match of {
            Type::Bool => Wanted::Bool,
            Type::Int32 | Type::Int64 | Type::Float => Wanted::Number,
            Type::Text(_) | Type::Bytes => Wanted::Text,
            Type::List(_) => Wanted::List,
            Type::Map(_) | Type::Struct(_) | Type::AtomicStruct(_) => Wanted::Map,
            // Times, quantities and the like are untyped to apply: their own decoding judges them.
            _ => Wanted::Any,
        },
        Shape::Schema(schema) => match schema.get("type").and_then(Value::as_str) {
            _ if schema.get("x-kubernetes-int-or-string").is_some() => Wanted::Any,
            Some("object") => Wanted::Map,
            Some("array") => Wanted::List,
            Some("integer" | "number") => Wanted::Number,
            Some("string") => Wanted::Text,
            Some("boolean") => Wanted::Bool,
            _ => Wanted::Any,
        },
    }
}

fn walk(value: &Value, shape: Shape<'_>, path: &str, depth: usize, found: &mut Vec<String>) {
    if depth > DEPTH_MAX || found.len() >= COMPLAINTS_MAX || value.is_null() {
        return;
    }
    let at = |what: String| if path.is_empty() { what } else { format!("{path}: {what}") };
    match (wanted(shape), value) {
        (Wanted::Map | Wanted::Any, Value::Object(map)) => {
            for (name, child) in map {
                let here = format!("{path}.{name}");
                if shape.declares(name) || shape.open() {
                    walk(child, shape.entry(name), &here, depth + 1, found);
                } else {
                    found.push(format!("{here}: field not declared in schema"));
                }
            }
        }
        (Wanted::List | Wanted::Any, Value::Array(items)) => list(items, shape, path, depth, found),
        (Wanted::Map, other) => found.push(at(format!("expected map, got &{{{}}}", go_plain(other)))),
        (Wanted::List, other) => found.push(at(format!("expected list, got &{{{}}}", go_plain(other)))),
        (Wanted::Number, Value::Number(_)) | (Wanted::Text, Value::String(_)) | (Wanted::Bool, Value::Bool(_)) => {}
        (Wanted::Number, other) => {
            found.push(at(format!("expected numeric (int or float), got {}", go_type(other))));
        }
        (Wanted::Text, other) => found.push(at(format!("expected string, got {}", go_syntax(other)))),
        (Wanted::Bool, other) => found.push(at(format!("expected boolean, got &{{{}}}", go_plain(other)))),
        (Wanted::Any, _) => {}
    }
}

/// A value as Go's `%v` prints it.
pub(crate) fn go_plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_plain).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(k, _)| *k);
            format!(
                "map[{}]",
                entries.iter().map(|(k, v)| format!("{k}:{}", go_plain(v))).collect::<Vec<_>>().join(" ")
            )
        }
        scalar => scalar.to_string(),
    }
}

fn list(items: &[Value], shape: Shape<'_>, path: &str, depth: usize, found: &mut Vec<String>) {
    let kind = shape.list();
    let mut seen: Vec<Element> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let mut here = format!("{path}[{i}]");
        if kind != ListKind::Atomic {
            if item.is_null() {
                found.push(format!("{path}: element {i}: associative list with keys may not have non-map elements"));
                continue;
            }
            if let (ListKind::Map(keys), Value::Object(map)) = (&kind, item) {
                let missing =
                    keys.iter().find(|k| map.get(**k).is_none_or(Value::is_null) && shape.key_default(k).is_none());
                if let Some(key) = missing {
                    found.push(format!(
                        "{path}: element {i}: associative list with keys has an element that omits key field {key:?} (and doesn't have default value)"
                    ));
                    continue;
                }
            }
            let Some(element) = identity(item, &kind, shape) else {
                found.push(format!("{path}: element {i}: associative list with keys may not have non-map elements"));
                continue;
            };
            if seen.contains(&element) {
                found.push(format!("{path}: duplicate entries for key {}", element_text(&element)));
            }
            here = format!("{path}{}", element_text(&element));
            seen.push(element);
        }
        walk(item, shape.item(), &here, depth + 1, found);
    }
}
