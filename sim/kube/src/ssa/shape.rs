//! What a field is to a merge: a map, an atomic map, a list by key, a set, an atomic list.

use serde_json::Value;

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
    /// A field of a built-in kind (or of any object's metadata): the names of the field and of its parent.
    BuiltIn {
        /// Name of the field's parent.
        parent: &'a str,
        /// Name of the field.
        field: &'a str,
    },
    /// A value without a type: granular maps, atomic lists.
    Untyped,
}

/// Fields of built-in kinds that are maps yet one value.
const ATOMIC_MAPS: &[&str] = &[
    "selector",
    "labelSelector",
    "podSelector",
    "namespaceSelector",
    "nodeSelector",
    "fieldRef",
    "resourceFieldRef",
    "configMapKeyRef",
    "secretKeyRef",
    "roleRef",
    "claimRef",
    "involvedObject",
    "regarding",
    "related",
    "secretRef",
    "targetRef",
    "dataSource",
    "scaleTargetRef",
];

fn built_in_list(parent: &str, field: &str) -> ListKind<'static> {
    let keys: &[&str] = match (parent, field) {
        (
            _,
            "containers"
            | "initContainers"
            | "ephemeralContainers"
            | "env"
            | "volumes"
            | "imagePullSecrets"
            | "secrets"
            | "resourceClaims",
        ) => &["name"],
        ("subsets" | "endpoints" | "ingress" | "egress", _) => return ListKind::Atomic,
        ("containers" | "initContainers", "ports") => &["containerPort", "protocol"],
        (_, "ports") => &["port", "protocol"],
        (_, "volumeMounts") => &["mountPath"],
        (_, "volumeDevices") => &["devicePath"],
        (_, "conditions") => &["type"],
        ("status", "addresses") => &["type"],
        (_, "ownerReferences") => &["uid"],
        (_, "hostAliases" | "podIPs") => &["ip"],
        (_, "topologySpreadConstraints") => &["topologyKey", "whenUnsatisfiable"],
        (_, "finalizers") => return ListKind::Set,
        _ => return ListKind::Atomic,
    };
    ListKind::Map(keys.to_vec())
}

impl<'a> Shape<'a> {
    /// The root shape of a built-in kind.
    pub fn built_in() -> Self {
        Shape::BuiltIn { parent: "", field: "" }
    }

    /// The shape of a map's entry.
    pub fn entry(self, name: &'a str) -> Self {
        match self {
            Shape::Root(_) if name == "metadata" => Shape::BuiltIn { parent: "", field: "metadata" },
            Shape::Root(schema) | Shape::Schema(schema) => {
                let declared = schema.get("properties").and_then(|p| p.get(name));
                match declared.or_else(|| schema.get("additionalProperties").filter(|a| a.is_object())) {
                    Some(inner) => Shape::Schema(inner),
                    None => Shape::Untyped,
                }
            }
            Shape::BuiltIn { field, .. } => Shape::BuiltIn { parent: field, field: name },
            Shape::Untyped => Shape::Untyped,
        }
    }

    /// The shape of a list's item.
    pub fn item(self) -> Self {
        match self {
            Shape::Root(schema) | Shape::Schema(schema) => schema.get("items").map_or(Shape::Untyped, Shape::Schema),
            other => other, // fields of an item of `containers` have `containers` as their parent
        }
    }

    /// True if the map is one value.
    pub fn atomic_map(self) -> bool {
        match self {
            Shape::Root(_) | Shape::Untyped => false,
            Shape::Schema(schema) => schema.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic"),
            Shape::BuiltIn { field, .. } => ATOMIC_MAPS.contains(&field),
        }
    }

    /// How items of the list are told apart.
    pub fn list(self) -> ListKind<'a> {
        match self {
            Shape::Root(_) | Shape::Untyped => ListKind::Atomic,
            Shape::Schema(schema) => match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
                Some("set") => ListKind::Set,
                Some("map") => ListKind::Map(
                    json::list(schema, &["x-kubernetes-list-map-keys"]).iter().filter_map(Value::as_str).collect(),
                ),
                _ => ListKind::Atomic,
            },
            Shape::BuiltIn { parent, field } => built_in_list(parent, field),
        }
    }

    /// The default of a key field that an item leaves out.
    pub fn key_default(self, key: &str) -> Option<Value> {
        match self {
            Shape::Root(schema) | Shape::Schema(schema) => {
                json::at(schema, &["items", "properties", key, "default"]).cloned()
            }
            Shape::BuiltIn { field: "ports", .. } if key == "protocol" => Some("TCP".into()),
            _ => None,
        }
    }

    /// True if `name` is a declared field of a structure rather than the key of a free map.
    pub fn declares(self, name: &str) -> bool {
        match self {
            Shape::Root(schema) => {
                matches!(name, "metadata" | "apiVersion" | "kind") || json::at(schema, &["properties", name]).is_some()
            }
            Shape::Schema(schema) => json::at(schema, &["properties", name]).is_some(),
            Shape::BuiltIn { .. } => true,
            Shape::Untyped => false,
        }
    }
}
