//! Roles and bindings.

use serde_json::Value;

use super::Errors;
use crate::json;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn role(kind: &str, object: &Value, errors: &mut Errors) {
    for (i, rule) in json::list(object, &["rules"]).iter().enumerate() {
        let path = format!("rules[{i}]");
        let has = |key: &str| !json::list(rule, &[key]).is_empty();
        if !has("verbs") {
            errors.required(format!("{path}.verbs"), "verbs must contain at least one value");
        }
        if has("nonResourceURLs") {
            let urls = rule.get("nonResourceURLs").unwrap_or(&Value::Null);
            if kind == "Role" {
                errors.invalid(
                    format!("{path}.nonResourceURLs"),
                    urls,
                    "namespaced rules cannot apply to non-resource URLs",
                );
            }
            if has("apiGroups") || has("resources") || has("resourceNames") {
                errors.invalid(
                    format!("{path}.nonResourceURLs"),
                    urls,
                    "rules cannot apply to both regular resources and non-resource URLs",
                );
            }
            continue;
        }
        if !has("apiGroups") {
            errors.required(format!("{path}.apiGroups"), "resource rules must supply at least one api group");
        }
        if !has("resources") {
            errors.required(format!("{path}.resources"), "resource rules must supply at least one resource");
        }
    }
}

pub(super) fn binding(kind: &str, object: &Value, errors: &mut Errors) {
    let group = json::text(object, &["roleRef", "apiGroup"]);
    if group != GROUP {
        errors.unsupported("roleRef.apiGroup", group, &[GROUP]);
    }
    let known: &[&str] = if kind == "RoleBinding" { &["ClusterRole", "Role"] } else { &["ClusterRole"] };
    let role = json::text(object, &["roleRef", "kind"]);
    if !known.contains(&role) {
        errors.unsupported("roleRef.kind", role, known);
    }
    if json::text(object, &["roleRef", "name"]).is_empty() {
        errors.required("roleRef.name", "");
    }
    for (i, subject) in json::list(object, &["subjects"]).iter().enumerate() {
        let path = format!("subjects[{i}]");
        if json::text(subject, &["name"]).is_empty() {
            errors.required(format!("{path}.name"), "");
        }
        let group = json::text(subject, &["apiGroup"]);
        match json::text(subject, &["kind"]) {
            "ServiceAccount" => {
                if !group.is_empty() {
                    errors.unsupported(format!("{path}.apiGroup"), group, &[""]);
                }
                if json::text(subject, &["namespace"]).is_empty() {
                    errors.required(format!("{path}.namespace"), "");
                }
            }
            "User" | "Group" => {
                if !group.is_empty() && group != GROUP {
                    errors.unsupported(format!("{path}.apiGroup"), group, &[GROUP]);
                }
            }
            other => errors.unsupported(format!("{path}.kind"), other, &["Group", "ServiceAccount", "User"]),
        }
    }
}
