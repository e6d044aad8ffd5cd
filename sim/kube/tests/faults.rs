//! Fault rules as a client meets them: over HTTP on the simulated network.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sim_clock::WorldOptions;
use sim_kube::{
    ApiServer, Status,
    faults::{Effect, Hits, Match, Rule, WatchFault, When},
};
use sim_net::{Network, http::Client};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

struct World {
    api: ApiServer,
    http: Client,
    base: String,
}

impl World {
    fn new() -> Self {
        let network = Network::new();
        let api = ApiServer::new();
        let host = network.host("kubernetes");
        let listener = host.listen(80).expect("a free port");
        sim_clock::spawn("api", sim_kube::wire::serve(listener, api.clone()));
        Self { api, http: Client::new(network.host("client")), base: format!("http://{}:80", host.ip()) }
    }

    fn inject(&self, matches: Match, effect: Effect, when: When) -> sim_kube::FaultId {
        self.api.inject(Rule { matches, effect, when }).expect("a possible rule")
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Response<Bytes>, String> {
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let request = request.header("user-agent", "tester/1.0").body(body).expect("a request");
        self.http.send(request).await.map_err(|e| e.to_string())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.send(Method::GET, path, &Value::Null).await.expect("answers");
        (answer.status().as_u16(), serde_json::from_slice(answer.body()).expect("JSON"))
    }

    fn put(&self, name: &str, value: &str) {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": {"a": value}});
        self.api.apply(object).expect("applies");
    }

    /// The lines of a watch until it ends, and whether it broke off.
    async fn watch(&self, query: &str) -> (Vec<Value>, bool) {
        let uri = format!("{}{MAPS}?watch=1&{query}", self.base);
        let request = Request::get(uri).body(Bytes::new()).expect("a request");
        let mut body = self.http.send_streaming(request).await.expect("answers").into_body();
        let (mut text, mut broken) = (Vec::new(), false);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => text.extend_from_slice(&frame.into_data().expect("data")),
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
        let lines = text.split(|b| *b == b'\n').filter(|l| !l.is_empty());
        (lines.map(|l| serde_json::from_slice(l).expect("JSON")).collect(), broken)
    }
}

fn run<F: Future<Output = ()> + 'static>(program: impl FnOnce() -> F + Send + 'static) {
    sim_clock::run(WorldOptions::seeded(7), program).expect("the world ends well");
}

fn on(verb: &str) -> Match {
    Match { verbs: vec![verb.into()], resource: Some("configmaps".into()), ..Match::default() }
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

#[test]
fn a_reply_that_is_lost_after_the_commit_leaves_the_object_and_one_lost_before_does_not() {
    run(|| async {
        let world = World::new();
        let after = world.inject(on("create"), Effect::CutAfter, When { strikes_max: Some(1), ..When::default() });
        world.send(Method::POST, MAPS, &map("a")).await.expect_err("no answer");
        assert!(world.api.get("v1", "ConfigMap", "default", "a").is_ok(), "it was committed");
        let again = world.send(Method::POST, MAPS, &map("a")).await.expect("answers");
        assert_eq!(again.status(), 409, "and whoever asks again learns that");
        assert_eq!(world.api.heal(after), Some(Hits { matched: 2, struck: 1 }));
        world.inject(on("create"), Effect::CutBefore, When::default());
        world.send(Method::POST, MAPS, &map("b")).await.expect_err("no answer");
        assert!(world.api.get("v1", "ConfigMap", "default", "b").is_err(), "nothing was done");
    });
}

#[test]
fn refusals_latency_and_time_outs_take_the_time_they_say() {
    run(|| async {
        let world = World::new();
        let guard = world
            .api
            .inject_guarded(Rule::new(on("get"), Effect::TooManyRequests { retry_after_s: 7 }))
            .expect("a possible rule");
        let answer = world.send(Method::GET, &format!("{MAPS}/a"), &Value::Null).await.expect("answers");
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["retry-after"]),
            (429, &"7".parse().expect("a header"))
        );
        assert_eq!(guard.hits().struck, 1);
        drop(guard);
        assert_eq!(world.get(&format!("{MAPS}/a")).await.0, 404, "healed by dropping the guard");

        world.inject(on("list"), Effect::Latency { min_ms: 200, max_ms: 300 }, When::default());
        let started = tokio::time::Instant::now();
        assert_eq!(world.get(MAPS).await.0, 200);
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(200) && took < Duration::from_millis(400), "{took:?}");

        let late = Effect::Timeout { after_ms: 20_000, applied: true };
        world.inject(on("create"), late, When { strikes_max: Some(1), ..When::default() });
        let started = tokio::time::Instant::now();
        let answer = world.send(Method::POST, MAPS, &map("late")).await.expect("answers");
        let status: Value = serde_json::from_slice(answer.body()).expect("JSON");
        assert_eq!(
            (&status["code"], &status["message"]),
            (
                &json!(504),
                &json!("Timeout: request did not complete within requested timeout - context deadline exceeded")
            )
        );
        assert!(started.elapsed() >= Duration::from_secs(20));
        assert!(world.api.get("v1", "ConfigMap", "default", "late").is_ok(), "applied all the same");

        world.inject(on("delete"), Effect::Hang, When::default());
        let error = world.send(Method::DELETE, &format!("{MAPS}/late"), &Value::Null).await.expect_err("gives up");
        assert!(world.api.get("v1", "ConfigMap", "default", "late").is_ok(), "{error}");
    });
}

#[test]
fn stale_reads_show_the_world_as_it_was() {
    run(|| async {
        let world = World::new();
        world.put("a", "old");
        tokio::time::sleep(Duration::from_secs(10)).await;
        world.put("a", "new");
        world.put("b", "new");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let all = world.inject(on("list"), Effect::StaleRead { lag_ms: 5_000, cached_only: false }, When::default());
        world.inject(on("get"), Effect::StaleRead { lag_ms: 5_000, cached_only: true }, When::default());
        let (_, list) = world.get(MAPS).await;
        let seen: Vec<_> = list["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|i| (&i["metadata"]["name"], &i["data"]["a"]))
            .collect();
        assert_eq!(seen, [(&json!("a"), &json!("old"))]);
        assert_eq!(world.get(&format!("{MAPS}/a")).await.1["data"]["a"], "new", "a quorum read is not from the cache");
        assert_eq!(world.get(&format!("{MAPS}/a?resourceVersion=0")).await.1["data"]["a"], "old");
        assert_eq!(world.get(&format!("{MAPS}/b?resourceVersion=0")).await.0, 404);
        world.api.heal(all);
        assert_eq!(world.get(MAPS).await.1["items"].as_array().expect("items").len(), 2);
    });
}

#[test]
fn open_watches_are_cut_expired_held_and_delayed() {
    run(|| async {
        let world = World::new();
        let revision = world.api.engine().revision();
        let query = format!("resourceVersion={revision}&timeoutSeconds=60");
        let act = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.put("a", "1");
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.inject(on("watch"), Effect::Watch(WatchFault::Cut), When { strikes_max: Some(1), ..When::default() });
            world.put("a", "2");
        };
        let ((lines, broken), ()) = tokio::join!(world.watch(&query), act);
        assert_eq!((lines.len(), broken), (1, true), "{lines:?}");

        world.inject(on("watch"), Effect::Watch(WatchFault::Expired), When { strikes_max: Some(1), ..When::default() });
        let (lines, broken) = world.watch(&query).await;
        assert_eq!(
            (&lines[0]["object"]["code"], &lines[0]["object"]["reason"], broken),
            (&json!(410), &json!("Expired"), false)
        );

        let held = world.inject(on("watch"), Effect::Watch(WatchFault::Hold), When::default());
        let act = async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            world.put("b", "1");
            world.api.heal(held);
        };
        let started = tokio::time::Instant::now();
        let ((lines, broken), ()) = tokio::join!(world.watch(&query), act);
        let names: Vec<_> = lines.iter().map(|l| (&l["type"], &l["object"]["metadata"]["name"])).collect();
        assert_eq!(
            names,
            [(&json!("ADDED"), &json!("a")), (&json!("MODIFIED"), &json!("a")), (&json!("ADDED"), &json!("b"))]
        );
        assert_eq!((broken, started.elapsed().as_secs()), (false, 60), "nothing is lost, and the stream lives on");
    });
}

#[test]
fn a_delayed_watch_keeps_order_and_each_event_comes_as_late_as_it_says() {
    run(|| async {
        let world = World::new();
        let revision = world.api.engine().revision();
        world.inject(on("watch"), Effect::Watch(WatchFault::Delay { lag_ms: 4_000 }), When::default());
        let uri = format!("{}{MAPS}?watch=1&resourceVersion={revision}&timeoutSeconds=30", world.base);
        let request = Request::get(uri).body(Bytes::new()).expect("a request");
        let started = tokio::time::Instant::now();
        let mut body = world.http.send_streaming(request).await.expect("answers").into_body();
        let reading = async {
            let mut came = Vec::new();
            while let Some(Ok(frame)) = body.frame().await {
                let line: Value = serde_json::from_slice(&frame.into_data().expect("data")).expect("JSON");
                came.push((
                    line["object"]["metadata"]["name"].as_str().expect("a name").to_owned(),
                    started.elapsed().as_secs(),
                ));
            }
            came
        };
        let act = async {
            for (second, name) in ["a", "b", "c"].into_iter().enumerate() {
                tokio::time::sleep_until(started + Duration::from_secs(second as u64 + 1)).await;
                world.put(name, "1");
            }
        };
        let (came, ()) = tokio::join!(reading, act);
        assert_eq!(came, [("a".to_owned(), 5), ("b".to_owned(), 6), ("c".to_owned(), 7)]);
    });
}

#[test]
fn bookmarks_can_be_withheld_and_pages_expire_with_a_token_for_the_rest() {
    run(|| async {
        let world = World::new();
        for name in ["a", "b", "c"] {
            world.put(name, "1");
        }
        let bookmarks =
            "allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=150";
        let count = |lines: &[Value]| lines.iter().filter(|l| l["type"] == "BOOKMARK").count();
        assert_eq!(count(&world.watch(bookmarks).await.0), 4, "at first, each minute, and two seconds before the end");
        let rule = world.inject(on("watch"), Effect::Watch(WatchFault::NoBookmarks), When::default());
        assert_eq!(count(&world.watch(bookmarks).await.0), 0);
        world.api.heal(rule);

        let (_, first) = world.get(&format!("{MAPS}?limit=1")).await;
        assert_eq!(first["metadata"]["remainingItemCount"], 2);
        let rule = world.inject(on("list"), Effect::ContinueExpired, When::default());
        let token = |list: &Value| list["metadata"]["continue"].as_str().expect("a token").to_owned();
        let (code, status) = world.get(&format!("{MAPS}?limit=1&continue={}", token(&first))).await;
        assert_eq!((code, &status["reason"]), (410, &json!("Expired")));
        world.put("d", "1");
        world.api.heal(rule);
        let (_, rest) = world.get(&format!("{MAPS}?continue={}", token(&status))).await;
        let names: Vec<_> =
            rest["items"].as_array().expect("items").iter().map(|i| i["metadata"]["name"].clone()).collect();
        assert_eq!(names, ["b", "c", "d"], "the rest, inconsistently");
    });
}

#[test]
fn a_skewed_clock_is_seen_in_what_clients_write_and_rules_know_agents() {
    run(|| async {
        let world = World::new();
        world.api.skew_clock(-3_600_000);
        let answer = world.send(Method::POST, MAPS, &map("a")).await.expect("answers");
        let object: Value = serde_json::from_slice(answer.body()).expect("JSON");
        let expected = (sim_clock::now() - Duration::from_secs(3600)).rfc3339();
        assert_eq!(object["metadata"]["creationTimestamp"], expected);
        world.inject(
            Match { user_agent: Some("other".into()), ..Match::default() },
            Effect::InternalError,
            When::default(),
        );
        assert_eq!(world.get(&format!("{MAPS}/a")).await.0, 200, "somebody else's");
        world.inject(
            Match { user_agent: Some("test*".into()), ..Match::default() },
            Effect::InternalError,
            When::default(),
        );
        assert_eq!(
            world.get(&format!("{MAPS}/a")).await.1["message"],
            "Internal error occurred: etcdserver: leader changed"
        );
    });
}

#[test]
fn versions_that_have_not_come_are_waited_for_and_then_refused_in_the_real_words() {
    run(|| async {
        let world = World::new();
        world.put("a", "1");
        let next = world.api.engine().revision() + 1;
        let act = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.put("b", "1");
        };
        let path = format!("{MAPS}?resourceVersion={next}&resourceVersionMatch=NotOlderThan");
        let ((code, list), ()) = tokio::join!(world.get(&path), act);
        assert_eq!((code, list["items"].as_array().map(Vec::len)), (200, Some(2)));
        let started = tokio::time::Instant::now();
        let (code, status) = world.get(&format!("{MAPS}/a?resourceVersion=999")).await;
        assert_eq!((code, started.elapsed().as_secs()), (504, 3));
        assert_eq!(status["message"], format!("Timeout: Too large resource version: 999, current: {next}"));
        assert_eq!(status["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
        let (code, status) = world.get(&format!("{MAPS}?resourceVersionMatch=Exact")).await;
        assert_eq!(
            (code, &status["message"]),
            (
                422,
                &json!(
                    "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
                )
            )
        );
    });
}

#[test]
fn code_can_be_a_rule_too() {
    run(|| async {
        let world = World::new();
        let rule = world.api.inject_code(std::sync::Arc::new(|request| match request.name.as_str() {
            "x" => sim_kube::faults::Verdict::Refuse(Status::bad_request("not x")),
            _ => sim_kube::faults::Verdict::Pass,
        }));
        assert_eq!(world.get(&format!("{MAPS}/x")).await.1["message"], "not x");
        assert_eq!(world.api.fault_hits(rule), Some(Hits { matched: 1, struck: 1 }));
    });
}
