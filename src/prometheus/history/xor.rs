//! Prometheus' XOR chunk: delta-of-delta times and XORed values (Gorilla, VLDB 2015; `tsdb/chunkenc/xor.go`).

use super::bits::{Bits, Difference};

/// Calls `sample(milliseconds, value)` for each sample of a chunk. `None` when the bytes are no XOR chunk.
pub(super) fn decode(chunk: &[u8], mut sample: impl FnMut(i64, f64)) -> Option<()> {
    let (head, body) = chunk.split_first_chunk::<2>()?;
    let mut bits = Bits::new(body);
    let (mut time, mut delta, mut value) = (0i64, 0i64, 0u64);
    let mut difference = Difference::default();
    for index in 0..u16::from_be_bytes(*head) {
        if index == 0 {
            time = bits.varint()?;
            value = bits.take(64)?;
        } else {
            delta = match index {
                1 => i64::try_from(bits.uvarint()?).ok()?,
                _ => delta.checked_add(delta_of_delta(&mut bits)?)?,
            };
            time = time.checked_add(delta)?;
            value ^= match bits.ones(2)? {
                0 => 0,
                1 => difference.again(&mut bits)?,
                _ => difference.placed(&mut bits)?,
            };
        }
        sample(time, f64::from_bits(value));
    }
    Some(())
}

fn delta_of_delta(bits: &mut Bits<'_>) -> Option<i64> {
    match bits.ones(4)? {
        0 => Some(0),
        1 => bits.shifted(14),
        2 => bits.shifted(17),
        3 => bits.shifted(20),
        _ => bits.shifted(64),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::demo::prometheus::chunk::xor;

    proptest! {
        #[test]
        fn what_was_written_is_read(steps in prop::collection::vec((0i64..2_000_000, any::<f64>()), 0..130), start in -1i64<<40..1i64<<42) {
            let mut time = start;
            let samples: Vec<(i64, f64)> = steps.into_iter().map(|(dt, v)| { time += dt; (time, v) }).collect();
            let mut read = Vec::new();
            prop_assert_eq!(decode(&xor(&samples), |at, v| read.push((at, v.to_bits()))), Some(()));
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
