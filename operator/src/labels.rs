//! Labels of the objects that the operator creates, and the part of them that selectors use.

use std::collections::BTreeMap;

/// Labels or annotations, in the order in which they are written.
pub type Labels = BTreeMap<String, String>;

/// `app.kubernetes.io/name`.
pub const NAME: &str = "app.kubernetes.io/name";
/// `app.kubernetes.io/instance`: the cluster's name.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// `app.kubernetes.io/component`.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// `app.kubernetes.io/part-of`.
pub const PART_OF: &str = "app.kubernetes.io/part-of";
/// `app.kubernetes.io/managed-by`.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The cluster's name.
pub const CLUSTER: &str = "multigres.com/cluster";
/// The database's name.
pub const DATABASE: &str = "multigres.com/database";
/// The table group's name.
pub const TABLE_GROUP: &str = "multigres.com/tablegroup";
/// The shard's name.
pub const SHARD: &str = "multigres.com/shard";
/// The pool's name.
pub const POOL: &str = "multigres.com/pool";
/// The cell's name.
pub const CELL: &str = "multigres.com/cell";
/// The zone of a cell.
pub const ZONE: &str = "multigres.com/zone";
/// The region of a cell.
pub const REGION: &str = "multigres.com/region";

/// Annotation of a cluster: what the defaulting webhook put in where the user wrote nothing, one sentence each.
pub const IMPLICIT_DEFAULTS: &str = "multigres.com/implicit-defaults";

/// Value of [`NAME`] and [`PART_OF`].
pub const APP: &str = "multigres";
/// Value of [`MANAGED_BY`], and the operator's field manager.
pub const OPERATOR: &str = "multigres-operator";

/// Values of [`COMPONENT`].
pub mod component {
    /// The TopoServer custom resource.
    pub const GLOBAL_TOPO: &str = "global-topo";
    /// etcd's objects.
    pub const TOPO_SERVER: &str = "toposerver";
    /// MultiAdmin.
    pub const MULTIADMIN: &str = "multiadmin";
    /// MultiAdmin's web front end.
    pub const MULTIADMIN_WEB: &str = "multiadmin-web";
    /// The Cell custom resource.
    pub const CELL: &str = "cell";
    /// The TableGroup custom resource.
    pub const TABLE_GROUP: &str = "tablegroup";
    /// The Shard custom resource.
    pub const SHARD: &str = "shard";
    /// The gateway.
    pub const MULTIGATEWAY: &str = "multigateway";
    /// The orchestrator.
    pub const MULTIORCH: &str = "multiorch";
    /// The pool pods.
    pub const SHARD_POOL: &str = "shard-pool";
    /// The ConfigMap with the `pg_hba` template.
    pub const PG_HBA_CONFIG: &str = "pg-hba-config";
}

/// Labels that selectors may use. The others can change during an object's life.
const SELECTOR_LABELS: [&str; 8] = [COMPONENT, INSTANCE, CLUSTER, DATABASE, TABLE_GROUP, SHARD, POOL, CELL];

/// The five labels that every object carries.
pub fn standard(cluster: &str, component: &str) -> Labels {
    [(NAME, APP), (INSTANCE, cluster), (COMPONENT, component), (PART_OF, APP), (MANAGED_BY, OPERATOR)]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// [`standard`] labels and the given ones.
pub fn with(cluster: &str, component: &str, more: &[(&str, &str)]) -> Labels {
    let mut labels = standard(cluster, component);
    labels.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    labels
}

/// `ours` and what `custom` adds to them; where both have a key, `ours` wins.
pub fn merge(ours: Labels, custom: &Labels) -> Labels {
    let mut merged = custom.clone();
    merged.extend(ours);
    merged
}

/// The part of `labels` that a selector may use.
pub fn selector(labels: &Labels) -> Labels {
    labels
        .iter()
        .filter(|(key, _)| SELECTOR_LABELS.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_labels_win_over_custom_ones() {
        let custom = Labels::from([(COMPONENT.into(), "mine".into()), ("team".into(), "db".into())]);
        let merged = merge(standard("minimal", component::MULTIORCH), &custom);
        assert_eq!(merged[COMPONENT], "multiorch");
        assert_eq!(merged["team"], "db");
    }

    #[test]
    fn selectors_leave_out_what_may_change() {
        let labels = with("minimal", component::MULTIGATEWAY, &[(CELL, "zone-a"), (ZONE, "us-east-1a")]);
        let keys: Vec<String> = selector(&labels).into_keys().collect();
        assert_eq!(keys, [COMPONENT, INSTANCE, CELL]);
    }
}
