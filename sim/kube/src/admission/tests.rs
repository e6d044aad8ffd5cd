use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::Engine as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sim_clock::{WorldOptions, now};
use sim_net::{NameTarget, Network};

use crate::{ApiServer, tls::Authority, wire};

const HOUR: Duration = Duration::from_secs(3600);

/// What a webhook answers to a review's request; `None` leaves it unanswered.
type Judge = Arc<dyn Fn(&Value) -> Option<Value> + Send + Sync>;

/// A world with an API server, and one webhook host `hook.default.svc` whose judge is called for every path.
struct World {
    api: ApiServer,
    authority: Authority,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl World {
    fn new(judge: impl Fn(&Value) -> Option<Value> + Send + Sync + 'static) -> Self {
        Self::with_names(&["hook.default.svc"], judge)
    }

    fn with_names(names: &[&str], judge: impl Fn(&Value) -> Option<Value> + Send + Sync + 'static) -> Self {
        let network = Network::new();
        let api = ApiServer::new();
        api.call_webhooks_from(network.host("kubernetes"));
        let authority = Authority::new("webhooks", now()).unwrap();
        let serving = authority.serving(names, now(), HOUR).unwrap();
        let config = crate::tls::server_config(&serving, &authority).unwrap();
        let host = network.host("hook");
        network.set_name("hook.default.svc", NameTarget::Addresses(vec![host.ip()]));
        let mut listener = host.listen(443).unwrap();
        let judge: Judge = Arc::new(judge);
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let log = asked.clone();
        sim_clock::spawn("webhook server", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (config, judge, log) = (config.clone(), judge.clone(), log.clone());
                sim_clock::spawn("webhook connection", async move {
                    let Ok(stream) = tokio_rustls::TlsAcceptor::from(config).accept(stream).await else { return };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (judge, log) = (judge.clone(), log.clone());
                        async move {
                            let path = request.uri().to_string();
                            let body = request.into_body().collect().await.unwrap().to_bytes();
                            let mut review: Value = serde_json::from_slice(&body).unwrap();
                            review["path"] = path.into();
                            log.lock().unwrap().push(review.clone());
                            let mut request = review["request"].clone();
                            request["path"] = review["path"].clone();
                            let Some(mut response) = judge(&request) else { return std::future::pending().await };
                            if response.get("raw").is_none() {
                                response["uid"] = review["request"]["uid"].clone();
                                response = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
                            }
                            Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(
                                response.to_string(),
                            ))))
                        }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        api.apply(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook", "namespace": "default"},
            "spec": {"clusterIP": "10.96.7.7", "ports": [{"port": 443, "name": "https"}, {"port": 8443, "name": "closed"}], "selector": {"a": "b"}}})).unwrap();
        Self { api, authority, asked }
    }

    fn hook(&self, name: &str, path: &str) -> Value {
        let bundle = base64::engine::general_purpose::STANDARD.encode(self.authority.pem());
        json!({"name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"caBundle": bundle, "service": {"namespace": "default", "name": "hook", "path": path}},
            "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]})
    }

    fn configure(&self, kind: &str, name: &str, hooks: &[Value]) {
        self.api
            .apply(json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "webhooks": hooks}))
            .unwrap();
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value, Vec<String>) {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let bytes = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request =
            Request::builder().method(method).uri(path).header("content-type", kind).header("user-agent", "test/1");
        let response = wire::handle(self.api.clone(), request.body(bytes).unwrap()).await;
        let code = response.status().as_u16();
        let headers = response.headers().get_all("warning").iter();
        let warnings = headers.map(|w| w.to_str().unwrap().to_owned()).collect();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&body).unwrap(), warnings)
    }

    async fn create(&self, name: &str) -> (u16, Value, Vec<String>) {
        self.ask("POST", CONFIG_MAPS, &config_map(name)).await
    }
}

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

fn allow() -> Option<Value> {
    Some(json!({"allowed": true}))
}

fn patch(operations: &Value) -> Option<Value> {
    let text = base64::engine::general_purpose::STANDARD.encode(operations.to_string());
    Some(json!({"allowed": true, "patchType": "JSONPatch", "patch": text}))
}

fn run<F: Future<Output = ()> + 'static>(test: impl FnOnce() -> F + Send + 'static) {
    sim_clock::run(WorldOptions::seeded(3), test).unwrap();
}

#[test]
fn a_webhook_is_asked_in_full_and_its_patch_is_stored() {
    run(|| async {
        let world = World::new(|r| match r["path"].as_str().unwrap() {
            "/mutate?timeout=10s" => patch(
                &json!([{"op": "add", "path": "/data/b", "value": "2"}, {"op": "add", "path": "/metadata/labels", "value": {"x": "y"}}]),
            ),
            _ => Some(json!({"allowed": true, "warnings": ["mind the gap"], "auditAnnotations": {"k": "v"}})),
        });
        world.configure("MutatingWebhookConfiguration", "m", &[world.hook("m.example.com", "/mutate")]);
        world.configure("ValidatingWebhookConfiguration", "v", &[world.hook("v.example.com", "/validate")]);
        let (code, object, warnings) = world.create("c").await;
        assert_eq!(code, 201, "{object}");
        assert_eq!(
            (object["data"].clone(), object["metadata"]["labels"].clone()),
            (json!({"a": "1", "b": "2"}), json!({"x": "y"}))
        );
        assert_eq!(warnings, ["299 - \"mind the gap\""]);
        let asked = world.asked.lock().unwrap().clone();
        let (first, second) = (&asked[0]["request"], &asked[1]["request"]);
        assert_eq!(
            (asked[0]["apiVersion"].clone(), asked[0]["kind"].clone()),
            (json!("admission.k8s.io/v1"), json!("AdmissionReview"))
        );
        assert_eq!(first["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
        assert_eq!(first["resource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
        assert_eq!((&first["requestKind"], &first["requestResource"]), (&first["kind"], &first["resource"]));
        assert_eq!(
            (&first["name"], &first["namespace"], &first["operation"]),
            (&json!("c"), &json!("default"), &json!("CREATE"))
        );
        assert_eq!((&first["oldObject"], &first["dryRun"]), (&Value::Null, &json!(false)));
        assert_eq!(first["options"]["kind"], "CreateOptions");
        assert_eq!(first["options"]["fieldManager"], "test");
        assert_eq!(first["object"]["metadata"].get("uid"), None, "before the server fills in");
        assert_eq!(second["object"]["metadata"]["uid"], object["metadata"]["uid"], "as it will be stored");
        assert_eq!(second["object"]["data"]["b"], "2");
        assert_ne!(first["uid"], second["uid"]);
    });
}

#[test]
fn a_refusal_reaches_the_client_and_nothing_is_stored() {
    run(|| async {
        let world = World::new(|_| {
            Some(json!({"allowed": false, "status": {"code": 403, "reason": "Forbidden", "message": "not today"}}))
        });
        world.configure("ValidatingWebhookConfiguration", "v", &[world.hook("v.example.com", "/v")]);
        let (code, status, _) = world.create("c").await;
        assert_eq!((code, status["reason"].as_str()), (403, Some("Forbidden")));
        assert_eq!(status["message"], "admission webhook \"v.example.com\" denied the request: not today");
        assert!(world.api.get("v1", "ConfigMap", "default", "c").is_err());
    });
}

#[test]
fn updates_patches_and_deletions_show_the_old_object() {
    run(|| async {
        let world = World::new(|_| allow());
        world.create("c").await;
        world.configure("ValidatingWebhookConfiguration", "v", &[world.hook("v.example.com", "/v")]);
        let path = format!("{CONFIG_MAPS}/c");
        assert_eq!(world.ask("PATCH", &path, &json!({"data": {"a": "2"}})).await.0, 200);
        assert_eq!(world.ask("DELETE", &path, &Value::Null).await.0, 200);
        let asked = world.asked.lock().unwrap().clone();
        let seen: Vec<_> = asked
            .iter()
            .map(|a| &a["request"])
            .map(|r| {
                json!([r["operation"], r["object"]["data"]["a"], r["oldObject"]["data"]["a"], r["options"]["kind"]])
            })
            .collect();
        assert_eq!(seen, [json!(["UPDATE", "2", "1", "UpdateOptions"]), json!(["DELETE", null, "2", "DeleteOptions"])]);
        for name in ["d", "e"] {
            world.create(name).await;
        }
        world.asked.lock().unwrap().clear();
        assert_eq!(world.ask("DELETE", CONFIG_MAPS, &Value::Null).await.0, 200);
        // The request names none of them.
        let seen: Vec<Value> = world.asked.lock().unwrap().iter().map(|a| a["request"].clone()).collect();
        assert!(seen.iter().all(|r| r.get("name").is_none() && r["namespace"] == "default"), "{seen:?}");
        let names: Vec<&Value> = seen.iter().map(|r| &r["oldObject"]["metadata"]["name"]).collect();
        assert!(names.contains(&&"d".into()) && names.contains(&&"e".into()), "{names:?}");
    });
}

#[test]
fn calls_that_fail_are_told_in_the_real_words_or_ignored_if_the_policy_says_so() {
    run(|| async {
        let world =
            World::new(
                |r| if r["path"].as_str().unwrap().starts_with("/slow") { None } else { Some(json!({"raw": 1})) },
            );
        let service = |name: &str, port: u16| json!({"namespace": "default", "name": name, "port": port, "path": "/p"});
        let mut cases = Vec::new();
        let base = world.hook("v.example.com", "/p");
        let mut add = |key: &str, value: Value, text: &str| {
            let mut hook = base.clone();
            match key {
                "timeout" => {
                    hook["timeoutSeconds"] = 3.into();
                    hook["clientConfig"]["service"]["path"] = "/slow".into();
                }
                "url" => {
                    hook["clientConfig"].as_object_mut().unwrap().shift_remove("service");
                    hook["clientConfig"]["url"] = value;
                }
                key => hook["clientConfig"][key] = value,
            }
            cases.push((hook, text.to_owned()));
        };
        add(
            "service",
            service("none", 443),
            "Post \"https://none.default.svc:443/p?timeout=10s\": service \"none\" not found",
        );
        add(
            "service",
            service("hook", 80),
            "Post \"https://hook.default.svc:80/p?timeout=10s\": no service port 80 found for service \"hook\"",
        );
        add(
            "service",
            service("hook", 8443),
            "Post \"https://hook.default.svc:8443/p?timeout=10s\": dial tcp 10.96.7.7:8443: connect: connection refused",
        );
        add(
            "url",
            "https://nowhere.example/x".into(),
            "Post \"https://nowhere.example/x?timeout=10s\": dial tcp: lookup nowhere.example on 10.96.0.10:53: no such host",
        );
        add("timeout", Value::Null, "Post \"https://hook.default.svc:443/slow?timeout=3s\": context deadline exceeded");
        let stranger = Authority::new("stranger", now()).unwrap();
        let other = base64::engine::general_purpose::STANDARD.encode(stranger.pem());
        add(
            "caBundle",
            other.into(),
            "Post \"https://hook.default.svc:443/p?timeout=10s\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
        );
        for (hook, text) in &cases {
            world.configure("ValidatingWebhookConfiguration", "v", std::slice::from_ref(hook));
            let (code, status, _) = world.create("c").await;
            assert_eq!(code, 500, "{status}");
            assert_eq!(status["reason"], "InternalError");
            let full = format!(
                "Internal error occurred: failed calling webhook \"v.example.com\": failed to call webhook: {text}"
            );
            assert_eq!(status["message"].as_str(), Some(full.as_str()));
            let mut lenient = hook.clone();
            lenient["failurePolicy"] = "Ignore".into();
            world.configure("ValidatingWebhookConfiguration", "v", &[lenient]);
            assert_eq!(world.create("c").await.0, 201, "{text}");
            world.api.delete("v1", "ConfigMap", "default", "c").unwrap();
        }
    });
}

#[test]
fn a_certificate_for_another_name_or_out_of_date_is_refused() {
    run(|| async {
        let world = World::with_names(&["other.default.svc"], |_| allow());
        world.configure("ValidatingWebhookConfiguration", "v", &[world.hook("v.example.com", "/p")]);
        let message = |status: &Value| status["message"].as_str().unwrap().rsplit("x509: ").next().unwrap().to_owned();
        let (_, status, _) = world.create("c").await;
        assert_eq!(message(&status), "certificate is valid for other.default.svc, not hook.default.svc");
        let world = World::new(|_| allow());
        world.configure("ValidatingWebhookConfiguration", "v", &[world.hook("v.example.com", "/p")]);
        assert_eq!(world.create("c").await.0, 201);
        let end = now() + HOUR;
        tokio::time::sleep(HOUR + Duration::from_secs(5)).await;
        let (_, status, _) = world.create("d").await;
        let text = message(&status);
        assert!(
            text.starts_with("certificate has expired or is not yet valid: current time ")
                && text.ends_with(&format!("is after {}", end.rfc3339())),
            "{text}"
        );
    });
}

#[test]
fn selectors_rules_scope_and_the_equivalent_version_decide_who_is_asked() {
    run(|| async {
        let world = World::new(|_| Some(json!({"allowed": false, "status": {"message": "asked"}})));
        let definition = |versions: &[&str]| {
            let versions: Vec<Value> = versions
                .iter()
                .enumerate()
                .map(|(i, v)| {
                    json!({"name": v, "served": true, "storage": i == 0,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
                })
                .collect();
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"},
                "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing", "singular": "thing", "listKind": "ThingList"}, "versions": versions}})
        };
        world.api.apply(definition(&["v1", "v2"])).unwrap();
        let thing = json!({"apiVersion": "example.com/v2", "kind": "Thing", "metadata": {"name": "t", "labels": {"tier": "gold"}}});
        let cases = [
            (json!({}), true),
            (
                json!({"rules": [{"operations": ["UPDATE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]}),
                false,
            ),
            (
                json!({"rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"], "scope": "Cluster"}]}),
                false,
            ),
            (json!({"matchPolicy": "Exact"}), false),
            (json!({"objectSelector": {"matchLabels": {"tier": "silver"}}}), false),
            (json!({"objectSelector": {"matchExpressions": [{"key": "tier", "operator": "Exists"}]}}), true),
            (json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}), true),
            (json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}}), false),
        ];
        for (change, asked) in cases {
            let mut hook = world.hook("v.example.com", "/v");
            hook["rules"] = json!([{"operations": ["*"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["things"]}]);
            crate::patch::merge_patch(&mut hook, &change);
            world.configure("ValidatingWebhookConfiguration", "v", &[hook]);
            world.asked.lock().unwrap().clear();
            let path = "/apis/example.com/v2/namespaces/default/things?dryRun=All";
            let (code, status, _) = world.ask("POST", path, &thing).await;
            assert_eq!(code, if asked { 400 } else { 201 }, "{change}: {status}");
            if asked {
                let request = world.asked.lock().unwrap()[0]["request"].clone();
                assert_eq!(request["object"]["apiVersion"], "example.com/v1", "seen under the version of the rule");
                assert_eq!(
                    (&request["kind"]["version"], &request["requestKind"]["version"]),
                    (&json!("v1"), &json!("v2"))
                );
                assert_eq!(request["dryRun"], true);
            }
        }
    });
}

#[test]
fn mutating_webhooks_run_by_name_and_once_more_if_a_later_one_changed_the_object() {
    run(|| async {
        let world = World::new(|r| {
            let path = r["path"].as_str().unwrap()[1..].split('?').next().unwrap().to_owned();
            let trail = r["object"]["data"]["trail"].as_str().unwrap_or("").to_owned();
            let known = trail.contains(&path);
            if known && path != "b" {
                allow()
            } else {
                patch(&json!([{"op": "add", "path": "/data/trail", "value": format!("{trail}{path}")}]))
            }
        });
        let mut again = world.hook("a.example.com", "/a");
        again["reinvocationPolicy"] = "IfNeeded".into();
        world.configure("MutatingWebhookConfiguration", "z", &[world.hook("c.example.com", "/c")]);
        world.configure("MutatingWebhookConfiguration", "y", &[again, world.hook("b.example.com", "/b")]);
        let (code, object, _) = world.create("c").await;
        assert_eq!((code, object["data"]["trail"].clone()), (201, json!("abc")));
        let paths: Vec<String> =
            world.asked.lock().unwrap().iter().map(|a| a["path"].as_str().unwrap()[1..2].to_owned()).collect();
        assert_eq!(paths, ["a", "b", "c", "a"], "only the one that asked for it is asked again");
    });
}

#[test]
fn an_object_that_changed_while_a_webhook_thought_is_planned_anew() {
    run(|| async {
        let slot: Arc<Mutex<Option<ApiServer>>> = Arc::default();
        let inner = slot.clone();
        let world = World::new(move |_| {
            // The first time it is asked, somebody else writes in between.
            if let Some(api) = inner.lock().unwrap().take() {
                let target = api.engine().target_of(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}})).unwrap();
                api.edit(&target, "other", |o| o["data"]["other"] = "x".into()).unwrap();
            }
            allow()
        });
        let (_, stale, _) = world.create("c").await;
        world.configure("ValidatingWebhookConfiguration", "v", &[world.hook("v.example.com", "/v")]);
        *slot.lock().unwrap() = Some(world.api.clone());
        let path = format!("{CONFIG_MAPS}/c");
        let (code, object, _) = world.ask("PATCH", &path, &json!({"data": {"a": "2"}})).await;
        assert_eq!((code, object["data"].clone()), (200, json!({"a": "2", "other": "x"})), "neither write is lost");
        assert_eq!(world.asked.lock().unwrap().len(), 2);
        let (code, status, _) = world.ask("PUT", &path, &stale).await;
        assert_eq!((code, status["reason"].as_str()), (409, Some("Conflict")));
    });
}

#[test]
fn webhooks_never_judge_what_configures_them() {
    run(|| async {
        let world = World::new(|_| Some(json!({"allowed": false})));
        let mut all = world.hook("v.example.com", "/v");
        all["rules"] = json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]);
        world.configure("ValidatingWebhookConfiguration", "v", std::slice::from_ref(&all));
        let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/v";
        assert_eq!(world.ask("DELETE", path, &Value::Null).await.0, 200);
        assert_eq!(world.create("c").await.0, 201);
    });
}

#[test]
fn protected_and_ending_namespaces_answer_as_the_real_ones() {
    run(|| async {
        let world = World::new(|_| allow());
        let (code, status, _) = world.ask("DELETE", "/api/v1/namespaces/kube-system", &Value::Null).await;
        assert_eq!(
            (code, status["message"].as_str()),
            (403, Some("namespaces \"kube-system\" is forbidden: this namespace may not be deleted"))
        );
        world.ask("POST", "/api/v1/namespaces", &json!({"metadata": {"name": "n", "finalizers": ["x.y/z"]}})).await;
        world.ask("DELETE", "/api/v1/namespaces/n", &Value::Null).await;
        let (code, status, _) = world.ask("POST", "/api/v1/namespaces/n/configmaps", &config_map("c")).await;
        assert_eq!(
            (code, status["message"].as_str()),
            (
                403,
                Some(
                    "configmaps \"c\" is forbidden: unable to create new content in namespace n because it is being terminated"
                )
            )
        );
        assert_eq!(
            status["details"]["causes"],
            json!([{"reason": "NamespaceTerminating", "message": "namespace n is being terminated", "field": "metadata.namespace"}])
        );
        let (code, status, _) = world.ask("POST", "/api/v1/namespaces/none/configmaps", &config_map("c")).await;
        assert_eq!((code, status["message"].as_str()), (404, Some("namespaces \"none\" not found")));
    });
}

#[test]
fn a_webhook_is_asked_only_if_all_its_conditions_hold_and_fails_closed_if_they_cannot_be_told() {
    run(|| async {
        let world = World::new(|_| Some(json!({"allowed": false, "status": {"message": "asked"}})));
        let configure = |expression: &str, policy: &str| {
            let mut hook = world.hook("a.b.c", "/a");
            hook["matchConditions"] = json!([{"name": "not-mine", "expression": "object.metadata.name != 'mine'"},
                {"name": "given", "expression": expression}]);
            hook["failurePolicy"] = policy.into();
            world.configure("ValidatingWebhookConfiguration", "hooks", &[hook]);
        };
        configure("request.operation == 'CREATE' && request.resource.resource == 'configmaps'", "Fail");
        assert_eq!(world.create("mine").await.0, 201);
        assert!(world.asked.lock().unwrap().is_empty());
        assert_eq!(world.create("other").await.1["message"], "admission webhook \"a.b.c\" denied the request: asked");
        configure("object.data.missing == '1'", "Fail");
        let (code, refusal, _) = world.create("other").await;
        let why = "configmaps \"other\" is forbidden: expression 'object.data.missing == '1'' resulted in error: no such key: missing";
        assert_eq!((code, refusal["message"].as_str().unwrap()), (403, why));
        configure("object.data.missing == '1'", "Ignore");
        assert_eq!(world.create("other").await.0, 201);
        assert_eq!(world.asked.lock().unwrap().len(), 1);
    });
}

#[test]
fn subresources_with_objects_of_their_own_are_asked_about_by_their_names() {
    run(|| async {
        let world = World::new(|r| match (r["path"].as_str().unwrap(), r["subResource"].as_str()) {
            ("/mutate?timeout=10s", Some("scale")) if r["object"]["spec"]["replicas"] == 5 => {
                patch(&json!([{"op": "replace", "path": "/spec/replicas", "value": 3}]))
            }
            ("/validate?timeout=10s", Some("scale")) if r["object"]["spec"]["replicas"] == 9 => {
                Some(json!({"allowed": false, "status": {"message": "too many"}}))
            }
            ("/validate?timeout=10s", Some("eviction")) if r["name"] == "kept" => {
                Some(json!({"allowed": false, "status": {"message": "it stays"}}))
            }
            _ => Some(json!({"allowed": true, "warnings": ["asked"]})),
        });
        let (pods, deployments) = ("/api/v1/namespaces/default/pods", "/apis/apps/v1/namespaces/default/deployments");
        let labels = json!({"a": "b"});
        let spec = json!({"containers": [{"name": "c", "image": "i"}]});
        for name in ["kept", "gone", "bound"] {
            world.api.apply(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec})).unwrap();
        }
        world.api.apply(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "default"},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}}})).unwrap();
        let rules = json!([{"operations": ["*"], "apiGroups": ["", "apps"], "apiVersions": ["v1"],
            "resources": ["pods/eviction", "pods/binding", "pods/exec", "deployments/scale", "pods"]}]);
        for (kind, path) in
            [("MutatingWebhookConfiguration", "/mutate"), ("ValidatingWebhookConfiguration", "/validate")]
        {
            let mut hook = world.hook("w.example.com", path);
            hook["rules"] = rules.clone();
            world.configure(kind, "w", &[hook]);
        }
        let scale = async |replicas: i64| {
            world.ask("PATCH", &format!("{deployments}/d/scale"), &json!({"spec": {"replicas": replicas}})).await
        };
        let (code, scaled, warnings) = scale(5).await;
        assert_eq!((code, &scaled["spec"]["replicas"], warnings.len()), (200, &json!(3), 1), "{scaled}");
        assert_eq!(world.api.get("apps/v1", "Deployment", "default", "d").unwrap()["spec"]["replicas"], 3);
        let (code, refused, _) = scale(9).await;
        assert_eq!(
            (code, refused["message"].as_str().unwrap()),
            (400, "admission webhook \"w.example.com\" denied the request: too many")
        );
        let evict = async |name: &str| {
            let eviction = json!({"metadata": {"name": name, "namespace": "default"}});
            world.ask("POST", &format!("{pods}/{name}/eviction"), &eviction).await.0
        };
        assert_eq!((evict("kept").await, evict("gone").await), (400, 201));
        assert!(
            world.api.get("v1", "Pod", "default", "kept").is_ok()
                && world.api.get("v1", "Pod", "default", "gone").is_err()
        );
        let binding = json!({"metadata": {"name": "bound"}, "target": {"kind": "Node", "name": "node-0"}});
        assert_eq!(world.ask("POST", &format!("{pods}/bound/binding"), &binding).await.0, 201);
        // Nothing runs it, but its webhooks were asked before.
        let _ = world.ask("POST", &format!("{pods}/bound/exec?command=date&stdout=true"), &Value::Null).await;
        let asked = world.asked.lock().unwrap().clone();
        let seen = |part: &str| {
            let request =
                &asked.iter().find(|a| a["request"]["subResource"] == part).unwrap_or(&Value::Null)["request"];
            json!([
                request["operation"],
                request["kind"]["group"],
                request["kind"]["kind"],
                request["resource"]["resource"],
                request["object"]["kind"],
                request["oldObject"]["kind"]
            ])
        };
        assert_eq!(seen("scale"), json!(["UPDATE", "autoscaling", "Scale", "deployments", "Scale", "Scale"]));
        assert_eq!(seen("eviction"), json!(["CREATE", "policy", "Eviction", "pods", "Eviction", null]));
        assert_eq!(seen("binding"), json!(["CREATE", "", "Binding", "pods", "Binding", null]));
        assert_eq!(seen("exec"), json!(["CONNECT", "", "PodExecOptions", "pods", "PodExecOptions", null]));
        let exec = asked.iter().find(|a| a["request"]["subResource"] == "exec").unwrap();
        assert_eq!(exec["request"]["object"]["command"], json!(["date"]));
        let deletions = asked.iter().filter(|a| a["request"]["operation"] == "DELETE").count();
        assert_eq!(deletions, 0, "an eviction is no deletion to webhooks");
    });
}
