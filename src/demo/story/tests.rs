use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::engine::DataState;
use crate::engine::alert::AlertKind;
use crate::engine::slo::Unit;
use crate::engine::snapshot::SloSnapshot;
use crate::engine::status::{DataHealth, DataReason, WindowStatus};

const AT: Seconds = 1_760_000_000;

fn slo(id: &str) -> Arc<Slo> {
    let (service, name) = id.split_once('-').expect("service-name");
    Arc::new(Slo {
        id: id.into(),
        service: service.into(),
        name: name.into(),
        owner: "team".into(),
        objective: 99.9,
        window_s: 30 * 86_400,
        terms: Default::default(),
        unit: Unit::Events,
        burn: vec![],
        confidence: None,
        weigh: Default::default(),
        severity: vec![],
        by: vec![],
        series_max: 100,
        annotations: BTreeMap::new(),
        labels: BTreeMap::new(),
        alerts: BTreeMap::new(),
        mute: Vec::new(),
        resolution_s: None,
    })
}

fn series(at: Seconds, state: SloState, short: f64, long: f64) -> SeriesStatus {
    let window = WindowStatus {
        window_s: 1,
        total: 1,
        bad: 0,
        undecided: None,
        error_ratio: Some(0.0),
        burn_rate: Some(0.0),
        bad_bounds: None,
    };
    SeriesStatus {
        labels: Labels::new(),
        at,
        state,
        since: None,
        data: DataHealth { state: DataState::Fresh, reason: DataReason::None, newest: Some(at) },
        budget_remaining: Some(0.714),
        exhaustion_s: (long > 1.0).then_some(7_380.0),
        window,
        coverage: 1.0,
        windows: vec![],
        clauses: vec![ClauseStatus {
            speed: Speed::Fast,
            text: "1h > 14d".into(),
            long_s: 3600,
            short_s: 300,
            factor: 2.14,
            burn_long: Some(long),
            burn_short: Some(short),
            chance: None,
            firing: short > 2.14 && long > 2.14,
        }],
        page: None,
        ticket: None,
        onset: None,
        budgets: vec![],
    }
}

fn snapshot(at: Seconds, series: Vec<SeriesStatus>) -> Snapshot {
    let slo =
        SloSnapshot { slo: slo("checkout-availability"), series: series.into(), notes: Arc::default(), whole: None };
    Snapshot { at, slos: vec![slo], alerts: vec![] }
}

fn page(at: Seconds, resolved_at: Option<Seconds>) -> Alert {
    let labels = [("alertname", "SLOFastBurn"), ("slo_id", "checkout-availability"), ("sev", "SEV-1")];
    Alert {
        labels: labels.into_iter().collect(),
        annotations: BTreeMap::new(),
        slo_id: "checkout-availability".into(),
        series: Labels::new(),
        kind: AlertKind::FastBurn,
        sev: Sev::new(1).expect("a severity"),
        starts_at: at,
        resolved_at,
        held: false,
        inhibited_by: None,
    }
}

#[test]
fn the_whole_story_from_baseline_to_resolved() {
    let body = |status: &str| {
        format!(
            r#"{{"version":"4","status":"{status}","alerts":[{{"status":"{status}","labels":{{"alertname":"SLOFastBurn",
            "slo_id":"checkout-availability","sev":"SEV-1"}},"annotations":{{}},"startsAt":"2025-10-09T08:55:20Z"}}]}}"#
        )
    };
    let sent = Delivery::from_webhook(&body("firing")).expect("a webhook body");
    let resolved = Delivery::from_webhook(&body("resolved")).expect("a webhook body");
    let with = |mut snapshot: Snapshot, alert: Alert| {
        snapshot.alerts.push(alert);
        snapshot
    };
    let chapters = [
        (Snapshot::default(), vec![]),
        (snapshot(AT, vec![series(AT, SloState::Ok, 0.3, 0.3)]), vec![]),
        (snapshot(AT + 30, vec![series(AT + 30, SloState::Ok, 0.4, 0.3)]), vec![]),
        (snapshot(AT + 60, vec![series(AT + 60, SloState::Ok, 25.0, 1.9)]), vec![]),
        (with(snapshot(AT + 90, vec![series(AT + 90, SloState::FastBurn, 52.0, 4.4)]), page(AT + 90, None)), vec![]),
        (with(snapshot(AT + 120, vec![series(AT + 120, SloState::FastBurn, 80.0, 9.0)]), page(AT + 90, None)), sent),
        (
            with(snapshot(AT + 1800, vec![series(AT + 1800, SloState::Ok, 0.4, 90.0)]), page(AT + 90, Some(AT + 1800))),
            resolved,
        ),
    ];
    let lines: Vec<String> = chapters
        .windows(2)
        .zip(1..)
        .flat_map(|(pair, wall)| {
            let lines = tell(&pair[0].0, &pair[1].0, &pair[1].1);
            lines.into_iter().map(move |line| line.render(f64::from(wall), false)).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(
        lines,
        [
            "08:53:20  +  1.0s  baseline   1 service, 1 SLO: 1 of 1 series are well",
            "08:54:20  +  3.0s  onset      checkout-availability burns 25.0x over 5m and 1.9x over 1h: an alert when both are \
             over 2.1x (1h > 14d)",
            "08:54:50  +  4.0s  FAST BURN  checkout-availability burns 52.0x over 5m and 4.4x over 1h (1h > 14d): 71 % of \
             the budget left, gone in 2h 3m at this pace",
            "08:55:20  +  5.0s  alert      SEV-1 page sent: SLOFastBurn on checkout-availability",
            "09:23:20  +  6.0s  recovery   checkout-availability no longer burns: 71 % of the budget left",
            "09:23:20  +  6.0s  resolved   SEV-1 resolved: SLOFastBurn on checkout-availability after 28m 30s",
        ]
    );
}

#[test]
fn the_baseline_names_what_is_not_well() {
    let mut slow = series(AT, SloState::SlowBurn, 1.0, 1.0);
    slow.labels.set("tier", "realtime");
    let unknown = series(AT, SloState::Unknown, 0.0, 0.0);
    let lines = tell(&Snapshot::default(), &snapshot(AT, vec![series(AT, SloState::Ok, 0.0, 0.0), slow, unknown]), &[]);
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "1 service, 1 SLO: 1 of 3 series are well",
            "checkout-availability{tier=\"realtime\"} is already in slow burn: 71 % of the budget left",
            "checkout-availability has no data yet",
        ]
    );
}

#[test]
fn nothing_is_told_while_nothing_changes_or_nothing_is_known() {
    let unknown = |at| {
        let mut filling = series(at, SloState::Unknown, 0.0, 0.0);
        filling.data.reason = DataReason::Filling;
        snapshot(at, vec![filling])
    };
    assert_eq!(tell(&unknown(AT), &unknown(AT + 30), &[]), []);
    let burning = |at| snapshot(at, vec![series(at, SloState::FastBurn, 50.0, 20.0)]);
    assert_eq!(tell(&burning(AT), &burning(AT + 30), &[]), []);
}

#[test]
fn lost_data_is_told_with_its_reason() {
    let mut lost = series(AT + 30, SloState::Unknown, 0.0, 0.0);
    lost.data = DataHealth { state: DataState::Stale, reason: DataReason::SourceUnreachable, newest: Some(AT) };
    let before = snapshot(AT, vec![series(AT, SloState::Ok, 0.0, 0.0)]);
    let after = snapshot(AT + 30, vec![lost]);
    assert_eq!(tell(&before, &after, &[])[0].text, "checkout-availability has no data: source unreachable");
    assert_eq!(tell(&after, &before, &[])[0].text, "checkout-availability has data again");
}

#[test]
fn colour_comes_only_when_asked_for() {
    let line = Line { at: AT, beat: Beat::FastBurn, text: "x".into() };
    assert!(!line.render(0.0, false).contains('\x1b'));
    assert!(line.render(0.0, true).contains("\x1b[1;31mFAST BURN\x1b[0m"));
}

#[test]
fn a_ticket_is_no_page() {
    let labels = [("alertname", "SLOSlowBurn"), ("slo_id", "a-b"), ("sev", "SEV-3")].into_iter().collect();
    let lines = tell(&Snapshot::default(), &Snapshot::default(), &[Delivery { firing: true, labels }]);
    assert_eq!((lines[0].beat, lines[0].text.as_str()), (Beat::Ticket, "SEV-3 ticket sent: SLOSlowBurn on a-b"));
}

#[test]
fn what_happens_to_several_series_at_once_is_one_line() {
    let of = |at, state, tier: &str| {
        let mut of = series(at, state, 0.0, 0.0);
        of.labels.set("tier", tier);
        of.data.reason = DataReason::SamplesOld;
        of
    };
    let at = |at, state| snapshot(at, ["batch", "realtime"].map(|tier| of(at, state, tier)).to_vec());
    let lines = tell(&at(AT, SloState::Ok), &at(AT + 30, SloState::Unknown), &[]);
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["checkout-availability (2 series) has no data: samples old"]);
}

#[test]
fn a_fast_burn_that_becomes_slow_is_a_recovery_and_not_a_new_burn() {
    let lines = tell(
        &snapshot(AT, vec![series(AT, SloState::FastBurn, 5.0, 40.0)]),
        &snapshot(AT + 30, vec![series(AT + 30, SloState::SlowBurn, 0.3, 40.0)]),
        &[],
    );
    assert_eq!(lines[0].beat, Beat::Recovery);
    let text = "checkout-availability is down to 0.3x over 5m; a slow burn until its windows have forgotten it: 71 % of \
                the budget left";
    assert_eq!(lines[0].text, text);
}

#[test]
fn a_burn_comes_and_goes_in_the_short_window_without_an_onset_while_something_fires() {
    let calm = snapshot(AT, vec![series(AT, SloState::SlowBurn, 1.0, 1.5)]);
    let burst = snapshot(AT + 30, vec![series(AT + 30, SloState::SlowBurn, 20.0, 1.9)]);
    assert_eq!(tell(&calm, &burst, &[]), []);
}

#[test]
fn the_baseline_waits_until_history_is_read() {
    let mut filling = series(AT, SloState::Ok, 0.0, 0.0);
    filling.data = DataHealth { state: DataState::Partial, reason: DataReason::Filling, newest: Some(AT) };
    let filling = snapshot(AT, vec![filling]);
    assert_eq!(tell(&Snapshot::default(), &filling, &[]), []);
    let filled = snapshot(AT + 30, vec![series(AT + 30, SloState::Ok, 0.0, 0.0)]);
    assert_eq!(tell(&filling, &filled, &[])[0].beat, Beat::Baseline);
}

#[test]
fn spans_keep_two_units() {
    let cases = [(0, "0s"), (59, "59s"), (300, "5m"), (3600, "1h"), (7_383, "2h 3m"), (187_200, "2d 4h")];
    for (seconds, text) in cases {
        assert_eq!(span(seconds), text);
    }
}
