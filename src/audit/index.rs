//! Finding records: an index of the log in SQLite, which can be made again from the log at any time.
//!
//! It holds where each record stands and what it can be searched by; what is shown is read from the log itself. It is
//! brought up to date whenever it is asked, so no process has to keep it. Damaged, old or of another log, it is thrown
//! away. Where this user may not write it, it is kept in memory.

mod fill;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};

use super::log::STEP_MS;
use super::record::{Entry, Kind};
use super::segment::Segment;

/// Version of the tables; another one is made again.
const SCHEMA: i64 = 1;

const TABLES: &str = "
    CREATE TABLE word (id INTEGER PRIMARY KEY, field INTEGER NOT NULL, text TEXT NOT NULL, uses INTEGER NOT NULL,
                       UNIQUE (field, text));
    CREATE TABLE record (seq INTEGER PRIMARY KEY, file INTEGER NOT NULL, begins INTEGER NOT NULL,
                         length INTEGER NOT NULL, time_ms INTEGER NOT NULL, latest_ms INTEGER NOT NULL,
                         kind INTEGER, actor INTEGER, action INTEGER, service INTEGER, incident INTEGER,
                         result INTEGER);
    CREATE TABLE decision (id TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (id, seq)) WITHOUT ROWID;
    CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), next_seq INTEGER NOT NULL, file INTEGER NOT NULL,
                        next_begins INTEGER NOT NULL, last_begins INTEGER NOT NULL, last_length INTEGER NOT NULL,
                        last_digest BLOB NOT NULL, latest_ms INTEGER NOT NULL);
";

/// Made after the first filling, which is faster without them.
const LOOKUPS: &str = "
    CREATE INDEX IF NOT EXISTS by_kind ON record (kind);
    CREATE INDEX IF NOT EXISTS by_actor ON record (actor);
    CREATE INDEX IF NOT EXISTS by_action ON record (action);
    CREATE INDEX IF NOT EXISTS by_service ON record (service);
    CREATE INDEX IF NOT EXISTS by_incident ON record (incident);
    CREATE INDEX IF NOT EXISTS by_result ON record (result);
";

/// What records can be searched by; the column of `record`, and where it stands in a record.
const FIELDS: [(&str, &str); 6] = [
    ("kind", "kind"),
    ("actor", "actor"),
    ("action", "action"),
    ("service", "service"),
    ("incident", "incident_id"),
    ("result", "decision.result"),
];

/// Why nothing can be found.
#[derive(Debug)]
pub enum SearchError {
    /// The log's files cannot be read.
    Log(io::Error),
    /// SQLite says no.
    Index(rusqlite::Error),
}

impl std::fmt::Display for SearchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SearchError::Log(error) => write!(f, "the audit log cannot be read: {error}"),
            SearchError::Index(error) => write!(f, "the index of the audit log cannot be used: {error}"),
        }
    }
}

impl std::error::Error for SearchError {}

impl From<io::Error> for SearchError {
    fn from(error: io::Error) -> Self {
        SearchError::Log(error)
    }
}

impl From<rusqlite::Error> for SearchError {
    fn from(error: rusqlite::Error) -> Self {
        SearchError::Index(error)
    }
}

/// What is searched for; what is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// The service.
    pub service: Option<String>,
    /// Who.
    pub actor: Option<String>,
    /// The incident.
    pub incident: Option<String>,
    /// What was done.
    pub action: Option<String>,
    /// What kind of record.
    pub kind: Option<Kind>,
    /// What was decided: `allow`, `needs_approval`, `deny`.
    pub decision: Option<String>,
    /// Not before, milliseconds.
    pub since_ms: Option<i64>,
    /// Before, milliseconds.
    pub until_ms: Option<i64>,
    /// Most records; `None`: all.
    pub limit: Option<u64>,
}

impl Query {
    /// Texts in the order of [`FIELDS`].
    fn words(&self) -> [Option<&str>; 6] {
        [
            self.kind.map(Kind::as_str),
            self.actor.as_deref(),
            self.action.as_deref(),
            self.service.as_deref(),
            self.incident.as_deref(),
            self.decision.as_deref(),
        ]
    }
}

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its number.
    pub seq: u64,
    file: u64,
    begins: u64,
    length: usize,
}

/// An open index of one log.
#[derive(Debug)]
pub struct Index {
    dir: PathBuf,
    db: Connection,
}

impl Index {
    /// Opens the index of the log in `dir` and brings it up to date. `progress` is told bytes read, and of how many.
    ///
    /// # Errors
    /// When the log cannot be read, or SQLite gives up in memory too.
    pub fn open(dir: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Self, SearchError> {
        if may_write(dir) {
            match Self::on_disk(dir, progress) {
                Ok(index) => return Ok(index),
                Err(SearchError::Log(error)) => return Err(SearchError::Log(error)),
                Err(SearchError::Index(error)) => {
                    tracing::info!(%error, "the index of the audit log cannot be written here: making one in memory");
                }
            }
        }
        let db = Connection::open_in_memory()?;
        Self::begin(&db)?;
        let mut index = Index { dir: dir.to_owned(), db };
        index.catch_up(progress)?;
        Ok(index)
    }

    fn on_disk(dir: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Self, SearchError> {
        let path = dir.join("index.db");
        for attempt in 0..2 {
            let opened = Connection::open(&path).and_then(|db| Self::prepare(&db).map(|fits| (db, fits)));
            let worn = match opened {
                Ok((db, true)) => {
                    let mut index = Index { dir: dir.to_owned(), db };
                    match index.catch_up(progress) {
                        Err(SearchError::Index(error)) if is_damage(&error) => error,
                        other => return other.map(|()| index),
                    }
                }
                Ok((_, false)) => rusqlite::Error::InvalidQuery,
                Err(error) if is_damage(&error) => error,
                Err(error) => return Err(error.into()),
            };
            if attempt == 0 {
                tracing::info!(why = %worn, "the index of the audit log is made again");
                for suffix in ["", "-wal", "-shm"] {
                    let removed = std::fs::remove_file(dir.join(format!("index.db{suffix}")));
                    match removed {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                        _ => {}
                    }
                }
            }
        }
        Err(rusqlite::Error::InvalidQuery.into())
    }

    /// Makes the tables where there are none; whether they are of this version.
    fn prepare(db: &Connection) -> rusqlite::Result<bool> {
        db.busy_timeout(std::time::Duration::from_secs(30))?;
        // What is made again from the log is on disk when a megabyte has come together, and not after each search: that would be
        // in the way of the log's own writes, on which every decision waits.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        db.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-8192;")?;
        match db.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? {
            0 => Self::begin(db).map(|()| true),
            version => Ok(version == SCHEMA),
        }
    }

    fn begin(db: &Connection) -> rusqlite::Result<()> {
        db.execute_batch(&format!("BEGIN IMMEDIATE; {TABLES} PRAGMA user_version={SCHEMA}; COMMIT;"))
    }

    /// Records that `query` asks for, the newest first.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn search(&self, query: &Query) -> Result<Vec<Place>, SearchError> {
        let mut terms: Vec<(&str, i64, i64)> = Vec::new();
        for ((column, _), text) in FIELDS.iter().zip(query.words()) {
            let (Some(text), Some(field)) = (text, FIELDS.iter().position(|(name, _)| name == column)) else {
                continue;
            };
            let word = self
                .db
                .prepare_cached("SELECT id, uses FROM word WHERE field = ? AND text = ?")?
                .query_row(params![field as i64, text], |row| Ok((row.get(0)?, row.get(1)?)));
            match word.optional()? {
                Some((id, uses)) => terms.push((column, id, uses)),
                // What no record says, none is found by.
                None => return Ok(Vec::new()),
            }
        }
        // The rarest word leads; the plus keeps SQLite from following another one.
        terms.sort_by_key(|(_, _, uses)| *uses);
        let mut sql = String::from("SELECT seq, file, begins, length FROM record WHERE seq >= ? AND seq <= ?");
        let (first, last) = self.range(query)?;
        let mut values = vec![Sql::Integer(first), Sql::Integer(last)];
        for (i, (column, id, _)) in terms.iter().enumerate() {
            sql += &format!(" AND {}{column} = ?", if i == 0 { "" } else { "+" });
            values.push(Sql::Integer(*id));
        }
        for (condition, bound) in [(" AND time_ms >= ?", query.since_ms), (" AND time_ms < ?", query.until_ms)] {
            if let Some(bound) = bound {
                sql += condition;
                values.push(Sql::Integer(bound));
            }
        }
        sql += " ORDER BY seq DESC LIMIT ?";
        values.push(Sql::Integer(query.limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(-1))));
        let mut statement = self.db.prepare_cached(&sql)?;
        let places = statement.query_map(params_from_iter(values), Self::place)?;
        Ok(places.collect::<rusqlite::Result<_>>()?)
    }

    /// Numbers that a record of that time can have.
    fn range(&self, query: &Query) -> rusqlite::Result<(i64, i64)> {
        let next: i64 = self.db.query_row("SELECT next_seq FROM state", [], |row| row.get(0)).optional()?.unwrap_or(0);
        // The latest time so far never falls, so it can be halved; a record is behind it by no more than the tolerance,
        // unless the clock was set back.
        let first = match query.since_ms {
            Some(since_ms) => self.first_from(since_ms, next)?,
            None => 0,
        };
        let last = match query.until_ms {
            Some(until_ms) if !self.has_steps()? => self.first_from(until_ms.saturating_add(STEP_MS), next)?,
            _ => next,
        };
        Ok((first, last))
    }

    fn has_steps(&self) -> rusqlite::Result<bool> {
        self.db.query_row("SELECT EXISTS (SELECT 1 FROM word WHERE field = 0 AND text = 'clock_step')", [], |row| {
            row.get(0)
        })
    }

    /// The first record up to which some record is as late as `time_ms`.
    fn first_from(&self, time_ms: i64, next: i64) -> rusqlite::Result<i64> {
        let mut statement =
            self.db.prepare_cached("SELECT latest_ms FROM record WHERE seq >= ? ORDER BY seq LIMIT 1")?;
        let (mut low, mut high) = (0, next);
        while low < high {
            let middle = low + (high - low) / 2;
            let latest: Option<i64> = statement.query_row([middle], |row| row.get(0)).optional()?;
            if latest.is_some_and(|latest| latest < time_ms) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Everything that was recorded of a decision, oldest first.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn of_decision(&self, id: &str) -> Result<Vec<Place>, SearchError> {
        let sql = "SELECT seq, file, begins, length FROM record JOIN decision USING (seq) WHERE id = ? ORDER BY seq";
        let mut statement = self.db.prepare_cached(sql)?;
        let places = statement.query_map([id], Self::place)?;
        Ok(places.collect::<rusqlite::Result<_>>()?)
    }

    /// The record of this number.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn of_seq(&self, seq: u64) -> Result<Option<Place>, SearchError> {
        let Ok(seq) = i64::try_from(seq) else { return Ok(None) };
        let sql = "SELECT seq, file, begins, length FROM record WHERE seq = ?";
        Ok(self.db.prepare_cached(sql)?.query_row([seq], Self::place).optional()?)
    }

    fn place(row: &rusqlite::Row<'_>) -> rusqlite::Result<Place> {
        let whole = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
        let (seq, file, begins) = (whole(0)?, whole(1)?, whole(2)?);
        Ok(Place { seq, file, begins, length: usize::try_from(whole(3)?).unwrap_or(0) })
    }

    /// Reads a record from the log.
    ///
    /// # Errors
    /// When the file cannot be read, or what stands there is no record any more.
    pub fn read(&self, place: &Place) -> io::Result<Entry> {
        let line = Segment::new(&self.dir, place.file).line(place.begins, place.length)?;
        Entry::read(&line).map_err(|why| {
            io::Error::new(io::ErrorKind::InvalidData, format!("record {}: it is {why}; run audit verify", place.seq))
        })
    }
}

/// The line of a record as it stands in the log in `dir`, read without an index. It is not checked; `audit verify` does.
///
/// # Errors
/// The file cannot be read.
pub fn line(dir: &Path, place: &Place) -> io::Result<Vec<u8>> {
    Segment::new(dir, place.file).line(place.begins, place.length)
}

/// Whether the index may stand in `dir`: it does already, or the log is this user's own. A file of somebody else's would
/// be in the daemon's way.
fn may_write(dir: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    // SAFETY: geteuid takes nothing and cannot fail.
    let me = unsafe { libc::geteuid() };
    dir.join("index.db").exists() || dir.metadata().is_ok_and(|dir| dir.uid() == me)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, SchemaChanged, TypeMismatch, Unknown};
    match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase | SchemaChanged | TypeMismatch | Unknown) => true,
        Some(_) => false,
        None => true,
    }
}
