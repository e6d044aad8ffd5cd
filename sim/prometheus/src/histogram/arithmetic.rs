//! Sums, differences, multiples, coarser schemas, and whether a counter was reset.

use super::{Buckets, CounterReset, Histogram, exponential_bound};

/// Why two histograms cannot be added or subtracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incompatible {
    /// One has exponential buckets, the other custom ones.
    Schema,
    /// Both have custom buckets, with different bounds.
    Bounds,
}

impl Histogram {
    /// Every count and the sum, times `factor`.
    pub fn scale(&mut self, factor: f64) {
        self.for_each(|value| *value *= factor);
    }

    /// Every count and the sum, divided by `divisor`; a division by zero leaves no bucket.
    pub fn divide(&mut self, divisor: f64) {
        self.for_each(|value| *value /= divisor);
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
        }
    }

    fn for_each(&mut self, mut change: impl FnMut(&mut f64)) {
        change(&mut self.zero_count);
        change(&mut self.count);
        change(&mut self.sum);
        self.positive.iter_mut().chain(&mut self.negative).for_each(|(_, count)| change(count));
    }

    /// Drops empty buckets.
    pub fn compact(&mut self) {
        self.positive.retain(|(_, count)| *count != 0.0);
        self.negative.retain(|(_, count)| *count != 0.0);
    }

    /// Adds another histogram; the coarser schema and the wider zero bucket win.
    ///
    /// # Errors
    /// [`Incompatible`], and `self` is as before.
    pub fn add(&mut self, other: &Self) -> Result<(), Incompatible> {
        self.check(other)?;
        self.reset = match (self.reset, other.reset) {
            (a, b) if a == b => a,
            (CounterReset::Gauge, _) | (_, CounterReset::Gauge) => CounterReset::Gauge,
            _ => CounterReset::Unknown,
        };
        self.combine(other, 1.0);
        Ok(())
    }

    /// Subtracts another histogram, else like [`Histogram::add`].
    ///
    /// # Errors
    /// [`Incompatible`], and `self` is as before.
    pub fn subtract(&mut self, other: &Self) -> Result<(), Incompatible> {
        self.check(other)?;
        self.combine(other, -1.0);
        Ok(())
    }

    /// The mean of `count` histograms, of which `self` is the mean of all but `next`: kept up so that nothing overflows.
    ///
    /// # Errors
    /// [`Incompatible`].
    pub fn include_in_mean(&mut self, next: &Self, count: f64) -> Result<(), Incompatible> {
        let (mut change, mut old) = (next.clone(), self.clone());
        change.divide(count);
        old.divide(count);
        change.subtract(&old)?;
        self.add(&change)
    }

    fn check(&self, other: &Self) -> Result<(), Incompatible> {
        if self.is_custom() != other.is_custom() {
            return Err(Incompatible::Schema);
        }
        if self.is_custom() && self.bounds != other.bounds {
            return Err(Incompatible::Bounds);
        }
        Ok(())
    }

    fn combine(&mut self, other: &Self, sign: f64) {
        if !self.is_custom() {
            let zero = self.reconcile_zero(other);
            self.zero_count += sign * zero;
        }
        self.count += sign * other.count;
        self.sum += sign * other.sum;
        if self.is_custom() {
            merge(&mut self.positive, other.positive.iter().copied(), sign);
            return;
        }
        let schema = self.schema.min(other.schema);
        self.reduce(schema);
        let threshold = self.zero_threshold;
        for (own, others) in [(&mut self.positive, &other.positive), (&mut self.negative, &other.negative)] {
            let coarse = reduced(others, other.schema, schema);
            // What lies below the threshold is in the zero count already.
            let above = coarse.into_iter().skip_while(|(index, _)| exponential_bound(*index, schema) <= threshold);
            merge(own, above, sign);
        }
    }

    /// The same observations at a coarser schema; a finer one changes nothing.
    pub fn reduce(&mut self, schema: i32) {
        if schema < self.schema && !self.is_custom() {
            self.positive = reduced(&self.positive, self.schema, schema);
            self.negative = reduced(&self.negative, self.schema, schema);
            self.schema = schema;
        }
    }

    /// Widens both zero buckets until they agree; gives the other's count.
    fn reconcile_zero(&mut self, other: &Self) -> f64 {
        let (mut zero, mut threshold) = (other.zero_count, other.zero_threshold);
        while threshold != self.zero_threshold {
            if self.zero_threshold > threshold {
                (zero, threshold) = other.zero_count_within(self.zero_threshold);
            }
            if threshold > self.zero_threshold {
                (self.zero_count, self.zero_threshold) = self.zero_count_within(threshold);
                self.trim_zero();
            }
            if threshold.is_nan() || self.zero_threshold.is_nan() {
                break;
            }
        }
        zero
    }

    /// What the zero bucket would count if it were this wide, and how wide it must be so as not to cut a bucket.
    fn zero_count_within(&self, threshold: f64) -> (f64, f64) {
        let mut threshold = threshold;
        if threshold == self.zero_threshold {
            return (self.zero_count, threshold);
        }
        'wider: loop {
            let mut count = self.zero_count;
            for (buckets, below) in [(&self.positive, false), (&self.negative, true)] {
                for (index, inside) in buckets {
                    if exponential_bound(index - 1, self.schema) >= threshold {
                        break;
                    }
                    count += inside;
                    let upper = exponential_bound(*index, self.schema);
                    if upper > threshold {
                        if *inside != 0.0 {
                            threshold = upper;
                            // Those above zero were looked at with the narrower threshold.
                            if below {
                                continue 'wider;
                            }
                        }
                        break;
                    }
                }
            }
            return (count, threshold);
        }
    }

    fn trim_zero(&mut self) {
        let (schema, threshold) = (self.schema, self.zero_threshold);
        for buckets in [&mut self.positive, &mut self.negative] {
            buckets.retain(|(index, count)| exponential_bound(index - 1, schema) >= threshold && *count != 0.0);
        }
    }

    /// Whether the counter was reset between `previous` and this.
    pub fn was_reset(&self, previous: &Self) -> bool {
        match self.reset {
            CounterReset::Reset => return true,
            CounterReset::NotReset => return false,
            CounterReset::Unknown | CounterReset::Gauge => {}
        }
        if self.count < previous.count || self.check(previous).is_err() {
            return true;
        }
        if self.is_custom() {
            return lost(&self.positive, &previous.positive);
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero, threshold) = previous.zero_count_within(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero_count < zero {
            return true;
        }
        let outside = |buckets: &Buckets, from: i32| -> Buckets {
            let coarse = reduced(buckets, from, self.schema);
            coarse
                .into_iter()
                .skip_while(|(index, _)| {
                    self.zero_threshold != 0.0 && exponential_bound(*index, self.schema) <= self.zero_threshold
                })
                .collect()
        };
        let lost_outside =
            |now: &Buckets, before: &Buckets| lost(&outside(now, self.schema), &outside(before, previous.schema));
        lost_outside(&self.positive, &previous.positive) || lost_outside(&self.negative, &previous.negative)
    }
}

/// Whether some bucket of `before` counts less in `now`.
fn lost(now: &Buckets, before: &Buckets) -> bool {
    before.iter().any(|(index, count)| {
        let found = now.binary_search_by_key(index, |(i, _)| *i).ok().map(|at| now[at].1);
        match found {
            Some(current) => current < *count,
            None => *count != 0.0,
        }
    })
}

fn reduced(buckets: &Buckets, from: i32, to: i32) -> Buckets {
    if from <= to {
        return buckets.clone();
    }
    let mut out: Buckets = Vec::with_capacity(buckets.len());
    for (index, count) in buckets {
        let index = ((index - 1) >> (from - to)) + 1;
        match out.last_mut() {
            Some((last, sum)) if *last == index => *sum += count,
            _ => out.push((index, *count)),
        }
    }
    out
}

fn merge(own: &mut Buckets, others: impl Iterator<Item = (i32, f64)>, sign: f64) {
    for (index, count) in others {
        match own.binary_search_by_key(&index, |(i, _)| *i) {
            Ok(at) => own[at].1 += sign * count,
            Err(at) => own.insert(at, (index, sign * count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn histogram(schema: i32, positive: &[(i32, f64)]) -> Histogram {
        let count = positive.iter().map(|(_, count)| count).sum();
        Histogram { schema, count, sum: count, positive: positive.to_vec(), ..Histogram::default() }
    }

    #[test]
    fn a_sum_has_the_coarser_schema() {
        let mut sum = histogram(1, &[(1, 1.0), (2, 2.0), (3, 4.0)]);
        sum.add(&histogram(0, &[(1, 10.0)])).unwrap();
        assert_eq!((sum.schema, sum.positive), (0, vec![(1, 13.0), (2, 4.0)]));
    }

    #[test]
    fn a_wider_zero_bucket_swallows_buckets() {
        let mut sum = histogram(0, &[(0, 1.0), (1, 2.0)]);
        let other = Histogram { zero_threshold: 0.75, zero_count: 5.0, count: 5.0, ..Histogram::default() };
        sum.add(&other).unwrap();
        // 0.75 lies inside (0.5,1]: the zero bucket grows to 1.
        assert_eq!((sum.zero_threshold, sum.zero_count, sum.positive), (1.0, 6.0, vec![(1, 2.0)]));
    }

    #[test]
    fn resets_are_seen_in_buckets() {
        let before = histogram(0, &[(0, 2.0), (1, 2.0)]);
        assert!(!histogram(0, &[(0, 2.0), (1, 3.0)]).was_reset(&before));
        assert!(histogram(0, &[(0, 1.0), (1, 4.0)]).was_reset(&before));
        assert!(histogram(0, &[(1, 5.0)]).was_reset(&before));
        assert!(histogram(1, &[(0, 5.0)]).was_reset(&before));
    }

    #[test]
    fn different_bounds_do_not_add() {
        let custom = |bounds: &[f64]| Histogram {
            schema: super::super::CUSTOM_SCHEMA,
            bounds: bounds.to_vec(),
            ..Histogram::default()
        };
        assert_eq!(custom(&[1.0]).add(&custom(&[2.0])), Err(Incompatible::Bounds));
        assert_eq!(custom(&[1.0]).add(&histogram(0, &[])), Err(Incompatible::Schema));
    }

    fn any() -> impl Strategy<Value = Histogram> {
        let buckets = || proptest::collection::btree_map(-8..8_i32, 1..9_u8, 0..5);
        (-2..4_i32, buckets(), buckets(), 0..4_u8, prop_oneof![Just(0.0), Just(0.001), Just(0.6)]).prop_map(
            |(schema, positive, negative, zero, zero_threshold)| {
                let floats = |map: std::collections::BTreeMap<i32, u8>| -> Buckets {
                    map.into_iter().map(|(i, c)| (i, f64::from(c))).collect()
                };
                let (mut positive, mut negative) = (floats(positive), floats(negative));
                // What a zero bucket covers is counted there.
                for buckets in [&mut positive, &mut negative] {
                    buckets.retain(|(index, _)| exponential_bound(index - 1, schema) >= zero_threshold);
                }
                let zero_count = f64::from(zero);
                let count = positive.iter().chain(&negative).map(|(_, c)| c).sum::<f64>() + zero_count;
                Histogram {
                    schema,
                    zero_threshold,
                    zero_count,
                    count,
                    sum: count,
                    positive,
                    negative,
                    ..Histogram::default()
                }
            },
        )
    }

    /// Where a wider zero bucket and a coarser schema meet, Prometheus sees one bucket on both sides, and so does this.
    fn plain(a: &Histogram, b: &Histogram) -> bool {
        a.zero_threshold == b.zero_threshold || a.schema == b.schema
    }

    proptest! {
        #[test]
        fn sums_commute_and_lose_no_observation(a in any(), b in any()) {
            prop_assume!(plain(&a, &b));
            let (mut left, mut right) = (a.clone(), b.clone());
            left.add(&b).unwrap();
            right.add(&a).unwrap();
            left.compact();
            right.compact();
            prop_assert!(left.same(&right), "{left} {right}");
            let inside: f64 = left.buckets().iter().map(|bucket| bucket.count).sum();
            prop_assert_eq!(inside, a.count + b.count);
        }

        #[test]
        fn a_difference_undoes_a_sum(a in any(), b in any()) {
            prop_assume!(plain(&a, &b));
            let mut sum = a.clone();
            sum.add(&b).unwrap();
            sum.subtract(&b).unwrap();
            prop_assert_eq!(sum.count, a.count);
            let inside: f64 = sum.buckets().iter().map(|bucket| bucket.count).sum();
            prop_assert_eq!(inside, a.count);
        }

        #[test]
        fn growth_is_no_reset(a in any(), b in any()) {
            prop_assume!(plain(&a, &b));
            let mut sum = a.clone();
            sum.add(&b).unwrap();
            sum.compact();
            prop_assert!(!sum.was_reset(&a));
        }

        #[test]
        fn quantiles_rise(a in any(), p in 0.0..1.0_f64, q in 0.0..1.0_f64) {
            prop_assume!(a.count > 0.0);
            let (low, high) = (a.quantile(p.min(q)).0, a.quantile(p.max(q)).0);
            prop_assert!(low <= high + 1e-9, "{low} {high} in {a}");
            let share = a.fraction(f64::NEG_INFINITY, high).0;
            prop_assert!((0.0..=1.0 + 1e-9).contains(&share));
        }
    }
}
