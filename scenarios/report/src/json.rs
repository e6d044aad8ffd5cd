//! Reports for programs.

use serde::Serialize;

use crate::RunReport;

/// The version of the JSON's shape; it grows when a field changes its meaning.
pub const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    passed: usize,
    failed: usize,
    runs: &'a [RunReport],
}

/// All runs as one JSON document with a final line end.
pub fn render(runs: &[RunReport]) -> String {
    let passed = runs.iter().filter(|run| run.passed()).count();
    let document = Document { version: VERSION, passed, failed: runs.len() - passed, runs };
    let mut text = serde_json::to_string_pretty(&document).expect("reports hold nothing that JSON cannot say");
    text.push('\n');
    text
}
