//! Incidents slice by slice, with a clause that fires as the default policy's do.

use super::*;

const RES: i64 = 30;
const BUDGET: f64 = 1e-3;

/// Long and short window, seconds, and factor of a clause.
type Clause = (i64, i64, f64);
const DEFAULT: [Clause; 2] = [(3600, 300, 14.4), (21_600, 1800, 6.0)];

/// Events and bad ones of each slice, from the epoch on, and what pages.
struct Story(Vec<(u64, u64)>, [Clause; 2]);

impl Story {
    fn counts(&self, to: Seconds, length_s: i64) -> (u64, u64) {
        let (from, to) = ((to - length_s).max(0) / RES, (to / RES).min(self.0.len() as i64));
        self.0[from.min(to) as usize..to as usize].iter().fold((0, 0), |sum, slice| (sum.0 + slice.0, sum.1 + slice.1))
    }

    fn burn(&self, to: Seconds, length_s: i64) -> f64 {
        let (total, bad) = self.counts(to, length_s);
        if total == 0 { 0.0 } else { bad as f64 / total as f64 / BUDGET }
    }

    /// Whether a clause fires; with `since`, whether its short window would without what came before.
    fn over(&self, at: Seconds, since: Seconds) -> bool {
        self.1.iter().any(|&(long_s, short_s, factor)| {
            self.burn(at, long_s) > factor && self.burn(at, short_s.min(at - since)) > factor
        })
    }

    fn page(&self, slice: usize, page: Option<Page>) -> Option<Page> {
        let at = (slice as i64 + 1) * RES;
        let over_since = |since| self.over(at, since);
        let counts = |to, length_s| self.counts(to, length_s);
        let over = self.over(at, 0);
        let [factor, other] = self.1.map(|(.., factor)| factor);
        let (factor, short_s) = (factor.min(other), self.1[0].1.min(self.1[1].1));
        let (over_since, counts) = (&over_since, &counts);
        Page::step(page, &Moment { at, slice_s: RES, budget: BUDGET, factor, short_s, over, over_since, counts })
    }

    /// Every page, in slices: when it began, and when it ended.
    fn pages(&self) -> Vec<(usize, usize)> {
        let (mut pages, mut page) = (Vec::new(), None);
        for slice in 0..self.0.len() {
            let next = self.page(slice, page);
            let fires = |page: Option<Page>| page.is_some_and(|page| page.fires());
            match (fires(page), fires(next)) {
                (false, true) => pages.push((slice, self.0.len())),
                (true, false) => pages.last_mut().expect("one began").1 = slice,
                _ => {}
            }
            page = next;
        }
        pages
    }
}

/// `events` a slice for `slices` slices after a day of calm, of which the share `bad(slice)` is bad.
fn story(events: u64, slices: usize, bad: impl Fn(usize) -> f64) -> Story {
    let calm = (0..DAY).map(|_| (events, 0));
    Story(calm.chain((0..slices).map(|slice| (events, (events as f64 * bad(slice)).round() as u64))).collect(), DEFAULT)
}

const DAY: usize = 2880;

fn of(share: f64, when: bool) -> f64 {
    if when { share } else { 0.0 }
}

#[test]
fn a_total_outage_is_one_page_that_ends_a_quarter_of_an_hour_after_it() {
    for (events, at_most) in [(50, 32), (5, 40)] {
        let pages = story(events, 300, |slice| of(1.0, slice < 60)).pages();
        assert_eq!(pages.len(), 1, "{pages:?}");
        assert!(pages[0].0 <= DAY + 2, "{pages:?}");
        assert!((30..=at_most).contains(&(pages[0].1 - DAY - 60)), "{events}: {pages:?}");
    }
}

#[test]
fn a_policy_with_shorter_windows_knows_sooner_that_it_is_over() {
    let outage = |slice| of(1.0, slice < 40);
    let until = |short_s, long_s| {
        let mut story = story(50, 300, outage);
        story.1 = [(long_s, short_s, 14.4), (4 * long_s, 2 * short_s, 6.0)];
        let pages = story.pages();
        assert_eq!(pages.len(), 1, "{short_s}: {pages:?}");
        pages[0].1 - DAY - 40
    };
    // Slices of half a minute: three times a minute is six of them.
    assert!((6..=9).contains(&until(60, 720)), "{}", until(60, 720));
    assert!((12..=15).contains(&until(120, 1440)), "{}", until(120, 1440));
    assert!((2..=5).contains(&until(30, 360)), "{}", until(30, 360));
    // Longer windows than those of the default policy do not hold longer.
    assert!((30..=34).contains(&until(600, 7200)), "{}", until(600, 7200));
}

#[test]
fn blips_that_follow_each_other_fast_are_one_page_under_shorter_windows_too() {
    let mut blips = story(50, 500, |slice| of(1.0, slice < 200 && slice % 8 < 3));
    blips.1 = [(720, 60, 14.4), (1440, 120, 6.0)];
    assert_eq!(blips.pages().len(), 1, "{:?}", blips.pages());
}

#[test]
fn hourly_blips_are_one_page_that_lives_from_blip_to_blip() {
    let pages = story(50, DAY + 400, |slice| of(0.2, slice < DAY && slice % 120 < 4)).pages();
    assert_eq!(pages.len(), 1, "{pages:?}");
    assert!(pages[0].1 - 2 * DAY < 100, "{pages:?}");
}

#[test]
fn flaps_are_one_page() {
    for (on, period) in [(10, 20), (10, 40)] {
        let pages = story(50, 700, |slice| of(1.0, slice < 480 && slice % period < on)).pages();
        assert_eq!(pages.len(), 1, "{on} of {period}: {pages:?}");
    }
}

#[test]
fn no_news_is_no_recovery_for_six_hours() {
    let mut silent = story(50, 1000, |slice| of(1.0, slice < 20));
    silent.0[DAY + 20..].fill((0, 0));
    let pages = silent.pages();
    assert_eq!(pages.len(), 1);
    // Half an hour of silence still shows the outage; six hours later it is forgotten.
    assert!((720..=780).contains(&(pages[0].1 - DAY - 19)), "capped: {pages:?}");
    silent.0[DAY + 200..DAY + 260].fill((50, 0));
    assert!(silent.pages()[0].1 - DAY - 200 <= 2, "the first good events end it");
}

#[test]
fn what_ended_begins_anew_only_by_what_came_since() {
    // The six-hour window stays over for half an hour after the end: that is no second page.
    let single = |slice: usize| of(1.0, slice < 60) + of(0.02, slice == 110);
    assert_eq!(story(50, 400, single).pages().len(), 1, "one error of fifty is no second incident");
    let second = |slice: usize| of(1.0, slice < 60 || (300..320).contains(&slice));
    let pages = story(50, 700, second).pages();
    assert_eq!(pages.len(), 2, "{pages:?}");
    assert!(pages[1].0 <= DAY + 303, "{pages:?}");
}

#[test]
fn a_page_depends_on_the_last_hours_alone() {
    let story = story(50, 900, |slice| of(0.3, slice < 500 && slice % 90 < 6));
    let mut lived = None;
    for slice in 0..story.0.len() {
        lived = story.page(slice, lived);
        if slice > DAY + 60 && slice % 97 == 0 && slice < DAY + 700 {
            let replayed = (slice - 719..=slice).fold(None, |page, slice| story.page(slice, page));
            let fires = |page: Option<Page>| page.is_some_and(|page| page.fires());
            assert_eq!(fires(replayed), fires(lived), "{slice}");
        }
    }
}
