//! Functions that change labels or order: `label_replace`, `label_join`, `sort*`, `absent*`.

use super::Call;
use crate::promql::ast::{Expr, ExprKind, VectorSelector};
use crate::promql::eval::{EvalError, Val, VectorSample};
use sim_wire::{Labels, METRIC_NAME, MatchOp, labels::push_quoted, matcher::anchored};
use std::cmp::Ordering;

fn text(call: &Call<'_, '_>, index: usize) -> Result<String, EvalError> {
    let bytes = call.evaluator.string(&call.args[index], call.t_ms)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn quoted(value: &str) -> String {
    let mut out = String::new();
    push_quoted(&mut out, value);
    out
}

fn label_name(call: &Call<'_, '_>, index: usize, what: &str) -> Result<String, EvalError> {
    let bytes = call.evaluator.string(&call.args[index], call.t_ms)?;
    match String::from_utf8(bytes) {
        Ok(name) if !name.is_empty() => Ok(name),
        _ => Err(EvalError(format!(
            "invalid {what} label name in {}(): {}",
            call.function.name,
            quoted(&text(call, index)?)
        ))),
    }
}

pub(super) fn label_replace(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    let destination = label_name(call, 1, "destination")?;
    let (replacement, source, expression) = (text(call, 2)?, text(call, 3)?, text(call, 4)?);
    let regex = anchored(&expression)
        .map_err(|_| EvalError(format!("invalid regular expression in label_replace(): {}", quoted(&expression))))?;
    let mut vector = call.evaluator.vector(&call.args[0], call.t_ms)?;
    for sample in &mut vector {
        if let Some(captures) = regex.captures(sample.labels.value(&source)) {
            let mut value = String::new();
            captures.expand(&replacement, &mut value);
            sample.labels = sample.labels.with(&destination, &value);
            if destination == METRIC_NAME {
                sample.drop_name = false;
            }
        }
    }
    unique(vector)
}

pub(super) fn label_join(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    let destination = label_name(call, 1, "destination")?;
    let separator = text(call, 2)?;
    let sources = (3..call.args.len()).map(|index| label_name(call, index, "source")).collect::<Result<Vec<_>, _>>()?;
    let mut vector = call.evaluator.vector(&call.args[0], call.t_ms)?;
    for sample in &mut vector {
        let values: Vec<&str> = sources.iter().map(|name| sample.labels.value(name)).collect();
        sample.labels = sample.labels.with(&destination, &values.join(&separator));
        if destination == METRIC_NAME {
            sample.drop_name = false;
        }
    }
    unique(vector)
}

fn unique(vector: Vec<VectorSample>) -> Result<Val, EvalError> {
    let mut sorted: Vec<&Labels> = vector.iter().map(|sample| &sample.labels).collect();
    sorted.sort();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(EvalError::same_labelset());
    }
    Ok(Val::Vector(vector))
}

fn sorted(call: &Call<'_, '_>, order: fn(f64, f64) -> Ordering) -> Result<Val, EvalError> {
    let mut vector = call.evaluator.vector(&call.args[0], call.t_ms)?;
    vector.retain(|sample| sample.value.as_float().is_some());
    vector.sort_by(|a, b| {
        let (a, b) = (a.value.float(), b.value.float());
        // NaN goes last in both directions.
        a.is_nan().cmp(&b.is_nan()).then_with(|| if a.is_nan() { Ordering::Equal } else { order(a, b) })
    });
    Ok(Val::Vector(vector))
}

pub(super) fn sort(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    sorted(call, |a, b| a.total_cmp(&b))
}

pub(super) fn sort_desc(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    sorted(call, |a, b| b.total_cmp(&a))
}

/// Digits compare as numbers, as in Prometheus's natural sort.
fn natural(a: &str, b: &str) -> Ordering {
    let chunks = |text: &str| -> Vec<(bool, String)> {
        let mut out: Vec<(bool, String)> = Vec::new();
        for c in text.chars() {
            match out.last_mut() {
                Some((digits, chunk)) if *digits == c.is_ascii_digit() => chunk.push(c),
                _ => out.push((c.is_ascii_digit(), c.to_string())),
            }
        }
        out
    };
    let (left, right) = (chunks(a), chunks(b));
    for ((left_digits, left), (right_digits, right)) in left.iter().zip(&right) {
        let order = if *left_digits && *right_digits {
            let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
            left.len().cmp(&right.len()).then_with(|| left.cmp(right))
        } else {
            left.cmp(right)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

fn by_label(call: &Call<'_, '_>, descending: bool) -> Result<Val, EvalError> {
    let names = (1..call.args.len()).map(|index| text(call, index)).collect::<Result<Vec<_>, _>>()?;
    let mut vector = call.evaluator.vector(&call.args[0], call.t_ms)?;
    vector.sort_by(|a, b| {
        let by_names = names.iter().map(|name| natural(a.labels.value(name), b.labels.value(name)));
        let order = by_names.fold(Ordering::Equal, Ordering::then).then_with(|| a.labels.cmp(&b.labels));
        if descending { order.reverse() } else { order }
    });
    Ok(Val::Vector(vector))
}

pub(super) fn sort_by_label(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    by_label(call, false)
}

pub(super) fn sort_by_label_desc(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    by_label(call, true)
}

/// The labels that an absent series would have had: those matched for equality, once.
fn absent_labels(expr: &Expr) -> Labels {
    let selector: &VectorSelector = match &expr.unparenthesised().kind {
        ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => selector,
        _ => return Labels::empty(),
    };
    let usable = |name: &str| {
        selector.matchers.iter().filter(|matcher| matcher.name == name).count() == 1 && name != METRIC_NAME
    };
    let equal = selector.matchers.iter().filter(|matcher| matcher.op == MatchOp::Equal && usable(&matcher.name));
    Labels::from_pairs(equal.map(|matcher| (matcher.name.as_str(), matcher.value.as_str())))
}

fn one_if(call: &Call<'_, '_>, absent: bool) -> Val {
    Val::Vector(if absent {
        vec![VectorSample::float(absent_labels(&call.args[0]), call.t_ms, 1.0)]
    } else {
        Vec::new()
    })
}

pub(super) fn absent(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    let absent = call.evaluator.vector(&call.args[0], call.t_ms)?.is_empty();
    Ok(one_if(call, absent))
}

pub(super) fn absent_over_time(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    let absent = call.evaluator.matrix(&call.args[0], call.t_ms)?.1.is_empty();
    Ok(one_if(call, absent))
}
