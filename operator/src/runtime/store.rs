//! The cache of a kind: its objects in key order, and by what they belong to.
//!
//! A reconciler asks for the few objects of one owner, one shard or one cluster; with thousands of shards it must not look at all
//! objects of a kind for that. So every object is filed under each of its [`Group`]s as well.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{
    Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicBool, Ordering},
};

use kube::{Resource, ResourceExt};

use super::{Change, ObjectKey};
use crate::labels;
use crate::names;
use crate::signal::Signal;

/// What objects belong to, by their owner references and labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// What the object with this uid controls.
    ControlledBy(String),
    /// What says by its label that it is part of this cluster.
    OfCluster(ObjectKey),
    /// What says by its labels that it is part of this Shard.
    OfShard(ObjectKey),
}

impl Group {
    /// The groups of an object.
    fn of<K: Resource>(object: &K) -> Vec<Self> {
        let mut groups: Vec<Self> = object
            .owner_references()
            .iter()
            .filter(|owner| owner.controller == Some(true))
            .map(|owner| Self::ControlledBy(owner.uid.clone()))
            .collect();
        let label = |key| object.labels().get(key);
        let key = |name: String| ObjectKey::new(object.namespace().unwrap_or_default(), name);
        if let Some(cluster) = label(labels::CLUSTER) {
            groups.push(Self::OfCluster(key(cluster.clone())));
        }
        if let Some(shard) = shard_name(object) {
            groups.push(Self::OfShard(key(shard)));
        }
        groups
    }
}

/// The name of the Shard that the labels of one of its parts say.
pub fn shard_name<K: Resource>(part: &K) -> Option<String> {
    let label = |key| part.labels().get(key).map(String::as_str);
    Some(names::shard(
        label(labels::CLUSTER)?,
        label(labels::DATABASE)?,
        label(labels::TABLE_GROUP)?,
        label(labels::SHARD)?,
    ))
}

/// A cache of all objects of a kind, in key order. Cheap to clone; it follows the API server.
#[derive(Debug)]
pub struct Store<K>(Arc<Inner<K>>);

#[derive(Debug)]
struct Inner<K> {
    objects: RwLock<Objects<K>>,
    synced: Signal,
    unserved: AtomicBool,
}

#[derive(Debug)]
struct Objects<K> {
    by_key: BTreeMap<ObjectKey, Arc<K>>,
    by_group: BTreeMap<Group, BTreeSet<ObjectKey>>,
}

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        let objects = Objects { by_key: BTreeMap::new(), by_group: BTreeMap::new() };
        Self(Arc::new(Inner {
            objects: RwLock::new(objects),
            synced: Signal::default(),
            unserved: AtomicBool::new(false),
        }))
    }
}

impl<K: Resource> Objects<K> {
    fn insert(&mut self, key: &ObjectKey, object: Arc<K>) -> Option<Arc<K>> {
        let groups = Group::of(object.as_ref());
        let old = self.by_key.insert(key.clone(), object);
        if let Some(old) = &old {
            let before = Group::of(old.as_ref());
            if before == groups {
                return Some(old.clone());
            }
            self.leave(key, &before);
        }
        for group in groups {
            self.by_group.entry(group).or_default().insert(key.clone());
        }
        old
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Arc<K>> {
        let old = self.by_key.remove(key)?;
        self.leave(key, &Group::of(old.as_ref()));
        Some(old)
    }

    fn leave(&mut self, key: &ObjectKey, groups: &[Group]) {
        for group in groups {
            let Some(members) = self.by_group.get_mut(group) else { continue };
            members.remove(key);
            if members.is_empty() {
                self.by_group.remove(group);
            }
        }
    }
}

impl<K: Resource> Store<K> {
    /// A store that holds these objects and follows nobody: for tests of what reads stores.
    pub fn holding(objects: impl IntoIterator<Item = K>) -> Self {
        let store = Self::default();
        for object in objects {
            store.write().insert(&ObjectKey::of(&object), Arc::new(object));
        }
        store.0.synced.give();
        store
    }

    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.read().by_key.get(key).cloned()
    }

    /// All objects of a namespace, in the order of their names.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let objects = self.read();
        let from = objects.by_key.range(ObjectKey::new(namespace, "")..);
        from.take_while(|(key, _)| key.namespace == namespace).map(|(_, object)| object.clone()).collect()
    }

    /// The objects that the object with this uid controls, in key order.
    pub fn controlled_by(&self, uid: &str) -> Vec<Arc<K>> {
        self.of_group(&Group::ControlledBy(uid.to_owned()))
    }

    /// The objects whose label says that they are part of a cluster, in key order.
    pub fn of_cluster(&self, namespace: &str, cluster: &str) -> Vec<Arc<K>> {
        self.of_group(&Group::OfCluster(ObjectKey::new(namespace, cluster)))
    }

    /// The objects whose labels say that they are part of a Shard, in key order.
    pub fn of_shard(&self, shard: ObjectKey) -> Vec<Arc<K>> {
        self.of_group(&Group::OfShard(shard))
    }

    fn of_group(&self, group: &Group) -> Vec<Arc<K>> {
        let objects = self.read();
        let members = objects.by_group.get(group).into_iter().flatten();
        members.filter_map(|key| objects.by_key.get(key).cloned()).collect()
    }

    /// All objects in key order.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.read().by_key.values().cloned().collect()
    }

    /// The keys of all objects, in order.
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.read().by_key.keys().cloned().collect()
    }

    /// Whether the API server knows the kind. Of kinds that are no option it is taken for granted.
    pub fn served(&self) -> bool {
        !self.0.unserved.load(Ordering::Acquire)
    }

    pub(super) fn set_served(&self, served: bool) {
        self.0.unserved.store(!served, Ordering::Release);
    }

    /// Whether the first list is in.
    pub fn synced(&self) -> bool {
        self.0.synced.given()
    }

    pub(super) fn set_synced(&self) {
        self.0.synced.give();
    }

    /// Waits until the first list is in.
    pub async fn wait_until_synced(&self) {
        self.0.synced.wait().await;
    }

    fn read(&self) -> RwLockReadGuard<'_, Objects<K>> {
        self.0.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Objects<K>> {
        self.0.objects.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over one object; the change is nothing when the version is the known one.
    pub(super) fn apply(&self, object: K) -> Option<Change<K>> {
        let key = ObjectKey::of(&object);
        let new = Arc::new(object);
        let old = self.write().insert(&key, new.clone());
        let known = old.as_ref().is_some_and(|old| {
            old.meta().resource_version.is_some()
                && old.meta().resource_version == new.meta().resource_version
                && old.uid() == new.uid()
        });
        (!known).then_some(Change { key, old, new: Some(new) })
    }

    pub(super) fn delete(&self, key: &ObjectKey) -> Option<Change<K>> {
        let old = self.write().remove(key)?;
        Some(Change { key: key.clone(), old: Some(old), new: None })
    }

    /// Takes over a whole list: what is not in it is gone.
    pub(super) fn replace(&self, objects: Vec<K>) -> Vec<Change<K>> {
        let listed: BTreeSet<ObjectKey> = objects.iter().map(ObjectKey::of).collect();
        let gone: Vec<ObjectKey> = self.keys().into_iter().filter(|key| !listed.contains(key)).collect();
        let mut changes: Vec<_> = gone.iter().filter_map(|key| self.delete(key)).collect();
        let mut objects = objects;
        objects.sort_by_key(ObjectKey::of);
        changes.extend(objects.into_iter().filter_map(|object| self.apply(object)));
        changes
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
    use proptest::prelude::*;

    use super::*;

    /// What one object says of itself: its name, its owner, its cluster, its shard.
    type Said = (u8, Option<u8>, Option<u8>, Option<u8>);

    fn pod((name, owner, cluster, shard): Said) -> Pod {
        let owner = owner.map(|uid| OwnerReference {
            uid: format!("uid-{uid}"),
            controller: Some(true),
            ..OwnerReference::default()
        });
        let mut said = labels::Labels::new();
        if let Some(cluster) = cluster {
            said.insert(labels::CLUSTER.into(), format!("c{cluster}"));
        }
        if let Some(shard) = shard {
            said.extend([(labels::DATABASE.into(), "d".into()), (labels::TABLE_GROUP.into(), "t".into())]);
            said.insert(labels::SHARD.into(), format!("s{shard}"));
        }
        Pod {
            metadata: ObjectMeta {
                name: Some(format!("p{name}")),
                namespace: Some(format!("n{}", name % 2)),
                owner_references: owner.map(|owner| vec![owner]),
                labels: Some(said),
                ..ObjectMeta::default()
            },
            ..Pod::default()
        }
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<String> {
        pods.iter().map(|pod| pod.name_any()).collect()
    }

    proptest! {
        #[test]
        fn groups_hold_what_a_look_at_every_object_finds(
            steps in proptest::collection::vec((any::<bool>(), (0..6_u8, proptest::option::of(0..2_u8), proptest::option::of(0..2_u8), proptest::option::of(0..2_u8))), 0..40)
        ) {
            let store: Store<Pod> = Store::default();
            for (comes, said) in steps {
                let pod = pod(said);
                if comes {
                    store.apply(pod);
                } else {
                    store.delete(&ObjectKey::of(&pod));
                }
            }
            let all: Vec<Arc<Pod>> = store.keys().iter().filter_map(|key| store.get(key)).collect();
            let holding = |likes: &dyn Fn(&Pod) -> bool| -> Vec<String> {
                all.iter().filter(|pod| likes(pod)).map(|pod| pod.name_any()).collect()
            };
            for n in 0..2 {
                let uid = format!("uid-{n}");
                prop_assert_eq!(
                    names(&store.controlled_by(&uid)),
                    holding(&|pod| pod.owner_references().iter().any(|owner| owner.uid == uid))
                );
                let namespace = format!("n{n}");
                let here = |pod: &Pod| pod.namespace().as_deref() == Some(namespace.as_str());
                prop_assert_eq!(names(&store.in_namespace(&namespace)), holding(&here));
                for cluster in ["c0", "c1"] {
                    let of_cluster = |pod: &Pod| here(pod) && pod.labels().get(labels::CLUSTER).is_some_and(|c| c == cluster);
                    prop_assert_eq!(names(&store.of_cluster(&namespace, cluster)), holding(&of_cluster));
                    let shard = names::shard(cluster, "d", "t", "s1");
                    let of_shard = |pod: &Pod| of_cluster(pod) && pod.labels().get(labels::SHARD).is_some_and(|s| s == "s1");
                    let key = ObjectKey::new(namespace.clone(), shard);
                    prop_assert_eq!(names(&store.of_shard(key)), holding(&of_shard));
                }
            }
            for key in store.keys() {
                store.delete(&key);
            }
            prop_assert!(store.read().by_group.is_empty(), "a group that nothing is in takes no room");
        }
    }
}
