//! A start that finds less than is remembered, or something else, says so, and goes on saying so until a person has
//! accepted it.

use std::path::PathBuf;

use super::*;
use crate::audit::record::Entry;
use crate::audit::sink::NoteFile;
use crate::audit::{Kind, Log, Options, Record};
use crate::clock::Clock;
use crate::demo::count::{hash, unit};

/// A data directory with a log in it, and a place outside that gets checkpoints.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn options(&self, sink: bool, expected: bool) -> Options {
        let mut options = Options { expected, ..Options::new(self.path("audit")) };
        options.memory_file = Some(self.path("audit.head"));
        if sink {
            options.sinks.push(Box::new(NoteFile(self.path("anchors"))));
        }
        options
    }

    /// Opens it as a daemon does that has state, and proves it.
    fn open(&self, sink: bool) -> Log {
        let log = Log::open(self.options(sink, true), Clock::wall()).expect("it opens");
        log.prove_whole(|_| true).expect("it can be read");
        log
    }

    /// A log of so many records, of a process that has ended.
    fn of(records: usize, sink: bool) -> Self {
        let place = Place::new();
        let log = Log::open(place.options(sink, false), Clock::wall()).expect("it opens");
        log.prove_whole(|_| true).expect("it can be read");
        place.fill(&log, records);
        leave(log);
        place
    }

    /// Nothing is in doubt.
    fn is_clean(&self, sink: bool, what: &str) {
        let log = self.open(sink);
        assert_eq!(log.doubts(), [], "{what}");
        log.close();
    }

    fn fill(&self, log: &Log, records: usize) {
        for n in 0..records {
            let kind = if n % 7 == 3 { Kind::Presented } else { Kind::Decision };
            let record = Record { reason: Some(format!("reason {n}")), ..Record::new(kind, "robot", "scale", 1_000) };
            log.append_blocking(record).expect("written");
        }
    }

    fn file(&self) -> PathBuf {
        self.path("audit/00000000000000000000.jsonl")
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.file()).expect("there");
        text.lines().map(str::to_owned).collect()
    }

    fn write(&self, lines: &[String]) {
        let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        std::fs::write(self.file(), text).expect("written");
    }

    /// All files of the data directory.
    fn copy(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        for name in ["audit.head", "audit/checkpoints", "audit/hashes", "audit/signing.key", "audit/key.pub"] {
            found.extend(std::fs::read(self.path(name)).ok().map(|bytes| (self.path(name), bytes)));
        }
        found.push((self.file(), std::fs::read(self.file()).expect("there")));
        found
    }
}

/// Sinks have what they were given.
fn leave(log: Log) {
    log.close();
}

fn accept(log: &Log) {
    let doubts: Vec<String> = log.doubts().iter().map(ToString::to_string).collect();
    let event = Some(serde_json::json!({"doubts": doubts}));
    let record = Record { event, ..Record::new(Kind::Accepted, "@ada", "accept_log", 2_000) };
    log.append_blocking(record).expect("written");
}

/// It is in doubt; again after another start; and not any more once a person has accepted it.
fn in_doubt(place: &Place, sink: bool, what: &str) {
    for _ in 0..2 {
        match Log::open(place.options(sink, true), Clock::wall()) {
            Ok(log) => {
                log.prove_whole(|_| true).expect("it can be read");
                let doubts = log.doubts();
                assert!(!doubts.is_empty(), "{what}: nothing was noticed");
                place.fill(&log, 3);
                leave(log);
            }
            // It does not go on at all, which is as good.
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("audit verify"), "{what}: {error}");
                return;
            }
        }
    }
    let log = place.open(sink);
    accept(&log);
    assert_eq!(log.doubts(), [], "{what}: accepted");
    place.fill(&log, 3);
    leave(log);
    place.is_clean(sink, &format!("{what}: accepted for good"));
}

impl Place {
    /// The data directory as the disk has it at this moment, with the place outside as it was `before`.
    fn as_after_a_kill(&self, before: &[u8]) -> Place {
        let (after, copy) = (Place::new(), self.copy());
        std::fs::create_dir_all(after.path("audit")).expect("made");
        for (path, bytes) in copy {
            let to = after.0.path().join(path.strip_prefix(self.0.path()).expect("it is of there"));
            std::fs::write(to, bytes).expect("written");
        }
        std::fs::write(after.path("anchors"), before).expect("written");
        after
    }
}

/// A process that dies as soon as it has answered that the log is accepted asks nobody again: neither where a record was edited,
/// nor where somebody outside, or the state file, has not heard of it yet.
#[test]
fn what_was_accepted_stays_accepted_although_the_process_dies_after_the_answer() {
    for (round, what) in ["edited", "cut", "older"].repeat(5).into_iter().enumerate() {
        let place = Place::of(60, true);
        let (lines, older) = (place.lines(), place.copy());
        if what == "edited" {
            place.write(&lines.iter().map(|line| line.replacen("reason 9", "reason 8", 1)).collect::<Vec<_>>());
        } else if what == "cut" {
            place.write(&lines[..lines.len() - 7]);
            std::fs::remove_file(place.path("audit/checkpoints")).expect("it is there");
        } else {
            let log = place.open(true);
            place.fill(&log, 30);
            leave(log);
            older.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).expect("written"));
        }
        let anchors = std::fs::read(place.path("anchors")).expect("it got some");
        let recalled = super::super::checkpoint::notes(&String::from_utf8_lossy(&anchors)).pop();
        let options = || Options { recalled: recalled.clone(), ..place.options(true, true) };
        let log = Log::open(options(), Clock::wall()).expect("it opens");
        log.prove_whole(|_| true).expect("it can be read");
        assert_ne!(log.doubts(), [], "{what}");
        accept(&log);
        let after = place.as_after_a_kill(&anchors);
        // Nothing is remembered of this one: it only ends the process of the first.
        leave(log);
        let options = Options { recalled, ..after.options(true, true) };
        let log = Log::open(options, Clock::wall()).expect("it opens");
        log.prove_whole(|_| true).expect("it can be read");
        assert_eq!(log.doubts(), [], "{what}, round {round}");
        leave(log);
    }
}

/// What was accepted of a place outside is what it remembered then: another memory of it is another doubt.
#[test]
fn what_is_remembered_elsewhere_beyond_what_was_accepted_is_a_doubt() {
    let place = Place::of(60, true);
    let lines = place.lines();
    place.write(&lines[..lines.len() - 7]);
    std::fs::remove_file(place.path("audit/checkpoints")).expect("it is there");
    let log = place.open(true);
    accept(&log);
    let signed = std::fs::read(place.path("audit/checkpoints")).expect("the acceptance is signed");
    place.fill(&log, 40);
    leave(log);
    let newer = std::fs::read(place.path("anchors")).expect("it got some");
    let lines = place.lines();
    place.write(&lines[..lines.len() - 20]);
    std::fs::remove_file(place.path("audit.head")).expect("it is there");
    std::fs::write(place.path("anchors"), newer).expect("written");
    std::fs::write(place.path("audit/checkpoints"), signed).expect("written");
    let log = place.open(true);
    assert!(log.doubts().iter().any(|doubt| matches!(doubt, Doubt::Shorter { .. })), "{:?}", log.doubts());
    leave(log);
}

#[test]
fn what_was_left_as_it_was_is_not_in_doubt() {
    for records in [0, 1, 30, 200] {
        let place = Place::of(records, true);
        for _ in 0..3 {
            let log = place.open(true);
            assert_eq!(log.doubts(), []);
            place.fill(&log, 2);
            leave(log);
        }
        place.is_clean(true, "as it was");
    }
}

/// A process that dies before it has proved its log leaves records and a memory of none of them: no doubt. Where that memory
/// is taken away there is one, from the first record on.
#[test]
fn a_crash_before_the_log_is_proved_is_no_doubt_and_a_memory_that_is_gone_then_is_one() {
    for (earlier, taken_away) in [(0, false), (0, true), (1, false), (1, true)] {
        let place = if earlier == 0 { Place::new() } else { Place::of(5, false) };
        let log = Log::open(place.options(false, earlier > 0), Clock::wall()).expect("it opens");
        log.append_blocking(Record::new(Kind::Decision, "robot", "scale", 1_000)).expect("written");
        // As the disk is at this moment, and at no other.
        let after = place.as_after_a_kill(b"");
        leave(log);
        if taken_away {
            std::fs::remove_file(after.path("audit.head")).expect("it is there");
            in_doubt(&after, false, "the memory is gone");
        } else {
            after.is_clean(false, "a crash before the proof");
        }
    }
}

#[test]
fn half_a_checkpoint_that_a_crash_left_is_cut_off() {
    let place = Place::of(40, false);
    let path = place.path("audit/checkpoints");
    let whole = std::fs::read_to_string(&path).expect("there");
    let last = super::super::checkpoint::notes(&whole).pop().expect("some");
    for cut in 1..last.len() + 1 {
        let mut torn = whole.clone().into_bytes();
        torn.extend(&last.as_bytes()[..cut]);
        std::fs::write(&path, torn).expect("written");
        place.is_clean(false, &format!("cut after {cut} bytes of {}", last.len()));
        std::fs::write(&path, &whole).expect("written");
    }
}

#[test]
fn any_edited_record_is_noticed() {
    for seed in 0..40 {
        let place = Place::of(100, false);
        let mut lines = place.lines();
        let at = 1 + (unit(hash(7, seed)) * (lines.len() - 1) as f64) as usize;
        let (before, edited) = (lines[at].clone(), lines[at].replacen("reason ", "Reason ", 1));
        assert_ne!(before, edited);
        lines[at] = edited;
        place.write(&lines);
        in_doubt(&place, false, &format!("record {at} was edited"));
    }
}

#[test]
fn any_cut_of_the_end_is_noticed_with_the_checkpoints_or_without() {
    for seed in 0..40 {
        let place = Place::of(100, false);
        let lines = place.lines();
        let left = 1 + (unit(hash(8, seed)) * (lines.len() - 1) as f64) as usize;
        place.write(&lines[..left]);
        if seed % 2 == 0 {
            std::fs::remove_file(place.path("audit/checkpoints")).expect("it is there");
        }
        in_doubt(&place, false, &format!("{} records were cut off", lines.len() - left));
    }
}

#[test]
fn an_older_copy_of_the_log_is_noticed_and_one_of_everything_by_what_was_sent_elsewhere() {
    for (sink, everything) in [(false, false), (true, false), (true, true)] {
        let place = Place::of(40, sink);
        let copy = place.copy();
        let log = place.open(sink);
        place.fill(&log, 30);
        leave(log);
        for (path, bytes) in copy {
            if everything || !path.ends_with("audit.head") {
                std::fs::write(path, bytes).expect("written");
            }
        }
        in_doubt(&place, sink, "an older copy was put back");
    }
}

#[test]
fn whatever_is_deleted_is_noticed_or_made_again() {
    for name in ["audit/checkpoints", "audit/hashes", "audit/key.pub", "audit/lock"] {
        let place = Place::of(50, true);
        std::fs::remove_file(place.path(name)).expect("it is there");
        // Made again from the records, and held against what is remembered.
        place.is_clean(true, name);
    }
    for name in ["audit.head", "audit/signing.key", "audit/00000000000000000000.jsonl"] {
        let place = Place::of(50, true);
        std::fs::remove_file(place.path(name)).expect("it is there");
        in_doubt(&place, true, name);
    }
    for also in [&["audit.head"][..], &["anchors"], &[]] {
        let place = Place::of(50, true);
        std::fs::remove_dir_all(place.path("audit")).expect("it is there");
        also.iter().for_each(|name| std::fs::remove_file(place.path(name)).expect("it is there"));
        in_doubt(&place, true, "the whole log is gone");
    }
}

/// A log that was begun anew under another key is not the one that was there.
#[test]
fn another_key_is_noticed() {
    let (place, other) = (Place::of(50, true), Place::of(80, false));
    std::fs::remove_dir_all(place.path("audit")).expect("it is there");
    std::fs::rename(other.path("audit"), place.path("audit")).expect("moved");
    in_doubt(&place, true, "the log of another place");
}

/// What was accepted is that, and not what is done to it later.
/// An older copy of the log with what remembers it beside it, put back without the state of the process.
#[test]
fn an_older_copy_of_the_log_and_its_memory_is_noticed_by_the_state() {
    let place = Place::of(20, false);
    let older = place.copy();
    let lines = place.lines();
    let log = place.open(false);
    place.fill(&log, 10);
    leave(log);
    let all = std::fs::read_to_string(place.path("audit/checkpoints")).expect("there");
    let note = notes(&all).pop().expect("it was signed at the end");
    let open = |note: &str| {
        let options = Options { recalled: Some(note.to_owned()), ..place.options(false, true) };
        let log = Log::open(options, Clock::wall()).expect("it opens");
        log.prove_whole(|_| true).expect("it can be read");
        log
    };
    let log = open(&note);
    assert_eq!(log.doubts(), [], "it is what it was");
    leave(log);
    for (path, bytes) in &older {
        std::fs::write(path, bytes).expect("written");
    }
    place.write(&lines);
    let log = open(&note);
    assert!(matches!(&log.doubts()[..], [Doubt::Shorter { by, .. }] if by == "state.db"), "{:?}", log.doubts());
    leave(log);
    // Half a note is no note, and tells that there was one.
    let log = open(&note[..20]);
    assert!(matches!(&log.doubts()[..], [Doubt::Forgotten(_)]), "{:?}", log.doubts());
}

/// Whoever edits a record can write, too, that a person has accepted it. That is no acceptance: it stands in the place of a record
/// that was another, or follows what is signed.
#[test]
fn an_acceptance_that_nobody_signed_silences_nothing() {
    for replaces in [true, false] {
        let place = Place::of(60, false);
        let mut lines = place.lines();
        lines[20] = lines[20].replacen("reason ", "Reason ", 1);
        place.write(&lines);
        let log = place.open(false);
        let doubts: Vec<String> = log.doubts().iter().map(ToString::to_string).collect();
        assert!(!doubts.is_empty());
        leave(log);
        let mut lines = place.lines();
        if replaces {
            lines.pop();
        }
        let last = Entry::read(lines.last().expect("records").as_bytes()).expect("a record");
        let origin = last.members["log"]["origin"].as_str().expect("a name").to_owned();
        let event = Some(serde_json::json!({"doubts": doubts}));
        let forged = Record { event, ..Record::new(Kind::Accepted, "@ada", "accept_log", 2_000) };
        let forged = forged.members(&origin, last.seq + 1, Some(&last.leaf));
        let line = crate::audit::record::render(&forged).expect("it has a form").line;
        lines.push(String::from_utf8(line).expect("text"));
        place.write(&lines);
        in_doubt(&place, false, "accepted by nobody");
    }
}

#[test]
fn what_was_accepted_may_not_be_edited_again() {
    let place = Place::of(60, false);
    let mut lines = place.lines();
    lines[20] = lines[20].replacen("reason ", "Reason ", 1);
    place.write(&lines);
    let log = place.open(false);
    assert!(matches!(log.doubts()[..], [Doubt::Edited { seq: 20, .. }, ..]), "{:?}", log.doubts());
    accept(&log);
    leave(log);
    place.is_clean(false, "it was accepted");
    let mut lines = place.lines();
    lines[20] = lines[20].replacen("Reason ", "REASON ", 1);
    place.write(&lines);
    in_doubt(&place, false, "edited again");
}
