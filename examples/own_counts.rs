//! The engine on counts of your own: no Prometheus, no daemon. An SLO is read from text, slices of counts are booked in a
//! ledger, and everything else (burn rates, budget, state) is a function of the ledger and a moment.
//!
//!     cargo run --example own_counts

use slowburn::engine::status::DataHealth;
use slowburn::engine::{Coverage, DataReason, DataState, Labels, Ledger, SliceDelta, SloState, burn};
use slowburn::spec;

const SERVICE: &str = "
name: newsletter
owner: team-mail
slo:
  custom:
    # The selectors are not asked for here: the counts come from this program.
    - {name: deliveries, objective: 99.9, events: {total: sent_total, bad: bounced_total}}
";

/// Length of a slice, seconds.
const RESOLUTION_S: i64 = 30;
const HOUR_S: i64 = 3600;

fn main() {
    let loaded = spec::load_text("newsletter.yaml", SERVICE);
    assert!(!loaded.is_fatal(), "{}", loaded.render(false));
    let slo = &loaded.model.slos[0].slo;

    // Thirty days at one bounce in two thousand; one in fifty during the last hour.
    let now = 1_760_000_400;
    let counts = |slice: i64| match slice * RESOLUTION_S >= now - HOUR_S {
        true => SliceDelta { slice, total: 1_000, bad: 20, coverage: Coverage::Known },
        false => SliceDelta { slice, total: 2_000, bad: 1, coverage: Coverage::Known },
    };
    let slices: Vec<SliceDelta> = ((now - slo.window_s) / RESOLUTION_S..now / RESOLUTION_S).map(counts).collect();
    let mut ledger = Ledger::new(RESOLUTION_S);
    let none = Labels::new();
    ledger.series_mut(slo, &none).apply(&slices);

    let fresh = DataHealth { state: DataState::Fresh, reason: DataReason::None, newest: Some(now) };
    let series = ledger.get(&slo.id, &none).expect("it was just filled");
    let status = burn::evaluate(slo, series, &none, fresh, now, None);

    println!("{} is {:?}", slo.id, status.state);
    for clause in &status.clauses {
        let burn = clause.burn_long.map_or("unknown".to_owned(), |burn| format!("{burn:.1}x"));
        println!("  {:<14} burns {burn:>7}{}", clause.text, if clause.firing { ", and fires" } else { "" });
    }
    let left = status.budget_remaining.expect("all slices are known");
    println!("  {:.1} % of the error budget is left", left * 100.0);
    // 86,400 slices with 1 bad of 2,000, but for 120 with 20 of 1,000: 88,680 bad of 172,680,000, where 172,680 may be.
    assert!((left - (1.0 - 88_680.0 / 172_680.0)).abs() < 1e-9);
    assert_eq!(status.state, SloState::FastBurn);
}
