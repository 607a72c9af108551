//! Whether bad events come one by one or in clusters, and the chance guard where they come in clusters.
//!
//! A binomial guard takes events to be independent. Retries, batches and broken pods make bad ones come together, and
//! then four of them say as little as one. So before a clause fires on events, their dispersion is asked: the variance of
//! the bad events of a 5-minute slot over their mean, 1 where they are independent.
//!
//! - *Robust*. An incident must not count as the way a service usually fails: counts are cut at four times the median of
//!   those that are not 0 (12 at least), and neighbours that reach the cut are left out as one incident.
//! - *Where it is above 1.5* a burn has to be more than chance in one of two ways: by its events, a large cluster (2.5
//!   times the dispersion F) counted as one (`tail(k / 2.5 F, n / 2.5 F)`); or by its moments, the slots in which anything was bad.
//!   The first finds an outage, the second what is bad again and again.
//!
//! Fewer than four bad slots say nothing of it; what is known is drawn towards 1 by the weight of three slots.
//!
//! What is judged is not how a service usually fails: dispersion is asked before the last four windows of the clause, a day
//! before at most. Blips that come hourly from now on are an incident for as long, and later the way it fails.
//!
//! Deliberately absent: slices. A daemon holds them of the last six hours only, and one that starts steps through these
//! hours: every moment is asked of slots of 5 minutes, which both have.

use super::Seconds;
use super::chance;

/// Dispersion up to which events pass for independent.
const INDEPENDENT: f64 = 1.5;
/// The largest cluster that is usual, in dispersions: of clusters of geometric size one in a hundred is larger.
const LARGEST: f64 = 2.5;
/// Bad events that the budget allows a window, from which clusters even out; and a long incident is not taken for one.
const MANY: f64 = 30.0;
/// The last days are asked in slots of five minutes: so far back that all of them are held for each moment of the last six
/// hours, which a daemon that starts steps through, seconds.
const RECENT_S: i64 = 67 * HOUR_S;
/// Bad slots of five minutes from which the last days say enough; with fewer the hours of a month are asked.
const ENOUGH: usize = 8;
/// Bad slots below which nothing is known.
const FEWEST: usize = 4;
/// So many windows before now are what is being judged, and a day at most.
const JUDGED_WINDOWS: i64 = 4;
const MID_S: i64 = 300;
const HOUR_S: i64 = 3600;
const DAY_S: i64 = 86_400;

/// Events and bad ones of each step of a series: `(from, to, step_s)`.
pub type Steps<'a> = &'a dyn Fn(Seconds, Seconds, i64) -> Vec<(u64, u64)>;

/// The chance of at least `bad` of `total` events in `length_s` seconds before `at`, were the share of bad ones `budget`.
/// What is over `confidence` anyway is not looked at more closely.
pub fn chance(
    steps: Steps<'_>,
    at: Seconds,
    length_s: i64,
    (total, bad): (u64, u64),
    budget: f64,
    confidence: f64,
) -> f64 {
    let plain = chance::tail(bad, total, budget);
    if plain > confidence || budget * total as f64 >= MANY {
        return plain;
    }
    let dispersion = usual_dispersion(steps, at, length_s);
    if dispersion < INDEPENDENT {
        return plain;
    }
    let part = |count: u64| (count as f64 / (LARGEST * dispersion)).round() as u64;
    let by_events = chance::tail(part(bad), part(total).max(part(bad)), budget);
    let (moments, bad_moments) = moments_of(&steps(at - length_s, at, MID_S));
    let each = total as f64 / moments.max(1) as f64;
    let by_moments = chance::tail(bad_moments, moments, 1.0 - (1.0 - budget).powf(each));
    by_events.min(by_moments)
}

/// Slots with events in them, and those with bad ones.
fn moments_of(slots: &[(u64, u64)]) -> (u64, u64) {
    let some = slots.iter().filter(|(total, _)| *total > 0);
    some.fold((0, 0), |(all, bad), (_, of)| (all + 1, bad + u64::from(*of > 0)))
}

/// The dispersion before a window of `length_s` seconds that ends at `at`.
fn usual_dispersion(steps: Steps<'_>, at: Seconds, length_s: i64) -> f64 {
    let to = at - (JUDGED_WINDOWS * length_s).min(DAY_S);
    let mids = steps(at - RECENT_S, to, MID_S);
    if mids.iter().filter(|(_, bad)| *bad > 0).count() >= ENOUGH {
        return dispersion(mids);
    }
    dispersion(steps(to - 30 * DAY_S, to, HOUR_S))
}

/// Variance over mean of the bad events of slots, each beside what its events would have at the mean share.
fn dispersion(mut slots: Vec<(u64, u64)>) -> f64 {
    let mut some: Vec<u64> = slots.iter().map(|(_, bad)| *bad).filter(|bad| *bad > 0).collect();
    if some.len() < FEWEST {
        return 1.0;
    }
    some.sort_unstable();
    let cut = (4 * some[some.len() / 2]).max(12);
    let reaches = |slot: Option<&(u64, u64)>| slot.is_some_and(|(_, bad)| *bad >= cut);
    let incident: Vec<bool> = (0..slots.len())
        .map(|i| reaches(slots.get(i)) && (reaches(slots.get(i + 1)) || i > 0 && reaches(slots.get(i - 1))))
        .collect();
    let mut keep = incident.iter().map(|incident| !incident);
    slots.retain(|(total, _)| keep.next().unwrap_or(true) && *total > 0);
    slots.iter_mut().for_each(|(_, bad)| *bad = (*bad).min(cut));
    let sum = slots.iter().fold((0.0, 0.0), |sum, (total, bad)| (sum.0 + *total as f64, sum.1 + *bad as f64));
    if sum.1 == 0.0 {
        return 1.0;
    }
    let share = sum.1 / sum.0;
    let squares = slots.iter().map(|(total, bad)| {
        let mean = share * *total as f64;
        (*bad as f64 - mean).powi(2) / mean
    });
    let raw = squares.sum::<f64>() / (slots.len().max(2) - 1) as f64;
    let weight = some.len() as f64;
    ((raw * weight + 3.0) / (weight + 3.0)).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(count: usize, at: impl Fn(usize) -> u64) -> Vec<(u64, u64)> {
        (0..count).map(|i| (50, at(i))).collect()
    }

    fn steps_of(slice: impl Fn(i64) -> (u64, u64)) -> impl Fn(i64, i64, i64) -> Vec<(u64, u64)> {
        move |from, to, step_s| {
            let sum = |step: i64| (step * step_s..(step + 1) * step_s).step_by(30).map(&slice);
            let add = |sum: (u64, u64), slice: (u64, u64)| (sum.0 + slice.0, sum.1 + slice.1);
            (from.max(0) / step_s..to / step_s).map(|step| sum(step).fold((0, 0), add)).collect()
        }
    }

    #[test]
    fn blips_are_an_incident_until_they_are_the_way_a_service_fails() {
        // Ten requests a minute; from hour 100 on four are bad at the beginning of each hour.
        let steps = steps_of(|at| (5, if at >= 100 * HOUR_S && at.rem_euclid(HOUR_S) == 0 { 4 } else { 0 }));
        let asked = |at: i64| {
            let (total, bad) = steps(at - 6 * HOUR_S, at, 6 * HOUR_S)[0];
            assert_eq!((total, bad), (3600, 24));
            chance(&steps, at, 6 * HOUR_S, (total, bad), 1e-3, 1e-3)
        };
        assert!(asked(108 * HOUR_S) < 1e-9, "eight hours on: {}", asked(108 * HOUR_S));
        assert!(asked(120 * HOUR_S) < 1e-9, "twenty hours on: {}", asked(120 * HOUR_S));
        assert!(asked(132 * HOUR_S) > 1e-3, "a day and a half on: {}", asked(132 * HOUR_S));
    }

    #[test]
    fn clusters_are_seen_and_incidents_are_not_taken_for_them() {
        assert_eq!(dispersion(slots(800, |i| u64::from(i.is_multiple_of(400)))), 1.0, "two bad slots say nothing");
        let singles = dispersion(slots(800, |i| u64::from(i.is_multiple_of(40))));
        assert!((1.0..1.1).contains(&singles), "{singles}");
        let fours = dispersion(slots(800, |i| 4 * u64::from(i.is_multiple_of(100))));
        assert!((2.9..4.1).contains(&fours), "{fours}");
        let incident = |i: usize| if (300..306).contains(&i) { 50 } else { u64::from(i.is_multiple_of(40)) };
        assert!(dispersion(slots(800, incident)) < INDEPENDENT, "half an hour of an outage");
    }

    #[test]
    fn a_cluster_says_as_little_as_one_error_and_many_moments_say_much() {
        let hour = 3600;
        let asked = |usual: u64, bad: &dyn Fn(i64) -> u64| {
            // Ten requests a minute; every hundredth 5 minutes of the past had `usual` bad ones.
            let slice = |at: i64| match at {
                at if at < 100 * hour => (5, if at.rem_euclid(30_000) == 0 { usual } else { 0 }),
                at => (5, bad(at / 30)),
            };
            let steps = steps_of(slice);
            let total = steps(100 * hour, 101 * hour, hour)[0];
            chance(&steps, 101 * hour, hour, total, 1e-3, 1e-3)
        };
        let burst = |slice: i64| if slice == 12_050 { 5 } else { 0 };
        let spread = |slice: i64| u64::from(slice % 20 == 0);
        assert!(asked(0, &burst) < 1e-3 && asked(0, &spread) < 1e-3);
        assert!(asked(5, &burst) > 1e-3, "one cluster of five where clusters of five are usual");
        assert!(asked(5, &spread) < 1e-3, "six moments of an hour");
    }
}
