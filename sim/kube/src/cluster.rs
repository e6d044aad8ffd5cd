//! A whole cluster on a simulated network.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{Arc, PoisonError},
};

use sim_clock::now;
use sim_net::{Host, NameTarget, Network, ServicePort};

use crate::{
    access::{self, AccessOptions},
    bootstrap,
    engine::{DeleteQuery, Object, Target, WriteOptions},
    json,
    kubelet::{self, ContainerLogs, ContainerRuntime, ImageBehaviour, ReadinessFault, Shared},
    outages::{self, Labels, Outage, OutageId, Outages},
    server::ApiServer,
    status::Status,
    tls, wire, workloads,
};

/// Address of the API server's host.
pub const API_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Cluster IP of the Service `kubernetes`.
pub const API_SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// Port of the API server inside a world: plain HTTP. Requests with a bearer token are authenticated and authorised as
/// anywhere; those without credentials are the world's own parts, and trusted.
pub const API_PORT: u16 = 443;
/// Port of the API server with TLS, where nobody is trusted without credentials.
pub const API_TLS_PORT: u16 = 6443;

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct KubeOptions {
    /// Number of nodes, `node-0` and on.
    pub nodes: usize,
    /// Whether kubelets and the scheduler record Events.
    pub kubelet_events: bool,
    /// Start delays by image.
    pub images: BTreeMap<String, ImageBehaviour>,
    /// Who may what. `Some`: the bootstrap roles are there, pods have service accounts and tokens, and the API is served
    /// with TLS on [`API_TLS_PORT`] too. `None`: everybody may everything, and none of this is there.
    pub access: Option<AccessOptions>,
}

impl Default for KubeOptions {
    fn default() -> Self {
        Self { nodes: 3, kubelet_events: true, images: BTreeMap::new(), access: None }
    }
}

/// A running cluster.
#[derive(Clone)]
pub struct Cluster {
    api: ApiServer,
    host: Host,
    kubelet: Arc<Shared>,
    /// Whether the API is served with TLS from the start.
    secured: bool,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("api", &self.api).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Starts the API server on the host `kubernetes`, the controllers and the kubelets, inside a world.
    ///
    /// # Errors
    /// If the network refuses the API server's port, or the cluster's own objects are refused.
    pub fn start(
        network: &Network,
        runtime: Arc<dyn ContainerRuntime>,
        options: KubeOptions,
    ) -> Result<Self, crate::Error> {
        let api = ApiServer::new();
        let host = network.host_with("kubernetes", API_ADDRESS, 2..=5);
        let listener = host
            .listen(API_PORT)
            .map_err(|source| crate::Error::Listen { what: format!("kubernetes:{API_PORT}"), source })?;
        api.call_webhooks_from(host.clone());
        let secured = options.access.is_some();
        if let Some(access) = options.access {
            api.bootstrap_roles()?;
            api.set_access(access);
            api.engine().enable_service_accounts();
        }
        let target = NameTarget::Service {
            ip: API_SERVICE_ADDRESS,
            ports: [API_PORT, API_TLS_PORT]
                .map(|port| ServicePort { port, endpoints: vec![(API_ADDRESS, port)] })
                .into(),
        };
        for name in
            ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
        {
            network.set_name(name, target.clone());
        }
        let port = if secured { API_TLS_PORT } else { API_PORT };
        bootstrap::objects(&api, API_ADDRESS, API_SERVICE_ADDRESS, port)?;
        let mut nodes = BTreeMap::new();
        for i in 0..options.nodes {
            let name = format!("node-{i}");
            let node = network.host(&format!("node/{name}"));
            register_node(&api, &name, node.ip())?;
            nodes.insert(name, node);
        }
        sim_clock::spawn("kube-apiserver", wire::serve(listener, api.clone()));
        let outages = Arc::new(Outages::default());
        let mut authority_pem = String::new();
        if secured {
            authority_pem = serve_securely(&api, &host)?;
        }
        sim_clock::spawn(
            "kube-controllers",
            workloads::run(api.clone(), network.clone(), outages.clone(), options.kubelet_events, authority_pem),
        );
        let kubelet = Arc::new(Shared::new(
            api.clone(),
            network.clone(),
            runtime,
            options.images,
            nodes,
            options.kubelet_events,
            outages,
        ));
        api.connect_logs(kubelet.logs.clone());
        api.connect_kubelet(&kubelet);
        sim_clock::spawn("kubelet", kubelet::run(kubelet.clone()));
        sim_clock::spawn("kubelet/heartbeat", kubelet::heartbeat::run(kubelet.clone()));
        Ok(Self { api, host, kubelet, secured })
    }

    /// The API server, without the network in between: for the world's own set-up and for looking.
    pub fn api(&self) -> &ApiServer {
        &self.api
    }

    /// The API server's host, for further ports of it.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Whether the API is served with TLS on [`API_TLS_PORT`] already: it is if the cluster has access options.
    pub fn serves_tls(&self) -> bool {
        self.secured
    }

    /// What the containers wrote, for `pods/log`.
    pub fn logs(&self) -> &ContainerLogs {
        &self.kubelet.logs
    }

    /// Lets the kubelets find all pods with these labels not ready, whatever they answer, until it is healed.
    pub fn fail_readiness(&self, labels: BTreeMap<String, String>) -> ReadinessFault {
        self.kubelet.fail_readiness(labels)
    }

    /// Ends a fault of readiness.
    pub fn heal_readiness(&self, fault: ReadinessFault) {
        self.kubelet.heal_readiness(fault);
    }

    /// Starts an outage of a node, of pods or of the control plane.
    pub fn disturb(&self, outage: Outage) -> OutageId {
        self.kubelet.outages.begin(outage)
    }

    /// Ends an outage; one that has ended already is none.
    pub fn heal(&self, outage: OutageId) {
        self.kubelet.outages.heal(outage);
    }

    /// Lets the kubelets evict all pods with these labels for want of memory, and returns how many there are.
    pub fn evict(&self, labels: &Labels) -> usize {
        let pods = self.pods(|pod| outages::labelled(labels, pod));
        for pod in &pods {
            self.kubelet.evictions.add(pod);
        }
        self.kubelet.outages.announce();
        pods.len()
    }

    /// Drains a node as `kubectl drain --ignore-daemonsets --force --delete-emptydir-data` would: no new pods, and those
    /// that are there are deleted with their own grace. Returns how many there are.
    ///
    /// # Errors
    /// 404 if there is no such node.
    pub fn drain(&self, node: &str) -> Result<usize, Status> {
        self.cordon(node, true)?;
        let pods = self.pods(|pod| {
            pod["spec"]["nodeName"] == node && json::controller_of(pod).is_none_or(|owner| owner["kind"] != "DaemonSet")
        });
        let mut engine = self.api.engine();
        for pod in &pods {
            let query = DeleteQuery { uid: Some(json::uid(pod).to_owned()), ..DeleteQuery::default() };
            // One that is gone in between is what was wanted.
            let _ = engine.target_of(pod).and_then(|target| engine.delete(&target, &query, now()));
        }
        Ok(pods.len())
    }

    /// Marks a node as unschedulable, or as schedulable again.
    ///
    /// # Errors
    /// 404 if there is no such node.
    pub fn cordon(&self, node: &str, unschedulable: bool) -> Result<(), Status> {
        let target = self
            .api
            .engine()
            .target_of(&serde_json::json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}}))?;
        let edit = |object: &mut serde_json::Value| {
            let spec = json::child_map(object, "spec");
            if unschedulable {
                spec.insert("unschedulable".into(), true.into());
            } else {
                spec.shift_remove("unschedulable");
            }
        };
        self.api.edit(&target, "kubectl-cordon", edit).map(drop)
    }

    fn pods(&self, choose: impl Fn(&Object) -> bool) -> Vec<Object> {
        self.api.engine().scan("pods", None).filter(|pod| choose(pod)).cloned().collect()
    }

    /// Changes how an image behaves from the next start on.
    pub fn set_image_behaviour(&self, image: &str, behaviour: ImageBehaviour) {
        self.kubelet.images.lock().unwrap_or_else(PoisonError::into_inner).insert(image.to_owned(), behaviour);
    }
}

/// Serves the API with TLS, and starts the controllers of service accounts and cluster roles; gives the authority's PEM.
fn serve_securely(api: &ApiServer, host: &sim_net::Host) -> Result<String, crate::Error> {
    let secure = host
        .listen(API_TLS_PORT)
        .map_err(|source| crate::Error::Listen { what: format!("kubernetes:{API_TLS_PORT}"), source })?;
    let authority = api.authority()?;
    sim_clock::spawn("kube-apiserver/tls", tls::serve(secure, endpoint(api)?));
    sim_clock::spawn("kube-controllers/access", access::run_controllers(api.clone(), authority.pem().to_owned()));
    Ok(authority.pem().to_owned())
}

/// The server's side of TLS, by certificates of its own authority.
pub(crate) fn endpoint(api: &ApiServer) -> Result<tls::Endpoint, tls::TlsError> {
    let authority = api.authority()?;
    let serving = authority.serving(tls::SERVING_NAMES, now(), tls::CERTIFICATE_VALIDITY)?;
    Ok(tls::Endpoint::tls(api.clone(), tls::server_config(&serving, &authority)?))
}

fn register_node(api: &ApiServer, name: &str, ip: Ipv4Addr) -> Result<(), crate::Error> {
    let mut engine = api.engine();
    let mut object = kubelet::node_object(name, ip);
    let by = WriteOptions::by("kubelet");
    let time = now().rfc3339();
    let made = engine.create_object(object.clone(), &by, now())?;
    object["status"]["conditions"] = workloads::healthy_conditions(&object["status"], &time).into();
    let target = engine.target_of(&object)?;
    let mut next = made.object.to_content();
    next["status"] = object["status"].clone();
    engine.update(&Target { subresource: "status".into(), ..target }, next, &by, now())?;
    kubelet::heartbeat::register(&mut engine, &made.object, now())?;
    Ok(())
}
