use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::query::fetch::Sli;
use crate::query::grid::{Cell, waiting_labels};

const LEAST: u64 = 20;

fn plan(least: u64) -> Plan {
    let mut plan = Plan::default();
    plan.slis.push(Sli { id: "q".into(), queue: Some(least), ..Sli::default() });
    plan
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
    let (mut book, mut seen) = (QueueBook::new(30), Seen::default());
    drop(book.take_counts(counted));
    book.take_waiting(&plan(least), Labels::new(), &waiting);
    seen.take(book.settle(&plan(least), |_| Some(ReadUpTo { counted: to, waiting: to })));
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
    let read = |counted, waiting| move |_| Some(ReadUpTo { counted, waiting });
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

proptest! {
    /// However the two are cut into reads, and wherever a restart falls, the slices are the same.
    #[test]
    fn reads_and_restarts_change_nothing(
        queue in prop::collection::vec((0u64..4, prop::option::weighted(0.8, 0u64..3)), 5..60),
        cuts in prop::collection::vec((1usize..9, any::<bool>()), 1..12),
    ) {
        let plan = plan(1);
        let slices = 0..queue.len() as i64;
        let moved: Vec<i64> = slices.clone().filter(|&slice| queue[slice as usize].0 == 0).collect();
        let count = |slice: i64| (slice, if queue[slice as usize].0 == 0 { 3 } else { 0 }, 0);
        let of_gauge = |slice: i64| queue[slice as usize].1.map(|waiting| (slice, waiting));
        let whole: Vec<_> = slices.clone().map(count).collect();
        let waiting: Vec<_> = slices.clone().filter_map(of_gauge).collect();
        let at_once = judged(1, counts(&whole, &moved), gauge(&waiting), queue.len() as i64);

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
            seen.take(book.settle(&plan, |_| Some(ReadUpTo { counted, waiting: to })));
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
