//! Functions over range vectors: rates, regressions, `*_over_time`.

use super::RangeInput;
use super::math::{Sum, mean, quantile, variance_over_time};
use crate::store::Point;
use sim_wire::METRIC_NAME;

fn values(input: &RangeInput<'_, '_>) -> Vec<f64> {
    input.points.iter().map(|point| point.value.float()).collect()
}

fn note_unless_counter(input: &RangeInput<'_, '_>) {
    let Some(name) = input.labels.get(METRIC_NAME) else { return };
    if !["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix)) {
        let message =
            format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {name:?}");
        input.call.evaluator.info(&message, input.call.args[0].span);
    }
}

/// The extrapolation that `rate`, `increase` and `delta` share.
fn extrapolated(input: &RangeInput<'_, '_>, counter: bool, per_second: bool) -> Option<f64> {
    let points = input.points;
    if counter {
        note_unless_counter(input);
    }
    let (first, last) = (points.first()?, points.last()?);
    if points.len() < 2 {
        return None;
    }
    let mut result = last.value.float() - first.value.float();
    if counter {
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
    if counter {
        // A counter cannot have been below zero.
        let mut to_zero = to_start;
        if result > 0.0 && first.value.float() >= 0.0 {
            to_zero = sampled * (first.value.float() / result);
        }
        to_start = to_start.min(to_zero);
    }
    if to_end >= threshold {
        to_end = between / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if per_second {
        factor /= input.window.range_ms as f64 / 1000.0;
    }
    Some(result * factor)
}

pub(super) fn rate(input: &RangeInput<'_, '_>) -> Option<f64> {
    extrapolated(input, true, true)
}

pub(super) fn increase(input: &RangeInput<'_, '_>) -> Option<f64> {
    extrapolated(input, true, false)
}

pub(super) fn delta(input: &RangeInput<'_, '_>) -> Option<f64> {
    extrapolated(input, false, false)
}

fn instant(input: &RangeInput<'_, '_>, per_second: bool) -> Option<f64> {
    let [.., before, last] = input.points else { return None };
    let (old, new) = (before.value.float(), last.value.float());
    // After a reset the counter started from zero.
    let result = if per_second && new < old { new } else { new - old };
    let elapsed_ms = last.t_ms - before.t_ms;
    if elapsed_ms == 0 {
        return None;
    }
    Some(if per_second { result / (elapsed_ms as f64 / 1000.0) } else { result })
}

pub(super) fn irate(input: &RangeInput<'_, '_>) -> Option<f64> {
    note_unless_counter(input);
    instant(input, true)
}

pub(super) fn idelta(input: &RangeInput<'_, '_>) -> Option<f64> {
    instant(input, false)
}

/// Slope and intercept at `intercept_ms` by least squares.
fn regression(points: &[Point], intercept_ms: i64) -> (f64, f64) {
    let first = points[0].value.float();
    if points.iter().all(|point| point.value.float() == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let n = points.len() as f64;
    let (mut x_sum, mut y_sum, mut xy_sum, mut xx_sum) =
        (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    for point in points {
        let x = (point.t_ms - intercept_ms) as f64 / 1000.0;
        let y = point.value.float();
        x_sum = x_sum.add(x);
        y_sum = y_sum.add(y);
        xy_sum = xy_sum.add(x * y);
        xx_sum = xx_sum.add(x * x);
    }
    let (x, y) = (x_sum.total(), y_sum.total());
    let covariance = xy_sum.total() - x * y / n;
    let variance = xx_sum.total() - x * x / n;
    let slope = covariance / variance;
    (slope, y / n - slope * x / n)
}

pub(super) fn deriv(input: &RangeInput<'_, '_>) -> Option<f64> {
    (input.points.len() >= 2).then(|| regression(input.points, input.points[0].t_ms).0)
}

pub(super) fn predict_linear(input: &RangeInput<'_, '_>) -> Option<f64> {
    if input.points.len() < 2 {
        return None;
    }
    let (slope, intercept) = regression(input.points, input.call.t_ms);
    Some(slope * input.scalars[0] + intercept)
}

pub(super) fn changes(input: &RangeInput<'_, '_>) -> Option<f64> {
    let changed = |pair: &&[Point]| {
        let (a, b) = (pair[0].value.float(), pair[1].value.float());
        a != b && !(a.is_nan() && b.is_nan())
    };
    Some(input.points.windows(2).filter(changed).count() as f64)
}

pub(super) fn resets(input: &RangeInput<'_, '_>) -> Option<f64> {
    Some(input.points.windows(2).filter(|pair| pair[1].value.float() < pair[0].value.float()).count() as f64)
}

pub(super) fn avg_over_time(input: &RangeInput<'_, '_>) -> Option<f64> {
    Some(mean(&values(input)))
}

pub(super) fn sum_over_time(input: &RangeInput<'_, '_>) -> Option<f64> {
    Some(values(input).into_iter().fold(Sum::default(), Sum::add).total())
}

pub(super) fn count_over_time(input: &RangeInput<'_, '_>) -> Option<f64> {
    Some(input.points.len() as f64)
}

pub(super) fn min_over_time(input: &RangeInput<'_, '_>) -> Option<f64> {
    values(input).into_iter().reduce(|best, value| if value < best || best.is_nan() { value } else { best })
}

pub(super) fn max_over_time(input: &RangeInput<'_, '_>) -> Option<f64> {
    values(input).into_iter().reduce(|best, value| if value > best || best.is_nan() { value } else { best })
}

pub(super) fn last_over_time(input: &RangeInput<'_, '_>) -> Option<f64> {
    input.points.last().map(|point| point.value.float())
}

pub(super) fn present_over_time(_: &RangeInput<'_, '_>) -> Option<f64> {
    Some(1.0)
}

pub(super) fn stdvar_over_time(input: &RangeInput<'_, '_>) -> Option<f64> {
    Some(variance_over_time(values(input).into_iter()))
}

pub(super) fn stddev_over_time(input: &RangeInput<'_, '_>) -> Option<f64> {
    stdvar_over_time(input).map(f64::sqrt)
}

pub(super) fn quantile_over_time(input: &RangeInput<'_, '_>) -> Option<f64> {
    let q = input.scalars[0];
    if !(0.0..=1.0).contains(&q) {
        let message = format!("quantile value should be between 0 and 1, got {}", sim_wire::format_float(q));
        input.call.evaluator.warn(&message, input.call.args[0].span);
    }
    Some(quantile(q, values(input)))
}

pub(super) fn mad_over_time(input: &RangeInput<'_, '_>) -> Option<f64> {
    let all = values(input);
    let median = quantile(0.5, all.clone());
    Some(quantile(0.5, all.into_iter().map(|value| (value - median).abs()).collect()))
}

pub(super) fn double_exponential_smoothing(input: &RangeInput<'_, '_>) -> Option<f64> {
    let (smoothing, trend) = (input.scalars[0], input.scalars[1]);
    let points = values(input);
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
    Some(current)
}
