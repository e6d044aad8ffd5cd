//! Samples, and the table that they make.

use std::fmt;

use crate::process::{Reading, Tracing};

/// What the operator has to do.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Load {
    /// To look at a settled fleet, again and again.
    Resync,
    /// To bring up a fleet.
    Creation,
    /// To bring up a few clusters of very many shards.
    Shards,
}

impl Load {
    /// All loads.
    pub const ALL: [Self; 3] = [Self::Resync, Self::Creation, Self::Shards];

    /// For the command line and the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resync => "resync",
            Self::Creation => "creation",
            Self::Shards => "shards",
        }
    }
}

/// What one run used.
#[derive(Copy, Clone, Debug)]
pub struct Sample {
    /// Under which load.
    pub load: Load,
    /// With which tracing.
    pub tracing: Tracing,
    /// The how many-th of its kind.
    pub run: usize,
    /// What was used.
    pub used: Reading,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reading { cpu_s, resident_kib, peak_kib, reconciles, requests, spans } = self.used;
        write!(
            f,
            "  {:<9} {:>2}  {:<19} {cpu_s:>7.2} s  {:>6.1} MiB, peak {:>6.1}  {reconciles:>7} reconciles  {requests:>7} requests  {spans:>8} spans",
            self.load.name(),
            self.run + 1,
            self.tracing.name(),
            resident_kib / 1024.0,
            peak_kib / 1024.0,
        )
    }
}

/// The medians of one load in one mode.
#[derive(Copy, Clone, Debug)]
struct Row {
    cpu_s: f64,
    /// Processor time a reconcile, in microseconds: how many there are differs a little from run to run.
    reconcile_us: f64,
    spans_a_reconcile: f64,
    resident_mib: f64,
    peak_mib: f64,
    reconciles: f64,
}

/// The median; of an even number the lower of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

fn row(load: Load, tracing: Tracing, samples: &[Sample]) -> Row {
    let of = |value: &dyn Fn(&Reading) -> f64| {
        let ours = samples.iter().filter(|sample| sample.load == load && sample.tracing == tracing);
        median(ours.map(|sample| value(&sample.used)).collect())
    };
    Row {
        cpu_s: of(&|used| used.cpu_s),
        reconcile_us: of(&|used| used.cpu_s * 1e6 / used.reconciles),
        spans_a_reconcile: of(&|used| used.spans / used.reconciles),
        resident_mib: of(&|used| used.resident_kib / 1024.0),
        peak_mib: of(&|used| used.peak_kib / 1024.0),
        reconciles: of(&|used| used.reconciles),
    }
}

/// The table of one load.
pub fn render(load: Load, samples: &[Sample]) -> String {
    let mut lines = vec![format!(
        "| {} | CPU | a reconcile | | reconciles | spans a reconcile | a span | resident | | peak | |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        load.name()
    )];
    let base = row(load, Tracing::Off, samples);
    // What waits for a dead Collector is neither sent nor dropped yet: there are as many spans as with a live one.
    let spans_a_reconcile = row(load, Tracing::Live, samples).spans_a_reconcile;
    let more = |value: f64, base: f64| format!("{:+.1} %", (value / base - 1.0) * 100.0);
    for tracing in Tracing::ALL {
        let one = row(load, tracing, samples);
        let traced = tracing != Tracing::Off;
        let compared = |value: f64, base: f64| if traced { more(value, base) } else { String::new() };
        let span_ns = (one.reconcile_us - base.reconcile_us) * 1e3 / spans_a_reconcile;
        lines.push(format!(
            "| {} | {:.2} s | {:.1} µs | {} | {:.0} | {:.1} | {} | {:.1} MiB | {} | {:.1} MiB | {} |",
            tracing.name(),
            one.cpu_s,
            one.reconcile_us,
            compared(one.reconcile_us, base.reconcile_us),
            one.reconciles,
            if traced { spans_a_reconcile } else { 0.0 },
            if traced { format!("{span_ns:.0} ns") } else { String::new() },
            one.resident_mib,
            compared(one.resident_mib, base.resident_mib),
            one.peak_mib,
            compared(one.peak_mib, base.peak_mib),
        ));
    }
    lines.join("\n")
}
