//! Random streams named by a label, all derived from the world's seed.

use std::{hash::BuildHasher, ops::RangeInclusive, time::Duration};

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::interpose;

/// A random stream of one purpose. Two purposes never share a stream, so that a draw added to one of them moves no
/// other.
#[derive(Clone, Debug)]
pub struct Chance(ChaCha8Rng);

/// The stream named `label` of this world. Asked twice for the same label it starts from the beginning twice.
/// Outside of a world the stream starts at an unpredictable place.
///
/// ```
/// let draw = || sim_clock::seeded("scrape offset of pod-1").below(30_000);
/// let a = sim_clock::run(sim_clock::WorldOptions::seeded(1), move || async move { draw() })?;
/// let b = sim_clock::run(sim_clock::WorldOptions::seeded(1), move || async move { draw() })?;
/// let c = sim_clock::run(sim_clock::WorldOptions::seeded(2), move || async move { draw() })?;
/// assert!(a == b && a != c);
/// # Ok::<(), sim_clock::WorldError>(())
/// ```
pub fn seeded(label: &str) -> Chance {
    let seed = interpose::world_seed().unwrap_or_else(|| std::hash::RandomState::new().hash_one(label));
    Chance::new(seed, label)
}

impl Chance {
    /// The stream `label` of the world with seed `seed`.
    pub fn new(seed: u64, label: &str) -> Self {
        let mut key = [0_u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&fnv1a(label.as_bytes()).to_le_bytes());
        key[16..24].copy_from_slice(&(label.len() as u64).to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Sixty-four random bits.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..n`; zero when `n` is zero.
    pub fn below(&mut self, n: u64) -> u64 {
        // Multiply-shift: biased by less than n / 2^64, which no scenario can see.
        ((u128::from(self.0.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// A whole number of milliseconds within `range`.
    pub fn range_ms(&mut self, range: RangeInclusive<u64>) -> Duration {
        let (low, high) = (*range.start(), *range.end());
        Duration::from_millis(low + self.below(high.saturating_sub(low) + 1))
    }

    /// A number in `0.0..1.0`.
    pub fn f64(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Fills `bytes`.
    pub fn bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// A random (version 4) UUID in its usual spelling.
    pub fn uuid(&mut self) -> String {
        let mut bytes = [0_u8; 16];
        self.bytes(&mut bytes);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_seed_and_by_label() {
        let first = |seed, label| Chance::new(seed, label).u64();
        assert_eq!(first(1, "a"), first(1, "a"));
        assert_ne!(first(1, "a"), first(2, "a"));
        assert_ne!(first(1, "a"), first(1, "b"));
    }

    #[test]
    fn ranges_keep_both_ends() {
        let mut chance = Chance::new(3, "range");
        let drawn: std::collections::BTreeSet<_> = (0..200).map(|_| chance.range_ms(2..=5).as_millis()).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [2, 3, 4, 5]);
        assert_eq!(chance.range_ms(4..=4), Duration::from_millis(4));
        assert_eq!(chance.below(0), 0);
    }

    #[test]
    fn a_uuid_is_of_version_four() {
        let uuid = Chance::new(3, "uuid").uuid();
        assert_eq!(uuid.len(), 36);
        assert_eq!(&uuid[14..15], "4");
        assert!(matches!(&uuid[19..20], "8" | "9" | "a" | "b"));
    }
}
