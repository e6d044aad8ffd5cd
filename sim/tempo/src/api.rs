//! The JSON of Tempo's HTTP API. Traces are written as Tempo writes them, which is protobuf's own JSON mapping and not
//! OTLP's: ids in base64, enumerations by name, 64-bit numbers as strings, default values left out.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, span::SpanKind, status::StatusCode};
use serde_json::{Map, Value, json};

use crate::search::{Found, FoundSpanset, FoundTrace};
use crate::traceql::Static;
use crate::traceql::ast::{Intrinsic, Scope};

/// Adds a member unless it is protobuf's default: empty, zero, null.
fn put(object: &mut Map<String, Value>, name: &str, value: Value) {
    let default = match &value {
        Value::Null => true,
        Value::String(s) => s.is_empty() || s == "0",
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::Array(a) => a.is_empty(),
        Value::Bool(b) => !b,
        Value::Object(_) => false,
    };
    if !default {
        object.insert(name.to_owned(), value);
    }
}

/// The answer of `/api/traces/{id}`.
pub fn trace_v1(batches: &[ResourceSpans]) -> Value {
    json!({ "batches": batches.iter().map(batch).collect::<Vec<_>>() })
}

/// The answer of `/api/v2/traces/{id}`.
pub fn trace_v2(batches: &[ResourceSpans]) -> Value {
    json!({ "trace": { "resourceSpans": batches.iter().map(batch).collect::<Vec<_>>() }, "metrics": {} })
}

fn batch(batch: &ResourceSpans) -> Value {
    let mut object = Map::new();
    if let Some(resource) = &batch.resource {
        let mut inner = Map::new();
        put(&mut inner, "attributes", attributes(&resource.attributes));
        put(&mut inner, "droppedAttributesCount", json!(resource.dropped_attributes_count));
        object.insert("resource".into(), Value::Object(inner));
    }
    put(&mut object, "scopeSpans", batch.scope_spans.iter().map(scoped).collect());
    put(&mut object, "schemaUrl", json!(batch.schema_url));
    Value::Object(object)
}

fn scoped(scoped: &ScopeSpans) -> Value {
    let mut object = Map::new();
    if let Some(scope) = &scoped.scope {
        let mut inner = Map::new();
        put(&mut inner, "name", json!(scope.name));
        put(&mut inner, "version", json!(scope.version));
        put(&mut inner, "attributes", attributes(&scope.attributes));
        put(&mut inner, "droppedAttributesCount", json!(scope.dropped_attributes_count));
        object.insert("scope".into(), Value::Object(inner));
    }
    put(&mut object, "spans", scoped.spans.iter().map(span).collect());
    put(&mut object, "schemaUrl", json!(scoped.schema_url));
    Value::Object(object)
}

fn span(span: &Span) -> Value {
    let mut object = Map::new();
    put(&mut object, "traceId", json!(STANDARD.encode(&span.trace_id)));
    put(&mut object, "spanId", json!(STANDARD.encode(&span.span_id)));
    put(&mut object, "traceState", json!(span.trace_state));
    put(&mut object, "parentSpanId", json!(STANDARD.encode(&span.parent_span_id)));
    put(&mut object, "flags", json!(span.flags));
    put(&mut object, "name", json!(span.name));
    if span.kind != 0 {
        let kind = SpanKind::try_from(span.kind).map_or_else(|_| json!(span.kind), |kind| json!(kind.as_str_name()));
        put(&mut object, "kind", kind);
    }
    put(&mut object, "startTimeUnixNano", json!(span.start_time_unix_nano.to_string()));
    put(&mut object, "endTimeUnixNano", json!(span.end_time_unix_nano.to_string()));
    put(&mut object, "attributes", attributes(&span.attributes));
    put(&mut object, "droppedAttributesCount", json!(span.dropped_attributes_count));
    let events = span.events.iter().map(|event| {
        let mut object = Map::new();
        put(&mut object, "timeUnixNano", json!(event.time_unix_nano.to_string()));
        put(&mut object, "name", json!(event.name));
        put(&mut object, "attributes", attributes(&event.attributes));
        put(&mut object, "droppedAttributesCount", json!(event.dropped_attributes_count));
        Value::Object(object)
    });
    put(&mut object, "events", events.collect());
    put(&mut object, "droppedEventsCount", json!(span.dropped_events_count));
    let links = span.links.iter().map(|link| {
        let mut object = Map::new();
        put(&mut object, "traceId", json!(STANDARD.encode(&link.trace_id)));
        put(&mut object, "spanId", json!(STANDARD.encode(&link.span_id)));
        put(&mut object, "traceState", json!(link.trace_state));
        put(&mut object, "attributes", attributes(&link.attributes));
        put(&mut object, "droppedAttributesCount", json!(link.dropped_attributes_count));
        put(&mut object, "flags", json!(link.flags));
        Value::Object(object)
    });
    put(&mut object, "links", links.collect());
    put(&mut object, "droppedLinksCount", json!(span.dropped_links_count));
    if let Some(status) = &span.status {
        let mut inner = Map::new();
        put(&mut inner, "message", json!(status.message));
        if status.code != 0 {
            let code =
                StatusCode::try_from(status.code).map_or_else(|_| json!(status.code), |code| json!(code.as_str_name()));
            put(&mut inner, "code", code);
        }
        object.insert("status".into(), Value::Object(inner));
    }
    Value::Object(object)
}

fn attributes(attributes: &[KeyValue]) -> Value {
    attributes
        .iter()
        .map(|kv| json!({ "key": kv.key, "value": kv.value.as_ref().map_or_else(|| json!({}), any) }))
        .collect()
}

fn any(value: &AnyValue) -> Value {
    match &value.value {
        Some(Any::StringValue(s)) => json!({ "stringValue": s }),
        Some(Any::BoolValue(b)) => json!({ "boolValue": b }),
        Some(Any::IntValue(i)) => json!({ "intValue": i.to_string() }),
        Some(Any::DoubleValue(x)) => json!({ "doubleValue": double(*x) }),
        Some(Any::ArrayValue(array)) => {
            json!({ "arrayValue": { "values": array.values.iter().map(any).collect::<Vec<_>>() } })
        }
        Some(Any::KvlistValue(list)) => json!({ "kvlistValue": { "values": attributes(&list.values) } }),
        Some(Any::BytesValue(bytes)) => json!({ "bytesValue": STANDARD.encode(bytes) }),
        Some(Any::StringValueStrindex(_)) | None => json!({}),
    }
}

fn double(x: f64) -> Value {
    if x.is_finite() {
        json!(x)
    } else if x.is_nan() {
        json!("NaN")
    } else {
        json!(if x > 0.0 { "Infinity" } else { "-Infinity" })
    }
}

fn static_value(value: &Static) -> Value {
    match value {
        Static::Int(i) => json!({ "intValue": i.to_string() }),
        Static::Float(x) => json!({ "doubleValue": double(*x) }),
        Static::Bool(b) => json!({ "boolValue": b }),
        Static::Array(values) | Static::Each(values) => {
            json!({ "arrayValue": { "values": values.iter().map(static_value).collect::<Vec<_>>() } })
        }
        other => json!({ "stringValue": other.plain() }),
    }
}

fn static_attributes(attributes: &[(String, Static)]) -> Value {
    attributes.iter().map(|(name, value)| json!({ "key": name, "value": static_value(value) })).collect()
}

/// The answer of `/api/search`.
pub fn search(found: &Found) -> Value {
    json!({
        "traces": found.traces.iter().map(found_trace).collect::<Vec<_>>(),
        "metrics": {
            "inspectedTraces": found.inspected_traces,
            "inspectedBytes": found.inspected_bytes.to_string(),
            "completedJobs": 1,
            "totalJobs": 1,
        },
    })
}

fn found_trace(trace: &FoundTrace) -> Value {
    let spansets: Vec<Value> = trace.spansets.iter().map(spanset).collect();
    let mut object = Map::new();
    object.insert("traceID".into(), json!(trace.trace_id.to_string()));
    put(&mut object, "rootServiceName", json!(trace.root_service_name));
    put(&mut object, "rootTraceName", json!(trace.root_trace_name));
    put(&mut object, "startTimeUnixNano", json!(trace.start_unix_nano.to_string()));
    put(&mut object, "durationMs", json!(trace.duration_nanos / 1_000_000));
    put(&mut object, "spanSet", spansets.first().cloned().unwrap_or_default());
    put(&mut object, "spanSets", json!(spansets));
    let services: Map<String, Value> = trace
        .services
        .iter()
        .map(|(name, (spans, errors))| {
            let mut counts = Map::new();
            put(&mut counts, "spanCount", json!(spans));
            put(&mut counts, "errorCount", json!(errors));
            (name.clone(), Value::Object(counts))
        })
        .collect();
    object.insert("serviceStats".into(), Value::Object(services));
    Value::Object(object)
}

fn spanset(set: &FoundSpanset) -> Value {
    let mut object = Map::new();
    let spans = set.spans.iter().map(|span| {
        let mut object = Map::new();
        put(&mut object, "spanID", json!(span.span_id));
        put(&mut object, "name", json!(span.name));
        put(&mut object, "startTimeUnixNano", json!(span.start_unix_nano.to_string()));
        put(&mut object, "durationNanos", json!(span.duration_nanos.to_string()));
        put(&mut object, "attributes", static_attributes(&span.attributes));
        Value::Object(object)
    });
    put(&mut object, "spans", spans.collect());
    put(&mut object, "matched", json!(set.matched));
    put(&mut object, "attributes", static_attributes(&set.attributes));
    Value::Object(object)
}

/// The answer of `/api/search/tags`: all names of all scopes.
pub fn tags_v1(tags: &BTreeMap<Scope, BTreeSet<String>>) -> Value {
    let names: BTreeSet<&String> = tags.values().flatten().collect();
    json!({ "tagNames": names, "metrics": {} })
}

/// The answer of `/api/v2/search/tags`, of one scope (`intrinsic` included) or of all.
pub fn tags_v2(tags: &BTreeMap<Scope, BTreeSet<String>>, only: Option<&str>) -> Value {
    let mut scopes: Vec<Value> = Vec::new();
    for (scope, names) in tags {
        if only.is_none_or(|only| only == scope.text()) {
            scopes.push(json!({ "name": scope.text(), "tags": names }));
        }
    }
    if only.is_none_or(|only| only == "intrinsic") {
        let names: BTreeSet<&str> = Intrinsic::all().map(Intrinsic::text).collect();
        scopes.push(json!({ "name": "intrinsic", "tags": names }));
    }
    json!({ "scopes": scopes, "metrics": {} })
}

/// The answer of `/api/v2/search/tag/{tag}/values`.
pub fn tag_values_v2(values: &BTreeSet<(&'static str, String)>) -> Value {
    let values: Vec<Value> = values.iter().map(|(kind, value)| json!({ "type": kind, "value": value })).collect();
    json!({ "tagValues": values, "metrics": {} })
}

/// The answer of `/api/search/tag/{tag}/values`.
pub fn tag_values_v1(values: &BTreeSet<(&'static str, String)>) -> Value {
    let values: BTreeSet<&String> = values.iter().map(|(_, value)| value).collect();
    json!({ "tagValues": values, "metrics": {} })
}
