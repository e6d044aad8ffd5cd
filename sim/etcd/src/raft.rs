//! Who leads, and who may write: the quorum arithmetic of a cluster, without I/O.
//!
//! The log itself is not modelled: members share one store, and replication to those that see the leader is
//! instantaneous. What remains of consensus is its visible side: without a majority whose members reach each other
//! there is no leader, without a leader no write and no linearizable read, and a member cut off from the leader
//! answers as if there were none.

use std::collections::{BTreeMap, BTreeSet};

use sim_clock::{Engine, Timestamp};

/// What happens to members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A member's process started; it has not asked its peers yet.
    Started {
        /// The member.
        name: String,
        /// Which of its lives this is; see [`Raft::next_life`].
        life: u64,
    },
    /// A member's process ended.
    Stopped {
        /// The member.
        name: String,
        /// Which of its lives ended; an older one than the present is ignored.
        life: u64,
    },
    /// A member tried to reach its peers.
    Reached {
        /// The member.
        name: String,
        /// Which of its lives asked.
        life: u64,
        /// The peers that answered.
        peers: BTreeSet<String>,
    },
}

/// What follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A member leads from now on.
    Elected {
        /// The member.
        name: String,
        /// The term, one higher than the last one.
        term: u64,
    },
    /// Nobody leads any more.
    LeaderLost,
}

#[derive(Debug, Clone, Default)]
struct Member {
    life: u64,
    running: bool,
    reaches: BTreeSet<String>,
    leader_seen: Option<String>,
    leader_changes: u64,
}

/// The members of a cluster and their leader.
#[derive(Debug, Clone)]
pub struct Raft {
    members: BTreeMap<String, Member>,
    leader: Option<String>,
    term: u64,
}

impl Raft {
    /// A cluster of these members, none of which has started.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let members = names.into_iter().map(|name| (name, Member::default())).collect();
        Self { members, leader: None, term: 1 }
    }

    /// Members that must agree: more than half of all, started or not.
    pub fn quorum(&self) -> usize {
        self.members.len() / 2 + 1
    }

    /// The term of the present or last leader.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// The leader, wherever it is seen from.
    pub fn leader(&self) -> Option<&str> {
        self.leader.as_deref()
    }

    /// The leader as this member sees it: `None` when it is cut off, stopped or unknown.
    pub fn leader_seen_by(&self, name: &str) -> Option<&str> {
        self.members.get(name)?.leader_seen.as_deref()
    }

    /// How often this life of the member saw a new leader.
    pub fn leader_changes_seen_by(&self, name: &str) -> u64 {
        self.members.get(name).map_or(0, |member| member.leader_changes)
    }

    /// Whether this life of the member is still running.
    pub fn is_running(&self, name: &str, life: u64) -> bool {
        self.members.get(name).is_some_and(|member| member.running && member.life == life)
    }

    /// The number a member's next life has to be started with.
    pub fn next_life(&self, name: &str) -> u64 {
        self.members.get(name).map_or(1, |member| member.life + 1)
    }

    /// Members that take part in what the leader commits: the leader and all that see it.
    pub fn followers_and_leader(&self) -> impl Iterator<Item = &str> {
        self.members.iter().filter(|(_, member)| member.leader_seen.is_some()).map(|(name, _)| name.as_str())
    }

    fn linked(&self, one: &str, other: &str) -> bool {
        let reaches = |from: &str, to: &str| {
            self.members.get(from).is_some_and(|member| member.running && member.reaches.contains(to))
        };
        one == other || (reaches(one, other) && reaches(other, one))
    }

    fn has_quorum(&self, name: &str) -> bool {
        let runs = self.members.get(name).is_some_and(|member| member.running);
        runs && self.members.keys().filter(|other| self.linked(name, other)).count() >= self.quorum()
    }

    /// Keeps a leader that still has a quorum; else the first member that has one leads.
    fn elect(&mut self) -> Option<Effect> {
        if self.leader.as_deref().is_some_and(|leader| self.has_quorum(leader)) {
            return None;
        }
        let before = self.leader.take();
        self.leader = self.members.keys().find(|name| self.has_quorum(name)).cloned();
        match &self.leader {
            Some(name) => {
                self.term += 1;
                Some(Effect::Elected { name: name.clone(), term: self.term })
            }
            None => before.map(|_| Effect::LeaderLost),
        }
    }

    fn look(&mut self) {
        let seen: BTreeSet<String> = match &self.leader {
            Some(leader) => self.members.keys().filter(|name| self.linked(leader, name)).cloned().collect(),
            None => BTreeSet::new(),
        };
        for (name, member) in &mut self.members {
            let sees = seen.contains(name).then(|| self.leader.clone()).flatten();
            if sees.is_some() && sees != member.leader_seen {
                member.leader_changes += 1;
            }
            member.leader_seen = sees;
        }
    }
}

impl Engine for Raft {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, _now: Timestamp, input: Input) -> Vec<Effect> {
        match input {
            Input::Started { name, life } => {
                if let Some(member) = self.members.get_mut(&name).filter(|member| life > member.life) {
                    *member = Member { life, running: true, ..Member::default() };
                }
            }
            Input::Stopped { name, life } => {
                if let Some(member) = self.members.get_mut(&name).filter(|member| life == member.life) {
                    *member = Member { life, ..Member::default() };
                }
            }
            Input::Reached { name, life, peers } => {
                if let Some(member) = self.members.get_mut(&name).filter(|member| member.running && life == member.life)
                {
                    member.reaches = peers;
                }
            }
        }
        let effect = self.elect();
        self.look();
        effect.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(0);

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn reached(raft: &mut Raft, name: &str, peers: &[&str]) -> Vec<Effect> {
        let life = raft.next_life(name) - 1;
        raft.step(NOW, Input::Reached { name: name.into(), life, peers: names(peers) })
    }

    fn start(raft: &mut Raft, name: &str) -> Vec<Effect> {
        let life = raft.next_life(name);
        raft.step(NOW, Input::Started { name: name.into(), life })
    }

    fn trio() -> Raft {
        let mut raft = Raft::new(names(&["a", "b", "c"]));
        for name in ["a", "b", "c"] {
            start(&mut raft, name);
        }
        reached(&mut raft, "a", &["b", "c"]);
        reached(&mut raft, "b", &["a", "c"]);
        reached(&mut raft, "c", &["a", "b"]);
        raft
    }

    #[test]
    fn two_of_three_that_reach_each_other_elect_the_first() {
        let mut raft = Raft::new(names(&["a", "b", "c"]));
        assert_eq!(start(&mut raft, "b"), []);
        assert_eq!(start(&mut raft, "c"), []);
        assert_eq!(reached(&mut raft, "b", &["c"]), [], "one direction is no link");
        assert_eq!(reached(&mut raft, "c", &["b"]), [Effect::Elected { name: "b".into(), term: 2 }]);
        assert_eq!(raft.leader_seen_by("c"), Some("b"));
        assert_eq!(raft.leader_seen_by("a"), None);
    }

    #[test]
    fn a_member_that_returns_does_not_depose_the_leader() {
        let mut raft = trio();
        let life = raft.next_life("a") - 1;
        let leader = raft.leader().map(str::to_owned);
        assert_eq!(leader.as_deref(), Some("a"));
        assert_eq!(
            raft.step(NOW, Input::Stopped { name: "a".into(), life }),
            [Effect::Elected { name: "b".into(), term: 3 }]
        );
        start(&mut raft, "a");
        assert_eq!(reached(&mut raft, "a", &["b", "c"]), []);
        assert_eq!(raft.leader_seen_by("a"), Some("b"));
        assert_eq!(raft.leader_changes_seen_by("c"), 2);
        assert_eq!(raft.leader_changes_seen_by("a"), 1, "counted by each life for itself");
    }

    #[test]
    fn one_of_three_alone_leads_nobody() {
        let mut raft = trio();
        for name in ["a", "c"] {
            let life = raft.next_life(name) - 1;
            raft.step(NOW, Input::Stopped { name: name.into(), life });
        }
        assert_eq!(raft.leader(), None);
        assert_eq!(raft.leader_seen_by("b"), None);
    }

    #[test]
    fn a_member_cut_off_sees_no_leader_while_the_others_have_one() {
        let mut raft = trio();
        assert_eq!(reached(&mut raft, "c", &[]), []);
        assert_eq!(raft.leader_seen_by("c"), None);
        assert_eq!(raft.leader_seen_by("b"), Some("a"));
        assert_eq!(reached(&mut raft, "b", &["c"]), [Effect::LeaderLost]);
    }

    #[test]
    fn the_end_of_an_older_life_does_not_stop_the_present_one() {
        let mut raft = Raft::new(names(&["a"]));
        assert_eq!(start(&mut raft, "a"), [Effect::Elected { name: "a".into(), term: 2 }]);
        start(&mut raft, "a");
        assert_eq!(raft.step(NOW, Input::Stopped { name: "a".into(), life: 1 }), []);
        assert!(raft.is_running("a", 2));
    }
}
