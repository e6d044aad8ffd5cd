//! Sets of field paths and their wire form, `FieldsV1`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::json;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// `f:name`.
    Field(String),
    /// `k:{"name":"a"}`: canonical JSON of the key fields.
    Key(String),
    /// `v:"x"`: canonical JSON of an item of a set.
    Value(String),
}

impl Element {
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
            "f" => Some(Element::Field(rest.to_owned())),
            "k" | "v" => {
                let canonical = json::canonical(&serde_json::from_str::<Value>(rest).ok()?);
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

/// A set of field paths, as a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    nodes: BTreeMap<Element, Node>,
}

impl FieldSet {
    /// True if no path is in the set.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Adds a path; the empty path is no path.
    pub fn insert(&mut self, path: &[Element]) {
        let Some((first, rest)) = path.split_first() else { return };
        let node = self.nodes.entry(first.clone()).or_default();
        if rest.is_empty() {
            node.member = true;
        } else {
            node.below.insert(rest);
        }
    }

    /// Puts a whole set under an element, marking the element itself if `member`.
    pub fn graft(&mut self, element: Element, member: bool, below: FieldSet) {
        if member || !below.is_empty() {
            let node = self.nodes.entry(element).or_default();
            node.member |= member;
            if node.below.is_empty() { node.below = below } else { node.below.absorb(&below) }
        }
    }

    /// True if exactly this path is a member.
    pub fn contains(&self, path: &[Element]) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        self.nodes.get(first).is_some_and(|n| if rest.is_empty() { n.member } else { n.below.contains(rest) })
    }

    /// The set below an element (`None`: nothing there), and whether the element itself is a member.
    pub fn at(&self, element: &Element) -> Option<(bool, &FieldSet)> {
        self.nodes.get(element).map(|n| (n.member, &n.below))
    }

    /// Adds all of `other`.
    pub fn absorb(&mut self, other: &FieldSet) {
        for (element, node) in &other.nodes {
            let mine = self.nodes.entry(element.clone()).or_default();
            mine.member |= node.member;
            mine.below.absorb(&node.below);
        }
    }

    /// Members of both.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        let mut out = FieldSet::default();
        for (element, node) in &self.nodes {
            if let Some(theirs) = other.nodes.get(element) {
                out.graft(element.clone(), node.member && theirs.member, node.below.intersection(&theirs.below));
            }
        }
        out
    }

    /// Members that `other` does not have.
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        let mut out = FieldSet::default();
        for (element, node) in &self.nodes {
            match other.nodes.get(element) {
                Some(theirs) => {
                    out.graft(element.clone(), node.member && !theirs.member, node.below.difference(&theirs.below));
                }
                None => out.graft(element.clone(), node.member, node.below.clone()),
            }
        }
        out
    }

    /// Members that are neither in `other` nor below a member of it.
    pub fn recursive_difference(&self, other: &FieldSet) -> FieldSet {
        let mut out = FieldSet::default();
        for (element, node) in &self.nodes {
            match other.nodes.get(element) {
                Some(theirs) if theirs.member => {}
                Some(theirs) => out.graft(element.clone(), node.member, node.below.recursive_difference(&theirs.below)),
                None => out.graft(element.clone(), node.member, node.below.clone()),
            }
        }
        out
    }

    /// Drops a path and everything below it.
    pub fn forget(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        let element = Element::Field((*first).to_owned());
        if rest.is_empty() {
            self.nodes.remove(&element);
        } else if let Some(node) = self.nodes.get_mut(&element) {
            node.below.forget(rest);
            if !node.member && node.below.is_empty() {
                self.nodes.remove(&element);
            }
        }
    }

    /// Keeps only what is below the given top-level field.
    pub fn only(&self, field: &str) -> FieldSet {
        let element = Element::Field(field.to_owned());
        let nodes = self.nodes.get(&element).map(|n| (element.clone(), n.clone())).into_iter().collect();
        FieldSet { nodes }
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
        let mut map = Map::new();
        for (element, node) in &self.nodes {
            let mut inner = node.below.to_value();
            if node.member
                && !node.below.is_empty()
                && let Value::Object(fields) = &mut inner
            {
                fields.shift_insert(0, ".".into(), Value::Object(Map::new()));
            }
            map.insert(element.wire(), inner);
        }
        Value::Object(map)
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
