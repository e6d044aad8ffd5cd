//! Probes, sidecars, mounted files and determinism of the kubelet.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use sim_clock::WorldOptions;
use sim_kube::{Cluster, ContainerRuntime, ContainerStart, Exit, KubeOptions};
use sim_net::{Changer, Network};

#[derive(Default)]
struct Seen {
    /// How many of the first requests are answered after two seconds only.
    late: usize,
    order: Vec<String>,
    asked: usize,
    healthy: bool,
    changer: Option<Changer>,
    file: String,
}

struct Toy(Arc<Mutex<Seen>>);

impl ContainerRuntime for Toy {
    fn start(&self, mut container: ContainerStart) -> BoxFuture<'static, Exit> {
        let seen = self.0.clone();
        Box::pin(async move {
            seen.lock().unwrap().order.push(container.container.clone());
            if container.container == "init" {
                return Exit { code: 0, message: String::new() };
            }
            if container.container == "side" {
                container.stop.wait().await;
                return Exit { code: 0, message: String::new() };
            }
            let listener = container.host.listen(8080).expect("a fresh pod has its ports free");
            let changer = listener.changer();
            changer.changed();
            seen.lock().unwrap().changer = Some(changer);
            let answers = seen.clone();
            let serving = sim_net::http::serve(listener, sim_net::http::Limits::default(), move |_| {
                let mut seen = answers.lock().unwrap();
                seen.asked += 1;
                let code = if seen.healthy { 200 } else { 503 };
                let pause = Duration::from_secs(if seen.asked <= seen.late { 2 } else { 0 });
                drop(seen);
                async move {
                    tokio::time::sleep(pause).await;
                    http::Response::builder().status(code).body(sim_net::http::empty()).expect("a response")
                }
            });
            let mut files = container.files.watch();
            let watching = async {
                loop {
                    let text = container.files.read("/etc/c/a").unwrap_or_default();
                    seen.lock().unwrap().file = String::from_utf8_lossy(&text).into_owned();
                    if files.changed().await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! { biased; () = serving => {}, () = watching => {}, () = container.stop.wait() => {} }
            Exit { code: 0, message: String::new() }
        })
    }
}

fn world() -> (String, Vec<String>) {
    sim_clock::run(WorldOptions::seeded(9), || async {
        let seen = Arc::new(Mutex::new(Seen { healthy: true, ..Seen::default() }));
        let network = Network::new();
        let cluster = Cluster::start(&network, Arc::new(Toy(seen.clone())), KubeOptions::default()).expect("starts");
        let api = cluster.api();
        let config = |text: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}, "data": {"a": text}});
        api.apply(config("1")).expect("applies");
        api.apply(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}, "spec": {
            "volumes": [{"name": "v", "configMap": {"name": "c"}}],
            "initContainers": [{"name": "init", "image": "i"}, {"name": "side", "image": "s", "restartPolicy": "Always"}],
            "containers": [{"name": "main", "image": "m", "volumeMounts": [{"name": "v", "mountPath": "/etc/c"}], "readinessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 5}}]}})).expect("applies");
        tokio::time::sleep(Duration::from_secs(600)).await;
        let ready = || {
            let pod = api.get("v1", "Pod", "default", "p").expect("exists");
            pod["status"]["conditions"].as_array().expect("conditions").iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
        };
        assert!(ready());
        let asked = seen.lock().unwrap().asked;
        assert!(asked <= 3, "a steady probe is not repeated over the network: {asked} requests");
        // The answer changes, the process says so, and the probe finds it by itself.
        let changer = { let mut s = seen.lock().unwrap(); s.healthy = false; s.changer.clone().expect("listens") };
        changer.changed();
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert!(ready(), "one or two failures are below the threshold of three");
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(!ready());
        api.apply(config("2")).expect("applies");
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(seen.lock().unwrap().file, "2");
        let order = seen.lock().unwrap().order.clone();
        assert_eq!(order, ["init", "side", "main"]);
        api.delete("v1", "Pod", "default", "p").expect("exists");
        tokio::time::sleep(Duration::from_secs(40)).await;
        assert!(api.get("v1", "Pod", "default", "p").is_err());
        let events = api.list("v1", "Event", "default").expect("lists");
        let mut reasons: Vec<String> = events.iter().map(|e| e["reason"].as_str().expect("a reason").to_owned()).collect();
        reasons.sort();
        reasons.dedup();
        (format!("{events:?}"), reasons)
    })
    .expect("the world ends well")
}

#[test]
fn a_steady_probe_is_assumed_and_a_changed_answer_is_found_and_two_worlds_are_the_same() {
    let (one, reasons) = world();
    assert_eq!(reasons, ["Created", "Killing", "Pulled", "Pulling", "Scheduled", "Started", "Unhealthy"]);
    assert_eq!(one, world().0);
}

#[test]
fn a_probe_that_was_answered_late_is_asked_again_though_the_network_stays_as_it_is() {
    let seen = Arc::new(Mutex::new(Seen { healthy: true, late: 4, ..Seen::default() }));
    cluster(Toy(seen), async |cluster| {
        let probed = json!({"readinessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 5}});
        cluster.api().apply(pod("p", &probed)).expect("applies");
        secs(19).await;
        assert_eq!(condition(&cluster, "p"), "False");
        let said = said(&cluster, "p", "Unhealthy");
        assert!(said.iter().any(|text| text.contains("context deadline exceeded")), "{said:?}");
        secs(15).await;
        assert_eq!(condition(&cluster, "p"), "True");
    });
}

/// A cluster in virtual time.
fn cluster<T: Send + 'static>(
    runtime: impl ContainerRuntime + 'static,
    look: impl AsyncFnOnce(Cluster) -> T + Send + 'static,
) -> T {
    sim_clock::run(WorldOptions::seeded(9), || async move {
        look(Cluster::start(&Network::new(), Arc::new(runtime), KubeOptions::default()).expect("starts")).await
    })
    .expect("the world ends well")
}

fn pod(name: &str, container: &Value) -> Value {
    let mut container = container.clone();
    container["name"] = "c".into();
    container["image"] = "busybox:1.37".into();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": {"containers": [container]}})
}

fn condition(cluster: &Cluster, name: &str) -> Value {
    let pod = cluster.api().get("v1", "Pod", "default", name).expect("exists");
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|c| c["type"] == "Ready").map_or(Value::Null, |c| c["status"].clone())
}

/// What is said of a pod under a reason.
fn said(cluster: &Cluster, name: &str, reason: &str) -> Vec<String> {
    let events = cluster.api().list("v1", "Event", "default").expect("lists");
    let about = events.iter().filter(|e| e["involvedObject"]["name"] == name && e["reason"] == reason);
    about.map(|e| e["message"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn secs(n: u64) {
    tokio::time::sleep(Duration::from_secs(n)).await;
}

#[test]
fn an_exec_probe_goes_by_the_exit_code_and_says_what_the_command_wrote() {
    cluster(sim_kube::local::Idle, async |cluster| {
        let api = cluster.api();
        let probe = |command: Value| json!({"exec": {"command": command}, "periodSeconds": 5, "failureThreshold": 2});
        let container = |command: Value| json!({"readinessProbe": probe(command)});
        api.apply(pod("good", &container(json!(["true"])))).expect("applies");
        api.apply(pod("bad", &container(json!(["sh", "-c", "echo not yet; exit 3"])))).expect("applies");
        api.apply(pod("none", &container(json!(["pg_isready"])))).expect("applies");
        api.apply(pod("slow", &container(json!(["sleep", "5"])))).expect("applies");
        let flag = json!({"command": ["sh", "-c", "touch"], "livenessProbe": probe(json!(["false"]))});
        api.apply(pod("restarted", &flag)).expect("applies");
        secs(60).await;
        let ready = ["good", "bad", "none", "slow"].map(|name| condition(&cluster, name));
        assert_eq!(ready, ["True", "False", "False", "False"]);
        assert_eq!(said(&cluster, "bad", "Unhealthy"), ["Readiness probe failed: not yet\n"]);
        assert_eq!(said(&cluster, "slow", "Unhealthy"), ["Readiness probe failed: command \"sleep 5\" timed out"]);
        let unknown = said(&cluster, "none", "Unhealthy");
        assert!(
            unknown[0].starts_with("Readiness probe errored and resulted in unknown state: rpc error"),
            "{unknown:?}"
        );
        assert!(unknown[0].contains("exec: \"pg_isready\": executable file not found in $PATH"), "{unknown:?}");
        let restarted = api.get("v1", "Pod", "default", "restarted").expect("exists");
        assert!(restarted["status"]["containerStatuses"][0]["restartCount"].as_i64() > Some(0), "{restarted:?}");
    });
}

/// Containers that answer health checks by what they are told; one called `alone` listens nowhere.
struct Health(Arc<Mutex<u8>>);

impl ContainerRuntime for Health {
    fn start(&self, mut container: ContainerStart) -> BoxFuture<'static, Exit> {
        let status = self.0.clone();
        Box::pin(async move {
            let serving = async {
                if container.pod == "alone" {
                    return std::future::pending().await;
                }
                let listener = container.host.listen(9000).expect("a free port");
                let answer = move |request| {
                    let answered = health(&request, *status.lock().unwrap());
                    async move { answered }
                };
                sim_net::http::serve(listener, sim_net::http::Limits::default(), answer).await;
            };
            tokio::select! { biased; () = serving => {}, () = container.stop.wait() => {} }
            Exit { code: 0, message: String::new() }
        })
    }
}

/// The answer of a gRPC server that knows the service `db`.
fn health(request: &http::Request<Bytes>, status: u8) -> http::Response<sim_net::http::Body> {
    if request.uri().path() != "/grpc.health.v1.Health/Check" || request.headers()["te"] != "trailers" {
        return sim_net::http::response(http::StatusCode::NOT_FOUND, "text/plain", "");
    }
    let service = request.body().get(7..).map(|name| String::from_utf8_lossy(name).into_owned());
    let (code, message) = match (status, service.as_deref()) {
        (12, _) => ("12", Vec::new()),
        (status, Some("db")) => ("0", vec![0, 0, 0, 0, 2, 8, status]),
        _ => ("5", Vec::new()),
    };
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", code.parse().expect("a header"));
    trailers.insert("grpc-message", "why".parse().expect("a header"));
    let frames = [Ok::<_, std::io::Error>(Frame::data(Bytes::from(message))), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(futures::stream::iter(frames)).boxed();
    http::Response::builder().header("content-type", "application/grpc").body(body).expect("a response")
}

#[test]
fn a_grpc_probe_asks_for_the_health_of_a_service() {
    let status = Arc::new(Mutex::new(1));
    let told = status.clone();
    cluster(Health(told), async move |cluster| {
        let api = cluster.api();
        let container = |service: &str| json!({"readinessProbe": {"grpc": {"port": 9000, "service": service}, "periodSeconds": 5, "failureThreshold": 1}});
        for (name, service) in [("db", "db"), ("other", "other"), ("alone", "db")] {
            api.apply(pod(name, &container(service))).expect("applies");
        }
        secs(30).await;
        assert_eq!(["db", "other", "alone"].map(|name| condition(&cluster, name)), ["True", "False", "False"]);
        let why = |name: &str| said(&cluster, name, "Unhealthy").pop().unwrap_or_default();
        assert_eq!(
            why("other"),
            "Readiness probe failed: error: health rpc probe failed: rpc error: code = NotFound desc = why"
        );
        assert!(
            why("alone").starts_with("Readiness probe failed: timeout: failed to connect service \""),
            "{}",
            why("alone")
        );
        assert!(why("alone").ends_with(":9000\" within 1s: context deadline exceeded"), "{}", why("alone"));
        *status.lock().unwrap() = 2;
        secs(10).await;
        assert_eq!(condition(&cluster, "db"), "False");
        assert_eq!(why("db"), "Readiness probe failed: service unhealthy (responded with \"NOT_SERVING\")");
        *status.lock().unwrap() = 12;
        secs(10).await;
        assert!(why("db").contains("does not implement the grpc health protocol"), "{}", why("db"));
    });
}

#[test]
fn an_ephemeral_container_joins_a_pod_and_leaves_it_as_it_was() {
    cluster(sim_kube::local::Idle, async |cluster| {
        let api = cluster.api();
        api.apply(pod("p", &json!({}))).expect("applies");
        secs(5).await;
        let mut next = api.get("v1", "Pod", "default", "p").expect("exists").to_content();
        next["spec"]["ephemeralContainers"] =
            json!([{"name": "look", "image": "busybox:1.37", "command": ["sh", "-c", "echo seen; exit 7"]}]);
        let write = |subresource: &str, object: Value| {
            let mut engine = api.engine();
            let target = engine.target_of(&object).expect("a pod");
            let target = sim_kube::engine::Target { subresource: subresource.into(), ..target };
            engine.update(&target, object, &sim_kube::engine::WriteOptions::by("test"), sim_clock::now())
        };
        let refused = write("", next.clone()).expect_err("not through the pod itself");
        assert!(refused.message.contains("pod updates may not change fields other than"), "{}", refused.message);
        write("ephemeralcontainers", next.clone()).expect("joins");
        secs(10).await;
        let pod = api.get("v1", "Pod", "default", "p").expect("exists");
        let status = &pod["status"]["ephemeralContainerStatuses"][0];
        assert_eq!((&status["name"], &status["state"]["terminated"]["exitCode"]), (&json!("look"), &json!(7)));
        assert_eq!((&status["restartCount"], &pod["status"]["phase"]), (&json!(0), &json!("Running")));
        assert_eq!(condition(&cluster, "p"), "True");
        let lines = cluster.logs().read_from("default", "p", "look", false, 0).expect("a log").lines;
        assert_eq!(lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["seen"]);
        next["spec"].as_object_mut().expect("a map").shift_remove("ephemeralContainers");
        next["metadata"]["resourceVersion"] = pod["metadata"]["resourceVersion"].clone();
        let refused = write("ephemeralcontainers", next).expect_err("it stays");
        assert!(
            refused.message.contains("existing ephemeral containers \"look\" may not be removed"),
            "{}",
            refused.message
        );
    });
}

#[test]
fn a_kubelet_renews_its_lease_and_falls_silent_when_it_is_dead() {
    cluster(sim_kube::local::Idle, async |cluster| {
        let api = cluster.api();
        let renewed = |node: &str| {
            let lease = api.get("coordination.k8s.io/v1", "Lease", "kube-node-lease", node).expect("exists");
            assert_eq!(lease["spec"]["holderIdentity"], node);
            assert_eq!(lease["metadata"]["ownerReferences"][0]["kind"], "Node");
            let time: jiff::Timestamp = lease["spec"]["renewTime"].as_str().expect("a time").parse().expect("a time");
            sim_clock::now().as_secs() - time.as_second()
        };
        let heard = |node: &str| {
            api.get("v1", "Node", "", node).expect("exists")["status"]["conditions"][3]["lastHeartbeatTime"].clone()
        };
        let first = heard("node-1");
        secs(65).await;
        assert!(renewed("node-0") <= 10 && renewed("node-1") <= 10);
        let dead = cluster.disturb(sim_kube::Outage::KubeletDead { node: "node-1".into() });
        secs(100).await;
        assert!(renewed("node-0") <= 10 && renewed("node-1") >= 100);
        cluster.heal(dead);
        secs(1).await;
        assert!(renewed("node-1") <= 1, "a kubelet that is back says so");
        assert_ne!(heard("node-1"), first);
        let first = heard("node-0");
        secs(600).await;
        assert_ne!(heard("node-0"), first, "the status is told again though nothing changed");
    });
}
