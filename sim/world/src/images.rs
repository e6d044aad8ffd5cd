//! The programs of the stack and of the data plane, by image.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use sim_alertmanager::server::Alertmanager;
use sim_kube::Exit;
use sim_prometheus::server::Prometheus;

use crate::process::{Context, Images};

/// The Collector's configuration where no `--config` says otherwise.
const COLLECTOR_CONFIG: &str = "/etc/otelcol-contrib/config.yaml";
/// Tempo's configuration where no `-config.file` says otherwise.
const TEMPO_CONFIG: &str = "/etc/tempo/tempo.yaml";
/// Prometheus's configuration where no `--config.file` says otherwise.
const PROMETHEUS_CONFIG: &str = "/etc/prometheus/prometheus.yml";

/// The token of a container's service account.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The exit code of a process that gives up.
const EXIT_FAILURE: i32 = 1;

/// The servers of a kind that a world started, the newest last, for whoever keeps what a run recorded.
#[derive(Clone)]
pub struct Servers<S>(Arc<Mutex<Vec<S>>>);

impl<S> Default for Servers<S> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<S: Clone> Servers<S> {
    fn started(&self, server: S) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(server);
    }

    /// All of them, those that have ended too.
    pub fn all(&self) -> Vec<S> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The one that was started last.
    pub fn newest(&self) -> Option<S> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }
}

/// The images that a world knows by itself. The operator's is added by whoever brings an operator.
pub fn known(
    etcd: &sim_etcd::Registry,
    servers: &Servers<Prometheus>,
    alertmanagers: &Servers<Alertmanager>,
) -> Images {
    let (etcd, servers, alertmanagers) = (etcd.clone(), servers.clone(), alertmanagers.clone());
    Images::default()
        .with("etcd", move |context| run_etcd(etcd.clone(), context))
        .with("multigres/multigres", run_dataplane)
        .with("multigres/pgctld", run_dataplane)
        .with("multigres/multiadmin-web", run_dataplane)
        .with("opentelemetry-collector-contrib", run_collector)
        .with("grafana/tempo", run_tempo)
        .with("prometheus/prometheus", move |context| run_prometheus(servers.clone(), context))
        .with("prometheus/alertmanager", move |context| run_alertmanager(alertmanagers.clone(), context))
        .with("prometheus-operator/prometheus-operator", |context| run_prometheus_operator(context, false))
        // It reads Prometheus objects where the real one reads VMAgents.
        .with("victoriametrics/operator", |context| run_prometheus_operator(context, true))
}

/// A writer of owned lines, as the parts want one.
fn owned(context: &Context) -> Arc<dyn Fn(String) + Send + Sync> {
    let log = context.log.clone();
    Arc::new(move |line| log(&line))
}

fn environment(context: &Context) -> BTreeMap<String, String> {
    context.env.iter().cloned().collect()
}

/// Ends with the process's own error, or when it is asked to stop.
async fn until_stopped<E: std::fmt::Display>(context: Context, run: impl Future<Output = E>) -> Exit {
    let mut stop = context.stop.clone();
    tokio::select! {
        biased;
        () = stop.wait() => Exit { code: 0, message: String::new() },
        error = run => failed(&context, &error),
    }
}

fn failed(context: &Context, error: &dyn std::fmt::Display) -> Exit {
    let message = error.to_string();
    (context.log)(&message);
    Exit { code: EXIT_FAILURE, message }
}

/// The value of `--name=value`, `-name=value` or `--name value`.
fn flag<'a>(context: &'a Context, name: &str) -> Option<&'a str> {
    let mut args = context.command.iter().chain(&context.args);
    while let Some(arg) = args.next() {
        let Some(rest) = arg.trim_start_matches('-').strip_prefix(name).filter(|_| arg.starts_with('-')) else {
            continue;
        };
        match rest.strip_prefix('=') {
            Some(value) => return Some(value),
            None if rest.is_empty() => return args.next().map(String::as_str),
            None => {}
        }
    }
    None
}

fn read(context: &Context, path: &str) -> Result<String, Exit> {
    let bytes =
        context.files.read(path).ok_or_else(|| failed(context, &format!("open {path}: no such file or directory")))?;
    String::from_utf8(bytes.to_vec()).map_err(|_| failed(context, &format!("{path}: not UTF-8")))
}

async fn run_etcd(registry: sim_etcd::Registry, context: Context) -> Exit {
    let config = match sim_etcd::MemberConfig::from_env(&environment(&context)) {
        Ok(config) => config,
        Err(error) => return failed(&context, &error),
    };
    let (host, log) = (context.host.clone(), owned(&context));
    until_stopped(context, sim_etcd::run(host, &registry, config, log)).await
}

async fn run_dataplane(context: Context) -> Exit {
    let (told, terminate) = sim_clock::watch::channel(false);
    let start = sim_dataplane::Start {
        image: context.image.clone(),
        command: context.command.clone(),
        args: context.args.clone(),
        env: environment(&context),
        pod: context.pod.clone(),
        namespace: context.namespace.clone(),
        labels: context.labels.clone(),
        terminate: Some(terminate),
    };
    let process = sim_dataplane::run(context.host.clone(), start, owned(&context));
    let mut stop = context.stop.clone();
    let asked = async {
        stop.wait().await;
        told.send_replace(true);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        ended = process => match ended {
            Ok(()) => Exit { code: 0, message: String::new() },
            Err(error) => failed(&context, &error),
        },
        () = asked => unreachable!("a pending future does not end"),
    }
}

async fn run_collector(context: Context) -> Exit {
    let path = flag(&context, "config").unwrap_or(COLLECTOR_CONFIG).to_owned();
    let text = match read(&context, &path) {
        Ok(text) => text,
        Err(exit) => return exit,
    };
    let environment = environment(&context);
    let config = match sim_collector::Config::parse(&text, &|name| environment.get(name).cloned()) {
        Ok(config) => config,
        Err(error) => return failed(&context, &error),
    };
    let (host, log) = (context.host.clone(), context.log.clone());
    until_stopped(context, ended(sim_collector::run(host, config, move |line: String| log(&line)))).await
}

async fn run_tempo(context: Context) -> Exit {
    let path = flag(&context, "config.file").unwrap_or(TEMPO_CONFIG).to_owned();
    let text = match read(&context, &path) {
        Ok(text) => text,
        Err(exit) => return exit,
    };
    let config = match sim_tempo::Config::parse(&path, &text) {
        Ok(config) => config,
        Err(error) => return failed(&context, &error),
    };
    let host = context.host.clone();
    until_stopped(context, ended(sim_tempo::run(host, config))).await
}

/// Whether a switch such as `--web.enable-lifecycle` is there, and not `=false`.
fn switch(context: &Context, name: &str) -> bool {
    let given = |arg: &String| {
        arg.trim_start_matches('-').strip_prefix(name).filter(|_| arg.starts_with('-')).map(str::to_owned)
    };
    context.command.iter().chain(&context.args).filter_map(given).any(|rest| rest.is_empty() || rest == "=true")
}

/// Whether `--enable-feature` names a feature.
fn feature(context: &Context, name: &str) -> bool {
    flag(context, "enable-feature").is_some_and(|listed| listed.split(',').any(|one| one == name))
}

/// What a server that should have gone on says when it ends.
async fn ended<E: std::fmt::Display>(server: impl Future<Output = Result<(), E>>) -> String {
    match server.await {
        Ok(()) => "its ports are gone".to_owned(),
        Err(error) => error.to_string(),
    }
}

async fn run_prometheus(servers: Servers<Prometheus>, context: Context) -> Exit {
    let defaults = sim_prometheus::server::Options::default();
    let retention = match flag(&context, "storage.tsdb.retention.time").map(sim_wire::duration::parse) {
        None => defaults.retention,
        Some(Ok(retention)) => retention,
        Some(Err(error)) => return failed(&context, &format!("--storage.tsdb.retention.time: {error}")),
    };
    let options = sim_prometheus::server::Options {
        config_file: flag(&context, "config.file").unwrap_or(PROMETHEUS_CONFIG).to_owned(),
        retention,
        experimental_functions: feature(&context, "promql-experimental-functions"),
        delayed_name_removal: feature(&context, "promql-delayed-name-removal"),
        external_url: flag(&context, "web.external-url")
            .map_or(defaults.external_url.clone(), |url| url.trim_end_matches('/').to_owned()),
        otlp_receiver: switch(&context, "web.enable-otlp-receiver"),
        remote_write_receiver: switch(&context, "web.enable-remote-write-receiver"),
        ..defaults
    };
    let (read, list) = (context.files.clone(), context.files.clone());
    let files = sim_prometheus::server::Files {
        read: Arc::new(move |path| read.read(path).map(|bytes| bytes.to_vec())),
        list: Arc::new(move |glob| matching(&list, glob)),
        revision: context.files.watch(),
    };
    let (told, shutdown) = sim_clock::watch::channel(false);
    let prometheus = Prometheus::new();
    servers.started(prometheus.clone());
    let server = ended(sim_prometheus::server::run(context.host.clone(), prometheus, options, files, shutdown));
    let mut stop = context.stop.clone();
    let asked = async {
        stop.wait().await;
        told.send_replace(true);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        why = server => if context.stop.is_stopped() {
            Exit { code: 0, message: String::new() }
        } else {
            failed(&context, &why)
        },
        () = asked => unreachable!("a pending future does not end"),
    }
}

async fn run_alertmanager(servers: Servers<Alertmanager>, context: Context) -> Exit {
    let defaults = sim_alertmanager::server::Options::default();
    let mut engine = defaults.engine.clone();
    for (name, field) in
        [("data.retention", &mut engine.retention), ("alerts.gc-interval", &mut engine.alerts_gc_interval)]
    {
        match flag(&context, name).map(sim_wire::duration::parse) {
            None => {}
            Some(Ok(duration)) => *field = duration,
            Some(Err(error)) => return failed(&context, &format!("--{name}: {error}")),
        }
    }
    if let Some(url) = flag(&context, "web.external-url") {
        engine.external_url = url.trim_end_matches('/').to_owned();
    }
    let options = sim_alertmanager::server::Options {
        config_file: flag(&context, "config.file").unwrap_or(&defaults.config_file).to_owned(),
        engine,
        debug: flag(&context, "log.level") == Some("debug"),
        storage_path: Some(flag(&context, "storage.path").unwrap_or("data").trim_end_matches('/').to_owned()),
        ..defaults
    };
    let (read, list, write) = (context.files.clone(), context.files.clone(), context.files.clone());
    let config_file = options.config_file.clone();
    let files = sim_alertmanager::server::Files {
        read: Arc::new(move |path| read.read(path).map(|bytes| bytes.to_vec())),
        list: Arc::new(move |glob| matching(&list, glob)),
        write: Arc::new(move |path, bytes| write.write(path, bytes)),
    };
    let log = context.log.clone();
    let alertmanager = match Alertmanager::new(options, files, Arc::new(move |line| log(line))) {
        Ok(alertmanager) => alertmanager,
        Err(error) => return failed(&context, &error),
    };
    let (host, files) = (context.host.clone(), context.files.clone());
    servers.started(alertmanager.clone());
    let (served, kept) = (alertmanager.clone(), alertmanager);
    let run = async {
        tokio::select! {
            biased;
            why = ended(sim_alertmanager::server::run(host, served.clone())) => why,
            () = reload_on_change(&served, &files, &config_file) => "its files are gone".to_owned(),
        }
    };
    let exit = until_stopped(context, run).await;
    kept.keep();
    exit
}

/// What the Prometheus Operator's config-reloader does beside Alertmanager: asks it to read its configuration again when that
/// has changed.
async fn reload_on_change(alertmanager: &Alertmanager, files: &sim_kube::Files, config_file: &str) {
    let folder = config_file.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    let configuration = || -> Vec<_> { files.list(&folder).iter().map(|path| files.read(path)).collect() };
    let (mut changed, mut read) = (files.watch(), configuration());
    while changed.changed().await.is_ok() {
        let now = configuration();
        if now != read {
            read = now;
            // A wrong one is refused, which it says in its log.
            let _ = alertmanager.reload();
        }
    }
}

/// The files that a glob matches whose only star is in its last part: `/etc/prometheus/rules/*.yaml`.
fn matching(files: &sim_kube::Files, glob: &str) -> Vec<String> {
    let (folder, pattern) = glob.rsplit_once('/').unwrap_or(("", glob));
    let (before, after) = pattern.split_once('*').unwrap_or((pattern, ""));
    files
        .list(folder)
        .into_iter()
        .filter(|path| {
            let name = path.rsplit('/').next().unwrap_or(path);
            let starred = pattern.contains('*');
            if starred {
                name.len() >= pattern.len() - 1 && name.starts_with(before) && name.ends_with(after)
            } else {
                name == pattern
            }
        })
        .collect()
}

async fn run_prometheus_operator(context: Context, victoria_metrics: bool) -> Exit {
    let (host, files) = (context.host.clone(), context.files.clone());
    let token = sim_controllers::api::Token::read_by(move || {
        files.read(TOKEN).map(|token| String::from_utf8_lossy(&token).into_owned())
    });
    let options = sim_controllers::prometheus_operator::Options { token, victoria_metrics, ..Default::default() };
    let run = async {
        sim_controllers::prometheus_operator::run(host, options).await;
        "its watches ended"
    };
    until_stopped(context, run).await
}
