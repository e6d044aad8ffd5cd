//! Which rules of the operator's roles the scenarios use: noted while they run, judged when all have run.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use scenario_runner::RunOutcome;

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
    ("delete", "shards.multigres.com", ONLY_ONE),
];
/// Children block their owner's deletion, and an admission plugin that no simulated cluster runs asks for this then.
const OWNERS: &str = "OwnerReferencesPermissionEnforcement";
/// Orphans are deleted; of these the definitions allow one each so far, so that no change of a cluster makes an orphan.
const ONLY_ONE: &str = "there is only one";

/// A verb on a resource.
type Grant = (String, String);

/// What the roles grant, and what of it was asked for.
#[derive(Debug, Default)]
pub struct Usage(Mutex<(BTreeSet<Grant>, BTreeSet<Grant>)>);

impl Usage {
    /// Takes note of a run.
    pub fn note(&self, outcome: &RunOutcome) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (named, used) = &mut *known;
        for rule in outcome.rule_usage.iter().filter(|rule| ROLES.contains(&rule.role.as_str())) {
            for (verb, on, _) in &rule.granted {
                named.insert((verb.clone(), on.clone()));
                used.insert((verb.clone(), on.clone()));
            }
            named.extend(rule.unused.iter().cloned());
        }
    }

    /// Judges what was noted of all scenarios.
    ///
    /// # Errors
    /// What the roles grant and none used, or what is listed as spare and is not.
    pub fn judge(&self) -> Result<(), String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (named, used) = &*known;
        if used.is_empty() {
            return Err("no request was granted by the operator's roles".to_owned());
        }
        let spare: BTreeSet<Grant> = SPARE.iter().map(|(verb, on, _)| ((*verb).to_owned(), (*on).to_owned())).collect();
        let unused: BTreeSet<Grant> = named.difference(used).cloned().collect();
        let needless = grouped(unused.difference(&spare));
        let stale = grouped(spare.difference(&unused));
        match (needless.as_str(), stale.as_str()) {
            ("", "") => Ok(()),
            ("", _) => Err(format!("listed as spare, but needed or not granted:\n{stale}")),
            _ => Err(format!("granted, and needed by no scenario:\n{needless}")),
        }
    }
}

/// One line a resource, with its verbs.
fn grouped<'a>(grants: impl Iterator<Item = &'a Grant>) -> String {
    let mut by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (verb, on) in grants {
        by.entry(on).or_default().push(verb);
    }
    by.into_iter().map(|(on, verbs)| format!("{on}: {}", verbs.join(", "))).collect::<Vec<_>>().join("\n")
}
