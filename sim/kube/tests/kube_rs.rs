//! kube-rs' client and runtime against a cluster, each test over TCP on loopback, in memory inside a world, and there over
//! TLS and HTTP/2 with a service account's token, where roles decide.

use std::{collections::BTreeMap, future::Future, pin::pin, sync::Arc, time::Duration};

use futures::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _};
use http::header::{AUTHORIZATION, HeaderValue};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::{
    apps::v1::Deployment,
    authentication::v1::TokenRequest,
    coordination::v1::Lease,
    core::v1::{ConfigMap, Event as CoreEvent, Node, Pod, Secret, ServiceAccount},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{
        DeleteParams, EvictParams, ListParams, LogParams, ObjectMeta, PartialObjectMeta, Patch, PatchParams,
        PostParams, WatchEvent, WatchParams,
    },
    client::ConfigExt as _,
    core::{GroupVersion, GroupVersionKind},
    discovery,
    runtime::{
        Controller, WatchStreamExt as _,
        controller::Action,
        events::{Event, EventType, Recorder, Reporter},
        finalizer::{Event as Finalizer, finalizer},
        reflector,
        reflector::ObjectRef,
        wait::{await_condition, conditions, delete::delete_and_finalize},
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
fn entries_are_made_changed_and_committed() {
    both(|client| async move {
        let api: Api<ConfigMap> = Api::default_namespaced(client);
        let entry = api.entry("one").await.unwrap();
        assert!(entry.get().is_none());
        let mut made = entry.or_insert(|| config_map("one", "1"));
        made.commit(&PostParams::default()).await.unwrap();
        let change =
            |object: &mut ConfigMap| drop(object.data.get_or_insert_default().insert("size".into(), "2".into()));
        let mut changed = api.entry("one").await.unwrap().and_modify(change).or_insert(|| config_map("one", "9"));
        changed.commit(&PostParams::default()).await.unwrap();
        assert_eq!(api.get("one").await.unwrap().data.unwrap()["size"], "2");
        // The first one has seen an older version.
        change(made.get_mut());
        let stale = made.commit(&PostParams::default()).await.unwrap_err();
        assert!(stale.to_string().contains("save"), "{stale}");
    });
}

#[test]
fn metadata_is_patched_and_watched_alone() {
    both(|client| async move {
        let watching = client.clone();
        let api: Api<ConfigMap> = Api::default_namespaced(client);
        assert!(api.get_metadata_opt("one").await.unwrap().is_none());
        let made = api.create(&PostParams::default(), &config_map("one", "1")).await.unwrap();
        let version = made.resource_version().unwrap();
        let label = Patch::Merge(json!({"metadata": {"labels": {"tier": "a"}}}));
        let patched = api.patch_metadata("one", &PatchParams::default(), &label).await.unwrap();
        assert_eq!(patched.metadata.labels.unwrap()["tier"], "a");
        let params = WatchParams::default().fields("metadata.name=one").timeout(30);
        let mut events = pin!(api.watch_metadata(&params, &version).await.unwrap());
        match events.next().await.unwrap().unwrap() {
            WatchEvent::Modified(seen) => assert_eq!(seen.metadata.labels.unwrap()["tier"], "a"),
            other => panic!("a change, not {other:?}"),
        }
        let partial: Api<PartialObjectMeta<ConfigMap>> = Api::default_namespaced(watching);
        let mut watched = pin!(watcher(partial, watcher::Config::default().labels("tier=a")).applied_objects());
        assert_eq!(watched.next().await.unwrap().unwrap().name_any(), "one");
    });
}

#[test]
fn every_subresource_of_the_api_answers() {
    both(|client| async move {
        let api: Api<Deployment> = Api::default_namespaced(client.clone());
        api.create(&PostParams::default(), &deployment("web", 1)).await.unwrap();
        let mut scale = api.get_scale("web").await.unwrap();
        scale.spec.get_or_insert_default().replicas = Some(2);
        // The controller writes the deployment too, and may have done so since.
        scale.metadata.resource_version = None;
        let scaled = api.replace_scale("web", &PostParams::default(), &scale).await.unwrap();
        assert_eq!(scaled.spec.unwrap().replicas, Some(2));
        await_condition(api.clone(), "web", conditions::is_deployment_completed()).await.unwrap();
        let mut status = api.get_status("web").await.unwrap();
        status.status.get_or_insert_default().collision_count = Some(7);
        status.metadata.resource_version = None;
        let replaced = api.replace_status("web", &PostParams::default(), &status).await.unwrap();
        assert_eq!(replaced.status.unwrap().collision_count, Some(7));
        let restarted = api.restart("web").await.unwrap();
        let annotations = restarted.spec.template.metadata.unwrap().annotations.unwrap();
        assert!(
            annotations.contains_key("kube.kubernetes.io/restartedAt")
                || annotations.contains_key("kubectl.kubernetes.io/restartedAt"),
            "{annotations:?}"
        );

        let nodes: Api<Node> = Api::all(client.clone());
        assert_eq!(nodes.cordon("node-1").await.unwrap().spec.unwrap().unschedulable, Some(true));
        assert_ne!(nodes.uncordon("node-1").await.unwrap().spec.unwrap_or_default().unschedulable, Some(true));

        let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
        accounts
            .create(&PostParams::default(), &serde_json::from_value(json!({"metadata": {"name": "asker"}})).unwrap())
            .await
            .unwrap();
        let asked: TokenRequest = serde_json::from_value(json!({"metadata": {}, "spec": {"audiences": []}})).unwrap();
        let token = accounts.create_token_request("asker", &PostParams::default(), &asked).await.unwrap();
        assert_eq!(token.status.unwrap().token.unwrap().split('.').count(), 3);

        let pods: Api<Pod> = Api::default_namespaced(client);
        let pod = json!({"metadata": {"name": "shell"}, "spec": {"containers": [
            {"name": "main", "image": "example.org/main:v1", "resources": {"requests": {"cpu": "100m"}}}]}});
        pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        await_condition(pods.clone(), "shell", conditions::is_pod_running()).await.unwrap();
        let joins = Patch::Strategic(
            json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "example.org/tool:v1"}]}}),
        );
        let joined = pods.patch_ephemeral_containers("shell", &PatchParams::default(), &joins).await.unwrap();
        assert_eq!(joined.spec.unwrap().ephemeral_containers.unwrap().len(), 1);
        assert_eq!(pods.get_ephemeral_containers("shell").await.unwrap().name_any(), "shell");
        let more = |cpu: &str| {
            Patch::Strategic(
                json!({"spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": cpu}}}]}}),
            )
        };
        let resized = pods.patch_resize("shell", &PatchParams::default(), &more("200m")).await.unwrap();
        let resources = resized.spec.unwrap().containers[0].resources.clone().unwrap();
        assert_eq!(resources.requests.unwrap()["cpu"].0, "200m");
        assert_eq!(resized.metadata.generation, Some(3));
        let other = refusal(pods.patch("shell", &PatchParams::default(), &more("300m")).await);
        assert_eq!((other.0, other.1.as_str()), (422, "Invalid"));
    });
}

#[test]
fn a_client_lists_groups_and_their_resources_and_asks_for_text() {
    both(|client| async move {
        let groups = client.list_api_groups().await.unwrap();
        let scaling = groups.groups.iter().find(|g| g.name == "autoscaling").unwrap();
        assert_eq!(scaling.versions.iter().map(|v| &*v.version).collect::<Vec<_>>(), ["v2", "v1"]);
        let apps = client.list_api_group_resources("apps/v1").await.unwrap();
        assert!(apps.resources.iter().any(|r| r.name == "deployments/scale" && r.kind == "Scale"));
        assert_eq!(client.list_core_api_versions().await.unwrap().versions, ["v1"]);
        let core = client.list_core_api_resources("v1").await.unwrap();
        assert!(core.resources.iter().any(|r| r.name == "bindings" && r.verbs == ["create"]));
        assert!(!client.list_api_groups_aggregated().await.unwrap().items.is_empty());
        let text = client.request_text(http::Request::get("/readyz?verbose").body(Vec::new()).unwrap()).await.unwrap();
        assert!(text.ends_with("readyz check passed\n"), "{text}");
        let page = client.request_text(http::Request::get("/metrics").body(Vec::new()).unwrap()).await.unwrap();
        assert!(page.contains("# TYPE apiserver_request_total counter"), "{page}");
        let group = discovery::group(&client, "apps").await.unwrap();
        assert_eq!(group.preferred_version(), Some("v1"));
        let pinned = discovery::pinned_group(&client, &GroupVersion::gv("autoscaling", "v1")).await.unwrap();
        assert!(pinned.recommended_kind("HorizontalPodAutoscaler").is_some());
        let refused = refusal(client.list_api_group_resources("nobody.example.org/v1").await);
        assert_eq!(refused.0, 404);
    });
}

#[test]
fn what_is_deleted_is_awaited_until_its_finalizers_are_gone() {
    both(|client| async move {
        let api: Api<ConfigMap> = Api::default_namespaced(client);
        let mut held = config_map("held", "1");
        held.metadata.finalizers = Some(vec!["example.org/hold".to_owned()]);
        api.create(&PostParams::default(), &held).await.unwrap();
        let params = DeleteParams::foreground();
        let deletion = delete_and_finalize(api.clone(), "held", &params);
        let release = async {
            let going = |object: Option<&ConfigMap>| object.is_some_and(|o| o.metadata.deletion_timestamp.is_some());
            await_condition(api.clone(), "held", going).await.unwrap();
            let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            api.patch("held", &PatchParams::default(), &patch).await.unwrap();
        };
        let (deleted, ()) = futures::future::join(deletion, release).await;
        deleted.unwrap();
        assert!(api.get_opt("held").await.unwrap().is_none());
    });
}

#[test]
fn a_controller_hears_of_what_it_owns_and_watches_and_ends_when_asked() {
    both(|client| async move {
        let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let secrets: Api<Secret> = Api::default_namespaced(client.clone());
        let one = api.create(&PostParams::default(), &config_map("one", "1")).await.unwrap();
        let (looked, mut looks) = tokio::sync::mpsc::unbounded_channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (again, triggers) = futures::channel::mpsc::unbounded();
        let controller = Controller::new(api.clone(), watcher::Config::default().labels("app=web"))
            .owns(secrets.clone(), watcher::Config::default())
            .watches(api.clone(), watcher::Config::default().labels("app=hint"), |hint: ConfigMap| {
                hint.data
                    .and_then(|data| data.get("about").cloned())
                    .map(|name| ObjectRef::new(&name).within("default"))
            })
            .reconcile_all_on(triggers)
            .graceful_shutdown_on(async move { drop(stopped.await) })
            .run(
                |object: Arc<ConfigMap>, looked: Arc<tokio::sync::mpsc::UnboundedSender<String>>| async move {
                    looked.send(object.name_any()).ok();
                    Ok::<_, Failed>(Action::await_change())
                },
                |_, _, _| Action::requeue(Duration::from_secs(1)),
                Arc::new(looked),
            )
            .for_each(|_| async {});
        let story = async {
            assert_eq!(looks.recv().await.unwrap(), "one", "at first");
            let owner = kube::Resource::controller_owner_ref(&one, &()).unwrap();
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some("s".into()),
                    owner_references: Some(vec![owner]),
                    ..ObjectMeta::default()
                },
                ..Secret::default()
            };
            secrets.create(&PostParams::default(), &secret).await.unwrap();
            assert_eq!(looks.recv().await.unwrap(), "one", "what it owns came");
            let mut hint = config_map("hint", "1");
            hint.metadata.labels = Some(BTreeMap::from([("app".to_owned(), "hint".to_owned())]));
            hint.data = Some(BTreeMap::from([("about".to_owned(), "one".to_owned())]));
            api.create(&PostParams::default(), &hint).await.unwrap();
            assert_eq!(looks.recv().await.unwrap(), "one", "what it watches came");
            again.unbounded_send(()).unwrap();
            assert_eq!(looks.recv().await.unwrap(), "one", "somebody asked");
            stop.send(()).unwrap();
        };
        futures::future::join(story, controller).await;
    });
}

#[test]
fn the_example_stamps_every_ten_minutes() {
    let stamps = example::stamps();
    let minutes: Vec<_> = stamps.iter().map(|stamp| &stamp[11..16]).collect();
    // Worlds begin at ten to six.
    assert_eq!(minutes, ["17:50", "18:00", "18:10", "18:20", "18:30"]);
}
