//! `kubectl slowburn`, run by the real kubectl against a real daemon: the commands of docs/enforcement.md, cut out of the page and
//! run as they stand.

use std::process::{Command, Output};

use serde_json::Value;

use crate::gate_stage::Stage;
use crate::harness::parts::part;
use crate::newcomer::project;

/// Lines of the page that begin so, with the service of the stage in place of the page's.
fn lines(begin: &str) -> Vec<String> {
    let page = std::fs::read_to_string(project("docs/enforcement.md")).expect("there");
    let all = page.lines().filter_map(|line| line.strip_prefix("    ")).filter(|line| line.starts_with(begin));
    all.map(|line| line.replace("deployment/checkout-service", "deployment/s0").replace("checkout", "s0")).collect()
}

fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Where a person has kubectl and the plugin, and nothing of a cluster.
struct Desk {
    home: tempfile::TempDir,
    url: String,
}

impl Desk {
    fn run(&self, line: &str) -> Output {
        let kubectl = part("kubectl");
        let (bin, own) = (kubectl.parent().expect("a folder").display(), self.home.path().display());
        let slowburn = std::path::Path::new(env!("CARGO_BIN_EXE_slowburn")).parent().expect("a folder").display();
        let ran = Command::new("bash")
            .args(["-ec", line])
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", format!("{own}/.local/bin:{bin}:{slowburn}:/usr/bin:/bin"))
            .env("SLOWBURN", &self.url)
            .env("SLOWBURN_TOKEN", "token-of-robot/0")
            .output()
            .expect("bash starts");
        println!("$ {line}\n[{:?}] {}", ran.status.code(), printed(&ran));
        ran
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_asks_explains_and_says_why() {
    let mut stage = Stage::start(1, None, 1.0).await;
    let desk = Desk { home: tempfile::tempdir().expect("a temporary folder"), url: stage.url() };
    let missing = desk.run("kubectl slowburn why deployment/s0");
    assert!(!missing.status.success(), "nothing is installed: kubectl knows no such command");
    for folder in [".local/bin", ".config/slowburn"] {
        std::fs::create_dir_all(desk.home.path().join(folder)).expect("writable");
    }
    std::fs::write(desk.home.path().join(".config/slowburn/token"), "token-of-robot/0\n").expect("writable");
    let [link] = &lines("ln -s")[..] else { panic!("one line makes the link") };
    assert!(desk.run(link).status.success());
    let listed = desk.run("kubectl plugin list");
    assert!(printed(&listed).contains("kubectl-slowburn"), "{}", printed(&listed));
    let [token] = &lines("export SLOWBURN_TOKEN")[..] else { panic!("one line names the token") };

    let commands = lines("kubectl slowburn");
    let [explain, ask, why] = &commands[..] else { panic!("three commands: {commands:?}") };
    // Nothing was decided yet, and an explanation decides nothing.
    assert_eq!(desk.run(why).status.code(), Some(1));
    let explained = desk.run(explain);
    assert_eq!(explained.status.code(), Some(0), "{}", printed(&explained));
    assert!(printed(&explained).starts_with("ALLOW: deploy of deployment/s0 (risk)"));
    assert_eq!(desk.run(why).status.code(), Some(1), "it left nothing behind");
    // Decided, and begun.
    let asked = desk.run(&format!("{token}\n{ask}"));
    assert_eq!(asked.status.code(), Some(0), "{}", printed(&asked));
    let told = printed(&desk.run(why));
    assert!(told.starts_with("ALLOW: deploy of deployment/s0 v42 to v43, service s0, asked for by robot/0"), "{told}");
    assert!(told.contains("then: permit issued") && told.contains("then: permit redeemed"), "{told}");
    // A no ends with another code, and its reasons are told afterwards.
    let restart = ask.replace("--action deploy", "--action restart").replace("--from-version v42 --to-version v43", "");
    assert_eq!(desk.run(&restart).status.code(), Some(2));
    let told = printed(&desk.run(why));
    assert!(told.starts_with("DENY: restart of deployment/s0") && told.contains("action_not_allowed: "), "{told}");
    let both = desk.run(&format!("{why} --last 9 --format json"));
    let both: Vec<Value> = serde_json::from_slice(&both.stdout).expect("JSON");
    assert_eq!(both.len(), 2);
    // What it does not know is refused with what it knows, and a daemon that is away is no yes.
    assert_eq!(desk.run("kubectl slowburn halt").status.code(), Some(2));
    assert_eq!(desk.run(&format!("{explain} --redeem")).status.code(), Some(2));
    stage.process.kill();
    assert_eq!(desk.run(ask).status.code(), Some(5));
}
