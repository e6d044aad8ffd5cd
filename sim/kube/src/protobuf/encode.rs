//! The other direction: objects to bodies, and events of a watch to frames.
//!
//! Fields are written in the order of their numbers, maps in the order of their keys, as Go's encoder does. What an object does not
//! say is left out: readers take it for zero.

use base64::Engine as _;
use serde_json::{Map, Value};

use super::{DEPTH_MAX, Error, Field, Kind, MAGIC, Repeat, message_of, messages};

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn tag(out: &mut Vec<u8>, number: u64, wire: u64) {
    varint(out, number << 3 | wire);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    tag(out, field, VARINT);
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    tag(out, field, BYTES);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Whether objects of a kind can be written.
pub fn knows(api_version: &str, kind: &str) -> bool {
    message_of(api_version, kind).is_some()
}

/// Encodes an object, a list or a `Status`: magic, envelope, message.
///
/// # Errors
/// A kind that is not known, a value that its field cannot hold.
///
/// ```
/// use serde_json::json;
/// let map = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}, "data": {"a": "1"}});
/// let body = sim_kube::protobuf::encode(&map).unwrap();
/// assert_eq!(sim_kube::protobuf::decode(&body).unwrap(), map);
/// ```
pub fn encode(object: &Value) -> Result<Vec<u8>, Error> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let Some(name) = message_of(version, kind) else {
        return Err(Error::Kind { version: version.to_owned(), kind: kind.to_owned() });
    };
    let Value::Object(map) = object else { return Err(Error::Value("object".to_owned())) };
    let mut about = Vec::new();
    bytes(&mut about, 1, version.as_bytes());
    bytes(&mut about, 2, kind.as_bytes());
    let raw = message(name, map, 0)?;
    let mut out = Vec::with_capacity(MAGIC.len() + about.len() + raw.len() + 16);
    out.extend_from_slice(MAGIC);
    bytes(&mut out, 1, &about);
    bytes(&mut out, 2, &raw);
    bytes(&mut out, 3, b"");
    bytes(&mut out, 4, b"");
    Ok(out)
}

/// One event of a watch as a frame: four bytes of length, then a `WatchEvent` that holds the object's body.
///
/// # Errors
/// As [`encode`].
pub fn frame(change: &str, object: &Value) -> Result<Vec<u8>, Error> {
    let (mut raw, mut event) = (Vec::new(), Vec::new());
    bytes(&mut raw, 1, &encode(object)?);
    bytes(&mut event, 1, change.as_bytes());
    bytes(&mut event, 2, &raw);
    let length = u32::try_from(event.len()).map_err(|_| Error::Value("object".to_owned()))?;
    Ok([&length.to_be_bytes()[..], &event].concat())
}

fn message(name: &str, object: &Map<String, Value>, depth: usize) -> Result<Vec<u8>, Error> {
    if depth > DEPTH_MAX {
        return Err(Error::Depth);
    }
    let mut out = Vec::new();
    for (at, field) in messages().get(name).into_iter().flatten() {
        if field.name == "~" {
            if let Kind::Message(inner) = field.kind {
                bytes(&mut out, *at, &message(inner, object, depth + 1)?);
            }
            continue;
        }
        let Some(value) = object.get(field.name).filter(|value| !value.is_null()) else { continue };
        let wrong = || Error::Value(field.name.to_owned());
        match field.repeat {
            Repeat::Once => single(&mut out, *at, field, value, depth)?,
            Repeat::List => {
                for item in value.as_array().ok_or_else(wrong)? {
                    single(&mut out, *at, field, item, depth)?;
                }
            }
            Repeat::Map => {
                let mut entries: Vec<_> = value.as_object().ok_or_else(wrong)?.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                for (key, value) in entries {
                    let mut entry = Vec::new();
                    bytes(&mut entry, 1, key.as_bytes());
                    single(&mut entry, 2, field, value, depth)?;
                    bytes(&mut out, *at, &entry);
                }
            }
        }
    }
    Ok(out)
}

fn single(out: &mut Vec<u8>, at: u64, field: &Field, value: &Value, depth: usize) -> Result<(), Error> {
    let wrong = || Error::Value(field.name.to_owned());
    match field.kind {
        Kind::Text => bytes(out, at, value.as_str().ok_or_else(wrong)?.as_bytes()),
        // Negative numbers of 32 bits take ten bytes too.
        Kind::Integer => number(out, at, value.as_i64().ok_or_else(wrong)? as u64),
        Kind::Boolean => number(out, at, u64::from(value.as_bool().ok_or_else(wrong)?)),
        Kind::Float => {
            tag(out, at, FIXED64);
            out.extend_from_slice(&value.as_f64().ok_or_else(wrong)?.to_bits().to_le_bytes());
        }
        Kind::Bytes => {
            let text = value.as_str().ok_or_else(wrong)?;
            let raw = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| wrong())?;
            bytes(out, at, &raw);
        }
        Kind::Message(name) => {
            let mut raw = Vec::new();
            if !special(name, value, depth, field.name, &mut raw)? {
                raw = message(name, value.as_object().ok_or_else(wrong)?, depth + 1)?;
            }
            bytes(out, at, &raw);
        }
    }
    Ok(())
}

/// Writes a message whose JSON form is not a map of its fields; false for all others.
fn special(name: &str, value: &Value, depth: usize, field: &str, out: &mut Vec<u8>) -> Result<bool, Error> {
    let wrong = || Error::Value(field.to_owned());
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(wrong);
    let schema =
        |value: &Value| message("apiextensions/v1.JSONSchemaProps", value.as_object().ok_or_else(wrong)?, depth + 1);
    match name {
        "resource.Quantity" => match value {
            Value::Number(number) => bytes(out, 1, number.to_string().as_bytes()),
            other => bytes(out, 1, text(other)?.as_bytes()),
        },
        "intstr.IntOrString" => {
            let (kind, integer, text) = match value {
                Value::String(text) => (1, 0, text.as_str()),
                other => (0, other.as_i64().ok_or_else(wrong)? as u64, ""),
            };
            number(out, 1, kind);
            number(out, 2, integer);
            bytes(out, 3, text.as_bytes());
        }
        "meta/v1.Time" | "meta/v1.MicroTime" => {
            let at: jiff::Timestamp = text(value)?.parse().map_err(|_| wrong())?;
            number(out, 1, at.as_second() as u64);
            number(out, 2, i64::from(at.subsec_nanosecond()) as u64);
        }
        "meta/v1.Duration" => number(out, 1, nanos(&text(value)?).ok_or_else(wrong)? as u64),
        "meta/v1.FieldsV1" | "runtime.RawExtension" | "apiextensions/v1.JSON" => {
            bytes(out, 1, value.to_string().as_bytes());
        }
        "meta/v1.Verbs"
        | "authentication/v1.AttestationValue"
        | "authentication/v1.ExtraValue"
        | "authorization/v1.ExtraValue"
        | "certificates/v1.ExtraValue" => {
            for item in value.as_array().ok_or_else(wrong)? {
                bytes(out, 1, text(item)?.as_bytes());
            }
        }
        "apiextensions/v1.JSONSchemaPropsOrBool" => {
            number(out, 1, u64::from(value.as_bool().unwrap_or(true)));
            if !value.is_boolean() {
                bytes(out, 2, &schema(value)?);
            }
        }
        "apiextensions/v1.JSONSchemaPropsOrArray" | "apiextensions/v1.JSONSchemaPropsOrStringArray" => match value {
            Value::Array(items) => {
                for item in items {
                    match item {
                        Value::String(text) => bytes(out, 2, text.as_bytes()),
                        other => bytes(out, 2, &schema(other)?),
                    }
                }
            }
            one => bytes(out, 1, &schema(one)?),
        },
        _ => return Ok(false),
    }
    Ok(true)
}

/// The nanoseconds of Go's text of a duration.
fn nanos(text: &str) -> Option<i64> {
    let (sign, mut rest) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
    let mut all = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (amount, tail) = rest.split_at(digits);
        let units = [("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let unit = units.iter().find(|(name, _)| *name == &tail[..end])?;
        all += amount.parse::<f64>().ok()? * unit.1;
        rest = &tail[end..];
    }
    Some((sign * all).round() as i64)
}
