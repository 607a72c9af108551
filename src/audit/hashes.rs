//! The stored hashes of the Merkle tree, 32 bytes each, in the order of [`merkle::position`].
//!
//! They save reading the whole log at a start and for a proof. They are not trusted: at a start they have to give the
//! root of the last signed checkpoint, and are made again from the records where they do not.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::merkle::{self, Frontier, Hash};

const HASH_BYTES: u64 = 32;

/// An open file of hashes.
#[derive(Debug)]
pub(super) struct Hashes {
    file: File,
    count: u64,
}

impl Hashes {
    /// Opens or makes the file for writing.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join("hashes"))?;
        let count = file.metadata()?.len() / HASH_BYTES;
        Ok(Hashes { file, count })
    }

    /// Opens the file for reading only.
    pub(super) fn read_only(dir: &Path) -> io::Result<Self> {
        let file = File::open(dir.join("hashes"))?;
        let count = file.metadata()?.len() / HASH_BYTES;
        Ok(Hashes { file, count })
    }

    /// The hash of a complete subtree.
    pub(super) fn read(&self, level: u32, index: u64) -> io::Result<Hash> {
        let mut hash = [0; HASH_BYTES as usize];
        self.file.read_exact_at(&mut hash, merkle::position(level, index) * HASH_BYTES)?;
        Ok(Hash(hash))
    }

    /// The tree of the first `size` records; an error where the file is shorter.
    pub(super) fn frontier(&self, size: u64) -> io::Result<Frontier> {
        Frontier::stored(size, &mut |level, index| self.read(level, index))
    }

    /// Keeps the hashes of the first `size` records only.
    pub(super) fn cut(&mut self, size: u64) -> io::Result<()> {
        self.count = merkle::stored_for(size).min(self.count);
        self.file.set_len(self.count * HASH_BYTES)
    }

    /// Appends hashes in the order of [`Frontier::push`].
    pub(super) fn append(&mut self, hashes: &[Hash]) -> io::Result<()> {
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
        self.file.write_all_at(&bytes, self.count * HASH_BYTES)?;
        self.count += hashes.len() as u64;
        Ok(())
    }

    /// How many records it has hashes of.
    pub(super) fn records(&self) -> u64 {
        let mut records = self.count / 2;
        while merkle::stored_for(records + 1) <= self.count {
            records += 1;
        }
        records
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
