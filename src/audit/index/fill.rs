//! Bringing the index up to date: reads the log from where it was read last.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;

use rusqlite::{OptionalExtension as _, Transaction, TransactionBehavior, params};
use serde::Deserialize;

use super::{FIELDS, Index, LOOKUPS, SearchError};
use crate::audit::merkle::Hash;
use crate::audit::segment::{Next, Segment};

/// Records that are written in one transaction.
const BATCH: u64 = 50_000;

/// What of a record the index holds.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    actor: Option<Cow<'a, str>>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    action: Option<Cow<'a, str>>,
    #[serde(borrow)]
    incident_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    service: Option<Cow<'a, str>>,
    #[serde(borrow)]
    decision: Option<DecisionBody<'a>>,
    log: Log,
}

#[derive(Deserialize)]
struct DecisionBody<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    result: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Log {
    seq: u64,
}

/// How far the log was read.
#[derive(Debug, Clone, Default)]
struct ReadPosition {
    next_seq: u64,
    /// The file, and where the next record begins in it.
    file: u64,
    next_begins: u64,
    /// Where the last one stands, and its bytes' digest: whether this is still the same log.
    last_begins: u64,
    last_length: u64,
    last_digest: Vec<u8>,
    latest_ms: i64,
}

/// Words of the index and how often they were used since the last transaction.
type Words = HashMap<(usize, String), (i64, i64)>;

impl Index {
    /// Reads what the log has and the index does not.
    ///
    /// # Errors
    /// When the log cannot be read or the index not be written.
    pub fn catch_up(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), SearchError> {
        let segments = Segment::list(&self.dir)?;
        let mut words = Words::new();
        let mut from_scratch = false;
        let mut more = true;
        while more {
            let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut position = position(&tx)?;
            if position.next_seq > 0 && !is_same(&segments, &position)? {
                tx.execute_batch("DELETE FROM record; DELETE FROM decision; DELETE FROM word; DELETE FROM state;")?;
                position = ReadPosition::default();
                words.clear();
            }
            from_scratch |= position.next_seq == 0;
            more = fill(&tx, &segments, &mut position, &mut words, progress)?;
            keep(&tx, &position, &mut words)?;
            tx.commit()?;
        }
        // Whoever filled it first makes them; where they are, this does nothing.
        if from_scratch {
            self.db.execute_batch(LOOKUPS)?;
        }
        Ok(())
    }
}

fn position(tx: &Transaction<'_>) -> rusqlite::Result<ReadPosition> {
    let sql = "SELECT next_seq, file, next_begins, last_begins, last_length, last_digest, latest_ms FROM state";
    let position = tx.query_row(sql, [], |row| {
        let whole = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
        Ok(ReadPosition {
            next_seq: whole(0)?,
            file: whole(1)?,
            next_begins: whole(2)?,
            last_begins: whole(3)?,
            last_length: whole(4)?,
            last_digest: row.get(5)?,
            latest_ms: row.get(6)?,
        })
    });
    Ok(position.optional()?.unwrap_or_default())
}

/// Whether the last record that was read still stands where it stood.
fn is_same(segments: &[Segment], position: &ReadPosition) -> io::Result<bool> {
    let Some(segment) = segments.iter().find(|segment| segment.first == position.file) else { return Ok(false) };
    match segment.line(position.last_begins, usize::try_from(position.last_length).unwrap_or(0)) {
        Ok(line) => Ok(Hash::of(&line).0[..] == position.last_digest[..]),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads one batch; whether there is more.
fn fill(
    tx: &Transaction<'_>,
    segments: &[Segment],
    position: &mut ReadPosition,
    words: &mut Words,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<bool, SearchError> {
    let mut record = tx.prepare_cached("INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
    let mut decision = tx.prepare_cached("INSERT OR IGNORE INTO decision VALUES (?, ?)")?;
    let sizes = segments.iter().map(|segment| Ok(segment.path.metadata()?.len()));
    let sizes: Vec<u64> = sizes.collect::<io::Result<_>>()?;
    let total: u64 = sizes.iter().sum();
    let mut done: u64 = segments.iter().zip(&sizes).filter(|(s, _)| s.first < position.file).map(|(_, n)| n).sum();
    let mut read = 0;
    let from = position.file;
    for (segment, size) in segments.iter().zip(&sizes).filter(|(segment, _)| segment.first >= from) {
        if segment.first > position.file {
            (position.file, position.next_begins) = (segment.first, 0);
        }
        let mut lines = segment.lines(position.next_begins)?;
        while let Some(Next::Line(begins, line)) = lines.next()? {
            position.next_begins = begins + line.len() as u64 + 1;
            // What is no record is a matter for `audit verify`.
            let Ok(row) = serde_json::from_slice::<Row<'_>>(&line) else { continue };
            let Ok(time) = row.time.parse::<jiff::Timestamp>() else { continue };
            let time_ms = time.as_millisecond();
            position.latest_ms = if read == 0 && row.log.seq == 0 { time_ms } else { position.latest_ms.max(time_ms) };
            let of_decision = row.decision.as_ref();
            let texts = [
                row.kind.as_deref(),
                row.actor.as_deref(),
                row.action.as_deref(),
                row.service.as_deref(),
                row.incident_id.as_deref(),
                of_decision.and_then(|decision| decision.result.as_deref()),
            ];
            let mut ids = [None; FIELDS.len()];
            for (field, (id, text)) in ids.iter_mut().zip(texts).enumerate() {
                *id = text.map(|text| word(tx, words, field, text)).transpose()?;
            }
            let seq = i64::try_from(row.log.seq).unwrap_or(i64::MAX);
            let (file, length) = (segment.first as i64, line.len() as i64);
            let [kind, actor, action, service, incident, result] = ids;
            record.execute(params![
                seq,
                file,
                begins as i64,
                length,
                time_ms,
                position.latest_ms,
                kind,
                actor,
                action,
                service,
                incident,
                result
            ])?;
            if let Some(id) = of_decision.and_then(|decision| decision.id.as_deref()) {
                decision.execute(params![id, seq])?;
            }
            position.next_seq = row.log.seq + 1;
            (position.last_begins, position.last_length) = (begins, line.len() as u64);
            read += 1;
            if read % 4096 == 0 {
                progress(done + position.next_begins, total);
            }
            if read == BATCH {
                position.last_digest = Hash::of(&line).0.to_vec();
                return Ok(true);
            }
        }
        done += size;
    }
    if read > 0 {
        let segment = Segment { first: position.file, ..segments[segments.len() - 1].clone() };
        let last = segments.iter().find(|other| other.first == segment.first).unwrap_or(&segment);
        let line = last.line(position.last_begins, usize::try_from(position.last_length).unwrap_or(0));
        position.last_digest = line.map(|line| Hash::of(&line).0.to_vec()).unwrap_or_default();
    }
    Ok(false)
}

/// The number of a word.
fn word(tx: &Transaction<'_>, words: &mut Words, field: usize, text: &str) -> rusqlite::Result<i64> {
    // The words of a fleet are few; those of incidents grow, and are looked up again after a while.
    if words.len() > 100_000 {
        uses(tx, words)?;
        words.clear();
    }
    if let Some((id, uses)) = words.get_mut(&(field, text.to_owned())) {
        *uses += 1;
        return Ok(*id);
    }
    let field_number = field as i64;
    let found = tx
        .prepare_cached("SELECT id FROM word WHERE field = ? AND text = ?")?
        .query_row(params![field_number, text], |row| row.get::<_, i64>(0))
        .optional()?;
    let id = match found {
        Some(id) => id,
        None => {
            tx.prepare_cached("INSERT INTO word (field, text, uses) VALUES (?, ?, 0)")?
                .execute(params![field_number, text])?;
            tx.last_insert_rowid()
        }
    };
    words.insert((field, text.to_owned()), (id, 1));
    Ok(id)
}

/// Writes how often words were used.
fn uses(tx: &Transaction<'_>, words: &mut Words) -> rusqlite::Result<()> {
    let mut add = tx.prepare_cached("UPDATE word SET uses = uses + ? WHERE id = ?")?;
    for (id, uses) in words.values_mut().filter(|(_, uses)| *uses > 0) {
        add.execute(params![*uses, *id])?;
        *uses = 0;
    }
    Ok(())
}

fn keep(tx: &Transaction<'_>, position: &ReadPosition, words: &mut Words) -> rusqlite::Result<()> {
    uses(tx, words)?;
    tx.execute(
        "INSERT OR REPLACE INTO state VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
        params![
            position.next_seq as i64,
            position.file as i64,
            position.next_begins as i64,
            position.last_begins as i64,
            position.last_length as i64,
            position.last_digest,
            position.latest_ms
        ],
    )?;
    Ok(())
}
