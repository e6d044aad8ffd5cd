//! The query interfaces of a world, each asked over the wire as a stranger would.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use etcd_api::client::KvClient;
use http::StatusCode;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy as client;
use multigres_operator::{
    host::NoFiles,
    tls::client::{ClientTls, HttpsConnector, Trust},
};
use scenario_expectations::{BackendError, Backends, LogLine, backends::Result};
use serde_json::Value;
use sim_net::{
    Host,
    http::{Client, Connector, Executor},
};
use sim_world::logs::LogStore;

use crate::{kube_client::KubeClient, operator};

const PROMETHEUS: &str = "http://prometheus.multigres-operator.svc:9090";
const TEMPO: &str = "http://tempo.multigres-operator.svc:3200";
const OPERATOR_METRICS: &str =
    "https://multigres-operator-controller-manager-metrics-service.multigres-operator.svc:8443/metrics";
/// How long the operator may take to answer, and how much.
const METRICS_TIMEOUT: Duration = Duration::from_secs(10);
const METRICS_BYTES_MAX: usize = 64 * 1024 * 1024;
const ETCD_TIMEOUT: Duration = Duration::from_secs(2);

/// The query interfaces of a world.
pub struct Embedded {
    host: Host,
    kube: Arc<KubeClient>,
    http: Client,
    logs: LogStore,
}

impl Embedded {
    /// Asks from `host`.
    pub fn new(host: Host, kube: Arc<KubeClient>, logs: LogStore) -> Self {
        Self { http: Client::new(host.clone()), host, kube, logs }
    }

    async fn json(&self, backend: &'static str, url: &str) -> Result<(StatusCode, Value)> {
        let response = self
            .http
            .get(url)
            .await
            .map_err(|error| BackendError::Unreachable { backend, reason: error.to_string() })?;
        if !response.status().is_success() {
            let text = String::from_utf8_lossy(response.body()).into_owned();
            return Ok((response.status(), serde_json::from_str(&text).unwrap_or(Value::String(text))));
        }
        let value = serde_json::from_slice(response.body())
            .map_err(|error| BackendError::Malformed { backend, reason: error.to_string() })?;
        Ok((response.status(), value))
    }

    async fn prometheus(&self, path: &str) -> Result<Value> {
        const BACKEND: &str = "Prometheus";
        let (status, mut body) = self.json(BACKEND, &format!("{PROMETHEUS}{path}")).await?;
        match body["status"].as_str() {
            Some("success") => Ok(body["data"].take()),
            _ => {
                let message = body["error"].as_str().map_or_else(|| body.to_string(), ToOwned::to_owned);
                Err(BackendError::Refused { backend: BACKEND, status: status.as_u16(), message })
            }
        }
    }

    /// The operator's metrics in the text format, as its Prometheus's account may get them; nothing where no operator answers.
    pub async fn operator_metrics(&self) -> String {
        self.ask_operator().await.unwrap_or_default()
    }

    async fn ask_operator(&self) -> Option<String> {
        let token = self.kube.token("multigres-operator", "prometheus").await.ok()?;
        let tls = ClientTls { trust: Trust::Anybody, ..ClientTls::default() };
        let connector = HttpsConnector::new(operator::connector(self.host.clone()), Arc::new(NoFiles), tls);
        let request = http::Request::get(OPERATOR_METRICS)
            .header(http::header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Full::<Bytes>::default())
            .ok()?;
        let asked = async {
            let response = client::Client::builder(Executor).build(connector).request(request).await.ok()?;
            let page = response.status().is_success();
            let body = Limited::new(response.into_body(), METRICS_BYTES_MAX).collect().await.ok()?.to_bytes();
            page.then(|| String::from_utf8_lossy(&body).into_owned())
        };
        tokio::time::timeout(METRICS_TIMEOUT, asked).await.ok().flatten()
    }

    /// A client of each topology server: those that the operator runs, and Services of somebody else's etcd, which say by
    /// their label `app.kubernetes.io/name` that they are one.
    async fn topology_servers(&self) -> Result<Vec<KvClient>> {
        let managed = self.kube.list("TopoServer", None).await?;
        let services = self.kube.list("Service", None).await?;
        let foreign = services.iter().filter(|service| {
            let headless = service["spec"]["clusterIP"] == "None";
            service["metadata"]["labels"]["app.kubernetes.io/name"] == "etcd" && !headless
        });
        let mut clients = Vec::new();
        for server in managed.iter().chain(foreign) {
            let (Some(name), Some(namespace)) =
                (server["metadata"]["name"].as_str(), server["metadata"]["namespace"].as_str())
            else {
                continue;
            };
            let url = format!("http://{name}.{namespace}.svc:2379");
            let endpoint = tonic::transport::Endpoint::from_shared(url)
                .map_err(|error| etcd_error(&error))?
                .connect_timeout(ETCD_TIMEOUT)
                .timeout(ETCD_TIMEOUT);
            let channel = endpoint
                .connect_with_connector(Connector::new(self.host.clone()))
                .await
                .map_err(|error| etcd_error(&error))?;
            clients.push(KvClient::new(channel));
        }
        Ok(clients)
    }
}

fn etcd_error(error: &dyn std::error::Error) -> BackendError {
    let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
    BackendError::Unreachable { backend: "etcd", reason: format!("{error}{cause}") }
}

/// Seconds with their milliseconds, as Prometheus's API wants instants.
fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000))
}

/// Percent-encodes everything but what is safe in any part of a URL.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[async_trait]
impl Backends for Embedded {
    async fn kube_list(&self, kind: &str, namespace: Option<&str>) -> Result<Arc<Vec<Value>>> {
        self.kube.list(kind, namespace).await
    }

    async fn kube_get(&self, kind: &str, namespace: Option<&str>, name: &str) -> Result<Option<Value>> {
        self.kube.get(kind, namespace, name).await
    }

    async fn prom_query(&self, expr: &str, at_ms: i64) -> Result<Value> {
        self.prometheus(&format!("/api/v1/query?query={}&time={}", encode(expr), seconds(at_ms))).await
    }

    async fn prom_query_range(&self, expr: &str, start_ms: i64, end_ms: i64, step_ms: i64) -> Result<Value> {
        let (start, end, step) = (seconds(start_ms), seconds(end_ms), seconds(step_ms));
        self.prometheus(&format!("/api/v1/query_range?query={}&start={start}&end={end}&step={step}", encode(expr)))
            .await
    }

    async fn prom_get(&self, path: &str) -> Result<Value> {
        self.prometheus(path).await
    }

    async fn tempo_search(&self, query: &str, start_s: i64, end_s: i64, limit: usize) -> Result<Value> {
        let url = format!("{TEMPO}/api/search?q={}&start={start_s}&end={end_s}&limit={limit}", encode(query));
        let (status, body) = self.json("Tempo", &url).await?;
        if status.is_success() {
            return Ok(body);
        }
        let message = body.as_str().map_or_else(|| body.to_string(), ToOwned::to_owned);
        Err(BackendError::Refused { backend: "Tempo", status: status.as_u16(), message })
    }

    async fn tempo_trace(&self, id: &str) -> Result<Option<Value>> {
        let (status, body) = self.json("Tempo", &format!("{TEMPO}/api/traces/{id}")).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(body)),
            status => {
                Err(BackendError::Refused { backend: "Tempo", status: status.as_u16(), message: body.to_string() })
            }
        }
    }

    async fn etcd_get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        for client in self.topology_servers().await? {
            if let Some(value) = client.get(key).await.map_err(|error| etcd_error(&error))? {
                return Ok(Some(value.value));
            }
        }
        Ok(None)
    }

    async fn etcd_list(&self, prefix: &str) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        for client in self.topology_servers().await? {
            for value in client.list(prefix).await.map_err(|error| etcd_error(&error))? {
                keys.push(String::from_utf8_lossy(&value.key).into_owned());
            }
        }
        keys.sort();
        Ok(keys)
    }

    async fn logs(&self) -> Result<Vec<LogLine>> {
        Ok(self.logs.lines().into_iter().map(log_line).collect())
    }

    fn now_ns(&self) -> i64 {
        sim_clock::now().as_nanos()
    }
}

/// A line as expectations see it.
pub(crate) fn log_line(line: sim_world::logs::LogLine) -> LogLine {
    let json = serde_json::from_str(&line.text).ok().filter(Value::is_object);
    LogLine { ts_ns: line.at.as_nanos(), process: line.program.to_string(), text: line.text, json }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded_and_instants_keep_their_milliseconds() {
        assert_eq!(encode("a{b=\"c\"} > 0"), "a%7Bb%3D%22c%22%7D%20%3E%200");
        assert_eq!(seconds(1_770_832_200_005), "1770832200.005");
        assert_eq!(seconds(-5), "-1.995");
    }
}
