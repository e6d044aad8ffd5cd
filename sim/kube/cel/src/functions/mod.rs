//! What the functions do, by name and the types of their values, and what they cost.

mod format;
mod lists;
mod net;
pub(crate) mod quantity;
pub(crate) mod semver;
mod strings;
pub(crate) mod time;
pub(crate) mod url;

use std::cmp::Ordering;

use crate::{
    EvalError,
    eval::{CHARACTER_COST, Evaluation, REGEX_CHARACTER_COST},
    pattern,
    value::{Value, compare, equal, error, no_overload},
};

type Result<'a> = std::result::Result<Value<'a>, EvalError>;

pub(crate) use format::shown;

fn traversal(size: u64) -> u64 {
    (size as f64 * CHARACTER_COST).ceil() as u64
}

/// What must be paid before the work is done.
pub(crate) fn charge_before(
    run: &mut Evaluation<'_>,
    name: &str,
    args: &[Value<'_>],
) -> std::result::Result<(), EvalError> {
    let size = |i: usize| args.get(i).map_or(1, Value::size);
    let text = |i: usize| matches!(args.get(i), Some(Value::String(_) | Value::Bytes(_)));
    let opaque = !matches!(
        args.first(),
        Some(
            Value::String(_)
                | Value::Bytes(_)
                | Value::List(_)
                | Value::JsonList(..)
                | Value::Map(_)
                | Value::JsonMap(..)
        )
    );
    let cost = match name {
        "_==_" | "_!=_" => {
            if opaque {
                1
            } else {
                traversal(size(0).min(size(1)))
            }
        }
        "_<_" | "_<=_" | "_>_" | "_>=_" if text(0) => traversal(size(0).min(size(1))),
        "_+_" if text(0) => traversal(size(0) + size(1)),
        "@in" if matches!(args.get(1), Some(Value::List(_) | Value::JsonList(..))) => size(1),
        "contains" => traversal(size(0)) * traversal(size(1)),
        "matches" => traversal(size(0) + 1) * ((size(1) as f64 * REGEX_CHARACTER_COST).ceil() as u64),
        "find" | "findAll" => traversal(size(0) + 1) * ((size(1) as f64 * REGEX_CHARACTER_COST).ceil() as u64),
        "startsWith" | "endsWith" | "format" => traversal(size(0)),
        "bytes" | "string" if text(0) && args.len() == 1 => traversal(size(0)),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
            if text(0) {
                traversal(size(0))
            } else {
                size(0)
            }
        }
        "flatten" | "sort" | "distinct" | "reverse" | "slice" => size(0),
        "url" | "isURL" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "quantity" | "isQuantity" | "semver"
        | "isSemver" | "cidr" | "isIP" | "isCIDR" => traversal(size(0)),
        "ip" if text(0) => traversal(size(0)),
        "ip.isCanonical" | "replace" | "split" => (size(0) as f64 * 2.0 * CHARACTER_COST).ceil() as u64,
        "containsIP" | "containsCIDR" => {
            let mut cost = (size(0) as f64 * 2.0 * CHARACTER_COST).ceil() as u64;
            if name == "containsCIDR" {
                cost += traversal(size(0)) + 1;
            }
            if text(1) {
                cost += traversal(size(1));
            }
            cost
        }
        "sets.contains" | "sets.equivalent" | "sets.intersects" => size(0).saturating_mul(size(1)).max(1),
        "join" => 0,
        _ => 1,
    };
    run.pay(cost)
}

/// What is known only once the work is done.
pub(crate) fn charge_after(
    run: &mut Evaluation<'_>,
    name: &str,
    _args: &[Value<'_>],
    result: &Value<'_>,
) -> std::result::Result<(), EvalError> {
    if name == "join" { run.pay((result.size() as f64 * 2.0 * CHARACTER_COST).ceil() as u64) } else { Ok(()) }
}

/// Calls a function; the target of a member call is the first value.
pub(crate) fn call<'a>(name: &str, member: bool, args: &[Value<'a>]) -> Result<'a> {
    let truth = |b: bool| Ok(Value::Bool(b));
    match (name, args) {
        ("_==_", [a, b]) => truth(equal(a, b)),
        ("_!=_", [a, b]) => truth(!equal(a, b)),
        ("_<_" | "_<=_" | "_>_" | "_>=_", [a, b]) => order(name, a, b),
        ("_+_" | "_-_" | "_*_" | "_/_" | "_%_", [a, b]) => arithmetic(name, a, b),
        ("!_", [Value::Bool(b)]) => truth(!b),
        ("-_", [Value::Int(i)]) => i.checked_neg().map(Value::Int).ok_or_else(|| error("integer overflow")),
        ("-_", [Value::Double(d)]) => Ok(Value::Double(-d)),
        ("@in", [item, list @ (Value::List(_) | Value::JsonList(..))]) => {
            truth(list.items()?.iter().any(|i| equal(i, item)))
        }
        ("@in", [key, map @ (Value::Map(_) | Value::JsonMap(..))]) => map.entry(key).map(|v| Value::Bool(v.is_some())),
        ("_[_]", [target, key]) => {
            let optional = matches!(target, Value::Optional(_));
            match target.entry(key)? {
                Some(value) if optional => Ok(Value::some(value)),
                Some(value) => Ok(value),
                None if optional => Ok(Value::Optional(None)),
                None if matches!(target, Value::List(_) | Value::JsonList(..)) => {
                    Err(error(format!("index out of bounds: {}", shown(key))))
                }
                None => Err(error(format!("no such key: {}", shown(key)))),
            }
        }
        ("_[?_]", [target, key]) => target.entry(key).map(|v| Value::Optional(v.map(Into::into))),
        (
            "size",
            [
                v @ (Value::String(_)
                | Value::Bytes(_)
                | Value::List(_)
                | Value::JsonList(..)
                | Value::Map(_)
                | Value::JsonMap(..)),
            ],
        ) => Ok(Value::Int(i64::try_from(v.size()).unwrap_or(i64::MAX))),
        ("type", [v]) => Ok(Value::Type(v.type_name().to_owned())),
        ("dyn", [v]) => Ok(v.clone()),
        ("bool" | "bytes" | "double" | "int" | "uint" | "string" | "timestamp" | "duration", [v]) => convert(name, v),
        ("matches", [Value::String(text), Value::String(regex)]) => {
            let regex = pattern::compile(regex).map_err(error)?;
            truth(regex.is_match(text))
        }
        ("optional.of", [v]) => Ok(Value::some(v.clone())),
        ("optional.ofNonZeroValue", [v]) => {
            Ok(if v.is_zero() { Value::Optional(None) } else { Value::some(v.clone()) })
        }
        ("optional.none", []) => Ok(Value::Optional(None)),
        ("value", [Value::Optional(v)]) => {
            v.as_ref().map(|v| (**v).clone()).ok_or_else(|| error("optional.none() dereference"))
        }
        ("hasValue", [Value::Optional(v)]) => truth(v.is_some()),
        _ => {
            let libraries = [
                strings::call,
                lists::call,
                time::call,
                net::call,
                quantity::call,
                semver::call,
                url::call,
                format::call,
            ];
            libraries.iter().find_map(|library| library(name, member, args)).unwrap_or_else(|| Err(no_overload()))
        }
    }
}

fn order<'a>(name: &str, a: &Value<'_>, b: &Value<'_>) -> Result<'a> {
    let Some(order) = compare(a, b) else {
        let nan = |v: &Value<'_>| matches!(v, Value::Double(d) if d.is_nan());
        return if nan(a) || nan(b) { Ok(Value::Bool(false)) } else { Err(no_overload()) };
    };
    Ok(Value::Bool(match name {
        "_<_" => order == Ordering::Less,
        "_<=_" => order != Ordering::Greater,
        "_>_" => order == Ordering::Greater,
        _ => order != Ordering::Less,
    }))
}

fn arithmetic<'a>(name: &str, a: &Value<'a>, b: &Value<'a>) -> Result<'a> {
    let overflow = || error("integer overflow");
    match (a, b) {
        (Value::Int(x), Value::Int(y)) => match name {
            "_+_" => x.checked_add(*y),
            "_-_" => x.checked_sub(*y),
            "_*_" => x.checked_mul(*y),
            "_/_" if *y == 0 => return Err(error("division by zero")),
            "_/_" => x.checked_div(*y),
            _ if *y == 0 => return Err(error("modulus by zero")),
            _ => x.checked_rem(*y),
        }
        .map(Value::Int)
        .ok_or_else(overflow),
        (Value::Uint(x), Value::Uint(y)) => match name {
            "_+_" => x.checked_add(*y),
            "_-_" => x.checked_sub(*y),
            "_*_" => x.checked_mul(*y),
            "_/_" if *y == 0 => return Err(error("division by zero")),
            "_/_" => x.checked_div(*y),
            _ if *y == 0 => return Err(error("modulus by zero")),
            _ => x.checked_rem(*y),
        }
        .map(Value::Uint)
        .ok_or_else(|| error("unsigned integer overflow")),
        (Value::Double(x), Value::Double(y)) => Ok(Value::Double(match name {
            "_+_" => x + y,
            "_-_" => x - y,
            "_*_" => x * y,
            "_/_" => x / y,
            _ => return Err(no_overload()),
        })),
        (Value::String(x), Value::String(y)) if name == "_+_" => Ok(Value::text(format!("{x}{y}"))),
        (Value::Bytes(x), Value::Bytes(y)) if name == "_+_" => Ok(Value::Bytes([&**x, &**y].concat().into())),
        (Value::List(_) | Value::JsonList(..), Value::List(_) | Value::JsonList(..)) if name == "_+_" => {
            let mut items = a.items()?;
            items.extend(b.items()?);
            if items.len() > crate::eval::MADE_ITEMS_MAX {
                return Err(error("list size exceeds limit"));
            }
            Ok(Value::list(items))
        }
        _ => time::arithmetic(name, a, b).unwrap_or_else(|| Err(no_overload())),
    }
}

/// The conversions that are called like types.
fn convert<'a>(to: &str, v: &Value<'a>) -> Result<'a> {
    let conversion = || error(format!("type conversion error from '{}' to '{to}'", v.type_name()));
    match (to, v) {
        ("bool", Value::Bool(_))
        | ("bytes", Value::Bytes(_))
        | ("double", Value::Double(_))
        | ("int", Value::Int(_))
        | ("uint", Value::Uint(_))
        | ("string", Value::String(_))
        | ("timestamp", Value::Timestamp(_))
        | ("duration", Value::Duration(_)) => Ok(v.clone()),
        ("bool", Value::String(s)) => match &**s {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => Err(conversion()),
        },
        ("bytes", Value::String(s)) => Ok(Value::Bytes(s.as_bytes().into())),
        ("double", Value::Int(i)) => Ok(Value::Double(*i as f64)),
        ("double", Value::Uint(u)) => Ok(Value::Double(*u as f64)),
        ("double", Value::String(s)) => {
            let plain = !s.is_empty() && !s.contains(char::is_whitespace);
            let parsed = s.parse::<f64>().ok().filter(|_| plain);
            parsed.map(Value::Double).ok_or_else(|| error(format!("strconv.ParseFloat: parsing {s:?}: invalid syntax")))
        }
        ("int", Value::Uint(u)) => i64::try_from(*u).map(Value::Int).map_err(|_| error("integer overflow")),
        // Both ends are out: the nearest double to the largest int is beyond it.
        ("int", Value::Double(d)) if *d > -9_223_372_036_854_775_808.0 && *d < 9_223_372_036_854_775_807.0 => {
            Ok(Value::Int(*d as i64))
        }
        ("int", Value::Double(_)) => Err(error("integer overflow")),
        ("int", Value::String(s)) => {
            s.parse().map(Value::Int).map_err(|_| error(format!("strconv.ParseInt: parsing {s:?}: invalid syntax")))
        }
        ("int", Value::Timestamp(t)) => Ok(Value::Int(t.as_second())),
        ("uint", Value::Int(i)) => u64::try_from(*i).map(Value::Uint).map_err(|_| error("unsigned integer overflow")),
        ("uint", Value::Double(d)) if *d >= 0.0 && *d < 18_446_744_073_709_551_615.0 => Ok(Value::Uint(*d as u64)),
        ("uint", Value::Double(_)) => Err(error("unsigned integer overflow")),
        ("uint", Value::String(s)) => {
            s.parse().map(Value::Uint).map_err(|_| error(format!("strconv.ParseUint: parsing {s:?}: invalid syntax")))
        }
        ("string", Value::Bytes(b)) => String::from_utf8(b.to_vec())
            .map(Value::text)
            .map_err(|_| error("invalid UTF-8 in bytes, cannot convert to string")),
        (
            "string",
            Value::Bool(_)
            | Value::Int(_)
            | Value::Uint(_)
            | Value::Double(_)
            | Value::Timestamp(_)
            | Value::Duration(_)
            | Value::Ip(_)
            | Value::Cidr(..),
        ) => Ok(Value::text(shown(v))),
        ("timestamp", Value::String(s)) => time::timestamp(s).map(Value::Timestamp).ok_or_else(conversion),
        ("timestamp", Value::Int(i)) => {
            jiff::Timestamp::from_second(*i).map(Value::Timestamp).map_err(|_| error("timestamp overflow"))
        }
        ("duration", Value::String(s)) => time::go_duration(s).map(Value::Duration).ok_or_else(conversion),
        ("duration", Value::Int(i)) => Ok(Value::Duration(*i)),
        _ => Err(no_overload()),
    }
}
