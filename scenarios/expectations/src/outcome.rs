//! What became of an expectation, and the story of it.

use std::time::Duration;

use scenario_language::format_duration;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// What was seen at one instant, compared with what was expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Story {
    /// What was expected, in one line.
    pub expected: String,
    /// What was found instead, or what satisfied it, in one line.
    pub found: String,
    /// The nearest thing that happened and what surrounded it, line by line.
    pub details: Vec<String>,
    /// The same for machines; its shape depends on the kind of expectation.
    pub data: Value,
}

impl Story {
    /// A story without details.
    pub fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { expected: expected.into(), found: found.into(), details: Vec::new(), data: Value::Null }
    }

    /// Adds details.
    pub fn with(mut self, details: Vec<String>) -> Self {
        self.details.extend(details);
        self
    }

    /// Sets the part for machines.
    pub fn data(mut self, data: Value) -> Self {
        self.data = data;
        self
    }
}

/// The answer at one instant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Observation {
    /// When, from zero.
    #[serde(serialize_with = "as_duration")]
    pub at: Duration,
    /// Whether what is expected was so at that instant (`not: true` already applied).
    pub ok: bool,
    /// What was seen.
    pub story: Story,
}

/// The verdict on an expectation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The expectation's place in the scenario's list, from 0.
    pub expectation: usize,
    /// Its line in the file.
    pub line: usize,
    /// The expectation in one line.
    pub title: String,
    /// Whether it holds.
    pub ok: bool,
    /// The instant that decided.
    #[serde(serialize_with = "as_duration")]
    pub at: Duration,
    /// Why.
    pub story: Story,
    /// A snapshot to compare or to write; the runner owns the files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub golden: Option<Golden>,
}

/// The rendering that a `golden` expectation is about. `ok` of its outcome is true until the runner has compared it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Golden {
    /// The path below `golden/`, without `.snap`.
    pub path: String,
    /// What the snapshot has to be.
    pub text: String,
}

/// Durations in reports are written as in scenario files.
pub fn as_duration<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_duration(*duration))
}
