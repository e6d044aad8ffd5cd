//! A kubelet that finds pods not ready whatever they answer.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;
use sim_net::Network;

/// Names a fault of readiness so that it can be healed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadinessFault(u64);

/// What a failing readiness probe says while such a fault lasts.
pub(super) const MESSAGE: &str = "the kubelet finds this pod not ready";

/// The faults under way, each with the labels of the pods that it befalls.
#[derive(Debug, Default)]
pub(super) struct ReadinessFaults(Mutex<(u64, BTreeMap<ReadinessFault, BTreeMap<String, String>>)>);

impl ReadinessFaults {
    /// Lets readiness probes of all pods with these labels fail.
    pub(super) fn inject(&self, labels: BTreeMap<String, String>, network: &Network) -> ReadinessFault {
        let fault = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.0 += 1;
            let fault = ReadinessFault(state.0);
            state.1.insert(fault, labels);
            fault
        };
        network.announce_change();
        fault
    }

    /// Lets them answer for themselves again.
    pub(super) fn heal(&self, fault: ReadinessFault, network: &Network) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&fault);
        network.announce_change();
    }

    /// Whether a fault befalls a pod with these labels.
    pub(super) fn befalls(&self, labels: &Value) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.1.values().any(|wanted| wanted.iter().all(|(name, value)| labels[name.as_str()] == value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fault_befalls_the_pods_with_its_labels_until_it_is_healed() {
        let (faults, network) = (ReadinessFaults::default(), Network::new());
        let before = network.revision();
        let fault = faults.inject(BTreeMap::from([("app".to_owned(), "a".to_owned())]), &network);
        assert!(network.revision() > before, "steady probes look again");
        assert!(faults.befalls(&json!({"app": "a", "tier": "x"})));
        assert!(!faults.befalls(&json!({"app": "b"})));
        assert!(!faults.befalls(&Value::Null));
        faults.heal(fault, &network);
        assert!(!faults.befalls(&json!({"app": "a"})));
    }
}
