//! A store with as many series as it takes: what it costs to fill, what one more is told, and what questions cost then.

use sim_prometheus::promql::{self, EvalOptions, QueryValue};
use sim_prometheus::store::{Point, SERIES_MAX, Store};
use sim_wire::Labels;
use std::time::Instant;

const SAMPLES: i64 = 3;

pub fn measure() {
    crate::servers::keep_to_core(std::process::id(), 1);
    let before = resident();
    let started = Instant::now();
    let mut store = Store::new();
    for index in 0..SERIES_MAX {
        let labels = labels(index);
        for sample in 0..SAMPLES {
            store.append(&labels, Point::float(sample * 60_000, index as f64)).expect("room for it");
        }
    }
    println!(
        "{SERIES_MAX} series of {SAMPLES} samples: {:.2} s, {} bytes a series",
        started.elapsed().as_secs_f64(),
        (resident() - before) / SERIES_MAX
    );
    let refused = store.append(&labels(SERIES_MAX), Point::float(0, 1.0)).expect_err("one too many");
    println!("one more: {refused}");
    for query in [
        "requests_total{instance=\"777777\"}",
        "count(requests_total)",
        "sum by (job) (rate(requests_total[5m]))",
        "topk(3, requests_total)",
        "count(requests_total{instance=~\".*99\"})",
        "count(requests_total and on (instance) requests_total{job=\"job-7\"})",
    ] {
        let expr = promql::parse(query).expect("a good query");
        let started = Instant::now();
        let outcome = promql::eval::instant(&store, query, &expr, (SAMPLES - 1) * 60_000, EvalOptions::default());
        let Ok((QueryValue::Vector(vector), _)) = outcome else { panic!("{query}: {outcome:?}") };
        println!("{query}: {:.0} ms, {} elements", started.elapsed().as_secs_f64() * 1e3, vector.len());
    }
}

fn labels(index: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", "requests_total".to_owned()),
        ("instance", index.to_string()),
        ("job", format!("job-{}", index % 100)),
    ])
}

/// Memory that this process holds, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4096
}
