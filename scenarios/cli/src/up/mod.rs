//! `up`: a world on loopback, for real programs.

mod world;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use clap::Args;
use scenario_runner::{Project, manifests::Manifests};
use sim_clock::{Speed, WorldOptions};
use tokio::signal::unix::{SignalKind, signal};
use world::{Plan, Up};

use crate::{
    EXIT_PASSED,
    commands::{Ended, project, say},
};

/// What `up` starts and where it listens.
#[derive(Args)]
#[command(
    after_help = "Everything listens on 127.0.0.1; port 0 takes a free one. The kubeconfig has a context for each of:\n  \
    admin     may do everything\n  \
    viewer    may read everything but change nothing\n  \
    operator  the operator's service account, for an operator started outside (--no-operator)\n\
    \nContainers of images that the world has no model of run idle: they do what a small shell knows (echo, sleep, sh -c)\n\
    and nothing else, and they answer no port.\n\
    \nExample:\n  multigres-sim up --sample deploy/samples/minimal.yaml\n  \
    kubectl --kubeconfig /tmp/multigres-sim-6443.kubeconfig get pods -A --watch"
)]
pub struct UpArgs {
    /// How fast time passes: 1x, 60x, ... up to 3600x; or max, from event to event.
    #[arg(long, default_value = "1x")]
    speed: Speed,
    /// What all chance in the world follows from; its keys, too.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leave the operator out: definitions and permissions are there, the operator is started by hand.
    #[arg(long)]
    no_operator: bool,
    /// Leave Prometheus, Tempo and the Collector out.
    #[arg(long)]
    no_stack: bool,
    /// A manifest, or a folder of them, to apply once the rest is; may be given several times.
    #[arg(long, value_name = "PATH")]
    sample: Vec<PathBuf>,
    /// Port of the API server (TLS).
    #[arg(long, default_value_t = 6443, value_name = "PORT")]
    port: u16,
    /// Port of Prometheus.
    #[arg(long, default_value_t = 9090, value_name = "PORT")]
    prometheus_port: u16,
    /// Port of Tempo's HTTP API.
    #[arg(long, default_value_t = 3200, value_name = "PORT")]
    tempo_port: u16,
    /// Port of the operator's metrics.
    #[arg(long, default_value_t = 8443, value_name = "PORT")]
    metrics_port: u16,
    /// Where the kubeconfig is written; it is removed at the end [default: `multigres-sim-PORT.kubeconfig` in the
    /// folder for temporary files].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// Starts the world, says where it is, and ends it on SIGINT or SIGTERM.
pub fn up(args: &UpArgs) -> Ended {
    let project = project(&args.sample)?;
    let samples = samples(&project, &args.sample)?;
    let plan = Plan {
        operator: !args.no_operator,
        stack: !args.no_stack,
        deployed: Manifests::deployed(&project, !args.no_operator, !args.no_stack)?,
        samples,
        api: loopback(args.port),
        prometheus: loopback(args.prometheus_port),
        tempo: loopback(args.tempo_port),
        metrics: loopback(args.metrics_port),
    };
    // The machine's time of day, so that ages and certificates are what clients take them for.
    let options = WorldOptions { epoch: sim_clock::now(), ..WorldOptions::seeded(args.seed) }.paced(args.speed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // From here on a signal ends the world cleanly, even one that comes while it starts.
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let mut running = sim_loopback::start(options, move |life| world::run(plan, life))?;
    let Up { published, kubeconfig, mut ready } = running.take_told().ok_or("the world said nothing")??;
    let path = args
        .kubeconfig
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("multigres-sim-{}.kubeconfig", published.api.port())));
    let _file = Written::new(&path, &kubeconfig)?;
    for line in table(args, &published, &path) {
        say(&line);
    }
    let ended = runtime.block_on(async {
        loop {
            tokio::select! {
                biased;
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                news = ready.recv() => match news {
                    Some(Ok(line)) => say(&line),
                    Some(Err(error)) => return Err(error),
                    // The world is gone; why, its end says.
                    None => return Ok(()),
                },
            }
        }
    });
    running.stop()?;
    ended.map_err(Into::into).map(|()| EXIT_PASSED)
}

fn samples(project: &Project, paths: &[PathBuf]) -> Result<Vec<serde_json::Value>, Box<dyn std::error::Error>> {
    let mut objects = Vec::new();
    for path in paths {
        let whole = path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
        objects.extend(project.objects(&whole)?);
    }
    Ok(objects)
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A file that is removed again.
struct Written(PathBuf);

impl Written {
    fn new(path: &Path, text: &str) -> Result<Self, String> {
        use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
        let wrong = |error: std::io::Error| format!("cannot write the kubeconfig {}: {error}", path.display());
        // It holds keys.
        let mut options = fs::OpenOptions::new();
        let opened = options.write(true).create(true).truncate(true).mode(0o600).open(path);
        opened.and_then(|mut file| file.write_all(text.as_bytes())).map_err(wrong)?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        // Where it is gone already nothing is left to do.
        let _ = fs::remove_file(&self.0);
    }
}

fn table(args: &UpArgs, published: &world::Published, kubeconfig: &Path) -> Vec<String> {
    let http = |address: Option<SocketAddr>, path: &str| {
        address.map_or_else(|| "left out".to_owned(), |address| format!("http://{address}{path}"))
    };
    let rows = [
        ("API server", format!("https://{}", published.api)),
        ("kubeconfig", format!("{} (contexts admin@sim, viewer@sim, operator@sim)", kubeconfig.display())),
        ("Prometheus", http(published.prometheus, "")),
        ("Tempo", http(published.tempo, "")),
        // It asks for a token, as in a cluster: `kubectl create token` makes one of an account that may read it.
        ("operator", http(published.metrics, "/metrics").replacen("http:", "https:", 1)),
        ("time", format!("{}, seed {}; Ctrl-C ends the world", args.speed, args.seed)),
    ];
    rows.into_iter().map(|(what, place)| format!("{what:<12}{place}")).collect()
}
