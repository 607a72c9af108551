//! What survives a restart: the ledger, the cursors, the alerts. SQLite, one writer, WAL, `synchronous=FULL`.
//!
//! Each poll is one transaction: what it booked (a row of the journal), how far it read (the cursors), and the alerts
//! that follow. So after kill -9 the next poll continues after the last one that was committed, and nothing counts
//! twice or is lost. Whole hours leave the journal for the hour table once they are older than the fine tier.
//!
//! ```text
//! hours < journal_from: table hour      slices >= journal_from: table journal
//! ```
//!
//! An SLO whose definition changed does not inherit the history of its old one.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use crate::engine::alert::AlertBook;
use crate::engine::ledger::HourRecord;
use crate::engine::{Labels, Ledger, SeriesStatus, SliceDelta};

/// Version of the tables; a file of another version is refused, never guessed at.
const SCHEMA: i64 = 1;
/// Slices stay in the journal this long, seconds: longer than the fine tier reaches.
const JOURNAL_S: i64 = 7 * 3600;
/// Hours keep their five-minute slots this long; the ledger's own tier is shorter.
const FINE_HOURS: i64 = 120;
const HOUR_S: i64 = 3600;

/// Why the store cannot be used.
#[derive(Debug)]
pub enum StoreError {
    /// SQLite says no: the file, and why.
    Database(PathBuf, rusqlite::Error),
    /// The file is of another version of Slowburn, or is damaged.
    Unreadable(PathBuf, String),
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StoreError::Database(path, error) => write!(f, "state file {}: {error}", path.display()),
            StoreError::Unreadable(path, why) => {
                write!(f, "state file {}: {why}. Move it away to start from Prometheus' own history", path.display())
            }
        }
    }
}

impl std::error::Error for StoreError {}

/// One series as the store names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesKey {
    /// SLO id.
    pub slo_id: String,
    /// Series labels.
    pub labels: Labels,
}

/// What was saved.
#[derive(Debug, Default)]
pub struct Saved {
    /// End of the last poll that was committed, seconds.
    pub until_s: i64,
    /// Where the source stood then, in its own form.
    pub position: Vec<u8>,
    /// Firing and lately resolved alerts.
    pub alerts: AlertBook,
    /// The last status of each series.
    pub statuses: Vec<(String, SeriesStatus)>,
    /// Hours older than the journal, ascending per series.
    pub hours: BTreeMap<SeriesKey, Vec<HourRecord>>,
    /// Slices since, in the order they were booked.
    pub slices: BTreeMap<SeriesKey, Vec<Vec<SliceDelta>>>,
}

/// What one poll changed.
#[derive(Debug)]
pub struct Commit<'a> {
    /// End of the poll, seconds.
    pub until_s: i64,
    /// Where the source stands after it, in its own form.
    pub position: Vec<u8>,
    /// Alerts after it.
    pub alerts: &'a AlertBook,
    /// Statuses after it, by SLO id.
    pub statuses: &'a [(&'a str, &'a SeriesStatus)],
    /// What it booked.
    pub booked: &'a [(SeriesKey, Vec<SliceDelta>)],
    /// The ledger after it: source of whole hours.
    pub ledger: &'a Ledger,
    /// Series of which all hours must be written again: older history was joined on.
    pub rewritten: &'a [SeriesKey],
}

/// An open state file.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    db: Connection,
    resolution_s: i64,
    definitions: HashMap<String, String>,
    ids: HashMap<SeriesKey, i64>,
    /// First hour whose slices are in the journal.
    journal_from: i64,
    /// What of each status was written last.
    written: HashMap<SeriesKey, String>,
}

impl Store {
    /// Opens or creates `DIR/state.db`. `definitions` gives, by SLO id, a digest of what its history depends on.
    pub fn open(dir: &Path, resolution_s: i64, definitions: HashMap<String, String>) -> Result<Self, StoreError> {
        let path = dir.join("state.db");
        let failed = |error| StoreError::Database(path.clone(), error);
        std::fs::create_dir_all(dir)
            .map_err(|error| StoreError::Unreadable(path.clone(), format!("cannot make its directory: {error}")))?;
        let db = Connection::open(&path).map_err(failed)?;
        db.busy_timeout(std::time::Duration::from_secs(2)).map_err(failed)?;
        db.execute_batch("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
            .map_err(failed)?;
        let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
        match version {
            0 => db.execute_batch(&format!("BEGIN; {TABLES} PRAGMA user_version={SCHEMA}; COMMIT;")).map_err(failed)?,
            SCHEMA => {}
            other => {
                let why = format!("it has version {other}, this Slowburn reads version {SCHEMA}");
                return Err(StoreError::Unreadable(path, why));
            }
        }
        let mut store = Store {
            path,
            db,
            resolution_s,
            definitions,
            ids: HashMap::new(),
            journal_from: i64::MIN,
            written: HashMap::new(),
        };
        store.read_series()?;
        Ok(store)
    }

    /// Rules changed: history of SLOs that are new or differ is no longer used.
    pub fn redefine(&mut self, definitions: HashMap<String, String>) -> Result<(), StoreError> {
        self.definitions = definitions;
        self.read_series()
    }

    /// Everything that was saved; `None` before the first commit.
    pub fn load(&mut self) -> Result<Option<Saved>, StoreError> {
        let Some(state) = self.read_state()? else { return Ok(None) };
        self.journal_from = state.journal_from;
        let mut saved = Saved {
            until_s: state.until_s,
            position: state.position,
            alerts: serde_json::from_str(&state.alerts).map_err(|error| self.damaged(&error))?,
            ..Saved::default()
        };
        let keys: HashMap<i64, &SeriesKey> = self.ids.iter().map(|(key, &id)| (id, key)).collect();
        let rows = |sql: &str| -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
            let mut query = self.db.prepare(sql).map_err(|error| self.failed(error))?;
            let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(|error| self.failed(error))?;
            rows.collect::<Result<_, _>>().map_err(|error| self.failed(error))
        };
        for (id, record) in rows("SELECT series, record FROM hour ORDER BY hour")? {
            let Some(&key) = keys.get(&id) else { continue };
            let record: HourRecord = postcard::from_bytes(&record).map_err(|error| self.damaged(&error))?;
            if record.hour < state.journal_from {
                saved.hours.entry(key.clone()).or_default().push(record);
            }
        }
        let first = state.journal_from.saturating_mul(HOUR_S / self.resolution_s);
        for (_, row) in rows("SELECT id, booked FROM journal ORDER BY id")? {
            let row: Vec<(i64, Vec<SliceDelta>)> = postcard::from_bytes(&row).map_err(|error| self.damaged(&error))?;
            for (id, mut deltas) in row {
                let Some(&key) = keys.get(&id) else { continue };
                deltas.retain(|delta| delta.slice >= first);
                saved.slices.entry(key.clone()).or_default().push(deltas);
            }
        }
        for (id, status) in rows("SELECT series, status FROM status")? {
            let Some(&key) = keys.get(&id) else { continue };
            saved.statuses.push((key.slo_id.clone(), serde_json::from_slice(&status).map_err(|e| self.damaged(&e))?));
        }
        Ok(Some(saved))
    }

    /// Writes one poll, whole or not at all.
    pub fn commit(&mut self, commit: &Commit<'_>) -> Result<(), StoreError> {
        let path = self.path.clone();
        self.commit_in(commit).map_err(|error| {
            // What was rolled back must not be remembered as written.
            self.written.clear();
            drop(self.read_series());
            StoreError::Database(path, error)
        })
    }

    fn commit_in(&mut self, commit: &Commit<'_>) -> Result<(), rusqlite::Error> {
        let per_hour = HOUR_S / self.resolution_s;
        let from = (commit.until_s - JOURNAL_S).div_euclid(HOUR_S);
        let first_time = self.journal_from == i64::MIN;
        let left = if first_time { i64::MIN } else { self.journal_from };
        let tx = self.db.transaction()?;
        let mut ids = Ids { tx: &tx, ids: &mut self.ids, definitions: &self.definitions };
        let mut booked: Vec<(i64, &[SliceDelta])> = Vec::with_capacity(commit.booked.len());
        // Hours that the journal does not (or no longer) hold, to be written whole.
        let mut stale: BTreeMap<&SeriesKey, std::ops::Range<i64>> = BTreeMap::new();
        for (key, deltas) in commit.booked {
            booked.push((ids.of(key)?, deltas));
            if let Some(oldest) = deltas.first().map(|delta| delta.slice.div_euclid(per_hour)).filter(|&h| h < from) {
                stale.insert(key, oldest..from);
            }
        }
        let all: Vec<SeriesKey>;
        if first_time || from > left {
            all = ids.ids.keys().cloned().collect();
            for key in &all {
                let start = if first_time { i64::MIN } else { left };
                let hours = stale.entry(key).or_insert(start..from);
                hours.start = hours.start.min(start);
            }
        }
        for key in commit.rewritten {
            stale.insert(key, i64::MIN..from);
        }
        for (key, hours) in stale {
            let id = ids.of(key)?;
            let Some(series) = commit.ledger.get(&key.slo_id, &key.labels) else { continue };
            let mut put = tx.prepare_cached("INSERT OR REPLACE INTO hour (hour, series, record) VALUES (?, ?, ?)")?;
            for mut record in series.hours(hours) {
                if record.hour < from - FINE_HOURS {
                    record.fine = Vec::new();
                }
                put.execute(params![record.hour, id, encoded(&record)])?;
            }
        }
        if !booked.is_empty() {
            let newest = booked.iter().flat_map(|(_, deltas)| deltas.last()).map(|delta| delta.slice).max();
            tx.prepare_cached("INSERT INTO journal (newest, booked) VALUES (?, ?)")?
                .execute(params![newest.unwrap_or(0), encoded(&booked)])?;
        }
        if from > left {
            tx.execute("DELETE FROM journal WHERE newest < ?", [from * per_hour])?;
        }
        for &(slo_id, status) in commit.statuses {
            let key = SeriesKey { slo_id: slo_id.to_owned(), labels: status.labels.clone() };
            let gist = gist(status);
            if self.written.get(&key) == Some(&gist) {
                continue;
            }
            let id = ids.of(&key)?;
            let status = serde_json::to_vec(status).expect("a status has string keys only");
            tx.prepare_cached("INSERT OR REPLACE INTO status (series, status) VALUES (?, ?)")?
                .execute(params![id, status])?;
            self.written.insert(key, gist);
        }
        let journal_from = from.max(left);
        let alerts = serde_json::to_string(commit.alerts).expect("alerts have string keys only");
        tx.prepare_cached(
            "INSERT OR REPLACE INTO state (id, until_s, journal_from, position, alerts) VALUES (1, ?, ?, ?, ?)",
        )?
        .execute(params![commit.until_s, journal_from, commit.position, alerts])?;
        tx.commit()?;
        self.journal_from = journal_from;
        Ok(())
    }

    /// Drops hours older than `oldest_s`, seconds.
    pub fn prune(&mut self, oldest_s: i64) -> Result<(), StoreError> {
        self.db
            .execute("DELETE FROM hour WHERE hour < ?", [oldest_s.div_euclid(HOUR_S)])
            .map(drop)
            .map_err(|error| self.failed(error))
    }

    fn read_state(&self) -> Result<Option<State>, StoreError> {
        let row = self
            .db
            .query_row("SELECT until_s, journal_from, position, alerts FROM state", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .optional()
            .map_err(|error| self.failed(error))?;
        let Some((until_s, journal_from, position, alerts)) = row else { return Ok(None) };
        Ok(Some(State { until_s, journal_from, position, alerts }))
    }

    /// Reads the series whose definition is still in force.
    fn read_series(&mut self) -> Result<(), StoreError> {
        let mut ids = HashMap::new();
        {
            let mut query =
                self.db.prepare("SELECT id, slo_id, labels, definition FROM series").map_err(|e| self.failed(e))?;
            let rows = query
                .query_map([], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get(3)?))
                })
                .map_err(|error| self.failed(error))?;
            for row in rows {
                let (id, slo_id, labels, definition): (_, _, _, String) = row.map_err(|error| self.failed(error))?;
                if self.definitions.get(&slo_id) == Some(&definition) {
                    let labels = serde_json::from_str(&labels).map_err(|error| self.damaged(&error))?;
                    ids.insert(SeriesKey { slo_id, labels }, id);
                }
            }
        }
        self.written.retain(|key, _| ids.contains_key(key));
        self.ids = ids;
        Ok(())
    }

    fn failed(&self, error: rusqlite::Error) -> StoreError {
        StoreError::Database(self.path.clone(), error)
    }

    fn damaged(&self, error: &dyn std::fmt::Display) -> StoreError {
        StoreError::Unreadable(self.path.clone(), format!("a row is damaged ({error})"))
    }
}

struct State {
    until_s: i64,
    journal_from: i64,
    position: Vec<u8>,
    alerts: String,
}

const TABLES: &str = "
    CREATE TABLE series (id INTEGER PRIMARY KEY, slo_id TEXT NOT NULL, labels TEXT NOT NULL, definition TEXT NOT NULL,
                         UNIQUE (slo_id, labels, definition));
    CREATE TABLE hour (hour INTEGER NOT NULL, series INTEGER NOT NULL, record BLOB NOT NULL,
                       PRIMARY KEY (hour, series)) WITHOUT ROWID;
    CREATE TABLE journal (id INTEGER PRIMARY KEY AUTOINCREMENT, newest INTEGER NOT NULL, booked BLOB NOT NULL);
    CREATE TABLE status (series INTEGER PRIMARY KEY, status BLOB NOT NULL);
    CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), until_s INTEGER NOT NULL, journal_from INTEGER NOT NULL,
                        position BLOB NOT NULL, alerts TEXT NOT NULL);
";

/// Row ids of series, made as they are needed.
struct Ids<'a> {
    tx: &'a rusqlite::Transaction<'a>,
    ids: &'a mut HashMap<SeriesKey, i64>,
    definitions: &'a HashMap<String, String>,
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
                "INSERT INTO series (slo_id, labels, definition) VALUES (?, ?, ?)
                 ON CONFLICT (slo_id, labels, definition) DO UPDATE SET slo_id = slo_id RETURNING id",
            )?
            .query_row(params![key.slo_id, labels, definition], |row| row.get(0))?;
        self.ids.insert(key.clone(), id);
        Ok(id)
    }
}

fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("a Vec grows, and these types hold nothing postcard refuses")
}

/// What of a status a restart needs: its state, since when, and which clauses fire. The rest is computed again.
fn gist(status: &SeriesStatus) -> String {
    let firing: String = status.clauses.iter().map(|clause| if clause.firing { '1' } else { '0' }).collect();
    format!("{:?} {:?} {firing}", status.state, status.since)
}

/// A digest, per SLO, of what its history depends on: its source, unit, fan-out and the slice length. Objective,
/// window and alerting may change without losing the past.
pub fn definitions(model: &crate::spec::Model, resolution_s: i64) -> HashMap<String, String> {
    use sha2::{Digest, Sha256};
    model
        .slos
        .iter()
        .map(|spec| {
            let slo = &spec.slo;
            let text = format!("{:?} {:?} {:?} {:?} {resolution_s}", spec.source, spec.target_labels, slo.unit, slo.by);
            let digest = Sha256::digest(text.as_bytes());
            (spec.slo.id.clone(), digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
        })
        .collect()
}
