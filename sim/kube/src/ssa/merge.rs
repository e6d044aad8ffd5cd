//! Walking objects by their shape: field sets, comparison, merging, removal.

use serde_json::{Map, Value};

use super::{Element, FieldSet, ListKind, Shape};
use crate::json;

/// The identity of a list item, or `None` if the list is not associative or the item lacks its keys.
pub(super) fn identity(item: &Value, kind: &ListKind<'_>, list: Shape<'_>) -> Option<Element> {
    match kind {
        ListKind::Atomic => None,
        ListKind::Set => (!item.is_object() && !item.is_array()).then(|| Element::Value(json::canonical(item).into())),
        ListKind::Map(keys) => {
            let mut key = Map::new();
            for name in keys {
                if let Some(value) =
                    item.get(*name).filter(|v| !v.is_null()).cloned().or_else(|| list.key_default(name))
                {
                    key.insert((*name).to_owned(), value);
                }
            }
            (!key.is_empty()).then(|| Element::Key(json::canonical(&Value::Object(key)).into()))
        }
    }
}

/// The identities of all items, or `None` if the list must be treated as one value
/// (atomic, an item without a key, or two items of the same key).
fn identities(items: &[Value], shape: Shape<'_>) -> Option<Vec<Element>> {
    let kind = shape.list();
    if kind == ListKind::Atomic {
        return None;
    }
    let found: Option<Vec<Element>> = items.iter().map(|i| identity(i, &kind, shape)).collect();
    let mut sorted = found.clone()?;
    sorted.sort();
    sorted.dedup();
    found.filter(|f| f.len() == sorted.len())
}

/// The fields a configuration names: what its applier owns.
pub fn to_field_set(value: &Value, shape: Shape<'_>) -> FieldSet {
    below(value, shape).unwrap_or_default()
}

/// The set below a value; `None` if the value itself is the leaf.
fn below(value: &Value, shape: Shape<'_>) -> Option<FieldSet> {
    match value {
        Value::Object(map) if !shape.atomic_map() => {
            let mut out = FieldSet::default();
            for (name, child) in map {
                let element = Element::field(name);
                match below(child, shape.entry(name)) {
                    None => out.graft(element, true, FieldSet::default()),
                    Some(inner) => {
                        let member = inner.is_empty() || !shape.declares(name);
                        out.graft(element, member, inner);
                    }
                }
            }
            Some(out)
        }
        Value::Array(items) => {
            let elements = identities(items, shape)?;
            let mut out = FieldSet::default();
            for (element, item) in elements.into_iter().zip(items) {
                let inner = below(item, shape.item()).unwrap_or_default();
                out.graft(element, true, inner);
            }
            Some(out)
        }
        _ => None,
    }
}

/// What differs between two objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Fields only the new object has.
    pub added: FieldSet,
    /// Fields with another value.
    pub modified: FieldSet,
    /// Fields only the old object had.
    pub removed: FieldSet,
}

impl Changes {
    /// Added and modified together.
    pub fn written(&self) -> FieldSet {
        let mut all = self.added.clone();
        all.absorb(&self.modified);
        all
    }
}

/// Compares field by field.
pub fn compare(old: &Value, new: &Value, shape: Shape<'_>) -> Changes {
    let mut changes = Changes::default();
    compare_at(old, new, shape, &mut Vec::new(), &mut changes);
    changes
}

/// Compares one field of two objects.
pub fn compare_field(old: &Value, new: &Value, name: &str, shape: Shape<'_>) -> Changes {
    let mut changes = Changes::default();
    let (way, inner) = (&mut vec![Way::Field(name)], shape.entry(name));
    match (old.get(name), new.get(name)) {
        (Some(a), Some(b)) => compare_at(a, b, inner, way, &mut changes),
        (Some(a), None) => whole(a, inner, way, &mut changes.removed),
        (None, Some(b)) => whole(b, inner, way, &mut changes.added),
        (None, None) => {}
    }
    changes
}

/// One step of the way to what is compared: most of it is the same on both sides and never becomes a path.
#[derive(Clone, Copy)]
enum Way<'a> {
    Field(&'a str),
    Item(&'a Element),
}

fn path_of(way: &[Way<'_>]) -> Vec<Element> {
    let element = |step: &Way<'_>| match step {
        Way::Field(name) => Element::field(name),
        Way::Item(element) => (*element).clone(),
    };
    way.iter().map(element).collect()
}

/// Everything below `way`, which is only on one side.
fn whole(value: &Value, shape: Shape<'_>, way: &[Way<'_>], into: &mut FieldSet) {
    let mut set = FieldSet::default();
    nest(&path_of(way), true, below_with_containers(value, shape).unwrap_or_default(), &mut set);
    into.absorb(&set);
}

fn nest(path: &[Element], member: bool, inner: FieldSet, out: &mut FieldSet) {
    if let Some((first, rest)) = path.split_first() {
        if rest.is_empty() {
            out.graft(first.clone(), member, inner);
        } else {
            let mut deeper = FieldSet::default();
            nest(rest, member, inner, &mut deeper);
            out.graft(first.clone(), false, deeper);
        }
    }
}

/// Like [`below`], with every container a member too: an update that adds a map owns the map.
fn below_with_containers(value: &Value, shape: Shape<'_>) -> Option<FieldSet> {
    match value {
        Value::Object(map) if !shape.atomic_map() => {
            let mut out = FieldSet::default();
            for (name, child) in map {
                let inner = below_with_containers(child, shape.entry(name));
                out.graft(Element::field(name), true, inner.unwrap_or_default());
            }
            Some(out)
        }
        Value::Array(items) => {
            let elements = identities(items, shape)?;
            let mut out = FieldSet::default();
            for (element, item) in elements.into_iter().zip(items) {
                out.graft(element, true, below_with_containers(item, shape.item()).unwrap_or_default());
            }
            Some(out)
        }
        _ => None,
    }
}

fn compare_at<'a>(old: &'a Value, new: &'a Value, shape: Shape<'_>, way: &mut Vec<Way<'a>>, changes: &mut Changes) {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) if !shape.atomic_map() => {
            for (name, child) in a {
                way.push(Way::Field(name));
                match b.get(name) {
                    Some(other) => compare_at(child, other, shape.entry(name), way, changes),
                    None => whole(child, shape.entry(name), way, &mut changes.removed),
                }
                way.pop();
            }
            for (name, child) in b.iter().filter(|(name, _)| !a.contains_key(*name)) {
                way.push(Way::Field(name));
                whole(child, shape.entry(name), way, &mut changes.added);
                way.pop();
            }
        }
        (Value::Array(a), Value::Array(b)) if a != b => match (identities(a, shape), identities(b, shape)) {
            (Some(ia), Some(ib)) => compare_lists((a, &ia), (b, &ib), shape, way, changes),
            _ => changes.modified.insert(&path_of(way)),
        },
        _ if old == new => {}
        _ => changes.modified.insert(&path_of(way)),
    }
}

fn compare_lists(
    (a, ia): (&[Value], &[Element]),
    (b, ib): (&[Value], &[Element]),
    shape: Shape<'_>,
    way: &[Way<'_>],
    changes: &mut Changes,
) {
    // Elements live as long as this list is looked at: the way goes on in a copy.
    let mut way: Vec<Way<'_>> = way.to_vec();
    for (element, item) in ia.iter().zip(a) {
        way.push(Way::Item(element));
        match ib.iter().position(|e| e == element).and_then(|at| b.get(at)) {
            Some(other) => compare_at(item, other, shape.item(), &mut way, changes),
            None => whole(item, shape.item(), &way, &mut changes.removed),
        }
        way.pop();
    }
    for (element, item) in ib.iter().zip(b).filter(|(e, _)| !ia.contains(e)) {
        way.push(Way::Item(element));
        whole(item, shape.item(), &way, &mut changes.added);
        way.pop();
    }
}

/// Merges a configuration into a live value: what it names wins, the rest stays.
pub fn merge(live: &Value, config: &Value, shape: Shape<'_>) -> Value {
    match (live, config) {
        (Value::Object(a), Value::Object(b)) if !shape.atomic_map() => {
            let mut out = a.clone();
            for (name, child) in b {
                let merged = match a.get(name) {
                    Some(existing) => merge(existing, child, shape.entry(name)),
                    None => child.clone(),
                };
                out.insert(name.clone(), merged);
            }
            Value::Object(out)
        }
        (Value::Array(a), Value::Array(b)) => match (identities(a, shape), identities(b, shape)) {
            (Some(ia), Some(ib)) => Value::Array(merge_lists(a, &ia, b, &ib, shape)),
            _ => config.clone(),
        },
        _ => config.clone(),
    }
}

/// The order of the applied items holds among themselves; live items they do not name keep their place.
fn merge_lists(a: &[Value], ia: &[Element], b: &[Value], ib: &[Element], shape: Shape<'_>) -> Vec<Value> {
    let mut out = Vec::with_capacity(a.len().max(b.len()));
    let mut next = 0;
    let take_from_config = |at: usize, out: &mut Vec<Value>| {
        let merged = match ia.iter().position(|e| *e == ib[at]) {
            Some(live) => merge(&a[live], &b[at], shape.item()),
            None => b[at].clone(),
        };
        out.push(merged);
    };
    for (element, item) in ia.iter().zip(a) {
        if ib.contains(element) {
            // A place of the live list that the configuration fills with its own next known item.
            while next < ib.len() {
                let known = ia.contains(&ib[next]);
                take_from_config(next, &mut out);
                next += 1;
                if known {
                    break;
                }
            }
        } else {
            out.push(item.clone());
        }
    }
    for at in next..ib.len() {
        take_from_config(at, &mut out);
    }
    out
}

/// Removes the members of `gone` from a value, unless `kept` holds them or something below them;
/// containers emptied by it go too unless `kept` holds them.
pub fn remove(value: &mut Value, gone: &FieldSet, kept: &FieldSet, shape: Shape<'_>) {
    let nothing = FieldSet::default();
    // True: drop the child. `emptied` containers follow their content.
    let judge = |element: &Element, child: &mut Value, inner: Shape<'_>| -> bool {
        let Some((gone_here, gone_below)) = gone.at(element) else { return false };
        let (kept_here, kept_below) = kept.at(element).unwrap_or((false, &nothing));
        if gone_here && !kept_here && kept_below.is_empty() {
            return true;
        }
        let had = !is_empty(child);
        remove(child, gone_below, kept_below, inner);
        had && is_empty(child) && !kept_here
    };
    match value {
        Value::Object(map) => map.retain(|name, child| !judge(&Element::field(name), child, shape.entry(name))),
        Value::Array(items) => {
            let Some(elements) = identities(items, shape) else { return };
            let mut at = 0;
            items.retain_mut(|item| {
                at += 1;
                !judge(&elements[at - 1], item, shape.item())
            });
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
