//! The harness itself: data goes into the real servers and comes out again.

use std::time::{Duration, Instant};

use serde_json::json;
use slowburn::clock::Clock;

use crate::harness::alertmanager::{self, Alertmanager};
use crate::harness::exporter::Exporter;
use crate::harness::fault_proxy::{Fault, FaultProxy};
use crate::harness::parts::{Generation, eventually, http};
use crate::harness::prometheus::{Past, PromOptions, Prometheus};

const LIMIT: Duration = Duration::from_secs(20);

/// Two counters over an hour, one sample every 30 s.
fn past(start: i64) -> String {
    let mut text = String::from("# TYPE requests counter\n");
    for code in ["200", "500"] {
        for step in 0..=120 {
            text += &format!("requests_total{{code=\"{code}\"}} {} {}\n", 10 * step, start + 30 * step);
        }
    }
    text + "# EOF\n"
}

#[tokio::test]
async fn past_samples_become_blocks_that_can_be_queried() {
    let start = 1_700_000_000;
    for (generation, samples) in [(Generation::Oldest, 242.0), (Generation::Middle, 242.0), (Generation::Newest, 240.0)]
    {
        let past = Some(Past::Text(past(start)));
        let prometheus = Prometheus::start(PromOptions { generation, past, ..Default::default() }).await;
        let at = Some((start + 3600) as f64);
        assert_eq!(prometheus.number("sum(requests_total)", at).await, Some(2_400.0));
        let counted = prometheus.number("sum(count_over_time(requests_total[1h]))", at).await;
        let version = generation.version("prometheus");
        println!("Prometheus {version}: {counted:?}");
        assert_eq!(
            counted,
            Some(samples),
            "{version}: up to 2.x both ends of a range count, from 3.0 on only the last"
        );
    }
}

#[tokio::test]
async fn an_exporter_is_scraped_goes_down_and_starts_anew() {
    let exporter = Exporter::start().await;
    exporter.add("requests_total{code=\"200\"}", 41.0);
    exporter.add("requests_total{code=\"200\"}", 1.0);
    let targets = vec![("app".to_owned(), exporter.address())];
    let prometheus = Prometheus::start(PromOptions { targets, ..Default::default() }).await;
    let reads = async |query: &str, want: Option<f64>| {
        let reads = || async { (prometheus.number(query, None).await == want).then_some(()) };
        eventually(&format!("{query} is {want:?}"), LIMIT, reads).await;
    };
    reads("requests_total{code=\"200\", job=\"app\"}", Some(42.0)).await;
    exporter.set_up(false);
    reads("up", Some(0.0)).await;
    exporter.restart();
    exporter.set_up(true);
    reads("requests_total", Some(0.0)).await;
    exporter.add("requests_total{code=\"500\"}", 1.0);
    reads("count(requests_total)", Some(2.0)).await;
}

#[tokio::test]
async fn a_prometheus_can_be_killed_hung_and_started_again_with_its_data() {
    let start = Clock::wall().now() - 7200;
    let options = PromOptions { past: Some(Past::Text(past(start))), ..Default::default() };
    let mut prometheus = Prometheus::start(options).await;
    let url = format!("{}/-/ready", prometheus.url());
    let answers = async || http().get(&url).timeout(Duration::from_secs(1)).send().await;

    prometheus.kill();
    assert!(!answers().await.expect_err("killed").is_timeout());
    prometheus.restart().await;
    assert_eq!(prometheus.number("sum(requests_total)", Some((start + 3600) as f64)).await, Some(2_400.0));

    prometheus.hang();
    assert!(answers().await.expect_err("hung").is_timeout());
    prometheus.resume();
    assert!(answers().await.expect("resumed").status().is_success());
}

#[tokio::test]
async fn the_proxy_counts_samples_and_bytes_and_hides_that_it_does() {
    let start = 1_700_000_000;
    let prometheus = Prometheus::start(PromOptions { past: Some(Past::Text(past(start))), ..Default::default() }).await;
    let proxy = FaultProxy::start(&prometheus.url()).await;
    let query = [("query", "requests_total[5m]"), ("time", "1700003600")];
    let direct = http().get(format!("{}/api/v1/query", prometheus.url())).query(&query).send().await;
    let direct = direct.expect("an answer").text().await.expect("text");

    // Both ends of a range count, or only the last.
    let samples = if Generation::default() == Generation::Newest { 20 } else { 22 };
    let get = http().get(format!("{}/api/v1/query", proxy.url())).query(&query);
    let post = http().post(format!("{}/api/v1/query", proxy.url())).form(&query);
    for request in [get, post] {
        let through = request.send().await.expect("an answer").text().await.expect("text");
        assert_eq!(through, direct);
        let traffic = proxy.take_traffic();
        assert_eq!((traffic.queries(), traffic.samples), (1, samples), "10 or 11 samples of each series");
        assert_eq!(traffic.bytes, direct.len() as u64);
        assert!(traffic.peak_samples >= 10);
    }
}

#[tokio::test]
async fn the_proxy_breaks_answers_as_told() {
    let start = 1_700_000_000;
    let prometheus = Prometheus::start(PromOptions { past: Some(Past::Text(past(start))), ..Default::default() }).await;
    let proxy = FaultProxy::start(&prometheus.url()).await;
    let in_a_minute = if Generation::default() == Generation::Newest { 4 } else { 6 };
    let ask = async |query: &str| {
        let form = [("query", query), ("time", "1700003600")];
        let request = http().post(format!("{}/api/v1/query", proxy.url())).form(&form);
        let answer = request.timeout(Duration::from_millis(800)).send().await?;
        Ok::<_, reqwest::Error>((answer.status().as_u16(), answer.text().await?))
    };
    let plain = ask("requests_total").await.expect("an answer").1;

    proxy.set(Fault::Hang);
    assert!(ask("requests_total").await.expect_err("hung").is_timeout());
    proxy.set(Fault::Slow(Duration::from_millis(300)));
    let asked = Instant::now();
    assert_eq!(ask("requests_total").await.expect("late").1, plain);
    assert!(asked.elapsed() >= Duration::from_millis(300));
    proxy.set(Fault::Html);
    assert!(ask("requests_total").await.expect("a page").1.starts_with("<!doctype html>"));
    proxy.set(Fault::Half);
    assert!(!ask("requests_total").await.expect_err("half").is_timeout());
    proxy.set(Fault::Error);
    assert_eq!(ask("requests_total").await.expect("an error").0, 500);
    proxy.set(Fault::NotANumber);
    assert_eq!(ask("requests_total").await.expect("NaN").1.matches("\"NaN\"").count(), 2);
    assert_eq!(ask("requests_total[1m]").await.expect("NaN").1.matches("\"NaN\"").count(), in_a_minute);
    proxy.set(Fault::Infinite);
    assert_eq!(ask("requests_total").await.expect("Inf").1.matches("\"+Inf\"").count(), 2);
    proxy.set(Fault::Shrunken);
    assert_eq!(ask("requests_total").await.expect("fewer").1.matches("\"metric\"").count(), 1);
    proxy.set(Fault::None);
    assert_eq!(ask("requests_total").await.expect("an answer").1, plain);
}

#[tokio::test]
async fn an_alertmanager_takes_alerts_and_loses_them_with_its_process() {
    let mut alertmanager = Alertmanager::start(alertmanager::SILENT).await;
    let alerts = json!([{ "labels": { "alertname": "Test" } }]);
    let sent = http().post(format!("{}/api/v2/alerts", alertmanager.url())).json(&alerts).send().await;
    assert_eq!(sent.expect("an answer").status(), 200);
    assert_eq!(alertmanager.alerts().await[0]["labels"], json!({ "alertname": "Test" }));
    alertmanager.kill();
    alertmanager.restart().await;
    assert!(alertmanager.alerts().await.is_empty());
}
