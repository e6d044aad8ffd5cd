//! Members over the simulated network, asked by real clients.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcd_api::etcdserverpb::{
    LeaseGrantRequest, MemberListRequest, PutRequest, StatusRequest, WatchCreateRequest, WatchRequest, cluster_client,
    kv_client, lease_client, maintenance_client, watch_client, watch_request::RequestUnion,
};
use etcd_api::mvccpb::event::EventType;
use etcd_api::{KvClient, PutOutcome};
use sim_clock::{WorldOptions, run};
use sim_etcd::{MemberConfig, Registry};
use sim_net::{Effect, Host, Match, NameTarget, Network, Rule, http::Client, http::Connector};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tonic::transport::{Channel, Endpoint};

const MEMBERS: [&str; 3] = ["topo-0", "topo-1", "topo-2"];

struct World {
    network: Network,
    registry: Registry,
    client: Host,
    hosts: Vec<Host>,
    members: Vec<JoinHandle<sim_etcd::EtcdError>>,
    log: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn new() -> Self {
        let network = Network::new();
        let client = network.host("client");
        let hosts: Vec<Host> = MEMBERS.iter().map(|name| network.host(&format!("pod/default/{name}"))).collect();
        for (name, host) in MEMBERS.iter().zip(&hosts) {
            network.set_name(&format!("{name}.topo-headless.default.svc"), NameTarget::Addresses(vec![host.ip()]));
        }
        Self { network, registry: Registry::new(), client, hosts, members: Vec::new(), log: Arc::default() }
    }

    async fn trio() -> Self {
        let mut world = Self::new();
        for number in 0..3 {
            let member = world.start(number);
            world.members.push(member);
        }
        sleep(Duration::from_secs(3)).await;
        world
    }

    fn start(&self, number: usize) -> JoinHandle<sim_etcd::EtcdError> {
        let peers = MEMBERS.map(|name| format!("{name}=http://{name}.topo-headless.default.svc.cluster.local:2380"));
        let env: BTreeMap<String, String> = [
            ("ETCD_NAME", MEMBERS[number].to_owned()),
            ("ETCD_LISTEN_CLIENT_URLS", "http://0.0.0.0:2379".into()),
            ("ETCD_LISTEN_PEER_URLS", "http://0.0.0.0:2380".into()),
            ("ETCD_LISTEN_METRICS_URLS", "http://0.0.0.0:2381".into()),
            ("ETCD_INITIAL_CLUSTER", peers.join(",")),
            ("ETCD_INITIAL_CLUSTER_TOKEN", "topo".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let config = MemberConfig::from_env(&env).unwrap();
        let (host, registry, log) = (self.hosts[number].clone(), self.registry.clone(), self.log.clone());
        let log = Arc::new(move |line| log.lock().unwrap().push(line));
        sim_clock::spawn("etcd", async move { sim_etcd::run(host, &registry, config, log).await })
    }

    fn channel(&self, number: usize) -> Channel {
        Endpoint::from_shared(format!("http://{}:2379", self.hosts[number].ip()))
            .unwrap()
            .connect_timeout(Duration::from_secs(1))
            .timeout(Duration::from_secs(1))
            .connect_with_connector_lazy(Connector::new(self.client.clone()))
    }

    async fn get(&self, number: usize, port: u16, path: &str) -> (u16, String) {
        let url = format!("http://{}:{port}{path}", self.hosts[number].ip());
        let response = Client::new(self.client.clone()).get(&url).await.unwrap();
        (response.status().as_u16(), String::from_utf8(response.body().to_vec()).unwrap())
    }

    fn cut_off(&self, number: usize) -> sim_net::FaultId {
        let to = Match::Name(self.hosts[number].name().to_owned());
        self.network.inject(Rule { from: Match::Any, to, port: Some(2380), effect: Effect::Refuse })
    }
}

fn in_world<T: Send + 'static, F: Future<Output = T>>(program: impl FnOnce() -> F + Send + 'static) -> T {
    run(WorldOptions::seeded(7), program).unwrap()
}

const HEALTHY: &str = r#"{"health":"true","reason":""}"#;
const NO_LEADER: &str = r#"{"health":"false","reason":"RAFT NO LEADER"}"#;

#[test]
fn three_members_serve_reads_writes_and_transactions_to_a_real_client() {
    in_world(|| async {
        let world = World::trio().await;
        let (first, second) = (KvClient::new(world.channel(0)), KvClient::new(world.channel(1)));
        assert_eq!(first.put("/a/k", "v").await.unwrap(), 2);
        assert_eq!(second.get("/a/k").await.unwrap().unwrap().value, b"v");
        assert!(
            matches!(second.put_if_absent("/a/k", "w").await.unwrap(), PutOutcome::Existed(kv) if kv.value == b"v")
        );
        assert_eq!(first.put_if_absent("/a/l", "w").await.unwrap(), PutOutcome::Created { revision: 3 });
        assert_eq!(second.list("/a/").await.unwrap().len(), 2);
        assert!(first.delete("/a/k").await.unwrap());
        assert!(!first.delete("/a/k").await.unwrap());
        assert_eq!(world.registry.cluster("topo").unwrap().peek("/a/").len(), 1);
        let error = first.put("", "v").await.unwrap_err();
        assert_eq!(error.code(), Some(tonic::Code::InvalidArgument));
        assert!(error.to_string().contains("etcdserver: key is not provided"), "{error}");
    });
}

#[test]
fn a_list_of_many_pages_is_whole_and_of_one_revision() {
    in_world(|| async {
        let world = World::trio().await;
        let etcd = KvClient::new(world.channel(2));
        for number in 0..1_100 {
            etcd.put(format!("/many/{number:04}"), "v").await.unwrap();
        }
        etcd.put("/manz", "not one of them").await.unwrap();
        let listed = etcd.list("/many/").await.unwrap();
        assert_eq!(listed.len(), 1_100);
        assert!(listed.is_sorted_by_key(|kv| kv.key.clone()));
    });
}

#[test]
fn health_version_metrics_and_status_tell_the_same_story() {
    in_world(|| async {
        let world = World::trio().await;
        for port in [2379, 2381] {
            assert_eq!(world.get(1, port, "/health").await, (200, HEALTHY.into()));
        }
        assert_eq!(world.get(0, 2379, "/nothing").await.0, 404);
        let (_, version) = world.get(0, 2379, "/version").await;
        let status =
            maintenance_client::MaintenanceClient::new(world.channel(0)).status(StatusRequest {}).await.unwrap();
        assert!(version.contains(&status.get_ref().version), "{version}");
        let mut asked = cluster_client::ClusterClient::new(world.channel(0));
        let members = asked.member_list(MemberListRequest { linearizable: true }).await.unwrap().into_inner();
        let leader = members.members.iter().find(|member| member.id == status.get_ref().leader).unwrap();
        assert_eq!(Some(leader.name.clone()), world.registry.cluster("topo").unwrap().leader());
        KvClient::new(world.channel(0)).put("k", "v").await.unwrap();
        for (number, member) in MEMBERS.iter().enumerate() {
            let (_, metrics) = world.get(number, 2381, "/metrics").await;
            assert!(metrics.contains("\netcd_server_has_leader 1\n"), "{metrics}");
            assert!(metrics.contains("\netcd_server_leader_changes_seen_total 1\n"), "{metrics}");
            assert!(metrics.contains("\netcd_disk_wal_fsync_duration_seconds_count 1\n"), "{metrics}");
            let leads = u64::from(*member == leader.name);
            assert!(metrics.contains(&format!("\netcd_server_is_leader {leads}\n")), "{metrics}");
        }
    });
}

#[test]
fn one_member_cut_off_is_alone_without_a_leader_and_two_end_the_quorum_until_healed() {
    in_world(|| async {
        let world = World::trio().await;
        let etcd = KvClient::new(world.channel(1));
        let fault = world.cut_off(0);
        sleep(Duration::from_secs(3)).await;
        assert_eq!(world.get(0, 2379, "/health").await, (503, NO_LEADER.into()));
        assert_eq!(world.get(1, 2379, "/health").await, (200, HEALTHY.into()));
        etcd.put("k", "v").await.unwrap();

        let second = world.cut_off(2);
        sleep(Duration::from_secs(3)).await;
        for number in 0..3 {
            assert_eq!(world.get(number, 2379, "/health").await, (503, NO_LEADER.into()), "{number}");
        }
        assert_eq!(world.get(1, 2379, "/health?serializable=true").await.0, 200);
        for error in [etcd.put("k", "w").await.unwrap_err(), etcd.get("k").await.unwrap_err()] {
            assert_eq!(error.code(), Some(tonic::Code::Unavailable), "{error}");
            assert!(error.to_string().contains("etcdserver: no leader"), "{error}");
            assert!(error.is_unavailable());
        }
        world.network.heal(fault);
        world.network.heal(second);
        sleep(Duration::from_secs(3)).await;
        assert_eq!(etcd.get("k").await.unwrap().unwrap().value, b"v");
        assert!(world.log.lock().unwrap().iter().any(|line| line.contains("leader lost")));
    });
}

#[test]
fn an_outage_ends_no_lease_and_is_announced_to_probes() {
    in_world(|| async {
        let world = World::trio().await;
        let granted = LeaseGrantRequest { ttl: 20, id: 5 };
        lease_client::LeaseClient::new(world.channel(0)).lease_grant(granted).await.unwrap();
        let put = PutRequest { key: b"k".to_vec(), lease: 5, ..Default::default() };
        kv_client::KvClient::new(world.channel(0)).put(put).await.unwrap();
        let etcd = KvClient::new(world.channel(0));
        let fingerprint = || world.network.probe_fingerprint(world.client.ip(), world.hosts[0].ip(), 2379);

        let healthy = fingerprint();
        assert!(healthy.is_some(), "an answer that may be remembered");
        let faults = [world.cut_off(0), world.cut_off(1), world.cut_off(2)];
        sleep(Duration::from_secs(120)).await;
        assert_ne!(fingerprint(), healthy);
        let cut_off = fingerprint();
        for fault in faults {
            world.network.heal(fault);
        }
        sleep(Duration::from_secs(10)).await;
        assert_ne!(fingerprint(), cut_off);
        assert!(etcd.get("k").await.unwrap().is_some(), "the lease has its whole time again");
        sleep(Duration::from_secs(20)).await;
        assert_eq!(etcd.get("k").await.unwrap(), None);
    });
}

#[test]
fn data_outlives_all_processes_and_a_member_alone_waits_for_another() {
    in_world(|| async {
        let mut world = World::trio().await;
        KvClient::new(world.channel(0)).put("k", "v").await.unwrap();
        for member in world.members.drain(..) {
            member.abort();
        }
        sleep(Duration::from_secs(60)).await;
        assert_eq!(world.registry.cluster("topo").unwrap().leader(), None);
        let first = world.start(2);
        sleep(Duration::from_secs(10)).await;
        let etcd = KvClient::new(world.channel(2));
        assert_eq!(etcd.get("k").await.unwrap_err().code(), Some(tonic::Code::Unavailable));
        let second = world.start(1);
        sleep(Duration::from_secs(2)).await;
        let kv = etcd.get("k").await.unwrap().unwrap();
        assert_eq!((kv.value.as_slice(), kv.mod_revision), (b"v".as_slice(), 2));
        drop((first, second));
    });
}

#[test]
fn a_watch_sees_history_then_changes_and_the_end_of_a_lease() {
    in_world(|| async {
        let world = World::trio().await;
        let mut kv = kv_client::KvClient::new(world.channel(0));
        let put = |key: &str, lease| PutRequest { key: key.into(), lease, ..Default::default() };
        kv.put(put("w/1", 0)).await.unwrap();
        let granted = LeaseGrantRequest { ttl: 30, id: 0 };
        let lease =
            lease_client::LeaseClient::new(world.channel(1)).lease_grant(granted).await.unwrap().into_inner().id;

        let create = WatchCreateRequest {
            key: b"w/".to_vec(),
            range_end: b"w0".to_vec(),
            start_revision: 2,
            ..Default::default()
        };
        let orders = tokio_stream::StreamExt::chain(
            tokio_stream::once(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }),
            tokio_stream::pending(),
        );
        let channel = Endpoint::from_shared(format!("http://{}:2379", world.hosts[2].ip()))
            .unwrap()
            .connect_with_connector_lazy(Connector::new(world.client.clone()));
        let mut answers = watch_client::WatchClient::new(channel).watch(orders).await.unwrap().into_inner();
        assert!(answers.message().await.unwrap().unwrap().created);
        let mut next = async || {
            let answer = answers.message().await.unwrap().unwrap();
            let event = &answer.events[0];
            (event.r#type(), String::from_utf8(event.kv.clone().unwrap().key).unwrap(), sim_clock::now())
        };
        let (_, key, _) = next().await;
        assert_eq!(key, "w/1", "what was there before the watch");
        kv.put(put("w/2", lease)).await.unwrap();
        let (kind, key, before) = next().await;
        assert_eq!((kind, key.as_str()), (EventType::Put, "w/2"));
        let (kind, key, after) = next().await;
        assert_eq!((kind, key.as_str()), (EventType::Delete, "w/2"));
        let lived = after.since(before).as_secs_f64();
        assert!((29.5..30.5).contains(&lived), "the lease lived {lived} s");
    });
}

#[test]
fn a_settled_cluster_moves_no_bytes() {
    in_world(|| async {
        let world = World::trio().await;
        let before = world.network.revision();
        sleep(Duration::from_secs(2 * 3600)).await;
        assert_eq!(world.network.revision(), before);
        assert_eq!(world.network.open_connections(), 0);
    });
}

#[test]
fn clusters_of_one_token_in_two_namespaces_are_two_and_removing_one_leaves_the_other() {
    in_world(|| async {
        let registry = Registry::new();
        let config = |namespace: &str| {
            let url = format!("topo-0=http://topo-0.topo-headless.{namespace}.svc.cluster.local:2380");
            let env = [("ETCD_NAME", "topo-0"), ("ETCD_INITIAL_CLUSTER", &url), ("ETCD_INITIAL_CLUSTER_TOKEN", "topo")];
            MemberConfig::from_env(&env.map(|(name, value)| (name.to_owned(), value.to_owned())).into()).unwrap()
        };
        for namespace in ["default", "other"] {
            registry.join(&config(namespace));
        }
        registry.remove("topo", ".default.svc");
        assert!(registry.cluster("topo").is_some());
        registry.remove("topo", ".other.svc");
        assert!(registry.cluster("topo").is_none());
    });
}

#[test]
fn a_port_in_use_ends_the_process_with_a_reason() {
    in_world(|| async {
        let world = World::trio().await;
        let error = world.start(0).await.unwrap();
        assert!(error.to_string().starts_with("etcd: listen on port 2379: "), "{error}");
    });
}
