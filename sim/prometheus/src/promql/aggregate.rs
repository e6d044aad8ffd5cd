//! Aggregation operators.

mod heap;
mod ratio;

use super::ast::{AggregateOp, Span};
use super::eval::{EvalError, Evaluator, Val, VectorSample};
use super::functions::math::{Sum, mean, quantile};
use super::quote::go_quoted;
use crate::histogram::{Histogram, Incompatible, go_g};
use crate::store::Value;
use sim_wire::{Labels, METRIC_NAME, format_float};
use std::collections::HashMap;

/// Where an aggregation and its parts stand.
#[derive(Clone, Copy)]
pub(super) struct Spans {
    pub whole: Span,
    pub inner: Span,
    pub param: Span,
}

pub(super) fn aggregate(
    evaluator: &Evaluator<'_>,
    spans: Spans,
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
    if matches!(op, AggregateOp::Quantile | AggregateOp::LimitRatio) {
        evaluator.note_parameter(op, number, spans.param);
    }
    if op.selects() {
        if op == AggregateOp::LimitRatio && number.is_nan() {
            return Err(EvalError("Ratio value is NaN".to_owned()));
        }
        if number.is_nan() {
            return Err(EvalError("Parameter value is NaN".to_owned()));
        }
        if op != AggregateOp::LimitRatio
            && (number >= 9_223_372_036_854_775_807.0 || number <= -9_223_372_036_854_775_808.0)
        {
            return Err(EvalError(format!("Scalar value {} overflows int64", go_g(number))));
        }
        return Ok(choose(evaluator, spans.whole, op, number, vector, grouping, without));
    }
    let mut out = Vec::new();
    for (labels, members) in groups(vector, grouping, without) {
        let t_ms = members[0].t_ms;
        if let Some(value) = fold(evaluator, spans.inner, op, &members, number) {
            out.push(VectorSample { labels, t_ms, value, drop_name: false });
        }
    }
    Ok(out)
}

/// The groups in the order in which their first members come.
fn groups(vector: Vec<VectorSample>, grouping: &[String], without: bool) -> Vec<(Labels, Vec<VectorSample>)> {
    let mut found: Vec<(Labels, Vec<VectorSample>)> = Vec::new();
    // Looked up, never walked.
    let mut places: HashMap<Labels, usize> = HashMap::new();
    for sample in vector {
        let labels = group_of(&sample.labels, grouping, without);
        let place = *places.entry(labels).or_insert_with_key(|labels| {
            found.push((labels.clone(), Vec::new()));
            found.len() - 1
        });
        found[place].1.push(sample);
    }
    found
}

/// The members that `topk` and its like keep.
fn choose(
    evaluator: &Evaluator<'_>,
    span: Span,
    op: AggregateOp,
    number: f64,
    vector: Vec<VectorSample>,
    grouping: &[String],
    without: bool,
) -> Vec<VectorSample> {
    let count = number.max(0.0) as usize;
    if op == AggregateOp::LimitRatio && number == 0.0 || op != AggregateOp::LimitRatio && count == 0 {
        return Vec::new();
    }
    let mut out = Vec::new();
    for (_, mut members) in groups(vector, grouping, without) {
        match op {
            AggregateOp::Limitk => members.truncate(count),
            AggregateOp::LimitRatio => {
                members.retain(|sample| ratio::includes(number.clamp(-1.0, 1.0), &sample.labels));
            }
            _ => {
                let all = members.len();
                members.retain(|sample| sample.value.as_float().is_some());
                if members.len() < all {
                    ignored(evaluator, op, span);
                }
                members = heap::best(members, count, op == AggregateOp::Topk);
            }
        }
        out.extend(members);
    }
    out
}

pub(super) fn group_of(labels: &Labels, grouping: &[String], without: bool) -> Labels {
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

pub(super) fn fold_floats(op: AggregateOp, values: &[f64], param: f64) -> f64 {
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
        | AggregateOp::Limitk
        | AggregateOp::LimitRatio => f64::NAN,
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

fn count_values(
    label: &[u8],
    vector: Vec<VectorSample>,
    grouping: &[String],
    without: bool,
) -> Result<Vec<VectorSample>, EvalError> {
    let name = std::str::from_utf8(label).ok().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| EvalError(format!("invalid label name {}", go_quoted(label))))?;
    let mut counts: Vec<VectorSample> = Vec::new();
    // Looked up, never walked.
    let mut places: HashMap<Labels, usize> = HashMap::new();
    for sample in vector {
        let text = match &sample.value {
            Value::Float(value) if value.is_finite() => format!("{value}"),
            Value::Float(value) => format_float(*value),
            Value::Histogram(histogram) => histogram.to_string(),
        };
        // `by` keeps its own labels and the new one; `without` may name the new one, too.
        let labels = if without {
            group_of(&sample.labels.with(name, &text), grouping, without)
        } else {
            group_of(&sample.labels, grouping, without).with(name, &text)
        };
        let place = *places.entry(labels).or_insert_with_key(|labels| {
            counts.push(VectorSample::float(labels.clone(), sample.t_ms, 0.0));
            counts.len() - 1
        });
        counts[place].value = Value::Float(counts[place].value.float() + 1.0);
    }
    Ok(counts)
}
