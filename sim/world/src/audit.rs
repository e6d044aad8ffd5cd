//! Who writes what through the Kubernetes API: lines of the API server's audit log, as one gets them with
//! `--audit-log-path=-` and the policy below.
//!
//! Writes of Events and Leases are not logged: they come and go for ever. Every other create, update, patch and delete that
//! reaches the server over the network makes one line, of the stage `RequestReceived` and at the level `Metadata`.

use sim_kube::{
    ApiServer,
    faults::{RequestInfo, Verdict},
};

use crate::logs::LogStore;

/// The process that the lines come from, which is also the program's name.
pub const PROCESS: &str = "kube-apiserver";

/// Verbs that are logged.
const VERBS: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];
/// Resources that are not.
const NOT_LOGGED: [&str; 2] = ["events", "leases"];

/// Logs the writes of `api` from now on.
pub(crate) fn begin(api: &ApiServer, logs: &LogStore) {
    let write = logs.writer(&format!("kube-system/{PROCESS}/{PROCESS}"), PROCESS);
    api.inject_code(std::sync::Arc::new(move |request| {
        if is_logged(request) {
            write(&line(request));
        }
        Verdict::Pass
    }));
}

fn is_logged(request: &RequestInfo) -> bool {
    VERBS.contains(&request.verb)
        && !request.resource.is_empty()
        && !NOT_LOGGED.contains(&request.resource.as_str())
        // Whether one may is asked by creating something that is not stored.
        && !request.resource.ends_with("reviews")
}

fn line(request: &RequestInfo) -> String {
    let mut about = serde_json::json!({ "resource": request.resource, "apiVersion": request.version });
    for (name, value) in [
        ("namespace", &request.namespace),
        ("name", &request.name),
        ("apiGroup", &request.group),
        ("subresource", &request.subresource),
    ] {
        if !value.is_empty() {
            about[name] = value.clone().into();
        }
    }
    let event = serde_json::json!({
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "stage": "RequestReceived",
        "requestReceivedTimestamp": sim_clock::now().rfc3339_micros(),
        "requestURI": request.path,
        "verb": request.verb,
        "user": { "username": request.user },
        "userAgent": request.user_agent,
        "objectRef": about,
    });
    event.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(verb: &'static str, resource: &str) -> RequestInfo {
        RequestInfo { verb, resource: resource.into(), name: "a".into(), user: "u".into(), ..RequestInfo::default() }
    }

    #[test]
    fn writes_are_logged_and_what_never_ends_is_not() {
        for (verb, resource, logged) in [
            ("patch", "cells", true),
            ("delete", "cells", true),
            ("get", "cells", false),
            ("watch", "cells", false),
            ("create", "events", false),
            ("update", "leases", false),
            ("create", "subjectaccessreviews", false),
            ("create", "", false),
        ] {
            assert_eq!(is_logged(&request(verb, resource)), logged, "{verb} {resource}");
        }
    }

    #[test]
    fn a_line_says_who_does_what_to_what() {
        let text = sim_clock::run(sim_clock::WorldOptions::seeded(1), || async { line(&request("patch", "cells")) });
        let event: serde_json::Value = serde_json::from_str(&text.unwrap()).unwrap();
        assert_eq!((&event["verb"], &event["user"]["username"]), (&"patch".into(), &"u".into()));
        assert_eq!(event["objectRef"]["resource"], "cells");
        assert!(event["objectRef"].get("subresource").is_none());
    }
}
