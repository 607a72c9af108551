//! Series that ended, by what their labels have in common with those that begin: which of them a new one may go on from.
//!
//! A relabelling changes all series of a target at once, so nothing here compares each with each. Which *names* two label
//! sets have in common is the same for all series of a metric; those that begin are then looked up by the values of the
//! names they share, in a table that is made once for each such pair of name sets.
//!
//! Deliberately absent: whether the older series really ended, and whether the step is possible. That is `births`.

use std::collections::HashMap;

/// Labels that may be added, dropped or renamed at once.
pub(super) const LABELS_CHANGED: usize = 3;
/// Where labels were renamed and others added or dropped at once, so many series are compared one by one at most.
const COMPARED_MAX: usize = 64;

/// Name and value of a label, hashed.
pub(super) type LabelHash = (u32, u32);

/// The labels of a raw series and what else tells its cursor from others, to compare them with those of another.
pub(super) fn label_hashes(labels: &[(String, String)], bound: u128) -> Box<[LabelHash]> {
    let own = labels.iter().filter(|(name, _)| name != "le").map(|(name, value)| (hash(name), hash(value)));
    let mut hashes: Vec<LabelHash> = own.chain([(hash("le"), bound as u32)]).collect();
    hashes.sort_unstable();
    hashes.into_boxed_slice()
}

/// Names and values are compared by their hashes.
const fn hash(text: &str) -> u32 {
    let (text, mut place, mut hash) = (text.as_bytes(), 0, 0x811c_9dc5_u32);
    while place < text.len() {
        hash = (hash ^ text[place] as u32).wrapping_mul(0x0100_0193);
        place += 1;
    }
    hash
}

/// Whether a label says what is counted, and not of whom.
pub(super) fn is_fixed(name: u32) -> bool {
    const FIXED: [u32; 2] = [hash("__name__"), hash("le")];
    FIXED.contains(&name)
}

/// What two sets of names do not have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct NameChange {
    dropped: Vec<u32>,
    added: Vec<u32>,
}

/// Series of one target whose labels have the same names.
#[derive(Debug)]
struct SameNames {
    names: Vec<u32>,
    ids: Vec<u32>,
    /// By change: the series by the values that stay.
    tables: HashMap<NameChange, HashMap<Vec<u32>, Vec<u32>>>,
}

/// Series of some targets, to look up which of them a new one may go on from.
#[derive(Debug, Default)]
pub(super) struct Ended {
    by_target: HashMap<u32, Vec<SameNames>>,
}

impl SameNames {
    /// Its series by the values that stay.
    fn table<'a>(
        &mut self,
        change: NameChange,
        labels_of: impl Fn(u32) -> Option<&'a [LabelHash]>,
    ) -> &HashMap<Vec<u32>, Vec<u32>> {
        let ids = &self.ids;
        self.tables.entry(change).or_insert_with_key(|change| {
            let mut table: HashMap<Vec<u32>, Vec<u32>> = HashMap::new();
            for &id in ids {
                if let Some(labels) = labels_of(id) {
                    table.entry(common(labels, &change.dropped, change.is_renamed())).or_default().push(id);
                }
            }
            table
        })
    }
}

impl Ended {
    /// Takes a series that may have ended.
    pub fn insert(&mut self, target: u32, id: u32, labels: &[LabelHash]) {
        let of = self.by_target.entry(target).or_default();
        let same = |known: &SameNames| known.names.iter().eq(labels.iter().map(|(name, _)| name));
        match of.iter_mut().find(|known| same(known)) {
            Some(known) => known.ids.push(id),
            None => of.push(SameNames {
                names: labels.iter().map(|&(name, _)| name).collect(),
                ids: vec![id],
                tables: HashMap::new(),
            }),
        }
    }

    /// The series of a target.
    pub fn ids(&self, target: u32) -> impl Iterator<Item = u32> + '_ {
        self.by_target.get(&target).into_iter().flatten().flat_map(|known| known.ids.iter().copied())
    }

    /// The series of a target that have just these labels.
    pub fn same<'a>(
        &mut self,
        labels_of: impl Fn(u32) -> Option<&'a [LabelHash]>,
        target: u32,
        labels: &[LabelHash],
    ) -> Vec<u32> {
        let names = || labels.iter().map(|(name, _)| name);
        let of_names = |known: &&mut SameNames| known.names.iter().eq(names());
        let Some(known) = self.by_target.get_mut(&target).and_then(|known| known.iter_mut().find(of_names)) else {
            return Vec::new();
        };
        let unchanged = NameChange { dropped: Vec::new(), added: Vec::new() };
        known.table(unchanged, labels_of).get(&common(labels, &[], false)).cloned().unwrap_or_default()
    }

    /// The series of a target whose labels are those of `labels` but for some that were added, dropped or renamed: how
    /// many, and which.
    pub fn like<'a>(
        &mut self,
        labels_of: impl Fn(u32) -> Option<&'a [LabelHash]>,
        target: u32,
        labels: &[LabelHash],
    ) -> Vec<(usize, u32)> {
        let mut found = Vec::new();
        for known in self.by_target.get_mut(&target).into_iter().flatten() {
            let Some(change) = NameChange::between(&known.names, labels) else { continue };
            let count = change.dropped.len().max(change.added.len());
            let wanted = common(labels, &change.added, change.is_renamed());
            let uneven = change.clone();
            let table = known.table(change, &labels_of);
            let same = table.get(&wanted).map_or(&[][..], Vec::as_slice);
            if !uneven.is_uneven() {
                found.extend(same.iter().map(|&id| (count, id)));
            } else if same.len() <= COMPARED_MAX {
                let moved = moved(labels, &uneven.added);
                let goes_on = |id: &&u32| {
                    labels_of(**id).is_some_and(|older| one_in_other(&moved, &self::moved(older, &uneven.dropped)))
                };
                found.extend(same.iter().filter(goes_on).map(|&id| (count, id)));
            }
        }
        found
    }
}

/// Whether two label sets can be those of one series that has another name.
pub(super) fn is_like(older: &[LabelHash], newer: &[LabelHash]) -> bool {
    let names: Vec<u32> = older.iter().map(|label| label.0).collect();
    let Some(change) = NameChange::between(&names, newer) else { return false };
    let renamed = change.is_renamed();
    common(newer, &change.added, renamed) == common(older, &change.dropped, renamed)
}

impl NameChange {
    /// As many have other names.
    fn is_renamed(&self) -> bool {
        !self.dropped.is_empty() && self.dropped.len() == self.added.len()
    }

    /// Some have other names, and others were added or dropped.
    fn is_uneven(&self) -> bool {
        !self.dropped.is_empty() && !self.added.is_empty() && !self.is_renamed()
    }

    /// From names to those of `labels`; `None` where the two are of different series.
    fn between(names: &[u32], labels: &[LabelHash]) -> Option<NameChange> {
        let dropped: Vec<u32> =
            names.iter().filter(|name| labels.binary_search_by_key(name, |label| &label.0).is_err()).copied().collect();
        let added: Vec<u32> =
            labels.iter().map(|label| label.0).filter(|name| names.binary_search(name).is_err()).collect();
        let count = dropped.len().max(added.len());
        let other = dropped.iter().chain(&added).any(|&name| is_fixed(name));
        ((1..=LABELS_CHANGED).contains(&count) && !other).then_some(NameChange { dropped, added })
    }
}

/// What two series have to have in common: the values of the labels that stay, and where labels have other names theirs,
/// in any order.
fn common(labels: &[LabelHash], changed: &[u32], renamed: bool) -> Vec<u32> {
    let (moved, stays): (Vec<&LabelHash>, Vec<&LabelHash>) =
        labels.iter().partition(|(name, _)| changed.contains(name));
    let mut values: Vec<u32> = stays.into_iter().map(|label| label.1).collect();
    if renamed {
        let mut moved: Vec<u32> = moved.into_iter().map(|label| label.1).collect();
        moved.sort_unstable();
        values.extend(moved);
    }
    values
}

/// The values of these labels, ascending.
fn moved(labels: &[LabelHash], changed: &[u32]) -> Vec<u32> {
    let mut values: Vec<u32> = labels.iter().filter(|(name, _)| changed.contains(name)).map(|label| label.1).collect();
    values.sort_unstable();
    values
}

/// Whether the values of the shorter list are all in the longer one, each as often.
fn one_in_other(a: &[u32], b: &[u32]) -> bool {
    let (short, mut long) = if a.len() <= b.len() { (a, b.iter()) } else { (b, a.iter()) };
    short.iter().all(|value| long.any(|other| other == value))
}
