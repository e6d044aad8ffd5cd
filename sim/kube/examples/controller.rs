//! The test of a kube-rs controller: forty virtual minutes in a few milliseconds.
//!
//! ```sh
//! cargo run -p sim-kube --example controller
//! ```

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{Patch, PatchParams},
    client::ConfigExt as _,
    runtime::{Controller, controller::Action, watcher},
};
use serde_json::json;
use sim_kube::{Cluster, KubeOptions, local::Idle};
use sim_net::{Network, http};

/// The controller under test: writes a stamp for each ConfigMap labelled `stamp=yes` every ten minutes.
async fn reconcile(object: Arc<ConfigMap>, client: Arc<Client>) -> Result<Action, kube::Error> {
    let (api, name) = (Api::<ConfigMap>::default_namespaced((*client).clone()), format!("{}-stamp", object.name_any()));
    let data = json!({"at": sim_clock::now().rfc3339()});
    let stamp = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
    api.patch(&name, &PatchParams::apply("stamper"), &Patch::Apply(stamp)).await?;
    Ok(Action::requeue(Duration::from_secs(600)))
}

/// A client that comes from a host of the simulated network.
fn client(network: &Network) -> Client {
    let config = Config::new("http://kubernetes.default.svc:443".parse().expect("a URL"));
    let connector = http::Connector::new(network.host("pod/default/controller"));
    let service = hyper_util::client::legacy::Client::builder(http::Executor).build(connector);
    let layers = tower::ServiceBuilder::new().layer(config.base_uri_layer()).map_err(tower::BoxError::from);
    Client::new(layers.service(service), "default")
}

/// What the controller wrote within forty minutes and a bit.
pub fn stamps() -> Vec<String> {
    let run = sim_clock::run(sim_clock::WorldOptions::seeded(7), || async {
        let network = Network::new();
        let cluster = Cluster::start(&network, Arc::new(Idle), KubeOptions::default()).expect("a cluster");
        let labelled = json!({"name": "settings", "namespace": "default", "labels": {"stamp": "yes"}});
        let settings = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": labelled});
        cluster.api().apply(settings).expect("accepted");
        let client = client(&network);
        let watched = watcher::Config::default().labels("stamp=yes");
        let controller = Controller::new(Api::<ConfigMap>::default_namespaced(client.clone()), watched);
        let run = controller.run(reconcile, |_, _, _| Action::requeue(Duration::from_secs(5)), Arc::new(client));
        sim_clock::spawn("controller", run.for_each(|_| async {}));
        let mut stamps = Vec::new();
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(599)).await;
            let stamp = cluster.api().get("v1", "ConfigMap", "default", "settings-stamp").expect("it is there");
            stamps.push(stamp["data"]["at"].as_str().expect("a time").to_owned());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        stamps
    });
    run.expect("the world ends well")
}

fn main() {
    for stamp in stamps() {
        println!("{stamp}");
    }
}
