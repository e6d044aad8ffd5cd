//! VictoriaMetrics' objects as those of the Prometheus Operator that say the same: VMServiceScrape as ServiceMonitor, VMRule as
//! PrometheusRule.
//!
//! Fields of the same name mean the same; what has another name is renamed here. What only VictoriaMetrics has stays, and is named as
//! not acted on like any other unknown field.

use serde_json::{Map, Value};

/// A VMServiceScrape as a ServiceMonitor.
pub fn service_monitor(mut scrape: Value) -> Value {
    if let Some(Value::Array(endpoints)) = scrape.get_mut("spec").and_then(|spec| spec.get_mut("endpoints")) {
        endpoints.iter_mut().filter_map(Value::as_object_mut).for_each(endpoint);
    }
    scrape
}

fn endpoint(endpoint: &mut Map<String, Value>) {
    rename(endpoint, "scrape_interval", "interval");
    rename(endpoint, "relabelConfigs", "relabelings");
    rename(endpoint, "metricRelabelConfigs", "metricRelabelings");
    for steps in ["relabelings", "metricRelabelings"] {
        if let Some(Value::Array(steps)) = endpoint.get_mut(steps) {
            for step in steps.iter_mut().filter_map(Value::as_object_mut) {
                // Either way of writing is allowed.
                rename(step, "source_labels", "sourceLabels");
                rename(step, "target_label", "targetLabel");
            }
        }
    }
}

fn rename(object: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = object.remove(from) {
        object.entry(to).or_insert(value);
    }
}

/// Fields of groups and rules that only VictoriaMetrics has and Prometheus' rule files refuse.
const OWN_GROUP_FIELDS: [&str; 11] = [
    "concurrency",
    "eval_alignment",
    "eval_delay",
    "eval_offset",
    "extra_filter_labels",
    "headers",
    "notifier_headers",
    "params",
    "tenant",
    "type",
    "debug",
];
const OWN_RULE_FIELDS: [&str; 2] = ["debug", "update_entries_limit"];

/// A VMRule as a PrometheusRule: without the groups that are not in PromQL, and without the fields that Prometheus does not know.
pub fn prometheus_rule(mut rule: Value) -> Value {
    if let Some(Value::Array(groups)) = rule.get_mut("spec").and_then(|spec| spec.get_mut("groups")) {
        groups.retain(|group| matches!(group["type"].as_str(), None | Some("" | "prometheus")));
        for group in groups.iter_mut().filter_map(Value::as_object_mut) {
            group.retain(|field, _| !OWN_GROUP_FIELDS.contains(&field.as_str()));
            let Some(Value::Array(rules)) = group.get_mut("rules") else { continue };
            for rule in rules.iter_mut().filter_map(Value::as_object_mut) {
                rule.retain(|field, _| !OWN_RULE_FIELDS.contains(&field.as_str()));
            }
        }
    }
    rule
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_those_of_the_prometheus_operator() {
        let scrape = json!({"spec": {"endpoints": [{
            "port": "metrics", "scrape_interval": "10s",
            "relabelConfigs": [{"source_labels": ["a"], "target_label": "b", "action": "replace"}],
        }]}});
        let wanted = json!({"spec": {"endpoints": [{
            "port": "metrics", "interval": "10s",
            "relabelings": [{"sourceLabels": ["a"], "targetLabel": "b", "action": "replace"}],
        }]}});
        assert_eq!(service_monitor(scrape), wanted);
    }

    #[test]
    fn what_prometheus_would_refuse_is_left_out() {
        let rule = json!({"spec": {"groups": [
            {"name": "g", "concurrency": 2, "rules": [{"alert": "A", "expr": "up == 0", "debug": true}]},
            {"name": "logs", "type": "vlogs", "rules": []},
        ]}});
        let wanted = json!({"spec": {"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "up == 0"}]}]}});
        assert_eq!(prometheus_rule(rule), wanted);
    }
}
