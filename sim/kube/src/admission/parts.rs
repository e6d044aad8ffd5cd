//! Subresources that take objects of their own: webhooks see these under the name `<resource>/<subresource>`.

use serde_json::{Value, json};

use super::{Admission, Attributes};
use crate::{
    engine::{Object, Operation, Target},
    status::Status,
};

/// Group, version and kind of what a subresource takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
}

impl Part {
    /// Of `scale`.
    pub(crate) const SCALE: Self = Self { group: "autoscaling", version: "v1", kind: "Scale" };
    /// Of `pods/eviction`.
    pub(crate) const EVICTION: Self = Self { group: "policy", version: "v1", kind: "Eviction" };
    /// Of `pods/binding`.
    pub(crate) const BINDING: Self = Self::core("Binding");

    /// Of the core group.
    pub(crate) const fn core(kind: &'static str) -> Self {
        Self { group: "", version: "v1", kind }
    }

    /// As an `AdmissionReview` shows it.
    pub(super) fn shown(self) -> Value {
        json!({"group": self.group, "version": self.version, "kind": self.kind})
    }

    /// Says of an object that it is one.
    pub(crate) fn mark(self, object: &mut Value) {
        let version = self.version;
        let api_version = if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) };
        object["apiVersion"] = api_version.into();
        object["kind"] = self.kind.into();
    }
}

impl Admission<'_> {
    /// What webhooks make of the object of a subresource, and their warnings. Those that mutate are asked first.
    ///
    /// # Errors
    /// What a webhook refuses.
    pub(crate) async fn admit(
        &self,
        target: &Target,
        part: Part,
        operation: Operation,
        (mut object, old): (Value, Option<Value>),
        dry_run: bool,
    ) -> Result<(Value, Vec<String>), Status> {
        if !self.concerns_webhooks(&self.server.engine(), target, operation) {
            return Ok((object, Vec::new()));
        }
        let options = match operation {
            Operation::Connect => Value::Null,
            Operation::Create => super::options("CreateOptions", dry_run),
            _ => super::options("UpdateOptions", dry_run),
        };
        let old = old.map(Object::new);
        let about = Attributes {
            target,
            part: Some(part),
            operation,
            object: None,
            old: old.as_ref(),
            options: &options,
            dry_run,
            user: self.user,
        };
        let first = object.clone();
        let keep = |changed: Value| {
            object.clone_from(&changed);
            changed
        };
        let mut warnings = self.ask_to_change(about, first, keep).await?;
        warnings.extend(self.judge(&Attributes { object: Some(&object), ..about }).await?);
        super::warnings::limit(&mut warnings);
        Ok((object, warnings))
    }
}
