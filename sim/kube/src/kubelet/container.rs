//! One container of a pod, as its worker knows it.

use serde_json::Value;
use sim_clock::{Timestamp, watch};
use tokio::task::JoinHandle;

use super::{Files, Stdout};
use crate::json;

/// What a container is doing.
#[derive(Clone, Debug)]
pub(super) enum State {
    Waiting { reason: &'static str, message: String },
    Running { since: String },
    Terminated(Value),
}

/// One container of the pod.
pub(super) struct Slot {
    pub spec: Value,
    pub init: bool,
    pub sidecar: bool,
    /// Added to a pod that runs, to look at it: never started again, and nothing waits for it.
    pub ephemeral: bool,
    pub state: State,
    pub last: Option<Value>,
    pub restarts: u64,
    pub runs: u64,
    pub started: bool,
    pub ready: bool,
    pub id: String,
    pub files: Files,
    pub mounts: Vec<String>,
    pub pauses: u32,
    /// Pulls of its image that failed in a row.
    pub pulls_failed: u32,
    pub began: Timestamp,
    pub pending: bool,
    pub stop: Option<watch::Sender<bool>>,
    pub stdout: Option<Stdout>,
    pub tasks: Vec<JoinHandle<()>>,
}

impl Slot {
    pub(super) fn new(spec: &Value, init: bool) -> Self {
        let sidecar = init && spec["restartPolicy"] == "Always";
        let reason = if init { "PodInitializing" } else { "ContainerCreating" };
        Self {
            spec: spec.clone(),
            init,
            sidecar,
            ephemeral: false,
            state: State::Waiting { reason, message: String::new() },
            last: None,
            restarts: 0,
            runs: 0,
            started: false,
            ready: false,
            id: String::new(),
            files: Files::default(),
            mounts: Vec::new(),
            pauses: 0,
            pulls_failed: 0,
            began: Timestamp::default(),
            pending: false,
            stop: None,
            stdout: None,
            tasks: Vec::new(),
        }
    }

    /// One of `ephemeralContainers`.
    pub(super) fn ephemeral(spec: &Value) -> Self {
        Self { ephemeral: true, ..Self::new(spec, false) }
    }

    /// True of one that makes up what the pod is: neither an init container nor an ephemeral one.
    pub(super) fn main(&self) -> bool {
        !self.init && !self.ephemeral
    }

    /// The list of the pod's `spec` that it is of.
    pub(super) fn list(&self) -> &'static str {
        match (self.init, self.ephemeral) {
            (true, _) => "initContainers",
            (_, true) => "ephemeralContainers",
            _ => "containers",
        }
    }

    pub(super) fn name(&self) -> &str {
        json::text(&self.spec, &["name"])
    }

    /// True if it ended well.
    pub(super) fn completed(&self) -> bool {
        matches!(&self.state, State::Terminated(t) if t["exitCode"] == 0)
    }

    pub(super) fn running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    pub(super) fn abort(&mut self) {
        self.tasks.drain(..).for_each(|t| t.abort());
        self.stop = None;
    }
}
