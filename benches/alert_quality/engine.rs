//! The twin held to the engine: the same slices through a ledger and through evaluation after evaluation.

use std::collections::BTreeMap;

use slowburn::engine::ledger::{Coverage, SeriesLedger, SliceDelta};
use slowburn::engine::status::{DataHealth, DataReason, DataState};
use slowburn::engine::{BurnClause, Confidence, Labels, SeriesStatus, Slo, Speed, Unit, Weigh, burn};

use crate::random::Random;
use crate::scenario::{DAY, FAULTS, RES, Service, sample};
use crate::twin::{self, Judging, LEVELS, Policy, Signals};

/// In how many slices of some stories the page or the ticket of the engine is not that of the twin.
pub fn differences(seed: u64, runs: usize) -> usize {
    let mut differ = 0;
    for run in 0..runs {
        for (nth, scenario) in FAULTS.iter().enumerate().filter(|(nth, _)| *nth != 5 && (nth + run) % 3 == 0) {
            for (rpm, cluster) in [(2.0, 1.0), (10.0, 4.0), (100.0, 1.0)] {
                let service = Service { rpm, objective: 99.9, background: 0.5, cluster };
                let truth = scenario.truth(&service, DAY, 0.0005);
                let slices = sample(&truth, &service, &mut Random::of(&[seed, run as u64, nth as u64, rpm as u64]));
                let twin = &twin::events(&[Policy::Ours], &slices, &service, LEVELS)[0];
                differ += differing(&lived(Unit::Events, 99.9, &slices), twin);
            }
        }
        for (rpm, slow) in [(1.0, 0.2), (10.0, 0.06), (100.0, 0.1)] {
            let service = Service { rpm, objective: 99.0, background: 0.03, cluster: 1.0 };
            let truth = FAULTS[0].truth(&service, DAY / 2, 0.03);
            let mut truth = truth.clone();
            truth.bad[truth.fault.clone()].fill(slow);
            let slices = sample(&truth, &service, &mut Random::of(&[seed, run as u64, rpm as u64, 7]));
            let (twin, _) = twin::judged(Judging::Evidence, &slices, &service);
            differ += differing(&lived(Unit::QuantileSlices { quantile: 0.95 }, 99.0, &slices), &twin);
        }
    }
    differ
}

fn slo(unit: Unit, objective: f64) -> Slo {
    let clause = |speed, long_s, short_s, factor| BurnClause { speed, long_s, short_s, factor, text: "".into() };
    Slo {
        id: "shop-availability".into(),
        service: "shop".into(),
        name: "availability".into(),
        owner: "team".into(),
        objective,
        window_s: 30 * 86_400,
        terms: Default::default(),
        unit,
        resolution_s: None,
        burn: vec![
            clause(Speed::Fast, 3600, 300, 14.4),
            clause(Speed::Fast, 6 * 3600, 1800, 6.0),
            clause(Speed::Slow, 86_400, 7200, 3.0),
            clause(Speed::Slow, 3 * 86_400, 6 * 3600, 1.0),
        ],
        confidence: Some(Confidence { page: LEVELS.0, ticket: LEVELS.1 }),
        weigh: Weigh::Rate,
        severity: Vec::new(),
        by: Vec::new(),
        series_max: 1,
        annotations: BTreeMap::new(),
        labels: BTreeMap::new(),
        alerts: BTreeMap::new(),
        mute: Vec::new(),
    }
}

fn differing(a: &Signals, b: &Signals) -> usize {
    let of = |a: &[bool], b: &[bool]| a.iter().zip(b).filter(|(a, b)| a != b).count();
    of(&a.page, &b.page) + of(&a.ticket, &b.ticket)
}

fn lived(unit: Unit, objective: f64, slices: &[(u64, u64)]) -> Signals {
    let slo = slo(unit, objective);
    let mut ledger = SeriesLedger::new(RES, unit, slo.window_s);
    let labels = Labels::new();
    let mut status: Option<SeriesStatus> = None;
    let mut signals = Signals::default();
    for (slice, &(total, bad)) in slices.iter().enumerate() {
        ledger.apply(&[SliceDelta { slice: slice as i64, total, bad, coverage: Coverage::Known }]);
        let at = (slice as i64 + 1) * RES;
        let data = DataHealth { state: DataState::Fresh, reason: DataReason::None, newest: Some(at) };
        let next = burn::evaluate(&slo, &ledger, &labels, data, at, status.as_ref());
        signals.page.push(next.pages());
        signals.ticket.push(next.tickets());
        status = Some(next);
    }
    signals
}
