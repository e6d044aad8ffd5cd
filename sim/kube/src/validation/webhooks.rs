//! Configurations of admission webhooks.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Errors, names};
use crate::{
    admission::{CONDITIONS_MAX, Condition},
    json,
};

const VERSIONS: &[&str] = &["v1", "v1beta1"];
const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const URL_FORMAT: &str = "desired format: https://host[:port]/path";

pub(super) fn check(kind: &str, object: &Value, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, hook) in json::list(object, &["webhooks"]).iter().enumerate() {
        let path = format!("webhooks[{i}]");
        let name = json::text(hook, &["name"]);
        if name.is_empty() {
            errors.required(format!("{path}.name"), "");
        } else {
            let whys = names::subdomain(name);
            if whys.is_empty() && name.split('.').count() < 3 {
                let why = "should be a domain with at least three segments separated by dots";
                errors.invalid_text(format!("{path}.name"), name, why);
            }
            for why in whys {
                errors.invalid_text(format!("{path}.name"), name, &why);
            }
        }
        for (j, rule) in json::list(hook, &["rules"]).iter().enumerate() {
            self::rule(rule, &format!("{path}.rules[{j}]"), errors);
        }
        errors.one_of(hook, &path, "failurePolicy", &["Fail", "Ignore"]);
        errors.one_of(hook, &path, "matchPolicy", &["Equivalent", "Exact"]);
        let effects = json::text(hook, &["sideEffects"]);
        if effects.is_empty() {
            errors.required(format!("{path}.sideEffects"), "must specify one of None, NoneOnDryRun");
        }
        errors.one_of(hook, &path, "sideEffects", &["None", "NoneOnDryRun"]);
        if let Some(timeout) = hook.get("timeoutSeconds").filter(|t| t.as_i64().is_none_or(|t| !(1..=30).contains(&t)))
        {
            let why = "the timeout value must be between 1 and 30 seconds";
            errors.invalid(format!("{path}.timeoutSeconds"), timeout, why);
        }
        if kind == "MutatingWebhookConfiguration" {
            errors.one_of(hook, &path, "reinvocationPolicy", &["IfNeeded", "Never"]);
        }
        client(hook.get("clientConfig").unwrap_or(&Value::Null), &format!("{path}.clientConfig"), errors);
        conditions(hook, &format!("{path}.matchConditions"), errors);
        versions(hook, &path, errors);
        if !name.is_empty() && !seen.insert(name) {
            errors.duplicate(format!("{path}.name"), name);
        }
    }
}

fn conditions(hook: &Value, path: &str, errors: &mut Errors) {
    let given = json::list(hook, &["matchConditions"]);
    if given.len() > CONDITIONS_MAX {
        errors.too_many(path, given.len(), CONDITIONS_MAX);
    }
    let mut seen = BTreeSet::new();
    for (i, condition) in given.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let (name, text) = (json::text(condition, &["name"]), json::text(condition, &["expression"]).trim());
        if text.is_empty() {
            errors.required(format!("{path}.expression"), "");
        } else if let Some(problem) = Condition::new(text).problem() {
            errors.invalid_text(format!("{path}.expression"), text, problem);
        }
        if name.is_empty() {
            errors.required(format!("{path}.name"), "");
        } else {
            for why in names::qualified(name) {
                errors.invalid_text(format!("{path}.name"), name, &why);
            }
            if !seen.insert(name) {
                errors.duplicate(format!("{path}.name"), name);
            }
        }
    }
}

fn versions(hook: &Value, path: &str, errors: &mut Errors) {
    let path = format!("{path}.admissionReviewVersions");
    let given = json::list(hook, &["admissionReviewVersions"]);
    if given.is_empty() {
        errors.required(path, "must specify one of v1, v1beta1");
    } else if !given.iter().filter_map(Value::as_str).any(|v| VERSIONS.contains(&v)) {
        errors.invalid(path, &Value::from(given.to_vec()), "must include at least one of v1, v1beta1");
    }
}

fn rule(rule: &Value, path: &str, errors: &mut Errors) {
    for key in ["operations", "apiGroups", "apiVersions", "resources"] {
        let here = format!("{path}.{key}");
        let given: Vec<&str> = json::list(rule, &[key]).iter().filter_map(Value::as_str).collect();
        if given.is_empty() {
            errors.required(here, "");
            continue;
        }
        if key == "operations" {
            for (i, operation) in given.iter().enumerate().filter(|(_, o)| !OPERATIONS.contains(o)) {
                errors.unsupported(format!("{here}[{i}]"), operation, OPERATIONS);
            }
        }
        let all = if key == "resources" { "*/*" } else { "*" };
        if given.len() > 1 && given.contains(&all) {
            let shown = Value::from(given.clone());
            let why = match key {
                "operations" => "if '*' is present, must not specify other operations",
                "apiGroups" => "if '*' is present, must not specify other API groups",
                "apiVersions" => "if '*' is present, must not specify other API versions",
                _ => "if '*/*' is present, must not specify other resources",
            };
            errors.invalid(here, &shown, why);
        }
    }
    errors.one_of(rule, path, "scope", &["*", "Cluster", "Namespaced"]);
}

fn client(config: &Value, path: &str, errors: &mut Errors) {
    let url = json::text(config, &["url"]);
    match (url.is_empty(), config.get("service").filter(|s| s.is_object())) {
        (true, None) | (false, Some(_)) => errors.required(path, "exactly one of url or service is required"),
        (false, None) => self::url(url, &format!("{path}.url"), errors),
        (true, Some(service)) => {
            for (key, why) in [("name", "service name is required"), ("namespace", "service namespace is required")] {
                if json::text(service, &[key]).is_empty() {
                    errors.required(format!("{path}.service.{key}"), why);
                }
            }
            if let Some(port) = service.get("port").filter(|p| p.as_i64().is_none_or(|p| !(1..=65535).contains(&p))) {
                let why = "port is not valid: must be between 1 and 65535, inclusive";
                errors.invalid(format!("{path}.service.port"), port, why);
            }
            let given = json::text(service, &["path"]);
            if !given.is_empty() && !given.starts_with('/') {
                errors.invalid_text(format!("{path}.service.path"), given, "must start with a '/'");
            }
        }
    }
}

fn url(url: &str, path: &str, errors: &mut Errors) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if scheme != "https" {
        let why = format!("'https' is the only allowed URL scheme; {URL_FORMAT}");
        errors.invalid_text(path, scheme, &why);
    }
    let (address, query) = rest.split_once('?').map_or((rest, None), |(a, q)| (a, Some(q)));
    let host = address.split('/').next().unwrap_or("");
    if host.is_empty() {
        errors.invalid_text(path, "", &format!("host must be specified; {URL_FORMAT}"));
    }
    if let Some((user, _)) = host.split_once('@') {
        errors.invalid_text(path, user, "user information is not permitted in the URL");
    }
    if let Some((_, fragment)) = url.split_once('#') {
        errors.invalid_text(path, fragment, "fragments are not permitted in the URL");
    }
    if let Some(query) = query {
        let query = query.split('#').next().unwrap_or("");
        errors.invalid_text(path, query, "query parameters are not permitted in the URL");
    }
}
