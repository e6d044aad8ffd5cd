//! Who asks, and may they: identities, authentication, authorisation.

mod user;

pub use user::{Connection, UserInfo};
