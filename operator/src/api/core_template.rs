//! `CoreTemplate`: settings for the topology server and MultiAdmin that clusters can share.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{EtcdSpec, PvcDeletionPolicy, StatelessSpec};

/// Settings for the topology server and MultiAdmin that clusters can share.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "multigres.com",
    version = "v1alpha1",
    kind = "CoreTemplate",
    plural = "coretemplates",
    shortname = "cot",
    namespaced,
    derive = "PartialEq",
    doc = "Settings for the topology server and MultiAdmin that clusters can share."
)]
#[serde(rename_all = "camelCase")]
pub struct CoreTemplateSpec {
    /// The topology server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub global_topo_server: Option<TopoServerTemplate>,
    /// MultiAdmin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiadmin: Option<StatelessSpec>,
    /// MultiAdmin's web front end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiadmin_web: Option<StatelessSpec>,
}

/// Settings for a topology server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopoServerTemplate {
    /// etcd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdSpec>,
    /// What becomes of its volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pvc_deletion_policy: Option<PvcDeletionPolicy>,
}
