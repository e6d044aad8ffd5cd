//! What is wrong with a configuration that loads: found without any alert.

use crate::config::{Config, InhibitRule, RouteConfig};
use crate::matcher::{MatchType, Matcher, Matchers};
use crate::route::{Route, Routes};
use sim_wire::duration;
use std::collections::BTreeSet;

/// A finding about a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `AMC…`, explained in `docs/codes.md`.
    pub code: &'static str,
    /// Where: a route, a receiver, a rule.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// The names of alerts that are dead man's switches by custom.
const SWITCHES: [&str; 3] = ["Watchdog", "DeadMansSwitch", "Heartbeat"];

/// Everything there is to say about a configuration. `known` are the labels that alerts can carry, where that is known.
///
/// ```
/// use sim_alertmanager::{config, lint::lint};
/// let text = "route: {receiver: a, routes: [{receiver: b}, {matchers: ['x=\"y\"'], receiver: a}]}\nreceivers: [{name: a}, {name: b}]\n";
/// let codes: Vec<_> = lint(&config::parse(text).unwrap(), None).into_iter().map(|finding| finding.code).collect();
/// assert_eq!(codes, ["AMC001", "AMC007"]);
/// ```
pub fn lint(config: &Config, known: Option<&BTreeSet<String>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let routes = Routes::new(&config.route);
    unreachable(&routes, &mut findings);
    for route in &routes.all {
        intervals(route, &mut findings);
        impossible(&route.matchers, &named(route), &mut findings);
        if let Some(known) = known {
            unknown_labels(&route.matchers, known, &named(route), &mut findings);
            for label in route.options.group_by.iter().filter(|label| !known.contains(*label)) {
                tell(
                    &mut findings,
                    "AMC005",
                    named(route),
                    format!("groups by {label:?}, which no alert carries"),
                    "alerts without the label share one group".to_owned(),
                );
            }
        }
    }
    unused(config, &mut findings);
    for (place, rule) in config.inhibit_rules.iter().enumerate() {
        inhibition(rule, &rule_name(rule, place), known, &mut findings);
    }
    let switched = routes.all.iter().any(|route| {
        route
            .matchers
            .iter()
            .any(|matcher| SWITCHES.iter().any(|name| matcher.kind.is_equal() && matcher.matches_value(name)))
    });
    if !switched {
        tell(
            &mut findings,
            "AMC007",
            "the routing tree".to_owned(),
            "no route is made for a dead man's switch (an alert that always fires, by custom Watchdog)".to_owned(),
            "route it to somebody who raises the alarm when it no longer comes; otherwise silence and blindness look alike"
                .to_owned(),
        );
    }
    findings
}

fn tell(findings: &mut Vec<Finding>, code: &'static str, place: String, message: String, help: String) {
    findings.push(Finding { code, place, message, help });
}

fn named(route: &Route) -> String {
    format!("route {} to {}", route.id, route.options.receiver)
}

fn rule_name(rule: &InhibitRule, place: usize) -> String {
    if rule.name.is_empty() { format!("inhibit_rules[{place}]") } else { format!("inhibit rule {:?}", rule.name) }
}

/// Whether whatever meets `narrow` meets `wide` too, as far as the matchers show it.
fn covers(wide: &Matchers, narrow: &Matchers) -> bool {
    wide.iter().all(|matcher| {
        matches_anything(matcher)
            || narrow.iter().any(|other| {
                other == matcher
                    || (other.name == matcher.name
                        && other.kind == MatchType::Equal
                        && matcher.matches_value(&other.value))
            })
    })
}

fn matches_anything(matcher: &Matcher) -> bool {
    matcher.kind == MatchType::Regexp && matches!(matcher.value.as_str(), ".*" | "^(?:.*)$")
}

fn unreachable(routes: &Routes, findings: &mut Vec<Finding>) {
    for parent in &routes.all {
        for (place, child) in parent.children.iter().enumerate() {
            let Some(route) = routes.all.get(*child) else { continue };
            let earlier = parent.children.iter().take(place).filter_map(|earlier| routes.all.get(*earlier));
            let taker =
                earlier.filter(|earlier| !earlier.continues).find(|earlier| covers(&earlier.matchers, &route.matchers));
            if let Some(taker) = taker {
                tell(
                    findings,
                    "AMC001",
                    named(route),
                    format!("no alert comes here: {} takes all of them", named(taker)),
                    "put it before that route, or let that route continue".to_owned(),
                );
            }
        }
    }
}

fn intervals(route: &Route, findings: &mut Vec<Finding>) {
    let options = &route.options;
    if options.group_interval > options.repeat_interval.saturating_mul(2) {
        let (group, repeat) = (duration::format(options.group_interval), duration::format(options.repeat_interval));
        tell(
            findings,
            "AMC003",
            named(route),
            format!(
                "group_interval {group} is longer than repeat_interval {repeat}: nothing is repeated sooner than that"
            ),
            "a group is looked at once in group_interval; repeat_interval is best a multiple of it".to_owned(),
        );
    }
}

/// Two conditions on one label that no value meets.
fn impossible(matchers: &Matchers, place: &str, findings: &mut Vec<Finding>) {
    let equal: Vec<&Matcher> = matchers.iter().filter(|matcher| matcher.kind == MatchType::Equal).collect();
    for wanted in &equal {
        if let Some(other) =
            matchers.iter().find(|other| other.name == wanted.name && !other.matches_value(&wanted.value))
        {
            tell(
                findings,
                "AMC004",
                place.to_owned(),
                format!("{wanted} and {other} never hold together"),
                "all matchers of one place have to hold; alternatives are routes of their own or =~\"a|b\"".to_owned(),
            );
            return;
        }
    }
}

fn unknown_labels(matchers: &Matchers, known: &BTreeSet<String>, place: &str, findings: &mut Vec<Finding>) {
    for matcher in matchers.iter().filter(|matcher| !known.contains(&matcher.name) && !matcher.matches_value("")) {
        tell(
            findings,
            "AMC005",
            place.to_owned(),
            format!("{matcher} never holds: no alert carries the label {:?}", matcher.name),
            "labels of alerts come from their rules, from their expressions and from external_labels".to_owned(),
        );
    }
}

fn unused(config: &Config, findings: &mut Vec<Finding>) {
    let (mut receivers, mut intervals) = (BTreeSet::new(), BTreeSet::new());
    used(&config.route, &mut receivers, &mut intervals);
    for receiver in config.receivers.iter().filter(|receiver| !receivers.contains(receiver.name.as_str())) {
        tell(
            findings,
            "AMC002",
            format!("receiver {:?}", receiver.name),
            "no route leads here".to_owned(),
            "route something to it or take it out".to_owned(),
        );
    }
    for name in config.time_intervals.keys().filter(|name| !intervals.contains(name.as_str())) {
        tell(
            findings,
            "AMC002",
            format!("time interval {name:?}"),
            "no route names it".to_owned(),
            "name it in mute_time_intervals or active_time_intervals of a route; children do not inherit them"
                .to_owned(),
        );
    }
}

fn used<'c>(route: &'c RouteConfig, receivers: &mut BTreeSet<&'c str>, intervals: &mut BTreeSet<&'c str>) {
    receivers.insert(&route.receiver);
    intervals.extend(route.mute_time_intervals.iter().chain(&route.active_time_intervals).map(String::as_str));
    for child in &route.routes {
        used(child, receivers, intervals);
    }
}

fn inhibition(rule: &InhibitRule, place: &str, known: Option<&BTreeSet<String>>, findings: &mut Vec<Finding>) {
    impossible(&rule.source, place, findings);
    impossible(&rule.target, place, findings);
    if let Some(known) = known {
        unknown_labels(&rule.source, known, place, findings);
        unknown_labels(&rule.target, known, place, findings);
    }
    for label in &rule.equal {
        let fixed = |side: &Matchers| {
            let matcher = side.iter().find(|matcher| matcher.name == *label && matcher.kind == MatchType::Equal);
            matcher.map(|matcher| matcher.value.clone())
        };
        if let (Some(source), Some(target)) = (fixed(&rule.source), fixed(&rule.target))
            && source != target
        {
            tell(
                findings,
                "AMC006",
                place.to_owned(),
                format!(
                    "never mutes: {label:?} has to be equal, but is {source:?} in the source and {target:?} in the target"
                ),
                format!("take {label:?} out of equal"),
            );
        }
    }
    if !rule.target.is_empty() && covers(&rule.source, &rule.target) && covers(&rule.target, &rule.source) {
        tell(
            findings,
            "AMC006",
            place.to_owned(),
            "never mutes: whatever matches the target matches the source too, and an alert that matches both mutes none".to_owned(),
            "narrow one side".to_owned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let config = crate::config::parse(text).unwrap();
        let known = ["alertname", "severity", "namespace"].map(str::to_owned).into_iter().collect();
        lint(&config, Some(&known))
            .into_iter()
            .map(|finding| format!("{} {}: {}", finding.code, finding.place, finding.message))
            .collect()
    }

    fn with(routes: &str, more: &str) -> String {
        format!(
            "route: {{receiver: a, routes: [{{matchers: ['alertname=Watchdog'], receiver: a}}{routes}]}}\nreceivers: [{{name: a}}]\n{more}"
        )
    }

    #[test]
    fn each_mistake_is_found() {
        for (text, expected) in [
            (with("", ""), None),
            (with(", {matchers: ['severity=~\".*\"']}, {matchers: [severity=x]}", ""), Some("AMC001")),
            (with(", {matchers: ['severity=~\"x|y\"']}, {matchers: [severity=x]}", ""), Some("AMC001")),
            (with(", {matchers: ['severity=~\"x|y\"'], continue: true}, {matchers: [severity=x]}", ""), None),
            (with(", {matchers: ['severity=~\"x|y\"']}, {matchers: [severity=z]}", ""), None),
            (with("", "").replace("[{name: a}]", "[{name: a}, {name: b}]"), Some("AMC002")),
            (with("", "time_intervals: [{name: n}]"), Some("AMC002")),
            (with(", {matchers: [severity=x], group_interval: 3h, repeat_interval: 1h}", ""), Some("AMC003")),
            (with(", {matchers: [severity=x, severity=y]}", ""), Some("AMC004")),
            (with(", {matchers: [team=x]}", ""), Some("AMC005")),
            (with(", {matchers: ['team!=x']}", ""), None),
            (with(", {matchers: [severity=x], group_by: [team]}", ""), Some("AMC005")),
            (
                with(
                    "",
                    "inhibit_rules: [{source_matchers: [severity=a], target_matchers: [severity=b], equal: [severity]}]",
                ),
                Some("AMC006"),
            ),
            (
                with(
                    "",
                    "inhibit_rules: [{source_matchers: [severity=a], target_matchers: [severity=a], equal: [namespace]}]",
                ),
                Some("AMC006"),
            ),
            (
                with(
                    "",
                    "inhibit_rules: [{source_matchers: [severity=a], target_matchers: [severity=b], equal: [namespace]}]",
                ),
                None,
            ),
            (with("", "").replace("Watchdog", "X"), Some("AMC007")),
        ] {
            let found = found(&text);
            let codes: Vec<&str> = found.iter().map(|line| &line[..6]).collect();
            assert_eq!(codes, expected.into_iter().collect::<Vec<_>>(), "{text}{found:?}");
        }
    }
}
