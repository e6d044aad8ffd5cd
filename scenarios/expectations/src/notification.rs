//! `notification`: who is told of what, when, how often, together with what.
//!
//! What was told is read from the lines of the program that takes notifications (one line of JSON for each, with
//! Alertmanager's webhook as it came), why something was not told from Alertmanager's own lines and Prometheus' alerts.

use std::collections::BTreeMap;
use std::time::Duration;

use scenario_language::{Comparison, NotificationPattern, Spanned, StageWindow, format_duration};
use serde_json::{Value, json};

use crate::RunClock;
use crate::alert::{HEARTBEAT, lives, tell_labels};
use crate::backends::{BackendError, Backends, LogLine, Result};
use crate::outcome::Story;
use crate::path::differences;

/// The program that takes notifications.
const TAKER: &str = "notifications";
/// The program that sends them.
const SENDER: &str = "alertmanager";
/// What it says of alerts of which nobody is told.
const MUTED: &str = "Notifications will not be sent for muted alerts";
/// Labels that say where an alert was seen, not what it is about: left out of stories.
const EVERYWHERE: [&str; 9] =
    ["prometheus", "prometheus_replica", "instance", "job", "pod", "endpoint", "service", "container", "severity"];
/// Notifications, and lines of Alertmanager, that a story tells.
const TOLD_MAX: usize = 12;

/// One notification as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// When, from zero; what came before it is left out.
    pub at: Duration,
    /// Who was told.
    pub receiver: String,
    /// Why, in Alertmanager's words.
    pub reason: String,
    /// The labels of each alert, and whether it fires.
    pub alerts: Vec<(BTreeMap<String, String>, bool)>,
    /// All of it: Alertmanager's webhook as it came.
    pub body: Value,
}

impl Told {
    /// What a line of the program that takes notifications tells; `None` for other lines and for what came before zero.
    pub fn of(line: &LogLine, clock: &RunClock) -> Option<Self> {
        let json = line.json.as_ref().filter(|_| line.process == TAKER && line.ts_ns >= clock.at_ns(Duration::ZERO))?;
        let alerts = json["notification"]["alerts"].as_array()?.iter().map(|alert| {
            let labels = alert["labels"].as_object().into_iter().flatten();
            let labels = labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
            (labels, alert["status"] == "firing")
        });
        Some(Self {
            at: clock.since_zero_ms(line.ts_ns.div_euclid(1_000_000)),
            receiver: json["to"].as_str().unwrap_or_default().to_owned(),
            reason: json["notification"]["notification_reason"].as_str().unwrap_or_default().to_owned(),
            alerts: alerts.collect(),
            body: json["notification"].clone(),
        })
    }

    /// `MultigresCellGatewayUnavailable {cell="a"} fires, X {} is resolved (first notification)`.
    pub fn what(&self) -> String {
        let alerts: Vec<String> = self
            .alerts
            .iter()
            .map(|(labels, firing)| {
                let name = labels.get("alertname").map_or("?", String::as_str);
                let labels = labels.iter().filter(|(name, _)| !EVERYWHERE.contains(&name.as_str()));
                let labels = labels.map(|(name, value)| (name.clone(), value.clone())).collect();
                format!("{name} {{{}}} {}", tell_labels(&labels), if *firing { "fires" } else { "is resolved" })
            })
            .collect();
        format!("{} ({})", alerts.join(", "), self.reason)
    }

    /// Whether it tells of nothing but alerts that always fire (`severity: none`), as a dead man's switch does.
    pub fn is_heartbeat(&self) -> bool {
        self.alerts.iter().all(|(labels, _)| labels.get("severity").is_some_and(|severity| severity == HEARTBEAT))
    }

    /// `page was told at 5m50s: …`
    fn tell(&self) -> String {
        format!("{} was told at {}: {}", self.receiver, format_duration(self.at), self.what())
    }
}

/// Judges what a receiver was told. To be called after the end of the run.
pub async fn judge(pattern: &NotificationPattern, backends: &dyn Backends, clock: &RunClock) -> Result<(bool, Story)> {
    let lines = backends.logs().await?;
    let told: Vec<Told> = lines.iter().filter_map(|line| Told::of(line, clock)).collect();
    let (ok, mut story) = judge_told(pattern, &told);
    if !ok {
        story.details.extend(why(pattern, &lines, backends, clock).await?);
    }
    Ok((ok, story))
}

fn fits(pattern: &NotificationPattern, labels: &BTreeMap<String, String>) -> bool {
    differences(&pattern.labels, &json!(labels)).is_empty()
}

/// When each alert that the pattern chooses was first told to fire, and to be resolved again.
fn turns(pattern: &NotificationPattern, told: &[&Told]) -> (Vec<Duration>, Vec<Duration>) {
    let (mut begins, mut ends) = (Vec::new(), Vec::new());
    let mut known: BTreeMap<&BTreeMap<String, String>, bool> = BTreeMap::new();
    for one in told {
        for (labels, firing) in one.alerts.iter().filter(|(labels, _)| fits(pattern, labels)) {
            let before = known.insert(labels, *firing).unwrap_or(false);
            match (before, *firing) {
                (false, true) => begins.push(one.at),
                (true, false) => ends.push(one.at),
                _ => {}
            }
        }
    }
    (begins, ends)
}

/// The pure part: all notifications of a run, in order.
pub fn judge_told(pattern: &NotificationPattern, told: &[Told]) -> (bool, Story) {
    let receiver = &pattern.receiver.value;
    let mine: Vec<&Told> = told.iter().filter(|one| one.receiver == *receiver).collect();
    let chosen: Vec<&Told> =
        mine.iter().filter(|one| one.alerts.iter().any(|(labels, _)| fits(pattern, labels))).copied().collect();
    // Whether an alert turns depends on what was told before; whether that counts, on the window.
    let (mut begins, mut ends) = turns(pattern, &chosen);
    let mut chosen = chosen;
    if let Some(during) = &pattern.during {
        begins.retain(|at| during.value.contains(*at));
        ends.retain(|at| during.value.contains(*at));
        chosen.retain(|one| during.value.contains(one.at));
    }
    let mut problems = Vec::new();
    stage(pattern.firing.as_ref(), "fires", &begins, &mut problems);
    stage(pattern.resolved.as_ref(), "is resolved", &ends, &mut problems);
    let says_firing = |one: &&&Told| one.alerts.iter().any(|(labels, firing)| *firing && fits(pattern, labels));
    let times = chosen.iter().filter(says_firing).count();
    let largest = chosen.iter().map(|one| one.alerts.len()).max().unwrap_or(0);
    let mut count = |comparison: Option<&Comparison>, number: usize, what: &str| {
        if let Some(comparison) = comparison.filter(|comparison| !comparison.holds_number(number as f64)) {
            problems.push(format!("{what} is {number}, expected {comparison}"));
        }
    };
    count(pattern.times.as_ref(), times, "the number of notifications that say it fires");
    count(pattern.grouped.as_ref(), largest, "the number of alerts in the largest of them");
    if !pattern.each.is_empty() {
        if chosen.is_empty() {
            problems.push(format!("{receiver} was told nothing of it"));
        }
        for one in &chosen {
            let wrong = differences(&pattern.each, &one.body);
            if !wrong.is_empty() {
                problems.push(format!("at {} {}", format_duration(one.at), wrong.join(", ")));
            }
        }
    }
    let found = if !problems.is_empty() {
        problems.join("; ")
    } else if chosen.is_empty() {
        format!("{receiver} was told nothing of it")
    } else {
        let mut turns: Vec<String> = begins.iter().map(|at| format!("fires at {}", format_duration(*at))).collect();
        turns.extend(ends.iter().map(|at| format!("is resolved at {}", format_duration(*at))));
        format!("{receiver} was told {} times: {}", chosen.len(), turns.join(", "))
    };
    let mut details = Vec::new();
    if !problems.is_empty() {
        let shown = if chosen.is_empty() { &mine } else { &chosen };
        details.extend(shown.iter().take(TOLD_MAX).map(|one| one.tell()));
        if shown.len() > TOLD_MAX {
            details.push(format!("… {} more notifications", shown.len() - TOLD_MAX));
        }
        if mine.is_empty() {
            details.push(format!("{receiver} was told nothing at all"));
        }
        let elsewhere = told.iter().filter(|one| one.receiver != *receiver);
        let others = elsewhere.filter(|one| one.alerts.iter().any(|(labels, _)| fits(pattern, labels)));
        if chosen.is_empty() && !pattern.labels.is_empty() {
            details.extend(others.take(3).map(Told::tell));
        }
    }
    let seconds = |all: &[Duration]| -> Vec<f64> { all.iter().map(Duration::as_secs_f64).collect() };
    let data = json!({"firing_s": seconds(&begins), "resolved_s": seconds(&ends), "times": times, "largest": largest});
    (problems.is_empty(), Story::new("", found).with(details).data(data))
}

/// Every turn lies in its window, and there is one.
fn stage(window: Option<&Spanned<StageWindow>>, what: &str, turns: &[Duration], problems: &mut Vec<String>) {
    let Some(window) = window else { return };
    match window.value {
        StageWindow::Never => {
            let first = turns.first();
            problems
                .extend(first.map(|at| format!("is told that it {what} at {}, expected never", format_duration(*at))));
        }
        StageWindow::In(window) if turns.is_empty() => {
            problems.push(format!("is never told that it {what}, expected {window}"));
        }
        StageWindow::In(window) => {
            let outside = turns.iter().filter(|at| !window.contains(**at));
            problems.extend(
                outside.map(|at| format!("is told that it {what} at {}, expected {window}", format_duration(*at))),
            );
        }
    }
}

/// Why somebody was not told: whether the alert fired at all, and what Alertmanager said of it.
async fn why(
    pattern: &NotificationPattern,
    lines: &[LogLine],
    backends: &dyn Backends,
    clock: &RunClock,
) -> Result<Vec<String>> {
    let all = match lives(None, backends, clock).await {
        Ok(all) => all,
        // Whoever is told may be told without it.
        Err(error @ BackendError::Unreachable { .. }) => return Ok(vec![error.to_string()]),
        Err(error) => return Err(error),
    };
    let chosen: Vec<_> = all.iter().filter(|life| fits(pattern, &life.labels)).collect();
    let mut details = Vec::new();
    for life in chosen.iter().take(3) {
        let name = life.labels.get("alertname").map_or("?", String::as_str);
        let fired = life.firing.first().map_or_else(
            || "never fired: nobody could be told".to_owned(),
            |at| format!("fired from {} on", format_duration(*at)),
        );
        details.push(format!("in Prometheus {name} {{{}}} {fired}", tell_labels(&life.labels)));
    }
    if chosen.is_empty() {
        details.push("no such alert was pending or firing in Prometheus".to_owned());
    }
    let names: Vec<&str> = chosen.iter().filter_map(|life| life.labels.get("alertname").map(String::as_str)).collect();
    let said = lines.iter().filter(|line| line.process == SENDER && line.ts_ns >= clock.at_ns(Duration::ZERO));
    let about = said.filter(|line| {
        let of_it = names.iter().any(|name| line.text.contains(&format!("{name}[")) || line.text.contains(*name));
        of_it && (line.text.contains(MUTED) || line.text.contains("Notify"))
    });
    let told: Vec<String> = about
        .map(|line| {
            let at = format_duration(clock.since_zero_ms(line.ts_ns.div_euclid(1_000_000)));
            match line.text.split_once("reason=") {
                Some((_, reason)) if line.text.contains(MUTED) => format!("at {at} Alertmanager told nobody: {reason}"),
                _ => format!("at {at} Alertmanager: {}", line.text.split_once("msg=").map_or("", |(_, rest)| rest)),
            }
        })
        .collect();
    details.extend(told.iter().take(TOLD_MAX).cloned());
    if told.len() > TOLD_MAX {
        details.push(format!("… {} more lines of Alertmanager", told.len() - TOLD_MAX));
    }
    Ok(details)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at_s: i64, to: &str, alerts: &Value) -> LogLine {
        let json = json!({"to": to, "notification": {"notification_reason": "first notification", "alerts": alerts}});
        LogLine { ts_ns: at_s * 1_000_000_000, process: TAKER.to_owned(), text: json.to_string(), json: Some(json) }
    }

    fn told() -> Vec<Told> {
        let alert = |name: &str, status: &str| json!({"status": status, "labels": {"alertname": name, "cell": "a"}});
        let clock = RunClock { zero_ns: 0, end: Duration::from_secs(3600) };
        [
            line(310, "page", &json!([alert("Down", "firing")])),
            line(610, "page", &json!([alert("Down", "firing"), alert("Slow", "firing")])),
            line(910, "page", &json!([alert("Down", "resolved"), alert("Slow", "firing")])),
            line(920, "ticket", &json!([alert("Other", "firing")])),
        ]
        .iter()
        .filter_map(|line| Told::of(line, &clock))
        .collect()
    }

    fn judge(yaml: &str) -> (bool, Story) {
        judge_told(&crate::testing::expectation(&format!("notification: page\n{yaml}")).notification(), &told())
    }

    #[test]
    fn who_is_told_when_how_often_and_with_what() {
        assert!(judge("labels: { alertname: Down }\nfiring: 5m..6m\nresolved: 15m..16m\ntimes: 2\ngrouped: 2").0);
        assert!(judge("labels: { alertname: Other }\nfiring: never").0);
        assert!(judge("labels: { alertname: Slow }\nfiring: 10m..11m\nresolved: never").0);
        assert!(judge("labels: { alertname: Down }\nduring: 0s..6m\ntimes: 1\nresolved: never").0);
        assert!(judge("labels: { alertname: Down }\nduring: 16m..20m\ntimes: 0").0);
        assert!(judge("labels: { alertname: Slow }\neach: { 'alerts[0].labels.cell': a }").0);
        for (yaml, found) in [
            ("labels: { alertname: Down }\nfiring: 6m..7m", "is told that it fires at 5m10s, expected 6m..7m"),
            ("labels: { alertname: Down }\nfiring: never", "is told that it fires at 5m10s, expected never"),
            ("labels: { alertname: Down }\ntimes: 3", "the number of notifications that say it fires is 2, expected 3"),
            ("labels: { alertname: Other }\nfiring: 5m..20m", "is never told that it fires, expected 5m..20m"),
            ("labels: { alertname: Slow }\nresolved: 5m..20m", "is never told that it is resolved, expected 5m..20m"),
            (
                "labels: { alertname: Down }\nduring: 6m..60m\ntimes: 2",
                "the number of notifications that say it fires is 1, expected 2",
            ),
            (
                "labels: { alertname: Slow }\neach: { 'alerts[0].status': firing }",
                "at 15m10s alerts[0].status: firing, is resolved",
            ),
            ("labels: { alertname: Gone }\neach: { status: firing }", "page was told nothing of it"),
            (
                "firing: 5m..10m\ngrouped: 1",
                "is told that it fires at 10m10s, expected 5m..10m; the number of alerts in the largest of them is 2, expected 1",
            ),
        ] {
            let (ok, story) = judge(yaml);
            assert!(!ok, "{yaml}");
            assert_eq!(story.found, found);
        }
        let (_, story) = judge("labels: { alertname: Other }\nfiring: 5m..20m");
        assert!(story.details.iter().any(|detail| detail.starts_with("ticket was told at 15m20s: Other")), "{story:?}");
    }
}
