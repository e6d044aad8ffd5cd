//! What the status of an object says while its reconciles fail.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::object::HasStatus;
use serde::Serialize;

use super::completed;
use super::error::Error;
use super::phase;
use super::registrar::REGISTERED;
use super::tools::{FIELD_MANAGER, Pass, Tools, Written};
use crate::api::common::{Phase, Reported};

/// Failures in a row that may pass and that the phase says nothing about: some forty seconds, by the back-off.
const FAILURES_BORNE: u32 = 13;

impl Tools {
    /// Says in the status why the object is not what it asks for: the phase that it had would stay for as long as its reconciles fail.
    /// The generation stays that of the last one that succeeded. Of an object that was brought about as it is, a failure that may pass is
    /// borne for a while: while an operator takes over from another one its own webhooks may not answer yet. Gives the phase that the
    /// object has then.
    pub async fn report_failure<K>(&self, pass: &mut Pass<K>, error: &Error, failures: u32) -> Phase
    where
        K: Written + HasStatus,
        K::Status: Reported + Clone + Default + Serialize,
    {
        let object = pass.object.clone();
        let present = object.status();
        let before = present.and_then(Reported::phase);
        let brought_about = completed(Some((object.meta(), present)));
        if brought_about && !error.is_lasting() && failures < FAILURES_BORNE {
            return before.unwrap_or(Phase::Initializing);
        }
        let verdict = phase::of_failure(before, error);
        let is_ours = |condition: &Condition| condition.type_ != REGISTERED;
        let desired = present.cloned().unwrap_or_default().with_conditions_that(is_ours);
        let desired = desired.with_phase(verdict.phase, verdict.message);
        match self.write_status(&*object, present, &desired, FIELD_MANAGER).await {
            Ok(_) => self.phase_changed(pass, before, verdict.phase),
            // It is tried again with the reconcile.
            Err(error) => tracing::debug!(error = %error, "the status does not say that the reconcile failed"),
        }
        verdict.phase
    }
}
