//! CustomResourceDefinitions themselves: defaults, validation, status.
//!
//! The texts, paths and their order are those of the real apiextensions server.
//!
//! ```
//! use serde_json::json;
//! let definition = json!({"metadata": {"name": "a.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
//!     "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
//!     "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
//! let causes = sim_kube::definitions::validate(&definition);
//! assert_eq!(causes[0].message, "Invalid value: \"a.example.com\": must be spec.names.plural+\".\"+spec.group");
//! ```

pub(crate) mod names;
mod schema;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::{
    json,
    schema::{quoted, shown},
    status::Cause,
};

/// Most selectable fields of a version.
pub const SELECTABLE_FIELDS_MAX: usize = 8;

const LABEL_TEXT: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// Fills in what a definition may leave out: `singular`, `listKind`, `conversion`.
pub fn default(definition: &mut Value) {
    let kind = json::text(definition, &["spec", "names", "kind"]).to_owned();
    let Some(spec) = definition.get_mut("spec").filter(|s| s.is_object()) else { return };
    if let Some(names) = spec.get_mut("names").filter(|n| n.is_object() && !kind.is_empty()) {
        let mut fill = |key: &str, value: String| {
            if json::text(names, &[key]).is_empty() {
                json::ensure_map(names).insert(key.to_owned(), value.into());
            }
        };
        fill("singular", kind.to_ascii_lowercase());
        fill("listKind", format!("{kind}List"));
    }
    json::default_to(spec, "conversion", json!({"strategy": "None"}));
}

pub(crate) fn invalid(field: impl Into<String>, value: &Value, text: &str) -> Cause {
    Cause::new("FieldValueInvalid", field, format!("Invalid value: {}: {text}", shown(value)))
}

pub(crate) fn required(field: impl Into<String>, text: &str) -> Cause {
    let message = if text.is_empty() { "Required value".to_owned() } else { format!("Required value: {text}") };
    Cause::new("FieldValueRequired", field, message)
}

pub(crate) fn forbidden(field: impl Into<String>, text: &str) -> Cause {
    Cause::new("FieldValueForbidden", field, format!("Forbidden: {text}"))
}

pub(crate) fn unsupported(field: impl Into<String>, value: &str, supported: &[&str]) -> Cause {
    let list: Vec<String> = supported.iter().map(|s| quoted(s)).collect();
    let message = format!("Unsupported value: {}: supported values: {}", quoted(value), list.join(", "));
    Cause::new("FieldValueNotSupported", field, message)
}

fn is_label(name: &str, first: impl Fn(u8) -> bool) -> bool {
    let bytes = name.as_bytes();
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.first().is_some_and(|b| first(*b))
        && bytes.last().is_some_and(plain)
        && bytes.iter().all(|b| plain(b) || *b == b'-')
}

fn label_problem(name: &str) -> Option<String> {
    let mut problems = Vec::new();
    if name.len() > 63 {
        problems.push("must be no more than 63 bytes".to_owned());
    }
    if !is_label(name, |b| b.is_ascii_lowercase()) {
        problems.push(LABEL_TEXT.to_owned());
    }
    (!problems.is_empty()).then(|| problems.join(","))
}

/// What is wrong with a definition.
pub fn validate(definition: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let empty = Value::Object(Map::new());
    let spec = definition.get("spec").unwrap_or(&empty);
    let group = json::text(spec, &["group"]);
    let name = json::name(definition);
    if name != format!("{}.{group}", json::text(spec, &["names", "plural"])) {
        causes.push(invalid("metadata.name", &name.into(), "must be spec.names.plural+\".\"+spec.group"));
    }
    if group.is_empty() {
        causes.push(required("spec.group", ""));
    } else if !group.split('.').all(|part| is_label(part, |b| b.is_ascii_lowercase() || b.is_ascii_digit())) {
        causes.push(invalid("spec.group", &group.into(), SUBDOMAIN_TEXT));
    } else if !group.contains('.') {
        causes.push(invalid("spec.group", &group.into(), "should be a domain with at least one dot"));
    }
    match json::text(spec, &["scope"]) {
        "" => causes.push(required("spec.scope", "")),
        "Cluster" | "Namespaced" => {}
        other => causes.push(unsupported("spec.scope", other, &["Cluster", "Namespaced"])),
    }
    let versions = json::list(spec, &["versions"]);
    for (i, version) in versions.iter().enumerate() {
        if json::at(version, &["schema", "openAPIV3Schema"]).is_none() {
            causes.push(required(format!("spec.versions[{i}].schema.openAPIV3Schema"), "schemas are required"));
        }
    }
    if spec.get("preserveUnknownFields") == Some(&Value::Bool(true)) {
        causes.push(invalid(
            "spec.preserveUnknownFields",
            &true.into(),
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        ));
    }
    let shared = shared_parts(versions);
    for (i, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{i}]");
        let mut found = Vec::new();
        check_version(version, &path, &mut found);
        for (part, lifted) in &shared {
            let own = format!("{path}.{part}");
            if i > 0 {
                found.retain(|cause| !cause.field.starts_with(&own));
            }
            for cause in &mut found {
                cause.field = cause.field.replace(&own, lifted);
                cause.message = cause.message.replace(&own, lifted);
            }
        }
        causes.extend(found);
    }
    let names: BTreeSet<&str> = versions.iter().map(|v| json::text(v, &["name"])).collect();
    if names.len() != versions.len() {
        causes.push(invalid("spec.versions", &Value::Array(versions.to_vec()), "must contain unique version names"));
    }
    let stored = versions.iter().filter(|v| v.get("storage") == Some(&Value::Bool(true))).count();
    if stored != 1 {
        causes.push(invalid(
            "spec.versions",
            &Value::Array(versions.to_vec()),
            "must have exactly one version marked as storage version",
        ));
    }
    check_names(spec.get("names").unwrap_or(&empty), "spec.names", &mut causes);
    check_conversion(spec.get("conversion").unwrap_or(&Value::Null), &mut causes);
    causes
}

fn check_names(names: &Value, path: &str, causes: &mut Vec<Cause>) {
    for key in ["plural", "singular", "kind", "listKind"] {
        if json::text(names, &[key]).is_empty() {
            causes.push(required(format!("{path}.{key}"), ""));
        }
    }
    for key in ["plural", "singular"] {
        let text = json::text(names, &[key]);
        if let Some(problem) = label_problem(text).filter(|_| !text.is_empty()) {
            causes.push(invalid(format!("{path}.{key}"), &text.into(), &problem));
        }
    }
    for key in ["kind", "listKind"] {
        let text = json::text(names, &[key]);
        if let Some(problem) = label_problem(&text.to_lowercase()).filter(|_| !text.is_empty()) {
            let problem = format!("may have mixed case, but should otherwise match: {problem}");
            causes.push(invalid(format!("{path}.{key}"), &text.into(), &problem));
        }
    }
    let each = |key: &str, causes: &mut Vec<Cause>| {
        for (i, name) in json::list(names, &[key]).iter().enumerate() {
            if let Some(problem) = label_problem(name.as_str().unwrap_or("")) {
                causes.push(invalid(format!("{path}.{key}[{i}]"), name, &problem));
            }
        }
    };
    each("shortNames", causes);
    let kind = json::text(names, &["kind"]);
    if !kind.is_empty() && kind == json::text(names, &["listKind"]) {
        causes.push(invalid(format!("{path}.listKind"), &kind.into(), "kind and listKind may not be the same"));
    }
    each("categories", causes);
}

fn check_conversion(conversion: &Value, causes: &mut Vec<Cause>) {
    match json::text(conversion, &["strategy"]) {
        "" if conversion.is_null() => {}
        "" => causes.push(required("spec.conversion.strategy", "")),
        "None" => {
            if json::at(conversion, &["webhook"]).is_some() {
                causes.push(forbidden(
                    "spec.conversion.webhookClientConfig",
                    "should not be set when strategy is not set to Webhook",
                ));
            }
        }
        "Webhook" => causes.push(forbidden(
            "spec.conversion.strategy",
            "conversion webhooks are not implemented by this simulated API server",
        )),
        other => causes.push(unsupported("spec.conversion.strategy", other, &["None", "Webhook"])),
    }
}

/// The parts that all versions have alike, with where the real server speaks of them: it lifts them out of the versions
/// before it looks at them.
fn shared_parts(versions: &[Value]) -> Vec<(&'static str, &'static str)> {
    let parts = [
        ("schema", "spec.validation"),
        ("subresources", "spec.subresources"),
        ("additionalPrinterColumns", "spec.additionalPrinterColumns"),
        ("selectableFields", "spec.selectableFields"),
    ];
    let alike = |part: &str| versions.windows(2).all(|pair| pair[0].get(part) == pair[1].get(part));
    // Selectable fields are lifted only along with the schema that they speak of.
    parts.into_iter().filter(|(part, _)| alike(part) && (*part != "selectableFields" || alike("schema"))).collect()
}

fn check_version(version: &Value, path: &str, causes: &mut Vec<Cause>) {
    let name = json::text(version, &["name"]);
    if let Some(problem) = label_problem(name) {
        causes.push(invalid(format!("{path}.name"), &name.into(), &problem));
    }
    if let Some(warning) = version.get("deprecationWarning") {
        let field = format!("{path}.deprecationWarning");
        if version.get("deprecated") != Some(&Value::Bool(true)) {
            causes.push(invalid(field, warning, "can only be set for deprecated versions"));
        } else if warning.as_str().is_some_and(|w| w.len() > 256) {
            causes.push(invalid(field, warning, "must be <= 256 characters long"));
        } else if warning == "" {
            causes.push(invalid(field, warning, "must not be an empty string"));
        }
    }
    if let Some(schema) = json::at(version, &["schema", "openAPIV3Schema"]) {
        let status = json::at(version, &["subresources", "status"]).is_some();
        causes.extend(schema::check(schema, &format!("{path}.schema.openAPIV3Schema"), status));
    }
    if let Some(scale) = json::at(version, &["subresources", "scale"]) {
        check_scale(scale, &format!("{path}.subresources.scale"), causes);
    }
    for (i, column) in json::list(version, &["additionalPrinterColumns"]).iter().enumerate() {
        check_column(column, &format!("{path}.additionalPrinterColumns[{i}]"), causes);
    }
    let fields = json::list(version, &["selectableFields"]);
    let mut seen = BTreeSet::new();
    for (i, field) in fields.iter().enumerate() {
        let here = format!("{path}.selectableFields[{i}].jsonPath");
        let text = json::text(field, &["jsonPath"]);
        if text.is_empty() {
            causes.push(required(here, ""));
            continue;
        }
        let root = json::at(version, &["schema", "openAPIV3Schema"]).unwrap_or(&Value::Null);
        match schema_at(root, text) {
            None => causes.push(invalid(here, &text.into(), "is an invalid path: does not refer to a valid field")),
            Some(_) if text.starts_with(".metadata") => {
                causes.push(invalid(here, &text.into(), "must not point to fields in metadata"));
            }
            Some(schema) if !matches!(json::text(schema, &["type"]), "string" | "boolean" | "integer") => {
                causes.push(invalid(here, &text.into(), "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."));
            }
            Some(_) if !seen.insert(text) => {
                causes.push(Cause::new("FieldValueDuplicate", here, format!("Duplicate value: {}", quoted(text))));
            }
            Some(_) => {}
        }
    }
    if seen.len() > SELECTABLE_FIELDS_MAX {
        causes.push(Cause::new(
            "FieldValueTooMany",
            format!("{path}.selectableFields"),
            format!("Too many: {}: must have at most {SELECTABLE_FIELDS_MAX} items", seen.len()),
        ));
    }
}

/// The schema that a path of fields (`.spec.size`) leads to.
pub(crate) fn schema_at<'a>(schema: &'a Value, path: &str) -> Option<&'a Value> {
    let steps = path.strip_prefix('.')?;
    steps.split('.').try_fold(schema, |schema, step| {
        json::at(schema, &["properties", step]).or_else(|| schema.get("additionalProperties").filter(|a| a.is_object()))
    })
}

fn check_scale(scale: &Value, path: &str, causes: &mut Vec<Cause>) {
    let simple = |t: &str| {
        t.strip_prefix('.').is_some_and(|rest| rest.split('.').all(|p| !p.is_empty() && !p.contains(['[', ']'])))
    };
    for (key, root) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
        let text = json::text(scale, &[key]);
        let field = format!("{path}.{key}");
        if text.is_empty() {
            causes.push(required(field, ""));
        } else if !simple(text) {
            causes.push(invalid(field, &text.into(), "should be a simple json path"));
        } else if !text.starts_with(root) {
            causes.push(invalid(
                field,
                &text.into(),
                &format!("should be a json path under {}", root.trim_end_matches('.')),
            ));
        }
    }
    let selector = json::text(scale, &["labelSelectorPath"]);
    if !selector.is_empty() && !selector.starts_with(".status.") && !selector.starts_with(".spec.") {
        causes.push(invalid(
            format!("{path}.labelSelectorPath"),
            &selector.into(),
            "should be a json path under either .status or .spec",
        ));
    }
}

fn check_column(column: &Value, path: &str, causes: &mut Vec<Cause>) {
    const TYPES: &str = "boolean,date,integer,number,string";
    const FORMATS: &[&str] = &["int32", "int64", "float", "double", "byte", "date", "date-time", "password"];
    if json::text(column, &["name"]).is_empty() {
        causes.push(required(format!("{path}.name"), ""));
    }
    let kind = json::text(column, &["type"]);
    if kind.is_empty() {
        causes.push(required(format!("{path}.type"), &format!("must be one of {TYPES}")));
    } else if !TYPES.split(',').any(|t| t == kind) {
        causes.push(invalid(format!("{path}.type"), &kind.into(), &format!("must be one of {TYPES}")));
    }
    let format = json::text(column, &["format"]);
    if !format.is_empty() && !FORMATS.contains(&format) {
        let mut sorted = FORMATS.to_vec();
        sorted.sort_unstable();
        causes.push(invalid(format!("{path}.format"), &format.into(), &format!("must be one of {}", sorted.join(","))));
    }
    if json::text(column, &["jsonPath"]).is_empty() {
        causes.push(required(format!("{path}.JSONPath"), ""));
    }
}

/// The status of a definition: names are accepted, the resource is served at once; what was stored stays known.
pub fn status(definition: &Value, old: Option<&Value>, time: &str) -> Value {
    let mut stored: Vec<Value> = old.map(|o| json::list(o, &["status", "storedVersions"]).to_vec()).unwrap_or_default();
    for version in json::list(definition, &["spec", "versions"]) {
        let name = &version["name"];
        if version.get("storage") == Some(&Value::Bool(true)) && !stored.contains(name) {
            stored.push(name.clone());
        }
    }
    let condition = |kind: &str, reason: &str, message: &str| {
        let before = old.and_then(|o| {
            json::list(o, &["status", "conditions"])
                .iter()
                .find(|c| c["type"] == kind && c["status"] == "True")
                .cloned()
        });
        before.unwrap_or_else(|| {
            json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": time})
        })
    };
    json!({
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "acceptedNames": json::at(definition, &["spec", "names"]).cloned().unwrap_or(Value::Null),
        "storedVersions": stored,
    })
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod deployed;
