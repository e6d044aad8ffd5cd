//! Structural schemas of custom resources: defaulting, pruning and validation.
//!
//! A schema is compiled once when its definition is stored ([`Compiled`]); each write then walks the compiled form. The
//! order of a refusal's causes is that of the real server: keywords, embedded resources, then sets and maps by key, then
//! rules (`x-kubernetes-validations`).
//!
//! ```
//! use serde_json::json;
//! use sim_kube::schema::Compiled;
//! let schema = Compiled::new(&json!({"type": "object", "properties": {"size": {"type": "integer", "minimum": 1}}}));
//! let causes = schema.validate(&json!({"size": 0}), None);
//! assert_eq!(causes[0].message, "Invalid value: 0: size in body should be greater than or equal to 1");
//! ```

mod decl;
mod formats;
mod lists;
mod node;
mod prune;
mod rules;
mod validate;

use serde_json::Value;

pub use formats::Format;
pub use node::{Additional, Bound, Kind, ListType, Node, Pattern};

pub(crate) use decl::REQUEST_BYTES_MAX;
pub(crate) use rules::Rules;
pub(crate) use validate::{quoted, shown};

use crate::status::Cause;

/// Largest number of causes one refusal lists.
pub const CAUSES_MAX: usize = 100;
/// Deepest nesting of an object that is walked; deeper parts are left as they are.
pub const DEPTH_MAX: usize = 64;

/// With one of these, rules are not evaluated: their types may not hold.
const BLOCKING: &[&str] = &[
    "FieldValueNotSupported",
    "FieldValueRequired",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
];
const UNCHECKED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

/// A structural schema, compiled.
#[derive(Clone, Debug)]
pub struct Compiled {
    root: Node,
    rules: Option<rules::Rules>,
}

impl Compiled {
    /// Compiles a schema as it stands under `openAPIV3Schema`.
    pub fn new(schema: &Value) -> Self {
        let mut root = Node::compile(schema);
        root.embedded = true;
        let rules = rules::compile(schema, &root);
        Self { root, rules }
    }

    /// Compiles a part of a schema, which is no resource: its defaults are checked by it.
    pub(crate) fn part(schema: &Value) -> Self {
        let root = Node::compile(schema);
        let rules = rules::compile(schema, &root);
        Self { root, rules }
    }

    /// The rules, if there are any.
    pub(crate) fn rules(&self) -> Option<&Rules> {
        self.rules.as_ref()
    }

    /// The root of the schema.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// Removes fields the schema does not know; returns their paths, sorted. `metadata`, `apiVersion` and `kind` of the
    /// root and of embedded resources are kept.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        prune::prune(object, &self.root)
    }

    /// Drops nulls where null is not a value and no default stands ready, then fills in the defaults.
    pub fn default(&self, object: &mut Value) {
        prune::drop_nulls(object, Some(&self.root), 0);
        if self.root.defaults_inside {
            prune::default(object, &self.root, 0);
        }
    }

    /// What the schema objects to, as the real server words it. With `old`, what did not change since is tolerated.
    pub fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<Cause> {
        let mut causes = validate::validate(object, old, &self.root);
        if self.root.lists_inside {
            lists::embedded(object, &self.root, &mut causes);
            let tolerated = old.is_some_and(|old| !lists::duplicates(old, &self.root).is_empty());
            if !tolerated {
                causes.extend(lists::duplicates(object, &self.root));
            }
        }
        if let Some(rules) = &self.rules {
            if causes.iter().any(|c| BLOCKING.contains(&c.reason)) {
                causes.push(Cause::new(
                    "FieldValueInvalid",
                    validate::NOWHERE,
                    format!("Invalid value: null: {UNCHECKED}"),
                ));
            } else {
                causes.extend(rules::evaluate(object, old, rules, &self.root));
            }
        }
        causes.truncate(CAUSES_MAX);
        causes
    }
}

/// `path.key`, or `key` at the root.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests;
