//! The operator's role is what it needs: without one of its rules the operator fails where everybody sees it. That no rule is
//! there that no scenario needs is judged where all of them run (`scenarios/roles.rs`); this proves that record right.

use std::path::Path;

use scenario_runner::{Loaded, Options, Project, run};
use serde_json::{Value, json};

/// The operator's role in `deploy/operator/rbac.yaml`.
const ROLE: &str = "multigres-operator-manager-role";

/// Takes a verb on a resource out of the operator's cluster role.
fn without(loaded: &Loaded, verb: &str, resource: &str) -> Loaded {
    let mut loaded = loaded.clone();
    let mut taken = false;
    for role in loaded.manifests.deployed.iter_mut().filter(|object| object["metadata"]["name"] == ROLE) {
        let rules = role["rules"].as_array_mut().unwrap();
        let mut kept = Vec::new();
        for mut rule in std::mem::take(rules) {
            let list = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
            let (resources, verbs) = (list(&rule["resources"]), list(&rule["verbs"]));
            if resources.iter().any(|r| r == resource) && verbs.iter().any(|v| v == verb) {
                taken = true;
                let mut narrowed = rule.clone();
                narrowed["resources"] = json!([resource]);
                narrowed["verbs"] = verbs.iter().filter(|v| *v != verb).cloned().collect();
                rule["resources"] = resources.iter().filter(|r| *r != resource).cloned().collect();
                let whole = |rule: &Value| ["resources", "verbs"].iter().all(|k| rule[*k] != json!([]));
                kept.extend([rule, narrowed].into_iter().filter(whole));
            } else {
                kept.push(rule);
            }
        }
        *rules = kept;
    }
    assert!(taken, "the role grants {verb} on {resource}");
    loaded
}

#[test]
fn without_a_rule_that_it_needs_the_operator_fails_visibly() {
    let project = Project::around(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("the crate lies in its project");
    let loaded = project.load(&project.root().join("scenarios/topology/minimal-cluster-becomes-healthy.yaml")).unwrap();
    for (verb, resource) in
        [("create", "cells"), ("patch", "statefulsets"), ("patch", "cells/status"), ("list", "shards")]
    {
        let report = run(&without(&loaded, verb, resource), &Options::default()).report;
        assert!(!report.passed(), "the scenario passes without {verb} on {resource}");
    }
}
