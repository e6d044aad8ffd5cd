//! `trace`: traces selected by TraceQL, and their shape.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use scenario_language::TracePattern;
use serde_json::{Value, json};

use crate::RunClock;
use crate::backends::{BackendError, Backends, Result};
use crate::outcome::Story;
use crate::span_match::{Match, find};
use crate::span_tree::SpanTree;

/// Most traces that one search returns; more is an error, never a silent cut.
pub const TRACES_MAX: usize = 20_000;
/// Root names that a story tells.
const TOLD_MAX: usize = 12;

/// Judges the traces whose spans ended within the stretch; an open end is the end of the run and what was flushed after it.
pub async fn judge(
    pattern: &TracePattern,
    (from, to): (Option<Duration>, Option<Duration>),
    backends: &dyn Backends,
    clock: &RunClock,
) -> Result<(bool, Story)> {
    let ids = search(&pattern.query.value, backends, clock).await?;
    let from_ns = from.map(|from| clock.at_ns(from));
    let to_ns = to.map(|to| clock.at_ns(to));
    let mut trees = Vec::new();
    for id in ids {
        let tree = load(&id, backends).await?;
        let tree = tree
            .filter(|span| to_ns.is_none_or(|to| span.end_ns <= to) && from_ns.is_none_or(|from| span.end_ns >= from));
        if !tree.spans.is_empty() {
            trees.push((id, tree));
        }
    }
    let (ok, mut story) = judge_trees(pattern, &trees);
    if !ok && trees.is_empty() {
        story.details.extend(what_there_is(backends, clock).await?);
    }
    Ok((ok, story))
}

/// The pure part: the selected traces.
pub fn judge_trees(pattern: &TracePattern, trees: &[(String, SpanTree)]) -> (bool, Story) {
    let judged: Vec<(&str, Option<Match>)> = match &pattern.tree {
        Some(shape) => trees.iter().map(|(id, tree)| (id.as_str(), find(shape, tree))).collect(),
        None => Vec::new(),
    };
    let shaped = |found: &Option<Match>| found.as_ref().is_some_and(|found| found.ok);
    let fitting =
        if pattern.tree.is_some() { judged.iter().filter(|(_, found)| shaped(found)).count() } else { trees.len() };
    let counted = pattern.count.as_ref().map(|count| {
        let number = if pattern.every { trees.len() } else { fitting };
        count.holds_number(number as f64)
    });
    let ok = if pattern.none {
        fitting == 0
    } else if pattern.every {
        fitting == trees.len() && counted.unwrap_or(!trees.is_empty())
    } else {
        counted.unwrap_or(fitting > 0)
    };
    let mut details = Vec::new();
    let nearest = judged
        .iter()
        .filter(|(_, found)| found.is_some() && (pattern.none == shaped(found)))
        .max_by_key(|(_, found)| found.as_ref().map_or(0, |found| found.score));
    if let (false, Some((id, Some(found)))) = (ok, nearest) {
        details.push(format!("{} trace {id}:", if pattern.none { "unwanted" } else { "nearest" }));
        details.extend(found.lines.iter().map(|line| format!("  {line}")));
    } else if let (false, Some((id, tree))) = (ok, trees.first()) {
        details.push(format!("trace {id}:"));
        details.extend(tree.lines().into_iter().take(40).map(|line| format!("  {line}")));
    }
    let found = match (trees.len(), &pattern.tree) {
        (0, _) => "no trace is selected".to_string(),
        (selected, None) => format!("{selected} selected"),
        (selected, Some(_)) => format!("{fitting} of {selected} selected traces have the shape"),
    };
    let ids: Vec<&str> = trees.iter().take(TOLD_MAX).map(|(id, _)| id.as_str()).collect();
    let data =
        json!({"selected": trees.len(), "fitting": fitting, "traces": ids, "nearest": nearest.map(|(id, _)| *id)});
    (ok, Story::new("", found).with(details).data(data))
}

/// The ids of the traces that a TraceQL query selects, in the order of their start.
pub async fn search(query: &str, backends: &dyn Backends, clock: &RunClock) -> Result<Vec<String>> {
    let mut found: Vec<(i64, String)> = summaries(query, backends, clock)
        .await?
        .iter()
        .filter_map(|trace| {
            let start =
                trace.get("startTimeUnixNano").and_then(Value::as_str).and_then(|text| text.parse().ok()).unwrap_or(0);
            Some((start, trace.get("traceID")?.as_str()?.to_string()))
        })
        .collect();
    found.sort();
    Ok(found.into_iter().map(|(_, id)| id).collect())
}

async fn summaries(query: &str, backends: &dyn Backends, clock: &RunClock) -> Result<Vec<Value>> {
    let (start, end) = clock.whole_run_s(backends.now_ns());
    let answer = backends.tempo_search(query, start, end, TRACES_MAX).await?;
    let traces = answer.get("traces").and_then(Value::as_array).cloned().unwrap_or_default();
    if traces.len() >= TRACES_MAX {
        let reason = format!("{TRACES_MAX} traces or more are selected by {query}; narrow it");
        return Err(BackendError::Malformed { backend: "Tempo", reason });
    }
    Ok(traces)
}

/// One trace.
pub async fn load(id: &str, backends: &dyn Backends) -> Result<Arc<SpanTree>> {
    backends.span_tree(id).await
}

/// The names of the root spans that are stored, with their number.
async fn what_there_is(backends: &dyn Backends, clock: &RunClock) -> Result<Vec<String>> {
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for trace in summaries("{}", backends, clock).await? {
        let name = trace.get("rootTraceName").and_then(Value::as_str).unwrap_or("a trace without root");
        *names.entry(name.to_string()).or_default() += 1;
    }
    if names.is_empty() {
        return Ok(vec!["no trace at all is stored".to_string()]);
    }
    let told: Vec<String> = names.iter().take(TOLD_MAX).map(|(name, number)| format!("{name} ×{number}")).collect();
    Ok(vec![format!("stored traces by root: {}", told.join(", "))])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(yaml: &str) -> TracePattern {
        crate::testing::expectation(&format!("trace: {yaml}")).trace()
    }

    fn trace(id: &str, name: &str, status: u8) -> (String, SpanTree) {
        let body = json!({"batches": [{"scopeSpans": [{"spans": [{"traceId": id, "spanId": "00000000000000a1", "name": name,
            "status": {"code": status}, "startTimeUnixNano": "1", "endTimeUnixNano": "2"}]}]}]});
        (id.to_string(), SpanTree::from_otlp(&body))
    }

    #[test]
    fn one_every_none_and_count_mean_what_they_say() {
        let traces = [trace("t1", "A", 2), trace("t2", "A", 1)];
        let judge = |yaml: &str| judge_trees(&pattern(yaml), &traces).0;
        assert!(judge("{ where: '{}', tree: { A: { status: error } } }"));
        assert!(!judge("{ where: '{}', every: true, tree: { A: { status: error } } }"));
        assert!(judge("{ where: '{}', every: true, tree: { A: {} } }"));
        assert!(!judge("{ where: '{}', none: true }"));
        assert!(judge("{ where: '{}', none: true, tree: { B: {} } }"));
        assert!(judge("{ where: '{}', count: 2 }") && !judge("{ where: '{}', count: '> 2' }"));
        assert!(judge("{ where: '{}', count: 1, tree: { A: { status: ok } } }"));
        let nothing = |yaml: &str| judge_trees(&pattern(yaml), &[]).0;
        assert!(
            !nothing("{ where: '{}' }")
                && nothing("{ where: '{}', none: true }")
                && nothing("{ where: '{}', count: 0 }")
        );
        assert!(!nothing("{ where: '{}', every: true, tree: { A: {} } }"), "silence proves nothing");
    }

    #[test]
    fn the_nearest_trace_is_told() {
        let (_, story) = judge_trees(
            &pattern("{ where: '{}', tree: { A: { status: unset } } }"),
            &[trace("t1", "B", 0), trace("t2", "A", 1)],
        );
        assert_eq!(story.found, "0 of 2 selected traces have the shape");
        assert_eq!(story.details, ["nearest trace t2:", "  ✗ A", "    ✗ status: unset, is ok"]);
    }
}
