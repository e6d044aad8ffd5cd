//! An identity, and what a connection says of it.

use std::{collections::BTreeMap, sync::Arc};

use rustls::pki_types::CertificateDer;

/// Who makes a request (`authentication.k8s.io` `UserInfo`).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserInfo {
    /// Name, e.g. `system:serviceaccount:default:builder`.
    pub name: String,
    /// Uid, or empty.
    pub uid: String,
    /// Groups, e.g. `system:authenticated`.
    pub groups: Vec<String>,
    /// Anything else, e.g. `authentication.kubernetes.io/pod-name`.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Members may do everything, whatever the roles say.
pub const MASTERS: &str = "system:masters";
/// Everybody who said who they are.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Everybody who did not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";

impl UserInfo {
    /// A user of these groups.
    pub fn new(name: &str, groups: &[&str]) -> Self {
        Self { name: name.to_owned(), groups: groups.iter().map(|g| (*g).to_owned()).collect(), ..Self::default() }
    }

    /// The trusted caller: the world itself (its own set-up, its controllers, its plain port).
    pub fn admin() -> Self {
        Self::new("system:admin", &[MASTERS, AUTHENTICATED])
    }

    /// A caller without credentials.
    pub fn anonymous() -> Self {
        Self::new("system:anonymous", &[UNAUTHENTICATED])
    }

    /// A service account.
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        let all = format!("system:serviceaccounts:{namespace}");
        Self {
            uid: uid.to_owned(),
            ..Self::new(
                &format!("system:serviceaccount:{namespace}:{name}"),
                &["system:serviceaccounts", &all, AUTHENTICATED],
            )
        }
    }

    /// True for a member of `group`.
    pub fn belongs(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

/// What the connection of a request says of its client; an extension of the HTTP request.
///
/// A request without it comes from inside the process and is trusted ([`UserInfo::admin`]).
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// The client's certificate chain, its own first; empty without TLS or without a certificate.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// Whom a client without credentials is taken for; `None`: anonymous.
    pub without_credentials: Option<Arc<UserInfo>>,
}
