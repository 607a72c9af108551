//! Writing one poll: whole or not at all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use rusqlite::{Transaction, params};
use serde::Serialize;

use super::{Commit, Entry, FIVE_HOURS, HOUR_S, JOURNAL_S, SeriesKey, Store, StoreError};
use crate::engine::{Ledger, Now, SeriesLedger, SliceDelta};

impl Store {
    /// Writes one poll, whole or not at all. What a failed commit held is written by the next one that succeeds.
    pub fn commit(&mut self, commit: &Commit<'_>) -> Result<(), StoreError> {
        let result = self.commit_in(commit);
        match result {
            Ok(()) => {
                self.unsaved.clear();
                Ok(())
            }
            Err(error) => {
                // Row ids that were rolled back must not be used.
                drop(self.read_series());
                self.unsaved.extend(commit.booked.iter().map(|(key, _)| key).cloned());
                Err(self.failed(error))
            }
        }
    }

    /// Whether everything that was handed over is written: then the file stands where the ledger stands.
    pub fn is_level(&self) -> bool {
        self.journal_from.is_some() && self.unsaved.is_empty()
    }

    /// Writes these series whole, as `ledger` has them, between two polls; `unfilled` are the SLOs whose history is not
    /// written after that. The file must be level with the ledger ([`Store::is_level`]), else nothing is written, for
    /// what is counted in the series would be read and counted again by a position that is older.
    pub fn write_some(
        &mut self,
        keys: &[SeriesKey],
        ledger: &Ledger,
        unfilled: &BTreeSet<String>,
    ) -> Result<(), StoreError> {
        let Some(from) = self.journal_from.filter(|_| self.unsaved.is_empty()) else { return Ok(()) };
        let result = self.write_some_in(keys, ledger, unfilled, from);
        result.map_err(|error| {
            drop(self.read_series());
            self.failed(error)
        })
    }

    fn write_some_in(
        &mut self,
        keys: &[SeriesKey],
        ledger: &Ledger,
        unfilled: &BTreeSet<String>,
        from: i64,
    ) -> Result<(), rusqlite::Error> {
        let per_hour = self.per_hour();
        let tx = self.db.transaction()?;
        let mut ids = Ids { tx: &tx, ids: &mut self.ids, definitions: &self.definitions, from };
        let mut folded = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(series) = ledger.get(&key.slo_id, &key.labels) else { continue };
            let id = ids.of(key)?;
            put_past(&tx, series, id, from)?;
            put_whole(&tx, series, id, from, per_hour)?;
            folded.push(id);
        }
        let unfilled = serde_json::to_string(unfilled).expect("a list of names");
        tx.execute("UPDATE state SET unfilled = ?", [unfilled])?;
        tx.commit()?;
        self.folding.until.extend(folded.into_iter().map(|id| (id, from)));
        Ok(())
    }

    fn commit_in(&mut self, commit: &Commit<'_>) -> Result<(), rusqlite::Error> {
        let per_hour = self.per_hour();
        let newest = commit.booked.iter().flat_map(|(_, deltas)| deltas.last()).map(|delta| delta.slice).max();
        // While joined history is not written, the hours under which it was joined stay in the journal.
        let from = match self.journal_from.filter(|_| !commit.joined.is_empty()) {
            Some(left) => left,
            None => self.journal_begins(commit.now, newest.map(|slice| (slice + 1) * self.resolution_s)),
        };
        let until = &self.folding.until;
        let tx = self.db.transaction()?;
        let mut ids = Ids { tx: &tx, ids: &mut self.ids, definitions: &self.definitions, from };
        let mut whole: BTreeSet<&SeriesKey> = self.unsaved.iter().collect();
        let is_old = |deltas: &[SliceDelta]| deltas.first().is_some_and(|delta| delta.slice < from * per_hour);
        let of_whole = |(key, deltas): &&(SeriesKey, Vec<SliceDelta>)| {
            self.journal_from.is_none() || deltas.is_empty() || is_old(deltas) && commit.joined.contains(key)
        };
        whole.extend(commit.booked.iter().filter(of_whole).map(|(key, _)| key));
        // Hours that the journal does not (or no longer) hold.
        let mut hours: BTreeMap<&SeriesKey, Range<i64>> = BTreeMap::new();
        let mut booked: Vec<(i64, &[SliceDelta])> = Vec::with_capacity(commit.booked.len());
        for (key, deltas) in commit.booked.iter().filter(|(key, _)| whole.is_empty() || !whole.contains(key)) {
            booked.push((ids.of(key)?, deltas));
            if let Some(oldest) = deltas.first().filter(|_| is_old(deltas)) {
                hours.insert(key, oldest.slice.div_euclid(per_hour)..from);
            }
        }
        // Rows whose past is written anew.
        let mut folded: Vec<i64> = Vec::new();
        let turned = self.journal_from.is_none_or(|left| from > left);
        let left = self.journal_from.filter(|&left| from > left).map(|left| left..from);
        for (key, hours) in hours {
            let id = ids.of(key)?;
            // Rows of hours that are folded would be hidden by its past.
            let is_folded = until.get(&id).is_some_and(|&until| hours.start < until);
            match commit.ledger.get(&key.slo_id, &key.labels).filter(|_| is_folded) {
                Some(series) => {
                    put_past(&tx, series, id, from)?;
                    folded.push(id);
                }
                None => put_hours(&tx, commit.ledger, key, id, hours, from)?,
            }
        }
        // In the order of the table: each row goes behind the one before.
        for hour in left.into_iter().flatten() {
            let mut rows: Vec<(i64, &SeriesKey)> = ids.ids.iter().map(|(key, &id)| (id, key)).collect();
            rows.sort_unstable();
            for (id, key) in rows {
                put_hours(&tx, commit.ledger, key, id, hour..hour + 1, from)?;
            }
        }
        for key in whole {
            let id = ids.of(key)?;
            let Some(series) = commit.ledger.get(&key.slo_id, &key.labels) else { continue };
            put_past(&tx, series, id, from)?;
            put_whole(&tx, series, id, from, per_hour)?;
            folded.push(id);
        }
        if !booked.is_empty() {
            put_entry(&tx, newest.unwrap_or(0), &Entry::Booked(&booked))?;
        }
        for &(slo_id, status) in commit.statuses {
            let id = ids.of(&SeriesKey { slo_id: slo_id.to_owned(), labels: status.labels.clone() })?;
            let status = serde_json::to_vec(status).expect("a status has string keys only");
            tx.prepare_cached("INSERT OR REPLACE INTO status (series, status) VALUES (?, ?)")?
                .execute(params![id, status])?;
        }
        if turned {
            prune(&tx, from, per_hour, commit.now.trusted.then_some(commit.oldest_s.div_euclid(HOUR_S)))?;
        }
        let alerts = serde_json::to_string(commit.alerts).expect("alerts have string keys only");
        let unfilled = serde_json::to_string(commit.unfilled).expect("a list of names");
        tx.prepare_cached(
            "INSERT OR REPLACE INTO state (id, at_s, journal_from, resolution_s, position, alerts, unfilled)
             VALUES (1, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![commit.now.at, from, self.resolution_s, commit.position, alerts, unfilled])?;
        tx.commit()?;
        self.folding.until.extend(folded.into_iter().map(|id| (id, from)));
        self.journal_from = Some(from);
        if turned {
            // Series that aged away must get new rows if they come again.
            drop(self.read_series());
        }
        Ok(())
    }

    /// The first hour whose slices are in the journal from now on. A moment that is not trusted is believed as far as
    /// samples came that are as new; and a clock that was set back does not bring hours back into the journal.
    fn journal_begins(&self, now: Now, newest_s: Option<i64>) -> i64 {
        let begins = |at_s: i64| (at_s - JOURNAL_S).div_euclid(HOUR_S);
        let seen = newest_s.map_or(now.at, |newest_s| newest_s.min(now.at));
        match self.journal_from {
            None => begins(seen),
            Some(left) if now.trusted => begins(now.at).max(left),
            Some(left) => newest_s.map_or(left, |_| begins(seen)).max(left),
        }
    }
}

/// Writes the hours in `range` as the ledger has them.
fn put_hours(
    tx: &Transaction<'_>,
    ledger: &Ledger,
    key: &SeriesKey,
    id: i64,
    range: Range<i64>,
    from: i64,
) -> Result<(), rusqlite::Error> {
    let Some(series) = ledger.get(&key.slo_id, &key.labels) else { return Ok(()) };
    let mut newest = None;
    for record in series.hours(range) {
        tx.prepare_cached("INSERT OR REPLACE INTO hour (hour, series, slot) VALUES (?, ?, ?)")?.execute(params![
            record.hour,
            id,
            encoded(&record.slot)
        ])?;
        if record.hour >= from - FIVE_HOURS && !record.fine.is_empty() {
            tx.prepare_cached("INSERT OR REPLACE INTO five (hour, series, slots) VALUES (?, ?, ?)")?
                .execute(params![record.hour, id, encoded(&record.fine)])?;
        }
        newest = Some(record.hour);
    }
    if let Some(newest) = newest {
        reached(tx, id, newest)?;
    }
    Ok(())
}

/// Writes all hours before `from` as one row.
pub(super) fn put_past(tx: &Transaction<'_>, series: &SeriesLedger, id: i64, from: i64) -> Result<(), rusqlite::Error> {
    let mut hours = series.hours(i64::MIN..from);
    for record in &mut hours {
        if record.hour < from - FIVE_HOURS {
            record.fine.clear();
        }
    }
    tx.prepare_cached("INSERT OR REPLACE INTO past (series, until, hours) VALUES (?, ?, ?)")?.execute(params![
        id,
        from,
        encoded(&hours)
    ])?;
    hours.last().map_or(Ok(()), |newest| reached(tx, id, newest.hour))
}

/// Notes that a series is there in `hour`.
fn reached(tx: &Transaction<'_>, id: i64, hour: i64) -> Result<(), rusqlite::Error> {
    tx.prepare_cached("UPDATE series SET newest_hour = max(newest_hour, ?) WHERE id = ?")?
        .execute(params![hour, id])
        .map(drop)
}

/// Writes everything from the journal's beginning on as one entry.
fn put_whole(
    tx: &Transaction<'_>,
    series: &SeriesLedger,
    id: i64,
    from: i64,
    per_hour: i64,
) -> Result<(), rusqlite::Error> {
    let first = (from - 1).saturating_mul(per_hour);
    let slices: Vec<SliceDelta> = series.fine().filter(|delta| delta.slice >= first).collect();
    let hours = series.hours(from - 1..i64::MAX);
    // It must outlive every row it stands for: none of them has a newer slice.
    let newest = series.newest().unwrap_or(first).max((from + JOURNAL_S / HOUR_S) * per_hour);
    put_entry(tx, newest, &Entry::<()>::Whole { series: id, slices, hours })
}

fn put_entry<B: Serialize>(tx: &Transaction<'_>, newest: i64, entry: &Entry<B>) -> Result<(), rusqlite::Error> {
    let mut put = tx.prepare_cached("INSERT INTO journal (newest, entry) VALUES (?, ?)")?;
    put.execute(params![newest, encoded(entry)]).map(drop)
}

/// Drops what is too old for its table: of the hours what is before `oldest`, where that can be told. Runs once an hour,
/// within the transaction that begins a new one.
fn prune(tx: &Transaction<'_>, from: i64, per_hour: i64, oldest: Option<i64>) -> Result<(), rusqlite::Error> {
    tx.execute("DELETE FROM journal WHERE newest < ?", [(from - 1).saturating_mul(per_hour)])?;
    tx.execute("DELETE FROM five WHERE hour < ?", [from - FIVE_HOURS])?;
    let Some(oldest) = oldest else { return Ok(()) };
    tx.execute("DELETE FROM hour WHERE hour < ?", [oldest])?;
    tx.execute("DELETE FROM series WHERE newest_hour < ?", [oldest])?;
    tx.execute("DELETE FROM status WHERE series NOT IN (SELECT id FROM series)", [])?;
    tx.execute("DELETE FROM past WHERE series NOT IN (SELECT id FROM series)", []).map(drop)
}

/// Row ids of series, made as they are needed.
struct Ids<'a> {
    tx: &'a Transaction<'a>,
    ids: &'a mut HashMap<SeriesKey, i64>,
    definitions: &'a HashMap<String, String>,
    from: i64,
}

impl Ids<'_> {
    fn of(&mut self, key: &SeriesKey) -> Result<i64, rusqlite::Error> {
        if let Some(&id) = self.ids.get(key) {
            return Ok(id);
        }
        let labels = serde_json::to_string(&key.labels).expect("labels are strings");
        let definition = self.definitions.get(&key.slo_id).map_or("", String::as_str);
        let id = self
            .tx
            .prepare_cached(
                "INSERT INTO series (slo_id, labels, definition, newest_hour) VALUES (?, ?, ?, ?)
                 ON CONFLICT (slo_id, labels, definition) DO UPDATE SET newest_hour = max(newest_hour, ?4) RETURNING id",
            )?
            .query_row(params![key.slo_id, labels, definition, self.from], |row| row.get(0))?;
        self.ids.insert(key.clone(), id);
        Ok(id)
    }
}

fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("a Vec grows, and these types hold nothing postcard refuses")
}
