//! A list of causes, each in the words and with the reason of the real server's field errors.

use serde_json::Value;

use crate::{json, status::Cause};

/// What was found so far.
#[derive(Clone, Debug, Default)]
pub struct Errors(Vec<Cause>);

impl Errors {
    /// The causes, in the order in which they were found.
    pub fn causes(&self) -> &[Cause] {
        &self.0
    }

    pub(crate) fn into_causes(self) -> Vec<Cause> {
        self.0
    }

    fn push(&mut self, reason: &'static str, path: impl Into<String>, head: &str, detail: &str) {
        let message = if detail.is_empty() { head.to_owned() } else { format!("{head}: {detail}") };
        self.0.push(Cause::new(reason, path, message));
    }

    pub(crate) fn required(&mut self, path: impl Into<String>, detail: &str) {
        self.push("FieldValueRequired", path, "Required value", detail);
    }

    pub(crate) fn invalid(&mut self, path: impl Into<String>, value: &Value, detail: &str) {
        self.push("FieldValueInvalid", path, &format!("Invalid value: {value}"), detail);
    }

    pub(crate) fn invalid_text(&mut self, path: impl Into<String>, value: &str, detail: &str) {
        self.push("FieldValueInvalid", path, &format!("Invalid value: {value:?}"), detail);
    }

    pub(crate) fn duplicate(&mut self, path: impl Into<String>, value: &str) {
        self.push("FieldValueDuplicate", path, &format!("Duplicate value: {value:?}"), "");
    }

    pub(crate) fn not_found(&mut self, path: impl Into<String>, value: &str) {
        self.push("FieldValueNotFound", path, &format!("Not found: {value:?}"), "");
    }

    pub(crate) fn forbidden(&mut self, path: impl Into<String>, detail: &str) {
        self.push("FieldValueForbidden", path, "Forbidden", detail);
    }

    pub(crate) fn too_long(&mut self, path: impl Into<String>, bytes_max: usize) {
        self.push("FieldValueTooLong", path, "Too long", &format!("may not be more than {bytes_max} bytes"));
    }

    pub(crate) fn too_many(&mut self, path: impl Into<String>, given: usize, items_max: usize) {
        let what = if items_max == 1 { "item" } else { "items" };
        self.push(
            "FieldValueTooMany",
            path,
            &format!("Too many: {given}"),
            &format!("must have at most {items_max} {what}"),
        );
    }

    /// `known` in the order in which the real server names them (sorted).
    pub(crate) fn unsupported(&mut self, path: impl Into<String>, value: &str, known: &[&str]) {
        self.unsupported_value(path, &value.into(), known);
    }

    /// The same for a value that is no text.
    pub(crate) fn unsupported_value(&mut self, path: impl Into<String>, value: &Value, known: &[&str]) {
        let known: Vec<String> = known.iter().map(|k| format!("{k:?}")).collect();
        let head = format!("Unsupported value: {value}");
        self.push("FieldValueNotSupported", path, &head, &format!("supported values: {}", known.join(", ")));
    }

    /// Complains if the text at `key` is set and not one of `known`.
    pub(crate) fn one_of(&mut self, object: &Value, path: &str, key: &str, known: &[&str]) {
        let text = json::text(object, &[key]);
        if !text.is_empty() && !known.contains(&text) {
            self.unsupported(format!("{path}.{key}"), text, known);
        }
    }

    /// The same for a field of the object's root.
    pub(crate) fn one_of_at(&mut self, object: &Value, key: &str, known: &[&str]) {
        let text = json::text(object, &[key]);
        if !text.is_empty() && !known.contains(&text) {
            self.unsupported(key, text, known);
        }
    }

    /// Complains if the number at `key` is negative.
    pub(crate) fn not_negative(&mut self, object: &Value, path: &str, key: &str) {
        if let Some(value) = object.get(key).filter(|v| v.as_i64().is_some_and(|n| n < 0)) {
            self.invalid(format!("{path}.{key}"), value, "must be greater than or equal to 0");
        }
    }

    /// Complains if a field differs.
    pub(crate) fn fixed(&mut self, old: &Value, new: &Value, path: &[&str]) {
        let (before, after) = (json::at(old, path), json::at(new, path));
        if before != after {
            self.invalid(path.join("."), after.unwrap_or(&Value::Null), "field is immutable");
        }
    }

    /// Complains about a number that is no port.
    pub(crate) fn port(&mut self, path: impl Into<String>, value: &Value) {
        if value.as_i64().is_none_or(|p| !(1..=65535).contains(&p)) {
            self.invalid(path, value, "must be between 1 and 65535, inclusive");
        }
    }
}
