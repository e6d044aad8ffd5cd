use serde_json::{Value, json};
use sim_clock::Timestamp;

use super::*;
use crate::resources::Registry;

/// 2026-01-01T01:00:00Z
const NOW: Timestamp = Timestamp::from_secs(1_767_229_200);

fn cells(group: &str, plural: &str, mut object: Value) -> Vec<String> {
    object["metadata"]["creationTimestamp"] = "2026-01-01T00:55:00Z".into();
    let registry = Registry::default();
    let resource = registry.get(group, "v1", plural).expect("a served resource");
    let printer = Printer::of(resource);
    let cells = printer.cells(&object, NOW);
    assert_eq!(cells.len(), printer.columns().len(), "one cell a column");
    cells.iter().map(jsonpath::print).collect()
}

fn pod(spec: Value, status: Value) -> Vec<String> {
    cells("", "pods", json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": spec, "status": status}))
}

#[test]
fn a_pods_row_says_what_its_containers_do() {
    let one = json!({"nodeName": "n", "containers": [{"name": "a"}]});
    let status = |phase: &str, container: Value| json!({"phase": phase, "containerStatuses": [container]});
    let running = json!({"ready": true, "restartCount": 0, "state": {"running": {}}});
    let restarted = json!({"ready": true, "restartCount": 3, "state": {"running": {}}, "lastState": {"terminated": {"finishedAt": "2026-01-01T00:55:00Z"}}});
    for (container, phase, ready, reason, restarts) in [
        (running, "Running", "1/1", "Running", "0"),
        (restarted, "Running", "1/1", "Running", "3 (5m ago)"),
        (
            json!({"restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}),
            "Running",
            "0/1",
            "CrashLoopBackOff",
            "2",
        ),
        (
            json!({"state": {"terminated": {"reason": "Completed", "exitCode": 0}}}),
            "Succeeded",
            "0/1",
            "Completed",
            "0",
        ),
        (json!({"state": {"terminated": {"exitCode": 3}}}), "Failed", "0/1", "ExitCode:3", "0"),
        (json!({"state": {"terminated": {"signal": 9, "exitCode": 137}}}), "Failed", "0/1", "Signal:9", "0"),
    ] {
        let found = pod(one.clone(), status(phase, container));
        assert_eq!((&*found[1], &*found[2], &*found[3]), (ready, reason, restarts));
        assert_eq!(&found[4..], ["5m", "<none>", "n", "<none>", "<none>"]);
    }
}

#[test]
fn a_pods_init_containers_come_first() {
    let spec = json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]});
    let status = |inits: Value| json!({"phase": "Pending", "initContainerStatuses": inits});
    let row = |inits: Value| {
        let r = pod(spec.clone(), status(inits));
        (r[1].clone(), r[2].clone())
    };
    let done = json!({"name": "i", "state": {"terminated": {"exitCode": 0}}});
    assert_eq!(row(json!([{"name": "i", "state": {"running": {}}}])), ("0/2".into(), "Init:0/2".into()));
    assert_eq!(
        row(json!([done, {"name": "s", "state": {"waiting": {"reason": "PodInitializing"}}}])),
        ("0/2".into(), "Init:1/2".into())
    );
    assert_eq!(
        row(json!([done, {"name": "s", "started": true, "ready": true, "state": {"running": {}}}])),
        ("1/2".into(), "Pending".into())
    );
    assert_eq!(
        row(json!([{"name": "i", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}])),
        ("0/2".into(), "Init:Error".into())
    );
    assert_eq!(
        row(json!([{"name": "i", "state": {"waiting": {"reason": "ImagePullBackOff"}}}])),
        ("0/2".into(), "Init:ImagePullBackOff".into())
    );
}

#[test]
fn a_pod_that_is_being_deleted_says_so() {
    let object = |reason: &str| json!({"kind": "Pod", "metadata": {"name": "p", "deletionTimestamp": "2026-01-01T01:00:00Z"}, "spec": {"containers": [{}]}, "status": {"phase": "Running", "reason": reason}});
    assert_eq!(cells("", "pods", object(""))[2], "Terminating");
    assert_eq!(cells("", "pods", object("NodeLost"))[2], "Unknown");
}

#[test]
fn each_kind_has_the_cells_of_its_printer() {
    let m = || json!({"name": "x"});
    let deployment = json!({"metadata": m(), "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "j"}]}}}, "status": {"readyReplicas": 1, "updatedReplicas": 2}});
    assert_eq!(cells("apps", "deployments", deployment), ["x", "1/3", "2", "0", "5m", "c,d", "i:1,j", "a=b"]);
    let service = json!({"metadata": m(), "spec": {"type": "NodePort", "clusterIP": "10.96.0.9", "selector": {"b": "2", "a": "1"}, "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}});
    assert_eq!(
        cells("", "services", service),
        ["x", "NodePort", "10.96.0.9", "<none>", "80:30080/TCP,53/UDP", "5m", "a=1,b=2"]
    );
    let endpoints = json!({"metadata": m(), "subsets": [{"addresses": [{"ip": "1.1.1.1"}, {"ip": "1.1.1.2"}], "ports": [{"port": 80}, {"port": 443}]}]});
    assert_eq!(cells("", "endpoints", endpoints), ["x", "1.1.1.1:80,1.1.1.2:80,1.1.1.1:443 + 1 more...", "5m"]);
    let event = json!({"metadata": m(), "type": "Warning", "reason": "BackOff", "message": "m\n", "count": 4, "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:59:30Z", "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{a}"}, "source": {"component": "kubelet", "host": "n"}});
    assert_eq!(
        cells("", "events", event),
        ["30s", "Warning", "BackOff", "pod/p", "spec.containers{a}", "kubelet, n", "m", "60m", "4", "x"]
    );
    let budget = json!({"metadata": m(), "spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 1}});
    assert_eq!(cells("policy", "poddisruptionbudgets", budget), ["x", "50%", "N/A", "1", "5m"]);
    let claim = json!({"metadata": m(), "spec": {"volumeName": "v", "storageClassName": "fast"}, "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]}});
    assert_eq!(
        cells("", "persistentvolumeclaims", claim),
        ["x", "Bound", "v", "1Gi", "RWO,RWX", "fast", "<unset>", "5m", "<unset>"]
    );
    let node = json!({"metadata": {"name": "x", "labels": {"node-role.kubernetes.io/control-plane": ""}}, "spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}], "nodeInfo": {"kubeletVersion": "v1"}}});
    assert_eq!(
        cells("", "nodes", node),
        [
            "x",
            "Ready,SchedulingDisabled",
            "control-plane",
            "5m",
            "v1",
            "10.0.0.1",
            "<none>",
            "<unknown>",
            "<unknown>",
            "<unknown>"
        ]
    );
    let role = json!({"metadata": m()});
    assert_eq!(cells("rbac.authorization.k8s.io", "clusterroles", role), ["x", "2026-01-01T00:55:00Z"]);
}

#[test]
fn custom_resources_print_their_columns_by_type() {
    let mut registry = Registry::default();
    registry.add_definition(&json!({"spec": {"group": "g.io", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"}, "versions": [
        {"name": "v1", "served": true, "storage": true, "additionalPrinterColumns": [
            {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
            {"name": "N", "type": "integer", "jsonPath": ".spec.n", "priority": 1},
            {"name": "Bad", "type": "integer", "jsonPath": ".status.phase"},
            {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
            {"name": "Since", "type": "date", "jsonPath": ".status.since"}]},
        {"name": "v2", "served": true}]}}));
    let object = json!({"metadata": {"name": "t", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"n": 3}, "status": {"phase": "Up", "since": "2025-12-31T01:00:00Z", "conditions": [{"type": "Ready", "status": "True"}]}});
    let printer = Printer::of(registry.get("g.io", "v1", "things").unwrap());
    assert_eq!(
        printer.cells(&object, NOW),
        [json!("t"), json!("Up"), json!(3), Value::Null, json!("True"), json!("24h")]
    );
    assert_eq!(printer.columns()[2].priority, 1);
    let printer = Printer::of(registry.get("g.io", "v2", "things").unwrap());
    assert_eq!(printer.cells(&object, NOW), [json!("t"), json!("60m")]);
}
