//! The metric families of the operator: its own eight, and those that dashboards and alerts know from controller-runtime, client-go
//! and the process collectors, with their names, label sets and buckets.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use opentelemetry::trace::SpanContext;

use super::{
    registry::{Counter, Exemplar, Gauge, Histogram, Registry},
    span::current_span_context,
};
use crate::host::{Process, system_time};

/// Every family, ready to be written to.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    cluster_info: Gauge,
    cluster_cells: Gauge,
    cluster_shards: Gauge,
    cell_gateway_replicas: Gauge,
    shard_pool_replicas: Gauge,
    toposerver_replicas: Gauge,
    webhook_requests: Counter,
    webhook_duration: Histogram,
    /// `controller_runtime_*`, written by the runner.
    pub(crate) controller: ControllerMetrics,
    /// `workqueue_*`, written by the runner.
    pub(crate) workqueue: WorkqueueMetrics,
    /// `rest_client_requests_total{code,method,host}`.
    pub(crate) rest_client_requests: Counter,
    leader: Gauge,
    /// What became of finished spans: `exported`, `dropped_queue_full`, `dropped_export_failed`, `rejected`.
    pub(crate) trace_spans: Counter,
    /// What became of exports of metrics by OTLP: `exported`, `rejected` (in part), `failed`.
    pub(crate) metric_exports: Counter,
    /// What became of event records: `sent`, `aggregated`, `spam`, `dropped_queue_full`, `failed`.
    pub(crate) event_records: Counter,
}

#[derive(Clone, Debug)]
pub(crate) struct ControllerMetrics {
    pub reconciles: Counter,
    pub errors: Counter,
    pub panics: Counter,
    pub terminal_errors: Counter,
    pub duration: Histogram,
    pub workers_max: Gauge,
    pub workers_active: Gauge,
}

#[derive(Clone, Debug)]
pub(crate) struct WorkqueueMetrics {
    pub depth: Gauge,
    pub adds: Counter,
    pub queue_duration: Histogram,
    pub work_duration: Histogram,
    pub unfinished: Gauge,
    pub longest_running: Gauge,
    pub retries: Counter,
}

/// Which replicas a gauge counts.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Replicas {
    /// How many there shall be.
    pub desired: i32,
    /// How many are ready.
    pub ready: i32,
}

const RECONCILE_BUCKETS_SECONDS: [f64; 40] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5,
    1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0,
];
const DEFAULT_BUCKETS_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const WORKQUEUE_FIRST_BUCKET_SECONDS: f64 = 10e-9;
const WORKQUEUE_BUCKETS: usize = 12;

/// `count` bounds, each ten times the one before, multiplied one by one as client_golang does (so that the bounds read the same:
/// `9.999999999999999e-06`).
fn workqueue_buckets() -> Vec<f64> {
    std::iter::successors(Some(WORKQUEUE_FIRST_BUCKET_SECONDS), |bound| Some(bound * 10.0))
        .take(WORKQUEUE_BUCKETS)
        .collect()
}

/// The families of client_golang's process collector.
fn follow_process(registry: &Registry, process: Arc<dyn Process>) {
    let cpu = registry.counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", &[]);
    let gauge = |name, help| registry.gauge(name, help, &[]);
    let resident = gauge("process_resident_memory_bytes", "Resident memory size in bytes.");
    let virtual_ = gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.");
    let virtual_max = gauge("process_virtual_memory_max_bytes", "Maximum amount of virtual memory available in bytes.");
    let open = gauge("process_open_fds", "Number of open file descriptors.");
    let max = gauge("process_max_fds", "Maximum number of open file descriptors.");
    registry.before_scrape(move || {
        let usage = process.usage();
        if let Some(seconds) = usage.cpu_seconds {
            cpu.raise_to(&[], seconds);
        }
        for (gauge, value) in [
            (&resident, usage.resident_memory_bytes),
            (&virtual_, usage.virtual_memory_bytes),
            (&virtual_max, usage.virtual_memory_max_bytes),
            (&open, usage.open_fds),
            (&max, usage.max_fds),
        ] {
            if let Some(value) = value {
                gauge.set(&[], value as f64);
            }
        }
    });
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Metrics {
    /// Registers every family. `process` is asked at every scrape.
    pub fn new(process: Option<Arc<dyn Process>>) -> Self {
        let registry = Arc::new(Registry::default());
        let r = &registry;
        let controller = ControllerMetrics {
            reconciles: r.counter(
                "controller_runtime_reconcile_total",
                "Total number of reconciliations per controller",
                &["controller", "result"],
            ),
            errors: r.counter(
                "controller_runtime_reconcile_errors_total",
                "Total number of reconciliation errors per controller",
                &["controller"],
            ),
            panics: r.counter(
                "controller_runtime_reconcile_panics_total",
                "Total number of reconciliation panics per controller",
                &["controller"],
            ),
            terminal_errors: r.counter(
                "controller_runtime_terminal_reconcile_errors_total",
                "Total number of terminal reconciliation errors per controller",
                &["controller"],
            ),
            duration: r.histogram(
                "controller_runtime_reconcile_time_seconds",
                "Length of time per reconciliation per controller",
                &["controller"],
                RECONCILE_BUCKETS_SECONDS.to_vec(),
            ),
            workers_max: r.gauge(
                "controller_runtime_max_concurrent_reconciles",
                "Maximum number of concurrent reconciles per controller",
                &["controller"],
            ),
            workers_active: r.gauge(
                "controller_runtime_active_workers",
                "Number of currently used workers per controller",
                &["controller"],
            ),
        };
        let workqueue = WorkqueueMetrics {
            depth: r.gauge("workqueue_depth", "Current depth of workqueue", &["controller", "name"]),
            adds: r.counter(
                "workqueue_adds_total",
                "Total number of adds handled by workqueue",
                &["controller", "name"],
            ),
            queue_duration: r.histogram(
                "workqueue_queue_duration_seconds",
                "How long in seconds an item stays in workqueue before being requested",
                &["controller", "name"],
                workqueue_buckets(),
            ),
            work_duration: r.histogram(
                "workqueue_work_duration_seconds",
                "How long in seconds processing an item from workqueue takes.",
                &["controller", "name"],
                workqueue_buckets(),
            ),
            unfinished: r.gauge(
                "workqueue_unfinished_work_seconds",
                "How many seconds of work has been done that is in progress and hasn't been observed by work_duration",
                &["controller", "name"],
            ),
            longest_running: r.gauge(
                "workqueue_longest_running_processor_seconds",
                "How many seconds has the longest running processor for workqueue been running.",
                &["controller", "name"],
            ),
            retries: r.counter(
                "workqueue_retries_total",
                "Total number of retries handled by workqueue",
                &["controller", "name"],
            ),
        };
        let start_time =
            r.gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", &[]);
        start_time.set(&[], now_seconds());
        if let Some(process) = process {
            follow_process(r, process);
        }
        Self {
            cluster_info: r.gauge(
                "multigres_operator_cluster_info",
                "The phase of each MultigresCluster; always 1",
                &["name", "namespace", "phase"],
            ),
            cluster_cells: r.gauge(
                "multigres_operator_cluster_cells_total",
                "Number of cells in each MultigresCluster",
                &["cluster", "namespace"],
            ),
            cluster_shards: r.gauge(
                "multigres_operator_cluster_shards_total",
                "Number of shards in each MultigresCluster",
                &["cluster", "namespace"],
            ),
            cell_gateway_replicas: r.gauge(
                "multigres_operator_cell_gateway_replicas",
                "MultiGateway replicas of each Cell, desired and ready",
                &["cell", "namespace", "state"],
            ),
            shard_pool_replicas: r.gauge(
                "multigres_operator_shard_pool_replicas",
                "Replicas of each pool of each Shard, desired and ready, over all cells",
                &["shard", "pool", "namespace", "state"],
            ),
            toposerver_replicas: r.gauge(
                "multigres_operator_toposerver_replicas",
                "Replicas of each TopoServer, desired and ready",
                &["name", "namespace", "state"],
            ),
            webhook_requests: r.counter(
                "multigres_operator_webhook_request_total",
                "Admission requests by outcome",
                &["operation", "resource", "result"],
            ),
            webhook_duration: r.histogram(
                "multigres_operator_webhook_request_duration_seconds",
                "Time taken by admission requests",
                &["operation", "resource"],
                DEFAULT_BUCKETS_SECONDS.to_vec(),
            ),
            rest_client_requests: r.counter(
                "rest_client_requests_total",
                "Number of HTTP requests, partitioned by status code, method, and host.",
                &["code", "host", "method"],
            ),
            leader: r.gauge(
                "leader_election_master_status",
                "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master. 'name' is the string used to identify the lease. Please make sure to group by name.",
                &["name"],
            ),
            trace_spans: r.counter(
                "multigres_operator_trace_spans_total",
                "Finished sampled spans by what became of them",
                &["outcome"],
            ),
            metric_exports: r.counter(
                "multigres_operator_metric_exports_total",
                "Exports of all metrics by OTLP, by what became of them",
                &["outcome"],
            ),
            event_records: r.counter(
                "multigres_operator_event_records_total",
                "Recorded Kubernetes events by what became of them",
                &["outcome"],
            ),
            controller,
            workqueue,
            registry,
        }
    }

    /// The registry, for the metrics server and for families of one's own.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Says in which phase a cluster is. The phase it was in before disappears in the same instant.
    pub fn set_cluster_phase(&self, namespace: &str, name: &str, phase: &str) {
        self.cluster_info.replace_where(&[("name", name), ("namespace", namespace)], &[name, namespace, phase], 1.0);
    }

    /// Says how many cells and shards a cluster has.
    pub fn set_cluster_size(&self, namespace: &str, name: &str, cells: usize, shards: usize) {
        self.cluster_cells.set(&[name, namespace], cells as f64);
        self.cluster_shards.set(&[name, namespace], shards as f64);
    }

    /// Removes the series of a deleted cluster.
    pub fn forget_cluster(&self, namespace: &str, name: &str) {
        self.cluster_info.remove_where(&[("name", name), ("namespace", namespace)]);
        self.cluster_cells.remove_where(&[("cluster", name), ("namespace", namespace)]);
        self.cluster_shards.remove_where(&[("cluster", name), ("namespace", namespace)]);
    }

    /// Says how many gateways the Cell object `cell` has.
    pub fn set_cell_gateway_replicas(&self, namespace: &str, cell: &str, replicas: Replicas) {
        self.cell_gateway_replicas.set(&[cell, namespace, "desired"], f64::from(replicas.desired));
        self.cell_gateway_replicas.set(&[cell, namespace, "ready"], f64::from(replicas.ready));
    }

    /// Removes the series of a deleted Cell.
    pub fn forget_cell(&self, namespace: &str, cell: &str) {
        self.cell_gateway_replicas.remove_where(&[("cell", cell), ("namespace", namespace)]);
    }

    /// Says how many replicas a pool of the Shard object `shard` has, summed over its cells.
    pub fn set_shard_pool_replicas(&self, namespace: &str, shard: &str, pool: &str, replicas: Replicas) {
        self.shard_pool_replicas.set(&[shard, pool, namespace, "desired"], f64::from(replicas.desired));
        self.shard_pool_replicas.set(&[shard, pool, namespace, "ready"], f64::from(replicas.ready));
    }

    /// Removes the series of one pool that a Shard no longer has.
    pub fn forget_shard_pool(&self, namespace: &str, shard: &str, pool: &str) {
        self.shard_pool_replicas.remove_where(&[("shard", shard), ("pool", pool), ("namespace", namespace)]);
    }

    /// Removes the series of a deleted Shard.
    pub fn forget_shard(&self, namespace: &str, shard: &str) {
        self.shard_pool_replicas.remove_where(&[("shard", shard), ("namespace", namespace)]);
    }

    /// Says how many members a TopoServer has.
    pub fn set_toposerver_replicas(&self, namespace: &str, name: &str, replicas: Replicas) {
        self.toposerver_replicas.set(&[name, namespace, "desired"], f64::from(replicas.desired));
        self.toposerver_replicas.set(&[name, namespace, "ready"], f64::from(replicas.ready));
    }

    /// Removes the series of a deleted TopoServer.
    pub fn forget_toposerver(&self, namespace: &str, name: &str) {
        self.toposerver_replicas.remove_where(&[("name", name), ("namespace", namespace)]);
    }

    /// Says whether this operator holds a lease. Without leader election there is no such series, as in controller-runtime.
    pub fn set_leader(&self, lease: &str, leads: bool) {
        self.leader.set(&[lease], f64::from(u8::from(leads)));
    }

    /// Counts and times one admission request, whatever its outcome.
    pub fn observe_webhook(&self, operation: &str, resource: &str, succeeded: bool, took: Duration) {
        self.webhook_requests.inc(&[operation, resource, if succeeded { "success" } else { "error" }]);
        self.webhook_duration.observe(&[operation, resource], took.as_secs_f64(), current_exemplar());
    }
}

/// The current trace as an exemplar, if it is sampled (one that is not could not be looked up).
pub(crate) fn current_exemplar() -> Option<Exemplar> {
    let context = current_span_context().filter(SpanContext::is_sampled)?;
    Some(Exemplar { trace_id: context.trace_id().to_string(), at_seconds: now_seconds() })
}

pub(crate) fn now_seconds() -> f64 {
    system_time().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::{super::registry::Format, *};

    #[test]
    fn bucket_bounds_read_as_those_of_client_golang() {
        let metrics = Metrics::default();
        metrics.workqueue.work_duration.touch(&["c", "c"]);
        metrics.controller.duration.touch(&["c"]);
        let text = metrics.registry().encode(Format::Text);
        let bounds = |family: &str| -> Vec<String> {
            text.lines()
                .filter(|line| line.starts_with(&format!("{family}_bucket")))
                .map(|line| line.split("le=\"").nth(1).unwrap().split('"').next().unwrap().to_owned())
                .collect()
        };
        assert_eq!(
            bounds("workqueue_work_duration_seconds").join(" "),
            "1e-08 1e-07 1e-06 9.999999999999999e-06 9.999999999999999e-05 0.001 0.01 0.1 1 10 100 1000 +Inf"
        );
        assert_eq!(
            bounds("controller_runtime_reconcile_time_seconds").join(" "),
            "0.005 0.01 0.025 0.05 0.1 0.15 0.2 0.25 0.3 0.35 0.4 0.45 0.5 0.6 0.7 0.8 0.9 1 1.25 1.5 1.75 2 2.5 3 3.5 4 4.5 5 6 7 \
             8 9 10 15 20 25 30 40 50 60 +Inf"
        );
    }

    #[test]
    fn a_deleted_object_leaves_no_series() {
        let metrics = Metrics::default();
        let replicas = Replicas { desired: 3, ready: 1 };
        metrics.set_cluster_phase("n", "c", "Healthy");
        metrics.set_cluster_size("n", "c", 1, 2);
        metrics.set_cell_gateway_replicas("n", "cell", replicas);
        metrics.set_shard_pool_replicas("n", "shard", "readWrite", replicas);
        metrics.set_toposerver_replicas("n", "topo", replicas);
        let text = metrics.registry().encode(Format::Text);
        assert!(text.contains("multigres_operator_cluster_shards_total{cluster=\"c\",namespace=\"n\"} 2"), "{text}");
        assert!(
            text.contains("multigres_operator_toposerver_replicas{name=\"topo\",namespace=\"n\",state=\"ready\"} 1"),
            "{text}"
        );
        metrics.forget_cluster("n", "c");
        metrics.forget_cell("n", "cell");
        metrics.forget_shard("n", "shard");
        metrics.forget_toposerver("n", "topo");
        assert!(!metrics.registry().encode(Format::Text).contains("multigres_operator_"));
    }

    #[test]
    fn a_phase_is_never_missing_between_two() {
        let metrics = Metrics::default();
        for phase in ["Initializing", "Progressing", "Healthy"] {
            metrics.set_cluster_phase("n", "c", phase);
            let text = metrics.registry().encode(Format::Text);
            let series: Vec<_> =
                text.lines().filter(|line| line.starts_with("multigres_operator_cluster_info")).collect();
            assert_eq!(
                series,
                [format!("multigres_operator_cluster_info{{name=\"c\",namespace=\"n\",phase=\"{phase}\"}} 1")]
            );
        }
    }
}
