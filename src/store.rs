//! What survives a restart: the ledger, the cursors, the alerts. SQLite, one writer, WAL, `synchronous=FULL`.
//!
//! Each poll is one transaction: what it booked (a row of the journal), how far it read (the position), and the alerts
//! that follow. So after kill -9 the next poll continues after the last one that was committed, and nothing counts
//! twice or is lost. Whole hours leave the journal for the hour table once they are older than the fine tier, and once a
//! day the hours of each series are folded into one row, which is read back in one piece.
//!
//! ```text
//! hours < until of the series: table past     from there to journal_from: hour and five     newer slices: journal
//! ```
//!
//! The journal reaches an hour further back than it has to: slices of a quantile SLI are judged on up to an hour before
//! them, and come out as they were judged at first.
//!
//! A series that got history from elsewhere (a backfill), or whose last transaction failed, is written whole: its past,
//! and one journal row that stands for everything before it. Of a large fleet that is much, so joined history is written
//! some series at a time, between the polls ([`Store::write_some`]); what is not written yet is asked for again by whoever
//! finds the file.
//!
//! What is old is dropped only at a moment that is trusted ([`Now`]).
//!
//! An SLO whose definition changed does not inherit the history of its old one. What is no longer asked for ages away
//! like everything else, so rules that come back find their history again.

mod anchor;
mod fold;
mod incidents;
mod load;
mod said;
#[cfg(test)]
mod tests;
mod write;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};
use serde::{Deserialize, Serialize};

use crate::engine::alert::AlertMachine;
use crate::engine::ledger::HourRecord;
use crate::engine::{Labels, Ledger, Now, SeriesStatus, SliceDelta};

pub use anchor::anchor;

/// Name of the state file in its directory.
pub const FILE: &str = "state.db";

/// Version of the tables; a file of a version that is not known is refused, never guessed at.
const SCHEMA: i64 = 3;
/// Slices stay in the journal this long, seconds: longer than the fine tier reaches.
const JOURNAL_S: i64 = 7 * 3600;
/// Five-minute slots of an hour are kept this long, hours: longer than the ledger's own tier reaches.
const FIVE_HOURS: i64 = 96;
const HOUR_S: i64 = 3600;
/// Memory for pages of the file, kB: what one transaction of a large fleet touches.
const CACHE_KB: i64 = 16 * 1024;

/// Why the store cannot be used.
#[derive(Debug)]
pub enum StoreError {
    /// SQLite says no: the file, and why.
    Database(PathBuf, rusqlite::Error),
    /// The file is of another version of Slowburn, or is damaged.
    Unreadable(PathBuf, String),
    /// Its directory cannot be made.
    Directory(PathBuf, std::io::Error),
    /// There is state of an earlier process, and nothing can be written beside it: a volume that is full or read-only.
    Unwritable(PathBuf, std::io::Error),
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const ANEW: &str = "Move it away to start anew from the history that Prometheus has";
        match self {
            StoreError::Database(path, error) => {
                write!(f, "state file {}: {error}", path.display())?;
                match error.sqlite_error_code() {
                    Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                        f.write_str(". Another process has it open; two daemons need a data directory each")
                    }
                    Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => write!(f, ". {ANEW}"),
                    Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                        f.write_str(". It has to be a file that this user may write, in a directory that it may write")
                    }
                    _ => Ok(()),
                }
            }
            StoreError::Unreadable(path, why) => write!(f, "state file {}: {why}. {ANEW}", path.display()),
            StoreError::Directory(path, error) => {
                write!(f, "data directory {} cannot be made: {error}", path.display())
            }
            StoreError::Unwritable(path, error) => {
                write!(f, "data directory {} cannot be written: {error}", path.display())
            }
        }
    }
}

impl std::error::Error for StoreError {}

impl StoreError {
    /// What SQLite says of the file. Values of another type and tables that are not there are no fault of this program: the file
    /// is not as it was written, such as where a part of it is gone.
    fn of(path: &Path, error: rusqlite::Error) -> Self {
        use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
        let is_other = match &error {
            InvalidColumnType(..) | FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | Utf8Error(..) => true,
            // Every statement is a constant of this program, so what it names is missing.
            other => other.sqlite_error_code() == Some(ErrorCode::Unknown),
        };
        match is_other {
            true => {
                StoreError::Unreadable(path.to_owned(), format!("it is damaged, or a part of it is gone ({error})"))
            }
            false => StoreError::Database(path.to_owned(), error),
        }
    }
}

/// One series as the store names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesKey {
    /// SLO id.
    pub slo_id: String,
    /// Series labels.
    pub labels: Labels,
}

/// What was saved, but for the slices: [`Store::ledgers`] gives those.
#[derive(Debug)]
pub struct Restored {
    /// The last evaluation that was committed, seconds.
    pub at_s: i64,
    /// Where the source stood then, in its own form.
    pub position: Vec<u8>,
    /// Firing and lately resolved alerts.
    pub alerts: AlertMachine,
    /// The last status of each series.
    pub statuses: Vec<(String, SeriesStatus)>,
    /// SLOs whose history had not been read yet.
    pub unfilled: BTreeSet<String>,
}

/// What must be said of the history of an SLO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its id.
    pub slo_id: String,
    /// No window holds what it is said of from here on, seconds.
    pub until_s: i64,
    /// In words.
    pub note: String,
}

/// What one poll changed.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The evaluation.
    pub now: Now,
    /// Where the source stands after it, in its own form.
    pub position: Vec<u8>,
    /// Alerts after it.
    pub alerts: &'a AlertMachine,
    /// Statuses after it that say something else than the ones written before, by SLO id.
    pub statuses: &'a [(&'a str, &'a SeriesStatus)],
    /// What it booked; a series without additions changed in another way and is written anew.
    pub booked: &'a [(SeriesKey, Vec<SliceDelta>)],
    /// The ledger after it.
    pub ledger: &'a Ledger,
    /// Series under which older history was joined that is not written yet: [`Store::write_some`] does.
    pub joined: &'a BTreeSet<SeriesKey>,
    /// SLOs whose history has not been read and written yet.
    pub unfilled: &'a BTreeSet<String>,
    /// What is older than this, seconds, is in no window any more.
    pub oldest_s: i64,
}

/// An open state file.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    db: Connection,
    resolution_s: i64,
    definitions: HashMap<String, String>,
    ids: HashMap<SeriesKey, i64>,
    /// First hour whose slices are in the journal; `None` before the first commit.
    journal_from: Option<i64>,
    /// Series of which the last transactions were lost.
    unsaved: BTreeSet<SeriesKey>,
    /// Series that are to be folded, and how far the hours of all others are.
    folding: fold::Folding,
}

/// A row of the journal; series by their row ids.
#[derive(Debug, Serialize, Deserialize)]
enum Entry<B = Vec<(i64, Vec<SliceDelta>)>> {
    /// What one poll booked.
    Booked(B),
    /// All that the finer tiers know of one series, in place of all rows before.
    Whole { series: i64, slices: Vec<SliceDelta>, hours: Vec<HourRecord> },
}

const TABLES: &str = "
    CREATE TABLE series (id INTEGER PRIMARY KEY AUTOINCREMENT, slo_id TEXT NOT NULL, labels TEXT NOT NULL,
                         definition TEXT NOT NULL, newest_hour INTEGER NOT NULL, UNIQUE (slo_id, labels, definition));
    CREATE TABLE hour (hour INTEGER NOT NULL, series INTEGER NOT NULL, slot BLOB NOT NULL,
                       PRIMARY KEY (hour, series)) WITHOUT ROWID;
    CREATE TABLE five (hour INTEGER NOT NULL, series INTEGER NOT NULL, slots BLOB NOT NULL,
                       PRIMARY KEY (hour, series)) WITHOUT ROWID;
    CREATE TABLE past (series INTEGER PRIMARY KEY, until INTEGER NOT NULL, hours BLOB NOT NULL);
    CREATE TABLE journal (id INTEGER PRIMARY KEY AUTOINCREMENT, newest INTEGER NOT NULL, entry BLOB NOT NULL);
    CREATE TABLE status (series INTEGER PRIMARY KEY, status BLOB NOT NULL);
    CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), at_s INTEGER NOT NULL, journal_from INTEGER NOT NULL,
                        resolution_s INTEGER NOT NULL, position BLOB NOT NULL, alerts TEXT NOT NULL,
                        unfilled TEXT NOT NULL);
";

/// Files of the same version may be without these: nothing else depends on them, and an older Slowburn passes them over.
const ADDED: &str = "
    CREATE TABLE IF NOT EXISTS incident (id TEXT PRIMARY KEY, incident BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS said (slo_id TEXT NOT NULL, definition TEXT NOT NULL, until_s INTEGER NOT NULL,
                                     note TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS anchor (id INTEGER PRIMARY KEY CHECK (id = 1), note TEXT NOT NULL);
";

/// Version 2 had no past.
const FROM_2: &str = "CREATE TABLE past (series INTEGER PRIMARY KEY, until INTEGER NOT NULL, hours BLOB NOT NULL);";

impl Store {
    /// Opens or creates `DIR/state.db`. `definitions` gives, by SLO id, a digest of what its history depends on.
    pub fn open(dir: &Path, resolution_s: i64, definitions: HashMap<String, String>) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir).map_err(|error| StoreError::Directory(dir.to_owned(), error))?;
        let path = dir.join(FILE);
        // SQLite has one word for many faults of a disk.
        if path.exists()
            && let Err(error) = try_to_write(dir)
        {
            return Err(StoreError::Unwritable(dir.to_owned(), error));
        }
        let failed = |error| StoreError::of(&path, error);
        let db = Connection::open(&path).map_err(failed)?;
        db.busy_timeout(std::time::Duration::from_secs(2)).map_err(failed)?;
        db.execute_batch("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
            .map_err(failed)?;
        db.pragma_update(None, "cache_size", -CACHE_KB).map_err(failed)?;
        let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
        match version {
            0 => db.execute_batch(&format!("BEGIN; {TABLES} PRAGMA user_version={SCHEMA}; COMMIT;")).map_err(failed)?,
            2 => db.execute_batch(&format!("BEGIN; {FROM_2} PRAGMA user_version={SCHEMA}; COMMIT;")).map_err(failed)?,
            SCHEMA => {}
            other => {
                let why = format!("it has version {other}, this Slowburn reads versions 2 and {SCHEMA}");
                return Err(StoreError::Unreadable(path, why));
            }
        }
        db.execute_batch(ADDED).map_err(failed)?;
        let mut store = Store {
            path,
            db,
            resolution_s,
            definitions,
            ids: HashMap::new(),
            journal_from: None,
            unsaved: BTreeSet::new(),
            folding: fold::Folding::default(),
        };
        store.read_series()?;
        Ok(store)
    }

    /// Rules changed: history of SLOs that are gone or differ is no longer used, and that of SLOs that came back is
    /// there to be replayed.
    pub fn redefine(&mut self, definitions: HashMap<String, String>) -> Result<(), StoreError> {
        self.definitions = definitions;
        self.read_series()
    }

    fn failed(&self, error: rusqlite::Error) -> StoreError {
        StoreError::of(&self.path, error)
    }

    fn damaged(&self, error: &dyn std::fmt::Display) -> StoreError {
        StoreError::Unreadable(self.path.clone(), format!("a row is damaged ({error})"))
    }
}

/// Whether a file can be written in this directory: one that is gone again afterwards.
fn try_to_write(dir: &Path) -> std::io::Result<()> {
    let path = dir.join(".writable");
    let written = std::fs::write(&path, "x");
    written.and_then(|()| std::fs::remove_file(&path))
}

/// What the history of each SLO depends on, by its id: its digest, the slice length, and how
/// long the slices are that are judged, where the SLO says so.
pub fn definitions(model: &crate::spec::Model, resolution_s: i64) -> HashMap<String, String> {
    let definition = |spec: &crate::spec::SloSpec| match spec.slo.resolution_s {
        Some(slice_s) => format!("{} {resolution_s} judged by {slice_s}", spec.digest()),
        None => format!("{} {resolution_s}", spec.digest()),
    };
    model.slos.iter().map(|spec| (spec.slo.id.clone(), definition(spec))).collect()
}
