//! The daemon is killed before each of the calls by which it writes, from its first start to its end: whatever a crash
//! leaves is no doubt of the audit log for the next start, and what somebody does to it is one all the same.
//!
//! `strace` kills it at the call of a given number. With `SLOWBURN_TEST_FULL=1` at every call, else at every third, from
//! a place that the seed gives.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use slowburn::audit::{Doubt, Kind, Log, Options, Record};
use slowburn::clock::Clock;

use crate::harness::parts::part;

/// The calls by which files come to be, change and go.
const CALLS: &str = "write,pwrite64,writev,ftruncate,rename,renameat,renameat2,unlink,fsync,fdatasync,mkdir,mkdirat";

/// One life of a daemon in `dir`, killed before its call number `kill_at`; how many calls there were.
fn live(dir: &Path, kill_at: Option<usize>) -> usize {
    let trace = dir.join("trace");
    let mut strace = Command::new(part("strace"));
    strace.args(["-f", "-qq", "-e", "signal=none", "-o"]).arg(&trace);
    match kill_at {
        None => strace.args(["-e", &format!("trace={CALLS}")]),
        Some(n) => {
            strace.args(["-e", &format!("trace={CALLS}"), "-e", &format!("inject={CALLS}:signal=KILL:when={n}")])
        }
    };
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/services/checkout.yaml");
    strace.arg(env!("CARGO_BIN_EXE_slowburn")).args(["run", "--log-level", "info", "--config"]);
    let mut strace = strace
        .arg(dir.join("slowburn.yaml"))
        .arg("--rules")
        .arg(rules)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("strace starts");
    // Its log goes to stdout or stderr by what it is; the checkpoint on stdout tells that the log has begun.
    let lines = BufReader::new(strace.stdout.take().expect("a pipe")).lines();
    for line in lines {
        if line.is_ok_and(|line| line.contains("\"checkpoint\"")) {
            break;
        }
    }
    let pid = strace.id();
    if let Ok(children) = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")) {
        for child in children.split_whitespace() {
            drop(Command::new("kill").args(["-TERM", child]).status());
        }
    }
    strace.wait().expect("it ends");
    std::fs::read_to_string(&trace).expect("there").lines().filter(|line| line.contains('(')).count()
}

/// A data directory with settings, as it stood after `before` lives.
fn folder(before: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "data_dir: data\nlisten: 127.0.0.1:0\nbackfill: {enabled: false}\nprometheus: {url: \"http://127.0.0.1:9\"}\n\
                audit: {checkpoints: [{stdout: true}]}\n";
    std::fs::write(folder.path().join("slowburn.yaml"), text).expect("written");
    for _ in 0..before {
        live(folder.path(), None);
    }
    folder
}

/// What the next start has to say of the log.
fn doubts(data: &Path) -> (u64, Vec<Doubt>) {
    let mut options = Options::new(data.join("audit"));
    options.memory_file = Some(data.join("audit.head"));
    options.expected = data.join("state.db").exists();
    let log = Log::open(options, Clock::wall()).expect("what a crash leaves can be opened");
    let mut records = 0;
    let read = log.prove_whole(|_| {
        records += 1;
        true
    });
    read.expect("it can be read");
    let doubts = log.doubts();
    if doubts.is_empty() {
        log.append_blocking(Record::new(Kind::Decision, "robot", "scale", Clock::wall().now_ms())).expect("written");
    }
    log.close();
    // This start wrote one itself.
    (records - 1, doubts)
}

#[test]
fn a_crash_before_any_write_is_no_doubt_and_what_is_taken_away_after_it_is_one() {
    let full = std::env::var_os("SLOWBURN_TEST_FULL").is_some_and(|value| value == "1");
    let step = if full { 1 } else { 3 };
    let (mut crashed, mut with_records) = (0, 0);
    for before in [0, 1] {
        let calls = live(folder(before).path(), None);
        assert!(calls > 20, "{calls} calls: strace sees nothing");
        let first = Clock::wall().now_ms().unsigned_abs() as usize % step;
        for kill_at in (1 + first..=calls).step_by(step) {
            let folder = folder(before);
            live(folder.path(), Some(kill_at));
            let data = folder.path().join("data");
            crashed += 1;
            let what = format!("killed at call {kill_at} of {calls} of start {}", before + 1);
            for start in 0..2 {
                let (records, doubts) = doubts(&data);
                assert_eq!(doubts, [], "{what}, start {start} after it with {records} records");
            }
        }
        // And at some of those moments somebody takes the memory away, or what it remembers.
        for kill_at in (1 + first..=calls).step_by(7 * step) {
            let folder = folder(before);
            live(folder.path(), Some(kill_at));
            let data = folder.path().join("data");
            let has_records = std::fs::read_dir(data.join("audit")).is_ok_and(|files| {
                files.flatten().any(|file| {
                    file.path().extension().is_some_and(|end| end == "jsonl")
                        && std::fs::metadata(file.path()).is_ok_and(|file| file.len() > 0)
                })
            });
            if has_records {
                with_records += 1;
                std::fs::remove_file(data.join("audit.head")).expect("no record without it");
                let (records, doubts) = doubts(&data);
                let what = format!("killed at call {kill_at} of {calls}, {records} records, and its memory is gone");
                assert!(matches!(doubts[..], [Doubt::Forgotten(_)]), "{what}: {doubts:?}");
            }
        }
    }
    println!("{crashed} crashes without a doubt; {with_records} with one once the memory was taken away");
    assert!(with_records > 3, "{with_records}");
}
