//! What a structural schema declares to expressions: types, and how large values can get.

use std::{collections::BTreeMap, sync::Arc};

use sim_kube_cel::{Decl, ObjectType, Type, escape};

use super::{
    DEPTH_MAX,
    node::{Additional, Kind, Node},
};

/// Largest request, in bytes: what unbounded values are taken to be bounded by.
pub(crate) const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;

/// The declaration of a node, or `None` for one that expressions cannot see.
pub(crate) fn declare(node: &Node, resource_root: bool) -> Option<Decl> {
    at(node, resource_root, "selfType", 0)
}

fn text(elements_max: u64) -> Decl {
    Decl::scalar(Type::String, elements_max, 2)
}

fn at(node: &Node, resource_root: bool, name: &str, depth: usize) -> Option<Decl> {
    if depth > DEPTH_MAX {
        return None;
    }
    if node.int_or_string {
        let most = node.max_length.map_or(REQUEST_BYTES_MAX - 2, |m| m.saturating_mul(4));
        return Some(Decl::scalar(Type::Dyn, most, 1));
    }
    match node.kind? {
        Kind::Boolean => Some(Decl::scalar(Type::Bool, 1, 4)),
        Kind::Integer => Some(Decl::scalar(Type::Int, 1, 1)),
        Kind::Number => Some(Decl::scalar(Type::Double, 1, 1)),
        Kind::String => Some(match node.format_name.as_str() {
            "byte" => Decl::scalar(Type::Bytes, node.max_length.unwrap_or(REQUEST_BYTES_MAX - 2), 2),
            "duration" => Decl::scalar(Type::Duration, 32, 4),
            "date" => Decl::scalar(Type::Timestamp, 12, 12),
            "date-time" => Decl::scalar(Type::Timestamp, 37, 22),
            _ => {
                let enumerated = node.enumeration.iter().filter_map(|e| e.as_str()).map(|e| e.len() as u64).max();
                let most = node.max_length.map(|m| m.saturating_mul(4)).or(enumerated);
                text(most.unwrap_or(REQUEST_BYTES_MAX - 2))
            }
        }),
        Kind::Array => {
            let items = node.items.as_deref()?;
            let inner = at(items, items.embedded, &format!("{name}.@items"), depth + 1)?;
            let most = node.max_items.unwrap_or((REQUEST_BYTES_MAX - 2) / (inner.serialized_min + 1));
            Some(Decl {
                ty: Type::list(inner.ty.clone()),
                elements_max: most,
                serialized_min: 2,
                element: Some(Arc::new(inner)),
                fields: Arc::default(),
            })
        }
        Kind::Object => {
            if let Additional::Schema(values) = &node.additional {
                let inner = at(values, values.embedded, &format!("{name}.@values"), depth + 1)?;
                let most = node.max_properties.unwrap_or((REQUEST_BYTES_MAX - 2) / (inner.serialized_min + 6));
                return Some(Decl {
                    ty: Type::map(inner.ty.clone()),
                    elements_max: most,
                    serialized_min: 2,
                    element: Some(Arc::new(inner)),
                    fields: Arc::default(),
                });
            }
            Some(object(node, resource_root, name, depth))
        }
    }
}

fn object(node: &Node, resource_root: bool, name: &str, depth: usize) -> Decl {
    let mut fields: BTreeMap<String, Decl> = BTreeMap::new();
    let mut types: BTreeMap<String, (String, Type)> = BTreeMap::new();
    let mut serialized_min = 2;
    let mut add = |key: &str, decl: Decl| {
        if let Some(escaped) = escape(key) {
            types.insert(escaped.clone(), (key.to_owned(), decl.ty.clone()));
            fields.insert(escaped, decl);
        }
    };
    for (key, property) in &node.properties {
        if resource_root && matches!(key.as_str(), "kind" | "apiVersion" | "metadata") {
            continue;
        }
        let Some(decl) = at(property, property.embedded, &format!("{name}.{key}"), depth + 1) else { continue };
        if node.required.contains(key) && property.default.is_none() {
            serialized_min += key.len() as u64 + decl.serialized_min + 4;
        }
        add(key, decl);
    }
    if resource_root {
        // Whatever the schema says of them, these can be seen at the root of a resource.
        let metadata = node.properties.get("metadata");
        let mut inner: BTreeMap<String, Decl> = BTreeMap::new();
        for key in ["name", "generateName"] {
            let declared = metadata.and_then(|m| m.properties.get(key)).and_then(|n| at(n, false, key, depth + 2));
            inner.insert(key.to_owned(), declared.unwrap_or_else(|| text(REQUEST_BYTES_MAX - 2)));
        }
        let inner_types = inner.iter().map(|(k, d)| (k.clone(), (k.clone(), d.ty.clone()))).collect();
        let ty = Type::Object(Arc::new(ObjectType { name: format!("{name}.metadata"), fields: inner_types }));
        add("metadata", Decl { ty, elements_max: 1, serialized_min: 2, element: None, fields: Arc::new(inner) });
        add("kind", text(REQUEST_BYTES_MAX - 2));
        add("apiVersion", text(REQUEST_BYTES_MAX - 2));
    }
    let ty = Type::Object(Arc::new(ObjectType { name: name.to_owned(), fields: types }));
    Decl { ty, elements_max: u64::MAX, serialized_min, element: None, fields: Arc::new(fields) }
}
