//! Leaf types of the telemetry wire, shared by every part that speaks Prometheus.
//!
//! | module | what it holds |
//! |---|---|
//! | [`duration`] | Prometheus-style durations: `1h30m`, `15s`, `500ms` |
//! | [`labels`] | [`Labels`]: a sorted, cheaply cloned label set |
//! | [`matcher`] | [`Matcher`]: `=`, `!=`, `=~`, `!~`, regular expressions fully anchored |
//! | [`sample`] | [`Sample`], the stale marker and Go's way to print a float |
//! | [`exposition`] | parser of the text format 0.0.4 and of OpenMetrics 1.0 |
//!
//! Nothing here does I/O or knows a clock.
//!
//! ```
//! use sim_wire::{exposition::{self, Format}, Matcher, MatchOp};
//!
//! let text = "# TYPE requests counter\nrequests_total{code=\"200\"} 3\n# EOF\n";
//! let page = exposition::parse(text, Format::OpenMetrics).unwrap();
//! assert_eq!(page.samples[0].labels.to_string(), r#"{__name__="requests_total", code="200"}"#);
//!
//! let matcher = Matcher::new(MatchOp::Regex, "code", "2..").unwrap();
//! assert!(matcher.matches_labels(&page.samples[0].labels));
//! assert_eq!(sim_wire::duration::parse("1h30m").unwrap().as_secs(), 5400);
//! ```

pub mod duration;
pub mod exposition;
pub mod labels;
pub mod matcher;
pub mod sample;

pub use labels::{Labels, LabelsBuilder, METRIC_NAME};
pub use matcher::{MatchOp, Matcher};
pub use sample::{STALE_NAN, STALE_NAN_BITS, Sample, format_float, is_stale};

/// Everything that can be wrong with text of the telemetry wire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is not a Prometheus duration.
    #[error("not a valid duration string: {text:?}")]
    Duration {
        /// The offending text.
        text: String,
    },
    /// A part of the text has a unit that there is not.
    #[error("unknown unit {unit:?} in duration {text:?}")]
    DurationUnit {
        /// The unit.
        unit: String,
        /// The offending text.
        text: String,
    },
    /// The duration is well formed and does not fit.
    #[error("duration out of range")]
    DurationRange {
        /// The offending text.
        text: String,
    },
    /// A regular expression of a matcher does not compile.
    #[error("error parsing regexp: {message}")]
    Regex {
        /// What the regex compiler says.
        message: String,
    },
    /// An exposition body is malformed.
    #[error("line {line}: {message}")]
    Exposition {
        /// One-based line number.
        line: usize,
        /// What is wrong there.
        message: String,
    },
}
