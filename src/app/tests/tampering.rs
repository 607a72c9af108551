//! A data directory that somebody changed while nothing ran: whatever they did, machines wait and are told why, no permit
//! is used twice, and people can act in an emergency; or nothing that counts was changed, and all is as before.

use super::*;
use crate::audit::checkpoint::notes;
use crate::audit::key::SigningKey;
use crate::audit::record::{Entry, Rendered, render};

/// What is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// The log is in doubt.
    Doubt,
    /// Either it is in doubt, or it is all there.
    DoubtOrWhole,
    /// It is all there.
    Whole,
}

/// Starts on the files until they are accepted, and after that.
async fn judge(left: &Left, files: &Files, expected: Found, what: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path();
    files.put(data);
    let mut damaged = false;
    // A restart accepts nothing.
    for life in 0..2 {
        let what = format!("{what}, start {life}");
        let started = left.start(data).await;
        let doubts = started.log.doubts();
        match expected {
            Found::Doubt => assert!(!doubts.is_empty(), "{what}: nothing was noticed"),
            Found::Whole => assert_eq!(doubts, [], "{what}"),
            Found::DoubtOrWhole => {}
        }
        let explained = started.explain(&robot(), &change_to("deploy", "v46", false));
        let answer = started.ask(&robot(), &change_to("deploy", "v46", false)).await;
        let allowed = answer.as_ref().is_ok_and(|answer| answer["decision"] == "allow");
        if doubts.is_empty() {
            assert_eq!(allowed, !left.halted, "{what}: {answer:?}");
        } else {
            assert!(!allowed, "{what}: {doubts:?} and {answer:?}");
            assert!(explained.contains("log_in_doubt"), "{what}: the fault is not named: {explained}");
        }
        for permit in &left.used {
            let (yes, said) = started.redeems(permit).await;
            assert!(!yes, "{what}: {permit} was used before: {said}");
            assert!(!doubts.is_empty() || said.contains("permit_used"), "{what}: {said}");
        }
        // Of one that was not used nobody knows that where the log is in doubt.
        if life == 1 {
            let (yes, said) = started.redeems(&left.live).await;
            assert_eq!(yes, doubts.is_empty() && !left.halted, "{what}: {said}");
        }
        let glass = started.ask(&ada(), &change_to("deploy", &format!("e{life}"), true)).await;
        let open = glass.as_ref().is_ok_and(|answer| answer["decision"] == "allow");
        assert!(open, "{what}: a person is kept out in an emergency: {glass:?}");
        damaged = started.log.is_damaged();
        started.log.close();
        if doubts.is_empty() {
            return;
        }
    }
    let started = left.start(data).await;
    let accepted = started.gate.accept_log(&ada(), "the disk was replaced").await;
    assert_eq!(accepted.is_err(), damaged, "{what}: {accepted:?}");
    started.log.close();
    let started = left.start(data).await;
    assert_eq!(started.log.is_proved(), !damaged, "{what}, accepted: {:?}", started.log.doubts());
    for permit in left.used.iter().chain([&left.live]) {
        let (yes, said) = started.redeems(permit).await;
        assert!(!yes, "{what}, accepted: {permit} may have been used before: {said}");
    }
    started.log.close();
}

/// A number below `n` that the seed gives.
fn drawn(seed: u64, of: u64, n: usize) -> usize {
    ((unit(hash(seed, of)) * n as f64) as usize).min(n.saturating_sub(1))
}

/// Each seed changes something else of a directory; every eighth directory is of a life of its own.
async fn each(seeds: std::ops::Range<u64>, mut change: impl FnMut(u64, &Left) -> (Files, Found, String)) {
    let mut left = Left::by(seeds.start).await;
    for seed in seeds.clone() {
        if seed > seeds.start && (seed - seeds.start).is_multiple_of(8) {
            left = Left::by(seed / 8 + seeds.start).await;
        }
        let (files, expected, what) = change(seed, &left);
        judge(&left, &files, expected, &format!("seed {seed}: {what}")).await;
    }
}

/// The lines of all files of records: file, bytes without the end of the line.
fn lines(files: &Files) -> Vec<(PathBuf, Vec<u8>)> {
    let of = |name: &&PathBuf| -> Vec<_> {
        let text = &files.0[*name];
        let lines = text.strip_suffix(b"\n").unwrap_or(text).split(|byte| *byte == b'\n');
        lines.map(|line| ((*name).clone(), line.to_vec())).collect()
    };
    files.segments().iter().flat_map(of).collect()
}

fn with_lines(files: &Files, lines: &[(PathBuf, Vec<u8>)]) -> Files {
    let mut files = files.clone();
    files.segments().into_iter().cloned().collect::<Vec<_>>().into_iter().for_each(|name| {
        files.0.insert(name, Vec::new());
    });
    for (name, line) in lines {
        let text = files.0.get_mut(name).expect("it is there");
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    files
}

/// A record with other members, in the form in which records are written.
fn edited(line: &[u8], edit: impl FnOnce(&mut Value)) -> Rendered {
    let mut record: Value = serde_json::from_slice(line).expect("JSON");
    edit(&mut record);
    render(record.as_object().expect("an object")).expect("it has a form")
}

/// Writes the chain anew from the record after `at` on, as whoever edits that one does who cannot sign.
fn chained(lines: &mut [(PathBuf, Vec<u8>)], at: usize) {
    let mut before = Entry::read(&lines[at].1).expect("a record").leaf;
    for (_, line) in &mut lines[at + 1..] {
        let written = edited(line, |record| record["log"]["prev"] = before.to_string().into());
        (*line, before) = (written.line, written.leaf);
    }
}

fn event_of(line: &[u8]) -> Value {
    serde_json::from_slice::<Value>(line).expect("JSON")["event"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_touched_is_as_it_was() {
    each(0..8, |_, left| (left.files.clone(), Found::Whole, "untouched".into())).await;
}

/// 80 edits of any one record: a byte, the event, another record in its place, the chain written anew or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_record_lets_machines_wait_and_uses_no_permit_again() {
    each(0..80, |seed, left| {
        let mut all = lines(&left.files);
        let mut at = drawn(seed, 1, all.len());
        let what = match seed % 5 {
            0 => {
                let (line, by) = (&mut all[at].1, drawn(seed, 2, 1 << 20));
                let place = by % line.len();
                // Any other byte: a letter, or what is no text at all. The end of a line makes two of one.
                let other = [b'x', b'0', b'"', b'}', 0, 0xff, b'\n', b' '][drawn(seed, 3, 8)];
                line[place] = if line[place] == other { b'y' } else { other };
                format!("byte {place} of record {at} is {other}")
            }
            4 => {
                let other = if at + 1 < all.len() { at + 1 } else { at - 1 };
                all[at].1 = all[other].1.clone();
                format!("record {at} is a copy of {other}")
            }
            how => {
                // Most of all what tells of a use or a halt.
                let telling =
                    |line: &[u8]| matches!(event_of(line)["kind"].as_str(), Some("permit_redeemed" | "halted"));
                let told: Vec<usize> = (0..all.len()).filter(|n| telling(&all[*n].1)).collect();
                if seed % 2 == 0 {
                    at = told[drawn(seed, 4, told.len())];
                }
                let edit = |record: &mut Value| match drawn(seed, 5, 3) {
                    0 if !record["event"].is_null() => record["event"] = Value::Null,
                    1 if record["event"]["kind"].is_string() => record["event"]["kind"] = "nothing_happened".into(),
                    _ => record["reason"] = "it was not so".into(),
                };
                all[at].1 = edited(&all[at].1, edit).line;
                if how > 1 {
                    chained(&mut all, at);
                }
                format!("record {at} was edited, way {how}")
            }
        };
        let mut files = with_lines(&left.files, &all);
        if seed % 5 == 3 {
            for name in ["audit/hashes", "audit/checkpoints"] {
                files.0.remove(Path::new(name)).expect("it is there");
            }
        }
        (files, Found::Doubt, what)
    })
    .await;
}

/// 20 times records of the middle that are gone, or a line more than there was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_missing_or_stand_twice_let_machines_wait_and_use_no_permit_again() {
    each(500..520, |seed, left| {
        let mut all = lines(&left.files);
        let at = drawn(seed, 1, all.len() - 1);
        let what = if seed % 2 == 0 {
            let gone = 1 + drawn(seed, 2, (all.len() - 1 - at).min(4));
            all.drain(at..at + gone);
            format!("{gone} records from {at} on are gone")
        } else {
            let more = [all[at].1.clone(), b"{}".to_vec(), Vec::new()][drawn(seed, 3, 3)].clone();
            all.insert(drawn(seed, 4, all.len()), (all[at].0.clone(), more));
            format!("a line more, like {at} or like none")
        };
        (with_lines(&left.files, &all), Found::Doubt, what)
    })
    .await;
}

/// 50 cuts: whole records, within one, the whole file; with what is kept of them beside the records, or without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_end_lets_machines_wait_and_uses_no_permit_again() {
    each(100..150, |seed, left| {
        let mut all = lines(&left.files);
        let (records, rest) = (all.len(), drawn(seed, 1, all.len()));
        let within = seed % 3 == 0;
        let half = within.then(|| all[rest].1.clone()).map(|line| (all[rest].0.clone(), line));
        all.truncate(rest);
        let mut files = with_lines(&left.files, &all);
        if let Some((name, line)) = half {
            let cut = drawn(seed, 2, line.len());
            files.0.get_mut(&name).expect("it is there").extend_from_slice(&line[..cut]);
        }
        // Files of records after the cut are gone, or empty.
        if seed % 2 == 0 {
            files.0.retain(|name, bytes| !bytes.is_empty() || name.extension().is_none_or(|end| end != "jsonl"));
        }
        for (name, gone) in [("audit/checkpoints", seed % 4 > 1), ("audit/hashes", seed % 8 > 3)] {
            if gone {
                files.0.remove(Path::new(name)).expect("it is there");
            }
        }
        (files, Found::Doubt, format!("{rest} of {records} records are left, half of one: {within}"))
    })
    .await;
}

/// 30 times an older copy: of the log's directory, of its records alone, or of all but the records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_the_log_lets_machines_wait_and_uses_no_permit_again() {
    each(200..230, |seed, left| {
        let n = drawn(seed, 1, left.earlier.len());
        let older = &left.earlier[n];
        assert!(older.records() < left.files.records());
        let is_record = |name: &Path| name.extension().is_some_and(|end| end == "jsonl");
        let of_log = |name: &Path| name.starts_with("audit");
        let (which, means): (&str, &dyn Fn(&Path) -> bool) = match seed % 3 {
            0 => ("the directory of the log", &|name| of_log(name)),
            1 => ("the records", &|name| is_record(name)),
            _ => ("all that is kept beside the records", &|name| of_log(name) && !is_record(name)),
        };
        let mut files = left.files.clone();
        files.0.retain(|name, _| !means(name));
        files
            .0
            .extend(older.0.iter().filter(|(name, _)| means(name)).map(|(name, bytes)| (name.clone(), bytes.clone())));
        let expected = if seed % 3 == 2 { Found::DoubtOrWhole } else { Found::Doubt };
        (files, expected, format!("copy {n} of {which}"))
    })
    .await;
}

/// Every file of eight directories, one at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_file_lets_machines_wait_or_is_made_again() {
    let mut judged = 0;
    for seed in 300..308 {
        let left = Left::by(seed).await;
        for name in left.files.0.keys() {
            let text = name.to_str().expect("plain");
            let remembers = ["audit.head", "audit/signing.key"].contains(&text) || text.ends_with(".jsonl");
            // Bodies are many, and each is like the other.
            if text.contains("bodies/") && judged % 4 > 0 {
                judged += 1;
                continue;
            }
            let mut files = left.files.clone();
            files.0.remove(name);
            let expected = if remembers { Found::Doubt } else { Found::Whole };
            judge(&left, &files, expected, &format!("seed {seed}: {text} was deleted")).await;
            judged += 1;
        }
    }
    assert!(judged > 60, "{judged} files");
}

/// Another key: alone, with its public half, with checkpoints that it signed, with a whole log of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_lets_machines_wait_and_uses_no_permit_again() {
    let mut other = Left::by(7).await;
    for seed in 400..416 {
        let left = Left::by(seed).await;
        let mut files = left.files.clone();
        let mut take = |name: &str| files.0.insert(name.into(), other.files.0[Path::new(name)].clone());
        take("audit/signing.key");
        if seed % 4 > 0 {
            take("audit/key.pub");
        }
        match seed % 4 {
            2 => {
                let folder = tempfile::tempdir().expect("a folder");
                other.files.put(folder.path());
                let key = SigningKey::load_or_make(&folder.path().join("audit/signing.key"), None).expect("a key");
                let path = Path::new("audit/checkpoints");
                let text = String::from_utf8(left.files.0[path].clone()).expect("text");
                let signed = notes(&text).into_iter().map(|note| {
                    let checkpoint = audit::Anchor::parse(&note).expect("a note").checkpoint;
                    audit::Checkpoint { origin: key.public().name().to_owned(), ..checkpoint }.sign(&key) + "\n"
                });
                files.0.insert(path.to_owned(), signed.collect::<String>().into_bytes());
            }
            3 => {
                files.0.retain(|name, _| !name.starts_with("audit"));
                files.0.extend(other.files.0.clone().into_iter().filter(|(name, _)| name.starts_with("audit")));
            }
            _ => {}
        }
        judge(&left, &files, Found::Doubt, &format!("seed {seed}: another key, way {}", seed % 4)).await;
        other = left;
    }
}
