//! Where checkpoints go besides the log's own directory. A log that nobody else ever saw can be written anew.
//!
//! A sink gets the newest checkpoint, and again until it has it: each one covers all before it, so one that was missed
//! is no loss. Each sink has a thread of its own; a slow one holds up neither the log nor the others.

mod webhook;

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::memory::{Doubt, Doubts};
use crate::telemetry::names;

pub use webhook::Webhook;

/// Takes checkpoints.
pub trait Sink: Send + 'static {
    /// What it is called in logs and metrics: `stdout`, `file`, `webhook`.
    fn name(&self) -> &'static str;

    /// Takes one signed note. It is called again with the same or a newer one when it fails.
    ///
    /// # Errors
    /// Why it could not, without secrets.
    fn publish(&mut self, note: &str) -> Result<(), String>;

    /// The last of what it has taken, where it can be asked: what a start is held against.
    ///
    /// # Errors
    /// It should be there, and cannot be read.
    fn recall(&mut self) -> Result<Option<String>, String> {
        Ok(None)
    }

    /// Shows it the log as a start has found it, before anything is written; what speaks against that.
    ///
    /// # Errors
    /// It does not answer.
    fn confront(&mut self, _note: &str) -> Result<Option<Doubt>, String> {
        Ok(None)
    }

    /// What the last note that it did not take tells of the log.
    fn contradiction(&mut self) -> Option<Doubt> {
        None
    }
}

/// How much of the end of a file is read for its last notes, bytes.
const RECALLED_BYTES: u64 = 64 * 1024;

/// One line of JSON on stdout for each checkpoint: `{"checkpoint": NOTE}`.
#[derive(Debug, Clone, Copy)]
pub struct Stdout;

impl Sink for Stdout {
    fn name(&self) -> &'static str {
        "stdout"
    }

    fn publish(&mut self, note: &str) -> Result<(), String> {
        let line = serde_json::json!({ "checkpoint": note });
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| error.to_string())
    }
}

/// A file that notes are appended to, on another disk or a mounted share.
#[derive(Debug, Clone)]
pub struct NoteFile(pub PathBuf);

impl Sink for NoteFile {
    fn name(&self) -> &'static str {
        "file"
    }

    fn publish(&mut self, note: &str) -> Result<(), String> {
        let write = || {
            let mut file = OpenOptions::new().create(true).append(true).open(&self.0)?;
            file.write_all(format!("{note}\n").as_bytes())?;
            file.sync_data()
        };
        write().map_err(|error: std::io::Error| format!("{}: {error}", self.0.display()))
    }

    fn recall(&mut self) -> Result<Option<String>, String> {
        let read = || -> std::io::Result<Option<String>> {
            let mut file = match File::open(&self.0) {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(RECALLED_BYTES)))?;
            let mut bytes = Vec::new();
            file.take(RECALLED_BYTES).read_to_end(&mut bytes)?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        };
        read().map_err(|error| format!("{}: {error}", self.0.display()))
    }
}

/// First wait after a failure, and the longest.
const WAIT: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// How long a log that is closed waits for its sinks.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// A sink with its thread.
#[derive(Debug)]
pub(super) struct Publisher {
    desk: Arc<SinkDesk>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct SinkDesk {
    state: Mutex<WaitingNote>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct WaitingNote {
    note: Option<String>,
    stopping: bool,
    done: bool,
}

impl SinkDesk {
    fn lock(&self) -> MutexGuard<'_, WaitingNote> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Publisher {
    pub(super) fn start(sink: Box<dyn Sink>, doubts: Arc<Doubts>) -> std::io::Result<Self> {
        let desk = Arc::new(SinkDesk::default());
        let mine = Arc::clone(&desk);
        let thread =
            std::thread::Builder::new().name("audit-sink".into()).spawn(move || publish(sink, &mine, &doubts))?;
        Ok(Publisher { desk, thread: Some(thread) })
    }

    /// Leaves the newest note for the sink.
    pub(super) fn leave(&self, note: &str) {
        self.desk.lock().note = Some(note.to_owned());
        self.desk.changed.notify_all();
    }

    /// Lets it have the last note, and ends its thread; one that hangs is left behind.
    pub(super) fn stop(mut self) {
        self.desk.lock().stopping = true;
        self.desk.changed.notify_all();
        let state = self.desk.lock();
        let waited = self.desk.changed.wait_timeout_while(state, LAST_WAIT, |state| !state.done);
        let done = waited.map_or_else(|poisoned| poisoned.into_inner().0.done, |(state, _)| state.done);
        if let (true, Some(thread)) = (done, self.thread.take()) {
            drop(thread.join());
        }
    }
}

fn publish(mut sink: Box<dyn Sink>, desk: &SinkDesk, doubts: &Doubts) {
    let mut wait = WAIT[0];
    loop {
        let mut state = desk.lock();
        while state.note.is_none() && !state.stopping {
            state = desk.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let Some(note) = state.note.take() else { break };
        drop(state);
        let outcome = sink.publish(&note);
        let word = if outcome.is_ok() { "delivered" } else { "failed" };
        metrics::counter!(names::AUDIT_CHECKPOINTS_TOTAL, "sink" => sink.name(), "outcome" => word).increment(1);
        let Err(error) = outcome else {
            wait = WAIT[0];
            continue;
        };
        tracing::warn!(sink = sink.name(), %error, "an audit checkpoint did not reach its sink");
        doubts.add(sink.contradiction());
        let mut state = desk.lock();
        if state.stopping {
            break;
        }
        state.note.get_or_insert(note);
        let until = Instant::now() + wait;
        wait = (wait * 2).min(WAIT[1]);
        while !state.stopping && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            state = desk.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
    desk.lock().done = true;
    desk.changed.notify_all();
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Flaky {
        fails: u32,
        took: Arc<Mutex<Vec<String>>>,
    }

    impl Sink for Flaky {
        fn name(&self) -> &'static str {
            "file"
        }

        fn publish(&mut self, note: &str) -> Result<(), String> {
            if self.fails > 0 {
                self.fails -= 1;
                return Err("not now".into());
            }
            self.took.lock().expect("no test panics here").push(note.to_owned());
            Ok(())
        }
    }

    #[test]
    fn a_sink_that_failed_gets_the_newest_note() {
        let took = Arc::default();
        let publisher =
            Publisher::start(Box::new(Flaky { fails: 1, took: Arc::clone(&took) }), Arc::default()).expect("a thread");
        publisher.leave("1");
        while took.lock().expect("no test panics here").is_empty() {
            publisher.leave("2");
            std::thread::sleep(Duration::from_millis(5));
        }
        publisher.leave("3");
        publisher.stop();
        let took = took.lock().expect("no test panics here");
        assert!(
            took.first().is_some_and(|note| note == "2") && took.last().is_some_and(|note| note == "3"),
            "{took:?}"
        );
    }

    #[test]
    fn a_file_holds_notes_that_are_found_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("anchors");
        let mut sink = NoteFile(path.clone());
        for note in ["log\n1\nAAAA\n\n\u{2014} log AAAA\n", "log\n2\nAAAA\n\n\u{2014} log AAAA\n"] {
            sink.publish(note).expect("written");
        }
        assert_eq!(super::super::checkpoint::notes(&std::fs::read_to_string(&path).expect("there")).len(), 2);
    }
}
