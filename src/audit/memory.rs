//! What is remembered of the log outside of its directory: how many records it had, and their root, signed. Whoever cuts
//! the log off, puts an older copy in its place or takes it away has to change this too, and what was sent elsewhere.
//!
//! A start that finds less than is remembered, or something else, cannot prove its log whole. It says so by a [`Doubt`];
//! what follows from one is for the gate to say. Only [`super::Kind::Accepted`] ends it.
//!
//! The order of writing is what makes a crash unlike tampering: a memory of nothing, then the first record; each record,
//! then the memory of it, then the answer. So a process that dies at any moment leaves a memory, of as many records as
//! there are or of fewer.
//!
//! Deliberately absent: trust in the file itself. It is read as a note that the log's own key has signed.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::checkpoint::{Anchor, Checkpoint, NoteFault, notes};
use super::hashes::Hashes;
use super::key::{PublicKey, SigningKey};
use super::merkle::Frontier;
use crate::telemetry::names;

/// Room for one note, bytes. It is always written whole, within one sector of a disk.
const NOTE_BYTES: usize = 512;

/// Why a start cannot prove its log whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// There were more records.
    Shorter {
        /// What remembers them.
        by: String,
        /// How many.
        size: u64,
        /// How many there are.
        records: u64,
    },
    /// There were other records.
    Fork {
        /// What remembers them.
        by: String,
        /// Up to which.
        size: u64,
    },
    /// Another log was kept here.
    OtherLog {
        /// What remembers it.
        by: String,
        /// What it says.
        what: String,
    },
    /// There is no log where there was one.
    Gone,
    /// The log was remembered, and is not any more.
    Forgotten(String),
    /// A record is not the one that was written.
    Edited {
        /// Its number.
        seq: u64,
        /// How it is known.
        why: String,
    },
    /// Records in the middle are not there.
    Missing {
        /// The first of them.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// A record tells of nothing that is known.
    Unread {
        /// Its number.
        seq: u64,
    },
    /// The log cannot be opened at all.
    Damaged(String),
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Doubt::Shorter { by, size, records } => {
                write!(f, "truncated({by} {size} > {records}): the last {} records are gone", size - records)
            }
            Doubt::Fork { by, size } => write!(f, "fork@{size}: {by} has another history of the first {size} records"),
            Doubt::OtherLog { by, what } => write!(f, "other_log({by}): {what}"),
            Doubt::Gone => f.write_str("gone: there is state of an earlier process, and no audit log of it"),
            Doubt::Forgotten(why) => write!(f, "forgotten: what was remembered of the log outside of it {why}"),
            Doubt::Missing { from, to } if from == to => write!(f, "gap@{from}: record {from} is not there"),
            Doubt::Missing { from, to } => write!(f, "gap@{from}: records {from} to {to} are not there"),
            Doubt::Unread { seq } => {
                write!(
                    f,
                    "unread@{seq}: what it tells is nothing that this version knows; a newer one wrote it, or nobody"
                )
            }
            Doubt::Edited { seq, why } => write!(f, "edited@{seq}: {why}"),
            Doubt::Damaged(why) => write!(f, "damaged: {why}"),
        }
    }
}

impl Doubt {
    /// Whether it is among these, by their texts. A memory of so many records is the same one, however many there are by now.
    pub(super) fn is_among(&self, texts: &BTreeSet<String>) -> bool {
        let begins = |start: String| texts.iter().any(|text| text.starts_with(&start));
        match self {
            Doubt::Shorter { by, size, .. } | Doubt::Fork { by, size } => {
                begins(format!("truncated({by} {size} > ")) || begins(format!("fork@{size}: {by} has "))
            }
            other => texts.contains(&other.to_string()),
        }
    }
}

/// Why the log cannot be proved complete. While there is a doubt nothing is signed, remembered or sent elsewhere: what was
/// there before is what shows it.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    rows: Mutex<Vec<Doubt>>,
    /// The log has not been read whole yet, and what is remembered of it may still have to show something.
    pub(super) unproved: AtomicBool,
}

impl Doubts {
    pub(super) fn rows(&self) -> MutexGuard<'_, Vec<Doubt>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, doubts: impl IntoIterator<Item = Doubt>) {
        let mut rows = self.rows();
        for doubt in doubts {
            if !rows.contains(&doubt) {
                rows.push(doubt);
            }
        }
        metrics::gauge!(names::AUDIT_PROVED).set(if rows.is_empty() { 1.0 } else { 0.0 });
    }

    pub(super) fn clear(&self) {
        self.drop_if(|_| true);
    }

    /// Drops those that are nothing any more.
    pub(super) fn drop_if(&self, is_over: impl Fn(&Doubt) -> bool) {
        let mut rows = self.rows();
        rows.retain(|doubt| !is_over(doubt));
        metrics::gauge!(names::AUDIT_PROVED).set(if rows.is_empty() { 1.0 } else { 0.0 });
    }

    pub(super) fn any(&self) -> bool {
        !self.rows().is_empty()
    }

    /// Whether nothing is to be signed, remembered or sent elsewhere yet.
    pub(super) fn hold(&self) -> bool {
        self.unproved.load(Ordering::Acquire) || self.any()
    }
}

/// The file that remembers.
#[derive(Debug)]
pub(super) struct Memory(File);

impl Memory {
    /// Opens or makes it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Memory(file))
    }

    /// What it says; `None` where it is new.
    pub(super) fn note(&self) -> io::Result<Option<String>> {
        let length = usize::try_from(self.0.metadata()?.len()).unwrap_or(usize::MAX).min(NOTE_BYTES);
        if length == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; length];
        self.0.read_exact_at(&mut bytes, 0)?;
        let text = String::from_utf8_lossy(&bytes).trim_end_matches([' ', '\0']).to_owned();
        Ok(Some(text))
    }

    /// Remembers this. It outlives the process at once, and a power cut once it is [synced](Memory::sync).
    pub(super) fn remember(&self, checkpoint: &Checkpoint, key: &SigningKey) -> io::Result<()> {
        let mut note = checkpoint.sign(key).into_bytes();
        note.resize(note.len().max(NOTE_BYTES), b' ');
        self.0.write_all_at(&note, 0)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    /// Remembers a log that has no record yet. It is on disk before the first record is, so that at no moment there are
    /// records without a memory of them: where that is found, somebody took it away.
    pub(super) fn begin(&self, path: &Path, key: &SigningKey) -> io::Result<()> {
        let nothing = Checkpoint { origin: key.public().name().to_owned(), size: 0, root: Frontier::default().root() };
        self.remember(&nothing, key)?;
        self.0.sync_all()?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

/// What was found of a log, to be held against what is remembered.
pub(super) struct Found<'a> {
    pub(super) records: u64,
    pub(super) hashes: &'a Hashes,
    pub(super) key: &'a PublicKey,
}

impl Found<'_> {
    /// Holds one note of `by` against the log.
    pub(super) fn against(&self, by: &str, note: &str) -> Option<Doubt> {
        let anchor = match Anchor::parse(note) {
            Ok(anchor) => anchor,
            Err(fault) => return Some(Doubt::Forgotten(format!("in {by} cannot be read: {fault}"))),
        };
        match anchor.check(self.key) {
            Ok(()) => {}
            Err(fault @ NoteFault::Signature) => {
                return Some(Doubt::OtherLog { by: by.into(), what: fault.to_string() });
            }
            Err(fault) => {
                let Checkpoint { origin, size, .. } = &anchor.checkpoint;
                let what = format!("it remembers {size} records of the log {origin}, and {fault}");
                return Some(Doubt::OtherLog { by: by.into(), what });
            }
        }
        let Checkpoint { size, root, .. } = anchor.checkpoint;
        if size > self.records {
            return Some(Doubt::Shorter { by: by.into(), size, records: self.records });
        }
        let found = self.hashes.frontier(size).ok().map(|frontier| frontier.root());
        (found != Some(root)).then(|| Doubt::Fork { by: by.into(), size })
    }

    /// Holds the newest note of a place outside against the log. Notes of other logs may stand beside ours; where none
    /// is ours and this log is new, they are of the one that was here before.
    pub(super) fn against_sink(&self, by: &str, text: &str) -> Option<Doubt> {
        let all = notes(text);
        let ours = |note: &&String| Anchor::parse(note).is_ok_and(|anchor| anchor.check(self.key).is_ok());
        match all.iter().rev().find(ours) {
            Some(note) => self.against(by, note),
            None if self.records == 0 => all.last().and_then(|note| self.against(by, note)),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests;
