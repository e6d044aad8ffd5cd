//! The builder without a world; the operator in one.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use bytes::Bytes;
use serde_json::json;
use sim_net::{NameTarget, Network, http as web};

use super::*;

const ALERTMANAGER: &str = include_str!("../../../../deploy/observability/alertmanager.yaml");

/// The files in `deploy/` and a cluster in which the operator's pod runs.
fn shipped() -> Cluster {
    let mut cluster = Cluster::default();
    for (kind, file) in [
        (Kind::Prometheus, include_str!("../../../../deploy/observability/prometheus.yaml")),
        (Kind::ServiceMonitor, include_str!("../../../../deploy/observability/prometheus.yaml")),
        (Kind::Alertmanager, ALERTMANAGER),
        (Kind::Service, ALERTMANAGER),
        (Kind::PrometheusRule, include_str!("../../../../deploy/monitoring/prometheus-rules.yaml")),
        (Kind::Service, include_str!("../../../../deploy/operator/metrics-service.yaml")),
    ] {
        let documents: Vec<Value> = serde_saphyr::from_multiple(file).expect("valid YAML");
        for mut object in documents {
            if object["kind"] == format!("{kind:?}") {
                object["metadata"]["uid"] =
                    json!(format!("uid-of-{}", object["metadata"]["name"].as_str().expect("name")));
                cluster.put(kind, object);
            }
        }
    }
    cluster.put(Kind::Namespace, json!({"metadata": {"name": "multigres-operator", "labels": {"team": "db"}}}));
    cluster.put(Kind::Pod, pod("manager-0", "Running", "10.244.0.5"));
    cluster.put(Kind::Endpoints, json!({
        "metadata": {"namespace": "multigres-operator", "name": "multigres-operator-controller-manager-metrics-service"},
        "subsets": [{
            "addresses": [{"ip": "10.244.0.5", "nodeName": "node-0", "targetRef": {"kind": "Pod", "namespace": "multigres-operator", "name": "manager-0"}}],
            "ports": [{"name": "metrics", "port": 8443}, {"name": "other", "port": 1}],
        }],
    }));
    cluster.put(
        Kind::Endpoints,
        json!({
            "metadata": {"namespace": "multigres-operator", "name": "alertmanager"},
            "subsets": [{"addresses": [{"ip": "10.244.0.9"}], "ports": [{"name": "web", "port": 9093}]}],
        }),
    );
    cluster
}

fn pod(name: &str, phase: &str, ip: &str) -> Value {
    json!({
        "metadata": {"namespace": "multigres-operator", "name": name, "uid": name, "labels": {"control-plane": "controller-manager"}},
        "spec": {"nodeName": "node-0", "containers": [{"name": "manager", "ports": [{"name": "metrics", "containerPort": 8443}]}]},
        "status": {"phase": phase, "podIP": ip},
    })
}

fn only(cluster: &Cluster) -> Built {
    build(cluster.prometheuses.values().next().expect("a Prometheus"), cluster)
}

/// The configuration file inside the Secret, parsed.
fn configuration(built: &Built) -> Value {
    let encoded = built.objects[0]["data"]["prometheus.yaml"].as_str().expect("the Secret's data");
    let text = base64::engine::general_purpose::STANDARD.decode(encoded).expect("base64");
    serde_saphyr::from_str(std::str::from_utf8(&text).expect("UTF-8")).expect("valid YAML")
}

#[test]
fn the_shipped_monitor_becomes_a_scrape_configuration_with_the_labels_of_the_real_operator() {
    let built = only(&shipped());
    assert_eq!(built.warnings, Vec::<String>::new());
    assert_eq!(
        configuration(&built),
        json!({
            "global": {
                "scrape_interval": "30s",
                "scrape_timeout": "10s",
                "external_labels": {"prometheus": "multigres-operator/multigres", "prometheus_replica": "prometheus-multigres-0"},
                "evaluation_interval": "30s",
            },
            "rule_files": ["/etc/prometheus/rules/*.yaml"],
            "alerting": {
                "alert_relabel_configs": [{"action": "labeldrop", "regex": "prometheus_replica"}],
                "alertmanagers": [{"api_version": "v2", "static_configs": [{"targets": ["10.244.0.9:9093"]}]}],
            },
            "scrape_configs": [{
                "job_name": "serviceMonitor/multigres-operator/multigres-operator/0",
                "honor_labels": true,
                "metrics_path": "/metrics",
                "scheme": "https",
                "tls_config": {"insecure_skip_verify": true},
                "authorization": {"type": "Bearer", "credentials_file": "/var/run/secrets/kubernetes.io/serviceaccount/token"},
                "static_configs": [{
                    "targets": ["10.244.0.5:8443"],
                    "labels": {
                        "container": "manager",
                        "endpoint": "metrics",
                        "job": "multigres-operator-controller-manager-metrics-service",
                        "namespace": "multigres-operator",
                        "pod": "manager-0",
                        "service": "multigres-operator-controller-manager-metrics-service",
                    },
                }],
            }],
        })
    );
}

#[test]
fn the_shipped_rules_are_mounted_word_for_word() {
    let built = only(&shipped());
    let data = built.objects[1]["data"].as_object().expect("the ConfigMap's data");
    let name = "multigres-operator-multigres-operator-alerts-uid-of-multigres-operator-alerts.yaml";
    assert_eq!(data.keys().collect::<Vec<_>>(), [name]);
    let file: Value = serde_saphyr::from_str(data[name].as_str().expect("text")).expect("valid YAML");
    let source: Value = serde_saphyr::from_str(include_str!("../../../../deploy/monitoring/prometheus-rules.yaml"))
        .expect("valid YAML");
    assert_eq!(file["groups"], source["spec"]["groups"]);
    assert_eq!(file["groups"][0]["rules"].as_array().map(Vec::len), Some(8));
}

#[test]
fn the_stateful_set_mounts_what_was_written_and_is_found_by_the_shipped_service() {
    let built = only(&shipped());
    let set = &built.objects[3];
    let volumes = &set["spec"]["template"]["spec"]["volumes"];
    assert_eq!(volumes[0]["secret"]["secretName"], built.objects[0]["metadata"]["name"]);
    assert_eq!(volumes[1]["configMap"]["name"], built.objects[1]["metadata"]["name"]);
    let arguments = set["spec"]["template"]["spec"]["containers"][0]["args"].as_array().expect("args");
    for argument in
        ["--web.enable-otlp-receiver", "--enable-feature=auto-reload-config,exemplar-storage,native-histograms"]
    {
        assert!(arguments.contains(&json!(argument)), "{argument} in {arguments:?}");
    }
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    for (name, value) in set["spec"]["selector"]["matchLabels"].as_object().expect("a selector") {
        assert_eq!(&labels[name], value);
    }
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(include_str!("../../../../deploy/observability/prometheus.yaml"))
            .expect("valid YAML");
    let service = documents.iter().find(|object| object["kind"] == "Service").expect("the Service");
    for (name, value) in service["spec"]["selector"].as_object().expect("a selector") {
        assert_eq!(&labels[name], value);
    }
    for object in &built.objects {
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "uid-of-multigres");
    }
}

#[test]
fn the_shipped_alertmanager_mounts_its_secret_and_is_found_by_the_shipped_service() {
    let cluster = shipped();
    let built = alertmanager::build(cluster.alertmanagers.values().next().expect("an Alertmanager"));
    assert_eq!(built.warnings, Vec::<String>::new());
    let shipped: Vec<Value> = serde_saphyr::from_multiple(ALERTMANAGER).expect("valid YAML");
    let of_kind = |kind: &str| shipped.iter().find(|object| object["kind"] == kind).expect("shipped");
    let set = &built.objects[1];
    let template = &set["spec"]["template"];
    assert_eq!(template["spec"]["volumes"][0]["secret"]["secretName"], of_kind("Secret")["metadata"]["name"]);
    for (name, value) in of_kind("Service")["spec"]["selector"].as_object().expect("a selector") {
        assert_eq!(&template["metadata"]["labels"][name], value);
    }
    for (name, value) in set["spec"]["selector"]["matchLabels"].as_object().expect("a selector") {
        assert_eq!(&template["metadata"]["labels"][name], value);
    }
    let arguments = template["spec"]["containers"][0]["args"].as_array().expect("args");
    for argument in ["--config.file=/etc/alertmanager/config/alertmanager.yaml", "--log.level=debug"] {
        assert!(arguments.contains(&json!(argument)), "{argument} in {arguments:?}");
    }
    for object in &built.objects {
        assert_eq!(object["metadata"]["ownerReferences"][0]["kind"], "Alertmanager");
    }
}

#[test]
fn an_alertmanager_with_credentials_that_are_not_supported_is_left_out_and_named() {
    let mut cluster = shipped();
    let prometheus = cluster.prometheuses.values_mut().next().expect("one");
    let alerting = prometheus.spec.alerting.as_mut().expect("shipped");
    alerting.alertmanagers[0].rest.insert("sigv4".to_owned(), json!({}));
    let built = only(&cluster);
    assert_eq!(configuration(&built)["alerting"], json!(null));
    assert_eq!(built.warnings, ["spec.alerting.alertmanagers[0] is left out: sigv4 not supported"]);
    let secure = json!({
        "name": "alertmanager", "port": 9093, "scheme": "HTTPS", "bearerTokenFile": "/token",
        "tlsConfig": {"caFile": "/ca", "serverName": "alertmanager.svc"},
    });
    let prometheus = cluster.prometheuses.values_mut().next().expect("one");
    prometheus.spec.alerting = serde_json::from_value(json!({"alertmanagers": [secure]})).ok();
    let built = only(&cluster);
    assert_eq!(built.warnings, Vec::<String>::new());
    assert_eq!(
        configuration(&built)["alerting"]["alertmanagers"],
        json!([{
            "scheme": "https", "api_version": "v2", "static_configs": [{"targets": ["10.244.0.9:9093"]}],
            "authorization": {"type": "Bearer", "credentials_file": "/token"},
            "tls_config": {"ca_file": "/ca", "server_name": "alertmanager.svc"},
        }])
    );
}

#[test]
fn a_selector_that_is_absent_selects_nothing_and_an_empty_one_everything() {
    let mut cluster = shipped();
    let jobs = |cluster: &Cluster| configuration(&only(cluster))["scrape_configs"].as_array().expect("a list").len();
    let prometheus = cluster.prometheuses.values_mut().next().expect("one");
    prometheus.spec.service_monitor_selector = None;
    assert_eq!(jobs(&cluster), 0);
    let prometheus = cluster.prometheuses.values_mut().next().expect("one");
    prometheus.spec.service_monitor_selector = Some(crate::selector::LabelSelector::default());
    assert_eq!(jobs(&cluster), 1);
}

#[test]
fn monitors_of_other_namespaces_are_taken_only_where_their_namespace_is_selected() {
    let mut cluster = shipped();
    let mut monitor = cluster.service_monitors.values().next().expect("one").clone();
    monitor.metadata.namespace = "elsewhere".to_owned();
    cluster.service_monitors.insert(("elsewhere".to_owned(), "m".to_owned()), monitor);
    let jobs = |cluster: &Cluster| configuration(&only(cluster))["scrape_configs"].as_array().expect("a list").len();
    assert_eq!(jobs(&cluster), 1);
    let prometheus = cluster.prometheuses.values_mut().next().expect("one");
    prometheus.spec.service_monitor_namespace_selector =
        serde_json::from_value(json!({"matchExpressions": [{"key": "team", "operator": "In", "values": ["web"]}]}))
            .ok();
    assert_eq!(jobs(&cluster), 0);
    cluster.put(Kind::Namespace, json!({"metadata": {"name": "elsewhere", "labels": {"team": "web"}}}));
    assert_eq!(jobs(&cluster), 1);
}

#[test]
fn a_pod_that_is_not_ready_is_scraped_and_one_that_has_ended_is_not() {
    let mut cluster = shipped();
    let address = |name: &str, ip: &str| json!({"ip": ip, "targetRef": {"kind": "Pod", "namespace": "multigres-operator", "name": name}});
    cluster.put(Kind::Pod, pod("manager-1", "Failed", "10.244.0.6"));
    cluster.put(Kind::Endpoints, json!({
        "metadata": {"namespace": "multigres-operator", "name": "multigres-operator-controller-manager-metrics-service"},
        "subsets": [{
            "notReadyAddresses": [address("manager-0", "10.244.0.5"), address("manager-1", "10.244.0.6")],
            "ports": [{"name": "metrics", "port": 8443}],
        }],
    }));
    let groups = configuration(&only(&cluster))["scrape_configs"][0]["static_configs"].take();
    assert_eq!(groups.as_array().map(Vec::len), Some(1), "{groups}");
    assert_eq!(groups[0]["targets"], json!(["10.244.0.5:8443"]));
}

#[test]
fn endpoint_slices_yield_the_same_targets_as_endpoints() {
    let mut cluster = shipped();
    let from_endpoints = configuration(&only(&cluster))["scrape_configs"].take();
    cluster.endpoints.clear();
    cluster.put(
        Kind::EndpointSlice,
        json!({
            "metadata": {
                "namespace": "multigres-operator",
                "name": "x",
                "labels": {"kubernetes.io/service-name": "multigres-operator-controller-manager-metrics-service"},
            },
            "endpoints": [{
                "addresses": ["10.244.0.5"],
                "conditions": {"ready": true},
                "nodeName": "node-0",
                "targetRef": {"kind": "Pod", "namespace": "multigres-operator", "name": "manager-0"},
            }],
            "ports": [{"name": "metrics", "port": 8443}],
        }),
    );
    let prometheus = cluster.prometheuses.values_mut().next().expect("one");
    prometheus.spec.service_discovery_role = Some(model::DiscoveryRole::EndpointSlice);
    assert_eq!(configuration(&only(&cluster))["scrape_configs"], from_endpoints);
}

#[test]
fn the_monitors_own_relabelling_sees_the_meta_labels_of_discovery() {
    let mut cluster = shipped();
    let monitor = cluster.service_monitors.values_mut().next().expect("one");
    monitor.spec.endpoints[0].relabelings = serde_json::from_value(json!([
        {"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node", "action": "Replace"},
    ]))
    .expect("relabelings");
    let config = configuration(&only(&cluster));
    let scrape = &config["scrape_configs"][0];
    assert_eq!(scrape["static_configs"][0]["labels"]["__meta_kubernetes_pod_node_name"], "node-0");
    assert_eq!(
        scrape["relabel_configs"],
        json!([{"source_labels": ["__meta_kubernetes_pod_node_name"], "target_label": "node", "action": "replace"}])
    );
}

#[test]
fn an_endpoint_with_credentials_that_are_not_supported_is_left_out_and_named() {
    let mut cluster = shipped();
    let monitor = cluster.service_monitors.values_mut().next().expect("one");
    monitor.spec.endpoints[0].rest.insert("oauth2".to_owned(), json!({}));
    let built = only(&cluster);
    assert_eq!(configuration(&built)["scrape_configs"], json!([]));
    assert_eq!(built.warnings.len(), 1);
    assert!(built.warnings[0].contains("oauth2"), "{:?}", built.warnings);
}

/// What the operator writes, judged by the real Prometheus' own checker. Says SKIPPED where there is no promtool.
#[test]
#[allow(clippy::disallowed_methods, reason = "the referee is a program of the machine, named by its environment")]
fn promtool_accepts_the_configuration_and_the_rule_files() {
    let promtool = std::env::var("PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
    let required =
        std::env::var("REQUIRE_BACKENDS").is_ok_and(|backends| backends.split(',').any(|name| name == "promtool"));
    let check = |arguments: &[&str], file: &std::path::Path| {
        std::process::Command::new(&promtool).arg("check").args(arguments).arg(file).output()
    };
    if check(&["rules"], std::path::Path::new("/dev/null")).is_err() {
        assert!(!required, "REQUIRE_BACKENDS names promtool, but {promtool} does not run");
        println!("SKIPPED: no promtool (set PROMTOOL to its path)");
        return;
    }

    let mut cluster = shipped();
    let endpoint = &mut cluster.service_monitors.values_mut().next().expect("one").spec.endpoints[0];
    // Everything that an endpoint can say and that is acted on.
    *endpoint = serde_json::from_value(json!({
        "port": "metrics", "scheme": "HTTPS", "path": "/m", "interval": "15s", "scrapeTimeout": "5s",
        "honorLabels": true, "honorTimestamps": false, "followRedirects": true, "params": {"a": ["b"]},
        "bearerTokenFile": "/var/run/token", "tlsConfig": {"caFile": "/ca", "insecureSkipVerify": true},
        "relabelings": [{"sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "who", "action": "Replace"}],
        "metricRelabelings": [{"regex": "le_.*", "action": "LabelDrop"}],
    }))
    .expect("an endpoint");
    let spec = &mut cluster.prometheuses.values_mut().next().expect("one").spec;
    spec.tsdb.out_of_order_time_window = Some("10m".to_owned());
    spec.otlp = Some(
        json!({"translationStrategy": "UnderscoreEscapingWithSuffixes", "promoteResourceAttributes": ["service.name"]}),
    );
    let built = only(&cluster);
    assert_eq!(built.warnings, Vec::<String>::new());

    let folder = std::env::temp_dir().join(format!("sim-controllers-promtool-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let config = folder.join("prometheus.yaml");
    let encoded = built.objects[0]["data"]["prometheus.yaml"].as_str().expect("the Secret's data");
    std::fs::write(&config, base64::engine::general_purpose::STANDARD.decode(encoded).expect("base64"))
        .expect("written");
    let mut verdicts = vec![check(&["config", "--syntax-only"], &config).expect("promtool runs")];
    for (name, text) in built.objects[1]["data"].as_object().expect("the ConfigMap's data") {
        let file = folder.join(name);
        std::fs::write(&file, text.as_str().expect("text")).expect("written");
        verdicts.push(check(&["rules"], &file).expect("promtool runs"));
    }
    std::fs::remove_dir_all(&folder).expect("removed");
    assert_eq!(verdicts.len(), 2);
    for verdict in verdicts {
        assert!(verdict.status.success(), "{}", String::from_utf8_lossy(&verdict.stderr));
    }
}

/// An API server with one answer per list, a watch that sends what it is told, and a memory for what was applied.
#[derive(Clone, Default)]
struct FakeApi(Arc<Mutex<Fake>>);

#[derive(Default)]
struct Fake {
    objects: Vec<(Kind, Value)>,
    /// Lines that the next watch of a kind sends, each some seconds after the one before.
    events: Vec<(Kind, u64, Value)>,
    /// How many writes are refused before the first is taken.
    refuse: u32,
    /// A kind that cannot be listed before it has been asked for this many times.
    unlisted: Option<(Kind, u32)>,
    /// How many lists were asked for, by kind.
    lists: BTreeMap<Kind, u32>,
    applied: Vec<(String, Value)>,
}

impl FakeApi {
    fn answer(&self, request: &http::Request<Bytes>) -> http::Response<web::Body> {
        let mut fake = self.0.lock().expect("no panic while locked");
        let path = request.uri().path();
        if request.method() == http::Method::PATCH {
            assert_eq!(request.uri().query(), Some("fieldManager=prometheus-operator&force=true"));
            if fake.refuse > 0 {
                fake.refuse -= 1;
                let status = json!({"kind": "Status", "message": "etcd is away"});
                return web::json(http::StatusCode::SERVICE_UNAVAILABLE, &status);
            }
            let body: Value = serde_json::from_slice(request.body()).expect("JSON");
            fake.applied.push((path.to_owned(), body.clone()));
            return web::json(http::StatusCode::OK, &body);
        }
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.path() == path) else {
            return web::json(http::StatusCode::NOT_FOUND, &json!({"kind": "Status"}));
        };
        if !request.uri().query().is_some_and(|query| query.contains("watch=true")) {
            let asked = fake.lists.entry(kind).or_default();
            *asked += 1;
            let asked = *asked;
            if fake.unlisted.is_some_and(|(unlisted, times)| unlisted == kind && asked <= times) {
                return web::json(
                    http::StatusCode::INTERNAL_SERVER_ERROR,
                    &json!({"kind": "Status", "message": "boom"}),
                );
            }
            let items: Vec<&Value> =
                fake.objects.iter().filter(|(of, _)| *of == kind).map(|(_, object)| object).collect();
            return web::json(http::StatusCode::OK, &json!({"metadata": {"resourceVersion": "5"}, "items": items}));
        }
        let (lines, others) = fake.events.drain(..).partition(|(of, ..)| *of == kind);
        fake.events = others;
        watch_body(lines)
    }
}

/// A watch that sends these lines and then nothing, until the connection breaks.
fn watch_body(lines: Vec<(Kind, u64, Value)>) -> http::Response<web::Body> {
    let (sender, receiver) = mpsc::channel(1);
    sim_clock::spawn("watch", async move {
        for (_, after_seconds, line) in lines {
            sleep(Duration::from_secs(after_seconds)).await;
            let frame = hyper::body::Frame::data(Bytes::from(format!("{line}\n")));
            let _ = sender.send(Ok(frame)).await;
        }
        sleep(Duration::from_secs(60)).await;
        let _ = sender.send(Err(std::io::ErrorKind::ConnectionReset.into())).await;
    });
    let frames =
        futures::stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    http::Response::new(http_body_util::BodyExt::boxed(http_body_util::StreamBody::new(frames)))
}

/// Runs the operator against `fake` with the shipped objects for some virtual minutes.
fn run_against(mut fake: Fake, minutes: u64) -> Fake {
    let document = include_str!("../../../../deploy/observability/prometheus.yaml");
    for object in serde_saphyr::from_multiple::<Value>(document).expect("YAML") {
        let kind = Kind::ALL.into_iter().find(|kind| object["kind"] == format!("{kind:?}"));
        fake.objects.extend(kind.map(|kind| (kind, object)));
    }
    sim_clock::run(sim_clock::WorldOptions::seeded(3), move || async move {
        let network = Network::new();
        let server = network.host("kubernetes");
        network.set_name("kubernetes.default.svc", NameTarget::Addresses(vec![server.ip()]));
        let api = FakeApi(Arc::new(Mutex::new(fake)));
        let answering = api.clone();
        let listener = server.listen(443).expect("a free port");
        let serving = web::serve(listener, web::Limits::default(), move |request| {
            let response = answering.answer(&request);
            async move { response }
        });
        sim_clock::spawn("api", serving);
        let operator = run(network.host("pod/multigres-operator/prometheus-operator"), Options::default());
        let _ = tokio::time::timeout(Duration::from_secs(minutes * 60), operator).await;
        std::mem::take(&mut *api.0.lock().expect("no panic while locked"))
    })
    .expect("the world ends well")
}

const SECRET: &str = "/api/v1/namespaces/multigres-operator/secrets/prometheus-multigres";

#[test]
fn everything_is_applied_once_in_an_order_in_which_it_can_be_mounted() {
    let fake = run_against(Fake::default(), 10);
    let paths: Vec<&str> = fake.applied.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            SECRET,
            "/api/v1/namespaces/multigres-operator/configmaps/prometheus-multigres-rulefiles-0",
            "/api/v1/namespaces/multigres-operator/services/prometheus-operated",
            "/apis/apps/v1/namespaces/multigres-operator/statefulsets/prometheus-multigres",
            "/apis/monitoring.coreos.com/v1/namespaces/multigres-operator/prometheuses/multigres/status",
        ]
    );
    assert_eq!(fake.applied[4].1["status"]["conditions"][0]["status"], "True");
}

#[test]
fn what_an_api_server_in_trouble_refuses_is_applied_later() {
    let fake = run_against(Fake { refuse: 3, ..Fake::default() }, 10);
    assert_eq!(fake.applied.iter().filter(|(path, _)| path == SECRET).count(), 1);
    let (_, last) = fake.applied.last().expect("a status");
    assert_eq!(last["status"]["conditions"][0]["status"], "True");
}

#[test]
fn a_target_that_appears_later_changes_the_configuration_and_nothing_else() {
    let added = |object: Value| json!({"type": "ADDED", "object": object});
    let name = "multigres-operator-controller-manager-metrics-service";
    let meta = json!({
        "name": name, "namespace": "multigres-operator", "resourceVersion": "6",
        "labels": {"app.kubernetes.io/name": "multigres-operator"},
    });
    let endpoints = json!({"metadata": meta, "subsets": [{"addresses": [{"ip": "10.244.9.9"}], "ports": [{"name": "metrics", "port": 8443}]}]});
    let namespace = json!({"metadata": {"name": "multigres-operator", "resourceVersion": "6"}});
    let events = vec![
        (Kind::Namespace, 30, added(namespace)),
        (Kind::Service, 30, added(json!({"metadata": meta}))),
        (Kind::Endpoints, 30, added(endpoints)),
        // Changes that say nothing to this operator.
        (Kind::Pod, 45, added(pod("unrelated", "Running", "10.244.0.1"))),
        (Kind::Prometheus, 50, json!({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}})),
    ];
    let fake = run_against(Fake { events, ..Fake::default() }, 10);
    let later: Vec<&str> = fake.applied[5..].iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(later, [SECRET]);
    let built = Built { objects: vec![fake.applied[5].1.clone()], warnings: Vec::new() };
    assert_eq!(configuration(&built)["scrape_configs"][0]["static_configs"][0]["targets"], json!(["10.244.9.9:8443"]));
}

#[test]
fn nothing_is_written_before_everything_has_been_seen_once() {
    let fake = run_against(Fake { unlisted: Some((Kind::PrometheusRule, 4)), ..Fake::default() }, 10);
    assert_eq!(fake.lists[&Kind::PrometheusRule], 5);
    assert_eq!(fake.applied.len(), 5);
    let never = run_against(Fake { unlisted: Some((Kind::PrometheusRule, u32::MAX)), ..Fake::default() }, 10);
    assert!(never.applied.is_empty());
    assert!((20..60).contains(&never.lists[&Kind::PrometheusRule]), "asked {:?} times in ten minutes", never.lists);
}

#[test]
fn a_watch_whose_version_has_expired_lists_again() {
    let gone = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}});
    let fake = run_against(Fake { events: vec![(Kind::Pod, 20, gone)], ..Fake::default() }, 10);
    assert_eq!(fake.lists[&Kind::Pod], 2);
    assert_eq!(fake.lists[&Kind::Service], 1, "a broken connection goes on from where it was");
    assert_eq!(fake.applied.len(), 5);
}

#[test]
fn a_pod_monitor_finds_the_ports_of_the_pods_that_it_selects() {
    let mut cluster = shipped();
    cluster.put(Kind::Pod, pod("ended", "Succeeded", "10.244.0.9"));
    cluster.put(
        Kind::PodMonitor,
        json!({
            "metadata": {"namespace": "multigres-operator", "name": "managers", "labels": {"team": "db"}},
            "spec": {
                "selector": {"matchLabels": {"control-plane": "controller-manager"}},
                "podTargetLabels": ["control-plane"],
                "sampleLimit": 100,
                "podMetricsEndpoints": [{"port": "metrics", "path": "/m"}, {"portNumber": 1}, {"port": "metrics", "oauth2": {}}],
            },
        }),
    );
    let mut prometheus = cluster.prometheuses.values().next().expect("one").clone();
    let jobs = |prometheus: &model::Prometheus, warnings: &mut Vec<String>| -> Vec<Value> {
        let configuration = config::configuration(prometheus, &cluster, warnings);
        let all = configuration["scrape_configs"].as_array().expect("a list").clone();
        all.into_iter()
            .filter(|job| job["job_name"].as_str().is_some_and(|name| name.starts_with("podMonitor/")))
            .collect()
    };
    assert!(jobs(&prometheus, &mut Vec::new()).is_empty(), "no selector selects nothing");
    prometheus.spec.pod_monitor_selector = Some(crate::selector::LabelSelector::default());
    let mut warnings = Vec::new();
    let found = jobs(&prometheus, &mut warnings);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0]["job_name"], "podMonitor/multigres-operator/managers/0");
    assert_eq!((&found[0]["metrics_path"], &found[0]["sample_limit"]), (&json!("/m"), &json!(100)));
    assert_eq!(
        found[0]["static_configs"],
        json!([{"targets": ["10.244.0.5:8443"], "labels": {
            "container": "manager", "control_plane": "controller-manager", "endpoint": "metrics",
            "job": "multigres-operator/managers", "namespace": "multigres-operator", "pod": "manager-0",
        }}])
    );
    assert_eq!(found[1]["static_configs"], json!([]));
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("PodMonitor multigres-operator/managers: endpoint 2 is left out: oauth2"))
    );
}

#[test]
fn a_probe_asks_its_prober_about_each_target() {
    let mut cluster = shipped();
    let probe = |labels: Value, more: Value| {
        let mut probe = json!({
            "metadata": {"namespace": "multigres-operator", "name": "site", "labels": labels},
            "spec": {
                "prober": {"url": "blackbox:9115"}, "module": "http_2xx", "interval": "1m",
                "targets": {"staticConfig": {"static": ["https://a", "https://b"], "labels": {"team": "db"}}},
            },
        });
        for (name, value) in more.as_object().expect("fields") {
            probe["spec"][name] = value.clone();
        }
        probe
    };
    let mut prometheus = cluster.prometheuses.values().next().expect("a Prometheus").clone();
    prometheus.spec.probe_selector =
        Some(serde_json::from_value(json!({"matchLabels": {"team": "db"}})).expect("a selector"));
    cluster.put(Kind::Probe, probe(json!({"team": "web"}), json!({})));
    assert_eq!(configuration(&build(&prometheus, &cluster))["scrape_configs"].as_array().map(Vec::len), Some(1));
    cluster.put(Kind::Probe, probe(json!({"team": "db"}), json!({})));
    let built = build(&prometheus, &cluster);
    assert_eq!(
        configuration(&built)["scrape_configs"][1],
        json!({
            "job_name": "probe/multigres-operator/site",
            "honor_timestamps": true,
            "metrics_path": "/probe",
            "scheme": "http",
            "scrape_interval": "1m",
            "params": {"module": ["http_2xx"]},
            "static_configs": [{"targets": ["https://a", "https://b"], "labels": {"namespace": "multigres-operator", "team": "db"}}],
            "relabel_configs": [
                {"target_label": "job", "replacement": "probe/multigres-operator/site"},
                {"source_labels": ["__address__"], "target_label": "__param_target"},
                {"source_labels": ["__param_target"], "target_label": "instance"},
                {"target_label": "__address__", "replacement": "blackbox:9115"},
            ],
        })
    );
    cluster.put(Kind::Probe, probe(json!({"team": "db"}), json!({"basicAuth": {}})));
    let built = build(&prometheus, &cluster);
    assert_eq!(configuration(&built)["scrape_configs"].as_array().map(Vec::len), Some(1));
    assert!(
        built.warnings.iter().any(|warning| warning.contains("Probe multigres-operator/site is left out: basicAuth"))
    );
}

#[test]
fn objects_of_victoria_metrics_are_translated_by_the_same_selectors() {
    let mut cluster = shipped();
    let mut scrape = serde_json::to_value(json!({
        "metadata": {"namespace": "multigres-operator", "name": "vm", "labels": {}},
        "spec": {
            "selector": {"matchLabels": {"control-plane": "controller-manager"}},
            "endpoints": [{"port": "metrics", "relabelConfigs": [{"action": "labeldrop", "regex": "pod"}]}],
        },
    }))
    .expect("a scrape");
    let service = cluster.services.values().find(|service| service.metadata.name.ends_with("metrics-service"));
    let service = service.expect("the metrics service").metadata.labels.clone();
    scrape["spec"]["selector"]["matchLabels"] = json!(service);
    let mut prometheus = cluster.prometheuses.values().next().expect("a Prometheus").clone();
    prometheus.spec.service_monitor_selector = Some(crate::selector::LabelSelector::default());
    prometheus.spec.rule_selector = Some(crate::selector::LabelSelector::default());
    cluster.put(Kind::VMServiceScrape, scrape.clone());
    cluster.put(
        Kind::VMRule,
        json!({
            "metadata": {"namespace": "multigres-operator", "name": "vm", "uid": "u"},
            "spec": {"groups": [{"name": "g", "concurrency": 4, "rules": [{"alert": "A", "expr": "up == 0"}]}]},
        }),
    );
    let built = build(&prometheus, &cluster);
    let jobs = configuration(&built)["scrape_configs"].clone();
    let job = jobs
        .as_array()
        .and_then(|jobs| jobs.iter().find(|job| job["job_name"] == "serviceScrape/multigres-operator/vm/0"));
    let job = job.expect("the scrape's job");
    assert_eq!(job["static_configs"][0]["targets"], json!(["10.244.0.5:8443"]));
    assert_eq!(job["relabel_configs"], json!([{"action": "labeldrop", "regex": "pod"}]));
    let rules = built.objects[1]["data"]["multigres-operator-vm-u.yaml"].as_str().expect("the rule file");
    assert!(rules.contains("up == 0") && !rules.contains("concurrency"), "{rules}");
    // A label that no Service has: the target is missing.
    scrape["spec"]["selector"]["matchLabels"] = json!({"control-plane": "controller-manger"});
    cluster.put(Kind::VMServiceScrape, scrape);
    let jobs = configuration(&build(&prometheus, &cluster))["scrape_configs"].clone();
    let job = jobs
        .as_array()
        .and_then(|jobs| jobs.iter().find(|job| job["job_name"] == "serviceScrape/multigres-operator/vm/0"));
    assert_eq!(job.expect("the job is still there")["static_configs"], json!([]));
}
