//! JSON into a value, with the paths of fields that came twice (the last one counts).

use std::{cell::RefCell, fmt};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::UNKNOWN_MAX;

/// Reads JSON; gives the paths of duplicate fields too, `spec.containers[0].name`.
///
/// # Errors
/// What `serde_json` says.
pub fn from_slice(bytes: &[u8]) -> Result<(Value, Vec<String>), serde_json::Error> {
    let notes = RefCell::new(Notes::default());
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Seed(&notes).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, notes.into_inner().duplicates))
}

#[derive(Default)]
struct Notes {
    path: String,
    duplicates: Vec<String>,
}

#[derive(Clone, Copy)]
struct Seed<'a>(&'a RefCell<Notes>);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        let length = self.0.borrow().path.len();
        loop {
            self.0.borrow_mut().path.push_str(&format!("[{}]", out.len()));
            let next = items.next_element_seed(self);
            self.0.borrow_mut().path.truncate(length);
            match next? {
                Some(item) => out.push(item),
                None => return Ok(Value::Array(out)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        let length = self.0.borrow().path.len();
        while let Some(key) = entries.next_key::<String>()? {
            {
                let mut notes = self.0.borrow_mut();
                if length > 0 {
                    notes.path.push('.');
                }
                notes.path.push_str(&key);
                if out.contains_key(&key) && notes.duplicates.len() < UNKNOWN_MAX {
                    let path = notes.path.clone();
                    notes.duplicates.push(path);
                }
            }
            let value = entries.next_value_seed(self);
            self.0.borrow_mut().path.truncate(length);
            out.insert(key, value?);
        }
        Ok(Value::Object(out))
    }
}
