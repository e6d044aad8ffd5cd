use std::collections::BTreeMap;

use http::StatusCode;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::*;

/// An answer, read to its end.
struct Answer {
    code: StatusCode,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or("").to_owned()
    }
}

async fn ask(server: &ApiServer, line: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let (method, uri) = line.split_once(' ').expect("a method and a path");
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = handle(server.clone(), request.body(body.into()).unwrap()).await;
    let (head, body) = response.into_parts();
    Answer { code: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
}

fn world<F, T>(test: impl FnOnce(ApiServer) -> F + Send + 'static) -> T
where
    F: std::future::Future<Output = T> + 'static,
    T: Send + 'static,
{
    sim_clock::run(sim_clock::WorldOptions::seeded(1), move || test(ApiServer::new())).expect("the world ends well")
}

fn pod(name: &str, containers: &[&str]) -> Value {
    let containers: Vec<Value> = containers.iter().map(|c| json!({"name": c, "image": "i"})).collect();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", "labels": {"app": "a"}}, "spec": {"nodeName": "n", "containers": containers}})
}

const TABLE: (&str, &str) = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
const PARTIAL: (&str, &str) = ("accept", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io");
const PARTIALS: (&str, &str) = ("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io");

#[test]
fn objects_lists_and_watches_become_tables() {
    world(|server| async move {
        server.apply(pod("p", &["c"])).unwrap();
        let list = ask(&server, "GET /api/v1/namespaces/default/pods", &[TABLE], "").await.json();
        assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
        assert_eq!(list["columnDefinitions"][0]["format"], "name");
        assert_eq!(list["rows"][0]["cells"].as_array().unwrap()[..3], [json!("p"), json!("0/1"), json!("Pending")]);
        assert_eq!(list["rows"][0]["object"]["kind"], "PartialObjectMetadata");
        assert!(list["metadata"]["resourceVersion"].is_string());
        let one = ask(&server, "GET /api/v1/namespaces/default/pods/p?includeObject=Object", &[TABLE], "").await.json();
        assert_eq!(one["rows"][0]["object"]["spec"]["nodeName"], "n");
        let bare = ask(&server, "GET /api/v1/namespaces/default/pods/p?includeObject=None", &[TABLE], "").await.json();
        assert_eq!(bare["rows"][0]["object"], Value::Null);
        server.apply(pod("q", &["c"])).unwrap();
        let watch = ask(&server, "GET /api/v1/pods?watch=1&timeoutSeconds=1", &[TABLE], "").await.text();
        let events: Vec<Value> = watch.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(events.len(), 2);
        assert!(events[0]["object"]["columnDefinitions"].is_array());
        assert_eq!(events[1]["object"]["columnDefinitions"], Value::Null);
        assert_eq!(events[1]["object"]["rows"][0]["cells"][0], "q");
        let refused = ask(&server, "GET /api/v1/namespaces/default/pods/zz", &[TABLE], "").await;
        assert_eq!((refused.code.as_u16(), &refused.json()["kind"]), (404, &json!("Status")));
    });
}

#[test]
fn metadata_alone_is_given_to_those_who_ask_for_it() {
    world(|server| async move {
        server.apply(pod("p", &["c"])).unwrap();
        let list = ask(&server, "GET /api/v1/pods", &[PARTIALS], "").await.json();
        assert_eq!(list["kind"], "PartialObjectMetadataList");
        assert_eq!(list["items"][0]["kind"], "PartialObjectMetadata");
        assert!(list["items"][0].get("spec").is_none());
        let one = ask(&server, "GET /api/v1/namespaces/default/pods/p", &[PARTIAL], "").await.json();
        assert_eq!((&one["apiVersion"], &one["metadata"]["name"]), (&json!("meta.k8s.io/v1"), &json!("p")));
        let wrong = ask(&server, "GET /api/v1/pods", &[PARTIAL], "").await;
        assert_eq!(wrong.code, 406);
        assert!(wrong.message().starts_with("you requested PartialObjectMetadata, but the requested object is a list"));
        let event = ask(&server, "GET /api/v1/watch/namespaces/default/pods/p?timeoutSeconds=1", &[PARTIAL], "").await;
        assert_eq!(event.json()["object"]["kind"], "PartialObjectMetadata");
    });
}

#[test]
fn yaml_is_read_and_written_and_long_answers_are_packed() {
    world(|server| async move {
        let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  on: \"yes\"\n";
        let headers = [("content-type", "application/yaml"), ("accept", "application/yaml")];
        let made = ask(&server, "POST /api/v1/namespaces/default/configmaps", &headers, yaml).await;
        assert_eq!(made.code, 201);
        assert_eq!(made.headers["content-type"], "application/yaml");
        assert!(
            made.text().starts_with("apiVersion: v1\ndata:\n  \"on\": \"yes\"\nkind: ConfigMap\n"),
            "{}",
            made.text()
        );
        let long = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "long", "namespace": "default"}, "data": {"k": "x".repeat(200_000)}});
        server.apply(long).unwrap();
        let packed = ask(&server, "GET /api/v1/configmaps", &[("accept-encoding", "gzip")], "").await;
        assert_eq!(packed.headers["content-encoding"], "gzip");
        assert!(packed.body.len() < 20_000);
        let plain = ask(&server, "GET /api/v1/configmaps", &[], "").await;
        assert!(!plain.headers.contains_key("content-encoding") && plain.body.len() > 200_000);
    });
}

#[test]
fn go_clients_bodies_are_read_and_answered_as_protobuf() {
    world(|server| async move {
        let body: &[u8] = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09Namespace\x12\x0c\x0a\x06\x0a\x04team\x12\x00\x1a\x00";
        let headers = [
            ("content-type", "application/vnd.kubernetes.protobuf"),
            ("accept", "application/vnd.kubernetes.protobuf,application/json"),
        ];
        let made = ask(&server, "POST /api/v1/namespaces", &headers, body).await;
        let object = crate::protobuf::decode(&made.body).unwrap();
        assert_eq!((made.code.as_u16(), &object["metadata"]["name"]), (201, &json!("team")));
        let broken = ask(&server, "POST /api/v1/namespaces", &headers, &body[..20]).await;
        let status = crate::protobuf::decode(&broken.body).unwrap();
        assert_eq!((broken.code.as_u16(), &status["message"]), (400, &json!("unexpected EOF")));
    });
}

#[test]
fn discovery_is_served_in_both_forms() {
    world(|server| async move {
        let accept = (
            "accept",
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
        );
        let all = ask(&server, "GET /apis", &[accept], "").await;
        assert_eq!(all.headers["content-type"], "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
        let all = all.json();
        let apps = all["items"].as_array().unwrap().iter().find(|g| g["metadata"]["name"] == "apps").unwrap();
        let deployments = apps["versions"][0]["resources"]
            .as_array()
            .unwrap()
            .iter()
            .find(|r| r["resource"] == "deployments")
            .unwrap();
        assert_eq!(deployments["responseKind"], json!({"group": "apps", "version": "v1", "kind": "Deployment"}));
        assert_eq!(deployments["subresources"][0]["responseKind"]["group"], "autoscaling");
        let core = ask(&server, "GET /api", &[accept], "").await.json();
        assert_eq!(core["items"].as_array().unwrap().len(), 1);
        let old = ask(&server, "GET /apis", &[], "").await.json();
        assert_eq!(old["kind"], "APIGroupList");
        let list = ask(&server, "GET /api/v1", &[], "").await.json();
        let names: BTreeMap<&str, &Value> =
            list["resources"].as_array().unwrap().iter().map(|r| (r["name"].as_str().unwrap(), r)).collect();
        assert_eq!(names["pods"]["storageVersionHash"], "xPOwRZ+Yhw8=", "the hash a real server gives");
        assert_eq!(names["pods/eviction"]["kind"], "Eviction");
    });
}

#[test]
fn paths_that_lead_nowhere_answer_as_the_mux_does() {
    world(|server| async move {
        let none = ask(&server, "GET /nowhere", &[], "").await;
        assert_eq!((none.code.as_u16(), none.text()), (404, "404 page not found\n".into()));
        let health = ask(&server, "GET /readyz?verbose", &[], "").await.text();
        assert!(health.starts_with("[+]ping ok\n") && health.ends_with("readyz check passed\n"));
        assert_eq!(ask(&server, "GET /livez/ping", &[], "").await.text(), "ok");
        assert_eq!(ask(&server, "GET /livez/zz", &[], "").await.code, 404);
        assert!(
            ask(&server, "GET /", &[], "").await.json()["paths"].as_array().unwrap().contains(&json!("/apis/apps/v1"))
        );
        let wrong = ask(&server, "POST /api/v1/namespaces/default/pods/p", &[], "{}").await;
        assert_eq!(
            (wrong.code.as_u16(), wrong.message()),
            (405, "the server does not allow this method on the requested resource".into())
        );
        let (a, b) = (ask(&server, "GET /version", &[], "").await, ask(&server, "GET /version", &[], "").await);
        assert_ne!(a.headers["audit-id"], b.headers["audit-id"]);
    });
}

#[test]
fn parameters_that_contradict_or_are_none_are_refused_as_the_real_server_does() {
    world(|server| async move {
        let post = "POST /api/v1/namespaces/default/configmaps";
        let map = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}"#;
        for (line, body, code, message) in [
            ("GET /api/v1/pods?limit=x".to_owned(), "", 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
            (
                "GET /api/v1/pods?resourceVersionMatch=Exact".to_owned(),
                "",
                422,
                "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
            (
                "GET /api/v1/pods?resourceVersion=0&resourceVersionMatch=Exact".to_owned(),
                "",
                422,
                "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ),
            (
                format!("{post}?dryRun=Some"),
                map,
                422,
                "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: \"Some\": supported values: \"All\"",
            ),
            (post.to_owned(), "", 400, "couldn't get version/kind; json parse error: unexpected end of JSON input"),
            (
                "DELETE /api/v1/namespaces/default/configmaps/c?propagationPolicy=Orphan&orphanDependents=true"
                    .to_owned(),
                "",
                422,
                "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: \"Orphan\": orphanDependents and deletionPropagation cannot be both set",
            ),
        ] {
            let answer = ask(&server, &line, &[], body).await;
            assert_eq!((answer.code.as_u16(), answer.message().as_str()), (code, message), "{line}");
        }
        let html = ask(&server, "GET /api/v1/pods", &[("accept", "text/html")], "").await;
        assert_eq!(
            html.message(),
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        );
    });
}

#[test]
fn logs_are_served_whole_in_part_and_as_they_come() {
    world(|server| async move {
        server.apply(pod("p", &["a", "b"])).unwrap();
        let path = "GET /api/v1/namespaces/default/pods/p/log";
        let logs = crate::ContainerLogs::default();
        server.connect_logs(logs.clone());
        let get = |query: &'static str| {
            let server = server.clone();
            async move { ask(&server, &format!("{path}{query}"), &[], "").await }
        };
        assert_eq!(get("").await.message(), "a container name must be specified for pod p, choose one of: [a b]");
        assert_eq!(get("?container=z").await.message(), "container z is not valid for pod p");
        assert_eq!(get("?container=a").await.code, 400);
        let stdout = logs.open("default", "p", "a");
        for line in ["one", "two", "three"] {
            stdout.line(line);
        }
        assert_eq!(get("?container=a").await.text(), "one\ntwo\nthree\n");
        assert_eq!(get("?container=a&tailLines=1").await.text(), "three\n");
        assert_eq!(get("?container=a&limitBytes=5").await.text(), "one\nt");
        assert!(get("?container=a&tailLines=1&timestamps=true").await.text().ends_with("Z three\n"));
        assert_eq!(
            get("?container=a&tailLines=-1").await.message(),
            "PodLogOptions \"p\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0"
        );
        assert_eq!(
            get("?container=a&previous=true").await.message(),
            "previous terminated container \"a\" in pod \"p\" not found"
        );
        let writer = sim_clock::spawn("writer", async move {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            stdout.line("four");
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            logs.open("default", "p", "a");
        });
        assert_eq!(get("?container=a&follow=true&tailLines=1").await.text(), "three\nfour\n");
        writer.await.unwrap();
    });
}

#[test]
fn an_eviction_asks_the_budget() {
    world(|server| async move {
        let mut running = pod("p", &["c"]);
        server.apply(running.clone()).unwrap();
        running["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        let target = server.engine().target_of(&running).unwrap();
        let status =
            |target: &crate::engine::Target| crate::engine::Target { subresource: "status".into(), ..target.clone() };
        server.edit(&status(&target), "kubelet", |o| o["status"] = running["status"].clone()).unwrap();
        let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b", "namespace": "default"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}});
        server.apply(budget.clone()).unwrap();
        let of_budget = server.engine().target_of(&budget).unwrap();
        let set = |allowed: i64| {
            server.edit(&status(&of_budget), "c", |o| o["status"] = json!({"observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}))
        };
        set(0).unwrap();
        let evict = || {
            ask(
                &server,
                "POST /api/v1/namespaces/default/pods/p/eviction",
                &[],
                r#"{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p"}}"#,
            )
        };
        let refused = evict().await;
        assert_eq!(
            (refused.code.as_u16(), refused.message().as_str()),
            (429, "Cannot evict pod as it would violate the pod's disruption budget.")
        );
        assert_eq!(
            refused.json()["details"]["causes"][0]["message"],
            "The disruption budget b needs 1 healthy pods and has 1 currently"
        );
        set(1).unwrap();
        assert_eq!(evict().await.code, 201);
        let left = server.get("policy/v1", "PodDisruptionBudget", "default", "b").unwrap();
        assert_eq!(left["status"]["disruptionsAllowed"], 0);
        assert!(crate::json::deleting(&server.get("v1", "Pod", "default", "p").unwrap()));
    });
}
