//! Requests as clients send them, against the chain of steps.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sim_clock::{WorldOptions, now};

use super::*;
use crate::{ApiServer, wire};

const HOUR: Duration = Duration::from_secs(3600);

/// A server with RBAC, the bootstrap roles, a namespace and some accounts.
fn secured() -> ApiServer {
    let server = ApiServer::new();
    server.bootstrap_roles().unwrap();
    let tokens = BTreeMap::from([
        ("ann-token".to_owned(), UserInfo::new("ann", &["dev"])),
        ("root-token".to_owned(), UserInfo::new("root", &[MASTERS])),
    ]);
    server.set_access(AccessOptions { authorization: Authorization::Rbac, tokens, ..AccessOptions::default() });
    for object in [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot", "namespace": "x"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "x"}}),
    ] {
        server.apply(object).unwrap();
    }
    server
}

fn grant(server: &ApiServer, namespace: &str, name: &str, rules: Value, subject: Value) {
    let scope = if namespace.is_empty() { "Cluster" } else { "" };
    let group = "rbac.authorization.k8s.io";
    let metadata = json!({"name": name, "namespace": namespace});
    server
        .apply(json!({"apiVersion": format!("{group}/v1"), "kind": format!("{scope}Role"), "metadata": metadata, "rules": rules}))
        .unwrap();
    server
        .apply(json!({"apiVersion": format!("{group}/v1"), "kind": format!("{scope}RoleBinding"), "metadata": metadata, "subjects": [subject],
            "roleRef": {"apiGroup": group, "kind": format!("{scope}Role"), "name": name}}))
        .unwrap();
}

fn ann() -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"})
}

/// Sends a request from outside, with these headers.
async fn send(server: &ApiServer, method: &str, path: &str, headers: &[(&str, &str)], body: Value) -> (u16, Value) {
    let mut request = Request::builder().method(method).uri(path).extension(Connection::default());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { bytes::Bytes::new() } else { body.to_string().into() };
    let response = wire::handle(server.clone(), request.body(body).unwrap()).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into()))
}

const ANN: (&str, &str) = ("authorization", "Bearer ann-token");
const ROOT: (&str, &str) = ("authorization", "Bearer root-token");

fn world<F: Future<Output = ()> + 'static>(test: impl FnOnce() -> F + Send + 'static) {
    sim_clock::run(WorldOptions::seeded(5), test).unwrap();
}

#[test]
fn refusals_read_as_those_of_the_real_server() {
    world(|| async {
        let server = secured();
        let bot = server.service_account_token("x", "bot", HOUR).unwrap();
        let bot = format!("Bearer {bot}");
        let bot = ("authorization", bot.as_str());
        for (who, method, path, message, details) in [
            (
                bot,
                "GET",
                "/apis/apps/v1/namespaces/x/deployments",
                r#"deployments.apps is forbidden: User "system:serviceaccount:x:bot" cannot list resource "deployments" in API group "apps" in the namespace "x""#,
                json!({"group": "apps", "kind": "deployments"}),
            ),
            (
                bot,
                "GET",
                "/apis/apps/v1/deployments",
                r#"deployments.apps is forbidden: User "system:serviceaccount:x:bot" cannot list resource "deployments" in API group "apps" at the cluster scope"#,
                json!({"group": "apps", "kind": "deployments"}),
            ),
            (
                ANN,
                "GET",
                "/api/v1/namespaces/x/configmaps/c",
                r#"configmaps "c" is forbidden: User "ann" cannot get resource "configmaps" in API group "" in the namespace "x""#,
                json!({"name": "c", "kind": "configmaps"}),
            ),
            (
                ANN,
                "GET",
                "/api/v1/namespaces/x/pods/p/log",
                r#"pods "p" is forbidden: User "ann" cannot get resource "pods/log" in API group "" in the namespace "x""#,
                json!({"name": "p", "kind": "pods"}),
            ),
            (ANN, "GET", "/metrics", r#"forbidden: User "ann" cannot get path "/metrics""#, json!({})),
            (
                ("x-nothing", "at all"),
                "GET",
                "/api",
                r#"forbidden: User "system:anonymous" cannot get path "/api""#,
                json!({}),
            ),
            (
                ANN,
                "GET",
                "/api/v1/namespaces/x",
                r#"namespaces "x" is forbidden: User "ann" cannot get resource "namespaces" in API group "" in the namespace "x""#,
                json!({"name": "x", "kind": "namespaces"}),
            ),
        ] {
            let (code, status) = send(&server, method, path, &[who], Value::Null).await;
            assert_eq!((code, status["message"].as_str().unwrap()), (403, message));
            assert_eq!(status["details"], details, "{message}");
            assert_eq!(status["reason"], "Forbidden");
        }
        assert_eq!(send(&server, "GET", "/apis/apps/v1/deployments", &[ROOT], Value::Null).await.0, 200);
        assert_eq!(send(&server, "GET", "/version", &[], Value::Null).await.0, 200, "everybody may read the version");
    });
}

#[test]
fn a_grant_counts_at_once_and_its_use_is_booked() {
    world(|| async {
        let server = secured();
        let path = "/api/v1/namespaces/x/configmaps/c";
        assert_eq!(send(&server, "GET", path, &[ANN], Value::Null).await.0, 403);
        let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "delete"]}]);
        grant(&server, "x", "read", rules, ann());
        assert_eq!(send(&server, "GET", path, &[ANN], Value::Null).await.0, 200);
        let usage = server.rule_usage().into_iter().find(|u| u.role == "read").unwrap();
        assert_eq!(usage.granted, [("get".to_owned(), "configmaps".to_owned(), 1)]);
        assert_eq!(usage.unused, [("delete".to_owned(), "configmaps".to_owned())]);
        server.delete("rbac.authorization.k8s.io/v1", "RoleBinding", "x", "read").unwrap();
        assert_eq!(send(&server, "GET", path, &[ANN], Value::Null).await.0, 403);
    });
}

#[test]
fn reviews_and_token_requests_are_discovered() {
    world(|| async {
        let server = secured();
        let (_, groups) = send(&server, "GET", "/apis", &[ROOT], Value::Null).await;
        let names: Vec<_> = groups["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
        assert!(names.contains(&"authorization.k8s.io") && names.is_sorted(), "{names:?}");
        let path = "/apis/authorization.k8s.io/v1";
        let (code, list) = send(&server, "GET", path, &[ROOT], Value::Null).await;
        assert_eq!((code, list["resources"].as_array().unwrap().len()), (200, 4));
        let found = |list: &Value, name: &str| -> Value {
            list["resources"].as_array().unwrap().iter().find(|r| r["name"] == name).cloned().unwrap_or_default()
        };
        assert_eq!(
            found(&list, "localsubjectaccessreviews"),
            json!({"name": "localsubjectaccessreviews", "singularName": "localsubjectaccessreview", "namespaced": true,
                "kind": "LocalSubjectAccessReview", "verbs": ["create"]})
        );
        let (_, core) = send(&server, "GET", "/api/v1", &[ROOT], Value::Null).await;
        assert_eq!(
            found(&core, "serviceaccounts/token"),
            json!({"name": "serviceaccounts/token", "singularName": "", "namespaced": true,
                "group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest", "verbs": ["create"]})
        );
        assert_eq!(
            send(&server, "GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &[ROOT], Value::Null)
                .await
                .0,
            405
        );
    });
}

#[test]
fn an_apply_or_update_that_creates_needs_the_right_to_create() {
    world(|| async {
        let server = secured();
        let verbs = |verbs: &[&str]| json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}]);
        let path = "/api/v1/namespaces/x/configmaps/new?fieldManager=ann";
        let apply = [ANN, ("content-type", "application/apply-patch+yaml")];
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new", "namespace": "x"}});
        grant(&server, "x", "write", verbs(&["patch", "update"]), ann());
        let (code, status) = send(&server, "PATCH", path, &apply, object.clone()).await;
        assert_eq!((code, &status["message"]), (403, &json!("configmaps \"new\" is forbidden: ")), "{status}");
        grant(&server, "x", "write", verbs(&["create", "patch", "update"]), ann());
        assert_eq!(send(&server, "PATCH", path, &apply, object.clone()).await.0, 201);
        grant(&server, "x", "write", verbs(&["patch"]), ann());
        assert_eq!(send(&server, "PATCH", path, &apply, object).await.0, 200, "it is there now");
    });
}

#[test]
fn bad_credentials_are_answered_with_401_and_say_nothing_else() {
    world(|| async {
        let server = secured();
        let good = server.service_account_token("x", "bot", HOUR).unwrap();
        let review = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let bearer = |token: &str| format!("Bearer {token}");
        let (code, who) = send(&server, "POST", review, &[("authorization", &bearer(&good))], json!({})).await;
        assert_eq!((code, &who["status"]["userInfo"]["username"]), (201, &json!("system:serviceaccount:x:bot")));
        let stranger = tokens::Signer::new();
        let account = server.get("v1", "ServiceAccount", "x", "bot").unwrap();
        let claims = |audience: &str| tokens::Claims {
            account: &account,
            pod: None,
            node: None,
            audiences: vec![audience.to_owned()],
            now: now(),
            seconds: 3600,
            warn_after: None,
            id: "i".into(),
        };
        let foreign = stranger.issue(&claims(tokens::ISSUER));
        let elsewhere = server.access().signer().issue(&claims("vault"));
        let mut tampered = good.clone().into_bytes();
        let middle = good.find('.').unwrap() + 20;
        tampered[middle] = if tampered[middle] == b'A' { b'B' } else { b'A' };
        let tampered = String::from_utf8(tampered).unwrap();
        let token_review = |token: &str| json!({"spec": {"token": token}});
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        for (token, error) in [
            ("nobody", "invalid bearer token"),
            ("a.b.c", "invalid bearer token"),
            (foreign.as_str(), "[invalid bearer token, go-jose/go-jose: error in cryptographic primitive]"),
            (
                elsewhere.as_str(),
                "[invalid bearer token, token audiences [\"vault\"] is invalid for the target audiences [\"https://kubernetes.default.svc.cluster.local\"]]",
            ),
        ] {
            let (code, status) = send(&server, "POST", review, &[("authorization", &bearer(token))], json!({})).await;
            assert_eq!(code, 401, "{token}");
            assert_eq!(
                status,
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "Unauthorized", "reason": "Unauthorized", "code": 401})
            );
            let (_, answer) = send(&server, "POST", path, &[ROOT], token_review(token)).await;
            assert_eq!(answer["status"]["error"], error);
            assert_eq!(answer["status"].get("authenticated"), None);
        }
        assert_eq!(send(&server, "POST", review, &[("authorization", &bearer(&tampered))], json!({})).await.0, 401);
        tokio::time::sleep(HOUR + Duration::from_secs(1)).await;
        let (_, answer) = send(&server, "POST", path, &[ROOT], token_review(&good)).await;
        assert_eq!(answer["status"]["error"], "[invalid bearer token, service account token has expired]");
        let fresh = server.service_account_token("x", "bot", HOUR).unwrap();
        let (_, answer) = send(&server, "POST", path, &[ROOT], token_review(&fresh)).await;
        assert_eq!(answer["status"]["authenticated"], true);
        assert_eq!(answer["status"]["audiences"], json!([tokens::ISSUER]));
        server.delete("v1", "ServiceAccount", "x", "bot").unwrap();
        assert_eq!(send(&server, "POST", review, &[("authorization", &bearer(&fresh))], json!({})).await.0, 401);
        server.set_access(AccessOptions { anonymous: false, ..server.access_options() });
        assert_eq!(
            send(&server, "GET", "/version", &[], Value::Null).await.0,
            401,
            "anonymous requests can be refused"
        );
    });
}

#[test]
fn a_client_certificate_says_user_and_groups_until_it_expires() {
    world(|| async {
        let server = secured();
        let authority = server.authority().unwrap();
        let shown = |certified: &crate::tls::Certified| Connection {
            certificates: Arc::from([certified.der().clone()]),
            without_credentials: None,
        };
        let ask = |connection: Connection| {
            let request = Request::get("/apis/apps/v1/deployments").extension(connection);
            wire::handle(server.clone(), request.body(bytes::Bytes::new()).unwrap())
        };
        let admin = authority.client("boss", &[MASTERS], now(), HOUR).unwrap();
        let other = authority.client("ann", &["dev"], now(), HOUR).unwrap();
        let foreign =
            crate::tls::Authority::new("other", now()).unwrap().client("boss", &[MASTERS], now(), HOUR).unwrap();
        assert_eq!(ask(shown(&admin)).await.status(), 200);
        assert_eq!(ask(shown(&other)).await.status(), 403);
        assert_eq!(ask(shown(&foreign)).await.status(), 401);
        tokio::time::sleep(HOUR + Duration::from_secs(1)).await;
        assert_eq!(ask(shown(&admin)).await.status(), 401, "expired in virtual time");
    });
}

#[test]
fn impersonation_is_asked_for_piece_by_piece() {
    world(|| async {
        let server = secured();
        let review = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let act = |who: (&'static str, &'static str), headers: Vec<(&'static str, &'static str)>| {
            let server = server.clone();
            async move { send(&server, "POST", review, &[vec![who], headers].concat(), json!({})).await }
        };
        let text = |status: &Value| status["message"].as_str().unwrap_or("").to_owned();
        let (code, status) = act(ANN, vec![("impersonate-user", "jane")]).await;
        assert_eq!(code, 403);
        assert_eq!(
            text(&status),
            r#"users "jane" is forbidden: User "ann" cannot impersonate resource "users" in API group "" at the cluster scope"#
        );
        grant(
            &server,
            "",
            "act",
            json!([{"apiGroups": [""], "resources": ["users"], "resourceNames": ["jane"], "verbs": ["impersonate"]}]),
            ann(),
        );
        let (code, who) = act(ANN, vec![("impersonate-user", "jane")]).await;
        assert_eq!(code, 201);
        assert_eq!(who["status"]["userInfo"], json!({"username": "jane", "groups": ["system:authenticated"]}));
        let (_, status) = act(ANN, vec![("impersonate-user", "john")]).await;
        assert!(text(&status).starts_with("users \"john\" is forbidden"), "{status}");
        let (_, status) = act(ANN, vec![("impersonate-user", "jane"), ("impersonate-group", "system:masters")]).await;
        assert_eq!(
            text(&status),
            r#"groups "system:masters" is forbidden: User "ann" cannot impersonate resource "groups" in API group "" at the cluster scope"#
        );
        let (_, status) =
            act(ANN, vec![("impersonate-user", "jane"), ("impersonate-extra-acme.com%2fproject", "p")]).await;
        assert_eq!(
            text(&status),
            r#"userextras.authentication.k8s.io "p" is forbidden: User "ann" cannot impersonate resource "userextras/acme.com/project" in API group "authentication.k8s.io" at the cluster scope"#
        );
        let (_, status) = act(ANN, vec![("impersonate-user", "system:serviceaccount:x:bot")]).await;
        assert_eq!(
            text(&status),
            r#"serviceaccounts "bot" is forbidden: User "ann" cannot impersonate resource "serviceaccounts" in API group "" in the namespace "x""#
        );
        let (_, who) = act(ROOT, vec![("impersonate-user", "system:serviceaccount:x:bot")]).await;
        assert_eq!(
            who["status"]["userInfo"]["groups"],
            json!(["system:serviceaccounts", "system:serviceaccounts:x", "system:authenticated"])
        );
        let all = vec![
            ("impersonate-user", "jane"),
            ("impersonate-group", "a"),
            ("impersonate-group", "b"),
            ("impersonate-uid", "7"),
            ("impersonate-extra-k", "v"),
        ];
        let (_, who) = act(ROOT, all).await;
        assert_eq!(
            who["status"]["userInfo"],
            json!({"username": "jane", "uid": "7", "groups": ["a", "b", "system:authenticated"], "extra": {"k": ["v"]}})
        );
        assert_eq!(act(ROOT, vec![("impersonate-group", "a")]).await.0, 500);
        let (code, _) = act(("authorization", "Bearer nobody"), vec![("impersonate-user", "jane")]).await;
        assert_eq!(code, 401, "who acts as somebody has to be somebody");
        let list =
            send(&server, "GET", "/api/v1/namespaces/x/configmaps", &[ROOT, ("impersonate-user", "ann")], Value::Null)
                .await;
        assert_eq!(list.0, 403, "the rights are those of whom one acts as");
    });
}

#[test]
fn access_reviews_answer_for_oneself_and_for_others() {
    world(|| async {
        let server = secured();
        grant(&server, "x", "read", json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]), ann());
        let own = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let pods = |verb: &str, namespace: &str| json!({"verb": verb, "resource": "pods", "namespace": namespace});
        let (code, answer) =
            send(&server, "POST", own, &[ANN], json!({"spec": {"resourceAttributes": pods("get", "x")}})).await;
        assert_eq!(code, 201);
        assert_eq!(
            answer["status"],
            json!({"allowed": true, "reason": r#"RBAC: allowed by RoleBinding "read/x" of Role "read" to User "ann""#})
        );
        let (_, answer) =
            send(&server, "POST", own, &[ANN], json!({"spec": {"resourceAttributes": pods("list", "x")}})).await;
        assert_eq!(answer["status"], json!({"allowed": false}));
        let (code, status) = send(&server, "POST", own, &[ANN], json!({"spec": {}})).await;
        assert_eq!(code, 422, "{status}");
        let other = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let about_ann = json!({"spec": {"user": "ann", "resourceAttributes": pods("get", "x")}});
        assert_eq!(
            send(&server, "POST", other, &[ANN], about_ann.clone()).await.0,
            403,
            "asking for others is a right"
        );
        assert_eq!(send(&server, "POST", other, &[ROOT], about_ann.clone()).await.1["status"]["allowed"], true);
        let nobody = json!({"spec": {"resourceAttributes": pods("get", "x")}});
        let (code, status) = send(&server, "POST", other, &[ROOT], nobody).await;
        assert_eq!(
            (code, status["message"].as_str().unwrap()),
            (
                422,
                "SubjectAccessReview.authorization.k8s.io \"\" is invalid: spec.user: Invalid value: \"\": at least one of user or group must be specified"
            )
        );
        let local = "/apis/authorization.k8s.io/v1/namespaces/y/localsubjectaccessreviews";
        assert_eq!(send(&server, "POST", local, &[ROOT], about_ann).await.0, 422);
        let rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
        let (_, answer) = send(&server, "POST", rules, &[ANN], json!({"spec": {"namespace": "x"}})).await;
        let resources = answer["status"]["resourceRules"].as_array().unwrap();
        assert!(resources.contains(&json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]})), "{answer}");
        assert_eq!(answer["status"]["incomplete"], false);
    });
}

#[test]
fn nobody_grants_what_they_do_not_hold() {
    world(|| async {
        let server = secured();
        let group = "rbac.authorization.k8s.io";
        let roles = format!("/apis/{group}/v1/namespaces/x/roles");
        let bindings = format!("/apis/{group}/v1/namespaces/x/rolebindings");
        grant(
            &server,
            "x",
            "manage",
            json!([
                {"apiGroups": [group], "resources": ["roles", "rolebindings"], "verbs": ["create", "update", "get"]},
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
            ]),
            ann(),
        );
        let role = |name: &str, verbs: Value| {
            json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": {"name": name},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]})
        };
        assert_eq!(send(&server, "POST", &roles, &[ANN], role("fine", json!(["get"]))).await.0, 201);
        let (code, status) = send(&server, "POST", &roles, &[ANN], role("more", json!(["get", "delete"]))).await;
        assert_eq!(
            (code, status["message"].as_str().unwrap()),
            (
                403,
                "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"ann\" (groups=[\"dev\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}"
            )
        );
        assert!(server.get(&format!("{group}/v1"), "Role", "x", "more").is_err(), "nothing was stored");
        let bind = |kind: &str, name: &str| {
            json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": {"name": format!("b-{name}")},
            "roleRef": {"apiGroup": group, "kind": kind, "name": name}, "subjects": [ann()]})
        };
        assert_eq!(send(&server, "POST", &bindings, &[ANN], bind("Role", "fine")).await.0, 201);
        assert_eq!(send(&server, "POST", &bindings, &[ANN], bind("ClusterRole", "view")).await.0, 403);
        let (code, status) = send(&server, "POST", &bindings, &[ANN], bind("ClusterRole", "gone")).await;
        assert_eq!(
            (code, status["message"].as_str().unwrap()),
            (404, "clusterroles.rbac.authorization.k8s.io \"gone\" not found")
        );
        grant(
            &server,
            "x",
            "binder",
            json!([{"apiGroups": [group], "resources": ["clusterroles"], "resourceNames": ["view"], "verbs": ["bind"]}]),
            ann(),
        );
        assert_eq!(send(&server, "POST", &bindings, &[ANN], bind("ClusterRole", "view")).await.0, 201);
        assert_eq!(send(&server, "POST", &bindings, &[ANN], bind("ClusterRole", "edit")).await.0, 403);
        grant(
            &server,
            "x",
            "escalator",
            json!([{"apiGroups": [group], "resources": ["roles"], "verbs": ["escalate"]}]),
            ann(),
        );
        assert_eq!(send(&server, "POST", &roles, &[ANN], role("more", json!(["*"]))).await.0, 201);
        assert_eq!(send(&server, "POST", &bindings, &[ROOT], bind("ClusterRole", "admin")).await.0, 201);
    });
}

#[test]
fn token_requests_are_answered_and_their_bounds_kept() {
    world(|| async {
        let server = secured();
        let path = "/api/v1/namespaces/x/serviceaccounts/bot/token";
        let ask = |spec: Value| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        let (code, answer) =
            send(&server, "POST", path, &[ROOT], ask(json!({"audiences": ["vault"], "expirationSeconds": 600}))).await;
        assert_eq!(code, 201, "{answer}");
        let token = answer["status"]["token"].as_str().unwrap();
        let review = json!({"spec": {"token": token, "audiences": ["vault", "other"]}});
        let (_, reviewed) = send(&server, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", &[ROOT], review).await;
        assert_eq!(reviewed["status"]["audiences"], json!(["vault"]));
        let (code, status) = send(&server, "POST", path, &[ROOT], ask(json!({"expirationSeconds": 60}))).await;
        assert_eq!(
            (code, status["message"].as_str().unwrap()),
            (
                422,
                "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes"
            )
        );
        let missing = "/api/v1/namespaces/x/serviceaccounts/gone/token";
        let (code, status) = send(&server, "POST", missing, &[ROOT], ask(json!({}))).await;
        assert_eq!((code, status["message"].as_str().unwrap()), (404, "serviceaccounts \"gone\" not found"));
        let unknown = json!({"boundObjectRef": {"kind": "Pod", "name": "p"}});
        assert_eq!(send(&server, "POST", path, &[ROOT], ask(unknown)).await.0, 404);
        assert_eq!(send(&server, "POST", path, &[ANN], ask(json!({}))).await.0, 403);
    });
}
