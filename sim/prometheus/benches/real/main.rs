//! Beside the real Prometheus in one run: the same samples by remote write, the same queries by the HTTP API, a core for each.
//!
//! `PROMETHEUS=/path/to/prometheus cargo bench --workspace --bench real [-- SERIES HOURS INTERVAL_SECONDS]`, and for unit tests of
//! rules `PROMTOOL=/path/to/promtool cargo bench --workspace --bench real -- rules`,
//! for a store with a million series `cargo bench --workspace --bench real -- million`.
//!
//! Each server runs as a process of its own, pinned to core 1 by `taskset` (the real one with `GOMAXPROCS=1`), one after the
//! other; this process, the client, keeps to core 0. Without `PROMETHEUS` only ours is measured, which is said; `REQUIRE_BACKENDS`
//! naming prometheus makes that a failure. Times of queries: the first (cold), the median of five more (warm), with the whole
//! answer read and not parsed.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark measures the machine's time and starts processes"
)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod client;
mod data;
mod million;
mod queries;
mod servers;
mod unit_tests;

use client::Connection;
use servers::Server;
use std::time::{Duration, Instant};

const RUNS: usize = 5;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().is_some_and(|arg| arg == "serve") {
        return servers::serve();
    }
    if args.first().is_some_and(|arg| arg == "rules") {
        return unit_tests::compare();
    }
    if args.first().is_some_and(|arg| arg == "million") {
        return million::measure();
    }
    let number = |index: usize, default: usize| args.get(index).and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let shape = data::Shape::new(number(0, 10_000), number(1, 6), number(2, 15));
    servers::keep_to_core(std::process::id(), 0);
    let real = std::env::var_os("PROMETHEUS");
    if real.is_none() {
        println!("SKIPPED: the real Prometheus (PROMETHEUS does not say where it is)");
        let required = std::env::var("REQUIRE_BACKENDS").unwrap_or_default();
        assert!(!required.split(',').any(|name| name == "prometheus"), "REQUIRE_BACKENDS names prometheus");
    }
    println!("{} series, {} samples each, {} samples in all", shape.series, shape.samples, shape.total());
    let ours = measure(Server::ours(), &shape);
    let real = real.map(|program| measure(Server::real(&program), &shape));
    print_table(&ours, real.as_ref(), &shape);
}

/// What was measured of one server.
struct Measured {
    ingest: Duration,
    /// Processor time of the server for all samples.
    ingest_processor: Duration,
    /// Resident bytes before and after the samples, and at the most.
    resident: (u64, u64, u64),
    chunk_bytes: Option<u64>,
    /// Cold and warm times, bytes of the answer, and the server's processor time, on average over the warm ones.
    queries: Vec<(Duration, Duration, usize, Duration)>,
    rules: Vec<(Duration, Duration, Duration)>,
}

fn measure(mut server: Server, shape: &data::Shape) -> Measured {
    let mut connection = Connection::open(server.address);
    let before = server.resident().0;
    let mut ingest = Duration::ZERO;
    let idle = server.processor();
    for bodies in shape.requests() {
        let started = Instant::now();
        for body in &bodies {
            let (status, answer) = connection.ask("POST", "/api/v1/write", client::WRITE, body);
            assert!(status < 300, "remote write: {status} {}", String::from_utf8_lossy(&answer));
        }
        ingest += started.elapsed();
    }
    let after = server.resident().0;
    let ingest_processor = server.processor().saturating_sub(idle);
    let mut queries = Vec::new();
    for query in queries::QUERIES {
        let target = query.target(shape);
        let mut times = Vec::new();
        let (mut size, mut warm) = (0, Duration::ZERO);
        for run in 0..=RUNS {
            if run == 1 {
                warm = server.processor();
            }
            let started = Instant::now();
            let (status, answer) = connection.ask("GET", &target, "", b"");
            times.push(started.elapsed());
            assert_eq!(status, 200, "{}: {}", query.text, String::from_utf8_lossy(&answer));
            size = answer.len();
        }
        let processor = server.processor().saturating_sub(warm) / RUNS as u32;
        queries.push((times[0], median(&times[1..]), size, processor));
    }
    let mut rules = Vec::new();
    for wide in [false, true] {
        let (mut times, mut warm) = (Vec::new(), Duration::ZERO);
        for run in 0..=RUNS {
            if run == 1 {
                warm = server.processor();
            }
            let started = Instant::now();
            for rule in 0..100 {
                let (status, answer) = connection.ask("GET", &queries::rule(rule, wide, shape), "", b"");
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
            }
            times.push(started.elapsed());
        }
        let processor = server.processor().saturating_sub(warm) / RUNS as u32;
        rules.push((times[0], median(&times[1..]), processor));
    }
    let resident = (before, after, server.resident().1);
    let chunk_bytes = server.chunk_bytes();
    server.end();
    Measured { ingest, ingest_processor, resident, chunk_bytes, queries, rules }
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted[sorted.len() / 2]
}

fn ms(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1000.0)
}

fn print_table(ours: &Measured, real: Option<&Measured>, shape: &data::Shape) {
    println!("| | ours | real | ratio |\n|---|---|---|---|");
    let row = |what: &str, pick: &dyn Fn(&Measured) -> f64, unit: &str, more_is_better: bool| {
        let own = pick(ours);
        let (other, ratio) = real.map_or((String::from("-"), String::from("-")), |real| {
            let other = pick(real);
            let ratio = if more_is_better { own / other } else { other / own };
            (format!("{other:.2} {unit}"), format!("{ratio:.2}"))
        });
        println!("| {what} | {own:.2} {unit} | {other} | {ratio} |");
    };
    let total = shape.total() as f64;
    row("ingest by remote write", &|m| total / m.ingest.as_secs_f64() / 1000.0, "k samples/s", true);
    row("processor for a sample", &|m| m.ingest_processor.as_secs_f64() * 1e9 / total, "ns", false);
    row("resident bytes a sample", &|m| m.resident.1.saturating_sub(m.resident.0) as f64 / total, "B", false);
    row("resident at the most", &|m| m.resident.2 as f64 / 1e6, "MB", false);
    row(
        "bytes a sample in chunks (the real one's on disk)",
        &|m| m.chunk_bytes.unwrap_or(0) as f64 / total,
        "B",
        false,
    );
    for (index, query) in queries::QUERIES.iter().enumerate() {
        let name = format!("{} {} (cold)", query.kind(), query.name);
        row(&name, &|m| m.queries[index].0.as_secs_f64() * 1000.0, "ms", false);
        let name = format!("{} {}", query.kind(), query.name);
        row(&name, &|m| m.queries[index].1.as_secs_f64() * 1000.0, "ms", false);
        let name = format!("{} {} (processor)", query.kind(), query.name);
        row(&name, &|m| m.queries[index].3.as_secs_f64() * 1000.0, "ms", false);
        if let Some(real) = real
            && real.queries[index].2.abs_diff(ours.queries[index].2) > real.queries[index].2 / 100 + 200
        {
            println!("  answers differ in size: {} and {} bytes", ours.queries[index].2, real.queries[index].2);
        }
    }
    for (index, name) in
        ["100 rules, each over a hundredth of the series", "100 rules, each over all series"].iter().enumerate()
    {
        row(name, &|m| m.rules[index].1.as_secs_f64() * 1000.0, "ms", false);
        row(&format!("{name} (processor)"), &|m| m.rules[index].2.as_secs_f64() * 1000.0, "ms", false);
    }
    println!(
        "cold is the first of {} times, everything else the median of the {RUNS} after it; a ratio above 1: ours is better",
        RUNS + 1
    );
    println!("cold start of the rules: ours {} ms", ms(ours.rules[0].0));
}
