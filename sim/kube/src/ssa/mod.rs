//! Server-side apply: who owns which field, and what follows when owners disagree.
//!
//! The rules are those of Kubernetes' structured merge: an applied configuration is merged into the live object by the
//! types of its fields (`shape`), the applier owns exactly the fields it sent, a field that nobody owns any more goes
//! away, and changing a field somebody else owns is a conflict unless forced.

mod check;
mod fields;
mod manage;
mod merge;
mod shape;

pub(crate) use check::go_plain;
pub use check::{check, text as complaints_text};
pub use fields::{Element, FieldSet};
pub use manage::{Applied, Manager, Operation, Writer, apply, update};
pub use merge::{Changes, compare, compare_field, merge, remove, to_field_set};
pub use shape::{ListKind, Shape};
