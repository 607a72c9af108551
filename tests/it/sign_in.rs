//! People sign in at a real issuer with a real browser, answer a question of the real gate, and sign out.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use slowburn::clock::Clock;

use crate::harness::browser::Browser;
use crate::harness::issuer::{CLIENT, Issuer};
use crate::harness::parts::{Process, eventually, free_port, http};
use crate::harness::prometheus::{Past, PromOptions, Prometheus};

const LIMIT: Duration = Duration::from_secs(90);
const HOUR: i64 = 3600;

/// The SHA-256 of the token of somebody, as the identities file has it.
fn hash(name: &str) -> String {
    Sha256::digest(format!("token-of-{name}")).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a service did in the six hours before `now`, and goes on to do.
fn past(now: i64) -> String {
    let mut text = "# TYPE http_requests_total counter\n".to_owned();
    for (code, gain) in [("200", 100), ("500", 0)] {
        for (n, at) in (now - 6 * HOUR..now + HOUR).step_by(10).enumerate() {
            let labels = format!("service=\"checkout\",job=\"j\",instance=\"i\",code=\"{code}\"");
            text += &format!("http_requests_total{{{labels}}} {} {at}\n", gain * n);
        }
    }
    text + "# EOF\n"
}

async fn post(base: &str, who: &str, path: &str, body: &Value) -> (u16, Value) {
    let asked = http().post(format!("{base}{path}")).bearer_auth(format!("token-of-{who}")).json(body).send().await;
    let answer = asked.expect("the daemon answers");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

/// The daemon with a policy by which each deploy needs a yes of checkout-oncall.
fn start(dir: &Path, port: u16, prometheus: &str, issuer: &str) -> Process {
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).expect("writable");
    std::fs::create_dir_all(dir.join("rules")).expect("writable");
    let m = "http_requests_total{service=\"checkout\"";
    write(
        "rules/checkout.yaml",
        &format!(
            "name: checkout\nowner: team\nslo:\n  availability:\n    objective: 99.9\n    window: 1d\n    \
             sli: {{total: '{m}}}', bad: '{m},code=\"500\"}}'}}\n"
        ),
    );
    write(
        "rules/policy.yaml",
        "service: checkout\nallowed_actions:\n  \
         - {type: deploy, require_approval: true, approvers: [{team: checkout-oncall}]}\nsafety_checks: []\n",
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
    write(
        "slowburn.yaml",
        &format!(
            "prometheus: {{url: \"{prometheus}\"}}\nresolution: 10s\npoll_interval: 10s\nlisten: 127.0.0.1:{port}\nexternal_url: http://127.0.0.1:{port}\n\
             data_dir: data\nauth:\n  identities: identities.yaml\n  oidc:\n    issuer: {issuer}\n    client_id: {}\n    \
             client_secret_file: oidc.secret\n    scopes: [groups]\n    \
             groups: {{claim: groups, rights: {{sre: [halt, resume]}}}}\n",
            CLIENT.0
        ),
    );
    let path = |name: &str| dir.join(name).display().to_string();
    let args = ["run", "--config", &path("slowburn.yaml"), "--rules", &path("rules")];
    Process::start(Path::new(env!("CARGO_BIN_EXE_slowburn")), args, &dir.join("log"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_signs_in_at_a_real_issuer_approves_and_signs_out() {
    let now = Clock::wall().now();
    let past = Some(Past::Text(past(now)));
    let port = free_port();
    let base = format!("http://127.0.0.1:{port}");
    let redirect_uri = format!("{base}/auth/callback");
    let options = PromOptions { past, ..PromOptions::default() };
    let (prometheus, mut issuer) = tokio::join!(Prometheus::start(options), Issuer::start(&redirect_uri));
    let dir = tempfile::tempdir().expect("a temporary folder");
    let daemon = start(dir.path(), port, &prometheus.url(), issuer.url());
    eventually("the daemon is ready", LIMIT, || async {
        let answer = http().get(format!("{base}/readyz")).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    let change =
        json!({"service": "checkout", "resource": "deployment/checkout", "from_version": "v41", "version": "v42"});
    assert_eq!(post(&base, "deployer", "/v1/changes", &change).await.0, 200);
    let deploy = json!({
        "service": "checkout", "action": "deploy", "resource": "deployment/checkout", "from_version": "v42",
        "to_version": "v43", "reason": "release 4711",
    });
    let asked = eventually("a deploy asks a person", LIMIT, || async {
        let (_, answer) = post(&base, "robot", "/v1/decisions", &deploy).await;
        (answer["decision"] == "needs_approval").then_some(answer)
    });
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
    let (status, answer) = post(&base, "robot", "/v1/decisions", &deploy).await;
    assert_eq!((status, &answer["decision"]), (200, &json!("allow")), "{answer}");

    // The issuer goes away: who is signed in stays so, and whoever has a token goes on.
    issuer.kill();
    assert_eq!(tab.eval("fetch('/auth/session').then((answer) => answer.json())").await["person"]["name"], "@ada");
    let halt = json!({"scope": {"service": "checkout"}, "for_s": 300, "reason": "a token goes on"});
    let (status, answer) = post(&base, "@ada", "/v1/halts", &halt).await;
    assert_eq!(status, 200, "{answer}");
    tab.click("#person button").await;
    tab.until("document.querySelector('#person a.sign-in')").await;
    let own = |fault: &String| fault.contains(&base);
    assert_eq!(tab.faults().into_iter().filter(own).collect::<Vec<_>>(), Vec::<String>::new());

    // Nothing that is secret reached the log.
    let log = daemon.log();
    assert!(log.contains("signed in"), "{log}");
    for secret in [CLIENT.1, "slowburn-session", "code=", "id_token", "token-of-"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}
