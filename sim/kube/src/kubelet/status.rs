//! The pod status a kubelet reports.

use serde_json::{Value, json};

use super::container::{Slot, State};
use crate::{json, workloads::set_condition};

fn state_value(state: &State) -> Value {
    match state {
        State::Waiting { reason, message } if message.is_empty() => json!({"waiting": {"reason": reason}}),
        State::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
        State::Running { since } => json!({"running": {"startedAt": since}}),
        State::Terminated(value) => json!({"terminated": value}),
    }
}

/// 64 hexadecimal digits that follow from a text.
pub(super) fn digest(text: &str) -> String {
    let part = |n: u8| json::fnv(&format!("{n}/{text}"));
    format!("{:016x}{:016x}{:016x}{:016x}", part(0), part(1), part(2), part(3))
}

/// An image reference without tag and digest.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => image,
    }
}

fn container(slot: &Slot) -> Value {
    let image = json::text(&slot.spec, &["image"]);
    let mut value = json!({
        "name": slot.spec["name"], "state": state_value(&slot.state), "lastState": slot.last.as_ref().map_or_else(|| json!({}), |l| json!({"terminated": l})),
        "ready": slot.ready, "restartCount": slot.restarts, "image": image,
        "imageID": if slot.runs > 0 { format!("{}@sha256:{}", repository(image), digest(image)) } else { String::new() },
        "started": slot.started,
    });
    let resources = json::at(&slot.spec, &["resources"]).filter(|r| r.as_object().is_some_and(|r| !r.is_empty()));
    if let Some(resources) = resources {
        value["resources"] = resources.clone();
        if let Some(requests) = resources.get("requests") {
            value["allocatedResources"] = requests.clone();
        }
    }
    let mounts: Vec<Value> = json::list(&slot.spec, &["volumeMounts"])
        .iter()
        .map(|m| {
            let mut mount = json!({"name": m["name"], "mountPath": m["mountPath"]});
            if m["readOnly"] == true {
                mount["readOnly"] = true.into();
                mount["recursiveReadOnly"] = "Disabled".into();
            }
            mount
        })
        .collect();
    if !mounts.is_empty() {
        value["volumeMounts"] = mounts.into();
    }
    if slot.runs > 0 {
        value["containerID"] = format!("containerd://{}", slot.id).into();
    }
    value
}

/// The whole status from the containers' states.
pub(super) fn pod_status(
    old: &Value,
    slots: &[Slot],
    phase: &str,
    pod_ip: &str,
    host_ip: &str,
    start_time: &str,
    time: &str,
) -> Value {
    let mut status = old.clone();
    json::ensure_map(&mut status);
    status["phase"] = phase.into();
    status["hostIP"] = host_ip.into();
    status["hostIPs"] = json!([{"ip": host_ip}]);
    status["podIP"] = pod_ip.into();
    status["podIPs"] = json!([{"ip": pod_ip}]);
    status["startTime"] = start_time.into();
    let done = matches!(phase, "Succeeded" | "Failed");
    let initialized = slots.iter().filter(|s| s.init).all(|s| if s.sidecar { s.started } else { s.completed() });
    let names =
        |list: Vec<&Slot>| list.iter().map(|s| json::text(&s.spec, &["name"]).to_owned()).collect::<Vec<_>>().join(" ");
    let unready: Vec<&Slot> = slots.iter().filter(|s| (s.main() || s.sidecar) && !s.ready).collect();
    let incomplete: Vec<&Slot> =
        slots.iter().filter(|s| s.init && if s.sidecar { !s.started } else { !s.completed() }).collect();
    let (init_reason, init_text) = if initialized {
        ("", String::new())
    } else {
        ("ContainersNotInitialized", format!("containers with incomplete status: [{}]", names(incomplete)))
    };
    let ready = unready.is_empty() && !done;
    let (reason, text) = if done {
        ("PodCompleted", String::new())
    } else if ready {
        ("", String::new())
    } else {
        ("ContainersNotReady", format!("containers with unready status: [{}]", names(unready)))
    };
    set_condition(&mut status, "PodReadyToStartContainers", !done, "", "", time, false);
    set_condition(&mut status, "Initialized", initialized, init_reason, &init_text, time, false);
    set_condition(&mut status, "Ready", ready, reason, &text, time, false);
    set_condition(&mut status, "ContainersReady", ready, reason, &text, time, false);
    for (key, of) in [
        ("initContainerStatuses", "initContainers"),
        ("containerStatuses", "containers"),
        ("ephemeralContainerStatuses", "ephemeralContainers"),
    ] {
        let list: Vec<Value> = slots.iter().filter(|s| s.list() == of).map(container).collect();
        if !list.is_empty() {
            status[key] = list.into();
        }
    }
    status
}
