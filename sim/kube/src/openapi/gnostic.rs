//! The Swagger document as protobuf: the form in which Go clients ask for `/openapi/v2`.
//!
//! Numbers of fields: `openapi.v2` of gnostic-models. What stands in a schema or an operation under a name with `x-`, and
//! every value of any type, is YAML text there; ours is JSON, which is YAML.

use serde_json::Value;

/// Deepest nesting of schemas; what is deeper is left out.
const DEPTH_MAX: usize = 100;

/// How the field of a message is written.
#[derive(Clone, Copy)]
enum Of {
    Text,
    Bool,
    Int,
    Double,
    Texts,
    /// A value as text.
    Any,
    Anys,
    /// One type's name, or several.
    Type,
    /// `true`, or a schema.
    Additional,
    /// A schema, or several.
    Items,
    Schemas,
    /// Schemas by name.
    Named,
}

const SCHEMA: &[(u32, &str, Of)] = &[
    (1, "$ref", Of::Text),
    (2, "format", Of::Text),
    (3, "title", Of::Text),
    (4, "description", Of::Text),
    (5, "default", Of::Any),
    (6, "multipleOf", Of::Double),
    (7, "maximum", Of::Double),
    (8, "exclusiveMaximum", Of::Bool),
    (9, "minimum", Of::Double),
    (10, "exclusiveMinimum", Of::Bool),
    (11, "maxLength", Of::Int),
    (12, "minLength", Of::Int),
    (13, "pattern", Of::Text),
    (14, "maxItems", Of::Int),
    (15, "minItems", Of::Int),
    (16, "uniqueItems", Of::Bool),
    (17, "maxProperties", Of::Int),
    (18, "minProperties", Of::Int),
    (19, "required", Of::Texts),
    (20, "enum", Of::Anys),
    (21, "additionalProperties", Of::Additional),
    (22, "type", Of::Type),
    (23, "items", Of::Items),
    (24, "allOf", Of::Schemas),
    (25, "properties", Of::Named),
    (27, "readOnly", Of::Bool),
    (30, "example", Of::Any),
];
const SCHEMA_EXTENSIONS: u32 = 31;

const OPERATION: &[(u32, &str, Of)] = &[
    (1, "tags", Of::Texts),
    (2, "summary", Of::Text),
    (3, "description", Of::Text),
    (5, "operationId", Of::Text),
    (6, "produces", Of::Texts),
    (7, "consumes", Of::Texts),
    (10, "schemes", Of::Texts),
    (11, "deprecated", Of::Bool),
];
const OPERATION_EXTENSIONS: u32 = 13;

const BODY: &[(u32, &str, Of)] =
    &[(1, "description", Of::Text), (2, "name", Of::Text), (3, "in", Of::Text), (4, "required", Of::Bool)];

const QUERY: &[(u32, &str, Of)] = &[
    (1, "required", Of::Bool),
    (2, "in", Of::Text),
    (3, "description", Of::Text),
    (4, "name", Of::Text),
    (6, "type", Of::Text),
    (20, "uniqueItems", Of::Bool),
];

const PATH: &[(u32, &str, Of)] = &[
    (1, "required", Of::Bool),
    (2, "in", Of::Text),
    (3, "description", Of::Text),
    (4, "name", Of::Text),
    (5, "type", Of::Text),
    (19, "uniqueItems", Of::Bool),
];

const API_KEY: &[(u32, &str, Of)] =
    &[(1, "type", Of::Text), (2, "name", Of::Text), (3, "in", Of::Text), (4, "description", Of::Text)];

const METHODS: &[(u32, &str)] =
    &[(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (6, "options"), (7, "head"), (8, "patch")];

/// A message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(&mut self, field: u32, value: u64) {
        self.varint(u64::from(field) << 3);
        self.varint(value);
    }

    fn double(&mut self, field: u32, value: f64) {
        self.varint(u64::from(field) << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, field: u32, value: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn text(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    /// An entry of a map: a message of a name and a value.
    fn named(&mut self, field: u32, name: &str, value: &[u8]) {
        let mut entry = Self::default();
        entry.text(1, name);
        entry.bytes(2, value);
        self.bytes(field, &entry.0);
    }

    fn fields(&mut self, fields: &[(u32, &str, Of)], value: &Value, depth: usize) {
        for (number, key, of) in fields {
            if let Some(value) = value.get(key) {
                self.field(*number, *of, value, depth);
            }
        }
    }

    fn field(&mut self, number: u32, of: Of, value: &Value, depth: usize) {
        match (of, value) {
            (Of::Text, Value::String(text)) => self.text(number, text),
            (Of::Bool, Value::Bool(true)) => self.number(number, 1),
            (Of::Int, Value::Number(n)) => self.number(number, n.as_i64().unwrap_or(0) as u64),
            (Of::Double, Value::Number(n)) => self.double(number, n.as_f64().unwrap_or(0.0)),
            (Of::Texts, Value::Array(all)) => all.iter().filter_map(Value::as_str).for_each(|t| self.text(number, t)),
            (Of::Any, value) => self.bytes(number, &any(value)),
            (Of::Anys, Value::Array(all)) => all.iter().for_each(|v| self.bytes(number, &any(v))),
            (Of::Type, value) => {
                let mut names = Self::default();
                let all = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                all.iter().filter_map(Value::as_str).for_each(|name| names.text(1, name));
                self.bytes(number, &names.0);
            }
            (Of::Additional, value) => {
                let mut item = Self::default();
                match value {
                    Value::Bool(allowed) => item.number(2, u64::from(*allowed)),
                    schema => item.bytes(1, &self::schema(schema, depth + 1)),
                }
                self.bytes(number, &item.0);
            }
            (Of::Items, value) => {
                let mut items = Self::default();
                let all = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                for one in all {
                    items.bytes(1, &schema(one, depth + 1));
                }
                self.bytes(number, &items.0);
            }
            (Of::Schemas, Value::Array(all)) => {
                for one in all {
                    self.bytes(number, &schema(one, depth + 1));
                }
            }
            (Of::Named, Value::Object(all)) => {
                let mut properties = Self::default();
                all.iter().for_each(|(name, one)| properties.named(1, name, &schema(one, depth + 1)));
                self.bytes(number, &properties.0);
            }
            _ => {}
        }
    }

    fn extensions(&mut self, number: u32, value: &Value) {
        for (name, value) in value.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-")) {
            self.named(number, name, &any(value));
        }
    }
}

fn any(value: &Value) -> Vec<u8> {
    let mut message = Message::default();
    message.text(2, &format!("{value}\n"));
    message.0
}

fn schema(value: &Value, depth: usize) -> Vec<u8> {
    let mut message = Message::default();
    if depth <= DEPTH_MAX {
        message.fields(SCHEMA, value, depth);
        message.extensions(SCHEMA_EXTENSIONS, value);
    }
    message.0
}

/// `ParametersItem`: a parameter of one of several places, each a message of its own.
fn parameter(value: &Value) -> Vec<u8> {
    let (mut inner, mut parameter, mut item) = (Message::default(), Message::default(), Message::default());
    match value["in"].as_str() {
        Some("body") => {
            inner.fields(BODY, value, 0);
            inner.bytes(5, &schema(&value["schema"], 0));
            parameter.bytes(1, &inner.0);
        }
        place => {
            let (fields, number) = if place == Some("path") { (PATH, 4) } else { (QUERY, 3) };
            inner.fields(fields, value, 0);
            let mut outside_body = Message::default();
            outside_body.bytes(number, &inner.0);
            parameter.bytes(2, &outside_body.0);
        }
    }
    item.bytes(1, &parameter.0);
    item.0
}

fn parameters(out: &mut Message, number: u32, value: &Value) {
    value["parameters"].as_array().into_iter().flatten().for_each(|one| out.bytes(number, &parameter(one)));
}

fn operation(value: &Value) -> Vec<u8> {
    let (mut message, mut answers) = (Message::default(), Message::default());
    message.fields(OPERATION, value, 0);
    parameters(&mut message, 8, value);
    for (code, answer) in value["responses"].as_object().into_iter().flatten() {
        let (mut response, mut one_of) = (Message::default(), Message::default());
        response.fields(&[(1, "description", Of::Text)], answer, 0);
        if let Some(of) = answer.get("schema") {
            let mut item = Message::default();
            item.bytes(1, &schema(of, 0));
            response.bytes(2, &item.0);
        }
        one_of.bytes(1, &response.0);
        answers.named(1, code, &one_of.0);
    }
    message.bytes(9, &answers.0);
    message.extensions(OPERATION_EXTENSIONS, value);
    message.0
}

/// The protobuf form of a Swagger 2.0 document, as JSON gives it.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let (mut out, mut info, mut paths) = (Message::default(), Message::default(), Message::default());
    let (mut definitions, mut securities) = (Message::default(), Message::default());
    out.fields(&[(1, "swagger", Of::Text)], document, 0);
    info.fields(&[(1, "title", Of::Text), (2, "version", Of::Text)], &document["info"], 0);
    out.bytes(2, &info.0);
    for (path, value) in document["paths"].as_object().into_iter().flatten() {
        let mut item = Message::default();
        for (number, method) in METHODS {
            if let Some(value) = value.get(method) {
                item.bytes(*number, &operation(value));
            }
        }
        parameters(&mut item, 9, value);
        paths.named(2, path, &item.0);
    }
    out.bytes(8, &paths.0);
    for (name, value) in document["definitions"].as_object().into_iter().flatten() {
        definitions.named(1, name, &schema(value, 0));
    }
    out.bytes(9, &definitions.0);
    for requirement in document["security"].as_array().into_iter().flatten() {
        let mut message = Message::default();
        for (name, scopes) in requirement.as_object().into_iter().flatten() {
            let mut texts = Message::default();
            texts.field(1, Of::Texts, scopes, 0);
            message.named(1, name, &texts.0);
        }
        out.bytes(12, &message.0);
    }
    for (name, value) in document["securityDefinitions"].as_object().into_iter().flatten() {
        let (mut key, mut item) = (Message::default(), Message::default());
        key.fields(API_KEY, value, 0);
        item.bytes(2, &key.0);
        securities.named(1, name, &item.0);
    }
    out.bytes(13, &securities.0);
    out.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Number and content of each field of a message; numbers as their bytes.
    fn read(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        fn varint(bytes: &mut &[u8]) -> u64 {
            let (mut value, mut shift) = (0, 0);
            loop {
                let byte = bytes[0];
                *bytes = &bytes[1..];
                value |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value;
                }
            }
        }
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let length = match tag & 7 {
                0 => {
                    fields.push((tag >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                    continue;
                }
                1 => 8,
                _ => usize::try_from(varint(&mut bytes)).unwrap(),
            };
            fields.push((tag >> 3, bytes[..length].to_vec()));
            bytes = &bytes[length..];
        }
        fields
    }

    /// The content of the only field with this number.
    fn only(bytes: &[u8], number: u64) -> Vec<u8> {
        let mut found = read(bytes).into_iter().filter(|(n, _)| *n == number);
        let (_, content) = found.next().unwrap_or_else(|| panic!("a field {number}"));
        assert!(found.next().is_none(), "one field {number}");
        content
    }

    #[test]
    fn a_schema_comes_with_its_properties_types_and_extensions() {
        let made = encode(&json!({"swagger": "2.0", "definitions": {"D": {"type": "object", "required": ["a"],
            "properties": {"a": {"type": "integer", "maximum": 2.5, "minLength": 300}},
            "additionalProperties": {"$ref": "#/definitions/E"}, "x-kubernetes-list-type": "set"}}}));
        assert_eq!(only(&made, 1), b"2.0");
        let named = only(&only(&made, 9), 1);
        assert_eq!(only(&named, 1), b"D");
        let schema = only(&named, 2);
        assert_eq!(only(&only(&schema, 22), 1), b"object");
        assert_eq!(only(&schema, 19), b"a");
        let property = only(&only(&only(&schema, 25), 1), 2);
        assert_eq!(only(&property, 7), 2.5_f64.to_le_bytes());
        assert_eq!(only(&property, 12), 300_u64.to_le_bytes());
        assert_eq!(only(&only(&only(&schema, 21), 1), 1), b"#/definitions/E");
        let extension = only(&schema, 31);
        assert_eq!(
            (only(&extension, 1), only(&only(&extension, 2), 2)),
            (b"x-kubernetes-list-type".to_vec(), b"\"set\"\n".to_vec())
        );
    }

    #[test]
    fn parameters_lie_where_their_place_puts_them() {
        let made = encode(&json!({"paths": {"/a": {"get": {"operationId": "read", "parameters": [
            {"name": "q", "in": "query", "type": "string"}, {"name": "p", "in": "path", "type": "string", "required": true},
            {"name": "body", "in": "body", "schema": {"type": "object"}}], "responses": {"200": {"description": "OK"}}}}}}));
        let operation = only(&only(&only(&only(&made, 8), 2), 2), 2);
        assert_eq!(only(&operation, 5), b"read");
        let places: Vec<_> = read(&operation).into_iter().filter(|(n, _)| *n == 8).map(|(_, p)| only(&p, 1)).collect();
        assert_eq!(only(&only(&only(&places[0], 2), 3), 4), b"q");
        assert_eq!(only(&only(&only(&places[1], 2), 4), 4), b"p");
        assert_eq!(only(&only(&only(&places[2], 1), 5), 22), [10, 6, b'o', b'b', b'j', b'e', b'c', b't']);
        assert_eq!(only(&only(&only(&operation, 9), 1), 1), b"200");
    }
}
