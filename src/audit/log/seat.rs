//! The seat of the one who writes a log: a lock on a file in its directory, which may be on a volume that several machines
//! share. Whoever has it says in the file where it is reached. The lock ends with the process; it is never taken away.
//!
//! Deliberately absent: a lease that runs out. A process that hangs keeps the seat, and nobody decides until it goes on or is
//! ended.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::Path;

use super::OpenError;

/// Longest address, bytes.
const ADDRESS_BYTES_MAX: usize = 512;

/// The lock, held as long as this lives.
#[derive(Debug)]
pub struct Seat {
    _file: File,
}

impl Seat {
    /// Takes it, and writes where its holder is reached.
    ///
    /// # Errors
    /// Somebody has it ([`OpenError::InUse`]), or the file cannot be used.
    pub fn take(dir: &Path, address: Option<&str>) -> Result<Self, OpenError> {
        let path = dir.join("lock");
        let failed = |error: io::Error| OpenError::File(path.clone(), error);
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(OpenError::InUse(dir.to_owned())),
            Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        let text = address.map(|address| format!("{address}\n")).unwrap_or_default();
        file.set_len(0).and_then(|()| file.write_all_at(text.as_bytes(), 0)).map_err(failed)?;
        Ok(Seat { _file: file })
    }

    /// Where the holder says that it is reached.
    pub fn address(dir: &Path) -> Option<String> {
        let text = std::fs::read_to_string(dir.join("lock")).ok()?;
        let address = text.lines().next()?.trim();
        (!address.is_empty() && address.len() <= ADDRESS_BYTES_MAX).then(|| address.to_owned())
    }
}
