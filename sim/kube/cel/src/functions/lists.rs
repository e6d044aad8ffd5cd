//! The lists extensions (Kubernetes' and CEL's) and sets.

use std::cmp::Ordering;

use super::Result;
use crate::{
    EvalError,
    eval::MADE_ITEMS_MAX,
    value::{Value, compare, equal, error, no_overload},
};

/// Deepest flattening.
const FLATTEN_DEPTH_MAX: i64 = 100;

pub(super) fn call<'a>(name: &str, member: bool, args: &[Value<'a>]) -> Option<Result<'a>> {
    if let ("lists.range", [Value::Int(n)]) = (name, args) {
        return Some(match usize::try_from(*n) {
            Ok(count) if count <= MADE_ITEMS_MAX => Ok(Value::list((0..*n).map(Value::Int).collect())),
            _ => Err(error("lists.range: size out of bounds")),
        });
    }
    if let ("sets.contains" | "sets.equivalent" | "sets.intersects", [a, b]) = (name, args) {
        return Some(sets(name, a, b));
    }
    let [list @ (Value::List(_) | Value::JsonList(..)), rest @ ..] = args else { return None };
    if !member {
        return None;
    }
    let items = match list.items() {
        Ok(items) => items,
        Err(e) => return Some(Err(e)),
    };
    Some(match (name, rest) {
        ("isSorted", []) => sorted(&items),
        ("sum", []) => sum(&items),
        ("min", []) => extreme(items, "min", Ordering::Less),
        ("max", []) => extreme(items, "max", Ordering::Greater),
        ("indexOf", [item]) => Ok(Value::Int(items.iter().position(|i| equal(i, item)).map_or(-1, |i| i as i64))),
        ("lastIndexOf", [item]) => Ok(Value::Int(items.iter().rposition(|i| equal(i, item)).map_or(-1, |i| i as i64))),
        ("slice", [Value::Int(from), Value::Int(to)]) => match (usize::try_from(*from), usize::try_from(*to)) {
            (Ok(f), Ok(t)) if f <= t && t <= items.len() => Ok(Value::list(items[f..t].to_vec())),
            (Ok(f), Ok(t)) if f > t => {
                Err(error(format!("cannot slice({f}, {t}), start index must be less than or equal to end index")))
            }
            (Ok(_), Ok(_)) => Err(error(format!("cannot slice({from}, {to}), list is length {}", items.len()))),
            _ => Err(error(format!("cannot slice({from}, {to}), negative indexes not supported"))),
        },
        ("flatten", []) => flatten(&items, 1),
        ("flatten", [Value::Int(depth)]) if *depth >= 0 => flatten(&items, (*depth).min(FLATTEN_DEPTH_MAX)),
        ("flatten", [Value::Int(_)]) => Err(error("level must be non-negative")),
        ("sort", []) => sort(items),
        ("distinct", []) => {
            let mut kept: Vec<Value<'a>> = Vec::new();
            for item in items {
                if !kept.iter().any(|k| equal(k, &item)) {
                    kept.push(item);
                }
            }
            Ok(Value::list(kept))
        }
        ("reverse", []) => Ok(Value::list(items.into_iter().rev().collect())),
        ("first", []) => Ok(Value::Optional(items.into_iter().next().map(Into::into))),
        ("last", []) => Ok(Value::Optional(items.into_iter().next_back().map(Into::into))),
        _ => return None,
    })
}

fn sorted<'a>(items: &[Value<'a>]) -> Result<'a> {
    for pair in items.windows(2) {
        match compare(&pair[0], &pair[1]) {
            Some(Ordering::Greater) => return Ok(Value::Bool(false)),
            Some(_) => {}
            None => return Err(no_overload()),
        }
    }
    Ok(Value::Bool(true))
}

/// The sum of a list; that of an empty one is an int's zero, whatever its type is.
fn sum<'a>(items: &[Value<'a>]) -> Result<'a> {
    let mut items = items.iter();
    let Some(first) = items.next() else { return Ok(Value::Int(0)) };
    items.try_fold(first.clone(), |sum, item| super::arithmetic("_+_", &sum, item))
}

fn extreme<'a>(items: Vec<Value<'a>>, name: &str, wanted: Ordering) -> Result<'a> {
    let mut items = items.into_iter();
    let Some(mut best) = items.next() else { return Err(error(format!("{name} called on empty list"))) };
    for item in items {
        if compare(&item, &best).ok_or_else(no_overload)? == wanted {
            best = item;
        }
    }
    Ok(best)
}

fn flatten<'a>(items: &[Value<'a>], depth: i64) -> Result<'a> {
    let mut out = Vec::new();
    flatten_into(items, depth, &mut out)?;
    Ok(Value::list(out))
}

fn flatten_into<'a>(items: &[Value<'a>], depth: i64, out: &mut Vec<Value<'a>>) -> std::result::Result<(), EvalError> {
    for item in items {
        match item {
            Value::List(_) | Value::JsonList(..) if depth > 0 => flatten_into(&item.items()?, depth - 1, out)?,
            other => out.push(other.clone()),
        }
        if out.len() > MADE_ITEMS_MAX {
            return Err(error("list size exceeds limit"));
        }
    }
    Ok(())
}

fn sort(mut items: Vec<Value<'_>>) -> Result<'_> {
    if items.windows(2).any(|pair| compare(&pair[0], &pair[1]).is_none()) {
        return Err(error("list elements must be comparable"));
    }
    items.sort_by(|a, b| compare(a, b).unwrap_or(Ordering::Equal));
    Ok(Value::list(items))
}

fn sets<'a>(name: &str, a: &Value<'a>, b: &Value<'a>) -> Result<'a> {
    let (a, b) = (a.items()?, b.items()?);
    let within = |inner: &[Value<'a>], outer: &[Value<'a>]| inner.iter().all(|i| outer.iter().any(|o| equal(i, o)));
    Ok(Value::Bool(match name {
        "sets.contains" => within(&b, &a),
        "sets.equivalent" => within(&a, &b) && within(&b, &a),
        _ => a.iter().any(|i| b.iter().any(|o| equal(i, o))),
    }))
}
