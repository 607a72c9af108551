use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::query::fetch::{QueueRule, Sli};
use crate::query::grid::{Cell, Through, waiting_labels};

const LEAST: u64 = 20;

fn plan(least: u64) -> Plan {
    ruled(QueueRule { least, bound_s: 0, through: false })
}

fn ruled(rule: QueueRule) -> Plan {
    let mut plan = Plan::default();
    plan.slis.push(Sli { id: "q".into(), queue: Some(rule), ..Sli::default() });
    plan
}

fn read_to(to: i64) -> Option<ReadUpTo> {
    Some(ReadUpTo { known: to, counted: to, waiting: to })
}

/// What reading the histogram says: (slice, events, bad ones), all of them known; and the slices an interval with events
/// touches.
fn counts(slices: &[(i64, u64, u64)], moved: &[i64]) -> SeriesDeltas {
    let delta = |&(slice, total, bad): &(i64, u64, u64)| SliceDelta { slice, total, bad, coverage: Coverage::Known };
    let mark = |&(slice, ..): &(i64, u64, u64)| Mark { slice, moved: moved.contains(&slice), begins: false };
    SeriesDeltas {
        sli: 0,
        labels: Labels::new(),
        deltas: slices.iter().map(delta).collect(),
        marks: slices.iter().map(mark).collect(),
        ..SeriesDeltas::default()
    }
}

fn gauge(slices: &[(i64, u64)]) -> GridHarvest {
    let slices = slices.iter().map(|&(slice, total)| (slice, Cell { total, bad: 0, rows: 1 })).collect();
    GridHarvest { sli: 0, labels: waiting_labels(&Labels::new()), slices, fault: None }
}

/// (total, bad) of each slice that is known after all this.
#[derive(Debug, Default, PartialEq)]
struct Seen(BTreeMap<i64, (u64, u64)>);

impl Seen {
    fn take(&mut self, harvests: impl IntoIterator<Item = SeriesDeltas>) {
        for delta in harvests.into_iter().flat_map(|harvest| harvest.deltas) {
            let of = self.0.entry(delta.slice).or_default();
            *of = (of.0 + delta.total, of.1 + delta.bad);
        }
    }
}

fn judged(least: u64, counted: SeriesDeltas, waiting: GridHarvest, to: i64) -> BTreeMap<i64, (u64, u64)> {
    judged_by(&plan(least), counted, waiting, to)
}

fn judged_by(plan: &Plan, counted: SeriesDeltas, waiting: GridHarvest, to: i64) -> BTreeMap<i64, (u64, u64)> {
    let (mut book, mut seen) = (QueueBook::new(30), Seen::default());
    drop(book.take_counts(counted));
    book.take_waiting(plan, Labels::new(), &waiting);
    seen.take(book.settle(plan, |_| read_to(to)));
    seen.0
}

#[test]
fn waiters_without_completions_are_bad_and_an_empty_queue_is_idle() {
    let counted = || counts(&[(10, 5, 1), (11, 0, 0), (12, 0, 0), (13, 0, 0)], &[10]);
    let waiting = || gauge(&[(10, 4), (11, 3), (12, 0), (13, 25)]);
    let by_slice = judged(LEAST, counted(), waiting(), 14);
    assert_eq!(by_slice, [(10, (5, 1)), (11, (20, 20)), (12, (0, 0)), (13, (25, 25))].into());
    let by_event = judged(1, counted(), waiting(), 14);
    assert_eq!(by_event, [(10, (5, 1)), (11, (3, 3)), (12, (0, 0)), (13, (25, 25))].into());
}

#[test]
fn a_slice_that_an_interval_with_completions_touches_is_the_histograms() {
    // Scrapes each 60 s: the completions are booked in every other slice, and may have been in the one before.
    let counted = counts(&[(10, 0, 0), (11, 7, 0), (12, 0, 0), (13, 7, 0)], &[10, 11, 12, 13]);
    let seen = judged(1, counted, gauge(&[(10, 9), (11, 9), (12, 9), (13, 9)]), 14);
    assert_eq!(seen, [(10, (0, 0)), (11, (7, 0)), (12, (0, 0)), (13, (7, 0))].into());
}

#[test]
fn without_the_gauge_nothing_is_known_of_a_slice_without_completions() {
    let seen = judged(1, counts(&[(10, 2, 0), (11, 0, 0), (12, 0, 0)], &[10]), gauge(&[(12, 1)]), 13);
    assert_eq!(seen, [(10, (2, 0)), (12, (1, 1))].into());
}

#[test]
fn a_histogram_that_is_not_there_let_nobody_through_and_one_that_is_late_is_unknown() {
    let waiting: Vec<(i64, u64)> = (0..40).map(|slice| (slice, 2)).collect();
    let seen = judged(1, counts(&[], &[]), gauge(&waiting), 40);
    assert_eq!(seen.len(), 40);
    assert!(seen.values().all(|&of| of == (2, 2)));
    // Seen up to slice 20 and silent since: five minutes later it is gone.
    let counted: Vec<_> = (0..=20).map(|slice| (slice, 1, 0)).collect();
    let moved: Vec<_> = (0..=20).collect();
    let seen = judged(1, counts(&counted, &moved), gauge(&waiting), 40);
    assert_eq!(seen.keys().copied().filter(|&slice| slice > 20).collect::<Vec<_>>(), (31..40).collect::<Vec<_>>());
}

#[test]
fn a_verdict_waits_until_what_touches_the_slice_was_read() {
    let (mut book, plan) = (QueueBook::new(30), plan(1));
    drop(book.take_counts(counts(&[(10, 0, 0)], &[])));
    book.take_waiting(&plan, Labels::new(), &gauge(&[(10, 4)]));
    let read = |counted, waiting| move |_| Some(ReadUpTo { known: counted, counted, waiting });
    assert_eq!(book.settle(&plan, read(10, 11)), []);
    // The next scrape shows that somebody may have got through.
    drop(book.take_counts(counts(&[(10, 0, 0), (11, 3, 0)], &[10, 11])));
    let deltas: Vec<_> = book.settle(&plan, read(11, 11)).into_iter().flat_map(|harvest| harvest.deltas).collect();
    let of = |slice, total| SliceDelta { slice, total, bad: 0, coverage: Coverage::Known };
    assert_eq!(deltas, [of(10, 0), of(11, 3)]);
}

#[test]
fn sums_of_the_server_reach_back_as_far_as_a_slow_scrape() {
    let mut sums = SeriesDeltas { marks: Vec::new(), ..counts(&[(10, 0, 0), (11, 0, 0), (12, 6, 0)], &[]) };
    mark_sums(&mut sums, 30);
    let seen = judged(1, sums, gauge(&[(10, 1), (11, 1), (12, 1)]), 13);
    assert_eq!(seen, [(10, (0, 0)), (11, (0, 0)), (12, (6, 0))].into());
}

/// What comes of a queue of which somebody is let in in the slices `let_in` and nobody completes anything after slice 0.
fn guided(bound_s: i64, let_in: &[i64], waiting: &[(i64, u64)], done: &[(i64, u64, u64)]) -> BTreeMap<i64, (u64, u64)> {
    let plan = ruled(QueueRule { least: 1, bound_s, through: true });
    let (mut book, mut seen) = (QueueBook::new(30), Seen::default());
    let moved: Vec<i64> = done.iter().filter(|of| of.1 > 0).map(|of| of.0).collect();
    drop(book.take_counts(counts(done, &moved)));
    let slices = waiting.iter().map(|&(slice, _)| (slice, let_in.contains(&slice))).collect();
    book.take_through(&plan, Through { sli: 0, labels: Labels::new(), slices }, 0);
    book.take_waiting(&plan, Labels::new(), &gauge(waiting));
    let end = waiting.last().expect("some").0 + 1;
    seen.take(book.settle(&plan, |_| read_to(end)));
    seen.0
}

#[test]
fn silence_is_bad_only_when_longer_than_the_bound() {
    let rule = QueueRule { least: 1, bound_s: 120, through: false };
    let idle: Vec<_> = (1..10).map(|slice| (slice, 0, 0)).collect();
    let done: Vec<_> = [(0, 5, 0)].into_iter().chain(idle.clone()).collect();
    let waiting: Vec<_> = (0..10).map(|slice| (slice, 2)).collect();
    let run = |done: &[(i64, u64, u64)], waiting: &[(i64, u64)]| {
        let (mut book, mut seen) = (QueueBook::new(30), Seen::default());
        let moved: Vec<i64> = done.iter().filter(|of| of.1 > 0).map(|of| of.0).collect();
        drop(book.take_counts(counts(done, &moved)));
        book.take_waiting(&ruled(rule), Labels::new(), &gauge(waiting));
        seen.take(book.settle(&ruled(rule), |_| read_to(10)));
        seen.0.into_iter().filter(|(_, of)| of.1 > 0).map(|(slice, _)| slice).collect::<Vec<_>>()
    };
    // Two minutes after the end of the slice in which the last one got through.
    assert_eq!(run(&done, &waiting), (4..10).collect::<Vec<_>>());
    // Who comes to an empty queue has not waited since before it was empty.
    let emptied: Vec<_> = waiting.iter().map(|&(slice, of)| (slice, if slice == 3 { 0 } else { of })).collect();
    assert_eq!(run(&done, &emptied), [7, 8, 9]);
    // One who gets through in between ends the silence.
    let once: Vec<_> = done.iter().map(|&(slice, ..)| (slice, u64::from(slice % 4 == 0), 0)).collect();
    assert_eq!(run(&once, &waiting), Vec::<i64>::new());
    // A gap of the gauge is no proof that the queue was empty; what is not known is not bad.
    let gap: Vec<_> = waiting.iter().copied().filter(|&(slice, _)| slice != 5).collect();
    assert_eq!(run(&done, &gap), [4, 6, 7, 8, 9]);
}

#[test]
fn who_is_let_in_counts_and_not_who_is_done() {
    let waiting: Vec<_> = (0..12).map(|slice| (slice, 1)).collect();
    // Four slots of long work: nobody is done for minutes, and somebody is let in all the time.
    let silent: Vec<_> = (0..12).map(|slice| (slice, 0, 0)).collect();
    let fine = guided(10, &(0..12).collect::<Vec<_>>(), &waiting, &silent);
    assert_eq!(fine.values().map(|of| of.1).sum::<u64>(), 0);
    assert_eq!(fine.len(), 12, "known, and idle");
    // Those who run get done while nobody is let in any more.
    let done: Vec<_> = (0..12).map(|slice| (slice, 3, 0)).collect();
    let stuck = guided(60, &[0, 1, 2], &waiting, &done);
    let bad = |slice: &i64| stuck[slice].1 > 0;
    assert_eq!((0..12).filter(bad).collect::<Vec<_>>(), (4..12).collect::<Vec<_>>());
    assert_eq!(stuck[&5], (4, 1), "the completions count beside it");
}

#[test]
fn a_move_reaches_back_over_its_scrape_interval_and_a_silence_waits_for_the_next_scrape() {
    let plan = ruled(QueueRule { least: 1, bound_s: 30, through: true });
    let (mut book, mut seen) = (QueueBook::new(30), Seen::default());
    let through =
        |slices: &[(i64, bool)]| Through { sli: 0, labels: Labels::new(), slices: slices.iter().copied().collect() };
    drop(book.take_counts(counts(&[(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0), (4, 0, 0)], &[])));
    book.take_waiting(&plan, Labels::new(), &gauge(&[(0, 1), (1, 1), (2, 1), (3, 1), (4, 1)]));
    book.take_through(&plan, through(&[(0, true), (1, false), (2, false)]), 2);
    seen.take(book.settle(&plan, |_| read_to(3)));
    assert_eq!(seen.0.get(&1), None, "the scrape that shows it is not read yet");
    book.take_through(&plan, through(&[(3, true), (4, false), (5, false), (6, false)]), 2);
    seen.take(book.settle(&plan, |_| read_to(7)));
    assert_eq!(seen.0, [(0, (0, 0)), (1, (0, 0)), (2, (0, 0)), (3, (0, 0)), (4, (1, 1))].into());
}

proptest! {
    /// However the two are cut into reads, and wherever a restart falls, the slices are the same.
    #[test]
    fn reads_and_restarts_change_nothing(
        queue in prop::collection::vec((0u64..4, prop::option::weighted(0.8, 0u64..3)), 5..60),
        cuts in prop::collection::vec((1usize..9, any::<bool>()), 1..12),
        bound_s in 0i64..200,
    ) {
        let plan = ruled(QueueRule { least: 1, bound_s, through: false });
        let slices = 0..queue.len() as i64;
        let moved: Vec<i64> = slices.clone().filter(|&slice| queue[slice as usize].0 == 0).collect();
        let count = |slice: i64| (slice, if queue[slice as usize].0 == 0 { 3 } else { 0 }, 0);
        let of_gauge = |slice: i64| queue[slice as usize].1.map(|waiting| (slice, waiting));
        let whole: Vec<_> = slices.clone().map(count).collect();
        let waiting: Vec<_> = slices.clone().filter_map(of_gauge).collect();
        let at_once = judged_by(&plan, counts(&whole, &moved), gauge(&waiting), queue.len() as i64);

        let (mut book, mut seen, mut from) = (QueueBook::new(30), Seen::default(), 0i64);
        for (length, restarts) in cuts.into_iter().chain([(queue.len(), false)]) {
            let to = (from + length as i64).min(queue.len() as i64);
            // Counts come once, but what is known of a slice comes with each read that reaches back to it; so does the gauge.
            let back = (from - 2).max(0);
            let news: Vec<_> =
                (back..to).map(|slice| if slice < from { (slice, 0, 0) } else { count(slice) }).collect();
            drop(book.take_counts(counts(&news, &moved)));
            let gauges: Vec<_> = (back..to).filter_map(of_gauge).collect();
            book.take_waiting(&plan, Labels::new(), &gauge(&gauges));
            let counted = if to == queue.len() as i64 { to } else { to - 2 };
            seen.take(book.settle(&plan, |_| Some(ReadUpTo { known: counted, counted, waiting: to })));
            if restarts {
                let saved = postcard::to_stdvec(&book.saved(&plan)).expect("it can be written");
                book = QueueBook::new(30);
                book.restore(&plan, postcard::from_bytes(&saved).expect("it can be read"));
            }
            from = to;
        }
        prop_assert_eq!(seen.0, at_once);
    }
}
