//! An operator written in Go with client-go (`ci/clients/go`, built by `ci/tools/go-operator.sh`) against a cluster on
//! loopback: every step it takes must hold. `GO_OPERATOR` is its binary; without it the tests say that they are skipped.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use sim_kube::{
    API_TLS_PORT, Cluster, KubeOptions,
    access::{AccessOptions, Authorization},
    local::{self, Idle, Options},
    tls::{Credential, Kubeconfig},
};
use sim_net::Network;

/// How many steps there are at least: a program that ends early says nothing.
const STEPS_MIN: usize = 30;

/// The binary, or `None` with a word about it.
///
/// # Panics
/// If `REQUIRE_BACKENDS` names it and there is none.
#[allow(clippy::disallowed_methods, reason = "the machine's environment says where the program is")]
fn program() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os("GO_OPERATOR").map(PathBuf::from).filter(|program| program.is_file()) {
        return Some(program);
    }
    let required = std::env::var("REQUIRE_BACKENDS").unwrap_or_default();
    assert!(
        !required.split(',').any(|backend| backend.trim() == "go-operator"),
        "REQUIRE_BACKENDS names go-operator, but GO_OPERATOR names no file"
    );
    println!("SKIPPED: no operator in Go (set GO_OPERATOR to its path: ci/tools/go-operator.sh prints it)");
    None
}

/// Runs it; what it prints, if a step failed.
fn run(program: &Path, name: &str, kubeconfig: &str) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("go-operator-{name}.kubeconfig"));
    fs::write(&file, kubeconfig).unwrap();
    let output = Command::new(program).arg("-kubeconfig").arg(&file).output().unwrap();
    let (said, logged) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let held = said.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(output.status.success() && held >= STEPS_MIN, "{held} steps held\n{said}\n{logged}");
}

#[test]
fn every_step_of_an_operator_in_go_holds() {
    let Some(program) = program() else { return };
    let cluster = local::start(Options { speed: "10x".parse().unwrap(), ..Options::default() }).unwrap();
    run(&program, "plain", &cluster.kubeconfig());
    cluster.stop().unwrap();
}

#[test]
fn every_step_of_an_operator_in_go_holds_over_tls_with_a_certificate_and_roles() {
    let Some(program) = program() else { return };
    let world = sim_clock::WorldOptions { epoch: sim_clock::now(), ..sim_clock::WorldOptions::seeded(1) };
    let mut world = sim_loopback::start(world.paced("10x".parse().unwrap()), move |life| async move {
        let network = Network::new();
        let access = Some(AccessOptions { authorization: Authorization::Rbac, ..AccessOptions::default() });
        let options = KubeOptions { access, ..KubeOptions::default() };
        let cluster = Cluster::start(&network, Arc::new(Idle), options).unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let inside = format!("{}:{API_TLS_PORT}", cluster.host().ip());
        let address = sim_loopback::publish(&network, listen, &inside).await.unwrap();
        let (api, url) = (cluster.api(), format!("https://{address}"));
        let admin = api.client_certificate("kubernetes-admin", &["system:masters"]).unwrap();
        let kubeconfig = Kubeconfig::new("sim", &url, Some(api.authority().unwrap().pem()))
            .user("admin", Credential::from(&admin), "default")
            .to_yaml();
        life.up(kubeconfig).until_stopped().await;
    })
    .unwrap();
    let kubeconfig = world.take_told().unwrap();
    assert!(kubeconfig.contains("https://"), "{kubeconfig}");
    run(&program, "secure", &kubeconfig);
    world.stop().unwrap();
}
