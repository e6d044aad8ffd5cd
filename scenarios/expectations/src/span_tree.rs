//! Spans from the OTLP JSON of a trace, as a tree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use base64_lite::decode;
use serde_json::{Map, Value};

/// One span.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanNode {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// The parent's id; empty for a root.
    pub parent_id: String,
    /// The name.
    pub name: String,
    /// `internal`, `client`, `server`, `producer`, `consumer` or `unspecified`.
    pub kind: &'static str,
    /// `ok`, `error` or `unset`.
    pub status: &'static str,
    /// The description of the status.
    pub status_message: String,
    /// `service.name` of the resource.
    pub service: String,
    /// Attributes as JSON values, integers as numbers.
    pub attributes: Map<String, Value>,
    /// Attributes of the resource.
    pub resource: Map<String, Value>,
    /// The instrumentation scope.
    pub scope: String,
    /// Start, nanoseconds since the Unix epoch.
    pub start_ns: i64,
    /// End.
    pub end_ns: i64,
    /// Events: name, nanoseconds since the Unix epoch, attributes.
    pub events: Vec<(String, i64, Map<String, Value>)>,
    /// Links: trace id and span id.
    pub links: Vec<(String, String)>,
    /// Places of the children in [`SpanTree::spans`], by start time.
    pub children: Vec<usize>,
}

impl SpanNode {
    /// How long the span lasted, in seconds.
    pub fn seconds(&self) -> f64 {
        (self.end_ns - self.start_ns) as f64 / 1e9
    }
}

/// The spans of one trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanTree {
    /// All spans, by start time and id.
    pub spans: Vec<SpanNode>,
    /// Places of the spans without a parent in this trace.
    pub roots: Vec<usize>,
}

impl SpanTree {
    /// Reads the body of a trace: `batches`, `resourceSpans`, or either of them inside `trace`. What has no id is left out.
    pub fn from_otlp(body: &Value) -> Self {
        let body = body.get("trace").unwrap_or(body);
        let batches = body.get("batches").or_else(|| body.get("resourceSpans")).and_then(Value::as_array);
        let mut spans = Vec::new();
        for batch in batches.into_iter().flatten() {
            let resource = attributes(batch.pointer("/resource/attributes"));
            let service = resource.get("service.name").and_then(Value::as_str).unwrap_or_default().to_string();
            let scopes =
                batch.get("scopeSpans").or_else(|| batch.get("instrumentationLibrarySpans")).and_then(Value::as_array);
            for scope in scopes.into_iter().flatten() {
                let name = scope.pointer("/scope/name").and_then(Value::as_str).unwrap_or_default();
                for span in scope.get("spans").and_then(Value::as_array).into_iter().flatten() {
                    spans.extend(span_node(span, &resource, &service, name));
                }
            }
        }
        Self::from_spans(spans)
    }

    /// Builds the tree from spans in any order; of two with one id the first stays.
    pub fn from_spans(mut spans: Vec<SpanNode>) -> Self {
        // What starts at the same instant is told in the order in which it ended; ids come last, for they are chance.
        let order = |span: &SpanNode| (span.start_ns, span.end_ns, span.name.clone(), span.span_id.clone());
        spans.sort_by_cached_key(order);
        let mut seen = BTreeSet::new();
        spans.retain(|span| seen.insert(span.span_id.clone()));
        let places: BTreeMap<String, usize> =
            spans.iter().enumerate().map(|(place, span)| (span.span_id.clone(), place)).collect();
        let mut roots = Vec::new();
        for span in &mut spans {
            span.children.clear();
        }
        for place in 0..spans.len() {
            match places.get(&spans[place].parent_id) {
                Some(parent) if *parent != place && !is_ancestor(&spans, &places, place, *parent) => {
                    spans[*parent].children.push(place);
                }
                _ => roots.push(place),
            }
        }
        Self { spans, roots }
    }

    /// The tree without the spans that a test refuses; their children become roots.
    pub fn filter(&self, keep: impl Fn(&SpanNode) -> bool) -> Self {
        Self::from_spans(self.spans.iter().filter(|span| keep(span)).cloned().collect())
    }

    /// The tree as indented lines.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for root in &self.roots {
            self.push_lines(*root, 0, &mut lines);
        }
        lines
    }

    fn push_lines(&self, place: usize, depth: usize, lines: &mut Vec<String>) {
        let span = &self.spans[place];
        let status = if span.status == "unset" { String::new() } else { format!(" [{}]", span.status) };
        lines.push(format!("{}{}{status} {:.1}ms", "  ".repeat(depth), span.name, span.seconds() * 1000.0));
        for child in &span.children {
            self.push_lines(*child, depth + 1, lines);
        }
    }
}

/// Whether `place` stands above `below`: a circle of parents would otherwise hide its spans.
fn is_ancestor(spans: &[SpanNode], places: &BTreeMap<String, usize>, place: usize, below: usize) -> bool {
    let mut at = below;
    for _ in 0..spans.len() {
        if at == place {
            return true;
        }
        match places.get(&spans[at].parent_id) {
            Some(parent) => at = *parent,
            None => return false,
        }
    }
    // A circle that `place` is not part of.
    false
}

fn span_node(span: &Value, resource: &Map<String, Value>, service: &str, scope: &str) -> Option<SpanNode> {
    let text = |field: &str| span.get(field).and_then(Value::as_str).unwrap_or_default();
    let events = span.get("events").and_then(Value::as_array).into_iter().flatten();
    let links = span.get("links").and_then(Value::as_array).into_iter().flatten();
    let link_id = |link: &Value, field: &str| id(link.get(field).and_then(Value::as_str).unwrap_or_default());
    Some(SpanNode {
        trace_id: id(text("traceId")),
        span_id: Some(id(text("spanId"))).filter(|id| !id.is_empty())?,
        parent_id: Some(id(text("parentSpanId"))).filter(|id| id.chars().any(|c| c != '0')).unwrap_or_default(),
        name: text("name").to_string(),
        kind: kind(span.get("kind")),
        status: status(span.pointer("/status/code")),
        status_message: span.pointer("/status/message").and_then(Value::as_str).unwrap_or_default().to_string(),
        service: service.to_string(),
        attributes: attributes(span.get("attributes")),
        resource: resource.clone(),
        scope: scope.to_string(),
        start_ns: nanos(span.get("startTimeUnixNano")),
        end_ns: nanos(span.get("endTimeUnixNano")),
        events: events
            .map(|event| {
                let name = event.get("name").and_then(Value::as_str).unwrap_or_default();
                (name.to_string(), nanos(event.get("timeUnixNano")), attributes(event.get("attributes")))
            })
            .collect(),
        links: links.map(|link| (link_id(link, "traceId"), link_id(link, "spanId"))).collect(),
        children: Vec::new(),
    })
}

/// An id in hexadecimal; Tempo's JSON has it in base64, OTLP's own in hexadecimal.
pub fn id(text: &str) -> String {
    let hex = matches!(text.len(), 16 | 32) && text.chars().all(|c| c.is_ascii_hexdigit());
    if hex {
        return text.to_ascii_lowercase();
    }
    hexadecimal(&decode(text).unwrap_or_default())
}

/// Bytes as two digits each.
pub fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn kind(value: Option<&Value>) -> &'static str {
    let names = ["unspecified", "internal", "server", "client", "producer", "consumer"];
    match value {
        Some(Value::Number(number)) => {
            number.as_u64().and_then(|number| names.get(number as usize)).copied().unwrap_or("unspecified")
        }
        Some(Value::String(text)) => {
            let word = text.trim_start_matches("SPAN_KIND_").to_ascii_lowercase();
            names.into_iter().find(|name| *name == word).unwrap_or("unspecified")
        }
        _ => "unspecified",
    }
}

fn status(value: Option<&Value>) -> &'static str {
    match value {
        Some(Value::Number(number)) if number.as_u64() == Some(1) => "ok",
        Some(Value::Number(number)) if number.as_u64() == Some(2) => "error",
        Some(Value::String(text)) if text.ends_with("_OK") => "ok",
        Some(Value::String(text)) if text.ends_with("_ERROR") => "error",
        _ => "unset",
    }
}

/// 64-bit integers are texts in the JSON of protobuf.
fn nanos(value: Option<&Value>) -> i64 {
    match value {
        Some(Value::String(text)) => text.parse().unwrap_or_default(),
        Some(Value::Number(number)) => number.as_i64().unwrap_or_default(),
        _ => 0,
    }
}

/// Attributes by their keys. OTLP forbids to send one twice, and backends keep either: such a one gets a text that no expectation wants.
fn attributes(list: Option<&Value>) -> Map<String, Value> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    let mut attributes = Map::new();
    for item in items {
        let (Some(key), Some(value)) = (item.get("key").and_then(Value::as_str), item.get("value")) else { continue };
        let value = any_value(value);
        let value = match attributes.get(key) {
            Some(before) => Value::String(format!("sent twice: {before}, {value}")),
            None => value,
        };
        attributes.insert(key.to_string(), value);
    }
    attributes
}

fn any_value(value: &Value) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|map| map.iter().next()) else { return Value::Null };
    match (kind.as_str(), inner) {
        ("intValue", Value::String(text)) => text.parse::<i64>().map_or_else(|_| inner.clone(), Value::from),
        ("arrayValue", inner) => {
            let values = inner.get("values").and_then(Value::as_array).into_iter().flatten();
            Value::Array(values.map(any_value).collect())
        }
        ("kvlistValue", inner) => Value::Object(attributes(inner.get("values"))),
        (_, inner) => inner.clone(),
    }
}

/// Base64 with the standard alphabet (and the one of URLs), padding optional.
mod base64_lite {
    pub fn decode(text: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
        let (mut bits, mut count) = (0u32, 0);
        for c in text.trim_end_matches('=').bytes() {
            let six = match c {
                b'A'..=b'Z' => c - b'A',
                b'a'..=b'z' => c - b'a' + 26,
                b'0'..=b'9' => c - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(six);
            count += 6;
            if count >= 8 {
                count -= 8;
                bytes.push((bits >> count) as u8);
                bits &= (1 << count) - 1;
            }
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn span(id: &str, parent: &str, start: i64) -> Value {
        json!({"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": id, "parentSpanId": parent, "name": id,
            "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + 5).to_string()})
    }

    fn body(spans: Vec<Value>) -> Value {
        json!({"batches": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "o"}}]}, "scopeSpans": [{"scope": {"name": "s"}, "spans": spans}]}]})
    }

    #[test]
    fn ids_are_read_in_both_spellings() {
        assert_eq!(id("00f067aa0ba902b7"), "00f067aa0ba902b7");
        assert_eq!(id("APBnqgupArc="), "00f067aa0ba902b7");
        assert_eq!(id("CvdlGRbNQ92ESOshHIAxnA=="), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(id(""), "");
    }

    #[test]
    fn spans_become_a_tree_in_the_order_of_time() {
        let tree = SpanTree::from_otlp(&body(vec![
            span("00000000000000c2", "00000000000000a1", 30),
            span("00000000000000b1", "00000000000000a1", 20),
            span("00000000000000a1", "", 10),
            span("00000000000000d1", "00000000000000ff", 5),
        ]));
        assert_eq!(tree.roots.len(), 2);
        let root = tree.spans.iter().find(|span| span.name.ends_with("a1")).unwrap();
        let names: Vec<&str> = root.children.iter().map(|child| tree.spans[*child].name.as_str()).collect();
        assert_eq!(names, ["00000000000000b1", "00000000000000c2"]);
        assert_eq!(root.service, "o");
    }

    #[test]
    fn a_circle_of_parents_loses_no_span() {
        let tree = SpanTree::from_otlp(&body(vec![
            span("00000000000000a1", "00000000000000b1", 1),
            span("00000000000000b1", "00000000000000a1", 2),
        ]));
        assert_eq!(tree.lines().len(), 2);
    }

    #[test]
    fn values_keep_their_types() {
        let list = json!([{"key": "i", "value": {"intValue": "7"}}, {"key": "b", "value": {"boolValue": true}},
            {"key": "a", "value": {"arrayValue": {"values": [{"stringValue": "x"}]}}}, {"key": "n", "value": {}}]);
        assert_eq!(Value::Object(attributes(Some(&list))), json!({"i": 7, "b": true, "a": ["x"], "n": null}));
    }

    #[test]
    fn an_attribute_that_is_sent_twice_equals_nothing() {
        let list = json!([{"key": "a", "value": {"intValue": "1"}}, {"key": "a", "value": {"intValue": "1"}}]);
        assert_eq!(Value::Object(attributes(Some(&list))), json!({"a": "sent twice: 1, 1"}));
    }
}
