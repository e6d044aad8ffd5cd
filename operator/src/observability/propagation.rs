//! The trace context in annotations: how one user's change is followed from object to object.
//!
//! Three annotations carry it. The time stamp says when the change was made; a context older than ten minutes is no parent any more but
//! a link, so that a trace ends when its change is done with.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use multigres_operator::observability::{TraceOrigin, propagation};
//!
//! let parent: propagation::TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
//! let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_770_832_214);
//! let annotations = propagation::annotations(&parent.span_context(""), now);
//! assert_eq!(annotations["multigres.com/traceparent-ts"], "1770832214");
//! assert_eq!(propagation::origin(&annotations, now), TraceOrigin::Child(parent.span_context("")));
//! ```

use std::{
    collections::BTreeMap,
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use super::TraceOrigin;

/// The annotation with the W3C `traceparent`.
pub const TRACEPARENT_ANNOTATION: &str = "multigres.com/traceparent";
/// The annotation with the W3C `tracestate`; absent when there is none.
pub const TRACESTATE_ANNOTATION: &str = "multigres.com/tracestate";
/// The annotation with the time of the change, in seconds since the Unix epoch.
pub const TRACEPARENT_TIME_ANNOTATION: &str = "multigres.com/traceparent-ts";
/// A context older than this is a link and no parent.
pub const TRACEPARENT_AGE_MAX: Duration = Duration::from_secs(10 * 60);

/// A W3C `traceparent` value.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace; never zero.
    pub trace_id: TraceId,
    /// The calling span; never zero.
    pub span_id: SpanId,
    /// Whether the caller sampled.
    pub sampled: bool,
}

/// Why a text is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceParentError {
    /// The parts do not have the lengths 2, 32, 16 and 2 with dashes between them.
    #[error("a traceparent has the form 00-<32 hex>-<16 hex>-<2 hex>")]
    Shape,
    /// Something else than lower-case hexadecimal digits.
    #[error("a traceparent is written in lower-case hexadecimal digits")]
    Digits,
    /// Version ff, or version 00 with something after the flags.
    #[error("this version of traceparent is not valid")]
    Version,
    /// The trace id or the span id is zero.
    #[error("a trace id or span id of zero is not valid")]
    Zero,
}

const TRACEPARENT_LEN: usize = 55;

impl FromStr for TraceParent {
    type Err = TraceParentError;

    /// Reads a value as the W3C recommendation says: version 00 exactly, later versions by their first four parts.
    fn from_str(text: &str) -> Result<Self, TraceParentError> {
        let bytes = text.as_bytes();
        if bytes.len() < TRACEPARENT_LEN || [2, 35, 52].iter().any(|dash| bytes[*dash] != b'-') {
            return Err(TraceParentError::Shape);
        }
        let parts = [&bytes[0..2], &bytes[3..35], &bytes[36..52], &bytes[53..55]];
        if parts.iter().any(|part| !part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))) {
            return Err(TraceParentError::Digits);
        }
        let rest = &bytes[TRACEPARENT_LEN..];
        let fits = match parts[0] {
            b"ff" => false,
            b"00" => rest.is_empty(),
            _ => rest.is_empty() || rest[0] == b'-',
        };
        if !fits {
            return Err(TraceParentError::Version);
        }
        // Sixteen bytes of checked hexadecimal digits fit.
        let number = |part: &[u8]| {
            part.iter().fold(0_u128, |n, b| (n << 4) | u128::from((*b as char).to_digit(16).unwrap_or(0)))
        };
        let trace_id = number(parts[1]);
        let span_id = number(parts[2]) as u64;
        if trace_id == 0 || span_id == 0 {
            return Err(TraceParentError::Zero);
        }
        Ok(Self {
            trace_id: TraceId::from(trace_id),
            span_id: SpanId::from(span_id),
            sampled: number(parts[3]) & 1 == 1,
        })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

impl TraceParent {
    /// The value for a span; none for one that is not valid.
    pub fn of(context: &SpanContext) -> Option<Self> {
        context.is_valid().then(|| Self {
            trace_id: context.trace_id(),
            span_id: context.span_id(),
            sampled: context.is_sampled(),
        })
    }

    /// The remote span that this value names. A `tracestate` that cannot be read is left out, as the recommendation says.
    pub fn span_context(&self, tracestate: &str) -> SpanContext {
        let flags = if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        let state = TraceState::from_str(tracestate).unwrap_or_default();
        SpanContext::new(self.trace_id, self.span_id, flags, true, state)
    }
}

/// The annotations that hand `context` on. None at all for a context that is not valid (tracing is off).
pub fn annotations(context: &SpanContext, now: SystemTime) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    if let Some(parent) = TraceParent::of(context) {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        annotations.insert(TRACEPARENT_ANNOTATION.to_owned(), parent.to_string());
        annotations.insert(TRACEPARENT_TIME_ANNOTATION.to_owned(), seconds.to_string());
        let state = context.trace_state().header();
        if !state.is_empty() {
            annotations.insert(TRACESTATE_ANNOTATION.to_owned(), state);
        }
    }
    annotations
}

/// The annotations that hand the trace of `from` on to a child: same trace and time of change, with the current span as the parent.
/// Empty where nothing is traced. An object that carries no context hands on the current span and the present time.
pub fn child_annotations(
    from: &BTreeMap<String, String>,
    current: Option<&SpanContext>,
    now: SystemTime,
) -> BTreeMap<String, String> {
    let Some(current) = current else { return BTreeMap::new() };
    let mut handed = annotations(current, now);
    let same_trace = remote(from).is_some_and(|remote| remote.trace_id() == current.trace_id());
    if let (true, Some(time)) = (same_trace && !handed.is_empty(), from.get(TRACEPARENT_TIME_ANNOTATION)) {
        handed.insert(TRACEPARENT_TIME_ANNOTATION.to_owned(), time.clone());
    }
    handed
}

/// The span that the annotations name, however old.
pub fn remote(annotations: &BTreeMap<String, String>) -> Option<SpanContext> {
    let parent: TraceParent = annotations.get(TRACEPARENT_ANNOTATION)?.parse().ok()?;
    Some(parent.span_context(annotations.get(TRACESTATE_ANNOTATION).map_or("", String::as_str)))
}

/// Where a root span hangs by the annotations of its object: a child of the change, a link to it when it is more than
/// [`TRACEPARENT_AGE_MAX`] old or says no time, alone when there is no (readable) context. A time in the future is fresh.
pub fn origin(annotations: &BTreeMap<String, String>, now: SystemTime) -> TraceOrigin {
    let Some(context) = remote(annotations) else { return TraceOrigin::Root };
    let age = annotations
        .get(TRACEPARENT_TIME_ANNOTATION)
        .and_then(|text| text.parse::<u64>().ok())
        .and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
        .map(|changed| now.duration_since(changed).unwrap_or_default());
    match age {
        Some(age) if age <= TRACEPARENT_AGE_MAX => TraceOrigin::Child(context),
        _ => TraceOrigin::Link(context),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALID: &str = "00-5e0d253c3e7b3db8671a8f7ad6c71180-63d1e01929da64a3-01";

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn carrying(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_the_recommendation_forbids_is_refused() {
        use TraceParentError::*;
        for (text, error) in [
            ("", Shape),
            ("00-5e0d253c3e7b3db8671a8f7ad6c71180-63d1e01929da64a3", Shape),
            ("00_5e0d253c3e7b3db8671a8f7ad6c71180-63d1e01929da64a3-01", Shape),
            ("00-5E0D253C3E7B3DB8671A8F7AD6C71180-63d1e01929da64a3-01", Digits),
            ("00-5e0d253c3e7b3db8671a8f7ad6c7118g-63d1e01929da64a3-01", Digits),
            ("ff-5e0d253c3e7b3db8671a8f7ad6c71180-63d1e01929da64a3-01", Version),
            ("00-5e0d253c3e7b3db8671a8f7ad6c71180-63d1e01929da64a3-01-x", Version),
            ("01-5e0d253c3e7b3db8671a8f7ad6c71180-63d1e01929da64a3-01x", Version),
            ("00-00000000000000000000000000000000-63d1e01929da64a3-01", Zero),
            ("00-5e0d253c3e7b3db8671a8f7ad6c71180-0000000000000000-01", Zero),
        ] {
            assert_eq!(text.parse::<TraceParent>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_later_version_is_read_by_its_first_parts() {
        let later: TraceParent =
            "cc-5e0d253c3e7b3db8671a8f7ad6c71180-63d1e01929da64a3-09-what-the-future-brings".parse().unwrap();
        assert_eq!(later, VALID.parse().unwrap());
    }

    #[test]
    fn ten_minutes_are_fresh_and_a_second_more_is_stale() {
        let context = VALID.parse::<TraceParent>().unwrap().span_context("");
        let object = carrying(&[(TRACEPARENT_ANNOTATION, VALID), (TRACEPARENT_TIME_ANNOTATION, "1000")]);
        assert_eq!(origin(&object, at(1600)), TraceOrigin::Child(context.clone()));
        assert_eq!(origin(&object, at(1601)), TraceOrigin::Link(context.clone()));
        assert_eq!(origin(&object, at(10)), TraceOrigin::Child(context));
    }

    #[test]
    fn without_a_readable_time_a_context_is_stale() {
        let context = VALID.parse::<TraceParent>().unwrap().span_context("");
        for time in [None, Some(""), Some("soon"), Some("-1"), Some("99999999999999999999999")] {
            let mut object = carrying(&[(TRACEPARENT_ANNOTATION, VALID)]);
            if let Some(time) = time {
                object.insert(TRACEPARENT_TIME_ANNOTATION.into(), time.into());
            }
            assert_eq!(origin(&object, at(0)), TraceOrigin::Link(context.clone()), "{time:?}");
        }
    }

    #[test]
    fn without_a_readable_context_a_span_is_a_root() {
        assert_eq!(origin(&BTreeMap::new(), at(0)), TraceOrigin::Root);
        assert_eq!(origin(&carrying(&[(TRACEPARENT_ANNOTATION, "00-nonsense")]), at(0)), TraceOrigin::Root);
        assert_eq!(origin(&carrying(&[(TRACEPARENT_TIME_ANNOTATION, "0")]), at(0)), TraceOrigin::Root);
    }

    #[test]
    fn nothing_is_written_for_a_context_that_is_not_valid() {
        assert!(annotations(&SpanContext::empty_context(), at(0)).is_empty());
        assert!(child_annotations(&BTreeMap::new(), None, at(0)).is_empty());
    }

    #[test]
    fn the_state_of_the_trace_travels_along() {
        let context = VALID.parse::<TraceParent>().unwrap().span_context("vendor=1");
        let written = annotations(&context, at(5));
        assert_eq!(written[TRACESTATE_ANNOTATION], "vendor=1");
        assert_eq!(origin(&written, at(5)), TraceOrigin::Child(context));
    }

    #[test]
    fn a_child_keeps_the_time_of_the_change_it_belongs_to() {
        let object = carrying(&[(TRACEPARENT_ANNOTATION, VALID), (TRACEPARENT_TIME_ANNOTATION, "1000")]);
        let mut current: TraceParent = VALID.parse().unwrap();
        current.span_id = SpanId::from(7_u64);
        let handed = child_annotations(&object, Some(&current.span_context("")), at(1300));
        assert_eq!(handed[TRACEPARENT_TIME_ANNOTATION], "1000");
        assert_eq!(handed[TRACEPARENT_ANNOTATION], current.to_string());
        current.trace_id = TraceId::from(7_u128);
        let other = child_annotations(&object, Some(&current.span_context("")), at(1300));
        assert_eq!(other[TRACEPARENT_TIME_ANNOTATION], "1300");
    }

    proptest! {
        #[test]
        fn a_traceparent_survives_writing_and_reading(trace in 1_u128.., span in 1_u64.., sampled in any::<bool>()) {
            let parent = TraceParent { trace_id: TraceId::from(trace), span_id: SpanId::from(span), sampled };
            prop_assert_eq!(parent.to_string().parse(), Ok(parent));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,70}") {
            let _ = text.parse::<TraceParent>();
        }

        #[test]
        fn nearly_right_texts_are_read_or_refused(text in "[0-9a-f]{2}-[0-9a-fA]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,3})?") {
            if let Ok(parent) = text.parse::<TraceParent>() {
                prop_assert_eq!(&parent.to_string()[3..52], &text[3..52]);
            }
        }
    }
}
