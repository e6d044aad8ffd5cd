//! How a run is told.
//!
//! [`RunReport`] is a run as data, without wall time, host names or absolute paths: the same seed gives the same
//! report, byte for byte. [`terminal`] tells it to a person, [`json`] writes it for programs.
//!
//! ```
//! use scenario_report::{Judged, Lane, Moment, RunReport, terminal};
//! let report = RunReport {
//!     scenario: "alerts/quiet".into(),
//!     summary: "Nothing happens.".into(),
//!     seed: 1,
//!     duration_ms: 60_000,
//!     zero: "2026-02-11T17:50:30Z".into(),
//!     moments: vec![Moment { at_ms: 0, lane: Lane::Action, text: "apply minimal.yaml".into() }],
//!     expectations: vec![Judged { line: 7, what: "no alert fires".into(), ok: true, story: String::new() }],
//!     error: None,
//! };
//! assert!(report.passed());
//! assert!(terminal::line(&report, None, terminal::Style::PLAIN).starts_with("ok   alerts/quiet"));
//! ```

pub mod json;
pub mod model;
pub mod terminal;

pub use model::{Judged, Lane, Moment, RunReport};
