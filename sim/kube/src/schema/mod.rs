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

mod formats;
mod lists;
mod node;
pub mod pattern;
mod prune;
mod validate;

use serde_json::Value;

pub use formats::{Format, go_duration};
pub use node::{Additional, Bound, Kind, ListType, Node, Pattern};

use crate::status::Cause;

/// Largest number of causes one refusal lists.
pub const CAUSES_MAX: usize = 100;
/// Deepest nesting of an object that is walked; deeper parts are left as they are.
pub const DEPTH_MAX: usize = 64;

/// A structural schema, compiled.
#[derive(Clone, Debug)]
pub struct Compiled {
    root: Node,
}

impl Compiled {
    /// Compiles a schema as it stands under `openAPIV3Schema`.
    pub fn new(schema: &Value) -> Self {
        let mut root = Node::compile(schema);
        root.embedded = true;
        Self { root }
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
