//! How fast the API server is, beside the floor of serialising the same JSON in the same run.
//!
//! ```text
//! cargo bench -p sim-kube                 # everything but the largest cluster
//! cargo bench -p sim-kube -- largest      # 10 000 custom resources with 50 000 pods
//! cargo bench -p sim-kube -- memory pods  # these parts only: engine, http, fan-out, start, memory, pods
//! ```
//!
//! What happens inside a world is measured from outside: the wall time of a world that does the work, less that of one that
//! only prepares for it (a world's own clock stands still while it computes).

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::join_all;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sim_clock::{Chance, Timestamp, WorldOptions};
use sim_kube::{
    ApiServer, Cluster, KubeOptions,
    engine::{Engine, ListQuery, PatchKind, Target, WriteOptions},
    local::Idle,
};
use sim_net::{Network, http::Client};

/// As in the command.
#[global_allocator]
static ALLOCATOR: sim_clock::allocator::MiMalloc = sim_clock::allocator::MiMalloc;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
/// Objects in the table that is asked.
const OBJECTS: usize = 10_000;
/// Objects of a list.
const LISTED: usize = 1_000;
/// Watchers of one collection.
const WATCHERS: usize = 1_000;
/// Changes that every watcher sees.
const CHANGES: usize = 20;
/// Pods that a node takes.
const PODS_PER_NODE: usize = 110;
/// Runs of each; the median counts.
const RUNS: usize = 5;

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let parts: [(&str, fn()); 7] = [
        ("engine", engine),
        ("http", over_http),
        ("fan-out", fan_out),
        ("start", start),
        ("memory", memory),
        ("pods", pods),
        ("largest", largest),
    ];
    for (name, part) in parts {
        if asked.iter().any(|argument| argument == name) || asked.is_empty() && name != "largest" {
            part();
        }
    }
}

fn config_map(number: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": format!("object-{number:05}"), "namespace": "default", "labels": {"app": "benchmark"}},
        "data": {"a": "1"},
    })
}

fn filled(objects: usize) -> Engine {
    let mut engine = Engine::new(Chance::new(1, "benchmark"), NOW);
    for number in 0..objects {
        engine.create_object(config_map(number), &WriteOptions::by("benchmark"), NOW).expect("a good object");
    }
    engine
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn wall(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn median(mut run: impl FnMut() -> Duration) -> Duration {
    let mut walls: Vec<Duration> = (0..RUNS).map(|_| run()).collect();
    walls.sort();
    walls[RUNS / 2]
}

/// How often a second something can be done.
fn rate(times: u32, mut work: impl FnMut()) -> f64 {
    f64::from(times) / median(|| wall(|| (0..times).for_each(|_| work()))).as_secs_f64()
}

/// A line of the table; the floor is what serialising the same JSON takes.
fn tell(what: &str, rate: f64, floor: f64) {
    println!("{what:<46} {rate:>12.0} /s   serialising alone {floor:>12.0} /s   ratio {:.3}", rate / floor);
}

fn engine() {
    let mut engine = filled(OBJECTS);
    let target = engine.target_of(&config_map(OBJECTS / 2)).expect("a known kind");
    let object = engine.get(&target).expect("an object that is there").to_value();
    let serialised = rate(200_000, || drop(black_box(serde_json::to_vec(black_box(&object)).expect("JSON"))));
    let gets = rate(200_000, || {
        black_box(engine.get(black_box(&target)).expect("an object that is there").json());
    });
    tell(&format!("engine: get of one of {OBJECTS}"), gets, serialised);
    let mut number = 0_u64;
    let mut change = |engine: &mut Engine, kind: PatchKind| {
        number += 1;
        let mut body = json!({"data": {"a": number.to_string()}});
        if kind == PatchKind::Apply {
            body = config_map(OBJECTS / 2);
            body["data"]["a"] = number.to_string().into();
        }
        let options = WriteOptions { force: true, ..WriteOptions::by("benchmark") };
        black_box(engine.patch(&target, kind, &body, &options, NOW).expect("a good patch"));
    };
    let patches = rate(5_000, || change(&mut engine, PatchKind::Merge));
    tell("engine: merge patch", patches, serialised);
    let applies = rate(5_000, || change(&mut engine, PatchKind::Apply));
    tell("engine: server-side apply", applies, serialised);
    let engine = filled(LISTED);
    let collection = Target { name: String::new(), ..target };
    let items: Vec<Value> = engine.scan("configmaps", None).map(|object| object.to_value()).collect();
    let serialised = rate(200, || drop(black_box(serde_json::to_vec(black_box(&items)).expect("JSON"))));
    let lists = rate(200, || {
        black_box(engine.list(&collection, &ListQuery::default()).expect("a list"));
    });
    tell(&format!("engine: list of {LISTED}"), lists, serialised);
}

/// A world with an API server and a client of it.
struct World {
    api: ApiServer,
    http: Client,
    base: String,
}

impl World {
    fn new(objects: usize) -> Self {
        let network = Network::new();
        let api = ApiServer::new();
        let host = network.host("kubernetes");
        let listener = host.listen(80).expect("a free port");
        sim_clock::spawn("api", sim_kube::wire::serve(listener, api.clone()));
        for number in 0..objects {
            api.apply(config_map(number)).expect("a good object");
        }
        Self { api, http: Client::new(network.host("client")), base: format!("http://{}:80", host.ip()) }
    }

    async fn send(&self, method: Method, path: &str, media: &str, body: Bytes) {
        let request =
            Request::builder().method(method).uri(format!("{}{path}", self.base)).header("content-type", media);
        let answer = self.http.send(request.body(body).expect("a request")).await.expect("an answer");
        assert!(answer.status().is_success(), "{:?}", answer.body());
        black_box(answer);
    }
}

/// The wall time of a world with so many objects.
fn world<F>(objects: usize, work: impl FnOnce(Arc<World>) -> F + Send + 'static) -> Duration
where
    F: Future<Output = ()>,
{
    wall(|| {
        sim_clock::run(WorldOptions::seeded(1), move || async move { work(Arc::new(World::new(objects))).await })
            .expect("a world that ends");
    })
}

/// Requests a second, one after the other on each of eight connections.
fn requests(
    objects: usize,
    count: usize,
    method: Method,
    path: &'static str,
    media: &'static str,
    body: &'static str,
) -> f64 {
    const CONNECTIONS: usize = 8;
    let idle = median(|| world(objects, |_| async {}));
    let busy = median(|| {
        let method = method.clone();
        world(objects, move |world| async move {
            let lanes = (0..CONNECTIONS).map(|_| {
                let (world, method) = (world.clone(), method.clone());
                async move {
                    for _ in 0..count / CONNECTIONS {
                        world.send(method.clone(), path, media, Bytes::from_static(body.as_bytes())).await;
                    }
                }
            });
            join_all(lanes).await;
        })
    });
    count as f64 / busy.saturating_sub(idle).as_secs_f64()
}

fn over_http() {
    let object = filled(1).scan("configmaps", None).next().expect("an object").to_value();
    let serialised = rate(200_000, || drop(black_box(serde_json::to_vec(black_box(&object)).expect("JSON"))));
    let one = "/api/v1/namespaces/default/configmaps/object-00000";
    let gets = requests(100, 40_000, Method::GET, one, "application/json", "");
    tell("in-memory HTTP: get", gets, serialised);
    let body = r#"{"metadata":{"annotations":{"a":"b"}}}"#;
    let patches = requests(100, 8_000, Method::PATCH, one, "application/merge-patch+json", body);
    tell("in-memory HTTP: merge patch that changes nothing", patches, serialised);
    let items: Vec<Value> = filled(LISTED).scan("configmaps", None).map(|object| object.to_value()).collect();
    let serialised = rate(200, || drop(black_box(serde_json::to_vec(black_box(&items)).expect("JSON"))));
    let lists = requests(LISTED, 400, Method::GET, "/api/v1/namespaces/default/configmaps", "application/json", "");
    tell(&format!("in-memory HTTP: list of {LISTED}"), lists, serialised);
}

fn fan_out() {
    let watch = |changes: usize| {
        world(1, move |world| async move {
            let path = format!("{}/api/v1/configmaps?watch=1&resourceVersion=0", world.base);
            let watcher = |_| {
                let (world, path) = (world.clone(), path.clone());
                sim_clock::spawn("watcher", async move {
                    let request = Request::get(path).body(Bytes::new()).expect("a request");
                    let mut body = world.http.send_streaming(request).await.expect("an answer").into_body();
                    let mut lines = 0;
                    // The object itself comes first.
                    while lines < changes + 1 {
                        let frame = body.frame().await.expect("more to come").expect("a whole stream");
                        lines += frame.data_ref().map_or(0, |data| data.split(|byte| *byte == b'\n').count() - 1);
                    }
                })
            };
            let watchers: Vec<_> = (0..WATCHERS).map(watcher).collect();
            tokio::time::sleep(Duration::from_secs(1)).await;
            for number in 0..changes {
                let mut object = config_map(0);
                object["data"]["a"] = number.to_string().into();
                world.api.apply(object).expect("a good object");
            }
            join_all(watchers).await;
        })
    };
    let opened = median(|| watch(0));
    let seen = median(|| watch(CHANGES)).saturating_sub(opened);
    let events = (WATCHERS * CHANGES) as f64;
    println!(
        "watch: {CHANGES} changes to {WATCHERS} watchers over HTTP in {:.1} ms: {:.0} events a second",
        seen.as_secs_f64() * 1e3,
        events / seen.as_secs_f64()
    );
}

fn start() {
    let nothing = median(|| wall(|| sim_clock::run(WorldOptions::seeded(1), || async {}).expect("a world that ends")));
    let server = median(|| {
        world(0, |world| async move {
            world.send(Method::GET, "/api/v1/namespaces", "application/json", Bytes::new()).await;
        })
    });
    let whole = |access: bool| {
        median(|| {
            wall(|| {
                sim_clock::run(WorldOptions::seeded(1), move || async move {
                    let network = Network::new();
                    let access = access.then(sim_kube::access::AccessOptions::default);
                    let cluster =
                        Cluster::start(&network, Arc::new(Idle), KubeOptions { access, ..KubeOptions::default() });
                    black_box(
                        cluster.expect("a cluster").api().get("v1", "Namespace", "", "default").expect("a namespace"),
                    );
                })
                .expect("a world that ends");
            })
        })
    };
    let ms = |wall: Duration| wall.saturating_sub(nothing).as_secs_f64() * 1e3;
    println!("start to first answer over HTTP: {:.2} ms", ms(server));
    println!(
        "cluster of three nodes, started and asked: {:.2} ms; with TLS, accounts and roles: {:.2} ms",
        ms(whole(false)),
        ms(whole(true))
    );
}

/// Memory that this process holds, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4096
}

fn memory() {
    const STORED: usize = 50_000;
    let before = resident();
    let engine = filled(STORED);
    let held = resident().saturating_sub(before);
    let json: usize = engine.scan("configmaps", None).map(|object| object.to_value().to_string().len()).sum();
    println!(
        "memory: {STORED} objects of {} bytes of JSON take {} bytes each, {:.2} times their JSON (with the event log)",
        json / STORED,
        held / STORED,
        held as f64 / json as f64
    );
}

fn deployment(number: usize, replicas: usize) -> Value {
    let labels = json!({"app": format!("app-{number}")});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": format!("app-{number}"), "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "main", "image": "example.org/app:1"}]}}},
    })
}

/// Waits, in virtual time, until so many pods are ready.
async fn until_ready(cluster: &Cluster, wanted: usize) {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let ready = cluster
            .api()
            .engine()
            .scan("pods", None)
            .filter(|pod| {
                let conditions = pod["status"]["conditions"].as_array();
                conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
            })
            .count();
        if ready >= wanted {
            return;
        }
        assert!(
            sim_clock::now().as_millis() - sim_clock::EPOCH.as_millis() < 3_600_000,
            "{ready} of {wanted} pods are ready after an hour"
        );
    }
}

/// The wall time of a cluster in which `make` makes so many pods, to the last one ready.
fn cluster_of(pods: usize, make: impl Fn(&ApiServer) + Send + 'static) -> Duration {
    wall(|| {
        let options = WorldOptions { polls_per_instant_max: u64::MAX, ..WorldOptions::seeded(1) };
        sim_clock::run(options, move || async move {
            let network = Network::new();
            let options = KubeOptions { nodes: pods / PODS_PER_NODE + 2, ..KubeOptions::default() };
            let cluster = Cluster::start(&network, Arc::new(Idle), options).expect("a cluster");
            make(cluster.api());
            until_ready(&cluster, pods).await;
        })
        .expect("a world that ends");
    })
}

fn pods() {
    for (deployments, replicas) in [(10, 100), (100, 100)] {
        let wall = cluster_of(deployments * replicas, move |api| {
            for number in 0..deployments {
                api.apply(deployment(number, replicas)).expect("a good deployment");
            }
        });
        println!(
            "{} pods by {deployments} Deployments, applied to Ready: {:.2} s",
            deployments * replicas,
            wall.as_secs_f64()
        );
    }
}

/// 10 000 custom resources that own five pods each.
fn largest() {
    const RESOURCES: usize = 10_000;
    const OWNED: usize = 5;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "sites.example.org"},
        "spec": {"group": "example.org", "scope": "Namespaced", "names": {"plural": "sites", "kind": "Site"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
                "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer", "minimum": 0}}}}}}}]},
    });
    let before = resident();
    let wall = cluster_of(RESOURCES * OWNED, move |api| {
        api.apply(definition.clone()).expect("a good definition");
        for number in 0..RESOURCES {
            let site = json!({"apiVersion": "example.org/v1", "kind": "Site", "spec": {"size": OWNED},
                "metadata": {"name": format!("site-{number}"), "namespace": "default"}});
            let site = api.apply(site).expect("a good site");
            for pod in 0..OWNED {
                let owner = json!({"apiVersion": "example.org/v1", "kind": "Site", "name": site["metadata"]["name"], "uid": site["metadata"]["uid"], "controller": true});
                let pod = json!({"apiVersion": "v1", "kind": "Pod",
                    "metadata": {"name": format!("site-{number}-{pod}"), "namespace": "default", "ownerReferences": [owner]},
                    "spec": {"containers": [{"name": "main", "image": "example.org/app:1"}]}});
                api.apply(pod).expect("a good pod");
            }
        }
    });
    let objects = RESOURCES * (OWNED + 1);
    println!(
        "{RESOURCES} custom resources with {} pods, made to Ready: {:.1} s; {} bytes an object resident afterwards",
        RESOURCES * OWNED,
        wall.as_secs_f64(),
        resident().saturating_sub(before) / objects
    );
}
