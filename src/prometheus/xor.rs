//! Prometheus' XOR chunk: delta-of-delta times and XORed values (Gorilla, VLDB 2015; `tsdb/chunkenc/xor.go`).

/// Calls `sample(milliseconds, value)` for each sample of a chunk. `None` when the bytes are no XOR chunk.
pub fn decode(chunk: &[u8], mut sample: impl FnMut(i64, f64)) -> Option<()> {
    let (head, body) = chunk.split_first_chunk::<2>()?;
    let count = u16::from_be_bytes(*head);
    let mut bits = Bits { bytes: body, at: 0 };
    let (mut time, mut delta, mut value) = (0i64, 0i64, 0u64);
    let (mut leading, mut trailing) = (0u32, 0u32);
    for index in 0..count {
        if index == 0 {
            time = bits.varint()?;
            value = bits.take(64)?;
        } else {
            if index == 1 {
                delta = i64::try_from(bits.uvarint()?).ok()?;
            } else {
                delta = delta.checked_add(bits.delta_of_delta()?)?;
            }
            time = time.checked_add(delta)?;
            value ^= bits.xor(&mut leading, &mut trailing)?;
        }
        sample(time, f64::from_bits(value));
    }
    Some(())
}

struct Bits<'a> {
    bytes: &'a [u8],
    /// Position, bits.
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> Option<u64> {
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

    fn uvarint(&mut self) -> Option<u64> {
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

    fn varint(&mut self) -> Option<i64> {
        let zigzag = self.uvarint()?;
        Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    fn delta_of_delta(&mut self) -> Option<i64> {
        let mut ones = 0;
        while ones < 4 && self.take(1)? == 1 {
            ones += 1;
        }
        let size = match ones {
            0 => return Some(0),
            1 => 14,
            2 => 17,
            3 => 20,
            _ => return Some(self.take(64)? as i64),
        };
        let raw = self.take(size)? as i64;
        Some(if raw > 1 << (size - 1) { raw - (1 << size) } else { raw })
    }

    fn xor(&mut self, leading: &mut u32, trailing: &mut u32) -> Option<u64> {
        if self.take(1)? == 0 {
            return Some(0);
        }
        if self.take(1)? == 1 {
            *leading = self.take(5)? as u32;
            let significant = match self.take(6)? as u32 {
                0 => 64,
                bits => bits,
            };
            *trailing = 64u32.checked_sub(*leading + significant)?;
        }
        let significant = 64 - *leading - *trailing;
        Some(self.take(significant)? << *trailing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A writer of the same format, for the tests only.
    #[derive(Default)]
    struct Writer {
        bytes: Vec<u8>,
        free: u32,
    }

    impl Writer {
        fn put(&mut self, value: u64, count: u32) {
            for bit in (0..count).rev() {
                if self.free == 0 {
                    self.bytes.push(0);
                    self.free = 8;
                }
                self.free -= 1;
                *self.bytes.last_mut().expect("just pushed") |= (((value >> bit) & 1) as u8) << self.free;
            }
        }

        fn uvarint(&mut self, mut value: u64) {
            while value >= 0x80 {
                self.put((value & 0x7f) | 0x80, 8);
                value >>= 7;
            }
            self.put(value, 8);
        }
    }

    fn encode(samples: &[(i64, f64)]) -> Vec<u8> {
        let mut w = Writer::default();
        let (mut last, mut delta) = ((0i64, 0u64), 0i64);
        for (i, &(time, value)) in samples.iter().enumerate() {
            let value = value.to_bits();
            if i == 0 {
                w.uvarint(((time << 1) ^ (time >> 63)) as u64);
                w.put(value, 64);
            } else {
                let new_delta = time - last.0;
                if i == 1 {
                    w.uvarint(new_delta as u64);
                } else {
                    match new_delta - delta {
                        0 => w.put(0, 1),
                        d if (-8191..=8192).contains(&d) => (w.put(0b10, 2), w.put(d as u64, 14)).0,
                        d if (-65535..=65536).contains(&d) => (w.put(0b110, 3), w.put(d as u64, 17)).0,
                        d if (-524_287..=524_288).contains(&d) => (w.put(0b1110, 4), w.put(d as u64, 20)).0,
                        d => (w.put(0b1111, 4), w.put(d as u64, 64)).0,
                    }
                }
                delta = new_delta;
                match value ^ last.1 {
                    0 => w.put(0, 1),
                    xor => {
                        let leading = xor.leading_zeros().min(31);
                        let significant = 64 - leading - xor.trailing_zeros();
                        w.put(0b11, 2);
                        w.put(u64::from(leading), 5);
                        w.put(u64::from(significant % 64), 6);
                        w.put(xor >> xor.trailing_zeros(), significant);
                    }
                }
            }
            last = (time, value);
        }
        [(samples.len() as u16).to_be_bytes().as_slice(), &w.bytes].concat()
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(steps in prop::collection::vec((0i64..2_000_000, any::<f64>()), 0..130), start in -1i64<<40..1i64<<42) {
            let mut time = start;
            let samples: Vec<(i64, f64)> = steps.into_iter().map(|(dt, v)| { time += dt; (time, v) }).collect();
            let mut read = Vec::new();
            prop_assert_eq!(decode(&encode(&samples), |at, v| read.push((at, v.to_bits()))), Some(()));
            prop_assert_eq!(read, samples.iter().map(|&(at, v)| (at, v.to_bits())).collect::<Vec<_>>());
        }

        #[test]
        fn any_bytes_are_bounded_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut samples = 0;
            let _ = decode(&bytes, |_, _| samples += 1);
            prop_assert!(samples <= usize::from(u16::MAX));
        }
    }
}
