//! Probes, sidecars, mounted files and determinism of the kubelet.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::BoxFuture;
use serde_json::json;
use sim_clock::WorldOptions;
use sim_kube::{Cluster, ContainerRuntime, ContainerStart, Exit, KubeOptions};
use sim_net::{Changer, Network};

#[derive(Default)]
struct Seen {
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
                async move { http::Response::builder().status(code).body(sim_net::http::empty()).expect("a response") }
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
