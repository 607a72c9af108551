//! What must be said of the history of SLOs, in the state file: written when it changes, before the history is.

use rusqlite::params;

use super::{Said, Store, StoreError};

impl Store {
    /// Writes what must be said of the SLOs in force, all of it or nothing. What is kept of others stays until no window
    /// would hold it: their rules may come back.
    ///
    /// # Errors
    /// SQLite says no.
    pub fn put_said(&mut self, said: &[Said]) -> Result<(), StoreError> {
        let result = (|| {
            let tx = self.db.transaction()?;
            tx.execute("DELETE FROM said WHERE until_s <= (SELECT at_s FROM state)", [])?;
            let known: Vec<(i64, String, String)> = {
                let mut query = tx.prepare("SELECT rowid, slo_id, definition FROM said")?;
                let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
                rows.collect::<Result<_, _>>()?
            };
            for (row, ..) in known.iter().filter(|(_, id, definition)| self.definitions.get(id) == Some(definition)) {
                tx.prepare_cached("DELETE FROM said WHERE rowid = ?")?.execute([row])?;
            }
            for said in said {
                let Some(definition) = self.definitions.get(&said.slo_id) else { continue };
                tx.prepare_cached("INSERT INTO said (slo_id, definition, until_s, note) VALUES (?, ?, ?, ?)")?
                    .execute(params![said.slo_id, definition, said.until_s, said.note])?;
            }
            tx.commit()
        })();
        result.map_err(|error| self.failed(error))
    }

    /// What must be said of the SLOs in force.
    ///
    /// # Errors
    /// SQLite says no.
    pub fn said(&self) -> Result<Vec<Said>, StoreError> {
        let mut found = Vec::new();
        self.each_row("SELECT slo_id, definition, until_s, note FROM said ORDER BY rowid", |row| {
            let (slo_id, definition): (String, String) = (self.read(row, 0)?, self.read(row, 1)?);
            if self.definitions.get(&slo_id) == Some(&definition) {
                found.push(Said { slo_id, until_s: self.read(row, 2)?, note: self.read(row, 3)? });
            }
            Ok(())
        })?;
        Ok(found)
    }
}
