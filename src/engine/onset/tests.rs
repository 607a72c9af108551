//! Rises of known moments and sizes.

use super::*;
use crate::engine::Coverage;

const SLICE_S: i64 = 30;

fn slices(bad: &[u64]) -> Vec<SliceDelta> {
    let slice = |(i, bad): (usize, &u64)| SliceDelta {
        slice: 100 + i64::try_from(i).expect("few"),
        total: 100,
        bad: *bad,
        coverage: Coverage::Known,
    };
    bad.iter().enumerate().map(slice).collect()
}

#[test]
fn the_likeliest_rise_is_the_first_slice_that_is_worse() {
    assert_eq!(likeliest(&slices(&[0, 0, 1, 0, 0, 9, 8, 9, 10])), Some(105));
    assert_eq!(likeliest(&slices(&[0, 0, 0, 0, 1])), Some(104));
    assert_eq!(likeliest(&slices(&[1, 0, 2, 1, 0, 1, 2, 0, 1, 30, 40, 35, 20, 31])), Some(109));
}

#[test]
fn what_never_rises_has_no_onset() {
    for flat in [&[5, 5, 5, 5][..], &[9, 8, 3, 1, 0], &[0, 0, 0], &[7], &[]] {
        assert_eq!(likeliest(&slices(flat)), None, "{flat:?}");
        assert_eq!(onset(&slices(flat), SLICE_S, 1), None, "{flat:?}");
    }
}

#[test]
fn it_says_when_and_how_much_and_nothing_on_thin_evidence() {
    assert_eq!(onset(&slices(&[0, 0, 0, 0, 1]), SLICE_S, 1), None);
    let found = onset(&slices(&[1, 0, 2, 1, 0, 1, 2, 0, 1, 30, 40, 35, 20, 31]), SLICE_S, 1).expect("it rose");
    assert_eq!((found.at, found.earliest, found.latest), (109 * 30, 109 * 30, 109 * 30));
    assert_eq!((found.bad_before, found.total_before, found.bad, found.total), (8, 900, 156, 500));
    assert!((found.factor().expect("errors before") - 35.1).abs() < 1e-9, "{found:?}");
    let from_none = onset(&slices(&[0, 0, 0, 0, 0, 0, 20, 20]), SLICE_S, 1).expect("it rose");
    assert_eq!((from_none.at, from_none.factor()), (106 * 30, None));
}

#[test]
fn it_is_said_in_one_sentence() {
    let at = 1_743_646_020; // 2025-04-03T02:07:00Z
    let found = Onset {
        at,
        earliest: at - 30,
        latest: at,
        total_before: 1_875_000,
        bad_before: 763,
        total: 375_000,
        bad: 1_240,
        evidence: 900.0,
    };
    assert_eq!(
        found.spoken(Unit::Events),
        "error rate 8.1x since 02:07 UTC (0.041% -> 0.33%), 1,240 of 375,000 events bad"
    );
    let vague = Onset { earliest: at - 240, latest: at + 300, bad_before: 0, ..found };
    assert_eq!(
        vague.spoken(Unit::QuantileSlices { quantile: 0.95 }),
        "error rate up from none since about 02:07 UTC (between 02:03 and 02:12) (0% -> 0.33%), 1,240 of 375,000 events too slow"
    );
    for (number, text) in
        [(0.0, "0"), (0.000_042, "0.000042"), (0.2, "0.2"), (1.0, "1"), (43.21, "43.2"), (1234.5, "1234")]
    {
        assert_eq!(figures(number), text);
    }
}

/// Slices of shares are counted in millionths: two slices are no evidence, however many millionths they hold.
#[test]
fn shares_count_as_slices_and_not_as_millions() {
    let share = |slices: Vec<SliceDelta>| -> Vec<SliceDelta> {
        slices.into_iter().map(|it| SliceDelta { total: 1_000_000, bad: it.bad * 10_000, ..it }).collect()
    };
    assert_eq!(onset(&share(slices(&[0, 0, 50, 60])), SLICE_S, 1_000_000), None);
    let long: Vec<u64> = (0..60).map(|i| if i < 40 { 1 } else { 80 }).collect();
    let found = onset(&share(slices(&long)), SLICE_S, 1_000_000).expect("it rose");
    assert_eq!((found.at, found.total), (140 * 30, 20));
}

#[test]
fn an_incident_that_is_over_is_not_the_beginning_of_the_next() {
    let mut bad = vec![1; 60];
    bad.extend(vec![60; 20]);
    bad.extend(vec![1; 40]);
    let over = onset(&slices(&bad), SLICE_S, 1);
    assert_eq!(over, None, "it is over");
    bad.extend(vec![9; 12]);
    let found = onset(&slices(&bad), SLICE_S, 1).expect("it rose again");
    assert_eq!(found.at, 220 * 30);
    assert_eq!((found.bad_before, found.bad), (40, 108));
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[(self.next() * all.len() as f64) as usize]
    }
}

/// Two hours of requests, the last ten minutes at another error ratio, from a second that is on no grid.
struct OnsetStory {
    per_minute: f64,
    before: f64,
    since: f64,
    onset_s: i64,
}

impl OnsetStory {
    fn new(dice: &mut SplitMix) -> Self {
        let per_minute = dice.of(&[10.0, 30.0, 100.0, 300.0]);
        let before = dice.of(&[0.0004, 0.002, 0.01, 0.05]);
        let since = (before * dice.of(&[3.0_f64, 5.0, 8.0, 20.0, 50.0])).min(0.95);
        OnsetStory { per_minute, before, since, onset_s: 6600 + (dice.next() * 30.0) as i64 }
    }

    fn slices(&self, dice: &mut SplitMix) -> Vec<SliceDelta> {
        let mut slices = slices(&vec![0; (7200 / SLICE_S) as usize]);
        for (nth, slice) in slices.iter_mut().enumerate() {
            (slice.slice, slice.total) = (nth as i64, (self.per_minute / 2.0) as u64);
            let second = |dice: &mut SplitMix| nth as i64 * SLICE_S + (dice.next() * SLICE_S as f64) as i64;
            let ratio = |second: i64| if second >= self.onset_s { self.since } else { self.before };
            slice.bad = (0..slice.total)
                .filter(|_| {
                    let at = second(dice);
                    dice.next() < ratio(at)
                })
                .count() as u64;
        }
        slices
    }

    /// What a minute of requests says for one ratio and against the other, at least, in nats.
    fn nats_a_minute(&self) -> f64 {
        let divergence = |a: f64, b: f64| a * (a / b).ln() + (1.0 - a) * ((1.0 - a) / (1.0 - b)).ln();
        self.per_minute * divergence(self.since, self.before).min(divergence(self.before, self.since))
    }
}

/// Steps of 3 times and more at 10 requests a minute and more. Where a minute of requests is three nats of evidence the
/// minute is found; where it is less no method can, and the interval says how far it may be off.
#[test]
fn the_onset_is_within_a_minute_wherever_the_errors_can_tell() {
    let mut dice = SplitMix(15);
    // By evidence a minute: incidents, named, within a minute, within the interval.
    let mut rows = [[0_usize; 4]; 4];
    for _ in 0..400 {
        let story = OnsetStory::new(&mut dice);
        let row = match story.nats_a_minute() {
            it if it >= 3.0 => 0,
            it if it >= 1.0 => 1,
            it if it >= 0.3 => 2,
            _ => 3,
        };
        rows[row][0] += 1;
        let Some(found) = onset(&story.slices(&mut dice), SLICE_S, 1) else { continue };
        rows[row][1] += 1;
        rows[row][2] += usize::from((found.at - story.onset_s).abs() <= 60);
        // A slice in which it began belongs to both sides.
        let within = (found.earliest - SLICE_S..=found.latest + SLICE_S).contains(&story.onset_s);
        rows[row][3] += usize::from(within);
    }
    println!("nats a minute | incidents | named | within 1 min | in the interval");
    for (word, [all, named, near, within]) in ["3 and more", "1 to 3", "0.3 to 1", "less"].iter().zip(rows) {
        println!("{word:>13} | {all:9} | {named:5} | {near:12} | {within}");
    }
    let [all, named, near, _] = rows[0];
    assert!(all > 50 && named == all && near * 100 >= all * 97, "{rows:?}");
    let (named, within) = rows.iter().fold((0, 0), |sum, row| (sum.0 + row[1], sum.1 + row[3]));
    assert!(within * 100 >= named * 92, "{rows:?}");
}

#[test]
fn where_nothing_changed_nothing_is_named() {
    let mut dice = SplitMix(1954);
    let named = (0..200).filter(|_| {
        let story = OnsetStory::new(&mut dice);
        let flat = OnsetStory { since: story.before, ..story };
        onset(&flat.slices(&mut dice), SLICE_S, 1).is_some()
    });
    let named = named.count();
    println!("named in {named} of 200 where nothing changed");
    assert!(named <= 2, "{named}");
}
