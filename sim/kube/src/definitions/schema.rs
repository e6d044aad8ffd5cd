//! Schemas of definitions: that they are structural, that their defaults hold, and that their rules compile and are cheap.

use serde_json::Value;
use sim_kube_cel::pattern;

use super::{forbidden, invalid, required, unsupported};
use crate::{
    json,
    schema::{Compiled, DEPTH_MAX, REQUEST_BYTES_MAX, Rules},
    status::Cause,
};

/// Most a single rule may be estimated to cost.
pub const RULE_COST_MAX: u64 = 10_000_000;
/// Most all rules of a schema together may be estimated to cost.
pub const SCHEMA_COST_MAX: u64 = 100_000_000;

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Field,
    Item,
}

/// What is wrong with a schema.
pub(super) fn check(schema: &Value, path: &str, status: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    if status && json::text(schema, &["type"]) != "object" {
        causes.push(invalid(
            format!("{path}.type"),
            &json::text(schema, &["type"]).into(),
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled",
        ));
    }
    if schema.get("nullable") == Some(&Value::Bool(true)) {
        causes.push(forbidden(format!("{path}.nullable"), "nullable cannot be true at the root"));
    }
    let mut structural = Vec::new();
    invariants(schema, Level::Root, path, 0, &mut structural);
    structural.sort_by_key(|c| format!("{}: {}", c.field, c.message));
    let good = structural.is_empty();
    causes.extend(structural);
    if good {
        defaults(schema, path, 0, &mut causes);
    }
    let good = causes.is_empty();
    keywords(schema, path, 0, &mut causes);
    if good && causes.is_empty() {
        let compiled = Compiled::new(schema);
        if let Some(rules) = compiled.rules() {
            let mut costs = Costs { causes: &mut causes, total: 0, expensive: Vec::new() };
            costs.at(schema, rules, path, Some(1), None, 0);
            let (total, mut expensive) = (costs.total, costs.expensive);
            if total > SCHEMA_COST_MAX {
                expensive.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
                for (_, path) in expensive.into_iter().take(4) {
                    let text =
                        "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
                    causes.push(forbidden(path, text));
                }
                let name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
                causes.push(forbidden(path, &over_budget(name, total, SCHEMA_COST_MAX)));
            }
        }
    }
    causes
}

fn flag(schema: &Value, key: &str) -> bool {
    schema.get(key) == Some(&Value::Bool(true))
}

/// That the schema is structural.
fn invariants(schema: &Value, level: Level, path: &str, depth: usize, causes: &mut Vec<Cause>) {
    if depth > DEPTH_MAX {
        return;
    }
    let kind = json::text(schema, &["type"]);
    match schema.get("items").filter(|i| i.is_object()) {
        Some(items) => invariants(items, Level::Item, &format!("{path}.items"), depth + 1, causes),
        None if kind == "array" => causes.push(required(format!("{path}.items"), "must be specified")),
        None => {}
    }
    for (key, inner) in json::map(schema, &["properties"]).into_iter().flatten() {
        let here = format!("{path}.properties[{key}]");
        if level == Level::Root && key == "metadata" {
            let only = ["name", "generateName"];
            let named = json::map(inner, &["properties"]).is_none_or(|p| p.keys().all(|k| only.contains(&k.as_str())));
            let plain = inner.as_object().is_some_and(|m| {
                m.keys().all(|k| matches!(k.as_str(), "type" | "properties" | "description" | "title"))
            });
            if json::text(inner, &["type"]) != "object" {
                causes.push(invalid(format!("{here}.type"), &json::text(inner, &["type"]).into(), "must be object"));
            } else if !named || !plain {
                causes.push(forbidden(
                    here,
                    "must not specify anything other than name and generateName, but metadata is implicitly specified",
                ));
            }
            continue;
        }
        let meta = level == Level::Root || flag(schema, "x-kubernetes-embedded-resource");
        if meta && matches!(key.as_str(), "kind" | "apiVersion") && json::text(inner, &["type"]) != "string" {
            causes.push(invalid(format!("{here}.type"), &json::text(inner, &["type"]).into(), "must be string"));
        }
        invariants(inner, Level::Field, &here, depth + 1, causes);
    }
    if let Some(additional) = schema.get("additionalProperties") {
        if level == Level::Root {
            causes.push(forbidden(format!("{path}.additionalProperties"), "must not be used at the root"));
        }
        if additional.is_object() {
            invariants(additional, Level::Field, &format!("{path}.additionalProperties"), depth + 1, causes);
        }
    }
    let (free, either) =
        (flag(schema, "x-kubernetes-preserve-unknown-fields"), flag(schema, "x-kubernetes-int-or-string"));
    if either && free {
        let text = "must be false if x-kubernetes-int-or-string is true";
        causes.push(invalid(format!("{path}.x-kubernetes-preserve-unknown-fields"), &true.into(), text));
    }
    if either && flag(schema, "x-kubernetes-embedded-resource") {
        let text = "must be false if x-kubernetes-int-or-string is true";
        causes.push(invalid(format!("{path}.x-kubernetes-embedded-resource"), &true.into(), text));
    }
    nested_all(schema, either, path, depth, causes);
    if flag(schema, "x-kubernetes-embedded-resource") {
        let text = "must be object if x-kubernetes-embedded-resource is true";
        match kind {
            "object" => {}
            "" => causes.push(required(format!("{path}.type"), text)),
            other => causes.push(invalid(format!("{path}.type"), &other.into(), text)),
        }
        if schema.get("additionalProperties").is_some() {
            let text = "must not be used if x-kubernetes-embedded-resource is set";
            causes.push(forbidden(format!("{path}.additionalProperties"), text));
        }
        if !free && json::map(schema, &["properties"]).is_none_or(serde_json::Map::is_empty) {
            causes.push(required(
                format!("{path}.properties"),
                "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
            ));
        }
    } else if kind.is_empty() && !either && !free {
        let text = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        causes.push(required(format!("{path}.type"), text));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        causes.push(invalid(format!("{path}.type"), &kind.into(), "must be object at the root"));
    }
    completeness(schema, schema, path, depth, causes);
}

/// `anyOf: [{type: integer}, {type: string}]`, the one place where types may stand inside.
fn int_or_string(list: Option<&Value>) -> bool {
    let types: Vec<&str> =
        list.and_then(Value::as_array).into_iter().flatten().map(|s| json::text(s, &["type"])).collect();
    types == ["integer", "string"]
}

fn nested_all(schema: &Value, either: bool, path: &str, depth: usize, causes: &mut Vec<Cause>) {
    for key in ["anyOf", "allOf", "oneOf"] {
        if key == "anyOf" && either && int_or_string(schema.get(key)) {
            continue;
        }
        for (i, inner) in json::list(schema, &[key]).iter().enumerate() {
            let skip = key == "allOf" && i == 0 && either && int_or_string(inner.get("anyOf"));
            nested(inner, skip, &format!("{path}.{key}[{i}]"), depth + 1, causes);
        }
    }
    if let Some(not) = schema.get("not").filter(|n| n.is_object()) {
        nested(not, false, &format!("{path}.not"), depth + 1, causes);
    }
    if let Some(text) = schema.get("pattern").and_then(Value::as_str)
        && let Err(problem) = pattern::compile(text)
    {
        causes.push(invalid(
            format!("{path}.pattern"),
            &text.into(),
            &format!("must be a valid regular expression, but isn't: {problem}"),
        ));
    }
}

/// Inside `anyOf` and its kin only values are restricted; nothing is specified.
fn nested(schema: &Value, skip_any_of: bool, path: &str, depth: usize, causes: &mut Vec<Cause>) {
    if depth > DEPTH_MAX {
        return;
    }
    nested_all(schema, skip_any_of, path, depth, causes);
    if let Some(items) = schema.get("items").filter(|i| i.is_object()) {
        nested(items, false, &format!("{path}.items"), depth + 1, causes);
    }
    for (key, inner) in json::map(schema, &["properties"]).into_iter().flatten() {
        nested(inner, false, &format!("{path}.properties[{key}]"), depth + 1, causes);
    }
    for (key, text) in [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        ("x-kubernetes-embedded-resource", "must be false to be structural"),
        ("x-kubernetes-int-or-string", "must be false to be structural"),
        ("x-kubernetes-list-map-keys", "must be empty to be structural"),
        ("x-kubernetes-list-type", "must be undefined to be structural"),
        ("x-kubernetes-map-type", "must be undefined to be structural"),
        ("x-kubernetes-validations", "must be empty to be structural"),
    ] {
        if schema.get(key).is_some_and(|v| !v.is_null() && v != &Value::Bool(false) && v != "") {
            causes.push(forbidden(format!("{path}.{key}"), text));
        }
    }
    if json::at(schema, &["properties", "metadata"]).is_some() {
        causes.push(forbidden(format!("{path}.properties[metadata]"), "must not be specified in a nested context"));
    }
}

/// What is spoken of inside must be specified outside.
fn completeness(schema: &Value, outside: &Value, path: &str, depth: usize, causes: &mut Vec<Cause>) {
    let mut check = |inner: &Value| missing(inner, outside, path, depth, causes);
    for key in ["anyOf", "allOf", "oneOf"] {
        json::list(schema, &[key]).iter().for_each(&mut check);
    }
    if let Some(not) = schema.get("not") {
        check(not);
    }
}

fn missing(inner: &Value, outside: &Value, path: &str, depth: usize, causes: &mut Vec<Cause>) {
    if depth > DEPTH_MAX {
        return;
    }
    for (key, value) in json::map(inner, &["properties"]).into_iter().flatten() {
        let here = format!("{path}.properties[{key}]");
        match json::at(outside, &["properties", key]) {
            Some(outside) => missing(value, outside, &here, depth + 1, causes),
            None => causes.push(required(here, "must be specified")),
        }
    }
    if let Some(items) = inner.get("items") {
        match outside.get("items") {
            Some(outside) => missing(items, outside, &format!("{path}.items"), depth + 1, causes),
            None => causes.push(required(format!("{path}.items"), "must be specified")),
        }
    }
    completeness(inner, outside, path, depth + 1, causes);
}

/// Defaults must be what the schema lets through.
fn defaults(schema: &Value, path: &str, depth: usize, causes: &mut Vec<Cause>) {
    if depth > DEPTH_MAX {
        return;
    }
    if let Some(default) = schema.get("default").filter(|d| !d.is_null()) {
        let here = format!("{path}.default");
        let compiled = Compiled::part(schema);
        let mut pruned = default.clone();
        if !compiled.prune(&mut pruned).is_empty() {
            causes.push(invalid(here.clone(), default, "must not have unknown fields"));
        }
        causes.extend(compiled.validate(default, None).into_iter().map(|cause| {
            let field = match cause.field.as_str() {
                "<nil>" => here.clone(),
                field => format!("{here}.{field}"),
            };
            Cause { field, ..cause }
        }));
    }
    for (key, inner) in json::map(schema, &["properties"]).into_iter().flatten() {
        defaults(inner, &format!("{path}.properties[{key}]"), depth + 1, causes);
    }
    if let Some(items) = schema.get("items") {
        defaults(items, &format!("{path}.items"), depth + 1, causes);
    }
}

/// Keywords that are refused, and those that must fit each other.
fn keywords(schema: &Value, path: &str, depth: usize, causes: &mut Vec<Cause>) {
    if depth > DEPTH_MAX {
        return;
    }
    let kind = json::text(schema, &["type"]);
    if !matches!(kind, "" | "array" | "boolean" | "integer" | "number" | "object" | "string") {
        let known = ["array", "boolean", "integer", "number", "object", "string"];
        causes.push(unsupported(format!("{path}.type"), kind, &known));
    }
    for key in ["definitions", "dependencies", "id", "patternProperties", "additionalItems", "$ref"] {
        if schema.get(key).is_some_and(|v| !v.is_null()) {
            causes.push(forbidden(format!("{path}.{key}"), &format!("{key} is not supported")));
        }
    }
    if flag(schema, "uniqueItems") {
        let text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        causes.push(forbidden(format!("{path}.uniqueItems"), text));
    }
    if let Some(additional) = schema.get("additionalProperties") {
        let some = json::map(schema, &["properties"]).is_some_and(|p| !p.is_empty());
        if some && additional != &Value::Bool(true) {
            let text = "additionalProperties and properties are mutual exclusive";
            causes.push(forbidden(format!("{path}.additionalProperties"), text));
        }
        if additional.is_object() {
            keywords(additional, &format!("{path}.additionalProperties"), depth + 1, causes);
        }
    }
    for (key, inner) in json::map(schema, &["properties"]).into_iter().flatten() {
        keywords(inner, &format!("{path}.properties[{key}]"), depth + 1, causes);
    }
    if let Some(items) = schema.get("items") {
        if items.is_array() {
            causes.push(forbidden(format!("{path}.items"), "items must be a schema object and not an array"));
        }
        keywords(items, &format!("{path}.items"), depth + 1, causes);
    }
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        let here = format!("{path}.x-kubernetes-preserve-unknown-fields");
        causes.push(invalid(here, &false.into(), "must be true or undefined"));
    }
    lists(schema, kind, path, causes);
    for (i, rule) in json::list(schema, &["x-kubernetes-validations"]).iter().enumerate() {
        rule_fields(rule, schema, &format!("{path}.x-kubernetes-validations[{i}]"), causes);
    }
}

fn lists(schema: &Value, kind: &str, path: &str, causes: &mut Vec<Cause>) {
    let wrong_kind = |wanted: &str, key: &str, causes: &mut Vec<Cause>| {
        let text = format!("must be {wanted} if {key} is specified");
        if kind.is_empty() {
            causes.push(required(format!("{path}.type"), &text));
        } else if kind != wanted {
            causes.push(invalid(format!("{path}.type"), &kind.into(), &text));
        }
    };
    if let Some(map_type) = schema.get("x-kubernetes-map-type").and_then(Value::as_str) {
        wrong_kind("object", "x-kubernetes-map-type", causes);
        if !matches!(map_type, "atomic" | "granular") {
            causes.push(unsupported(format!("{path}.x-kubernetes-map-type"), map_type, &["atomic", "granular"]));
        }
    }
    let keys = json::list(schema, &["x-kubernetes-list-map-keys"]);
    let list_type = schema.get("x-kubernetes-list-type").and_then(Value::as_str);
    let items = schema.get("items").unwrap_or(&Value::Null);
    if let Some(list_type) = list_type {
        wrong_kind("array", "x-kubernetes-list-type", causes);
        if !matches!(list_type, "atomic" | "set" | "map") {
            causes.push(unsupported(format!("{path}.x-kubernetes-list-type"), list_type, &["atomic", "map", "set"]));
        }
        if list_type == "set"
            && json::text(items, &["type"]) == "object"
            && json::text(items, &["x-kubernetes-map-type"]) != "atomic"
        {
            let text = "must be atomic as item of a list with x-kubernetes-list-type=set";
            let found = items.get("x-kubernetes-map-type").unwrap_or(&Value::Null);
            causes.push(invalid(format!("{path}.items.x-kubernetes-map-type"), found, text));
        }
        if list_type != "atomic" && flag(items, "nullable") {
            let text = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
            causes.push(forbidden(format!("{path}.items.nullable"), &text));
        }
    }
    let keys_path = format!("{path}.x-kubernetes-list-map-keys");
    if !keys.is_empty() && list_type != Some("map") {
        let text = "must be map if x-kubernetes-list-map-keys is non-empty";
        let here = format!("{path}.x-kubernetes-list-type");
        causes.push(list_type.map_or_else(|| required(here.clone(), text), |t| invalid(here.clone(), &t.into(), text)));
    }
    if list_type != Some("map") {
        return;
    }
    if keys.is_empty() {
        causes.push(required(keys_path, "must not be empty if x-kubernetes-list-type is map"));
        return;
    }
    if items.is_null() {
        causes.push(required(format!("{path}.items"), "must have a schema if x-kubernetes-list-type is map"));
    } else if json::text(items, &["type"]) != "object" {
        let found = json::text(items, &["type"]);
        let text = "must be object if parent array's x-kubernetes-list-type is map";
        causes.push(invalid(format!("{path}.items.type"), &found.into(), text));
    } else {
        for (i, key) in keys.iter().enumerate() {
            let name = key.as_str().unwrap_or("");
            match json::at(items, &["properties", name]) {
                None => {
                    let text = "entries must all be names of item properties";
                    causes.push(invalid(keys_path.clone(), &Value::Array(keys.to_vec()), text));
                }
                Some(property) => {
                    if matches!(json::text(property, &["type"]), "array" | "object") {
                        let text = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                        let here = format!("{path}.items.properties[{name}].type");
                        causes.push(invalid(here, &json::text(items, &["type"]).into(), text));
                    }
                    let here = format!("{path}.items.properties[{name}]");
                    let is_required = json::list(items, &["required"]).contains(key);
                    if !is_required && property.get("default").is_none() {
                        let text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                        causes.push(required(format!("{here}.default"), text));
                    }
                    if flag(property, "nullable") {
                        let text = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                        causes.push(forbidden(format!("{here}.nullable"), text));
                    }
                }
            }
            if keys[..i].contains(key) {
                let text = "must not contain duplicate entries";
                causes.push(invalid(keys_path.clone(), &Value::Array(keys.to_vec()), text));
            }
        }
    }
}

fn rule_fields(rule: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let text = |key: &str| json::text(rule, &[key]);
    let breaks = |t: &str| t.trim().contains(['\n', '\r']);
    if text("rule").trim().is_empty() {
        causes.push(required(format!("{path}.rule"), "rule is not specified"));
    } else if !text("message").is_empty() && text("message").trim().is_empty() {
        causes.push(invalid(format!("{path}.message"), &text("message").into(), "must be non-empty if specified"));
    } else if breaks(text("message")) {
        causes.push(invalid(format!("{path}.message"), &text("message").into(), "must not contain line breaks"));
    } else if breaks(text("rule")) && text("message").trim().is_empty() {
        causes.push(required(format!("{path}.message"), "message must be specified if rule contains line breaks"));
    }
    if !text("messageExpression").is_empty() && text("messageExpression").trim().is_empty() {
        causes.push(required(format!("{path}.messageExpression"), "messageExpression must be non-empty if specified"));
    }
    let reasons = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    if rule.get("reason").is_some() && !reasons.contains(&text("reason")) {
        causes.push(unsupported(format!("{path}.reason"), text("reason"), &reasons));
    }
    let field_path = text("fieldPath");
    if !field_path.is_empty() {
        if field_path.trim().is_empty() {
            causes.push(invalid(format!("{path}.fieldPath"), &field_path.into(), "must be non-empty if specified"));
        }
        if super::schema_at(schema, field_path).is_none() && !field_path.contains('[') {
            causes.push(invalid(format!("{path}.fieldPath"), &field_path.into(), "must be a valid path"));
        }
    }
}

fn over_budget(name: &str, cost: u64, limit: u64) -> String {
    let times = cost as f64 / limit as f64;
    let factor = if times > 100.0 {
        "more than 100x".to_owned()
    } else if times < 1.5 {
        format!("{times:.6}x")
    } else {
        format!("{times:.1}x")
    };
    format!(
        "{name} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// Walks the compiled rules: what does not compile, what costs too much, what speaks of an old self it cannot know.
struct Costs<'c> {
    causes: &'c mut Vec<Cause>,
    total: u64,
    expensive: Vec<(u64, String)>,
}

impl Costs<'_> {
    /// `times` is how often the node can be there; `apart` the nearest list whose items cannot be told apart.
    fn at(&mut self, schema: &Value, rules: &Rules, path: &str, times: Option<u64>, apart: Option<&str>, depth: usize) {
        if depth > DEPTH_MAX {
            return;
        }
        let most = times.unwrap_or(REQUEST_BYTES_MAX / (rules.serialized_min + 1));
        for (i, rule) in rules.rules.iter().enumerate() {
            let here = format!("{path}.x-kubernetes-validations[{i}]");
            let written = &json::list(schema, &["x-kubernetes-validations"])[i];
            match &rule.program {
                Ok(program) => self.observe(&format!("{here}.rule"), "estimated rule cost", program.cost_max(), most),
                Err(problem) => self.causes.push(invalid(format!("{here}.rule"), written, problem)),
            }
            match &rule.message_program {
                Some(Ok(program)) => {
                    let name = "estimated messageExpression cost";
                    self.observe(&format!("{here}.messageExpression"), name, program.cost_max(), 1);
                }
                Some(Err(problem)) => self.causes.push(invalid(format!("{here}.messageExpression"), written, problem)),
                None => {}
            }
            if rule.uses_old() {
                if let Some(apart) = apart {
                    let text =
                        format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {apart}");
                    let value = rule.text.as_str().into();
                    self.causes.push(invalid(format!("{here}.rule"), &value, &text));
                }
            } else if let (Some(optional), true) = (rule.optional_old, rule.program.is_ok()) {
                let text = "may not be set if oldSelf is not used in rule";
                self.causes.push(invalid(format!("{here}.optionalOldSelf"), &optional.into(), text));
            }
        }
        let count = |key: &str| schema.get(key).and_then(Value::as_u64);
        for (key, inner) in &rules.properties {
            if let Some(schema) = json::at(schema, &["properties", key]) {
                self.at(schema, inner, &format!("{path}.properties[{key}]"), times, apart, depth + 1);
            }
        }
        let grown = |by: Option<u64>| times.zip(by).map(|(a, b)| a.saturating_mul(b));
        if let (Some(inner), Some(values)) = (&rules.additional, schema.get("additionalProperties")) {
            let times = grown(count("maxProperties"));
            self.at(values, inner, &format!("{path}.additionalProperties"), times, apart, depth + 1);
        }
        if let (Some(inner), Some(items)) = (&rules.items, schema.get("items")) {
            let by_keys = json::text(schema, &["x-kubernetes-list-type"]) == "map";
            let apart = if by_keys { apart } else { apart.or(Some(path)) };
            self.at(items, inner, &format!("{path}.items"), grown(count("maxItems")), apart, depth + 1);
        }
    }

    fn observe(&mut self, path: &str, name: &str, cost: u64, times: u64) {
        let cost = cost.saturating_mul(times);
        if cost > RULE_COST_MAX {
            self.causes.push(forbidden(path, &over_budget(name, cost, RULE_COST_MAX)));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_COST_MAX / 100 {
            self.expensive.push((cost, path.to_owned()));
        }
    }
}
