use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::engine::{Coverage, Ledger, Slo, Unit};
use crate::query::Samples;
use crate::query::plan::{Known, Survey, same_bound};
use crate::spec::model::Part;
use crate::spec::{Model, SliSource, SloSpec};

const RES: i64 = 30;

fn slo(name: &str, source: SliSource, by: &[&str]) -> SloSpec {
    SloSpec {
        slo: Arc::new(Slo {
            id: format!("a-{name}"),
            service: "a".into(),
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
            by: by.iter().map(|&b| b.to_owned()).collect(),
            series_max: 100,
            annotations: BTreeMap::new(),
            labels: BTreeMap::new(),
            alerts: BTreeMap::new(),
            mute: Vec::new(),
            resolution_s: None,
        }),
        source: Ok(source),
        target_labels: vec!["job".into(), "instance".into()],
        origin: None,
    }
}

pub(super) fn availability(by: &[&str]) -> Plan {
    let source = SliSource::Ratio {
        total: r#"req_total{service="a"}"#.into(),
        part: Part::Bad(r#"req_total{service="a",code=~"5.."}"#.into()),
    };
    Plan::new(&Model { slos: vec![slo("availability", source, by)], services: vec![] }).0
}

fn latency() -> Plan {
    let source = SliSource::Histogram { selector: r#"lat_seconds{service="a"}"#.into(), threshold: 0.5 };
    Plan::new(&Model { slos: vec![slo("latency", source, &[])], services: vec![] }).0
}

/// A raw series; times in seconds.
fn raw(name: &str, extra: &[(&str, &str)], samples: &[(i64, f64)]) -> RawSeries {
    let mut labels: Vec<(String, String)> = [("__name__", name), ("service", "a"), ("job", "j"), ("instance", "i1")]
        .iter()
        .filter(|(n, _)| !extra.iter().any(|(e, _)| e == n))
        .chain(extra)
        .map(|&(n, v)| (n.to_owned(), v.to_owned()))
        .collect();
    labels.sort();
    RawSeries { labels: labels.into(), samples: Samples::new(samples.iter().map(|&(at, v)| (at * 1000, v)).collect()) }
}

fn ok(samples: &[(i64, f64)]) -> RawSeries {
    raw("req_total", &[("code", "200")], samples)
}

fn errors(samples: &[(i64, f64)]) -> RawSeries {
    raw("req_total", &[("code", "500")], samples)
}

fn read(tracker: &mut Tracker, plan: &Plan, counters: &[RawSeries]) -> ReadDeltas {
    read_with(tracker, plan, counters, &[])
}

fn read_with(tracker: &mut Tracker, plan: &Plan, counters: &[RawSeries], witnesses: &[RawSeries]) -> ReadDeltas {
    let newest = counters.iter().filter_map(|raw| raw.samples.iter().next_back()).map(|(at, _)| at).max();
    tracker.read(plan, &Read { counters, witnesses, until_ms: newest.unwrap_or(0), join: None })
}

/// (total, bad) over all slices of all series.
fn sum(harvest: &ReadDeltas) -> (u64, u64) {
    harvest.series.iter().flat_map(|s| &s.deltas).fold((0, 0), |(t, b), d| (t + d.total, b + d.bad))
}

fn every_30s(n: i64, per_scrape: f64) -> Vec<(i64, f64)> {
    (0..n).map(|i| (7 + i * 30, 1000.0 + i as f64 * per_scrape)).collect()
}

#[test]
fn a_lifetime_total_is_no_news_and_differences_are_exact() {
    let (plan, mut tracker) = (availability(&[]), Tracker::new(RES));
    let harvest = read(&mut tracker, &plan, &[ok(&every_30s(11, 60.0))]);
    assert_eq!(sum(&harvest), (600, 0));
    let deltas = &harvest.series[0].deltas;
    assert!(deltas.iter().all(|d| d.coverage == Coverage::Known), "{deltas:?}");
    assert_eq!(deltas.iter().map(|d| d.total).collect::<Vec<_>>(), [[0].as_slice(), &[60; 10]].concat());
}

#[test]
fn samples_read_twice_count_once() {
    let (plan, mut tracker) = (availability(&[]), Tracker::new(RES));
    let samples = every_30s(11, 60.0);
    let mut total = 0;
    for end in 1..=samples.len() {
        let window = &samples[end.saturating_sub(3)..end];
        total += sum(&read(&mut tracker, &plan, &[ok(window)])).0;
    }
    assert_eq!(total, 600);
}

#[test]
fn a_restart_counts_what_the_new_process_counted() {
    let (plan, mut tracker) = (availability(&[]), Tracker::new(RES));
    let harvest = read(&mut tracker, &plan, &[ok(&[(0, 100.0), (30, 160.0), (60, 12.0), (90, 72.0)])]);
    assert_eq!((sum(&harvest).0, harvest.resets), (60 + 12 + 60, 1));
}

#[test]
fn a_small_fall_is_a_glitch_unless_a_sibling_restarted() {
    let (plan, mut tracker) = (availability(&[]), Tracker::new(RES));
    let flip = ok(&[(0, 1059.0), (30, 1057.0), (60, 1061.0)]);
    let harvest = read(&mut tracker, &plan, &[flip]);
    assert_eq!((sum(&harvest).0, harvest.glitches, harvest.resets), (2, 1, 0));

    let mut tracker = Tracker::new(RES);
    let restarted = [ok(&[(0, 1000.0), (30, 5.0)]), errors(&[(0, 9.0), (30, 8.0)])];
    assert_eq!(sum(&read(&mut tracker, &plan, &restarted)), (13, 8));
}

#[test]
fn the_first_error_of_a_pod_counts_from_zero() {
    let (plan, mut tracker) = (availability(&[]), Tracker::new(RES));
    let harvest = read(&mut tracker, &plan, &[ok(&every_30s(11, 60.0)), errors(&[(187, 3.0), (217, 5.0)])]);
    assert_eq!(sum(&harvest), (605, 5));
    // The same when the pod was seen in an earlier read.
    let mut tracker = Tracker::new(RES);
    read(&mut tracker, &plan, &[ok(&every_30s(3, 60.0))]);
    let harvest = read(&mut tracker, &plan, &[ok(&[(97, 1180.0)]), errors(&[(97, 4.0)])]);
    assert_eq!(sum(&harvest), (64, 4));
}

#[test]
fn a_new_target_counts_from_zero_only_if_its_process_is_younger_than_the_reading() {
    let plan = availability(&[]);
    for (began_s, wanted) in [(100, 50), (20, 50), (-1, 0)] {
        let mut tracker = Tracker::new(RES);
        tracker.begin(0, 0);
        read(&mut tracker, &plan, &[ok(&every_30s(3, 0.0))]);
        let of = [("code", "200"), ("instance", "i2")];
        let counters = [raw("req_total", &of, &[(110, 50.0)])];
        let doubtful = tracker.doubtful(&plan, &counters);
        assert_eq!(doubtful.iter().filter_map(|labels| labels.get("instance")).collect::<Vec<_>>(), ["i2"]);
        let process = raw(PROCESS_START, &of[1..], &[(110, f64::from(began_s))]);
        assert_eq!(sum(&read_with(&mut tracker, &plan, &counters, &[process])).0, wanted, "{began_s}");
        assert!(tracker.doubtful(&plan, &counters).is_empty());
    }
}

#[test]
fn a_hole_is_bridged_and_its_slices_are_partial() {
    let (plan, mut tracker) = (availability(&[]), Tracker::new(RES));
    let mut samples = every_30s(10, 60.0);
    samples.push((277 + 1200, 1540.0 + 2400.0));
    samples.push((277 + 1230, 1540.0 + 2460.0));
    let harvest = read(&mut tracker, &plan, &[ok(&samples)]);
    assert_eq!(sum(&harvest).0, 9 * 60 + 2460);
    let partial: Vec<i64> =
        harvest.series[0].deltas.iter().filter(|d| d.coverage == Coverage::Partial).map(|d| d.slice).collect();
    assert_eq!(partial, (10..=49).collect::<Vec<_>>());
}

#[test]
fn a_series_gone_while_its_siblings_were_scraped_starts_anew_if_they_restarted() {
    let (plan, mut tracker) = (availability(&[]), Tracker::new(RES));
    let mut ok_samples: Vec<(i64, f64)> = (0..60).map(|i| (i * 30, 100.0 + i as f64)).collect();
    let gone = errors(&[(0, 1.0), (30, 1.0), (1200, 1.0)]);
    // Nothing restarted: it was hidden, and counted nothing meanwhile.
    assert_eq!(sum(&read(&mut tracker, &plan, &[ok(&ok_samples), gone.clone()])), (59, 0));
    for sample in &mut ok_samples[20..] {
        sample.1 -= 110.0;
    }
    let mut tracker = Tracker::new(RES);
    assert_eq!(sum(&read(&mut tracker, &plan, &[ok(&ok_samples), gone])), (19 + 10 + 39 + 1, 1));
}

#[test]
fn a_hidden_series_of_a_living_target_is_no_news_when_it_shows_again() {
    let (plan, mut tracker) = (availability(&[]), Tracker::new(RES));
    let bad = |i: i64| (i * 30, 1_000_000.0 + i as f64);
    let good = |from: i64, to: i64| -> Vec<(i64, f64)> { (from..to).map(|i| (i * 30, 5e6 + i as f64)).collect() };
    read(&mut tracker, &plan, &[ok(&good(0, 10)), errors(&(0..10).map(bad).collect::<Vec<_>>())]);
    read(&mut tracker, &plan, &[ok(&good(10, 40))]);
    let harvest = read(&mut tracker, &plan, &[ok(&good(40, 42)), errors(&[bad(40), bad(41)])]);
    assert_eq!(sum(&harvest), (2 + 32, 32));
}

#[test]
fn an_slo_added_later_does_not_count_the_lifetime_of_known_targets() {
    let two = |with_b: bool| {
        let source = |service: &str| SliSource::Ratio {
            total: format!(r#"req_total{{service="{service}"}}"#),
            part: Part::Bad(format!(r#"req_total{{service="{service}",code=~"5.."}}"#)),
        };
        let mut slos = vec![slo("one", source("a"), &[])];
        if with_b {
            slos.push(slo("two", source("b"), &[]));
        }
        Plan::new(&Model { slos, services: vec![] }).0
    };
    // One ingress serves both: the target is known when the second SLO comes.
    let of_b = |samples: &[(i64, f64)]| raw("req_total", &[("code", "500"), ("service", "b")], samples);
    let before = two(false);
    let mut tracker = Tracker::new(RES);
    read(&mut tracker, &before, &[ok(&every_30s(10, 60.0))]);
    let after = two(true);
    let mut tracker = Tracker::restore(RES, &after, tracker.cursors(&before, i64::MAX));
    for sli in [0, 1] {
        tracker.begin(sli, 285_000);
    }
    let harvest = read(&mut tracker, &after, &[ok(&[(307, 1600.0)]), of_b(&[(307, 9e6)])]);
    assert_eq!(sum(&harvest), (60, 0));
    let harvest = read(&mut tracker, &after, &[ok(&[(337, 1660.0)]), of_b(&[(337, 9e6 + 3.0)])]);
    assert_eq!(sum(&harvest), (63, 3));
    // From now on a series that is born is news.
    let born = raw("req_total", &[("code", "503"), ("service", "b")], &[(367, 2.0)]);
    assert_eq!(sum(&read(&mut tracker, &after, &[ok(&[(367, 1720.0)]), born])), (62, 2));
    // What an earlier version saved is read on.
    let mut earlier = two(true);
    for sli in &mut earlier.slis {
        sli.counts.reverse();
    }
    let saved = tracker.cursors(&earlier, i64::MAX);
    assert!(saved.changed(&after).is_empty());
    assert_eq!(Tracker::restore(RES, &after, saved).series.len(), tracker.series.len());
    // The same name with another selector is another SLO.
    let mut changed = two(false);
    changed.slis[0].counts = [1, 2];
    let tracker = Tracker::restore(RES, &changed, tracker.cursors(&after, i64::MAX));
    assert!(tracker.series.is_empty());
}

#[test]
fn what_is_no_count_is_bridged_by_the_next_one() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -5.0, 1e300] {
        let (plan, mut tracker) = (availability(&[]), Tracker::new(RES));
        let harvest = read(&mut tracker, &plan, &[ok(&[(0, 10.0), (30, value), (60, 30.0)])]);
        assert_eq!(sum(&harvest), (20, 0), "{value}");
        assert_eq!(harvest.series[0].fault, Some(DataReason::NotANumber));
        // It is like a scrape that was missed: the slices around it are known.
        assert!(harvest.series[0].deltas.iter().all(|d| d.coverage == Coverage::Known), "{harvest:?}");
        let harvest = read(&mut tracker, &plan, &[ok(&[(90, 31.0)])]);
        assert_eq!((sum(&harvest), harvest.series[0].fault), ((1, 0), None));
    }
}

#[test]
fn slow_events_are_count_minus_bucket_of_the_same_moment() {
    let (plan, mut tracker) = (latency(), Tracker::new(RES));
    let count = |samples: &[(i64, f64)]| raw("lat_seconds_count", &[], samples);
    let bucket = |samples: &[(i64, f64)]| raw("lat_seconds_bucket", &[("le", "0.5")], samples);
    let harvest =
        read(&mut tracker, &plan, &[count(&[(0, 100.0), (30, 200.0), (60, 300.0)]), bucket(&[(0, 90.0), (30, 185.0)])]);
    // The sample at 60 s has no bucket yet: it waits.
    assert_eq!(sum(&harvest), (100, 5));
    let harvest = read(&mut tracker, &plan, &[count(&[(60, 300.0)]), bucket(&[(60, 285.0)])]);
    assert_eq!(sum(&harvest), (100, 0));
}

/// Counts and buckets of two paths of one pod: 100 events a scrape each, 5 of them slow.
fn paths(moments: std::ops::Range<i64>) -> Vec<RawSeries> {
    let series = |name: &str, le: &[(&str, &str)], path: &str, each: f64| {
        let samples: Vec<(i64, f64)> = moments.clone().map(|i| (i * 30, 1000.0 + i as f64 * each)).collect();
        raw(name, &[le, &[("path", path)]].concat(), &samples)
    };
    let le = [("le", "0.5")];
    ["/a", "/b"]
        .into_iter()
        .flat_map(|path| [series("lat_seconds_count", &[], path, 100.0), series("lat_seconds_bucket", &le, path, 95.0)])
        .collect()
}

/// However count and bucket come apart, no event is slow that was not, and nothing is lost.
#[test]
fn a_count_without_its_bucket_waits_and_slows_nothing() {
    let plan = latency();
    // Which of the four series the middle reads lack, and what they say instead.
    for hidden in 1..16u32 {
        for lie in [None, Some(f64::NAN), Some(f64::INFINITY)] {
            let mut tracker = Tracker::new(RES);
            let mut slices: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
            let mut take = |harvest: ReadDeltas| {
                for delta in harvest.series.iter().flat_map(|s| &s.deltas) {
                    let sum = slices.entry(delta.slice).or_default();
                    *sum = (sum.0 + delta.total, sum.1 + delta.bad);
                }
            };
            take(read(&mut tracker, &plan, &paths(0..3)));
            for at in 3..6 {
                let mut answer = paths(at - 1..at + 1);
                for i in (0..4).rev().filter(|i| hidden & (1 << i) != 0) {
                    match lie {
                        None => drop(answer.remove(i)),
                        Some(value) => {
                            let lies = answer[i].samples.iter().map(|(at, _)| (at, value)).collect();
                            answer[i].samples = Samples::new(lies);
                        }
                    }
                }
                take(read(&mut tracker, &plan, &answer));
            }
            // The gap shows, and reading it again fills it exactly.
            let narrow = paths(5..7);
            let gap = tracker.gap(&plan, &narrow, 0, 150_000);
            assert_eq!(gap, Some(60_000), "{hidden:b} {lie:?}");
            take(read(&mut tracker, &plan, &paths(2..7)));
            let events: Vec<(u64, u64)> = slices.into_values().filter(|sum| *sum != (0, 0)).collect();
            assert_eq!(events, [(200, 10); 6], "{hidden:b} {lie:?}");
        }
    }
}

#[test]
fn a_bucket_that_is_never_seen_again_leaves_the_other_slos_of_its_histogram_alone() {
    let source = |threshold| SliSource::Histogram { selector: r#"lat_seconds{service="a"}"#.into(), threshold };
    let slos = vec![slo("fast", source(0.1), &[]), slo("slow", source(0.5), &[])];
    let plan = Plan::new(&Model { slos, services: vec![] }).0;
    let count = |n: i64| raw("lat_seconds_count", &[], &[(n * 30, n as f64 * 100.0)]);
    let bucket = |le: &str, n: i64, each: f64| raw("lat_seconds_bucket", &[("le", le)], &[(n * 30, n as f64 * each)]);
    let mut tracker = Tracker::new(RES);
    for n in 0..3 {
        read(&mut tracker, &plan, &[count(n), bucket("0.1", n, 50.0), bucket("0.5", n, 90.0)]);
    }
    let harvest = read(&mut tracker, &plan, &[count(3), bucket("0.5", 3, 90.0)]);
    let of = |sli: usize| harvest.series.iter().find(|s| s.sli == sli).expect("a harvest");
    assert_eq!((of(0).fault, of(0).deltas.len()), (Some(DataReason::NoBucket), 0));
    assert_eq!((of(1).fault, of(1).deltas.iter().map(|d| (d.total, d.bad)).max()), (None, Some((100, 10))));
}

#[test]
fn a_bound_spelled_anew_continues_its_bucket() {
    let source = SliSource::Histogram { selector: r#"lat_seconds{service="a"}"#.into(), threshold: 1.0 };
    let plan = Plan::new(&Model { slos: vec![slo("latency", source, &[])], services: vec![] }).0;
    let count = |n: i64| raw("lat_seconds_count", &[], &[(n * 30, 1e6 + n as f64 * 100.0)]);
    let bucket = |le: &str, n: i64| raw("lat_seconds_bucket", &[("le", le)], &[(n * 30, 9e5 + n as f64 * 90.0)]);
    let mut tracker = Tracker::new(RES);
    read(&mut tracker, &plan, &[count(0), bucket("1", 0)]);
    assert_eq!(sum(&read(&mut tracker, &plan, &[count(1), bucket("1", 1)])), (100, 10));
    // Both spellings at once count once.
    assert_eq!(sum(&read(&mut tracker, &plan, &[count(2), bucket("1", 2), bucket("1.0", 2)])), (100, 10));
    assert_eq!(sum(&read(&mut tracker, &plan, &[count(3), bucket("1.0", 3)])), (100, 10));
    for garbage in ["", "NaN", "one", "1,0"] {
        assert_eq!(sum(&read(&mut tracker, &plan, &[count(4), bucket(garbage, 4)])), (0, 0), "{garbage}");
    }
}

#[test]
fn a_histogram_without_the_bucket_says_nothing_instead_of_all_slow() {
    let (plan, mut tracker) = (latency(), Tracker::new(RES));
    let harvest = read(&mut tracker, &plan, &[raw("lat_seconds_count", &[], &[(0, 100.0), (30, 200.0)])]);
    assert_eq!(sum(&harvest), (0, 0));
    assert_eq!(harvest.series[0].fault, Some(DataReason::NoBucket));
}

#[test]
fn series_fan_out_by_label() {
    let (plan, mut tracker) = (availability(&["model"]), Tracker::new(RES));
    let of = |model: &str, samples: &[(i64, f64)]| raw("req_total", &[("code", "200"), ("model", model)], samples);
    let harvest = read(
        &mut tracker,
        &plan,
        &[of("x", &[(0, 1.0), (30, 11.0)]), of("y", &[(0, 5.0), (30, 8.0)]), ok(&[(0, 0.0), (30, 1.0)])],
    );
    let found: Vec<(String, u64)> =
        harvest.series.iter().map(|s| (s.labels.to_string(), s.deltas.iter().map(|d| d.total).sum())).collect();
    assert_eq!(found, [("{}".into(), 14), (r#"{model="x"}"#.into(), 10), (r#"{model="y"}"#.into(), 3)]);
}

#[test]
fn restored_cursors_continue_exactly() {
    let plan = availability(&[]);
    let samples = every_30s(20, 60.0);
    let mut whole = Tracker::new(RES);
    let undisturbed = sum(&read(&mut whole, &plan, &[ok(&samples)]));
    let mut first = Tracker::new(RES);
    let before = sum(&read(&mut first, &plan, &[ok(&samples[..9])]));
    let saved = postcard::to_stdvec(&first.cursors(&plan, i64::MAX)).expect("serializable");
    let mut second = Tracker::restore(RES, &plan, postcard::from_bytes(&saved).expect("readable"));
    let after = sum(&read(&mut second, &plan, &[ok(&samples[7..])]));
    assert_eq!((before.0 + after.0, before.1 + after.1), undisturbed);
}

#[test]
fn silent_series_are_forgotten_after_a_day() {
    let (plan, mut tracker) = (availability(&[]), Tracker::new(RES));
    read(
        &mut tracker,
        &plan,
        &[ok(&[(0, 1.0)]), raw("req_total", &[("code", "200"), ("instance", "i2")], &[(90_000, 1.0)])],
    );
    tracker.forget_silent(90_000_000, 86_400_000 * 30, |_| false);
    assert_eq!(tracker.raws.len(), 2, "of what did not answer nobody knows whether it is silent");
    tracker.forget_silent(90_000_000, 86_400_000 * 30, |_| true);
    assert_eq!((tracker.raws.len(), tracker.targets.len()), (1, 1));
}

#[test]
fn children_that_come_and_go_cost_nothing() {
    let (plan, mut tracker) = (availability(&["model"]), Tracker::new(RES));
    for day in 0..10i64 {
        let (model, at) = (format!("m{day}"), day * 100_000);
        let child = raw("req_total", &[("code", "200"), ("model", &model)], &[(at, 1.0), (at + 30, 2.0)]);
        // Once for the child, and once for the whole.
        assert_eq!(sum(&read(&mut tracker, &plan, &[child])).0, 2, "{day}");
        tracker.forget_silent((at + 30) * 1000, 86_400_000 * 30, |_| true);
        assert_eq!((tracker.raws.len(), tracker.series.len(), tracker.series_ids.len()), (1, 2, 2), "{day}");
        assert!(tracker.follows(&(0, [("model", model.as_str())].into_iter().collect())));
    }
}

mod forgotten;
mod joined;
mod placed;

mod chopped {
    use super::*;

    proptest! {
        /// However a history is cut into reads, with whatever overlap, the same events come out in the same slices.
        #[test]
        fn reads_of_any_length_and_overlap_give_the_same_slices(
            steps in prop::collection::vec((1i64..90, 0u32..50, prop::bool::weighted(0.05)), 2..80),
            cuts in prop::collection::vec((1usize..9, 0usize..4), 1..40),
        ) {
            let plan = availability(&[]);
            let (mut at, mut value, mut samples) = (0i64, 0.0f64, Vec::new());
            for (dt, gain, restart) in steps {
                at += dt;
                value = if restart { 0.0 } else { value } + f64::from(gain);
                samples.push((at, value));
            }
            let slices = |harvests: &[ReadDeltas]| {
                let mut slices: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
                for series in harvests.iter().flat_map(|h| &h.series) {
                    let void = series.void.unwrap_or_default();
                    slices.retain(|slice, _| !(void.0..void.1).contains(slice));
                    for delta in &series.deltas {
                        let sum = slices.entry(delta.slice).or_default();
                        *sum = (sum.0 + delta.total, sum.1 + delta.bad);
                    }
                }
                slices.retain(|_, sum| *sum != (0, 0));
                slices
            };
            let mut tracker = Tracker::new(RES);
            let whole = slices(&[read(&mut tracker, &plan, &[errors(&samples)])]);
            let (mut tracker, mut harvests, mut done) = (Tracker::new(RES), Vec::new(), 0);
            for (take, overlap) in cuts.iter().cycle() {
                let end = (done + take).min(samples.len());
                let from = done.saturating_sub(*overlap);
                harvests.push(read(&mut tracker, &plan, &[errors(&samples[from..end])]));
                done = end;
                if done == samples.len() {
                    break;
                }
            }
            prop_assert_eq!(slices(&harvests), whole);
        }
    }
}

/// A histogram with these bounds whose threshold is `threshold`, and a plan that knows them.
fn interpolated(unit: Unit, bounds: &[f64], threshold: f64) -> (Plan, Slo) {
    let source = SliSource::Histogram { selector: r#"lat_seconds{service="a"}"#.into(), threshold };
    let mut spec = slo("latency", source, &[]);
    Arc::make_mut(&mut spec.slo).unit = unit;
    let (mut survey, known) = (Survey::default(), Known { bounds: bounds.to_vec(), ..Known::default() });
    survey.learn([(spec.slo.id.clone(), known)].into());
    let own = spec.slo.as_ref().clone();
    (Plan::surveyed(&Model { slos: vec![spec], services: vec![] }, &survey).0, own)
}

/// Latencies scrape by scrape as the count and the buckets of a histogram; at `restart` the process begins anew.
fn scraped(scrapes: &[Vec<f64>], bounds: &[f64], restart: usize) -> Vec<RawSeries> {
    let counted = |bound: f64| -> Vec<(i64, f64)> {
        let mut sum = 1000.0;
        let mut samples = vec![(7, sum)];
        for (i, events) in scrapes.iter().enumerate() {
            if i == restart {
                sum = 0.0;
            }
            sum += events.iter().filter(|latency| **latency <= bound).count() as f64;
            samples.push((7 + 30 * (i as i64 + 1), sum));
        }
        samples
    };
    let buckets =
        bounds.iter().map(|&bound| raw("lat_seconds_bucket", &[("le", bound.to_string().as_str())], &counted(bound)));
    buckets.chain([raw("lat_seconds_count", &[], &counted(f64::INFINITY))]).collect()
}

proptest! {
    /// Whatever took how long, wherever the bounds and the threshold lie: what was really bad, and what is counted as
    /// bad, lies within the stated bounds; over every window, by event and by judged slice.
    #[test]
    fn what_was_really_bad_lies_within_the_stated_bounds(
        scrapes in prop::collection::vec(prop::collection::vec(0.0..4.0f64, 0..60), 2..30),
        bounds in prop::collection::btree_set(1u32..40, 1..6),
        threshold in 0.05..4.0f64,
        restart in 0usize..60,
        by_slice in any::<bool>(),
    ) {
        let bounds: Vec<f64> = bounds.into_iter().map(|tenths| f64::from(tenths) / 10.0).collect();
        prop_assume!(bounds.last().is_some_and(|top| *top > threshold));
        prop_assume!(!bounds.iter().any(|bound| same_bound(*bound, threshold)));
        let unit = if by_slice { Unit::QuantileSlices { quantile: 0.95 } } else { Unit::Events };
        let (plan, slo) = interpolated(unit, &bounds, threshold);
        let (mut ledger, mut tracker) = (Ledger::new(RES), Tracker::new(RES));
        let process = |i: i64| (7 + 30 * i, if i > restart as i64 { 22.0 + 30.0 * restart as f64 } else { 1.0 });
        let process: Vec<_> = (0..=scrapes.len() as i64).map(process).collect();
        let process = [raw(PROCESS_START, &[], &process)];
        tracker.begin(0, 5_000);
        for harvest in read_with(&mut tracker, &plan, &scraped(&scrapes, &bounds, restart), &process).series {
            prop_assert_eq!(harvest.fault, None);
            ledger.series_mut(&slo, &harvest.labels).apply(&harvest.deltas);
        }
        // What was really bad, booked as the scrapes are.
        let (mut truth, none) = (Ledger::new(RES), Labels::new());
        let known = |slice| SliceDelta { slice, total: 0, bad: 0, coverage: Coverage::Known };
        let really = |(i, events): (usize, &Vec<f64>)| SliceDelta {
            total: events.len() as u64,
            bad: events.iter().filter(|latency| **latency > threshold).count() as u64,
            ..known(i as i64 + 1)
        };
        let really: Vec<SliceDelta> = [known(0)].into_iter().chain(scrapes.iter().enumerate().map(really)).collect();
        truth.series_mut(&slo, &none).apply(&really);
        let [least, most] = ledger.ends(&slo.id, &none).expect("both ends are kept");
        let (own, truth) = (ledger.get(&slo.id, &none).expect("kept"), truth.get(&slo.id, &none).expect("kept"));
        let end_s = (scrapes.len() as i64 + 1) * RES;
        for length_s in [RES, 3 * RES, 10 * RES, end_s] {
            let [own, truth, least, most] = [own, truth, least, most].map(|series| series.window(end_s, length_s));
            prop_assert_eq!((own.total, own.known, own.judged), (truth.total, truth.known, truth.judged));
            // More slow events can be evidence over a shorter span, so verdicts need not lie between those of the ends.
            for inside in [own.bad, truth.bad] {
                prop_assert!((least.bad..=most.bad).contains(&inside), "{own:?} {truth:?} {least:?} {most:?}");
            }
        }
    }
}

#[test]
fn one_bound_alone_says_nothing_of_what_lies_between_two() {
    let (plan, _) = interpolated(Unit::Events, &[0.5, 1.0], 0.8);
    let series = scraped(&[vec![0.2, 0.7, 0.9, 2.0], vec![0.7; 10]], &[0.5, 1.0], 9);
    let harvest = read(&mut Tracker::new(RES), &plan, &series);
    let bad: Vec<u64> = harvest.series.iter().map(|of| of.deltas.iter().map(|delta| delta.bad).sum()).collect();
    // Of the twelve events between, 40 % count as bad: 4.8, and no part of an event is good.
    assert_eq!(bad, [1 + 5, 1, 1 + 12]);
    let harvest = read(&mut Tracker::new(RES), &plan, &series[1..]);
    let faults: Vec<_> = harvest.series.iter().map(|of| (of.deltas.len(), of.fault)).collect();
    assert_eq!(faults, [(0, Some(DataReason::NoBucket))]);
}
