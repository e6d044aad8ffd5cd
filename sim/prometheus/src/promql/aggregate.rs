//! Aggregation operators.

use super::ast::{AggregateOp, Span};
use super::eval::{EvalError, Evaluator, Val, VectorSample};
use super::functions::math::{Sum, mean, quantile};
use crate::histogram::{Histogram, Incompatible};
use crate::store::Value;
use sim_wire::{Labels, METRIC_NAME, format_float};
use std::cmp::Ordering;
use std::collections::BTreeMap;

pub(super) fn aggregate(
    evaluator: &Evaluator<'_>,
    (span, inner): (Span, Span),
    op: AggregateOp,
    param: Option<Val>,
    vector: Vec<VectorSample>,
    grouping: &[String],
    without: bool,
) -> Result<Vec<VectorSample>, EvalError> {
    let number = match &param {
        Some(Val::Scalar(value)) => *value,
        _ => f64::NAN,
    };
    if op == AggregateOp::CountValues {
        let Some(Val::Str(label)) = &param else { return Err(EvalError("count_values needs a label".to_owned())) };
        return count_values(label, vector, grouping, without);
    }
    let selects = matches!(op, AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk);
    let mut count = 0;
    if selects {
        if number.is_nan() {
            return Err(EvalError("Parameter value is NaN".to_owned()));
        }
        if number >= 9_223_372_036_854_775_807.0 || number <= -9_223_372_036_854_775_808.0 {
            return Err(EvalError(format!("Scalar value {} overflows int64", format_float(number))));
        }
        count = number.max(0.0) as usize;
    }
    if op == AggregateOp::Quantile && !(0.0..=1.0).contains(&number) {
        evaluator.warn(&format!("quantile value should be between 0 and 1, got {}", format_float(number)), span);
    }
    let mut groups: BTreeMap<Labels, Vec<VectorSample>> = BTreeMap::new();
    for sample in vector {
        groups.entry(group_of(&sample.labels, grouping, without)).or_default().push(sample);
    }
    let mut out = Vec::new();
    for (labels, mut members) in groups {
        if selects {
            if matches!(op, AggregateOp::Topk | AggregateOp::Bottomk) {
                let all = members.len();
                members.retain(|sample| sample.value.as_float().is_some());
                if members.len() < all && count > 0 {
                    ignored(evaluator, op, span);
                }
            }
            out.extend(select(op, count, members));
            continue;
        }
        let t_ms = members[0].t_ms;
        if let Some(value) = fold(evaluator, inner, op, &members, number) {
            out.push(VectorSample { labels, t_ms, value, drop_name: false });
        }
    }
    Ok(out)
}

fn group_of(labels: &Labels, grouping: &[String], without: bool) -> Labels {
    if without {
        labels.filter(|name| name != METRIC_NAME && !grouping.iter().any(|dropped| dropped == name))
    } else if grouping.is_empty() {
        Labels::empty()
    } else {
        labels.keep(grouping)
    }
}

fn ignored(evaluator: &Evaluator<'_>, op: AggregateOp, span: Span) {
    evaluator.info(&format!("ignored histogram in {} aggregation", op.as_str()), span);
}

/// One value of a group, if there is one; `span` is that of the vector.
fn fold(evaluator: &Evaluator<'_>, span: Span, op: AggregateOp, members: &[VectorSample], param: f64) -> Option<Value> {
    let values: Vec<f64> = members.iter().filter_map(|sample| sample.value.as_float()).collect();
    let histograms = members.len() - values.len();
    let folded = match op {
        AggregateOp::Count => members.len() as f64,
        AggregateOp::Group => 1.0,
        AggregateOp::Sum | AggregateOp::Avg if histograms > 0 => {
            if !values.is_empty() {
                evaluator.warn("encountered a mix of histograms and floats for aggregation", span);
                return None;
            }
            return combine(evaluator, span, op, members).map(Value::from);
        }
        _ if histograms > 0 && !matches!(op, AggregateOp::Sum | AggregateOp::Avg) => {
            ignored(evaluator, op, span);
            if values.is_empty() {
                return None;
            }
            fold_floats(op, &values, param)
        }
        _ => fold_floats(op, &values, param),
    };
    Some(Value::Float(folded))
}

/// The sum or the mean of histograms.
fn combine(evaluator: &Evaluator<'_>, span: Span, op: AggregateOp, members: &[VectorSample]) -> Option<Histogram> {
    let first = members[0].value.as_histogram()?;
    let mut result = first.clone();
    for (index, member) in members.iter().enumerate().skip(1) {
        let next = member.value.as_histogram()?;
        let outcome =
            if op == AggregateOp::Sum { result.add(next) } else { result.include_in_mean(next, (index + 1) as f64) };
        if let Err(why) = outcome {
            let what = match why {
                Incompatible::Schema => {
                    "vector contains a mix of histograms with exponential and custom buckets schemas for metric name"
                }
                Incompatible::Bounds => "vector contains histograms with incompatible custom buckets for metric name",
            };
            evaluator.warn(&format!("{what} {:?}", member.labels.value(METRIC_NAME)), span);
            return None;
        }
    }
    result.compact();
    Some(result)
}

fn fold_floats(op: AggregateOp, values: &[f64], param: f64) -> f64 {
    match op {
        AggregateOp::Sum => values.iter().fold(Sum::default(), |sum, value| sum.add(*value)).total(),
        AggregateOp::Avg => mean(values),
        AggregateOp::Min => values
            .iter()
            .copied()
            .reduce(|best, v| if best > v || best.is_nan() { v } else { best })
            .unwrap_or(f64::NAN),
        AggregateOp::Max => values
            .iter()
            .copied()
            .reduce(|best, v| if best < v || best.is_nan() { v } else { best })
            .unwrap_or(f64::NAN),
        AggregateOp::Stdvar => variance(values),
        AggregateOp::Stddev => variance(values).sqrt(),
        AggregateOp::Quantile => quantile(param, values.to_vec()),
        AggregateOp::Count
        | AggregateOp::Group
        | AggregateOp::Topk
        | AggregateOp::Bottomk
        | AggregateOp::CountValues
        | AggregateOp::Limitk => f64::NAN,
    }
}

/// Welford's population variance.
fn variance(values: &[f64]) -> f64 {
    let mut mean = 0.0;
    let mut squares = 0.0;
    for (index, value) in values.iter().enumerate() {
        if !value.is_finite() {
            return f64::NAN;
        }
        let delta = value - mean;
        mean += delta / (index + 1) as f64;
        squares += delta * (value - mean);
    }
    squares / values.len() as f64
}

fn select(op: AggregateOp, count: usize, mut members: Vec<VectorSample>) -> Vec<VectorSample> {
    // NaN is the last choice of both.
    let order = |a: f64, b: f64| match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) if op == AggregateOp::Topk => b.total_cmp(&a),
        (false, false) => a.total_cmp(&b),
    };
    if op != AggregateOp::Limitk {
        members.sort_by(|a, b| order(a.value.float(), b.value.float()));
    }
    members.truncate(count);
    members
}

fn count_values(
    label: &[u8],
    vector: Vec<VectorSample>,
    grouping: &[String],
    without: bool,
) -> Result<Vec<VectorSample>, EvalError> {
    let name = std::str::from_utf8(label).ok().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| EvalError(format!("invalid label name {}", go_quoted(label))))?;
    let mut counts: BTreeMap<Labels, (i64, f64)> = BTreeMap::new();
    for sample in vector {
        let text = match &sample.value {
            Value::Float(value) if value.is_finite() => format!("{value}"),
            Value::Float(value) => format_float(*value),
            Value::Histogram(histogram) => histogram.to_string(),
        };
        // `by` keeps only its own labels; the new one is added afterwards and wins.
        let labels = group_of(&sample.labels, grouping, without).with(name, &text);
        counts.entry(labels).or_insert((sample.t_ms, 0.0)).1 += 1.0;
    }
    Ok(counts
        .into_iter()
        .map(|(labels, (t_ms, count))| VectorSample { labels, t_ms, value: Value::Float(count), drop_name: false })
        .collect())
}

/// As Go's `%q` prints bytes that may not be UTF-8.
fn go_quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        text.extend(chunk.valid().chars().flat_map(char::escape_debug));
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text.push('"');
    text
}
