//! Tokens that are projected into containers: made when they are first needed, made anew at 80 % of their life.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;
use sim_clock::{Timestamp, now};

use crate::{access::tokens::ISSUER, engine::Engine, json, server::ApiServer};

/// Part of its life after which a token is replaced, in percent.
const ROTATE_AT_PERCENT: u64 = 80;
/// A token is replaced after a day, however long it lives.
const ROTATE_AFTER_MAX: Duration = Duration::from_secs(86_400);

/// What tells one projected token from another: the pod's uid, the audience, the seconds.
type Key = (String, String, i64);

/// The tokens of all pods, with the instants at which they are to be replaced.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<BTreeMap<Key, (String, Timestamp)>>);

impl Tokens {
    /// The token a pod's volume wants.
    ///
    /// # Errors
    /// What the token request answers, as the kubelet words it.
    pub fn get(&self, server: &ApiServer, engine: &Engine, pod: &Value, source: &Value) -> Result<String, String> {
        let audience = json::text(source, &["audience"]);
        let seconds = json::int(source, &["expirationSeconds"]).unwrap_or(3600);
        let key = (json::uid(pod).to_owned(), audience.to_owned(), seconds);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, _)) = known.get(&key).filter(|(_, until)| now() < *until) {
            return Ok(token.clone());
        }
        let account = json::text(pod, &["spec", "serviceAccountName"]);
        let audiences = vec![if audience.is_empty() { ISSUER } else { audience }.to_owned()];
        let name = json::name(pod);
        let token = crate::access::issue(
            server.access(),
            engine,
            json::namespace(pod),
            account,
            Some(name),
            json::uid(pod),
            audiences,
            seconds,
            now(),
        )
        .map_err(|status| format!("failed to fetch token: {}", status.message))?;
        let life = Duration::from_secs(seconds.max(0) as u64);
        let until = now() + (life * ROTATE_AT_PERCENT as u32 / 100).min(ROTATE_AFTER_MAX);
        known.insert(key, (token.clone(), until));
        Ok(token)
    }

    /// When the next token of a pod has to be replaced.
    pub fn next(&self, pod_uid: &str) -> Option<Timestamp> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from = (pod_uid.to_owned(), String::new(), i64::MIN);
        known.range(from..).take_while(|((uid, ..), _)| uid == pod_uid).map(|(_, (_, until))| *until).min()
    }

    /// Forgets a pod.
    pub fn forget(&self, pod_uid: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from = (pod_uid.to_owned(), String::new(), i64::MIN);
        let gone: Vec<Key> =
            known.range(from..).map(|(k, _)| k.clone()).take_while(|(uid, ..)| uid == pod_uid).collect();
        for key in gone {
            known.remove(&key);
        }
    }
}
