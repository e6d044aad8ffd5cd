//! Which webhooks a request concerns, and under which version they see it.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Attributes,
    webhook::{Rule, Webhook},
};
use crate::{
    engine::{Engine, Operation, Target},
    json,
    resources::ResourceType,
};

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|l| l == "*" || l == wanted)
}

/// `pods`, `pods/status`, `pods/*` (pods and all below), `*` (no subresources), `*/scale`, `*/*`.
fn resource(patterns: &[String], plural: &str, subresource: &str) -> bool {
    patterns.iter().any(|pattern| {
        let (name, sub) = pattern.split_once('/').unwrap_or((pattern, ""));
        (name == "*" || name == plural) && (sub == "*" || sub == subresource)
    })
}

impl Rule {
    fn matches(&self, as_resource: &ResourceType, subresource: &str, operation: Operation) -> bool {
        let namespaced = as_resource.namespaced;
        has(&self.groups, &as_resource.group)
            && has(&self.versions, &as_resource.version)
            && has(&self.operations, operation.as_str())
            && resource(&self.resources, &as_resource.plural, subresource)
            && match self.scope.as_str() {
                "Namespaced" => namespaced,
                "Cluster" => !namespaced,
                _ => true,
            }
    }
}

/// The version under which a webhook is to see the request; `None` if it is not concerned.
pub(super) fn concerned(engine: &Engine, webhook: &Webhook, request: &Attributes<'_>) -> Option<Arc<ResourceType>> {
    let seen_as = ruled(engine, webhook, request.target, request.operation)?;
    (in_namespace(engine, webhook, request) && of_object(webhook, request)).then_some(seen_as)
}

/// The version under which a webhook's rules match what is done, whatever the object; `None` if none does.
pub(super) fn ruled(
    engine: &Engine,
    webhook: &Webhook,
    target: &Target,
    operation: Operation,
) -> Option<Arc<ResourceType>> {
    let asked = &target.resource;
    // Webhooks never judge what configures them: else a broken one could not be taken away.
    if asked.group == "admissionregistration.k8s.io" {
        return None;
    }
    let matches = |resource: &ResourceType| {
        webhook.rules.iter().any(|rule| rule.matches(resource, &target.subresource, operation))
    };
    if matches(asked) {
        return Some(asked.clone());
    }
    if !webhook.equivalent {
        return None;
    }
    let versions = engine.registry().groups().values().flat_map(std::collections::BTreeMap::values);
    let mut others = versions.flat_map(std::collections::BTreeMap::values).filter(|r| r.table == asked.table);
    others.find(|r| matches(r)).cloned()
}

fn in_namespace(engine: &Engine, webhook: &Webhook, request: &Attributes<'_>) -> bool {
    if webhook.namespaces.is_empty() {
        return true;
    }
    let target = &request.target;
    if target.resource.kind == "Namespace" && target.resource.group.is_empty() {
        // A namespace is judged by its own labels, new or (for a deletion) stored.
        let labels = match request.operation {
            Operation::Delete => request.old.map(|o| &**o),
            _ => request.object,
        };
        return webhook.namespaces.matches_labels(labels.and_then(|o| json::map(o, &["metadata", "labels"])));
    }
    if !target.resource.namespaced {
        return true;
    }
    let namespace = engine.peek("namespaces", "", &target.namespace);
    webhook.namespaces.matches_labels(namespace.and_then(|n| json::map(n, &["metadata", "labels"])))
}

fn of_object(webhook: &Webhook, request: &Attributes<'_>) -> bool {
    let labels = |o: &Value| webhook.objects.matches_labels(json::map(o, &["metadata", "labels"]));
    webhook.objects.is_empty() || request.object.is_some_and(labels) || request.old.is_some_and(|o| labels(o))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_patterns_mean_what_the_real_server_takes_them_for() {
        let cases: &[(&str, &str, &str, bool)] = &[
            ("pods", "pods", "", true),
            ("pods", "pods", "status", false),
            ("pods/status", "pods", "status", true),
            ("pods/status", "pods", "", false),
            ("pods/*", "pods", "", true),
            ("pods/*", "pods", "eviction", true),
            ("pods/*", "services", "", false),
            ("*", "services", "", true),
            ("*", "services", "status", false),
            ("*/scale", "deployments", "scale", true),
            ("*/scale", "deployments", "", false),
            ("*/*", "deployments", "status", true),
            ("*/*", "deployments", "", true),
        ];
        for (pattern, plural, subresource, expected) in cases {
            let found = resource(&[(*pattern).to_owned()], plural, subresource);
            assert_eq!(found, *expected, "{pattern} on {plural}/{subresource}");
        }
    }
}
