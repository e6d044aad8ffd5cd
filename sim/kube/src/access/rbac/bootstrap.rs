//! The roles and bindings every cluster starts with.

use serde_json::{Value, json};

use super::{
    roles::{CLUSTER_ROLES, CONTROLLERS, NAMESPACED},
    rules::Rule,
};

/// Kept up to date by the server at its start.
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const GROUP: &str = "rbac.authorization.k8s.io";

/// Subjects of the bindings of cluster roles: role, then `g:` group, `u:` user or `s:` namespace/service account.
const BINDINGS: &[(&str, &[&str])] = &[
    ("cluster-admin", &["g:system:masters"]),
    ("system:monitoring", &["g:system:monitoring"]),
    ("system:discovery", &["g:system:authenticated"]),
    ("system:basic-user", &["g:system:authenticated"]),
    ("system:public-info-viewer", &["g:system:authenticated", "g:system:unauthenticated"]),
    ("system:node-proxier", &["u:system:kube-proxy"]),
    ("system:kube-controller-manager", &["u:system:kube-controller-manager"]),
    ("system:kube-dns", &["s:kube-system/kube-dns"]),
    ("system:kube-scheduler", &["u:system:kube-scheduler"]),
    ("system:volume-scheduler", &["u:system:kube-scheduler"]),
    // Without subjects: nodes are the node authorizer's.
    ("system:node", &[]),
    ("system:service-account-issuer-discovery", &["g:system:serviceaccounts"]),
];

/// Subjects of the bindings inside namespaces: namespace, name of binding, role, subjects.
const NAMESPACED_BINDINGS: &[(&str, &str, &str, &[&str])] = &[
    (
        "kube-public",
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &["s:kube-system/bootstrap-signer"],
    ),
    (
        "kube-system",
        "system::extension-apiserver-authentication-reader",
        "extension-apiserver-authentication-reader",
        &["u:system:kube-controller-manager", "u:system:kube-scheduler"],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        "system::leader-locking-kube-controller-manager",
        &["u:system:kube-controller-manager", "s:kube-system/kube-controller-manager"],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-scheduler",
        "system::leader-locking-kube-scheduler",
        &["u:system:kube-scheduler", "s:kube-system/kube-scheduler"],
    ),
    (
        "kube-system",
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &["s:kube-system/bootstrap-signer"],
    ),
    (
        "kube-system",
        "system:controller:cloud-provider",
        "system:controller:cloud-provider",
        &["s:kube-system/cloud-provider"],
    ),
    (
        "kube-system",
        "system:controller:token-cleaner",
        "system:controller:token-cleaner",
        &["s:kube-system/token-cleaner"],
    ),
];

/// A rule from its short form: `verbs @ groups @ resources [@ names]`, or `verbs @ paths` where paths begin with `/` or
/// are `*`. `core` is the empty group; `read`, `write` and `all` stand for the usual verbs.
fn rule(text: &str) -> Rule {
    let parts: Vec<&str> = text.split(" @ ").collect();
    let list = |text: &str| {
        let mut items: Vec<String> = text
            .split(',')
            .flat_map(|item| match item {
                "read" => vec!["get", "list", "watch"],
                "write" => vec!["create", "delete", "deletecollection", "patch", "update"],
                "core" => vec![""],
                other => vec![other],
            })
            .map(str::to_owned)
            .collect();
        items.sort();
        items
    };
    match parts.as_slice() {
        [verbs, paths] => Rule { verbs: list(verbs), non_resource_urls: list(paths), ..Rule::default() },
        [verbs, groups, resources, names @ ..] => Rule {
            verbs: list(verbs),
            api_groups: list(groups),
            resources: list(resources),
            resource_names: names.first().map(|n| list(n)).unwrap_or_default(),
            ..Rule::default()
        },
        _ => unreachable!("every rule of the table has two parts or more"),
    }
}

fn object(kind: &str, namespace: &str, name: &str) -> Value {
    let mut object = json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": name}});
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = namespace.into();
    }
    object["metadata"]["labels"] = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    object["metadata"]["annotations"] = json!({AUTO_UPDATE: "true"});
    object
}

fn subject(text: &str) -> Value {
    match text.split_at(2) {
        ("g:", name) => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
        ("u:", name) => json!({"apiGroup": GROUP, "kind": "User", "name": name}),
        (_, account) => {
            let (namespace, name) = account.split_once('/').unwrap_or(("kube-system", account));
            json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
    }
}

fn binding(mut object: Value, kind: &str, role: &str, subjects: &[&str]) -> Value {
    object["roleRef"] = json!({"apiGroup": GROUP, "kind": kind, "name": role});
    if !subjects.is_empty() {
        object["subjects"] = subjects.iter().map(|s| subject(s)).collect();
    }
    object
}

fn rules(texts: &[&str]) -> Vec<Rule> {
    texts.iter().map(|text| rule(text)).collect()
}

fn values(rules: &[Rule]) -> Value {
    rules.iter().map(Rule::to_value).collect()
}

/// The bootstrap objects in the order in which they are made: cluster roles, their bindings, then what is in
/// namespaces. Aggregated roles come with the rules that the aggregation controller would fill in.
pub(crate) fn objects() -> Vec<Value> {
    let mut out = Vec::new();
    let own: Vec<Vec<Rule>> = CLUSTER_ROLES.iter().map(|role| rules(role.rules)).collect();
    // A role comes after those it aggregates: rules of earlier ones are final when a later one takes them in.
    let mut done: Vec<(&str, &[&str], Vec<Rule>)> = Vec::new();
    for (role, own) in CLUSTER_ROLES.iter().zip(own) {
        let mut made = object("ClusterRole", "", role.name);
        for label in role.aggregates_to {
            made["metadata"]["labels"][format!("{GROUP}/aggregate-to-{label}")] = "true".into();
        }
        let mut all = own;
        if let Some(label) = role.aggregates {
            made["aggregationRule"] =
                json!({"clusterRoleSelectors": [{"matchLabels": {format!("{GROUP}/aggregate-to-{label}"): "true"}}]});
            let mut parts: Vec<_> = done.iter().filter(|(_, to, _)| to.contains(&label)).collect();
            parts.sort_by_key(|(name, ..)| *name);
            for rule in parts.into_iter().flat_map(|(_, _, rules)| rules) {
                if !all.contains(rule) {
                    all.push(rule.clone());
                }
            }
        }
        made["rules"] = values(&all);
        out.push(made);
        done.push((role.name, role.aggregates_to, all));
    }
    for (controller, texts) in CONTROLLERS {
        let mut made = object("ClusterRole", "", &format!("system:controller:{controller}"));
        made["rules"] = values(&rules(texts));
        out.push(made);
    }
    for (role, subjects) in BINDINGS {
        out.push(binding(object("ClusterRoleBinding", "", role), "ClusterRole", role, subjects));
    }
    for (controller, _) in CONTROLLERS {
        let name = format!("system:controller:{controller}");
        let account = format!("s:kube-system/{controller}");
        out.push(binding(object("ClusterRoleBinding", "", &name), "ClusterRole", &name, &[&account]));
    }
    for (namespace, name, texts) in NAMESPACED {
        let mut made = object("Role", namespace, name);
        made["rules"] = values(&rules(texts));
        out.push(made);
    }
    for (namespace, name, role, subjects) in NAMESPACED_BINDINGS {
        out.push(binding(object("RoleBinding", namespace, name), "Role", role, subjects));
    }
    out
}
