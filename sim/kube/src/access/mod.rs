//! Who asks, and may they: identities, authentication, authorisation.
//!
//! A request is authenticated by its client certificate (user: common name, groups: organizations), else by its bearer
//! token (static, or of a service account), else by what its way in says: the handle inside the process and the plain
//! port inside a world trust their callers ([`UserInfo::admin`]), any other way takes them for `system:anonymous`. Then
//! `Impersonate-…` headers are looked at, then [`rbac`].
//!
//! A cluster does all this when [`KubeOptions::access`](crate::KubeOptions::access) says so, as that of every world does
//! unless it is told otherwise.
//!
//! Not done: the node authorizer (nodes have no more rights than their roles give them), certificate signing requests,
//! tokens of Secrets (`kubernetes.io/service-account-token`), tokens bound to Secrets and Nodes, webhooks for tokens and
//! authorisation, OpenID Connect.

mod controllers;
mod escalation;
mod gate;
pub mod rbac;
mod reviews;
mod server;
pub mod service_accounts;
mod state;
pub mod tokens;
mod user;

pub(crate) use controllers::run as run_controllers;
pub(crate) use escalation::check as check_escalation;
pub(crate) use gate::{attributes, authenticate, authorize, authorize_creation, impersonate};
pub(crate) use reviews::{
    AccessReview, access_review, issue, rules_review, self_subject_review, token_request, token_review,
};
pub(crate) use state::Access;
pub use state::{AccessOptions, Authorization};
pub use user::{AUTHENTICATED, Connection, MASTERS, UNAUTHENTICATED, UserInfo};

#[cfg(test)]
mod tests;
