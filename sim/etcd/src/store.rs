//! The multi-version store: every key at every revision since the last compaction, without I/O and without a clock of
//! its own.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

use etcd_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use etcd_api::etcdserverpb::watch_create_request::FilterType;
use etcd_api::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, ResponseHeader,
};
use etcd_api::mvccpb::{Event, KeyValue, event::EventType};

use crate::error::EtcdError;
use crate::lease::Leases;

/// Bytes of keys and values, history included, that a store holds at most (etcd's default quota).
pub const QUOTA_BYTES: usize = 2 * 1024 * 1024 * 1024;

/// A range of keys in etcd's spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    key: Vec<u8>,
    end: Vec<u8>,
}

impl KeyRange {
    /// The range from `key` to `end` (exclusive); an empty end is the one key, a single zero byte everything from the
    /// key on.
    pub fn new(key: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), end: end.into() }
    }

    /// All keys that start with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        let key = if prefix.is_empty() { vec![0] } else { prefix.to_vec() };
        Self { key, end: etcd_api::keys::range_end(prefix) }
    }

    /// Whether the key lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        match self.end.as_slice() {
            [] => key == self.key,
            [0] => key >= self.key.as_slice(),
            end => key >= self.key.as_slice() && key < end,
        }
    }

    fn bounds(&self) -> Option<(Bound<&[u8]>, Bound<&[u8]>)> {
        let start = self.key.as_slice();
        match self.end.as_slice() {
            [] => Some((Bound::Included(start), Bound::Included(start))),
            [0] => Some((Bound::Included(start), Bound::Unbounded)),
            end if end <= start => None, // an inverted range is empty, not an error
            end => Some((Bound::Included(start), Bound::Excluded(end))),
        }
    }
}

/// One key from one revision to the next.
#[derive(Debug, Clone)]
struct Version {
    mod_revision: i64,
    /// `None` from a deletion on.
    kv: Option<KeyValue>,
}

/// One change as the watches see it.
#[derive(Debug, Clone)]
struct Change {
    kv: KeyValue,
    previous: Option<KeyValue>,
    deleted: bool,
}

/// Keys, values, history and leases of one cluster.
///
/// A revision is one put, one deletion that found something, or one transaction that changed something; the first one
/// is 2, as in etcd, whose empty store is at revision 1.
#[derive(Debug, Clone)]
pub struct Store {
    revision: i64,
    compacted: i64,
    keys: BTreeMap<Vec<u8>, Vec<Version>>,
    changes: BTreeMap<i64, Vec<Change>>,
    bytes: usize,
    pub(crate) leases: Leases,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            revision: 1,
            compacted: 0,
            keys: BTreeMap::new(),
            changes: BTreeMap::new(),
            bytes: 0,
            leases: Leases::default(),
        }
    }
}

impl Store {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The newest revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The oldest revision that can still be read, when history was compacted; else 0.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Bytes of keys and values, history included.
    pub fn size_bytes(&self) -> usize {
        self.bytes
    }

    /// The header that answers from here carry; the member adds cluster, member and term.
    pub fn header(&self) -> ResponseHeader {
        ResponseHeader { revision: self.revision, ..Default::default() }
    }

    /// Reads keys.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, EtcdError> {
        self.range_at(request, self.revision)
    }

    /// Reads keys while a transaction at `newest` is under way, whose changes are seen.
    pub(crate) fn range_at(&self, request: &RangeRequest, newest: i64) -> Result<RangeResponse, EtcdError> {
        self.check_range(request)?;
        let at = if request.revision > 0 { request.revision } else { newest };
        let range = KeyRange::new(request.key.as_slice(), request.range_end.as_slice());
        let mut found: Vec<&KeyValue> = self.alive(&range, at).collect();
        let count = found.len() as i64;
        let mut response = RangeResponse { header: Some(self.header()), count, ..Default::default() };
        if request.count_only {
            return Ok(response);
        }
        let within = |value: i64, low: i64, high: i64| (low == 0 || value >= low) && (high == 0 || value <= high);
        found.retain(|kv| {
            within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
                && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
        });
        sort(&mut found, request.sort_order(), request.sort_target());
        let limit = usize::try_from(request.limit).unwrap_or(0);
        if limit > 0 && found.len() > limit {
            found.truncate(limit);
            response.more = true;
        }
        response.kvs = found
            .into_iter()
            .map(|kv| {
                let value = if request.keys_only { Vec::new() } else { kv.value.clone() };
                KeyValue { key: kv.key.clone(), value, ..*kv }
            })
            .collect();
        Ok(response)
    }

    /// Whether a read can be answered at all.
    pub(crate) fn check_range(&self, request: &RangeRequest) -> Result<(), EtcdError> {
        if request.key.is_empty() {
            return Err(EtcdError::EmptyKey);
        }
        if request.revision > self.revision {
            return Err(EtcdError::FutureRevision);
        }
        if request.revision > 0 && request.revision < self.compacted {
            return Err(EtcdError::Compacted);
        }
        Ok(())
    }

    /// Writes one key.
    pub fn put(&mut self, request: &PutRequest) -> Result<PutResponse, EtcdError> {
        self.check_put(request)?;
        let revision = self.revision + 1;
        let previous = self.apply_put(request, revision);
        self.revision = revision;
        Ok(PutResponse { header: Some(self.header()), prev_kv: previous.filter(|_| request.prev_kv) })
    }

    /// Whether a write can be done at all.
    pub(crate) fn check_put(&self, request: &PutRequest) -> Result<(), EtcdError> {
        if request.key.is_empty() {
            return Err(EtcdError::EmptyKey);
        }
        if request.ignore_value && !request.value.is_empty() {
            return Err(EtcdError::ValueProvided);
        }
        if request.ignore_lease && request.lease != 0 {
            return Err(EtcdError::LeaseProvided);
        }
        if (request.ignore_value || request.ignore_lease) && self.newest(&request.key).is_none() {
            return Err(EtcdError::KeyNotFound);
        }
        if request.lease != 0 && !self.leases.exists(request.lease) {
            return Err(EtcdError::LeaseNotFound);
        }
        if self.bytes + request.key.len() + request.value.len() > QUOTA_BYTES {
            return Err(EtcdError::NoSpace);
        }
        Ok(())
    }

    /// Writes a checked put at a revision and returns the key as it was.
    pub(crate) fn apply_put(&mut self, request: &PutRequest, revision: i64) -> Option<KeyValue> {
        let previous = self.newest(&request.key).cloned();
        let kept = previous.as_ref();
        let kv = KeyValue {
            key: request.key.clone(),
            create_revision: kept.map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: kept.map_or(1, |kv| kv.version + 1),
            value: match kept {
                Some(kv) if request.ignore_value => kv.value.clone(),
                _ => request.value.clone(),
            },
            lease: match kept {
                Some(kv) if request.ignore_lease => kv.lease,
                _ => request.lease,
            },
        };
        if let Some(kv) = kept {
            self.leases.detach(kv.lease, &kv.key);
        }
        self.leases.attach(kv.lease, &kv.key);
        self.record(Change { kv, previous: previous.clone(), deleted: false });
        previous
    }

    /// Deletes keys; a deletion that finds nothing is no revision.
    pub fn delete_range(&mut self, request: &DeleteRangeRequest) -> Result<DeleteRangeResponse, EtcdError> {
        Self::check_delete(request)?;
        let revision = self.revision + 1;
        let deleted = self.apply_delete(&KeyRange::new(request.key.as_slice(), request.range_end.as_slice()), revision);
        if !deleted.is_empty() {
            self.revision = revision;
        }
        Ok(self.deleted(request, deleted))
    }

    pub(crate) fn check_delete(request: &DeleteRangeRequest) -> Result<(), EtcdError> {
        if request.key.is_empty() { Err(EtcdError::EmptyKey) } else { Ok(()) }
    }

    pub(crate) fn deleted(&self, request: &DeleteRangeRequest, deleted: Vec<KeyValue>) -> DeleteRangeResponse {
        DeleteRangeResponse {
            header: Some(self.header()),
            deleted: deleted.len() as i64,
            prev_kvs: if request.prev_kv { deleted } else { Vec::new() },
        }
    }

    /// Deletes a range at a revision and returns what was there.
    pub(crate) fn apply_delete(&mut self, range: &KeyRange, revision: i64) -> Vec<KeyValue> {
        let gone: Vec<KeyValue> = self.alive(range, i64::MAX).cloned().collect();
        for kv in &gone {
            self.leases.detach(kv.lease, &kv.key);
            let tombstone = KeyValue { key: kv.key.clone(), mod_revision: revision, ..Default::default() };
            self.record(Change { kv: tombstone, previous: Some(kv.clone()), deleted: true });
        }
        gone
    }

    /// Ends the transaction that wrote at `revision`.
    pub(crate) fn commit(&mut self, revision: i64) {
        debug_assert!(revision == self.revision + 1, "revisions follow each other");
        self.revision = revision;
    }

    /// Forgets history before a revision: of each key only its newest version at or before it stays.
    pub fn compact(&mut self, request: &CompactionRequest) -> Result<CompactionResponse, EtcdError> {
        let at = request.revision;
        if at <= self.compacted {
            return Err(EtcdError::Compacted);
        }
        if at > self.revision {
            return Err(EtcdError::FutureRevision);
        }
        self.compacted = at;
        self.keys.retain(|_, versions| {
            let newest_kept = versions.iter().rposition(|version| version.mod_revision <= at).unwrap_or(0);
            versions.drain(..newest_kept);
            if versions.first().is_some_and(|version| version.kv.is_none() && version.mod_revision <= at) {
                versions.remove(0);
            }
            !versions.is_empty()
        });
        self.changes = self.changes.split_off(&at);
        self.bytes = self
            .keys
            .iter()
            .map(|(key, versions)| versions.iter().map(|version| version_bytes(key, version)).sum::<usize>())
            .sum();
        Ok(CompactionResponse { header: Some(self.header()) })
    }

    /// The changes of a range from a revision on, oldest first, with the deletion's key as etcd sends it.
    ///
    /// [`EtcdError::Compacted`] when the start is older than what is left of history.
    pub fn events(
        &self,
        range: &KeyRange,
        from_revision: i64,
        filters: &[FilterType],
        previous: bool,
    ) -> Result<Vec<Event>, EtcdError> {
        if from_revision < self.compacted {
            return Err(EtcdError::Compacted);
        }
        let wanted = |change: &&Change| {
            let dropped = if change.deleted { FilterType::Nodelete } else { FilterType::Noput };
            range.contains(&change.kv.key) && !filters.contains(&dropped)
        };
        let event = |change: &Change| Event {
            r#type: if change.deleted { EventType::Delete } else { EventType::Put }.into(),
            kv: Some(change.kv.clone()),
            // What was there before the oldest readable revision is gone.
            prev_kv: change.previous.clone().filter(|_| previous && change.kv.mod_revision > self.compacted),
        };
        Ok(self.changes.range(from_revision..).flat_map(|(_, changes)| changes).filter(wanted).map(event).collect())
    }

    /// The key as it is now.
    pub(crate) fn newest(&self, key: &[u8]) -> Option<&KeyValue> {
        self.keys.get(key)?.last()?.kv.as_ref()
    }

    /// The keys of a range that exist at a revision, in the order of their bytes.
    pub(crate) fn alive<'a>(&'a self, range: &KeyRange, at: i64) -> impl Iterator<Item = &'a KeyValue> + use<'a> {
        let versions = range.bounds().map(|bounds| self.keys.range::<[u8], _>(bounds));
        versions.into_iter().flatten().filter_map(move |(_, versions)| {
            let newer = versions.partition_point(|version| version.mod_revision <= at);
            versions.get(newer.checked_sub(1)?)?.kv.as_ref()
        })
    }

    fn record(&mut self, change: Change) {
        let revision = change.kv.mod_revision;
        let version = Version { mod_revision: revision, kv: (!change.deleted).then(|| change.kv.clone()) };
        self.bytes += version_bytes(&change.kv.key, &version);
        self.keys.entry(change.kv.key.clone()).or_default().push(version);
        self.changes.entry(revision).or_default().push(change);
    }
}

fn version_bytes(key: &[u8], version: &Version) -> usize {
    key.len() + version.kv.as_ref().map_or(0, |kv| kv.value.len())
}

/// Orders by the target; equal ones keep the order of their keys.
fn sort(found: &mut [&KeyValue], order: SortOrder, target: SortTarget) {
    let compare = |a: &KeyValue, b: &KeyValue| -> Ordering {
        match target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        }
    };
    match order {
        // Without an order a target other than the key means ascending.
        SortOrder::None | SortOrder::Ascend => found.sort_by(|a, b| compare(a, b)),
        SortOrder::Descend => found.sort_by(|a, b| compare(b, a)),
    }
}
