//! A value that others wait for changes of, with waiters woken in the order in which they came.
//!
//! tokio's own channel of this name spreads its waiters at random over several queues, which is right on many threads
//! and wrong in a world: whoever wakes first acts first. The interface is the same as far as it is needed here.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// What is wrong when nobody can change the value any more.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nobody can change the value any more")
    }
}

impl std::error::Error for Closed {}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<(T, u64)>,
    changed: Notify,
    senders: AtomicUsize,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, (T, u64)> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Changes the value.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// Sees the value and waits for its changes.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// The value as it is now; it must not be held across an await.
#[derive(Debug)]
pub struct Ref<'a, T>(MutexGuard<'a, (T, u64)>);

impl<T> std::ops::Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.0
    }
}

/// A value with one who changes it and one who sees it; both can be had more than once.
///
/// ```
/// # sim_clock::run(sim_clock::WorldOptions::seeded(1), || async {
/// let (sender, mut receiver) = sim_clock::watch::channel(1);
/// sender.send_replace(2);
/// receiver.changed().await.unwrap();
/// assert_eq!(*receiver.borrow(), 2);
/// # }).unwrap();
/// ```
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

impl<T> Sender<T> {
    /// Somebody who changes a value that nobody sees yet.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Shared { state: Mutex::new((value, 0)), changed: Notify::new(), senders: AtomicUsize::new(1) }))
    }

    /// Somebody who sees the value, and has seen it as it is now.
    pub fn subscribe(&self) -> Receiver<T> {
        let seen = self.0.lock().1;
        Receiver { shared: self.0.clone(), seen }
    }

    /// The value as it is now.
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.0.lock())
    }

    /// Whether nobody sees the value.
    pub fn is_closed(&self) -> bool {
        Arc::strong_count(&self.0) == self.0.senders.load(Ordering::Relaxed)
    }

    /// Changes the value in place and tells everybody.
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            change(value);
            true
        });
    }

    /// Changes the value in place, and tells everybody where `change` says that it did; returns what it said.
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let mut state = self.0.lock();
        let changed = change(&mut state.0);
        if changed {
            state.1 += 1;
            drop(state);
            self.0.changed.notify_waiters();
        }
        changed
    }

    /// Puts another value in place, tells everybody, and returns the one before.
    pub fn send_replace(&self, value: T) -> T {
        let mut before = value;
        self.send_modify(|now| std::mem::swap(now, &mut before));
        before
    }
}

impl<T: Default> Default for Sender<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), seen: self.seen }
    }
}

impl<T> Receiver<T> {
    /// The value as it is now, without having seen it.
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.shared.lock())
    }

    /// The value as it is now, seen.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let state = self.shared.lock();
        self.seen = state.1;
        Ref(state)
    }

    /// Whether it has changed since it was seen last.
    pub fn has_changed(&self) -> bool {
        self.shared.lock().1 != self.seen
    }

    /// Takes the value as it is now for seen.
    pub fn mark_unchanged(&mut self) {
        self.seen = self.shared.lock().1;
    }

    /// Waits until it has changed since it was seen last, and has seen it then.
    ///
    /// # Errors
    /// Nobody can change it any more.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            let notified = self.shared.changed.notified();
            let version = self.shared.lock().1;
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if self.shared.senders.load(Ordering::Relaxed) == 0 {
                return Err(Closed);
            }
            notified.await;
        }
    }

    /// Waits until the value is as wanted; it has been seen then.
    ///
    /// # Errors
    /// Nobody can change it any more, and it is not as wanted.
    pub async fn wait_for(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Result<Ref<'_, T>, Closed> {
        loop {
            let found = wanted(&self.borrow_and_update());
            if found {
                return Ok(self.borrow());
            }
            self.changed().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{WorldOptions, run, spawn};

    #[test]
    fn waiters_wake_in_the_order_in_which_they_came() {
        // Several worlds, since one could be right by chance.
        for seed in 0..5 {
            let order = run(WorldOptions::seeded(seed), || async {
                let (sender, receiver) = channel(0);
                let order = Arc::new(Mutex::new(Vec::new()));
                let waiters: Vec<_> = (0..20)
                    .map(|number| {
                        let (mut receiver, order) = (receiver.clone(), order.clone());
                        spawn("waiter", async move {
                            receiver.changed().await.unwrap();
                            order.lock().unwrap().push(number);
                        })
                    })
                    .collect();
                tokio::task::yield_now().await;
                sender.send_replace(1);
                for waiter in waiters {
                    waiter.await.unwrap();
                }
                order.lock().unwrap().clone()
            });
            assert_eq!(order.unwrap(), (0..20).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_change_is_seen_once_and_the_end_is_told() {
        run(WorldOptions::seeded(1), || async {
            let (sender, mut receiver) = channel("a");
            assert!(!receiver.has_changed());
            assert_eq!(sender.send_replace("b"), "a");
            assert!(receiver.has_changed());
            receiver.changed().await.unwrap();
            assert!(!receiver.has_changed());
            let waiting =
                spawn("waiter", async move { receiver.wait_for(|value| *value == "c").await.map(|value| *value) });
            sender.send_modify(|value| *value = "c");
            assert_eq!(waiting.await.unwrap(), Ok("c"));
            assert!(sender.is_closed());
            let mut last = sender.subscribe();
            assert!(!sender.is_closed());
            let closing = spawn("waiter", async move { last.changed().await });
            tokio::task::yield_now().await;
            drop(sender);
            assert_eq!(closing.await.unwrap(), Err(Closed));
        })
        .unwrap();
    }
}
