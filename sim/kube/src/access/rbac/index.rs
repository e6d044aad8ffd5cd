//! Roles and bindings by subject, kept up to date with the store, so that a decision looks at nothing else.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::rules::{Attributes, On, Rule};
use crate::{access::UserInfo, engine::Engine, json};

/// The tables that decisions are made from.
pub(crate) const TABLES: [&str; 4] = [
    "roles.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
];

/// A role with what its rules were used for.
#[derive(Debug, Default)]
struct Role {
    rules: Vec<Rule>,
    /// For each rule: verb, then resource or path, then how often.
    used: Vec<BTreeMap<String, BTreeMap<String, u64>>>,
}

/// A subject of a binding.
#[derive(Clone, Debug)]
struct Subject {
    kind: String,
    name: String,
    namespace: String,
}

/// A RoleBinding or ClusterRoleBinding.
#[derive(Debug)]
struct Binding {
    /// Namespace; empty for a ClusterRoleBinding.
    namespace: String,
    name: String,
    role_kind: String,
    role_name: String,
    subjects: Vec<Subject>,
}

impl Binding {
    fn of(value: &Value) -> Self {
        let subject = |s: &Value| Subject {
            kind: json::text(s, &["kind"]).to_owned(),
            name: json::text(s, &["name"]).to_owned(),
            namespace: json::text(s, &["namespace"]).to_owned(),
        };
        Self {
            namespace: json::namespace(value).to_owned(),
            name: json::name(value).to_owned(),
            role_kind: json::text(value, &["roleRef", "kind"]).to_owned(),
            role_name: json::text(value, &["roleRef", "name"]).to_owned(),
            subjects: json::list(value, &["subjects"]).iter().map(subject).collect(),
        }
    }

    /// The user name a service account among the subjects has.
    fn account(&self, subject: &Subject) -> Option<String> {
        let namespace = if subject.namespace.is_empty() { &self.namespace } else { &subject.namespace };
        (!namespace.is_empty()).then(|| format!("system:serviceaccount:{namespace}:{}", subject.name))
    }

    fn applies(&self, subject: &Subject, user: &UserInfo) -> bool {
        match subject.kind.as_str() {
            "User" => subject.name == user.name,
            "Group" => user.belongs(&subject.name),
            "ServiceAccount" => self.account(subject).is_some_and(|name| name == user.name),
            _ => false,
        }
    }

    /// `RoleBinding "b/ns" of Role "r" to User "u"`.
    fn describe(&self, user: &UserInfo) -> String {
        let subject = self.subjects.iter().find(|s| self.applies(s, user)).map_or_else(String::new, |s| {
            if s.kind == "ServiceAccount" {
                let namespace = if s.namespace.is_empty() { &self.namespace } else { &s.namespace };
                format!("{} {:?}", s.kind, format!("{}/{namespace}", s.name))
            } else {
                format!("{} {:?}", s.kind, s.name)
            }
        });
        let (kind, name) = if self.namespace.is_empty() {
            ("ClusterRoleBinding", self.name.clone())
        } else {
            ("RoleBinding", format!("{}/{}", self.name, self.namespace))
        };
        format!("{kind} {name:?} of {} {:?} to {subject}", self.role_kind, self.role_name)
    }
}

/// Bindings of one scope by user and by group; in each, by name.
#[derive(Debug, Default)]
struct Bound {
    users: BTreeMap<String, BTreeMap<String, Arc<Binding>>>,
    groups: BTreeMap<String, BTreeMap<String, Arc<Binding>>>,
}

impl Bound {
    fn keys(binding: &Binding) -> impl Iterator<Item = (bool, String)> {
        binding.subjects.iter().filter_map(|s| match s.kind.as_str() {
            "User" => Some((true, s.name.clone())),
            "Group" => Some((false, s.name.clone())),
            "ServiceAccount" => binding.account(s).map(|name| (true, name)),
            _ => None,
        })
    }

    fn insert(&mut self, binding: &Arc<Binding>) {
        for (user, key) in Self::keys(binding) {
            let map = if user { &mut self.users } else { &mut self.groups };
            map.entry(key).or_default().insert(binding.name.clone(), binding.clone());
        }
    }

    fn remove(&mut self, binding: &Binding) {
        for (user, key) in Self::keys(binding) {
            let map = if user { &mut self.users } else { &mut self.groups };
            if let Some(names) = map.get_mut(&key) {
                names.remove(&binding.name);
                if names.is_empty() {
                    map.remove(&key);
                }
            }
        }
    }

    /// The bindings that apply to a user, by name, each once.
    fn of<'a>(&'a self, user: &UserInfo) -> Vec<&'a Arc<Binding>> {
        let groups = user.groups.iter().filter_map(|g| self.groups.get(g));
        let mut found: Vec<_> = self.users.get(&user.name).into_iter().chain(groups).flat_map(|m| m.values()).collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found.dedup_by(|a, b| a.name == b.name);
        found
    }
}

/// What the roles say of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Granted; the reason as `SubjectAccessReview` tells it.
    Allowed(String),
    /// Not granted; the reason, or empty.
    NoOpinion(String),
}

impl Decision {
    /// True if it is granted.
    pub fn allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    /// The reason, or empty.
    pub fn reason(&self) -> &str {
        match self {
            Self::Allowed(reason) | Self::NoOpinion(reason) => reason,
        }
    }
}

/// What one rule of a role was used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleUsage {
    /// `Role` or `ClusterRole`.
    pub kind: &'static str,
    /// Namespace of a Role, or empty.
    pub namespace: String,
    /// Name of the role.
    pub role: String,
    /// Which of its rules, from 0.
    pub rule: usize,
    /// The rule.
    pub text: Rule,
    /// Verb and resource (`deployments.apps`, `pods/log`) or path, with how many requests they granted.
    pub granted: Vec<(String, String, u64)>,
    /// Verb and resource or path that the rule names and no request needed.
    pub unused: Vec<(String, String)>,
}

/// The index.
#[derive(Debug, Default)]
pub(crate) struct Index {
    roles: BTreeMap<String, BTreeMap<String, Role>>,
    bindings: BTreeMap<String, BTreeMap<String, Arc<Binding>>>,
    cluster: Bound,
    namespaces: BTreeMap<String, Bound>,
}

impl Index {
    /// Everything from the store anew; what rules were used for is kept where they stay the same.
    pub fn rebuild(&mut self, engine: &Engine) {
        let old = std::mem::take(self);
        self.roles = old.roles;
        let mut live: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for table in TABLES {
            for object in engine.scan(table, None) {
                self.put(table, object);
                if table == TABLES[0] || table == TABLES[1] {
                    live.entry(json::namespace(object).to_owned()).or_default().push(json::name(object).to_owned());
                }
            }
        }
        for (namespace, roles) in &mut self.roles {
            roles.retain(|name, _| live.get(namespace).is_some_and(|names| names.contains(name)));
        }
    }

    /// Takes in an object that was made or changed.
    pub fn put(&mut self, table: &str, object: &Value) {
        if table == TABLES[0] || table == TABLES[1] {
            let rules: Vec<Rule> = json::list(object, &["rules"]).iter().map(Rule::of).collect();
            let names = self.roles.entry(json::namespace(object).to_owned()).or_default();
            let role = names.entry(json::name(object).to_owned()).or_default();
            if role.rules != rules {
                *role = Role { used: vec![BTreeMap::new(); rules.len()], rules };
            }
            return;
        }
        self.remove(table, object);
        let binding = Arc::new(Binding::of(object));
        let scope = &binding.namespace;
        if scope.is_empty() {
            self.cluster.insert(&binding);
        } else {
            self.namespaces.entry(scope.clone()).or_default().insert(&binding);
        }
        self.bindings.entry(scope.clone()).or_default().insert(binding.name.clone(), binding);
    }

    /// Forgets an object that is gone.
    pub fn remove(&mut self, table: &str, object: &Value) {
        let (namespace, name) = (json::namespace(object), json::name(object));
        if table == TABLES[0] || table == TABLES[1] {
            if let Some(names) = self.roles.get_mut(namespace) {
                names.remove(name);
            }
            return;
        }
        let Some(old) = self.bindings.get_mut(namespace).and_then(|names| names.remove(name)) else { return };
        if namespace.is_empty() {
            self.cluster.remove(&old);
        } else if let Some(bound) = self.namespaces.get_mut(namespace) {
            bound.remove(&old);
        }
    }

    fn scopes<'a>(&'a self, namespace: &str) -> impl Iterator<Item = &'a Bound> {
        // No role binding lives in the empty namespace.
        std::iter::once(&self.cluster).chain(self.namespaces.get(namespace))
    }

    /// Key of the role a binding names, or why there is none.
    fn role_of<'b>(&self, binding: &'b Binding) -> Result<(&'b str, &Role), String> {
        let (namespace, kind) = match binding.role_kind.as_str() {
            "Role" => (binding.namespace.as_str(), "role"),
            "ClusterRole" => ("", "clusterrole"),
            other => return Err(format!("unsupported role reference kind: {other:?}")),
        };
        let role = self.roles.get(namespace).and_then(|names| names.get(&binding.role_name));
        role.map(|r| (namespace, r))
            .ok_or_else(|| format!("{kind}.rbac.authorization.k8s.io {:?} not found", binding.role_name))
    }

    /// Decides a request, and books which rule granted it if `book`.
    pub fn decide(&mut self, user: &UserInfo, asked: &Attributes<'_>, book: bool) -> Decision {
        let mut errors: Vec<String> = Vec::new();
        let mut found = None;
        'search: for bound in self.scopes(asked.namespace()) {
            for binding in bound.of(user) {
                match self.role_of(binding) {
                    Ok((namespace, role)) => {
                        if let Some(at) = role.rules.iter().position(|r| r.allows(asked)) {
                            found = Some((namespace.to_owned(), binding.clone(), at));
                            break 'search;
                        }
                    }
                    Err(error) if !errors.contains(&error) => errors.push(error),
                    Err(_) => {}
                }
            }
        }
        if let Some((namespace, binding, at)) = found {
            if book && let Some(role) = self.roles.get_mut(&namespace).and_then(|n| n.get_mut(&binding.role_name)) {
                count(&mut role.used[at], asked);
            }
            return Decision::Allowed(format!("RBAC: allowed by {}", binding.describe(user)));
        }
        Decision::NoOpinion(match errors.as_slice() {
            [] => String::new(),
            [one] => format!("RBAC: {one}"),
            many => format!("RBAC: [{}]", many.join(", ")),
        })
    }

    /// All rules that apply to a user in a namespace, and why some may be missing.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        for binding in self.scopes(namespace).flat_map(|bound| bound.of(user)) {
            match self.role_of(binding) {
                Ok((_, role)) => rules.extend(role.rules.iter().cloned()),
                Err(error) => errors.push(error),
            }
        }
        (rules, errors)
    }

    /// The rules of a role, if it exists.
    pub fn rules_of(&self, namespace: &str, role: &str) -> Option<&[Rule]> {
        self.roles.get(namespace)?.get(role).map(|r| r.rules.as_slice())
    }

    /// What every rule was used for, sorted by namespace and role.
    pub fn usage(&self) -> Vec<RuleUsage> {
        let mut out = Vec::new();
        for (namespace, names) in &self.roles {
            for (name, role) in names {
                for (at, (rule, used)) in role.rules.iter().zip(&role.used).enumerate() {
                    let granted: Vec<_> = used
                        .iter()
                        .flat_map(|(verb, on)| on.iter().map(move |(what, n)| (verb.clone(), what.clone(), *n)))
                        .collect();
                    out.push(RuleUsage {
                        kind: if namespace.is_empty() { "ClusterRole" } else { "Role" },
                        namespace: namespace.clone(),
                        role: name.clone(),
                        rule: at,
                        text: rule.clone(),
                        unused: named(rule)
                            .filter(|(v, w)| !used.get(v).is_some_and(|on| on.contains_key(w)))
                            .collect(),
                        granted,
                    });
                }
            }
        }
        out
    }
}

/// Verb and resource or path, as a rule names them.
fn named(rule: &Rule) -> impl Iterator<Item = (String, String)> {
    let resources = rule.resources.iter().flat_map(|r| rule.api_groups.iter().map(move |g| on_text(g, r)));
    let on: Vec<String> = resources.chain(rule.non_resource_urls.iter().cloned()).collect();
    rule.verbs.iter().flat_map(move |v| on.clone().into_iter().map(move |w| (v.clone(), w)))
}

/// `deployments.apps/status`, `pods/log`.
fn on_text(group: &str, resource: &str) -> String {
    match (group, resource.split_once('/')) {
        ("", _) => resource.to_owned(),
        (_, Some((main, sub))) => format!("{main}.{group}/{sub}"),
        _ => format!("{resource}.{group}"),
    }
}

fn count(used: &mut BTreeMap<String, BTreeMap<String, u64>>, asked: &Attributes<'_>) {
    let what = match asked.on {
        On::Resource { group, resource, subresource: "", .. } => on_text(group, resource),
        On::Resource { group, resource, subresource, .. } => on_text(group, &format!("{resource}/{subresource}")),
        On::Path(path) => path.to_owned(),
    };
    if let Some(on) = used.get_mut(asked.verb) {
        *on.entry(what).or_default() += 1;
    } else {
        used.insert(asked.verb.to_owned(), BTreeMap::from([(what, 1)]));
    }
}
