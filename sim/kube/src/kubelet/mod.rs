//! The kubelets of all nodes: pods become hosts of the network, containers become processes of the world.

mod container;
mod evictions;
mod exec;
mod grpc_health;
pub(crate) mod heartbeat;
mod logs;
mod pod;
mod pod_env;
mod probe;
mod readiness;
mod runtime;
mod status;
mod tokens;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::json;
use sim_clock::watch;
use sim_clock::{Chance, now};
use sim_net::{Host, Network};

pub use exec::{EXEC_PIECES_MAX, ExecIo, Output, Ran};
pub use logs::{ContainerLog, ContainerLogs, LOG_BYTES_MAX, LogLine, Stdout};
pub use readiness::ReadinessFault;
pub use runtime::{ContainerRuntime, ContainerStart, Exit, Files, Stop};

use crate::{
    engine::{Change, Event, Object},
    events::{Recorder, Said},
    json,
    outages::Outages,
    server::ApiServer,
};

/// How long after a change of a mounted object the containers see it.
pub const MOUNT_DELAY: Duration = Duration::from_secs(10);

/// How an image behaves on this cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageBehaviour {
    /// From the decision to start a container until its process runs, in milliseconds.
    pub start_delay_ms: RangeInclusive<u64>,
}

impl Default for ImageBehaviour {
    fn default() -> Self {
        Self { start_delay_ms: 800..=1200 }
    }
}

/// What all pods' workers share.
pub(crate) struct Shared {
    pub server: ApiServer,
    pub network: Network,
    pub runtime: Arc<dyn ContainerRuntime>,
    pub images: Mutex<BTreeMap<String, ImageBehaviour>>,
    pub nodes: BTreeMap<String, Host>,
    pub events: bool,
    pub logs: ContainerLogs,
    pub outages: Arc<Outages>,
    pub evictions: evictions::Evictions,
    recorder: Mutex<Recorder>,
    /// Images on each node.
    present: Mutex<BTreeSet<(String, String)>>,
    readiness_faults: readiness::ReadinessFaults,
    chance: Mutex<Chance>,
    mounts: watch::Sender<u64>,
    tokens: tokens::Tokens,
    /// Containers that run, by the uid of their pod and their name.
    containers: Mutex<BTreeMap<String, BTreeMap<String, Arc<ContainerStart>>>>,
}

/// A container that runs, and what runs it.
#[derive(Clone)]
pub(crate) struct Running {
    container: Arc<ContainerStart>,
    runtime: Arc<dyn ContainerRuntime>,
}

impl Running {
    /// What it was started with.
    pub(crate) fn container(&self) -> &ContainerStart {
        &self.container
    }

    /// Runs a command in it.
    pub(crate) fn exec(&self, command: Vec<String>, io: ExecIo) -> futures::future::BoxFuture<'static, Ran> {
        self.runtime.exec(self.container.clone(), command, io)
    }
}

impl Shared {
    /// A container of a pod, if it runs.
    pub(crate) fn running(&self, pod_uid: &str, name: &str) -> Option<Running> {
        let containers = self.containers.lock().unwrap_or_else(PoisonError::into_inner);
        let container = containers.get(pod_uid)?.get(name)?.clone();
        Some(Running { container, runtime: self.runtime.clone() })
    }

    fn runs(&self, container: &ContainerStart) {
        let mut containers = self.containers.lock().unwrap_or_else(PoisonError::into_inner);
        let pod = containers.entry(container.pod_uid.clone()).or_default();
        pod.insert(container.container.clone(), Arc::new(container.clone()));
    }

    fn ended(&self, pod_uid: &str, name: &str) {
        let mut containers = self.containers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pod) = containers.get_mut(pod_uid) else { return };
        pod.remove(name);
        if pod.is_empty() {
            containers.remove(pod_uid);
        }
    }

    fn all_ended(&self, pod_uid: &str) {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner).remove(pod_uid);
    }

    pub(crate) fn new(
        server: ApiServer,
        network: Network,
        runtime: Arc<dyn ContainerRuntime>,
        images: BTreeMap<String, ImageBehaviour>,
        nodes: BTreeMap<String, Host>,
        events: bool,
        outages: Arc<Outages>,
    ) -> Self {
        let chance = Mutex::new(sim_clock::seeded("kube/kubelet"));
        Self {
            server,
            network,
            runtime,
            images: Mutex::new(images),
            nodes,
            events,
            logs: ContainerLogs::default(),
            outages,
            evictions: evictions::Evictions::default(),
            recorder: Mutex::default(),
            present: Mutex::default(),
            readiness_faults: readiness::ReadinessFaults::default(),
            chance,
            mounts: watch::Sender::new(0),
            tokens: tokens::Tokens::default(),
            containers: Mutex::default(),
        }
    }

    /// Lets readiness probes of all pods with these labels fail.
    pub(crate) fn fail_readiness(&self, labels: BTreeMap<String, String>) -> ReadinessFault {
        self.readiness_faults.inject(labels, &self.network)
    }

    /// Lets them answer for themselves again.
    pub(crate) fn heal_readiness(&self, fault: ReadinessFault) {
        self.readiness_faults.heal(fault, &self.network);
    }

    fn start_delay(&self, image: &str) -> Duration {
        let images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        let behaviour = images.get(image).cloned().unwrap_or_default();
        self.chance.lock().unwrap_or_else(PoisonError::into_inner).range_ms(behaviour.start_delay_ms)
    }

    fn has_image(&self, node: &str, image: &str) -> bool {
        let present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.contains(&(node.to_owned(), image.to_owned()))
    }

    fn keep_image(&self, node: &str, image: &str) {
        self.present.lock().unwrap_or_else(PoisonError::into_inner).insert((node.to_owned(), image.to_owned()));
    }

    fn record(&self, pod: &Object, container: &str, kind: &str, reason: &str, message: &str) {
        if self.events {
            let host = json::text(pod, &["spec", "nodeName"]);
            let said = Said { component: "kubelet", host, field_path: container, kind, reason, message };
            let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
            recorder.record(&mut self.server.engine(), pod, said, now());
        }
    }
}

/// Watches pods and mounted objects; one worker a pod.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut wake = shared.server.engine().subscribe_work();
    let mut workers: BTreeMap<String, watch::Sender<Object>> = BTreeMap::new();
    let mut positions = BTreeMap::new();
    loop {
        for table in ["pods", "configmaps", "secrets"] {
            let (events, all, revision) = {
                let engine = shared.server.engine();
                let after = positions.get(table).copied().unwrap_or(0);
                match engine.events_after(table, after) {
                    Ok(events) => (events, Vec::new(), engine.revision()),
                    Err(_) => {
                        (Vec::new(), engine.scan(table, None).cloned().collect::<Vec<Object>>(), engine.revision())
                    }
                }
            };
            positions.insert(table, revision);
            if table == "pods" {
                for event in &events {
                    notice(&shared, &mut workers, event);
                }
                for pod in &all {
                    offer(&shared, &mut workers, pod);
                }
            } else if events.iter().any(|e| e.change == Change::Modified) || !all.is_empty() {
                let shared = shared.clone();
                sim_clock::spawn("kubelet/mounts", async move {
                    tokio::time::sleep(MOUNT_DELAY).await;
                    shared.mounts.send_modify(|n| *n += 1);
                });
            }
        }
        workers.retain(|_, sender| !sender.is_closed());
        if wake.changed().await.is_err() {
            return;
        }
    }
}

fn notice(shared: &Arc<Shared>, workers: &mut BTreeMap<String, watch::Sender<Object>>, event: &Event) {
    if event.change == Change::Deleted {
        // The worker sees the closed channel and kills what still runs.
        workers.remove(json::uid(&event.object));
        shared.logs.forget(json::namespace(&event.object), json::name(&event.object));
    } else {
        offer(shared, workers, &event.object);
    }
}

fn offer(shared: &Arc<Shared>, workers: &mut BTreeMap<String, watch::Sender<Object>>, pod: &Object) {
    let node = json::text(pod, &["spec", "nodeName"]);
    let uid = json::uid(pod);
    if let Some(sender) = workers.get(uid) {
        sender.send_replace(pod.clone());
    } else if shared.nodes.contains_key(node)
        && !matches!(json::text(pod, &["status", "phase"]), "Succeeded" | "Failed")
    {
        // The event may be old: what is stored now decides.
        let stored = shared.server.engine().peek("pods", json::namespace(pod), json::name(pod)).cloned();
        let Some(stored) = stored.filter(|s| json::uid(s) == uid) else { return };
        let name = format!("kubelet/{}/{}", json::namespace(pod), json::name(pod));
        let (sender, receiver) = watch::channel(stored);
        workers.insert(uid.to_owned(), sender);
        sim_clock::spawn(&name, pod::work(shared.clone(), receiver));
    }
}

/// The node objects of a cluster.
pub(crate) fn node_object(name: &str, ip: std::net::Ipv4Addr) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "topology.kubernetes.io/zone": "zone-a", "topology.kubernetes.io/region": "region-a"}},
        "status": {"addresses": [{"type": "InternalIP", "address": ip.to_string()}, {"type": "Hostname", "address": name}],
            "capacity": {"cpu": "8", "memory": "32Gi", "pods": "110"}, "allocatable": {"cpu": "8", "memory": "32Gi", "pods": "110"},
            "nodeInfo": {"kubeletVersion": crate::discovery::VERSION, "operatingSystem": "linux", "architecture": "amd64"}}})
}
