//! What is filled in where neither the cluster nor a template says anything.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Image of Postgres with its control daemon.
pub const POSTGRES_IMAGE: &str = "ghcr.io/multigres/pgctld:main";
/// Image of MultiAdmin, gateway, orchestrator and pooler.
pub const MULTIGRES_IMAGE: &str = "ghcr.io/multigres/multigres:main";
/// Image of MultiAdmin's web front end.
pub const MULTIADMIN_WEB_IMAGE: &str = "docker.io/multigres/multiadmin-web:latest";
/// Image of etcd.
pub const ETCD_IMAGE: &str = "gcr.io/etcd-development/etcd:v3.6.7";
/// Members of the global topology server.
pub const ETCD_REPLICAS: i32 = 3;
/// Volume of an etcd member.
pub const ETCD_STORAGE_SIZE: &str = "1Gi";
/// Pods of MultiAdmin, and of its web front end.
pub const MULTIADMIN_REPLICAS: i32 = 1;
/// Gateway pods a cell.
pub const MULTIGATEWAY_REPLICAS: i32 = 1;
/// Orchestrator pods a cell.
pub const MULTIORCH_REPLICAS: i32 = 1;
/// Pods of a pool in a cell: what a durability policy of "any two" needs.
pub const POOL_REPLICAS_PER_CELL: i32 = 3;
/// Data volume of a pool pod.
pub const POOL_STORAGE_SIZE: &str = "1Gi";
/// Backup volume of a pool in a cell.
pub const BACKUP_STORAGE_SIZE: &str = "10Gi";
/// The system database.
pub const DATABASE: &str = "postgres";
/// The default table group.
pub const TABLE_GROUP: &str = "default";
/// The shard that covers all keys.
pub const SHARD: &str = "0-inf";
/// The pool of a shard that names none.
pub const POOL: &str = "default";
/// Name of the templates that are used without being named.
pub const TEMPLATE: &str = "default";
/// Key of the global topology.
pub const TOPO_ROOT: &str = "/multigres/global";
/// Implementation of the global topology.
pub const TOPO_IMPLEMENTATION: &str = "etcd";

/// Requests and the memory limit of a container (no CPU limit: throttling is worse than sharing).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compute {
    cpu: &'static str,
    memory: &'static str,
    memory_max: &'static str,
}

/// MultiAdmin.
pub const MULTIADMIN: Compute = Compute { cpu: "100m", memory: "128Mi", memory_max: "256Mi" };
/// MultiAdmin's web front end.
pub const MULTIADMIN_WEB: Compute = Compute { cpu: "50m", memory: "64Mi", memory_max: "128Mi" };
/// etcd.
pub const ETCD: Compute = Compute { cpu: "100m", memory: "256Mi", memory_max: "512Mi" };
/// The gateway.
pub const MULTIGATEWAY: Compute = Compute { cpu: "100m", memory: "128Mi", memory_max: "256Mi" };
/// The orchestrator.
pub const MULTIORCH: Compute = Compute { cpu: "50m", memory: "64Mi", memory_max: "128Mi" };
/// Postgres.
pub const POSTGRES: Compute = Compute { cpu: "100m", memory: "256Mi", memory_max: "512Mi" };
/// The pooler.
pub const MULTIPOOLER: Compute = Compute { cpu: "100m", memory: "128Mi", memory_max: "256Mi" };

impl From<Compute> for ResourceRequirements {
    fn from(compute: Compute) -> Self {
        let quantities = |pairs: &[(&str, &str)]| -> BTreeMap<String, Quantity> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), Quantity((*value).to_owned()))).collect()
        };
        Self {
            requests: Some(quantities(&[("cpu", compute.cpu), ("memory", compute.memory)])),
            limits: Some(quantities(&[("memory", compute.memory_max)])),
            ..Self::default()
        }
    }
}
