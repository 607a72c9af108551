//! Reading the whole log and naming what is wrong with it. Needs the files and the public key, no process and no network.
//!
//! Three things are compared: the records with each other (number, chain, form), the records with every signed
//! checkpoint, those beside the log and those that were kept elsewhere (anchors), and the records with receipts that
//! callers kept. The stored hashes only help to say *which* record was changed: where they give the root that was signed,
//! they are as good as signed.
//!
//! What nothing shows: that records after the last anchor and the last receipt are gone, when checkpoints and stored
//! hashes were cut back with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::checkpoint::{Anchor, NoteFault, notes};
use super::hashes::Hashes;
use super::key::PublicKey;
use super::log::STEP_MS;
use super::merkle::{Frontier, Hash};
use super::record::Entry;
use super::segment::{Next, Segment};

/// More records than this after the last checkpoint are no accident: one is signed after 64, and groups are smaller.
const UNSIGNED_MAX: u64 = 1024;
/// Most faults that are listed.
const FAULTS_MAX: usize = 100;

/// What is wrong, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// A record is not the one that was written.
    Edited {
        /// The record.
        seq: u64,
        /// How it is known.
        why: String,
    },
    /// One of these records, or several, were changed, and the chain after them was written anew.
    EditedWithin {
        /// The first it may be.
        from: u64,
        /// The last it may be.
        to: u64,
    },
    /// Records in the middle are not there.
    Gap {
        /// The first that is missing.
        from: u64,
        /// The last that is missing.
        to: u64,
    },
    /// Records at the end are not there.
    Truncated {
        /// What shows it: `anchor`, `checkpoint`, `receipt`, `stored hashes`.
        by: String,
        /// How many records there were.
        size: u64,
        /// How many there are.
        records: u64,
    },
    /// Two histories were signed with one key.
    Fork {
        /// The size at which they differ.
        size: u64,
        /// What is on the other side.
        by: String,
    },
    /// The time goes back and no `clock_step` says so.
    Clock {
        /// The record.
        seq: u64,
    },
    /// A checkpoint is signed by another key, or is of another log.
    WrongKey {
        /// Where it is.
        by: String,
        /// How many there are like it.
        count: u64,
        /// What it is signed by.
        what: String,
    },
    /// A checkpoint was changed after it was signed.
    WrongSignature {
        /// Where it is.
        by: String,
        /// The size it states.
        size: u64,
    },
    /// Records that a checkpoint should cover, and none does.
    Unsigned {
        /// How many are covered.
        signed: u64,
        /// How many there are.
        records: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Edited { seq, why } => write!(f, "edited@{seq}: {why}"),
            Fault::EditedWithin { from, to } => {
                write!(f, "edited@{from}..{to}: one of these records is not the one that was signed")
            }
            Fault::Gap { from, to } if from == to => write!(f, "gap@{from}: record {from} is not there"),
            Fault::Gap { from, to } => write!(f, "gap@{from}: records {from} to {to} are not there"),
            Fault::Truncated { by, size, records } => {
                write!(f, "truncated({by} {size} > {records}): the last {} records are gone", size - records)
            }
            Fault::Fork { size, by } => {
                write!(f, "fork@{size}: {by} has another history of the first {size} records, signed with the same key")
            }
            Fault::Clock { seq } => write!(f, "clock@{seq}: the time goes back, and no clock_step says so"),
            Fault::WrongKey { by, count, what } => write!(f, "wrong_key({by}): {what} ({count} of its checkpoints)"),
            Fault::WrongSignature { by, size } => {
                write!(f, "wrong_signature({by}): the checkpoint of {size} records was changed after it was signed")
            }
            Fault::Unsigned { signed, records } => {
                write!(f, "unsigned@{signed}: no checkpoint covers the {} records from {signed} on", records - signed)
            }
        }
    }
}

/// What came of reading a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The log, as its key names it.
    pub origin: String,
    /// How many records there are.
    pub records: u64,
    /// The root over them.
    pub root: String,
    /// How many records checkpoints beside the log cover that fit.
    pub signed: u64,
    /// How many records anchors and receipts from elsewhere cover that fit.
    pub anchored: u64,
    /// Statements that were compared: checkpoints, anchors, receipts.
    pub compared: usize,
    /// Bytes of half a record at the end: nobody was answered on it, and the next start drops it.
    pub torn_bytes: usize,
    /// What is wrong; nothing where it is empty.
    pub faults: Vec<Fault>,
}

/// What a log is compared with.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Texts with checkpoints that were kept elsewhere, by name.
    pub anchors: Vec<(String, String)>,
    /// Leaves that callers kept, by the record's number.
    pub receipts: BTreeMap<u64, Hash>,
}

/// Reads the log in `dir`. `progress` is told how many bytes were read, and of how many.
///
/// # Errors
/// When a file cannot be read.
pub fn verify(
    dir: &Path,
    key: &PublicKey,
    evidence: &Evidence,
    progress: &mut dyn FnMut(u64, u64),
) -> io::Result<Report> {
    let local = match std::fs::read(dir.join("checkpoints")) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let mut walk = Walk::new(key, evidence, Hashes::read_only(dir).ok());
    walk.statements("checkpoint", true, &local);
    for (name, text) in &evidence.anchors {
        walk.statements(name, false, text);
    }
    let segments = Segment::list(dir)?;
    let sizes = segments.iter().map(|segment| segment.path.metadata().map(|file| file.len()));
    let total: u64 = sizes.sum::<io::Result<u64>>()?;
    let mut done = 0;
    for segment in &segments {
        let mut lines = segment.lines(0)?;
        while let Some(next) = lines.next()? {
            match next {
                Next::Line(_, line) => {
                    done += line.len() as u64 + 1;
                    walk.line(&line);
                }
                Next::Torn(_, line) => walk.torn(&line, segment == &segments[segments.len() - 1]),
            }
            if walk.expected.is_multiple_of(4096) {
                progress(done, total);
            }
        }
    }
    progress(total, total);
    Ok(walk.report())
}

/// A signed statement that fits its key.
struct Statement {
    by: String,
    local: bool,
    root: Hash,
}

struct Walk<'a> {
    key: &'a PublicKey,
    receipts: &'a BTreeMap<u64, Hash>,
    stored: Option<Hashes>,
    /// Records that the stored hashes were of when reading began.
    stored_records: u64,
    statements: BTreeMap<u64, Vec<Statement>>,
    faults: Vec<Fault>,
    /// Records that a fault was already found with.
    blamed: BTreeSet<u64>,
    frontier: Frontier,
    /// The number that the next record should have.
    expected: u64,
    /// The leaf before; `None` at the beginning, and after what could not be read.
    prev: Option<Hash>,
    /// Roots mean nothing once the records are not in one piece.
    broken: bool,
    /// The first record whose stored hash is another one.
    differs: Option<u64>,
    latest_ms: i64,
    /// Statements with another root: size, and place in the list of that size.
    mismatches: Vec<(u64, usize)>,
    signed: u64,
    anchored: u64,
    compared: usize,
    torn: usize,
}

impl<'a> Walk<'a> {
    fn new(key: &'a PublicKey, evidence: &'a Evidence, stored: Option<Hashes>) -> Self {
        Walk {
            key,
            receipts: &evidence.receipts,
            stored_records: stored.as_ref().map_or(0, Hashes::records),
            stored,
            statements: BTreeMap::new(),
            faults: Vec::new(),
            blamed: BTreeSet::new(),
            frontier: Frontier::default(),
            expected: 0,
            prev: None,
            broken: false,
            differs: None,
            latest_ms: i64::MIN,
            mismatches: Vec::new(),
            signed: 0,
            anchored: 0,
            compared: 0,
            torn: 0,
        }
    }

    fn fault(&mut self, fault: Fault) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    fn edited(&mut self, seq: u64, why: impl Into<String>) {
        self.broken = true;
        if self.blamed.insert(seq) {
            self.fault(Fault::Edited { seq, why: why.into() });
        }
    }

    /// Takes the checkpoints in `text`.
    fn statements(&mut self, by: &str, local: bool, text: &str) {
        let mut foreign: Option<(u64, String)> = None;
        for note in notes(text) {
            let Ok(anchor) = Anchor::parse(&note) else { continue };
            let (size, root) = (anchor.checkpoint.size, anchor.checkpoint.root);
            match anchor.check(self.key) {
                Ok(()) => {
                    self.compared += 1;
                    let same = self.statements.entry(size).or_default();
                    if !same.iter().any(|other| other.local == local && other.root == root) {
                        same.push(Statement { by: by.to_owned(), local, root });
                    }
                }
                Err(NoteFault::Signature) => self.fault(Fault::WrongSignature { by: by.to_owned(), size }),
                Err(fault) => {
                    let (count, _) = foreign.get_or_insert_with(|| (0, fault.to_string()));
                    *count += 1;
                }
            }
        }
        if let Some((count, what)) = foreign {
            let what = format!("{what}, and not by {}", self.key);
            self.fault(Fault::WrongKey { by: by.to_owned(), count, what });
        }
    }

    fn line(&mut self, line: &[u8]) {
        let entry = match Entry::read(line) {
            Ok(entry) => entry,
            Err(why) => {
                self.edited(self.expected, format!("it is {why}"));
                self.prev = None;
                self.expected += 1;
                return;
            }
        };
        self.place(&entry);
        self.clock(&entry);
        if self.stored_leaf(entry.seq).is_some_and(|stored| stored != entry.leaf) {
            self.differs.get_or_insert(entry.seq);
        }
        if self.receipts.get(&entry.seq).is_some_and(|leaf| *leaf != entry.leaf) {
            self.edited(entry.seq, "whoever asked was given a receipt with another leaf");
        } else if self.receipts.contains_key(&entry.seq) {
            self.anchored = self.anchored.max(entry.seq + 1);
            self.compared += 1;
        }
        self.frontier.push(entry.leaf, &mut Vec::new());
        self.prev = Some(entry.leaf);
        self.expected = entry.seq + 1;
        self.compare();
    }

    /// Number and chain.
    fn place(&mut self, entry: &Entry) {
        let seq = entry.seq;
        if seq > self.expected {
            self.broken = true;
            self.fault(Fault::Gap { from: self.expected, to: seq - 1 });
        } else if seq < self.expected {
            self.edited(seq, format!("it stands again after record {}", self.expected - 1));
        } else if seq == 0 && entry.prev.is_some() {
            self.edited(0, "the first record follows from none");
        } else if seq > 0 && self.prev.is_some() && entry.prev != self.prev {
            // Either the one before was changed, or what this one says of it.
            let before_fits = self.stored_leaf(seq - 1) == self.prev;
            if before_fits && self.stored_leaf(seq).is_some_and(|stored| stored != entry.leaf) {
                self.edited(seq, "it does not follow from the record before it");
            } else {
                self.edited(seq - 1, format!("record {seq} follows from another one"));
            }
        }
    }

    fn clock(&mut self, entry: &Entry) {
        let Some(time_ms) = entry.time_ms() else {
            self.edited(entry.seq, "it has no time");
            return;
        };
        if entry.text("kind") == Some("clock_step") {
            self.latest_ms = time_ms;
        } else if time_ms.saturating_add(STEP_MS) < self.latest_ms {
            self.fault(Fault::Clock { seq: entry.seq });
            self.latest_ms = time_ms;
        }
        self.latest_ms = self.latest_ms.max(time_ms);
    }

    fn stored_leaf(&self, seq: u64) -> Option<Hash> {
        (seq < self.stored_records).then(|| self.stored.as_ref()?.read(0, seq).ok())?
    }

    /// What was signed of this size has to have this root.
    fn compare(&mut self) {
        let size = self.frontier.size();
        let Some(statements) = self.statements.get(&size) else { return };
        if self.broken {
            return;
        }
        let root = self.frontier.root();
        for (i, statement) in statements.iter().enumerate() {
            match (statement.root == root, statement.local) {
                (false, _) => self.mismatches.push((size, i)),
                (true, true) => self.signed = size,
                (true, false) => self.anchored = self.anchored.max(size),
            }
        }
    }

    fn torn(&mut self, line: &[u8], is_last: bool) {
        if is_last {
            self.torn = line.len();
        } else {
            self.edited(self.expected, "its file ends within it");
            self.expected += 1;
            self.prev = None;
        }
    }

    /// Names what is behind roots that do not fit.
    fn mismatched(&mut self) {
        let Some(&(size, i)) = self.mismatches.first() else { return };
        let statement = &self.statements[&size][i];
        let (by, root) = (statement.by.clone(), statement.root);
        let local = self.mismatches.iter().any(|&(size, i)| self.statements[&size][i].local);
        let proven = self.stored.as_ref().and_then(|stored| stored.frontier(size).ok()).map(|frontier| frontier.root());
        match self.differs {
            Some(seq) if proven == Some(root) => {
                self.edited(seq, "it and all after it were written anew, and do not give the root that was signed");
            }
            Some(seq) if local && seq < size => {
                self.edited(seq, format!("{by} was signed over another record (as the stored hashes have it)"));
            }
            _ if !local => self.fault(Fault::Fork { size, by }),
            _ => {
                let from = self.signed.min(size - 1);
                self.fault(Fault::EditedWithin { from, to: size - 1 });
            }
        }
    }

    /// Two statements of one size with different roots.
    fn forks(&mut self) {
        let mut forks = Vec::new();
        for (size, statements) in &self.statements {
            if let Some(other) = statements.iter().find(|other| other.root != statements[0].root) {
                let by = if statements[0].local { &other.by } else { &statements[0].by };
                forks.push(Fault::Fork { size: *size, by: by.clone() });
            }
        }
        for fork in forks {
            self.fault(fork);
        }
    }

    fn truncated(&mut self) {
        let records = self.expected;
        let mut largest: BTreeMap<String, u64> = BTreeMap::new();
        for (size, statements) in self.statements.range(records + 1..) {
            for statement in statements {
                let by = if statement.local { "checkpoint".to_owned() } else { format!("anchor {}", statement.by) };
                largest.insert(by, *size);
            }
        }
        if let Some((seq, _)) = self.receipts.range(records..).next_back() {
            largest.insert("receipt".into(), seq + 1);
        }
        if self.stored_records > records {
            largest.insert("stored hashes".into(), self.stored_records);
        }
        for (by, size) in largest {
            self.fault(Fault::Truncated { by, size, records });
        }
    }

    fn report(mut self) -> Report {
        self.forks();
        if !self.faults.iter().any(|fault| matches!(fault, Fault::Fork { .. })) {
            self.mismatched();
        }
        self.truncated();
        let covered = self.signed.max(self.anchored);
        if !self.broken && self.mismatches.is_empty() && self.expected > covered + UNSIGNED_MAX {
            self.fault(Fault::Unsigned { signed: covered, records: self.expected });
        }
        Report {
            origin: self.key.name().to_owned(),
            records: self.frontier.size(),
            root: self.frontier.root().to_string(),
            signed: self.signed,
            anchored: self.anchored,
            compared: self.compared,
            torn_bytes: self.torn,
            faults: self.faults,
        }
    }
}

#[cfg(test)]
mod tests;
