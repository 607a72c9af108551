//! The seat of the one who writes a log. There are two kinds.
//!
//! - **A lock** on a file in its directory, which may be on a volume that several machines share. Whoever has it says in the file
//!   where it is reached. The lock ends with the process, and is never taken away.
//! - **A claim**, by whoever holds a lease elsewhere. A lease fences nothing: its last holder may have stood still, and go on to
//!   write. So a claim does. First it puts its name on the file `holder`; then copies in the place of every file that a writer
//!   keeps open. A writer looks at `holder` after each write that is on disk, and before anybody is answered: what it wrote
//!   before its name was gone is in the copy, and what it wrote afterwards is in files that are no part of the log any more,
//!   and was answered to nobody. No clock has a say in this. A claim is made under a lock of its own: one that stood still in the
//!   middle of it and goes on would put an older copy in the place of what somebody else has written since.
//!
//! Deliberately absent: how a lease is held. That is an election's, which puts off the end of a [`Hold`].

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::OpenError;
use crate::audit::segment::Segment;
use crate::clock::since_boot;

/// Longest address, bytes.
const ADDRESS_BYTES_MAX: usize = 512;
/// The file that says whose the log is, where leases decide.
const HOLDER: &str = "holder";
/// The file that is locked while a claim is made.
const CLAIMING: &str = "claiming";

/// How long something is held: until a moment of [`since_boot`], which whoever renews it puts off. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Hold(Arc<AtomicU64>);

impl Hold {
    /// It is held until this moment.
    pub fn until(&self, moment: Duration) {
        self.0.store(u64::try_from(moment.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// It is held no more.
    pub fn end(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Whether it is this one, or a clone of it.
    pub fn is(&self, other: &Hold) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether it is held now.
    pub fn holds(&self) -> bool {
        since_boot().as_millis() < u128::from(self.0.load(Ordering::Acquire))
    }
}

/// The lock, held as long as this lives, or the claim.
#[derive(Debug)]
pub struct Seat {
    _file: File,
    claim: Option<Claim>,
}

#[derive(Debug)]
struct Claim {
    hold: Hold,
    holder: String,
    path: PathBuf,
    /// What stands there while it is ours.
    text: String,
}

impl Seat {
    /// Takes the lock, and writes where its holder is reached.
    ///
    /// # Errors
    /// Somebody has it ([`OpenError::InUse`]), or the file cannot be used.
    pub fn take(dir: &Path, address: Option<&str>) -> Result<Self, OpenError> {
        let path = dir.join("lock");
        let failed = |error: io::Error| OpenError::File(path.clone(), error);
        let file = opened(dir, &path).map_err(failed)?;
        free(file.try_lock(), dir, &path)?;
        let text = address.map(|address| format!("{address}\n")).unwrap_or_default();
        file.set_len(0).and_then(|()| file.write_all_at(text.as_bytes(), 0)).map_err(failed)?;
        Ok(Seat { _file: file, claim: None })
    }

    /// Claims the log for the holder of a lease, from whoever wrote it before. `memory` is what is written in place outside of
    /// the directory.
    ///
    /// # Errors
    /// Somebody has the lock, who knows of no lease, or is in the middle of a claim ([`OpenError::InUse`]); it is not held any
    /// more; or the files cannot be used.
    pub fn claim(
        dir: &Path,
        address: &str,
        holder: &str,
        hold: Hold,
        memory: Option<&Path>,
    ) -> Result<Self, OpenError> {
        let path = dir.join("lock");
        let file = opened(dir, &path).map_err(|error| OpenError::File(path.clone(), error))?;
        // Shared: one who stands still keeps its own, and stops nobody but those who go by the lock alone.
        free(file.try_lock_shared(), dir, &path)?;
        let claiming = dir.join(CLAIMING);
        let turn = opened(dir, &claiming).map_err(|error| OpenError::File(claiming.clone(), error))?;
        free(turn.try_lock(), dir, &claiming)?;
        // Looked at under that lock: whoever claimed it meanwhile did so when this was over.
        if !hold.holds() {
            return Err(OpenError::InUse(dir.to_owned()));
        }
        let (path, text) = (dir.join(HOLDER), claimed(address, holder));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| OpenError::File(path, error)
        };
        put(&path, |file| file.write_all(text.as_bytes())).map_err(failed(&path))?;
        let segments = Segment::list(dir).map_err(failed(dir))?;
        let open: Vec<PathBuf> = segments.into_iter().rev().take(2).map(|segment| segment.path).collect();
        let beside = [dir.join("hashes"), dir.join("checkpoints")];
        for path in open.into_iter().chain(beside).chain(memory.map(Path::to_owned)).filter(|path| path.exists()) {
            let copied = File::open(&path).and_then(|mut from| put(&path, |file| io::copy(&mut from, file).map(drop)));
            copied.map_err(failed(&path))?;
        }
        Ok(Seat { _file: file, claim: Some(Claim { hold, holder: holder.to_owned(), path, text }) })
    }

    /// Whether its holder may still write.
    pub(super) fn is_ours(&self) -> bool {
        let Some(claim) = &self.claim else { return true };
        claim.hold.holds() && std::fs::read(&claim.path).is_ok_and(|text| text == claim.text.as_bytes())
    }

    /// How long it may be used; `None`: as long as the process lives.
    pub(super) fn hold(&self) -> Option<&Hold> {
        self.claim.as_ref().map(|claim| &claim.hold)
    }

    /// Whose it is, by the lease.
    pub(super) fn holder(&self) -> Option<&str> {
        self.claim.as_ref().map(|claim| claim.holder.as_str())
    }

    /// Where the holder of the lock says that it is reached.
    pub fn address(dir: &Path) -> Option<String> {
        said(&dir.join("lock"))
    }

    /// Where the last one who claimed the log says that it is reached.
    pub fn claimed_by(dir: &Path) -> Option<String> {
        said(&dir.join(HOLDER))
    }

    /// Whether the last one who claimed it is this one.
    pub fn is_claimed_as(dir: &Path, address: &str, holder: &str) -> bool {
        std::fs::read(dir.join(HOLDER)).is_ok_and(|text| text == claimed(address, holder).as_bytes())
    }

    /// Whether somebody has claimed it before.
    pub fn was_claimed(dir: &Path) -> bool {
        dir.join(HOLDER).exists()
    }
}

/// What stands in `holder`.
fn claimed(address: &str, holder: &str) -> String {
    format!("{address}\n{holder}\n")
}

fn opened(dir: &Path, path: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn free(locked: Result<(), TryLockError>, dir: &Path, path: &Path) -> Result<(), OpenError> {
    match locked {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(OpenError::File(path.to_owned(), error)),
    }
}

/// Puts another file in the place of one, whole and on disk: whoever has the one before open writes to that from then on.
fn put(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mode = std::fs::metadata(path).map_or(0o600, |data| std::os::unix::fs::MetadataExt::mode(&data) & 0o777);
    let next = path.with_added_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&next)?;
    write(&mut file)?;
    file.sync_all()?;
    std::fs::rename(&next, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn said(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let address = text.lines().next()?.trim();
    (!address.is_empty() && address.len() <= ADDRESS_BYTES_MAX).then(|| address.to_owned())
}
