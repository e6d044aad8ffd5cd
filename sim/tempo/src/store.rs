//! The trace store: pushed spans by trace, with Tempo's limits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use sim_clock::{Engine, Timestamp};

use crate::Error;
use crate::ids::{SPAN_ID_BYTES, TRACE_ID_BYTES, TraceId};

/// Tempo's default of `overrides.defaults.global.max_bytes_per_trace`.
pub const TRACE_BYTES_MAX: usize = 5_000_000;
/// Tempo's default of `overrides.defaults.ingestion.max_traces_per_user`.
pub const LIVE_TRACES_MAX: usize = 10_000;
/// Tempo's default of `ingester.trace_idle_period`: for so long after its last span a trace counts as live.
pub const TRACE_IDLE_PERIOD: Duration = Duration::from_secs(10);
/// Tempo's default of `compactor.compaction.block_retention`.
pub const BLOCK_RETENTION: Duration = Duration::from_secs(14 * 24 * 3600);
/// Traces kept in all; the oldest go first. A limit of this store only: Tempo has a disk.
pub const STORED_TRACES_MAX: usize = 1_000_000;

/// The limits of a store; the defaults are the constants of this module.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one trace, encoded; 0 is no limit.
    pub trace_bytes_max: usize,
    /// Traces that receive spans at one time; 0 is no limit.
    pub live_traces_max: usize,
    /// How long after its last span a trace is live.
    pub trace_idle_period: Duration,
    /// How long after its last span a trace is kept; zero is for ever.
    pub block_retention: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            trace_bytes_max: TRACE_BYTES_MAX,
            live_traces_max: LIVE_TRACES_MAX,
            trace_idle_period: TRACE_IDLE_PERIOD,
            block_retention: BLOCK_RETENTION,
        }
    }
}

/// Why spans were not kept; the labels of Tempo's `tempo_discarded_spans_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Discard {
    /// `trace_too_large`
    TraceTooLarge,
    /// `live_traces_exceeded`
    LiveTracesExceeded,
}

impl Discard {
    /// The value of the label `reason`.
    pub fn reason(self) -> &'static str {
        match self {
            Discard::TraceTooLarge => "trace_too_large",
            Discard::LiveTracesExceeded => "live_traces_exceeded",
        }
    }
}

/// What became of the spans that were pushed; `received` is the sum of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// All spans of all accepted requests.
    pub spans_received: u64,
    /// Kept.
    pub spans_stored: u64,
    /// Had been pushed before: same trace, span id and kind.
    pub spans_duplicate: u64,
    /// Not kept because of a limit.
    pub spans_discarded: BTreeMap<Discard, u64>,
    /// Traces forgotten because of their age or number.
    pub traces_expired: u64,
}

/// A stored trace.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Its spans, those of one resource and scope together, in the order in which they came.
    pub batches: Vec<ResourceSpans>,
    /// Tempo tells spans apart by id and kind: with shared span ids (Zipkin) client and server have the same id.
    seen: BTreeSet<([u8; SPAN_ID_BYTES], i32)>,
    bytes: usize,
    last_push: Timestamp,
}

/// All traces.
#[derive(Debug, Default)]
pub struct Store {
    limits: Limits,
    traces: BTreeMap<TraceId, Trace>,
    /// Traces by the time of their last span, the oldest first.
    by_last_push: BTreeSet<(Timestamp, TraceId)>,
    counters: Counters,
}

/// One span on its way into a trace.
struct Incoming<'a> {
    batch: &'a ResourceSpans,
    scoped: &'a ScopeSpans,
    span: Span,
}

impl Store {
    /// An empty store.
    pub fn new(limits: Limits) -> Self {
        Store { limits, ..Store::default() }
    }

    /// Takes the spans of a request. A span with an id of the wrong length refuses the whole request, as in Tempo's
    /// distributor; a limit discards the spans of the trace that exceeds it and is not an error for the sender.
    pub fn push(&mut self, now: Timestamp, request: ExportTraceServiceRequest) -> Result<(), Error> {
        self.expire(now);
        for (trace_id, incoming) in by_trace(&request)? {
            self.push_trace(now, trace_id, incoming);
        }
        Ok(())
    }

    fn push_trace(&mut self, now: Timestamp, id: TraceId, incoming: Vec<Incoming<'_>>) {
        let count = incoming.len() as u64;
        self.counters.spans_received += count;
        if !self.traces.contains_key(&id)
            && self.limits.live_traces_max > 0
            && self.live_traces(now) >= self.limits.live_traces_max
        {
            *self.counters.spans_discarded.entry(Discard::LiveTracesExceeded).or_default() += count;
            return;
        }
        let bytes: usize = incoming.iter().map(|incoming| incoming.span.encoded_len()).sum();
        let before = self.traces.get(&id).map_or(0, |trace| trace.bytes);
        if self.limits.trace_bytes_max > 0 && before + bytes > self.limits.trace_bytes_max {
            *self.counters.spans_discarded.entry(Discard::TraceTooLarge).or_default() += count;
            return;
        }
        let trace = self.traces.entry(id).or_default();
        self.by_last_push.remove(&(trace.last_push, id));
        self.by_last_push.insert((now, id));
        trace.last_push = now;
        for incoming in incoming {
            if trace.insert(incoming) {
                self.counters.spans_stored += 1;
            } else {
                self.counters.spans_duplicate += 1;
            }
        }
    }

    /// Traces whose last span is younger than the idle period.
    pub fn live_traces(&self, now: Timestamp) -> usize {
        self.by_last_push
            .iter()
            .rev()
            .take_while(|(last_push, _)| now.since(*last_push) < self.limits.trace_idle_period)
            .count()
    }

    /// Forgets what is older than the retention, or too much.
    pub fn expire(&mut self, now: Timestamp) {
        while let Some(&(last_push, id)) = self.by_last_push.first() {
            let retention = self.limits.block_retention;
            let too_old = !retention.is_zero() && now.since(last_push) > retention;
            if !too_old && self.traces.len() <= STORED_TRACES_MAX {
                return;
            }
            self.by_last_push.pop_first();
            self.traces.remove(&id);
            self.counters.traces_expired += 1;
        }
    }

    /// The spans of one trace.
    pub fn trace(&self, id: TraceId) -> Option<&Trace> {
        self.traces.get(&id)
    }

    /// All traces, by id.
    pub fn traces(&self) -> impl Iterator<Item = (TraceId, &Trace)> {
        self.traces.iter().map(|(id, trace)| (*id, trace))
    }

    /// What became of all spans so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl Engine for Store {
    type Input = ExportTraceServiceRequest;
    type Effect = Error;

    /// [`Store::push`] as a step: the effect is the error, if there is one.
    fn step(&mut self, now: Timestamp, input: Self::Input) -> Vec<Self::Effect> {
        self.push(now, input).err().into_iter().collect()
    }
}

impl Trace {
    /// Its size on the wire, as the limit counts it.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn insert(&mut self, incoming: Incoming<'_>) -> bool {
        let Incoming { batch, scoped, span } = incoming;
        let mut id = [0; SPAN_ID_BYTES];
        id.copy_from_slice(&span.span_id);
        if !self.seen.insert((id, span.kind)) {
            return false;
        }
        self.bytes += span.encoded_len();
        let same_batch =
            |known: &ResourceSpans| known.resource == batch.resource && known.schema_url == batch.schema_url;
        let at = self.batches.iter().position(same_batch).unwrap_or_else(|| {
            let (resource, schema_url) = (batch.resource.clone(), batch.schema_url.clone());
            self.batches.push(ResourceSpans { resource, scope_spans: Vec::new(), schema_url });
            self.batches.len() - 1
        });
        let scopes = &mut self.batches[at].scope_spans;
        let same_scope = |known: &ScopeSpans| known.scope == scoped.scope && known.schema_url == scoped.schema_url;
        let at = scopes.iter().position(same_scope).unwrap_or_else(|| {
            let (scope, schema_url) = (scoped.scope.clone(), scoped.schema_url.clone());
            scopes.push(ScopeSpans { scope, spans: Vec::new(), schema_url });
            scopes.len() - 1
        });
        scopes[at].spans.push(span);
        true
    }
}

fn by_trace(request: &ExportTraceServiceRequest) -> Result<BTreeMap<TraceId, Vec<Incoming<'_>>>, Error> {
    let mut traces: BTreeMap<TraceId, Vec<Incoming<'_>>> = BTreeMap::new();
    for batch in &request.resource_spans {
        for scoped in &batch.scope_spans {
            for span in &scoped.spans {
                let id: [u8; TRACE_ID_BYTES] =
                    span.trace_id.as_slice().try_into().map_err(|_| Error::TraceIdBits(span.trace_id.len() * 8))?;
                if span.span_id.len() != SPAN_ID_BYTES {
                    return Err(Error::SpanIdBits(span.span_id.len() * 8));
                }
                traces.entry(TraceId(id)).or_default().push(Incoming { batch, scoped, span: span.clone() });
            }
        }
    }
    Ok(traces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(spans: &[(u8, u8)]) -> ExportTraceServiceRequest {
        let spans = spans.iter().map(|(trace, span)| Span {
            trace_id: vec![*trace; 16],
            span_id: vec![*span; 8],
            name: format!("span {span}"),
            ..Span::default()
        });
        let scoped = ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() };
        let batch = ResourceSpans { scope_spans: vec![scoped], ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![batch] }
    }

    #[test]
    fn a_trace_that_grows_too_large_loses_the_push_and_keeps_the_rest() {
        let mut store = Store::new(Limits { trace_bytes_max: 100, ..Limits::default() });
        store.push(Timestamp::from_secs(1), request(&[(1, 1), (1, 2)])).unwrap();
        store.push(Timestamp::from_secs(2), request(&[(1, 3), (1, 4), (2, 1)])).unwrap();
        assert_eq!(store.counters().spans_discarded[&Discard::TraceTooLarge], 2);
        assert_eq!(store.counters().spans_stored, 3);
    }

    #[test]
    fn only_so_many_traces_are_live_at_once() {
        let mut store = Store::new(Limits { live_traces_max: 1, ..Limits::default() });
        store.push(Timestamp::from_secs(1), request(&[(1, 1), (2, 1)])).unwrap();
        assert_eq!(store.counters().spans_discarded[&Discard::LiveTracesExceeded], 1);
        store.push(Timestamp::from_secs(60), request(&[(2, 1)])).unwrap();
        assert_eq!(store.counters().spans_stored, 2, "the first trace is idle by then");
    }

    #[test]
    fn retention_forgets_old_traces() {
        let mut store = Store::new(Limits { block_retention: Duration::from_secs(3600), ..Limits::default() });
        store.push(Timestamp::from_secs(0), request(&[(1, 1)])).unwrap();
        store.expire(Timestamp::from_secs(3600));
        assert_eq!(store.traces().count(), 1);
        store.expire(Timestamp::from_secs(3601));
        assert_eq!(store.traces().count(), 0);
    }

    #[test]
    fn an_id_of_the_wrong_length_refuses_the_request() {
        let mut wrong = request(&[(1, 1)]);
        wrong.resource_spans[0].scope_spans[0].spans[0].trace_id.pop();
        let error = Store::default().push(Timestamp::from_secs(0), wrong).unwrap_err();
        assert_eq!(error.to_string(), "trace ids must be 128 bit, received 120 bits");
    }

    proptest! {
        #[test]
        fn the_order_and_repetition_of_pushes_do_not_change_what_is_stored(
            spans in proptest::collection::vec((0u8..4, 1u8..12), 0..40),
            cut in 0usize..40,
        ) {
            let ids = |store: &Store| -> Vec<(TraceId, Vec<u8>)> {
                let mut ids: Vec<_> = store
                    .traces()
                    .flat_map(|(id, trace)| {
                        trace.batches.iter().flat_map(|b| &b.scope_spans).flat_map(|s| &s.spans).map(move |s| (id, s.span_id.clone()))
                    })
                    .collect();
                ids.sort();
                ids
            };
            let mut once = Store::new(Limits::default());
            once.push(Timestamp::from_secs(0), request(&spans)).unwrap();
            let mut pieces = Store::new(Limits::default());
            let (head, tail) = spans.split_at(cut.min(spans.len()));
            for part in [tail, head, tail] {
                pieces.push(Timestamp::from_secs(0), request(part)).unwrap();
            }
            prop_assert_eq!(ids(&once), ids(&pieces));
            let unique: BTreeSet<_> = spans.iter().collect();
            prop_assert_eq!(ids(&once).len(), unique.len());
            let counters = pieces.counters();
            prop_assert_eq!(counters.spans_stored, unique.len() as u64);
            prop_assert_eq!(counters.spans_received, counters.spans_stored + counters.spans_duplicate);
        }
    }
}
