//! Raw samples as they came from a source: plain pairs, or compressed chunks that are decoded while they are walked.

/// Samples of one raw series in time order.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<(i64, f64)>);

impl Samples {
    /// Takes samples in any order; they are sorted by time, of equal times the last one stays.
    pub fn new(mut pairs: Vec<(i64, f64)>) -> Self {
        if !pairs.is_sorted_by_key(|&(at, _)| at) {
            pairs.sort_by_key(|&(at, _)| at);
        }
        pairs.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 = later.1;
            }
            same
        });
        Samples(pairs)
    }

    /// `(milliseconds since the epoch, value)` in time order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (i64, f64)> + '_ {
        self.0.iter().copied()
    }

    /// The same, all at once.
    pub fn as_slice(&self) -> &[(i64, f64)] {
        &self.0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One raw series of an answer.
#[derive(Debug, Clone)]
pub struct RawSeries {
    /// All labels in name order, `__name__` among them.
    pub labels: Vec<(String, String)>,
    /// Its samples.
    pub samples: Samples,
}

impl RawSeries {
    /// The value of a label, "" where it is absent.
    pub fn label(&self, name: &str) -> &str {
        label_of(&self.labels, name)
    }
}

/// The value of `name` in sorted labels, "" where it is absent.
pub fn label_of<'a>(labels: &'a [(String, String)], name: &str) -> &'a str {
    labels.binary_search_by(|(n, _)| n.as_str().cmp(name)).map_or("", |i| labels[i].1.as_str())
}

/// A stable 128-bit key of a label set (FNV-1a): the same in every version and on every machine, because it is stored.
pub(super) fn key_of(labels: &[(String, String)]) -> u128 {
    key_of_pairs(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

pub(super) fn key_of_pairs<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> u128 {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let mut eat = |bytes: &[u8]| {
        for &byte in bytes.iter().chain(&[0xff]) {
            hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    };
    for (name, value) in labels {
        eat(name.as_bytes());
        eat(value.as_bytes());
    }
    hash
}
