//! Alertmanager's functions, and how its pages escape.

use super::value::{Special, Value, json, utc};
use sim_clock::Timestamp;
use sim_template::{Host, Outcome, Signature, Time, Type, escape, print, words};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a rendering needs to know of the world.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Surroundings {
    /// What `now` says.
    pub now: Timestamp,
    /// Whether what actions print is escaped.
    pub html: bool,
}

impl Host for Surroundings {
    type Extra = Special;

    fn signature(&self, name: &str) -> Option<Signature> {
        const TEXT: Type = Type::TEXT;
        Some(match name {
            "toUpper" | "toLower" | "title" | "trimSpace" | "safeHtml" | "safeUrl" | "urlUnescape" => {
                Signature::of(&[TEXT])
            }
            "join" => Signature::of(&[TEXT, Type::TEXTS]),
            "match" => Signature::of(&[TEXT, TEXT]),
            "reReplaceAll" => Signature::of(&[TEXT, TEXT, TEXT]),
            "stringSlice" => Signature::variadic(&[], TEXT),
            "date" | "tz" => Signature::of(&[TEXT, Type::TIME]),
            "now" => Signature::of(&[]),
            "since" => Signature::of(&[Type::TIME]),
            "humanizeDuration" | "toJson" => Signature::of(&[Type::ANY]),
            "list" | "dict" => Signature::variadic(&[], Type::ANY),
            "append" => Signature::variadic(&[Type::LIST], Type::ANY),
            _ => return None,
        })
    }

    fn call(&self, name: &str, args: &[Value]) -> Outcome<Special> {
        Ok(match (name, args) {
            ("toUpper", [Value::Text(text)]) => Value::Text(text.to_uppercase()),
            ("toLower", [Value::Text(text)]) => Value::Text(text.to_lowercase()),
            ("title", [Value::Text(text)]) => Value::Text(words::title(text, true)),
            ("trimSpace", [Value::Text(text)]) => Value::from(text.trim()),
            ("join", [Value::Text(between), texts]) => {
                let empty = Vec::new();
                let texts = if let Value::Texts(texts) = texts { texts } else { &empty };
                Value::Text(print::bounded(|out| {
                    texts.iter().enumerate().try_for_each(|(place, text)| {
                        out.write_str(if place > 0 { between } else { "" })?;
                        out.write_str(text)
                    })
                })?)
            }
            ("match", [Value::Text(pattern), Value::Text(text)]) => Value::Bool(words::regex(pattern)?.is_match(text)),
            ("safeHtml" | "safeUrl", [Value::Text(text)]) => Value::Safe(text.clone()),
            ("urlUnescape", [Value::Text(text)]) => Value::Text(query_unescape(text)?),
            ("reReplaceAll", [Value::Text(pattern), Value::Text(replacement), Value::Text(text)]) => {
                Value::Text(words::replace_all(&words::regex(pattern)?, text, replacement)?)
            }
            ("stringSlice", _) => Value::texts(
                args.iter().filter_map(|arg| if let Value::Text(text) = arg { Some(text.clone()) } else { None }),
            ),
            ("date", [Value::Text(layout), Value::Time(time)]) => Value::Text(time.format(layout)),
            ("tz", [Value::Text(zone), Value::Time(time)]) => in_zone(time, zone)?,
            ("now", _) => utc(Some(self.now)),
            ("since", [Value::Time(time)]) => {
                let from = time.at.map_or(i64::MIN, Timestamp::as_nanos);
                Value::Duration(self.now.as_nanos().saturating_sub(from))
            }
            ("humanizeDuration", [value]) => Value::Text(words::humanize_duration(words::number(value)?)),
            ("toJson", [value]) => Value::Text(print::bounded(|out| json(value, out))?),
            ("list", _) => Value::list(args.to_vec())?,
            ("append", [list, more @ ..]) => {
                let mut items = if let Value::List(list) = list { list.to_vec() } else { Vec::new() };
                items.extend_from_slice(more);
                Value::list(items)?
            }
            ("dict", _) => {
                if !args.len().is_multiple_of(2) {
                    return Err("dict requires an even number of arguments".to_owned());
                }
                let mut map = BTreeMap::new();
                for pair in args.chunks_exact(2) {
                    match pair {
                        [Value::Text(name), value] => map.insert(name.clone(), value.clone()),
                        _ => return Err("dict keys must be strings".to_owned()),
                    };
                }
                Value::map(map)?
            }
            _ => return Err(format!("{name} cannot take these arguments")),
        })
    }

    fn shown(&self, before: &str, value: &Value, printed: String) -> String {
        if !self.html || matches!(value, Value::Safe(_)) {
            return printed;
        }
        // A page says nothing where a text says that there is no value.
        if value.is_nil() {
            return String::new();
        }
        let in_url = ["href=\"", "src=\""].iter().any(|attribute| before.ends_with(attribute));
        let text = if in_url { normal_url(&printed) } else { printed };
        escape::html(&text).replace('+', "&#43;")
    }
}

/// The same instant in another zone.
fn in_zone(time: &Time, name: &str) -> Result<Value, String> {
    let zone = crate::time_interval::location(name)?;
    let instant = jiff::Timestamp::from_nanosecond(i128::from(time.nanos())).map_err(|error| error.to_string())?;
    let info = zone.to_offset_info(instant);
    Ok(Value::Time(Time {
        at: time.at,
        offset: info.offset().seconds(),
        zone: Arc::from(info.abbreviation()),
        pointer: false,
    }))
}

/// A URL for an attribute: nothing but http, https and mailto, with what is no character of a URL escaped.
fn normal_url(text: &str) -> String {
    if let Some((scheme, _)) = text.split_once(':').filter(|(scheme, _)| !scheme.contains('/'))
        && !["http", "https", "mailto"].contains(&scheme.to_ascii_lowercase().as_str())
    {
        return "#ZgotmplZ".to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!#$&*+,/:;=?@[]%".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02x}"));
        }
    }
    out
}

fn query_unescape(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
                let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
                    let shown = rest.get(..rest.len().min(2)).map(String::from_utf8_lossy).unwrap_or_default();
                    return Err(format!("invalid URL escape {:?}", format!("%{shown}")));
                };
                bytes.push(byte);
                rest = rest.get(2..).unwrap_or_default();
            }
            byte => bytes.push(*byte),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
