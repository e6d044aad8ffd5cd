//! A cluster seen through the wire: raw HTTP and kube-rs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, future::BoxFuture};
use http::Request;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    client::ConfigExt as _,
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::{Value, json};
use sim_clock::WorldOptions;
use sim_kube::{Cluster, ContainerRuntime, ContainerStart, Exit, KubeOptions, Status, faults::Verdict};
use sim_net::Network;

/// Listens on 8080 and answers 200 until told to stop.
struct Toy;

impl ContainerRuntime for Toy {
    fn start(&self, mut container: ContainerStart) -> BoxFuture<'static, Exit> {
        Box::pin(async move {
            if container.image == "crash" {
                return Exit { code: 1, message: "no".into() };
            }
            assert!(
                container.env.iter().any(|(k, v)| k == "WHERE" && *v == format!("http://{}.default", container.pod)),
                "{:?}",
                container.env
            );
            let listener = container.host.listen(8080).expect("a fresh pod has its ports free");
            let changer = listener.changer();
            changer.changed();
            let serving = sim_net::http::serve(listener, sim_net::http::Limits::default(), |_| async {
                http::Response::new(sim_net::http::full("ok"))
            });
            tokio::select! { biased; () = serving => {}, () = container.stop.wait() => {} }
            Exit { code: 0, message: String::new() }
        })
    }
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "toy:1", "args": ["--x"],
            "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, {"name": "WHERE", "value": "http://$(POD).default"}],
            "readinessProbe": {"httpGet": {"port": 8080}}}]}}}})
}

fn kube_client(network: &Network) -> Client {
    let config = kube::Config::new("http://kubernetes.default.svc:443".parse().expect("a URL"));
    let connector = sim_net::http::Connector::new(network.host("pod/default/client"));
    let inner = hyper_util::client::legacy::Client::builder(sim_net::http::Executor).build(connector);
    let service =
        tower::ServiceBuilder::new().layer(config.base_uri_layer()).map_err(tower::BoxError::from).service(inner);
    Client::new(service, "default")
}

#[test]
fn a_deployment_becomes_ready_through_kube_rs_and_its_service_leads_to_the_pods() {
    sim_clock::run(WorldOptions::seeded(7), || async {
        let network = Network::new();
        let cluster = Cluster::start(&network, Arc::new(Toy), KubeOptions::default()).expect("starts");
        cluster.api().apply(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}})).expect("applies");
        let client = kube_client(&network);
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
        let by = PatchParams::apply("test");
        deployments.patch("web", &by, &Patch::Apply(deployment())).await.expect("applies");
        let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
        let mut ready = BTreeMap::new();
        let mut stream = watcher(pods, watcher::Config::default()).applied_objects().boxed();
        while ready.len() < 2 {
            let pod = tokio::time::timeout(Duration::from_secs(60), stream.try_next()).await.expect("in time").expect("no error").expect("goes on");
            let status = pod.status.clone().unwrap_or_default();
            if status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True") {
                ready.insert(pod.metadata.name.clone(), status.pod_ip);
            }
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let d = deployments.get("web").await.expect("exists");
        let status = d.status.expect("has a status");
        assert_eq!((status.ready_replicas, status.available_replicas, status.observed_generation), (Some(2), Some(2), Some(1)));
        let before = cluster.api().get("apps/v1", "Deployment", "default", "web").expect("exists");
        deployments.patch("web", &by, &Patch::Apply(deployment())).await.expect("applies again");
        let after = cluster.api().get("apps/v1", "Deployment", "default", "web").expect("exists");
        assert_eq!(after.to_string(), before.to_string(), "a no-op apply must change nothing");
        let http = sim_net::http::Client::new(network.host("pod/default/asker"));
        assert_eq!(http.get("http://web.default.svc/").await.expect("answers").status(), 200);
        // A rolling update and a clean deletion.
        let mut next = deployment();
        next["spec"]["template"]["spec"]["containers"][0]["image"] = "toy:2".into();
        deployments.patch("web", &by, &Patch::Apply(next)).await.expect("applies");
        tokio::time::sleep(Duration::from_secs(60)).await;
        let all = cluster.api().list("v1", "Pod", "default").expect("lists");
        assert_eq!(all.iter().map(|p| p["spec"]["containers"][0]["image"].clone()).collect::<Vec<_>>(), ["toy:2", "toy:2"]);
        deployments.delete("web", &kube::api::DeleteParams::default()).await.expect("deletes");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(cluster.api().list("v1", "Pod", "").expect("lists").is_empty());
        assert!(cluster.api().list("apps/v1", "ReplicaSet", "").expect("lists").is_empty());
    })
    .expect("the world ends well");
}

#[test]
fn a_crashing_container_backs_off_and_a_stateful_set_comes_up_in_order() {
    sim_clock::run(WorldOptions::seeded(7), || async {
        let network = Network::new();
        let cluster = Cluster::start(&network, Arc::new(Toy), KubeOptions { nodes: 1, ..KubeOptions::default() }).expect("starts");
        let api = cluster.api();
        let mut set = deployment();
        set["kind"] = "StatefulSet".into();
        set["spec"]["serviceName"] = "peers".into();
        set["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
        api.apply(set).expect("applies");
        api.apply(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "peers", "namespace": "default"}, "spec": {"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": 8080}]}})).expect("applies");
        api.apply(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bad", "namespace": "default"}, "spec": {"containers": [{"name": "c", "image": "crash"}]}})).expect("applies");
        tokio::time::sleep(Duration::from_secs(40)).await;
        let status = api.get("apps/v1", "StatefulSet", "default", "web").expect("exists")["status"].clone();
        assert_eq!((&status["readyReplicas"], &status["updatedReplicas"]), (&json!(2), &json!(2)), "{status}");
        assert_eq!(api.get("v1", "PersistentVolumeClaim", "default", "data-web-1").expect("exists")["status"]["phase"], "Bound");
        let http = sim_net::http::Client::new(network.host("pod/default/asker"));
        assert_eq!(http.get("http://web-0.peers.default.svc.cluster.local:8080/").await.expect("answers").status(), 200);
        let bad = api.get("v1", "Pod", "default", "bad").expect("exists");
        let c = &bad["status"]["containerStatuses"][0];
        assert_eq!((&c["state"]["waiting"]["reason"], &c["restartCount"]), (&json!("CrashLoopBackOff"), &json!(3)), "{c}");
    })
    .expect("the world ends well");
}

#[test]
fn the_raw_wire_watches_without_gaps_and_says_what_it_lacks() {
    sim_clock::run(WorldOptions::seeded(7), || async {
        let network = Network::new();
        let cluster = Cluster::start(&network, Arc::new(Toy), KubeOptions::default()).expect("starts");
        let http = sim_net::http::Client::new(network.host("pod/default/raw"));
        let base = "http://kubernetes.default.svc:443";
        let (_, version) = http.get_json(&format!("{base}/version")).await.expect("answers");
        assert_eq!(version["major"], "1");
        let (code, status) = http.get_json(&format!("{base}/api/v1/nodes/node-0/proxy")).await.expect("answers");
        assert_eq!((code.as_u16(), &status["reason"], &status["kind"]), (501, &json!("NotImplemented"), &json!("Status")));
        let url = format!("{base}/api/v1/namespaces/default/configmaps?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=5");
        let watch = http.send_streaming(Request::get(&url).body(Bytes::new()).expect("a request")).await.expect("answers");
        for i in 0..3 {
            cluster.api().apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{i}"), "namespace": "default"}})).expect("applies");
        }
        let text = http_body_util::BodyExt::collect(watch.into_body()).await.expect("ends by its time-out").to_bytes();
        let events: Vec<Value> = text.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).expect("JSON")).collect();
        let at = events.iter().position(|e| e["type"] == "BOOKMARK").expect("a bookmark");
        assert_eq!(events[at]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
        let names: Vec<_> = events[at + 1..].iter().filter(|e| e["type"] == "ADDED" && e["object"]["metadata"]["name"] != "kube-root-ca.crt").map(|e| e["object"]["metadata"]["name"].clone()).collect();
        assert_eq!(names, ["c0", "c1", "c2"]);
        let refuse = cluster.api().inject_code(Arc::new(|request| {
            if request.verb == "get" && request.resource == "configmaps" { Verdict::Refuse(Status::new(429, "TooManyRequests", "later")) } else { Verdict::Pass }
        }));
        let one = format!("{base}/api/v1/namespaces/default/configmaps/c0");
        assert_eq!(http.get(&one).await.expect("answers").status(), 429);
        cluster.api().heal(refuse);
        assert_eq!(http.get(&one).await.expect("answers").status(), 200);
        cluster.api().engine().compact();
        let old = http.get(&format!("{base}/api/v1/configmaps?watch=1&resourceVersion=1&timeoutSeconds=1")).await.expect("answers");
        let event: Value = serde_json::from_slice(old.body()).expect("JSON");
        assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    })
    .expect("the world ends well");
}

#[test]
fn custom_resources_are_applied_through_kube_rs() {
    sim_clock::run(WorldOptions::seeded(7), || async {
        let network = Network::new();
        let cluster = Cluster::start(&network, Arc::new(Toy), KubeOptions::default()).expect("starts");
        cluster.api().apply(json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
                "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})).expect("applies");
        let gvk = kube::api::GroupVersionKind::gvk("example.com", "v1", "Thing");
        let things: Api<DynamicObject> = Api::namespaced_with(kube_client(&network), "default", &kube::api::ApiResource::from_gvk_with_plural(&gvk, "things"));
        let object = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": {"a": 1}});
        let made = things.patch("t", &PatchParams::apply("test"), &Patch::Apply(&object)).await.expect("applies");
        assert_eq!(made.metadata.generation, Some(1));
        let status = json!({"apiVersion": "example.com/v1", "kind": "Thing", "status": {"phase": "Ready"}});
        let written = things.patch_status("t", &PatchParams::apply("test"), &Patch::Apply(&status)).await.expect("applies the status");
        assert_eq!((written.data["status"]["phase"].clone(), written.data["spec"]["a"].clone()), (json!("Ready"), json!(1)));
        let error = things.get("nobody").await.expect_err("does not exist");
        assert!(error.to_string().contains("things.example.com \"nobody\" not found"), "{error}");
    })
    .expect("the world ends well");
}
