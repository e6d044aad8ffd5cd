//! The wire: OTLP/HTTP receivers, health check, self metrics, exporters over HTTP.

use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, StatusCode, header};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message;
use sim_clock::{Engine, Timestamp};
use sim_net::Host;
use sim_net::http::{Client, HttpError, Limits};
use tokio::sync::Notify;

use crate::config::{Endpoint, Exporter, OtlpHttpSettings};
use crate::data::{Data, Signal};
use crate::otlp::{self, UNAVAILABLE};
use crate::pipeline::{Collector, Effect, Input, LogLine, Outcome};
use crate::{Config, Error, grpc, metrics};

/// Where the Collector's own log lines go, one JSON object each.
pub type LogSink = Arc<dyn Fn(String) + Send + Sync>;

#[derive(Clone)]
struct Shared {
    collector: Arc<Mutex<Collector>>,
    config: Arc<Config>,
    /// Exports to start; the runner owns their futures, so that they end with it.
    outbox: Arc<Mutex<Vec<(String, u64, Data)>>>,
    changed: Arc<Notify>,
    log: LogSink,
    started: Timestamp,
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs a Collector until its host is gone or the future is dropped. Endpoints on `localhost` are not listened to (no
/// other pod could reach them).
pub async fn run(host: Host, config: Config, log: impl Fn(String) + Send + Sync + 'static) -> Result<(), Error> {
    let collector = Collector::new(&config, sim_clock::seeded(&format!("collector {}", host.name())));
    let shared = Shared {
        collector: Arc::new(Mutex::new(collector)),
        config: Arc::new(config),
        outbox: Arc::default(),
        changed: Arc::default(),
        log: Arc::new(log),
        started: sim_clock::now(),
    };
    let mut tasks: Vec<Task> = vec![Box::pin(shared.clone().work(host.clone()))];
    for (receiver, endpoint) in &shared.config.otlp_http {
        let (own, receiver) = (shared.clone(), receiver.clone());
        serve(&host, endpoint, &mut tasks, move |request| own.receive(&receiver, request))?;
    }
    for (receiver, endpoint) in &shared.config.otlp_grpc {
        if endpoint.is_loopback() {
            continue;
        }
        let listener = listen(&host, endpoint)?;
        let (own, receiver) = (shared.clone(), receiver.clone());
        tasks.push(Box::pin(sim_net::http::serve(listener, Limits::default(), move |request| {
            let response = grpc::answer(own.call(&receiver, &request));
            async move { response }
        })));
    }
    if let Some(endpoint) = &shared.config.health_check {
        let own = shared.clone();
        serve(&host, endpoint, &mut tasks, move |_| own.health())?;
    }
    if let Some(endpoint) = &shared.config.telemetry {
        let own = shared.clone();
        serve(&host, endpoint, &mut tasks, move |request| own.metrics(request))?;
    }
    shared.write(&LogLine {
        level: "info",
        message: "Everything is ready. Begin running and processing data.".into(),
        component: String::new(),
        fields: Vec::new(),
    });
    // The servers end with their host; the worker never does, so whichever ends first ends all.
    futures::future::select_all(tasks).await;
    Ok(())
}

fn listen(host: &Host, endpoint: &Endpoint) -> Result<sim_net::Listener, Error> {
    host.listen(endpoint.port).map_err(|error| Error::Listen { port: endpoint.port, message: error.to_string() })
}

fn serve<H>(host: &Host, endpoint: &Endpoint, tasks: &mut Vec<Task>, handler: H) -> Result<(), Error>
where
    H: Fn(&Request<Bytes>) -> Response<Bytes> + Clone + Send + Sync + 'static,
{
    if endpoint.is_loopback() {
        return Ok(());
    }
    let listener = listen(host, endpoint)?;
    tasks.push(Box::pin(sim_net::http::serve(listener, Limits::default(), move |request| {
        let response = handler(&request);
        async move { response.map(sim_net::http::full) }
    })));
    Ok(())
}

impl Shared {
    fn collector(&self) -> MutexGuard<'_, Collector> {
        self.collector.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self, line: &LogLine) {
        let mut object = serde_json::Map::new();
        object.insert("level".into(), line.level.into());
        object.insert("ts".into(), sim_clock::now().rfc3339_millis().into());
        object.insert("msg".into(), line.message.clone().into());
        if !line.component.is_empty() {
            object.insert("otelcol.component.id".into(), line.component.clone().into());
        }
        for (name, value) in &line.fields {
            object.insert((*name).to_owned(), value.clone());
        }
        (self.log)(serde_json::Value::Object(object).to_string());
    }

    /// One step of the engine; exports go to the outbox, the answer (if there is one) comes back.
    fn step(&self, input: Input) -> Option<Result<(), String>> {
        let effects = self.collector().step(sim_clock::now(), input);
        let mut answer = None;
        for effect in effects {
            match effect {
                Effect::Answer(result) => answer = Some(result),
                Effect::Log(line) => self.write(&line),
                Effect::Export { exporter, attempt, data } => {
                    self.outbox
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .push((exporter, attempt, data));
                }
            }
        }
        self.changed.notify_one();
        answer
    }

    /// Sends what is in the outbox and wakes the engine when it wants to be woken.
    async fn work(self, host: Host) {
        let clients: std::collections::BTreeMap<String, (Client, OtlpHttpSettings)> = self
            .config
            .exporters
            .iter()
            .filter_map(|(name, exporter)| match exporter {
                Exporter::OtlpHttp(settings) => {
                    let client = Client::new(host.clone()).with_timeout(settings.timeout.0);
                    Some((name.clone(), (client, (**settings).clone())))
                }
                _ => None,
            })
            .collect();
        let mut sending = futures::stream::FuturesUnordered::new();
        loop {
            let outbox = std::mem::take(&mut *self.outbox.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
            for (exporter, attempt, data) in outbox {
                let Some((client, settings)) = clients.get(&exporter) else {
                    continue;
                };
                sending.push(async move { (attempt, send(client, settings, &data).await) });
            }
            let wake = self.collector().next_wake().map(|due| due.since(sim_clock::now()));
            let sleep = async {
                match wake {
                    Some(after) => tokio::time::sleep(after.max(Duration::from_millis(1))).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some((attempt, outcome)) = sending.next(), if !sending.is_empty() => {
                    self.step(Input::Exported { attempt, outcome });
                }
                () = self.changed.notified() => {}
                () = sleep => {
                    self.step(Input::Tick);
                }
            }
        }
    }

    fn receive(&self, receiver: &str, request: &Request<Bytes>) -> Response<Bytes> {
        let signal = Signal::ALL.into_iter().find(|signal| signal.path() == request.uri().path());
        let Some(signal) = signal.filter(|signal| self.collector().takes(receiver, *signal)) else {
            return otlp::reply(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n");
        };
        let decoded = match signal {
            Signal::Traces => otlp::decode::<ExportTraceServiceRequest>(request).map(|(m, e)| (Data::Traces(m), e)),
            Signal::Metrics => otlp::decode::<ExportMetricsServiceRequest>(request).map(|(m, e)| (Data::Metrics(m), e)),
            Signal::Logs => otlp::decode::<ExportLogsServiceRequest>(request).map(|(m, e)| (Data::Logs(m), e)),
        };
        let (data, encoding) = match decoded {
            Ok(decoded) => decoded,
            Err(response) => return *response,
        };
        match self.step(Input::Received { receiver: receiver.to_owned(), transport: "http", data }) {
            Some(Err(message)) => encoding.error(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, &message),
            _ => match signal {
                Signal::Traces => encoding.response(StatusCode::OK, &ExportTraceServiceResponse::default()),
                Signal::Metrics => encoding.response(StatusCode::OK, &ExportMetricsServiceResponse::default()),
                Signal::Logs => encoding.response(StatusCode::OK, &ExportLogsServiceResponse::default()),
            },
        }
    }

    /// Takes a call of gRPC in; the message of its answer.
    fn call(&self, receiver: &str, request: &Request<Bytes>) -> Result<Vec<u8>, grpc::Refusal> {
        let signal = grpc::signal(request.uri().path())?;
        if !self.collector().takes(receiver, signal) {
            let path = request.uri().path().trim_start_matches('/');
            let service = path.split('/').next().unwrap_or_default();
            return Err(grpc::Refusal::new(grpc::UNIMPLEMENTED, format!("unknown service {service}")));
        }
        let data = match signal {
            Signal::Traces => Data::Traces(grpc::decode::<ExportTraceServiceRequest>(request)?),
            Signal::Metrics => Data::Metrics(grpc::decode::<ExportMetricsServiceRequest>(request)?),
            Signal::Logs => Data::Logs(grpc::decode::<ExportLogsServiceRequest>(request)?),
        };
        match self.step(Input::Received { receiver: receiver.to_owned(), transport: "grpc", data }) {
            Some(Err(message)) => Err(grpc::Refusal::new(UNAVAILABLE, message)),
            // The three answers are alike: without partial success they are empty.
            _ => Ok(Vec::new()),
        }
    }

    fn health(&self) -> Response<Bytes> {
        let uptime = sim_clock::now().since(self.started);
        let body = serde_json::json!({
            "status": "Server available",
            "upSince": self.started.rfc3339(),
            "uptime": format!("{uptime:?}"),
        });
        otlp::reply(StatusCode::OK, "application/json", body.to_string())
    }

    fn metrics(&self, request: &Request<Bytes>) -> Response<Bytes> {
        if request.uri().path() != "/metrics" {
            return otlp::reply(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n");
        }
        let text = metrics::render(&self.collector(), self.config.telemetry_type_suffix);
        otlp::reply(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
    }
}

async fn send(client: &Client, settings: &OtlpHttpSettings, data: &Data) -> Outcome {
    let signal = data.signal();
    let url = settings.url(signal);
    let gzip = settings.compression == "gzip";
    let body = if gzip { compress(&data.encode()) } else { Ok(data.encode()) };
    let body = match body {
        Ok(body) => body,
        Err(error) => return Outcome::Permanent { message: error.to_string() },
    };
    let mut request = Request::post(&url).header(header::CONTENT_TYPE, "application/x-protobuf");
    if gzip {
        request = request.header(header::CONTENT_ENCODING, "gzip");
    }
    for (name, value) in &settings.headers {
        request = request.header(name, value);
    }
    let request = match request.body(Bytes::from(body)) {
        Ok(request) => request,
        Err(error) => return Outcome::Permanent { message: error.to_string() },
    };
    match client.send(request).await {
        Ok(response) => outcome(signal, &url, &response),
        Err(error @ HttpError::Request(_)) => Outcome::Permanent { message: error.to_string() },
        Err(error) => Outcome::Retryable { after: None, message: format!("failed to make an HTTP request: {error}") },
    }
}

/// OTLP specification, section "OTLP/HTTP Response": 429, 502, 503 and 504 are worth another try, after the time that the
/// answer names; other errors are not.
fn outcome(signal: Signal, url: &str, response: &Response<Bytes>) -> Outcome {
    let status = response.status();
    if status.is_success() {
        return match signal {
            Signal::Traces => success(response, |body| {
                ExportTraceServiceResponse::decode(body)
                    .ok()?
                    .partial_success
                    .map(|p| (p.rejected_spans, p.error_message))
            }),
            Signal::Metrics => success(response, |body| {
                ExportMetricsServiceResponse::decode(body)
                    .ok()?
                    .partial_success
                    .map(|p| (p.rejected_data_points, p.error_message))
            }),
            Signal::Logs => success(response, |body| {
                ExportLogsServiceResponse::decode(body)
                    .ok()?
                    .partial_success
                    .map(|p| (p.rejected_log_records, p.error_message))
            }),
        };
    }
    let message =
        format!("error exporting items, request to {url} responded with HTTP Status Code {}", status.as_u16());
    if matches!(status.as_u16(), 429 | 502 | 503 | 504) {
        let after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        return Outcome::Retryable { after: after.map(Duration::from_secs), message };
    }
    Outcome::Permanent { message }
}

fn success(response: &Response<Bytes>, partial: impl Fn(Bytes) -> Option<(i64, String)>) -> Outcome {
    let (rejected, message) = partial(response.body().clone()).unwrap_or_default();
    Outcome::Success { rejected: u64::try_from(rejected).unwrap_or(0), message }
}

fn compress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

#[cfg(test)]
mod tests;
