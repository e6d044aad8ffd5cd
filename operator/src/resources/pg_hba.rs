//! Who may connect to a shard's Postgres: the template that pgctld renders.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;

use super::pool::parts;
use super::{BuildError, child_meta, cluster_of};
use crate::api::Shard;
use crate::labels::{self, component};

/// The file in the ConfigMap.
pub const KEY: &str = "pg_hba_template.conf";

const TEMPLATE: &str = "\
# TYPE  DATABASE     USER       ADDRESS       METHOD
local   all          {{.User}}                trust
local   all          all                      peer
host    all          all        0.0.0.0/0     trust
host    all          all        ::/0          trust
host    replication  all        0.0.0.0/0     trust
host    replication  all        ::/0          trust
";

/// The shard's ConfigMap.
pub fn config_map(shard: &Shard) -> Result<ConfigMap, BuildError> {
    let ours = labels::standard(cluster_of(shard)?, component::PG_HBA_CONFIG);
    Ok(ConfigMap {
        metadata: child_meta(shard, parts(shard)?.pg_hba(), labels::merge(ours, shard.labels())),
        data: Some([(KEY.to_owned(), TEMPLATE.to_owned())].into()),
        ..ConfigMap::default()
    })
}
