//! Role-based access control: what roles and bindings grant.

mod bootstrap;
mod index;
mod roles;
mod rules;

pub(crate) use bootstrap::objects as bootstrap_objects;
pub use index::{Decision, RuleUsage};
pub(crate) use index::{Index, TABLES};
pub(crate) use rules::quoted;
pub use rules::{Attributes, On, Rule, missing};

#[cfg(test)]
mod tests;
