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

fn claim(name: &str, extra: &Value) -> Value {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    for (key, value) in extra.as_object().expect("a map") {
        spec[key] = value.clone();
    }
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

fn volume(name: &str, size: &str, extra: &Value) -> Value {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}, "storageClassName": "", "hostPath": {"path": "/x"}});
    for (key, value) in extra.as_object().expect("a map") {
        spec[key] = value.clone();
    }
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec})
}

fn user_of(claim: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("uses-{claim}"), "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "runs:1"}], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]}})
}

fn phase(cluster: &Cluster, kind: &str, name: &str) -> String {
    let namespace = if kind == "PersistentVolume" { "" } else { "default" };
    let found = cluster.api().get("v1", kind, namespace, name);
    found.map_or_else(|_| "gone".to_owned(), |o| o["status"]["phase"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_claim_gets_a_volume_that_goes_with_it_but_not_before_its_pod() {
    world(async |cluster| {
        let api = cluster.api();
        api.apply(claim("data", &json!({}))).expect("applies");
        api.apply(user_of("data")).expect("applies");
        secs(5).await;
        let data = api.get("v1", "PersistentVolumeClaim", "default", "data").expect("exists");
        assert_eq!(data["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
        assert_eq!(data["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"], "yes");
        assert_eq!(
            (&data["status"]["phase"], &data["status"]["capacity"]["storage"]),
            (&json!("Bound"), &json!("1Gi"))
        );
        let name = data["spec"]["volumeName"].as_str().expect("a volume").to_owned();
        let made = api.get("v1", "PersistentVolume", "", &name).expect("exists");
        assert_eq!(made["spec"]["claimRef"]["uid"], data["metadata"]["uid"]);
        assert_eq!(
            (&made["spec"]["persistentVolumeReclaimPolicy"], &made["status"]["phase"]),
            (&json!("Delete"), &json!("Bound"))
        );
        assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pv-protection"]));
        assert_eq!(
            reasons(&cluster, "PersistentVolumeClaim"),
            ["ExternalProvisioning", "Provisioning", "ProvisioningSucceeded"]
        );
        api.delete("v1", "PersistentVolume", "", &name).expect("deletes");
        api.delete("v1", "PersistentVolumeClaim", "default", "data").expect("deletes");
        secs(60).await;
        let held = api.get("v1", "PersistentVolumeClaim", "default", "data").expect("its pod uses it");
        assert!(held["metadata"]["deletionTimestamp"].is_string());
        assert_eq!(phase(&cluster, "PersistentVolume", &name), "Bound");
        api.delete("v1", "Pod", "default", "uses-data").expect("deletes");
        secs(60).await;
        assert_eq!(
            [phase(&cluster, "PersistentVolumeClaim", "data"), phase(&cluster, "PersistentVolume", &name)],
            ["gone", "gone"]
        );
    });
}

#[test]
fn a_claim_grows_where_its_class_lets_it_and_is_full_grown_once_a_pod_runs_with_it() {
    world(async |cluster| {
        let api = cluster.api();
        api.apply(json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "grows"},
            "provisioner": "a.b/c", "allowVolumeExpansion": true}))
            .expect("applies");
        let of = |class: &str, size: &str| {
            claim("data", &json!({"storageClassName": class, "resources": {"requests": {"storage": size}}}))
        };
        api.apply(of("grows", "1Gi")).expect("applies");
        let early = api.apply(of("grows", "2Gi")).expect_err("it is not bound yet").to_string();
        assert!(early.contains("Only bound persistent volume claims can be expanded"), "{early}");
        secs(5).await;
        api.apply(of("grows", "2Gi")).expect("it may grow");
        secs(5).await;
        let data = || api.get("v1", "PersistentVolumeClaim", "default", "data").expect("exists");
        let volume = data()["spec"]["volumeName"].as_str().expect("a volume").to_owned();
        let made = api.get("v1", "PersistentVolume", "", &volume).expect("exists");
        assert_eq!(made["spec"]["capacity"]["storage"], "2Gi");
        assert_eq!(data()["status"]["capacity"]["storage"], "1Gi", "no pod has mounted it");
        assert_eq!(data()["status"]["conditions"][0]["type"], "FileSystemResizePending");
        let less = api.apply(of("grows", "500Mi")).expect_err("it has more already").to_string();
        assert!(
            less.contains("spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"),
            "{less}"
        );
        api.apply(user_of("data")).expect("applies");
        secs(10).await;
        assert_eq!(data()["status"]["capacity"]["storage"], "2Gi");
        assert!(data()["status"].get("conditions").is_none(), "{}", data()["status"]);
        let said = reasons(&cluster, "PersistentVolumeClaim");
        for reason in ["Resizing", "FileSystemResizeRequired", "FileSystemResizeSuccessful"] {
            assert!(said.contains(&reason.to_owned()), "{said:?}");
        }
        // The class that there is by default lets nothing grow.
        let other = |size: &str| {
            let mut other = of("standard", size);
            other["metadata"]["name"] = "other".into();
            other
        };
        api.apply(other("1Gi")).expect("applies");
        secs(5).await;
        let refused = api.apply(other("2Gi")).expect_err("its class says no").to_string();
        assert!(refused.contains("the storageclass that provisions the pvc must support resize"), "{refused}");
    });
}

#[test]
fn a_claim_without_a_class_takes_the_smallest_volume_that_will_do_and_leaves_it_released() {
    world(async |cluster| {
        let api = cluster.api();
        api.apply(claim("data", &json!({"storageClassName": ""}))).expect("applies");
        secs(5).await;
        assert_eq!(phase(&cluster, "PersistentVolumeClaim", "data"), "Pending");
        assert_eq!(reasons(&cluster, "PersistentVolumeClaim"), ["FailedBinding"]);
        for (name, size, extra) in [
            ("small", "500Mi", json!({})),
            ("right", "2Gi", json!({})),
            ("large", "5Gi", json!({})),
            ("other", "1Gi", json!({"accessModes": ["ReadOnlyMany"]})),
        ] {
            api.apply(volume(name, size, &extra)).expect("applies");
        }
        secs(5).await;
        let data = api.get("v1", "PersistentVolumeClaim", "default", "data").expect("exists");
        assert_eq!(
            (&data["spec"]["volumeName"], &data["status"]["capacity"]["storage"]),
            (&json!("right"), &json!("2Gi"))
        );
        let phases = |names: [&str; 4]| names.map(|name| phase(&cluster, "PersistentVolume", name));
        assert_eq!(phases(["small", "right", "large", "other"]), ["Available", "Bound", "Available", "Available"]);
        // One that names its volume gets that one or none.
        api.apply(claim("named", &json!({"storageClassName": "", "volumeName": "right"}))).expect("applies");
        secs(5).await;
        assert_eq!(phase(&cluster, "PersistentVolumeClaim", "named"), "Pending");
        api.delete("v1", "PersistentVolumeClaim", "default", "data").expect("deletes");
        secs(5).await;
        assert_eq!(
            phase(&cluster, "PersistentVolume", "right"),
            "Released",
            "the policy of volumes made by hand is Retain"
        );
        api.apply(claim("again", &json!({"storageClassName": ""}))).expect("applies");
        secs(5).await;
        assert_eq!(phase(&cluster, "PersistentVolumeClaim", "again"), "Bound");
        let large = api.get("v1", "PersistentVolume", "", "large").expect("exists").to_content();
        assert_eq!(large["spec"]["claimRef"]["name"], "again", "a released volume is nobody's");
        let mut changed = large;
        changed["spec"]["hostPath"]["path"] = "/y".into();
        let target = api.engine().target_of(&changed).expect("a volume");
        let by = sim_kube::engine::WriteOptions::by("test");
        let refused =
            api.engine().update(&target, changed, &by, sim_clock::now()).expect_err("a volume stays what it is");
        assert!(
            refused.message.contains("spec.persistentvolumesource is immutable after creation"),
            "{}",
            refused.message
        );
    });
}

#[test]
fn a_class_may_keep_volumes_and_wait_for_the_pod_and_a_lost_volume_is_told() {
    world(async |cluster| {
        let api = cluster.api();
        api.apply(json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "kept"},
            "provisioner": "example.org/disks", "reclaimPolicy": "Retain", "volumeBindingMode": "WaitForFirstConsumer"}))
            .expect("applies");
        api.apply(claim("data", &json!({"storageClassName": "kept"}))).expect("applies");
        api.apply(claim("none", &json!({"storageClassName": "missing"}))).expect("applies");
        secs(30).await;
        let pending = ["data", "none"].map(|name| phase(&cluster, "PersistentVolumeClaim", name));
        assert_eq!(pending, ["Pending", "Pending"]);
        assert_eq!(reasons(&cluster, "PersistentVolumeClaim"), ["ProvisioningFailed", "WaitForFirstConsumer"]);
        api.apply(user_of("data")).expect("applies");
        secs(30).await;
        let data = api.get("v1", "PersistentVolumeClaim", "default", "data").expect("exists");
        let pod = api.get("v1", "Pod", "default", "uses-data").expect("exists");
        assert_eq!((&data["status"]["phase"], &pod["status"]["phase"]), (&json!("Bound"), &json!("Running")));
        assert!(data["metadata"]["annotations"]["volume.kubernetes.io/selected-node"].is_string(), "{data:?}");
        let name = data["spec"]["volumeName"].as_str().expect("a volume").to_owned();
        // Taken away by force: its finalizer is taken off.
        api.delete("v1", "PersistentVolume", "", &name).expect("deletes");
        let mut forced = api.get("v1", "PersistentVolume", "", &name).expect("held").to_content();
        forced["metadata"]["finalizers"] = json!([]);
        let target = api.engine().target_of(&forced).expect("a volume");
        let by = sim_kube::engine::WriteOptions::by("test");
        api.engine().update(&target, forced, &by, sim_clock::now()).expect("goes");
        secs(5).await;
        assert_eq!(phase(&cluster, "PersistentVolumeClaim", "data"), "Lost");
        assert!(reasons(&cluster, "PersistentVolumeClaim").contains(&"ClaimLost".to_owned()));
    });
}

#[test]
fn a_cron_job_starts_by_the_clock_of_its_zone() {
    world(async |cluster| {
        let api = cluster.api();
        let cron = |zone: &str| {
            json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly", "namespace": "default"},
                "spec": {"schedule": "15 0 * * *", "timeZone": zone, "jobTemplate": {"spec": {"template": {"spec": {
                    "restartPolicy": "Never", "containers": [{"name": "c", "image": "done"}]}}}}}})
        };
        let refused = api.apply(cron("Mars/Olympus")).expect_err("no such zone");
        assert!(
            refused.message.ends_with("spec.timeZone: Invalid value: \"Mars/Olympus\": unknown time zone Mars/Olympus"),
            "{}",
            refused.message
        );
        api.apply(cron("Asia/Kathmandu")).expect("applies");
        secs(3600).await;
        let jobs = api.list("batch/v1", "Job", "default").expect("lists");
        let started = jobs[0]["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"]
            .as_str()
            .expect("a time");
        // A quarter past midnight there is in the evening here.
        assert_eq!((jobs.len(), started.split_once('T').expect("a time").1), (1, "18:30:00Z"));
    });
}

#[test]
fn what_is_paused_waits_and_what_is_slow_takes_its_time() {
    world(async |cluster| {
        let api = cluster.api();
        let config = |name: &str, owners: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default", "ownerReferences": owners}});
        let owner = api.apply(config("owner", json!([]))).expect("applies");
        let uid = owner["metadata"]["uid"].clone();
        api.apply(config("owned", json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}])))
            .expect("applies");
        let paused = cluster.disturb(Outage::GarbageCollectorPaused);
        api.delete("v1", "ConfigMap", "default", "owner").expect("deletes");
        secs(60).await;
        assert!(api.get("v1", "ConfigMap", "default", "owned").is_ok(), "nobody collects");
        cluster.heal(paused);
        secs(1).await;
        assert!(api.get("v1", "ConfigMap", "default", "owned").is_err());
        let paused = cluster.disturb(Outage::ControllersPaused);
        api.apply(workload("Deployment", "web", json!({"replicas": 2}))).expect("applies");
        secs(60).await;
        assert!(api.list("v1", "Pod", "default").expect("lists").is_empty(), "nobody makes them");
        cluster.heal(paused);
        secs(5).await;
        let ready =
            || api.get("apps/v1", "Deployment", "default", "web").expect("exists")["status"]["readyReplicas"].clone();
        assert_eq!(ready(), 2);
        let slow = cluster.disturb(Outage::SlowImagePulls { image: "slow*".into(), delay: Duration::from_secs(300) });
        api.apply(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "slow", "namespace": "default"}, "spec": pod_spec("slow:1")}))
            .expect("applies");
        let phase = |name: &str| api.get("v1", "Pod", "default", name).expect("exists")["status"]["phase"].clone();
        secs(290).await;
        assert_eq!(phase("slow"), "Pending");
        secs(20).await;
        assert_eq!(phase("slow"), "Running");
        cluster.heal(slow);
        let labels = Labels::from([("app".to_owned(), "web".to_owned())]);
        let crashing = cluster.disturb(Outage::CrashLoop { labels, exit_code: 3 });
        secs(120).await;
        let pods = api.list("v1", "Pod", "default").expect("lists");
        let pod = pods.iter().find(|pod| pod["metadata"]["labels"]["app"] == "web").expect("a pod of the deployment");
        let container = &pod["status"]["containerStatuses"][0];
        assert_eq!(container["lastState"]["terminated"]["exitCode"], 3);
        assert!(container["restartCount"].as_i64() > Some(2), "{container}");
        cluster.heal(crashing);
        secs(600).await;
        assert_eq!(ready(), 2);
        // A node's clock shows in what its kubelet writes.
        let skew = ["node-0", "node-1", "node-2"]
            .map(|node| cluster.disturb(Outage::ClockSkew { node: node.into(), seconds: -7200 }));
        api.apply(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "late", "namespace": "default"}, "spec": pod_spec("runs:1")}))
            .expect("applies");
        secs(5).await;
        let late = api.get("v1", "Pod", "default", "late").expect("exists");
        let time =
            |value: &Value| value.as_str().expect("a time").parse::<jiff::Timestamp>().expect("a time").as_second();
        let behind = time(&late["metadata"]["creationTimestamp"])
            - time(&late["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]);
        assert!((7100..=7200).contains(&behind), "{behind}");
        for id in skew {
            cluster.heal(id);
        }
    });
}
