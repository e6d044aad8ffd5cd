//! How fast the engine answers a get: against the floor of serialising the same JSON once an answer, which is what a
//! server without a memory of its answers would have to do at the least. `cargo bench -p sim-kube`.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sim_clock::{Chance, Timestamp};
use sim_kube::engine::{Engine, WriteOptions};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
/// Objects in the table that is asked.
const OBJECTS: usize = 10_000;
/// Answers a run.
const ANSWERS: u32 = 200_000;
/// Runs of each; the median counts.
const RUNS: usize = 7;

fn main() {
    let mut engine = Engine::new(Chance::new(1, "benchmark"), NOW);
    for number in 0..OBJECTS {
        engine.create_object(config_map(number), &WriteOptions::by("benchmark"), NOW).expect("a good object");
    }
    let target = engine.target_of(&config_map(OBJECTS / 2)).expect("a known kind");
    let object = engine.get(&target).expect("an object that is there");
    let gets = rate(|| {
        black_box(engine.get(black_box(&target)).expect("an object that is there").json());
    });
    let value = object.to_value();
    let floor = rate(|| {
        black_box(serde_json::to_vec(black_box(&value)).expect("JSON"));
    });
    println!(
        "get of one of {OBJECTS} objects, {} bytes of JSON: {gets:.0} a second; serialising it alone: {floor:.0} a second; ratio {:.2}",
        object.json().len(),
        gets / floor
    );
}

fn config_map(number: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": format!("object-{number:05}"), "namespace": "default", "labels": {"app": "benchmark"}},
        "data": {"a": "1"},
    })
}

/// How often a second something can be done.
fn rate(mut work: impl FnMut()) -> f64 {
    let mut walls: Vec<Duration> = (0..RUNS).map(|_| timed(&mut work)).collect();
    walls.sort();
    f64::from(ANSWERS) / walls[RUNS / 2].as_secs_f64()
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn timed(work: &mut impl FnMut()) -> Duration {
    let started = Instant::now();
    for _ in 0..ANSWERS {
        work();
    }
    started.elapsed()
}
