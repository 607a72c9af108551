//! Bits of a chunk, most significant first, and the numbers that Prometheus makes of them (`tsdb/chunkenc`).
//!
//! Every read is `None` at the end of the bytes: a chunk that is cut off never becomes a number.

/// A position in the bytes of a chunk.
#[derive(Debug, Clone)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// Position, bits.
    at: usize,
}

impl<'a> Bits<'a> {
    /// The first bit of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Bits { bytes, at: 0 }
    }

    /// The next `count` bits (64 at most) as a number.
    pub fn take(&mut self, count: u32) -> Option<u64> {
        let mut value = 0u64;
        let mut left = count;
        while left > 0 {
            let byte = u32::from(*self.bytes.get(self.at / 8)?);
            let free = 8 - (self.at % 8) as u32;
            let now = left.min(free);
            let part = (byte >> (free - now)) & ((1 << now) - 1);
            value = (value << now) | u64::from(part);
            self.at += now as usize;
            left -= now;
        }
        Some(value)
    }

    /// How many of the next bits are ones, `most` at most; the zero behind them is taken, too.
    pub fn ones(&mut self, most: u32) -> Option<u32> {
        let mut ones = 0;
        while ones < most && self.take(1)? == 1 {
            ones += 1;
        }
        Some(ones)
    }

    /// A number in groups of seven bits, as protobuf writes it.
    pub fn uvarint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(8)?;
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// The same with a sign (zigzag).
    pub fn varint(&mut self) -> Option<i64> {
        let zigzag = self.uvarint()?;
        Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    /// A number of `count` bits from `-(2^(count-1) - 1)` to `2^(count-1)`: Prometheus' older encodings reach one
    /// further up than two's complement does, and one less down.
    pub fn shifted(&mut self, count: u32) -> Option<i64> {
        let raw = self.take(count)? as i64;
        Some(if count < 64 && raw > 1 << (count - 1) { raw - (1 << count) } else { raw })
    }

    /// A number of `count` bits in two's complement.
    pub fn signed(&mut self, count: u32) -> Option<i64> {
        let raw = self.take(count)?;
        Some((raw << (64 - count)) as i64 >> (64 - count))
    }

    /// A number whose length stands before it in ones (`varbit.go`).
    pub fn varbit(&mut self) -> Option<i64> {
        /// Bits of the number, by how many ones stand before it.
        const SIZES: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];
        match SIZES[self.ones(8)? as usize] {
            0 => Some(0),
            size => self.shifted(size),
        }
    }
}

/// The bits of a value that differ from the value before it: where they lie is often where they lay the last time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Difference {
    leading: u32,
    trailing: u32,
}

impl Difference {
    /// Bits at a place of their own, which is remembered.
    pub fn placed(&mut self, bits: &mut Bits<'_>) -> Option<u64> {
        self.leading = bits.take(5)? as u32;
        let significant = match bits.take(6)? as u32 {
            0 => 64,
            bits => bits,
        };
        self.trailing = 64u32.checked_sub(self.leading + significant)?;
        self.again(bits)
    }

    /// Bits at the remembered place.
    pub fn again(self, bits: &mut Bits<'_>) -> Option<u64> {
        Some(bits.take(64 - self.leading - self.trailing)? << self.trailing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_signs_reach_as_far_as_prometheus_says() {
        let of = |byte: u8, count| (Bits::new(&[byte]).shifted(count), Bits::new(&[byte]).signed(count));
        assert_eq!(of(0b1000_0000, 3), (Some(4), Some(-4)));
        assert_eq!(of(0b1010_0000, 3), (Some(-3), Some(-3)));
        assert_eq!(of(0b0110_0000, 3), (Some(3), Some(3)));
        assert_eq!(Bits::new(&[0xff; 8]).signed(64), Some(-1));
        assert_eq!(Bits::new(&[0x80, 0]).shifted(64), None);
    }

    #[test]
    fn a_varbit_says_how_long_it_is() {
        assert_eq!(Bits::new(&[0b0000_0000]).varbit(), Some(0));
        assert_eq!(Bits::new(&[0b1010_1000]).varbit(), Some(-3));
        assert_eq!(Bits::new(&[0xff, 0, 0, 0, 0, 0, 0, 1, 2]).varbit(), Some(258));
        assert_eq!(Bits::new(&[0b1110_0000]).varbit(), None, "cut off");
    }
}
