//! The last two steps of a write: what the server fills in and checks, and the storing.

use std::sync::Arc;

use serde_json::{Value, json};
use sim_clock::Timestamp;

use super::{
    super::{Engine, Key, Object, Target, reads, rules},
    CUSTOM_CLEANUP, Operation, Plan, Written,
    plan::{check_version, reset_new, reset_stored},
};
use crate::{
    json,
    resources::ResourceType,
    ssa::Manager,
    status::{Cause, Status},
};

/// The table of definitions.
const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";
/// Kinds of whose status nothing is checked.
const CHECKED_BUT_STATUS: &[&str] =
    &["DaemonSet", "Deployment", "Job", "Namespace", "Node", "PersistentVolume", "Pod", "ReplicaSet", "StatefulSet"];

/// What became of a plan.
#[derive(Clone, Debug)]
pub enum Committed {
    /// It is stored, or a dry run, or nothing changed.
    Stored(Written),
    /// The object is not any more the one it was planned on: plan again.
    Stale {
        /// What it was about.
        target: Target,
    },
}

impl Engine {
    /// Fills in what the server sets and validates: after it the object is what would be stored.
    ///
    /// # Errors
    /// 422 with its causes, 409 for a version that is not the newest.
    pub fn settle(&mut self, plan: &mut Plan) -> Result<(), Status> {
        match plan.live.clone() {
            None => self.settle_new(plan)?,
            Some(live) => {
                crate::limits::resize::admit(self, &plan.target.resource, &live, &plan.object)?;
                Self::settle_stored(plan, &live)?;
            }
        }
        if plan.target.resource.kind == "CustomResourceDefinition" && plan.target.subresource.is_empty() {
            let taken = self.names_taken(&plan.object);
            let old = plan.live.as_deref();
            crate::definitions::names::judge(&mut plan.object, old, &taken, &plan.now.rfc3339());
        }
        plan.settled = true;
        Ok(())
    }

    fn settle_new(&mut self, plan: &mut Plan) -> Result<(), Status> {
        let resource = &*plan.target.resource;
        let time = plan.now.rfc3339();
        if plan.changed {
            Self::check_stored_identity(plan.target.resource.as_ref(), &plan.target, &mut plan.object)?;
            reset_new(resource, &mut plan.object);
            let dropped = Self::prepare(resource, &mut plan.object, &plan.options)?;
            plan.warnings.extend(dropped);
        }
        if self.service_accounts && resource.built_in && resource.kind == "Pod" {
            self.await_default_account(&plan.target.namespace, &plan.object, plan.now);
            crate::access::service_accounts::admit_pod(self, &plan.target.namespace, &mut plan.object)?;
        }
        crate::limits::range::admit(self, resource, &plan.target.namespace, &mut plan.object)?;
        let object = &mut plan.object;
        let prefix = json::text(object, &["metadata", "generateName"]).to_owned();
        if json::name(object).is_empty() && !prefix.is_empty() {
            let (base, suffix) = (generated_base(&prefix), self.suffix());
            json::child_map(object, "metadata").insert("name".into(), format!("{base}{suffix}").into());
        }
        json::name(object).clone_into(&mut plan.target.name);
        let uid = self.chance.uuid();
        let metadata = json::child_map(object, "metadata");
        metadata.insert("uid".into(), uid.into());
        metadata.insert("creationTimestamp".into(), time.clone().into());
        if resource.generation {
            metadata.insert("generation".into(), 1.into());
        }
        if resource.namespaced {
            metadata.insert("namespace".into(), plan.target.namespace.clone().into());
        }
        let held = match resource.kind.as_str() {
            "CustomResourceDefinition" => Some(CUSTOM_CLEANUP),
            // The admission plugin StorageObjectInUseProtection.
            "PersistentVolume" if resource.built_in => Some(crate::workloads::VOLUME_PROTECTION),
            "PersistentVolumeClaim" if resource.built_in => Some(crate::workloads::CLAIM_PROTECTION),
            _ => None,
        };
        if let Some(held) = held {
            let finalizers = metadata.entry("finalizers").or_insert_with(|| json!([]));
            if let Some(list) = finalizers.as_array_mut().filter(|l| !l.contains(&held.into())) {
                list.push(held.into());
            }
        }
        if resource.built_in
            && let Some(status) = rules::initial_status(resource, object, &time)
        {
            object["status"] = status;
        }
        if resource.built_in && resource.kind == "Job" {
            crate::workloads::job_identity(object);
        }
        Self::validate(&plan.target, object, None)?;
        Manager::settle(&mut plan.managers);
        Ok(())
    }

    /// The names that other definitions of the same group have.
    fn names_taken(&self, definition: &Value) -> crate::definitions::names::Taken {
        let group = |o: &Value| json::text(o, &["spec", "group"]).to_owned();
        let (own, name) = (group(definition), json::name(definition));
        let mut taken = crate::definitions::names::Taken::default();
        let others = self.scan(DEFINITIONS, None).filter(|o| json::name(o) != name && group(o) == own);
        others.for_each(|other| taken.add(other));
        taken
    }

    /// Gives definitions names that have become free.
    pub(in crate::engine) fn free_names(&mut self) {
        let waiting: Vec<Object> =
            self.scan(DEFINITIONS, None).filter(|o| crate::definitions::names::waits(o)).cloned().collect();
        for live in waiting {
            let Ok(resource) = self.resource_of(&live) else { continue };
            let mut object = live.to_content();
            let time = self.told_time().rfc3339();
            object["status"] = crate::definitions::status(&object, Some(&*live), &time);
            let taken = self.names_taken(&object);
            crate::definitions::names::judge(&mut object, Some(&*live), &taken, &time);
            if object != *live {
                self.store_changed(&resource, &live, object);
            }
        }
    }

    /// The real server waits a moment for the controller that gives a new namespace its default account; here the wait
    /// is over at once.
    fn await_default_account(&mut self, namespace: &str, pod: &Value, now: sim_clock::Timestamp) {
        let asked = json::text(pod, &["spec", "serviceAccountName"]);
        let name = crate::access::service_accounts::DEFAULT_ACCOUNT;
        if (asked.is_empty() || asked == name) && self.peek("serviceaccounts", namespace, name).is_none() {
            let [account, _] = crate::access::service_accounts::namespace_contents(namespace, "");
            // Refused only where the pod is refused as well: without its namespace.
            let _ = self.create_object(account, &crate::engine::WriteOptions::by("kube-controller-manager"), now);
        }
    }

    fn settle_stored(plan: &mut Plan, live: &Object) -> Result<(), Status> {
        let target = &plan.target;
        let resource = &*target.resource;
        check_version(target, &plan.asked_version, live)?;
        let object = &mut plan.object;
        if plan.changed {
            Self::check_stored_identity(resource, target, object)?;
            reset_stored(target, live, object);
            plan.warnings.extend(Self::prepare(resource, object, &plan.options)?);
        }
        if resource.kind == "CustomResourceDefinition"
            && target.subresource.is_empty()
            && rules::spec_differs(resource, live, object)
        {
            object["status"] = crate::definitions::status(object, Some(live), &plan.now.rfc3339());
        }
        // What is checked of these kinds was checked when it was written.
        if !target.only_status() || !CHECKED_BUT_STATUS.contains(&resource.kind.as_str()) {
            Self::validate(target, object, Some(&**live))?;
        }
        Manager::settle(&mut plan.managers);
        if resource.generation && rules::spec_differs(resource, live, object) {
            let generation = json::int(live, &["metadata", "generation"]).unwrap_or(0) + 1;
            object["metadata"]["generation"] = generation.into();
        }
        Ok(())
    }

    /// Stores a settled plan, if what it was planned on is still what is stored.
    ///
    /// # Errors
    /// 409 if the name of a new object is taken, 422 if the cluster has no address for a Service.
    pub fn commit(&mut self, plan: Plan) -> Result<Committed, Status> {
        debug_assert!(plan.settled, "a plan is settled before it is committed");
        let Plan { target, operation, live, options, warnings, mut object, managers, .. } = plan;
        let resource = &*target.resource;
        let key = target.key();
        let now_stored = self.store.get(&resource.table, &key);
        let Some(live) = live else {
            debug_assert_eq!(operation, Operation::Create, "only a creation is planned on nothing");
            if now_stored.is_some() {
                return Err(Status::already_exists(resource.about(), &target.name));
            }
            if resource.namespaced {
                crate::limits::quota::charge(self, resource, &target.namespace, &target.name, &object)?;
            }
            if resource.kind == "Service" && !options.dry_run {
                self.assign_address(&mut object).map_err(|why| {
                    let cause = Cause::new("FieldValueInvalid", "spec.clusterIPs", format!("Invalid value: {why}"));
                    Status::invalid(resource.about(), &target.name, &[cause])
                })?;
            }
            let object = self.store_next(resource, key, object, managers, options.dry_run);
            return Ok(Committed::Stored(Written { object: reads::view(resource, object), warnings, created: true }));
        };
        let same = now_stored.is_some_and(|now| {
            json::at(now, &["metadata", "resourceVersion"]) == json::at(&live, &["metadata", "resourceVersion"])
        });
        if !same {
            return Ok(Committed::Stale { target });
        }
        if same_but_for_times(&object, &managers, &live) {
            return Ok(Committed::Stored(Written { object: reads::view(resource, live), warnings, created: false }));
        }
        if released(resource, &object) && !options.dry_run {
            let object = self.remove_object(resource, &key).unwrap_or(live);
            return Ok(Committed::Stored(Written { object: reads::view(resource, object), warnings, created: false }));
        }
        let object = self.store_next(resource, key, object, managers, options.dry_run);
        Ok(Committed::Stored(Written { object: reads::view(resource, object), warnings, created: false }))
    }

    /// Gives an object the next resource version and stores it, unless it is a dry run.
    pub(super) fn store_next(
        &mut self,
        resource: &ResourceType,
        key: Key,
        mut object: Value,
        managers: Vec<Manager>,
        dry_run: bool,
    ) -> Object {
        if !dry_run {
            object["metadata"]["resourceVersion"] = self.store.next_revision().to_string().into();
        }
        let managers = self.alike.share(&resource.table, managers);
        let object = Object::with(object, managers);
        if !dry_run {
            self.store_object(resource, key, object.clone());
        }
        object
    }

    /// Binds a pod to a node, as the subresource `binding` does: the condition is set with it, nobody owns
    /// either, and the generation stays.
    ///
    /// # Errors
    /// 404 if there is no such pod.
    pub(crate) fn bind(&mut self, target: &Target, node: &str, now: Timestamp) -> Result<Object, Status> {
        let live = self.live(target)?;
        let mut object = live.to_content();
        object["spec"]["nodeName"] = node.into();
        crate::workloads::set_condition(&mut object["status"], "PodScheduled", true, "", "", &now.rfc3339(), false);
        Ok(self.store_changed(&target.resource, &live, object))
    }

    /// Renews the Lease of a node, without a look at what cannot have changed.
    pub(crate) fn renew(&mut self, lease: &Object, time: &str) {
        let Ok(resource) = self.resource_of(lease) else { return };
        let mut object = lease.to_content();
        object["spec"]["renewTime"] = time.into();
        self.store_changed(&resource, lease, object);
    }

    /// The same for an object whose fields keep their owners.
    pub(super) fn store_changed(&mut self, resource: &ResourceType, live: &Object, object: Value) -> Object {
        self.store_next(resource, Key::of(live), object, live.managers().to_vec(), false)
    }
}

/// True if nothing differs but the times of the managers: such a write is not one.
fn same_but_for_times(object: &Value, managers: &[Manager], live: &Object) -> bool {
    let alike = |a: &Manager, b: &Manager| {
        a.same(b) && a.api_version == b.api_version && (Arc::ptr_eq(&a.fields, &b.fields) || a.fields == b.fields)
    };
    let old = live.managers();
    managers.len() == old.len()
        && managers.iter().zip(old.iter()).all(|(a, b)| alike(a, b) || old.iter().any(|b| alike(a, b)))
        // A status is what differs mostly, and the last that a comparison comes to.
        && object.get("status") == live.get("status")
        && *object == **live
}

/// True if an object marked for deletion is held by nothing any more.
pub(super) fn released(resource: &ResourceType, object: &Value) -> bool {
    json::deleting(object)
        && json::list(object, &["metadata", "finalizers"]).is_empty()
        && (resource.kind != "Namespace" || json::list(object, &["spec", "finalizers"]).is_empty())
        && (resource.kind != "Pod"
            || json::int(object, &["metadata", "deletionGracePeriodSeconds"]).is_none_or(|g| g == 0))
}

/// Of a prefix that is too long for five more characters to fit into 63 only the beginning stays.
fn generated_base(prefix: &str) -> &str {
    const NAME_BYTES_MAX: usize = 63;
    const SUFFIX_BYTES: usize = 5;
    prefix.get(..NAME_BYTES_MAX - SUFFIX_BYTES).unwrap_or(prefix)
}
