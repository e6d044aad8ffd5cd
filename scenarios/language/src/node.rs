//! YAML as a tree in which every key and value knows its place.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use serde_saphyr::granit_parser::{Event, Marker, Parser, ScalarStyle, Span as ParserSpan};

use crate::finding::{Code, Diagnostics};
use crate::span::Span;

/// How deep a document may nest.
pub const DEPTH_MAX: usize = 64;
/// How many nodes a document may have, aliases counted as often as they are used.
pub const NODES_MAX: usize = 100_000;

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Node {
    pub span: Span,
    /// The last line that belongs to the value.
    pub last_line: usize,
    pub data: Data,
}

#[derive(Clone, Debug)]
pub enum Data {
    Scalar { text: String, plain: bool },
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug)]
pub struct Key {
    pub text: String,
    pub span: Span,
}

impl Node {
    /// What the value is, for messages.
    pub fn describe(&self) -> String {
        match &self.data {
            Data::Scalar { .. } if self.is_null() => "nothing".to_string(),
            Data::Scalar { text, .. } => format!("`{text}`"),
            Data::List(_) => "a list".to_string(),
            Data::Map(_) => "a mapping".to_string(),
        }
    }

    /// Whether nothing, `~` or `null` is written.
    pub fn is_null(&self) -> bool {
        matches!(&self.data, Data::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The value as JSON, with the scalars of YAML's core schema.
    pub fn to_json(&self) -> Value {
        match &self.data {
            Data::Scalar { text, plain: false } => Value::String(text.clone()),
            Data::Scalar { text, .. } => scalar(text),
            Data::List(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            Data::Map(entries) => Value::Object(
                entries.iter().map(|(key, node)| (key.text.clone(), node.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }

    /// The place that stands for the whole value: its first key for a mapping.
    pub fn head(&self) -> Span {
        match &self.data {
            Data::Map(entries) => entries.first().map_or(self.span, |(key, _)| key.span),
            Data::List(items) => items.first().map_or(self.span, Node::head),
            Data::Scalar { .. } => self.span,
        }
    }
}

fn scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
        && text.contains(|c: char| c.is_ascii_digit());
    if numeric && text.chars().all(|c| c.is_ascii_digit() || "+-.eE".contains(c)) {
        if let Ok(whole) = text.parse::<i64>() {
            return Value::from(whole);
        }
        if let Some(number) = text.parse::<f64>().ok().and_then(serde_json::Number::from_f64) {
            return Value::Number(number);
        }
    }
    Value::String(text.to_string())
}

fn span_of(span: &ParserSpan) -> Span {
    let (start, end) = (&span.start, &span.end);
    let length = if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { usize::MAX };
    Span { line: start.line(), column: start.col() + 1, length: length.max(1) }
}

fn point(marker: &Marker) -> Span {
    Span { line: marker.line(), column: marker.col() + 1, length: 1 }
}

/// An open collection while the tree is built.
enum Open {
    List { items: Vec<Node> },
    Map { entries: Vec<(Key, Node)>, key: Option<Key> },
}

struct Builder<'d, 'a> {
    stack: Vec<(Span, usize, Open)>,
    root: Option<Node>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    diagnostics: &'d mut Diagnostics<'a>,
}

/// Reads one YAML document. Errors go to `diagnostics`; `None` when there is no tree to go on with.
pub fn read(text: &str, diagnostics: &mut Diagnostics<'_>) -> Option<Node> {
    let mut builder = Builder { stack: Vec::new(), root: None, anchors: BTreeMap::new(), nodes: 0, diagnostics };
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok(next) => next,
            Err(error) => {
                let at = point(error.marker());
                let help = flow_help(text, at.line);
                builder.diagnostics.error(Code::SCN001, at, format!("this is not YAML: {}", error.info()), help);
                return None;
            }
        };
        let place = span_of(&span);
        match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    builder.diagnostics.error(Code::SCN001, place, "a scenario file holds one document", None);
                    return builder.root;
                }
            }
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let last_line = last_line(&span, plain);
                builder.add(
                    Node { span: place, last_line, data: Data::Scalar { text: text.into_owned(), plain } },
                    anchor,
                    1,
                )?;
            }
            Event::SequenceStart(_, anchor, _) => builder.open(place, anchor, Open::List { items: Vec::new() })?,
            Event::MappingStart(_, anchor, _) => {
                builder.open(place, anchor, Open::Map { entries: Vec::new(), key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => builder.close()?,
            Event::Alias(id) => match builder.anchors.get(&id).cloned() {
                Some(mut node) => {
                    node.span = place;
                    node.last_line = place.line;
                    let weight = size(&node);
                    builder.add(node, 0, weight)?;
                }
                None => {
                    builder.diagnostics.error(Code::SCN001, place, "an alias cannot stand inside its own anchor", None);
                    return None;
                }
            },
            _ => {}
        }
    }
    if builder.root.is_none() {
        builder.diagnostics.error(Code::SCN001, Span::default(), "the file is empty", None);
    }
    builder.root
}

/// A scalar that ends at the start of a later line ends on the line before.
fn last_line(span: &ParserSpan, plain: bool) -> usize {
    let (start, end) = (span.start.line(), span.end.line());
    if !plain && end > start && span.end.col() == 0 { end - 1 } else { end.max(start) }
}

/// The usual reason why a line with braces is not YAML.
fn flow_help(text: &str, line: usize) -> Option<String> {
    let around = text.lines().skip(line.saturating_sub(2)).take(2).collect::<Vec<_>>().join("\n");
    let inner = around.find(['{', '['])?;
    around[inner + 1..].contains(['{', '[', '}']).then(|| {
        "inside `{ }` and `[ ]` a text with braces, brackets or commas needs quotes: `\"Cell{cluster=minimal}\"`"
            .to_string()
    })
}

impl Builder<'_, '_> {
    fn count(&mut self, node: &Node, weight: usize) -> Option<()> {
        self.nodes += weight;
        if self.nodes > NODES_MAX {
            self.diagnostics.error(Code::SCN001, node.span, format!("the file has more than {NODES_MAX} values"), None);
            return None;
        }
        Some(())
    }

    fn open(&mut self, span: Span, anchor: usize, open: Open) -> Option<()> {
        if self.stack.len() >= DEPTH_MAX {
            self.diagnostics.error(Code::SCN001, span, format!("nested deeper than {DEPTH_MAX} levels"), None);
            return None;
        }
        self.stack.push((span, anchor, open));
        Some(())
    }

    fn close(&mut self) -> Option<()> {
        let (span, anchor, open) = self.stack.pop()?;
        let data = match open {
            Open::List { items } => Data::List(items),
            Open::Map { entries, .. } => Data::Map(entries),
        };
        let last_line = match &data {
            Data::List(items) => items.iter().map(|item| item.last_line).max(),
            Data::Map(entries) => entries.iter().map(|(key, node)| node.last_line.max(key.span.line)).max(),
            Data::Scalar { .. } => None,
        };
        let last_line = last_line.unwrap_or(span.line);
        self.add(Node { span: Span { length: 1, ..span }, last_line, data }, anchor, 1)
    }

    fn add(&mut self, node: Node, anchor: usize, weight: usize) -> Option<()> {
        self.count(&node, weight)?;
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some((_, _, Open::List { items })) => items.push(node),
            Some((_, _, Open::Map { entries, key })) => match key.take() {
                Some(key) => {
                    let first =
                        entries.iter().find(|(other, _)| other.text == key.text).map(|(other, _)| other.span.line);
                    match first {
                        Some(line) => self.diagnostics.error(
                            Code::SCN002,
                            key.span,
                            format!("the key `{}` is written twice", key.text),
                            Some(format!("it stands first on line {line}")),
                        ),
                        None => entries.push((key, node)),
                    }
                }
                None => match node.data {
                    Data::Scalar { text, .. } => *key = Some(Key { text, span: node.span }),
                    _ => {
                        self.diagnostics.error(
                            Code::SCN001,
                            node.span,
                            "a key has to be a text",
                            Some("a value that starts with `{` or `[` needs quotes".to_string()),
                        );
                        return None;
                    }
                },
            },
        }
        Some(())
    }
}

/// How many nodes a tree has.
fn size(node: &Node) -> usize {
    1 + match &node.data {
        Data::Scalar { .. } => 0,
        Data::List(items) => items.iter().map(size).sum(),
        Data::Map(entries) => entries.iter().map(|(_, node)| size(node)).sum(),
    }
}
