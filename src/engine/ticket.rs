//! One leak, one ticket: when a ticket begins, how long it lives, and what ends it.
//!
//! A slow clause asks of its short window, too, whether the budget burns. Where events are few that window is empty of
//! errors most of the time, also in the midst of a leak: at one request a minute a leak of twice the budget has an error
//! in eight hours, and taken as it is the clause tickets it two or three times. So a ticket is a state with a memory:
//!
//! - **It begins** when a slow clause fires. After another one, only on evidence that came since its end: those events
//!   alone must be no more likely by chance than the guard allows, and burn faster than the clause does.
//! - **It lives** as long as a slow clause fires, and beyond that while the long window of one is over its factor and
//!   nothing newer contradicts it (`lasts`): so few bad ones are unlikely, 1 in 1,000, at half of its ratio.
//! - **It ends** when neither is so, or when no slow clause has fired for as long as the longest window.
//!
//! It begins and is contradicted at any slice, and what is held is stepped at full hours alone: so it is a function of the
//! clauses at full hours, which are known of the whole past to whoever keeps hours. A daemon that starts steps through them
//! and comes to the same ticket as one that lived through them. The long windows that are asked are longer than the clause
//! says by what has passed of the hour, at its end an hour: so what began in it is held at its end, and does not flicker.
//!
//! Deliberately absent: no data. Who calls this holds what there is then.

use serde::{Deserialize, Serialize};

use super::Seconds;
use super::chance;

/// A ticket is stepped at each multiple of this, seconds.
pub const STEP_S: i64 = 3600;
/// So many of the longest long windows are stepped through where nobody watched.
pub const MEMORY_WINDOWS: i64 = 2;
/// So far back it is known when one that is held began, seconds: who starts now looks back further than that.
const SINCE_S: i64 = 86_400;
/// What is at most this likely is no chance.
const CHANCE: f64 = 1e-3;
/// A leak is contradicted where this part of its error ratio is.
const CONTRADICTED: f64 = 0.5;

/// The ticket of one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// It is out: held, or a slow clause fires on what is news.
    pub fires: bool,
    /// What was held at the last full hour, or had ended within the longest window before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
}

/// A ticket at a full hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The full hour from which on it was held, a day ago at most. Of one that is over nothing but its end is remembered,
    /// here and below.
    pub since: Seconds,
    /// The full hour at which it ended; `None` while it is held.
    pub ended_at: Option<Seconds>,
    /// The newest full hour at which a slow clause fired.
    pub over_at: Seconds,
}

/// One series at one moment, as a ticket looks at it.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    /// The moment.
    pub at: Seconds,
    /// The longest window of the slow clauses, seconds.
    pub longest_s: i64,
    /// A slow clause fires, or does by a long window that is longer by what has passed of the hour.
    pub over: bool,
    /// The long window of one is over, and is not contradicted.
    pub lasts: &'a dyn Fn() -> bool,
    /// For the slow clauses that fire: whether they would, by chance as little, on what came after the given time.
    pub over_since: &'a dyn Fn(Seconds) -> bool,
}

impl Held {
    /// What is held after the full hour `now`, by what was held one hour before.
    pub fn step(held: Option<Held>, now: &Moment<'_>) -> Option<Held> {
        match held {
            Some(held) if held.ended_at.is_none() => Some(held.carried_on(now)),
            _ if now.begins(held) => Some(Held { since: now.at, ended_at: None, over_at: now.at }),
            Some(held) => held.ended_at.is_some_and(|end| now.at - end < now.longest_s).then_some(held),
            None => None,
        }
    }

    fn carried_on(mut self, now: &Moment<'_>) -> Held {
        if now.over {
            self.over_at = now.at;
        } else if now.at - self.over_at >= now.longest_s || !(now.lasts)() {
            return Held { since: now.at, ended_at: Some(now.at), over_at: now.at };
        }
        self.since = self.since.max(now.at - SINCE_S);
        self
    }
}

impl Moment<'_> {
    /// Whether a ticket is out now, by what was held at the last full hour. What is contradicted is not waited with.
    pub fn fires(&self, held: Option<Held>) -> bool {
        match held {
            Some(held) if held.ended_at.is_none() => self.over || (self.lasts)(),
            _ => self.begins(held),
        }
    }

    fn begins(&self, held: Option<Held>) -> bool {
        self.over && held.and_then(|held| held.ended_at).is_none_or(|end| (self.over_since)(end))
    }
}

/// The newest part of a long window that is enough to prove a slow clause, five sixths of it in whole hours, seconds:
/// most leaks that are found are younger than the window.
pub fn part_of(long_s: i64, slice_s: i64) -> i64 {
    let step_s = if long_s >= 2 * STEP_S { STEP_S } else { slice_s };
    (long_s / 6 * 5 / step_s).max(1) * step_s
}

/// What has passed of the hour that `at` is in, at its end an hour, seconds.
pub fn of_hour(at: Seconds) -> i64 {
    (at - 1).rem_euclid(STEP_S) + 1
}

/// At most `span_s` seconds before `at`, from a full hour on where there is one in them.
pub fn span_from_hour(at: Seconds, span_s: i64) -> i64 {
    let after_s = at.rem_euclid(STEP_S);
    if after_s == 0 || span_s <= STEP_S { span_s } else { span_s - STEP_S + after_s }
}

/// Whether the long window of a clause still speaks of a leak: its events and bad ones, the ratio that the clause allows,
/// and how many were there, and bad, in the newest of its seconds.
pub fn lasts(
    (total, bad): (u64, u64),
    allowed: f64,
    long_s: i64,
    short_s: i64,
    newest: &dyn Fn(i64) -> (u64, u64),
) -> bool {
    if total == 0 {
        return false;
    }
    let least = (bad as f64 / total as f64 * CONTRADICTED).max(allowed).min(1.0);
    let mut spans = std::iter::successors(Some(short_s), |span| Some(2 * span)).take_while(|span| *span < long_s);
    !spans.any(|span_s| {
        let (total, bad) = newest(span_s);
        bad < total && 1.0 - chance::tail(bad + 1, total, least) <= CHANCE
    })
}
