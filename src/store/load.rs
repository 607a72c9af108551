//! Reading the state file: what was saved, and every series piece by piece.

use std::collections::{BTreeSet, HashMap};

use rusqlite::types::{FromSql, ValueRef};
use rusqlite::{OptionalExtension, Row};
use serde::de::DeserializeOwned;

use super::{Entry, Restored, SeriesKey, Store, StoreError};
use crate::engine::ledger::HourRecord;
use crate::engine::{SeriesLedger, SliceDelta};

/// The row of table `state`.
struct State {
    at_s: i64,
    journal_from: i64,
    resolution_s: i64,
    position: Vec<u8>,
    alerts: String,
    unfilled: String,
}

/// Rows of the journal that are applied at once.
const ROWS_AT_ONCE: usize = 64;

/// A series on its way back.
struct Shelf<'a> {
    key: &'a SeriesKey,
    made: SeriesLedger,
    /// Slices that are to be applied, oldest row first.
    waiting: Vec<SliceDelta>,
    /// The first hour that is not in its past.
    until: i64,
}

impl Shelf<'_> {
    /// Applies what waits: row by row it may go back in time.
    fn apply(&mut self) {
        for ascending in self.waiting.chunk_by(|a, b| a.slice < b.slice) {
            self.made.apply(ascending);
        }
        self.waiting.clear();
    }
}

impl Store {
    /// What was saved; `None` before the first commit.
    pub fn load(&mut self) -> Result<Option<Restored>, StoreError> {
        let Some(state) = self.read_state()? else { return Ok(None) };
        if state.resolution_s != self.resolution_s {
            let why =
                format!("it was written with slices of {}s, now they are {}s", state.resolution_s, self.resolution_s);
            return Err(StoreError::Unreadable(self.path.clone(), why));
        }
        self.journal_from = Some(state.journal_from);
        let keys = self.keys();
        let mut statuses = Vec::new();
        for (id, status) in self.rows("SELECT series, status FROM status", |row| Ok((row.get(0)?, row.get(1)?)))? {
            let (id, status): (i64, Vec<u8>) = (id, status);
            let Some(&key) = keys.get(&id) else { continue };
            let status = serde_json::from_slice(&status).map_err(|error| self.damaged(&error))?;
            statuses.push((key.slo_id.clone(), status));
        }
        Ok(Some(Restored {
            at_s: state.at_s,
            position: state.position,
            alerts: serde_json::from_str(&state.alerts).map_err(|error| self.damaged(&error))?,
            statuses,
            unfilled: serde_json::from_str(&state.unfilled).map_err(|error| self.damaged(&error))?,
        }))
    }

    /// Puts the series of the wanted SLOs together again. `empty` makes one without slices; a series for which it makes
    /// none is passed over.
    pub fn ledgers(
        &self,
        empty: impl Fn(&SeriesKey) -> Option<SeriesLedger>,
    ) -> Result<Vec<(SeriesKey, SeriesLedger)>, StoreError> {
        let Some(journal_from) = self.journal_from else { return Ok(Vec::new()) };
        let made = self.ids.iter().filter_map(|(key, &id)| {
            Some((id, Shelf { key, made: empty(key)?, waiting: Vec::new(), until: i64::MIN }))
        });
        let mut shelves: HashMap<i64, Shelf<'_>> = made.collect();
        self.each_slice(&mut shelves, journal_from)?;
        // Hours stand in place of the slices that the journal has of them.
        self.each_row("SELECT series, until, hours FROM past", |row| {
            let Some(shelf) = shelves.get_mut(&self.read(row, 0)?) else { return Ok(()) };
            shelf.until = self.read(row, 1)?;
            let hours: Vec<HourRecord> = self.decoded(row, 2)?;
            hours.iter().filter(|record| record.hour < journal_from).for_each(|hour| shelf.made.restore_hour(hour));
            Ok(())
        })?;
        let sql = "SELECT hour.series, hour.hour, hour.slot, five.slots FROM hour
                   LEFT JOIN five ON five.hour = hour.hour AND five.series = hour.series ORDER BY hour.hour";
        self.each_row(sql, |row| {
            let hour: i64 = self.read(row, 1)?;
            let shelf =
                shelves.get_mut(&self.read(row, 0)?).filter(|shelf| (shelf.until..journal_from).contains(&hour));
            let Some(shelf) = shelf else { return Ok(()) };
            let fine = if self.is_null(row, 3)? { Vec::new() } else { self.decoded(row, 3)? };
            shelf.made.restore_hour(&HourRecord { hour, slot: self.decoded(row, 2)?, fine });
            Ok(())
        })?;
        let found = shelves.into_values().filter(|shelf| shelf.made.newest().is_some());
        Ok(found.map(|shelf| (shelf.key.clone(), shelf.made)).collect())
    }

    /// Applies the journal. What some rows say of one series is applied at once: it lies far from the other series.
    fn each_slice(&self, shelves: &mut HashMap<i64, Shelf<'_>>, journal_from: i64) -> Result<(), StoreError> {
        let first_hour = journal_from.saturating_sub(1);
        let first = first_hour.saturating_mul(self.per_hour());
        let mut rows = 0;
        self.each_row("SELECT entry FROM journal ORDER BY id", |row| {
            match self.decoded(row, 0)? {
                Entry::<Vec<(i64, Vec<SliceDelta>)>>::Booked(booked) => {
                    for (id, slices) in booked {
                        let Some(shelf) = shelves.get_mut(&id) else { continue };
                        shelf.waiting.extend(slices.into_iter().filter(|delta| delta.slice >= first));
                    }
                }
                Entry::Whole { series, mut slices, hours } => {
                    let Some(shelf) = shelves.get_mut(&series) else { return Ok(()) };
                    slices.retain(|delta| delta.slice >= first);
                    shelf.waiting.clear();
                    shelf.made = shelf.made.emptied();
                    shelf.made.apply(&slices);
                    for record in hours.iter().filter(|record| record.hour >= first_hour) {
                        shelf.made.restore_hour(record);
                    }
                }
            }
            rows += 1;
            if rows % ROWS_AT_ONCE == 0 {
                shelves.values_mut().for_each(Shelf::apply);
            }
            Ok(())
        })?;
        shelves.values_mut().for_each(Shelf::apply);
        Ok(())
    }

    /// Reads the series whose definition is still in force.
    pub(super) fn read_series(&mut self) -> Result<(), StoreError> {
        let rows = self.rows("SELECT id, slo_id, labels, definition FROM series", |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get::<_, String>(3)?))
        })?;
        let mut ids = HashMap::new();
        for (id, slo_id, labels, definition) in rows {
            if self.definitions.get(&slo_id) == Some(&definition) {
                let labels = serde_json::from_str(&labels).map_err(|error| self.damaged(&error))?;
                ids.insert(SeriesKey { slo_id, labels }, id);
            }
        }
        self.unsaved = std::mem::take(&mut self.unsaved)
            .into_iter()
            .filter(|key| self.definitions.contains_key(&key.slo_id))
            .collect::<BTreeSet<_>>();
        self.ids = ids;
        let folded = self.rows("SELECT series, until FROM past", |row| Ok((row.get(0)?, row.get(1)?)))?;
        self.folding.until = folded.into_iter().collect();
        Ok(())
    }

    fn keys(&self) -> HashMap<i64, &SeriesKey> {
        self.ids.iter().map(|(key, &id)| (id, key)).collect()
    }

    fn read_state(&self) -> Result<Option<State>, StoreError> {
        let sql = "SELECT at_s, journal_from, resolution_s, position, alerts, unfilled FROM state";
        let read = |row: &Row<'_>| {
            Ok(State {
                at_s: row.get(0)?,
                journal_from: row.get(1)?,
                resolution_s: row.get(2)?,
                position: row.get(3)?,
                alerts: row.get(4)?,
                unfilled: row.get(5)?,
            })
        };
        self.db.query_row(sql, [], read).optional().map_err(|error| self.failed(error))
    }

    fn rows<T>(&self, sql: &str, read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Result<Vec<T>, StoreError> {
        let mut query = self.db.prepare(sql).map_err(|error| self.failed(error))?;
        let rows = query.query_map([], read).map_err(|error| self.failed(error))?;
        rows.collect::<Result<_, _>>().map_err(|error| self.failed(error))
    }

    /// Walks rows one at a time: thirty days of a fleet do not fit twice.
    pub(super) fn each_row(
        &self,
        sql: &str,
        mut each: impl FnMut(&Row<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut query = self.db.prepare(sql).map_err(|error| self.failed(error))?;
        let mut rows = query.query([]).map_err(|error| self.failed(error))?;
        while let Some(row) = rows.next().map_err(|error| self.failed(error))? {
            each(row)?;
        }
        Ok(())
    }

    pub(super) fn read<T: FromSql>(&self, row: &Row<'_>, column: usize) -> Result<T, StoreError> {
        row.get(column).map_err(|error| self.failed(error))
    }

    fn is_null(&self, row: &Row<'_>, column: usize) -> Result<bool, StoreError> {
        row.get_ref(column).map(|value| value == ValueRef::Null).map_err(|error| self.failed(error))
    }

    fn decoded<T: DeserializeOwned>(&self, row: &Row<'_>, column: usize) -> Result<T, StoreError> {
        let blob = row.get_ref(column).map_err(|error| self.failed(error))?;
        let blob = blob.as_blob().map_err(|error| self.damaged(&error))?;
        postcard::from_bytes(blob).map_err(|error| self.damaged(&error))
    }
}
