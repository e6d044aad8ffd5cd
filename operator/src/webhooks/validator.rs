//! What no schema can say: that what is named exists, that every part has a place to run, and that what a cluster is resolved to can be
//! written.

use std::collections::{BTreeMap, BTreeSet};

use super::templates::{Lookup, Named};
use crate::{
    api::{
        MultigresCluster,
        cluster::ShardConfig,
        common::{GlobalTopoServerRef, POD_METADATA_MAX, POOLS_MAX},
        table_group::ResolvedShard,
    },
    names::ShardParts,
    resolver::{self, NoTemplates},
    resources::pool::replicas,
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

/// What the definitions of its children would refuse of a cluster once it is resolved: pools that vanish, or more than there may be. `old`
/// is the cluster as it is.
pub fn resolved(cluster: &MultigresCluster, old: Option<&MultigresCluster>, templates: &Lookup) -> Vec<String> {
    let shards = resolved_shards(cluster, templates);
    let mut wrong = cells_out_of_limits(cluster, templates);
    for ((_, group, name), shard) in &shards {
        let place = format!("shard '{name}' of tablegroup '{group}'");
        wrong.extend(shard_out_of_limits(&place, shard));
    }
    for (key, before) in old.map(|old| resolved_shards(old, templates)).unwrap_or_default() {
        let Some(now) = shards.get(&key) else { continue };
        let (_, group, name) = &key;
        wrong.extend(before.pools.keys().filter(|pool| !now.pools.contains_key(*pool)).map(|pool| {
            format!(
                "shard '{name}' of tablegroup '{group}': pool '{pool}' would be gone: pools cannot be removed or renamed in this \
                 version (append-only); keep it in the template, the overrides or the spec"
            )
        }));
    }
    wrong
}

/// Shards by database, table group and name. Those that cannot be resolved are left out.
fn resolved_shards(
    cluster: &MultigresCluster,
    templates: &Lookup,
) -> BTreeMap<(String, String, String), ResolvedShard> {
    let mut spec = cluster.spec.clone();
    resolver::populate_defaults(&mut spec, templates);
    let mut shards = BTreeMap::new();
    for database in &spec.databases {
        for group in &database.tablegroups {
            for shard in &group.shards {
                if let Ok(resolved) = resolver::shard(&spec, shard, templates) {
                    shards.insert((database.name.clone(), group.name.clone(), shard.name.clone()), resolved);
                }
            }
        }
    }
    shards
}

fn too_many(place: &str, what: &str, count: usize, max: usize) -> Option<String> {
    (count > max)
        .then(|| format!("{place}: template and overrides make {count} {what} together, and there can be {max}"))
}

fn shard_out_of_limits(place: &str, shard: &ResolvedShard) -> Vec<String> {
    let orch = format!("{place}: multiorch");
    let counts = [
        too_many(place, "pools", shard.pools.len(), POOLS_MAX),
        too_many(&orch, "podLabels", shard.multiorch.pod_labels.len(), POD_METADATA_MAX),
        too_many(&orch, "podAnnotations", shard.multiorch.pod_annotations.len(), POD_METADATA_MAX),
    ];
    let names = shard.pools.keys().filter(|pool| !is_dns_name(pool)).map(|pool| {
        format!(
            "{place}: pool '{pool}' has a name that labels cannot hold: lower case letters, digits and '-', beginning and ending with \
             a letter or digit"
        )
    });
    counts.into_iter().flatten().chain(names).collect()
}

fn cells_out_of_limits(cluster: &MultigresCluster, templates: &Lookup) -> Vec<String> {
    let topo = GlobalTopoServerRef::default();
    let mut wrong = Vec::new();
    for config in &cluster.spec.cells {
        let Ok(cell) = resolver::cell(cluster, config, &topo, templates) else { continue };
        let place = format!("cell '{}': multigateway", config.name);
        wrong.extend(too_many(&place, "podLabels", cell.multigateway.pod_labels.len(), POD_METADATA_MAX));
        wrong.extend(too_many(&place, "podAnnotations", cell.multigateway.pod_annotations.len(), POD_METADATA_MAX));
    }
    wrong
}

/// What the definitions ask of all other names; they cannot ask it of the keys of a map.
fn is_dns_name(name: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    edge(name.as_bytes().first())
        && edge(name.as_bytes().last())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// One sentence for each other cluster whose records lie where those of `cluster`, which uses somebody else's topology server, would: each
/// would take the other's for its own. Servers are known by what they are called.
pub fn shared_topology(cluster: &MultigresCluster, others: &[MultigresCluster]) -> Vec<String> {
    let places = |cluster: &MultigresCluster| -> BTreeSet<(String, String)> {
        let Ok(topo) = resolver::global_topo(cluster, &NoTemplates) else { return BTreeSet::new() };
        let server = |address: &str| {
            let address = address.split_once("://").map_or(address, |(_, authority)| authority);
            address.trim_end_matches('/').to_ascii_lowercase()
        };
        let root = topo.reference.root_path.trim_end_matches('/').to_owned();
        topo.reference.addresses().map(|address| (server(address), root.clone())).collect()
    };
    let id = |cluster: &MultigresCluster| (cluster.metadata.namespace.clone(), cluster.metadata.name.clone());
    let own = places(cluster);
    let mut wrong = Vec::new();
    for other in others.iter().filter(|other| id(other) != id(cluster)) {
        if let Some((server, root)) = places(other).intersection(&own).next() {
            let (namespace, name) = id(other);
            wrong.push(format!(
                "the topology server {server} keeps MultigresCluster {}/{} under {root}: two clusters cannot share a rootPath, choose \
                 another",
                namespace.unwrap_or_default(),
                name.unwrap_or_default()
            ));
        }
    }
    wrong
}

/// What stays where the topology was, when a change moves it. The operator does not follow: under another address may be the same server,
/// and then its records are those in use.
pub fn records_left_behind(cluster: &MultigresCluster, old: &MultigresCluster, templates: &Lookup) -> Option<String> {
    let place = |cluster| resolver::global_topo(cluster, templates).ok().map(|topo| topo.reference);
    let (before, after) = (place(old)?, place(cluster)?);
    let moves =
        before.root_path != after.root_path || !before.addresses().any(|was| after.addresses().any(|is| is == was));
    moves.then(|| {
        format!(
            "the topology moves from {} of {} to {} of {}: cells, databases and pods are registered anew there; records that stay behind \
             have to be deleted by hand",
            before.root_path, before.address, after.root_path, after.address
        )
    })
}

/// Characters of an `application_name` that Postgres keeps.
const APPLICATION_NAME_MAX: usize = 63;

/// Cells whose names leave no room for those of their pools' pods: a replica calls itself `CELL_POD` when it connects to its primary, Postgres
/// cuts that, and a primary that waits for its replicas by name waits for ever.
pub fn cut_replica_names(cluster: &MultigresCluster, templates: &Lookup) -> Vec<String> {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let mut longest: BTreeMap<&str, usize> = BTreeMap::new();
    let shards = resolved_shards(cluster, templates);
    for ((database, table_group, shard), resolved) in &shards {
        let parts = ShardParts { cluster: name, database, table_group, shard };
        for (pool, spec) in resolved.pools.iter().filter(|(_, spec)| replicas(spec) > 1) {
            for cell in &spec.cells {
                let pod = format!("{}-{}", parts.pool(pool, cell), replicas(spec) - 1);
                let over = (cell.len() + 1 + pod.len()).saturating_sub(APPLICATION_NAME_MAX);
                let known = longest.entry(cell).or_default();
                *known = over.max(*known);
            }
        }
    }
    let too_long = longest.into_iter().filter(|(_, over)| *over > 0);
    let sentence = |(cell, over): (&str, usize)| {
        format!(
            "cell '{cell}': with the names of its pods it is {over} character(s) longer than Postgres keeps of a replica's name \
             ({APPLICATION_NAME_MAX}): a primary would wait for ever for replicas there; choose a shorter name"
        )
    };
    too_long.map(sentence).collect()
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

    #[test]
    fn a_pool_cannot_vanish_by_another_template_nor_by_fewer_overrides() {
        let other: ShardTemplateSpec = serde_json::from_value(json!({"pools": {"other": {}}})).unwrap();
        let mut templates = templates();
        templates.shard.insert("other".to_owned(), other);
        let inline = with_shard(json!({"spec": {"pools": {"mine": {}}}}));
        let small = with_shard(json!({"shardTemplate": "small"}));
        let more = with_shard(json!({"shardTemplate": "small", "overrides": {"pools": {"more": {}}}}));
        let gone = |pool: &str| {
            vec![format!(
                "shard '0-inf' of tablegroup 'default': pool '{pool}' would be gone: pools cannot be removed or renamed in this \
                 version (append-only); keep it in the template, the overrides or the spec"
            )]
        };
        assert_eq!(resolved(&small, Some(&inline), &templates), gone("mine"));
        assert_eq!(resolved(&small, Some(&more), &templates), gone("more"));
        assert_eq!(resolved(&more, Some(&small), &templates), Vec::<String>::new());
        let other = with_shard(json!({"shardTemplate": "other"}));
        assert_eq!(resolved(&other, Some(&small), &templates), gone("main"));
        assert_eq!(resolved(&other, None, &templates), Vec::<String>::new());
        let nothing = cluster(json!({"cells": [{"name": "zone-a", "zone": "a"}]}));
        let mut by_default = nothing.clone();
        by_default.spec.template_defaults.shard_template = Some("small".to_owned());
        assert_eq!(resolved(&by_default, Some(&nothing), &templates), gone("default"));
    }

    #[test]
    fn template_and_overrides_together_keep_the_limits() {
        let many = |count: usize, value: Value| -> Value {
            (0..count).map(|n| (format!("p{n}"), value.clone())).collect::<serde_json::Map<_, _>>().into()
        };
        let overrides = |pools: usize, labels: usize| {
            with_shard(json!({"shardTemplate": "small", "overrides": {
                "pools": many(pools, json!({})), "multiorch": {"podLabels": many(labels, json!("x"))}}}))
        };
        assert_eq!(resolved(&overrides(7, 20), None, &templates()), Vec::<String>::new());
        assert_eq!(
            resolved(&overrides(8, 21), None, &templates()),
            [
                "shard '0-inf' of tablegroup 'default': template and overrides make 9 pools together, and there can be 8",
                "shard '0-inf' of tablegroup 'default': multiorch: template and overrides make 21 podLabels together, and there \
                 can be 20"
            ]
        );
        let mut cells = overrides(0, 0);
        cells.spec.cells[0].overrides =
            serde_json::from_value(json!({"multigateway": {"podAnnotations": many(21, json!("x"))}})).unwrap();
        assert_eq!(
            resolved(&cells, None, &templates()),
            [
                "cell 'zone-a': multigateway: template and overrides make 21 podAnnotations together, and there can be 20"
            ]
        );
        let spaced = with_shard(json!({"spec": {"pools": {"Main Pool": {}}}}));
        assert!(
            resolved(&spaced, None, &templates())[0].contains("pool 'Main Pool' has a name that labels cannot hold")
        );
    }

    #[test]
    fn a_cell_whose_name_cuts_those_of_its_replicas_is_worth_a_warning() {
        let in_cell = |name: &str, replicas: i32| {
            let mut cluster = with_shard(json!({"spec": {"pools": {"default": {
                "type": "readWrite", "cells": [name], "replicasPerCell": replicas}}}}));
            cluster.spec.cells[0].name = name.to_owned();
            cut_replica_names(&cluster, &templates())
        };
        assert_eq!(in_cell("zone-aaa", 3), Vec::<String>::new());
        assert_eq!(
            in_cell("us-east-1a", 3),
            [
                "cell 'us-east-1a': with the names of its pods it is 2 character(s) longer than Postgres keeps of a replica's name \
              (63): a primary would wait for ever for replicas there; choose a shorter name"
            ]
        );
        assert_eq!(in_cell("us-east-1a", 1), Vec::<String>::new(), "nobody to wait for");
    }

    #[test]
    fn a_topology_that_moves_leaves_its_records_behind() {
        let managed = |root: &str| cluster(json!({"globalTopoServer": {"etcd": {"rootPath": root}}}));
        let external = |servers: Value| {
            cluster(json!({"globalTopoServer": {"external": {"endpoints": servers, "rootPath": "/a"}}}))
        };
        let told = |old: &MultigresCluster, new: &MultigresCluster| records_left_behind(new, old, &templates());
        assert_eq!(told(&managed("/a"), &managed("/a")), None);
        assert_eq!(
            told(&managed("/a"), &managed("/b")).unwrap(),
            "the topology moves from /a of minimal-global-topo.default.svc:2379 to /b of minimal-global-topo.default.svc:2379: cells, \
             databases and pods are registered anew there; records that stay behind have to be deleted by hand"
        );
        assert!(told(&managed("/a"), &external(json!(["http://etcd:2379"]))).is_some());
        let (one, two) = (external(json!(["http://a:2379", "http://b:2379"])), external(json!(["http://b:2379"])));
        assert_eq!(told(&one, &two), None, "the same server");
        assert!(told(&two, &external(json!(["http://c:2379"]))).is_some());
    }

    #[test]
    fn two_clusters_do_not_share_a_place_in_a_topology() {
        let of = |name: &str, topo: Value| {
            let mut cluster = cluster(json!({"globalTopoServer": topo}));
            cluster.metadata.name = Some(name.to_owned());
            cluster
        };
        let external = |endpoints: Value, root: &str| json!({"external": {"endpoints": endpoints, "rootPath": root}});
        let others = [
            of("one", external(json!(["http://etcd:2379", "http://etcd2:2379"]), "/one")),
            of("own", json!({"etcd": {}})),
            of("somewhere", json!({"templateRef": "x"})),
        ];
        let told = |name: &str, endpoint: &str, root: &str| {
            shared_topology(&of(name, external(json!([endpoint]), root)), &others)
        };
        assert_eq!(told("two", "http://etcd:2379", "/two"), Vec::<String>::new());
        assert_eq!(told("one", "http://etcd:2379", "/one"), Vec::<String>::new(), "its own place");
        assert_eq!(
            told("two", "http://ETCD2:2379/", "/one/"),
            [
                "the topology server etcd2:2379 keeps MultigresCluster default/one under /one: two clusters cannot share a rootPath, \
              choose another"
            ]
        );
        assert_eq!(told("two", "http://own-global-topo.default.svc:2379", "/multigres/global").len(), 1);
    }
}
