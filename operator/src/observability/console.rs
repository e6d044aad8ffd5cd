//! Spans as lines, for who has no Collector at hand (`OTEL_TRACES_EXPORTER=console`).

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use opentelemetry::{
    Context, KeyValue, Value as AttributeValue,
    trace::{SpanId, SpanKind, Status},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanProcessor},
};
use serde_json::{Map, Value, json};

use super::{go_format::go_duration, registry::Counter};
use crate::host::LogWriter;

/// Writes each span when it ends.
pub struct ConsoleProcessor {
    /// Where lines go.
    pub write: LogWriter,
    /// What became of spans.
    pub outcomes: Counter,
}

impl fmt::Debug for ConsoleProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsoleProcessor").finish_non_exhaustive()
    }
}

impl SpanProcessor for ConsoleProcessor {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            (self.write)(&line(&span));
            self.outcomes.inc(&["exported"]);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// A finished span as one JSON object, in the shape of a log line: level, time (of its end), message, then what it says.
fn line(span: &SpanData) -> String {
    let duration = span.end_time.duration_since(span.start_time).unwrap_or_default();
    let mut line = Map::new();
    let mut put = |key: &str, value: Value| line.insert(key.to_owned(), value);
    put("level", json!("info"));
    put("ts", json!(instant(span.end_time)));
    put("msg", json!("span"));
    put("name", json!(span.name));
    put("kind", json!(kind(&span.span_kind)));
    put("trace_id", json!(span.span_context.trace_id().to_string()));
    put("span_id", json!(span.span_context.span_id().to_string()));
    if span.parent_span_id != SpanId::INVALID {
        put("parent_span_id", json!(span.parent_span_id.to_string()));
    }
    put("start", json!(instant(span.start_time)));
    put("duration", json!(go_duration(duration)));
    match &span.status {
        Status::Unset => {}
        Status::Ok => drop(put("status", json!("ok"))),
        Status::Error { description } => {
            put("status", json!("error"));
            put("error", json!(description));
        }
    }
    put("attributes", attributes(&span.attributes));
    if !span.events.is_empty() {
        let events = span.events.iter().map(|event| {
            let after = event.timestamp.duration_since(span.start_time).unwrap_or(Duration::ZERO);
            json!({"name": event.name, "after": go_duration(after), "attributes": attributes(&event.attributes)})
        });
        put("events", events.collect());
    }
    if !span.links.is_empty() {
        let links = span.links.iter().map(|link| {
            json!({"trace_id": link.span_context.trace_id().to_string(), "span_id": link.span_context.span_id().to_string()})
        });
        put("links", links.collect());
    }
    Value::Object(line).to_string()
}

fn instant(time: SystemTime) -> String {
    Timestamp::try_from(time).map(|time| format!("{time:.6}")).unwrap_or_default()
}

fn kind(kind: &SpanKind) -> &'static str {
    match kind {
        SpanKind::Client => "client",
        SpanKind::Server => "server",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
        SpanKind::Internal => "internal",
    }
}

fn attributes(pairs: &[KeyValue]) -> Value {
    let value = |value: &AttributeValue| match value {
        AttributeValue::Bool(value) => json!(value),
        AttributeValue::I64(value) => json!(value),
        AttributeValue::F64(value) => json!(value),
        other => json!(other.to_string()),
    };
    Value::Object(pairs.iter().map(|pair| (pair.key.to_string(), value(&pair.value))).collect())
}
