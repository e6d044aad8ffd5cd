//! The rules of a server, in order, with their counts.

use std::{fmt, sync::Arc};

use sim_clock::{Chance, Timestamp};

use super::rule::{Effect, RequestInfo, Rule, Verdict, WatchFault};

/// Most rules at a time; the oldest goes when one more comes.
pub const RULES_MAX: usize = 1024;

/// Names a rule in its book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultId(u64);

/// How often a rule was asked about a request that it matches, and how often it struck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// Requests that matched.
    pub matched: u64,
    /// Of these, those that were struck.
    pub struck: u64,
}

/// A rule as code: for tests that need more than data can say.
pub type Closure = Arc<dyn Fn(&RequestInfo) -> Verdict + Send + Sync>;

enum Kind {
    Data(Rule),
    Code(Closure),
}

struct Entry {
    id: FaultId,
    since: Timestamp,
    hits: Hits,
    kind: Kind,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule: &dyn fmt::Debug = match &self.kind {
            Kind::Data(rule) => rule,
            Kind::Code(_) => &"code",
        };
        f.debug_struct("Entry")
            .field("id", &self.id)
            .field("hits", &self.hits)
            .field("rule", rule)
            .finish_non_exhaustive()
    }
}

/// All rules of a server.
#[derive(Debug)]
pub struct Book {
    entries: Vec<Entry>,
    next: u64,
    chance: Chance,
}

impl Book {
    /// An empty book; `chance` draws latencies and probabilities.
    pub fn new(chance: Chance) -> Self {
        Self { entries: Vec::new(), next: 0, chance }
    }

    /// True if nothing can befall anything.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a rule behind the others.
    pub fn add(&mut self, rule: Rule, now: Timestamp) -> FaultId {
        self.push(Kind::Data(rule), now)
    }

    /// Adds code behind the others.
    pub fn add_code(&mut self, code: Closure, now: Timestamp) -> FaultId {
        self.push(Kind::Code(code), now)
    }

    fn push(&mut self, kind: Kind, since: Timestamp) -> FaultId {
        if self.entries.len() >= RULES_MAX {
            self.entries.remove(0);
        }
        self.next += 1;
        let id = FaultId(self.next);
        self.entries.push(Entry { id, since, hits: Hits::default(), kind });
        id
    }

    /// Takes a rule out; its counts, if it was in.
    pub fn remove(&mut self, id: FaultId) -> Option<Hits> {
        let at = self.entries.iter().position(|e| e.id == id)?;
        Some(self.entries.remove(at).hits)
    }

    /// The counts of a rule.
    pub fn hits(&self, id: FaultId) -> Option<Hits> {
        self.entries.iter().find(|e| e.id == id).map(|e| e.hits)
    }

    /// The first verdict that is not [`Verdict::Pass`], of all rules but those of watch streams.
    pub fn verdict(&mut self, request: &RequestInfo, now: Timestamp) -> Verdict {
        let chance = &mut self.chance;
        let mut verdicts = self.entries.iter_mut().map(|entry| match &entry.kind {
            Kind::Code(code) => {
                let verdict = code(request);
                entry.hits.matched += 1;
                entry.hits.struck += u64::from(verdict != Verdict::Pass);
                verdict
            }
            Kind::Data(rule) if matches!(rule.effect, Effect::Watch(_)) => Verdict::Pass,
            Kind::Data(rule) if strikes(rule, &mut entry.hits, entry.since, request, now, chance) => {
                rule.effect.verdict(request, chance)
            }
            Kind::Data(_) => Verdict::Pass,
        });
        verdicts.find(|verdict| *verdict != Verdict::Pass).unwrap_or(Verdict::Pass)
    }

    /// What befalls a watch stream: of the first such rule that strikes. Asked when a stream opens and, for open ones, each time a
    /// rule came or went.
    pub fn watch_fault(&mut self, request: &RequestInfo, now: Timestamp) -> Option<WatchFault> {
        let chance = &mut self.chance;
        self.entries.iter_mut().find_map(|entry| match &entry.kind {
            Kind::Data(rule) => match &rule.effect {
                Effect::Watch(fault) => {
                    strikes(rule, &mut entry.hits, entry.since, request, now, chance).then(|| fault.clone())
                }
                _ => None,
            },
            Kind::Code(_) => None,
        })
    }
}

/// Whether a request is struck by a rule that came at `since`; counts.
fn strikes(
    rule: &Rule,
    hits: &mut Hits,
    since: Timestamp,
    request: &RequestInfo,
    now: Timestamp,
    chance: &mut Chance,
) -> bool {
    let possible = rule.effect.verbs();
    if !rule.matches.matches(request) || !possible.is_empty() && !possible.contains(&request.verb) {
        return false;
    }
    hits.matched += 1;
    let (when, age_ms) = (&rule.when, now.since(since).as_millis());
    let struck = hits.matched > when.spare_first
        && when.strikes_max.is_none_or(|max| hits.struck < max)
        && when.from_ms.is_none_or(|from| age_ms >= u128::from(from))
        && when.until_ms.is_none_or(|until| age_ms < u128::from(until))
        // Drawn last, so that what is not in question costs no chance.
        && when.probability.is_none_or(|p| chance.f64() < p);
    hits.struck += u64::from(struck);
    struck
}
