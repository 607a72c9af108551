//! Tests of faults that the commands' tests do not reach, and: no change of any byte goes unseen.

use proptest::prelude::*;

use super::super::record::{Kind, Record, render};
use super::*;
use crate::audit::{Log, Options};
use crate::clock::Clock;

/// Writes these records as a log without checkpoints.
fn write(dir: &Path, times_ms: &[(Kind, i64)]) {
    let mut text = Vec::new();
    let mut prev = None;
    for (seq, (kind, time_ms)) in times_ms.iter().enumerate() {
        let record = Record::new(*kind, "a", "b", *time_ms);
        let rendered = render(&record.members("log", seq as u64, prev.as_ref())).expect("every number fits");
        text.extend(rendered.line);
        text.push(b'\n');
        prev = Some(rendered.leaf);
    }
    std::fs::write(Segment::new(dir, 0).path, text).expect("written");
}

fn key(dir: &Path) -> PublicKey {
    crate::audit::key::SigningKey::load_or_make(&dir.join("signing.key"), Some("log")).expect("made").public().clone()
}

fn faults(dir: &Path, key: &PublicKey) -> Vec<Fault> {
    verify(dir, key, &Evidence::default(), &mut |_, _| {}).expect("readable").faults
}

#[test]
fn a_time_that_goes_back_is_named_unless_it_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = key(folder.path());
    use Kind::{ClockStep, Halt};
    write(folder.path(), &[(Halt, 10_000), (Halt, 9_500), (Halt, 5_000), (Halt, 5_100), (Halt, 10_000)]);
    assert_eq!(faults(folder.path(), &key), [Fault::Clock { seq: 2 }]);
    write(folder.path(), &[(Halt, 10_000), (ClockStep, 5_000), (Halt, 5_000), (Halt, 5_100)]);
    assert_eq!(faults(folder.path(), &key), []);
}

#[test]
fn many_records_without_a_checkpoint_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = key(folder.path());
    write(folder.path(), &vec![(Kind::Halt, 0); 1024]);
    assert_eq!(faults(folder.path(), &key), []);
    write(folder.path(), &vec![(Kind::Halt, 0); 1025]);
    assert_eq!(faults(folder.path(), &key), [Fault::Unsigned { signed: 0, records: 1025 }]);
}

#[test]
fn two_statements_of_one_size_are_a_fork() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = crate::audit::key::SigningKey::load_or_make(&folder.path().join("k"), Some("log")).expect("made");
    write(folder.path(), &[(Kind::Halt, 0); 4]);
    let note = |text: &[u8]| {
        let root = Hash::of(text);
        crate::audit::Checkpoint { origin: "log".into(), size: 3, root }.sign(&key)
    };
    let anchors = vec![("a".to_owned(), note(b"1")), ("b".to_owned(), note(b"2"))];
    let evidence = Evidence { anchors, receipts: BTreeMap::new() };
    let report = verify(folder.path(), key.public(), &evidence, &mut |_, _| {}).expect("readable");
    assert!(report.faults.contains(&Fault::Fork { size: 3, by: "a".into() }), "{:?}", report.faults);
}

/// A closed log of twelve records, and all its bytes.
fn closed() -> (tempfile::TempDir, PublicKey, Vec<u8>) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = Log::open(Options::new(folder.path()), Clock::wall()).expect("it opens");
    for n in 0..10 {
        let record = Record {
            reason: Some(format!("reason {n}")),
            ..Record::new(Kind::Verdict, "a", "b", Clock::wall().now_ms())
        };
        log.append_blocking(record).expect("written");
    }
    log.close();
    let bytes = std::fs::read(Segment::new(folder.path(), 0).path).expect("there");
    (folder, log.public_key().clone(), bytes)
}

#[test]
fn no_change_of_any_byte_goes_unseen() {
    let (folder, key, bytes) = closed();
    let path = Segment::new(folder.path(), 0).path;
    proptest!(ProptestConfig::with_cases(200), |(at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<bool>())| {
        let at = at.index(bytes.len());
        let mut changed = bytes.clone();
        if cut {
            changed.truncate(at);
        } else {
            prop_assume!(changed[at] != to);
            changed[at] = to;
        }
        std::fs::write(&path, &changed).expect("written");
        prop_assert!(!faults(folder.path(), &key).is_empty(), "byte {at} to {to}, cut {cut}");
    });
    std::fs::write(&path, &bytes).expect("written");
    assert_eq!(faults(folder.path(), &key), []);
}

#[test]
fn whatever_stands_in_the_files_is_read_without_a_panic() {
    let (folder, key, bytes) = closed();
    let path = Segment::new(folder.path(), 0).path;
    let bytes_or_line = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        Just(bytes.split_inclusive(|byte| *byte == b'\n').nth(3).expect("a line").to_vec()),
    ];
    proptest!(ProptestConfig::with_cases(100), |(pieces in prop::collection::vec(bytes_or_line, 0..4), notes in any::<String>())| {
        std::fs::write(&path, pieces.concat()).expect("written");
        let evidence = Evidence { anchors: vec![("x".into(), notes)], receipts: BTreeMap::new() };
        verify(folder.path(), &key, &evidence, &mut |_, _| {}).expect("readable");
    });
}
