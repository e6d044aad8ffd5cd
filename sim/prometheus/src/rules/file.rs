//! Rule files.

use crate::Error;
use crate::config::{FILE_BYTES_MAX, yaml_duration, yaml_optional_duration};
use crate::{promql, template};
use serde::Deserialize;
use sim_wire::labels::{is_legacy_label_name, is_legacy_metric_name};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    groups: Vec<WrittenGroup>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenGroup {
    name: String,
    #[serde(default, deserialize_with = "yaml_optional_duration")]
    interval: Option<Duration>,
    #[serde(default, deserialize_with = "yaml_optional_duration")]
    query_offset: Option<Duration>,
    #[serde(default)]
    limit: usize,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    rules: Vec<WrittenRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    record: Option<String>,
    alert: Option<String>,
    expr: String,
    #[serde(default, rename = "for", deserialize_with = "yaml_duration")]
    for_duration: Duration,
    #[serde(default, deserialize_with = "yaml_duration")]
    keep_firing_for: Duration,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// A group as written.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleGroup {
    /// Its name.
    pub name: String,
    /// How often it is evaluated; the global interval without.
    pub interval: Option<Duration>,
    /// How far behind the present it is evaluated; the global offset without.
    pub query_offset: Option<Duration>,
    /// Most series or alerts a rule may yield; 0 is no limit.
    pub limit: usize,
    /// Labels of every rule.
    pub labels: BTreeMap<String, String>,
    /// Its rules in order.
    pub rules: Vec<RuleSpec>,
}

/// A rule as written.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleSpec {
    /// The name of the alert or of the recorded metric.
    pub name: String,
    /// Whether it is an alerting rule.
    pub alert: bool,
    /// The expression.
    pub expr: String,
    /// How long the expression must hold before the alert fires.
    pub for_duration: Duration,
    /// How long the alert fires on after the expression has ceased to hold.
    pub keep_firing_for: Duration,
    /// Labels; templates in alerting rules.
    pub labels: BTreeMap<String, String>,
    /// Annotations; templates.
    pub annotations: BTreeMap<String, String>,
}

/// Reads and checks a rule file.
///
/// # Errors
/// [`Error::Rules`] with the position for YAML and the rule for everything else.
///
/// ```
/// let text = "groups: [{name: g, rules: [{alert: Down, expr: up == 0, for: 5m}]}]";
/// let groups = sim_prometheus::rules::parse_rules("rules.yaml", text).unwrap();
/// assert_eq!(groups[0].rules[0].for_duration.as_secs(), 300);
/// ```
pub fn parse_rules(file: &str, text: &str) -> Result<Vec<RuleGroup>, Error> {
    let refuse = |message: String| Error::Rules { file: file.to_owned(), message };
    if text.len() > FILE_BYTES_MAX {
        return Err(refuse(format!("file larger than {FILE_BYTES_MAX} bytes")));
    }
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let written: File = serde_saphyr::from_str(text).map_err(|error| refuse(error.to_string()))?;
    let mut names = BTreeSet::new();
    let mut groups = Vec::new();
    for group in written.groups {
        if group.name.is_empty() {
            return Err(refuse("Groupname must not be empty".to_owned()));
        }
        if !names.insert(group.name.clone()) {
            return Err(refuse(format!("groupname: {:?} is repeated in the same file", group.name)));
        }
        let mut rules = Vec::new();
        for (index, rule) in group.rules.into_iter().enumerate() {
            let place = format!("group {:?}, rule {}", group.name, index + 1);
            rules.push(checked(rule).map_err(|message| refuse(format!("{place}: {message}")))?);
        }
        groups.push(RuleGroup {
            name: group.name,
            interval: group.interval,
            query_offset: group.query_offset,
            limit: group.limit,
            labels: group.labels,
            rules,
        });
    }
    Ok(groups)
}

fn checked(rule: WrittenRule) -> Result<RuleSpec, String> {
    let (name, alert) = match (rule.record, rule.alert) {
        (Some(_), Some(_)) => return Err("only one of 'record' and 'alert' must be set".to_owned()),
        (None, None) => return Err("one of 'record' or 'alert' must be set".to_owned()),
        (Some(name), None) => (name, false),
        (None, Some(name)) => (name, true),
    };
    if rule.expr.is_empty() {
        return Err("field 'expr' must be set in rule".to_owned());
    }
    promql::parse(&rule.expr).map_err(|error| format!("could not parse expression: {error}"))?;
    if !alert {
        if !rule.annotations.is_empty() {
            return Err("invalid field 'annotations' in recording rule".to_owned());
        }
        if !rule.for_duration.is_zero() {
            return Err("invalid field 'for' in recording rule".to_owned());
        }
        if !rule.keep_firing_for.is_zero() {
            return Err("invalid field 'keep_firing_for' in recording rule".to_owned());
        }
        if !is_legacy_metric_name(&name) {
            return Err(format!("invalid recording rule name: {name}"));
        }
    }
    for label in rule.labels.keys() {
        if !is_legacy_label_name(label) || label == sim_wire::METRIC_NAME {
            return Err(format!("invalid label name: {label}"));
        }
    }
    if alert {
        for (kind, texts) in [("label", &rule.labels), ("annotation", &rule.annotations)] {
            for (key, text) in texts {
                template::check(&name, text).map_err(|error| format!("{kind} {key:?}: {error}"))?;
            }
        }
    }
    Ok(RuleSpec {
        name,
        alert,
        expr: rule.expr,
        for_duration: rule.for_duration,
        keep_firing_for: rule.keep_firing_for,
        labels: rule.labels,
        annotations: rule.annotations,
    })
}
