//! `correlation`: references between signals, judged after the final flush.

use std::collections::BTreeMap;
use std::sync::Arc;

use scenario_language::{CorrelationPattern, CorrelationRule};
use serde_json::{Value, json};

use crate::RunClock;
use crate::backends::{Backends, LogLine, Result};
use crate::logs::{has_span, ids, value};
use crate::outcome::Story;
use crate::path::shorten;
use crate::span_tree::SpanTree;
use crate::trace::{load, search};

/// Violations that a story tells, a rule.
const TOLD_MAX: usize = 5;
/// By how much the time of a line may lie outside its span: a line is written after its span's clock is read.
const LINE_SLACK_NS: i64 = 1_000_000;

/// Judges all lines and all traces of the run.
pub async fn judge(pattern: &CorrelationPattern, backends: &dyn Backends, clock: &RunClock) -> Result<(bool, Story)> {
    let lines = backends.logs().await?;
    let mut traces = BTreeMap::new();
    for id in search("{}", backends, clock).await? {
        let tree = load(&id, backends).await?;
        traces.insert(padded(&id), tree);
    }
    // Lines from before zero name traces that the search over the run does not select.
    for line in &lines {
        if let Some((trace, _)) = ids(line)
            && let std::collections::btree_map::Entry::Vacant(free) = traces.entry(trace.clone())
        {
            free.insert(load(&trace, backends).await?);
        }
    }
    Ok(judge_signals(pattern, &lines, &traces))
}

/// Tempo leaves out the leading zeros of a trace id.
fn padded(id: &str) -> String {
    format!("{id:0>32}").to_ascii_lowercase()
}

/// The pure part.
pub fn judge_signals(
    pattern: &CorrelationPattern,
    lines: &[LogLine],
    traces: &BTreeMap<String, Arc<SpanTree>>,
) -> (bool, Story) {
    let wanted = |process: &str| pattern.process.as_ref().is_none_or(|wanted| wanted.holds_text(process));
    let lines: Vec<&LogLine> = lines.iter().filter(|line| wanted(&line.process)).collect();
    let (mut ok, mut found, mut details) = (true, Vec::new(), Vec::new());
    let mut data = serde_json::Map::new();
    for rule in &pattern.rules {
        let (judged, bad) = apply(*rule, &lines, traces, &wanted);
        let enough = judged as u64 >= pattern.at_least;
        ok &= bad.is_empty() && enough;
        found.push(match (bad.len(), enough) {
            (0, true) => format!("{}: {judged} judged", rule.as_str()),
            (0, false) => format!("{}: only {judged} judged, at least {} wanted", rule.as_str(), pattern.at_least),
            (wrong, _) => format!("{}: {wrong} of {judged} break it", rule.as_str()),
        });
        details.extend(bad.iter().take(TOLD_MAX).map(|line| format!("{}: {line}", rule.as_str())));
        data.insert(rule.as_str().to_string(), json!({"judged": judged, "broken": bad.len()}));
    }
    (ok, Story::new("", found.join("; ")).with(details).data(Value::Object(data)))
}

/// How many things a rule judged, and those that break it.
fn apply(
    rule: CorrelationRule,
    lines: &[&LogLine],
    traces: &BTreeMap<String, Arc<SpanTree>>,
    wanted: &dyn Fn(&str) -> bool,
) -> (usize, Vec<String>) {
    let level = |line: &LogLine| value(line, "level").and_then(|level| level.as_str().map(str::to_ascii_lowercase));
    let is_error = |line: &LogLine| level(line).as_deref() == Some("error");
    let of_lines = |judged: &dyn Fn(&LogLine) -> bool, holds: &dyn Fn(&LogLine) -> bool| {
        let judged: Vec<&&LogLine> = lines.iter().filter(|line| judged(line)).collect();
        let bad = judged.iter().filter(|line| !holds(line)).map(|line| shorten(&line.text)).collect();
        (judged.len(), bad)
    };
    let mentions = |line: &LogLine| value(line, "trace_id").is_some() || value(line, "span_id").is_some();
    match rule {
        CorrelationRule::LinesHaveSpans => of_lines(&mentions, &|line| has_span(line, traces)),
        CorrelationRule::ErrorLinesHaveSpans => of_lines(&is_error, &|line| has_span(line, traces)),
        CorrelationRule::ReconcileLinesHaveIds => {
            of_lines(&|line| value(line, "reconcileID").is_some(), &|line| ids(line).is_some())
        }
        CorrelationRule::LinesLieInTheirSpans => {
            of_lines(&|line| has_span(line, traces), &|line| lies_in_its_span(line, traces))
        }
        CorrelationRule::ErrorSpansHaveLines => {
            let (mut judged, mut bad) = (0, Vec::new());
            for (trace, tree) in traces {
                let failed = tree.spans.iter().filter(|span| span.status == "error" && (wanted(&span.service)));
                for span in failed {
                    judged += 1;
                    let told = lines.iter().any(|line| {
                        ids(line).is_some_and(|(line_trace, line_span)| {
                            line_trace == *trace && (line_span == span.span_id || is_error(line))
                        })
                    });
                    if !told {
                        bad.push(format!(
                            "span {} of trace {trace} failed without a line: {}",
                            span.name,
                            shorten(&span.status_message)
                        ));
                    }
                }
            }
            (judged, bad)
        }
    }
}

fn lies_in_its_span(line: &LogLine, traces: &BTreeMap<String, Arc<SpanTree>>) -> bool {
    let Some((trace, span)) = ids(line) else { return false };
    let stored = traces.get(&trace).and_then(|tree| tree.spans.iter().find(|stored| stored.span_id == span));
    stored.is_some_and(|span| line.ts_ns >= span.start_ns - LINE_SLACK_NS && line.ts_ns <= span.end_ns + LINE_SLACK_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "00f067aa0ba902b7";

    fn judge(rules: &str, lines: &[Value], status: u8) -> (bool, Story) {
        let lines: Vec<LogLine> = lines
            .iter()
            .map(|json| LogLine {
                ts_ns: 15,
                process: "multigres-operator".to_string(),
                text: json.to_string(),
                json: Some(json.clone()),
            })
            .collect();
        let body = json!({"batches": [{"scopeSpans": [{"spans": [{"traceId": TRACE, "spanId": SPAN, "name": "x", "status": {"code": status},
            "startTimeUnixNano": "10", "endTimeUnixNano": "20"}]}]}]});
        let traces = BTreeMap::from([(TRACE.to_string(), Arc::new(SpanTree::from_otlp(&body)))]);
        judge_signals(
            &crate::testing::expectation(&format!("correlation: {{ rules: [{rules}] }}")).correlation(),
            &lines,
            &traces,
        )
    }

    #[test]
    fn each_rule_can_hold_and_can_break() {
        let good = json!({"level": "error", "trace_id": TRACE, "span_id": SPAN, "reconcileID": "r"});
        let lost = json!({"level": "error", "trace_id": TRACE, "span_id": "00f067aa0ba902b8", "reconcileID": "r"});
        let bare = json!({"level": "error", "reconcileID": "r"});
        for rule in [
            "lines-have-spans",
            "error-lines-have-spans",
            "error-spans-have-lines",
            "reconcile-lines-have-ids",
            "lines-lie-in-their-spans",
        ] {
            let (ok, story) = judge(rule, std::slice::from_ref(&good), 2);
            assert!(ok, "{rule}: {story:?}");
            assert!(
                !judge(rule, &[], if rule == "error-spans-have-lines" { 0 } else { 2 }).0,
                "{rule}: silence proves nothing"
            );
        }
        assert!(!judge("lines-have-spans", std::slice::from_ref(&lost), 0).0);
        assert!(!judge("error-lines-have-spans", std::slice::from_ref(&bare), 0).0);
        assert!(!judge("error-spans-have-lines", std::slice::from_ref(&bare), 2).0);
        assert!(!judge("reconcile-lines-have-ids", &[good, bare], 0).0);
    }
}
