//! The server in a simulated network: who is told what when, retries, reload, what gets lost.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use sim_alertmanager::server::{Alertmanager, Files, Options, run};
use sim_clock::{WorldOptions, spawn};
use sim_net::Network;
use sim_net::http::{Client, full, serve};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::sleep;

const CONFIG: &str = "route: {receiver: pager, group_by: [alertname], group_wait: 10s, group_interval: 1m, repeat_interval: 1h}\nreceivers: [{name: pager, webhook_configs: [{url: 'http://pager:8080/{{ .GroupLabels.alertname }}', http_config: {bearer_token: secret}}]}]\n";

type Seen = Arc<Mutex<Vec<(u64, String, String, String)>>>;

struct Setup {
    network: Network,
    client: Client,
    alertmanager: Alertmanager,
    files: Arc<Mutex<BTreeMap<String, String>>>,
    served: Files,
    /// Seconds since the start, path, authorization, body.
    seen: Seen,
    /// What the pager answers.
    answer: Arc<Mutex<StatusCode>>,
}

async fn set_up() -> Setup {
    let started = sim_clock::now();
    let network = Network::new();
    let (am, pager) = (network.host("am"), network.host("pager"));
    network.set_name("am", sim_net::NameTarget::Addresses(vec![am.ip()]));
    network.set_name("pager", sim_net::NameTarget::Addresses(vec![pager.ip()]));
    let seen = Seen::default();
    let answer = Arc::new(Mutex::new(StatusCode::OK));
    let (noted, answered) = (seen.clone(), answer.clone());
    let listener = pager.listen(8080).unwrap();
    spawn("pager", async move {
        serve(listener, sim_net::http::Limits::default(), move |request: Request<Bytes>| {
            let header =
                |name| request.headers().get(name).map_or("", |value: &http::HeaderValue| value.to_str().unwrap());
            noted.lock().unwrap().push((
                sim_clock::now().since(started).as_secs(),
                request.uri().path().to_owned(),
                header("authorization").to_owned(),
                String::from_utf8_lossy(request.body()).into_owned(),
            ));
            let mut response = Response::new(full("told"));
            *response.status_mut() = *answered.lock().unwrap();
            async move { response }
        })
        .await;
    });
    let files = Arc::new(Mutex::new(BTreeMap::from([("/am.yml".to_owned(), CONFIG.to_owned())])));
    let (read, written) = (files.clone(), files.clone());
    let served = Files {
        read: Arc::new(move |path| read.lock().unwrap().get(path).map(|text| text.clone().into_bytes())),
        list: Arc::new(|_| Vec::new()),
        write: Arc::new(move |path, bytes| {
            written.lock().unwrap().insert(path.to_owned(), String::from_utf8(bytes).unwrap());
        }),
    };
    let alertmanager = Alertmanager::new(options(), served.clone(), Arc::new(|_| {})).unwrap();
    let running = alertmanager.clone();
    spawn("alertmanager", async move {
        run(am, running).await.unwrap();
    });
    sleep(Duration::from_millis(10)).await;
    let client = Client::new(network.host("prometheus"));
    Setup { network, client, alertmanager, files, served, seen, answer }
}

fn options() -> Options {
    Options { config_file: "/am.yml".to_owned(), storage_path: Some("/data".to_owned()), ..Options::default() }
}

impl Setup {
    async fn post(&self, alerts: serde_json::Value) {
        let request = Request::post("http://am:9093/api/v2/alerts").body(Bytes::from(alerts.to_string())).unwrap();
        assert_eq!(self.client.send(request).await.unwrap().status(), StatusCode::OK);
    }

    fn seen(&self) -> Vec<(u64, String, String, String)> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

#[test]
fn a_webhook_gets_the_json_of_version_4() {
    sim_clock::run(WorldOptions::seeded(1), || async {
        let s = set_up().await;
        s.post(serde_json::json!([{"labels": {"alertname": "Down", "job": "x"}, "annotations": {"summary": "a <b>"}, "generatorURL": "http://p/graph"}])).await;
        sleep(Duration::from_secs(20)).await;
        let seen = s.seen();
        let [(10, path, authorization, body)] = seen.as_slice() else { panic!("{seen:?}") };
        assert_eq!((path.as_str(), authorization.as_str()), ("/Down", "Bearer secret"));
        let starts = &body[body.find("startsAt").unwrap() + 11..][..30];
        let starts = &starts[..starts.find('"').unwrap()];
        let expected = format!(
            "{{\"receiver\":\"pager\",\"status\":\"firing\",\"alerts\":[{{\"status\":\"firing\",\"labels\":{{\"alertname\":\"Down\",\"job\":\"x\"}},\"annotations\":{{\"summary\":\"a \\u003cb\\u003e\"}},\"startsAt\":\"{starts}\",\"endsAt\":\"0001-01-01T00:00:00Z\",\"generatorURL\":\"http://p/graph\",\"fingerprint\":\"{}\"}}],\"notification_reason\":\"first notification\",\"groupLabels\":{{\"alertname\":\"Down\"}},\"commonLabels\":{{\"alertname\":\"Down\",\"job\":\"x\"}},\"commonAnnotations\":{{\"summary\":\"a \\u003cb\\u003e\"}},\"externalURL\":\"http://localhost:9093\",\"version\":\"4\",\"groupKey\":\"{{}}:{{alertname=\\\"Down\\\"}}\",\"truncatedAlerts\":0}}\n",
            sim_alertmanager::alert::Fingerprint::of(&sim_wire::Labels::from_pairs([("alertname", "Down"), ("job", "x")]))
        );
        assert_eq!(body, &expected);
    })
    .unwrap();
}

#[test]
fn a_receiver_that_is_down_is_tried_again_and_one_that_refuses_is_not() {
    sim_clock::run(WorldOptions::seeded(2), || async {
        let s = set_up().await;
        *s.answer.lock().unwrap() = StatusCode::SERVICE_UNAVAILABLE;
        s.post(serde_json::json!([{"labels": {"alertname": "Down"}, "endsAt": "2100-01-01T00:00:00Z"}])).await;
        sleep(Duration::from_secs(15)).await;
        let tries = s.seen().len();
        assert!(tries > 2, "{tries} attempts");
        *s.answer.lock().unwrap() = StatusCode::OK;
        sleep(Duration::from_secs(50)).await;
        assert_eq!(s.seen().len(), 1);
        *s.answer.lock().unwrap() = StatusCode::BAD_REQUEST;
        s.post(serde_json::json!([{"labels": {"alertname": "Bad"}, "endsAt": "2100-01-01T00:00:00Z"}])).await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(s.seen().len(), 1);
        // A refused notification is tried again at the next look, not before.
        sleep(Duration::from_secs(60)).await;
        assert_eq!(s.seen().len(), 1);
        let text = String::from_utf8_lossy(s.client.get("http://am:9093/metrics").await.unwrap().body()).into_owned();
        assert!(
            text.contains(
                "alertmanager_notifications_failed_total{integration=\"webhook\",reason=\"clientError\"} 2\n"
            ),
            "{text}"
        );
        assert!(text.contains("alertmanager_alerts{state=\"active\"} 2\n"), "{text}");
    })
    .unwrap();
}

#[test]
fn silences_and_what_was_told_outlive_the_process() {
    sim_clock::run(WorldOptions::seeded(5), || async {
        let s = set_up().await;
        let down = serde_json::json!([{"labels": {"alertname": "Down"}, "endsAt": "2100-01-01T00:00:00Z"}]);
        s.post(down.clone()).await;
        let silence = serde_json::json!({
            "matchers": [{"name": "alertname", "value": "Quiet", "isRegex": false}],
            "startsAt": "2000-01-01T00:00:00Z", "endsAt": "2100-01-01T00:00:00Z", "createdBy": "me", "comment": "why",
        });
        let request = Request::post("http://am:9093/api/v2/silences")
            .header("Content-Type", "application/json")
            .body(Bytes::from(silence.to_string()))
            .unwrap();
        assert_eq!(s.client.send(request).await.unwrap().status(), StatusCode::OK);
        // By then the pager was told; a quarter of an hour on, it is on disk.
        sleep(Duration::from_secs(16 * 60)).await;
        assert_eq!(s.seen().len(), 1);

        let second = Alertmanager::new(options(), s.served.clone(), Arc::new(|_| {})).unwrap();
        let host = s.network.host("am-again");
        s.network.set_name("am", sim_net::NameTarget::Addresses(vec![host.ip()]));
        spawn("am-again", async move {
            run(host, second).await.unwrap();
        });
        sleep(Duration::from_millis(10)).await;
        let quiet = serde_json::json!([{"labels": {"alertname": "Quiet"}, "endsAt": "2100-01-01T00:00:00Z"}]);
        let new = serde_json::json!([{"labels": {"alertname": "New"}, "endsAt": "2100-01-01T00:00:00Z"}]);
        for alerts in [down, quiet, new] {
            s.post(alerts).await;
        }
        sleep(Duration::from_secs(120)).await;
        let told: Vec<String> = s.seen().into_iter().map(|(_, path, ..)| path).collect();
        assert_eq!(told, ["/New"], "neither what was told before, nor what is silenced");

        s.files.lock().unwrap().insert("/data/nflog".to_owned(), "{".to_owned());
        let error = Alertmanager::new(options(), s.served.clone(), Arc::new(|_| {})).unwrap_err().to_string();
        assert!(error.starts_with("error loading snapshot: notification log: "), "{error}");
    })
    .unwrap();
}

#[test]
fn a_wrong_configuration_is_kept_out_and_a_right_one_taken() {
    sim_clock::run(WorldOptions::seeded(3), || async {
        let s = set_up().await;
        let reload = || Request::post("http://am:9093/-/reload").body(Bytes::new()).unwrap();
        s.files.lock().unwrap().insert("/am.yml".to_owned(), "route: {}".to_owned());
        let refused = s.client.send(reload()).await.unwrap();
        assert_eq!(refused.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(refused.body(), "failed to reload config: root route must specify a default receiver\n");
        assert_eq!(s.alertmanager.with_engine(|engine| engine.config().receivers[0].name.clone()), "pager");
        s.files
            .lock()
            .unwrap()
            .insert("/am.yml".to_owned(), CONFIG.replace("pager,", "other,").replace("name: pager", "name: other"));
        assert_eq!(s.client.send(reload()).await.unwrap().status(), StatusCode::OK);
        assert_eq!(s.alertmanager.with_engine(|engine| engine.config().receivers[0].name.clone()), "other");
        drop(s.network);
    })
    .unwrap();
}

#[test]
fn requests_that_are_wrong_are_refused_in_the_real_programs_words() {
    sim_clock::run(WorldOptions::seeded(4), || async {
        let s = set_up().await;
        for (method, path, body, status, answer) in [
            ("GET", "/api/v2/nope", "", 404, "{\"code\":404,\"message\":\"path /api/v2/nope was not found\"}"),
            (
                "GET",
                "/api/v2/silence/xyz",
                "",
                422,
                "{\"code\":601,\"message\":\"silenceID in path must be of type uuid: \\\"xyz\\\"\"}",
            ),
            ("GET", "/api/v2/alerts?filter=xx", "", 400, "\"bad matcher format: xx\"\n"),
            ("POST", "/api/v2/alerts", "[{\"labels\":{}}]", 400, "\"at least one label pair required\"\n"),
            (
                "POST",
                "/api/v2/silences",
                "{\"matchers\":[]}",
                422,
                "{\"code\":602,\"message\":\"comment in body is required\"}",
            ),
            ("GET", "/-/reload", "", 405, "Method Not Allowed\n"),
            ("GET", "/-/healthy", "", 200, "OK"),
            ("GET", "/", "", 404, "404 page not found\n"),
        ] {
            let request =
                Request::builder().method(method).uri(format!("http://am:9093{path}")).body(Bytes::from(body)).unwrap();
            let response = s.client.send(request).await.unwrap();
            assert_eq!(
                (response.status().as_u16(), response.body().as_ref()),
                (status, answer.as_bytes()),
                "{method} {path}"
            );
        }
    })
    .unwrap();
}
