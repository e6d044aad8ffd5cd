//! Leases: keys that end with their owner. Time comes in as a parameter.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use etcd_api::etcdserverpb::{LeaseGrantRequest, LeaseGrantResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse};
use sim_clock::Timestamp;

use crate::error::EtcdError;
use crate::store::{KeyRange, Store};

/// Shortest time to live in seconds; shorter wishes are raised to it. (etcd: one and a half election time-outs,
/// rounded up.)
pub const LEASE_TTL_SECONDS_MIN: i64 = 2;
/// Longest time to live in seconds that etcd accepts.
pub const LEASE_TTL_SECONDS_MAX: i64 = 9_000_000_000;
/// First id the store gives out; requests may choose others.
const FIRST_LEASE_ID: i64 = 0x3263_0000_0000_0001;

#[derive(Debug, Clone)]
struct Lease {
    ttl: Duration,
    expires: Timestamp,
    keys: BTreeSet<Vec<u8>>,
}

/// The leases of a store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leases {
    by_id: BTreeMap<i64, Lease>,
    given_out: i64,
}

impl Leases {
    pub(crate) fn exists(&self, id: i64) -> bool {
        self.by_id.contains_key(&id)
    }

    pub(crate) fn attach(&mut self, id: i64, key: &[u8]) {
        if let Some(lease) = self.by_id.get_mut(&id) {
            lease.keys.insert(key.to_vec());
        }
    }

    pub(crate) fn detach(&mut self, id: i64, key: &[u8]) {
        if let Some(lease) = self.by_id.get_mut(&id) {
            lease.keys.remove(key);
        }
    }
}

impl Store {
    /// Creates a lease.
    pub fn lease_grant(
        &mut self,
        now: Timestamp,
        request: &LeaseGrantRequest,
    ) -> Result<LeaseGrantResponse, EtcdError> {
        if request.ttl > LEASE_TTL_SECONDS_MAX {
            return Err(EtcdError::LeaseTtlTooLarge);
        }
        let id = if request.id == 0 { self.fresh_lease_id() } else { request.id };
        if self.leases.exists(id) {
            return Err(EtcdError::LeaseExists);
        }
        let ttl_seconds = request.ttl.max(LEASE_TTL_SECONDS_MIN);
        let ttl = Duration::from_secs(ttl_seconds.unsigned_abs());
        let lease = Lease { ttl, expires: expiry(now, ttl), keys: BTreeSet::new() };
        self.leases.by_id.insert(id, lease);
        Ok(LeaseGrantResponse { header: Some(self.header()), id, ttl: ttl_seconds, error: String::new() })
    }

    /// Ends a lease and deletes its keys as one revision.
    pub fn lease_revoke(&mut self, id: i64) -> Result<(), EtcdError> {
        let lease = self.leases.by_id.remove(&id).ok_or(EtcdError::LeaseNotFound)?;
        let revision = self.revision() + 1;
        for key in &lease.keys {
            self.apply_delete(&KeyRange::new(key.as_slice(), Vec::new()), revision);
        }
        if !lease.keys.is_empty() {
            self.commit(revision);
        }
        Ok(())
    }

    /// Renews a lease and returns its time to live in seconds.
    pub fn lease_keep_alive(&mut self, now: Timestamp, id: i64) -> Result<i64, EtcdError> {
        let lease = self.leases.by_id.get_mut(&id).ok_or(EtcdError::LeaseNotFound)?;
        lease.expires = expiry(now, lease.ttl);
        Ok(lease.ttl.as_secs() as i64)
    }

    /// What is left of a lease; -1 seconds when there is no such lease, which is no error.
    pub fn lease_time_to_live(&self, now: Timestamp, request: &LeaseTimeToLiveRequest) -> LeaseTimeToLiveResponse {
        let mut response =
            LeaseTimeToLiveResponse { header: Some(self.header()), id: request.id, ttl: -1, ..Default::default() };
        if let Some(lease) = self.leases.by_id.get(&request.id).filter(|lease| lease.expires > now) {
            response.ttl = lease.expires.since(now).as_secs() as i64;
            response.granted_ttl = lease.ttl.as_secs() as i64;
            if request.keys {
                response.keys = lease.keys.iter().cloned().collect();
            }
        }
        response
    }

    /// Ends every lease whose time has come, oldest first; returns how many.
    pub fn expire_leases(&mut self, now: Timestamp) -> usize {
        let mut due: Vec<(Timestamp, i64)> = self
            .leases
            .by_id
            .iter()
            .filter(|(_, lease)| lease.expires <= now)
            .map(|(id, lease)| (lease.expires, *id))
            .collect();
        due.sort_unstable();
        due.iter().filter(|(_, id)| self.lease_revoke(*id).is_ok()).count()
    }

    /// When the next lease ends.
    pub fn next_lease_expiry(&self) -> Option<Timestamp> {
        self.leases.by_id.values().map(|lease| lease.expires).min()
    }

    /// Gives every lease its whole time again, as a new leader does, so that an outage of etcd ends nobody's lease.
    pub fn extend_leases(&mut self, now: Timestamp) {
        for lease in self.leases.by_id.values_mut() {
            lease.expires = expiry(now, lease.ttl);
        }
    }

    fn fresh_lease_id(&mut self) -> i64 {
        loop {
            let id = FIRST_LEASE_ID + self.leases.given_out;
            self.leases.given_out += 1;
            if !self.leases.exists(id) {
                return id;
            }
        }
    }
}

/// The end of time stands for what does not fit a timestamp (292 years).
fn expiry(now: Timestamp, ttl: Duration) -> Timestamp {
    now.checked_add(ttl).unwrap_or(Timestamp::from_nanos(i64::MAX))
}
