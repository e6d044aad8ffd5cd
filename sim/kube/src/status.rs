//! `metav1.Status`: how the API server says no, with the real reasons and messages.

use serde_json::{Value, json};

/// A refusal of the API server: the `metav1.Status` that a client receives.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason, e.g. `NotFound`.
    pub reason: String,
    /// What a person reads.
    pub message: String,
    /// `details` as the real server fills it (name, group, kind, causes).
    pub details: Option<Box<Value>>,
    /// `metadata.continue`: with which the rest of an expired list can be had; mostly empty.
    pub continue_token: String,
}

/// One cause of an `Invalid` or `Conflict` refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// e.g. `FieldValueInvalid`, `FieldValueRequired`, `FieldManagerConflict`.
    pub reason: &'static str,
    /// e.g. `Invalid value: 3: must be at least 5`.
    pub message: String,
    /// Path of the field, e.g. `spec.replicas`.
    pub field: String,
}

impl Cause {
    /// A cause for `field`.
    pub fn new(reason: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), field: field.into() }
    }

    fn json(&self) -> Value {
        json!({"reason": self.reason, "message": self.message, "field": self.field})
    }
}

/// Names of the resource a status speaks of.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// API group, empty for core.
    pub group: &'a str,
    /// Plural resource name.
    pub plural: &'a str,
    /// Kind.
    pub kind: &'a str,
}

impl About<'_> {
    /// `deployments.apps`, or `pods` for the core group.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    fn details(&self, name: &str) -> Value {
        let mut details = serde_json::Map::new();
        if !name.is_empty() {
            details.insert("name".into(), name.into());
        }
        if !self.group.is_empty() {
            details.insert("group".into(), self.group.into());
        }
        details.insert("kind".into(), self.plural.into());
        Value::Object(details)
    }
}

impl Status {
    /// A status without details.
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self { code, reason: reason.to_owned(), message: message.into(), details: None, continue_token: String::new() }
    }

    fn about(code: u16, reason: &str, message: String, about: About<'_>, name: &str) -> Self {
        Self { details: Some(Box::new(about.details(name))), ..Self::new(code, reason, message) }
    }

    /// 404 for an object.
    pub fn not_found(about: About<'_>, name: &str) -> Self {
        Self::about(404, "NotFound", format!("{} \"{name}\" not found", about.qualified()), about, name)
    }

    /// 404 for a path nobody serves.
    pub fn no_such_resource() -> Self {
        let mut status = Self::new(404, "NotFound", "the server could not find the requested resource");
        status.details = Some(Box::new(json!({})));
        status
    }

    /// 409 on create.
    pub fn already_exists(about: About<'_>, name: &str) -> Self {
        Self::about(409, "AlreadyExists", format!("{} \"{name}\" already exists", about.qualified()), about, name)
    }

    /// 409 with a cause of one's own.
    pub fn conflict(about: About<'_>, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", about.qualified());
        Self::about(409, "Conflict", message, about, name)
    }

    /// 409 of optimistic concurrency.
    pub fn modified(about: About<'_>, name: &str) -> Self {
        Self::conflict(
            about,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409 of server-side apply; `causes` are per field, `message` is the joined text.
    pub fn apply_conflict(message: String, causes: &[Cause]) -> Self {
        let mut status = Self::new(409, "Conflict", message);
        status.details = Some(Box::new(json!({"causes": causes.iter().map(Cause::json).collect::<Vec<_>>()})));
        status
    }

    /// 422 with its causes.
    pub fn invalid(about: About<'_>, name: &str, causes: &[Cause]) -> Self {
        let texts: Vec<String> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let text = if texts.len() == 1 { texts[0].clone() } else { format!("[{}]", texts.join(", ")) };
        let kind =
            if about.group.is_empty() { about.kind.to_owned() } else { format!("{}.{}", about.kind, about.group) };
        let mut details = serde_json::Map::new();
        details.insert("name".into(), name.into());
        if !about.group.is_empty() {
            details.insert("group".into(), about.group.into());
        }
        details.insert("kind".into(), about.kind.into());
        details.insert("causes".into(), causes.iter().map(Cause::json).collect::<Vec<_>>().into());
        let mut status = Self::new(422, "Invalid", format!("{kind} \"{name}\" is invalid: {text}"));
        status.details = Some(Box::new(Value::Object(details)));
        status
    }

    /// 403.
    pub fn forbidden(about: About<'_>, name: &str, why: &str) -> Self {
        Self::about(403, "Forbidden", format!("{} \"{name}\" is forbidden: {why}", about.qualified()), about, name)
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 405.
    pub fn method_not_allowed(about: About<'_>) -> Self {
        Self::about(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource".into(),
            about,
            "",
        )
    }

    /// 415.
    pub fn unsupported_media_type(known: &str) -> Self {
        Self::new(
            415,
            "UnsupportedMediaType",
            format!("the body of the request was in an unknown format - accepted media types include: {known}"),
        )
    }

    /// 410: the version asked for is no longer in the event log.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 501: what this server knows of but does not do.
    pub fn not_implemented(what: &str) -> Self {
        Self::new(501, "NotImplemented", format!("{what} is not implemented by this simulated API server"))
    }

    /// The object as clients receive it.
    pub fn to_value(&self) -> Value {
        let mut value = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message,
        });
        if !self.reason.is_empty() {
            value["reason"] = self.reason.clone().into();
        }
        if let Some(details) = &self.details {
            value["details"] = (**details).clone();
        }
        if !self.continue_token.is_empty() {
            value["metadata"]["continue"] = self.continue_token.clone().into();
        }
        value["code"] = self.code.into();
        value
    }

    /// True for 404.
    pub fn is_not_found(&self) -> bool {
        self.code == 404
    }
}
