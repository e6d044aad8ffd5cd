//! The scenario file format as data: types, schema, diagnostics.
//!
//! A scenario is YAML that a site reliability engineer can read aloud: what the world looks like, what happens when,
//! and what the telemetry must then say. This crate turns such a file into a [`Scenario`], or into a list of
//! [`Finding`]s that name file, line and column and say what was probably meant. It runs nothing, and knows no query
//! language, no fault and no disk: those come in through [`Checkers`].
//!
//! - [`parse`] reads the form, [`check`](check::check) judges the meaning, [`load`] does both.
//! - [`Comparison`], [`Window`], [`Subject`] and [`parse_duration`] are the small grammars, the same everywhere.
//! - [`schema::schema`] is the JSON Schema for editors (`scenarios/schema.json`).
//!
//! ```
//! let text = "
//! name: quiet
//! summary: nothing happens
//! promises: [E2]
//! duration: 5m
//! expect:
//!   - alerts: none
//! ";
//! let (scenario, findings) = scenario_language::parse("quiet.yaml", text);
//! assert!(findings.is_empty());
//! assert_eq!(scenario.unwrap().expect[0].describe(), "no alert fires");
//!
//! let (_, findings) = scenario_language::parse("loud.yaml", &text.replace("duration", "durations"));
//! assert_eq!(findings[0].help.as_deref(), Some("did you mean `duration`?"));
//! ```

pub mod check;
pub mod compare;
mod decode;
mod decode_expect;
pub mod finding;
pub mod model;
mod node;
mod promises;
mod reader;
pub mod schema;
pub mod span;
pub mod subject;
pub mod time;

pub use check::{Checkers, FaultSpec, Files, OnDisk, ParamKind, ParamSpec, load, resolve};
pub use compare::{Comparison, ComparisonError, Number, Pattern};
pub use decode::parse;
pub use finding::{Code, Finding, Severity, render};
pub use model::*;
pub use promises::PROMISES;
pub use span::{Span, Spanned};
pub use subject::{Subject, SubjectError, Which};
pub use time::{StageWindow, TimeError, Window, format_duration, parse_duration};
