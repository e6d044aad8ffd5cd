//! `histogram_quantile` over classic histograms.

use super::Call;
use crate::promql::eval::{EvalError, Val, VectorSample};
use sim_wire::{Labels, METRIC_NAME, format_float};
use std::collections::BTreeMap;

/// Differences between buckets below this share are taken for rounding.
const SMALL_DELTA_TOLERANCE: f64 = 1e-12;
const DOCUMENTATION: &str = "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile";

#[derive(Debug, Clone, Copy)]
struct Bucket {
    upper_bound: f64,
    count: f64,
}

pub(super) fn histogram_quantile(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    let q = call.evaluator.scalar(&call.args[0], call.t_ms)?;
    if !(0.0..=1.0).contains(&q) {
        let message = format!("quantile value should be between 0 and 1, got {}", format_float(q));
        call.evaluator.warn(&message, call.args[0].span);
    }
    let mut groups: BTreeMap<(String, Labels), (Labels, Vec<Bucket>)> = BTreeMap::new();
    // Buckets of one histogram mostly come one after the other: its labels are made once, not once a bucket.
    let mut run: Option<(Labels, Vec<Bucket>)> = None;
    let mut close = |run: Option<(Labels, Vec<Bucket>)>| {
        let Some((labels, buckets)) = run else { return };
        let name = labels.value(METRIC_NAME).to_owned();
        let full = labels.without("le");
        groups.entry((name, full.without_name())).or_insert_with(|| (full, Vec::new())).1.extend(buckets);
    };
    for sample in call.evaluator.vector(&call.args[1], call.t_ms)? {
        let bound = sample.labels.value("le");
        let Ok(upper_bound) = bound.parse::<f64>() else {
            let name = sample.labels.value(METRIC_NAME);
            let message = format!(
                "bucket label \"le\" is missing or has a malformed value of {bound:?} for metric name {name:?}"
            );
            call.evaluator.warn(&message, call.args[1].span);
            continue;
        };
        let bucket = Bucket { upper_bound, count: sample.value.float() };
        match &mut run {
            Some((labels, buckets)) if same_but_for_bound(labels, &sample.labels) => buckets.push(bucket),
            _ => close(run.replace((sample.labels, vec![bucket]))),
        }
    }
    close(run);
    let mut out = Vec::new();
    for ((name, _), (labels, buckets)) in groups {
        let (value, fixed) = bucket_quantile(q, buckets);
        if fixed {
            let message = format!(
                "input to histogram_quantile needed to be fixed for monotonicity (see {DOCUMENTATION}) for metric name {name:?}"
            );
            call.evaluator.info(&message, call.args[1].span);
        }
        let mut sample = VectorSample::float(labels, call.t_ms, value);
        call.evaluator.drop_name(&mut sample);
        out.push(sample);
    }
    Ok(Val::Vector(call.evaluator.unique_unless_delayed(out)?))
}

/// Whether two series are buckets of one histogram.
fn same_but_for_bound(left: &Labels, right: &Labels) -> bool {
    left.iter().filter(|(name, _)| *name != "le").eq(right.iter().filter(|(name, _)| *name != "le"))
}

/// The quantile, and whether falling buckets had to be lifted.
fn bucket_quantile(q: f64, mut buckets: Vec<Bucket>) -> (f64, bool) {
    if q.is_nan() {
        return (f64::NAN, false);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, false);
    }
    if q > 1.0 {
        return (f64::INFINITY, false);
    }
    buckets.sort_by(|a, b| a.upper_bound.total_cmp(&b.upper_bound));
    if buckets.last().is_none_or(|last| last.upper_bound != f64::INFINITY) {
        return (f64::NAN, false);
    }
    let mut merged: Vec<Bucket> = Vec::new();
    for bucket in buckets {
        match merged.last_mut() {
            Some(last) if last.upper_bound == bucket.upper_bound => last.count += bucket.count,
            _ => merged.push(bucket),
        }
    }
    let fixed = make_monotonic(&mut merged);
    let last = merged.len() - 1;
    if merged.len() < 2 {
        return (f64::NAN, fixed);
    }
    let observations = merged[last].count;
    if observations == 0.0 {
        return (f64::NAN, fixed);
    }
    let mut rank = q * observations;
    let at = merged[..last].partition_point(|bucket| bucket.count < rank);
    if at == last {
        return (merged[last - 1].upper_bound, fixed);
    }
    if at == 0 && merged[0].upper_bound <= 0.0 {
        return (merged[0].upper_bound, fixed);
    }
    let mut start = 0.0;
    let end = merged[at].upper_bound;
    let mut count = merged[at].count;
    if at > 0 {
        start = merged[at - 1].upper_bound;
        count -= merged[at - 1].count;
        rank -= merged[at - 1].count;
    }
    (start + (end - start) * (rank / count), fixed)
}

fn make_monotonic(buckets: &mut [Bucket]) -> bool {
    let mut forced = false;
    let mut previous = buckets[0].count;
    for bucket in &mut buckets[1..] {
        if almost_equal(previous, bucket.count) {
            bucket.count = previous;
        } else if bucket.count < previous {
            bucket.count = previous;
            forced = true;
        } else {
            previous = bucket.count;
        }
    }
    forced
}

fn almost_equal(a: f64, b: f64) -> bool {
    if a == b {
        return true;
    }
    let total = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || total < f64::MIN_POSITIVE {
        return difference < SMALL_DELTA_TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / total.min(f64::MAX) < SMALL_DELTA_TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|(upper_bound, count)| Bucket { upper_bound: *upper_bound, count: *count }).collect()
    }

    #[test]
    fn the_quantile_is_interpolated_in_its_bucket() {
        let all = buckets(&[(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 20.0)]);
        assert_eq!(bucket_quantile(0.75, all.clone()).0, 1.5);
        assert_eq!(bucket_quantile(0.25, all).0, 0.5);
    }

    #[test]
    fn above_the_last_finite_bound_that_bound_is_the_answer() {
        assert_eq!(bucket_quantile(0.99, buckets(&[(1.0, 1.0), (f64::INFINITY, 10.0)])).0, 1.0);
    }

    #[test]
    fn without_the_infinite_bucket_there_is_no_answer() {
        assert!(bucket_quantile(0.5, buckets(&[(1.0, 1.0)])).0.is_nan());
    }

    #[test]
    fn falling_buckets_are_lifted_and_reported() {
        let (value, fixed) = bucket_quantile(0.5, buckets(&[(1.0, 10.0), (2.0, 5.0), (f64::INFINITY, 10.0)]));
        assert!(fixed);
        assert_eq!(value, 0.5);
    }
}
