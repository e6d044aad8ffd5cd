//! The time-series store: append, select by matchers, staleness, exemplars, metadata, retention.
//!
//! Each series is a list of packed blocks with its newest points behind them, as they came; an inverted index from label to series
//! answers selectors. What is out of order is rejected and counted, unless an [`Appender`] with an out-of-order window brings it.

mod append;
mod bits;
mod block;
mod index;
mod series;

pub use append::Appender;
pub use series::StoredSeries;

use index::Index;

use crate::histogram::{CounterReset, Histogram, go_g};
use sim_wire::exposition::{Exemplar, Family};
use sim_wire::{Labels, Matcher, is_stale};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Most series that a store holds.
pub const SERIES_MAX: usize = 1_000_000;
/// Most exemplars that a store holds; the oldest go first (Prometheus's default for `max_exemplars`).
pub const EXEMPLARS_MAX: usize = 100_000;
/// Most characters of an exemplar's label names and values together (OpenMetrics).
pub const EXEMPLAR_LABEL_CHARS_MAX: usize = 128;

/// The value of a sample.
#[derive(Debug, Clone)]
pub enum Value {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

impl Value {
    /// The float; not a number for a histogram.
    pub fn float(&self) -> f64 {
        self.as_float().unwrap_or(f64::NAN)
    }

    /// The float, unless this is a histogram.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Histogram(_) => None,
        }
    }

    /// The histogram, unless this is a float.
    pub fn as_histogram(&self) -> Option<&Histogram> {
        match self {
            Self::Float(_) => None,
            Self::Histogram(histogram) => Some(histogram),
        }
    }

    /// Whether both are the same, bit by bit.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Histogram(a), Self::Histogram(b)) => a.same(b),
            _ => false,
        }
    }
}

impl From<Histogram> for Value {
    fn from(histogram: Histogram) -> Self {
        Self::Histogram(Arc::new(histogram))
    }
}

/// A value at a time.
#[derive(Debug, Clone)]
pub struct Point {
    /// Milliseconds since the Unix epoch.
    pub t_ms: i64,
    /// The value.
    pub value: Value,
}

impl Point {
    /// A float at a time.
    pub fn float(t_ms: i64, value: f64) -> Self {
        Self { t_ms, value: Value::Float(value) }
    }

    /// Whether the point marks the end of its series.
    pub fn is_stale(&self) -> bool {
        match &self.value {
            Value::Float(value) => is_stale(*value),
            Value::Histogram(histogram) => histogram.is_stale(),
        }
    }
}

/// A handle of a series; stays valid for the life of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(u32);

/// An exemplar with the series it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredExemplar {
    /// The series.
    pub series: Labels,
    /// The exemplar; its timestamp is always set.
    pub exemplar: Exemplar,
}

/// Why a sample was not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AppendError {
    /// Older than the newest sample of its series.
    #[error("out of order sample")]
    OutOfOrder,
    /// Another value at the same time.
    #[error("duplicate sample for timestamp {t_ms}; overrides not allowed: existing {existing}, new value {}", go_g(*new))]
    Duplicate {
        /// The time in milliseconds.
        t_ms: i64,
        /// What is there, in words.
        existing: String,
        /// What was to replace it.
        new: f64,
    },
    /// A histogram where another one is.
    #[error("duplicate sample for timestamp")]
    DuplicateHistogram,
    /// Before the time that the store still takes samples for.
    #[error("out of bounds")]
    OutOfBounds,
    /// Later than a sample may be.
    #[error("out of bounds: timestamp is too far in the future")]
    TooFarAhead,
    /// Older than the out-of-order window.
    #[error("too old sample")]
    TooOld,
    /// An exemplar older than the newest of its series.
    #[error("out of order exemplar")]
    OutOfOrderExemplar,
    /// An exemplar that is there already.
    #[error("duplicate exemplar")]
    DuplicateExemplar,
    /// An exemplar with more than 128 characters of labels.
    #[error("label length for exemplar exceeds maximum of {EXEMPLAR_LABEL_CHARS_MAX} UTF-8 characters")]
    ExemplarLabels,
    /// No label at all.
    #[error("empty labelset: invalid sample")]
    NoLabels,
    /// The store is full.
    #[error("more than {0} series")]
    TooManySeries(usize),
}

/// What was rejected so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rejections {
    /// Samples older than their series.
    pub out_of_order: u64,
    /// Samples with another value at the same time.
    pub duplicate: u64,
    /// Samples before what the store still takes.
    pub out_of_bounds: u64,
    /// Samples before the out-of-order window.
    pub too_old: u64,
    /// Series of remote write without a name, or with a label twice.
    pub invalid_labels: u64,
    /// Metrics of OTLP that could not be translated.
    pub untranslated: u64,
}

/// The store.
///
/// ```
/// use sim_prometheus::store::{Point, Store};
/// use sim_wire::{Labels, Matcher};
/// let mut store = Store::new();
/// let up = Labels::from_pairs([("__name__", "up"), ("job", "etcd")]);
/// store.append(&up, Point::float(1000, 1.0)).unwrap();
/// assert!(store.append(&up, Point::float(500, 1.0)).is_err());
/// assert_eq!(store.select(&[Matcher::equal("job", "etcd")]).len(), 1);
/// ```
#[derive(Debug, Default)]
pub struct Store {
    series: Vec<StoredSeries>,
    index: Index,
    exemplars: VecDeque<StoredExemplar>,
    // The newest of each series; looked up, never walked.
    newest_exemplars: HashMap<Labels, Exemplar>,
    metadata: BTreeMap<String, Family>,
    rejections: Rejections,
    // The newest time of any sample.
    newest_ms: Option<i64>,
    exemplars_max: Option<usize>,
    series_max: Option<usize>,
}

impl Store {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The handle of a series, which is made if it is new.
    ///
    /// # Errors
    /// [`AppendError::TooManySeries`] beyond [`SERIES_MAX`], or what [`Self::set_series_max`] says.
    pub fn series_id(&mut self, labels: &Labels) -> Result<SeriesId, AppendError> {
        let pairs = || labels.pairs().iter().map(|(name, value)| (&**name, &**value));
        match self.index.find(&self.series, pairs()) {
            Ok(id) => Ok(id),
            Err(place) => self.new_series(place, pairs()),
        }
    }

    /// The same by labels that are sorted by name, none of them empty or twice.
    fn series_of_sorted(&mut self, labels: &[(&str, &str)]) -> Result<SeriesId, AppendError> {
        match self.index.find(&self.series, labels.iter().copied()) {
            Ok(id) => Ok(id),
            Err(place) => self.new_series(place, labels.iter().copied()),
        }
    }

    fn new_series<'l>(
        &mut self,
        place: u64,
        labels: impl Iterator<Item = (&'l str, &'l str)>,
    ) -> Result<SeriesId, AppendError> {
        let most = self.series_max.unwrap_or(SERIES_MAX);
        if self.series.len() >= most {
            return Err(AppendError::TooManySeries(most));
        }
        let id = SeriesId(self.series.len() as u32);
        self.series.push(StoredSeries::new(self.index.insert(place, id, labels)));
        Ok(id)
    }

    /// A series by its handle.
    pub fn get(&self, id: SeriesId) -> &StoredSeries {
        &self.series[id.0 as usize]
    }

    /// Appends to a series by its labels.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append(&mut self, labels: &Labels, point: Point) -> Result<(), AppendError> {
        let id = self.series_id(labels)?;
        self.append_to(id, point)
    }

    /// Appends to a series by its handle. The same value at the same time is taken silently.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append_to(&mut self, id: SeriesId, point: Point) -> Result<(), AppendError> {
        let series = &mut self.series[id.0 as usize];
        if let Some(last) = series.last() {
            if point.t_ms < last.t_ms {
                self.rejections.out_of_order += 1;
                return Err(AppendError::OutOfOrder);
            }
            if point.t_ms == last.t_ms {
                if point.value.same(&last.value) {
                    return Ok(());
                }
                self.rejections.duplicate += 1;
                return Err(duplicate(&point, last));
            }
        }
        self.newest_ms = self.newest_ms.max(Some(point.t_ms));
        let reset = match &point.value {
            Value::Histogram(histogram) => Some(reset_before(histogram, series.last())),
            Value::Float(_) => None,
        };
        let mut point = point;
        if let (Some(reset), Value::Histogram(histogram)) = (reset, &mut point.value)
            && histogram.reset != reset
        {
            Arc::make_mut(histogram).reset = reset;
        }
        series.push(point);
        Ok(())
    }

    /// The series that all matchers accept, sorted by labels; those without any point are left out.
    pub fn select(&self, matchers: &[Matcher]) -> Vec<&StoredSeries> {
        let mut found = self.find(matchers);
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        found
    }

    /// The same in the order in which the series came to be: the order in which Prometheus's head block hands them out.
    pub fn find(&self, matchers: &[Matcher]) -> Vec<&StoredSeries> {
        match self.index.candidates(matchers) {
            Some(ids) => ids.iter().map(|id| self.get(*id)).filter(|series| accepted(series, matchers)).collect(),
            None => self.series.iter().filter(|series| accepted(series, matchers)).collect(),
        }
    }

    /// The label sets with a point in `[start_ms, end_ms]` that one of the matcher lists accepts (every one if there is no list).
    pub fn series_in(&self, lists: &[Vec<Matcher>], start_ms: i64, end_ms: i64) -> BTreeSet<Labels> {
        let everything = [Vec::new()];
        let lists = if lists.is_empty() { &everything[..] } else { lists };
        lists
            .iter()
            .flat_map(|matchers| self.select(matchers))
            .filter(|series| series.newest(start_ms.saturating_sub(1), end_ms).is_some())
            .map(|series| series.labels.clone())
            .collect()
    }

    /// Remembers an exemplar.
    ///
    /// # Errors
    /// For a repeated one, one older than the newest of its series, and one whose labels are too long; it is left out.
    pub fn append_exemplar(&mut self, series: &Labels, exemplar: Exemplar) -> Result<(), AppendError> {
        self.check_exemplar(series, &exemplar)?;
        self.newest_exemplars.insert(series.clone(), exemplar.clone());
        let most = self.exemplars_max.unwrap_or(EXEMPLARS_MAX);
        if most == 0 {
            return Ok(());
        }
        while self.exemplars.len() >= most {
            self.exemplars.pop_front();
        }
        self.exemplars.push_back(StoredExemplar { series: series.clone(), exemplar });
        Ok(())
    }

    fn check_exemplar(&self, series: &Labels, exemplar: &Exemplar) -> Result<(), AppendError> {
        let characters: usize = exemplar.labels.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum();
        if characters > EXEMPLAR_LABEL_CHARS_MAX {
            return Err(AppendError::ExemplarLabels);
        }
        let Some(newest) = self.newest_exemplars.get(series) else { return Ok(()) };
        if exemplar.labels == newest.labels && exemplar.value == newest.value {
            return Err(AppendError::DuplicateExemplar);
        }
        if exemplar.timestamp_ms < newest.timestamp_ms {
            return Err(AppendError::OutOfOrderExemplar);
        }
        Ok(())
    }

    /// How many series it takes instead of [`SERIES_MAX`]; those that are there stay.
    pub fn set_series_max(&mut self, most: usize) {
        self.series_max = Some(most);
    }

    /// Keeps at most this many exemplars, [`EXEMPLARS_MAX`] unless told.
    pub fn set_exemplars_max(&mut self, most: usize) {
        self.exemplars_max = Some(most);
        while self.exemplars.len() > most {
            self.exemplars.pop_front();
        }
    }

    /// Exemplars of the series that one of the lists accepts, in `[start_ms, end_ms]`, grouped by series.
    pub fn exemplars(&self, lists: &[Vec<Matcher>], start_ms: i64, end_ms: i64) -> BTreeMap<Labels, Vec<Exemplar>> {
        let mut found: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
        for stored in &self.exemplars {
            let t = stored.exemplar.timestamp_ms.unwrap_or_default();
            let wanted =
                lists.iter().any(|matchers| matchers.iter().all(|matcher| matcher.matches_labels(&stored.series)));
            if wanted && (start_ms..=end_ms).contains(&t) {
                found.entry(stored.series.clone()).or_default().push(stored.exemplar.clone());
            }
        }
        found
    }

    /// Remembers what a target says about a family.
    pub fn set_metadata(&mut self, family: String, metadata: Family) {
        self.metadata.insert(family, metadata);
    }

    /// Metadata by family.
    pub fn metadata(&self) -> &BTreeMap<String, Family> {
        &self.metadata
    }

    /// What was rejected so far.
    pub fn rejections(&self) -> Rejections {
        self.rejections
    }

    /// Counts metrics that could not be translated.
    pub(crate) fn count_untranslated(&mut self, metrics: u64) {
        self.rejections.untranslated += metrics;
    }

    /// How many series have points.
    pub fn series_count(&self) -> usize {
        self.series.iter().filter(|series| !series.is_empty()).count()
    }

    /// How many samples there are, and the bytes they take: packed blocks, the newest as they came, and what is reserved for the next;
    /// labels and indices do not count.
    pub fn sample_bytes(&self) -> (usize, usize) {
        self.series.iter().fold((0, 0), |(samples, bytes), one| (samples + one.len(), bytes + one.sample_bytes()))
    }

    /// Every series with points, sorted by labels: for exports.
    pub fn all(&self) -> Vec<&StoredSeries> {
        self.select(&[])
    }

    /// Drops what is older than `retention` before `now_ms`.
    pub fn enforce_retention(&mut self, now_ms: i64, retention: Duration) {
        let oldest = now_ms.saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX));
        for series in &mut self.series {
            series.forget_before(oldest);
        }
        self.exemplars.retain(|stored| stored.exemplar.timestamp_ms.is_none_or(|t| t >= oldest));
    }
}

fn duplicate(point: &Point, last: &Point) -> AppendError {
    match (&point.value, &last.value) {
        (Value::Float(new), Value::Float(existing)) => {
            AppendError::Duplicate { t_ms: point.t_ms, existing: go_g(*existing), new: *new }
        }
        (Value::Float(new), Value::Histogram(_)) => {
            AppendError::Duplicate { t_ms: point.t_ms, existing: "is a histogram".to_owned(), new: *new }
        }
        (Value::Histogram(_), _) => AppendError::DuplicateHistogram,
    }
}

/// What the store says of a reset before a histogram: it sees both, once, so that queries need not look again.
fn reset_before(histogram: &Histogram, last: Option<&Point>) -> CounterReset {
    match (histogram.reset, last.map(|last| &last.value)) {
        (known @ (CounterReset::Gauge | CounterReset::Reset), _) => known,
        (_, Some(Value::Histogram(before))) if !before.is_stale() && before.reset != CounterReset::Gauge => {
            let unknown = Histogram { reset: CounterReset::Unknown, ..histogram.clone() };
            if unknown.was_reset(before) { CounterReset::Reset } else { CounterReset::NotReset }
        }
        _ => CounterReset::Unknown,
    }
}

fn accepted(series: &StoredSeries, matchers: &[Matcher]) -> bool {
    !series.is_empty() && matchers.iter().all(|matcher| matcher.matches_labels(&series.labels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sim_wire::{MatchOp, STALE_NAN};

    fn labels(name: &str, job: &str) -> Labels {
        Labels::from_pairs([("__name__", name), ("job", job)])
    }

    #[test]
    fn out_of_order_and_contradicting_samples_are_rejected_and_counted() {
        let mut store = Store::new();
        let up = labels("up", "a");
        store.append(&up, Point::float(10, 1.0)).unwrap();
        store.append(&up, Point::float(10, 1.0)).unwrap();
        let duplicate = store.append(&up, Point::float(10, 2.0)).unwrap_err().to_string();
        assert_eq!(duplicate, "duplicate sample for timestamp 10; overrides not allowed: existing 1, new value 2");
        assert_eq!(store.append(&up, Point::float(9, 1.0)), Err(AppendError::OutOfOrder));
        assert_eq!(store.rejections(), Rejections { out_of_order: 1, duplicate: 1, ..Rejections::default() });
        assert_eq!(store.select(&[])[0].points().len(), 1);
    }

    #[test]
    fn retention_drops_old_points_and_then_the_series() {
        let mut store = Store::new();
        store.append(&labels("a", "x"), Point::float(0, 1.0)).unwrap();
        store.append(&labels("b", "x"), Point::float(5000, STALE_NAN)).unwrap();
        store.enforce_retention(6000, Duration::from_secs(2));
        assert_eq!(store.series_count(), 1);
        assert!(store.select(&[Matcher::equal("__name__", "a")]).is_empty());
    }

    #[test]
    fn an_exemplar_is_kept_once() {
        let mut store = Store::new();
        let exemplar = Exemplar { labels: Labels::from_pairs([("trace_id", "1")]), value: 1.0, timestamp_ms: Some(5) };
        store.append_exemplar(&labels("a", "x"), exemplar.clone()).unwrap();
        let again = store.append_exemplar(&labels("a", "x"), exemplar);
        assert_eq!(again, Err(AppendError::DuplicateExemplar));
        let found = store.exemplars(&[vec![Matcher::equal("job", "x")]], 0, 10);
        assert_eq!(found[&labels("a", "x")].len(), 1);
        assert!(store.exemplars(&[vec![Matcher::equal("job", "x")]], 6, 10).is_empty());
    }

    proptest! {
        #[test]
        fn the_index_finds_what_a_scan_finds(
            sets in proptest::collection::btree_set(("[ab]", "[xyz]{0,1}"), 0..8),
            op in 0..4_usize,
            value in "[xyz]{0,1}",
        ) {
            let mut store = Store::new();
            for (name, job) in &sets {
                store.append(&labels(name, job), Point::float(1, 1.0)).unwrap();
            }
            let op = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex][op];
            let matcher = Matcher::new(op, "job", value).unwrap();
            let by_scan: BTreeSet<Labels> = sets.iter().map(|(n, j)| labels(n, j)).filter(|l| matcher.matches_labels(l)).collect();
            let by_index: BTreeSet<Labels> = store.select(&[matcher]).iter().map(|s| s.labels.clone()).collect();
            prop_assert_eq!(by_index, by_scan);
        }
    }
}
