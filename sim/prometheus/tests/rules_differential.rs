//! Random rule files with their unit tests, by this crate and by promtool: the same verdicts in the same words.
//!
//! Expectations are left empty on purpose, so that each difference tells every value and every alert that came out. promtool is
//! found by `PROMTOOL` or on the PATH; where there is none the test says SKIPPED, and fails where `REQUIRE_BACKENDS` names it.
//! `RULE_FILES` says how many files are compared (12), `RULE_SEED` from which seed on.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use sim_prometheus::rules::parse_rules;
use sim_prometheus::unit_test;

#[allow(
    clippy::disallowed_methods,
    reason = "the machine's environment says where the program is, and how much to compare"
)]
fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

fn promtool() -> Option<PathBuf> {
    let program = PathBuf::from(variable("PROMTOOL").unwrap_or_else(|| "promtool".to_owned()));
    let answers = Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if answers.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    let required = variable("REQUIRE_BACKENDS").unwrap_or_default();
    assert!(!required.split(',').any(|name| name == "promtool"), "REQUIRE_BACKENDS names promtool, which is not there");
    println!("SKIPPED: promtool is not there (PROMTOOL, or on the PATH)");
    None
}

/// A small generator of numbers: the same file for the same seed, everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % end
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

const DURATIONS: &[&str] = &["30s", "1m", "2m", "3m", "5m"];

fn expression(chance: &mut Chance, alert: bool) -> String {
    let vector = match chance.below(9) {
        0 => "load".to_owned(),
        1 => "sum by (job) (load)".to_owned(),
        2 => format!("rate(requests_total[{}])", chance.pick(&["2m", "5m"])),
        3 => "max without (instance) (load)".to_owned(),
        4 => format!(
            "{}_over_time(load[{}])",
            chance.pick(&["avg", "max", "min", "count", "last"]),
            chance.pick(DURATIONS)
        ),
        5 => "job:load:sum".to_owned(),
        6 => "load / on (job) group_left sum by (job) (requests_total)".to_owned(),
        7 => "increase(requests_total[3m]) and load".to_owned(),
        _ => format!("load offset {}", chance.pick(DURATIONS)),
    };
    if alert || chance.below(4) == 0 {
        format!("{vector} {} {}", chance.pick(&[">", "<", ">=", "!="]), chance.pick(&["0", "1", "4.5", "0.05", "20"]))
    } else {
        vector
    }
}

fn rules(chance: &mut Chance) -> String {
    let mut text = String::from("groups:\n");
    for group in 0..=chance.below(2) {
        let _ = writeln!(text, "- name: group-{group}\n  rules:");
        let _ =
            writeln!(text, "  - {{record: 'job:load:sum', expr: 'sum by (job) (load)', labels: {{group: g{group}}}}}");
        for rule in 0..=chance.below(3) {
            let expr = expression(chance, false);
            let _ = writeln!(text, "  - {{record: 'recorded:{group}:{rule}', expr: '{expr}'}}");
        }
        for rule in 0..=chance.below(3) {
            let expr = expression(chance, true);
            let _ = writeln!(text, "  - alert: Alert{group}x{rule}\n    expr: {expr}");
            if chance.below(3) > 0 {
                let _ = writeln!(text, "    for: {}", chance.pick(DURATIONS));
            }
            if chance.below(3) == 0 {
                let _ = writeln!(text, "    keep_firing_for: {}", chance.pick(DURATIONS));
            }
            let severity =
                chance.pick(&["page", "{{ if gt $value 2.0 }}page{{ else }}ticket{{ end }}", "{{ $labels.job }}"]);
            let _ = writeln!(text, "    labels: {{severity: '{severity}'}}");
            let shown = chance.pick(&[
                "{{ $value | humanize }} of {{ $labels.job }}",
                "{{ printf \"%.3f\" $value }}",
                "{{ $value | humanizeDuration }}{{ $labels.nothing }}",
                "{{ humanizePercentage $value }}",
                "{{ with query \"count(load)\" }}{{ . | first | value }}{{ end }}",
            ]);
            let _ = writeln!(text, "    annotations: {{summary: '{shown}'}}");
        }
    }
    text
}

/// The samples of a series: runs that grow, fall, pause, end.
fn values(chance: &mut Chance, counter: bool) -> String {
    let mut runs = Vec::new();
    for _ in 0..3 {
        let (start, step, times) = (chance.below(12), chance.below(7), chance.below(6));
        runs.push(match chance.below(if counter { 4 } else { 6 }) {
            0 => format!("_x{}", times + 1),
            1 if !counter => "stale".to_owned(),
            2 => format!("{start}x{times}"),
            3 if !counter => format!("{start}.5-{step}x{times}"),
            _ => format!("{start}+{step}x{times}"),
        });
    }
    runs.join(" ")
}

fn tests(chance: &mut Chance, rules: &str) -> String {
    let mut text = format!(
        // Without an order, promtool takes groups in that of a Go map.
        "rule_files: [rules.yaml]\ngroup_eval_order: [group-0, group-1]\nevaluation_interval: {}\ntests:\n",
        chance.pick(&["30s", "1m"])
    );
    let names = |of: &str| -> Vec<String> {
        rules
            .lines()
            .filter_map(|line| line.trim().strip_prefix(of))
            .map(|rest| rest.split(['\'', ',']).next().unwrap_or("").to_owned())
            .collect()
    };
    for _ in 0..3 {
        let _ = writeln!(text, "- interval: {}\n  input_series:", chance.pick(&["30s", "1m"]));
        for (job, instance) in [("a", "1"), ("a", "2"), ("b", "1")] {
            let labels = format!("{{job=\"{job}\",instance=\"{instance}\"}}");
            let (load, requests) = (values(chance, false), values(chance, true));
            let _ = writeln!(text, "  - {{series: 'load{labels}', values: '{load}'}}");
            let _ = writeln!(text, "  - {{series: 'requests_total{labels}', values: '{requests}'}}");
        }
        let _ = writeln!(text, "  alert_rule_test:");
        for name in names("- alert: ") {
            let minutes = chance.below(12);
            let _ = writeln!(text, "  - {{eval_time: {minutes}m, alertname: {name}}}");
        }
        let _ = writeln!(text, "  promql_expr_test:");
        for name in names("- {record: '").into_iter().chain(["ALERTS".to_owned(), "ALERTS_FOR_STATE".to_owned()]) {
            let minutes = chance.below(12);
            let _ = writeln!(text, "  - {{eval_time: {minutes}m, expr: 'sort({name})'}}");
        }
    }
    text
}

/// The lines that say anything.
fn verdicts(told: &str) -> Vec<&str> {
    told.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("Unit Testing:")).collect()
}

/// What promtool writes.
fn theirs(program: &PathBuf, folder: &std::path::Path) -> String {
    let output =
        Command::new(program).args(["test", "rules", "test.yaml"]).current_dir(folder).output().expect("promtool runs");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    said(&output.stdout) + &said(&output.stderr)
}

fn ours(rules: &str, tests: &str) -> String {
    let read = |_: &str| Ok(vec![("rules.yaml".to_owned(), rules.to_owned())]);
    let differences = unit_test::run("test.yaml", tests, &read).unwrap_or_else(|error| vec![error.to_string()]);
    let told = differences.join("\n\n");
    format!(
        "Unit Testing:  test.yaml\n  {}",
        if told.is_empty() { "SUCCESS\n".to_owned() } else { format!("FAILED:\n{told}") }
    )
}

#[test]
fn random_rule_files_end_as_with_promtool() {
    let Some(program) = promtool() else { return };
    let number = |name: &str, default: u64| variable(name).map_or(default, |text| text.parse().expect("a number"));
    let first = number("RULE_SEED", 1);
    let folder = env::temp_dir().join(format!("rules-differential-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let (mut told, mut fired) = (Vec::new(), 0);
    for seed in first..first + number("RULE_FILES", 12) {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let rules = rules(&mut chance);
        let tests = tests(&mut chance, &rules);
        fs::write(folder.join("rules.yaml"), &rules).expect("a file");
        fs::write(folder.join("test.yaml"), &tests).expect("a file");
        let (theirs, ours) = (theirs(&program, &folder), ours(&rules, &tests));
        fired += theirs.matches("Labels:{").count();
        let (theirs, ours) = (verdicts(&theirs), verdicts(&ours));
        if theirs != ours {
            let first = theirs.iter().zip(&ours).find(|(a, b)| a != b);
            told.push(format!(
                "seed {seed}: {first:?}\n--- promtool\n{}\n--- ours\n{}\n--- rules\n{rules}\n--- tests\n{tests}",
                theirs.join("\n"),
                ours.join("\n")
            ));
        }
    }
    let _ = fs::remove_dir_all(&folder);
    assert!(told.is_empty(), "{} files differ\n{}", told.len(), told.first().map_or("", String::as_str));
    assert!(fired > 0, "no alert fired in any file: nothing was compared");
}

/// One template a line, each the annotation of an alert; those that both refuse are left out of the evaluation.
const TEMPLATES: &str = include_str!("data/templates.txt");

fn yaml_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn rule_of(place: usize, template: &str) -> String {
    let shown = yaml_quoted(template);
    format!("  - {{alert: A{place}, expr: up, annotations: {{shown: {shown}}}}}\n")
}

/// What is said of each alert's template when the file is read.
fn refusals(told: &str) -> BTreeMap<usize, String> {
    let of_line = |line: &str| {
        let (_, message) = line.split_once("annotation \"shown\": ")?;
        let (place, _) = message.strip_prefix("template: __alert_A")?.split_once(':')?;
        Some((place.parse().ok()?, message.to_owned()))
    };
    told.lines().filter_map(of_line).collect()
}

#[test]
fn templates_are_refused_and_rendered_as_by_promtool() {
    let Some(program) = promtool() else { return };
    let folder = env::temp_dir().join(format!("templates-differential-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let templates: Vec<&str> = TEMPLATES.lines().collect();
    let file = |kept: &dyn Fn(usize) -> bool| {
        let rules = templates.iter().enumerate().filter(|(place, _)| kept(*place));
        rules.fold("groups:\n- name: g\n  rules:\n".to_owned(), |text, (place, template)| {
            text + &rule_of(place, template)
        })
    };
    fs::write(folder.join("rules.yaml"), file(&|_| true)).expect("a file");
    let checked = Command::new(&program).args(["check", "rules", "rules.yaml"]).current_dir(&folder).output();
    let checked = checked.expect("promtool runs");
    let theirs_refused =
        refusals(&(String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr)));
    let mut ours_refused = BTreeMap::new();
    for (place, template) in templates.iter().enumerate() {
        let text = format!("groups:\n- name: g\n  rules:\n{}", rule_of(place, template));
        if let Err(error) = parse_rules("rules.yaml", &text) {
            ours_refused.append(&mut refusals(&error.to_string()));
        }
    }
    let mut differences = Vec::new();
    for (place, template) in templates.iter().enumerate() {
        let (ours, theirs) = (ours_refused.get(&place), theirs_refused.get(&place));
        if ours != theirs {
            differences.push(format!("{template}\n   ours: {ours:?}\n theirs: {theirs:?}"));
        }
    }
    let rules = file(&|place| !ours_refused.contains_key(&place) && !theirs_refused.contains_key(&place));
    let mut tests = "rule_files: [rules.yaml]\ntests:\n- interval: 1m\n  external_labels: {cluster: c1}\n  \
                     external_url: 'http://p:9090/pre'\n  input_series:\n"
        .to_owned();
    for (series, values) in [
        (r#"up{job="b",instance="h:1"}"#, "1234.5678x9"),
        (r#"two{instance="h:2"}"#, "2x9"),
        (r#"two{instance="h:1"}"#, "1x9"),
    ] {
        let _ = writeln!(tests, "  - {{series: '{series}', values: '{values}'}}");
    }
    tests += "  alert_rule_test:\n";
    for place in (0..templates.len()).filter(|place| rules.contains(&format!("alert: A{place},"))) {
        let _ = writeln!(tests, "  - {{eval_time: 1m, alertname: A{place}}}");
    }
    fs::write(folder.join("rules.yaml"), &rules).expect("a file");
    fs::write(folder.join("test.yaml"), &tests).expect("a file");
    let rendered = |told: &str| -> Vec<String> {
        told.lines().filter(|line| line.contains("Annotations:{")).map(|line| line.trim().to_owned()).collect()
    };
    let (theirs, ours) = (rendered(&theirs(&program, &folder)), rendered(&ours(&rules, &tests)));
    fs::remove_dir_all(&folder).expect("the folder goes");
    assert_eq!(ours.len(), theirs.len());
    assert!(
        theirs.len() > 100 && theirs_refused.len() > 50,
        "{} rendered, {} refused",
        theirs.len(),
        theirs_refused.len()
    );
    for (ours, theirs) in ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs) {
        differences.push(format!("   ours: {ours}\n theirs: {theirs}"));
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}
