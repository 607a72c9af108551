//! A file that holds one secret.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

/// Largest secret, bytes.
const BYTES_MAX: u64 = 16 * 1024;

/// A file that holds one secret. Only its path is ever printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile(PathBuf);

/// Why a secret cannot be used. Never holds any of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFault {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for SecretFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the secret file {} {}", self.path.display(), self.reason)
    }
}

impl std::error::Error for SecretFault {}

impl SecretFile {
    /// The secret in the file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        SecretFile(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads it; line breaks at its end are not part of it.
    ///
    /// # Errors
    /// The file cannot be read, is over 16 KiB, empty, not UTF-8, or holds control characters, which no header may.
    pub fn read(&self) -> Result<SecretString, SecretFault> {
        let fault = |reason: String| SecretFault { path: self.0.clone(), reason };
        let file = File::open(&self.0).map_err(|error| fault(format!("cannot be opened: {error}")))?;
        let mut text = String::new();
        file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => fault("is not UTF-8".into()),
            _ => fault(format!("cannot be read: {error}")),
        })?;
        if text.len() as u64 > BYTES_MAX {
            return Err(fault(format!("is over {} KiB", BYTES_MAX / 1024)));
        }
        let secret = text.trim_end_matches(['\r', '\n']);
        if secret.is_empty() {
            return Err(fault("is empty".into()));
        }
        if secret.chars().any(char::is_control) {
            return Err(fault("holds a line break or another control character inside the secret".into()));
        }
        Ok(SecretString::from(secret.to_string()))
    }
}
