//! `ShardTemplate`: settings for shards that clusters can share.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cluster::pool_rules;
use super::common::{MultiOrchSpec, POOLS_MAX, Pools, PvcDeletionPolicy};

/// Settings for shards that clusters can share.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "multigres.com",
    version = "v1alpha1",
    kind = "ShardTemplate",
    plural = "shardtemplates",
    shortname = "sht",
    namespaced,
    derive = "PartialEq",
    doc = "Settings for shards that clusters can share."
)]
#[serde(rename_all = "camelCase")]
pub struct ShardTemplateSpec {
    /// The orchestrator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiorch: Option<MultiOrchSpec>,
    /// The pools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = POOLS_MAX, "x-kubernetes-validations" = pool_rules()))]
    pub pools: Pools,
    /// What becomes of its volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pvc_deletion_policy: Option<PvcDeletionPolicy>,
}
