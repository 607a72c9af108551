//! A target all of whose series have another value of a label from one scrape to the next: its labels were changed, or another
//! replica of the same scraper is read from now on. They are the same counters.
//!
//! One series by itself that has another value is another counter: a second status code, a second customer. So it is told by
//! the whole target: what it shows at one moment is all new, and what all of it had in common has another value.
//!
//! Deliberately absent: labels that are added, dropped or have other names, which one series tells by itself. That is `ended`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Tracker;
use super::births::{Birth, Waits};
use super::cursors::Raw;
use super::ended::{Ended, LABELS_CHANGED, LabelHash, is_fixed, is_like};
use super::evidence::TargetEvidence;

/// So many scrapers of one address are told apart.
const SCRAPERS_MAX: usize = 4;
/// So many of one target are remembered, the newest.
const REMEMBERED_MAX: usize = 4;
/// So many names that one series may have had are looked for.
const NAMES_MAX: usize = 8;
/// Of so many targets.
const TARGETS_MAX: usize = 10_000;

/// The labels that have another value, each with the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Turnover(Vec<(LabelHash, LabelHash)>);

impl Turnover {
    /// From what there was to what there is now, if some value of all of it is another one.
    fn between<'a>(
        before: impl Iterator<Item = &'a [LabelHash]>,
        now: impl Iterator<Item = &'a [LabelHash]>,
    ) -> Option<Self> {
        let (before, now) = (common(before)?, common(now)?);
        let new_value = |was: &LabelHash| {
            let place = now.binary_search_by_key(&was.0, |label| label.0).ok()?;
            (now[place] != *was).then_some((*was, now[place]))
        };
        let changed: Vec<_> = before.iter().filter_map(new_value).collect();
        let other = changed.iter().any(|(was, _)| is_fixed(was.0));
        ((1..=LABELS_CHANGED).contains(&changed.len()) && !other).then_some(Turnover(changed))
    }

    /// These labels as they were before; `None` where they are not of what came after.
    fn undone(&self, labels: &[LabelHash]) -> Option<Vec<LabelHash>> {
        swapped(labels, self.0.iter().map(|(was, now)| (now, was)))
    }

    /// Whether these labels have the values that came.
    fn is_done(&self, labels: &[LabelHash]) -> bool {
        self.0.iter().all(|(_, now)| labels.binary_search(now).is_ok())
    }

    /// These labels as they became; `None` where they are not of what was before.
    fn done(&self, labels: &[LabelHash]) -> Option<Vec<LabelHash>> {
        swapped(labels, self.0.iter().map(|(was, now)| (was, now)))
    }
}

/// The labels with other values; `None` where one of them has not the value that it is to have.
fn swapped<'a>(
    labels: &[LabelHash],
    values: impl Iterator<Item = (&'a LabelHash, &'a LabelHash)>,
) -> Option<Vec<LabelHash>> {
    let mut swapped = labels.to_vec();
    for (from, to) in values {
        let place = swapped.binary_search(from).ok()?;
        swapped[place] = *to;
    }
    Some(swapped)
}

/// The labels that all of these have, with the same values.
fn common<'a>(mut of: impl Iterator<Item = &'a [LabelHash]>) -> Option<Vec<LabelHash>> {
    let mut common = of.next()?.to_vec();
    for labels in of {
        common.retain(|label| labels.binary_search(label).is_ok());
    }
    Some(common)
}

/// Whether two label sets differ by the values of a few labels alone.
pub(super) fn has_other_values(older: &[LabelHash], newer: &[LabelHash]) -> bool {
    let same_names = older.len() == newer.len() && older.iter().zip(newer).all(|(older, newer)| older.0 == newer.0);
    same_names
        && (1..=LABELS_CHANGED).contains(&older.iter().zip(newer).filter(|(older, newer)| older != newer).count())
}

impl Tracker {
    /// Remembers which targets were turned over as these births came.
    pub(super) fn note_turnovers(&mut self, evidence: &TargetEvidence, births: &[Birth], ended: &Ended) {
        let mut begun: HashMap<(u32, i64), Vec<u32>> = HashMap::new();
        for birth in births.iter().filter(|birth| birth.waits == Waits::Nothing) {
            if let Some(&id) = self.raw_ids.get(&birth.key) {
                begun.entry((self.raws[id as usize].target, birth.at_ms)).or_default().push(id);
            }
        }
        let labels_of = |id: &u32| self.raws[*id as usize].labels.as_deref();
        let mut found: Vec<(i64, u128, Turnover)> = Vec::new();
        for ((target, at_ms), new) in &begun {
            if evidence.counts_on(*target, *at_ms) {
                continue;
            }
            let last = |id: u32| Some((self.raws[id as usize].last?.at_ms, id));
            let mut older: Vec<(i64, u32)> =
                ended.ids(*target).filter_map(last).filter(|last| last.0 < *at_ms).collect();
            older.sort_unstable_by_key(|(last_ms, id)| (std::cmp::Reverse(*last_ms), *id));
            // The newest may be of another scraper, who comes later. A value that was there since is no new one: a code that was
            // not shown for a while is not what another one became.
            let mut since: Vec<&[LabelHash]> = Vec::new();
            let turnover = older.chunk_by(|a, b| a.0 == b.0).take(SCRAPERS_MAX).find_map(|before| {
                let newer = since.len();
                since.extend(before.iter().filter_map(|(_, id)| labels_of(id)));
                let before = || before.iter().filter_map(|(_, id)| labels_of(id));
                let turnover = Turnover::between(before(), new.iter().filter_map(labels_of))?;
                let was_there = |labels| {
                    turnover.undone(labels).is_some_and(|was| before().any(|old| old == was || is_like(old, &was)))
                };
                let is_new = !since[..newer].iter().any(|labels| turnover.is_done(labels));
                (is_new && new.iter().filter_map(labels_of).any(was_there)).then_some(turnover)
            });
            found.extend(turnover.map(|turnover| (*at_ms, self.targets[*target as usize].key, turnover)));
        }
        found.sort_by_key(|(at_ms, target, _)| (*at_ms, *target));
        for (_, target, turnover) in found {
            if self.turnovers.len() >= TARGETS_MAX && !self.turnovers.contains_key(&target) {
                continue;
            }
            let known = self.turnovers.entry(target).or_default();
            known.retain(|known| *known != turnover);
            known.push(turnover);
            if known.len() > REMEMBERED_MAX {
                known.remove(0);
            }
        }
    }

    /// Whether a target was turned over lately.
    pub(super) fn was_turned_over(&self, target: u32) -> bool {
        self.turnovers.contains_key(&self.targets[target as usize].key)
    }

    /// What a series was called before its target was turned over, once or, while it was hidden, several times: how many labels
    /// changed, and which it was.
    pub(super) fn before_turnover(&self, raw: &Raw, ended: &mut Ended) -> Vec<(usize, u32)> {
        let turnovers = self.turnovers.get(&self.targets[raw.target as usize].key);
        let Some((labels, turnovers)) = raw.labels.as_deref().zip(turnovers) else { return Vec::new() };
        let labels_of = |id: u32| self.raws[id as usize].labels.as_deref();
        let mut names = vec![(0, labels.to_vec())];
        let mut found = Vec::new();
        // Each step gives a name that was not met before, so there are no more names than turnovers allow.
        let mut next = 0;
        while let Some((changed, labels)) = names.get(next).cloned() {
            next += 1;
            for turnover in turnovers {
                for was in [turnover.undone(&labels), turnover.done(&labels)].into_iter().flatten() {
                    if names.len() < NAMES_MAX && names.iter().all(|(_, known)| *known != was) {
                        let changed = changed + turnover.0.len();
                        found.extend(ended.same(labels_of, raw.target, &was).into_iter().map(|id| (changed, id)));
                        let like = ended.like(labels_of, raw.target, &was);
                        found.extend(like.into_iter().map(|(more, id)| (changed + more, id)));
                        names.push((changed, was));
                    }
                }
            }
        }
        found
    }
}
