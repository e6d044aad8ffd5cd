//! Quantiles and shares of a native histogram.

use super::{Bucket, Histogram};

/// What a reader of the result should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remark {
    /// Observations that are not numbers make the result none.
    NanResult,
    /// Observations that are not numbers shift it upwards.
    NanSkew,
    /// Observations that are not numbers belong to no share.
    NanIgnored,
}

/// The share of the bucket below `value`, on the scale of the bucket's bounds.
fn exponential_share(bucket: &Bucket, value: f64) -> f64 {
    let (lower, upper, value_log) = (bucket.lower.abs().log2(), bucket.upper.abs().log2(), value.abs().log2());
    if value > 0.0 { (value_log - lower) / (upper - lower) } else { 1.0 - (value_log - upper) / (lower - upper) }
}

impl Histogram {
    /// The `q`-quantile: linear inside custom buckets and the zero bucket, exponential elsewhere.
    pub fn quantile(&self, q: f64) -> (f64, Option<Remark>) {
        if q < 0.0 {
            return (f64::NEG_INFINITY, None);
        }
        if q > 1.0 {
            return (f64::INFINITY, None);
        }
        if self.count == 0.0 || q.is_nan() {
            return (f64::NAN, None);
        }
        // From the nearer end; what is not a number is in no bucket, so that then only the lower end is firm.
        let forward = self.sum.is_nan() || q < 0.5;
        let mut buckets = self.buckets();
        if !forward {
            buckets.reverse();
        }
        let mut rank = if forward { q * self.count } else { (1.0 - q) * self.count };
        let mut count = 0.0;
        let mut at = 0;
        let Some(mut bucket) = buckets.first().copied() else {
            return (if self.sum.is_nan() { f64::NAN } else { 0.0 }, self.sum.is_nan().then_some(Remark::NanResult));
        };
        for (index, one) in buckets.iter().enumerate() {
            bucket = *one;
            at = index;
            count += one.count;
            if one.count != 0.0 && count >= rank {
                break;
            }
        }
        if self.is_custom() {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return (bucket.upper, None);
                }
                bucket.lower = 0.0;
            } else if bucket.upper == f64::INFINITY {
                return (bucket.lower, None);
            }
        } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
            // Without buckets on one side, zero is the end.
            if self.negative.is_empty() && !self.positive.is_empty() {
                bucket.lower = 0.0;
            } else if self.positive.is_empty() && !self.negative.is_empty() {
                bucket.upper = 0.0;
            }
        }
        count = count.min(self.count);
        if count < rank {
            return if self.sum.is_nan() { (f64::NAN, Some(Remark::NanResult)) } else { (bucket.upper, None) };
        }
        if forward {
            rank -= count - bucket.count;
        } else {
            rank = count - rank;
        }
        let mut remark = None;
        if self.sum.is_nan() {
            let rest = &buckets[at + 1..];
            // Prometheus 3.5 interpolates in the last bucket it has looked at, which is not the one of the rank.
            bucket = rest.last().copied().unwrap_or(bucket);
            if count + rest.iter().map(|bucket| bucket.count).sum::<f64>() < self.count {
                remark = Some(Remark::NanSkew);
            }
        }
        let share = rank / bucket.count;
        if self.is_custom() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
            return (bucket.lower + (bucket.upper - bucket.lower) * share, remark);
        }
        let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
        let value = if bucket.lower > 0.0 {
            (lower + (upper - lower) * share).exp2()
        } else {
            -(upper + (lower - upper) * (1.0 - share)).exp2()
        };
        (value, remark)
    }

    /// The share of observations between two bounds.
    pub fn fraction(&self, lower: f64, upper: f64) -> (f64, Option<Remark>) {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return (f64::NAN, None);
        }
        if lower >= upper {
            return (0.0, None);
        }
        let (mut rank, mut below, mut above) = (0.0, None, None);
        let buckets = self.buckets();
        for bucket in &buckets {
            let mut bucket = *bucket;
            let zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
            if zero {
                if self.negative.is_empty() && !self.positive.is_empty() {
                    bucket.lower = 0.0;
                } else if self.positive.is_empty() && !self.negative.is_empty() {
                    bucket.upper = 0.0;
                }
            }
            let rank_of = |value: f64| {
                if bucket.lower >= value {
                    return Some(rank);
                }
                if bucket.upper <= value {
                    return None;
                }
                Some(if self.is_custom() || zero {
                    rank + bucket.count * (value - bucket.lower) / (bucket.upper - bucket.lower)
                } else {
                    rank + bucket.count * exponential_share(&bucket, value)
                })
            };
            below = below.or_else(|| rank_of(lower));
            above = above.or_else(|| rank_of(upper));
            if below.is_some() && above.is_some() {
                break;
            }
            rank += bucket.count;
        }
        // What is not a number lies in no share.
        let inside = if self.sum.is_nan() { buckets.iter().map(|bucket| bucket.count).sum() } else { self.count };
        let remark = (inside < self.count).then_some(Remark::NanIgnored);
        let end = |rank: Option<f64>| rank.filter(|rank| *rank <= inside).unwrap_or(inside);
        ((end(above) - end(below)) / self.count, remark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::CUSTOM_SCHEMA;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn exponential_buckets_are_interpolated_on_their_scale() {
        let h = Histogram { schema: 0, count: 2.0, sum: 6.0, positive: vec![(3, 2.0)], ..Histogram::default() };
        close(h.quantile(0.5).0, 32_f64.sqrt());
        close(h.fraction(4.0, 32_f64.sqrt()).0, 0.5);
    }

    #[test]
    fn custom_buckets_are_interpolated_linearly() {
        let h = Histogram {
            schema: CUSTOM_SCHEMA,
            count: 4.0,
            sum: 4.0,
            bounds: vec![2.0, 4.0],
            positive: vec![(0, 2.0), (1, 2.0)],
            ..Histogram::default()
        };
        close(h.quantile(0.25).0, 1.0);
        close(h.quantile(0.75).0, 3.0);
    }

    #[test]
    fn observations_that_are_no_numbers_are_told() {
        let h = Histogram { schema: 0, count: 4.0, sum: f64::NAN, positive: vec![(1, 3.0)], ..Histogram::default() };
        assert!(h.quantile(0.9).0.is_nan());
        assert_eq!(h.quantile(0.9).1, Some(Remark::NanResult));
        assert_eq!(h.quantile(0.1).1, Some(Remark::NanSkew));
    }
}
