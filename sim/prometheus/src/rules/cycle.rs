//! Recording rules that need their own results.

use super::{Finding, RuleGroup};
use crate::promql::{self, ast::VectorSelector};
use sim_wire::{METRIC_NAME, MatchOp};
use std::collections::{BTreeMap, BTreeSet};

/// Recorded metrics that depend on themselves, over any number of rules of any groups: each sees the others' results of the
/// evaluation before, so values creep, and after a gap there are none.
///
/// ```
/// use sim_prometheus::rules::{cycles, parse_rules};
/// let text = "groups: [{name: g, rules: [{record: 'a:b', expr: 'c:d + 1'}, {record: 'c:d', expr: 'sum(a:b)'}]}]";
/// let findings = cycles(&parse_rules("rules.yaml", text).unwrap());
/// assert_eq!((findings.len(), findings[0].code), (1, "RUL006"));
/// ```
pub fn cycles(groups: &[RuleGroup]) -> Vec<Finding> {
    // What each recorded metric is made of, and where it is recorded first.
    let mut needs: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut places: BTreeMap<&str, &str> = BTreeMap::new();
    for group in groups {
        for rule in group.rules.iter().filter(|rule| !rule.alert) {
            let Ok(expr) = promql::parse(&rule.expr) else { continue };
            places.entry(&rule.name).or_insert(&group.name);
            let used = needs.entry(&rule.name).or_default();
            expr.for_each_selector(&mut |selector| {
                // What lies in the past on purpose, as in `x offset 1h`, is no cycle.
                if selector.offset_ms.unwrap_or(0) <= 0 {
                    used.extend(name_of(selector));
                }
            });
        }
    }
    let mut findings = Vec::new();
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for start in needs.keys().copied() {
        if told.contains(start) {
            continue;
        }
        let Some(path) = way_back(&needs, start) else { continue };
        told.extend(path.iter().copied());
        let message = match path.as_slice() {
            [only] => format!("{only} is recorded from itself"),
            path => format!("these are recorded from one another: {} -> {}", path.join(" -> "), path[0]),
        };
        findings.push(Finding {
            code: "RUL006",
            group: places.get(start).copied().unwrap_or_default().to_owned(),
            rule: start.to_owned(),
            message,
            help: "each sees what the other recorded an evaluation ago: record from what is scraped".to_owned(),
        });
    }
    findings
}

fn name_of(selector: &VectorSelector) -> Option<String> {
    let name = selector.matchers.iter().find(|m| m.name == METRIC_NAME && m.op == MatchOp::Equal);
    name.map(|matcher| matcher.value.clone())
}

/// The shortest way from a metric over what it needs to itself.
fn way_back<'g>(needs: &'g BTreeMap<&str, BTreeSet<String>>, start: &'g str) -> Option<Vec<&'g str>> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut next = std::collections::VecDeque::from([start]);
    while let Some(at) = next.pop_front() {
        for needed in needs.get(at).into_iter().flatten() {
            if needed == start {
                let mut path = vec![at];
                while let Some(before) =
                    path.last().filter(|last| **last != start).and_then(|last| came_from.get(*last))
                {
                    path.push(before);
                }
                path.reverse();
                return Some(path);
            }
            if needs.contains_key(needed.as_str()) && !came_from.contains_key(needed.as_str()) {
                came_from.insert(needed, at);
                next.push_back(needed);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::parse_rules;

    fn told(rules: &str) -> Vec<String> {
        let groups = parse_rules("r.yaml", &format!("groups: [{{name: g, rules: [{rules}]}}]")).unwrap();
        cycles(&groups).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn cycles_of_any_length_are_told_once() {
        assert_eq!(told("{record: a, expr: 'a + 1'}"), ["a is recorded from itself"]);
        assert_eq!(
            told("{record: a, expr: 'sum(b)'}, {record: b, expr: 'rate(c[5m])'}, {record: c, expr: 'a or vector(0)'}"),
            ["these are recorded from one another: a -> b -> c -> a"]
        );
        assert_eq!(told("{record: a, expr: b}, {record: b, expr: c}, {alert: a, expr: a > 1}"), [""; 0]);
        assert_eq!(told("{record: a, expr: 'a offset 5m + 1'}"), [""; 0]);
        assert_eq!(told("{record: a, expr: 'b'}, {record: b, expr: 'b + 1'}"), ["b is recorded from itself"]);
    }
}
