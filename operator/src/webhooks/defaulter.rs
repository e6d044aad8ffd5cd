//! What a user left out, written down where they can see it.
//!
//! Where a template has a say (named, by default, or called `default`), nothing is written: the object goes on following its template.

use crate::{
    api::{
        MultigresCluster,
        cluster::{CellInlineSpec, GlobalTopoServerSpec, MultiAdminConfig, ShardInlineSpec},
        common::GlobalTopoServerRef,
    },
    resolver::{self, TemplateSource, defaults},
};

/// Fills in what is left out. What cannot be resolved is left as it is: the validator says why. Answers with a sentence for each pool
/// that was put in.
pub fn fill_in(cluster: &mut MultigresCluster, templates: &dyn TemplateSource) -> Vec<String> {
    let decisions = resolver::populate_defaults(&mut cluster.spec, templates);
    let chosen = &mut cluster.spec.template_defaults;
    for (chosen, exists) in [
        (&mut chosen.core_template, templates.core(defaults::TEMPLATE).is_some()),
        (&mut chosen.cell_template, templates.cell(defaults::TEMPLATE).is_some()),
        (&mut chosen.shard_template, templates.shard(defaults::TEMPLATE).is_some()),
    ] {
        if chosen.is_none() && exists {
            *chosen = Some(defaults::TEMPLATE.to_owned());
        }
    }
    if cluster.spec.template_defaults.core_template.is_none() {
        core(cluster, templates);
    }
    if cluster.spec.template_defaults.cell_template.is_none() {
        cells(cluster, templates);
    }
    if cluster.spec.template_defaults.shard_template.is_none() {
        shards(cluster, templates);
    }
    decisions
}

fn core(cluster: &mut MultigresCluster, templates: &dyn TemplateSource) {
    let topo = cluster.spec.global_topo_server.clone().unwrap_or_default();
    if topo.template_ref.is_none()
        && topo.external.is_none()
        && let Ok(resolved) = resolver::global_topo(cluster, templates)
        && let Some(managed) = resolved.managed
    {
        cluster.spec.global_topo_server = Some(GlobalTopoServerSpec { etcd: Some(managed.etcd), ..topo });
    }
    let named = |config: &Option<MultiAdminConfig>| config.as_ref().is_some_and(|config| config.template_ref.is_some());
    if !named(&cluster.spec.multiadmin)
        && let Ok(spec) = resolver::multiadmin(cluster, templates)
    {
        cluster.spec.multiadmin = Some(MultiAdminConfig { spec: Some(spec), template_ref: None });
    }
    if !named(&cluster.spec.multiadmin_web)
        && let Ok(spec) = resolver::multiadmin_web(cluster, templates)
    {
        cluster.spec.multiadmin_web = Some(MultiAdminConfig { spec: Some(spec), template_ref: None });
    }
}

fn cells(cluster: &mut MultigresCluster, templates: &dyn TemplateSource) {
    let topo = GlobalTopoServerRef::default();
    let resolved: Vec<_> = cluster
        .spec
        .cells
        .iter()
        .map(|cell| {
            let own = cell.cell_template.is_none() && cell.overrides.is_none();
            own.then(|| resolver::cell(cluster, cell, &topo, templates).ok()).flatten()
        })
        .collect();
    for (cell, resolved) in cluster.spec.cells.iter_mut().zip(resolved) {
        if let Some(resolved) = resolved {
            let local_topo_server = cell.spec.take().and_then(|spec| spec.local_topo_server);
            cell.spec = Some(CellInlineSpec { multigateway: Some(resolved.multigateway), local_topo_server });
        }
    }
}

fn shards(cluster: &mut MultigresCluster, templates: &dyn TemplateSource) {
    // Without cells, so that those of pools and orchestrators stay what they are: all there are, also those that come later.
    let mut without_cells = cluster.spec.clone();
    without_cells.cells.clear();
    let groups = cluster.spec.databases.iter_mut().flat_map(|database| &mut database.tablegroups);
    for shard in groups.flat_map(|group| &mut group.shards) {
        if shard.shard_template.is_some() || shard.overrides.is_some() {
            continue;
        }
        if let Ok(resolved) = resolver::shard(&without_cells, shard, templates) {
            let pvc_deletion_policy = shard.spec.take().and_then(|spec| spec.pvc_deletion_policy);
            shard.spec = Some(ShardInlineSpec {
                multiorch: Some(resolved.multiorch),
                pools: resolved.pools,
                pvc_deletion_policy,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::{CellTemplateSpec, CoreTemplateSpec, ShardTemplateSpec},
        resolver::NoTemplates,
    };

    fn cluster(spec: Value) -> MultigresCluster {
        let object = json!({"apiVersion": "multigres.com/v1alpha1", "kind": "MultigresCluster",
            "metadata": {"name": "minimal", "namespace": "default"}, "spec": spec});
        serde_json::from_value(object).unwrap()
    }

    struct Everything;
    impl TemplateSource for Everything {
        fn core(&self, _: &str) -> Option<CoreTemplateSpec> {
            Some(CoreTemplateSpec::default())
        }
        fn cell(&self, _: &str) -> Option<CellTemplateSpec> {
            Some(CellTemplateSpec::default())
        }
        fn shard(&self, _: &str) -> Option<ShardTemplateSpec> {
            Some(ShardTemplateSpec::default())
        }
    }

    #[test]
    fn a_minimal_cluster_says_everything_afterwards_and_is_filled_in_once() {
        let mut filled = cluster(json!({"cells": [{"name": "zone-a", "zone": "a"}]}));
        assert_eq!(fill_in(&mut filled, &NoTemplates).len(), 1);
        let spec = serde_json::to_value(&filled.spec).unwrap();
        assert_eq!(spec["globalTopoServer"]["etcd"]["replicas"], 3);
        assert!(spec["multiadmin"]["spec"]["replicas"].is_number());
        assert!(spec["cells"][0]["spec"]["multigateway"]["replicas"].is_number());
        let shard = &spec["databases"][0]["tablegroups"][0]["shards"][0]["spec"];
        assert_eq!(shard["pools"]["default"]["replicasPerCell"], 3);
        // Cells that come later belong to it, too.
        assert_eq!(shard["pools"]["default"].get("cells").unwrap_or(&json!([])), &json!([]));
        let once = filled.clone();
        assert!(fill_in(&mut filled, &NoTemplates).is_empty());
        assert_eq!(filled, once);
    }

    #[test]
    fn what_is_filled_in_resolves_to_what_it_resolved_to_before() {
        let before = cluster(json!({"cells": [{"name": "zone-a", "zone": "a"}, {"name": "zone-b", "zone": "b"}]}));
        let mut filled = before.clone();
        fill_in(&mut filled, &NoTemplates);
        let resolve = |mut cluster: MultigresCluster| {
            resolver::populate_defaults(&mut cluster.spec, &NoTemplates);
            let topo = resolver::global_topo(&cluster, &NoTemplates).unwrap();
            let cells: Vec<_> = cluster
                .spec
                .cells
                .iter()
                .map(|cell| resolver::cell(&cluster, cell, &topo.reference, &NoTemplates).unwrap())
                .collect();
            let database = &cluster.spec.databases[0];
            let group =
                resolver::table_group(&cluster, database, &database.tablegroups[0], &topo.reference, &NoTemplates);
            (topo, cells, group.unwrap())
        };
        assert_eq!(resolve(filled), resolve(before));
    }

    #[test]
    fn what_follows_a_template_goes_on_following_it() {
        let mut filled = cluster(json!({"cells": [{"name": "zone-a", "zone": "a"}]}));
        fill_in(&mut filled, &Everything);
        let spec = serde_json::to_value(&filled.spec).unwrap();
        assert_eq!(
            spec["templateDefaults"],
            json!({"coreTemplate": "default", "cellTemplate": "default", "shardTemplate": "default"})
        );
        assert!(spec.get("globalTopoServer").is_none() && spec.get("multiadmin").is_none(), "{spec}");
        assert!(spec["cells"][0].get("spec").is_none());
        assert!(spec["databases"][0]["tablegroups"][0]["shards"][0].get("spec").is_none());
    }
}
