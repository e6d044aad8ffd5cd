//! The metric expectations of scenarios, answered by a real Prometheus from the samples of the run.

use std::path::Path;

use scenario_backends::replay;
use scenario_runner::{Options, Project, run};

use crate::{prometheus, runtime};

/// Scenarios whose queries are asked again.
const SCENARIOS: [&str; 4] = [
    "scenarios/topology/etcd-unavailable.yaml",
    "scenarios/metrics/operator-families.yaml",
    "scenarios/alerts/shard-pool-degraded-fires.yaml",
    "scenarios/topology/minimal-cluster-becomes-healthy.yaml",
];

#[test]
fn queries_of_scenarios_have_the_same_verdicts_from_a_real_prometheus() {
    let project = Project::around(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (mut judged, mut samples) = (0, 0);
    for scenario in SCENARIOS {
        let loaded = project.load(&project.root().join(scenario)).unwrap();
        let (verdicts, report) = {
            let loaded = loaded.clone();
            let outcome = run(&loaded, &Options { record: true, ..Options::default() });
            assert_eq!(outcome.report.error, None);
            let recording = outcome.recording.unwrap();
            samples += recording.stored.iter().map(|(_, samples)| samples.len()).sum::<usize>();
            // Each run has a Prometheus of its own: their times overlap.
            let verdicts = runtime().block_on(async {
                let real = prometheus().await?;
                Some(replay::queries(&real, &loaded.scenario, &recording).await.unwrap())
            });
            let Some(verdicts) = verdicts else { return };
            (verdicts, outcome.report)
        };
        for verdict in &verdicts {
            let embedded = &report.expectations[verdict.expectation];
            assert_eq!(
                verdict.ok, embedded.ok,
                "{scenario}, line {}: {} — the real Prometheus found: {}",
                verdict.line, verdict.what, verdict.found
            );
        }
        judged += verdicts.len();
    }
    assert!(judged >= 3 && samples > 10_000, "{judged} queries over {samples} samples");
    println!("agree {judged} / {judged} queries over {samples} samples");
}
