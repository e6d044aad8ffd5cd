//! `/metrics`: the families that dashboards and alerts about Alertmanager use.

use super::{Status, VERSION};
use crate::config::INTEGRATIONS;
use crate::engine::Engine;
use crate::silence::SilenceState;
use sim_clock::Timestamp;

/// Why a notification fails for good.
const REASONS: [&str; 6] =
    ["clientError", "contextCanceled", "contextDeadlineExceeded", "other", "rateLimited", "serverError"];

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.0.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, series: &str, value: f64) {
        self.0.push_str(&format!("{series} {}\n", sim_wire::format_float(value)));
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(name, value);
    }
}

/// The whole page.
pub(super) fn page(engine: &Engine, status: &Status, now: Timestamp) -> String {
    let mut page = Page(String::new());
    let counters = engine.counters();
    page.family("alertmanager_alerts", "gauge", "How many alerts by state.");
    for (state, count) in engine.alerts_by_state(now) {
        page.sample(&format!("alertmanager_alerts{{state=\"{state}\"}}"), count as f64);
    }
    page.family(
        "alertmanager_alerts_invalid_total",
        "counter",
        "The total number of received alerts that were invalid.",
    );
    page.sample("alertmanager_alerts_invalid_total{version=\"v2\"}", counters.invalid as f64);
    page.single(
        "alertmanager_alerts_limited_total",
        "counter",
        "Total number of alerts that were dropped due to per alert name limit",
        counters.limited as f64,
    );
    page.family("alertmanager_alerts_received_total", "counter", "The total number of received alerts.");
    for (state, count) in [("firing", counters.received_firing), ("resolved", counters.received_resolved)] {
        page.sample(&format!("alertmanager_alerts_received_total{{status=\"{state}\",version=\"v2\"}}"), count as f64);
    }
    page.family("alertmanager_build_info", "gauge", "The version of Alertmanager that is modelled.");
    page.sample(&format!("alertmanager_build_info{{branch=\"sim\",revision=\"sim\",version=\"{VERSION}\"}}"), 1.0);
    page.single("alertmanager_cluster_enabled", "gauge", "Indicates whether the clustering is enabled or not.", 0.0);
    page.single(
        "alertmanager_config_last_reload_success_timestamp_seconds",
        "gauge",
        "Timestamp of the last successful configuration reload.",
        status.reloaded.as_secs_f64(),
    );
    page.single(
        "alertmanager_config_last_reload_successful",
        "gauge",
        "Whether the last configuration reload attempt was successful.",
        f64::from(u8::from(status.reload_ok)),
    );
    page.single(
        "alertmanager_dispatcher_aggregation_group_limit_reached_total",
        "counter",
        "Number of times when dispatcher failed to create new aggregation group due to limit.",
        counters.groups_limited as f64,
    );
    page.single(
        "alertmanager_dispatcher_aggregation_groups",
        "gauge",
        "Number of active aggregation groups",
        engine.group_count() as f64,
    );
    page.single(
        "alertmanager_inhibition_rules",
        "gauge",
        "Number of configured inhibition rules.",
        engine.inhibition_rules() as f64,
    );
    let integrations: usize = engine.config().receivers.iter().map(|receiver| receiver.integrations.len()).sum();
    page.single("alertmanager_integrations", "gauge", "Number of configured integrations.", integrations as f64);
    notifications(&mut page, engine);
    page.single(
        "alertmanager_receivers",
        "gauge",
        "Number of configured receivers.",
        engine.config().receivers.len() as f64,
    );
    page.family("alertmanager_silences", "gauge", "How many silences by state.");
    for state in [SilenceState::Active, SilenceState::Expired, SilenceState::Pending] {
        let count = engine.silences().iter().filter(|silence| silence.state(now) == state).count();
        page.sample(&format!("alertmanager_silences{{state=\"{}\"}}", state.as_str()), count as f64);
    }
    page.single(
        "process_start_time_seconds",
        "gauge",
        "Start time of the process since unix epoch in seconds.",
        status.started.as_secs_f64(),
    );
    page.0
}

fn notifications(page: &mut Page, engine: &Engine) {
    let counters = engine.counters();
    let mut kinds: Vec<&str> = INTEGRATIONS.iter().map(|(kind, _)| *kind).collect();
    kinds.sort_unstable();
    page.family("alertmanager_notification_latency_seconds", "histogram", "The latency of notifications in seconds.");
    for kind in &kinds {
        let name = "alertmanager_notification_latency_seconds";
        let requests = counters.requests.get(kind).copied().unwrap_or(0) as f64;
        let buckets = counters.latency_buckets.get(kind).copied().unwrap_or_default();
        for (bound, count) in crate::engine::LATENCY_BOUNDS_SECS.iter().zip(buckets) {
            page.sample(&format!("{name}_bucket{{integration=\"{kind}\",le=\"{bound}\"}}"), count as f64);
        }
        page.sample(&format!("{name}_bucket{{integration=\"{kind}\",le=\"+Inf\"}}"), requests);
        let nanos = counters.latency_nanos.get(kind).copied().unwrap_or(0);
        page.sample(&format!("{name}_sum{{integration=\"{kind}\"}}"), nanos as f64 / 1e9);
        page.sample(&format!("{name}_count{{integration=\"{kind}\"}}"), requests);
    }
    for (name, help, of) in [
        (
            "alertmanager_notification_requests_failed_total",
            "The total number of failed notification requests.",
            &counters.requests_failed,
        ),
        (
            "alertmanager_notification_requests_total",
            "The total number of attempted notification requests.",
            &counters.requests,
        ),
    ] {
        page.family(name, "counter", help);
        for kind in &kinds {
            let count = of.get(kind).copied().unwrap_or(0);
            page.sample(&format!("{name}{{integration=\"{kind}\"}}"), count as f64);
        }
    }
    let failed = "alertmanager_notifications_failed_total";
    page.family(failed, "counter", "The total number of failed notifications.");
    for kind in &kinds {
        for reason in REASONS {
            let count = counters.failed.get(&(*kind, reason)).copied().unwrap_or(0);
            page.sample(&format!("{failed}{{integration=\"{kind}\",reason=\"{reason}\"}}"), count as f64);
        }
    }
    let suppressed = "alertmanager_notifications_suppressed_total";
    page.family(
        suppressed,
        "counter",
        "The total number of notifications suppressed for being silenced, inhibited, outside of active time intervals or within muted time intervals.",
    );
    for reason in ["active_time_interval", "inhibition", "mute_time_interval", "silence"] {
        let count = counters.suppressed.get(reason).copied().unwrap_or(0);
        page.sample(&format!("{suppressed}{{reason=\"{reason}\"}}"), count as f64);
    }
    let sent = "alertmanager_notifications_total";
    page.family(sent, "counter", "The total number of attempted notifications.");
    for kind in &kinds {
        page.sample(
            &format!("{sent}{{integration=\"{kind}\"}}"),
            counters.notifications.get(kind).copied().unwrap_or(0) as f64,
        );
    }
}
