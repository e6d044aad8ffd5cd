//! What is wrong with a scenario file, as data, and its plain text.

use std::fmt;

use serde::Serialize;

use crate::span::Span;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The scenario cannot be run as written.
    Error,
    /// The scenario runs, but says something the writer probably does not mean.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// The code of a finding. Each has a paragraph in `docs/codes.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Code {
    /// The file is not YAML.
    SCN001,
    /// A key is written twice in one mapping.
    SCN002,
    /// A field that does not exist.
    SCN003,
    /// A value of the wrong type.
    SCN004,
    /// A field that has to be there is not.
    SCN005,
    /// Not a duration.
    SCN006,
    /// Not a window.
    SCN007,
    /// Not a comparison.
    SCN008,
    /// Not a subject.
    SCN009,
    /// A word outside the list of allowed words.
    SCN010,
    /// A file that the scenario names is not there.
    SCN011,
    /// Not PromQL.
    SCN012,
    /// Not TraceQL.
    SCN013,
    /// An empty window.
    SCN014,
    /// Windows of one alert that contradict each other.
    SCN015,
    /// An instant after the end of the run.
    SCN016,
    /// A name that no step of the timeline introduces.
    SCN017,
    /// No expectations.
    SCN018,
    /// A promise that does not exist.
    SCN019,
    /// A fault that does not exist, or that has no such parameter.
    SCN020,
    /// Two steps with one name.
    SCN021,
    /// Two times for one expectation, or none where one is needed.
    SCN022,
    /// An action or expectation of which the file says none, or several at once.
    SCN023,
    /// An expectation that could not fail.
    SCN024,
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, out)
    }
}

/// One thing that is wrong with a scenario file.
///
/// `Display` renders it as plain text with the line and a caret below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The stable code.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// The file, as it was named by the caller.
    pub file: String,
    /// Line, counted from 1; 0 when the finding is about the file as a whole.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// How many characters the caret underlines.
    pub length: usize,
    /// The line of the file, without its line break.
    pub snippet: String,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}[{}]: {}", self.severity, self.code, self.message)?;
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        if self.line == 0 {
            writeln!(out, " --> {}", self.file)?;
        } else {
            writeln!(out, "{margin} --> {}:{}:{}", self.file, self.line, self.column)?;
            writeln!(out, "{margin} |")?;
            writeln!(out, "{number} | {}", self.snippet)?;
            let carets = "^".repeat(self.length.max(1));
            writeln!(out, "{margin} | {}{carets}", " ".repeat(self.column.saturating_sub(1)))?;
        }
        if let Some(help) = &self.help {
            writeln!(out, "{margin} = help: {help}")?;
        }
        Ok(())
    }
}

/// Renders findings one after the other, with an empty line between them.
pub fn render(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Most findings of one file that are kept; a file beyond that has another problem.
pub const FINDINGS_MAX: usize = 200;

/// Collects the findings of one file.
pub struct Diagnostics<'a> {
    file: &'a str,
    lines: Vec<&'a str>,
    findings: Vec<Finding>,
}

impl<'a> Diagnostics<'a> {
    /// An empty collection for the text of `file`.
    pub fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, lines: text.lines().collect(), findings: Vec::new() }
    }

    /// Adds an error.
    pub fn error(&mut self, code: Code, span: Span, message: impl Into<String>, help: Option<String>) {
        self.push(Severity::Error, code, span, message.into(), help);
    }

    /// Adds a warning.
    pub fn warning(&mut self, code: Code, span: Span, message: impl Into<String>, help: Option<String>) {
        self.push(Severity::Warning, code, span, message.into(), help);
    }

    fn push(&mut self, severity: Severity, code: Code, span: Span, message: String, help: Option<String>) {
        if self.findings.len() >= FINDINGS_MAX {
            return;
        }
        let snippet = span.line.checked_sub(1).and_then(|index| self.lines.get(index));
        let snippet = snippet.map(|line| line.trim_end().to_string()).unwrap_or_default();
        let room = snippet.chars().count().saturating_sub(span.column.saturating_sub(1));
        self.findings.push(Finding {
            code,
            severity,
            file: self.file.to_string(),
            line: span.line,
            column: span.column,
            length: span.length.min(room).max(1),
            snippet,
            message,
            help,
        });
    }

    /// How many findings there are so far.
    pub fn len(&self) -> usize {
        self.findings.len()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// The findings in the order of the file.
    pub fn into_findings(mut self) -> Vec<Finding> {
        self.findings.sort_by_key(|finding| (finding.line, finding.column, finding.code));
        self.findings.dedup();
        self.findings
    }
}

/// The candidate nearest to `word`, when one is near enough to be what was meant.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let allowed = (word.chars().count() / 3).max(2);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// ``did you mean `x`?``, or the list of what is allowed when nothing is near.
pub fn suggest(word: &str, candidates: &[&str]) -> Option<String> {
    match nearest(word, candidates.iter().copied()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None if candidates.is_empty() => None,
        None => Some(format!("one of {}", list(candidates))),
    }
}

/// `` `a`, `b`, `c` ``
pub fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// Edit distance with a swap of neighbours counted as one edit.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let replaced = previous[j] + usize::from(a != b);
            let mut best = replaced.min(previous[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = previous;
        previous = row;
    }
    previous[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_and_a_far_one_is_not() {
        assert_eq!(nearest("durations", ["duration", "seed"]), Some("duration"));
        assert_eq!(nearest("firign", ["firing", "pending"]), Some("firing"));
        assert_eq!(nearest("zebra", ["duration", "seed"]), None);
    }

    #[test]
    fn a_swap_of_neighbours_counts_as_one_edit() {
        assert_eq!(distance("firign", "firing"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
