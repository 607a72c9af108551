//! Witnesses: others who have seen how far a log had come, and sign no other history of it (C2SP `tlog-witness`,
//! `tlog-cosignature`). What is put back, cut off or written anew is found by asking them, without trust in any file of
//! the log's own machine.
//!
//! [`Witness`] is one: it remembers for each log the last checkpoint that it signed, on disk before it answers.
//! [`client`] asks one, [`policy`] says whose word is enough, [`proof`] is what a caller can check without any of us.
//!
//! Deliberately absent: `sign-subtree`, and ML-DSA signatures.

pub mod client;
pub mod policy;
pub mod proof;
#[cfg(test)]
mod tests;
pub mod watch;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::checkpoint::{Anchor, Checkpoint};
use super::key::{PublicKey, SigningKey, Signs};
use super::merkle::{self, Frontier, Hash};

/// Longest request, bytes: 63 hashes and a note with the signatures of many.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Most lines of a proof.
const PROOF_LINES_MAX: usize = 63;
/// Media type of the answer that tells how far a log is known.
pub const SIZE_TYPE: &str = "text/x.tlog.size";

/// What is signed by a cosignature of a note with this body.
fn cosigned(time_s: u64, body: &str) -> String {
    format!("cosignature/v1\ntime {time_s}\n{body}")
}

/// The line that `key` signs under a note with this body.
fn cosign(key: &SigningKey, time_s: u64, body: &str) -> String {
    let signature = key.sign(cosigned(time_s, body).as_bytes());
    let bytes = [&key.public().id()[..], &time_s.to_be_bytes(), &signature].concat();
    format!("\u{2014} {} {}\n", key.public().name(), BASE64_STANDARD.encode(bytes))
}

/// When `key` cosigned this note; `None`: it did not, or not rightly.
pub fn cosigned_at(anchor: &Anchor, key: &PublicKey) -> Option<u64> {
    let mut own = anchor.signatures().iter().filter(|(name, id, _)| name == key.name() && *id == key.id());
    let (_, _, bytes) = own.next()?;
    let (time_s, signature) = bytes.split_first_chunk().map(|(time, rest)| (u64::from_be_bytes(*time), rest))?;
    let is_right = time_s > 0 && key.checks(cosigned(time_s, anchor.body()).as_bytes(), signature);
    (is_right && own.next().is_none()).then_some(time_s)
}

/// A request to sign a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// How far the caller thinks that the witness has seen the log.
    pub old: u64,
    /// That the first `old` records are the same.
    pub proof: Vec<Hash>,
    /// The checkpoint, signed by the log.
    pub note: String,
}

impl AddCheckpoint {
    /// As it is sent.
    pub fn text(&self) -> String {
        let proof: String = self.proof.iter().map(|hash| format!("{}\n", BASE64_STANDARD.encode(hash.0))).collect();
        format!("old {}\n{proof}\n{}", self.old, self.note)
    }

    /// Reads one; `None`: it has another form.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, note) = text.split_once("\n\n")?;
        let mut lines = head.lines();
        let old = lines.next()?.strip_prefix("old ")?;
        let is_number = !old.is_empty() && old.bytes().all(|byte| byte.is_ascii_digit());
        let old = (is_number && (old == "0" || !old.starts_with('0'))).then(|| old.parse().ok())??;
        let hash = |line: &str| Some(Hash(BASE64_STANDARD.decode(line).ok()?.try_into().ok()?));
        let proof = lines.map(hash).collect::<Option<Vec<_>>>()?;
        (proof.len() <= PROOF_LINES_MAX).then(|| AddCheckpoint { old, proof, note: note.to_owned() })
    }
}

/// What a witness answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    /// 200: the line of its cosignature.
    Signed(String),
    /// 400: the request has another form, or says more than its checkpoint.
    Malformed,
    /// 403: no key of the log has signed it.
    Untrusted,
    /// 404: the log is not known here.
    Unknown,
    /// 409: it has seen the log at this size.
    Conflict(u64),
    /// 422: the log does not go on from what it has seen.
    Inconsistent,
    /// 503: its own state cannot be kept.
    Unkept(String),
}

/// Last checkpoint of one log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LastCheckpoint {
    size: u64,
    root: String,
    note: String,
}

/// A witness.
#[derive(Debug)]
pub struct Witness {
    key: SigningKey,
    logs: Vec<PublicKey>,
    file: PathBuf,
    /// By origin. Held from reading the old size to the answer: of two requests one comes second.
    last: Mutex<BTreeMap<String, LastCheckpoint>>,
    _lock: File,
}

impl Witness {
    /// Opens or begins one in `dir`, for the logs of these keys.
    ///
    /// # Errors
    /// For people. Without its memory a witness would sign any history: where it has a key and no memory it does not start.
    pub fn open(dir: &Path, name: Option<&str>, logs: Vec<PublicKey>) -> Result<Self, String> {
        let said = |what: &str| format!("{}: {what}", dir.display());
        std::fs::create_dir_all(dir).map_err(|error| said(&error.to_string()))?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(dir.join("lock"));
        let lock = lock.map_err(|error| said(&error.to_string()))?;
        lock.try_lock().map_err(|error| said(&format!("another witness has it: {error}")))?;
        let (key_file, file) = (dir.join("witness.key"), dir.join("seen.json"));
        let last = match (key_file.exists(), std::fs::read(&file)) {
            (_, Ok(bytes)) => {
                let read = serde_json::from_slice(&bytes);
                read.map_err(|error| said(&format!("seen.json cannot be read: {error}")))?
            }
            (false, Err(_)) => {
                let nothing = BTreeMap::new();
                keep(&file, &nothing).map_err(|error| said(&error.to_string()))?;
                nothing
            }
            (true, Err(error)) => {
                let what = "it has a key, and what it has seen (seen.json) cannot be read. A witness that has forgotten signs any \
                     history: put the file back, or begin with an empty directory and give the new key to whoever trusts it";
                return Err(said(&format!("{what}: {error}")));
            }
        };
        let key = SigningKey::load_or_make_for(Signs::Cosignatures, &key_file, name);
        let key = key.map_err(|fault| fault.to_string())?;
        Ok(Witness { key, logs, file, last: Mutex::new(last), _lock: lock })
    }

    /// What checks its cosignatures.
    pub fn public(&self) -> &PublicKey {
        self.key.public()
    }

    /// The last checkpoint that it signed of the log whose origin has this SHA-256, in hexadecimal digits.
    pub fn checkpoint(&self, origin_hash: &str) -> Option<String> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, found) = last.iter().find(|(origin, _)| Hash::of(origin.as_bytes()).hex() == origin_hash)?;
        Some(found.note.clone())
    }

    /// Forgets a log, so that another history of it can be signed: what its owner decides, and no request.
    ///
    /// # Errors
    /// The file cannot be written, or there is no such log; for people.
    pub fn forget(&self, origin: &str) -> Result<u64, String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = last.clone();
        let was = next.remove(origin).ok_or_else(|| format!("it has seen no log {origin:?}"))?;
        keep(&self.file, &next).map_err(|error| error.to_string())?;
        *last = next;
        Ok(was.size)
    }

    /// Signs a checkpoint that goes on from what it has seen, and only such a one.
    pub fn add(&self, text: &str, time_s: u64) -> Added {
        let Some(request) = AddCheckpoint::parse(text) else { return Added::Malformed };
        let Ok(anchor) = Anchor::parse(&request.note) else { return Added::Malformed };
        let Checkpoint { origin, size, root } = &anchor.checkpoint;
        let known: Vec<&PublicKey> = self.logs.iter().filter(|key| key.name() == origin).collect();
        if known.is_empty() {
            return Added::Unknown;
        }
        if !known.iter().any(|key| anchor.check(key).is_ok()) {
            return Added::Untrusted;
        }
        if request.old > *size {
            return Added::Malformed;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = last.get(origin).map_or(0, |last| last.size);
        if request.old != seen {
            return Added::Conflict(seen);
        }
        let goes_on = match last.get(origin).filter(|last| last.size > 0) {
            None => request.proof.is_empty() && (*size > 0 || *root == Frontier::default().root()),
            Some(was) => was
                .root
                .parse()
                .is_ok_and(|was_root| merkle::consistent(was.size, &was_root, *size, root, &request.proof)),
        };
        if !goes_on {
            return Added::Inconsistent;
        }
        let line = cosign(&self.key, time_s.max(1), anchor.body());
        let mut next = last.clone();
        let note = format!("{}\n{}{line}", anchor.body(), own_lines(&request.note));
        next.insert(origin.clone(), LastCheckpoint { size: *size, root: root.to_string(), note });
        if let Err(error) = keep(&self.file, &next) {
            return Added::Unkept(error.to_string());
        }
        *last = next;
        Added::Signed(line)
    }
}

/// The lines of signatures of a note.
fn own_lines(note: &str) -> String {
    let (_, signed) = note.rsplit_once("\n\n").unwrap_or_default();
    signed.lines().flat_map(|line| [line, "\n"]).collect()
}

/// Whole or not at all, and on disk.
fn keep(file: &Path, last: &BTreeMap<String, LastCheckpoint>) -> std::io::Result<()> {
    let half = file.with_extension("new");
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&half)?;
    out.write_all(&serde_json::to_vec(last)?)?;
    out.sync_all()?;
    std::fs::rename(&half, file)?;
    match file.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
