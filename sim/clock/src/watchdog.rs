//! Tasks whose polls are counted, so that a live-lock ends the world and has a name.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::task::JoinHandle;

thread_local! {
    static POLLS: RefCell<Option<Polls>> = const { RefCell::new(None) };
}

/// Polls since time last moved.
struct Polls {
    instant: tokio::time::Instant,
    total: u64,
    max: u64,
    by_task: BTreeMap<Arc<str>, u64>,
}

/// Spawns a task of a world. Its polls are counted under `name`: when more of them happen at one virtual instant than
/// [`crate::WorldOptions::polls_per_instant_max`], the world ends with the name of the busiest task.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn spawn<F>(name: &str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(Counted { name: Arc::from(name), future: Box::pin(future) })
}

/// A future whose polls are counted under a name.
pub(crate) struct Counted<F> {
    name: Arc<str>,
    future: Pin<Box<F>>,
}

impl<F> Counted<F> {
    pub(crate) fn new(name: &str, future: F) -> Self {
        Self { name: Arc::from(name), future: Box::pin(future) }
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        count(&self.name);
        self.future.as_mut().poll(context)
    }
}

pub(crate) fn start(max: u64) {
    let instant = tokio::time::Instant::now();
    POLLS.with(|polls| *polls.borrow_mut() = Some(Polls { instant, total: 0, max, by_task: BTreeMap::new() }));
}

pub(crate) fn stop() {
    POLLS.with(|polls| *polls.borrow_mut() = None);
}

fn count(name: &Arc<str>) {
    let busiest = POLLS.with(|polls| {
        let mut polls = polls.borrow_mut();
        let polls = polls.as_mut()?;
        let instant = tokio::time::Instant::now();
        if instant != polls.instant {
            polls.instant = instant;
            polls.total = 0;
            polls.by_task.clear();
        }
        polls.total += 1;
        // Names are kept only for the second half: an ordinary instant never pays for them.
        if polls.total > polls.max / 2 {
            *polls.by_task.entry(name.clone()).or_default() += 1;
        }
        (polls.total > polls.max).then(|| {
            let (task, count) = polls.by_task.iter().max_by_key(|(_, count)| **count).expect("counted just now");
            (task.to_string(), *count)
        })
    });
    if let Some((task, polls)) = busiest {
        stop();
        std::panic::panic_any(LiveLock { task, polls });
    }
}

/// The panic payload by which the watchdog ends a world.
pub(crate) struct LiveLock {
    pub(crate) task: String,
    pub(crate) polls: u64,
}
