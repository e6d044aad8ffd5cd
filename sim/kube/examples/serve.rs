//! A Kubernetes API on loopback, for kubectl and whatever else reads a kubeconfig.
//!
//! ```sh
//! cargo run -p sim-kube --example serve -- --port 8001 deploy/crds/*.yaml
//! export KUBECONFIG=…   # the path it prints
//! kubectl get nodes
//! ```
//!
//! It runs until it is interrupted.

use std::{env, fs, path::PathBuf, process::ExitCode};

use sim_kube::{
    local::{self, Options},
    manifests,
};

const USAGE: &str = "usage: serve [--port PORT] [--speed 1x|60x|max] [--seed N] [--kubeconfig FILE] [MANIFEST…]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("{wrong}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), String> {
    let mut options = Options::default();
    let mut kubeconfig = None;
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value\n{USAGE}"));
        match arg.as_str() {
            "--port" => {
                let port = value()?;
                let number = port.parse().map_err(|_| format!("--port: \"{port}\" is no port\n{USAGE}"))?;
                options.listen.set_port(number);
            }
            "--speed" => options.speed = value()?.parse().map_err(|error| format!("--speed: {error}"))?,
            "--seed" => options.seed = value()?.parse().map_err(|error| format!("--seed: {error}"))?,
            "--kubeconfig" => kubeconfig = Some(PathBuf::from(value()?)),
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(());
            }
            flag if flag.starts_with('-') => return Err(format!("unknown flag {flag}\n{USAGE}")),
            path => {
                let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
                options.manifests.extend(manifests::parse(&text).map_err(|error| format!("{path}: {error}"))?);
            }
        }
    }
    let cluster = local::start(options).map_err(|error| error.to_string())?;
    let path =
        kubeconfig.unwrap_or_else(|| env::temp_dir().join(format!("sim-kube-{}.kubeconfig", cluster.address().port())));
    fs::write(&path, cluster.kubeconfig()).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("{}", path.display());
    eprintln!("listening on {}; runs until interrupted", cluster.url());
    while cluster.is_running() {
        std::thread::park_timeout(std::time::Duration::from_secs(1));
    }
    cluster.stop().map_err(|error| error.to_string())
}
