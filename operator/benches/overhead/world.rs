//! A simulated cluster with what `deploy/` gives it, for an operator that runs outside.
//!
//! The operator cannot resolve the cluster's names. So that it can register cells and databases, all clusters of the fleet keep
//! their topology in one etcd whose address means the same inside and outside: one of the machine's loopback addresses, which a host
//! of the simulated network has, too.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sim_kube::local::{self, User};
use sim_loopback::{Life, Running};
use tokio::sync::mpsc as requests;

use crate::process::{Operator, PATIENCE};

/// Where the operator lives.
pub const NAMESPACE: &str = "multigres-operator";
/// Its service account.
pub const ACCOUNT: &str = "multigres-operator-controller-manager";
/// etcd's address, on either side.
const ETCD: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);
const ETCD_PORT: u16 = 2379;
/// What a cluster itself asks of its nodes, what an orchestrator does, and what a pod of a pool does, in thousandths of a core.
const MILLICORES: [usize; 3] = [250, 50, 200];
/// What of a node's eight cores is given away: pods do not fill nodes to the brim.
const NODE_MILLICORES: usize = 6_000;
/// Table groups of a cluster at most; each has one shard.
const TABLE_GROUPS_MAX: usize = 20;

/// How large a fleet is.
#[derive(Copy, Clone, Debug)]
pub struct Fleet {
    /// Clusters of one cell.
    pub clusters: usize,
    /// Shards of each of them, of one pool.
    pub shards: usize,
    /// Pods of each pool.
    pub replicas: usize,
}

impl Fleet {
    /// Clusters as the minimal sample's: one shard, three pods.
    pub fn of_clusters(clusters: usize) -> Self {
        Self { clusters, shards: 1, replicas: 3 }
    }

    /// As few clusters as may have so many shards, of one pod each.
    pub fn of_shards(shards: usize) -> Self {
        let clusters = shards.div_ceil(TABLE_GROUPS_MAX);
        Self { clusters, shards: shards.div_ceil(clusters), replicas: 1 }
    }

    fn nodes(self) -> usize {
        let [cluster, orch, pod] = MILLICORES;
        let wanted = self.clusters * (cluster + self.shards * (orch + pod * self.replicas));
        wanted.div_ceil(NODE_MILLICORES).max(3)
    }
}

enum Request {
    Apply(Vec<Value>),
    /// How many clusters are there, and how many of them are healthy.
    Healthy(mpsc::Sender<(usize, usize)>),
}

struct Up {
    kubeconfig: String,
    requests: requests::Sender<Request>,
}

/// A simulated cluster, reachable on loopback.
pub struct World {
    running: Running<Up>,
    fleet: Fleet,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The objects of a folder of manifests.
fn objects(folder: &str) -> Vec<Value> {
    let entries = fs::read_dir(root().join(folder)).expect("the folder is in the repository");
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| {
        file.extension().is_some_and(|extension| extension == "yaml") && !file.ends_with("kustomization.yaml")
    });
    files.sort();
    let texts = files.iter().map(|file| fs::read_to_string(file).expect("a manifest can be read"));
    texts.flat_map(|text| serde_saphyr::from_multiple::<Value>(&text).expect("a manifest is YAML")).collect()
}

fn cluster(n: usize, fleet: Fleet) -> Value {
    let name = format!("fleet-{n:04}");
    let pool = json!({"type": "readWrite", "replicasPerCell": fleet.replicas});
    let group = |n: usize| {
        let name = if n == 0 { "default".to_owned() } else { format!("group-{n:02}") };
        json!({"name": name, "default": n == 0, "shards": [{"name": "0-inf", "spec": {"pools": {"main": pool}}}]})
    };
    let groups: Vec<Value> = (0..fleet.shards).map(group).collect();
    json!({
        "apiVersion": "multigres.com/v1alpha1", "kind": "MultigresCluster",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "globalTopoServer": {"external": {
                "endpoints": [format!("http://{ETCD}:{ETCD_PORT}")],
                "implementation": "etcd",
                "rootPath": format!("/multigres/{name}"),
            }},
            "cells": [{"name": "zone-a", "zone": "us-east-1a"}],
            // Pods inherit the operator's own settings where a cluster says nothing: the objects would be larger with tracing.
            "observability": {"otlpEndpoint": "disabled"},
            "databases": [{"name": "postgres", "default": true, "tablegroups": groups}],
        },
    })
}

impl World {
    /// A cluster as it is before the operator is there: definitions, permissions, no Deployment of the operator.
    pub fn start(speed: &str, fleet: Fleet) -> Self {
        let options = sim_clock::WorldOptions { epoch: sim_clock::now(), ..sim_clock::WorldOptions::seeded(1) };
        let speed = speed.parse().expect("a speed such as 10x");
        let running = sim_loopback::start(options.paced(speed), move |life| run(life, fleet.nodes()));
        Self { running: running.expect("the world starts"), fleet }
    }

    /// A kubeconfig whose one user is the operator's service account.
    pub fn kubeconfig(&self) -> &str {
        &self.running.told().kubeconfig
    }

    fn ask(&self, request: Request) {
        self.running.told().requests.blocking_send(request).expect("the world listens");
    }

    /// Asks for the fleet.
    pub fn create(&self) {
        self.ask(Request::Apply((0..self.fleet.clusters).map(|n| cluster(n, self.fleet)).collect()));
    }

    /// Waits until all of the fleet is healthy.
    pub fn wait_until_healthy(&self, operator: &Operator) {
        let end = Instant::now() + PATIENCE;
        loop {
            let (answer, answered) = mpsc::channel();
            self.ask(Request::Healthy(answer));
            let (there, healthy) = answered.recv_timeout(PATIENCE).expect("the world answers");
            if healthy == self.fleet.clusters {
                return;
            }
            let story = || format!("{healthy} of {there} clusters are healthy\n{}", operator.last_lines());
            assert!(Instant::now() < end, "{}", story());
            sleep(Duration::from_millis(100));
        }
    }

    /// Ends it.
    pub fn stop(self) {
        self.running.stop().expect("the world ends as it should");
    }
}

async fn run(life: Life<Up>, nodes: usize) {
    let mut deployed = objects("deploy/crds");
    // Webhooks are called by a Service, behind which there is nothing when the operator runs outside.
    let inside = |object: &Value| {
        object["kind"].as_str().is_some_and(|kind| kind == "Deployment" || kind.ends_with("WebhookConfiguration"))
    };
    deployed.extend(objects("deploy/operator").into_iter().filter(|object| !inside(object)));
    let world = sim_world::World::builder().nodes(nodes).manifests(deployed).start().await.expect("the world starts");
    let network = world.network();
    let host = network.host_with("shared etcd", ETCD, 0..=0);
    let member = sim_etcd::MemberConfig::from_env(&std::collections::BTreeMap::new()).expect("etcd's own defaults");
    sim_clock::spawn("shared etcd", async move {
        let error = sim_etcd::run(host, &sim_etcd::Registry::default(), member, Arc::new(|_| ())).await;
        panic!("the shared etcd ended: {error}");
    });
    let address = SocketAddr::from((ETCD, ETCD_PORT));
    sim_loopback::publish(network, address, &address.to_string()).await.expect("etcd's port is free on loopback");
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let users = [User::service_account("operator", NAMESPACE, ACCOUNT)];
    let (_, kubeconfig) = local::publish(network, world.cluster(), free, "sim", &users).await.expect("a free port");
    let (sender, mut receiver) = requests::channel(8);
    let stopped = life.up(Up { kubeconfig, requests: sender }).until_stopped();
    tokio::pin!(stopped);
    loop {
        let request = tokio::select! {
            biased;
            () = &mut stopped => return,
            Some(request) = receiver.recv() => request,
        };
        match request {
            Request::Apply(objects) => {
                for object in &objects {
                    world.apply(object).expect("the fleet's clusters are well-formed");
                }
            }
            Request::Healthy(answer) => {
                let list = world.cluster().api().list("multigres.com/v1alpha1", "MultigresCluster", "default");
                let list = list.unwrap_or_default();
                let healthy = list.iter().filter(|cluster| cluster["status"]["phase"] == "Healthy").count();
                // Whoever asked may have lost patience.
                let _ = answer.send((list.len(), healthy));
            }
        }
    }
}
