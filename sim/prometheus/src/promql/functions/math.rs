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

/// From here on `x * x` is of no use: it loses everything or overflows.
const LARGE: f64 = 268_435_456.0;
const SMALL: f64 = 1.0 / LARGE;

/// The inverse hyperbolic sine by FreeBSD's method, as Go has it: Rust's overflows for large arguments.
pub(crate) fn asinh(x: f64) -> f64 {
    if x.is_nan() || x.is_infinite() {
        return x;
    }
    let a = x.abs();
    let value = if a > LARGE {
        a.ln() + std::f64::consts::LN_2
    } else if a > 2.0 {
        (2.0 * a + 1.0 / ((a * a + 1.0).sqrt() + a)).ln()
    } else if a < SMALL {
        a
    } else {
        (a + a * a / (1.0 + (1.0 + a * a).sqrt())).ln_1p()
    };
    if x < 0.0 { -value } else { value }
}

/// The inverse hyperbolic cosine, likewise.
pub(crate) fn acosh(x: f64) -> f64 {
    if x < 1.0 || x.is_nan() {
        f64::NAN
    } else if x == 1.0 {
        0.0
    } else if x >= LARGE {
        x.ln() + std::f64::consts::LN_2
    } else if x > 2.0 {
        (2.0 * x - 1.0 / (x + (x * x - 1.0).sqrt())).ln()
    } else {
        let t = x - 1.0;
        (t + (2.0 * t + t * t).sqrt()).ln_1p()
    }
}

/// The inverse hyperbolic tangent, likewise.
pub(crate) fn atanh(x: f64) -> f64 {
    if x.is_nan() || !(-1.0..=1.0).contains(&x) {
        return f64::NAN;
    }
    let a = x.abs();
    let value = if a == 1.0 {
        f64::INFINITY
    } else if a < SMALL {
        a
    } else if a < 0.5 {
        let twice = a + a;
        0.5 * (twice + twice * a / (1.0 - a)).ln_1p()
    } else {
        0.5 * ((a + a) / (1.0 - a)).ln_1p()
    };
    if x < 0.0 { -value } else { value }
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
    fn inverse_hyperbolic_functions_hold_for_large_arguments() {
        assert_eq!(asinh(-1e300), -(1e300_f64.ln() + std::f64::consts::LN_2));
        assert_eq!(acosh(1.7e308), 710.419_984_073_788_1);
        assert_eq!((acosh(1.0), atanh(1.0), asinh(0.0)), (0.0, f64::INFINITY, 0.0));
        for x in [-3.0, -0.7, -0.1, 0.3, 0.6, 1.5, 20.0] {
            assert!((asinh(x) - x.asinh()).abs() < 1e-14);
            assert!(x < 1.0 || (acosh(x) - x.acosh()).abs() < 1e-14);
            assert!(x.abs() > 1.0 || (atanh(x) - x.atanh()).abs() < 1e-14);
        }
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
