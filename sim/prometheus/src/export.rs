//! The store as OpenMetrics text with timestamps, for `promtool tsdb create-blocks-from openmetrics`, and as samples.

use crate::store::Store;
use sim_wire::{METRIC_NAME, format_float};
use std::collections::BTreeMap;

/// Every sample in `[start_ms, end_ms]`, grouped by metric, series by series; stale markers and native histograms, which the
/// format cannot carry, are left out.
///
/// ```
/// use sim_prometheus::{export, store::{Point, Store}};
/// let mut store = Store::new();
/// store.append(&[("__name__", "up"), ("job", "a")].into_iter().collect(), Point::float(1500, 1.0)).unwrap();
/// assert_eq!(export::open_metrics(&store, 0, 2000), "# TYPE up unknown\nup{job=\"a\"} 1 1.5\n# EOF\n");
/// ```
pub fn open_metrics(store: &Store, start_ms: i64, end_ms: i64) -> String {
    let mut metrics: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for series in store.all() {
        let Some(name) = series.labels.name() else { continue };
        let head = head_of(name, &series.labels);
        for point in series.between(start_ms.saturating_sub(1), end_ms).iter().filter(|point| !point.is_stale()) {
            let Some(value) = point.value.as_float() else { continue };
            let line = format!("{head} {} {}\n", format_float(value), format_float(point.t_ms as f64 / 1000.0));
            metrics.entry(name).or_default().push(line);
        }
    }
    let mut text = String::new();
    for (name, lines) in metrics {
        // Suffixes that a typed family would need cannot be told from the store, and `unknown` takes every name.
        text.push_str(&format!("# TYPE {name} unknown\n"));
        text.extend(lines);
    }
    text + "# EOF\n"
}

/// The floats in `[start_ms, end_ms]`, series by series, bit by bit: milliseconds and value, stale markers included, native
/// histograms left out.
pub fn floats(store: &Store, start_ms: i64, end_ms: i64) -> Vec<(sim_wire::Labels, Vec<(i64, f64)>)> {
    let series = store.all().into_iter().map(|series| {
        let points = series.between(start_ms.saturating_sub(1), end_ms);
        (series.labels.clone(), points.iter().filter_map(|point| Some((point.t_ms, point.value.as_float()?))).collect())
    });
    series.filter(|(_, samples): &(_, Vec<_>)| !samples.is_empty()).collect()
}

fn head_of(name: &str, labels: &sim_wire::Labels) -> String {
    let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<String> = labels
        .iter()
        .filter(|(known, _)| *known != METRIC_NAME)
        .map(|(name, value)| format!("{name}=\"{}\"", escape(value)))
        .collect();
    if pairs.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", pairs.join(",")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Point;
    use sim_wire::exposition::{Format, parse};
    use sim_wire::{Labels, STALE_NAN};

    #[test]
    fn an_export_reads_back() {
        let mut store = Store::new();
        let labels = Labels::from_pairs([("__name__", "a_total"), ("x", "q\"\\\n")]);
        for (t_ms, value) in [(0, 1.0), (1001, f64::INFINITY), (2000, STALE_NAN), (9000, 1.0)] {
            store.append(&labels, Point::float(t_ms, value)).unwrap();
        }
        let page = parse(&open_metrics(&store, 0, 5000), Format::OpenMetrics).unwrap();
        let read: Vec<_> = page.samples.iter().map(|sample| (sample.timestamp_ms, sample.value)).collect();
        assert_eq!(read, [(Some(0), 1.0), (Some(1001), f64::INFINITY)]);
        assert_eq!(page.samples[0].labels, labels);
        let floats = floats(&store, 0, 2000);
        assert!(floats.len() == 1 && floats[0].1[2].1.to_bits() == STALE_NAN.to_bits(), "{floats:?}");
    }
}
