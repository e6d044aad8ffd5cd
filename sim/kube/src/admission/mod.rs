//! Admission: what stands between a request that was read and an object that is stored.
//!
//! A request over the wire is planned by the engine, shown to mutating webhooks, settled (what the server fills in,
//! validation), shown to validating webhooks, and committed if the object is still the one it was planned on; else it
//! is planned anew. The engine's lock is never held while a webhook is asked.
//!
//! Webhooks are called through the world's network over TLS ([`crate::ApiServer::call_webhooks_from`]). Calls of
//! [`crate::ApiServer`] and the cluster's own controllers do not come this way: they write to the engine directly, no
//! webhook sees them.
//!
//! | file | job |
//! |---|---|
//! | `webhook` | configurations read into values |
//! | `matching` | which webhook a request concerns, under which version |
//! | `conditions` | expressions a request must meet for a webhook to be asked |
//! | `review` | `AdmissionReview` written and read |
//! | `parts` | subresources with objects of their own: scale, eviction, binding, streams |
//! | `call` | the HTTP request and its errors |
//! | `dispatch` | order, failure policy, patches, reinvocation |
//! | `warnings` | limits of the texts that are passed on |

mod call;
mod conditions;
mod dispatch;
mod matching;
mod parts;
mod review;
mod warnings;
mod webhook;

use serde_json::{Value, json};

pub use call::ANSWER_BYTES_MAX;
pub use conditions::{CONDITIONS_MAX, Condition};
pub(crate) use parts::Part;
pub(crate) use webhook::Directory;
pub use webhook::{Destination, Phase, Rule, Webhook};

use crate::{
    access::{authorize_creation, check_escalation},
    engine::{
        Committed, DeleteQuery, Engine, FieldValidation, Object, Operation, PatchKind, Plan, Propagation, Target,
        WriteOptions, Written,
    },
    json,
    selectors::{FieldSelector, LabelSelector},
    server::ApiServer,
    status::Status,
    wire::UserInfo,
};

/// How often a write is planned anew because the object changed while webhooks were asked.
pub const PLAN_ATTEMPTS_MAX: usize = 8;

/// What webhooks are asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    pub(crate) target: &'a Target,
    /// What the subresource takes, if that is no form of the resource itself.
    pub(crate) part: Option<Part>,
    pub(crate) operation: Operation,
    /// The new object in the form of the store.
    pub(crate) object: Option<&'a Value>,
    pub(crate) old: Option<&'a Object>,
    /// `CreateOptions` and the like.
    pub(crate) options: &'a Value,
    pub(crate) dry_run: bool,
    pub(crate) user: &'a UserInfo,
}

/// A request's way to the store: the server, and who asks.
#[derive(Clone, Copy, Debug)]
pub struct Admission<'a> {
    server: &'a ApiServer,
    user: &'a UserInfo,
}

impl<'a> Admission<'a> {
    /// The way of a user's requests.
    pub fn new(server: &'a ApiServer, user: &'a UserInfo) -> Self {
        Self { server, user }
    }

    /// As [`Engine::create`], with webhooks.
    ///
    /// # Errors
    /// As [`Engine::create`], and what webhooks refuse.
    pub async fn create(&self, target: &Target, object: Value, options: &WriteOptions) -> Result<Written, Status> {
        self.write(options, true, |engine| engine.plan_create(target, object.clone(), options, self.server.now())).await
    }

    /// As [`Engine::update`], with webhooks.
    ///
    /// # Errors
    /// As [`Engine::update`], and what webhooks refuse.
    pub async fn update(&self, target: &Target, object: Value, options: &WriteOptions) -> Result<Written, Status> {
        self.write(options, false, |engine| engine.plan_update(target, object.clone(), options, self.server.now()))
            .await
    }

    /// As [`Engine::patch`], with webhooks.
    ///
    /// # Errors
    /// As [`Engine::patch`], and what webhooks refuse.
    pub async fn patch(
        &self,
        target: &Target,
        kind: PatchKind,
        body: &Value,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        self.write(options, false, |engine| engine.plan_patch(target, kind, body, options, self.server.now())).await
    }

    /// Whether any webhook has a rule for what is done: if not, nothing of the object need be shown to anybody.
    fn concerns_webhooks(&self, engine: &Engine, target: &Target, operation: Operation) -> bool {
        let mut directory = self.server.webhook_directory();
        [Phase::Mutating, Phase::Validating].into_iter().any(|phase| {
            let webhooks = directory.all(engine, phase);
            webhooks.iter().any(|webhook| matching::ruled(engine, webhook, target, operation).is_some())
        })
    }

    /// What the store may take of this user; `may_create`: the request itself was granted as a creation.
    fn permit(&self, engine: &mut Engine, plan: &Plan, may_create: bool) -> Result<(), Status> {
        if plan.live.is_none() && !may_create {
            authorize_creation(self.server, engine, self.user, &plan.target)?;
        }
        check_escalation(self.server, engine, self.user, plan)
    }

    async fn write(
        &self,
        options: &WriteOptions,
        may_create: bool,
        plan: impl Fn(&Engine) -> Result<Plan, Status>,
    ) -> Result<Written, Status> {
        let mut stale = None;
        for _ in 0..PLAN_ATTEMPTS_MAX {
            let mut plan = {
                let mut engine = self.server.engine();
                let mut plan = plan(&engine)?;
                if !self.concerns_webhooks(&engine, &plan.target, plan.operation) {
                    // Nobody to ask: the three steps see one state.
                    engine.settle(&mut plan)?;
                    self.permit(&mut engine, &plan, may_create)?;
                    match engine.commit(plan)? {
                        Committed::Stored(written) => return Ok(written),
                        Committed::Stale { target } => {
                            return Err(Status::modified(target.resource.about(), &target.name));
                        }
                    }
                }
                plan
            };
            let shown = write_options(options, plan.operation);
            self.mutate(&mut plan, &shown).await?;
            self.server.engine().settle(&mut plan)?;
            self.permit(&mut self.server.engine(), &plan, may_create)?;
            let warned = self.validate(&plan, &shown).await?;
            plan.warnings.extend(warned);
            match self.server.engine().commit(plan)? {
                Committed::Stored(mut written) => {
                    warnings::limit(&mut written.warnings);
                    return Ok(written);
                }
                Committed::Stale { target } => stale = Some(target),
            }
        }
        Err(stale.map_or_else(
            || Status::new(500, "InternalError", "no attempt was made"),
            |target| Status::modified(target.resource.about(), &target.name),
        ))
    }

    /// As [`Engine::delete`], with webhooks.
    ///
    /// # Errors
    /// As [`Engine::delete`], and what webhooks refuse.
    pub async fn delete(&self, target: &Target, query: &DeleteQuery) -> Result<(Object, bool), Status> {
        self.delete_shown_as(target, target, query).await
    }

    /// Deletes `target`, of which webhooks are told as of `shown`.
    async fn delete_shown_as(
        &self,
        shown: &Target,
        target: &Target,
        query: &DeleteQuery,
    ) -> Result<(Object, bool), Status> {
        let options = delete_options(query);
        for _ in 0..PLAN_ATTEMPTS_MAX {
            let live = {
                let mut engine = self.server.engine();
                if !self.concerns_webhooks(&engine, target, Operation::Delete) {
                    return engine.delete(target, query, self.server.now());
                }
                engine.plan_delete(target, query)?
            };
            let attributes = Attributes {
                target: shown,
                part: None,
                operation: Operation::Delete,
                object: None,
                old: Some(&live),
                options: &options,
                dry_run: query.dry_run,
                user: self.user,
            };
            self.judge_deletion(&attributes).await?;
            let mut engine = self.server.engine();
            let now_stored = engine.plan_delete(target, query)?;
            if now_stored.revision() == live.revision() {
                return engine.delete(target, query, self.server.now());
            }
        }
        Err(Status::modified(target.resource.about(), &target.name))
    }

    /// As [`Engine::delete_collection`], with webhooks asked about each object. As the real server does, it shows them the object but
    /// not its name as that of the request, which has none.
    ///
    /// # Errors
    /// As [`Engine::delete_collection`], and what webhooks refuse.
    pub async fn delete_collection(
        &self,
        target: &Target,
        labels: &LabelSelector,
        fields: &FieldSelector,
        query: &DeleteQuery,
    ) -> Result<Vec<Object>, Status> {
        let chosen: Vec<Object> = {
            let mut engine = self.server.engine();
            if !self.concerns_webhooks(&engine, target, Operation::Delete) {
                return engine.delete_collection(target, labels, fields, query, self.server.now());
            }
            let namespace = Some(target.namespace.as_str()).filter(|n| !n.is_empty());
            let all = engine.scan(&target.resource.table, namespace);
            all.filter(|o| labels.matches(o) && fields.matches(o)).cloned().collect()
        };
        let shown = Target { name: String::new(), ..target.clone() };
        let mut deleted = Vec::with_capacity(chosen.len());
        for object in chosen {
            let one = Target {
                namespace: json::namespace(&object).to_owned(),
                name: json::name(&object).to_owned(),
                ..target.clone()
            };
            match self.delete_shown_as(&Target { namespace: one.namespace.clone(), ..shown.clone() }, &one, query).await
            {
                Ok((object, _)) => deleted.push(object),
                Err(status) if status.is_not_found() => {}
                Err(status) => return Err(status),
            }
        }
        Ok(deleted)
    }
}

/// Options of a kind of `meta.k8s.io/v1`.
fn options(kind: &str, dry_run: bool) -> Value {
    let mut value = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if dry_run {
        value["dryRun"] = json!(["All"]);
    }
    value
}

/// The options of a write as `meta.k8s.io/v1` shows them.
fn write_options(options: &WriteOptions, operation: Operation) -> Value {
    let kind = if operation == Operation::Create { "CreateOptions" } else { "UpdateOptions" };
    let mut value = self::options(kind, options.dry_run);
    if !options.field_manager.is_empty() {
        value["fieldManager"] = options.field_manager.clone().into();
    }
    match options.field_validation {
        FieldValidation::Strict => value["fieldValidation"] = "Strict".into(),
        FieldValidation::Warn => value["fieldValidation"] = "Warn".into(),
        FieldValidation::Ignore => value["fieldValidation"] = "Ignore".into(),
    }
    value
}

fn delete_options(query: &DeleteQuery) -> Value {
    let mut value = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
    if let Some(grace) = query.grace_seconds {
        value["gracePeriodSeconds"] = grace.into();
    }
    if query.uid.is_some() || query.resource_version.is_some() {
        let mut preconditions = json!({});
        for (key, given) in [("uid", &query.uid), ("resourceVersion", &query.resource_version)] {
            if let Some(given) = given {
                preconditions[key] = given.clone().into();
            }
        }
        value["preconditions"] = preconditions;
    }
    value["propagationPolicy"] = match query.propagation {
        Propagation::Background => "Background",
        Propagation::Foreground => "Foreground",
        Propagation::Orphan => "Orphan",
    }
    .into();
    if query.dry_run {
        value["dryRun"] = json!(["All"]);
    }
    value
}

#[cfg(test)]
mod tests;
