//! A whole cluster on loopback, for tests with real clients and for tools: a world on a thread of its own, whose API
//! server listens on 127.0.0.1.
//!
//! ```
//! use std::process::Command;
//! use sim_kube::local::{self, Options};
//!
//! let cluster = local::start(Options::default())?;
//! // kubectl, helm, an operator of any language: whatever reads a kubeconfig.
//! let mut client = Command::new("true");
//! client.env("KUBECONFIG", "/tmp/kubeconfig").arg(cluster.url());
//! assert!(cluster.kubeconfig().contains(&cluster.url()));
//! assert!(client.status().unwrap().success());
//! cluster.stop()?;
//! # Ok::<(), sim_kube::local::Error>(())
//! ```

mod door;
mod shell;

use std::{net::SocketAddr, sync::Arc};

use serde_json::{Value, json};
use sim_clock::{Speed, Timestamp, WorldOptions};
use sim_loopback::Running;
use sim_net::Network;

use crate::{
    API_ADDRESS, API_PORT, Cluster, KubeOptions,
    kubelet::{ContainerRuntime, ContainerStart, EXEC_PIECES_MAX, ExecIo, Exit, Output, Ran, Stdout},
};

pub use door::{SECURE_PORT, User, publish};

/// Why a cluster cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port or the world.
    #[error(transparent)]
    Loopback(#[from] sim_loopback::Error),
    /// The cluster's own objects or the manifests.
    #[error(transparent)]
    Cluster(#[from] crate::Error),
    /// A certificate.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
}

/// What a local cluster is made of.
#[derive(Clone)]
pub struct Options {
    /// Where the API server listens: a loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// All chance in the cluster follows from it, names and uids too.
    pub seed: u64,
    /// How fast time passes in it.
    pub speed: Speed,
    /// Its clock's first reading; `None`: the machine's, so that ages are what a client takes them for.
    pub epoch: Option<Timestamp>,
    /// Nodes, images.
    pub kube: KubeOptions,
    /// What containers do; [`Idle`] unless told otherwise.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// Objects that are there from the start, in the order in which they are applied.
    pub manifests: Vec<Value>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            seed: 1,
            speed: Speed::REAL,
            epoch: None,
            kube: KubeOptions::default(),
            runtime: Arc::new(Idle),
            manifests: Vec::new(),
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("listen", &self.listen).field("speed", &self.speed).finish_non_exhaustive()
    }
}

/// Containers that do nothing until they are asked to end, unless their command is one that a small shell knows (`echo`, `sleep`,
/// `sh -c` of such): then they do that. `exec` has the same shell.
#[derive(Copy, Clone, Debug)]
pub struct Idle;

impl ContainerRuntime for Idle {
    fn start(&self, container: ContainerStart) -> futures::future::BoxFuture<'static, Exit> {
        let mut stop = container.stop.clone();
        let command: Vec<String> = container.command.iter().chain(&container.args).cloned().collect();
        if !shell::knows(&command) {
            return Box::pin(async move {
                stop.wait().await;
                Exit { code: 0, message: String::new() }
            });
        }
        Box::pin(async move {
            let stdout = container.stdout.clone();
            let (output, pieces) = tokio::sync::mpsc::channel(EXEC_PIECES_MAX);
            let ran = shell::run(Arc::new(container), command, ExecIo { stdin: None, output });
            tokio::select! {
                biased;
                (ran, ()) = futures::future::join(ran, write(stdout, pieces)) => {
                    let code = if let Ran::Ended(code) = ran { code } else { NOT_STARTED };
                    Exit { code, message: String::new() }
                }
                () = stop.wait() => Exit { code: TERMINATED, message: String::new() },
            }
        })
    }

    fn exec(
        &self,
        container: Arc<ContainerStart>,
        command: Vec<String>,
        io: ExecIo,
    ) -> futures::future::BoxFuture<'static, Ran> {
        Box::pin(shell::run(container, command, io))
    }
}

/// What a shell tells of a program that cannot be started.
const NOT_STARTED: i32 = 127;
/// What a program ends with that SIGTERM ended.
const TERMINATED: i32 = 128 + 15;

/// Writes what a command says to its container's log, line by line.
async fn write(stdout: Stdout, mut pieces: tokio::sync::mpsc::Receiver<Output>) {
    let mut line = Vec::new();
    while let Some(Output::Stdout(piece) | Output::Stderr(piece)) = pieces.recv().await {
        line.extend_from_slice(&piece);
        if let Some(end) = line.iter().rposition(|byte| *byte == b'\n') {
            let rest = line.split_off(end + 1);
            stdout.line(&String::from_utf8_lossy(&line));
            line = rest;
        }
    }
    if !line.is_empty() {
        stdout.line(&String::from_utf8_lossy(&line));
    }
}

/// A cluster that listens on loopback. It ends when told to, or when dropped.
#[derive(Debug)]
pub struct Local {
    world: Running<Result<SocketAddr, Error>>,
    address: SocketAddr,
}

/// Starts a cluster and waits until it answers and its manifests are applied.
///
/// # Errors
/// If the port is taken, or a manifest is refused.
pub fn start(options: Options) -> Result<Local, Error> {
    let world =
        WorldOptions { epoch: options.epoch.unwrap_or_else(sim_clock::now), ..WorldOptions::seeded(options.seed) };
    let mut world = sim_loopback::start(world.paced(options.speed), move |life| async move {
        // The cluster lives as long as this program.
        let (_cluster, up) = match bring_up(options).await {
            Ok((cluster, address)) => (Some(cluster), Ok(address)),
            Err(error) => (None, Err(error)),
        };
        life.up(up).until_stopped().await;
    })?;
    let told = world.take_told().ok_or(sim_loopback::Error::EndedEarly)?;
    told.map(|address| Local { world, address })
}

async fn bring_up(options: Options) -> Result<(Cluster, SocketAddr), Error> {
    let network = Network::new();
    let cluster = Cluster::start(&network, options.runtime, options.kube)?;
    for object in options.manifests {
        cluster.api().apply(object).map_err(crate::Error::from)?;
    }
    let address = sim_loopback::publish(&network, options.listen, &format!("{API_ADDRESS}:{API_PORT}")).await?;
    Ok((cluster, address))
}

impl Local {
    /// Where the API server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The API server's URL, as clients take it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig with one context, as JSON (which is YAML).
    pub fn kubeconfig(&self) -> String {
        kubeconfig(&self.url())
    }

    /// Whether it still runs: it ends by itself only if it panics.
    pub fn is_running(&self) -> bool {
        self.world.is_running()
    }

    /// Ends the cluster and waits until it has.
    ///
    /// # Errors
    /// If its world panicked.
    pub fn stop(self) -> Result<(), Error> {
        Ok(self.world.stop()?)
    }
}

/// A kubeconfig with one context `sim` for the API server at `url`, as JSON (which is YAML).
pub fn kubeconfig(url: &str) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "sim", "cluster": {"server": url}}],
        "users": [{"name": "admin", "user": {}}],
        "contexts": [{"name": "sim", "context": {"cluster": "sim", "user": "admin", "namespace": "default"}}],
        "current-context": "sim",
    });
    format!("{config:#}\n")
}
