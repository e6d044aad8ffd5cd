//! Volume claims that grow with what the specification asks for.
//!
//! The claim template of a StatefulSet cannot be changed, and a claim cannot shrink. So the template keeps the size with which the set was
//! made; each claim that asks for less than the specification is told to ask for more, one by one, the pods running on; and a claim
//! that asks for more stays as it is. Whether a volume may grow is its class's matter: the API server says so when it is asked.
//! A claim's storage class and access modes can never be changed: it and the template keep those with which they were made.
//! Where a claim is not as asked, the condition [`CONDITION`] says which and why.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::error::Error;
use super::phase::{self, Finding};
use super::tools::{FIELD_MANAGER, Pass, Tools, Written, kube_error, now};
use crate::resources::quantity::thousandths;
use crate::runtime::{Action, Change, ObjectKey, Store};

/// The condition that is there from the first time on that a claim has not the size, the class or the access modes that are asked for.
pub const CONDITION: &str = "VolumesSized";
/// When a claim that the API server would not let grow is tried again: somebody may have changed its class.
pub const REFUSED_RETRY: Duration = Duration::from_secs(600);
/// Claims that a message names.
const NAMED_MAX: usize = 2;
const STORAGE: &str = "storage";
/// Reasons of the condition.
const AS_ASKED: &str = "AsAsked";
const REFUSED: &str = "Refused";

/// How the claims of an object stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sizes {
    /// What will not be as asked by itself, one sentence a claim.
    pub refused: Vec<String>,
    /// What cannot be changed and stays as it was made, one sentence a claim or template.
    pub kept: Vec<String>,
    /// Claims whose volumes are being made larger.
    pub growing: Vec<String>,
    /// Whether a refusal was the API server's, who may think better of it.
    pub try_again: bool,
}

impl Sizes {
    /// The condition that tells of it; none where everything is as asked and always was.
    pub fn condition(&self, present: &[Condition], generation: Option<i64>) -> Option<Condition> {
        let as_asked = ["every volume is as it is asked for".to_owned()];
        let refused: Vec<String> = self.refused.iter().chain(&self.kept).cloned().collect();
        let (reason, said) = match (&refused[..], &self.growing[..]) {
            ([], []) if phase::find(present, CONDITION).is_none() => return None,
            ([], []) => (AS_ASKED, &as_asked[..]),
            ([], growing) => ("Growing", growing),
            (refused, _) => (REFUSED, refused),
        };
        let mut message = said.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join("; ");
        if said.len() > NAMED_MAX {
            message = format!("{message}; and {} more", said.len() - NAMED_MAX);
        }
        let finding = Finding { type_: CONDITION, holds: reason == AS_ASKED, reason, message, generation };
        Some(phase::condition(present, finding, now()))
    }

    /// What the reconcile that saw this wants next, beside `action`.
    pub fn action(&self, action: Action) -> Action {
        match action {
            Action::Done if self.try_again => Action::RequeueAfter(REFUSED_RETRY),
            Action::RequeueAfter(delay) if self.try_again => Action::RequeueAfter(delay.min(REFUSED_RETRY)),
            action => action,
        }
    }
}

/// The size that a claim's specification asks for.
fn asked(spec: Option<&PersistentVolumeClaimSpec>) -> Option<&Quantity> {
    spec?.resources.as_ref()?.requests.as_ref()?.get(STORAGE)
}

fn ask(spec: Option<&mut PersistentVolumeClaimSpec>, size: &Quantity) {
    let requests = spec.and_then(|spec| spec.resources.as_mut()?.requests.as_mut());
    if let Some(requests) = requests {
        requests.insert(STORAGE.to_owned(), size.clone());
    }
}

/// Gives `desired` the class and the access modes that are stored; says of `what` which others were wanted. Where no class is wanted any
/// will do: what is stored is asked for then, whether it was asked for before or is the default that the API server put in.
fn keep_fixed(
    what: &str,
    desired: &mut PersistentVolumeClaimSpec,
    stored: &PersistentVolumeClaimSpec,
    sizes: &mut Sizes,
) {
    let (has, wanted) = (&stored.storage_class_name, &desired.storage_class_name);
    if let Some(wanted) = wanted.as_ref().filter(|_| has != wanted) {
        let has =
            has.as_ref().map_or_else(|| "the default storage class".to_owned(), |has| format!("storage class '{has}'"));
        sizes.kept.push(format!("{what} keeps {has}: '{wanted}' cannot be given to it"));
    }
    desired.storage_class_name.clone_from(has);
    if stored.access_modes.is_some() && desired.access_modes != stored.access_modes {
        let modes = |spec: &PersistentVolumeClaimSpec| spec.access_modes.as_deref().unwrap_or_default().join(", ");
        let (has, wanted) = (modes(stored), modes(desired));
        sizes.kept.push(format!("{what} keeps the access modes {has}: {wanted} cannot be given to it"));
        desired.access_modes.clone_from(&stored.access_modes);
    }
}

/// Gives a claim that is to be applied what the stored one has and cannot be changed, and its size; says the size that was wanted.
pub fn keep(
    desired: &mut PersistentVolumeClaim,
    stored: Option<&PersistentVolumeClaim>,
    sizes: &mut Sizes,
) -> Option<Quantity> {
    let what = format!("volume claim {}", desired.name_any());
    if let Some((stored, desired)) = stored.and_then(|claim| Some((claim.spec.as_ref()?, desired.spec.as_mut()?))) {
        keep_fixed(&what, desired, stored, sizes);
    }
    keep_size(desired, stored)
}

fn keep_size(desired: &mut PersistentVolumeClaim, stored: Option<&PersistentVolumeClaim>) -> Option<Quantity> {
    let wanted = asked(desired.spec.as_ref()).cloned();
    if let Some(size) = stored.and_then(|stored| asked(stored.spec.as_ref())) {
        ask(desired.spec.as_mut(), size);
    }
    wanted
}

/// The same for the claim templates of a StatefulSet; says the name and the wanted size of each.
pub fn keep_templates(
    desired: &mut StatefulSet,
    stored: Option<&StatefulSet>,
    sizes: &mut Sizes,
) -> Vec<(String, Quantity)> {
    let set = desired.name_any();
    let stored = stored.and_then(|set| set.spec.volume_claim_templates.as_ref());
    let mut wanted = Vec::new();
    for template in desired.spec.volume_claim_templates.iter_mut().flatten() {
        let name = template.name_any();
        let same = stored.into_iter().flatten().find(|stored| stored.name_any() == name);
        if let Some((stored, desired)) = same.and_then(|same| Some((same.spec.as_ref()?, template.spec.as_mut()?))) {
            keep_fixed(&format!("volume claim template {name} of {set}"), desired, stored, sizes);
        }
        if let Some(size) = keep_size(template, same) {
            wanted.push((name, size));
        }
    }
    wanted
}

/// The claims of the pods that a StatefulSet is to have, of those in a cache, with the size that each is to have.
pub fn of_set(
    claims: &Store<PersistentVolumeClaim>,
    set: &StatefulSet,
    templates: &[(String, Quantity)],
) -> Vec<(Arc<PersistentVolumeClaim>, Quantity)> {
    let namespace = set.namespace().unwrap_or_default();
    let name = set.name_any();
    let claim =
        |template: &str, n: i32| claims.get(&ObjectKey::new(namespace.clone(), format!("{template}-{name}-{n}")));
    let replicas = set.spec.replicas.unwrap_or(1);
    let found = templates
        .iter()
        .flat_map(|(template, size)| (0..replicas).filter_map(move |n| Some((claim(template, n)?, size.clone()))));
    found.collect()
}

impl Tools {
    /// Lets a claim ask for the size that is wanted, and notes how it stands.
    pub async fn grow<P: Written>(
        &self,
        pass: &mut Pass<P>,
        claim: &PersistentVolumeClaim,
        wanted: &Quantity,
        sizes: &mut Sizes,
    ) -> Result<(), Error> {
        let name = claim.name_any();
        let Some(has) = asked(claim.spec.as_ref()) else { return Ok(()) };
        // What is no size was refused when it was asked for.
        let (Some(more), Some(less)) = (thousandths(wanted), thousandths(has)) else { return Ok(()) };
        let (wanted, has) = (&wanted.0, &has.0);
        if more < less {
            sizes.refused.push(format!("volume claim {name} has {has} and cannot shrink to {wanted}"));
            return Ok(());
        }
        let status = claim.status.as_ref();
        if more == less {
            let capacity = status.and_then(|status| thousandths(status.capacity.as_ref()?.get(STORAGE)?));
            if capacity.is_some_and(|capacity| capacity < more) {
                sizes.growing.push(format!("the volume of claim {name} grows to {wanted}"));
            }
            return Ok(());
        }
        if status.and_then(|status| status.phase.as_deref()) != Some("Bound") {
            // When it is bound, this reconcile comes again.
            sizes.growing.push(format!("volume claim {name} grows to {wanted} when it is bound"));
            return Ok(());
        }
        let body = json!({ "spec": { "resources": { "requests": { STORAGE: wanted } } } });
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.api::<PersistentVolumeClaim>(claim).patch(&name, &parameters, &Patch::Merge(&body)).await {
            Ok(stored) => {
                pass.changed = true;
                self.recent.remember(stored);
                sizes.growing.push(format!("the volume of claim {name} grows to {wanted}"));
                let message = format!("Expanding volume claim {name} from {has} to {wanted}");
                self.events.normal(&*pass.object, "PVCExpanded", message);
                Ok(())
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 422) => {
                sizes.try_again = true;
                let why = &status.message;
                sizes.refused.push(format!("volume claim {name} cannot grow from {has} to {wanted}: {why}"));
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(source) => Err(kube_error::<PersistentVolumeClaim>("grow", &name, source)),
        }
    }

    /// Says in an event what is refused, once as long as it stays the same.
    pub fn tell_refused<P: Written>(
        &self,
        pass: &Pass<P>,
        present: &[Condition],
        condition: Option<&Condition>,
        sizes: &Sizes,
    ) {
        let Some(refused) = condition.filter(|condition| condition.reason == REFUSED) else { return };
        if phase::find(present, CONDITION).is_none_or(|known| known.message != refused.message) {
            let reason = if sizes.refused.is_empty() { "VolumeChangeRefused" } else { "ExpandPVCFailed" };
            self.events.warning(&*pass.object, reason, refused.message.clone());
        }
    }
}

/// Whether a change of a claim is one that sizes follow from: it was bound, or what it asks for or has is another.
pub fn matters(change: &Change<PersistentVolumeClaim>) -> bool {
    type Seen<'a> = (Option<&'a Quantity>, Option<&'a Quantity>);
    fn seen(claim: &PersistentVolumeClaim) -> Seen<'_> {
        let capacity = claim.status.as_ref().and_then(|status| status.capacity.as_ref()?.get(STORAGE));
        (asked(claim.spec.as_ref()), capacity)
    }
    match (&change.old, &change.new) {
        (Some(old), Some(new)) => {
            let (before, after) = (seen(old), seen(new));
            // A claim that gets what it asked for when it is bound is as everybody expects.
            let as_made = before.1.is_none() && before.0 == after.0 && after.0 == after.1;
            before != after && !as_made
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;
    use crate::controllers::tests::tools;
    use crate::resources::{pool, test_objects};

    fn claim(asked: &str, has: Option<&str>) -> PersistentVolumeClaim {
        let status = has.map_or_else(
            || json!({ "phase": "Pending" }),
            |has| json!({ "phase": "Bound", "capacity": { STORAGE: has } }),
        );
        claim_of(asked, &status)
    }

    fn claim_of(asked: &str, status: &Value) -> PersistentVolumeClaim {
        serde_json::from_value(json!({
            "metadata": { "name": "data-0", "namespace": "default" },
            "spec": { "resources": { "requests": { STORAGE: asked } } },
            "status": status,
        }))
        .unwrap()
    }

    async fn sizes(claim: &PersistentVolumeClaim, wanted: &str) -> Sizes {
        let mut pass = Pass::of(test_objects::shard());
        let mut sizes = Sizes::default();
        tools().grow(&mut pass, claim, &Quantity(wanted.to_owned()), &mut sizes).await.unwrap();
        sizes
    }

    #[tokio::test]
    async fn a_claim_is_told_to_grow_only_when_it_is_bound_and_asks_for_less() {
        assert_eq!(sizes(&claim("1Gi", Some("1Gi")), "1024Mi").await, Sizes::default());
        let larger = ["the volume of claim data-0 grows to 2Gi".to_owned()];
        assert_eq!(sizes(&claim("2Gi", Some("1Gi")), "2Gi").await.growing, larger);
        let waits = ["volume claim data-0 grows to 2Gi when it is bound".to_owned()];
        assert_eq!(sizes(&claim("1Gi", None), "2Gi").await.growing, waits);
        let shrinks = sizes(&claim("2Gi", Some("2Gi")), "1Gi").await;
        assert_eq!(shrinks.refused, ["volume claim data-0 has 2Gi and cannot shrink to 1Gi"]);
        assert_eq!(shrinks.action(Action::Done), Action::Done, "nobody but the user can change that");
    }

    #[test]
    fn the_condition_comes_with_the_first_trouble_and_stays() {
        let good = Sizes::default();
        assert_eq!(good.condition(&[], Some(1)), None);
        let refused = |names: &[&str]| names.iter().map(|name| format!("{name} cannot grow")).collect::<Vec<_>>();
        let bad = Sizes { refused: refused(&["a", "b", "c", "d"]), try_again: true, ..Sizes::default() };
        let condition = bad.condition(&[], Some(1)).unwrap();
        assert_eq!(
            (condition.status.as_str(), condition.reason.as_str(), condition.message.as_str()),
            ("False", "Refused", "a cannot grow; b cannot grow; and 2 more")
        );
        assert_eq!(bad.action(Action::Done), Action::RequeueAfter(REFUSED_RETRY));
        let soon = Action::RequeueAfter(Duration::from_secs(5));
        assert_eq!(bad.action(soon), soon);
        let again = good.condition(&[condition], Some(2)).unwrap();
        assert_eq!((again.status.as_str(), again.reason.as_str()), ("True", "AsAsked"));
    }

    #[test]
    fn a_set_keeps_the_size_that_it_was_made_with() {
        let mut shard = test_objects::shard();
        let set = |shard: &crate::api::Shard| pool::all(shard).unwrap()[0].stateful_set(&BTreeMap::new()).unwrap();
        let stored = set(&shard);
        for pool in shard.spec.pools.values_mut() {
            pool.storage.get_or_insert_default().size = Some("7Gi".to_owned());
        }
        let mut desired = set(&shard);
        let wanted = keep_templates(&mut desired, Some(&stored), &mut Sizes::default());
        assert_eq!(wanted, [("pgdata".to_owned(), Quantity("7Gi".to_owned()))]);
        assert_eq!(desired.spec.volume_claim_templates, stored.spec.volume_claim_templates);
        let mut new = set(&shard);
        keep_templates(&mut new, None, &mut Sizes::default());
        assert_ne!(new.spec.volume_claim_templates, stored.spec.volume_claim_templates);
    }

    #[test]
    fn a_set_keeps_the_class_and_the_access_modes_that_it_was_made_with() {
        let mut shard = test_objects::shard();
        let set = |shard: &crate::api::Shard| pool::all(shard).unwrap()[0].stateful_set(&BTreeMap::new()).unwrap();
        let stored = set(&shard);
        for pool in shard.spec.pools.values_mut() {
            let storage = pool.storage.get_or_insert_default();
            storage.class = Some("fast".to_owned());
            storage.access_modes = vec!["ReadWriteMany".to_owned()];
        }
        let (mut desired, mut sizes) = (set(&shard), Sizes::default());
        keep_templates(&mut desired, Some(&stored), &mut sizes);
        assert_eq!(desired.spec.volume_claim_templates, stored.spec.volume_claim_templates);
        let what = format!("volume claim template pgdata of {}", stored.name_any());
        let kept = [
            format!("{what} keeps the default storage class: 'fast' cannot be given to it"),
            format!("{what} keeps the access modes ReadWriteOnce: ReadWriteMany cannot be given to it"),
        ];
        assert_eq!(sizes.kept, kept);
        let condition = sizes.condition(&[], Some(1)).unwrap();
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "Refused"));
        assert_eq!(sizes.action(Action::Done), Action::Done);
        // And the other way round.
        let stored = set(&shard);
        let mut desired = set(&test_objects::shard());
        keep_templates(&mut desired, Some(&stored), &mut Sizes::default());
        assert_eq!(desired.spec.volume_claim_templates, stored.spec.volume_claim_templates);
    }

    #[test]
    fn a_claim_keeps_its_class_whatever_is_wanted() {
        let claim = |class: Option<&str>| -> PersistentVolumeClaim {
            serde_json::from_value(json!({
                "metadata": { "name": "backup" },
                "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": class },
            }))
            .unwrap()
        };
        let kept = |wanted: Option<&str>| {
            let (mut desired, mut sizes) = (claim(wanted), Sizes::default());
            keep(&mut desired, Some(&claim(Some("slow"))), &mut sizes);
            (desired.spec.unwrap().storage_class_name, sizes.kept.len())
        };
        let slow = Some("slow".to_owned());
        assert_eq!(kept(None), (slow.clone(), 0), "any class will do");
        assert_eq!(kept(Some("fast")), (slow.clone(), 1));
        assert_eq!(kept(Some("slow")), (slow, 0));
    }

    #[test]
    fn only_a_change_of_size_matters() {
        let change = |old: &PersistentVolumeClaim, new: &PersistentVolumeClaim| {
            let key = ObjectKey::new("default", "data-0");
            matters(&Change { key, old: Some(Arc::new(old.clone())), new: Some(Arc::new(new.clone())) })
        };
        let (pending, bound) = (claim("1Gi", None), claim("1Gi", Some("1Gi")));
        assert!(!change(&pending, &bound), "it has what it asked for");
        assert!(change(&pending, &claim("1Gi", Some("5Gi"))));
        assert!(change(&bound, &claim("2Gi", Some("1Gi"))));
        assert!(change(&claim("2Gi", Some("1Gi")), &claim("2Gi", Some("2Gi"))));
        assert!(!change(&bound, &bound));
    }
}
