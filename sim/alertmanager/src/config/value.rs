//! The configuration as records of the schema's fields.

use super::schema::{Kind, Schema};
use crate::matcher::Matcher;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Val {
    Unset,
    Text(String),
    Bool(bool),
    Int(i64),
    /// Nanoseconds.
    Nanos(i64),
    Texts(Vec<String>),
    TextMap(BTreeMap<String, String>),
    Matchers(Vec<Matcher>),
    Any(Json),
    Struct(Box<Record>),
    /// `None` for an item that is written empty.
    List(Vec<Option<Record>>),
    /// First and last of each range.
    Ranges(Vec<(i64, i64)>),
    /// Minutes of the day, the last one excluded.
    Times(Vec<(i64, i64)>),
}

impl Val {
    /// Whether the real program leaves the field out where it may.
    pub fn is_zero(&self, kind: Kind) -> bool {
        match self {
            Self::Unset => true,
            Self::Text(text) => text.is_empty(),
            Self::Bool(value) => !value,
            Self::Int(value) | Self::Nanos(value) => *value == 0,
            Self::Texts(list) => list.is_empty(),
            Self::TextMap(map) => map.is_empty(),
            Self::Matchers(list) => list.is_empty(),
            Self::Any(value) => value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty),
            Self::List(list) => list.is_empty(),
            Self::Ranges(list) | Self::Times(list) => list.is_empty(),
            // What the real program holds by value vanishes when all of it is empty; what it points to does not.
            Self::Struct(record) => match kind {
                Kind::Struct(schema) => {
                    (schema.type_name == "config.ThreadingConfig" || schema.type_name == "sigv4.plain")
                        && record.is_zero()
                }
                _ => record.is_zero(),
            },
        }
    }
}

/// A mapping of the file with all fields of its schema.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub schema: &'static Schema,
    pub values: Vec<Val>,
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.schema, other.schema) && self.values == other.values
    }
}

static UNSET: Val = Val::Unset;

impl Record {
    fn place(&self, name: &str) -> Option<usize> {
        self.schema.fields.iter().position(|field| field.name == name)
    }

    pub fn is_zero(&self) -> bool {
        self.schema.fields.iter().zip(&self.values).all(|(field, value)| value.is_zero(field.kind))
    }

    pub fn get(&self, name: &str) -> &Val {
        let place = self.place(name);
        debug_assert!(place.is_some(), "{} has no field {name}", self.schema.type_name);
        place.and_then(|place| self.values.get(place)).unwrap_or(&UNSET)
    }

    /// The same for a field that other kinds of records may lack.
    pub fn find(&self, name: &str) -> &Val {
        self.place(name).and_then(|place| self.values.get(place)).unwrap_or(&UNSET)
    }

    pub fn set(&mut self, name: &str, value: Val) {
        if let Some(slot) = self.place(name).and_then(|place| self.values.get_mut(place)) {
            *slot = value;
        }
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Val> {
        let place = self.place(name)?;
        self.values.get_mut(place)
    }

    /// Whether anything but the empty value is there.
    pub fn has(&self, name: &str) -> bool {
        match self.get(name) {
            Val::Unset => false,
            Val::Text(text) => !text.is_empty(),
            _ => true,
        }
    }

    pub fn text(&self, name: &str) -> &str {
        match self.get(name) {
            Val::Text(text) => text,
            _ => "",
        }
    }

    pub fn bool(&self, name: &str) -> bool {
        matches!(self.get(name), Val::Bool(true))
    }

    pub fn int(&self, name: &str) -> i64 {
        match self.get(name) {
            Val::Int(value) | Val::Nanos(value) => *value,
            _ => 0,
        }
    }

    pub fn nanos(&self, name: &str) -> Option<i64> {
        match self.get(name) {
            Val::Nanos(value) => Some(*value),
            _ => None,
        }
    }

    pub fn texts(&self, name: &str) -> &[String] {
        match self.get(name) {
            Val::Texts(list) => list,
            _ => &[],
        }
    }

    pub fn text_map(&self, name: &str) -> BTreeMap<String, String> {
        match self.get(name) {
            Val::TextMap(map) => map.clone(),
            _ => BTreeMap::new(),
        }
    }

    pub fn matchers(&self, name: &str) -> &[Matcher] {
        match self.get(name) {
            Val::Matchers(list) => list,
            _ => &[],
        }
    }

    pub fn record(&self, name: &str) -> Option<&Record> {
        match self.get(name) {
            Val::Struct(record) => Some(record),
            _ => None,
        }
    }

    /// The items that are not empty.
    pub fn list(&self, name: &str) -> impl Iterator<Item = &Record> {
        let items: &[Option<Record>] = match self.get(name) {
            Val::List(items) => items,
            _ => &[],
        };
        items.iter().flatten()
    }
}
