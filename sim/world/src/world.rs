//! A world: the parts put together, started from manifests, with faults by name.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde_json::Value;
use sim_clock::Timestamp;
use sim_kube::{
    Cluster, ContainerRuntime, ContainerStart, ExecIo, Exit, KubeOptions, Ran,
    access::{AccessOptions, Authorization},
};
use sim_net::{Host, Network};

use crate::{
    audit,
    faults::{self, Fault, FaultError, Healer},
    images,
    logs::LogStore,
    process::{Context, Images},
};

/// How long the stack may take to become ready.
pub const BRING_UP_MAX: Duration = Duration::from_secs(600);
/// Between two looks at whether it is.
const BRING_UP_POLL: Duration = Duration::from_millis(500);

/// Why a world did not come up or refused something.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// An object of the manifests was refused.
    #[error("{object} was refused: {reason}")]
    Refused {
        /// `Kind/namespace/name`.
        object: String,
        /// What the API server said.
        reason: String,
    },
    /// Something did not become ready in time.
    #[error("after {}s of virtual time these are not ready:\n{waiting}", BRING_UP_MAX.as_secs())]
    NotReady {
        /// Each workload with what its pods say.
        waiting: String,
    },
    /// The cluster cannot start.
    #[error(transparent)]
    Cluster(#[from] sim_kube::Error),
    /// Nobody could listen for notifications.
    #[error("cannot take notifications: {0}")]
    Notifications(std::io::Error),
    /// A fault that cannot be had so.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// A fault befalls a node that is not there.
    #[error("there is no node \"{0}\"")]
    NoSuchNode(String),
    /// A fault is started under a name that is in use, or healed under one that is not.
    #[error("there is no fault under way that is called \"{0}\"")]
    NoSuchFault(String),
}

/// What a world is built from.
pub struct WorldBuilder {
    with: Vec<(String, Arc<dyn crate::process::Process>)>,
    manifests: Vec<Value>,
    access: Option<AccessOptions>,
    strangers: Option<Arc<dyn ContainerRuntime>>,
    nodes: usize,
}

impl Default for WorldBuilder {
    fn default() -> Self {
        let access = AccessOptions { authorization: Authorization::Rbac, ..AccessOptions::default() };
        let nodes = KubeOptions::default().nodes;
        Self { with: Vec::new(), manifests: Vec::new(), access: Some(access), strangers: None, nodes }
    }
}

impl WorldBuilder {
    /// Who may what in the world's cluster: as roles and bindings say, unless told otherwise. Pods show the tokens of
    /// their service accounts; whoever shows none on the plain port is the world itself (scenarios' own steps, its
    /// observers) and trusted. `None`: no accounts, no tokens, no roles, and everybody may everything.
    pub fn access(mut self, access: Option<AccessOptions>) -> Self {
        self.access = access;
        self
    }

    /// How many nodes there are, each with room for 110 pods.
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Lets images whose repository ends with `repository` run `process`, besides those that a world knows by itself.
    pub fn image(mut self, repository: &str, process: impl crate::process::Process + 'static) -> Self {
        self.with.push((repository.to_owned(), Arc::new(process)));
        self
    }

    /// Lets `runtime` run the containers of images that this world knows no program for. Without it such a container ends
    /// at once with exit code 127, so that a scenario's wrong image shows.
    pub fn strangers(mut self, runtime: Arc<dyn ContainerRuntime>) -> Self {
        self.strangers = Some(runtime);
        self
    }

    /// Objects that are there before zero, in the order in which `kubectl apply` gets them.
    pub fn manifests(mut self, objects: impl IntoIterator<Item = Value>) -> Self {
        self.manifests.extend(objects);
        self
    }

    /// Starts the world and applies its manifests. Must be called inside [`sim_clock::run`].
    pub async fn start(self) -> Result<World, WorldError> {
        let network = Network::new();
        let (logs, etcd) = (LogStore::default(), sim_etcd::Registry::default());
        let (prometheus, alertmanagers) = (images::Servers::default(), images::Servers::default());
        let mut known = images::known(&etcd, &prometheus, &alertmanagers);
        for (repository, process) in self.with {
            known = known.with(&repository, move |context| process.run(context));
        }
        let runtime = Arc::new(Runtime { images: known, logs: logs.clone(), strangers: self.strangers });
        let options = KubeOptions { access: self.access, nodes: self.nodes, ..KubeOptions::default() };
        let cluster = Cluster::start(&network, runtime, options)?;
        audit::begin(cluster.api(), &logs);
        let observer = network.host(faults::OBSERVER);
        let told = logs.writer("notifications", crate::notifications::PROGRAM);
        crate::notifications::listen(&network, told).map_err(WorldError::Notifications)?;
        let world = World { network, cluster, logs, observer, prometheus, alertmanagers, faults: BTreeMap::new() };
        for object in in_order(self.manifests) {
            world.apply(&object)?;
        }
        Ok(world)
    }
}

/// Definitions and namespaces first, since other objects need them; otherwise as written.
fn in_order(mut objects: Vec<Value>) -> Vec<Value> {
    objects.sort_by_key(|object| match object["kind"].as_str() {
        Some("CustomResourceDefinition") => 0,
        Some("Namespace") => 1,
        _ => 2,
    });
    objects
}

/// A running world.
pub struct World {
    network: Network,
    cluster: Cluster,
    logs: LogStore,
    observer: Host,
    prometheus: images::Servers<sim_prometheus::server::Prometheus>,
    alertmanagers: images::Servers<sim_alertmanager::server::Alertmanager>,
    faults: BTreeMap<String, Healer>,
}

impl World {
    /// What a world is built from.
    pub fn builder() -> WorldBuilder {
        WorldBuilder::default()
    }

    /// Its network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Its Kubernetes cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What its processes wrote.
    pub fn logs(&self) -> &LogStore {
        &self.logs
    }

    /// The host from which whoever watches the world asks its questions; no fault by name befalls it.
    pub fn observer(&self) -> &Host {
        &self.observer
    }

    /// The Prometheus that was started last, with what it stored; `None` where none runs.
    pub fn prometheus(&self) -> Option<sim_prometheus::server::Prometheus> {
        self.prometheus.newest()
    }

    /// What Alertmanager was sent: milliseconds since the Unix epoch and the alerts as they came, in order.
    pub fn posted_alerts(&self) -> Vec<(i64, String)> {
        let received = self.alertmanagers.all().into_iter().flat_map(|alertmanager| alertmanager.received());
        received.map(|(at, body)| (at.as_millis(), String::from_utf8_lossy(&body).into_owned())).collect()
    }

    /// Applies an object as `kubectl apply --server-side` would.
    pub fn apply(&self, object: &Value) -> Result<(), WorldError> {
        let applied = self.cluster.api().apply(object.clone());
        applied.map(|_| ()).map_err(|error| WorldError::Refused { object: describe(object), reason: error.to_string() })
    }

    /// Waits until every Deployment and StatefulSet has all its replicas ready, and returns zero: the next whole second.
    pub async fn ready(&self) -> Result<Timestamp, WorldError> {
        let deadline = sim_clock::now() + BRING_UP_MAX;
        loop {
            let waiting = self.waiting();
            if waiting.is_empty() {
                break;
            }
            if sim_clock::now() >= deadline {
                return Err(WorldError::NotReady { waiting: waiting.join("\n") });
            }
            tokio::time::sleep(BRING_UP_POLL).await;
        }
        let zero = Timestamp::from_secs(sim_clock::now().as_secs() + 1);
        tokio::time::sleep(zero.since(sim_clock::now())).await;
        Ok(zero)
    }

    /// The workloads that have not all their replicas ready, each with the state of its containers.
    fn waiting(&self) -> Vec<String> {
        ["Deployment", "StatefulSet"]
            .iter()
            .flat_map(|kind| self.list("apps/v1", kind).into_iter().map(move |object| (*kind, object)))
            .filter_map(|(kind, object)| {
                let wanted = object["spec"]["replicas"].as_u64().unwrap_or(1);
                let ready = object["status"]["readyReplicas"].as_u64().unwrap_or(0);
                (ready < wanted).then(|| {
                    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
                    let name = object["metadata"]["name"].as_str().unwrap_or_default();
                    let pods = self.pods_of(namespace, name);
                    format!("{kind} {namespace}/{name}: {ready} of {wanted} ready{pods}")
                })
            })
            .collect()
    }

    fn list(&self, api_version: &str, kind: &str) -> Vec<sim_kube::engine::Object> {
        // A kind that is built in can always be listed.
        self.cluster.api().list(api_version, kind, "").unwrap_or_default()
    }

    fn pods_of(&self, namespace: &str, workload: &str) -> String {
        let lines = self.logs.lines();
        self.list("v1", "Pod")
            .iter()
            .filter(|pod| {
                pod["metadata"]["namespace"] == namespace
                    && pod["metadata"]["name"].as_str().is_some_and(|name| name.starts_with(workload))
            })
            .map(|pod| {
                let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                let said = lines
                    .iter()
                    .rfind(|line| line.process.starts_with(&format!("{namespace}/{name}/")))
                    .map_or_else(String::new, |line| format!("\n    it said last: {}", line.text));
                let containers = pod["status"]["containerStatuses"].to_string();
                format!("\n  pod {name}: {}\n    {containers}{said}", pod["status"]["phase"])
            })
            .collect::<Vec<_>>()
            .concat()
    }

    /// Starts a fault and remembers it under `name`.
    pub fn inject(&mut self, name: &str, fault: Fault) {
        if let Some(before) = self.faults.remove(name) {
            self.take_back(before);
        }
        let healer = match fault {
            Fault::Network(rules) => Healer::network(&self.network, rules),
            Fault::PodsNotReady(labels) => {
                let fault = self.cluster.fail_readiness(labels.into_iter().collect());
                Healer { not_ready: Some(fault), ..Healer::default() }
            }
            Fault::Cluster(outage) => Healer { outage: Some(self.cluster.disturb(outage)), ..Healer::default() },
            Fault::Drain(node) => {
                // That there is such a node was seen to when the fault was asked for by name.
                let _ = self.cluster.drain(&node);
                Healer { drained: Some(node), ..Healer::default() }
            }
            Fault::Evict(labels) => {
                self.cluster.evict(&labels.into_iter().collect());
                Healer::default()
            }
            // The rule was checked when the fault was understood.
            Fault::KubernetesApi(rule) => Healer { api: self.cluster.api().inject(rule).ok(), ..Healer::default() },
            Fault::KubernetesClock(ahead_ms) => {
                self.cluster.api().skew_clock(ahead_ms);
                Healer { clock: true, ..Healer::default() }
            }
        };
        self.faults.insert(name.to_owned(), healer);
    }

    /// Starts a fault by its own name and parameters, remembered under `name`.
    pub fn inject_by_name(
        &mut self,
        name: &str,
        fault: &str,
        parameters: &[(String, Value)],
    ) -> Result<(), WorldError> {
        let fault = faults::parse(fault, parameters)?;
        if let Some(node) = fault.node()
            && self.cluster.api().get("v1", "Node", "", node).is_err()
        {
            return Err(WorldError::NoSuchNode(node.to_owned()));
        }
        self.inject(name, fault);
        Ok(())
    }

    /// Ends the fault remembered under `name`.
    pub fn heal(&mut self, name: &str) -> Result<(), WorldError> {
        let healer = self.faults.remove(name).ok_or_else(|| WorldError::NoSuchFault(name.to_owned()))?;
        self.take_back(healer);
        Ok(())
    }

    fn take_back(&self, healer: Healer) {
        for rule in healer.rules {
            self.network.heal(rule);
        }
        if let Some(fault) = healer.not_ready {
            self.cluster.heal_readiness(fault);
        }
        if let Some(outage) = healer.outage {
            self.cluster.heal(outage);
        }
        if let Some(node) = healer.drained {
            // A node that is gone in the meantime needs no healing.
            let _ = self.cluster.cordon(&node, false);
        }
        if let Some(rule) = healer.api {
            self.cluster.api().heal(rule);
        }
        if healer.clock {
            self.cluster.api().skew_clock(0);
        }
    }
}

fn describe(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{}/{namespace}/{}", text(&object["kind"]), text(&object["metadata"]["name"])),
        None => format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"])),
    }
}

/// The name that a container's log lines go by: that of the application its pod consists of, or, where the pod is a
/// component of one, the container's.
fn program_name(start: &ContainerStart) -> &str {
    match start.labels.get("app.kubernetes.io/name") {
        Some(name) if !start.labels.contains_key("app.kubernetes.io/component") => name,
        _ => &start.container,
    }
}

/// Runs the containers of the world's pods.
struct Runtime {
    images: Images,
    logs: LogStore,
    strangers: Option<Arc<dyn ContainerRuntime>>,
}

impl ContainerRuntime for Runtime {
    fn start(&self, start: ContainerStart) -> BoxFuture<'static, Exit> {
        let program = self.images.find(&start.image);
        if program.is_none()
            && let Some(strangers) = &self.strangers
        {
            return strangers.start(start);
        }
        let process = format!("{}/{}/{}", start.namespace, start.pod, start.container);
        let log = crate::logs::both(self.logs.writer(&process, program_name(&start)), start.stdout.clone());
        let Some(program) = program else {
            let message = format!("no program in this world is the image {}", start.image);
            log(&message);
            return Box::pin(async move { Exit { code: 127, message } });
        };
        program.run(Context {
            namespace: start.namespace,
            pod: start.pod,
            container: start.container,
            image: start.image,
            labels: start.labels,
            service_account: start.service_account,
            command: start.command,
            args: start.args,
            env: start.env,
            files: start.files,
            host: start.host,
            log,
            stop: start.stop,
        })
    }

    fn exec(&self, container: Arc<ContainerStart>, command: Vec<String>, io: ExecIo) -> BoxFuture<'static, Ran> {
        match &self.strangers {
            Some(strangers) if self.images.find(&container.image).is_none() => strangers.exec(container, command, io),
            _ => Box::pin(std::future::ready(Ran::NotFound)),
        }
    }
}
