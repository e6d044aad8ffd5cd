//! Virtual time, seeded chance and the [`Engine`] trait of the simulated world.
//!
//! A *world* is one asynchronous program on one fresh thread: a current-thread tokio runtime whose clock is
//! paused, so that time moves only when nothing can run, and a thread whose C library clock and randomness are
//! answered by this crate. Two runs with the same [`WorldOptions`] see the same instants, the same random bytes
//! and the same interleaving. A world that real programs are to talk to is *paced* instead
//! ([`WorldOptions::paced`]): its clock follows the real one at a chosen speed, and its runtime has sockets.
//!
//! | module | job |
//! |---|---|
//! | [`timestamp`] | [`Timestamp`]: nanoseconds since the Unix epoch, and its renderings |
//! | [`chance`] | [`seeded`]: random streams named by a label, all derived from the world's seed |
//! | [`world`] | [`run`]: starts a world, ends it, reports a panic or a live-lock |
//! | [`watchdog`] | [`spawn`]: tasks whose polls are counted, so that a live-lock has a name |
//! | [`engine`] | [`Engine`]: a simulated part without input or output |
//! | [`watch`] | a value that others wait for changes of, in a fixed order |
//! | `allocator` | with the feature of that name: an allocator that virtual time does not mislead |
//! | `interpose` | the C library symbols answered for a world's thread (the crate's only `unsafe`) |
//!
//! ```
//! use std::time::Duration;
//! let options = sim_clock::WorldOptions::seeded(7);
//! let elapsed = sim_clock::run(options, || async {
//!     let before = sim_clock::now();
//!     tokio::time::sleep(Duration::from_secs(40 * 60)).await; // costs no real time
//!     sim_clock::now().since(before)
//! })?;
//! assert_eq!(elapsed, Duration::from_secs(40 * 60));
//! # Ok::<(), sim_clock::WorldError>(())
//! ```

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
compile_error!(
    "sim-clock answers glibc's clock and randomness and runs on Linux with glibc only; \
     elsewhere use a Linux container (see ci/images)"
);

#[cfg(feature = "allocator")]
pub mod allocator;
pub mod chance;
pub mod engine;
mod interpose;
pub mod timestamp;
pub mod watch;
pub mod watchdog;
pub mod world;

pub use chance::{Chance, seeded};
pub use engine::Engine;
pub use timestamp::{Timestamp, now};
pub use watchdog::spawn;
pub use world::{EPOCH, Speed, WorldError, WorldOptions, is_paced, run};
