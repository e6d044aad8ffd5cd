//! Users and rights of a server, as its owner sets them up and looks at them.

use std::{sync::Arc, time::Duration};

use sim_clock::now;

use super::{
    AccessOptions, UserInfo,
    rbac::{self, Attributes, Decision, RuleUsage},
    tokens::ISSUER,
};
use crate::{
    engine::WriteOptions,
    server::ApiServer,
    status::Status,
    tls::{Authority, CERTIFICATE_VALIDITY, Certified, TlsError},
};

impl ApiServer {
    /// Sets how clients are treated from now on. A new server grants everything to everybody.
    pub fn set_access(&self, options: AccessOptions) {
        self.access().set(options);
    }

    /// How clients are treated.
    pub fn access_options(&self) -> AccessOptions {
        self.access().options()
    }

    /// Makes the roles and bindings that every cluster starts with; those that exist stay as they are.
    ///
    /// # Errors
    /// What the engine refuses.
    pub fn bootstrap_roles(&self) -> Result<(), Status> {
        let mut engine = self.engine();
        let by = WriteOptions::by("kube-apiserver");
        for object in rbac::bootstrap_objects() {
            match engine.create_object(object, &by, now()) {
                Err(status) if status.reason != "AlreadyExists" => return Err(status),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a user may; nothing is counted as used by asking.
    pub fn may(&self, user: &UserInfo, asked: &Attributes<'_>) -> Decision {
        self.access().decide(&mut self.engine(), user, asked, false)
    }

    /// What each rule of each role granted so far, and what of it nobody needed.
    pub fn rule_usage(&self) -> Vec<RuleUsage> {
        self.access().usage(&mut self.engine())
    }

    /// The cluster's certificate authority, made when it is first asked for.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn authority(&self) -> Result<Arc<Authority>, TlsError> {
        self.access().authority(now())
    }

    /// A certificate for a client of this server, valid for a year.
    ///
    /// # Errors
    /// As [`Authority::client`].
    pub fn client_certificate(&self, user: &str, groups: &[&str]) -> Result<Certified, TlsError> {
        self.authority()?.client(user, groups, now(), CERTIFICATE_VALIDITY)
    }

    /// A token of a service account for this server, as `kubectl create token` gets it.
    ///
    /// # Errors
    /// 404 without the account.
    pub fn service_account_token(&self, namespace: &str, name: &str, life: Duration) -> Result<String, Status> {
        let seconds = i64::try_from(life.as_secs()).unwrap_or(i64::MAX >> 1);
        super::issue(self.access(), &self.engine(), namespace, name, None, "", vec![ISSUER.to_owned()], seconds, now())
    }
}
