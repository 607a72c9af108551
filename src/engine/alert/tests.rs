//! The alert machine: rows of evaluations in, alerts and transitions out.

use super::text::{duration, factor, percent};
use super::*;
use crate::engine::Page;
use crate::engine::burn::tests::slo as plain_slo;
use crate::engine::severity::{Condition, SeverityRule};
use crate::engine::status::{ClauseStatus, DataHealth, DataReason, DataState, SeriesStatus, SloState, WindowStatus};
use crate::engine::ticket::Ticket;
use crate::engine::{Slo, Speed};

const T0: Seconds = 1_743_645_600;

fn slo() -> Slo {
    let mut slo = plain_slo(99.9);
    slo.annotations.insert("runbook".to_owned(), "https://runbooks.internal/checkout".to_owned());
    slo
}

fn rule(condition: Condition, sev: u8) -> SeverityRule {
    SeverityRule { condition, when: BTreeMap::new(), sev: Sev::new(sev).expect("1..=5") }
}

/// What a row of a test says of one evaluation.
#[derive(Clone, Copy)]
struct RowSays {
    fast: bool,
    slow: bool,
    left: f64,
    data: DataState,
    reason: DataReason,
}

const CALM: RowSays = RowSays { fast: false, slow: false, left: 0.8, data: DataState::Fresh, reason: DataReason::None };
const FAST: RowSays = RowSays { fast: true, ..CALM };
const SLOW: RowSays = RowSays { slow: true, ..CALM };
const BOTH: RowSays = RowSays { fast: true, slow: true, ..CALM };
const SPENT: RowSays = RowSays { left: -0.2, ..CALM };

impl RowSays {
    /// The same, with the data gone.
    fn blind(self) -> RowSays {
        RowSays { data: DataState::Stale, reason: DataReason::SourceUnreachable, ..self }
    }
}

fn status(says: RowSays, at: Seconds) -> SeriesStatus {
    let clause = |speed, long_s: i64, allowed, burn, firing| ClauseStatus {
        speed,
        text: format!("{}h > {allowed}x", long_s / 3600).into(),
        long_s,
        short_s: long_s / 12,
        factor: allowed,
        burn_long: Some(burn),
        burn_short: Some(burn * 1.2),
        chance: None,
        firing,
    };
    let blind = matches!(says.data, DataState::Stale | DataState::Absent);
    let state = match says {
        RowSays { fast: true, .. } => SloState::FastBurn,
        RowSays { slow: true, .. } => SloState::SlowBurn,
        _ if blind => SloState::Unknown,
        RowSays { left, .. } if left <= 0.0 => SloState::Exhausted,
        _ => SloState::Ok,
    };
    SeriesStatus {
        labels: Labels::new(),
        at,
        state,
        since: None,
        data: DataHealth { state: says.data, reason: says.reason, newest: None },
        budget_remaining: Some(says.left),
        exhaustion_s: Some(93_600.0),
        window: WindowStatus {
            window_s: 2_592_000,
            total: 1000,
            bad: 1,
            undecided: None,
            error_ratio: Some(0.001),
            burn_rate: Some(1.0),
            bad_bounds: None,
        },
        coverage: 1.0,
        windows: Vec::new(),
        clauses: vec![
            clause(Speed::Fast, 3600, 14.4, if says.fast { 43.21 } else { 0.5 }, says.fast),
            clause(Speed::Slow, 86_400, 3.0, if says.slow { 5.0 } else { 0.5 }, says.slow),
        ],
        page: says.fast.then_some(Page { since: T0, ended_at: None, from: at, hot_at: at, over_at: at, lull_s: 0 }),
        ticket: says.slow.then_some(Ticket { fires: true, held: None }),
        onset: None,
        budgets: Vec::new(),
    }
}

/// One line an alert: kind, severity, start, and what is special about it.
fn shown(book: &AlertMachine) -> String {
    let lines = book.active().into_iter().map(|alert| {
        let mut line = format!("{} {} +{}", alert.kind.as_str(), alert.sev, alert.starts_at - T0);
        if let Some(ended) = alert.resolved_at {
            line += &format!(" resolved +{}", ended - T0);
        }
        if alert.held {
            line += &format!(" held:{}", alert.annotations["data_reason"]);
        }
        if let Some(by) = alert.inhibited_by {
            line += &format!(" behind:{}", by.as_str());
        }
        line
    });
    lines.collect::<Vec<_>>().join(" | ")
}

/// Steps a book through `(seconds after T0, what is said, alerts then)`.
fn check(slo: &Slo, rows: &[(i64, RowSays, &str)]) -> (AlertMachine, Vec<Transition>) {
    let (mut book, mut transitions) = (AlertMachine::new(), Vec::new());
    for (after, says, expected) in rows {
        transitions.extend(book.step(slo, &status(*says, T0 + after), T0 + after));
        assert_eq!(shown(&book), *expected, "at +{after}");
        let json = serde_json::to_string(&book).expect("the book serializes");
        let back: AlertMachine = serde_json::from_str(&json).expect("just written");
        assert_eq!(back, book, "at +{after}");
        let bytes = postcard::to_allocvec(&book).expect("the book serializes");
        assert_eq!(postcard::from_bytes::<AlertMachine>(&bytes).expect("just written"), book);
    }
    (book, transitions)
}

fn changes(transitions: &[Transition]) -> Vec<(AlertKind, TransitionKind)> {
    transitions.iter().map(|transition| (transition.kind, transition.change)).collect()
}

#[test]
fn a_burn_fires_once_and_is_kept_15_minutes_after_it_ends() {
    let (book, transitions) = check(
        &slo(),
        &[
            (0, CALM, ""),
            (30, FAST, "fast_burn SEV-2 +30"),
            (60, FAST, "fast_burn SEV-2 +30"),
            (90, CALM, "fast_burn SEV-2 +30 resolved +90"),
            (990, CALM, "fast_burn SEV-2 +30 resolved +90"),
            (1020, CALM, ""),
        ],
    );
    assert_eq!(book, AlertMachine::new(), "nothing is left behind");
    use TransitionKind::{Fired, Resolved};
    let expected = [
        (AlertKind::FastBurn, Fired(FireReason::Burning)),
        (AlertKind::FastBurn, Resolved(ResolveReason::ConditionEnded)),
    ];
    assert_eq!(changes(&transitions), expected);
}

#[test]
fn an_alert_that_comes_back_is_one_alert_with_a_new_start() {
    check(
        &slo(),
        &[
            (0, FAST, "fast_burn SEV-2 +0"),
            (30, CALM, "fast_burn SEV-2 +0 resolved +30"),
            (60, FAST, "fast_burn SEV-2 +60"),
        ],
    );
}

/// A page ends and another begins while nobody watches: the alert that goes on is of the new one, as whoever watched says.
#[test]
fn a_page_that_began_unseen_gives_its_alert_a_new_start() {
    let (slo, mut book) = (slo(), AlertMachine::new());
    let paged = |at: Seconds, since: Seconds| {
        let said = status(FAST, T0 + at);
        let page = said.page.map(|page| Page { since: T0 + since, ..page });
        SeriesStatus { page, since: Some(T0 + since), ..said }
    };
    for (at, since, starts_at) in [
        (60, 30, 30),
        (5400, 5100, 5100),
        (5430, 5100, 5100),
        // One that has lived for longer than is remembered may look younger than it is.
        (40_000, 40_000 - 6 * 3600 + 30, 5100),
    ] {
        book.step(&slo, &paged(at, since), T0 + at);
        let alert = book.get(&slo.id, &Labels::new(), AlertKind::FastBurn).expect("it fires");
        assert_eq!((alert.starts_at - T0, alert.resolved_at), (starts_at, None), "at +{at}");
    }
    assert_eq!(book.active().len(), 1);
}

#[test]
fn fast_burn_inhibits_slow() {
    let (_, transitions) = check(
        &slo(),
        &[
            (0, BOTH, "fast_burn SEV-2 +0 | slow_burn SEV-3 +0 behind:fast_burn"),
            (30, SLOW, "fast_burn SEV-2 +0 resolved +30 | slow_burn SEV-3 +0"),
            (60, BOTH, "fast_burn SEV-2 +60 | slow_burn SEV-3 +0"),
        ],
    );
    let slow: Vec<_> = changes(&transitions).into_iter().filter(|(kind, _)| *kind == AlertKind::SlowBurn).collect();
    let expected = [TransitionKind::Inhibited(AlertKind::FastBurn), TransitionKind::Released];
    assert_eq!(slow.iter().map(|(_, change)| *change).collect::<Vec<_>>(), expected);
}

#[test]
fn what_went_out_is_not_taken_back_by_a_stronger_alert() {
    check(
        &slo(),
        &[
            (0, SLOW, "slow_burn SEV-3 +0"),
            (30, BOTH, "fast_burn SEV-2 +30 | slow_burn SEV-3 +0"),
            (60, FAST, "fast_burn SEV-2 +30 | slow_burn SEV-3 +0 resolved +60"),
        ],
    );
}

#[test]
fn what_ends_while_inhibited_leaves_no_trace() {
    check(
        &slo(),
        &[(0, BOTH, "fast_burn SEV-2 +0 | slow_burn SEV-3 +0 behind:fast_burn"), (30, FAST, "fast_burn SEV-2 +0")],
    );
}

#[test]
fn either_burn_inhibits_the_budget_alert() {
    let spent = |says: RowSays| RowSays { left: -0.2, ..says };
    check(
        &slo(),
        &[
            (
                0,
                spent(BOTH),
                "budget SEV-3 +0 behind:fast_burn | fast_burn SEV-2 +0 | slow_burn SEV-3 +0 behind:fast_burn",
            ),
            (
                30,
                spent(SLOW),
                "budget SEV-3 +0 behind:slow_burn | fast_burn SEV-2 +0 resolved +30 | slow_burn SEV-3 +0",
            ),
            (60, SPENT, "budget SEV-3 +0 | fast_burn SEV-2 +0 resolved +30 | slow_burn SEV-3 +0 resolved +60"),
            (
                90,
                CALM,
                "budget SEV-3 +0 resolved +90 | fast_burn SEV-2 +0 resolved +30 | slow_burn SEV-3 +0 resolved +60",
            ),
        ],
    );
}

#[test]
fn no_data_holds_what_fires_and_raises_data_missing_beside_it() {
    let (book, transitions) = check(
        &slo(),
        &[
            (0, FAST, "fast_burn SEV-2 +0"),
            (30, FAST.blind(), "fast_burn SEV-2 +0 held:source_unreachable"),
            (150, CALM.blind(), "data_missing SEV-3 +150 | fast_burn SEV-2 +0 held:source_unreachable"),
            (86_400, CALM.blind(), "data_missing SEV-3 +150 | fast_burn SEV-2 +0 held:source_unreachable"),
            (86_430, FAST, "data_missing SEV-3 +150 | fast_burn SEV-2 +0"),
            (86_460, CALM, "data_missing SEV-3 +150 | fast_burn SEV-2 +0 resolved +86460"),
            (86_730, CALM, "data_missing SEV-3 +150 resolved +86730 | fast_burn SEV-2 +0 resolved +86460"),
        ],
    );
    use TransitionKind::{Fired, Held, Judged, Resolved};
    let expected = [
        (AlertKind::FastBurn, Fired(FireReason::Burning)),
        (AlertKind::FastBurn, Held(DataReason::SourceUnreachable)),
        (AlertKind::DataMissing, Fired(FireReason::NoDataWhileFiring)),
        (AlertKind::FastBurn, Judged),
        (AlertKind::FastBurn, Resolved(ResolveReason::ConditionEnded)),
        (AlertKind::DataMissing, Resolved(ResolveReason::ConditionEnded)),
    ];
    assert_eq!(changes(&transitions), expected);
    let fast = book.get("checkout-availability", &Labels::new(), AlertKind::FastBurn).expect("kept");
    assert!(!fast.annotations.contains_key("data_state"), "the mark goes when the data is back");
}

#[test]
fn data_missing_waits_two_minutes_where_nothing_fires() {
    let (_, transitions) = check(
        &slo(),
        &[
            (0, CALM.blind(), ""),
            (90, CALM.blind(), ""),
            (120, CALM.blind(), "data_missing SEV-3 +120"),
            (150, CALM, "data_missing SEV-3 +120"),
            (450, CALM, "data_missing SEV-3 +120 resolved +450"),
            (480, CALM.blind(), "data_missing SEV-3 +120 resolved +450"),
            (570, CALM, "data_missing SEV-3 +120 resolved +450"),
            (900, CALM, "data_missing SEV-3 +120 resolved +450"),
        ],
    );
    assert_eq!(transitions.len(), 2);
    assert_eq!(transitions[0].change, TransitionKind::Fired(FireReason::NoData));
}

#[test]
fn data_that_flickers_is_missing_once() {
    let (mut book, mut transitions) = (AlertMachine::new(), Vec::new());
    // A minute with, a minute without, for two hours; then it stays.
    for after in (0..9000).step_by(30) {
        let says = if after < 7200 && after / 60 % 2 == 0 { CALM.blind() } else { CALM };
        transitions.extend(book.step(&slo(), &status(says, T0 + after), T0 + after));
    }
    let told: Vec<(Seconds, TransitionKind)> =
        transitions.iter().map(|transition| (transition.at - T0, transition.change)).collect();
    let ended = TransitionKind::Resolved(ResolveReason::ConditionEnded);
    assert_eq!(told, [(390, TransitionKind::Fired(FireReason::NoData)), (7440, ended)]);
}

#[test]
fn a_gap_now_and_then_is_no_outage_of_data() {
    let mut book = AlertMachine::new();
    for after in (0..36_000).step_by(30) {
        let says = if after % 600 < 60 { CALM.blind() } else { CALM };
        assert_eq!(book.step(&slo(), &status(says, T0 + after), T0 + after), [], "+{after}");
    }
}

#[test]
fn data_missing_never_fires_for_a_source_that_is_not_there_or_still_filling() {
    for reason in [DataReason::NoSource, DataReason::Filling, DataReason::ScaledToZero] {
        let says = RowSays { data: DataState::Absent, reason, ..CALM };
        check(&slo(), &[(0, says, ""), (600, says, ""), (6000, says, "")]);
        let burning = RowSays { data: DataState::Absent, reason, ..FAST };
        let held = format!("fast_burn SEV-2 +0 held:{}", reason.as_str());
        check(&slo(), &[(0, FAST, "fast_burn SEV-2 +0"), (600, burning, &held)]);
    }
}

#[test]
fn nothing_new_fires_on_stale_data() {
    check(&slo(), &[(0, BOTH.blind(), ""), (60, SPENT.blind(), "")]);
}

#[test]
fn nothing_ends_while_history_is_still_being_read() {
    let filling = |says: RowSays| RowSays { reason: DataReason::Filling, data: DataState::Partial, ..says };
    check(
        &slo(),
        &[
            (0, FAST, "fast_burn SEV-2 +0"),
            (30, filling(CALM), "fast_burn SEV-2 +0 held:filling"),
            (60, filling(BOTH), "fast_burn SEV-2 +0 | slow_burn SEV-3 +60 behind:fast_burn"),
            (90, CALM, "fast_burn SEV-2 +0 resolved +90"),
        ],
    );
}

#[test]
fn an_unknown_state_holds_too() {
    let mut book = AlertMachine::new();
    book.step(&slo(), &status(FAST, T0), T0);
    let mut unheard = status(CALM, T0 + 30);
    (unheard.state, unheard.budget_remaining) = (SloState::Unknown, None);
    book.step(&slo(), &unheard, T0 + 30);
    assert_eq!(shown(&book), "fast_burn SEV-2 +0 held:none");
}

#[test]
fn a_deeper_budget_level_resolves_the_old_severity_and_fires_the_new() {
    let mut slo = slo();
    slo.severity = vec![
        rule(Condition::BudgetBelow(0.1), 2),
        rule(Condition::BudgetBelow(0.25), 4),
        rule(Condition::SloBreach, 1),
    ];
    let left = |left| RowSays { left, ..CALM };
    let (book, transitions) = check(
        &slo,
        &[
            (0, left(0.3), ""),
            (30, left(0.2), "budget SEV-4 +30"),
            (60, left(0.2).blind(), "budget SEV-4 +30 held:source_unreachable"),
            (90, left(0.05), "budget SEV-2 +90 | budget SEV-4 +30 resolved +90"),
            (1200, left(0.05), "budget SEV-2 +90"),
            (1230, FAST, "budget SEV-2 +90 resolved +1230 | fast_burn SEV-1 +1230"),
        ],
    );
    let relabelled = |change| changes(&transitions).contains(&(AlertKind::Budget, change));
    assert!(relabelled(TransitionKind::Resolved(ResolveReason::Relabelled)));
    assert!(relabelled(TransitionKind::Fired(FireReason::Relabelled)));
    assert!(relabelled(TransitionKind::Fired(FireReason::BudgetLow)));
    assert_eq!(book.get(&slo.id, &Labels::new(), AlertKind::Budget).expect("kept").sev.number(), 2);
}

#[test]
fn a_severity_change_while_a_stronger_one_fires_keeps_going_out() {
    let mut slo = slo();
    slo.severity = vec![rule(Condition::BudgetBelow(0.1), 2), rule(Condition::BudgetBelow(0.25), 4)];
    let left = |says: RowSays, left| RowSays { left, ..says };
    check(
        &slo,
        &[
            (0, left(CALM, 0.2), "budget SEV-4 +0"),
            (30, left(FAST, 0.05), "budget SEV-2 +30 | budget SEV-4 +0 resolved +30 | fast_burn SEV-2 +30"),
        ],
    );
    check(
        &slo,
        &[
            (0, left(FAST, 0.2), "budget SEV-4 +0 behind:fast_burn | fast_burn SEV-2 +0"),
            (30, left(FAST, 0.05), "budget SEV-2 +30 behind:fast_burn | fast_burn SEV-2 +0"),
        ],
    );
}

#[test]
fn budget_levels_for_other_series_do_not_count() {
    let mut slo = slo();
    let mut realtime = rule(Condition::BudgetBelow(0.9), 1);
    realtime.when.insert("tier".to_owned(), "realtime".to_owned());
    slo.severity = vec![realtime];
    let mut book = AlertMachine::new();
    for (tier, fires) in [("realtime", true), ("batch", false)] {
        let mut status = status(CALM, T0);
        status.labels.set("tier", tier);
        assert_eq!(!book.step(&slo, &status, T0).is_empty(), fires, "{tier}");
    }
}

#[test]
fn a_removed_slo_resolves_what_fires() {
    let (mut book, _) = check(&slo(), &[(0, BOTH, "fast_burn SEV-2 +0 | slow_burn SEV-3 +0 behind:fast_burn")]);
    assert!(book.retain_slos(|_| true, T0 + 30).is_empty());
    let transitions = book.retain_slos(|id| id != "checkout-availability", T0 + 60);
    assert_eq!(transitions[0].change, TransitionKind::Resolved(ResolveReason::Removed));
    assert_eq!(shown(&book), "fast_burn SEV-2 +0 resolved +60");
    book.prune(T0 + 60 + RESOLVED_KEPT_S);
    assert_eq!(shown(&book), "fast_burn SEV-2 +0 resolved +60");
    book.prune(T0 + 61 + RESOLVED_KEPT_S);
    assert_eq!(book, AlertMachine::new());
}

#[test]
fn identity_is_labels_that_never_change_and_series_labels_do_not_clash() {
    let mut book = AlertMachine::new();
    let mut status = status(FAST, T0);
    status.labels = Labels::from_iter([("model", "llama"), ("severity", "high"), ("kind", "gpu")]);
    book.step(&slo(), &status, T0);
    let alert = book.active()[0].clone();
    let expected = r#"{alertname="SLOFastBurn",kind="fast_burn",model="llama",owner="team-checkout",series_kind="gpu",series_severity="high",service="checkout",sev="SEV-2",severity="critical",slo="availability",slo_id="checkout-availability"}"#;
    assert_eq!(alert.labels.to_string(), expected);
    status.clauses[0].burn_long = Some(99.0);
    status.budget_remaining = Some(0.1);
    book.step(&slo(), &status, T0 + 30);
    assert_eq!(book.active()[0].labels, alert.labels);
    assert_ne!(book.active()[0].annotations, alert.annotations, "values live in annotations, and are renewed");
}

/// The error rate now and before, since when, how many failed, and how much of the window is known at all.
#[test]
fn a_burn_says_since_when_and_how_much_of_it_is_known() {
    let mut status = status(FAST, 0);
    let at = 1_743_646_020; // 2025-04-03T02:07:00Z
    status.onset = Some(crate::engine::Onset {
        at,
        earliest: at - 30,
        latest: at,
        total_before: 1_875_000,
        bad_before: 763,
        total: 375_000,
        bad: 1_240,
        evidence: 900.0,
    });
    status.coverage = 1200.0 / 2_592_000.0;
    let texts = super::text::annotations(&slo(), &status, AlertKind::FastBurn);
    assert_eq!(
        texts["description"],
        "Error rate 8.1x since 02:07 UTC (0.041% -> 0.33%), 1,240 of 375,000 events bad. The objective is 99.9% good events \
         over 30d. 0.1% of them were bad, 1 of 1000 (of the 20m of it that are known). At the present burn the budget is \
         gone in 1d2h."
    );
    let said = ["error_rate", "error_rate_before", "failed", "onset"].map(|name| texts[name].as_str());
    assert_eq!(said, ["0.33%", "0.041%", "1,240 of 375,000", "2025-04-03T02:07:00Z"]);
    assert_eq!(texts["runbook_url"], texts["runbook"], "under the name that others use, too");
    // The budget is not about this burn alone.
    let texts = super::text::annotations(&slo(), &status, AlertKind::Budget);
    assert!(!texts.contains_key("onset") && texts["description"].starts_with("The objective"), "{texts:?}");
}

#[test]
fn annotations_say_what_a_person_needs() {
    let (book, _) = check(&slo(), &[(0, FAST, "fast_burn SEV-2 +0")]);
    let texts = &book.active()[0].annotations;
    assert_eq!(
        texts["summary"],
        "checkout-availability burns its error budget 43.2x over 1h and 51.9x over 5m (14.4x allowed)"
    );
    assert_eq!(
        texts["description"],
        "The objective is 99.9% good events over 30d. 0.1% of them were bad, 1 of 1000. At the present burn the budget is gone in 1d2h."
    );
    assert_eq!(
        (texts["runbook"].as_str(), texts["budget_remaining"].as_str()),
        ("https://runbooks.internal/checkout", "80%")
    );
    assert_eq!((texts["exhaustion"].as_str(), texts["clause"].as_str()), ("1d2h", "1h > 14.4x"));
    assert_eq!((texts["burn_long"].as_str(), texts["burn_short"].as_str()), ("43.2x", "51.9x"));
}

#[test]
fn a_start_nobody_saw_is_the_onset_of_the_state() {
    let mut book = AlertMachine::new();
    let mut late = status(FAST, T0);
    late.since = Some(T0 - 600);
    book.step(&slo(), &late, T0);
    assert_eq!(shown(&book), "fast_burn SEV-2 +-600");
}

#[test]
fn numbers_and_durations_read_well() {
    let factors = [(14.4, "14.4x"), (43.0, "43x"), (0.5249, "0.52x"), (1000.0, "1000x"), (9.999, "10x"), (0.0, "0x")];
    for (burn, text) in factors {
        assert_eq!(factor(burn), text);
    }
    for (ratio, text) in [(0.125, "12.5%"), (1.0, "100%"), (-0.2, "-20%"), (-0.00001, "0%"), (10.0, "1000%")] {
        assert_eq!(percent(ratio), text);
    }
    let durations =
        [(0.2, "0s"), (30.0, "30s"), (3600.0, "1h"), (93_600.0, "1d2h"), (90_061.0, "1d1h"), (86_461.0, "1d")];
    for (seconds, text) in durations {
        assert_eq!(duration(seconds), text);
    }
    assert_eq!(duration(f64::INFINITY), "11574074d1h");
    assert_eq!(duration(f64::NAN), "0s");
}

#[test]
fn the_same_evaluations_make_the_same_bytes() {
    let run = || {
        let mut book = AlertMachine::new();
        let mut transitions = Vec::new();
        for (step, says) in [CALM, FAST, BOTH, BOTH.blind(), SLOW, SPENT, CALM].into_iter().enumerate() {
            for model in ["b", "a", "c"] {
                let at = T0 + 30 * step as i64;
                let mut status = status(says, at);
                status.labels.set("model", model);
                transitions.extend(book.step(&slo(), &status, at));
            }
        }
        let order: Vec<Labels> = book.active().into_iter().map(|alert| alert.labels.clone()).collect();
        assert!(order.is_sorted(), "label order");
        (serde_json::to_string(&book).expect("serializes"), serde_json::to_string(&transitions).expect("serializes"))
    };
    assert_eq!(run(), run());
}

#[test]
fn a_muted_kind_is_never_raised_and_holds_nobody_back() {
    let slo = Slo { mute: vec![AlertKind::FastBurn, AlertKind::DataMissing], ..slo() };
    check(&slo, &[(0, CALM, ""), (30, BOTH, "slow_burn SEV-3 +30"), (60, FAST, "slow_burn SEV-3 +30 resolved +60")]);
    check(&slo, &[(0, CALM, ""), (30, CALM.blind(), ""), (600, CALM.blind(), "")]);
}

#[test]
fn labels_of_the_slo_are_on_every_alert_and_replace_none_of_its_own() {
    let labels = [("routing_key", "pay"), ("severity", "page")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let slo = Slo { labels: labels.into(), ..slo() };
    let (book, _) = check(&slo, &[(0, FAST, "fast_burn SEV-2 +0")]);
    let alert = book.active()[0].labels.clone();
    assert_eq!((alert.get("routing_key"), alert.get("severity")), (Some("pay"), Some("critical")));
}

#[test]
fn what_one_kind_of_alert_carries_is_on_that_kind_alone() {
    let pairs = |all: &[(&str, &str)]| all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let extras = crate::engine::AlertExtras {
        name: Some("CheckoutDown".into()),
        labels: pairs(&[("severity", "pageteam"), ("routing_key", "pay"), ("tier", "own"), ("slo", "never")]),
        annotations: pairs(&[("runbook", "https://page.example")]),
    };
    let slo = Slo {
        labels: pairs(&[("tier", "all")]),
        annotations: pairs(&[("runbook", "https://all.example")]),
        alerts: [(AlertKind::FastBurn, extras)].into(),
        ..slo()
    };
    let of = |says, expected| {
        let (book, _) = check(&slo, &[(0, says, expected)]);
        let alert = book.active()[0].clone();
        let label = |name: &str| alert.labels.get(name).unwrap_or_default().to_owned();
        let labels = ["alertname", "severity", "sev", "routing_key", "tier", "slo"].map(label).join(" ");
        (labels, alert.annotations["runbook"].clone())
    };
    let name = slo.name.clone();
    let (labels, runbook) = of(FAST, "fast_burn SEV-2 +0");
    assert_eq!(labels, format!("CheckoutDown pageteam SEV-2 pay own {name}"));
    assert_eq!(runbook, "https://page.example");
    let (labels, runbook) = of(SLOW, "slow_burn SEV-3 +0");
    assert_eq!(labels, format!("SLOSlowBurn warning SEV-3  all {name}"));
    assert_eq!(runbook, "https://all.example");
}

mod fanned_out {
    use super::*;

    /// One evaluation of a fan-out: what the whole says, and what each child says.
    fn statuses(whole: RowSays, children: &[(&str, RowSays)], at: Seconds) -> Vec<SeriesStatus> {
        let child = |&(model, says): &(&str, RowSays)| {
            let labels = [("model", model)].into_iter().collect();
            SeriesStatus { labels, ..status(says, at) }
        };
        [status(whole, at)].into_iter().chain(children.iter().map(child)).collect()
    }

    /// What goes out, as `kind of whose`.
    fn out(book: &AlertMachine) -> Vec<String> {
        let firing = book.active().into_iter().filter(|alert| alert.resolved_at.is_none());
        let whose = |alert: &&Alert| alert.inhibited_by.is_none();
        let mut out: Vec<String> = firing
            .filter(whose)
            .map(|alert| format!("{} of {}", alert.kind.as_str(), alert.series.get("model").unwrap_or("all")))
            .collect();
        out.sort();
        out
    }

    /// Seconds after T0, what the whole says, what each child says, and what goes out then.
    type Row<'a> = (i64, RowSays, &'a [(&'a str, RowSays)], &'a [&'a str]);

    fn check(rows: &[Row<'_>]) {
        let mut slo = slo();
        slo.by = vec!["model".into()];
        let mut book = AlertMachine::new();
        for (after, whole, children, expected) in rows {
            book.step_all(&slo, &statuses(*whole, children, T0 + after), T0 + after);
            assert_eq!(out(&book), *expected, "at +{after}");
        }
    }

    #[test]
    fn the_whole_waits_while_a_child_says_the_same_or_worse() {
        check(&[
            (0, FAST, &[("x", FAST), ("y", CALM)], &["fast_burn of x"]),
            // The child is well again and the whole is not: now it speaks.
            (30, FAST, &[("x", CALM), ("y", CALM)], &["fast_burn of all"]),
            // It goes on speaking: nobody is told twice that it began, nor that it ended when it did not.
            (60, FAST, &[("x", FAST), ("y", CALM)], &["fast_burn of all", "fast_burn of x"]),
            (90, CALM, &[("x", CALM), ("y", CALM)], &[]),
        ]);
    }

    #[test]
    fn a_weaker_alert_of_a_child_does_not_silence_the_whole() {
        check(&[
            (0, FAST, &[("x", SLOW)], &["fast_burn of all", "slow_burn of x"]),
            (30, CALM, &[("x", CALM)], &[]),
            (60, SPENT, &[("x", SLOW)], &["slow_burn of x"]),
            (90, SPENT, &[("x", CALM)], &["budget of all"]),
        ]);
    }

    #[test]
    fn what_no_child_explains_is_an_alert_of_the_whole() {
        check(&[(0, SLOW, &[("x", CALM), ("y", CALM)], &["slow_burn of all"])]);
    }

    #[test]
    fn without_any_data_the_whole_speaks_for_its_children() {
        let blind = CALM.blind();
        check(&[
            (0, blind, &[("x", blind), ("y", blind)], &[]),
            (150, blind, &[("x", blind), ("y", blind)], &["data_missing of all"]),
            // One is still blind when the others are back: that is its own news.
            (300, CALM, &[("x", CALM), ("y", blind)], &["data_missing of all", "data_missing of y"]),
            (600, CALM, &[("x", CALM), ("y", blind)], &["data_missing of y"]),
        ]);
    }

    #[test]
    fn a_page_of_a_child_is_held_beside_the_missing_data_of_the_whole() {
        let blind = FAST.blind();
        check(&[
            (0, FAST, &[("x", FAST), ("y", CALM)], &["fast_burn of x"]),
            (30, blind, &[("x", blind), ("y", CALM.blind())], &["fast_burn of x"]),
            (150, blind, &[("x", blind), ("y", CALM.blind())], &["data_missing of x", "fast_burn of x"]),
        ]);
    }
}
