//! Pods that the kubelet is to evict because their node is short of memory.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

use crate::json;

/// Uids of pods to evict, with what is said of them.
#[derive(Debug, Default)]
pub(crate) struct Evictions(Mutex<BTreeMap<String, String>>);

impl Evictions {
    /// Lets a pod be evicted for want of memory.
    pub(crate) fn add(&self, pod: &Value) {
        let mut message =
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 98304Ki. ".to_owned();
        for c in json::list(pod, &["spec", "containers"]) {
            let request = match json::text(c, &["resources", "requests", "memory"]) {
                "" => "0",
                asked => asked,
            };
            let name = json::text(c, &["name"]);
            let used = 256 + json::fnv(&format!("{}/{name}", json::uid(pod))) % 1024;
            message.push_str(&format!(
                "Container {name} was using {used}Mi, request is {request}, has larger consumption of memory. "
            ));
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(json::uid(pod).to_owned(), message);
    }

    /// What is said of a pod that is to be evicted, once.
    pub(crate) fn take(&self, uid: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid)
    }
}
