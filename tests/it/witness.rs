//! A real `slowburn witness`, and logs whose whole directory is put back, cut off or written anew: each is found at the next
//! start, without trust in any file of the log's own machine. And a receipt is checked by somebody who knows the formats
//! from their specifications only.
//!
//! 40 seeds; with `SLOWBURN_TEST_FULL=1` 200.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use slowburn::audit::key::SigningKey;
use slowburn::audit::witness::client::Client;
use slowburn::audit::witness::policy::WitnessPolicy;
use slowburn::audit::witness::proof;
use slowburn::audit::witness::watch::{Stops, Watch};
use slowburn::audit::{Doubt, Kind, Log, Options, Record};
use slowburn::clock::Clock;
use slowburn::demo::count::{hash, unit};
use slowburn::outbound::Transport;

use crate::harness::parts::{Process, free_port, http};

/// A witness of logs, in a process of its own.
struct Stage {
    folder: tempfile::TempDir,
    process: Process,
    port: u16,
    /// Its line for policies.
    line: String,
}

impl Stage {
    /// Of so many logs, whose keys are made here.
    fn start(logs: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut keys = String::new();
        for n in 0..logs {
            let dir = folder.path().join(format!("log{n}/audit"));
            std::fs::create_dir_all(&dir).expect("made");
            let key = SigningKey::load_or_make(&dir.join("signing.key"), Some(&format!("example.com/log{n}")));
            keys += &format!("{}\n", key.expect("made").public());
        }
        std::fs::write(folder.path().join("logs"), keys).expect("written");
        let port = free_port();
        let process = Self::launch(folder.path(), port);
        let line =
            process.log().lines().find_map(|line| line.strip_prefix("witness NAME ")).expect("it serves").to_owned();
        // The first client in a process has to come before any transport is made.
        let _ = http();
        Stage { folder, process, port, line }
    }

    fn launch(folder: &Path, port: u16) -> Process {
        let path = |name: &str| folder.join(name).display().to_string();
        let listen = format!("127.0.0.1:{port}");
        let args =
            ["witness", "--data-dir", &path("witness"), "--log", &path("logs"), "--listen", &listen, "--name", "w.x"];
        let process = Process::start(Path::new(env!("CARGO_BIN_EXE_slowburn")), args, &folder.join("witness.log"));
        for _ in 0..1000 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() && process.log().contains("witness NAME ") {
                return process;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not serve: {}", process.log());
    }

    fn policy(&self) -> WitnessPolicy {
        WitnessPolicy::parse(&format!("witness w {}\nquorum w\n", self.line)).expect("a policy")
    }

    fn place(&self, n: usize) -> PathBuf {
        self.folder.path().join(format!("log{n}"))
    }

    /// Opens log `n` as a daemon does that has state.
    fn open(&self, n: usize) -> Result<Log, String> {
        let place = self.place(n);
        let mut options = Options::new(place.join("audit"));
        options.origin = Some(format!("example.com/log{n}"));
        options.memory_file = Some(place.join("audit.head"));
        options.expected = place.join("state.db").exists();
        let watch = Arc::new(Watch::new(self.policy()));
        for row in self.policy().witnesses {
            let url = format!("{}/add-checkpoint", row.url.clone().expect("it has one")).parse().expect("a URL");
            let transport = Transport::new("http://127.0.0.1", None, Default::default()).expect("a client");
            options.sinks.push(Box::new(Client::new(row, url, transport, &options.dir, Arc::clone(&watch))));
        }
        options.watch = Some((watch, Stops::Risks));
        let log = Log::open(options, Clock::wall()).map_err(|error| error.to_string())?;
        log.prove_whole(|_| true).expect("it can be read");
        std::fs::write(place.join("state.db"), "").expect("written");
        Ok(log)
    }

    /// A life of the log with so many records.
    fn live(&self, n: usize, records: usize) {
        let log = self.open(n).expect("it opens");
        assert_eq!(log.doubts(), [], "log {n}");
        for at in 0..records {
            let kind = if at % 5 == 4 { Kind::Presented } else { Kind::Decision };
            let record = Record { reason: Some(format!("reason {at}")), ..Record::new(kind, "robot", "scale", 1_000) };
            log.append_blocking(record).expect("written");
        }
        log.close();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).expect("copied")),
        }
    }
}

#[test]
fn a_rollback_of_the_whole_data_directory_is_found_whatever_the_seed() {
    let full = std::env::var_os("SLOWBURN_TEST_FULL").is_some_and(|value| value == "1");
    let seeds = if full { 200 } else { 40 };
    let stage = Stage::start(seeds);
    let (mut shorter, mut forks) = (0, 0);
    for seed in 0..seeds {
        let random = |n: u64| unit(hash(seed as u64, n));
        let place = stage.place(seed);
        stage.live(seed, 1 + (random(1) * 20.0) as usize);
        let backup = stage.folder.path().join("backup");
        drop(std::fs::remove_dir_all(&backup));
        copy(&place, &backup);
        for life in 0..1 + (random(2) * 2.0) as u64 {
            stage.live(seed, 1 + (random(3 + life) * 12.0) as usize);
        }
        std::fs::remove_dir_all(&place).expect("there");
        copy(&backup, &place);
        // Everything the machine has agrees with itself. Where the witness cannot be asked nothing is found, and goes on
        // further than it had come: that is a fork, and is found when it can be asked again.
        if seed % 4 == 3 {
            let mut options = Options::new(place.join("audit"));
            options.memory_file = Some(place.join("audit.head"));
            options.expected = true;
            let log = Log::open(options, Clock::wall()).expect("it opens");
            log.prove_whole(|_| true).expect("it can be read");
            assert_eq!(log.doubts(), [], "seed {seed}: nothing of this machine shows it");
            for _ in 0..60 {
                log.append_blocking(Record::new(Kind::Decision, "robot", "other", 1_000)).expect("written");
            }
            log.close();
        }
        let log = stage.open(seed).expect("it opens");
        match &log.doubts()[..] {
            [Doubt::Shorter { by, .. }] if by == "witness w" => shorter += 1,
            [Doubt::Fork { by, .. }] if by == "witness w" => forks += 1,
            other => panic!("seed {seed}: {other:?}"),
        }
        assert!(!log.is_proved() && log.unwitnessed() == Stops::Risks, "seed {seed}");
        log.close();
    }
    println!("{seeds} of {seeds} rollbacks found: {shorter} shorter, {forks} forks");
    assert_eq!(shorter + forks, seeds);
}

#[test]
fn a_witness_that_is_away_is_missing_and_one_that_is_back_is_not() {
    let mut stage = Stage::start(2);
    stage.live(0, 3);
    stage.process.kill();
    let log = stage.open(0).expect("it opens");
    assert_eq!((log.doubts(), log.unwitnessed()), (vec![], Stops::Risks), "silence is no doubt");
    log.append_blocking(Record::new(Kind::Halt, "@ada", "halt", 1_000)).expect("written");
    log.close();
    stage.process = Stage::launch(stage.folder.path(), stage.port);
    let log = stage.open(0).expect("it opens");
    assert_eq!((log.doubts(), log.unwitnessed()), (vec![], Stops::Nothing));
    // Killed in the middle of everything it remembers what it signed.
    stage.process.kill();
    log.close();
    stage.process = Stage::launch(stage.folder.path(), stage.port);
    stage.live(0, 2);
    // Another key under the same name is not this log.
    std::fs::remove_dir_all(stage.place(1)).expect("there");
    let log = stage.open(1).expect("it opens");
    assert!(matches!(&log.doubts()[..], [Doubt::OtherLog { by, .. }] if by == "witness w"), "{:?}", log.doubts());
    log.close();
    // And the whole log deleted, but for its key, is one that got shorter.
    let key = std::fs::read(stage.place(0).join("audit/signing.key")).expect("there");
    std::fs::remove_dir_all(stage.place(0)).expect("there");
    std::fs::create_dir_all(stage.place(0).join("audit")).expect("made");
    std::fs::write(stage.place(0).join("audit/signing.key"), key).expect("written");
    let log = stage.open(0).expect("it opens");
    assert!(matches!(&log.doubts()[..], [Doubt::Shorter { records: 0, .. }]), "{:?}", log.doubts());
    log.close();
}

/// What a receipt says, by the words of C2SP `tlog-proof`, `tlog-checkpoint`, `tlog-cosignature` and RFC 9162 alone.
fn foreign(receipt: &str, record: &Value, log_key: &str, witness_key: &str) -> Result<u64, String> {
    let (head, note) = receipt.split_once("\n\n").ok_or("no note")?;
    let lines: Vec<&str> = head.lines().collect();
    let [magic, index, path @ ..] = &lines[..] else { return Err("too short".into()) };
    assert_eq!(*magic, "c2sp.org/tlog-proof@v1");
    let index: u64 = index.strip_prefix("index ").and_then(|n| n.parse().ok()).ok_or("no index")?;
    let (body, signed) = note.rsplit_once("\n\n").ok_or("no signatures")?;
    let body = format!("{body}\n");
    let parts: Vec<&str> = body.lines().collect();
    let size: u64 = parts[1].parse().map_err(|_| "no size")?;
    let root = BASE64.decode(parts[2]).map_err(|_| "no root")?;
    let mut seen = 0;
    for (key, algorithm) in [(log_key, 1), (witness_key, 4)] {
        let mut of = key.splitn(3, '+');
        let (name, id, bytes) = (of.next().expect("a name"), of.next().expect("an id"), of.next().expect("a key"));
        let bytes = BASE64.decode(bytes).expect("base64");
        assert_eq!(bytes[0], algorithm);
        let digest = Sha256::new().chain_update(name).chain_update([b'\n']).chain_update(&bytes).finalize();
        let own: String = digest[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(own, id);
        for line in signed.lines() {
            let (by, signature) = line.strip_prefix("\u{2014} ").and_then(|l| l.split_once(' ')).ok_or("no line")?;
            let signature = BASE64.decode(signature).map_err(|_| "no base64")?;
            if by != name || signature[..4] != digest[..4] {
                continue;
            }
            let (message, bare) = match algorithm {
                1 => (body.clone(), &signature[4..]),
                _ => {
                    let time = u64::from_be_bytes(signature[4..12].try_into().expect("eight bytes"));
                    (format!("cosignature/v1\ntime {time}\n{body}"), &signature[12..])
                }
            };
            UnparsedPublicKey::new(&ED25519, &bytes[1..])
                .verify(message.as_bytes(), bare)
                .map_err(|_| "wrong signature")?;
            seen += 1;
        }
    }
    if seen != 2 {
        return Err(format!("{seen} of 2 signatures"));
    }
    // serde_json's maps are sorted: canonical for records without numbers that JSON writes in several ways.
    let mut at =
        Sha256::new().chain_update([0]).chain_update(serde_json::to_vec(record).expect("JSON")).finalize().to_vec();
    let node =
        |left: &[u8], right: &[u8]| Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize();
    let (mut fnode, mut snode) = (index, size - 1);
    for sibling in path {
        let sibling = BASE64.decode(sibling).map_err(|_| "no hash")?;
        if fnode % 2 == 1 || fnode == snode {
            at = node(&sibling, &at).to_vec();
            while fnode % 2 == 0 && fnode != 0 {
                (fnode, snode) = (fnode >> 1, snode >> 1);
            }
        } else {
            at = node(&at, &sibling).to_vec();
        }
        (fnode, snode) = (fnode >> 1, snode >> 1);
    }
    if snode == 0 && at == root { Ok(index) } else { Err("another root".into()) }
}

#[test]
fn a_receipt_is_checked_by_somebody_who_knows_only_the_formats() {
    let stage = Stage::start(1);
    stage.live(0, 25);
    let dir = stage.place(0).join("audit");
    let policy = stage.folder.path().join("policy");
    std::fs::write(&policy, format!("witness w {}\nquorum w\n", stage.line)).expect("written");
    let log_key = std::fs::read_to_string(dir.join("key.pub")).expect("there");
    let (log_key, witness_key) = (log_key.trim(), stage.line.split(' ').next().expect("a key"));
    let mut records = Vec::new();
    slowburn::audit::entries(&dir, |entry| {
        records.push((entry.leaf, serde_json::to_value(&entry.members).expect("JSON")))
    })
    .expect("readable");
    for (seq, (leaf, record)) in records.iter().enumerate() {
        let args = ["audit", "receipt", "--dir", dir.to_str().expect("plain"), &seq.to_string(), "--policy"];
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_slowburn")).args(args).arg(&policy).output();
        let output = output.expect("the binary runs");
        assert!(output.status.success(), "{seq}: {}", String::from_utf8_lossy(&output.stderr));
        let receipt = String::from_utf8(output.stdout).expect("text");
        assert_eq!(foreign(&receipt, record, log_key, witness_key), Ok(seq as u64), "{receipt}");
        let parsed = stage.policy();
        let key = log_key.parse().expect("a key");
        assert_eq!(proof::check(&receipt, leaf, &key, &parsed), Ok(seq as u64));
        // Of another record it is none, and a changed one is none at all.
        let other = &records[(seq + 1) % records.len()];
        assert!(foreign(&receipt, &other.1, log_key, witness_key).is_err());
        assert!(proof::check(&receipt, &other.0, &key, &parsed).is_err());
        let unsigned: String = receipt.lines().filter(|line| !line.contains(" w.x ")).flat_map(|l| [l, "\n"]).collect();
        let error = proof::check(&unsigned, leaf, &key, &parsed).expect_err("no witness");
        assert!(error.contains("too few"), "{error}");
    }
}
