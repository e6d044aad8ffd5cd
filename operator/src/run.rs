//! From a [`Host`] and a [`Config`] to a running operator, and to its graceful end.

use std::{collections::BTreeMap, io, time::Duration};

use tokio::time::timeout;

use crate::{
    config::{Complaint, Config, VERSION},
    controllers,
    host::{Connector, Host},
    observability::{
        EventRecorder, Telemetry,
        kube_client::{self, ClientError},
        server::{Health, serve_health, serve_metrics},
    },
    runtime::Manager,
};

/// How long the end waits for recorded events to be sent.
pub const EVENTS_FLUSH_MAX: Duration = Duration::from_secs(1);
/// How long the end waits for finished spans to be sent. With [`crate::runtime::runner::STOP_WAIT_MAX`] and [`EVENTS_FLUSH_MAX`] it
/// stays below the pod's grace period of ten seconds.
pub const SPANS_FLUSH_MAX: Duration = Duration::from_secs(3);

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

/// Runs the operator until its host requests the end. Comes back when running reconciles have ended and telemetry is flushed, or when
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
    let result = telemetry.scope(serve(&host, &config, &telemetry, register)).await;
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
    let health = Health::default();
    let mut servers = tokio::task::JoinSet::new();
    if let Some(port) = config.health_port {
        let listener = listen(host, port, "health probes").await?;
        let (health, telemetry) = (health.clone(), telemetry.clone());
        servers.spawn(async move { telemetry.scope(serve_health(listener, health, telemetry.clone())).await });
    }
    if let Some(port) = config.metrics_port {
        let listener = listen(host, port, "metrics").await?;
        let telemetry = telemetry.clone();
        let registry = telemetry.metrics().registry().clone();
        servers.spawn(async move { telemetry.scope(serve_metrics(listener, registry, telemetry.clone())).await });
    }
    let mut manager = Manager::new(client, telemetry.clone());
    register(&mut manager, &parts);
    // From here on only controllers hold recorders: the sender ends when the last of them is gone.
    drop(parts);
    let mut sending = telemetry.spawn_owned(send_events);
    manager.run(host.shutdown.clone(), health).await;
    if timeout(EVENTS_FLUSH_MAX, &mut sending).await.is_err() {
        tracing::warn!("not all events could be sent before the end");
    }
    Ok(())
}

async fn listen(host: &Host, port: u16, purpose: &'static str) -> Result<crate::host::BoxedListener, Error> {
    host.listen.listen(port).await.map_err(|source| Error::Listen { port, purpose, source })
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
