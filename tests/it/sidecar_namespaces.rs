//! A sidecar in a network of its own, as in a pod: the app beside it asks it on loopback, the fleet's daemon with its Prometheus and
//! its Alertmanager is at the other end of a wire, and the wire is cut. Network namespaces are the kernel's own, made by `ip netns`;
//! that needs root, and without it the test fails.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::gate_stage::{Stage, of_the_wall};
use crate::harness::alertmanager::{Alertmanager, SILENT};
use crate::harness::parts::{Process, eventually, free_port};

/// How many times as fast as the wall everything runs: a poll takes a second.
const SPEED: f64 = 30.0;
const LIMIT: Duration = Duration::from_secs(60);
/// So long an answer may be believed: two polls, in the time of the daemon.
const BELIEVED_S: i64 = 60;

fn ip(words: &str) -> bool {
    let done = Command::new("ip").args(words.split(' ')).output().expect("ip (Debian: iproute2) is there");
    if !done.status.success() {
        println!("ip {words}: {}", String::from_utf8_lossy(&done.stderr));
    }
    done.status.success()
}

/// A network with a wire to that of the test; it ends with it.
struct Pod {
    name: String,
    /// Address of the test's end of the wire.
    outside: String,
}

impl Pod {
    fn new() -> Self {
        let own = std::process::id();
        let (name, wire) = (format!("slowburn-{own}"), format!("sb{}", own % 100_000));
        // One of the 16,384 networks of four addresses in 100.127.0.0/16, which no network of people has.
        let place = own % 16_384;
        let address = |n: u32| format!("100.127.{}.{}", place / 64, place % 64 * 4 + n);
        let pod = Pod { name, outside: address(1) };
        let (name, inside, outside) = (&pod.name, address(2), &pod.outside);
        let made = ip(&format!("netns add {name}"))
            && ip(&format!("link add {wire}a type veth peer name {wire}b netns {name}"))
            && ip(&format!("addr add {outside}/30 dev {wire}a"))
            && ip(&format!("link set {wire}a up"))
            && ip(&format!("-n {name} addr add {inside}/30 dev {wire}b"))
            && ip(&format!("-n {name} link set {wire}b up"))
            && ip(&format!("-n {name} link set lo up"));
        assert!(
            made,
            "no network namespace can be made: run this test as root, or in `unshare --map-root-user --net --mount`"
        );
        pod
    }

    /// Cuts the wire, or mends it. Nobody at either end is told.
    fn wire(&self, state: &str) {
        let wire = format!("sb{}", std::process::id() % 100_000);
        assert!(ip(&format!("-n {} link set {wire}b {state}", self.name)));
    }

    fn start(&self, words: &[&str], log: &Path) -> Process {
        let within = ["netns", "exec", &self.name, env!("CARGO_BIN_EXE_slowburn")];
        Process::start(Path::new("ip"), within.iter().chain(words), log)
    }

    /// What the app beside the sidecar is told.
    fn ask(&self, url: &str) -> Option<Value> {
        let words = ["netns", "exec", &self.name, "curl", "-s", "-m", "5", url];
        let done = Command::new("ip").args(words).output().expect("ip is there");
        serde_json::from_slice(&done.stdout).ok()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.name));
    }
}

/// Alerts that the fleet's Alertmanager holds: when each began, and until when it is held, by service and name.
async fn held(alertmanager: &Alertmanager) -> BTreeMap<String, (String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let alerts = alertmanager.alerts().await.into_iter();
    alerts
        .map(|alert| {
            let labels = &alert["labels"];
            let name = format!("{}/{}", text(&labels["service"]), text(&labels["alertname"]));
            (name, (text(&alert["startsAt"]), text(&alert["endsAt"])))
        })
        .collect()
}

/// Waits for this signal of a deploy with this reason. Whatever is said meanwhile is of a word that may be believed.
async fn until(pod: &Pod, url: &str, what: &str, value: i64, reason: &str) -> Value {
    eventually(what, LIMIT, || async {
        let answer = pod.ask(&format!("{url}/v1/signals/s0"))?;
        let known = answer["signals"]["risk"]["value"] != -1;
        let silent_s = answer["mirror"]["silent_s"].as_i64();
        assert!(!known || silent_s.is_some_and(|silent_s| silent_s <= BELIEVED_S), "{answer}");
        (answer["signals"]["risk"]["value"] == value && answer["mirror"]["reason"] == reason).then_some(answer)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_in_a_pod_never_says_a_stale_yes_when_its_wire_is_cut() {
    let pod = Pod::new();
    let alertmanager = Alertmanager::start(SILENT).await;
    // An Alertmanager lives by the wall.
    let mut stage = Stage::at(of_the_wall(), 1, None, SPEED, ["", ""]).await;
    // The fleet's daemon is reached from other machines: under the name that they use, by who can show who they are.
    stage.process.kill();
    let settings = std::fs::read_to_string(stage.path("slowburn.yaml")).expect("readable");
    let settings = settings
        .replace("listen: 127.0.0.1:", "listen: 0.0.0.0:")
        .replace("requests_per_minute", &format!("hosts: [\"{}\"], requests_per_minute", pod.outside));
    let told = format!("{settings}alertmanagers: [{{url: \"{}\"}}]\n", alertmanager.url());
    std::fs::write(stage.path("slowburn.yaml"), told).expect("writable");
    // Another service of the fleet burns: what is a success for the one is an error for it.
    let burning = "name: other\nowner: team\nslo:\n  availability:\n    objective: 99.9\n    window: 1d\n    sli: \
                   {total: 'http_requests_total{service=\"s0\"}', bad: 'http_requests_total{service=\"s0\",code=\"200\"}'}\n";
    std::fs::write(stage.path("rules/other.yaml"), burning).expect("writable");
    stage.restart();
    let source = stage.url().replace("127.0.0.1", &pod.outside);
    assert!(pod.ask(&format!("{}/v1/signals/s0", stage.url())).is_none(), "the pod has a loopback of its own");
    std::fs::write(stage.path("sidecar.token"), "token-of-robot/0\n").expect("writable");
    let follow = format!("follow: {{url: \"{source}\", service: s0, bearer_token_file: sidecar.token}}\n");
    std::fs::write(stage.path("sidecar.yaml"), follow).expect("writable");
    let (listen, speed) = (format!("127.0.0.1:{}", free_port()), SPEED.to_string());
    let now = (stage.clock().now_ms() as f64 / 1000.0).to_string();
    let config = stage.path("sidecar.yaml").display().to_string();
    let words = ["run", "--config", &config, "--listen", &listen, "--clock-start", &now, "--clock-speed", &speed];
    let beside = pod.start(&words, &stage.path("sidecar.log"));
    let url = format!("http://{listen}");

    until(&pod, &url, "a yes through the wire", 1, "none").await;
    // A person stops changes at the daemon: the app in the pod is told.
    let order = json!({"scope": {"service": "s0"}, "reason": "INC-7", "for_s": 86_400});
    let (status, halt) = stage.wire().post("@ada", "/v1/halts", &order).expect("an answer");
    assert_eq!(status, 200, "{halt}");
    until(&pod, &url, "the halt", 0, "none").await;
    let resume = format!("/v1/halts/{}/resume", halt["id"].as_str().expect("an id"));
    assert_eq!(stage.wire().post("@ada", &resume, &json!({"reason": "over"})).expect("an answer").0, 200);
    until(&pod, &url, "a yes again", 1, "none").await;

    let before = eventually("the fleet's alert arrives", LIMIT, || async {
        let held = held(&alertmanager).await;
        held.contains_key("other/SLOFastBurn").then_some(held)
    })
    .await;
    assert!(before.keys().all(|name| name.starts_with("other/")), "nothing else burns: {before:?}");

    pod.wire("down");
    let cut = Instant::now();
    // While it is cut the halt is given again: what the app hears is never the yes of before for longer than two polls.
    let (status, halt) = stage.wire().post("@ada", "/v1/halts", &order).expect("an answer");
    assert_eq!(status, 200, "{halt}");
    until(&pod, &url, "the cut is noticed", -1, "source_silent").await;
    println!("unknown {:.1?} after the wire was cut; two polls are 2 s here", cut.elapsed());
    // The daemon's own wire is whole: its alert is the same one, held for longer. A sidecar tells nobody of anything.
    let begun = |held: &BTreeMap<String, (String, String)>| -> Vec<(String, String)> {
        held.iter().map(|(name, (begun, _))| (name.clone(), begun.clone())).collect()
    };
    let during = eventually("the alert is held for longer", LIMIT, || async {
        let held = held(&alertmanager).await;
        (held["other/SLOFastBurn"].1 > before["other/SLOFastBurn"].1).then_some(held)
    })
    .await;
    assert_eq!(begun(&during)[..], begun(&before)[..], "neither another alert nor another beginning");
    // An objective is edited meanwhile. The wire is mended, and the sidecar catches up with both by itself.
    let rules = stage.path("rules/s0.yaml");
    let text = std::fs::read_to_string(&rules).expect("readable").replace("99.9", "99.5");
    std::fs::write(&rules, text).expect("writable");
    stage.process.signal("HUP");
    pod.wire("up");
    until(&pod, &url, "the halt, once the wire is whole", 0, "none").await;
    eventually("the new objective", LIMIT, || async {
        let slo = pod.ask(&format!("{url}/v1/slos/s0-availability"))?;
        (slo["objective"] == 99.5).then_some(())
    })
    .await;
    let after = held(&alertmanager).await;
    assert!(after["other/SLOFastBurn"].1 > during["other/SLOFastBurn"].1, "and so it goes on: {after:?}");
    assert_eq!(begun(&after)[..], begun(&before)[..]);
    println!("a sidecar in its own network had at most {:.1} MB", beside.rss_peak_bytes() as f64 / 1e6);
}
