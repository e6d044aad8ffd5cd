//! The flow control that every API server starts with: its priority levels and the schemas that sort requests into them.
//!
//! Source: the defaults that <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#defaults> describes.

use serde_json::{Value, json};

const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";

/// A limited level: name, shares, how many percent others may borrow; queues, hand size, longest queue (none: it rejects).
type Level = (&'static str, i64, i64, Option<(i64, i64, i64)>);

const LEVELS: &[Level] = &[
    ("catch-all", 5, 0, None),
    ("global-default", 20, 50, Some((128, 6, 50))),
    ("leader-election", 10, 0, Some((16, 4, 50))),
    ("node-high", 40, 25, Some((64, 6, 50))),
    ("system", 30, 33, Some((64, 6, 50))),
    ("workload-high", 40, 50, Some((128, 6, 50))),
    ("workload-low", 100, 90, Some((128, 6, 50))),
];

/// A schema: name, level, precedence, `ByUser`, `ByNamespace` or nothing; subjects as `g:` group, `u:` user, `s:` service account
/// of `kube-system`; rules as `verbs @ groups @ resources @ namespaces` (`-`: what is in no namespace), or `verbs @ paths`.
struct Schema {
    name: &'static str,
    level: &'static str,
    precedence: i64,
    distinguisher: &'static str,
    subjects: &'static [&'static str],
    rules: &'static [&'static str],
}

const fn schema(
    name: &'static str,
    level: &'static str,
    precedence: i64,
    distinguisher: &'static str,
    subjects: &'static [&'static str],
    rules: &'static [&'static str],
) -> Schema {
    Schema { name, level, precedence, distinguisher, subjects, rules }
}

const ALL: &[&str] = &["* @ * @ * @ *,-", "* @ *"];
const LOCKS: &[&str] =
    &["get,create,update @  @ endpoints,configmaps @ *", "get,create,update @ coordination.k8s.io @ leases @ *"];
const EVERYBODY: &[&str] = &["g:system:unauthenticated", "g:system:authenticated"];

const SCHEMAS: &[Schema] = &[
    schema("catch-all", "catch-all", 10_000, "ByUser", EVERYBODY, ALL),
    schema(
        "endpoint-controller",
        "workload-high",
        150,
        "ByUser",
        &["u:system:kube-controller-manager", "s:endpoint-controller", "s:endpointslice-controller"],
        &["get,create,update @  @ endpoints @ *", "get,create,update @ discovery.k8s.io @ endpointslices @ *"],
    ),
    schema("exempt", "exempt", 1, "", &["g:system:masters"], ALL),
    schema("global-default", "global-default", 9900, "ByUser", EVERYBODY, ALL),
    schema("kube-controller-manager", "workload-high", 800, "ByNamespace", &["u:system:kube-controller-manager"], ALL),
    schema("kube-scheduler", "workload-high", 800, "ByNamespace", &["u:system:kube-scheduler"], ALL),
    schema("kube-system-service-accounts", "workload-high", 900, "ByNamespace", &["s:*"], ALL),
    schema("probes", "exempt", 2, "", EVERYBODY, &["get @ /healthz,/readyz,/livez"]),
    schema("service-accounts", "workload-low", 9000, "ByUser", &["g:system:serviceaccounts"], ALL),
    schema(
        "system-leader-election",
        "leader-election",
        100,
        "ByUser",
        &["u:system:kube-controller-manager", "u:system:kube-scheduler", "s:*"],
        &["get,create,update @ coordination.k8s.io @ leases @ *"],
    ),
    schema(
        "system-node-high",
        "node-high",
        400,
        "ByUser",
        &["g:system:nodes"],
        &["* @  @ nodes,nodes/status @ -", "* @ coordination.k8s.io @ leases @ *"],
    ),
    schema("system-nodes", "system", 500, "ByUser", &["g:system:nodes"], ALL),
    schema("workload-leader-election", "leader-election", 200, "ByUser", &["s:*"], LOCKS),
];

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": API_VERSION, "kind": kind,
        "metadata": {"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}}, "spec": spec})
}

fn subject(text: &str) -> Value {
    match text.split_at(2) {
        ("g:", name) => json!({"kind": "Group", "group": {"name": name}}),
        ("u:", name) => json!({"kind": "User", "user": {"name": name}}),
        (_, name) => json!({"kind": "ServiceAccount", "serviceAccount": {"name": name, "namespace": "kube-system"}}),
    }
}

fn list(text: &str) -> Value {
    text.split(',').map(Value::from).collect()
}

fn spec(schema: &Schema) -> Value {
    let mut rules = json!({"subjects": schema.subjects.iter().map(|s| subject(s)).collect::<Value>()});
    for text in schema.rules {
        let parts: Vec<&str> = text.split(" @ ").collect();
        let (key, rule) = match parts.as_slice() {
            [verbs, groups, resources, namespaces] => {
                let mut rule = json!({"verbs": list(verbs), "apiGroups": list(groups), "resources": list(resources)});
                let inside: Vec<&str> = namespaces.split(',').filter(|n| *n != "-").collect();
                if inside.len() < namespaces.split(',').count() {
                    rule["clusterScope"] = true.into();
                }
                if !inside.is_empty() {
                    rule["namespaces"] = inside.into();
                }
                ("resourceRules", rule)
            }
            [verbs, paths] => ("nonResourceRules", json!({"verbs": list(verbs), "nonResourceURLs": list(paths)})),
            _ => unreachable!("every rule of the table has two parts or four"),
        };
        match rules.get_mut(key).and_then(Value::as_array_mut) {
            Some(known) => known.push(rule),
            None => rules[key] = json!([rule]),
        }
    }
    let mut spec = json!({"priorityLevelConfiguration": {"name": schema.level}, "matchingPrecedence": schema.precedence, "rules": [rules]});
    if !schema.distinguisher.is_empty() {
        spec["distinguisherMethod"] = json!({"type": schema.distinguisher});
    }
    spec
}

/// The levels, then the schemas.
pub(super) fn objects() -> impl Iterator<Item = Value> {
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    let levels = LEVELS.iter().map(|(name, shares, lendable, queuing)| {
        let response = match queuing {
            None => json!({"type": "Reject"}),
            Some((queues, hand, longest)) => {
                json!({"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": longest}})
            }
        };
        let limited =
            json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response});
        object("PriorityLevelConfiguration", name, json!({"type": "Limited", "limited": limited}))
    });
    let first = std::iter::once(object("PriorityLevelConfiguration", "exempt", exempt));
    first.chain(levels).chain(SCHEMAS.iter().map(|schema| object("FlowSchema", schema.name, spec(schema))))
}
