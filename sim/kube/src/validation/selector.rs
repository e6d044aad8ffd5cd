//! Label selectors of objects.

use serde_json::Value;

use super::{Errors, metadata, names};
use crate::json;

pub(super) fn check(selector: &Value, path: &str, errors: &mut Errors) {
    metadata::labels(selector.get("matchLabels"), &format!("{path}.matchLabels"), errors);
    for (i, expression) in json::list(selector, &["matchExpressions"]).iter().enumerate() {
        let here = format!("{path}.matchExpressions[{i}]");
        let values = json::list(expression, &["values"]);
        match json::text(expression, &["operator"]) {
            "In" | "NotIn" if values.is_empty() => {
                errors.required(format!("{here}.values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(format!("{here}.values"), why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid_text(format!("{here}.operator"), other, "not a valid selector operator"),
        }
        let key = json::text(expression, &["key"]);
        for why in names::qualified(key) {
            errors.invalid_text(format!("{here}.key"), key, &why);
        }
        for (j, value) in values.iter().enumerate() {
            let text = value.as_str().unwrap_or("");
            for why in names::label_value(text) {
                errors.invalid_text(format!("{here}.values[{j}]"), text, &why);
            }
        }
    }
}
