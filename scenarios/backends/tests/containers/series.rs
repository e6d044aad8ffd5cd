//! Random series of every kind: counters that reset, gauges with gaps and odd values, classic and native histograms.

use fastrand::Rng;
use scenario_backends::remote_write::{BucketSpan, Histogram, Sample, TimeSeries, labels};

/// The first sample, in milliseconds since the Unix epoch.
pub const START_MS: i64 = 1_700_000_000_000;
/// Between two samples.
pub const INTERVAL_MS: i64 = 15_000;
/// Samples of a series at the most.
pub const SAMPLES: i64 = 120;
/// Prometheus's marker of the end of a series.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Everything that is written.
pub fn series(rng: &mut Rng) -> Vec<TimeSeries> {
    let mut all = Vec::new();
    for job in ["api", "web"] {
        for instance in ["a", "b"] {
            for code in ["200", "500"] {
                let labels = [("__name__", "requests_total"), ("job", job), ("instance", instance), ("code", code)];
                all.push(floats(&labels, counter(rng)));
            }
            all.push(floats(&[("__name__", "errors_total"), ("job", job), ("instance", instance)], counter(rng)));
            let up = |rng: &mut Rng| f64::from(u8::from(rng.u8(..10) > 1));
            all.push(floats(&[("__name__", "up"), ("job", job), ("instance", instance)], gauge(rng, up)));
        }
        let version = if job == "api" { "1.0" } else { "2.0" };
        all.push(floats(&[("__name__", "build_info"), ("job", job), ("version", version)], gauge(rng, |_| 1.0)));
        all.extend(classic(rng, job));
        all.push(native(rng, &[("__name__", "size_bytes"), ("job", job)], Kind::Exponential));
        all.push(native(rng, &[("__name__", "span_seconds"), ("job", job)], Kind::Signed));
        all.push(native(rng, &[("__name__", "custom_bytes"), ("job", job)], Kind::Custom));
    }
    for room in ["kitchen", "hall"] {
        let mut value = 20.0;
        let walk = move |rng: &mut Rng| {
            value += rng.f64() - 0.5;
            value
        };
        all.push(floats(&[("__name__", "temperature"), ("room", room), ("instance", "a")], gauge(rng, walk)));
    }
    // No subnormal: the logarithms of Go 1.27 take them for 2^-1023.
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e300, -1e300, 1e-300, 1.0];
    all.push(floats(&[("__name__", "weird"), ("job", "api")], gauge(rng, |rng| odd[rng.usize(..odd.len())])));
    let sparse = gauge(rng, |rng| f64::from(rng.i8(..))).into_iter().filter(|_| rng.u8(..3) == 0).collect();
    all.push(floats(&[("__name__", "sparse"), ("job", "web")], sparse));
    all
}

fn floats(pairs: &[(&str, &str)], samples: Vec<Sample>) -> TimeSeries {
    TimeSeries { labels: labels(pairs.iter().copied()), samples, histograms: Vec::new() }
}

/// Instants with some jitter, in order.
fn instants(rng: &mut Rng) -> Vec<i64> {
    let jitter = if rng.bool() { 400 } else { 1 };
    (0..SAMPLES).map(|index| START_MS + index * INTERVAL_MS + rng.i64(0..jitter)).collect()
}

/// A counter that resets now and then, and is away now and then.
fn counter(rng: &mut Rng) -> Vec<Sample> {
    let mut value = f64::from(rng.u32(..1000));
    gauge(rng, move |rng| {
        value = if rng.u8(..40) == 0 { 0.0 } else { value + f64::from(rng.u32(..50)) };
        value
    })
}

fn gauge(rng: &mut Rng, mut next: impl FnMut(&mut Rng) -> f64) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut away = 0;
    for timestamp in instants(rng) {
        let value = next(rng);
        if away > 0 {
            away -= 1;
            continue;
        }
        if rng.u8(..60) == 0 {
            away = rng.u8(1..25);
            // Half of the gaps are announced, the other half are lost scrapes.
            if rng.bool() {
                samples.push(Sample { value: f64::from_bits(STALE), timestamp });
            }
            continue;
        }
        samples.push(Sample { value, timestamp });
    }
    samples
}

/// Cumulative buckets that grow together.
fn classic(rng: &mut Rng, job: &str) -> Vec<TimeSeries> {
    let bounds = ["0.1", "0.5", "1", "2.5", "+Inf"];
    let mut counts = [0.0; 5];
    let mut samples = vec![Vec::new(); bounds.len()];
    for timestamp in instants(rng) {
        if rng.u8(..50) == 0 {
            counts = [0.0; 5];
        }
        for _ in 0..rng.u8(..20) {
            let first = rng.usize(..bounds.len());
            counts.iter_mut().skip(first).for_each(|count| *count += 1.0);
        }
        for (samples, value) in samples.iter_mut().zip(counts) {
            samples.push(Sample { value, timestamp });
        }
    }
    bounds
        .iter()
        .zip(samples)
        .map(|(le, samples)| floats(&[("__name__", "latency_seconds_bucket"), ("job", job), ("le", le)], samples))
        .collect()
}

/// What kind of native histogram.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Positive observations in exponential buckets.
    Exponential,
    /// Observations of both signs.
    Signed,
    /// Bounds of its own.
    Custom,
}

fn native(rng: &mut Rng, pairs: &[(&str, &str)], kind: Kind) -> TimeSeries {
    let buckets = 6;
    let mut positive = vec![0.0; buckets];
    let mut negative = vec![0.0; if kind == Kind::Signed { 4 } else { 0 }];
    let (mut zero, mut sum) = (0.0, 0.0);
    let mut histograms = Vec::new();
    let schema = if kind == Kind::Custom { -53 } else { rng.i32(0..4) };
    for timestamp in instants(rng) {
        if rng.u8(..50) == 0 {
            positive.fill(0.0);
            negative.fill(0.0);
            (zero, sum) = (0.0, 0.0);
        }
        for _ in 0..rng.u8(..12) {
            let bucket = rng.usize(..buckets);
            positive[bucket] += 1.0;
            sum += bucket as f64;
        }
        if let Some(last) = negative.last_mut().filter(|_| rng.bool()) {
            *last += 2.0;
            sum -= 3.0;
        }
        if kind != Kind::Custom && rng.u8(..4) == 0 {
            zero += 1.0;
        }
        let span = |counts: &[f64], offset| match counts.len() {
            0 => Vec::new(),
            length => vec![BucketSpan { offset, length: length as u32 }],
        };
        histograms.push(Histogram {
            count_float: Some(positive.iter().sum::<f64>() + negative.iter().sum::<f64>() + zero),
            sum,
            schema,
            zero_threshold: if kind == Kind::Custom { 0.0 } else { 0.001 },
            zero_count_float: Some(zero),
            negative_spans: span(&negative, -1),
            negative_counts: negative.clone(),
            positive_spans: span(&positive, if kind == Kind::Custom { 0 } else { -2 }),
            positive_counts: positive.clone(),
            reset_hint: 0,
            timestamp,
            custom_values: if kind == Kind::Custom { vec![1.0, 2.0, 5.0, 10.0, 100.0] } else { Vec::new() },
        });
    }
    TimeSeries { labels: labels(pairs.iter().copied()), samples: Vec::new(), histograms }
}
