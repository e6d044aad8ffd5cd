//! Binary operators and vector matching.

use super::ast::*;
use super::eval::{EvalError, Evaluator, VectorSample};
use crate::histogram::{Histogram, Incompatible};
use crate::store::Value;
use sim_wire::{Labels, METRIC_NAME};
use std::collections::{BTreeMap, BTreeSet};

/// What an operation gives: a value and whether it is kept, or why there is none.
type Outcome = Result<(Value, bool), Note>;

/// Why two samples have no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// An operation that these types do not have.
    Types(&'static str, BinaryOp, &'static str),
    /// Histograms whose buckets cannot be brought together.
    Layout(BinaryOp),
}

impl Note {
    pub fn tell(&self, evaluator: &Evaluator<'_>, span: Span) {
        match self {
            Self::Types(left, op, right) => evaluator.info(
                &format!(
                    "incompatible sample types encountered for binary operator \"{0}\": {left} {0} {right}",
                    op.as_str()
                ),
                span,
            ),
            Self::Layout(op) => evaluator
                .warn(&format!("incompatible bucket layout encountered for binary operator {}", op.as_str()), span),
        }
    }
}

fn element(op: BinaryOp, left: &Value, right: &Value) -> Outcome {
    let changed = |histogram: &Histogram, change: &dyn Fn(&mut Histogram) -> Result<(), Incompatible>| {
        let mut histogram = histogram.clone();
        change(&mut histogram).map_err(|_| Note::Layout(op))?;
        histogram.compact();
        Ok((Value::from(histogram), true))
    };
    match (left, right) {
        (Value::Float(a), Value::Float(b)) => {
            let (value, keep) = floats(op, *a, *b);
            Ok((Value::Float(value), keep))
        }
        (Value::Float(factor), Value::Histogram(histogram)) | (Value::Histogram(histogram), Value::Float(factor))
            if op == BinaryOp::Mul =>
        {
            changed(histogram, &|h| {
                h.scale(*factor);
                Ok(())
            })
        }
        (Value::Histogram(histogram), Value::Float(divisor)) if op == BinaryOp::Div => changed(histogram, &|h| {
            h.divide(*divisor);
            Ok(())
        }),
        (Value::Float(_), Value::Histogram(_)) => Err(Note::Types("float", op, "histogram")),
        (Value::Histogram(_), Value::Float(_)) => Err(Note::Types("histogram", op, "float")),
        (Value::Histogram(a), Value::Histogram(b)) => match op {
            BinaryOp::Add => changed(a, &|h| h.add(b)),
            BinaryOp::Sub => changed(a, &|h| h.subtract(b)),
            BinaryOp::Eql => Ok((left.clone(), a.same(b))),
            BinaryOp::Neq => Ok((left.clone(), !a.same(b))),
            _ => Err(Note::Types("histogram", op, "histogram")),
        },
    }
}

/// The value, and whether a comparison holds.
pub(super) fn floats(op: BinaryOp, left: f64, right: f64) -> (f64, bool) {
    match op {
        BinaryOp::Add => (left + right, true),
        BinaryOp::Sub => (left - right, true),
        BinaryOp::Mul => (left * right, true),
        BinaryOp::Div => (left / right, true),
        BinaryOp::Mod => (left % right, true),
        BinaryOp::Pow => (left.powf(right), true),
        BinaryOp::Atan2 => (left.atan2(right), true),
        BinaryOp::Eql => (left, left == right),
        BinaryOp::Neq => (left, left != right),
        BinaryOp::Gtr => (left, left > right),
        BinaryOp::Lss => (left, left < right),
        BinaryOp::Gte => (left, left >= right),
        BinaryOp::Lte => (left, left <= right),
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => (left, true),
    }
}

pub(super) fn scalars(op: BinaryOp, left: f64, right: f64) -> f64 {
    let (value, keep) = floats(op, left, right);
    if op.is_comparison() { f64::from(u8::from(keep)) } else { value }
}

/// `swapped` says that the scalar stands on the left.
pub(super) fn vector_scalar(
    op: BinaryOp,
    vector: Vec<VectorSample>,
    scalar: f64,
    swapped: bool,
    return_bool: bool,
    note: impl Fn(Note),
) -> Vec<VectorSample> {
    let scalar = Value::Float(scalar);
    let apply = |mut sample: VectorSample| {
        let own = &sample.value;
        let outcome = if swapped { element(op, &scalar, own) } else { element(op, own, &scalar) };
        let (value, keep) = match outcome {
            Ok(found) => found,
            Err(why) => {
                note(why);
                return None;
            }
        };
        if return_bool {
            sample.value = Value::Float(f64::from(u8::from(keep)));
            return Some(sample);
        }
        // A filter keeps the element's value, whichever side it stands on.
        if !op.is_comparison() {
            sample.value = value;
        }
        keep.then_some(sample)
    };
    vector.into_iter().filter_map(apply).collect()
}

pub(super) fn signature(labels: &Labels, matching: &VectorMatching) -> Labels {
    if matching.on {
        labels.keep(&matching.labels)
    } else {
        labels.filter(|name| name != METRIC_NAME && !matching.labels.iter().any(|ignored| ignored == name))
    }
}

pub(super) fn vectors(
    op: BinaryOp,
    left: Vec<VectorSample>,
    right: Vec<VectorSample>,
    matching: &VectorMatching,
    return_bool: bool,
    delayed: bool,
    note: impl Fn(Note),
) -> Result<Vec<VectorSample>, EvalError> {
    let keys =
        |side: &[VectorSample]| side.iter().map(|sample| signature(&sample.labels, matching)).collect::<BTreeSet<_>>();
    match op {
        BinaryOp::And => {
            let keys = keys(&right);
            return Ok(left.into_iter().filter(|sample| keys.contains(&signature(&sample.labels, matching))).collect());
        }
        BinaryOp::Unless => {
            let keys = keys(&right);
            return Ok(left
                .into_iter()
                .filter(|sample| !keys.contains(&signature(&sample.labels, matching)))
                .collect());
        }
        BinaryOp::Or => {
            let keys = keys(&left);
            let mut out = left;
            out.extend(right.into_iter().filter(|sample| !keys.contains(&signature(&sample.labels, matching))));
            return Ok(out);
        }
        _ => {}
    }
    join(op, left, right, matching, return_bool, delayed, note)
}

fn join(
    op: BinaryOp,
    left: Vec<VectorSample>,
    right: Vec<VectorSample>,
    matching: &VectorMatching,
    return_bool: bool,
    delayed: bool,
    note: impl Fn(Note),
) -> Result<Vec<VectorSample>, EvalError> {
    if left.is_empty() || right.is_empty() {
        return Ok(Vec::new());
    }
    let swapped = matching.cardinality == Cardinality::OneToMany;
    let (many, one) = if swapped { (right, left) } else { (left, right) };
    let mut ones: BTreeMap<Labels, &VectorSample> = BTreeMap::new();
    for sample in &one {
        let key = signature(&sample.labels, matching);
        if let Some(other) = ones.insert(key.clone(), sample) {
            let side = if swapped { "left" } else { "right" };
            return Err(EvalError(format!(
                "found duplicate series for the match group {key} on the {side} hand-side of the operation: [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
                sample.labels, other.labels
            )));
        }
    }
    let mut matched: BTreeMap<Labels, BTreeSet<Labels>> = BTreeMap::new();
    let mut out = Vec::new();
    for sample in many {
        let key = signature(&sample.labels, matching);
        let Some(other) = ones.get(&key) else { continue };
        let (a, b) = (&sample.value, &other.value);
        let outcome = if swapped { element(op, b, a) } else { element(op, a, b) };
        let (mut value, keep) = match outcome {
            Ok(found) => found,
            Err(why) => {
                note(why);
                continue;
            }
        };
        if return_bool {
            value = Value::Float(f64::from(u8::from(keep)));
        } else if !keep {
            continue;
        }
        let mut labels = result_labels(&sample.labels, &other.labels, op, matching);
        if return_bool && !delayed {
            labels = labels.without_name();
        }
        let seen_before = matched.contains_key(&key);
        let seen = matched.entry(key).or_default();
        if matching.cardinality == Cardinality::OneToOne {
            if seen_before {
                return Err(EvalError(
                    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                        .to_owned(),
                ));
            }
        } else if !seen.insert(labels.clone()) {
            return Err(EvalError(
                "multiple matches for labels: grouping labels must ensure unique matches".to_owned(),
            ));
        }
        out.push(VectorSample { labels, t_ms: sample.t_ms, value, drop_name: return_bool });
    }
    Ok(out)
}

pub(super) fn result_labels(many: &Labels, one: &Labels, op: BinaryOp, matching: &VectorMatching) -> Labels {
    let mut labels = if op.is_comparison() { many.clone() } else { many.without_name() };
    if matching.cardinality == Cardinality::OneToOne {
        labels = if matching.on {
            labels.keep(&matching.labels)
        } else {
            labels.filter(|name| !matching.labels.iter().any(|ignored| ignored == name))
        };
    }
    if matching.include.is_empty() {
        return labels;
    }
    let mut builder = labels.builder();
    for name in &matching.include {
        builder.set(name, one.value(name));
    }
    builder.build()
}
