//! The keywords, with the texts of the real server's validator.

use serde_json::{Map, Value};

use super::{
    CAUSES_MAX, DEPTH_MAX, join,
    node::{Additional, Bound, Kind, Node},
};
use crate::status::Cause;

/// The field that a cause without a place of its own names.
pub(crate) const NOWHERE: &str = "<nil>";

/// What the keywords object to; what equals its old value is tolerated.
pub(super) fn validate(object: &Value, old: Option<&Value>, root: &Node) -> Vec<Cause> {
    let mut walk = Walk { causes: Vec::new() };
    walk.at(object, old, root, "", 0);
    walk.causes
}

/// The JSON type of a value, as messages name it.
pub(crate) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A number as Go prints it with `%v`.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e21).contains(&size) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{value}")
}

/// A value as `Invalid value:` shows it.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Number(n) if n.is_f64() => number(n.as_f64().unwrap_or(0.0)),
        other => other.to_string(),
    }
}

/// A text as Go's `%q` shows it.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn plural(count: u64, unit: &str) -> String {
    if count == 1 { unit.to_owned() } else { format!("{unit}s") }
}

fn is_whole(value: &Value) -> bool {
    value.as_f64().is_some_and(|f| f.fract() == 0.0)
}

struct Walk {
    causes: Vec<Cause>,
}

impl Walk {
    fn push(&mut self, reason: &'static str, path: &str, message: String) {
        if self.causes.len() < CAUSES_MAX {
            let field = path.strip_prefix('.').unwrap_or(path);
            self.causes.push(Cause::new(reason, if field.is_empty() { NOWHERE } else { field }, message));
        }
    }

    fn invalid(&mut self, path: &str, value: &Value, text: String) {
        self.push("FieldValueInvalid", path, format!("Invalid value: {}: {text}", shown(value)));
    }

    /// A cause about the whole: the real server names no field.
    fn about_whole(&mut self, text: String) {
        self.push("FieldValueInvalid", "", format!("Invalid value: \"\": {text}"));
    }

    /// Checks a value; returns how many keywords it met (what the best of several alternatives is chosen by).
    fn at(&mut self, value: &Value, old: Option<&Value>, node: &Node, path: &str, depth: usize) -> usize {
        if depth > DEPTH_MAX {
            return 0;
        }
        let before = self.causes.len();
        let met = self.keywords(value, old, node, path, depth);
        if self.causes.len() > before && old == Some(value) {
            self.causes.truncate(before);
        }
        met
    }

    fn keywords(&mut self, value: &Value, old: Option<&Value>, node: &Node, path: &str, depth: usize) -> usize {
        let mut met = 0;
        if value.is_null() {
            if (node.kind.is_some() || node.int_or_string) && !node.nullable {
                self.wrong_type(path, node, "null");
            } else {
                met += 1;
            }
            self.one_of_enum(value, node, path);
            return met;
        }
        let fits = match (node.int_or_string, node.kind) {
            (true, _) => value.is_string() || is_whole(value),
            (false, Some(Kind::Integer)) => is_whole(value),
            (false, Some(Kind::Number)) => value.is_number(),
            (false, Some(kind)) => type_of(value) == kind.name(),
            (false, None) => true,
        };
        if fits {
            met += 1;
        } else {
            let found = type_of(value);
            self.wrong_type(path, node, found);
        }
        met += self.alternatives(value, old, node, path, depth);
        match value {
            Value::String(text) => met += usize::from(self.text(text, value, node, path)),
            Value::Number(_) => met += usize::from(self.number(value, node, path)),
            Value::Array(items) => met += self.list(items, old, node, path, depth),
            _ => {}
        }
        met += usize::from(self.one_of_enum(value, node, path));
        if let Value::Object(map) = value {
            met += self.map(map, old, node, path, depth);
        }
        met
    }

    fn wrong_type(&mut self, path: &str, node: &Node, found: &str) {
        let wanted = if node.int_or_string { "integer,string" } else { node.type_name() };
        self.push(
            "FieldValueTypeInvalid",
            path,
            format!("Invalid value: \"{found}\": {path} in body must be of type {wanted}: \"{found}\""),
        );
    }

    fn one_of_enum(&mut self, value: &Value, node: &Node, path: &str) -> bool {
        if node.enumeration.is_empty() || node.enumeration.iter().any(|e| same(e, value)) {
            return true;
        }
        let list: Vec<String> = node
            .enumeration
            .iter()
            .map(|e| quoted(e.as_str().map_or_else(|| e.to_string(), str::to_owned).as_str()))
            .collect();
        self.push(
            "FieldValueNotSupported",
            path,
            format!("Unsupported value: {}: supported values: {}", shown(value), list.join(", ")),
        );
        false
    }

    fn text(&mut self, text: &str, value: &Value, node: &Node, path: &str) -> bool {
        let before = self.causes.len();
        let length = text.chars().count() as u64;
        if let Some(max) = node.max_length.filter(|max| length > *max) {
            self.push(
                "FieldValueTooLong",
                path,
                format!("Too long: may not be more than {max} {}", plural(max, "byte")),
            );
        }
        if let Some(min) = node.min_length.filter(|min| length < *min) {
            self.invalid(path, value, format!("{path} in body should be at least {min} chars long"));
        }
        if let Some(pattern) = &node.pattern {
            match &pattern.regex {
                Some(regex) if regex.is_match(text) => {}
                Some(_) => self.invalid(path, value, format!("{path} in body should match '{}'", pattern.text)),
                None => self.invalid(
                    path,
                    value,
                    format!("{path} in body should match '{}, but pattern is invalid'", pattern.text),
                ),
            }
        }
        if node.format.is_some_and(|f| !f.accepts(text)) {
            self.push(
                "FieldValueTypeInvalid",
                path,
                format!(
                    "Invalid value: {}: {path} in body must be of type {}: {}",
                    shown(value),
                    node.format_name,
                    quoted(text)
                ),
            );
        }
        self.causes.len() == before
    }

    fn number(&mut self, value: &Value, node: &Node, path: &str) -> bool {
        let before = self.causes.len();
        let n = value.as_f64().unwrap_or(0.0);
        if let Some(factor) = node.multiple_of {
            if factor <= 0.0 {
                self.about_whole(format!("factor MultipleOf declared for {path} must be positive: {}", number(factor)));
            } else if (n / factor).fract() != 0.0 {
                self.invalid(path, value, format!("{path} in body should be a multiple of {}", number(factor)));
            }
        }
        if let Some(Bound { value: max, exclusive }) = node.maximum
            && (n > max || (exclusive && n >= max))
        {
            let or_equal = if exclusive { "" } else { "or equal to " };
            self.invalid(path, value, format!("{path} in body should be less than {or_equal}{}", number(max)));
        }
        if let Some(Bound { value: min, exclusive }) = node.minimum
            && (n < min || (exclusive && n <= min))
        {
            let or_equal = if exclusive { "" } else { "or equal to " };
            self.invalid(path, value, format!("{path} in body should be greater than {or_equal}{}", number(min)));
        }
        self.causes.len() == before
    }

    fn list(&mut self, items: &[Value], old: Option<&Value>, node: &Node, path: &str, depth: usize) -> usize {
        let mut met = 1;
        if let Some(inner) = &node.items {
            for (i, item) in items.iter().enumerate() {
                met += self.at(item, node.correlate(item, old), inner, &format!("{path}[{i}]"), depth + 1);
            }
        }
        let count = items.len() as u64;
        if let Some(min) = node.min_items.filter(|min| count < *min) {
            self.invalid(path, &count.into(), format!("{path} in body should have at least {min} items"));
        }
        if let Some(max) = node.max_items.filter(|max| count > *max) {
            self.push(
                "FieldValueTooMany",
                path,
                format!("Too many: {count}: must have at most {max} {}", plural(max, "item")),
            );
        }
        met
    }

    fn map(&mut self, map: &Map<String, Value>, old: Option<&Value>, node: &Node, path: &str, depth: usize) -> usize {
        let mut met = 1;
        let count = map.len() as u64;
        if let Some(min) = node.min_properties.filter(|min| count < *min) {
            self.invalid(path, &count.into(), format!("{path} in body should have at least {min} properties"));
        }
        if let Some(max) = node.max_properties.filter(|max| count > *max) {
            self.push(
                "FieldValueTooMany",
                path,
                format!("Too many: {count}: must have at most {max} {}", plural(max, "item")),
            );
        }
        for (key, child) in map {
            let Some(inner) = node.entry(key) else {
                if matches!(node.additional, Additional::Bool(false)) {
                    self.invalid(path, &key.as_str().into(), format!("{path}.{key} in body is a forbidden property"));
                }
                continue;
            };
            if inner.is_free() {
                continue;
            }
            // At the root, what the server itself sets cannot have been wrong before.
            let old = old.filter(|_| !(path.is_empty() && matches!(key.as_str(), "apiVersion" | "kind")));
            met += self.at(child, old.and_then(|o| o.get(key)), inner, &join(path, key), depth + 1);
        }
        for required in node.required.iter().filter(|r| !map.contains_key(*r)) {
            self.push("FieldValueRequired", &format!("{path}.{required}"), "Required value".into());
        }
        met
    }

    /// `anyOf`, `oneOf`, `allOf`, `not`.
    fn alternatives(&mut self, value: &Value, old: Option<&Value>, node: &Node, path: &str, depth: usize) -> usize {
        let mut met = 0;
        let mut attempt = |node: &Node| {
            let mut walk = Walk { causes: Vec::new() };
            let met = walk.at(value, old, node, path, depth + 1);
            (walk.causes, met)
        };
        if !node.any_of.is_empty() {
            let results: Vec<_> = node.any_of.iter().map(&mut attempt).collect();
            if !results.iter().any(|(causes, _)| causes.is_empty()) {
                self.about_whole(format!("{} must validate at least one schema (anyOf)", quoted(path)));
                self.best(results);
            } else {
                met += 1;
            }
        }
        if !node.one_of.is_empty() {
            let results: Vec<_> = node.one_of.iter().map(&mut attempt).collect();
            let valid = results.iter().filter(|(causes, _)| causes.is_empty()).count();
            if valid == 1 {
                met += 1;
            } else {
                let found =
                    if valid == 0 { "Found none valid".into() } else { format!("Found {valid} valid alternatives") };
                self.about_whole(format!("{} must validate one and only one schema (oneOf). {found}", quoted(path)));
                if valid == 0 {
                    self.best(results);
                }
            }
        }
        if !node.all_of.is_empty() {
            let results: Vec<_> = node.all_of.iter().map(&mut attempt).collect();
            let valid = results.iter().filter(|(causes, _)| causes.is_empty()).count();
            self.causes.extend(results.into_iter().flat_map(|(causes, _)| causes));
            if valid == node.all_of.len() {
                met += 1;
            } else {
                let none = if valid == 0 { ". None validated" } else { "" };
                self.about_whole(format!("{} must validate all the schemas (allOf){none}", quoted(path)));
            }
        }
        if let Some(not) = &node.not
            && attempt(not).0.is_empty()
        {
            self.about_whole(format!("{} must not validate the schema (not)", quoted(path)));
        }
        met
    }

    /// Of several alternatives that failed, the causes of the one that came nearest.
    fn best(&mut self, results: Vec<(Vec<Cause>, usize)>) {
        let nearest = results.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best });
        self.causes.extend(nearest.into_iter().flat_map(|(causes, _)| causes));
    }
}

impl Node {
    /// True if the schema says nothing about the value at all.
    fn is_free(&self) -> bool {
        self.kind.is_none()
            && !self.int_or_string
            && self.properties.is_empty()
            && self.items.is_none()
            && self.enumeration.is_empty()
            && self.required.is_empty()
            && self.any_of.is_empty()
            && self.one_of.is_empty()
            && self.all_of.is_empty()
            && self.not.is_none()
            && matches!(self.additional, Additional::Unsaid | Additional::Bool(true))
            && self.minimum.is_none()
            && self.maximum.is_none()
            && self.multiple_of.is_none()
            && self.pattern.is_none()
            && self.format.is_none()
            && self.min_length.is_none()
            && self.max_length.is_none()
            && self.min_items.is_none()
            && self.max_items.is_none()
            && self.min_properties.is_none()
            && self.max_properties.is_none()
    }
}

/// Equality as the server sees it: `1` and `1.0` are one number.
fn same(a: &Value, b: &Value) -> bool {
    a == b || matches!((a, b), (Value::Number(x), Value::Number(y)) if x.as_f64() == y.as_f64())
}
