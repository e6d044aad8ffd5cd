//! What a scenario may expect, one file a kind; findings.
//!
//! Expectations talk to six query interfaces ([`Backends`]) and to nothing else, so that the simulated parts and the real
//! ones are asked the same questions. Each kind is a pure function from what the interfaces answer to a [`Story`], and a
//! thin asynchronous part that asks.
//!
//! - [`Judge`] says when it wants to look ([`Judge::next`]), looks ([`Judge::look`]) and gives the verdicts at the end
//!   ([`Judge::finish`]). [`plan`] is the same as data.
//! - Events, objects, etcd records and scrape targets are looked at while the world runs: once a second until they are as
//!   a `by` or `within` wants them, every five seconds while they have to stay so.
//! - Queries, alerts, traces, logs and correlations are judged after the end from what was recorded, at the instants that
//!   the expectation names.
//! - [`span_match::find`] compares span trees, [`golden::render_golden`] and [`diff::diff`] compare snapshots.
//!
//! ```
//! use scenario_expectations::{span_match::find, span_tree::SpanTree};
//! use scenario_language::SpanPattern;
//! use serde_json::json;
//!
//! let tree = SpanTree::from_otlp(&json!({"batches": [{"scopeSpans": [{"spans": [
//!     {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "00f067aa0ba902b7", "name": "Cell.Reconcile"}
//! ]}]}]}));
//! let wanted = SpanPattern { name: "Cell.Reconcile".into(), ..SpanPattern::default() };
//! assert!(find(&wanted, &tree).unwrap().ok);
//! ```

pub mod alert;
mod alert_story;
pub mod backends;
pub mod correlation;
pub mod diff;
pub mod event;
pub mod golden;
pub mod judge;
pub mod logs;
pub mod notification;
pub mod object;
pub mod outcome;
pub mod path;
pub mod query;
pub mod scrape;
pub mod span_match;
pub mod span_tree;
#[cfg(test)]
mod testing;
pub mod timestamps;
pub mod topology;
pub mod trace;
pub mod yaml;

use std::time::Duration;

pub use backends::{BackendError, Backends, LogLine, Memo};
pub use diff::diff;
pub use golden::{GoldenInput, render_golden};
pub use judge::{Judge, Looks, Plan, evaluate, plan};
pub use outcome::{Golden, Observation, Outcome, Story};
pub use span_tree::{SpanNode, SpanTree};

/// The scenario's time against the world's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunClock {
    /// The scenario's zero, in nanoseconds since the Unix epoch.
    pub zero_ns: i64,
    /// The end of the run, from zero.
    pub end: Duration,
}

impl RunClock {
    /// An instant in nanoseconds since the Unix epoch.
    pub fn at_ns(&self, at: Duration) -> i64 {
        self.zero_ns.saturating_add(i64::try_from(at.as_nanos()).unwrap_or(i64::MAX))
    }

    /// An instant in milliseconds since the Unix epoch.
    pub fn at_ms(&self, at: Duration) -> i64 {
        self.at_ns(at).div_euclid(1_000_000)
    }

    /// The time from zero to an instant in milliseconds since the Unix epoch; zero for earlier ones.
    pub fn since_zero_ms(&self, at_ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(at_ms.saturating_sub(self.zero_ns.div_euclid(1_000_000))).unwrap_or(0))
    }

    /// First and last second of the run and of what was flushed after it.
    pub fn whole_run_s(&self, now_ns: i64) -> (i64, i64) {
        let end_ns = self.at_ns(self.end).max(now_ns);
        (self.zero_ns.div_euclid(1_000_000_000), end_ns.div_euclid(1_000_000_000) + 1)
    }
}
