//! A virtual day without a Collector: what the operator's spans cost in memory that nobody takes.
//! `cargo bench -p scenario-runner --bench dead_collector_day`.
//!
//! A settled cluster is looked at every minute (`--sync-period=1m`) and changed every hour, with every trace sent to a name behind
//! which there is nothing; once without tracing, once with. What grows in both is the world's own. Fails if tracing makes the
//! memory of the last eighteen hours grow by more than [`GROWTH_MIB_MAX`].

use std::{path::Path, time::Duration};

use scenario_runner::{Project, manifests::Manifests, operator};
use serde_json::{Value, json};
use sim_clock::WorldOptions;
use sim_world::World;

/// As in the command.
#[global_allocator]
static ALLOCATOR: sim_clock::allocator::MiMalloc = sim_clock::allocator::MiMalloc;

/// When memory is looked at.
const HOURS: [u64; 5] = [1, 3, 6, 12, 24];
const HOUR: Duration = Duration::from_secs(3600);
/// What the queue of spans may hold (2048 spans) is there in the first hour already.
const GROWTH_MIB_MAX: f64 = 1.0;

fn main() {
    let project = Project::around(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("the crate lies in its project");
    let off = day(&project, false);
    let dead = day(&project, true);
    println!("hour   resident without tracing   with a dead Collector   spans until then");
    for (off, dead) in off.iter().zip(&dead) {
        println!("{:>4}   {:>18.1} MiB   {:>17.1} MiB   {:>16}", off.hour, off.mib, dead.mib, dead.spans);
    }
    let growth =
        |day: &[Seen]| day[day.len() - 1].mib - day.iter().find(|seen| seen.hour == 6).map_or(0.0, |six| six.mib);
    let of_tracing = growth(&dead) - growth(&off);
    println!("from hour 6 to hour 24 tracing adds {of_tracing:+.1} MiB");
    assert!(dead.iter().all(|seen| seen.spans > 0), "there were spans");
    assert!(off.iter().all(|seen| seen.spans == 0), "and without tracing there were none");
    assert!(of_tracing <= GROWTH_MIB_MAX, "a dead Collector makes memory grow");
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    hour: u64,
    mib: f64,
    spans: u64,
}

fn day(project: &Project, traced: bool) -> Vec<Seen> {
    let mut deployed = Manifests::deployed(project, true, false).expect("deploy/ is well-formed");
    for container in deployed.iter_mut().filter_map(|object| object.pointer_mut("/spec/template/spec/containers/0")) {
        let args = container["args"].as_array_mut().expect("the operator's container has arguments");
        // A line of each reconcile would be kept by the world.
        args.extend(["--sync-period=1m", "--log-level=error", "--metrics-secure=false"].map(|arg| json!(arg)));
        if !traced {
            let env = container["env"].as_array_mut().expect("the operator's container has an environment");
            env.retain(|variable| variable["name"] != "OTEL_EXPORTER_OTLP_ENDPOINT");
        }
    }
    let sample = project.objects("deploy/samples/minimal.yaml".as_ref()).expect("the sample is well-formed");
    sim_clock::run(WorldOptions::seeded(1), move || live(deployed, sample)).expect("the world ends as it should")
}

async fn live(deployed: Vec<Value>, sample: Vec<Value>) -> Vec<Seen> {
    let world = World::builder().image(operator::IMAGE, operator::run).manifests(deployed).start().await;
    let world = world.expect("the world starts");
    world.ready().await.expect("the operator becomes ready");
    let mut cluster = sample.into_iter().next().expect("the sample has one object");
    let mut seen = Vec::new();
    for hour in 1..=HOURS[HOURS.len() - 1] {
        cluster["spec"]["multiadmin"] = json!({"spec": {"replicas": 1 + hour % 2}});
        world.apply(&cluster).expect("the cluster is well-formed");
        tokio::time::sleep(HOUR).await;
        if HOURS.contains(&hour) {
            seen.push(Seen { hour, mib: resident_mib(), spans: spans(&world).await });
        }
    }
    seen
}

/// Spans that the operator has sent or dropped so far.
async fn spans(world: &World) -> u64 {
    let url = "http://multigres-operator-controller-manager-metrics-service.multigres-operator.svc:8443/metrics";
    let page = sim_net::http::Client::new(world.observer().clone()).get(url).await.expect("the operator answers");
    let page = String::from_utf8_lossy(page.body()).into_owned();
    assert!(page.contains("controller_runtime_reconcile_total"), "no metrics: {page}");
    let of_spans = page.lines().filter(|line| line.starts_with("multigres_operator_trace_spans_total{"));
    of_spans.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>() as u64
}

/// The memory that this process has resident, from the kernel.
fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells");
    line.trim().trim_end_matches(" kB").trim().parse::<f64>().expect("a number") / 1024.0
}
