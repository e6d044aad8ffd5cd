//! A series: packed blocks of older samples, and the newest as they came.

use super::block::{BLOCK_SAMPLES_MAX, Block};
use super::{Point, Value};
use crate::histogram::{CounterReset, Histogram};
use sim_wire::Labels;
use std::sync::Arc;

/// Most samples that are kept as they came before they are packed.
const TAIL_SAMPLES_MAX: usize = 16;

/// Older samples of one kind.
#[derive(Debug, Clone)]
enum Run {
    Floats(Block),
    /// As they came; at least one of them is a histogram.
    Points(Box<[Point]>),
}

impl Run {
    /// Of at least one sample.
    fn new(points: &[Point]) -> Option<Self> {
        let floats: Option<Vec<(i64, f64)>> =
            points.iter().map(|point| Some((point.t_ms, point.value.as_float()?))).collect();
        match floats {
            Some(floats) => Block::pack(&floats).map(Self::Floats),
            None => Some(Self::Points(points.into())),
        }
    }

    fn first_ms(&self) -> i64 {
        match self {
            Self::Floats(block) => block.first_ms,
            Self::Points(points) => points[0].t_ms,
        }
    }

    fn last_ms(&self) -> i64 {
        match self {
            Self::Floats(block) => block.last_ms,
            Self::Points(points) => points[points.len() - 1].t_ms,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Floats(block) => block.len(),
            Self::Points(points) => points.len(),
        }
    }

    /// Appends every point.
    fn all(&self, out: &mut Vec<Point>) {
        match self {
            Self::Floats(block) => {
                out.reserve(block.len());
                block.unpack(|t_ms, value| out.push(Point::float(t_ms, value)));
            }
            Self::Points(points) => out.extend_from_slice(points),
        }
    }

    /// Appends the points in `(after_ms, until_ms]`.
    fn read(&self, after_ms: i64, until_ms: i64, out: &mut Vec<Point>) {
        match self {
            Self::Floats(block) if block.first_ms > after_ms && block.last_ms <= until_ms => self.all(out),
            Self::Floats(block) => block.unpack(|t_ms, value| {
                if t_ms > after_ms && t_ms <= until_ms {
                    out.push(Point::float(t_ms, value));
                }
            }),
            Self::Points(points) => out.extend_from_slice(within(points, after_ms, until_ms)),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Floats(block) => block.heap_bytes(),
            Self::Points(points) => {
                let histograms = points.iter().filter_map(|point| point.value.as_histogram());
                size_of_val::<[Point]>(points) + histograms.map(Histogram::heap_bytes).sum::<usize>()
            }
        }
    }
}

/// The points in `(after_ms, until_ms]`.
fn within(points: &[Point], after_ms: i64, until_ms: i64) -> &[Point] {
    let from = points.partition_point(|point| point.t_ms <= after_ms);
    let to = points.partition_point(|point| point.t_ms <= until_ms);
    &points[from..to.max(from)]
}

/// A series with its points.
#[derive(Debug, Clone)]
pub struct StoredSeries {
    /// Its labels.
    pub labels: Labels,
    runs: Vec<Run>,
    /// Empty only where the series is.
    tail: Vec<Point>,
}

impl StoredSeries {
    pub(super) fn new(labels: Labels) -> Self {
        Self { labels, runs: Vec::new(), tail: Vec::new() }
    }

    /// How many points there are, stale markers included.
    pub fn len(&self) -> usize {
        self.runs.iter().map(Run::len).sum::<usize>() + self.tail.len()
    }

    /// Whether there is no point.
    pub fn is_empty(&self) -> bool {
        self.tail.is_empty()
    }

    /// The time of the first point, in milliseconds.
    pub fn first_ms(&self) -> Option<i64> {
        self.runs.first().map(Run::first_ms).or_else(|| self.tail.first().map(|point| point.t_ms))
    }

    /// The newest point, a stale marker perhaps.
    pub fn last(&self) -> Option<&Point> {
        self.tail.last()
    }

    /// All points in order of time, stale markers included.
    pub fn points(&self) -> Vec<Point> {
        let mut out = Vec::with_capacity(self.len());
        for run in &self.runs {
            run.all(&mut out);
        }
        out.extend_from_slice(&self.tail);
        out
    }

    /// The points in `(after_ms, until_ms]`, stale markers included.
    pub fn between(&self, after_ms: i64, until_ms: i64) -> Vec<Point> {
        let mut out = Vec::new();
        self.read(after_ms, until_ms, &mut out);
        out
    }

    /// Appends the points in `(after_ms, until_ms]`, stale markers included, to a buffer. Only the blocks that can hold any are
    /// unpacked.
    pub fn read(&self, after_ms: i64, until_ms: i64, out: &mut Vec<Point>) {
        let from = self.runs.partition_point(|run| run.last_ms() <= after_ms);
        for run in self.runs[from..].iter().take_while(|run| run.first_ms() <= until_ms) {
            run.read(after_ms, until_ms, out);
        }
        out.extend_from_slice(within(&self.tail, after_ms, until_ms));
    }

    /// The newest point in `(after_ms, until_ms]`.
    pub fn newest(&self, after_ms: i64, until_ms: i64) -> Option<Point> {
        let at = self.tail.partition_point(|point| point.t_ms <= until_ms);
        if let Some(point) = at.checked_sub(1).and_then(|at| self.tail.get(at)) {
            return (point.t_ms > after_ms).then(|| point.clone());
        }
        let at = self.runs.partition_point(|run| run.first_ms() <= until_ms).checked_sub(1)?;
        match &self.runs[at] {
            run if run.last_ms() <= after_ms => None,
            Run::Floats(block) => {
                let mut found = None;
                block.unpack(|t_ms, value| {
                    if t_ms > after_ms && t_ms <= until_ms {
                        found = Some((t_ms, value));
                    }
                });
                found.map(|(t_ms, value)| Point::float(t_ms, value))
            }
            Run::Points(points) => within(points, after_ms, until_ms).last().cloned(),
        }
    }

    /// Appends a point that is newer than all others.
    pub(super) fn push(&mut self, point: Point) {
        if self.tail.len() >= TAIL_SAMPLES_MAX {
            self.pack_tail();
        }
        self.tail.push(point);
    }

    fn pack_tail(&mut self) {
        let room = |block: &Block| block.len() + self.tail.len() <= BLOCK_SAMPLES_MAX;
        let floats = self.tail.iter().all(|point| point.value.as_float().is_some());
        let mut points = Vec::new();
        if floats
            && let Some(Run::Floats(block)) = self.runs.last()
            && room(block)
        {
            // A block grows a few times before it is full.
            block.unpack(|t_ms, value| points.push(Point::float(t_ms, value)));
            self.runs.pop();
        }
        points.append(&mut self.tail);
        self.runs.extend(Run::new(&points));
    }

    /// Puts a point where its time belongs; one that is there stays.
    pub(super) fn insert(&mut self, mut point: Point) {
        if let Value::Histogram(histogram) = &mut point.value {
            // What came before it is not what came before it on the wire.
            forget_reset(histogram);
        }
        let index = self.runs.partition_point(|run| run.last_ms() < point.t_ms);
        let Some(run) = self.runs.get(index) else {
            insert_into(&mut self.tail, point);
            return;
        };
        let mut points = Vec::with_capacity(run.len() + 1);
        run.all(&mut points);
        insert_into(&mut points, point);
        let half = if points.len() > BLOCK_SAMPLES_MAX { points.len() / 2 } else { points.len() };
        let runs = [&points[..half], &points[half..]].into_iter().filter_map(Run::new);
        self.runs.splice(index..=index, runs);
    }

    /// Drops what is older.
    pub(super) fn forget_before(&mut self, oldest_ms: i64) {
        let gone = self.runs.partition_point(|run| run.last_ms() < oldest_ms);
        self.runs.drain(..gone);
        if let Some(run) = self.runs.first_mut()
            && run.first_ms() < oldest_ms
        {
            let mut kept = Vec::new();
            run.read(oldest_ms.saturating_sub(1), i64::MAX, &mut kept);
            if let Some(kept) = Run::new(&kept) {
                *run = kept;
            }
        }
        let gone = self.tail.partition_point(|point| point.t_ms < oldest_ms);
        self.tail.drain(..gone);
    }

    /// Bytes that the samples take, with what is reserved for the next ones.
    pub(super) fn sample_bytes(&self) -> usize {
        self.runs.iter().map(Run::heap_bytes).sum::<usize>()
            + self.runs.capacity() * size_of::<Run>()
            + self.tail.capacity() * size_of::<Point>()
            + self.tail.iter().filter_map(|point| point.value.as_histogram()).map(Histogram::heap_bytes).sum::<usize>()
    }
}

fn forget_reset(histogram: &mut Arc<Histogram>) {
    if !matches!(histogram.reset, CounterReset::Gauge | CounterReset::Unknown) {
        Arc::make_mut(histogram).reset = CounterReset::Unknown;
    }
}

fn insert_into(points: &mut Vec<Point>, point: Point) {
    let at = points.partition_point(|known| known.t_ms < point.t_ms);
    if points.get(at).is_some_and(|known| known.t_ms == point.t_ms) {
        return;
    }
    points.insert(at, point);
    // What the one behind it knew of its neighbour no longer holds.
    if let Some(Point { value: Value::Histogram(next), .. }) = points.get_mut(at + 1) {
        forget_reset(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn shown(points: &[Point]) -> Vec<(i64, String)> {
        points.iter().map(|point| (point.t_ms, format!("{:?}", point.value))).collect()
    }

    proptest! {
        #[test]
        fn any_window_of_any_arrival_is_what_a_plain_map_has(
            arrivals in proptest::collection::vec((0..600_i64, 0..40_u8), 1..400),
            windows in proptest::collection::vec((-5..605_i64, -5..605_i64), 8),
            oldest in 0..300_i64,
        ) {
            let mut series = StoredSeries::new(Labels::empty());
            let mut plain: BTreeMap<i64, Point> = BTreeMap::new();
            for (t_ms, value) in arrivals {
                // Now and then a histogram, between floats.
                let value = if value == 0 { Value::from(Histogram::default()) } else { Value::Float(f64::from(value)) };
                let point = Point { t_ms, value };
                plain.entry(t_ms).or_insert_with(|| point.clone());
                if series.last().is_none_or(|last| last.t_ms < t_ms) { series.push(point) } else { series.insert(point) }
            }
            for round in 0..2 {
                let all: Vec<Point> = plain.values().cloned().collect();
                prop_assert_eq!(shown(&series.points()), shown(&all));
                prop_assert_eq!(series.len(), all.len());
                prop_assert_eq!(series.first_ms(), all.first().map(|point| point.t_ms));
                for (after, until) in &windows {
                    let wanted: Vec<Point> = all.iter().filter(|p| p.t_ms > *after && p.t_ms <= *until).cloned().collect();
                    prop_assert_eq!(shown(&series.between(*after, *until)), shown(&wanted));
                    let newest: Vec<Point> = series.newest(*after, *until).into_iter().collect();
                    prop_assert_eq!(shown(&newest), shown(&wanted[wanted.len().saturating_sub(1)..]));
                }
                if round == 0 {
                    series.forget_before(oldest);
                    plain.retain(|t_ms, _| *t_ms >= oldest);
                }
            }
        }
    }
}
