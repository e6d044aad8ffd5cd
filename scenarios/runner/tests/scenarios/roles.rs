//! The operator's roles against what the scenarios use of them: noted while they run, judged when all have run.
//!
//! A role grants nothing that no scenario uses; and of what it grants nothing can be taken away without a scenario that fails for
//! it. The latter is tried out: the scenario is played once more in a cluster whose role lacks one verb on one resource. By
//! default that is a sample; with `ROLES=all` in the environment each verb on each resource is taken away.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use scenario_runner::{Loaded, Options, Project, RunOutcome, run};
use serde_json::{Value, json};

/// The operator's roles in `deploy/operator/rbac.yaml`.
const ROLES: [&str; 4] = [
    "multigres-operator-manager-role",
    "multigres-operator-leader-election-role",
    "multigres-operator-webhook-certs-role",
    "multigres-operator-metrics-auth-role",
];

/// What a role grants and no scenario needs, with the reason why it is granted all the same: verb, resource.
const SPARE: &[(&str, &str, &str)] = &[
    ("update", "multigresclusters.multigres.com/finalizers", OWNERS),
    ("update", "cells.multigres.com/finalizers", OWNERS),
    ("update", "tablegroups.multigres.com/finalizers", OWNERS),
    ("update", "shards.multigres.com/finalizers", OWNERS),
    ("update", "toposervers.multigres.com/finalizers", OWNERS),
    ("delete", "configmaps", OWNERS),
    ("delete", "shards.multigres.com", ONLY_ONE),
];
/// An admission plugin that no simulated cluster runs asks for this: where children block their owner's deletion, and where an
/// object gets another owner.
const OWNERS: &str = "OwnerReferencesPermissionEnforcement";
/// Orphans are deleted; of these the definitions allow one each so far, so that no change of a cluster makes an orphan.
const ONLY_ONE: &str = "there is only one";

/// Grants of a sample that are taken away.
const SAMPLE: usize = 4;
/// Scenarios, the shortest first, that are played without a grant until one fails.
const TRIES_MAX: usize = 6;

/// A verb on a resource (`deployments.apps`, `cells.multigres.com/status`, `pods`) that a role grants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Grant {
    role: String,
    verb: String,
    on: String,
}

#[derive(Debug, Default)]
struct Known {
    named: BTreeSet<Grant>,
    /// By whom a grant was used: how long the scenario takes by its own clock, and which one it is.
    used: BTreeMap<Grant, BTreeSet<(i64, String)>>,
}

/// What the roles grant, and what of it was asked for by which scenario.
#[derive(Debug, Default)]
pub struct Usage(Mutex<Known>);

impl Usage {
    /// Takes note of a run.
    pub fn note(&self, outcome: &RunOutcome) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let scenario = (outcome.report.duration_ms, outcome.report.scenario.clone());
        for rule in outcome.rule_usage.iter().filter(|rule| ROLES.contains(&rule.role.as_str())) {
            let grant = |verb: &str, on: &str| Grant { role: rule.role.clone(), verb: verb.into(), on: on.into() };
            for (verb, on, _) in &rule.granted {
                known.named.insert(grant(verb, on));
                known.used.entry(grant(verb, on)).or_default().insert(scenario.clone());
            }
            known.named.extend(rule.unused.iter().map(|(verb, on)| grant(verb, on)));
        }
    }

    /// Judges what was noted of all scenarios, and says how many grants were taken away to no good end.
    ///
    /// # Errors
    /// What the roles grant and none used, what is listed as spare and is not, or what can be taken away and no scenario fails.
    pub fn judge(&self, project: &Project, all: bool) -> Result<String, String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.used.is_empty() {
            return Err("no request was granted by the operator's roles".to_owned());
        }
        let spare = |grant: &Grant| SPARE.iter().any(|(verb, on, _)| grant.verb == *verb && grant.on == *on);
        let unused = || known.named.iter().filter(|grant| !known.used.contains_key(grant));
        let needless = grouped(unused().filter(|grant| !spare(grant)));
        if !needless.is_empty() {
            return Err(format!("granted, and needed by no scenario:\n{needless}"));
        }
        let listed = |(verb, on): (&str, &str)| unused().any(|grant| grant.verb == verb && grant.on == on);
        let stale: Vec<_> = SPARE.iter().filter(|(verb, on, _)| !listed((verb, on))).collect();
        if !stale.is_empty() {
            return Err(format!("listed as spare, but needed or not granted: {stale:?}"));
        }
        let step = if all { 1 } else { known.used.len().div_ceil(SAMPLE) };
        let tried: Vec<_> = known.used.iter().step_by(step).collect();
        let unmissed = unmissed(project, &tried);
        if !unmissed.is_empty() {
            return Err(format!("can be taken away, and no scenario fails:\n{}", grouped(unmissed.iter())));
        }
        let rest = if all { "" } else { " (ROLES=all takes away every one)" };
        Ok(format!("{} grants, {} taken away{rest}", known.used.len(), tried.len()))
    }
}

/// Which of the grants can be taken away without a scenario that used them failing.
fn unmissed(project: &Project, grants: &[(&Grant, &BTreeSet<(i64, String)>)]) -> Vec<Grant> {
    let (next, unmissed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((grant, users)) = grants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let missed =
                        users.iter().take(TRIES_MAX).any(|(_, scenario)| fails_without(project, grant, scenario));
                    if !missed {
                        unmissed.lock().unwrap_or_else(PoisonError::into_inner).push((*grant).clone());
                    }
                }
            });
        }
    });
    unmissed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn fails_without(project: &Project, grant: &Grant, scenario: &str) -> bool {
    let path = project.root().join("scenarios").join(format!("{scenario}.yaml"));
    let loaded = project.load(&path).expect("it could be loaded before");
    !run(&without(loaded, grant), &Options::default()).report.passed()
}

/// The same scenario where the role does not grant this.
fn without(mut loaded: Loaded, grant: &Grant) -> Loaded {
    let list = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap_or_default() };
    let mut taken = false;
    for role in &mut loaded.manifests.deployed {
        let is_role = role["kind"] == "Role" || role["kind"] == "ClusterRole";
        if !is_role || role["metadata"]["name"] != grant.role.as_str() {
            continue;
        }
        let mut kept = Vec::new();
        for rule in role["rules"].as_array().into_iter().flatten() {
            for (group, resource) in list(&rule["apiGroups"])
                .iter()
                .flat_map(|group| list(&rule["resources"]).into_iter().map(move |resource| (group.clone(), resource)))
            {
                for verb in list(&rule["verbs"]) {
                    if verb == grant.verb && on(&group, &resource) == grant.on {
                        taken = true;
                        continue;
                    }
                    let mut alone = rule.clone();
                    alone["apiGroups"] = json!([group]);
                    alone["resources"] = json!([resource]);
                    alone["verbs"] = json!([verb]);
                    kept.push(alone);
                }
            }
        }
        role["rules"] = Value::Array(kept);
    }
    assert!(taken, "{} does not grant {} on {}", grant.role, grant.verb, grant.on);
    loaded
}

/// A resource as [`Grant`] says it.
fn on(group: &str, resource: &str) -> String {
    match (group, resource.split_once('/')) {
        ("", _) => resource.to_owned(),
        (_, Some((main, sub))) => format!("{main}.{group}/{sub}"),
        _ => format!("{resource}.{group}"),
    }
}

/// One line a resource, with its verbs.
fn grouped<'a>(grants: impl Iterator<Item = &'a Grant>) -> String {
    let mut by: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for grant in grants {
        by.entry((&grant.role, &grant.on)).or_default().push(&grant.verb);
    }
    by.into_iter()
        .map(|((role, on), verbs)| format!("{role}: {on}: {}", verbs.join(", ")))
        .collect::<Vec<_>>()
        .join("\n")
}
