//! A run of floats with their times, packed.
//!
//! Times and values are packed apart, each in the cheapest of a few ways, all of which unpack without looking back further than
//! one number:
//!
//! | | how | for |
//! |---|---|---|
//! | times | one distance for all | regular scrapes: nothing but the distance |
//! | times | distances above the least, of one width | jitter |
//! | times | differences of distances, seven bits at a time | gaps |
//! | values | one for all | constants |
//! | values | integers over a power of ten above the least, of one width | gauges |
//! | values | their differences above the least, of one width | counters |
//! | values | their differences, seven bits at a time | counters that reset |
//! | values | what changed of the bits since the one before (as Gorilla) | everything else |

use super::bits::{Reader, Writer, unzigzag, varint_len, width, zigzag};

/// Most samples of a block.
pub(super) const BLOCK_SAMPLES_MAX: usize = 128;
/// The powers of ten by which decimals are tried.
const POWERS: [f64; 7] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];
/// Integers up to here are exact as floats.
const EXACT: f64 = 9_007_199_254_740_992.0;

const TIMES_REGULAR: u8 = 0;
const TIMES_WIDTH: u8 = 1;
const TIMES_VARINT: u8 = 2;

const VALUES_SAME: u8 = 0;
const VALUES_WIDTH: u8 = 1;
const VALUES_DELTA_WIDTH: u8 = 2;
const VALUES_DELTA_VARINT: u8 = 3;
const VALUES_XOR: u8 = 4;

/// At least one sample, in order of time.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub first_ms: i64,
    pub last_ms: i64,
    count: u32,
    bytes: Box<[u8]>,
}

impl Block {
    /// Packs samples in order of time; `None` without any.
    pub fn pack(samples: &[(i64, f64)]) -> Option<Self> {
        let (first_ms, last_ms) = (samples.first()?.0, samples.last()?.0);
        let mut writer = Writer::default();
        pack_times(samples, &mut writer);
        pack_values(samples, &mut writer);
        let count = samples.len() as u32;
        Some(Self { first_ms, last_ms, count, bytes: writer.bytes.into_boxed_slice() })
    }

    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Hands out every sample in order.
    #[inline]
    pub fn unpack(&self, mut each: impl FnMut(i64, f64)) {
        let mut reader = Reader::new(&self.bytes);
        let mut times = Times::new(self.first_ms, self.len(), &mut reader);
        let count = self.len();
        match reader.byte() {
            VALUES_SAME => {
                let value = f64::from_bits(reader.bits(64));
                for _ in 0..count {
                    each(times.next(), value);
                }
            }
            VALUES_WIDTH => {
                let (power, least, width) = head(&mut reader);
                for _ in 0..count {
                    each(times.next(), (least.wrapping_add(reader.bits(width) as i64)) as f64 / power);
                }
            }
            VALUES_DELTA_WIDTH => {
                let mut value = unzigzag(reader.varint());
                let (power, least, width) = head(&mut reader);
                each(times.next(), value as f64 / power);
                for _ in 1..count {
                    value = value.wrapping_add(least).wrapping_add(reader.bits(width) as i64);
                    each(times.next(), value as f64 / power);
                }
            }
            VALUES_DELTA_VARINT => {
                let power = POWERS[usize::from(reader.byte()) % POWERS.len()];
                let mut value = 0_i64;
                for _ in 0..count {
                    value = value.wrapping_add(unzigzag(reader.varint()));
                    each(times.next(), value as f64 / power);
                }
            }
            _ => unpack_xor(&mut reader, count, |value| each(times.next(), value)),
        }
    }
}

/// Power of ten, least number and width of the others above it.
fn head(reader: &mut Reader<'_>) -> (f64, i64, u32) {
    let power = POWERS[usize::from(reader.byte()) % POWERS.len()];
    let least = unzigzag(reader.varint());
    (power, least, u32::from(reader.byte()))
}

fn pack_times(samples: &[(i64, f64)], writer: &mut Writer) {
    let deltas = || samples.windows(2).map(|pair| pair[1].0.wrapping_sub(pair[0].0) as u64);
    let (least, most) = deltas().fold((u64::MAX, 0), |(least, most), delta| (least.min(delta), most.max(delta)));
    let least = least.min(most);
    if least == most {
        writer.byte(TIMES_REGULAR);
        writer.varint(least);
        return;
    }
    let bits = width(most - least);
    let changes = || {
        let mut before = 0_u64;
        deltas().map(move |delta| {
            let change = zigzag(delta.wrapping_sub(before) as i64);
            before = delta;
            change
        })
    };
    let by_width = varint_len(least) + 1 + ((samples.len() - 1) * bits as usize).div_ceil(8);
    if changes().map(varint_len).sum::<usize>() < by_width {
        writer.byte(TIMES_VARINT);
        changes().for_each(|change| writer.varint(change));
        return;
    }
    writer.byte(TIMES_WIDTH);
    writer.varint(least);
    writer.byte(bits as u8);
    deltas().for_each(|delta| writer.bits(delta - least, bits));
    writer.align();
}

/// The times of a block, one after the other.
struct Times<'a> {
    kind: u8,
    next_ms: i64,
    /// The distance of all, the least one, or the last one.
    delta: u64,
    width: u32,
    reader: Reader<'a>,
}

impl<'a> Times<'a> {
    /// Takes the times out of the reader, which goes on with the values.
    fn new(first_ms: i64, count: usize, reader: &mut Reader<'a>) -> Self {
        let kind = reader.byte();
        let (mut delta, mut width) = (0, 0);
        let own = match kind {
            TIMES_REGULAR => {
                delta = reader.varint();
                *reader
            }
            TIMES_WIDTH => {
                delta = reader.varint();
                width = u32::from(reader.byte());
                reader.split(((count - 1) * width as usize).div_ceil(8))
            }
            _ => {
                let own = *reader;
                for _ in 1..count {
                    reader.varint();
                }
                own
            }
        };
        Self { kind, next_ms: first_ms, delta, width, reader: own }
    }

    #[inline]
    fn next(&mut self) -> i64 {
        let now = self.next_ms;
        let step = match self.kind {
            TIMES_REGULAR => self.delta,
            TIMES_WIDTH => self.delta.wrapping_add(self.reader.bits(self.width)),
            _ => {
                self.delta = self.delta.wrapping_add(unzigzag(self.reader.varint()) as u64);
                self.delta
            }
        };
        self.next_ms = now.wrapping_add(step as i64);
        now
    }
}

/// The values as integers over the smallest power of ten that loses nothing, bit by bit.
fn decimals(samples: &[(i64, f64)]) -> Option<(usize, Vec<i64>)> {
    let mut integers = Vec::with_capacity(samples.len());
    'power: for (index, power) in POWERS.iter().enumerate() {
        integers.clear();
        for (_, value) in samples {
            let scaled = (value * power).round();
            // Not for what is no number, negative zero and what is too large.
            if !(scaled.abs() < EXACT && (scaled as i64 as f64 / power).to_bits() == value.to_bits()) {
                continue 'power;
            }
            integers.push(scaled as i64);
        }
        return Some((index, integers));
    }
    None
}

/// The least number and the width of the others above it.
fn frame(numbers: impl Iterator<Item = i64> + Clone) -> (i64, u32) {
    let (least, most) = numbers.fold((i64::MAX, i64::MIN), |(least, most), n| (least.min(n), most.max(n)));
    if least > most { (0, 0) } else { (least, width(most.wrapping_sub(least) as u64)) }
}

fn pack_values(samples: &[(i64, f64)], writer: &mut Writer) {
    let first = samples[0].1.to_bits();
    if samples.iter().all(|(_, value)| value.to_bits() == first) {
        writer.byte(VALUES_SAME);
        writer.bits(first, 64);
        return;
    }
    let Some((power, integers)) = decimals(samples) else {
        pack_xor(samples, writer);
        return;
    };
    let deltas = || integers.windows(2).map(|pair| pair[1] - pair[0]);
    let (least, bits) = frame(integers.iter().copied());
    let (least_delta, bits_delta) = frame(deltas());
    let by_width = integers.len() * bits as usize;
    let by_delta = (integers.len() - 1) * bits_delta as usize;
    let by_varint = 8 * (varint_len(zigzag(integers[0])) + deltas().map(zigzag).map(varint_len).sum::<usize>());
    if by_varint < by_width.min(by_delta) {
        writer.byte(VALUES_DELTA_VARINT);
        writer.byte(power as u8);
        writer.varint(zigzag(integers[0]));
        deltas().for_each(|delta| writer.varint(zigzag(delta)));
        return;
    }
    let (kind, least, bits) =
        if by_delta < by_width { (VALUES_DELTA_WIDTH, least_delta, bits_delta) } else { (VALUES_WIDTH, least, bits) };
    writer.byte(kind);
    if kind == VALUES_DELTA_WIDTH {
        writer.varint(zigzag(integers[0]));
    }
    writer.byte(power as u8);
    writer.varint(zigzag(least));
    writer.byte(bits as u8);
    if kind == VALUES_DELTA_WIDTH {
        deltas().for_each(|delta| writer.bits(delta.wrapping_sub(least) as u64, bits));
    } else {
        for integer in &integers {
            writer.bits(integer.wrapping_sub(least) as u64, bits);
        }
    }
}

/// Each value by what changed of its bits: one bit if nothing did, else within the last window or in a window of its own.
fn pack_xor(samples: &[(i64, f64)], writer: &mut Writer) {
    writer.byte(VALUES_XOR);
    let mut before = samples[0].1.to_bits();
    writer.bits(before, 64);
    // Where the window starts, from the lowest bit, and its width.
    let (mut low, mut bits) = (0, 0);
    for (_, value) in &samples[1..] {
        let changed = before ^ value.to_bits();
        before = value.to_bits();
        if changed == 0 {
            writer.bits(0, 1);
            continue;
        }
        let (own_low, high) = (changed.trailing_zeros(), width(changed));
        // A window that has become much too wide is given up.
        if bits > 0 && own_low >= low && high <= low + bits && high - own_low + 13 >= bits {
            writer.bits(0b01, 2);
        } else {
            (low, bits) = (own_low, high - own_low);
            writer.bits(0b11, 2);
            writer.bits(u64::from(low), 6);
            writer.bits(u64::from(bits - 1), 6);
        }
        writer.bits(changed >> low, bits);
    }
}

fn unpack_xor(reader: &mut Reader<'_>, count: usize, mut each: impl FnMut(f64)) {
    let mut value = reader.bits(64);
    each(f64::from_bits(value));
    let (mut low, mut bits) = (0, 0);
    for _ in 1..count {
        if reader.bits(1) == 1 {
            if reader.bits(1) == 1 {
                low = reader.bits(6) as u32;
                bits = reader.bits(6) as u32 + 1;
            }
            value ^= reader.bits(bits) << low;
        }
        each(f64::from_bits(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sim_wire::STALE_NAN;

    fn unpacked(block: &Block) -> Vec<(i64, u64)> {
        let mut out = Vec::new();
        block.unpack(|t_ms, value| out.push((t_ms, value.to_bits())));
        out
    }

    fn bits(samples: &[(i64, f64)]) -> Vec<(i64, u64)> {
        samples.iter().map(|(t_ms, value)| (*t_ms, value.to_bits())).collect()
    }

    fn at_15s(values: impl IntoIterator<Item = f64>) -> Vec<(i64, f64)> {
        values.into_iter().enumerate().map(|(index, value)| (index as i64 * 15_000, value)).collect()
    }

    /// Bytes of 120 samples at a regular distance.
    fn size(value: impl Fn(usize) -> f64) -> usize {
        let samples = at_15s((0..120).map(value));
        let block = Block::pack(&samples).unwrap();
        assert_eq!(unpacked(&block), bits(&samples));
        block.heap_bytes()
    }

    #[test]
    fn usual_series_are_small() {
        assert!(size(|_| 1.0) <= 12, "a constant");
        assert!(size(|index| index as f64) <= 12, "a counter that grows evenly");
        assert!(size(|index| (index * 7 + index % 5) as f64) <= 70, "a counter that grows almost evenly");
        assert!(size(|index| (index * 37 % 100) as f64 / 100.0) <= 120, "two decimals");
        assert!(size(|index| if index > 60 { index as f64 } else { (index * 1000) as f64 }) <= 270, "a reset");
        assert!(size(|index| (index as f64).sin()) <= 120 * 9, "all digits");
    }

    #[test]
    fn odd_values_and_times_come_back_bit_by_bit() {
        let odd =
            [0.0, -0.0, f64::NAN, STALE_NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 5e-324, f64::MAX];
        for value in odd {
            for samples in [at_15s([value]), at_15s([value, value]), at_15s([1.0, value, 2.5]), at_15s([value, 1.0])] {
                assert_eq!(unpacked(&Block::pack(&samples).unwrap()), bits(&samples));
            }
        }
        let samples = [(i64::MIN, 1.0), (-1, 2.0), (0, 2.0), (i64::MAX, 3.0)];
        assert_eq!(unpacked(&Block::pack(&samples).unwrap()), bits(&samples));
        assert!(Block::pack(&[]).is_none());
    }

    fn a_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (0..1000_i64).prop_map(|value| value as f64),
            any::<i32>().prop_map(f64::from),
            (-5000..5000_i32).prop_map(|value| f64::from(value) / 100.0),
            Just(STALE_NAN),
        ]
    }

    proptest! {
        #[test]
        fn any_samples_come_back(
            times in proptest::collection::btree_set(prop_oneof![any::<i64>(), 0..100_000_i64], 1..140),
            values in proptest::collection::vec(a_value(), 140),
            alike in any::<bool>(),
        ) {
            let value = |index: usize| if alike { values[index % 3] + index as f64 } else { values[index] };
            let samples: Vec<(i64, f64)> = times.into_iter().enumerate().map(|(i, t_ms)| (t_ms, value(i))).collect();
            let block = Block::pack(&samples).unwrap();
            prop_assert_eq!(unpacked(&block), bits(&samples));
            prop_assert_eq!((block.first_ms, block.last_ms, block.len()), (samples[0].0, samples[samples.len() - 1].0, samples.len()));
        }
    }
}
