//! Deletions: at once, or marked and held by finalizers and grace; finalizers; orphans.

use serde_json::{Value, json};
use sim_clock::Timestamp;

use super::{
    super::{Engine, Garbage, Key, Object, Target},
    DeleteQuery, FOREGROUND, Propagation,
    commit::released,
};
use crate::{
    json,
    selectors::{FieldSelector, LabelSelector},
    status::Status,
};

/// Namespaces that cannot be deleted.
const PROTECTED_NAMESPACES: &[&str] = &["default", "kube-system", "kube-public"];

impl Engine {
    /// The object that a deletion is about, once its preconditions hold.
    ///
    /// # Errors
    /// 404, 409 if a precondition fails, 403 for a namespace that every cluster has.
    pub fn plan_delete(&self, target: &Target, query: &DeleteQuery) -> Result<Object, Status> {
        let resource = &*target.resource;
        if resource.kind == "Namespace" && PROTECTED_NAMESPACES.contains(&target.name.as_str()) {
            return Err(Status::forbidden(resource.about(), &target.name, "this namespace may not be deleted"));
        }
        let live = self.live(target)?;
        if let Some(uid) = query.uid.as_deref().filter(|uid| *uid != json::uid(&live)) {
            return Err(Status::conflict(
                resource.about(),
                &target.name,
                &format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", json::uid(&live)),
            ));
        }
        let version = json::text(&live, &["metadata", "resourceVersion"]);
        if let Some(asked) = query.resource_version.as_deref().filter(|v| *v != version) {
            return Err(Status::conflict(
                resource.about(),
                &target.name,
                &format!(
                    "Precondition failed: ResourceVersion in precondition: {asked}, ResourceVersion in object meta: {version}"
                ),
            ));
        }
        Ok(live)
    }

    /// Deletes one object, or marks it for deletion; the bool says whether it is gone.
    ///
    /// # Errors
    /// 404, 409 if a precondition fails.
    pub fn delete(&mut self, target: &Target, query: &DeleteQuery, now: Timestamp) -> Result<(Object, bool), Status> {
        let live = self.plan_delete(target, query)?;
        let resource = &*target.resource;
        let mut object = live.to_content();
        if query.propagation == Propagation::Orphan && !query.dry_run {
            self.orphan(json::uid(&live));
        }
        if query.propagation == Propagation::Foreground && !json::deleting(&live) {
            let finalizers = json::child_map(&mut object, "metadata").entry("finalizers").or_insert_with(|| json!([]));
            if let Some(list) = finalizers.as_array_mut() {
                list.push(FOREGROUND.into());
            }
        }
        let grace = if resource.kind == "Pod"
            && !json::text(&live, &["spec", "nodeName"]).is_empty()
            && !matches!(json::text(&live, &["status", "phase"]), "Succeeded" | "Failed")
        {
            let own = json::int(&live, &["spec", "terminationGracePeriodSeconds"]).unwrap_or(30);
            query.grace_seconds.unwrap_or(own).max(0)
        } else {
            0
        };
        let already = json::int(&live, &["metadata", "deletionGracePeriodSeconds"]);
        let held = !json::list(&object, &["metadata", "finalizers"]).is_empty()
            || (resource.kind == "Namespace" && !json::list(&object, &["spec", "finalizers"]).is_empty());
        if !held && grace == 0 {
            if query.dry_run {
                return Ok((live, true));
            }
            let last = self.remove_object(resource, &target.key());
            return Ok((last.unwrap_or(live), true));
        }
        if json::deleting(&live) && already.is_none_or(|a| a <= grace) {
            return Ok((live, false));
        }
        let metadata = json::child_map(&mut object, "metadata");
        let when = now.checked_add(std::time::Duration::from_secs(grace as u64)).unwrap_or(now);
        metadata.insert("deletionTimestamp".into(), when.rfc3339().into());
        metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
        if let Some(generation) = metadata.get("generation").and_then(Value::as_i64).filter(|_| already.is_none()) {
            metadata.insert("generation".into(), (generation + 1).into());
        }
        if resource.kind == "Namespace" {
            object["status"]["phase"] = "Terminating".into();
        }
        let object = self.store_next(resource, target.key(), object, live.managers().to_vec(), query.dry_run);
        if !query.dry_run {
            self.garbage.push_back(Garbage::Check(resource.table.clone(), target.key()));
        }
        Ok((object, false))
    }

    /// Deletes all objects of a collection that the selectors choose.
    ///
    /// # Errors
    /// The first refusal of a single deletion, other than 404.
    pub fn delete_collection(
        &mut self,
        target: &Target,
        labels: &LabelSelector,
        fields: &FieldSelector,
        query: &DeleteQuery,
        now: Timestamp,
    ) -> Result<Vec<Object>, Status> {
        let namespace = Some(target.namespace.as_str()).filter(|n| !n.is_empty());
        let chosen: Vec<Object> = self
            .scan(&target.resource.table, namespace)
            .filter(|o| labels.matches(o) && fields.matches(o))
            .cloned()
            .collect();
        let mut deleted = Vec::with_capacity(chosen.len());
        for object in chosen {
            let one = Target {
                namespace: json::namespace(&object).to_owned(),
                name: json::name(&object).to_owned(),
                ..target.clone()
            };
            match self.delete(&one, query, now) {
                Ok((object, _)) => deleted.push(object),
                Err(status) if status.is_not_found() => {}
                Err(status) => return Err(status),
            }
        }
        Ok(deleted)
    }

    /// Takes a finalizer off an object; the object goes if it was the last one.
    pub(crate) fn remove_finalizer(&mut self, table: &str, key: &Key, finalizer: &str) {
        let Some(live) = self.store.get(table, key).cloned() else { return };
        let Ok(resource) = self.resource_of(&live) else { return };
        let mut object = live.to_content();
        for (parent, field) in [("metadata", "finalizers"), ("spec", "finalizers")] {
            if let Some(list) = object.get_mut(parent).and_then(|p| p.get_mut(field)).and_then(Value::as_array_mut) {
                list.retain(|f| f != finalizer);
                if list.is_empty() {
                    json::child_map(&mut object, parent).shift_remove(field);
                }
            }
        }
        if released(&resource, &object) {
            self.remove_object(&resource, key);
        } else if object != *live {
            self.store_changed(&resource, &live, object);
        }
    }

    fn orphan(&mut self, uid: &str) {
        for dependent in self.dependents(uid) {
            let Ok(resource) = self.resource_of(&dependent) else { continue };
            let mut object = dependent.to_content();
            let metadata = json::child_map(&mut object, "metadata");
            if let Some(list) = metadata.get_mut("ownerReferences").and_then(Value::as_array_mut) {
                list.retain(|o| json::text(o, &["uid"]) != uid);
                if list.is_empty() {
                    metadata.shift_remove("ownerReferences");
                }
            }
            self.store_changed(&resource, &dependent, object);
        }
    }
}
