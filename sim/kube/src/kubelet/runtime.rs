//! What a container is to the world that runs it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use sim_clock::watch;
use sim_net::Host;

use super::{ExecIo, Ran, Stdout};

/// Starts containers as processes of the world.
pub trait ContainerRuntime: Send + Sync {
    /// Runs a container to its end. The future is dropped when the container is killed.
    fn start(&self, container: ContainerStart) -> BoxFuture<'static, Exit>;

    /// Runs a command in a container that runs (`kubectl exec`). The future is dropped when the client goes away. Unless a runtime
    /// says otherwise its images hold no programs.
    fn exec(&self, container: Arc<ContainerStart>, command: Vec<String>, io: ExecIo) -> BoxFuture<'static, Ran> {
        drop((container, command, io));
        Box::pin(std::future::ready(Ran::NotFound))
    }
}

/// Everything a container starts with.
#[derive(Clone, Debug)]
pub struct ContainerStart {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Uid of the pod.
    pub pod_uid: String,
    /// Name of the container.
    pub container: String,
    /// Image as written in the pod.
    pub image: String,
    /// Node the pod runs on.
    pub node: String,
    /// Labels of the pod.
    pub labels: BTreeMap<String, String>,
    /// `command`, `$(VAR)` expanded.
    pub command: Vec<String>,
    /// `args`, `$(VAR)` expanded.
    pub args: Vec<String>,
    /// Environment in order, references resolved.
    pub env: Vec<(String, String)>,
    /// Mounted files.
    pub files: Files,
    /// The pod's host in the network.
    pub host: Host,
    /// Service account.
    pub service_account: String,
    /// Resolves when SIGTERM arrives.
    pub stop: Stop,
    /// Takes the lines it writes, for `pods/log`.
    pub stdout: Stdout,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit code.
    pub code: i32,
    /// Termination message.
    pub message: String,
}

/// The arrival of SIGTERM.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// A signal and the switch that sends it.
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (send, receive) = watch::channel(false);
        (send, Self(receive))
    }

    /// Resolves when the signal has arrived (or nobody is left to send it).
    pub async fn wait(&mut self) {
        // An error means that the sender is gone: the pod is, too.
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }

    /// True if the signal has arrived.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }
}

/// The files a container sees: mounted ConfigMaps, Secrets, downward API, and what was written to emptyDirs.
#[derive(Clone, Debug)]
pub struct Files(Arc<Mounted>);

#[derive(Debug)]
struct Mounted {
    content: Mutex<BTreeMap<String, Bytes>>,
    tick: watch::Sender<u64>,
}

impl Default for Files {
    fn default() -> Self {
        Self(Arc::new(Mounted { content: Mutex::default(), tick: watch::Sender::new(0) }))
    }
}

impl Files {
    /// The content at an absolute path.
    pub fn read(&self, path: &str) -> Option<Bytes> {
        self.0.content.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    /// The paths below a directory, sorted.
    pub fn list(&self, dir: &str) -> Vec<String> {
        let prefix = format!("{}/", dir.trim_end_matches('/'));
        self.0
            .content
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .filter(|p| p.starts_with(&prefix))
            .cloned()
            .collect()
    }

    /// Writes a file (an emptyDir's); watchers tick.
    pub fn write(&self, path: &str, content: impl Into<Bytes>) {
        self.0.content.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), content.into());
        self.0.tick.send_modify(|n| *n += 1);
    }

    /// A receiver that ticks when a mounted object changed.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.tick.subscribe()
    }

    /// Replaces what is mounted at the given places, keeping other files; ticks if anything differs.
    pub(super) fn remount(&self, mounts: &[String], fresh: BTreeMap<String, Bytes>) {
        let mut content = self.0.content.lock().unwrap_or_else(PoisonError::into_inner);
        let below =
            |path: &str| mounts.iter().any(|m| path == m || path.starts_with(&format!("{}/", m.trim_end_matches('/'))));
        let mut next: BTreeMap<String, Bytes> =
            content.iter().filter(|(p, _)| !below(p)).map(|(p, b)| (p.clone(), b.clone())).collect();
        next.extend(fresh);
        if *content != next {
            *content = next;
            drop(content);
            self.0.tick.send_modify(|n| *n += 1);
        }
    }
}
