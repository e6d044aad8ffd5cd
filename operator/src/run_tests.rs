//! The whole operator against a small API server: caches, a reconcile, what it writes, what can be read of it, its end.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{Response, Uri};
use http_body_util::{BodyExt, StreamBody};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::*;
use crate::{
    config::Invocation,
    host::BoxedIo,
    runtime::{Action, Backoff, ControllerSpec, Reconciler, Request, Store, Trigger},
    testing::{self, Body, Collector, Doors, Lines, Server, attributes, full, hex, host, in_runtime},
};

/// Knows one ConfigMap, watches without news, and answers patches with a status. Deployments may not be listed.
#[derive(Clone)]
struct ApiServer {
    patch_status: u16,
    requests: Arc<Mutex<Vec<(String, String, Option<String>, Value)>>>,
}

impl Server for ApiServer {
    fn answer(&self, parts: http::request::Parts, body: Bytes) -> Response<Body> {
        let uri = parts.uri.to_string();
        let traceparent = parts.headers.get("traceparent").map(|value| value.to_str().unwrap().to_owned());
        let body = serde_json::from_slice(&body).unwrap_or_default();
        self.requests.lock().unwrap().push((parts.method.to_string(), uri.clone(), traceparent, body));
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1"}
        });
        match parts.method.as_str() {
            "GET" if uri.contains("watch=true") => {
                let silence = futures::stream::pending::<Result<hyper::body::Frame<Bytes>, std::convert::Infallible>>();
                Response::new(StreamBody::new(silence).boxed_unsync())
            }
            "GET" if uri.ends_with("/apis/apps/v1") => full(200, json!({"apiVersion": "v1", "kind": "APIResourceList", "groupVersion": "apps/v1", "resources": [
                {"name": "deployments", "singularName": "deployment", "kind": "Deployment", "namespaced": true, "verbs": ["list", "watch"]}
            ]}).to_string()),
            "GET" if uri.contains("/apis/apps/v1/deployments") => full(
                403,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "not you"}).to_string(),
            ),
            "GET" => full(200, json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": "1"}, "items": [object]}).to_string()),
            "PATCH" if self.patch_status >= 400 => full(
                self.patch_status,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": self.patch_status, "reason": "Unavailable", "message": "not now"}).to_string(),
            ),
            "PATCH" => full(200, object.to_string()),
            "POST" => full(201, json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "n"}, "involvedObject": {}}).to_string()),
            _ => full(405, "{}"),
        }
    }
}

struct Touch {
    client: Client,
    events: EventRecorder,
    objects: Store<ConfigMap>,
}

impl Reconciler for Touch {
    type Error = kube::Error;

    fn spec(&self) -> ControllerSpec {
        ControllerSpec {
            name: "touch",
            kind: "ConfigMap",
            root_span: "ConfigMap.Reconcile",
            workers: 1,
            backoff: Backoff::new(Duration::from_secs(60), Duration::from_secs(60)),
        }
    }

    async fn reconcile(&self, request: &Request) -> Result<Action, kube::Error> {
        let Some(object) = self.objects.get(&request.key) else { return Ok(Action::Done) };
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &request.key.namespace);
        let patch = Patch::Merge(json!({"data": {"seen": "yes"}}));
        crate::observability::step("ConfigMap.Touch", async {
            api.patch("a", &PatchParams::default(), &patch).await.map(drop)
        })
        .await?;
        self.events.normal(&*object, "Synced", "Successfully reconciled ConfigMap");
        Ok(Action::Done)
    }
}

struct Ran {
    collector: Collector,
    api: ApiServer,
    lines: Vec<Value>,
    metrics: String,
    open_metrics: Response<String>,
    ready: [u16; 2],
}

fn run_once(patch_status: u16) -> Ran {
    run_until(patch_status, 1, &[])
}

/// Runs the operator with these flags too, until it has reconciled its one object so many times at least.
fn run_until(patch_status: u16, reconciles: usize, flags: &[&str]) -> Ran {
    in_runtime(async {
        let (collector, lines, doors) = (Collector::default(), Lines::default(), Doors::default());
        let api = ApiServer { patch_status, requests: Arc::default() };
        // The API server lets nobody in before the first question for readiness.
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let (to_api, to_collector, closed) = (api.clone(), collector.clone(), gate.clone());
        let connector = Connector::new(move |uri: Uri| -> BoxFuture<'static, io::Result<BoxedIo>> {
            let (api, collector, closed) = (to_api.clone(), to_collector.clone(), closed.clone());
            Box::pin(async move {
                match uri.host() {
                    Some("kubernetes") => {
                        drop(closed.acquire().await);
                        Ok(testing::open(api))
                    }
                    Some("collector") => Ok(testing::open(collector)),
                    _ => Err(io::Error::other("no such host")),
                }
            })
        });
        let (handle, mut host) = host(connector, &lines);
        let opened = doors.clone();
        host.listen = Arc::new(move |address: SocketAddr| opened.listen(address));
        host.env = BTreeMap::from([
            ("POD_NAMESPACE".to_owned(), "multigres-operator".to_owned()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), "http://collector:4318".to_owned()),
        ]);
        host.args = ["--metrics-secure=false", "--webhook-enable=false"].map(str::to_owned).into();
        host.args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let Ok(Invocation::Run(config)) = Config::parse(&host.args, &host.env) else { panic!("a good configuration") };
        let running = tokio::spawn(run_with(host, *config, |manager, parts| {
            // An option that the API server knows and does not hand out: nobody waits for it.
            assert!(!manager.optional_store::<Deployment>().served());
            let objects = manager.store::<ConfigMap>();
            let events = parts.events.for_component("touch-controller");
            let touch = Touch { client: parts.client.clone(), events, objects };
            manager.controller::<ConfigMap, _>(touch).on_primary(Trigger::Any).register();
        }));
        tokio::task::yield_now().await;
        let before = doors.get(8081, "/readyz", "").await.status().as_u16();
        gate.add_permits(1);
        let done = async {
            loop {
                let text = doors.get(8443, "/metrics", "").await.into_body();
                let counts = text.lines().filter(|line| line.starts_with("controller_runtime_reconcile_total"));
                let mut counts = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
                let reconciled = counts.any(|count| count >= reconciles);
                let told =
                    patch_status >= 400 || reconciles > 1 || text.contains("event_records_total{outcome=\"sent\"} 1");
                if reconciled && told {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let metrics =
            tokio::time::timeout(Duration::from_secs(5), done).await.expect("all reconciles within five seconds");
        let open_metrics = doors.get(8443, "/metrics", "application/openmetrics-text;version=1.0.0").await;
        let after = doors.get(8081, "/readyz", "").await.status().as_u16();
        handle.request();
        running.await.unwrap().unwrap();
        let lines = lines.lock().unwrap().clone();
        Ran { collector, api, lines, metrics, open_metrics, ready: [before, after] }
    })
}

#[test]
fn a_reconcile_is_one_trace_from_its_root_to_the_request_on_the_wire() {
    let ran = run_once(200);
    let (root, step, call) = (
        ran.collector.span("ConfigMap.Reconcile"),
        ran.collector.span("ConfigMap.Touch"),
        ran.collector.span("PATCH configmaps"),
    );
    assert_eq!((&step.parent_span_id, &call.parent_span_id), (&root.span_id, &step.span_id));
    assert_eq!(ran.collector.spans().len(), 3, "lists, watches and events make no span of their own");
    let attributes = attributes(&call);
    assert_eq!(attributes["http.response.status_code"], "200");
    assert_eq!(attributes["url.template"], "/api/v1/namespaces/{namespace}/configmaps/{name}");
    assert_eq!(attributes["server.address"], "kubernetes");
    let requests = ran.api.requests.lock().unwrap();
    let patch = requests.iter().find(|(method, ..)| method == "PATCH").unwrap();
    assert_eq!(patch.2, Some(format!("00-{}-{}-01", hex(&call.trace_id), hex(&call.span_id))));
    let event = &requests.iter().find(|(method, ..)| method == "POST").unwrap().3;
    assert_eq!((&event["reason"], &event["count"]), (&json!("Synced"), &json!(1)));
    assert_eq!(event["involvedObject"]["kind"], "ConfigMap");
}

#[test]
fn every_object_is_looked_at_again_once_a_period_though_nothing_happens() {
    let started = tokio::time::Instant::now();
    let ran = run_until(200, 3, &["--sync-period=1s"]);
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
    // The count of the event grows by a PATCH, too.
    let is_write = |method: &str, uri: &str| method == "PATCH" && uri.contains("/configmaps/");
    let writes = ran.api.requests.lock().unwrap().iter().filter(|(method, uri, ..)| is_write(method, uri)).count();
    // On a busy machine another period may be over before the operator has ended.
    assert!(writes >= 3, "this reconciler writes each time: {writes}");
}

#[test]
fn an_outage_of_the_api_server_is_red_all_the_way_up_and_every_red_span_has_its_line() {
    let ran = run_once(503);
    for name in ["ConfigMap.Reconcile", "ConfigMap.Touch", "PATCH configmaps"] {
        let span = ran.collector.span(name);
        assert_eq!(span.status.clone().unwrap().code, 2, "{name}");
        let lines: Vec<_> = ran
            .lines
            .iter()
            .filter(|line| line["span_id"] == hex(&span.span_id) && line.get("error").is_some())
            .collect();
        assert_eq!(lines.len(), 1, "{name}: {lines:?}");
        assert_eq!(lines[0]["controller"], "touch");
    }
    assert!(
        ran.metrics.contains("controller_runtime_reconcile_errors_total{controller=\"touch\"} 1\n"),
        "{}",
        ran.metrics
    );
    let host = "rest_client_requests_total{code=\"503\",host=\"kubernetes\",method=\"PATCH\"} 1\n";
    assert!(ran.metrics.contains(host), "one request, not retried by the client: {}", ran.metrics);
}

#[test]
fn what_runs_can_be_read_and_is_ready_only_with_its_caches() {
    let ran = run_once(200);
    assert_eq!(ran.ready, [500, 200]);
    assert_eq!(
        ran.open_metrics.headers()["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let body = ran.open_metrics.body();
    let root = ran.collector.span("ConfigMap.Reconcile");
    let exemplar = format!("# {{trace_id=\"{}\"}}", hex(&root.trace_id));
    let of_reconcile: Vec<_> = body
        .lines()
        .filter(|line| line.starts_with("controller_runtime_reconcile_time_seconds_bucket") && line.contains(&exemplar))
        .collect();
    assert_eq!(of_reconcile.len(), 1, "{body}");
    assert!(body.ends_with("# EOF\n"));
    let (of_option, lines): (Vec<_>, Vec<_>) = ran.lines.iter().partition(|line| line["kind"] == "Deployment");
    let messages: Vec<_> = lines.iter().map(|line| line["msg"].as_str().unwrap()).collect();
    assert_eq!(messages, ["starting manager", "caches synced", "reconcile started", "reconcile complete", "stopped"]);
    assert_eq!(of_option.len(), 2, "found, and not handed out: {of_option:?}");
}

#[test]
fn an_operator_that_is_killed_leaves_nothing_that_runs() {
    in_runtime(async {
        let lines = Lines::default();
        let collector = Collector::default();
        let (_handle, mut host) = host(collector.connector(), &lines);
        let doors = Doors::default();
        let opened = doors.clone();
        host.listen = Arc::new(move |address: SocketAddr| opened.listen(address));
        host.env = BTreeMap::from([
            ("POD_NAMESPACE".to_owned(), "multigres-operator".to_owned()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), "http://collector:4318".to_owned()),
        ]);
        host.connector = testing::no_network();
        let args = ["--metrics-secure=false", "--webhook-enable=false"].map(str::to_owned);
        let Ok(Invocation::Run(config)) = Config::parse(&args, &host.env) else { panic!("a good configuration") };
        let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let mut running = Box::pin(run_with(host, *config, |manager, _| {
            manager.store::<ConfigMap>();
        }));
        assert!((&mut running).now_or_never().is_none());
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!((&mut running).now_or_never().is_none());
        assert!(tokio::runtime::Handle::current().metrics().num_alive_tasks() > before);
        drop(running);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), before);
    });
}
