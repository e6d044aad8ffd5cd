//! The faults of a world by name: what a scenario may ask for, with which parameters.
//!
//! Each fault becomes rules of the part that it befalls (the network, the cluster, the Kubernetes API); a [`Healer`] takes them
//! back.

mod kubernetes_api;

use std::time::Duration;

use serde_json::Value;
use sim_kube::Outage;
use sim_net::{Effect, FaultId, Match, Network, Rule};

/// The client and the peer port of etcd.
const ETCD_PORTS: [u16; 2] = [2379, 2380];
/// The OTLP ports of the Collector.
const OTLP_PORTS: [u16; 2] = [4317, 4318];
/// Where Alertmanager listens.
const ALERTMANAGER_PORT: u16 = 9093;

/// The host from which a world is watched; no fault by name befalls it.
pub const OBSERVER: &str = "scenario";

/// The longest delay a fault may cause.
const DELAY_MAX: Duration = Duration::from_secs(3_600);
/// The most that a clock may be wrong, in seconds: a year.
const SKEW_SECS_MAX: u64 = 365 * 24 * 3600;

/// One parameter of a fault, for `check` and documentation.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in a scenario.
    pub name: &'static str,
    /// What it may be, in words.
    pub takes: &'static str,
    /// What it is when left out; `None`: it must be given.
    pub default: Option<&'static str>,
}

/// A fault that a scenario can ask for by name.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct FaultKind {
    /// Its name in a scenario.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// Its parameters.
    pub parameters: &'static [Parameter],
}

const HOW: Parameter = Parameter {
    name: "how",
    takes: "refuse | black-hole | reset | delay (fixed, e.g. 200ms) | delay range (e.g. 50ms..2s)",
    default: Some("refuse"),
};

const SELECT: Parameter =
    Parameter { name: "select", takes: "a label selector, e.g. app.kubernetes.io/component=shard-pool", default: None };
const NODE: Parameter = Parameter { name: "node", takes: "a node's name, e.g. node-0", default: None };
const IMAGE: Parameter =
    Parameter { name: "image", takes: "image reference, * at its end for a prefix", default: Some("*") };

/// Every fault there is.
pub const FAULTS: &[FaultKind] = &[
    FaultKind {
        name: "etcd-unavailable",
        summary: "connections to etcd's client and peer ports fail: those of clients, of peers and of probes",
        parameters: &[
            Parameter { name: "members", takes: "all | a member's number | a list of numbers", default: Some("all") },
            HOW,
        ],
    },
    FaultKind {
        name: "collector-unavailable",
        summary: "connections to the Collector's OTLP ports fail",
        parameters: &[HOW],
    },
    FaultKind {
        name: "alertmanager-unavailable",
        summary: "connections to Alertmanager fail: those of Prometheus and of whoever asks it, not those of the kubelet's probes",
        parameters: &[HOW],
    },
    FaultKind {
        name: "notifications-unavailable",
        summary: "connections to whoever is told of alerts fail",
        parameters: &[HOW],
    },
    FaultKind {
        name: "pods-not-ready",
        summary: "the kubelet finds every readiness probe of the matching pods failing",
        parameters: &[SELECT],
    },
    FaultKind {
        name: "pods-crash-looping",
        summary: "the containers of the matching pods end now, and a second after each start",
        parameters: &[SELECT, Parameter { name: "exit-code", takes: "1 to 255", default: Some("1") }],
    },
    FaultKind {
        name: "pods-out-of-memory",
        summary: "the containers of the matching pods are killed for want of memory now, and five seconds after each start",
        parameters: &[SELECT],
    },
    FaultKind {
        name: "pods-evicted",
        summary: "the kubelets evict the matching pods for want of memory, once; healing it changes nothing",
        parameters: &[SELECT],
    },
    FaultKind {
        name: "kubelet-dead",
        summary: "a node's kubelet does and says nothing; its containers run on until somebody else stops them",
        parameters: &[NODE],
    },
    FaultKind {
        name: "node-drained",
        summary: "a node takes no more pods and those on it are deleted; healing it makes it schedulable again",
        parameters: &[NODE],
    },
    FaultKind {
        name: "node-clock-skew",
        summary: "a node's clock is wrong: its kubelet reports wrong times",
        parameters: &[
            NODE,
            Parameter {
                name: "by",
                takes: "a duration, e.g. 90s, or with a minus before it if the clock is behind",
                default: None,
            },
        ],
    },
    FaultKind {
        name: "image-pulls-failing",
        summary: "images that a node does not have yet cannot be pulled (ErrImagePull, then ImagePullBackOff)",
        parameters: &[
            IMAGE,
            Parameter {
                name: "error",
                takes: "what the container runtime says",
                default: Some("429 Too Many Requests"),
            },
        ],
    },
    FaultKind {
        name: "image-pulls-slow",
        summary: "pulling an image that a node does not have yet takes longer",
        parameters: &[IMAGE, Parameter { name: "delay", takes: "a duration up to 1h", default: Some("1m") }],
    },
    FaultKind {
        name: "garbage-collector-paused",
        summary: "nothing is deleted for want of an owner, and namespaces that are being deleted stay",
        parameters: &[],
    },
    FaultKind {
        name: "controllers-paused",
        summary: "the controllers of the control plane do nothing; the scheduler and the kubelets do",
        parameters: &[],
    },
    FaultKind {
        name: "link",
        summary: "connections from some hosts to others fail",
        parameters: &[
            Parameter { name: "from", takes: "host name, * at its end for a prefix", default: Some("*") },
            Parameter { name: "to", takes: "host name, * at its end for a prefix", default: Some("*") },
            Parameter { name: "port", takes: "a port", default: Some("every port") },
            HOW,
        ],
    },
    kubernetes_api::REQUESTS,
    kubernetes_api::CLOCK,
];

/// A fault with its parameters, understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Rules for the network.
    Network(Vec<Rule>),
    /// Readiness probes of pods with these labels fail.
    PodsNotReady(Vec<(String, String)>),
    /// Something is wrong with nodes, pods or the control plane.
    Cluster(sim_kube::Outage),
    /// A node is drained.
    Drain(String),
    /// Pods with these labels are evicted.
    Evict(Vec<(String, String)>),
    /// A rule for requests to the Kubernetes API; it is possible (see [`sim_kube::faults::Rule::check`]).
    KubernetesApi(sim_kube::faults::Rule),
    /// The API server's clock is this many milliseconds ahead.
    KubernetesClock(i64),
}

impl Fault {
    /// The node that it befalls, if it befalls one.
    pub(crate) fn node(&self) -> Option<&str> {
        match self {
            Self::Drain(node)
            | Self::Cluster(sim_kube::Outage::KubeletDead { node } | sim_kube::Outage::ClockSkew { node, .. }) => {
                Some(node)
            }
            _ => None,
        }
    }
}

/// Why a fault cannot be had so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No fault of that name.
    #[error("there is no fault \"{0}\"")]
    Unknown(String),
    /// The fault has no parameter of that name.
    #[error("the fault {fault} has no parameter \"{name}\"; it has {known}")]
    UnknownParameter {
        /// The fault.
        fault: &'static str,
        /// What was given.
        name: String,
        /// What there is.
        known: String,
    },
    /// A parameter has a value that it cannot have, or none.
    #[error("the parameter {name} of {fault} must be {takes}, not {got}")]
    BadParameter {
        /// The fault.
        fault: &'static str,
        /// The parameter.
        name: &'static str,
        /// What it takes.
        takes: &'static str,
        /// What was given.
        got: String,
    },
}

/// Understands a fault. Nothing happens yet.
///
/// ```
/// use serde_json::json;
/// use sim_world::faults::{parse, Fault};
/// let fault = parse("etcd-unavailable", &[("members".into(), json!("all"))]).unwrap();
/// assert!(matches!(fault, Fault::Network(rules) if rules.len() == 2));
/// assert!(parse("etcd-unavailable", &[("how".into(), json!("gently"))]).is_err());
/// ```
pub fn parse(name: &str, parameters: &[(String, Value)]) -> Result<Fault, FaultError> {
    let kind = FAULTS.iter().find(|fault| fault.name == name).ok_or_else(|| FaultError::Unknown(name.to_owned()))?;
    for (given, _) in parameters {
        if !kind.parameters.iter().any(|parameter| parameter.name == given) {
            let known: Vec<_> = kind.parameters.iter().map(|parameter| parameter.name).collect();
            return Err(FaultError::UnknownParameter {
                fault: kind.name,
                name: given.clone(),
                known: known.join(", "),
            });
        }
    }
    let asked = Asked { kind, parameters };
    match kind.name {
        "etcd-unavailable" => {
            let (to, effect) = (asked.members()?, asked.effect()?);
            Ok(Fault::Network(to_ports(&to, &ETCD_PORTS, &effect)))
        }
        "collector-unavailable" => {
            let to = Match::Prefix("pod/multigres-operator/otel-collector-".to_owned());
            Ok(Fault::Network(to_ports(&to, &OTLP_PORTS, &asked.effect()?)))
        }
        "alertmanager-unavailable" => {
            let to = Match::Prefix("pod/multigres-operator/alertmanager-".to_owned());
            // A kubelet that cannot probe would restart it, and a partition became an outage.
            let nodes = Match::Prefix("node/".to_owned());
            let from = Match::Not(Box::new(Match::OneOf(vec![Match::Name(OBSERVER.to_owned()), nodes])));
            Ok(Fault::Network(vec![Rule { from, to, port: Some(ALERTMANAGER_PORT), effect: asked.effect()? }]))
        }
        "notifications-unavailable" => {
            let to = Match::Prefix(crate::notifications::HOST.to_owned());
            Ok(Fault::Network(to_ports(&to, &[crate::notifications::PORT], &asked.effect()?)))
        }
        "pods-not-ready" => Ok(Fault::PodsNotReady(asked.selector()?)),
        "pods-crash-looping" => {
            let (labels, exit_code) = (asked.selector()?.into_iter().collect(), asked.exit_code()?);
            Ok(Fault::Cluster(Outage::CrashLoop { labels, exit_code }))
        }
        "pods-out-of-memory" => {
            Ok(Fault::Cluster(Outage::OutOfMemory { labels: asked.selector()?.into_iter().collect() }))
        }
        "pods-evicted" => Ok(Fault::Evict(asked.selector()?)),
        "kubelet-dead" => Ok(Fault::Cluster(Outage::KubeletDead { node: asked.required("node")? })),
        "node-drained" => Ok(Fault::Drain(asked.required("node")?)),
        "node-clock-skew" => {
            Ok(Fault::Cluster(Outage::ClockSkew { node: asked.required("node")?, seconds: asked.seconds("by")? }))
        }
        "image-pulls-failing" => Ok(Fault::Cluster(Outage::ImagePulls {
            image: asked.text("image", "*")?,
            error: asked.text("error", "429 Too Many Requests")?,
        })),
        "image-pulls-slow" => {
            let delay = duration(&asked.text("delay", "1m")?).filter(|d| *d <= DELAY_MAX);
            let delay = delay.ok_or_else(|| asked.bad("delay"))?;
            Ok(Fault::Cluster(Outage::SlowImagePulls { image: asked.text("image", "*")?, delay }))
        }
        "garbage-collector-paused" => Ok(Fault::Cluster(Outage::GarbageCollectorPaused)),
        "controllers-paused" => Ok(Fault::Cluster(Outage::ControllersPaused)),
        "kubernetes-api" => kubernetes_api::rule(&asked).map(Fault::KubernetesApi),
        "kubernetes-api-clock" => kubernetes_api::skew(&asked).map(Fault::KubernetesClock),
        _ => Ok(Fault::Network(vec![Rule {
            from: asked.hosts("from")?,
            to: asked.hosts("to")?,
            port: asked.port()?,
            effect: asked.effect()?,
        }])),
    }
}

/// Everybody but whoever watches the world: what a scenario asks must not depend on what it breaks.
fn everybody() -> Match {
    Match::Not(Box::new(Match::Name(OBSERVER.to_owned())))
}

fn to_ports(to: &Match, ports: &[u16], effect: &Effect) -> Vec<Rule> {
    ports
        .iter()
        .map(|port| Rule { from: everybody(), to: to.clone(), port: Some(*port), effect: effect.clone() })
        .collect()
}

struct Asked<'a> {
    kind: &'static FaultKind,
    parameters: &'a [(String, Value)],
}

impl Asked<'_> {
    fn value(&self, name: &str) -> Option<&Value> {
        self.parameters.iter().find(|(given, _)| given == name).map(|(_, value)| value)
    }

    fn bad(&self, name: &str) -> FaultError {
        let parameter = self.kind.parameters.iter().find(|parameter| parameter.name == name).expect("declared above");
        let got = self.value(name).map_or_else(|| "left out".to_owned(), ToString::to_string);
        FaultError::BadParameter { fault: self.kind.name, name: parameter.name, takes: parameter.takes, got }
    }

    fn text(&self, name: &str, default: &str) -> Result<String, FaultError> {
        match self.value(name) {
            None => Ok(default.to_owned()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(self.bad(name)),
        }
    }

    fn required(&self, name: &str) -> Result<String, FaultError> {
        match self.value(name) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
            _ => Err(self.bad(name)),
        }
    }

    fn exit_code(&self) -> Result<i32, FaultError> {
        match self.value("exit-code") {
            None => Ok(1),
            Some(value) => match value.as_i64().and_then(|code| i32::try_from(code).ok()) {
                Some(code @ 1..=255) => Ok(code),
                _ => Err(self.bad("exit-code")),
            },
        }
    }

    /// A duration with an optional minus before it, in whole seconds.
    fn seconds(&self, name: &str) -> Result<i64, FaultError> {
        let text = self.required(name)?;
        let (sign, rest) = text.strip_prefix('-').map_or((1, text.as_str()), |rest| (-1, rest));
        let known = duration(rest).map(|d| d.as_secs()).filter(|secs| *secs <= SKEW_SECS_MAX);
        let secs = known.and_then(|secs| i64::try_from(secs).ok()).ok_or_else(|| self.bad(name))?;
        Ok(sign * secs)
    }

    fn effect(&self) -> Result<Effect, FaultError> {
        let text = self.text("how", "refuse")?;
        let delay = |min: &str, max: &str| {
            let (min, max) = (duration(min)?, duration(max)?);
            (min <= max && max <= DELAY_MAX).then_some(Effect::Delay { min, max })
        };
        match text.as_str() {
            "refuse" => Some(Effect::Refuse),
            "black-hole" => Some(Effect::BlackHole),
            "reset" => Some(Effect::Reset),
            other => match other.split_once("..") {
                Some((min, max)) => delay(min, max),
                None => delay(other, other),
            },
        }
        .ok_or_else(|| self.bad("how"))
    }

    fn members(&self) -> Result<Match, FaultError> {
        let member = |value: &Value| {
            let number = value.as_u64().filter(|number| *number < 100)?;
            Some(Match::Suffix(format!("-{number}")))
        };
        match self.value("members") {
            None => Ok(Match::Any),
            Some(Value::String(all)) if all == "all" => Ok(Match::Any),
            Some(Value::Array(list)) if !list.is_empty() => {
                list.iter().map(member).collect::<Option<_>>().map(Match::OneOf).ok_or_else(|| self.bad("members"))
            }
            Some(one) => member(one).ok_or_else(|| self.bad("members")),
        }
    }

    fn hosts(&self, name: &str) -> Result<Match, FaultError> {
        let text = self.text(name, "*")?;
        Ok(match text.strip_suffix('*') {
            Some("") => everybody(),
            Some(prefix) => Match::Prefix(prefix.to_owned()),
            None => Match::Name(text),
        })
    }

    fn port(&self) -> Result<Option<u16>, FaultError> {
        match self.value("port") {
            None => Ok(None),
            Some(value) => match value.as_u64().and_then(|port| u16::try_from(port).ok()) {
                Some(port @ 1..) => Ok(Some(port)),
                _ => Err(self.bad("port")),
            },
        }
    }

    fn selector(&self) -> Result<Vec<(String, String)>, FaultError> {
        let text = self.text("select", "")?;
        let labels: Option<Vec<_>> = text
            .split(',')
            .map(|part| {
                let (name, value) = part.trim().split_once('=')?;
                (!name.is_empty() && !value.is_empty()).then(|| (name.to_owned(), value.to_owned()))
            })
            .collect();
        labels.ok_or_else(|| self.bad("select"))
    }
}

fn duration(text: &str) -> Option<Duration> {
    sim_wire::duration::parse(text.trim()).ok()
}

/// Takes an injected fault back.
#[derive(Debug, Default)]
pub struct Healer {
    pub(crate) rules: Vec<FaultId>,
    pub(crate) not_ready: Option<sim_kube::ReadinessFault>,
    pub(crate) outage: Option<sim_kube::OutageId>,
    pub(crate) drained: Option<String>,
    pub(crate) api: Option<sim_kube::FaultId>,
    pub(crate) clock: bool,
}

impl Healer {
    /// Injects rules into a network.
    pub(crate) fn network(network: &Network, rules: Vec<Rule>) -> Self {
        Self { rules: rules.into_iter().map(|rule| network.inject(rule)).collect(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(name: &str, parameters: Value) -> Result<Fault, FaultError> {
        let parameters: Vec<_> =
            parameters.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        parse(name, &parameters)
    }

    #[test]
    fn every_fault_can_be_had_with_its_defaults_or_says_what_it_needs() {
        for fault in FAULTS {
            match parse(fault.name, &[]) {
                Ok(_) => assert!(fault.parameters.iter().all(|parameter| parameter.default.is_some()), "{fault:?}"),
                Err(FaultError::BadParameter { name, .. }) => {
                    assert!(
                        fault.parameters.iter().any(|parameter| parameter.name == name && parameter.default.is_none())
                    );
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn etcd_can_lose_some_members_slowly() {
        let Ok(Fault::Network(rules)) = parsed("etcd-unavailable", json!({"members": [0, 2], "how": "50ms..2s"}))
        else {
            panic!("a network fault");
        };
        assert!(rules.iter().any(|rule| rule.matches("x", "pod/default/minimal-global-topo-2", 2379)));
        assert!(!rules.iter().any(|rule| rule.matches("x", "pod/default/minimal-global-topo-1", 2379)));
        assert!(!rules.iter().any(|rule| rule.matches("x", "pod/default/minimal-global-topo-2", 2381)));
        assert!(matches!(rules[0].effect, Effect::Delay { .. }));
    }

    #[test]
    fn mistakes_are_told_with_what_would_be_right() {
        for (name, parameters, expected) in [
            ("etcd-unavailible", json!({}), "there is no fault \"etcd-unavailible\""),
            (
                "etcd-unavailable",
                json!({"member": "all"}),
                "the fault etcd-unavailable has no parameter \"member\"; it has members, how",
            ),
            (
                "etcd-unavailable",
                json!({"members": -1}),
                "the parameter members of etcd-unavailable must be all | a member's number | a list of numbers, not -1",
            ),
            (
                "pods-not-ready",
                json!({}),
                "the parameter select of pods-not-ready must be a label selector, \
                 e.g. app.kubernetes.io/component=shard-pool, not left out",
            ),
            (
                "node-clock-skew",
                json!({"node": "node-0", "by": "soon"}),
                "the parameter by of node-clock-skew must be a duration, e.g. 90s, or with a minus before it if the clock \
                 is behind, not \"soon\"",
            ),
            (
                "pods-crash-looping",
                json!({"select": "a=b", "exit-code": 0}),
                "the parameter exit-code of pods-crash-looping must be 1 to 255, not 0",
            ),
            ("link", json!({"port": 0}), "the parameter port of link must be a port, not 0"),
        ] {
            assert_eq!(parsed(name, parameters).unwrap_err().to_string(), expected);
        }
        assert!(parsed("link", json!({"how": "2s..1s"})).is_err());
    }
}
