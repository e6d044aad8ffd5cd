//! Which revision was the newest when, and the compaction that makes the past go.

use std::{collections::VecDeque, time::Duration};

use sim_clock::Timestamp;

use super::Engine;

/// How often the past is compacted unless told otherwise: every time up to the revision that was newest the time before, as the real
/// server has etcd do it. So a list's continuation lives for five to ten minutes.
pub const COMPACTION_INTERVAL: Duration = Duration::from_secs(300);
/// Instants at which the revision is known; of the older ones nobody asks.
const MARKS_MAX: usize = 4096;

/// What is known of time: an engine has none of its own.
#[derive(Debug)]
pub(super) struct Clock {
    /// The newest revision before anything happened at that instant, oldest first.
    marks: VecDeque<(Timestamp, u64)>,
    interval: Option<Duration>,
    next: Timestamp,
    compact_to: u64,
}

impl Clock {
    pub fn new(now: Timestamp) -> Self {
        Self {
            marks: VecDeque::new(),
            interval: Some(COMPACTION_INTERVAL),
            next: now + COMPACTION_INTERVAL,
            compact_to: 0,
        }
    }
}

impl Engine {
    /// The time that the engine was told last.
    pub(in crate::engine) fn told_time(&self) -> Timestamp {
        self.clock.marks.back().map_or_else(Timestamp::default, |(at, _)| *at)
    }

    /// Tells the engine the time, before anything is done at it: marks the revision and compacts when it is time.
    pub fn tick(&mut self, now: Timestamp) {
        let revision = self.store.revision();
        let marks = &mut self.clock.marks;
        match marks.back_mut() {
            Some((at, _)) if *at >= now => {}
            // Nothing happened since the last mark: it holds until now.
            Some((at, marked)) if *marked == revision => *at = now,
            _ => {
                if marks.len() >= MARKS_MAX {
                    marks.pop_front();
                }
                marks.push_back((now, revision));
            }
        }
        let Some(interval) = self.clock.interval else { return };
        if now >= self.clock.next {
            self.store.compact_reads(self.clock.compact_to);
            self.clock.compact_to = revision;
            self.clock.next = now + interval;
        }
    }

    /// Changes how often the past is compacted; `None`: never (the bounds of the event logs stay).
    pub fn set_compaction(&mut self, interval: Option<Duration>, now: Timestamp) {
        self.clock.interval = interval.filter(|i| !i.is_zero());
        self.clock.next = now + self.clock.interval.unwrap_or_default();
        self.clock.compact_to = 0;
    }

    /// The revision that was the newest at the end of an instant, as far as it is remembered.
    pub fn revision_at(&self, time: Timestamp) -> u64 {
        let later = self.clock.marks.partition_point(|(at, _)| *at <= time);
        self.clock.marks.get(later).map_or(self.store.revision(), |(_, revision)| *revision)
    }
}
