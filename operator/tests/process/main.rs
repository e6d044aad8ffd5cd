//! The operator's binary as a process, at work in a simulated cluster that it reaches over TLS like any other.
//!
//! What runs in the cluster (etcd, the data plane) is reached by names that only the cluster's network knows, so that the
//! registration of cells and databases in etcd fails here as it would for an operator on somebody's desk; everything else works.

#![allow(clippy::disallowed_methods, reason = "a real program is watched in real time")]

mod collector;
mod secure;
mod world;

use std::{fs, path::Path, time::Duration};

use serde_json::json;
use world::{Operator, World, get};

#[test]
fn the_binary_brings_up_a_cluster_over_tls_and_ends_when_it_is_asked_to() {
    let world = World::start();
    let operator = Operator::start(&world, "brings-up", &[]);
    operator.wait_ready();
    world.apply_minimal();
    world.wait_for_the_children();
    let metrics = get(operator.metrics, "/metrics");
    assert!(metrics.contains("controller_runtime_reconcile_total{controller=\"multigrescluster\",result=\"success\"}"));
    assert!(metrics.contains(&format!("host=\"{}\"", world.address())), "the API server that was asked: {metrics}");
    let (code, log) = operator.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.lines().all(|line| line.starts_with("{\"level\":")), "every line is JSON: {log}");
    assert!(log.contains("\"msg\":\"stopped\""), "{log}");
}

#[test]
fn who_asks_a_second_time_does_not_wait_for_a_graceful_end() {
    let world = World::start();
    // Webhooks are answered for some seconds more once the end is requested.
    let port = format!("--webhook-port={}", world::free().port());
    let operator = Operator::start(&world, "twice", &["--webhook-enable=true", &port]);
    operator.wait_for_line("caches synced");
    operator.signal("TERM");
    // Two signals that come too close to each other are one.
    operator.wait_until_it_ends();
    let asked = std::time::Instant::now();
    let (code, log) = operator.terminate();
    assert_eq!(code, Some(1), "{log}");
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert!(!log.contains("\"msg\":\"stopped\""), "{log}");
}

#[test]
fn an_api_server_that_nobody_vouches_for_is_not_spoken_to() {
    let world = World::start();
    let strange = world.kubeconfig().replace("certificate-authority-data", "ignored");
    let operator = Operator::start_with(&world, "stranger", &strange, &[]);
    // No authority of the system knows the simulated one; where a machine has none at all the operator says so and ends.
    let (_, log) = operator.after(Duration::from_secs(3));
    assert!(
        log.contains("invalid peer certificate: UnknownIssuer")
            || log.contains("no certificate authority is configured"),
        "{log}"
    );
    assert!(!log.contains("caches synced"), "{log}");
}

#[test]
fn without_a_cluster_the_error_is_one_line_that_says_what_to_do() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nowhere");
    fs::create_dir_all(&folder).unwrap();
    let output = Operator::command().args(["--webhook-enable=false"]).env("HOME", &folder).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        error,
        "multigres-operator: no way to the API server is configured: KUBERNETES_SERVICE_HOST is not set: this is no pod of a \
         cluster. Outside of one pass --kubeconfig, or set KUBECONFIG\n"
    );
}

#[test]
fn of_two_operators_one_leads_and_when_it_ends_the_other_follows_at_once() {
    const LEADS: &str = "leader_election_master_status{name=\"multigres-operator.multigres.com\"} 1";
    const WAITS: &str = "leader_election_master_status{name=\"multigres-operator.multigres.com\"} 0";
    let world = World::start();
    let first = Operator::start(&world, "first", &["--leader-elect"]);
    first.wait_for_metric(LEADS);
    let second = Operator::start(&world, "second", &["--leader-elect"]);
    second.wait_ready();
    second.wait_for_metric(WAITS);
    let (code, log) = first.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("\"msg\":\"lease released\""), "{log}");
    // Sooner than the fifteen seconds that a lease lasts which nobody released: its patience is two periods of two seconds.
    let released = std::time::Instant::now();
    second.wait_for_metric(LEADS);
    assert!(released.elapsed() < Duration::from_secs(10), "{:?}", released.elapsed());
    world.apply_minimal();
    world.wait_for_the_children();
}

#[test]
fn metrics_are_for_those_whom_the_api_server_lets_in() {
    let world = World::start();
    let operator = Operator::start(&world, "protected", &["--metrics-secure"]);
    operator.wait_ready();
    let account = |name: &str| json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "default"}});
    world.apply(account("stranger"));
    world.apply(account("reader"));
    world.apply(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "metrics-reader"},
        "rules": [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}],
    }));
    world.apply(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "metrics-reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "metrics-reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": "default"}],
    }));
    let ask = |token: Option<&str>| secure::get(operator.metrics, "/metrics", token);
    assert_eq!(ask(None).0, 401);
    assert_eq!(ask(Some("made-up")).0, 401);
    let (status, why) = ask(Some(&world.token("default", "stranger")));
    assert_eq!((status, why.as_str()), (403, "Authorization denied for user system:serviceaccount:default:stranger\n"));
    let (status, text) = ask(Some(&world.token("default", "reader")));
    assert_eq!(status, 200);
    // What this very process uses.
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.and_then(|line| line.split(' ').nth(1)?.parse::<f64>().ok()).unwrap_or_else(|| panic!("no {name}: {text}"))
    };
    assert!((1e6..1e9).contains(&value("process_resident_memory_bytes")), "{}", value("process_resident_memory_bytes"));
    assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
    assert!(value("process_virtual_memory_max_bytes") > value("process_virtual_memory_bytes"));
    assert!((3.0..1000.0).contains(&value("process_open_fds")), "{}", value("process_open_fds"));
    assert!(value("process_max_fds") > value("process_open_fds"));
    assert!((0.001..60.0).contains(&value("process_cpu_seconds_total")), "{}", value("process_cpu_seconds_total"));
    // Without TLS there is nothing to be had.
    assert!(!get(operator.metrics, "/metrics").contains("200"));
}

#[test]
fn spans_go_over_https_to_a_collector_that_the_named_authority_vouches_for_and_to_no_other() {
    let (world, collector) = (World::start(), collector::Collector::start());
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let env = |authority: &str| {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.clone()),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", authority.to_owned()),
            ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()),
            ("OTEL_BSP_EXPORT_TIMEOUT", "500".to_owned()),
        ]
    };
    let start = |name: &str, authority: &Path| {
        let env = env(&path(authority));
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Operator::start_in(&world, name, &env)
    };
    let operator = start("https", &collector.authority);
    operator.wait_ready();
    world.apply_minimal();
    collector.wait_for("MultigresCluster.Reconcile");
    let (code, log) = operator.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("trace export failed"), "{log}");
    // Everything is reconciled once at the start, so that there are spans to send.
    let operator = start("https-stranger", &collector.stranger);
    operator.wait_for_line("trace export failed");
    operator.wait_for_line("invalid peer certificate");
}
