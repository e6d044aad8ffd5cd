//! Starts a world and ends it.

use std::{any::Any, future::Future, num::NonZeroU32, panic::AssertUnwindSafe, str::FromStr, sync::Once};

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
    /// `None` (the default) for a world closed to the outside, whose time jumps from event to event and whose runs are
    /// repeatable. Otherwise the world may talk to real sockets, and time passes at this speed: what then comes from
    /// outside, and when, is no longer a matter of the seed.
    pub pace: Option<Speed>,
}

/// How fast time passes in a world that is open to the outside.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Speed {
    /// So many virtual seconds a real second.
    Times(NonZeroU32),
    /// From event to event, as in a closed world, with a look at the outside before each: takes a whole core.
    Max,
}

/// The greatest multiple of real time that can be asked for; beyond it a world is better off with [`Speed::Max`].
pub const SPEED_TIMES_MAX: u32 = 3_600;

impl Speed {
    /// The speed of the real clock.
    pub const REAL: Self = Self::Times(NonZeroU32::MIN);
}

impl FromStr for Speed {
    type Err = String;

    /// `1x`, `60x`, `max`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        text.strip_suffix('x')
            .and_then(|times| times.parse::<NonZeroU32>().ok())
            .filter(|times| times.get() <= SPEED_TIMES_MAX)
            .map(Self::Times)
            .ok_or_else(|| {
                format!("a speed is \"max\" or a whole number from 1x to {SPEED_TIMES_MAX}x, not \"{text}\"")
            })
    }
}

impl std::fmt::Display for Speed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Times(times) => write!(f, "{times}x"),
            Self::Max => f.write_str("max"),
        }
    }
}

impl WorldOptions {
    /// A world with this seed that begins at [`EPOCH`].
    pub fn seeded(seed: u64) -> Self {
        Self { seed, epoch: EPOCH, polls_per_instant_max: POLLS_PER_INSTANT_MAX, pace: None }
    }

    /// The same, open to the outside, with time passing at this speed.
    ///
    /// ```
    /// use std::time::Duration;
    /// let options = sim_clock::WorldOptions::seeded(7).paced("60x".parse()?);
    /// let elapsed = sim_clock::run(options, || async {
    ///     let before = sim_clock::now();
    ///     tokio::time::sleep(Duration::from_secs(3)).await; // takes 50 real milliseconds
    ///     sim_clock::now().since(before)
    /// }).unwrap();
    /// assert!(elapsed >= Duration::from_secs(3));
    /// # Ok::<(), String>(())
    /// ```
    pub fn paced(self, speed: Speed) -> Self {
        Self { pace: Some(speed), ..self }
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

thread_local! {
    static PACED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Whether this thread's world is open to the outside ([`WorldOptions::paced`]).
pub fn is_paced() -> bool {
    PACED.get()
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
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time();
    let clock = interpose::Clock::prepare(options.epoch.as_nanos());
    let real_speed = match options.pace {
        Some(Speed::Times(times)) => Some(times.get()),
        Some(Speed::Max) | None => None,
    };
    match real_speed {
        Some(times) => clock.follow_real(times),
        None => {
            builder.start_paused(true);
        }
    }
    PACED.set(options.pace.is_some());
    if options.pace.is_some() {
        builder.enable_io();
    }
    let runtime = builder.build().expect("a current-thread runtime needs no resources, or one descriptor");
    let result = runtime.block_on(async {
        if real_speed.is_none() {
            clock.follow_paused(tokio::time::Instant::now());
        }
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
    fn a_paced_world_takes_its_time() {
        for (speed, virtual_ms, real_ms) in [("1x", 120, 120), ("60x", 12_000, 200)] {
            let real = Instant::now();
            let options = WorldOptions::seeded(1).paced(speed.parse().unwrap());
            let passed = run(options, move || async move {
                let (before, monotonic) = (crate::now(), Instant::now());
                tokio::time::sleep(Duration::from_millis(virtual_ms)).await;
                (crate::now().since(before), monotonic.elapsed())
            });
            let (wall, monotonic) = passed.unwrap();
            for seen in [wall, monotonic] {
                let seen = seen.as_millis() as u64;
                assert!((virtual_ms..virtual_ms * 3).contains(&seen), "{speed}: {seen} ms of {virtual_ms}");
            }
            let real = real.elapsed().as_millis() as u64;
            assert!((real_ms..real_ms * 4).contains(&real), "{speed}: {real} real ms");
        }
    }

    #[test]
    fn an_idle_paced_world_costs_next_to_nothing() {
        fn thread_cpu() -> Duration {
            let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
            Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
        }
        let options = WorldOptions::seeded(1).paced("60x".parse().unwrap());
        let spent = run(options, || async {
            let before = thread_cpu();
            // One wake-up a virtual second, as of a component that looks around regularly.
            for _ in 0..30 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            thread_cpu() - before
        });
        assert!(spent.clone().unwrap() < Duration::from_millis(25), "{spent:?} of 500 ms");
    }

    #[test]
    fn at_the_greatest_speed_time_jumps() {
        let real = Instant::now();
        let options = WorldOptions::seeded(1).paced(Speed::Max);
        run(options, || tokio::time::sleep(Duration::from_secs(86_400))).unwrap();
        assert!(real.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_speed_is_a_multiple_or_max() {
        for good in ["1x", "60x", "3600x", "max"] {
            assert_eq!(good.parse::<Speed>().unwrap().to_string(), good);
        }
        for bad in ["", "0x", "x", "60", "-1x", "1.5x", "3601x", "MAX"] {
            assert!(bad.parse::<Speed>().unwrap_err().contains("3600x"), "{bad}");
        }
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
