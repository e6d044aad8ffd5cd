//! One trace as the evaluator sees it: flat spans, and how they hang together.

use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use std::collections::BTreeMap;

use super::ast::Static;

/// Shown for what only a root span could tell, while there is none.
pub const ROOT_SPAN_NOT_YET_RECEIVED: &str = "<root span not yet received>";

/// A span with what it inherits.
#[derive(Clone, Copy, Debug)]
pub struct SpanView<'a> {
    /// The span.
    pub span: &'a Span,
    /// Its resource, if it was sent with one.
    pub resource: Option<&'a Resource>,
    /// Its instrumentation scope, if it was sent with one.
    pub scope: Option<&'a InstrumentationScope>,
}

/// A span's place in the tree as nested-set numbers: a descendant's interval lies inside its ancestor's.
///
/// All three are 0 for a span that no root span leads to: Tempo numbers only what hangs on a root, so structural operators
/// do not see orphans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NestedSet {
    /// Number on the way down.
    pub left: i64,
    /// Number on the way up.
    pub right: i64,
    /// The parent's `left`; -1 for a root.
    pub parent: i64,
}

/// A trace ready to be queried.
#[derive(Debug)]
pub struct TraceView<'a> {
    /// All spans, in the order in which they came.
    pub spans: Vec<SpanView<'a>>,
    /// For each span its place in the tree.
    pub places: Vec<NestedSet>,
    /// For each span the number of its children.
    pub children: Vec<usize>,
    /// The root span that names the trace: the earliest one.
    pub root: Option<usize>,
    /// The earliest start, nanoseconds since the epoch.
    pub start_unix_nano: u64,
    /// The latest end, nanoseconds since the epoch.
    pub end_unix_nano: u64,
}

impl<'a> TraceView<'a> {
    /// Looks at the spans of one trace.
    pub fn new(batches: &'a [ResourceSpans]) -> Self {
        let mut spans = Vec::new();
        for batch in batches {
            for scoped in &batch.scope_spans {
                for span in &scoped.spans {
                    spans.push(SpanView { span, resource: batch.resource.as_ref(), scope: scoped.scope.as_ref() });
                }
            }
        }
        let by_id: BTreeMap<&[u8], usize> =
            spans.iter().enumerate().rev().map(|(i, view)| (view.span.span_id.as_slice(), i)).collect();
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); spans.len()];
        let mut roots = Vec::new();
        for (i, view) in spans.iter().enumerate() {
            if view.is_root() {
                roots.push(i);
            } else if let Some(&parent) = by_id.get(view.span.parent_span_id.as_slice()) {
                children[parent].push(i);
            }
        }
        let root = roots.iter().copied().min_by_key(|&i| (spans[i].span.start_time_unix_nano, i));
        let start_unix_nano = spans.iter().map(|view| view.span.start_time_unix_nano).min().unwrap_or(0);
        let end_unix_nano = spans.iter().map(|view| view.span.end_time_unix_nano).max().unwrap_or(0);
        TraceView {
            places: number(&roots, &children),
            children: children.iter().map(Vec::len).collect(),
            spans,
            root,
            start_unix_nano,
            end_unix_nano,
        }
    }

    /// From the earliest start to the latest end.
    pub fn duration_nanos(&self) -> u64 {
        self.end_unix_nano.saturating_sub(self.start_unix_nano)
    }

    /// The name of the root span, or Tempo's placeholder.
    pub fn root_name(&self) -> &'a str {
        self.root.map_or(ROOT_SPAN_NOT_YET_RECEIVED, |root| self.spans[root].span.name.as_str())
    }

    /// The service of the root span, or Tempo's placeholder.
    pub fn root_service_name(&self) -> &'a str {
        self.root.map_or(ROOT_SPAN_NOT_YET_RECEIVED, |root| self.spans[root].service_name())
    }
}

impl<'a> SpanView<'a> {
    /// Whether it has no parent, be it here or elsewhere.
    pub fn is_root(&self) -> bool {
        self.span.parent_span_id.iter().all(|&byte| byte == 0)
    }

    /// `service.name` of its resource, or nothing.
    pub fn service_name(&self) -> &'a str {
        let attributes = self.resource.map_or(&[][..], |resource| &resource.attributes);
        match attributes.iter().find(|kv| kv.key == "service.name").and_then(|kv| kv.value.as_ref()) {
            Some(AnyValue { value: Some(Value::StringValue(name)) }) => name,
            _ => "",
        }
    }

    /// From start to end; a span that ends before it starts has none.
    pub fn duration_nanos(&self) -> u64 {
        self.span.end_time_unix_nano.saturating_sub(self.span.start_time_unix_nano)
    }
}

/// Walks every tree below the roots, without recursion: a chain of spans may be long, and parents may form a cycle (which
/// no root leads to).
fn number(roots: &[usize], children: &[Vec<usize>]) -> Vec<NestedSet> {
    let mut places = vec![NestedSet::default(); children.len()];
    let mut next = 0;
    for &root in roots {
        let mut path = vec![(root, 0)];
        next += 1;
        places[root] = NestedSet { left: next, right: 0, parent: -1 };
        while let Some((span, child)) = path.last_mut() {
            let span = *span;
            if let Some(&below) = children[span].get(*child) {
                *child += 1;
                next += 1;
                places[below] = NestedSet { left: next, right: 0, parent: places[span].left };
                path.push((below, 0));
            } else {
                next += 1;
                places[span].right = next;
                path.pop();
            }
        }
    }
    places
}

/// The value of an attribute, or nil.
pub fn attribute(attributes: &[KeyValue], name: &str) -> Static {
    attributes.iter().find(|kv| kv.key == name).and_then(|kv| kv.value.as_ref()).map_or(Static::Nil, static_of)
}

/// An OTLP value as TraceQL sees it: maps and bytes have no TraceQL type and are not seen.
pub fn static_of(value: &AnyValue) -> Static {
    match &value.value {
        Some(Value::StringValue(s)) => Static::String(s.clone()),
        Some(Value::BoolValue(b)) => Static::Bool(*b),
        Some(Value::IntValue(i)) => Static::Int(*i),
        Some(Value::DoubleValue(x)) => Static::Float(*x),
        Some(Value::ArrayValue(array)) => Static::Array(
            array.values.iter().map(static_of).filter(|v| !matches!(v, Static::Nil | Static::Array(_))).collect(),
        ),
        _ => Static::Nil,
    }
}
