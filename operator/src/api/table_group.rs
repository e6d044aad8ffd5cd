//! `TableGroup`: the shards of a group of tables.

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

/// A group of tables that are sharded alike, as the cluster's controller resolved it.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "multigres.com",
    version = "v1alpha1",
    kind = "TableGroup",
    plural = "tablegroups",
    shortname = "tbg",
    namespaced,
    status = "TableGroupStatus",
    derive = "PartialEq",
    doc = "The shards of a group of tables. Written by the operator.",
    printcolumn(name = "Shards", type_ = "integer", json_path = ".status.readyShards"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase")
)]
#[serde(rename_all = "camelCase")]
pub struct TableGroupSpec {
    /// The database's name.
    #[schemars(length(min = 1, max = 30))]
    pub database_name: String,
    /// The group's name.
    #[schemars(length(min = 1, max = 25))]
    pub table_group_name: String,
    /// Whether tables without a group belong to it.
    #[serde(default)]
    pub is_default: bool,
    /// Container images.
    #[serde(default)]
    pub images: ShardImages,
    /// The topology server that all cells share.
    pub global_topo_server: GlobalTopoServerRef,
    /// Its shards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub shards: Vec<ResolvedShard>,
    /// What becomes of its volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pvc_deletion_policy: Option<PvcDeletionPolicy>,
    /// Telemetry of the data plane; the operator's own settings when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability: Option<ObservabilityConfig>,
}

/// A shard with every default filled in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedShard {
    /// Its name: its range of keys.
    #[schemars(length(min = 1, max = 25))]
    pub name: String,
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
}

/// What the operator says about a table group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TableGroupStatus {
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
    /// Shards that are healthy.
    #[serde(default)]
    pub ready_shards: i32,
    /// All its shards.
    #[serde(default)]
    pub total_shards: i32,
}
reported!(TableGroupStatus);
