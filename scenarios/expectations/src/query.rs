//! `query`: the answer of a PromQL query.

use std::time::Duration;

use scenario_language::{Answer, Comparison, Expectation, Fields, QueryPattern, When, format_duration, parse_duration};
use serde_json::{Value, json};

use crate::RunClock;
use crate::backends::{BackendError, Backends, Result};
use crate::outcome::Story;

/// Series that a story tells.
const TOLD_MAX: usize = 12;
/// The step of a query over a window.
const STEP: Duration = Duration::from_secs(5);
/// Most steps of a query over a window (Prometheus allows 11 000).
const STEPS_MAX: u32 = 2_000;
/// A scrape or rule interval that Prometheus does not tell.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(30);

/// One series of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Labels in the order of their names.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: f64,
}

impl Series {
    /// The value of a label; empty when there is none, as PromQL has it.
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }
}

/// Judges the answer at the instants that the expectation names.
pub async fn judge(
    pattern: &QueryPattern,
    expectation: &Expectation,
    (from, to): (Option<Duration>, Option<Duration>),
    backends: &dyn Backends,
    clock: &RunClock,
) -> Result<(bool, Story)> {
    let negated = expectation.negated != matches!(expectation.when, When::Never(_));
    let single = match &expectation.when {
        When::End => Some(clock.end),
        When::At(at) if !expectation.then_always => Some(at.value),
        _ => None,
    };
    if let Some(mut at) = single {
        if expectation.settle {
            at = settled(at, backends, clock).await?;
        }
        return judge_at(pattern, negated, at, backends, clock).await;
    }
    let start = match &expectation.when {
        When::At(at) => at.value,
        _ => from.unwrap_or(Duration::ZERO),
    };
    let deadline = to.unwrap_or(clock.end).min(clock.end);
    let last = if expectation.then_always { clock.end } else { deadline };
    let step = STEP.max(last.saturating_sub(start) / STEPS_MAX);
    let answer = backends
        .prom_query_range(&pattern.expr.value, clock.at_ms(start), clock.at_ms(last), step.as_millis() as i64)
        .await?;
    let steps = steps(&answer, clock, start, last, step)?;
    let once = matches!(expectation.when, When::By(_) | When::Within { .. }) && !expectation.negated;
    let verdict: Vec<(Duration, bool)> =
        steps.iter().map(|(at, vector)| (*at, judge_vector(&pattern.is, vector).0 != negated)).collect();
    let decisive = if once {
        match verdict.iter().find(|(at, ok)| *ok && *at <= deadline) {
            Some((first, _)) if expectation.then_always => {
                verdict.iter().find(|(at, ok)| at > first && !ok).copied().or(Some((*first, true)))
            }
            Some(found) => Some(*found),
            None => verdict.iter().rev().find(|(at, _)| *at <= deadline).map(|(at, _)| (*at, false)),
        }
    } else {
        verdict.iter().find(|(_, ok)| !ok).or(verdict.first()).copied()
    };
    let (at, ok) = decisive.unwrap_or((last, negated));
    let (_, story) = judge_at(pattern, negated, at, backends, clock).await?;
    Ok((ok, story))
}

async fn judge_at(
    pattern: &QueryPattern,
    negated: bool,
    at: Duration,
    backends: &dyn Backends,
    clock: &RunClock,
) -> Result<(bool, Story)> {
    let answer = backends.prom_query(&pattern.expr.value, clock.at_ms(at)).await?;
    let vector = vector(&answer)?;
    let (holds, mut story) = judge_vector(&pattern.is, &vector);
    let ok = holds != negated;
    story.found = format!("at {}: {}", format_duration(at), story.found);
    if !ok {
        story.details.extend(freshness(at, backends, clock).await);
    }
    Ok((ok, story))
}

/// The pure part: an instant vector.
pub fn judge_vector(answer: &Answer, vector: &[Series]) -> (bool, Story) {
    let mut details: Vec<String> = vector.iter().take(TOLD_MAX).map(line).collect();
    if vector.len() > TOLD_MAX {
        details.push(format!("… and {} more", vector.len() - TOLD_MAX));
    }
    let data = json!({"series": vector.iter().take(TOLD_MAX).map(|series| json!({"labels": series.labels.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(), "value": number(series.value)})).collect::<Vec<_>>()});
    let counted = match vector.len() {
        0 => "no series".to_string(),
        1 => format!("one series, {}", number(vector[0].value)),
        several => format!("{several} series"),
    };
    match answer {
        Answer::Empty => (vector.is_empty(), Story::new("", counted).with(details).data(data)),
        Answer::Every(comparison) if comparison.wants_absence() => {
            (vector.is_empty(), Story::new("", counted).with(details).data(data))
        }
        Answer::Every(comparison) => {
            let wrong: Vec<&Series> = vector.iter().filter(|series| !comparison.holds_number(series.value)).collect();
            let found = match wrong.first() {
                Some(series) if vector.len() > 1 => {
                    format!("{} of {counted} are not {comparison}, first {}", wrong.len(), line(series))
                }
                Some(series) => format!("{} is not {comparison}", number(series.value)),
                None => counted,
            };
            (!vector.is_empty() && wrong.is_empty(), Story::new("", found).with(details).data(data))
        }
        Answer::Series(selectors) => {
            let mut problems = Vec::new();
            for (selector, comparison) in selectors {
                let chosen: Vec<&Series> = vector.iter().filter(|series| selects(&selector.labels, series)).collect();
                if comparison.wants_absence() {
                    problems.extend(chosen.iter().map(|series| format!("there is {}", line(series))));
                } else if chosen.is_empty() {
                    problems.push(format!("no series {{{}}}{}", selector.text, nearest(&selector.labels, vector)));
                } else {
                    let wrong = chosen.iter().filter(|series| !comparison.holds_number(series.value));
                    problems.extend(wrong.map(|series| format!("{} is not {comparison}", line(series))));
                }
            }
            let found = if problems.is_empty() { counted } else { problems.join("; ") };
            (problems.is_empty(), Story::new("", found).with(details).data(data))
        }
    }
}

/// Whether the labels of a series are the chosen ones; a missing label counts as empty.
fn selects(labels: &Fields, series: &Series) -> bool {
    labels.iter().all(|(name, comparison)| comparison.holds_text(series.label(name)))
}

/// The series that misses the fewest labels, and which those are.
fn nearest(labels: &Fields, vector: &[Series]) -> String {
    let wrong = |series: &Series| -> Vec<String> {
        let differs = labels.iter().filter(|(name, comparison)| !comparison.holds_text(series.label(name)));
        differs.map(|(name, _)| format!("{name} is \"{}\"", series.label(name))).collect()
    };
    match vector.iter().map(|series| (wrong(series), series)).min_by_key(|(wrong, _)| wrong.len()) {
        Some((wrong, series)) => format!(", nearest {}: {}", line(series), wrong.join(", ")),
        None => String::new(),
    }
}

/// A series as PromQL writes it.
pub fn line(series: &Series) -> String {
    let labels: Vec<String> = series
        .labels
        .iter()
        .filter(|(name, _)| name != "__name__")
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    format!("{}{{{}}} {}", series.label("__name__"), labels.join(", "), number(series.value))
}

fn number(value: f64) -> String {
    if value.is_infinite() {
        if value > 0.0 { "+Inf".to_string() } else { "-Inf".to_string() }
    } else {
        value.to_string()
    }
}

/// An instant vector, or a scalar as a vector of one series without labels.
pub fn vector(answer: &Value) -> Result<Vec<Series>> {
    let malformed = |reason: &str| BackendError::Malformed { backend: "Prometheus", reason: reason.to_string() };
    let result = answer.get("result").ok_or_else(|| malformed("no `result`"))?;
    match answer.get("resultType").and_then(Value::as_str) {
        Some("scalar") => {
            let value = sample(result).ok_or_else(|| malformed("a scalar that is no sample"))?.1;
            Ok(vec![Series { labels: Vec::new(), value }])
        }
        Some("vector") => {
            let items = result.as_array().ok_or_else(|| malformed("`result` is no list"))?;
            // A series with a native histogram has no `value`; its count stands for it.
            let value = |item: &Value| {
                let histogram =
                    || item.pointer("/histogram/1/count").and_then(Value::as_str).and_then(|text| text.parse().ok());
                item.get("value").and_then(sample).map(|(_, value)| value).or_else(histogram)
            };
            let mut vector = Vec::new();
            for item in items {
                let value = value(item).ok_or_else(|| malformed("a series without value"))?;
                vector.push(Series { labels: labels(item), value });
            }
            vector.sort_by(|left, right| left.labels.cmp(&right.labels));
            Ok(vector)
        }
        other => Err(malformed(&format!("an instant query gives no {}", other.unwrap_or("result type")))),
    }
}

/// The labels of `metric`, sorted.
pub fn labels(item: &Value) -> Vec<(String, String)> {
    let map = item.get("metric").and_then(Value::as_object);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let mut labels: Vec<(String, String)> =
        map.into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect();
    labels.sort();
    labels
}

/// `[<seconds>, "<value>"]` as milliseconds and value.
pub fn sample(pair: &Value) -> Option<(i64, f64)> {
    let pair = pair.as_array()?;
    let at_ms = (pair.first()?.as_f64()? * 1000.0).round() as i64;
    Some((at_ms, pair.get(1)?.as_str()?.parse().ok()?))
}

/// The series of a matrix with their samples.
pub fn matrix(answer: &Value) -> Result<Vec<(Vec<(String, String)>, Vec<(i64, f64)>)>> {
    let malformed = |reason: &str| BackendError::Malformed { backend: "Prometheus", reason: reason.to_string() };
    if answer.get("resultType").and_then(Value::as_str) != Some("matrix") {
        return Err(malformed("a matrix was expected"));
    }
    let items = answer.get("result").and_then(Value::as_array).ok_or_else(|| malformed("`result` is no list"))?;
    let mut series = Vec::new();
    for item in items {
        let values = item.get("values").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let samples = values.iter().map(|pair| sample(pair).ok_or_else(|| malformed("a sample that is no pair")));
        series.push((labels(item), samples.collect::<Result<Vec<_>>>()?));
    }
    series.sort_by(|left, right| left.0.cmp(&right.0));
    Ok(series)
}

/// The vectors of a range query, step by step.
fn steps(
    answer: &Value,
    clock: &RunClock,
    start: Duration,
    last: Duration,
    step: Duration,
) -> Result<Vec<(Duration, Vec<Series>)>> {
    let series = matrix(answer)?;
    let mut steps = Vec::new();
    let mut at = start;
    while at <= last {
        let at_ms = clock.at_ms(at);
        let value = |samples: &[(i64, f64)]| {
            samples.binary_search_by_key(&at_ms, |(ts, _)| *ts).ok().map(|index| samples[index].1)
        };
        let vector = series
            .iter()
            .filter_map(|(labels, samples)| Some(Series { labels: labels.clone(), value: value(samples)? }));
        steps.push((at, vector.collect()));
        at += step;
    }
    Ok(steps)
}

/// The instant after the next scrape and the rule evaluation that follows it.
async fn settled(at: Duration, backends: &dyn Backends, clock: &RunClock) -> Result<Duration> {
    let targets = backends.prom_get("/api/v1/targets").await?;
    let rules = backends.prom_get("/api/v1/rules").await?;
    let active = targets.get("activeTargets").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let scrapes = active
        .iter()
        .filter_map(|target| target.get("scrapeInterval")?.as_str())
        .filter_map(|text| parse_duration(text).ok());
    let groups = rules.get("groups").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let evaluations =
        groups.iter().filter_map(|group| Duration::try_from_secs_f64(group.get("interval")?.as_f64()?).ok());
    let scrape = scrapes.max().unwrap_or(INTERVAL_DEFAULT);
    let evaluation = evaluations.max().unwrap_or(Duration::ZERO);
    Ok((at + scrape + evaluation).min(clock.end))
}

/// When Prometheus last scraped and evaluated before an instant, for a story.
pub async fn freshness(at: Duration, backends: &dyn Backends, clock: &RunClock) -> Vec<String> {
    let window = format!("[{}]", format_duration(at.max(Duration::from_secs(1)) + Duration::from_secs(600)));
    let last = |answer: Result<Value>| -> Option<Duration> {
        let series = matrix(&answer.ok()?).ok()?;
        let last_ms = series.iter().filter_map(|(_, samples)| samples.last()).map(|(ts, _)| *ts).max()?;
        Some(clock.since_zero_ms(last_ms))
    };
    let scraped = last(backends.prom_query(&format!("up{window}"), clock.at_ms(at)).await);
    let evaluated = last(backends.prom_query(&format!("ALERTS{window}"), clock.at_ms(at)).await);
    let tell = |what: &str, when: Option<Duration>| {
        when.map(|when| format!("last {what} before that: {}", format_duration(when)))
    };
    let scraped = tell("scrape", scraped).or_else(|| Some("nothing was scraped before that".to_string()));
    scraped.into_iter().chain(tell("evaluation with an active alert", evaluated)).collect()
}

/// Whether a comparison can hold for a series at all.
pub fn holds(comparison: &Comparison, series: &Series) -> bool {
    comparison.holds_number(series.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(yaml: &str) -> Answer {
        crate::testing::expectation(&format!("query: up\nis: {yaml}")).query().is
    }

    fn series(controller: &str, value: f64) -> Series {
        Series { labels: vec![("controller".to_string(), controller.to_string())], value }
    }

    #[test]
    fn series_are_chosen_by_labels_and_the_nearest_is_told() {
        let answer = answer("{ 'controller=\"cell-datahandler\"': '> 0', 'controller=~\"shard.*\"': '> 0' }");
        let both = [series("cell-datahandler", 3.0), series("shard-datahandler", 1.0)];
        assert!(judge_vector(&answer, &both).0);
        let (ok, story) = judge_vector(&answer, &[series("cell-datahandler", 3.0), series("cell", 1.0)]);
        assert!(!ok);
        assert_eq!(
            story.found,
            "no series {controller=~\"shard.*\"}, nearest {controller=\"cell-datahandler\"} 3: controller is \"cell-datahandler\""
        );
        let (ok, story) = judge_vector(&answer, &[series("cell-datahandler", 0.0), series("shard-datahandler", 1.0)]);
        assert!(!ok);
        assert_eq!(story.found, "{controller=\"cell-datahandler\"} 0 is not > 0");
    }

    #[test]
    fn an_empty_answer_satisfies_only_empty() {
        assert!(judge_vector(&answer("empty"), &[]).0);
        assert!(!judge_vector(&answer("empty"), &[series("a", 1.0)]).0);
        assert!(!judge_vector(&answer("'>= 0'"), &[]).0);
        assert!(judge_vector(&answer("absent"), &[]).0);
        assert!(judge_vector(&answer("1"), &[series("a", 1.0)]).0);
        assert!(!judge_vector(&answer("1"), &[series("a", 1.0), series("b", 2.0)]).0);
        assert!(judge_vector(&answer("{ 'controller=\"b\"': absent }"), &[series("a", 1.0)]).0);
    }

    #[test]
    fn answers_of_the_api_are_read_and_others_refused() {
        let answer =
            json!({"resultType": "vector", "result": [{"metric": {"b": "2", "a": "1"}, "value": [1.5, "+Inf"]}]});
        let series = vector(&answer).unwrap();
        assert_eq!(series[0].labels, [("a".to_string(), "1".to_string()), ("b".to_string(), "2".to_string())]);
        assert!(series[0].value.is_infinite());
        assert_eq!(vector(&json!({"resultType": "scalar", "result": [1, "3"]})).unwrap()[0].value, 3.0);
        assert!(vector(&json!({"resultType": "matrix", "result": []})).is_err());
        assert!(vector(&json!({})).is_err());
        assert_eq!(
            matrix(&json!({"resultType": "matrix", "result": [{"metric": {}, "values": [[1, "1"], [1.25, "2"]]}]}))
                .unwrap()[0]
                .1,
            [(1000, 1.0), (1250, 2.0)]
        );
    }
}
