//! The operator's roles are what it needs: without one of their rules it fails where everybody sees it, and no rule is
//! there that no scenario needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use scenario_runner::{Loaded, Options, Project, run};
use serde_json::{Value, json};

/// The operator's roles in `deploy/operator/rbac.yaml`.
const ROLES: [&str; 1] = ["multigres-operator-manager-role"];

/// What a role grants and no scenario needs, with the reason why it is granted all the same: verb, resource.
const SPARE: &[(&str, &str, &str)] = &[
    ("update", "multigresclusters.multigres.com/finalizers", OWNERS),
    ("update", "cells.multigres.com/finalizers", OWNERS),
    ("update", "tablegroups.multigres.com/finalizers", OWNERS),
    ("update", "shards.multigres.com/finalizers", OWNERS),
    ("update", "toposervers.multigres.com/finalizers", OWNERS),
    ("delete", "tablegroups.multigres.com", ONLY_ONE),
    ("delete", "shards.multigres.com", ONLY_ONE),
];
/// Children block their owner's deletion, and an admission plugin that no simulated cluster runs asks for this then.
const OWNERS: &str = "OwnerReferencesPermissionEnforcement";
/// Orphans are deleted; of these the definitions allow one each so far, so that no change of a cluster makes an orphan.
const ONLY_ONE: &str = "there is only one";

fn project() -> Project {
    Project::around(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("the crate lies in its project")
}

#[test]
fn the_roles_grant_what_some_scenario_needs_and_no_more() {
    let project = project();
    let mut used: BTreeSet<(String, String)> = BTreeSet::new();
    let mut named: BTreeSet<(String, String)> = BTreeSet::new();
    for path in project.discover(&[], None).unwrap() {
        let loaded = project.load(&path).unwrap();
        let outcome = run(&loaded, &Options::default());
        assert_eq!(outcome.report.error, None, "{}", loaded.id);
        for rule in outcome.rule_usage.into_iter().filter(|rule| ROLES.contains(&rule.role.as_str())) {
            let granted: Vec<_> = rule.granted.into_iter().map(|(verb, on, _)| (verb, on)).collect();
            named.extend(granted.iter().cloned().chain(rule.unused));
            used.extend(granted);
        }
    }
    assert!(!used.is_empty(), "no request was granted by the operator's roles");
    let spare: BTreeSet<_> = SPARE.iter().map(|(verb, on, _)| ((*verb).to_owned(), (*on).to_owned())).collect();
    let unused: BTreeSet<_> = named.difference(&used).cloned().collect();
    let grouped = |set: BTreeSet<(String, String)>| {
        let mut by: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (verb, on) in set {
            by.entry(on).or_default().push(verb);
        }
        by.into_iter().map(|(on, verbs)| format!("{on}: {}", verbs.join(", "))).collect::<Vec<_>>().join("\n")
    };
    let needless = grouped(unused.difference(&spare).cloned().collect());
    assert!(needless.is_empty(), "granted, and needed by no scenario:\n{needless}");
    let stale = grouped(spare.difference(&unused).cloned().collect());
    assert!(stale.is_empty(), "listed as spare, but needed or not granted:\n{stale}");
}

/// Takes a verb on a resource out of the operator's cluster role.
fn without(loaded: &Loaded, verb: &str, resource: &str) -> Loaded {
    let mut loaded = loaded.clone();
    let mut taken = false;
    for role in loaded.manifests.deployed.iter_mut().filter(|object| object["metadata"]["name"] == ROLES[0]) {
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
    let project = project();
    let loaded = project.load(&project.root().join("scenarios/topology/minimal-cluster-becomes-healthy.yaml")).unwrap();
    for (verb, resource) in
        [("create", "cells"), ("patch", "statefulsets"), ("patch", "cells/status"), ("list", "shards")]
    {
        let report = run(&without(&loaded, verb, resource), &Options::default()).report;
        assert!(!report.passed(), "the scenario passes without {verb} on {resource}");
    }
}
