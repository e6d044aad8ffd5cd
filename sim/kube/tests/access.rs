//! Pods speak for their service accounts, in a running cluster.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::BoxFuture;
use serde_json::json;
use sim_clock::WorldOptions;
use sim_kube::{
    Cluster, ContainerRuntime, ContainerStart, Exit, Files, KubeOptions,
    access::{AccessOptions, Authorization},
};
use sim_net::{Network, http::Client};

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Keeps the files of what it starts.
#[derive(Default)]
struct Keep(Mutex<Vec<(Files, sim_net::Host)>>);

impl ContainerRuntime for Keep {
    fn start(&self, container: ContainerStart) -> BoxFuture<'static, Exit> {
        self.0.lock().unwrap().push((container.files.clone(), container.host.clone()));
        let mut stop = container.stop;
        Box::pin(async move {
            stop.wait().await;
            Exit { code: 0, message: String::new() }
        })
    }
}

fn pod(name: &str, account: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {"serviceAccountName": account, "containers": [{"name": "c", "image": "i"}]}})
}

#[test]
fn a_container_finds_its_token_uses_it_and_gets_a_new_one_in_time() {
    sim_clock::run(WorldOptions::seeded(3), || async {
        let network = Network::new();
        let runtime = Arc::new(Keep::default());
        let access = AccessOptions { authorization: Authorization::Rbac, ..AccessOptions::default() };
        let options = KubeOptions { access: Some(access), ..KubeOptions::default() };
        let cluster = Cluster::start(&network, runtime.clone(), options).unwrap();
        let api = cluster.api();
        let refused = api.apply(pod("p", "gone")).unwrap_err();
        assert_eq!(
            refused.message,
            "pods \"p\" is forbidden: error looking up service account default/gone: serviceaccount \"gone\" not found"
        );
        let made = api.apply(pod("p", "")).unwrap();
        assert_eq!(made["spec"]["serviceAccountName"], "default");
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (files, host) = runtime.0.lock().unwrap().first().cloned().expect("the pod runs");
        let read = |file: &str| {
            let bytes = files.read(&format!("{MOUNT}/{file}")).unwrap_or_else(|| panic!("{file} is projected"));
            String::from_utf8_lossy(&bytes).into_owned()
        };
        assert_eq!(read("namespace"), "default");
        assert_eq!(read("ca.crt"), api.authority().unwrap().pem());
        let token = read("token");
        let ask = async |token: &str, path: &str| {
            let request = http::Request::get(format!("http://kubernetes.default.svc:443{path}"))
                .header("authorization", format!("Bearer {token}"))
                .body(bytes::Bytes::new())
                .unwrap();
            Client::new(host.clone()).send(request).await.unwrap().status().as_u16()
        };
        assert_eq!(ask(&token, "/apis").await, 200, "everybody may discover");
        assert_eq!(ask(&token, "/api/v1/pods").await, 403, "but not more");
        assert_eq!(ask("nonsense", "/apis").await, 401);
        let exec = "/api/v1/namespaces/default/pods/p/exec?command=date&stdout=true";
        for (verbs, code) in [(json!(["get"]), 403), (json!(["get", "create"]), 400)] {
            api.apply(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "exec", "namespace": "default"},
                "rules": [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": verbs}]}))
                .unwrap();
            api.apply(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "exec", "namespace": "default"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "exec"},
                "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}]}))
                .unwrap();
            assert_eq!(ask(&token, exec).await, code, "{verbs}: a command is a creation; then it lacks its upgrade");
        }
        tokio::time::sleep(Duration::from_secs(3607 * 79 / 100)).await;
        assert_eq!(read("token"), token);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let next = read("token");
        assert_ne!(next, token, "made anew at 80 % of its life");
        assert_eq!(ask(&next, "/apis").await, 200);
        api.delete("v1", "Pod", "default", "p").unwrap();
        tokio::time::sleep(Duration::from_secs(100)).await;
        let (_, other) = (&files, network.host("elsewhere"));
        let request = http::Request::get("http://kubernetes.default.svc:443/apis")
            .header("authorization", format!("Bearer {next}"))
            .body(bytes::Bytes::new())
            .unwrap();
        let late = Client::new(other).send(request).await.unwrap();
        assert_eq!(late.status().as_u16(), 401, "a token dies with its pod");
    })
    .unwrap();
}
