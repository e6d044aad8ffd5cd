//! The C library symbols that are answered for a world's thread.
//!
//! Libraries read clocks and randomness behind our back: `SystemTime::now` in the OpenTelemetry SDK and in jiff, hash
//! seeds, uuids, span ids. All of them end in three functions of the C library (a fourth, `epoll_wait`, is where a paced
//! world waits). A definition of these in the
//! executable takes precedence over the C library's; on a thread that is in no world each hands over to the next
//! definition (`dlsym(RTLD_NEXT, …)`), so that tests and benchmarks keep their clock.
//!
//! Linked into scenario and test binaries only: predictable randomness in the operator would be a security hole, and
//! `.ci/run` proves its absence there.

#![allow(unsafe_code)]

use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

/// A fixed base, so that monotonic readings too are the same in every run. A day, so that code may subtract.
const MONOTONIC_BASE_NANOS: i64 = 86_400 * 1_000_000_000;

/// What a world's thread answers a question for the time with.
#[derive(Clone, Copy)]
struct VirtualClock {
    epoch_nanos: i64,
    source: Source,
    /// Set at the world's end: nanoseconds since its start, which stand still from then on.
    frozen_nanos: Option<i64>,
}

/// What moves a world's clock.
#[derive(Clone, Copy)]
enum Source {
    /// tokio's paused clock: time moves when nothing can run.
    Paused { start: tokio::time::Instant },
    /// The real clock, so many times as fast. tokio's own clock asks through `clock_gettime` and follows.
    Paced { real_start_nanos: i64, speed: i64 },
}

thread_local! {
    static CLOCK: Cell<Option<VirtualClock>> = const { Cell::new(None) };
    /// Re-entrancy guard: tokio's clock may itself ask for the time.
    static ASKING: Cell<bool> = const { Cell::new(false) };
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
    static RANDOM_STATE: Cell<u64> = const { Cell::new(0) };
}

/// The seed of the world on this thread.
pub(crate) fn world_seed() -> Option<u64> {
    SEED.get()
}

/// While it lives, this thread's randomness follows from a seed.
pub(crate) struct Randomness(());

impl Randomness {
    pub(crate) fn enter(seed: u64) -> Self {
        SEED.set(Some(seed));
        RANDOM_STATE.set(seed ^ 0x6d75_6c74_6967_7265);
        Self(())
    }
}

impl Drop for Randomness {
    fn drop(&mut self) {
        SEED.set(None);
    }
}

/// While it lives and once it has been started, this thread's clock is the world's.
pub(crate) struct Clock {
    epoch_nanos: i64,
}

impl Clock {
    pub(crate) fn prepare(epoch_nanos: i64) -> Self {
        Self { epoch_nanos }
    }

    /// Lets the thread's clock follow tokio's, which is paused.
    pub(crate) fn follow_paused(&self, start: tokio::time::Instant) {
        self.start(Source::Paused { start });
    }

    /// Lets the thread's clock run `speed` times as fast as the real one. To be called before the runtime is made, since
    /// that takes its first reading then.
    pub(crate) fn follow_real(&self, speed: u32) {
        self.start(Source::Paced { real_start_nanos: real_monotonic_nanos(), speed: i64::from(speed) });
    }

    fn start(&self, source: Source) {
        CLOCK.set(Some(VirtualClock { epoch_nanos: self.epoch_nanos, source, frozen_nanos: None }));
    }

    pub(crate) fn freeze(&self) {
        if let Some(mut clock) = CLOCK.get() {
            clock.frozen_nanos = Some(clock.elapsed_nanos());
            CLOCK.set(Some(clock));
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        CLOCK.set(None);
    }
}

impl VirtualClock {
    fn elapsed_nanos(&self) -> i64 {
        self.frozen_nanos.unwrap_or_else(|| match self.source {
            Source::Paused { start } => start.elapsed().as_nanos() as i64,
            Source::Paced { real_start_nanos, speed } => {
                (real_monotonic_nanos() - real_start_nanos).saturating_mul(speed)
            }
        })
    }
}

/// The speed of this thread's clock, where the real clock moves it.
fn pace() -> Option<i64> {
    match CLOCK.try_with(Cell::get).ok().flatten()?.source {
        Source::Paced { speed, .. } => Some(speed),
        Source::Paused { .. } => None,
    }
}

/// The machine's own monotonic clock, whatever thread this is.
fn real_monotonic_nanos() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the C library's function of this name has this signature, and `time` is valid for a write.
    unsafe { real_clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// The C library's `clock_gettime`.
///
/// # Safety
/// As the C function: `time` must be valid for a write.
unsafe fn real_clock_gettime(id: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    type Function = unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> libc::c_int;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: the C library's function of this name has this signature.
    let real = unsafe { std::mem::transmute::<usize, Function>(next(&NEXT, c"clock_gettime")) };
    // SAFETY: the caller's promises are handed on.
    unsafe { real(id, time) }
}

/// The virtual reading of clock `id`, or `None` where the real one has to answer.
fn virtual_reading_nanos(id: libc::clockid_t) -> Option<i64> {
    let clock = CLOCK.try_with(Cell::get).ok().flatten()?;
    if ASKING.get() {
        return None;
    }
    let base = match id {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => clock.epoch_nanos,
        libc::CLOCK_MONOTONIC | libc::CLOCK_MONOTONIC_RAW | libc::CLOCK_MONOTONIC_COARSE | libc::CLOCK_BOOTTIME => {
            MONOTONIC_BASE_NANOS
        }
        _ => return None,
    };
    ASKING.set(true);
    let elapsed = clock.elapsed_nanos();
    ASKING.set(false);
    Some(base + elapsed)
}

/// Eight random bytes of this thread's world (SplitMix64), or `None` where the kernel has to answer.
fn draw() -> Option<[u8; 8]> {
    SEED.try_with(Cell::get).ok().flatten()?;
    let state = RANDOM_STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    RANDOM_STATE.set(state);
    let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Some((mixed ^ (mixed >> 31)).to_le_bytes())
}

/// # Safety
/// `buffer` must be valid for writes of `length` bytes.
unsafe fn fill(buffer: *mut u8, length: usize) -> bool {
    let mut written = 0;
    while written < length {
        let Some(bytes) = draw() else { return false };
        let count = bytes.len().min(length - written);
        // SAFETY: `written + count <= length`, and the caller vouches for `length` bytes.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.add(written), count) };
        written += count;
    }
    true
}

/// The next definition of `name` after this executable's: the C library's.
fn next(cache: &AtomicUsize, name: &std::ffi::CStr) -> usize {
    let known = cache.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    // SAFETY: `name` is a terminated string; the C library defines every name asked for in this file.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) } as usize;
    if found == 0 {
        // Nothing can be answered without it, and a panic would need the clock.
        std::process::abort();
    }
    cache.store(found, Ordering::Relaxed);
    found
}

/// Answers for the C library's `clock_gettime`.
///
/// # Safety
/// As the C function: `time` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(id: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    if let Some(nanos) = virtual_reading_nanos(id) {
        // SAFETY: the caller vouches for `time`.
        unsafe {
            (*time).tv_sec = nanos.div_euclid(1_000_000_000);
            (*time).tv_nsec = nanos.rem_euclid(1_000_000_000);
        }
        return 0;
    }
    // SAFETY: the caller's promises are handed on.
    unsafe { real_clock_gettime(id, time) }
}

/// Answers for the C library's `epoll_wait`, in which a paced world waits: its runtime asks for so many virtual
/// milliseconds, and the kernel counts real ones.
///
/// # Safety
/// As the C function: `events` must be valid for writes of `max_events` events.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_wait(
    descriptor: libc::c_int,
    events: *mut libc::epoll_event,
    max_events: libc::c_int,
    timeout_ms: libc::c_int,
) -> libc::c_int {
    type Function = unsafe extern "C" fn(libc::c_int, *mut libc::epoll_event, libc::c_int, libc::c_int) -> libc::c_int;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: the C library's function of this name has this signature.
    let real = unsafe { std::mem::transmute::<usize, Function>(next(&NEXT, c"epoll_wait")) };
    let timeout_ms = match pace() {
        // Rounded up: a wait that ends early would be asked for again at once.
        Some(speed) if timeout_ms > 0 => ((i64::from(timeout_ms) + speed - 1) / speed) as libc::c_int,
        _ => timeout_ms,
    };
    // SAFETY: the caller's promises are handed on.
    unsafe { real(descriptor, events, max_events, timeout_ms) }
}

/// Answers for the C library's `getrandom`.
///
/// # Safety
/// As the C function: `buffer` must be valid for writes of `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(
    buffer: *mut libc::c_void,
    length: libc::size_t,
    flags: libc::c_uint,
) -> libc::ssize_t {
    // SAFETY: the caller vouches for the buffer.
    if unsafe { fill(buffer.cast(), length) } {
        return length as libc::ssize_t;
    }
    type Function = unsafe extern "C" fn(*mut libc::c_void, libc::size_t, libc::c_uint) -> libc::ssize_t;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: the C library's function of this name has this signature.
    let real = unsafe { std::mem::transmute::<usize, Function>(next(&NEXT, c"getrandom")) };
    // SAFETY: the caller's promises are handed on.
    unsafe { real(buffer, length, flags) }
}

/// Answers for the C library's `syscall`, by which some crates ask for randomness directly.
///
/// The C function takes a variable number of arguments. On the two architectures supported here integer arguments of
/// such a call travel in the same registers as those of a fixed list, so a fixed list of six receives and forwards them.
///
/// # Safety
/// As the C function.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(
    number: libc::c_long,
    a: libc::c_long,
    b: libc::c_long,
    c: libc::c_long,
    d: libc::c_long,
    e: libc::c_long,
    f: libc::c_long,
) -> libc::c_long {
    // SAFETY: for this number the first two arguments are a buffer and its length.
    if number == libc::SYS_getrandom && unsafe { fill(a as *mut u8, b as usize) } {
        return b;
    }
    type Function = unsafe extern "C" fn(
        libc::c_long,
        libc::c_long,
        libc::c_long,
        libc::c_long,
        libc::c_long,
        libc::c_long,
        libc::c_long,
    ) -> libc::c_long;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: see above about the argument registers.
    let real = unsafe { std::mem::transmute::<usize, Function>(next(&NEXT, c"syscall")) };
    // SAFETY: the caller's promises are handed on.
    unsafe { real(number, a, b, c, d, e, f) }
}

/// Draws as crates do that go past `getrandom`.
#[cfg(test)]
pub(crate) fn draw_by_system_call(bytes: &mut [u8]) {
    // SAFETY: the buffer and its length are those of a slice.
    let written = unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), 0) };
    assert_eq!(written, bytes.len() as libc::c_long);
}
