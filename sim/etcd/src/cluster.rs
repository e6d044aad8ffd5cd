//! What the members of a cluster share: the store, the leader, the disk's measurements. It outlives their processes,
//! as volumes do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_api::etcdserverpb::{Member, ResponseHeader};
use etcd_api::mvccpb::KeyValue;
use sim_clock::watch;
use sim_clock::{Chance, Engine, Timestamp};

use crate::config::{MemberConfig, Peer};
use crate::error::EtcdError;
use crate::exposition::{Histogram, MemberFigures};
use crate::raft::{Effect, Input, Raft};
use crate::store::{KeyRange, Store};

/// How long a write takes to reach the disk, in milliseconds.
const FSYNC_MS: std::ops::RangeInclusive<u64> = 1..=3;

/// All clusters of a world, by [`MemberConfig::cluster_key`]. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    clusters: Arc<Mutex<BTreeMap<String, Cluster>>>,
}

impl Registry {
    /// No clusters.
    pub fn new() -> Self {
        Self::default()
    }

    /// The cluster a member belongs to; an empty one when it is the first to ask.
    pub fn join(&self, config: &MemberConfig) -> Cluster {
        self.lock().entry(config.cluster_key()).or_insert_with(|| Cluster::new(config)).clone()
    }

    /// The cluster with this token, when a member has asked for it; of several the one whose key comes first.
    pub fn cluster(&self, token: &str) -> Option<Cluster> {
        self.lock().values().find(|cluster| cluster.token() == token).cloned()
    }

    /// Forgets the data of all clusters with this token whose members have a peer URL that contains `url_part`, as
    /// when their volumes are deleted. (`.default.svc` tells the namespaces apart.) Members that still run keep the
    /// old data.
    pub fn remove(&self, token: &str, url_part: &str) {
        self.lock().retain(|_, cluster| {
            cluster.token() != token || !cluster.shared.peers.iter().any(|peer| peer.url.contains(url_part))
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Cluster>> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One cluster. Clones are the same cluster.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    token: String,
    id: u64,
    peers: Vec<Peer>,
    state: Mutex<State>,
    /// Sends the store's revision after each change.
    revision: watch::Sender<i64>,
    /// Sends a growing number after each change of members, leader or leases.
    wake: watch::Sender<u64>,
}

struct State {
    store: Store,
    raft: Raft,
    disk: Chance,
    committed: u64,
    /// Grows whenever a member starts or stops, which its peers may want to look at.
    lives: u64,
    members: BTreeMap<String, MemberState>,
}

#[derive(Default)]
struct MemberState {
    fsync: Histogram,
    proposals_failed: u64,
    client_urls: Vec<String>,
}

/// One life of a member, from the start of its process to its end.
#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) cluster: Cluster,
    pub(crate) name: String,
    pub(crate) number: u64,
}

/// Held by the process itself: dropping it ends the life, whatever connections still refer to it.
pub(crate) struct LifeGuard(pub(crate) Life);

impl Drop for LifeGuard {
    fn drop(&mut self) {
        let Life { cluster, name, number } = &self.0;
        cluster.raft_step(Input::Stopped { name: name.clone(), life: *number });
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Cluster")
            .field("token", &self.shared.token)
            .field("leader", &state.raft.leader())
            .field("revision", &state.store.revision())
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// An empty cluster of the members the settings name. Use [`Registry::join`], so that its members meet.
    pub fn new(config: &MemberConfig) -> Self {
        let names = config.initial_cluster.iter().map(|peer| peer.name.clone());
        let state = State {
            store: Store::new(),
            raft: Raft::new(names),
            disk: sim_clock::seeded(&format!("etcd disk {}", config.cluster_key())),
            committed: 0,
            lives: 0,
            members: BTreeMap::new(),
        };
        let revision = state.store.revision();
        Self {
            shared: Arc::new(Shared {
                token: config.token.clone(),
                id: hash(&config.cluster_key()),
                peers: config.initial_cluster.clone(),
                state: Mutex::new(state),
                revision: watch::Sender::new(revision),
                wake: watch::Sender::new(0),
            }),
        }
    }

    /// The cluster's token.
    pub fn token(&self) -> &str {
        &self.shared.token
    }

    /// The leader's name.
    pub fn leader(&self) -> Option<String> {
        self.lock().raft.leader().map(str::to_owned)
    }

    /// Everything under a prefix as it is now, for observers outside the world: no member, no network, no quorum is
    /// asked.
    pub fn peek(&self, prefix: &str) -> Vec<KeyValue> {
        self.lock().store.alive(&KeyRange::prefix(prefix.as_bytes()), i64::MAX).cloned().collect()
    }

    pub(crate) fn start(&self, config: &MemberConfig) -> LifeGuard {
        let number = self.lock().raft.next_life(&config.name);
        let member = MemberState { client_urls: config.advertised_client_urls.clone(), ..Default::default() };
        self.lock().members.insert(config.name.clone(), member);
        self.raft_step(Input::Started { name: config.name.clone(), life: number });
        LifeGuard(Life { cluster: self.clone(), name: config.name.clone(), number })
    }

    pub(crate) fn reached(&self, life: &Life, peers: BTreeSet<String>) {
        self.raft_step(Input::Reached { name: life.name.clone(), life: life.number, peers });
    }

    fn raft_step(&self, input: Input) {
        let now = sim_clock::now();
        let mut state = self.lock();
        if matches!(input, Input::Started { .. } | Input::Stopped { .. }) {
            state.lives += 1;
        }
        for effect in state.raft.step(now, input) {
            if let Effect::Elected { .. } = effect {
                state.committed += 1; // a new leader commits an empty entry of its term
                state.store.extend_leases(now);
            }
        }
        drop(state);
        self.shared.wake.send_modify(|number| *number += 1);
    }

    /// Starts and stops of members so far.
    pub(crate) fn lives(&self) -> u64 {
        self.lock().lives
    }

    /// The leader as a member sees it.
    pub(crate) fn leader_seen_by(&self, name: &str) -> Option<String> {
        self.lock().raft.leader_seen_by(name).map(str::to_owned)
    }

    /// When the next lease ends, asked by the member that has to end it.
    pub(crate) fn next_lease_expiry(&self, name: &str) -> Option<Timestamp> {
        let state = self.lock();
        if state.raft.leader() == Some(name) { state.store.next_lease_expiry() } else { None }
    }

    /// Ends the leases whose time has come.
    pub(crate) fn expire_leases(&self, now: Timestamp) {
        let mut state = self.lock();
        let expired = state.store.expire_leases(now);
        state.committed += expired as u64;
        drop(state);
        self.announce();
    }

    /// Reads from the store; without `serializable` only while the member sees a leader.
    pub(crate) fn read<T>(
        &self,
        name: &str,
        number: u64,
        serializable: bool,
        read: impl FnOnce(&Store) -> Result<T, EtcdError>,
    ) -> Result<T, EtcdError> {
        let state = self.lock();
        if !state.raft.is_running(name, number) {
            return Err(EtcdError::Stopped);
        }
        if !serializable && state.raft.leader_seen_by(name).is_none() {
            return Err(EtcdError::NoLeader);
        }
        read(&state.store)
    }

    /// Writes to the store through the leader: takes the time of the disk, then happens at once on all members that
    /// see the leader. A real cluster that loses its leader lets the client wait for a time-out first; here it is told
    /// at once.
    pub(crate) async fn propose<T>(
        &self,
        name: &str,
        number: u64,
        write: impl FnOnce(&mut Store, Timestamp) -> Result<T, EtcdError>,
    ) -> Result<T, EtcdError> {
        let fsync = {
            let mut state = self.lock();
            state.check_writable(name, number)?;
            state.disk.range_ms(FSYNC_MS)
        };
        tokio::time::sleep(fsync).await;
        let now = sim_clock::now();
        let result = {
            let mut state = self.lock();
            state.check_writable(name, number)?;
            state.committed += 1;
            state.observe_fsync(fsync);
            write(&mut state.store, now)
        };
        self.announce();
        result
    }

    /// Renews a lease, which only the leader's memory takes part in.
    pub(crate) fn keep_alive(&self, name: &str, number: u64, id: i64) -> Result<i64, EtcdError> {
        let now = sim_clock::now();
        let ttl = {
            let mut state = self.lock();
            state.check_writable(name, number)?;
            state.store.lease_keep_alive(now, id)
        };
        self.shared.wake.send_modify(|number| *number += 1);
        ttl
    }

    fn announce(&self) {
        let revision = self.lock().store.revision();
        self.shared.revision.send_if_modified(|sent| std::mem::replace(sent, revision) != revision);
        self.shared.wake.send_modify(|number| *number += 1);
    }

    pub(crate) fn revisions(&self) -> watch::Receiver<i64> {
        self.shared.revision.subscribe()
    }

    pub(crate) fn wakes(&self) -> watch::Receiver<u64> {
        self.shared.wake.subscribe()
    }

    /// The header of an answer by a member.
    pub(crate) fn header(&self, name: &str, revision: i64) -> ResponseHeader {
        let raft_term = self.lock().raft.term();
        ResponseHeader { cluster_id: self.shared.id, member_id: self.member_id(name), revision, raft_term }
    }

    /// The id of a member, made of its peer URL and the token.
    pub(crate) fn member_id(&self, name: &str) -> u64 {
        let url = self.shared.peers.iter().find(|peer| peer.name == name).map_or("", |peer| peer.url.as_str());
        hash(&format!("{url} {}", self.shared.token))
    }

    pub(crate) fn members(&self) -> Vec<Member> {
        let state = self.lock();
        let member = |peer: &Peer| {
            let known = state.members.get(&peer.name);
            Member {
                id: self.member_id(&peer.name),
                // A member that never started has told nobody its name.
                name: known.map(|_| peer.name.clone()).unwrap_or_default(),
                peer_urls: vec![peer.url.clone()],
                client_urls: known.map(|member| member.client_urls.clone()).unwrap_or_default(),
                is_learner: false,
            }
        };
        self.shared.peers.iter().map(member).collect()
    }

    /// What a member's `/metrics` and status show.
    pub(crate) fn figures(&self, name: &str) -> MemberFigures {
        let state = self.lock();
        let member = state.members.get(name);
        let seen = state.raft.leader_seen_by(name);
        MemberFigures {
            has_leader: seen.is_some(),
            is_leader: seen == Some(name),
            leader_changes_seen: state.raft.leader_changes_seen_by(name),
            proposals_committed: state.committed,
            proposals_failed: member.map_or(0, |member| member.proposals_failed),
            database_bytes: state.store.size_bytes() as u64,
            fsync: member.map(|member| member.fsync.clone()).unwrap_or_default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check_writable(&mut self, name: &str, number: u64) -> Result<(), EtcdError> {
        if !self.raft.is_running(name, number) {
            return Err(EtcdError::Stopped);
        }
        if self.raft.leader_seen_by(name).is_none() {
            if let Some(member) = self.members.get_mut(name) {
                member.proposals_failed += 1;
            }
            return Err(EtcdError::NoLeader);
        }
        Ok(())
    }

    fn observe_fsync(&mut self, duration: Duration) {
        for name in self.raft.followers_and_leader() {
            if let Some(member) = self.members.get_mut(name) {
                member.fsync.observe(duration);
            }
        }
    }
}

/// FNV-1a, 64 bits: ids need to be stable and distinct, not secret.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
