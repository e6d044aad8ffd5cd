//! Random sequences of API calls by several clients, step by step against a plain model: a map of plain records and the
//! list of all its states. What must hold:
//!
//! - every answer is the one that the model gives for the newest state (the history is serialisable, in the order of revisions);
//! - a write that changes something gets the next revision, one that changes nothing none;
//! - a write with a resource version wins only if nobody wrote in between (no lost update);
//! - `generation` counts changes of the specification, and a deletion that waits;
//! - a list at a past revision, and pages begun then, are the state of then;
//! - a watch from a past revision, selected or not, makes of the list of then the list of now.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};
use sim_clock::WorldOptions;
use sim_kube::{
    ApiServer, Status, WatchQuery,
    engine::{Change, DeleteQuery, ListQuery, Object, PatchKind, ReadVersion, Target, WriteOptions, Written},
    selectors::LabelSelector,
};

const CLIENTS: usize = 3;
/// Sequences a run.
const CASES: u32 = 512;
/// Longest that a failing sequence is made smaller, in milliseconds and in attempts.
const SHRINK_MS_MAX: u32 = 20_000;
const SHRINK_STEPS_MAX: u32 = 2_000;
const FINALIZER: &str = "example.com/hold";

/// What an object is about, without the rest.
#[derive(Clone, Debug, PartialEq)]
struct Plain {
    uid: String,
    revision: u64,
    /// Of things only.
    generation: Option<i64>,
    value: u8,
    status: Option<u8>,
    held: bool,
    deleting: bool,
    owner: Option<String>,
}

/// Kind (a thing or not), namespace, name.
type Id = (bool, &'static str, &'static str);
type State = BTreeMap<Id, Plain>;

#[derive(Clone, Debug)]
enum Op {
    Create { id: Id, value: u8, held: bool },
    Get { client: usize, id: Id },
    Update { client: usize, id: Id, value: u8 },
    Status { client: usize, value: u8, id: Id },
    Patch { id: Id, value: u8, client: Option<usize> },
    Apply { client: usize, id: Id, value: u8, force: bool },
    Delete { id: Id, client: Option<usize> },
    Release { id: Id },
    Own { id: Id, owner: Id },
    Collect,
    Page { client: usize, limit: usize },
    Compact,
}

fn id() -> impl Strategy<Value = Id> {
    (any::<bool>(), prop::sample::select(vec!["ns", "ns-b"]), prop::sample::select(vec!["a", "b", "c"]))
}

fn op() -> impl Strategy<Value = Op> {
    let value = || 0_u8..4;
    let client = || 0..CLIENTS;
    prop_oneof![
        6 => (id(), value(), prop::bool::weighted(0.3)).prop_map(|(id, value, held)| Op::Create { id, value, held }),
        3 => (client(), id()).prop_map(|(client, id)| Op::Get { client, id }),
        4 => (client(), id(), value()).prop_map(|(client, id, value)| Op::Update { client, id, value }),
        2 => (client(), id(), value()).prop_map(|(client, id, value)| Op::Status { client, id, value }),
        3 => (id(), value(), prop::option::of(client())).prop_map(|(id, value, client)| Op::Patch { id, value, client }),
        3 => (client(), id(), value(), any::<bool>()).prop_map(|(client, id, value, force)| Op::Apply { client, id, value, force }),
        3 => (id(), prop::option::of(client())).prop_map(|(id, client)| Op::Delete { id, client }),
        2 => id().prop_map(|id| Op::Release { id }),
        2 => (id(), id()).prop_map(|(id, owner)| Op::Own { id, owner }),
        1 => Just(Op::Collect),
        3 => (client(), 1_usize..3).prop_map(|(client, limit)| Op::Page { client, limit }),
        1 => Just(Op::Compact),
    ]
}

/// Pages that a client has begun.
struct Pages {
    revision: u64,
    token: String,
    names: Vec<(String, String, u64)>,
}

struct World {
    api: ApiServer,
    state: State,
    /// Every state by its revision, since the last compaction.
    past: BTreeMap<u64, State>,
    /// What each client read last of each object.
    read: BTreeMap<(usize, Id), Value>,
    pages: BTreeMap<usize, Pages>,
    uids: BTreeSet<String>,
}

fn definition() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {"value": {"type": "integer"}}},
                "status": {"type": "object", "properties": {"value": {"type": "integer"}}}}}}}]}})
}

fn object(id: Id, value: u8) -> Value {
    let (thing, namespace, name) = id;
    let metadata = json!({"namespace": namespace, "name": name, "labels": {"odd": (value % 2).to_string()}});
    if thing {
        json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": metadata, "spec": {"value": value}})
    } else {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value.to_string()}})
    }
}

fn plain(thing: bool, object: &Value) -> Plain {
    let metadata = &object["metadata"];
    let value = if thing {
        object["spec"]["value"].as_u64()
    } else {
        object["data"]["value"].as_str().and_then(|t| t.parse().ok())
    };
    Plain {
        uid: metadata["uid"].as_str().expect("a uid").to_owned(),
        revision: metadata["resourceVersion"].as_str().and_then(|t| t.parse().ok()).expect("a revision"),
        generation: metadata["generation"].as_i64(),
        value: u8::try_from(value.expect("a value")).expect("a small value"),
        status: object["status"]["value"].as_u64().map(|v| v as u8),
        held: metadata["finalizers"].as_array().is_some_and(|f| !f.is_empty()),
        deleting: !metadata["deletionTimestamp"].is_null(),
        owner: metadata["ownerReferences"][0]["uid"].as_str().map(str::to_owned),
    }
}

impl World {
    fn new() -> Self {
        let api = ApiServer::new();
        api.apply(definition()).expect("a good definition");
        for name in ["ns", "ns-b"] {
            api.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
                .expect("a namespace");
        }
        let past = BTreeMap::from([(api.engine().revision(), State::new())]);
        Self { api, state: State::new(), past, read: BTreeMap::new(), pages: BTreeMap::new(), uids: BTreeSet::new() }
    }

    fn target(&self, id: Id) -> Target {
        self.api.engine().target_of(&object(id, 0)).expect("a known kind")
    }

    /// Compares an answer with the model's: an error by its code, a success by what is now stored.
    fn settle(&mut self, id: Id, answer: Result<Written, Status>, expected: Result<Plain, u16>) {
        let before = *self.past.keys().next_back().expect("the first state");
        match (answer, expected) {
            (Err(status), Err(code)) => assert_eq!(status.code, code, "{}", status.message),
            (Ok(written), Ok(mut wanted)) => {
                let got = plain(id.0, &written.object);
                let same = self
                    .state
                    .get(&id)
                    .is_some_and(|was| Plain { revision: 0, ..was.clone() } == Plain { revision: 0, ..wanted.clone() });
                if self.state.contains_key(&id) {
                    assert_eq!(got.uid, wanted.uid, "an object keeps its uid");
                } else {
                    assert!(self.uids.insert(got.uid.clone()), "a uid is given once");
                    wanted.uid.clone_from(&got.uid);
                }
                let newest = self.api.engine().revision();
                if same && newest == before {
                    wanted.revision = self.state[&id].revision;
                } else {
                    assert_eq!(newest, before + 1, "one write, one revision");
                    wanted.revision = newest;
                }
                assert_eq!(got, wanted);
                self.state.insert(id, wanted);
                self.remember();
            }
            (answer, expected) => panic!("{answer:?}, but the model says {expected:?}"),
        }
    }

    fn remember(&mut self) {
        self.past.insert(self.api.engine().revision(), self.state.clone());
    }

    /// What a deletion makes of an object: gone, or waiting.
    fn ended(mut was: Plain) -> Option<Plain> {
        if !was.held {
            return None;
        }
        if !was.deleting {
            was.deleting = true;
            was.generation = was.generation.map(|g| g + 1);
        }
        Some(was)
    }

    fn write(
        &mut self,
        id: Id,
        wanted: Result<Plain, u16>,
        call: impl FnOnce(&ApiServer, &Target) -> Result<Written, Status>,
    ) {
        let target = self.target(id);
        let answer = call(&self.api, &target);
        self.settle(id, answer, wanted);
    }

    /// The model of a change of value.
    fn changed(&self, id: Id, value: u8) -> Result<Plain, u16> {
        let was = self.state.get(&id).ok_or(404_u16)?;
        let grown = was.generation.map(|g| g + i64::from(was.value != value));
        Ok(Plain { value, generation: grown, ..was.clone() })
    }

    fn step(&mut self, op: Op) {
        let now = sim_clock::now();
        match op {
            Op::Create { id, value, held } => {
                let wanted = if self.state.contains_key(&id) {
                    Err(409)
                } else {
                    let generation = id.0.then_some(1);
                    Ok(Plain {
                        uid: String::new(),
                        revision: 0,
                        generation,
                        value,
                        status: None,
                        held,
                        deleting: false,
                        owner: None,
                    })
                };
                let mut made = object(id, value);
                if held {
                    made["metadata"]["finalizers"] = json!([FINALIZER]);
                }
                self.write(id, wanted, |api, target| {
                    api.engine().create(target, made, &WriteOptions::by("creator"), now)
                });
            }
            Op::Get { client, id } => {
                let target = self.target(id);
                let got = self.api.engine().get(&target);
                match (got, self.state.get(&id)) {
                    (Ok(got), Some(wanted)) => {
                        assert_eq!(plain(id.0, &got), *wanted);
                        self.read.insert((client, id), got.to_value());
                    }
                    (Err(status), None) => assert_eq!(status.code, 404),
                    (got, wanted) => panic!("{got:?}, but the model has {wanted:?}"),
                }
            }
            Op::Update { client, id, value } => {
                let Some(mut copy) = self.read.get(&(client, id)).cloned() else { return };
                let was = plain(id.0, &copy);
                let wanted = match self.state.get(&id) {
                    Some(live) if live.revision != was.revision => Err(409),
                    _ => self.changed(id, value),
                };
                let fresh = object(id, value);
                for field in ["spec", "data"] {
                    if !fresh[field].is_null() {
                        copy[field] = fresh[field].clone();
                    }
                }
                copy["metadata"]["labels"] = fresh["metadata"]["labels"].clone();
                let manager = format!("client-{client}");
                self.write(id, wanted, |api, target| {
                    api.engine().update(target, copy, &WriteOptions::by(&manager), now)
                });
            }
            Op::Status { client, id, value } => {
                let id = (true, id.1, id.2);
                let Some(mut copy) = self.read.get(&(client, id)).cloned() else { return };
                let was = plain(true, &copy);
                let wanted = match self.state.get(&id) {
                    None => Err(404),
                    Some(live) if live.revision != was.revision => Err(409),
                    Some(live) => Ok(Plain { status: Some(value), ..live.clone() }),
                };
                copy["status"] = json!({"value": value});
                // Not the status' business.
                copy["spec"]["value"] = json!(99);
                let manager = format!("client-{client}");
                self.write(id, wanted, |api, target| {
                    let target = Target { subresource: "status".into(), ..target.clone() };
                    api.engine().update(&target, copy, &WriteOptions::by(&manager), now)
                });
            }
            Op::Patch { id, value, client } => {
                let mut patch = object(id, value);
                let mut wanted = self.changed(id, value);
                if let Some(copy) = client.and_then(|c| self.read.get(&(c, id))) {
                    patch["metadata"]["resourceVersion"] = copy["metadata"]["resourceVersion"].clone();
                    if self.state.get(&id).is_some_and(|live| live.revision != plain(id.0, copy).revision) {
                        wanted = Err(409);
                    }
                }
                self.write(id, wanted, |api, target| {
                    api.engine().patch(target, PatchKind::Merge, &patch, &WriteOptions::by("patcher"), now)
                });
            }
            Op::Apply { client, id, value, force } => {
                let wanted = match self.changed(id, value) {
                    Ok(wanted) => wanted,
                    Err(_) => Plain {
                        uid: String::new(),
                        revision: 0,
                        generation: id.0.then_some(1),
                        value,
                        status: None,
                        held: false,
                        deleting: false,
                        owner: None,
                    },
                };
                let config = object(id, value);
                let target = self.target(id);
                let options = WriteOptions { force, ..WriteOptions::by(&format!("client-{client}")) };
                let answer = self.api.engine().apply(&target, &config, &options, now);
                match answer {
                    Err(status) if !force && self.state.get(&id).is_some_and(|was| was.value != value) => {
                        assert_eq!(status.code, 409, "{}", status.message);
                        let live = self.api.engine().get(&target).expect("it is there");
                        assert_eq!(plain(id.0, &live), self.state[&id], "a conflict changes nothing");
                    }
                    answer => self.settle(id, answer, Ok(wanted)),
                }
            }
            Op::Delete { id, client } => {
                let copy = client.and_then(|c| self.read.get(&(c, id))).map(|c| plain(id.0, c));
                let query = DeleteQuery {
                    resource_version: copy.as_ref().map(|c| c.revision.to_string()),
                    ..DeleteQuery::default()
                };
                let target = self.target(id);
                let answer = self.api.engine().delete(&target, &query, now);
                match (answer, self.state.get(&id).cloned()) {
                    (Err(status), None) => assert_eq!(status.code, 404),
                    (Err(status), Some(was)) => {
                        assert_eq!(status.code, 409, "{}", status.message);
                        assert!(
                            copy.is_some_and(|c| c.revision != was.revision),
                            "a delete without a reason is refused"
                        );
                    }
                    (Ok((_, gone)), Some(was)) => {
                        assert!(copy.is_none_or(|c| c.revision == was.revision), "a stale precondition is not held");
                        let newest = self.api.engine().revision();
                        match Self::ended(was.clone()) {
                            None => {
                                assert!(gone);
                                self.state.remove(&id);
                            }
                            Some(left) => {
                                assert!(!gone);
                                let revision = if was.deleting { was.revision } else { newest };
                                let live = self.api.engine().get(&target).expect("it waits");
                                assert_eq!(plain(id.0, &live), Plain { revision, ..left.clone() });
                                self.state.insert(id, Plain { revision, ..left });
                            }
                        }
                        self.remember();
                    }
                    (Ok(_), None) => panic!("what is not there was deleted"),
                }
            }
            Op::Release { id } => {
                let patch = json!({"metadata": {"finalizers": null}});
                let target = self.target(id);
                let answer =
                    self.api.engine().patch(&target, PatchKind::Merge, &patch, &WriteOptions::by("releaser"), now);
                match self.state.get(&id).cloned() {
                    Some(was) if was.deleting => {
                        answer.expect("released");
                        assert!(self.api.engine().get(&target).is_err(), "nothing holds it any more");
                        self.state.remove(&id);
                        self.remember();
                    }
                    Some(was) => self.settle(id, answer, Ok(Plain { held: false, ..was })),
                    None => assert_eq!(answer.expect_err("nothing there").code, 404),
                }
            }
            Op::Own { id, owner } => {
                let (Some(was), Some(by)) = (self.state.get(&id).cloned(), self.state.get(&owner).cloned()) else {
                    return;
                };
                if owner.1 != id.1 || owner == id {
                    return;
                }
                let kind = object(owner, 0);
                let patch = json!({"metadata": {"ownerReferences": [{"apiVersion": kind["apiVersion"], "kind": kind["kind"], "name": owner.2, "uid": by.uid}]}});
                let wanted = Ok(Plain { owner: Some(by.uid), ..was });
                self.write(id, wanted, |api, target| {
                    api.engine().patch(target, PatchKind::Merge, &patch, &WriteOptions::by("owner"), now)
                });
            }
            Op::Collect => self.collect(),
            Op::Page { client, limit } => self.page(client, limit),
            Op::Compact => {
                self.api.engine().compact();
                self.past.clear();
                self.remember();
            }
        }
    }

    /// Collects until nothing changes; the model lets everything go whose owner is gone.
    fn collect(&mut self) {
        loop {
            let before = self.api.engine().revision();
            sim_kube::workloads::collect(&mut self.api.engine(), sim_clock::now());
            if self.api.engine().revision() == before {
                break;
            }
        }
        loop {
            let lives: BTreeSet<String> = self.state.values().map(|p| p.uid.clone()).collect();
            let lost = self
                .state
                .iter()
                .find(|(_, p)| p.owner.as_ref().is_some_and(|o| !lives.contains(o)) && !(p.deleting && p.held));
            let Some((id, was)) = lost.map(|(id, was)| (*id, was.clone())) else { break };
            match Self::ended(was) {
                None => self.state.remove(&id),
                Some(left) => self.state.insert(id, left),
            };
        }
        let stored = self.stored();
        // In which order things were collected is the collector's matter: the revisions are learnt.
        for (id, was) in &mut self.state {
            if let Some(live) = stored.get(id) {
                was.revision = live.revision;
            }
        }
        assert_eq!(stored, self.state, "what is left after collecting");
        self.remember();
    }

    fn stored(&self) -> State {
        let engine = self.api.engine();
        let mut stored = State::new();
        for (thing, table) in [(false, "configmaps"), (true, "things.example.com")] {
            for object in engine.scan(table, None) {
                stored.insert(identify(thing, object), plain(thing, object));
            }
        }
        stored
    }

    /// The next page of a client's walk through all config maps, begun anew where it has none.
    fn page(&mut self, client: usize, limit: usize) {
        let target = Target { namespace: String::new(), name: String::new(), ..self.target((false, "ns", "a")) };
        let begun = self.pages.remove(&client);
        let token = begun.as_ref().map(|p| p.token.clone()).unwrap_or_default();
        let page = self.api.engine().list(&target, &ListQuery { limit, continue_token: token, ..ListQuery::default() });
        let page = match (page, &begun) {
            (Err(status), Some(pages)) => {
                assert_eq!(status.code, 410);
                assert!(pages.revision < *self.past.keys().next().expect("a state"), "pages last until a compaction");
                return;
            }
            (page, _) => page.expect("a first page"),
        };
        let mut pages = begun.unwrap_or(Pages { revision: page.revision, token: String::new(), names: Vec::new() });
        assert_eq!(page.revision, pages.revision, "all pages are of one revision");
        pages.names.extend(page.items.iter().map(listed));
        let then = maps(&self.past[&pages.revision]);
        assert_eq!(page.remaining.unwrap_or(0), then.len() - pages.names.len(), "what is left is said");
        if page.continue_token.is_empty() {
            assert_eq!(pages.names, then, "the pages together are the list of then");
        } else {
            self.pages.insert(client, Pages { token: page.continue_token, ..pages });
        }
    }

    /// Every remembered revision: lists at it, and watches from it to now.
    fn check_past(&self) {
        for (revision, then) in &self.past {
            for thing in [false, true] {
                let target =
                    Target { namespace: String::new(), name: String::new(), ..self.target((thing, "ns", "a")) };
                for selector in ["", "odd=1"] {
                    let labels = LabelSelector::parse(selector).expect("a selector");
                    let chosen = |state: &State| -> State {
                        let mine =
                            state.iter().filter(|(id, p)| id.0 == thing && (selector.is_empty() || p.value % 2 == 1));
                        mine.map(|(id, p)| (*id, p.clone())).collect()
                    };
                    let query = ListQuery {
                        labels: labels.clone(),
                        version: ReadVersion::Exact(*revision),
                        ..ListQuery::default()
                    };
                    let page = self.api.engine().list(&target, &query).expect("a past list");
                    let listed: State = page.items.iter().map(|o| (identify(thing, o), plain(thing, o))).collect();
                    assert_eq!(listed, chosen(then), "the list at {revision}");
                    let query = WatchQuery { labels, after: Some(*revision), ..WatchQuery::default() };
                    let seen = self.watched(&target, query, listed, thing);
                    assert_eq!(seen, chosen(&self.state), "the watch from {revision}, {selector:?}");
                }
            }
        }
    }

    fn watched(&self, target: &Target, query: WatchQuery, mut seen: State, thing: bool) -> State {
        let mut last = query.after.unwrap_or(0);
        let mut watcher = self.api.watch(target.resource.clone(), query);
        while let Some(event) = watcher.try_next().expect("no gap") {
            assert!(event.event.revision > last, "revisions grow");
            last = event.event.revision;
            let id = identify(thing, &event.event.object);
            let now = plain(thing, &event.event.object);
            assert_eq!(now.revision, last, "an event's object is of its revision");
            let was = if event.change == Change::Deleted { seen.remove(&id) } else { seen.insert(id, now) };
            assert_eq!(was.is_some(), event.change != Change::Added, "{:?} of {id:?}", event.change);
        }
        seen
    }
}

fn identify(thing: bool, object: &Value) -> Id {
    let known = |text: &Value, all: [&'static str; 5]| all.into_iter().find(|k| text == k).expect("one of ours");
    let all = ["ns", "ns-b", "a", "b", "c"];
    (thing, known(&object["metadata"]["namespace"], all), known(&object["metadata"]["name"], all))
}

fn listed(object: &Object) -> (String, String, u64) {
    let text = |field: &str| object["metadata"][field].as_str().expect("a text").to_owned();
    (text("namespace"), text("name"), object.revision())
}

/// The config maps of a state in the order of a list: of keys `<namespace>/<name>`.
fn maps(state: &State) -> Vec<(String, String, u64)> {
    let mut all: Vec<_> =
        state.iter().filter(|(id, _)| !id.0).map(|(id, p)| (id.1.to_owned(), id.2.to_owned(), p.revision)).collect();
    all.sort_by_key(|(namespace, name, _)| format!("{namespace}/{name}"));
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, max_shrink_time: SHRINK_MS_MAX, max_shrink_iters: SHRINK_STEPS_MAX, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_calls_is_answered_as_the_model_answers_it(ops in prop::collection::vec(op(), 1..60)) {
        let ran = sim_clock::run(WorldOptions::seeded(7), move || async move {
            let mut world = World::new();
            for op in ops {
                world.step(op);
                assert_eq!(world.stored(), world.state);
            }
            world.check_past();
        });
        prop_assert!(ran.is_ok(), "{}", ran.expect_err("it is not"));
    }
}
