//! From a [`Host`] and a [`Config`] to a running operator, and to its graceful end.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv6Addr, SocketAddr},
    panic::AssertUnwindSafe,
    pin::pin,
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, try_join},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    config::{Complaint, Config, VERSION, WebhookConfig},
    controllers,
    host::{Connector, Host, system_time},
    observability::{
        EventRecorder, Telemetry,
        endpoint::{Guard, serve_metrics},
        health::{Health, Probe},
        kube_client::{self, ClientError},
        levels::follow,
        metrics_export::MetricsExporter,
        server::{Ending, serve_health},
    },
    runtime::{
        Manager,
        election::{Election, Ended},
    },
    signal::Signal,
    tls::{
        TlsError, pki,
        server::{Certificate, FileAuthorities, FileCertificate, ServerTls},
    },
    webhooks::{Webhooks, certificates::Rotator, keeper::Keeper},
};

/// How long webhooks are answered as before once the end is requested: until every API server knows that this pod is on its way out.
pub const SERVE_ON: Duration = Duration::from_secs(5);
/// How long the end then waits for requests that are under way: the longest that one may take, and a little.
pub const OPEN_REQUESTS_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long the end waits for the lease to be released, and again for recorded events to be sent.
pub const END_WAIT_MAX: Duration = Duration::from_millis(1500);
/// How long the end waits for finished spans to be sent. [`SERVE_ON`] and [`OPEN_REQUESTS_WAIT_MAX`] (meanwhile the controllers end, within
/// [`crate::runtime::runner::STOP_WAIT_MAX`], and the lease is released), [`END_WAIT_MAX`] and this stay below the pod's grace period of 30 seconds.
pub const SPANS_FLUSH_MAX: Duration = Duration::from_secs(3);
/// The check that no end is under way.
const SHUTDOWN: &str = "shutdown";
/// How long the certificate that the operator signs itself for `/metrics` counts; it is made anew at each start.
const SELF_SIGNED_VALID: Duration = Duration::from_secs(365 * 86_400);
/// The Service in front of the metrics in `deploy/operator`.
const METRICS_SERVICE: &str = "multigres-operator-controller-manager-metrics-service";

/// Why the operator ended other than by request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no client for the API server.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A port cannot be listened on.
    #[error("cannot listen on port {port} for {purpose}: {source}")]
    Listen {
        /// The port.
        port: u16,
        /// What for.
        purpose: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The certificate of a port.
    #[error("no certificate to serve with: {0}")]
    Certificate(#[from] TlsError),
    /// A part that runs as long as the operator does came to an end: a restart is better than an operator without it.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
    /// Another operator leads now.
    #[error("leader election lost: the lease could not be renewed in time")]
    LeadershipLost,
}

/// What controllers are made of.
#[derive(Clone)]
pub struct Parts {
    /// The API server.
    pub client: kube::Client,
    /// Logs, metrics, traces.
    pub telemetry: Telemetry,
    /// Kubernetes events; take [`EventRecorder::for_component`].
    pub events: EventRecorder,
    /// The way to etcd.
    pub connector: Connector,
    /// The operator's own environment, of which the data plane inherits `OTEL_*`.
    pub env: BTreeMap<String, String>,
    /// The operator's own namespace.
    pub namespace: String,
}

/// Runs the operator until its host requests the end (or, with leader election, until it has lost its lease). Comes back when running reconciles have ended and telemetry is flushed, or when
/// their time is over.
pub async fn run(host: Host, config: Config) -> Result<(), Error> {
    run_with(host, config, controllers::all).await
}

/// Runs the operator with the controllers that `register` adds.
pub async fn run_with(
    host: Host,
    config: Config,
    register: impl FnOnce(&mut Manager, &Parts) + Send,
) -> Result<(), Error> {
    let telemetry = Telemetry::new(&config.telemetry, &host);
    let result = telemetry.scope(Box::pin(serve(&host, &config, &telemetry, register))).await;
    telemetry.in_scope(|| match &result {
        Ok(()) => tracing::info!("stopped"),
        Err(error) => tracing::error!(error = %error, "stopped"),
    });
    if !telemetry.flush(SPANS_FLUSH_MAX).await {
        telemetry.in_scope(|| tracing::warn!("not all spans could be sent before the end"));
    }
    result
}

async fn serve(
    host: &Host,
    config: &Config,
    telemetry: &Telemetry,
    register: impl FnOnce(&mut Manager, &Parts) + Send,
) -> Result<(), Error> {
    tracing::info!(version = VERSION, tracing = telemetry.traces(), "starting manager");
    for complaint in &config.complaints {
        match complaint {
            Complaint::Invalid(text) => tracing::error!(error = %text, "invalid telemetry configuration"),
            Complaint::Deprecated(text) => tracing::warn!("{text}"),
        }
    }
    let client = kube_client::client(host, telemetry)?;
    let (events, send_events) = EventRecorder::new(client.clone(), telemetry.metrics());
    let parts = Parts {
        client: client.clone(),
        telemetry: telemetry.clone(),
        events,
        connector: host.connector.clone(),
        env: host.env.clone(),
        namespace: config.namespace.clone(),
    };
    let (health, ending) = (Health::default(), Ending::default());
    health.pass(Probe::Ready, SHUTDOWN);
    let (mut ports, mut tasks) = (Tasks::default(), Tasks::default());
    if let Some(path) = &config.log_level_file {
        let levels = config.telemetry.log_levels.clone();
        let following = follow(telemetry.log_levels().clone(), levels, host.files.clone(), path.clone());
        tasks.spawn("log levels", telemetry, following);
    }
    if let Some(address) = config.health_address {
        let listener = listen(host, address, "health probes").await?;
        let serving = serve_health(listener, health.clone(), ending.clone(), telemetry.clone());
        ports.spawn("health probes", telemetry, serving);
    }
    if let Some(address) = config.metrics_address {
        let Protection { tls, guard, renewal } = Protection::of(config, host, &client)?;
        let listener = listen(host, address, "metrics").await?;
        let registry = telemetry.metrics().registry().clone();
        let serving = serve_metrics(listener, tls, guard, registry, ending.clone(), telemetry.clone());
        ports.spawn("metrics", telemetry, until_either(serving, renewal));
    }
    let exporter = config.telemetry.metrics.clone().map(|metrics| {
        let exporter = MetricsExporter::new(metrics, host, client.clone(), telemetry.metrics().clone());
        tasks.spawn("metrics export", telemetry, exporter.clone().run());
        exporter
    });
    if let Some(webhooks) = &config.webhooks {
        let listener = listen(host, SocketAddr::from((Ipv6Addr::UNSPECIFIED, webhooks.port)), "webhooks").await?;
        let certificate = Certificate::missing();
        let keeping = keeper(webhooks, host, &parts, certificate.clone(), health.clone()).run();
        let serving = Webhooks::new(client.clone(), telemetry.clone(), &webhooks.namespace, &webhooks.account).serve(
            listener,
            ServerTls::new(certificate)?,
            ending.clone(),
        );
        ports.spawn("webhooks", telemetry, until_either(serving, keeping));
    }
    // `finished` is given when the controllers have ended: only then may somebody else begin.
    let (synced, elected, finished) = (Signal::default(), Signal::default(), Signal::default());
    let election = config.election.clone().map(|times| {
        let (events, metrics) = (parts.events.for_component("leader-election"), telemetry.metrics().clone());
        let election = Election::new(client.clone(), &config.namespace, &pod_name(host), times, metrics, events);
        telemetry.spawn_owned(election.run(synced.clone(), elected.clone(), finished.clone()))
    });
    if election.is_none() {
        elected.give();
    }
    let mut manager = Manager::new(client, telemetry.clone());
    manager.resync_every(config.sync_period);
    register(&mut manager, &parts);
    // From here on only controllers hold recorders: the sender ends when the last of them is gone.
    drop(parts);
    let sending = telemetry.spawn_owned(send_events);
    let working = async {
        let mut election = pin!(async {
            match election {
                Some(election) => election.await.unwrap_or(Ended::Lost),
                None => std::future::pending().await,
            }
        });
        tokio::select! {
            biased;
            () = manager.run(host.shutdown.clone(), synced, elected, health.clone()) => {}
            // Somebody else may work now: nothing here does from this instant on.
            ended = &mut election => if ended == Ended::Lost { return Err(Error::LeadershipLost) },
        }
        finished.give();
        if config.election.is_some() && timeout(END_WAIT_MAX, election).await.is_err() {
            tracing::warn!("the lease could not be seen to before the end");
        }
        Ok(())
    };
    let serving = async {
        tokio::select! {
            biased;
            () = host.shutdown.wait() => {}
            () = finished.wait() => {}
            what = ports.first_end() => return Err(Error::Ended(what)),
            what = tasks.first_end() => return Err(Error::Ended(what)),
        }
        health.fail(Probe::Ready, SHUTDOWN, "the operator is ending");
        ending.announce();
        if config.webhooks.is_some() {
            sleep(SERVE_ON).await;
        }
        ending.begin();
        if timeout(OPEN_REQUESTS_WAIT_MAX, ports.all_end()).await.is_err() {
            tracing::warn!("not all requests could be answered before the end");
        }
        Ok(())
    };
    try_join(working, serving).await?;
    // What serves records events, too.
    drop((ports, tasks));
    let last_metrics = async {
        if let Some(exporter) = exporter {
            // It says itself what it cannot send.
            let _ = timeout(END_WAIT_MAX, exporter.send(END_WAIT_MAX)).await;
        }
    };
    let (sent, ()) = tokio::join!(timeout(END_WAIT_MAX, sending), last_metrics);
    if sent.is_err() {
        tracing::warn!("not all events could be sent before the end");
    }
    Ok(())
}

/// What runs beside the controllers, by what it is for. It ends with this value.
#[derive(Default)]
struct Tasks(JoinSet<&'static str>);

impl Tasks {
    fn spawn(&mut self, what: &'static str, telemetry: &Telemetry, task: impl Future<Output = ()> + Send + 'static) {
        let telemetry = telemetry.clone();
        self.0.spawn(async move {
            // What a panic says is on the standard error; here it is an end like any other.
            let _ = AssertUnwindSafe(telemetry.scope(task)).catch_unwind().await;
            what
        });
    }

    /// Which of them ends first; forever where none does.
    async fn first_end(&mut self) -> &'static str {
        match self.0.join_next().await {
            Some(Ok(what)) => what,
            Some(Err(_)) => "a task",
            None => std::future::pending().await,
        }
    }

    async fn all_end(&mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

/// Runs both until one of them ends.
async fn until_either(first: impl Future<Output = ()>, second: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = first => {}
        () = second => {}
    }
}

/// The certificate of the webhook port.
fn keeper(webhooks: &WebhookConfig, host: &Host, parts: &Parts, certificate: Certificate, health: Health) -> Keeper {
    let rotator = Rotator::new(
        parts.client.clone(),
        &webhooks.namespace,
        &webhooks.service,
        webhooks.validity,
        certificate.clone(),
        parts.events.for_component("cert-rotator"),
    );
    let (source, paths) = (webhooks.source, webhooks.certificate.clone());
    Keeper::new(source, host.files.clone(), paths, certificate, health, rotator)
}

/// What the operator's pod is called; whoever reads a Lease wants to know.
fn pod_name(host: &Host) -> String {
    let named = ["POD_NAME", "HOSTNAME"].iter().find_map(|name| host.env.get(*name).filter(|value| !value.is_empty()));
    named.cloned().unwrap_or_else(|| "multigres-operator".to_owned())
}

/// What stands between the metrics and their readers.
struct Protection {
    tls: Option<ServerTls>,
    guard: Guard,
    /// Keeps the certificate the one that is in its files.
    renewal: BoxFuture<'static, ()>,
}

impl Protection {
    fn of(config: &Config, host: &Host, client: &kube::Client) -> Result<Self, Error> {
        let Some(security) = &config.metrics_security else {
            return Ok(Self { tls: None, guard: Guard::Nobody, renewal: Box::pin(std::future::pending()) });
        };
        let (certificate, renewal): (_, BoxFuture<'static, ()>) = match &security.certificate {
            Some(files) => {
                let certificate = Certificate::missing();
                let source = FileCertificate::new(certificate.clone(), host.files.clone(), files)?;
                (certificate, Box::pin(source.follow()))
            }
            None => {
                let names = ["localhost".to_owned(), format!("{METRICS_SERVICE}.{}.svc", config.namespace)];
                let pair = pki::self_signed(&names, system_time(), SELF_SIGNED_VALID)?;
                let made =
                    Certificate::of("the self-signed certificate", pair.certificate.as_bytes(), pair.key.as_bytes())?;
                (made, Box::pin(std::future::pending()))
            }
        };
        let (tls, renewal): (_, BoxFuture<'static, ()>) = match &security.client_authorities {
            None => (ServerTls::new(certificate)?, renewal),
            Some(path) => {
                let (tls, source) = FileAuthorities::new(certificate, host.files.clone(), path)?;
                (tls, Box::pin(until_either(renewal, source.follow())))
            }
        };
        Ok(Self { tls: Some(tls), guard: Guard::reviews(client.clone()), renewal })
    }
}

async fn listen(host: &Host, address: SocketAddr, purpose: &'static str) -> Result<crate::host::BoxedListener, Error> {
    let port = address.port();
    host.listen.listen(address).await.map_err(|source| Error::Listen { port, purpose, source })
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
