//! What the state file remembers of the audit log: the last checkpoint that was signed. An older copy of the log that is put
//! back without its state does not fit it.
//!
//! Deliberately absent: reading the note. The log holds it against itself.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};

use super::{FILE, Store, StoreError};

impl Store {
    /// Remembers this note, in the place of the one before.
    ///
    /// # Errors
    /// SQLite says no.
    pub fn put_anchor(&mut self, note: &str) -> Result<(), StoreError> {
        let put = self.db.prepare_cached("INSERT OR REPLACE INTO anchor (id, note) VALUES (1, ?)");
        put.and_then(|mut put| put.execute(params![note])).map(drop).map_err(|error| self.failed(error))
    }
}

/// What the state file in this directory remembers; nothing where there is none, or none that can be read: whoever takes the state
/// away takes away no more than that.
pub fn anchor(dir: &Path) -> Option<String> {
    let db = Connection::open_with_flags(dir.join(FILE), OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    db.query_row("SELECT note FROM anchor WHERE id = 1", [], |row| row.get(0)).ok()
}
