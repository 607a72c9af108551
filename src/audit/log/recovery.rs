//! What the log is when a process opens it: from the last signed checkpoint on, every record is read and checked.
//!
//! What stands before the checkpoint is vouched for by the stored hashes, which have to give the signed root; the whole
//! of it is read by `slowburn audit verify`. Bytes at the end that are no record were never answered: a crash left them,
//! and they are dropped. Anything else that does not fit is not repaired: the log is evidence.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use super::OpenError;
use crate::audit::checkpoint::{Anchor, notes};
use crate::audit::hashes::Hashes;
use crate::audit::key::PublicKey;
use crate::audit::merkle::{Frontier, Hash};
use crate::audit::record::Entry;
use crate::audit::segment::{Lines, Next, Segment};

/// Longest note, bytes: what follows the last whole one and is longer is no crash's work.
const NOTE_BYTES_MAX: usize = 4096;

/// Where the log stands: all that the next record needs.
#[derive(Debug, Clone, Default)]
pub(super) struct Head {
    pub(super) frontier: Frontier,
    /// Leaf of the last record.
    pub(super) prev: Option<Hash>,
    /// Latest time of any record that was read, milliseconds.
    pub(super) time_ms: i64,
}

/// A log as it was found.
pub(super) struct Found {
    pub(super) head: Head,
    pub(super) hashes: Hashes,
    /// The file to go on in; its length is where the last record ends.
    pub(super) file: File,
    pub(super) length: u64,
    /// What was dropped from the end.
    pub(super) torn: Vec<u8>,
    /// Kind of the last record.
    pub(super) last_kind: Option<String>,
    /// The last checkpoint that was signed: how many records it covers.
    pub(super) signed: u64,
}

/// Reads the log in `dir`. Only the torn end is changed.
pub(super) fn find(dir: &Path, public: &PublicKey) -> Result<Found, OpenError> {
    let file_error = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| OpenError::File(path, error)
    };
    let damaged = |what: String| OpenError::Damaged(dir.to_owned(), what);
    let signed = last_checkpoint(dir, public)?;
    let size = signed.as_ref().map_or(0, |anchor| anchor.checkpoint.size);
    let segments = Segment::list(dir).map_err(file_error(dir))?;
    let mut hashes = Hashes::open(dir).map_err(file_error(&dir.join("hashes")))?;
    let vouched = signed.as_ref().and_then(|anchor| {
        let frontier = hashes.frontier(size).ok().filter(|frontier| frontier.root() == anchor.checkpoint.root)?;
        let prev = hashes.read(0, size.checked_sub(1)?).ok()?;
        Some(Head { frontier, prev: Some(prev), time_ms: 0 })
    });
    if vouched.is_none() && size > 0 {
        tracing::warn!(
            records = size,
            "the audit log's stored hashes are not those of its checkpoint: reading it whole"
        );
    }
    let head = vouched.unwrap_or_default();
    hashes.cut(head.frontier.size()).map_err(file_error(&dir.join("hashes")))?;
    let mut replay = Replay { dir, head, hashes, last_kind: None, signed: signed.as_ref(), torn: Vec::new() };
    let begins = replay.head.frontier.size();
    // The last record that is vouched for is looked at too: its time and kind are needed.
    let from = segments.iter().rposition(|segment| segment.first < begins).unwrap_or(0);
    let mut end = None;
    for (i, segment) in segments.iter().enumerate().skip(from) {
        let skip = if i == from { begins.saturating_sub(segment.first) } else { 0 };
        let is_last = i + 1 == segments.len();
        end = Some((segment.clone(), replay.segment(segment, skip, is_last)?));
    }
    let records = replay.head.frontier.size();
    if records < size {
        return Err(damaged(format!("it has {records} records, and a checkpoint of {size} was signed")));
    }
    let (segment, length) = end.unwrap_or((Segment::new(dir, 0), 0));
    let opened = OpenOptions::new().read(true).append(true).create(true).open(&segment.path);
    let file = opened.map_err(file_error(&segment.path))?;
    if !replay.torn.is_empty() {
        file.set_len(length).and_then(|()| file.sync_all()).map_err(file_error(&segment.path))?;
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(file_error(dir))?;
    let Replay { head, hashes, last_kind, torn, .. } = replay;
    Ok(Found { head, hashes, file, length, torn, last_kind, signed: size })
}

/// The last checkpoint in the log's own file. A note that was cut off by a crash is passed over.
fn last_checkpoint(dir: &Path, public: &PublicKey) -> Result<Option<Anchor>, OpenError> {
    let path = dir.join("checkpoints");
    let text = match std::fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::File(path, error)),
    };
    let whole = &text[..whole_notes(&text)];
    let Some(anchor) = notes(whole).iter().rev().find_map(|note| Anchor::parse(note).ok()) else { return Ok(None) };
    match anchor.check(public) {
        Ok(()) => Ok(Some(anchor)),
        Err(fault) => {
            let what = format!("its last checkpoint is not by the key {public}: {fault}");
            Err(OpenError::Damaged(dir.to_owned(), what))
        }
    }
}

/// Where the last note ends that was written to its end: a signature, and a blank line after it.
fn whole_notes(text: &str) -> usize {
    let blanks = text.match_indices("\n\n").map(|(at, _)| at);
    let signed = |at: &usize| text[..*at].rsplit('\n').next().is_some_and(|line| line.starts_with('\u{2014}'));
    blanks.filter(signed).last().map_or(0, |at| at + 2)
}

/// Cuts off what a crash left of a note, which the next one would be read together with.
pub(super) fn mend_checkpoints(path: &Path, file: &File) -> io::Result<()> {
    let bytes = std::fs::read(path)?;
    // What is no text is evidence of something else, and stays.
    let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(()) };
    let whole = whole_notes(text);
    if (1..NOTE_BYTES_MAX).contains(&(text.len() - whole)) {
        file.set_len(whole as u64)?;
    }
    Ok(())
}

struct Replay<'a> {
    dir: &'a Path,
    head: Head,
    hashes: Hashes,
    last_kind: Option<String>,
    signed: Option<&'a Anchor>,
    torn: Vec<u8>,
}

impl Replay<'_> {
    fn damaged(&self, what: String) -> OpenError {
        OpenError::Damaged(self.dir.to_owned(), what)
    }

    /// Reads one file, passing over its first `skip` lines; where its last record ends.
    fn segment(&mut self, segment: &Segment, skip: u64, is_last: bool) -> Result<u64, OpenError> {
        let file_error = |error| OpenError::File(segment.path.clone(), error);
        let mut lines = segment.lines(0).map_err(file_error)?;
        let expected = self.head.frontier.size() - skip;
        if segment.first != expected {
            let what = format!("the records {expected} to {} are not there", segment.first.saturating_sub(1));
            return Err(self.damaged(what));
        }
        let (mut passed, mut end) = (0, 0);
        let mut completed = Vec::new();
        while let Some(next) = lines.next().map_err(file_error)? {
            match next {
                Next::Line(begins, line) if passed < skip => {
                    passed += 1;
                    end = begins + line.len() as u64 + 1;
                    if passed == skip {
                        let last = self.vouched(&line);
                        last.map_err(|what| self.damaged(format!("record {}: {what}", expected + skip - 1)))?;
                    }
                }
                Next::Line(begins, line) => match self.record(&line, &mut completed) {
                    Ok(()) => end = begins + line.len() as u64 + 1,
                    // A page that was never written reads as zeros; what follows was not answered either.
                    Err(_) if is_last && line.contains(&0) => {
                        self.torn = rest(line, &mut lines).map_err(file_error)?;
                    }
                    Err(what) => return Err(self.damaged(format!("record {}: {what}", self.head.frontier.size()))),
                },
                Next::Torn(_, line) if is_last => self.torn = line,
                Next::Torn(..) => {
                    return Err(self.damaged(format!("{} ends within a record", segment.path.display())));
                }
            }
        }
        if passed < skip {
            let (have, size) = (segment.first + passed, segment.first + skip);
            return Err(self.damaged(format!("it has {have} records, and a checkpoint of {size} was signed")));
        }
        self.hashes.append(&completed).map_err(file_error)?;
        Ok(end)
    }

    /// Takes the last record before those that are read.
    fn vouched(&mut self, line: &[u8]) -> Result<(), String> {
        let entry = Entry::read(line)?;
        if Some(entry.leaf) != self.head.prev {
            return Err("it is not the one that was signed".into());
        }
        self.take(&entry)
    }

    fn take(&mut self, entry: &Entry) -> Result<(), String> {
        self.head.time_ms = self.head.time_ms.max(entry.time_ms().ok_or("it has no time")?);
        self.last_kind = entry.text("kind").map(str::to_owned);
        Ok(())
    }

    fn record(&mut self, line: &[u8], completed: &mut Vec<Hash>) -> Result<(), String> {
        let entry = Entry::read(line)?;
        if entry.seq != self.head.frontier.size() {
            return Err(format!("it says that it is record {}", entry.seq));
        }
        if entry.prev != self.head.prev {
            return Err("it does not follow from the record before it".into());
        }
        self.head.frontier.push(entry.leaf, completed);
        self.head.prev = Some(entry.leaf);
        self.take(&entry)?;
        match self.signed.map(|anchor| &anchor.checkpoint) {
            Some(signed) if signed.size == self.head.frontier.size() && signed.root != self.head.frontier.root() => {
                Err("the records up to here are not those of the signed checkpoint".into())
            }
            _ => Ok(()),
        }
    }
}

/// What is left of a file, with the line that was just read.
fn rest(mut line: Vec<u8>, lines: &mut Lines) -> io::Result<Vec<u8>> {
    while let Some(Next::Line(_, more) | Next::Torn(_, more)) = lines.next()? {
        line.push(b'\n');
        line.extend(more);
    }
    Ok(line)
}
