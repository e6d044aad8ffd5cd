//! Faults of nodes, pods and the control plane: what is wrong at the moment, and with whom.
//!
//! One list that the kubelets, the controllers and the scheduler ask; [`crate::Cluster::disturb`] adds to it and
//! [`crate::Cluster::heal`] takes away.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use sim_clock::{Timestamp, watch};

/// What a container that is made to crash lives.
pub(crate) const CRASH_AFTER: Duration = Duration::from_secs(1);
/// What a container that is made to run out of memory lives.
pub(crate) const MEMORY_LASTS: Duration = Duration::from_secs(5);

/// Labels that a pod must have, all of them.
pub type Labels = BTreeMap<String, String>;

/// Something that is wrong in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outage {
    /// The kubelet of a node does nothing and says nothing; its containers run on.
    KubeletDead {
        /// Name of the node.
        node: String,
    },
    /// Images cannot be pulled; those that a node has already are not affected unless they are always pulled.
    ImagePulls {
        /// Image reference; a star at its end stands for any rest.
        image: String,
        /// What the container runtime says, e.g. `429 Too Many Requests`.
        error: String,
    },
    /// Pulling an image takes this much longer.
    SlowImagePulls {
        /// Image reference; a star at its end stands for any rest.
        image: String,
        /// The time on top.
        delay: Duration,
    },
    /// The containers of these pods end shortly after each start.
    CrashLoop {
        /// Labels of the pods.
        labels: Labels,
        /// What they end with.
        exit_code: i32,
    },
    /// The containers of these pods are killed for want of memory, now and after each start.
    OutOfMemory {
        /// Labels of the pods.
        labels: Labels,
    },
    /// Nothing is deleted for want of an owner; namespaces stay as they are.
    GarbageCollectorPaused,
    /// No controller of the control plane does anything (the scheduler and the kubelets do).
    ControllersPaused,
    /// The clock of a node is ahead (or behind): what its kubelet reports carries wrong times.
    ClockSkew {
        /// Name of the node.
        node: String,
        /// Seconds ahead; negative: behind.
        seconds: i64,
    },
}

/// Names an outage so that it can be healed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutageId(u64);

/// What befalls a container of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doom {
    Crash(i32),
    Memory,
}

/// A counter, and each outage with its beginning.
type State = (u64, BTreeMap<OutageId, (Outage, Timestamp)>);

/// The outages under way.
#[derive(Debug)]
pub(crate) struct Outages {
    state: Mutex<State>,
    tick: watch::Sender<u64>,
}

impl Default for Outages {
    fn default() -> Self {
        Self { state: Mutex::default(), tick: watch::Sender::new(0) }
    }
}

fn image_matches(pattern: &str, image: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == image, |prefix| image.starts_with(prefix))
}

pub(crate) fn labelled(wanted: &Labels, pod: &Value) -> bool {
    wanted.iter().all(|(name, value)| pod["metadata"]["labels"][name.as_str()] == value.as_str())
}

impl Outages {
    pub(crate) fn begin(&self, outage: Outage) -> OutageId {
        let id = {
            let mut state = self.lock();
            state.0 += 1;
            let id = OutageId(state.0);
            state.1.insert(id, (outage, sim_clock::now()));
            id
        };
        self.tick.send_modify(|n| *n += 1);
        id
    }

    pub(crate) fn heal(&self, id: OutageId) {
        self.lock().1.remove(&id);
        self.tick.send_modify(|n| *n += 1);
    }

    /// Lets everybody look again.
    pub(crate) fn announce(&self) {
        self.tick.send_modify(|n| *n += 1);
    }

    /// Ticks when an outage begins or ends.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.tick.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find<T>(&self, mut look: impl FnMut(&Outage) -> Option<T>) -> Option<T> {
        self.lock().1.values().find_map(|(outage, _)| look(outage))
    }

    pub(crate) fn kubelet_dead(&self, node: &str) -> bool {
        self.kubelet_dead_since(node).is_some()
    }

    /// Since when the kubelet of a node is dead.
    pub(crate) fn kubelet_dead_since(&self, node: &str) -> Option<Timestamp> {
        let state = self.lock();
        state
            .1
            .values()
            .find(|(o, _)| matches!(o, Outage::KubeletDead { node: n } if n == node))
            .map(|(_, since)| *since)
    }

    pub(crate) fn collector_paused(&self) -> bool {
        self.find(|o| matches!(o, Outage::GarbageCollectorPaused | Outage::ControllersPaused).then_some(())).is_some()
    }

    pub(crate) fn controllers_paused(&self) -> bool {
        self.find(|o| matches!(o, Outage::ControllersPaused).then_some(())).is_some()
    }

    /// Why an image cannot be pulled.
    pub(crate) fn pull_error(&self, image: &str) -> Option<String> {
        self.find(|o| match o {
            Outage::ImagePulls { image: pattern, error } if image_matches(pattern, image) => Some(error.clone()),
            _ => None,
        })
    }

    /// How much longer pulling an image takes.
    pub(crate) fn pull_delay(&self, image: &str) -> Duration {
        self.find(|o| match o {
            Outage::SlowImagePulls { image: pattern, delay } if image_matches(pattern, image) => Some(*delay),
            _ => None,
        })
        .unwrap_or_default()
    }

    /// What befalls the containers of a pod.
    pub(crate) fn doom(&self, pod: &Value) -> Option<Doom> {
        self.find(|o| match o {
            Outage::CrashLoop { labels, exit_code } if labelled(labels, pod) => Some(Doom::Crash(*exit_code)),
            Outage::OutOfMemory { labels } if labelled(labels, pod) => Some(Doom::Memory),
            _ => None,
        })
    }

    /// What a node's clock shows.
    pub(crate) fn clock(&self, node: &str, now: Timestamp) -> Timestamp {
        let ahead = self.find(|o| match o {
            Outage::ClockSkew { node: n, seconds } if n == node => Some(*seconds),
            _ => None,
        });
        ahead.map_or(now, |s| Timestamp::from_nanos(now.as_nanos().saturating_add(s.saturating_mul(1_000_000_000))))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_outage_lasts_from_its_beginning_until_it_is_healed() {
        let outages = Outages::default();
        let pod = json!({"metadata": {"labels": {"app": "a"}}});
        let labels = Labels::from([("app".to_owned(), "a".to_owned())]);
        let crash = outages.begin(Outage::CrashLoop { labels, exit_code: 3 });
        let pulls = outages.begin(Outage::ImagePulls { image: "ghcr.io/*".into(), error: "no".into() });
        let skew = outages.begin(Outage::ClockSkew { node: "n".into(), seconds: -60 });
        assert_eq!(outages.doom(&pod), Some(Doom::Crash(3)));
        assert_eq!(outages.doom(&json!({"metadata": {}})), None);
        assert_eq!(outages.pull_error("ghcr.io/x:1").as_deref(), Some("no"));
        assert_eq!(outages.pull_error("docker.io/x:1"), None);
        assert_eq!(outages.clock("n", Timestamp::from_secs(100)), Timestamp::from_secs(40));
        for id in [crash, pulls, skew] {
            outages.heal(id);
        }
        assert_eq!((outages.doom(&pod), outages.pull_error("ghcr.io/x:1")), (None, None));
        assert_eq!(outages.clock("n", Timestamp::from_secs(100)), Timestamp::from_secs(100));
    }
}
