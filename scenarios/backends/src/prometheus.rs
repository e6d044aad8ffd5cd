//! A real Prometheus.

use std::time::Duration;

use reqwest::Client;
use serde_json::Value;

use crate::{
    Error,
    image::Image,
    remote_write::{TimeSeries, WriteRequest, encode},
    session::{Session, Setup, Started},
};

const BACKEND: &str = "prometheus";
const CONFIGURATION: &str = "/etc/prometheus/prometheus.yml";
/// Series in one request of remote write.
const BATCH: usize = 500;
const READY: Duration = Duration::from_secs(30);
const REQUEST: Duration = Duration::from_secs(60);

/// A Prometheus in a container that scrapes nothing and takes what is written to it, in whatever order.
#[derive(Debug)]
pub struct Prometheus {
    started: Started,
    client: Client,
}

impl Prometheus {
    /// Starts one and waits until it is ready.
    pub async fn start(session: &Session, image: &Image) -> Result<Self, Error> {
        // What is written is years old, and no run is longer than the window.
        let configuration = "storage: {tsdb: {out_of_order_time_window: 30d}}\n";
        let arguments = [
            &format!("--config.file={CONFIGURATION}"),
            "--storage.tsdb.path=/prometheus",
            "--storage.tsdb.retention.time=100y",
            "--web.enable-remote-write-receiver",
            "--enable-feature=native-histograms",
            "--query.max-concurrency=4",
            "--log.level=warn",
        ];
        let setup = Setup {
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            files: vec![(CONFIGURATION.to_owned(), configuration.as_bytes().to_vec())],
            port: 9090,
            ..Setup::default()
        };
        let started = session.start(image, setup).await?;
        let client = Client::builder()
            .timeout(REQUEST)
            .build()
            .map_err(|error| Error::Start { backend: BACKEND, reason: error.to_string() })?;
        let prometheus = Self { started, client };
        prometheus.ready().await?;
        Ok(prometheus)
    }

    async fn ready(&self) -> Result<(), Error> {
        let url = format!("{}/-/ready", self.started.url);
        let answers = async {
            loop {
                if self.client.get(&url).send().await.is_ok_and(|response| response.status().is_success()) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(READY, answers).await {
            Ok(()) => Ok(()),
            Err(_) => {
                Err(Error::Start { backend: BACKEND, reason: format!("not ready in 30 s: {}", self.log().await) })
            }
        }
    }

    /// What it logged.
    pub async fn log(&self) -> String {
        self.started.log().await
    }

    /// `http://127.0.0.1:32768`
    pub fn url(&self) -> &str {
        &self.started.url
    }

    /// Writes series by remote write 1.0, in batches.
    pub async fn write(&self, series: &[TimeSeries]) -> Result<(), Error> {
        for batch in series.chunks(BATCH) {
            let body = encode(&WriteRequest { timeseries: batch.to_vec() });
            let response = self
                .client
                .post(format!("{}/api/v1/write", self.started.url))
                .header("Content-Type", "application/x-protobuf")
                .header("Content-Encoding", "snappy")
                .header("X-Prometheus-Remote-Write-Version", "0.1.0")
                .body(body)
                .send()
                .await;
            let response = response.map_err(|error| answer("/api/v1/write", error.to_string()))?;
            if !response.status().is_success() {
                let status = response.status();
                let text = response.text().await.unwrap_or_default();
                return Err(answer("/api/v1/write", format!("{status}: {text}")));
            }
        }
        Ok(())
    }

    /// A request of the HTTP API: its status and its JSON, whatever they say. `path` holds the query string, `form` is the body of
    /// a POST; without one it is a GET.
    pub async fn ask(&self, path: &str, form: Option<String>) -> Result<(u16, Value), Error> {
        let url = format!("{}{path}", self.started.url);
        let request = match form {
            None => self.client.get(url),
            Some(form) => self.client.post(url).header("Content-Type", "application/x-www-form-urlencoded").body(form),
        };
        let response = request.send().await.map_err(|error| answer(path, error.to_string()))?;
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(|error| answer(path, error.to_string()))?;
        let value = serde_json::from_slice(&body)
            .map_err(|error| answer(path, format!("{status}, {error}: {}", String::from_utf8_lossy(&body))))?;
        Ok((status, value))
    }
}

fn answer(request: &str, reason: String) -> Error {
    Error::Answer { backend: BACKEND, request: request.to_owned(), reason }
}
