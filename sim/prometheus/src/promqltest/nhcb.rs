//! Classic histograms as native ones with custom buckets.

use crate::histogram::{CUSTOM_SCHEMA, Histogram};
use crate::store::Value;
use sim_wire::{Labels, METRIC_NAME, is_stale};
use std::collections::BTreeMap;

type Values = [Option<Value>];

#[derive(Default)]
struct Classic<'v> {
    buckets: Vec<(f64, &'v Values)>,
    sum: Option<&'v Values>,
    count: Option<&'v Values>,
}

/// The native histograms of all classic ones among the series, under the name without a suffix.
pub(super) fn convert<'v>(series: impl Iterator<Item = (&'v Labels, &'v Values)>) -> Vec<(Labels, Vec<Option<Value>>)> {
    let mut all: BTreeMap<Labels, Classic<'v>> = BTreeMap::new();
    for (labels, values) in series {
        let name = labels.value(METRIC_NAME);
        let base = |suffix: &str| Some(labels.with(METRIC_NAME, name.strip_suffix(suffix)?));
        if let Some(base) = base("_bucket") {
            if let Ok(bound) = labels.value("le").parse() {
                all.entry(base.without("le")).or_default().buckets.push((bound, values));
            }
        } else if let Some(base) = base("_sum") {
            all.entry(base).or_default().sum = Some(values);
        } else if let Some(base) = base("_count") {
            all.entry(base).or_default().count = Some(values);
        }
    }
    all.retain(|_, classic| !classic.buckets.is_empty());
    all.into_iter().map(|(labels, classic)| (labels, classic.convert())).collect()
}

impl Classic<'_> {
    fn convert(mut self) -> Vec<Option<Value>> {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let length = self.buckets.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
        (0..length).map(|index| self.at(index)).collect()
    }

    fn at(&self, index: usize) -> Option<Value> {
        let float = |values: &Values| values.get(index).and_then(Option::as_ref).and_then(Value::as_float);
        let counts: Vec<(f64, f64)> =
            self.buckets.iter().filter_map(|(bound, values)| Some((*bound, float(values)?))).collect();
        let last = counts.last()?;
        if is_stale(last.1) {
            return Some(Value::Float(last.1));
        }
        let bounds: Vec<f64> = counts.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).collect();
        let count = self.count.and_then(float).unwrap_or(last.1);
        let mut positive = Vec::new();
        let mut below = 0.0;
        for (index, (_, cumulative)) in counts.iter().enumerate() {
            positive.push((index as i32, cumulative - below));
            below = *cumulative;
        }
        if last.0.is_finite() {
            positive.push((counts.len() as i32, count - below));
        }
        let sum = self.sum.and_then(float).unwrap_or(0.0);
        let mut histogram = Histogram { schema: CUSTOM_SCHEMA, count, sum, bounds, positive, ..Histogram::default() };
        histogram.compact();
        Some(histogram.into())
    }
}
