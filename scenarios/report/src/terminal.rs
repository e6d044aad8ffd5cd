//! Reports for a person at a terminal.

use std::{fmt::Write as _, time::Duration};

use crate::{
    Lane,
    model::{Moment, RunReport},
};

/// Moments shown before and after a failed run's story is cut.
const MOMENTS_MAX: usize = 60;
const NAME_COLUMNS: usize = 52;

/// With or without colours.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Style {
    /// ANSI escape sequences may be written.
    pub colour: bool,
}

impl Style {
    /// For files, pipes and tests.
    pub const PLAIN: Self = Self { colour: false };

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// One run in one line: verdict, name, virtual duration, expectations, and the wall time where it is given.
pub fn line(report: &RunReport, wall: Option<Duration>, style: Style) -> String {
    let verdict = match (&report.error, report.passed()) {
        (Some(_), _) => style.paint("31;1", "ERR "),
        (None, true) => style.paint("32", "ok  "),
        (None, false) => style.paint("31;1", "FAIL"),
    };
    let held = report.expectations.iter().filter(|judged| judged.ok).count();
    let total = report.expectations.len();
    let counted = if held == total { holds(total) } else { format!("{held} of {}", holds(total)) };
    let mut line =
        format!("{verdict} {:NAME_COLUMNS$} {:>6} virtual  {counted}", report.scenario, offset(report.duration_ms));
    if let Some(wall) = wall {
        let _ = write!(line, "  {}", style.paint("2", &format!("{:.2} s", wall.as_secs_f64())));
    }
    line
}

fn holds(count: usize) -> String {
    if count == 1 { "1 expectation holds".to_owned() } else { format!("{count} expectations hold") }
}

/// What the operator went through, moment by moment, and what was expected of the telemetry.
pub fn story(report: &RunReport, style: Style) -> String {
    let mut text = format!("\n{}  {}\n", style.paint("1", &report.scenario), report.summary);
    let _ = writeln!(text, "seed {}, zero is {}\n", report.seed, report.zero);
    text.push_str(&moments(&report.moments, style));
    if !report.expectations.is_empty() {
        text.push('\n');
    }
    for judged in &report.expectations {
        let mark = if judged.ok { style.paint("32", "✓") } else { style.paint("31;1", "✗") };
        let _ = writeln!(text, "  {mark} {} {}", judged.what, style.paint("2", &format!("(line {})", judged.line)));
    }
    text.push_str(&failures(report, style));
    text
}

/// What did not hold and why, nothing where everything held.
pub fn failures(report: &RunReport, style: Style) -> String {
    let mut text = String::new();
    if let Some(error) = &report.error {
        let _ = write!(
            text,
            "\n{}\n{}",
            style.paint("31;1", &format!("{} could not be run", report.scenario)),
            indent(error)
        );
    }
    for judged in report.expectations.iter().filter(|judged| !judged.ok) {
        let heading = format!("✗ {}, line {}: {}", report.scenario, judged.line, judged.what);
        let _ = write!(text, "\n{}\n{}", style.paint("31;1", &heading), indent(&judged.story));
    }
    text
}

/// Several runs in one line.
pub fn summary(reports: &[RunReport], wall: Duration, style: Style) -> String {
    let passed = reports.iter().filter(|report| report.passed()).count();
    let failed = reports.len() - passed;
    let expectations: usize = reports.iter().map(|report| report.expectations.len()).sum();
    let virtual_ms: i64 = reports.iter().map(|report| report.duration_ms).sum();
    let verdict = if failed == 0 { style.paint("32;1", "passed") } else { style.paint("31;1", "FAILED") };
    format!(
        "{verdict}: {passed} passed, {failed} failed; {expectations} expectations over {} of virtual time in {:.1} s",
        offset(virtual_ms),
        wall.as_secs_f64()
    )
}

fn moments(moments: &[Moment], style: Style) -> String {
    let mut text = String::new();
    let hidden = moments.len().saturating_sub(MOMENTS_MAX);
    for (at, moment) in moments.iter().enumerate() {
        if hidden > 0 && at >= MOMENTS_MAX / 2 && at < MOMENTS_MAX / 2 + hidden {
            if at == MOMENTS_MAX / 2 {
                let _ = writeln!(text, "  {:>9}  … {hidden} more moments; the JSON report has all of them", "");
            }
            continue;
        }
        let code = match moment.lane {
            Lane::Fault => "31",
            Lane::Action => "36",
            Lane::Phase => "34",
            Lane::Event => "0",
            Lane::Alert => "33",
            Lane::Told => "35",
        };
        let lane = style.paint(code, &format!("{:<6}", moment.lane.word()));
        let _ = writeln!(text, "  {:>9}  {lane}  {}", offset(moment.at_ms), moment.text);
    }
    text
}

/// Milliseconds as a duration with its sign: `-12s`, `5m30s`, `1h`.
fn offset(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    // Tenths of a second are enough for a story; whole milliseconds are in the JSON.
    let rounded = if ms.abs() < 10_000 { ms.abs() } else { ms.abs() / 1_000 * 1_000 };
    if rounded == 0 { "0s".to_owned() } else { format!("{sign}{}", sim_wire::duration::format_ms(rounded)) }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Judged;

    fn report(ok: bool) -> RunReport {
        RunReport {
            scenario: "topology/etcd-unavailable".into(),
            summary: "etcd is away for a while.".into(),
            seed: 7,
            duration_ms: 2_400_000,
            zero: "2026-02-11T17:51:00Z".into(),
            moments: vec![
                Moment { at_ms: -1_500, lane: Lane::Action, text: "operator ready".into() },
                Moment { at_ms: 0, lane: Lane::Fault, text: "fault etcd-unavailable".into() },
                Moment { at_ms: 312_345, lane: Lane::Alert, text: "MultigresShardPoolDegraded fires".into() },
            ],
            expectations: vec![
                Judged { line: 20, what: "event RegistrationFailed by 1m".into(), ok: true, story: String::new() },
                Judged {
                    line: 31,
                    what: "no alert fires".into(),
                    ok,
                    story: "one fired:\nMultigresShardPoolDegraded".into(),
                },
            ],
            error: None,
        }
    }

    #[test]
    fn a_failed_run_tells_what_happened_and_what_did_not_hold() {
        insta::assert_snapshot!(story(&report(false), Style::PLAIN));
    }

    #[test]
    fn a_run_is_one_line() {
        insta::assert_snapshot!(format!(
            "{}\n{}\n{}",
            line(&report(true), Some(Duration::from_millis(312)), Style::PLAIN),
            line(&report(false), None, Style::PLAIN),
            summary(&[report(true), report(false)], Duration::from_millis(1_234), Style::PLAIN)
        ));
    }

    #[test]
    fn colours_come_only_when_asked_for() {
        assert!(!story(&report(false), Style::PLAIN).contains('\u{1b}'));
        assert!(story(&report(false), Style { colour: true }).contains('\u{1b}'));
    }

    #[test]
    fn a_long_story_is_cut_in_its_middle() {
        let mut long = report(true);
        long.moments =
            (0..200).map(|at| Moment { at_ms: at * 1_000, lane: Lane::Event, text: format!("n{at}") }).collect();
        let text = story(&long, Style::PLAIN);
        assert!(
            text.contains("140 more moments")
                && text.contains("n0\n")
                && text.contains("n199\n")
                && !text.contains("n100\n")
        );
    }
}
