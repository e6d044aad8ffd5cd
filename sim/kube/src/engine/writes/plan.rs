//! Plans of writes: what a request would make of the object as it is stored now.

use serde_json::{Value, json};
use sim_clock::Timestamp;

use super::{
    super::{Engine, Object, Target, WriteOptions, reads, take_managers},
    PatchKind,
    decode::unknown_fields,
};
use crate::{
    conversion, json, patch,
    resources::ResourceType,
    ssa::{self, Manager, Shape, Writer},
    status::{About, Cause, Status},
};

/// What a write does, as admission names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A new object.
    Create,
    /// A change of an object.
    Update,
    /// A deletion.
    Delete,
    /// A stream to a container: nothing is planned for it, but webhooks are asked.
    Connect,
}

impl Operation {
    /// As in an `AdmissionReview` and in the rules of a webhook.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// A write that is read, defaulted and attributed to its manager, but neither admitted nor stored.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it writes; the name is empty until [`Engine::settle`] if it is to be generated.
    pub target: Target,
    /// Create or update.
    pub operation: Operation,
    /// The object it was planned on.
    pub live: Option<Object>,
    /// Options of the request.
    pub options: WriteOptions,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
    /// The new object, in the form of the store, without its managed fields.
    pub(super) object: Value,
    pub(super) managers: Vec<Manager>,
    /// The resource version that an update insists on, or empty.
    pub(super) asked_version: String,
    pub(super) now: Timestamp,
    /// True once webhooks changed the object: what was done to it has to be done again.
    pub(super) changed: bool,
    pub(super) settled: bool,
}

impl Plan {
    /// The new object in the form of the store, with its managed fields: what webhooks see, under their version.
    pub fn stored_form(&self) -> Value {
        let mut object = self.object.clone();
        let mut managers = self.managers.clone();
        Manager::settle(&mut managers);
        Manager::write(&managers, &mut object);
        object
    }

    /// The new object, in the form of the store, without its managed fields.
    pub fn object(&self) -> &Value {
        &self.object
    }

    /// Puts the object that a mutating webhook made, in the form of the store, in place of the planned one.
    pub fn mutated(&mut self, mut object: Value) {
        take_managers(&mut object);
        self.object = object;
        self.changed = true;
    }
}

/// The subresource through which containers join a pod.
const EPHEMERAL: &str = "ephemeralcontainers";
/// The subresource through which containers get other resources.
const RESIZE: &str = "resize";

/// Fields of a new object that only the server sets.
const SERVER_FIELDS_OF_NEW: &[&str] = &[
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "generation",
    "managedFields",
    "creationTimestamp",
    "resourceVersion",
];

/// Fields of a stored object that only the server changes.
const SERVER_FIELDS_OF_STORED: &[&str] = &[
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "resourceVersion",
    "namespace",
];

fn shape(resource: &ResourceType) -> Shape<'_> {
    match &resource.schema {
        Some(schema) => Shape::Root(schema),
        None => resource.stored_structure().map_or(Shape::Untyped, Shape::Kind),
    }
}

fn writer<'a>(target: &'a Target, options: &'a WriteOptions, api_version: &'a str, time: &'a str) -> Writer<'a> {
    let manager = if options.field_manager.is_empty() { "unknown" } else { &options.field_manager };
    Writer { manager, api_version, subresource: &target.subresource, time, has_status: target.resource.status }
}

impl Engine {
    /// Plans the creation of an object.
    ///
    /// # Errors
    /// 400 for an object that is not what the URL names, 404 or 403 for its namespace.
    pub fn plan_create(
        &self,
        target: &Target,
        mut object: Value,
        options: &WriteOptions,
        now: Timestamp,
    ) -> Result<Plan, Status> {
        let unknown = Self::decode_typed(target, &mut object, None, options)?;
        Self::check_identity(target, &mut object)?;
        json::child_map(&mut object, "metadata").shift_remove("managedFields");
        if !json::text(&object, &["metadata", "resourceVersion"]).is_empty() {
            return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
        }
        let mut plan = self.plan_new(target, object, None, options, now)?;
        plan.warnings.splice(0..0, unknown);
        Ok(plan)
    }

    /// Plans a new object; `managers` are given by an apply, else booked as an update.
    fn plan_new(
        &self,
        target: &Target,
        mut object: Value,
        managers: Option<Vec<Manager>>,
        options: &WriteOptions,
        now: Timestamp,
    ) -> Result<Plan, Status> {
        let resource = &*target.resource;
        reset_new(resource, &mut object);
        conversion::inward(resource, &mut object);
        let warnings = Self::prepare(resource, &mut object, options)?;
        self.check_namespace(target, json::name(&object))?;
        let managers = managers.unwrap_or_else(|| {
            let nothing = Value::Object(serde_json::Map::new());
            let time = now.rfc3339();
            ssa::update(
                &nothing,
                &[],
                &object,
                shape(resource),
                writer(target, options, &resource.api_version(), &time),
            )
        });
        Ok(Plan {
            target: Target { name: json::name(&object).to_owned(), ..target.clone() },
            operation: Operation::Create,
            live: None,
            options: options.clone(),
            warnings,
            object,
            managers,
            asked_version: String::new(),
            now,
            changed: false,
            settled: false,
        })
    }

    /// Plans the replacement of an object (or of its status, by the target's subresource).
    ///
    /// # Errors
    /// 404, 409 if the resource version is not the newest, 422 without one where it is needed.
    pub fn plan_update(
        &self,
        target: &Target,
        mut object: Value,
        options: &WriteOptions,
        now: Timestamp,
    ) -> Result<Plan, Status> {
        let unknown = Self::decode_typed(target, &mut object, None, options)?;
        Self::check_identity(target, &mut object)?;
        let resource = &*target.resource;
        let live = self.live(target)?;
        let version = json::text(&object, &["metadata", "resourceVersion"]).to_owned();
        if version.is_empty() && resource.custom() {
            return Err(Status::invalid(
                resource.about(),
                &target.name,
                &[Cause::new(
                    "FieldValueInvalid",
                    "metadata.resourceVersion",
                    "Invalid value: 0: must be specified for an update",
                )],
            ));
        }
        check_version(target, &version, &live)?;
        conversion::inward(resource, &mut object);
        let mut plan = Self::plan_over(target, live, object, None, version, options, now)?;
        plan.warnings.splice(0..0, unknown);
        Ok(plan)
    }

    /// Plans a patch; an apply may create.
    ///
    /// # Errors
    /// As [`Engine::plan_update`]; 415 for a strategic merge patch of a custom resource.
    pub fn plan_patch(
        &self,
        target: &Target,
        kind: PatchKind,
        body: &Value,
        options: &WriteOptions,
        now: Timestamp,
    ) -> Result<Plan, Status> {
        let resource = &*target.resource;
        if kind == PatchKind::Apply {
            return self.plan_apply(target, body, options, now);
        }
        let live = self.live(target)?;
        let base = || {
            let seen = reads::view(resource, live.clone());
            if names_managers(body) { seen.to_value() } else { seen.to_content() }
        };
        let mut object = base();
        match kind {
            PatchKind::Json => patch::json_patch(&mut object, body)?,
            PatchKind::Merge => {
                if let Some(why) = patch::no_map(body) {
                    return Err(Status::bad_request(format!("error decoding patch: {why}")));
                }
                patch::merge_patch(&mut object, body);
            }
            PatchKind::Strategic if resource.custom() => {
                return Err(Status::unsupported_media_type(
                    "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
                ));
            }
            PatchKind::Strategic => {
                let structure =
                    resource.structure().ok_or_else(|| Status::not_implemented("patches of an untyped kind"))?;
                patch::strategic(&mut object, body, structure)?;
            }
            PatchKind::Apply => unreachable!("answered above"),
        }
        let shown = || {
            let mut whole = reads::view(resource, live.clone()).to_value();
            match kind {
                PatchKind::Strategic => return ssa::go_plain(body),
                PatchKind::Merge => patch::merge_patch(&mut whole, body),
                // It was good a moment ago.
                _ => drop(patch::json_patch(&mut whole, body)),
            }
            json::canonical(&whole)
        };
        let unknown = Self::decode_typed(target, &mut object, Some(&shown), options)?;
        Self::check_identity(target, &mut object)?;
        // A patch that names a version insists on it; one that does not is applied anew when the object moved on.
        if json::text(&object, &["metadata", "resourceVersion"]) != json::text(&live, &["metadata", "resourceVersion"])
        {
            return Err(Status::modified(resource.about(), &target.name));
        }
        conversion::inward(resource, &mut object);
        let mut plan = Self::plan_over(target, live, object, None, String::new(), options, now)?;
        plan.warnings.splice(0..0, unknown);
        Ok(plan)
    }

    /// Plans a server-side apply.
    ///
    /// # Errors
    /// 409 with causes on conflicts, 422 without a field manager.
    pub fn plan_apply(
        &self,
        target: &Target,
        config: &Value,
        options: &WriteOptions,
        now: Timestamp,
    ) -> Result<Plan, Status> {
        if options.field_manager.is_empty() {
            return Err(Status::invalid(
                About { group: "meta.k8s.io", plural: "", kind: "PatchOptions" },
                "",
                &[Cause::new("FieldValueRequired", "fieldManager", "Required value: is required for apply patch")],
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
        if let Some(schema) = &resource.compiled {
            fits(target, &config, shape(resource))?;
            // What a free-form object loses to pruning is lost in silence, as applies do not decode by the schema.
            schema.prune(&mut config);
            warnings = unknown_fields(resource, &[], options)?;
        } else if resource.built_in {
            json::strip_nulls(&mut config);
            fits(target, &config, resource.structure().map_or(Shape::Untyped, Shape::Kind))?;
            // Quantities and times are owned in the form in which they are stored.
            Self::decode_typed(target, &mut config, None, options)?;
        }
        for field in ["resourceVersion", "creationTimestamp", "uid", "generation", "selfLink", "managedFields"] {
            json::child_map(&mut config, "metadata").shift_remove(field);
        }
        if target.subresource == "status" {
            json::ensure_map(&mut config).shift_remove("spec");
        } else if resource.status {
            json::ensure_map(&mut config).shift_remove("status");
        }
        conversion::inward(resource, &mut config);
        let time = now.rfc3339();
        let api_version = resource.api_version();
        let writer = writer(target, options, &api_version, &time);
        let mut plan = match self.store.get(&resource.table, &target.key()).cloned() {
            None if target.subresource.is_empty() => {
                if !asked.is_empty() {
                    return Err(Status::not_found(resource.about(), &target.name));
                }
                let nothing = Value::Object(serde_json::Map::new());
                let applied = ssa::apply(&nothing, &[], &config, shape(resource), writer, options.force)?;
                self.plan_new(target, applied.object, Some(applied.managers), options, now)?
            }
            None => return Err(Status::not_found(resource.about(), &target.name)),
            Some(live) => {
                check_version(target, &asked, &live)?;
                let applied = ssa::apply(&live, live.managers(), &config, shape(resource), writer, options.force)?;
                Self::plan_over(target, live, applied.object, Some(applied.managers), asked, options, now)?
            }
        };
        plan.warnings.splice(0..0, warnings);
        Ok(plan)
    }

    /// Plans `object` over `live`.
    fn plan_over(
        target: &Target,
        live: Object,
        mut object: Value,
        managers: Option<Vec<Manager>>,
        asked_version: String,
        options: &WriteOptions,
        now: Timestamp,
    ) -> Result<Plan, Status> {
        let resource = &*target.resource;
        let given_uid = json::uid(&object).to_owned();
        if !given_uid.is_empty() && given_uid != json::uid(&live) {
            return Err(Status::conflict(
                resource.about(),
                &target.name,
                &format!(
                    "Precondition failed: UID in precondition: {given_uid}, UID in object meta: {}",
                    json::uid(&live)
                ),
            ));
        }
        let disowned = json::at(&object, &["metadata", "managedFields"])
            .and_then(Value::as_array)
            .is_some_and(|l| l.is_empty() || l.len() == 1 && l[0] == json!({}));
        reset_stored(target, &live, &mut object);
        let warnings = if target.only_status() {
            // All else is as it is stored.
            object.get_mut("status").map(json::strip_nulls);
            Vec::new()
        } else {
            Self::prepare(resource, &mut object, options)?
        };
        let managers = match managers {
            Some(managers) => managers,
            None if disowned => Vec::new(),
            None => {
                let (api_version, time) = (resource.api_version(), now.rfc3339());
                let writer = writer(target, options, &api_version, &time);
                ssa::update(&live, live.managers(), &object, shape(resource), writer)
            }
        };
        Ok(Plan {
            target: target.clone(),
            operation: Operation::Update,
            live: Some(live),
            options: options.clone(),
            warnings,
            object,
            managers,
            asked_version,
            now,
            changed: false,
            settled: false,
        })
    }

    pub(super) fn live(&self, target: &Target) -> Result<Object, Status> {
        let found = self.store.get(&target.resource.table, &target.key()).cloned();
        found.ok_or_else(|| Status::not_found(target.resource.about(), &target.name))
    }
}

/// Whether a patch may speak of `managedFields`: only then the object is looked at with them.
fn names_managers(patch: &Value) -> bool {
    match patch {
        Value::String(text) => text.contains("managedFields") || text == "/metadata" || text.is_empty(),
        Value::Array(items) => items.iter().any(names_managers),
        Value::Object(map) => map.iter().any(|(key, value)| key == "managedFields" || names_managers(value)),
        _ => false,
    }
}

/// 500, as the real server answers an applied configuration that is not of its type; its reason is empty there too.
fn fits(target: &Target, config: &Value, shape: Shape<'_>) -> Result<(), Status> {
    let complaints = ssa::check(config, shape);
    if complaints.is_empty() {
        return Ok(());
    }
    let ResourceType { group, version, kind, .. } = &*target.resource;
    let Target { namespace, name, .. } = target;
    let why = ssa::complaints_text(&complaints);
    let text =
        format!("failed to create typed patch object ({namespace}/{name}; {group}/{version}, Kind={kind}): {why}");
    Err(Status::new(500, "", text))
}

/// 409 if a version is asked for and is not the stored one.
pub(super) fn check_version(target: &Target, asked: &str, live: &Value) -> Result<(), Status> {
    if asked.is_empty() || asked == json::text(live, &["metadata", "resourceVersion"]) {
        Ok(())
    } else {
        Err(Status::modified(target.resource.about(), &target.name))
    }
}

/// Takes off a new object what is not its writer's to say.
pub(super) fn reset_new(resource: &ResourceType, object: &mut Value) {
    let metadata = json::child_map(object, "metadata");
    for field in SERVER_FIELDS_OF_NEW {
        metadata.shift_remove(*field);
    }
    metadata.shift_remove("uid");
    if resource.status {
        json::ensure_map(object).shift_remove("status");
    }
}

/// A pod as it is stored, its containers with the resources that `wanted` gives them.
fn resized(live: &Object, wanted: &Value) -> Value {
    let mut next = live.to_content();
    for list in ["containers", "initContainers"] {
        let containers = next.get_mut("spec").and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = json::text(container, &["name"]);
            let given = json::list(wanted, &["spec", list]).iter().find(|c| json::text(c, &["name"]) == name);
            for field in ["resources", "resizePolicy"] {
                match given.and_then(|given| given.get(field)) {
                    Some(value) => container[field] = value.clone(),
                    None => drop(json::ensure_map(container).shift_remove(field)),
                }
            }
        }
    }
    next
}

/// Keeps of a stored object what this writer may not change.
pub(super) fn reset_stored(target: &Target, live: &Object, object: &mut Value) {
    let resource = &*target.resource;
    if target.subresource == "status" {
        let mut next = live.to_content();
        match json::ensure_map(object).shift_remove("status") {
            Some(status) => next["status"] = status,
            None => {
                json::ensure_map(&mut next).shift_remove("status");
            }
        }
        *object = next;
    } else if target.subresource == EPHEMERAL {
        let mut next = live.to_content();
        match object.get_mut("spec").and_then(|spec| spec.get_mut("ephemeralContainers")).map(Value::take) {
            Some(containers) => next["spec"]["ephemeralContainers"] = containers,
            None => drop(json::child_map(&mut next, "spec").shift_remove("ephemeralContainers")),
        }
        *object = next;
    } else if target.subresource == RESIZE {
        *object = resized(live, object);
    } else if resource.status {
        json::ensure_map(object).shift_remove("status");
        if let Some(status) = live.get("status") {
            object["status"] = status.clone();
        }
    }
    let metadata = json::child_map(object, "metadata");
    for field in SERVER_FIELDS_OF_STORED {
        match json::at(live, &["metadata", field]) {
            Some(kept) => {
                metadata.insert((*field).to_owned(), kept.clone());
            }
            None => {
                metadata.shift_remove(*field);
            }
        }
    }
    if resource.kind == "Namespace" && target.subresource != "finalize" {
        // Only that subresource changes them.
        match json::at(live, &["spec", "finalizers"]) {
            Some(kept) => object["spec"]["finalizers"] = kept.clone(),
            None => {
                json::child_map(object, "spec").shift_remove("finalizers");
            }
        }
    }
    if resource.kind == "Service" && json::text(object, &["spec", "clusterIP"]).is_empty() {
        for field in ["clusterIP", "clusterIPs"] {
            if let Some(kept) = json::at(live, &["spec", field]) {
                object["spec"][field] = kept.clone();
            }
        }
    }
}
