//! The audit log through its commands: every way of tampering with it is named, a killed process loses nothing that was
//! answered, and what was recorded is found.
//!
//! What forges records here knows the format from the documentation only: sorted keys for the leaf, the nine keys first
//! for the line.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use slowburn::audit::{Anchor, Kind, Log, Options, Receipt, Record, sink};
use slowburn::clock::Clock;
use slowburn::outbound::{Authorization, Transport};

use crate::harness::parts::{eventually, http, serve};

/// A log of 200 decisions in several files, closed; its anchors and the receipts that callers got.
struct Fixture {
    folder: tempfile::TempDir,
    receipts: Vec<Receipt>,
    key: String,
}

fn decision(n: usize) -> Record {
    Record {
        resource: Some("deployment/checkout-service".into()),
        from_version: Some("v42".into()),
        to_version: Some("v41".into()),
        reason: Some(format!("reason {n}")),
        incident_id: n.is_multiple_of(10).then(|| format!("INC-{n}")),
        service: Some(["checkout", "search"][n % 2].into()),
        decision: Some(json!({"id": format!("dec_{n}"), "result": (["allow", "deny", "needs_approval"][n % 3])})),
        ..Record::new(Kind::Decision, format!("robot/{}", n % 4), "rollback", Clock::wall().now_ms())
    }
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().expect("a folder");
    let (receipts, key) = write(folder.path(), "log", 200, 0);
    Fixture { folder, receipts, key }
}

/// Writes a log with `n` decisions from number `from` on, and closes it.
fn write(folder: &Path, name: &str, n: usize, from: usize) -> (Vec<Receipt>, String) {
    let options = Options {
        segment_bytes: 20_000,
        checkpoint_records: 16,
        sinks: vec![Box::new(sink::NoteFile(folder.join(format!("{name}.anchors"))))],
        ..Options::new(folder.join(name))
    };
    let log = Log::open(options, Clock::wall()).expect("it opens");
    let receipts = (from..from + n).map(|n| log.append_blocking(decision(n)).expect("written")).collect();
    log.close();
    (receipts, log.public_key().to_string())
}

fn audit<'a>(args: impl IntoIterator<Item = &'a str>) -> Output {
    let binary = env!("CARGO_BIN_EXE_slowburn");
    Command::new(binary).arg("audit").args(args).output().expect("the binary starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Fixture {
    fn dir(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// All lines with the file each stands in.
    fn lines(&self) -> Vec<(PathBuf, String)> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.dir())
            .expect("a directory")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
            .collect();
        files.sort();
        let of = |file: &PathBuf| std::fs::read_to_string(file).expect("there");
        files
            .iter()
            .flat_map(|file| of(file).lines().map(|line| (file.clone(), line.to_owned())).collect::<Vec<_>>())
            .collect()
    }

    fn write_lines(&self, lines: &[(PathBuf, String)]) {
        let mut files: BTreeMap<PathBuf, String> =
            self.lines().into_iter().map(|(file, _)| (file, String::new())).collect();
        for (file, line) in lines {
            files.entry(file.clone()).or_default().push_str(&format!("{line}\n"));
        }
        for (file, text) in files {
            std::fs::write(file, text).expect("written");
        }
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.dir().join(name)).expect("removed");
    }

    /// `audit verify` with the key that was kept, and more.
    fn verify(&self, more: &[&str]) -> (Option<i32>, String) {
        let dir = self.dir();
        let args = ["verify", "--dir", dir.to_str().expect("a plain path"), "--key", &self.key];
        let output = audit(args.into_iter().chain(more.iter().copied()));
        (output.status.code(), stdout(&output))
    }

    #[track_caller]
    fn named(&self, more: &[&str], fault: &str) {
        let (code, text) = self.verify(more);
        assert!(code == Some(1) && text.contains(fault), "{fault} is not in:\n{text}");
    }

    fn anchors(&self) -> String {
        self.folder.path().join("log.anchors").to_str().expect("a plain path").to_owned()
    }
}

/// A record as whoever tampers would write it: the line, and the leaf.
fn forged(record: &Value) -> (String, String) {
    let members = record.as_object().expect("an object");
    let canonical = serde_json::to_string(members).expect("JSON");
    let leaf = Sha256::new().chain_update([0]).chain_update(&canonical).finalize();
    let leaf: String = leaf.iter().map(|byte| format!("{byte:02x}")).collect();
    let head =
        ["actor", "time", "action", "resource", "from_version", "to_version", "reason", "incident_id", "approval"];
    let rest = members.keys().map(String::as_str).filter(|key| !head.contains(key));
    let member = |key: &str| format!("{}:{}", json!(key), members[key]);
    let line = head.into_iter().chain(rest).map(member).collect::<Vec<_>>().join(",");
    (format!("{{{line}}}"), format!("sha256:{leaf}"))
}

/// Changes a record and writes the chain after it anew.
fn rewritten(fixture: &Fixture, at: usize, change: impl Fn(&mut Value)) {
    let mut lines = fixture.lines();
    let mut prev: Option<String> = None;
    for (i, (_, line)) in lines.iter_mut().enumerate().skip(at) {
        let mut record: Value = serde_json::from_str(line).expect("a record");
        if i == at {
            change(&mut record);
        }
        if let Some(prev) = prev {
            record["log"]["prev"] = prev.into();
        }
        let (forged, leaf) = forged(&record);
        *line = forged;
        prev = Some(leaf);
    }
    fixture.write_lines(&lines);
}

#[test]
fn an_untouched_log_is_what_was_written() {
    let fixture = fixture();
    let (code, text) = fixture.verify(&["--anchor", &fixture.anchors()]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("records  202") && text.contains("signed   202") && text.contains("anchored 202"), "{text}");
    let (_, line) = fixture.lines().remove(9);
    let (again, leaf) = forged(&serde_json::from_str(&line).expect("a record"));
    assert_eq!((again, leaf), (line, fixture.receipts[8].leaf.to_string()), "the format is the documented one");
}

#[test]
fn one_changed_byte_is_named() {
    for (at, from, to) in
        [(60, "reason 59", "reason 58"), (201, "\"records\":201", "\"records\":200"), (0, "boot", "boat")]
    {
        let fixture = fixture();
        let mut lines = fixture.lines();
        assert!(lines[at].1.contains(from), "{}", lines[at].1);
        lines[at].1 = lines[at].1.replace(from, to);
        fixture.write_lines(&lines);
        fixture.named(&[], &format!("edited@{at}:"));
    }
}

#[test]
fn a_change_is_named_though_the_chain_was_written_anew() {
    let fixture = fixture();
    rewritten(&fixture, 60, |record| record["decision"]["result"] = "deny".into());
    fixture.named(&[], "edited@60: it and all after it were written anew");
    fixture.remove("hashes");
    fixture.named(&[], "edited@49..64:");
    let receipt = serde_json::to_string(&fixture.receipts[59]).expect("JSON");
    let receipts = fixture.folder.path().join("receipts.jsonl");
    std::fs::write(&receipts, format!("{{\"audit\":{receipt}}}\n")).expect("written");
    fixture.named(&["--receipts", receipts.to_str().expect("a plain path")], "edited@60: whoever asked");
}

#[test]
fn a_missing_end_is_named() {
    let fixture = fixture();
    let mut lines = fixture.lines();
    lines.truncate(190);
    fixture.write_lines(&lines);
    fixture.named(&[], "truncated(checkpoint 202 > 190)");
    // Whoever cuts the end off cuts the checkpoints and hashes back as well: then only what is elsewhere shows it.
    let checkpoints = std::fs::read_to_string(fixture.dir().join("checkpoints")).expect("there");
    let kept: String = checkpoints.split_inclusive("\n\n").take(2 * 12).collect();
    std::fs::write(fixture.dir().join("checkpoints"), kept).expect("written");
    fixture.remove("hashes");
    let (code, text) = fixture.verify(&[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("a log that was cut off"), "{text}");
    fixture.named(&["--anchor", &fixture.anchors()], "truncated(anchor log.anchors 202 > 190): the last 12 records");
}

#[test]
fn a_missing_record_or_file_in_the_middle_is_named() {
    let fixture = fixture();
    let whole = fixture.lines();
    let mut lines = whole.clone();
    lines.remove(77);
    fixture.write_lines(&lines);
    fixture.named(&[], "gap@77: record 77 is not there");
    fixture.write_lines(&whole);
    let file = whole[100].0.clone();
    let of_file: Vec<usize> = (0..whole.len()).filter(|i| whole[*i].0 == file).collect();
    std::fs::remove_file(&file).expect("removed");
    let (first, last) = (of_file[0], of_file[of_file.len() - 1]);
    fixture.named(&[], &format!("gap@{first}: records {first} to {last} are not there"));
}

#[test]
fn another_history_signed_with_the_same_key_is_a_fork() {
    let fixture = fixture();
    let other = fixture.folder.path().join("other");
    std::fs::create_dir(&other).expect("made");
    std::fs::copy(fixture.dir().join("signing.key"), other.join("signing.key")).expect("copied");
    write(fixture.folder.path(), "other", 200, 1000);
    let swapped = Fixture { folder: fixture.folder, receipts: Vec::new(), key: fixture.key };
    std::fs::rename(swapped.dir(), swapped.folder.path().join("first")).expect("moved");
    std::fs::rename(&other, swapped.dir()).expect("moved");
    let (code, text) = swapped.verify(&[]);
    assert_eq!(code, Some(0), "a log alone cannot show it: {text}");
    swapped.named(&["--anchor", &swapped.anchors()], "fork@1: log.anchors has another history");
}

#[test]
fn a_swapped_key_is_named() {
    let fixture = fixture();
    // The same records, all signed with another key that calls itself by the same name.
    let name = fixture.key.split('+').next().expect("a name").to_owned();
    let other = fixture.folder.path().join("other");
    let options = Options { origin: Some(name), ..Options::new(&other) };
    let log = Log::open(options, Clock::wall()).expect("it opens");
    log.append_blocking(decision(0)).expect("written");
    log.close();
    for file in ["signing.key", "key.pub", "checkpoints"] {
        std::fs::copy(other.join(file), fixture.dir().join(file)).expect("copied");
    }
    fixture.named(&[], "wrong_key(checkpoint): it is signed by ");
    let dir = fixture.dir();
    let beside = audit(["verify", "--dir", dir.to_str().expect("a plain path"), "--anchor", &fixture.anchors()]);
    let (text, warning) = (stdout(&beside), String::from_utf8_lossy(&beside.stderr).into_owned());
    assert!(text.contains("wrong_key(log.anchors)") && beside.status.code() == Some(1), "{text}");
    assert!(warning.contains("the key was taken from the log's own directory"), "{warning}");
}

#[test]
fn a_changed_checkpoint_is_named() {
    let fixture = fixture();
    let path = fixture.dir().join("checkpoints");
    let text = std::fs::read_to_string(&path).expect("there");
    std::fs::write(&path, text.replacen("\n17\n", "\n18\n", 1)).expect("written");
    fixture.named(&[], "wrong_signature(checkpoint): the checkpoint of 18 records");
}

#[test]
fn half_a_record_at_the_end_is_no_fault() {
    let fixture = fixture();
    let last = fixture.lines().pop().expect("a line").0;
    let mut file = std::fs::File::options().append(true).open(last).expect("there");
    file.write_all(b"{\"actor\":\"rob").expect("written");
    let (code, text) = fixture.verify(&[]);
    assert!(code == Some(0) && text.contains("torn     13 bytes"), "{text}");
}

#[test]
fn who_did_what_and_why_is_found() {
    let fixture = fixture();
    let dir = fixture.dir();
    let dir = dir.to_str().expect("a plain path");
    let list = |more: &[&str]| {
        let output = audit(["list", "--dir", dir, "--format", "json"].into_iter().chain(more.iter().copied()));
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Vec<Value>>(&output.stdout).expect("an array")
    };
    let robots = list(&["--actor", "robot/1", "--service", "search", "--decision", "deny", "--limit", "3"]);
    let numbers: Vec<&str> = robots.iter().filter_map(|record| record["reason"].as_str()).collect();
    assert_eq!(numbers, ["reason 193", "reason 181", "reason 169"]);
    assert_eq!(list(&["--incident", "INC-50"])[0]["reason"], "reason 50");
    assert_eq!(list(&["--kind", "boot"]).len(), 1);
    assert_eq!(list(&["--service", "nobody"]).len(), 0);
    assert_eq!(list(&["--since", "1h", "--limit", "500"]).len(), 202);
    assert_eq!(list(&["--until", "1h"]).len(), 0);
    let table = stdout(&audit(["list", "--dir", dir, "--incident", "INC-50"]));
    assert!(
        table.contains("deployment/checkout-service v42 -> v41") && table.contains("reason 50 (INC-50)"),
        "{table}"
    );
    let shown = audit(["show", "--dir", dir, "dec_7", "--proof"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("one record");
    assert_eq!((&shown["log"]["seq"], &shown["proof"]["checkpoint"]["size"]), (&json!(8), &json!(202)));
    assert_eq!(audit(["show", "--dir", dir, "dec_700"]).status.code(), Some(1));
    let exported = audit(["export", "--dir", dir, "--format", "opa", "--service", "checkout"]);
    let exported: Vec<Value> = serde_json::from_slice(&exported.stdout).expect("an array");
    assert_eq!(exported.len(), 100);
    assert_eq!(exported[0]["decision_id"], "dec_0");
    assert_eq!(exported[0]["result"]["allow"], true);
    assert_eq!(exported[0]["input"]["actor"], "robot/0");
    // An index that is damaged, or gone, or of another log is made again.
    for broken in [&b"this is no database, and it is long enough to be looked at as one"[..], b""] {
        std::fs::write(format!("{dir}/index.db"), broken).expect("written");
        assert_eq!(list(&["--incident", "INC-50"]).len(), 1);
    }
}

#[test]
fn the_log_of_a_running_process_is_found_and_verified() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("audit");
    let log = Log::open(Options::new(&dir), Clock::wall()).expect("it opens");
    let data = folder.path().to_str().expect("a plain path");
    for n in 0..5 {
        log.append_blocking(decision(n)).expect("written");
        let found = audit(["list", "--data-dir", data, "--format", "json", "--kind", "decision"]);
        let found: Vec<Value> = serde_json::from_slice(&found.stdout).expect("an array");
        assert_eq!(found.len(), n + 1);
    }
    let verified = audit(["verify", "--data-dir", data]);
    assert_eq!(verified.status.code(), Some(0), "{}", stdout(&verified));
    let key = stdout(&audit(["key", "--data-dir", data]));
    assert_eq!(key.trim(), log.public_key().to_string());
}

#[test]
fn a_log_that_is_not_there_is_told_with_what_to_write() {
    for (args, text) in [
        (&["list"][..], "which log? Write --data-dir"),
        (&["list", "--data-dir", "/nowhere"], "there is no audit log in /nowhere/audit"),
        (&["list", "--dir", ".", "--since", "yesterday"], "write 2026-11-01T12:00:00Z, Unix seconds, or 24h"),
        (&["list", "--dir", "src"], "there is no audit log in src"),
    ] {
        let output = audit(args.iter().copied());
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && stderr.contains(text), "{args:?}: {stderr}");
    }
    let fixture = fixture();
    let dir = fixture.dir();
    let verified = audit(["verify", "--dir", dir.to_str().expect("a plain path"), "--key", "log+00000000+AAAA"]);
    let stderr = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(
        verified.status.code() == Some(2) && stderr.contains("--key log+00000000+AAAA: it is no public key"),
        "{stderr}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_the_newest_checkpoint_until_it_takes_one() {
    use axum::http::{HeaderMap, StatusCode, header};
    type Taken = std::sync::Arc<std::sync::Mutex<Vec<(String, String)>>>;
    let (taken, asked) = (Taken::default(), std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    let store = taken.clone();
    let take = move |headers: HeaderMap, body: String| async move {
        // First an error, then a redirect that must not be followed.
        match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => (StatusCode::SERVICE_UNAVAILABLE, [(header::LOCATION, "")]),
            1 => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/elsewhere")]),
            _ => {
                let token =
                    headers.get(header::AUTHORIZATION).map_or("", |value| value.to_str().expect("text")).to_owned();
                store.lock().expect("no panic").push((token, body));
                (StatusCode::OK, [(header::LOCATION, "")])
            }
        }
    };
    let elsewhere = taken.clone();
    let elsewhere =
        move || async move { elsewhere.lock().expect("no panic").push(("redirected".into(), String::new())) };
    let app = axum::Router::new()
        .route("/notes", axum::routing::post(take))
        .route("/elsewhere", axum::routing::post(elsewhere));
    let server = serve(app).await;
    let url: reqwest::Url = format!("http://{}/notes", server.address).parse().expect("a URL");
    let _ = http();
    let transport = Transport::new(url.as_str(), None, Default::default()).expect("a client");
    let header = Authorization::fixed(&"Bearer t0ken".into()).expect("a header");
    let webhook = sink::Webhook::new(url, transport, header);
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { sinks: vec![Box::new(webhook)], ..Options::new(folder.path()) };
    let log =
        tokio::task::spawn_blocking(|| Log::open(options, Clock::wall()).expect("it opens")).await.expect("no panic");
    log.append(decision(1)).await.expect("written");
    eventually("a checkpoint arrives", Duration::from_secs(60), || async {
        (!taken.lock().expect("no panic").is_empty()).then_some(())
    })
    .await;
    let closing = log.clone();
    tokio::task::spawn_blocking(move || closing.close()).await.expect("no panic");
    let taken = taken.lock().expect("no panic").clone();
    assert!(taken.iter().all(|(token, _)| token == "Bearer t0ken"), "{taken:?}");
    let last = Anchor::parse(&taken.last().expect("one at least").1).expect("a checkpoint");
    assert_eq!((last.check(log.public_key()), last.checkpoint.size), (Ok(()), 3));
}

#[test]
fn a_daemon_records_its_life_and_sends_its_checkpoints() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("slowburn.yaml");
    let text = "data_dir: data\nlisten: 127.0.0.1:0\nbackfill: {enabled: false}\nprometheus: {url: \"http://127.0.0.1:9\"}\n\
                audit: {origin: example.com/log, checkpoints: [{stdout: true}, {file: anchors}]}\n";
    std::fs::write(&config, text).expect("written");
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/services/checkout.yaml");
    let daemon = || {
        let mut child = Command::new(env!("CARGO_BIN_EXE_slowburn"))
            .arg("run")
            .arg("--config")
            .arg(&config)
            .arg("--rules")
            .arg(&rules)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let first = lines.next().expect("a checkpoint comes first").expect("a line");
        let signal = format!("kill -TERM {}", child.id());
        assert!(Command::new("sh").args(["-c", &signal]).status().expect("sh starts").success());
        assert!(child.wait().expect("it ends").success());
        first
    };
    let first = daemon();
    daemon();
    let data = folder.path().join("data");
    let list = audit(["list", "--data-dir", data.to_str().expect("plain"), "--format", "json"]);
    let records: Vec<Value> = serde_json::from_slice(&list.stdout).expect("an array");
    let kinds: Vec<&str> = records.iter().filter_map(|record| record["kind"].as_str()).collect();
    assert_eq!(kinds, ["shutdown", "boot", "shutdown", "boot"]);
    assert_eq!(records[1]["event"]["stopped_in_order"], true);
    let kept = folder.path().join("stdout");
    std::fs::write(&kept, format!("some log line\n{first}\n")).expect("written");
    let anchors = folder.path().join("anchors");
    let args = ["verify", "--config", config.to_str().expect("plain"), "--anchor", kept.to_str().expect("plain")];
    let verified = audit(args.into_iter().chain(["--anchor", anchors.to_str().expect("plain")]));
    let text = stdout(&verified);
    assert!(verified.status.code() == Some(0) && text.contains("log      example.com/log\nrecords  4"), "{text}");
    assert!(text.contains("anchored 4"), "{text}");
}

// === kill -9

const CHILD: &str = "SLOWBURN_TEST_AUDIT_DIR";

/// Appends from eight clients, and says each receipt once it is answered, until it is killed.
fn append_for_ever(dir: &Path) -> ! {
    let options = Options { segment_bytes: 50_000, ..Options::new(dir) };
    let log = Log::open(options, Clock::wall()).expect("it opens");
    let clients: Vec<_> = (0..8_usize)
        .map(|client| {
            let log = log.clone();
            std::thread::spawn(move || {
                for n in 0.. {
                    let receipt = log.append_blocking(decision(client * 1_000_000 + n)).expect("written");
                    let line = format!("receipt {}\n", serde_json::to_string(&receipt).expect("JSON"));
                    std::io::stdout().lock().write_all(line.as_bytes()).expect("somebody reads");
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("a client does not end");
    }
    unreachable!("clients do not end")
}

#[test]
fn kill_9_loses_nothing_that_was_answered() {
    if let Some(dir) = std::env::var_os(CHILD) {
        append_for_ever(Path::new(&dir));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("log");
    let mut receipts: Vec<Value> = Vec::new();
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["audit::kill_9_loses_nothing_that_was_answered", "--exact", "--nocapture"])
            .env(CHILD, &dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        // Another moment each time; the group that is being written then is in another state.
        let enough = 37 + round * 61;
        let of_line = |line: String| {
            let receipt = line.split_once("receipt ").and_then(|(_, text)| serde_json::from_str(text).ok());
            receipt.filter(|receipt: &Value| receipt["leaf"].is_string())
        };
        let before = receipts.len();
        while receipts.len() - before < enough {
            let line = lines.next().expect("it does not end by itself").expect("a line");
            receipts.extend(of_line(line));
        }
        child.kill().expect("it lives");
        child.wait().expect("it ends");
        receipts.extend(lines.map_while(Result::ok).filter_map(of_line));
    }
    let kept = folder.path().join("receipts.jsonl");
    let text: String = receipts.iter().map(|receipt| format!("{receipt}\n")).collect();
    std::fs::write(&kept, text).expect("written");
    let (dir, kept) = (dir.to_str().expect("a plain path"), kept.to_str().expect("a plain path"));
    let verified = audit(["verify", "--dir", dir, "--receipts", kept]);
    assert_eq!(verified.status.code(), Some(0), "{}", stdout(&verified));
    // And the next start goes on.
    let log = Log::open(Options::new(dir), Clock::wall()).expect("it opens");
    log.append_blocking(decision(0)).expect("written");
    log.close();
    let verified = audit(["verify", "--dir", dir, "--receipts", kept]);
    assert_eq!(verified.status.code(), Some(0), "{}", stdout(&verified));
}

/// The shell bounds how large a file may become: to the process that is a full disk, in the middle of a record.
#[test]
fn a_full_disk_refuses_and_the_log_stays_whole() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let log = Log::open(Options::new(&dir), Clock::wall()).expect("it opens");
        let outcomes: Vec<String> = (0..120)
            .map(|n| log.append_blocking(decision(n)).map_or_else(|why| why.as_str().to_owned(), |_| "written".into()))
            .collect();
        println!("\noutcomes {}", outcomes.join(","));
        println!("healthy {}", log.health().is_ok());
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("log");
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" audit::a_full_disk_refuses_and_the_log_stays_whole --exact --nocapture";
    let binary = std::env::current_exe().expect("this binary");
    let output = Command::new("sh").args(["-c", script]).arg(binary).env(CHILD, &dir).output().expect("sh starts");
    let text = stdout(&output);
    let outcomes = text.lines().find_map(|line| line.strip_prefix("outcomes ")).expect("the child says them");
    let written = outcomes.split(',').filter(|outcome| *outcome == "written").count();
    assert!(
        written > 20 && outcomes.ends_with("written,disk_full") | outcomes.ends_with("disk_full,disk_full"),
        "{text}"
    );
    assert!(text.contains("healthy false"), "{text}");
    let dir = dir.to_str().expect("a plain path");
    let verified = audit(["verify", "--dir", dir]);
    assert_eq!(verified.status.code(), Some(0), "{}", stdout(&verified));
    let found = audit(["list", "--dir", dir, "--kind", "decision", "--limit", "1000", "--format", "json"]);
    assert_eq!(serde_json::from_slice::<Vec<Value>>(&found.stdout).expect("an array").len(), written);
}
