//! The receivers that are shipped (`deploy/alertmanager`), in a real Alertmanager: what Slack, PagerDuty and Rootly are sent.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use slowburn::clock::Clock;

use crate::harness::alertmanager::Alertmanager;
use crate::harness::parts;
use crate::harness::receiver::TestReceiver;
use crate::notify_alertmanager::{notifier, page, quick, snapshot};

fn shipped() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/alertmanager")
}

#[test]
fn amtool_finds_nothing_wrong_with_what_is_shipped() {
    for file in ["alertmanager.yaml", "receivers.yaml"] {
        amtool_likes(&shipped().join(file));
    }
}

#[test]
fn amtool_finds_nothing_wrong_with_what_the_pages_show() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/incidents.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let blocks: Vec<&str> = blocks.filter(|block| block.starts_with("route:")).collect();
    assert_eq!(blocks.len(), 1);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), blocks[0]).expect("writable");
    amtool_likes(file.path());
}

fn amtool_likes(file: &Path) {
    let out = Command::new(parts::part("amtool")).arg("check-config").arg(file).output().expect("amtool runs");
    let said = [out.stdout, out.stderr].concat();
    assert!(out.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&said));
}

/// The shipped file, with the addresses of the test in place of the world's. Keys stand in `dir`.
fn receivers(dir: &Path, world: &str) -> String {
    let text = std::fs::read_to_string(shipped().join("receivers.yaml")).expect("it is shipped");
    for (name, secret) in [
        ("slack-webhook", format!("{world}/slack")),
        ("pagerduty-key", "key".to_owned()),
        ("opsgenie-key", "key".to_owned()),
        ("rootly-token", "token".to_owned()),
    ] {
        std::fs::write(dir.join(name), secret).expect("a file");
    }
    let text = text
        .replace("/etc/alertmanager/secrets", &dir.display().to_string())
        .replace("[slowburn.tmpl]", &format!("[{}]", shipped().join("slowburn.tmpl").display()))
        .replace("https://webhooks.rootly.com", world)
        .replace("http://alerts.internal", world);
    format!("global: {{pagerduty_url: \"{world}/pagerduty\", opsgenie_api_url: \"{world}/opsgenie\"}}\n{text}")
}

/// Words of users call nobody, and the link leads to the SLO.
#[tokio::test]
async fn a_page_reaches_slack_pagerduty_and_rootly_with_its_story_and_its_link() {
    let mut world = TestReceiver::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let peer = Alertmanager::start(&receivers(dir.path(), &world.url())).await;
    let (notifier, _stop) = notifier(&[&peer], &quick());
    let mut alert = page("checkout", Clock::wall().now() - 90);
    let texts = [
        ("summary", "checkout burns <!channel> & more \u{202e}live\u{200b}"),
        ("description", "Error rate 8.1x since 02:07 UTC (0.04% -> 0.33%), 1,240 of 375,000 events bad."),
        ("change", "Change before it: configmap/rate-limiter c11 to c12 at 02:06 UTC, 1m before the errors"),
        ("similar", "Similar incident: SEV-1 on 2025-01-14; mitigation then: revert config and flush cache"),
    ];
    alert.annotations.extend(texts.map(|(name, text)| (name.to_owned(), text.to_owned())));
    let mut labels: Vec<(String, String)> =
        alert.labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    labels.iter_mut().filter(|(name, _)| name == "sev").for_each(|(_, value)| *value = "SEV-2 <!here>\u{202e}".into());
    alert.labels = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    notifier.publish(snapshot(&[alert]));
    let mut got: BTreeMap<String, Value> = BTreeMap::new();
    while got.len() < 3 {
        let Some(delivery) = world.next_within(Duration::from_secs(40)).await else {
            panic!("only {:?} came", got.keys())
        };
        let to = delivery.uri.path().split('/').nth(1).unwrap_or_default().to_owned();
        got.insert(to, delivery.json());
    }
    let link = "http://slo.example:9595/#slo-checkout-availability";
    let slack = &got["slack"]["attachments"][0];
    assert_eq!(slack["title_link"], link);
    let text = slack["text"].as_str().expect("a text");
    assert!(!text.contains(['\u{202e}', '\u{200b}']) && text.contains("more live"), "{text:?}");
    // The title has words of others too: their alerts may come by the same template.
    for name in ["title", "fallback"] {
        let title = slack[name].as_str().expect("a title");
        assert!(!title.contains(['<', '>', '\u{202e}']) && title.contains("&lt;!here&gt;"), "{title:?}");
    }
    assert!(text.contains("checkout burns &lt;!channel&gt; &amp; more") && !text.contains('<'), "{text}");
    for part in ["Error rate 8.1x since 02:07 UTC", "configmap/rate-limiter", "revert config and flush cache"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let pagerduty = &got["pagerduty"];
    assert_eq!((&pagerduty["client_url"], &pagerduty["payload"]["severity"]), (&link.into(), &"critical".into()));
    assert_eq!(pagerduty["payload"]["component"], "checkout-availability");
    assert_eq!(got["webhooks"]["alerts"][0]["annotations"]["slo_url"], link, "Rootly");
}
