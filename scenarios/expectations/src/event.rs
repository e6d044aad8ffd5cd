//! `event`: a Kubernetes event.

use std::time::Duration;

use scenario_language::{Comparison, EventPattern};
use serde_json::{Value, json};

use crate::backends::{Backends, Result};
use crate::outcome::Story;
use crate::path::tell;
use crate::{RunClock, timestamps};

/// Nearest events that a story tells.
const NEAREST_MAX: usize = 3;

/// Judges the events that exist now. With `since`, only events that happened (again) from then on.
pub async fn judge(
    pattern: &EventPattern,
    since: Option<Duration>,
    backends: &dyn Backends,
    clock: &RunClock,
) -> Result<(bool, Story)> {
    let events = backends.kube_list("Event", None).await?;
    let mut objects = Vec::new();
    if let Some(about) = &pattern.about {
        let listed = backends.kube_list(&about.kind, about.namespace()).await?;
        objects = listed.iter().filter(|object| about.matches(object)).cloned().collect();
    }
    Ok(judge_events(pattern, &events, &objects, since, clock))
}

/// The pure part: events and the objects that `about` stands for.
pub fn judge_events(
    pattern: &EventPattern,
    events: &[Value],
    objects: &[Value],
    since: Option<Duration>,
    clock: &RunClock,
) -> (bool, Story) {
    let since_s = since.map(|since| clock.at_ns(since).div_euclid(1_000_000_000));
    let mut ranked: Vec<(usize, Vec<String>, &Value)> = events
        .iter()
        .map(|event| {
            let (score, wrong) = compare(pattern, event, objects, since_s);
            (score, wrong, event)
        })
        .collect();
    // Stable: among equals the API server's order stays.
    ranked.sort_by(|left, right| left.1.len().cmp(&right.1.len()).then(right.0.cmp(&left.0)));
    let matching: Vec<&Value> =
        ranked.iter().filter(|(_, wrong, _)| wrong.is_empty()).map(|(_, _, event)| *event).collect();
    let none_wanted = pattern.count.as_ref().is_some_and(|count| count.holds_number(0.0) || count.wants_absence());
    if let Some(event) = matching.first() {
        return (
            !pattern.count.as_ref().is_some_and(Comparison::wants_absence),
            Story::new("", line(event)).data(json!({"event": event})),
        );
    }
    if none_wanted {
        return (true, Story::new("", "no such event"));
    }
    let nearest: Vec<String> = ranked
        .iter()
        .filter(|(score, _, _)| *score > 0)
        .take(NEAREST_MAX)
        .map(|(_, wrong, event)| format!("nearest: {} — {}", line(event), wrong.join("; ")))
        .collect();
    let mut found = format!("no such event among {}", events.len());
    if let Some(about) = pattern.about.as_ref().filter(|_| objects.is_empty()) {
        found = format!("{found}; there is no {} either", about.value);
    }
    let data = json!({"events": events.len(), "nearest": ranked.first().filter(|(score, _, _)| *score > 0).map(|(_, _, event)| event)});
    (false, Story::new("", found).with(nearest).data(data))
}

/// How much of the pattern an event satisfies, and what it does not.
fn compare(pattern: &EventPattern, event: &Value, objects: &[Value], since_s: Option<i64>) -> (usize, Vec<String>) {
    let (mut score, mut wrong) = (0, Vec::new());
    let source = event
        .pointer("/source/component")
        .filter(|value| value.as_str() != Some(""))
        .or_else(|| event.get("reportingComponent"));
    let fields = [
        ("reason", &pattern.reason, event.get("reason"), 4),
        ("type", &pattern.event_type, event.get("type"), 1),
        ("message", &pattern.message, event.get("message"), 2),
        ("source", &pattern.source, source, 1),
    ];
    for (name, wanted, value, weight) in fields {
        let Some(wanted) = wanted else { continue };
        if wanted.holds(value) {
            score += weight;
        } else {
            wrong.push(format!("{name}: {wanted}, is {}", tell(value)));
        }
    }
    if let Some(about) = &pattern.about {
        let involved = |field: &str| {
            event.pointer(&format!("/involvedObject/{field}")).and_then(Value::as_str).unwrap_or_default()
        };
        let meta = |object: &Value, field: &str| {
            object.pointer(&format!("/metadata/{field}")).and_then(Value::as_str).unwrap_or_default().to_string()
        };
        // A deleted object is still known by the name that its events carry.
        let named = about.name().is_some_and(|name| name == involved("name"))
            && about.namespace().is_none_or(|ns| ns == involved("namespace"));
        let listed = objects.iter().any(|object| {
            meta(object, "name") == involved("name") && meta(object, "namespace") == involved("namespace")
        });
        if involved("kind") == about.kind && (named || listed) {
            score += 3;
        } else {
            wrong.push(format!("about {}, is {}/{}", about.value, involved("kind"), involved("name")));
        }
    }
    if let Some(since_s) = since_s {
        let last = last_seen_s(event);
        if last.is_some_and(|last| last < since_s) {
            wrong.push("it last happened before that".to_string());
        }
    }
    if let Some(count) = &pattern.count {
        let times = times(event);
        if !count.wants_absence() && !count.holds_number(times as f64) {
            wrong.push(format!("count: {count}, is {times}"));
        }
    }
    (score, wrong)
}

/// How often an event happened.
pub fn times(event: &Value) -> u64 {
    let series = event.pointer("/series/count").and_then(Value::as_u64);
    series.or_else(|| event.get("count").and_then(Value::as_u64)).unwrap_or(1).max(1)
}

/// When an event last happened, in whole seconds since the Unix epoch.
fn last_seen_s(event: &Value) -> Option<i64> {
    ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/firstTimestamp", "/metadata/creationTimestamp"]
        .iter()
        .find_map(|pointer| event.pointer(pointer).and_then(Value::as_str))
        .and_then(timestamps::parse_rfc3339_ns)
        .map(|ns| ns.div_euclid(1_000_000_000))
}

/// An event in one line, as `kubectl get events` would tell it.
pub fn line(event: &Value) -> String {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or("");
    format!(
        "{} {} {}/{} ×{} \"{}\"",
        text("/type"),
        text("/reason"),
        text("/involvedObject/kind"),
        text("/involvedObject/name"),
        times(event),
        tell(event.get("message"))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(yaml: &str) -> EventPattern {
        crate::testing::expectation(&format!("event: {yaml}")).event()
    }

    fn failed(count: u64, last: &str) -> Value {
        json!({"type": "Warning", "reason": "RegistrationFailed", "message": "Failed: Code: UNAVAILABLE", "count": count,
            "lastTimestamp": last, "source": {"component": "cell-datahandler"},
            "involvedObject": {"kind": "Cell", "namespace": "default", "name": "minimal-zone-a-96c88ae0"}})
    }

    fn cell() -> Value {
        json!({"metadata": {"name": "minimal-zone-a-96c88ae0", "namespace": "default",
            "labels": {"multigres.com/cluster": "minimal", "multigres.com/cell": "zone-a"}}})
    }

    const CLOCK: RunClock = RunClock { zero_ns: 1_767_225_600_000_000_000, end: Duration::from_secs(2400) };

    #[test]
    fn an_event_is_found_by_what_it_is_about_and_how_often_it_happened() {
        let pattern = pattern(
            "{ reason: RegistrationFailed, type: Warning, about: 'Cell{cluster=minimal, cell=zone-a}', message: ~ UNAVAILABLE, count: '>= 2' }",
        );
        let judged = |count| judge_events(&pattern, &[failed(count, "2026-01-01T00:00:05Z")], &[cell()], None, &CLOCK);
        assert!(judged(2).0);
        let (ok, story) = judged(1);
        assert!(!ok);
        assert_eq!(
            story.details,
            [
                "nearest: Warning RegistrationFailed Cell/minimal-zone-a-96c88ae0 ×1 \"Failed: Code: UNAVAILABLE\" — count: >= 2, is 1"
            ]
        );
    }

    #[test]
    fn an_event_from_before_the_named_instant_does_not_count() {
        let pattern = pattern("{ reason: RegistrationFailed }");
        let since = Some(Duration::from_secs(10));
        assert!(!judge_events(&pattern, &[failed(1, "2026-01-01T00:00:05Z")], &[], since, &CLOCK).0);
        assert!(judge_events(&pattern, &[failed(1, "2026-01-01T00:00:10Z")], &[], since, &CLOCK).0);
    }

    #[test]
    fn a_missing_subject_is_told() {
        let pattern = pattern("{ reason: Synced, about: 'Cell{cluster=minimal, cell=zone-b}' }");
        let (ok, story) = judge_events(&pattern, &[], &[], None, &CLOCK);
        assert!(!ok);
        assert_eq!(story.found, "no such event among 0; there is no Cell{cluster=minimal, cell=zone-b} either");
    }
}
