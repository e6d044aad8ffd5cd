//! `export`: what Prometheus scraped in a run, as another tool's input.

use std::fs;

use scenario_runner::Options;

use super::{Ended, project, say};
use crate::{EXIT_PASSED, EXIT_WRONG, ExportArgs, Format};

/// Runs the scenario and writes the files.
pub fn export(args: &ExportArgs) -> Ended {
    let project = project(std::slice::from_ref(&args.scenario))?;
    let loaded = project.load(&args.scenario)?;
    let outcome = scenario_runner::run(&loaded, &Options { seed: args.seed, record: true, ..Options::default() });
    if let Some(error) = &outcome.report.error {
        eprintln!("{error}");
        return Ok(EXIT_WRONG);
    }
    let Format::Promtool = args.format;
    let recording = outcome.recording.ok_or("the run recorded nothing")?;
    let files = scenario_runner::promtool::unit_test(&recording)?;
    fs::create_dir_all(&args.out)?;
    for (name, text) in files {
        let path = args.out.join(name);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        say(&path.display().to_string());
    }
    Ok(EXIT_PASSED)
}
