//! `run`: scenarios side by side, told in the order of their names.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use scenario_report::{RunReport, json, terminal};
use scenario_runner::{Loaded, Options, Project};

use super::{Ended, project, say, style};
use crate::{EXIT_FAILED, EXIT_PASSED, EXIT_WRONG, RunArgs};

/// Runs what is asked for; wrong files are told all at once, before anything runs.
pub fn run(args: &RunArgs) -> Ended {
    let project = project(&args.selection.paths)?;
    let paths = project.discover(&args.selection.paths, args.selection.pattern.as_deref())?;
    let loaded = load_all(&project, &paths)?;
    let style = style();
    let started = instant();
    let mut reports: Vec<RunReport> = Vec::new();
    run_all(args, &loaded, |report, wall| {
        say(&terminal::line(&report, Some(wall), style));
        if args.story || loaded.len() == 1 {
            say(terminal::story(&report, style).trim_end());
        } else {
            let failures = terminal::failures(&report, style);
            if !failures.is_empty() {
                say(failures.trim_end());
            }
        }
        reports.push(report);
    });
    say(&format!("\n{}", terminal::summary(&reports, started.elapsed(), style)));
    if let Some(folder) = &args.report {
        let path = folder.join("report.json");
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, json::render(&reports)))
            .map_err(|error| format!("the report cannot be written to {}: {error}", path.display()))?;
    }
    Ok(if reports.iter().any(|report| report.error.is_some()) {
        EXIT_WRONG
    } else if reports.iter().all(RunReport::passed) {
        EXIT_PASSED
    } else {
        EXIT_FAILED
    })
}

#[allow(clippy::disallowed_methods, reason = "outside of worlds, and whoever waits for the command waits in real time")]
fn instant() -> Instant {
    Instant::now()
}

fn load_all(project: &Project, paths: &[std::path::PathBuf]) -> Result<Vec<Loaded>, String> {
    let (mut loaded, mut wrong) = (Vec::new(), Vec::new());
    for path in paths {
        match project.load(path) {
            Ok(scenario) => loaded.push(scenario),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    if wrong.is_empty() { Ok(loaded) } else { Err(wrong.join("\n")) }
}

/// Runs the scenarios on `jobs` threads and hands the reports over in the order of `loaded`.
fn run_all(args: &RunArgs, loaded: &[Loaded], mut tell: impl FnMut(RunReport, Duration)) {
    let jobs = args.jobs.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let options = Options { seed: args.seed, ..Options::default() };
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (send, receive) = mpsc::channel();
    let send = Mutex::new(send);
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(loaded.len()) {
            let (next, stop, options) = (&next, &stop, &options);
            let send = send.lock().expect("the sender is only cloned").clone();
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed)
                    && let Some((at, scenario)) = {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        loaded.get(at).map(|scenario| (at, scenario))
                    }
                {
                    let started = instant();
                    let report = scenario_runner::run(scenario, options).report;
                    if args.fail_fast && !report.passed() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    if send.send((at, report, started.elapsed())).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        let (mut waiting, mut due) = (BTreeMap::new(), 0);
        for (at, report, wall) in receive {
            waiting.insert(at, (report, wall));
            while let Some((report, wall)) = waiting.remove(&due) {
                tell(report, wall);
                due += 1;
            }
        }
        // Left over only where `--fail-fast` ended the run between two that were under way.
        for (_, (report, wall)) in waiting {
            tell(report, wall);
        }
    });
}
