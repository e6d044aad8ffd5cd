//! Native histograms: sparse buckets whose bounds follow from a schema.
//!
//! A histogram of schema `n` (−4 to 8) has the bounds `2^(i·2^-n)`; positive bucket `i` counts what lies in
//! `(bound(i-1), bound(i)]`, negative buckets mirror them, and the zero bucket counts what lies within the zero threshold.
//! Schema −53 has the bounds that [`Histogram::bounds`] lists ("custom buckets", what a classic histogram becomes).
//! Counts are floats, since PromQL divides them. Source: Prometheus's documentation of native histograms.

mod arithmetic;
mod quantile;
mod text;

pub use arithmetic::Incompatible;
pub use quantile::Remark;
pub(crate) use text::go_g;
pub use text::{parse_notation, progression};

/// The schema of histograms with bounds of their own.
pub const CUSTOM_SCHEMA: i32 = -53;
/// The coarsest and the finest schema of exponential buckets.
pub const EXPONENTIAL_SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

/// What is known of a reset between a histogram and the one before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CounterReset {
    /// Nothing.
    #[default]
    Unknown,
    /// The counter started anew.
    Reset,
    /// It did not.
    NotReset,
    /// It is no counter.
    Gauge,
}

/// Counts by index, in order of the index; an empty bucket may be listed.
pub type Buckets = Vec<(i32, f64)>;

/// A native histogram.
///
/// ```
/// use sim_prometheus::histogram::Histogram;
/// let h = Histogram { schema: 0, count: 4.0, sum: 5.0, positive: vec![(0, 1.0), (1, 3.0)], ..Histogram::default() };
/// assert_eq!(h.to_string(), "{count:4, sum:5, (0.5,1]:1, (1,2]:3}");
/// assert_eq!(h.quantile(1.0).0, 2.0);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// What is known of a reset before it.
    pub reset: CounterReset,
    /// Resolution.
    pub schema: i32,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// Observations.
    pub count: f64,
    /// Their sum; the stale marker stands here, too.
    pub sum: f64,
    /// Buckets above zero (all buckets of the custom schema).
    pub positive: Buckets,
    /// Buckets below zero, by their absolute value.
    pub negative: Buckets,
    /// Upper bounds of the custom schema, rising, without the infinite one.
    pub bounds: Vec<f64>,
}

/// A bucket with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether the lower bound belongs to it.
    pub lower_inclusive: bool,
    /// Whether the upper bound belongs to it.
    pub upper_inclusive: bool,
    /// Observations.
    pub count: f64,
}

/// What the bits of a bound's place between two powers of two stand for, the highest first: 2^(1/4) down to 2^(1/256). The bit
/// before them, the root of two, halves to 0.7071067811865475 in Prometheus's table of bounds, one unit below the nearest float.
const FACTORS: [f64; 7] = [
    1.189_207_115_002_721,
    1.090_507_732_665_257_7,
    1.044_273_782_427_413_8,
    1.021_897_148_654_116_6,
    1.010_889_286_051_700_5,
    1.005_429_901_112_802_7,
    1.002_711_275_050_202_5,
];

/// The upper bound of an exponential bucket, to the last bit that of Prometheus.
pub(super) fn exponential_bound(index: i32, schema: i32) -> f64 {
    // The last regular bucket ends at the largest float; only the one after it is infinite.
    let last = if schema < 0 { 1024 >> -schema } else { 1024 << schema };
    if index == last {
        return f64::MAX;
    }
    if schema < 0 {
        return power_of_two(i64::from(index) << -schema);
    }
    let width = 1 << schema;
    let place = index.rem_euclid(width) << (8 - schema);
    let mut share = if place & 128 == 0 { 0.5 } else { 0.707_106_781_186_547_5 };
    for (bit, factor) in FACTORS.iter().enumerate() {
        if place & (64 >> bit) != 0 {
            share *= factor;
        }
    }
    scaled(share, i64::from(index.div_euclid(width)) + 1)
}

/// `value` times a power of two, exact unless the result is subnormal, as C's `ldexp`.
fn scaled(value: f64, exponent: i64) -> f64 {
    let half = exponent / 2;
    value * power_of_two(half) * power_of_two(exponent - half)
}

fn power_of_two(exponent: i64) -> f64 {
    2_f64.powi(exponent.clamp(-2000, 2000) as i32)
}

impl Histogram {
    /// Bytes on the heap, its own counted.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + (self.positive.capacity() + self.negative.capacity()) * size_of::<(i32, f64)>()
            + self.bounds.capacity() * size_of::<f64>()
    }

    /// Whether the bounds are listed.
    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }

    /// Whether this marks the end of a series.
    pub fn is_stale(&self) -> bool {
        sim_wire::is_stale(self.sum)
    }

    fn positive_bucket(&self, index: i32, count: f64) -> Bucket {
        if self.is_custom() {
            let bound = |i: i32| match usize::try_from(i) {
                Err(_) => f64::NEG_INFINITY,
                Ok(i) => self.bounds.get(i).copied().unwrap_or(f64::INFINITY),
            };
            let (lower, upper) = (bound(index - 1), bound(index));
            return Bucket { lower, upper, lower_inclusive: index == 0, upper_inclusive: true, count };
        }
        let (lower, upper) = (exponential_bound(index - 1, self.schema), exponential_bound(index, self.schema));
        Bucket { lower, upper, lower_inclusive: false, upper_inclusive: true, count }
    }

    fn negative_bucket(&self, index: i32, count: f64) -> Bucket {
        let mirrored = self.positive_bucket(index, count);
        Bucket { lower: -mirrored.upper, upper: -mirrored.lower, lower_inclusive: true, upper_inclusive: false, count }
    }

    /// The zero bucket.
    pub fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        }
    }

    /// All buckets that are listed, from the lowest to the highest, the zero bucket only if it counts anything. A bucket that
    /// overlaps with the zero bucket ends where that begins.
    pub fn buckets(&self) -> Vec<Bucket> {
        let clip = |mut bucket: Bucket| {
            if bucket.upper < 0.0 && bucket.upper > -self.zero_threshold {
                bucket.upper = -self.zero_threshold;
            } else if bucket.lower > 0.0 && bucket.lower < self.zero_threshold {
                bucket.lower = self.zero_threshold;
            }
            bucket
        };
        let below = self.negative.iter().rev().map(|(index, count)| clip(self.negative_bucket(*index, *count)));
        let zero = (self.zero_count > 0.0).then(|| self.zero_bucket());
        let above = self.positive.iter().map(|(index, count)| clip(self.positive_bucket(*index, *count)));
        below.chain(zero).chain(above).collect()
    }

    /// Whether layout and values are the same, bit by bit.
    pub fn same(&self, other: &Self) -> bool {
        let bits = |a: f64, b: f64| a.to_bits() == b.to_bits();
        let buckets =
            |a: &Buckets, b: &Buckets| a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.0 == y.0 && bits(x.1, y.1));
        self.schema == other.schema
            && bits(self.count, other.count)
            && bits(self.sum, other.sum)
            && self.zero_threshold == other.zero_threshold
            && bits(self.zero_count, other.zero_count)
            && (!self.is_custom() || self.bounds == other.bounds)
            && buckets(&self.positive, &other.positive)
            && buckets(&self.negative, &other.negative)
    }

    /// Variance of the observations, each taken for the middle of its bucket.
    pub fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let mut sum = crate::promql::math::Sum::default();
        for bucket in self.buckets().iter().filter(|bucket| bucket.count != 0.0) {
            let value = if self.is_custom() {
                f64::midpoint(bucket.upper, bucket.lower)
            } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                0.0
            } else {
                (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
            };
            let delta = value - mean;
            sum = sum.add(bucket.count * delta * delta);
        }
        sum.total() / self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_follow_from_the_schema() {
        assert_eq!(exponential_bound(0, 0), 1.0);
        assert_eq!(exponential_bound(3, 0), 8.0);
        assert_eq!(exponential_bound(-1, 0), 0.5);
        assert_eq!(exponential_bound(1, -1), 4.0);
        assert_eq!(exponential_bound(2, 1), 2.0);
        assert!((exponential_bound(1, 1) - 2_f64.sqrt()).abs() < 1e-15);
        assert!((exponential_bound(-1, 1) - 0.5_f64.sqrt()).abs() < 1e-15);
        for schema in EXPONENTIAL_SCHEMAS {
            let last = if schema < 0 { 1024 >> -schema } else { 1024 << schema };
            assert!(exponential_bound(last - 1, schema).is_finite());
            assert_eq!(exponential_bound(last, schema), f64::MAX);
            assert_eq!(exponential_bound(last + 1, schema), f64::INFINITY);
        }
    }

    #[test]
    fn buckets_come_in_order_and_end_at_the_zero_bucket() {
        let h = Histogram {
            schema: 0,
            zero_threshold: 0.75,
            zero_count: 2.0,
            count: 7.0,
            positive: vec![(0, 1.0), (1, 3.0)],
            negative: vec![(0, 1.0)],
            ..Histogram::default()
        };
        let bounds: Vec<(f64, f64)> = h.buckets().iter().map(|b| (b.lower, b.upper)).collect();
        assert_eq!(bounds, [(-1.0, -0.75), (-0.75, 0.75), (0.75, 1.0), (1.0, 2.0)]);
    }

    #[test]
    fn custom_bounds_begin_and_end_at_infinity() {
        let h = Histogram {
            schema: CUSTOM_SCHEMA,
            bounds: vec![1.0, 2.0],
            positive: vec![(0, 1.0), (2, 1.0)],
            ..Histogram::default()
        };
        let bounds: Vec<(f64, f64)> = h.buckets().iter().map(|b| (b.lower, b.upper)).collect();
        assert_eq!(bounds, [(f64::NEG_INFINITY, 1.0), (2.0, f64::INFINITY)]);
    }
}
