//! The page, as text and in a real browser.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::Clock;
use crate::web::server::serve_router;
use crate::web::{App, fixture};

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

/// Adds an image that takes 3 s: Chromium dumps a document when it is loaded, and the script needs a moment after that.
async fn load_late(mut request: Request, next: Next) -> Response {
    request.headers_mut().remove(header::ACCEPT_ENCODING);
    let is_page = request.uri().path() == "/";
    let (mut head, body) = next.run(request).await.into_parts();
    if !is_page {
        return Response::from_parts(head, body);
    }
    let policy = head.headers[header::CONTENT_SECURITY_POLICY].to_str().expect("text");
    let policy = policy.replace("img-src data:", "img-src data: 'self'").parse().expect("text");
    head.headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    head.headers.remove(header::CONTENT_LENGTH);
    let body = to_bytes(body, 1 << 20).await.expect("a body");
    Response::from_parts(head, [&body, &b"<img src=\"/late\" alt=\"\">"[..]].concat().into())
}

/// What Chromium makes of the page of `app`: its document, and a picture of each of `pictures` (name, size, more
/// arguments), which is left in the target folder for whoever wants to look.
async fn browse(app: App, fragment: &str, pictures: &[(&str, &str, &str)]) -> Option<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/{fragment}", listener.local_addr().expect("it is bound"));
    let stop = CancellationToken::new();
    let (limits, stopped) = (app.limits.clone(), stop.clone());
    let late = get(|| tokio::time::sleep(Duration::from_secs(3)));
    let router = crate::web::router(app, stop.clone()).route("/late", late).layer(from_fn(load_late));
    let server = tokio::spawn(async move { serve_router(listener, router, &limits, None, stopped).await });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/page");
    let profile = folder.join(format!("profile-{}-{}", std::process::id(), pictures[0].0));
    std::fs::create_dir_all(&profile).expect("the target folder takes files");
    let dom = chromium(&url, &profile, &["--timeout=15000", "--dump-dom"]).await;
    for (name, size, more) in pictures {
        let picture = format!("--screenshot={}", folder.join(name).with_extension("png").display());
        let url = url.trim_end_matches(fragment);
        chromium(url, &profile, &["--timeout=15000", &picture, &format!("--window-size={size}"), more]).await;
    }
    std::fs::remove_dir_all(&profile).ok();
    stop.cancel();
    server.await.expect("no panic");
    dom
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_draws_every_state_in_a_real_browser() {
    let stand = fixture::stand();
    let pictures = [
        ("wide", "1360,1250", "--mute-audio"),
        ("phone", "400,1600", "--mute-audio"),
        ("dark", "1360,1250", "--blink-settings=preferredColorScheme=0"),
    ];
    let Some(dom) = browse(stand.app.clone(), "#slo-llm-gateway-availability", &pictures).await else { return };
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
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_says_when_what_it_shows_is_old_or_not_there_yet() {
    let mut stand = fixture::stand();
    stand.app.clock = Clock::scaled((fixture::AT + 900) * 1000, 1.0);
    let Some(dom) = browse(stand.app.clone(), "", &[("old", "1360,600", "--mute-audio")]).await else { return };
    assert!(dom.contains("Evaluation is 15 min behind: what is shown is old."), "{dom}");
    assert!(dom.contains("<body class=\"old\">") && dom.contains(">not live · "), "{dom}");

    stand.snapshot.send_replace(Arc::default());
    stand.readiness.send_modify(|readiness| readiness.hold("first_evaluation", "reading 30 days of history"));
    let dom = browse(stand.app.clone(), "", &[("empty", "800,300", "--mute-audio")]).await.expect("as before");
    assert!(dom.contains("Not ready: reading 30 days of history."), "{dom}");
    assert!(dom.contains("No SLO is evaluated yet."), "{dom}");
}

/// A gate that says yes, and a picture from `page_from` on the page.
async fn with_a_yes(mut request: Request, next: Next, page_from: String) -> Response {
    request.headers_mut().remove(header::ACCEPT_ENCODING);
    match request.uri().path() {
        "/v1/signals" => axum::Json(serde_json::json!({"services": [{
            "service": "checkout", "change_state": {"state": "idle"},
            "signals": {"mitigate": {"value": 1, "codes": []}, "risk": {"value": 0, "codes": ["fast_burn"]}},
        }]}))
        .into_response(),
        "/" => {
            let (mut head, body) = next.run(request).await.into_parts();
            let policy = head.headers[header::CONTENT_SECURITY_POLICY].to_str().expect("text");
            let policy = policy.replace("img-src data:", &format!("img-src data: {page_from}")).parse().expect("text");
            head.headers.insert(header::CONTENT_SECURITY_POLICY, policy);
            head.headers.remove(header::CONTENT_LENGTH);
            let body = to_bytes(body, 1 << 20).await.expect("a body");
            let picture = format!("<img src=\"{page_from}/late\" alt=\"\">");
            Response::from_parts(head, [&body, picture.as_bytes()].concat().into())
        }
        _ => next.run(request).await,
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

/// Serves the page with a gate that says yes, and dies while it is open; a picture from elsewhere keeps the document
/// loading until the page had time to notice.
async fn browse_a_daemon_that_dies(app: App) -> Option<String> {
    let picture = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let alive = format!("http://{}", picture.local_addr().expect("it is bound"));
    let late = axum::Router::new().route("/late", get(|| tokio::time::sleep(Duration::from_secs(13))));
    let pictures = tokio::spawn(async move { axum::serve(picture, late).await });

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
    let stop = CancellationToken::new();
    let (limits, stopped, page_from) = (app.limits.clone(), stop.clone(), alive.clone());
    let signals = move |request: Request, next: Next| with_a_yes(request, next, page_from.clone());
    let router = crate::web::router(app, stop.clone()).layer(from_fn(signals));
    let server = tokio::spawn(async move { serve_router(listener, router, &limits, None, stopped).await });
    let dies = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        stop.cancel();
        server.await.expect("no panic");
    });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/page");
    let profile = folder.join(format!("profile-{}-dies", std::process::id()));
    std::fs::create_dir_all(&profile).expect("the target folder takes files");
    let dom = chromium(&url, &profile, &["--timeout=30000", "--dump-dom"]).await;
    std::fs::remove_dir_all(&profile).ok();
    dies.await.expect("no panic");
    pictures.abort();
    dom
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_whose_daemon_died_shows_no_yes() {
    let mut stand = fixture::stand();
    let _log = decides(&mut stand.app);
    let Some(dom) = browse_a_daemon_that_dies(stand.app.clone()).await else { return };
    assert!(dom.contains("<body class=\"old\">") && dom.contains("<title>(old) Slowburn</title>"), "{dom}");
    assert!(dom.contains("mitigate: unknown") && !dom.contains("mitigate: yes"), "{dom}");
    assert!(dom.contains("not known any more") && !dom.contains("<span class=\"word\">fresh</span>"), "{dom}");
}
