//! Runs the PromQL test files of a conformance folder next to the repository, where there is one.

use sim_prometheus::promqltest;
use std::path::Path;

#[test]
fn every_evaluation_of_the_conformance_files_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/promql");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("SKIPPED: no folder {}", folder.display());
        return;
    };
    let mut files: Vec<_> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "test"))
        .collect();
    files.sort();
    let (mut passed, mut total) = (0, 0);
    let mut failures = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a readable test file");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let report = promqltest::run(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        println!("{name}: {} of {} passed", report.passed, report.total());
        passed += report.passed;
        total += report.total();
        failures.extend(
            report
                .failed
                .into_iter()
                .map(|failure| format!("{name}:{}: {}: {}", failure.line, failure.expr, failure.message)),
        );
    }
    println!("{passed} of {total} passed");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(passed > 0, "the folder holds no evaluation");
}
