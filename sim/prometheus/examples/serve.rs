//! A Prometheus on loopback, for real clients: `serve [--experimental] [--delayed-name-removal] ADDRESS CONFIG-FILE [RULE-FILE…]`.
//!
//! The files are read once; remote write and OTLP are on, and so are the experimental functions after `--experimental`. Ends when its
//! standard input does.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

use sim_net::Network;
use sim_prometheus::server::{Files, Options, Prometheus, run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (flags, args): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    let given = |name: &str| flags.iter().any(|flag| flag == name);
    let (experimental, delayed) = (given("--experimental"), given("--delayed-name-removal"));
    let [address, config_file, ..] = args.as_slice() else {
        return Err("usage: serve ADDRESS CONFIG-FILE [RULE-FILE...]".into());
    };
    let listen = address.parse()?;
    let mut tree = BTreeMap::new();
    for path in &args[1..] {
        tree.insert(path.clone(), std::fs::read(path)?);
    }
    let options = Options {
        config_file: config_file.clone(),
        retention: std::time::Duration::from_secs(100 * 365 * 24 * 3600),
        remote_write_receiver: true,
        otlp_receiver: true,
        experimental_functions: experimental,
        delayed_name_removal: delayed,
        ..Options::default()
    };
    let world = sim_loopback::start(
        sim_clock::WorldOptions::seeded(1).paced(sim_clock::Speed::REAL),
        move |life| async move {
            let network = Network::new();
            let host = network.host("prometheus");
            let target = format!("{}:{}", host.ip(), options.port);
            let (_changed, revision) = sim_clock::watch::channel(0);
            let (_shutdown, stopped) = sim_clock::watch::channel(false);
            let read = Arc::new(tree);
            let paths = read.clone();
            let files = Files {
                read: Arc::new(move |path| read.get(path).cloned()),
                list: Arc::new(move |pattern| paths.keys().filter(|path| *path == pattern).cloned().collect()),
                revision,
            };
            sim_clock::spawn("prometheus", async move {
                if let Err(error) = run(host, Prometheus::new(), options, files, stopped).await {
                    eprintln!("{error}");
                }
            });
            match sim_loopback::publish(&network, listen, &target).await {
                Ok(address) => life.up(address).until_stopped().await,
                Err(error) => eprintln!("{error}"),
            }
        },
    )?;
    println!("{}", world.told());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    world.stop()?;
    Ok(())
}
