//! Alerts on their way to the Alertmanagers: a bounded queue, sent in batches to all of them.

use crate::config::{AlertmanagerConfig, Config};
use crate::relabel;
use crate::rules::Alert;
use crate::scrape::percent_encode;
use crate::server::Prometheus;
use crate::transport::{Credentials, Transport};
use bytes::Bytes;
use http::{Request, header};
use serde_json::{Value as Json, json};
use sim_clock::{Timestamp, watch};
use sim_wire::Labels;
use std::collections::{BTreeMap, VecDeque};

/// Most alerts that wait; the oldest go first (`--alertmanager.notification-queue-capacity`).
pub(crate) const QUEUE_MAX: usize = 10_000;
/// Most alerts of one request.
const BATCH_MAX: usize = 256;

/// An alert as it will be sent.
#[derive(Debug, Clone)]
struct Notification {
    labels: Labels,
    annotations: BTreeMap<String, String>,
    starts_at_ms: Option<i64>,
    ends_at_ms: Option<i64>,
    generator_url: String,
}

/// The queue and what became of it.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    queue: VecDeque<Notification>,
    grew: Option<watch::Sender<u64>>,
    /// Alerts that were sent to an Alertmanager, by its URL; those that failed.
    pub sent: BTreeMap<String, (u64, u64)>,
    /// Alerts that no Alertmanager got.
    pub dropped: u64,
}

impl Notifier {
    /// Tells this channel when the queue grows.
    pub fn attach(&mut self, grew: watch::Sender<u64>) {
        self.grew = Some(grew);
    }

    /// Queues alerts with the query of their rules. External labels fill what alerts leave open, and relabelling has its say.
    pub fn push(&mut self, alerts: Vec<(Alert, String)>, config: &Config, external_url: &str) {
        if alerts.is_empty() || config.alerting.alertmanagers.is_empty() {
            return;
        }
        for (alert, query) in alerts {
            let mut builder = alert.labels.builder();
            for (name, value) in &config.global.external_labels {
                if alert.labels.get(name).is_none() {
                    builder.set(name, value);
                }
            }
            let Some(labels) = relabel::apply(&builder.build(), &config.alerting.alert_relabel_configs) else {
                continue;
            };
            if self.queue.len() >= QUEUE_MAX {
                self.queue.pop_front();
                self.dropped += 1;
            }
            // Go's escape of queries writes a blank as a plus.
            let escaped = percent_encode(&query).replace("%20", "+");
            self.queue.push_back(Notification {
                labels,
                annotations: alert.annotations,
                starts_at_ms: alert.fired_at_ms,
                ends_at_ms: alert.resolved_at_ms.or(alert.valid_until_ms),
                generator_url: format!("{external_url}/graph?g0.expr={escaped}&g0.tab=1"),
            });
        }
        if let Some(grew) = &self.grew {
            grew.send_modify(|count| *count += 1);
        }
    }

    fn next_batch(&mut self) -> Vec<Notification> {
        let size = self.queue.len().min(BATCH_MAX);
        self.queue.drain(..size).collect()
    }
}

/// The Alertmanagers of a configuration with the addresses that alerts are sent to.
pub(crate) fn alertmanagers(config: &Config) -> impl Iterator<Item = (&AlertmanagerConfig, String)> {
    config.alerting.alertmanagers.iter().flat_map(|entry| {
        let groups = entry.static_configs.iter();
        groups.flat_map(|group| group.targets.iter().map(move |target| (target, &group.labels))).filter_map(
            move |(target, labels)| {
                let prefix = entry.path_prefix.trim_end_matches('/');
                let mut builder = Labels::from(labels).builder();
                builder
                    .set("__address__", target)
                    .set("__scheme__", &entry.scheme)
                    .set("__alerts_path__", &format!("{prefix}/api/v2/alerts"));
                let labels = relabel::apply(&builder.build(), &entry.relabel_configs)?;
                let part = |name: &str| labels.value(name).to_owned();
                let url = format!("{}://{}{}", part("__scheme__"), part("__address__"), part("__alerts_path__"));
                Some((entry, url))
            },
        )
    })
}

fn body(batch: &[Notification], entry: &AlertmanagerConfig) -> (usize, Bytes) {
    let time = |ms: Option<i64>| {
        ms.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |ms| Timestamp::from_millis(ms).rfc3339_millis())
    };
    let alerts: Vec<Json> = batch
        .iter()
        .filter_map(|alert| Some((alert, relabel::apply(&alert.labels, &entry.alert_relabel_configs)?)))
        .map(|(alert, labels)| {
            json!({
                "annotations": alert.annotations,
                "endsAt": time(alert.ends_at_ms),
                "startsAt": time(alert.starts_at_ms),
                "generatorURL": alert.generator_url,
                "labels": labels,
            })
        })
        .collect();
    (alerts.len(), Bytes::from(Json::from(alerts).to_string()))
}

/// Sends what is queued, batch by batch, until the channel closes.
pub(crate) async fn run(prometheus: Prometheus, transport: Transport, mut grown: watch::Receiver<u64>) {
    while grown.changed().await.is_ok() {
        loop {
            let (batch, config) = {
                let mut state = prometheus.state();
                (state.notifier.next_batch(), state.config.clone())
            };
            if batch.is_empty() {
                break;
            }
            send(&prometheus, &transport, &config, &batch).await;
        }
    }
}

/// Sends a batch to every Alertmanager at once; one that is away loses it, as Prometheus loses it.
async fn send(prometheus: &Prometheus, transport: &Transport, config: &Config, batch: &[Notification]) {
    let mut sending = Vec::new();
    for (entry, url) in alertmanagers(config) {
        let (count, body) = body(batch, entry);
        if count == 0 {
            continue;
        }
        let (transport, credentials, timeout) = (transport.clone(), Credentials::from(entry), entry.timeout);
        let request = Request::post(&url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, crate::server::USER_AGENT)
            .body(body);
        let task = sim_clock::spawn(&format!("alerts to {url}"), async move {
            let Ok(request) = request else { return false };
            let answer = transport.send(request, &credentials, timeout).await;
            answer.is_ok_and(|response| response.status().is_success())
        });
        sending.push((url, count, task));
    }
    let mut arrived = false;
    for (url, count, task) in sending {
        let ok = task.await.unwrap_or(false);
        arrived |= ok;
        let mut state = prometheus.state();
        let counts = state.notifier.sent.entry(url).or_default();
        counts.0 += count as u64;
        counts.1 += if ok { 0 } else { count as u64 };
    }
    if !arrived {
        prometheus.state().notifier.dropped += batch.len() as u64;
    }
}
