//! Runner of Prometheus's own test files (`promql/promqltest`).
//!
//! Commands: `clear`, `load` with the expanding notation, `load_with_nhcb` (classic histograms are loaded a second time, as native
//! ones with custom buckets), `eval instant`, `eval range` with the variants `_fail`, `_warn`, `_info`, `_ordered`, and the newer
//! `expect …` lines.

mod nhcb;
mod series;

use crate::Error;
use crate::histogram::Buckets;
use crate::promql::{self, Annotations, EvalOptions, ParseOptions, QueryValue};
use crate::store::Value;
use crate::store::{Point, Store};
use regex::Regex;
use series::Described;
pub(crate) use series::{describe, number};
use sim_wire::Labels;
use std::collections::BTreeMap;

/// Relative difference below which two floats are the same result.
const EPSILON: f64 = 1e-6;

/// An evaluation that did not give what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One-based line of the `eval`.
    pub line: usize,
    /// The expression.
    pub expr: String,
    /// What was wrong.
    pub message: String,
}

/// What became of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Evaluations as expected.
    pub passed: usize,
    /// Evaluations that did not pass.
    pub failed: Vec<Failure>,
    /// How many evaluations, of either, use what Prometheus hides behind a feature flag.
    pub flagged: usize,
    /// How many of those passed.
    pub flagged_passed: usize,
}

impl Report {
    /// How many evaluations there were.
    pub fn total(&self) -> usize {
        self.passed + self.failed.len()
    }
}

/// Runs a file.
///
/// # Errors
/// [`Error::TestFile`] where the file itself is malformed.
///
/// ```
/// let report = sim_prometheus::promqltest::run("load 1m\n  x 0+1x10\n\neval instant at 5m x * 2\n  {} 10\n").unwrap();
/// assert_eq!((report.passed, report.total()), (1, 1));
/// ```
pub fn run(text: &str) -> Result<Report, Error> {
    let lines: Vec<&str> = text.lines().collect();
    let mut runner = Runner { store: Store::new(), report: Report::default() };
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim();
        at += 1;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let first = at;
        // A block goes on to the next blank or comment line.
        while at < lines.len() && !lines[at].trim().is_empty() && !lines[at].trim().starts_with('#') {
            at += 1;
        }
        let block: Vec<(usize, &str)> = (first..at).map(|index| (index + 1, lines[index].trim())).collect();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match word {
            "clear" => {
                runner.store = Store::new();
                at = first;
            }
            "load" => runner.load(first, rest.trim(), &block, false)?,
            "load_with_nhcb" => runner.load(first, rest.trim(), &block, true)?,
            word if word.starts_with("eval") => runner.eval(first, word, rest.trim(), &block)?,
            other => return Err(Error::TestFile { line: first, message: format!("unknown command {other:?}") }),
        }
    }
    Ok(runner.report)
}

/// A duration, or a number of seconds, in milliseconds.
fn time_ms(line: usize, text: &str) -> Result<i64, Error> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    if let Ok(duration) = sim_wire::duration::parse(digits) {
        return Ok(sign * duration.as_millis() as i64);
    }
    let seconds: f64 =
        digits.parse().map_err(|_| Error::TestFile { line, message: format!("invalid time {text:?}") })?;
    Ok(sign * (seconds * 1000.0).round() as i64)
}

struct Runner {
    store: Store,
    report: Report,
}

/// What an annotation or error must say.
enum Wanted {
    Anything,
    Message(String),
    Pattern(Regex),
}

impl Wanted {
    fn accepts(&self, text: &str) -> bool {
        match self {
            Self::Anything => true,
            Self::Message(message) => text.starts_with(message.as_str()),
            Self::Pattern(regex) => regex.is_match(text),
        }
    }
}

#[derive(Default)]
struct Expected {
    fail: Option<Wanted>,
    /// Each must be met by a warning, and each warning must meet one.
    warn: Vec<Wanted>,
    info: Vec<Wanted>,
    /// Otherwise what nobody expects is nothing wrong.
    no_warn: bool,
    no_info: bool,
    ordered: bool,
    scalar: Option<f64>,
    text: Option<String>,
    series: Vec<(Labels, Vec<Option<Value>>)>,
}

impl Runner {
    fn load(&mut self, line: usize, interval: &str, block: &[(usize, &str)], nhcb: bool) -> Result<(), Error> {
        let step = time_ms(line, interval)?;
        // A series that one load describes twice is what it is described as last.
        let mut described = BTreeMap::new();
        for (line, text) in block {
            let Described { labels, values } =
                describe(text).map_err(|message| Error::TestFile { line: *line, message })?;
            described.insert(labels, (*line, values));
        }
        if nhcb {
            let classic = described.iter().map(|(labels, (_, values))| (labels, values.as_slice()));
            let converted = nhcb::convert(classic);
            described.extend(converted.into_iter().map(|(labels, values)| (labels, (line, values))));
        }
        for (labels, (line, values)) in described {
            let malformed = |message: String| Error::TestFile { line, message };
            for (index, value) in values.into_iter().enumerate() {
                if let Some(value) = value {
                    self.store
                        .append(&labels, Point { t_ms: index as i64 * step, value })
                        .map_err(|error| malformed(error.to_string()))?;
                }
            }
        }
        Ok(())
    }

    fn eval(&mut self, line: usize, word: &str, rest: &str, block: &[(usize, &str)]) -> Result<(), Error> {
        let malformed = |message: &str| Error::TestFile { line, message: message.to_owned() };
        let mut expected = expectations(block)?;
        match word {
            "eval" => {}
            "eval_fail" => {
                expected.fail.get_or_insert(Wanted::Anything);
            }
            "eval_warn" => {
                expected.warn.push(Wanted::Anything);
            }
            "eval_info" => {
                expected.info.push(Wanted::Anything);
            }
            "eval_ordered" => {
                expected.ordered = true;
            }
            _ => return Err(malformed("unknown variant of eval")),
        }
        let (times, expr) = if let Some(rest) = rest.strip_prefix("instant") {
            let rest = rest.trim_start().strip_prefix("at").ok_or_else(|| malformed("expected `at`"))?.trim_start();
            let (time, expr) =
                rest.split_once(char::is_whitespace).ok_or_else(|| malformed("expected an expression"))?;
            (Times::Instant(time_ms(line, time)?), expr.trim())
        } else {
            let words: Vec<&str> = rest.splitn(8, char::is_whitespace).collect();
            let ["range", "from", from, "to", to, "step", step, expr] = words.as_slice() else {
                return Err(malformed("expected `range from <time> to <time> step <duration> <expression>`"));
            };
            (Times::Range(time_ms(line, from)?, time_ms(line, to)?, time_ms(line, step)?), expr.trim())
        };
        let plain = promql::parse_with(expr, ParseOptions::default());
        let flagged = plain.is_err() && promql::parse_with(expr, ParseOptions { experimental: true }).is_ok();
        self.report.flagged += usize::from(flagged);
        match self.check(times, expr, &expected) {
            Ok(()) => {
                self.report.passed += 1;
                self.report.flagged_passed += usize::from(flagged);
            }
            Err(message) => {
                self.report.failed.push(Failure { line, expr: expr.to_owned(), message });
            }
        }
        Ok(())
    }

    fn check(&self, times: Times, query: &str, expected: &Expected) -> Result<(), String> {
        let options = EvalOptions { delayed_name_removal: true, ..EvalOptions::default() };
        let parsed = promql::parse_with(query, ParseOptions { experimental: true }).map_err(|error| error.to_string());
        let outcome = parsed.and_then(|expr| {
            let value = match times {
                Times::Instant(t) => promql::eval::instant(&self.store, query, &expr, t, options),
                Times::Range(start, end, step) => {
                    promql::eval::range(&self.store, query, &expr, (start, end, step), options)
                }
            };
            value.map_err(|error| error.to_string())
        });
        let (value, notes) = match (outcome, &expected.fail) {
            (Err(error), Some(wanted)) if wanted.accepts(&error) => return Ok(()),
            (Err(error), Some(_)) => return Err(format!("failed differently: {error}")),
            (Err(error), None) => return Err(format!("failed: {error}")),
            (Ok(_), Some(_)) => return Err("expected to fail".to_owned()),
            (Ok(found), None) => found,
        };
        check_notes(&notes, expected)?;
        compare(value, times, expected)
    }
}

#[derive(Debug, Clone, Copy)]
enum Times {
    Instant(i64),
    Range(i64, i64, i64),
}

fn expectations(block: &[(usize, &str)]) -> Result<Expected, Error> {
    let mut expected = Expected::default();
    for (line, text) in block {
        let malformed = |message: String| Error::TestFile { line: *line, message };
        if let Some(rest) = text.strip_prefix("expected_fail_message ") {
            expected.fail = Some(Wanted::Message(rest.trim().to_owned()));
        } else if let Some(rest) = text.strip_prefix("expected_fail_regexp ") {
            expected.fail =
                Some(Wanted::Pattern(Regex::new(rest.trim()).map_err(|error| malformed(error.to_string()))?));
        } else if let Some(rest) = text.strip_prefix("expect ") {
            expectation(rest.trim(), &mut expected).map_err(malformed)?;
        } else if let Some(value) = series::number(text) {
            expected.scalar = Some(value);
        } else {
            let described = describe(text).map_err(malformed)?;
            expected.series.push((described.labels, described.values));
        }
    }
    Ok(expected)
}

fn expectation(text: &str, expected: &mut Expected) -> Result<(), String> {
    let (kind, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    let wanted = if let Some(message) = rest.strip_prefix("msg:") {
        Wanted::Message(message.trim().to_owned())
    } else if let Some(pattern) = rest.strip_prefix("regex:") {
        Wanted::Pattern(Regex::new(pattern.trim()).map_err(|error| error.to_string())?)
    } else {
        Wanted::Anything
    };
    match kind {
        "fail" => expected.fail = Some(wanted),
        "warn" => expected.warn.push(wanted),
        "info" => expected.info.push(wanted),
        "ordered" => expected.ordered = true,
        "no_warn" => expected.no_warn = true,
        "no_info" => expected.no_info = true,
        "string" => match promql::parse(rest).map_err(|error| error.to_string())?.kind {
            promql::ExprKind::String(bytes) => expected.text = Some(String::from_utf8_lossy(&bytes).into_owned()),
            _ => return Err("expected a quoted string".to_owned()),
        },
        other => return Err(format!("unknown expectation {other:?}")),
    }
    Ok(())
}

fn check_notes(notes: &Annotations, expected: &Expected) -> Result<(), String> {
    for (what, found, wanted, none) in [
        ("warning", &notes.warnings, &expected.warn, expected.no_warn),
        ("info", &notes.infos, &expected.info, expected.no_info),
    ] {
        if wanted.iter().any(|wanted| !found.iter().any(|note| wanted.accepts(note))) {
            return Err(format!("missing {what}, found {found:?}"));
        }
        let unexpected = |note: &&String| !wanted.iter().any(|wanted| wanted.accepts(note));
        if let Some(note) = found.iter().find(unexpected).filter(|_| none || !wanted.is_empty()) {
            return Err(format!("unexpected {what}: {note:?}"));
        }
    }
    Ok(())
}

fn same(a: f64, b: f64) -> bool {
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan();
    }
    if a == b {
        return true;
    }
    let total = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || total < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / total.min(f64::MAX) < EPSILON
}

fn same_value(a: &Value, b: &Value) -> bool {
    let buckets = |a: &Buckets, b: &Buckets| {
        let counting = |list: &Buckets| list.iter().copied().filter(|(_, count)| *count != 0.0).collect::<Buckets>();
        let (a, b) = (counting(a), counting(b));
        a.len() == b.len() && a.iter().zip(&b).all(|(x, y)| x.0 == y.0 && same(x.1, y.1))
    };
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => same(*a, *b),
        (Value::Histogram(a), Value::Histogram(b)) => {
            a.schema == b.schema
                && same(a.count, b.count)
                && same(a.sum, b.sum)
                && a.bounds == b.bounds
                && a.zero_threshold == b.zero_threshold
                && same(a.zero_count, b.zero_count)
                && buckets(&a.positive, &b.positive)
                && buckets(&a.negative, &b.negative)
        }
        _ => false,
    }
}

fn compare(value: QueryValue, times: Times, expected: &Expected) -> Result<(), String> {
    let mut found: Vec<(Labels, Vec<(i64, Value)>)> = match value {
        QueryValue::Scalar(point) => {
            let wanted = expected.scalar.ok_or("did not expect a scalar")?;
            let got = point.value.float();
            return if same(got, wanted) { Ok(()) } else { Err(format!("expected {wanted}, got {got}")) };
        }
        QueryValue::String { text, .. } => {
            let wanted = expected.text.as_ref().ok_or("did not expect a string")?;
            return if text == *wanted { Ok(()) } else { Err(format!("expected {wanted:?}, got {text:?}")) };
        }
        QueryValue::Vector(vector) => vector.into_iter().map(|s| (s.labels, vec![(s.t_ms, s.value)])).collect(),
        QueryValue::Matrix(series) => {
            series.into_iter().map(|s| (s.labels, s.points.into_iter().map(|p| (p.t_ms, p.value)).collect())).collect()
        }
    };
    if expected.scalar.is_some() || expected.text.is_some() {
        return Err("expected a scalar or a string, got series".to_owned());
    }
    let (start, step) = match times {
        Times::Instant(t) => (t, 0),
        Times::Range(start, _, step) => (start, step),
    };
    let at = |index: usize| start + index as i64 * step;
    let mut wanted: Vec<(Labels, Vec<(i64, Value)>)> = Vec::new();
    for (labels, values) in &expected.series {
        let points = values.iter().enumerate().filter_map(|(index, value)| Some((at(index), value.clone()?))).collect();
        wanted.push((labels.clone(), points));
    }
    if !expected.ordered {
        let index = |list: Vec<(Labels, Vec<(i64, Value)>)>| {
            list.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect::<Vec<_>>()
        };
        found = index(found);
        wanted = index(wanted);
    }
    let equal = found.len() == wanted.len()
        && found.iter().zip(&wanted).all(|((a, x), (b, y))| {
            a == b && x.len() == y.len() && x.iter().zip(y).all(|((t, v), (u, w))| t == u && same_value(v, w))
        });
    if equal { Ok(()) } else { Err(format!("expected {wanted:?}, got {found:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(text: &str) -> (usize, usize) {
        let report = run(text).unwrap();
        (report.passed, report.failed.len())
    }

    #[test]
    fn a_wrong_value_a_missing_series_and_a_wrong_order_fail() {
        let load = "load 1m\n  x{a=\"1\"} 1\n  x{a=\"2\"} 2\n\n";
        let eval = |text: &str| counts(&format!("{load}{text}"));
        assert_eq!(eval("eval instant at 0 x\n  x{a=\"1\"} 1\n  x{a=\"2\"} 2\n"), (1, 0));
        assert_eq!(eval("eval instant at 0 x\n  x{a=\"1\"} 1\n  x{a=\"2\"} 3\n"), (0, 1));
        assert_eq!(eval("eval instant at 0 x\n  x{a=\"1\"} 1\n"), (0, 1));
        assert_eq!(eval("eval_ordered instant at 0 sort_desc(x)\n  x{a=\"1\"} 1\n  x{a=\"2\"} 2\n"), (0, 1));
        assert_eq!(eval("eval_fail instant at 0 x\n"), (0, 1));
        assert_eq!(eval("eval instant at 0 rate(x[1m]) + on() x\n  expect fail\n"), (0, 1));
    }

    #[test]
    fn annotations_count() {
        let load = "load 1m\n  x 0+1x10\n\n";
        let none = "  expect no_info\n";
        assert_eq!(counts(&format!("{load}eval instant at 5m rate(x[5m])\n  {{}} 0.016666666\n")), (1, 0));
        assert_eq!(counts(&format!("{load}eval instant at 5m rate(x[5m])\n{none}  {{}} 0.016666666\n")), (0, 1));
        let other = "  expect info msg: PromQL info: something else\n";
        assert_eq!(counts(&format!("{load}eval instant at 5m rate(x[5m])\n{other}  {{}} 0.016666666\n")), (0, 1));
        assert_eq!(counts(&format!("{load}eval_info instant at 5m rate(x[5m])\n  {{}} 0.016666666\n")), (1, 0));
        let expect = "  expect info msg: PromQL info: metric might not be a counter\n";
        assert_eq!(counts(&format!("{load}eval instant at 5m rate(x[5m])\n{expect}  {{}} 0.016666666\n")), (1, 0));
    }

    #[test]
    fn native_histograms_are_compared_bucket_by_bucket() {
        let load = "load 1m\n  h {{schema:0 sum:1 count:1 buckets:[1]}}+{{sum:2 count:1 buckets:[0 1]}}x3\n\n";
        let eval = |text: &str| counts(&format!("{load}eval instant at 1m h\n  h {text}\n"));
        assert_eq!(eval("{{schema:0 sum:3 count:2 buckets:[1 1]}}"), (1, 0));
        assert_eq!(eval("{{schema:0 sum:3 count:2 buckets:[1 1 0]}}"), (1, 0));
        assert_eq!(eval("{{schema:0 sum:3 count:2 buckets:[1 2]}}"), (0, 1));
        assert_eq!(eval("3"), (0, 1));
    }

    #[test]
    fn classic_histograms_are_loaded_as_native_ones_too() {
        let load = "load_with_nhcb 1m\n  h_bucket{le=\"1\"} 1\n  h_bucket{le=\"+Inf\"} 3\n  h_sum 5\n  h_count 3\n\n";
        let expected = "{{schema:-53 sum:5 count:3 custom_values:[1] buckets:[1 2]}}";
        assert_eq!(counts(&format!("{load}eval instant at 0 h\n  h {expected}\n")), (1, 0));
    }

    #[test]
    fn malformed_files_are_errors() {
        for text in ["lod 1m\n", "load x\n", "eval sometimes at 5m x\n", "load 1m\n  x 1+x\n", "eval instant at 5m\n"] {
            assert!(run(text).is_err(), "{text:?} was accepted");
        }
    }
}
