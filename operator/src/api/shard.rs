//! `Shard`: a range of keys, with its pools and its orchestrator.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cluster::pool_rules;
use super::common::{
    GlobalTopoServerRef, MultiOrchSpec, ObservabilityConfig, POOLS_MAX, Phase, Pools, PvcDeletionPolicy, ShardImages,
    reported,
};

/// A range of keys, as the table group's controller writes it.
#[allow(clippy::duplicated_attributes, reason = "two columns may have the same type")]
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "multigres.com",
    version = "v1alpha1",
    kind = "Shard",
    plural = "shards",
    shortname = "srd",
    namespaced,
    status = "ShardStatus",
    derive = "PartialEq",
    doc = "A range of keys with its pools. Written by the operator.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Available')].status"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase")
)]
#[serde(rename_all = "camelCase")]
pub struct ShardSpec {
    /// The database's name.
    #[schemars(length(min = 1, max = 30))]
    pub database_name: String,
    /// The table group's name.
    #[schemars(length(min = 1, max = 25))]
    pub table_group_name: String,
    /// Its name: its range of keys.
    #[schemars(length(min = 1, max = 25))]
    pub shard_name: String,
    /// Container images.
    #[serde(default)]
    pub images: ShardImages,
    /// The topology server that all cells share.
    pub global_topo_server: GlobalTopoServerRef,
    /// The orchestrator.
    #[serde(default)]
    pub multiorch: MultiOrchSpec,
    /// The pools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = POOLS_MAX, "x-kubernetes-validations" = pool_rules()))]
    pub pools: Pools,
    /// What becomes of its volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pvc_deletion_policy: Option<PvcDeletionPolicy>,
    /// Telemetry of the data plane; the operator's own settings when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability: Option<ObservabilityConfig>,
}

/// What the operator says about a shard.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardStatus {
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
    /// Cells that hold a part of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub cells: Vec<String>,
    /// Whether every orchestrator is ready.
    #[serde(default)]
    pub orch_ready: bool,
    /// Whether every pool pod is ready.
    #[serde(default)]
    pub pools_ready: bool,
}
reported!(ShardStatus);
