//! Appending a batch that is taken as one, in or out of order, as an appender of Prometheus's head block does.

use super::{AppendError, Point, SeriesId, Store, Value, duplicate};
use crate::histogram::Histogram;
use sim_wire::Labels;
use sim_wire::exposition::Exemplar;

/// Half of the head block's two hours: without an out-of-order window nothing older than this before the newest sample is taken.
const BOUNDS_MS: i64 = 60 * 60 * 1000;

/// Collects samples and exemplars; nothing is in the store before [`Appender::commit`], and nothing ever if it is dropped.
///
/// Samples are checked against what the store held when the appender was made. Contradictions within the batch are settled at
/// the commit: the first of two samples of one time stays, and they are counted.
///
/// ```
/// use sim_prometheus::store::{Appender, Point, Store};
/// let mut store = Store::new();
/// let up = sim_wire::Labels::from_pairs([("__name__", "up")]);
/// let mut appender = Appender::new(&mut store, 60_000);
/// appender.append(&up, Point::float(90_000, 1.0)).unwrap();
/// appender.commit();
/// let mut late = Appender::new(&mut store, 60_000);
/// late.append(&up, Point::float(40_000, 0.0)).unwrap();
/// assert_eq!(late.append(&up, Point::float(20_000, 0.0)).unwrap_err().to_string(), "too old sample");
/// late.commit();
/// assert_eq!(store.all()[0].points().len(), 2);
/// ```
#[derive(Debug)]
pub struct Appender<'a> {
    store: &'a mut Store,
    out_of_order_ms: i64,
    newest_ms: Option<i64>,
    samples: Vec<(SeriesId, Point)>,
    exemplars: Vec<(SeriesId, Exemplar)>,
}

impl<'a> Appender<'a> {
    /// An appender that takes what is up to `out_of_order_ms` older than the store's newest sample; 0 takes nothing out of order.
    pub fn new(store: &'a mut Store, out_of_order_ms: i64) -> Self {
        let newest_ms = store.newest_ms;
        Self { store, out_of_order_ms, newest_ms, samples: Vec::new(), exemplars: Vec::new() }
    }

    /// Takes a sample.
    ///
    /// # Errors
    /// See [`AppendError`]; it is counted, and the batch goes on without it.
    pub fn append(&mut self, labels: &Labels, point: Point) -> Result<(), AppendError> {
        if labels.is_empty() {
            return Err(AppendError::NoLabels);
        }
        let id = self.store.series_id(labels)?;
        self.append_to(id, point)
    }

    /// Takes a sample of a series whose labels are sorted by name, none of them empty or twice.
    ///
    /// # Errors
    /// As [`Appender::append`].
    pub(crate) fn append_sorted(&mut self, labels: &[(&str, &str)], point: Point) -> Result<(), AppendError> {
        if labels.is_empty() {
            return Err(AppendError::NoLabels);
        }
        let id = self.store.series_of_sorted(labels)?;
        self.append_to(id, point)
    }

    fn append_to(&mut self, id: SeriesId, point: Point) -> Result<(), AppendError> {
        // The first sample of an empty store says where time is.
        let newest_ms = *self.newest_ms.get_or_insert(point.t_ms);
        let point = self.stale_as_its_series(id, point);
        self.check(id, &point, newest_ms).inspect_err(|error| {
            let counts = &mut self.store.rejections;
            match error {
                AppendError::OutOfOrder => counts.out_of_order += 1,
                AppendError::OutOfBounds => counts.out_of_bounds += 1,
                AppendError::TooOld => counts.too_old += 1,
                _ => counts.duplicate += 1,
            }
        })?;
        self.samples.push((id, point));
        Ok(())
    }

    /// The stale marker of a series of histograms is a histogram.
    fn stale_as_its_series(&self, id: SeriesId, point: Point) -> Point {
        let after_histogram = self.store.get(id).last().is_some_and(|last| matches!(last.value, Value::Histogram(_)));
        match &point.value {
            Value::Float(sum) if point.is_stale() && after_histogram => {
                Point { t_ms: point.t_ms, value: Value::from(Histogram { sum: *sum, ..Histogram::default() }) }
            }
            _ => point,
        }
    }

    fn check(&self, id: SeriesId, point: &Point, newest_ms: i64) -> Result<(), AppendError> {
        let oldest_ms = newest_ms.saturating_sub(BOUNDS_MS);
        if point.t_ms >= oldest_ms {
            match self.store.get(id).last() {
                None => return Ok(()),
                Some(last) if point.t_ms > last.t_ms => return Ok(()),
                Some(last) if point.t_ms == last.t_ms => {
                    return if point.value.same(&last.value) { Ok(()) } else { Err(duplicate(point, last)) };
                }
                Some(_) => {}
            }
        }
        if self.out_of_order_ms > 0 {
            let taken = point.t_ms >= newest_ms.saturating_sub(self.out_of_order_ms);
            return if taken { Ok(()) } else { Err(AppendError::TooOld) };
        }
        Err(if point.t_ms < oldest_ms { AppendError::OutOfBounds } else { AppendError::OutOfOrder })
    }

    /// Takes an exemplar.
    ///
    /// # Errors
    /// For one that is late, repeated or too long.
    pub fn exemplar(&mut self, labels: &Labels, exemplar: Exemplar) -> Result<(), AppendError> {
        let id = self.store.series_id(labels)?;
        self.store.check_exemplar(labels, &exemplar)?;
        self.exemplars.push((id, exemplar));
        Ok(())
    }

    /// Counts a series whose labels are invalid.
    pub fn count_invalid(&mut self) {
        self.store.rejections.invalid_labels += 1;
    }

    /// Writes the batch.
    pub fn commit(self) {
        for (id, point) in self.samples {
            let newer = self.store.get(id).last().is_none_or(|last| point.t_ms >= last.t_ms);
            if newer || self.out_of_order_ms == 0 {
                // What contradicts a sample of the same batch is counted by the store.
                let _ = self.store.append_to(id, point);
            } else {
                self.store.insert(id, point);
            }
        }
        for (id, exemplar) in self.exemplars {
            let labels = self.store.get(id).labels.clone();
            let _ = self.store.append_exemplar(&labels, exemplar);
        }
    }
}

impl Store {
    /// Puts a point where its time belongs; one that is there stays.
    fn insert(&mut self, id: SeriesId, point: Point) {
        self.series[id.0 as usize].insert(point);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels() -> Labels {
        Labels::from_pairs([("__name__", "x")])
    }

    #[test]
    fn a_dropped_batch_leaves_no_sample() {
        let mut store = Store::new();
        let mut appender = Appender::new(&mut store, 0);
        appender.append(&labels(), Point::float(1, 1.0)).unwrap();
        drop(appender);
        assert!(store.all().is_empty());
    }

    #[test]
    fn what_is_too_old_is_told_apart() {
        let hour = 3_600_000;
        let mut store = Store::new();
        store.append(&labels(), Point::float(2 * hour, 1.0)).unwrap();
        let mut strict = Appender::new(&mut store, 0);
        assert_eq!(strict.append(&labels(), Point::float(2 * hour - 1, 1.0)), Err(AppendError::OutOfOrder));
        assert_eq!(strict.append(&labels(), Point::float(hour - 1, 1.0)), Err(AppendError::OutOfBounds));
        let other = Labels::from_pairs([("__name__", "new")]);
        assert_eq!(strict.append(&other, Point::float(hour - 1, 1.0)), Err(AppendError::OutOfBounds));
        assert_eq!(strict.append(&other, Point::float(hour, 1.0)), Ok(()));
        let mut wide = Appender::new(&mut store, hour);
        assert_eq!(wide.append(&labels(), Point::float(hour - 1, 1.0)), Err(AppendError::TooOld));
        assert_eq!(wide.append(&labels(), Point::float(hour, 1.0)), Ok(()));
    }

    proptest! {
        #[test]
        fn the_order_of_arrival_does_not_matter_within_the_window(
            mut times in proptest::collection::btree_set(0..10_000_i64, 1..40).prop_map(|set| set.into_iter().collect::<Vec<_>>()).prop_shuffle(),
            batch in 1..8_usize,
        ) {
            let mut store = Store::new();
            for chunk in times.chunks(batch) {
                let mut appender = Appender::new(&mut store, 20_000);
                for t_ms in chunk {
                    appender.append(&labels(), Point::float(*t_ms, *t_ms as f64)).unwrap();
                }
                appender.commit();
            }
            times.sort_unstable();
            let stored: Vec<i64> = store.all()[0].points().iter().map(|point| point.t_ms).collect();
            prop_assert_eq!(stored, times);
        }
    }
}
