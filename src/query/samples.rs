//! Raw samples as they came from a source: plain pairs, or compressed chunks that are decoded while they are walked.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The series that says whether a target could be scraped.
pub const UP: &str = "up";
/// The series that says when the process of a target began.
pub const PROCESS_START: &str = "process_start_time_seconds";

/// Samples of one raw series in time order.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    pairs: Vec<(i64, f64)>,
    /// Start timestamps, as `(from this sample on, milliseconds; the counter began at, milliseconds)`. One entry for each
    /// change, because a counter begins anew seldom; empty where the source stores none.
    starts: Vec<(i64, Option<i64>)>,
}

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
        Samples { pairs, starts: Vec::new() }
    }

    /// The same for samples that carry the moment at which their counter began: `(milliseconds, value, start in
    /// milliseconds)`.
    pub fn with_starts(mut samples: Vec<(i64, f64, Option<i64>)>) -> Self {
        samples.sort_by_key(|&(at, ..)| at);
        let mut starts: Vec<(i64, Option<i64>)> = Vec::new();
        for &(at, _, start) in &samples {
            // Of equal times the last one stays, here as in `new`.
            starts.pop_if(|&mut (before, _)| before == at);
            if starts.last().map_or(start.is_some(), |&(_, before)| before != start) {
                starts.push((at, start));
            }
        }
        let pairs = samples.into_iter().map(|(at, value, _)| (at, value)).collect();
        Samples { starts, ..Samples::new(pairs) }
    }

    /// When the counter of the sample at `at_ms` began, milliseconds, as the source itself stores it (a start or
    /// "created" timestamp): the strongest evidence of births and restarts there is. `None` where it does not say.
    pub fn start_ms(&self, at_ms: i64) -> Option<i64> {
        let after = self.starts.partition_point(|&(from, _)| from <= at_ms);
        self.starts[..after].last().and_then(|&(_, start)| start)
    }

    /// `(milliseconds since the epoch, value)` in time order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (i64, f64)> + '_ {
        self.pairs.iter().copied()
    }

    /// The same, all at once.
    pub fn as_slice(&self) -> &[(i64, f64)] {
        &self.pairs
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

/// All labels of a raw series in name order, `__name__` among them, and the key by which its cursor is found. Of a large fleet
/// making that key is much of what a poll costs, so it is made once; and a source gives the same label set out again.
#[derive(Clone, Default)]
pub struct RawLabels(Arc<KeyedPairs>);

#[derive(Default)]
struct KeyedPairs {
    key: u128,
    pairs: Box<[(String, String)]>,
}

impl RawLabels {
    /// The key of the label set.
    pub(super) fn key(&self) -> u128 {
        self.0.key
    }
}

impl From<Vec<(String, String)>> for RawLabels {
    /// Takes pairs in name order.
    fn from(pairs: Vec<(String, String)>) -> Self {
        RawLabels(Arc::new(KeyedPairs { key: key_of(&pairs), pairs: pairs.into() }))
    }
}

impl FromIterator<(String, String)> for RawLabels {
    /// Takes pairs in name order.
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        pairs.into_iter().collect::<Vec<_>>().into()
    }
}

impl Deref for RawLabels {
    type Target = [(String, String)];

    fn deref(&self) -> &Self::Target {
        &self.0.pairs
    }
}

impl<'a> IntoIterator for &'a RawLabels {
    type Item = &'a (String, String);
    type IntoIter = std::slice::Iter<'a, (String, String)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for RawLabels {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for RawLabels {}

impl PartialOrd for RawLabels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RawLabels {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl fmt::Debug for RawLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Label sets that came lately, so that an answer that brings them again allocates nothing for them. What was not there in
/// two rounds of lookups is forgotten.
#[derive(Debug, Default)]
pub struct LabelSets {
    newer: HashMap<u128, RawLabels>,
    older: HashMap<u128, RawLabels>,
    /// Lookups since the older ones were forgotten.
    lookups: usize,
}

/// A round is so many lookups for each label set that is known, and this many more.
const LOOKUPS_EACH: usize = 8;
const LOOKUPS_MORE: usize = 10_000;

impl LabelSets {
    /// The label set of these pairs, which are in name order.
    pub fn of(&mut self, pairs: &[(Cow<'_, str>, Cow<'_, str>)]) -> RawLabels {
        self.lookups += 1;
        if self.lookups > LOOKUPS_EACH * self.newer.len() + LOOKUPS_MORE {
            (self.older, self.lookups) = (std::mem::take(&mut self.newer), 0);
        }
        let key = key_of_pairs(pairs.iter().map(|(name, value)| (&**name, &**value)));
        if let Some(known) = self.newer.get(&key) {
            return known.clone();
        }
        let owned = || pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let labels = self.older.remove(&key).unwrap_or_else(|| RawLabels(Arc::new(KeyedPairs { key, pairs: owned() })));
        self.newer.insert(key, labels.clone());
        labels
    }
}

/// One raw series of an answer.
#[derive(Debug, Clone)]
pub struct RawSeries {
    /// All labels in name order, `__name__` among them.
    pub labels: RawLabels,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs<'a>(labels: &[(&'a str, &'a str)]) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
        labels.iter().map(|&(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn a_label_set_that_comes_again_is_the_same_one() {
        let mut sets = LabelSets::default();
        let first = sets.of(&pairs(&[("__name__", "m"), ("a", "1")]));
        let other = sets.of(&pairs(&[("__name__", "m"), ("a", "2")]));
        let again = sets.of(&pairs(&[("__name__", "m"), ("a", "1")]));
        assert!(Arc::ptr_eq(&first.0, &again.0) && first != other && first < other);
        let owned = RawLabels::from(vec![("__name__".to_owned(), "m".to_owned()), ("a".to_owned(), "1".to_owned())]);
        assert_eq!((first.key(), &first), (owned.key(), &owned), "whoever made it");
        assert_eq!(first.key(), key_of(&owned));
    }

    #[test]
    fn label_sets_that_come_no_more_are_forgotten() {
        let mut sets = LabelSets::default();
        let gone = Arc::downgrade(&sets.of(&pairs(&[("pod", "gone")])).0);
        for _ in 0..3 * LOOKUPS_MORE {
            let stays = sets.of(&pairs(&[("pod", "stays")]));
            assert_eq!(stays[0].1, "stays");
        }
        assert!(gone.upgrade().is_none());
        assert_eq!(sets.newer.len() + sets.older.len(), 1);
    }

    #[test]
    fn a_sample_knows_when_its_counter_began() {
        let samples = Samples::with_starts(vec![
            (60, 3.0, Some(5)),
            (10, 1.0, None),
            (30, 2.0, Some(5)),
            (90, 0.0, None),
            (90, 1.0, Some(80)),
            (120, 2.0, None),
        ]);
        assert_eq!(samples.as_slice(), [(10, 1.0), (30, 2.0), (60, 3.0), (90, 1.0), (120, 2.0)]);
        let starts: Vec<_> = samples.iter().map(|(at, _)| samples.start_ms(at)).collect();
        assert_eq!(starts, [None, Some(5), Some(5), Some(80), None]);
        assert_eq!(samples.start_ms(5), None);
        assert_eq!(Samples::new(vec![(10, 1.0)]).start_ms(10), None);
    }
}
