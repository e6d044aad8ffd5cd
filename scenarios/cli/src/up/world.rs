//! What runs in the world of `up`.

use std::{net::SocketAddr, sync::Arc};

use serde_json::{Value, json};
use sim_kube::local::{self, User};
use sim_loopback::Life;
use sim_world::World;
use tokio::sync::mpsc;

/// Services of `deploy/` that are published.
const PROMETHEUS: &str = "prometheus.multigres-operator.svc:9090";
const TEMPO: &str = "tempo.multigres-operator.svc:3200";
const METRICS: &str = "multigres-operator-controller-manager-metrics-service.multigres-operator.svc:8443";
/// The operator's service account in `deploy/operator/rbac.yaml`.
const OPERATOR_NAMESPACE: &str = "multigres-operator";
const OPERATOR_ACCOUNT: &str = "multigres-operator-controller-manager";

/// What is wanted.
pub struct Plan {
    pub operator: bool,
    pub stack: bool,
    pub deployed: Vec<Value>,
    pub samples: Vec<Value>,
    pub api: SocketAddr,
    pub prometheus: SocketAddr,
    pub tempo: SocketAddr,
    pub metrics: SocketAddr,
}

/// Where what listens.
pub struct Published {
    pub api: SocketAddr,
    pub prometheus: Option<SocketAddr>,
    pub tempo: Option<SocketAddr>,
    pub metrics: Option<SocketAddr>,
}

/// What the world says once its ports are open.
pub struct Up {
    pub published: Published,
    pub kubeconfig: String,
    /// Lines about what became ready, or why it did not.
    pub ready: mpsc::Receiver<Result<String, String>>,
}

/// Runs the world until it is told to end.
pub async fn run(plan: Plan, life: Life<Result<Up, String>>) {
    // At most two lines: the stack, the samples.
    let (news, ready) = mpsc::channel(2);
    match start(&plan).await {
        Err(error) => life.up(Err(error)).until_stopped().await,
        Ok((world, published, kubeconfig)) => {
            let life = life.up(Ok(Up { published, kubeconfig, ready }));
            let stopped = life.until_stopped();
            tokio::pin!(stopped);
            tokio::select! {
                biased;
                () = &mut stopped => return,
                () = bring_up(&world, plan.samples, &news) => {}
            }
            stopped.await;
        }
    }
}

async fn start(plan: &Plan) -> Result<(World, Published, String), String> {
    let mut objects = plan.deployed.clone();
    objects.extend(viewer());
    let world = World::builder()
        .manifests(objects)
        .image(scenario_runner::operator::IMAGE, scenario_runner::operator::run)
        .strangers(Arc::new(local::Idle));
    let world = world.start().await.map_err(|error| error.to_string())?;
    let network = world.network();
    let users =
        [User::admin(), User::named("viewer"), User::service_account("operator", OPERATOR_NAMESPACE, OPERATOR_ACCOUNT)];
    let publish = async |wanted: bool, listen: SocketAddr, target: &str| {
        if !wanted {
            return Ok(None);
        }
        sim_loopback::publish(network, listen, target).await.map(Some).map_err(|error| error.to_string())
    };
    let (api, kubeconfig) =
        local::publish(network, world.cluster(), plan.api, "sim", &users).await.map_err(|error| error.to_string())?;
    let published = Published {
        api,
        prometheus: publish(plan.stack, plan.prometheus, PROMETHEUS).await?,
        tempo: publish(plan.stack, plan.tempo, TEMPO).await?,
        metrics: publish(plan.operator, plan.metrics, METRICS).await?,
    };
    Ok((world, published, kubeconfig))
}

async fn bring_up(world: &World, samples: Vec<Value>, news: &mpsc::Sender<Result<String, String>>) {
    let start = sim_clock::now();
    let mut outcome = world.ready().await.map_err(|error| error.to_string());
    if outcome.is_ok() {
        for object in &samples {
            if let Err(error) = world.apply(object) {
                outcome = Err(error.to_string());
                break;
            }
        }
    }
    let seconds = sim_clock::now().since(start).as_secs();
    let line = outcome.map(|_| {
        let applied =
            if samples.is_empty() { String::new() } else { format!("; sample objects applied: {}", samples.len()) };
        format!("ready after {seconds} s of the world's time{applied}")
    });
    // Nobody listens any more only when the world is about to end.
    let _ = news.send(line).await;
}

/// Lets the user `viewer` read everything.
fn viewer() -> [Value; 2] {
    let role = "multigres-sim:viewer";
    [
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": role},
            "rules": [
                {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]},
                {"nonResourceURLs": ["*"], "verbs": ["get"]},
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "viewer"}],
        }),
    ]
}
