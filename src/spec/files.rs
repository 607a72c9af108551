//! Finding the files: bounded in number, size and depth, in one order on every machine.
//!
//! Kubernetes mounts a ConfigMap as symlinks into a hidden `..data` directory that is swapped on change: entries
//! that start with a dot are skipped, symlinks to files are followed. A directory is entered once, so loops end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::object::ObjectKey;
use super::problem::{Code, Problem, Severity};

/// Largest file, bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Most files of one load.
pub const FILES_MAX: usize = 10_000;
/// Deepest directory below a given one.
pub const DEPTH_MAX: usize = 8;

/// The path that stands for the standard input.
pub const STDIN: &str = "-";

/// A file that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedFile {
    /// As it was named or found.
    pub path: String,
    /// What is in it.
    pub text: String,
    /// It was named itself, not found in a folder: then it must be a service or a policy.
    pub named: bool,
    /// The object of a cluster that it is a part of; `None`: it is a file.
    pub object: Option<Arc<ObjectKey>>,
}

/// Reads all files of `paths`, directories recursively, sorted by path.
pub(crate) fn read(paths: &[PathBuf], problems: &mut Vec<Problem>) -> Vec<LoadedFile> {
    let mut found = Found { files: BTreeMap::new(), entered: BTreeSet::new() };
    let mut files = Vec::new();
    for path in paths {
        if path == Path::new(STDIN) {
            if files.is_empty() {
                match bounded_text(std::io::stdin().lock()) {
                    // What a program prints may hold more than SLOs, as a folder may.
                    Ok(text) => files.push(LoadedFile { path: "stdin".into(), text, named: false, object: None }),
                    Err(reason) => problems.push(unreadable(Path::new("stdin"), &reason)),
                }
            }
            continue;
        }
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => found.walk(path, 0, problems),
            Ok(_) => {
                found.files.insert(path.clone(), true);
            }
            Err(error) => problems.push(unreadable(path, &error.to_string())),
        }
    }
    if found.files.is_empty() && files.is_empty() && problems.is_empty() {
        let named: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        let mut problem = unreadable(Path::new(&named.join(", ")), "there is no .yaml or .yml file in it");
        problem.write("the folder of your services, such as rules/");
        problems.push(problem);
    }
    for (path, named) in found.files {
        match read_text(&path) {
            Ok(text) => files.push(LoadedFile { path: path.display().to_string(), text, named, object: None }),
            Err(reason) => problems.push(unreadable(&path, &reason)),
        }
    }
    files
}

/// What tells one state of files from another: of each its path, where that leads, and what the file system says of it.
pub type Stamp = Vec<(PathBuf, PathBuf, u64, u64, i64, i64)>;

/// The state of all files of `paths`, as they would be read. What cannot be looked at is a state too.
pub fn stamp(paths: &[PathBuf]) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    let mut found = Found { files: BTreeMap::new(), entered: BTreeSet::new() };
    let mut unread = Vec::new();
    for path in paths.iter().filter(|path| *path != Path::new(STDIN)) {
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => found.walk(path, 0, &mut unread),
            _ => drop(found.files.insert(path.clone(), true)),
        }
    }
    let of = |path: PathBuf| match (fs::canonicalize(&path), fs::metadata(&path)) {
        (Ok(real), Ok(meta)) => (path, real, meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()),
        _ => (path, PathBuf::new(), 0, 0, 0, 0),
    };
    found.files.into_keys().map(of).collect()
}

struct Found {
    /// Each with whether it was named itself.
    files: BTreeMap<PathBuf, bool>,
    entered: BTreeSet<PathBuf>,
}

impl Found {
    fn walk(&mut self, directory: &Path, depth: usize, problems: &mut Vec<Problem>) {
        if depth > DEPTH_MAX {
            problems.push(unreadable(directory, &format!("over {DEPTH_MAX} directories deep")));
            return;
        }
        let real = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_path_buf());
        if !self.entered.insert(real) {
            return;
        }
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => return problems.push(unreadable(directory, &error.to_string())),
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        paths.sort();
        for path in paths {
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
                continue;
            }
            match fs::metadata(&path) {
                Ok(meta) if meta.is_dir() => self.walk(&path, depth + 1, problems),
                Ok(meta) if meta.is_file() && is_yaml(&path) => {
                    if self.files.len() >= FILES_MAX {
                        return problems.push(unreadable(directory, &format!("over {FILES_MAX} files")));
                    }
                    self.files.entry(path).or_insert(false);
                }
                Ok(_) => {}
                Err(error) if is_yaml(&path) => problems.push(unreadable(&path, &error.to_string())),
                Err(_) => {}
            }
        }
    }
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// The text of a file, refused when it is too large, no plain file, or not UTF-8.
fn read_text(path: &Path) -> Result<String, String> {
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        return Err("is not a plain file".into());
    }
    bounded_text(file)
}

/// The text of what is read, refused when it is too long or not UTF-8.
fn bounded_text(source: impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    source.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(format!("is over {} KiB", FILE_BYTES_MAX / 1024));
    }
    String::from_utf8(bytes).map_err(|error| format!("is not UTF-8 from byte {} on", error.utf8_error().valid_up_to()))
}

pub(crate) fn unreadable(path: &Path, reason: &str) -> Problem {
    Problem {
        severity: Severity::Error,
        file: path.display().to_string(),
        line: 0,
        column: 0,
        length: 1,
        what: format!("cannot be loaded: {reason}"),
        about: String::new(),
        instead: None,
        code: Code::Unreadable,
    }
}
