//! The custom resources, group `multigres.com`, version `v1alpha1`: one file a kind.
//!
//! Users write [`MultigresCluster`] and the three templates; [`Cell`], [`TableGroup`], [`Shard`] and
//! [`TopoServer`] are written by the operator. [`crds`] renders the definitions that `deploy/crds` holds.

pub mod cell;
pub mod cell_template;
pub mod cluster;
pub mod common;
pub mod core_template;
pub mod monitoring;
pub mod shard;
pub mod shard_template;
pub mod table_group;
pub mod topo_server;

mod definitions;

pub use cell::{Cell, CellSpec, CellStatus};
pub use cell_template::{CellTemplate, CellTemplateSpec};
pub use cluster::{MultigresCluster, MultigresClusterSpec, MultigresClusterStatus};
pub use core_template::{CoreTemplate, CoreTemplateSpec};
pub use definitions::crds;
pub use shard::{Shard, ShardSpec, ShardStatus};
pub use shard_template::{ShardTemplate, ShardTemplateSpec};
pub use table_group::{TableGroup, TableGroupSpec, TableGroupStatus};
pub use topo_server::{TopoServer, TopoServerSpec, TopoServerStatus};

/// The API group of every custom resource.
pub const GROUP: &str = "multigres.com";
/// The one version that is served and stored.
pub const VERSION: &str = "v1alpha1";
