//! Writing one poll: whole or not at all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use rusqlite::{Transaction, params};
use serde::Serialize;

use super::{Commit, Entry, FIVE_HOURS, Gist, HOUR_S, JOURNAL_S, SeriesKey, Store, StoreError};
use crate::engine::SliceDelta;

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
                // What was rolled back must not be remembered as written.
                self.written.clear();
                drop(self.read_series());
                self.unsaved.extend(commit.booked.iter().map(|(key, _)| key).chain(commit.rewritten).cloned());
                Err(self.failed(error))
            }
        }
    }

    fn commit_in(&mut self, commit: &Commit<'_>) -> Result<(), rusqlite::Error> {
        let per_hour = HOUR_S / self.resolution_s;
        // A clock that was set back does not bring hours back into the journal.
        let from = (commit.at_s - JOURNAL_S).div_euclid(HOUR_S).max(self.journal_from.unwrap_or(i64::MIN));
        let tx = self.db.transaction()?;
        let mut ids = Ids { tx: &tx, ids: &mut self.ids, definitions: &self.definitions, from };
        let mut whole: BTreeSet<&SeriesKey> = self.unsaved.iter().chain(commit.rewritten).collect();
        if self.journal_from.is_none() {
            whole.extend(commit.booked.iter().map(|(key, _)| key));
        }
        // Hours that the journal does not (or no longer) hold.
        let mut hours: BTreeMap<SeriesKey, Range<i64>> = BTreeMap::new();
        let mut booked: Vec<(i64, &[SliceDelta])> = Vec::with_capacity(commit.booked.len());
        for (key, deltas) in commit.booked.iter().filter(|(key, _)| !whole.contains(key)) {
            booked.push((ids.of(key)?, deltas));
            let oldest = deltas.first().map(|delta| delta.slice.div_euclid(per_hour)).filter(|&hour| hour < from);
            if let Some(oldest) = oldest {
                hours.insert(key.clone(), oldest..from);
            }
        }
        if let Some(left) = self.journal_from.filter(|&left| from > left) {
            for key in ids.ids.keys() {
                let range = hours.entry(key.clone()).or_insert(left..from);
                range.start = range.start.min(left);
            }
        }
        hours.extend(whole.iter().map(|&key| (key.clone(), i64::MIN..from)));
        for (key, hours) in hours {
            let id = ids.of(&key)?;
            put_hours(&tx, commit, &key, id, hours, from)?;
        }
        for key in whole {
            let id = ids.of(key)?;
            put_whole(&tx, commit, key, id, from, per_hour)?;
        }
        if !booked.is_empty() {
            let newest = booked.iter().flat_map(|(_, deltas)| deltas.last()).map(|delta| delta.slice).max();
            put_entry(&tx, newest.unwrap_or(0), &Entry::Booked(&booked))?;
        }
        for &(slo_id, status) in commit.statuses {
            let key = SeriesKey { slo_id: slo_id.to_owned(), labels: status.labels.clone() };
            let gist = Gist::of(status);
            if self.written.get(&key) == Some(&gist) {
                continue;
            }
            let id = ids.of(&key)?;
            let status = serde_json::to_vec(status).expect("a status has string keys only");
            tx.prepare_cached("INSERT OR REPLACE INTO status (series, status) VALUES (?, ?)")?
                .execute(params![id, status])?;
            self.written.insert(key, gist);
        }
        let turned = self.journal_from.is_none_or(|left| from > left);
        if turned {
            prune(&tx, from, per_hour, commit.oldest_s.div_euclid(HOUR_S))?;
        }
        let alerts = serde_json::to_string(commit.alerts).expect("alerts have string keys only");
        let unfilled = serde_json::to_string(commit.unfilled).expect("a list of names");
        tx.prepare_cached(
            "INSERT OR REPLACE INTO state (id, at_s, journal_from, resolution_s, position, alerts, unfilled)
             VALUES (1, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![commit.at_s, from, self.resolution_s, commit.position, alerts, unfilled])?;
        tx.commit()?;
        self.journal_from = Some(from);
        if turned {
            // Series that aged away must get new rows if they come again.
            drop(self.read_series());
        }
        Ok(())
    }
}

/// Writes the hours in `range` as the ledger has them.
fn put_hours(
    tx: &Transaction<'_>,
    commit: &Commit<'_>,
    key: &SeriesKey,
    id: i64,
    range: Range<i64>,
    from: i64,
) -> Result<(), rusqlite::Error> {
    let Some(series) = commit.ledger.get(&key.slo_id, &key.labels) else { return Ok(()) };
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
        tx.prepare_cached("UPDATE series SET newest_hour = max(newest_hour, ?) WHERE id = ?")?
            .execute(params![newest, id])?;
    }
    Ok(())
}

/// Writes everything from the journal's beginning on as one entry.
fn put_whole(
    tx: &Transaction<'_>,
    commit: &Commit<'_>,
    key: &SeriesKey,
    id: i64,
    from: i64,
    per_hour: i64,
) -> Result<(), rusqlite::Error> {
    let Some(series) = commit.ledger.get(&key.slo_id, &key.labels) else { return Ok(()) };
    let first = (from - 1).saturating_mul(per_hour);
    let slices: Vec<SliceDelta> = series.fine().filter(|delta| delta.slice >= first).collect();
    let hours = series.hours(from - 1..i64::MAX);
    // It must outlive every row it stands for.
    let newest = series.newest().unwrap_or(first).max(commit.at_s.div_euclid(HOUR_S) * per_hour);
    put_entry(tx, newest, &Entry::<()>::Whole { series: id, slices, hours })
}

fn put_entry<B: Serialize>(tx: &Transaction<'_>, newest: i64, entry: &Entry<B>) -> Result<(), rusqlite::Error> {
    let mut put = tx.prepare_cached("INSERT INTO journal (newest, entry) VALUES (?, ?)")?;
    put.execute(params![newest, encoded(entry)]).map(drop)
}

/// Drops what is too old for its table. Runs once an hour, within the transaction that begins a new one.
fn prune(tx: &Transaction<'_>, from: i64, per_hour: i64, oldest: i64) -> Result<(), rusqlite::Error> {
    tx.execute("DELETE FROM journal WHERE newest < ?", [(from - 1).saturating_mul(per_hour)])?;
    tx.execute("DELETE FROM five WHERE hour < ?", [from - FIVE_HOURS])?;
    tx.execute("DELETE FROM hour WHERE hour < ?", [oldest])?;
    tx.execute("DELETE FROM series WHERE newest_hour < ?", [oldest])?;
    tx.execute("DELETE FROM status WHERE series NOT IN (SELECT id FROM series)", [])?;
    Ok(())
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
