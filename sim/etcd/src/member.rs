//! One member's process: its ports, its look at its peers, its HTTP answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, join_all, select_all};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use sim_net::{Changer, Host, Listener, http as net_http};
use tokio::time::Instant;

use crate::cluster::{Life, Registry};
use crate::config::MemberConfig;
use crate::error::EtcdError;
use crate::{exposition, grpc};

/// The version that members say they are.
pub const VERSION: &str = "3.6.7";
/// The version of the cluster's protocol that goes with it.
pub const CLUSTER_VERSION: &str = "3.6.0";
/// How long a change of the network goes unnoticed, so that many changes cost one look.
const NETWORK_SETTLES: Duration = Duration::from_secs(1);
/// How long a peer may take to accept a connection.
const PEER_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Where a process writes its log lines.
pub type Log = Arc<dyn Fn(String) + Send + Sync>;

/// Runs the process of a member until its future is dropped (which is how it dies) or it cannot go on; then says why.
///
/// It listens on all its ports before it joins, so that a peer that hears of it can reach it. Its data stays in the
/// registry's cluster when it ends.
pub async fn run(host: Host, registry: &Registry, config: MemberConfig, log: Log) -> EtcdError {
    let cluster = registry.join(&config);
    let ports = match Ports::open(&host, &config) {
        Ok(ports) => ports,
        Err(error) => return error,
    };
    let guard = cluster.start(&config);
    let life = Arc::new(guard.0.clone());
    line(&log, "info", "started", &[("member", &config.name), ("cluster-token", &config.token)]);

    let mut parts: Vec<BoxFuture<'_, ()>> = vec![watch_over(&host, &config, &life, &ports.changers, &log).boxed()];
    for listener in ports.clients {
        parts.push(serve_clients(listener, life.clone()).boxed());
    }
    for listener in ports.metrics {
        let life = life.clone();
        let handler = move |request: Request<Bytes>| std::future::ready(answer(&life, request.method(), request.uri()));
        parts.push(net_http::serve(listener, net_http::Limits::default(), handler).boxed());
    }
    for listener in ports.peers {
        parts.push(accept_peers(listener).boxed());
    }
    select_all(parts).await;
    EtcdError::Stopped
}

struct Ports {
    clients: Vec<Listener>,
    peers: Vec<Listener>,
    metrics: Vec<Listener>,
    changers: Vec<Changer>,
}

impl Ports {
    fn open(host: &Host, config: &MemberConfig) -> Result<Self, EtcdError> {
        let open = |ports: &[u16]| -> Result<Vec<Listener>, EtcdError> {
            let listen =
                |&port| host.listen(port).map_err(|error| EtcdError::Listen { port, reason: error.to_string() });
            ports.iter().map(listen).collect()
        };
        let (clients, peers, metrics) =
            (open(&config.client_ports)?, open(&config.peer_ports)?, open(&config.metrics_ports)?);
        // The peer port answers every probe alike, so it has nothing to announce; taking its changer says so.
        let changers = clients.iter().chain(&peers).chain(&metrics).map(Listener::changer).collect();
        Ok(Self { clients, peers, metrics, changers })
    }
}

/// A peer that asks wants to know that somebody is there; the log itself is shared.
async fn accept_peers(mut listener: Listener) {
    while let Ok((stream, _)) = listener.accept().await {
        drop(stream);
    }
}

/// Looks at the peers whenever the network or the membership changed, announces changes of `/health`, ends leases when
/// leading.
async fn watch_over(host: &Host, config: &MemberConfig, life: &Life, changers: &[Changer], log: &Log) {
    let cluster = &life.cluster;
    let mut network = host.network().watch();
    let mut wakes = cluster.wakes();
    let mut lives_seen = None;
    let mut leader_seen: Option<String> = None;
    let mut look_at: Option<Instant> = None;
    loop {
        wakes.borrow_and_update();
        let lives = cluster.lives();
        if lives_seen != Some(lives) || look_at.is_some_and(|at| at <= Instant::now()) {
            lives_seen = Some(lives);
            look_at = None;
            network.borrow_and_update();
            cluster.reached(life, reachable_peers(host, config).await);
        }
        let leader = cluster.leader_seen_by(&life.name);
        if leader != leader_seen {
            match &leader {
                Some(name) => line(log, "info", "leader elected", &[("member", &life.name), ("leader", name)]),
                None => line(log, "warn", "leader lost", &[("member", &life.name)]),
            }
            if leader.is_some() != leader_seen.is_some() {
                changers.iter().for_each(Changer::changed);
            }
            leader_seen = leader;
        }
        let expiry = cluster.next_lease_expiry(&life.name);
        tokio::select! {
            biased;
            changed = wakes.changed() => if changed.is_err() { return },
            changed = network.changed(), if look_at.is_none() => {
                if changed.is_err() { return }
                look_at = Some(Instant::now() + NETWORK_SETTLES);
            }
            () = tokio::time::sleep_until(look_at.unwrap_or_else(Instant::now)), if look_at.is_some() => {}
            () = tokio::time::sleep(expiry.map_or(Duration::ZERO, |at| at.since(sim_clock::now()))), if expiry.is_some() => {
                cluster.expire_leases(sim_clock::now());
            }
        }
    }
}

async fn reachable_peers(host: &Host, config: &MemberConfig) -> BTreeSet<String> {
    let peers = config.initial_cluster.iter().filter(|peer| peer.name != config.name);
    let asked = peers.map(|peer| async move {
        let connected = tokio::time::timeout(PEER_CONNECT_TIMEOUT, host.connect(&peer.address)).await;
        matches!(connected, Ok(Ok(_))).then(|| peer.name.clone())
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// gRPC and HTTP/1.1 on one port, told apart by the content type.
async fn serve_clients(listener: Listener, life: Arc<Life>) {
    let routes = grpc::routes(&life);
    let service = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
        let mut routes = routes.clone();
        let life = life.clone();
        async move {
            let grpc = request.headers().get(http::header::CONTENT_TYPE);
            if grpc.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
                return tower::Service::call(&mut routes, request).await;
            }
            Ok(answer(&life, request.method(), request.uri()).map(|body| tonic::body::Body::new(body.boxed_unsync())))
        }
    });
    net_http::serve_service(listener, service).await;
}

/// What the member says over plain HTTP.
fn answer(life: &Life, method: &Method, uri: &http::Uri) -> Response<net_http::Body> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return net_http::response(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "Method Not Allowed\n");
    }
    let figures = life.cluster.figures(&life.name);
    let json = |status, body: String| net_http::response(status, "application/json", body);
    match uri.path() {
        "/health" => {
            // A serializable check asks about the member only.
            let serializable =
                uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "serializable=true"));
            if figures.has_leader || serializable {
                json(StatusCode::OK, r#"{"health":"true","reason":""}"#.to_owned())
            } else {
                json(StatusCode::SERVICE_UNAVAILABLE, r#"{"health":"false","reason":"RAFT NO LEADER"}"#.to_owned())
            }
        }
        "/version" => {
            json(StatusCode::OK, format!(r#"{{"etcdserver":"{VERSION}","etcdcluster":"{CLUSTER_VERSION}"}}"#))
        }
        "/metrics" => {
            let text = exposition::render(&figures, VERSION);
            net_http::response(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
        }
        _ => net_http::response(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n"),
    }
}

/// A log line as etcd's logger writes it.
fn line(log: &Log, level: &str, message: &str, fields: &[(&str, &str)]) {
    let mut line = serde_json::Map::new();
    line.insert("level".into(), level.into());
    line.insert("ts".into(), sim_clock::now().rfc3339_micros().into());
    line.insert("msg".into(), message.into());
    for (name, value) in fields {
        line.insert((*name).into(), (*value).into());
    }
    log(serde_json::Value::Object(line).to_string());
}
