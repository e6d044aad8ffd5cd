//! A run as data.

use serde::Serialize;

/// One run of one scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunReport {
    /// The scenario's path below the scenarios' folder, without its ending: `topology/etcd-unavailable`.
    pub scenario: String,
    /// Its summary.
    pub summary: String,
    /// The seed it ran with.
    pub seed: u64,
    /// How long it ran, virtual milliseconds from zero.
    pub duration_ms: i64,
    /// The virtual wall clock at zero, RFC 3339.
    pub zero: String,
    /// What happened, in order of time.
    pub moments: Vec<Moment>,
    /// What was expected, in order of the file.
    pub expectations: Vec<Judged>,
    /// Why the run could not be judged, if it could not.
    pub error: Option<String>,
}

impl RunReport {
    /// Whether the run could be judged and everything expected held.
    pub fn passed(&self) -> bool {
        self.error.is_none() && self.expectations.iter().all(|judged| judged.ok)
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// When, virtual milliseconds from zero.
    pub at_ms: i64,
    /// What sort of thing.
    pub lane: Lane,
    /// What, in one line.
    pub text: String,
}

/// The sort of a [`Moment`].
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// The scenario caused a fault or healed one.
    Fault,
    /// The scenario did something else.
    Action,
    /// A custom resource changed its phase.
    Phase,
    /// A Kubernetes event of another kind, at its first appearance.
    Event,
    /// An alert became pending, fired or resolved.
    Alert,
    /// Somebody was told of alerts.
    Told,
}

impl Lane {
    /// The word for it in a story.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Action => "action",
            Self::Phase => "phase",
            Self::Event => "event",
            Self::Alert => "alert",
            Self::Told => "told",
        }
    }
}

/// An expectation and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// Its line in the scenario file.
    pub line: u32,
    /// The expectation in one line.
    pub what: String,
    /// Whether it held.
    pub ok: bool,
    /// Where it did not: what was expected, the nearest thing that happened, what surrounded it.
    pub story: String,
}
