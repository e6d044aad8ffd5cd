//! Why an alert did not live as expected: its expression over time, and which side of a matching was empty.

use std::collections::BTreeSet;
use std::time::Duration;

use scenario_language::{AlertPattern, format_duration};
use serde_json::Value;

use crate::RunClock;
use crate::alert::{Life, Rule};
use crate::backends::{Backends, Result};
use crate::query::{Series, freshness, line, matrix, vector};

/// Series that a story tells.
const TOLD_MAX: usize = 6;
/// Changes of value that a story tells, a series.
const CHANGES_MAX: usize = 12;
/// Most steps of the query over the run.
const STEPS_MAX: u32 = 2_000;

/// The names of the alerting rules that are loaded.
pub async fn rules_there_are(backends: &dyn Backends) -> Result<Vec<String>> {
    let rules = backends.prom_get("/api/v1/rules").await?;
    let groups = rules.get("groups").and_then(Value::as_array).cloned().unwrap_or_default();
    let names: BTreeSet<String> = groups
        .iter()
        .filter_map(|group| group.get("rules")?.as_array())
        .flatten()
        .filter_map(|rule| rule.get("name")?.as_str().map(str::to_string))
        .collect();
    Ok(vec![format!("rules there are: {}", names.into_iter().collect::<Vec<_>>().join(", "))])
}

/// The story of a rule's expression over the whole run.
pub async fn why(
    pattern: &AlertPattern,
    rule: &Rule,
    lives: &[Life],
    backends: &dyn Backends,
    clock: &RunClock,
) -> Result<Vec<String>> {
    let mut story = vec![format!(
        "rule: {} for {}, evaluated every {}",
        rule.query,
        format_duration(rule.hold),
        format_duration(rule.interval)
    )];
    if !rule.last_error.is_empty() {
        story.push(format!("its last evaluation failed: {}", rule.last_error));
    }
    let step = rule.interval.max(clock.end / STEPS_MAX);
    let answer = backends
        .prom_query_range(&rule.query, clock.at_ms(Duration::ZERO), clock.at_ms(clock.end), step.as_millis() as i64)
        .await;
    match answer.and_then(|answer| matrix(&answer)) {
        Err(error) => story.push(format!("its expression cannot be asked: {error}")),
        Ok(series) if series.is_empty() => {
            story.push("its expression had no result at any time".to_string());
            story.extend(sides(&rule.query, backends, clock).await);
        }
        Ok(series) => {
            for (labels, samples) in series.iter().take(TOLD_MAX) {
                let series = Series { labels: labels.clone(), value: 0.0 };
                let name = line(&series);
                story.push(format!("{}: {}", name.trim_end_matches(" 0"), changes(samples, clock, step)));
                story.extend(left_of_for(samples, rule, lives, clock, step));
            }
        }
    }
    let at = pattern.firing.as_ref().or(pattern.pending.as_ref()).and_then(|stage| match stage.value {
        scenario_language::StageWindow::In(window) => Some(window.within(clock.end).1),
        scenario_language::StageWindow::Never => None,
    });
    story.extend(freshness(at.unwrap_or(clock.end), backends, clock).await);
    Ok(story)
}

/// A series as `from..to value`, one part a value.
fn changes(samples: &[(i64, f64)], clock: &RunClock, step: Duration) -> String {
    let mut parts: Vec<(Duration, Duration, f64)> = Vec::new();
    for (at_ms, value) in samples {
        let at = clock.since_zero_ms(*at_ms);
        match parts.last_mut() {
            Some((_, to, last)) if *last == *value && at <= *to + step => *to = at,
            _ => parts.push((at, at, *value)),
        }
    }
    let told: Vec<String> = parts
        .iter()
        .take(CHANGES_MAX)
        .map(|(from, to, value)| format!("{}..{} {value}", format_duration(*from), format_duration(*to)))
        .collect();
    let more =
        if parts.len() > CHANGES_MAX { format!(" … {} more", parts.len() - CHANGES_MAX) } else { String::new() };
    format!("{}{more}", told.join(", "))
}

/// How much of `for` was left when the expression stopped being true, for an alert that never fired.
fn left_of_for(
    samples: &[(i64, f64)],
    rule: &Rule,
    lives: &[Life],
    clock: &RunClock,
    step: Duration,
) -> Option<String> {
    if rule.hold.is_zero() || lives.iter().any(|life| !life.firing.is_empty()) {
        return None;
    }
    let mut longest = Duration::ZERO;
    let (mut from, mut last): (Option<Duration>, Duration) = (None, Duration::ZERO);
    for (at_ms, _) in samples {
        let at = clock.since_zero_ms(*at_ms);
        if from.is_none() || at > last + step {
            from = Some(at);
        }
        last = at;
        longest = longest.max(at.saturating_sub(from.unwrap_or(at)));
    }
    let left = rule.hold.checked_sub(longest)?;
    (!left.is_zero()).then(|| {
        format!("  true for {} at the longest, {} of `for` were left", format_duration(longest), format_duration(left))
    })
}

/// For a binary expression without result: which side is empty, or which labels keep the sides apart.
async fn sides(query: &str, backends: &dyn Backends, clock: &RunClock) -> Vec<String> {
    let Some((left, operator, right)) = split(query) else { return Vec::new() };
    let at_ms = clock.at_ms(clock.end);
    let mut answers = Vec::new();
    for side in [left, right] {
        // What there was at any time of the run counts, not only what is there at the end.
        let over = format!("last_over_time(({side})[{}:])", format_duration(clock.end));
        match backends.prom_query(&over, at_ms).await.and_then(|answer| vector(&answer)) {
            Ok(series) => answers.push(series),
            Err(_) => return Vec::new(),
        }
    }
    explain_sides(left, operator, right, &answers[0], &answers[1])
}

/// The pure part: both sides' series.
fn explain_sides(
    left: &str,
    operator: &str,
    right: &str,
    left_series: &[Series],
    right_series: &[Series],
) -> Vec<String> {
    let mut story = vec![
        format!("left of `{operator}`: {left} has {} series", left_series.len()),
        format!("right of `{operator}`: {right} has {} series", right_series.len()),
    ];
    let scalar = |series: &[Series]| series.len() == 1 && series[0].labels.is_empty();
    if left_series.is_empty() || right_series.is_empty() || scalar(right_series) || scalar(left_series) {
        return story;
    }
    let differing = |a: &Series, b: &Series| -> Vec<String> {
        let names: BTreeSet<&str> = a
            .labels
            .iter()
            .chain(&b.labels)
            .map(|(name, _)| name.as_str())
            .filter(|name| *name != "__name__")
            .collect();
        names
            .into_iter()
            .filter(|name| a.label(name) != b.label(name))
            .map(|name| format!("{name} ({:?} and {:?})", a.label(name), b.label(name)))
            .collect()
    };
    let pairs = left_series.iter().flat_map(|a| right_series.iter().map(move |b| (a, b)));
    if let Some((a, b)) = pairs.min_by_key(|(a, b)| differing(a, b).len()) {
        let labels = differing(a, b);
        if !labels.is_empty() {
            story.push(format!("the nearest pair differs in {}: {} and {}", labels.join(", "), line(a), line(b)));
        }
    }
    story
}

/// Splits an expression at its outermost comparison or set operator: left, operator, right without matching modifiers.
fn split(query: &str) -> Option<(&str, &str, &str)> {
    const OPERATORS: [&str; 9] = ["==", "!=", ">=", "<=", ">", "<", " and ", " unless ", " or "];
    let (mut depth, mut quote, mut escaped) = (0i32, None, false);
    let mut found: Option<(usize, &str, bool)> = None;
    let mut skip_to = 0;
    for (at, c) in query.char_indices() {
        if at < skip_to {
            continue;
        }
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some('"' | '\''), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '(' | '{' | '[') => depth += 1,
            (None, ')' | '}' | ']') => depth -= 1,
            (None, _) if depth == 0 => {
                if let Some(operator) = OPERATORS.iter().find(|operator| query[at..].starts_with(**operator)) {
                    // Of several the last set operator binds weakest; a comparison counts when there is none.
                    let set = operator.starts_with(' ');
                    if found.is_none_or(|(_, _, was_set)| set || !was_set) {
                        found = Some((at, *operator, set));
                    }
                    skip_to = at + operator.len();
                }
            }
            _ => {}
        }
    }
    let (at, operator, _) = found?;
    let mut right = query[at + operator.len()..].trim_start();
    for word in ["bool", "ignoring", "on", "group_left", "group_right"] {
        let Some(rest) = right.strip_prefix(word).map(str::trim_start) else { continue };
        right = match (word, rest.strip_prefix('(').and_then(|inner| inner.split_once(')'))) {
            ("bool", _) => rest,
            (_, Some((_, after))) => after.trim_start(),
            ("group_left" | "group_right", None) => rest,
            _ => right,
        };
    }
    Some((query[..at].trim(), operator.trim(), right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_split_at_its_outermost_operator() {
        assert_eq!(
            split("a{x=\"<\"} < ignoring(state) b{state=\"desired\"}"),
            Some(("a{x=\"<\"}", "<", "b{state=\"desired\"}"))
        );
        assert_eq!(split("rate(x[5m]) > 0"), Some(("rate(x[5m])", ">", "0")));
        assert_eq!(split("a == 1 and on(name) b > 2"), Some(("a == 1", "and", "b > 2")));
        assert_eq!(split("sum(a > 1)"), None);
        assert_eq!(split("a * on(x) group_left b"), None);
    }

    #[test]
    fn the_label_that_keeps_two_sides_apart_is_told() {
        let series = |state: &str| Series {
            labels: vec![("pool".to_string(), "default".to_string()), ("state".to_string(), state.to_string())],
            value: 1.0,
        };
        let story = explain_sides("r", "<", "d", &[series("ready")], &[series("desired")]);
        assert_eq!(
            story[2],
            "the nearest pair differs in state (\"ready\" and \"desired\"): {pool=\"default\", state=\"ready\"} 1 and {pool=\"default\", state=\"desired\"} 1"
        );
        assert_eq!(
            explain_sides("r", "<", "d", &[], &[series("desired")]),
            ["left of `<`: r has 0 series", "right of `<`: d has 1 series"]
        );
    }
}
