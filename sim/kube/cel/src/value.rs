//! Values, and how JSON becomes values by its declared type.

use std::{borrow::Cow, cmp::Ordering, net::IpAddr, rc::Rc};

use base64::Engine as _;
use jiff::Timestamp;
use serde_json::Value as Json;

use crate::{
    EvalError,
    functions::{quantity::Quantity, semver::Semver, url::Url},
    types::{ObjectType, Type},
};

/// A value during an evaluation. Lists, maps and objects of the data stay JSON until something is taken out of them.
#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Cow<'a, str>),
    Bytes(Rc<[u8]>),
    List(Rc<Vec<Value<'a>>>),
    Map(Rc<Vec<(Value<'a>, Value<'a>)>>),
    /// A list of the data with the type of its items.
    JsonList(&'a [Json], &'a Type),
    /// A map of the data with the type of its values.
    JsonMap(&'a serde_json::Map<String, Json>, &'a Type),
    /// An object of the data.
    JsonObject(&'a serde_json::Map<String, Json>, &'a ObjectType),
    Timestamp(Timestamp),
    Duration(i64),
    Type(String),
    Optional(Option<Rc<Value<'a>>>),
    Url(Rc<Url>),
    Ip(IpAddr),
    Cidr(IpAddr, u8),
    Quantity(Quantity),
    Semver(Rc<Semver>),
    Format(&'static str),
}

static ANY: Type = Type::Dyn;

pub(crate) fn error(text: impl Into<String>) -> EvalError {
    EvalError::new(text)
}

pub(crate) fn no_overload() -> EvalError {
    error("no such overload")
}

/// JSON as its declared type has it.
pub(crate) fn from_json<'a>(json: &'a Json, ty: &'a Type) -> Result<Value<'a>, EvalError> {
    Ok(match (json, ty) {
        (Json::Null, _) => Value::Null,
        (Json::Bool(b), _) => Value::Bool(*b),
        (Json::Number(n), Type::Double) => Value::Double(n.as_f64().unwrap_or(0.0)),
        (Json::Number(n), _) => match n.as_i64() {
            Some(i) => Value::Int(i),
            None => {
                let f = n.as_f64().unwrap_or(0.0);
                if matches!(ty, Type::Int) { Value::Int(f as i64) } else { Value::Double(f) }
            }
        },
        (Json::String(s), Type::Bytes) => Value::Bytes(
            base64::engine::general_purpose::STANDARD
                .decode(s)
                .map_err(|_| error(format!("byte value is not base64: {s}")))?
                .into(),
        ),
        (Json::String(s), Type::Duration) => Value::Duration(
            crate::functions::time::go_duration(s).ok_or_else(|| error(format!("Invalid duration {s}")))?,
        ),
        (Json::String(s), Type::Timestamp) => Value::Timestamp(
            crate::functions::time::timestamp(s).ok_or_else(|| error(format!("Invalid date-time {s}")))?,
        ),
        (Json::String(s), _) => Value::String(Cow::Borrowed(s)),
        (Json::Array(items), Type::List(item)) => Value::JsonList(items, item),
        (Json::Array(items), _) => Value::JsonList(items, &ANY),
        (Json::Object(map), Type::Object(object)) => Value::JsonObject(map, object),
        (Json::Object(map), Type::Map(_, value)) => Value::JsonMap(map, value),
        (Json::Object(map), _) => Value::JsonMap(map, &ANY),
    })
}

impl<'a> Value<'a> {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Value::String(Cow::Owned(text.into()))
    }

    pub(crate) fn list(items: Vec<Value<'a>>) -> Self {
        Value::List(Rc::new(items))
    }

    pub(crate) fn some(value: Value<'a>) -> Self {
        Value::Optional(Some(Rc::new(value)))
    }

    /// The name of the type, as `type(x)` gives it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::List(_) | Value::JsonList(..) => "list",
            Value::Map(_) | Value::JsonMap(..) => "map",
            Value::JsonObject(..) => "object",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::Type(_) => "type",
            Value::Optional(_) => "optional_type",
            Value::Url(_) => "kubernetes.URL",
            Value::Ip(_) => "net.IP",
            Value::Cidr(..) => "net.CIDR",
            Value::Quantity(_) => "kubernetes.Quantity",
            Value::Semver(_) => "kubernetes.Semver",
            Value::Format(_) => "kubernetes.NamedFormat",
        }
    }

    /// How many characters, bytes, items or entries; 1 for anything else. What costs are counted by.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Value::String(s) => s.chars().count() as u64,
            Value::Bytes(b) => b.len() as u64,
            Value::List(items) => items.len() as u64,
            Value::JsonList(items, _) => items.len() as u64,
            Value::Map(entries) => entries.len() as u64,
            Value::JsonMap(map, _) => map.len() as u64,
            Value::Optional(Some(inner)) => inner.size(),
            Value::Ip(ip) => {
                if ip.is_ipv4() {
                    4
                } else {
                    16
                }
            }
            Value::Cidr(_, bits) => u64::from(bits.div_ceil(8)),
            _ => 1,
        }
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Result<Vec<Value<'a>>, EvalError> {
        match self {
            Value::List(items) => Ok(items.to_vec()),
            Value::JsonList(items, ty) => items.iter().map(|i| from_json(i, ty)).collect(),
            _ => Err(no_overload()),
        }
    }

    /// The entries of a map, in order.
    pub(crate) fn entries(&self) -> Result<Vec<(Value<'a>, Value<'a>)>, EvalError> {
        match self {
            Value::Map(entries) => Ok(entries.to_vec()),
            Value::JsonMap(map, ty) => {
                map.iter().map(|(k, v)| Ok((Value::String(Cow::Borrowed(k)), from_json(v, ty)?))).collect()
            }
            _ => Err(no_overload()),
        }
    }

    /// A field of an object or entry of a map by a fixed name, if it is there.
    pub(crate) fn field(&self, name: &str) -> Result<Option<Value<'a>>, EvalError> {
        match self {
            Value::JsonObject(map, object) => {
                let Some((real, ty)) = object.fields.get(name) else {
                    return Err(error(format!("no such field '{name}'")));
                };
                map.get(real).map(|v| from_json(v, ty)).transpose()
            }
            Value::Map(_) | Value::JsonMap(..) => self.entry(&Value::text(name)),
            Value::Optional(Some(inner)) => inner.field(name),
            Value::Optional(None) => Ok(None),
            _ => Err(no_overload()),
        }
    }

    /// An entry of a map, or an item of a list, if it is there.
    pub(crate) fn entry<'k>(&self, key: &Value<'k>) -> Result<Option<Value<'a>>, EvalError> {
        match self {
            Value::JsonMap(map, ty) => match key {
                Value::String(key) => map.get(&**key).map(|v| from_json(v, ty)).transpose(),
                _ => Ok(None),
            },
            Value::Map(entries) => Ok(entries.iter().find(|(k, _)| equal(k, key)).map(|(_, v)| v.clone())),
            Value::List(_) | Value::JsonList(..) => {
                let index = match key {
                    Value::Int(i) => *i,
                    Value::Uint(u) => i64::try_from(*u).unwrap_or(i64::MAX),
                    Value::Double(d) if d.fract() == 0.0 => *d as i64,
                    _ => return Err(no_overload()),
                };
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                match self {
                    Value::List(items) => Ok(items.get(index).cloned()),
                    Value::JsonList(items, ty) => items.get(index).map(|i| from_json(i, ty)).transpose(),
                    _ => Ok(None),
                }
            }
            Value::Optional(Some(inner)) => inner.entry(key),
            Value::Optional(None) => Ok(None),
            _ => Err(no_overload()),
        }
    }

    /// True for zero, false, empty and absent values.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Value::Null => true,
            Value::Bool(b) => !b,
            Value::Int(i) => *i == 0,
            Value::Uint(u) => *u == 0,
            Value::Double(d) => *d == 0.0,
            Value::Duration(d) => *d == 0,
            Value::JsonObject(map, _) => map.is_empty(),
            Value::Optional(inner) => inner.is_none(),
            Value::String(_)
            | Value::Bytes(_)
            | Value::List(_)
            | Value::JsonList(..)
            | Value::Map(_)
            | Value::JsonMap(..) => self.size() == 0,
            _ => false,
        }
    }
}

/// Equality: numbers by value whatever their type, lists and maps by content, different types differ.
pub(crate) fn equal(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(x), Value::Bool(y)) => x == y,
        (Value::String(x), Value::String(y)) => x == y,
        (Value::Bytes(x), Value::Bytes(y)) => x == y,
        (Value::Timestamp(x), Value::Timestamp(y)) => x == y,
        (Value::Duration(x), Value::Duration(y)) => x == y,
        (Value::Type(x), Value::Type(y)) => x == y,
        (Value::Optional(None), Value::Optional(None)) => true,
        (Value::Optional(Some(x)), Value::Optional(Some(y))) => equal(x, y),
        (Value::Url(x), Value::Url(y)) => x.text == y.text,
        (Value::Ip(x), Value::Ip(y)) => x == y,
        (Value::Cidr(x, m), Value::Cidr(y, n)) => x == y && m == n,
        (Value::Quantity(x), Value::Quantity(y)) => x.compare(y) == Ordering::Equal,
        (Value::Semver(x), Value::Semver(y)) => x.compare(y) == Ordering::Equal,
        (Value::Format(x), Value::Format(y)) => x == y,
        (Value::JsonObject(x, t), Value::JsonObject(y, u)) => {
            t.name == u.name && x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| same_json(v, w)))
        }
        (Value::List(_) | Value::JsonList(..), Value::List(_) | Value::JsonList(..)) => {
            a.size() == b.size()
                && matches!((a.items(), b.items()), (Ok(x), Ok(y)) if x.iter().zip(&y).all(|(x, y)| equal(x, y)))
        }
        (Value::Map(_) | Value::JsonMap(..), Value::Map(_) | Value::JsonMap(..)) => {
            a.size() == b.size()
                && a.entries()
                    .is_ok_and(|entries| entries.iter().all(|(k, v)| matches!(b.entry(k), Ok(Some(w)) if equal(v, &w))))
        }
        _ => compare(a, b) == Some(Ordering::Equal),
    }
}

fn same_json(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(x), Json::Number(y)) => x.as_f64() == y.as_f64(),
        _ => a == b,
    }
}

/// The order of two values, if they have one.
pub(crate) fn compare(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    Some(match (a, b) {
        (Value::Int(x), Value::Int(y)) => x.cmp(y),
        (Value::Uint(x), Value::Uint(y)) => x.cmp(y),
        (Value::Int(x), Value::Uint(y)) => i128::from(*x).cmp(&i128::from(*y)),
        (Value::Uint(x), Value::Int(y)) => i128::from(*x).cmp(&i128::from(*y)),
        (Value::Double(x), Value::Double(y)) => return x.partial_cmp(y),
        (Value::Double(x), Value::Int(y)) => return whole_order(*x, i128::from(*y)),
        (Value::Double(x), Value::Uint(y)) => return whole_order(*x, i128::from(*y)),
        (Value::Int(x), Value::Double(y)) => return whole_order(*y, i128::from(*x)).map(Ordering::reverse),
        (Value::Uint(x), Value::Double(y)) => return whole_order(*y, i128::from(*x)).map(Ordering::reverse),
        (Value::Bool(x), Value::Bool(y)) => x.cmp(y),
        (Value::String(x), Value::String(y)) => x.as_bytes().cmp(y.as_bytes()),
        (Value::Bytes(x), Value::Bytes(y)) => x.cmp(y),
        (Value::Timestamp(x), Value::Timestamp(y)) => x.cmp(y),
        (Value::Duration(x), Value::Duration(y)) => x.cmp(y),
        _ => return None,
    })
}

/// A double against a whole number, without losing digits of either.
fn whole_order(double: f64, whole: i128) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    if double.abs() >= 1e30 {
        return Some(if double > 0.0 { Ordering::Greater } else { Ordering::Less });
    }
    let floor = double.floor();
    Some((floor as i128).cmp(&whole).then(if double > floor { Ordering::Greater } else { Ordering::Equal }))
}
