//! A simulated cluster with what `deploy/` gives it, and the operator's binary beside it.

#![allow(clippy::disallowed_methods, reason = "a real program is watched in real time")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sim_kube::local::{self, User};
use sim_loopback::{Life, Running};
use sim_net::http::Client;
use tokio::sync::mpsc as requests;

/// How long anything may take, in real time.
const PATIENCE: Duration = Duration::from_secs(60);
const NAMESPACE: &str = "multigres-operator";
const ACCOUNT: &str = "multigres-operator-controller-manager";

/// The minimal sample's children, by kind and how many.
const CHILDREN: [(&str, &str, usize); 5] = [
    ("multigres.com/v1alpha1", "TopoServer", 1),
    ("multigres.com/v1alpha1", "Cell", 1),
    ("multigres.com/v1alpha1", "TableGroup", 1),
    ("multigres.com/v1alpha1", "Shard", 1),
    ("apps/v1", "StatefulSet", 2),
];

type Answer = mpsc::Sender<bool>;

enum Request {
    Apply(Vec<Value>, Answer),
    Children(Answer),
    /// A token of a service account.
    Token(String, String, mpsc::Sender<String>),
}

struct Up {
    address: SocketAddr,
    kubeconfig: String,
    requests: requests::Sender<Request>,
}

/// A simulated cluster, reachable on loopback.
pub struct World(Running<Up>);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn objects(path: &Path) -> Vec<Value> {
    let mut files = if path.is_dir() {
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect()
    } else {
        vec![path.to_owned()]
    };
    files.retain(|file| {
        file.extension().is_some_and(|extension| extension == "yaml") && !file.ends_with("kustomization.yaml")
    });
    files.sort();
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    texts.flat_map(|text| serde_saphyr::from_multiple::<Value>(&text).unwrap()).collect()
}

impl World {
    /// A cluster as it is before the operator is there: definitions, permissions, no Deployment of the operator.
    pub fn start() -> Self {
        let options = sim_clock::WorldOptions { epoch: sim_clock::now(), ..sim_clock::WorldOptions::seeded(1) };
        let running = sim_loopback::start(options.paced("20x".parse().unwrap()), run).unwrap();
        Self(running)
    }

    /// Where its API server listens.
    pub fn address(&self) -> SocketAddr {
        self.0.told().address
    }

    /// A kubeconfig whose one user is the operator's service account.
    pub fn kubeconfig(&self) -> &str {
        &self.0.told().kubeconfig
    }

    fn ask(&self, request: impl FnOnce(Answer) -> Request) -> bool {
        let (answer, answered) = mpsc::channel();
        self.0.told().requests.try_send(request(answer)).expect("the world listens");
        answered.recv_timeout(PATIENCE).expect("the world answers")
    }

    /// Applies the minimal sample.
    pub fn apply_minimal(&self) {
        let sample = objects(&root().join("deploy/samples/minimal.yaml"));
        assert!(self.ask(|answer| Request::Apply(sample, answer)), "the sample is taken");
    }

    /// Applies one object.
    pub fn apply(&self, object: Value) {
        assert!(self.ask(|answer| Request::Apply(vec![object], answer)), "the object is taken");
    }

    /// A token of a service account.
    pub fn token(&self, namespace: &str, account: &str) -> String {
        let (answer, answered) = mpsc::channel();
        let request = Request::Token(namespace.to_owned(), account.to_owned(), answer);
        self.0.told().requests.try_send(request).expect("the world listens");
        answered.recv_timeout(PATIENCE).expect("the world answers")
    }

    /// Waits until everything that the minimal sample consists of is there.
    pub fn wait_for_the_children(&self) {
        until("the children of the cluster", || self.ask(Request::Children));
    }
}

async fn run(life: Life<Up>) {
    let mut deployed = objects(&root().join("deploy/crds"));
    // Webhooks are called by a Service, behind which there is nothing when the operator runs outside.
    let inside = |object: &Value| {
        object["kind"].as_str().is_some_and(|kind| kind == "Deployment" || kind.ends_with("WebhookConfiguration"))
    };
    deployed.extend(objects(&root().join("deploy/operator")).into_iter().filter(|object| !inside(object)));
    let world = sim_world::World::builder().manifests(deployed).start().await.unwrap();
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let users = [User::service_account("operator", NAMESPACE, ACCOUNT)];
    let (address, kubeconfig) = local::publish(world.network(), world.cluster(), free, "sim", &users).await.unwrap();
    let (sender, mut receiver) = requests::channel(8);
    let stopped = life.up(Up { address, kubeconfig, requests: sender }).until_stopped();
    tokio::pin!(stopped);
    loop {
        let request = tokio::select! {
            biased;
            () = &mut stopped => return,
            Some(request) = receiver.recv() => request,
        };
        let (answer, value) = match request {
            Request::Apply(objects, answer) => (answer, objects.iter().all(|object| world.apply(object).is_ok())),
            Request::Children(answer) => {
                let there = |(version, kind, count): &(&str, &str, usize)| {
                    world.cluster().api().list(version, kind, "default").is_ok_and(|list| list.len() == *count)
                };
                (answer, CHILDREN.iter().all(there))
            }
            Request::Token(namespace, account, answer) => {
                let url = format!(
                    "http://kubernetes.default.svc:443/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
                );
                let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
                let (status, made) = Client::new(world.observer().clone()).post_json(&url, &request).await.unwrap();
                assert!(status.is_success(), "{made}");
                let _ = answer.send(made["status"]["token"].as_str().unwrap().to_owned());
                continue;
            }
        };
        // Whoever asked may have lost patience.
        let _ = answer.send(value);
    }
}

/// The operator's binary, running; killed if a test fails.
pub struct Operator {
    child: Option<Child>,
    log: PathBuf,
    pub metrics: SocketAddr,
    pub health: SocketAddr,
}

/// A port that nobody listens on.
pub fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Operator {
    /// The binary with an empty environment but for what it requires.
    pub fn command() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_multigres-operator"));
        command.env_clear().env("POD_NAMESPACE", NAMESPACE).env("POD_SERVICE_ACCOUNT", ACCOUNT).stdin(Stdio::null());
        command
    }

    /// Starts it as the service account that `deploy/operator` makes.
    pub fn start(world: &World, name: &str, args: &[&str]) -> Self {
        Self::start_with(world, name, world.kubeconfig(), args)
    }

    /// Starts it with another kubeconfig.
    pub fn start_with(_: &World, name: &str, kubeconfig: &str, args: &[&str]) -> Self {
        Self::launch(name, kubeconfig, &[], args)
    }

    /// Starts it as [`Operator::start`] does, with more in its environment.
    pub fn start_in(world: &World, name: &str, env: &[(&str, &str)]) -> Self {
        Self::launch(name, world.kubeconfig(), env, &[])
    }

    /// Waits until it has logged a line that contains `text`.
    pub fn wait_for_line(&self, text: &str) {
        until_or(text, || self.text().lines().any(|line| line.contains(text)), || self.text());
    }

    fn launch(name: &str, kubeconfig: &str, env: &[(&str, &str)], args: &[&str]) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("process-{name}"));
        fs::create_dir_all(&folder).unwrap();
        let (config, log) = (folder.join("kubeconfig"), folder.join("log"));
        fs::write(&config, kubeconfig).unwrap();
        let (metrics, health) = (free(), free());
        let child = Self::command()
            .arg(format!("--kubeconfig={}", config.display()))
            .arg(format!("--metrics-bind-address=:{}", metrics.port()))
            .arg(format!("--health-probe-bind-address=:{}", health.port()))
            .args(if args.iter().any(|arg| arg.starts_with("--metrics-secure")) {
                &[] as &[&str]
            } else {
                &["--metrics-secure=false"]
            })
            .arg("--webhook-enable=false")
            .args(args)
            .envs(env.iter().copied())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child: Some(child), log, metrics, health }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it says that it is ready.
    pub fn wait_ready(&self) {
        until_or(
            "the operator's readiness",
            || get(self.health, "/readyz").starts_with("HTTP/1.1 200"),
            || self.text(),
        );
    }

    /// Waits until it says that it is on its way out.
    pub fn wait_until_it_ends(&self) {
        until_or("its end", || get(self.health, "/readyz").contains("[-]shutdown"), || self.text());
    }

    /// Waits until its metrics hold a line.
    pub fn wait_for_metric(&self, line: &str) {
        until_or(line, || get(self.metrics, "/metrics").lines().any(|found| found == line), || self.text());
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Asks it to end and waits for it.
    pub fn terminate(mut self) -> (Option<i32>, String) {
        self.signal("TERM");
        let mut child = self.child.take().unwrap();
        (child.wait().unwrap().code(), self.text())
    }

    /// Lets it run for so long (less if it ends by itself), and kills it.
    pub fn after(mut self, time: Duration) -> (Option<i32>, String) {
        let mut child = self.child.take().unwrap();
        let end = Instant::now() + time;
        while child.try_wait().unwrap().is_none() && Instant::now() < end {
            sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        (child.wait().unwrap().code(), self.text())
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn until(what: &str, holds: impl FnMut() -> bool) {
    until_or(what, holds, String::new);
}

fn until_or(what: &str, mut holds: impl FnMut() -> bool, story: impl Fn() -> String) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what} within {PATIENCE:?}\n{}", story());
        sleep(Duration::from_millis(50));
    }
}

/// GETs a path by plain HTTP; nothing where nobody listens.
pub fn get(address: SocketAddr, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(address) else { return String::new() };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // What came until the end counts, whoever hung up.
    let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}
