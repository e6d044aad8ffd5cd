//! kube-rs' client and runtime against a cluster, each test over TCP on loopback, in memory inside a world, and there over
//! TLS and HTTP/2 with a service account's token, where roles decide.

use std::{collections::BTreeMap, future::Future, pin::pin, sync::Arc, time::Duration};

use futures::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _};
use http::header::{AUTHORIZATION, HeaderValue};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::{
    apps::v1::Deployment,
    coordination::v1::Lease,
    core::v1::{ConfigMap, Event as CoreEvent, Pod},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{
        DeleteParams, EvictParams, ListParams, LogParams, ObjectMeta, PartialObjectMeta, Patch, PatchParams, PostParams,
    },
    client::ConfigExt as _,
    core::GroupVersionKind,
    discovery,
    runtime::{
        Controller, WatchStreamExt as _,
        controller::Action,
        events::{Event, EventType, Recorder, Reporter},
        finalizer::{Event as Finalizer, finalizer},
        reflector,
        wait::{await_condition, conditions},
        watcher,
    },
};
use rustls::pki_types::ServerName;
use serde_json::json;
use sim_kube::{
    API_TLS_PORT, Cluster, KubeOptions,
    access::{AccessOptions, Authorization},
    local::{self, Idle, Options},
    tls,
};
use sim_net::Network;

#[path = "../examples/controller.rs"]
#[allow(dead_code, reason = "its main is not called")]
mod example;

/// How long anything may take, on the clock of whoever waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a test against a cluster on loopback, against one in memory, and against one in memory that asks who one is.
fn both<F, Fut>(test: F)
where
    F: Fn(Client) -> Fut + Send + Copy + 'static,
    Fut: Future<Output = ()>,
{
    let cluster = local::start(Options { speed: "10x".parse().unwrap(), ..Options::default() }).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = kube::Config::new(cluster.url().parse().unwrap());
        let test = test(Client::try_from(config).unwrap());
        tokio::time::timeout(PATIENCE, test).await.expect("over TCP in time");
    });
    cluster.stop().unwrap();

    let in_memory = sim_clock::run(sim_clock::WorldOptions::seeded(7), move || async move {
        let network = Network::new();
        let _cluster = Cluster::start(&network, Arc::new(Idle), KubeOptions::default()).unwrap();
        let config = kube::Config::new("http://kubernetes.default.svc:443".parse().unwrap());
        let connector = sim_net::http::Connector::new(network.host("pod/default/client"));
        let inner = hyper_util::client::legacy::Client::builder(sim_net::http::Executor).build(connector);
        let service =
            tower::ServiceBuilder::new().layer(config.base_uri_layer()).map_err(tower::BoxError::from).service(inner);
        tokio::time::timeout(PATIENCE * 10, test(Client::new(service, "default"))).await.expect("in memory in time");
    });
    in_memory.unwrap();

    let secured = sim_clock::run(sim_clock::WorldOptions::seeded(7), move || async move {
        let network = Network::new();
        let access = Some(AccessOptions { authorization: Authorization::Rbac, ..AccessOptions::default() });
        let cluster =
            Cluster::start(&network, Arc::new(Idle), KubeOptions { access, ..KubeOptions::default() }).unwrap();
        let client = with_token(&network, &cluster, "tester").await;
        let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let refused = refusal(api.list(&ListParams::default()).await);
        assert_eq!((refused.0, refused.1.as_str()), (403, "Forbidden"), "without a role: {}", refused.2);
        cluster.api().apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "tester"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "tester", "namespace": "default"}],
        })).unwrap();
        tokio::time::timeout(PATIENCE * 10, test(client)).await.expect("over TLS in time");
    });
    secured.unwrap();
}

/// A client over TLS and HTTP/2 that shows the token of a new service account of the namespace `default`.
async fn with_token(network: &Network, cluster: &Cluster, account: &str) -> Client {
    let metadata = json!({"name": account, "namespace": "default"});
    cluster.api().apply(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})).unwrap();
    let token = cluster.api().service_account_token("default", account, PATIENCE * 100).unwrap();
    let bearer = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    let trusting = tls::client_config(cluster.api().authority().unwrap().pem(), None).unwrap();
    let address = format!("{}:{API_TLS_PORT}", cluster.host().ip());
    let stream = network.host("pod/default/client").connect(&address).await.unwrap();
    let name = ServerName::try_from("kubernetes.default.svc").unwrap();
    let stream = tokio_rustls::TlsConnector::from(trusting).connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (send, connection) = hyper::client::conn::http2::handshake::<_, _, kube::client::Body>(
        sim_net::http::Executor,
        TokioIo::new(stream),
    )
    .await
    .unwrap();
    sim_clock::spawn("connection", async move { drop(connection.await) });
    let inner = tower::service_fn(move |mut request: http::Request<kube::client::Body>| {
        request.headers_mut().insert(AUTHORIZATION, bearer.clone());
        let mut send = send.clone();
        async move { send.send_request(request).await }
    });
    let config = kube::Config::new(format!("https://kubernetes.default.svc:{API_TLS_PORT}").parse().unwrap());
    let service =
        tower::ServiceBuilder::new().layer(config.base_uri_layer()).map_err(tower::BoxError::from).service(inner);
    Client::new(service, "default")
}

fn config_map(name: &str, size: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([("app".to_owned(), "web".to_owned())])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("size".to_owned(), size.to_owned())])),
        ..ConfigMap::default()
    }
}

fn deployment(name: &str, replicas: i32) -> Deployment {
    serde_json::from_value(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "example.org/main:v1"}]},
            },
        },
    }))
    .unwrap()
}

/// The code, reason and message that the server refused with.
fn refusal<T: std::fmt::Debug>(answer: kube::Result<T>) -> (u16, String, String) {
    match answer {
        Err(kube::Error::Api(status)) => (status.code, status.reason.clone(), status.message.clone()),
        other => panic!("refused by the server, not {other:?}"),
    }
}

#[test]
fn objects_are_created_read_patched_replaced_and_deleted() {
    both(|client| async move {
        let api: Api<ConfigMap> = Api::default_namespaced(client);
        let made = api.create(&PostParams::default(), &config_map("one", "1")).await.unwrap();
        assert!(made.uid().is_some() && made.resource_version().is_some());
        let again = refusal(api.create(&PostParams::default(), &config_map("one", "1")).await);
        assert_eq!((again.0, again.1.as_str()), (409, "AlreadyExists"));

        let merge = Patch::Merge(json!({"data": {"colour": "blue"}}));
        let patched = api.patch("one", &PatchParams::default(), &merge).await.unwrap();
        assert_eq!(patched.data.unwrap()["colour"], "blue");
        let apply = Patch::Apply(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"colour": "red"},
        }));
        let conflict = refusal(api.patch("one", &PatchParams::apply("other"), &apply).await);
        assert_eq!((conflict.0, conflict.1.as_str()), (409, "Conflict"));
        let forced = api.patch("one", &PatchParams::apply("other").force(), &apply).await.unwrap();
        assert_eq!(forced.data.unwrap()["colour"], "red");

        // The object as it was first is out of date by now.
        let stale = refusal(api.replace("one", &PostParams::default(), &made).await);
        assert_eq!((stale.0, stale.1.as_str()), (409, "Conflict"));
        assert!(stale.2.contains("please apply your changes to the latest version and try again"));

        api.create(&PostParams::default(), &config_map("two", "2")).await.unwrap();
        let web = ListParams::default().labels("app=web");
        assert_eq!(api.list(&web).await.unwrap().items.len(), 2);
        let page = api.list(&web.clone().limit(1)).await.unwrap();
        let token = page.metadata.continue_.clone().unwrap();
        let rest = api.list(&web.clone().limit(1).continue_token(&token)).await.unwrap();
        assert_eq!((page.items[0].name_any(), rest.items[0].name_any()), ("one".to_owned(), "two".to_owned()));

        api.delete("one", &DeleteParams::default()).await.unwrap();
        assert!(api.get_opt("one").await.unwrap().is_none());
        api.delete_collection(&DeleteParams::default(), &web).await.unwrap();
        assert!(api.list(&web).await.unwrap().items.is_empty());
    });
}

#[test]
fn metadata_can_be_had_alone() {
    both(|client| async move {
        let api: Api<ConfigMap> = Api::default_namespaced(client);
        api.create(&PostParams::default(), &config_map("one", "1")).await.unwrap();
        let one: PartialObjectMeta<ConfigMap> = api.get_metadata("one").await.unwrap();
        assert_eq!(one.types.unwrap().kind, "PartialObjectMetadata");
        assert_eq!(one.metadata.labels.unwrap()["app"], "web");
        let all = api.list_metadata(&ListParams::default().labels("app=web")).await.unwrap();
        assert_eq!(all.items.len(), 1);
    });
}

#[test]
fn status_and_scale_are_written_through_their_subresources() {
    both(|client| async move {
        let api: Api<Deployment> = Api::default_namespaced(client);
        api.create(&PostParams::default(), &deployment("web", 1)).await.unwrap();
        let scaled =
            api.patch_scale("web", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 2}}))).await;
        assert_eq!(scaled.unwrap().spec.unwrap().replicas, Some(2));
        await_condition(api.clone(), "web", conditions::is_deployment_completed()).await.unwrap();
        assert_eq!(api.get("web").await.unwrap().status.unwrap().ready_replicas, Some(2));
        // A write of the status leaves the rest alone.
        let patch = Patch::Merge(json!({"spec": {"replicas": 9}, "status": {"collisionCount": 3}}));
        let after = api.patch_status("web", &PatchParams::default(), &patch).await.unwrap();
        assert_eq!((after.spec.replicas, after.status.unwrap().collision_count), (Some(2), Some(3)));
    });
}

#[test]
fn pods_run_log_and_are_evicted() {
    both(|client| async move {
        let pods: Api<Pod> = Api::default_namespaced(client);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shell"},
            "spec": {"containers": [{"name": "main", "image": "example.org/main:v1"}]},
        });
        let made = pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        await_condition(pods.clone(), "shell", conditions::is_pod_running()).await.unwrap();
        // What containers of `Idle` write: nothing.
        let lines = pods.log_stream("shell", &LogParams::default()).await.unwrap().lines();
        assert_eq!(lines.try_collect::<Vec<_>>().await.unwrap(), Vec::<String>::new());
        pods.evict("shell", &EvictParams::default()).await.unwrap();
        let uid = made.uid().unwrap();
        await_condition(pods.clone(), "shell", conditions::is_deleted(&uid)).await.unwrap();
    });
}

/// What a watcher says of a change that comes after its first list.
async fn watched(client: Client, config: watcher::Config) {
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    api.create(&PostParams::default(), &config_map("one", "1")).await.unwrap();
    let mut events = pin!(watcher(api.clone(), config.labels("app=web")));
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        match event.unwrap() {
            watcher::Event::Init => seen.push("init".to_owned()),
            watcher::Event::InitApply(object) => seen.push(format!("first {}", object.name_any())),
            watcher::Event::InitDone => {
                seen.push("done".to_owned());
                api.create(&PostParams::default(), &config_map("two", "2")).await.unwrap();
                // Leaves the selection, which to a watcher is a deletion.
                let other = Patch::Merge(json!({"metadata": {"labels": {"app": "other"}}}));
                api.patch("one", &PatchParams::default(), &other).await.unwrap();
            }
            watcher::Event::Apply(object) => seen.push(format!("applied {}", object.name_any())),
            watcher::Event::Delete(object) => {
                seen.push(format!("deleted {}", object.name_any()));
                break;
            }
        }
    }
    assert_eq!(seen, ["init", "first one", "done", "applied two", "deleted one"]);
}

#[test]
fn a_watcher_lists_and_watches() {
    both(|client| watched(client, watcher::Config::default()));
}

#[test]
fn a_watcher_streams_its_list() {
    both(|client| watched(client, watcher::Config::default().streaming_lists()));
}

#[test]
fn a_reflector_holds_what_is_there() {
    both(|client| async move {
        let api: Api<ConfigMap> = Api::default_namespaced(client);
        let (reader, writer) = reflector::store();
        let config = watcher::Config::default().labels("app=web");
        let mut stream = pin!(reflector(writer, watcher(api.clone(), config)).default_backoff().applied_objects());
        api.create(&PostParams::default(), &config_map("one", "1")).await.unwrap();
        stream.next().await.unwrap().unwrap();
        api.create(&PostParams::default(), &config_map("two", "2")).await.unwrap();
        stream.next().await.unwrap().unwrap();
        let mut names: Vec<_> = reader.state().iter().map(|object| object.name_any()).collect();
        names.sort();
        assert_eq!(names, ["one", "two"]);
    });
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Kube(#[from] kube::Error),
}

/// Keeps a copy of each ConfigMap labelled `app=web` under another name, and takes it away by a finalizer.
async fn reconcile(
    object: Arc<ConfigMap>,
    client: Arc<Client>,
) -> Result<Action, kube::runtime::finalizer::Error<Failed>> {
    let api: Api<ConfigMap> = Api::default_namespaced((*client).clone());
    let copy = format!("{}-copy", object.name_any());
    finalizer(&api.clone(), "example.org/copies", object, |event| async move {
        match event {
            Finalizer::Apply(object) => {
                let wanted = json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": copy}, "data": object.data,
                });
                api.patch(&copy, &PatchParams::apply("copier").force(), &Patch::Apply(wanted)).await?;
                Ok(Action::await_change())
            }
            Finalizer::Cleanup(_) => {
                api.delete(&copy, &DeleteParams::default()).await?;
                Ok(Action::await_change())
            }
        }
    })
    .await
}

#[test]
fn a_controller_with_a_finalizer_makes_follows_and_cleans_up() {
    both(|client| async move {
        let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let controller = Controller::new(api.clone(), watcher::Config::default().labels("app=web"))
            .run(reconcile, |_, _, _| Action::requeue(Duration::from_secs(1)), Arc::new(client))
            .for_each(|_| async {});
        let story = async {
            api.create(&PostParams::default(), &config_map("one", "1")).await.unwrap();
            let has = |size: &'static str| {
                move |object: Option<&ConfigMap>| {
                    object.and_then(|object| object.data.as_ref()).is_some_and(|data| data["size"] == size)
                }
            };
            await_condition(api.clone(), "one-copy", has("1")).await.unwrap();
            let patch = Patch::Merge(json!({"data": {"size": "2"}}));
            api.patch("one", &PatchParams::default(), &patch).await.unwrap();
            let copy = await_condition(api.clone(), "one-copy", has("2")).await.unwrap().unwrap();
            let one = api.get("one").await.unwrap();
            assert_eq!(one.finalizers(), ["example.org/copies"]);
            api.delete("one", &DeleteParams::default()).await.unwrap();
            await_condition(api.clone(), "one", conditions::is_deleted(&one.uid().unwrap())).await.unwrap();
            await_condition(api.clone(), "one-copy", conditions::is_deleted(&copy.uid().unwrap())).await.unwrap();
        };
        tokio::select! {
            biased;
            () = story => {}
            () = controller => panic!("the controller ended"),
        }
    });
}

#[test]
fn a_recorded_event_is_seen_in_both_groups_and_counted() {
    both(|client| async move {
        let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let one = api.create(&PostParams::default(), &config_map("one", "1")).await.unwrap();
        let recorder = Recorder::new(client.clone(), Reporter { controller: "tester".into(), instance: None });
        let event = Event {
            type_: EventType::Normal,
            reason: "Looked".into(),
            note: Some("had a look".into()),
            action: "Look".into(),
            secondary: None,
        };
        let reference = kube::Resource::object_ref(&one, &());
        recorder.publish(&event, &reference).await.unwrap();
        recorder.publish(&event, &reference).await.unwrap();
        let core: Api<CoreEvent> = Api::default_namespaced(client);
        let about = ListParams::default().fields("involvedObject.name=one,reason=Looked");
        let found = core.list(&about).await.unwrap().items;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].message.as_deref(), Some("had a look"));
        assert_eq!(found[0].series.as_ref().and_then(|series| series.count), Some(2));
    });
}

#[test]
fn discovery_finds_groups_and_kinds_both_ways() {
    both(|client| async move {
        for found in [
            discovery::Discovery::new(client.clone()).run().await.unwrap(),
            discovery::Discovery::new(client.clone()).run_aggregated().await.unwrap(),
        ] {
            assert!(found.has_group("apps") && found.has_group("coordination.k8s.io"));
            let kind = GroupVersionKind::gvk("apps", "v1", "Deployment");
            let (resource, capabilities) = found.resolve_gvk(&kind).unwrap();
            assert_eq!(resource.plural, "deployments");
            assert!(capabilities.supports_operation("watch"));
            assert!(
                capabilities
                    .subresources
                    .iter()
                    .any(|(resource, _)| (&*resource.plural, &*resource.kind) == ("scale", "Scale"))
            );
        }
        let (resource, _) =
            discovery::pinned_kind(&client, &GroupVersionKind::gvk("", "v1", "ConfigMap")).await.unwrap();
        assert_eq!(resource.plural, "configmaps");
        assert_eq!(client.apiserver_version().await.unwrap().major, "1");
    });
}

#[test]
fn of_two_candidates_for_a_lease_one_is_told_that_it_lost() {
    both(|client| async move {
        let leases: Api<Lease> = Api::default_namespaced(client);
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "leader"},
            "spec": {"leaseDurationSeconds": 15},
        });
        let free = leases.create(&PostParams::default(), &serde_json::from_value(lease).unwrap()).await.unwrap();
        let taken_by = |holder: &str| {
            let mut lease = free.clone();
            lease.spec.as_mut().unwrap().holder_identity = Some(holder.to_owned());
            lease
        };
        let won = leases.replace("leader", &PostParams::default(), &taken_by("a")).await.unwrap();
        assert_eq!(won.spec.unwrap().holder_identity.as_deref(), Some("a"));
        let lost = refusal(leases.replace("leader", &PostParams::default(), &taken_by("b")).await);
        assert_eq!((lost.0, lost.1.as_str()), (409, "Conflict"));
    });
}

#[test]
fn the_example_stamps_every_ten_minutes() {
    let stamps = example::stamps();
    let minutes: Vec<_> = stamps.iter().map(|stamp| &stamp[11..16]).collect();
    // Worlds begin at ten to six.
    assert_eq!(minutes, ["17:50", "18:00", "18:10", "18:20", "18:30"]);
}
