//! Unit tests of rules: a file of 100 groups over 24 hours at a minute's interval, 20 series for each group, by this crate and by
//! promtool (`PROMTOOL`).

use crate::servers::keep_to_core;
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const GROUPS: usize = 100;
const SERIES: usize = 20;
const MINUTES: usize = 24 * 60;

pub fn compare() {
    let (rules, tests) = (rules(), tests());
    keep_to_core(std::process::id(), 1);
    let read = |_: &str| Ok(vec![("rules.yaml".to_owned(), rules.clone())]);
    let time = || {
        let started = Instant::now();
        let differences = sim_prometheus::unit_test::run("test.yaml", &tests, &read).expect("a good file");
        assert_eq!(differences.len(), 0, "{}", differences[0]);
        started.elapsed()
    };
    let mut own = [time(), time(), time()];
    own.sort();
    println!(
        "{GROUPS} groups x {MINUTES} evaluations x {SERIES} series: ours {:.3} s (median of 3)",
        own[1].as_secs_f64()
    );
    match std::env::var_os("PROMTOOL") {
        None => println!("SKIPPED: promtool (PROMTOOL does not say where it is)"),
        Some(program) => {
            let folder = std::env::temp_dir().join(format!("bench-rules-{}", std::process::id()));
            std::fs::create_dir_all(&folder).expect("a folder");
            std::fs::write(folder.join("rules.yaml"), &rules).expect("a file");
            std::fs::write(folder.join("test.yaml"), &tests).expect("a file");
            let started = Instant::now();
            let status = Command::new("taskset")
                .args(["-c", "1"])
                .arg(program)
                .args(["test", "rules", "test.yaml"])
                .current_dir(&folder)
                .env("GOMAXPROCS", "1")
                .stdout(Stdio::null())
                .status();
            let elapsed = started.elapsed();
            let _ = std::fs::remove_dir_all(&folder);
            assert!(status.is_ok_and(|status| status.success()), "promtool disagrees");
            report(elapsed, own[1]);
        }
    }
}

fn report(promtool: Duration, own: Duration) {
    println!("promtool {:.3} s: {:.1} times ours", promtool.as_secs_f64(), promtool.as_secs_f64() / own.as_secs_f64());
}

fn rules() -> String {
    let mut text = String::from("groups:\n");
    for group in 0..GROUPS {
        let _ = writeln!(
            text,
            "- name: group-{group}\n  rules:\n  - {{record: 'job:load{group}:sum', expr: 'sum by (job) (load{group})'}}\n  \
             - {{alert: High{group}, expr: 'load{group} > 1000000', for: 5m, annotations: {{summary: '{{{{ $labels.job }}}}'}}}}"
        );
    }
    text
}

fn tests() -> String {
    let mut text =
        String::from("rule_files: [rules.yaml]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  input_series:\n");
    for group in 0..GROUPS {
        for series in 0..SERIES {
            let job = series % 4;
            let _ = writeln!(
                text,
                "  - {{series: 'load{group}{{job=\"{job}\", instance=\"{series}\"}}', values: '{series}+1x{MINUTES}'}}"
            );
        }
    }
    let _ = writeln!(text, "  alert_rule_test:");
    for group in 0..GROUPS {
        let _ = writeln!(text, "  - {{eval_time: 24h, alertname: High{group}}}");
    }
    text
}
