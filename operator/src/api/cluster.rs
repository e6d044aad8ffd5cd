//! `MultigresCluster`: what a user asks for.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::LocalObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::common::{
    EtcdSpec, ExternalTopoServerSpec, ImagePullPolicy, LocalTopoServerSpec, MultiOrchSpec, ObservabilityConfig,
    POOLS_MAX, Phase, Pools, PvcDeletionPolicy, StatelessSpec, reported, rules,
};

/// A sharded Postgres: its cells, its databases, its topology server and its administration.
#[allow(clippy::duplicated_attributes, reason = "two columns may have the same type")]
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "multigres.com",
    version = "v1alpha1",
    kind = "MultigresCluster",
    plural = "multigresclusters",
    shortname = "mgc",
    namespaced,
    status = "MultigresClusterStatus",
    derive = "PartialEq",
    doc = "A sharded Postgres.",
    printcolumn(name = "Available", type_ = "string", json_path = ".status.conditions[?(@.type=='Available')].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase")
)]
#[serde(rename_all = "camelCase")]
pub struct MultigresClusterSpec {
    /// Container images.
    #[serde(default, skip_serializing_if = "is_default")]
    pub images: ClusterImages,
    /// Templates for what names none itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub template_defaults: TemplateDefaults,
    /// The topology server that all cells share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub global_topo_server: Option<GlobalTopoServerSpec>,
    /// MultiAdmin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiadmin: Option<MultiAdminConfig>,
    /// MultiAdmin's web front end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiadmin_web: Option<MultiAdminConfig>,
    /// Failure domains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 50),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub cells: Vec<CellConfig>,
    /// Databases; at present the one system database.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 1),
        extend(
            "x-kubernetes-list-type" = "map",
            "x-kubernetes-list-map-keys" = ["name"],
            "x-kubernetes-validations" = rules(&[(
                "self.all(db, db.name == 'postgres' && has(db.default) && db.default)",
                "only the single system database named 'postgres' with default: true is supported"
            )])
        )
    )]
    pub databases: Vec<DatabaseConfig>,
    /// What becomes of volume claims where nothing closer says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = json!({"whenDeleted": "Retain", "whenScaled": "Retain"})))]
    pub pvc_deletion_policy: Option<PvcDeletionPolicy>,
    /// Telemetry of the data plane; the operator's own settings when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability: Option<ObservabilityConfig>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Container images of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterImages {
    /// When images are pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// Secrets for private registries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// The gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub multigateway: Option<String>,
    /// The orchestrator.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub multiorch: Option<String>,
    /// The pooler.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub multipooler: Option<String>,
    /// MultiAdmin.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub multiadmin: Option<String>,
    /// MultiAdmin's web front end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub multiadmin_web: Option<String>,
    /// Postgres with its control daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub postgres: Option<String>,
}

/// Names of templates in the cluster's namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateDefaults {
    /// A CoreTemplate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub core_template: Option<String>,
    /// A CellTemplate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub cell_template: Option<String>,
    /// A ShardTemplate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub shard_template: Option<String>,
}

/// Where the global topology server comes from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "[has(self.etcd), has(self.external), has(self.templateRef)].filter(set, set).size() == 1",
        "must specify exactly one of 'etcd', 'external', or 'templateRef'"
    ),
    (
        "!has(self.etcd) || !has(oldSelf.etcd) || !has(self.etcd.replicas) || !has(oldSelf.etcd.replicas) \
         || self.etcd.replicas == oldSelf.etcd.replicas",
        "etcd replicas cannot be changed after creation: members cannot be added or removed; keep the number, or create \
         another cluster"
    ),
])))]
pub struct GlobalTopoServerSpec {
    /// One that the operator runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdSpec>,
    /// One that somebody else runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalTopoServerSpec>,
    /// A CoreTemplate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub template_ref: Option<String>,
    /// What becomes of its volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pvc_deletion_policy: Option<PvcDeletionPolicy>,
}

/// MultiAdmin or its web front end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("has(self.spec) || has(self.templateRef)", "must specify either 'spec' or 'templateRef'"),
    (
        "!(has(self.spec) && has(self.templateRef))",
        "cannot specify both 'spec' and 'templateRef': a 'spec' is filled in where nothing was written; set it to null"
    ),
])))]
pub struct MultiAdminConfig {
    /// The specification itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<StatelessSpec>,
    /// A CoreTemplate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub template_ref: Option<String>,
}

/// One failure domain.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "!(has(self.spec) && has(self.cellTemplate))",
        "cannot specify both 'spec' and 'cellTemplate': a 'spec' is filled in where nothing was written; set it to null"
    ),
    (
        "!(has(self.spec) && has(self.overrides))",
        "cannot specify both 'spec' and 'overrides': a 'spec' is filled in where nothing was written; set it to null"
    ),
    ("has(self.zone) != has(self.region)", "must specify exactly one of 'zone' or 'region'"),
])))]
pub struct CellConfig {
    /// The cell's name.
    #[schemars(length(min = 1, max = 30), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The availability zone that it stands for, kept as a label: it places no pod by itself, which is what `affinity` is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"))]
    pub zone: Option<String>,
    /// The region that it stands for, kept as a label: it places no pod by itself, which is what `affinity` is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"))]
    pub region: Option<String>,
    /// A CellTemplate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub cell_template: Option<String>,
    /// What differs from the template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overrides: Option<CellOverrides>,
    /// The specification itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<CellInlineSpec>,
}

/// What differs from a CellTemplate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CellOverrides {
    /// The gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multigateway: Option<StatelessSpec>,
}

/// A cell written in the cluster itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = no_local_topo_server()))]
pub struct CellInlineSpec {
    /// The gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multigateway: Option<StatelessSpec>,
    /// A topology server of the cell's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_topo_server: Option<LocalTopoServerSpec>,
}

/// A database.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseConfig {
    /// Its name.
    #[schemars(length(min = 1, max = 30), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Whether it is the system database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// Groups of tables that are sharded alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 20),
        extend(
            "x-kubernetes-list-type" = "map",
            "x-kubernetes-list-map-keys" = ["name"],
            "x-kubernetes-validations" = rules(&[(
                "self.filter(group, has(group.default) && group.default).size() == 1",
                "every database must have exactly one tablegroup with default: true"
            )])
        )
    )]
    pub tablegroups: Vec<TableGroupConfig>,
}

/// A group of tables that are sharded alike.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "!has(self.default) || !self.default || self.name == 'default'",
    "the default tablegroup must be named 'default'"
)])))]
pub struct TableGroupConfig {
    /// Its name.
    #[schemars(length(min = 1, max = 25), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Whether tables without a group belong to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// Its shards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub shards: Vec<ShardConfig>,
    /// What becomes of its volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pvc_deletion_policy: Option<PvcDeletionPolicy>,
}

/// A shard.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "!(has(self.spec) && has(self.shardTemplate))",
        "cannot specify both 'spec' and 'shardTemplate': a 'spec' is filled in where nothing was written; set it to null"
    ),
    (
        "!(has(self.spec) && has(self.overrides))",
        "cannot specify both 'spec' and 'overrides': a 'spec' is filled in where nothing was written; set it to null"
    ),
])))]
pub struct ShardConfig {
    /// Its name: its range of keys.
    #[schemars(
        length(min = 1, max = 25),
        extend("x-kubernetes-validations" = rules(&[("self == '0-inf'", "shard name must be strictly '0-inf'")]))
    )]
    pub name: String,
    /// A ShardTemplate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub shard_template: Option<String>,
    /// What differs from the template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overrides: Option<ShardOverrides>,
    /// The specification itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<ShardInlineSpec>,
}

/// What differs from a ShardTemplate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardOverrides {
    /// The orchestrator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiorch: Option<MultiOrchSpec>,
    /// The pools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = POOLS_MAX, "x-kubernetes-validations" = pool_rules()))]
    pub pools: Pools,
}

/// A shard written in the cluster itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardInlineSpec {
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

/// A topology server of a cell's own has its place in the schema; nothing runs one yet.
pub(crate) fn no_local_topo_server() -> serde_json::Value {
    rules(&[("!has(self.localTopoServer)", "cell-local topology servers ('localTopoServer') are not supported yet")])
}

/// Rules for a map of pools.
pub(crate) fn pool_rules() -> serde_json::Value {
    rules(&[
        ("self.all(key, size(key) <= 25)", "pool names must be <= 25 characters"),
        ("oldSelf.all(key, key in self)", "pools cannot be removed or renamed in this version (append-only)"),
    ])
}

/// What the operator says about a cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MultigresClusterStatus {
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
    /// Cells by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 50))]
    pub cells: BTreeMap<String, CellSummary>,
    /// Databases by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 50))]
    pub databases: BTreeMap<String, DatabaseSummary>,
}
reported!(MultigresClusterStatus);

/// One cell in the cluster's status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CellSummary {
    /// Whether its gateway is available.
    pub ready: bool,
    /// Number of its gateway pods.
    pub gateway_replicas: i32,
}

/// One database in the cluster's status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseSummary {
    /// Shards that are healthy.
    pub ready_shards: i32,
    /// All its shards.
    pub total_shards: i32,
}
