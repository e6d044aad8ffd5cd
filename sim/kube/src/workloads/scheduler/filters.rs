//! What a node must pass, with the words of the real filters.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Node, Nodes, Requests};
use crate::{json, selectors::LabelSelector, workloads::quantity::milli};

/// Why a node will not do.
pub(super) struct Refusal {
    pub text: String,
    /// Whether no eviction of other pods could change it.
    pub hopeless: bool,
}

fn never(text: &str) -> Vec<Refusal> {
    vec![Refusal { text: text.to_owned(), hopeless: true }]
}

fn perhaps(text: &str) -> Vec<Refusal> {
    vec![Refusal { text: text.to_owned(), hopeless: false }]
}

fn labels_of(node: &Node) -> Option<&serde_json::Map<String, Value>> {
    json::map(&node.object, &["metadata", "labels"])
}

fn label<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    labels_of(node).and_then(|l| l.get(key)).and_then(Value::as_str)
}

/// Whether one of a pod's tolerations tolerates a taint.
pub(crate) fn tolerated(pod: &Value, taint: &Value) -> bool {
    toleration_of(pod, taint).is_some()
}

/// The first toleration of a pod that tolerates a taint.
pub(crate) fn toleration_of<'a>(pod: &'a Value, taint: &Value) -> Option<&'a Value> {
    json::list(pod, &["spec", "tolerations"]).iter().find(|t| {
        let (key, effect) = (json::text(t, &["key"]), json::text(t, &["effect"]));
        let exists = json::text(t, &["operator"]) == "Exists";
        (effect.is_empty() || taint["effect"] == effect)
            && (taint["key"] == key || (key.is_empty() && exists))
            && (exists || json::text(t, &["value"]) == json::text(taint, &["value"]))
    })
}

fn term_matches(node: &Value, term: &Value) -> bool {
    let (expressions, fields) = (json::list(term, &["matchExpressions"]), json::list(term, &["matchFields"]));
    if expressions.is_empty() && fields.is_empty() {
        return false; // a term without requirements selects nothing
    }
    let holds = |e: &Value, value: Option<&str>| {
        let values = json::list(e, &["values"]);
        let listed = value.is_some_and(|v| values.iter().any(|w| w == v));
        let number = |v: &str| v.parse::<i64>().ok();
        let bound = values.first().and_then(Value::as_str).and_then(number);
        match json::text(e, &["operator"]) {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => value.and_then(number).zip(bound).is_some_and(|(v, b)| v > b),
            "Lt" => value.and_then(number).zip(bound).is_some_and(|(v, b)| v < b),
            _ => false,
        }
    };
    expressions.iter().all(|e| {
        holds(
            e,
            json::map(node, &["metadata", "labels"])
                .and_then(|l| l.get(json::text(e, &["key"])))
                .and_then(Value::as_str),
        )
    }) && fields.iter().all(|e| holds(e, (e["key"] == "metadata.name").then(|| json::name(node))))
}

/// What a pod asks of nodes: read once, asked of each.
pub(super) struct Asks<'a> {
    selector: LabelSelector,
    terms: Option<&'a [Value]>,
    /// Resources other than those that are counted, with their amounts in thousandths.
    others: Vec<(&'a str, i128)>,
}

impl<'a> Asks<'a> {
    pub(super) fn new(pod: &'a Value) -> Self {
        let required = ["spec", "affinity", "nodeAffinity", REQUIRED];
        let requests = json::list(pod, &["spec", "containers"])
            .iter()
            .filter_map(|c| json::map(c, &["resources", "requests"]))
            .flatten()
            .filter(|(name, _)| !matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage"));
        Self {
            selector: LabelSelector::from_map(json::map(pod, &["spec", "nodeSelector"])),
            terms: json::at(pod, &required).map(|r| json::list(r, &["nodeSelectorTerms"])),
            others: requests.map(|(name, asked)| (name.as_str(), milli(asked).unwrap_or(0))).collect(),
        }
    }

    /// Whether a node has what `nodeSelector` and the required node affinity ask for.
    fn wanted(&self, node: &Node) -> bool {
        (self.selector.is_empty() || self.selector.matches_labels(labels_of(node)))
            && self.terms.is_none_or(|terms| terms.iter().any(|t| term_matches(&node.object, t)))
    }
}

/// One term of a pod's affinity or anti-affinity.
struct Term {
    topology: String,
    /// Values of the topology key where a matching pod is.
    places: BTreeMap<String, usize>,
    /// Whether the pod would match its own term.
    own: bool,
}

/// One `DoNotSchedule` constraint.
struct Spread {
    topology: String,
    skew_max: i64,
    counts: BTreeMap<String, i64>,
    least: i64,
    own: bool,
}

/// What other pods mean for the pod that is looked at: counted once, asked for each node.
pub(super) struct Around {
    affinity: Vec<Term>,
    anti: Vec<Term>,
    /// Places that pods already there keep it away from: topology key and value.
    away: Vec<(String, String)>,
    spreads: Vec<Spread>,
}

pub(super) const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

fn matches(term: &Value, owner: &Value, other: &Value) -> bool {
    let namespaces = json::list(term, &["namespaces"]);
    let everywhere = json::map(term, &["namespaceSelector"]).is_some_and(serde_json::Map::is_empty);
    let inside = if namespaces.is_empty() {
        json::namespace(other) == json::namespace(owner)
    } else {
        namespaces.iter().any(|n| n == json::namespace(other))
    };
    (inside || everywhere)
        && LabelSelector::from_object(json::at(term, &["labelSelector"])).is_some_and(|s| s.matches(other))
}

impl Around {
    pub(super) fn new(nodes: &Nodes, pod: &Value) -> Self {
        let terms = |kind: &str| -> Vec<Term> {
            json::list(pod, &["spec", "affinity", kind, REQUIRED])
                .iter()
                .map(|term| {
                    let topology = json::text(term, &["topologyKey"]).to_owned();
                    let mut places = BTreeMap::new();
                    for placed in nodes.placed.values().filter(|p| matches(term, pod, &p.pod)) {
                        if let Some(value) = nodes.nodes.get(&placed.node).and_then(|n| label(n, &topology)) {
                            *places.entry(value.to_owned()).or_default() += 1;
                        }
                    }
                    Term { topology, places, own: matches(term, pod, pod) }
                })
                .collect()
        };
        let mut away = Vec::new();
        for placed in nodes.wary.iter().filter_map(|uid| nodes.placed.get(uid)) {
            for term in json::list(&placed.pod, &["spec", "affinity", "podAntiAffinity", REQUIRED]) {
                let key = json::text(term, &["topologyKey"]);
                if matches(term, &placed.pod, pod)
                    && let Some(value) = nodes.nodes.get(&placed.node).and_then(|n| label(n, key))
                {
                    away.push((key.to_owned(), value.to_owned()));
                }
            }
        }
        let spreads = json::list(pod, &["spec", "topologySpreadConstraints"])
            .iter()
            .filter(|c| c["whenUnsatisfiable"] == "DoNotSchedule")
            .map(|c| spread(nodes, pod, c))
            .collect();
        Self { affinity: terms("podAffinity"), anti: terms("podAntiAffinity"), away, spreads }
    }
}

fn spread(nodes: &Nodes, pod: &Value, constraint: &Value) -> Spread {
    let topology = json::text(constraint, &["topologyKey"]).to_owned();
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    let asks = Asks::new(pod);
    for node in nodes.nodes.values().filter(|n| asks.wanted(n)) {
        if let Some(value) = label(node, &topology) {
            counts.entry(value.to_owned()).or_default();
        }
    }
    let selector = LabelSelector::from_object(json::at(constraint, &["labelSelector"]));
    let chosen = |o: &Value| selector.as_ref().is_some_and(|s| s.matches(o));
    let namespace = json::namespace(pod);
    for placed in nodes.placed.values() {
        if json::namespace(&placed.pod) == namespace
            && !json::deleting(&placed.pod)
            && chosen(&placed.pod)
            && let Some(value) = nodes.nodes.get(&placed.node).and_then(|n| label(n, &topology))
            && let Some(count) = counts.get_mut(value)
        {
            *count += 1;
        }
    }
    let few =
        json::int(constraint, &["minDomains"]).is_some_and(|n| i64::try_from(counts.len()).unwrap_or(i64::MAX) < n);
    let least = if few { 0 } else { counts.values().min().copied().unwrap_or(0) };
    let skew_max = json::int(constraint, &["maxSkew"]).unwrap_or(1);
    Spread { topology, skew_max, counts, least, own: chosen(pod) }
}

/// The first filter a node does not pass; none if it will do.
pub(super) fn refusals(
    node: &Node,
    pod: &Value,
    asks: &Asks<'_>,
    requests: Requests,
    ports: &[(String, i64)],
    around: &Around,
) -> Vec<Refusal> {
    if node.object["spec"]["unschedulable"] == true {
        let taint = serde_json::json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
        if !tolerated(pod, &taint) {
            return never("node(s) were unschedulable");
        }
    }
    let taints = json::list(&node.object, &["spec", "taints"]);
    if let Some(t) = taints.iter().find(|t| t["effect"] != "PreferNoSchedule" && !tolerated(pod, t)) {
        let (key, value) = (json::text(t, &["key"]), json::text(t, &["value"]));
        return never(&format!("node(s) had untolerated taint {{{key}: {value}}}"));
    }
    if !asks.wanted(node) {
        return never("node(s) didn't match Pod's node affinity/selector");
    }
    if ports.iter().any(|p| node.ports.contains_key(p)) {
        return perhaps("node(s) didn't have free ports for the requested pod ports");
    }
    let short = fits(node, asks, requests);
    if !short.is_empty() {
        return short;
    }
    for s in &around.spreads {
        let Some(value) = label(node, &s.topology) else {
            return never("node(s) didn't match pod topology spread constraints (missing required label)");
        };
        if s.counts.get(value).copied().unwrap_or(0) + i64::from(s.own) - s.least > s.skew_max {
            return perhaps("node(s) didn't match pod topology spread constraints");
        }
    }
    let near = |t: &Term| {
        // The first of a group that wants to be together has nobody to be near to.
        let first = t.places.is_empty() && t.own;
        label(node, &t.topology).is_some_and(|v| first || t.places.contains_key(v))
    };
    if !around.affinity.iter().all(near) {
        return never("node(s) didn't match pod affinity rules");
    }
    if around.anti.iter().any(|t| label(node, &t.topology).is_some_and(|v| t.places.contains_key(v))) {
        return perhaps("node(s) didn't match pod anti-affinity rules");
    }
    if around.away.iter().any(|(key, value)| label(node, key) == Some(value)) {
        return perhaps("node(s) didn't satisfy existing pods anti-affinity rules");
    }
    Vec::new()
}

/// Everything a node has too little of.
fn fits(node: &Node, asks: &Asks<'_>, requests: Requests) -> Vec<Refusal> {
    let mut short = Vec::new();
    if i128::try_from(node.pods).unwrap_or(i128::MAX) + 1 > node.pods_max {
        short.extend(perhaps("Too many pods"));
    }
    for (name, asked, used, has) in [
        ("cpu", requests.cpu, node.used.cpu, node.allocatable.cpu),
        ("memory", requests.memory, node.used.memory, node.allocatable.memory),
    ] {
        if asked > 0 && asked > has - used {
            // More than the node has at all cannot be had by evicting others.
            short.push(Refusal { text: format!("Insufficient {name}"), hopeless: asked > has });
        }
    }
    // Of other resources only whether the node has any at all is checked.
    for (name, asked) in &asks.others {
        let has = json::at(&node.object, &["status", "allocatable", name]).and_then(milli).unwrap_or(0);
        if *asked > has {
            short.push(Refusal { text: format!("Insufficient {name}"), hopeless: true });
        }
    }
    short
}

/// Whether a daemon's pod may start on a node, and whether one that runs there may stay.
pub(crate) fn admits(node: &Value, pod: &Value, set: &Value) -> (bool, bool) {
    let labels = json::map(node, &["metadata", "labels"]);
    let template = serde_json::json!({"spec": set["spec"]["template"]["spec"]});
    let selector = LabelSelector::from_map(json::map(&template, &["spec", "nodeSelector"]));
    let terms = json::at(&template, &["spec", "affinity", "nodeAffinity", REQUIRED]);
    let fits = selector.matches_labels(labels)
        && terms.is_none_or(|r| json::list(r, &["nodeSelectorTerms"]).iter().any(|t| term_matches(node, t)));
    let against = |effects: &[&str]| {
        json::list(node, &["spec", "taints"])
            .iter()
            .any(|t| effects.contains(&json::text(t, &["effect"])) && !tolerated(pod, t))
    };
    (fits && !against(&["NoSchedule", "NoExecute"]), fits && !against(&["NoExecute"]))
}

/// What every daemon's pod tolerates.
pub(crate) fn daemon_tolerations() -> Vec<Value> {
    let one = |name: &str, effect: &str| serde_json::json!({"key": format!("node.kubernetes.io/{name}"), "operator": "Exists", "effect": effect});
    let mut all = vec![one("not-ready", "NoExecute"), one("unreachable", "NoExecute")];
    all.extend(
        ["disk-pressure", "memory-pressure", "pid-pressure", "unschedulable"].iter().map(|n| one(n, "NoSchedule")),
    );
    all
}
