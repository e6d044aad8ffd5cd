//! Decoding of built-in kinds, as the real server's typed decoder does it: fields it does not know are dropped and named,
//! values of the wrong type are refused in Go's words, quantities and times come out in canonical form.
//!
//! ```
//! use serde_json::json;
//! let pod = sim_kube_schemas::kind("", "v1", "Pod").unwrap();
//! let mut object = json!({"spec": {"hostNetwork": null, "nodename": "n", "containers": [{"name": "a", "resources": {"limits": {"cpu": 0.5}}}]}});
//! let unknown = sim_kube::decoding::decode(&mut object, pod).unwrap();
//! assert_eq!(unknown, ["spec.nodename"]);
//! assert_eq!(object, json!({"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": "500m"}}}]}}));
//! ```

mod duplicates;
mod quantity;

pub use duplicates::from_slice;
pub use quantity::canonical as canonical_quantity;

use serde_json::Value;
use sim_kube_schemas::{Struct, Type};

/// Deepest nesting that is decoded, as the real server's JSON decoder allows.
pub const DEPTH_MAX: usize = 10_000;
/// Most unknown fields that one answer names.
pub const UNKNOWN_MAX: usize = 100;

/// Decodes an object in place; gives the paths of the fields it dropped.
///
/// # Errors
/// The message of the first value that its type refuses.
pub fn decode(object: &mut Value, structure: &Struct) -> Result<Vec<String>, String> {
    let mut decoder = Decoder { path: String::new(), go_path: Vec::new(), unknown: Vec::new(), saved: None };
    decoder.structure(object, structure, 0)?;
    match decoder.saved {
        Some(message) => Err(message),
        None => Ok(decoder.unknown),
    }
}

struct Decoder {
    /// With indices, for unknown fields.
    path: String,
    /// Names only, as Go's decoder keeps them.
    go_path: Vec<String>,
    unknown: Vec<String>,
    /// The first value of a wrong type: Go goes on after it, and an error of a type's own decoder comes first.
    saved: Option<String>,
}

fn go_type(of: &Type) -> String {
    match of {
        Type::Any | Type::SchemaOr(_) => "interface {}".into(),
        Type::Bool => "bool".into(),
        Type::Int32 => "int32".into(),
        Type::Int64 => "int64".into(),
        Type::Float => "float64".into(),
        Type::Text("") => "string".into(),
        Type::Text(name) => (*name).into(),
        Type::Bytes => "[]uint8".into(),
        Type::Time => "v1.Time".into(),
        Type::MicroTime => "v1.MicroTime".into(),
        Type::Quantity => "resource.Quantity".into(),
        Type::IntOrString => "intstr.IntOrString".into(),
        Type::List(list) => format!("[]{}", go_type(&list.item)),
        Type::Map(map) if matches!(map.value, Type::Quantity) => "v1.ResourceList".into(),
        Type::Map(map) => format!("map[string]{}", go_type(&map.value)),
        Type::Struct(inner) | Type::AtomicStruct(inner) => format!("{}.{}", inner.package, inner.go),
    }
}

/// What a value is to Go's decoder.
fn what(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl Decoder {
    fn refuse(&mut self, owner: &Struct, what: &str, of: &str) {
        if self.saved.is_none() {
            self.saved = Some(if self.go_path.is_empty() {
                format!("json: cannot unmarshal {what} into Go value of type {of}")
            } else {
                format!(
                    "json: cannot unmarshal {what} into Go struct field {}.{} of type {of}",
                    owner.go,
                    self.go_path.join(".")
                )
            });
        }
    }

    fn structure(&mut self, value: &mut Value, structure: &Struct, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err("exceeded max depth".into());
        }
        let Value::Object(map) = value else { return Ok(()) };
        let mut failed = Ok(());
        map.retain(|name, child| {
            if failed.is_err() {
                return true;
            }
            let length = self.path.len();
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(name);
            let keep = match structure.field(name) {
                None => {
                    if self.unknown.len() < UNKNOWN_MAX {
                        self.unknown.push(self.path.clone());
                    }
                    false
                }
                // Go leaves a field alone that is null.
                Some(_) if child.is_null() => false,
                Some(field) => {
                    self.go_path.push(name.clone());
                    failed = self.value(child, &field.of, structure, depth + 1);
                    self.go_path.pop();
                    true
                }
            };
            self.path.truncate(length);
            keep
        });
        failed
    }

    fn value(&mut self, value: &mut Value, of: &Type, owner: &Struct, depth: usize) -> Result<(), String> {
        match (of, &mut *value) {
            (Type::Any, _)
            | (Type::Bool, Value::Bool(_))
            | (Type::Text(_) | Type::IntOrString, Value::String(_))
            | (Type::Float, Value::Number(_)) => {}
            (Type::Int32, Value::Number(n)) if n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => {}
            (Type::Int64, Value::Number(n)) if n.as_i64().is_some() => {}
            (Type::Int32 | Type::Int64, Value::Number(n)) => {
                let text = format!("number {n}");
                self.refuse(owner, &text, &go_type(of));
            }
            (Type::IntOrString, Value::Number(n)) => {
                if n.as_i64().is_none_or(|n| i32::try_from(n).is_err()) {
                    return Err(format!("json: cannot unmarshal number {n} into Go value of type int32"));
                }
            }
            (Type::IntOrString, other) => {
                return Err(format!("json: cannot unmarshal {} into Go value of type int32", what(other)));
            }
            (Type::Quantity, Value::String(text)) => {
                let canonical = quantity::canonical(text)?;
                if canonical != *text {
                    *text = canonical;
                }
            }
            (Type::Quantity, other) => *value = quantity::canonical(&other.to_string())?.into(),
            (Type::Bytes, Value::String(text)) => bytes(text)?,
            (Type::Time | Type::MicroTime, Value::String(text)) => time(text, matches!(of, Type::MicroTime))?,
            (Type::Time | Type::MicroTime, other) => {
                return Err(format!("json: cannot unmarshal {} into Go value of type string", what(other)));
            }
            (Type::List(list), Value::Array(items)) => {
                let length = self.path.len();
                for (i, item) in items.iter_mut().enumerate() {
                    self.path.push_str(&format!("[{i}]"));
                    if item.is_null() {
                        *item = zero(&list.item);
                    }
                    self.value(item, &list.item, owner, depth + 1)?;
                    self.path.truncate(length);
                }
            }
            (Type::Map(map), Value::Object(entries)) => {
                let length = self.path.len();
                for (key, item) in entries.iter_mut() {
                    self.path.push('.');
                    self.path.push_str(key);
                    if item.is_null() {
                        *item = zero(&map.value);
                    }
                    self.value(item, &map.value, owner, depth + 1)?;
                    self.path.truncate(length);
                }
            }
            (Type::Struct(inner) | Type::AtomicStruct(inner), Value::Object(_)) => {
                self.structure(value, inner.get(), depth)?;
            }
            (Type::SchemaOr(inner), Value::Object(_)) => self.structure(value, inner.get(), depth)?,
            (Type::SchemaOr(inner), Value::Array(items)) => {
                for item in items {
                    self.structure(item, inner.get(), depth + 1)?;
                }
            }
            (Type::SchemaOr(_), _) => {}
            (of, other) => {
                let (what, of) = (what(other), go_type(of));
                self.refuse(owner, what, &of);
            }
        }
        Ok(())
    }
}

/// What null is to a list's item or a map's value.
fn zero(of: &Type) -> Value {
    match of {
        Type::Bool => false.into(),
        Type::Int32 | Type::Int64 | Type::Float | Type::IntOrString => 0.into(),
        Type::Text(_) | Type::Bytes => "".into(),
        Type::Quantity => "0".into(),
        Type::Struct(_) | Type::AtomicStruct(_) => Value::Object(serde_json::Map::new()),
        _ => Value::Null,
    }
}

fn bytes(text: &str) -> Result<(), String> {
    use base64::Engine as _;
    // Line breaks within base64 are skipped by Go.
    let plain: std::borrow::Cow<'_, str> =
        if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], "").into() } else { text.into() };
    match base64::engine::general_purpose::STANDARD.decode(&*plain) {
        Ok(_) => Ok(()),
        Err(base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _)) => {
            Err(format!("illegal base64 data at input byte {at}"))
        }
        Err(_) => Err(format!("illegal base64 data at input byte {}", plain.len() / 4 * 4)),
    }
}

/// Checks a time and writes it in UTC, as it is stored.
fn time(text: &mut String, micro: bool) -> Result<(), String> {
    let layout = if micro { "2006-01-02T15:04:05.000000Z07:00" } else { "2006-01-02T15:04:05Z07:00" };
    let parsed: jiff::Timestamp = text
        .parse()
        .map_err(|_| format!("parsing time {text:?} as {layout:?}: cannot parse {:?} as {:?}", text, "2006"))?;
    let canonical = if micro { format!("{parsed:.6}") } else { format!("{parsed:.0}") };
    if canonical != *text {
        *text = canonical;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
