//! Tickets, lived through slice by slice against the real ledger: one leak, one ticket, and whoever starts later says the
//! same.

use super::*;

/// Slices a day.
const IN_A_DAY: i64 = DAY / RES;

/// A ledger and what was said of it last.
struct Life {
    slo: Slo,
    ledger: SeriesLedger,
    slice: i64,
    last: Option<SeriesStatus>,
}

impl Life {
    fn new() -> Life {
        let slo = Slo { confidence: Some(crate::engine::Confidence { page: 2e-3, ticket: 0.1 }), ..slo(99.9) };
        Life { ledger: background(&slo, 0, 0), slo, slice: ONSET / RES, last: None }
    }

    fn at(&self) -> Seconds {
        self.slice * RES
    }

    fn said(&self, previous: Option<&SeriesStatus>) -> SeriesStatus {
        evaluate(&self.slo, &self.ledger, &Labels::new(), FRESH, self.at(), previous)
    }

    /// One slice; answers whether a ticket is out.
    fn live(&mut self, total: u64, bad: u64) -> bool {
        self.ledger.apply(&[SliceDelta { slice: self.slice, total, bad, coverage: Coverage::Known }]);
        self.slice += 1;
        self.last = Some(self.said(self.last.as_ref()));
        self.now().tickets()
    }

    fn now(&self) -> &SeriesStatus {
        self.last.as_ref().expect("it has lived")
    }
}

/// When tickets came out and ended, and how often a slow clause began to fire: two errors in each `every` slices for
/// `leaking` slices, one request a slice, and days without errors around them.
fn leak(leaking: i64, every: i64, after: i64) -> (Vec<i64>, Vec<i64>, usize) {
    let (mut life, mut was, mut clause_was) = (Life::new(), false, false);
    let (mut began, mut ended, mut clauses) = (Vec::new(), Vec::new(), 0);
    for slice in -2 * IN_A_DAY..leaking + after {
        let bad = (0..leaking).contains(&slice) && slice % every >= every - 2;
        let is = life.live(1, bad.into());
        match (was, is) {
            (false, true) => began.push(slice),
            (true, false) => ended.push(slice),
            _ => {}
        }
        let clause = life.now().clauses.iter().any(|clause| clause.speed == Speed::Slow && clause.firing);
        clauses += usize::from(clause && !clause_was);
        (was, clause_was) = (is, clause);
        assert_eq!(life.now().state == SloState::SlowBurn, is && !life.now().pages(), "{slice}");
    }
    (began, ended, clauses)
}

#[test]
fn a_leak_is_one_ticket_although_its_clause_comes_and_goes() {
    // Two requests a minute, two errors in eight hours: 2x by the long window, and two hours in eight without any in six.
    let (began, ended, clauses) = leak(8 * IN_A_DAY, 1000, 4 * IN_A_DAY);
    assert!(clauses > 1, "else there is nothing to hold: {clauses}");
    assert_eq!((began.len(), ended.len()), (1, 1), "{began:?} {ended:?}, {clauses} of the clauses");
    // So few events never contradict it: it ends when the long window is no longer over.
    let over = (ended[0] - 8 * IN_A_DAY) / 120;
    assert!((6..72).contains(&over), "over {over} h after the leak");
}

#[test]
fn what_many_events_contradict_is_over_with_the_short_window() {
    let (mut life, mut ended) = (Life::new(), None);
    for slice in -IN_A_DAY..2 * IN_A_DAY {
        let bad = if (0..IN_A_DAY).contains(&slice) { 4 } else { 0 };
        let is = life.live(1000, bad);
        if slice == IN_A_DAY - 1 {
            assert!(is, "4x for a day");
        }
        ended = ended.or((slice > IN_A_DAY && !is).then_some(slice - IN_A_DAY));
    }
    let hours = ended.expect("it ends") / 120;
    assert!((1..6).contains(&hours), "{hours} h after it");
}

#[test]
fn what_ended_is_a_ticket_again_only_by_what_came_since() {
    // Two dozen errors in a day, contradicted by busy hours; one error more, while the three days are over.
    let mut life = Life::new();
    for slice in 0..3 * IN_A_DAY {
        life.live(1, u64::from(slice > 2 * IN_A_DAY && slice % 120 == 0));
    }
    assert!(life.now().tickets());
    for slice in 0..1500 {
        life.live(if slice < 720 { 12 } else { 1 }, 0);
    }
    assert!(!life.now().tickets() && life.now().ticket.is_some_and(|ticket| ticket.held.is_some()), "{:?}", life.now());
    assert!(!life.live(1, 1), "one error is no leak");
    let fires = life.now().clauses.iter().any(|clause| clause.speed == Speed::Slow && clause.firing);
    assert!(fires, "the clause says so: {:?}", life.now().clauses);
    let again = (0..IN_A_DAY).any(|slice| life.live(1, u64::from(slice % 120 == 119)));
    assert!(again, "an error an hour is one");
}

/// Months at the edge of the budget, in which tickets come and go: who is started anywhere says the same as who lived
/// through it, and so does who comes back with what was written before.
#[test]
fn a_ticket_does_not_depend_on_who_watched() {
    let (mut looks, mut out) = (0, 0);
    for seed in 1..=2 {
        let mut random = Random(seed);
        let mut life = Life::new();
        for slice in 0..24 * IN_A_DAY {
            let total = random.poisson((-0.5_f64).exp());
            let leaks = (10 * IN_A_DAY..12 * IN_A_DAY).contains(&slice);
            let bad = (0..total).filter(|_| random.ratio() < if leaks { 0.003 } else { 0.0008 }).count() as u64;
            life.live(total, bad);
            if slice > 8 * IN_A_DAY && slice % 331 == 0 {
                let (lived, started) = (life.now(), life.said(None));
                assert_eq!(started.ticket, lived.ticket, "started at slice {slice} of {seed}");
                // Not `since`: hours ago the edge of three days cuts slots that are known by the hour alone.
                assert_eq!(started.state, lived.state, "slice {slice} of {seed}");
                let written = serde_json::to_vec(lived).expect("plain");
                let written: SeriesStatus = serde_json::from_slice(&written).expect("as it was written");
                assert_eq!(life.said(Some(&written)), *lived, "restarted at slice {slice} of {seed}");
                (looks, out) = (looks + 1, out + u32::from(lived.tickets()));
            }
        }
    }
    println!("{out} of {looks} looks in the midst of a ticket");
    assert!(out > looks / 10 && out < looks / 2, "{out} of {looks}");
}

#[test]
fn without_data_a_ticket_stays_as_it_was() {
    let mut life = Life::new();
    for slice in 0..3 * IN_A_DAY {
        life.live(1, u64::from(slice % 400 == 399));
    }
    assert!(life.now().tickets());
    let later = life.at() + 10 * 3600;
    let blind = evaluate(&life.slo, &life.ledger, &Labels::new(), STALE, later, life.last.as_ref());
    assert_eq!((blind.ticket, blind.state), (life.now().ticket, SloState::SlowBurn));
    assert_eq!(evaluate(&life.slo, &life.ledger, &Labels::new(), STALE, later, None).ticket, None);
}
