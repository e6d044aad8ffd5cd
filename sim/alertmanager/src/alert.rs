//! Alerts: identity, validity, merging of two sightings, order.

use sim_clock::Timestamp;
use sim_wire::Labels;
use std::cmp::Ordering;
use std::fmt;

/// The label with an alert's name.
pub const ALERT_NAME: &str = "alertname";

/// The identity of a label set: FNV-1a of its names and values, as Prometheus computes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// Of a label set.
    ///
    /// ```
    /// let labels = sim_wire::Labels::from_pairs([("foo", "bar"), ("severity", "critical")]);
    /// assert_eq!(sim_alertmanager::alert::Fingerprint::of(&labels).to_string(), "700dab975704b9b8");
    /// ```
    pub fn of(labels: &Labels) -> Self {
        const PRIME: u64 = 0x0100_0000_01b3;
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        for (name, value) in labels.iter() {
            for part in [name, value] {
                part.bytes().for_each(&mut add);
                add(0xff);
            }
        }
        Self(hash)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// An alert as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// What it is; its identity.
    pub labels: Labels,
    /// What is said about it.
    pub annotations: Labels,
    /// Since when.
    pub starts_at: Timestamp,
    /// Until when; in the future while it fires.
    pub ends_at: Timestamp,
    /// What raised it.
    pub generator_url: String,
    /// When it was last seen.
    pub updated_at: Timestamp,
    /// Whether its end is only the time after which it counts as resolved unless it is seen again.
    pub timeout: bool,
}

impl Alert {
    /// Its identity.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.labels)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.labels.value(ALERT_NAME)
    }

    /// Whether it is over at an instant.
    pub fn resolved_at(&self, at: Timestamp) -> bool {
        self.ends_at <= at
    }

    /// Why it is not taken.
    ///
    /// # Errors
    /// The message of the real program.
    pub fn validate(&self) -> Result<(), String> {
        if self.ends_at < self.starts_at {
            return Err("start time must be before end time".to_owned());
        }
        if self.labels.is_empty() {
            return Err("at least one label pair required".to_owned());
        }
        for (labels, what) in [(&self.labels, "label set"), (&self.annotations, "annotations")] {
            if labels.iter().any(|(name, _)| name.is_empty()) {
                return Err(format!("invalid {what}: invalid name \"\""));
            }
        }
        Ok(())
    }

    /// This sighting and a later one as one alert.
    pub fn merge(&self, other: &Self, now: Timestamp) -> Self {
        // The younger one counts.
        if other.updated_at < self.updated_at {
            return other.merge(self, now);
        }
        let mut merged = other.clone();
        merged.starts_at = merged.starts_at.min(self.starts_at);
        if other.resolved_at(now) {
            // Of two ends the later one counts.
            if self.resolved_at(now) && self.ends_at > other.ends_at {
                merged.ends_at = self.ends_at;
            }
        } else if self.ends_at > other.ends_at && !self.timeout {
            merged.ends_at = self.ends_at;
        }
        merged
    }
}

/// The order of label sets: fewer labels first, then name by name.
pub(crate) fn before(a: &Labels, b: &Labels) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| {
        let (mut left, mut right) = (a.iter().peekable(), b.iter().peekable());
        loop {
            return match (left.peek(), right.peek()) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Less,
                (Some(_), None) => Ordering::Greater,
                (Some((a_name, a_value)), Some((b_name, b_value))) => match a_name.cmp(b_name) {
                    // Who lacks the smaller name comes first.
                    Ordering::Less => Ordering::Greater,
                    Ordering::Greater => Ordering::Less,
                    Ordering::Equal => match a_value.cmp(b_value) {
                        Ordering::Equal => {
                            left.next();
                            right.next();
                            continue;
                        }
                        other => other,
                    },
                },
            };
        }
    })
}

/// The order of alerts in a notification: by job, then instance, then labels.
pub(crate) fn order(a: &Labels, b: &Labels) -> Ordering {
    for name in ["job", "instance"] {
        let ordering = match (a.get(name), b.get(name)) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(a), Some(b)) => a.cmp(b),
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    before(a, b)
}

/// A label set as it stands in a group's key: `{a="b", c="d"}`.
pub(crate) fn label_text(labels: &Labels) -> String {
    let pairs: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={}", sim_template::print::quote(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(starts: i64, ends: i64, updated: i64, timeout: bool) -> Alert {
        Alert {
            labels: Labels::from_pairs([("a", "b")]),
            annotations: Labels::empty(),
            starts_at: Timestamp::from_secs(starts),
            ends_at: Timestamp::from_secs(ends),
            generator_url: String::new(),
            updated_at: Timestamp::from_secs(updated),
            timeout,
        }
    }

    #[test]
    fn merging_keeps_the_first_start_and_the_end_that_was_told() {
        let now = Timestamp::from_secs(100);
        // A told end beyond the timeout of a later sighting stays.
        let merged = alert(10, 500, 90, false).merge(&alert(20, 400, 95, true), now);
        assert_eq!((merged.starts_at.as_secs(), merged.ends_at.as_secs()), (10, 500));
        // A timeout yields to whatever comes later.
        let merged = alert(10, 500, 90, true).merge(&alert(20, 400, 95, true), now);
        assert_eq!(merged.ends_at.as_secs(), 400);
        // A resolution counts, whoever is asked first.
        let merged = alert(20, 99, 95, false).merge(&alert(10, 500, 90, true), now);
        assert_eq!((merged.starts_at.as_secs(), merged.ends_at.as_secs()), (10, 99));
        let merged = alert(10, 98, 90, false).merge(&alert(10, 97, 95, false), now);
        assert_eq!(merged.ends_at.as_secs(), 98);
    }

    #[test]
    fn alerts_are_ordered_by_job_and_instance_first() {
        let labels = |pairs: &[(&'static str, &'static str)]| Labels::from_pairs(pairs.iter().copied());
        let mut all = [
            labels(&[("a", "1")]),
            labels(&[("a", "1"), ("b", "2")]),
            labels(&[("job", "x"), ("z", "9")]),
            labels(&[("instance", "i"), ("job", "x")]),
            labels(&[("a", "0")]),
        ];
        all.sort_by(order);
        let shown: Vec<String> = all.iter().map(label_text).collect();
        assert_eq!(
            shown,
            [r#"{instance="i", job="x"}"#, r#"{job="x", z="9"}"#, r#"{a="0"}"#, r#"{a="1"}"#, r#"{a="1", b="2"}"#]
        );
    }
}
