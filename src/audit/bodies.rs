//! What decisions were made from: bodies named by their SHA-256, beside the log.
//!
//! A record holds the digest, so that it can be made again from the very same inputs, and so that a body can be removed
//! without breaking the chain. Many decisions of one evaluation share a body; it is kept once. The store is bounded: the
//! oldest bodies go first.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::merkle::Hash;

/// Largest body, bytes.
pub const BODY_BYTES_MAX: usize = 16 << 20;

/// Most bodies that are not known to be on disk, each an open file; further ones are made durable as they come.
const UNSYNCED_MAX: usize = 256;

/// A store of bodies.
#[derive(Debug)]
pub struct Bodies {
    dir: PathBuf,
    bytes_max: u64,
    /// Digests that are known to be there. Never held while something is written: who only looks does not wait.
    known: Mutex<HashSet<Hash>>,
    /// Bytes that are kept. Held while a body is written: whoever puts the same one finds it there.
    writing: Mutex<u64>,
    unsynced: Mutex<Vec<Unsynced>>,
    /// Held while bodies are made durable.
    syncing: Mutex<()>,
}

/// A body that is not known to be on disk, its folder, and whether that is new.
type Unsynced = (File, PathBuf, bool);

/// One body on disk: age, size, file.
type KeptBody = (std::time::SystemTime, u64, PathBuf);

impl Bodies {
    /// Opens or begins the store `bodies` in `dir`, which keeps up to `bytes_max` bytes. Where nothing can be written yet it is
    /// begun with the first body.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn open(dir: &Path, bytes_max: u64) -> io::Result<Self> {
        let dir = dir.join("bodies");
        if let Err(error) = fs::create_dir_all(&dir) {
            tracing::warn!(%error, dir = %dir.display(), "the inputs of decisions cannot be stored yet");
        }
        let found = if dir.exists() { kept(&dir)? } else { Vec::new() };
        let bytes = found.iter().map(|(_, bytes, _)| bytes).sum();
        Ok(Bodies {
            dir,
            bytes_max,
            known: Mutex::default(),
            writing: Mutex::new(bytes),
            unsynced: Mutex::default(),
            syncing: Mutex::default(),
        })
    }

    /// Keeps a body: when this returns it is in the hands of the system, so that it outlives this process; on disk it is
    /// after [`Bodies::sync`]. A record is on disk by itself, and names its bodies by digest: what a power cut takes of
    /// them shows. Blocks.
    ///
    /// # Errors
    /// When it is over 16 MiB, or the disk does not take it.
    pub fn put(&self, body: &[u8]) -> io::Result<Hash> {
        if body.len() > BODY_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a body of inputs is over 16 MiB"));
        }
        let digest = Hash::of(body);
        if self.holds(&digest) {
            return Ok(digest);
        }
        let mut kept_bytes = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // Another one may have put it meanwhile. One that is there from before may have been cut short by a crash.
        if self.holds(&digest) {
            return Ok(digest);
        }
        if self.get(&digest).is_ok_and(|kept| kept.is_some()) {
            self.known().insert(digest);
            return Ok(digest);
        }
        let path = self.path(&digest);
        let folder = path.parent().expect("it has a folder").to_owned();
        let is_new = !folder.exists();
        fs::create_dir_all(&folder)?;
        let half = path.with_extension("new");
        let mut file = File::create(&half)?;
        file.write_all(body)?;
        fs::rename(&half, &path)?;
        if self.unsynced().len() < UNSYNCED_MAX {
            self.unsynced().push((file, folder, is_new));
        } else {
            file.sync_data()?;
            File::open(&folder)?.sync_all()?;
        }
        self.known().insert(digest);
        *kept_bytes += body.len() as u64;
        if *kept_bytes > self.bytes_max {
            self.make_room(&mut kept_bytes, &path)?;
        }
        Ok(digest)
    }

    /// Makes durable what was put, one body after the other with a pause between them: the log shares the disk, and it is
    /// the log that somebody waits for. Blocks; returns at once where another thread is at it, which takes ours along.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn sync(&self, pause: Duration) -> io::Result<()> {
        let Ok(_one) = self.syncing.try_lock() else { return Ok(()) };
        let mut folders = BTreeSet::new();
        loop {
            let Some((file, folder, is_new)) = self.unsynced().pop() else { break };
            file.sync_data()?;
            folders.extend(is_new.then(|| self.dir.clone()));
            folders.insert(folder);
            std::thread::sleep(pause);
        }
        folders.iter().try_for_each(|folder| File::open(folder)?.sync_all())
    }

    fn unsynced(&self) -> MutexGuard<'_, Vec<Unsynced>> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a body is known to be there; looks at nothing but its name, and waits for nobody. `false` may also be
    /// one that was put by an earlier process.
    pub fn holds(&self, digest: &Hash) -> bool {
        self.known().contains(digest) && self.path(digest).exists()
    }

    fn known(&self) -> MutexGuard<'_, HashSet<Hash>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A body; `None` where it was removed or never was.
    ///
    /// # Errors
    /// When it cannot be read, or is not what its name says.
    pub fn get(&self, digest: &Hash) -> io::Result<Option<Vec<u8>>> {
        read(&self.path(digest), digest)
    }

    fn path(&self, digest: &Hash) -> PathBuf {
        path(&self.dir, digest)
    }

    /// Removes the oldest bodies, but not the one that was just written, until a tenth is free.
    fn make_room(&self, kept_bytes: &mut u64, newest: &Path) -> io::Result<()> {
        let mut kept = kept(&self.dir)?;
        kept.sort();
        *kept_bytes = kept.iter().map(|(_, bytes, _)| bytes).sum();
        let mut removed = 0_u64;
        for (_, bytes, path) in kept.iter().filter(|(_, _, path)| path != newest) {
            if *kept_bytes <= self.bytes_max - self.bytes_max / 10 {
                break;
            }
            fs::remove_file(path)?;
            *kept_bytes -= bytes;
            removed += 1;
        }
        self.known().clear();
        tracing::info!(removed, "old inputs of audit records were removed; their decisions cannot be made again");
        Ok(())
    }
}

/// The body `digest` of the log in `dir`, for readers beside the process that writes.
///
/// # Errors
/// When it cannot be read, or is not what its name says.
pub fn body(dir: &Path, digest: &Hash) -> io::Result<Option<Vec<u8>>> {
    read(&path(&dir.join("bodies"), digest), digest)
}

fn path(dir: &Path, digest: &Hash) -> PathBuf {
    let hex = digest.hex();
    dir.join(&hex[..2]).join(hex)
}

fn read(path: &Path, digest: &Hash) -> io::Result<Option<Vec<u8>>> {
    let body = match fs::read(path) {
        Ok(body) => body,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if Hash::of(&body) != *digest {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} is not what its name says", path.display()),
        ));
    }
    Ok(Some(body))
}

fn kept(dir: &Path) -> io::Result<Vec<KeptBody>> {
    let mut kept = Vec::new();
    for folder in fs::read_dir(dir)? {
        let folder = folder?.path();
        if !folder.is_dir() {
            continue;
        }
        for file in fs::read_dir(folder)? {
            let file = file?;
            let about = file.metadata()?;
            kept.push((about.modified()?, about.len(), file.path()));
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_can_be_written_it_begins_with_the_first_body_that_can() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("log");
        fs::write(&dir, "in the way").expect("written");
        let bodies = Bodies::open(&dir, 1 << 20).expect("opened");
        bodies.put(b"snapshot").expect_err("nothing can be written");
        fs::remove_file(&dir).expect("removed");
        let digest = bodies.put(b"snapshot").expect("kept");
        assert_eq!(bodies.get(&digest).expect("readable").as_deref(), Some(&b"snapshot"[..]));
    }

    #[test]
    fn a_body_is_kept_once_and_found_by_its_digest() {
        let folder = tempfile::tempdir().expect("a folder");
        let bodies = Bodies::open(folder.path(), 1 << 20).expect("opened");
        let digest = bodies.put(b"snapshot").expect("kept");
        assert_eq!(digest, Hash::of(b"snapshot"));
        bodies.sync(Duration::ZERO).expect("on disk");
        assert_eq!(bodies.put(b"snapshot").expect("kept"), digest);
        assert!(bodies.unsynced().is_empty() && bodies.holds(&digest));
        assert_eq!(kept(&folder.path().join("bodies")).expect("listed").len(), 1);
        let again = Bodies::open(folder.path(), 1 << 20).expect("opened");
        assert_eq!(again.get(&digest).expect("readable").as_deref(), Some(&b"snapshot"[..]));
        assert_eq!(body(folder.path(), &digest).expect("readable").as_deref(), Some(&b"snapshot"[..]));
        assert_eq!(again.get(&Hash::of(b"other")).expect("readable"), None);
    }

    #[test]
    fn a_changed_body_is_refused_and_written_again_when_it_comes_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let bodies = Bodies::open(folder.path(), 1 << 20).expect("opened");
        let digest = bodies.put(b"snapshot").expect("kept");
        fs::write(bodies.path(&digest), b"snapshoT").expect("written");
        assert!(bodies.get(&digest).expect_err("changed").to_string().contains("not what its name says"));
        let again = Bodies::open(folder.path(), 1 << 20).expect("opened");
        again.put(b"snapshot").expect("kept");
        assert_eq!(again.get(&digest).expect("readable").as_deref(), Some(&b"snapshot"[..]));
    }

    #[test]
    fn the_store_stays_within_its_bound_and_keeps_the_newest() {
        let folder = tempfile::tempdir().expect("a folder");
        let bodies = Bodies::open(folder.path(), 10_000).expect("opened");
        let mut last = None;
        for n in 0..100_u8 {
            last = Some(bodies.put(&[n; 500]).expect("kept"));
            let bytes: u64 = kept(&bodies.dir).expect("listed").iter().map(|(_, bytes, _)| bytes).sum();
            assert!(bytes <= 10_000, "{bytes}");
        }
        assert!(bodies.get(&last.expect("one was put")).expect("readable").is_some());
        assert!(bodies.put(&vec![0; BODY_BYTES_MAX + 1]).is_err());
    }
}
