//! Events of the cluster's own components, correlated as client-go's recorder does.
//!
//! The same event again raises the count of the first; more than [`SIMILAR_MAX`] events that differ only in their text
//! within [`SIMILAR_WINDOW`] become one "(combined from similar events)"; what one component says of one object is limited
//! to [`SPAM_BURST`] at once and one more each [`SPAM_REFILL`]. The scheduler writes the newer form (`eventTime`, `action`,
//! `series`), everybody else the older (`firstTimestamp`, `count`).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use serde_json::{Value, json};
use sim_clock::Timestamp;

use crate::{
    engine::{Engine, WriteOptions},
    json,
};

/// Events that differ only in their text before they are combined.
const SIMILAR_MAX: usize = 10;
/// How long such events count as similar to the first.
const SIMILAR_WINDOW: Duration = Duration::from_secs(600);
/// Events a component may record about one object at once.
const SPAM_BURST: u64 = 25;
/// One more event each this long.
const SPAM_REFILL: Duration = Duration::from_secs(300);
/// Entries a recorder remembers of each kind, as client-go's caches.
const CACHE_ENTRIES_MAX: usize = 4096;

/// What is said of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said<'a> {
    /// Component, such as `kubelet`.
    pub component: &'a str,
    /// Node it speaks from, or empty.
    pub host: &'a str,
    /// Part of the object, such as `spec.containers{web}`, or empty.
    pub field_path: &'a str,
    /// `Normal` or `Warning`.
    pub kind: &'a str,
    /// The reason.
    pub reason: &'a str,
    /// The text.
    pub message: &'a str,
}

#[derive(Debug)]
struct Observed {
    name: String,
    namespace: String,
    first: Timestamp,
    count: u64,
}

#[derive(Debug)]
struct Similar {
    messages: BTreeSet<String>,
    last: Timestamp,
}

#[derive(Debug)]
struct Budget {
    left: u64,
    since: Timestamp,
}

/// A map that forgets its oldest entries beyond a limit.
#[derive(Debug)]
struct Cache<T> {
    entries: BTreeMap<String, T>,
    order: VecDeque<String>,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), order: VecDeque::new() }
    }
}

impl<T> Cache<T> {
    fn entry(&mut self, key: &str, make: impl FnOnce() -> T) -> &mut T {
        if !self.entries.contains_key(key) {
            if self.order.len() >= CACHE_ENTRIES_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.entries.remove(&oldest);
            }
            self.order.push_back(key.to_owned());
        }
        self.entries.entry(key.to_owned()).or_insert_with(make)
    }
}

/// Records events of one process of the cluster.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    observed: Cache<Observed>,
    similar: Cache<Similar>,
    budgets: Cache<Budget>,
    last_name: u64,
}

impl Recorder {
    /// Records an event about an object.
    pub(crate) fn record(&mut self, engine: &mut Engine, about: &Value, said: Said<'_>, now: Timestamp) {
        let namespace = json::namespace(about);
        let object = format!("{}/{}/{}", said.component, said.host, json::uid(about));
        let alike = format!("{object}/{}/{}/{}", said.field_path, said.kind, said.reason);
        let similar = self.similar.entry(&alike, || Similar { messages: BTreeSet::new(), last: now });
        if now.since(similar.last) > SIMILAR_WINDOW {
            similar.messages.clear();
        }
        similar.last = now;
        similar.messages.insert(said.message.to_owned());
        let (key, message) = if similar.messages.len() < SIMILAR_MAX {
            (format!("{alike}/{}", said.message), said.message.to_owned())
        } else {
            // One text is forgotten for each that came, so that the set stays at its limit.
            similar.messages.pop_first();
            (alike, format!("(combined from similar events): {}", said.message))
        };
        if !self.allowed(&object, now) {
            return;
        }
        let namespace = if namespace.is_empty() { "default" } else { namespace };
        let observed = self.observed.entry(&key, || Observed {
            name: String::new(),
            namespace: namespace.to_owned(),
            first: now,
            count: 0,
        });
        if observed.count > 0 && raise(engine, observed, said, &message, now) {
            observed.count += 1;
            return;
        }
        // Names carry the time; two events of one instant get neighbouring ones.
        self.last_name = u64::try_from(now.as_nanos()).unwrap_or_default().max(self.last_name + 1);
        observed.name = format!("{}.{:x}", json::name(about), self.last_name);
        (observed.first, observed.count) = (now, 1);
        let event = new_event(about, said, &observed.name, namespace, &message, now);
        // The namespace may be terminating: then nobody reads it.
        let _ = engine.create_object(event, &WriteOptions::by(said.component), now);
    }

    /// Whether a component may say yet another thing of an object.
    fn allowed(&mut self, object: &str, now: Timestamp) -> bool {
        let budget = self.budgets.entry(object, || Budget { left: SPAM_BURST, since: now });
        let refilled = now.since(budget.since).as_secs() / SPAM_REFILL.as_secs();
        if refilled > 0 {
            budget.left = (budget.left + refilled).min(SPAM_BURST);
            budget.since = now;
        }
        let allowed = budget.left > 0;
        budget.left -= u64::from(allowed);
        allowed
    }
}

/// Whether this component writes the events.k8s.io form.
fn newer(component: &str) -> bool {
    component == "default-scheduler"
}

fn raise(engine: &mut Engine, observed: &Observed, said: Said<'_>, message: &str, now: Timestamp) -> bool {
    let Some(known) = engine.peek("events", &observed.namespace, &observed.name) else { return false };
    let mut next = known.to_content();
    if newer(said.component) {
        next["series"] = json!({"count": observed.count + 1, "lastObservedTime": now.rfc3339_micros()});
    } else {
        next["count"] = (observed.count + 1).into();
        next["lastTimestamp"] = now.rfc3339().into();
        next["message"] = message.into();
    }
    let Ok(target) = engine.target_of(&next) else { return false };
    engine.update(&target, next, &WriteOptions::by(said.component), now).is_ok()
}

fn new_event(about: &Value, said: Said<'_>, name: &str, namespace: &str, message: &str, now: Timestamp) -> Value {
    let mut involved = json!({"kind": about["kind"], "name": json::name(about), "uid": json::uid(about),
        "apiVersion": about["apiVersion"], "resourceVersion": about["metadata"]["resourceVersion"]});
    for (field, value) in [("namespace", json::namespace(about)), ("fieldPath", said.field_path)] {
        if !value.is_empty() {
            involved[field] = value.into();
        }
    }
    let mut event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": namespace},
        "involvedObject": involved, "reason": said.reason, "message": message, "type": said.kind, "reportingComponent": said.component});
    if newer(said.component) {
        event["source"] = json!({});
        event["eventTime"] = now.rfc3339_micros().into();
        event["action"] = if said.reason == "Preempted" { "Preempting" } else { "Scheduling" }.into();
        if said.reason == "Scheduled" {
            event["action"] = "Binding".into();
        }
        event["reportingInstance"] = format!("{}-control-plane", said.component).into();
        return event;
    }
    let mut source = json!({"component": said.component});
    if !said.host.is_empty() {
        source["host"] = said.host.into();
    }
    event["source"] = source;
    event["reportingInstance"] = said.host.into();
    event["firstTimestamp"] = now.rfc3339().into();
    event["lastTimestamp"] = now.rfc3339().into();
    event["count"] = 1.into();
    event
}

#[cfg(test)]
mod tests {
    use sim_clock::Chance;

    use super::*;
    use crate::engine::Object;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn world() -> (Engine, Object) {
        let mut engine = Engine::new(Chance::new(1, "test"), NOW);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let pod = engine.create_object(pod, &WriteOptions::by("test"), NOW).expect("a good pod").object;
        (engine, pod)
    }

    fn said(message: &str) -> Said<'_> {
        Said { component: "kubelet", host: "node-0", field_path: "", kind: "Warning", reason: "BackOff", message }
    }

    fn all(engine: &Engine) -> Vec<(String, i64)> {
        engine
            .scan("events", None)
            .map(|e| (json::text(e, &["message"]).to_owned(), json::int(e, &["count"]).unwrap_or(0)))
            .collect()
    }

    #[test]
    fn the_same_event_again_raises_a_count_and_others_are_combined() {
        let (mut engine, pod) = world();
        let mut recorder = Recorder::default();
        for second in 0..3 {
            recorder.record(&mut engine, &pod, said("a"), NOW + Duration::from_secs(second));
        }
        assert_eq!(all(&engine), [("a".to_owned(), 3)]);
        let event = engine.scan("events", None).next().expect("an event").clone();
        assert_eq!(
            (&event["firstTimestamp"], &event["lastTimestamp"]),
            (&json!("2023-11-14T22:13:20Z"), &json!("2023-11-14T22:13:22Z"))
        );
        for i in 0..12 {
            recorder.record(&mut engine, &pod, said(&format!("b{i}")), NOW + Duration::from_secs(5));
        }
        let seen = all(&engine);
        assert_eq!(seen.len(), 10, "{seen:?}");
        assert_eq!(seen[9], ("(combined from similar events): b11".to_owned(), 4));
    }

    #[test]
    fn a_component_that_says_too_much_of_one_object_is_not_heard() {
        let (mut engine, pod) = world();
        let mut recorder = Recorder::default();
        for second in 0..40 {
            recorder.record(&mut engine, &pod, said("a"), NOW + Duration::from_secs(second));
        }
        assert_eq!(all(&engine), [("a".to_owned(), 25)]);
        recorder.record(&mut engine, &pod, said("a"), NOW + Duration::from_secs(340));
        assert_eq!(all(&engine), [("a".to_owned(), 26)]);
    }

    #[test]
    fn the_scheduler_writes_the_newer_form() {
        let (mut engine, pod) = world();
        let mut recorder = Recorder::default();
        for _ in 0..2 {
            let said = Said {
                component: "default-scheduler",
                host: "",
                field_path: "",
                kind: "Normal",
                reason: "Scheduled",
                message: "m",
            };
            recorder.record(&mut engine, &pod, said, NOW);
        }
        let event = engine.scan("events", None).next().expect("an event").clone();
        assert_eq!(
            (&event["action"], &event["eventTime"], &event["series"]["count"]),
            (&json!("Binding"), &json!("2023-11-14T22:13:20.000000Z"), &json!(2))
        );
        assert!(event.get("count").is_none() && event.get("firstTimestamp").is_none());
    }
}
