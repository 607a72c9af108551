//! Chunks of samples: which encoding one has, and its samples.
//!
//! Prometheus sends chunks as it stores them, without asking whether the reader knows the encoding. One that is not
//! known is a fault: a history that silently lacks it looks like a history in which nothing went wrong.

use super::super::fault::Fault;
use super::{xor, xor2};

/// How samples are encoded (`prompb.Chunk.Encoding`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Floats.
    Xor,
    /// Floats with start timestamps.
    Xor2,
}

impl Encoding {
    /// The encoding of a number on the wire; `None` for native histograms, which no counter is read from.
    ///
    /// # Errors
    /// A number that is not known: what such a chunk holds may be just what is looked for.
    pub fn of(number: i32) -> Result<Option<Self>, Fault> {
        match number {
            1 => Ok(Some(Encoding::Xor)),
            4 => Ok(Some(Encoding::Xor2)),
            // Histograms and float histograms, and both with start timestamps.
            2 | 3 | 5 | 6 => Ok(None),
            unknown => Err(Fault::NotAnAnswer(format!("remote read: chunks of the unknown encoding {unknown}"))),
        }
    }
}

/// Samples of one series, still encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Time of the first sample, milliseconds.
    pub min_time_ms: i64,
    /// Time of the last one.
    pub max_time_ms: i64,
    /// How they are encoded.
    pub encoding: Encoding,
    /// The bytes.
    pub data: Vec<u8>,
}

impl Chunk {
    /// Calls `sample(milliseconds, value, start in milliseconds)` for each sample but stale markers, which end a series
    /// and are no values.
    ///
    /// # Errors
    /// Bytes that are no such chunk.
    pub fn decode(&self, mut sample: impl FnMut(i64, f64, Option<i64>)) -> Result<(), Fault> {
        let (mut last_ms, mut in_order) = (i64::MIN, true);
        let mut sample = |at_ms: i64, value: f64, start_ms: Option<i64>| {
            // Bytes of another encoding may well be read as samples, but not as those that the chunk says it holds.
            in_order &= at_ms > last_ms && (self.min_time_ms..=self.max_time_ms).contains(&at_ms);
            last_ms = at_ms;
            if in_order && value.to_bits() != xor2::STALE {
                sample(at_ms, value, start_ms);
            }
        };
        let read = match self.encoding {
            Encoding::Xor => xor::decode(&self.data, |at_ms, value| sample(at_ms, value, None)),
            Encoding::Xor2 => xor2::decode(&self.data, &mut sample),
        };
        read.filter(|()| in_order).ok_or_else(|| Fault::NotAnAnswer("remote read: a chunk is damaged".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_be_a_histogram_is_left_out() {
        let of = |numbers: &[i32]| numbers.iter().map(|&n| Encoding::of(n)).collect::<Vec<_>>();
        assert_eq!(of(&[1, 4]), [Ok(Some(Encoding::Xor)), Ok(Some(Encoding::Xor2))]);
        assert!(of(&[2, 3, 5, 6]).iter().all(|read| *read == Ok(None)));
        assert!(of(&[0, 7, 8, 100, -1]).iter().all(Result::is_err));
    }

    #[test]
    fn bytes_of_another_encoding_are_a_fault() {
        use crate::demo::prometheus::chunk::{xor, xor2};
        for seed in 0..200i64 {
            let at = |i: i64| 1_700_000_000_000 + seed * 977 + i * 30_000 + (i * seed) % 7;
            let samples: Vec<(i64, f64)> = (0..50 + seed % 70).map(|i| (at(i), (i * i * seed) as f64)).collect();
            let with_starts: Vec<_> = samples.iter().map(|&(at_ms, value)| (at(0) - 5_000, at_ms, value)).collect();
            let max_time_ms = samples.last().expect("samples").0;
            let chunk = |encoding, data| Chunk { min_time_ms: at(0), max_time_ms, encoding, data };
            let read = |chunk: Chunk| chunk.decode(|_, _, _| ());
            assert_eq!(read(chunk(Encoding::Xor, xor(&samples))), Ok(()));
            assert_eq!(read(chunk(Encoding::Xor2, xor2(&with_starts))), Ok(()));
            assert!(read(chunk(Encoding::Xor2, xor(&samples))).is_err(), "{seed}");
            assert!(read(chunk(Encoding::Xor, xor2(&with_starts))).is_err(), "{seed}");
        }
    }

    #[test]
    fn stale_markers_are_no_samples_and_damage_is_a_fault() {
        let stale = f64::from_bits(xor2::STALE);
        let data = crate::demo::prometheus::chunk::xor(&[(1000, 1.0), (2000, stale), (3000, f64::NAN)]);
        let mut chunk = Chunk { min_time_ms: 1000, max_time_ms: 3000, encoding: Encoding::Xor, data };
        let mut times = Vec::new();
        assert_eq!(chunk.decode(|at, _, _| times.push(at)), Ok(()));
        assert_eq!(times, [1000, 3000]);
        chunk.data.truncate(9);
        assert!(chunk.decode(|_, _, _| ()).is_err());
    }
}
