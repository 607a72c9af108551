//! One incident, one page: when a page begins, how long it lives, and what ends it.
//!
//! A fast clause says at each slice whether the budget burns too fast. Taken as it is, it would page once for each of
//! twenty-four hourly blips, for half an hour after an outage, and stop as soon as the last client gave up. So a page
//! is a state with a memory, stepped once for each slice:
//!
//! - **It begins** when a fast clause fires. After another one, only on evidence that came since its end: those events
//!   alone must be more than chance, and burn faster than the clause allows.
//! - **It lives** as long as a clause fires or the newest events are *hot*: the shortest of twelve spans up to half an hour
//!   that decides says that they burn too fast (`Heat`). And beyond that for a hold: 15 minutes, or half as long again as
//!   the longest lull between hot moments in the last six hours, 90 minutes at most. Who fails every hour is failing. A
//!   policy whose shortest short window is under 5 minutes wants to know sooner that it is over: its hold is three times
//!   that window, and six times as long at most.
//! - **It ends** when the newest events contradict the incident (so few bad ones are unlikely, 1 in 1,000, at half of its
//!   ratio) and nothing was hot for the hold; or when no clause has fired for the hold. No news is no recovery: without a
//!   good event since the last hot moment it goes on, six hours at most.
//!
//! It is a function of the counts of the last hours alone. A daemon that starts steps through the last six hours and comes
//! to the same page as one that saw them.
//!
//! Deliberately absent: no data. Who calls this steps over slices that are known, and holds what there is otherwise.

use serde::{Deserialize, Serialize};

use super::Seconds;
use super::chance;

/// How far back an incident is remembered, seconds.
pub const MEMORY_S: i64 = 6 * 3600;
/// The shortest hold of a policy that wants to know within 5 minutes that it is over, seconds, and of others.
const HOLD_S: i64 = 15 * 60;
/// A hold is so many short windows, where that is less, ...
const HOLD_WINDOWS: i64 = 3;
/// ... and after lulls so many times as long at most.
const LONGEST_HOLD: i64 = 6;
/// Spans that are asked how hot it is, in slices; the longest is half an hour of the default slices.
const SPANS: [i64; 12] = [1, 2, 3, 4, 6, 8, 10, 15, 20, 30, 40, 60];
/// What is at most this likely is no chance.
const CHANCE: f64 = 1e-3;
/// An incident is contradicted where this part of its error ratio is.
const CONTRADICTED: f64 = 0.5;

/// The page of one series: firing, or ended within the last six hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// When it began to fire. Of one that is over nothing but its end is remembered, here and below: who starts later and
    /// steps through the last six hours may find it to have begun at another of its moments.
    pub since: Seconds,
    /// When it ended; `None` while it fires.
    pub ended_at: Option<Seconds>,
    /// Where its first hot span begins.
    pub from: Seconds,
    /// The newest moment that was hot.
    pub hot_at: Seconds,
    /// The newest moment at which a clause fired.
    pub over_at: Seconds,
    /// The longest lull between two hot moments, seconds.
    pub lull_s: i64,
}

/// What the newest events say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heat {
    /// They burn too fast, over so many seconds.
    Hot(i64),
    /// They contradict the incident.
    Calm,
    /// Neither.
    Unclear,
}

/// One series at one slice, as a page looks at it.
pub struct Moment<'a> {
    /// End of the slice.
    pub at: Seconds,
    /// Length of a slice, seconds.
    pub slice_s: i64,
    /// The error budget, a ratio.
    pub budget: f64,
    /// The lowest factor of the fast clauses.
    pub factor: f64,
    /// The shortest of their short windows, seconds: how soon they see that it is over.
    pub short_s: i64,
    /// A fast clause fires.
    pub over: bool,
    /// For the fast clauses that fire: whether they would without what came before the given time.
    pub over_since: &'a dyn Fn(Seconds) -> bool,
    /// Events and bad ones in the `length_s` seconds before a time.
    pub counts: &'a dyn Fn(Seconds, i64) -> (u64, u64),
}

impl Page {
    /// Whether it fires.
    pub fn fires(&self) -> bool {
        self.ended_at.is_none()
    }

    /// One that ended at `at`.
    pub(super) fn over(at: Seconds) -> Self {
        Page { since: at, ended_at: Some(at), from: at, hot_at: at, over_at: at, lull_s: 0 }
    }

    /// The page after `now`, by what it was one slice before.
    pub fn step(page: Option<Page>, now: &Moment<'_>) -> Option<Page> {
        match page {
            Some(page) if page.fires() => Some(page.carried_on(now)),
            Some(page) if now.over && page.ended_at.is_none_or(|end| now.is_anew(end)) => Some(now.begun()),
            Some(page) => page.ended_at.is_some_and(|end| now.at - end < MEMORY_S).then_some(page),
            None => now.over.then(|| now.begun()),
        }
    }

    fn hold_s(&self, now: &Moment<'_>) -> i64 {
        let (shortest_s, longest_s) = now.holds_s();
        (self.lull_s + self.lull_s / 2).clamp(shortest_s, longest_s)
    }

    fn carried_on(mut self, now: &Moment<'_>) -> Page {
        let heat = now.heat(now.at, Some(self.ratio(now)));
        if now.over {
            self.over_at = now.at;
        }
        if matches!(heat, Heat::Hot(_)) {
            self.lull_s = self.lull_s.max(now.at - self.hot_at);
            self.hot_at = now.at;
            return self;
        }
        let recovered = heat == Heat::Calm && now.at - self.hot_at > self.hold_s(now);
        let faded = now.at - self.over_at.max(self.hot_at) > self.hold_s(now);
        let forgotten = now.at - self.hot_at >= MEMORY_S;
        if (recovered || faded) && (forgotten || self.saw_good(now)) {
            return Page::over(now.at);
        }
        self
    }

    /// Bad of all from its beginning to its last hot moment, of the last six hours.
    fn ratio(&self, now: &Moment<'_>) -> f64 {
        let to = self.hot_at.max(now.at - MEMORY_S + now.slice_s);
        let from = self.from.max(now.at - MEMORY_S).min(to - now.slice_s);
        let (total, bad) = (now.counts)(to, to - from);
        if total > 0 { bad as f64 / total as f64 } else { 1.0 }
    }

    /// Whether anything went well since it was hot last.
    fn saw_good(&self, now: &Moment<'_>) -> bool {
        let (total, bad) = (now.counts)(now.at, now.at - self.hot_at);
        total > bad
    }
}

impl Moment<'_> {
    /// Shortest and longest hold, seconds.
    fn holds_s(&self) -> (i64, i64) {
        // Two slices are the least that shows that it is over, and not between two of them.
        let shortest_s = (HOLD_WINDOWS * self.short_s).min(HOLD_S).max(2 * self.slice_s);
        (shortest_s, LONGEST_HOLD * shortest_s)
    }

    fn begun(&self) -> Page {
        let from = match self.heat(self.at, None) {
            Heat::Hot(length_s) => self.at - length_s,
            Heat::Calm | Heat::Unclear => self.at - self.slice_s,
        };
        let lull_s = self.longest_lull();
        Page { since: self.at, ended_at: None, from, hot_at: self.at, over_at: self.at, lull_s }
    }

    /// Whether a clause fires on what came since `end` alone.
    fn is_anew(&self, end: Seconds) -> bool {
        let (total, bad) = (self.counts)(self.at, self.at - end);
        bad > 0 && chance::tail(bad, total, self.budget) <= CHANCE && (self.over_since)(end)
    }

    /// How hot it is at `at`: the shortest span that decides. `incident` is the error ratio that would be contradicted.
    fn heat(&self, at: Seconds, incident: Option<f64>) -> Heat {
        let mut asked = (0, 0);
        for length_s in SPANS.map(|slices| slices * self.slice_s) {
            let (total, bad) = (self.counts)(at, length_s);
            if (total, bad) == asked {
                continue;
            }
            asked = (total, bad);
            let hot = || bad as f64 > self.factor * self.budget * total as f64;
            if bad > 0 && hot() && chance::tail(bad, total, self.budget) < CHANCE {
                return Heat::Hot(length_s);
            }
            let contradicts = |incident: f64| {
                let least = (incident * CONTRADICTED).max(self.factor * self.budget).min(1.0);
                1.0 - chance::tail(bad + 1, total, least) <= CHANCE
            };
            if bad < total && incident.is_some_and(contradicts) {
                return Heat::Calm;
            }
        }
        Heat::Unclear
    }

    /// The longest lull between hot moments in the last six hours. It is looked for once in an incident.
    fn longest_lull(&self) -> i64 {
        let (mut lull_s, mut hot_at) = (0, self.at);
        let (_, longest_s) = self.holds_s();
        let mut at = self.at - self.slice_s;
        while at > self.at - MEMORY_S {
            let (total, bad) = (self.counts)(at, self.slice_s);
            let fresh = bad as f64 > self.factor * self.budget * total as f64;
            if fresh && matches!(self.heat(at, None), Heat::Hot(_)) {
                // What the longest hold cannot bridge is another incident.
                lull_s = lull_s.max(Some(hot_at - at).filter(|lull| *lull <= longest_s).unwrap_or(0));
                hot_at = at;
            }
            at -= self.slice_s;
        }
        lull_s
    }
}

#[cfg(test)]
mod tests;
