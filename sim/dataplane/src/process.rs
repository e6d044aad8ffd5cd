//! One process: its ports, its health, its life.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, select_all};
use http::{HeaderValue, Request, Response, StatusCode};
use sim_clock::watch;
use sim_net::{Changer, Host, Listener, http as net_http};

use crate::error::DataplaneError;
use crate::program::{Flags, Program};
use crate::topology::Topology;

/// Where a process writes its log lines.
pub type Log = Arc<dyn Fn(String) + Send + Sync>;

/// What a container is started with.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// The container's image.
    pub image: String,
    /// Its command; empty is the image's own.
    pub command: Vec<String>,
    /// Its arguments, with `$(NAME)` already replaced.
    pub args: Vec<String>,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// Name of the pod.
    pub pod: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Labels of the pod.
    pub labels: BTreeMap<String, String>,
    /// Becomes true when the process is told to end (SIGTERM); `None`: it will only ever be killed.
    pub terminate: Option<watch::Receiver<bool>>,
}

/// Writes the process's log: JSON lines in the form of Go's slog.
pub(crate) struct Logger {
    log: Log,
    program: Program,
}

impl Logger {
    pub(crate) fn line(&self, level: &str, message: &str, fields: &[(&str, &str)]) {
        let mut line = serde_json::Map::new();
        line.insert("time".into(), sim_clock::now().rfc3339_micros().into());
        line.insert("level".into(), level.into());
        line.insert("msg".into(), message.into());
        line.insert("service".into(), self.program.name().into());
        for (name, value) in fields {
            line.insert((*name).into(), (*value).into());
        }
        (self.log)(serde_json::Value::Object(line).to_string());
    }
}

/// Runs a container of the data plane until it is told to end (`Ok`), cannot go on (`Err`), or its future is dropped,
/// which is how it is killed.
pub async fn run(host: Host, start: Start, log: Log) -> Result<(), DataplaneError> {
    let program =
        Program::of(&start.image, &start.command, &start.args).ok_or_else(|| DataplaneError::UnknownProgram {
            image: start.image.clone(),
            command: start.command.iter().chain(&start.args).cloned().collect(),
        })?;
    let log = Logger { log, program };
    let flags = Flags::parse(program, &start)?;
    let topology = Topology::of(program, &host, &start, &flags)?;
    let ports = Ports::of(program, &flags)?;

    let health = Arc::new(Health { program, ready: AtomicBool::new(topology.is_none()) });
    let mut parts: Vec<BoxFuture<'_, u16>> = Vec::new();
    let mut changers: Vec<Changer> = Vec::new();
    for (port, serves) in ports.0.into_iter().chain(metrics_port(&start.env)) {
        let failed =
            |error: std::io::Error| DataplaneError::Port { program: program.name(), port, reason: error.to_string() };
        let listener = host.listen(port).map_err(failed)?;
        // gRPC and Postgres answer every probe alike; taking the changer says that there is nothing else to ask for.
        changers.push(listener.changer());
        parts.push(serve(listener, serves, health.clone()).map(move |()| port).boxed());
    }
    log.line("INFO", "started", &[("pod", &start.pod)]);

    let settled = async {
        if let Some(topology) = &topology {
            topology.settle(&log).await;
            health.ready.store(true, Ordering::Relaxed);
            changers.iter().for_each(Changer::changed);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        () = told_to_end(start.terminate.clone()) => {}
        (port, _, _) = select_all(parts) => {
            return Err(DataplaneError::Port { program: program.name(), port, reason: "the host is gone".to_owned() });
        }
        () = settled => {}
    }
    if let Some(topology) = &topology {
        topology.leave(&log).await;
    }
    log.line("INFO", "ended", &[]);
    Ok(())
}

async fn told_to_end(terminate: Option<watch::Receiver<bool>>) {
    if let Some(mut terminate) = terminate
        && terminate.wait_for(|&told| told).await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

struct Health {
    program: Program,
    ready: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serves {
    Http,
    Grpc,
    Postgres,
    Metrics,
}

/// Where metrics can be scraped, if the environment says so. What listens on the loopback address alone, as the exporter does by default,
/// nobody reaches.
fn metrics_port(env: &BTreeMap<String, String>) -> Option<(u16, Serves)> {
    const PORT: u16 = 9464;
    let get = |name: &str| env.get(name).map_or("", String::as_str);
    let served = get("OTEL_METRICS_EXPORTER").split(',').any(|exporter| exporter.trim() == "prometheus");
    let reached = !matches!(get("OTEL_EXPORTER_PROMETHEUS_HOST"), "" | "localhost" | "127.0.0.1");
    (served && reached).then(|| (get("OTEL_EXPORTER_PROMETHEUS_PORT").parse().unwrap_or(PORT), Serves::Metrics))
}

struct Ports(Vec<(u16, Serves)>);

impl Ports {
    fn of(program: Program, flags: &Flags<'_>) -> Result<Self, DataplaneError> {
        use Serves::{Grpc, Http, Postgres};
        let ports: &[(&'static str, u16, Serves)] = match program {
            Program::Multigateway => {
                &[("http-port", 15100, Http), ("grpc-port", 15170, Grpc), ("pg-port", 15432, Postgres)]
            }
            Program::Multipooler => &[("http-port", 15200, Http), ("grpc-port", 15270, Grpc)],
            Program::Multiorch => &[("http-port", 15300, Http), ("grpc-port", 15370, Grpc)],
            Program::Pgctld => &[("grpc-port", 15470, Grpc), ("pg-port", 5432, Postgres)],
            Program::Multiadmin => &[("http-port", 18000, Http), ("grpc-port", 18070, Grpc)],
            Program::MultiadminWeb => &[("http-port", 18100, Http)],
        };
        ports
            .iter()
            .map(|&(flag, default, serves)| Ok((flags.port(flag, default)?, serves)))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

async fn serve(mut listener: Listener, serves: Serves, health: Arc<Health>) {
    match serves {
        Serves::Http => {
            let handler = move |request: Request<Bytes>| std::future::ready(health.answer(request.uri().path()));
            net_http::serve(listener, net_http::Limits::default(), handler).await;
        }
        Serves::Grpc => {
            net_http::serve(listener, net_http::Limits::default(), |_| std::future::ready(unimplemented())).await;
        }
        // What the exporter says of a process without instruments: who it is.
        Serves::Metrics => {
            let page = format!(
                "# HELP target_info Target metadata\n# TYPE target_info gauge\ntarget_info{{service_name=\"{}\"}} 1\n",
                health.program.name()
            );
            let handler = move |request: Request<Bytes>| {
                std::future::ready(match request.uri().path() {
                    "/metrics" => net_http::response(StatusCode::OK, "text/plain; version=0.0.4", page.clone()),
                    _ => net_http::response(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n"),
                })
            };
            net_http::serve(listener, net_http::Limits::default(), handler).await;
        }
        // The port is open, as a TCP probe wants it; the protocol is not spoken yet.
        Serves::Postgres => while listener.accept().await.is_ok() {},
    }
}

impl Health {
    fn answer(&self, path: &str) -> Response<net_http::Body> {
        let plain = |status, text: &'static str| net_http::response(status, "text/plain; charset=utf-8", text);
        match (self.program, path) {
            (Program::MultiadminWeb, "/") => net_http::response(
                StatusCode::OK,
                "text/html; charset=utf-8",
                "<!doctype html><title>MultiAdmin</title>\n",
            ),
            (Program::MultiadminWeb, _) => plain(StatusCode::NOT_FOUND, "404 page not found\n"),
            (_, "/live") => plain(StatusCode::OK, "ok\n"),
            (_, "/ready") if self.ready.load(Ordering::Relaxed) => plain(StatusCode::OK, "ok\n"),
            (_, "/ready") => plain(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            _ => plain(StatusCode::NOT_FOUND, "404 page not found\n"),
        }
    }
}

/// gRPC's answer to a method that a server does not have.
fn unimplemented() -> Response<net_http::Body> {
    const UNIMPLEMENTED: HeaderValue = HeaderValue::from_static("12");
    let mut response = net_http::response(StatusCode::OK, "application/grpc", Bytes::new());
    response.headers_mut().insert("grpc-status", UNIMPLEMENTED);
    response
}
