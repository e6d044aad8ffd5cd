//! One policy rule: what it matches, what it covers, how it is written in messages.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::json;

/// A `PolicyRule` of `rbac.authorization.k8s.io/v1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// API groups, or `*`.
    pub api_groups: Vec<String>,
    /// Resources (`pods`, `pods/log`, `*/scale`), or `*`.
    pub resources: Vec<String>,
    /// Names; empty for all.
    pub resource_names: Vec<String>,
    /// Paths; a `*` at the end stands for anything.
    pub non_resource_urls: Vec<String>,
    /// Verbs, or `*`.
    pub verbs: Vec<String>,
}

/// What a request asks to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attributes<'a> {
    /// `get`, `list`, …; for paths the lower-case HTTP method.
    pub verb: &'a str,
    /// To what.
    pub on: On<'a>,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum On<'a> {
    /// A resource of the API.
    Resource {
        /// API group; empty for core.
        group: &'a str,
        /// Plural.
        resource: &'a str,
        /// Subresource, or empty.
        subresource: &'a str,
        /// Namespace, or empty for the cluster scope.
        namespace: &'a str,
        /// Name, or empty for collections.
        name: &'a str,
    },
    /// Any other path.
    Path(&'a str),
}

impl<'a> Attributes<'a> {
    /// A verb on a resource without a subresource.
    pub fn resource(verb: &'a str, group: &'a str, resource: &'a str, namespace: &'a str, name: &'a str) -> Self {
        Self { verb, on: On::Resource { group, resource, subresource: "", namespace, name } }
    }

    /// A verb on a path.
    pub fn path(verb: &'a str, path: &'a str) -> Self {
        Self { verb, on: On::Path(path) }
    }

    /// The namespace asked about, or empty.
    pub fn namespace(&self) -> &'a str {
        match self.on {
            On::Resource { namespace, .. } => namespace,
            On::Path(_) => "",
        }
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

fn path_matches(pattern: &str, path: &str) -> bool {
    pattern == path || (pattern.ends_with('*') && path.starts_with(pattern.trim_end_matches('*')))
}

/// Whether a rule's resource matches `resource` or `resource/subresource` without building that text.
fn resource_matches(pattern: &str, resource: &str, subresource: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    if subresource.is_empty() {
        return pattern == resource;
    }
    match pattern.split_once('/') {
        Some(("*", sub)) => sub == subresource,
        Some((main, sub)) => main == resource && sub == subresource,
        None => false,
    }
}

impl Rule {
    /// Reads a rule of a stored Role or ClusterRole.
    pub fn of(value: &Value) -> Self {
        let texts =
            |key: &str| json::list(value, &[key]).iter().filter_map(|v| v.as_str().map(str::to_owned)).collect();
        Self {
            api_groups: texts("apiGroups"),
            resources: texts("resources"),
            resource_names: texts("resourceNames"),
            non_resource_urls: texts("nonResourceURLs"),
            verbs: texts("verbs"),
        }
    }

    /// The rule as it is written in objects; empty lists are left out.
    pub fn to_value(&self) -> Value {
        let mut out = json!({});
        for (key, list) in [
            ("apiGroups", &self.api_groups),
            ("nonResourceURLs", &self.non_resource_urls),
            ("resourceNames", &self.resource_names),
            ("resources", &self.resources),
            ("verbs", &self.verbs),
        ] {
            if !list.is_empty() {
                out[key] = list.clone().into();
            }
        }
        out
    }

    /// Whether the rule grants the request.
    pub fn allows(&self, asked: &Attributes<'_>) -> bool {
        if !has(&self.verbs, asked.verb) {
            return false;
        }
        match asked.on {
            On::Resource { group, resource, subresource, name, .. } => {
                has(&self.api_groups, group)
                    && self.resources.iter().any(|r| resource_matches(r, resource, subresource))
                    && (self.resource_names.is_empty() || self.resource_names.iter().any(|n| n == name))
            }
            On::Path(path) => self.non_resource_urls.iter().any(|p| p == "*" || path_matches(p, path)),
        }
    }

    /// The rule as rules of one verb and one resource (and name), or one verb and one path.
    fn atoms(&self) -> Vec<Rule> {
        let mut atoms = Vec::new();
        let one = |text: &String| vec![text.clone()];
        for group in &self.api_groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let atom =
                        Rule { api_groups: one(group), resources: one(resource), verbs: one(verb), ..Rule::default() };
                    if self.resource_names.is_empty() {
                        atoms.push(atom);
                    } else {
                        atoms.extend(
                            self.resource_names.iter().map(|n| Rule { resource_names: one(n), ..atom.clone() }),
                        );
                    }
                }
            }
        }
        for path in &self.non_resource_urls {
            atoms.extend(self.verbs.iter().map(|v| Rule {
                non_resource_urls: one(path),
                verbs: one(v),
                ..Rule::default()
            }));
        }
        atoms
    }

    /// Whether holding this rule is holding all of `atom`.
    fn covers(&self, atom: &Rule) -> bool {
        let resource = |wanted: &String| {
            has(&self.resources, wanted)
                || wanted
                    .split_once('/')
                    .is_some_and(|(_, sub)| self.resources.iter().any(|r| *r == format!("*/{sub}")))
        };
        atom.verbs.iter().all(|v| has(&self.verbs, v))
            && atom.api_groups.iter().all(|g| has(&self.api_groups, g))
            && atom.resources.iter().all(resource)
            && atom.non_resource_urls.iter().all(|p| self.non_resource_urls.iter().any(|o| path_matches(o, p)))
            && (self.resource_names.is_empty()
                || (!atom.resource_names.is_empty()
                    && atom.resource_names.iter().all(|n| self.resource_names.contains(n))))
    }

    /// As messages write it: `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}`.
    pub fn compact(&self) -> String {
        let parts: Vec<String> = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ]
        .into_iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(name, list)| format!("{name}:{}", quoted(list)))
        .collect();
        format!("{{{}}}", parts.join(", "))
    }
}

/// A list as Go's `%q` writes it: `["a" "b"]`.
pub(crate) fn quoted(list: &[String]) -> String {
    let texts: Vec<String> = list.iter().map(|t| format!("{t:?}")).collect();
    format!("[{}]", texts.join(" "))
}

/// What `wanted` grants and `held` does not, written as messages do: one text for each resource, sorted. Empty if
/// everything is held.
pub fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<String> {
    let lacking = wanted.iter().flat_map(Rule::atoms).filter(|atom| !held.iter().any(|rule| rule.covers(atom)));
    // Verbs of one resource (and name) come together; paths stay apart.
    let mut by_resource: BTreeMap<(Vec<String>, Vec<String>, Vec<String>), Vec<String>> = BTreeMap::new();
    let mut texts = BTreeSet::new();
    for atom in lacking {
        if atom.non_resource_urls.is_empty() {
            let verbs = by_resource.entry((atom.api_groups, atom.resources, atom.resource_names)).or_default();
            // A verb asked for twice is named twice, as in the original.
            verbs.extend(atom.verbs);
        } else {
            texts.insert(atom.compact());
        }
    }
    for ((api_groups, resources, resource_names), verbs) in by_resource {
        texts.insert(Rule { api_groups, resources, resource_names, verbs, ..Rule::default() }.compact());
    }
    texts.into_iter().collect()
}
