//! What may go wrong on a link: a rule says for whom and what, the first verdict that is not "pass" wins.

use std::time::Duration;

/// A set of hosts, by name (`pod/default/minimal-global-topo-0`, `node/node-0`, `kubernetes`).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Match {
    /// Every host.
    #[default]
    Any,
    /// The host of this name.
    Name(String),
    /// Every host whose name begins so.
    Prefix(String),
    /// Every host whose name ends so.
    Suffix(String),
    /// Every host that one of these matches.
    OneOf(Vec<Match>),
    /// Every host that this does not match.
    Not(Box<Match>),
}

impl Match {
    /// Whether the host called `name` belongs to the set.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Name(wanted) => wanted == name,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => name.ends_with(suffix.as_str()),
            Self::OneOf(sets) => sets.iter().any(|set| set.matches(name)),
            Self::Not(set) => !set.matches(name),
        }
    }
}

/// What happens on a matching link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nobody listens: connecting is refused at once, and established connections are reset.
    Refuse,
    /// Nothing arrives and nothing is answered: connecting hangs, bytes under way are held until it is healed.
    BlackHole,
    /// Bytes take this much longer, drawn anew for each write.
    Delay {
        /// The shortest addition, whole milliseconds.
        min: Duration,
        /// The longest addition.
        max: Duration,
    },
    /// Established connections are reset, and so is each new one.
    Reset,
}

/// A fault of the network: which links, and what happens on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Who connects (or writes).
    pub from: Match,
    /// Who is connected to.
    pub to: Match,
    /// Only connections to this port; all of them where it is absent.
    pub port: Option<u16>,
    /// What happens.
    pub effect: Effect,
}

/// Names an injected [`Rule`] so that it can be healed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FaultId(pub(crate) u64);

impl Rule {
    /// Whether a connection from the host `from` to the host `to`, port `port`, is affected.
    pub fn matches(&self, from: &str, to: &str, port: u16) -> bool {
        self.port.is_none_or(|wanted| wanted == port) && self.to.matches(to) && self.from.matches(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_matches_by_names_and_port() {
        let rule = Rule {
            from: Match::Not(Box::new(Match::Name("kubernetes".into()))),
            to: Match::OneOf(vec![Match::Prefix("pod/default/etcd-".into()), Match::Name("node/a".into())]),
            port: Some(2379),
            effect: Effect::Refuse,
        };
        assert!(rule.matches("pod/x/y", "pod/default/etcd-1", 2379));
        assert!(rule.matches("pod/x/y", "node/a", 2379));
        assert!(!rule.matches("kubernetes", "pod/default/etcd-1", 2379));
        assert!(!rule.matches("pod/x/y", "pod/default/etcd-1", 2380));
        assert!(!rule.matches("pod/x/y", "pod/default/etc", 2379));
    }
}
