//! ConfigMap and Secret.

use serde_json::Value;

use super::{Errors, names};
use crate::json;

/// Everything in a ConfigMap or Secret together, bytes.
const BYTES_MAX: usize = 1 << 20;

/// Checks keys and size of a ConfigMap.
pub fn config_map(object: &Value, errors: &mut Errors) {
    let mut bytes = 0;
    for (field, other) in [("data", "binaryData"), ("binaryData", "data")] {
        for (key, value) in json::map(object, &[field]).into_iter().flatten() {
            for why in names::config_key(key) {
                errors.invalid_text(format!("{field}[{key}]"), key, &why);
            }
            if json::map(object, &[other]).is_some_and(|m| m.contains_key(key)) {
                errors.invalid_text(format!("{field}[{key}]"), key, &format!("duplicate of key present in {other}"));
            }
            bytes += value.as_str().map_or(0, str::len);
        }
    }
    if bytes > BYTES_MAX {
        errors.too_long("[]", BYTES_MAX);
    }
}

pub(super) fn secret(object: &Value, errors: &mut Errors) {
    let mut bytes = 0;
    let data = json::map(object, &["data"]);
    for (key, value) in data.into_iter().flatten() {
        for why in names::config_key(key) {
            errors.invalid_text(format!("data[{key}]"), key, &why);
        }
        // Base64: three bytes in four characters.
        bytes += value.as_str().map_or(0, |v| v.trim_end_matches('=').len() * 3 / 4);
    }
    if bytes > BYTES_MAX {
        errors.too_long("data", BYTES_MAX);
    }
    let mut needs = |key: &str| {
        if data.is_none_or(|d| !d.contains_key(key)) {
            errors.required(format!("data[{key}]"), "");
        }
    };
    match json::text(object, &["type"]) {
        "kubernetes.io/tls" => ["tls.crt", "tls.key"].into_iter().for_each(needs),
        "kubernetes.io/dockerconfigjson" => needs(".dockerconfigjson"),
        "kubernetes.io/dockercfg" => needs(".dockercfg"),
        "kubernetes.io/ssh-auth" => needs("ssh-privatekey"),
        "kubernetes.io/basic-auth"
            if data.is_none_or(|d| !d.contains_key("username") && !d.contains_key("password")) =>
        {
            ["username", "password"].into_iter().for_each(needs);
        }
        "kubernetes.io/service-account-token"
            if json::text(object, &["metadata", "annotations", "kubernetes.io/service-account.name"]).is_empty() =>
        {
            errors.required("metadata.annotations[kubernetes.io/service-account.name]", "");
        }
        _ => {}
    }
}

/// What an `immutable: true` object may not change.
pub(super) fn frozen(old: &Value, new: &Value, fields: &[&str], errors: &mut Errors) {
    let set = |o: &Value| o.get("immutable") == Some(&Value::Bool(true));
    if !set(old) {
        return;
    }
    let why = "field is immutable when `immutable` is set";
    if !set(new) {
        errors.forbidden("immutable", why);
    }
    for field in fields {
        if old.get(*field) != new.get(*field) {
            errors.forbidden(*field, why);
        }
    }
}
