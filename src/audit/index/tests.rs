//! Tests of the index: against a walk over all records, and over everything that can become of its file.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::audit::{Log, Options, Record};
use crate::clock::Clock;

fn open(dir: &Path) -> Index {
    Index::open(dir, &mut |_, _| {}).expect("it opens")
}

fn record(n: u64, time_ms: i64) -> Record {
    Record {
        service: (!n.is_multiple_of(3)).then(|| format!("service-{}", n % 3)),
        incident_id: n.is_multiple_of(4).then(|| format!("INC-{}", n % 8)),
        decision: Some(json!({"id": format!("dec_{}", n / 2), "result": (["allow", "deny"][(n % 2) as usize])})),
        ..Record::new([Kind::Decision, Kind::Permit][(n % 2) as usize], format!("a{}", n % 5), "scale", time_ms)
    }
}

/// A log whose clock starts at 1,000 s; `times_s` are those of its records.
fn log(dir: &Path, times_s: &[i64]) -> Vec<Entry> {
    let options = Options { segment_bytes: 4_000, ..Options::new(dir) };
    let log = Log::open(options, Clock::scaled(1_000_000, 1e-9)).expect("it opens");
    for (n, time_s) in (0..).zip(times_s) {
        log.append_blocking(record(n, time_s * 1000)).expect("written");
    }
    log.close();
    let mut entries = Vec::new();
    for segment in Segment::list(dir).expect("a directory") {
        let text = std::fs::read_to_string(segment.path).expect("there");
        entries.extend(text.lines().map(|line| Entry::read(line.as_bytes()).expect("a record")));
    }
    entries
}

/// What `query` means, without an index.
fn walked(entries: &[Entry], query: &Query) -> Vec<u64> {
    let fits = |entry: &&Entry| {
        let time_ms = entry.time_ms().expect("each has one");
        let words = FIELDS.iter().zip(query.words());
        words.into_iter().all(|((_, path), text)| text.is_none_or(|text| entry.text(path) == Some(text)))
            && query.since_ms.is_none_or(|since| time_ms >= since)
            && query.until_ms.is_none_or(|until| time_ms < until)
    };
    let found = entries.iter().rev().filter(fits).map(|entry| entry.seq);
    found.take(query.limit.map_or(usize::MAX, |limit| limit as usize)).collect()
}

fn found(index: &Index, query: &Query) -> Vec<u64> {
    index.search(query).expect("it can be read").iter().map(|place| place.seq).collect()
}

#[test]
fn every_search_finds_what_a_walk_finds() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let forward: Vec<i64> = (0..80).map(|n| 1_000 + n * 10).collect();
    let with_steps: Vec<i64> = (0..80).map(|n| 1_000 + (n * 37 % 50) * 10).collect();
    let logs = [&forward, &with_steps].map(|times| times.as_slice());
    let logs: Vec<(Vec<Entry>, Index)> =
        logs.iter().zip(&folders).map(|(times, folder)| (log(folder.path(), times), open(folder.path()))).collect();
    let text = |texts: &'static [&'static str]| prop::option::of(prop::sample::select(texts).prop_map(str::to_owned));
    let query = (
        text(&["service-1", "service-2", "nobody"]),
        text(&["a0", "a3"]),
        text(&["INC-0", "INC-4"]),
        text(&["scale", "boot"]),
        prop::option::of(prop::sample::select(&[Kind::Decision, Kind::ClockStep, Kind::Halt][..])),
        text(&["allow", "deny"]),
        prop::option::of(990_000_i64..1_900_000),
        prop::option::of(990_000_i64..1_900_000),
        prop::option::of(0_u64..20),
    );
    proptest!(|(parts in query, which in 0..2_usize)| {
        let (service, actor, incident, action, kind, decision, since_ms, until_ms, limit) = parts;
        let query = Query { service, actor, incident, action, kind, decision, since_ms, until_ms, limit };
        let (entries, index) = &logs[which];
        prop_assert_eq!(found(index, &query), walked(entries, &query), "{:?}", query);
    });
}

#[test]
fn everything_of_a_decision_is_found_by_its_id() {
    let folder = tempfile::tempdir().expect("a folder");
    log(folder.path(), &[1_000; 10]);
    let index = open(folder.path());
    let of =
        |id: &str| -> Vec<u64> { index.of_decision(id).expect("readable").iter().map(|place| place.seq).collect() };
    assert_eq!((of("dec_2"), of("dec_9")), (vec![5, 6], vec![]));
    let place = index.of_seq(5).expect("readable").expect("there");
    assert_eq!(index.read(&place).expect("there").text("decision.id"), Some("dec_2"));
    assert_eq!(index.of_seq(12).expect("readable"), None);
}

#[test]
fn an_index_follows_a_log_that_grows_and_one_that_was_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("audit");
    for n in [3, 5] {
        log(&dir, &vec![2_000; n]);
        let all = Query { kind: Some(Kind::Decision), ..Query::default() };
        assert!(!found(&open(&dir), &all).is_empty());
    }
    let boots = Query { kind: Some(Kind::Boot), ..Query::default() };
    assert_eq!(found(&open(&dir), &boots).len(), 2);
    let index = std::fs::read(dir.join("index.db")).expect("there");
    std::fs::remove_dir_all(&dir).expect("removed");
    let entries = log(&dir, &[3_000; 40]);
    std::fs::write(dir.join("index.db"), index).expect("written");
    assert_eq!(found(&open(&dir), &boots), [0]);
    assert_eq!(found(&open(&dir), &Query::default()).len(), entries.len());
}

#[test]
fn a_damaged_index_is_made_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let entries = log(folder.path(), &[1_000; 60]);
    drop(open(folder.path()));
    let path = folder.path().join("index.db");
    let whole = std::fs::read(&path).expect("there");
    let mut zeroed = whole.clone();
    zeroed[100..4096].fill(0);
    let all = Query::default();
    for wrong in [Vec::new(), b"x".repeat(5000), whole[..whole.len() / 2].to_vec(), zeroed] {
        std::fs::write(&path, wrong).expect("written");
        assert_eq!(found(&open(folder.path()), &all), walked(&entries, &all));
    }
    let other = Connection::open(&path).expect("it opens");
    other.pragma_update(None, "user_version", 99).expect("written");
    drop(other);
    assert_eq!(found(&open(folder.path()), &all), walked(&entries, &all));
}

/// Each search takes in what the log has got since the one before. What it writes need not be on disk, and is not waited for.
#[test]
fn a_search_after_each_record_leaves_the_disk_to_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = Log::open(Options::new(folder.path()), Clock::scaled(1_000_000, 1e-9)).expect("it opens");
    let file = || std::fs::read(folder.path().join("index.db")).expect("it is there");
    drop(open(folder.path()));
    let before = file();
    for n in 0..20 {
        log.append_blocking(record(n, 1_000_000)).expect("written");
        let newest = Query { limit: Some(1), ..Query::default() };
        assert_eq!(found(&open(folder.path()), &newest), [n + 1], "with the boot record");
    }
    assert!(file() == before, "it was written in place, and that is synced");
    // What was left beside it is bounded, and a process that ended in between loses nothing that cannot be made again.
    for n in 20..2_000 {
        log.append_blocking(record(n, 1_000_000)).expect("written");
    }
    drop(open(folder.path()));
    let beside = std::fs::metadata(folder.path().join("index.db-wal")).expect("it is there").len();
    assert!(beside < 8 << 20, "{beside} bytes");
    std::fs::remove_file(folder.path().join("index.db-wal")).expect("it is there");
    assert_eq!(found(&open(folder.path()), &Query { limit: Some(1), ..Query::default() }), [2_000]);
    log.close();
}
