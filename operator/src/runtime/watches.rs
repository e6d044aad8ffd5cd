//! One watch a kind: it fills a [`Store`] and tells everybody who wants to hear of changes.
//!
//! kube's `watcher` does the listing, watching and resuming. Its reflector store is not used: it iterates in the order of a hash map, and
//! it forgets what an object looked like before, which the generation predicate has to know. Its back-off is not used either: it begins
//! anew with every `Init`, which comes before every attempt to list, so that it never grows while the API server is away.

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::{StreamExt, future::BoxFuture};
use kube::{
    Api, Client, Resource,
    runtime::watcher::{self, Event},
};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{Backoff, ObjectKey, Store, readable::Readable};
use crate::observability::{
    export::with_sources,
    health::{Health, Probe},
};

/// What a kind has to be able to do to be watched. Every kube resource with a static type can.
pub trait Watched: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}
impl<K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Watched for K {}

/// Which changes of the primary object wake a controller.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// All, those of the status included.
    Any,
    /// Those that changed `metadata.generation` (the spec, or the beginning of a deletion), and comings and goings.
    GenerationChanged,
}

/// One object came (no `old`), changed, or went (no `new`).
#[derive(Clone, Debug)]
pub struct Change<K> {
    /// Whose change it is.
    pub key: ObjectKey,
    /// Before.
    pub old: Option<Arc<K>>,
    /// After.
    pub new: Option<Arc<K>>,
}

impl<K> Change<K> {
    /// The object as it is, or as it last was.
    pub fn object(&self) -> Option<&Arc<K>> {
        self.new.as_ref().or(self.old.as_ref())
    }
}

impl<K: Resource> Change<K> {
    /// Whether a trigger lets this change pass.
    pub fn passes(&self, trigger: Trigger) -> bool {
        match (trigger, &self.old, &self.new) {
            // Of another object under the same name the generation says nothing.
            (Trigger::GenerationChanged, Some(old), Some(new)) => {
                (&old.meta().uid, old.meta().generation) != (&new.meta().uid, new.meta().generation)
            }
            _ => true,
        }
    }
}

type Listener<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

/// The watch of one kind, before it runs.
pub(super) struct KindWatch<K> {
    pub store: Store<K>,
    pub listeners: Vec<Listener<K>>,
    pub label_selector: Option<String>,
    /// Takes out of an object what nobody here reads before it is kept.
    pub trim: Option<fn(&mut K)>,
    /// Whether the kind's definition may be missing.
    pub optional: bool,
    /// Called when the definition of an optional kind has been found and its first list is in.
    pub when_served: Vec<Box<dyn Fn() + Send + Sync>>,
}

impl<K> Default for KindWatch<K> {
    fn default() -> Self {
        Self {
            store: Store::default(),
            listeners: Vec::new(),
            label_selector: None,
            trim: None,
            optional: false,
            when_served: Vec::new(),
        }
    }
}

/// A [`KindWatch`] of any kind.
pub(super) trait AnyWatch: Send {
    fn as_any(&mut self) -> &mut dyn std::any::Any;
    fn wait_until_synced(&self) -> BoxFuture<'static, ()>;
    fn run(self: Box<Self>, client: Client, health: Health) -> BoxFuture<'static, ()>;
}

impl<K: Watched> AnyWatch for KindWatch<K> {
    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }

    fn wait_until_synced(&self) -> BoxFuture<'static, ()> {
        let store = self.store.clone();
        Box::pin(async move { store.wait_until_synced().await })
    }

    fn run(self: Box<Self>, client: Client, health: Health) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            if !self.optional {
                return self.follow(&client, &health).await;
            }
            loop {
                while !is_served::<K>(&client).await {
                    // Nobody waits for what is not there.
                    self.store.set_synced();
                    tokio::time::sleep(REDISCOVERY).await;
                }
                tracing::info!(kind = %K::kind(&()), "kind found");
                self.follow(&client, &health).await;
                tracing::info!(kind = %K::kind(&()), "kind is gone");
                self.store.set_served(false);
                for change in self.store.replace(Vec::new()) {
                    self.tell(&change);
                }
                tokio::time::sleep(REDISCOVERY).await;
            }
        })
    }
}

impl<K: Watched> KindWatch<K> {
    fn tell(&self, change: &Change<K>) {
        for listener in &self.listeners {
            listener(change);
        }
    }

    /// An object as it is kept: without the list of who manages which field, which would take several times the room of all the rest. Of
    /// one that cannot be read what was last known stays.
    fn kept(&self, read: Readable<K>) -> Option<K> {
        let mut object = match read {
            Readable::Object(object) => object,
            Readable::Unreadable { metadata, error } => {
                let key = ObjectKey::new(metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default());
                tracing::error!(kind = %K::kind(&()), name = %key.name, namespace = %key.namespace, error = %error,
                    "an object cannot be read; nothing is done about it until it can (an operator of its version reads it)");
                return self.store.get(&key).map(|known| K::clone(&known));
            }
        };
        object.meta_mut().managed_fields = None;
        if let Some(trim) = self.trim {
            trim(&mut object);
        }
        Some(object)
    }

    /// Never ends, but for an optional kind whose definition goes.
    async fn follow(&self, client: &Client, health: &Health) {
        let kind = K::kind(&());
        let check = format!("watch-{}", K::plural(&()));
        // A watch that ends takes its check along as failed: nobody follows any more.
        let _ended = (!self.optional).then(|| FailsWhenDropped { health: health.clone(), check: check.clone() });
        health.pass(Probe::Live, &check);
        let mut config = watcher::Config::default();
        if let Some(selector) = &self.label_selector {
            config = config.labels(selector);
        }
        let events = watcher::watcher(Api::<Readable<K>>::all(client.clone()), config);
        let mut events = std::pin::pin!(events);
        let mut listed = Vec::new();
        let mut backoff = WatchBackoff::default();
        while let Some(event) = events.next().await {
            let changes = match event {
                // Comes before an attempt to list: no sign of life.
                Ok(Event::Init) => {
                    listed.clear();
                    continue;
                }
                Ok(Event::InitApply(object)) => {
                    listed.extend(self.kept(object));
                    continue;
                }
                Ok(Event::InitDone) => {
                    let changes = self.store.replace(std::mem::take(&mut listed));
                    self.store.set_synced();
                    if self.optional && !self.store.served() {
                        self.store.set_served(true);
                        for wake in &self.when_served {
                            wake();
                        }
                    }
                    changes
                }
                Ok(Event::Apply(object)) => {
                    self.kept(object).and_then(|object| self.store.apply(object)).into_iter().collect()
                }
                Ok(Event::Delete(object)) => self.store.delete(&ObjectKey::of(&object)).into_iter().collect(),
                Err(error) if self.optional && is_not_found(&error) => {
                    health.pass(Probe::Live, &check);
                    return;
                }
                Err(error) => {
                    let (delay, first) = backoff.failed(Instant::now());
                    if first {
                        let error = with_sources(&error);
                        tracing::warn!(kind = %kind, error = %error, "watch failed; it is tried again until it works");
                    }
                    if self.optional {
                        // Nobody waits for what is an option, and nobody is restarted for it.
                        self.store.set_synced();
                    } else if backoff.dead(Instant::now()) {
                        health.fail(Probe::Live, &check, format!("dead for more than {DEAD_AFTER:?}"));
                    }
                    tokio::time::sleep(delay).await;
                    continue;
                }
            };
            if backoff.worked() {
                health.pass(Probe::Live, &check);
                tracing::info!(kind = %kind, "watch works again");
            }
            for change in &changes {
                self.tell(change);
            }
        }
    }
}

/// Between two looks at whether the definition of an optional kind has come.
pub const REDISCOVERY: Duration = Duration::from_secs(60);

/// Whether the API server knows a kind; an answer that says neither counts as no.
async fn is_served<K: Watched>(client: &Client) -> bool {
    let known = client.list_api_group_resources(&K::api_version(&())).await;
    known.is_ok_and(|list| list.resources.iter().any(|resource| resource.name == K::plural(&())))
}

/// Whether a watch failed because there is nothing to watch.
fn is_not_found(error: &watcher::Error) -> bool {
    let code = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code,
        watcher::Error::WatchError(status) => status.code,
        _ => 0,
    };
    code == 404
}

/// How long a watch may fail before the operator says that it is no longer alive. An outage of the API server that is shorter costs no
/// restart; one that is longer may be a matter of this process (its connections, its credentials), which a restart ends.
pub const DEAD_AFTER: Duration = Duration::from_secs(600);

struct FailsWhenDropped {
    health: Health,
    check: String,
}

impl Drop for FailsWhenDropped {
    fn drop(&mut self) {
        self.health.fail(Probe::Live, &self.check, "ended");
    }
}

/// How long a failed watch waits: twice as long each time.
#[derive(Debug, Default)]
struct WatchBackoff {
    failures: u32,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl WatchBackoff {
    const FIRST: Duration = Duration::from_millis(800);
    const MAX: Duration = Duration::from_secs(30);
    /// A failure this long after the last one is a new one. (A quiet watch that works says nothing.)
    const RESET_AFTER: Duration = Duration::from_secs(60);

    /// The delay, and whether this is the first failure since it worked.
    fn failed(&mut self, now: Instant) -> (Duration, bool) {
        if self.last.is_some_and(|last| now.duration_since(last) > Self::RESET_AFTER) {
            self.failures = 0;
        }
        if self.failures == 0 {
            self.first = Some(now);
        }
        let delay = Backoff::new(Self::FIRST, Self::MAX).delay(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.last = Some(now);
        (delay, self.failures == 1)
    }

    /// Whether it has failed for so long that nobody should rely on it.
    fn dead(&self, now: Instant) -> bool {
        self.failures > 0 && self.first.is_some_and(|first| now.duration_since(first) >= DEAD_AFTER)
    }

    /// Whether it had failed before.
    fn worked(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};

    use super::*;

    fn object(name: &str, version: &str, generation: i64) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.into()),
                namespace: Some("n".into()),
                uid: Some(format!("uid-{name}")),
                resource_version: Some(version.into()),
                generation: Some(generation),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        }
    }

    fn names(changes: &[Change<ConfigMap>]) -> Vec<(String, bool, bool)> {
        changes.iter().map(|c| (c.key.name.clone(), c.old.is_some(), c.new.is_some())).collect()
    }

    #[test]
    fn a_new_list_tells_what_came_changed_and_went_in_between() {
        let store = Store::default();
        assert_eq!(
            names(&store.replace(vec![object("b", "1", 1), object("a", "2", 1)])),
            [("a".into(), false, true), ("b".into(), false, true)]
        );
        let changes = store.replace(vec![object("c", "5", 1), object("b", "1", 1), object("d", "6", 1)]);
        assert_eq!(names(&changes), [("a".into(), true, false), ("c".into(), false, true), ("d".into(), false, true)]);
        assert_eq!(names(&store.replace(vec![object("b", "9", 1)]))[2], ("b".into(), true, true));
    }

    #[test]
    fn only_a_change_of_the_spec_passes_the_generation_trigger() {
        let store = Store::default();
        let came = store.apply(object("a", "1", 1)).unwrap();
        let status = store.apply(object("a", "2", 1)).unwrap();
        let spec = store.apply(object("a", "3", 2)).unwrap();
        let went = store.delete(&ObjectKey::new("n", "a")).unwrap();
        let passes: Vec<_> = [&came, &status, &spec, &went].map(|c| c.passes(Trigger::GenerationChanged)).into();
        assert_eq!(passes, [true, false, true, true]);
        assert!(status.passes(Trigger::Any));
        assert!(store.delete(&ObjectKey::new("n", "a")).is_none());
    }

    #[test]
    fn another_object_under_the_same_name_passes_the_generation_trigger() {
        let store = Store::default();
        store.apply(object("a", "1", 1));
        let mut reborn = object("a", "9", 1);
        reborn.metadata.uid = Some("another".into());
        assert!(store.replace(vec![reborn])[0].passes(Trigger::GenerationChanged));
    }

    #[test]
    fn of_what_cannot_be_read_the_last_that_was_known_is_kept() {
        let watch = KindWatch::<ConfigMap>::default();
        let unreadable = |name: &str| Readable::Unreadable {
            metadata: object(name, "9", 1).metadata,
            error: "unknown variant".to_owned(),
        };
        assert!(watch.kept(unreadable("a")).is_none());
        watch.store.apply(watch.kept(Readable::Object(object("a", "1", 1))).unwrap());
        assert_eq!(watch.kept(unreadable("a")).unwrap().metadata.resource_version.as_deref(), Some("1"));
    }

    #[test]
    fn a_version_that_is_known_is_no_change() {
        let store = Store::default();
        assert!(store.apply(object("a", "1", 1)).is_some());
        assert!(store.apply(object("a", "1", 1)).is_none());
        let mut reborn = object("a", "1", 1);
        reborn.metadata.uid = Some("another".into());
        assert!(store.apply(reborn).is_some());
    }

    #[test]
    fn a_watch_waits_longer_each_time_and_is_told_of_once() {
        let now = Instant::now();
        let mut backoff = WatchBackoff::default();
        let failures: Vec<_> =
            (0..7).map(|_| backoff.failed(now)).map(|(delay, first)| (delay.as_millis(), first)).collect();
        let delays = [800, 1600, 3200, 6400, 12800, 25600, 30000];
        assert_eq!(failures, delays.into_iter().enumerate().map(|(n, delay)| (delay, n == 0)).collect::<Vec<_>>());
        assert!(backoff.worked() && !backoff.worked());
        assert_eq!(backoff.failed(now), (WatchBackoff::FIRST, true));
        assert_eq!(backoff.failed(now + Duration::from_secs(61)), (WatchBackoff::FIRST, true));
    }

    #[test]
    fn a_watch_that_fails_for_ten_minutes_is_dead_and_lives_again_when_it_works() {
        let now = Instant::now();
        let mut backoff = WatchBackoff::default();
        for seconds in (0..600).step_by(30) {
            backoff.failed(now + Duration::from_secs(seconds));
            assert!(!backoff.dead(now + Duration::from_secs(seconds)), "after {seconds} s");
        }
        backoff.failed(now + DEAD_AFTER);
        assert!(backoff.dead(now + DEAD_AFTER));
        assert!(backoff.worked());
        assert!(!backoff.dead(now + DEAD_AFTER));
    }
}
