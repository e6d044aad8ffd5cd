//! The loop that feeds the steps from the store's events and carries out what they ask for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use sim_clock::{Timestamp, now};
use sim_net::Network;

use super::{
    Step, Write,
    act::perform,
    autoscaler::autoscaler,
    budget::budget,
    claims, collect,
    cron::cron_job,
    daemon_set, deployment, flow, job,
    members::Members,
    nodes, pod_selector, pods, published, replica_set,
    scheduler::{self, Nodes},
    service, signing, stateful_set, volumes, with_status,
};
use crate::{
    engine::{Change, Engine, Event, Key, Object, Target, WriteOptions},
    events::{Recorder, Said},
    json,
    outages::Outages,
    server::ApiServer,
};

/// How long after a change the controllers look at it.
const REACTION: Duration = Duration::from_millis(2);
/// First pause before something that was refused is tried again; doubles each time.
const RETRY: Duration = Duration::from_millis(5);
/// Longest pause before something that was refused is tried again.
const RETRY_MAX: Duration = Duration::from_secs(1000);
/// Longest time a pod that no node takes waits for the next try when nothing changes.
const UNSCHEDULABLE_RETRY: Duration = Duration::from_secs(300);
/// How long an Event is kept after it was last written.
const EVENT_TTL: Duration = Duration::from_secs(3600);

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Namespace(Key),
    Node(Key),
    Claim(Key),
    Volume(Key),
    Pod(Key),
    Deployment(Key),
    StatefulSet(Key),
    ReplicaSet(Key),
    ReplicationController(Key),
    DaemonSet(Key),
    Job(Key),
    CronJob(Key),
    Budget(Key),
    Service(Key),
    Event(Key),
    Autoscaler(Key),
    Quota(Key),
    Signing(Key),
    FlowSchema(Key),
}

const TABLES: &[&str] = &[
    "namespaces",
    "nodes",
    "persistentvolumeclaims",
    "persistentvolumes",
    "storageclasses.storage.k8s.io",
    "pods",
    "deployments.apps",
    "statefulsets.apps",
    "replicasets.apps",
    "replicationcontrollers",
    "daemonsets.apps",
    "jobs.batch",
    "cronjobs.batch",
    "poddisruptionbudgets.policy",
    "services",
    "events",
    "serviceaccounts",
    "horizontalpodautoscalers.autoscaling",
    "certificatesigningrequests.certificates.k8s.io",
    flow::LEVELS,
    flow::SCHEMAS,
];

struct Loop {
    server: ApiServer,
    network: Network,
    outages: Arc<Outages>,
    recorder: Recorder,
    nodes: Nodes,
    members: Members,
    positions: BTreeMap<&'static str, u64>,
    work: BTreeSet<Work>,
    later: BTreeSet<(Timestamp, Work)>,
    refused: BTreeMap<Work, (u32, String)>,
    unschedulable: BTreeSet<Key>,
    names: BTreeMap<Key, Vec<String>>,
    kubelet_events: bool,
    /// The certificate that `kube-root-ca.crt` holds.
    authority_pem: String,
}

/// Runs all controllers and the scheduler until the world ends.
pub(crate) async fn run(
    server: ApiServer,
    network: Network,
    outages: Arc<Outages>,
    kubelet_events: bool,
    authority_pem: String,
) {
    let mut wake = server.engine().subscribe_work();
    let mut outage = outages.watch();
    let mut state = Loop {
        authority_pem,
        server,
        network,
        outages,
        recorder: Recorder::default(),
        nodes: Nodes::default(),
        members: Members::default(),
        positions: BTreeMap::new(),
        work: BTreeSet::new(),
        later: BTreeSet::new(),
        refused: BTreeMap::new(),
        unschedulable: BTreeSet::new(),
        names: BTreeMap::new(),
        kubelet_events,
    };
    loop {
        state.pass();
        let next = state.later.first().map(|(at, _)| at.since(now()));
        tokio::select! {
            biased;
            changed = wake.changed() => if changed.is_err() { return },
            changed = outage.changed() => {
                if changed.is_err() {
                    return;
                }
                let names: Vec<String> = state.nodes.names().map(str::to_owned).collect();
                state.work.extend(names.iter().map(|name| Work::Node(Key::new("", name))));
            }
            () = tokio::time::sleep(next.unwrap_or(Duration::MAX / 4)), if next.is_some() => {}
        }
        tokio::time::sleep(REACTION).await;
    }
}

impl Loop {
    /// Looks at everything that changed, once.
    fn pass(&mut self) {
        let server = self.server.clone();
        let mut engine = server.engine();
        self.drain(&engine);
        // What a quota counts may be anything: it is counted anew whenever something changed.
        self.work.extend(engine.scan("resourcequotas", None).map(|quota| Work::Quota(Key::of(quota))));
        let now = now();
        while let Some((at, work)) = self.later.first().cloned().filter(|(at, _)| *at <= now) {
            self.later.remove(&(at, work.clone()));
            self.work.insert(work);
        }
        let paused = self.outages.controllers_paused();
        for work in std::mem::take(&mut self.work) {
            if paused && !matches!(work, Work::Pod(_) | Work::Event(_)) {
                self.work.insert(work); // it waits for the controllers to go on
            } else {
                self.look(&mut engine, work, now);
            }
        }
        if !self.outages.collector_paused() {
            collect(&mut engine, now);
        }
    }

    fn drain(&mut self, engine: &Engine) {
        for table in TABLES {
            let seen = self.positions.get(table).copied().unwrap_or(0);
            match engine.events_after(table, seen) {
                Ok(events) => events.iter().for_each(|e| self.notice(engine, table, e)),
                Err(_) => {
                    let all: Vec<Object> = engine.scan(table, None).cloned().collect();
                    for object in &all {
                        self.notice_object(engine, table, object, false);
                    }
                }
            }
            self.positions.insert(table, engine.revision());
        }
    }

    fn notice(&mut self, engine: &Engine, table: &str, event: &Event) {
        let gone = event.change == Change::Deleted;
        let before = event.before.as_ref().filter(|_| table == "nodes" && !gone);
        if before.is_some_and(|before| nodes::only_heard_of(before, &event.object)) {
            return;
        }
        self.notice_object(engine, table, &event.object, gone);
        if let Some(before) = &event.before
            && json::at(before, &["metadata", "ownerReferences"])
                != json::at(&event.object, &["metadata", "ownerReferences"])
        {
            self.owner(before);
        }
    }

    fn notice_object(&mut self, engine: &Engine, table: &str, object: &Object, gone: bool) {
        let key = Key::of(object);
        match table {
            "namespaces" => drop(self.work.insert(Work::Namespace(key))),
            "nodes" => {
                if gone {
                    self.nodes.remove_node(&key.name);
                } else {
                    self.nodes.put_node(object);
                }
                self.retry_unschedulable();
                for set in engine.scan("daemonsets.apps", None) {
                    self.work.insert(Work::DaemonSet(Key::of(set)));
                }
                self.work.insert(Work::Node(key));
            }
            "persistentvolumeclaims" => {
                let volume = json::text(object, &["spec", "volumeName"]);
                if !volume.is_empty() {
                    self.work.insert(Work::Volume(Key::new("", volume)));
                }
                self.work.insert(Work::Claim(key));
                self.retry_unschedulable();
            }
            "persistentvolumes" => {
                self.claims_that_wait(engine);
                if let Some(claim) = json::at(object, &["spec", "claimRef"]).filter(|claim| claim.is_object()) {
                    let claim = Key::new(json::text(claim, &["namespace"]), json::text(claim, &["name"]));
                    self.work.insert(Work::Claim(claim));
                }
                self.work.insert(Work::Volume(key));
            }
            "storageclasses.storage.k8s.io" => self.claims_that_wait(engine),
            "deployments.apps" => {
                self.scaled(engine, &key);
                self.work.insert(Work::Deployment(key));
            }
            "statefulsets.apps" => {
                self.scaled(engine, &key);
                self.work.insert(Work::StatefulSet(key));
            }
            "daemonsets.apps" => drop(self.work.insert(Work::DaemonSet(key))),
            "horizontalpodautoscalers.autoscaling" => drop(self.work.insert(Work::Autoscaler(key))),
            "certificatesigningrequests.certificates.k8s.io" => drop(self.work.insert(Work::Signing(key))),
            "jobs.batch" => {
                self.owner(object);
                self.work.insert(Work::Job(key));
            }
            "cronjobs.batch" => drop(self.work.insert(Work::CronJob(key))),
            "poddisruptionbudgets.policy" => drop(self.work.insert(Work::Budget(key))),
            "services" => {
                if gone {
                    self.members.remove_service(&key);
                } else {
                    self.members.put_service(engine, object);
                }
                self.work.insert(Work::Service(key));
            }
            "serviceaccounts" => {
                // Pods may have been refused for want of it.
                for set in engine.scan("replicasets.apps", Some(&key.namespace)) {
                    self.work.insert(Work::ReplicaSet(Key::of(set)));
                }
                for set in engine.scan("replicationcontrollers", Some(&key.namespace)) {
                    self.work.insert(Work::ReplicationController(Key::of(set)));
                }
                for set in engine.scan("statefulsets.apps", Some(&key.namespace)) {
                    self.work.insert(Work::StatefulSet(Key::of(set)));
                }
            }
            "replicasets.apps" => {
                self.owner(object);
                self.work.insert(Work::ReplicaSet(key));
            }
            "replicationcontrollers" => {
                self.scaled(engine, &key);
                self.work.insert(Work::ReplicationController(key));
            }
            flow::SCHEMAS => drop(self.work.insert(Work::FlowSchema(key))),
            flow::LEVELS => {
                let about = engine.scan(flow::SCHEMAS, None).filter(|schema| flow::level_of(schema) == key.name);
                self.work.extend(about.map(|schema| Work::FlowSchema(Key::of(schema))));
            }
            "events" => {
                if !gone {
                    self.later.insert((last_seen(object, now()) + EVENT_TTL, Work::Event(key)));
                }
            }
            _ => self.notice_pod(engine, object, gone),
        }
    }

    /// Puts the claims on the list that have no volume.
    fn claims_that_wait(&mut self, engine: &Engine) {
        let waiting = engine.scan("persistentvolumeclaims", None);
        let waiting = waiting.filter(|claim| json::text(claim, &["status", "phase"]) == "Pending");
        self.work.extend(waiting.map(|claim| Work::Claim(Key::of(claim))));
    }

    fn notice_pod(&mut self, engine: &Engine, pod: &Object, gone: bool) {
        if self.owner(pod).is_none() && !gone {
            self.adopters(engine, pod);
        }
        let touched = self.members.put_pod(pod, gone);
        self.work.extend(touched.into_iter().map(Work::Service));
        for budget in engine.scan("poddisruptionbudgets.policy", Some(json::namespace(pod))) {
            self.work.insert(Work::Budget(Key::of(budget)));
        }
        let key = Key::of(pod);
        if gone || pods::finished(pod) {
            // A claim may have waited for its last pod.
            self.work.extend(claims::names(pod).map(|name| Work::Claim(Key::new(&key.namespace, name))));
        } else if json::text(pod, &["status", "phase"]) == "Running" {
            // Or for the first that runs, to grow.
            let claim = |name: &&str| engine.peek("persistentvolumeclaims", &key.namespace, name);
            let growing = claims::names(pod).filter(|name| claim(name).is_some_and(|claim| claims::grows(claim)));
            self.work.extend(growing.map(|name| Work::Claim(Key::new(&key.namespace, name))));
        }
        let freed = if gone { self.nodes.remove_pod(json::uid(pod)) } else { self.nodes.put_pod(pod) };
        if freed {
            self.retry_unschedulable();
        }
        if gone {
            self.unschedulable.remove(&key);
        } else if json::text(pod, &["spec", "nodeName"]).is_empty() && !self.unschedulable.contains(&key) {
            self.work.insert(Work::Pod(key));
        }
    }

    /// Puts the autoscalers of a workload on the list.
    fn scaled(&mut self, engine: &Engine, target: &Key) {
        for scaler in engine.scan("horizontalpodautoscalers.autoscaling", Some(&target.namespace)) {
            if json::text(scaler, &["spec", "scaleTargetRef", "name"]) == target.name {
                self.work.insert(Work::Autoscaler(Key::of(scaler)));
            }
        }
    }

    /// Something came that may make room: everybody who waits for a node is looked at again.
    fn retry_unschedulable(&mut self) {
        self.work.extend(std::mem::take(&mut self.unschedulable).into_iter().map(Work::Pod));
    }

    /// Puts the controller of an object on the list; `None` if it has none.
    fn owner(&mut self, object: &Object) -> Option<()> {
        let owner = json::controller_of(object)?;
        let key = Key::new(json::namespace(object), json::text(owner, &["name"]));
        match json::text(owner, &["kind"]) {
            "Deployment" => drop(self.work.insert(Work::Deployment(key))),
            "ReplicaSet" => drop(self.work.insert(Work::ReplicaSet(key))),
            "ReplicationController" => drop(self.work.insert(Work::ReplicationController(key))),
            "StatefulSet" => drop(self.work.insert(Work::StatefulSet(key))),
            "DaemonSet" => drop(self.work.insert(Work::DaemonSet(key))),
            "Job" => drop(self.work.insert(Work::Job(key))),
            "CronJob" => drop(self.work.insert(Work::CronJob(key))),
            _ => {}
        }
        Some(())
    }

    /// Puts everybody on the list who might adopt a pod that nobody controls.
    fn adopters(&mut self, engine: &Engine, pod: &Object) {
        let labels = json::map(pod, &["metadata", "labels"]);
        if labels.is_none_or(serde_json::Map::is_empty) {
            return;
        }
        let work: [(&str, fn(Key) -> Work); 5] = [
            ("replicasets.apps", Work::ReplicaSet),
            ("replicationcontrollers", Work::ReplicationController),
            ("statefulsets.apps", Work::StatefulSet),
            ("daemonsets.apps", Work::DaemonSet),
            ("jobs.batch", Work::Job),
        ];
        for (table, make) in work {
            for set in engine.scan(table, Some(json::namespace(pod))) {
                if pod_selector(set).is_some_and(|s| s.matches_labels(labels)) {
                    self.work.insert(make(Key::of(set)));
                }
            }
        }
    }

    fn look(&mut self, engine: &mut Engine, work: Work, now: Timestamp) {
        let get = |engine: &Engine, table: &str, key: &Key| engine.peek(table, &key.namespace, &key.name).cloned();
        let refused = self.refused.get(&work).map(|(_, message)| message.clone());
        let step =
            match &work {
                Work::Namespace(key) => match get(engine, "namespaces", key) {
                    Some(namespace) if !json::deleting(&namespace) => {
                        let made = crate::access::service_accounts::namespace_contents(&key.name, &self.authority_pem);
                        Step { writes: made.into_iter().map(Write::Create).collect(), ..Step::default() }
                    }
                    _ => Step::default(),
                },
                Work::Claim(key) => {
                    get(engine, "persistentvolumeclaims", key).map_or_else(Step::default, |o| claims::claim(engine, &o))
                }
                Work::Volume(key) => get(engine, "persistentvolumes", key)
                    .map_or_else(Step::default, |o| volumes::volume(engine, &o, now)),
                Work::Pod(key) => {
                    if let Some(pod) = get(engine, "pods", key) {
                        self.schedule(engine, &pod, now);
                    }
                    Step::default()
                }
                Work::Deployment(key) => {
                    get(engine, "deployments.apps", key).map_or_else(Step::default, |o| deployment(engine, &o, now))
                }
                Work::StatefulSet(key) => {
                    get(engine, "statefulsets.apps", key).map_or_else(Step::default, |o| stateful_set(engine, &o, now))
                }
                Work::ReplicaSet(key) => get(engine, "replicasets.apps", key)
                    .map_or_else(Step::default, |o| replica_set(engine, &o, refused.as_deref(), now)),
                Work::ReplicationController(key) => get(engine, "replicationcontrollers", key)
                    .map_or_else(Step::default, |o| replica_set(engine, &o, refused.as_deref(), now)),
                Work::FlowSchema(key) => {
                    get(engine, flow::SCHEMAS, key).map_or_else(Step::default, |o| flow::schema(engine, &o, now))
                }
                Work::DaemonSet(key) => {
                    get(engine, "daemonsets.apps", key).map_or_else(Step::default, |o| daemon_set(engine, &o, now))
                }
                Work::CronJob(key) => {
                    get(engine, "cronjobs.batch", key).map_or_else(Step::default, |o| cron_job(engine, &o, now))
                }
                Work::Job(key) => get(engine, "jobs.batch", key).map_or_else(Step::default, |o| job(engine, &o, now)),
                Work::Budget(key) => get(engine, "poddisruptionbudgets.policy", key)
                    .map_or_else(Step::default, |o| budget(engine, &o, now)),
                Work::Node(key) => self.node(engine, &key.name, now),
                Work::Service(key) => {
                    let service = get(engine, "services", key);
                    let pods = service.as_ref().map(|s| self.members.pods(engine, s)).unwrap_or_default();
                    self.publish(&pods, key, service.as_ref());
                    service.map_or_else(Step::default, |o| service::endpoints(engine, &o, &pods))
                }
                Work::Autoscaler(key) => get(engine, "horizontalpodautoscalers.autoscaling", key)
                    .map_or_else(Step::default, |o| autoscaler(engine, &o, now)),
                Work::Signing(key) => self.sign(engine, key, now),
                Work::Quota(key) => get(engine, "resourcequotas", key).map_or_else(Step::default, |quota| {
                    let status = crate::limits::quota::status(engine, &quota);
                    let differs = quota.get("status") != Some(&status);
                    let writes = differs.then(|| Write::Status(with_status(&quota, status)));
                    Step { writes: writes.into_iter().collect(), ..Step::default() }
                }),
                Work::Event(key) => {
                    let over = get(engine, "events", key).filter(|e| last_seen(e, now) + EVENT_TTL <= now);
                    Step { writes: over.into_iter().map(Write::Delete).collect(), ..Step::default() }
                }
            };
        if let Some(again) = step.again {
            self.later.insert((now + again, work.clone()));
        }
        let recorder = &mut self.recorder;
        let refused = match &work {
            // The uids of volumes come from chance of their own: all else is as it would be without them.
            Work::Claim(key) => {
                let purpose = format!("kube/volumes/{}/{}/{}", key.namespace, key.name, engine.revision());
                engine.aside(&purpose, |engine| perform(engine, recorder, step, now))
            }
            _ => perform(engine, recorder, step, now),
        };
        match refused {
            None => drop(self.refused.remove(&work)),
            Some(status) => {
                let entry = self.refused.entry(work.clone()).or_insert_with(|| (0, String::new()));
                entry.1 = status.message;
                let pause = RETRY.saturating_mul(1 << entry.0.min(20)).min(RETRY_MAX);
                entry.0 += 1;
                self.later.insert((now + pause, work));
            }
        }
    }

    /// Signs a certificate that is asked for and approved.
    fn sign(&mut self, engine: &Engine, key: &Key, now: Timestamp) -> Step {
        let request = engine.peek("certificatesigningrequests.certificates.k8s.io", "", &key.name);
        let Some(request) = request.filter(|request| signing::due(request)) else { return Step::default() };
        // Without an authority nobody could use what it signs.
        self.server.authority().map_or_else(|_| Step::default(), |authority| signing::sign(&authority, request, now))
    }

    /// Looks at a node's health, then at the pods on it.
    fn node(&mut self, engine: &mut Engine, name: &str, now: Timestamp) -> Step {
        let fresh = |engine: &Engine| engine.peek("nodes", "", name).cloned();
        let Some(node) = fresh(engine) else { return Step::default() };
        let first = nodes::lifecycle(&node, self.outages.kubelet_dead_since(name), now);
        let again = first.again;
        perform(engine, &mut self.recorder, first, now);
        let Some(node) = fresh(engine) else { return Step::default() };
        let pods = |engine: &Engine, known: &Nodes| {
            let stored = known.pods_on(name).filter_map(|p| engine.peek("pods", json::namespace(p), json::name(p)));
            stored.cloned().collect::<Vec<Object>>()
        };
        if json::list(&node, &["spec", "taints"]).is_empty() {
            return Step { again, ..Step::default() };
        }
        let second = nodes::pods_not_ready(engine, &node, &pods(engine, &self.nodes), now);
        perform(engine, &mut self.recorder, second, now);
        let mut last = nodes::evict(&node, &pods(engine, &self.nodes), now);
        last.again = [again, last.again].into_iter().flatten().min();
        last
    }

    fn publish(&mut self, pods: &[Object], key: &Key, service: Option<&Object>) {
        if key.namespace == "default" && key.name == "kubernetes" {
            return; // the API server's own names are set when the cluster starts
        }
        let wanted = service.map(|s| published(s, pods)).unwrap_or_default();
        let before = self.names.remove(key).unwrap_or_default();
        for name in before.iter().filter(|n| wanted.iter().all(|(w, _)| w != *n)) {
            self.network.remove_name(name);
        }
        let mut names = Vec::with_capacity(wanted.len());
        for (name, target) in wanted {
            self.network.set_name(&name, target);
            names.push(name);
        }
        if !names.is_empty() {
            self.names.insert(key.clone(), names);
        }
    }

    /// Binds a pod to a node, or says why none will do.
    fn schedule(&mut self, engine: &mut Engine, pod: &Object, now: Timestamp) {
        let ours = matches!(json::text(pod, &["spec", "schedulerName"]), "" | "default-scheduler");
        if !json::text(pod, &["spec", "nodeName"]).is_empty() || json::deleting(pod) || !ours {
            return;
        }
        // A pod with scheduling gates waits until they are taken off.
        if !json::list(pod, &["spec", "schedulingGates"]).is_empty() {
            return;
        }
        let Ok(target) = engine.target_of(pod) else { return };
        let chosen =
            claims::missing(engine, pod, self.nodes.names().count()).map_or_else(|| self.nodes.choose(pod), Err);
        let node = match chosen {
            Ok(node) => node,
            Err(message) => {
                let key = Key::of(pod);
                self.later.insert((now + UNSCHEDULABLE_RETRY, Work::Pod(key.clone())));
                self.unschedulable.insert(key);
                if let Some(next) = scheduler::unschedulable(pod, &message, &now.rfc3339()) {
                    let by = WriteOptions::by("kube-scheduler");
                    let status = Target { subresource: "status".into(), ..target };
                    let _ = engine.update(&status, with_status(pod, next), &by, now);
                }
                self.say(engine, pod, "Warning", "FailedScheduling", &message, now);
                return;
            }
        };
        let waiting = claims::choose_node(engine, pod, &node);
        if !waiting.is_empty() {
            // The claims' events bring it back.
            self.unschedulable.insert(Key::of(pod));
            for claim in waiting {
                let _ = engine
                    .target_of(&claim)
                    .and_then(|target| engine.update(&target, claim, &WriteOptions::by("kube-scheduler"), now));
            }
            return;
        }
        if let Ok(bound) = engine.bind(&target, &node, now) {
            // Known at once: the next pod of this pass must see it.
            self.nodes.put_pod(&bound);
            let text = format!("Successfully assigned {}/{} to {node}", json::namespace(pod), json::name(pod));
            self.say(engine, pod, "Normal", "Scheduled", &text, now);
        }
    }

    fn say(&mut self, engine: &mut Engine, pod: &Object, kind: &str, reason: &str, message: &str, now: Timestamp) {
        if self.kubelet_events {
            let said = Said { component: "default-scheduler", host: "", field_path: "", kind, reason, message };
            self.recorder.record(engine, pod, said, now);
        }
    }
}

/// When an Event was last written, by its own account.
fn last_seen(event: &Object, now: Timestamp) -> Timestamp {
    let times = [
        json::text(event, &["series", "lastObservedTime"]),
        json::text(event, &["lastTimestamp"]),
        json::text(event, &["eventTime"]),
        json::text(event, &["metadata", "creationTimestamp"]),
    ];
    let known = times.iter().find_map(|t| t.parse::<jiff::Timestamp>().ok());
    known.map_or(now, |t| Timestamp::from_millis(t.as_millisecond()))
}
