//! The built-in kinds of Kubernetes as types.
//!
//! Two sources, joined here: the schemas of the `k8s-openapi` crate (fields, types, required, descriptions of the
//! Kubernetes minor that its feature selects, see [`MINOR`]) and `facts.txt` (what those schemas lack: list types and their keys, atomic maps,
//! patch strategies, defaults of keys, names of the types behind strings).
//!
//! | question | answer |
//! |---|---|
//! | which fields has `apps/v1 Deployment`, of what type | [`kind`], a [`Struct`]; [`Struct::field`] gives a [`Field`] with a [`Type`] |
//! | how are the items of a list told apart in server-side apply | [`List::kind`] |
//! | what does strategic merge do with a field | [`Field::patch`] |
//! | its OpenAPI v3 definition | [`openapi`], [`closure`] |
//! | which root types has a group and version | [`roots`] |
//!
//! Everything is made on first use and kept for the life of the process: a definition costs nothing until an object of it is
//! walked. All of it is plain data, the same in every world.
//!
//! ```
//! use sim_kube_schemas::{ListKind, Type, kind};
//!
//! let deployment = kind("apps", "v1", "Deployment").unwrap();
//! let Type::Struct(spec) = &deployment.field("spec").unwrap().of else { panic!("spec is a structure") };
//! assert_eq!(&*spec.go, "DeploymentSpec");
//! let Type::Struct(template) = &spec.field("template").unwrap().of else { panic!("template is a structure") };
//! let Type::Struct(pod) = &template.field("spec").unwrap().of else { panic!("the pod's spec is a structure") };
//! let Type::List(containers) = &pod.field("containers").unwrap().of else { panic!("containers are a list") };
//! assert_eq!(containers.kind, ListKind::Map(vec!["name".into()]));
//! ```

mod facts;
mod openapi;
mod rows;
mod types;

pub use openapi::{closure, openapi};
pub use rows::{Root, roots};
pub use types::{
    Definition, Field, List, ListKind, Map, Patch, Reference, Struct, Type, definition, kind, object_meta,
};

/// The minor version of Kubernetes whose kinds these are (1.`MINOR`), as the feature of k8s-openapi selects it.
pub const MINOR: u32 = selected::MINOR;
/// The version a server of these kinds names itself by, `v1.37.0`.
pub const VERSION: &str = selected::VERSION;
/// The minor as text, as `/version` has it.
pub const MINOR_TEXT: &str = selected::MINOR_TEXT;

/// Each macro leaves its content only for the selected version.
mod selected {
    k8s_openapi::k8s_if_1_33! { pub const MINOR: u32 = 33; pub const VERSION: &str = "v1.33.0"; pub const MINOR_TEXT: &str = "33"; }
    k8s_openapi::k8s_if_1_34! { pub const MINOR: u32 = 34; pub const VERSION: &str = "v1.34.0"; pub const MINOR_TEXT: &str = "34"; }
    k8s_openapi::k8s_if_1_35! { pub const MINOR: u32 = 35; pub const VERSION: &str = "v1.35.0"; pub const MINOR_TEXT: &str = "35"; }
    k8s_openapi::k8s_if_1_36! { pub const MINOR: u32 = 36; pub const VERSION: &str = "v1.36.0"; pub const MINOR_TEXT: &str = "36"; }
    k8s_openapi::k8s_if_1_37! { pub const MINOR: u32 = 37; pub const VERSION: &str = "v1.37.0"; pub const MINOR_TEXT: &str = "37"; }
}

#[cfg(test)]
mod tests;
