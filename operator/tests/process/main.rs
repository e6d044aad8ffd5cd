//! The operator's binary as a process, at work in a simulated cluster that it reaches over TLS like any other.
//!
//! What runs in the cluster (etcd, the data plane) is reached by names that only the cluster's network knows, so that the
//! registration of cells and databases in etcd fails here as it would for an operator on somebody's desk; everything else works.

mod world;

use std::{fs, path::Path, time::Duration};

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
    let output = Operator::command().args(["--metrics-secure=false"]).env("HOME", &folder).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        error,
        "multigres-operator: no way to the API server is configured: KUBERNETES_SERVICE_HOST is not set: this is no pod of a \
         cluster. Outside of one pass --kubeconfig, or set KUBECONFIG\n"
    );
}
