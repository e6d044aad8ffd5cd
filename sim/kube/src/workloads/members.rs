//! Which pods each Service selects, kept up to date by events: no Service looks at pods that are not its own.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    engine::{Engine, Key, Object},
    json,
    selectors::LabelSelector,
};

/// The pods of each Service.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// By namespace, then by name: Services with a selector.
    services: BTreeMap<String, BTreeMap<String, Service>>,
}

#[derive(Debug)]
struct Service {
    selector: LabelSelector,
    pods: BTreeSet<String>,
}

impl Members {
    /// Takes note of a Service that came or changed.
    pub(super) fn put_service(&mut self, engine: &Engine, object: &Object) {
        let key = Key::of(object);
        let map = json::map(object, &["spec", "selector"]).filter(|m| !m.is_empty());
        let Some(map) = map else { return self.remove_service(&key) };
        let selector = LabelSelector::from_map(Some(map));
        let services = self.services.entry(key.namespace.clone()).or_default();
        if services.get(&key.name).is_some_and(|s| s.selector == selector) {
            return;
        }
        let pods = engine.scan("pods", Some(&key.namespace)).filter(|p| selector.matches(p));
        let pods = pods.map(|p| json::name(p).to_owned()).collect();
        services.insert(key.name, Service { selector, pods });
    }

    /// Takes note of a Service that is gone.
    pub(super) fn remove_service(&mut self, key: &Key) {
        if let Some(services) = self.services.get_mut(&key.namespace) {
            services.remove(&key.name);
        }
    }

    /// Takes note of a pod that came, changed or is gone, and returns the Services that it means something to.
    pub(super) fn put_pod(&mut self, pod: &Object, gone: bool) -> Vec<Key> {
        let key = Key::of(pod);
        let mut touched = Vec::new();
        for (name, service) in self.services.get_mut(&key.namespace).into_iter().flatten() {
            let chosen = !gone && service.selector.matches(pod);
            let was = if chosen { !service.pods.insert(key.name.clone()) } else { service.pods.remove(&key.name) };
            if chosen || was {
                touched.push(Key::new(&key.namespace, name));
            }
        }
        touched
    }

    /// The pods that a Service selects, in order.
    pub(super) fn pods(&self, engine: &Engine, service: &Object) -> Vec<Object> {
        let namespace = json::namespace(service);
        let known = self.services.get(namespace).and_then(|s| s.get(json::name(service)));
        let pods = known.into_iter().flat_map(|s| &s.pods);
        pods.filter_map(|name| engine.peek("pods", namespace, name).cloned()).collect()
    }
}
