//! `CellTemplate`: settings for cells that clusters can share.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cluster::no_local_topo_server;
use super::common::{LocalTopoServerSpec, StatelessSpec};

/// Settings for cells that clusters can share.
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "multigres.com",
    version = "v1alpha1",
    kind = "CellTemplate",
    plural = "celltemplates",
    shortname = "cet",
    namespaced,
    derive = "PartialEq",
    doc = "Settings for cells that clusters can share."
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = no_local_topo_server()))]
pub struct CellTemplateSpec {
    /// The gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multigateway: Option<StatelessSpec>,
    /// A topology server of the cell's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_topo_server: Option<LocalTopoServerSpec>,
}
