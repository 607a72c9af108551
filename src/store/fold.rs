//! Folding: the hours of a series put into one row, once a day.
//!
//! An hour of a fleet is written as one row for each series, at one place of the table, which is what the turn of an hour
//! can afford. A month of such rows would take a restart half a minute to read; one row for each series takes it a second
//! or two. The ledger holds all hours anyway, so the row is written from there and the hours are dropped, a little at a
//! time between the polls.

use std::collections::{BTreeSet, HashMap};

use super::write::put_past;
use super::{HOUR_S, SeriesKey, Store, StoreError};
use crate::engine::Ledger;

/// Hours that stay as rows of their own before they are folded.
const UNFOLDED_HOURS: i64 = 24;
/// Series that are folded in one transaction.
const SERIES_AT_ONCE: usize = 64;

/// How far folding is.
#[derive(Debug, Default)]
pub(super) struct Folding {
    /// The first hour of each series, by its row, that is not in its past.
    pub until: HashMap<i64, i64>,
    /// Hours before this are dropped where they are folded, one at a time from the first on.
    drop: Option<(i64, i64)>,
}

impl Store {
    /// Folds some series that are due. Answers whether there is more to do. `but` are series that are written whole soon.
    pub fn fold_some(&mut self, ledger: &Ledger, but: &BTreeSet<SeriesKey>) -> Result<bool, StoreError> {
        let Some(from) = self.journal_from.filter(|_| self.unsaved.is_empty()) else { return Ok(false) };
        let bound = from - UNFOLDED_HOURS;
        let is_due = |id: &i64| self.folding.until.get(id).is_none_or(|&until| until <= bound);
        let due: Vec<(SeriesKey, i64)> = (self.ids.iter())
            .filter(|(key, id)| is_due(id) && !but.contains(key))
            .take(SERIES_AT_ONCE)
            .map(|(key, &id)| (key.clone(), id))
            .collect();
        let folded = if due.is_empty() { self.drop_folded() } else { self.fold(ledger, &due, from).map(|()| true) };
        folded.map_err(|error| self.failed(error))
    }

    fn fold(&mut self, ledger: &Ledger, due: &[(SeriesKey, i64)], from: i64) -> Result<(), rusqlite::Error> {
        let tx = self.db.transaction()?;
        for (key, id) in due {
            // One that left the ledger has nothing to be folded, and ages away where it is.
            if let Some(series) = ledger.get(&key.slo_id, &key.labels) {
                put_past(&tx, series, *id, from)?;
            }
        }
        tx.commit()?;
        self.folding.until.extend(due.iter().map(|&(_, id)| (id, from)));
        let first = self.folding.drop.map(|(first, _)| first);
        let first = match first {
            Some(first) => first,
            None => self.db.query_row("SELECT coalesce(min(hour), 0) FROM hour", [], |row| row.get(0))?,
        };
        self.folding.drop = Some((first, from));
        Ok(())
    }

    /// Drops one hour of rows that are folded. Answers whether there is another one.
    fn drop_folded(&mut self) -> Result<bool, rusqlite::Error> {
        let Some((hour, end)) = self.folding.drop else { return Ok(false) };
        let tx = self.db.transaction()?;
        for table in ["hour", "five"] {
            let sql =
                format!("DELETE FROM {table} WHERE hour = ?1 AND series IN (SELECT series FROM past WHERE until > ?1)");
            tx.execute(&sql, [hour])?;
        }
        let sql = "SELECT min(hour) FROM hour WHERE hour > ?1 AND hour < ?2";
        let next: Option<i64> = tx.query_row(sql, [hour, end], |row| row.get(0))?;
        tx.commit()?;
        self.folding.drop = next.map(|next| (next, end));
        Ok(next.is_some())
    }

    /// Slices of an hour.
    pub(super) fn per_hour(&self) -> i64 {
        HOUR_S / self.resolution_s
    }
}
