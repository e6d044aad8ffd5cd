//! The functions of templates: Go's own and Alertmanager's.

use super::exec::Surroundings;
use super::value::{Value, float, utc};
use std::cmp::Ordering;
use std::collections::BTreeMap;

const NAMES: [&str; 38] = [
    // Go's own; `call` is left out, since there is nothing to call.
    "and",
    "or",
    "not",
    "len",
    "index",
    "slice",
    "print",
    "printf",
    "println",
    "html",
    "js",
    "urlquery",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    // Alertmanager's
    "toUpper",
    "toLower",
    "title",
    "trimSpace",
    "join",
    "match",
    "safeHtml",
    "safeUrl",
    "urlUnescape",
    "reReplaceAll",
    "stringSlice",
    "date",
    "tz",
    "now",
    "since",
    "humanizeDuration",
    "toJson",
    "list",
    "append",
    "dict",
];

pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

type Outcome = Result<Value, String>;

fn wrong_count(name: &str, want: &str, got: usize) -> String {
    format!("wrong number of args for {name}: want {want} got {got}")
}

fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) | Value::Safe(text) => Ok(text),
        other => Err(format!("wrong type for value; expected string; got {}", other.type_name())),
    }
}

/// The texts of a list of texts.
fn texts(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Texts(list) => Ok(list.clone()),
        other => Err(format!("wrong type for value; expected []string; got {}", other.type_name())),
    }
}

fn regex(expression: &str) -> Result<regex::Regex, String> {
    regex::RegexBuilder::new(expression)
        .size_limit(1 << 20)
        .build()
        .map_err(|error| format!("error parsing regexp: {}", error.to_string().lines().last().unwrap_or_default()))
}

fn instant(value: &Value) -> Result<(Option<sim_clock::Timestamp>, i32, &str), String> {
    match value {
        Value::Time(at, offset, zone) => Ok((*at, *offset, zone)),
        other => Err(format!("wrong type for value; expected time.Time; got {}", other.type_name())),
    }
}

pub(super) fn call(name: &str, args: Vec<Value>, surroundings: Surroundings) -> Outcome {
    let count = args.len();
    let fixed = |want: usize| if count == want { Ok(()) } else { Err(wrong_count(name, &want.to_string(), count)) };
    let error = |message: String| format!("error calling {name}: {message}");
    let get = |place: usize| args.get(place).unwrap_or(&Value::Nil);
    Ok(match name {
        "and" | "or" | "not" => {
            fixed(1)?;
            if name == "not" { Value::Bool(!get(0).is_true()) } else { get(0).clone() }
        }
        "len" => {
            fixed(1)?;
            let length = get(0).len().ok_or_else(|| error(format!("len of type {}", get(0).type_name())))?;
            Value::Int(length as i64)
        }
        "index" => index(&args).map_err(error)?,
        "slice" => slice(&args).map_err(error)?,
        "print" => Value::Text(print(&args)),
        "println" => Value::Text(args.iter().map(Value::print).collect::<Vec<_>>().join(" ") + "\n"),
        "printf" => {
            let (format, values) = args.split_first().ok_or_else(|| wrong_count(name, "at least 1", 0))?;
            Value::Text(printf(text(format)?, values))
        }
        "html" => Value::Text(escape_html_template(&print(&args))),
        "js" => Value::Text(escape_js(&print(&args))),
        "urlquery" => Value::Text(query_escape(&print(&args))),
        "eq" => {
            let (first, others) = args
                .split_first()
                .filter(|(_, others)| !others.is_empty())
                .ok_or_else(|| error("missing argument for comparison".to_owned()))?;
            let mut equal = false;
            for other in others {
                equal |= compare(first, other).map_err(error)? == Some(Ordering::Equal);
            }
            Value::Bool(equal)
        }
        "ne" | "lt" | "le" | "gt" | "ge" => {
            fixed(2)?;
            let order = compare(get(0), get(1)).map_err(error)?;
            Value::Bool(match name {
                "ne" => order != Some(Ordering::Equal),
                "lt" => order == Some(Ordering::Less),
                "le" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                "gt" => order == Some(Ordering::Greater),
                _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            })
        }
        "toUpper" => {
            fixed(1)?;
            Value::Text(text(get(0))?.to_uppercase())
        }
        "toLower" => {
            fixed(1)?;
            Value::Text(text(get(0))?.to_lowercase())
        }
        "title" => {
            fixed(1)?;
            Value::Text(title(text(get(0))?))
        }
        "trimSpace" => {
            fixed(1)?;
            Value::Text(text(get(0))?.trim().to_owned())
        }
        "join" => {
            fixed(2)?;
            Value::Text(texts(get(1))?.join(text(get(0))?))
        }
        "match" => {
            fixed(2)?;
            Value::Bool(regex(text(get(0))?).map_err(error)?.is_match(text(get(1))?))
        }
        "safeHtml" | "safeUrl" => {
            fixed(1)?;
            Value::Safe(text(get(0))?.to_owned())
        }
        "urlUnescape" => {
            fixed(1)?;
            Value::Text(query_unescape(text(get(0))?).map_err(error)?)
        }
        "reReplaceAll" => {
            fixed(3)?;
            let pattern = regex(text(get(0))?).map_err(error)?;
            Value::Text(pattern.replace_all(text(get(2))?, text(get(1))?).into_owned())
        }
        "stringSlice" => Value::Texts(args.iter().map(|arg| text(arg).map(str::to_owned)).collect::<Result<_, _>>()?),
        "date" => {
            fixed(2)?;
            let (at, offset, zone) = instant(get(1))?;
            Value::Text(super::time::format(at, offset, zone, text(get(0))?))
        }
        "tz" => {
            fixed(2)?;
            let (at, ..) = instant(get(1))?;
            in_zone(at, text(get(0))?).map_err(error)?
        }
        "now" => {
            fixed(0)?;
            utc(Some(surroundings.now))
        }
        "since" => {
            fixed(1)?;
            let (at, ..) = instant(get(0))?;
            let from = at.map_or(i64::MIN, sim_clock::Timestamp::as_nanos);
            Value::Duration(surroundings.now.as_nanos().saturating_sub(from))
        }
        "humanizeDuration" => {
            fixed(1)?;
            let seconds = match get(0) {
                Value::Int(value) => *value as f64,
                Value::Float(value) => *value,
                Value::Duration(nanos) => *nanos as f64 / 1e9,
                Value::Text(text) => {
                    text.parse().map_err(|_| error(format!("strconv.ParseFloat: parsing {text:?}: invalid syntax")))?
                }
                other => return Err(error(format!("can't convert {} to float", other.type_name()))),
            };
            Value::Text(humanize_duration(seconds))
        }
        "toJson" => {
            fixed(1)?;
            Value::Text(get(0).json())
        }
        "list" => Value::List(args),
        "append" => {
            let mut args = args.into_iter();
            match args.next() {
                Some(Value::List(mut list)) => {
                    list.extend(args);
                    Value::List(list)
                }
                Some(other) => {
                    return Err(format!("wrong type for value; expected []interface {{}}; got {}", other.type_name()));
                }
                None => return Err(wrong_count(name, "at least 1", 0)),
            }
        }
        "dict" => {
            if !count.is_multiple_of(2) {
                return Err(error("dict requires an even number of arguments".to_owned()));
            }
            let mut map = BTreeMap::new();
            for pair in args.chunks_exact(2) {
                match pair {
                    [Value::Text(name), value] => map.insert(name.clone(), value.clone()),
                    _ => return Err(error("dict keys must be strings".to_owned())),
                };
            }
            Value::Map(map)
        }
        _ => return Err(format!("function {name:?} not defined")),
    })
}

/// What an instant or a duration answers.
pub(super) fn time_method(value: &Value, name: &str, args: &[Value]) -> Option<Outcome> {
    let no_args = |value: Value| if args.is_empty() { Ok(value) } else { Err(wrong_count(name, "0", args.len())) };
    if let Value::Duration(nanos) = value {
        return Some(no_args(match name {
            "Seconds" => Value::Float(*nanos as f64 / 1e9),
            "Minutes" => Value::Float(*nanos as f64 / 60e9),
            "Hours" => Value::Float(*nanos as f64 / 3600e9),
            "Milliseconds" => Value::Int(nanos / 1_000_000),
            "Nanoseconds" => Value::Int(*nanos),
            _ => return None,
        }));
    }
    let Value::Time(at, offset, zone) = value else { return None };
    let nanos = at.map_or(0, sim_clock::Timestamp::as_nanos);
    let number =
        |layout: &str| super::time::format(*at, *offset, zone, layout).trim().parse().map_or(Value::Nil, Value::Int);
    Some(match (name, args) {
        ("Format", [Value::Text(layout)]) => Ok(Value::Text(super::time::format(*at, *offset, zone, layout))),
        ("Format", _) => Err(wrong_count(name, "1", args.len())),
        ("Sub", [Value::Time(other, ..)]) => {
            Ok(Value::Duration(nanos.saturating_sub(other.map_or(0, sim_clock::Timestamp::as_nanos))))
        }
        ("Add", [Value::Duration(by) | Value::Int(by)]) => {
            Ok(Value::Time(Some(sim_clock::Timestamp::from_nanos(nanos.saturating_add(*by))), *offset, zone.clone()))
        }
        ("Before", [Value::Time(other, ..)]) => Ok(Value::Bool(at < other)),
        ("After", [Value::Time(other, ..)]) => Ok(Value::Bool(at > other)),
        ("Equal", [Value::Time(other, ..)]) => Ok(Value::Bool(at == other)),
        ("UTC" | "Local", []) => Ok(utc(*at)),
        ("IsZero", []) => Ok(Value::Bool(at.is_none())),
        ("Unix", []) => Ok(Value::Int(at.map_or(-62_135_596_800, sim_clock::Timestamp::as_secs))),
        ("UnixMilli", []) => Ok(Value::Int(nanos.div_euclid(1_000_000))),
        ("UnixNano", []) => Ok(Value::Int(nanos)),
        ("Year", []) => Ok(number("2006")),
        ("Day", []) => Ok(number("2")),
        ("Hour", []) => Ok(number("15")),
        ("Minute", []) => Ok(number("4")),
        ("Second", []) => Ok(number("5")),
        ("YearDay", []) => Ok(number("__2")),
        ("Month", []) => Ok(Value::Text(super::time::format(*at, *offset, zone, "January"))),
        ("Weekday", []) => Ok(Value::Text(super::time::format(*at, *offset, zone, "Monday"))),
        _ => return None,
    })
}

fn in_zone(at: Option<sim_clock::Timestamp>, name: &str) -> Outcome {
    let zone = crate::time_interval::location(name)?;
    let instant = jiff::Timestamp::from_nanosecond(i128::from(at.map_or(0, sim_clock::Timestamp::as_nanos)))
        .map_err(|error| error.to_string())?;
    let info = zone.to_offset_info(instant);
    Ok(Value::Time(at, info.offset().seconds(), info.abbreviation().to_owned()))
}

/// Texts side by side; a blank between two that are none.
fn print(args: &[Value]) -> String {
    let mut out = String::new();
    let is_text = |value: &Value| matches!(value, Value::Text(_) | Value::Safe(_));
    for (place, value) in args.iter().enumerate() {
        let before = place.checked_sub(1).and_then(|place| args.get(place));
        if before.is_some_and(|before| !is_text(before) && !is_text(value)) {
            out.push(' ');
        }
        out.push_str(&value.print());
    }
    out
}

fn index(args: &[Value]) -> Outcome {
    let (first, keys) = args.split_first().ok_or("wrong number of args for index: want at least 1 got 0")?;
    let mut value = first.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Kv(map), Value::Text(name)) => Value::Text(map.get(name).cloned().unwrap_or_default()),
            (Value::Map(map), Value::Text(name)) => map.get(name).cloned().unwrap_or(Value::Nil),
            (Value::Kv(_) | Value::Map(_), other) => {
                return Err(format!("value has type {}; should be string", other.type_name()));
            }
            (Value::Text(text), Value::Int(place)) => usize::try_from(*place)
                .ok()
                .and_then(|place| text.as_bytes().get(place))
                .map(|byte| Value::Int(i64::from(*byte)))
                .ok_or_else(|| format!("index out of range: {place}"))?,
            (list, Value::Int(place)) => {
                let items = list.items().ok_or_else(|| format!("can't index item of type {}", list.type_name()))?;
                let found = usize::try_from(*place).ok().and_then(|place| items.into_iter().nth(place));
                found.map(|(_, item)| item).ok_or_else(|| format!("index out of range: {place}"))?
            }
            (_, other) => return Err(format!("cannot index slice/array with type {}", other.type_name())),
        };
    }
    Ok(value)
}

fn slice(args: &[Value]) -> Outcome {
    let (first, bounds) = args.split_first().ok_or("wrong number of args for slice: want at least 1 got 0")?;
    let length = first.len().ok_or_else(|| format!("can't slice item of type {}", first.type_name()))?;
    let bound = |place: usize, otherwise: usize| match bounds.get(place) {
        None => Ok(otherwise),
        Some(Value::Int(bound)) => usize::try_from(*bound)
            .ok()
            .filter(|bound| *bound <= length)
            .ok_or_else(|| format!("index out of range: {bound}")),
        Some(other) => Err(format!("cannot index slice/array with type {}", other.type_name())),
    };
    let (from, to) = (bound(0, 0)?, bound(1, length)?);
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    Ok(match first {
        Value::Text(text) => Value::Text(text.get(from..to).ok_or("slice inside a character")?.to_owned()),
        Value::List(list) => Value::List(list.get(from..to).unwrap_or_default().to_vec()),
        Value::Texts(list) => Value::Texts(list.get(from..to).unwrap_or_default().to_vec()),
        Value::Alerts(list) => Value::Alerts(list.get(from..to).unwrap_or_default().to_vec()),
        Value::Pairs(list) => Value::Pairs(list.get(from..to).unwrap_or_default().to_vec()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    })
}

fn compare(a: &Value, b: &Value) -> Result<Option<Ordering>, String> {
    match (a, b) {
        (Value::Text(a) | Value::Safe(a), Value::Text(b) | Value::Safe(b)) => Ok(Some(a.cmp(b))),
        (Value::Bool(a), Value::Bool(b)) => Ok(Some(a.cmp(b))),
        (Value::Int(a) | Value::Duration(a), Value::Int(b) | Value::Duration(b)) => Ok(Some(a.cmp(b))),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::Nil, Value::Nil) => Ok(Some(Ordering::Equal)),
        (Value::Nil, _) | (_, Value::Nil) => Ok(None),
        (Value::List(_) | Value::Kv(_) | Value::Map(_), _) => {
            Err(format!("non-comparable type {}: {}", a.print(), a.type_name()))
        }
        _ => Err("incompatible types for comparison".to_owned()),
    }
}

/// What HTML could misread, in text and in quoted attributes.
pub(super) fn escape_html(text: &str) -> String {
    escape_html_template(text).replace('+', "&#43;")
}

fn escape_html_template(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\0' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A URL for an attribute: nothing but http, https and mailto, with what is no character of a URL escaped.
pub(super) fn normal_url(text: &str) -> String {
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

fn escape_js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

/// A text in a URL's query.
fn query_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
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

/// Every word with a capital and small letters behind it.
fn title(text: &str) -> String {
    let mut inside = false;
    text.chars()
        .flat_map(|c| {
            let first = !inside;
            inside = c.is_alphanumeric() || (inside && matches!(c, '\'' | '_' | '’' | '.' | ':'));
            let cased: Vec<char> = if first { c.to_uppercase().collect() } else { c.to_lowercase().collect() };
            cased
        })
        .collect()
}

/// `1d 2h 3m 4s`, `12.3ms`.
fn humanize_duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return significant(seconds, 4);
    }
    if seconds == 0.0 {
        return "0s".to_owned();
    }
    if seconds.abs() >= 1.0 {
        let sign = if seconds < 0.0 { "-" } else { "" };
        let whole = seconds.abs() as i64;
        let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
        if days != 0 {
            return format!("{sign}{days}d {hours}h {minutes}m {}s", whole % 60);
        }
        if hours != 0 {
            return format!("{sign}{hours}h {minutes}m {}s", whole % 60);
        }
        if minutes != 0 {
            return format!("{sign}{minutes}m {}s", whole % 60);
        }
        return format!("{}s", significant(seconds, 4));
    }
    let mut value = seconds;
    let mut prefix = "";
    for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = next;
        value *= 1000.0;
    }
    format!("{}{prefix}s", significant(value, 4))
}

/// `%.<digits>g`
fn significant(value: f64, digits: usize) -> String {
    if !value.is_finite() || value == 0.0 {
        return sim_wire::format_float(value);
    }
    let rounded: f64 = format!("{value:.*e}", digits.max(1) - 1).parse().unwrap_or(value);
    let exponent = rounded.abs().log10().floor() as i32;
    if exponent < -4 || exponent >= digits.max(1) as i32 {
        sim_wire::sample::exponent_form(rounded)
    } else {
        format!("{rounded}")
    }
}

fn printf(format: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut values = values.iter();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let flags_end = after.find(|c| !"+-# 0".contains(c)).unwrap_or(after.len());
        let (flags, after) = after.split_at(flags_end);
        let width_end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (width, after) = after.split_at(width_end);
        let (precision, after) = match after.strip_prefix('.') {
            Some(after) => {
                let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
                let (digits, after) = after.split_at(end);
                (Some(digits.parse::<usize>().unwrap_or(0).min(1000)), after)
            }
            None => (None, after),
        };
        let Some(verb) = after.chars().next() else {
            out.push_str("%!(NOVERB)");
            return out;
        };
        rest = &after[verb.len_utf8()..];
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = values.next() else {
            out.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        let mut text = formatted(verb, flags, precision, value);
        let width = width.parse::<usize>().unwrap_or(0).min(1000);
        let missing = width.saturating_sub(text.chars().count());
        let numeric = matches!(value, Value::Int(_) | Value::Float(_));
        if flags.contains('+') && numeric && !text.starts_with('-') {
            text.insert(0, '+');
        }
        if flags.contains('-') {
            out.push_str(&text);
            out.push_str(&" ".repeat(missing));
        } else {
            out.push_str(&if flags.contains('0') && numeric { "0" } else { " " }.repeat(missing));
            out.push_str(&text);
        }
    }
    out.push_str(rest);
    let extra: Vec<String> = values.map(|value| format!("{}={}", value.type_name(), value.print())).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn formatted(verb: char, flags: &str, precision: Option<usize>, value: &Value) -> String {
    match (verb, value) {
        ('f' | 'F', Value::Float(value)) if value.is_finite() => format!("{value:.*}", precision.unwrap_or(6)),
        ('e', Value::Float(value)) if value.is_finite() => {
            let text = format!("{value:.*e}", precision.unwrap_or(6));
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent: i32 = exponent.parse().unwrap_or(0);
            format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
        }
        ('g', Value::Float(value)) => precision.map_or_else(|| float(*value), |digits| significant(*value, digits)),
        ('d', Value::Int(value) | Value::Duration(value)) => value.to_string(),
        ('x', Value::Int(value)) => format!("{value:x}"),
        ('X', Value::Int(value)) => format!("{value:X}"),
        ('o', Value::Int(value)) => format!("{value:o}"),
        ('b', Value::Int(value)) => format!("{value:b}"),
        ('c', Value::Int(value)) => {
            u32::try_from(*value).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string()
        }
        ('s' | 'v', Value::Text(text) | Value::Safe(text)) => {
            if flags.contains('#') && verb == 'v' {
                return crate::matcher::go_quote(text);
            }
            precision.map_or_else(|| text.clone(), |most| text.chars().take(most).collect())
        }
        ('x', Value::Text(text)) => text.bytes().fold(String::new(), |out, byte| out + &format!("{byte:02x}")),
        ('q', Value::Text(text)) => crate::matcher::go_quote(text),
        ('q', Value::Texts(list)) => {
            format!("[{}]", list.iter().map(|text| crate::matcher::go_quote(text)).collect::<Vec<_>>().join(" "))
        }
        ('t', Value::Bool(value)) => value.to_string(),
        ('v', _) => match value {
            Value::Nil => "<nil>".to_owned(),
            other => other.print(),
        },
        ('T', _) => value.type_name().to_owned(),
        ('s', Value::Nil) => "%!s(<nil>)".to_owned(),
        ('s', Value::Int(_) | Value::Float(_) | Value::Bool(_)) => {
            format!("%!s({}={})", value.type_name(), value.print())
        }
        ('s', _) => value.print(),
        (_, Value::Nil) => format!("%!{verb}(<nil>)"),
        (_, other) => format!("%!{verb}({}={})", other.type_name(), other.print()),
    }
}
