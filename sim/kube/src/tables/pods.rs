//! Pods.

use serde_json::{Value, json};
use sim_clock::Timestamp;

use super::{Cells, Row, duration, text};
use crate::json;

const COLUMNS: &[Row] = &[
    ("Name", "string", 0),
    ("Ready", "string", 0),
    ("Status", "string", 0),
    ("Restarts", "string", 0),
    ("Age", "string", 0),
    ("IP", "string", 1),
    ("Node", "string", 1),
    ("Nominated Node", "string", 1),
    ("Readiness Gates", "string", 1),
];

pub(super) fn printer(table: &str) -> Option<(&'static [Row], Cells)> {
    (table == "pods").then_some((COLUMNS, cells as Cells))
}

/// The condition of the row of a pod that has ended.
pub(super) fn row_condition(object: &Value) -> Option<Value> {
    if object.get("kind").and_then(Value::as_str) != Some("Pod") {
        return None;
    }
    let (reason, message) = match json::text(object, &["status", "phase"]) {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!({"type": "Completed", "status": "True", "reason": reason, "message": message}))
}

/// Restarts with the instant of the last one.
#[derive(Default)]
struct Restarts {
    count: i64,
    last: String,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += json::int(status, &["restartCount"]).unwrap_or(0);
        let ended = json::text(status, &["lastState", "terminated", "finishedAt"]);
        // RFC 3339 in UTC with whole seconds sorts as text.
        if ended > self.last.as_str() {
            ended.clone_into(&mut self.last);
        }
    }

    fn text(&self, now: Timestamp) -> String {
        if self.count != 0 && !self.last.is_empty() {
            format!("{} ({} ago)", self.count, duration::age(&self.last, now))
        } else {
            self.count.to_string()
        }
    }
}

struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: Restarts,
}

fn state<'a>(status: &'a Value, which: &str) -> Option<&'a Value> {
    json::at(status, &["state", which]).filter(|s| s.is_object())
}

fn ended(terminated: &Value) -> String {
    match (json::text(terminated, &["reason"]), json::int(terminated, &["signal"]).unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", json::int(terminated, &["exitCode"]).unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn is_on(status: &Value, key: &str) -> bool {
    status.get(key) == Some(&Value::Bool(true))
}

fn summary(pod: &Value) -> Summary {
    let status = pod.get("status").unwrap_or(&Value::Null);
    let inits = json::list(pod, &["spec", "initContainers"]);
    let sidecar = |name: &str| {
        inits.iter().any(|c| json::text(c, &["name"]) == name && json::text(c, &["restartPolicy"]) == "Always")
    };
    let sidecars = inits.iter().filter(|c| json::text(c, &["restartPolicy"]) == "Always").count();
    let mut s = Summary {
        ready: 0,
        total: json::list(pod, &["spec", "containers"]).len() + sidecars,
        reason: json::text(status, &["phase"]).to_owned(),
        restarts: Restarts::default(),
    };
    if !json::text(status, &["reason"]).is_empty() {
        json::text(status, &["reason"]).clone_into(&mut s.reason);
    }
    let conditions = json::list(status, &["conditions"]);
    if conditions
        .iter()
        .any(|c| json::text(c, &["type"]) == "PodScheduled" && json::text(c, &["reason"]) == "SchedulingGated")
    {
        s.reason = "SchedulingGated".into();
    }
    let mut of_sidecars = Restarts::default();
    let initializing = initialization(&mut s, status, inits.len(), &sidecar, &mut of_sidecars);
    if !initializing || text::condition(pod, "Initialized") {
        s.restarts = of_sidecars;
        let mut running = false;
        for container in json::list(status, &["containerStatuses"]).iter().rev() {
            s.restarts.add(container);
            let waiting = state(container, "waiting").map_or("", |w| json::text(w, &["reason"]));
            if !waiting.is_empty() {
                waiting.clone_into(&mut s.reason);
            } else if let Some(terminated) = state(container, "terminated") {
                s.reason = ended(terminated);
            } else if is_on(container, "ready") && state(container, "running").is_some() {
                running = true;
                s.ready += 1;
            }
        }
        if s.reason == "Completed" && running {
            s.reason = if text::condition(pod, "Ready") { "Running" } else { "NotReady" }.into();
        }
    }
    if json::deleting(pod) {
        if json::text(status, &["reason"]) == "NodeLost" {
            s.reason = "Unknown".into();
        } else if !matches!(json::text(status, &["phase"]), "Succeeded" | "Failed") {
            s.reason = "Terminating".into();
        }
    }
    s
}

/// Looks at the init containers up to the first that has not done its part; true if there is one.
fn initialization(
    s: &mut Summary,
    status: &Value,
    count: usize,
    sidecar: &dyn Fn(&str) -> bool,
    of_sidecars: &mut Restarts,
) -> bool {
    for (i, container) in json::list(status, &["initContainerStatuses"]).iter().enumerate() {
        s.restarts.add(container);
        let restartable = sidecar(json::text(container, &["name"]));
        if restartable {
            of_sidecars.add(container);
        }
        let terminated = state(container, "terminated");
        let waiting = state(container, "waiting").map_or("", |w| json::text(w, &["reason"]));
        if terminated.is_some_and(|t| json::int(t, &["exitCode"]).unwrap_or(0) == 0) {
            continue;
        }
        if restartable && is_on(container, "started") {
            s.ready += usize::from(is_on(container, "ready"));
            continue;
        }
        s.reason = match terminated {
            Some(terminated) => format!("Init:{}", ended(terminated)),
            None if !matches!(waiting, "" | "PodInitializing") => format!("Init:{waiting}"),
            None => format!("Init:{i}/{count}"),
        };
        return true;
    }
    false
}

fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let s = summary(pod);
    let ip = match json::list(pod, &["status", "podIPs"]).first() {
        Some(first) => text::or_none(first, &["ip"]),
        None => text::or_none(pod, &["status", "podIP"]),
    };
    let gates = json::list(pod, &["spec", "readinessGates"]);
    let met = gates.iter().filter(|g| text::condition(pod, json::text(g, &["conditionType"]))).count();
    let gates = if gates.is_empty() { text::NONE.to_owned() } else { format!("{met}/{}", gates.len()) };
    vec![
        text::name(pod),
        format!("{}/{}", s.ready, s.total).into(),
        s.reason.as_str().into(),
        s.restarts.text(now).into(),
        text::created(pod, now),
        ip,
        text::or_none(pod, &["spec", "nodeName"]),
        text::or_none(pod, &["status", "nominatedNodeName"]),
        gates.into(),
    ]
}
