//! Every query of the dashboards made for Sloth and Pyrra, on a real Prometheus that scrapes Slowburn: answered, and
//! with what the API says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use slowburn::app::evaluation::{Health, add_wholes, evaluate};
use slowburn::clock::Clock;
use slowburn::engine::alert::AlertMachine;
use slowburn::engine::status::{DataHealth, DataReason, DataState};
use slowburn::engine::{Ledger, Slo, Snapshot};
use slowburn::telemetry::compat::{Compat, SLOTH_WINDOWS_S};
use slowburn::web::{Info, exposition};

use crate::daemon::{Driven, options};
use crate::fleet;
use crate::harness::parts::{Process, eventually, free_port, http};
use crate::harness::prometheus::{Past, PromOptions, Prometheus};

const LIMIT: Duration = Duration::from_secs(60);
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;
const COMPAT: Compat = Compat { sloth: true, sloth_alerts: true, pyrra: true };

/// How a panel asks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Asks {
    Instant,
    Range,
}

/// What the answer is for one SLO (or for all of them, where the query names none).
#[derive(Debug, Clone, Copy, PartialEq)]
enum Right {
    Objective,
    /// Length of the window, seconds.
    Window,
    /// 1 - error ratio over `${sli_window}`.
    Sli,
    Info,
    /// Burn rate of 5 minutes.
    Burn,
    /// The same, of those over `${min_burning_rate}`.
    BurnOver,
    Remaining,
    Availability,
    /// 1 where this alert fires, else 0.
    Page,
    Ticket,
    /// What is left of this calendar month by the hourly ratios.
    Month,
    /// A number whatever Slowburn says.
    Ideal,
    Slos,
    Services,
    MeanBurn,
    /// Whether any fires.
    AnyPage,
    AnyTicket,
    /// A second, over the last 5 minutes.
    Requests,
    Errors,
    /// A counter of what was read since the start: at least nothing.
    Counted,
}

use Asks::{Instant, Range};

/// Sloth's detail dashboard (grafana.com 14348), revisions of 2021 and of today, panel by panel.
const SLOTH_DETAIL: [(&str, Asks, Right, &str); 14] = [
    ("Exceeded burning rate SLOs", Instant, Right::BurnOver, "slo:current_burn_rate:ratio > ${min_burning_rate}"),
    ("All burning rate", Range, Right::BurnOver, "slo:current_burn_rate:ratio > ${min_burning_rate}"),
    ("title", Instant, Right::Objective, r#"slo:objective:ratio{sloth_service="${service}", sloth_slo="${slo}"}"#),
    (
        "SLI",
        Range,
        Right::Sli,
        r#"1 - (max(slo:sli_error:ratio_rate${sli_window}{sloth_service="${service}", sloth_slo="${slo}"}) OR on() vector(0))"#,
    ),
    (
        "SLI: objective",
        Range,
        Right::Objective,
        r#"slo:objective:ratio{sloth_service="${service}", sloth_slo="${slo}"}"#,
    ),
    ("objective", Instant, Right::Info, r#"sloth_slo_info{sloth_service="${service}", sloth_slo="${slo}"}"#),
    (
        "Current burning budget %",
        Instant,
        Right::Burn,
        r#"slo:current_burn_rate:ratio{sloth_service="${service}", sloth_slo="${slo}"} or on() vector(0)"#,
    ),
    ("Remaining error budget (month)", Instant, Right::Month, MONTH),
    (
        "Remaining error budget (30d window)",
        Instant,
        Right::Remaining,
        r#"slo:period_error_budget_remaining:ratio{sloth_service="${service}", sloth_slo="${slo}"} or on() vector(1)"#,
    ),
    ("Month error budget burn chart", Range, Right::Month, MONTH),
    (
        "Month error budget burn chart: ideal",
        Range,
        Right::Ideal,
        "1 - sum_over_time(\n  (\n    (1 / (days_in_month() * 24)) *\n    (month() == bool vector(${__to:date:M}))\n  )[32d:1h]\n)",
    ),
    (
        "Burn rate (speed) magnitude",
        Range,
        Right::Burn,
        r#"slo:current_burn_rate:ratio{sloth_service="${service}", sloth_slo="${slo}"} > 0"#,
    ),
    (
        "Warning alert",
        Instant,
        Right::Ticket,
        r#"max(ALERTS{sloth_service="${service}", sloth_slo="${slo}", sloth_severity="ticket"}) OR on() vector(0)"#,
    ),
    (
        "Critical alert",
        Instant,
        Right::Page,
        r#"max(ALERTS{sloth_service="${service}", sloth_slo="${slo}", sloth_severity="page"}) or on() vector(0)"#,
    ),
];

const MONTH: &str = r#"1-(
  sum_over_time(
    (
       slo:sli_error:ratio_rate1h{sloth_service="${service}",sloth_slo="${slo}"}
       * on() group_left() (
         month() == bool vector(${__to:date:M})
       )
    )[32d:1h]
  )
  / on(sloth_id)
  (
    slo:error_budget:ratio{sloth_service="${service}",sloth_slo="${slo}"} *on() group_left() (24 * days_in_month())
  )
)"#;

/// Sloth's overview (grafana.com 14643).
const SLOTH_OVERVIEW: [(&str, Asks, Right, &str); 9] = [
    ("SLOs", Range, Right::Slos, "count(sloth_slo_info)"),
    ("Services", Range, Right::Services, "count(max(sloth_slo_info) by (sloth_service))"),
    ("Avg burn rate", Range, Right::MeanBurn, "avg(slo:current_burn_rate:ratio)"),
    (
        "Warning alerts",
        Range,
        Right::AnyTicket,
        r#"max(ALERTS{sloth_id!="",sloth_severity="ticket"}) OR on() vector(0)"#,
    ),
    ("Critical alerts", Range, Right::AnyPage, r#"max(ALERTS{sloth_id!="",sloth_severity="page"}) OR on() vector(0)"#),
    ("All burning rate", Range, Right::BurnOver, "slo:current_burn_rate:ratio > ${min_burning_rate}"),
    (
        "Current exceeded burning rate SLOs",
        Instant,
        Right::BurnOver,
        "slo:current_burn_rate:ratio > ${min_burning_rate}",
    ),
    ("SLOs burn rate state timeline", Range, Right::Burn, "slo:current_burn_rate:ratio"),
    ("Budget remaining 28 day window", Instant, Right::Remaining, "slo:period_error_budget_remaining:ratio"),
];

/// Pyrra's list and detail (examples/grafana), the detail's rates as its older and its newer rules feed them.
const PYRRA: [(&str, Asks, Right, &str); 13] = [
    ("list: Objective", Instant, Right::Objective, "pyrra_objective"),
    ("list: Window", Instant, Right::Window, "pyrra_window"),
    ("list: Availability", Instant, Right::Availability, "pyrra_availability"),
    ("list: Error Budget", Instant, Right::Remaining, "(pyrra_availability - pyrra_objective) / (1 - pyrra_objective)"),
    ("detail: Objective", Instant, Right::Objective, r#"pyrra_objective{slo="$slo"}"#),
    ("detail: Window", Instant, Right::Window, r#"pyrra_window{slo="$slo"}"#),
    ("detail: Availability", Instant, Right::Availability, r#"pyrra_availability{slo="$slo"}"#),
    ("detail: Error Budget", Instant, Right::Remaining, PYRRA_BUDGET),
    ("detail: Error Budget", Range, Right::Remaining, PYRRA_BUDGET),
    ("detail: Rate", Range, Right::Requests, r#"sum(pyrra_requests:rate5m{slo="$slo"})"#),
    ("detail: Errors", Range, Right::Errors, r#"sum(pyrra_errors:rate5m{slo="$slo"})"#),
    ("detail: Rate", Range, Right::Counted, r#"sum(rate(pyrra_requests_total{slo="$slo"}[$__rate_interval]))"#),
    ("detail: Errors", Range, Right::Counted, r#"sum(rate(pyrra_errors_total{slo="$slo"}[$__rate_interval]))"#),
];

const PYRRA_BUDGET: &str =
    r#"((pyrra_availability{slo="$slo"} - on(slo) pyrra_objective{slo="$slo"})) / (1 - pyrra_objective{slo="$slo"})"#;

/// Who the variables of the dashboards offer: `(series, label)`.
const VARIABLES: [(&str, &str); 3] = [
    ("slo:objective:ratio", "sloth_service"),
    (r#"slo:objective:ratio{sloth_service="pay"}"#, "sloth_slo"),
    ("pyrra_objective", "slo"),
];

/// What the page said at one past moment, `name{labels}` by value, without the empty labels that keep a scrape's away.
fn samples(page: &str) -> Vec<(String, f64)> {
    let ours = |line: &&str| ["slo:", "sloth_", "pyrra_"].iter().any(|start| line.starts_with(start));
    page.lines()
        .filter(ours)
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            (series.replace("instance=\"\",job=\"\",", ""), value.parse().expect("a number"))
        })
        .collect()
}

/// The pages of all full hours in (from_s, to_s), and the error ratios of one hour behind them.
struct Pages {
    openmetrics: String,
    hourly: BTreeMap<String, BTreeMap<i64, f64>>,
}

impl Pages {
    fn of(driven: &Driven, from_s: i64, to_s: i64) -> Self {
        let info = Info { compat: COMPAT, version: env!("CARGO_PKG_VERSION").into(), ..Info::default() };
        let slos: Vec<std::sync::Arc<Slo>> = driven.snapshot().slos.iter().map(|entry| entry.slo.clone()).collect();
        let mut series: BTreeMap<String, Vec<(i64, f64)>> = BTreeMap::new();
        let mut hourly: BTreeMap<String, BTreeMap<i64, f64>> = BTreeMap::new();
        for at in (from_s.div_euclid(HOUR) + 2..=to_s.div_euclid(HOUR)).map(|hour| hour * HOUR) {
            let snapshot = past(&slos, driven.daemon.ledger(), at);
            for entry in &snapshot.slos {
                let hour = entry.series[0].windows.iter().find(|window| window.window_s == HOUR).expect("a clause's");
                hourly.entry(entry.slo.id.clone()).or_default().insert(at, hour.error_ratio.expect("events happened"));
            }
            for (name, value) in samples(&exposition::render(&snapshot, &info, at)) {
                series.entry(name).or_default().push((at, value));
            }
        }
        let mut openmetrics = String::new();
        for (name, values) in series {
            for (at, value) in values {
                writeln!(openmetrics, "{name} {value} {at}").expect("a String grows");
            }
        }
        Pages { openmetrics: openmetrics + "# EOF\n", hourly }
    }

    /// What the month panel comes to at `at`: each hour of that month weighs the same, whoever asks.
    fn month(&self, id: &str, budget: f64, at: i64) -> f64 {
        let day = |s: i64| jiff::Timestamp::from_second(s).expect("a time").to_zoned(jiff::tz::TimeZone::UTC);
        let month = day(at).month();
        let spent: f64 = self.hourly[id]
            .iter()
            .filter(|(hour, _)| **hour <= at && day(**hour).month() == month)
            .map(|(_, r)| r)
            .sum();
        1.0 - spent / (budget * 24.0 * f64::from(day(at).days_in_month()))
    }
}

/// The evaluation of a past moment, as a daemon of that moment had it.
fn past(slos: &[std::sync::Arc<Slo>], ledger: &Ledger, at: i64) -> Snapshot {
    let fresh = DataHealth { state: DataState::Fresh, reason: DataReason::None, newest: Some(at) };
    let none = BTreeSet::new();
    let (seen, folded) =
        (slowburn::prometheus::SeriesHealth::default(), |_: usize, _: &slowburn::engine::Labels| false);
    let health = Health { seen, unseen: &|_| fresh, folded: &folded, filling: &none, scaled_to_zero: &none };
    let mut book = AlertMachine::new();
    let mut snapshot = evaluate(slos, &[], ledger, &health, at, &[], &mut book).0;
    add_wholes(&mut snapshot, ledger, &SLOTH_WINDOWS_S, &BTreeMap::new());
    snapshot
}

/// What the API says.
struct Api {
    slos: Vec<Value>,
    alerts: Vec<Value>,
}

impl Api {
    async fn of(url: &str) -> Self {
        let get = async |path: &str| {
            let answer = http().get(format!("{url}{path}")).send().await.expect("the daemon answers");
            let all: Value = answer.json().await.expect("JSON");
            all.as_array().expect("a list").clone()
        };
        Api { slos: get("/v1/slos").await, alerts: get("/v1/alerts").await }
    }

    fn at(&self) -> i64 {
        self.slos[0]["series"][0]["at"].as_i64().expect("a time")
    }

    fn is_filling(&self) -> bool {
        self.slos.iter().any(|slo| slo["series"][0]["data"]["reason"] == "filling")
    }

    fn fires(&self, id: Option<&str>, kind: &str) -> f64 {
        let of = |alert: &&Value| {
            id.is_none_or(|id| alert["labels"]["slo_id"] == id) && alert["kind"] == kind && alert["status"] == "firing"
        };
        f64::from(u8::from(self.alerts.iter().any(|alert| of(&alert))))
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// Of an SLO: the window of this length.
fn window(slo: &Value, window_s: i64) -> Value {
    let series = &slo["series"][0];
    let windows = series["windows"].as_array().expect("windows").iter().chain([&series["window"]]);
    windows.into_iter().find(|window| window["window_s"] == window_s).expect("a window of the default clauses").clone()
}

/// What a query should answer, by SLO id; `""` where it is about all of them.
fn right(right: Right, api: &Api, slo: Option<&Value>, window_s: i64) -> BTreeMap<String, f64> {
    let of = |slo: &Value| {
        let id = slo["id"].as_str().expect("an id");
        let five = window(slo, 300);
        match right {
            Right::Objective => number(&slo["objective"]) / 100.0,
            Right::Window => number(&slo["window_s"]),
            Right::Sli => 1.0 - number(&window(slo, window_s)["error_ratio"]),
            Right::Info => 1.0,
            Right::Burn | Right::BurnOver | Right::MeanBurn => number(&five["burn_rate"]),
            Right::Remaining => number(&slo["series"][0]["budget_remaining"]),
            Right::Availability => 1.0 - number(&slo["series"][0]["window"]["error_ratio"]),
            Right::Page => api.fires(Some(id), "fast_burn"),
            Right::Ticket => api.fires(Some(id), "slow_burn"),
            _ => unreachable!("{right:?} is asked elsewhere"),
        }
    };
    let all = || api.slos.iter().map(|slo| (slo["id"].as_str().expect("an id").to_owned(), of(slo)));
    let one = |value| BTreeMap::from([(String::new(), value)]);
    match (right, slo) {
        (Right::Slos, _) => one(api.slos.len() as f64),
        (Right::Services, _) => {
            one(api.slos.iter().map(|slo| slo["service"].as_str()).collect::<BTreeSet<_>>().len() as f64)
        }
        (Right::MeanBurn, _) => one(all().map(|(_, burn)| burn).sum::<f64>() / api.slos.len() as f64),
        (Right::AnyPage, _) => one(api.fires(None, "fast_burn")),
        (Right::AnyTicket, _) => one(api.fires(None, "slow_burn")),
        (Right::BurnOver, _) => all().filter(|(_, burn)| *burn > 1.0).collect(),
        (_, Some(slo)) => BTreeMap::from([(slo["id"].as_str().expect("an id").to_owned(), of(slo))]),
        (_, None) => all().collect(),
    }
}

/// Fills in the variables of a dashboard.
fn filled(query: &str, slo: Option<&Value>, window: &str, at: i64) -> String {
    let month = jiff::Timestamp::from_second(at).expect("a time").to_zoned(jiff::tz::TimeZone::UTC).month();
    let text = |key: &str| slo.map_or_else(String::new, |slo| slo[key].as_str().expect("text").to_owned());
    query
        .replace("${service}", &text("service"))
        .replace("${slo}", &text("name"))
        .replace("$slo", &text("id"))
        .replace("${sli_window}", window)
        .replace("${min_burning_rate}", "1")
        .replace("${__to:date:M}", &month.to_string())
        .replace("$__rate_interval", "1m")
}

/// Asks as the panel does; the newest value of each series by SLO id (`""` where the answer has none).
async fn ask(prometheus: &Prometheus, asks: Asks, query: &str, at: f64) -> BTreeMap<String, f64> {
    let (path, mut form) = match asks {
        Asks::Instant => ("query", vec![("time", at.to_string())]),
        Asks::Range => {
            ("query_range", vec![("start", (at - 3.0).to_string()), ("end", at.to_string()), ("step", "1".to_owned())])
        }
    };
    form.push(("query", query.to_owned()));
    let sent = http().post(format!("{}/api/v1/{path}", prometheus.url())).form(&form).send().await;
    let answer: Value = sent.expect("Prometheus answers").json().await.expect("JSON");
    assert_eq!(answer["status"], "success", "{query}: {answer}");
    let rows = answer["data"]["result"].as_array().expect("rows").iter();
    rows.map(|row| {
        let pair = row["values"].as_array().and_then(|values| values.last()).unwrap_or(&row["value"]);
        let id = ["sloth_id", "slo"].iter().find_map(|name| row["metric"][name].as_str()).unwrap_or_default();
        (id.to_owned(), pair[1].as_str().and_then(|text| text.parse().ok()).expect("a number"))
    })
    .collect()
}

fn same(found: &BTreeMap<String, f64>, right: &BTreeMap<String, f64>) -> bool {
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0);
    // Where the answer is one row without an id, it is that of the one SLO asked for.
    let values = |map: &BTreeMap<String, f64>| map.values().copied().collect::<Vec<_>>();
    let unnamed = found.len() == 1 && right.len() == 1 && found.contains_key("");
    match unnamed {
        true => close(values(found)[0], values(right)[0]),
        false => found.keys().eq(right.keys()) && found.iter().all(|(id, value)| close(*value, right[id])),
    }
}

struct Stand {
    prometheus: Prometheus,
    slowburn: Process,
    url: String,
    pages: Pages,
    rules: tempfile::TempDir,
    /// The end of the samples.
    end: i64,
    _source: Prometheus,
}

/// A fleet that burns at its end, a daemon beside it, and a Prometheus that has scraped the daemon hourly for three days.
async fn stand(speed: &str) -> Stand {
    let end = Clock::wall().now().div_euclid(30) * 30;
    let start = end - 3 * DAY;
    let burns = [(start + 20 * HOUR, start + 20 * HOUR + 900), (end - 1500, end)];
    let source = fleet::prometheus(&fleet::scenario(start, end, &burns), start, end).await;
    let mut driven = Driven::new(options(&source.url(), &fleet::rules(), None));
    driven.tick(end).await;
    let pages = Pages::of(&driven, start, end);
    let rules = tempfile::tempdir().expect("a temporary folder");
    fleet::write_rules(rules.path(), &fleet::rules());
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let args = [
        "run",
        "--prometheus-url",
        &source.url(),
        "--rules",
        &rules.path().display().to_string(),
        "--listen",
        &format!("127.0.0.1:{port}"),
        "--compat",
        "sloth,sloth-alerts,pyrra",
        // However long the machine takes to come here, the samples have just ended.
        "--clock-start",
        &end.to_string(),
        "--clock-speed",
        speed,
    ];
    let log = rules.path().join("slowburn.log");
    let slowburn = Process::start(Path::new(env!("CARGO_BIN_EXE_slowburn")), args, &log);
    let prometheus = Prometheus::start(PromOptions {
        past: Some(Past::Text(pages.openmetrics.clone())),
        targets: vec![("slowburn".to_owned(), format!("127.0.0.1:{port}"))],
        honor_labels: true,
        ..PromOptions::default()
    })
    .await;
    Stand { prometheus, slowburn, url, pages, rules, end, _source: source }
}

impl Stand {
    /// What the API says, once a scrape has surely seen the same.
    async fn settled(&self, ready: impl Fn(&Api) -> bool) -> (Api, f64) {
        eventually("a scrape of what the API says", LIMIT, || async {
            let alive = http().get(format!("{}/readyz", self.url)).send().await.ok()?.status().is_success();
            let api = if alive { Api::of(&self.url).await } else { return None };
            if api.is_filling() || api.at() < self.end || !ready(&api) {
                return None;
            }
            let asked = Clock::wall().now_ms() as f64 / 1000.0;
            let scraped = eventually("the next scrape", LIMIT, || async {
                // Several scrapes, for rates.
                let up = "timestamp(up{job=\"slowburn\"} == 1) and sum_over_time(up{job=\"slowburn\"}[1m]) > 2";
                let up = self.prometheus.number(up, None).await?;
                (up > asked + 2.0).then_some(up)
            })
            .await;
            (Api::of(&self.url).await.at() == api.at()).then_some((api, scraped))
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_their_dashboards_is_answered_with_what_the_api_says() {
    let stand = stand("1").await;
    let (api, now) = stand.settled(|_| true).await;
    let mut wrong = Vec::new();
    let mut asked = 0;
    let windows: Vec<(i64, &str)> = SLOTH_WINDOWS_S
        .into_iter()
        .zip(["5m", "30m", "1h", "2h", "6h", "1d", "3d"])
        .chain([(30 * DAY, "30d")])
        .collect();
    let hour = stand.end.div_euclid(HOUR) * HOUR;
    for (dashboard, panels) in [("14348", &SLOTH_DETAIL[..]), ("14643", &SLOTH_OVERVIEW[..]), ("pyrra", &PYRRA[..])] {
        for (panel, asks, is, query) in panels {
            let about_one = query.contains("$slo") || query.contains("${slo}");
            let slos: Vec<Option<&Value>> = if about_one { api.slos.iter().map(Some).collect() } else { vec![None] };
            let windows = if query.contains("${sli_window}") { &windows[..] } else { &windows[..1] };
            for (slo, (window_s, window)) in slos.iter().flat_map(|slo| windows.iter().map(move |w| (*slo, *w))) {
                let id = slo.map(|slo| slo["id"].as_str().expect("an id"));
                let mut complain = |found: &BTreeMap<String, f64>, right: String| {
                    wrong.push(format!("{dashboard} {panel} {id:?} {window}: {found:?}, should be {right}\n  {query}"));
                };
                // The month panel weighs hours alike, so it is asked where the newest hour has just ended.
                let at = if *is == Right::Month { hour as f64 + 60.0 } else { now };
                let text = filled(query, slo, window, at as i64);
                let found = ask(&stand.prometheus, *asks, &text, at).await;
                asked += 1;
                match is {
                    Right::Ideal | Right::Counted => {
                        if found.len() != 1 || !found.values().all(|value| value.is_finite() && *value >= -1e9) {
                            complain(&found, "one number".into());
                        }
                    }
                    Right::Requests | Right::Errors => {
                        let five = self::window(slo.expect("about one SLO"), 300);
                        let counts = [("features", 1.0 / 30.0), ("quiet", 10.0 / 60.0), ("pay", 6.0)];
                        let service = slo.expect("about one SLO")["service"].as_str().expect("a name");
                        let traffic = counts.iter().find(|(name, _)| *name == service).expect("a service").1;
                        let value = found.get("").copied().unwrap_or(f64::NAN);
                        // Requests are those of the scenario; errors of counted SLOs the same share of it.
                        let expected = match is {
                            Right::Requests => traffic,
                            _ if slo.expect("about one SLO")["unit"] == "events" => {
                                value.max(traffic * number(&five["error_ratio"]))
                            }
                            _ => value,
                        };
                        if !(value >= 0.0 && (value - expected).abs() <= 0.2 * expected) {
                            complain(&found, format!("about {expected}"));
                        }
                    }
                    Right::Month => {
                        let slo = slo.expect("about one SLO");
                        let id = id.expect("about one SLO");
                        let right = stand.pages.month(id, number(&slo["budget_ratio"]), hour);
                        let newest = found.get(id).copied().unwrap_or(f64::NAN);
                        if newest.is_nan() || (newest - right).abs() > 1e-9 {
                            complain(&found, right.to_string());
                        }
                        // And now, with the hours since.
                        let live =
                            ask(&stand.prometheus, *asks, &filled(query, Some(slo), window, now as i64), now).await;
                        if live.len() != 1 || !live.values().all(|value| value.is_finite()) {
                            complain(&live, "one number".into());
                        }
                    }
                    _ => {
                        let mut right = right(*is, &api, slo, window_s);
                        if query.ends_with("> 0") {
                            right.retain(|_, burn| *burn > 0.0);
                        }
                        if !same(&found, &right) {
                            complain(&found, format!("{right:?}"));
                        }
                    }
                }
            }
        }
    }
    let fires = |kind| api.alerts.iter().any(|alert| alert["kind"] == kind && alert["status"] == "firing");
    assert!(fires("fast_burn"), "the scenario burns: {:#?}", api.alerts);
    println!("{asked} queries asked");
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));

    let info = stand.prometheus.query("sloth_slo_info", Some(now)).await;
    for labels in info.keys() {
        let objective: f64 = labels["sloth_objective"].parse().expect("percent as text");
        let slo = api.slos.iter().find(|slo| slo["id"] == labels["sloth_id"].as_str()).expect("an SLO");
        assert_eq!(objective, number(&slo["objective"]));
        assert!(!labels.contains_key("instance") && !labels.contains_key("job"), "as recorded rules: {labels:?}");
    }
    for (series, label) in VARIABLES {
        let url = format!("{}/api/v1/label/{label}/values", stand.prometheus.url());
        let answer = http().get(url).query(&[("match[]", series)]).send().await.expect("Prometheus answers");
        let answer: Value = answer.json().await.expect("JSON");
        let values: BTreeSet<&str> =
            answer["data"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        let of = |key: &str| api.slos.iter().filter_map(|slo| slo[key].as_str()).collect::<BTreeSet<_>>();
        let right = match label {
            "sloth_service" => of("service"),
            "slo" => of("id"),
            _ => BTreeSet::from(["availability", "latency-p95"]),
        };
        assert_eq!(values, right, "{series} {label}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_slo_without_data_does_not_look_healthy_on_their_dashboards() {
    let stand = stand("5").await;
    let ghost = "name: ghost\nowner: t\nslo:\n  availability: {objective: 99.9, sli: {total: 'nothing_total', bad: 'nothing_total{code=\"500\"}'}}\n";
    std::fs::write(stand.rules.path().join("ghost.yaml"), ghost).expect("writable");
    stand.settled(|_| true).await;
    stand.slowburn.signal("HUP");
    let (api, now) = stand.settled(|api| api.slos.iter().any(|slo| slo["id"] == "ghost-availability")).await;
    let ghost = api.slos.iter().find(|slo| slo["id"] == "ghost-availability").expect("it is there");
    assert_eq!(ghost["state"], "unknown");
    for (panel, asks, is, query) in SLOTH_DETAIL {
        if !matches!(is, Right::Sli | Right::Burn | Right::Remaining) || query.ends_with("> 0") {
            continue;
        }
        let text = filled(query, Some(ghost), "1h", now as i64);
        let found = ask(&stand.prometheus, asks, &text, now).await;
        assert!(found.len() == 1 && found.values().all(|value| value.is_nan()), "{panel}: {found:?}");
    }
    let listed = stand.prometheus.number(r#"slo:objective:ratio{sloth_id="ghost-availability"}"#, Some(now)).await;
    assert_eq!(listed, Some(0.999), "it is listed");
    let mean = stand.prometheus.number("avg(slo:current_burn_rate:ratio)", Some(now)).await;
    assert!(mean.is_some_and(f64::is_nan), "a mean of which a part is unknown is unknown: {mean:?}");
}
