//! The operator's webhooks as users of the API server meet them: what is refused and in which words, that nothing passes while nobody
//! can be asked, and that certificates are exchanged while requests come in.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::{Method, Request};
use multigres_operator::tls::pki::{self, Pair};
use scenario_runner::{Project, manifests::Manifests, operator};
use serde_json::{Value, json};
use sim_clock::WorldOptions;
use sim_net::http::Client;
use sim_world::World;

const CLUSTERS: &str = "/apis/multigres.com/v1alpha1/namespaces/default/multigresclusters";
const SECRETS: &str = "/api/v1/namespaces/multigres-operator/secrets";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/multigres-operator/deployments";
const MANAGER: &str = "multigres-operator-controller-manager";

/// Somebody who talks to the API server of a world.
struct User(Client);

struct Answer {
    status: u16,
    body: Value,
    warnings: Vec<String>,
}

impl User {
    async fn ask(&self, method: Method, path: &str, content: &str, body: &Value) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://kubernetes.default.svc:443{path}"))
            .header("content-type", content)
            .body(if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) })
            .unwrap();
        let response = self.0.send(request).await.unwrap();
        let warnings = response.headers().get_all("warning").iter().map(|value| value.to_str().unwrap().to_owned());
        Answer {
            status: response.status().as_u16(),
            warnings: warnings.collect(),
            body: serde_json::from_slice(response.body()).unwrap(),
        }
    }

    async fn create(&self, path: &str, object: &Value) -> Answer {
        self.ask(Method::POST, path, "application/json", object).await
    }

    async fn patch(&self, path: &str, patch: &Value) -> Answer {
        self.ask(Method::PATCH, path, "application/merge-patch+json", patch).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, "application/json", &Value::Null).await
    }

    async fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path, "application/json", &Value::Null).await.body
    }
}

impl Answer {
    fn told(&self) -> String {
        let message = self.body["message"].as_str().unwrap_or("(stored)");
        let first = format!("{} {}: {message}", self.status, self.body["reason"].as_str().unwrap_or_default());
        let warnings = self.warnings.iter().map(|warning| format!("Warning: {warning}"));
        std::iter::once(first).chain(warnings).collect::<Vec<_>>().join("\n  ")
    }
}

/// Runs a world with the operator and without a telemetry stack.
fn in_world<F, T>(args: &'static [&'static str], program: impl FnOnce(World, User) -> F + Send + 'static) -> T
where
    F: Future<Output = T>,
    T: Send + 'static,
{
    let with_args = |deployed: &mut Vec<Value>| {
        for object in deployed.iter_mut().filter(|object| object["kind"] == "Deployment") {
            let list = object["spec"]["template"]["spec"]["containers"][0]["args"].as_array_mut().unwrap();
            list.extend(args.iter().map(|arg| json!(arg)));
        }
    };
    in_changed_world(with_args, program)
}

/// The same, with manifests that were changed.
fn in_changed_world<F, T>(
    change: impl FnOnce(&mut Vec<Value>),
    program: impl FnOnce(World, User) -> F + Send + 'static,
) -> T
where
    F: Future<Output = T>,
    T: Send + 'static,
{
    let project = Project::around(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("the crate lies in its project");
    let mut deployed = Manifests::deployed(&project, true, false).unwrap();
    change(&mut deployed);
    sim_clock::run(WorldOptions::seeded(1), move || async move {
        let world = World::builder().manifests(deployed).image(operator::IMAGE, operator::run).start().await.unwrap();
        world.ready().await.unwrap();
        let user = User(Client::new(world.observer().clone()));
        program(world, user).await
    })
    .unwrap()
}

fn cluster(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "multigres.com/v1alpha1", "kind": "MultigresCluster",
        "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

fn shard_template(name: &str) -> Value {
    json!({"apiVersion": "multigres.com/v1alpha1", "kind": "ShardTemplate",
        "metadata": {"name": name, "namespace": "default"}, "spec": {"pools": {"main": {"type": "readWrite"}}}})
}

fn with_shard(shard: Value) -> Value {
    let mut shard = shard;
    shard["name"] = json!("0-inf");
    json!({"cells": [{"name": "zone-a", "zone": "a"}], "databases": [{"name": "postgres", "default": true,
        "tablegroups": [{"name": "default", "default": true, "shards": [shard]}]}]})
}

#[test]
fn what_is_refused_is_told_in_these_words() {
    let told: Vec<String> = in_world(&[], |_world, user| async move {
        let templates = "/apis/multigres.com/v1alpha1/namespaces/default/shardtemplates";
        let mut told = Vec::new();
        let mut tell = |what: &str, answer: &Answer| told.push(format!("{what}\n  {}", answer.told()));
        let missing = json!({"cells": [{"name": "zone-a", "zone": "a", "cellTemplate": "huge"}],
            "templateDefaults": {"coreTemplate": "default"}});
        tell("names templates that do not exist", &user.create(CLUSTERS, &cluster("a", &missing)).await);
        let elsewhere = with_shard(json!({"spec": {"pools": {"main": {"type": "readWrite", "cells": ["zone-b"]}}}}));
        tell("a pool in a cell that does not exist", &user.create(CLUSTERS, &cluster("b", &elsewhere)).await);
        let misspelt = json!({"cells": [{"name": "zone-a", "zone": "a"}],
            "globalTopoServer": {"etcd": {"replicas": "three"}}});
        tell("a text where a number belongs", &user.create(CLUSTERS, &cluster("c", &misspelt)).await);
        let long = json!({"cells": [{"name": "us-east-1a", "zone": "us-east-1a"}]});
        tell("a cell with a long name", &user.create(CLUSTERS, &cluster("long", &long)).await);
        tell("no cell at all", &user.create(CLUSTERS, &cluster("c", &json!({}))).await);
        tell("a template", &user.create(templates, &shard_template("small")).await);
        let slip =
            with_shard(json!({"shardTemplate": "small", "overrides": {"pools": {"mian": {"type": "readWrite"}}}}));
        tell("overrides a pool that the template lacks", &user.create(CLUSTERS, &cluster("d", &slip)).await);
        let fewer = json!({"spec": with_shard(json!({"shardTemplate": "small"}))});
        let fewer = user.ask(Method::PATCH, &format!("{CLUSTERS}/d"), "application/merge-patch+json", &fewer).await;
        tell("takes overrides away that made a pool", &fewer);
        let external = json!({"external": {"endpoints": ["http://etcd.default.svc:2379"], "rootPath": "/shared"}});
        let external = json!({"cells": [{"name": "zone-a", "zone": "a"}], "globalTopoServer": external});
        tell("an external topology", &user.create(CLUSTERS, &cluster("e", &external)).await);
        tell("the same place of the same topology", &user.create(CLUSTERS, &cluster("f", &external)).await);
        let relabelled = json!({"metadata": {"labels": {"example.com/mine": "yes"}}});
        let moved = json!({"spec": {"globalTopoServer": {"external": {"rootPath": "/elsewhere"}}}});
        tell("moves the topology", &user.patch(&format!("{CLUSTERS}/e"), &moved).await);
        tell("labels a cluster there", &user.patch(&format!("{CLUSTERS}/e"), &relabelled).await);
        tell("deletes a template in use", &user.delete(&format!("{templates}/small")).await);
        tell("another template", &user.create(templates, &shard_template("unused")).await);
        tell("deletes a template that nobody uses", &user.delete(&format!("{templates}/unused")).await);
        tokio::time::sleep(Duration::from_secs(30)).await;
        for (plural, kind) in
            [("cells", "Cell"), ("shards", "Shard"), ("tablegroups", "TableGroup"), ("toposervers", "TopoServer")]
        {
            let path = format!("/apis/multigres.com/v1alpha1/namespaces/default/{plural}");
            let name = user.get(&path).await["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
            let patch = json!({"metadata": {"annotations": {"example.com/mine": "yes"}}});
            tell(&format!("changes a {kind}"), &user.patch(&format!("{path}/{name}"), &patch).await);
            tell(&format!("deletes a {kind}"), &user.delete(&format!("{path}/{name}")).await);
        }
        told
    });
    insta::assert_snapshot!("reject_messages", told.join("\n"));
}

#[test]
fn what_was_left_out_is_written_down_and_a_change_of_nothing_stays_one() {
    in_world(&[], |_world, user| async move {
        let minimal = cluster("minimal", &json!({"cells": [{"name": "zone-a", "zone": "a"}]}));
        let stored = user.create(CLUSTERS, &minimal).await.body;
        assert_eq!(stored["spec"]["globalTopoServer"]["etcd"]["replicas"], 3, "{stored}");
        let path = format!("{CLUSTERS}/minimal");
        let patch = json!({"metadata": {"labels": {"example.com/mine": "yes"}}});
        let patched = user.patch(&path, &patch).await.body;
        assert_eq!(patched["metadata"]["annotations"], stored["metadata"]["annotations"]);
        assert_eq!((&patched["spec"], &patched["metadata"]["generation"]), (&stored["spec"], &json!(1)));
    });
}

#[test]
fn while_the_operator_cannot_be_asked_nothing_is_stored() {
    in_world(&[], |_world, user| async move {
        let path = format!("{DEPLOYMENTS}/{MANAGER}");
        assert_eq!(user.patch(&path, &json!({"spec": {"replicas": 0}})).await.status, 200);
        tokio::time::sleep(Duration::from_secs(30)).await;
        let spec = json!({"cells": [{"name": "zone-a", "zone": "a"}]});
        let refused = user.create(CLUSTERS, &cluster("minimal", &spec)).await;
        let message = refused.body["message"].as_str().unwrap().to_owned();
        assert_eq!(refused.status, 500, "{message}");
        assert!(
            message.starts_with("Internal error occurred: failed calling webhook \"mmultigrescluster.kb.io\": failed to call webhook: Post"),
            "{message}"
        );
        assert_eq!(user.patch(&path, &json!({"spec": {"replicas": 1}})).await.status, 200);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let stored = user.create(CLUSTERS, &cluster("minimal", &spec)).await;
        assert_eq!(stored.status, 201, "{}", stored.told());
    });
}

#[test]
fn templates_in_use_are_protected_from_the_deletion_of_all_of_them_too() {
    in_world(&[], |_world, user| async move {
        let templates = "/apis/multigres.com/v1alpha1/namespaces/default/shardtemplates";
        assert_eq!(user.create(templates, &shard_template("small")).await.status, 201);
        let named = with_shard(json!({"shardTemplate": "small"}));
        assert_eq!(user.create(CLUSTERS, &cluster("minimal", &named)).await.status, 201);
        let refused = user.delete(templates).await;
        assert_eq!(refused.status, 403, "{}", refused.told());
        assert!(refused.told().contains("'small' is in use by MultigresCluster minimal"), "{}", refused.told());
        assert_eq!(user.get(templates).await["items"].as_array().unwrap().len(), 1);
        // A cluster that is on its way out protects nothing.
        assert_eq!(user.delete(&format!("{CLUSTERS}/minimal")).await.status, 200);
        assert_eq!(user.delete(templates).await.status, 200);
        assert_eq!(user.get(templates).await["items"].as_array().unwrap().len(), 0);
    });
}

#[test]
fn what_has_become_wrong_can_still_be_labelled_but_not_changed() {
    in_world(&[], |_world, user| async move {
        let templates = "/apis/multigres.com/v1alpha1/namespaces/default/shardtemplates";
        assert_eq!(user.create(templates, &shard_template("small")).await.status, 201);
        let named = with_shard(json!({"shardTemplate": "small"}));
        assert_eq!(user.create(CLUSTERS, &cluster("minimal", &named)).await.status, 201);
        // Somebody takes the template away while nobody looks.
        let hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/multigres-operator-validating-webhook-configuration";
        let looking = user.get(hooks).await;
        assert_eq!(user.delete(hooks).await.status, 200);
        assert_eq!(user.delete(&format!("{templates}/small")).await.status, 200);
        let mut again = looking.clone();
        again["metadata"] = json!({"name": looking["metadata"]["name"]});
        let created =
            user.create("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", &again).await;
        assert_eq!(created.status, 201, "{}", created.told());
        let path = format!("{CLUSTERS}/minimal");
        let labelled = user.patch(&path, &json!({"metadata": {"labels": {"example.com/mine": "yes"}}})).await;
        assert_eq!(labelled.status, 200, "{}", labelled.told());
        assert!(labelled.told().contains("referenced ShardTemplate 'small' not found"), "{}", labelled.told());
        let changed = user.patch(&path, &json!({"spec": {"cells": [{"name": "zone-b", "zone": "b"}]}})).await;
        assert_eq!(changed.status, 422, "{}", changed.told());
    });
}

/// A certificate as cert-manager's Secrets hold it.
fn tls_data(leaf: &Pair) -> Value {
    json!({"tls.crt": BASE64.encode(&leaf.certificate), "tls.key": BASE64.encode(&leaf.key)})
}

/// Where the operator's `mutating` or `validating` webhooks are configured.
fn configuration(kind: &str) -> String {
    format!(
        "/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations/multigres-operator-{kind}-webhook-configuration"
    )
}

/// Mounts a Secret, which need not be there, where the operator looks for a certificate.
fn mounting(deployed: &mut [Value], secret: &str) {
    for object in deployed.iter_mut().filter(|object| object["kind"] == "Deployment") {
        let pod = &mut object["spec"]["template"]["spec"];
        pod["volumes"] = json!([{"name": "certificate", "secret": {"secretName": secret, "optional": true}}]);
        let container = &mut pod["containers"][0];
        container["volumeMounts"] =
            json!([{"name": "certificate", "mountPath": "/var/run/secrets/webhook", "readOnly": true}]);
        container["args"].as_array_mut().unwrap().push(json!("--webhook-cert-validity=10m"));
    }
}

#[test]
fn an_authority_that_is_taken_out_of_the_configurations_is_put_back() {
    in_world(&[], |_world, user| async move {
        let spec = json!({"cells": [{"name": "zone-a", "zone": "a"}]});
        let hooks = configuration("mutating");
        let mut present = user.get(&hooks).await;
        let client = present["webhooks"][0]["clientConfig"].as_object_mut().unwrap();
        assert!(client.remove("caBundle").is_some());
        let replaced = user.ask(Method::PUT, &hooks, "application/json", &present).await;
        assert_eq!(replaced.status, 200, "{}", replaced.told());
        assert_eq!(user.create(CLUSTERS, &cluster("minimal", &spec)).await.status, 500);
        tokio::time::sleep(Duration::from_secs(40)).await;
        let stored = user.create(CLUSTERS, &cluster("minimal", &spec)).await;
        assert_eq!(stored.status, 201, "{}", stored.told());
    });
}

#[test]
fn an_authority_that_is_lost_is_made_anew_and_no_request_fails() {
    in_world(&["--webhook-cert-validity=10m"], |_world, user| async move {
        let spec = json!({"cells": [{"name": "zone-a", "zone": "a"}]});
        assert_eq!(user.create(CLUSTERS, &cluster("minimal", &spec)).await.status, 201);
        // The second one looks at other times than the first.
        tokio::time::sleep(Duration::from_secs(15)).await;
        let deployment = format!("{DEPLOYMENTS}/{MANAGER}");
        assert_eq!(user.patch(&deployment, &json!({"spec": {"replicas": 2}})).await.status, 200);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(user.get(&deployment).await["status"]["readyReplicas"], 2);
        let authority = format!("{SECRETS}/multigres-operator-ca-secret");
        let lost = user.get(&authority).await["data"]["ca.crt"].clone();
        assert_eq!(user.delete(&authority).await.status, 200);
        for n in 0..360 {
            let patch = json!({"metadata": {"annotations": {"example.com/n": n.to_string()}}});
            let answer = user.patch(&format!("{CLUSTERS}/minimal"), &patch).await;
            assert_eq!(answer.status, 200, "request {n}: {}", answer.told());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let made = user.get(&authority).await["data"]["ca.crt"].clone();
        assert!(made.is_string() && made != lost, "{made}");
        let leaf = user.get(&format!("{SECRETS}/multigres-webhook-certs")).await["data"].clone();
        let text = |value: &Value| String::from_utf8(BASE64.decode(value.as_str().unwrap()).unwrap()).unwrap();
        assert!(text(&leaf["ca.crt"]).starts_with(&text(&made)), "the new one signs what is served");
    });
}

#[test]
fn a_certificate_of_its_own_that_is_mounted_is_still_the_operators_to_renew() {
    in_changed_world(
        |deployed| mounting(deployed, "multigres-webhook-certs"),
        |_world, user| async move {
            let spec = json!({"cells": [{"name": "zone-a", "zone": "a"}]});
            let restart =
                json!({"spec": {"template": {"metadata": {"annotations": {"example.com/restarted": "now"}}}}});
            assert_eq!(user.patch(&format!("{DEPLOYMENTS}/{MANAGER}"), &restart).await.status, 200);
            // The certificate that it finds at its start has ended by then.
            tokio::time::sleep(Duration::from_secs(15 * 60)).await;
            let stored = user.create(CLUSTERS, &cluster("minimal", &spec)).await;
            assert_eq!(stored.status, 201, "{}", stored.told());
        },
    );
}

#[test]
fn a_certificate_that_somebody_else_brings_later_is_theirs_from_then_on() {
    const SECRET: &str = "webhook-server-cert";
    let issued = UNIX_EPOCH + Duration::from_secs(1_770_828_600);
    let year = Duration::from_secs(365 * 86_400);
    let names = ["multigres-operator-webhook-service.multigres-operator.svc".to_owned()];
    let authority = pki::authority("somebody", issued, year).unwrap();
    let leaf = pki::leaf(&authority, &names, issued, year).unwrap();
    in_changed_world(
        |deployed| mounting(deployed, SECRET),
        move |_world, user| async move {
            let spec = json!({"cells": [{"name": "zone-a", "zone": "a"}]});
            let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
                "metadata": {"name": SECRET, "namespace": "multigres-operator"}, "data": tls_data(&leaf)});
            assert_eq!(user.create(SECRETS, &secret).await.status, 201);
            // A world's kubelet looks at what is mounted when something of it is changed.
            let labelled = json!({"metadata": {"labels": {"example.com/mine": "yes"}}});
            assert_eq!(user.patch(&format!("{SECRETS}/{SECRET}"), &labelled).await.status, 200);
            tokio::time::sleep(Duration::from_secs(180)).await;
            for kind in ["mutating", "validating"] {
                let hooks = configuration(kind);
                let mut present = user.get(&hooks).await;
                for webhook in present["webhooks"].as_array_mut().unwrap() {
                    webhook["clientConfig"]["caBundle"] = json!(BASE64.encode(&authority.certificate));
                }
                assert_eq!(user.ask(Method::PUT, &hooks, "application/json", &present).await.status, 200);
            }
            // Nobody puts the operator's own authority back.
            tokio::time::sleep(Duration::from_secs(120)).await;
            let stored = user.create(CLUSTERS, &cluster("minimal", &spec)).await;
            assert_eq!(stored.status, 201, "{}", stored.told());
            let known = user.get(&configuration("mutating")).await["webhooks"][0]["clientConfig"]["caBundle"].clone();
            assert_eq!(known, json!(BASE64.encode(&authority.certificate)));
        },
    );
}

#[test]
fn certificates_that_somebody_else_issues_are_served_and_followed() {
    const SECRET: &str = "webhook-server-cert";
    /// A little before worlds begin.
    const EARLIER: Duration = Duration::from_secs(1_770_828_600);
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    let issued: SystemTime = UNIX_EPOCH + EARLIER;
    let names = ["multigres-operator-webhook-service.multigres-operator.svc".to_owned()];
    let authority = pki::authority("somebody", issued, YEAR).unwrap();
    // The first one ends two hours after worlds begin.
    let first = pki::leaf(&authority, &names, issued, Duration::from_secs(3 * 3600)).unwrap();
    let second = pki::leaf(&authority, &names, issued, YEAR).unwrap();
    let mount = |deployed: &mut Vec<Value>| {
        for object in deployed.iter_mut() {
            if object["kind"] == "Deployment" {
                let pod = &mut object["spec"]["template"]["spec"];
                pod["volumes"] = json!([{"name": "certificate", "secret": {"secretName": SECRET}}]);
                pod["containers"][0]["volumeMounts"] =
                    json!([{"name": "certificate", "mountPath": "/var/run/secrets/webhook", "readOnly": true}]);
            }
            for webhook in object["webhooks"].as_array_mut().into_iter().flatten() {
                webhook["clientConfig"]["caBundle"] = json!(BASE64.encode(&authority.certificate));
            }
        }
        deployed.push(json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": SECRET, "namespace": "multigres-operator"}, "data": tls_data(&first)}));
    };
    in_changed_world(mount, move |_world, user| async move {
        let spec = json!({"cells": [{"name": "zone-a", "zone": "a"}]});
        let stored = user.create(CLUSTERS, &cluster("first", &spec)).await;
        assert_eq!(stored.status, 201, "{}", stored.told());
        let own = user.get(&format!("{SECRETS}/multigres-operator-ca-secret")).await;
        assert_eq!(own["code"], 404, "the operator makes no authority of its own: {own}");
        tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
        let refused = user.create(CLUSTERS, &cluster("second", &spec)).await;
        assert_eq!(refused.status, 500, "{}", refused.told());
        tokio::time::sleep(Duration::from_secs(60)).await;
        let ready = user.get(&format!("{DEPLOYMENTS}/{MANAGER}")).await["status"]["readyReplicas"].clone();
        assert!(ready.is_null(), "who cannot be asked is not ready: {ready}");
        let renewed = user.patch(&format!("{SECRETS}/{SECRET}"), &json!({"data": tls_data(&second)})).await;
        assert_eq!(renewed.status, 200, "{}", renewed.told());
        tokio::time::sleep(Duration::from_secs(180)).await;
        let stored = user.create(CLUSTERS, &cluster("second", &spec)).await;
        assert_eq!(stored.status, 201, "{}", stored.told());
    });
}

#[test]
fn a_rollout_of_two_replicas_refuses_no_request() {
    in_world(&[], |_world, user| async move {
        let spec = json!({"cells": [{"name": "zone-a", "zone": "a"}]});
        assert_eq!(user.create(CLUSTERS, &cluster("minimal", &spec)).await.status, 201);
        let deployment = format!("{DEPLOYMENTS}/{MANAGER}");
        assert_eq!(user.patch(&deployment, &json!({"spec": {"replicas": 2}})).await.status, 200);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let restart = json!({"spec": {"template": {"metadata": {"annotations": {"example.com/restarted": "now"}}}}});
        assert_eq!(user.patch(&deployment, &restart).await.status, 200);
        for n in 0..450 {
            let patch = json!({"metadata": {"annotations": {"example.com/n": n.to_string()}}});
            let answer = user.patch(&format!("{CLUSTERS}/minimal"), &patch).await;
            assert_eq!(answer.status, 200, "request {n}: {}", answer.told());
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        let status = user.get(&deployment).await["status"].clone();
        let counts = ["observedGeneration", "replicas", "updatedReplicas", "readyReplicas"].map(|field| &status[field]);
        assert_eq!(counts, [3, 2, 2, 2], "the rollout came to its end: {status}");
    });
}

#[test]
fn certificates_and_their_authority_are_exchanged_under_load_and_no_request_fails() {
    /// The leaf lives ten minutes and its authority a hundred: both are made anew in this time.
    const TIME: Duration = Duration::from_secs(80 * 60);
    const BETWEEN: Duration = Duration::from_secs(10);
    in_world(&["--webhook-cert-validity=10m", "--leader-elect=false"], |_world, user| async move {
        let spec = json!({"cells": [{"name": "zone-a", "zone": "a"}]});
        assert_eq!(user.create(CLUSTERS, &cluster("minimal", &spec)).await.status, 201);
        let (mut leaves, mut authorities) = (BTreeSet::new(), BTreeSet::new());
        for n in 0..TIME.as_secs() / BETWEEN.as_secs() {
            let patch = json!({"metadata": {"annotations": {"example.com/n": n.to_string()}}});
            let answer = user.patch(&format!("{CLUSTERS}/minimal"), &patch).await;
            assert_eq!(answer.status, 200, "request {n}: {}", answer.told());
            let data = |secret: Value, key: &str| secret["data"][key].as_str().unwrap().to_owned();
            leaves.insert(data(user.get(&format!("{SECRETS}/multigres-webhook-certs")).await, "tls.crt"));
            authorities.insert(data(user.get(&format!("{SECRETS}/multigres-operator-ca-secret")).await, "ca.crt"));
            tokio::time::sleep(BETWEEN).await;
        }
        assert!(leaves.len() >= 8, "{} leaves", leaves.len());
        assert_eq!(authorities.len(), 2);
    });
}
