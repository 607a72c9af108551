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
