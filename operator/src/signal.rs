//! Something that happens once and that any number of tasks wait for.
//!
//! tokio's watch channel would do, but it wakes its waiters in random order; these are woken in the order in which they came.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Notify;

/// Something that happens once. Clones speak of the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signal(Arc<State>);

#[derive(Debug, Default)]
struct State {
    given: AtomicBool,
    changed: Notify,
}

impl Signal {
    /// It has happened now, and will have from now on.
    pub fn give(&self) {
        if !self.0.given.swap(true, Ordering::AcqRel) {
            self.0.changed.notify_waiters();
        }
    }

    /// Whether it has happened.
    pub fn given(&self) -> bool {
        self.0.given.load(Ordering::Acquire)
    }

    /// Waits until it has happened; forever when it never does.
    pub async fn wait(&self) {
        // Made before the look: it hears of everything that happens from here on.
        let changed = self.0.changed.notified();
        if !self.given() {
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    use super::*;
    use crate::testing::in_runtime;

    #[test]
    fn waiters_wake_in_the_order_in_which_they_came_and_late_ones_do_not_wait() {
        in_runtime(async {
            let (signal, order) = (Signal::default(), Arc::new(Mutex::new(Vec::new())));
            let waiters: Vec<_> = (0..40)
                .map(|number| {
                    let (signal, order) = (signal.clone(), order.clone());
                    tokio::spawn(async move {
                        signal.wait().await;
                        order.lock().unwrap().push(number);
                    })
                })
                .collect();
            tokio::task::yield_now().await;
            assert!(!signal.given() && order.lock().unwrap().is_empty());
            signal.give();
            for waiter in waiters {
                waiter.await.unwrap();
            }
            assert_eq!(*order.lock().unwrap(), (0..40).collect::<Vec<_>>());
            assert!(signal.given());
            signal.wait().await;
        });
    }

    #[test]
    fn what_never_happens_is_waited_for() {
        in_runtime(async {
            let signal = Signal::default();
            tokio::time::timeout(Duration::from_millis(5), signal.wait()).await.unwrap_err();
        });
    }
}
