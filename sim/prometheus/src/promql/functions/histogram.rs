//! Functions of histograms, classic and native.

use super::Call;
use crate::histogram::{Histogram, Remark, go_g};
use crate::promql::eval::{EvalError, Val, VectorSample};
use crate::store::Value;
use sim_wire::{Labels, METRIC_NAME};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Differences between buckets below this share are taken for rounding.
const SMALL_DELTA_TOLERANCE: f64 = 1e-12;
const DOCUMENTATION: &str = "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile";

#[derive(Debug, Clone, Copy)]
struct Bucket {
    upper_bound: f64,
    count: f64,
}

/// A classic histogram: its labels without `le`, and its buckets.
type Classic = (Labels, Vec<Bucket>);

/// What a vector holds: native histograms, and classic ones put together of their buckets.
fn histograms(
    call: &Call<'_, '_>,
    index: usize,
    vector: Vec<VectorSample>,
) -> (Vec<(Labels, Arc<Histogram>)>, Vec<Classic>) {
    let span = call.place(index);
    let mut native = Vec::new();
    let mut groups: BTreeMap<Labels, Vec<Bucket>> = BTreeMap::new();
    // Buckets of one histogram mostly come one after the other: its labels are made once, not once a bucket.
    let mut run: Option<Classic> = None;
    let mut close = |run: Option<Classic>| {
        let Some((labels, buckets)) = run else { return };
        groups.entry(labels.without("le")).or_default().extend(buckets);
    };
    for sample in vector {
        let count = match sample.value {
            Value::Float(count) => count,
            Value::Histogram(histogram) => {
                native.push((sample.labels, histogram));
                continue;
            }
        };
        let bound = sample.labels.value("le");
        let Some(upper_bound) = bound.parse::<f64>().ok() else {
            let message = format!("bucket label \"le\" is missing or has a malformed value of {bound:?}");
            call.evaluator.warn(&named(&message, &sample.labels), span);
            continue;
        };
        let bucket = Bucket { upper_bound, count };
        match &mut run {
            Some((labels, buckets)) if same_but_for_bound(labels, &sample.labels) => buckets.push(bucket),
            _ => close(run.replace((sample.labels, vec![bucket]))),
        }
    }
    close(run);
    // Where a series is both, neither is answered.
    native.retain(|(labels, _)| {
        let both = groups.remove(labels).is_some();
        if both {
            call.evaluator.warn(&named("vector contains a mix of classic and native histograms", labels), span);
        }
        !both
    });
    (native, groups.into_iter().collect())
}

/// A message with the metric's name, empty if it has none.
fn named(message: &str, labels: &Labels) -> String {
    format!("{message} for metric name {:?}", labels.value(METRIC_NAME))
}

fn finish(call: &Call<'_, '_>, values: Vec<(Labels, f64)>) -> Result<Val, EvalError> {
    let sample = |(labels, value)| {
        let mut sample = VectorSample::float(labels, call.t_ms, value);
        call.evaluator.drop_name(&mut sample);
        sample
    };
    Ok(Val::Vector(call.evaluator.unique_unless_delayed(values.into_iter().map(sample).collect())?))
}

fn remark(call: &Call<'_, '_>, labels: &Labels, remark: Option<Remark>) {
    let message = match remark {
        None => return,
        Some(Remark::NanResult) => "input to histogram_quantile has NaN observations, result is NaN",
        Some(Remark::NanSkew) => "input to histogram_quantile has NaN observations, result is skewed higher",
        Some(Remark::NanIgnored) => {
            "input to histogram_fraction has NaN observations, which are excluded from all fractions"
        }
    };
    // Without delayed removal, the name is gone before the remark is made.
    let labels = if call.evaluator.options.delayed_name_removal { labels.clone() } else { labels.without_name() };
    call.evaluator.info(&named(message, &labels), call.place(0));
}

pub(super) fn histogram_quantile(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    let q = call.evaluator.scalar(&call.args[0], call.t_ms)?;
    let vector = call.evaluator.vector(&call.args[1], call.t_ms)?;
    if !(0.0..=1.0).contains(&q) {
        let message = format!("quantile value should be between 0 and 1, got {}", go_g(q));
        call.evaluator.warn(&message, call.place(0));
    }
    let (native, classic) = histograms(call, 1, vector);
    let mut out = Vec::new();
    for (labels, histogram) in native {
        let (value, why) = histogram.quantile(q);
        remark(call, &labels, why);
        out.push((labels, value));
    }
    for (labels, buckets) in classic {
        let (value, fixed) = bucket_quantile(q, buckets);
        if fixed {
            let message =
                format!("input to histogram_quantile needed to be fixed for monotonicity (see {DOCUMENTATION})");
            call.evaluator.info(&named(&message, &labels), call.place(1));
        }
        out.push((labels, value));
    }
    finish(call, out)
}

pub(super) fn histogram_fraction(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    let lower = call.evaluator.scalar(&call.args[0], call.t_ms)?;
    let upper = call.evaluator.scalar(&call.args[1], call.t_ms)?;
    let vector = call.evaluator.vector(&call.args[2], call.t_ms)?;
    let (native, classic) = histograms(call, 2, vector);
    let mut out = Vec::new();
    for (labels, histogram) in native {
        let (value, why) = histogram.fraction(lower, upper);
        remark(call, &labels, why);
        out.push((labels, value));
    }
    for (labels, buckets) in classic {
        out.push((labels, bucket_fraction(lower, upper, buckets)));
    }
    finish(call, out)
}

/// A number of each native histogram; floats are left out.
fn of_each(call: &Call<'_, '_>, f: fn(&Histogram) -> f64) -> Result<Val, EvalError> {
    let vector = call.evaluator.vector(&call.args[0], call.t_ms)?;
    let value = |sample: VectorSample| {
        let value = f(sample.value.as_histogram()?);
        let mut sample = VectorSample { value: Value::Float(value), ..sample };
        call.evaluator.drop_name(&mut sample);
        Some(sample)
    };
    Ok(Val::Vector(call.evaluator.unique_unless_delayed(vector.into_iter().filter_map(value).collect())?))
}

pub(super) fn histogram_avg(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    of_each(call, |histogram| histogram.sum / histogram.count)
}

pub(super) fn histogram_count(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    of_each(call, |histogram| histogram.count)
}

pub(super) fn histogram_sum(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    of_each(call, |histogram| histogram.sum)
}

pub(super) fn histogram_stdvar(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    of_each(call, Histogram::variance)
}

pub(super) fn histogram_stddev(call: &Call<'_, '_>) -> Result<Val, EvalError> {
    of_each(call, |histogram| histogram.variance().sqrt())
}

/// Whether two series are buckets of one histogram.
fn same_but_for_bound(left: &Labels, right: &Labels) -> bool {
    left.iter().filter(|(name, _)| *name != "le").eq(right.iter().filter(|(name, _)| *name != "le"))
}

/// The quantile, and whether falling buckets had to be lifted.
fn bucket_quantile(q: f64, buckets: Vec<Bucket>) -> (f64, bool) {
    if q.is_nan() {
        return (f64::NAN, false);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, false);
    }
    if q > 1.0 {
        return (f64::INFINITY, false);
    }
    let Some(mut merged) = cumulative(buckets) else { return (f64::NAN, false) };
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
    let at = first_that(last, |index| merged[index].count >= rank);
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

/// The first of `n` for which something holds, or `n`, found as Go's `sort.Search` finds it: where counts are no numbers it matters
/// which ones are looked at.
fn first_that(n: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut from, mut to) = (0, n);
    while from < to {
        let middle = usize::midpoint(from, to);
        if holds(middle) {
            to = middle;
        } else {
            from = middle + 1;
        }
    }
    from
}

/// Buckets in order, those of one bound merged; nothing without an infinite bound.
fn cumulative(mut buckets: Vec<Bucket>) -> Option<Vec<Bucket>> {
    buckets.sort_by(|a, b| a.upper_bound.total_cmp(&b.upper_bound));
    if buckets.last()?.upper_bound != f64::INFINITY {
        return None;
    }
    let mut merged: Vec<Bucket> = Vec::new();
    for bucket in buckets {
        match merged.last_mut() {
            Some(last) if last.upper_bound == bucket.upper_bound => last.count += bucket.count,
            _ => merged.push(bucket),
        }
    }
    Some(merged)
}

/// The share of observations between two bounds, linear inside a bucket.
fn bucket_fraction(lower: f64, upper: f64, buckets: Vec<Bucket>) -> f64 {
    let Some(merged) = cumulative(buckets) else { return f64::NAN };
    let count = merged.last().map_or(0.0, |last| last.count);
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank_of = |value: f64| {
        let (mut rank, mut start) = (0.0, f64::NEG_INFINITY);
        for bucket in &merged {
            if start >= value {
                return rank;
            }
            if bucket.upper_bound > value {
                return rank + (bucket.count - rank) * (value - start) / (bucket.upper_bound - start);
            }
            (rank, start) = (bucket.count, bucket.upper_bound);
        }
        count
    };
    let end = |rank: f64| if rank > count { count } else { rank };
    (end(rank_of(upper)) - end(rank_of(lower))) / count
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
