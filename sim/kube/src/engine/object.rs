//! Stored objects: a value without its `managedFields`, and those apart.
//!
//! Who owns which field is about half of an object's JSON and is read by almost nobody: it is kept as sets that versions and
//! alike objects share, and becomes JSON with the rest of the object. What has not changed for long and nobody holds is kept as
//! its JSON alone ([`Object::cool`]) and becomes a value again when it is read.

use std::{
    ops::Deref,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use super::facts::Facts;
use crate::{json, ssa::Manager};

/// A stored object: immutable, shared, serialised at most once. As a [`Value`] it is read without `metadata.managedFields`.
#[derive(Clone)]
pub struct Object(Arc<Record>);

struct Record {
    value: OnceLock<Box<Value>>,
    managers: Arc<[Manager]>,
    weight: usize,
    json: OnceLock<Bytes>,
    facts: OnceLock<Arc<Facts>>,
    /// Of an object that was cooled: where is counted what was read of such objects, in bytes.
    warmed: Option<Arc<AtomicUsize>>,
}

impl Record {
    fn value(&self) -> &Value {
        self.value.get_or_init(|| {
            let json = self.json.get().map(Bytes::as_ref).unwrap_or_default();
            // It is our own JSON: it can be read.
            let mut value: Value = serde_json::from_slice(json).unwrap_or_default();
            if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.shift_remove("managedFields");
            }
            if let Some(warmed) = &self.warmed {
                warmed.fetch_add(self.weight, Ordering::Relaxed);
            }
            Box::new(value)
        })
    }
}

impl Object {
    /// Wraps a value.
    pub fn new(mut value: Value) -> Self {
        let managers = take_managers(&mut value);
        Self::with(value, managers.into())
    }

    /// Wraps a value that has no `managedFields` in itself, and who owns its fields.
    pub fn with(value: Value, managers: Arc<[Manager]>) -> Self {
        debug_assert!(json::at(&value, &["metadata", "managedFields"]).is_none(), "owners come apart");
        let weight = weight(&value) + managers.iter().map(Manager::weight).sum::<usize>();
        let value = OnceLock::from(Box::new(value));
        let (json, facts) = (OnceLock::new(), OnceLock::new());
        Self(Arc::new(Record { value, managers, weight, json, facts, warmed: None }))
    }

    /// The same object as its JSON alone; what is read of it later is counted in `warmed`, in bytes.
    pub(super) fn cool(&self, warmed: &Arc<AtomicUsize>) -> Self {
        let Record { managers, weight, facts, .. } = &*self.0;
        Self(Arc::new(Record {
            value: OnceLock::new(),
            managers: managers.clone(),
            weight: *weight,
            json: OnceLock::from(self.json()),
            facts: facts.clone(),
            warmed: Some(warmed.clone()),
        }))
    }

    /// True of an object that was cooled and read since.
    pub(super) fn is_warmed(&self) -> bool {
        self.0.warmed.is_some() && self.0.value.get().is_some()
    }

    /// How many hold it.
    pub(super) fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// True if both are the same, and not only equal.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What controllers ask of it.
    pub fn facts(&self) -> &Facts {
        self.0.facts.get_or_init(|| Arc::new(Facts::of(self)))
    }

    /// Its JSON, made on first use.
    pub fn json(&self) -> Bytes {
        let make = || serde_json::to_vec(&Whole(self, &self.0.managers)).unwrap_or_default();
        self.0.json.get_or_init(|| Bytes::from(make())).clone()
    }

    /// About how many bytes its JSON is, without making it.
    pub fn weight(&self) -> usize {
        self.0.weight
    }

    /// Who owns its fields.
    pub fn managers(&self) -> &Arc<[Manager]> {
        &self.0.managers
    }

    /// A copy of all of it, as a client sees it.
    pub fn to_value(&self) -> Value {
        let mut value = self.to_content();
        Manager::write(&self.0.managers, &mut value);
        value
    }

    /// A copy without `managedFields`, to change and write back: the engine knows who owned what.
    pub fn to_content(&self) -> Value {
        self.0.value().clone()
    }

    /// `metadata.resourceVersion` as a number.
    pub fn revision(&self) -> u64 {
        json::text(self, &["metadata", "resourceVersion"]).parse().unwrap_or(0)
    }
}

/// Takes `metadata.managedFields` out of a value.
pub fn take_managers(value: &mut Value) -> Vec<Manager> {
    let taken = value.get_mut("metadata").and_then(Value::as_object_mut).and_then(|m| m.shift_remove("managedFields"));
    taken.as_ref().and_then(Value::as_array).map(|entries| Manager::read(entries)).unwrap_or_default()
}

/// The length of a value's JSON but for escapes and the digits of numbers.
fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 4,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|i| weight(i) + 1).sum::<usize>(),
        Value::Object(map) => 2 + map.iter().map(|(k, v)| k.len() + 4 + weight(v)).sum::<usize>(),
    }
}

/// An object with its managers, as JSON.
struct Whole<'a>(&'a Value, &'a [Manager]);

impl Serialize for Whole<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (Some(fields), false) = (self.0.as_object(), self.1.is_empty()) else {
            return self.0.serialize(serializer);
        };
        let mut map = serializer.serialize_map(Some(fields.len()))?;
        for (key, value) in fields {
            match value.as_object().filter(|_| key == "metadata") {
                Some(metadata) => map.serialize_entry(key, &Metadata(metadata, self.1))?,
                None => map.serialize_entry(key, value)?,
            }
        }
        map.end()
    }
}

/// The metadata of an object with its managers, as JSON.
struct Metadata<'a>(&'a Map<String, Value>, &'a [Manager]);

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len() + 1))?;
        for (key, value) in self.0 {
            map.serialize_entry(key, value)?;
        }
        map.serialize_entry("managedFields", self.1)?;
        map.end()
    }
}

impl Deref for Object {
    type Target = Value;
    fn deref(&self) -> &Value {
        self.0.value()
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.value().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_json_is_that_of_the_value_with_the_managers_in_their_place() {
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "managedFields": [
            {"manager": "a", "operation": "Apply", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:data": {".": {}, "f:a": {}, "f:b": {}}, "f:list": {"k:{\"name\":\"x\"}": {".": {}, "f:y": {}}, "v:\"s\"": {}}}},
            {"manager": "b", "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:status": {"f:phase": {}}}, "subresource": "status"}]}, "data": {"a": "1"}});
        let object = Object::new(value.clone());
        assert_eq!(object.json(), value.to_string());
        assert_eq!(object.to_value(), value);
        assert!(object["metadata"].get("managedFields").is_none());
        let (about, real) = (object.weight(), object.json().len());
        assert!(about.abs_diff(real) * 10 < real, "{about} is about {real}");
    }

    #[test]
    fn a_cooled_object_reads_as_before_and_says_that_it_was_read() {
        let warm = Object::new(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "managedFields": [
            {"manager": "a", "operation": "Update", "apiVersion": "v1", "time": "t", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {}}}]}}),
        );
        let warmed = Arc::new(AtomicUsize::new(0));
        let cold = warm.cool(&warmed);
        assert_eq!(cold.json(), warm.json());
        assert!(!cold.is_warmed() && warmed.load(Ordering::Relaxed) == 0);
        assert_eq!((&*cold, cold.to_value()), (&*warm, warm.to_value()));
        assert!(cold.is_warmed() && warmed.load(Ordering::Relaxed) == warm.weight());
    }
}
