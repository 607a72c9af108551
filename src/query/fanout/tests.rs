use std::collections::btree_map::Entry;

use super::*;
use crate::query::{RawSeries, Samples, Tracker, increment::Read};
use crate::spec;

/// A plan with one SLO that fans out to at most three rows, and tells `tier="gold"` apart.
fn plan() -> Plan {
    let text = "name: a\nowner: t\nslo:\n  availability:\n    objective: 99.9\n    by: [model, tier]\n    series_max: 3\n    \
                sli: {total: 'r_total', bad: 'r_total{code=\"500\"}'}\nincident:\n  severity_mapping:\n    \
                - {condition: fast_burn, when: {tier: gold}, severity: SEV-1}\n";
    let loaded = spec::load_texts(&[("a.yaml", text)], &spec::Options::default());
    assert!(!loaded.is_fatal(), "{}", loaded.render(false));
    Plan::new(&loaded.model).0
}

fn child(model: &str, tier: &str) -> Labels {
    [("model", model), ("tier", tier)].into_iter().collect()
}

fn met(model: &str, events: f64, at_ms: i64) -> Met {
    Met { sli: 0, child: child_key(&child(model, "std")), events, at_ms }
}

fn row(fanout: &Fanout, plan: &Plan, model: &str, tier: &str) -> Labels {
    let labels = [("model".to_owned(), model.to_owned()), ("tier".to_owned(), tier.to_owned())];
    let bookings = fanout.bookings(plan, 0, &labels);
    assert_eq!((bookings.len(), bookings[1].labels.clone()), (2, Labels::new()), "a child and the whole");
    bookings[0].labels.clone()
}

fn has_row(fanout: &Fanout, plan: &Plan, model: &str) -> bool {
    row(fanout, plan, model, "std") == child(model, "std")
}

fn rows(fanout: &Fanout, plan: &Plan, models: &[&str]) -> Vec<bool> {
    models.iter().map(|model| has_row(fanout, plan, model)).collect()
}

const HOUR: i64 = 3_600_000;

#[test]
fn of_many_new_children_the_busiest_get_the_rows() {
    let (plan, mut fanout) = (plan(), Fanout::default());
    fanout.meet(&plan, [("a", 1.0), ("b", 50.0), ("c", 7.0), ("d", 30.0), ("e", 9.0)].map(|(m, n)| met(m, n, 0)));
    assert_eq!(rows(&fanout, &plan, &["a", "b", "c", "d", "e"]), [false, true, false, true, true]);
    assert_eq!(fanout.extent(0), (5, 3));
    assert!(fanout.is_folded(&plan, 0, &child("a", "std")) && !fanout.is_folded(&plan, 0, &child("b", "std")));
}

#[test]
fn other_keeps_the_values_that_a_severity_names() {
    let (plan, mut fanout) = (plan(), Fanout::default());
    fanout.meet(&plan, ["a", "b", "c", "d"].map(|model| met(model, 1.0, 0)));
    assert_eq!(row(&fanout, &plan, "z", "gold"), child("other", "gold"));
    assert_eq!(row(&fanout, &plan, "z", "std"), child("other", "other"));
}

#[test]
fn a_late_comer_waits_for_twice_the_traffic_and_nobody_flaps() {
    let (plan, mut fanout) = (plan(), Fanout::default());
    let none = BTreeSet::new();
    fanout.meet(&plan, ["a", "b", "c"].map(|model| met(model, 100.0, 0)));
    let mut moves = 0;
    for hour in 1..=48 {
        // A little more than the quietest, each hour: not clearly busier.
        let hourly = [("a", 300.0), ("b", 200.0), ("c", 100.0), ("d", 150.0)];
        fanout.meet(&plan, hourly.map(|(model, events)| met(model, events, hour * HOUR)));
        moves += fanout.reconsider(&plan, &none).len();
    }
    assert_eq!((moves, rows(&fanout, &plan, &["c", "d"])), (0, vec![true, false]));
    for hour in 49..=240 {
        let hourly = [("a", 300.0), ("b", 200.0), ("c", 100.0), ("d", 1000.0)];
        fanout.meet(&plan, hourly.map(|(model, events)| met(model, events, hour * HOUR)));
        moves += fanout.reconsider(&plan, &none).len();
    }
    assert_eq!((moves, rows(&fanout, &plan, &["a", "b", "c", "d"])), (1, vec![true, true, false, true]));
}

#[test]
fn who_burns_keeps_its_row_and_who_is_gone_leaves_it() {
    let (plan, mut fanout) = (plan(), Fanout::default());
    fanout.meet(&plan, ["a", "b", "c"].map(|model| met(model, 1.0, 0)));
    fanout.meet(&plan, ["a", "b", "c", "d"].map(|model| met(model, if model == "d" { 1e6 } else { 1.0 }, 60_000)));
    let all = ["a", "b", "c"].map(|model| (0, child_key(&child(model, "std")))).into();
    assert_eq!((fanout.reconsider(&plan, &all), has_row(&fanout, &plan, "d")), (vec![], false));
    fanout.meet(&plan, ["b", "c", "d"].map(|model| met(model, 1.0, 2 * HOUR)));
    assert_eq!(fanout.reconsider(&plan, &BTreeSet::new()), [0]);
    assert_eq!(rows(&fanout, &plan, &["a", "b", "c", "d"]), [false, true, true, true]);
}

#[test]
fn a_restart_moves_no_row() {
    let (plan, mut fanout) = (plan(), Fanout::default());
    fanout.meet(&plan, [("a", 5.0), ("b", 4.0), ("c", 3.0), ("d", 2.0)].map(|(model, events)| met(model, events, 0)));
    let saved: SavedFanout =
        postcard::from_bytes(&postcard::to_stdvec(&fanout.saved(&plan)).expect("plain")).expect("own");
    let mut again = Fanout::restore(&plan, saved);
    // Now the one without a row is the busiest, and comes first.
    again.meet(&plan, [("d", 500.0), ("a", 1.0), ("b", 1.0), ("c", 1.0)].map(|(m, events)| met(m, events, 60_000)));
    assert_eq!(rows(&again, &plan, &["a", "b", "c", "d"]), [true, true, true, false]);
}

#[test]
fn children_beyond_memory_are_counted_and_not_remembered() {
    let (plan, mut fanout) = (plan(), Fanout::default());
    let many = (0..100_000).map(|i| met(&format!("m{i}"), 1.0, 0));
    fanout.meet(&plan, many);
    assert_eq!(fanout.extent(0), (KNOWN_MAX, 3));
    assert_eq!(row(&fanout, &plan, "m99999", "gold").get("model"), Some(OTHER));
}

/// Whatever rows move, and through restarts: the children add up to the whole, slice by slice, and to the truth.
#[test]
fn no_event_is_lost_or_counted_twice_while_children_come_and_go() {
    let plan = plan();
    let mut tracker = Tracker::new(30);
    let (mut whole, mut parts, mut truth) = ((0, 0), (0, 0), (0.0, 0.0));
    let mut counts: BTreeMap<(u64, &str), f64> = BTreeMap::new();
    let mut seen: BTreeSet<Labels> = BTreeSet::new();
    let born = |n: u64| (n * n * 37) % 300;
    for poll in 0..600_u64 {
        let at_ms = 1_800_000_000_000 + 30_000 * poll as i64;
        let mut counters = Vec::new();
        for n in (0..12_u64).filter(|&n| poll >= born(n) && poll < born(n) + 260) {
            for code in ["200", "500"] {
                let gain =
                    ((poll + 3 * n) % (7 + n)) as f64 * if code == "500" { 0.0 } else { 1.0 } + (poll % 2) as f64;
                // A pod's own counters: the first sample sets the start, all later gains are events.
                let count = match counts.entry((n, code)) {
                    Entry::Vacant(new) => new.insert(1000.0),
                    Entry::Occupied(known) => {
                        truth.0 += gain;
                        truth.1 += if code == "500" { gain } else { 0.0 };
                        let count = known.into_mut();
                        *count += gain;
                        count
                    }
                };
                let labels = [("__name__", "r_total"), ("code", code), ("instance", &format!("i{n}")), ("job", "j")];
                let more = [("model", format!("m{n}")), ("tier", if n % 4 == 0 { "gold" } else { "std" }.to_owned())];
                let labels = labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter();
                let labels: Vec<_> = labels.chain(more.map(|(k, v)| (k.to_owned(), v))).collect();
                counters.push(RawSeries { labels: labels.into(), samples: Samples::new(vec![(at_ms - 1000, *count)]) });
            }
        }
        let harvest = tracker.read(&plan, &Read { counters: &counters, witnesses: &[], until_ms: at_ms, join: None });
        for series in harvest.series {
            let sum = if series.labels.is_empty() { &mut whole } else { &mut parts };
            for delta in &series.deltas {
                *sum = (sum.0 + delta.total, sum.1 + delta.bad);
            }
            seen.insert(series.labels);
        }
        assert_eq!(whole, parts, "poll {poll}");
        match poll % 100 {
            40 => tracker.reconsider(&plan, &BTreeSet::new()),
            70 => tracker = Tracker::restore(30, &plan, tracker.cursors(&plan, i64::MAX)),
            _ => {}
        }
    }
    assert_eq!((whole.0 as f64, whole.1 as f64), truth);
    assert!(seen.contains(&child("other", "other")) && seen.contains(&child("other", "gold")), "{seen:?}");
    assert!(seen.len() > 5, "rows moved: {seen:?}");
}
