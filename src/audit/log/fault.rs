//! Why a record is not in the log, and why a log cannot be opened.

use std::path::PathBuf;

use crate::audit::key::KeyFault;

/// Why a record is not in the log. The gate denies then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Too many wait already.
    Full,
    /// It is longer than a record may be.
    TooLarge,
    /// It holds a number that JSON cannot carry.
    Number(String),
    /// The disk is full.
    DiskFull,
    /// The disk does not take it; why.
    Disk(String),
    /// The answer did not come in time; the record may be in the log.
    Late,
    /// The log was closed.
    Closed,
    /// The log cannot be opened; why.
    Damaged(String),
}

impl Refused {
    /// As a metric label and a reason code.
    pub fn as_str(&self) -> &'static str {
        match self {
            Refused::Full => "queue_full",
            Refused::TooLarge => "too_large",
            Refused::Number(_) => "number",
            Refused::DiskFull => "disk_full",
            Refused::Disk(_) => "disk",
            Refused::Late => "late",
            Refused::Closed => "closed",
            Refused::Damaged(_) => "damaged",
        }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the audit log does not take the record: ")?;
        match self {
            Refused::Full => f.write_str("too many wait to be written"),
            Refused::TooLarge => f.write_str("it is over 256 KiB"),
            Refused::Number(what) => f.write_str(what),
            Refused::DiskFull => f.write_str("the disk is full"),
            Refused::Disk(why) => f.write_str(why),
            Refused::Late => f.write_str("the disk did not answer in time"),
            Refused::Closed => f.write_str("it is closed"),
            Refused::Damaged(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Refused {}

/// Why a log cannot be opened for writing.
#[derive(Debug)]
pub enum OpenError {
    /// A file or directory cannot be used; which, and why.
    File(PathBuf, std::io::Error),
    /// Another process writes this log.
    InUse(PathBuf),
    /// The key cannot be used.
    Key(KeyFault),
    /// The log is not what its own checkpoints say.
    Damaged(PathBuf, String),
    /// The first record could not be written.
    Refused(Refused),
}

impl OpenError {
    /// Whether it may be otherwise in a while without anybody looking at the log: its volume is full or read-only. A log that
    /// is damaged stays so, and one that another process writes is that one's.
    pub fn may_pass(&self) -> bool {
        match self {
            OpenError::File(..) | OpenError::Key(_) | OpenError::Refused(_) => true,
            OpenError::InUse(_) | OpenError::Damaged(..) => false,
        }
    }
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::File(path, error) => write!(f, "audit log {}: {error}", path.display()),
            OpenError::InUse(dir) => {
                write!(f, "audit log {}: another process writes it; two daemons need a directory each", dir.display())
            }
            OpenError::Key(fault) => write!(f, "audit log: {fault}"),
            OpenError::Damaged(dir, what) => write!(
                f,
                "audit log {}: {what}. Nothing was changed. See `slowburn audit verify --dir {0}`; keep the directory as \
                 evidence and move it away to begin a new log",
                dir.display()
            ),
            OpenError::Refused(refused) => write!(f, "{refused}"),
        }
    }
}

impl std::error::Error for OpenError {}
