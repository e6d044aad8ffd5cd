//! Pods, alone or as templates.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Errors, names};
use crate::json;

/// What the pod belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// It was created by itself.
    Nobody,
    /// It is the template of a workload that restarts its pods.
    Workload,
    /// The same with volumes that come from claim templates.
    StatefulSet,
}

const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const DNS_POLICIES: &[&str] = &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
const SOURCES: &[&str] = &["configMapKeyRef", "fieldRef", "fileKeyRef", "resourceFieldRef", "secretKeyRef"];

pub(super) fn check(spec: &Value, path: &str, owner: Owner, errors: &mut Errors) {
    let volumes = volumes(spec, path, errors);
    let claimed = owner == Owner::StatefulSet;
    let mut seen = BTreeSet::new();
    if json::list(spec, &["containers"]).is_empty() {
        errors.required(format!("{path}.containers"), "");
    }
    for list in ["containers", "initContainers"] {
        for (i, c) in json::list(spec, &[list]).iter().enumerate() {
            let here = format!("{path}.{list}[{i}]");
            let name = json::text(c, &["name"]);
            if name.is_empty() {
                errors.required(format!("{here}.name"), "");
            } else {
                for why in names::label(name) {
                    errors.invalid_text(format!("{here}.name"), name, &why);
                }
                if !seen.insert(name) {
                    errors.duplicate(format!("{here}.name"), name);
                }
            }
            container(c, &here, &volumes, claimed, errors);
            let sidecar = json::text(c, &["restartPolicy"]) == "Always";
            if list == "initContainers" && !sidecar {
                for probe in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                    if c.get(probe).is_some_and(Value::is_object) {
                        errors.forbidden(
                            format!("{here}.{probe}"),
                            "may not be set for init containers without restartPolicy=Always",
                        );
                    }
                }
            }
        }
    }
    if owner != Owner::Nobody && !json::list(spec, &["ephemeralContainers"]).is_empty() {
        errors.forbidden(format!("{path}.ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
    let known: &[&str] = if owner == Owner::Nobody { &["Always", "Never", "OnFailure"] } else { &["Always"] };
    errors.one_of(spec, path, "restartPolicy", known);
    errors.one_of(spec, path, "dnsPolicy", DNS_POLICIES);
    errors.not_negative(spec, path, "terminationGracePeriodSeconds");
    if let Some(seconds) = spec.get("activeDeadlineSeconds").filter(|s| s.as_i64().is_none_or(|s| s < 1)) {
        errors.invalid(format!("{path}.activeDeadlineSeconds"), seconds, "must be between 1 and 2147483647, inclusive");
    }
    tolerations(spec, path, errors);
    spread(spec, path, errors);
}

/// Checks volumes and returns their names.
pub(super) fn volumes<'a>(spec: &'a Value, path: &str, errors: &mut Errors) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    for (i, volume) in json::list(spec, &["volumes"]).iter().enumerate() {
        let here = format!("{path}.volumes[{i}]");
        let name = json::text(volume, &["name"]);
        if name.is_empty() {
            errors.required(format!("{here}.name"), "");
        } else {
            for why in names::label(name) {
                errors.invalid_text(format!("{here}.name"), name, &why);
            }
            if !found.insert(name) {
                errors.duplicate(format!("{here}.name"), name);
            }
        }
        let sources: Vec<&String> = volume
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(k, v)| *k != "name" && !v.is_null())
            .map(|(k, _)| k)
            .collect();
        match sources.as_slice() {
            [] => errors.required(here.clone(), "must specify a volume type"),
            [_] => {}
            [_, more @ ..] => {
                for source in more {
                    errors.forbidden(format!("{here}.{source}"), "may not specify more than 1 volume type");
                }
            }
        }
        for (source, field) in [
            ("configMap", "name"),
            ("secret", "secretName"),
            ("persistentVolumeClaim", "claimName"),
            ("hostPath", "path"),
        ] {
            if volume.get(source).is_some_and(|s| json::text(s, &[field]).is_empty()) {
                errors.required(format!("{here}.{source}.{field}"), "");
            }
        }
    }
    found
}

pub(super) fn container(c: &Value, path: &str, volumes: &BTreeSet<&str>, claimed: bool, errors: &mut Errors) {
    let image = json::text(c, &["image"]);
    if image.is_empty() {
        errors.required(format!("{path}.image"), "");
    } else if image.trim() != image {
        errors.invalid_text(format!("{path}.image"), image, "must not have leading or trailing whitespace");
    }
    ports(c, path, errors);
    environment(c, path, errors);
    mounts(c, path, volumes, claimed, errors);
    for (name, once) in [("livenessProbe", true), ("readinessProbe", false), ("startupProbe", true)] {
        if let Some(inner) = c.get(name).filter(|p| p.is_object()) {
            probe(inner, &format!("{path}.{name}"), once, errors);
        }
    }
    errors.one_of(c, path, "imagePullPolicy", PULL_POLICIES);
    errors.one_of(c, path, "terminationMessagePolicy", &["FallbackToLogsOnError", "File"]);
    resources(c, path, errors);
    let context = c.get("securityContext").unwrap_or(&Value::Null);
    if context.get("privileged") == Some(&Value::Bool(true))
        && context.get("allowPrivilegeEscalation") == Some(&Value::Bool(false))
    {
        errors.invalid(
            format!("{path}.securityContext"),
            context,
            "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        );
    }
}

fn ports(c: &Value, path: &str, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, port) in json::list(c, &["ports"]).iter().enumerate() {
        let here = format!("{path}.ports[{i}]");
        let name = json::text(port, &["name"]);
        if !name.is_empty() {
            let whys = names::port_name(name);
            if whys.is_empty() && !seen.insert(name) {
                errors.duplicate(format!("{here}.name"), name);
            }
            for why in whys {
                errors.invalid_text(format!("{here}.name"), name, &why);
            }
        }
        match port.get("containerPort") {
            None => errors.required(format!("{here}.containerPort"), ""),
            Some(number) if number.as_i64() == Some(0) => errors.required(format!("{here}.containerPort"), ""),
            Some(number) => errors.port(format!("{here}.containerPort"), number),
        }
        if let Some(number) = port.get("hostPort").filter(|p| p.as_i64() != Some(0)) {
            errors.port(format!("{here}.hostPort"), number);
        }
        errors.one_of(port, &here, "protocol", PROTOCOLS);
    }
}

fn environment(c: &Value, path: &str, errors: &mut Errors) {
    for (i, variable) in json::list(c, &["env"]).iter().enumerate() {
        let here = format!("{path}.env[{i}]");
        let name = json::text(variable, &["name"]);
        if name.is_empty() {
            errors.required(format!("{here}.name"), "");
        } else if !name.chars().all(|c| (c.is_ascii_graphic() || c == ' ') && c != '=') {
            errors.invalid_text(
                format!("{here}.name"),
                name,
                "a valid environment variable name must consist only of printable ASCII characters other than '='",
            );
        }
        let Some(source) = variable.get("valueFrom").filter(|s| s.is_object()) else { continue };
        let here = format!("{here}.valueFrom");
        let given: Vec<&&str> = SOURCES.iter().filter(|s| source.get(**s).is_some_and(Value::is_object)).collect();
        if given.is_empty() {
            let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
            errors.invalid_text(here.clone(), "", why);
        } else if !json::text(variable, &["value"]).is_empty() {
            errors.invalid_text(here.clone(), "", "may not be specified when `value` is not empty");
        } else if given.len() > 1 {
            errors.invalid_text(here.clone(), "", "may not have more than one field specified at a time");
        }
        for kind in ["configMapKeyRef", "secretKeyRef"] {
            if let Some(reference) = source.get(kind) {
                for field in ["name", "key"] {
                    if json::text(reference, &[field]).is_empty() {
                        errors.required(format!("{here}.{kind}.{field}"), "");
                    }
                }
            }
        }
        if source.get("fieldRef").is_some_and(|r| json::text(r, &["fieldPath"]).is_empty()) {
            errors.required(format!("{here}.fieldRef.fieldPath"), "");
        }
    }
    for (i, from) in json::list(c, &["envFrom"]).iter().enumerate() {
        let here = format!("{path}.envFrom[{i}]");
        let given: Vec<&str> =
            ["configMapRef", "secretRef"].into_iter().filter(|k| from.get(*k).is_some_and(Value::is_object)).collect();
        match given.as_slice() {
            [] => errors.invalid_text(here, "", "must specify one of: `configMapRef` or `secretRef`"),
            [kind] if json::text(from, &[kind, "name"]).is_empty() => {
                errors.required(format!("{here}.{kind}.name"), "");
            }
            [_] => {}
            _ => errors.invalid_text(here, "", "may not have more than one field specified at a time"),
        }
    }
}

fn mounts(c: &Value, path: &str, volumes: &BTreeSet<&str>, claimed: bool, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (i, mount) in json::list(c, &["volumeMounts"]).iter().enumerate() {
        let here = format!("{path}.volumeMounts[{i}]");
        let name = json::text(mount, &["name"]);
        if name.is_empty() {
            errors.required(format!("{here}.name"), "");
        } else if !claimed && !volumes.contains(name) {
            // The pods of a StatefulSet get volumes from its claim templates.
            errors.not_found(format!("{here}.name"), name);
        }
        let place = json::text(mount, &["mountPath"]);
        if place.is_empty() {
            errors.required(format!("{here}.mountPath"), "");
        } else if !seen.insert(place) {
            errors.invalid_text(format!("{here}.mountPath"), place, "must be unique");
        }
        let below = json::text(mount, &["subPath"]);
        if below.starts_with('/') {
            errors.invalid_text(format!("{here}.subPath"), below, "must be a relative path");
        } else if below.split('/').any(|part| part == "..") {
            errors.invalid_text(format!("{here}.subPath"), below, "must not contain '..'");
        }
    }
}

fn probe(probe: &Value, path: &str, once: bool, errors: &mut Errors) {
    let handlers: Vec<&str> = ["exec", "httpGet", "tcpSocket", "grpc"]
        .into_iter()
        .filter(|h| probe.get(*h).is_some_and(Value::is_object))
        .collect();
    match handlers.as_slice() {
        [] => errors.required(path, "must specify a handler type"),
        [_, more @ ..] => {
            for handler in more {
                errors.forbidden(format!("{path}.{handler}"), "may not specify more than 1 handler type");
            }
        }
    }
    if probe.get("exec").is_some_and(|e| json::list(e, &["command"]).is_empty()) {
        errors.required(format!("{path}.exec.command"), "");
    }
    for handler in ["httpGet", "tcpSocket", "grpc"] {
        match probe.get(handler).and_then(|h| h.get("port")) {
            Some(Value::String(name)) => {
                for why in names::port_name(name) {
                    errors.invalid_text(format!("{path}.{handler}.port"), name, &why);
                }
            }
            Some(number) => errors.port(format!("{path}.{handler}.port"), number),
            None => {}
        }
    }
    if let Some(get) = probe.get("httpGet") {
        errors.one_of(get, &format!("{path}.httpGet"), "scheme", &["HTTP", "HTTPS"]);
    }
    for key in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        errors.not_negative(probe, path, key);
    }
    if let Some(threshold) = probe.get("successThreshold").filter(|t| once && t.as_i64() != Some(1)) {
        errors.invalid(format!("{path}.successThreshold"), threshold, "must be 1");
    }
}

/// A quantity as a number of its base unit; `None` if it is none (decoding refuses it).
pub(super) fn quantity(value: &Value) -> Option<f64> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let end = text.find(|c: char| !(c.is_ascii_digit() || "+-.".contains(c))).unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    let factor = match &text[end..] {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        exponent => 10f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    Some(number * factor)
}

fn resources(c: &Value, path: &str, errors: &mut Errors) {
    let limits = json::map(c, &["resources", "limits"]);
    let requests = json::map(c, &["resources", "requests"]);
    for (side, map) in [("limits", limits), ("requests", requests)] {
        for (name, value) in map.into_iter().flatten() {
            let here = format!("{path}.resources.{side}[{name}]");
            if !name.contains('/')
                && !matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage")
                && !name.starts_with("hugepages-")
            {
                let here = format!("{path}.resources.{side}[{name}]");
                errors.invalid_text(here, name, "must be a standard resource type or fully qualified");
            }
            if quantity(value).is_some_and(|q| q < 0.0) {
                errors.invalid_text(here, &plain(value), "must be greater than or equal to 0");
            }
        }
    }
    for (name, request) in requests.into_iter().flatten() {
        let Some(limit) = limits.and_then(|l| l.get(name)) else { continue };
        if let (Some(asked), Some(most)) = (quantity(request), quantity(limit))
            && asked > most
        {
            let why = format!("must be less than or equal to {name} limit of {}", plain(limit));
            errors.invalid_text(format!("{path}.resources.requests"), &plain(request), &why);
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn tolerations(spec: &Value, path: &str, errors: &mut Errors) {
    for (i, toleration) in json::list(spec, &["tolerations"]).iter().enumerate() {
        let here = format!("{path}.tolerations[{i}]");
        let operator = json::text(toleration, &["operator"]);
        if json::text(toleration, &["key"]).is_empty() && operator != "Exists" {
            errors.invalid_text(
                format!("{here}.operator"),
                operator,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if operator == "Exists" && !json::text(toleration, &["value"]).is_empty() {
            let why = "value must be empty when `operator` is 'Exists'";
            errors.invalid(format!("{here}.operator"), toleration, why);
        }
        errors.one_of(toleration, &here, "effect", &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
    }
}

fn spread(spec: &Value, path: &str, errors: &mut Errors) {
    for (i, constraint) in json::list(spec, &["topologySpreadConstraints"]).iter().enumerate() {
        let here = format!("{path}.topologySpreadConstraints[{i}]");
        let skew = constraint.get("maxSkew").cloned().unwrap_or(Value::from(0));
        if skew.as_i64().is_none_or(|s| s < 1) {
            errors.invalid(format!("{here}.maxSkew"), &skew, "must be greater than zero");
        }
        if json::text(constraint, &["topologyKey"]).is_empty() {
            errors.required(format!("{here}.topologyKey"), "can not be empty");
        }
        let known = ["DoNotSchedule", "ScheduleAnyway"];
        let when = json::text(constraint, &["whenUnsatisfiable"]);
        if !known.contains(&when) {
            errors.unsupported(format!("{here}.whenUnsatisfiable"), when, &known);
        }
    }
}
