//! What monitoring stacks scrape of a cluster: one object a component that has a metrics port, over all its cells and shards.
//!
//! etcd always has one. The data plane pushes its metrics; gateway, orchestrator, pooler and MultiAdmin open a port only where
//! `observability.metricsExporter` is `prometheus`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::ResourceExt;

use super::{child_meta, otel};
use crate::api::MultigresCluster;
use crate::api::monitoring::{
    ScrapeEndpoint, ServiceMonitor, ServiceMonitorSpec, VmServiceScrape, VmServiceScrapeSpec,
};
use crate::labels::{self, Labels, component};

/// The name of every metrics port, of containers and of Services.
pub const METRICS_PORT_NAME: &str = "metrics";

/// One component that is scraped.
#[derive(Debug, Clone, PartialEq)]
pub struct Scraped {
    meta: ObjectMeta,
    selector: Labels,
}

/// The components of a cluster that have a metrics port; none where its specification does not want them scraped. `managed_topo` says
/// whether its topology server is one that the operator runs.
pub fn scraped(
    cluster: &MultigresCluster,
    managed_topo: bool,
    operator_env: &BTreeMap<String, String>,
) -> Vec<Scraped> {
    let observability = cluster.spec.observability.as_ref();
    if observability.and_then(|config| config.scrape_objects) == Some(false) {
        return Vec::new();
    }
    let name = cluster.name_any();
    let mut components = Vec::new();
    if managed_topo {
        components.push((component::TOPO_SERVER, "etcd"));
    }
    if otel::metrics_port(observability, operator_env).is_some() {
        components.extend([
            (component::MULTIGATEWAY, "multigateway"),
            (component::MULTIORCH, "multiorch"),
            (component::SHARD_POOL, "multipooler"),
            (component::MULTIADMIN, "multiadmin"),
        ]);
    }
    let one = |(component, suffix): (&str, &str)| {
        let labels = labels::with(&name, component, &[(labels::CLUSTER, &name)]);
        let selector = [(labels::COMPONENT, component), (labels::CLUSTER, name.as_str())];
        Scraped {
            meta: child_meta(cluster, format!("{name}-{suffix}"), labels),
            selector: selector.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        }
    };
    components.into_iter().map(one).collect()
}

impl Scraped {
    fn endpoints() -> Vec<ScrapeEndpoint> {
        let (port, path) = (METRICS_PORT_NAME.to_owned(), "/metrics".to_owned());
        vec![ScrapeEndpoint { port, path, rest: BTreeMap::new() }]
    }

    fn selector(&self) -> LabelSelector {
        LabelSelector { match_labels: Some(self.selector.clone()), ..LabelSelector::default() }
    }

    /// For the Prometheus Operator.
    pub fn service_monitor(&self) -> ServiceMonitor {
        let spec = ServiceMonitorSpec {
            selector: self.selector(),
            job_label: labels::COMPONENT.to_owned(),
            target_labels: target_labels(),
            endpoints: Self::endpoints(),
        };
        ServiceMonitor { metadata: self.meta.clone(), spec }
    }

    /// For the operator of VictoriaMetrics. It has the name that this operator gives to what it makes of a ServiceMonitor: where both are
    /// known, there is one.
    pub fn vm_service_scrape(&self) -> VmServiceScrape {
        let spec = VmServiceScrapeSpec {
            selector: self.selector(),
            job_label: labels::COMPONENT.to_owned(),
            target_labels: target_labels(),
            endpoints: Self::endpoints(),
        };
        VmServiceScrape { metadata: self.meta.clone(), spec }
    }
}

/// Where a series comes from, beside `job`, `namespace` and `pod`.
fn target_labels() -> Vec<String> {
    [labels::CLUSTER, labels::CELL].map(str::to_owned).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::ObservabilityConfig;
    use crate::resources::test_objects;

    fn names(cluster: &MultigresCluster, managed: bool) -> Vec<String> {
        let env = [("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), "http://collector:4318".to_owned())].into();
        scraped(cluster, managed, &env).iter().map(|one| one.service_monitor().name_any()).collect()
    }

    #[test]
    fn what_has_a_metrics_port_is_scraped_unless_one_field_says_no() {
        let mut cluster = test_objects::cluster();
        assert_eq!(names(&cluster, true), ["minimal-etcd"]);
        assert!(names(&cluster, false).is_empty());
        let prometheus =
            ObservabilityConfig { metrics_exporter: Some("prometheus".into()), ..ObservabilityConfig::default() };
        cluster.spec.observability = Some(prometheus.clone());
        assert_eq!(
            names(&cluster, true),
            ["minimal-etcd", "minimal-multigateway", "minimal-multiorch", "minimal-multipooler", "minimal-multiadmin"]
        );
        cluster.spec.observability = Some(ObservabilityConfig { scrape_objects: Some(false), ..prometheus });
        assert!(names(&cluster, true).is_empty());
    }

    #[test]
    fn both_kinds_say_the_same_and_belong_to_the_cluster() {
        let cluster = test_objects::cluster();
        let one = &scraped(&cluster, true, &BTreeMap::new())[0];
        let (ours, theirs) = (one.service_monitor(), one.vm_service_scrape());
        assert_eq!(ours.metadata, theirs.metadata);
        assert_eq!(serde_json::to_value(&ours.spec).unwrap(), serde_json::to_value(&theirs.spec).unwrap());
        assert_eq!(ours.metadata.owner_references.unwrap()[0].kind, "MultigresCluster");
        assert_eq!(serde_json::to_value(&theirs).unwrap()["kind"], "VMServiceScrape");
    }
}
