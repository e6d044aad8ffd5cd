//! What a server knows of users and rights.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use serde_json::Value;
use sim_clock::{Timestamp, watch};

use super::{
    Connection, UserInfo,
    rbac::{self, Attributes, Decision, Index, RuleUsage},
    tokens::{self, ISSUER, Refused, Signer},
    user::{AUTHENTICATED, MASTERS},
};
use crate::{
    engine::{Change, Engine},
    tls::{Authority, ClientCertificates, TlsError, subject},
};

/// Signatures that are remembered as good, so that a token is verified once and not at each request.
const VERIFIED_TOKENS_MAX: usize = 4096;

/// Who decides whether a request may be served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authorization {
    /// Nobody: whatever is asked is granted.
    #[default]
    AlwaysAllow,
    /// The roles and bindings in the store.
    Rbac,
}

/// How a server treats its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessOptions {
    /// Who decides.
    pub authorization: Authorization,
    /// Whether requests without credentials are served (as `system:anonymous`); else they are answered with 401.
    pub anonymous: bool,
    /// Static bearer tokens.
    pub tokens: BTreeMap<String, UserInfo>,
}

impl Default for AccessOptions {
    fn default() -> Self {
        Self { authorization: Authorization::default(), anonymous: true, tokens: BTreeMap::new() }
    }
}

/// Roles as the store has them.
#[derive(Default)]
struct Roles {
    index: Index,
    position: u64,
    /// One for each of [`rbac::TABLES`], once somebody has asked.
    wakes: Vec<watch::Receiver<u64>>,
}

/// Users and rights of one server.
///
/// Locks: the engine's is taken before this one's, never after.
pub(crate) struct Access {
    options: Mutex<AccessOptions>,
    roles: Mutex<Roles>,
    signer: OnceLock<Signer>,
    authority: OnceLock<(Arc<Authority>, ClientCertificates)>,
    verified: Mutex<BTreeMap<String, Arc<Value>>>,
    /// Ids of tokens; a stream of its own, so that uids of objects do not depend on how many tokens there are.
    ids: Mutex<sim_clock::Chance>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Access {
    pub fn new() -> Self {
        Self {
            options: Mutex::default(),
            roles: Mutex::default(),
            signer: OnceLock::new(),
            authority: OnceLock::new(),
            verified: Mutex::default(),
            ids: Mutex::new(sim_clock::seeded("kube/tokens")),
        }
    }

    pub fn set(&self, options: AccessOptions) {
        *lock(&self.options) = options;
    }

    pub fn options(&self) -> AccessOptions {
        lock(&self.options).clone()
    }

    pub fn mode(&self) -> Authorization {
        lock(&self.options).authorization
    }

    /// An id for a token.
    pub fn token_id(&self) -> String {
        lock(&self.ids).uuid()
    }

    /// The key of the tokens, made when it is needed first.
    pub fn signer(&self) -> &Signer {
        self.signer.get_or_init(Signer::new)
    }

    /// The certificate authority, made when it is needed first.
    pub fn authority(&self, now: Timestamp) -> Result<Arc<Authority>, TlsError> {
        if let Some((authority, _)) = self.authority.get() {
            return Ok(authority.clone());
        }
        let authority = Arc::new(Authority::new("kubernetes", now)?);
        let judge = ClientCertificates::of(&authority)?;
        Ok(self.authority.get_or_init(|| (authority, judge)).0.clone())
    }

    /// Who shows a bearer token.
    pub fn token(
        &self,
        engine: &Engine,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<(UserInfo, Vec<String>), Refused> {
        if let Some(user) = lock(&self.options).tokens.get(token) {
            let mut user = user.clone();
            if !user.belongs(AUTHENTICATED) {
                user.groups.push(AUTHENTICATED.into());
            }
            return Ok((user, audiences.to_vec()));
        }
        let known = lock(&self.verified).get(token).cloned();
        let claims = match known {
            Some(claims) => claims,
            None => {
                let claims = Arc::new(self.signer().read(token)?);
                let mut verified = lock(&self.verified);
                if verified.len() >= VERIFIED_TOKENS_MAX {
                    verified.clear();
                }
                verified.insert(token.to_owned(), claims.clone());
                claims
            }
        };
        tokens::identify(engine, &claims, audiences, now)
    }

    /// Who makes a request, by certificate, then token, then neither; `None`: nobody who may ask at all (401).
    pub fn authenticate(
        &self,
        engine: &Engine,
        connection: Option<&Connection>,
        authorization: &str,
        now: Timestamp,
    ) -> Option<UserInfo> {
        let mut refused = false;
        if let Some(shown) = connection.map(|c| &c.certificates).filter(|c| !c.is_empty()) {
            let judged = self.authority.get().is_some_and(|(_, judge)| judge.verify(shown).is_ok());
            match subject(&shown[0]).filter(|s| judged && !s.common_name.is_empty()) {
                Some(subject) => {
                    let mut groups = subject.organizations;
                    groups.push(AUTHENTICATED.into());
                    return Some(UserInfo { name: subject.common_name, groups, ..UserInfo::default() });
                }
                None => refused = true,
            }
        }
        if let Some((scheme, token)) = authorization.trim().split_once(' ')
            && scheme.eq_ignore_ascii_case("bearer")
            && !token.trim().is_empty()
        {
            match self.token(engine, token.trim(), &[ISSUER.to_owned()], now) {
                Ok((user, _)) => return Some(user),
                Err(_) => refused = true,
            }
        }
        if refused {
            return None;
        }
        match connection {
            // Inside the process.
            None => Some(UserInfo::admin()),
            Some(Connection { without_credentials: Some(user), .. }) => Some((**user).clone()),
            Some(_) => lock(&self.options).anonymous.then(UserInfo::anonymous),
        }
    }

    /// The roles, up to date with the store.
    fn roles(&self, engine: &mut Engine) -> MutexGuard<'_, Roles> {
        let mut roles = lock(&self.roles);
        if roles.wakes.is_empty() {
            let tables = rbac::TABLES.map(std::sync::Arc::from);
            roles.wakes = tables.iter().map(|table| engine.subscribe(table)).collect();
            roles.index.rebuild(engine);
            roles.position = engine.revision();
            return roles;
        }
        let mut changed = false;
        for wake in &mut roles.wakes {
            if wake.has_changed() {
                wake.mark_unchanged();
                changed = true;
            }
        }
        if changed {
            let Roles { index, position, .. } = &mut *roles;
            let mut events = Vec::new();
            let mut lost = false;
            for table in rbac::TABLES {
                match engine.events_after(table, *position) {
                    Ok(new) => events.extend(new.into_iter().map(|e| (e.revision, table, e))),
                    Err(_) => lost = true,
                }
            }
            if lost {
                index.rebuild(engine);
            } else {
                for (_, table, event) in &events {
                    if event.change == Change::Deleted {
                        index.remove(table, &event.object);
                    } else {
                        index.put(table, &event.object);
                    }
                }
            }
            *position = engine.revision();
        }
        roles
    }

    /// Decides a request; `book` counts it as used.
    pub fn decide(&self, engine: &mut Engine, user: &UserInfo, asked: &Attributes<'_>, book: bool) -> Decision {
        if self.mode() == Authorization::AlwaysAllow || user.belongs(MASTERS) {
            return Decision::Allowed(String::new());
        }
        self.roles(engine).index.decide(user, asked, book)
    }

    /// The rules that apply to a user in a namespace, and why some may be missing.
    pub fn rules_for(&self, engine: &mut Engine, user: &UserInfo, namespace: &str) -> (Vec<rbac::Rule>, Vec<String>) {
        self.roles(engine).index.rules_for(user, namespace)
    }

    /// The rules of a role.
    pub fn rules_of(&self, engine: &mut Engine, namespace: &str, role: &str) -> Option<Vec<rbac::Rule>> {
        self.roles(engine).index.rules_of(namespace, role).map(<[_]>::to_vec)
    }

    /// What each rule was used for.
    pub fn usage(&self, engine: &mut Engine) -> Vec<RuleUsage> {
        self.roles(engine).index.usage()
    }
}
