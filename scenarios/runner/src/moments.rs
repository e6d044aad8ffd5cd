//! What happened in a run, told from the Kubernetes events, the alerts, and what was told of these to whom.

use std::{collections::BTreeMap, time::Duration};

use scenario_expectations::{Backends, LogLine, RunClock, backends::Result, notification::Told};
use scenario_report::{Lane, Moment};
use serde_json::Value;
use sim_clock::Timestamp;

/// Reasons that every reconcile gives and that tell nothing by themselves.
const EVERYDAY_REASONS: [&str; 6] = ["Applied", "Synced", "Scheduled", "Pulled", "Created", "Started"];

/// The moments of a run between zero and its end.
pub(crate) async fn told(backends: &dyn Backends, zero: Timestamp, end: Duration) -> Result<Vec<Moment>> {
    let mut moments = events(backends, zero, end).await?;
    moments.extend(alerts(backends, zero, end).await?);
    Ok(moments)
}

fn whole_seconds(at: Duration) -> Duration {
    Duration::from_secs(at.as_secs())
}

/// Who was told of what. Heartbeats of a dead man's switch are one moment a receiver.
pub(crate) fn notifications(lines: impl Iterator<Item = LogLine>, zero: Timestamp, end: Duration) -> Vec<Moment> {
    let clock = RunClock { zero_ns: zero.as_nanos(), end };
    let told = lines.filter_map(|line| Told::of(&line, &clock));
    let mut moments = Vec::new();
    let mut heartbeats: BTreeMap<String, (Told, u64, Duration)> = BTreeMap::new();
    for told in told.filter(|told| told.at <= end) {
        if told.is_heartbeat() {
            let beat = heartbeats.entry(told.receiver.clone()).or_insert_with(|| (told.clone(), 0, told.at));
            beat.1 += 1;
            beat.2 = told.at;
            continue;
        }
        let text = format!("{}: {}", told.receiver, told.what());
        moments.push(Moment { at_ms: told.at.as_millis() as i64, lane: Lane::Told, text });
    }
    for (receiver, (first, count, last)) in heartbeats {
        let mut text = format!("{receiver}: {}", first.what());
        if count > 1 {
            text.push_str(&format!(" (×{count}, last at {})", scenario_language::format_duration(whole_seconds(last))));
        }
        moments.push(Moment { at_ms: first.at.as_millis() as i64, lane: Lane::Told, text });
    }
    moments
}

async fn events(backends: &dyn Backends, zero: Timestamp, end: Duration) -> Result<Vec<Moment>> {
    let mut events = backends.kube_list("Event", None).await?.to_vec();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    // Timestamps are whole seconds; the name ends in the nanoseconds of the first occurrence.
    let born = |event: &Value| u64::from_str_radix(text(&event["metadata"]["name"]).rsplit('.').next()?, 16).ok();
    events.sort_by_key(|event| (text(&event["firstTimestamp"]), born(event), text(&event["metadata"]["name"])));
    let mut moments = Vec::new();
    for event in &events {
        let reason = text(&event["reason"]);
        if EVERYDAY_REASONS.contains(&reason.as_str()) {
            continue;
        }
        let Some(first) =
            since_zero(&event["firstTimestamp"], zero).filter(|first| (0..=end.as_millis() as i64).contains(first))
        else {
            continue;
        };
        let about = &event["involvedObject"];
        let mut line =
            format!("{}/{} {reason}: {}", text(&about["kind"]), text(&about["name"]), text(&event["message"]));
        let count = event["count"].as_u64().unwrap_or(1);
        if count > 1 {
            let last = since_zero(&event["lastTimestamp"], zero).unwrap_or(first).max(0);
            let last = scenario_language::format_duration(Duration::from_millis(last as u64));
            line.push_str(&format!(" (×{count}, last at {last})"));
        }
        let lane = if reason == "PhaseChange" { Lane::Phase } else { Lane::Event };
        moments.push(Moment { at_ms: first, lane, text: line });
    }
    Ok(moments)
}

fn since_zero(timestamp: &Value, zero: Timestamp) -> Option<i64> {
    let at: jiff::Timestamp = timestamp.as_str()?.parse().ok()?;
    Some(at.as_millisecond() - zero.as_millis())
}

async fn alerts(backends: &dyn Backends, zero: Timestamp, end: Duration) -> Result<Vec<Moment>> {
    let end_ms = zero.as_millis() + end.as_millis() as i64;
    let data = match backends.prom_query(&format!("ALERTS[{}s]", end.as_secs().max(1)), end_ms).await {
        Ok(data) => data,
        // A world without a Prometheus has no alerts to tell of.
        Err(scenario_expectations::BackendError::Unreachable { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    // One alert instance is two series, one a state; what matters is when each begins and when both are over.
    let mut instances: BTreeMap<String, Vec<(i64, bool)>> = BTreeMap::new();
    let mut instants: Vec<i64> = Vec::new();
    for series in data["result"].as_array().into_iter().flatten() {
        // What always fires, as a dead man's switch does, is no news.
        if series["metric"]["severity"] == "none" {
            continue;
        }
        let firing = series["metric"]["alertstate"] == "firing";
        let samples = instances.entry(title(&series["metric"])).or_default();
        for sample in series["values"].as_array().into_iter().flatten() {
            let at_ms = (sample[0].as_f64().unwrap_or_default() * 1_000.0).round() as i64;
            samples.push((at_ms - zero.as_millis(), firing));
            instants.push(at_ms - zero.as_millis());
        }
    }
    instants.sort_unstable();
    instants.dedup();
    let interval = instants.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap_or(30_000);
    let mut moments = Vec::new();
    for (title, mut samples) in instances {
        samples.sort_unstable();
        let mut before: Option<(i64, bool)> = None;
        for (at_ms, firing) in samples {
            let mut tell = |at_ms, what: &str| {
                moments.push(Moment { at_ms, lane: Lane::Alert, text: format!("{title} {what}") });
            };
            match before {
                Some((last, was_firing)) if at_ms - last > interval + interval / 2 => {
                    tell(last + interval, if was_firing { "resolved" } else { "no longer pending" });
                    tell(at_ms, if firing { "fires" } else { "is pending" });
                }
                Some((_, was_firing)) if was_firing != firing => {
                    tell(at_ms, if firing { "fires" } else { "is pending" });
                }
                None => tell(at_ms, if firing { "fires" } else { "is pending" }),
                Some(_) => {}
            }
            before = Some((at_ms, firing));
        }
        if let Some((last, was_firing)) = before
            && last + interval <= end.as_millis() as i64
        {
            let what = if was_firing { "resolved" } else { "no longer pending" };
            moments.push(Moment { at_ms: last + interval, lane: Lane::Alert, text: format!("{title} {what}") });
        }
    }
    Ok(moments)
}

/// `MultigresClusterDegraded {name="minimal", namespace="default"}`.
fn title(labels: &Value) -> String {
    let labels: BTreeMap<&str, &str> = labels
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
        .collect();
    let told: Vec<_> = labels
        .iter()
        .filter(|(name, _)| {
            !matches!(
                **name,
                "__name__"
                    | "alertname"
                    | "alertstate"
                    | "instance"
                    | "job"
                    | "pod"
                    | "endpoint"
                    | "service"
                    | "container"
                    | "severity"
            )
        })
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    format!("{} {{{}}}", labels.get("alertname").unwrap_or(&"?"), told.join(", "))
}
