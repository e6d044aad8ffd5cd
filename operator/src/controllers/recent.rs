//! Objects that this process wrote and that its caches have not seen yet.
//!
//! A reconcile that follows another one closely may find a cache that lags behind its own writes. Without this it would take what it
//! wrote for a stranger's work: say `Applied` twice, report a phase change twice, start a second trace for one change.
//!
//! It also remembers what was applied and what the API server made of it. While neither the wish nor the object differ from that,
//! applying again would change nothing, and is not done.

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::{Resource, ResourceExt};

use crate::runtime::{ObjectKey, Store};

/// Own writes that are remembered until a cache has seen them; beyond it the first by kind and key is forgotten.
pub const WRITTEN_OBJECTS_MAX: usize = 10_000;
/// Objects whose last apply is remembered: enough for every child of ten thousand shards. Beyond it the first by kind and key is
/// forgotten, and applied once more than needed.
pub const APPLIED_OBJECTS_MAX: usize = 100_000;

type Id = (Cow<'static, str>, ObjectKey);

/// An apply that is done: a digest of what was asked for, and one of what is stored since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppliedDigest {
    /// Of the object that was sent.
    pub desired: u64,
    /// Of the substance of the object that was answered.
    pub stored: u64,
}

#[derive(Default)]
struct Entries {
    written: BTreeMap<Id, Arc<dyn Any + Send + Sync>>,
    applied: BTreeMap<Id, AppliedDigest>,
}

/// What was written lately, by kind and key. Clones share it.
#[derive(Clone, Default)]
pub struct Recent(Arc<Mutex<Entries>>);

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recent")
    }
}

fn id<K: Resource<DynamicType = ()>>(key: &ObjectKey) -> Id {
    (K::kind(&()), key.clone())
}

impl Recent {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers an apply that is done.
    pub fn applied<K: Resource<DynamicType = ()>>(&self, key: &ObjectKey, digest: AppliedDigest) {
        let mut entries = self.entries();
        entries.applied.insert(id::<K>(key), digest);
        while entries.applied.len() > APPLIED_OBJECTS_MAX {
            entries.applied.pop_first();
        }
    }

    /// Whether this very apply is done already, and the object as it was left.
    pub fn is_applied<K: Resource<DynamicType = ()>>(&self, key: &ObjectKey, digest: AppliedDigest) -> bool {
        self.entries().applied.get(&id::<K>(key)) == Some(&digest)
    }

    /// Forgets an object that a cache saw go, unless another one has been written under its name since.
    pub fn forget<K: Resource<DynamicType = ()> + Send + Sync + 'static>(&self, gone: &K) {
        let id = id::<K>(&ObjectKey::of(gone));
        let mut entries = self.entries();
        let written = entries.written.get(&id).and_then(|entry| entry.clone().downcast::<K>().ok());
        if written.is_none_or(|written| written.uid() == gone.uid()) {
            entries.applied.remove(&id);
            entries.written.remove(&id);
        }
    }

    /// Takes note of what a cache sees: an own write need not be remembered from then on.
    pub fn seen<K: Resource<DynamicType = ()> + Send + Sync + 'static>(&self, cached: &K) {
        let id = id::<K>(&ObjectKey::of(cached));
        let mut entries = self.entries();
        let written = entries.written.get(&id).and_then(|entry| entry.clone().downcast::<K>().ok());
        if written.is_some_and(|written| version(cached) >= version(written.as_ref())) {
            entries.written.remove(&id);
        }
    }

    /// Remembers what the API server answered to a write, without the list of who manages which field.
    pub fn remember<K: Resource<DynamicType = ()> + Send + Sync + 'static>(&self, mut object: K) {
        object.meta_mut().managed_fields = None;
        let mut entries = self.entries();
        entries.written.insert(id::<K>(&ObjectKey::of(&object)), Arc::new(object));
        while entries.written.len() > WRITTEN_OBJECTS_MAX {
            entries.written.pop_first();
        }
    }

    /// The newest version of an object that is known: that of the cache or what was written since. An object that is not in the cache
    /// may be one that was just created.
    pub fn newest<K: Resource<DynamicType = ()> + Send + Sync + 'static>(
        &self,
        cache: &Store<K>,
        key: &ObjectKey,
    ) -> Option<Arc<K>> {
        let cached = cache.get(key);
        let id = id::<K>(key);
        let mut entries = self.entries();
        let Some(written) = entries.written.get(&id).and_then(|entry| entry.clone().downcast::<K>().ok()) else {
            return cached;
        };
        match cached {
            Some(cached) if version(cached.as_ref()) >= version(written.as_ref()) => {
                entries.written.remove(&id);
                Some(cached)
            }
            _ => Some(written),
        }
    }

    /// The newest version of an object that is in the cache; nothing when the cache saw it go.
    pub fn newest_present<K: Resource<DynamicType = ()> + Send + Sync + 'static>(
        &self,
        cache: &Store<K>,
        key: &ObjectKey,
    ) -> Option<Arc<K>> {
        let cached = cache.get(key)?;
        self.newest(cache, key).filter(|newest| newest.uid() == cached.uid()).or(Some(cached))
    }
}

/// Versions of one kind are numbers that grow (Kubernetes promises that since 1.35).
fn version<K: Resource>(object: &K) -> Option<u64> {
    object.resource_version()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Cell;
    use crate::resources::test_objects;

    fn at(version: &str) -> Cell {
        let mut cell = test_objects::cell();
        cell.metadata.resource_version = Some(version.into());
        cell
    }

    #[test]
    fn the_newer_of_cache_and_own_write_counts() {
        let recent = Recent::default();
        let key = ObjectKey::of(&at("1"));
        recent.remember(at("9"));
        let newest = |cache: &Store<Cell>| recent.newest(cache, &key).and_then(|cell| cell.resource_version());
        assert_eq!(newest(&Store::holding([])).as_deref(), Some("9"));
        assert_eq!(newest(&Store::holding([at("8")])).as_deref(), Some("9"));
        assert_eq!(newest(&Store::holding([at("10")])).as_deref(), Some("10"));
        assert_eq!(newest(&Store::holding([])), None, "what the cache has seen is forgotten");
    }

    #[test]
    fn what_went_is_forgotten_but_not_what_took_its_name() {
        let recent = Recent::default();
        let digest = AppliedDigest { desired: 1, stored: 2 };
        let of_uid = |uid: &str| {
            let mut cell = at("1");
            cell.metadata.uid = Some(uid.into());
            cell
        };
        let key = ObjectKey::of(&at("1"));
        recent.applied::<Cell>(&key, digest);
        recent.remember(of_uid("second"));
        recent.forget(&of_uid("first"));
        assert!(recent.is_applied::<Cell>(&key, digest));
        recent.forget(&of_uid("second"));
        assert!(!recent.is_applied::<Cell>(&key, digest));
        assert_eq!(recent.newest(&Store::<Cell>::holding([]), &key), None);
    }

    #[test]
    fn an_own_write_is_remembered_until_a_cache_has_seen_it() {
        let recent = Recent::default();
        let remembered = || recent.entries().written.len();
        recent.remember(at("9"));
        recent.seen(&at("8"));
        assert_eq!(remembered(), 1);
        recent.seen(&at("10"));
        assert_eq!(remembered(), 0);
    }

    #[test]
    fn an_object_that_the_cache_saw_go_is_gone() {
        let recent = Recent::default();
        recent.remember(at("9"));
        assert!(recent.newest_present(&Store::<Cell>::holding([]), &ObjectKey::of(&at("1"))).is_none());
    }
}
