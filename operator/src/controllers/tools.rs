//! What all controllers share: writing children and statuses, the events about it, and the trace that goes along.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::core::object::HasSpec;
use kube::{Api, Client, Resource, ResourceExt};
use opentelemetry::trace::SpanContext;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::Error;
use super::recent::{AppliedDigest, Recent};
use crate::host::system_time;
use crate::labels;
use crate::observability::{
    EventRecorder, Metrics, TraceOrigin, attribute, current_span_context, propagation, set_attribute,
};
use crate::runtime::{ObjectKey, Store};

/// Field manager of everything but the `Registered` condition.
pub const FIELD_MANAGER: &str = labels::OPERATOR;
/// Field manager of the `Registered` condition: the registrar and the controller of an object write one status between them.
pub const TOPOLOGY_FIELD_MANAGER: &str = "multigres-operator-topology";

/// An object that can be read from and written to the API server.
pub trait Written:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Serialize
    + DeserializeOwned
    + Clone
    + Debug
    + Send
    + Sync
    + 'static
{
}
impl<K> Written for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug
        + Send
        + Sync
        + 'static
{
}

/// What a controller works with.
#[derive(Clone)]
pub struct Tools {
    /// The API server.
    pub client: Client,
    /// The metric families.
    pub metrics: Metrics,
    /// Events of this controller.
    pub events: EventRecorder,
    /// The operator's own environment.
    pub operator_env: Arc<BTreeMap<String, String>>,
    /// What all controllers wrote lately.
    pub recent: Recent,
}

/// One reconcile of one object: who it is about, what changed so far, and the span that children's traces hang on.
pub struct Pass<K> {
    /// The object.
    pub object: Arc<K>,
    /// Whether this reconcile changed anything.
    pub changed: bool,
    /// Whether the object was asked for anew, and is as it is known here.
    is_latest: bool,
    pub(super) root: Option<SpanContext>,
}

impl<K: Written> Pass<K> {
    /// Begins a reconcile: looks the object up and describes it on the root span. Nothing when it is gone.
    pub fn begin(tools: &Tools, store: &Store<K>, key: &ObjectKey) -> Option<Self> {
        let object = tools.recent.newest_present(store, key);
        set_attribute("cr.found", object.is_some());
        let object = object?;
        set_attribute("cr.uid", object.uid().unwrap_or_default());
        set_attribute("cr.generation", object.meta().generation.unwrap_or_default());
        Some(Self::of_known(object))
    }

    /// A reconcile of this object, below the current span.
    #[cfg(test)]
    pub(super) fn of(object: K) -> Self {
        Self::of_known(Arc::new(object))
    }

    fn of_known(object: Arc<K>) -> Self {
        Self { object, changed: false, is_latest: false, root: current_span_context() }
    }

    /// Whether the object is on its way out.
    pub fn is_deleting(&self) -> bool {
        self.object.meta().deletion_timestamp.is_some()
    }

    /// The object's namespace.
    pub fn namespace(&self) -> String {
        self.object.namespace().unwrap_or_default()
    }
}

/// What a server-side apply did, from the least on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Applied {
    Unchanged,
    Terminating,
    Configured,
    Created,
}

impl Applied {
    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
            Self::Terminating => "terminating",
        }
    }

    /// Says it on the span of the step. A step that applies several objects says the most that was done to one of them
    /// (`apply.result`), how many there were (`apply.count`), and to how many of them something was done (`apply.changed`).
    fn record(self) {
        let all = [Self::Unchanged, Self::Terminating, Self::Configured, Self::Created];
        let is_change = |applied: Self| applied >= Self::Configured;
        let before =
            attribute("apply.result").and_then(|told| all.into_iter().find(|one| told.as_str() == one.as_str()));
        let Some(before) = before else { return set_attribute("apply.result", self.as_str()) };
        let number = |key: &str, first: i64| match attribute(key) {
            Some(opentelemetry::Value::I64(number)) => number,
            _ => first,
        };
        let changed = number("apply.changed", i64::from(is_change(before))) + i64::from(is_change(self));
        set_attribute("apply.count", number("apply.count", 1) + 1);
        set_attribute("apply.changed", changed);
        set_attribute("apply.result", self.max(before).as_str());
    }
}

impl Tools {
    /// Applies a child of the object. If that changed anything, says so in an event: `Applied <noun> <name>`; without a noun silently.
    /// An apply that would repeat the last one on an object that is as that one left it is not sent.
    pub async fn apply<P, K>(
        &self,
        pass: &mut Pass<P>,
        cache: &Store<K>,
        desired: &K,
        noun: Option<&str>,
    ) -> Result<K, Error>
    where
        P: Written,
        K: Written,
    {
        let name = desired.name_any();
        let key = ObjectKey::of(desired);
        let known = self.recent.newest(cache, &key);
        let asked = digest(&to_json::<K>(&name, desired)?);
        if let (Some(cached), Some(known)) = (cache.get(&key), &known) {
            // What goes is not written to; when it is gone, this reconcile comes again and creates it anew.
            if cached.meta().deletion_timestamp.is_some() {
                Applied::Terminating.record();
                return Ok(cached.as_ref().clone());
            }
            let stored = digest(&substance(known.as_ref())?);
            if self.recent.is_applied::<K>(&key, AppliedDigest { desired: asked, stored }) {
                Applied::Unchanged.record();
                return Ok(known.as_ref().clone());
            }
        }
        let api: Api<K> = self.api(desired);
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let stored = api
            .patch(&name, &parameters, &Patch::Apply(desired))
            .await
            .map_err(|source| of_component(kube_error::<K>("apply", &name, source), desired))?;
        let left = substance(&stored)?;
        self.recent.applied::<K>(&key, AppliedDigest { desired: asked, stored: digest(&left) });
        let applied = match &known {
            Some(known) if known.uid() != stored.uid() => Applied::Created,
            Some(known) if substance(known.as_ref())? == left => Applied::Unchanged,
            Some(_) => Applied::Configured,
            None => Applied::Created,
        };
        applied.record();
        if applied != Applied::Unchanged {
            pass.changed = true;
            self.recent.remember(stored.clone());
            if let Some(noun) = noun {
                self.events.normal(&*pass.object, "Applied", format!("Applied {noun} {name}"));
            }
        }
        Ok(stored)
    }

    /// Applies a custom resource that another controller works on. When its specification changes, it carries the trace of this
    /// reconcile; otherwise it keeps the one that it carries.
    pub async fn apply_traced<P, K>(
        &self,
        pass: &mut Pass<P>,
        cache: &Store<K>,
        mut desired: K,
        noun: &str,
    ) -> Result<K, Error>
    where
        P: Written,
        K: Written + HasSpec,
        K::Spec: PartialEq,
    {
        let known = self.recent.newest(cache, &ObjectKey::of(&desired));
        let carried = match &known {
            Some(known) if known.spec() == desired.spec() => trace_annotations(known.annotations()),
            _ => propagation::child_annotations(pass.object.annotations(), pass.root.as_ref(), system_time()),
        };
        desired.annotations_mut().extend(carried);
        self.apply(pass, cache, &desired, Some(noun)).await
    }

    /// Deletes a child that nothing asks for any more. Caches of different kinds are not as of the same moment: the child may be one that a
    /// newer generation asks for, of which another operator knew already.
    pub async fn delete_orphan<P, K>(&self, pass: &mut Pass<P>, orphan: &K) -> Result<(), Error>
    where
        P: Written,
        K: Written,
    {
        if orphan.meta().deletion_timestamp.is_some() {
            return Ok(());
        }
        self.ensure_latest(pass).await?;
        if self.delete(pass, orphan).await? {
            let (kind, name) = (K::kind(&()), orphan.name_any());
            self.events.normal(&*pass.object, "Deleted", format!("Deleted orphaned {kind} {name}"));
        }
        Ok(())
    }

    /// Asks the API server whether the object of this reconcile still is the one that is known here, in the same generation.
    async fn ensure_latest<P: Written>(&self, pass: &mut Pass<P>) -> Result<(), Error> {
        if pass.is_latest {
            return Ok(());
        }
        let name = pass.object.name_any();
        let this_one = ListParams::default().fields(&format!("metadata.name={name}"));
        let listed = self.api::<P>(&*pass.object).list(&this_one).await;
        let listed = listed.map_err(|source| kube_error::<P>("list", &name, source))?;
        let known = pass.object.meta();
        pass.is_latest = listed.items.iter().any(|present| {
            let present = present.meta();
            (&present.uid, present.generation) == (&known.uid, known.generation)
        });
        if pass.is_latest { Ok(()) } else { Err(Error::Outdated { kind: P::kind(&()).into_owned(), name }) }
    }

    /// Deletes this very object (not one that took its name since), unless it goes already. Says whether it did.
    pub async fn delete<P, K>(&self, pass: &mut Pass<P>, object: &K) -> Result<bool, Error>
    where
        P: Written,
        K: Written,
    {
        if object.meta().deletion_timestamp.is_some() {
            return Ok(false);
        }
        let name = object.name_any();
        let preconditions = Preconditions { uid: object.uid(), resource_version: None };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        match self.api::<K>(object).delete(&name, &parameters).await {
            Ok(_) => {
                pass.changed = true;
                Ok(true)
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(source) => Err(of_component(kube_error::<K>("delete", &name, source), object)),
        }
    }

    /// Deletes the children of this reconcile's object that are not among the wanted ones, of those that it controls.
    pub async fn prune<P, K>(
        &self,
        pass: &mut Pass<P>,
        cache: &Store<K>,
        wanted: &BTreeSet<String>,
    ) -> Result<Vec<Arc<K>>, Error>
    where
        P: Written,
        K: Written,
    {
        let owned = cache.controlled_by(&pass.object.uid().unwrap_or_default());
        let mut pruned = Vec::new();
        for child in owned {
            if child.meta().deletion_timestamp.is_none() && !wanted.contains(&child.name_any()) {
                self.delete_orphan(pass, child.as_ref()).await?;
                pruned.push(child);
            }
        }
        Ok(pruned)
    }

    /// Deletes all children of a kind that this reconcile's object controls: it goes, and they shall go before it.
    pub async fn delete_all<P, K>(&self, pass: &mut Pass<P>, cache: &Store<K>) -> Result<(), Error>
    where
        P: Written,
        K: Written,
    {
        for child in cache.controlled_by(&pass.object.uid().unwrap_or_default()) {
            self.delete(pass, child.as_ref()).await?;
        }
        Ok(())
    }

    /// Writes the status if it differs from the present one, in the fields and conditions that `desired` has. Says whether it did.
    pub async fn write_status<K: Written>(
        &self,
        object: &K,
        present: Option<&impl Serialize>,
        desired: &impl Serialize,
        manager: &str,
    ) -> Result<bool, Error> {
        let name = object.name_any();
        let desired = to_json::<K>(&name, desired)?;
        let present = present.map(|present| to_json::<K>(&name, present)).transpose()?;
        if present.is_some_and(|present| says_the_same(&present, &desired)) {
            return Ok(false);
        }
        let body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": { "name": name, "namespace": object.namespace() },
            "status": desired,
        });
        let parameters = PatchParams::apply(manager).force();
        let stored = self
            .api::<K>(object)
            .patch_status(&name, &parameters, &Patch::Apply(&body))
            .await
            .map_err(|source| kube_error::<K>("update status of", &name, source))?;
        self.recent.remember(stored);
        Ok(true)
    }

    /// Ends a reconcile that succeeded: `Synced` if it changed something or is the first one for this generation.
    pub fn synced<P: Written>(&self, pass: &Pass<P>, new_generation: bool, message: &str) {
        if pass.changed || new_generation {
            self.events.normal(&*pass.object, "Synced", message);
        }
    }

    /// Hands an error on, with a Warning about it.
    pub fn warned<P: Written>(&self, pass: &Pass<P>, reason: &str, what: &str) -> impl Fn(Error) -> Error {
        let (events, object) = (self.events.clone(), pass.object.clone());
        let (reason, what) = (reason.to_owned(), what.to_owned());
        move |error| {
            events.warning(&*object, &reason, format!("{what}: {error}"));
            error
        }
    }

    /// Says that the phase changed.
    pub fn phase_changed<P: Written>(
        &self,
        pass: &mut Pass<P>,
        from: Option<crate::api::common::Phase>,
        to: crate::api::common::Phase,
    ) {
        if from != Some(to) {
            pass.changed = true;
            let from = from.map_or("", |phase| phase.as_str());
            self.events.normal(&*pass.object, "PhaseChange", format!("Transitioned from '{from}' to '{to}'"));
        }
    }

    pub(super) fn api<K: Written>(&self, object: &K) -> Api<K> {
        Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default())
    }
}

/// Where the reconcile of `object` hangs: in the trace of the change that it carries while that is fresh and this controller has not
/// done with it; afterwards in a trace of its own that is linked to it.
pub fn origin<K: Resource>(object: Option<&K>, completed: bool) -> TraceOrigin {
    let Some(object) = object else { return TraceOrigin::Root };
    if completed {
        return propagation::remote(object.annotations()).map_or(TraceOrigin::Root, TraceOrigin::Link);
    }
    propagation::origin(object.annotations(), system_time())
}

/// The present time.
pub fn now() -> Timestamp {
    Timestamp::now()
}

fn trace_annotations(annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let keys = [
        propagation::TRACEPARENT_ANNOTATION,
        propagation::TRACESTATE_ANNOTATION,
        propagation::TRACEPARENT_TIME_ANNOTATION,
    ];
    keys.into_iter().filter_map(|key| Some((key.to_owned(), annotations.get(key)?.clone()))).collect()
}

pub(super) fn kube_error<K: Resource<DynamicType = ()>>(verb: &'static str, name: &str, source: kube::Error) -> Error {
    Error::Kube { verb, kind: K::kind(&()).into_owned(), name: name.to_owned(), source: Box::new(source) }
}

/// An error about a child, which says by its label what it is a component of.
fn of_component<K: Resource>(error: Error, child: &K) -> Error {
    match child.labels().get(labels::COMPONENT) {
        Some(component) => error.of(component),
        None => error,
    }
}

fn to_json<K: Resource<DynamicType = ()>>(name: &str, value: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(value).map_err(|source| Error::Json {
        kind: K::kind(&()).into_owned(),
        name: name.to_owned(),
        source,
    })
}

/// What the API server keeps about an object in its metadata.
const OF_THE_API_SERVER: [&str; 5] = ["resourceVersion", "managedFields", "generation", "creationTimestamp", "uid"];

/// An object without what the API server keeps about it and without its status. The status of a cached object may lag behind the one
/// that an apply answers with; only a difference in substance means that the apply changed something.
fn substance<K: Written>(object: &K) -> Result<Value, Error> {
    let mut value = to_json::<K>(&object.name_any(), object)?;
    // `retain` and not `remove`, which may bring the rest into another order: what is the same has to have the same digest.
    if let Some(map) = value.as_object_mut() {
        map.retain(|field, _| field != "status");
    }
    if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.retain(|field, _| !OF_THE_API_SERVER.contains(&field.as_str()));
    }
    Ok(value)
}

/// Enough of a value to know it again.
fn digest(value: &Value) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}

/// Whether `present` says everything that `desired` says. Conditions are compared by type: others write some of them.
fn says_the_same(present: &Value, desired: &Value) -> bool {
    let (Some(present), Some(desired)) = (present.as_object(), desired.as_object()) else { return present == desired };
    let is_field = |key: &str| key != "conditions";
    let fields_agree =
        desired.iter().filter(|(key, _)| is_field(key)).all(|(key, value)| present.get(key) == Some(value));
    let list = |status: &serde_json::Map<String, Value>| -> Vec<Value> {
        status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let conditions = list(present);
    fields_agree && list(desired).iter().all(|wanted| conditions.contains(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_the_same_whatever_others_wrote_into_it() {
        let desired = json!({ "phase": "Healthy", "conditions": [{ "type": "Ready", "status": "True" }] });
        let present = json!({
            "phase": "Healthy",
            "conditions": [{ "type": "Registered", "status": "True" }, { "type": "Ready", "status": "True" }],
        });
        assert!(says_the_same(&present, &desired));
        let turned = json!({ "phase": "Healthy", "conditions": [{ "type": "Ready", "status": "False" }] });
        assert!(!says_the_same(&present, &turned));
        assert!(!says_the_same(&json!({}), &desired));
    }

    #[test]
    fn only_a_difference_in_substance_is_a_change() {
        let mut one = crate::resources::test_objects::cell();
        let mut other = one.clone();
        other.metadata.resource_version = Some("7".into());
        other.status = Some(Default::default());
        other.metadata.managed_fields = Some(vec![Default::default()]);
        let [same, as_well] = [&one, &other].map(|cell| substance(cell).unwrap());
        assert_eq!((&same, digest(&same)), (&as_well, digest(&as_well)));
        one.spec.zone = Some("elsewhere".into());
        assert_ne!(substance(&one).unwrap(), substance(&other).unwrap());
    }

    #[test]
    fn a_generation_that_is_done_with_is_linked_and_not_joined() {
        let mut cell = crate::resources::test_objects::cell();
        assert_eq!(origin(Some(&cell), false), TraceOrigin::Root);
        let parent: propagation::TraceParent =
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
        let context = parent.span_context("");
        cell.annotations_mut().extend(propagation::annotations(&context, system_time()));
        assert_eq!(origin(Some(&cell), false), TraceOrigin::Child(context.clone()));
        assert_eq!(origin(Some(&cell), true), TraceOrigin::Link(context));
    }
}
