//! YAML as a tree whose values know their lines: the real program's messages name them.

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle};
use std::collections::BTreeMap;

/// How deep a document may nest.
const DEPTH_MAX: usize = 64;
/// How many values a document may have, aliases counted as often as they are used.
const NODES_MAX: usize = 200_000;

/// A value with its line, counted from one.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub line: usize,
    pub data: Data,
}

#[derive(Clone, Debug)]
pub(crate) enum Data {
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    /// Key, line of the key, value; in the order of the document.
    Map(Vec<(String, usize, Node)>),
}

impl Node {
    /// Whether nothing, `~` or `null` is written.
    pub fn is_null(&self) -> bool {
        matches!(&self.data, Data::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// How the real parser names a value that does not fit: ``!!str `abc` ``, `!!map`.
    pub fn describe(&self) -> String {
        match &self.data {
            Data::List(_) => "!!seq".to_owned(),
            Data::Map(_) => "!!map".to_owned(),
            Data::Scalar { text, plain } => {
                let tag = if *plain { tag_of(text) } else { "str" };
                let shown: String = if text.chars().count() > 10 {
                    text.chars().take(7).chain("...".chars()).collect()
                } else {
                    text.clone()
                };
                format!("!!{tag} `{shown}`")
            }
        }
    }
}

/// The short tag that YAML 1.1 gives a plain scalar.
pub(crate) fn tag_of(text: &str) -> &'static str {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return "null",
        "<<" => return "merge",
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf"
        | "-.INF" => return "float",
        _ => {}
    }
    if as_bool(text).is_some() {
        return "bool";
    }
    let digits = text.replace('_', "");
    let unsigned = digits.strip_prefix(['-', '+']).unwrap_or(&digits);
    let radix = |prefix: &str, valid: fn(char) -> bool| {
        unsigned.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.chars().all(valid))
    };
    if !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit())
        || radix("0x", |c| c.is_ascii_hexdigit())
        || radix("0b", |c| matches!(c, '0' | '1'))
        || radix("0o", |c| matches!(c, '0'..='7'))
    {
        return "int";
    }
    if unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.contains(|c: char| c.is_ascii_digit())
        && unsigned.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'))
        && unsigned.parse::<f64>().is_ok()
    {
        return "float";
    }
    if is_date(text) { "timestamp" } else { "str" }
}

/// A boolean as YAML 1.1 writes it.
pub(crate) fn as_bool(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 10
        && bytes
            .iter()
            .take(10)
            .enumerate()
            .all(|(at, byte)| if matches!(at, 4 | 7) { *byte == b'-' } else { byte.is_ascii_digit() })
        && (bytes.len() == 10 || matches!(bytes.get(10), Some(b'T' | b't' | b' ')))
        && text.chars().skip(10).all(|c| c.is_ascii_digit() || "Tt :.Z+-".contains(c))
}

enum Open {
    List(Vec<Node>),
    Map(Vec<(String, usize, Node)>, Option<(String, usize)>),
}

/// Reads the first document of a text; `None` for a text without one.
pub(crate) fn read(text: &str) -> Result<Option<Node>, String> {
    let mut stack: Vec<(usize, usize, Open)> = Vec::new();
    let mut anchors: BTreeMap<usize, Node> = BTreeMap::new();
    let mut root = None;
    let mut nodes = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| format!("yaml: line {}: {}", error.marker().line(), error.info()))?;
        let line = span.start.line();
        let (node, anchor) = match event {
            Event::DocumentEnd => return Ok(root),
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                (Node { line, data: Data::Scalar { text: text.into_owned(), plain } }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                stack.push((line, anchor, Open::List(Vec::new())));
                if stack.len() > DEPTH_MAX {
                    return Err(format!("yaml: line {line}: nested deeper than {DEPTH_MAX} levels"));
                }
                continue;
            }
            Event::MappingStart(_, anchor, _) => {
                stack.push((line, anchor, Open::Map(Vec::new(), None)));
                if stack.len() > DEPTH_MAX {
                    return Err(format!("yaml: line {line}: nested deeper than {DEPTH_MAX} levels"));
                }
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match stack.pop() {
                Some((line, anchor, Open::List(items))) => (Node { line, data: Data::List(items) }, anchor),
                Some((line, anchor, Open::Map(entries, _))) => (Node { line, data: Data::Map(entries) }, anchor),
                None => return Err(format!("yaml: line {line}: unbalanced collection")),
            },
            Event::Alias(id) => match anchors.get(&id) {
                Some(node) => {
                    nodes += size(node);
                    (node.clone(), 0)
                }
                None => return Err(format!("yaml: line {line}: anchor value contains itself")),
            },
            _ => continue,
        };
        nodes += 1;
        if nodes > NODES_MAX {
            return Err("yaml: document contains excessive aliasing".to_owned());
        }
        if anchor != 0 {
            anchors.insert(anchor, node.clone());
        }
        match stack.last_mut() {
            None => root = Some(node),
            Some((_, _, Open::List(items))) => items.push(node),
            Some((_, _, Open::Map(entries, key))) => match (key.take(), node.data) {
                (Some((key, key_line)), data) => entries.push((key, key_line, Node { line: node.line, data })),
                (None, Data::Scalar { text, .. }) => *key = Some((text, node.line)),
                (None, _) => return Err(format!("yaml: line {line}: invalid map key")),
            },
        }
    }
    Ok(root)
}

fn size(node: &Node) -> usize {
    1 + match &node.data {
        Data::Scalar { .. } => 0,
        Data::List(items) => items.iter().map(size).sum(),
        Data::Map(entries) => entries.iter().map(|(_, _, node)| size(node)).sum(),
    }
}
