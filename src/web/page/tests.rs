//! The page, as text and in a real browser.

use std::path::Path;
use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::Clock;
use crate::web::server::serve_router;
use crate::web::{App, fixture};
use people::Desk;

mod hostile;
mod people;

#[test]
fn text_from_rules_cannot_become_markup() {
    assert_eq!(escape("<b a=\"1\">'&"), "&lt;b a=&quot;1&quot;&gt;&#39;&amp;");
}

#[test]
fn rows_say_unknown_where_nothing_is_known() {
    let rows = rows(&fixture::fleet());
    assert!(rows.contains("<td>llm-gateway-gpu-queue-time</td><td class=\"state unknown\">unknown</td>"), "{rows}");
    assert!(rows.contains("<td>unknown</td><td>absent (no_series)</td>"), "{rows}");
    assert!(rows.contains("-8.00 %"), "an overspent budget is negative: {rows}");
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    for outside in ["src=", "@import", "url(", "href=\"http", "href=\"//"] {
        assert!(!PAGE.contains(outside), "the page names {outside}");
    }
}

/// Lets something be decided here, so that the page asks about it; the folder holds the log.
fn decides(app: &mut App) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let log = crate::audit::Log::open(crate::audit::Options::new(dir.path()), app.clock.clone()).expect("a log");
    let options = crate::gate_service::Options {
        log,
        dir: dir.path().into(),
        clock: app.clock.clone(),
        identities: Default::default(),
        external_url: None,
        follows: false,
    };
    app.gate_service = Some(crate::gate_service::GateService::new(options).expect("a gate"));
    dir
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_draws_every_state_in_a_real_browser() {
    let Some(desk) = Desk::new(fixture::stand(), json!({})).await else { return };
    desk.open("#slo-llm-gateway-availability").await;
    // The series of the SLO that the link names come with an answer of their own.
    desk.tab.until("document.body.innerHTML.includes('>model=mixtral tier=realtime</div>')").await;
    let dom = desk.tab.document().await;
    for state in ["fast burn", "slow burn", "exhausted", "unknown", "ok"] {
        let class = state.replace(' ', "_");
        assert!(
            dom.contains(&format!("<span class=\"pill {class}\">{state}</span>")),
            "no SLO drawn as {state}: {dom}"
        );
    }
    assert!(dom.contains(">live · slice of 09:30 UTC, "), "the stream was not followed: {dom}");
    assert!(dom.contains("<span class=\"percent out\">-8.0 %</span>"), "{dom}");
    assert!(dom.contains("absent: no series") && dom.contains("no sample ever"), "{dom}");
    assert!(dom.contains("<span class=\"sev critical\">SEV-1</span>"), "{dom}");
    assert!(dom.contains("<div class=\"who\">model=mixtral tier=realtime</div>"), "the link opens the series: {dom}");
    assert!(!dom.contains("<script>alert(1)"), "a label became markup: {dom}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/page");
    std::fs::create_dir_all(&folder).expect("the target folder takes files");
    for (name, width, dark) in [("wide", 1360, false), ("phone", 400, false), ("dark", 1360, true)] {
        desk.tab.look(width, 1250, dark).await;
        desk.tab.picture(&folder.join(name).with_extension("png")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_says_when_what_it_shows_is_old_or_not_there_yet() {
    let mut stand = fixture::stand();
    stand.app.clock = Clock::scaled((fixture::AT + 900) * 1000, 1.0);
    let Some(desk) = Desk::new(stand, json!({})).await else { return };
    desk.tab.open(&desk.url).await;
    desk.tab.until("document.body.innerText.includes('Evaluation is 15 min behind: what is shown is old.')").await;
    desk.tab
        .until(
            "document.body.className === 'old' && document.querySelector('#live').innerText.startsWith('not live · ')",
        )
        .await;

    desk.stand.snapshot.send_replace(Arc::default());
    desk.stand.readiness.send_modify(|readiness| readiness.hold("first_evaluation", "reading 30 days of history"));
    desk.tab.open(&desk.url).await;
    desk.tab.until("document.body.innerText.includes('Not ready: reading 30 days of history.')").await;
    desk.tab.until("document.body.innerText.includes('No SLO is evaluated yet.')").await;
}

/// Whether the page calls anything fresh.
const FRESH: &str = "[...document.querySelectorAll('.word')].some((word) => word.innerText === 'fresh')";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_whose_daemon_died_shows_no_yes() {
    let says = json!({"/v1/signals": {"services": [{
        "service": "checkout", "change_state": {"state": "idle"},
        "signals": {"mitigate": {"value": 1, "codes": []}, "risk": {"value": 0, "codes": ["fast_burn"]}},
    }]}});
    let Some(desk) = Desk::new(fixture::stand(), says).await else { return };
    desk.open("").await;
    desk.tab.until("document.body.innerText.includes('mitigate: yes') && document.body.className !== 'old'").await;
    desk.tab.until(&format!("{FRESH} && !document.title.startsWith('(old)')")).await;
    desk.die().await;
    desk.tab.until("document.body.className === 'old' && document.title === '(old) Slowburn'").await;
    let shown = desk.tab.texts("body").await.join("");
    assert!(shown.contains("mitigate: unknown") && !shown.contains("mitigate: yes"), "{shown}");
    assert!(shown.contains("not known any more"), "{shown}");
    assert_eq!(desk.tab.eval(FRESH).await, false, "{shown}");
}
