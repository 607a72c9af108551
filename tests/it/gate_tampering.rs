//! The real binary on a data directory that somebody changed while it did not run, or that it cannot write: machines wait
//! and are told why, a permit that was used stays used, people can act in an emergency, and the numbers go on.
//!
//! Every kind of change, by hundreds of seeds, is in the tests of `src/app`, without a process.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;

use serde_json::{Value, json};

use crate::gate_stage::{Stage, request, robot};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).expect("copied")),
        }
    }
}

/// Puts a copy of a directory in the place of one.
fn put(from: &Path, to: &Path) {
    std::fs::remove_dir_all(to).expect("it is there");
    copy(from, to);
}

/// The only file of records, as lines.
fn lines(audit: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(audit.join("00000000000000000000.jsonl")).expect("there");
    text.lines().map(str::to_owned).collect()
}

fn write(audit: &Path, lines: &[String]) {
    let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    std::fs::write(audit.join("00000000000000000000.jsonl"), text).expect("written");
}

fn post(stage: &Stage, who: &str, path: &str, body: &Value) -> Value {
    let (status, answer) = stage.wire().post(who, path, body).expect("an answer");
    // What cannot be written down is not answered.
    assert!(matches!(status, 200 | 404 | 503), "{who} {path}: {status} {answer}");
    answer
}

fn has(answer: &Value, code: &str) -> bool {
    answer["reasons"].as_array().into_iter().flatten().any(|reason| reason["code"] == code)
}

/// A service that was never halted is not changed by a machine, the used permit is no good, and a person can act.
fn machines_wait(stage: &Stage, what: &str, used: &str) {
    for service in [0, 1] {
        let deploy = request("deploy", service, None);
        let explained = post(stage, &robot(service), "/v1/decisions?explain", &deploy);
        assert!(explained["decision"] == "deny" && has(&explained, "log_in_doubt"), "{what}: {explained:#}");
        let answer = post(stage, &robot(service), "/v1/decisions", &deploy);
        assert!(answer["decision"] != "allow" && answer["permit"].is_null(), "{what}: {answer:#}");
    }
    let again = post(stage, &robot(0), &format!("/v1/permits/{used}/redeem"), &json!({}));
    assert_ne!(again["decision"], "allow", "{what}: {again:#}");
    let mut emergency = request("deploy", 0, None);
    emergency["break_glass"] = true.into();
    let glass = post(stage, "@ada", "/v1/decisions", &emergency);
    assert_eq!(glass["decision"], "allow", "{what}: a person is kept out: {glass:#}");
}

/// As it was left: the permit is used, the one service is halted and the other is not.
fn all_is_as_it_was(stage: &Stage, used: &str) {
    let again = post(stage, &robot(0), &format!("/v1/permits/{used}/redeem"), &json!({}));
    assert!(again["decision"] == "deny" && has(&again, "permit_used"), "{again:#}");
    let free = post(stage, &robot(0), "/v1/decisions?explain", &request("deploy", 0, None));
    assert_eq!(free["decision"], "allow", "{free:#}");
    let halted = post(stage, &robot(1), "/v1/decisions?explain", &request("deploy", 1, None));
    assert!(halted["decision"] == "deny" && has(&halted, "halted"), "{halted:#}");
}

/// An older copy of the log with what remembers it beside it: the state of the process is newer, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_log_with_its_memory_does_not_fit_the_state() {
    // An evaluation each three seconds.
    let mut stage = Stage::start(2, None, 10.0).await;
    let (data, audit) = (stage.path("data"), stage.audit_dir());
    let older = stage.path("older");
    copy(&data, &older);
    let halt = json!({"scope": {"service": "s1"}, "reason": "INC-7", "for_s": 86_400});
    post(&stage, "@ada", "/v1/halts", &halt);
    let at = |stage: &Stage| stage.wire().got("@ada", "/v1/signals/s0").expect("an answer").1["at"].as_i64();
    let before = at(&stage);
    let begun = std::time::Instant::now();
    while at(&stage) < before.map(|at| at + 60) {
        assert!(begun.elapsed().as_secs() < 60, "nothing is evaluated: {}", stage.process.log());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    stage.process.kill();
    put(&older.join("audit"), &audit);
    std::fs::copy(older.join("audit.head"), data.join("audit.head")).expect("copied");
    stage.restart();
    let explained = post(&stage, &robot(0), "/v1/decisions?explain", &request("deploy", 0, None));
    assert!(explained["decision"] == "deny" && has(&explained, "log_in_doubt"), "{explained:#}");
    assert!(stage.process.log().contains("truncated(state.db"), "{}", stage.process.log());
}

/// Changes the directory of the log, or what is beside it.
type Change<'a> = &'a dyn Fn(&Path);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_that_was_changed_or_cannot_be_written_lets_machines_wait_and_people_act() {
    let mut stage = Stage::start(2, None, 1.0).await;
    let (data, audit) = (stage.path("data"), stage.audit_dir());
    let answer = post(&stage, &robot(0), "/v1/decisions", &request("deploy", 0, None));
    let used = answer["permit"]["id"].as_str().unwrap_or_else(|| panic!("{answer:#}")).to_owned();
    let older = stage.path("older");
    copy(&audit, &older);
    let redeemed = post(&stage, &robot(0), &format!("/v1/permits/{used}/redeem"), &json!({}));
    assert_eq!(redeemed["decision"], "allow", "{redeemed:#}");
    let halt = json!({"scope": {"service": "s1"}, "reason": "INC-7", "for_s": 3600});
    post(&stage, "@ada", "/v1/halts", &halt);
    stage.process.kill();
    let left = stage.path("left");
    copy(&data, &left);

    let edit = |audit: &Path| {
        let mut all = lines(audit);
        let halt = all.iter_mut().find(|line| line.contains("\"kind\":\"halted\"")).expect("it is on record");
        *halt = halt.replacen("INC-7", "INC-8", 1);
        write(audit, &all);
    };
    let unread = |audit: &Path| {
        let mut all = lines(audit);
        let use_ = all.iter_mut().find(|line| line.contains("\"kind\":\"permit_redeemed\"")).expect("it is on record");
        *use_ = use_.replacen("\"kind\":\"permit_redeemed\"", "\"kind\":\"permit_admired\"", 1);
        write(audit, &all);
    };
    let cut = |audit: &Path| {
        let all = lines(audit);
        write(audit, &all[..all.len() - 2]);
    };
    let restore = |audit: &Path| put(&older, audit);
    let delete = |audit: &Path| std::fs::remove_dir_all(audit).expect("it is there");
    let forget = |audit: &Path| std::fs::remove_file(audit.with_extension("head")).expect("it is there");
    let lose_key = |audit: &Path| std::fs::remove_file(audit.join("signing.key")).expect("it is there");
    let changes: [(&str, Change<'_>); 7] = [
        ("a halt was edited", &edit),
        ("a use was made unreadable", &unread),
        ("two records were cut off", &cut),
        ("an older copy was put back", &restore),
        ("the log was deleted", &delete),
        ("what remembers it was deleted", &forget),
        ("its key was deleted", &lose_key),
    ];
    for (what, change) in changes {
        put(&left, &data);
        change(&audit);
        stage.restart();
        machines_wait(&stage, what, &used);
        stage.process.kill();
        assert!(stage.process.log().contains("audit log"), "{what}: {}", stage.process.log());
    }
    put(&left, &data);
    stage.restart();
    all_is_as_it_was(&stage, &used);
    stage.process.kill();

    // Nothing of it can be written. Whoever runs the tests as root is nobody for that.
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("ours");
    if std::fs::metadata(&data).expect("there").uid() == 0 {
        let binary = stage.path("slowburn");
        std::fs::copy(env!("CARGO_BIN_EXE_slowburn"), &binary).expect("copied");
        mode(binary.parent().expect("a folder"), 0o755);
        let words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"].map(str::to_owned);
        stage.starter = words.into_iter().chain([binary.display().to_string()]).collect();
    }
    let folders = [&data, &audit];
    folders.iter().for_each(|folder| mode(folder, 0o555));
    // It starts, and has numbers: `restart` waits for them.
    stage.restart();
    machines_wait(&stage, "nothing can be written", &used);
    let said = stage.process.log();
    assert!(said.contains("cannot be written") && !said.contains("disk I/O error"), "{said}");
    stage.process.kill();
    folders.iter().for_each(|folder| mode(folder, 0o755));
    stage.starter.clear();
    stage.restart();
    all_is_as_it_was(&stage, &used);
}
