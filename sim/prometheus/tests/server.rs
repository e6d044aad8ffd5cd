//! A Prometheus on the simulated network: scrapes, evaluates, answers, reloads.

use serde_json::{Value, json};
use sim_clock::watch;
use sim_net::{Network, http as net_http};
use sim_prometheus::server::{Files, Options, Prometheus, run};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const CONFIG: &str = "
alerting:
  alert_relabel_configs: [{action: labeldrop, regex: room}]
  alertmanagers: [{path_prefix: /am, static_configs: [{targets: ['EXPORTER:9093', 'EXPORTER:9094']}]}]
global: {scrape_interval: 30s, evaluation_interval: 30s, external_labels: {cluster: c1}}
rule_files: [/rules/*.yaml]
scrape_configs:
- job_name: exporter
  static_configs: [{targets: ['EXPORTER:8080'], labels: {namespace: default}}]
";

const RULES: &str = "
groups:
- name: g
  rules:
  - {record: 'job:requests:rate', expr: 'sum by (job) (rate(requests_total[2m]))'}
  - alert: Low
    expr: temperature < 10
    for: 1m
    annotations: {summary: '{{ $labels.room }} in {{ $externalLabels.cluster }}'}
";

type Tree = Arc<Mutex<BTreeMap<String, String>>>;

struct World {
    client: net_http::Client,
    base: String,
    tree: Tree,
    changed: watch::Sender<u64>,
    page: Arc<Mutex<String>>,
    /// What the Alertmanager got: path and alerts.
    notified: Arc<Mutex<Vec<(String, Value)>>>,
    prometheus: Prometheus,
    shutdown: watch::Sender<bool>,
    network: Network,
    exporter: std::net::Ipv4Addr,
}

impl World {
    fn start() -> Self {
        let network = Network::new();
        let exporter = network.host("pod/default/exporter");
        let page = Arc::new(Mutex::new(String::new()));
        let served = page.clone();
        let listener = exporter.listen(8080).expect("a free port");
        sim_clock::spawn("exporter", async move {
            let handler = move |_| {
                let seconds = sim_clock::now().as_secs() % 100_000;
                let body = format!(
                    "# TYPE requests_total counter\n# HELP requests_total Served.\nrequests_total {seconds}\n{}",
                    served.lock().expect("a page")
                );
                async move { net_http::response(http::StatusCode::OK, "text/plain; version=0.0.4", body) }
            };
            net_http::serve(listener, net_http::Limits::default(), handler).await;
        });
        let notified = Arc::new(Mutex::new(Vec::new()));
        let (received, listener) = (notified.clone(), exporter.listen(9093).expect("a free port"));
        sim_clock::spawn("alertmanager", async move {
            let handler = move |request: http::Request<bytes::Bytes>| {
                let alerts = serde_json::from_slice(request.body()).expect("JSON");
                received.lock().expect("alerts").push((request.uri().path().to_owned(), alerts));
                async move { net_http::response(http::StatusCode::OK, "application/json", "") }
            };
            net_http::serve(listener, net_http::Limits::default(), handler).await;
        });
        let config = CONFIG.replace("EXPORTER", &exporter.ip().to_string());
        let tree: Tree = Arc::new(Mutex::new(BTreeMap::from([
            ("/etc/prometheus/config/prometheus.yaml".to_owned(), config),
            ("/rules/a.yaml".to_owned(), RULES.to_owned()),
        ])));
        let (changed, revision) = watch::channel(0);
        let (read, list) = (tree.clone(), tree.clone());
        let files = Files {
            read: Arc::new(move |path| read.lock().expect("files").get(path).map(|text| text.clone().into_bytes())),
            list: Arc::new(move |glob| {
                let prefix = glob.split('*').next().unwrap_or_default().to_owned();
                list.lock().expect("files").keys().filter(|path| path.starts_with(&prefix)).cloned().collect()
            }),
            revision,
        };
        let host = network.host("pod/multigres-operator/prometheus-0");
        let base = format!("http://{}:9090", host.ip());
        let (shutdown, stopped) = watch::channel(false);
        let prometheus = Prometheus::new();
        let running = run(host, prometheus.clone(), Options::default(), files, stopped);
        sim_clock::spawn("prometheus", async move { running.await.expect("a good configuration") });
        let client = net_http::Client::new(network.host("grafana"));
        Self { client, base, tree, changed, page, notified, prometheus, shutdown, network, exporter: exporter.ip() }
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.client.get_json(&format!("{}{path}", self.base)).await.expect("an answer");
        (status.as_u16(), body)
    }

    async fn vector(&self, query: &str) -> Vec<Value> {
        let (status, body) = self.get(&format!("/api/v1/query?query={query}")).await;
        assert_eq!(status, 200, "{body}");
        body["data"]["result"].as_array().expect("a result").clone()
    }
}

async fn minutes(count: u64) {
    tokio::time::sleep(Duration::from_secs(count * 60)).await;
}

fn in_world<F: Future<Output = ()> + Send + 'static>(program: fn(World) -> F) {
    sim_clock::run(sim_clock::WorldOptions::seeded(7), move || async move { program(World::start()).await })
        .expect("the world ends well");
}

#[test]
fn a_target_is_scraped_and_queried() {
    in_world(|world| async move {
        minutes(10).await;
        let up = world.vector("up").await;
        assert_eq!(up[0]["value"][1], "1");
        assert_eq!(up[0]["metric"]["namespace"], "default");
        let raw = world.vector("requests_total%5B5m%5D").await;
        assert_eq!(raw[0]["values"].as_array().map(Vec::len), Some(10));
        let recorded = world.vector("job:requests:rate").await;
        assert!(
            recorded[0]["value"][1].as_str().is_some_and(|rate| rate.starts_with('1') || rate.starts_with("0.9")),
            "{recorded:?}"
        );
        let (_, metadata) = world.get("/api/v1/metadata").await;
        assert_eq!(metadata["data"]["requests_total"], json!([{ "type": "counter", "help": "Served.", "unit": "" }]));
        let (_, targets) = world.get("/api/v1/targets").await;
        assert_eq!(targets["data"]["activeTargets"][0]["health"], "up");
        let (_, names) = world.get("/api/v1/label/job/values").await;
        assert_eq!(names["data"], json!(["exporter"]));
    });
}

#[test]
fn a_dead_target_is_down_and_its_series_end() {
    in_world(|world| async move {
        minutes(2).await;
        assert_eq!(world.vector("requests_total").await.len(), 1);
        world.network.remove_host(world.exporter);
        minutes(1).await;
        assert_eq!(world.vector("up").await[0]["value"][1], "0");
        assert!(world.vector("requests_total").await.is_empty());
        let (_, targets) = world.get("/api/v1/targets").await;
        let target = &targets["data"]["activeTargets"][0];
        assert_eq!(target["health"], "down");
        assert_ne!(target["lastError"], "");
    });
}

#[test]
fn a_form_is_read_and_a_range_answered() {
    in_world(|world| async move {
        minutes(5).await;
        let now = sim_clock::now().as_secs();
        let form = format!("query=up+%2B+1&start={}&end={now}&step=1m", now - 120);
        let request = http::Request::post(format!("{}/api/v1/query_range", world.base))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.into())
            .expect("a request");
        let response = world.client.send(request).await.expect("an answer");
        let body: Value = serde_json::from_slice(response.body()).expect("JSON");
        let expected = json!([[now - 120, "2"], [now - 60, "2"], [now, "2"]]);
        assert_eq!(body["data"]["resultType"], "matrix");
        assert_eq!(body["data"]["result"][0]["values"], expected);
        let (_, formatted) = world.get("/api/v1/format_query?query=sum(up)by(job)").await;
        assert_eq!(formatted["data"], "sum by (job) (up)");
    });
}

#[test]
fn a_shutdown_stops_scraping_and_frees_the_port() {
    in_world(|world| async move {
        minutes(2).await;
        let count = |world: &World| {
            world.prometheus.with_store(|store| store.all().iter().map(|series| series.points().len()).sum::<usize>())
        };
        world.shutdown.send_replace(true);
        minutes(1).await;
        let before = count(&world);
        assert!(before > 0);
        minutes(5).await;
        assert_eq!(count(&world), before);
        assert!(world.client.get(&format!("{}/-/ready", world.base)).await.is_err());
    });
}

#[test]
fn errors_have_prometheus_shape() {
    in_world(|world| async move {
        minutes(2).await;
        let (status, body) = world.get("/api/v1/query?query=up%7B").await;
        assert_eq!(status, 400);
        assert_eq!(body["errorType"], "bad_data");
        assert_eq!(
            body["error"],
            "invalid parameter \"query\": 1:4: parse error: unexpected end of input inside braces"
        );
        let (status, body) =
            world.get("/api/v1/query?query=up%20%2B%20on()%20%7B__name__%3D~%22up%7Crequests_total%22%7D").await;
        assert_eq!((status, &body["errorType"]), (422, &json!("execution")));
        let (status, body) = world.get("/api/v1/query_range?query=up&start=10&end=0&step=1").await;
        assert_eq!((status, &body["status"]), (400, &json!("error")));
        let missing = world.client.get(&format!("{}/api/v1/nope", world.base)).await.expect("an answer");
        assert_eq!(missing.status().as_u16(), 404);
        let ready = world.client.get(&format!("{}/-/ready", world.base)).await.expect("an answer");
        assert_eq!(ready.status().as_u16(), 200);
    });
}

#[test]
fn an_alert_fires_and_resolves() {
    in_world(|world| async move {
        *world.page.lock().expect("a page") = "temperature{room=\"cellar\"} 4\n".to_owned();
        minutes(4).await;
        let (_, alerts) = world.get("/api/v1/alerts").await;
        let alert = &alerts["data"]["alerts"][0];
        assert_eq!(alert["state"], "firing");
        assert_eq!(alert["annotations"]["summary"], "cellar in c1");
        assert_eq!(world.vector("ALERTS%7Balertstate%3D%22firing%22%7D").await.len(), 1);
        world.page.lock().expect("a page").clear();
        minutes(2).await;
        assert!(world.vector("temperature").await.is_empty(), "the vanished series is stale at once");
        assert!(world.vector("ALERTS").await.is_empty());
        let (_, rules) = world.get("/api/v1/rules?type=alert").await;
        assert_eq!(rules["data"]["groups"][0]["rules"][0]["state"], "inactive");
    });
}

#[test]
fn alertmanagers_hear_of_alerts_that_fire_and_of_their_end() {
    in_world(|world| async move {
        *world.page.lock().expect("a page") = "temperature{room=\"cellar\"} 4\n".to_owned();
        minutes(5).await;
        world.page.lock().expect("a page").clear();
        minutes(2).await;
        let notified = world.notified.lock().expect("alerts").clone();
        let (path, first) = &notified[0];
        assert_eq!((path.as_str(), first.as_array().map(Vec::len)), ("/am/api/v2/alerts", Some(1)));
        // External labels are there, what relabelling drops is not.
        let labels = json!({ "alertname": "Low", "cluster": "c1", "instance": first[0]["labels"]["instance"],
            "job": "exporter", "namespace": "default" });
        assert_eq!(first[0]["labels"], labels);
        assert_eq!(first[0]["annotations"]["summary"], "cellar in c1");
        assert_eq!(first[0]["generatorURL"], "http://prometheus:9090/graph?g0.expr=temperature+%3C+10&g0.tab=1");
        let time = |alert: &Value, field: &str| {
            alert[field].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()).expect("a time").as_second()
        };
        // Four times the resend delay.
        assert_eq!(time(&first[0], "endsAt") - time(&first[0], "startsAt"), 240);
        let (_, last) = notified.last().expect("a notification");
        assert!(time(&last[0], "endsAt") <= sim_clock::now().as_secs(), "the last one tells of the end");
        assert!(notified.len() >= 3, "{notified:?}");
        let (_, listed) = world.get("/api/v1/alertmanagers").await;
        assert_eq!(listed["data"]["activeAlertmanagers"].as_array().map(Vec::len), Some(2));
    });
}

#[test]
fn a_reload_takes_new_rules_and_keeps_out_wrong_ones() {
    in_world(|world| async move {
        minutes(2).await;
        world.tree.lock().expect("files").insert(
            "/rules/b.yaml".to_owned(),
            "groups: [{name: b, rules: [{record: two, expr: '1 + 1'}]}]".to_owned(),
        );
        world.changed.send_modify(|revision| *revision += 1);
        minutes(2).await;
        assert_eq!(world.vector("two").await[0]["value"][1], "2");
        world
            .tree
            .lock()
            .expect("files")
            .insert("/rules/b.yaml".to_owned(), "groups: [{name: b, rulez: []}]".to_owned());
        world.changed.send_modify(|revision| *revision += 1);
        minutes(2).await;
        assert!(world.prometheus.reload_error().is_some_and(|error| error.contains("rulez")));
        assert_eq!(world.vector("two").await.len(), 1, "the old rules stay");
        world.tree.lock().expect("files").remove("/rules/b.yaml");
        world.changed.send_modify(|revision| *revision += 1);
        minutes(1).await;
        assert!(world.vector("two").await.is_empty(), "a removed rule ends its series");
    });
}
