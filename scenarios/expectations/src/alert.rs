//! `alert` and `alerts: none`: the life of alerts, from the samples of `ALERTS`.

use std::collections::BTreeMap;
use std::time::Duration;

use scenario_language::{AlertPattern, Spanned, StageWindow, format_duration};
use serde_json::{Value, json};

use crate::RunClock;
use crate::alert_story;
use crate::backends::{Backends, Result};
use crate::outcome::{Observation, Story};
use crate::path::differences;
use crate::query::matrix;

/// An evaluation interval that Prometheus does not tell.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(30);

/// The life of one instance of an alert.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Life {
    /// The labels of the instance, without `alertstate` and `__name__`.
    pub labels: BTreeMap<String, String>,
    /// Evaluations at which it was pending, from zero.
    pub pending: Vec<Duration>,
    /// Evaluations at which it was firing.
    pub firing: Vec<Duration>,
}

/// What the rule of an alert is.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The expression.
    pub query: String,
    /// `for`.
    pub hold: Duration,
    /// The interval of its group.
    pub interval: Duration,
    /// When the group was last evaluated, as Prometheus writes it.
    pub last_evaluation: String,
    /// The error of the last evaluation.
    pub last_error: String,
}

impl Life {
    /// When it first was pending, or firing when it has no `for`.
    pub fn pending_at(&self) -> Option<Duration> {
        self.pending.first().copied()
    }

    /// Each stretch of firing: its first evaluation, and the first one at which it no longer fired. An evaluation at the
    /// very end may not have happened, so it proves nothing.
    pub fn stretches(&self, interval: Duration, end: Duration) -> Vec<(Duration, Option<Duration>)> {
        let mut stretches: Vec<(Duration, Duration)> = Vec::new();
        for at in &self.firing {
            match stretches.last_mut() {
                // Half an interval of slack: evaluations are missed by whole intervals, never by parts.
                Some((_, last)) if *at <= *last + interval + interval / 2 => *last = *at,
                _ => stretches.push((*at, *at)),
            }
        }
        stretches
            .into_iter()
            .map(|(first, last)| (first, Some(last + interval).filter(|resolved| *resolved < end)))
            .collect()
    }
}

/// Judges the life of an alert. To be called after the end of the run; `annotated` is what was seen of its annotations.
pub async fn judge(
    pattern: &AlertPattern,
    annotated: Option<&Observation>,
    backends: &dyn Backends,
    clock: &RunClock,
) -> Result<(bool, Story)> {
    let name = &pattern.name.value;
    let rule = rule(name, backends).await?;
    let lives = lives(Some(name), backends, clock).await?;
    let interval = rule.as_ref().map_or(INTERVAL_DEFAULT, |rule| rule.interval);
    let (mut ok, mut story) = judge_lives(pattern, &lives, interval, clock.end);
    if rule.is_none() {
        ok = false;
        story.found = format!("there is no rule {name}; {}", story.found);
        story.details.extend(alert_story::rules_there_are(backends).await?);
    }
    if let Some(annotated) = annotated {
        ok &= annotated.ok;
        if !annotated.ok {
            story.found = format!("{}; {}", story.found, annotated.story.found);
            story.details.extend(annotated.story.details.clone());
        }
    }
    if let (false, Some(rule)) = (ok, &rule) {
        story.details.extend(alert_story::why(pattern, rule, &lives, backends, clock).await?);
    }
    Ok((ok, story))
}

/// The pure part: the lives of all instances of the alert.
pub fn judge_lives(pattern: &AlertPattern, lives: &[Life], interval: Duration, end: Duration) -> (bool, Story) {
    let labels = |life: &Life| json!(life.labels);
    let chosen: Vec<&Life> =
        lives.iter().filter(|life| differences(&pattern.labels, &labels(life)).is_empty()).collect();
    let mut problems: Vec<(String, Vec<String>)> =
        chosen.iter().map(|life| (tell_labels(&life.labels), problems(pattern, life, interval, end))).collect();
    // An instance that neither fired nor had to is no counter-example as long as another one lives as expected.
    let lives_as_expected = problems.iter().any(|(_, problems)| problems.is_empty());
    if lives_as_expected {
        let silent: Vec<bool> = chosen.iter().map(|life| life.firing.is_empty()).collect();
        let mut place = 0;
        problems.retain(|_| {
            place += 1;
            !silent[place - 1]
        });
    }
    let wanted = [&pattern.pending, &pattern.firing, &pattern.resolved];
    let nothing_wanted = wanted.into_iter().flatten().all(|stage| stage.value == StageWindow::Never);
    let ok = if chosen.is_empty() { nothing_wanted } else { problems.iter().all(|(_, problems)| problems.is_empty()) };
    let found = if chosen.is_empty() {
        match lives.len() {
            0 => "it was never pending nor firing".to_string(),
            other => format!("none of its {other} instances has these labels"),
        }
    } else if ok {
        chosen.iter().map(|life| tell_life(life, interval, end)).collect::<Vec<_>>().join("; ")
    } else {
        let bad = problems.iter().filter(|(_, problems)| !problems.is_empty());
        bad.map(|(labels, problems)| format!("{{{labels}}} {}", problems.join(", "))).collect::<Vec<_>>().join("; ")
    };
    let mut details: Vec<String> = Vec::new();
    if !ok {
        details.extend(
            chosen.iter().map(|life| format!("{{{}}} {}", tell_labels(&life.labels), tell_life(life, interval, end))),
        );
        if chosen.is_empty() {
            details.extend(lives.iter().map(|life| {
                format!(
                    "instance {{{}}}: {}",
                    tell_labels(&life.labels),
                    differences(&pattern.labels, &labels(life)).join("; ")
                )
            }));
        }
    }
    let data = json!({"interval_s": interval.as_secs_f64(), "instances": lives.iter().map(|life| json!({
        "labels": life.labels,
        "pending_s": life.pending_at().map(|at| at.as_secs_f64()),
        "firing": life.stretches(interval, end).iter().map(|(from, to)| json!({"from_s": from.as_secs_f64(), "to_s": to.map(|to| to.as_secs_f64())})).collect::<Vec<_>>(),
    })).collect::<Vec<_>>()});
    (ok, Story::new("", found).with(details).data(data))
}

/// What in one instance's life is not as expected.
fn problems(pattern: &AlertPattern, life: &Life, interval: Duration, end: Duration) -> Vec<String> {
    let stretches = life.stretches(interval, end);
    let mut problems = Vec::new();
    let pending: Vec<Duration> = life.pending_at().into_iter().collect();
    stage(pattern.pending.as_ref(), "pending", &pending, &mut problems);
    let starts: Vec<Duration> = stretches.iter().map(|(from, _)| *from).collect();
    stage(pattern.firing.as_ref(), "firing", &starts, &mut problems);
    let ends: Vec<Duration> = stretches.iter().filter_map(|(_, to)| *to).collect();
    if let Some(Spanned { value: StageWindow::In(_), .. }) = &pattern.resolved
        && let Some((from, None)) = stretches.last()
    {
        problems.push(format!("fires since {} and is not resolved", format_duration(*from)));
        return problems;
    }
    stage(pattern.resolved.as_ref(), "resolved", &ends, &mut problems);
    problems
}

/// Every beginning of a stage lies in its window, and there is one.
fn stage(window: Option<&Spanned<StageWindow>>, name: &str, beginnings: &[Duration], problems: &mut Vec<String>) {
    let Some(window) = window else { return };
    match window.value {
        StageWindow::Never => {
            problems
                .extend(beginnings.first().map(|at| format!("is {name} at {}, expected never", format_duration(*at))));
        }
        StageWindow::In(window) if beginnings.is_empty() => {
            problems.push(format!("is never {name}, expected {window}"));
        }
        StageWindow::In(window) => {
            let outside = beginnings.iter().filter(|at| !window.contains(**at));
            problems.extend(outside.map(|at| format!("is {name} at {}, expected {window}", format_duration(*at))));
        }
    }
}

/// A life in words.
fn tell_life(life: &Life, interval: Duration, end: Duration) -> String {
    let mut parts = Vec::new();
    parts.extend(life.pending_at().map(|at| format!("pending from {}", format_duration(at))));
    for (from, to) in life.stretches(interval, end) {
        parts.push(format!("firing from {}", format_duration(from)));
        parts.push(to.map_or("never resolved".to_string(), |to| format!("resolved at {}", format_duration(to))));
    }
    if let (true, Some(last)) = (life.firing.is_empty(), life.pending.last()) {
        parts.push(format!("last pending at {}", format_duration(*last)));
    }
    parts.join(", ")
}

/// Labels in one line, without the alert's own name.
pub fn tell_labels(labels: &BTreeMap<String, String>) -> String {
    let parts: Vec<String> = labels
        .iter()
        .filter(|(name, _)| *name != "alertname")
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    parts.join(", ")
}

/// The lives of one alert's instances, or of all alerts'.
pub async fn lives(name: Option<&str>, backends: &dyn Backends, clock: &RunClock) -> Result<Vec<Life>> {
    let selector = name.map(|name| format!("{{alertname={name:?}}}")).unwrap_or_default();
    // A second more than the run, so that its first instant is inside.
    let range = format_duration(clock.end + Duration::from_secs(1));
    let answer = backends.prom_query(&format!("ALERTS{selector}[{range}]"), clock.at_ms(clock.end)).await?;
    let mut lives: BTreeMap<BTreeMap<String, String>, Life> = BTreeMap::new();
    for (labels, samples) in matrix(&answer)? {
        let state = labels.iter().find(|(name, _)| name == "alertstate").map(|(_, value)| value.clone());
        let labels: BTreeMap<String, String> =
            labels.into_iter().filter(|(name, _)| name != "alertstate" && name != "__name__").collect();
        let life = lives.entry(labels.clone()).or_insert_with(|| Life { labels, ..Life::default() });
        let instants = samples
            .iter()
            .filter(|(at_ms, _)| *at_ms >= clock.at_ms(Duration::ZERO))
            .map(|(at_ms, _)| clock.since_zero_ms(*at_ms));
        match state.as_deref() {
            Some("firing") => life.firing.extend(instants),
            _ => life.pending.extend(instants),
        }
    }
    let mut lives: Vec<Life> =
        lives.into_values().filter(|life| !life.pending.is_empty() || !life.firing.is_empty()).collect();
    for life in &mut lives {
        life.pending.sort();
        life.firing.sort();
    }
    Ok(lives)
}

/// The rule of an alert, from `/api/v1/rules`.
pub async fn rule(name: &str, backends: &dyn Backends) -> Result<Option<Rule>> {
    let rules = backends.prom_get("/api/v1/rules").await?;
    let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_string();
    let seconds = |value: &Value, field: &str| {
        value.get(field).and_then(Value::as_f64).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    };
    for group in rules.get("groups").and_then(Value::as_array).into_iter().flatten() {
        for rule in group.get("rules").and_then(Value::as_array).into_iter().flatten() {
            if rule.get("type").and_then(Value::as_str) == Some("alerting") && text(rule, "name") == name {
                return Ok(Some(Rule {
                    query: text(rule, "query"),
                    hold: seconds(rule, "duration").unwrap_or_default(),
                    interval: seconds(group, "interval")
                        .filter(|interval| !interval.is_zero())
                        .unwrap_or(INTERVAL_DEFAULT),
                    last_evaluation: text(group, "lastEvaluation"),
                    last_error: text(rule, "lastError"),
                }));
            }
        }
    }
    Ok(None)
}

/// The annotations of an alert that is active now.
pub async fn annotations(pattern: &AlertPattern, backends: &dyn Backends) -> Result<(bool, Story)> {
    let answer = backends.prom_get("/api/v1/alerts").await?;
    let empty = Vec::new();
    let alerts = answer.get("alerts").and_then(Value::as_array).unwrap_or(&empty);
    let null = Value::Null;
    let named = |alert: &&Value| {
        alert.pointer("/labels/alertname").and_then(Value::as_str) == Some(pattern.name.value.as_str())
    };
    let chosen = |alert: &&Value| differences(&pattern.labels, alert.get("labels").unwrap_or(&null)).is_empty();
    let Some(alert) = alerts.iter().filter(named).find(chosen) else {
        return Ok((false, Story::new("", "its annotations cannot be seen: it was not active")));
    };
    let annotations = alert.get("annotations").unwrap_or(&null);
    let wrong: Vec<String> =
        differences(&pattern.annotations, annotations).iter().map(|text| format!("annotation {text}")).collect();
    let found = if wrong.is_empty() { "its annotations are as expected".to_string() } else { wrong.join("; ") };
    Ok((wrong.is_empty(), Story::new("", found).data(annotations.clone())))
}

/// The severity of an alert that always fires by design, as a dead man's switch does.
pub(crate) const HEARTBEAT: &str = "none";

/// `alerts: none`: nothing fires but what is excepted, and what always does (`severity: none`).
pub async fn judge_none(
    except: &[Spanned<String>],
    backends: &dyn Backends,
    clock: &RunClock,
) -> Result<(bool, Story)> {
    let rules = backends.prom_get("/api/v1/rules").await?;
    let groups = rules.get("groups").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let alerting = groups.iter().filter_map(|group| group.get("rules")?.as_array()).flatten();
    let number = alerting.filter(|rule| rule.get("type").and_then(Value::as_str) == Some("alerting")).count();
    if number == 0 {
        // Silence of rules that are not there proves nothing.
        return Ok((false, Story::new("", "Prometheus has no alerting rules")));
    }
    let lives = lives(None, backends, clock).await?;
    let name = |life: &Life| life.labels.get("alertname").cloned().unwrap_or_default();
    let firing: Vec<&Life> = lives
        .iter()
        .filter(|life| !life.firing.is_empty() && !except.iter().any(|allowed| allowed.value == name(life)))
        .filter(|life| life.labels.get("severity").is_none_or(|severity| severity != HEARTBEAT))
        .collect();
    let details = firing
        .iter()
        .map(|life| {
            format!("{} {{{}}} {}", name(life), tell_labels(&life.labels), tell_life(life, INTERVAL_DEFAULT, clock.end))
        })
        .collect();
    let names: Vec<String> = firing.iter().map(|life| name(life)).collect();
    let found =
        if firing.is_empty() { format!("{number} rules, none fires") } else { format!("{} fires", names.join(", ")) };
    Ok((firing.is_empty(), Story::new("", found).with(details).data(json!({"rules": number, "firing": names}))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);
    const END: Duration = Duration::from_secs(2400);

    /// Stretches in seconds: from, and up to.
    fn life(pending: (u64, u64), firing: &[(u64, u64)]) -> Life {
        let instants = |&(from, to): &(u64, u64)| (from..to).step_by(30).map(Duration::from_secs).collect::<Vec<_>>();
        Life {
            labels: BTreeMap::from([
                ("alertname".to_string(), "X".to_string()),
                ("name".to_string(), "minimal".to_string()),
            ]),
            pending: instants(&pending),
            firing: firing.iter().flat_map(instants).collect(),
        }
    }

    fn judge(yaml: &str, lives: &[Life]) -> (bool, Story) {
        judge_lives(&crate::testing::expectation(&format!("alert: X\n{yaml}")).alert(), lives, INTERVAL, END)
    }

    #[test]
    fn a_whole_life_is_judged_by_its_windows() {
        let normal = life((40, 640), &[(640, 960)]);
        assert!(judge("pending: ..65s\nfiring: 10m..11m5s\nresolved: 15m..17m", std::slice::from_ref(&normal)).0);
        let (ok, story) = judge("firing: 5m..6m5s", std::slice::from_ref(&normal));
        assert!(!ok);
        assert_eq!(story.found, "{name=\"minimal\"} is firing at 10m40s, expected 5m..6m5s");
        assert!(!judge("resolved: 15m..15m30s", std::slice::from_ref(&normal)).0);
        assert!(!judge("firing: never", std::slice::from_ref(&normal)).0);
        assert!(!judge("labels: { name: other }\nfiring: 10m..11m5s", &[normal]).0);
    }

    #[test]
    fn an_alert_that_fires_twice_breaks_a_single_window() {
        let twice = life((0, 300), &[(300, 600), (900, 1200)]);
        let (ok, story) = judge("firing: 5m..6m", &[twice]);
        assert!(!ok);
        assert_eq!(story.found, "{name=\"minimal\"} is firing at 15m, expected 5m..6m");
    }

    #[test]
    fn an_alert_that_fires_at_the_end_is_not_resolved() {
        let open = life((0, 300), &[(300, 2400)]);
        let (ok, story) = judge("firing: 5m..6m\nresolved: 10m..40m", std::slice::from_ref(&open));
        assert!(!ok, "{story:?}");
        let open = life((0, 300), &[(300, 2401)]);
        assert!(judge("firing: 5m..6m\nresolved: never", &[open]).0);
    }

    #[test]
    fn silence_satisfies_only_never() {
        assert!(judge("firing: never", &[]).0);
        let (ok, story) = judge("firing: 5m..6m", &[]);
        assert!(!ok);
        assert_eq!(story.found, "it was never pending nor firing");
        assert!(judge("pending: ..65s\nfiring: never", &[life((30, 600), &[])]).0);
        assert!(!judge("pending: ..65s\nfiring: never", &[]).0);
    }
}
