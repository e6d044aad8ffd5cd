//! Custom resources: `additionalPrinterColumns`.

use serde_json::Value;
use sim_clock::Timestamp;

use super::{
    Column,
    duration::age,
    jsonpath::{JsonPath, print},
};
use crate::json;

/// Type and path of each column after the name.
pub(super) struct Columns(Vec<(String, Option<JsonPath>)>);

/// The columns of a version; without any, name and age.
pub(super) fn columns(definitions: &[Value]) -> (Vec<Column>, Columns) {
    let age = serde_json::json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": "Time since the object was created."});
    let definitions = if definitions.is_empty() { std::slice::from_ref(&age) } else { definitions };
    let text = |d: &Value, key: &str| json::text(d, &[key]).to_owned();
    let mut head = vec![Column {
        name: "Name".into(),
        kind: "string".into(),
        format: "name".into(),
        description: "Name of the object, unique among its kind and namespace.".into(),
        priority: 0,
    }];
    head.extend(definitions.iter().map(|d| Column {
        name: text(d, "name"),
        kind: text(d, "type"),
        format: text(d, "format"),
        description: match text(d, "description") {
            none if none.is_empty() => {
                format!("Custom resource definition column (in JSONPath format): {}", text(d, "jsonPath"))
            }
            given => given,
        },
        priority: json::int(d, &["priority"]).unwrap_or(0),
    }));
    let paths = definitions.iter().map(|d| (text(d, "type"), JsonPath::parse(json::text(d, &["jsonPath"])).ok()));
    (head, Columns(paths.collect()))
}

impl Columns {
    pub(super) fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let mut cells = vec![Value::from(json::name(object))];
        cells.extend(self.0.iter().map(|(kind, path)| {
            let found = path.as_ref().and_then(|p| p.find(object).into_iter().next());
            found.map_or(Value::Null, |value| cell(kind, value, now))
        }));
        cells
    }
}

/// A value as its column's type shows it; null where the types differ.
fn cell(kind: &str, value: &Value, now: Timestamp) -> Value {
    match (kind, value) {
        (_, Value::Null) if kind != "string" => Value::Null,
        ("integer", Value::Number(n)) => {
            n.as_i64().or_else(|| n.as_f64().map(|f| f as i64)).map_or(Value::Null, Into::into)
        }
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("string", value) => print(value).into(),
        ("date", Value::String(text)) => age(text, now).into(),
        _ => Value::Null,
    }
}
