//! `string.format`, how values read as text, and the named formats.

use super::Result;
use crate::{
    EvalError, pattern,
    value::{Value, error},
};

/// Longest precision `format` accepts, in digits.
const PRECISION_MAX: usize = 1_000;

fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e21).contains(&size) { exponent(&format!("{value:e}")) } else { format!("{value}") }
}

/// Rust's exponent in C's form: a sign and at least two digits.
fn exponent(text: &str) -> String {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// A value as text, as `string()` and `%s` have it.
pub(crate) fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(b) => b.to_string(),
        Value::Int(i) => i.to_string(),
        Value::Uint(u) => u.to_string(),
        Value::Double(d) => double(*d),
        Value::String(s) => s.to_string(),
        Value::Bytes(b) => String::from_utf8_lossy(b).into_owned(),
        Value::Timestamp(t) => super::time::rfc3339(*t),
        Value::Duration(d) => super::time::seconds(*d),
        Value::Type(name) => name.clone(),
        Value::Ip(ip) => ip.to_string(),
        Value::Cidr(ip, bits) => format!("{ip}/{bits}"),
        Value::Url(url) => url.text.clone(),
        Value::Quantity(q) => q.to_string(),
        Value::Semver(v) => v.to_string(),
        Value::Format(name) => (*name).to_owned(),
        Value::List(_) | Value::JsonList(..) => {
            let items: Vec<String> = value.items().unwrap_or_default().iter().map(shown).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(_) | Value::JsonMap(..) => {
            let entries = value.entries().unwrap_or_default();
            let mut texts: Vec<String> = entries.iter().map(|(k, v)| format!("{}: {}", shown(k), shown(v))).collect();
            texts.sort();
            format!("{{{}}}", texts.join(", "))
        }
        Value::JsonObject(map, _) => serde_json::Value::Object((*map).clone()).to_string(),
        Value::Optional(Some(inner)) => format!("optional({})", shown(inner)),
        Value::Optional(None) => "optional.none()".into(),
    }
}

pub(super) fn call<'a>(name: &str, member: bool, args: &[Value<'a>]) -> Option<Result<'a>> {
    match (name, args) {
        ("format", [Value::String(text), list]) if member => {
            Some(list.items().and_then(|items| formatted(text, &items)).map(Value::text))
        }
        ("format.named", [Value::String(name)]) => {
            Some(Ok(Value::Optional(named(name).map(|n| Value::Format(n).into()))))
        }
        ("validate", [Value::Format(format), Value::String(text)]) => {
            let problems = validate(format, text);
            Some(Ok(if problems.is_empty() {
                Value::Optional(None)
            } else {
                Value::some(Value::list(problems.into_iter().map(Value::text).collect()))
            }))
        }
        (other, []) => named(other.strip_prefix("format.")?).map(|n| Ok(Value::Format(n))),
        _ => None,
    }
}

fn formatted(text: &str, args: &[Value<'_>]) -> std::result::Result<String, EvalError> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.peek() == Some(&'%') {
            chars.next();
            out.push('%');
            continue;
        }
        let mut precision = None;
        if chars.peek() == Some(&'.') {
            chars.next();
            let mut digits = String::new();
            while let Some(d) = chars.peek().filter(|c| c.is_ascii_digit()) {
                digits.push(*d);
                chars.next();
            }
            let parsed: Option<usize> = digits.parse().ok().filter(|p| *p <= PRECISION_MAX);
            precision = Some(parsed.ok_or_else(|| error("error while converting precision to integer"))?);
        }
        let verb = chars.next().ok_or_else(|| error("unexpected end of string"))?;
        let arg = args.get(next).ok_or_else(|| error(format!("index {next} out of range")))?;
        next += 1;
        out.push_str(&one(verb, precision, arg)?);
    }
    Ok(out)
}

fn one(verb: char, precision: Option<usize>, arg: &Value<'_>) -> std::result::Result<String, EvalError> {
    let bad = |what: &str| {
        error(format!(
            "error during formatting: {what} clause can only be used on certain types, was given {}",
            arg.type_name()
        ))
    };
    Ok(match (verb, arg) {
        ('s', _) => shown(arg),
        ('d', Value::Int(_) | Value::Uint(_)) => shown(arg),
        ('d', Value::Double(d)) if !d.is_finite() => double(*d),
        ('f', Value::Double(d)) if d.is_finite() => format!("{d:.*}", precision.unwrap_or(6)),
        ('f', Value::Int(i)) => format!("{:.*}", precision.unwrap_or(6), *i as f64),
        ('f', Value::Uint(u)) => format!("{:.*}", precision.unwrap_or(6), *u as f64),
        ('e', Value::Double(d)) if d.is_finite() => exponent(&format!("{d:.*e}", precision.unwrap_or(6))),
        ('e', Value::Int(i)) => exponent(&format!("{:.*e}", precision.unwrap_or(6), *i as f64)),
        ('f' | 'e', Value::Double(d)) => double(*d),
        ('b', Value::Int(i)) => sign(*i, format!("{:b}", i.unsigned_abs())),
        ('b', Value::Uint(u)) => format!("{u:b}"),
        ('b', Value::Bool(b)) => u8::from(*b).to_string(),
        ('o', Value::Int(i)) => sign(*i, format!("{:o}", i.unsigned_abs())),
        ('o', Value::Uint(u)) => format!("{u:o}"),
        ('x', Value::Int(i)) => sign(*i, format!("{:x}", i.unsigned_abs())),
        ('X', Value::Int(i)) => sign(*i, format!("{:X}", i.unsigned_abs())),
        ('x', Value::Uint(u)) => format!("{u:x}"),
        ('X', Value::Uint(u)) => format!("{u:X}"),
        ('x', Value::String(s)) => hex(s.as_bytes()),
        ('X', Value::String(s)) => hex(s.as_bytes()).to_ascii_uppercase(),
        ('x', Value::Bytes(s)) => hex(s),
        ('X', Value::Bytes(s)) => hex(s).to_ascii_uppercase(),
        ('d', _) => return Err(bad("decimal")),
        ('f', _) => return Err(bad("fixed-point")),
        ('e', _) => return Err(bad("scientific notation")),
        ('b', _) => return Err(bad("binary")),
        ('o', _) => return Err(bad("octal")),
        ('x' | 'X', _) => return Err(bad("hex")),
        (other, _) => {
            return Err(error(format!(
                "could not parse formatting clause: unrecognized formatting clause \"{other}\""
            )));
        }
    })
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"0123456789abcdef";
    let digit = |n: u8| char::from(DIGITS[usize::from(n & 15)]);
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(*b)]).collect()
}

fn sign(value: i64, digits: String) -> String {
    if value < 0 { format!("-{digits}") } else { digits }
}

fn named(name: &str) -> Option<&'static str> {
    const NAMES: &[&str] = &[
        "dns1123Label",
        "dns1123Subdomain",
        "dns1035Label",
        "qualifiedName",
        "dns1123LabelPrefix",
        "dns1123SubdomainPrefix",
        "dns1035LabelPrefix",
        "labelValue",
        "uri",
        "uuid",
        "byte",
        "date",
        "datetime",
    ];
    NAMES.iter().find(|n| **n == name).copied()
}

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const LABEL_1035: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035_TEXT: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const VALUE_TEXT: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const NAME_TEXT: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

fn checked(text: &str, regex: &str, chars_max: usize, problem: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > chars_max {
        problems.push(format!("must be no more than {chars_max} bytes"));
    }
    if !pattern::compile(&format!("^(?:{regex})$")).is_ok_and(|r| r.is_match(text)) {
        problems.push(problem.to_owned());
    }
    problems
}

/// What is wrong with a text of a named format.
fn validate(format: &str, text: &str) -> Vec<String> {
    // A prefix of a generated name may end in a dash.
    let masked = text.strip_suffix('-').map_or_else(|| text.to_owned(), |t| format!("{t}a"));
    match format {
        "dns1123Label" => checked(text, LABEL, 63, LABEL_TEXT),
        "dns1123LabelPrefix" => checked(&masked, LABEL, 63, LABEL_TEXT),
        "dns1123Subdomain" => checked(text, SUBDOMAIN, 253, SUBDOMAIN_TEXT),
        "dns1123SubdomainPrefix" => checked(&masked, SUBDOMAIN, 253, SUBDOMAIN_TEXT),
        "dns1035Label" => checked(text, LABEL_1035, 63, LABEL_1035_TEXT),
        "dns1035LabelPrefix" => checked(&masked, LABEL_1035, 63, LABEL_1035_TEXT),
        "labelValue" => checked(text, &format!("(?:{QUALIFIED})?"), 63, VALUE_TEXT),
        "qualifiedName" => match text.split_once('/') {
            None => checked(text, QUALIFIED, 63, NAME_TEXT),
            Some((prefix, name)) => {
                let mut problems: Vec<String> = checked(prefix, SUBDOMAIN, 253, SUBDOMAIN_TEXT)
                    .into_iter()
                    .map(|p| format!("prefix part {p}"))
                    .collect();
                problems.extend(checked(name, QUALIFIED, 63, NAME_TEXT));
                problems
            }
        },
        "uri" => super::url::parse(text).err().into_iter().map(|e| e.to_string()).collect(),
        "uuid" => checked(
            text,
            "[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}",
            usize::MAX,
            "does not match the UUID format",
        ),
        "byte" => {
            use base64::Engine as _;
            let good = base64::engine::general_purpose::STANDARD.decode(text).is_ok();
            if good { Vec::new() } else { vec!["invalid base64".into()] }
        }
        "date" => {
            let good = text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok();
            if good { Vec::new() } else { vec!["invalid date".into()] }
        }
        _ => {
            if super::time::timestamp(text).is_some() {
                Vec::new()
            } else {
                vec!["invalid datetime".into()]
            }
        }
    }
}
