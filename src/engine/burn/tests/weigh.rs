//! `weigh: budget` beside `weigh: rate`, on the same day: what a quiet hour costs, and what a busy one does.

use super::*;

/// Whether the first clause (`1h/5m > 14.4x`) fires after an hour of `traffic` (in those of the mean) at `burn`.
fn fires(weigh: Weigh, traffic: f64, burn: f64) -> bool {
    let slo = Slo { weigh, ..slo(99.9) };
    let mut ledger = long_background(&slo, 100);
    let total = (traffic * MILLION as f64) as u64;
    ledger.apply(&slices(ONSET, 120, total, (total as f64 * burn * slo.budget()) as u64));
    at(&slo, &ledger, ONSET + 3600).clauses[0].firing
}

#[test]
fn a_quiet_hour_spends_little_of_the_budget_and_a_busy_one_much() {
    // 5 % of a fifth of the traffic is 50x by the rate a user meets, and 10x by what it costs the month.
    assert_eq!((fires(Weigh::Rate, 0.2, 50.0), fires(Weigh::Budget, 0.2, 50.0)), (true, false));
    // 12x of the peak costs as much as 21.6x of the mean.
    assert_eq!((fires(Weigh::Rate, 1.8, 12.0), fires(Weigh::Budget, 1.8, 12.0)), (false, true));
    // At the mean they are one.
    for burn in [14.0, 15.0] {
        assert_eq!(fires(Weigh::Rate, 1.0, burn), fires(Weigh::Budget, 1.0, burn), "{burn}");
    }
    // Much of the budget goes because of the crowd: users hardly notice.
    assert!(!fires(Weigh::Budget, 6.0, 3.0), "three times the budget");
    assert!(fires(Weigh::Budget, 6.0, 6.0));
}

#[test]
fn without_a_mean_it_is_weighed_by_rate() {
    let slo = Slo { weigh: Weigh::Budget, ..slo(99.9) };
    let mut ledger = SeriesLedger::new(RES, slo.unit, slo.window_s);
    ledger.apply(&slices(ONSET, 120, MILLION, 20_000));
    let status = at(&slo, &ledger, ONSET + 3600);
    assert!(status.clauses[0].firing, "its mean is that of what is known: {:?}", status.clauses[0]);
}
