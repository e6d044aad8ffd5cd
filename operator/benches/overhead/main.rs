//! What tracing costs the operator: its binary as a process against a simulated cluster on loopback, over TLS.
//!
//! Two loads: a settled fleet that is looked at again every second (`--sync-period=1s`), and the creation of the fleet. Each without
//! tracing, with every trace sent to a Collector that takes them, and with every trace sent to where no Collector is; alternated,
//! so that what the machine does meanwhile befalls all alike; the median counts. See the README beside this file.

#![allow(clippy::disallowed_methods, reason = "a real program is measured in real time")]

mod collector;
mod process;
mod table;
mod world;

use std::{
    path::PathBuf,
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use collector::Collector;
use process::{Operator, Reading, Tracing};
use table::{Load, Sample};
use world::{Fleet, World};

/// As in the command.
#[global_allocator]
static ALLOCATOR: sim_clock::allocator::MiMalloc = sim_clock::allocator::MiMalloc;

const HELP: &str = "\
Measures what tracing costs the operator.

  --operator PATH    the operator's binary (default target/release/multigres-operator)
  --clusters N       clusters of the fleet (default 100)
  --runs N           runs of each load in each mode (default 7)
  --window SECONDS   how long the settled fleet is watched (default 20)
  --speed FACTOR     how fast the simulated cluster's time passes (default 2x; where much is to be done at once, probes time
                     out at a higher one)
  --load NAME        resync or creation (default both); or shards: how one operator settles very many shards
  --shards N         of the load shards (default 1000)
";

struct Args {
    operator: PathBuf,
    clusters: usize,
    runs: usize,
    window: Duration,
    shards: usize,
    speed: String,
    loads: Vec<Load>,
}

impl Args {
    fn parse(args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/release/multigres-operator");
        let mut parsed = Self {
            operator: target,
            clusters: 100,
            runs: 7,
            window: Duration::from_secs(20),
            shards: 1000,
            speed: "2x".to_owned(),
            loads: vec![Load::Resync, Load::Creation],
        };
        let mut args = args;
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            let number = |text: String| text.parse::<usize>().ok().filter(|n| *n > 0).ok_or(format!("{arg}: {text}?"));
            match arg.as_str() {
                // What cargo says to every benchmark.
                "--bench" => {}
                "--help" => return Ok(None),
                "--operator" => parsed.operator = value()?.into(),
                "--clusters" => parsed.clusters = number(value()?)?,
                "--runs" => parsed.runs = number(value()?)?,
                "--window" => parsed.window = Duration::from_secs(number(value()?)? as u64),
                "--shards" => parsed.shards = number(value()?)?,
                "--speed" => parsed.speed = value()?,
                "--load" => {
                    let name = value()?;
                    let load = Load::ALL.into_iter().find(|load| load.name() == name);
                    parsed.loads = vec![load.ok_or(format!("there is no load {name}"))?];
                }
                other => return Err(format!("there is no {other}; see --help")),
            }
        }
        if parsed.operator.is_file() {
            Ok(Some(parsed))
        } else {
            Err(format!("{} is no file", parsed.operator.display()))
        }
    }
}

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(Some(args)) => args,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("overhead: {error}");
            return ExitCode::from(2);
        }
    };
    let pinned = process::pin_this_process();
    let collector = Collector::start();
    println!(
        "{} clusters, {} runs of each, world at {}; the operator {}",
        args.clusters,
        args.runs,
        args.speed,
        if pinned { "on a core of its own" } else { "on whatever core is free (no taskset, or one core)" }
    );
    let bench = Bench { args: &args, collector: &collector, pinned };
    let mut samples = Vec::new();
    for load in &args.loads {
        match load {
            Load::Resync => bench.resync(&mut samples),
            Load::Creation => bench.creation(&mut samples),
            Load::Shards => {
                bench.shards();
                continue;
            }
        }
        println!("\n{}", table::render(*load, &samples));
    }
    println!("the Collector took {} requests of {} KiB", collector.requests(), collector.bytes() / 1024);
    ExitCode::SUCCESS
}

struct Bench<'a> {
    args: &'a Args,
    collector: &'a Collector,
    pinned: bool,
}

impl Bench<'_> {
    fn start(&self, world: &World, tracing: Tracing, args: &[&str]) -> Operator {
        let endpoint = match tracing {
            Tracing::Off => None,
            Tracing::Live => Some(self.collector.endpoint()),
            Tracing::Dead => Some(process::nowhere()),
        };
        let operator = Operator::start(&self.args.operator, world.kubeconfig(), endpoint.as_deref(), args, self.pinned);
        operator.wait_ready();
        operator
    }

    fn world(&self) -> World {
        World::start(&self.args.speed, Fleet::of_clusters(self.args.clusters))
    }

    /// Very many shards settle, and are looked at again.
    fn shards(&self) {
        let fleet = Fleet::of_shards(self.args.shards);
        let world = World::start(&self.args.speed, fleet);
        let operator = self.start(&world, Tracing::Off, &[]);
        let (before, started) = (operator.read(), Instant::now());
        world.create();
        world.wait_until_healthy(&operator);
        let wall = started.elapsed();
        operator.wait_until_writes_nothing();
        println!(
            "{} shards in {} clusters are healthy after {:.1} s (the world's time passes at {})",
            fleet.clusters * fleet.shards,
            fleet.clusters,
            wall.as_secs_f64(),
            self.args.speed
        );
        let settled = operator.read();
        note(Load::Shards, Tracing::Off, 0, before, settled);
        sleep(self.args.window);
        println!("{} s later, settled:", self.args.window.as_secs());
        note(Load::Shards, Tracing::Off, 1, settled, operator.read());
        operator.terminate();
        // An operator that starts applies everything once, and then looks at everything once more.
        let operator = self.start(&world, Tracing::Off, &["--sync-period=30s"]);
        operator.wait_until_writes_nothing();
        println!("another operator, from its start until it writes nothing more:");
        note(Load::Shards, Tracing::Off, 2, Reading::default(), operator.read());
        let before = operator.read();
        sleep(Duration::from_secs(30));
        println!("in 30 s, with one look at everything:");
        note(Load::Shards, Tracing::Off, 3, before, operator.read());
        operator.terminate();
        world.stop();
    }

    /// One fleet for all runs; operators come and go.
    fn resync(&self, samples: &mut Vec<Sample>) {
        let world = self.world();
        let operator = self.start(&world, Tracing::Off, &[]);
        world.create();
        world.wait_until_healthy(&operator);
        operator.terminate();
        for run in 0..self.args.runs {
            for tracing in Tracing::ALL {
                let operator = self.start(&world, tracing, &["--sync-period=1s"]);
                // At its start an operator applies everything once.
                operator.wait_until_writes_nothing();
                let before = operator.read();
                sleep(self.args.window);
                let after = operator.read();
                samples.push(note(Load::Resync, tracing, run, before, after));
                operator.terminate();
            }
        }
        world.stop();
    }

    /// A fleet of its own for each run.
    fn creation(&self, samples: &mut Vec<Sample>) {
        for run in 0..self.args.runs {
            for tracing in Tracing::ALL {
                let world = self.world();
                let operator = self.start(&world, tracing, &[]);
                let before = operator.read();
                world.create();
                world.wait_until_healthy(&operator);
                operator.wait_until_writes_nothing();
                let after = operator.read();
                samples.push(note(Load::Creation, tracing, run, before, after));
                operator.terminate();
                world.stop();
            }
        }
    }
}

fn note(load: Load, tracing: Tracing, run: usize, before: Reading, after: Reading) -> Sample {
    let sample = Sample { load, tracing, run, used: after.since(&before) };
    println!("{sample}");
    sample
}
