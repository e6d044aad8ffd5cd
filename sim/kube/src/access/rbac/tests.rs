use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::access::UserInfo;

fn role(namespace: &str, name: &str, rules: Value) -> (&'static str, Value) {
    let table = if namespace.is_empty() { TABLES[1] } else { TABLES[0] };
    (table, json!({"metadata": {"name": name, "namespace": namespace}, "rules": rules}))
}

fn bind(namespace: &str, name: &str, kind: &str, role: &str, subjects: Value) -> (&'static str, Value) {
    let table = if namespace.is_empty() { TABLES[3] } else { TABLES[2] };
    let role_ref = json!({"kind": kind, "name": role});
    (table, json!({"metadata": {"name": name, "namespace": namespace}, "roleRef": role_ref, "subjects": subjects}))
}

fn index(objects: Vec<(&str, Value)>) -> Index {
    let mut index = Index::default();
    for (table, object) in &objects {
        index.put(table, object);
    }
    index
}

fn on<'a>(verb: &'a str, resource: &'a str, namespace: &'a str, name: &'a str) -> Attributes<'a> {
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    let (group, subresource) = match group.split_once('/') {
        Some((group, sub)) => (group, sub),
        None => (group, ""),
    };
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, subresource));
    Attributes { verb, on: On::Resource { group, resource, subresource, namespace, name } }
}

#[test]
fn roles_and_bindings_decide_as_the_table_says() {
    let mut index = index(vec![
        role(
            "",
            "reader",
            json!([{"apiGroups": ["", "apps"], "resources": ["pods", "deployments"], "verbs": ["get", "list"]}]),
        ),
        role(
            "x",
            "own",
            json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"], "verbs": ["*"]}]),
        ),
        role("", "logs", json!([{"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}])),
        role("", "scales", json!([{"apiGroups": ["*"], "resources": ["*/scale"], "verbs": ["update"]}])),
        role("", "all", json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])),
        role("", "paths", json!([{"nonResourceURLs": ["/healthz", "/api/*"], "verbs": ["get"]}])),
        bind("", "everywhere", "ClusterRole", "reader", json!([{"kind": "Group", "name": "dev"}])),
        bind("x", "here", "ClusterRole", "reader", json!([{"kind": "User", "name": "ann"}])),
        bind("x", "own", "Role", "own", json!([{"kind": "ServiceAccount", "name": "bot"}])),
        bind("", "logs", "ClusterRole", "logs", json!([{"kind": "User", "name": "ann"}])),
        bind("", "scales", "ClusterRole", "scales", json!([{"kind": "User", "name": "ann"}])),
        bind("y", "all", "ClusterRole", "all", json!([{"kind": "ServiceAccount", "name": "bot", "namespace": "x"}])),
        bind("", "paths", "ClusterRole", "paths", json!([{"kind": "Group", "name": "system:authenticated"}])),
        bind("", "odd", "ClusterRole", "gone", json!([{"kind": "User", "name": "zed"}])),
    ]);
    let dev = UserInfo::new("dora", &["dev", "system:authenticated"]);
    let ann = UserInfo::new("ann", &["system:authenticated"]);
    let bot = UserInfo::service_account("x", "bot", "");
    for (user, asked, granted) in [
        (&dev, on("get", "pods", "x", "p"), true),
        (&dev, on("list", "deployments.apps", "", ""), true),
        (&dev, on("watch", "pods", "x", ""), false),
        (&dev, on("get", "pods.apps", "x", ""), true), // groups and resources of one rule combine freely
        (&dev, on("get", "pods/log", "x", "p"), false),
        (&ann, on("get", "pods", "x", "p"), true),
        (&ann, on("get", "pods", "y", "p"), false),
        (&ann, on("get", "pods", "", ""), false),
        (&ann, on("get", "pods/log", "y", "p"), true),
        (&ann, on("update", "deployments.apps/scale", "y", "d"), true),
        (&ann, on("update", "deployments.apps", "y", "d"), false),
        (&bot, on("delete", "secrets", "x", "mine"), true),
        (&bot, on("delete", "secrets", "x", "other"), false),
        (&bot, on("list", "secrets", "x", ""), false), // a list names nothing
        (&bot, on("create", "secrets", "y", ""), true),
        (&bot, on("create", "secrets", "z", ""), false),
        (&ann, Attributes::path("get", "/healthz"), true),
        (&ann, Attributes::path("get", "/healthz/etcd"), false),
        (&ann, Attributes::path("get", "/api/v1"), true),
        (&ann, Attributes::path("post", "/api/v1"), false),
    ] {
        assert_eq!(index.decide(user, &asked, false).allowed(), granted, "{} {asked:?}", user.name);
    }
    let reason = index.decide(&bot, &on("get", "secrets", "x", "mine"), false);
    assert_eq!(reason.reason(), r#"RBAC: allowed by RoleBinding "own/x" of Role "own" to ServiceAccount "bot/x""#);
    let reason = index.decide(&dev, &on("get", "pods", "q", ""), false);
    assert_eq!(
        reason.reason(),
        r#"RBAC: allowed by ClusterRoleBinding "everywhere" of ClusterRole "reader" to Group "dev""#
    );
    let zed = index.decide(&UserInfo::new("zed", &[]), &on("get", "pods", "q", ""), false);
    assert_eq!(zed, Decision::NoOpinion(r#"RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#.into()));
}

#[test]
fn what_is_taken_away_no_longer_grants() {
    let (role, binding) = (
        role("", "r", json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}])),
        bind("x", "b", "ClusterRole", "r", json!([{"kind": "User", "name": "ann"}])),
    );
    let ann = UserInfo::new("ann", &[]);
    let mut index = index(vec![role.clone(), binding.clone()]);
    assert!(index.decide(&ann, &on("get", "pods", "x", ""), false).allowed());
    let other = bind("x", "b", "ClusterRole", "r", json!([{"kind": "User", "name": "bob"}]));
    index.put(other.0, &other.1);
    assert!(!index.decide(&ann, &on("get", "pods", "x", ""), false).allowed(), "the binding was rewritten");
    index.put(binding.0, &binding.1);
    index.remove(role.0, &role.1);
    assert!(!index.decide(&ann, &on("get", "pods", "x", ""), false).allowed(), "the role is gone");
    index.put(role.0, &role.1);
    index.remove(binding.0, &binding.1);
    assert!(!index.decide(&ann, &on("get", "pods", "x", ""), false).allowed(), "the binding is gone");
}

#[test]
fn usage_names_what_each_rule_granted_and_what_nobody_needed() {
    let mut index = index(vec![
        role(
            "",
            "r",
            json!([{"apiGroups": ["apps"], "resources": ["deployments", "deployments/status"], "verbs": ["get", "update"]}]),
        ),
        bind("", "b", "ClusterRole", "r", json!([{"kind": "User", "name": "ann"}])),
    ]);
    let ann = UserInfo::new("ann", &[]);
    for _ in 0..2 {
        assert!(index.decide(&ann, &on("get", "deployments.apps", "x", "d"), true).allowed());
    }
    assert!(index.decide(&ann, &on("update", "deployments.apps/status", "x", "d"), true).allowed());
    assert!(index.decide(&ann, &on("update", "deployments.apps", "x", "d"), false).allowed(), "asked, not used");
    let usage = index.usage();
    let text = |v: &str, w: &str| (v.to_owned(), w.to_owned());
    assert_eq!(
        usage[0].granted,
        [("get".into(), "deployments.apps".into(), 2), ("update".into(), "deployments.apps/status".into(), 1)]
    );
    assert_eq!(usage[0].unused, [text("get", "deployments.apps/status"), text("update", "deployments.apps")]);
}

#[test]
fn missing_rights_are_written_as_the_server_writes_them() {
    let rules = |v: Value| v.as_array().unwrap().iter().map(Rule::of).collect::<Vec<_>>();
    let held = rules(json!([
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
        {"apiGroups": ["*"], "resources": ["*/scale"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"], "verbs": ["get"]},
        {"nonResourceURLs": ["/api/*"], "verbs": ["get"]},
    ]));
    let wanted = rules(json!([
        {"apiGroups": [""], "resources": ["pods", "configmaps"], "verbs": ["get", "list"]},
        {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["update"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a", "b"], "verbs": ["get"]},
        {"nonResourceURLs": ["/api/v1", "/metrics"], "verbs": ["get"]},
    ]));
    assert_eq!(
        missing(&held, &wanted),
        [
            r#"{APIGroups:[""], Resources:["configmaps"], Verbs:["get" "list"]}"#,
            r#"{APIGroups:[""], Resources:["pods"], Verbs:["list"]}"#,
            r#"{APIGroups:[""], Resources:["secrets"], ResourceNames:["b"], Verbs:["get"]}"#,
            r#"{NonResourceURLs:["/metrics"], Verbs:["get"]}"#,
        ]
    );
    assert!(
        missing(&rules(json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])), &wanted[..3]).is_empty()
    );
}

#[test]
fn the_bootstrap_roles_are_there_once_with_labels_and_aggregate() {
    let objects = bootstrap_objects();
    let find = |kind: &str, name: &str| {
        let mut found = objects.iter().filter(|o| o["kind"] == kind && o["metadata"]["name"] == name);
        let first = found.next().unwrap_or_else(|| panic!("{kind} {name}")).clone();
        assert!(kind.starts_with("Role") || found.next().is_none(), "{kind} {name} twice");
        first
    };
    for object in &objects {
        assert_eq!(object["metadata"]["labels"]["kubernetes.io/bootstrapping"], "rbac-defaults");
        assert_eq!(object["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"], "true");
    }
    let rules = |name: &str| -> Vec<Rule> {
        find("ClusterRole", name)["rules"].as_array().unwrap().iter().map(Rule::of).collect()
    };
    assert!(missing(&rules("edit"), &rules("view")).is_empty(), "edit holds view");
    assert!(missing(&rules("admin"), &rules("edit")).is_empty(), "admin holds edit");
    assert!(!missing(&rules("view"), &rules("edit")).is_empty());
    assert_eq!(find("ClusterRoleBinding", "cluster-admin")["subjects"][0]["name"], "system:masters");
    let admin = find("ClusterRole", "admin");
    assert_eq!(
        admin["aggregationRule"]["clusterRoleSelectors"][0]["matchLabels"]["rbac.authorization.k8s.io/aggregate-to-admin"],
        "true"
    );
    let mut index = Index::default();
    for object in &objects {
        let table = format!("{}s.rbac.authorization.k8s.io", object["kind"].as_str().unwrap().to_lowercase());
        index.put(&table, object);
    }
    let anybody = UserInfo::anonymous();
    assert!(index.decide(&anybody, &Attributes::path("get", "/version"), false).allowed());
    assert!(!index.decide(&anybody, &Attributes::path("get", "/api"), false).allowed());
    let somebody = UserInfo::new("ann", &["system:authenticated"]);
    assert!(
        index.decide(&somebody, &on("create", "selfsubjectreviews.authentication.k8s.io", "", ""), false).allowed()
    );
    assert!(!index.decide(&somebody, &on("get", "pods", "default", "p"), false).allowed());
}

/// The decision by looking at everything, written from the documentation's words and not from the index.
fn naive(objects: &[(&str, Value)], user: &UserInfo, verb: &str, resource: &str, namespace: &str, name: &str) -> bool {
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    objects.iter().any(|(table, binding)| {
        let scope = text(&binding["metadata"]["namespace"]);
        if !(*table == TABLES[3] || (*table == TABLES[2] && scope == namespace)) {
            return false;
        }
        let applies = binding["subjects"].as_array().unwrap().iter().any(|s| match s["kind"].as_str().unwrap() {
            "User" => s["name"] == user.name.as_str(),
            "Group" => user.groups.iter().any(|g| s["name"] == g.as_str()),
            _ => {
                format!("system:serviceaccount:{}:{}", s["namespace"].as_str().unwrap(), text(&s["name"])) == user.name
            }
        });
        let home = if binding["roleRef"]["kind"] == "Role" { scope } else { String::new() };
        applies
            && objects.iter().any(|(t, role)| {
                (*t == TABLES[0] || *t == TABLES[1])
                    && text(&role["metadata"]["namespace"]) == home
                    && role["metadata"]["name"] == binding["roleRef"]["name"]
                    && role["rules"].as_array().unwrap().iter().any(|rule| {
                        let lists = |key: &str, wanted: &str| {
                            rule[key].as_array().unwrap().iter().any(|v| v == "*" || v == wanted)
                        };
                        let names = rule["resourceNames"].as_array().unwrap();
                        lists("verbs", verb)
                            && lists("apiGroups", "")
                            && lists("resources", resource)
                            && (names.is_empty() || names.iter().any(|n| n == name))
                    })
            })
    })
}

fn rule_strategy() -> impl Strategy<Value = Value> {
    let some = |from: &'static [&'static str]| prop::sample::subsequence(from, 0..=from.len());
    (some(&["get", "list", "*"]), some(&["pods", "secrets", "pods/log", "*"]), some(&["", "apps", "*"]), some(&["a", "b"]))
        .prop_map(|(verbs, resources, groups, names)| {
            json!({"verbs": verbs, "resources": resources, "apiGroups": groups, "resourceNames": names})
        })
}

fn object_strategy() -> impl Strategy<Value = (&'static str, Value)> {
    let scope = prop::sample::select(vec!["", "x", "y"]);
    let name = prop::sample::select(vec!["r1", "r2"]);
    let subject = prop::sample::select(vec![
        json!({"kind": "User", "name": "ann"}),
        json!({"kind": "Group", "name": "dev"}),
        json!({"kind": "ServiceAccount", "name": "bot", "namespace": "x"}),
    ]);
    let subjects = prop::collection::vec(subject, 0..3);
    let rules = prop::collection::vec(rule_strategy(), 0..3);
    (any::<bool>(), scope, name, prop::sample::select(vec!["b1", "b2"]), any::<bool>(), subjects, rules).prop_map(
        |(is_role, scope, role_name, binding, local, subjects, rules)| {
            if is_role {
                role(scope, role_name, json!(rules))
            } else {
                let kind = if local && !scope.is_empty() { "Role" } else { "ClusterRole" };
                bind(scope, binding, kind, role_name, json!(subjects))
            }
        },
    )
}

proptest! {
    #[test]
    fn the_index_decides_as_a_scan_over_all_rules(
        writes in prop::collection::vec((object_strategy(), prop::bool::weighted(0.2)), 0..30),
    ) {
        let mut index = Index::default();
        let mut objects: Vec<(&'static str, Value)> = Vec::new();
        for ((table, object), gone) in writes {
            objects.retain(|(t, o)| *t != table || o["metadata"] != object["metadata"]);
            if gone {
                index.remove(table, &object);
            } else {
                index.put(table, &object);
                objects.push((table, object));
            }
        }
        for user in [UserInfo::new("ann", &[]), UserInfo::new("zed", &["dev"]), UserInfo::service_account("x", "bot", "")] {
            for verb in ["get", "list"] {
                for resource in ["pods", "secrets", "pods/log"] {
                    for namespace in ["", "x", "y", "z"] {
                        for name in ["", "a"] {
                            let found = index.decide(&user, &on(verb, resource, namespace, name), false).allowed();
                            let wanted = naive(&objects, &user, verb, resource, namespace, name);
                            prop_assert_eq!(found, wanted, "{} {} {} {} {}", user.name, verb, resource, namespace, name);
                        }
                    }
                }
            }
        }
    }
}
