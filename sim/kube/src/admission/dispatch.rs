//! Asking the webhooks a request concerns: one after the other to mutate, all at once to validate.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Admission, Attributes,
    call::Call,
    conditions::{Verdict, judge},
    matching::concerned,
    review::{self, Answer},
    webhook::{Phase, Webhook},
};
use crate::{
    conversion,
    engine::{Object, Operation, Plan, view},
    metrics::Called,
    patch,
    resources::ResourceType,
    status::Status,
};

/// A webhook that is concerned, and all that its call needs.
struct Due {
    webhook: Webhook,
    seen_as: Arc<ResourceType>,
    call: Call,
    uid: String,
}

impl Admission<'_> {
    /// Lets mutating webhooks change a plan.
    pub(super) async fn mutate(&self, plan: &mut Plan, options: &Value) -> Result<(), Status> {
        let (target, live) = (plan.target.clone(), plan.live.clone());
        let about = Attributes {
            target: &target,
            part: None,
            operation: plan.operation,
            object: None,
            old: live.as_ref(),
            options,
            dry_run: plan.options.dry_run,
            user: self.user,
        };
        let first = plan.stored_form();
        let changed = |object| {
            plan.mutated(object);
            plan.stored_form()
        };
        let warnings = self.ask_to_change(about, first, changed).await?;
        plan.warnings.extend(warnings);
        Ok(())
    }

    /// Asks mutating webhooks, in order; those that ask for it a second time if a later one changed the object. What a change
    /// becomes is `changed`'s to say. Returns their warnings.
    pub(super) async fn ask_to_change(
        &self,
        about: Attributes<'_>,
        first: Value,
        mut changed: impl FnMut(Value) -> Value,
    ) -> Result<Vec<String>, Status> {
        let webhooks = self.server.webhooks(Phase::Mutating);
        let (mut stored, mut warnings) = (first, Vec::new());
        // Of each webhook of the first round: the object as it left it.
        let mut left: Vec<Option<Value>> = vec![None; webhooks.len()];
        for round in 0..2 {
            let mut again = false;
            for (index, webhook) in webhooks.iter().enumerate() {
                if round == 1 && !(webhook.reinvoke && left[index].as_ref().is_some_and(|seen| *seen != stored)) {
                    continue;
                }
                let attributes = Attributes { object: Some(&stored), ..about };
                let Some(due) = self.due(webhook, &attributes)? else { continue };
                let answer = self.ask(&due, Phase::Mutating, &attributes).await?;
                let Some(answer) = answer else { continue };
                warnings.extend(answer.warnings);
                if let Some(refusal) = answer.refusal {
                    return Err(refusal);
                }
                if let Some(changes) = answer.patch.filter(|p| p.as_array().is_none_or(|list| !list.is_empty())) {
                    let mut object = seen(&due.seen_as, &attributes).unwrap_or_default();
                    patch::json_patch(&mut object, &changes).map_err(|s| internal(&s.message))?;
                    if about.part.is_none() {
                        conversion::inward(&due.seen_as, &mut object);
                    }
                    if object != stored {
                        again |= left[..index].iter().any(Option::is_some);
                        stored = changed(object);
                    }
                }
                left[index] = Some(stored.clone());
            }
            if !again {
                break;
            }
        }
        Ok(warnings)
    }

    /// Asks validating webhooks about a settled plan; returns their warnings.
    pub(super) async fn validate(&self, plan: &Plan, options: &Value) -> Result<Vec<String>, Status> {
        let stored = plan.stored_form();
        let attributes = Attributes {
            target: &plan.target,
            part: None,
            operation: plan.operation,
            object: Some(&stored),
            old: plan.live.as_ref(),
            options,
            dry_run: plan.options.dry_run,
            user: self.user,
        };
        self.judge(&attributes).await
    }

    /// Asks both kinds about a deletion: nothing can be patched there.
    pub(super) async fn judge_deletion(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let webhooks = self.server.webhooks(Phase::Mutating);
        for webhook in webhooks.iter() {
            let Some(due) = self.due(webhook, attributes)? else { continue };
            let Some(answer) = self.ask(&due, Phase::Mutating, attributes).await? else { continue };
            if let Some(refusal) = answer.refusal {
                return Err(refusal);
            }
            if answer.patch.is_some_and(|p| p.as_array().is_none_or(|list| !list.is_empty())) {
                return Err(internal(&format!(
                    "admission webhook \"{}\" attempted to modify the object, which is not supported for this operation",
                    webhook.name
                )));
            }
        }
        self.judge(attributes).await.map(drop)
    }

    /// Validating webhooks are asked at the same time; the first refusal, in their order, counts.
    pub(super) async fn judge(&self, attributes: &Attributes<'_>) -> Result<Vec<String>, Status> {
        let webhooks = self.server.webhooks(Phase::Validating);
        let due: Result<Vec<Due>, Status> =
            webhooks.iter().filter_map(|w| self.due(w, attributes).transpose()).collect();
        let due = due?;
        let asked = due.iter().map(|d| self.ask(d, Phase::Validating, attributes));
        let mut warnings = Vec::new();
        for answer in futures::future::join_all(asked).await {
            if let Some(answer) = answer? {
                if let Some(refusal) = answer.refusal {
                    return Err(refusal);
                }
                warnings.extend(answer.warnings);
            }
        }
        Ok(warnings)
    }

    /// What its call needs, if the request concerns it; 403 if its conditions cannot be told and it fails closed.
    fn due(&self, webhook: &Webhook, attributes: &Attributes<'_>) -> Result<Option<Due>, Status> {
        let mut engine = self.server.engine();
        let Some(seen_as) = concerned(&engine, webhook, attributes) else { return Ok(None) };
        if !webhook.conditions.is_empty() {
            let shown = review::request("", attributes, &seen_as, seen(&seen_as, attributes), attributes.old);
            match judge(&webhook.conditions, &shown["request"]) {
                Verdict::Matches => {}
                Verdict::Fails(why) if !webhook.ignore_failures => {
                    return Err(Status::forbidden(attributes.target.resource.about(), &attributes.target.name, &why));
                }
                Verdict::Skips | Verdict::Fails(_) => return Ok(None),
            }
        }
        let call = Call::to(&engine, webhook);
        let uid = engine.chance().uuid();
        Ok(Some(Due { webhook: webhook.clone(), seen_as, call, uid }))
    }

    /// One call; `None` if it failed and may be ignored.
    async fn ask(&self, due: &Due, phase: Phase, attributes: &Attributes<'_>) -> Result<Option<Answer>, Status> {
        let webhook = &due.webhook;
        if attributes.dry_run && !webhook.dry_run {
            return Err(Status::bad_request(format!(
                "admission webhook \"{}\" does not support dry run",
                webhook.name
            )));
        }
        let object = seen(&due.seen_as, attributes);
        debug_assert!(object.is_some() || attributes.operation == Operation::Delete, "a deletion alone has no object");
        let body = review::request(&due.uid, attributes, &due.seen_as, object, attributes.old).to_string();
        let since = sim_clock::now();
        let answered = due.call.post(self.server.webhook_host(), Bytes::from(body)).await;
        let answered = answered.and_then(|body| review::answer(&webhook.name, phase, &due.uid, &body));
        let called = match &answered {
            Ok(answer) => answer.refusal.as_ref().map_or(Called::Allowed, |refusal| Called::Refused(refusal.code)),
            Err(_) if webhook.ignore_failures => Called::FailedOpen,
            Err(_) => Called::FailedClosed,
        };
        let took = sim_clock::now().since(since);
        self.server.metrics().webhook(&webhook.name, phase.label(), attributes.operation.as_str(), called, took);
        match answered {
            Ok(answer) => Ok(Some(answer)),
            Err(_) if webhook.ignore_failures => Ok(None),
            Err(why) => Err(internal(&format!("failed calling webhook \"{}\": {why}", webhook.name))),
        }
    }
}

/// The new object under the version that a webhook sees; what a subresource takes has one version.
fn seen(seen_as: &ResourceType, attributes: &Attributes<'_>) -> Option<Value> {
    attributes.object.map(|object| match attributes.part {
        Some(_) => object.clone(),
        None => view(seen_as, Object::new(object.clone())).to_value(),
    })
}

/// 500, as the real server wraps what went wrong inside.
fn internal(why: &str) -> Status {
    let mut status = Status::new(500, "InternalError", format!("Internal error occurred: {why}"));
    status.details = Some(Box::new(json!({"causes": [{"message": why}]})));
    status
}
