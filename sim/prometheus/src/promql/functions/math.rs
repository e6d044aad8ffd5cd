//! Sums, means and quantiles as Prometheus computes them.

/// A Kahan sum with Neumaier's correction.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum {
    sum: f64,
    correction: f64,
}

impl Sum {
    pub fn of(sum: f64, correction: f64) -> Self {
        Self { sum, correction }
    }

    #[must_use]
    pub fn add(self, value: f64) -> Self {
        let total = self.sum + value;
        let correction = if total.is_infinite() {
            0.0
        } else if self.sum.abs() >= value.abs() {
            self.correction + ((self.sum - total) + value)
        } else {
            self.correction + ((value - total) + self.sum)
        };
        Self { sum: total, correction }
    }

    pub fn total(self) -> f64 {
        self.sum + self.correction
    }
}

/// The mean; falls back to an incremental mean where the sum would overflow.
pub(crate) fn mean(values: &[f64]) -> f64 {
    let mut sum = Sum::default();
    for (index, value) in values.iter().enumerate() {
        let next = sum.add(*value);
        if index > 0 && next.sum.is_infinite() {
            return incremental_mean(sum, index as f64, &values[index..]);
        }
        sum = next;
    }
    let count = values.len() as f64;
    sum.sum / count + sum.correction / count
}

fn incremental_mean(sum: Sum, seen: f64, rest: &[f64]) -> f64 {
    let mut mean = Sum::of(sum.sum / seen, sum.correction / seen);
    let mut count = seen;
    for value in rest {
        count += 1.0;
        let share = (count - 1.0) / count;
        mean = Sum::of(share * mean.sum, share * mean.correction).add(value / count);
    }
    mean.total()
}

/// The quantile by linear interpolation; NaN sorts first.
pub(crate) fn quantile(q: f64, mut values: Vec<f64>) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) => std::cmp::Ordering::Less,
        (false, true) => std::cmp::Ordering::Greater,
        (false, false) => a.total_cmp(b),
    });
    let last = values.len() - 1;
    let rank = q * last as f64;
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(last);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}

/// The variance over time, by Welford with Kahan sums.
pub(crate) fn variance_over_time(values: impl Iterator<Item = f64>) -> f64 {
    let mut count = 0.0;
    let mut mean = Sum::default();
    let mut squares = Sum::default();
    for value in values {
        count += 1.0;
        let delta = value - mean.total();
        mean = mean.add(delta / count);
        squares = squares.add(delta * (value - mean.total()));
    }
    squares.total() / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_keeps_what_a_plain_sum_loses() {
        let sum = [1.0, 1e100, 1.0, -1e100].into_iter().fold(Sum::default(), Sum::add);
        assert_eq!(sum.total(), 2.0);
    }

    #[test]
    fn a_mean_does_not_overflow() {
        assert_eq!(mean(&[f64::MAX, f64::MAX]), f64::MAX);
        assert_eq!(mean(&[1.0, 2.0, 6.0]), 3.0);
    }

    #[test]
    fn a_quantile_interpolates() {
        assert_eq!(quantile(0.5, vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(quantile(1.0, vec![1.0]), 1.0);
        assert_eq!(quantile(2.0, vec![1.0]), f64::INFINITY);
    }
}
