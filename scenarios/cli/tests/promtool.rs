//! The real promtool referees: our rules, the operator's metrics, and the alerts of the outage.
//!
//! promtool is found by `PROMTOOL` or on the PATH. Where there is none the tests say SKIPPED; where `REQUIRE_BACKENDS`
//! names it they fail.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use scenario_runner::{Options, Project, RunOutcome, promtool, run};

/// Gauges whose names end in `_total` because the names are the original's; `check metrics` would have them otherwise.
const NAMES_THAT_MUST_BE: [&str; 2] =
    ["multigres_operator_cluster_cells_total", "multigres_operator_cluster_shards_total"];

#[allow(clippy::disallowed_methods, reason = "the machine's environment says where the program is")]
fn promtool_command() -> Option<Command> {
    let program = env::var_os("PROMTOOL").map_or_else(|| PathBuf::from("promtool"), PathBuf::from);
    let answers = Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if answers.is_ok_and(|status| status.success()) {
        return Some(Command::new(program));
    }
    let required = env::var("REQUIRE_BACKENDS").unwrap_or_default();
    assert!(
        !required.split(',').any(|backend| backend.trim() == "promtool"),
        "REQUIRE_BACKENDS names promtool, but {} does not run",
        program.display()
    );
    println!("SKIPPED: no promtool (set PROMTOOL to its path)");
    None
}

fn project() -> Project {
    Project::around(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn recorded(scenario: &str) -> RunOutcome {
    let project = project();
    let loaded = project.load(&project.root().join(scenario)).unwrap();
    let outcome = run(&loaded, &Options { record: true, ..Options::default() });
    assert_eq!(outcome.report.error, None);
    outcome
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_rules_are_good_rules() {
    let Some(mut promtool) = promtool_command() else { return };
    let path = project().root().join("deploy/monitoring/prometheus-rules.yaml");
    let objects = sim_kube::manifests::parse(&fs::read_to_string(path).unwrap()).unwrap();
    let rule = objects.iter().find(|object| object["kind"] == "PrometheusRule").unwrap();
    let file = folder("promtool-check-rules").join("rules.yaml");
    // JSON is YAML.
    fs::write(&file, rule["spec"].to_string()).unwrap();
    let output = promtool.args(["check", "rules"]).arg(&file).output().unwrap();
    assert!(output.status.success() && said(&output).contains("8 rules found"), "{}", said(&output));
}

#[test]
fn the_operators_metrics_are_good_metrics() {
    let Some(mut promtool) = promtool_command() else { return };
    let metrics = recorded("scenarios/metrics/operator-families.yaml").recording.unwrap().operator_metrics;
    assert!(metrics.contains("multigres_operator_cluster_info"), "the operator answers");
    let file = folder("promtool-check-metrics").join("metrics.txt");
    fs::write(&file, metrics).unwrap();
    let output = promtool.args(["check", "metrics"]).stdin(fs::File::open(&file).unwrap()).output().unwrap();
    let text = said(&output);
    let complaints: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .filter(|line| !NAMES_THAT_MUST_BE.iter().any(|name| line.starts_with(name) && line.contains("_total")))
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    // Where even those are accepted, the list above is out of date.
    assert_eq!(text.lines().filter(|line| !line.trim().is_empty()).count(), NAMES_THAT_MUST_BE.len(), "{text}");
}

/// Scenarios in which alerts are pending or fire, with one that is among them.
const ALERTING: [(&str, &str); 3] = [
    ("scenarios/topology/etcd-unavailable.yaml", "MultigresClusterDegraded"),
    ("scenarios/alerts/shard-pool-degraded-fires.yaml", "MultigresShardPoolDegraded"),
    ("scenarios/alerts/short-etcd-outage-does-not-page.yaml", "MultigresClusterDegraded"),
];

#[test]
fn scenarios_have_the_same_pending_and_firing_alerts() {
    for (scenario, alert) in ALERTING {
        let Some(mut promtool) = promtool_command() else { return };
        let outcome = recorded(scenario);
        let name = scenario.rsplit_once('/').map_or(scenario, |(_, name)| name);
        let folder = folder(&format!("promtool-test-rules-{name}"));
        let files = promtool::unit_test(&outcome.recording.unwrap()).unwrap();
        let test = &files.iter().find(|(name, _)| name == promtool::TEST_FILE).unwrap().1;
        assert!(test.contains(alert), "{scenario}: no {alert} in what is compared");
        for (name, text) in &files {
            fs::write(folder.join(name), text).unwrap();
        }
        let output = promtool.args(["test", "rules"]).arg(folder.join(promtool::TEST_FILE)).output().unwrap();
        assert!(output.status.success(), "{scenario}: {}", said(&output));
    }
}

/// Our alerts' unit tests with one expectation wrong at a time.
fn variants(text: &str) -> Vec<String> {
    let mut variants = vec![text.to_owned()];
    for (from, to) in [
        ("eval_time: 10m\n", "eval_time: 9m\n"),
        ("severity: warning", "severity: critical"),
        ("is not healthy", "is healthy"),
        ("interval: 30s\n    input_series", "interval: 1m\n    input_series"),
        ("'1x9 stale'", "'_x9 stale'"),
        ("evaluation_interval: 30s", "evaluation_interval: 7m"),
        ("exp_labels: {severity", "exp_labels: {extra: label, severity"),
    ] {
        assert!(text.contains(from), "{from}");
        variants.push(text.replacen(from, to, 1));
    }
    variants
}

/// Writes the alert rules as they are deployed, and the variants of their tests, into a folder; gives the test files.
fn rule_tests(name: &str) -> Vec<PathBuf> {
    let root = project().root().to_owned();
    let manifest = fs::read_to_string(root.join("deploy/monitoring/prometheus-rules.yaml")).unwrap();
    let objects = sim_kube::manifests::parse(&manifest).unwrap();
    let rule = objects.iter().find(|object| object["kind"] == "PrometheusRule").unwrap();
    let folder = folder(name);
    fs::write(folder.join("rules.yaml"), rule["spec"].to_string()).unwrap();
    let text = fs::read_to_string(root.join("ci/promtool/alerts_test.yaml")).unwrap();
    let files = variants(&text).into_iter().enumerate().map(|(index, text)| {
        let file = folder.join(format!("{index}.test.yaml"));
        fs::write(&file, text).unwrap();
        file
    });
    files.collect()
}

fn ours(file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_multigres-sim")).args(["rules", "test"]).arg(file).output().unwrap()
}

#[test]
fn the_alerts_pass_their_unit_tests_and_fail_every_wrong_one() {
    for (index, file) in rule_tests("rules-test-ours").iter().enumerate() {
        let output = ours(file);
        let expected = i32::from(index != 0);
        assert_eq!(output.status.code(), Some(expected), "{}: {}", file.display(), said(&output));
    }
    let output = ours(Path::new("nowhere.yaml"));
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("nowhere.yaml: "), "{}", said(&output));
}

#[test]
fn unit_tests_of_rules_end_as_with_promtool() {
    if promtool_command().is_none() {
        return;
    }
    // Where alerts differ, promtool tells them in these lines; the order of its groups is random.
    let told = |output: &Output| {
        let mut lines: Vec<String> =
            said(output).lines().filter(|line| line.starts_with("    ")).map(|line| line.trim().to_owned()).collect();
        lines.sort();
        lines
    };
    for file in rule_tests("rules-test-both") {
        let theirs = promtool_command().unwrap().args(["test", "rules"]).arg(&file).output().unwrap();
        let ours = ours(&file);
        assert_eq!(ours.status.success(), theirs.status.success(), "{}", file.display());
        assert_eq!(told(&ours), told(&theirs), "{}", file.display());
    }
}

#[test]
fn the_rules_that_are_shipped_have_no_findings_and_the_dead_alert_of_old_has() {
    let check = |path: &Path| {
        Command::new(env!("CARGO_BIN_EXE_multigres-sim")).args(["rules", "check"]).arg(path).output().unwrap()
    };
    let shipped = project().root().join("deploy/monitoring/prometheus-rules.yaml");
    let output = check(&shipped);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).ends_with("8 rules, 0 findings\n"), "{}", said(&output));
    let dead = fs::read_to_string(&shipped).unwrap().replace("ignoring (state)", "").replace("ignoring(state)", "");
    let file = folder("rules-check").join("dead.yaml");
    fs::write(&file, dead).unwrap();
    let output = check(&file);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("RUL001") && said(&output).contains("label \"state\""), "{}", said(&output));
    fs::write(&file, "groups: [{name: g, rules: [{alert: A, expr: 'up ='}]}]").unwrap();
    let output = check(&file);
    assert!(output.status.code() == Some(1) && said(&output).contains("RUL000 "), "{}", said(&output));
    let missing = check(Path::new("nowhere.yaml"));
    assert_eq!(missing.status.code(), Some(2), "{}", said(&missing));
}
