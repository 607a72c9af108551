//! The Merkle tree of the log (RFC 6962, as RFC 9162 describes it): roots, inclusion proofs, consistency proofs.
//!
//! A [`Frontier`] gives the root of what was pushed so far and needs no store. Proofs read the stored hash of complete
//! subtrees through a function, so that they work on a file as on a vector. Pure: no I/O here.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::gate::canonical;

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Of these bytes, as they are.
    pub fn of(bytes: &[u8]) -> Self {
        Hash(Sha256::digest(bytes).into())
    }

    /// Of a leaf: `SHA-256(0x00 || bytes)`.
    pub fn leaf(bytes: &[u8]) -> Self {
        Hash(Sha256::new().chain_update([0]).chain_update(bytes).finalize().into())
    }

    /// Of an inner node: `SHA-256(0x01 || left || right)`.
    pub fn node(left: &Hash, right: &Hash) -> Self {
        Hash(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
    }

    /// 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        canonical::hex(&self.0).map(char::from).iter().collect()
    }
}

/// `sha256:` and 64 hexadecimal digits.
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no digest: write sha256: and 64 hexadecimal digits");
        let hex = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64).ok_or_else(wrong)?;
        let nibble = |c: u8| match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        };
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = nibble(pair[0]).zip(nibble(pair[1])).map(|(high, low)| high << 4 | low).ok_or_else(wrong)?;
        }
        Ok(Hash(hash))
    }
}

/// The complete subtrees of a growing tree, largest first: all that its root needs.
#[derive(Debug, Clone, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The tree of `size` leaves whose complete subtrees are stored.
    pub fn stored<E>(size: u64, read: &mut impl Stored<E>) -> Result<Self, E> {
        let mut peaks = Vec::new();
        let mut start = 0;
        while start < size {
            let level = (size - start).ilog2();
            peaks.push(read(level, start >> level)?);
            start += 1 << level;
        }
        Ok(Frontier { size, peaks })
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf. `completed` gets the hashes it completes, in the order in which [`position`] counts them: the
    /// leaf first, then the subtrees that end with it.
    pub fn push(&mut self, leaf: Hash, completed: &mut Vec<Hash>) {
        completed.push(leaf);
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            let left = self.peaks.pop().expect("there is a peak for each bit that is set in the size");
            hash = Hash::node(&left, &hash);
            completed.push(hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root; of no leaves it is the hash of nothing.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return Hash::of(b"") };
        peaks.fold(*last, |right, left| Hash::node(left, &right))
    }
}

/// Where the hash of a complete subtree stands among the stored hashes: `level` 0 are leaves, `index` counts subtrees of
/// that level from the left. The order is that of [`Frontier::push`].
pub fn position(level: u32, index: u64) -> u64 {
    // The subtree is stored with its last leaf, after the smaller ones that end there.
    let last_leaf = ((index + 1) << level) - 1;
    stored_for(last_leaf) + u64::from(level)
}

/// How many hashes are stored for a tree of `size` leaves.
pub fn stored_for(size: u64) -> u64 {
    // Leaves, and one for each complete subtree: n + n/2 + n/4 + ...
    2 * size - u64::from(size.count_ones())
}

/// Reads the stored hash of a complete subtree: level, index.
pub trait Stored<E>: FnMut(u32, u64) -> Result<Hash, E> {}
impl<E, F: FnMut(u32, u64) -> Result<Hash, E>> Stored<E> for F {}

/// The root over leaves `from..to`; `from` is aligned as the left edge of a subtree of the whole.
fn over<E>(from: u64, to: u64, read: &mut impl Stored<E>) -> Result<Hash, E> {
    let width = to - from;
    if width.is_power_of_two() {
        let level = width.ilog2();
        return read(level, from >> level);
    }
    let middle = from + split(width);
    Ok(Hash::node(&over(from, middle, read)?, &over(middle, to, read)?))
}

/// The largest power of two below `width` (over 1).
fn split(width: u64) -> u64 {
    1 << (width - 1).ilog2()
}

/// The path from leaf `seq` to the root of the first `size` leaves; `seq < size`.
pub fn inclusion<E>(seq: u64, size: u64, read: &mut impl Stored<E>) -> Result<Vec<Hash>, E> {
    fn walk<E>(seq: u64, from: u64, to: u64, path: &mut Vec<Hash>, read: &mut impl Stored<E>) -> Result<(), E> {
        if to - from == 1 {
            return Ok(());
        }
        let middle = from + split(to - from);
        if seq < middle {
            walk(seq, from, middle, path, read)?;
            path.push(over(middle, to, read)?);
        } else {
            walk(seq, middle, to, path, read)?;
            path.push(over(from, middle, read)?);
        }
        Ok(())
    }
    let mut path = Vec::new();
    walk(seq, 0, size, &mut path, read)?;
    Ok(path)
}

/// Whether `path` leads from `leaf` at `seq` to `root` of `size` leaves (RFC 9162, 2.1.3.2).
pub fn included(leaf: &Hash, seq: u64, size: u64, root: &Hash, path: &[Hash]) -> bool {
    if seq >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (seq, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = Hash::node(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = Hash::node(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// The proof that the tree of `new` leaves begins with that of `old`; `0 < old <= new`.
pub fn consistency<E>(old: u64, new: u64, read: &mut impl Stored<E>) -> Result<Vec<Hash>, E> {
    fn walk<E>(
        old: u64,
        from: u64,
        to: u64,
        whole: bool,
        path: &mut Vec<Hash>,
        read: &mut impl Stored<E>,
    ) -> Result<(), E> {
        if old == to {
            if !whole {
                path.push(over(from, to, read)?);
            }
            return Ok(());
        }
        let middle = from + split(to - from);
        if old <= middle {
            walk(old, from, middle, whole, path, read)?;
            path.push(over(middle, to, read)?);
        } else {
            walk(old, middle, to, false, path, read)?;
            path.push(over(from, middle, read)?);
        }
        Ok(())
    }
    let mut path = Vec::new();
    walk(old, 0, new, true, &mut path, read)?;
    Ok(path)
}

/// Whether `path` shows that the tree of `new` leaves begins with that of `old` (RFC 9162, 2.1.4.2).
pub fn consistent(old: u64, old_root: &Hash, new: u64, new_root: &Hash, path: &[Hash]) -> bool {
    if old == 0 || old > new {
        return false;
    }
    if old == new {
        return path.is_empty() && old_root == new_root;
    }
    let mut path = path.iter();
    let first = if old.is_power_of_two() { Some(old_root) } else { path.next() };
    let Some(first) = first else { return false };
    let (mut at, mut last) = (old - 1, new - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut from_old, mut from_new) = (*first, *first);
    for hash in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            from_old = Hash::node(hash, &from_old);
            from_new = Hash::node(hash, &from_new);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            from_new = Hash::node(&from_new, hash);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && from_old == *old_root && from_new == *new_root
}

#[cfg(test)]
mod tests;
