//! Tests of the log itself: what is answered is on disk, what is not was never answered, and a start finds it again.

use std::time::Instant;

use serde_json::json;

use super::super::record::{Entry, Kind};
use super::super::segment::{Next, Segment};
use super::*;

fn open(options: Options) -> Log {
    Log::open(options, Clock::wall()).expect("it opens")
}

fn decision(n: u64) -> Record {
    Record {
        reason: Some(format!("reason {n}")),
        decision: Some(json!({"id": format!("dec_{n}"), "result": "allow"})),
        ..Record::new(Kind::Decision, "robot", "scale", Clock::wall().now_ms())
    }
}

fn entries(dir: &std::path::Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    for segment in Segment::list(dir).expect("a directory") {
        let mut lines = segment.lines(0).expect("a file");
        while let Some(next) = lines.next().expect("it can be read") {
            let Next::Line(_, line) = next else { panic!("torn: {next:?}") };
            entries.push(Entry::read(&line).expect("a record"));
        }
    }
    entries
}

fn kinds(dir: &std::path::Path) -> Vec<String> {
    entries(dir).iter().map(|entry| entry.text("kind").expect("each has one").to_owned()).collect()
}

/// The file of the first records.
fn first_file(dir: &std::path::Path) -> PathBuf {
    Segment::new(dir, 0).path
}

#[test]
fn what_is_answered_stands_in_the_file_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(Options::new(folder.path()));
    let receipts: Vec<Receipt> = (0..5).map(|n| log.append_blocking(decision(n)).expect("written")).collect();
    let entries = entries(folder.path());
    assert_eq!(kinds(folder.path()), ["boot", "decision", "decision", "decision", "decision", "decision"]);
    for (receipt, entry) in receipts.iter().zip(&entries[1..]) {
        assert_eq!((receipt.seq, receipt.leaf), (entry.seq, entry.leaf));
    }
    assert!(entries.windows(2).all(|pair| pair[1].prev == Some(pair[0].leaf)));
    log.close();
    assert_eq!(kinds(folder.path()).last().map(String::as_str), Some("shutdown"));
    assert_eq!(log.append_blocking(decision(9)), Err(Refused::Closed));
}

#[test]
fn the_chain_goes_on_over_restarts_and_files() {
    let folder = tempfile::tempdir().expect("a folder");
    for round in 0..3 {
        let log = open(Options { segment_bytes: 2_000, ..Options::new(folder.path()) });
        for n in 0..10 {
            log.append_blocking(decision(round * 10 + n)).expect("written");
        }
        log.close();
    }
    let entries = entries(folder.path());
    assert_eq!(entries.len(), 3 * 12);
    assert!(entries.windows(2).all(|pair| pair[1].prev == Some(pair[0].leaf) && pair[1].seq == pair[0].seq + 1));
    assert!(Segment::list(folder.path()).expect("a directory").len() > 5);
}

#[test]
fn many_share_a_sync_and_each_gets_its_own_receipt() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(Options::new(folder.path()));
    let threads: Vec<_> = (0..8_u64)
        .map(|client| {
            let log = log.clone();
            let receipt = move |n| log.append_blocking(decision(client * 100 + n)).expect("written");
            std::thread::spawn(move || (0..20).map(receipt).collect::<Vec<_>>())
        })
        .collect();
    let mut receipts: Vec<Receipt> = threads.into_iter().flat_map(|t| t.join().expect("no panic")).collect();
    receipts.sort_by_key(|receipt| receipt.seq);
    let entries = entries(folder.path());
    assert!(receipts.iter().map(|r| (r.seq, r.leaf)).eq(entries[1..].iter().map(|e| (e.seq, e.leaf))));
}

#[test]
fn half_a_record_at_the_end_is_dropped_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(Options::new(folder.path()));
    log.append_blocking(decision(0)).expect("written");
    log.close();
    drop(log);
    for torn in [&b"{\"actor\":\"ro"[..], b"\0\0\0\0\n{\"actor\"", b"x"] {
        let file = OpenAppend(first_file(folder.path()));
        let whole = file.append(torn);
        let log = open(Options::new(folder.path()));
        log.close();
        drop(log);
        let entries = entries(folder.path());
        let gap = entries.iter().rev().find(|entry| entry.text("kind") == Some("gap")).expect("it is told");
        assert_eq!(gap.members["event"]["bytes"], torn.len());
        assert_eq!(gap.text("event.digest"), Some(Hash::of(torn).to_string().as_str()));
        assert_eq!(entries.iter().filter(|entry| (entry.seq as usize) < whole).count(), whole);
    }
}

struct OpenAppend(PathBuf);

impl OpenAppend {
    /// Appends bytes; how many lines there were before.
    fn append(&self, bytes: &[u8]) -> usize {
        let before = std::fs::read(&self.0).expect("there");
        std::fs::write(&self.0, [&before[..], bytes].concat()).expect("written");
        before.iter().filter(|byte| **byte == b'\n').count()
    }
}

#[test]
fn a_log_that_does_not_fit_its_checkpoint_is_not_gone_on_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(Options::new(folder.path()));
    for n in 0..10 {
        log.append_blocking(decision(n)).expect("written");
    }
    log.close();
    drop(log);
    let path = first_file(folder.path());
    let whole = std::fs::read_to_string(&path).expect("there");
    let cut: String = whole.lines().take(8).flat_map(|line| [line, "\n"]).collect();
    let edited = whole.replacen("reason 3", "reason 8", 1);
    std::fs::write(&path, &cut).expect("written");
    let error = Log::open(Options::new(folder.path()), Clock::wall()).expect_err("truncated").to_string();
    assert!(error.contains("8 records") && error.contains("12"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("there"), cut, "evidence is not changed");
    // Before the checkpoint an edit is found when the log is read whole.
    std::fs::write(&path, &edited).expect("written");
    std::fs::remove_file(folder.path().join("hashes")).expect("removed");
    let error = Log::open(Options::new(folder.path()), Clock::wall()).expect_err("edited").to_string();
    assert!(error.contains("record 5") && error.contains("does not follow"), "{error}");
    std::fs::write(&path, &whole).expect("written");
    open(Options::new(folder.path())).close();
}

#[test]
fn stored_hashes_that_are_lost_or_wrong_are_made_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(Options { segment_bytes: 3_000, ..Options::new(folder.path()) });
    for n in 0..30 {
        log.append_blocking(decision(n)).expect("written");
    }
    log.close();
    let hashes = folder.path().join("hashes");
    let right = std::fs::read(&hashes).expect("there");
    drop(log);
    let first = decision(30);
    for wrong in [Vec::new(), right[..100].to_vec(), vec![0; right.len()], right.repeat(2)] {
        std::fs::write(&hashes, wrong).expect("written");
        let log = open(Options::new(folder.path()));
        let receipt = log.append_blocking(first.clone()).expect("written");
        log.close();
        assert!(std::fs::read(&hashes).expect("there").starts_with(&right));
        let proof = log.prove(receipt.seq).expect("readable").expect("covered");
        assert!(proof.holds() && proof.leaf == receipt.leaf);
    }
}

#[test]
fn a_clock_that_goes_back_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = Log::open(Options::new(folder.path()), Clock::scaled(1_000_000, 1e-9)).expect("it opens");
    let at = |time_ms| Record::new(Kind::Halt, "a", "halt", time_ms);
    for time_ms in [1_000_000, 2_000_000, 1_999_500, 1_500_000, 1_600_000] {
        log.append_blocking(at(time_ms)).expect("written");
    }
    drop(log);
    let kinds = kinds(folder.path());
    assert_eq!(kinds[..7], ["boot", "halt", "halt", "halt", "clock_step", "halt", "halt"]);
}

#[test]
fn a_clock_that_goes_back_over_a_restart_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    // A file each, so that the last record stands in a file before the one that is gone on in.
    let options = || Options { segment_bytes: 1, ..Options::new(folder.path()) };
    for time_ms in [5_000_000, 1_000_000] {
        Log::open(options(), Clock::scaled(time_ms, 1e-9)).expect("it opens").close();
    }
    assert_eq!(kinds(folder.path()), ["boot", "shutdown", "clock_step", "boot", "shutdown"]);
    let boots: Vec<bool> = entries(folder.path())
        .iter()
        .filter(|entry| entry.text("kind") == Some("boot"))
        .map(|entry| entry.members["event"]["stopped_in_order"] == true)
        .collect();
    assert_eq!(boots, [true, true]);
}

#[test]
fn what_cannot_be_a_record_is_refused_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(Options::new(folder.path()));
    let with = |event| Record { event: Some(event), ..decision(0) };
    assert!(matches!(log.append_blocking(with(json!(u64::MAX))), Err(Refused::Number(_))));
    let long: Vec<String> = (0..100).map(|_| "x".repeat(4000)).collect();
    assert_eq!(log.append_blocking(with(json!(long))), Err(Refused::TooLarge));
    assert_eq!(log.append_blocking(decision(1)).map(|receipt| receipt.seq), Ok(1));
    assert_eq!(log.health(), Ok(()));
}

#[test]
fn two_processes_do_not_write_one_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(Options::new(folder.path()));
    assert!(matches!(Log::open(Options::new(folder.path()), Clock::wall()), Err(OpenError::InUse(_))));
    log.close();
    open(Options::new(folder.path())).close();
}

#[test]
fn a_checkpoint_of_another_key_stops_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    open(Options::new(folder.path())).close();
    std::fs::remove_file(folder.path().join("signing.key")).expect("removed");
    let error = Log::open(Options::new(folder.path()), Clock::wall()).expect_err("another key").to_string();
    assert!(error.contains("not by the key"), "{error}");
}

#[test]
fn checkpoints_are_signed_after_records_and_at_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = open(Options { checkpoint_records: 4, ..Options::new(folder.path()) });
    assert_eq!(log.checkpoint().size, 1, "the boot is signed at once");
    for n in 0..9 {
        log.append_blocking(decision(n)).expect("written");
    }
    log.close();
    let text = std::fs::read_to_string(folder.path().join("checkpoints")).expect("there");
    let sizes: Vec<u64> = super::super::checkpoint::notes(&text)
        .iter()
        .map(|note| {
            let anchor = super::super::checkpoint::Anchor::parse(note).expect("a note");
            anchor.check(log.public_key()).expect("by our key");
            anchor.checkpoint.size
        })
        .collect();
    assert_eq!(sizes, [1, 5, 9, 11]);
    assert_eq!(log.checkpoint().size, 11);
}

/// What an older copy of the log would undo is signed, and sent elsewhere, as soon as it is written; the rest with the others.
#[test]
fn what_must_not_be_undone_is_signed_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let every = Duration::from_secs(3600);
    let anchors = folder.path().join("anchors");
    let mut options =
        Options { checkpoint_records: 1000, checkpoint_every: every, ..Options::new(folder.path().join("audit")) };
    options.sinks.push(Box::new(crate::audit::sink::NoteFile(anchors.clone())));
    let log = open(options);
    log.append_blocking(decision(0)).expect("written");
    log.settle().expect("all of it");
    assert_eq!(log.checkpoint().size, 1, "a decision waits for others");
    let sent = || {
        let text = std::fs::read_to_string(&anchors).unwrap_or_default();
        let last = super::super::checkpoint::notes(&text).pop();
        last.and_then(|note| super::super::checkpoint::Anchor::parse(&note).ok())
            .map_or(0, |anchor| anchor.checkpoint.size)
    };
    for kind in [Kind::Presented, Kind::Halt, Kind::Approval, Kind::BreakGlass, Kind::Accepted] {
        let receipt = log.append_blocking(Record::new(kind, "@ada", "x", 0)).expect("written");
        let until = Instant::now() + Duration::from_secs(10);
        while log.checkpoint().size <= receipt.seq || sent() <= receipt.seq {
            assert!(
                Instant::now() < until,
                "{kind:?} is not signed, or not sent: {} {}",
                log.checkpoint().size,
                sent()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    log.close();
}

fn claimed(dir: &std::path::Path, holder: &str, hold: &Hold) -> Result<Seat, OpenError> {
    Seat::claim(dir, &format!("http://{holder}"), holder, hold.clone(), Some(&dir.with_extension("head")))
}

fn opened(dir: &std::path::Path, seat: Seat) -> Log {
    let memory_file = Some(dir.with_extension("head"));
    let options = Options { seat: Some(seat), memory_file, segment_bytes: 3_000, ..Options::new(dir) };
    let log = Log::open(options, Clock::wall()).expect("it opens");
    log.prove_whole(|_| true).expect("it can be read");
    assert_eq!(log.doubts(), []);
    log
}

/// One of them stood still, or its clock did: it believes that it holds the lease. Whatever it does, nobody is answered on it, and
/// the log of the next one is whole.
#[test]
fn who_lost_its_turn_answers_nobody_and_spoils_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("audit");
    let for_ever = Hold::default();
    for_ever.until(Duration::from_secs(u64::MAX / 2000));
    assert!(!Seat::was_claimed(&dir));
    for records in [1_u64, 4, 9, 30] {
        let before = entries_of(&dir);
        let a = opened(&dir, claimed(&dir, "a", &for_ever).expect("it is nobody's"));
        for n in 0..records {
            a.append_blocking(decision(n)).expect("written");
        }
        // What a process has open that stood still within a write.
        let newest = Segment::list(&dir).expect("a directory").pop().expect("a file").path;
        let open = |path: PathBuf| std::fs::OpenOptions::new().append(true).open(path).expect("it is there");
        let mut held: Vec<_> =
            [newest, dir.join("hashes"), dir.join("checkpoints"), dir.with_extension("head")].map(open).into();
        let b = opened(&dir, claimed(&dir, "b", &for_ever).expect("a lease is no lock"));
        assert!(b.epoch() > a.epoch());
        assert_eq!(Seat::claimed_by(&dir).as_deref(), Some("http://b"));
        for file in &mut held {
            std::io::Write::write_all(file, b"what came too late\n").expect("it is open");
        }
        assert!(matches!(a.append_blocking(decision(98)), Err(Refused::Disk(_))));
        b.append_blocking(decision(99)).expect("written");
        assert!(matches!(a.append_blocking(decision(98)), Err(Refused::Disk(_))));
        a.close();
        b.append_blocking(decision(99)).expect("written");
        b.close();
        let all = entries(&dir);
        // Two boots, two of b's, and its end.
        assert_eq!(all.len() as u64, before + records + 5);
        assert!(all.windows(2).all(|pair| pair[1].prev == Some(pair[0].leaf) && pair[1].seq == pair[0].seq + 1));
    }
}

/// It stood still before it claimed the log, or in the middle of that, for longer than its lease lasts. What it would do then is
/// put an older copy in the place of what the next one has written and answered.
#[test]
fn who_stood_still_in_a_claim_takes_nothing_from_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("audit");
    let [over, held] = [Hold::default(), Hold::default()];
    held.until(Duration::MAX);
    let b = opened(&dir, claimed(&dir, "b", &held).expect("it is nobody's"));
    b.append_blocking(decision(1)).expect("written");
    // Before: its lease is over by now.
    assert!(matches!(claimed(&dir, "a", &over), Err(OpenError::InUse(_))));
    assert!(Seat::is_claimed_as(&dir, "http://b", "b"));
    b.append_blocking(decision(2)).expect("the turn is still b's");
    // In the middle: nobody claims it beside that one, and it does not begin beside another one.
    let claiming = std::fs::File::open(dir.join("claiming")).expect("it is there");
    claiming.lock().expect("it is free");
    assert!(matches!(claimed(&dir, "c", &held), Err(OpenError::InUse(_))));
    assert!(Seat::is_claimed_as(&dir, "http://b", "b"));
    b.append_blocking(decision(3)).expect("the turn is still b's");
    drop(claiming);
    let c = opened(&dir, claimed(&dir, "c", &held).expect("a lease is no lock"));
    assert!(!Seat::is_claimed_as(&dir, "http://b", "b") && Seat::is_claimed_as(&dir, "http://c", "c"));
    assert!(b.append_blocking(decision(4)).is_err());
    c.close();
    assert_eq!(kinds(&dir), ["boot", "decision", "decision", "decision", "boot", "shutdown"]);
}

fn entries_of(dir: &std::path::Path) -> u64 {
    if dir.exists() { entries(dir).len() as u64 } else { 0 }
}

/// It could not be renewed in time, and nobody else wanted it: what was refused meanwhile is not in the log.
#[test]
fn a_turn_that_lapsed_and_came_back_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("audit");
    let hold = Hold::default();
    hold.until(Duration::MAX);
    let log = opened(&dir, claimed(&dir, "a", &hold).expect("it is nobody's"));
    let first = log.append_blocking(decision(1)).expect("written");
    hold.end();
    assert!(!log.is_held());
    assert!(log.append_blocking(decision(2)).is_err());
    hold.until(Duration::MAX);
    let third = log.append_blocking(decision(3)).expect("written");
    assert_eq!(third.seq, first.seq + 1);
    log.close();
    assert_eq!(kinds(&dir), ["boot", "decision", "decision", "shutdown"]);
}

#[test]
fn a_lock_and_a_lease_do_not_share_a_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let hold = Hold::default();
    hold.until(Duration::MAX);
    let lock = Seat::take(folder.path(), None).expect("it is free");
    assert!(matches!(claimed(folder.path(), "a", &hold), Err(OpenError::InUse(_))));
    drop(lock);
    let claim = claimed(folder.path(), "a", &hold).expect("it is free");
    assert!(matches!(Seat::take(folder.path(), None), Err(OpenError::InUse(_))));
    drop(claim);
    drop(Seat::take(folder.path(), None).expect("it is free again"));
}
