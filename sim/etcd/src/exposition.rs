//! A member's `/metrics`: the families that dashboards and rules about etcd ask for, under their real names and types.

use std::fmt::Write;
use std::time::Duration;

/// Upper bounds of the fsync histogram in milliseconds: doubling, as etcd's.
const BUCKETS_MS: [u64; 14] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192];

/// Durations by size.
#[derive(Debug, Clone, Default)]
pub(crate) struct Histogram {
    /// Observations within each bound and above the one before.
    counts: [u64; BUCKETS_MS.len()],
    count: u64,
    sum: Duration,
}

impl Histogram {
    pub(crate) fn observe(&mut self, duration: Duration) {
        let bound = BUCKETS_MS.iter().position(|&bound| duration <= Duration::from_millis(bound));
        if let Some(bound) = bound {
            self.counts[bound] += 1;
        }
        self.count += 1;
        self.sum += duration;
    }
}

/// What a member shows of itself.
#[derive(Debug, Clone)]
pub(crate) struct MemberFigures {
    pub(crate) has_leader: bool,
    pub(crate) is_leader: bool,
    pub(crate) leader_changes_seen: u64,
    pub(crate) proposals_committed: u64,
    pub(crate) proposals_failed: u64,
    pub(crate) database_bytes: u64,
    pub(crate) fsync: Histogram,
}

/// The text exposition format, version 0.0.4.
pub(crate) fn render(figures: &MemberFigures, version: &str) -> String {
    let mut text = String::new();
    histogram(
        &mut text,
        "etcd_disk_wal_fsync_duration_seconds",
        "Time the write-ahead log takes to reach the disk.",
        &figures.fsync,
    );
    let size = figures.database_bytes;
    single(&mut text, "etcd_mvcc_db_total_size_in_bytes", "gauge", "Bytes of the database.", size);
    let has_leader = u64::from(figures.has_leader);
    single(&mut text, "etcd_server_has_leader", "gauge", "1 when the member sees a leader, else 0.", has_leader);
    let is_leader = u64::from(figures.is_leader);
    single(&mut text, "etcd_server_is_leader", "gauge", "1 when the member leads, else 0.", is_leader);
    single(
        &mut text,
        "etcd_server_leader_changes_seen_total",
        "counter",
        "Leaders the member has seen come.",
        figures.leader_changes_seen,
    );
    single(
        &mut text,
        "etcd_server_proposals_committed_total",
        "gauge", // a gauge in etcd, too: the committed index, which outlives the process
        "Index of the last committed proposal.",
        figures.proposals_committed,
    );
    single(
        &mut text,
        "etcd_server_proposals_failed_total",
        "counter",
        "Proposals that found no leader.",
        figures.proposals_failed,
    );
    let name = "etcd_server_version";
    head(&mut text, name, "gauge", "The version that runs, as a label; always 1.");
    line(&mut text, format_args!("{name}{{server_version=\"{version}\"}} 1"));
    text
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    line(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
}

fn single(text: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    head(text, name, kind, help);
    line(text, format_args!("{name} {value}"));
}

fn histogram(text: &mut String, name: &str, help: &str, histogram: &Histogram) {
    head(text, name, "histogram", help);
    let mut cumulated = 0;
    for (bound, count) in BUCKETS_MS.iter().zip(histogram.counts) {
        cumulated += count;
        let bound = Duration::from_millis(*bound).as_secs_f64();
        line(text, format_args!("{name}_bucket{{le=\"{bound}\"}} {cumulated}"));
    }
    line(text, format_args!("{name}_bucket{{le=\"+Inf\"}} {}", histogram.count));
    line(text, format_args!("{name}_sum {}", histogram.sum.as_secs_f64()));
    line(text, format_args!("{name}_count {}", histogram.count));
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_end_with_all_observations() {
        let mut it = Histogram::default();
        for ms in [1, 3, 3, 9_000] {
            it.observe(Duration::from_millis(ms));
        }
        let mut text = String::new();
        histogram(&mut text, "h", "A test.", &it);
        for expected in [
            "h_bucket{le=\"0.001\"} 1\n",
            "h_bucket{le=\"0.004\"} 3\n",
            "h_bucket{le=\"8.192\"} 3\n",
            "h_bucket{le=\"+Inf\"} 4\n",
            "h_sum 9.007\n",
            "h_count 4\n",
        ] {
            assert!(text.contains(expected), "{expected} is missing in\n{text}");
        }
    }
}
