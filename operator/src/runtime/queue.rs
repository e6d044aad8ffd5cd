//! The work queue: first in, first out, every key once, no key twice at the same time. No I/O and no clock: `now` comes in.
//!
//! The rules are those of client-go's work queue. A key that is added while it waits is not added again (its causes are joined); a key
//! that is added while it is worked on waits until that is done; a delayed key comes in when its time has come; a failed key comes in after
//! an exponential back-off of its own.
//!
//! ```
//! use std::time::Duration;
//! use multigres_operator::runtime::queue::{Backoff, WorkQueue};
//!
//! let mut queue = WorkQueue::new(Backoff::new(Duration::from_millis(5), Duration::from_secs(30)));
//! let second = Duration::from_secs;
//! queue.add(second(0), "a", ["created"]);
//! queue.add(second(0), "a", ["updated"]);
//! let taken = queue.take(second(2)).unwrap();
//! assert_eq!((taken.key, taken.causes, taken.waited), ("a", vec!["created", "updated"], second(2)));
//! ```

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

/// Causes that are remembered for one key; the oldest are kept.
pub const CAUSES_MAX: usize = 16;

/// How long a key waits after its n-th failure in a row: `base · 2ⁿ`, at most `cap`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
}

impl Backoff {
    /// The first delay of every controller.
    pub const BASE: Duration = Duration::from_millis(5);
    /// The cap of all controllers but the registrars.
    pub const CAP: Duration = Duration::from_secs(1000);
    /// The cap of the registrars: what waits for etcd shall not trail its return by a quarter of an hour.
    pub const REGISTRAR_CAP: Duration = Duration::from_secs(30);

    /// A back-off that starts at `base` and never exceeds `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// The back-off of the registrars.
    pub const fn registrar() -> Self {
        Self::new(Self::BASE, Self::REGISTRAR_CAP)
    }

    /// The delay after `failures` earlier failures.
    pub fn delay(self, failures: u32) -> Duration {
        2_u32.checked_pow(failures).and_then(|factor| self.base.checked_mul(factor)).unwrap_or(self.cap).min(self.cap)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(Self::BASE, Self::CAP)
    }
}

/// A key that was taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken<K, C> {
    /// The key.
    pub key: K,
    /// Why it was in the queue, oldest first.
    pub causes: Vec<C>,
    /// How long it was ready before it was taken.
    pub waited: Duration,
    /// How often it failed in a row before.
    pub failures: u32,
}

/// The queue. Every `now` is the time since any fixed moment, and never goes back.
#[derive(Clone, Debug)]
pub struct WorkQueue<K, C> {
    backoff: Backoff,
    /// Ready keys, oldest first.
    ready: VecDeque<K>,
    /// Keys that have to be worked on: the ready ones, and those that were added again while they are worked on.
    dirty: BTreeMap<K, Dirty<C>>,
    /// Keys that are worked on, and since when.
    processing: BTreeMap<K, Duration>,
    /// Keys that come in later, by time and then in the order of their arrival.
    delayed: BTreeSet<(Duration, u64, K)>,
    delayed_by_key: BTreeMap<K, Delayed<C>>,
    failures: BTreeMap<K, u32>,
    sequence: u64,
}

#[derive(Clone, Debug)]
struct Dirty<C> {
    since: Duration,
    causes: Vec<C>,
}

#[derive(Clone, Debug)]
struct Delayed<C> {
    at: Duration,
    sequence: u64,
    causes: Vec<C>,
}

fn join<C: PartialEq>(causes: &mut Vec<C>, more: impl IntoIterator<Item = C>) {
    for cause in more {
        if causes.len() < CAUSES_MAX && !causes.contains(&cause) {
            causes.push(cause);
        }
    }
}

impl<K: Ord + Clone, C: PartialEq> WorkQueue<K, C> {
    /// An empty queue.
    pub fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            ready: VecDeque::new(),
            dirty: BTreeMap::new(),
            processing: BTreeMap::new(),
            delayed: BTreeSet::new(),
            delayed_by_key: BTreeMap::new(),
            failures: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// Adds a key. Says whether it is new (and not only more causes for one that waits already).
    pub fn add(&mut self, now: Duration, key: K, causes: impl IntoIterator<Item = C>) -> bool {
        if let Some(waiting) = self.dirty.get_mut(&key) {
            join(&mut waiting.causes, causes);
            return false;
        }
        let mut joined = Vec::new();
        join(&mut joined, causes);
        self.dirty.insert(key.clone(), Dirty { since: now, causes: joined });
        if !self.processing.contains_key(&key) {
            self.ready.push_back(key);
        }
        true
    }

    /// Adds a key after a delay. Of two delays of one key the earlier counts.
    pub fn add_after(&mut self, now: Duration, key: K, delay: Duration, causes: impl IntoIterator<Item = C>) {
        let at = now.saturating_add(delay);
        let mut joined = Vec::new();
        let mut when = (at, self.sequence);
        if let Some(present) = self.delayed_by_key.remove(&key) {
            self.delayed.remove(&(present.at, present.sequence, key.clone()));
            joined = present.causes;
            if present.at <= at {
                when = (present.at, present.sequence);
            }
        }
        self.sequence += 1;
        join(&mut joined, causes);
        self.delayed.insert((when.0, when.1, key.clone()));
        self.delayed_by_key.insert(key, Delayed { at: when.0, sequence: when.1, causes: joined });
    }

    /// Adds a key after its back-off, which it lengthens. Says the delay.
    pub fn add_rate_limited(&mut self, now: Duration, key: K, causes: impl IntoIterator<Item = C>) -> Duration {
        let failures = self.failures.entry(key.clone()).or_default();
        let delay = self.backoff.delay(*failures);
        *failures = failures.saturating_add(1);
        self.add_after(now, key, delay, causes);
        delay
    }

    /// Forgets the failures of a key.
    pub fn forget(&mut self, key: &K) {
        self.failures.remove(key);
    }

    /// Brings in the delayed keys whose time has come. Says how many were new.
    pub fn wake(&mut self, now: Duration) -> usize {
        let mut added = 0;
        while self.next_wake().is_some_and(|at| at <= now) {
            let Some((at, _, key)) = self.delayed.pop_first() else { break };
            let causes = self.delayed_by_key.remove(&key).map(|delayed| delayed.causes).unwrap_or_default();
            // It has been ready since its time, not since somebody looked.
            added += usize::from(self.add(at, key, causes));
        }
        added
    }

    /// When [`Self::wake`] has to be called next.
    pub fn next_wake(&self) -> Option<Duration> {
        self.delayed.first().map(|(at, _, _)| *at)
    }

    /// Takes the oldest ready key. It counts as worked on until [`Self::done`].
    pub fn take(&mut self, now: Duration) -> Option<Taken<K, C>> {
        let key = self.ready.pop_front()?;
        let dirty = self.dirty.remove(&key)?;
        self.processing.insert(key.clone(), now);
        let failures = self.failures.get(&key).copied().unwrap_or_default();
        Some(Taken { key, causes: dirty.causes, waited: now.saturating_sub(dirty.since), failures })
    }

    /// Ends the work on a key, which comes back at once if it was added meanwhile. Says how long the work took.
    pub fn done(&mut self, now: Duration, key: &K) -> Duration {
        let since = self.processing.remove(key).unwrap_or(now);
        if self.dirty.contains_key(key) && !self.ready.contains(key) {
            self.ready.push_back(key.clone());
        }
        now.saturating_sub(since)
    }

    /// How many keys are ready.
    pub fn depth(&self) -> usize {
        self.ready.len()
    }

    /// How long the keys that are worked on have been so: sum and maximum.
    pub fn unfinished(&self, now: Duration) -> (Duration, Duration) {
        self.processing.values().fold((Duration::ZERO, Duration::ZERO), |(sum, max), since| {
            let running = now.saturating_sub(*since);
            (sum + running, max.max(running))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn queue() -> WorkQueue<u8, &'static str> {
        WorkQueue::new(Backoff::default())
    }

    #[test]
    fn back_off_doubles_up_to_its_cap() {
        let registrar = Backoff::registrar();
        let delays: Vec<_> = (0..15).map(|n| registrar.delay(n).as_millis()).collect();
        assert_eq!(delays, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240, 20480, 30000, 30000]);
        assert_eq!(registrar.delay(u32::MAX), Duration::from_secs(30));
        assert_eq!(Backoff::default().delay(17), Duration::from_millis(655_360));
        assert_eq!(Backoff::default().delay(18), Duration::from_secs(1000));
    }

    #[test]
    fn a_key_that_is_worked_on_waits_until_that_is_done() {
        let mut queue = queue();
        queue.add(ms(0), 1, ["created"]);
        assert_eq!(queue.take(ms(1)).unwrap().key, 1);
        assert!(queue.add(ms(2), 1, ["updated"]));
        assert_eq!(queue.depth(), 0);
        assert_eq!(queue.take(ms(3)), None);
        assert_eq!(queue.done(ms(5), &1), ms(4));
        let again = queue.take(ms(6)).unwrap();
        assert_eq!((again.causes, again.waited), (vec!["updated"], ms(4)));
    }

    #[test]
    fn of_two_delays_the_earlier_counts() {
        let mut queue = queue();
        queue.add_after(ms(0), 1, ms(100), ["late"]);
        queue.add_after(ms(0), 1, ms(50), ["early"]);
        queue.add_after(ms(0), 1, ms(70), ["late"]);
        assert_eq!(queue.next_wake(), Some(ms(50)));
        assert_eq!(queue.wake(ms(49)), 0);
        assert_eq!(queue.wake(ms(60)), 1);
        let taken = queue.take(ms(60)).unwrap();
        assert_eq!((taken.causes, taken.waited), (vec!["late", "early"], ms(10)));
        assert_eq!(queue.next_wake(), None);
    }

    #[test]
    fn a_success_forgets_the_failures() {
        let mut queue = queue();
        assert_eq!(queue.add_rate_limited(ms(0), 1, ["retry"]), ms(5));
        assert_eq!(queue.add_rate_limited(ms(0), 1, ["retry"]), ms(10));
        queue.wake(ms(5));
        assert_eq!(queue.take(ms(5)).unwrap().failures, 2);
        queue.forget(&1);
        assert_eq!(queue.add_rate_limited(ms(0), 1, ["retry"]), ms(5));
    }

    #[test]
    fn causes_are_bounded_and_named_once() {
        let mut queue: WorkQueue<u8, u32> = WorkQueue::new(Backoff::default());
        queue.add(ms(0), 1, (0..1000).chain(0..1000));
        assert_eq!(queue.take(ms(0)).unwrap().causes, (0..CAUSES_MAX as u32).collect::<Vec<_>>());
    }

    #[derive(Clone, Debug)]
    enum Op {
        Add(u8),
        AddAfter(u8, u64),
        Take,
        Done(u8),
        Wait(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0_u8..4).prop_map(Op::Add),
            (0_u8..4, 0_u64..20).prop_map(|(key, after)| Op::AddAfter(key, after)),
            Just(Op::Take),
            (0_u8..4).prop_map(Op::Done),
            (0_u64..10).prop_map(Op::Wait),
        ]
    }

    /// The rules once more, as plainly as possible: a list of ready keys, a set of running ones, the ones that came in meanwhile.
    #[derive(Default)]
    struct Model {
        ready: Vec<u8>,
        running: Vec<u8>,
        again: Vec<u8>,
        delayed: Vec<(u64, u64, u8)>,
        arrivals: u64,
    }

    impl Model {
        fn add(&mut self, key: u8) {
            if self.running.contains(&key) {
                if !self.again.contains(&key) {
                    self.again.push(key);
                }
            } else if !self.ready.contains(&key) {
                self.ready.push(key);
            }
        }

        fn wake(&mut self, now: u64) {
            self.delayed.sort_unstable();
            while self.delayed.first().is_some_and(|(at, _, _)| *at <= now) {
                let (_, _, key) = self.delayed.remove(0);
                self.add(key);
            }
        }
    }

    proptest! {
        #[test]
        fn the_queue_does_what_the_plain_model_does(ops in proptest::collection::vec(op(), 0..200)) {
            let mut queue = queue();
            let mut model = Model::default();
            let mut now = 0;
            for op in ops {
                match op {
                    Op::Add(key) => {
                        queue.add(ms(now), key, ["x"]);
                        model.add(key);
                    }
                    Op::AddAfter(key, after) => {
                        queue.add_after(ms(now), key, ms(after), ["y"]);
                        let arrival = model.arrivals;
                        model.arrivals += 1;
                        match model.delayed.iter_mut().find(|(_, _, k)| *k == key) {
                            Some(present) if present.0 <= now + after => {}
                            Some(present) => *present = (now + after, arrival, key),
                            None => model.delayed.push((now + after, arrival, key)),
                        }
                    }
                    Op::Take => {
                        let expected = (!model.ready.is_empty()).then(|| model.ready.remove(0));
                        model.running.extend(expected);
                        prop_assert_eq!(queue.take(ms(now)).map(|taken| taken.key), expected);
                    }
                    Op::Done(key) => {
                        if let Some(index) = model.running.iter().position(|k| *k == key) {
                            model.running.remove(index);
                            queue.done(ms(now), &key);
                            if let Some(index) = model.again.iter().position(|k| *k == key) {
                                model.again.remove(index);
                                model.ready.push(key);
                            }
                        }
                    }
                    Op::Wait(by) => {
                        now += by;
                        queue.wake(ms(now));
                        model.wake(now);
                    }
                }
                prop_assert_eq!(queue.depth(), model.ready.len());
            }
        }
    }
}
