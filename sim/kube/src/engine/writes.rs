//! Create, update, patch, apply, delete.

use serde_json::{Value, json};
use sim_clock::Timestamp;

use super::{Engine, FieldValidation, Garbage, Key, Object, Target, WriteOptions, reads, rules};
use crate::{
    defaults, json, patch,
    resources::ResourceType,
    schema,
    selectors::{FieldSelector, LabelSelector},
    ssa::{self, Manager, Shape, Writer},
    status::Status,
};

/// The outcome of a write.
#[derive(Clone, Debug)]
pub struct Written {
    /// The object as stored.
    pub object: Object,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
    /// True if it did not exist before (201).
    pub created: bool,
}

/// The kinds of patch, by content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// `application/json-patch+json`
    Json,
    /// `application/merge-patch+json`
    Merge,
    /// `application/strategic-merge-patch+json`
    Strategic,
    /// `application/apply-patch+yaml`
    Apply,
}

/// What becomes of dependents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// They are collected afterwards.
    #[default]
    Background,
    /// They go first.
    Foreground,
    /// They stay and lose the reference.
    Orphan,
}

/// Options of a deletion.
#[derive(Clone, Debug, Default)]
pub struct DeleteQuery {
    /// Everything but the deleting.
    pub dry_run: bool,
    /// Dependents.
    pub propagation: Propagation,
    /// Seconds a pod gets; `None`: its own.
    pub grace_seconds: Option<i64>,
    /// Only if the uid is this one.
    pub uid: Option<String>,
    /// Only if the resource version is this one.
    pub resource_version: Option<String>,
}

/// Held by a foreground deletion until the dependents are gone.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// Held by a CustomResourceDefinition until its objects are gone.
pub(crate) const CUSTOM_CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

fn shape(resource: &ResourceType) -> Shape<'_> {
    match &resource.schema {
        Some(schema) => Shape::Root(schema),
        None if resource.built_in => Shape::built_in(),
        None => Shape::Untyped,
    }
}

impl Engine {
    /// Creates an object by its own `apiVersion`, `kind` and metadata.
    ///
    /// # Errors
    /// As [`Engine::create`].
    pub fn create_object(&mut self, object: Value, options: &WriteOptions, now: Timestamp) -> Result<Written, Status> {
        let target = self.target_of(&object)?;
        self.create(&target, object, options, now)
    }

    /// Creates an object.
    ///
    /// # Errors
    /// 409 if the name is taken, 422 if it is invalid, 404 or 403 for its namespace.
    pub fn create(
        &mut self,
        target: &Target,
        object: Value,
        options: &WriteOptions,
        now: Timestamp,
    ) -> Result<Written, Status> {
        let mut object = object;
        Self::check_identity(target, &mut object)?;
        json::child_map(&mut object, "metadata").shift_remove("managedFields");
        if !json::text(&object, &["metadata", "resourceVersion"]).is_empty() {
            return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
        }
        self.insert(target, object, None, options, now)
    }

    /// Stores a new object; `managers` are given by an apply, else booked as an update.
    fn insert(
        &mut self,
        target: &Target,
        mut object: Value,
        managers: Option<Vec<Manager>>,
        options: &WriteOptions,
        now: Timestamp,
    ) -> Result<Written, Status> {
        let resource = &*target.resource;
        let time = now.rfc3339();
        let prefix = json::text(&object, &["metadata", "generateName"]).to_owned();
        if json::name(&object).is_empty() && !prefix.is_empty() {
            let suffix = self.suffix();
            json::child_map(&mut object, "metadata").insert("name".into(), format!("{prefix}{suffix}").into());
        }
        let name = json::name(&object).to_owned();
        let key = Key::new(&target.namespace, &name);
        self.check_namespace(target, &name)?;
        if self.store.get(&resource.table, &key).is_some() {
            return Err(Status::already_exists(resource.about(), &name));
        }
        {
            let metadata = json::child_map(&mut object, "metadata");
            for field in [
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
                "selfLink",
                "generation",
                "managedFields",
                "creationTimestamp",
                "resourceVersion",
            ] {
                metadata.shift_remove(field);
            }
            let uid = self.chance.uuid();
            metadata.insert("uid".into(), uid.into());
            metadata.insert("creationTimestamp".into(), time.clone().into());
            if resource.generation {
                metadata.insert("generation".into(), 1.into());
            }
            if resource.namespaced {
                metadata.insert("namespace".into(), target.namespace.clone().into());
            }
            if resource.kind == "CustomResourceDefinition" {
                let finalizers = metadata.entry("finalizers").or_insert_with(|| json!([]));
                if let Some(list) = finalizers.as_array_mut().filter(|l| !l.contains(&CUSTOM_CLEANUP.into())) {
                    list.push(CUSTOM_CLEANUP.into());
                }
            }
        }
        if resource.status {
            json::ensure_map(&mut object).shift_remove("status");
        }
        let warnings = Self::prepare(resource, &mut object, options)?;
        if resource.built_in
            && let Some(status) = rules::initial_status(resource, &object, &time)
        {
            object["status"] = status;
        }
        Self::validate(resource, &object, &name)?;
        if resource.kind == "Service" && !options.dry_run {
            self.assign_address(&mut object).map_err(|why| {
                Status::invalid(
                    resource.about(),
                    &name,
                    &[crate::status::Cause::new(
                        "FieldValueInvalid",
                        "spec.clusterIPs",
                        format!("Invalid value: {why}"),
                    )],
                )
            })?;
        }
        reads::to_storage(resource, &mut object);
        let managers = managers.unwrap_or_else(|| {
            let nothing = Value::Object(serde_json::Map::new());
            ssa::update(&nothing, &object, shape(resource), writer(target, options, &resource.api_version(), &time))
        });
        Manager::write(managers, &mut object);
        let object = self.commit(resource, key, object, options.dry_run);
        Ok(Written { object: reads::view(resource, object), warnings, created: true })
    }

    /// Replaces an object (or its status, by the target's subresource).
    ///
    /// # Errors
    /// 404, 409 if the resource version is not the newest, 422.
    pub fn update(
        &mut self,
        target: &Target,
        object: Value,
        options: &WriteOptions,
        now: Timestamp,
    ) -> Result<Written, Status> {
        let mut object = object;
        Self::check_identity(target, &mut object)?;
        let resource = &*target.resource;
        let live = self.live(target)?;
        let version = json::text(&object, &["metadata", "resourceVersion"]);
        if version.is_empty() && resource.custom() {
            return Err(Status::invalid(
                resource.about(),
                &target.name,
                &[crate::status::Cause::new(
                    "FieldValueInvalid",
                    "metadata.resourceVersion",
                    "Invalid value: 0: must be specified for an update",
                )],
            ));
        }
        if !version.is_empty() && version != json::text(&live, &["metadata", "resourceVersion"]) {
            return Err(Status::modified(resource.about(), &target.name));
        }
        reads::to_storage(resource, &mut object);
        self.replace(target, &live, object, None, options, now)
    }

    /// Patches an object; an apply creates it where it does not exist.
    ///
    /// # Errors
    /// As [`Engine::update`]; 415 for a strategic merge patch of a custom resource.
    pub fn patch(
        &mut self,
        target: &Target,
        kind: PatchKind,
        body: &Value,
        options: &WriteOptions,
        now: Timestamp,
    ) -> Result<Written, Status> {
        if kind == PatchKind::Apply {
            return self.apply(target, body, options, now);
        }
        let resource = &*target.resource;
        let live = self.live(target)?;
        let mut object = reads::view(resource, live.clone()).to_value();
        match kind {
            PatchKind::Json => patch::json_patch(&mut object, body)?,
            PatchKind::Merge => patch::merge_patch(&mut object, body),
            PatchKind::Strategic if resource.custom() => {
                return Err(Status::unsupported_media_type(
                    "application/strategic-merge-patch+json",
                    "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
                ));
            }
            PatchKind::Strategic => patch::strategic(&mut object, body),
            PatchKind::Apply => unreachable!("answered above"),
        }
        Self::check_identity(target, &mut object)?;
        if json::text(&object, &["metadata", "resourceVersion"]) != json::text(&live, &["metadata", "resourceVersion"])
        {
            return Err(Status::modified(resource.about(), &target.name));
        }
        reads::to_storage(resource, &mut object);
        self.replace(target, &live, object, None, options, now)
    }

    /// Server-side apply.
    ///
    /// # Errors
    /// 409 with causes on conflicts, 400 without a field manager.
    pub fn apply(
        &mut self,
        target: &Target,
        config: &Value,
        options: &WriteOptions,
        now: Timestamp,
    ) -> Result<Written, Status> {
        if options.field_manager.is_empty() {
            return Err(Status::invalid(
                crate::status::About { group: "meta.k8s.io", plural: "", kind: "PatchOptions" },
                "",
                &[crate::status::Cause::new(
                    "FieldValueRequired",
                    "fieldManager",
                    "Required value: is required for apply patch",
                )],
            ));
        }
        let resource = &*target.resource;
        let mut config = config.clone();
        Self::check_identity(target, &mut config)?;
        if !json::list(&config, &["metadata", "managedFields"]).is_empty() {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        let asked = json::text(&config, &["metadata", "resourceVersion"]).to_owned();
        let mut warnings = Vec::new();
        if let Some(schema) = &resource.schema {
            let dropped = schema::prune(&mut config, schema);
            warnings = unknown_fields(&dropped, options)?;
        } else if resource.built_in {
            json::strip_nulls(&mut config);
        }
        for field in ["resourceVersion", "creationTimestamp", "uid", "generation", "selfLink", "managedFields"] {
            json::child_map(&mut config, "metadata").shift_remove(field);
        }
        if target.subresource == "status" {
            json::ensure_map(&mut config).shift_remove("spec");
        } else if resource.status {
            json::ensure_map(&mut config).shift_remove("status");
        }
        reads::to_storage(resource, &mut config);
        let time = now.rfc3339();
        let api_version = resource.api_version();
        let writer = writer(target, options, &api_version, &time);
        let mut written = match self.store.get(&resource.table, &target.key()).cloned() {
            None if target.subresource.is_empty() => {
                if !asked.is_empty() {
                    return Err(Status::not_found(resource.about(), &target.name));
                }
                let nothing = Value::Object(serde_json::Map::new());
                let applied = ssa::apply(&nothing, &config, shape(resource), writer, options.force)?;
                self.insert(target, applied.object, Some(applied.managers), options, now)?
            }
            None => return Err(Status::not_found(resource.about(), &target.name)),
            Some(live) => {
                if !asked.is_empty() && asked != json::text(&live, &["metadata", "resourceVersion"]) {
                    return Err(Status::modified(resource.about(), &target.name));
                }
                let applied = ssa::apply(&live, &config, shape(resource), writer, options.force)?;
                self.replace(target, &live, applied.object, Some(applied.managers), options, now)?
            }
        };
        written.warnings.splice(0..0, warnings);
        Ok(written)
    }

    /// Stores `object` over `live`; what changes nothing is not stored.
    fn replace(
        &mut self,
        target: &Target,
        live: &Object,
        mut object: Value,
        managers: Option<Vec<Manager>>,
        options: &WriteOptions,
        now: Timestamp,
    ) -> Result<Written, Status> {
        let resource = &*target.resource;
        let time = now.rfc3339();
        let given_uid = json::uid(&object).to_owned();
        if !given_uid.is_empty() && given_uid != json::uid(live) {
            return Err(Status::conflict(
                resource.about(),
                &target.name,
                &format!(
                    "Precondition failed: UID in precondition: {given_uid}, UID in object meta: {}",
                    json::uid(live)
                ),
            ));
        }
        if target.subresource == "status" {
            let mut next = live.to_value();
            match json::ensure_map(&mut object).shift_remove("status") {
                Some(status) => next["status"] = status,
                None => {
                    json::ensure_map(&mut next).shift_remove("status");
                }
            }
            object = next;
        } else if resource.status {
            json::ensure_map(&mut object).shift_remove("status");
            if let Some(status) = live.get("status") {
                object["status"] = status.clone();
            }
        }
        // What the server keeps is not the client's to change.
        let own_managers = json::at(&object, &["metadata", "managedFields"])
            .and_then(Value::as_array)
            .is_some_and(|l| l.is_empty() || l.len() == 1 && l[0] == json!({}));
        let metadata = json::child_map(&mut object, "metadata");
        for field in [
            "uid",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "managedFields",
            "resourceVersion",
            "namespace",
        ] {
            match json::at(live, &["metadata", field]) {
                Some(kept) => {
                    metadata.insert(field.to_owned(), kept.clone());
                }
                None => {
                    metadata.shift_remove(field);
                }
            }
        }
        if resource.kind == "Service" && json::text(&object, &["spec", "clusterIP"]).is_empty() {
            for field in ["clusterIP", "clusterIPs"] {
                if let Some(kept) = json::at(live, &["spec", field]) {
                    object["spec"][field] = kept.clone();
                }
            }
        }
        let warnings = Self::prepare(resource, &mut object, options)?;
        if resource.kind == "CustomResourceDefinition"
            && target.subresource.is_empty()
            && rules::spec_differs(resource, live, &object)
        {
            object["status"] = rules::definition_status(&object, &time);
        }
        Self::validate(resource, &object, &target.name)?;
        let fixed = rules::immutable(resource, live, &object);
        if !fixed.is_empty() {
            return Err(Status::invalid(resource.about(), &target.name, &fixed));
        }
        let managers = if own_managers && managers.is_none() {
            Vec::new()
        } else {
            managers.unwrap_or_else(|| {
                ssa::update(live, &object, shape(resource), writer(target, options, &resource.api_version(), &time))
            })
        };
        Manager::write(managers, &mut object);
        if resource.generation && rules::spec_differs(resource, live, &object) {
            let generation = json::int(live, &["metadata", "generation"]).unwrap_or(0) + 1;
            object["metadata"]["generation"] = generation.into();
        }
        if same_but_for_times(&object, live) {
            return Ok(Written { object: reads::view(resource, live.clone()), warnings, created: false });
        }
        let key = target.key();
        if released(resource, &object) && !options.dry_run {
            let last = self.remove_object(resource, &key);
            let object = last.unwrap_or_else(|| live.clone());
            return Ok(Written { object: reads::view(resource, object), warnings, created: false });
        }
        let object = self.commit(resource, key, object, options.dry_run);
        Ok(Written { object: reads::view(resource, object), warnings, created: false })
    }

    /// Deletes one object, or marks it for deletion; the bool says whether it is gone.
    ///
    /// # Errors
    /// 404, 409 if a precondition fails.
    pub fn delete(&mut self, target: &Target, query: &DeleteQuery, now: Timestamp) -> Result<(Object, bool), Status> {
        let resource = &*target.resource;
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
        let mut object = live.to_value();
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
        let object = self.commit(resource, target.key(), object, query.dry_run);
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
        let mut object = live.to_value();
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
            self.commit(&resource, key.clone(), object, false);
        }
    }

    fn orphan(&mut self, uid: &str) {
        for dependent in self.dependents(uid) {
            let Ok(resource) = self.resource_of(&dependent) else { continue };
            let mut object = dependent.to_value();
            let metadata = json::child_map(&mut object, "metadata");
            if let Some(list) = metadata.get_mut("ownerReferences").and_then(Value::as_array_mut) {
                list.retain(|o| json::text(o, &["uid"]) != uid);
                if list.is_empty() {
                    metadata.shift_remove("ownerReferences");
                }
            }
            self.commit(&resource, Key::of(&dependent), object, false);
        }
    }

    fn commit(&mut self, resource: &ResourceType, key: Key, mut object: Value, dry_run: bool) -> Object {
        if !dry_run {
            object["metadata"]["resourceVersion"] = self.store.next_revision().to_string().into();
        }
        let object = Object::new(object);
        if !dry_run {
            self.store_object(resource, key, object.clone());
        }
        object
    }

    fn live(&self, target: &Target) -> Result<Object, Status> {
        let found = self.store.get(&target.resource.table, &target.key()).cloned();
        found.ok_or_else(|| Status::not_found(target.resource.about(), &target.name))
    }

    /// The body must speak of what the URL names; what it leaves out is filled in.
    fn check_identity(target: &Target, object: &mut Value) -> Result<(), Status> {
        let resource = &*target.resource;
        if !object.is_object() {
            return Err(Status::bad_request("the body of the request is not an object"));
        }
        let wanted = resource.api_version();
        for (field, expected) in [("apiVersion", wanted.as_str()), ("kind", resource.kind.as_str())] {
            match json::text(object, &[field]) {
                "" => {
                    json::ensure_map(object).insert(field.to_owned(), expected.into());
                }
                given if given == expected => {}
                given => {
                    return Err(Status::bad_request(format!(
                        "the {} in the data ({given}) does not match the expected one ({expected})",
                        if field == "kind" { "kind" } else { "API version" }
                    )));
                }
            }
        }
        json::child_map(object, "metadata");
        let name = json::name(object).to_owned();
        if !target.name.is_empty() {
            if name.is_empty() {
                object["metadata"]["name"] = target.name.clone().into();
            } else if name != target.name {
                return Err(Status::bad_request(format!(
                    "the name of the object ({name}) does not match the name on the URL ({})",
                    target.name
                )));
            }
        }
        if resource.namespaced {
            let namespace = json::namespace(object).to_owned();
            if namespace.is_empty() {
                object["metadata"]["namespace"] = target.namespace.clone().into();
            } else if namespace != target.namespace {
                return Err(Status::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
        } else {
            json::child_map(object, "metadata").shift_remove("namespace");
        }
        Ok(())
    }

    fn check_namespace(&self, target: &Target, name: &str) -> Result<(), Status> {
        if !target.resource.namespaced {
            return Ok(());
        }
        match self.peek("namespaces", "", &target.namespace) {
            None => Err(Status::not_found(
                crate::status::About { group: "", plural: "namespaces", kind: "Namespace" },
                &target.namespace,
            )),
            Some(namespace) if json::deleting(namespace) => Err(Status::forbidden(
                target.resource.about(),
                name,
                &format!(
                    "unable to create new content in namespace {} because it is being terminated",
                    target.namespace
                ),
            )),
            Some(_) => Ok(()),
        }
    }

    /// Prunes and defaults.
    fn prepare(resource: &ResourceType, object: &mut Value, options: &WriteOptions) -> Result<Vec<String>, Status> {
        let mut warnings = Vec::new();
        if let Some(schema) = &resource.schema {
            let dropped = schema::prune(object, schema);
            warnings = unknown_fields(&dropped, options)?;
            schema::default(object, schema);
        } else if resource.built_in {
            json::strip_nulls(object);
            defaults::apply(&resource.kind, object);
        }
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
                let empty = metadata.get(field).is_some_and(|v| {
                    v.is_null()
                        || v.as_array().is_some_and(Vec::is_empty)
                        || v.as_object().is_some_and(serde_json::Map::is_empty)
                });
                if empty {
                    metadata.shift_remove(field);
                }
            }
        }
        Ok(warnings)
    }

    fn validate(resource: &ResourceType, object: &Value, name: &str) -> Result<(), Status> {
        let mut causes = rules::metadata(resource, object);
        if let Some(schema) = &resource.schema {
            causes.extend(schema::validate(object, schema));
        } else if resource.built_in {
            causes.extend(rules::content(resource, object));
        }
        if causes.is_empty() { Ok(()) } else { Err(Status::invalid(resource.about(), name, &causes)) }
    }
}

/// True if nothing differs but the times in `managedFields`: such a write is not one.
fn same_but_for_times(object: &Value, live: &Value) -> bool {
    let timeless = |o: &Value| {
        let mut managers = Manager::read(o);
        for manager in &mut managers {
            manager.time.clear();
        }
        managers.sort_by(|a, b| {
            (a.operation, &a.name, &a.subresource, &a.api_version).cmp(&(
                b.operation,
                &b.name,
                &b.subresource,
                &b.api_version,
            ))
        });
        managers
    };
    let (Some(a), Some(b)) = (object.as_object(), live.as_object()) else { return false };
    let (ma, mb) = (json::map(object, &["metadata"]), json::map(live, &["metadata"]));
    let (Some(ma), Some(mb)) = (ma, mb) else { return false };
    a.len() == b.len()
        && a.iter().all(|(k, v)| k == "metadata" || b.get(k) == Some(v))
        && ma.len() == mb.len()
        && ma.iter().all(|(k, v)| k == "managedFields" || mb.get(k) == Some(v))
        && (ma.get("managedFields") == mb.get("managedFields") || timeless(object) == timeless(live))
}

/// True if an object marked for deletion is held by nothing any more.
fn released(resource: &ResourceType, object: &Value) -> bool {
    json::deleting(object)
        && json::list(object, &["metadata", "finalizers"]).is_empty()
        && (resource.kind != "Namespace" || json::list(object, &["spec", "finalizers"]).is_empty())
        && (resource.kind != "Pod"
            || json::int(object, &["metadata", "deletionGracePeriodSeconds"]).is_none_or(|g| g == 0))
}

fn writer<'a>(target: &'a Target, options: &'a WriteOptions, api_version: &'a str, time: &'a str) -> Writer<'a> {
    let manager = if options.field_manager.is_empty() { "unknown" } else { &options.field_manager };
    Writer { manager, api_version, subresource: &target.subresource, time, has_status: target.resource.status }
}

fn unknown_fields(dropped: &[String], options: &WriteOptions) -> Result<Vec<String>, Status> {
    if dropped.is_empty() {
        return Ok(Vec::new());
    }
    let texts: Vec<String> = dropped.iter().map(|path| format!("unknown field \"{path}\"")).collect();
    match options.field_validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(texts),
        FieldValidation::Strict => Err(Status::bad_request(format!("strict decoding error: {}", texts.join(", ")))),
    }
}
