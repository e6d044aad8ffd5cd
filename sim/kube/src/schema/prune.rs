//! Pruning, nulls and defaults.

use serde_json::Value;

use super::{
    DEPTH_MAX, join,
    node::{Additional, Node},
};

fn is_meta(key: &str) -> bool {
    matches!(key, "metadata" | "apiVersion" | "kind")
}

/// Removes unknown fields; their paths, sorted.
pub(super) fn prune(object: &mut Value, root: &Node) -> Vec<String> {
    let mut dropped = Vec::new();
    prune_at(object, Some(root), "", 0, &mut dropped);
    dropped.sort();
    dropped
}

/// Paths are only written when something is dropped: `at` builds them from the parent's on demand.
fn prune_at(value: &mut Value, node: Option<&Node>, path: &str, depth: usize, dropped: &mut Vec<String>) {
    if depth > DEPTH_MAX {
        return;
    }
    if let Some(node) = node.filter(|n| n.preserve) {
        return keep(value, node, path, depth, dropped);
    }
    match value {
        Value::Object(map) => {
            let unknown = |key: &str| match node {
                None => true,
                Some(n) => {
                    let known = n.properties.contains_key(key) || (n.embedded && is_meta(key));
                    !known && matches!(n.additional, Additional::Unsaid | Additional::Bool(false))
                }
            };
            if map.keys().any(|key| unknown(key)) {
                map.retain(|key, _| {
                    let gone = unknown(key);
                    if gone {
                        dropped.push(join(path, key));
                    }
                    !gone
                });
            }
            let Some(node) = node else { return };
            for (key, child) in map.iter_mut() {
                if (child.is_object() || child.is_array()) && !(node.embedded && is_meta(key)) {
                    prune_at(child, node.entry(key), &join(path, key), depth + 1, dropped);
                }
            }
        }
        Value::Array(items) => {
            let inner = node.and_then(|n| n.items.as_deref());
            for (i, item) in items.iter_mut().enumerate() {
                if item.is_object() || item.is_array() {
                    prune_at(item, inner, &format!("{path}[{i}]"), depth + 1, dropped);
                }
            }
        }
        _ => {}
    }
}

/// Inside `x-kubernetes-preserve-unknown-fields`: only what is specified is pruned.
fn keep(value: &mut Value, node: &Node, path: &str, depth: usize, dropped: &mut Vec<String>) {
    if depth > DEPTH_MAX {
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, child) in map.iter_mut() {
                if node.embedded && is_meta(key) {
                    continue;
                }
                let inner = node.properties.get(key);
                if inner.is_some() || !matches!(node.additional, Additional::Unsaid) {
                    prune_at(child, inner.or(node.entry(key)), &join(path, key), depth + 1, dropped);
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = node.items.as_deref() {
                for (i, item) in items.iter_mut().enumerate() {
                    keep(item, inner, &format!("{path}[{i}]"), depth + 1, dropped);
                }
            }
        }
        _ => {}
    }
}

/// Drops the nulls of fields that may not be null and have no default.
pub(super) fn drop_nulls(value: &mut Value, node: Option<&Node>, depth: usize) {
    let Some(node) = node.filter(|_| depth <= DEPTH_MAX) else { return };
    match value {
        Value::Object(map) => {
            let goes = |key: &str, child: &Value| {
                child.is_null() && node.entry(key).is_some_and(|n| !n.nullable && n.default.is_none())
            };
            if map.iter().any(|(key, child)| goes(key, child)) {
                map.retain(|key, child| !goes(key, child));
            }
            for (key, child) in map.iter_mut() {
                drop_nulls(child, node.entry(key), depth + 1);
            }
        }
        Value::Array(items) => {
            for item in items {
                drop_nulls(item, node.items.as_deref(), depth + 1);
            }
        }
        _ => {}
    }
}

/// Fills in defaults; parents are not invented.
pub(super) fn default(value: &mut Value, node: &Node, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    let null_for = |child: &Value, node: &Node| child.is_null() && !node.nullable;
    match value {
        Value::Object(map) => {
            for (key, inner) in &node.properties {
                if let Some(default) = &inner.default
                    && map.get(key).is_none_or(|child| null_for(child, inner))
                {
                    map.insert(key.clone(), default.clone());
                }
                if inner.defaults_inside
                    && let Some(child) = map.get_mut(key)
                {
                    self::default(child, inner, depth + 1);
                }
            }
            if let Additional::Schema(inner) = &node.additional {
                for (_, child) in map.iter_mut().filter(|(key, _)| !node.properties.contains_key(*key)) {
                    fill(child, inner, depth);
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = &node.items {
                for item in items {
                    fill(item, inner, depth);
                }
            }
        }
        _ => {}
    }
}

fn fill(child: &mut Value, inner: &Node, depth: usize) {
    if child.is_null()
        && !inner.nullable
        && let Some(default) = &inner.default
    {
        *child = default.clone();
    }
    if inner.defaults_inside {
        default(child, inner, depth + 1);
    }
}
