//! Silences: matchers that mute for a time.

use crate::matcher::{Matcher, Matchers};
use sim_clock::Timestamp;
use sim_wire::Labels;
use std::collections::BTreeMap;
use std::time::Duration;

/// How many silences are kept.
pub const SILENCES_MAX: usize = 100_000;

/// Where a silence stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SilenceState {
    /// It mutes.
    Active,
    /// It will.
    Pending,
    /// It did.
    Expired,
}

impl SilenceState {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pending => "pending",
            Self::Expired => "expired",
        }
    }
}

/// A silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Empty for one that is to be made.
    pub id: String,
    /// What it mutes; all have to hold.
    pub matchers: Vec<Matcher>,
    /// From when.
    pub starts_at: Timestamp,
    /// Until when, excluded.
    pub ends_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Who wants it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// What else is said of it.
    pub annotations: BTreeMap<String, String>,
}

impl Silence {
    /// Its state at an instant.
    pub fn state(&self, now: Timestamp) -> SilenceState {
        if now < self.starts_at {
            SilenceState::Pending
        } else if now < self.ends_at {
            SilenceState::Active
        } else {
            SilenceState::Expired
        }
    }

    fn validate(&self) -> Result<(), String> {
        if self.matchers.is_empty() {
            return Err("matcher set 0 is empty".to_owned());
        }
        let mut all_match_empty = true;
        for (place, matcher) in self.matchers.iter().enumerate() {
            if matcher.name.is_empty() {
                return Err(format!("invalid label matcher {place} in set 0: invalid label name \"\""));
            }
            all_match_empty &= matcher.kind.is_equal() && matches_empty(matcher);
        }
        if all_match_empty {
            return Err("matcher set 0: at least one matcher must not match the empty string".to_owned());
        }
        if self.ends_at < self.starts_at {
            return Err("end time must not be before start time".to_owned());
        }
        Ok(())
    }

    /// Whether a silence may be replaced by another of its id.
    fn can_become(&self, other: &Self, now: Timestamp) -> bool {
        if self.matchers != other.matchers {
            return false;
        }
        match self.state(now) {
            SilenceState::Active => self.starts_at.as_secs() == other.starts_at.as_secs() && other.ends_at >= now,
            SilenceState::Pending => other.starts_at >= now,
            SilenceState::Expired => false,
        }
    }
}

fn matches_empty(matcher: &Matcher) -> bool {
    if matcher.kind.is_regex() {
        // Here the real program looks for the expression anywhere.
        regex::Regex::new(&matcher.value).is_ok_and(|regex| regex.is_match(""))
    } else {
        matcher.value.is_empty()
    }
}

/// Why a silence was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetError {
    /// There is none of this id.
    NotFound,
    /// It is wrong.
    Invalid(String),
}

#[derive(Debug, Clone)]
struct Kept {
    silence: Silence,
    matchers: Matchers,
}

/// All silences.
#[derive(Debug, Clone)]
pub struct Silences {
    kept: BTreeMap<String, Kept>,
    /// How long an expired silence is remembered.
    pub retention: Duration,
}

impl Silences {
    /// None yet.
    pub fn new(retention: Duration) -> Self {
        Self { kept: BTreeMap::new(), retention }
    }

    fn keep(&mut self, silence: Silence) {
        let matchers = Matchers::new(silence.matchers.clone());
        self.kept.insert(silence.id.clone(), Kept { silence, matchers });
    }

    /// Takes a silence as it was, of a snapshot.
    pub(crate) fn restore(&mut self, silence: Silence) {
        self.keep(silence);
    }

    /// Makes a silence, or changes the one of its id; a change that would rewrite the past makes a new one and expires
    /// the old. Returns the id that it now has. `new_id` is used where a new one is needed.
    ///
    /// # Errors
    /// [`SetError`] with the real program's words.
    pub fn set(
        &mut self,
        mut silence: Silence,
        now: Timestamp,
        new_id: impl FnOnce() -> String,
    ) -> Result<String, SetError> {
        silence.validate().map_err(|message| SetError::Invalid(format!("invalid silence: {message}")))?;
        let previous = self.kept.get(&silence.id).map(|kept| kept.silence.clone());
        if !silence.id.is_empty() && previous.is_none() {
            return Err(SetError::NotFound);
        }
        silence.updated_at = now;
        if previous.as_ref().is_some_and(|previous| previous.can_become(&silence, now)) {
            let id = silence.id.clone();
            self.keep(silence);
            return Ok(id);
        }
        if self.kept.len() >= SILENCES_MAX {
            return Err(SetError::Invalid(format!(
                "exceeded maximum number of silences: {} (limit: {SILENCES_MAX})",
                self.kept.len()
            )));
        }
        if let Some(previous) = previous {
            // It is there: it was just found.
            let _ = self.expire(&previous.id, now);
        }
        silence.id = new_id();
        silence.starts_at = silence.starts_at.max(now);
        let id = silence.id.clone();
        self.keep(silence);
        Ok(id)
    }

    /// Ends a silence now. One that is over stays as it is.
    ///
    /// # Errors
    /// [`SetError::NotFound`]
    pub fn expire(&mut self, id: &str, now: Timestamp) -> Result<(), SetError> {
        let kept = self.kept.get_mut(id).ok_or(SetError::NotFound)?;
        match kept.silence.state(now) {
            SilenceState::Expired => return Ok(()),
            SilenceState::Active => kept.silence.ends_at = now,
            SilenceState::Pending => {
                kept.silence.starts_at = now;
                kept.silence.ends_at = now;
            }
        }
        kept.silence.updated_at = now;
        Ok(())
    }

    /// The silence of an id.
    pub fn get(&self, id: &str) -> Option<&Silence> {
        self.kept.get(id).map(|kept| &kept.silence)
    }

    /// All, in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Silence> {
        self.kept.values().map(|kept| &kept.silence)
    }

    /// The ids of the active silences that mute a label set.
    pub fn muting(&self, labels: &Labels, now: Timestamp) -> Vec<String> {
        let active = self.kept.iter().filter(|(_, kept)| kept.silence.state(now) == SilenceState::Active);
        active.filter(|(_, kept)| kept.matchers.matches(labels)).map(|(id, _)| id.clone()).collect()
    }

    /// Forgets those that have been over for the retention.
    pub fn collect_garbage(&mut self, now: Timestamp) {
        let retention = self.retention;
        self.kept.retain(|_, kept| kept.silence.ends_at.checked_add(retention).is_none_or(|until| until > now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silence(id: &str, from: i64, to: i64) -> Silence {
        Silence {
            id: id.to_owned(),
            matchers: vec![Matcher::parse("a=b").unwrap()],
            starts_at: Timestamp::from_secs(from),
            ends_at: Timestamp::from_secs(to),
            updated_at: Timestamp::default(),
            created_by: "me".to_owned(),
            comment: "why".to_owned(),
            annotations: BTreeMap::new(),
        }
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn a_silence_lives_and_is_forgotten() {
        let mut all = Silences::new(Duration::from_secs(100));
        let labels = Labels::from_pairs([("a", "b")]);
        all.set(silence("", 10, 20), at(5), || "1".to_owned()).unwrap();
        assert!(all.muting(&labels, at(9)).is_empty());
        assert_eq!(all.muting(&labels, at(10)), ["1"]);
        assert!(all.muting(&Labels::empty(), at(10)).is_empty());
        assert!(all.muting(&labels, at(20)).is_empty());
        all.collect_garbage(at(119));
        assert!(all.get("1").is_some());
        all.collect_garbage(at(120));
        assert!(all.get("1").is_none());
    }

    #[test]
    fn a_change_of_the_past_makes_a_new_one() {
        let mut all = Silences::new(Duration::from_secs(100));
        all.set(silence("", 10, 20), at(10), || "1".to_owned()).unwrap();
        // Longer: the same silence.
        assert_eq!(all.set(silence("1", 10, 30), at(12), || unreachable!()).unwrap(), "1");
        // Other matchers: another silence, and the old one ends.
        let mut other = silence("1", 10, 30);
        other.matchers = vec![Matcher::parse("a=c").unwrap()];
        assert_eq!(all.set(other, at(15), || "2".to_owned()).unwrap(), "2");
        assert_eq!(all.get("1").unwrap().state(at(15)), SilenceState::Expired);
        assert_eq!(all.get("2").unwrap().starts_at, at(15));
        assert_eq!(all.set(silence("9", 10, 30), at(15), || unreachable!()), Err(SetError::NotFound));
        // What is pending starts and ends at its expiry.
        all.set(silence("", 50, 60), at(15), || "3".to_owned()).unwrap();
        all.expire("3", at(16)).unwrap();
        assert_eq!((all.get("3").unwrap().starts_at, all.get("3").unwrap().ends_at), (at(16), at(16)));
    }

    #[test]
    fn a_silence_of_everything_is_refused() {
        let mut all = Silences::new(Duration::from_secs(100));
        for (text, refused) in [("a=\"\"", true), ("a=~\".*\"", true), ("a!=\"\"", false), ("a=~\".+\"", false)] {
            let mut one = silence("", 10, 20);
            one.matchers = vec![Matcher::parse(text).unwrap()];
            assert_eq!(all.set(one, at(5), || text.to_owned()).is_err(), refused, "{text}");
        }
    }
}
