//! `TopoServer`: the etcd cluster that holds the topology.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{EtcdSpec, Phase, PvcDeletionPolicy, TopoServerImages, reported};

/// An etcd cluster, as the cluster's controller resolved it.
#[allow(clippy::duplicated_attributes, reason = "two columns may have the same type")]
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "multigres.com",
    version = "v1alpha1",
    kind = "TopoServer",
    plural = "toposervers",
    shortname = "tps",
    namespaced,
    status = "TopoServerStatus",
    derive = "PartialEq",
    doc = "The etcd cluster that holds the topology. Written by the operator.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase")
)]
#[serde(rename_all = "camelCase")]
pub struct TopoServerSpec {
    /// etcd.
    #[serde(default)]
    pub etcd: EtcdSpec,
    /// How its image is pulled.
    #[serde(default)]
    pub images: TopoServerImages,
    /// What becomes of its volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pvc_deletion_policy: Option<PvcDeletionPolicy>,
}

/// What the operator says about a topology server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopoServerStatus {
    /// Generation of the specification that this speaks about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Why it is in that phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The Service for clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_service: Option<String>,
    /// The headless Service for members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_service: Option<String>,
}
reported!(TopoServerStatus);
