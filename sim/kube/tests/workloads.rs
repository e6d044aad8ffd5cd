//! Daemons, jobs, outages of nodes and pods, and what kubectl would show of them.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde_json::{Value, json};
use sim_clock::WorldOptions;
use sim_kube::{Cluster, ContainerRuntime, ContainerStart, Exit, KubeOptions, Labels, Outage};
use sim_net::Network;

/// Images `done` and `fails` end at once, all others run until they are told to stop.
struct Toy;

impl ContainerRuntime for Toy {
    fn start(&self, mut container: ContainerStart) -> BoxFuture<'static, Exit> {
        Box::pin(async move {
            container.stdout.line(&format!("{} starts", container.pod));
            let code = match container.image.as_str() {
                "done" => 0,
                "fails" => 1,
                _ => {
                    container.stop.wait().await;
                    0
                }
            };
            Exit { code, message: String::new() }
        })
    }
}

fn world<T: Send + 'static>(look: impl AsyncFnOnce(Cluster) -> T + Send + 'static) -> T {
    sim_clock::run(WorldOptions::seeded(5), || async move {
        let network = Network::new();
        look(Cluster::start(&network, Arc::new(Toy), KubeOptions::default()).expect("starts")).await
    })
    .expect("the world ends well")
}

async fn secs(n: u64) {
    tokio::time::sleep(Duration::from_secs(n)).await;
}

fn pod_spec(image: &str) -> Value {
    json!({"containers": [{"name": "c", "image": image}]})
}

fn workload(kind: &str, name: &str, extra: Value) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": {"app": name}}, "spec": pod_spec("runs:1")}});
    for (key, value) in extra.as_object().expect("a map") {
        spec[key] = value.clone();
    }
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

fn reasons(cluster: &Cluster, kind: &str) -> Vec<String> {
    let events = cluster.api().list("v1", "Event", "").expect("lists");
    let about = events.iter().filter(|e| e["involvedObject"]["kind"] == kind);
    let mut reasons: Vec<String> = about.map(|e| e["reason"].as_str().unwrap_or_default().to_owned()).collect();
    reasons.sort();
    reasons.dedup();
    reasons
}

#[test]
fn a_daemon_set_has_one_pod_on_each_node_and_a_job_runs_to_its_end_or_gives_up() {
    world(async |cluster| {
        let api = cluster.api();
        api.apply(workload("DaemonSet", "agent", json!({}))).expect("applies");
        let job = |name: &str, image: &str, extra: Value| {
            let mut template = json!({"spec": pod_spec(image)});
            template["spec"]["restartPolicy"] = "Never".into();
            let mut spec = json!({"template": template});
            for (key, value) in extra.as_object().expect("a map") {
                spec[key] = value.clone();
            }
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "default"}, "spec": spec})
        };
        api.apply(job("good", "done", json!({"completions": 3, "parallelism": 2, "ttlSecondsAfterFinished": 600})))
            .expect("applies");
        api.apply(job("bad", "fails", json!({"backoffLimit": 1}))).expect("applies");
        secs(60).await;
        let set = api.get("apps/v1", "DaemonSet", "default", "agent").expect("exists");
        assert_eq!(
            (&set["status"]["desiredNumberScheduled"], &set["status"]["numberAvailable"]),
            (&json!(3), &json!(3)),
            "{}",
            set["status"]
        );
        let good = api.get("batch/v1", "Job", "default", "good").expect("exists")["status"].clone();
        assert_eq!((&good["succeeded"], &good["conditions"][1]["type"]), (&json!(3), &json!("Complete")), "{good}");
        let bad = api.get("batch/v1", "Job", "default", "bad").expect("exists")["status"].clone();
        assert_eq!(
            (&bad["failed"], &bad["conditions"][1]["reason"]),
            (&json!(2), &json!("BackoffLimitExceeded")),
            "{bad}"
        );
        assert_eq!(reasons(&cluster, "DaemonSet"), ["SuccessfulCreate"]);
        assert_eq!(reasons(&cluster, "Job"), ["BackoffLimitExceeded", "Completed", "SuccessfulCreate"]);
        secs(700).await;
        assert!(api.get("batch/v1", "Job", "default", "good").is_err(), "its time to live is over");
        secs(3600).await;
        assert!(reasons(&cluster, "Job").is_empty(), "events are kept for an hour");
    });
}

#[test]
fn a_node_whose_kubelet_dies_loses_its_pods_after_five_minutes_and_comes_back() {
    world(async |cluster| {
        let api = cluster.api();
        api.apply(workload("Deployment", "web", json!({"replicas": 3}))).expect("applies");
        secs(30).await;
        let ready = |node: &str| {
            let node = api.get("v1", "Node", "", node).expect("exists");
            node["status"]["conditions"][3]["status"].clone()
        };
        let lost = cluster.disturb(Outage::KubeletDead { node: "node-1".into() });
        secs(38).await;
        assert_eq!(ready("node-1"), "True");
        secs(14).await;
        assert_eq!((ready("node-1"), ready("node-0")), (json!("Unknown"), json!("True")));
        let available = || {
            api.get("apps/v1", "Deployment", "default", "web").expect("exists")["status"]["availableReplicas"].clone()
        };
        assert_eq!(available(), 2, "the pod of the lost node is not ready");
        secs(310).await;
        assert_eq!(available(), 3, "another pod took its place");
        let pods = api.list("v1", "Pod", "default").expect("lists");
        assert_eq!(
            pods.iter().filter(|p| p["metadata"].get("deletionTimestamp").is_some()).count(),
            1,
            "nobody confirms its end"
        );
        cluster.heal(lost);
        secs(60).await;
        assert_eq!(ready("node-1"), "True");
        assert_eq!(api.list("v1", "Pod", "default").expect("lists").len(), 3);
        assert!(reasons(&cluster, "Node").contains(&"NodeNotReady".to_owned()), "{:?}", reasons(&cluster, "Node"));
    });
}

#[test]
fn pods_crash_run_out_of_memory_are_evicted_and_wait_for_images_with_the_real_reasons() {
    world(async |cluster| {
        let api = cluster.api();
        api.apply(workload("Deployment", "web", json!({"replicas": 1}))).expect("applies");
        secs(30).await;
        let labels = Labels::from([("app".to_owned(), "web".to_owned())]);
        let container = || {
            let pods = api.list("v1", "Pod", "default").expect("lists");
            let pod = pods.iter().find(|p| p["status"]["phase"] != "Failed").expect("a pod");
            pod["status"]["containerStatuses"][0].clone()
        };
        let hungry = cluster.disturb(Outage::OutOfMemory { labels: labels.clone() });
        secs(60).await;
        let c = container();
        assert_eq!(
            (&c["lastState"]["terminated"]["reason"], &c["lastState"]["terminated"]["exitCode"]),
            (&json!("OOMKilled"), &json!(137)),
            "{c}"
        );
        cluster.heal(hungry);
        secs(300).await;
        assert_eq!(container()["ready"], true);
        assert_eq!(cluster.evict(&labels), 1);
        secs(20).await;
        let pods = api.list("v1", "Pod", "default").expect("lists");
        let evicted = pods.iter().find(|p| p["status"]["phase"] == "Failed").expect("an evicted pod");
        assert_eq!(evicted["status"]["reason"], "Evicted");
        assert!(
            evicted["status"]["message"]
                .as_str()
                .is_some_and(|m| m.starts_with("The node was low on resource: memory."))
        );
        assert_eq!(container()["ready"], true, "another one took its place");
        let pulls = cluster.disturb(Outage::ImagePulls { image: "new*".into(), error: "not found".into() });
        api.apply(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "late", "namespace": "default"}, "spec": pod_spec("new:1")})).expect("applies");
        secs(5).await;
        let waiting = || {
            api.get("v1", "Pod", "default", "late").expect("exists")["status"]["containerStatuses"][0]["state"]["waiting"].clone()
        };
        assert_eq!(
            (&waiting()["reason"], &waiting()["message"]),
            (
                &json!("ImagePullBackOff"),
                &json!(
                    "Back-off pulling image \"new:1\": ErrImagePull: failed to pull and unpack image \"new:1\": not found"
                )
            )
        );
        cluster.heal(pulls);
        secs(20).await;
        assert_eq!(api.get("v1", "Pod", "default", "late").expect("exists")["status"]["phase"], "Running");
        assert_eq!(cluster.logs().read("default", "late", "c", false).expect("a log").lines[0].text, "late starts");
    });
}

#[test]
fn a_cron_job_starts_on_the_minute_keeps_its_history_and_skips_or_replaces_what_still_runs() {
    world(async |cluster| {
        let api = cluster.api();
        let cron = |name: &str, policy: &str, image: &str| {
            let pods = json!({"spec": {"containers": [{"name": "c", "image": image}], "restartPolicy": "Never"}});
            json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name, "namespace": "default"},
                "spec": {"schedule": "*/10 * * * *", "concurrencyPolicy": policy, "successfulJobsHistoryLimit": 2,
                    "jobTemplate": {"metadata": {"labels": {"of": name}}, "spec": {"template": pods}}}})
        };
        for (name, policy, image) in
            [("quick", "Allow", "done"), ("lasting", "Forbid", "runs:1"), ("replaced", "Replace", "runs:1")]
        {
            api.apply(cron(name, policy, image)).expect("applies");
        }
        secs(3600 + 60).await;
        let jobs = |name: &str| {
            let all = api.list("batch/v1", "Job", "default").expect("lists");
            all.into_iter()
                .filter(|j| j["metadata"]["labels"]["of"] == name)
                .map(|j| j.to_value())
                .collect::<Vec<Value>>()
        };
        let starts = |name: &str| -> Vec<String> {
            let key = "batch.kubernetes.io/cronjob-scheduled-timestamp";
            jobs(name).iter().map(|j| j["metadata"]["annotations"][key].as_str().expect("a time").to_owned()).collect()
        };
        let quick = starts("quick");
        assert_eq!(quick.len(), 2, "the history keeps two: {quick:?}");
        assert!(quick.iter().all(|at| at.ends_with("0:00Z")), "{quick:?}");
        let status = |name: &str| api.get("batch/v1", "CronJob", "default", name).expect("exists")["status"].clone();
        assert_eq!(status("quick")["lastScheduleTime"], quick[1]);
        assert!(status("quick").get("active").is_none() && status("quick")["lastSuccessfulTime"].is_string());
        assert_eq!(jobs("lasting").len(), 1, "the first still runs");
        assert_eq!(status("lasting")["active"][0]["name"], jobs("lasting")[0]["metadata"]["name"]);
        assert_eq!(starts("replaced"), [quick[1].clone()], "only the newest is left");
        let pods = api.list("v1", "Pod", "default").expect("lists");
        assert!(pods.iter().any(|p| p["metadata"]["labels"]["job-name"] == jobs("lasting")[0]["metadata"]["name"]));
        let said = reasons(&cluster, "CronJob");
        assert_eq!(said, ["JobAlreadyActive", "SawCompletedJob", "SuccessfulCreate", "SuccessfulDelete"]);
    });
}
