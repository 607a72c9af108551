//! What callers may keep of a record, and the proof that it is in the log.

use std::sync::Arc;

use serde::Serialize;

use crate::audit::checkpoint::Checkpoint;
use crate::audit::hashes::Hashes;
use crate::audit::merkle::{self, Hash};

/// What the caller may keep: it shows later that the record was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The log.
    pub origin: Arc<str>,
    /// The record's number in it; the first is 0.
    pub seq: u64,
    /// The record's leaf.
    #[serde(serialize_with = "shown")]
    pub leaf: Hash,
    /// Size of the last signed checkpoint before it.
    pub checkpoint: u64,
}

/// That a record is in the log of a signed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// The record's number.
    pub seq: u64,
    /// Its leaf.
    #[serde(serialize_with = "shown")]
    pub leaf: Hash,
    /// The checkpoint whose root the path leads to.
    pub checkpoint: Checkpoint,
    /// Siblings from the leaf up.
    #[serde(serialize_with = "all_shown")]
    pub path: Vec<Hash>,
}

impl Proof {
    /// Whether the path leads where it should.
    pub fn holds(&self) -> bool {
        merkle::included(&self.leaf, self.seq, self.checkpoint.size, &self.checkpoint.root, &self.path)
    }
}

fn shown<S: serde::Serializer>(hash: &Hash, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(hash)
}

fn all_shown<S: serde::Serializer>(hashes: &[Hash], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(hashes.iter().map(Hash::to_string))
}

/// The proof of record `seq` under `checkpoint`, from the stored hashes in `dir`; `None` when that does not cover it.
///
/// # Errors
/// When the stored hashes cannot be read, or do not give the signed root.
pub fn prove(dir: &std::path::Path, seq: u64, checkpoint: Checkpoint) -> std::io::Result<Option<Proof>> {
    if seq >= checkpoint.size {
        return Ok(None);
    }
    let hashes = Hashes::read_only(dir)?;
    let mut read = |level, index| hashes.read(level, index);
    let path = merkle::inclusion(seq, checkpoint.size, &mut read)?;
    let proof = Proof { seq, leaf: read(0, seq)?, checkpoint, path };
    if proof.holds() {
        Ok(Some(proof))
    } else {
        Err(std::io::Error::other("the stored hashes do not give the signed root; a restart makes them again"))
    }
}
