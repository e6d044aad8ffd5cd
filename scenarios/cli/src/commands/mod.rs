//! One file a command, or a few that only print.

pub mod alertmanager;
pub mod export;
pub mod list;
pub mod promql;
pub mod rules;
pub mod run;

use std::{io::IsTerminal, path::Path};

use scenario_report::terminal::Style;
use scenario_runner::{Project, ProjectError};

/// What a command ends with: an exit status, or one clear error.
pub type Ended = Result<u8, Box<dyn std::error::Error>>;

/// The project around the first path, or around the current folder.
pub fn project(paths: &[std::path::PathBuf]) -> Result<Project, ProjectError> {
    let here = Project::around(Path::new("."));
    match (here, paths.first()) {
        (Ok(project), _) => Ok(project),
        (Err(_), Some(path)) if path.exists() => Project::around(path),
        (Err(_), Some(path)) => Err(ProjectError::NoSuchPath(path.clone())),
        (Err(error), None) => Err(error),
    }
}

/// The exit status of a program that a closed pipe ends (128 + SIGPIPE), as shells know it.
const EXIT_PIPE_CLOSED: i32 = 141;

/// Writes a line to standard output. Where nobody reads any more (`multigres-sim faults | head -1`) the program ends
/// without a word.
pub fn say(line: &str) {
    use std::io::Write as _;
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(EXIT_PIPE_CLOSED);
    }
}

/// Colours only on a terminal.
pub fn style() -> Style {
    Style { colour: std::io::stdout().is_terminal() }
}
