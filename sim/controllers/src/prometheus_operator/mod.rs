//! The Prometheus Operator: Prometheus, ServiceMonitor, PodMonitor, Probe and PrometheusRule objects become a configured Prometheus,
//! and Alertmanager objects Alertmanagers; VMServiceScrape and VMRule objects, where [`Options::victoria_metrics`] says so, are
//! selected and translated like the first.
//!
//! [`run`] watches the cluster through the Kubernetes API and applies, for each Alertmanager object, the Service
//! `alertmanager-operated` and the StatefulSet `alertmanager-<name>` (see [`alertmanager`]), and for each Prometheus object
//!
//! | object | holds |
//! |---|---|
//! | Secret `prometheus-<name>` | `prometheus.yaml`, with a scrape configuration per endpoint of each selected monitor and Probe |
//! | ConfigMap `prometheus-<name>-rulefiles-0` | a rule file per selected PrometheusRule |
//! | Service `prometheus-operated` | the governing Service |
//! | StatefulSet `prometheus-<name>` | Prometheus itself |
//!
//! and writes the condition `Reconciled` to its status. Differences from the real operator: targets are written as
//! `static_configs` with the labels that discovery and relabelling would have yielded (discovery inside Prometheus is
//! not modelled); the configuration is stored uncompressed and read by Prometheus itself (feature
//! `auto-reload-config`), without the config-reloader sidecar; ScrapeConfig and AlertmanagerConfig objects
//! are not read. Fields that are not acted on are named in the condition's message.

pub mod alertmanager;
pub mod config;
pub mod model;
pub mod objects;
pub mod probe;
pub mod store;
pub mod targets;
pub mod victoria;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::{join_all, select};
use serde_json::Value;
use sim_net::Host;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::api::{Api, Backoff, Token, Update};
use crate::error::Error;
pub use objects::{Built, build};
pub use store::{Cluster, Key, Kind};

/// The field manager of everything that is written.
const FIELD_MANAGER: &str = "prometheus-operator";
/// Updates that wait to be taken in; beyond it the watches wait.
const UPDATES_MAX: usize = 1024;
/// Changes that come this close together lead to one configuration.
const SETTLE: Duration = Duration::from_millis(100);

/// Settings of [`run`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Name and port of the API server.
    pub api_server: String,
    /// Who it is for the API server.
    pub token: Token,
    /// Whether VMServiceScrape and VMRule objects are read, too. Their definitions should be installed then.
    pub victoria_metrics: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { api_server: "kubernetes.default.svc:443".to_owned(), token: Token::none(), victoria_metrics: false }
    }
}

/// Runs the operator on `host` until it is dropped. Needs no task of its own: when the future is dropped, its watches
/// end with it.
pub async fn run(host: Host, options: Options) {
    let api = Api::new(host, &options.api_server, "PrometheusOperator/0.93.1", options.token);
    let (sender, receiver) = mpsc::channel(UPDATES_MAX);
    let (asked_for, wanted) = sim_clock::watch::channel(BTreeSet::new());
    let watches = join_all(Kind::ALL.map(|kind| {
        let (api, sender, mut wanted) = (&api, sender.clone(), wanted.clone());
        async move {
            // PodMonitors and Probes are looked at from the first Prometheus on that selects any.
            if kind.is_optional() && wanted.wait_for(|wanted| wanted.contains(&kind)).await.is_err() {
                return;
            }
            api.follow(kind.path(), kind, sender).await;
        }
    }));
    drop(sender);
    let reconciled = reconcile(&api, receiver, asked_for, options.victoria_metrics);
    drop(select(Box::pin(watches), Box::pin(reconciled)).await);
}

/// What has been written, so that only changes are.
#[derive(Default)]
struct Written {
    /// Objects by path.
    objects: BTreeMap<String, Value>,
    /// The warnings or the failure last written to a status, by the path of the object.
    conditions: BTreeMap<String, (i64, Result<Vec<String>, String>)>,
}

async fn reconcile(
    api: &Api,
    mut updates: mpsc::Receiver<(Kind, Update)>,
    asked_for: sim_clock::watch::Sender<BTreeSet<Kind>>,
    victoria_metrics: bool,
) {
    let mut cluster = Cluster::default();
    let mut unlisted: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| !kind.is_optional()).collect();
    let mut followed = BTreeSet::new();
    let mut written = Written::default();
    let mut backoff = Backoff::new("prometheus-operator/apply");
    let mut failed = false;
    loop {
        let mut changed = false;
        if failed {
            backoff.pause().await;
        } else {
            let Some((kind, update)) = updates.recv().await else { return };
            changed |= take_in(&mut cluster, &mut unlisted, kind, update);
            if changed {
                sleep(SETTLE).await;
            }
        }
        while let Ok((kind, update)) = updates.try_recv() {
            changed |= take_in(&mut cluster, &mut unlisted, kind, update);
        }
        let more: Vec<Kind> =
            wanted(&cluster, victoria_metrics).into_iter().filter(|kind| followed.insert(*kind)).collect();
        if !more.is_empty() {
            unlisted.extend(more);
            asked_for.send_replace(followed.clone());
        }
        // Before everything has been listed once, a configuration would lack targets that are there.
        if !unlisted.is_empty() || !(changed || failed) {
            continue;
        }
        failed = !apply_all(api, &cluster, &mut written).await;
        if !failed {
            backoff.reset();
        }
    }
}

/// The optional kinds that something asks for.
fn wanted(cluster: &Cluster, victoria_metrics: bool) -> Vec<Kind> {
    let any = |asks: fn(&model::PrometheusSpec) -> bool| cluster.prometheuses.values().any(|one| asks(&one.spec));
    [
        (Kind::PodMonitor, any(|spec| spec.pod_monitor_selector.is_some())),
        (Kind::Probe, any(|spec| spec.probe_selector.is_some())),
        (Kind::VMServiceScrape, victoria_metrics),
        (Kind::VMRule, victoria_metrics),
    ]
    .into_iter()
    .filter_map(|(kind, asked)| asked.then_some(kind))
    .collect()
}

fn take_in(cluster: &mut Cluster, unlisted: &mut Vec<Kind>, kind: Kind, update: Update) -> bool {
    match update {
        Update::Listed(objects) => {
            let first = unlisted.contains(&kind);
            unlisted.retain(|waiting| *waiting != kind);
            cluster.replace(kind, objects) || first
        }
        Update::Put(object) => cluster.put(kind, object),
        Update::Gone(object) => cluster.remove(kind, &store::key_of(&object)),
    }
}

/// Writes what differs from what was written before. False where something could not be written.
async fn apply_all(api: &Api, cluster: &Cluster, written: &mut Written) -> bool {
    let mut wanted_paths = BTreeSet::new();
    let mut all_well = true;
    // Alertmanagers first: a Prometheus is told where they are.
    let alertmanagers =
        cluster.alertmanagers.values().map(|one| ("Alertmanager", &one.metadata, alertmanager::build(one)));
    let prometheuses = cluster.prometheuses.values().map(|one| ("Prometheus", &one.metadata, build(one, cluster)));
    for (kind, meta, Built { objects, warnings }) in alertmanagers.chain(prometheuses) {
        let mut outcome = Ok(warnings);
        for object in objects {
            let path = path_of(&object);
            wanted_paths.insert(path.clone());
            if written.objects.get(&path) == Some(&object) {
                continue;
            }
            match api.apply(&path, FIELD_MANAGER, &object).await {
                Ok(_) => {
                    written.objects.insert(path, object);
                }
                Err(error) => {
                    outcome = Err(error.to_string());
                    break;
                }
            }
        }
        all_well &= outcome.is_ok();
        all_well &= report(api, kind, meta, outcome, written).await.is_ok();
    }
    // Children of what is gone are collected by their owner reference; should it come back, they are
    // written anew.
    written.objects.retain(|path, _| wanted_paths.contains(path));
    all_well
}

async fn report(
    api: &Api,
    kind: &str,
    meta: &model::Meta,
    outcome: Result<Vec<String>, String>,
    written: &mut Written,
) -> Result<(), Error> {
    let model::Meta { name, namespace, generation, .. } = meta;
    let collection = if kind == "Alertmanager" { "alertmanagers" } else { "prometheuses" };
    let path = format!("/apis/monitoring.coreos.com/v1/namespaces/{namespace}/{collection}/{name}/status");
    let condition = (*generation, outcome);
    if written.conditions.get(&path) == Some(&condition) {
        return Ok(());
    }
    let (warnings, failure) = match &condition.1 {
        Ok(warnings) => (warnings.as_slice(), None),
        Err(failure) => (&[][..], Some(failure.as_str())),
    };
    let status = objects::status(kind, meta, warnings, failure, &sim_clock::now().rfc3339());
    api.apply(&path, FIELD_MANAGER, &status).await?;
    written.conditions.insert(path, condition);
    Ok(())
}

/// The path of an object that [`build`] makes.
fn path_of(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (namespace, name) = store::key_of(object);
    let collection = match object["kind"].as_str() {
        Some("Secret") => "secrets",
        Some("ConfigMap") => "configmaps",
        Some("Service") => "services",
        Some("StatefulSet") => "statefulsets",
        other => unreachable!("build makes no {other:?}"),
    };
    let version = text(&object["apiVersion"]);
    let root = if version.contains('/') { "apis" } else { "api" };
    format!("/{root}/{version}/namespaces/{namespace}/{collection}/{name}")
}

#[cfg(test)]
mod tests;
