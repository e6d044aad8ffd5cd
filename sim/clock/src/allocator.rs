//! An allocator for binaries that run worlds.
//!
//! Worlds allocate and free small things all the time, each on a thread of its own, which mimalloc does a third faster
//! than the C library. It gives memory back to the kernel after ten milliseconds by the monotonic clock, which in a
//! world passes at every step: unless told otherwise it would give back and ask again without end.

#![allow(unsafe_code)]

pub use mimalloc::MiMalloc;

/// The number of `mi_option_purge_delay` among mimalloc's options (`mimalloc.h`).
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// Never.
const NEVER: std::ffi::c_long = -1;

/// Keeps freed memory for the worlds to come.
pub(crate) fn keep_memory() {
    // SAFETY: the function takes any option's number and any value, and may be called at any time.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, NEVER) };
}
