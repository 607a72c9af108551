//! The page, as text and in a real browser.

use std::path::Path;
use std::process::{Command, Stdio};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::web::fixture;

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

/// Runs Chromium headless on `url` with `arguments` and a profile of its own; `None` where there is no Chromium and
/// this is not a CI run.
async fn chromium(url: &str, profile: &Path, arguments: &[&str]) -> Option<String> {
    let quiet = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
    ];
    let mut command = Command::new("timeout");
    command.args(["90", "chromium"]).args(quiet).arg(format!("--user-data-dir={}", profile.display()));
    command.args(arguments).arg(url).stdin(Stdio::null()).stderr(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
    let output = output.expect("coreutils' timeout runs");
    match output.status.code() {
        // What `timeout` says when there is no such command.
        Some(127) if std::env::var_os("CI").is_none() => {
            eprintln!("not run: there is no chromium");
            None
        }
        code => {
            assert_eq!(code, Some(0), "chromium failed (127: not installed, 124: hung)");
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
    }
}

/// Serves the canned fleet; pictures of it are left in the target folder for whoever wants to look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_draws_every_state_in_a_real_browser() {
    let stand = fixture::stand();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
    let stop = CancellationToken::new();
    let server = tokio::spawn(crate::web::serve(listener, stand.app.clone(), stop.clone()));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/page");
    let profile = folder.join(format!("profile-{}", std::process::id()));
    std::fs::create_dir_all(&profile).expect("the target folder takes files");

    let dom = chromium(&url, &profile, &["--timeout=4000", "--dump-dom"]).await;
    for (name, size) in [("wide", "1360,1150"), ("phone", "400,1600")] {
        let picture = format!("--screenshot={}", folder.join(name).with_extension("png").display());
        chromium(&url, &profile, &["--timeout=4000", &picture, &format!("--window-size={size}")]).await;
    }
    std::fs::remove_dir_all(&profile).ok();
    stop.cancel();
    server.await.expect("no panic");
    let Some(dom) = dom else { return };
    drop(stand);
    for state in ["fast burn", "slow burn", "exhausted", "unknown", "ok"] {
        let class = state.replace(' ', "_");
        assert!(
            dom.contains(&format!("<span class=\"pill {class}\">{state}</span>")),
            "no SLO drawn as {state}: {dom}"
        );
    }
    assert!(dom.contains(">live · slice of "), "the stream was not followed: {dom}");
    assert!(dom.contains("<span class=\"percent out\">-8.0 %</span>"), "{dom}");
    assert!(dom.contains("absent: no series") && dom.contains("no sample ever"), "{dom}");
    assert!(dom.contains("<span class=\"sev critical\">SEV-1</span>"), "{dom}");
    assert!(!dom.contains("<script>alert(1)"), "a label became markup: {dom}");
}
