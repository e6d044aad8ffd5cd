//! Functions that change labels or order: `label_replace`, `label_join`, `sort*`, `absent*`.

use super::Call;
use crate::promql::ast::{Expr, ExprKind, VectorSelector};
use crate::promql::eval::{EvalError, Val, VectorSample};
use sim_wire::{Labels, METRIC_NAME, MatchOp, Matcher, labels::push_quoted, matcher::anchored};
use std::cmp::Ordering;
use std::collections::BTreeMap;

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

/// Up to this many elements Go sorts by insertion.
const INSERTION_MAX: usize = 12;

/// Runs of digits and of other characters.
fn chunks(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c: char| c.is_ascii_digit() != first.is_ascii_digit()).unwrap_or(rest.len());
        let (chunk, tail) = rest.split_at(end);
        out.push(chunk);
        rest = tail;
    }
    out
}

/// Whether `a` sorts before `b`, digits compared as numbers. As in the library that Prometheus uses, nothing sorts before anything
/// else if it is empty, and nothing else before it.
fn natural_less(a: &str, b: &str) -> bool {
    let (left, right) = (chunks(a), chunks(b));
    for (index, chunk) in left.iter().enumerate() {
        let Some(other) = right.get(index) else { return false };
        let numbers = chunk.parse::<i64>().ok().zip(other.parse::<i64>().ok());
        let equal = numbers.map_or(chunk == other, |(a, b)| a == b);
        if !equal {
            return numbers.map_or(chunk < other, |(a, b)| a < b);
        }
        if index == left.len() - 1 {
            return true;
        }
        if index == right.len() - 1 {
            return false;
        }
    }
    false
}

fn by_label(call: &Call<'_, '_>, descending: bool) -> Result<Val, EvalError> {
    let names = (1..call.args.len()).map(|index| text(call, index)).collect::<Result<Vec<_>, _>>()?;
    let mut vector = call.evaluator.vector(&call.args[0], call.t_ms)?;
    let before = |a: &VectorSample, b: &VectorSample| {
        for name in &names {
            let (left, right) = (a.labels.value(name), b.labels.value(name));
            if left != right {
                return natural_less(left, right) != descending;
            }
        }
        if descending { a.labels > b.labels } else { a.labels < b.labels }
    };
    if vector.len() <= INSERTION_MAX {
        // The order of what has no order between its elements follows from how it is sorted.
        for end in 1..vector.len() {
            let mut at = end;
            while at > 0 && before(&vector[at], &vector[at - 1]) {
                vector.swap(at, at - 1);
                at -= 1;
            }
        }
        return Ok(Val::Vector(vector));
    }
    let natural = |a: &str, b: &str| match (a.is_empty(), b.is_empty()) {
        (false, false) if a == b => Ordering::Equal,
        (false, false) if natural_less(a, b) => Ordering::Less,
        (false, false) => Ordering::Greater,
        (one, other) => one.cmp(&other),
    };
    let mut keyed: Vec<(Vec<String>, VectorSample)> = vector
        .into_iter()
        .map(|sample| (names.iter().map(|name| sample.labels.value(name).to_owned()).collect(), sample))
        .collect();
    keyed.sort_by(|(a, left), (b, right)| {
        let by_names = a.iter().zip(b).map(|(a, b)| natural(a, b));
        let order = by_names.fold(Ordering::Equal, Ordering::then).then_with(|| left.labels.cmp(&right.labels));
        if descending { order.reverse() } else { order }
    });
    Ok(Val::Vector(keyed.into_iter().map(|(_, sample)| sample).collect()))
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
    // In the order that the storage leaves them in: as written, but what only takes series away stands last. The first equality of a
    // name counts, whatever follows it of that name takes the label away, and a later equality does not bring it back.
    let takes_away =
        |matcher: &Matcher| matches!(matcher.op, MatchOp::NotEqual | MatchOp::NotRegex) && matcher.matches("");
    let mut matchers: Vec<&Matcher> = selector.matchers.iter().filter(|matcher| matcher.name != METRIC_NAME).collect();
    matchers.sort_by_key(|matcher| takes_away(matcher));
    let mut seen: Vec<&str> = Vec::new();
    let mut pairs: BTreeMap<&str, &str> = BTreeMap::new();
    for matcher in matchers {
        let name = matcher.name.as_str();
        if matcher.op == MatchOp::Equal && !seen.contains(&name) {
            seen.push(name);
            pairs.insert(name, &matcher.value);
        } else {
            pairs.remove(name);
        }
    }
    Labels::from_pairs(pairs)
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
