//! Processes and their topology over the simulated network.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcd_api::clustermetadata::{Gateway, Orch, Pooler};
use etcd_api::keys;
use prost::Message;
use sim_clock::watch;
use sim_clock::{WorldOptions, run};
use sim_dataplane::{DataplaneError, Start};
use sim_etcd::{Cluster, MemberConfig, Registry};
use sim_net::{Effect, Host, Match, NameTarget, Network, Rule, http::Client};
use tokio::task::JoinHandle;
use tokio::time::sleep;

const ROOT: &str = "/multigres/global";

#[derive(Clone)]
struct World {
    network: Network,
    registry: Registry,
    client: Client,
    log: Arc<Mutex<Vec<String>>>,
}

struct Process {
    host: Host,
    terminate: watch::Sender<bool>,
    task: JoinHandle<Result<(), DataplaneError>>,
}

impl World {
    fn new() -> Self {
        let network = Network::new();
        let client = Client::new(network.host("kubelet"));
        Self { network, registry: Registry::new(), client, log: Arc::default() }
    }

    fn start_etcd(&self) -> Cluster {
        let host = self.network.host("pod/default/topo-0");
        self.network.set_name("topo.default.svc", NameTarget::Addresses(vec![host.ip()]));
        let env = [("ETCD_INITIAL_CLUSTER_TOKEN".to_owned(), "topo".to_owned())].into();
        let config = MemberConfig::from_env(&env).unwrap();
        let (cluster, registry) = (self.registry.join(&config), self.registry.clone());
        sim_clock::spawn("etcd", async move { sim_etcd::run(host, &registry, config, Arc::new(|_| {})).await });
        cluster
    }

    fn start(&self, pod: &str, image: &str, command: &[&str], args: &str) -> Process {
        let words = |words: &str| words.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let host = self.network.host(&format!("pod/default/{pod}"));
        let (terminate, told) = watch::channel(false);
        let start = Start {
            image: image.into(),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            args: words(args),
            pod: pod.into(),
            namespace: "default".into(),
            terminate: Some(told),
            ..Start::default()
        };
        let log = self.log.clone();
        let log = Arc::new(move |line| log.lock().unwrap().push(line));
        let task = sim_clock::spawn("process", sim_dataplane::run(host.clone(), start, log));
        Process { host, terminate, task }
    }

    fn gateway(&self) -> Process {
        let args = "multigateway --http-port 15100 --grpc-port 15170 --pg-port 15432 \
            --topo-global-server-addresses topo.default.svc:2379 --topo-global-root /multigres/global --cell zone-a";
        self.start("gateway-1", "ghcr.io/multigres/multigres:main", &[], args)
    }

    async fn status(&self, process: &Process, port: u16, path: &str) -> u16 {
        let url = format!("http://{}:{port}{path}", process.host.ip());
        self.client.get(&url).await.unwrap().status().as_u16()
    }

    fn lines_with(&self, text: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }
}

fn in_world<F: Future<Output = ()>>(program: impl FnOnce(World) -> F + Send + 'static) {
    run(WorldOptions::seeded(11), move || program(World::new())).unwrap();
}

#[test]
fn a_gateway_becomes_ready_once_etcd_comes_and_stays_ready_when_it_goes() {
    in_world(|world| async move {
        let gateway = world.gateway();
        sleep(Duration::from_secs(600)).await;
        assert_eq!(world.status(&gateway, 15100, "/live").await, 200);
        assert_eq!(world.status(&gateway, 15100, "/ready").await, 503);
        assert!(!gateway.task.is_finished(), "a process does not end because etcd is away");
        assert_eq!(world.lines_with("registration failed"), 1, "the same reason is told once");

        let cluster = world.start_etcd();
        sleep(Duration::from_secs(10)).await;
        assert_eq!(world.status(&gateway, 15100, "/ready").await, 200);
        let records = cluster.peek(&keys::gateways(ROOT));
        let record = Gateway::decode(records[0].value.as_slice()).unwrap();
        let id = record.id.unwrap();
        assert_eq!((id.cell.as_str(), id.name.len()), ("zone-a", 8));
        assert_eq!(records[0].key, keys::gateway(ROOT, "zone-a", &id.name).into_bytes());
        assert_eq!((record.hostname.as_str(), record.port_map["postgres"]), ("gateway-1", 15432));

        let (from, to) = (Match::Any, Match::Name("pod/default/topo-0".into()));
        world.network.inject(Rule { from, to, port: None, effect: Effect::Refuse });
        sleep(Duration::from_secs(900)).await;
        assert_eq!(world.status(&gateway, 15100, "/ready").await, 200);
    });
}

#[test]
fn readiness_is_announced_so_that_nobody_needs_to_ask_meanwhile() {
    in_world(|world| async move {
        let gateway = world.gateway();
        sleep(Duration::from_secs(1)).await;
        let kubelet = world.network.host("node").ip();
        let fingerprint = || world.network.probe_fingerprint(kubelet, gateway.host.ip(), 15100);
        let before = fingerprint();
        assert!(before.is_some());
        sleep(Duration::from_secs(20)).await;
        assert_eq!(fingerprint(), before);
        world.start_etcd();
        sleep(Duration::from_secs(20)).await;
        assert_ne!(fingerprint(), before);
    });
}

#[test]
fn a_black_holed_etcd_is_given_up_and_tried_again() {
    in_world(|world| async move {
        world.start_etcd();
        let to = Match::Name("pod/default/topo-0".into());
        let fault = world.network.inject(Rule { from: Match::Any, to, port: Some(2379), effect: Effect::BlackHole });
        let gateway = world.gateway();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(world.status(&gateway, 15100, "/ready").await, 503);
        assert_eq!(world.lines_with("registration failed"), 1);
        world.network.heal(fault);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(world.status(&gateway, 15100, "/ready").await, 200);
    });
}

#[test]
fn poolers_and_orchestrators_register_under_their_ids_and_only_the_pooler_stays() {
    in_world(|world| async move {
        let cluster = world.start_etcd();
        let topology =
            "--topo-global-server-addresses=topo.default.svc:2379 --topo-global-root=/multigres/global --cell=zone-a";
        let pooler = world.start(
            "pool-0",
            "x/multigres:main",
            &[],
            &format!("multipooler --http-port=15200 --grpc-port=15270 {topology} --database=postgres --table-group=default --shard=0-inf --service-id=pool-0 --pg-port=5432"),
        );
        let orch = world.start(
            "orch-1",
            "x/multigres:main",
            &[],
            &format!("multiorch --http-port=15300 {topology} --watch-targets=postgres"),
        );
        sleep(Duration::from_secs(10)).await;
        assert_eq!(world.status(&pooler, 15200, "/ready").await, 200);
        assert_eq!(world.status(&orch, 15300, "/ready").await, 200);
        let record = cluster.peek(&keys::pooler(ROOT, "zone-a", "pool-0")).remove(0);
        let record = Pooler::decode(record.value.as_slice()).unwrap();
        assert_eq!((record.database.as_str(), record.shard.as_str()), ("postgres", "0-inf"));
        let record = Orch::decode(cluster.peek(&keys::orchs(ROOT))[0].value.as_slice()).unwrap();
        assert_eq!(record.port_map["grpc"], 15370, "the default of a flag that is not given");

        for process in [pooler, orch] {
            process.terminate.send_replace(true);
            assert_eq!(process.task.await.unwrap(), Ok(()));
        }
        assert_eq!(cluster.peek(&keys::poolers(ROOT)).len(), 1);
        assert_eq!(cluster.peek(&keys::orchs(ROOT)).len(), 0);
    });
}

#[test]
fn administration_needs_to_reach_the_topology_and_its_pages_need_nothing() {
    in_world(|world| async move {
        let args = "--http-port=18000 --grpc-port=18070 --topo-global-server-addresses=topo.default.svc:2379 --topo-global-root=/multigres/global --pprof-http=true";
        let admin = world.start("admin", "x/multigres:main", &["/multigres/bin/multiadmin"], args);
        let web = world.start("web", "x/multiadmin-web:main", &[], "");
        sleep(Duration::from_secs(10)).await;
        assert_eq!(world.status(&admin, 18000, "/ready").await, 503);
        assert_eq!(world.status(&web, 18100, "/").await, 200);
        let cluster = world.start_etcd();
        sleep(Duration::from_secs(10)).await;
        assert_eq!(world.status(&admin, 18000, "/ready").await, 200);
        assert_eq!(cluster.peek("/").len(), 0, "it writes nothing");
    });
}

#[test]
fn pgctld_opens_its_ports_and_writes_no_record() {
    in_world(|world| async move {
        let cluster = world.start_etcd();
        let pgctld = world.start(
            "pool-0",
            "x/pgctld:main",
            &["/usr/local/bin/pgctld"],
            "server --pooler-dir=/var/lib/pooler --grpc-port=15470 --pg-port=5432 --pg-listen-addresses=*",
        );
        sleep(Duration::from_secs(10)).await;
        for port in [15470, 5432] {
            pgctld.host.connect(&format!("{}:{port}", pgctld.host.ip())).await.unwrap();
        }
        assert_eq!(cluster.peek("/").len(), 0);
    });
}

#[test]
fn a_settled_process_moves_no_bytes() {
    in_world(|world| async move {
        world.start_etcd();
        let gateway = world.gateway();
        sleep(Duration::from_secs(120)).await;
        let (revision, connections) = (world.network.revision(), world.network.open_connections());
        sleep(Duration::from_secs(2 * 3600)).await;
        assert_eq!((world.network.revision(), world.network.open_connections()), (revision, connections));
        assert_eq!(connections, 0, "the connection to etcd is given back");
        drop(gateway);
    });
}

#[test]
fn what_cannot_start_says_why() {
    in_world(|world| async move {
        let reason = async |image: &str, args: &str| {
            world.start("p", image, &[], args).task.await.unwrap().unwrap_err().to_string()
        };
        assert!(reason("postgres:17", "").await.starts_with("no program of the data plane: image \"postgres:17\""));
        assert_eq!(reason("x/multiorch", "").await, "multiorch: --topo-global-server-addresses is required");
        let shard = "multipooler --topo-global-server-addresses=t:1 --topo-global-root=/r --cell=a --service-id=x --database=d --shard=s";
        assert_eq!(reason("x", shard).await, "multipooler: --table-group is required");
        let text = reason("x/pgctld", "server --grpc-port=none").await;
        assert!(text.contains("invalid argument \"none\" for --grpc-port"), "{text}");
    });
}
