//! By what a birth is judged, as far as the first read after a restart does not show it again: which series ended or are silent
//! and the labels they had, whose labels took other values, how fast totals grew, and who showed a view from before a restart.
//!
//! Deliberately absent: cursors. A file without this, of an earlier version, is read all the same; changes of labels that fall
//! into the restart then set new starts, which is said.

use serde::{Deserialize, Deserializer, Serialize};

use super::Tracker;
use super::cursors::{Asleep, Kind, Raw};
use super::doubt::CounterDoubt;
use super::ended::LabelHash;
use super::pace::Pace;
use super::turnover::Turnover;
use crate::engine::Labels;

/// So many silent or ended series are saved, the newest.
const SAVED_MAX: usize = 20_000;

/// What survives a restart of the past of series.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    silent: Vec<Silent>,
    /// By target.
    turnovers: Vec<(u128, Vec<Turnover>)>,
    /// The newest rates of a series on a target, both by place.
    pub(super) paces: Vec<(u32, u32, Pace)>,
    /// Counters that showed a view from before a restart: when, and the sample before that. Files of earlier versions end
    /// before these.
    #[serde(deserialize_with = "none_where_it_ends")]
    views: Views,
}

/// By key.
type Views = Vec<(u128, (i64, i64))>;

fn none_where_it_ends<'de, D: Deserializer<'de>>(rest: D) -> Result<Views, D::Error> {
    Ok(Views::deserialize(rest).unwrap_or_default())
}

/// A series that ended, or whose next sample is far from its last one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Silent {
    key: u128,
    /// By place.
    target: u32,
    kind: Kind,
    labels: Box<[LabelHash]>,
    ended_ms: Option<i64>,
    gone_after_ms: Option<i64>,
    gone: Option<Asleep>,
}

impl Tracker {
    /// What the first read after a restart does not show, if it begins at `read_again_ms`.
    pub(super) fn lineage(&self, read_again_ms: i64) -> Lineage {
        let newest_ms = |raw: &Raw| raw.last.map(|last| last.at_ms).or(raw.ended_ms);
        let needed = |raw: &&Raw| {
            let shown = raw.last.is_some_and(|last| last.at_ms >= read_again_ms);
            !shown || raw.gone_after_ms.is_some() || raw.gone.is_some()
        };
        let mut raws: Vec<&Raw> = self.raws.iter().filter(needed).filter(|raw| newest_ms(raw).is_some()).collect();
        if raws.len() > SAVED_MAX {
            raws.select_nth_unstable_by_key(SAVED_MAX, |raw| (std::cmp::Reverse(newest_ms(raw)), raw.key));
            raws.truncate(SAVED_MAX);
        }
        raws.sort_unstable_by_key(|raw| raw.key);
        let silent = |raw: &Raw| {
            Some(Silent {
                key: raw.key,
                target: raw.target,
                kind: raw.kind,
                labels: raw.labels.clone()?,
                ended_ms: raw.ended_ms,
                gone_after_ms: raw.gone_after_ms,
                gone: raw.gone.as_deref().copied(),
            })
        };
        let mut turnovers: Vec<_> = self.turnovers.iter().map(|(&target, of)| (target, of.clone())).collect();
        turnovers.sort_unstable_by_key(|(target, _)| *target);
        let view = |(&id, doubt): (&u32, &CounterDoubt)| Some((self.raws[id as usize].key, doubt.view?));
        let mut views: Views = self.doubts.iter().filter_map(view).collect();
        views.sort_unstable();
        Lineage { silent: raws.into_iter().filter_map(silent).collect(), turnovers, paces: self.saved_paces(), views }
    }

    /// The pace of each SLI on each target, by the series of the SLI as a whole.
    fn saved_paces(&self) -> Vec<(u32, u32, Pace)> {
        let whole = |(pace, &(sli, target)): (&Pace, &(usize, u32))| {
            let series = *self.series_ids.get(&(sli, Labels::new()))?;
            (*pace != Pace::default()).then(|| (series, target, pace.clone()))
        };
        self.paces.iter().zip(&self.pace_of).filter_map(whole).collect()
    }

    /// Takes what an earlier process knew, after its cursors.
    pub(super) fn recall(&mut self, Lineage { silent, turnovers, views, .. }: Lineage) {
        for silent in silent {
            let Silent { key, target, kind, labels, ended_ms, gone_after_ms, gone } = silent;
            let id = match self.raw_ids.get(&key) {
                Some(&id) => id,
                None if (target as usize) < self.targets.len() => {
                    let id = self.raws.len() as u32;
                    self.raws.push(Raw { seen_ms: ended_ms, ..Raw::new(key, target) });
                    self.raw_ids.insert(key, id);
                    id
                }
                None => continue,
            };
            let raw = &mut self.raws[id as usize];
            (raw.kind, raw.labels) = (kind, Some(labels));
            (raw.ended_ms, raw.gone_after_ms, raw.gone) = (ended_ms, gone_after_ms, gone.map(Box::new));
        }
        self.turnovers = turnovers.into_iter().collect();
        for (key, view) in views {
            if let Some(&id) = self.raw_ids.get(&key) {
                self.doubts.entry(id).or_default().view = Some(view);
            }
        }
    }
}
