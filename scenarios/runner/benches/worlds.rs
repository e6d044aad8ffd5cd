//! How fast worlds are: virtual seconds a real second in the outage scenario, scenarios a second on one core, and the
//! peak memory of both. `cargo bench -p scenario-runner`.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use scenario_runner::{Loaded, Options, Project, run};

/// As in the command.
#[global_allocator]
static ALLOCATOR: sim_clock::allocator::MiMalloc = sim_clock::allocator::MiMalloc;

/// Runs of the outage scenario; the median counts.
const RUNS: usize = 7;
const OUTAGE: &str = "scenarios/topology/etcd-unavailable.yaml";

fn main() {
    let project = Project::around(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("the crate lies in its project");
    let load = |path: &Path| project.load(path).expect("the project's scenarios are good");
    let outage = load(&project.root().join(OUTAGE));
    let mut walls: Vec<Duration> = (0..RUNS).map(|_| timed(&outage)).collect();
    walls.sort();
    let median = walls[RUNS / 2];
    let virtual_secs = outage.scenario.duration.value.as_secs_f64();
    println!(
        "outage: {virtual_secs} virtual seconds in {:.3} s (median of {RUNS}; {:.3} to {:.3}): {:.0} virtual seconds a real second",
        median.as_secs_f64(),
        walls[0].as_secs_f64(),
        walls[RUNS - 1].as_secs_f64(),
        virtual_secs / median.as_secs_f64()
    );
    println!("peak memory after it: {} MiB", peak_mib());
    let all: Vec<Loaded> =
        project.discover(&[], None).expect("the project has scenarios").iter().map(|path| load(path)).collect();
    let total: Duration = all.iter().map(timed).sum();
    println!(
        "all: {} scenarios in {:.3} s one after the other: {:.2} scenarios a second on one core",
        all.len(),
        total.as_secs_f64(),
        all.len() as f64 / total.as_secs_f64()
    );
    println!("peak memory after all: {} MiB", peak_mib());
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn timed(loaded: &Loaded) -> Duration {
    let started = Instant::now();
    let report = run(loaded, &Options::default()).report;
    assert!(report.passed(), "{} does not pass", report.scenario);
    started.elapsed()
}

/// The most memory that this process has had resident, from the kernel.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells the peak");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") / 1024
}
