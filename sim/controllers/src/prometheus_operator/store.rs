//! What the operator has seen of the cluster: ordered collections, fed with watch events.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::alertmanager::Alertmanager;
use super::model::{
    EndpointSlice, Endpoints, Namespace, Pod, PodMonitor, Prometheus, PrometheusRule, Service, ServiceMonitor,
};
use super::probe::Probe;
use super::victoria;

/// Namespace and name.
pub type Key = (String, String);

/// The kinds that are watched.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the Kubernetes kind of its name")]
pub enum Kind {
    Prometheus,
    Alertmanager,
    ServiceMonitor,
    PodMonitor,
    Probe,
    PrometheusRule,
    VMServiceScrape,
    VMRule,
    Namespace,
    Service,
    Endpoints,
    EndpointSlice,
    Pod,
}

impl Kind {
    /// All kinds, in the order in which they are listed.
    pub const ALL: [Self; 13] = [
        Self::Prometheus,
        Self::Alertmanager,
        Self::ServiceMonitor,
        Self::PodMonitor,
        Self::Probe,
        Self::PrometheusRule,
        Self::VMServiceScrape,
        Self::VMRule,
        Self::Namespace,
        Self::Service,
        Self::Endpoints,
        Self::EndpointSlice,
        Self::Pod,
    ];

    /// The path of the collection over all namespaces.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Prometheus => "/apis/monitoring.coreos.com/v1/prometheuses",
            Self::Alertmanager => "/apis/monitoring.coreos.com/v1/alertmanagers",
            Self::ServiceMonitor => "/apis/monitoring.coreos.com/v1/servicemonitors",
            Self::PodMonitor => "/apis/monitoring.coreos.com/v1/podmonitors",
            Self::Probe => "/apis/monitoring.coreos.com/v1/probes",
            Self::VMServiceScrape => "/apis/operator.victoriametrics.com/v1beta1/vmservicescrapes",
            Self::VMRule => "/apis/operator.victoriametrics.com/v1beta1/vmrules",
            Self::PrometheusRule => "/apis/monitoring.coreos.com/v1/prometheusrules",
            Self::Namespace => "/api/v1/namespaces",
            Self::Service => "/api/v1/services",
            Self::Endpoints => "/api/v1/endpoints",
            Self::EndpointSlice => "/apis/discovery.k8s.io/v1/endpointslices",
            Self::Pod => "/api/v1/pods",
        }
    }

    /// Whether the kind is followed only once something asks for it.
    pub const fn is_optional(self) -> bool {
        matches!(self, Self::PodMonitor | Self::Probe | Self::VMServiceScrape | Self::VMRule)
    }
}

/// The objects of the cluster, as far as they are watched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    /// Prometheus objects.
    pub prometheuses: BTreeMap<Key, Prometheus>,
    /// Alertmanager objects.
    pub alertmanagers: BTreeMap<Key, Alertmanager>,
    /// ServiceMonitors.
    pub service_monitors: BTreeMap<Key, ServiceMonitor>,
    /// PodMonitors.
    pub pod_monitors: BTreeMap<Key, PodMonitor>,
    /// Probes.
    pub probes: BTreeMap<Key, Probe>,
    /// VMServiceScrapes, as the ServiceMonitors that say the same.
    pub vm_service_scrapes: BTreeMap<Key, ServiceMonitor>,
    /// VMRules, as the PrometheusRules that say the same.
    pub vm_rules: BTreeMap<Key, PrometheusRule>,
    /// PrometheusRules.
    pub rules: BTreeMap<Key, PrometheusRule>,
    /// Namespaces; the key's namespace is empty.
    pub namespaces: BTreeMap<Key, Namespace>,
    /// Services.
    pub services: BTreeMap<Key, Service>,
    /// Endpoints.
    pub endpoints: BTreeMap<Key, Endpoints>,
    /// EndpointSlices.
    pub endpoint_slices: BTreeMap<Key, EndpointSlice>,
    /// Pods.
    pub pods: BTreeMap<Key, Pod>,
    /// Objects that could not be understood, and why.
    pub rejected: BTreeMap<(Kind, Key), String>,
}

impl Cluster {
    /// Takes in an object as it was listed, added or modified. True where that changed anything the operator looks at.
    ///
    /// ```
    /// use sim_controllers::prometheus_operator::{Cluster, Kind};
    /// let mut cluster = Cluster::default();
    /// let mut service = serde_json::json!({"metadata": {"name": "a", "namespace": "b", "resourceVersion": "1"}});
    /// assert!(cluster.put(Kind::Service, service.clone()));
    /// service["metadata"]["resourceVersion"] = "2".into();
    /// assert!(!cluster.put(Kind::Service, service));
    /// ```
    pub fn put(&mut self, kind: Kind, mut object: Value) -> bool {
        let key = key_of(&object);
        drop_nulls(&mut object);
        let rejected = &mut self.rejected;
        match kind {
            Kind::Prometheus => put(&mut self.prometheuses, rejected, kind, key, object),
            Kind::Alertmanager => put(&mut self.alertmanagers, rejected, kind, key, object),
            Kind::ServiceMonitor => put(&mut self.service_monitors, rejected, kind, key, object),
            Kind::PodMonitor => put(&mut self.pod_monitors, rejected, kind, key, object),
            Kind::Probe => put(&mut self.probes, rejected, kind, key, object),
            Kind::PrometheusRule => put(&mut self.rules, rejected, kind, key, object),
            Kind::VMServiceScrape => {
                put(&mut self.vm_service_scrapes, rejected, kind, key, victoria::service_monitor(object))
            }
            Kind::VMRule => put(&mut self.vm_rules, rejected, kind, key, victoria::prometheus_rule(object)),
            Kind::Namespace => put(&mut self.namespaces, rejected, kind, key, object),
            Kind::Service => put(&mut self.services, rejected, kind, key, object),
            Kind::Endpoints => put(&mut self.endpoints, rejected, kind, key, object),
            Kind::EndpointSlice => put(&mut self.endpoint_slices, rejected, kind, key, object),
            Kind::Pod => put(&mut self.pods, rejected, kind, key, object),
        }
    }

    /// Forgets an object. True where it was known.
    pub fn remove(&mut self, kind: Kind, key: &Key) -> bool {
        let was_rejected = self.rejected.remove(&(kind, key.clone())).is_some();
        let was_known = match kind {
            Kind::Prometheus => self.prometheuses.remove(key).is_some(),
            Kind::Alertmanager => self.alertmanagers.remove(key).is_some(),
            Kind::ServiceMonitor => self.service_monitors.remove(key).is_some(),
            Kind::PodMonitor => self.pod_monitors.remove(key).is_some(),
            Kind::Probe => self.probes.remove(key).is_some(),
            Kind::PrometheusRule => self.rules.remove(key).is_some(),
            Kind::VMServiceScrape => self.vm_service_scrapes.remove(key).is_some(),
            Kind::VMRule => self.vm_rules.remove(key).is_some(),
            Kind::Namespace => self.namespaces.remove(key).is_some(),
            Kind::Service => self.services.remove(key).is_some(),
            Kind::Endpoints => self.endpoints.remove(key).is_some(),
            Kind::EndpointSlice => self.endpoint_slices.remove(key).is_some(),
            Kind::Pod => self.pods.remove(key).is_some(),
        };
        was_known || was_rejected
    }

    /// Replaces all objects of a kind by a fresh list. True where anything is different now.
    pub fn replace(&mut self, kind: Kind, objects: Vec<Value>) -> bool {
        let listed: std::collections::BTreeSet<Key> = objects.iter().map(key_of).collect();
        let gone: Vec<Key> = self.keys(kind).into_iter().filter(|key| !listed.contains(key)).collect();
        let mut changed = false;
        for key in gone {
            changed |= self.remove(kind, &key);
        }
        for object in objects {
            changed |= self.put(kind, object);
        }
        changed
    }

    fn keys(&self, kind: Kind) -> Vec<Key> {
        let mut keys: Vec<Key> = match kind {
            Kind::Prometheus => self.prometheuses.keys().cloned().collect(),
            Kind::Alertmanager => self.alertmanagers.keys().cloned().collect(),
            Kind::ServiceMonitor => self.service_monitors.keys().cloned().collect(),
            Kind::PodMonitor => self.pod_monitors.keys().cloned().collect(),
            Kind::Probe => self.probes.keys().cloned().collect(),
            Kind::PrometheusRule => self.rules.keys().cloned().collect(),
            Kind::VMServiceScrape => self.vm_service_scrapes.keys().cloned().collect(),
            Kind::VMRule => self.vm_rules.keys().cloned().collect(),
            Kind::Namespace => self.namespaces.keys().cloned().collect(),
            Kind::Service => self.services.keys().cloned().collect(),
            Kind::Endpoints => self.endpoints.keys().cloned().collect(),
            Kind::EndpointSlice => self.endpoint_slices.keys().cloned().collect(),
            Kind::Pod => self.pods.keys().cloned().collect(),
        };
        keys.extend(self.rejected.keys().filter(|(of, _)| *of == kind).map(|(_, key)| key.clone()));
        keys
    }
}

/// Namespace and name of an object, empty where there is none.
pub fn key_of(object: &Value) -> Key {
    let field = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    (field("namespace"), field("name"))
}

fn put<T: DeserializeOwned + PartialEq>(
    objects: &mut BTreeMap<Key, T>,
    rejected: &mut BTreeMap<(Kind, Key), String>,
    kind: Kind,
    key: Key,
    object: Value,
) -> bool {
    match serde_json::from_value::<T>(object) {
        Ok(parsed) => {
            let recovered = rejected.remove(&(kind, key.clone())).is_some();
            if objects.get(&key) == Some(&parsed) {
                return recovered;
            }
            objects.insert(key, parsed);
            true
        }
        Err(error) => {
            let message = error.to_string();
            let known = objects.remove(&key).is_some();
            known | (rejected.insert((kind, key), message.clone()) != Some(message))
        }
    }
}

/// Go writes `null` for an empty list without `omitempty`; it means the same as leaving the field out.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, child| !child.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn monitor(name: &str, port: &Value) -> Value {
        json!({"metadata": {"namespace": "ns", "name": name}, "spec": {"selector": {}, "endpoints": [{"port": port}]}})
    }

    #[test]
    fn a_fresh_list_removes_what_is_no_longer_there() {
        let mut cluster = Cluster::default();
        assert!(cluster.replace(Kind::ServiceMonitor, vec![monitor("a", &json!("x")), monitor("b", &json!("x"))]));
        assert!(!cluster.replace(Kind::ServiceMonitor, vec![monitor("a", &json!("x")), monitor("b", &json!("x"))]));
        assert!(cluster.replace(Kind::ServiceMonitor, vec![monitor("b", &json!("x"))]));
        assert_eq!(cluster.service_monitors.len(), 1);
    }

    #[test]
    fn an_object_that_turns_invalid_is_taken_out_and_named() {
        let mut cluster = Cluster::default();
        cluster.put(Kind::ServiceMonitor, monitor("a", &json!("x")));
        assert!(cluster.put(Kind::ServiceMonitor, monitor("a", &json!(7))));
        assert!(cluster.service_monitors.is_empty());
        assert!(cluster.rejected.values().next().is_some_and(|why| why.contains("string")));
        assert!(!cluster.put(Kind::ServiceMonitor, monitor("a", &json!(7))));
        assert!(cluster.put(Kind::ServiceMonitor, monitor("a", &json!("x"))));
        assert!(cluster.rejected.is_empty());
    }

    #[test]
    fn null_lists_count_as_absent() {
        let mut cluster = Cluster::default();
        let slice = json!({"metadata": {"namespace": "ns", "name": "s"}, "endpoints": null, "ports": null});
        cluster.put(Kind::EndpointSlice, slice);
        assert!(cluster.rejected.is_empty());
        assert_eq!(cluster.endpoint_slices.len(), 1);
    }
}
