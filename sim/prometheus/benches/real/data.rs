//! The samples: counters that grow unevenly and reset now and then, and gauges with two decimals.

use prost::Message as _;
use sim_prometheus::remote::messages::{Label, Sample, TimeSeries, WriteRequest};

/// Samples in a request: what a sender of Prometheus 3 sends at most.
const BATCH: usize = 2_000;

pub struct Shape {
    pub series: usize,
    pub samples: usize,
    pub start_ms: i64,
    pub interval_ms: i64,
}

impl Shape {
    pub fn new(series: usize, hours: usize, interval_s: usize) -> Self {
        // Our server's world starts here, and neither server takes what lies in its future.
        let now = sim_clock::EPOCH.as_millis();
        let interval_ms = interval_s as i64 * 1000;
        let samples = hours * 3600 / interval_s;
        let start_ms = (now - samples as i64 * interval_ms) / 60_000 * 60_000;
        Self { series, samples, start_ms, interval_ms }
    }

    pub fn total(&self) -> usize {
        self.series * self.samples
    }

    pub fn end_ms(&self) -> i64 {
        self.start_ms + (self.samples as i64 - 1) * self.interval_ms
    }

    /// Requests scrape by scrape, in portions that fit into memory.
    pub fn requests(&self) -> impl Iterator<Item = Vec<Vec<u8>>> + '_ {
        let labels: Vec<Vec<Label>> = (0..self.series).map(labels).collect();
        let mut values = vec![0.0_f64; self.series];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        (0..self.samples).map(move |scrape| {
            let timestamp = self.start_ms + scrape as i64 * self.interval_ms;
            let mut bodies = Vec::new();
            for first in (0..self.series).step_by(BATCH) {
                let timeseries = (first..(first + BATCH).min(self.series)).map(|index| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    values[index] = next(index, values[index], state);
                    TimeSeries {
                        labels: labels[index].clone(),
                        samples: vec![Sample { value: values[index], timestamp }],
                        exemplars: Vec::new(),
                        histograms: Vec::new(),
                    }
                });
                let request = WriteRequest { timeseries: timeseries.collect(), metadata: Vec::new() };
                bodies.push(snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).expect("a small request"));
            }
            bodies
        })
    }
}

fn next(index: usize, last: f64, random: u64) -> f64 {
    match index % 4 {
        // Counters of requests and of bytes; one in ten thousand scrapes finds a restarted process.
        0 | 1 if random.is_multiple_of(10_000) => 0.0,
        0 => last + (random >> 20) as f64 % 40.0,
        1 => last + (random >> 20) as f64 % 100_000.0,
        // A utilisation with two decimals.
        2 => ((random >> 20) % 10_000) as f64 / 100.0,
        // A gauge of all digits that walks.
        _ => last + ((random >> 11) as f64 / (1_u64 << 53) as f64 - 0.5),
    }
}

/// 25 jobs of 100 instances, four metrics each.
fn labels(index: usize) -> Vec<Label> {
    let metric = ["requests_total", "bytes_total", "utilisation", "temperature"][index % 4];
    let (instance, job) = (index / 4 % 100, index / 400);
    [
        ("__name__", metric.to_owned()),
        ("cluster", "production-eu-west-1".to_owned()),
        ("instance", format!("10.0.{job}.{instance}:9090")),
        ("job", format!("job-{job}")),
        ("namespace", format!("team-{}", job % 5)),
        ("pod", format!("pod-{job}-{instance}-7c9d8b6f4")),
    ]
    .map(|(name, value)| Label { name: name.to_owned(), value })
    .to_vec()
}
