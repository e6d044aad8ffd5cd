//! `promql test`: Prometheus's own test format against our engine.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sim_prometheus::promqltest;

use super::{Ended, say};
use crate::{EXIT_FAILED, EXIT_PASSED};

/// Largest test file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Runs the files; what differs is told file by file.
pub fn test(paths: &[PathBuf]) -> Ended {
    let mut files = Vec::new();
    for path in paths {
        collect(path, &mut files)?;
    }
    let (mut passed, mut total, mut flagged, mut flagged_passed) = (0, 0, 0, 0);
    let mut broken = false;
    for file in files {
        let shown = file.display();
        let size = fs::metadata(&file).map_err(|error| format!("{shown}: {error}"))?.len();
        if size > FILE_BYTES_MAX {
            return Err(format!("{shown}: {size} bytes; at most {FILE_BYTES_MAX} are read").into());
        }
        let text = fs::read_to_string(&file).map_err(|error| format!("{shown}: {error}"))?;
        let report = match promqltest::run(&text) {
            Ok(report) => report,
            // The other files are still worth running.
            Err(error) => {
                say(&format!("{shown}: {error}"));
                broken = true;
                continue;
            }
        };
        say(&format!("{shown}: {} / {} passed", report.passed, report.total()));
        for failure in &report.failed {
            say(&format!("  line {}: {}\n    {}", failure.line, failure.expr, failure.message));
        }
        passed += report.passed;
        total += report.total();
        flagged += report.flagged;
        flagged_passed += report.flagged_passed;
    }
    say(&format!("of them behind a feature flag: {flagged_passed} / {flagged} passed"));
    say(&format!("{passed} / {total} passed"));
    Ok(if passed == total && total > 0 && !broken { EXIT_PASSED } else { EXIT_FAILED })
}

/// The file itself, or every `*.test` right inside the folder, in order.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(told)? {
        let entry = entry.map_err(told)?.path();
        if entry.extension().is_some_and(|extension| extension == "test") {
            found.push(entry);
        }
    }
    if found.is_empty() {
        return Err(format!("{}: no *.test file in this folder", path.display()));
    }
    found.sort();
    files.extend(found);
    Ok(())
}
