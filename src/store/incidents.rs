//! Incidents in the state file: one row each, written when it changes and before it is told of.

use rusqlite::params;

use super::{Store, StoreError};
use crate::incident::Incident;

impl Store {
    /// Writes these as they are now, and forgets those of `gone`; all of it or nothing.
    ///
    /// # Errors
    /// SQLite says no.
    pub fn put_incidents<'a>(
        &mut self,
        changed: impl Iterator<Item = &'a Incident>,
        gone: &[String],
    ) -> Result<(), StoreError> {
        let result = (|| {
            let tx = self.db.transaction()?;
            for incident in changed {
                let body = serde_json::to_vec(incident).expect("an incident has string keys and finite numbers");
                tx.prepare_cached("INSERT OR REPLACE INTO incident (id, incident) VALUES (?, ?)")?
                    .execute(params![incident.id, body])?;
            }
            for id in gone {
                tx.prepare_cached("DELETE FROM incident WHERE id = ?")?.execute([id])?;
            }
            tx.commit()
        })();
        result.map_err(|error| self.failed(error))
    }

    /// All of them.
    ///
    /// # Errors
    /// SQLite says no. A row that cannot be read is passed over: it takes no other incident with it, and no start.
    pub fn incidents(&self) -> Result<Vec<Incident>, StoreError> {
        let mut found = Vec::new();
        self.each_row("SELECT id, incident FROM incident", |row| {
            let (id, body): (String, Vec<u8>) = (self.read(row, 0)?, self.read(row, 1)?);
            match serde_json::from_slice(&body) {
                Ok(incident) => found.push(incident),
                Err(error) => tracing::warn!(id, %error, "an incident of the state file cannot be read"),
            }
            Ok(())
        })?;
        Ok(found)
    }
}
