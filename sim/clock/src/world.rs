//! Starts a world and ends it.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, sync::Once};

use crate::{
    interpose,
    timestamp::Timestamp,
    watchdog::{self, Counted, LiveLock},
};

/// When worlds begin unless told otherwise: 2026-02-11T17:50:00Z.
pub const EPOCH: Timestamp = Timestamp::from_secs(1_770_832_200);

/// How many polls of counted tasks may happen at one virtual instant before the world is given up as live-locked.
pub const POLLS_PER_INSTANT_MAX: u64 = 20_000_000;

const STACK_BYTES: usize = 16 << 20;

/// What a world starts from. The same options give the same world.
#[derive(Clone, Debug)]
pub struct WorldOptions {
    /// All chance in the world follows from it.
    pub seed: u64,
    /// The wall clock at the world's start.
    pub epoch: Timestamp,
    /// See [`POLLS_PER_INSTANT_MAX`].
    pub polls_per_instant_max: u64,
}

impl WorldOptions {
    /// A world with this seed that begins at [`EPOCH`].
    pub fn seeded(seed: u64) -> Self {
        Self { seed, epoch: EPOCH, polls_per_instant_max: POLLS_PER_INSTANT_MAX }
    }
}

/// Why a world ended before its program did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorldError {
    /// The program panicked, with this message.
    Panicked(String),
    /// Nothing moved time: so many polls happened at one virtual instant, most of them of this task.
    LiveLock {
        /// The name given to [`crate::spawn`].
        task: String,
        /// Its polls during the second half of the count.
        polls: u64,
    },
    /// The operating system refused a thread.
    Thread(String),
}

impl std::fmt::Display for WorldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Panicked(message) => write!(f, "the world panicked: {message}"),
            Self::LiveLock { task, polls } => {
                write!(
                    f,
                    "live-lock: virtual time stands still; task \"{task}\" was polled {polls} times at one instant"
                )
            }
            Self::Thread(error) => write!(f, "no thread for the world: {error}"),
        }
    }
}

impl std::error::Error for WorldError {}

/// Runs `program` as a world of its own: on a fresh thread, on a current-thread runtime with paused time, with the
/// clock and the randomness of the C library answered from `options`. Blocks until it has ended.
///
/// Many worlds may run side by side, each called from a thread of its own.
pub fn run<T, F, Fut>(options: WorldOptions, program: F) -> Result<T, WorldError>
where
    T: Send + 'static,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = T>,
{
    initialise_process_wide_seeds();
    std::thread::Builder::new()
        .name("world".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || std::panic::catch_unwind(AssertUnwindSafe(|| on_this_thread(&options, program))))
        .map_err(|error| WorldError::Thread(error.to_string()))?
        .join()
        .unwrap_or_else(Err)
        .map_err(|panic| explain(panic.as_ref()))
}

fn on_this_thread<T, F, Fut>(options: &WorldOptions, program: F) -> T
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = T>,
{
    let _random = interpose::Randomness::enter(options.seed);
    fastrand::seed(options.seed);
    // tokio's own choices (an unbiased `select!`, the order of a `tokio::sync::watch`'s waiters) follow from a count of
    // the process's runtimes and cannot be seeded: code of a world uses `biased` and [`crate::watch`] instead.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a current-thread runtime needs no resources");
    let clock = interpose::Clock::prepare(options.epoch.as_nanos());
    let result = runtime.block_on(async {
        clock.start(tokio::time::Instant::now());
        watchdog::start(options.polls_per_instant_max);
        let result = Counted::new("main", program()).await;
        watchdog::stop();
        clock.freeze();
        result
    });
    // Tasks that are still there are dropped while the clock stands at the world's last instant.
    drop(runtime);
    result
}

/// Some libraries draw a seed once a process, at first use. They do so here, outside of any world, so that whether a
/// world is the first one of its process makes no difference to what it draws.
fn initialise_process_wide_seeds() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[cfg(feature = "allocator")]
        crate::allocator::keep_memory();
        let _ = std::hash::RandomState::new();
        let _ = fastrand::u64(..);
        let _ = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let _ = std::thread::available_parallelism();
    });
}

fn explain(panic: &(dyn Any + Send)) -> WorldError {
    if let Some(live_lock) = panic.downcast_ref::<LiveLock>() {
        return WorldError::LiveLock { task: live_lock.task.clone(), polls: live_lock.polls };
    }
    let message = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|message| (*message).to_owned()))
        .unwrap_or_else(|| "a value that is no text".to_owned());
    WorldError::Panicked(message)
}

#[cfg(test)]
mod tests {
    use std::{
        hash::BuildHasher,
        time::{Duration, Instant, SystemTime, UNIX_EPOCH},
    };

    use super::*;

    async fn observe() -> String {
        let mut seen = Vec::new();
        let start = Instant::now();
        for step in 0..4_u64 {
            tokio::time::sleep(Duration::from_millis(10 + step)).await;
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let hash = std::hash::RandomState::new().hash_one("x");
            seen.push(format!("{wall:?} {:?} {hash} {}", start.elapsed(), fastrand::u64(..)));
        }
        seen.join("\n")
    }

    #[test]
    fn two_worlds_of_one_seed_see_the_same_clock_and_chance() {
        let first = run(WorldOptions::seeded(7), observe).unwrap();
        std::thread::scope(|scope| {
            let others: Vec<_> =
                (0..4).map(|_| scope.spawn(|| run(WorldOptions::seeded(7), observe).unwrap())).collect();
            for other in others {
                assert_eq!(first, other.join().unwrap());
            }
        });
        assert_ne!(first, run(WorldOptions::seeded(8), observe).unwrap());
    }

    #[test]
    fn the_wall_clock_is_the_epoch_plus_virtual_time() {
        let stamps = run(WorldOptions::seeded(1), || async {
            let before = crate::now();
            tokio::time::sleep(Duration::from_secs(90)).await;
            (before, crate::now())
        });
        assert_eq!(stamps.unwrap(), (EPOCH, EPOCH + Duration::from_secs(90)));
    }

    #[test]
    fn other_threads_keep_the_real_clock() {
        let real = run(WorldOptions::seeded(1), || async { std::thread::spawn(crate::now).join().unwrap() }).unwrap();
        assert!(real > EPOCH + Duration::from_secs(86_400 * 30), "{real}");
        let outside = std::time::Instant::now();
        assert!(outside.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn the_system_call_for_randomness_is_answered_too() {
        let draw = || async {
            let mut bytes = [0_u8; 16];
            interpose::draw_by_system_call(&mut bytes);
            bytes
        };
        let first = run(WorldOptions::seeded(5), draw).unwrap();
        assert_eq!(first, run(WorldOptions::seeded(5), draw).unwrap());
        assert_ne!(first, run(WorldOptions::seeded(6), draw).unwrap());
        assert_ne!(first, [0; 16]);
    }

    #[test]
    fn a_panic_is_reported_with_its_message() {
        let ended = run(WorldOptions::seeded(1), || async { panic!("the moon fell down") });
        assert_eq!(ended, Err::<(), _>(WorldError::Panicked("the moon fell down".to_owned())));
    }

    #[test]
    fn a_live_lock_ends_the_world_and_is_named() {
        let options = WorldOptions { polls_per_instant_max: 1_000, ..WorldOptions::seeded(1) };
        let ended = run(options, || async {
            crate::spawn("spinner", async {
                loop {
                    tokio::task::yield_now().await;
                }
            })
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
        });
        assert!(matches!(&ended, Err::<(), _>(WorldError::LiveLock { task, .. }) if task == "spinner"), "{ended:?}");
    }
}
