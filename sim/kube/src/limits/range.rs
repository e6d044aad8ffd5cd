//! LimitRange: what containers, pods and claims of a namespace ask for if they say nothing, and what they may ask for.

use serde_json::Value;

use crate::{
    engine::{Engine, Object},
    json,
    resources::ResourceType,
    status::Status,
    workloads::milli,
};

/// Says on a pod what was filled in.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Fills in what a new pod leaves unsaid, and checks what a new pod or claim asks for.
///
/// # Errors
/// 403 in the words of the real admission plugin.
pub(crate) fn admit(
    engine: &Engine,
    resource: &ResourceType,
    namespace: &str,
    object: &mut Value,
) -> Result<(), Status> {
    if !resource.built_in || !matches!(resource.kind.as_str(), "Pod" | "PersistentVolumeClaim") {
        return Ok(());
    }
    let ranges: Vec<Object> = engine.scan("limitranges", Some(namespace)).cloned().collect();
    let mut wrong = Vec::new();
    for range in &ranges {
        for limit in json::list(range, &["spec", "limits"]) {
            match (json::text(limit, &["type"]), resource.kind.as_str()) {
                ("Container", "Pod") => {
                    fill(limit, object);
                    for list in ["containers", "initContainers"] {
                        for c in json::list(object, &["spec", list]) {
                            check(limit, "Container", &|side, name| amount(c, side, name), &mut wrong);
                        }
                    }
                }
                ("Pod", "Pod") => {
                    let sum = |side: &str, name: &str| {
                        let all = json::list(object, &["spec", "containers"]).iter();
                        all.map(|c| amount(c, side, name)).try_fold(0, |sum: i128, one| one.map(|one| sum + one))
                    };
                    check(limit, "Pod", &sum, &mut wrong);
                }
                ("PersistentVolumeClaim", "PersistentVolumeClaim") => {
                    let asked = |side: &str, name: &str| {
                        if side != "requests" {
                            return None;
                        }
                        json::at(object, &["spec", "resources", "requests", name]).and_then(milli)
                    };
                    check(limit, "PersistentVolumeClaim", &asked, &mut wrong);
                }
                _ => {}
            }
        }
    }
    let why = match wrong.as_slice() {
        [] => return Ok(()),
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    Err(Status::forbidden(resource.about(), json::name(object), &why))
}

fn amount(container: &Value, side: &str, name: &str) -> Option<i128> {
    json::at(container, &["resources", side, name]).and_then(milli)
}

/// Fills in the defaults of a limit: limits first, as requests follow them.
fn fill(limit: &Value, pod: &mut Value) {
    let mut said = Vec::new();
    for list in ["containers", "initContainers"] {
        let kind = if list == "containers" { "container" } else { "init container" };
        let Some(containers) = pod.get_mut("spec").and_then(|s| s.get_mut(list)).and_then(Value::as_array_mut) else {
            continue;
        };
        for container in containers {
            let name = json::text(container, &["name"]).to_owned();
            let own = json::map(container, &["resources", "limits"]).cloned().unwrap_or_default();
            for (side, defaults, word) in [("requests", "defaultRequest", "request"), ("limits", "default", "limit")] {
                let mut filled = Vec::new();
                for (what, value) in json::map(limit, &[defaults]).into_iter().flatten() {
                    let resources = json::child_map_value(container, "resources");
                    let amounts = json::child_map(resources, side);
                    // Who gives a limit and no request asks for the limit.
                    if amounts.contains_key(what) || side == "requests" && own.contains_key(what) {
                        continue;
                    }
                    amounts.insert(what.clone(), value.clone());
                    filled.push(what.as_str());
                }
                if !filled.is_empty() {
                    filled.sort_unstable();
                    said.push(format!("{} {word} for {kind} {name}", filled.join(", ")));
                }
            }
            for (what, value) in own {
                let requests = json::child_map(json::child_map_value(container, "resources"), "requests");
                requests.entry(what).or_insert(value);
            }
        }
    }
    if !said.is_empty() {
        let text = format!("LimitRanger plugin set: {}", said.join("; "));
        json::child_map(json::child_map_value(pod, "metadata"), "annotations").insert(ANNOTATION.into(), text.into());
    }
}

/// Compares what is asked for with a limit's bounds.
fn check(limit: &Value, kind: &str, asked: &dyn Fn(&str, &str) -> Option<i128>, wrong: &mut Vec<String>) {
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let text = |milli: i128, like: &Value| super::quota::text(milli, like.as_str().unwrap_or(""));
    for (name, least) in json::map(limit, &["min"]).into_iter().flatten() {
        let bound = milli(least).unwrap_or(0);
        let (request, max) = (asked("requests", name), asked("limits", name));
        let start = format!("minimum {name} usage per {kind} is {}", shown(least));
        match request {
            None => wrong.push(format!("{start}.  No request is specified")),
            Some(request) if request < bound => {
                wrong.push(format!("{start}, but request is {}", text(request, least)));
            }
            Some(_) => {
                if let Some(max) = max.filter(|max| *max < bound) {
                    wrong.push(format!("{start}, but limit is {}", text(max, least)));
                }
            }
        }
    }
    for (name, most) in json::map(limit, &["max"]).into_iter().flatten() {
        let bound = milli(most).unwrap_or(0);
        let (request, max) = (asked("requests", name), asked("limits", name));
        let start = format!("maximum {name} usage per {kind} is {}", shown(most));
        let claim = kind == "PersistentVolumeClaim";
        match max {
            None if !claim => wrong.push(format!("{start}.  No limit is specified")),
            Some(max) if max > bound => wrong.push(format!("{start}, but limit is {}", text(max, most))),
            _ => {
                if let Some(request) = request.filter(|request| *request > bound) {
                    wrong.push(format!("{start}, but request is {}", text(request, most)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sim_clock::{Chance, Timestamp};

    use super::*;
    use crate::engine::WriteOptions;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    #[test]
    fn what_is_left_unsaid_is_filled_in_and_what_is_too_much_is_refused() {
        let mut engine = Engine::new(Chance::new(1, "test"), NOW);
        let by = WriteOptions::by("test");
        let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "r", "namespace": "default"}, "spec": {"limits": [
            {"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "250m"}, "max": {"cpu": "1"}, "min": {"cpu": "100m"}}]}});
        engine.create_object(range, &by, NOW).expect("a good range");
        let pod = |name: &str, resources: Value| {
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
            "spec": {"containers": [{"name": "main", "image": "web:1", "resources": resources}]}})
        };
        let silent = engine.create_object(pod("a", json!({})), &by, NOW).expect("filled in").object;
        assert_eq!(
            silent["spec"]["containers"][0]["resources"],
            json!({"requests": {"cpu": "250m"}, "limits": {"cpu": "500m"}})
        );
        assert_eq!(
            silent["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container main; cpu limit for container main"
        );
        let limited =
            engine.create_object(pod("b", json!({"limits": {"cpu": "700m"}})), &by, NOW).expect("good").object;
        assert_eq!(limited["spec"]["containers"][0]["resources"]["requests"], json!({"cpu": "700m"}));
        let greedy =
            engine.create_object(pod("c", json!({"limits": {"cpu": "2"}, "requests": {"cpu": "50m"}})), &by, NOW);
        assert_eq!(
            greedy.expect_err("too much and too little").message,
            "pods \"c\" is forbidden: [minimum cpu usage per Container is 100m, but request is 50m, maximum cpu usage per Container is 1, but limit is 2]"
        );
    }
}
