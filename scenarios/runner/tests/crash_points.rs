//! Every crash point: the operator is killed right after each single write to the API server (the write took effect, its answer is
//! lost), starts again, and everything becomes what it would have become; then there is silence.
//!
//! The points are those of a recorded run. By default a sample of them is tried, spread over the run; with `CRASH_POINTS=all` in the
//! environment, as in continuous integration, all of them are.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use etcd_api::KvClient;
use scenario_runner::{Project, manifests::Manifests, operator};
use serde_json::{Value, json};
use sim_clock::Timestamp;
use sim_kube::{Exit, faults::Verdict};
use sim_world::{World, process::Context};
use tokio::sync::Notify;

/// Points tried of one episode unless all are asked for.
const SAMPLE: usize = 5;
/// Nothing is written for so long: it is over.
const QUIET: Duration = Duration::from_secs(75);
/// And then for so long again.
const SILENCE: Duration = Duration::from_secs(180);
/// How long an episode may take.
const EPISODE_MAX: Duration = Duration::from_secs(1200);
/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// Kinds that are compared. Pods have names by chance; their owners' statuses count them.
const KINDS: [(&str, &str); 10] = [
    ("multigres.com/v1alpha1", "MultigresCluster"),
    ("multigres.com/v1alpha1", "TopoServer"),
    ("multigres.com/v1alpha1", "Cell"),
    ("multigres.com/v1alpha1", "TableGroup"),
    ("multigres.com/v1alpha1", "Shard"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("v1", "PersistentVolumeClaim"),
];
/// Fields that say which object it is and when something was, not what it is.
const BY_CHANCE: [&str; 11] = [
    "uid",
    "resourceVersion",
    "generation",
    "observedGeneration",
    "creationTimestamp",
    "managedFields",
    "lastTransitionTime",
    "lastUpdateTime",
    "clusterIP",
    "clusterIPs",
    "volumeName",
];

/// What is done while the operator may be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Episode {
    Creation,
    ScaleUp,
    Deletion,
}

/// What was left when it was over.
#[derive(Clone, Debug, Default, PartialEq)]
struct Left {
    /// Objects by kind and name, without what is by chance.
    objects: BTreeMap<String, Value>,
    /// Keys of the topology, without those of components that take a new name at each start.
    keys: Vec<String>,
}

/// Counts the operator's writes, and kills it after one of them.
struct Killer {
    /// 0: not counting yet.
    armed: AtomicU64,
    writes: AtomicU64,
    last: Mutex<Timestamp>,
    kill: Notify,
    victim: Option<u64>,
}

impl Killer {
    fn verdict(&self) -> Verdict {
        *self.last.lock().unwrap() = sim_clock::now();
        if self.armed.load(Ordering::Relaxed) == 0 {
            return Verdict::Pass;
        }
        let count = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
        if self.victim == Some(count) {
            self.kill.notify_one();
            return Verdict::CutAfter;
        }
        Verdict::Pass
    }

    fn arm(&self) {
        self.armed.store(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Waits until nothing was written for a while.
    async fn quiet(&self) -> bool {
        let begun = sim_clock::now();
        while sim_clock::now().since(begun) < EPISODE_MAX {
            tokio::time::sleep(LOOK).await;
            let last = *self.last.lock().unwrap();
            if sim_clock::now().since(last.max(begun)) >= QUIET {
                return true;
            }
        }
        false
    }
}

fn project() -> Project {
    Project::around(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("the crate lies in its project")
}

/// Plays an episode with the operator killed after its write number `victim`. How many writes there were, and what was left.
fn play(episode: Episode, victim: Option<u64>) -> Result<(u64, Left), String> {
    let project = project();
    let deployed = Manifests::deployed(&project, true, false).map_err(|error| error.to_string())?;
    let read = |path: &str| project.objects(path.as_ref()).map_err(|error| error.to_string());
    let mut objects = read("fixtures/kube/foreign-etcd.yaml")?;
    objects.extend(read(match episode {
        Episode::Creation => "deploy/samples/minimal.yaml",
        Episode::ScaleUp | Episode::Deletion => "deploy/samples/external-etcd.yaml",
    })?);
    let played = sim_clock::run(sim_clock::WorldOptions::seeded(1), move || async move {
        in_world(episode, victim, deployed, objects).await
    });
    played.map_err(|error| error.to_string()).and_then(std::convert::identity)
}

async fn in_world(
    episode: Episode,
    victim: Option<u64>,
    deployed: Vec<Value>,
    objects: Vec<Value>,
) -> Result<(u64, Left), String> {
    let killer = Arc::new(Killer {
        armed: AtomicU64::new(0),
        writes: AtomicU64::new(0),
        last: Mutex::new(sim_clock::now()),
        kill: Notify::new(),
        victim,
    });
    let knife = killer.clone();
    let mortal = move |context: Context| {
        let knife = knife.clone();
        async move {
            tokio::select! {
                biased;
                () = knife.kill.notified() => Exit { code: 137, message: "killed".to_owned() },
                exit = operator::run(context) => exit,
            }
        }
    };
    let world = World::builder().image(operator::IMAGE, mortal).manifests(deployed).start().await;
    let world = world.map_err(|error| error.to_string())?;
    world.ready().await.map_err(|error| error.to_string())?;
    let counter = killer.clone();
    world.cluster().api().inject_code(Arc::new(move |request| {
        let writes = ["create", "update", "patch", "delete"].contains(&request.verb);
        let counted =
            !["events", "leases"].contains(&request.resource.as_str()) && !request.resource.ends_with("reviews");
        if writes && counted && request.user.contains("multigres-operator") { counter.verdict() } else { Verdict::Pass }
    }));
    let api = world.cluster().api().clone();
    let apply = |object: &Value| world.apply(object).map_err(|error| error.to_string());
    if episode == Episode::Creation {
        killer.arm();
    }
    for object in &objects {
        apply(object)?;
    }
    if episode != Episode::Creation {
        if !killer.quiet().await {
            return Err("the cluster does not settle".to_owned());
        }
        killer.arm();
        let mut cluster = objects.last().cloned().unwrap_or_default();
        if episode == Episode::ScaleUp {
            cluster["spec"]["cells"] = json!([
                { "name": "zone-a", "zone": "us-east-1a", "spec": { "multigateway": { "replicas": 2 } } },
                { "name": "zone-b", "zone": "us-east-1b" },
            ]);
            apply(&cluster)?;
        } else {
            let deleted = api.delete("multigres.com/v1alpha1", "MultigresCluster", "default", "external");
            deleted.map_err(|status| status.to_string())?;
        }
    }
    if !killer.quiet().await {
        return Err("there is no end to the writing".to_owned());
    }
    let count = killer.count();
    let left = left(&world).await?;
    tokio::time::sleep(SILENCE).await;
    if killer.count() != count {
        return Err(format!("{} writes after it was over", killer.count() - count));
    }
    Ok((count, left))
}

async fn left(world: &World) -> Result<Left, String> {
    let mut left = Left::default();
    for (version, kind) in KINDS {
        let objects = world.cluster().api().list(version, kind, "default").map_err(|status| status.to_string())?;
        for object in objects {
            let mut value = object.to_value();
            tidy(&mut value);
            left.objects.insert(format!("{kind}/{}", value["metadata"]["name"].as_str().unwrap_or_default()), value);
        }
    }
    for service in ["etcd", "minimal-global-topo"] {
        let url = format!("http://{service}.default.svc:2379");
        let endpoint = tonic::transport::Endpoint::from_shared(url).map_err(|error| error.to_string())?;
        let connector = sim_net::http::Connector::new(world.observer().clone());
        // One that is not there has no keys.
        let Ok(channel) = endpoint.connect_with_connector(connector).await else { continue };
        let records = KvClient::new(channel).list("/multigres/").await.map_err(|error| error.to_string())?;
        let keys = records.into_iter().map(|record| String::from_utf8_lossy(&record.key).into_owned());
        left.keys.extend(keys.filter(|key| !key.contains("/gateways/") && !key.contains("/orchs/")));
    }
    Ok(left)
}

/// Takes out what is by chance.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for field in BY_CHANCE {
                map.shift_remove(field);
            }
            if let Some(annotations) = map.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.retain(|key, _| !key.starts_with("multigres.com/trace"));
            }
            // Two controllers write conditions, each its own: which is first is by chance.
            if let Some(conditions) = map.get_mut("conditions").and_then(Value::as_array_mut) {
                conditions.sort_by_key(|condition| condition["type"].to_string());
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(values) => values.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// What differs, by object.
fn differences(expected: &Left, got: &Left) -> Vec<String> {
    let mut all = Vec::new();
    if expected.keys != got.keys {
        all.push(format!("keys: expected {:?}, got {:?}", expected.keys, got.keys));
    }
    let names: std::collections::BTreeSet<&String> = expected.objects.keys().chain(got.objects.keys()).collect();
    for name in names {
        match (expected.objects.get(name), got.objects.get(name)) {
            (Some(expected), Some(got)) if expected == got => {}
            (Some(expected), Some(got)) => all.push(format!("{name}: expected {expected}\n  got {got}")),
            (Some(_), None) => all.push(format!("{name} is missing")),
            (None, _) => all.push(format!("{name} is there")),
        }
    }
    all
}

#[allow(clippy::disallowed_methods, reason = "whoever runs the test says by the environment how many points are tried")]
fn all_are_asked_for() -> bool {
    std::env::var("CRASH_POINTS").is_ok_and(|points| points == "all")
}

fn survives(episode: Episode) {
    let (count, expected) = play(episode, None).expect("the recorded run");
    let tried: Vec<u64> = if all_are_asked_for() {
        (1..=count).collect()
    } else {
        let step = (count as usize).div_ceil(SAMPLE).max(1);
        (1..=count).step_by(step).collect()
    };
    let mut failures = Vec::new();
    for victim in &tried {
        match play(episode, Some(*victim)) {
            Err(error) => failures.push(format!("killed after write {victim} of {count}: {error}")),
            Ok((_, left)) => {
                let wrong = differences(&expected, &left);
                if !wrong.is_empty() {
                    failures.push(format!("killed after write {victim} of {count}:\n  {}", wrong.join("\n  ")));
                }
            }
        }
    }
    let rest = if tried.len() as u64 == count { "" } else { " (CRASH_POINTS=all tries every one)" };
    println!("{episode:?}: {count} crash points, {} tried{rest}", tried.len());
    assert!(count > 4, "only {count} writes: the search is broken");
    assert!(failures.is_empty(), "{} of {} do not converge:\n{}", failures.len(), tried.len(), failures.join("\n"));
}

#[test]
fn the_creation_of_a_cluster_survives_a_crash_at_every_write() {
    survives(Episode::Creation);
}

#[test]
fn a_scale_up_survives_a_crash_at_every_write() {
    survives(Episode::ScaleUp);
}

#[test]
fn a_deletion_survives_a_crash_at_every_write() {
    survives(Episode::Deletion);
}
