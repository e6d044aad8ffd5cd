//! Go's own functions.

use crate::value::{Extra, Outcome, Shape, Signature, Type, Value};
use crate::{escape, print};
use std::cmp::Ordering;

/// What calling a method of no value at all ends with.
const ZERO_VALUE: &str = "reflect: call of reflect.Value.Type on zero Value";

/// What a function of Go's takes.
pub(crate) fn signature(name: &str) -> Option<Signature> {
    const ANY: Type = Type::ANY;
    Some(match name {
        "and" | "or" | "index" | "slice" | "eq" | "call" => Signature::variadic(&[ANY], ANY),
        "not" | "len" => Signature::of(&[ANY]),
        "ne" | "lt" | "le" | "gt" | "ge" => Signature::of(&[ANY, ANY]),
        "print" | "println" | "html" | "js" | "urlquery" => Signature::variadic(&[], ANY),
        "printf" => Signature::variadic(&[Type::TEXT], ANY),
        _ => return None,
    })
}

/// What a function of Go's answers.
pub(crate) fn call<X: Extra>(name: &str, args: &[Value<X>]) -> Outcome<X> {
    let (first, rest) = args.split_first().unwrap_or((&Value::Nil, &[]));
    let second = rest.first().unwrap_or(&Value::Nil);
    Ok(match name {
        "not" => Value::Bool(!first.is_true()),
        "len" => Value::Int(match first {
            Value::Nil => return Err(ZERO_VALUE.to_owned()),
            Value::NilInterface => return Err("len of nil pointer".to_owned()),
            _ => first.count().ok_or_else(|| format!("len of type {}", first.type_name()))? as i64,
        }),
        "index" => index(first, rest)?,
        "slice" => slice(first, rest)?,
        "print" => Value::Text(print::bounded(|out| print::print(args, out))?),
        "println" => Value::Text(print::bounded(|out| print::println(args, out))?),
        "printf" => match first {
            Value::Text(format) => Value::Text(print::bounded(|out| print::printf(format, rest, out))?),
            _ => return Err("no format".to_owned()),
        },
        "html" | "js" | "urlquery" => {
            let shown: Vec<Value<X>> = args
                .iter()
                .map(|value| if value.is_nil() { Value::from("<no value>") } else { value.clone() })
                .collect();
            let text = print::bounded(|out| print::print(&shown, out))?;
            Value::Text(match name {
                "html" => escape::html(&text),
                "js" => escape::js(&text),
                _ => escape::query(&text),
            })
        }
        "eq" if rest.is_empty() => return Err("missing argument for comparison".to_owned()),
        "eq" => {
            for other in rest {
                if equal(first, other)? {
                    return Ok(Value::Bool(true));
                }
            }
            Value::Bool(false)
        }
        "ne" => Value::Bool(!equal(first, second)?),
        "lt" => Value::Bool(order(first, second)? == Some(Ordering::Less)),
        "le" => Value::Bool(matches!(order(first, second)?, Some(Ordering::Less | Ordering::Equal))),
        // What `le` and `lt` do not say, also of what has no order.
        "gt" => Value::Bool(!matches!(order(first, second)?, Some(Ordering::Less | Ordering::Equal))),
        "ge" => Value::Bool(order(first, second)? != Some(Ordering::Less)),
        "call" if first.is_nil() => return Err("call of nil".to_owned()),
        // There is nothing that could be called.
        "call" => return Err(format!("non-function {} of type {}", first.text()?, first.type_name())),
        _ => return Err(format!("function {} not defined", print::quote(name))),
    })
}

fn index<X: Extra>(first: &Value<X>, keys: &[Value<X>]) -> Outcome<X> {
    if first.is_nil() {
        return Err("index of untyped nil".to_owned());
    }
    let mut value = first.clone();
    for key in keys {
        value = match value.shape() {
            _ if value.is_nil() => return Err("index of nil pointer".to_owned()),
            Shape::Map => match key {
                Value::Text(name) => value.field(name).unwrap_or(Value::NilInterface),
                key if key.is_nil() => return Err("value is nil; should be of type string".to_owned()),
                key => return Err(format!("value has type {}; should be string", key.type_name())),
            },
            shape => {
                if shape != Shape::List && !matches!(value, Value::Text(_) | Value::Safe(_)) {
                    return Err(format!("can't index item of type {}", value.type_name()));
                }
                let place = place(key, value.count().unwrap_or(0))?;
                let item = match &value {
                    Value::Text(text) | Value::Safe(text) => {
                        text.as_bytes().get(place).map(|byte| Value::Int(i64::from(*byte)))
                    }
                    Value::List(list) => list.get(place).cloned(),
                    Value::Texts(list) => list.get(place).cloned().map(Value::Text),
                    Value::Extra(extra) => extra.items().into_iter().nth(place).map(|(_, item)| item),
                    _ => None,
                };
                // Go takes the place after the last for one, and is told off further down.
                let kind = if shape == Shape::List { "slice" } else { "string" };
                item.ok_or_else(|| format!("reflect: {kind} index out of range"))?
            }
        };
    }
    Ok(value)
}

/// A place in a list of that length, or its end.
fn place<X: Extra>(key: &Value<X>, length: usize) -> Result<usize, String> {
    match key {
        Value::Int(place) => usize::try_from(*place)
            .ok()
            .filter(|place| *place <= length)
            .ok_or_else(|| format!("index out of range: {place}")),
        key if key.is_nil() => Err("cannot index slice/array with nil".to_owned()),
        key => Err(format!("cannot index slice/array with type {}", key.type_name())),
    }
}

fn slice<X: Extra>(first: &Value<X>, bounds: &[Value<X>]) -> Outcome<X> {
    let is_text = matches!(first, Value::Text(_) | Value::Safe(_));
    let length = match first {
        first if first.is_nil() => return Err("slice of untyped nil".to_owned()),
        _ if bounds.len() > 3 => return Err(format!("too many slice indexes: {}", bounds.len())),
        _ if is_text && bounds.len() == 3 => return Err("cannot 3-index slice a string".to_owned()),
        first if is_text || first.shape() == Shape::List => first.count().unwrap_or(0),
        first => return Err(format!("can't slice item of type {}", first.type_name())),
    };
    let mut ends = [0, length, length];
    for (end, bound) in ends.iter_mut().zip(bounds) {
        *end = place(bound, length)?;
    }
    let [from, to, most] = ends;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    if to > most {
        return Err(format!("invalid slice index: {to} > {most}"));
    }
    Ok(match first {
        Value::List(list) => Value::list(list.get(from..to).unwrap_or_default().to_vec())?,
        Value::Texts(list) => Value::texts(list.get(from..to).unwrap_or_default().iter().cloned()),
        Value::Extra(extra) => Value::Extra(extra.slice(from, to).ok_or("not a list")?),
        Value::Text(text) | Value::Safe(text) => {
            // Go cuts characters into bytes; what is no character any more is shown as such.
            Value::Text(String::from_utf8_lossy(text.as_bytes().get(from..to).unwrap_or_default()).into_owned())
        }
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    })
}

/// Two values of one kind that has an order.
enum Pair {
    Ordered(Ordering),
    /// One of them is no number.
    Unordered,
}

impl Pair {
    /// `None` for kinds that differ, or that have no order.
    fn of<X: Extra>(a: &Value<X>, b: &Value<X>) -> Option<Self> {
        Some(Self::Ordered(match (a, b) {
            (Value::Text(a) | Value::Safe(a), Value::Text(b) | Value::Safe(b)) => a.cmp(b),
            (Value::Int(a) | Value::Duration(a), Value::Int(b) | Value::Duration(b)) => a.cmp(b),
            (Value::Float(a), Value::Float(b)) => match a.partial_cmp(b) {
                Some(order) => order,
                None => return Some(Self::Unordered),
            },
            _ => return None,
        }))
    }

    fn order(&self) -> Option<Ordering> {
        match self {
            Self::Ordered(order) => Some(*order),
            Self::Unordered => None,
        }
    }
}

fn is_basic<X: Extra>(value: &Value<X>) -> bool {
    matches!(
        value,
        Value::Text(_) | Value::Safe(_) | Value::Int(_) | Value::Duration(_) | Value::Float(_) | Value::Bool(_)
    )
}

fn incompatible<X: Extra>(a: &Value<X>, b: &Value<X>) -> String {
    format!("incompatible types for comparison: {} and {}", a.type_name(), b.type_name())
}

fn equal<X: Extra>(a: &Value<X>, b: &Value<X>) -> Result<bool, String> {
    if let Some(pair) = Pair::of(a, b) {
        return Ok(pair.order() == Some(Ordering::Equal));
    }
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => return Ok(a == b),
        (Value::Time(a), Value::Time(b)) => return Ok(a == b),
        _ if a.is_nil() || b.is_nil() => return Ok(a.is_nil() && b.is_nil()),
        _ => {}
    }
    if a.type_name() == b.type_name() {
        return Err(format!("non-comparable type {}: {}", b.text()?, b.type_name()));
    }
    if is_basic(a) || is_basic(b) {
        return Err(incompatible(a, b));
    }
    let (shown, other) = (a.text()?, b.text()?);
    Err(format!("non-comparable types {shown}: {}, {}: {other}", a.type_name(), b.type_name()))
}

fn order<X: Extra>(a: &Value<X>, b: &Value<X>) -> Result<Option<Ordering>, String> {
    if let Some(pair) = Pair::of(a, b) {
        return Ok(pair.order());
    }
    if !is_basic(a) || !is_basic(b) || matches!((a, b), (Value::Bool(_), Value::Bool(_))) {
        return Err("invalid type for comparison".to_owned());
    }
    Err(incompatible(a, b))
}
