//! Puts watches, queues and controllers together and runs them.

use std::{any::Any, collections::BTreeMap, marker::PhantomData, sync::Arc, time::Duration};

use futures::future::join_all;
use kube::{Client, Resource};

use super::{
    Cause, Change, ObjectKey, Reconciler, Store, Trigger,
    runner::{Queue, RunController, Runner},
    watches::{AnyWatch, KindWatch, Watched},
};
use crate::{
    host::Shutdown,
    observability::{
        Telemetry,
        health::{Health, Probe},
    },
    signal::Signal,
};

/// How often every object is reconciled though nothing has happened, unless told otherwise: a net for what no watch tells of, such as a
/// record that somebody takes out of etcd.
pub const SYNC_PERIOD: Duration = Duration::from_secs(10 * 3600);
/// The check that every cache has its first list.
const CACHES: &str = "caches";

/// All watches and controllers of one operator.
pub struct Manager {
    client: Client,
    telemetry: Telemetry,
    /// By group and plural: the order in which they are started.
    watches: BTreeMap<String, Box<dyn AnyWatch>>,
    controllers: Vec<Box<dyn RunController>>,
    /// The queue of every controller.
    queues: Vec<Arc<Queue>>,
    /// Each puts every object of a controller into its queue.
    look_at_all: Vec<Box<dyn Fn(&Cause) + Send + Sync>>,
    sync_period: Duration,
}

impl Manager {
    /// Without any watch or controller.
    pub fn new(client: Client, telemetry: Telemetry) -> Self {
        Self {
            client,
            telemetry,
            watches: BTreeMap::new(),
            controllers: Vec::new(),
            queues: Vec::new(),
            look_at_all: Vec::new(),
            sync_period: SYNC_PERIOD,
        }
    }

    /// How often every object is reconciled though nothing has happened.
    pub fn resync_every(&mut self, period: Duration) {
        self.sync_period = period;
    }

    /// Lets `listener` hear of all changes of a kind.
    pub fn on_change<K: Watched>(&mut self, listener: impl Fn(&Change<K>) + Send + Sync + 'static) {
        self.watch::<K>().listeners.push(Box::new(listener));
    }

    /// The cache of a kind. The first call adds its watch; all further ones share it.
    pub fn store<K: Watched>(&mut self) -> Store<K> {
        self.watch::<K>().store.clone()
    }

    /// The cache of a kind whose definition may come later, or go: it is empty while there is none ([`Store::served`]), and nobody waits
    /// for its first list.
    pub fn optional_store<K: Watched>(&mut self) -> Store<K> {
        let watch = self.watch::<K>();
        watch.optional = true;
        watch.store.set_served(false);
        watch.store.clone()
    }

    /// Restricts the watch of a kind to the objects that a label selector matches. The cache then holds only those.
    pub fn select<K: Watched>(&mut self, label_selector: &str) {
        self.watch::<K>().label_selector = Some(label_selector.to_owned());
    }

    /// Keeps of every object of a kind only what `trim` leaves of it. What objects belong to (their labels and owners) has to stay.
    pub fn trim<K: Watched>(&mut self, trim: fn(&mut K)) {
        self.watch::<K>().trim = Some(trim);
    }

    /// Begins to describe a controller of objects of the kind `P`.
    pub fn controller<P: Watched, R: Reconciler>(&mut self, reconciler: R) -> ControllerBuilder<'_, P, R> {
        let spec = reconciler.spec();
        let queue = Queue::new(&spec, self.telemetry.metrics().clone());
        self.queues.push(queue.clone());
        ControllerBuilder { manager: self, reconciler, queue, primary: PhantomData }
    }

    fn watch<K: Watched>(&mut self) -> &mut KindWatch<K> {
        let id = format!("{}/{}", K::group(&()), K::plural(&()));
        let watch = self.watches.entry(id).or_insert_with(|| Box::new(KindWatch::<K>::default()));
        let any: &mut dyn Any = watch.as_any();
        any.downcast_mut().expect("one type stands for one group and plural")
    }

    /// Runs everything until the end is requested, and then until the running reconciles have ended (at most
    /// [`super::runner::STOP_WAIT_MAX`]). `health` becomes ready, and `synced` is given, when every cache has its first list; reconcilers
    /// are called once it has and `elected` is given.
    pub(crate) async fn run(self, shutdown: Shutdown, synced: Signal, elected: Signal, health: Health) {
        let Self { client, telemetry, watches, controllers, queues, look_at_all, sync_period } = self;
        health.fail(Probe::Ready, CACHES, "not synced");
        let first_lists: Vec<_> = watches.values().map(|watch| watch.wait_until_synced()).collect();
        let followers: Vec<_> = watches
            .into_values()
            .map(|watch| telemetry.spawn_owned(watch.run(client.clone(), health.clone())))
            .collect();
        tokio::select! {
            biased;
            () = shutdown.wait() => return,
            _ = join_all(first_lists) => {}
        }
        tracing::info!(caches = followers.len(), "caches synced");
        health.pass(Probe::Ready, CACHES);
        synced.give();
        tokio::select! {
            biased;
            () = shutdown.wait() => {}
            () = elected.wait() => {
                for queue in &queues {
                    queue.open();
                }
                for all in &look_at_all {
                    all(&Cause::Created);
                }
                let running: Vec<_> = controllers
                    .into_iter()
                    .map(|controller| telemetry.spawn_owned(controller.run(telemetry.clone(), shutdown.clone())))
                    .collect();
                let ended = join_all(running);
                tokio::pin!(ended);
                tokio::select! {
                    biased;
                    () = shutdown.wait() => {}
                    _ = &mut ended => return,
                    () = resync(&look_at_all, sync_period) => {}
                }
                ended.await;
            }
        }
        drop(followers);
    }
}

/// Never ends.
async fn resync(look_at_all: &[Box<dyn Fn(&Cause) + Send + Sync>], period: Duration) {
    loop {
        tokio::time::sleep(period).await;
        for all in look_at_all {
            all(&Cause::Resync);
        }
    }
}

/// A controller that is being described.
pub struct ControllerBuilder<'a, P, R> {
    manager: &'a mut Manager,
    reconciler: R,
    queue: Arc<Queue>,
    primary: PhantomData<P>,
}

impl<P: Watched, R: Reconciler> ControllerBuilder<'_, P, R> {
    /// Wakes the controller by changes of its primary objects, and for all of them from time to time.
    pub fn on_primary(self, trigger: Trigger) -> Self {
        let (store, queue) = (self.manager.store::<P>(), self.queue.clone());
        self.manager.look_at_all.push(Box::new(move |cause| {
            for key in store.keys() {
                queue.add(key, cause.clone());
            }
        }));
        self.listen::<P>(move |queue, change| {
            if change.passes(trigger) {
                let cause = match (&change.old, &change.new) {
                    (_, None) => Cause::Deleted,
                    (None, _) => Cause::Created,
                    _ => Cause::Updated,
                };
                queue.add(change.key.clone(), cause);
            }
        })
    }

    /// Wakes the controller for the object that controls a changed object of the kind `K`; for both when the controller changed.
    pub fn owns<K: Watched>(self) -> Self {
        self.listen::<K>(|queue, change| {
            let owners = [&change.old, &change.new].map(|object| object.as_deref().and_then(owner_of::<P, K>));
            for owner in dedup(owners.into_iter().flatten()) {
                queue.add(owner, Cause::Owned(kind_name::<K>(), change.key.clone()));
            }
        })
    }

    /// Wakes the controller for the keys that `map` says, whenever an object of the kind `K` changes.
    pub fn watches<K: Watched>(self, map: impl Fn(&Change<K>) -> Vec<ObjectKey> + Send + Sync + 'static) -> Self {
        self.listen::<K>(move |queue, change| {
            for key in dedup(map(change)) {
                queue.add(key, Cause::Watched(kind_name::<K>(), change.key.clone()));
            }
        })
    }

    /// Wakes the controller for the keys that `keys` says, whenever the definition of an optional kind is found.
    pub fn when_served<K: Watched>(self, keys: impl Fn() -> Vec<ObjectKey> + Send + Sync + 'static) -> Self {
        let queue = self.queue.clone();
        self.manager.watch::<K>().when_served.push(Box::new(move || {
            for key in keys() {
                queue.add(key.clone(), Cause::Watched("CustomResourceDefinition", key));
            }
        }));
        self
    }

    /// Hands the controller over to the manager.
    pub fn register(self) {
        self.manager.controllers.push(Box::new(Runner { reconciler: Arc::new(self.reconciler), queue: self.queue }));
    }

    fn listen<K: Watched>(self, react: impl Fn(&Queue, &Change<K>) + Send + Sync + 'static) -> Self {
        let queue = self.queue.clone();
        self.manager.watch::<K>().listeners.push(Box::new(move |change| react(&queue, change)));
        self
    }
}

fn dedup(keys: impl IntoIterator<Item = ObjectKey>) -> Vec<ObjectKey> {
    let mut unique = Vec::new();
    for key in keys {
        if !unique.contains(&key) {
            unique.push(key);
        }
    }
    unique
}

fn kind_name<K: Resource<DynamicType = ()>>() -> &'static str {
    match K::kind(&()) {
        std::borrow::Cow::Borrowed(kind) => kind,
        std::borrow::Cow::Owned(_) => "object",
    }
}

/// The key of the `P` that controls `object`. A controlling object lives in the same namespace.
fn owner_of<P: Resource<DynamicType = ()>, K: Resource>(object: &K) -> Option<ObjectKey> {
    let owner = object.meta().owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))?;
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    (owner.kind == P::kind(&()) && group == P::group(&()))
        .then(|| ObjectKey::new(object.meta().namespace.clone().unwrap_or_default(), owner.name.clone()))
}
