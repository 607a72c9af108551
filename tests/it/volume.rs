//! A volume that cannot be written, and becomes writable again while the daemon runs: it was read-only or full when it started,
//! or became full later. Machines wait until then, people can act in an emergency and are told; afterwards everything goes on
//! without a restart: the log and all that it remembers, the state file, decisions.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::gate_stage::{Stage, request, robot};
use crate::harness::parts::eventually;

const LIMIT: Duration = Duration::from_secs(90);
/// A poll each second of the wall.
const SPEED: f64 = 30.0;

fn post(stage: &Stage, who: &str, path: &str, body: &Value) -> (u16, Value) {
    stage.wire().post(who, path, body).expect("an answer")
}

fn has(answer: &Value, code: &str) -> bool {
    answer["reasons"].as_array().into_iter().flatten().any(|reason| reason["code"] == code)
}

/// One sample of the daemon's own metrics, summed over its labels.
async fn metric(stage: &Stage, name: &str) -> Option<f64> {
    let answer = crate::harness::parts::http().get(format!("{}/metrics", stage.url())).send().await.ok()?;
    let text = answer.text().await.ok()?;
    let values = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
    values.map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// A permit that was used, and a halt: what has to be remembered whatever comes.
fn remembered(stage: &Stage) -> String {
    let (_, answer) = post(stage, &robot(0), "/v1/decisions", &request("deploy", 0, None));
    let used = answer["permit"]["id"].as_str().unwrap_or_else(|| panic!("{answer:#}")).to_owned();
    let (_, redeemed) = post(stage, &robot(0), &format!("/v1/permits/{used}/redeem"), &json!({}));
    assert_eq!(redeemed["decision"], "allow", "{redeemed:#}");
    let halt = json!({"scope": {"service": "s1"}, "reason": "INC-7", "for_s": 86_400});
    assert_eq!(post(stage, "@ada", "/v1/halts", &halt).0, 200);
    used
}

/// Nothing is allowed to machines, the used permit is no good, and a person can act.
fn machines_wait(stage: &Stage, used: &str) {
    for service in [0, 1] {
        let (_, answer) = post(stage, &robot(service), "/v1/decisions", &request("deploy", service, None));
        assert!(answer["decision"] != "allow" && answer["permit"].is_null(), "{answer:#}");
    }
    let (_, again) = post(stage, &robot(0), &format!("/v1/permits/{used}/redeem"), &json!({}));
    assert_ne!(again["decision"], "allow", "{again:#}");
    let mut emergency = request("deploy", 0, None);
    emergency["break_glass"] = true.into();
    let (_, glass) = post(stage, "@ada", "/v1/decisions", &emergency);
    assert_eq!(glass["decision"], "allow", "a person is kept out: {glass:#}");
}

/// It goes on by itself: machines are allowed what they were, the permit stays used, the halt holds, and what is decided now
/// is on record. State is kept: polls are written, and a restart goes on from there.
async fn goes_on(stage: &mut Stage, used: &str) {
    let pid = stage.process.pid();
    eventually("machines are answered again", LIMIT, || async {
        let (status, answer) = post(stage, &robot(0), "/v1/decisions", &request("deploy", 0, None));
        (status == 200 && answer["decision"] == "allow").then_some(())
    })
    .await;
    let (_, again) = post(stage, &robot(0), &format!("/v1/permits/{used}/redeem"), &json!({}));
    assert!(again["decision"] == "deny" && has(&again, "permit_used"), "{again:#}");
    let (_, halted) = post(stage, &robot(1), "/v1/decisions", &request("deploy", 1, None));
    assert!(halted["decision"] == "deny" && has(&halted, "halted"), "{halted:#}");
    assert_eq!(metric(stage, "slowburn_audit_writable").await, Some(1.0));
    // Two polls in a row that were written.
    eventually("polls are written", LIMIT, || async {
        let before = metric(stage, "slowburn_store_errors_total").await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        (metric(stage, "slowburn_store_errors_total").await? == before).then_some(())
    })
    .await;
    assert_eq!(pid, stage.process.pid());
    assert!(!stage.process.has_exited(), "{}", stage.process.log());
    stage.process.kill();
    let verified = Command::new(env!("CARGO_BIN_EXE_slowburn"))
        .args(["audit", "verify", "--dir"])
        .arg(stage.audit_dir())
        .output()
        .expect("the binary runs");
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stdout));
    stage.starter.clear();
    stage.restart();
    let (_, again) = post(stage, &robot(0), &format!("/v1/permits/{used}/redeem"), &json!({}));
    assert!(has(&again, "permit_used"), "{again:#}");
    // The last of those who wrote there.
    let log = stage.process.log();
    let last = log.rsplit("audit checkpoints are kept beside").next().unwrap_or_default();
    assert!(last.contains("state restored") && !last.contains("no state is kept"), "{log}");
}

fn all(path: &Path, with: &dyn Fn(&Path)) {
    with(path);
    if path.is_dir() {
        std::fs::read_dir(path).expect("a folder").for_each(|entry| all(&entry.expect("an entry").path(), with));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_that_was_read_only_at_the_start_and_is_not_any_more_is_taken_up_without_a_restart() {
    let mut stage = Stage::start(2, None, SPEED).await;
    let used = remembered(&stage);
    stage.process.kill();
    // Whoever runs the tests as root is nobody for this.
    let data = stage.path("data");
    let is_root = std::fs::metadata(&data).expect("there").uid() == 0;
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("ours");
    if is_root {
        let binary = stage.path("slowburn");
        std::fs::copy(env!("CARGO_BIN_EXE_slowburn"), &binary).expect("copied");
        mode(binary.parent().expect("a folder"), 0o755);
        let words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"].map(str::to_owned);
        stage.starter = words.into_iter().chain([binary.display().to_string()]).collect();
    }
    let left: Vec<(std::path::PathBuf, u32)> = {
        let found = std::cell::RefCell::new(Vec::new());
        all(&data, &|path| {
            let mode = std::fs::metadata(path).expect("there").permissions().mode();
            found.borrow_mut().push((path.to_owned(), mode & 0o777));
        });
        found.into_inner()
    };
    for (path, was) in &left {
        if is_root {
            std::os::unix::fs::chown(path, Some(65534), Some(65534)).expect("root may");
        }
        mode(path, was & 0o555);
    }
    stage.restart();
    machines_wait(&stage, &used);
    assert_eq!(metric(&stage, "slowburn_audit_writable").await, Some(0.0));
    eventually("each poll counts as one that was not written", LIMIT, || async {
        (metric(&stage, "slowburn_store_errors_total").await? >= 2.0).then_some(())
    })
    .await;
    left.iter().for_each(|(path, was)| mode(path, *was));
    goes_on(&mut stage, &used).await;
}

/// Bytes that a process may write to a file; what is over it is answered as a full disk is.
fn limit(stage: &Stage, bytes: &str) {
    let pid = stage.process.pid().to_string();
    let set = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]).status();
    assert!(set.expect("prlimit runs").success());
}

/// Starts it so that a write over the limit is an error, and no signal.
fn with_limit(stage: &mut Stage, begin: &str) {
    let script = format!("trap '' XFSZ; {begin} exec \"$0\" \"$@\"");
    stage.starter = ["sh", "-c", &script, env!("CARGO_BIN_EXE_slowburn")].map(str::to_owned).to_vec();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_was_full_at_the_start_and_has_room_again_is_taken_up_without_a_restart() {
    let mut stage = Stage::start(2, None, SPEED).await;
    let used = remembered(&stage);
    stage.process.kill();
    let key = std::fs::read_to_string(stage.audit_dir().join("key.pub")).expect("there");
    with_limit(&mut stage, "ulimit -S -f 0;");
    stage.restart();
    machines_wait(&stage, &used);
    assert_eq!(std::fs::read_to_string(stage.audit_dir().join("key.pub")).expect("there"), key, "it was written over");
    limit(&stage, "unlimited");
    goes_on(&mut stage, &used).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_becomes_full_and_has_room_again_is_written_without_a_restart() {
    let mut stage = Stage::start(2, None, SPEED).await;
    stage.process.kill();
    with_limit(&mut stage, "");
    stage.restart();
    let used = remembered(&stage);
    limit(&stage, "1");
    machines_wait(&stage, &used);
    eventually("polls are not written", LIMIT, || async {
        (metric(&stage, "slowburn_store_errors_total").await? >= 2.0).then_some(())
    })
    .await;
    limit(&stage, "unlimited");
    goes_on(&mut stage, &used).await;
}
