//! What the minimal sample becomes, object by object, as reviewed YAML.

use std::collections::BTreeMap;

use serde::Serialize;

use super::test_objects::{cell, cluster, operator_env, shard, table_group, topo, topo_server};
use super::{children, gateway, multiadmin, orch, pg_hba, pool, topo_server as etcd};
use crate::resolver::{self, NoTemplates};

fn yaml(object: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(object).unwrap()
}

#[test]
fn the_custom_resources_of_the_minimal_sample() {
    insta::assert_yaml_snapshot!("topo_server", yaml(&topo_server()));
    insta::assert_yaml_snapshot!("cell", yaml(&cell()));
    insta::assert_yaml_snapshot!("table_group", yaml(&table_group()));
    insta::assert_yaml_snapshot!("shard", yaml(&shard()));
}

#[test]
fn etcd_of_the_minimal_sample() {
    insta::assert_yaml_snapshot!("etcd_stateful_set", yaml(&etcd::stateful_set(&topo_server(), 3).unwrap()));
    insta::assert_yaml_snapshot!("etcd_headless_service", yaml(&etcd::headless(&topo_server()).unwrap()));
    insta::assert_yaml_snapshot!("etcd_client_service", yaml(&etcd::client(&topo_server()).unwrap()));
}

#[test]
fn multiadmin_of_the_minimal_sample() {
    let (cluster, env) = (cluster(), operator_env());
    let admin = resolver::multiadmin(&cluster, &NoTemplates).unwrap();
    let web = resolver::multiadmin_web(&cluster, &NoTemplates).unwrap();
    let admin = multiadmin::admin_deployment(&cluster, &admin, &topo().reference, &env);
    insta::assert_yaml_snapshot!("multiadmin_deployment", yaml(&admin));
    insta::assert_yaml_snapshot!("multiadmin_service", yaml(&multiadmin::admin_service(&cluster, &env)));
    insta::assert_yaml_snapshot!("multiadmin_web_deployment", yaml(&multiadmin::web_deployment(&cluster, &web)));
    insta::assert_yaml_snapshot!("multiadmin_web_service", yaml(&multiadmin::web_service(&cluster)));
}

#[test]
fn the_gateway_of_the_minimal_sample() {
    let deployment = gateway::gateway_deployment(&cell(), &operator_env()).unwrap();
    insta::assert_yaml_snapshot!("gateway_deployment", yaml(&deployment));
    insta::assert_yaml_snapshot!(
        "gateway_service",
        yaml(&gateway::gateway_service(&cell(), &BTreeMap::new()).unwrap())
    );
}

#[test]
fn the_shard_of_the_minimal_sample() {
    let (shard, env) = (shard(), operator_env());
    assert_eq!(orch::cells(&shard).unwrap(), ["zone-a"]);
    insta::assert_yaml_snapshot!("pg_hba_config_map", yaml(&pg_hba::config_map(&shard).unwrap()));
    insta::assert_yaml_snapshot!("orch_deployment", yaml(&orch::orch_deployment(&shard, "zone-a", &env).unwrap()));
    insta::assert_yaml_snapshot!(
        "orch_service",
        yaml(&orch::orch_service(&shard, "zone-a", &BTreeMap::new()).unwrap())
    );
    let pools = pool::all(&shard).unwrap();
    assert_eq!(pools.len(), 1);
    insta::assert_yaml_snapshot!("pool_stateful_set", yaml(&pools[0].stateful_set(&env).unwrap()));
    insta::assert_yaml_snapshot!("pool_headless_service", yaml(&pools[0].headless(&BTreeMap::new()).unwrap()));
    insta::assert_yaml_snapshot!("pool_backup_claim", yaml(&pools[0].backup_claim().unwrap()));
}

#[test]
fn a_pool_without_cells_and_an_orchestrator_without_cells_are_errors() {
    let mut shard = shard();
    for pool in shard.spec.pools.values_mut() {
        pool.cells.clear();
    }
    assert_eq!(pool::all(&shard).unwrap_err().to_string(), "pool 'default' has no cells");
    shard.spec.multiorch.cells.clear();
    assert!(orch::cells(&shard).is_err());
}

#[test]
fn an_object_without_its_cluster_label_cannot_be_built() {
    let mut group = table_group();
    group.metadata.labels = None;
    let error = children::shard(&group, &group.spec.shards[0]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "label multigres.com/cluster is missing on TableGroup 'minimal-postgres-default-f7d4ad4a'"
    );
}

#[test]
fn user_labels_reach_the_pods_and_never_the_selector() {
    let mut cell = cell();
    cell.spec.multigateway.pod_labels.insert("team".into(), "db".into());
    cell.spec.multigateway.pod_labels.insert("multigres.com/cell".into(), "other".into());
    cell.spec.multigateway.pod_annotations.insert("note".into(), "x".into());
    let spec = gateway::gateway_deployment(&cell, &operator_env()).unwrap().spec;
    let pod = spec.template.metadata.unwrap();
    let labels = pod.labels.unwrap();
    assert_eq!((labels["team"].as_str(), labels["multigres.com/cell"].as_str()), ("db", "zone-a"));
    assert_eq!(pod.annotations.unwrap()["note"], "x");
    let selector = spec.selector.match_labels.unwrap();
    assert!(!selector.contains_key("team"));
    assert!(
        selector.iter().all(|(key, value)| labels.get(key) == Some(value)),
        "a selector that its pods do not match"
    );
}

#[test]
fn every_container_is_asked_whether_it_lives_and_whether_it_is_ready() {
    use k8s_openapi::api::core::v1::{Container, PodTemplateSpec};
    let (cluster, shard, env) = (cluster(), shard(), operator_env());
    let admin = resolver::multiadmin(&cluster, &NoTemplates).unwrap();
    let web = resolver::multiadmin_web(&cluster, &NoTemplates).unwrap();
    let templates: Vec<PodTemplateSpec> = vec![
        etcd::stateful_set(&topo_server(), 3).unwrap().spec.template,
        multiadmin::admin_deployment(&cluster, &admin, &topo().reference, &env).spec.template,
        multiadmin::web_deployment(&cluster, &web).spec.template,
        gateway::gateway_deployment(&cell(), &env).unwrap().spec.template,
        orch::orch_deployment(&shard, "zone-a", &env).unwrap().spec.template,
        pool::all(&shard).unwrap()[0].stateful_set(&env).unwrap().spec.template,
    ];
    let pods = templates.into_iter().map(|template| template.spec.unwrap());
    let containers: Vec<Container> =
        pods.flat_map(|pod| pod.init_containers.unwrap_or_default().into_iter().chain(pod.containers)).collect();
    assert_eq!(containers.len(), 7, "the pooler is a sidecar of its pod");
    for container in containers {
        let name = &container.name;
        let ready = container.readiness_probe.unwrap_or_else(|| panic!("{name} has no readiness probe"));
        assert!(ready.period_seconds.unwrap_or(10) <= 10, "{name} is asked too seldom whether it is ready");
        let alive = container.liveness_probe.unwrap_or_else(|| panic!("{name} has no liveness probe"));
        // An outage of etcd restarts nothing: neither of these answers depends on it.
        let asked = alive.http_get.and_then(|get| get.path);
        let independent = asked.is_none() || ["/live", "/"].contains(&asked.as_deref().unwrap_or_default());
        assert!(independent, "{name}: {asked:?}");
    }
}

#[test]
fn an_etcd_knows_how_many_members_it_was_begun_with_whatever_its_replicas_say() {
    let mut set = etcd::stateful_set(&topo_server(), 5).unwrap();
    assert_eq!(etcd::members_begun_with(&set), Some(5));
    set.spec.replicas = Some(1);
    assert_eq!(etcd::members_begun_with(&set), Some(5));
    for variable in set.spec.template.spec.as_mut().unwrap().containers[0].env.iter_mut().flatten() {
        variable.value = None;
    }
    assert_eq!(etcd::members_begun_with(&set), None);
}
