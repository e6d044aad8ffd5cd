//! The notification log: what each receiver was last told of each group.

use crate::alert::Fingerprint;
use sim_clock::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Why a receiver is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It was told nothing of this group, or that all was well.
    First,
    /// Alerts came.
    NewAlerts,
    /// Some alerts are resolved.
    SomeResolved,
    /// All alerts are.
    AllResolved,
    /// Nothing is new for too long.
    Repeat,
}

impl Reason {
    /// In the real program's words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first notification",
            Self::NewAlerts => "new alerts added",
            Self::SomeResolved => "some alerts resolved",
            Self::AllResolved => "all alerts resolved",
            Self::Repeat => "repeat interval elapsed",
        }
    }
}

/// What was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// Which alerts were firing.
    pub firing: BTreeSet<Fingerprint>,
    /// Which were resolved.
    pub resolved: BTreeSet<Fingerprint>,
    /// Until when it is remembered.
    pub expires: Timestamp,
}

/// The log. A key is a group's key and an integration (`receiver/kind/place`).
#[derive(Debug, Clone)]
pub struct NotificationLog {
    entries: BTreeMap<(String, String), Entry>,
    retention: Duration,
}

impl NotificationLog {
    /// An empty one.
    pub fn new(retention: Duration) -> Self {
        Self { entries: BTreeMap::new(), retention }
    }

    /// What was last told.
    pub fn entry(&self, group: &str, integration: &str) -> Option<&Entry> {
        self.entries.get(&(group.to_owned(), integration.to_owned()))
    }

    /// Notes what was told.
    pub fn note(
        &mut self,
        group: &str,
        integration: &str,
        firing: BTreeSet<Fingerprint>,
        resolved: BTreeSet<Fingerprint>,
        repeat_interval: Duration,
        now: Timestamp,
    ) {
        // Twice the interval at which it would be told again.
        let kept = repeat_interval.saturating_mul(2).min(self.retention);
        let expires = now.checked_add(kept).unwrap_or(Timestamp::from_nanos(i64::MAX));
        self.entries.insert((group.to_owned(), integration.to_owned()), Entry { at: now, firing, resolved, expires });
    }

    /// All entries by group and integration, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&(String, String), &Entry)> {
        self.entries.iter()
    }

    /// Takes an entry as it was, of a snapshot.
    pub(crate) fn restore(&mut self, key: (String, String), entry: Entry) {
        self.entries.insert(key, entry);
    }

    /// Forgets what is too old.
    pub fn collect_garbage(&mut self, now: Timestamp) {
        self.entries.retain(|_, entry| entry.expires > now);
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Whether and why a receiver has to be told of what fires and what is resolved.
pub fn needs_update(
    entry: Option<&Entry>,
    firing: &BTreeSet<Fingerprint>,
    resolved: &BTreeSet<Fingerprint>,
    send_resolved: bool,
    repeat_interval: Duration,
    now: Timestamp,
) -> Option<Reason> {
    let Some(entry) = entry else {
        return (!firing.is_empty()).then_some(Reason::First);
    };
    if !firing.is_subset(&entry.firing) {
        return Some(if entry.firing.is_empty() { Reason::First } else { Reason::NewAlerts });
    }
    if firing.is_empty() {
        // Noted even for those that are not told of resolved alerts.
        return (!entry.firing.is_empty()).then_some(Reason::AllResolved);
    }
    if send_resolved && !resolved.is_subset(&entry.resolved) {
        return Some(Reason::SomeResolved);
    }
    (entry.at < now - repeat_interval).then_some(Reason::Repeat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_is_told_what_it_does_not_know() {
        let set = |ids: &[u64]| ids.iter().map(|id| Fingerprint(*id)).collect::<BTreeSet<_>>();
        let hour = Duration::from_secs(3600);
        let at = Timestamp::from_secs(10_000);
        let entry = |firing: &[u64], resolved: &[u64], ago: u64| {
            Some(Entry { at: at - Duration::from_secs(ago), firing: set(firing), resolved: set(resolved), expires: at })
        };
        for (entry, firing, resolved, send_resolved, expected) in [
            (None, &[1][..], &[][..], true, Some(Reason::First)),
            (None, &[], &[1], true, None),
            (entry(&[1], &[], 60), &[1], &[], true, None),
            (entry(&[1], &[], 60), &[1, 2], &[], true, Some(Reason::NewAlerts)),
            (entry(&[], &[1], 60), &[1], &[], true, Some(Reason::First)),
            (entry(&[1], &[], 60), &[], &[1], false, Some(Reason::AllResolved)),
            (entry(&[], &[1], 60), &[], &[1], true, None),
            (entry(&[1, 2], &[], 60), &[1], &[2], true, Some(Reason::SomeResolved)),
            (entry(&[1, 2], &[], 60), &[1], &[2], false, None),
            (entry(&[1], &[], 3600), &[1], &[], true, None),
            (entry(&[1], &[], 3601), &[1], &[], true, Some(Reason::Repeat)),
        ] {
            let needed = needs_update(entry.as_ref(), &set(firing), &set(resolved), send_resolved, hour, at);
            assert_eq!(needed, expected, "{entry:?} {firing:?} {resolved:?}");
        }
    }
}
