//! `application/vnd.kubernetes.protobuf`: bodies of Go clients to the JSON form, and answers back.
//!
//! The fields of every built-in message are in `fields.txt`, one line a field: number, JSON name (`~`: the fields of the
//! message stand in the parent, as Go's `inline`), then `!` if a zero value is kept (pointers, and fields without
//! `omitempty`), `[]` or `{}` for lists and maps from text, and the type: `s`, `i`, `b`, `f`, `y` (bytes) or a message.
//! Objects go back by the same table.
//! Source: numbers and names of the published `generated.proto` and the tags of the Go types, Kubernetes 1.37 (alpha groups left out).
//!
//! ```
//! let body = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09Namespace\x12\x0a\x0a\x08\x0a\x04team\x12\x00\x1a\x00\"\0";
//! let object = sim_kube::protobuf::decode(body).unwrap();
//! assert_eq!(object["metadata"]["name"], "team");
//! assert!(sim_kube::protobuf::decode(b"{}").is_err());
//! ```

mod encode;
mod special;

use std::{collections::BTreeMap, sync::OnceLock};

use base64::Engine as _;
use serde_json::{Map, Value};

pub use encode::{encode, frame, knows};

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// The first bytes of every body.
pub const MAGIC: &[u8] = b"k8s\0";
/// Deepest nesting of messages.
const DEPTH_MAX: usize = 64;

/// Why a body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The magic number is missing.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Prefix,
    /// It ends too early.
    #[error("unexpected EOF")]
    End,
    /// A varint has more than 64 bits.
    #[error("proto: integer overflow")]
    Overflow,
    /// A field has a wire type that it cannot have.
    #[error("proto: wrong wireType = {wire} for field {field}")]
    WireType {
        /// The field.
        field: String,
        /// What was there.
        wire: u64,
    },
    /// No field has number 0.
    #[error("proto: illegal tag 0")]
    Tag,
    /// Messages in messages in messages.
    #[error("proto: message nested more than {DEPTH_MAX} deep")]
    Depth,
    /// A text is not UTF-8.
    #[error("proto: field {0} contains invalid UTF-8")]
    Text(String),
    /// A raw value that should be JSON is none.
    #[error("{0}")]
    Raw(String),
    /// Nobody knows this kind.
    #[error(
        "no kind \"{kind}\" is registered for version \"{version}\" in scheme \"pkg/api/legacyscheme/scheme.go:30\""
    )]
    Kind {
        /// `apiVersion`.
        version: String,
        /// `kind`.
        kind: String,
    },
    /// A value that is to be written is not of its field's type.
    #[error("proto: field {0} has a value of another type")]
    Value(String),
    /// Compressed bodies are not known.
    #[error("unsupported content encoding {0:?}")]
    Encoding(String),
}

#[derive(Clone, Copy, PartialEq)]
enum Repeat {
    Once,
    List,
    Map,
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Integer,
    Boolean,
    Float,
    Bytes,
    Message(&'static str),
}

struct Field {
    name: &'static str,
    keep_zero: bool,
    repeat: Repeat,
    kind: Kind,
}

type Messages = BTreeMap<&'static str, BTreeMap<u64, Field>>;

fn messages() -> &'static Messages {
    static MESSAGES: OnceLock<Messages> = OnceLock::new();
    MESSAGES.get_or_init(|| {
        let mut all = Messages::new();
        let mut current = "";
        for line in include_str!("fields.txt").lines() {
            if let Some(name) = line.strip_prefix('=') {
                current = name;
                all.insert(name, BTreeMap::new());
            } else if let Some((number, name, kind)) = split(line) {
                all.entry(current).or_default().insert(number, field(name, kind));
            }
        }
        all
    })
}

fn split(line: &'static str) -> Option<(u64, &'static str, &'static str)> {
    let mut words = line.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?, words.next()?))
}

fn field(name: &'static str, text: &'static str) -> Field {
    let (keep_zero, text) = text.strip_prefix('!').map_or((false, text), |t| (true, t));
    let (repeat, text) = match (text.strip_prefix("[]"), text.strip_prefix("{}")) {
        (Some(rest), _) => (Repeat::List, rest),
        (_, Some(rest)) => (Repeat::Map, rest),
        _ => (Repeat::Once, text),
    };
    let kind = match text {
        "s" => Kind::Text,
        "i" => Kind::Integer,
        "b" => Kind::Boolean,
        "f" => Kind::Float,
        "y" => Kind::Bytes,
        message => Kind::Message(message),
    };
    Field { name, keep_zero, repeat, kind }
}

/// One field on the wire.
enum Raw<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(Error::End)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Error::Overflow)
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], Error> {
        let count = usize::try_from(count).map_err(|_| Error::End)?;
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Error::End)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next field: its number and what it holds.
    fn next(&mut self) -> Result<Option<(u64, Raw<'a>)>, Error> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let (number, wire) = (tag >> 3, tag & 7);
        if number == 0 {
            return Err(Error::Tag);
        }
        let fixed = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |n, b| n << 8 | u64::from(*b));
        let raw = match wire {
            0 => Raw::Number(self.varint()?),
            1 => Raw::Number(fixed(self.take(8)?)),
            2 => {
                let length = self.varint()?;
                Raw::Bytes(self.take(length)?)
            }
            5 => Raw::Number(fixed(self.take(4)?)),
            wire => return Err(Error::WireType { field: number.to_string(), wire }),
        };
        Ok(Some((number, raw)))
    }
}

/// Decodes a body: magic, envelope, object. `apiVersion` and `kind` come first.
///
/// # Errors
/// What is wrong with the bytes; an unknown kind.
pub fn decode(body: &[u8]) -> Result<Value, Error> {
    let mut reader = Reader(body.strip_prefix(MAGIC).ok_or(Error::Prefix)?);
    let (mut version, mut kind, mut raw, mut json) = (String::new(), String::new(), &[][..], false);
    while let Some((number, value)) = reader.next()? {
        match (number, value) {
            (1, Raw::Bytes(bytes)) => {
                let mut inner = Reader(bytes);
                while let Some((number, value)) = inner.next()? {
                    match (number, value) {
                        (1, Raw::Bytes(bytes)) => version = text("apiVersion", bytes)?,
                        (2, Raw::Bytes(bytes)) => kind = text("kind", bytes)?,
                        _ => {}
                    }
                }
            }
            (2, Raw::Bytes(bytes)) => raw = bytes,
            (3, Raw::Bytes(bytes)) if !bytes.is_empty() => {
                return Err(Error::Encoding(text("contentEncoding", bytes)?));
            }
            (4, Raw::Bytes(bytes)) => json = bytes == b"application/json",
            _ => {}
        }
    }
    if json {
        return serde_json::from_slice(raw).map_err(|e| Error::Raw(e.to_string()));
    }
    let Some(name) = message_of(&version, &kind) else { return Err(Error::Kind { version, kind }) };
    let mut object = Map::new();
    object.insert("kind".into(), kind.into());
    object.insert("apiVersion".into(), version.into());
    message(name, raw, &mut object, 0)?;
    Ok(Value::Object(object))
}

/// The message of a kind: groups are known by their first label.
fn message_of(version: &str, kind: &str) -> Option<&'static str> {
    let package = match version.split_once('/') {
        None => format!("core/{version}"),
        Some((group, version)) => format!("{}/{version}", group.split('.').next().unwrap_or("")),
    };
    let known = messages();
    let found = known.get_key_value(format!("{package}.{kind}").as_str());
    let shared = kind.ends_with("Options") || kind == "Status";
    let meta = || known.get_key_value(format!("meta/v1.{kind}").as_str()).filter(|_| shared);
    found.or_else(meta).map(|(name, _)| *name)
}

fn text(field: &str, bytes: &[u8]) -> Result<String, Error> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::Text(field.to_owned()))
}

/// Reads a message's fields into a map.
fn message(name: &str, bytes: &[u8], out: &mut Map<String, Value>, depth: usize) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(Error::Depth);
    }
    let Some(fields) = messages().get(name) else { return Ok(()) };
    let mut reader = Reader(bytes);
    while let Some((number, raw)) = reader.next()? {
        // Fields of later versions are dropped, as Go's decoder does.
        let Some(field) = fields.get(&number) else { continue };
        match (field.repeat, field.kind, raw) {
            (Repeat::Once, Kind::Message(inner), Raw::Bytes(bytes)) if field.name == "~" => {
                message(inner, bytes, out, depth + 1)?;
            }
            (Repeat::Once, _, raw) => {
                let value = single(field, raw, depth)?;
                if field.keep_zero || !is_zero(&value) {
                    out.insert(field.name.to_owned(), value);
                }
            }
            (Repeat::List, _, raw) => {
                let mut items = Vec::new();
                match (field.kind, raw) {
                    // Packed numbers.
                    (Kind::Integer | Kind::Boolean, Raw::Bytes(bytes)) => {
                        let mut packed = Reader(bytes);
                        while !packed.0.is_empty() {
                            let number = packed.varint()?;
                            items.push(single(field, Raw::Number(number), depth)?);
                        }
                    }
                    (_, raw) => items.push(single(field, raw, depth)?),
                }
                if let Value::Array(list) = out.entry(field.name).or_insert_with(|| Value::Array(Vec::new())) {
                    list.append(&mut items);
                }
            }
            (Repeat::Map, _, Raw::Bytes(bytes)) => {
                let (key, value) = entry(field, bytes, depth)?;
                if let Value::Object(map) = out.entry(field.name).or_insert_with(|| Value::Object(Map::new())) {
                    map.insert(key, value);
                }
            }
            (Repeat::Map, _, Raw::Number(_)) => return Err(Error::WireType { field: field.name.to_owned(), wire: 0 }),
        }
    }
    Ok(())
}

fn entry(field: &Field, bytes: &[u8], depth: usize) -> Result<(String, Value), Error> {
    let (mut key, mut value) = (String::new(), None);
    let mut reader = Reader(bytes);
    while let Some((number, raw)) = reader.next()? {
        match (number, raw) {
            (1, Raw::Bytes(bytes)) => key = text(field.name, bytes)?,
            (2, raw) => value = Some(single(field, raw, depth)?),
            _ => {}
        }
    }
    let value = match value {
        Some(value) => value,
        None => match field.kind {
            Kind::Integer => single(field, Raw::Number(0), depth)?,
            Kind::Boolean | Kind::Float => single(field, Raw::Number(0), depth)?,
            Kind::Text | Kind::Bytes | Kind::Message(_) => single(field, Raw::Bytes(&[]), depth)?,
        },
    };
    Ok((key, value))
}

fn single(field: &Field, raw: Raw<'_>, depth: usize) -> Result<Value, Error> {
    Ok(match (field.kind, raw) {
        (Kind::Text, Raw::Bytes(bytes)) => text(field.name, bytes)?.into(),
        (Kind::Bytes, Raw::Bytes(bytes)) => base64::engine::general_purpose::STANDARD.encode(bytes).into(),
        (Kind::Message(name), Raw::Bytes(bytes)) => match special::decode(name, bytes, depth)? {
            Some(value) => value,
            None => {
                let mut map = Map::new();
                message(name, bytes, &mut map, depth + 1)?;
                Value::Object(map)
            }
        },
        (Kind::Integer, Raw::Number(number)) => (number as i64).into(),
        (Kind::Boolean, Raw::Number(number)) => (number != 0).into(),
        (Kind::Float, Raw::Number(number)) => f64::from_bits(number).into(),
        (_, Raw::Number(_)) => return Err(Error::WireType { field: field.name.to_owned(), wire: 0 }),
        (_, Raw::Bytes(_)) => return Err(Error::WireType { field: field.name.to_owned(), wire: 2 }),
    })
}

/// What `omitempty` leaves out. Empty messages stay, as Go writes structs.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
