//! The Collector's own metrics in the Prometheus text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::data::Signal;
use crate::pipeline::{Collector, DropReason};

/// Renders `otelcol_*`; with `type_suffix` the counters end in `_total`.
pub fn render(collector: &Collector, type_suffix: bool) -> String {
    let mut counters: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
    let suffix = if type_suffix { "_total" } else { "" };
    let mut count = |family: &str, signal: Signal, labels: String, value: u64| {
        let name = format!("otelcol_{family}_{}{suffix}", signal.items_text());
        counters.entry(name).or_default().push((labels, value));
    };
    for ((receiver, transport, signal), counts) in collector.receivers() {
        let labels = format!("receiver=\"{receiver}\",transport=\"{transport}\"");
        count("receiver_accepted", *signal, labels.clone(), counts.accepted);
        count("receiver_refused", *signal, labels, counts.refused);
    }
    for ((exporter, signal), ledger) in &collector.accounting().exporters {
        let labels = format!("exporter=\"{exporter}\"");
        let dropped = |reason: DropReason| ledger.dropped.get(&reason).copied().unwrap_or(0);
        count("exporter_sent", *signal, labels.clone(), ledger.sent);
        count(
            "exporter_send_failed",
            *signal,
            labels.clone(),
            dropped(DropReason::Permanent) + dropped(DropReason::RetriesExhausted),
        );
        count("exporter_enqueue_failed", *signal, labels, dropped(DropReason::QueueFull));
    }
    let mut out = String::new();
    for (name, series) in counters {
        let _ = writeln!(out, "# TYPE {name} counter");
        for (labels, value) in series {
            let _ = writeln!(out, "{name}{{{labels}}} {value}");
        }
    }
    for (name, pick) in [("otelcol_exporter_queue_size", 1), ("otelcol_exporter_queue_capacity", 2)] {
        let _ = writeln!(out, "# TYPE {name} gauge");
        for (exporter, size, capacity) in collector.queues() {
            let _ = writeln!(out, "{name}{{exporter=\"{exporter}\"}} {}", if pick == 1 { size } else { capacity });
        }
    }
    out
}
