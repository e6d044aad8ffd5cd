//! Unit tests of rules, in promtool's format (`promtool test rules`).
//!
//! A test loads series, evaluates every group at each evaluation interval from the epoch on, and compares the firing alerts and the
//! results of expressions. What differs is told in promtool's own words.

use crate::Error;
use crate::config::{FILE_BYTES_MAX, yaml_optional_duration};
use crate::histogram::Histogram;
use crate::promql::{self, EvalOptions, QueryValue, parse_metric};
use crate::promqltest::describe;
use crate::rules::{AlertState, Group, Health, parse_rules};
use crate::store::{Point, Store, Value};
use crate::template::External;
use serde::Deserialize;
use sim_wire::{Labels, duration};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

/// Most evaluations of all groups in one test: a year at a minute's interval is half a million.
pub const EVALUATIONS_MAX: i64 = 5_000_000;
/// The evaluation interval of a file that names none.
const INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule_files: Vec<String>,
    #[serde(default, deserialize_with = "yaml_optional_duration")]
    evaluation_interval: Option<Duration>,
    #[serde(default)]
    group_eval_order: Vec<String>,
    #[serde(default)]
    tests: Vec<Test>,
    #[serde(default)]
    fuzzy_compare: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "yaml_optional_duration")]
    interval: Option<Duration>,
    #[serde(default)]
    input_series: Vec<InputSeries>,
    #[serde(default)]
    alert_rule_test: Vec<AlertCase>,
    #[serde(default)]
    promql_expr_test: Vec<ExprCase>,
    #[serde(default)]
    external_labels: BTreeMap<String, String>,
    #[serde(default)]
    external_url: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InputSeries {
    series: String,
    #[serde(default)]
    values: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AlertCase {
    #[serde(default, deserialize_with = "yaml_optional_duration")]
    eval_time: Option<Duration>,
    #[serde(default)]
    alertname: String,
    #[serde(default)]
    exp_alerts: Vec<ExpectedAlert>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedAlert {
    #[serde(default)]
    exp_labels: BTreeMap<String, String>,
    #[serde(default)]
    exp_annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExprCase {
    expr: String,
    #[serde(default, deserialize_with = "yaml_optional_duration")]
    eval_time: Option<Duration>,
    #[serde(default)]
    exp_samples: Vec<ExpectedSample>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedSample {
    #[serde(default)]
    labels: String,
    #[serde(default)]
    value: f64,
    #[serde(default)]
    histogram: String,
}

/// Runs a test file. `read` gives the rule files that a pattern of the file names, each with its text.
///
/// The result holds what differs, empty if everything was as expected.
///
/// # Errors
/// [`Error::Rules`] where the file, or a rule file, is malformed.
///
/// ```
/// let rules = "groups: [{name: g, rules: [{alert: Down, expr: up == 0, for: 1m}]}]";
/// let test = "
/// rule_files: [rules.yaml]
/// tests:
/// - input_series: [{series: 'up{job=\"a\"}', values: '0x5'}]
///   alert_rule_test:
///   - {eval_time: 1m, alertname: Down, exp_alerts: [{exp_labels: {job: a}}]}
/// ";
/// let read = |_: &str| Ok(vec![("rules.yaml".to_owned(), rules.to_owned())]);
/// assert!(sim_prometheus::unit_test::run("rules.test.yaml", test, &read).unwrap().is_empty());
/// ```
pub fn run(
    name: &str,
    text: &str,
    read: &dyn Fn(&str) -> Result<Vec<(String, String)>, String>,
) -> Result<Vec<String>, Error> {
    let refuse = |message: String| Error::Rules { file: name.to_owned(), message };
    if text.len() > FILE_BYTES_MAX {
        return Err(refuse(format!("file larger than {FILE_BYTES_MAX} bytes")));
    }
    let file: File = serde_saphyr::from_str(text).map_err(|error| refuse(error.to_string()))?;
    let mut order = BTreeMap::new();
    for (index, group) in file.group_eval_order.iter().enumerate() {
        if order.insert(group.as_str(), index).is_some() {
            return Err(refuse(format!("group name repeated in evaluation order: {group}")));
        }
    }
    let mut specs = Vec::new();
    for pattern in &file.rule_files {
        for (path, text) in read(pattern).map_err(refuse)? {
            specs.extend(parse_rules(&path, &text)?.into_iter().map(|spec| (path.clone(), spec)));
        }
    }
    // Groups that the order does not name come first.
    specs.sort_by_key(|(_, spec)| order.get(spec.name.as_str()).copied().unwrap_or(0));
    let interval = file.evaluation_interval.filter(|interval| !interval.is_zero()).unwrap_or(INTERVAL);
    let mut differences = Vec::new();
    for test in &file.tests {
        let mut groups = Vec::new();
        for (path, spec) in &specs {
            groups.push(Group::new(spec.clone(), path, interval)?);
        }
        differences.extend(test.run(groups, interval, file.fuzzy_compare).map_err(refuse)?);
    }
    Ok(differences)
}

fn ms(duration: Option<Duration>) -> i64 {
    duration.map_or(0, |duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

impl Test {
    fn run(&self, mut groups: Vec<Group>, interval: Duration, fuzzy: bool) -> Result<Vec<String>, String> {
        let interval_ms = ms(Some(interval)).max(1);
        let step_ms = ms(self.interval.filter(|step| !step.is_zero()).or(Some(interval)));
        let input = self.input(step_ms)?;
        let times = self.alert_rule_test.iter().map(|case| ms(case.eval_time));
        let end = times.chain(self.promql_expr_test.iter().map(|case| ms(case.eval_time))).max().unwrap_or(0);
        if end / interval_ms > EVALUATIONS_MAX {
            return Err(format!("more than {EVALUATIONS_MAX} evaluations"));
        }
        let mut alerts: BTreeMap<i64, Vec<&AlertCase>> = BTreeMap::new();
        for case in &self.alert_rule_test {
            if case.alertname.is_empty() {
                let time = duration::format_ms(ms(case.eval_time));
                let place = if self.name.is_empty() { String::new() } else { format!(" (in TestGroup {})", self.name) };
                return Err(format!(
                    "an item under alert_rule_test misses required attribute alertname at eval_time {time}{place}"
                ));
            }
            alerts.entry(ms(case.eval_time)).or_default().push(case);
        }
        let external = External { labels: self.external_labels.clone(), url: self.external_url.clone() };
        let options = EvalOptions { default_step_ms: interval_ms, ..EvalOptions::default() };
        let mut store = Store::new();
        let (input, labels) = input;
        let mut handles = vec![None; labels.len()];
        let mut load = |store: &mut Store, (series, point): (usize, Point)| {
            // A series comes to be with its first sample, as it would outside of a test.
            let outcome = match handles[series] {
                Some(id) => Ok(id),
                None => store.series_id(&labels[series]).inspect(|id| handles[series] = Some(*id)),
            };
            let outcome = outcome.and_then(|id| store.append_to(id, point));
            outcome.map_err(|error| format!("{}: {error}", labels[series].series()))
        };
        let mut loaded = input.into_iter().peekable();
        let mut differences = Vec::new();
        let mut now = 0;
        while now <= end {
            // Samples come in as time passes: what rules record is in order among them.
            while let Some(sample) = loaded.next_if(|(_, point)| point.t_ms <= now) {
                load(&mut store, sample)?;
            }
            let mut failed = false;
            for group in &mut groups {
                group.evaluate(&mut store, now, &external, options);
                for rule in &group.rules {
                    if let Health::Failed(error) = &rule.health {
                        let time = duration::format_ms(now);
                        differences.push(format!("    rule: {}, time: {time}, err: {error}", rule.spec.name));
                        failed = true;
                    }
                }
            }
            if failed {
                return Ok(differences);
            }
            for cases in alerts.range(now..now + interval_ms).map(|(_, cases)| cases) {
                for case in cases {
                    differences.extend(self.check_alerts(case, &groups));
                }
            }
            now += interval_ms;
        }
        for (series, point) in loaded {
            if point.t_ms > end {
                break;
            }
            load(&mut store, (series, point))?;
        }
        for case in &self.promql_expr_test {
            differences.extend(check_expression(case, &store, options, fuzzy));
        }
        Ok(differences)
    }

    /// The input in order of time, each sample with the place of its series in the list of labels.
    fn input(&self, step_ms: i64) -> Result<(Vec<(usize, Point)>, Vec<Labels>), String> {
        let (mut input, mut labels) = (Vec::new(), Vec::new());
        let mut known = BTreeSet::new();
        for series in &self.input_series {
            let line = format!("{} {}", series.series, series.values);
            let described = describe(&line).map_err(|error| format!("input series {:?}: {error}", series.series))?;
            if !known.insert(described.labels.clone()) {
                return Err(format!("input series {:?} is there twice", series.series));
            }
            for (index, value) in described.values.into_iter().enumerate() {
                let t_ms = step_ms.saturating_mul(index as i64);
                if let Some(value) = value {
                    input.push((labels.len(), Point { t_ms, value }));
                }
            }
            labels.push(described.labels);
        }
        input.sort_by_key(|(_, point)| point.t_ms);
        Ok((input, labels))
    }

    fn check_alerts(&self, case: &AlertCase, groups: &[Group]) -> Option<String> {
        let rules = groups.iter().flat_map(|group| &group.rules);
        let rules = rules.filter(|rule| rule.spec.alert && rule.spec.name == case.alertname);
        let firing = rules.flat_map(|rule| rule.alerts()).filter(|alert| alert.state == AlertState::Firing);
        let of = |map: &BTreeMap<String, String>| {
            Labels::from_pairs(map.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        };
        let mut got: Vec<(Labels, Labels)> =
            firing.map(|alert| (alert.labels.clone(), of(&alert.annotations))).collect();
        let mut expected: Vec<(Labels, Labels)> = case
            .exp_alerts
            .iter()
            .map(|alert| (of(&alert.exp_labels).with("alertname", &case.alertname), of(&alert.exp_annotations)))
            .collect();
        got.sort();
        expected.sort();
        if got == expected {
            return None;
        }
        let mut told = String::new();
        if !self.name.is_empty() {
            let _ = writeln!(told, "    name: {},", self.name);
        }
        let time = duration::format_ms(ms(case.eval_time));
        let _ = write!(
            told,
            "    alertname: {}, time: {time}, \n        exp:{}, \n        got:{}",
            case.alertname,
            shown_alerts(&expected),
            shown_alerts(&got)
        );
        Some(told)
    }
}

fn shown_alerts(alerts: &[(Labels, Labels)]) -> String {
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let one = |(index, (labels, annotations)): (usize, &(Labels, Labels))| {
        format!("            {index}:\n              Labels:{labels}\n              Annotations:{annotations}")
    };
    format!("[\n{}\n            ]", alerts.iter().enumerate().map(one).collect::<Vec<_>>().join(",\n"))
}

/// A sample as it is compared: a histogram by what counts in it.
#[derive(Debug, Clone)]
struct Sample {
    labels: Labels,
    value: f64,
    histogram: Option<Histogram>,
}

impl Sample {
    fn same(&self, other: &Self, fuzzy: bool) -> bool {
        let values = self.value == other.value
            || (self.value.is_nan() && other.value.is_nan())
            || (fuzzy && (self.value.next_up() == other.value || self.value.next_down() == other.value));
        let histograms = match (&self.histogram, &other.histogram) {
            (None, None) => true,
            (Some(a), Some(b)) => a.same(b),
            _ => false,
        };
        self.labels == other.labels && values && histograms
    }
}

fn shown_samples(samples: &[Sample]) -> String {
    if samples.is_empty() {
        return "nil".to_owned();
    }
    let one = |sample: &Sample| match &sample.histogram {
        // promtool writes the name as a label, too.
        Some(histogram) => format!("{} {histogram}", sample.labels),
        None => format!("{} {}", sample.labels, scientific(sample.value)),
    };
    samples.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// `1.5E+01`, as promtool prints values.
fn scientific(value: f64) -> String {
    if value.is_finite() {
        sim_wire::sample::exponent_form(value).to_uppercase()
    } else {
        sim_wire::format_float(value)
    }
}

fn check_expression(case: &ExprCase, store: &Store, options: EvalOptions, fuzzy: bool) -> Option<String> {
    let at = ms(case.eval_time);
    let head = format!("    expr: {:?}, time: {},", case.expr, duration::format_ms(at));
    let wrong = |error: String| Some(format!("{head} err: {error}"));
    let mut expected = Vec::new();
    for sample in &case.exp_samples {
        match expected_sample(sample) {
            Ok(sample) => expected.push(sample),
            Err(error) => return wrong(format!("labels {:?}: {error}", sample.labels)),
        }
    }
    let outcome = promql::parse(&case.expr).map_err(|error| error.to_string()).and_then(|expr| {
        promql::eval::instant(store, &case.expr, &expr, at, options).map_err(|error| error.to_string())
    });
    let compact = |value: Value| match value {
        Value::Float(value) => (value, None),
        Value::Histogram(histogram) => {
            let mut histogram = Histogram::clone(&histogram);
            histogram.compact();
            (0.0, Some(histogram))
        }
    };
    let sample = |labels: Labels, value: Value| {
        let (value, histogram) = compact(value);
        Sample { labels, value, histogram }
    };
    let mut got: Vec<Sample> = match outcome {
        Ok((QueryValue::Vector(vector), _)) => vector.into_iter().map(|one| sample(one.labels, one.value)).collect(),
        Ok((QueryValue::Scalar(point), _)) => vec![sample(Labels::empty(), point.value)],
        Ok(_) => return wrong("rule result is not a vector or scalar".to_owned()),
        Err(error) => return wrong(error),
    };
    expected.sort_by(|a, b| a.labels.cmp(&b.labels));
    got.sort_by(|a, b| a.labels.cmp(&b.labels));
    let same = got.len() == expected.len() && expected.iter().zip(&got).all(|(a, b)| a.same(b, fuzzy));
    (!same).then(|| format!("{head}\n        exp: {}\n        got: {}", shown_samples(&expected), shown_samples(&got)))
}

fn expected_sample(sample: &ExpectedSample) -> Result<Sample, String> {
    let labels = parse_metric(sample.labels.trim()).map_err(|error| error.to_string())?;
    if sample.histogram.is_empty() {
        return Ok(Sample { labels, value: sample.value, histogram: None });
    }
    let values = describe(&format!("{{}} {}", sample.histogram))?.values;
    match values.as_slice() {
        [Some(Value::Histogram(histogram))] => {
            let mut histogram = Histogram::clone(histogram.as_ref());
            histogram.compact();
            Ok(Sample { labels, value: 0.0, histogram: Some(histogram) })
        }
        [_] => Err("expected histogram".to_owned()),
        many => Err(format!("expected 1 value, got {}", many.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
groups:
- name: g
  rules:
  - record: job:x:sum
    expr: sum by (job) (x)
  - alert: High
    expr: job:x:sum > 5
    for: 2m
    labels: {severity: page}
    annotations: {summary: "{{ $labels.job }} at {{ $value }} of {{ $externalLabels.cluster }}, {{ $externalURL }}"}
"#;

    fn differences(tests: &str) -> Vec<String> {
        let text = format!("rule_files: [rules.yaml]\nevaluation_interval: 1m\ntests:\n{tests}");
        run("t.yaml", &text, &|_| Ok(vec![("rules.yaml".to_owned(), RULES.to_owned())])).unwrap()
    }

    const INPUT: &str = "- name: n\n  interval: 1m\n  external_labels: {cluster: c}\n  external_url: http://p\n  input_series:\n  - {series: 'x{job=\"a\",i=\"1\"}', values: '1+1x10'}\n  - {series: 'x{job=\"a\",i=\"2\"}', values: '1+1x10'}\n";

    #[test]
    fn an_alert_fires_after_its_time_with_its_annotations() {
        let firing = "  alert_rule_test:\n  - {eval_time: 3m, alertname: High}\n  - eval_time: 4m\n    alertname: High\n    exp_alerts:\n    - {exp_labels: {job: a, severity: page}, exp_annotations: {summary: 'a at 10 of c, http://p'}}\n";
        assert_eq!(differences(&format!("{INPUT}{firing}")), Vec::<String>::new());
        let wrong = firing.replace("a at 10", "a at 11");
        let told = differences(&format!("{INPUT}{wrong}"));
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("    name: n,\n    alertname: High, time: 4m, \n        exp:[\n            0:\n              Labels:{alertname=\"High\""), "{}", told[0]);
        let early = firing.replace("4m", "3m30s");
        assert_eq!(differences(&format!("{INPUT}{early}")).len(), 1);
    }

    #[test]
    fn expressions_see_what_rules_recorded_and_which_alerts_were_there() {
        let good = "  promql_expr_test:\n  - {expr: 'job:x:sum', eval_time: 2m, exp_samples: [{labels: 'job:x:sum{job=\"a\"}', value: 6}]}\n  - {expr: 'ALERTS', eval_time: 2m, exp_samples: [{labels: 'ALERTS{alertname=\"High\",alertstate=\"pending\",job=\"a\",severity=\"page\"}', value: 1}]}\n";
        assert_eq!(differences(&format!("{INPUT}{good}")), Vec::<String>::new());
        let told = differences(&format!("{INPUT}{}", good.replace("value: 6", "value: 7")));
        assert_eq!(
            told,
            [
                "    expr: \"job:x:sum\", time: 2m,\n        exp: {__name__=\"job:x:sum\", job=\"a\"} 7E+00\n        got: {__name__=\"job:x:sum\", job=\"a\"} 6E+00"
            ]
        );
    }

    #[test]
    fn malformed_files_are_refused() {
        let read = |_: &str| Ok(Vec::new());
        for text in [
            "tests: [{colour: red}]",
            "group_eval_order: [a, a]",
            "tests: [{alert_rule_test: [{eval_time: 1m}]}]",
            "tests: [{input_series: [{series: 'x{', values: '1'}]}]",
            "evaluation_interval: soon",
            "evaluation_interval: 1ms\ntests: [{promql_expr_test: [{expr: x, eval_time: 1y}]}]",
        ] {
            assert!(run("t.yaml", text, &read).is_err(), "{text} was accepted");
        }
    }
}
