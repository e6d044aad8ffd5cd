//! A query over the whole store, and the tags and values that are in it.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{TraceId, hex};
use crate::store::Store;
use crate::traceql::ast::{Intrinsic, Scope};
use crate::traceql::trace::TraceView;
use crate::traceql::{Field, Query, Spanset, Static, attributes_of, field_value};

/// Tempo's default number of traces in an answer.
pub const LIMIT_DEFAULT: usize = 20;
/// Tempo's default number of spans in a spanset of an answer.
pub const SPANS_PER_SPANSET_DEFAULT: usize = 3;
/// Most traces that may be asked for.
pub const LIMIT_MAX: usize = 262_144;
/// Most distinct values or names of a tag in an answer.
pub const TAG_VALUES_MAX: usize = 100_000;

/// What part of the store a search looks at, and how much of it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Only traces that end at or after this second.
    pub start_secs: Option<u64>,
    /// Only traces that start before or at this second.
    pub end_secs: Option<u64>,
    /// Most traces.
    pub limit: usize,
    /// Most spans of a spanset; 0 is all.
    pub spans_per_spanset: usize,
}

impl Default for Window {
    fn default() -> Self {
        Window { start_secs: None, end_secs: None, limit: LIMIT_DEFAULT, spans_per_spanset: SPANS_PER_SPANSET_DEFAULT }
    }
}

impl Window {
    fn overlaps(&self, trace: &TraceView<'_>) -> bool {
        const NANOS: u64 = 1_000_000_000;
        self.start_secs.is_none_or(|start| trace.end_unix_nano >= start.saturating_mul(NANOS))
            && self.end_secs.is_none_or(|end| trace.start_unix_nano <= end.saturating_mul(NANOS))
    }
}

/// A span of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundSpan {
    /// Its id, 16 digits.
    pub span_id: String,
    /// Its name.
    pub name: String,
    /// Nanoseconds since the epoch.
    pub start_unix_nano: u64,
    /// Nanoseconds.
    pub duration_nanos: u64,
    /// The values of the fields that the query reads or selects, as far as the span has them.
    pub attributes: Vec<(String, Static)>,
}

/// A spanset of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundSpanset {
    /// Its first spans by start.
    pub spans: Vec<FoundSpan>,
    /// How many there are in all.
    pub matched: usize,
    /// Groups and aggregates.
    pub attributes: Vec<(String, Static)>,
}

/// A trace of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundTrace {
    /// Its id.
    pub trace_id: TraceId,
    /// The root span's service.
    pub root_service_name: String,
    /// The root span's name.
    pub root_trace_name: String,
    /// Nanoseconds since the epoch.
    pub start_unix_nano: u64,
    /// Nanoseconds.
    pub duration_nanos: u64,
    /// What matched.
    pub spansets: Vec<FoundSpanset>,
    /// For each service the number of its spans and of those with an error.
    pub services: BTreeMap<String, (usize, usize)>,
}

/// The answer to a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// By start, the newest first; equal starts by id.
    pub traces: Vec<FoundTrace>,
    /// How many traces were looked at.
    pub inspected_traces: usize,
    /// Their size.
    pub inspected_bytes: usize,
}

/// Looks for the traces that match.
pub fn search(store: &Store, query: &Query, window: &Window) -> Found {
    let fields = query.fields();
    let mut found = Found { traces: Vec::new(), inspected_traces: 0, inspected_bytes: 0 };
    // Ordered by what the answer is ordered by, so that only `limit` rendered traces are kept.
    let mut best: BTreeMap<(std::cmp::Reverse<u64>, TraceId), FoundTrace> = BTreeMap::new();
    for (trace_id, trace) in store.traces() {
        let view = TraceView::new(&trace.batches);
        if !window.overlaps(&view) {
            continue;
        }
        found.inspected_traces += 1;
        found.inspected_bytes += trace.bytes();
        let spansets = query.evaluate(&view);
        if spansets.is_empty() {
            continue;
        }
        best.insert(
            (std::cmp::Reverse(view.start_unix_nano), trace_id),
            render(trace_id, &view, &spansets, &fields, window),
        );
        if best.len() > window.limit {
            best.pop_last();
        }
    }
    found.traces = best.into_values().collect();
    found
}

fn render(
    trace_id: TraceId,
    view: &TraceView<'_>,
    spansets: &[Spanset],
    fields: &[Field],
    window: &Window,
) -> FoundTrace {
    let mut services: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for span in &view.spans {
        let counts = services.entry(span.service_name().to_owned()).or_default();
        counts.0 += 1;
        counts.1 += usize::from(span.span.status.as_ref().is_some_and(|status| status.code == 2));
    }
    FoundTrace {
        trace_id,
        root_service_name: view.root_service_name().to_owned(),
        root_trace_name: view.root_name().to_owned(),
        start_unix_nano: view.start_unix_nano,
        duration_nanos: view.duration_nanos(),
        spansets: spansets.iter().map(|set| render_spanset(view, set, fields, window)).collect(),
        services,
    }
}

fn render_spanset(view: &TraceView<'_>, set: &Spanset, fields: &[Field], window: &Window) -> FoundSpanset {
    let mut order = set.spans.clone();
    order.sort_by_key(|&span| (view.spans[span].span.start_time_unix_nano, span));
    let most = if window.spans_per_spanset == 0 { usize::MAX } else { window.spans_per_spanset };
    FoundSpanset {
        matched: order.len(),
        attributes: set.attributes.clone(),
        spans: order.iter().take(most).map(|&span| render_span(view, span, fields)).collect(),
    }
}

fn render_span(view: &TraceView<'_>, index: usize, fields: &[Field]) -> FoundSpan {
    let span = &view.spans[index];
    let mut attributes: Vec<(String, Static)> = Vec::new();
    for field in fields {
        let name = match field {
            // These have a place of their own in an answer.
            Field::Intrinsic(
                Intrinsic::Name
                | Intrinsic::Duration
                | Intrinsic::TraceDuration
                | Intrinsic::RootName
                | Intrinsic::RootServiceName
                | Intrinsic::SpanId
                | Intrinsic::TraceId,
            ) => continue,
            Field::Intrinsic(intrinsic) => intrinsic.text().to_owned(),
            Field::Attribute { name, .. } => name.clone(),
        };
        let value = match field_value(field, index, view) {
            Static::Each(values) => values.into_iter().next().unwrap_or(Static::Nil),
            value => value,
        };
        if value != Static::Nil && attributes.iter().all(|(known, _)| *known != name) {
            attributes.push((name, value));
        }
    }
    FoundSpan {
        span_id: hex(&span.span.span_id),
        name: span.span.name.clone(),
        start_unix_nano: span.span.start_time_unix_nano,
        duration_nanos: span.duration_nanos(),
        attributes,
    }
}

/// The names of all attributes by scope, for `/api/v2/search/tags`.
pub fn tags(store: &Store, window: &Window) -> BTreeMap<Scope, BTreeSet<String>> {
    let mut names: BTreeMap<Scope, BTreeSet<String>> = BTreeMap::new();
    each_span(store, window, &mut |span, view| {
        attributes_of(span, view, &mut |scope, name, _| {
            let known = names.entry(scope).or_default();
            if known.len() < TAG_VALUES_MAX && !known.contains(name) {
                known.insert(name.to_owned());
            }
        });
    });
    names
}

/// The values of one field as (type, text), for `/api/v2/search/tag/{tag}/values`. `matching` narrows the spans.
pub fn tag_values(
    store: &Store,
    field: &Field,
    matching: Option<&Query>,
    window: &Window,
) -> BTreeSet<(&'static str, String)> {
    let mut values = BTreeSet::new();
    let mut add = |value: Static| {
        if values.len() < TAG_VALUES_MAX
            && let Some(kind) = type_name(&value)
        {
            values.insert((kind, value.plain()));
        }
    };
    for (_, trace) in store.traces() {
        let view = TraceView::new(&trace.batches);
        if !window.overlaps(&view) {
            continue;
        }
        let spans: BTreeSet<usize> = match matching {
            Some(query) => query.evaluate(&view).into_iter().flat_map(|set| set.spans).collect(),
            None => (0..view.spans.len()).collect(),
        };
        for span in spans {
            match field_value(field, span, &view) {
                Static::Array(many) | Static::Each(many) => many.into_iter().for_each(&mut add),
                one => add(one),
            }
        }
    }
    values
}

fn each_span(store: &Store, window: &Window, see: &mut dyn FnMut(usize, &TraceView<'_>)) {
    for (_, trace) in store.traces() {
        let view = TraceView::new(&trace.batches);
        if window.overlaps(&view) {
            (0..view.spans.len()).for_each(|span| see(span, &view));
        }
    }
}

fn type_name(value: &Static) -> Option<&'static str> {
    Some(match value {
        Static::String(_) => "string",
        Static::Int(_) => "int",
        Static::Float(_) => "float",
        Static::Bool(_) => "bool",
        Static::Duration(_) => "duration",
        Static::Status(_) | Static::Kind(_) => "keyword",
        Static::Nil | Static::Array(_) | Static::Each(_) => return None,
    })
}
