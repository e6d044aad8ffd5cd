//! The API server's engine: storage, admission of writes, selection of reads. No input or output; time comes in.

mod alike;
mod facts;
mod history;
mod object;
mod reads;
mod rules;
mod store;
pub(crate) mod versions;
mod writes;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use serde_json::{Value, json};
use sim_clock::{Chance, Timestamp};

pub use facts::Facts;
pub use history::COMPACTION_INTERVAL;
pub use object::Object;
pub(crate) use object::take_managers;
pub use reads::{ListPage, ListQuery};
pub use store::{Change, EVENT_LOG_BYTES_MAX, EVENT_LOG_EVENTS_MAX, Event, Key, event_line};
pub use versions::ReadVersion;
pub(crate) use writes::{CUSTOM_CLEANUP, FOREGROUND};
pub use writes::{Committed, DeleteQuery, Operation, PatchKind, Plan, Propagation, Written};
pub(crate) use {reads::view, rules::qos};

use crate::{
    json,
    resources::{Registry, ResourceType},
    status::Status,
};
use store::{Cold, Store};

/// Namespaces every cluster has.
pub const NAMESPACES: &[&str] = &["default", "kube-node-lease", "kube-public", "kube-system"];
/// Addresses of Services: 10.96.0.0/16.
const SERVICE_ADDRESSES: u32 = 1 << 16;
/// The first of them is the API server's own, and nobody is given it.
const OWN_ADDRESS: u32 = 1;

/// Names what a request is about.
#[derive(Clone, Debug)]
pub struct Target {
    /// The resource.
    pub resource: Arc<ResourceType>,
    /// Namespace; empty for cluster-scoped resources and for reads across all namespaces.
    pub namespace: String,
    /// Name; empty for collections.
    pub name: String,
    /// `status`, `scale` or empty.
    pub subresource: String,
}

impl Target {
    fn key(&self) -> Key {
        Key::new(&self.namespace, &self.name)
    }

    /// True for writes that leave all but the status of a built-in kind as it is.
    fn only_status(&self) -> bool {
        self.subresource == "status" && self.resource.built_in && self.resource.kind != "CustomResourceDefinition"
    }
}

/// What to do with fields the schema does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and say so in a `Warning` header.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

/// Options of a write.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Everything but the storing.
    pub dry_run: bool,
    /// Name in `managedFields`.
    pub field_manager: String,
    /// Take over conflicting fields (apply only).
    pub force: bool,
    /// Unknown and duplicate fields.
    pub field_validation: FieldValidation,
    /// Paths of fields that came twice in the body.
    pub duplicates: Vec<String>,
}

impl WriteOptions {
    /// Options of a named manager, everything else as by default.
    pub fn by(manager: &str) -> Self {
        Self { field_manager: manager.to_owned(), ..Self::default() }
    }
}

/// Something for the garbage collector to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Garbage {
    /// An owner with this uid is gone.
    OwnerGone(String),
    /// This object came with owner references and should be checked.
    Check(Arc<str>, Key),
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    store: Store,
    registry: Registry,
    chance: Chance,
    service_addresses: BTreeSet<u32>,
    /// Owner uid to dependents, as they are stored: a controller looks at all of its own at each of their changes.
    dependents: BTreeMap<String, BTreeMap<(Arc<str>, Key), Object>>,
    /// Pods and ReplicaSets with labels and without a controller: who may be adopted.
    orphans: BTreeSet<(Arc<str>, Key)>,
    /// Live uids.
    uids: BTreeMap<String, (Arc<str>, Key)>,
    garbage: VecDeque<Garbage>,
    clock: history::Clock,
    alike: alike::Alike,
    /// Whether pods are given service accounts (and refused without).
    service_accounts: bool,
}

impl Engine {
    /// An engine with the namespaces every cluster has; `chance` gives uids and names.
    pub fn new(chance: Chance, now: Timestamp) -> Self {
        let mut engine = Self {
            store: Store::default(),
            registry: Registry::default(),
            chance,
            service_addresses: BTreeSet::from([0, OWN_ADDRESS, SERVICE_ADDRESSES - 1]),
            dependents: BTreeMap::new(),
            orphans: BTreeSet::new(),
            uids: BTreeMap::new(),
            garbage: VecDeque::new(),
            clock: history::Clock::new(now),
            alike: alike::Alike::default(),
            service_accounts: false,
        };
        for name in NAMESPACES {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            let made = engine.create_object(namespace, &WriteOptions::by("kube-apiserver"), now);
            debug_assert!(made.is_ok(), "the namespaces of an empty cluster can be made: {made:?}");
        }
        engine
    }

    /// Lets pods have service accounts from now on: the account must exist, and its token is mounted. Needs the
    /// controllers that make an account in every namespace.
    pub fn enable_service_accounts(&mut self) {
        self.service_accounts = true;
    }

    /// The served resources.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.store.revision()
    }

    /// The resource of an object, by `apiVersion` and `kind`.
    ///
    /// # Errors
    /// 404 as clients see it for a kind that nobody serves.
    pub fn resource_of(&self, object: &Value) -> Result<Arc<ResourceType>, Status> {
        let (version, kind) = (json::text(object, &["apiVersion"]), json::text(object, &["kind"]));
        self.registry.of(version, kind).cloned().ok_or_else(|| {
            Status::new(404, "NotFound", format!("no matches for kind \"{kind}\" in version \"{version}\""))
        })
    }

    /// The target of an object, its namespace `default` if it names none and needs one.
    pub fn target_of(&self, object: &Value) -> Result<Target, Status> {
        let resource = self.resource_of(object)?;
        let namespace = match (resource.namespaced, json::namespace(object)) {
            (false, _) => "",
            (true, "") => "default",
            (true, given) => given,
        };
        Ok(Target {
            namespace: namespace.to_owned(),
            name: json::name(object).to_owned(),
            subresource: String::new(),
            resource,
        })
    }

    /// One stored object by table (`pods`, `deployments.apps`), namespace and name.
    pub fn peek(&self, table: &str, namespace: &str, name: &str) -> Option<&Object> {
        self.store.get(table, &Key::new(namespace, name))
    }

    /// All stored objects of a table, or of one namespace of it, in order.
    pub fn scan<'a>(&'a self, table: &str, namespace: Option<&'a str>) -> impl Iterator<Item = &'a Object> {
        self.store.scan(table, namespace).map(|(_, object)| object)
    }

    /// The revision at which a table changed last; 0 if it never did.
    pub fn changed_at(&self, table: &str) -> u64 {
        self.store.changed_at(table)
    }

    /// Objects that name `uid` as an owner, in order.
    pub fn dependents(&self, uid: &str) -> Vec<Object> {
        self.dependents.get(uid).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Objects of a table and namespace whose controller is `uid`, in order. Costs nothing for what others own.
    pub fn controlled(&self, table: &str, namespace: &str, uid: &str) -> Vec<Object> {
        let all = self.dependents.get(uid).into_iter().flatten();
        all.filter(|((t, key), object)| {
            **t == *table && key.namespace == namespace && object.facts().controller.as_deref() == Some(uid)
        })
        .map(|(_, object)| object.clone())
        .collect()
    }

    /// Objects of a table and namespace that have labels and no controller, in order (pods and ReplicaSets only).
    pub fn orphans(&self, table: &str, namespace: &str) -> Vec<Object> {
        let start: (Arc<str>, Key) = (table.into(), Key::new(namespace, ""));
        let places = self.orphans.range(start..).take_while(|(t, k)| **t == *table && k.namespace == namespace);
        places.filter_map(|(table, key)| self.store.get(table, key).cloned()).collect()
    }

    /// True if an object with this uid exists.
    pub fn lives(&self, uid: &str) -> bool {
        self.uids.contains_key(uid)
    }

    /// The object with this uid.
    pub fn by_uid(&self, uid: &str) -> Option<&Object> {
        let (table, key) = self.uids.get(uid)?;
        self.store.get(table, key)
    }

    /// What the garbage collector has to look at, emptied by asking.
    pub fn take_garbage(&mut self) -> Vec<Garbage> {
        self.garbage.drain(..).collect()
    }

    /// A seeded random number generator shared with the controllers.
    pub fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }

    /// A receiver that ticks when a table changes.
    pub fn subscribe(&mut self, table: &Arc<str>) -> sim_clock::watch::Receiver<u64> {
        self.store.subscribe(table)
    }

    /// A receiver that ticks when anything changes that is more than the renewal of a Lease.
    pub fn subscribe_work(&self) -> sim_clock::watch::Receiver<u64> {
        self.store.subscribe_work()
    }

    /// A receiver that ticks when anything changes.
    pub fn subscribe_all(&self) -> sim_clock::watch::Receiver<u64> {
        self.store.subscribe_all()
    }

    /// Events of a table after a revision; 410 if they are compacted.
    pub fn events_after(&self, table: &str, revision: u64) -> Result<Vec<Arc<Event>>, Status> {
        self.store.events_after(table, revision)
    }

    /// Forgets the event logs: watches and lists from the past answer 410 from now on.
    pub fn compact(&mut self) {
        self.store.compact();
    }

    /// Does something with chance of its own, so that what others draw stays as it is.
    pub(crate) fn aside<T>(&mut self, purpose: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        let own = std::mem::replace(&mut self.chance, sim_clock::seeded(purpose));
        let done = work(self);
        self.chance = own;
        done
    }

    /// Five characters of the alphabet the real server uses for generated names.
    pub fn suffix(&mut self) -> String {
        const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..5).map(|_| char::from(SAFE[self.chance.below(SAFE.len() as u64) as usize])).collect()
    }

    fn store_object(&mut self, resource: &ResourceType, key: Key, object: Object) {
        let (old_owners, old_uid) = match self.store.get(&resource.table, &key) {
            Some(old) => (owner_uids(old), Some(json::uid(old).to_owned())),
            None => (BTreeSet::new(), None),
        };
        let owners = owner_uids(&object);
        if owners != old_owners {
            let entry = (resource.table.clone(), key.clone());
            for gone in old_owners.difference(&owners) {
                self.forget_dependent(gone, &entry);
            }
            self.garbage.push_back(Garbage::Check(entry.0, entry.1));
        } else if json::deleting(&object) {
            self.garbage.push_back(Garbage::Check(resource.table.clone(), key.clone()));
        }
        for owner in owners {
            let entry = (resource.table.clone(), key.clone());
            self.dependents.entry(owner).or_default().insert(entry, object.clone());
        }
        if matches!(&*resource.table, "pods" | "replicasets.apps") {
            let place = (resource.table.clone(), key.clone());
            if json::controller_of(&object).is_none() && json::map(&object, &["metadata", "labels"]).is_some() {
                self.orphans.insert(place);
            } else {
                self.orphans.remove(&place);
            }
        }
        if old_uid.is_none() {
            let place = (resource.table.clone(), key.clone());
            self.uids.insert(json::uid(&object).to_owned(), place);
        }
        if resource.kind == "CustomResourceDefinition" && crate::definitions::names::established(&object) {
            self.registry.add_definition(&object);
        }
        let cooled = self.store.put(&resource.table, key, object);
        self.take_cooled(cooled);
    }

    /// Keeps what is cold as the store keeps it.
    fn take_cooled(&mut self, cooled: Vec<Cold>) {
        for Cold { table, key, owners, object } in cooled {
            let entry = (table, key);
            for owner in owners {
                if let Some(kept) = self.dependents.get_mut(&owner).and_then(|all| all.get_mut(&entry)) {
                    kept.clone_from(&object);
                }
            }
        }
    }

    fn remove_object(&mut self, resource: &ResourceType, key: &Key) -> Option<Object> {
        let old = self.store.get(&resource.table, key)?.clone();
        let mut last = old.to_content();
        last["metadata"]["resourceVersion"] = self.store.next_revision().to_string().into();
        let last = Object::with(last, old.managers().clone());
        let entry = (resource.table.clone(), key.clone());
        for owner in owner_uids(&old) {
            self.forget_dependent(&owner, &entry);
        }
        self.orphans.remove(&entry);
        let uid = json::uid(&old).to_owned();
        self.uids.remove(&uid);
        if self.dependents.contains_key(&uid) {
            self.garbage.push_back(Garbage::OwnerGone(uid));
        }
        for owner in owner_uids(&old) {
            // A foreground deletion of the owner may wait for this one.
            self.garbage.push_back(Garbage::OwnerGone(owner));
        }
        // A namespace or a definition may be waiting for its last object.
        let namespace = Key::new("", &key.namespace);
        if resource.namespaced && self.store.get("namespaces", &namespace).is_some_and(|n| json::deleting(n)) {
            self.garbage.push_back(Garbage::Check("namespaces".into(), namespace));
        }
        if resource.custom() {
            self.garbage.push_back(Garbage::Check(
                "customresourcedefinitions.apiextensions.k8s.io".into(),
                Key::new("", &resource.table),
            ));
        }
        match resource.kind.as_str() {
            "CustomResourceDefinition" => self.registry.remove_definition(&old),
            "Service" => self.release_address(&old),
            _ => {}
        }
        let cooled = self.store.remove(&resource.table, key, last.clone());
        self.take_cooled(cooled);
        if resource.kind == "CustomResourceDefinition" {
            self.free_names();
        }
        Some(last)
    }

    fn forget_dependent(&mut self, owner: &str, entry: &(Arc<str>, Key)) {
        if let Some(set) = self.dependents.get_mut(owner) {
            set.remove(entry);
            if set.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }

    /// Gives a Service its cluster IP: the one it asks for, or the next free of 10.96.0.0/16.
    fn assign_address(&mut self, service: &mut Value) -> Result<(), String> {
        let Some(spec) = service.get_mut("spec").filter(|s| s["type"] != "ExternalName") else { return Ok(()) };
        let asked = json::text(spec, &["clusterIP"]).to_owned();
        if asked.is_empty() {
            let start = 2 + self.chance.below(u64::from(SERVICE_ADDRESSES) - 3) as u32;
            let free = (start..SERVICE_ADDRESSES - 1).chain(2..start).find(|n| !self.service_addresses.contains(n));
            let Some(free) = free else { return Err("no IPs available".into()) };
            self.service_addresses.insert(free);
            spec["clusterIP"] = format!("10.96.{}.{}", free >> 8, free & 255).into();
        } else if let Some(number) = address_number(&asked)
            && !self.service_addresses.insert(number)
            && number != OWN_ADDRESS
        {
            return Err(format!("failed to allocate IP {asked}: provided IP is already allocated"));
        }
        spec["clusterIPs"] = json!([spec["clusterIP"].clone()]);
        Ok(())
    }

    fn release_address(&mut self, service: &Value) {
        if let Some(number) = address_number(json::text(service, &["spec", "clusterIP"])) {
            self.service_addresses.remove(&number);
        }
    }
}

fn address_number(address: &str) -> Option<u32> {
    let ip: std::net::Ipv4Addr = address.parse().ok()?;
    let [a, b, c, d] = ip.octets();
    (a == 10 && b == 96).then(|| u32::from(c) << 8 | u32::from(d))
}

fn owner_uids(object: &Value) -> BTreeSet<String> {
    json::list(object, &["metadata", "ownerReferences"]).iter().map(|o| json::text(o, &["uid"]).to_owned()).collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
