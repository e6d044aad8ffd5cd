//! One scenario, one world, one report.

use scenario_expectations::Outcome;
use scenario_report::{Judged, RunReport};
use sim_clock::WorldOptions;
use sim_kube::access::rbac::RuleUsage;

use crate::{
    golden::{self, Compared},
    play::{Played, play},
    project::Loaded,
    recording::Recording,
};

/// How a scenario is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// In place of the scenario's own seed.
    pub seed: Option<u64>,
    /// Keep what Prometheus stored.
    pub record: bool,
    /// Accept what reviewed outputs are compared with.
    pub accept_golden: bool,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct RunOutcome {
    /// The run as data.
    pub report: RunReport,
    /// What Prometheus stored, where it was asked for.
    pub recording: Option<Recording>,
    /// What each rule of each role in the world's cluster granted; empty if the run could not be played.
    pub rule_usage: Vec<RuleUsage>,
}

/// Runs a scenario in a world of its own and judges it. Blocks until it has ended.
pub fn run(loaded: &Loaded, options: &Options) -> RunOutcome {
    let seed = options.seed.unwrap_or(loaded.scenario.seed);
    let (scenario, record) = (loaded.clone(), options.record);
    let played = sim_clock::run(WorldOptions::seeded(seed), move || async move {
        play(&scenario, record).await.map_err(|error| error.to_string())
    })
    .map_err(|error| error.to_string())
    .and_then(std::convert::identity);
    let mut report = RunReport {
        scenario: loaded.id.clone(),
        summary: loaded.scenario.summary.value.clone(),
        seed,
        duration_ms: loaded.scenario.duration.value.as_millis() as i64,
        zero: String::new(),
        moments: Vec::new(),
        expectations: Vec::new(),
        error: None,
    };
    match played {
        Err(error) => {
            report.error = Some(error);
            RunOutcome { report, recording: None, rule_usage: Vec::new() }
        }
        Ok(Played { zero, moments, outcomes, recording, rule_usage }) => {
            report.zero = zero.rfc3339();
            report.moments = moments;
            report.expectations = outcomes.into_iter().map(|outcome| judged(outcome, loaded, options)).collect();
            RunOutcome { report, recording, rule_usage }
        }
    }
}

fn judged(outcome: Outcome, loaded: &Loaded, options: &Options) -> Judged {
    let mut judged = Judged { line: outcome.line as u32, what: outcome.title, ok: outcome.ok, story: String::new() };
    if !outcome.ok {
        let at = scenario_language::format_duration(outcome.at);
        let mut lines = vec![
            format!("expected: {}", outcome.story.expected),
            format!("found:    {} (at {at})", outcome.story.found),
        ];
        lines.extend(outcome.story.details);
        judged.story = lines.join("\n");
    }
    if let Some(snapshot) = outcome.golden.filter(|_| outcome.ok) {
        match golden::compare(&loaded.golden, &snapshot.path, &snapshot.text, options.accept_golden) {
            Ok(Compared::Same) => {}
            Ok(Compared::Differs(story)) => {
                judged.ok = false;
                judged.story = story;
            }
            Err(error) => {
                judged.ok = false;
                judged.story = format!("golden/{}: {error}", snapshot.path);
            }
        }
    }
    judged
}
