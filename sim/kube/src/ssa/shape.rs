//! What a field is to a merge: a map, an atomic map, a list by key, a set, an atomic list.

use serde_json::Value;
use sim_kube_schemas::{Field, List, Struct, Type, object_meta};

use crate::json;

/// How the items of a list are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind<'a> {
    /// The list is one value.
    Atomic,
    /// Items are told apart by their value.
    Set,
    /// Items are told apart by these fields.
    Map(Vec<&'a str>),
}

/// The type of a value, as far as merging needs it.
#[derive(Clone, Copy, Debug)]
pub enum Shape<'a> {
    /// The root of a custom resource with its structural schema.
    Root(&'a Value),
    /// A node of a structural schema.
    Schema(&'a Value),
    /// The root of a built-in kind.
    Kind(&'a Struct),
    /// A value within a built-in kind (or within any object's metadata).
    Typed(&'a Type),
    /// A value without a type: granular maps, atomic lists.
    Untyped,
}

impl<'a> Shape<'a> {
    fn list_type(self) -> Option<&'a List> {
        match self {
            Shape::Typed(Type::List(list)) => Some(list),
            _ => None,
        }
    }

    /// The declared field of a structure.
    pub fn field(self, name: &str) -> Option<&'a Field> {
        match self {
            Shape::Kind(structure) => structure.field(name),
            Shape::Typed(Type::Struct(structure) | Type::AtomicStruct(structure)) => structure.get().field(name),
            _ => None,
        }
    }

    /// The shape of a map's entry.
    pub fn entry(self, name: &str) -> Self {
        match self {
            Shape::Root(_) if name == "metadata" => Shape::Kind(object_meta()),
            Shape::Root(schema) | Shape::Schema(schema) => {
                let declared = schema.get("properties").and_then(|p| p.get(name));
                match declared.or_else(|| schema.get("additionalProperties").filter(|a| a.is_object())) {
                    Some(inner) => Shape::Schema(inner),
                    None => Shape::Untyped,
                }
            }
            Shape::Typed(Type::Map(map)) => Shape::Typed(&map.value),
            other => other.field(name).map_or(Shape::Untyped, |f| Shape::Typed(&f.of)),
        }
    }

    /// The shape of a list's item.
    pub fn item(self) -> Self {
        match self {
            Shape::Root(schema) | Shape::Schema(schema) => schema.get("items").map_or(Shape::Untyped, Shape::Schema),
            other => other.list_type().map_or(Shape::Untyped, |list| Shape::Typed(&list.item)),
        }
    }

    /// True if the map is one value.
    pub fn atomic_map(self) -> bool {
        match self {
            Shape::Schema(schema) => schema.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic"),
            Shape::Typed(Type::AtomicStruct(_)) => true,
            Shape::Typed(Type::Map(map)) => map.atomic,
            _ => false,
        }
    }

    /// How items of the list are told apart.
    pub fn list(self) -> ListKind<'a> {
        match self {
            Shape::Schema(schema) => match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
                Some("set") => ListKind::Set,
                Some("map") => ListKind::Map(
                    json::list(schema, &["x-kubernetes-list-map-keys"]).iter().filter_map(Value::as_str).collect(),
                ),
                _ => ListKind::Atomic,
            },
            other => match other.list_type().map(|list| &list.kind) {
                Some(sim_kube_schemas::ListKind::Set) => ListKind::Set,
                Some(sim_kube_schemas::ListKind::Map(keys)) => ListKind::Map(keys.iter().map(|k| &**k).collect()),
                _ => ListKind::Atomic,
            },
        }
    }

    /// The default of a key field that an item leaves out.
    pub fn key_default(self, key: &str) -> Option<Value> {
        match self {
            Shape::Root(schema) | Shape::Schema(schema) => {
                json::at(schema, &["items", "properties", key, "default"]).cloned()
            }
            other => other.item().field(key).and_then(|f| f.default.clone()),
        }
    }

    /// True if `name` is a declared field of a structure rather than the key of a free map.
    pub fn declares(self, name: &str) -> bool {
        match self {
            Shape::Root(schema) => {
                matches!(name, "metadata" | "apiVersion" | "kind") || json::at(schema, &["properties", name]).is_some()
            }
            Shape::Schema(schema) => {
                json::at(schema, &["properties", name]).is_some()
                    || (schema.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true))
                        && matches!(name, "metadata" | "apiVersion" | "kind"))
            }
            other => other.field(name).is_some(),
        }
    }

    /// True if the value may hold fields that no schema names.
    pub fn open(self) -> bool {
        match self {
            Shape::Untyped | Shape::Typed(Type::Any | Type::SchemaOr(_) | Type::Map(_)) => true,
            Shape::Root(schema) | Shape::Schema(schema) => {
                schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
                    || schema.get("additionalProperties").is_some_and(|a| a != &Value::Bool(false))
                    // An object of which nothing is said is a free one.
                    || (schema.get("properties").is_none() && schema.get("additionalProperties").is_none())
            }
            _ => false,
        }
    }
}
