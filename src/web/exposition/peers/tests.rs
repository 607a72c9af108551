use std::sync::Arc;

use crate::engine::whole::{Counted, WholeWindow};
use crate::engine::{Snapshot, Whole};
use crate::spec::model::{Origin, OriginFormat};
use crate::telemetry::compat::{self, Compat, Foreign, SLOTH_WINDOWS_S};
use crate::web::exposition::render;
use crate::web::fixture::{self, AT};

const ALL: Compat = Compat { sloth: true, sloth_alerts: true, pyrra: true };

/// A window of one event a second, a hundredth of them bad.
fn window(window_s: i64) -> WholeWindow {
    let (total, bad) = (window_s as u64, window_s as u64 / 100);
    let slices = window_s as u64 / 30;
    WholeWindow { window_s, total, bad, events: Counted { total, bad }, known: slices, slices, unread: false }
}

fn fleet() -> Snapshot {
    let mut fleet = fixture::fleet();
    for entry in &mut fleet.slos {
        let unknown = entry.slo.id == "llm-gateway-gpu-queue-time";
        let of = |window_s| match unknown {
            true => WholeWindow { window_s, slices: window_s as u64 / 30, ..WholeWindow::default() },
            false => window(window_s),
        };
        entry.whole = Some(Whole {
            windows: SLOTH_WINDOWS_S.into_iter().map(of).collect(),
            period: of(entry.slo.window_s),
            remaining: (!unknown).then(|| 1.0 - 0.01 / entry.slo.budget()),
            counted: Counted { total: 12, bad: 3 },
        });
    }
    fleet
}

fn page(compat: Compat) -> String {
    render(&fleet(), &crate::web::Info { compat, ..fixture::info() }, AT + 21)
}

fn samples<'a>(page: &'a str, name: &str, id: &str) -> Vec<&'a str> {
    let own = |line: &&str| line.split(['{', ' ']).next() == Some(name) && line.contains(&format!("\"{id}\""));
    page.lines().filter(own).collect()
}

fn value(page: &str, name: &str, id: &str) -> f64 {
    let found = samples(page, name, id);
    assert_eq!(found.len(), 1, "{name} of {id}: {found:?}");
    found[0].rsplit(' ').next().and_then(|text| text.parse().ok()).expect("a number")
}

const RATIOS: [&str; 8] = ["5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d"];
const META: [&str; 7] = [
    compat::SLOTH_OBJECTIVE,
    compat::SLOTH_BUDGET,
    compat::SLOTH_PERIOD,
    compat::SLOTH_CURRENT,
    compat::SLOTH_PERIOD_BURN,
    compat::SLOTH_REMAINING,
    compat::SLOTH_INFO,
];

#[test]
fn nothing_of_it_is_there_unless_it_is_asked_for() {
    let page = page(Compat::default());
    for foreign in compat::ALL {
        assert!(!page.contains(&format!("{}{{", foreign.name)), "{}", foreign.name);
    }
    let sloth = super::super::render(&fleet(), &fixture::info(), AT);
    assert_eq!(sloth.matches("sloth").count(), 0);
}

#[test]
fn every_slo_has_the_fifteen_series_once_known_or_not() {
    let page = page(ALL);
    let names: Vec<String> = RATIOS
        .iter()
        .map(|window| format!("{}{window}", compat::SLOTH_RATIO))
        .chain(META.iter().map(|name| (*name).to_owned()))
        .collect();
    assert_eq!(names.len(), 15);
    for entry in &fleet().slos {
        let id = entry.slo.id.replace('"', "\\\"");
        for name in &names {
            assert_eq!(samples(&page, name, &id).len(), 1, "{name} of {id}");
        }
    }
}

#[test]
fn what_is_not_known_is_no_number_and_what_is_promised_is_there() {
    let page = page(ALL);
    let id = "llm-gateway-gpu-queue-time";
    for window in RATIOS {
        assert!(value(&page, &format!("{}{window}", compat::SLOTH_RATIO), id).is_nan(), "{window}");
    }
    for name in [compat::SLOTH_CURRENT, compat::SLOTH_PERIOD_BURN, compat::SLOTH_REMAINING, compat::PYRRA_AVAILABILITY]
    {
        assert!(value(&page, name, id).is_nan(), "{name}");
    }
    assert!(value(&page, compat::PYRRA_REQUESTS, id).is_nan() && value(&page, compat::PYRRA_ERRORS, id).is_nan());
    assert_eq!(value(&page, compat::SLOTH_OBJECTIVE, id), 0.99);
    assert_eq!(value(&page, compat::SLOTH_INFO, id), 1.0);
    assert_eq!(value(&page, compat::PYRRA_WINDOW, id), 2_592_000.0);
}

#[test]
fn numbers_are_those_of_the_snapshot() {
    let page = page(ALL);
    let id = "checkout-availability";
    let series = fleet().slos[0].series[0].clone();
    assert_eq!(value(&page, "slo:sli_error:ratio_rate5m", id), 0.01);
    assert_eq!(value(&page, compat::SLOTH_CURRENT, id), 10.0);
    assert_eq!(Some(value(&page, compat::SLOTH_REMAINING, id)), series.budget_remaining);
    assert_eq!(Some(value(&page, "slo:sli_error:ratio_rate30d", id)), series.window.error_ratio);
    assert_eq!(value(&page, compat::SLOTH_OBJECTIVE, id), 0.999);
    assert_eq!(value(&page, compat::SLOTH_BUDGET, id), 0.001);
    assert_eq!(value(&page, compat::SLOTH_PERIOD, id), 30.0);
    assert_eq!(
        Some(1.0 - value(&page, compat::PYRRA_AVAILABILITY, id)).map(|r| (r * 1e9).round()),
        series.window.error_ratio.map(|r| (r * 1e9).round())
    );
    assert_eq!((value(&page, compat::PYRRA_REQUESTS, id), value(&page, compat::PYRRA_ERRORS, id)), (1.0, 0.01));
    assert_eq!(
        (value(&page, compat::PYRRA_REQUESTS_TOTAL, id), value(&page, compat::PYRRA_ERRORS_TOTAL, id)),
        (12.0, 3.0)
    );
    let labels = r#"{sloth_id="checkout-availability",sloth_service="checkout",sloth_slo="availability",instance="",job="",sloth_version="0.1.0",sloth_mode="slowburn",sloth_spec="slowburn/v1",sloth_objective="99.9"}"#;
    assert!(page.contains(&format!("sloth_slo_info{labels} 1\n")), "{page}");
}

#[test]
fn an_slo_that_fans_out_is_one_set() {
    let page = page(ALL);
    let id = "llm-gateway-availability";
    assert_eq!(value(&page, "slo:sli_error:ratio_rate1h", id), 0.01);
    assert!((value(&page, compat::SLOTH_REMAINING, id) - (1.0 - 0.01 / 0.005)).abs() < 1e-9);
    assert_eq!(samples(&page, compat::ALERTS, id).len(), 1);
}

#[test]
fn alerts_fire_as_a_server_with_the_rules_would_show_them() {
    let page = page(ALL);
    let alerts = samples(&page, compat::ALERTS, "checkout-availability");
    let labels =
        r#"sloth_id="checkout-availability",sloth_service="checkout",sloth_slo="availability",instance="",job="","#;
    assert_eq!(
        alerts,
        [
            format!(r#"ALERTS{{{labels}alertname="SLOFastBurn",alertstate="firing",sloth_severity="page"}} 1"#),
            format!(r#"ALERTS{{{labels}alertname="SLOSlowBurn",alertstate="firing",sloth_severity="ticket"}} 1"#),
        ]
    );
    assert_eq!(samples(&page, compat::ALERTS, "checkout-latency-p95"), [""; 0], "it is resolved");
    assert_eq!(samples(&page, compat::ALERTS, "feature-store-freshness"), [""; 0], "a spent budget is no burn");
    let without = self::page(Compat { sloth_alerts: false, ..ALL });
    assert!(!without.contains("ALERTS"), "its name is Prometheus's own");
}

#[test]
fn a_window_of_28_days_ends_in_4w() {
    let mut fleet = fleet();
    let entry = &mut fleet.slos[0];
    let slo = crate::engine::Slo { window_s: 28 * 86_400, ..(*entry.slo).clone() };
    entry.slo = Arc::new(slo);
    let page = render(&fleet, &crate::web::Info { compat: ALL, ..fixture::info() }, AT);
    assert_eq!(samples(&page, "slo:sli_error:ratio_rate4w", "checkout-availability").len(), 1);
    assert_eq!(samples(&page, "slo:sli_error:ratio_rate30d", "checkout-availability"), [""; 0]);
    assert_eq!(value(&page, compat::SLOTH_PERIOD, "checkout-availability"), 28.0);
}

#[test]
fn every_name_is_in_the_table_with_its_help_once() {
    let page = page(ALL);
    let mut described = std::collections::BTreeSet::new();
    for line in page.lines().filter(|line| {
        ["# HELP slo", "# HELP pyrra", "# HELP ALERTS"]
            .iter()
            .any(|start| line.starts_with(start) && !line.starts_with("# HELP slowburn"))
    }) {
        let name = line.split(' ').nth(2).expect("a name");
        assert!(described.insert(name.to_owned()), "{name} twice");
        assert!(line.ends_with(Foreign::named(name).expect(name).help));
    }
    assert_eq!(described.len(), 15 + 1 + 7);
}

#[test]
fn an_imported_slo_keeps_the_name_and_labels_of_its_file() {
    let labels = [("team", "pay"), ("sloth_id", "x"), ("job", "mine")];
    let labels: std::collections::BTreeMap<String, String> =
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let of = |format, service: &str, slo: &str| Origin {
        alert: None,
        format,
        service: Some(service.to_owned()),
        slo: slo.to_owned(),
        namespace: None,
        labels: labels.clone(),
    };
    let origins = [
        ("checkout-availability".to_owned(), of(OriginFormat::Sloth, "shop", "errors")),
        ("checkout-latency-p95".to_owned(), of(OriginFormat::Pyrra, "", "shop-latency")),
        // The same name again: it keeps its own.
        ("feature-store-freshness".to_owned(), of(OriginFormat::SlothResource, "shop", "errors")),
    ];
    let info = crate::web::Info { compat: ALL, origins: origins.into(), ..fixture::info() };
    let page = render(&fleet(), &info, AT);
    let own = r#"{sloth_id="shop-errors",sloth_service="shop",sloth_slo="errors",job="mine",team="pay",instance=""}"#;
    assert!(
        page.contains(&format!("slo:objective:ratio{own} 0.999\n")),
        "{:?}",
        samples(&page, "slo:objective:ratio", "shop")
    );
    assert!(
        page.contains(r#"pyrra_objective{slo="shop-latency",job="mine",sloth_id="x",team="pay",instance=""} 0.99"#),
        "{page}"
    );
    assert_eq!(value(&page, compat::SLOTH_OBJECTIVE, "feature-store-freshness"), 0.99);
    assert_eq!(samples(&page, "sloth_slo_info", "prometheus/v1").len(), 1);
}
