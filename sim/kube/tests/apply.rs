//! Random sequences of server-side applies and patches on a typed object, step by step against a plain model of who owns
//! what: applying twice changes nothing, forced applies never conflict, refused ones change nothing, what its only owner no
//! longer names goes, what others own stays, and every field that somebody wrote has the owners of the model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};
use sim_clock::{Chance, Timestamp};
use sim_kube::engine::{Engine, PatchKind, WriteOptions};

const START: i64 = 1_770_000_000;
const CASES: u32 = 192;
/// Longest that a failing sequence is made smaller, in milliseconds and in attempts.
const SHRINK_MS_MAX: u32 = 20_000;
const SHRINK_STEPS_MAX: u32 = 2_000;

/// A field that somebody can own: a label (of a granular map), an item of `env` (a list by name), such an item's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Leaf {
    Label(&'static str),
    Item(&'static str),
    Value(&'static str),
}

/// What an applier says of labels and of `env`.
type Said = BTreeMap<&'static str, u8>;

#[derive(Clone, Debug)]
enum Op {
    Apply { who: &'static str, labels: Said, env: Said, force: bool },
    Patch { who: &'static str, label: &'static str, value: Option<u8> },
}

fn said() -> impl Strategy<Value = Said> {
    prop::collection::btree_map(prop::sample::select(vec!["a", "b", "c"]), 0_u8..3, 0..3)
}

fn op() -> impl Strategy<Value = Op> {
    let applier = prop::sample::select(vec!["ann", "bob", "cid"]);
    let patcher = prop::sample::select(vec!["ann", "pat"]);
    prop_oneof![
        3 => (applier, said(), said(), any::<bool>())
            .prop_map(|(who, labels, env, force)| Op::Apply { who, labels, env, force }),
        1 => (patcher, prop::sample::select(vec!["a", "b", "c"]), prop::option::of(0_u8..3))
            .prop_map(|(who, label, value)| Op::Patch { who, label, value }),
    ]
}

/// Every configuration names one label that none changes: whether the map itself has owners is not the model's matter.
fn config(labels: &Said, env: &Said) -> Value {
    let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "main", "image": "web:1"}]}}}});
    for (label, value) in labels {
        object["metadata"]["labels"][*label] = value.to_string().into();
    }
    if !env.is_empty() {
        let items = env.iter().map(|(name, value)| json!({"name": name, "value": value.to_string()}));
        object["spec"]["template"]["spec"]["containers"][0]["env"] = items.collect();
    }
    object
}

/// A manager: its name, and whether it applies.
type Manager = (&'static str, bool);

#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    /// Values of what is there; an item has none of its own.
    fields: BTreeMap<Leaf, Option<u8>>,
    owners: BTreeMap<Leaf, BTreeSet<Manager>>,
}

impl Model {
    /// What the model makes of an apply; `None`: a conflict.
    fn apply(&self, me: Manager, wanted: &BTreeMap<Leaf, Option<u8>>, force: bool) -> Option<Model> {
        let mut next = self.clone();
        for (leaf, value) in wanted {
            let owners = next.owners.entry(*leaf).or_default();
            if self.fields.get(leaf).is_some_and(|was| was != value) {
                if !force && owners.iter().any(|o| *o != me) {
                    return None;
                }
                owners.clear();
            }
            owners.insert(me);
            next.fields.insert(*leaf, *value);
        }
        for (leaf, owners) in &mut next.owners {
            if !wanted.contains_key(leaf) && owners.remove(&me) && owners.is_empty() {
                next.fields.remove(leaf);
            }
        }
        next.owners.retain(|_, owners| !owners.is_empty());
        Some(next)
    }

    fn patch(&mut self, me: Manager, leaf: Leaf, value: Option<u8>) {
        match value {
            Some(_) if self.fields.get(&leaf) == Some(&value) => {}
            Some(_) => {
                self.fields.insert(leaf, value);
                self.owners.insert(leaf, BTreeSet::from([me]));
            }
            None => {
                self.fields.remove(&leaf);
                self.owners.remove(&leaf);
            }
        }
    }
}

fn small(value: &Value) -> Option<u8> {
    value.as_str().and_then(|text| text.parse().ok())
}

fn known(text: &str, all: &[&'static str]) -> &'static str {
    all.iter().find(|k| **k == text).expect("one of ours")
}

/// What is stored, in the model's terms.
fn stored(object: &Value) -> Model {
    let names = ["a", "b", "c"];
    let mut model = Model::default();
    for (label, value) in
        object["metadata"]["labels"].as_object().into_iter().flatten().filter(|(label, _)| *label != "app")
    {
        model.fields.insert(Leaf::Label(known(label, &names)), small(value));
    }
    for item in object["spec"]["template"]["spec"]["containers"][0]["env"].as_array().into_iter().flatten() {
        let name = known(item["name"].as_str().expect("a name"), &names);
        model.fields.insert(Leaf::Item(name), None);
        if !item["value"].is_null() {
            model.fields.insert(Leaf::Value(name), small(&item["value"]));
        }
    }
    for entry in object["metadata"]["managedFields"].as_array().expect("managers") {
        let name = known(entry["manager"].as_str().expect("a name"), &["ann", "bob", "cid", "pat"]);
        let me = (name, entry["operation"] == "Apply");
        let fields = &entry["fieldsV1"];
        let env = &fields["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"main\"}"]["f:env"];
        for name in names {
            let item = &env[format!("k:{{\"name\":\"{name}\"}}")];
            let owned = [
                (Leaf::Label(name), &fields["f:metadata"]["f:labels"][format!("f:{name}")]),
                (Leaf::Item(name), &item["."]),
                (Leaf::Value(name), &item["f:value"]),
            ];
            for (leaf, _) in owned.into_iter().filter(|(_, field)| field.is_object()) {
                model.owners.entry(leaf).or_default().insert(me);
            }
        }
    }
    model
}

fn run(ops: &[Op]) {
    let mut now = Timestamp::from_secs(START);
    let mut engine = Engine::new(Chance::new(1, "apply"), now);
    let nothing = Said::new();
    let target = engine.target_of(&config(&nothing, &nothing)).expect("a known kind");
    engine.apply(&target, &config(&nothing, &nothing), &WriteOptions::by("ann"), now).expect("the first apply");
    let mut model = Model::default();
    for op in ops {
        now = now + std::time::Duration::from_secs(1);
        match op {
            Op::Apply { who, labels, env, force } => {
                let mut wanted: BTreeMap<_, _> = labels.iter().map(|(k, v)| (Leaf::Label(k), Some(*v))).collect();
                for (name, value) in env {
                    wanted.extend([(Leaf::Item(name), None), (Leaf::Value(name), Some(*value))]);
                }
                let options = WriteOptions { force: *force, ..WriteOptions::by(who) };
                let before = engine.revision();
                let answer = engine.apply(&target, &config(labels, env), &options, now);
                match (answer, model.apply((who, true), &wanted, *force)) {
                    (Ok(_), Some(next)) => {
                        model = next;
                        let after = engine.revision();
                        now = now + std::time::Duration::from_secs(1);
                        engine.apply(&target, &config(labels, env), &WriteOptions::by(who), now).expect("again");
                        assert_eq!(engine.revision(), after, "applying the same again is no write");
                    }
                    (Err(status), None) => {
                        assert_eq!((status.code, engine.revision()), (409, before), "{}", status.message);
                    }
                    (Ok(_), None) => panic!("a conflict was not noticed"),
                    (Err(status), Some(_)) => panic!("no conflict, but {}", status.message),
                }
            }
            Op::Patch { who, label, value } => {
                let body = json!({"metadata": {"labels": {*label: value.map(|v| v.to_string())}}});
                engine.patch(&target, PatchKind::Merge, &body, &WriteOptions::by(who), now).expect("a good patch");
                model.patch((who, false), Leaf::Label(label), *value);
            }
        }
        let live = engine.get(&target).expect("it is there");
        assert_eq!(stored(&live.to_value()), model, "after {op:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: CASES, max_shrink_time: SHRINK_MS_MAX, max_shrink_iters: SHRINK_STEPS_MAX, failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn owners_of_fields_are_those_of_the_model_after_any_applies_and_patches(ops in prop::collection::vec(op(), 1..20)) {
        run(&ops);
    }
}
