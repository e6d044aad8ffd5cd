//! Bad input of each kind gives one clear error with its place, exit status 2, and nothing runs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const GOOD: &str = r#"name: probe
summary: A cluster becomes healthy.
promises: [A2]
seed: 1
duration: 5m
world:
  objects: [../../deploy/samples/minimal.yaml]
timeline:
  - fault: { etcd-unavailable: { members: all, how: refuse } }
    at: 1m
    as: down
  - heal: down
    at: 2m
expect:
  - query: up{job="x"}
    is: "> 0"
    at: 3m
  - trace:
      where: '{ name = "Cell.Reconcile" }'
    by: 1m
  - alert: MultigresClusterDegraded
    firing: 2m..3m
    resolved: 4m..5m
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Runs `check` on a scenario whose text has `from` replaced by `to`, and returns exit status and standard error.
fn check(name: &str, from: &str, to: &str) -> (i32, String) {
    assert!(GOOD.contains(from), "{from}");
    // Below the project, two folders deep, as scenarios are; removed at once.
    let folder = root().join("target").join("bad-input");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{name}.yaml"));
    let text = GOOD.replace("name: probe", &format!("name: {name}")).replacen(from, to, 1);
    fs::write(&file, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_multigres-sim"))
        .arg("run")
        .arg(Path::new("target/bad-input").join(format!("{name}.yaml")))
        .current_dir(root())
        .output()
        .unwrap();
    fs::remove_file(&file).unwrap();
    assert!(output.stdout.is_empty(), "nothing runs: {}", String::from_utf8_lossy(&output.stdout));
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

macro_rules! bad_input {
    ($($name:ident: $from:expr => $to:expr;)*) => {$(
        #[test]
        fn $name() {
            let (code, error) = check(stringify!($name), $from, $to);
            assert_eq!(code, 2, "{error}");
            insta::assert_snapshot!(error);
        }
    )*};
}

bad_input! {
    unknown_field: "duration:" => "durations:";
    wrong_type: "seed: 1" => "seed: [1]";
    bad_duration: "at: 1m" => "at: 1 minute";
    missing_fixture: "minimal.yaml" => "minimul.yaml";
    invalid_promql: "up{job=\"x\"}" => "rate(up{job=\"x\"})";
    invalid_traceql: "{ name = \"Cell.Reconcile\" }" => "{ name = }";
    contradicting_windows: "resolved: 4m..5m" => "resolved: 30s..1m";
    empty_window: "firing: 2m..3m" => "firing: 3m..2m";
    unknown_fault: "etcd-unavailable" => "etcd-unavailible";
    bad_fault_parameter: "how: refuse" => "how: gently";
    unknown_promise: "[A2]" => "[A99]";
    heal_of_nothing: "heal: down" => "heal: up";
    expectation_after_the_end: "at: 3m" => "at: 6m";
    duplicate_key: "seed: 1" => "seed: 1\nseed: 2";
    not_yaml: "expect:" => "expect: {";
}

#[test]
fn no_expectations() {
    let at = GOOD.find("expect:").unwrap();
    let (code, error) = check("no_expectations", &GOOD[at..], "expect: []\n");
    assert_eq!(code, 2, "{error}");
    insta::assert_snapshot!(error);
}

#[test]
fn a_scenario_that_is_not_there() {
    let output = Command::new(env!("CARGO_BIN_EXE_multigres-sim"))
        .args(["run", "scenarios/topology/etcd-unavailible.yaml"])
        .current_dir(root())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_report_folder_that_cannot_be_written() {
    let output = Command::new(env!("CARGO_BIN_EXE_multigres-sim"))
        .args(["run", "scenarios/tracing/disabled-without-endpoint.yaml", "--report", "/dev/null/report"])
        .current_dir(root())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.starts_with("the report cannot be written to /dev/null/report/report.json: "), "{error}");
}

#[test]
fn a_reader_that_goes_away() {
    use std::{io::Read as _, process::Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_multigres-sim"))
        .arg("schema")
        .current_dir(root())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut error = String::new();
    child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    child.wait().unwrap();
    assert_eq!(error, "", "no panic");
}
