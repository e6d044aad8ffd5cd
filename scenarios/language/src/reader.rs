//! Reads mappings field by field and collects every error on the way.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use crate::compare::{COMPARISON_HELP, Comparison};
use crate::finding::{Code, Diagnostics, list, suggest};
use crate::node::{Data, Key, Node};
use crate::span::{Span, Spanned};
use crate::subject::{SUBJECT_HELP, Subject};
use crate::time::{DURATION_HELP, WINDOW_HELP, parse_duration};

/// What the decoding of one file shares.
pub struct Context<'a> {
    pub diagnostics: RefCell<Diagnostics<'a>>,
    pub lines: Vec<&'a str>,
    /// Which fields were asked for, by mapping: the schema is checked against it.
    pub asked: RefCell<BTreeMap<&'static str, BTreeSet<&'static str>>>,
}

impl<'a> Context<'a> {
    pub fn new(file: &'a str, text: &'a str) -> Self {
        Self {
            diagnostics: RefCell::new(Diagnostics::new(file, text)),
            lines: text.lines().collect(),
            asked: RefCell::default(),
        }
    }

    pub fn error(&self, code: Code, span: Span, message: impl Into<String>, help: Option<String>) {
        self.diagnostics.borrow_mut().error(code, span, message, help);
    }

    fn wrong_type(&self, node: &Node, wanted: &str, help: Option<String>) {
        self.error(Code::SCN004, node.head(), format!("expected {wanted}, found {}", node.describe()), help);
    }

    /// A scalar as it is written.
    pub fn text(&self, node: &Node) -> Option<Spanned<String>> {
        match &node.data {
            Data::Scalar { text, .. } if !node.is_null() => Some(Spanned::new(text.clone(), node.span)),
            _ => {
                self.wrong_type(node, "a text", None);
                None
            }
        }
    }

    pub fn boolean(&self, node: &Node) -> Option<bool> {
        match &node.data {
            Data::Scalar { text, plain: true } if text == "true" => Some(true),
            Data::Scalar { text, plain: true } if text == "false" => Some(false),
            _ => {
                self.wrong_type(node, "`true` or `false`", None);
                None
            }
        }
    }

    pub fn whole(&self, node: &Node) -> Option<u64> {
        let number = match &node.data {
            Data::Scalar { text, plain: true } => text.parse().ok(),
            _ => None,
        };
        if number.is_none() {
            self.wrong_type(node, "a whole number", None);
        }
        number
    }

    pub fn list<'n>(&self, node: &'n Node) -> &'n [Node] {
        match &node.data {
            Data::List(items) => items,
            _ => {
                self.wrong_type(node, "a list", Some("a list is written `[a, b]`, or one `- ` a line".to_string()));
                &[]
            }
        }
    }

    pub fn map<'n>(&self, node: &'n Node) -> Option<&'n [(Key, Node)]> {
        match &node.data {
            Data::Map(entries) => Some(entries),
            _ => {
                self.wrong_type(node, "a mapping", None);
                None
            }
        }
    }

    pub fn duration(&self, node: &Node) -> Option<Spanned<Duration>> {
        let text = self.text(node)?;
        self.duration_text(&text.value, text.span)
    }

    pub fn duration_text(&self, text: &str, span: Span) -> Option<Spanned<Duration>> {
        match parse_duration(text) {
            Ok(duration) => Some(Spanned::new(duration, span)),
            Err(error) => {
                self.error(Code::SCN006, span, error.to_string(), Some(DURATION_HELP.to_string()));
                None
            }
        }
    }

    pub fn window<W: FromStr<Err = crate::time::TimeError>>(&self, node: &Node) -> Option<Spanned<W>> {
        let text = self.text(node)?;
        match text.value.parse() {
            Ok(window) => Some(Spanned::new(window, text.span)),
            Err(error) => {
                self.error(Code::SCN007, text.span, error.to_string(), Some(WINDOW_HELP.to_string()));
                None
            }
        }
    }

    pub fn comparison(&self, node: &Node) -> Option<Comparison> {
        if node.is_null() {
            return Some(Comparison::Absent);
        }
        let Data::Scalar { text, .. } = &node.data else {
            self.wrong_type(
                node,
                "a comparison",
                Some(format!("a path into a mapping is written with dots; {COMPARISON_HELP}")),
            );
            return None;
        };
        match text.parse() {
            Ok(comparison) => Some(comparison),
            Err(error) => {
                self.error(Code::SCN008, node.span, error.to_string(), Some(COMPARISON_HELP.to_string()));
                None
            }
        }
    }

    pub fn fields(&self, node: &Node) -> Vec<(String, Comparison)> {
        let entries = self.map(node).unwrap_or_default();
        entries.iter().filter_map(|(key, node)| Some((key.text.clone(), self.comparison(node)?))).collect()
    }

    pub fn subject(&self, node: &Node) -> Option<Spanned<Subject>> {
        let text = self.text(node)?;
        match text.value.parse() {
            Ok(subject) => Some(Spanned::new(subject, text.span)),
            Err(error) => {
                let error: crate::subject::SubjectError = error;
                self.error(Code::SCN009, text.span, error.to_string(), Some(SUBJECT_HELP.to_string()));
                None
            }
        }
    }

    /// One of a fixed list of words.
    pub fn word<T: Copy>(&self, node: &Node, what: &str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(node)?;
        let found = words.iter().find(|(word, _)| *word == text.value).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.error(
                Code::SCN010,
                text.span,
                format!("`{}` is not {what}", text.value),
                suggest(&text.value, &names),
            );
        }
        found
    }
}

/// One mapping, read field by field.
pub struct Reader<'n, 'c, 'a> {
    pub context: &'c Context<'a>,
    what: &'static str,
    span: Span,
    entries: &'n [(Key, Node)],
    asked: Vec<&'static str>,
}

impl<'n, 'c, 'a> Reader<'n, 'c, 'a> {
    /// `what` names the mapping in messages and in the schema: `a scenario`.
    pub fn new(context: &'c Context<'a>, node: &'n Node, what: &'static str) -> Option<Self> {
        let entries = context.map(node)?;
        Some(Self { context, what, span: node.head(), entries, asked: Vec::new() })
    }

    /// A field that may be there.
    pub fn take(&mut self, name: &'static str) -> Option<&'n Node> {
        self.asked.push(name);
        self.entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node)
    }

    /// Whether a field is written.
    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, _)| key.text == name)
    }

    /// The place of a field's key.
    pub fn key_span(&self, name: &str) -> Span {
        self.entries.iter().find(|(key, _)| key.text == name).map_or(self.span, |(key, _)| key.span)
    }

    /// A field that has to be there.
    pub fn require(&mut self, name: &'static str) -> Option<&'n Node> {
        let node = self.take(name);
        if node.is_none() {
            let near = self
                .entries
                .iter()
                .any(|(key, _)| crate::finding::nearest(&key.text, [name]).is_some() && key.text != name);
            // A misspelt field is told once, by `finish`.
            if !near {
                self.context.error(Code::SCN005, self.span, format!("{} needs `{name}`", self.what), None);
            }
        }
        node
    }

    /// Which of these fields is written; an error when it is not exactly one.
    pub fn one_of(&mut self, names: &[&'static str], what: &str) -> Option<(&'static str, &'n Node)> {
        let found: Vec<(&'static str, &'n Node)> =
            names.iter().filter_map(|name| self.take(name).map(|node| (*name, node))).collect();
        match found.as_slice() {
            [one] => Some(*one),
            [] => {
                let near = self
                    .entries
                    .iter()
                    .any(|(key, _)| crate::finding::nearest(&key.text, names.iter().copied()).is_some());
                if !near {
                    self.context.error(
                        Code::SCN023,
                        self.span,
                        format!("no {what} here"),
                        Some(format!("one of {}", list(names))),
                    );
                }
                None
            }
            several => {
                let words: Vec<&str> = several.iter().map(|(name, _)| *name).collect();
                let span = self.key_span(several[1].0);
                self.context.error(Code::SCN023, span, format!("several {what}s in one place: {}", list(&words)), None);
                None
            }
        }
    }

    /// Reports every field that nobody asked for.
    pub fn finish(self) {
        for (key, _) in self.entries {
            if !self.asked.contains(&key.text.as_str()) {
                let message = format!("unknown field `{}` in {}", key.text, self.what);
                self.context.error(Code::SCN003, key.span, message, suggest(&key.text, &self.asked));
            }
        }
        let mut asked = self.context.asked.borrow_mut();
        asked.entry(self.what).or_default().extend(self.asked);
    }
}
