//! A canned fleet for the tests of this module: every state and every data state, and names and values chosen to
//! break what is careless with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::sync::{mpsc, watch};

use super::{App, Info, Limits, Readiness, Reload};
use crate::clock::Clock;
use crate::engine::CountingAll;
use crate::engine::alert::{Alert, AlertKind};
use crate::engine::exclusion::{Exclusion, Span};
use crate::engine::ledger::BadBounds;
use crate::engine::severity::Sev;
use crate::engine::status::{ClauseStatus, DataHealth, DataReason, WindowStatus};
use crate::engine::{
    BudgetReset, BudgetStatus, BurnClause, Calendar, CalendarUnit, DataState, Labels, Period, Seconds, SeriesStatus,
    Slo, SloSnapshot, SloState, Snapshot, Speed, Unit,
};
use crate::spec::model::Service;
use crate::spec::workload::Workload;
use crate::telemetry::compat::Compat;
use crate::telemetry::detail::Detail;

/// 2026-03-02 09:30:00 UTC: the slice everything is evaluated at.
pub const AT: Seconds = 1_772_443_800;

/// What users, robots and metrics may say to break what shows it: markup, scripts, calls of chats, formulas, marks that turn
/// text or hide in it, lines, escapes of terminals, templates.
pub const HOSTILE: [&str; 22] = [
    "<script>window.broken=1</script>",
    "\"><img src=x onerror=window.broken=1>",
    "' onmouseover='window.broken=1",
    "javascript:window.broken=1//",
    "</title></style></textarea><svg onload=window.broken=1>",
    "<!channel> <!here> <@U123> <https://evil.example|all is well>",
    "a\u{202e}b\u{2066}c\u{2069}",
    "x\u{200b}y\u{feff}z\u{ad}\u{e0041}",
    "\u{61c}\u{200f}turned",
    "=HYPERLINK(\"http://evil.example\")",
    "+1;=cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd",
    "  -2+3",
    "\u{ff1d}1+1, =2",
    "| a | b |",
    "# heading [click](javascript:alert(1)) `x` ![i](http://evil.example/x.png) *b* _i_ ~~s~~",
    "{{ .Env }} ${x} {version} {rows} {script}",
    "first\r\n- second\n\n| third\tfourth",
    "\u{1b}[31mred\u{7}\u{8}",
    "a\u{2028}b\u{2029}c\u{85}d",
    "&lt;b&gt; &amp; \\\" \\",
    "NaN} 1\nslowburn_up 0",
];

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// `(long, short, factor, text, speed)` of the default policy.
const CLAUSES: [(i64, i64, f64, &str, Speed); 4] = [
    (HOUR, 300, 14.4, "1h/5m > 14.4x", Speed::Fast),
    (6 * HOUR, 1800, 6.0, "6h/30m > 6x", Speed::Fast),
    (DAY, 2 * HOUR, 3.0, "1d/2h > 3x", Speed::Slow),
    (3 * DAY, 6 * HOUR, 1.0, "3d/6h > 1x", Speed::Slow),
];

fn slo(service: &str, name: &str, objective: f64, unit: Unit, by: &[&str]) -> Slo {
    let clause = |&(long_s, short_s, factor, text, speed): &(i64, i64, f64, &str, Speed)| BurnClause {
        speed,
        long_s,
        short_s,
        factor,
        text: text.to_owned().into(),
    };
    Slo {
        id: format!("{service}-{name}"),
        service: service.to_owned(),
        name: name.to_owned(),
        owner: format!("team-{service}"),
        objective,
        window_s: 30 * DAY,
        terms: Default::default(),
        unit,
        burn: CLAUSES.iter().map(clause).collect(),
        confidence: Some(crate::engine::Confidence { page: 1e-3, ticket: 0.03 }),
        weigh: Default::default(),
        severity: Vec::new(),
        by: by.iter().map(|&name| name.to_owned()).collect(),
        series_max: 100,
        annotations: [
            ("runbook".to_owned(), format!("https://runbooks.example.com/{service}")),
            ("channel".to_owned(), format!("#incidents-{service}")),
        ]
        .into(),
        labels: Default::default(),
        alerts: BTreeMap::new(),
        mute: Vec::new(),
        resolution_s: None,
    }
}

/// A series that burns `fast` times over its short windows, tapering to `slow` over its long ones.
fn series(slo: &Slo, labels: &[(&str, &str)], state: SloState, burn: (f64, f64), budget_left: f64) -> SeriesStatus {
    let lengths = [300, 1800, HOUR, 2 * HOUR, 6 * HOUR, DAY, 3 * DAY];
    let burn_of = |window_s: i64| {
        let step = lengths.iter().position(|&length| length == window_s).expect("a window of the policy");
        burn.0 + (burn.1 - burn.0) * step as f64 / (lengths.len() - 1) as f64
    };
    let window = |window_s: i64, rate: f64| {
        let total = (window_s * 40) as u64;
        let ratio = rate * slo.budget();
        let bad = (total as f64 * ratio).round() as u64;
        let interpolated = matches!(slo.unit, Unit::QuantileSlices { .. });
        let bad_bounds = interpolated.then_some(BadBounds { least: bad / 2, most: 2 * bad });
        WindowStatus {
            window_s,
            total,
            bad,
            undecided: None,
            error_ratio: Some(ratio),
            burn_rate: Some(rate),
            bad_bounds,
        }
    };
    let clause = |clause: &BurnClause| {
        let (burn_long, burn_short) = (burn_of(clause.long_s), burn_of(clause.short_s));
        ClauseStatus {
            speed: clause.speed,
            text: clause.text.clone(),
            long_s: clause.long_s,
            short_s: clause.short_s,
            factor: clause.factor,
            burn_long: Some(burn_long),
            burn_short: Some(burn_short),
            chance: Some(1e-9),
            firing: burn_long > clause.factor && burn_short > clause.factor,
        }
    };
    SeriesStatus {
        labels: labels.iter().copied().collect(),
        at: AT,
        state,
        since: Some(AT - 17 * 60),
        data: DataHealth { state: DataState::Fresh, reason: DataReason::None, newest: Some(AT - 12) },
        budget_remaining: Some(budget_left),
        exhaustion_s: (budget_left > 0.0 && burn_of(HOUR) > 0.0)
            .then(|| budget_left * slo.window_s as f64 / burn_of(HOUR)),
        window: window(slo.window_s, 1.0 - budget_left),
        coverage: 0.998,
        windows: lengths.iter().map(|&length| window(length, burn_of(length))).collect(),
        clauses: slo.burn.iter().map(clause).collect(),
        page: None,
        ticket: None,
        onset: None,
        budgets: Vec::new(),
    }
}

/// Every window of `slo`, the second one with little left since a reset.
fn budgets(slo: &Slo, series: &SeriesStatus) -> Vec<BudgetStatus> {
    let of = |period: &Period, left: Option<f64>| BudgetStatus {
        name: period.label(),
        time_zone: matches!(period, Period::Calendar(_)).then(|| "Europe/Paris".to_owned()),
        from: AT - 10 * DAY,
        resets_at: matches!(period, Period::Calendar(_)).then_some(AT + 21 * DAY),
        window: WindowStatus { window_s: period.nominal_s(), ..series.window },
        budget_remaining: left,
        exhaustion_s: None,
        coverage: 1.0,
        reset: None,
        counting_all: Some(CountingAll {
            excluded_s: 2 * HOUR,
            total: series.window.total + 7200,
            bad: series.window.bad + 7200,
            error_ratio: Some(0.01),
            budget_remaining: Some(-0.1),
        }),
    };
    let reset = BudgetReset {
        at: AT - 2 * DAY,
        when: Default::default(),
        author: "<alice>".into(),
        reason: "INC-7 & agreed".into(),
    };
    let main = of(&slo.period(), series.budget_remaining);
    let more = slo
        .terms
        .more
        .iter()
        .map(|period| BudgetStatus { reset: Some(Arc::new(reset.clone())), ..of(period, Some(0.12)) });
    std::iter::once(main).chain(more).collect()
}

/// A series of which nothing is known.
fn unknown(slo: &Slo, reason: DataReason) -> SeriesStatus {
    let mut series = series(slo, &[], SloState::Unknown, (0.0, 0.0), 0.0);
    series.since = None;
    series.data = DataHealth { state: DataState::Absent, reason, newest: None };
    series.budget_remaining = None;
    series.exhaustion_s = None;
    series.coverage = 0.0;
    for window in series.windows.iter_mut().chain([&mut series.window]) {
        (window.total, window.bad, window.error_ratio, window.burn_rate) = (0, 0, None, None);
    }
    for clause in &mut series.clauses {
        (clause.burn_long, clause.burn_short, clause.chance, clause.firing) = (None, None, None, false);
    }
    series
}

fn with_data(mut series: SeriesStatus, state: DataState, reason: DataReason, age_s: i64) -> SeriesStatus {
    series.data = DataHealth { state, reason, newest: Some(AT - age_s) };
    series
}

fn alert(slo: &Slo, series: &SeriesStatus, kind: AlertKind, sev: u8, name: &str) -> Alert {
    let sev = Sev::new(sev).expect("1 to 5");
    let mut labels: Labels = series.labels.iter().collect();
    for (label, value) in [
        ("alertname", name),
        ("service", &slo.service),
        ("slo", &slo.name),
        ("slo_id", &slo.id),
        ("owner", &slo.owner),
        ("severity", sev.severity()),
        ("sev", &sev.to_string()),
    ] {
        labels.set(label, value);
    }
    Alert {
        labels,
        annotations: [("summary".to_owned(), format!("{} burns its error budget", slo.id))].into(),
        slo_id: slo.id.clone(),
        series: series.labels.clone(),
        kind,
        sev,
        starts_at: AT - 16 * 60,
        resolved_at: None,
        held: false,
        inhibited_by: None,
    }
}

/// Seven SLOs of four services.
pub fn fleet() -> Snapshot {
    use SloState::{Exhausted, FastBurn, Ok, SlowBurn};
    let p95 = Unit::QuantileSlices { quantile: 0.95 };
    let mut slos = Vec::new();
    let mut alerts = Vec::new();

    let availability = slo("checkout", "availability", 99.9, Unit::Events, &[]);
    let burning = series(&availability, &[], FastBurn, (31.0, 1.9), 0.41);
    alerts.push(alert(&availability, &burning, AlertKind::FastBurn, 1, "SLOFastBurn"));
    alerts.push(Alert {
        inhibited_by: Some(AlertKind::FastBurn),
        ..alert(&availability, &burning, AlertKind::SlowBurn, 3, "SLOSlowBurn")
    });
    slos.push((availability, vec![burning], vec![]));

    let mut latency = slo("checkout", "latency-p95", 99.0, p95, &[]);
    let paris = jiff::tz::TimeZone::get("Europe/Paris").expect("it is compiled in");
    latency.terms.more = vec![Period::Calendar(Calendar::new(CalendarUnit::Month, paris))];
    latency.terms.exclusions = vec![Arc::new(Exclusion {
        name: "move".into(),
        span: Span::Once { from: AT - HOUR, to: AT + HOUR },
        when: Default::default(),
        author: "<bob>".into(),
        reason: "a rack moves".into(),
        withdrawn: None,
    })];
    let mut quiet = series(&latency, &[], Ok, (0.2, 0.4), 0.83);
    quiet.budgets = budgets(&latency, &quiet);
    alerts.push(Alert {
        resolved_at: Some(AT - 240),
        starts_at: AT - 3 * HOUR,
        ..alert(&latency, &quiet, AlertKind::SlowBurn, 3, "SLOSlowBurn")
    });
    slos.push((latency, vec![quiet], vec![]));

    let freshness = slo("feature-store", "freshness", 99.0, Unit::GaugeSlices, &[]);
    let spent = series(&freshness, &[], Exhausted, (0.4, 0.7), -0.08);
    let spent = with_data(spent, DataState::Stale, DataReason::SourceUnreachable, 420);
    alerts.push(Alert { held: true, ..alert(&freshness, &spent, AlertKind::Budget, 3, "SLOBudgetExhausted") });
    slos.push((freshness, vec![spent], vec![]));

    let llm = slo("llm-gateway", "availability", 99.5, Unit::Events, &["model", "tier"]);
    let pairs = [("llama-70b", "realtime"), ("llama-8b", "batch"), ("llama-8b", "realtime"), ("mixtral", "realtime")];
    let rows = pairs.map(|(model, tier)| {
        let (state, burn, left) = match model {
            "llama-70b" => (SlowBurn, (2.1, 3.4), 0.22),
            _ => (Ok, (0.1, 0.3), 0.9),
        };
        series(&llm, &[("model", model), ("tier", tier)], state, burn, left)
    });
    alerts.push(alert(&llm, &rows[0], AlertKind::SlowBurn, 3, "SLOSlowBurn"));
    slos.push((llm, rows.into(), vec!["aggregated: 31,000 raw series are summed by the server".to_owned()]));

    let queue = slo("llm-gateway", "gpu-queue-time", 99.0, Unit::GaugeSlices, &[]);
    let nothing = unknown(&queue, DataReason::NoSeries);
    alerts.push(alert(&queue, &nothing, AlertKind::DataMissing, 3, "SLODataMissing"));
    slos.push((queue, vec![nothing], vec![]));

    let ttfb = slo("llm-gateway", "ttfb-p95", 99.0, p95, &[]);
    let idle = series(&ttfb, &[], Ok, (0.0, 0.0), 1.0);
    slos.push((ttfb, vec![idle], vec![]));

    let odd = slo("search", "quo\"ted", 99.0, Unit::Events, &["service", "state"]);
    let labels = [("service", "a\\b\n\"c\""), ("state", "<script>alert(1)</script>")];
    let partial = series(&odd, &labels, Ok, (0.9, 0.8), 0.55);
    slos.push((odd, vec![with_data(partial, DataState::Partial, DataReason::SourceWarning, 31)], vec![]));

    alerts.sort_by(|a, b| a.labels.cmp(&b.labels));
    let entry = |(slo, series, notes): (Slo, Vec<SeriesStatus>, Vec<String>)| SloSnapshot {
        slo: Arc::new(slo),
        series: series.into(),
        notes: notes.into(),
        whole: None,
    };
    Snapshot { at: AT, slos: slos.into_iter().map(entry).collect(), alerts }
}

/// The services of [`fleet`].
pub fn info() -> Info {
    let service = |name: &str| Service {
        name: name.to_owned(),
        owner: format!("team-{name}"),
        runtime: Some("kubernetes".to_owned()),
        channel: Some(format!("#incidents-{name}")),
        runbook: Some(format!("https://runbooks.example.com/{name}")),
        workloads: match name {
            "checkout" => vec![Workload {
                resource: "deployment/checkout".to_owned(),
                namespace: Some("shop".to_owned()),
                version_label: None,
                utilization: None,
            }],
            _ => Vec::new(),
        },
    };
    Info {
        version: "0.1.0".to_owned(),
        config_hash: "9f2c4e61d0ab77".to_owned(),
        external_url: None,
        services: ["checkout", "feature-store", "llm-gateway", "search"].map(service).into(),
        poll_interval_s: 30,
        loaded_at: AT - DAY,
        last_reload_failed: false,
        compat: Compat::default(),
        metrics_detail: Detail::Full,
        origins: BTreeMap::new(),
        explainer: None,
    }
}

/// An app that shows [`fleet`], and the ends that its builder would hold.
pub struct Stand {
    pub app: App,
    pub snapshot: watch::Sender<Arc<Snapshot>>,
    pub readiness: watch::Sender<Readiness>,
    pub reloads: mpsc::Receiver<Reload>,
    _info: watch::Sender<Arc<Info>>,
}

/// A [`Stand`] whose clock runs from 21 s after the last slice.
pub fn stand() -> Stand {
    let (snapshot, snapshots) = watch::channel(Arc::new(fleet()));
    let (readiness, ready) = watch::channel(Readiness::ready());
    let (info, infos) = watch::channel(Arc::new(info()));
    let (_, incidents) = watch::channel(Arc::default());
    let (reload, reloads) = mpsc::channel(1);
    let clock = Clock::scaled((AT + 21) * 1000, 1.0);
    let app = App {
        snapshot: snapshots,
        readiness: ready,
        metrics: PrometheusBuilder::new().build_recorder().handle(),
        info: infos,
        reload: Some(reload),
        auth: Arc::new(crate::web::auth::Authenticator::new(crate::web::auth::Settings::default(), clock.clone())),
        gate_service: None,
        ledger: None,
        incidents,
        tls: None,
        clock,
        limits: Limits::default(),
    };
    Stand { app, snapshot, readiness, reloads, _info: info }
}
