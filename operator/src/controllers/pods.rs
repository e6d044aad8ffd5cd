//! Pods of the data plane: to which object of ours they belong, whether they are in trouble, whether they are still there.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Resource, ResourceExt};

use super::tools::now;
use crate::labels::{self, component};
use crate::names;
use crate::runtime::store::shard_name;
use crate::runtime::{Action, Change, ObjectKey, Store};

/// Why a container waits when it does not get better by itself.
const WAITING_REASONS: [&str; 6] = [
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
];
/// Why a container ended when one end is enough to call it trouble.
const OUT_OF_MEMORY: &str = "OOMKilled";
/// Restarts from which on a container counts as crashing, also while it runs for a moment.
const RESTARTS_MIN: i32 = 3;
/// How long a container that crashed has to run, and be ready, to count as steady again.
const STEADY_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// Pods that a message names.
const NAMED_MAX: usize = 2;

/// What fails about a pod and does not get better by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// `pod p: container c: CrashLoopBackOff`. The words stay the same while the trouble does.
    pub text: String,
    /// When it is over unless the container ends again; nothing while the container is not ready.
    pub over_at: Option<Timestamp>,
}

/// The trouble of a pod, if it has any.
pub fn trouble(pod: &Pod, now: Timestamp) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let ended = matches!(status.phase.as_deref(), Some("Failed" | "Succeeded"));
    if ended || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let found = containers.filter_map(|container| Some((container, why(container, now)?)));
    // What is ready again says least.
    let (container, (why, over_at)) = found.min_by_key(|(_, (_, over_at))| over_at.is_some())?;
    Some(Trouble { text: format!("pod {}: container {}: {why}", pod.name_any(), container.name), over_at })
}

fn why(container: &ContainerStatus, now: Timestamp) -> Option<(&'static str, Option<Timestamp>)> {
    let state = container.state.as_ref();
    let [present, before] =
        [state, container.last_state.as_ref()].map(|state| state.and_then(|state| state.terminated.as_ref()));
    let last = present.or(before);
    let out_of_memory = last.is_some_and(|end| end.reason.as_deref() == Some(OUT_OF_MEMORY));
    let crashing = container.restart_count >= RESTARTS_MIN && last.is_some_and(|end| end.exit_code != 0);
    let ended = match () {
        () if out_of_memory => Some(OUT_OF_MEMORY),
        () if crashing => Some("CrashLoopBackOff"),
        () => None,
    };
    if container.ready {
        // It may be between two crashes.
        let started_at = state.and_then(|state| state.running.as_ref()?.started_at.as_ref()).map(|at| at.0.min(now));
        let over_at = started_at.and_then(|at| at.checked_add(STEADY_AFTER).ok()).filter(|at| *at > now)?;
        return ended.map(|why| (why, Some(over_at)));
    }
    let waiting = state.and_then(|state| state.waiting.as_ref()?.reason.as_deref());
    let waiting = WAITING_REASONS.into_iter().find(|reason| waiting == Some(reason));
    Some((if out_of_memory { ended } else { waiting.or(ended) }?, None))
}

/// The pods of a cluster that carry all these labels, in the order of their names.
pub fn with_labels(pods: &Store<Pod>, namespace: &str, cluster: &str, wanted: &[(&str, &str)]) -> Vec<Arc<Pod>> {
    let mut found = pods.of_cluster(namespace, cluster);
    found.retain(|pod| wanted.iter().all(|(key, value)| pod.labels().get(*key).is_some_and(|found| found == value)));
    found
}

/// The trouble of several pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Troubles {
    /// In one sentence; nothing when there is none.
    pub text: Option<String>,
    /// How long until some of it may be over with nothing happening.
    pub look_again: Option<Duration>,
}

impl Troubles {
    /// Of these pods, now.
    pub fn of(pods: &[Arc<Pod>]) -> Self {
        Self::at(pods, now())
    }

    fn at(pods: &[Arc<Pod>], now: Timestamp) -> Self {
        let all: Vec<Trouble> = pods.iter().filter_map(|pod| trouble(pod, now)).collect();
        let named = all.iter().take(NAMED_MAX).map(|one| one.text.clone()).collect::<Vec<_>>().join("; ");
        let text = match all.len() {
            0 => None,
            count if count <= NAMED_MAX => Some(named),
            count => Some(format!("{named}; and {} more", count - NAMED_MAX)),
        };
        let next = all.iter().filter_map(|one| one.over_at).min();
        Self { text, look_again: next.map(|at| at.duration_since(now).unsigned_abs()) }
    }

    /// What the reconcile that saw this wants next.
    pub fn action(&self) -> Action {
        self.look_again.map_or(Action::Done, Action::RequeueAfter)
    }
}

/// Whether a change of a pod is one that phases follow from: trouble came or went, or the pod went.
fn matters(change: &Change<Pod>) -> bool {
    let now = now();
    let before = change.old.as_deref().and_then(|pod| trouble(pod, now));
    let after = change.new.as_deref().and_then(|pod| trouble(pod, now));
    before != after || change.new.is_none()
}

fn label<'a, K: Resource>(object: &'a K, key: &str) -> Option<&'a str> {
    object.labels().get(key).map(String::as_str)
}

fn component_of<K: Resource>(object: &K) -> Option<&str> {
    label(object, labels::COMPONENT)
}

/// The key of an object of ours in the namespace of the pod that changed.
fn owner(change: &Change<Pod>, name: impl Fn(&Pod) -> Option<String>) -> Vec<ObjectKey> {
    let name = change.object().filter(|_| matters(change)).and_then(|pod| name(pod));
    name.map(|name| ObjectKey::new(change.key.namespace.clone(), name)).into_iter().collect()
}

/// The Cell whose gateway a pod is.
pub fn cell_of(change: &Change<Pod>) -> Vec<ObjectKey> {
    owner(change, |pod| {
        (component_of(pod)? == component::MULTIGATEWAY)
            .then(|| Some(names::cell(label(pod, labels::CLUSTER)?, label(pod, labels::CELL)?)))?
    })
}

/// The TopoServer whose member a pod is.
pub fn topo_server_of(change: &Change<Pod>) -> Vec<ObjectKey> {
    owner(change, |pod| {
        (component_of(pod)? == component::TOPO_SERVER)
            .then(|| Some(names::global_topo(label(pod, labels::CLUSTER)?)))?
    })
}

/// The cluster whose MultiAdmin a pod is.
pub fn cluster_of(change: &Change<Pod>) -> Vec<ObjectKey> {
    owner(change, |pod| {
        [component::MULTIADMIN, component::MULTIADMIN_WEB]
            .contains(&component_of(pod)?)
            .then(|| Some(label(pod, labels::CLUSTER)?.to_owned()))?
    })
}

/// The Shard whose orchestrator or pool a pod belongs to.
pub fn shard_of(change: &Change<Pod>) -> Vec<ObjectKey> {
    owner(change, |pod| {
        [component::MULTIORCH, component::SHARD_POOL].contains(&component_of(pod)?).then(|| shard_name(pod))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(container: &Value) -> Pod {
        let mut container = container.clone();
        for (field, value) in
            [("name", json!("c")), ("image", json!("i")), ("imageID", json!("")), ("restartCount", json!(0))]
        {
            if container.get(field).is_none() {
                container[field] = value;
            }
        }
        serde_json::from_value(json!({
            "metadata": { "name": "p", "namespace": "n" },
            "status": { "phase": "Running", "containerStatuses": [container] },
        }))
        .unwrap()
    }

    #[test]
    fn what_does_not_get_better_by_itself_is_trouble() {
        let ended = |reason: &str, code: i32| json!({ "terminated": { "reason": reason, "exitCode": code } });
        let running = json!({ "running": { "startedAt": at(20) } });
        for (container, expected) in [
            (json!({ "ready": true, "state": running }), None),
            (json!({ "ready": false, "state": running }), None),
            (json!({ "ready": false, "state": { "waiting": { "reason": "ContainerCreating" } } }), None),
            (
                json!({ "ready": false, "state": { "waiting": { "reason": "CrashLoopBackOff" } } }),
                Some("CrashLoopBackOff"),
            ),
            (
                json!({ "ready": false, "state": { "waiting": { "reason": "ImagePullBackOff" } } }),
                Some("ImagePullBackOff"),
            ),
            (json!({ "ready": false, "state": ended("OOMKilled", 137) }), Some("OOMKilled")),
            (json!({ "ready": false, "state": running, "lastState": ended("OOMKilled", 137) }), Some("OOMKilled")),
            (json!({ "ready": true, "state": running, "lastState": ended("OOMKilled", 137) }), Some("OOMKilled")),
            (json!({ "ready": false, "state": ended("Error", 1), "restartCount": 2 }), None),
            (json!({ "ready": false, "state": ended("Error", 1), "restartCount": 3 }), Some("CrashLoopBackOff")),
            (
                json!({ "ready": false, "state": running, "lastState": ended("Error", 1), "restartCount": 7 }),
                Some("CrashLoopBackOff"),
            ),
            (json!({ "ready": false, "state": ended("Completed", 0), "restartCount": 7 }), None),
        ] {
            let expected = expected.map(|reason| format!("pod p: container c: {reason}"));
            let found = trouble(&pod(&container), at(40)).map(|trouble| trouble.text);
            assert_eq!(found, expected, "{container}");
        }
    }

    #[test]
    fn what_crashed_a_moment_ago_is_not_steady_yet() {
        let container = json!({
            "ready": true, "restartCount": 3, "state": { "running": { "startedAt": at(20) } },
            "lastState": { "terminated": { "reason": "Error", "exitCode": 1 } },
        });
        let pod = Arc::new(pod(&container));
        let troubles = Troubles::at(std::slice::from_ref(&pod), at(40));
        assert_eq!(troubles.action(), Action::RequeueAfter(Duration::from_secs(10)));
        assert_eq!(troubles.text.as_deref(), Some("pod p: container c: CrashLoopBackOff"));
        assert_eq!(Troubles::at(std::slice::from_ref(&pod), at(50)), Troubles::default());
        // A node whose clock is ahead does not hold it longer than that.
        assert_eq!(Troubles::at(&[pod], at(10)).look_again, Some(Duration::from_secs(30)));
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn pods_that_end_are_not_in_trouble() {
        let crashing = pod(&json!({ "ready": false, "state": { "waiting": { "reason": "CrashLoopBackOff" } } }));
        let mut evicted = crashing.clone();
        evicted.status.as_mut().unwrap().phase = Some("Failed".into());
        assert_eq!(trouble(&evicted, at(0)), None);
        let mut deleted = crashing.clone();
        deleted.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(trouble(&deleted, at(0)), None);
        let all: Vec<_> = (0..4).map(|_| Arc::new(crashing.clone())).collect();
        assert!(Troubles::of(&all).text.unwrap().ends_with("; and 2 more"));
        assert_eq!(Troubles::of(&[]), Troubles::default());
    }

    #[test]
    fn a_pod_wakes_its_object_when_trouble_comes_or_goes() {
        let shard = crate::resources::test_objects::shard();
        let pools = crate::resources::pool::all(&shard).unwrap();
        let set = pools[0].stateful_set(&std::collections::BTreeMap::new()).unwrap();
        let labelled = |container: &Value| {
            let mut pod = pod(container);
            pod.metadata.labels = set.spec.template.metadata.clone().unwrap().labels;
            Some(Arc::new(pod))
        };
        let well = labelled(&json!({ "ready": true, "state": { "running": {} } }));
        let ill = labelled(&json!({ "ready": false, "state": { "waiting": { "reason": "CrashLoopBackOff" } } }));
        let key = ObjectKey::new("n", "p");
        let woken = |old: &Option<Arc<Pod>>, new: &Option<Arc<Pod>>| {
            shard_of(&Change { key: key.clone(), old: old.clone(), new: new.clone() })
        };
        let expected = [ObjectKey::new("n", shard.name_any())];
        assert_eq!(woken(&well, &ill), expected);
        assert_eq!(woken(&ill, &well), expected);
        assert_eq!(woken(&well, &None), expected);
        assert!(woken(&well, &well).is_empty());
        assert!(woken(&None, &well).is_empty());
        assert!(cell_of(&Change { key, old: well, new: ill }).is_empty());
    }
}
