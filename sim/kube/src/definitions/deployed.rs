use super::*;

/// The definitions that are deployed.
const DEPLOYED: &[&str] = &[
    include_str!("../../../../deploy/crds/multigres.com_cells.yaml"),
    include_str!("../../../../deploy/crds/multigres.com_celltemplates.yaml"),
    include_str!("../../../../deploy/crds/multigres.com_coretemplates.yaml"),
    include_str!("../../../../deploy/crds/multigres.com_multigresclusters.yaml"),
    include_str!("../../../../deploy/crds/multigres.com_shards.yaml"),
    include_str!("../../../../deploy/crds/multigres.com_shardtemplates.yaml"),
    include_str!("../../../../deploy/crds/multigres.com_tablegroups.yaml"),
    include_str!("../../../../deploy/crds/multigres.com_toposervers.yaml"),
];

#[test]
fn the_deployed_definitions_are_valid() {
    for text in DEPLOYED {
        for mut definition in crate::manifests::parse(text).expect("a manifest") {
            default(&mut definition);
            assert_eq!(validate(&definition), [], "{}", json::name(&definition));
        }
    }
}
