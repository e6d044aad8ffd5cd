//! The seven controllers, one file each.
//!
//! A reconciler reads like the span tree that it makes: one function a span, in the order of the tree. What they share is in
//! [`tools`] (server-side apply, status, events, traces), [`phase`], [`pods`] and `failure` (what is seen becomes what is reported), [`finalizers`]
//! (deletion) and [`registrar`] (etcd).
//!
//! | controller | from | to |
//! |---|---|---|
//! | [`cluster`] | MultigresCluster | TopoServer, MultiAdmin and its web front end, Cells, TableGroups |
//! | [`table_group`] | TableGroup | Shards |
//! | [`cell`] | Cell | the gateway |
//! | [`shard`] | Shard | orchestrators and pools |
//! | [`topo_server`] | TopoServer | etcd |
//! | [`cell_data`] | Cell | its record in the topology |
//! | [`shard_data`] | Shard | its database's record in the topology |

pub mod cell;
pub mod cell_data;
pub mod cluster;
pub mod error;
mod failure;
pub mod finalizers;
pub mod phase;
pub mod pods;
pub mod recent;
pub mod registrar;
pub mod shard;
pub mod shard_data;
pub mod table_group;
pub mod templates;
pub mod tools;
pub mod topo_server;
pub mod volumes;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};

use crate::Parts;
use crate::api::common::{Phase, Reported};
use crate::api::monitoring::{ServiceMonitor, VmServiceScrape};
use crate::api::{Cell, CellTemplate, CoreTemplate, MultigresCluster, Shard, ShardTemplate, TableGroup, TopoServer};
use crate::labels;
use crate::names;
use crate::runtime::store::shard_name;
use crate::runtime::watches::Watched;
use crate::runtime::{Change, Manager, ObjectKey, Store, Trigger};
use recent::Recent;
use registrar::Registrar;
use templates::Templates;
use tools::Tools;

/// Objects that one controller works on at the same time.
const WORKERS: usize = 20;

/// Registers all seven controllers with their watches.
pub fn all(manager: &mut Manager, parts: &Parts) {
    let operator_env = Arc::new(parts.env.clone());
    let recent = Recent::default();
    let tools = |component: &'static str| Tools {
        client: parts.client.clone(),
        metrics: parts.telemetry.metrics().clone(),
        events: parts.events.for_component(component),
        operator_env: operator_env.clone(),
        recent: recent.clone(),
    };
    let ours = format!("{}={}", labels::MANAGED_BY, labels::OPERATOR);
    manager.select::<Deployment>(&ours);
    manager.select::<StatefulSet>(&ours);
    manager.select::<Service>(&ours);
    manager.select::<ConfigMap>(&ours);
    // Those that StatefulSets make do not say by whom they are managed.
    manager.select::<PersistentVolumeClaim>(&format!(
        "{} in ({}, {})",
        labels::COMPONENT,
        labels::component::SHARD_POOL,
        labels::component::TOPO_SERVER
    ));
    manager.select::<Pod>(&ours);
    // What becomes of a pod is read, not what it should be.
    manager.trim::<Pod>(|pod| pod.spec = None);
    manager.select::<ServiceMonitor>(&ours);
    manager.select::<VmServiceScrape>(&ours);
    follow::<MultigresCluster>(manager, &recent);
    follow::<TopoServer>(manager, &recent);
    follow::<Cell>(manager, &recent);
    follow::<TableGroup>(manager, &recent);
    follow::<Shard>(manager, &recent);
    follow::<Deployment>(manager, &recent);
    follow::<StatefulSet>(manager, &recent);
    follow::<Service>(manager, &recent);
    follow::<ConfigMap>(manager, &recent);
    follow::<PersistentVolumeClaim>(manager, &recent);
    follow::<ServiceMonitor>(manager, &recent);
    follow::<VmServiceScrape>(manager, &recent);
    let clusters: Store<MultigresCluster> = manager.store();
    let cells: Store<Cell> = manager.store();
    let groups: Store<TableGroup> = manager.store();
    let shards: Store<Shard> = manager.store();
    let servers: Store<TopoServer> = manager.store();
    let deployments: Store<Deployment> = manager.store();
    let stateful_sets: Store<StatefulSet> = manager.store();
    let services: Store<Service> = manager.store();
    let pods: Store<Pod> = manager.store();

    let controller = cluster::ClusterController {
        tools: tools("multigrescluster-controller"),
        clusters: clusters.clone(),
        templates: Templates { core: manager.store(), cell: manager.store(), shard: manager.store() },
        topo_servers: servers.clone(),
        cells: cells.clone(),
        table_groups: groups.clone(),
        shards: shards.clone(),
        deployments: deployments.clone(),
        services: services.clone(),
        service_monitors: manager.optional_store(),
        vm_service_scrapes: manager.optional_store(),
        pods: pods.clone(),
    };
    manager
        .controller::<MultigresCluster, _>(controller)
        .on_primary(Trigger::GenerationChanged)
        .owns::<Cell>()
        .owns::<TableGroup>()
        .owns::<TopoServer>()
        .owns::<Deployment>()
        .owns::<Service>()
        .owns::<ServiceMonitor>()
        .owns::<VmServiceScrape>()
        .when_served::<ServiceMonitor>(keys_of(clusters.clone()))
        .when_served::<VmServiceScrape>(keys_of(clusters.clone()))
        .watches::<Pod>(pods::cluster_of)
        .watches::<CoreTemplate>(all_in_its_namespace(clusters.clone()))
        .watches::<CellTemplate>(all_in_its_namespace(clusters.clone()))
        .watches::<ShardTemplate>(all_in_its_namespace(clusters))
        .register();

    let controller =
        table_group::TableGroupController { tools: tools("tablegroup-controller"), groups, shards: shards.clone() };
    manager.controller::<TableGroup, _>(controller).on_primary(Trigger::GenerationChanged).owns::<Shard>().register();

    let controller = cell::CellController {
        tools: tools("cell-controller"),
        cells: cells.clone(),
        deployments: deployments.clone(),
        services: services.clone(),
        pods: pods.clone(),
    };
    manager
        .controller::<Cell, _>(controller)
        .on_primary(Trigger::GenerationChanged)
        .owns::<Deployment>()
        .owns::<Service>()
        .watches::<Pod>(pods::cell_of)
        .register();

    let controller = shard::ShardController {
        tools: tools("shard-controller"),
        shards: shards.clone(),
        deployments: deployments.clone(),
        stateful_sets: stateful_sets.clone(),
        services: services.clone(),
        config_maps: manager.store(),
        claims: manager.store(),
        pods: pods.clone(),
    };
    manager
        .controller::<Shard, _>(controller)
        .on_primary(Trigger::GenerationChanged)
        .owns::<Deployment>()
        .owns::<StatefulSet>()
        .owns::<Service>()
        .owns::<ConfigMap>()
        .watches::<PersistentVolumeClaim>(of_the_shard_that_its_labels_name)
        .watches::<Pod>(pods::shard_of)
        .register();

    let controller = topo_server::TopoServerController {
        tools: tools("toposerver-controller"),
        servers: servers.clone(),
        stateful_sets: stateful_sets.clone(),
        services,
        claims: manager.store(),
        pods: pods.clone(),
    };
    manager
        .controller::<TopoServer, _>(controller)
        .on_primary(Trigger::GenerationChanged)
        .owns::<StatefulSet>()
        .owns::<Service>()
        .watches::<PersistentVolumeClaim>(of_the_topo_server_whose_claim_grows)
        .watches::<Pod>(pods::topo_server_of)
        .register();

    let registrar = Registrar {
        tools: tools("cell-datahandler"),
        connector: parts.connector.clone(),
        topo_servers: servers.clone(),
    };
    manager
        .controller::<Cell, _>(cell_data::CellDataController {
            registrar,
            cells: cells.clone(),
            deployments: deployments.clone(),
            pods: pods.clone(),
        })
        .on_primary(Trigger::Any)
        .watches::<TopoServer>(move |change| of_the_cluster_that_became_reachable(change, &cells))
        .register();

    let registrar =
        Registrar { tools: tools("shard-datahandler"), connector: parts.connector.clone(), topo_servers: servers };
    manager
        .controller::<Shard, _>(shard_data::ShardDataController {
            registrar,
            shards: shards.clone(),
            deployments,
            stateful_sets,
            pods,
        })
        .on_primary(Trigger::Any)
        .watches::<Pod>(pods::shard_of)
        .watches::<TopoServer>(move |change| of_the_cluster_that_became_reachable(change, &shards))
        .register();
}

/// Lets what was written be forgotten when it goes.
fn follow<K: Watched>(manager: &mut Manager, recent: &Recent) {
    let recent = recent.clone();
    manager.on_change::<K>(move |change| match (&change.old, &change.new) {
        (_, Some(present)) => recent.seen(present.as_ref()),
        (Some(gone), None) => recent.forget(gone.as_ref()),
        (None, None) => {}
    });
}

/// The keys of all objects of a store.
fn keys_of<K: Resource + Send + Sync + 'static>(
    store: Store<K>,
) -> impl Fn() -> Vec<ObjectKey> + Send + Sync + 'static {
    move || store.keys()
}

/// Whether a controller has done with the present generation of an object.
fn completed<S: Reported>(object: Option<(&ObjectMeta, Option<&S>)>) -> bool {
    object.is_some_and(|(meta, status)| {
        let observed = status.and_then(Reported::observed_generation);
        observed.is_some() && observed == meta.generation
    })
}

/// A member's claim that grows concerns its TopoServer.
fn of_the_topo_server_whose_claim_grows(change: &Change<PersistentVolumeClaim>) -> Vec<ObjectKey> {
    let of_member = |claim: &&Arc<PersistentVolumeClaim>| {
        claim.labels().get(labels::COMPONENT).is_some_and(|component| component == labels::component::TOPO_SERVER)
    };
    let member = change.object().filter(of_member).filter(|_| volumes::matters(change));
    let cluster = member.and_then(|claim| claim.labels().get(labels::CLUSTER));
    cluster.map(|name| ObjectKey::new(change.key.namespace.clone(), names::global_topo(name))).into_iter().collect()
}

/// Claims that are to outlive their shard are not owned by it. Of those that StatefulSets made only a change of size matters.
fn of_the_shard_that_its_labels_name(change: &Change<PersistentVolumeClaim>) -> Vec<ObjectKey> {
    let is_ours = change.object().is_some_and(|claim| claim.labels().contains_key(labels::MANAGED_BY));
    if !is_ours && !volumes::matters(change) {
        return Vec::new();
    }
    let name = change.object().and_then(|claim| shard_name(claim.as_ref()));
    name.map(|name| ObjectKey::new(change.key.namespace.clone(), name)).into_iter().collect()
}

/// A template may be used by any cluster of its namespace.
fn all_in_its_namespace<T: Resource>(
    clusters: Store<MultigresCluster>,
) -> impl Fn(&Change<T>) -> Vec<ObjectKey> + Send + Sync + 'static {
    move |change| {
        let clusters = clusters.in_namespace(&change.key.namespace);
        clusters.iter().map(|cluster| ObjectKey::of(cluster.as_ref())).collect()
    }
}

/// The objects of a cluster whose topology server has just turned `Healthy`.
fn of_the_cluster_that_became_reachable<K: Resource>(change: &Change<TopoServer>, store: &Store<K>) -> Vec<ObjectKey> {
    let is_healthy = |server: &Option<Arc<TopoServer>>| {
        server.as_ref().and_then(|server| server.status.as_ref()?.phase) == Some(Phase::Healthy)
    };
    if is_healthy(&change.old) || !is_healthy(&change.new) {
        return Vec::new();
    }
    let cluster = change.object().and_then(|server| server.labels().get(labels::CLUSTER).cloned());
    let objects = cluster.map(|cluster| store.of_cluster(&change.key.namespace, &cluster)).unwrap_or_default();
    objects.iter().map(|object| ObjectKey::of(object.as_ref())).collect()
}

#[cfg(test)]
mod tests;
