//! What a kubelet says of itself while nothing happens: its node's Lease every ten seconds, the node's status every five minutes.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use sim_clock::{Timestamp, now};

use super::Shared;
use crate::{
    engine::{Engine, Target, WriteOptions},
    json,
    status::Status,
    workloads::{RENEWAL, healthy_conditions, renewal_phase},
};

/// Where the leases are.
const NAMESPACE: &str = "kube-node-lease";
/// After how many seconds without a renewal others may take a node for lost.
const LEASE_DURATION_SECS: i64 = 40;
/// How often a status that is the same as before is reported (`nodeStatusReportFrequency`).
const REPORT: Duration = Duration::from_secs(300);

/// The Lease of a node that registers.
///
/// # Errors
/// If the API server refuses it.
pub(crate) fn register(engine: &mut Engine, node: &Value, now: Timestamp) -> Result<(), Status> {
    let name = json::name(node);
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": json::uid(node)});
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": NAMESPACE, "ownerReferences": [owner]},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_DURATION_SECS, "renewTime": now.rfc3339_micros()}});
    // Uids of leases come from chance of their own.
    engine
        .aside(&format!("kube/lease/{name}"), |engine| engine.create_object(lease, &WriteOptions::by("kubelet"), now))
        .map(drop)
}

/// Reports for all nodes until the world ends, each in its own rhythm.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut outages = shared.outages.watch();
    loop {
        let from = now();
        let next = shared.nodes.keys().map(|node| next_renewal(node, from)).min();
        let Some(next) = next else { return };
        tokio::select! {
            biased;
            changed = outages.changed() => {
                if changed.is_err() {
                    return;
                }
                // A kubelet that is back reports at once.
                report(&shared, |renewed, _| now().since(renewed) >= RENEWAL);
            }
            () = tokio::time::sleep(next.since(from)) => report(&shared, |_, node| next_renewal(node, from) <= now()),
        }
    }
}

/// The next time after an instant at which a node's kubelet renews.
fn next_renewal(node: &str, after: Timestamp) -> Timestamp {
    let (period, seconds) = (RENEWAL.as_secs() as i64, after.as_secs());
    Timestamp::from_secs(seconds + period - (seconds - renewal_phase(node)).rem_euclid(period))
}

/// Reports for those nodes whose kubelet lives and that `due` chooses by their last renewal and name.
fn report(shared: &Shared, due: impl Fn(Timestamp, &str) -> bool) {
    let mut engine = shared.server.engine();
    for name in shared.nodes.keys().filter(|name| !shared.outages.kubelet_dead(name)) {
        // A kubelet whose Lease somebody deleted makes a new one; without a node it does nothing.
        let Some(lease) = engine.peek("leases.coordination.k8s.io", NAMESPACE, name).cloned() else {
            if let Some(node) = engine.peek("nodes", "", name).cloned() {
                let _ = register(&mut engine, &node, now());
            }
            continue;
        };
        let time = shared.outages.clock(name, now());
        if !due(time_of(&lease["spec"]["renewTime"]).unwrap_or_default(), name) {
            continue;
        }
        engine.renew(&lease, &time.rfc3339_micros());
        status(&mut engine, name, time);
    }
}

/// Tells the same status again once it is old.
fn status(engine: &mut Engine, name: &str, time: Timestamp) {
    let Some(node) = engine.peek("nodes", "", name) else { return };
    let conditions = json::list(node, &["status", "conditions"]);
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
    let told = ready.filter(|ready| ready["status"] == "True").and_then(|ready| time_of(&ready["lastHeartbeatTime"]));
    // One that others found silent is taken back by the controller of nodes.
    if told.is_some_and(|told| time.since(told) >= REPORT) {
        let mut next = node.to_content();
        next["status"]["conditions"] = healthy_conditions(&node["status"], &time.rfc3339()).into();
        // The lock is held since the read: nothing can have come between.
        let _ = engine
            .target_of(&next)
            .map(|target| Target { subresource: "status".into(), ..target })
            .and_then(|target| engine.update(&target, next, &WriteOptions::by("kubelet"), now()));
    }
}

fn time_of(value: &Value) -> Option<Timestamp> {
    let parsed: jiff::Timestamp = value.as_str()?.parse().ok()?;
    Some(Timestamp::from_millis(parsed.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_a_rhythm_of_its_own() {
        let start = Timestamp::from_secs(1_700_000_003);
        for node in ["node-0", "node-1", "node-2"] {
            let first = next_renewal(node, start);
            assert!(first > start && first.since(start) <= RENEWAL);
            assert_eq!(next_renewal(node, first), first + RENEWAL);
        }
    }
}
