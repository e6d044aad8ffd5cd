//! Garbage collection by owner references, namespaces being emptied, custom resources whose definition goes.

use std::collections::BTreeSet;

use serde_json::Value;
use sim_clock::Timestamp;

use crate::{
    engine::{CUSTOM_CLEANUP, DeleteQuery, Engine, FOREGROUND, Garbage, Object, Target},
    json,
};

fn target(engine: &Engine, object: &Value) -> Option<Target> {
    engine.target_of(object).ok()
}

fn delete(engine: &mut Engine, object: &Object, now: Timestamp) {
    if json::deleting(object) {
        return;
    }
    if let Some(target) = target(engine, object) {
        let query = DeleteQuery { uid: Some(json::uid(object).to_owned()), ..DeleteQuery::default() };
        // Gone already, or another object by the same name: nothing to collect.
        let _ = engine.delete(&target, &query, now);
    }
}

/// Works through everything the engine put aside.
pub fn collect(engine: &mut Engine, now: Timestamp) {
    // The same thing is put aside once for each write that touched it: one look is enough.
    let mut seen = BTreeSet::new();
    for item in engine.take_garbage() {
        if !seen.insert(item.clone()) {
            continue;
        }
        match item {
            Garbage::OwnerGone(uid) => {
                if engine.lives(&uid) {
                    owner_waits(engine, &uid, now);
                } else {
                    for dependent in engine.dependents(&uid) {
                        release(engine, &dependent, now);
                    }
                }
            }
            Garbage::Check(table, key) => {
                let Some(object) = engine.peek(&table, &key.namespace, &key.name).cloned() else { continue };
                if json::deleting(&object) {
                    ending(engine, &object, now);
                } else {
                    release(engine, &object, now);
                }
            }
        }
    }
}

/// Deletes the object if all its owners are gone; else drops the references to those that are.
fn release(engine: &mut Engine, object: &Object, now: Timestamp) {
    let owners = json::list(object, &["metadata", "ownerReferences"]);
    if owners.is_empty() {
        return;
    }
    let alive: Vec<Value> = owners.iter().filter(|o| engine.lives(json::text(o, &["uid"]))).cloned().collect();
    if alive.is_empty() {
        delete(engine, object, now);
    } else if alive.len() < owners.len()
        && let Some(target) = target(engine, object)
    {
        let mut next = object.to_content();
        next["metadata"]["ownerReferences"] = alive.into();
        let _ = engine.update(&target, next, &crate::engine::WriteOptions::by("kube-controller-manager"), now);
    }
}

fn owner_waits(engine: &mut Engine, uid: &str, now: Timestamp) {
    let waiting = engine.by_uid(uid).filter(|o| json::deleting(o)).cloned();
    if let Some(owner) = waiting {
        ending(engine, &owner, now);
    }
}

/// Goes on with a deletion that is held by one of the cluster's own finalizers.
fn ending(engine: &mut Engine, object: &Object, now: Timestamp) {
    let Some(resource) = target(engine, object).map(|t| t.resource) else { return };
    let key = crate::engine::Key::of(object);
    if json::list(object, &["metadata", "finalizers"]).contains(&FOREGROUND.into()) {
        let dependents = engine.dependents(json::uid(object));
        for dependent in &dependents {
            delete(engine, dependent, now);
        }
        let blocked = engine.dependents(json::uid(object)).iter().any(|d| {
            json::list(d, &["metadata", "ownerReferences"])
                .iter()
                .any(|o| o["uid"] == object["metadata"]["uid"] && o["blockOwnerDeletion"] == true)
        });
        if !blocked {
            engine.remove_finalizer(&resource.table, &key, FOREGROUND);
        }
    }
    match resource.kind.as_str() {
        "Namespace" => empty_namespace(engine, &key.name, now),
        "CustomResourceDefinition" => {
            let table = json::name(object).to_owned();
            let instances: Vec<Object> = engine.scan(&table, None).cloned().collect();
            for instance in &instances {
                delete(engine, instance, now);
            }
            if engine.scan(&table, None).next().is_none() {
                engine.remove_finalizer(&resource.table, &key, CUSTOM_CLEANUP);
            }
        }
        _ => {}
    }
}

/// Deletes what is in a terminating namespace, and the namespace when it is empty.
pub(super) fn empty_namespace(engine: &mut Engine, namespace: &str, now: Timestamp) {
    let tables: Vec<_> = engine.registry().tables().into_iter().filter(|r| r.namespaced).collect();
    let inside = |engine: &Engine| {
        tables
            .iter()
            .flat_map(|r| engine.scan(&r.table, Some(namespace)).cloned().collect::<Vec<_>>())
            .collect::<Vec<Object>>()
    };
    for object in inside(engine) {
        delete(engine, &object, now);
    }
    if inside(engine).is_empty() {
        engine.remove_finalizer("namespaces", &crate::engine::Key::new("", namespace), "kubernetes");
    }
}
