//! Records as YAML in the real program's layout, secrets masked: what `/api/v2/status` and `amtool config show` tell.

use super::go_duration;
use super::schema::{Kind, RangeKind};
use super::value::{Record, Val};
use crate::time_interval;
use crate::yaml::tag_of;
use serde_json::Value as Json;

/// Where a plain text is folded.
const WIDTH: usize = 80;

/// What is written for a secret.
const MASK: &str = "<secret>";

/// YAML to be laid out.
enum Out {
    /// Written as it is.
    Raw(String),
    Text(String),
    Flow(Vec<String>),
    List(Vec<Out>),
    Map(Vec<(String, Out)>),
}

/// The whole configuration.
pub(super) fn to_text(record: &Record) -> String {
    let mut out = String::new();
    write(&mut out, &tree(record), 0, false);
    out
}

fn tree(record: &Record) -> Out {
    let fields = record.schema.fields.iter().zip(&record.values);
    Out::Map(
        fields
            .filter(|(field, value)| {
                field.always || !value.is_zero(field.kind) || (field.pointer && **value != Val::Unset)
            })
            .map(|(field, value)| {
                let null = field.pointer && *value == Val::Unset;
                let tree = if null { Out::Raw("null".to_owned()) } else { field_tree(field.kind, value) };
                (field.name.to_owned(), tree)
            })
            .collect(),
    )
}

fn texts(list: impl IntoIterator<Item = String>) -> Out {
    Out::List(list.into_iter().map(Out::Text).collect())
}

fn field_tree(kind: Kind, value: &Val) -> Out {
    match (kind, value) {
        (Kind::Secret | Kind::SecretUrl | Kind::TemplateUrl, Val::Text(text)) if !text.is_empty() => {
            Out::Text(MASK.to_owned())
        }
        (Kind::Secret, _) => Out::Text(String::new()),
        (Kind::Duration, Val::Nanos(nanos)) => {
            let duration = std::time::Duration::from_nanos(u64::try_from(*nanos).unwrap_or_default());
            Out::Text(sim_wire::duration::format(duration))
        }
        (Kind::GoDuration, Val::Nanos(nanos)) => Out::Text(go_duration::format(*nanos)),
        (Kind::GoDuration, _) => Out::Text("0s".to_owned()),
        (Kind::Bool, Val::Unset) => Out::Raw("false".to_owned()),
        (Kind::Int | Kind::Uint, Val::Unset) => Out::Raw("0".to_owned()),
        (Kind::Text, Val::Unset) => Out::Text(String::new()),
        (Kind::Url, Val::Unset) => Out::Raw("null".to_owned()),
        (Kind::Range(range), Val::Ranges(ranges)) => {
            Out::Flow(ranges.iter().map(|(first, last)| range_text(range, *first, *last)).collect())
        }
        (_, Val::Unset) => Out::List(Vec::new()),
        (_, Val::Text(text)) => Out::Text(text.clone()),
        (_, Val::Bool(value)) => Out::Raw(value.to_string()),
        (_, Val::Int(value)) => Out::Raw(value.to_string()),
        (_, Val::Nanos(value)) => Out::Raw(value.to_string()),
        (_, Val::Texts(list)) => texts(list.iter().cloned()),
        (_, Val::TextMap(map)) => {
            Out::Map(map.iter().map(|(name, value)| (name.clone(), Out::Text(value.clone()))).collect())
        }
        (_, Val::Matchers(list)) => texts(list.iter().map(ToString::to_string)),
        (_, Val::Any(value)) => any(value),
        (_, Val::Struct(record)) => tree(record),
        (_, Val::List(items)) => Out::List(
            items.iter().map(|item| item.as_ref().map_or_else(|| Out::Raw("null".to_owned()), tree)).collect(),
        ),
        (_, Val::Ranges(_)) => Out::List(Vec::new()),
        (_, Val::Times(times)) => Out::List(
            times
                .iter()
                .map(|(start, end)| {
                    let clock = |minutes: i64| Out::Text(format!("{:02}:{:02}", minutes / 60, minutes % 60));
                    Out::Map(vec![("start_time".to_owned(), clock(*start)), ("end_time".to_owned(), clock(*end))])
                })
                .collect(),
        ),
    }
}

fn range_text(kind: RangeKind, first: i64, last: i64) -> String {
    let name = |value: i64| match kind {
        RangeKind::Weekday => time_interval::weekday_name(value).to_owned(),
        _ => value.to_string(),
    };
    if first == last { name(first) } else { format!("{}:{}", name(first), name(last)) }
}

fn any(value: &Json) -> Out {
    match value {
        Json::String(text) => Out::Text(text.clone()),
        Json::Array(items) => Out::List(items.iter().map(any).collect()),
        Json::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(name, _)| name.as_str());
            Out::Map(entries.into_iter().map(|(name, value)| (name.clone(), any(value))).collect())
        }
        other => Out::Raw(other.to_string()),
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Writes a value behind `key:` or `-` (or at the start), with the line's end.
fn write(out: &mut String, value: &Out, indent: usize, in_list: bool) {
    match value {
        Out::Raw(text) => {
            out.push_str(text);
            out.push('\n');
        }
        Out::Text(text) => {
            scalar(out, text, indent, false);
            out.push('\n');
        }
        Out::Flow(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                scalar(out, item, indent, true);
            }
            out.push_str("]\n");
        }
        Out::List(items) if items.is_empty() => out.push_str("[]\n"),
        Out::Map(entries) if entries.is_empty() => out.push_str("{}\n"),
        Out::List(items) => {
            // A list stands no deeper than its key.
            for (at, item) in items.iter().enumerate() {
                if at > 0 || !in_list {
                    pad(out, indent);
                }
                out.push_str("- ");
                write(out, item, indent + 2, true);
            }
        }
        Out::Map(entries) => {
            for (at, (key, child)) in entries.iter().enumerate() {
                if at > 0 || !in_list {
                    pad(out, indent);
                }
                scalar(out, key, indent, false);
                out.push(':');
                match child {
                    Out::List(items) if !items.is_empty() => {
                        out.push('\n');
                        write(out, child, indent, false);
                    }
                    Out::Map(entries) if !entries.is_empty() => {
                        out.push('\n');
                        write(out, child, indent + 2, false);
                    }
                    _ => {
                        out.push(' ');
                        write(out, child, indent + 2, false);
                    }
                }
            }
        }
    }
}

/// Numbers to the base of sixty, which old parsers read as such.
fn is_base_60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut parts = unsigned.split(':');
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    if !parts.next().is_some_and(digits) {
        return false;
    }
    let rest: Vec<&str> = parts.collect();
    !rest.is_empty()
        && rest.iter().enumerate().all(|(at, part)| {
            let whole =
                if at + 1 == rest.len() { part.split_once('.').map_or(*part, |(whole, _)| whole) } else { part };
            (1..=2).contains(&whole.len())
                && digits(whole)
                && (whole.len() == 1 || whole.starts_with(|c| ('0'..='5').contains(&c)))
        })
}

fn scalar(out: &mut String, text: &str, indent: usize, flow: bool) {
    if text.contains('\n') && !flow && !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return literal(out, text, indent);
    }
    let is_text = tag_of(text) == "str" && !is_base_60(text);
    if !is_text && !text.is_empty() || text.chars().any(|c| c.is_control() || c == '\u{feff}') {
        out.push_str(&sim_template::print::quote(text));
        return;
    }
    if plain_allowed(text, flow) {
        folded(out, text, indent);
    } else if text.is_empty() {
        out.push_str("\"\"");
    } else {
        out.push('\'');
        folded(out, &text.replace('\'', "''"), indent);
        out.push('\'');
    }
}

fn literal(out: &mut String, text: &str, indent: usize) {
    out.push('|');
    if text.starts_with([' ', '\n']) {
        out.push('2');
    }
    if !text.ends_with('\n') {
        out.push('-');
    } else if text.ends_with("\n\n") || text == "\n" {
        out.push('+');
    }
    let mut lines: Vec<&str> = text.split('\n').collect();
    if lines.last() == Some(&"") {
        lines.pop();
    }
    for line in lines {
        out.push('\n');
        if !line.is_empty() {
            pad(out, indent);
            out.push_str(line);
        }
    }
}

/// A text whose blanks become line breaks beyond the width.
fn folded(out: &mut String, text: &str, indent: usize) {
    let mut column = out.len() - out.rfind('\n').map_or(0, |at| at + 1);
    let chars: Vec<char> = text.chars().collect();
    for (at, c) in chars.iter().enumerate() {
        let lone = *c == ' '
            && at > 0
            && at + 1 < chars.len()
            && chars.get(at - 1) != Some(&' ')
            && chars.get(at + 1) != Some(&' ');
        if lone && column > WIDTH {
            out.push('\n');
            pad(out, indent);
            column = indent;
        } else {
            out.push(*c);
            column += 1;
        }
    }
}

fn plain_allowed(text: &str, flow: bool) -> bool {
    if text.is_empty()
        || text.starts_with(' ')
        || text.ends_with(' ')
        || text.starts_with("---")
        || text.starts_with("...")
    {
        return false;
    }
    let chars: Vec<char> = text.chars().collect();
    for (at, c) in chars.iter().enumerate() {
        let blank_behind = chars.get(at + 1).is_none_or(|next| next.is_whitespace());
        let blank_before = at == 0 || chars.get(at - 1).is_some_and(|before| before.is_whitespace());
        let special = match c {
            '#' if at == 0 => true,
            ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' if at == 0 => true,
            '?' | ':' if at == 0 => flow || blank_behind,
            '-' if at == 0 => blank_behind,
            ',' | '?' | '[' | ']' | '{' | '}' => flow,
            ':' => flow || blank_behind,
            '#' => blank_before,
            _ => false,
        };
        if special {
            return false;
        }
    }
    true
}
