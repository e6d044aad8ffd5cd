//! Numbers of any width, bit by bit, the lowest bit first; and integers in bytes of seven bits.

/// Collects bits.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub bytes: Vec<u8>,
    /// Bits of the last byte that are in use; 0 if it is full, or there is none.
    used: u32,
}

impl Writer {
    /// Writes the lowest `width` bits, at most 64.
    pub fn bits(&mut self, mut value: u64, mut width: u32) {
        while width > 0 {
            if self.used == 0 {
                self.bytes.push(0);
            }
            let take = width.min(8 - self.used);
            let low = (value & ((1_u64 << take) - 1)) as u8;
            if let Some(last) = self.bytes.last_mut() {
                *last |= low << self.used;
            }
            self.used = (self.used + take) % 8;
            value >>= take;
            width -= take;
        }
    }

    /// Writes an integer in as few groups of seven bits as it needs; what comes next starts a new byte.
    pub fn varint(&mut self, mut value: u64) {
        self.used = 0;
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// Writes a byte of its own.
    pub fn byte(&mut self, value: u8) {
        self.used = 0;
        self.bytes.push(value);
    }

    /// What comes next starts a new byte.
    pub fn align(&mut self) {
        self.used = 0;
    }
}

/// Reads bits. What is beyond the end reads as zero: blocks are written and read by this crate only.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    #[inline]
    pub fn bits(&mut self, width: u32) -> u64 {
        if width == 0 {
            return 0;
        }
        let (byte, shift) = (self.at >> 3, (self.at & 7) as u32);
        self.at += width as usize;
        let low = match self.bytes.get(byte..byte + 8) {
            Some(eight) => u64::from_le_bytes(eight.try_into().unwrap_or_default()),
            None => self.last(byte),
        };
        let mut value = low >> shift;
        if shift + width > 64 {
            let ninth = u64::from(self.bytes.get(byte + 8).copied().unwrap_or_default());
            value |= ninth << (64 - shift);
        }
        if width == 64 { value } else { value & ((1_u64 << width) - 1) }
    }

    #[cold]
    fn last(&self, byte: usize) -> u64 {
        let rest = self.bytes.get(byte..).unwrap_or_default();
        rest.iter().take(8).enumerate().fold(0, |value, (index, byte)| value | u64::from(*byte) << (8 * index))
    }

    pub fn varint(&mut self) -> u64 {
        self.align();
        let (mut value, mut shift) = (0_u64, 0_u32);
        while shift < 64 {
            let byte = self.bytes.get(self.at >> 3).copied().unwrap_or_default();
            self.at += 8;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
        value
    }

    pub fn byte(&mut self) -> u8 {
        self.align();
        self.bits(8) as u8
    }

    pub fn align(&mut self) {
        self.at = self.at.next_multiple_of(8);
    }

    /// A reader that starts this many bytes after the next whole byte; this one goes on behind them.
    pub fn split(&mut self, bytes: usize) -> Self {
        self.align();
        let other = *self;
        self.at += bytes * 8;
        other
    }
}

/// How many bits a number needs.
pub(super) fn width(value: u64) -> u32 {
    64 - value.leading_zeros()
}

/// How many bytes [`Writer::varint`] takes.
pub(super) fn varint_len(value: u64) -> usize {
    (width(value | 1) as usize).div_ceil(7)
}

/// Small numbers of either sign as small numbers.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(items in proptest::collection::vec((any::<u64>(), 0..=64_u32, any::<bool>()), 0..40)) {
            let mut writer = Writer::default();
            for (value, width, whole) in &items {
                if *whole { writer.varint(*value) } else { writer.bits(*value, *width) }
            }
            let mut reader = Reader::new(&writer.bytes);
            for (value, width, whole) in &items {
                if *whole {
                    prop_assert_eq!(reader.varint(), *value);
                } else {
                    let mask = if *width == 64 { u64::MAX } else { (1 << width) - 1 };
                    prop_assert_eq!(reader.bits(*width), value & mask);
                }
            }
        }

        #[test]
        fn zigzag_goes_back_and_its_length_is_told(value in any::<i64>()) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
            let mut writer = Writer::default();
            writer.varint(zigzag(value));
            prop_assert_eq!(writer.bytes.len(), varint_len(zigzag(value)));
        }
    }
}
