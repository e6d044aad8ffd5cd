//! A recording as a promtool unit test: the real engine judges the series that were scraped.
//!
//! promtool evaluates on a grid that starts at its own zero, so each evaluation of the run becomes one step of the grid,
//! and each series gets the value that the evaluation saw: the newest sample no older than one interval, `stale` where
//! there was one before and none now, `_` where there is none.

use std::{collections::BTreeSet, fmt::Write as _};

use serde_json::Value;

use crate::recording::{Labels, Recording};

/// The names of the files written.
pub const RULES_FILE: &str = "rules.yaml";
/// The test itself.
pub const TEST_FILE: &str = "series.test.yaml";

/// Why a recording cannot be exported.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ExportError {
    /// There is nothing to compare with.
    #[error("the run evaluated no alert: nothing to export")]
    NoAlerts,
    /// More than one interval among the rule groups.
    #[error("rule groups with different intervals cannot share one unit test")]
    Intervals,
}

/// The files of the unit test with their names.
pub fn unit_test(recording: &Recording) -> Result<Vec<(String, String)>, ExportError> {
    let interval_ms = interval_ms(&recording.rules)?;
    let grid = grid(recording, interval_ms).ok_or(ExportError::NoAlerts)?;
    Ok(vec![
        (RULES_FILE.to_owned(), rules(&recording.rules)),
        (TEST_FILE.to_owned(), test(recording, &grid, interval_ms)),
    ])
}

fn groups(rules: &Value) -> impl Iterator<Item = &Value> {
    rules["groups"].as_array().into_iter().flatten()
}

fn alerting_rules(rules: &Value) -> impl Iterator<Item = &Value> {
    groups(rules)
        .flat_map(|group| group["rules"].as_array().into_iter().flatten())
        .filter(|rule| rule["type"] == "alerting")
}

fn interval_ms(rules: &Value) -> Result<i64, ExportError> {
    let intervals: BTreeSet<i64> =
        groups(rules).map(|group| (group["interval"].as_f64().unwrap_or_default() * 1_000.0) as i64).collect();
    match intervals.into_iter().collect::<Vec<_>>()[..] {
        [] => Err(ExportError::NoAlerts),
        [one] if one > 0 => Ok(one),
        _ => Err(ExportError::Intervals),
    }
}

/// The instants of the evaluations, from the samples of `ALERTS`, completed to a grid.
fn grid(recording: &Recording, interval_ms: i64) -> Option<Vec<i64>> {
    let instants: BTreeSet<i64> = recording
        .series
        .iter()
        .filter(|(labels, _)| labels.get("__name__").is_some_and(|name| name == "ALERTS"))
        .flat_map(|(_, samples)| samples.iter().map(|(at_ms, _)| *at_ms))
        .collect();
    let known = *instants.first()?;
    let all = || recording.series.iter().flat_map(|(_, samples)| samples.iter().map(|(at_ms, _)| *at_ms));
    let (first, last) = (all().min()?, all().max()?);
    let start = known - (known - first) / interval_ms * interval_ms;
    let steps = (last - start) / interval_ms;
    Some((0..=steps).map(|step| start + step * interval_ms).collect())
}

/// The alerting rules without annotations: those may query, and are judged elsewhere.
fn rules(rules: &Value) -> String {
    let mut text = String::from("groups:\n");
    for group in groups(rules) {
        let _ = writeln!(text, "  - name: {}\n    rules:", quote(group["name"].as_str().unwrap_or_default()));
        for rule in group["rules"].as_array().into_iter().flatten() {
            let name = rule["name"].as_str().unwrap_or_default();
            let kind = if rule["type"] == "alerting" { "alert" } else { "record" };
            let _ = writeln!(text, "      - {kind}: {}", quote(name));
            let _ = writeln!(text, "        expr: {}", quote(rule["query"].as_str().unwrap_or_default()));
            if kind == "alert" {
                let _ = writeln!(text, "        for: {}s", rule["duration"].as_f64().unwrap_or_default());
                let keep = rule["keepFiringFor"].as_f64().unwrap_or_default();
                if keep > 0.0 {
                    let _ = writeln!(text, "        keep_firing_for: {keep}s");
                }
            }
            let labels = rule["labels"].as_object().into_iter().flatten();
            for (at, (name, value)) in labels.enumerate() {
                if at == 0 {
                    text.push_str("        labels:\n");
                }
                let _ = writeln!(text, "          {name}: {}", quote(value.as_str().unwrap_or_default()));
            }
        }
    }
    text
}

fn test(recording: &Recording, grid: &[i64], interval_ms: i64) -> String {
    let interval = sim_wire::duration::format_ms(interval_ms);
    let mut text = format!(
        "rule_files:\n  - {RULES_FILE}\nevaluation_interval: {interval}\ntests:\n  - interval: {interval}\n    input_series:\n"
    );
    for (labels, samples) in &recording.series {
        if !is_made_by_rules(labels) {
            let _ = writeln!(text, "      - series: {}", quote(&selector(labels, &[])));
            let _ = writeln!(text, "        values: '{}'", values(samples, grid, interval_ms));
        }
    }
    let alerts: BTreeSet<&str> = alerting_rules(&recording.rules).filter_map(|rule| rule["name"].as_str()).collect();
    text.push_str("    alert_rule_test:\n");
    for (step, at_ms) in grid.iter().enumerate() {
        for alert in &alerts {
            let firing = in_state(recording, "firing", *at_ms).filter(|labels| labels["alertname"] == **alert);
            let _ = writeln!(text, "      - eval_time: {}", eval_time(step, interval_ms));
            let _ = writeln!(text, "        alertname: {alert}");
            let mut none = true;
            for labels in firing {
                if none {
                    text.push_str("        exp_alerts:\n");
                }
                none = false;
                let told =
                    labels.iter().filter(|(name, _)| !matches!(name.as_str(), "__name__" | "alertname" | "alertstate"));
                let told: Vec<_> = told.map(|(name, value)| format!("{name}: {}", quote(value))).collect();
                let _ = writeln!(text, "          - exp_labels: {{ {} }}", told.join(", "));
            }
            if none {
                text.push_str("        exp_alerts: []\n");
            }
        }
    }
    text.push_str("    promql_expr_test:\n");
    for (step, at_ms) in grid.iter().enumerate() {
        let _ = writeln!(text, "      - expr: 'ALERTS{{alertstate=\"pending\"}}'");
        let _ = writeln!(text, "        eval_time: {}", eval_time(step, interval_ms));
        let mut none = true;
        for labels in in_state(recording, "pending", *at_ms) {
            if none {
                text.push_str("        exp_samples:\n");
            }
            none = false;
            let _ = writeln!(text, "          - labels: {}\n            value: 1", quote(&selector(labels, &[])));
        }
        if none {
            text.push_str("        exp_samples: []\n");
        }
    }
    text
}

fn is_made_by_rules(labels: &Labels) -> bool {
    matches!(labels.get("__name__").map(String::as_str), Some("ALERTS" | "ALERTS_FOR_STATE"))
}

/// The alerts that the evaluation at `at_ms` found in a state.
fn in_state<'r>(recording: &'r Recording, state: &'r str, at_ms: i64) -> impl Iterator<Item = &'r Labels> {
    recording
        .series
        .iter()
        .filter(move |(labels, samples)| {
            labels.get("__name__").is_some_and(|name| name == "ALERTS")
                && labels.get("alertstate").is_some_and(|found| found == state)
                && samples.binary_search_by_key(&at_ms, |(at_ms, _)| *at_ms).is_ok()
        })
        .map(|(labels, _)| labels)
}

fn eval_time(step: usize, interval_ms: i64) -> String {
    if step == 0 { "0s".to_owned() } else { sim_wire::duration::format_ms(step as i64 * interval_ms) }
}

/// The values that the evaluations saw, with runs of equal ones folded (`5x3` is 5 and three more).
fn values(samples: &[(i64, f64)], grid: &[i64], interval_ms: i64) -> String {
    let mut seen: Vec<String> = Vec::with_capacity(grid.len());
    let mut there = false;
    for at_ms in grid {
        let before = samples.partition_point(|(sample_ms, _)| sample_ms <= at_ms);
        let value =
            before.checked_sub(1).map(|at| samples[at]).filter(|(sample_ms, _)| at_ms - sample_ms < interval_ms);
        seen.push(match value {
            Some((_, value)) => number(value),
            None if there => "stale".to_owned(),
            None => "_".to_owned(),
        });
        there = value.is_some();
    }
    let mut folded: Vec<String> = Vec::new();
    let mut run = 0;
    for (at, value) in seen.iter().enumerate() {
        if seen.get(at + 1) == Some(value) && value != "stale" {
            run += 1;
            continue;
        }
        folded.push(match run {
            0 => value.clone(),
            run if value == "_" => format!("_x{}", run + 1),
            run => format!("{value}x{run}"),
        });
        run = 0;
    }
    folded.join(" ")
}

fn number(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => format!("{value}"),
    }
}

fn selector(labels: &Labels, without: &[&str]) -> String {
    let name = labels.get("__name__").map_or("", String::as_str);
    let labels: Vec<_> = labels
        .iter()
        .filter(|(label, _)| label.as_str() != "__name__" && !without.contains(&label.as_str()))
        .map(|(label, value)| format!("{label}={}", quote(value)))
        .collect();
    format!("{name}{{{}}}", labels.join(","))
}

/// A text as a double-quoted YAML (and PromQL) string.
fn quote(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_series_becomes_what_each_evaluation_saw() {
        let grid = [10_000, 40_000, 70_000, 100_000, 130_000, 160_000];
        let samples = [(35_000, 1.0), (65_000, 1.0), (95_000, 2.5)];
        assert_eq!(values(&samples, &grid, 30_000), "_ 1x1 2.5 stale _");
        assert_eq!(values(&[], &grid, 30_000), "_x6");
    }

    #[test]
    fn a_recording_becomes_rules_and_a_test() {
        let labels =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Labels>();
        let alert =
            |state| labels(&[("__name__", "ALERTS"), ("alertname", "Down"), ("alertstate", state), ("job", "a")]);
        let recording = Recording {
            rules: json!({"groups": [{"name": "g", "interval": 30, "rules": [
                {"type": "alerting", "name": "Down", "query": "up == 0", "duration": 30, "labels": {"severity": "page"}}
            ]}]}),
            series: vec![
                (alert("pending"), vec![(40_000, 1.0)]),
                (alert("firing"), vec![(70_000, 1.0)]),
                (labels(&[("__name__", "up"), ("job", "a")]), vec![(5_000, 1.0), (35_000, 0.0), (65_000, 0.0)]),
            ],
            ..Recording::default()
        };
        let files = unit_test(&recording).unwrap();
        insta::assert_snapshot!(
            files.iter().map(|(name, text)| format!("# {name}\n{text}")).collect::<Vec<_>>().concat()
        );
        let nothing = Recording { series: Vec::new(), ..recording };
        assert_eq!(unit_test(&nothing), Err(ExportError::NoAlerts));
    }
}
