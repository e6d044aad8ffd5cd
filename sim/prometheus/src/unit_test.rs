//! Unit tests of rules, in promtool's format (`promtool test rules`).
//!
//! A test loads series, evaluates every group at each evaluation interval from the epoch on, and compares the firing alerts and the
//! results of expressions. What differs is told in promtool's own words.

mod compare;

use crate::Error;
use crate::config::{FILE_BYTES_MAX, yaml_optional_duration};
use crate::promql::{self, EvalOptions};
use crate::promqltest::describe;
use crate::rules::{AlertState, Evaluations, Group, Health, NotAhead, Rule, evaluate_ahead, parse_rules};
use crate::store::{Point, Store, Value};
use crate::template::External;
use compare::{check_expression, shown_alerts};
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
    run_either_way(name, text, read, true)
}

/// The same; `ahead`: each rule over all its evaluations at once, where that gives the same.
fn run_either_way(
    name: &str,
    text: &str,
    read: &dyn Fn(&str) -> Result<Vec<(String, String)>, String>,
    ahead: bool,
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
    let groups = || specs.iter().map(|(path, spec)| Group::new(spec.clone(), path, interval)).collect();
    for test in &file.tests {
        let outcome = test.run(&groups, interval, (file.fuzzy_compare, ahead));
        differences.extend(outcome.map_err(|error| match error {
            Error::Evaluation { message } => refuse(message),
            other => other,
        })?);
    }
    Ok(differences)
}

fn ms(duration: Option<Duration>) -> i64 {
    duration.map_or(0, |duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

/// The series of a test as they are put into a store: labels, and a value or a gap for each step.
type Input = Vec<(Labels, Vec<Option<Value>>)>;

/// Who fires under a name.
type Firing = Vec<(Labels, BTreeMap<String, String>)>;

/// What a test is run under.
#[derive(Debug)]
struct Setting {
    input: Input,
    step_ms: i64,
    interval_ms: i64,
    /// The last instant that anything is asked of.
    end_ms: i64,
    external: External,
    options: EvalOptions,
}

impl Test {
    fn run(
        &self,
        groups: &dyn Fn() -> Result<Vec<Group>, Error>,
        interval: Duration,
        (fuzzy, ahead): (bool, bool),
    ) -> Result<Vec<String>, Error> {
        let refuse = |message: String| Error::Evaluation { message };
        let setting = self.setting(interval).map_err(refuse)?;
        if ahead && let Ok(differences) = self.run_ahead(groups()?, &setting, fuzzy) {
            return Ok(differences);
        }
        self.walk(groups()?, &setting, fuzzy).map_err(refuse)
    }

    fn setting(&self, interval: Duration) -> Result<Setting, String> {
        let interval_ms = ms(Some(interval)).max(1);
        let step_ms = ms(self.interval.filter(|step| !step.is_zero()).or(Some(interval)));
        let input = self.input()?;
        let times = self.alert_rule_test.iter().map(|case| ms(case.eval_time));
        let end_ms = times.chain(self.promql_expr_test.iter().map(|case| ms(case.eval_time))).max().unwrap_or(0);
        if end_ms / interval_ms > EVALUATIONS_MAX {
            return Err(format!("more than {EVALUATIONS_MAX} evaluations"));
        }
        if let Some(case) = self.alert_rule_test.iter().find(|case| case.alertname.is_empty()) {
            let time = duration::format_ms(ms(case.eval_time));
            let place = if self.name.is_empty() { String::new() } else { format!(" (in TestGroup {})", self.name) };
            return Err(format!(
                "an item under alert_rule_test misses required attribute alertname at eval_time {time}{place}"
            ));
        }
        let external = External { labels: self.external_labels.clone(), url: self.external_url.clone() };
        let options = EvalOptions { default_step_ms: interval_ms, ..EvalOptions::default() };
        Ok(Setting { input, step_ms, interval_ms, end_ms, external, options })
    }

    /// The cases about alerts by the evaluation after which they are judged, in the order in which they are.
    fn alert_cases(&self, setting: &Setting) -> BTreeMap<i64, Vec<&AlertCase>> {
        let mut cases: Vec<&AlertCase> = self.alert_rule_test.iter().collect();
        cases.sort_by_key(|case| case.eval_time);
        let mut by_evaluation: BTreeMap<i64, Vec<&AlertCase>> = BTreeMap::new();
        for case in cases {
            let at = ms(case.eval_time) / setting.interval_ms * setting.interval_ms;
            by_evaluation.entry(at).or_default().push(case);
        }
        by_evaluation
    }

    /// Every rule over all its evaluations at once.
    fn run_ahead(&self, mut groups: Vec<Group>, setting: &Setting, fuzzy: bool) -> Result<Vec<String>, NotAhead> {
        let mut store = Store::new();
        // Series come to be with their first sample.
        let first = |values: &[Option<Value>]| values.iter().position(Option::is_some);
        let mut input: Vec<&(Labels, Vec<Option<Value>>)> = setting.input.iter().collect();
        input.sort_by_key(|(_, values)| first(values));
        for (labels, values) in input {
            let Some(first) = first(values) else { continue };
            if setting.time_of(first) > setting.end_ms {
                continue;
            }
            let Ok(id) = store.series_id(labels) else { return Err(NotAhead) };
            for (index, value) in values.iter().enumerate().skip(first) {
                let t_ms = setting.time_of(index);
                if t_ms > setting.end_ms {
                    break;
                }
                if let Some(value) = value {
                    store.append_to(id, Point { t_ms, value: value.clone() }).map_err(|_| NotAhead)?;
                }
            }
        }
        let cases = self.alert_cases(setting);
        // By evaluation and name: who fires after it.
        let mut firing: BTreeMap<(i64, &str), Firing> = BTreeMap::new();
        let mut seen = |now_ms: i64, rule: &Rule| {
            let Some(cases) = cases.get(&now_ms) else { return };
            if let Some(case) = cases.iter().find(|case| case.alertname == rule.spec.name) {
                firing.entry((now_ms, &case.alertname)).or_default().extend(firing_of(rule));
            }
        };
        let evaluations = Evaluations { end_ms: setting.end_ms, interval_ms: setting.interval_ms };
        let writers =
            evaluate_ahead(&mut groups, &mut store, evaluations, &setting.external, setting.options, &mut seen)?;
        let mut differences = Vec::new();
        for (now_ms, cases) in &cases {
            for case in cases {
                let got = firing.get(&(*now_ms, case.alertname.as_str())).cloned().unwrap_or_default();
                differences.extend(self.check_alerts(case, got));
            }
        }
        for case in &self.promql_expr_test {
            if let Ok(expr) = promql::parse(&case.expr) {
                writers.keep_order(&store, &expr)?;
            }
            differences.extend(check_expression(case, &store, setting.options, fuzzy));
        }
        Ok(differences)
    }

    /// Every rule at every evaluation, one evaluation after the other.
    fn walk(&self, mut groups: Vec<Group>, setting: &Setting, fuzzy: bool) -> Result<Vec<String>, String> {
        let Setting { interval_ms, end_ms, options, external, .. } = setting;
        let mut store = Store::new();
        let mut samples: Vec<(usize, usize)> = Vec::new();
        for (series, (_, values)) in setting.input.iter().enumerate() {
            samples.extend((0..values.len()).filter(|index| values[*index].is_some()).map(|index| (series, index)));
        }
        samples.sort_by_key(|(_, index)| *index);
        let mut handles = vec![None; setting.input.len()];
        let mut load = |store: &mut Store, (series, index): (usize, usize)| {
            let (labels, values) = &setting.input[series];
            let Some(value) = values[index].clone() else { return Ok(()) };
            // A series comes to be with its first sample, as it would outside of a test.
            let outcome = match handles[series] {
                Some(id) => Ok(id),
                None => store.series_id(labels).inspect(|id| handles[series] = Some(*id)),
            };
            let outcome = outcome.and_then(|id| store.append_to(id, Point { t_ms: setting.time_of(index), value }));
            outcome.map_err(|error| format!("{}: {error}", labels.series()))
        };
        let mut loaded = samples.into_iter().peekable();
        let cases = self.alert_cases(setting);
        let mut differences = Vec::new();
        let mut now = 0;
        while now <= *end_ms {
            // Samples come in as time passes: what rules record is in order among them.
            while let Some(sample) = loaded.next_if(|(_, index)| setting.time_of(*index) <= now) {
                load(&mut store, sample)?;
            }
            let mut failed = false;
            for group in &mut groups {
                group.evaluate(&mut store, now, external, *options);
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
            for case in cases.get(&now).into_iter().flatten() {
                let rules = groups.iter().flat_map(|group| &group.rules);
                let firing = rules.filter(|rule| rule.spec.name == case.alertname).flat_map(firing_of).collect();
                differences.extend(self.check_alerts(case, firing));
            }
            now += interval_ms;
        }
        for (series, index) in loaded {
            if setting.time_of(index) > *end_ms {
                break;
            }
            load(&mut store, (series, index))?;
        }
        for case in &self.promql_expr_test {
            differences.extend(check_expression(case, &store, *options, fuzzy));
        }
        Ok(differences)
    }

    fn input(&self) -> Result<Input, String> {
        let mut input: Input = Vec::new();
        let mut known = BTreeSet::new();
        for series in &self.input_series {
            let line = format!("{} {}", series.series, series.values);
            let described = describe(&line).map_err(|error| format!("input series {:?}: {error}", series.series))?;
            if !known.insert(described.labels.clone()) {
                return Err(format!("input series {:?} is there twice", series.series));
            }
            input.push((described.labels, described.values));
        }
        Ok(input)
    }

    fn check_alerts(&self, case: &AlertCase, mut got: Firing) -> Option<String> {
        let expected = case.exp_alerts.iter().map(|alert| {
            (labels_of(&alert.exp_labels).with("alertname", &case.alertname), alert.exp_annotations.clone())
        });
        let mut expected: Firing = expected.collect();
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

impl Setting {
    /// When a value of the input is.
    fn time_of(&self, index: usize) -> i64 {
        self.step_ms.saturating_mul(index as i64)
    }
}

fn labels_of(map: &BTreeMap<String, String>) -> Labels {
    Labels::from_pairs(map.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

/// The alerts of a rule that fire: labels and annotations.
fn firing_of(rule: &Rule) -> impl Iterator<Item = (Labels, BTreeMap<String, String>)> {
    let firing = rule.alerts().filter(|alert| alert.state == AlertState::Firing);
    firing.map(|alert| (alert.labels.clone(), alert.annotations.clone()))
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
    fn rules_that_read_what_is_written_before_them_need_no_walk() {
        let walks = |rules: &str| {
            let rules = format!("groups: [{{name: g, rules: [{rules}]}}]");
            let groups = || {
                let specs = parse_rules("r.yaml", &rules).unwrap().into_iter();
                specs.map(|spec| Group::new(spec, "r.yaml", INTERVAL)).collect::<Result<Vec<_>, _>>().unwrap()
            };
            let test: Test = serde_saphyr::from_str(
                "{interval: 1m, input_series: [{series: x, values: '1+1x9'}], alert_rule_test: [{eval_time: 9m, alertname: A}]}",
            )
            .unwrap();
            test.run_ahead(groups(), &test.setting(INTERVAL).unwrap(), false).is_err()
        };
        assert!(!walks(
            "{record: a, expr: x}, {record: b, expr: 'a + 1'}, {alert: A, expr: 'b > 3', annotations: {s: '{{ $value }}'}}"
        ));
        assert!(!walks("{alert: A, expr: 'x > 3'}, {record: a, expr: 'count(ALERTS)'}"));
        assert!(walks("{record: a, expr: 'b'}, {record: b, expr: x}"));
        assert!(walks("{record: a, expr: 'a or x'}"));
        assert!(walks("{record: a, expr: 'count({job=~\".+\"})'}, {record: b, expr: x}"));
        assert!(walks("{record: a, expr: 'x offset -1m'}"));
        assert!(walks("{record: a, expr: 'x @ end()'}"));
        assert!(walks("{alert: A, expr: x, annotations: {s: '{{ query \"x\" | first | value }}'}}"));
        assert!(walks("{record: x, expr: x}"));
    }

    /// Rules that read one another, the past, or nothing, over the series `x` and `y` (each of them twice).
    const PIECES: &[&str] = &[
        "{record: 'r:a', expr: 'sum by (job) (x)'}",
        "{record: 'r:a', expr: 'x * 2', labels: {kind: double}}",
        "{record: 'r:a', expr: 'y * 3'}",
        "{record: 'r:b', expr: 'r:a + 1'}",
        "{record: 'r:c', expr: 'x > 5 or y < 3', labels: {i: same}}",
        "{record: 'r:d', expr: 'vector(time())'}",
        "{record: 'r:e', expr: 'sum(rate(x[3m])) / 7'}",
        "{record: 'r:f', expr: 'x offset -1m'}",
        "{record: 'r:g', expr: 'y @ 120'}",
        "{record: 'r:h', expr: 'avg_over_time(r:a[4m])'}",
        "{record: 'r:i', expr: 'sum({__name__=~\"r:.*\"})'}",
        "{record: 'r:j', expr: 'x and on (job) ALERTS{alertstate=\"firing\"}'}",
        "{record: x, expr: 'y'}",
        "{alert: A, expr: 'x > 4', for: 2m, keep_firing_for: 1m, labels: {l: '{{ $value }}'}, annotations: {s: '{{ $labels.job }}'}}",
        "{alert: A, expr: 'y > 4', annotations: {s: 'another'}}",
        "{alert: B, expr: 'r:a > 9', for: 1m}",
        "{alert: C, expr: 'absent(x{i=\"1\"})'}",
        "{alert: D, expr: 'x > 3', annotations: {s: '{{ query \"count(r:a)\" | first | value }}'}}",
        "{alert: E, expr: 'changes(y[2m]) > 1', for: 1m}",
        "{alert: F, expr: 'sum(y) > 6', labels: {i: one}}",
        "{alert: F, expr: 'sum(x) > 6', for: 1m, labels: {i: one}}",
    ];

    fn values() -> impl proptest::strategy::Strategy<Value = String> {
        use proptest::prelude::*;
        let value = prop_oneof![4 => (0..10_u32).prop_map(|n| format!("{n}.{n}")), 1 => Just("_".to_owned()), 1 => Just("stale".to_owned())];
        proptest::collection::vec(value, 0..12).prop_map(|values| values.join(" "))
    }

    proptest::proptest! {
        #[test]
        fn rules_ahead_give_what_they_give_one_evaluation_after_the_other(
            chosen in proptest::collection::vec((0..PIECES.len(), proptest::bool::weighted(0.2)), 1..6),
            values in proptest::collection::vec(values(), 4),
            step in 1..3_u32,
            expr in proptest::sample::select(vec!["stdvar(r:a / 7)", "topk(1, r:a * 0)", "timestamp(r:c)", "sum by (i) (r:c)", "count_over_time(r:a[20m])"]),
        ) {
            let mut rules = String::from("groups:\n- {name: g, rules: [");
            for (index, (piece, split)) in chosen.iter().enumerate() {
                if *split {
                    let _ = write!(rules, "]}}\n- {{name: g{index}, limit: {index}, labels: {{g: '{index}'}}, rules: [");
                }
                let _ = write!(rules, "{}, ", PIECES[*piece]);
            }
            rules.push_str("]}\n");
            let names = ["x{job=\"a\",i=\"1\"}", "x{job=\"a\",i=\"2\"}", "y{job=\"a\",i=\"1\"}", "y{job=\"b\",i=\"1\"}"];
            let mut test = format!("rule_files: [r.yaml]\nevaluation_interval: 1m\ntests:\n- interval: {step}m\n  input_series:\n");
            for (name, values) in names.iter().zip(values) {
                let _ = writeln!(test, "  - {{series: '{name}', values: '{values}'}}");
            }
            // What nobody expects, so that everything is told.
            test.push_str("  alert_rule_test:\n");
            for (name, minute) in ["A", "B", "C", "D", "E", "F"].into_iter().flat_map(|name| (0..14).map(move |minute| (name, minute))) {
                let _ = writeln!(test, "  - {{eval_time: {minute}m30s, alertname: {name}, exp_alerts: [{{exp_labels: {{never: '1'}}}}]}}");
            }
            test.push_str("  promql_expr_test:\n");
            let asked = ["{__name__=~\".+\"}", "ALERTS_FOR_STATE", expr];
            for (expr, minute) in asked.into_iter().flat_map(|expr| (0..15).map(move |minute| (expr, minute))) {
                let _ = writeln!(test, "  - {{expr: '{expr}', eval_time: {minute}m, exp_samples: [{{labels: never, value: 1}}]}}");
            }
            let read = |_: &str| Ok(vec![("r.yaml".to_owned(), rules.clone())]);
            let told = |ahead| run_either_way("t.yaml", &test, &read, ahead).map_err(|error| error.to_string());
            let (ahead, walked) = (told(true), told(false));
            proptest::prop_assert!(walked.as_ref().is_ok_and(|told| !told.is_empty()), "{walked:?}");
            proptest::prop_assert_eq!(ahead, walked, "{}\n{}", rules, test);
        }
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
