//! What is wrong with rules that parse: found without any data.

use super::{RuleGroup, RuleSpec};
use crate::promql::{self, Expr, ExprKind, Known, mismatches};
use crate::template;
use sim_wire::{METRIC_NAME, MatchOp, duration};
use std::time::Duration;

/// A finding about a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `RUL…`, explained in `docs/codes.md`.
    pub code: &'static str,
    /// The group.
    pub group: String,
    /// The alert or the recorded metric.
    pub rule: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// Everything there is to say about a group; `default_interval` is the global evaluation interval.
///
/// ```
/// use sim_prometheus::rules::{lint, parse_rules};
/// let text = r#"groups: [{name: g, rules: [{alert: Dead, expr: 'x{s="a"} < x{s="b"}', annotations: {runbook_url: r}}]}]"#;
/// let groups = parse_rules("rules.yaml", text).unwrap();
/// let findings = lint(&groups[0], std::time::Duration::from_secs(60));
/// assert_eq!(findings[0].code, "RUL001");
/// ```
pub fn lint(group: &RuleGroup, default_interval: Duration) -> Vec<Finding> {
    let interval = group.interval.filter(|interval| !interval.is_zero()).unwrap_or(default_interval);
    let mut findings = Vec::new();
    for rule in &group.rules {
        let mut tell = |code: &'static str, message: String, help: String| {
            findings.push(Finding { code, group: group.name.clone(), rule: rule.name.clone(), message, help });
        };
        let Ok(expr) = promql::parse(&rule.expr) else { continue };
        for dead in mismatches(&rule.expr, &expr) {
            let shown = |value: &str| if value.is_empty() { "absent".to_owned() } else { format!("{value:?}") };
            let (label, op) = (&dead.label, dead.op.as_str());
            tell(
                "RUL001",
                format!(
                    "the sides of {op:?} at {} never match: label {label:?} is {} on the left and {} on the right",
                    dead.position,
                    shown(&dead.left),
                    shown(&dead.right)
                ),
                format!("write `{op} ignoring ({label})`, or aggregate the label away on both sides"),
            );
        }
        gauges(&expr, &mut |function, metric| {
            tell(
                "RUL002",
                format!("{function}() of {metric:?}, whose name is not that of a counter"),
                format!("counters end in _total, _sum, _count or _bucket; of a gauge take {}", of_gauge(function)),
            );
        });
        if !rule.alert {
            continue;
        }
        for (what, span) in [("for", rule.for_duration), ("keep_firing_for", rule.keep_firing_for)] {
            if !span.is_zero() && span < interval {
                tell(
                    "RUL003",
                    format!(
                        "`{what}: {}` is shorter than the evaluation interval of {}",
                        duration::format(span),
                        duration::format(interval)
                    ),
                    format!(
                        "the next evaluation comes later: make it at least {}, or leave it out",
                        duration::format(interval)
                    ),
                );
            }
        }
        if !rule.annotations.keys().any(|name| name.starts_with("runbook")) {
            tell(
                "RUL004",
                "there is no runbook".to_owned(),
                "add the annotation `runbook_url`: whoever is paged has to know what to do".to_owned(),
            );
        }
        templates(rule, &expr, &mut tell);
    }
    findings
}

fn of_gauge(function: &str) -> &'static str {
    match function {
        "increase" => "delta()",
        "irate" => "idelta()",
        _ => "deriv() or delta()",
    }
}

/// Calls `found` with the function and the metric for every counter function over something else.
fn gauges(expr: &Expr, found: &mut impl FnMut(&str, &str)) {
    match &expr.kind {
        ExprKind::Number { .. } | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix { .. } => {}
        ExprKind::Subquery { expr, .. } | ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => gauges(expr, found),
        ExprKind::Aggregate { expr, param, .. } => {
            if let Some(param) = param {
                gauges(param, found);
            }
            gauges(expr, found);
        }
        ExprKind::Binary { lhs, rhs, .. } => {
            gauges(lhs, found);
            gauges(rhs, found);
        }
        ExprKind::Call { function, args } => {
            if matches!(function.name, "rate" | "irate" | "increase")
                && let Some(ExprKind::Matrix { selector, .. }) = args.first().map(|arg| &arg.unparenthesised().kind)
            {
                let name = selector.matchers.iter().find(|m| m.name == METRIC_NAME && m.op == MatchOp::Equal);
                let counter =
                    |name: &str| ["_total", "_sum", "_count", "_bucket"].iter().any(|end| name.ends_with(end));
                // A name with colons was recorded, and may be anything.
                if let Some(name) = name.map(|m| m.value.as_str()).filter(|name| !counter(name) && !name.contains(':'))
                {
                    found(function.name, name);
                }
            }
            for arg in args {
                gauges(arg, found);
            }
        }
    }
}

/// Labels that a template asks for and that no result can have.
fn templates(rule: &RuleSpec, expr: &Expr, tell: &mut impl FnMut(&'static str, String, String)) {
    let known = Known::of(expr);
    let texts = rule
        .labels
        .iter()
        .map(|entry| ("label", entry))
        .chain(rule.annotations.iter().map(|entry| ("annotation", entry)));
    for (kind, (name, text)) in texts {
        for label in template::labels_used(text).into_iter().filter(|label| !known.possible(label)) {
            tell(
                "RUL005",
                format!("{kind} {name:?} uses $labels.{label}, which the expression never has"),
                format!("keep the label in the expression (`by (…, {label})`), or take it out of the template"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::parse_rules;

    fn codes(rule: &str) -> Vec<&'static str> {
        let text = format!("groups: [{{name: g, rules: [{{{rule}}}]}}]");
        let groups = parse_rules("r.yaml", &text).unwrap();
        lint(&groups[0], Duration::from_secs(60)).into_iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn each_finding_has_its_cause_and_its_cure() {
        let good = "annotations: {runbook_url: r}";
        assert_eq!(codes(&format!("alert: A, expr: 'x{{s=\"a\"}} < x{{s=\"b\"}}', {good}")), ["RUL001"]);
        assert_eq!(codes(&format!("alert: A, expr: 'x{{s=\"a\"}} < ignoring (s) x{{s=\"b\"}}', {good}")), [""; 0]);
        assert_eq!(codes(&format!("alert: A, expr: 'rate(temperature[5m]) > 1', {good}")), ["RUL002"]);
        assert_eq!(codes(&format!("alert: A, expr: 'rate(x_total[5m]) + rate(job:x:sum[5m]) > 1', {good}")), [""; 0]);
        assert_eq!(codes(&format!("alert: A, expr: up == 0, for: 30s, {good}")), ["RUL003"]);
        assert_eq!(codes(&format!("alert: A, expr: up == 0, for: 1m, keep_firing_for: 10s, {good}")), ["RUL003"]);
        assert_eq!(codes("alert: A, expr: up == 0"), ["RUL004"]);
        let template = |label: &str| {
            format!(
                "alert: A, expr: 'sum by (job) (up) == 0', annotations: {{runbook: r, s: '{{{{ $labels.{label} }}}}'}}"
            )
        };
        assert_eq!(codes(&template("pod")), ["RUL005"]);
        assert_eq!(codes(&template("job")), [""; 0]);
        assert_eq!(codes("record: 'a:b', expr: 'sum(up)'"), [""; 0]);
    }
}
