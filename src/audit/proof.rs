//! Reading the whole log for what its events say, and proving on the way that it is the one that was written: every
//! record follows from the one before it, and all of them give the root that was signed. Made for starts: records are
//! hashed as they stand, and only what is asked for is read as JSON.
//!
//! Deliberately absent: names for everything that can be wrong. One doubt is enough to stop a start; `verify` names all.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::checkpoint::{Anchor, notes};
use super::hashes::Hashes;
use super::key::PublicKey;
use super::memory::Doubt;
use super::merkle::{Frontier, Hash};
use super::segment::{Next, Segment};

/// What is read of one record.
#[derive(Debug, Clone, Copy)]
pub struct Glance<'l> {
    /// Its number.
    pub seq: u64,
    /// Its kind.
    pub kind: &'l str,
    /// The text of `event`.
    pub event: Option<&'l [u8]>,
}

/// What a walk through the whole log came to.
pub struct Proved {
    /// What does not fit.
    pub doubts: Vec<Doubt>,
    /// What a person has accepted, by its text, where that stands among what was signed.
    pub accepted: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Place {
    seq: u64,
    prev: Option<String>,
}

/// A line as members, without reading their values.
struct Members<'l>(Vec<(&'l [u8], &'l [u8])>);

impl<'l> Members<'l> {
    /// `None`: no object, or one whose end is missing.
    fn of(line: &'l [u8]) -> Option<Self> {
        let inner = line.strip_prefix(b"{")?.strip_suffix(b"}")?;
        let mut members = Vec::with_capacity(20);
        let (mut begins, mut depth, mut at) = (0, 0_usize, 0);
        while at <= inner.len() {
            match inner.get(at) {
                Some(b'"') => at = end_of_text(inner, at)?,
                Some(b'{' | b'[') => depth += 1,
                Some(b'}' | b']') => depth = depth.checked_sub(1)?,
                Some(b',') | None if depth == 0 => {
                    let member = &inner[begins..at];
                    let quoted = member.strip_prefix(b"\"")?;
                    let name = &quoted[..quoted.iter().position(|byte| *byte == b'"')?];
                    members.push((name, member));
                    begins = at + 1;
                }
                None => return None,
                _ => {}
            }
            at += 1;
        }
        Some(Members(members))
    }

    fn value(&self, name: &str) -> Option<&'l [u8]> {
        let (_, member) = self.0.iter().find(|(own, _)| *own == name.as_bytes())?;
        member.get(name.len() + 3..)
    }

    /// `SHA-256(0x00 || the members in canonical order)`.
    fn leaf(&self) -> Hash {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_unstable_by_key(|(name, _)| *name);
        let mut hash = Sha256::new();
        hash.update(b"\0{");
        for (i, (_, member)) in sorted.into_iter().enumerate() {
            if i > 0 {
                hash.update(b",");
            }
            hash.update(member);
        }
        hash.update(b"}");
        Hash(hash.finalize().into())
    }
}

/// Where the text that begins at `at` ends: its closing quote.
fn end_of_text(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += bytes[at..].iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
        if at >= bytes.len() {
            return None;
        }
    }
}

/// Gives every record of the log in `dir`, oldest first, to `take`, which says whether it knows what the record tells, and
/// gives back what does not fit. A torn tail, which no answer
/// stood on, is left out, and so is what a person has accepted as it is. `remembers`: whether something outside of the
/// log remembers it; then records that say so too are held against `had`, the records there were before this process.
///
/// # Errors
/// A file cannot be read.
pub fn prove(
    dir: &Path,
    key: &PublicKey,
    had: u64,
    forgotten: bool,
    mut take: impl FnMut(Glance<'_>) -> bool,
) -> io::Result<Proved> {
    let mut walk = Walk::new(dir, key, had, forgotten);
    for segment in Segment::list(dir)? {
        let mut lines = segment.lines(0)?;
        while let Some(next) = lines.next()? {
            let Next::Line(_, line) = next else { continue };
            walk.line(&line, &mut take);
        }
    }
    Ok(walk.end())
}

struct Walk {
    stored: Option<Hashes>,
    signed: Option<Anchor>,
    frontier: Frontier,
    prev: Option<Hash>,
    doubts: Vec<Doubt>,
    /// Doubts that a person has accepted, by their text, where the acceptance is among what was signed.
    accepted: BTreeSet<String>,
    /// The root at the size that was signed is another one.
    unrooted: bool,
    /// First record whose leaf is not the stored one.
    differs: Option<(u64, Hash)>,
    /// Lines that are no record of their place, until the next one shows how many records they stand for.
    strays: Vec<Hash>,
    had: u64,
    /// Nothing outside remembers the log: did it?
    forgotten: bool,
}

/// Most doubts that are told.
const DOUBTS_MAX: usize = 20;

impl Walk {
    fn new(dir: &Path, key: &PublicKey, had: u64, forgotten: bool) -> Self {
        let text = std::fs::read(dir.join("checkpoints")).unwrap_or_default();
        let all = notes(&String::from_utf8_lossy(&text));
        let signed =
            all.iter().rev().find_map(|note| Anchor::parse(note).ok().filter(|anchor| anchor.check(key).is_ok()));
        Walk {
            stored: Hashes::read_only(dir).ok(),
            signed,
            frontier: Frontier::default(),
            prev: None,
            doubts: Vec::new(),
            accepted: BTreeSet::new(),
            unrooted: false,
            differs: None,
            strays: Vec::new(),
            had,
            forgotten,
        }
    }

    fn edited(&mut self, seq: u64, why: String) {
        if self.doubts.len() < DOUBTS_MAX {
            self.doubts.push(Doubt::Edited { seq, why });
        }
    }

    /// The hash that was kept of a record.
    fn kept(&self, seq: u64) -> Option<Hash> {
        self.stored.as_ref().and_then(|stored| stored.read(0, seq).ok())
    }

    /// The next record is this one. What was found before it stands for the records up to here; where that is less, there
    /// are others missing, which their hashes stand for.
    fn reach(&mut self, seq: u64) {
        let room = usize::try_from(seq - self.frontier.size()).unwrap_or(usize::MAX);
        let strays = std::mem::take(&mut self.strays);
        strays.into_iter().take(room).for_each(|leaf| self.push_unseen(leaf));
        let from = self.frontier.size();
        if from < seq && self.doubts.len() < DOUBTS_MAX {
            self.doubts.push(Doubt::Missing { from, to: seq - 1 });
        }
        while self.frontier.size() < seq {
            // It is known of a later one, so it is of these too.
            let leaf = self.kept(self.frontier.size()).unwrap_or(Hash::of(b""));
            self.push(leaf);
        }
    }

    /// A record whose kept hash is not looked at yet.
    fn push_unseen(&mut self, leaf: Hash) {
        let seq = self.frontier.size();
        if self.differs.is_none() && self.kept(seq).is_some_and(|kept| kept != leaf) {
            self.differs = Some((seq, leaf));
        }
        self.push(leaf);
    }

    fn push(&mut self, leaf: Hash) {
        self.frontier.push(leaf, &mut Vec::new());
        self.prev = Some(leaf);
        if let Some(signed) = self.signed.as_ref().map(|anchor| &anchor.checkpoint)
            && signed.size == self.frontier.size()
        {
            self.unrooted = signed.root != self.frontier.root();
        }
    }

    fn line(&mut self, line: &[u8], take: &mut impl FnMut(Glance<'_>) -> bool) {
        let members = Members::of(line);
        let leaf = members.as_ref().map_or_else(|| Hash::of(line), Members::leaf);
        let place: Option<Place> =
            members.as_ref().and_then(|one| one.value("log")).and_then(|value| serde_json::from_slice(value).ok());
        let due = self.frontier.size() + self.strays.len() as u64;
        let kept = |place: &&Place| place.seq >= self.frontier.size() && self.kept(place.seq) == Some(leaf);
        let (seq, is_kept) = match place.as_ref().filter(kept) {
            // By its hash it is the record of that number, wherever it is found.
            Some(place) => (place.seq, true),
            None => (due, false),
        };
        match &place {
            Some(place) if place.seq == seq => {
                self.reach(seq);
                let follows = place.prev == self.prev.map(|hash| hash.to_string());
                if !follows {
                    let before = self.prev.map_or_else(|| "nothing".to_owned(), |hash| hash.to_string());
                    self.edited(seq.saturating_sub(1), format!("record {seq} does not follow from it ({before})"));
                }
                match is_kept {
                    true => self.push(leaf),
                    false => self.push_unseen(leaf),
                }
            }
            _ => {
                self.edited(seq, format!("it is no record, or not in its place ({leaf})"));
                self.strays.push(leaf);
            }
        }
        let Some(members) = members else { return };
        let text = |name| members.value(name).and_then(|value| serde_json::from_slice::<&str>(value).ok());
        let kind = text("kind").unwrap_or_default();
        let event = members.value("event");
        match kind {
            "accepted" => self.accept(seq, leaf, event),
            "boot" if self.forgotten && seq < self.had => self.boot(event),
            _ => {}
        }
        if !take(Glance { seq, kind, event }) && self.doubts.len() < DOUBTS_MAX {
            self.doubts.push(Doubt::Unread { seq });
        }
    }

    /// A person took the log as it is, doubts and all. It counts where it stands as it was written.
    fn accept(&mut self, seq: u64, leaf: Hash, event: Option<&[u8]>) {
        #[derive(Deserialize)]
        struct Accepted {
            doubts: Vec<String>,
        }
        let stored = self.kept(seq);
        let signed = self.signed.as_ref().is_some_and(|anchor| seq < anchor.checkpoint.size);
        let event = event.and_then(|event| serde_json::from_slice::<Accepted>(event).ok());
        if let (true, true, Some(event)) = (signed, stored == Some(leaf), event) {
            self.accepted.extend(event.doubts);
            self.forgotten &= false;
        }
    }

    /// A log that says that it is remembered, and is not, was forgotten by somebody.
    fn boot(&mut self, event: Option<&[u8]>) {
        #[derive(Deserialize)]
        struct Boot {
            #[serde(default)]
            remembered: bool,
        }
        let boot = event.and_then(|event| serde_json::from_slice::<Boot>(event).ok());
        if boot.is_some_and(|boot| boot.remembered) {
            self.forgotten = false;
            self.doubts.push(Doubt::Forgotten("is not there".into()));
        }
    }

    fn end(mut self) -> Proved {
        self.reach(self.frontier.size() + self.strays.len() as u64);
        if let Some((seq, leaf)) = self.differs {
            self.edited(seq, format!("its hash is not the one that was kept of it ({leaf})"));
        } else if self.unrooted {
            let root = self.frontier.root();
            self.edited(0, format!("this record or a later one: the root is not the one that was signed ({root})"));
        }
        self.doubts.retain(|doubt| !self.accepted.contains(&doubt.to_string()));
        Proved { doubts: self.doubts, accepted: self.accepted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::{Entry, Kind, Record, render};

    #[test]
    fn a_line_is_hashed_as_its_content_is() {
        let record = Record {
            reason: Some("a \"quoted\\\" {text}, [and] more\u{e9}".into()),
            service: Some("checkout".into()),
            event: Some(serde_json::json!({"kind": "x", "deep": [{"a": "}]\\\"", "b": [1, 2.5, null, {}]}]})),
            ..Record::new(Kind::Halt, "@ada", "halt", 1_700_000_000_000)
        };
        let line = render(&record.members("log", 7, Some(&Hash::of(b"x")))).expect("it has a form").line;
        let members = Members::of(&line).expect("an object");
        assert_eq!(members.leaf(), Entry::read(&line).expect("a record").leaf);
        let event = members.value("event").expect("it is there");
        assert_eq!(serde_json::from_slice::<serde_json::Value>(event).expect("JSON")["deep"][0]["b"][1], 2.5);
        for wrong in [&b""[..], b"{", b"}", b"{\"a\":\"x}", b"{\"a\":[}", b"{a}", b"{\"a\":1]}", b"{\"a\":\"\\"] {
            assert!(Members::of(wrong).is_none(), "{wrong:?}");
        }
    }
}
