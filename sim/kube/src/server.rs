//! The API server as a handle: the engine behind a lock, watchers, and fault rules.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicI64, Ordering},
    },
};

use serde_json::Value;
use sim_clock::{Chance, Timestamp, now};

use crate::{
    access::Access,
    admission::{Directory, Phase, Webhook},
    engine::{Change, Engine, Event, Object, ReadVersion, Target, WriteOptions, Written},
    faults::{self, Book, FaultGuard, FaultId, Hits, RequestInfo, Rule, RuleError, Verdict, WatchFault},
    json,
    kubelet::{ContainerLogs, Shared},
    metrics::Metrics,
    resources::ResourceType,
    selectors::{FieldSelector, LabelSelector},
    status::Status,
};

/// How long a read waits for a revision that has not come yet, as the real server's cache does.
pub const FRESH_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);

struct Inner {
    engine: Mutex<Engine>,
    faults: Mutex<Book>,
    /// Ticks when a rule comes or goes.
    fault_changes: sim_clock::watch::Sender<u64>,
    /// By how many milliseconds the server's clock is ahead.
    skew_ms: AtomicI64,
    webhook_host: Mutex<Option<sim_net::Host>>,
    webhooks: Mutex<Directory>,
    access: Access,
    logs: Mutex<Option<ContainerLogs>>,
    /// Weak: the kubelets hold the server.
    kubelet: Mutex<Weak<Shared>>,
    audit: Mutex<Chance>,
    metrics: Metrics,
    started: Timestamp,
}

/// A handle of the API server; clones share it.
#[derive(Clone)]
pub struct ApiServer(Arc<Inner>);

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiServer").field("revision", &self.engine().revision()).finish_non_exhaustive()
    }
}

impl Default for ApiServer {
    fn default() -> Self {
        Self::new()
    }
}

impl ApiServer {
    /// A server with an empty cluster's namespaces; uids and names follow the world's seed.
    pub fn new() -> Self {
        let engine = Engine::new(sim_clock::seeded("kube/api"), now());
        Self(Arc::new(Inner {
            engine: Mutex::new(engine),
            faults: Mutex::new(Book::new(sim_clock::seeded("kube/faults"))),
            fault_changes: sim_clock::watch::Sender::new(0),
            skew_ms: AtomicI64::new(0),
            webhook_host: Mutex::default(),
            webhooks: Mutex::default(),
            access: Access::new(),
            logs: Mutex::default(),
            kubelet: Mutex::default(),
            audit: Mutex::new(sim_clock::seeded("kube/audit")),
            metrics: Metrics::default(),
            started: now(),
        }))
    }

    /// The engine. Never hold it across an await.
    pub fn engine(&self) -> MutexGuard<'_, Engine> {
        let mut engine = self.0.engine.lock().unwrap_or_else(PoisonError::into_inner);
        engine.tick(now());
        engine
    }

    /// The webhooks as they were read last. The engine may be held while it is asked for, never the other way round.
    pub(crate) fn webhook_directory(&self) -> MutexGuard<'_, Directory> {
        self.0.webhooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The webhooks of a phase in the order in which they are asked.
    pub(crate) fn webhooks(&self, phase: Phase) -> Arc<[Webhook]> {
        let engine = self.engine();
        self.webhook_directory().all(&engine, phase)
    }

    /// Waits until a revision has come that a read asks for.
    ///
    /// # Errors
    /// 504 `Too large resource version` after `FRESH_TIMEOUT`.
    pub async fn fresh(&self, version: ReadVersion) -> Result<(), Status> {
        if version.needs().is_none() {
            return Ok(());
        }
        let mut wake = self.engine().subscribe_all();
        let until = tokio::time::Instant::now() + FRESH_TIMEOUT;
        loop {
            let Err(status) = self.engine().check_version(version) else { return Ok(()) };
            match tokio::time::timeout_at(until, wake.changed()).await {
                Ok(Ok(())) => {}
                _ => return Err(status),
            }
        }
    }

    /// Lets admission webhooks be called from this host of the world's network. Without it every call fails as a name
    /// that does not resolve.
    pub fn call_webhooks_from(&self, host: sim_net::Host) {
        *self.0.webhook_host.lock().unwrap_or_else(PoisonError::into_inner) = Some(host);
    }

    /// The host webhooks are called from.
    pub(crate) fn webhook_host(&self) -> Option<sim_net::Host> {
        self.0.webhook_host.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn access(&self) -> &Access {
        &self.0.access
    }

    /// Serves `pods/log` from these logs: the kubelets'.
    pub fn connect_logs(&self, logs: ContainerLogs) {
        *self.0.logs.lock().unwrap_or_else(PoisonError::into_inner) = Some(logs);
    }

    /// The logs of the kubelets, if there are any.
    pub fn logs(&self) -> Option<ContainerLogs> {
        self.0.logs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets requests reach containers: the kubelets'.
    pub(crate) fn connect_kubelet(&self, kubelet: &Arc<Shared>) {
        *self.0.kubelet.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(kubelet);
    }

    /// The kubelets, if there are any.
    pub(crate) fn kubelet(&self) -> Option<Arc<Shared>> {
        self.0.kubelet.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    /// What it counts of itself.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// When it started.
    pub(crate) fn started(&self) -> Timestamp {
        self.0.started
    }

    /// A fresh id of a request, for its `Audit-Id`.
    pub(crate) fn audit_id(&self) -> String {
        self.0.audit.lock().unwrap_or_else(PoisonError::into_inner).uuid()
    }

    /// Server-side apply by the field manager `kubectl`, forced, as `kubectl apply --server-side --force-conflicts`.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn apply(&self, object: Value) -> Result<Object, Status> {
        let mut engine = self.engine();
        let target = engine.target_of(&object)?;
        let options = WriteOptions { force: true, ..WriteOptions::by("kubectl") };
        engine.apply(&target, &object, &options, now()).map(|w| w.object)
    }

    /// Applies every object of a manifest text, in order.
    ///
    /// # Errors
    /// The first manifest that cannot be read or is refused.
    pub fn apply_all(&self, text: &str) -> Result<Vec<Object>, crate::Error> {
        let objects = crate::manifests::parse(text)?;
        objects.into_iter().map(|o| self.apply(o).map_err(crate::Error::from)).collect()
    }

    /// The object of a kind by `apiVersion`, kind, namespace (empty for cluster scope) and name.
    ///
    /// # Errors
    /// 404.
    pub fn get(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Result<Object, Status> {
        let engine = self.engine();
        let target = find(&engine, api_version, kind, namespace, name)?;
        engine.get(&target)
    }

    /// All objects of a kind, of one namespace or (empty) of all, in order.
    ///
    /// # Errors
    /// 404 for a kind nobody serves.
    pub fn list(&self, api_version: &str, kind: &str, namespace: &str) -> Result<Vec<Object>, Status> {
        let engine = self.engine();
        let target = find(&engine, api_version, kind, namespace, "")?;
        let namespace = Some(namespace).filter(|n| !n.is_empty());
        Ok(engine.scan(&target.resource.table, namespace).cloned().collect())
    }

    /// Deletes an object in the background way.
    ///
    /// # Errors
    /// 404.
    pub fn delete(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Result<(), Status> {
        let mut engine = self.engine();
        let target = find(&engine, api_version, kind, namespace, name)?;
        engine.delete(&target, &crate::engine::DeleteQuery::default(), now()).map(|_| ())
    }

    /// Reads an object, lets `change` edit it, and writes it back (its status if `status`).
    ///
    /// # Errors
    /// What the server refuses.
    pub fn edit(&self, target: &Target, manager: &str, change: impl FnOnce(&mut Value)) -> Result<Written, Status> {
        let mut engine = self.engine();
        let mut object = engine.get(target)?.to_content();
        change(&mut object);
        engine.update(target, object, &WriteOptions::by(manager), now())
    }

    /// Watches a table from now on or from a revision; the receiver of internal controllers.
    pub fn watch(&self, resource: Arc<ResourceType>, query: WatchQuery) -> Watcher {
        let mut engine = self.engine();
        let wake = engine.subscribe(&resource.table);
        let position = query.after.unwrap_or_else(|| engine.revision());
        Watcher { server: self.clone(), resource, query, position, wake, ready: VecDeque::new() }
    }

    /// Adds a fault rule behind the others.
    ///
    /// # Errors
    /// What is wrong with the rule.
    pub fn inject(&self, rule: Rule) -> Result<FaultId, RuleError> {
        rule.check()?;
        let id = self.faults().add(rule, now());
        self.tell_faults();
        Ok(id)
    }

    /// Adds a fault rule that goes when its guard is dropped.
    ///
    /// # Errors
    /// What is wrong with the rule.
    pub fn inject_guarded(&self, rule: Rule) -> Result<FaultGuard, RuleError> {
        Ok(FaultGuard::new(self.clone(), self.inject(rule)?))
    }

    /// Adds code as a fault rule: for tests that need more than data can say.
    pub fn inject_code(&self, code: faults::Closure) -> FaultId {
        self.faults().add_code(code, now())
    }

    /// Takes a fault rule away; its counts, if it was there.
    pub fn heal(&self, id: FaultId) -> Option<Hits> {
        let hits = self.faults().remove(id);
        self.tell_faults();
        hits
    }

    /// How often a rule was asked and struck.
    pub fn fault_hits(&self, id: FaultId) -> Option<Hits> {
        self.faults().hits(id)
    }

    /// The first verdict that is not [`Verdict::Pass`].
    pub fn verdict(&self, request: &RequestInfo) -> Verdict {
        let mut faults = self.faults();
        if faults.is_empty() { Verdict::Pass } else { faults.verdict(request, now()) }
    }

    /// What befalls a watch stream.
    pub(crate) fn watch_fault(&self, request: &RequestInfo) -> Option<WatchFault> {
        self.faults().watch_fault(request, now())
    }

    /// Ticks when a rule comes or goes.
    pub(crate) fn fault_changes(&self) -> sim_clock::watch::Receiver<u64> {
        self.0.fault_changes.subscribe()
    }

    fn faults(&self) -> MutexGuard<'_, Book> {
        self.0.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_faults(&self) {
        self.0.fault_changes.send_modify(|n| *n += 1);
    }

    /// Sets the server's clock ahead of the world's (or behind it) by milliseconds: what clients ask for over HTTP is stamped so.
    pub fn skew_clock(&self, ahead_ms: i64) {
        self.0.skew_ms.store(ahead_ms, Ordering::Relaxed);
    }

    /// The time by the server's clock.
    pub fn now(&self) -> Timestamp {
        let skew = self.0.skew_ms.load(Ordering::Relaxed);
        if skew == 0 {
            now()
        } else {
            Timestamp::from_nanos(now().as_nanos().saturating_add(skew.saturating_mul(1_000_000)))
        }
    }
}

fn find(engine: &Engine, api_version: &str, kind: &str, namespace: &str, name: &str) -> Result<Target, Status> {
    let resource = engine.resource_of(&serde_json::json!({"apiVersion": api_version, "kind": kind}))?;
    Ok(Target { resource, namespace: namespace.to_owned(), name: name.to_owned(), subresource: String::new() })
}

/// What a watch selects.
#[derive(Clone, Debug, Default)]
pub struct WatchQuery {
    /// Namespace, or empty for all.
    pub namespace: String,
    /// Labels.
    pub labels: LabelSelector,
    /// Fields.
    pub fields: FieldSelector,
    /// Events after this revision; `None`: from now on.
    pub after: Option<u64>,
}

/// One event as a watcher sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What happened, from the selection's point of view.
    pub change: Change,
    /// The event.
    pub event: Arc<Event>,
}

/// A stream of a table's events, ordered and without gaps.
#[derive(Debug)]
pub struct Watcher {
    server: ApiServer,
    resource: Arc<ResourceType>,
    query: WatchQuery,
    position: u64,
    wake: sim_clock::watch::Receiver<u64>,
    ready: VecDeque<Seen>,
}

impl Watcher {
    /// The next event.
    ///
    /// # Errors
    /// 410 if the watcher fell behind the event log.
    pub async fn next(&mut self) -> Result<Seen, Status> {
        loop {
            if let Some(seen) = self.try_next()? {
                return Ok(seen);
            }
            if self.wake.changed().await.is_err() {
                return Err(Status::new(500, "InternalError", "the API server is gone"));
            }
        }
    }

    /// The next event if there is one already.
    ///
    /// # Errors
    /// 410 if the watcher fell behind the event log.
    pub fn try_next(&mut self) -> Result<Option<Seen>, Status> {
        if self.ready.is_empty() {
            self.wake.mark_unchanged();
            let engine = self.server.engine();
            let events = engine.events_after(&self.resource.table, self.position)?;
            self.position = engine.revision();
            drop(engine);
            let query = &self.query;
            self.ready.extend(events.into_iter().filter_map(|event| select(query, event)));
        }
        Ok(self.ready.pop_front())
    }

    /// Whether the position is still in the event log.
    ///
    /// # Errors
    /// 410 if it is not.
    pub fn check(&mut self) -> Result<(), Status> {
        if let Some(seen) = self.try_next()? {
            self.ready.push_front(seen);
        }
        Ok(())
    }

    /// The revision up to which everything was seen (for bookmarks).
    pub fn position(&self) -> u64 {
        self.position
    }
}

fn select(query: &WatchQuery, event: Arc<Event>) -> Option<Seen> {
    if !query.namespace.is_empty() && json::namespace(&event.object) != query.namespace {
        return None;
    }
    let chosen = |o: &Object| query.labels.matches(o) && query.fields.matches(o);
    let after = event.change != Change::Deleted && chosen(&event.object);
    let before = event.before.as_ref().is_some_and(chosen);
    let change = match (before, after) {
        (true, true) => Change::Modified,
        (false, true) => Change::Added,
        (true, false) => Change::Deleted,
        (false, false) => return None,
    };
    Some(Seen { change, event })
}
