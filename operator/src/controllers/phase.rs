//! Phases and conditions: functions from what is seen to what is reported.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;

use super::error::Error;
use crate::api::common::{Phase, Reported};
use crate::observability::metrics::Replicas;

/// A phase and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The phase.
    pub phase: Phase,
    /// Why.
    pub message: String,
}

impl Verdict {
    fn new(phase: Phase, message: impl Into<String>) -> Self {
        Self { phase, message: message.into() }
    }
}

/// What a Deployment or StatefulSet looks like: what its specification asks for, and what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// Pods that the specification asks for, and pods that are ready.
    pub replicas: Replicas,
    /// Pods that exist.
    pub existing: i32,
    /// Pods that are made by the present specification.
    pub updated: i32,
    /// Whether the status speaks about the present specification.
    pub observed: bool,
}

impl Workload {
    /// Whether everything is there as the specification asks, and nothing else: while pods of an older one stand in for those to come,
    /// it is not.
    pub fn is_ready(self) -> bool {
        let desired = self.replicas.desired;
        self.observed && [self.replicas.ready, self.updated, self.existing].iter().all(|count| *count == desired)
    }

    /// The phase of this workload alone.
    pub fn phase(self) -> Phase {
        if self.is_ready() {
            Phase::Healthy
        } else if self.existing == 0 {
            Phase::Initializing
        } else {
            Phase::Progressing
        }
    }
}

impl From<&Deployment> for Workload {
    fn from(deployment: &Deployment) -> Self {
        let status = deployment.status.clone().unwrap_or_default();
        Self {
            replicas: Replicas {
                desired: deployment.spec.replicas.unwrap_or(1),
                ready: status.ready_replicas.unwrap_or_default(),
            },
            existing: status.replicas.unwrap_or_default(),
            updated: status.updated_replicas.unwrap_or_default(),
            observed: status.observed_generation.is_some()
                && status.observed_generation >= deployment.metadata.generation,
        }
    }
}

impl From<&StatefulSet> for Workload {
    fn from(set: &StatefulSet) -> Self {
        let status = set.status.clone().unwrap_or_default();
        Self {
            replicas: Replicas {
                desired: set.spec.replicas.unwrap_or(1),
                ready: status.ready_replicas.unwrap_or_default(),
            },
            existing: status.replicas,
            updated: status.updated_replicas.unwrap_or_default(),
            observed: status.observed_generation.is_some() && status.observed_generation >= set.metadata.generation,
        }
    }
}

/// The verdict about an object that consists of one workload. `kind` and `what` begin its messages.
pub fn of_workload(workload: Workload, progressing: &str, prefix: &str) -> Verdict {
    let Replicas { desired, ready } = workload.replicas;
    if !workload.observed && workload.existing > 0 {
        return Verdict::new(Phase::Progressing, progressing);
    }
    match workload.phase() {
        Phase::Healthy => Verdict::new(Phase::Healthy, "Ready"),
        phase if ready == desired => Verdict::new(phase, progressing),
        phase => Verdict::new(phase, format!("{prefix}{ready}/{desired} replicas ready")),
    }
}

/// The verdict about a shard.
pub fn of_shard(pools: &[Workload], orchs: &[Workload]) -> Verdict {
    let pools_ready = pools_ready(pools);
    let orch_ready = orchs.iter().all(|orch| orch.is_ready());
    if pools_ready && orch_ready {
        return Verdict::new(Phase::Healthy, "Ready");
    }
    let nothing_there = pools.iter().chain(orchs).all(|workload| workload.existing == 0);
    let phase = if nothing_there { Phase::Initializing } else { Phase::Progressing };
    Verdict::new(phase, format!("PoolsReady: {pools_ready}, OrchReady: {orch_ready}"))
}

/// The verdict about an object some of whose pods are in trouble that does not end by itself.
pub fn with_trouble(verdict: Verdict, trouble: Option<&str>) -> Verdict {
    match trouble {
        Some(trouble) => Verdict::new(Phase::Degraded, trouble),
        None => verdict,
    }
}

/// Whether the pools of a shard have pods, and all that they shall have.
pub fn pools_ready(pools: &[Workload]) -> bool {
    let desired: i32 = pools.iter().map(|pool| pool.replicas.desired).sum();
    desired > 0 && pools.iter().all(|pool| pool.is_ready())
}

/// What a child custom resource reports, seen from its parent: not yet seen counts as `Initializing`, an old report as `Progressing`,
/// and so does one that has to go before it can come again. Only `Degraded` stays: what cannot be brought about never reports about its
/// present generation.
pub fn of_child(meta: &ObjectMeta, status: Option<&impl Reported>) -> Phase {
    let Some(status) = status else { return Phase::Initializing };
    let Some(phase) = status.phase() else { return Phase::Initializing };
    let speaks_of_it = status.observed_generation() == meta.generation || phase == Phase::Degraded;
    match phase {
        phase if speaks_of_it && meta.deletion_timestamp.is_none() => phase,
        Phase::Initializing if status.observed_generation().is_none() => Phase::Initializing,
        _ => Phase::Progressing,
    }
}

/// The verdict about a table group whose desired shards have these phases.
pub fn of_table_group(shards: &[Phase]) -> Verdict {
    let ready = shards.iter().filter(|phase| **phase == Phase::Healthy).count();
    let message = format!("{ready}/{} shards ready", shards.len());
    if shards.is_empty() {
        Verdict::new(Phase::Initializing, "No Shards")
    } else if shards.contains(&Phase::Degraded) {
        Verdict::new(Phase::Degraded, message)
    } else if ready == shards.len() {
        Verdict::new(Phase::Healthy, "Ready")
    } else if shards.iter().all(|phase| *phase == Phase::Initializing) {
        Verdict::new(Phase::Initializing, message)
    } else {
        Verdict::new(Phase::Progressing, message)
    }
}

/// The verdict about a cluster whose desired parts (topology server, MultiAdmin, cells, table groups) have these phases.
pub fn of_cluster(parts: &[Phase]) -> Verdict {
    if parts.contains(&Phase::Degraded) {
        Verdict::new(Phase::Degraded, "Cluster is degraded")
    } else if parts.iter().all(|phase| *phase == Phase::Healthy) {
        Verdict::new(Phase::Healthy, "Ready")
    } else if parts.iter().all(|phase| *phase == Phase::Initializing) {
        Verdict::new(Phase::Initializing, "Cluster is initializing")
    } else {
        Verdict::new(Phase::Progressing, "Cluster is progressing")
    }
}

/// Characters of an error that a status message keeps.
const MESSAGE_CHARS_MAX: usize = 1024;

/// The verdict about an object whose reconcile failed. What was last said of it says nothing about what it now asks for.
pub fn of_failure(present: Option<Phase>, error: &Error) -> Verdict {
    let phase = match present {
        _ if error.is_lasting() => Phase::Degraded,
        None | Some(Phase::Initializing) => Phase::Initializing,
        Some(_) => Phase::Progressing,
    };
    Verdict::new(phase, error.to_string().chars().take(MESSAGE_CHARS_MAX).collect::<String>())
}

/// A condition before it knows since when it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding<'a> {
    /// The condition's type.
    pub type_: &'a str,
    /// Whether it holds.
    pub holds: bool,
    /// Why, in one word.
    pub reason: &'a str,
    /// Why, in a sentence.
    pub message: String,
    /// The generation that it speaks about.
    pub generation: Option<i64>,
}

/// The condition for `finding`; it keeps the time of the present one unless it turned.
pub fn condition(present: &[Condition], finding: Finding<'_>, now: Timestamp) -> Condition {
    let status = if finding.holds { "True" } else { "False" };
    let since = present
        .iter()
        .find(|condition| condition.type_ == finding.type_ && condition.status == status)
        .map_or_else(|| whole_seconds(now), |condition| condition.last_transition_time.clone());
    Condition {
        type_: finding.type_.to_owned(),
        status: status.to_owned(),
        reason: finding.reason.to_owned(),
        message: finding.message,
        observed_generation: finding.generation,
        last_transition_time: since,
    }
}

/// Kubernetes keeps the times of conditions in whole seconds.
fn whole_seconds(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// The condition of a type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::CellStatus;
    use Phase::{Degraded, Healthy, Initializing, Progressing};

    fn workload(desired: i32, existing: i32, ready: i32) -> Workload {
        Workload { replicas: Replicas { desired, ready }, existing, updated: existing, observed: true }
    }

    #[test]
    fn a_workload_is_measured_against_its_specification() {
        assert_eq!(workload(3, 0, 0).phase(), Initializing);
        assert_eq!(workload(3, 1, 1).phase(), Progressing);
        assert_eq!(workload(3, 3, 3).phase(), Healthy);
        assert_eq!(workload(0, 0, 0).phase(), Healthy);
        assert_eq!(Workload { observed: false, ..workload(3, 3, 3) }.phase(), Progressing);
    }

    #[test]
    fn a_workload_whose_old_pods_stand_in_is_on_its_way() {
        for rolling in [Workload { updated: 1, ..workload(3, 3, 3) }, Workload { updated: 3, ..workload(3, 4, 3) }] {
            let verdict = of_workload(rolling, "Gateway Deployment is progressing", "Gateway: ");
            assert_eq!(verdict, Verdict::new(Progressing, "Gateway Deployment is progressing"));
        }
    }

    #[test]
    fn trouble_outranks_everything() {
        let healthy = Verdict::new(Healthy, "Ready");
        assert_eq!(with_trouble(healthy.clone(), None), healthy);
        assert_eq!(with_trouble(healthy, Some("pod p")), Verdict::new(Degraded, "pod p"));
    }

    #[test]
    fn a_workload_says_how_many_are_ready() {
        let verdict = of_workload(workload(3, 3, 1), "StatefulSet is progressing", "");
        assert_eq!(verdict, Verdict::new(Progressing, "1/3 replicas ready"));
        let stale = Workload { observed: false, ..workload(3, 3, 3) };
        assert_eq!(of_workload(stale, "StatefulSet is progressing", "").message, "StatefulSet is progressing");
    }

    #[test]
    fn a_shard_needs_its_pools_and_its_orchestrators() {
        assert_eq!(of_shard(&[workload(3, 3, 3)], &[workload(1, 1, 1)]).phase, Healthy);
        let verdict = of_shard(&[workload(3, 3, 3)], &[workload(1, 1, 0)]);
        assert_eq!(verdict, Verdict::new(Progressing, "PoolsReady: true, OrchReady: false"));
        assert_eq!(of_shard(&[workload(3, 0, 0)], &[workload(1, 0, 0)]).phase, Initializing);
        assert!(!pools_ready(&[]));
    }

    #[test]
    fn a_cluster_is_as_healthy_as_its_parts() {
        assert_eq!(of_cluster(&[Healthy, Healthy]).phase, Healthy);
        assert_eq!(of_cluster(&[Healthy, Initializing]).phase, Progressing);
        assert_eq!(of_cluster(&[Initializing, Initializing]).phase, Initializing);
        assert_eq!(of_cluster(&[Healthy, Degraded, Progressing]).phase, Degraded);
    }

    #[test]
    fn what_fails_is_degraded_only_if_it_will_fail_again() {
        let refused = |code: u16| {
            let status = kube::core::Status { code, ..kube::core::Status::failure("no", "Reason") };
            let source = Box::new(kube::Error::Api(Box::new(status)));
            Error::Kube { verb: "apply", kind: "Cell".into(), name: "c".into(), source }.of("cell")
        };
        assert_eq!(of_failure(Some(Healthy), &refused(422)).phase, Degraded);
        assert_eq!(of_failure(None, &refused(403)).phase, Degraded);
        assert_eq!(of_failure(Some(Healthy), &refused(500)).phase, Progressing);
        assert_eq!(of_failure(Some(Degraded), &refused(409)).phase, Progressing);
        assert_eq!(of_failure(None, &refused(503)).phase, Initializing);
        let long = Error::from(crate::resolver::ResolveError::TemplateMissing { kind: "K", name: "n".repeat(5000) });
        assert_eq!(of_failure(None, &long).message.chars().count(), MESSAGE_CHARS_MAX);
    }

    #[test]
    fn a_child_that_reports_about_an_old_generation_is_progressing() {
        let status = CellStatus { observed_generation: Some(1), phase: Some(Healthy), ..CellStatus::default() };
        let meta = |generation| ObjectMeta { generation: Some(generation), ..ObjectMeta::default() };
        assert_eq!(of_child(&meta(1), Some(&status)), Healthy);
        assert_eq!(of_child(&meta(2), Some(&status)), Progressing);
        assert_eq!(of_child(&meta(1), None::<&CellStatus>), Initializing);
        let going = ObjectMeta { deletion_timestamp: Some(Time(Timestamp::UNIX_EPOCH)), ..meta(1) };
        assert_eq!(of_child(&going, Some(&status)), Progressing);
        let degraded = CellStatus { phase: Some(Degraded), ..status };
        assert_eq!(of_child(&meta(2), Some(&degraded)), Degraded);
        assert_eq!(of_child(&going, Some(&degraded)), Progressing);
        let never_brought_about = CellStatus { phase: Some(Initializing), ..CellStatus::default() };
        assert_eq!(of_child(&meta(1), Some(&never_brought_about)), Initializing);
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_turns() {
        let finding =
            |holds| Finding { type_: "Ready", holds, reason: "R", message: String::new(), generation: Some(1) };
        let first = condition(&[], finding(false), Timestamp::from_second(10).unwrap());
        let same = condition(std::slice::from_ref(&first), finding(false), Timestamp::from_second(20).unwrap());
        assert_eq!(same.last_transition_time, first.last_transition_time);
        let turned = condition(&[first], finding(true), Timestamp::from_second(30).unwrap());
        assert_eq!(turned.last_transition_time.0.as_second(), 30);
    }
}
