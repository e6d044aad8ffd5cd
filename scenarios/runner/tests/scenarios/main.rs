//! Every scenario file is a test of its own, named by its path: `cargo test topology/etcd-unavailable`. When all of them have
//! run, the operator's roles are judged by what was used: they grant what some scenario fails without, and no more.

mod roles;

use std::{path::Path, process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Failed, Trial};
use scenario_report::terminal::{Style, story};
use scenario_runner::{Options, Project, run};

#[allow(
    clippy::disallowed_methods,
    reason = "whoever runs the tests says by the environment whether reviewed outputs are updated, and how much is tried"
)]
fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let project = Project::around(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("the crate lies in its project");
    let paths = project.discover(&[], None).expect("the project has scenarios");
    // The variable that updates insta's snapshots updates reviewed outputs of scenarios too.
    let accept_golden = std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always");
    let every_grant = std::env::var("ROLES").is_ok_and(|roles| roles == "all");
    let usage = Arc::new(roles::Usage::default());
    let trials = paths.into_iter().map(|path| {
        let (project, usage) = (project.clone(), usage.clone());
        let id = project.id(&path);
        Trial::test(id, move || {
            let loaded = project.load(&path).map_err(|error| Failed::from(error.to_string()))?;
            let options = Options { accept_golden, ..Options::default() };
            let outcome = run(&loaded, &options);
            usage.note(&outcome);
            let report = outcome.report;
            if report.passed() { Ok(()) } else { Err(Failed::from(story(&report, Style::PLAIN))) }
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let all = conclusion.num_filtered_out == 0 && conclusion.num_ignored == 0 && conclusion.num_passed > 0;
    if all && !conclusion.has_failed() {
        match usage.judge(&project, every_grant) {
            Ok(counted) => println!("the operator's roles: ok: {counted}\n"),
            Err(why) => {
                println!("the operator's roles: FAILED\n{why}");
                return ExitCode::FAILURE;
            }
        }
    }
    conclusion.exit_code()
}
