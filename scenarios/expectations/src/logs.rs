//! `logs`: log lines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use scenario_language::{Comparison, LogsPattern, format_duration};
use serde_json::{Value, json};

use crate::RunClock;
use crate::backends::{Backends, LogLine, Result};
use crate::outcome::Story;
use crate::path::{lookup, shorten, tell};
use crate::span_tree::{SpanTree, id};
use crate::trace::load;

/// Lines that a story tells.
const TOLD_MAX: usize = 5;

/// Judges the lines written within the stretch.
pub async fn judge(
    pattern: &LogsPattern,
    (from, to): (Option<Duration>, Option<Duration>),
    backends: &dyn Backends,
    clock: &RunClock,
) -> Result<(bool, Story)> {
    let lines = backends.logs().await?;
    let inside = |line: &&LogLine| {
        from.is_none_or(|from| line.ts_ns >= clock.at_ns(from)) && to.is_none_or(|to| line.ts_ns <= clock.at_ns(to))
    };
    let lines: Vec<&LogLine> = lines.iter().filter(inside).collect();
    let mut traces = BTreeMap::new();
    if pattern.each.iter().chain(&pattern.filter).any(|(field, _)| field == "trace") {
        for line in &lines {
            if let Some((trace, _)) = ids(line)
                && let std::collections::btree_map::Entry::Vacant(free) = traces.entry(trace.clone())
            {
                free.insert(load(&trace, backends).await?);
            }
        }
    }
    Ok(judge_lines(pattern, &lines, &traces, clock))
}

/// The pure part: lines, and the traces that they name.
pub fn judge_lines(
    pattern: &LogsPattern,
    lines: &[&LogLine],
    traces: &BTreeMap<String, Arc<SpanTree>>,
    clock: &RunClock,
) -> (bool, Story) {
    let field = |line: &LogLine, name: &str| match name {
        "trace" => has_span(line, traces).then_some(Value::Bool(true)),
        _ => value(line, name),
    };
    let wrong = |fields: &[(String, Comparison)], line: &LogLine| -> Vec<String> {
        let differs = fields.iter().filter(|(name, comparison)| !comparison.holds(field(line, name).as_ref()));
        differs
            .map(|(name, comparison)| format!("{name}: {comparison}, is {}", tell(field(line, name).as_ref())))
            .collect()
    };
    let chosen: Vec<&&LogLine> = lines.iter().filter(|line| wrong(&pattern.filter, line).is_empty()).collect();
    let counted = match &pattern.count {
        _ if pattern.none => chosen.is_empty(),
        Some(count) => count.holds_number(chosen.len() as f64),
        None => !chosen.is_empty(),
    };
    let bad: Vec<(&&LogLine, Vec<String>)> =
        chosen.iter().map(|line| (*line, wrong(&pattern.each, line))).filter(|(_, wrong)| !wrong.is_empty()).collect();
    let at = |line: &LogLine| format_duration(clock.since_zero_ms(line.ts_ns.div_euclid(1_000_000)));
    let mut details: Vec<String> = Vec::new();
    for (line, wrong) in bad.iter().take(TOLD_MAX) {
        details.push(format!("at {}: {} — {}", at(line), shorten(&line.text), wrong.join("; ")));
    }
    if bad.is_empty() && !counted && !chosen.is_empty() {
        details.extend(chosen.iter().take(TOLD_MAX).map(|line| format!("at {}: {}", at(line), shorten(&line.text))));
    }
    if chosen.is_empty() && !counted {
        let nearest =
            lines.iter().map(|line| (wrong(&pattern.filter, line), line)).min_by_key(|(wrong, _)| wrong.len());
        if let Some((wrong, line)) = nearest {
            details.push(format!("nearest, at {}: {} — {}", at(line), shorten(&line.text), wrong.join("; ")));
        }
    }
    let found = if bad.is_empty() {
        format!("{} of {} lines are chosen", chosen.len(), lines.len())
    } else {
        format!("{} of {} chosen lines are not as each has to be", bad.len(), chosen.len())
    };
    let data = json!({"lines": lines.len(), "chosen": chosen.len(), "bad": bad.iter().take(TOLD_MAX).map(|(line, _)| &line.text).collect::<Vec<_>>()});
    (counted && bad.is_empty(), Story::new("", found).with(details).data(data))
}

/// A field of a line.
pub fn value(line: &LogLine, name: &str) -> Option<Value> {
    match name {
        "process" => Some(Value::String(line.process.clone())),
        "text" => Some(Value::String(line.text.clone())),
        _ => line.json.as_ref().and_then(|json| lookup(json, name)).cloned(),
    }
}

/// The trace id and span id of a line, when it has both in their right form.
pub fn ids(line: &LogLine) -> Option<(String, String)> {
    let text = |name: &str, length: usize| {
        let text = line.json.as_ref()?.get(name)?.as_str()?;
        let right =
            text.len() == length && text.chars().all(|c| c.is_ascii_hexdigit()) && text.chars().any(|c| c != '0');
        right.then(|| id(text))
    };
    Some((text("trace_id", 32)?, text("span_id", 16)?))
}

/// Whether the span that a line names is stored in the trace that it names.
pub fn has_span(line: &LogLine, traces: &BTreeMap<String, Arc<SpanTree>>) -> bool {
    ids(line).is_some_and(|(trace, span)| {
        traces.get(&trace).is_some_and(|tree| tree.spans.iter().any(|stored| stored.span_id == span))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: RunClock = RunClock { zero_ns: 0, end: Duration::from_secs(60) };
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn line(json: Value) -> LogLine {
        LogLine {
            ts_ns: 5_000_000_000,
            process: "multigres-operator".to_string(),
            text: json.to_string(),
            json: Some(json),
        }
    }

    fn judge(yaml: &str, lines: &[LogLine]) -> (bool, Story) {
        let body = json!({"batches": [{"scopeSpans": [{"spans": [{"traceId": TRACE, "spanId": "00f067aa0ba902b7", "name": "x"}]}]}]});
        let traces = BTreeMap::from([(TRACE.to_string(), Arc::new(SpanTree::from_otlp(&body)))]);
        let lines: Vec<&LogLine> = lines.iter().collect();
        judge_lines(&crate::testing::expectation(&format!("logs: {yaml}")).logs(), &lines, &traces, &CLOCK)
    }

    #[test]
    fn each_chosen_line_needs_a_stored_span() {
        let good = line(json!({"level": "error", "trace_id": TRACE, "span_id": "00f067aa0ba902b7"}));
        let lost = line(json!({"level": "error", "trace_id": TRACE, "span_id": "00f067aa0ba902b8"}));
        let bare = line(json!({"level": "error"}));
        let yaml = "{ where: { level: error }, each: { trace: exists } }";
        assert!(judge(yaml, std::slice::from_ref(&good)).0);
        assert!(!judge(yaml, &[good.clone(), lost]).0);
        let (ok, story) = judge(yaml, &[good, bare]);
        assert!(!ok);
        assert_eq!(story.details, ["at 5s: {\"level\":\"error\"} — trace: exists, is absent"]);
        assert!(!judge(yaml, &[]).0, "silence proves nothing");
    }

    #[test]
    fn lines_are_counted_and_missed() {
        let info = line(json!({"level": "info", "msg": "x"}));
        assert!(judge("{ where: { level: error }, none: true }", std::slice::from_ref(&info)).0);
        assert!(!judge("{ where: { level: info }, none: true }", std::slice::from_ref(&info)).0);
        assert!(judge("{ where: { msg: x }, count: 1 }", std::slice::from_ref(&info)).0);
        assert!(!judge("{ where: { msg: x }, count: '> 1' }", &[info]).0);
    }
}
