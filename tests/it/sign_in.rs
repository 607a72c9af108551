//! People sign in at a real issuer with a real browser, answer a question of the real gate, and sign out.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use slowburn::clock::Clock;
use slowburn::web::auth::session::Sessions;

use crate::harness::browser::Browser;
use crate::harness::issuer::{CLIENT, Issuer};
use crate::harness::parts::{Process, eventually, free_port, http};
use crate::harness::prometheus::{Past, PromOptions, Prometheus};
use crate::harness::writer::{STEP_S, Writer};

const LIMIT: Duration = Duration::from_secs(90);

/// The SHA-256 of the token of somebody, as the identities file has it.
fn hash(name: &str) -> String {
    Sha256::digest(format!("token-of-{name}")).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A daemon of `checkout` at whose page people sign in, in a folder of its own.
pub struct Desk {
    /// Where the page is.
    pub base: String,
    dir: tempfile::TempDir,
    port: u16,
}

impl Desk {
    pub fn new() -> Self {
        let port = free_port();
        Desk { base: format!("http://127.0.0.1:{port}"), dir: tempfile::tempdir().expect("a temporary folder"), port }
    }

    /// Where the issuer sends people back to.
    pub fn redirect_uri(&self) -> String {
        format!("{}/auth/callback", self.base)
    }

    /// Starts it. `allowed` are rows of the policy; `more` are settings, and arguments.
    pub fn start(&self, prometheus: &str, issuer: &str, allowed: &str, more: (&str, &[String])) -> Process {
        let write = |name: &str, text: &str| std::fs::write(self.dir.path().join(name), text).expect("writable");
        std::fs::create_dir_all(self.dir.path().join("rules")).expect("writable");
        let m = "http_requests_total{service=\"checkout\"";
        let slo = format!(
            "name: checkout\nowner: team\nslo:\n  availability:\n    objective: 99.9\n    window: 1d\n    \
             sli: {{total: '{m}}}', bad: '{m},code=\"500\"}}'}}\n"
        );
        write("rules/checkout.yaml", &slo);
        write(
            "rules/policy.yaml",
            &format!("service: checkout\nallowed_actions:\n{allowed}safety_checks: []\nsettle: 6m\n"),
        );
        let identities = format!(
            "identities:\n  - {{name: \"@ada\", class: human, teams: [checkout-oncall], oidc_subjects: [ada-4711], token_sha256: [{}]}}\n  \
             - {{name: robot, class: robot, token_sha256: [{}]}}\n  - {{name: deployer, class: pipeline, token_sha256: [{}]}}\n",
            hash("@ada"),
            hash("robot"),
            hash("deployer")
        );
        write("identities.yaml", &identities);
        write("oidc.secret", CLIENT.1);
        let settings = format!(
            "prometheus: {{url: \"{prometheus}\"}}\nlisten: 127.0.0.1:{}\nexternal_url: {}\nresolution: 10s\n\
             poll_interval: 10s\ndata_dir: data\nauth:\n  identities: identities.yaml\n  oidc:\n    issuer: {issuer}\n    \
             client_id: {}\n    client_secret_file: oidc.secret\n    scopes: [groups]\n    \
             groups: {{claim: groups, rights: {{sre: [halt, resume]}}}}\n{}",
            self.port, self.base, CLIENT.0, more.0
        );
        write("slowburn.yaml", &settings);
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let args = ["run", "--config", &path("slowburn.yaml"), "--rules", &path("rules")].map(str::to_owned);
        let log = self.dir.path().join("log");
        Process::start(Path::new(env!("CARGO_BIN_EXE_slowburn")), args.into_iter().chain(more.1.iter().cloned()), &log)
    }

    /// Waits until it is ready.
    pub async fn ready(&self) {
        eventually("the daemon is ready", LIMIT, || async {
            let answer = http().get(format!("{}/readyz", self.base)).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// Somebody with a token posts.
    pub async fn post(&self, who: &str, path: &str, body: &Value) -> (u16, Value) {
        let asked = http().post(format!("{}{path}", self.base)).bearer_auth(format!("token-of-{who}"));
        let answer = asked.json(body).send().await.expect("the daemon answers");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    /// Anybody reads.
    pub async fn get(&self, path: &str) -> Value {
        let answer = http().get(format!("{}{path}", self.base)).send().await.expect("the daemon answers");
        answer.json().await.expect("JSON")
    }

    /// Waits until the robot is told this when it asks.
    pub async fn told(&self, request: &Value, decision: &str) -> Value {
        eventually(&format!("the robot is told {decision}"), LIMIT, || async {
            let (_, answer) = self.post("robot", "/v1/decisions", request).await;
            (answer["decision"] == decision).then_some(answer)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_signs_in_at_a_real_issuer_approves_and_signs_out() {
    let desk = Desk::new();
    let base = &desk.base;
    let until = Clock::wall().now().div_euclid(STEP_S) * STEP_S;
    let flags = vec!["--web.enable-remote-write-receiver".to_owned()];
    let past = Some(Past::Text(Writer::past(until)));
    let options = PromOptions { past, flags, ..PromOptions::default() };
    let redirect_uri = desk.redirect_uri();
    let (prometheus, mut issuer) = tokio::join!(Prometheus::start(options), Issuer::start(&redirect_uri));
    let _writer = Writer::start(&prometheus.url(), until, Clock::wall());
    let allowed = "  - {type: deploy, require_approval: true, approvers: [{team: checkout-oncall}]}\n";
    // It says all that it can say.
    let loud = ["--log-level", "trace"].map(str::to_owned);
    let daemon = desk.start(&prometheus.url(), issuer.url(), allowed, ("", &loud));
    desk.ready().await;
    let change =
        json!({"service": "checkout", "resource": "deployment/checkout", "from_version": "v41", "version": "v42"});
    assert_eq!(desk.post("deployer", "/v1/changes", &change).await.0, 200);
    let deploy = json!({
        "service": "checkout", "action": "deploy", "resource": "deployment/checkout", "from_version": "v42",
        "to_version": "v43", "reason": "release 4711",
    });
    let asked = desk.told(&deploy, "needs_approval");
    let id = asked.await["approval"]["id"].as_str().expect("a question").to_owned();

    let browser = Browser::start();
    let tab = browser.tab().await;
    tab.look(1360, 900, false).await;
    tab.open(&format!("{base}/#slo-checkout-availability")).await;
    // A person who is not in the file is told so, and is nobody.
    tab.until("document.querySelector('#person a.sign-in')").await;
    tab.click("#person a.sign-in").await;
    issuer.fill_in(&tab, "mallory").await;
    tab.until("location.pathname === '/auth/callback' && document.querySelector('h1')").await;
    let told = tab.texts("main").await.join("\n");
    assert!(told.contains("sub \"mallory\", who is nobody here") && told.contains("oidc_subjects"), "{told}");
    let own = |fault: &String| fault.contains(base);
    let faults = || tab.faults().into_iter().filter(own).filter(|fault| !fault.contains("403")).collect::<Vec<_>>();
    assert_eq!(faults(), Vec::<String>::new(), "but for the status that it is told with");
    tab.click("main a[href='/']").await;
    tab.until("document.querySelector('#person a.sign-in')").await;
    // The issuer still has a session of her own; another browser is another person.
    drop(browser);
    let browser = Browser::start();
    let tab = browser.tab().await;
    tab.look(1360, 900, false).await;
    tab.open(&format!("{base}/#slo-checkout-availability")).await;
    tab.until("document.querySelector('.approval a.sign-in')").await;
    tab.click(".approval a.sign-in").await;
    issuer.fill_in(&tab, "ada-4711").await;
    // Back where she was, with the SLO of the link opened.
    tab.until("document.querySelector('#person b')?.textContent === '@ada'").await;
    assert_eq!(tab.eval("location.href").await, format!("{base}/#slo-checkout-availability"));
    let session = tab.eval("fetch('/auth/session').then((answer) => answer.json())").await;
    assert_eq!(session["person"]["rights"], json!(["halt", "resume"]), "what her groups have: {session}");
    assert_eq!(tab.eval("document.cookie").await, "", "no script reads a cookie");
    tab.until(
        "document.querySelector('.approval button.yes') && !document.querySelector('.approval input[type=password]')",
    )
    .await;
    tab.click(".approval input[aria-label='reason for the answer']").await;
    tab.type_text("seen").await;
    tab.click(".approval button.yes").await;
    tab.until("document.querySelector('.approval')?.textContent.includes('granted: not used yet')").await;
    let shown: Value =
        http().get(format!("{base}/v1/approvals/{id}")).send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!((&shown["state"], &shown["votes"][0]["by"]), (&json!("granted"), &json!("@ada")), "{shown}");
    let (status, answer) = desk.post("robot", "/v1/decisions", &deploy).await;
    assert_eq!((status, &answer["decision"]), (200, &json!("allow")), "{answer}");

    // The issuer goes away: who is signed in stays so, and whoever has a token goes on.
    issuer.kill();
    assert_eq!(tab.eval("fetch('/auth/session').then((answer) => answer.json())").await["person"]["name"], "@ada");
    let halt = json!({"scope": {"service": "checkout"}, "for_s": 300, "reason": "a token goes on"});
    let (status, answer) = desk.post("@ada", "/v1/halts", &halt).await;
    assert_eq!(status, 200, "{answer}");
    tab.click("#person button").await;
    tab.until("document.querySelector('#person a.sign-in')").await;
    let own = |fault: &String| fault.contains(base);
    assert_eq!(tab.faults().into_iter().filter(own).collect::<Vec<_>>(), Vec::<String>::new());

    // Nothing that is secret reached the log.
    let log = daemon.log();
    assert!(log.contains("signed in") && log.contains("TRACE"), "{log}");
    for secret in [CLIENT.1, "slowburn-session", "code=", "id_token", "token-of-"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

/// Two daemons share a log and a key of sessions: a person who signed in at one is known where the other decides, and only of
/// what the page itself sends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_in_counts_at_whichever_replica_decides() {
    const KEY: &str = "0123456789abcdef0123456789abcdef0123456789ab";
    let dir = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("writable");
    std::fs::create_dir_all(dir.path().join("rules")).expect("writable");
    write(
        "rules/checkout.yaml",
        "name: checkout\nowner: team\nslo:\n  availability: {objective: 99.9, sli: {total: a_total, bad: b_total}}\n",
    );
    write("identities.yaml", "identities:\n  - {name: \"@ada\", class: human, oidc_subjects: [ada-4711]}\n");
    write("session.key", KEY);
    let ports = [free_port(), free_port()];
    let page = format!("http://127.0.0.1:{}", ports[0]);
    let issuer = "http://127.0.0.1:1/never-asked";
    let path = |name: &str| dir.path().join(name).display().to_string();
    let start = |port: u16| {
        let settings = format!(
            "prometheus: {{url: \"http://127.0.0.1:1\"}}\nlisten: 127.0.0.1:{port}\nexternal_url: {page}\ndata_dir: data-{port}\n\
             audit: {{dir: shared/audit, advertise: \"http://127.0.0.1:{port}\"}}\nauth:\n  identities: identities.yaml\n  \
             oidc: {{issuer: {issuer}, client_id: slowburn, session_key_file: session.key}}\n"
        );
        write(&format!("{port}.yaml"), &settings);
        let args = ["run", "--config", &path(&format!("{port}.yaml")), "--rules", &path("rules"), "--no-backfill"];
        Process::start(Path::new(env!("CARGO_BIN_EXE_slowburn")), args, &dir.path().join(format!("{port}.log")))
    };
    let _daemons = ports.map(start);
    // What a replica would have sealed. Whoever has the key can be anybody, so it is a secret.
    let bound_to = format!("{issuer}\nslowburn");
    let url = page.parse().expect("a URL");
    let now = Clock::wall().now();
    let cookie = |key: &str| {
        let sessions = Sessions::new(Some(key), &bound_to, &url, 8 * 3600).expect("a key");
        let cookie = sessions.start("ada-4711", None, now).expect("a cookie");
        cookie.to_str().expect("text").split(';').next().expect("a pair").to_owned()
    };
    let halt = |n: usize| json!({"scope": {"service": "checkout"}, "for_s": 300, "reason": format!("halt {n}")});
    let sent = |port: u16, cookie: String, origin: Option<String>, n: usize| async move {
        let mut request =
            http().post(format!("http://127.0.0.1:{port}/v1/halts")).header("cookie", cookie).json(&halt(n));
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let answer = request.send().await.ok()?;
        let forwarded = answer.headers().contains_key("x-slowburn-leader");
        Some((answer.status().as_u16(), forwarded, answer.text().await.unwrap_or_default()))
    };
    let mut forwarded = Vec::new();
    for (n, port) in ports.into_iter().enumerate() {
        let own = Some(format!("http://127.0.0.1:{port}"));
        let taken = eventually("a halt is taken", LIMIT, || async {
            let (status, forwarded, text) = sent(port, cookie(KEY), own.clone(), n).await?;
            (status == 200).then_some((forwarded, text))
        });
        let (by_other, text) = taken.await;
        assert!(text.contains("@ada"), "{text}");
        forwarded.push(by_other);
        // Not of a link or of another site's page, and not under another key.
        assert_eq!(sent(port, cookie(KEY), None, n).await.map(|(status, ..)| status), Some(401));
        assert_eq!(
            sent(port, cookie(KEY), Some("http://evil.example".into()), n).await.map(|(status, ..)| status),
            Some(403)
        );
        let other = "another key of 32 bytes or more, of nobody";
        assert_eq!(sent(port, cookie(other), own, n).await.map(|(status, ..)| status), Some(401));
    }
    assert!(forwarded.contains(&true) && forwarded.contains(&false), "one decides, one sends on: {forwarded:?}");
}
