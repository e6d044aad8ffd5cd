//! Sets of field paths and their wire form, `FieldsV1`.

use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use crate::json;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// `f:name`.
    Field(Arc<str>),
    /// `k:{"name":"a"}`: canonical JSON of the key fields.
    Key(Arc<str>),
    /// `v:"x"`: canonical JSON of an item of a set.
    Value(Arc<str>),
}

impl Element {
    /// A field by its name.
    pub fn field(name: &str) -> Self {
        Element::Field(name.into())
    }

    fn text(&self) -> &str {
        match self {
            Element::Field(text) | Element::Key(text) | Element::Value(text) => text,
        }
    }

    fn wire(&self) -> String {
        match self {
            Element::Field(name) => format!("f:{name}"),
            Element::Key(key) => format!("k:{key}"),
            Element::Value(value) => format!("v:{value}"),
        }
    }

    fn from_wire(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Element::field(rest)),
            "k" | "v" => {
                let canonical = json::canonical(&serde_json::from_str::<Value>(rest).ok()?).into();
                Some(if kind == "k" { Element::Key(canonical) } else { Element::Value(canonical) })
            }
            _ => None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    member: bool,
    below: FieldSet,
}

/// A set of field paths, as a tree: every object has some, so that a level is a sorted list and not a map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    nodes: Vec<(Element, Node)>,
}

impl FieldSet {
    /// True if no path is in the set.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    fn find(&self, element: &Element) -> Option<&Node> {
        let at = self.nodes.binary_search_by(|(e, _)| e.cmp(element)).ok()?;
        self.nodes.get(at).map(|(_, node)| node)
    }

    /// The node of an element, made if it is not there.
    fn entry(&mut self, element: &Element) -> &mut Node {
        let at = match self.nodes.binary_search_by(|(e, _)| e.cmp(element)) {
            Ok(at) => at,
            Err(at) => {
                self.nodes.insert(at, (element.clone(), Node::default()));
                at
            }
        };
        &mut self.nodes[at].1
    }

    fn find_field(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|(e, _)| matches!(e, Element::Field(n) if **n == *name))
    }

    /// Gives back what growing took too much.
    pub fn shrink(&mut self) {
        self.nodes.shrink_to_fit();
        self.nodes.iter_mut().for_each(|(_, node)| node.below.shrink());
    }

    /// Adds a path; the empty path is no path.
    pub fn insert(&mut self, path: &[Element]) {
        let Some((first, rest)) = path.split_first() else { return };
        let node = self.entry(first);
        if rest.is_empty() {
            node.member = true;
        } else {
            node.below.insert(rest);
        }
    }

    /// Puts a whole set under an element, marking the element itself if `member`.
    pub fn graft(&mut self, element: Element, member: bool, below: FieldSet) {
        if member || !below.is_empty() {
            let node = self.entry(&element);
            node.member |= member;
            if node.below.is_empty() { node.below = below } else { node.below.absorb(&below) }
        }
    }

    /// Puts an element that comes behind all others, if anything is left of it.
    fn push(&mut self, element: &Element, member: bool, below: FieldSet) {
        if member || !below.is_empty() {
            self.nodes.push((element.clone(), Node { member, below }));
        }
    }

    /// True if exactly this path is a member.
    pub fn contains(&self, path: &[Element]) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        self.find(first).is_some_and(|n| if rest.is_empty() { n.member } else { n.below.contains(rest) })
    }

    /// The set below an element (`None`: nothing there), and whether the element itself is a member.
    pub fn at(&self, element: &Element) -> Option<(bool, &FieldSet)> {
        self.find(element).map(|n| (n.member, &n.below))
    }

    /// Adds all of `other`.
    pub fn absorb(&mut self, other: &FieldSet) {
        if self.is_empty() {
            self.nodes.clone_from(&other.nodes);
            return;
        }
        for (element, node) in &other.nodes {
            let mine = self.entry(element);
            mine.member |= node.member;
            mine.below.absorb(&node.below);
        }
    }

    /// True if a member of one is a member of the other.
    pub fn meets(&self, other: &FieldSet) -> bool {
        self.nodes.iter().any(|(element, node)| {
            other.find(element).is_some_and(|theirs| node.member && theirs.member || node.below.meets(&theirs.below))
        })
    }

    /// True if a member of `other` is a member of this, or above one.
    pub fn meets_below(&self, other: &FieldSet) -> bool {
        self.nodes.iter().any(|(element, node)| {
            other.find(element).is_some_and(|theirs| theirs.member || node.below.meets_below(&theirs.below))
        })
    }

    /// Members of both.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        let mut out = FieldSet::default();
        for (element, node) in &self.nodes {
            if let Some(theirs) = other.find(element) {
                out.push(element, node.member && theirs.member, node.below.intersection(&theirs.below));
            }
        }
        out
    }

    /// Members that `other` does not have.
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        let mut out = FieldSet::default();
        for (element, node) in &self.nodes {
            match other.find(element) {
                Some(theirs) => {
                    out.push(element, node.member && !theirs.member, node.below.difference(&theirs.below));
                }
                None => out.push(element, node.member, node.below.clone()),
            }
        }
        out
    }

    /// Members that are neither in `other` nor below a member of it.
    pub fn recursive_difference(&self, other: &FieldSet) -> FieldSet {
        let mut out = FieldSet::default();
        for (element, node) in &self.nodes {
            match other.find(element) {
                Some(theirs) if theirs.member => {}
                Some(theirs) => out.push(element, node.member, node.below.recursive_difference(&theirs.below)),
                None => out.push(element, node.member, node.below.clone()),
            }
        }
        out
    }

    /// Drops a path and everything below it.
    pub fn forget(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        let Some(at) = self.find_field(first) else { return };
        if rest.is_empty() {
            self.nodes.remove(at);
        } else {
            let node = &mut self.nodes[at].1;
            node.below.forget(rest);
            if !node.member && node.below.is_empty() {
                self.nodes.remove(at);
            }
        }
    }

    /// Keeps only what is below the given top-level field.
    pub fn only(&self, field: &str) -> FieldSet {
        FieldSet { nodes: self.find_field(field).map(|at| self.nodes[at].clone()).into_iter().collect() }
    }

    /// Every member, as text like `.spec.template.spec.containers[name="a"].image`, in order.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect("", &mut out);
        out
    }

    fn collect(&self, prefix: &str, out: &mut Vec<String>) {
        for (element, node) in &self.nodes {
            let here = format!("{prefix}{}", element_text(element));
            if node.member {
                out.push(here.clone());
            }
            node.below.collect(&here, out);
        }
    }

    /// The wire form.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// About how many bytes the wire form is.
    pub fn weight(&self) -> usize {
        const ENTRY_BYTES: usize = 6;
        let of = |(element, node): &(Element, Node)| {
            let dot = if node.member && !node.below.is_empty() { 7 } else { 0 };
            ENTRY_BYTES + element.text().len() + dot + node.below.weight()
        };
        2 + self.nodes.iter().map(of).sum::<usize>()
    }

    /// Reads the wire form; what is not understood is left out.
    pub fn from_value(value: &Value) -> FieldSet {
        let mut out = FieldSet::default();
        for (key, inner) in value.as_object().into_iter().flatten() {
            if let Some(element) = Element::from_wire(key) {
                let below = FieldSet::from_value(inner);
                let member = below.is_empty() || inner.get(".").is_some();
                out.graft(element, member, below);
            }
        }
        out
    }
}

impl Serialize for FieldSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Below(self, false).serialize(serializer)
    }
}

/// A level of the wire form, with a dot if what is above it is a member too.
struct Below<'a>(&'a FieldSet, bool);

impl Serialize for Below<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if self.1 && !self.0.is_empty() {
            map.serialize_entry(".", &Below(&FieldSet::default(), false))?;
        }
        for (element, node) in &self.0.nodes {
            map.serialize_entry(&element.wire(), &Below(&node.below, node.member))?;
        }
        map.end()
    }
}

/// One step of a path as messages show it: `.name`, `[name="a"]`, `[="x"]`.
pub(super) fn element_text(element: &Element) -> String {
    match element {
        Element::Field(name) => format!(".{name}"),
        Element::Key(key) => {
            let fields: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
            let shown: Vec<String> = fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("[{}]", shown.join(","))
        }
        Element::Value(value) => format!("[={value}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_wire_form_round_trips() {
        let wire =
            json!({"f:spec": {"f:a": {}, "f:list": {"k:{\"name\":\"x\"}": {".": {}, "f:image": {}}, "v:\"s\"": {}}}});
        let set = FieldSet::from_value(&wire);
        assert_eq!(set.to_value(), wire);
        assert_eq!(
            set.paths(),
            [".spec.a", ".spec.list[name=\"x\"]", ".spec.list[name=\"x\"].image", ".spec.list[=\"s\"]"]
        );
    }
}
