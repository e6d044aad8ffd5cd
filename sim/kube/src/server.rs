//! The API server as a handle: the engine behind a lock, watchers, and fault rules.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use sim_clock::{Chance, now};

use crate::{
    access::Access,
    engine::{Change, Engine, Event, Object, Target, WriteOptions, Written},
    json,
    kubelet::ContainerLogs,
    resources::ResourceType,
    selectors::{FieldSelector, LabelSelector},
    status::Status,
};

/// What fault rules and authorisation look at.
#[derive(Clone, Debug)]
pub struct RequestInfo {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; of a path that is no
    /// resource's: the HTTP method in lower case.
    pub verb: &'static str,
    /// API group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural, or empty if the path is no resource's.
    pub resource: String,
    /// Subresource, or empty.
    pub subresource: String,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name, or empty.
    pub name: String,
    /// The path.
    pub path: String,
    /// The user agent's product (before the slash).
    pub user: String,
}

/// What a fault rule says of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing: ask the next rule.
    Pass,
    /// Answer this.
    Refuse(Status),
    /// Let it through after this long.
    Delay(Duration),
    /// Cut the connection without an answer.
    Cut,
}

/// A fault rule; the first verdict that is not [`Verdict::Pass`] wins.
pub type FaultRule = Arc<dyn Fn(&RequestInfo) -> Verdict + Send + Sync>;

struct Inner {
    engine: Mutex<Engine>,
    faults: Mutex<(u64, Vec<(u64, FaultRule)>)>,
    webhook_host: Mutex<Option<sim_net::Host>>,
    access: Access,
    logs: Mutex<Option<ContainerLogs>>,
    audit: Mutex<Chance>,
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
            faults: Mutex::default(),
            webhook_host: Mutex::default(),
            access: Access::new(),
            logs: Mutex::default(),
            audit: Mutex::new(sim_clock::seeded("kube/audit")),
        }))
    }

    /// The engine. Never hold it across an await.
    pub fn engine(&self) -> MutexGuard<'_, Engine> {
        self.0.engine.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut object = engine.get(target)?.to_value();
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
    pub fn inject(&self, rule: FaultRule) -> u64 {
        let mut faults = self.0.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.0 += 1;
        let id = faults.0;
        faults.1.push((id, rule));
        id
    }

    /// Takes a fault rule away.
    pub fn heal(&self, id: u64) {
        self.0.faults.lock().unwrap_or_else(PoisonError::into_inner).1.retain(|(i, _)| *i != id);
    }

    /// The first verdict that is not [`Verdict::Pass`].
    pub fn verdict(&self, request: &RequestInfo) -> Verdict {
        let rules = self.0.faults.lock().unwrap_or_else(PoisonError::into_inner).1.clone();
        rules.iter().map(|(_, rule)| rule(request)).find(|v| *v != Verdict::Pass).unwrap_or(Verdict::Pass)
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
