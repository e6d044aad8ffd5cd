//! The functions of templates.

use super::{Context, QuerySample, Value};
use std::cmp::Ordering;

const NAMES: [&str; 41] = [
    "tableLink",
    "graphLink",
    "urlquery",
    "query",
    "first",
    "label",
    "value",
    "strvalue",
    "sortByLabel",
    "args",
    "reReplaceAll",
    "match",
    "title",
    "toUpper",
    "toLower",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "toTime",
    "stripPort",
    "stripDomain",
    "parseDuration",
    "safeHtml",
    "externalURL",
    "pathPrefix",
    "printf",
    "print",
    "println",
    "len",
    "index",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "and",
    "or",
    "not",
];

pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

fn number(value: &Value) -> Result<f64, String> {
    match value {
        Value::Number(value) => Ok(*value),
        Value::Integer(value) => Ok(*value as f64),
        Value::Text(text) => {
            let infinite = match text.as_str() {
                "+Inf" | "Inf" => Some(f64::INFINITY),
                "-Inf" => Some(f64::NEG_INFINITY),
                _ => None,
            };
            infinite.map_or_else(
                || text.parse().map_err(|_| format!("strconv.ParseFloat: parsing {text:?}: invalid syntax")),
                Ok,
            )
        }
        other => Err(format!("can't convert {} to float", other.print())),
    }
}

fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(format!("wrong type for value; expected string; got {}", other.print())),
    }
}

fn sample(value: &Value) -> Result<&QuerySample, String> {
    match value {
        Value::Sample(sample) => Ok(sample),
        other => Err(format!("wrong type for value; expected a sample; got {}", other.print())),
    }
}

fn regex(expression: &str) -> Result<regex::Regex, String> {
    regex::Regex::new(expression).map_err(|error| error.to_string())
}

/// The path of a URL, without the slash at its end.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    rest.find('/').map_or("", |at| rest[at..].trim_end_matches('/'))
}

pub(super) fn call(name: &str, args: Vec<Value>, context: &Context<'_>) -> Result<Value, String> {
    let fixed = |count: usize| {
        if args.len() == count {
            Ok(())
        } else {
            Err(format!("wrong number of args for {name}: want {count} got {}", args.len()))
        }
    };
    let one = || fixed(1).map(|()| &args[0]);
    Ok(match name {
        "query" => Value::List((context.query)(text(one()?)?)?.into_iter().map(Value::Sample).collect()),
        "first" => match one()? {
            Value::List(list) => list.first().cloned().ok_or("first() called on vector with no elements")?,
            other => return Err(format!("first() called on {}", other.print())),
        },
        "label" => {
            fixed(2)?;
            Value::Text(sample(&args[1])?.labels.value(text(&args[0])?).to_owned())
        }
        "value" => Value::Number(sample(one()?)?.value),
        "strvalue" => Value::Text(sample(one()?)?.labels.value("__value__").to_owned()),
        "sortByLabel" => {
            fixed(2)?;
            let Value::List(list) = &args[1] else { return Err("sortByLabel needs a query result".to_owned()) };
            let mut samples = list.iter().map(|value| sample(value).cloned()).collect::<Result<Vec<_>, _>>()?;
            let label = text(&args[0])?;
            samples.sort_by(|a, b| a.labels.value(label).cmp(b.labels.value(label)));
            Value::List(samples.into_iter().map(Value::Sample).collect())
        }
        "args" => {
            Value::Map(args.iter().enumerate().map(|(index, value)| (format!("arg{index}"), value.clone())).collect())
        }
        "reReplaceAll" => {
            fixed(3)?;
            Value::Text(regex(text(&args[0])?)?.replace_all(text(&args[2])?, text(&args[1])?).into_owned())
        }
        "match" => {
            fixed(2)?;
            Value::Bool(regex(text(&args[0])?)?.is_match(text(&args[1])?))
        }
        "title" => Value::Text(title(text(one()?)?)),
        "toUpper" => Value::Text(text(one()?)?.to_uppercase()),
        "toLower" => Value::Text(text(one()?)?.to_lowercase()),
        "humanize" => Value::Text(humanize(number(one()?)?)),
        "humanize1024" => Value::Text(humanize_1024(number(one()?)?)),
        "humanizeDuration" => Value::Text(humanize_duration(number(one()?)?)),
        "humanizePercentage" => Value::Text(format!("{}%", significant(number(one()?)? * 100.0, 4))),
        "humanizeTimestamp" | "toTime" => Value::Text(timestamp(number(one()?)?)?),
        "stripPort" => Value::Text(strip_port(text(one()?)?).to_owned()),
        "stripDomain" => Value::Text(strip_domain(text(one()?)?)),
        "parseDuration" => {
            Value::Number(sim_wire::duration::parse(text(one()?)?).map_err(|error| error.to_string())?.as_secs_f64())
        }
        "tableLink" => Value::Text(format!("/graph?g0.expr={}&g0.tab=1", query_escape(text(one()?)?))),
        "graphLink" => Value::Text(format!("/graph?g0.expr={}&g0.tab=0", query_escape(text(one()?)?))),
        "urlquery" => Value::Text(query_escape(&args.iter().map(Value::print).collect::<String>())),
        "safeHtml" => one()?.clone(),
        "externalURL" => Value::Text(context.external.url.clone()),
        "pathPrefix" => Value::Text(path_of(&context.external.url).to_owned()),
        "printf" => {
            let (format, values) =
                args.split_first().ok_or("wrong number of args for printf: want at least 1 got 0")?;
            Value::Text(printf(text(format)?, values))
        }
        "print" | "println" => {
            let joined = args.iter().map(Value::print).collect::<Vec<_>>().join(if name == "print" { "" } else { " " });
            Value::Text(if name == "print" { joined } else { joined + "\n" })
        }
        "len" => Value::Integer(match one()? {
            Value::Text(text) => text.len(),
            Value::List(list) => list.len(),
            Value::Map(map) => map.len(),
            other => return Err(format!("len of type {}", other.print())),
        } as i64),
        "index" => index(&args)?,
        "eq" => {
            let (first, others) =
                args.split_first().filter(|(_, others)| !others.is_empty()).ok_or("missing argument for comparison")?;
            let equal = others.iter().map(|other| compare(first, other)).collect::<Result<Vec<_>, _>>()?;
            Value::Bool(equal.contains(&Some(Ordering::Equal)))
        }
        "ne" | "lt" | "le" | "gt" | "ge" => {
            fixed(2)?;
            let order = compare(&args[0], &args[1])?;
            Value::Bool(match name {
                "ne" => order != Some(Ordering::Equal),
                "lt" => order == Some(Ordering::Less),
                "le" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                "gt" => order == Some(Ordering::Greater),
                _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            })
        }
        "and" => {
            args.iter().find(|value| !value.is_true()).or(args.last()).cloned().ok_or("missing argument for and")?
        }
        "or" => args.iter().find(|value| value.is_true()).or(args.last()).cloned().ok_or("missing argument for or")?,
        "not" => Value::Bool(!one()?.is_true()),
        _ => return Err(format!("function {name:?} not defined")),
    })
}

fn index(args: &[Value]) -> Result<Value, String> {
    let (first, keys) = args.split_first().ok_or("wrong number of args for index")?;
    let mut value = first.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::List(list), Value::Integer(index)) => {
                let found = usize::try_from(*index).ok().and_then(|index| list.get(index));
                found.cloned().ok_or_else(|| format!("index out of range: {index}"))?
            }
            (Value::Map(map), Value::Text(name)) => {
                map.get(name).cloned().unwrap_or_else(|| Value::Text(String::new()))
            }
            (other, _) => return Err(format!("can't index {}", other.print())),
        };
    }
    Ok(value)
}

fn compare(a: &Value, b: &Value) -> Result<Option<Ordering>, String> {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => Ok(Some(a.cmp(b))),
        (Value::Bool(a), Value::Bool(b)) => Ok(Some(a.cmp(b))),
        (Value::Integer(a), Value::Integer(b)) => Ok(Some(a.cmp(b))),
        (Value::Number(a), Value::Number(b)) => Ok(a.partial_cmp(b)),
        _ => Err("incompatible types for comparison".to_owned()),
    }
}

/// A blank is a plus, as Go escapes a query.
fn query_escape(text: &str) -> String {
    crate::scrape::percent_encode(text).replace("%20", "+")
}

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .map(|c| {
            let at_start = start;
            start = !c.is_alphanumeric() && c != '_' && c != '\'';
            if at_start { c.to_uppercase().to_string() } else { c.to_string() }
        })
        .collect()
}

fn strip_port(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn strip_domain(address: &str) -> String {
    let (host, port) = address.rsplit_once(':').map_or((address, None), |(host, port)| (host, Some(port)));
    if host.parse::<std::net::IpAddr>().is_ok() {
        return address.to_owned();
    }
    let host = host.split('.').next().unwrap_or(host);
    port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// As Go prints a float with `%v`: exponents below 1e-4 and from 1e21.
pub(super) fn go_float(value: f64) -> String {
    let magnitude = value.abs();
    if value.is_finite() && magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        return sim_wire::sample::exponent_form(value);
    }
    sim_wire::format_float(value)
}

/// `%.<digits>g`: that many significant digits, without trailing zeros.
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

fn scaled(mut value: f64, prefixes: &[&str], factor: f64, up: bool) -> String {
    let mut prefix = "";
    for next in prefixes {
        if (up && value.abs() < factor) || (!up && value.abs() >= 1.0) {
            break;
        }
        prefix = next;
        value = if up { value / factor } else { value * factor };
    }
    format!("{}{prefix}", significant(value, 4))
}

fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return significant(value, 4);
    }
    if value.abs() >= 1.0 {
        return scaled(value, &["k", "M", "G", "T", "P", "E", "Z", "Y"], 1000.0, true);
    }
    scaled(value, &["m", "u", "n", "p", "f", "a", "z", "y"], 1000.0, false)
}

fn humanize_1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return significant(value, 4);
    }
    scaled(value, &["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"], 1024.0, true)
}

fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return significant(value, 4);
    }
    if value == 0.0 {
        return "0s".to_owned();
    }
    if value.abs() < 1.0 {
        return format!("{}s", scaled(value, &["m", "u", "n", "p", "f", "a", "z", "y"], 1000.0, false));
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let total = value.abs() as i64;
    let (seconds, minutes, hours, days) = (total % 60, total / 60 % 60, total / 3600 % 24, total / 86_400);
    if days != 0 {
        format!("{sign}{days}d {hours}h {minutes}m {seconds}s")
    } else if hours != 0 {
        format!("{sign}{hours}h {minutes}m {seconds}s")
    } else if minutes != 0 {
        format!("{sign}{minutes}m {seconds}s")
    } else {
        format!("{sign}{}s", significant(value.abs(), 4))
    }
}

fn timestamp(seconds: f64) -> Result<String, String> {
    if !seconds.is_finite() {
        return Ok(significant(seconds, 4));
    }
    let time = jiff::Timestamp::from_nanosecond((seconds * 1e9) as i128).map_err(|error| error.to_string())?;
    Ok(format!("{} +0000 UTC", time.strftime("%Y-%m-%d %H:%M:%S%.f")))
}

/// The verbs `%v %s %d %q %t %f %e %g %x %%` with flags, width and precision.
fn printf(format: &str, args: &[Value]) -> String {
    let mut out = String::new();
    let mut args = args.iter();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let end = after.find(|c: char| c.is_ascii_alphabetic() || c == '%').unwrap_or(after.len());
        let spec = &after[..end];
        let Some(verb) = after[end..].chars().next() else {
            out.push_str("%!(NOVERB)");
            return out;
        };
        rest = &after[end + verb.len_utf8()..];
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = args.next() else {
            out.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        let flags: String = spec.chars().take_while(|c| matches!(c, '-' | '+' | '0' | ' ' | '#')).collect();
        let (width, precision) = match spec[flags.len()..].split_once('.') {
            Some((width, precision)) => {
                (width.parse().unwrap_or(0), Some(precision.parse::<usize>().unwrap_or(0).min(100)))
            }
            None => (spec[flags.len()..].parse().unwrap_or(0), None),
        };
        let width = width.min(1000_usize);
        let mut text = formatted(verb, precision, value);
        if flags.contains('+') && matches!(value, Value::Number(_) | Value::Integer(_)) && !text.starts_with('-') {
            text.insert(0, '+');
        }
        let missing = width.saturating_sub(text.chars().count());
        if flags.contains('-') {
            out.push_str(&text);
            out.push_str(&" ".repeat(missing));
        } else {
            out.push_str(&if flags.contains('0') { "0" } else { " " }.repeat(missing));
            out.push_str(&text);
        }
    }
    out + rest
}

fn formatted(verb: char, precision: Option<usize>, value: &Value) -> String {
    match (verb, value) {
        ('f' | 'F', Value::Number(value)) if value.is_finite() => format!("{value:.*}", precision.unwrap_or(6)),
        ('e', Value::Number(value)) if value.is_finite() => {
            let text = format!("{value:.*e}", precision.unwrap_or(6));
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent: i32 = exponent.parse().unwrap_or(0);
            format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
        }
        ('g', Value::Number(value)) => precision.map_or_else(|| go_float(*value), |digits| significant(*value, digits)),
        ('f' | 'F' | 'e', Value::Number(value)) => sim_wire::format_float(*value),
        ('d', Value::Integer(value)) => value.to_string(),
        ('x', Value::Integer(value)) => format!("{value:x}"),
        ('s', Value::Text(text)) => precision.map_or_else(|| text.clone(), |most| text.chars().take(most).collect()),
        ('q', Value::Text(text)) => format!("{text:?}"),
        ('t', Value::Bool(value)) => value.to_string(),
        ('v' | 's', Value::Map(_) | Value::List(_) | Value::Sample(_)) | ('v', _) => value.print(),
        (_, Value::Number(_)) => format!("%!{verb}(float64={})", value.print()),
        (_, Value::Integer(_)) => format!("%!{verb}(int={})", value.print()),
        (_, Value::Text(_)) => format!("%!{verb}(string={})", value.print()),
        (_, other) => format!("%!{verb}({})", other.print()),
    }
}
