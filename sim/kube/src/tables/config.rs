//! Configuration, accounts, roles, leases, quotas, webhooks, classes.

use serde_json::Value;
use sim_clock::Timestamp;

use super::{Cells, Row, text};
use crate::json;

const NAME: Row = ("Name", "string", 0);
const AGE: Row = ("Age", "string", 0);

pub(super) fn printer(table: &str) -> Option<(&'static [Row], Cells)> {
    Some(match table {
        "configmaps" => (&[NAME, ("Data", "string", 0), AGE], config_map),
        "secrets" => (&[NAME, ("Type", "string", 0), ("Data", "string", 0), AGE], secret),
        "serviceaccounts" => (&[NAME, ("Secrets", "string", 0), AGE], service_account),
        "leases.coordination.k8s.io" => (&[NAME, ("Holder", "string", 0), AGE], lease),
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => (
            &[
                NAME,
                ("Role", "string", 0),
                AGE,
                ("Users", "string", 1),
                ("Groups", "string", 1),
                ("ServiceAccounts", "string", 1),
            ],
            binding,
        ),
        "resourcequotas" => (&[NAME, ("Request", "string", 0), ("Limit", "string", 0), AGE], quota),
        "mutatingwebhookconfigurations.admissionregistration.k8s.io"
        | "validatingwebhookconfigurations.admissionregistration.k8s.io" => {
            (&[NAME, ("Webhooks", "string", 0), AGE], webhooks)
        }
        "priorityclasses.scheduling.k8s.io" => (
            &[NAME, ("Value", "string", 0), ("Global-Default", "boolean", 0), AGE, ("PreemptionPolicy", "string", 0)],
            priority_class,
        ),
        "runtimeclasses.node.k8s.io" => (&[NAME, ("Handler", "string", 0), AGE], runtime_class),
        _ => return None,
    })
}

fn config_map(o: &Value, now: Timestamp) -> Vec<Value> {
    let data = text::size(o, &["data"]) + text::size(o, &["binaryData"]);
    vec![text::name(o), data.into(), text::created(o, now)]
}

fn secret(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![text::name(o), json::text(o, &["type"]).into(), text::size(o, &["data"]).into(), text::created(o, now)]
}

fn service_account(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![text::name(o), text::size(o, &["secrets"]).into(), text::created(o, now)]
}

fn lease(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![text::name(o), json::text(o, &["spec", "holderIdentity"]).into(), text::created(o, now)]
}

fn binding(o: &Value, now: Timestamp) -> Vec<Value> {
    let role = format!("{}/{}", json::text(o, &["roleRef", "kind"]), json::text(o, &["roleRef", "name"]));
    let subjects = |kind: &str| -> Value {
        let chosen = json::list(o, &["subjects"]).iter().filter(|s| json::text(s, &["kind"]) == kind);
        let names = chosen.map(|s| match kind {
            "ServiceAccount" => format!("{}/{}", json::text(s, &["namespace"]), json::text(s, &["name"])),
            _ => json::text(s, &["name"]).to_owned(),
        });
        names.collect::<Vec<_>>().join(", ").into()
    };
    vec![
        text::name(o),
        role.into(),
        text::created(o, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

fn quota(o: &Value, now: Timestamp) -> Vec<Value> {
    let mut hard: Vec<_> = json::map(o, &["status", "hard"]).into_iter().flatten().collect();
    hard.sort_by_key(|(key, _)| *key);
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (key, limit) in hard {
        let used = text::int_or_text(json::at(o, &["status", "used", key]), "0");
        let entry = format!("{key}: {used}/{}", text::int_or_text(Some(limit), "0"));
        if key.starts_with("limits") { limits.push(entry) } else { requests.push(entry) }
    }
    vec![text::name(o), requests.join(", ").into(), limits.join(", ").into(), text::created(o, now)]
}

fn webhooks(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![text::name(o), text::size(o, &["webhooks"]).into(), text::created(o, now)]
}

fn priority_class(o: &Value, now: Timestamp) -> Vec<Value> {
    let global = o.get("globalDefault") == Some(&Value::Bool(true));
    let policy = json::text(o, &["preemptionPolicy"]);
    vec![text::name(o), text::count(o, &["value"]), global.into(), text::created(o, now), policy.into()]
}

fn runtime_class(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![text::name(o), json::text(o, &["handler"]).into(), text::created(o, now)]
}
