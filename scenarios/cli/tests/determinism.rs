//! The same seed gives the same bytes: alone, first, after fifty other worlds, with one and with two jobs, in the test
//! and in the binary. (`.ci/run` compares debug with release.)

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use scenario_report::json;
use scenario_runner::{Loaded, Options, Project, run};

const SUBJECT: &str = "scenarios/topology/etcd-unavailable.yaml";
/// Another world that runs beside the subject in the binary.
const BESIDE: &str = "scenarios/tracing/disabled-without-endpoint.yaml";
/// A world that is soon over.
const OTHER: &str = "fixtures/determinism/other-world.yaml";
const OTHERS: usize = 50;

fn project() -> Project {
    Project::around(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn load(path: &str) -> Loaded {
    let project = project();
    let path = project.root().join(path);
    project.load(&path).unwrap()
}

fn report(loaded: &Loaded, seed: Option<u64>) -> String {
    let report = run(loaded, &Options { seed, ..Options::default() }).report;
    assert_eq!(report.error, None);
    json::render(&[report])
}

fn from_binary(jobs: &str, folder: &str) -> String {
    let folder: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    let root = project().root().to_owned();
    let output = Command::new(env!("CARGO_BIN_EXE_multigres-sim"))
        .args(["run", SUBJECT, BESIDE, "--jobs", jobs, "--report"])
        .arg(&folder)
        .current_dir(root)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::read_to_string(folder.join("report.json")).unwrap()
}

/// The report of one scenario out of a document of several.
fn only(document: &str, scenario: &str) -> serde_json::Value {
    let document: serde_json::Value = serde_json::from_str(document).unwrap();
    document["runs"].as_array().unwrap().iter().find(|run| run["scenario"] == scenario).unwrap().clone()
}

#[test]
fn the_same_seed_gives_the_same_bytes_first_and_after_fifty_others_and_in_the_binary() {
    let subject = load(SUBJECT);
    let first = report(&subject, None);
    let other = load(OTHER);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..OTHERS / 2 {
                    assert!(run(&other, &Options::default()).report.passed());
                }
            });
        }
    });
    assert_eq!(report(&subject, None), first, "after fifty others");
    // Two worlds of the same scenario side by side.
    let (left, right) = std::thread::scope(|scope| {
        let (left, right) = (scope.spawn(|| report(&subject, None)), scope.spawn(|| report(&subject, None)));
        (left.join().unwrap(), right.join().unwrap())
    });
    assert_eq!(left, first);
    assert_eq!(right, first);
    let (one, two) = (from_binary("1", "one-job"), from_binary("2", "two-jobs"));
    assert_eq!(one, two, "one and two jobs");
    assert_eq!(only(&one, "topology/etcd-unavailable"), only(&first, "topology/etcd-unavailable"), "test and binary");
}

#[test]
fn another_seed_gives_other_ids() {
    let subject = load("scenarios/tracing/minimal-cluster-span-trees.yaml");
    let trace_ids = |seed| {
        let options = Options { seed: Some(seed), record: true, ..Options::default() };
        let outcome = run(&subject, &options);
        assert_eq!(outcome.report.error, None);
        outcome.recording.unwrap().trace_ids
    };
    let (one, same, other) = (trace_ids(1), trace_ids(1), trace_ids(2));
    assert!(!one.is_empty());
    assert_eq!(one, same);
    assert!(one.iter().all(|id| !other.contains(id)), "no id of one seed appears with another");
}
