//! The files that records stand in, named by the number of their first record, and their lines.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::record::LINE_BYTES_MAX;

/// One file of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// Number of its first record.
    pub(super) first: u64,
    pub(super) path: PathBuf,
}

impl Segment {
    /// That of `first` in `dir`.
    pub(super) fn new(dir: &Path, first: u64) -> Self {
        Segment { first, path: dir.join(format!("{first:020}.jsonl")) }
    }

    /// All files in `dir` that hold something, in order. One without a record may be a beginning that nobody went on with.
    pub(super) fn list(dir: &Path) -> io::Result<Vec<Segment>> {
        let mut segments = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let path = entry.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let number = name.strip_suffix(".jsonl").filter(|number| number.len() == 20);
            if let Some(first) = number.and_then(|number| number.parse().ok())
                && std::fs::metadata(&path)?.len() > 0
            {
                segments.push(Segment { first, path });
            }
        }
        segments.sort_by_key(|segment| segment.first);
        Ok(segments)
    }

    /// Begins it, for appending. What somebody has written to already is not taken over.
    pub(super) fn begin(&self) -> io::Result<File> {
        let mut how = OpenOptions::new();
        how.append(true);
        match how.clone().create_new(true).open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = how.open(&self.path)?;
                let what = format!("{} was begun by another process", self.path.display());
                if file.metadata()?.len() == 0 { Ok(file) } else { Err(io::Error::other(what)) }
            }
            begun => begun,
        }
    }

    /// Its lines from `offset` on, which is the beginning of one.
    pub(super) fn lines(&self, offset: u64) -> io::Result<Lines> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Lines { file: BufReader::with_capacity(256 * 1024, file), offset })
    }
}

impl Segment {
    /// One line: where it begins, and its length without its end.
    pub(super) fn line(&self, begins: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut line = vec![0; length.min(LINE_BYTES_MAX)];
        File::open(&self.path)?.read_exact_at(&mut line, begins)?;
        Ok(line)
    }
}

/// What comes next in a file of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// A line that ends: where it begins, and its bytes without the end.
    Line(u64, Vec<u8>),
    /// The file ends within a line: where that begins, and what there is of it.
    Torn(u64, Vec<u8>),
}

/// The lines of one file. A line beyond what a record may take is given in pieces of that length; none is a record.
pub(super) struct Lines {
    file: BufReader<File>,
    offset: u64,
}

impl Lines {
    pub(super) fn next(&mut self) -> io::Result<Option<Next>> {
        let mut line = Vec::new();
        let bytes = (&mut self.file).take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)?;
        if bytes == 0 {
            return Ok(None);
        }
        let begins = self.offset;
        self.offset += bytes as u64;
        match line.last() {
            Some(b'\n') => {
                line.pop();
                Ok(Some(Next::Line(begins, line)))
            }
            _ if bytes > LINE_BYTES_MAX => Ok(Some(Next::Line(begins, line))),
            _ => Ok(Some(Next::Torn(begins, line))),
        }
    }
}
