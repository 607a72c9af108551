//! The night of the demo, as whoever is on call meets it: in the alert, on the page and as JSON it says since when and by
//! how much errors rose, what was changed before, what it was like, and what helped then. Each figure is held against what
//! the simulated fleet really did.

use serde_json::Value;
use slowburn::demo::fleet::{self, Fleet};

use crate::harness::browser::Browser;
use crate::newcomer::{Demo, MINUTE};

const SLI: &str = "checkout-availability";
/// 02:06 UTC on 3 April 2025, and the start of the clock before it.
const CHANGED_AT: i64 = 1_743_645_960;
const BEGAN_AT: i64 = CHANGED_AT - 720;

/// The fleet that the demo shows at its default speed and seed, ill from `onset` on.
fn fleet_ill_from(onset: i64) -> Fleet {
    fleet::fleet(42, BEGAN_AT, 480).ill_from(onset)
}

/// `02:07`.
fn clock(at: i64) -> String {
    format!("{:02}:{:02}", at.rem_euclid(86_400) / 3600, at / 60 % 60)
}

/// What is said of an incident has counts that the scrapes of some moment since its onset show, to the request.
fn holds_of(incident: &Value, changed: i64) {
    let onset = &incident["burns"][0]["onset"];
    let number = |name: &str| onset[name].as_i64().unwrap_or_else(|| panic!("{name} of {incident:#}"));
    let fleet = fleet_ill_from(changed + 60);
    let seen = |from: i64, to: i64| fleet.scenario.scraped(SLI, 0, from, to).expect("an SLI of the fleet");
    let at = number("at");
    assert!((at - (changed + 60)).abs() <= 60, "{at}, and the errors rose at {}", changed + 60);
    let figures = |total: &str, bad: &str| (number(total).unsigned_abs(), number(bad).unsigned_abs());
    let (since, before) = (figures("total", "bad"), figures("total_before", "bad_before"));
    assert!((1..240).any(|n| seen(at, at + n * 30) == since), "{since:?} were never since {at}");
    assert!((1..1440).any(|n| seen(at - n * 30, at) == before), "{before:?} were never before {at}");
    let times = (since.1 as f64 / since.0 as f64) / (before.1 as f64 / before.0 as f64);
    assert!((7.0..9.2).contains(&times), "{times}, and the fleet fails {} times as often", fleet::TIMES);
    let said = incident["burns"][0]["said"].as_str().expect("words");
    let told = said.strip_prefix("error rate ").and_then(|rest| rest.split_once("x since "));
    let (factor, rest) = told.unwrap_or_else(|| panic!("{said}"));
    assert!((factor.parse::<f64>().expect("a number") - times).abs() < 0.06, "{said}: {times}");
    assert!(rest.starts_with(&format!("{} UTC (", clock(changed + 60))), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_night_of_the_demo_says_what_broke_what_changed_and_what_helped_in_january() {
    let demo = Demo::start(&["--speed", "60"]).await;
    demo.tells(&["SEV-1 page sent", "SLOFastBurn on checkout-availability"], 2 * MINUTE).await;
    let open = demo.json("/v1/incidents?service=checkout&open=true").await;
    let id = open["incidents"][0]["id"].as_str().expect("an incident").to_owned();
    let incident = demo.json(&format!("/v1/incidents/{id}")).await;
    let change = &incident["changes"][0]["change"];
    let changed = change["at"].as_i64().expect("a moment");
    // A machine that is too busy to read the past in time begins the story later, and tells it the same.
    assert!(changed >= CHANGED_AT && changed % 60 == 0, "{change}");
    println!("{}", incident["headline"]);
    holds_of(&incident, changed);
    let before = format!(
        "Change before it: configmap/rate-limiter c11 to c12 by release-pipeline at {} UTC, 1m",
        clock(changed)
    );
    let like = "Similar incident: SEV-1 on 2025-01-14 (checkout-20250114T0312Z); mitigation then: revert config and flush \
                cache, which helped";
    let since = format!("x since {} UTC (0.07", clock(changed + 60));

    // As JSON, for agents.
    let similar = &incident["similar"][0];
    assert_eq!((&similar["sev"], &similar["helped"]), (&"SEV-1".into(), &true.into()), "{similar}");
    assert_eq!(similar["mitigation"], "revert config and flush cache");
    assert_eq!((&change["resource"], &change["from_version"]), (&"configmap/rate-limiter".into(), &"c11".into()));
    // In the alert.
    let alerts = demo.json("/v1/alerts").await;
    let fast = alerts
        .as_array()
        .into_iter()
        .flatten()
        .find(|alert| alert["labels"]["alertname"] == "SLOFastBurn" && alert["labels"]["service"] == "checkout");
    let said = &fast.expect("it fires")["annotations"];
    let text = |name: &str| said[name].as_str().unwrap_or_else(|| panic!("{name} of {said:#}")).to_owned();
    assert!(text("description").starts_with("Error rate ") && text("description").contains(&since), "{said:#}");
    assert!(text("change").starts_with(&before), "{said:#}");
    assert_eq!((text("similar").as_str(), text("incident")), (like, id.clone()));
    // On the page.
    let browser = Browser::start();
    let tab = browser.tab().await;
    tab.open(&format!("{}/", demo.page)).await;
    let card = format!("#incident-{id}");
    tab.until(&format!("document.querySelector('{card}')")).await;
    let card = tab.texts(&card).await.join("\n");
    for part in ["SEV-1 checkout", &since, &before, like] {
        assert!(card.contains(part), "{part:?} is not in {card}");
    }
    assert_eq!(tab.faults(), Vec::<String>::new());

    // What helped this time is kept for the next: it stands in the draft, with who said it.
    demo.tells(&["@ada notes what helped: revert config and flush cache"], 2 * MINUTE).await;
    let told = demo.json(&format!("/v1/incidents/{id}")).await;
    // Its timeline is that of the log, in sentences.
    let lines: Vec<&Value> = told["timeline"].as_array().into_iter().flatten().collect();
    let number = |line: &&Value| line["source"].as_str()?.strip_prefix("audit #")?.parse::<u64>().ok();
    let numbers: Vec<u64> = lines.iter().filter_map(number).collect();
    assert!(numbers.len() > 10 && numbers.is_sorted(), "{numbers:?}");
    let act = "configmap/rate-limiter from c12 to c11 in checkout";
    for text in
        [format!("@ada approved a change of {act}"), format!("ai-operator/orca-ops got a permit for rollback of {act}")]
    {
        assert!(
            lines.iter().any(|line| line["text"].as_str().is_some_and(|line| line.starts_with(&text))),
            "{text}: {told:#}"
        );
    }
    let draft = told["draft"].to_string();
    assert!(draft.contains("Mitigation: revert config and flush cache [said by @ada at 2025-04-03T"), "{draft}");
}
