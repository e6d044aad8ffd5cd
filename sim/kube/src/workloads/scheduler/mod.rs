//! The scheduler: which node a pod goes to, or why none.
//!
//! [`Nodes`] is kept up to date by events, so that a decision costs one look at each node and none at other pods (unless
//! the pod itself asks for affinity or spreading). Among the nodes that pass all filters the one with the fewest pods of the
//! same owner is taken, then the one with the fewest pods, then the first by name: the real scheduler scores more finely and
//! breaks ties by chance.

mod filters;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

pub(crate) use filters::{admits, daemon_tolerations, toleration_of};

use super::quantity::{milli, milli_at};
use crate::{engine::Object, json};

/// What a pod asks of its node, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requests {
    cpu: i128,
    memory: i128,
}

impl Requests {
    /// A pod's requests: the sum over its containers and sidecars, or an init container's, whichever is more.
    pub(crate) fn of(pod: &Value) -> Self {
        let one = |c: &Value| {
            let of = |name: &str| match milli_at(c, &["resources", "requests", name]) {
                0 => milli_at(c, &["resources", "limits", name]),
                n => n,
            };
            Self { cpu: of("cpu"), memory: of("memory") }
        };
        let mut total = Self::default();
        for c in json::list(pod, &["spec", "containers"]) {
            total = total.plus(one(c));
        }
        let (mut sidecars, mut most) = (Self::default(), Self::default());
        for c in json::list(pod, &["spec", "initContainers"]) {
            let asked = one(c);
            if c["restartPolicy"] == "Always" {
                sidecars = sidecars.plus(asked);
                most = most.max(sidecars);
            } else {
                most = most.max(sidecars.plus(asked));
            }
        }
        let overhead = Self {
            cpu: milli_at(pod, &["spec", "overhead", "cpu"]),
            memory: milli_at(pod, &["spec", "overhead", "memory"]),
        };
        total.plus(sidecars).max(most).plus(overhead)
    }

    fn plus(self, other: Self) -> Self {
        Self { cpu: self.cpu.saturating_add(other.cpu), memory: self.memory.saturating_add(other.memory) }
    }

    fn minus(self, other: Self) -> Self {
        Self { cpu: self.cpu - other.cpu, memory: self.memory - other.memory }
    }

    fn max(self, other: Self) -> Self {
        Self { cpu: self.cpu.max(other.cpu), memory: self.memory.max(other.memory) }
    }
}

/// One node as the scheduler knows it.
#[derive(Debug)]
struct Node {
    object: Object,
    allocatable: Requests,
    pods_max: i128,
    used: Requests,
    pods: usize,
    /// Pods by the uid of their controller.
    owners: BTreeMap<String, usize>,
    /// Host ports in use: protocol and number.
    ports: BTreeMap<(String, i64), usize>,
}

#[derive(Debug)]
struct Placed {
    node: String,
    requests: Requests,
    pod: Object,
}

/// What the scheduler knows of nodes and of the pods on them.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    nodes: BTreeMap<String, Node>,
    placed: BTreeMap<String, Placed>,
    /// Uids of those among them that keep others away by a required anti-affinity.
    wary: BTreeSet<String>,
}

fn owner_of(pod: &Value) -> &str {
    json::controller_of(pod).map_or("", |owner| json::text(owner, &["uid"]))
}

fn host_ports(pod: &Value) -> Vec<(String, i64)> {
    json::list(pod, &["spec", "containers"])
        .iter()
        .flat_map(|c| json::list(c, &["ports"]))
        .filter_map(|p| {
            Some((json::text(p, &["protocol"]).to_owned(), json::int(p, &["hostPort"]).filter(|n| *n > 0)?))
        })
        .collect()
}

impl Node {
    fn count(&mut self, placed: &Placed, more: bool) {
        let step = |n: usize| if more { n + 1 } else { n.saturating_sub(1) };
        self.used = if more { self.used.plus(placed.requests) } else { self.used.minus(placed.requests) };
        self.pods = step(self.pods);
        let owner = owner_of(&placed.pod);
        if !owner.is_empty() {
            let n = self.owners.entry(owner.to_owned()).or_default();
            *n = step(*n);
            if *n == 0 {
                self.owners.remove(owner);
            }
        }
        for port in host_ports(&placed.pod) {
            let n = self.ports.entry(port.clone()).or_default();
            *n = step(*n);
            if *n == 0 {
                self.ports.remove(&port);
            }
        }
    }
}

impl Nodes {
    /// Takes note of a node that came or changed.
    pub(crate) fn put_node(&mut self, object: &Object) {
        let allocatable = Requests {
            cpu: milli_at(object, &["status", "allocatable", "cpu"]),
            memory: milli_at(object, &["status", "allocatable", "memory"]),
        };
        let pods_max = json::at(object, &["status", "allocatable", "pods"]).and_then(milli).unwrap_or(0) / 1000;
        let name = json::name(object);
        if let Some(node) = self.nodes.get_mut(name) {
            (node.object, node.allocatable, node.pods_max) = (object.clone(), allocatable, pods_max);
            return;
        }
        let mut node = Node {
            object: object.clone(),
            allocatable,
            pods_max,
            used: Requests::default(),
            pods: 0,
            owners: BTreeMap::new(),
            ports: BTreeMap::new(),
        };
        for placed in self.placed.values().filter(|p| p.node == name) {
            node.count(placed, true);
        }
        self.nodes.insert(name.to_owned(), node);
    }

    /// Takes note of a node that is gone.
    pub(crate) fn remove_node(&mut self, name: &str) {
        self.nodes.remove(name);
    }

    /// Takes note of a pod that came or changed; true if it gave room back.
    pub(crate) fn put_pod(&mut self, pod: &Object) -> bool {
        let node = json::text(pod, &["spec", "nodeName"]);
        if node.is_empty() || super::pods::finished(pod) {
            return self.remove_pod(json::uid(pod));
        }
        if let Some(known) = self.placed.get_mut(json::uid(pod)) {
            known.pod = pod.clone();
            return false;
        }
        let placed = Placed { node: node.to_owned(), requests: Requests::of(pod), pod: pod.clone() };
        if let Some(node) = self.nodes.get_mut(node) {
            node.count(&placed, true);
        }
        if !json::list(pod, &["spec", "affinity", "podAntiAffinity", filters::REQUIRED]).is_empty() {
            self.wary.insert(json::uid(pod).to_owned());
        }
        self.placed.insert(json::uid(pod).to_owned(), placed);
        false
    }

    /// Takes note of a pod that is gone; true if it gave room back.
    pub(crate) fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(placed) = self.placed.remove(uid) else { return false };
        self.wary.remove(uid);
        if let Some(node) = self.nodes.get_mut(&placed.node) {
            node.count(&placed, false);
        }
        true
    }

    /// The names of the nodes, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// The pods on a node, in the order of their uids.
    pub(crate) fn pods_on<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a Object> {
        self.placed.values().filter(move |p| p.node == node).map(|p| &p.pod)
    }

    /// Chooses a node for a pod.
    ///
    /// # Errors
    /// Why no node will do, in the real scheduler's words.
    pub(crate) fn choose(&self, pod: &Value) -> Result<String, String> {
        if self.nodes.is_empty() {
            return Err("no nodes available to schedule pods".to_owned());
        }
        let requests = Requests::of(pod);
        let ports = host_ports(pod);
        let asks = filters::Asks::new(pod);
        let spread = filters::Around::new(self, pod);
        let owner = owner_of(pod);
        let mut best: Option<(usize, usize, &String)> = None;
        let mut refused: BTreeMap<String, usize> = BTreeMap::new();
        let mut hopeless = 0;
        for (name, node) in &self.nodes {
            let refusals = filters::refusals(node, pod, &asks, requests, &ports, &spread);
            if refusals.is_empty() {
                let rank = (node.owners.get(owner).copied().unwrap_or(0), node.pods, name);
                if best.is_none_or(|b| rank < b) {
                    best = Some(rank);
                }
            }
            hopeless += usize::from(refusals.iter().any(|r| r.hopeless));
            for refusal in refusals {
                *refused.entry(refusal.text).or_default() += 1;
            }
        }
        match best {
            Some((_, _, name)) => Ok(name.clone()),
            None => Err(message(self.nodes.len(), &refused, hopeless)),
        }
    }
}

/// `0/3 nodes are available: …`
fn message(nodes: usize, refused: &BTreeMap<String, usize>, hopeless: usize) -> String {
    let mut reasons: Vec<String> = refused.iter().map(|(text, n)| format!("{n} {text}")).collect();
    reasons.sort();
    let mut preemption = Vec::new();
    if nodes > hopeless {
        preemption.push(format!("{} No preemption victims found for incoming pod", nodes - hopeless));
    }
    if hopeless > 0 {
        preemption.push(format!("{hopeless} Preemption is not helpful for scheduling"));
    }
    preemption.sort();
    format!(
        "0/{nodes} nodes are available: {}. preemption: 0/{nodes} nodes are available: {}.",
        reasons.join(", "),
        preemption.join(", ")
    )
}

/// The condition `PodScheduled` of a pod that no node takes.
pub(crate) fn unschedulable(pod: &Value, message: &str, time: &str) -> Option<Value> {
    let mut status = pod.get("status").cloned().unwrap_or_else(|| json!({}));
    super::set_condition(&mut status, "PodScheduled", false, "Unschedulable", message, time, false);
    (pod.get("status") != Some(&status)).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, spec: Value) -> Object {
        Object::new(
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "zone": if name == "a" { "x" } else { "y" }}},
            "spec": spec, "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3"}}}),
        )
    }

    fn pod(uid: &str, spec: Value) -> Object {
        Object::new(
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": uid, "namespace": "default", "uid": uid, "labels": {"app": "web"}}, "spec": spec}),
        )
    }

    fn nodes() -> Nodes {
        let mut nodes = Nodes::default();
        for name in ["a", "b", "c"] {
            nodes.put_node(&node(name, json!({})));
        }
        nodes
    }

    fn place(nodes: &mut Nodes, uid: &str, spec: Value) -> Result<String, String> {
        let chosen = nodes.choose(&pod(uid, spec.clone()))?;
        let mut spec = spec;
        spec["nodeName"] = chosen.clone().into();
        nodes.put_pod(&pod(uid, spec));
        Ok(chosen)
    }

    #[test]
    fn pods_are_spread_and_room_is_given_back() {
        let mut nodes = nodes();
        let asks = json!({"containers": [{"resources": {"requests": {"cpu": "1500m"}}}]});
        let chosen: Vec<_> =
            ["1", "2", "3"].iter().map(|uid| place(&mut nodes, uid, asks.clone()).expect("room")).collect();
        assert_eq!(chosen, ["a", "b", "c"]);
        assert_eq!(
            place(&mut nodes, "4", asks.clone()),
            Err("0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.".to_owned())
        );
        assert!(nodes.remove_pod("2"));
        assert!(!nodes.remove_pod("2"));
        assert_eq!(place(&mut nodes, "4", asks), Ok("b".to_owned()));
    }

    #[test]
    fn every_node_says_why_it_will_not_do() {
        let mut nodes = nodes();
        nodes.put_node(&node("a", json!({"unschedulable": true})));
        nodes.put_node(&node("b", json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]})));
        let picky = json!({"nodeSelector": {"disk": "ssd"}, "containers": []});
        assert_eq!(
            nodes.choose(&pod("1", picky)).expect_err("no node fits"),
            "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint {k: v}, 1 node(s) were unschedulable. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        );
        let tolerant =
            json!({"tolerations": [{"operator": "Exists"}], "nodeSelector": {"kubernetes.io/hostname": "b"}});
        assert_eq!(nodes.choose(&pod("1", tolerant)), Ok("b".to_owned()));
        assert_eq!(
            Nodes::default().choose(&pod("1", json!({}))),
            Err("no nodes available to schedule pods".to_owned())
        );
    }

    #[test]
    fn anti_affinity_keeps_peers_apart_and_spreading_keeps_the_skew() {
        let mut nodes = nodes();
        let apart = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "zone"}]}}});
        assert_eq!(place(&mut nodes, "1", apart.clone()), Ok("a".to_owned()));
        assert_eq!(place(&mut nodes, "2", apart.clone()), Ok("b".to_owned()));
        assert_eq!(
            place(&mut nodes, "3", apart).expect_err("two zones, two pods"),
            "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
        );
        let plain = place(&mut nodes, "4", json!({}));
        assert!(
            plain
                .expect_err("peers keep it away")
                .contains("3 node(s) didn't satisfy existing pods anti-affinity rules")
        );
        let mut nodes = super::tests::nodes();
        let even = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]});
        let chosen: Vec<_> = (0..4).map(|i| place(&mut nodes, &i.to_string(), even.clone()).expect("room")).collect();
        assert_eq!(chosen, ["a", "b", "c", "a"]);
    }

    proptest::proptest! {
        #[test]
        fn what_is_put_and_removed_leaves_nothing(uids in proptest::collection::vec(0_u8..20, 0..60)) {
            let mut nodes = nodes();
            for uid in &uids {
                let name = ["a", "b", "c"][usize::from(*uid) % 3];
                nodes.put_pod(&pod(&uid.to_string(), json!({"nodeName": name, "containers": [{"resources": {"requests": {"cpu": uid}}, "ports": [{"hostPort": 1 + uid}]}]})));
            }
            for uid in &uids {
                nodes.remove_pod(&uid.to_string());
            }
            for node in nodes.nodes.values() {
                proptest::prop_assert_eq!((node.pods, node.used, node.ports.len()), (0, Requests::default(), 0));
            }
        }
    }
}
