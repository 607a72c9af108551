//! Prometheus' XOR2 chunk: one control for time and value together, and since when the counter counts
//! (`tsdb/chunkenc/xor2.go`; 3.11 and newer, by configuration).
//!
//! ```text
//! chunk    u16 samples · u8 starts · bits
//! starts   0x80: the first sample has a start · low 7 bits: the sample from which on each carries one (0: none does)
//! sample 0 varint time · 64 bits value · [varint time − start]
//! sample 1 uvarint Δ · V · [varbit time of sample 0 − start]
//! sample n 0 same Δ, same value · 10 same Δ, N · 110+13, 1110+20, 11110+64 change of Δ, V · 11111 same Δ, stale
//!          [varbit]: at the first start the time of the sample before − start, later the change of that
//! V        0 same · 10 bits where they were · 110 bits at a new place · 111 stale
//! N        0 bits where they were · 1 bits at a new place
//! ```
//! A stale marker is no value: what comes next differs from the last one that was.

use super::bits::{Bits, Difference};

/// What ends a series (`model/value.StaleNaN`).
pub(super) const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Calls `sample(milliseconds, value, start in milliseconds)` for each sample of a chunk; a start of 0 is none. `None`
/// when the bytes are no XOR2 chunk.
pub(super) fn decode(chunk: &[u8], mut sample: impl FnMut(i64, f64, Option<i64>)) -> Option<()> {
    let (&[high, low, starts], body) = chunk.split_first_chunk::<3>()?;
    let mut bits = Bits::new(body);
    let starts_from = u16::from(starts & 0x7f);
    let mut values = ChunkValues::default();
    let (mut time, mut delta, mut start, mut age) = (0i64, 0i64, 0i64, 0i64);
    for index in 0..u16::from_be_bytes([high, low]) {
        let before = time;
        let value = match index {
            0 => {
                time = bits.varint()?;
                let value = values.take(bits.take(64)?);
                if starts & 0x80 != 0 {
                    start = time.checked_sub(bits.varint()?)?;
                }
                value
            }
            1 => {
                delta = i64::try_from(bits.uvarint()?).ok()?;
                values.any(&mut bits)?
            }
            _ => {
                let (change, value) = values.with_time(&mut bits)?;
                delta = delta.checked_add(change)?;
                value
            }
        };
        if index > 0 {
            time = before.checked_add(delta)?;
        }
        if starts_from > 0 && index >= starts_from {
            let read = bits.varbit()?;
            age = if index == starts_from { read } else { age.checked_add(read)? };
            start = before.checked_sub(age)?;
        }
        sample(time, f64::from_bits(value), (start != 0).then_some(start));
    }
    Some(())
}

/// The values of a chunk, each as what differs from the one before it.
#[derive(Default)]
struct ChunkValues {
    /// The last value that was no stale marker.
    last: u64,
    difference: Difference,
}

impl ChunkValues {
    fn take(&mut self, value: u64) -> u64 {
        if value != STALE {
            self.last = value;
        }
        value
    }

    /// The change of the time between samples, and a value.
    fn with_time(&mut self, bits: &mut Bits<'_>) -> Option<(i64, u64)> {
        let change = match bits.ones(5)? {
            0 => return Some((0, self.last)),
            1 => return Some((0, self.other(bits)?)),
            2 => bits.signed(13)?,
            3 => bits.signed(20)?,
            4 => bits.signed(64)?,
            _ => return Some((0, STALE)),
        };
        Some((change, self.any(bits)?))
    }

    /// `V` of the format.
    fn any(&mut self, bits: &mut Bits<'_>) -> Option<u64> {
        match bits.ones(3)? {
            0 => Some(self.last),
            1 => Some(self.differing(self.difference.again(bits)?)),
            2 => {
                let by = self.difference.placed(bits)?;
                Some(self.differing(by))
            }
            _ => Some(STALE),
        }
    }

    /// `N` of the format.
    fn other(&mut self, bits: &mut Bits<'_>) -> Option<u64> {
        let by = match bits.take(1)? {
            0 => self.difference.again(bits)?,
            _ => self.difference.placed(bits)?,
        };
        Some(self.differing(by))
    }

    fn differing(&mut self, by: u64) -> u64 {
        self.last ^= by;
        self.last
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::demo::prometheus::chunk::xor2;

    /// Samples as (start, time, value); a start of 0 is none.
    type Samples = Vec<(i64, i64, f64)>;

    fn read(chunk: &[u8]) -> Option<Vec<(i64, i64, u64)>> {
        let mut read = Vec::new();
        decode(chunk, |at, value, start| read.push((start.unwrap_or(0), at, value.to_bits()))).map(|()| read)
    }

    fn bits(samples: &Samples) -> Vec<(i64, i64, u64)> {
        samples.iter().map(|&(start, at, value)| (start, at, value.to_bits())).collect()
    }

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect()
    }

    #[test]
    fn golden_bytes_are_read_and_written() {
        let stale = f64::from_bits(STALE);
        let cases: [(&str, Samples); 2] = [
            (
                "000600d00f3ff0000000000000e8076000e097ffeb01fc",
                vec![(0, 1000, 1.0), (0, 2000, 1.0), (0, 3001, 2.0), (0, 4002, 3.0), (0, 5003, stale), (0, 6004, 3.0)],
            ),
            (
                "000401d00f3ff0000000000000e807c12ffff192001f1f47009c45ffbd3800",
                vec![(0, 1000, 1.0), (900, 2000, 2.0), (900, 3000, 4.0), (3500, 9000, 1.0)],
            ),
        ];
        for (hex, samples) in cases {
            assert_eq!(read(&bytes(hex)), Some(bits(&samples)), "{hex}");
            assert_eq!(xor2(&samples), bytes(hex), "{hex}");
        }
    }

    #[test]
    fn a_counter_that_begins_anew_late_in_a_chunk_is_read() {
        // Prometheus writes starts from sample 127 on whether they change or not: the header has seven bits for it.
        for change_at in [1, 2, 126, 127, 128, 199, 500] {
            let samples: Samples = (0..200)
                .map(|i| (if i < change_at { 7 } else { 1000 * i }, 30_000 * i + 1000, (i % 50) as f64))
                .collect();
            assert_eq!(read(&xor2(&samples)), Some(bits(&samples)), "{change_at}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            steps in prop::collection::vec((prop_oneof![Just(30_000i64), 29_990i64..30_010, 0i64..20_000_000], prop_oneof![
                4 => (0u32..50).prop_map(f64::from),
                2 => any::<f64>(),
                1 => Just(f64::from_bits(STALE)),
            ], prop_oneof![6 => Just(None), 1 => (0i64..1i64<<41).prop_map(Some)]), 0..260),
            begin in -1i64<<40..1i64<<42,
            first in prop_oneof![Just(0i64), 1i64..1i64<<41],
        ) {
            let (mut time, mut start) = (begin, first);
            let samples: Samples = steps
                .into_iter()
                .map(|(dt, value, anew)| {
                    time += dt;
                    start = anew.unwrap_or(start);
                    (start, time, value)
                })
                .collect();
            prop_assert_eq!(read(&xor2(&samples)), Some(bits(&samples)));
        }

        #[test]
        fn any_bytes_are_bounded_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut samples = 0;
            let _ = decode(&bytes, |_, _, _| samples += 1);
            prop_assert!(samples <= usize::from(u16::MAX));
        }

        #[test]
        fn a_chunk_that_is_cut_off_is_refused(cut in 3usize..1000) {
            let samples: Samples = (0..100).map(|i| (900 * i, 30_000 * i, (i * i) as f64)).collect();
            let whole = xor2(&samples);
            prop_assume!(cut < whole.len() - 1);
            prop_assert_eq!(read(&whole[..cut]), None);
        }
    }
}
