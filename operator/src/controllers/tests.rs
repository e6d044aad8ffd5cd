//! The controllers against a small API server of their own, and the maps between watches and keys.
//!
//! The server keeps objects, applies, counts versions and generations; caches are made anew from it for every round. It says nothing
//! about Kubernetes: what the operator does in a whole world is shown by scenarios.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::sync::{Mutex, MutexGuard};

use http_body_util::BodyExt;
use k8s_openapi::jiff::{Timestamp, ToSpan};
use kube::Client;
use kube::client::Body;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::api::TopoServerStatus;
use crate::host::Connector;
use crate::observability::{EventRecorder, Metrics, propagation, registry::Format};
use crate::resources::test_objects;
use crate::runtime::{Action, Reconciler, Request};
use crate::topology::Registration;

/// Objects by path, and what was asked for.
#[derive(Default)]
struct Objects {
    by_path: BTreeMap<String, Value>,
    version: u64,
    requests: Vec<String>,
    events: Vec<String>,
    refuse: Option<&'static str>,
    /// The code with which it is refused; 500 when none is said.
    refuse_code: Option<u16>,
}

impl Objects {
    fn stamped(&mut self, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        object
    }

    fn apply(&mut self, path: &str, body: &Value) -> Value {
        let Some(mut object) = self.by_path.get(path).cloned() else {
            let mut object = body.clone();
            object["metadata"]["uid"] = json!(format!("uid-of-{path}"));
            object["metadata"]["generation"] = json!(1);
            object["metadata"]["creationTimestamp"] = json!(Timestamp::now().to_string());
            return self.stamped(object);
        };
        let before = object.clone();
        for (key, value) in body.as_object().unwrap() {
            if key != "metadata" && key != "status" {
                object[key] = value.clone();
            }
        }
        for (key, value) in body["metadata"].as_object().unwrap() {
            object["metadata"][key] = value.clone();
        }
        if object["spec"] != before["spec"] {
            object["metadata"]["generation"] = json!(before["metadata"]["generation"].as_i64().unwrap() + 1);
        }
        if object == before { object } else { self.stamped(object) }
    }

    fn apply_status(&mut self, path: &str, body: &Value) -> Option<Value> {
        let mut object = self.by_path.get(path)?.clone();
        let before = object.clone();
        for (key, value) in body["status"].as_object()? {
            if key != "conditions" {
                object["status"][key] = value.clone();
                continue;
            }
            let mut conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            for new in value.as_array()? {
                conditions.retain(|old| old["type"] != new["type"]);
                conditions.push(new.clone());
            }
            object["status"]["conditions"] = json!(conditions);
        }
        Some(if object == before { object } else { self.stamped(object) })
    }

    fn answer(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.requests.push(format!("{method} {path}"));
        if self.refuse.is_some_and(|part| path.contains(part)) {
            let code = self.refuse_code.unwrap_or(500);
            let status = json!({ "status": "Failure", "code": code, "reason": "Refused", "message": "refused" });
            return (code, status);
        }
        if path.contains("/events") {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if method == "POST" {
                let (source, kind) = (text(&body["source"]["component"]), text(&body["type"]));
                self.events.push(format!("{source} {kind} {}: {}", text(&body["reason"]), text(&body["message"])));
            } else {
                self.events.push(format!("count {} of {}", body["count"], text(&body["message"])));
            }
            return (200, body.clone());
        }
        if method == "GET" {
            let folder = format!("{path}/");
            let items: Vec<&Value> =
                self.by_path.iter().filter(|(path, _)| path.starts_with(&folder)).map(|(_, object)| object).collect();
            return (200, json!({ "kind": "List", "apiVersion": "v1", "metadata": {}, "items": items }));
        }
        if method == "DELETE" {
            self.by_path.remove(path);
            return (200, json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" }));
        }
        let (main, status) = path.strip_suffix("/status").map_or((path, false), |main| (main, true));
        let stored = if status { self.apply_status(main, body) } else { Some(self.apply(main, body)) };
        match stored {
            Some(object) => {
                self.by_path.insert(main.to_owned(), object.clone());
                (200, object)
            }
            None => (404, json!({ "status": "Failure", "code": 404, "reason": "NotFound", "message": "not found" })),
        }
    }
}

/// The API server.
#[derive(Clone, Default)]
struct Api(Arc<Mutex<Objects>>);

impl Api {
    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.0.lock().unwrap()
    }

    fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let api = api.clone();
            async move {
                let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
                let bytes = request.into_body().collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&bytes).unwrap_or_default();
                let (status, answer) = api.objects().answer(&method, &path, &body);
                let answer = http::Response::builder().status(status).body(Body::from(answer.to_string().into_bytes()));
                Ok::<_, Infallible>(answer.unwrap())
            }
        });
        Client::new(service, "default")
    }

    fn add<K: serde::Serialize + Resource<DynamicType = ()>>(&self, object: &K) {
        let path = format!("{}/{}", K::url_path(&(), Some("default")), object.name_any());
        self.objects().answer("POST", &path, &serde_json::to_value(object).unwrap());
        self.objects().requests.clear();
    }

    fn store<K: Resource<DynamicType = ()> + DeserializeOwned>(&self) -> Store<K> {
        let folder = K::url_path(&(), Some("default"));
        let objects = self.objects();
        let of_kind = objects.by_path.iter().filter(|(path, _)| path.rsplit_once('/').unwrap().0 == folder);
        Store::holding(of_kind.map(|(_, object)| serde_json::from_value(object.clone()).unwrap()).collect::<Vec<K>>())
    }

    /// Gives every workload all the pods that it asks for.
    fn run_pods(&self) {
        let mut objects = self.objects();
        let paths: Vec<String> = objects.by_path.keys().filter(|path| path.contains("/apps/v1/")).cloned().collect();
        for path in paths {
            let mut object = objects.by_path[&path].clone();
            let replicas = object["spec"]["replicas"].clone();
            let generation = object["metadata"]["generation"].clone();
            object["status"] = json!({ "replicas": replicas, "readyReplicas": replicas, "updatedReplicas": replicas, "observedGeneration": generation });
            let stamped = objects.stamped(object);
            objects.by_path.insert(path, stamped);
        }
    }
}

struct World {
    api: Api,
    tools: Tools,
    sending: Option<tokio::task::JoinHandle<()>>,
}

impl World {
    fn with(cluster: &MultigresCluster) -> Self {
        let api = Api::default();
        api.add(cluster);
        let metrics = Metrics::default();
        let (events, send) = EventRecorder::new(api.client(), &metrics);
        let sending = Some(tokio::spawn(send));
        let operator_env = Arc::new(test_objects::operator_env());
        let tools = Tools { client: api.client(), metrics, events, operator_env, recent: Recent::default() };
        Self { api, tools, sending }
    }

    fn tools(&self, component: &'static str) -> Tools {
        Tools { events: self.tools.events.for_component(component), ..self.tools.clone() }
    }

    fn cluster(&self) -> cluster::ClusterController {
        cluster::ClusterController {
            tools: self.tools("multigrescluster-controller"),
            clusters: self.api.store(),
            templates: Templates { core: self.api.store(), cell: self.api.store(), shard: self.api.store() },
            topo_servers: self.api.store(),
            cells: self.api.store(),
            table_groups: self.api.store(),
            shards: self.api.store(),
            deployments: self.api.store(),
            services: self.api.store(),
            service_monitors: self.api.store(),
            vm_service_scrapes: self.api.store(),
            pods: self.api.store(),
        }
    }

    /// One reconcile of every object of the five controllers that work on Kubernetes alone.
    async fn round(&self) -> Result<(), error::Error> {
        let api = &self.api;
        every(&self.cluster(), &api.store::<MultigresCluster>()).await?;
        let tools = self.tools("tablegroup-controller");
        every(
            &table_group::TableGroupController { tools, groups: api.store(), shards: api.store() },
            &api.store::<TableGroup>(),
        )
        .await?;
        let tools = self.tools("toposerver-controller");
        let servers = api.store::<TopoServer>();
        let controller = topo_server::TopoServerController {
            tools,
            servers: servers.clone(),
            stateful_sets: api.store(),
            services: api.store(),
            claims: api.store(),
            pods: api.store(),
        };
        every(&controller, &servers).await?;
        let tools = self.tools("cell-controller");
        let cells = api.store::<Cell>();
        let controller = cell::CellController {
            tools,
            cells: cells.clone(),
            deployments: api.store(),
            services: api.store(),
            pods: api.store(),
        };
        every(&controller, &cells).await?;
        let shards = api.store::<Shard>();
        let controller = shard::ShardController {
            tools: self.tools("shard-controller"),
            shards: shards.clone(),
            deployments: api.store(),
            stateful_sets: api.store(),
            services: api.store(),
            config_maps: api.store(),
            claims: api.store(),
            pods: api.store(),
        };
        every(&controller, &shards).await
    }

    async fn rounds(&self, rounds: usize) {
        for _ in 0..rounds {
            self.round().await.unwrap();
        }
    }

    /// All events that were recorded, in order. Ends the recording.
    async fn events(self) -> Vec<String> {
        let Self { api, tools, sending } = self;
        drop(tools);
        sending.unwrap().await.unwrap();
        api.objects().events.clone()
    }

    fn phase<K: Resource<DynamicType = ()> + DeserializeOwned + serde::Serialize>(&self) -> String {
        let all = self.api.store::<K>().all();
        let phases: BTreeSet<String> =
            all.iter().map(|one| serde_json::to_value(&**one).unwrap()["status"]["phase"].to_string()).collect();
        phases.into_iter().collect::<Vec<_>>().join(" ")
    }
}

fn request<K: Resource>(object: &K) -> Request {
    Request { key: ObjectKey::of(object), causes: Vec::new(), failures: 0 }
}

async fn every<R: Reconciler, K: Resource>(reconciler: &R, store: &Store<K>) -> Result<(), R::Error> {
    for object in store.all() {
        reconciler.reconcile(&request(object.as_ref())).await?;
    }
    Ok(())
}

/// The sample as a user writes it.
fn sample() -> MultigresCluster {
    let mut cluster = test_objects::cluster();
    cluster.spec.databases.clear();
    cluster
}

/// Tools whose every request fails.
pub(crate) fn tools() -> Tools {
    let api = Api::default();
    api.objects().refuse = Some("/");
    let metrics = Metrics::default();
    let events = EventRecorder::unheard(&metrics);
    Tools { client: api.client(), events, metrics, operator_env: Arc::default(), recent: Recent::default() }
}

/// A way out that leads nowhere.
pub(crate) fn no_connector() -> Connector {
    Connector::new(|_: http::Uri| -> futures::future::BoxFuture<'static, io::Result<crate::host::BoxedIo>> {
        Box::pin(async { Err(io::Error::from(io::ErrorKind::ConnectionRefused)) })
    })
}

#[tokio::test]
async fn the_minimal_sample_becomes_healthy_and_then_nothing_is_written() {
    let world = World::with(&sample());
    world.rounds(3).await;
    assert_eq!(world.phase::<MultigresCluster>(), "\"Initializing\"");
    world.api.run_pods();
    world.rounds(3).await;
    let phases = [
        world.phase::<TopoServer>(),
        world.phase::<Cell>(),
        world.phase::<Shard>(),
        world.phase::<TableGroup>(),
        world.phase::<MultigresCluster>(),
    ];
    assert_eq!(phases, ["\"Healthy\""; 5]);
    let version = world.api.objects().version;
    world.api.objects().requests.clear();
    world.rounds(2).await;
    assert_eq!(world.api.objects().version, version, "a settled cluster is written to");
    let requests = world.api.objects().requests.clone();
    assert!(requests.is_empty(), "{requests:?}");
    let text = world.tools.metrics.registry().encode(Format::Text);
    for line in [
        "multigres_operator_cluster_info{name=\"minimal\",namespace=\"default\",phase=\"Healthy\"} 1",
        "multigres_operator_cluster_cells_total{cluster=\"minimal\",namespace=\"default\"} 1",
        "multigres_operator_cluster_shards_total{cluster=\"minimal\",namespace=\"default\"} 1",
    ] {
        assert!(text.contains(line), "{line} is missing");
    }
}

#[tokio::test]
async fn the_events_of_the_minimal_sample() {
    let world = World::with(&sample());
    world.rounds(3).await;
    world.api.run_pods();
    world.rounds(5).await;
    insta::assert_yaml_snapshot!("events_of_the_minimal_sample", world.events().await);
}

#[tokio::test]
async fn every_object_of_the_minimal_sample_has_its_name() {
    let world = World::with(&sample());
    world.rounds(3).await;
    let paths: Vec<String> = world.api.objects().by_path.keys().cloned().collect();
    insta::assert_yaml_snapshot!("objects_of_the_minimal_sample", paths);
}

#[tokio::test]
async fn a_cache_that_lags_behind_makes_no_second_event_and_no_second_status() {
    let world = World::with(&sample());
    let controller = world.cluster();
    let cluster = sample();
    controller.reconcile(&request(&cluster)).await.unwrap();
    let version = world.api.objects().version;
    controller.reconcile(&request(&cluster)).await.unwrap();
    assert_eq!(world.api.objects().version, version);
    drop(controller);
    let events = world.events().await;
    assert!(events.iter().all(|event| !event.starts_with("count")), "{events:#?}");
}

#[tokio::test]
async fn a_cell_that_nobody_asks_for_is_deleted() {
    let world = World::with(&sample());
    world.rounds(2).await;
    let mut orphan = test_objects::cell();
    orphan.metadata.name = Some("orphan".into());
    orphan.spec.name = "zone-z".into();
    world.api.add(&orphan);
    every(&world.cluster(), &world.api.store::<MultigresCluster>()).await.unwrap();
    let requests = world.api.objects().requests.clone();
    let deleted: Vec<&String> = requests.iter().filter(|request| request.starts_with("DELETE")).collect();
    assert_eq!(deleted, ["DELETE /apis/multigres.com/v1alpha1/namespaces/default/cells/orphan"]);
}

#[tokio::test]
async fn what_cannot_be_scraped_makes_no_cluster_worse() {
    let mut world = World::with(&sample());
    world.rounds(3).await;
    // An operator that takes over applies everything once.
    world.tools.recent = Recent::default();
    (world.api.objects().refuse, world.api.objects().refuse_code) = (Some("/servicemonitors/"), Some(403));
    let controller = world.cluster();
    let error = every(&controller, &world.api.store::<MultigresCluster>()).await.unwrap_err();
    assert!(error.to_string().contains("ServiceMonitor"), "{error}");
    let status = world.api.store::<MultigresCluster>().all()[0].status.clone().unwrap();
    assert_ne!(status.phase, Some(Phase::Degraded));
    assert!(!status.message.unwrap_or_default().contains("ServiceMonitor"));
    drop(controller);
    let events = world.events().await;
    assert!(
        events.iter().any(|event| event.contains("FailedApply: Failed to reconcile scrape objects")),
        "{events:#?}"
    );
}

#[tokio::test]
async fn who_knows_an_old_generation_only_deletes_nothing() {
    let world = World::with(&sample());
    world.rounds(2).await;
    let mut newer = test_objects::cell();
    newer.metadata.name = Some("newer".into());
    newer.spec.name = "zone-z".into();
    world.api.add(&newer);
    let (known, controller) = (world.api.store::<MultigresCluster>(), world.cluster());
    for object in world.api.objects().by_path.values_mut().filter(|object| object["kind"] == "MultigresCluster") {
        object["metadata"]["generation"] = json!(7);
    }
    let error = every(&controller, &known).await.unwrap_err();
    assert!(matches!(error, error::Error::Outdated { .. }), "{error}");
    let requests = world.api.objects().requests.clone();
    assert!(!requests.iter().any(|request| request.starts_with("DELETE")), "{requests:#?}");
}

#[tokio::test]
async fn a_cluster_that_fails_early_is_still_exported_and_says_why() {
    let world = World::with(&sample());
    world.api.objects().refuse = Some("/toposervers/");
    let error = world.round().await.unwrap_err();
    assert!(error.to_string().starts_with("apply TopoServer minimal-global-topo: "), "{error}");
    let text = world.tools.metrics.registry().encode(Format::Text);
    assert!(
        text.contains(
            "multigres_operator_cluster_info{name=\"minimal\",namespace=\"default\",phase=\"Initializing\"} 1"
        )
    );
    let events = world.events().await;
    let wanted =
        "multigrescluster-controller Warning FailedApply: Failed to reconcile global components: apply TopoServer";
    assert!(events.iter().any(|event| event.starts_with(wanted)), "{events:?}");
}

#[tokio::test]
async fn a_cluster_whose_reconciles_fail_does_not_stay_healthy() {
    let mut world = World::with(&sample());
    world.rounds(3).await;
    world.api.run_pods();
    world.rounds(3).await;
    assert_eq!(world.phase::<MultigresCluster>(), "\"Healthy\"");
    // An operator that takes over applies everything once. What may pass is borne for a while.
    world.tools.recent = Recent::default();
    (world.api.objects().refuse, world.api.objects().refuse_code) = (Some("/cells/"), Some(500));
    for (failures, phase) in [(0, "\"Healthy\""), (12, "\"Healthy\""), (13, "\"Progressing\"")] {
        let cluster = world.api.store::<MultigresCluster>().all().remove(0);
        let asked = Request { failures, ..request(cluster.as_ref()) };
        world.cluster().reconcile(&asked).await.unwrap_err();
        assert_eq!(world.phase::<MultigresCluster>(), phase, "after {failures} failures");
    }
    world.api.objects().refuse = None;
    world.rounds(1).await;
    assert_eq!(world.phase::<MultigresCluster>(), "\"Healthy\"");
    let path = "/apis/multigres.com/v1alpha1/namespaces/default/multigresclusters/minimal";
    {
        let mut objects = world.api.objects();
        let cluster = objects.by_path.get_mut(path).unwrap();
        cluster["spec"]["images"]["multigateway"] = json!("another");
        cluster["metadata"]["generation"] = json!(2);
    }
    for (code, phase) in [(500, "\"Progressing\""), (422, "\"Degraded\"")] {
        (world.api.objects().refuse, world.api.objects().refuse_code) = (Some("/cells/"), Some(code));
        world.round().await.unwrap_err();
        assert_eq!(world.phase::<MultigresCluster>(), phase);
        let version = world.api.objects().version;
        world.round().await.unwrap_err();
        assert_eq!(world.api.objects().version, version, "the same failure is written once");
    }
    let status = world.api.objects().by_path[path]["status"].clone();
    assert!(status["message"].as_str().unwrap().starts_with("apply Cell minimal-zone-a-96c88ae0: "), "{status}");
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(status["cells"]["zone-a"]["ready"], true, "what was known is kept: {status}");
    world.api.objects().refuse = None;
    world.rounds(2).await;
    world.api.run_pods();
    world.rounds(3).await;
    assert_eq!(world.phase::<MultigresCluster>(), "\"Healthy\"");
}

#[tokio::test]
async fn the_series_of_a_deleted_object_go_away() {
    let world = World::with(&sample());
    world.rounds(3).await;
    let count = |world: &World| {
        let text = world.tools.metrics.registry().encode(Format::Text);
        text.lines().filter(|line| line.starts_with("multigres_operator_cell_gateway")).count()
    };
    assert_eq!(count(&world), 2);
    let controller = cell::CellController {
        tools: world.tools.clone(),
        cells: Store::holding([]),
        deployments: Store::holding([]),
        services: Store::holding([]),
        pods: Store::holding([]),
    };
    controller.reconcile(&request(&test_objects::cell())).await.unwrap();
    assert_eq!(count(&world), 0);
}

fn cell_data(world: &World, cell: Cell) -> cell_data::CellDataController {
    let registrar = Registrar {
        tools: world.tools("cell-datahandler"),
        connector: no_connector(),
        topo_servers: Store::holding([]),
    };
    cell_data::CellDataController {
        registrar,
        cells: Store::holding([cell]),
        deployments: Store::holding([]),
        pods: Store::holding([]),
    }
}

#[tokio::test]
async fn the_first_contact_is_waited_for_and_later_an_outage_is_an_error() {
    let world = World::with(&sample());
    let mut cell = test_objects::cell();
    cell.metadata.finalizers = Some(vec![finalizers::CELL.into()]);
    let created = |seconds: i64| Some((Timestamp::now() - seconds.seconds()).into());
    cell.metadata.creation_timestamp = created(119);
    let controller = cell_data(&world, cell.clone());
    let action = controller.reconcile(&request(&cell)).await.unwrap();
    drop(controller);
    assert_eq!(action, Action::RequeueAfter(registrar::FIRST_CONTACT_RETRY));
    cell.metadata.creation_timestamp = created(121);
    let controller = cell_data(&world, cell.clone());
    let error = controller.reconcile(&request(&cell)).await.unwrap_err();
    assert!(error.to_string().contains("UNAVAILABLE"), "{error}");
    drop(controller);
    let sentence = "Failed to register cell in topology: Code: UNAVAILABLE: no connection available to minimal-global-topo.default.svc:2379";
    let expected = [
        format!("cell-datahandler Warning RegistrationFailed: {sentence}"),
        format!("cell-datahandler Warning TopologyError: {sentence}"),
    ];
    let events = world.events().await;
    assert_eq!(events[0], expected[0]);
    assert!(events[1].starts_with("count 2 of Failed to register cell"), "{events:?}");
    assert_eq!(events[2..], expected[1..]);
}

#[tokio::test]
async fn an_unknown_implementation_is_told_as_an_error_and_not_as_a_registration_that_failed() {
    let world = World::with(&sample());
    let mut cell = test_objects::cell();
    cell.metadata.finalizers = Some(vec![finalizers::CELL.into()]);
    cell.spec.global_topo_server.implementation = "zookeeper".into();
    let controller = cell_data(&world, cell.clone());
    controller.reconcile(&request(&cell)).await.unwrap_err();
    drop(controller);
    let expected = "cell-datahandler Warning TopologyError: Failed to register cell in topology: \
                    unknown topology implementation 'zookeeper'";
    assert_eq!(world.events().await, [expected]);
}

fn server(phase: Phase) -> Arc<TopoServer> {
    let mut server = test_objects::topo_server();
    server.status = Some(TopoServerStatus { phase: Some(phase), ..TopoServerStatus::default() });
    Arc::new(server)
}

#[test]
fn registrars_are_woken_when_the_topology_server_turns_healthy_and_only_then() {
    let mut stranger = test_objects::cell();
    stranger.metadata.name = Some("stranger".into());
    stranger.labels_mut().insert(labels::CLUSTER.into(), "other".into());
    let cells = Store::holding([test_objects::cell(), stranger]);
    let key = ObjectKey::of(server(Phase::Healthy).as_ref());
    let woken = |old, new| {
        let change = Change { key: key.clone(), old, new };
        of_the_cluster_that_became_reachable(&change, &cells)
    };
    let (down, up) = (Some(server(Phase::Progressing)), Some(server(Phase::Healthy)));
    assert_eq!(woken(down.clone(), up.clone()), [ObjectKey::of(&test_objects::cell())]);
    assert_eq!(woken(None, up.clone()).len(), 1);
    assert!(woken(up.clone(), up.clone()).is_empty());
    assert!(woken(up, down).is_empty());
}

#[test]
fn a_generation_is_completed_when_the_status_speaks_about_it() {
    let mut cluster = test_objects::cluster();
    assert!(!completed(Some((&cluster.metadata, cluster.status.as_ref()))));
    cluster.status = Some(crate::api::MultigresClusterStatus { observed_generation: Some(1), ..Default::default() });
    assert!(completed(Some((&cluster.metadata, cluster.status.as_ref()))));
    cluster.metadata.generation = Some(2);
    assert!(!completed(Some((&cluster.metadata, cluster.status.as_ref()))));
}

#[tokio::test]
async fn a_trace_is_handed_on_only_together_with_a_change_of_the_specification() {
    let world = World::with(&sample());
    let mut carried = Vec::new();
    let mut desired = test_objects::cell();
    desired.metadata.uid = None;
    for (span, zone) in [("1", "a"), ("2", "a"), ("3", "b")] {
        let root: propagation::TraceParent =
            format!("00-0af7651916cd43dd8448eb211c80319c-{span}7ad6b7169203331-01").parse().unwrap();
        desired.spec.zone = Some(zone.into());
        let mut pass = tools::Pass::of(test_objects::cluster());
        pass.root = Some(root.span_context(""));
        let cells = world.api.store::<Cell>();
        let cell = world.tools.apply_traced(&mut pass, &cells, desired.clone(), "Cell").await.unwrap();
        carried.push(cell.annotations()[propagation::TRACEPARENT_ANNOTATION].clone());
        assert_eq!(pass.changed, span != "2");
    }
    assert_eq!(carried[0], carried[1]);
    assert_ne!(carried[1], carried[2]);
}

#[tokio::test]
async fn a_registration_is_told_once_and_written_as_a_condition() {
    let world = World::with(&sample());
    world.api.add(&test_objects::cell());
    let registrar = Registrar {
        tools: world.tools("cell-datahandler"),
        connector: no_connector(),
        topo_servers: Store::holding([]),
    };
    let subject = registrar::Subject {
        noun: "cell",
        name: "zone-a",
        registered_reason: "CellRegistered",
        unregistered_reason: "CellUnregistered",
        finalizer: finalizers::CELL,
        synced_message: "Successfully reconciled Cell topology",
    };
    for registration in [Registration::Created, Registration::Unchanged] {
        let cells = world.api.store::<Cell>();
        let key = ObjectKey::of(&test_objects::cell());
        let mut pass = tools::Pass::begin(&registrar.tools, &cells, &key).unwrap();
        let conditions = pass.object.status.clone().unwrap_or_default().conditions;
        let action = registrar.conclude(&mut pass, &conditions, subject, Ok(registration)).await.unwrap();
        assert_eq!(action, Action::Done);
    }
    let cell = world.api.store::<Cell>().all().remove(0);
    let conditions = &cell.status.as_ref().unwrap().conditions;
    assert_eq!(registrar::registered_generation(conditions), cell.metadata.generation);
    drop(registrar);
    let expected = [
        "cell-datahandler Normal CellRegistered: Registered cell 'zone-a' in topology",
        "cell-datahandler Normal Synced: Successfully reconciled Cell topology",
    ];
    assert_eq!(world.events().await, expected);
}
