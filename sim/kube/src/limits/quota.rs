//! ResourceQuota: what a namespace holds, and what is refused because it would hold too much.
//!
//! Usage is counted from what is stored whenever it is asked for: a creation in a namespace with quotas costs one look at what
//! they limit.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    decoding::canonical_quantity,
    engine::{Engine, Object},
    json,
    resources::ResourceType,
    status::Status,
    workloads::milli,
};

/// Kinds that a quota counts by a name of their own, with their tables.
const COUNTED: &[(&str, &str)] = &[
    ("configmaps", "configmaps"),
    ("persistentvolumeclaims", "persistentvolumeclaims"),
    ("pods", "pods"),
    ("replicationcontrollers", "replicationcontrollers"),
    ("resourcequotas", "resourcequotas"),
    ("secrets", "secrets"),
    ("services", "services"),
];
/// What containers ask for: the name in a quota, the side, the name in a container.
const COMPUTED: &[(&str, &str, &str)] = &[
    ("cpu", "requests", "cpu"),
    ("memory", "requests", "memory"),
    ("ephemeral-storage", "requests", "ephemeral-storage"),
    ("requests.cpu", "requests", "cpu"),
    ("requests.memory", "requests", "memory"),
    ("requests.ephemeral-storage", "requests", "ephemeral-storage"),
    ("limits.cpu", "limits", "cpu"),
    ("limits.memory", "limits", "memory"),
    ("limits.ephemeral-storage", "limits", "ephemeral-storage"),
];

/// The table whose objects a name of a quota is about; `None` if nothing here counts it.
fn table_of(name: &str) -> Option<&str> {
    if let Some(rest) = name.strip_prefix("count/") {
        return Some(rest);
    }
    if COMPUTED.iter().any(|(known, _, _)| *known == name) {
        return Some("pods");
    }
    match name {
        "requests.storage" => Some("persistentvolumeclaims"),
        "services.nodeports" | "services.loadbalancers" => Some("services"),
        _ => COUNTED.iter().find(|(known, _)| *known == name).map(|(_, table)| *table),
    }
}

/// The sum of what a pod's containers ask for on one side, or an init container's if that is more; in thousandths.
fn computed(pod: &Value, side: &str, name: &str) -> i128 {
    let of = |c: &Value| json::at(c, &["resources", side, name]).and_then(milli).unwrap_or(0);
    let sum: i128 = json::list(pod, &["spec", "containers"]).iter().map(of).sum();
    json::list(pod, &["spec", "initContainers"]).iter().map(of).max().unwrap_or(0).max(sum)
}

/// What one object uses of a name, in thousandths.
fn share(name: &str, object: &Value) -> i128 {
    const ONE: i128 = 1000;
    if name.starts_with("count/") {
        return ONE;
    }
    let ended = matches!(json::text(object, &["status", "phase"]), "Succeeded" | "Failed");
    if let Some((_, side, what)) = COMPUTED.iter().find(|(known, _, _)| *known == name) {
        return if ended { 0 } else { computed(object, side, what) };
    }
    let kind = json::text(object, &["spec", "type"]);
    match name {
        "pods" if ended => 0,
        "requests.storage" => {
            json::at(object, &["spec", "resources", "requests", "storage"]).and_then(milli).unwrap_or(0)
        }
        "services.nodeports" if matches!(kind, "NodePort" | "LoadBalancer") => {
            ONE * i128::try_from(json::list(object, &["spec", "ports"]).len()).unwrap_or(0)
        }
        "services.loadbalancers" if kind == "LoadBalancer" => ONE,
        "services.nodeports" | "services.loadbalancers" => 0,
        _ => ONE,
    }
}

/// Whether a quota's scopes take a pod in; scopes say nothing of other kinds.
fn in_scope(quota: &Value, table: &str, object: &Value) -> bool {
    json::list(quota, &["spec", "scopes"]).iter().all(|scope| {
        if table != "pods" {
            return false;
        }
        let ends = json::int(object, &["spec", "activeDeadlineSeconds"]).is_some_and(|s| s >= 0);
        let asks = ["requests", "limits"].iter().any(|side| {
            ["containers", "initContainers"].iter().any(|list| {
                json::list(object, &["spec", list])
                    .iter()
                    .any(|c| json::map(c, &["resources", side]).is_some_and(|m| !m.is_empty()))
            })
        });
        match scope.as_str() {
            Some("Terminating") => ends,
            Some("NotTerminating") => !ends,
            Some("BestEffort") => !asks,
            Some("NotBestEffort") => asks,
            _ => true,
        }
    })
}

/// What a namespace uses of a name, in thousandths.
fn used(engine: &Engine, quota: &Value, name: &str) -> i128 {
    let Some(table) = table_of(name) else { return 0 };
    let all = engine.scan(table, Some(json::namespace(quota)));
    all.filter(|object| in_scope(quota, table, object)).map(|object| share(name, object)).sum()
}

/// An amount as text: in binary units where the limit is given in such.
pub(super) fn text(milli: i128, like: &str) -> String {
    let bytes = milli / 1000;
    let plain = if like.ends_with('i') && milli % 1000 == 0 && bytes % 1024 == 0 && bytes > 0 {
        format!("{}Ki", bytes / 1024)
    } else {
        format!("{milli}m")
    };
    canonical_quantity(&plain).unwrap_or(plain)
}

/// The status of a quota by what is stored.
pub fn status(engine: &Engine, quota: &Value) -> Value {
    let hard = json::at(quota, &["spec", "hard"]).cloned().unwrap_or_else(|| json!({}));
    let mut sums = serde_json::Map::new();
    for (name, limit) in hard.as_object().into_iter().flatten().filter(|(name, _)| table_of(name).is_some()) {
        sums.insert(name.clone(), text(used(engine, quota, name), limit.as_str().unwrap_or("")).into());
    }
    json!({"hard": hard, "used": sums})
}

/// Whether a new object fits the quotas of its namespace.
///
/// # Errors
/// 403 in the words of the real admission plugin.
pub(crate) fn charge(
    engine: &Engine,
    resource: &ResourceType,
    namespace: &str,
    name: &str,
    object: &Value,
) -> Result<(), Status> {
    let quotas: Vec<Object> = engine.scan("resourcequotas", Some(namespace)).cloned().collect();
    for quota in &quotas {
        let table = &*resource.table;
        if !in_scope(quota, table, object) {
            continue;
        }
        let hard = json::map(quota, &["spec", "hard"]);
        let about = hard.into_iter().flatten().filter(|(name, _)| table_of(name) == Some(table));
        let limits: BTreeMap<&str, &Value> = about.map(|(name, limit)| (name.as_str(), limit)).collect();
        if let Some(why) = unsaid(&limits, object) {
            let why = format!("failed quota: {}: must specify {why}", json::name(quota));
            return Err(Status::forbidden(resource.about(), name, &why));
        }
        let mut over: [Vec<String>; 3] = Default::default();
        for (what, limit) in limits {
            let asked = share(what, object);
            let (have, may) = (used(engine, quota, what), milli(limit).unwrap_or(0));
            if asked > 0 && have.saturating_add(asked) > may {
                let like = limit.as_str().unwrap_or("");
                let shown = limit.as_str().map_or_else(|| limit.to_string(), str::to_owned);
                for (list, amount) in over.iter_mut().zip([text(asked, like), text(have, like), shown]) {
                    list.push(format!("{what}={amount}"));
                }
            }
        }
        let [asked, have, may] = over.map(|list| list.join(","));
        if !asked.is_empty() {
            let quota = json::name(quota);
            let why = format!("exceeded quota: {quota}, requested: {asked}, used: {have}, limited: {may}");
            return Err(Status::forbidden(resource.about(), name, &why));
        }
    }
    Ok(())
}

/// What a pod's containers leave unsaid that a quota has to know: `limits.cpu for: a,b; requests.cpu for: a`.
fn unsaid(limits: &BTreeMap<&str, &Value>, pod: &Value) -> Option<String> {
    let mut missing = Vec::new();
    for what in limits.keys() {
        let Some((_, side, name)) = COMPUTED.iter().find(|(known, _, _)| known == what) else { continue };
        let silent: Vec<&str> = ["containers", "initContainers"]
            .iter()
            .flat_map(|list| json::list(pod, &["spec", list]))
            .filter(|c| json::at(c, &["resources", side, name]).is_none())
            .map(|c| json::text(c, &["name"]))
            .collect();
        if !silent.is_empty() {
            missing.push(format!("{what} for: {}", silent.join(",")));
        }
    }
    (!missing.is_empty()).then(|| missing.join("; "))
}

#[cfg(test)]
mod tests {
    use sim_clock::{Chance, Timestamp};

    use super::*;
    use crate::engine::WriteOptions;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn pod(name: &str, resources: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
            "spec": {"containers": [{"name": "main", "image": "web:1", "resources": resources}]}})
    }

    fn made(engine: &mut Engine, object: Value) -> Result<(), String> {
        engine.create_object(object, &WriteOptions::by("test"), NOW).map(drop).map_err(|status| status.message)
    }

    #[test]
    fn a_namespace_holds_no_more_than_its_quota_and_containers_say_what_they_take() {
        let mut engine = Engine::new(Chance::new(1, "test"), NOW);
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": "default"},
            "spec": {"hard": {"pods": "2", "requests.memory": "1Gi", "count/configmaps": "1"}}});
        made(&mut engine, quota).expect("a good quota");
        assert_eq!(
            made(&mut engine, pod("a", json!({}))),
            Err("pods \"a\" is forbidden: failed quota: q: must specify requests.memory for: main".to_owned())
        );
        let asks = |memory: &str| json!({"requests": {"memory": memory}});
        made(&mut engine, pod("a", asks("512Mi"))).expect("room");
        assert_eq!(
            made(&mut engine, pod("b", asks("768Mi"))),
            Err("pods \"b\" is forbidden: exceeded quota: q, requested: requests.memory=768Mi, used: requests.memory=512Mi, limited: requests.memory=1Gi".to_owned())
        );
        made(&mut engine, pod("b", asks("1Mi"))).expect("room");
        let third = made(&mut engine, pod("c", asks("1Mi"))).expect_err("two pods are enough");
        assert!(third.ends_with("exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"), "{third}");
        let map = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}});
        made(&mut engine, map("one")).expect("room");
        assert!(made(&mut engine, map("two")).is_err());
        let quota = engine.peek("resourcequotas", "default", "q").expect("stored").clone();
        assert_eq!(
            status(&engine, &quota)["used"],
            json!({"pods": "2", "requests.memory": "513Mi", "count/configmaps": "1"})
        );
    }
}
