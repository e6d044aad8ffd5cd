//! Carrying out what a step asks for.

use sim_clock::Timestamp;

use super::{Step, Write};
use crate::{
    engine::{DeleteQuery, Engine, Object, Target, WriteOptions, Written},
    events::{Recorder, Said},
    json,
    status::Status,
};

/// Who the controllers' writes are by.
pub(super) const MANAGER: &str = "kube-controller-manager";

/// Carries out a step's writes in order, and says on the owner what became of its dependents. Returns what the first
/// refused creation was refused with: the objects after it are not tried, as the real controllers do not.
pub(super) fn perform(engine: &mut Engine, recorder: &mut Recorder, step: Step, now: Timestamp) -> Option<Status> {
    let options = WriteOptions::by(MANAGER);
    let component = step.component;
    let mut refused = None;
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
            Write::Delete(object) => delete(engine, &object, now),
            Write::Say { about, kind, reason, message } => {
                say(engine, recorder, component, &about, (kind, reason, &message), now);
                Ok(())
            }
            Write::CreateFor(_, _) if refused.is_some() => Ok(()),
            Write::CreateFor(owner, object) => {
                let made = engine.create_object(object.clone(), &options, now);
                let text = created(component, &owner, &object, made.as_ref());
                match &made {
                    Ok(_) => say(engine, recorder, component, &owner, ("Normal", "SuccessfulCreate", &text), now),
                    // Another look at the owner made it already, or nothing may be made any more.
                    Err(status) if status.reason == "AlreadyExists" => {}
                    Err(status) => {
                        if !status.message.contains("because it is being terminated") {
                            say(engine, recorder, component, &owner, ("Warning", "FailedCreate", &text), now);
                        }
                        refused = Some(status.clone());
                    }
                }
                made.map(drop)
            }
            Write::DeleteFor(owner, object) => {
                let done = delete(engine, &object, now);
                if done.is_ok() {
                    let text = deleted(component, &owner, &object);
                    say(engine, recorder, component, &owner, ("Normal", "SuccessfulDelete", &text), now);
                }
                done
            }
        };
    }
    refused
}

fn delete(engine: &mut Engine, object: &Object, now: Timestamp) -> Result<(), Status> {
    let query = DeleteQuery { uid: Some(json::uid(object).to_owned()), ..DeleteQuery::default() };
    engine.target_of(object).and_then(|t| engine.delete(&t, &query, now)).map(drop)
}

fn say(
    engine: &mut Engine,
    recorder: &mut Recorder,
    component: &str,
    about: &Object,
    (kind, reason, message): (&str, &str, &str),
    now: Timestamp,
) {
    recorder.record(engine, about, Said { component, host: "", field_path: "", kind, reason, message }, now);
}

fn created(component: &str, owner: &Object, wanted: &serde_json::Value, made: Result<&Written, &Status>) -> String {
    let kind = json::text(wanted, &["kind"]);
    let name = made.map_or_else(|_| json::name(wanted), |w| json::name(&w.object)).to_owned();
    if component == "statefulset-controller" {
        let set = format!("StatefulSet {}", json::name(owner));
        return match (kind, made) {
            ("PersistentVolumeClaim", Ok(_)) => {
                // Claims are called `<template>-<pod>`.
                let pod = name.find(&format!("{}-", json::name(owner))).map_or(name.as_str(), |at| &name[at..]);
                format!("create Claim {name} Pod {pod} in {set} success")
            }
            ("PersistentVolumeClaim", Err(status)) => {
                format!("create Claim {name} in {set} failed error: {}", status.message)
            }
            (_, Ok(_)) => format!("create Pod {name} in {set} successful"),
            (_, Err(status)) => format!("create Pod {name} in {set} failed error: {}", status.message),
        };
    }
    match made {
        Ok(_) if kind == "Pod" => format!("Created pod: {name}"),
        Ok(_) => format!("Created {} {name}", kind.to_ascii_lowercase()),
        Err(status) if kind == "Pod" => format!("Error creating: {}", status.message),
        Err(status) => format!("Error creating {}: {}", kind.to_ascii_lowercase(), status.message),
    }
}

fn deleted(component: &str, owner: &Object, object: &Object) -> String {
    let (kind, name) = (json::text(object, &["kind"]), json::name(object));
    match component {
        "statefulset-controller" => format!("delete {kind} {name} in StatefulSet {} successful", json::name(owner)),
        _ if kind == "Pod" => format!("Deleted pod: {name}"),
        _ => format!("Deleted {} {name}", kind.to_ascii_lowercase()),
    }
}
