//! Spans as they wait and as they are sent: encoded when they end.
//!
//! A span in the SDK's own form takes four to five times the room of its OTLP form, and one that waits is not read again. So each is
//! encoded once, by itself and without the SDK's detour over messages, which would copy every string; and a request only puts lengths
//! between them: on the wire an embedded message is a field of bytes.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::{
    KeyValue, SpanId, TraceId, Value,
    trace::{SpanContext, SpanKind, Status},
};
use opentelemetry_proto::{
    tonic::{
        common::v1::{AnyValue, InstrumentationScope},
        resource::v1::Resource,
        trace::v1::SpanFlags,
    },
    transform::common::tonic::ResourceAttributesWithSchema,
};
use opentelemetry_sdk::trace::SpanData;
use prost::Message;

/// Room for most spans.
const SPAN_BYTES_USUAL: usize = 512;

/// A finished span as an OTLP `Span` message.
pub struct EncodedSpan(Vec<u8>);

impl EncodedSpan {
    /// Encodes a span.
    pub fn new(span: &SpanData) -> Self {
        let mut wire = Wire(Vec::with_capacity(SPAN_BYTES_USUAL));
        let context = &span.span_context;
        wire.ids(context);
        if span.parent_span_id != SpanId::INVALID {
            wire.bytes(4, &span.parent_span_id.to_bytes());
        }
        wire.bytes(5, span.name.as_bytes());
        wire.integer(6, kind(&span.span_kind));
        wire.fixed64(7, nanos(span.start_time));
        wire.fixed64(8, nanos(span.end_time));
        wire.attributes(9, &span.attributes);
        wire.integer(10, span.dropped_attributes_count.into());
        for event in span.events.iter() {
            wire.message(11, |wire| {
                wire.fixed64(1, nanos(event.timestamp));
                wire.bytes(2, event.name.as_bytes());
                wire.attributes(3, &event.attributes);
                wire.integer(4, event.dropped_attributes_count.into());
            });
        }
        wire.integer(12, span.events.dropped_count.into());
        for link in span.links.iter() {
            wire.message(13, |wire| {
                wire.ids(&link.span_context);
                wire.attributes(4, &link.attributes);
                wire.integer(5, link.dropped_attributes_count.into());
                wire.fixed32(6, flags(&link.span_context, link.span_context.is_remote()));
            });
        }
        wire.integer(14, span.links.dropped_count.into());
        wire.message(15, |wire| match &span.status {
            Status::Unset => {}
            Status::Ok => wire.integer(3, 1),
            Status::Error { description } => {
                wire.bytes(2, description.as_bytes());
                wire.integer(3, 2);
            }
        });
        wire.fixed32(16, flags(context, span.parent_span_is_remote));
        let mut bytes = wire.0;
        bytes.shrink_to_fit();
        Self(bytes)
    }
}

fn kind(kind: &SpanKind) -> u64 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

/// The W3C flags, and whether what is above it is of another process.
fn flags(context: &SpanContext, remote: bool) -> u32 {
    let remote = if remote { SpanFlags::ContextIsRemoteMask as u32 } else { 0 };
    u32::from(context.trace_flags().to_u8()) | SpanFlags::ContextHasIsRemoteMask as u32 | remote
}

fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// How the fields of a message are written: with their numbers, and none that is empty or zero.
enum WireType {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    Fixed32 = 5,
}

/// A message of protobuf that is being written.
struct Wire(Vec<u8>);

impl Wire {
    fn key(&mut self, field: u32, wire_type: WireType) {
        self.varint(u64::from(field << 3) | wire_type as u64);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn integer(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.key(field, WireType::Varint);
            self.varint(value);
        }
    }

    fn fixed64(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.key(field, WireType::Fixed64);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn fixed32(&mut self, field: u32, value: u32) {
        if value != 0 {
            self.key(field, WireType::Fixed32);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.present(field, value);
        }
    }

    /// Bytes that are said even where there are none.
    fn present(&mut self, field: u32, value: &[u8]) {
        self.key(field, WireType::Bytes);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// An embedded message. Its length is known when it is written: it moves to make room for it.
    fn message(&mut self, field: u32, fill: impl FnOnce(&mut Self)) {
        self.key(field, WireType::Bytes);
        let start = self.0.len();
        fill(self);
        let end = self.0.len();
        self.varint((end - start) as u64);
        let room = self.0.len() - end;
        self.0[start..].rotate_right(room);
    }

    /// `trace_id`, `span_id` and `trace_state`, which spans and links begin with.
    fn ids(&mut self, context: &SpanContext) {
        self.present(1, &TraceId::to_bytes(context.trace_id()));
        self.present(2, &SpanId::to_bytes(context.span_id()));
        self.bytes(3, context.trace_state().header().as_bytes());
    }

    fn attributes(&mut self, field: u32, attributes: &[KeyValue]) {
        for attribute in attributes {
            self.message(field, |wire| {
                wire.bytes(1, attribute.key.as_str().as_bytes());
                wire.message(2, |wire| wire.value(&attribute.value));
            });
        }
    }

    /// An `AnyValue`, which says also what is empty or zero.
    fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.present(1, text.as_str().as_bytes()),
            Value::Bool(bool) => {
                self.key(2, WireType::Varint);
                self.varint(u64::from(*bool));
            }
            Value::I64(number) => {
                self.key(3, WireType::Varint);
                self.varint(*number as u64);
            }
            Value::F64(number) => {
                self.key(4, WireType::Fixed64);
                self.0.extend_from_slice(&number.to_le_bytes());
            }
            // Lists are rare.
            other => self.0.extend_from_slice(&AnyValue::from(other.clone()).encode_to_vec()),
        }
    }
}

/// What all spans of an operator share: its resource and its instrumentation scope.
pub struct Envelope {
    resource: Resource,
    resource_schema_url: String,
    scope: InstrumentationScope,
}

impl Envelope {
    /// The envelope of one resource and of one scope, which has a name and nothing else.
    pub fn new(resource: &opentelemetry_sdk::Resource, scope_name: &str) -> Self {
        let mut resource: ResourceAttributesWithSchema = resource.into();
        // The SDK keeps a resource in a hash map; what goes over the wire is ordered.
        resource.attributes.0.sort_by(|a, b| a.key.cmp(&b.key));
        Self {
            resource: Resource { attributes: resource.attributes.0, ..Resource::default() },
            resource_schema_url: resource.schema_url.unwrap_or_default(),
            scope: InstrumentationScope { name: scope_name.to_owned(), ..InstrumentationScope::default() },
        }
    }

    /// An encoded `ExportTraceServiceRequest` of these spans.
    pub fn request(&self, spans: Vec<EncodedSpan>) -> Vec<u8> {
        Request {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(self.scope.clone()),
                    spans: spans.into_iter().map(|span| span.0).collect(),
                }],
                schema_url: self.resource_schema_url.clone(),
            }],
        }
        .encode_to_vec()
    }
}

/// `opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`.
#[derive(Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

/// `opentelemetry.proto.trace.v1.ResourceSpans`.
#[derive(Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
    #[prost(string, tag = "3")]
    schema_url: String,
}

/// `opentelemetry.proto.trace.v1.ScopeSpans`, whose spans are encoded already.
#[derive(Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<InstrumentationScope>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    spans: Vec<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::{
        Context, TraceFlags,
        trace::{Span as _, TraceContextExt, TraceState, Tracer, TracerProvider},
    };
    use opentelemetry_proto::{
        tonic::collector::trace::v1::ExportTraceServiceRequest,
        transform::trace::tonic::group_spans_by_resource_and_scope,
    };
    use opentelemetry_sdk::{
        error::OTelSdkResult,
        trace::{SdkTracerProvider, SpanProcessor},
    };
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanProcessor for Kept {
        fn on_start(&self, _: &mut opentelemetry_sdk::trace::Span, _: &Context) {}

        fn on_end(&self, span: SpanData) {
            self.0.lock().unwrap().push(span);
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: std::time::Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    fn value(number: i64) -> Value {
        match number % 5 {
            0 => Value::from(number),
            1 => Value::from(number as f64 / 3.0),
            2 => Value::from(number > 0),
            3 => Value::Array(vec![number, 0].into()),
            _ => Value::from("x".repeat((number % 200).unsigned_abs() as usize)),
        }
    }

    fn spans(described: &[(String, Vec<(String, i64)>, bool)], scope: &'static str) -> Vec<SpanData> {
        let kept = Kept::default();
        let provider = SdkTracerProvider::builder().with_span_processor(kept.clone()).build();
        let tracer = provider.tracer(scope);
        for (name, attributes, failed) in described {
            let state = TraceState::from_key_value([("vendor", "a"), ("other", "b")]).unwrap();
            let state = if *failed { state } else { TraceState::default() };
            let remote = SpanContext::new(TraceId::from(7), SpanId::from(9), TraceFlags::SAMPLED, *failed, state);
            let parent = Context::new().with_remote_span_context(remote.clone());
            let kinds =
                [SpanKind::Client, SpanKind::Server, SpanKind::Internal, SpanKind::Producer, SpanKind::Consumer];
            let kind = kinds[name.len() % kinds.len()].clone();
            let builder = tracer.span_builder(name.clone()).with_kind(kind);
            let mut span = if *failed { builder.start_with_context(&tracer, &parent) } else { builder.start(&tracer) };
            for (key, number) in attributes {
                span.set_attribute(KeyValue::new(key.clone(), value(*number)));
                span.add_event("exception", vec![KeyValue::new(key.clone(), value(number / 5))]);
                span.add_link(remote.clone(), vec![KeyValue::new(key.clone(), value(number / 3))]);
            }
            match (failed, name.len() % 2) {
                (true, _) => span.set_status(Status::error("it failed")),
                (false, 0) => span.set_status(Status::Ok),
                (false, _) => {}
            }
            span.end();
        }
        std::mem::take(&mut kept.0.lock().unwrap())
    }

    proptest! {
        /// The SDK's own way there, and ours, byte for byte.
        #[test]
        fn a_request_is_what_the_sdk_would_send(
            described in prop::collection::vec((".{0,20}", prop::collection::vec(("[a-z.]{1,8}", any::<i64>()), 0..4), any::<bool>()), 1..6)
        ) {
            let resource = opentelemetry_sdk::Resource::builder_empty()
                .with_schema_url([KeyValue::new("service.name", "multigres-operator")], "https://schema")
                .build();
            let spans = spans(&described, "scope");
            prop_assert_eq!(spans.len(), described.len());
            let theirs = ExportTraceServiceRequest {
                resource_spans: group_spans_by_resource_and_scope(spans.clone(), &(&resource).into()),
            };
            let ours = Envelope::new(&resource, "scope").request(spans.iter().map(EncodedSpan::new).collect());
            prop_assert_eq!(ours, theirs.encode_to_vec());
        }
    }
}
