//! Kubernetes events (core/v1), recorded as client-go records them.
//!
//! - The same event again is not a second object: its count grows and its `lastTimestamp` moves (a patch).
//! - From the tenth different message of one (source, object, type, reason) within ten minutes on, messages are combined into one event.
//! - A token bucket (25 at once, one more every five minutes) limits what is sent. client-go has one bucket per source and object; ours is
//!   also per type and reason, so that the event of a recovery is never swallowed by the noise before it.
//!
//! [`Correlator`] decides, without I/O; [`EventRecorder`] is what controllers hold: recording puts into a bounded queue and never
//! waits; one task sends. A slow or absent API server costs events, never a reconcile.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::sync::mpsc;

use super::{export::with_sources, registry::Counter};

/// Events that wait to be sent; beyond it they are dropped.
pub const EVENT_QUEUE_EVENTS_MAX: usize = 1000;
/// Different messages of one kind of event before they are combined.
pub const SIMILAR_EVENTS_MAX: usize = 10;
/// Within this time similar events count together.
pub const SIMILAR_EVENTS_WINDOW: Duration = Duration::from_secs(600);
/// Events at once before the bucket is empty.
pub const SPAM_BURST: f64 = 25.0;
/// How long one more token takes.
pub const SPAM_REFILL: Duration = Duration::from_secs(300);
/// Events, groups and buckets that are remembered, each; the longest unused ones are forgotten.
pub const CORRELATION_ENTRIES_MAX: usize = 4096;
/// Names that are tried for one event.
const SEND_NAMES_MAX: u32 = 4;
/// How far the next name is from one that is taken: further than the recorder of the other one counts on in one instant.
const RENAME_NANOS: i128 = 1_000;
const SEND_ATTEMPTS_MAX: u32 = 12;
const SEND_PAUSE: Duration = Duration::from_secs(10);
const COMBINED_PREFIX: &str = "(combined from similar events): ";

/// Whether an event is good news.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventType {
    /// Something happened as it should.
    Normal,
    /// Something went wrong.
    Warning,
}

impl EventType {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// One thing to record.
#[derive(Clone, Debug)]
pub struct Record {
    /// Who says it: the source component.
    pub component: &'static str,
    /// What it is about.
    pub object: ObjectReference,
    /// Good or bad.
    pub event_type: EventType,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// What to do with a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Create this object.
    Create(Box<Event>),
    /// Patch the object that exists: count, message and `lastTimestamp` are those of the event (which is to be created if it is gone).
    Patch(Box<Event>),
    /// Send nothing: the bucket is empty.
    Skip,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct GroupKey {
    component: &'static str,
    kind: String,
    namespace: String,
    name: String,
    uid: String,
    api_version: String,
    event_type: EventType,
    reason: String,
}

#[derive(Clone, Debug)]
struct Group {
    messages: BTreeSet<String>,
    last: Timestamp,
}

#[derive(Clone, Debug)]
struct Seen {
    name: String,
    first: Timestamp,
    count: i32,
}

#[derive(Clone, Debug)]
struct Bucket {
    tokens: f64,
    filled: Timestamp,
}

/// A map that forgets its longest unused entry when it is full.
#[derive(Clone, Debug)]
struct Recent<K, V> {
    entries: BTreeMap<K, (u64, V)>,
    uses: BTreeMap<u64, K>,
    clock: u64,
}

impl<K: Ord + Clone, V> Recent<K, V> {
    fn new() -> Self {
        Self { entries: BTreeMap::new(), uses: BTreeMap::new(), clock: 0 }
    }

    fn entry(&mut self, key: &K, create: impl FnOnce() -> V) -> &mut V {
        self.clock += 1;
        if let Some((used, _)) = self.entries.get(key) {
            self.uses.remove(used);
        } else if self.entries.len() >= CORRELATION_ENTRIES_MAX
            && let Some((_, oldest)) = self.uses.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.uses.insert(self.clock, key.clone());
        let entry = self.entries.entry(key.clone()).or_insert_with(|| (0, create()));
        entry.0 = self.clock;
        &mut entry.1
    }
}

/// Decides what becomes of records. Pure: the time is that of the records.
#[derive(Clone, Debug)]
pub struct Correlator {
    groups: Recent<GroupKey, Group>,
    seen: Recent<(GroupKey, String), Seen>,
    buckets: Recent<GroupKey, Bucket>,
    last_name_nanos: i128,
}

impl Default for Correlator {
    fn default() -> Self {
        Self { groups: Recent::new(), seen: Recent::new(), buckets: Recent::new(), last_name_nanos: 0 }
    }
}

impl Correlator {
    /// Takes one record in.
    pub fn observe(&mut self, record: Record) -> Verdict {
        let group_key = GroupKey {
            component: record.component,
            kind: record.object.kind.clone().unwrap_or_default(),
            namespace: record.object.namespace.clone().unwrap_or_default(),
            name: record.object.name.clone().unwrap_or_default(),
            uid: record.object.uid.clone().unwrap_or_default(),
            api_version: record.object.api_version.clone().unwrap_or_default(),
            event_type: record.event_type,
            reason: record.reason.clone(),
        };
        let (message, seen_key) = self.combine(&group_key, &record);
        let name = self.name(&record);
        let seen = self.seen.entry(&(group_key.clone(), seen_key), || Seen { name, first: record.at, count: 0 });
        seen.count = seen.count.saturating_add(1);
        let repeated = seen.count > 1;
        let event = Box::new(event(&record, message, seen));
        if !self.pass(&group_key, record.at) {
            return Verdict::Skip;
        }
        if repeated { Verdict::Patch(event) } else { Verdict::Create(event) }
    }

    /// The message to send, and what it is recognised by.
    fn combine(&mut self, key: &GroupKey, record: &Record) -> (String, String) {
        let group = self.groups.entry(key, || Group { messages: BTreeSet::new(), last: record.at });
        if since(record.at, group.last) > SIMILAR_EVENTS_WINDOW {
            group.messages.clear();
        }
        group.last = record.at;
        group.messages.insert(record.message.clone());
        if group.messages.len() < SIMILAR_EVENTS_MAX {
            return (record.message.clone(), record.message.clone());
        }
        // Bounds the set: which message leaves it does not matter to the rule.
        group.messages.pop_first();
        (format!("{COMBINED_PREFIX}{}", record.message), COMBINED_PREFIX.to_owned())
    }

    /// `<object>.<hex nanoseconds>`, never the same twice even where several events happen in one instant.
    fn name(&mut self, record: &Record) -> String {
        let nanos = record.at.as_nanosecond().max(self.last_name_nanos + 1);
        self.last_name_nanos = nanos;
        let mut name = record.object.name.clone().unwrap_or_default();
        let _ = write!(name, ".{nanos:x}");
        name
    }

    /// Another name for an event whose own is taken: something else spoke of an object of this name in the same nanosecond.
    pub fn rename(&mut self, event: &mut Event) {
        let taken = event.metadata.name.take().unwrap_or_default();
        self.last_name_nanos += RENAME_NANOS;
        let object = event.involved_object.name.clone().unwrap_or_default();
        let name = format!("{object}.{:x}", self.last_name_nanos);
        for (_, seen) in self.seen.entries.values_mut().filter(|(_, seen)| seen.name == taken) {
            seen.name.clone_from(&name);
        }
        event.metadata.name = Some(name);
    }

    fn pass(&mut self, key: &GroupKey, now: Timestamp) -> bool {
        let bucket = self.buckets.entry(key, || Bucket { tokens: SPAM_BURST, filled: now });
        let refill = since(now, bucket.filled).as_secs_f64() / SPAM_REFILL.as_secs_f64();
        bucket.tokens = (bucket.tokens + refill).min(SPAM_BURST);
        bucket.filled = bucket.filled.max(now);
        let pass = bucket.tokens >= 1.0;
        if pass {
            bucket.tokens -= 1.0;
        }
        pass
    }
}

fn since(now: Timestamp, earlier: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(earlier)).unwrap_or_default()
}

fn event(record: &Record, message: String, seen: &Seen) -> Event {
    let namespace =
        record.object.namespace.clone().filter(|namespace| !namespace.is_empty()).unwrap_or_else(|| "default".into());
    Event {
        metadata: ObjectMeta { name: Some(seen.name.clone()), namespace: Some(namespace), ..ObjectMeta::default() },
        involved_object: record.object.clone(),
        type_: Some(record.event_type.as_str().to_owned()),
        reason: Some(record.reason.clone()),
        message: Some(message),
        source: Some(EventSource { component: Some(record.component.to_owned()), host: None }),
        reporting_component: Some(record.component.to_owned()),
        reporting_instance: Some(String::new()),
        count: Some(seen.count),
        first_timestamp: Some(Time(seen.first)),
        last_timestamp: Some(Time(record.at)),
        ..Event::default()
    }
}

/// What controllers hold: says what happened, at once and for good.
#[derive(Clone, Debug)]
pub struct EventRecorder {
    component: &'static str,
    queue: mpsc::Sender<Record>,
    outcomes: Counter,
}

impl EventRecorder {
    /// A recorder, and the task's future that sends what it records. The caller spawns it.
    pub fn new(client: Client, metrics: &super::Metrics) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, records) = mpsc::channel(EVENT_QUEUE_EVENTS_MAX);
        let outcomes = metrics.event_records.clone();
        let recorder = Self { component: "multigres-operator", queue, outcomes: outcomes.clone() };
        (recorder, send_all(client, records, outcomes))
    }

    /// A recorder whose records nobody reads: for tests of what records.
    pub fn unheard(metrics: &super::Metrics) -> Self {
        let (queue, _) = mpsc::channel(1);
        Self { component: "multigres-operator", queue, outcomes: metrics.event_records.clone() }
    }

    /// The recorder of one source component, e.g. `cell-controller`.
    pub fn for_component(&self, component: &'static str) -> Self {
        Self { component, ..self.clone() }
    }

    /// Records something that happened as it should.
    pub fn normal<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &str, message: impl Into<String>) {
        self.record(object, EventType::Normal, reason, message.into());
    }

    /// Records something that went wrong.
    pub fn warning<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &str, message: impl Into<String>) {
        self.record(object, EventType::Warning, reason, message.into());
    }

    fn record<K: Resource<DynamicType = ()>>(&self, object: &K, event_type: EventType, reason: &str, message: String) {
        let record = Record {
            component: self.component,
            object: ObjectReference {
                kind: Some(K::kind(&()).into_owned()),
                api_version: Some(K::api_version(&()).into_owned()),
                namespace: object.namespace(),
                name: Some(object.name_any()),
                uid: object.uid(),
                resource_version: object.resource_version(),
                ..ObjectReference::default()
            },
            event_type,
            reason: reason.to_owned(),
            message,
            at: Timestamp::now(),
        };
        if self.queue.try_send(record).is_err() {
            self.outcomes.inc(&["dropped_queue_full"]);
        }
    }
}

async fn send_all(client: Client, mut records: mpsc::Receiver<Record>, outcomes: Counter) {
    let mut correlator = Correlator::default();
    let mut failing = false;
    while let Some(record) = records.recv().await {
        let (mut event, exists) = match correlator.observe(record) {
            Verdict::Skip => {
                outcomes.inc(&["spam"]);
                continue;
            }
            Verdict::Create(event) => (event, false),
            Verdict::Patch(event) => (event, true),
        };
        let mut result = send_patiently(&client, &event, exists).await;
        for _ in 1..SEND_NAMES_MAX {
            if !matches!(&result, Err(kube::Error::Api(status)) if status.code == 409) {
                break;
            }
            correlator.rename(&mut event);
            result = send_patiently(&client, &event, false).await;
        }
        let outcome = match result {
            Ok(()) => {
                failing = false;
                if exists { "aggregated" } else { "sent" }
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(error = %with_sources(&error), "events cannot be sent");
                }
                "failed"
            }
        };
        outcomes.inc(&[outcome]);
    }
}

/// Tries again while the API server is away; what it refuses is not sent twice.
async fn send_patiently(client: &Client, event: &Event, mut exists: bool) -> Result<(), kube::Error> {
    let mut attempt = 1;
    loop {
        match send(client, event, exists).await {
            Ok(()) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 && exists => exists = false,
            // It was an earlier attempt of this one, whose answer was lost.
            Err(kube::Error::Api(status)) if status.code == 409 && attempt > 1 => return Ok(()),
            Err(error) => {
                let refused = matches!(&error, kube::Error::Api(status) if status.code < 500 && status.code != 429);
                if refused || attempt >= SEND_ATTEMPTS_MAX {
                    return Err(error);
                }
                tokio::time::sleep(SEND_PAUSE).await;
            }
        }
        attempt += 1;
    }
}

async fn send(client: &Client, event: &Event, exists: bool) -> Result<(), kube::Error> {
    let api: Api<Event> = Api::namespaced(client.clone(), event.metadata.namespace.as_deref().unwrap_or("default"));
    if exists {
        let patch = json!({ "count": event.count, "lastTimestamp": event.last_timestamp, "message": event.message });
        api.patch(&event.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await?;
    } else {
        api.create(&PostParams::default(), event).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(reason: &str, message: &str, at_seconds: i64) -> Record {
        Record {
            component: "cell-controller",
            object: ObjectReference {
                kind: Some("Cell".into()),
                name: Some("minimal".into()),
                namespace: Some("default".into()),
                uid: Some("u".into()),
                ..ObjectReference::default()
            },
            event_type: EventType::Warning,
            reason: reason.into(),
            message: message.into(),
            at: Timestamp::from_second(at_seconds).unwrap(),
        }
    }

    fn created(verdict: Verdict) -> Event {
        match verdict {
            Verdict::Create(event) => *event,
            other => panic!("not created: {other:?}"),
        }
    }

    fn patched(verdict: Verdict) -> Event {
        match verdict {
            Verdict::Patch(event) => *event,
            other => panic!("not patched: {other:?}"),
        }
    }

    #[test]
    fn the_same_event_again_is_one_object_with_a_growing_count() {
        let mut correlator = Correlator::default();
        let first = created(correlator.observe(record("RegistrationFailed", "etcd is away", 100)));
        let second = patched(correlator.observe(record("RegistrationFailed", "etcd is away", 105)));
        assert_eq!(second.metadata.name, first.metadata.name);
        assert_eq!((first.count, second.count), (Some(1), Some(2)));
        assert_eq!(second.first_timestamp, first.first_timestamp);
        assert_eq!(second.last_timestamp.unwrap().0.as_second(), 105);
    }

    #[test]
    fn a_name_is_the_object_and_the_nanoseconds_and_never_taken_twice() {
        let mut correlator = Correlator::default();
        let a = created(correlator.observe(record("A", "m", 1)));
        let b = created(correlator.observe(record("B", "m", 1)));
        assert_eq!(a.metadata.name.unwrap(), "minimal.3b9aca00");
        assert_eq!(b.metadata.name.unwrap(), "minimal.3b9aca01");
    }

    #[test]
    fn an_event_whose_name_is_taken_gets_another_and_keeps_it() {
        let mut correlator = Correlator::default();
        let mut first = created(correlator.observe(record("A", "m", 1)));
        correlator.rename(&mut first);
        assert_eq!(first.metadata.name.unwrap(), "minimal.3b9acde8");
        let again = patched(correlator.observe(record("A", "m", 1)));
        assert_eq!(again.metadata.name.unwrap(), "minimal.3b9acde8");
    }

    #[test]
    fn the_tenth_similar_message_begins_the_combined_event() {
        let mut correlator = Correlator::default();
        for n in 0..9 {
            created(correlator.observe(record("FailedApply", &format!("message {n}"), n)));
        }
        let combined = created(correlator.observe(record("FailedApply", "message 9", 9)));
        assert_eq!(combined.message.unwrap(), "(combined from similar events): message 9");
        let more = patched(correlator.observe(record("FailedApply", "message 10", 10)));
        assert_eq!(
            (more.count, more.message.unwrap().as_str()),
            (Some(2), "(combined from similar events): message 10")
        );
        let later = created(correlator.observe(record("FailedApply", "message 11", 611)));
        assert_eq!(later.message.unwrap(), "message 11");
    }

    #[test]
    fn the_bucket_holds_25_and_one_more_every_five_minutes() {
        let mut correlator = Correlator::default();
        let sent = |correlator: &mut Correlator, at| {
            correlator.observe(record("RegistrationFailed", "m", at)) != Verdict::Skip
        };
        assert_eq!((0..40).filter(|_| sent(&mut correlator, 0)).count(), 25);
        assert!(!sent(&mut correlator, 299));
        assert!(sent(&mut correlator, 300));
        assert!(!sent(&mut correlator, 301));
        // What was not sent was counted all the same.
        assert_eq!(patched(correlator.observe(record("RegistrationFailed", "m", 700))).count, Some(44));
    }

    #[test]
    fn the_event_of_a_recovery_is_not_swallowed_by_the_noise_before_it() {
        let mut correlator = Correlator::default();
        for _ in 0..100 {
            correlator.observe(record("RegistrationFailed", "m", 0));
        }
        created(correlator.observe(record("CellRegistered", "m", 1)));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_longest_unused_goes_first() {
        let mut recent = Recent::new();
        for n in 0..CORRELATION_ENTRIES_MAX {
            recent.entry(&n, || 0);
        }
        *recent.entry(&0, || 1) += 5;
        recent.entry(&CORRELATION_ENTRIES_MAX, || 0);
        assert_eq!(recent.entries.len(), CORRELATION_ENTRIES_MAX);
        assert!(!recent.entries.contains_key(&1));
        assert_eq!(*recent.entry(&0, || 1), 5);
    }

    proptest! {
        #[test]
        fn every_count_is_the_number_of_records_so_far(reasons in proptest::collection::vec(0_u8..3, 1..60)) {
            let mut correlator = Correlator::default();
            let mut counts = BTreeMap::new();
            for (at, reason) in reasons.iter().enumerate() {
                let count = counts.entry(*reason).or_insert(0);
                *count += 1;
                match correlator.observe(record(&reason.to_string(), "m", at as i64)) {
                    Verdict::Create(event) => prop_assert_eq!((event.count, *count), (Some(1), 1)),
                    Verdict::Patch(event) => prop_assert_eq!(event.count, Some(*count)),
                    Verdict::Skip => prop_assert!(*count > 25),
                }
            }
        }
    }
}
