//! Functions over range vectors: rates, regressions, `*_over_time`.

use super::RangeInput;
use super::math::{Sum, mean, quantile, variance_over_time};
use crate::histogram::{CounterReset, Histogram, Incompatible, go_g};
use crate::promql::ast::ValueType;
use crate::store::{Point, Value};
use sim_wire::METRIC_NAME;

/// The floats among the points.
fn floats(input: &RangeInput<'_, '_>) -> Vec<f64> {
    input.points.iter().filter_map(|point| point.value.as_float()).collect()
}

/// The histograms among the points.
fn histograms<'e>(input: &RangeInput<'e, '_>) -> Vec<&'e Histogram> {
    input.points.iter().filter_map(|point| point.value.as_histogram()).collect()
}

fn warn(input: &RangeInput<'_, '_>, message: &str) {
    let name = input.labels.get(METRIC_NAME).unwrap_or_default();
    let index = input.call.args.iter().position(|arg| arg.value_type() == ValueType::Matrix).unwrap_or(0);
    input.call.evaluator.warn(&format!("{message} {name:?}"), input.call.place(index));
}

/// Warns if the range has both floats and histograms.
fn mixed(input: &RangeInput<'_, '_>) -> bool {
    let count = histograms(input).len();
    let mixed = count > 0 && count < input.points.len();
    if mixed {
        warn(input, "encountered a mix of histograms and floats for metric name");
    }
    mixed
}

/// The floats of a function that has no use for histograms, and says so if it left some out; nothing without floats.
fn only_floats(input: &RangeInput<'_, '_>) -> Option<Vec<f64>> {
    let floats = floats(input);
    if floats.is_empty() {
        return None;
    }
    note_ignored(input, floats.len());
    Some(floats)
}

fn note_ignored(input: &RangeInput<'_, '_>, floats: usize) {
    if floats < input.points.len() {
        let name = input.labels.get(METRIC_NAME).unwrap_or_default();
        let message =
            format!("ignored histograms in a range containing both floats and histograms for metric name {name:?}");
        input.call.evaluator.info(&message, input.call.place(0));
    }
}

fn incompatible(input: &RangeInput<'_, '_>, why: Incompatible) {
    warn(
        input,
        match why {
            Incompatible::Schema => {
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name"
            }
            Incompatible::Bounds => "vector contains histograms with incompatible custom buckets for metric name",
        },
    );
}

fn number(value: f64) -> Option<Value> {
    Some(Value::Float(value))
}

fn note_unless_counter(input: &RangeInput<'_, '_>) {
    let Some(name) = input.labels.get(METRIC_NAME) else { return };
    if !["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix)) {
        let message =
            format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {name:?}");
        input.call.evaluator.info(&message, input.call.place(0));
    }
}

/// The extrapolation that `rate`, `increase` and `delta` share.
fn extrapolated(input: &RangeInput<'_, '_>, counter: bool, per_second: bool) -> Option<Value> {
    let points = input.points;
    if mixed(input) || points.len() < 2 {
        return None;
    }
    let (first, last) = (points.first()?, points.last()?);
    let histogram = match first.value {
        Value::Histogram(_) => Some(histogram_difference(input, counter)?),
        Value::Float(_) => None,
    };
    let mut result = last.value.float() - first.value.float();
    if counter && histogram.is_none() {
        for pair in points.windows(2) {
            if pair[1].value.float() < pair[0].value.float() {
                result += pair[0].value.float();
            }
        }
    }
    let mut to_start = (first.t_ms - input.window.start_ms) as f64 / 1000.0;
    let mut to_end = (input.window.end_ms - last.t_ms) as f64 / 1000.0;
    let sampled = (last.t_ms - first.t_ms) as f64 / 1000.0;
    let between = sampled / (points.len() - 1) as f64;
    // Further than this from an edge, the series is taken to start or end inside the window.
    let threshold = between * 1.1;
    if to_start >= threshold {
        to_start = between / 2.0;
    }
    if counter && histogram.is_none() && result > 0.0 && first.value.float() >= 0.0 {
        // A counter cannot have been below zero.
        to_start = to_start.min(sampled * (first.value.float() / result));
    }
    if to_end >= threshold {
        to_end = between / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if per_second {
        factor /= input.window.range_ms as f64 / 1000.0;
    }
    if let Some(mut histogram) = histogram {
        histogram.scale(factor);
        return Some(histogram.into());
    }
    if counter {
        note_unless_counter(input);
    }
    number(result * factor)
}

/// What histograms grew by over the range, resets added up.
fn histogram_difference(input: &RangeInput<'_, '_>, counter: bool) -> Option<Histogram> {
    let all = histograms(input);
    let (first, last) = (*all.first()?, *all.last()?);
    let gauge = |histogram: &Histogram| histogram.reset == CounterReset::Gauge;
    if counter && all.iter().any(|histogram| gauge(histogram)) {
        warn(input, "this native histogram metric is not a counter:");
    }
    let mut previous = first.clone();
    // After a reset right behind it, the first histogram does not matter, nor does its layout.
    if counter && all[1].was_reset(&previous) {
        previous = Histogram { schema: all[1].schema, bounds: all[1].bounds.clone(), ..Histogram::default() };
    }
    let relevant = if counter { &all[1..] } else { &all[all.len() - 1..] };
    if relevant.iter().any(|histogram| histogram.is_custom() != previous.is_custom()) {
        incompatible(input, Incompatible::Schema);
        return None;
    }
    let mut result = last.clone();
    result.reduce(relevant.iter().map(|histogram| histogram.schema).fold(previous.schema, i32::min));
    let mut outcome = result.subtract(&previous);
    if counter {
        for current in &all[1..] {
            if outcome.is_ok() && current.was_reset(&previous) {
                outcome = result.add(&previous);
            }
            previous = (*current).clone();
        }
    } else if !gauge(first) || !gauge(last) {
        warn(input, "this native histogram metric is not a gauge:");
    }
    if let Err(why) = outcome {
        incompatible(input, why);
        return None;
    }
    result.reset = CounterReset::Gauge;
    result.compact();
    Some(result)
}

pub(super) fn rate(input: &RangeInput<'_, '_>) -> Option<Value> {
    extrapolated(input, true, true)
}

pub(super) fn increase(input: &RangeInput<'_, '_>) -> Option<Value> {
    extrapolated(input, true, false)
}

pub(super) fn delta(input: &RangeInput<'_, '_>) -> Option<Value> {
    extrapolated(input, false, false)
}

fn instant(input: &RangeInput<'_, '_>, counter: bool) -> Option<Value> {
    let [.., before, last] = input.points else { return None };
    let elapsed_ms = last.t_ms - before.t_ms;
    if elapsed_ms == 0 {
        return None;
    }
    let seconds = elapsed_ms as f64 / 1000.0;
    match (&before.value, &last.value) {
        (Value::Float(old), Value::Float(new)) => {
            // After a reset the counter started from zero.
            let result = if counter && new < old { *new } else { new - old };
            number(if counter { result / seconds } else { result })
        }
        (Value::Histogram(old), Value::Histogram(new)) => {
            let gauges = [old, new].iter().filter(|histogram| histogram.reset == CounterReset::Gauge).count();
            if counter && gauges > 0 {
                warn(input, "this native histogram metric is not a counter:");
            }
            if !counter && gauges < 2 {
                warn(input, "this native histogram metric is not a gauge:");
            }
            let mut result = Histogram::clone(new);
            if !counter || !new.was_reset(old) {
                result.subtract(old).map_err(|why| incompatible(input, why)).ok()?;
            }
            result.reset = CounterReset::Gauge;
            result.compact();
            if counter {
                result.divide(seconds);
            }
            Some(result.into())
        }
        _ => {
            warn(input, "encountered a mix of histograms and floats for metric name");
            None
        }
    }
}

pub(super) fn irate(input: &RangeInput<'_, '_>) -> Option<Value> {
    instant(input, true)
}

pub(super) fn idelta(input: &RangeInput<'_, '_>) -> Option<Value> {
    instant(input, false)
}

/// Slope and intercept at `intercept_ms` by least squares.
fn regression(points: &[(i64, f64)], intercept_ms: i64) -> (f64, f64) {
    let first = points[0].1;
    if points.iter().all(|(_, value)| *value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let n = points.len() as f64;
    let (mut x_sum, mut y_sum, mut xy_sum, mut xx_sum) =
        (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    for (t_ms, y) in points {
        let x = (t_ms - intercept_ms) as f64 / 1000.0;
        x_sum = x_sum.add(x);
        y_sum = y_sum.add(*y);
        xy_sum = xy_sum.add(x * y);
        xx_sum = xx_sum.add(x * x);
    }
    let (x, y) = (x_sum.total(), y_sum.total());
    let covariance = xy_sum.total() - x * y / n;
    let variance = xx_sum.total() - x * x / n;
    let slope = covariance / variance;
    (slope, y / n - slope * x / n)
}

/// The floats with their times, if they make a line.
fn line(input: &RangeInput<'_, '_>) -> Option<Vec<(i64, f64)>> {
    let floats: Vec<(i64, f64)> =
        input.points.iter().filter_map(|point| Some((point.t_ms, point.value.as_float()?))).collect();
    if !floats.is_empty() {
        note_ignored(input, floats.len());
    }
    (floats.len() >= 2).then_some(floats)
}

pub(super) fn deriv(input: &RangeInput<'_, '_>) -> Option<Value> {
    let points = line(input)?;
    number(regression(&points, points[0].0).0)
}

pub(super) fn predict_linear(input: &RangeInput<'_, '_>) -> Option<Value> {
    let (slope, intercept) = regression(&line(input)?, input.call.t_ms);
    number(slope * input.scalars[0] + intercept)
}

/// How many pairs of neighbours differ, a float and a histogram always.
fn pairs(
    input: &RangeInput<'_, '_>,
    floats: fn(f64, f64) -> bool,
    histograms: fn(&Histogram, &Histogram) -> bool,
) -> f64 {
    let counts = |pair: &&[Point]| match (&pair[0].value, &pair[1].value) {
        (Value::Float(before), Value::Float(after)) => floats(*before, *after),
        (Value::Histogram(before), Value::Histogram(after)) => histograms(before, after),
        _ => true,
    };
    input.points.windows(2).filter(counts).count() as f64
}

pub(super) fn changes(input: &RangeInput<'_, '_>) -> Option<Value> {
    number(pairs(input, |a, b| a != b && !(a.is_nan() && b.is_nan()), |a, b| !a.same(b)))
}

pub(super) fn resets(input: &RangeInput<'_, '_>) -> Option<Value> {
    number(pairs(input, |a, b| b < a, |a, b| b.was_reset(a)))
}

pub(super) fn avg_over_time(input: &RangeInput<'_, '_>) -> Option<Value> {
    if mixed(input) {
        return None;
    }
    let all = histograms(input);
    if all.is_empty() {
        return number(mean(&floats(input)));
    }
    let mut mean = all[0].clone();
    let mut rest = all.iter().enumerate().skip(1);
    rest.try_for_each(|(index, next)| mean.include_in_mean(next, (index + 1) as f64))
        .map_err(|why| incompatible(input, why))
        .ok()?;
    Some(mean.into())
}

pub(super) fn sum_over_time(input: &RangeInput<'_, '_>) -> Option<Value> {
    if mixed(input) {
        return None;
    }
    let all = histograms(input);
    let Some((first, rest)) = all.split_first() else {
        return number(floats(input).into_iter().fold(Sum::default(), Sum::add).total());
    };
    let mut sum = (*first).clone();
    rest.iter().try_for_each(|next| sum.add(next)).map_err(|why| incompatible(input, why)).ok()?;
    Some(sum.into())
}

pub(super) fn count_over_time(input: &RangeInput<'_, '_>) -> Option<Value> {
    number(input.points.len() as f64)
}

pub(super) fn min_over_time(input: &RangeInput<'_, '_>) -> Option<Value> {
    only_floats(input)?
        .into_iter()
        .reduce(|best, value| if value < best || best.is_nan() { value } else { best })
        .map(Value::Float)
}

pub(super) fn max_over_time(input: &RangeInput<'_, '_>) -> Option<Value> {
    only_floats(input)?
        .into_iter()
        .reduce(|best, value| if value > best || best.is_nan() { value } else { best })
        .map(Value::Float)
}

pub(super) fn last_over_time(input: &RangeInput<'_, '_>) -> Option<Value> {
    input.points.last().map(|point| point.value.clone())
}

fn seconds(t_ms: i64) -> Option<Value> {
    number(t_ms as f64 / 1000.0)
}

pub(super) fn ts_of_last_over_time(input: &RangeInput<'_, '_>) -> Option<Value> {
    seconds(input.points.last()?.t_ms)
}

/// The time of the last float that is at least as good as the best before it.
fn ts_of(input: &RangeInput<'_, '_>, better: fn(f64, f64) -> bool) -> Option<Value> {
    only_floats(input)?;
    let floats = input.points.iter().filter_map(|point| Some((point.t_ms, point.value.as_float()?)));
    let best = floats.reduce(|best, next| if better(next.1, best.1) || best.1.is_nan() { next } else { best });
    seconds(best?.0)
}

pub(super) fn ts_of_max_over_time(input: &RangeInput<'_, '_>) -> Option<Value> {
    ts_of(input, |next, best| next >= best)
}

pub(super) fn ts_of_min_over_time(input: &RangeInput<'_, '_>) -> Option<Value> {
    ts_of(input, |next, best| next <= best)
}

pub(super) fn present_over_time(_: &RangeInput<'_, '_>) -> Option<Value> {
    number(1.0)
}

pub(super) fn stdvar_over_time(input: &RangeInput<'_, '_>) -> Option<Value> {
    number(variance_over_time(only_floats(input)?.into_iter()))
}

pub(super) fn stddev_over_time(input: &RangeInput<'_, '_>) -> Option<Value> {
    number(variance_over_time(only_floats(input)?.into_iter()).sqrt())
}

pub(super) fn quantile_over_time(input: &RangeInput<'_, '_>) -> Option<Value> {
    let q = input.scalars[0];
    let values = only_floats(input)?;
    if !(0.0..=1.0).contains(&q) {
        let message = format!("quantile value should be between 0 and 1, got {}", go_g(q));
        input.call.evaluator.warn(&message, input.call.place(0));
    }
    number(quantile(q, values))
}

pub(super) fn mad_over_time(input: &RangeInput<'_, '_>) -> Option<Value> {
    let all = only_floats(input)?;
    let median = quantile(0.5, all.clone());
    number(quantile(0.5, all.into_iter().map(|value| (value - median).abs()).collect()))
}

pub(super) fn double_exponential_smoothing(input: &RangeInput<'_, '_>) -> Option<Value> {
    let (smoothing, trend) = (input.scalars[0], input.scalars[1]);
    for (name, short, factor) in [("smoothing", "sf", smoothing), ("trend", "tf", trend)] {
        if factor <= 0.0 || factor >= 1.0 {
            let message = format!("invalid {name} factor. Expected: 0 < {short} < 1, got: {factor:.6}");
            input.call.evaluator.fail(message);
            return None;
        }
    }
    let points = only_floats(input)?;
    if points.len() < 2 {
        return None;
    }
    let (mut previous, mut current) = (0.0, points[0]);
    let mut slope = points[1] - points[0];
    for (index, value) in points.iter().enumerate().skip(1) {
        let scaled = smoothing * value;
        if index > 1 {
            slope = trend * (current - previous) + (1.0 - trend) * slope;
        }
        let next = scaled + (1.0 - smoothing) * (current + slope);
        previous = current;
        current = next;
    }
    number(current)
}
