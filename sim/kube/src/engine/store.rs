//! Tables of objects with one global revision, a bounded log of events a table, and wake-ups for watchers.

use std::{
    cmp,
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use serde_json::Value;
use sim_clock::watch;

use super::object::Object;
use crate::{json, status::Status};

/// Events a table keeps for watchers that start in the past; older revisions answer 410.
pub const EVENT_LOG_EVENTS_MAX: usize = 4096;
/// Bytes of objects a table's log keeps, about; the newest event stays whatever its size.
pub const EVENT_LOG_BYTES_MAX: usize = 32 << 20;

/// Objects of a table that have left its log and are kept as they are for a while: a new pod changes until it is ready.
pub const RESTING_MAX: usize = 6_144;

/// A table whose objects are renewed all the time, which means nothing to controllers.
const RENEWED: &str = "leases.coordination.k8s.io";

/// Bytes of JSON that may have been read of cold objects, about, before all of them are cooled again.
pub const WARMED_BYTES_MAX: usize = 16 << 20;

/// What differs between a past revision and the present: the objects as they were then, `None` for those that were not.
pub type Past = BTreeMap<Key, Option<Object>>;

/// Namespace (empty for cluster scope) and name, in the order of etcd's keys `<namespace>/<name>`: of two namespaces of which
/// one begins with the other, `a-b` comes before `a`, as `-` is less than `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> cmp::Ordering {
        if self.namespace == other.namespace {
            return self.name.cmp(&other.name);
        }
        let (a, b) = (self.namespace.as_bytes(), other.namespace.as_bytes());
        let shared = a.len().min(b.len());
        a[..shared].cmp(&b[..shared]).then_with(|| match (a.get(shared), b.get(shared)) {
            // The one that is at its end goes on with a slash.
            (None, Some(next)) => b'/'.cmp(next),
            (Some(next), None) => next.cmp(&b'/'),
            _ => cmp::Ordering::Equal,
        })
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Key {
    /// A key from its parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The key of an object.
    pub fn of(object: &Value) -> Self {
        Self::new(json::namespace(object), json::name(object))
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It came to be.
    Added,
    /// It changed.
    Modified,
    /// It is gone.
    Deleted,
}

impl Change {
    /// As in a watch event.
    pub fn as_str(self) -> &'static str {
        match self {
            Change::Added => "ADDED",
            Change::Modified => "MODIFIED",
            Change::Deleted => "DELETED",
        }
    }
}

/// One entry of a table's log.
#[derive(Debug)]
pub struct Event {
    /// Its revision.
    pub revision: u64,
    /// What happened.
    pub change: Change,
    /// The object after it (for a deletion: its last state, with the deletion's revision).
    pub object: Object,
    /// The object before it.
    pub before: Option<Object>,
    line: OnceLock<Bytes>,
}

impl Event {
    /// The newline-ended watch line, made on first use and shared by all watchers.
    pub fn line(&self) -> Bytes {
        self.line.get_or_init(|| event_line(self.change.as_str(), &self.object.json())).clone()
    }
}

/// `{"type":…,"object":…}` and a newline.
pub fn event_line(kind: &str, object: &[u8]) -> Bytes {
    let mut line = Vec::with_capacity(object.len() + 32);
    line.extend_from_slice(b"{\"type\":\"");
    line.extend_from_slice(kind.as_bytes());
    line.extend_from_slice(b"\",\"object\":");
    line.extend_from_slice(object);
    line.extend_from_slice(b"}\n");
    line.into()
}

#[derive(Debug)]
struct Table {
    objects: BTreeMap<Key, Object>,
    log: VecDeque<Arc<Event>>,
    /// The newest revision that is no longer in the log; a watch from before it has a gap.
    compacted: u64,
    /// About how many bytes the log's objects are.
    log_bytes: usize,
    /// The revision of the newest event.
    changed_at: u64,
    /// What the log has forgotten and may yet change again, oldest first: keys and revisions.
    resting: VecDeque<(Key, u64)>,
    wake: watch::Sender<u64>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            log: VecDeque::new(),
            compacted: 0,
            log_bytes: 0,
            changed_at: 0,
            resting: VecDeque::new(),
            wake: watch::Sender::new(0),
        }
    }
}

/// All tables.
#[derive(Debug, Default)]
pub struct Store {
    tables: BTreeMap<Arc<str>, Table>,
    revision: u64,
    /// Lists from before this revision are refused.
    compacted: u64,
    wake: watch::Sender<u64>,
    work: watch::Sender<u64>,
    /// What was read of cold objects, in bytes.
    warmed: Arc<AtomicUsize>,
}

/// An object that is now held as its JSON alone.
#[derive(Debug)]
pub struct Cold {
    /// Its table.
    pub table: Arc<str>,
    /// Its place there.
    pub key: Key,
    /// The uids of its owners.
    pub owners: Vec<String>,
    /// What is held.
    pub object: Object,
}

impl Cold {
    /// Cools an object of a table in its place.
    fn make(table: &Arc<str>, key: &Key, stored: &mut Object, warmed: &Arc<AtomicUsize>) -> Self {
        let references = json::list(stored, &["metadata", "ownerReferences"]);
        let owners = references.iter().map(|owner| json::text(owner, &["uid"]).to_owned()).collect();
        *stored = stored.cool(warmed);
        Self { table: table.clone(), key: key.clone(), owners, object: stored.clone() }
    }
}

impl Store {
    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The revision the next write gets.
    pub fn next_revision(&self) -> u64 {
        self.revision + 1
    }

    /// One object.
    pub fn get(&self, table: &str, key: &Key) -> Option<&Object> {
        self.tables.get(table)?.objects.get(key)
    }

    /// The revision at which a table changed last; 0 if it never did.
    pub fn changed_at(&self, table: &str) -> u64 {
        self.tables.get(table).map_or(0, |t| t.changed_at)
    }

    /// All objects of a table in order, or of one namespace.
    pub fn scan<'a>(&'a self, table: &str, namespace: Option<&'a str>) -> impl Iterator<Item = (&'a Key, &'a Object)> {
        self.scan_after(table, namespace, None)
    }

    /// The same from behind a key on.
    fn scan_after<'a>(
        &'a self,
        table: &str,
        namespace: Option<&'a str>,
        after: Option<&Key>,
    ) -> impl Iterator<Item = (&'a Key, &'a Object)> {
        let start = match (after, namespace) {
            (Some(key), _) => Bound::Excluded(key.clone()),
            (None, Some(namespace)) => Bound::Included(Key::new(namespace, "")),
            (None, None) => Bound::Unbounded,
        };
        let objects = self.tables.get(table).map(|t| t.objects.range((start, Bound::Unbounded)));
        objects.into_iter().flatten().take_while(move |(k, _)| namespace.is_none_or(|n| k.namespace == n))
    }

    /// Hands over the objects of a table as they were in the past, in order, from behind a key on.
    pub fn walk(
        &self,
        table: &str,
        namespace: Option<&str>,
        past: &Past,
        after: Option<&Key>,
        mut each: impl FnMut(&Key, &Object),
    ) {
        let mut then = past
            .iter()
            .filter(|(key, _)| namespace.is_none_or(|n| key.namespace == n) && after.is_none_or(|a| *key > a))
            .peekable();
        for (key, object) in self.scan_after(table, namespace, after) {
            while let Some((other, was)) = then.next_if(|(other, _)| *other < key) {
                if let Some(was) = was {
                    each(other, was);
                }
            }
            match then.next_if(|(other, _)| *other == key) {
                Some((_, Some(was))) => each(key, was),
                Some((_, None)) => {}
                None => each(key, object),
            }
        }
        for (other, was) in then {
            if let Some(was) = was {
                each(other, was);
            }
        }
    }

    /// How a table differed at a revision; `None` if that is compacted.
    pub fn past(&self, table: &str, revision: u64) -> Option<Past> {
        let Some(t) = self.tables.get(table) else { return Some(Past::new()) };
        if revision < self.revision && (revision < t.compacted || revision < self.compacted) {
            return None;
        }
        Some(t.undone(revision))
    }

    /// How a table differed at a revision, or at the oldest that the log reaches.
    pub fn past_or_oldest(&self, table: &str, revision: u64) -> Past {
        self.tables.get(table).map(|t| t.undone(revision)).unwrap_or_default()
    }

    /// Writes an object whose `resourceVersion` is [`Self::next_revision`]. Returns what was cooled on the way: whoever keeps
    /// objects of the store should take these instead.
    pub fn put(&mut self, name: &Arc<str>, key: Key, object: Object) -> Vec<Cold> {
        self.revision += 1;
        let revision = self.revision;
        let table = self.tables.entry(name.clone()).or_default();
        let before = table.objects.insert(key, object.clone());
        let change = if before.is_some() { Change::Modified } else { Change::Added };
        let renewed = **name == *RENEWED && before.as_ref().is_some_and(|before| only_renewed(before, &object));
        let forgotten = table.record(Event { revision, change, object, before, line: OnceLock::new() });
        let mut cooled = table.cool(name, forgotten, &self.warmed);
        if self.warmed.load(Ordering::Relaxed) > WARMED_BYTES_MAX {
            self.cool_again(&mut cooled);
        }
        self.wake.send_replace(revision);
        if !renewed {
            self.work.send_replace(revision);
        }
        cooled
    }

    /// Removes an object; `last` is its final state at [`Self::next_revision`].
    pub fn remove(&mut self, name: &Arc<str>, key: &Key, last: Object) -> Vec<Cold> {
        let Some(table) = self.tables.get_mut(name) else { return Vec::new() };
        let Some(before) = table.objects.remove(key) else { return Vec::new() };
        self.revision += 1;
        let event = Event {
            revision: self.revision,
            change: Change::Deleted,
            object: last,
            before: Some(before),
            line: OnceLock::new(),
        };
        let forgotten = table.record(event);
        let cooled = table.cool(name, forgotten, &self.warmed);
        self.wake.send_replace(self.revision);
        self.work.send_replace(self.revision);
        cooled
    }

    /// Cools what was cold once and has been read since.
    fn cool_again(&mut self, cooled: &mut Vec<Cold>) {
        self.warmed.store(0, Ordering::Relaxed);
        for (name, table) in &mut self.tables {
            for (key, object) in table.objects.iter_mut().filter(|(_, object)| object.is_warmed()) {
                cooled.push(Cold::make(name, key, object, &self.warmed));
            }
        }
    }

    /// A receiver that ticks when the table changes.
    pub fn subscribe(&mut self, table: &Arc<str>) -> watch::Receiver<u64> {
        self.tables.entry(table.clone()).or_default().wake.subscribe()
    }

    /// A receiver that ticks when anything changes that is more than the renewal of a Lease.
    pub fn subscribe_work(&self) -> watch::Receiver<u64> {
        self.work.subscribe()
    }

    /// A receiver that ticks when anything changes.
    pub fn subscribe_all(&self) -> watch::Receiver<u64> {
        self.wake.subscribe()
    }

    /// Events of a table after a revision.
    ///
    /// # Errors
    /// 410 if some of them are no longer known.
    pub fn events_after(&self, table: &str, revision: u64) -> Result<Vec<Arc<Event>>, Status> {
        let Some(t) = self.tables.get(table) else { return Ok(Vec::new()) };
        if revision < t.compacted {
            return Err(Status::expired(format!("too old resource version: {revision} ({})", t.compacted)));
        }
        let first = t.log.partition_point(|e| e.revision <= revision);
        Ok(t.log.range(first..).cloned().collect())
    }

    /// Refuses lists from before a revision from now on, as a compaction of the real server's etcd does; watches start from the
    /// server's own cache, whose window is the log.
    pub fn compact_reads(&mut self, revision: u64) {
        self.compacted = self.compacted.max(revision);
    }

    /// Forgets all logged events: lists and watches from the past are refused from now on.
    pub fn compact(&mut self) {
        let revision = self.revision;
        self.compacted = revision;
        for table in self.tables.values_mut() {
            table.log.clear();
            table.log_bytes = 0;
            table.compacted = revision;
            table.wake.send_replace(revision);
        }
    }
}

/// Whether a Lease is still the same owners' and nobody deletes it.
fn only_renewed(before: &Value, after: &Value) -> bool {
    let owners = |lease: &Value| json::at(lease, &["metadata", "ownerReferences"]).cloned();
    !json::deleting(after) && owners(before) == owners(after)
}

impl Table {
    /// Adds an event to the log and returns the objects of those that the log forgets for it.
    fn record(&mut self, event: Event) -> Vec<Object> {
        let mut forgotten = Vec::new();
        self.log_bytes += event.object.weight();
        let revision = event.revision;
        self.changed_at = revision;
        self.log.push_back(Arc::new(event));
        while self.log.len() > EVENT_LOG_EVENTS_MAX || self.log_bytes > EVENT_LOG_BYTES_MAX && self.log.len() > 1 {
            let Some(old) = self.log.pop_front() else { break };
            self.log_bytes = self.log_bytes.saturating_sub(old.object.weight());
            self.compacted = old.revision;
            forgotten.push(old.object.clone());
        }
        self.wake.send_replace(revision);
        forgotten
    }

    /// Lets objects rest that the log forgot, and cools those that have rested long enough, are still what is stored and are
    /// held by nobody else.
    fn cool(&mut self, name: &Arc<str>, forgotten: Vec<Object>, warmed: &Arc<AtomicUsize>) -> Vec<Cold> {
        for old in forgotten {
            let key = Key::of(&old);
            if self.objects.get(&key).is_some_and(|stored| stored.is(&old)) {
                self.resting.push_back((key, old.revision()));
            }
        }
        let mut cooled = Vec::new();
        while self.resting.len() > RESTING_MAX {
            let Some((key, revision)) = self.resting.pop_front() else { break };
            let Some(stored) = self.objects.get_mut(&key).filter(|stored| stored.revision() == revision) else {
                continue;
            };
            // The table, and those who keep an owner's dependents at hand.
            let own = 1 + json::list(stored, &["metadata", "ownerReferences"]).len();
            if stored.holders() <= own {
                cooled.push(Cold::make(name, &key, stored, warmed));
            }
        }
        cooled
    }

    /// The events after a revision undone, newest first: the oldest has the last word.
    fn undone(&self, revision: u64) -> Past {
        let mut past = Past::new();
        for event in self.log.iter().rev().take_while(|e| e.revision > revision) {
            past.insert(Key::of(&event.object), event.before.clone());
        }
        past
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn put(store: &mut Store, table: &Arc<str>, name: &str) -> Vec<Cold> {
        let revision = store.next_revision().to_string();
        let object = json!({"metadata": {"name": name, "namespace": "n", "resourceVersion": revision}});
        store.put(table, Key::new("n", name), Object::new(object))
    }

    #[test]
    fn an_object_cools_once_it_has_left_the_log_and_rested() {
        let (mut store, table) = (Store::default(), Arc::<str>::from("things"));
        let early = EVENT_LOG_EVENTS_MAX + RESTING_MAX;
        for number in 0..early {
            assert!(put(&mut store, &table, &format!("{number:06}")).is_empty(), "{number}");
        }
        let names = |cooled: Vec<Cold>| cooled.into_iter().map(|cold| cold.key.name).collect::<Vec<_>>();
        // The second changes before its turn comes.
        assert_eq!(names(put(&mut store, &table, "000001")), ["000000"]);
        assert_eq!(names(put(&mut store, &table, "new")), [""; 0]);
        assert_eq!(names(put(&mut store, &table, "newer")), ["000002"]);
        assert_eq!(store.changed_at("things"), early as u64 + 3);
    }
}
