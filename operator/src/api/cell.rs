//! `Cell`: one failure domain of a cluster, with its gateway.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{
    CellImages, GlobalTopoServerRef, LocalTopoServerSpec, ObservabilityConfig, Phase, StatelessSpec, reported,
};

/// One failure domain, as the cluster's controller resolved it.
#[allow(clippy::duplicated_attributes, reason = "two columns may have the same type")]
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "multigres.com",
    version = "v1alpha1",
    kind = "Cell",
    plural = "cells",
    shortname = "cel",
    namespaced,
    status = "CellStatus",
    derive = "PartialEq",
    doc = "One failure domain of a cluster. Written by the operator.",
    printcolumn(name = "Gateway", type_ = "integer", json_path = ".status.gatewayReadyReplicas"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Available')].status"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase")
)]
#[serde(rename_all = "camelCase")]
pub struct CellSpec {
    /// The cell's name.
    #[schemars(length(min = 1, max = 30))]
    pub name: String,
    /// The availability zone that it stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub zone: Option<String>,
    /// The region that it stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub region: Option<String>,
    /// Container images.
    #[serde(default)]
    pub images: CellImages,
    /// The gateway.
    #[serde(default)]
    pub multigateway: StatelessSpec,
    /// All cells of the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 50),
        extend("x-kubernetes-list-type" = "set"),
        inner(length(min = 1, max = 30))
    )]
    pub all_cells: Vec<String>,
    /// The topology server that all cells share.
    pub global_topo_server: GlobalTopoServerRef,
    /// A topology server of the cell's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topo_server: Option<LocalTopoServerSpec>,
    /// What is done about the topology.
    #[serde(default)]
    pub topology_reconciliation: TopologyReconciliation,
    /// Telemetry of the data plane; the operator's own settings when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability: Option<ObservabilityConfig>,
}

/// What is done about the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopologyReconciliation {
    /// Whether the cell is registered in the topology.
    #[serde(default = "yes")]
    pub register_cell: bool,
    /// Always true, as in the original: records of poolers that are gone are removed with the shard they belonged to.
    #[serde(default = "yes")]
    pub prune_poolers: bool,
}

fn yes() -> bool {
    true
}

impl Default for TopologyReconciliation {
    fn default() -> Self {
        Self { register_cell: true, prune_poolers: true }
    }
}

/// What the operator says about a cell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CellStatus {
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
    /// Gateway pods that the specification asks for.
    #[serde(default)]
    pub gateway_replicas: i32,
    /// Gateway pods that are ready.
    #[serde(default)]
    pub gateway_ready_replicas: i32,
    /// The gateway's Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub gateway_service_name: Option<String>,
}
reported!(CellStatus);
