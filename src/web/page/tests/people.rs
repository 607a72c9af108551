//! What people do with the page, in a real browser: follow a link, type, wait, work by keyboard, use a phone; and what one
//! open tab costs.

use std::sync::Mutex;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::*;
use crate::engine::SloState;
use crate::web::fixture::{AT, Stand};

#[path = "../../../../tests/it/harness/browser.rs"]
mod browser;

use browser::{Browser, Tab};

/// Everything about one stand in a browser.
pub(super) struct Desk {
    pub stand: Stand,
    pub gate: Arc<Mutex<Value>>,
    pub url: String,
    stop: CancellationToken,
    server: Mutex<Option<JoinHandle<()>>>,
    _browser: Browser,
    _log: Option<tempfile::TempDir>,
    pub tab: Tab,
}

impl Desk {
    /// Serves a stand whose gate says what `gate` has, by path; `None` where there is no Chromium and this is not a CI run.
    pub async fn new(mut stand: Stand, gate: Value) -> Option<Self> {
        if browser::installed().is_none() && std::env::var_os("CI").is_none() {
            eprintln!("not run: there is no chromium");
            return None;
        }
        let has_gate = gate.as_object().is_some_and(|said| !said.is_empty());
        let log = has_gate.then(|| decides(&mut stand.app));
        let gate = Arc::new(Mutex::new(gate));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
        let stop = CancellationToken::new();
        let (limits, stopped, told) = (stand.app.limits.clone(), stop.clone(), Arc::clone(&gate));
        let says = move |request: Request, next: Next| {
            let said = told.lock().expect("no panic holds it").get(request.uri().path()).cloned();
            async move {
                match said {
                    Some(said) => axum::Json(said).into_response(),
                    None => next.run(request).await,
                }
            }
        };
        let router = crate::web::router(stand.app.clone(), stop.clone()).layer(from_fn(says));
        let server = tokio::spawn(async move { serve_router(listener, router, &limits, None, stopped).await });
        let browser = Browser::start();
        let tab = browser.tab().await;
        tab.look(1360, 900, false).await;
        let server = Mutex::new(Some(server));
        Some(Desk { stand, gate, url, stop, server, _browser: browser, _log: log, tab })
    }

    pub async fn open(&self, fragment: &str) {
        self.tab.open(&format!("{}{fragment}", self.url)).await;
        self.tab.until("document.querySelector('#live.on') && document.querySelector('.slo .pill')").await;
        self.drawn().await;
    }

    /// The daemon goes away under the open page.
    pub async fn die(&self) {
        self.stop.cancel();
        let server = self.server.lock().expect("no panic holds it").take();
        server.expect("it dies once").await.expect("no panic");
    }

    /// Waits until nothing is left to be drawn.
    async fn drawn(&self) {
        self.tab.until("undrawn === 0 && !document.querySelector('.slo.waits')").await;
    }

    /// What went wrong in the page; that this stand has no ledger to draw curves of is none of it.
    pub fn faults(&self) -> Vec<String> {
        self.tab.faults().into_iter().filter(|fault| !fault.contains("/history.svg")).collect()
    }

    /// A snapshot of the next evaluation, as `change` leaves it.
    fn evaluate(&self, change: impl FnOnce(&mut Snapshot)) {
        self.stand.snapshot.send_modify(|snapshot| {
            let mut next = Snapshot::clone(snapshot);
            next.at += 30;
            for entry in &mut next.slos {
                let mut series = entry.series.to_vec();
                series.iter_mut().for_each(|series| series.at += 30);
                entry.series = series.into();
            }
            change(&mut next);
            *snapshot = Arc::new(next);
        });
    }

    fn gate(&self, path: &str, says: Value) {
        self.gate.lock().expect("no panic holds it")[path] = says;
        // A reader asks again after an evaluation.
        self.evaluate(|_| {});
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A gate with a question that waits, a verdict, and what people said.
fn gate(left_s: i64) -> Value {
    let moment = |at: i64| jiff::Timestamp::from_second(at).expect("a moment").to_string();
    let record = |seq: u64, kind: &str, actor: &str, reason: Option<&str>, rest: Value| {
        let mut record = json!({
            "log": {"seq": seq}, "time": moment(AT), "kind": kind, "actor": actor, "action": "rollback",
            "resource": "deployment/checkout", "from_version": "v42", "to_version": "v41", "reason": reason,
        });
        record.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        record
    };
    json!({
        "/v1/signals": {"services": [{
            "service": "checkout", "change_state": {"state": "idle"},
            "signals": {"mitigate": {"value": 1, "codes": []}, "risk": {"value": 0, "codes": ["fast_burn"]}},
        }]},
        "/v1/halts": {"halts": []},
        "/v1/approvals": {"approvals": [{
            "id": "apr_1", "state": "pending", "asked_by": "orca", "actor": "robot/sub", "have": 0, "need": 1, "from": ["team:checkout-oncall"],
            "expires_at": moment(AT + 21 + left_s), "observed": {"version": "v42"}, "covers": ["rollback"], "votes": [],
            "claimed_reason": "<img src=x onerror=alert(1)> \u{202e}live <!channel>",
            "context": {
                "alerts": [{"name": "DiskFull", "summary": "95 % full", "since": moment(AT), "told_by": "am", "told_at": moment(AT)}],
                "silences": [{"id": "s", "by": "bob", "comment": "moved", "since": moment(AT), "until": moment(AT + 600)}],
                "left_out": 3,
            },
            "action": {
                "type": "rollback", "service": "checkout-api", "resource": "deployment/checkout", "from_version": "v42", "to_version": "v41",
                "arguments": {"percent": 20, "region": "<eu>"}, "digest": "d",
            },
        }]},
        "/v1/audit": {"records": [
            record(17, "verdict", "slowburn", Some("1.2 % before, 0.03 % after"), json!({"event": {"verdict": {"outcome": "improved"}}})),
            record(16, "approval", "@ada", Some("the database is the cause <b>"), json!({})),
        ]},
    })
}

/// A fleet of `services` services with two SLOs each, of which each fiftieth burns fast.
fn many(services: usize) -> Snapshot {
    let fleet = fixture::fleet();
    let pattern = &fleet.slos[0];
    let mut all = Snapshot { slos: Vec::new(), ..fleet.clone() };
    all.alerts.clear();
    for service in 0..services {
        for name in ["availability", "latency"] {
            let mut slo = crate::engine::Slo::clone(&pattern.slo);
            slo.service = format!("svc-{service:03}");
            slo.name = name.to_owned();
            slo.id = format!("{}-{name}", slo.service);
            slo.owner = format!("team-{}", service % 7);
            let mut series = pattern.series.to_vec();
            for one in &mut series {
                one.state = if service % 50 == 7 && name == "availability" { SloState::FastBurn } else { SloState::Ok };
                one.window.total = 40_000_000 + (service * 7919) as u64;
                one.window.bad = 1000 + (service * 31) as u64;
                one.budget_remaining = Some(0.9 - service as f64 / 1700.0);
            }
            all.slos.push(crate::engine::SloSnapshot {
                slo: Arc::new(slo),
                series: series.into(),
                notes: Arc::default(),
                whole: None,
            });
        }
    }
    all.slos.sort_by(|a, b| a.slo.id.cmp(&b.slo.id));
    all
}

/// An evaluation in which every counter of a busy fleet moved.
fn moved(snapshot: &mut Snapshot) {
    for (n, entry) in snapshot.slos.iter_mut().enumerate() {
        let mut series = entry.series.to_vec();
        for one in &mut series {
            one.data.newest = one.data.newest.map(|newest| newest + 30);
            one.window.total += 1200 + (n as u64 * 17) % 500;
            one.window.bad += (n as u64 * 13) % 4;
            let wave = 1.0 + ((n * 37 % 100) as f64) / 1000.0;
            for clause in &mut one.clauses {
                clause.burn_long = clause.burn_long.map(|burn| burn * wave);
                clause.burn_short = clause.burn_short.map(|burn| burn * wave * wave);
            }
            one.budget_remaining = one.budget_remaining.map(|left| left - 0.000_1 * wave);
        }
        entry.series = series.into();
    }
}

/// Milliseconds from navigation until something could be read.
const FIRST_PAINT: &str = "Math.round(performance.getEntriesByName('first-contentful-paint')[0]?.startTime)";
/// Notes every task of over 50 ms, from the navigation on.
const WATCH_TASKS: &str = "window.tasks = []; new PerformanceObserver((list) => tasks.push(...list.getEntries()))\
    .observe({type: 'longtask', buffered: true}); 0";
/// The longest task noted since this was last asked, in milliseconds; 0 where none took 50.
const LONGEST_TASK: &str = "new Promise((done) => setTimeout(() => done(Math.round(Math.max(0, ...tasks.splice(0)\
    .map((task) => task.duration)))), 200))";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slos_are_shown_worst_first_and_cost_a_tab_little() {
    let stand = fixture::stand();
    stand.snapshot.send_replace(Arc::new(many(500)));
    let Some(desk) = Desk::new(stand, json!({})).await else { return };
    desk.open("#slo-svc-499-latency").await;
    let tab = &desk.tab;
    // All that burn are drawn though only 400 rows are; and the one that the link led to, in sight.
    assert_eq!(tab.eval("document.querySelectorAll('.slo .pill.fast_burn').length").await, 10);
    let in_sight = "(() => { const box = document.getElementById('slo-svc-499-latency').getBoundingClientRect(); \
                    return box.top >= 0 && box.bottom <= innerHeight; })()";
    tab.until(in_sight).await;
    assert!(tab.eval("document.querySelectorAll('.slo').length").await.as_u64().is_some_and(|rows| rows <= 401));

    tab.eval(WATCH_TASKS).await;
    let longest = tab.eval(LONGEST_TASK).await;
    let (busy, layouts) = (tab.metric("TaskDuration").await, tab.metric("LayoutCount").await);

    // Two evaluations a minute, in which all counts moved.
    let before = tab.received();
    for _ in 0..2 {
        desk.evaluate(moved);
        let newest = desk.stand.snapshot.borrow().at;
        tab.until(&format!("slos[0].series[0].at === {newest}")).await;
    }
    let taken = tab.received() - before;
    // Times are printed for whoever measures, and judged by nobody here.
    let (paint, loading) = (tab.eval(FIRST_PAINT).await, longest.as_f64().unwrap_or_default());
    let evaluating = tab.eval(LONGEST_TASK).await.as_f64().unwrap_or_default();
    let busy = (tab.metric("TaskDuration").await - busy) * 1000.0;
    let layouts = tab.metric("LayoutCount").await - layouts;
    println!("until 1,000 SLOs are drawn: first paint {paint} ms, longest task {loading} ms");
    println!(
        "two evaluations of them: {taken} bytes, {busy:.0} ms of CPU, longest task {evaluating} ms, {layouts} layouts"
    );
    // A layout for each row makes tasks of a second.
    assert!(layouts <= 60.0, "{layouts} layouts");
    assert!(taken > 10_000, "nothing was counted: {taken}");
    assert!(taken <= 200_000, "{taken} bytes a minute");

    // What did not change stays the node that it was.
    desk.drawn().await;
    tab.eval("window.kept = [...document.querySelectorAll('.slo')].map((one) => [one, one.firstChild]); 0").await;
    desk.evaluate(|snapshot| {
        let mut series = snapshot.slos[15].series.to_vec();
        series[0].budget_remaining = Some(0.123);
        snapshot.slos[15].series = series.into();
    });
    let changed = &desk.stand.snapshot.borrow().slos[15].slo.id.clone();
    tab.until(&format!("slos.some((slo) => slo.id === '{changed}' && slo.series[0].budget_remaining === 0.123)")).await;
    tab.until("document.body.textContent.includes('12.3 % left') || !document.getElementById('slo-' + slos[15].id)")
        .await;
    let redrawn =
        tab.eval("kept.filter(([one, child]) => !one.isConnected || one.firstChild !== child).map(([one]) => one.id)");
    let redrawn: Vec<String> = serde_json::from_value(redrawn.await).expect("a list");
    // The open one has a curve that ends now.
    assert!(redrawn.iter().all(|id| *id == format!("slo-{changed}") || id == "slo-svc-499-latency"), "{redrawn:?}");
    assert_eq!(desk.faults(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_type_wait_and_work_by_keyboard_while_the_page_goes_on() {
    let Some(desk) = Desk::new(fixture::stand(), gate(95)).await else { return };
    desk.open("?slo=llm-gateway-availability").await;
    let tab = &desk.tab;
    // A link of an alert opens the SLO with all its series.
    tab.until("document.getElementById('slo-llm-gateway-availability').querySelectorAll('.series .row').length === 4")
        .await;

    // What became of an act, and why people said no, in words.
    let records = tab.texts(".record").await.join("\n");
    assert!(records.contains("improved") && records.contains("1.2 % before, 0.03 % after"), "{records}");
    assert!(records.contains("the database is the cause <b>"), "{records}");
    // Words of others are text.
    let claim = tab.texts(".approval").await.join("\n");
    assert!(claim.contains("<img src=x onerror=alert(1)>") && claim.contains("<!channel>"), "{claim}");
    // All that an approval binds to is shown: of which service, who asks under which name, and with what.
    for part in ["of service checkout-api", "asked by orca as robot/sub", "percent", "20", "<eu>"] {
        assert!(claim.contains(part), "{part}: {claim}");
    }
    // And what they say of the service stands beside the question.
    for part in ["meanwhile: alert DiskFull", "95 % full", "alerts are silenced until", "by bob: moved", "3 more"] {
        assert!(claim.contains(part), "{part}: {claim}");
    }
    assert_eq!(tab.eval("document.querySelectorAll('#gate img, #gate b b, #gate script').length").await, 0);

    // A token holds slashes, which are no shortcut while somebody types.
    tab.click("input[aria-label='your token']").await;
    tab.type_text("abc/def").await;
    assert_eq!(tab.eval("[token, document.getElementById('filter').value]").await, json!(["abc/def", ""]));
    // What is typed outlives what the gate says meanwhile, caret and all.
    tab.click("input[aria-label='reason for the answer']").await;
    tab.type_text("becase").await;
    tab.eval("document.activeElement.setSelectionRange(4, 4)").await;
    desk.gate("/v1/halts", json!({"halts": [{"scope": "global", "actors": ["robot"], "owner": "@ada", "until": "2026-03-02T10:00:00Z", "reason": "INC-7 <i>"}]}));
    tab.until("document.querySelector('.halt')").await;
    tab.type_text("u").await;
    assert_eq!(tab.eval("document.activeElement.value").await, "because");
    assert_eq!(tab.eval("document.activeElement.getAttribute('aria-label')").await, "reason for the answer");

    // Whoever works by keyboard stays where they are while everything is drawn anew.
    tab.eval("document.querySelector('#slo-checkout-availability button.expand').focus()").await;
    desk.evaluate(moved);
    let newest = desk.stand.snapshot.borrow().at;
    tab.until(&format!("slos[0].series[0].at === {newest}")).await;
    desk.drawn().await;
    let focused = "document.activeElement.closest('.slo')?.id + ' ' + document.activeElement.className";
    assert_eq!(tab.eval(focused).await, "slo-checkout-availability expand");
    // The shortcut works where nobody types.
    tab.type_text("/").await;
    assert_eq!(tab.eval("document.activeElement.id").await, "filter");

    // The time that is left of a question runs.
    tab.until("document.querySelector('.approval time.soon')?.textContent.match(/ s left$/)").await;
    assert_eq!(desk.faults(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_its_limit_and_held_says_so_and_a_gate_without_a_policy_is_not_shown() {
    let stand = fixture::stand();
    let nothing = json!({
        "/v1/signals": {"services": []}, "/v1/halts": {"halts": []}, "/v1/approvals": {"approvals": []},
        "/v1/audit": {"records": [{"log": {"seq": 0}, "time": "2026-03-02T09:30:00Z", "kind": "acted", "actor": "slowburn", "action": "boot"}]},
    });
    let Some(desk) = Desk::new(stand, nothing).await else { return };
    desk.evaluate(|snapshot| {
        let mut series = snapshot.slos[0].series.to_vec();
        let clause = &mut series[0].clauses[0];
        (clause.burn_long, clause.burn_short, clause.firing, clause.chance) =
            (Some(20.0), Some(20.0), false, Some(0.003));
        snapshot.slos[0].series = series.into();
    });
    desk.open("").await;
    let shown = desk.tab.texts("#slo-checkout-availability .burn").await.join("\n");
    assert!(shown.contains("over the limit, held: may be chance (3 in 1,000)"), "{shown}");
    desk.tab.until("typeof gateText === 'string' && gateText !== ''").await;
    assert_eq!(desk.tab.eval("document.getElementById('gate').hidden").await, true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_can_read_the_page_on_three_widths_and_in_both_themes() {
    let mut says = gate(900);
    says["/auth/session"] = json!({"issuer": "https://sso.example.com", "person": null});
    let Some(desk) = Desk::new(fixture::stand(), says).await else { return };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/parts/axe.min.js");
    let axe = std::fs::read_to_string(file).expect("axe-core is not there: tests/parts fetches it");
    desk.open("?slo=llm-gateway-availability").await;
    let tab = &desk.tab;
    tab.until("document.querySelector('#person a.sign-in') && document.querySelector('.approval a.sign-in')").await;
    for (width, dark) in [(1360, false), (1360, true), (768, false), (768, true), (360, false), (360, true)] {
        tab.look(width, 900, dark).await;
        let wide = tab.eval("document.documentElement.scrollWidth").await;
        assert!(wide.as_u64().is_some_and(|wide| wide <= u64::from(width)), "{width} px: scrolls sideways, {wide} px");
        tab.eval(&format!("{axe}; 0")).await;
        let found = tab.eval("axe.run(document, {resultTypes: ['violations']}).then((result) => result.violations.map((one) => \
            [one.id, one.impact, one.nodes.slice(0, 5).map((node) => node.html.slice(0, 200) + ' ' + node.failureSummary)]))");
        let found = found.await;
        let all = found.as_array().expect("a list");
        let serious: Vec<&Value> = all.iter().filter(|one| one[1] == "serious" || one[1] == "critical").collect();
        println!("{width} dark={dark}: {all:#?}");
        assert!(serious.is_empty(), "{width} px, dark={dark}: {serious:#?}");
    }
}
