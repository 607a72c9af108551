//! Reading the state file: what was saved, and every series piece by piece.

use std::collections::{BTreeSet, HashMap};

use rusqlite::types::{FromSql, ValueRef};
use rusqlite::{OptionalExtension, Row};
use serde::de::DeserializeOwned;

use super::{Entry, HOUR_S, Piece, Saved, SeriesKey, Store, StoreError};
use crate::engine::SliceDelta;
use crate::engine::ledger::HourRecord;

/// The row of table `state`.
struct State {
    at_s: i64,
    journal_from: i64,
    resolution_s: i64,
    position: Vec<u8>,
    alerts: String,
    unfilled: String,
}

impl Store {
    /// What was saved; `None` before the first commit.
    pub fn load(&mut self) -> Result<Option<Saved>, StoreError> {
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
        Ok(Some(Saved {
            at_s: state.at_s,
            position: state.position,
            alerts: serde_json::from_str(&state.alerts).map_err(|error| self.damaged(&error))?,
            statuses,
            unfilled: serde_json::from_str(&state.unfilled).map_err(|error| self.damaged(&error))?,
        }))
    }

    /// Puts the series of the wanted SLOs together again, piece by piece.
    pub fn replay(
        &self,
        wanted: impl Fn(&str) -> bool,
        mut each: impl FnMut(&SeriesKey, Piece<'_>),
    ) -> Result<(), StoreError> {
        let Some(journal_from) = self.journal_from else { return Ok(()) };
        let mut keys = self.keys();
        keys.retain(|_, key| wanted(&key.slo_id));
        let first_hour = journal_from.saturating_sub(1);
        let first = first_hour.saturating_mul(HOUR_S / self.resolution_s);
        self.each_row("SELECT entry FROM journal ORDER BY id", |row| {
            match self.decoded(row, 0)? {
                Entry::<Vec<(i64, Vec<SliceDelta>)>>::Booked(booked) => {
                    for (id, mut slices) in booked {
                        let Some(&key) = keys.get(&id) else { continue };
                        slices.retain(|delta| delta.slice >= first);
                        each(key, Piece::Slices(&slices));
                    }
                }
                Entry::Whole { series, mut slices, hours } => {
                    let Some(&key) = keys.get(&series) else { return Ok(()) };
                    slices.retain(|delta| delta.slice >= first);
                    each(key, Piece::Anew);
                    each(key, Piece::Slices(&slices));
                    for record in hours.iter().filter(|record| record.hour >= first_hour) {
                        each(key, Piece::Hour(record));
                    }
                }
            }
            Ok(())
        })?;
        let sql = "SELECT hour.slot, five.slots, hour.hour, hour.series FROM hour
                   LEFT JOIN five ON five.hour = hour.hour AND five.series = hour.series ORDER BY hour.hour";
        self.each_row(sql, |row| {
            let (hour, id): (i64, i64) = self.read(row, 2).and_then(|hour| Ok((hour, self.read(row, 3)?)))?;
            let Some(&key) = keys.get(&id).filter(|_| hour < journal_from) else { return Ok(()) };
            let fine = if self.is_null(row, 1)? { Vec::new() } else { self.decoded(row, 1)? };
            each(key, Piece::Hour(&HourRecord { hour, slot: self.decoded(row, 0)?, fine }));
            Ok(())
        })
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
        self.written.retain(|key, _| ids.contains_key(key));
        self.unsaved = std::mem::take(&mut self.unsaved)
            .into_iter()
            .filter(|key| self.definitions.contains_key(&key.slo_id))
            .collect::<BTreeSet<_>>();
        self.ids = ids;
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
    fn each_row(&self, sql: &str, mut each: impl FnMut(&Row<'_>) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut query = self.db.prepare(sql).map_err(|error| self.failed(error))?;
        let mut rows = query.query([]).map_err(|error| self.failed(error))?;
        while let Some(row) = rows.next().map_err(|error| self.failed(error))? {
            each(row)?;
        }
        Ok(())
    }

    fn read<T: FromSql>(&self, row: &Row<'_>, column: usize) -> Result<T, StoreError> {
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
