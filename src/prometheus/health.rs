//! How far the data of each series can be trusted: what answered, how recently, and whether as much as before.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::engine::Labels;
use crate::engine::status::{DataHealth, DataReason, DataState};
use crate::query::increment::SeriesDeltas;

/// No sample for this long means absent (Prometheus' own lookback), seconds.
const ABSENT_AFTER_S: i64 = 300;
/// Fewer than this share of the raw series that answered lately is partial data.
const LIVE_SHARE_MIN: f64 = 0.9;
/// How long a number of raw series is held up as what there should be, seconds. A service that is scaled down reads
/// partial for as long; a source that hides series for less is never called fresh.
const LIVE_REMEMBERED_S: i64 = 900;
/// Clocks further apart than this make data unusable, seconds.
const SKEW_MAX_S: i64 = 30;

/// A series: the index of its SLI, and its labels.
pub(super) type Key = (usize, Labels);

/// How many raw series answered (end of the poll in seconds, number), by the polls that still matter.
pub(super) type Lately = VecDeque<(i64, usize)>;

/// How the group of a series stands at the end of a poll.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answering {
    /// The end of its last read; `None` when none ever answered.
    pub at_s: Option<i64>,
    /// It came with warnings.
    pub warned: bool,
    /// It fails while others are answered, or with what is no fault of the server.
    pub failing: bool,
}

impl Answering {
    /// Why nothing is heard of it.
    pub fn silence(&self) -> DataReason {
        if self.failing { DataReason::QueryFailing } else { DataReason::SourceUnreachable }
    }
}

/// How far the data of every series can be trusted, found by SLI without a search.
#[derive(Debug, Default)]
pub struct SeriesHealth {
    /// In order; of equal keys the last one counts.
    all: Vec<(Key, DataHealth)>,
    /// Where those of each SLI begin, and at last where they end.
    begins: Vec<usize>,
}

impl SeriesHealth {
    /// That of these series of `slis` SLIs. Of a series that is named twice the last one counts.
    pub fn of_all(all: Vec<(Key, DataHealth)>, slis: usize) -> Self {
        let mut health = SeriesHealth { all, begins: Vec::new() };
        health.order(slis);
        health
    }

    fn order(&mut self, slis: usize) {
        self.all.sort_by(|a, b| a.0.cmp(&b.0));
        self.all.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 = later.1;
            }
            same
        });
        let (mut begins, mut place) = (Vec::with_capacity(slis + 1), 0);
        for sli in 0..=slis {
            while self.all.get(place).is_some_and(|((of, _), _)| *of < sli) {
                place += 1;
            }
            begins.push(place);
        }
        self.begins = begins;
    }

    /// These instead of what is said of them, or beside it.
    pub(super) fn put(&mut self, more: Vec<(Key, DataHealth)>) {
        if !more.is_empty() {
            self.all.extend(more);
            self.order(self.begins.len().saturating_sub(1));
        }
    }

    /// That of one series; `None` where it was never seen.
    pub fn of(&self, sli: usize, labels: &Labels) -> Option<DataHealth> {
        let (begin, end) = (*self.begins.get(sli)?, *self.begins.get(sli + 1)?);
        let of_sli = &self.all[begin..end];
        let place = of_sli.binary_search_by(|((_, known), _)| known.cmp(labels)).ok()?;
        Some(of_sli[place].1)
    }

    /// All of them, by SLI and labels.
    pub fn iter(&self) -> impl Iterator<Item = &(Key, DataHealth)> {
        self.all.iter()
    }
}

/// What was noticed beside the counts.
#[derive(Debug, Default)]
pub(super) struct SourceWatch {
    /// Raw series that answered, by poll: the newest number, and before it only those that are larger than all after.
    live: HashMap<Key, Lately>,
    faults: HashMap<Key, DataReason>,
    /// Series that answer with far fewer raw series than shortly before.
    missing: BTreeSet<Key>,
    /// How far the server's clock was ahead at the last answer, seconds.
    pub skew_s: Option<i64>,
    poll_s: i64,
}

impl SourceWatch {
    pub fn new(poll_s: i64) -> Self {
        SourceWatch { poll_s, ..SourceWatch::default() }
    }

    /// Notes the faults that a read found, and those that it found gone.
    pub fn note_faults(&mut self, series: &[SeriesDeltas]) {
        for series in series {
            let key = (series.sli, series.labels.clone());
            match series.fault {
                Some(fault) => drop(self.faults.insert(key, fault)),
                None => drop(self.faults.remove(&key)),
            }
        }
    }

    pub fn fault(&self, key: &Key) -> Option<DataReason> {
        self.faults.get(key).copied()
    }

    /// Notes how many raw series of a series answered at `at_s`. Whether that is far fewer than lately.
    pub fn note_live(&mut self, key: &Key, at_s: i64, live: usize) -> bool {
        let lately = self.live.entry(key.clone()).or_default();
        lately.retain(|&(at, _)| at > at_s - LIVE_REMEMBERED_S && at < at_s);
        while lately.pop_back_if(|&mut (_, before)| before <= live).is_some() {}
        lately.push_back((at_s, live));
        let most = lately.front().map_or(0, |&(_, live)| live);
        let missing = (live as f64) < LIVE_SHARE_MIN * most as f64;
        match missing {
            true => drop(self.missing.insert(key.clone())),
            false => drop(self.missing.remove(key)),
        }
        missing
    }

    /// Raw series of these SLIs are counted in another way from now on.
    pub fn count_anew(&mut self, slis: &[usize]) {
        self.live.retain(|(sli, _), _| !slis.contains(sli));
        self.missing.retain(|(sli, _)| !slis.contains(sli));
    }

    /// What is remembered of how many raw series answered, for a restart to judge alike.
    pub fn remembered(&self) -> impl Iterator<Item = (&Key, &Lately)> {
        self.live.iter()
    }

    /// Takes back what was remembered of a series.
    pub fn remember(&mut self, key: Key, lately: Lately) {
        self.live.insert(key, lately);
    }

    /// Forgets series that are followed no more.
    pub fn retain(&mut self, followed: impl Fn(&Key) -> bool) {
        self.live.retain(|key, _| followed(key));
        self.faults.retain(|key, _| followed(key));
        self.missing.retain(|key| followed(key));
    }

    /// Whether nothing answered for two polls.
    pub fn is_silent(&self, answering: Answering, at_s: i64) -> bool {
        answering.at_s.is_none_or(|answered| at_s - answered >= 2 * self.poll_s)
    }

    /// The health of a series whose newest sample is of `newest` and whose targets are scraped each `interval_ms`.
    pub fn health(
        &self,
        key: &Key,
        at_s: i64,
        newest: Option<i64>,
        interval_ms: Option<i64>,
        answering: Answering,
    ) -> DataHealth {
        let age = newest.map_or(i64::MAX, |newest| at_s - newest);
        let age_max_s = self.age_max_s(interval_ms);
        let silent = self.is_silent(answering, at_s);
        let fault = self.fault(key);
        let (state, reason) = if age > ABSENT_AFTER_S.max(age_max_s) {
            let why = if silent { answering.silence() } else { DataReason::NoSeries };
            (DataState::Absent, fault.filter(|_| !silent).unwrap_or(why))
        } else if silent {
            (DataState::Stale, answering.silence())
        } else if age > age_max_s {
            (DataState::Stale, fault.unwrap_or(DataReason::SamplesOld))
        } else if self.skew_s.is_some_and(|skew| skew.abs() > SKEW_MAX_S) {
            (DataState::Stale, DataReason::ClockSkew)
        } else if answering.at_s.is_some_and(|answered| answered < at_s) {
            (DataState::Partial, answering.silence())
        } else if let Some(reason) = fault {
            (DataState::Partial, reason)
        } else if answering.warned {
            (DataState::Partial, DataReason::SourceWarning)
        } else if self.missing.contains(key) {
            (DataState::Partial, DataReason::SeriesMissing)
        } else {
            (DataState::Fresh, DataReason::None)
        };
        DataHealth { state, reason, newest }
    }

    /// Age at which data is old: `2 × scrape + poll`, 60 s at least and 120 s at most, and never less than a healthy
    /// series can be old.
    fn age_max_s(&self, interval_ms: Option<i64>) -> i64 {
        let scrape_s = interval_ms.map_or(30, |ms| (ms + 999) / 1000);
        (2 * scrape_s + self.poll_s).clamp(60, 120).max(scrape_s * 3 / 2 + self.poll_s)
    }
}

/// How far a queue can be trusted whose counts and whose gauge stand so; `why` the gauge is not there, where it is not. It needs both; but where the gauge is there, a histogram that is not has nobody who got through.
pub(super) fn of_queue(counted: Option<&DataHealth>, waiting: Option<&DataHealth>, why: DataReason) -> DataHealth {
    let newest = counted.and_then(|health| health.newest);
    let Some(waiting) = waiting else {
        return DataHealth { state: DataState::Absent, reason: why, newest };
    };
    let gone = |health: &&DataHealth| health.state == DataState::Absent && health.reason == DataReason::NoSeries;
    let Some(counted) = counted.filter(|health| !gone(health)) else { return *waiting };
    let worst = if waiting.state > counted.state { waiting } else { counted };
    DataHealth { newest: waiting.newest.min(counted.newest), ..*worst }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLL_S: i64 = 30;

    #[test]
    fn the_health_of_a_series_is_found_by_its_sli_and_labels() {
        let labels = |value: &str| -> Labels { [("model", value)].into_iter().collect() };
        let said = |newest| DataHealth { state: DataState::Fresh, reason: DataReason::None, newest: Some(newest) };
        let mut health = SeriesHealth::of_all(
            vec![((3, labels("b")), said(1)), ((1, Labels::new()), said(2)), ((3, labels("a")), said(3))],
            5,
        );
        let newest = |health: &SeriesHealth, sli, labels: &Labels| health.of(sli, labels).and_then(|of| of.newest);
        assert_eq!(newest(&health, 3, &labels("a")), Some(3));
        assert_eq!(newest(&health, 3, &labels("b")), Some(1));
        assert_eq!(newest(&health, 1, &Labels::new()), Some(2));
        for (sli, of) in [(3, Labels::new()), (0, Labels::new()), (2, labels("a")), (4, labels("a")), (9, labels("a"))]
        {
            assert_eq!(newest(&health, sli, &of), None, "{sli}");
        }
        health.put(vec![((3, labels("a")), said(4)), ((0, Labels::new()), said(5))]);
        assert_eq!(newest(&health, 3, &labels("a")), Some(4), "the last one counts");
        assert_eq!((newest(&health, 0, &Labels::new()), newest(&health, 3, &labels("b"))), (Some(5), Some(1)));
    }

    fn at(watch: &SourceWatch, at_s: i64, newest: i64, answered: i64) -> (DataState, DataReason) {
        let answering = Answering { at_s: Some(answered), warned: false, failing: false };
        let health = watch.health(&(0, Labels::new()), at_s, Some(newest), Some(30_000), answering);
        (health.state, health.reason)
    }

    #[test]
    fn one_missed_poll_is_partial_and_two_are_stale() {
        let watch = SourceWatch::new(POLL_S);
        assert_eq!(at(&watch, 1000, 990, 1000), (DataState::Fresh, DataReason::None));
        assert_eq!(at(&watch, 1030, 990, 1000), (DataState::Partial, DataReason::SourceUnreachable));
        assert_eq!(at(&watch, 1060, 990, 1000), (DataState::Stale, DataReason::SourceUnreachable));
        assert_eq!(at(&watch, 1300, 990, 1000), (DataState::Absent, DataReason::SourceUnreachable));
    }

    #[test]
    fn samples_are_old_though_the_source_answers() {
        let watch = SourceWatch::new(POLL_S);
        assert_eq!(at(&watch, 1090, 1000, 1090), (DataState::Fresh, DataReason::None));
        assert_eq!(at(&watch, 1091, 1000, 1091), (DataState::Stale, DataReason::SamplesOld));
        assert_eq!(at(&watch, 1301, 1000, 1301), (DataState::Absent, DataReason::NoSeries));
    }

    #[test]
    fn a_fifth_of_the_raw_series_gone_is_partial_until_it_is_what_there_is() {
        let mut watch = SourceWatch::new(POLL_S);
        let key = (0, Labels::new());
        let mut at_s = 0;
        let mut lives = |watch: &mut SourceWatch, live, polls| {
            for _ in 0..polls {
                at_s += POLL_S;
                watch.note_live(&key, at_s, live);
            }
            at(watch, at_s, at_s, at_s)
        };
        assert_eq!(lives(&mut watch, 10, 3), (DataState::Fresh, DataReason::None));
        assert_eq!(lives(&mut watch, 9, 1), (DataState::Fresh, DataReason::None));
        assert_eq!(lives(&mut watch, 8, 25), (DataState::Partial, DataReason::SeriesMissing));
        assert_eq!(lives(&mut watch, 8, 6), (DataState::Fresh, DataReason::None));
    }

    #[test]
    fn what_is_not_followed_any_more_takes_no_memory() {
        let mut watch = SourceWatch::new(POLL_S);
        for sli in 0..10 {
            watch.note_live(&(sli, Labels::new()), 30, 5);
            watch.note_live(&(sli, Labels::new()), 60, 1);
        }
        watch.retain(|(sli, _)| *sli == 3);
        assert_eq!((watch.live.len(), watch.missing.len()), (1, 1));
    }
}
