//! What no schema can say: that what is named exists, and that every part has a place to run.

use std::collections::BTreeSet;

use super::templates::{Lookup, Named};
use crate::{
    api::{MultigresCluster, cluster::ShardConfig},
    resolver,
};

/// One sentence for each template that is named and does not exist.
pub fn missing_templates(cluster: &MultigresCluster, templates: &Lookup) -> Vec<String> {
    let named = Named::by(&cluster.spec);
    let namespace = cluster.metadata.namespace.as_deref().unwrap_or("default");
    let missing = |kind: &str, names: BTreeSet<String>, exists: &dyn Fn(&String) -> bool| {
        let sentence = |name: &String| format!("referenced {kind} '{name}' not found in namespace '{namespace}'");
        names.iter().filter(|name| !exists(name)).map(sentence).collect::<Vec<_>>()
    };
    let mut all = missing("CoreTemplate", named.core, &|name| templates.core.contains_key(name));
    all.extend(missing("CellTemplate", named.cell, &|name| templates.cell.contains_key(name)));
    all.extend(missing("ShardTemplate", named.shard, &|name| templates.shard.contains_key(name)));
    all
}

/// Resolves every shard as it would be: what is wrong with them, or what is worth a warning.
pub fn logic(cluster: &MultigresCluster, templates: &Lookup) -> Result<Vec<String>, Vec<String>> {
    let (mut wrong, mut warnings) = (Vec::new(), Vec::new());
    let known: BTreeSet<&str> = cluster.spec.cells.iter().map(|cell| cell.name.as_str()).collect();
    let groups = cluster.spec.databases.iter().flat_map(|database| &database.tablegroups);
    for shard in groups.flat_map(|group| &group.shards) {
        match resolver::shard(&cluster.spec, shard, templates) {
            Err(error) => wrong.push(format!("shard '{}': {error}", shard.name)),
            Ok(resolved) => {
                let mut place = |part: &str, cells: &[String]| {
                    if cells.is_empty() {
                        wrong.push(format!("shard '{}': {part} matches no cells", shard.name));
                    }
                    for cell in cells.iter().filter(|cell| !known.contains(cell.as_str())) {
                        wrong.push(format!("shard '{}': {part} is assigned to unknown cell '{cell}'", shard.name));
                    }
                };
                place("multiorch", &resolved.multiorch.cells);
                for (name, pool) in &resolved.pools {
                    place(&format!("pool '{name}'"), &pool.cells);
                }
                warnings.extend(strange_overrides(cluster, shard, templates));
            }
        }
    }
    if wrong.is_empty() { Ok(warnings) } else { Err(wrong) }
}

/// Overrides of pools that the template does not have: they make a new pool, which may be a slip of the pen.
fn strange_overrides(cluster: &MultigresCluster, shard: &ShardConfig, templates: &Lookup) -> Vec<String> {
    let Some(overrides) = &shard.overrides else { return Vec::new() };
    let chosen = shard.shard_template.as_ref().or(cluster.spec.template_defaults.shard_template.as_ref());
    let Some((name, template)) = chosen.and_then(|name| Some((name, templates.shard.get(name)?))) else {
        return Vec::new();
    };
    overrides
        .pools
        .keys()
        .filter(|pool| !template.pools.contains_key(*pool))
        .map(|pool| {
            format!(
                "shard '{}': pool '{pool}' of its overrides is not in ShardTemplate '{name}' and becomes a new pool",
                shard.name
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::ShardTemplateSpec;

    fn cluster(spec: Value) -> MultigresCluster {
        let object = json!({"apiVersion": "multigres.com/v1alpha1", "kind": "MultigresCluster",
            "metadata": {"name": "minimal", "namespace": "default"}, "spec": spec});
        serde_json::from_value(object).unwrap()
    }

    fn with_shard(shard: Value) -> MultigresCluster {
        let mut shard = shard;
        shard["name"] = json!("0-inf");
        cluster(json!({
            "cells": [{"name": "zone-a", "zone": "a"}],
            "databases": [{"name": "postgres", "default": true, "tablegroups": [
                {"name": "default", "default": true, "shards": [shard]}]}]
        }))
    }

    fn templates() -> Lookup {
        let spec: ShardTemplateSpec =
            serde_json::from_value(json!({"pools": {"main": {"type": "readWrite"}}})).unwrap();
        Lookup { shard: [("small".to_owned(), spec)].into(), ..Lookup::default() }
    }

    #[test]
    fn what_is_named_has_to_exist_even_if_it_is_called_default() {
        let named = cluster(json!({
            "templateDefaults": {"coreTemplate": "default", "shardTemplate": "small"},
            "cells": [{"name": "z", "zone": "z", "cellTemplate": "huge"}]
        }));
        assert_eq!(
            missing_templates(&named, &templates()),
            [
                "referenced CoreTemplate 'default' not found in namespace 'default'",
                "referenced CellTemplate 'huge' not found in namespace 'default'"
            ]
        );
    }

    #[test]
    fn a_part_needs_a_cell_that_there_is() {
        let pool = |cells: Value| json!({"spec": {"pools": {"main": {"type": "readWrite", "cells": cells}}}});
        assert_eq!(logic(&with_shard(pool(json!(["zone-a"]))), &templates()), Ok(vec![]));
        assert_eq!(
            logic(&with_shard(pool(json!(["zone-b"]))), &templates()),
            Err(vec!["shard '0-inf': pool 'main' is assigned to unknown cell 'zone-b'".to_owned()])
        );
        let mut nowhere = with_shard(json!({}));
        nowhere.spec.cells.clear();
        assert_eq!(
            logic(&nowhere, &templates()),
            Err(vec![
                "shard '0-inf': multiorch matches no cells".to_owned(),
                "shard '0-inf': pool 'default' matches no cells".to_owned()
            ])
        );
    }

    #[test]
    fn an_override_of_a_pool_that_the_template_lacks_is_worth_a_warning() {
        let shard =
            |pool: &str| json!({"shardTemplate": "small", "overrides": {"pools": {pool: {"replicasPerCell": 1}}}});
        assert_eq!(logic(&with_shard(shard("main")), &templates()), Ok(vec![]));
        let warnings = logic(&with_shard(shard("mian")), &templates()).unwrap();
        assert_eq!(
            warnings,
            ["shard '0-inf': pool 'mian' of its overrides is not in ShardTemplate 'small' and becomes a new pool"]
        );
    }
}
