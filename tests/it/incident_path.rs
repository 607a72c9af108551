//! The way of one night, whole, with the real parts in a real browser: errors, Alertmanager, a receiver, the link in what it got,
//! the SLO opened, the question answered by somebody who signs in, the act, the verdict, and a page that says so when the
//! daemon is gone.

use std::time::Duration;

use serde_json::{Value, json};
use slowburn::clock::Clock;

use crate::harness::alertmanager::Alertmanager;
use crate::harness::browser::Browser;
use crate::harness::issuer::Issuer;
use crate::harness::parts::eventually;
use crate::harness::prometheus::{Past, PromOptions, Prometheus};
use crate::harness::receiver::TestReceiver;
use crate::harness::writer::{STEP_S, Writer};
use crate::sign_in::Desk;

const LIMIT: Duration = Duration::from_secs(120);
/// An approval lives 75 s of the wall's time then, a permit 10 s.
const SPEED: f64 = 12.0;

fn change(from: &str, to: &str, at: i64) -> Value {
    let at = jiff::Timestamp::from_second(at).expect("a moment").to_string();
    json!({"service": "checkout", "resource": "deployment/checkout", "from_version": from, "version": to, "at": at})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_first_error_to_the_verdict_and_a_daemon_that_dies() {
    let desk = Desk::new();
    let base = &desk.base;
    let mut world = TestReceiver::start().await;
    let until = Clock::wall().now().div_euclid(STEP_S) * STEP_S;
    let flags = vec!["--web.enable-remote-write-receiver".to_owned()];
    let options = PromOptions { past: Some(Past::Text(Writer::past(until))), flags, ..PromOptions::default() };
    let routes = format!(
        "route: {{receiver: world, group_by: [alertname], group_wait: 100ms, group_interval: 1s}}\n\
         receivers: [{{name: world, webhook_configs: [{{url: \"{}/page\"}}]}}]\n",
        world.url()
    );
    let redirect_uri = desk.redirect_uri();
    let (prometheus, alertmanager, issuer) =
        tokio::join!(Prometheus::start(options), Alertmanager::start(&routes), Issuer::start(&redirect_uri));
    // The issuer's clock is the wall's: ours begins there, and a token that lives an hour outlives the test.
    let begin = Clock::wall().now();
    let clock = Clock::scaled(begin * 1000, SPEED);
    let writer = Writer::start(&prometheus.url(), until, clock.clone());
    let allowed =
        "  - {type: rollback, max_versions_back: 1, require_approval: true, approvers: [{team: checkout-oncall}]}\n";
    let settings = format!("alertmanagers: [{{url: \"{}\"}}]\nresend: 10s\n", alertmanager.url());
    let now = (clock.now_ms() as f64 / 1000.0).to_string();
    let args = ["--clock-start", &now, "--clock-speed", &SPEED.to_string()].map(str::to_owned);
    let mut daemon = desk.start(&prometheus.url(), issuer.url(), allowed, (&settings, &args));
    desk.ready().await;
    for (from, to, ago) in [("v40", "v41", 3 * 3600), ("v41", "v42", 30)] {
        assert_eq!(desk.post("deployer", "/v1/changes", &change(from, to, clock.now() - ago)).await.0, 200);
    }
    let rollback = json!({
        "service": "checkout", "action": "rollback", "resource": "deployment/checkout", "from_version": "v42",
        "to_version": "v41", "reason": "slo_burn_rate_exceeded", "incident_id": "INC-7",
    });
    // History is read, and nothing burns: no cure is needed.
    let told = desk.told(&rollback, "deny");
    assert!(told.await.to_string().contains("not_"), "a healthy service is not rolled back");
    eventually("history is read", LIMIT, || async {
        let (_, answer) = desk.post("robot", "/v1/decisions?explain", &rollback).await;
        (!answer.to_string().contains("not_warm")).then_some(())
    })
    .await;

    // It breaks. The receiver is told by a real Alertmanager.
    writer.fail(0.9);
    let alert = loop {
        let delivery = world.next_within(LIMIT).await.expect("a page comes");
        let body = delivery.json();
        let firing = body["alerts"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|alert| alert["status"] == "firing" && alert["labels"]["alertname"] == "SLOFastBurn");
        if let Some(alert) = firing {
            break alert.clone();
        }
    };
    let link = alert["generatorURL"].as_str().expect("a link").to_owned();
    assert_eq!(link, format!("{base}/#slo-checkout-availability"));
    let description = alert["annotations"]["description"].as_str().unwrap_or_default();
    assert!(description.contains('%'), "{alert}");

    // Whoever is on call opens it: the SLO, its curve, and the question of the robot.
    let asked = desk.told(&rollback, "needs_approval").await;
    let id = asked["approval"]["id"].as_str().expect("a question").to_owned();
    let browser = Browser::start();
    let tab = browser.tab().await;
    tab.look(1360, 900, false).await;
    tab.open(&link).await;
    let slo = "#slo-checkout-availability";
    tab.until(&format!(
        "document.querySelector('{slo} .pill.fast_burn') && document.querySelector('{slo} figure.curve')"
    ))
    .await;
    tab.until("document.querySelector('.approval a.sign-in')").await;
    tab.click(".approval a.sign-in").await;
    issuer.fill_in(&tab, "ada-4711").await;
    tab.until("document.querySelector('#person b')?.textContent === '@ada'").await;
    tab.until(&format!("location.hash === '{slo}' && document.querySelector('{slo} figure.curve')")).await;
    // What is shown is asked for still: the answer is to this card.
    let card = format!("#approval-{id}");
    tab.until(&format!("document.querySelector('{card} button.yes')")).await;
    tab.click(&format!("{card} button.yes")).await;
    tab.until(&format!("document.querySelector('{card}')?.textContent.includes('granted: not used yet')")).await;

    // The robot acts, by a permit that is good once; the errors end.
    let allowed = desk.told(&rollback, "allow").await;
    let permit = allowed["permit"]["id"].as_str().expect("a permit").to_owned();
    let (_, redeemed) = desk.post("robot", &format!("/v1/permits/{permit}/redeem"), &json!({})).await;
    assert_eq!(redeemed["decision"], "allow", "{redeemed:#}");
    writer.fail(0.0);
    assert_eq!(desk.post("deployer", "/v1/changes", &change("v42", "v41", clock.now())).await.0, 200);
    let (status, answer) =
        desk.post("robot", &format!("/v1/permits/{permit}/outcome"), &json!({"applied": true})).await;
    assert_eq!(status, 200, "{answer}");
    let verdict = "[...document.querySelectorAll('.record')].some((one) => one.textContent.includes('verdict') && one.textContent.includes('improved'))";
    eventually("the act is judged", LIMIT, || async {
        let found = desk.get("/v1/audit?limit=30").await;
        found["records"].as_array()?.iter().any(|record| record["kind"] == "verdict").then_some(())
    })
    .await;
    tab.until(verdict).await;
    let own = |fault: &String| fault.contains(base.as_str());
    assert_eq!(tab.faults().into_iter().filter(own).collect::<Vec<_>>(), Vec::<String>::new());

    // The daemon dies. Within ten seconds of the page's own clock nothing on it looks like a yes.
    tab.eval(
        "window.failedAt = window.greyAt = 0; setInterval(() => { failedAt ||= refusedSince; \
         greyAt ||= document.body.classList.contains('old') ? Date.now() : 0; }, 20); 0",
    )
    .await;
    daemon.kill();
    tab.until("window.greyAt > 0").await;
    let took_ms = tab.eval("greyAt - failedAt").await.as_f64().expect("a number");
    println!("grey {took_ms} ms after nothing was answered");
    assert!((0.0..10_000.0).contains(&took_ms), "{took_ms} ms");
    tab.until("document.title.startsWith('(old)')").await;
    assert_eq!(tab.eval("document.querySelectorAll('.yesno.yes, .approval button:enabled').length").await, 0);
    assert!(tab.texts("#banner").await.join("").contains("what is shown is old"));
}
