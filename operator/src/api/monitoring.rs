//! Objects of monitoring stacks that the operator writes, where their definitions are there: only the fields that it uses.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// What is scraped: ports of Services.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[kube(group = "monitoring.coreos.com", version = "v1", kind = "ServiceMonitor", namespaced, schema = "disabled")]
#[serde(rename_all = "camelCase")]
pub struct ServiceMonitorSpec {
    /// Which Services, of the monitor's own namespace.
    pub selector: LabelSelector,
    /// The Service's label that becomes `job`.
    pub job_label: String,
    /// Labels of the Service that every series gets.
    pub target_labels: Vec<String>,
    /// Which of their ports.
    pub endpoints: Vec<ScrapeEndpoint>,
}

/// The same for the operator of VictoriaMetrics.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "operator.victoriametrics.com",
    version = "v1beta1",
    kind = "VMServiceScrape",
    plural = "vmservicescrapes",
    root = "VmServiceScrape",
    namespaced,
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct VmServiceScrapeSpec {
    /// Which Services, of the object's own namespace.
    pub selector: LabelSelector,
    /// The Service's label that becomes `job`.
    pub job_label: String,
    /// Labels of the Service that every series gets.
    pub target_labels: Vec<String>,
    /// Which of their ports.
    pub endpoints: Vec<ScrapeEndpoint>,
}

/// A port that is scraped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScrapeEndpoint {
    /// Its name.
    #[serde(default)]
    pub port: String,
    /// The path.
    #[serde(default)]
    pub path: String,
    /// What the operator does not write.
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}
