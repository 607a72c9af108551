//! What survives a restart: the state file, and what is still to be written to it.
//!
//! Each tick is one transaction before anything is published. Joined history is much, and can be read again: it is
//! written between the ticks, some series at a time, and its SLOs count as unread in the file until it is there. So a
//! kill in the middle costs a second reading of those that were not written.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::{error, info, warn};

use super::rules::Rules;
use crate::engine::alert::AlertMachine;
use crate::engine::status::{DataReason, DataState};
use crate::engine::{Ledger, Now, SeriesStatus, SliceDelta};
use crate::incident::Incident;
use crate::prometheus::Position;
use crate::query::plan::Survey;
use crate::store::{Commit, Restored, Said, SeriesKey, Store, StoreError};
use crate::telemetry::names;

/// Series of joined history that are written in one transaction: some megabytes.
const SERIES_AT_ONCE: usize = 64;

/// The state file, where there is one.
pub struct Saved {
    store: Option<Store>,
    /// There is one, and it cannot be written.
    lost: bool,
    /// Series whose joined history is not written yet.
    joined: BTreeSet<SeriesKey>,
    /// What was written last of each SLO's statuses, in the order of the rules.
    written: Vec<Arc<[SeriesStatus]>>,
    /// What was written last of what must be said of history.
    said: Arc<[Said]>,
    /// What was remembered last of the audit log.
    anchor: String,
    /// Nothing is left to be done between ticks.
    idle: bool,
}

/// What a tick leaves to be saved.
pub struct Tick<'a> {
    /// Its moment.
    pub now: Now,
    /// What is in force.
    pub rules: &'a Rules,
    /// Where the source stands.
    pub position: &'a Position<'a>,
    /// What is known of Prometheus.
    pub survey: &'a Survey,
    /// Alerts after it.
    pub alerts: &'a AlertMachine,
    /// Statuses after it, in the order of the rules.
    pub statuses: &'a [Arc<[SeriesStatus]>],
    /// What it booked.
    pub booked: &'a [(SeriesKey, Vec<SliceDelta>)],
    /// The ledger after it.
    pub ledger: &'a Ledger,
    /// SLOs whose history has not been read.
    pub unread: BTreeSet<String>,
    /// What is older than this, seconds, is in no window any more.
    pub oldest_s: i64,
}

/// What of a status a restart needs: its state, since when, which clauses fire, and whether it was said of data that were
/// there. The rest is computed again. What was said of less than there is has to be looked for anew, slice by slice.
fn says_the_same<'a>(a: &'a SeriesStatus, b: &'a SeriesStatus) -> bool {
    let said = |status: &SeriesStatus| (status.state, status.since, status.page, status.ticket);
    let known = |status: &SeriesStatus| {
        let blind = matches!(status.data.state, DataState::Stale | DataState::Absent);
        (blind.then_some(status.data.newest), status.data.reason == DataReason::Filling)
    };
    let firing = |status: &'a SeriesStatus| status.clauses.iter().map(|clause| clause.firing);
    a.labels == b.labels && said(a) == said(b) && known(a) == known(b) && firing(a).eq(firing(b))
}

impl Saved {
    /// Keeps to this file; without one nothing survives.
    pub fn new(store: Option<Store>) -> Self {
        Saved {
            store,
            lost: false,
            joined: BTreeSet::new(),
            written: Vec::new(),
            said: Arc::default(),
            anchor: String::new(),
            idle: true,
        }
    }

    /// Keeps nothing where something should be kept: each tick counts as one that was not written.
    pub fn lost() -> Self {
        Saved { lost: true, ..Saved::new(None) }
    }

    /// Whether anything is kept, or should be.
    pub fn is_kept(&self) -> bool {
        self.store.is_some() || self.lost
    }

    /// Whether there is a file that could not be written when it was opened.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// What an earlier process left, but for the slices.
    pub fn load(&mut self) -> Result<Option<Restored>, StoreError> {
        self.store.as_mut().map_or(Ok(None), Store::load)
    }

    /// Takes the series of these SLOs out of the file.
    pub fn restore_series(
        &self,
        rules: &Rules,
        ledger: &mut Ledger,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(), StoreError> {
        let Some(store) = &self.store else { return Ok(()) };
        let slo = |key: &SeriesKey| Some(&rules.slos[rules.place_of(&key.slo_id)?]);
        let empty = |key: &SeriesKey| slo(key).filter(|slo| wanted(&slo.id)).map(|slo| ledger.empty(slo));
        for (key, series) in store.ledgers(empty)? {
            ledger.put_back(&key.slo_id, key.labels, series);
        }
        Ok(())
    }

    /// Incidents that an earlier process left.
    pub fn incidents(&self) -> Result<Vec<Incident>, StoreError> {
        self.store.as_ref().map_or(Ok(Vec::new()), Store::incidents)
    }

    /// Writes incidents. What could not be written stays to be written.
    pub fn put_incidents<'a>(
        &mut self,
        changed: impl Iterator<Item = &'a Incident>,
        gone: &[String],
    ) -> Result<(), StoreError> {
        let Some(store) = &mut self.store else { return Ok(()) };
        super::apart(|| store.put_incidents(changed, gone)).inspect_err(|error| {
            metrics::counter!(names::STORE_ERRORS_TOTAL).increment(1);
            error!(%error, "incidents were not written; the next poll tries again");
        })
    }

    /// What an earlier process left to be said of history.
    pub fn said(&mut self) -> Result<Vec<Said>, StoreError> {
        let said = self.store.as_ref().map_or(Ok(Vec::new()), Store::said)?;
        self.said = said.as_slice().into();
        Ok(said)
    }

    /// Writes what must be said of history, where it is news. What could not be written is tried again by the next tick.
    pub fn put_said(&mut self, said: Arc<[Said]>) {
        let Some(store) = &mut self.store else { return };
        if Arc::ptr_eq(&said, &self.said) || said == self.said {
            return;
        }
        match super::apart(|| store.put_said(&said)) {
            Ok(()) => self.said = said,
            Err(error) => {
                metrics::counter!(names::STORE_ERRORS_TOTAL).increment(1);
                error!(%error, "notes of history were not written; the next poll tries again");
            }
        }
    }

    /// Remembers the last checkpoint of the audit log, where there is a newer one. While the log is in doubt none is signed, and what
    /// was remembered before stays.
    pub fn put_anchor(&mut self, note: String) {
        let Some(store) = self.store.as_mut().filter(|_| !note.is_empty() && note != self.anchor) else { return };
        match super::apart(|| store.put_anchor(&note)) {
            Ok(()) => self.anchor = note,
            Err(error) => {
                metrics::counter!(names::STORE_ERRORS_TOTAL).increment(1);
                error!(%error, "the last checkpoint of the audit log was not stored in the state file; the next poll tries again");
            }
        }
    }

    /// These statuses stand in the file.
    pub fn note_written(&mut self, statuses: Vec<Arc<[SeriesStatus]>>) {
        self.written = statuses;
    }

    /// Writes a tick, whole or not at all. What could not be written is written by the next one that can.
    pub fn commit(&mut self, tick: Tick<'_>) {
        if self.lost {
            metrics::counter!(names::STORE_ERRORS_TOTAL).increment(1);
        }
        let Some(store) = &mut self.store else { return };
        let nothing: Arc<[SeriesStatus]> = Arc::default();
        let mut changed: Vec<(&str, &SeriesStatus)> = Vec::new();
        for (place, (slo, statuses)) in tick.rules.slos.iter().zip(tick.statuses).enumerate() {
            let before = self.written.get(place).unwrap_or(&nothing);
            let other = |status: &&SeriesStatus| !before.iter().any(|before| says_the_same(before, status));
            changed.extend(statuses.iter().filter(other).map(|status| (slo.id.as_str(), status)));
        }
        let mut unfilled = tick.unread;
        unfilled.extend(self.joined.iter().map(|key| key.slo_id.clone()));
        let position = postcard::to_stdvec(&(tick.position, tick.survey, tick.position.lineage()));
        let commit = Commit {
            now: tick.now,
            position: position.expect("a position holds nothing postcard refuses"),
            alerts: tick.alerts,
            statuses: &changed,
            booked: tick.booked,
            ledger: tick.ledger,
            joined: &self.joined,
            unfilled: &unfilled,
            oldest_s: tick.oldest_s,
        };
        match super::apart(|| store.commit(&commit)) {
            Ok(()) => {
                self.written = tick.statuses.to_vec();
                self.idle = false;
            }
            Err(error) => {
                metrics::counter!(names::STORE_ERRORS_TOTAL).increment(1);
                error!(%error, "state was not written; the next poll tries again");
            }
        }
    }

    /// Older history was joined under these series.
    pub fn note_joined(&mut self, changed: Vec<SeriesKey>) {
        if self.store.is_some() {
            self.joined.extend(changed);
            self.idle = false;
        }
    }

    /// Whether there is something to be done between ticks.
    pub fn has_work(&self) -> bool {
        !self.idle
    }

    /// Does a part of it, some milliseconds long: joined history is written, and hours are folded. `unread` are the SLOs
    /// whose history has not been read.
    pub fn work(&mut self, ledger: &Ledger, mut unread: BTreeSet<String>) {
        let Some(store) = &mut self.store else { return };
        if !self.joined.is_empty() && store.is_level() {
            let chunk: Vec<SeriesKey> = self.joined.iter().take(SERIES_AT_ONCE).cloned().collect();
            let left = self.joined.iter().skip(chunk.len());
            unread.extend(left.map(|key| key.slo_id.clone()));
            match super::apart(|| store.write_some(&chunk, ledger, &unread)) {
                Ok(()) => {
                    for key in &chunk {
                        self.joined.remove(key);
                    }
                }
                Err(error) => self.put_off(&error),
            }
            return;
        }
        match super::apart(|| store.fold_some(ledger, &self.joined)) {
            Ok(more) => self.idle = !more,
            Err(error) => self.put_off(&error),
        }
    }

    /// What could not be written waits for the next tick.
    fn put_off(&mut self, error: &StoreError) {
        metrics::counter!(names::STORE_ERRORS_TOTAL).increment(1);
        warn!(%error, "joined or folded history was not written; it is tried again after the next poll");
        self.idle = true;
    }

    /// Other rules are in force: `place` is where an SLO stood before, if it counts the same. Takes the series of SLOs
    /// that came back out of the file.
    pub fn follow(&mut self, rules: &Rules, ledger: &mut Ledger, place: impl Fn(&str) -> Option<usize>) {
        let of = |id: &str| place(id).and_then(|place| self.written.get(place)).cloned().unwrap_or_default();
        self.written = rules.slos.iter().map(|slo| of(&slo.id)).collect();
        self.joined.retain(|key| place(&key.slo_id).is_some());
        let Some(store) = &mut self.store else { return };
        let followed = super::apart(|| store.redefine(rules.definitions.clone()));
        let restored = followed.and_then(|()| self.restore_series(rules, ledger, |id| place(id).is_none()));
        if let Err(error) = restored {
            metrics::counter!(names::STORE_ERRORS_TOTAL).increment(1);
            error!(%error, "the state file does not follow the new rules");
        }
    }
}

/// Reads back where a source stood, and what was known of Prometheus.
pub fn position_of(restored: &Restored) -> (Position<'static>, Survey) {
    info!(at_s = restored.at_s, "state restored");
    read_position(&restored.position).unwrap_or_else(|error| {
        warn!(%error, "the saved position cannot be read; the next samples set new starts");
        (Position::since(restored.at_s), Survey::default())
    })
}

fn read_position(saved: &[u8]) -> postcard::Result<(Position<'static>, Survey)> {
    let ((mut position, survey), behind): ((Position<'static>, Survey), &[u8]) = postcard::take_from_bytes(saved)?;
    // Files of earlier versions end here. What is behind costs no count: without it new starts are set, which is said.
    if !behind.is_empty() {
        match postcard::from_bytes(behind) {
            Ok(lineage) => position.recall(lineage),
            Err(error) => {
                warn!(%error, "the past of series cannot be read from the state file; labels that changed meanwhile set new starts")
            }
        }
    }
    Ok((position, survey))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::burn::tests::{FRESH, slo};
    use crate::engine::status::DataHealth;
    use crate::engine::{Labels, SeriesLedger, Unit, burn};

    /// Files of earlier versions have nothing behind the survey.
    #[test]
    fn a_position_is_read_as_earlier_versions_wrote_it() {
        let position = Position::since(1_790_000_010);
        let earlier = postcard::to_stdvec(&(&position, Survey::default())).expect("writable");
        let now = postcard::to_stdvec(&(&position, Survey::default(), position.lineage())).expect("writable");
        assert!(now.len() > earlier.len());
        let cut = &now[..now.len() - 1];
        for saved in [&earlier, &now, cut] {
            assert_eq!(read_position(saved).map(|(read, _)| read), Ok(position.clone()));
        }
        assert!(read_position(&earlier[..earlier.len() - 1]).is_err());
    }

    /// What a restart goes on from must not be of the time before history was there, or before data went.
    #[test]
    fn a_status_is_written_anew_when_what_it_is_said_of_changed() {
        let (slo, at) = (slo(99.9), 1_790_000_010);
        let ledger = SeriesLedger::new(30, Unit::Events, slo.window_s);
        let of = |data: DataHealth| burn::evaluate(&slo, &ledger, &Labels::new(), data, at, None);
        let with = |state, reason, newest| of(DataHealth { state, reason, newest: Some(newest) });
        let fresh = of(FRESH);
        let filling = with(DataState::Partial, DataReason::Filling, at);
        let stale = with(DataState::Stale, DataReason::SourceUnreachable, at - 90);
        assert!(says_the_same(&fresh, &with(DataState::Partial, DataReason::SourceWarning, at - 30)));
        assert!(says_the_same(&stale, &with(DataState::Absent, DataReason::NoSeries, at - 90)));
        for (a, b) in [
            (&fresh, &filling),
            (&fresh, &stale),
            (&stale, &with(DataState::Stale, DataReason::SourceUnreachable, at - 60)),
        ] {
            assert!(!says_the_same(a, b), "{:?} {:?}", a.data, b.data);
        }
    }
}
