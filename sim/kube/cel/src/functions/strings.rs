//! The strings extension and the regex library.

use super::Result;
use crate::{
    pattern,
    value::{Value, error},
};

/// Longest text a function may make, in characters.
const MADE_CHARS_MAX: usize = 4 << 20;

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

fn text_of<'a>(chars: &[char]) -> Value<'a> {
    Value::text(chars.iter().collect::<String>())
}

/// The place of `needle`, in characters, from `from` on.
fn find(text: &[char], needle: &[char], from: usize) -> Option<usize> {
    (from..=text.len().checked_sub(needle.len())?).find(|i| text[*i..].starts_with(needle))
}

fn find_last(text: &[char], needle: &[char], upto: usize) -> Option<usize> {
    (0..=upto.min(text.len().checked_sub(needle.len())?)).rev().find(|i| text[*i..].starts_with(needle))
}

fn place<'a>(found: Option<usize>) -> Result<'a> {
    Ok(Value::Int(found.map_or(-1, |i| i as i64)))
}

fn index(at: i64, length: usize) -> std::result::Result<usize, crate::EvalError> {
    usize::try_from(at).ok().filter(|i| *i <= length).ok_or_else(|| error(format!("index out of range: {at}")))
}

pub(super) fn call<'a>(name: &str, member: bool, args: &[Value<'a>]) -> Option<Result<'a>> {
    if !member {
        return match (name, args) {
            ("strings.quote", [Value::String(s)]) => Some(Ok(Value::text(format!("{s:?}")))),
            _ => None,
        };
    }
    if let ("join", [list, rest @ ..]) = (name, args) {
        let separator = match rest {
            [] => "",
            [Value::String(s)] => s,
            _ => return None,
        };
        return Some(join(list, separator));
    }
    let [Value::String(s), rest @ ..] = args else { return None };
    Some(match (name, rest) {
        ("contains", [Value::String(t)]) => Ok(Value::Bool(s.contains(&**t))),
        ("startsWith", [Value::String(t)]) => Ok(Value::Bool(s.starts_with(&**t))),
        ("endsWith", [Value::String(t)]) => Ok(Value::Bool(s.ends_with(&**t))),
        ("charAt", [Value::Int(i)]) => {
            let all = chars(s);
            index(*i, all.len()).map(|i| all.get(i).map_or_else(|| Value::text(""), |c| Value::text(c.to_string())))
        }
        ("indexOf", [Value::String(t)]) => place(find(&chars(s), &chars(t), 0)),
        ("indexOf", [Value::String(t), Value::Int(from)]) => {
            let all = chars(s);
            index(*from, all.len()).and_then(|from| place(find(&all, &chars(t), from)))
        }
        ("lastIndexOf", [Value::String(t)]) => place(find_last(&chars(s), &chars(t), usize::MAX)),
        ("lastIndexOf", [Value::String(t), Value::Int(upto)]) => {
            let all = chars(s);
            index(*upto, all.len()).and_then(|upto| place(find_last(&all, &chars(t), upto)))
        }
        ("lowerAscii", []) => Ok(Value::text(s.to_ascii_lowercase())),
        ("upperAscii", []) => Ok(Value::text(s.to_ascii_uppercase())),
        ("trim", []) => Ok(Value::text(s.trim())),
        ("substring", [Value::Int(from)]) => {
            let all = chars(s);
            index(*from, all.len()).map(|from| text_of(&all[from..]))
        }
        ("substring", [Value::Int(from), Value::Int(to)]) => {
            let all = chars(s);
            index(*from, all.len()).and_then(|f| index(*to, all.len()).map(|t| (f, t))).and_then(|(f, t)| {
                if f > t {
                    return Err(error(format!("invalid substring range. start: {f}, end: {t}")));
                }
                Ok(text_of(&all[f..t]))
            })
        }
        ("replace", [Value::String(old), Value::String(new)]) => replace(s, old, new, -1),
        ("replace", [Value::String(old), Value::String(new), Value::Int(n)]) => replace(s, old, new, *n),
        ("split", [Value::String(separator)]) => Ok(split(s, separator, -1)),
        ("split", [Value::String(separator), Value::Int(n)]) => Ok(split(s, separator, *n)),
        ("find", [Value::String(regex)]) => {
            pattern::compile(regex).map_err(error).map(|r| Value::text(r.find(s).map_or("", |m| m.as_str())))
        }
        ("findAll", [Value::String(regex)]) => find_all(s, regex, -1),
        ("findAll", [Value::String(regex), Value::Int(n)]) => find_all(s, regex, *n),
        _ => return None,
    })
}

fn join<'a>(list: &Value<'a>, separator: &str) -> Result<'a> {
    let mut out = String::new();
    for (i, item) in list.items()?.iter().enumerate() {
        let Value::String(item) = item else { return Err(crate::value::no_overload()) };
        if i > 0 {
            out.push_str(separator);
        }
        out.push_str(item);
        if out.len() > MADE_CHARS_MAX {
            return Err(error("string size exceeds limit"));
        }
    }
    Ok(Value::text(out))
}

fn replace<'a>(text: &str, old: &str, new: &str, count: i64) -> Result<'a> {
    let times = text.matches(old).count().min(usize::try_from(count).unwrap_or(usize::MAX));
    if text.len().saturating_add(times.saturating_mul(new.len())) > MADE_CHARS_MAX {
        return Err(error("string size exceeds limit"));
    }
    Ok(Value::text(match usize::try_from(count) {
        Ok(count) => text.replacen(old, new, count),
        Err(_) => text.replace(old, new),
    }))
}

fn split<'a>(text: &str, separator: &str, count: i64) -> Value<'a> {
    let limit = usize::try_from(count).unwrap_or(usize::MAX);
    let parts: Vec<Value<'a>> = if limit == 0 {
        Vec::new()
    } else if separator.is_empty() {
        // Go splits into characters; the last part keeps what is left.
        let all = chars(text);
        let singles = all.len().min(limit.saturating_sub(1));
        let mut parts: Vec<Value<'a>> = all[..singles].iter().map(|c| Value::text(c.to_string())).collect();
        if singles < all.len() {
            parts.push(text_of(&all[singles..]));
        }
        parts
    } else {
        text.splitn(limit, separator).map(Value::text).collect()
    };
    Value::list(parts)
}

fn find_all<'a>(text: &str, regex: &str, count: i64) -> Result<'a> {
    let regex = pattern::compile(regex).map_err(error)?;
    let limit = usize::try_from(count).unwrap_or(usize::MAX);
    Ok(Value::list(regex.find_iter(text).take(limit).map(|m| Value::text(m.as_str())).collect()))
}
