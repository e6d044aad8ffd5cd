//! Create, update, patch, apply, delete: planned on what is stored, admitted, then committed.
//!
//! | step | what it does | may it be interrupted after it |
//! |---|---|---|
//! | `plan_*` ([`plan`]) | identity, decoding, defaulting, patching, field ownership, on the object as it is stored | yes: mutating webhooks see [`Plan::stored_form`] and give it back by [`Plan::mutated`] |
//! | [`Engine::settle`] ([`commit`]) | what the server itself fills in, validation, immutable fields | yes: validating webhooks see the object as it would be stored |
//! | [`Engine::commit`] ([`commit`]) | stores it if what it was planned on is still what is stored | no |
//!
//! [`Engine::create`] and its like do the three in one go, without webhooks: for the cluster's own controllers, which
//! hold the engine's lock. Requests that arrive over the wire go through [`crate::admission`].

mod commit;
mod decode;
mod delete;
mod plan;

use serde_json::Value;
use sim_clock::Timestamp;

pub use commit::Committed;
pub use plan::{Operation, Plan};

use super::{Engine, Object, Target, WriteOptions};
use crate::status::Status;

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
        let plan = self.plan_create(target, object, options, now)?;
        self.finish(plan)
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
        let plan = self.plan_update(target, object, options, now)?;
        self.finish(plan)
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
        let plan = self.plan_patch(target, kind, body, options, now)?;
        self.finish(plan)
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
        let plan = self.plan_apply(target, config, options, now)?;
        self.finish(plan)
    }

    /// Settles and commits under one lock: nothing can have changed in between.
    fn finish(&mut self, mut plan: Plan) -> Result<Written, Status> {
        self.settle(&mut plan)?;
        match self.commit(plan)? {
            Committed::Stored(written) => Ok(written),
            Committed::Stale { target } => Err(Status::modified(target.resource.about(), &target.name)),
        }
    }
}
