//! The loop that feeds the steps from the store's events and carries out what they ask for.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};
use sim_clock::{Timestamp, now};
use sim_net::Network;

use super::{Step, Write, collect, deployment, endpoints, pods::set_condition, published, replica_set, stateful_set};
use crate::{
    engine::{DeleteQuery, Engine, Event, Key, Object, Target, WriteOptions},
    events, json,
    server::ApiServer,
};

const MANAGER: &str = "kube-controller-manager";
/// How long after a change the controllers look at it.
const REACTION: Duration = Duration::from_millis(2);

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Namespace(Key),
    Claim(Key),
    Pod(Key),
    Deployment(Key),
    StatefulSet(Key),
    ReplicaSet(Key),
    Service(Key),
}

const TABLES: &[&str] = &[
    "namespaces",
    "persistentvolumeclaims",
    "pods",
    "deployments.apps",
    "statefulsets.apps",
    "replicasets.apps",
    "services",
];

struct Loop {
    server: ApiServer,
    network: Network,
    nodes: usize,
    positions: BTreeMap<&'static str, u64>,
    work: BTreeSet<Work>,
    later: BTreeSet<(Timestamp, Work)>,
    names: BTreeMap<Key, Vec<String>>,
    kubelet_events: bool,
}

/// Runs all controllers until the world ends.
pub(crate) async fn run(server: ApiServer, network: Network, nodes: usize, kubelet_events: bool) {
    let mut wake = server.engine().subscribe_all();
    let mut state = Loop {
        server,
        network,
        nodes,
        positions: BTreeMap::new(),
        work: BTreeSet::new(),
        later: BTreeSet::new(),
        names: BTreeMap::new(),
        kubelet_events,
    };
    loop {
        state.pass();
        let next = state.later.first().map(|(at, _)| at.since(now()));
        tokio::select! {
            biased;
            changed = wake.changed() => if changed.is_err() { return },
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
        let now = now();
        while let Some((at, work)) = self.later.first().cloned().filter(|(at, _)| *at <= now) {
            self.later.remove(&(at, work.clone()));
            self.work.insert(work);
        }
        for work in std::mem::take(&mut self.work) {
            self.look(&mut engine, work, now);
        }
        collect(&mut engine, now);
    }

    fn drain(&mut self, engine: &Engine) {
        for table in TABLES {
            let seen = self.positions.get(table).copied().unwrap_or(0);
            match engine.events_after(table, seen) {
                Ok(events) => events.iter().for_each(|e| self.notice(engine, table, e)),
                Err(_) => {
                    let all: Vec<Object> = engine.scan(table, None).cloned().collect();
                    for object in &all {
                        self.notice_object(engine, table, object);
                    }
                }
            }
            self.positions.insert(table, engine.revision());
        }
    }

    fn notice(&mut self, engine: &Engine, table: &str, event: &Event) {
        self.notice_object(engine, table, &event.object);
        if let Some(before) =
            event.before.as_ref().filter(|b| table == "pods" && b.get("metadata") != event.object.get("metadata"))
        {
            self.notice_object(engine, table, before);
        }
    }

    fn notice_object(&mut self, engine: &Engine, table: &str, object: &Object) {
        let key = Key::of(object);
        match table {
            "namespaces" => drop(self.work.insert(Work::Namespace(key))),
            "persistentvolumeclaims" => drop(self.work.insert(Work::Claim(key))),
            "deployments.apps" => drop(self.work.insert(Work::Deployment(key))),
            "statefulsets.apps" => drop(self.work.insert(Work::StatefulSet(key))),
            "services" => drop(self.work.insert(Work::Service(key))),
            "replicasets.apps" => {
                self.owner(object);
                self.work.insert(Work::ReplicaSet(key));
            }
            _ => {
                self.owner(object);
                for service in engine.scan("services", Some(&key.namespace)) {
                    self.work.insert(Work::Service(Key::of(service)));
                }
                self.work.insert(Work::Pod(key));
            }
        }
    }

    fn owner(&mut self, object: &Value) {
        if let Some(owner) = json::controller_of(object) {
            let key = Key::new(json::namespace(object), json::text(owner, &["name"]));
            match json::text(owner, &["kind"]) {
                "Deployment" => drop(self.work.insert(Work::Deployment(key))),
                "ReplicaSet" => drop(self.work.insert(Work::ReplicaSet(key))),
                "StatefulSet" => drop(self.work.insert(Work::StatefulSet(key))),
                _ => {}
            }
        }
    }

    fn look(&mut self, engine: &mut Engine, work: Work, now: Timestamp) {
        let get = |engine: &Engine, table: &str, key: &Key| engine.peek(table, &key.namespace, &key.name).cloned();
        let step = match &work {
            Work::Namespace(key) => match get(engine, "namespaces", key) {
                Some(namespace) if !json::deleting(&namespace) => {
                    let made = super::collect::namespace_contents(&key.name);
                    Step { writes: made.into_iter().map(Write::Create).collect(), again: None }
                }
                _ => Step::default(),
            },
            Work::Claim(key) => {
                get(engine, "persistentvolumeclaims", key).map_or_else(Step::default, |claim| bind(&claim))
            }
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
            Work::ReplicaSet(key) => {
                get(engine, "replicasets.apps", key).map_or_else(Step::default, |o| replica_set(engine, &o, now))
            }
            Work::Service(key) => {
                let service = get(engine, "services", key);
                self.publish(engine, key, service.as_ref());
                service.map_or_else(Step::default, |o| endpoints(engine, &o))
            }
        };
        if let Some(again) = step.again {
            self.later.insert((now + again, work));
        }
        perform(engine, step, MANAGER, now);
    }

    fn publish(&mut self, engine: &Engine, key: &Key, service: Option<&Object>) {
        if key.namespace == "default" && key.name == "kubernetes" {
            return; // the API server's own names are set when the cluster starts
        }
        let wanted = service.map(|s| published(engine, s)).unwrap_or_default();
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

    /// Binds a pod to the node with the fewest pods.
    fn schedule(&mut self, engine: &mut Engine, pod: &Object, now: Timestamp) {
        if !json::text(pod, &["spec", "nodeName"]).is_empty() || json::deleting(pod) {
            return;
        }
        let mut load: BTreeMap<String, usize> = (0..self.nodes).map(|i| (format!("node-{i}"), 0)).collect();
        for other in engine.scan("pods", None) {
            if let Some(n) = load.get_mut(json::text(other, &["spec", "nodeName"])) {
                *n += 1;
            }
        }
        let Some(node) = load.iter().min_by_key(|(name, n)| (**n, (*name).clone())).map(|(name, _)| name.clone())
        else {
            return;
        };
        let mut bound = pod.to_value();
        bound["spec"]["nodeName"] = node.clone().into();
        let Ok(target) = engine.target_of(pod) else { return };
        let by = WriteOptions::by("kube-scheduler");
        if let Ok(written) = engine.update(&target, bound, &by, now) {
            let mut next = written.object.to_value();
            set_condition(&mut next["status"], "PodScheduled", true, "", "", &now.rfc3339(), false);
            let status = Target { subresource: "status".into(), ..target };
            let _ = engine.update(&status, next, &by, now);
            if self.kubelet_events {
                let text = format!("Successfully assigned {}/{} to {node}", json::namespace(pod), json::name(pod));
                events::record(engine, pod, "default-scheduler", "", "Normal", "Scheduled", &text, now);
            }
        }
    }
}

fn bind(claim: &Object) -> Step {
    if json::text(claim, &["status", "phase"]) == "Bound" || json::deleting(claim) {
        return Step::default();
    }
    let volume = format!("pvc-{}", json::uid(claim));
    let mut spec = claim.to_value();
    json::ensure_map(&mut spec["metadata"]).shift_remove("resourceVersion");
    spec["spec"]["volumeName"] = volume.into();
    let mut status = spec.clone();
    status["status"] = json!({"phase": "Bound", "accessModes": claim["spec"]["accessModes"], "capacity": json::at(claim, &["spec", "resources", "requests"]).cloned().unwrap_or_else(|| json!({}))});
    Step { writes: vec![Write::Update(spec), Write::Status(status)], again: None }
}

/// Carries out a step's writes; what is refused is looked at again with the event that refused it.
fn perform(engine: &mut Engine, step: Step, manager: &str, now: Timestamp) {
    let options = WriteOptions::by(manager);
    for write in step.writes {
        // A refusal (the object moved on, its namespace is terminating) comes with an event that brings the step back.
        let _ = match write {
            Write::Create(object) => engine.create_object(object, &options, now).map(drop),
            Write::Update(object) => {
                engine.target_of(&object).and_then(|t| engine.update(&t, object, &options, now)).map(drop)
            }
            Write::Status(object) => engine
                .target_of(&object)
                .map(|t| Target { subresource: "status".into(), ..t })
                .and_then(|t| engine.update(&t, object, &options, now))
                .map(drop),
            Write::Delete(object) => engine
                .target_of(&object)
                .and_then(|t| {
                    engine.delete(
                        &t,
                        &DeleteQuery { uid: Some(json::uid(&object).to_owned()), ..DeleteQuery::default() },
                        now,
                    )
                })
                .map(drop),
        };
    }
}
