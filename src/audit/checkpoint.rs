//! Checkpoints: signed statements that a log has so many records with this Merkle root, as C2SP `tlog-checkpoint` notes.
//!
//! ```text
//! slowburn/5f3a09c2                               the origin
//! 1842                                            how many records
//! Hd2tW6...=                                      base64 of the root
//!
//! — slowburn/5f3a09c2 base64(key id || signature)
//! ```
//!
//! A checkpoint that was sent elsewhere is an [`Anchor`]: it shows what was cut off or written anew since.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use super::key::{PublicKey, SigningKey};
use super::merkle::Hash;

/// A log at one size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// How many records it has.
    pub size: u64,
    /// The root over them.
    #[serde(serialize_with = "shown")]
    pub root: Hash,
}

fn shown<S: serde::Serializer>(hash: &Hash, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(hash)
}

impl Checkpoint {
    pub(super) fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64_STANDARD.encode(self.root.0))
    }

    /// The signed note.
    pub fn sign(&self, key: &SigningKey) -> String {
        let body = self.body();
        let signature = [&key.public().id()[..], &key.sign(body.as_bytes())].concat();
        format!("{body}\n\u{2014} {} {}\n", key.public().name(), BASE64_STANDARD.encode(signature))
    }
}

/// Why a note is no checkpoint of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoteFault {
    /// Not the form of a checkpoint; what is missing.
    Form(&'static str),
    /// It is about another log.
    Origin(String),
    /// Signed by other keys only: their names and ids.
    OtherKey(Vec<String>),
    /// The signature that names our key is not by it.
    Signature,
}

impl fmt::Display for NoteFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoteFault::Form(what) => write!(f, "it is no checkpoint: {what}"),
            NoteFault::Origin(origin) => write!(f, "it is of the log {origin:?}"),
            NoteFault::OtherKey(keys) => write!(f, "it is signed by {}", keys.join(" and ")),
            NoteFault::Signature => write!(f, "its signature is wrong: it was changed after it was signed"),
        }
    }
}

/// A note as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// What it says.
    pub checkpoint: Checkpoint,
    body: String,
    /// Name, key id, signature.
    signatures: Vec<(String, [u8; 4], Vec<u8>)>,
}

/// Most lines and signatures that are looked at in one note.
const NOTE_LINES_MAX: usize = 64;

impl Anchor {
    /// Reads one note; lines after the root are extensions, and are signed with it.
    ///
    /// # Errors
    /// When it has not the form of a checkpoint. Signatures are looked at by [`Anchor::check`].
    pub fn parse(note: &str) -> Result<Self, NoteFault> {
        // The text ends at the last blank line: what stands before it is all signed.
        let (body, signed) = note.rsplit_once("\n\n").ok_or(NoteFault::Form("no blank line before the signatures"))?;
        let mut lines = body.lines();
        let origin = lines.next().filter(|line| !line.is_empty()).ok_or(NoteFault::Form("no origin"))?;
        let size = lines.next().filter(|line| line.bytes().all(|c| c.is_ascii_digit()));
        let size = size.and_then(|line| line.parse().ok()).ok_or(NoteFault::Form("no size"))?;
        let root = lines.next().and_then(|line| BASE64_STANDARD.decode(line).ok());
        let root: [u8; 32] = root.and_then(|root| root.try_into().ok()).ok_or(NoteFault::Form("no root"))?;
        let mut signatures = Vec::new();
        for line in signed.lines().take(NOTE_LINES_MAX).take_while(|line| !line.is_empty()) {
            let parts = line.strip_prefix("\u{2014} ").and_then(|line| line.split_once(' '));
            let (name, signature) = parts.ok_or(NoteFault::Form("a line is no signature"))?;
            let bytes = BASE64_STANDARD.decode(signature).map_err(|_| NoteFault::Form("a signature is no base64"))?;
            let (id, signature) = bytes.split_first_chunk().ok_or(NoteFault::Form("a signature is too short"))?;
            signatures.push((name.to_owned(), *id, signature.to_vec()));
        }
        if signatures.is_empty() {
            return Err(NoteFault::Form("no signature"));
        }
        let checkpoint = Checkpoint { origin: origin.to_owned(), size, root: Hash(root) };
        Ok(Anchor { checkpoint, body: format!("{body}\n"), signatures })
    }

    /// What is signed, with its last line's end.
    pub(super) fn body(&self) -> &str {
        &self.body
    }

    /// Name, key id and bytes of each signature.
    pub(super) fn signatures(&self) -> &[(String, [u8; 4], Vec<u8>)] {
        &self.signatures
    }

    /// Whether it is a statement of the log that `key` signs for.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, key: &PublicKey) -> Result<(), NoteFault> {
        let ours: Vec<_> =
            self.signatures.iter().filter(|(name, id, _)| name == key.name() && *id == key.id()).collect();
        if ours.is_empty() {
            let named = |(name, id, _): &(String, [u8; 4], _)| format!("{name}+{:08x}", u32::from_be_bytes(*id));
            return Err(NoteFault::OtherKey(self.signatures.iter().map(named).collect()));
        }
        if !ours.iter().all(|(_, _, signature)| key.checks(self.body.as_bytes(), signature)) {
            return Err(NoteFault::Signature);
        }
        if self.checkpoint.origin != key.name() {
            return Err(NoteFault::Origin(self.checkpoint.origin.clone()));
        }
        Ok(())
    }
}

/// Every note in `text`, as the file and stdout sinks write them: notes one after the other with a blank line between,
/// or lines of JSON with a `checkpoint`. What is neither is passed over, so that the log of a process can be given.
pub fn notes(text: &str) -> Vec<String> {
    let mut notes = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    for (i, line) in lines.iter().enumerate() {
        if line.trim_start().starts_with('{') {
            let object = serde_json::from_str::<serde_json::Value>(line).ok();
            notes.extend(object.and_then(|object| Some(object.get("checkpoint")?.as_str()?.to_owned())));
        } else if line.starts_with('\u{2014}') && i > 0 && lines[i - 1].is_empty() {
            // The first signature: the body stands before the blank line, back to another one.
            let from = lines[..i - 1].iter().rposition(|line| line.is_empty()).map_or(0, |blank| blank + 1);
            let to = lines[i..].iter().position(|line| !line.starts_with('\u{2014}')).map_or(lines.len(), |n| i + n);
            notes.push(lines[from..to].iter().flat_map(|line| [line, "\n"]).collect());
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(folder: &std::path::Path, name: &str) -> SigningKey {
        SigningKey::load_or_make(&folder.join(name.replace('/', "-")), Some(name)).expect("made")
    }

    #[test]
    fn a_signed_note_is_checked_and_a_changed_one_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let (ours, other) = (key(folder.path(), "example.com/log"), key(folder.path(), "example.com/other"));
        let checkpoint = Checkpoint { origin: "example.com/log".into(), size: 1842, root: Hash::of(b"root") };
        let note = checkpoint.sign(&ours);
        assert!(
            note.starts_with("example.com/log\n1842\n") && note.contains("\n\n\u{2014} example.com/log "),
            "{note}"
        );
        let anchor = Anchor::parse(&note).expect("a note");
        assert_eq!((&anchor.checkpoint, anchor.check(ours.public())), (&checkpoint, Ok(())));
        let changed = Anchor::parse(&note.replace("1842", "1841")).expect("a note");
        assert_eq!(changed.check(ours.public()), Err(NoteFault::Signature));
        assert!(matches!(anchor.check(other.public()), Err(NoteFault::OtherKey(_))));
        let foreign = Anchor::parse(&Checkpoint { origin: "x".into(), ..checkpoint }.sign(&ours)).expect("a note");
        assert_eq!(foreign.check(ours.public()), Err(NoteFault::Origin("x".into())));
    }

    #[test]
    fn an_extension_is_signed_with_the_rest() {
        let folder = tempfile::tempdir().expect("a folder");
        let ours = key(folder.path(), "log");
        let note = Checkpoint { origin: "log".into(), size: 1, root: Hash::of(b"") }.sign(&ours);
        let extended = Anchor::parse(&note.replacen("\n\n", "\nmore\n\n", 1)).expect("a note");
        assert_eq!(extended.check(ours.public()), Err(NoteFault::Signature));
    }

    #[test]
    fn notes_are_found_among_other_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let ours = key(folder.path(), "log");
        let note = |size| Checkpoint { origin: "log".into(), size, root: Hash::of(b"") }.sign(&ours);
        let json = serde_json::json!({"checkpoint": note(3)});
        let text = format!("{}\n{}\nnoise\n{json}\n{{\"level\":\"info\"}}\n\nlog\n9\n", note(1), note(2));
        assert_eq!(notes(&text), [note(1), note(2), note(3)]);
        assert_eq!(notes("\u{2014} a b\n"), [""; 0]);
    }

    #[test]
    fn what_is_no_note_says_why() {
        for (note, why) in [
            ("", "no blank line"),
            ("\n\n", "no origin"),
            ("log\n-1\n\n\u{2014} a b", "no size"),
            ("log\n1\nAAAA\n\n", "no root"),
            ("log\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n", "no signature"),
            ("log\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\u{2014} log AA==\n", "too short"),
        ] {
            let fault = Anchor::parse(note).expect_err(note).to_string();
            assert!(fault.contains(why), "{note:?}: {fault}");
        }
    }
}
