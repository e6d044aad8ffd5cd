//! A structural schema in the form that is evaluated: keywords read once, regular expressions compiled once.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use sim_kube_cel::pattern;

use super::{DEPTH_MAX, formats::Format};
use crate::json;

/// The JSON type a schema asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `object`
    Object,
    /// `array`
    Array,
    /// `string`
    String,
    /// `integer`
    Integer,
    /// `number`
    Number,
    /// `boolean`
    Boolean,
}

impl Kind {
    /// The keyword's value.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Object => "object",
            Kind::Array => "array",
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
        }
    }

    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "object" => Kind::Object,
            "array" => Kind::Array,
            "string" => Kind::String,
            "integer" => Kind::Integer,
            "number" => Kind::Number,
            "boolean" => Kind::Boolean,
            _ => return None,
        })
    }
}

/// `additionalProperties`.
#[derive(Clone, Debug, Default)]
pub enum Additional {
    /// Not specified.
    #[default]
    Unsaid,
    /// `true` or `false`.
    Bool(bool),
    /// A schema for the values.
    Schema(Box<Node>),
}

/// `x-kubernetes-list-type` with its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// One value (also the default).
    #[default]
    Atomic,
    /// Items are told apart by value.
    Set,
    /// Items are told apart by these fields.
    Map(Vec<String>),
}

/// Bounds of a number.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// The bound.
    pub value: f64,
    /// Whether the bound itself is out.
    pub exclusive: bool,
}

/// One schema with its keywords.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "each field is the keyword of its name")]
pub struct Node {
    pub kind: Option<Kind>,
    pub int_or_string: bool,
    pub nullable: bool,
    pub embedded: bool,
    pub preserve: bool,
    pub map_atomic: bool,
    pub list: ListType,
    pub properties: BTreeMap<String, Node>,
    pub additional: Additional,
    pub items: Option<Box<Node>>,
    pub default: Option<Value>,
    pub required: Vec<String>,
    pub enumeration: Vec<Value>,
    pub minimum: Option<Bound>,
    pub maximum: Option<Bound>,
    pub multiple_of: Option<f64>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    pub pattern: Option<Pattern>,
    pub format: Option<Format>,
    pub format_name: String,
    pub all_of: Vec<Node>,
    pub any_of: Vec<Node>,
    pub one_of: Vec<Node>,
    pub not: Option<Box<Node>>,
    /// True if a default is somewhere inside.
    pub defaults_inside: bool,
    /// True if something inside is checked by `super::lists`: a set, a map by keys or an embedded resource.
    pub lists_inside: bool,
}

/// `pattern`: as written, and compiled if it is a regular expression.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// As the schema has it.
    pub text: String,
    /// Compiled; `None` if it is no regular expression (such a definition is refused when it is written).
    pub regex: Option<Regex>,
}

/// Regular expressions compiled so far: a large schema repeats a few of them often.
pub type Patterns = BTreeMap<String, Option<Regex>>;

fn flag(schema: &Value, key: &str) -> bool {
    schema.get(key) == Some(&Value::Bool(true))
}

fn count(schema: &Value, key: &str) -> Option<u64> {
    let value = schema.get(key)?;
    value.as_u64().or_else(|| value.as_f64().filter(|f| *f >= 0.0).map(|f| f as u64))
}

impl Node {
    /// Reads a schema. Parts nested deeper than [`DEPTH_MAX`] are taken as `{}`.
    pub fn compile(schema: &Value) -> Self {
        Self::read(schema, &mut Patterns::new(), 0)
    }

    fn read(schema: &Value, patterns: &mut Patterns, depth: usize) -> Self {
        let Some(map) = schema.as_object().filter(|_| depth <= DEPTH_MAX) else { return Self::default() };
        let mut node = Self::default();
        let bound = |key: &str, exclusive: &str| {
            schema.get(key).and_then(Value::as_f64).map(|value| Bound { value, exclusive: flag(schema, exclusive) })
        };
        // The keywords a schema has are few: they are walked, not looked up.
        for (key, value) in map {
            match key.as_str() {
                "type" => node.kind = value.as_str().and_then(Kind::of),
                "x-kubernetes-int-or-string" => node.int_or_string = value == &Value::Bool(true),
                "nullable" => node.nullable = value == &Value::Bool(true),
                "x-kubernetes-embedded-resource" => node.embedded = value == &Value::Bool(true),
                "x-kubernetes-preserve-unknown-fields" => node.preserve = value == &Value::Bool(true),
                "x-kubernetes-map-type" => node.map_atomic = value == "atomic",
                "x-kubernetes-list-type" => match value.as_str() {
                    Some("set") => node.list = ListType::Set,
                    Some("map") => {
                        let keys = json::list(schema, &["x-kubernetes-list-map-keys"]);
                        node.list = ListType::Map(keys.iter().filter_map(|k| k.as_str().map(str::to_owned)).collect());
                    }
                    _ => {}
                },
                "properties" => {
                    for (name, inner) in value.as_object().into_iter().flatten() {
                        node.properties.insert(name.clone(), Self::read(inner, patterns, depth + 1));
                    }
                }
                "additionalProperties" => {
                    node.additional = match value {
                        Value::Bool(allowed) => Additional::Bool(*allowed),
                        Value::Object(_) => Additional::Schema(Box::new(Self::read(value, patterns, depth + 1))),
                        _ => Additional::Unsaid,
                    }
                }
                "items" if value.is_object() => node.items = Some(Box::new(Self::read(value, patterns, depth + 1))),
                "default" if !value.is_null() => node.default = Some(value.clone()),
                "required" => {
                    node.required =
                        value.as_array().into_iter().flatten().filter_map(|r| r.as_str().map(str::to_owned)).collect();
                }
                "enum" => node.enumeration = value.as_array().cloned().unwrap_or_default(),
                "minimum" => node.minimum = bound("minimum", "exclusiveMinimum"),
                "maximum" => node.maximum = bound("maximum", "exclusiveMaximum"),
                "multipleOf" => node.multiple_of = value.as_f64(),
                "minLength" => node.min_length = count(schema, key),
                "maxLength" => node.max_length = count(schema, key),
                "minItems" => node.min_items = count(schema, key),
                "maxItems" => node.max_items = count(schema, key),
                "minProperties" => node.min_properties = count(schema, key),
                "maxProperties" => node.max_properties = count(schema, key),
                "pattern" => {
                    if let Some(text) = value.as_str().filter(|t| !t.is_empty()) {
                        let regex = patterns.entry(text.to_owned()).or_insert_with(|| pattern::compile(text).ok());
                        node.pattern = Some(Pattern { text: text.to_owned(), regex: regex.clone() });
                    }
                }
                "format" => {
                    value.as_str().unwrap_or("").clone_into(&mut node.format_name);
                    node.format = Format::named(&node.format_name);
                }
                "allOf" => node.all_of = Self::read_all(value, patterns, depth),
                "anyOf" => node.any_of = Self::read_all(value, patterns, depth),
                "oneOf" => node.one_of = Self::read_all(value, patterns, depth),
                "not" if value.is_object() => node.not = Some(Box::new(Self::read(value, patterns, depth + 1))),
                _ => {}
            }
        }
        // Formats are those of strings; on other types they are hints to generators.
        if !matches!(node.kind, None | Some(Kind::String)) || node.int_or_string {
            node.format = None;
        }
        let (mut defaults, mut lists) = (false, node.embedded || node.list != ListType::Atomic);
        node.visit(&mut |child| {
            defaults |= child.defaults_inside || child.default.is_some();
            lists |= child.lists_inside;
        });
        (node.defaults_inside, node.lists_inside) = (defaults, lists);
        node
    }

    fn read_all(list: &Value, patterns: &mut Patterns, depth: usize) -> Vec<Self> {
        list.as_array().into_iter().flatten().map(|s| Self::read(s, patterns, depth + 1)).collect()
    }

    /// Calls `see` with the schemas of properties, values and items.
    pub fn visit<'a>(&'a self, see: &mut impl FnMut(&'a Node)) {
        self.properties.values().for_each(&mut *see);
        if let Additional::Schema(inner) = &self.additional {
            see(inner);
        }
        if let Some(items) = &self.items {
            see(items);
        }
    }

    /// The schema of a map's entry: its property, or that of any other.
    pub fn entry(&self, key: &str) -> Option<&Node> {
        self.properties.get(key).or(match &self.additional {
            Additional::Schema(inner) => Some(inner),
            _ => None,
        })
    }

    /// The item of an older list that is the same one as `item`, if the list's type can tell.
    pub fn correlate<'v>(&self, item: &Value, old: Option<&'v Value>) -> Option<&'v Value> {
        let ListType::Map(keys) = &self.list else { return None };
        let old = old?.as_array()?;
        old.iter().find(|o| keys.iter().all(|k| self.key_of(item, k) == self.key_of(o, k)))
    }

    /// A key of an item; its default counts where it is not set.
    fn key_of<'v>(&'v self, item: &'v Value, key: &str) -> Option<&'v Value> {
        item.get(key).or_else(|| self.items.as_ref()?.properties.get(key)?.default.as_ref())
    }

    /// The type as an error names it.
    pub fn type_name(&self) -> &'static str {
        if self.int_or_string { "" } else { self.kind.map_or("", Kind::name) }
    }
}
